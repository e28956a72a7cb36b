//! From a batch of requests to replies and records.
//!
//! ```text
//! gate       may this command run now, for this client?
//! dispatch   its row, its locks, its handler
//! settle     still under the locks: journal, events, blocked clients; then the locks drop
//! ```

pub mod access;
pub mod ahead;
pub mod apply;
pub mod blocking;
pub mod client;
pub mod client_line;
pub mod command;
pub mod context;
pub mod core;
pub mod dispatch;
pub mod evicting;
pub mod evicting_clients;
pub mod expiring;
pub mod failover;
pub mod fiber;
pub mod following;
pub mod gate;
pub mod loading;
pub mod migrating;
pub mod monitor;
pub mod oom_score;
pub mod own_keys;
pub mod pause;
pub mod record;
pub mod replicas;
pub mod rewriting;
pub mod saving;
pub mod session;
pub mod settle;
pub mod stopping;
pub mod syncing;
pub mod tracking;
pub mod transaction;
