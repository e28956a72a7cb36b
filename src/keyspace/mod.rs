//! The keyspace: shards, databases, entries; the only way to change a key is open and commit.
//!
//! Every key belongs to one of 256 shards, each behind a mutex that also guards whoever watches or
//! waits for its keys. A command holds the locks of all shards it touches from before its handler
//! runs until its record is in the journal. Nothing here waits, reads a clock or touches a file.

pub mod effects;
pub mod entry;
pub mod event;
pub mod lfu;
pub mod lock;
pub mod open;
pub mod readers;
pub mod shard;
pub mod view;
pub mod walk;
