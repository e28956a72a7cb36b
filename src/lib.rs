//! The map of the house. A folder imports only from those above it in this list.

pub mod base;
pub mod config;
pub mod ds;
pub mod engine;
pub mod keyspace;
pub mod persist;
pub mod pubsub;
pub mod resp;
pub mod script;
pub mod spec;
pub mod stats;
pub mod value;

pub mod cli;
pub mod command;
pub mod net;
pub mod server;
