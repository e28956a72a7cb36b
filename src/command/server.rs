//! The server as a whole: flushing, saving, ending, time.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
