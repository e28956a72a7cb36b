//! The map of the house. A folder imports only from those above it in this list.

pub mod base;
pub mod resp;
pub mod ds;
pub mod value;
pub mod keyspace;
pub mod config;
pub mod spec;
pub mod pubsub;
pub mod stats;
pub mod persist;
pub mod engine;
pub mod script;
pub mod command;
pub mod net;
pub mod server;
pub mod cli;
