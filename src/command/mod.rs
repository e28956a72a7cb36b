//! The commands: one file a family, its rows, then its handlers.

pub mod string;

use crate::engine::command::{Command, CommandTable};

/// Every family's rows.
pub const FAMILIES: &[&[Command]] = &[string::COMMANDS];

/// The table of all commands.
pub fn table() -> CommandTable {
    CommandTable::new(FAMILIES)
}
