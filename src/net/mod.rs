//! Sockets: listeners and connections.

pub mod connection;
pub mod io;
pub mod listener;
pub mod outbox;
pub mod threads;
