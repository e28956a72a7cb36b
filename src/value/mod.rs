//! What a key can hold: each type with its encodings, and the limits at which one becomes another.

pub mod hash;
pub mod limits;
pub mod list;
pub mod set;
pub mod zset;
