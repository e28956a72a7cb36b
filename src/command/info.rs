//! INFO: the state of the server in sections.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
