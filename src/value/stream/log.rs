//! The entries of a stream, in nodes by the id of their first entry.

use std::collections::BTreeMap;

use crate::base::clock::UnixMs;
use crate::ds::listpack::BYTES_MAX;
use crate::value::stream::group::Group;
use crate::value::stream::id::{NewId, StreamId};
use crate::value::stream::node::{Entry, Node};
use crate::value::{Limits, Malformed};

/// Why an entry cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The last possible id was given.
    Exhausted,
    /// The id is not greater than the last one.
    NotGreater,
    /// The fields are too long.
    TooLarge,
}

/// How far a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// To so many entries.
    Len(u64),
    /// To entries from that id on.
    Id(StreamId),
}

/// How a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// How far.
    pub to: TrimTo,
    /// Only whole nodes go.
    pub whole_nodes: bool,
    /// Entries to remove at most; 0 means no limit.
    pub limit: u64,
}

/// The entries, and what is known of those that were here.
#[derive(Clone, Debug, Default)]
pub struct Log {
    nodes: BTreeMap<StreamId, Node>,
    len: u64,
    last_id: StreamId,
    first_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: i64,
}

/// What a file says of a stream beside its entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Entries.
    pub len: u64,
    /// The last id given.
    pub last_id: StreamId,
    /// The greatest id deleted.
    pub max_deleted_id: StreamId,
    /// Entries ever added; `None` for as many as there are.
    pub entries_added: Option<i64>,
}

impl Log {
    /// A log of these nodes, each proved, in order.
    pub fn from_nodes(
        nodes: impl Iterator<Item = (StreamId, Node)>,
        facts: Facts,
    ) -> Result<Log, Malformed> {
        let mut log = Log::default();
        let mut last = None;
        for (base, node) in nodes {
            if last.is_some_and(|last| last >= base) {
                return Err(Malformed::StreamOrder);
            }
            last = Some(node.last_id(base));
            log.len += node.live();
            if node.live() > 0 {
                log.nodes.insert(base, node);
            }
        }
        if log.len != facts.len {
            return Err(Malformed::StreamLength);
        }
        if log.last_entry_id().is_some_and(|id| id > facts.last_id) {
            return Err(Malformed::StreamOrder);
        }
        log.last_id = facts.last_id;
        log.max_deleted_id = facts.max_deleted_id;
        log.entries_added = facts.entries_added.unwrap_or(log.len as i64);
        log.find_first();
        Ok(log)
    }

