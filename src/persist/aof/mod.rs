//! The append-only file as Redis 7 keeps it: a manifest, a base, increments.

pub mod check;
pub mod group;
pub mod input;
pub mod manifest;
pub mod pace;
pub mod replay;
pub mod rewrite;
pub mod tail;
pub mod turnover;
