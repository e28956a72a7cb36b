//! The map of the house. A folder imports only from those above it in this list:
//!
//! ```text
//! base        things the standard library could have had
//! resp        the wire: requests, replies, errors
//! ds          tables, listpacks, trees
//! value       what a key can hold
//! keyspace    shards, entries, open and commit
//! config      the settings
//! spec        facts about commands
//! acl         users and what they may do
//! pubsub      channels and who listens
//! tracking    who hears that keys change
//! script      the Lua machine
//! stats       counters
//! persist     what outlives the process
//! engine      from a batch of requests to replies and records
//! command     the commands
//! net         sockets
//! server      the process
//! cli         what argv asks for
//! ```

pub mod acl;
pub mod base;
pub mod cli;
pub mod command;
pub mod config;
pub mod ds;
pub mod engine;
pub mod keyspace;
pub mod net;
pub mod persist;
pub mod pubsub;
pub mod resp;
pub mod script;
pub mod server;
pub mod spec;
pub mod stats;
pub mod tracking;
pub mod value;
