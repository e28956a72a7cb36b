//! Consumer groups: how far they have read, who reads, and what was delivered and not acknowledged.
//!
//! Invariant: an id is pending in the group exactly if it is pending with one consumer, the one
//! that the group's account names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::base::clock::UnixMs;
use crate::value::stream::id::StreamId;
use crate::value::stream::log::Log;

/// A consumer's number within its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// To whom.
    pub consumer: ConsumerId,
    /// When last, in milliseconds since the epoch.
    pub delivered_ms: i64,
    /// How often.
    pub deliveries: u64,
}

/// Somebody who reads.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last asked, in milliseconds since the epoch.
    pub seen_ms: i64,
    /// When it last got something.
    pub active_ms: Option<i64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What was delivered to it and not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The last entry delivered.
    pub last_id: StreamId,
    /// How many entries were ever added up to that one, if it is known.
    pub entries_read: Option<i64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: Vec<Option<Consumer>>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
}

/// A moment as the accounts state it.
pub fn millis(now: UnixMs) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

impl Group {
    /// A group that has read up to `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            consumers: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Goes on to an entry that is delivered for the first time.
    pub fn advance(&mut self, log: &Log, id: StreamId) {
        self.entries_read = match self.entries_read {
            Some(read) if !log.has_tombstone_from(id) => Some(read.saturating_add(1)),
            _ => log.distance(id),
        };
        self.last_id = id;
    }

    /// The consumer of that name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// Adds a consumer; `None` when the name is taken.
    pub fn add_consumer(&mut self, name: &[u8], now: UnixMs) -> Option<ConsumerId> {
        if self.names.contains_key(name) {
            return None;
        }
        let free = self.consumers.iter().position(Option::is_none);
        let at = free.unwrap_or(self.consumers.len());
        let id = ConsumerId(u32::try_from(at).ok()?);
        let seen_ms = millis(now);
        let consumer =
            Consumer { name: name.into(), seen_ms, active_ms: None, pending: BTreeSet::new() };
        match self.consumers.get_mut(at) {
            Some(slot) => *slot = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        self.names.insert(name.into(), id);
        Some(id)
    }

    /// Removes a consumer and what is pending with it; says how much that was.
    pub fn remove_consumer(&mut self, id: ConsumerId) -> usize {
        let Some(consumer) = self.consumers.get_mut(id.0 as usize).and_then(Option::take) else {
            return 0;
        };
        self.names.remove(&consumer.name);
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        consumer.pending.len()
    }

    /// A consumer of this group.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.consumers[id.0 as usize].as_ref().expect("the number is that of a consumer")
    }

    /// A consumer of this group, to change its times.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.consumers[id.0 as usize].as_mut().expect("the number is that of a consumer")
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.names.values().map(|id| self.consumer(*id))
    }

    /// Everything that is pending.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// The first pending entry from an id on.
    pub fn pending_from(&self, id: StreamId) -> Option<(StreamId, Pending)> {
        self.pending.range(id..).next().map(|(id, pending)| (*id, *pending))
    }

    /// Makes an entry pending, whoever it was pending with.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        let old = self.pending.insert(id, pending);
        if let Some(old) = old.filter(|old| old.consumer != pending.consumer) {
            self.consumer_mut(old.consumer).pending.remove(&id);
        }
        self.consumer_mut(pending.consumer).pending.insert(id);
    }

    /// Counts another delivery of an entry that is pending.
    pub fn redeliver(&mut self, id: StreamId, now: UnixMs) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_ms = millis(now);
            pending.deliveries = pending.deliveries.saturating_add(1);
        }
    }

    /// An entry is pending no more; says whether it was.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.consumer_mut(pending.consumer).pending.remove(&id);
        true
    }

    /// Pending ids of a consumer, or of all, within bounds.
    pub fn pending_between(
        &self,
        consumer: Option<ConsumerId>,
        from: StreamId,
        to: StreamId,
    ) -> impl Iterator<Item = (StreamId, Pending)> {
        let bounds = (Bound::Included(from), Bound::Included(to.max(from)));
        let all = consumer.is_none().then(|| self.pending.range(bounds));
        let own = consumer.map(|id| self.consumer(id).pending.range(bounds));
        let all = all.into_iter().flatten().map(|(id, pending)| (*id, *pending));
        let own = own.into_iter().flatten().filter_map(|id| Some((*id, *self.pending.get(id)?)));
        all.chain(own).filter(move |(id, _)| *id <= to)
    }

    /// Bytes of memory this takes, roughly.
    pub fn memory_bytes(&self) -> usize {
        const PENDING: usize = 2 * size_of::<StreamId>() + size_of::<Pending>();
        const CONSUMER: usize = size_of::<Consumer>() + size_of::<(Box<[u8]>, ConsumerId)>();
        let names: usize = self.names.keys().map(|name| 2 * name.len()).sum();
        self.pending.len() * PENDING + self.consumers.len() * CONSUMER + names
    }
}
