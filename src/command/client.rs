//! CLIENT: who is connected.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
