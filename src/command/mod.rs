//! The commands: one file a family, its rows, then its handlers.
//!
//! A handler parses, opens, changes, commits, replies, in this order. A row is the only place that
//! knows arity, keys and flags. To add a command: a row and a function in one file.

pub mod acl;
pub mod answer;
pub mod bitmap;
pub mod client;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod debug;
pub mod draw;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod help;
#[cfg(test)]
pub mod house;
pub mod hyperloglog;
pub mod info;
pub mod introspect;
pub mod list;
pub mod object;
pub mod pubsub;
pub mod replication;
pub mod saving;
pub mod scan_options;
pub mod scripting;
pub mod server;
pub mod set;
pub mod slowlog;
pub mod stream;
pub mod string;
pub mod transaction;
pub mod waiting;
pub mod zset;

use crate::engine::command::{Command, CommandTable};

/// Every family's rows.
pub const FAMILIES: &[&[Command]] = &[
    string::COMMANDS,
    generic::COMMANDS,
    list::COMMANDS,
    set::COMMANDS,
    hash::COMMANDS,
    zset::COMMANDS,
    stream::COMMANDS,
    bitmap::COMMANDS,
    hyperloglog::COMMANDS,
    geo::COMMANDS,
    pubsub::COMMANDS,
    connection::COMMANDS,
    transaction::COMMANDS,
    server::COMMANDS,
    replication::COMMANDS,
    saving::COMMANDS,
    config::COMMANDS,
    client::COMMANDS,
    info::COMMANDS,
    introspect::COMMANDS,
    object::COMMANDS,
    debug::COMMANDS,
    slowlog::COMMANDS,
    acl::COMMANDS,
    cluster::COMMANDS,
    scripting::COMMANDS,
    scripting::functions::COMMANDS,
];

/// The table of all commands.
pub fn table() -> CommandTable {
    CommandTable::new(FAMILIES)
}
