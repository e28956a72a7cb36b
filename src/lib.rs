//! The map of the house. A folder imports only from those above it in this list.

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
pub mod value;
