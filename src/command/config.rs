//! CONFIG: reading, changing and writing back the settings.

use crate::engine::command::Command;

/// The rows.
pub const COMMANDS: &[Command] = &[];
