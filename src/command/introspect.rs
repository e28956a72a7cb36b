//! COMMAND, OBJECT and MEMORY: what the server knows of its commands and keys.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
