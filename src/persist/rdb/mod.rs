//! Snapshots in Redis's RDB format: writing, reading, checking; versions 1 to 12 and Valkey's 80.

pub mod check;
pub mod decode;
pub mod dump;
pub mod encode;
pub mod format;
pub mod packs;
pub mod reader;
pub mod skim;
pub mod slice;
pub mod source;
mod stream;
pub mod writer;
pub mod ziplist;
pub mod zipmap;
