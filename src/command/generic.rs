//! Keys whatever they hold: deleting, renaming, deadlines, walking.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
