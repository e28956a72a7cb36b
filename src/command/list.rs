//! Lists, and clients that wait for them.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
