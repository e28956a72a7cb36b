//! Things the standard library could have had; knows nothing of Redis's keyspace.

pub mod ahead;
pub mod clock;
pub mod crc;
pub mod fs;
pub mod geohash;
pub mod glob;
pub mod hash;
pub mod heap;
pub mod long_double;
pub mod lzf;
pub mod mallctl;
pub mod num;
pub mod pages;
pub mod rng;
pub mod text;
pub mod words;
