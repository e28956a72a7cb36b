//! The connection itself: HELLO, AUTH, SELECT, PING.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