    /// Entries.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The nodes by their ids.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Node)> {
        self.nodes.iter().map(|(base, node)| (*base, node))
    }

    /// The last id given.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The id of the first entry; zero when there is none.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The greatest id that XDEL deleted.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// Entries ever added.
    pub fn entries_added(&self) -> i64 {
        self.entries_added
    }

    /// XSETID. The last id must not be less than an entry's.
    pub fn set_ids(&mut self, last_id: StreamId, added: Option<i64>, deleted: Option<StreamId>) {
        self.last_id = last_id;
        self.entries_added = added.unwrap_or(self.entries_added);
        self.max_deleted_id = deleted.unwrap_or(self.max_deleted_id);
    }

    /// The id of the last entry.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The id that an entry would get now.
    fn next_id(&self, wanted: NewId, now: UnixMs) -> Result<StreamId, Refused> {
        if self.last_id == StreamId::MAX {
            return Err(Refused::Exhausted);
        }
        let last = self.last_id;
        let id = match wanted {
            NewId::Exactly(id) => Some(id),
            NewId::Next(ms) if ms == last.ms => {
                last.seq.checked_add(1).map(|seq| StreamId { ms, seq })
            }
            NewId::Next(ms) => Some(StreamId { ms, seq: 0 }),
            NewId::Auto if now.0 > last.ms => Some(StreamId { ms: now.0, seq: 0 }),
            NewId::Auto => last.next(),
        };
        id.filter(|id| *id > last).ok_or(Refused::NotGreater)
    }

    /// Appends an entry of names and values in turn.
    pub fn append<'w>(
        &mut self,
        wanted: NewId,
        now: UnixMs,
        words: impl ExactSizeIterator<Item = &'w [u8]> + Clone,
        limits: &Limits,
    ) -> Result<StreamId, Refused> {
        let id = self.next_id(wanted, now)?;
        let bytes: usize = words.clone().map(<[u8]>::len).sum();
        if bytes > BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        match self.nodes.last_entry() {
            Some(mut last) if has_room(last.get(), bytes, limits) => {
                let base = *last.key();
                last.get_mut().append(base, id, words);
            }
            _ => {
                self.nodes.insert(id, Node::new(words));
            }
        }
        self.len += 1;
        self.entries_added = self.entries_added.saturating_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(id)
    }

    /// The live entries within bounds, the first first.
    pub fn range(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let start = self.nodes.range(..=from).next_back().map_or(from, |(base, _)| *base);
        let nodes = self.nodes.range(start..).take_while(move |(base, _)| **base <= to);
        nodes
            .flat_map(|(base, node)| node.entries(*base))
            .skip_while(move |entry| entry.id < from)
            .take_while(move |entry| entry.id <= to)
            .filter(|entry| !entry.deleted)
    }

    /// The live entries within bounds, the last first.
    pub fn range_back(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let nodes = self.nodes.range(..=to).rev();
        nodes
            .flat_map(|(base, node)| node.entries(*base).rev())
            .skip_while(move |entry| entry.id > to)
            .take_while(move |entry| entry.id >= from)
            .filter(|entry| !entry.deleted)
    }

    /// A live entry.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// Deletes an entry; says whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((base, node)) = self.nodes.range_mut(..=id).next_back() else { return false };
        let base = *base;
        if !node.delete(base, id) {
            return false;
        }
        if node.live() == 0 {
            self.nodes.remove(&base);
        }
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id || self.len == 0 {
            self.find_first();
        }
        true
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next();
        self.first_id = first.map_or(StreamId::MIN, |entry| entry.id);
    }

    /// Removes entries from the front; says how many.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut removed = 0;
        while let Some(mut first) = self.nodes.first_entry() {
            if matches!(trim.to, TrimTo::Len(max) if self.len <= max) {
                break;
            }
            let (base, live) = (*first.key(), first.get().live());
            if trim.limit > 0 && removed + live > trim.limit {
                break;
            }
            let whole = match trim.to {
                TrimTo::Len(max) => self.len - live >= max,
                TrimTo::Id(min) => first.get().last_id(base) < min,
            };
            if whole {
                first.remove();
                self.len -= live;
                removed += live;
                continue;
            }
            if trim.whole_nodes {
                break;
            }
            let len = self.len;
            let gone = first.get_mut().delete_first(base, |id, gone| match trim.to {
                TrimTo::Len(max) => len - gone > max,
                TrimTo::Id(min) => id < min,
            });
            if first.get().live() == 0 {
                first.remove();
            }
            self.len -= gone;
            removed += gone;
            break;
        }
        if removed > 0 {
            self.find_first();
        }
        removed
    }

    /// Whether XDEL left a gap at or behind `id` that is known of.
    pub fn has_tombstone_from(&self, id: StreamId) -> bool {
        let known = !self.is_empty() && self.max_deleted_id != StreamId::MIN;
        known && self.first_id <= self.max_deleted_id && id <= self.max_deleted_id
    }

    /// How many entries were ever added up to `id`, where that can be told.
    pub fn distance(&self, id: StreamId) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if id == self.last_id || (self.is_empty() && id < self.last_id) {
            return Some(self.entries_added);
        }
        let whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        if id > self.last_id || id > self.first_id || !whole {
            return None;
        }
        Some(self.entries_added - self.len as i64 + i64::from(id == self.first_id))
    }

    /// How many entries a group has yet to read, where that can be told.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_tombstone_from(group.last_id) => Some(read),
            _ => self.distance(group.last_id),
        };
        read.map(|read| self.entries_added.saturating_sub(read))
    }

    /// Bytes of memory this takes, roughly.
    pub fn memory_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        let sampled = self.nodes.values().take(SAMPLES);
        let count = sampled.len().max(1);
        let sum: usize = sampled.map(Node::memory_bytes).sum();
        sum / count * self.nodes.len() + self.nodes.len() * size_of::<(StreamId, Node)>()
    }
}

/// Whether another entry of so many bytes goes into a node.
fn has_room(node: &Node, bytes: usize, limits: &Limits) -> bool {
    let max = match limits.stream_node_max_bytes {
        0 => BYTES_MAX,
        max => max.min(BYTES_MAX),
    };
    let entries_max = limits.stream_node_max_entries as u64;
    node.size() + bytes < max && (entries_max == 0 || node.total() < entries_max)
}
