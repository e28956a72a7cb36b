//! A command: its facts and its handler; and the table they are found in by name.

use std::collections::HashMap;

use crate::engine::context::{AdminCtx, Ctx};
use crate::resp::reply::CmdResult;
use crate::spec::{Group, Spec};

/// A row of a family's table.
#[derive(Clone, Copy)]
pub struct Command {
    /// The facts.
    pub spec: Spec,
    /// The handler.
    pub run: Run,
}

/// Who handles a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// It works on keys, and reaches nothing else.
    Data(fn(&mut Ctx) -> CmdResult),
    /// It also reaches the session, other clients, the configuration.
    Admin(fn(&mut AdminCtx) -> CmdResult),
    /// Its subcommands do.
    Container,
}

impl Command {
    /// A command on keys.
    pub const fn data(handler: fn(&mut Ctx) -> CmdResult, spec: Spec) -> Command {
        Command { spec, run: Run::Data(handler) }
    }

    /// A command on the server.
    pub const fn admin(handler: fn(&mut AdminCtx) -> CmdResult, spec: Spec) -> Command {
        Command { spec, run: Run::Admin(handler) }
    }

    /// A command that only groups subcommands.
    pub const fn container(spec: Spec) -> Command {
        Command { spec, run: Run::Container }
    }
}

/// A command in the table.
pub struct Row {
    /// What it is.
    pub command: Command,
    /// Its place in statistics.
    pub index: usize,
    /// The position of its only key, when it always is at the same place.
    pub only_key: Option<usize>,
    /// Whether it is about a set, hash or sorted set, where a look ahead pays. Lists are mostly queues:
    /// there are few, and their ends are near.
    pub looks_inside: bool,
    /// Subcommands by lower-case name.
    pub subs: HashMap<&'static str, usize>,
}

impl Row {
    /// The facts.
    #[inline]
    pub fn spec(&self) -> &Spec {
        &self.command.spec
    }
}

/// Names up to this long are found by their padded bytes.
const NAME_BYTES_MAX: usize = 32;

/// All commands.
pub struct CommandTable {
    rows: Vec<Row>,
    names: Vec<(String, usize)>,
    slots: Vec<Option<([u64; 4], u32)>>,
}

/// A name in lower case, padded with zeros; `None` when no command's name is so long.
#[inline]
fn padded(name: &[u8]) -> Option<[u64; 4]> {
    if name.len() <= 8 {
        return Some([lower_word(name), 0, 0, 0]);
    }
    let mut bytes = [0u8; NAME_BYTES_MAX];
    let to = bytes.get_mut(..name.len())?;
    to.copy_from_slice(name);
    to.make_ascii_lowercase();
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
    }
    Some(words)
}

/// Up to eight bytes in lower case as one number, the first in its lowest byte.
#[inline]
fn lower_word(name: &[u8]) -> u64 {
    let u32_at = |at: usize| {
        let bytes = name[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(bytes))
    };
    let word = match *name {
        [] => 0,
        [a] => u64::from(a),
        [a, b] => u64::from(a) | u64::from(b) << 8,
        [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        // Two halves that may overlap.
        _ => u32_at(0) | u32_at(name.len() - 4) << (8 * (name.len() - 4)),
    };
    lower(word)
}

/// Eight bytes in lower case at once: in each, the sums carry into the high bit from `A` on, and
/// from behind `Z` on.
#[inline]
fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    let from_a = low + u64::from(0x80 - b'A') * ONES;
    let behind_z = low + u64::from(0x7f - b'Z') * ONES;
    let upper = (from_a ^ behind_z) & !word & (0x80 * ONES);
    word | upper >> 2
}

fn mix(words: [u64; 4]) -> usize {
    let folded = words[0] ^ words[1].rotate_left(23) ^ words[2].rotate_left(41) ^ words[3];
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

impl CommandTable {
    /// A table of the families' rows. Subcommands follow their container by name.
    pub fn new(families: &[&'static [Command]]) -> CommandTable {
        let mut rows: Vec<Row> = Vec::new();
        for command in families.iter().copied().flatten() {
            rows.push(Row {
                command: *command,
                index: rows.len(),
                only_key: command.spec.only_key(),
                looks_inside: matches!(
                    command.spec.group,
                    Group::Set | Group::Hash | Group::SortedSet
                ),
                subs: HashMap::new(),
            });
        }
        for index in 0..rows.len() {
            let spec = rows[index].command.spec;
            if let Some(parent) = spec.parent() {
                let container = rows.iter_mut().find(|row| row.command.spec.name == parent);
                container
                    .expect("a subcommand's container is in the table")
                    .subs
                    .insert(spec.own_name(), index);
            }
        }
        let names = rows
            .iter()
            .filter(|row| row.spec().parent().is_none())
            .map(|row| (row.spec().name.to_owned(), row.index))
            .collect();
        let mut table = CommandTable { rows, names, slots: Vec::new() };
        table.index();
        table
    }

    fn index(&mut self) {
        let size = (self.names.len() * 4).next_power_of_two();
        self.slots = vec![None; size];
        for (name, row) in &self.names {
            let Some(words) = padded(name.as_bytes()) else { continue };
            let mut at = mix(words) & (size - 1);
            while self.slots[at].is_some() {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = Some((words, *row as u32));
        }
    }

    /// `rename-command OLD NEW`; an empty new name removes the command. Says whether `old` was
    /// there and `new` was not.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), &'static str> {
        let old = old.to_ascii_lowercase();
        let Some(at) = self.names.iter().position(|(name, _)| *name == old) else {
            return Err("No such command in rename-command");
        };
        let (_, row) = self.names.swap_remove(at);
        if !new.is_empty() {
            let new = new.to_ascii_lowercase();
            if self.names.iter().any(|(name, _)| *name == new) {
                return Err("Target command name already exists");
            }
            self.names.push((new, row));
        }
        self.index();
        Ok(())
    }

    /// The command of that name in any case; containers by their first word.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let words = padded(name)?;
        let mut at = mix(words) & (self.slots.len() - 1);
        while let Some((found, row)) = self.slots[at] {
            // Word by word: as one vector they would have to come back from memory first.
            if found.iter().zip(words).all(|(found, word)| *found == word) {
                return Some(&self.rows[row as usize]);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// The subcommand of a container.
    pub fn find_sub(&self, container: &Row, name: &[u8]) -> Option<&Row> {
        let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
        container.subs.get(lower.as_str()).map(|index| &self.rows[*index])
    }

    /// The command of a full name such as `config|get`, whatever it was renamed to.
    pub fn find_full(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.spec().name.eq_ignore_ascii_case(name))
    }

    /// Every row, subcommands included, in the order of their indices.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Commands that can be called, by the names they have now.
    pub fn callable(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.names.iter().map(|(name, row)| (name.as_str(), &self.rows[*row]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_padded_as_long_ones_are() {
        let name = b"ABcdEFg\xC1";
        for len in 0..=name.len() {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&name[..len]);
            bytes.make_ascii_lowercase();
            let expected = [u64::from_le_bytes(bytes), 0, 0, 0];
            assert_eq!(padded(&name[..len]), Some(expected), "{len} bytes");
        }
        assert!(padded(&[b'a'; NAME_BYTES_MAX + 1]).is_none());
    }
}
