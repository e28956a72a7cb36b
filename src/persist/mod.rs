//! What outlives the process: the journal, snapshots, the append-only file.

pub mod aof;
pub mod backlog;
pub mod child;
pub mod encoders;
pub mod framing;
pub mod journal;
pub mod rdb;
pub mod savepoint;
pub mod sink;
pub mod snapshot;
pub mod state;
pub mod verify;

pub use state::Persistence;
