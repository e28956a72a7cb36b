//! DEBUG: what test suites ask of a server.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
