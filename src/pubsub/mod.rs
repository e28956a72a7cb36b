//! Channels and patterns, and who listens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::base::glob;
use crate::resp::reply::{Protocol, Reply};

/// Somebody messages are delivered to.
pub trait Listener: Send + Sync {
    /// Distinguishes listeners.
    fn id(&self) -> u64;
    /// The protocol messages are encoded in.
    fn protocol(&self) -> Protocol;
    /// Takes an encoded message; never waits.
    fn deliver(&self, message: &[u8]);
}

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A channel: SUBSCRIBE.
    Channel,
    /// A glob over channels: PSUBSCRIBE.
    Pattern,
    /// A sharded channel: SSUBSCRIBE.
    Shard,
}

type Listeners = BTreeMap<u64, Arc<dyn Listener>>;
type Book = RwLock<HashMap<Box<[u8]>, Listeners>>;

/// Who listens to what.
#[derive(Default)]
pub struct PubSub {
    channels: Book,
    patterns: Book,
    shards: Book,
    subscriptions: AtomicUsize,
}

/// A message being delivered, encoded once for each protocol that is met.
struct Message<'m> {
    parts: &'m [&'m [u8]],
    encoded: [Option<Vec<u8>>; 2],
}

impl Message<'_> {
    fn deliver(&mut self, listener: &dyn Listener) {
        let protocol = listener.protocol();
        let parts = self.parts;
        let bytes = self.encoded[protocol as usize].get_or_insert_with(|| {
            let mut reply = Reply::new(protocol);
            reply.push(parts.len());
            for part in parts {
                let _ = reply.bulk(part);
            }
            std::mem::take(reply.buffer())
        });
        listener.deliver(bytes);
    }
}

impl PubSub {
    fn book(&self, topic: Topic) -> &Book {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Shard => &self.shards,
        }
    }

    /// Adds a listener; says whether it did not listen to `name` before.
    pub fn subscribe(&self, topic: Topic, name: &[u8], listener: Arc<dyn Listener>) -> bool {
        let mut book = self.book(topic).write();
        let added = book.entry(name.into()).or_default().insert(listener.id(), listener).is_none();
        self.subscriptions.fetch_add(usize::from(added), Ordering::Relaxed);
        added
    }

    /// Removes a listener; says whether it listened to `name`.
    pub fn unsubscribe(&self, topic: Topic, name: &[u8], listener: u64) -> bool {
        let mut book = self.book(topic).write();
        let Some(listeners) = book.get_mut(name) else { return false };
        let removed = listeners.remove(&listener).is_some();
        if listeners.is_empty() {
            book.remove(name);
        }
        self.subscriptions.fetch_sub(usize::from(removed), Ordering::Relaxed);
        removed
    }

    /// Delivers a message to the listeners of a channel and of patterns that match it; says how
    /// many deliveries that made.
    pub fn publish(&self, channel: &[u8], payload: &[u8]) -> usize {
        if self.subscriptions.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut delivered = 0;
        if let Some(listeners) = self.channels.read().get(channel) {
            delivered += deliver(listeners, &[b"message", channel, payload]);
        }
        for (pattern, listeners) in self.patterns.read().iter() {
            if glob::matches(pattern, channel) {
                delivered += deliver(listeners, &[b"pmessage", pattern, channel, payload]);
            }
        }
        delivered
    }

    /// The same on a sharded channel.
    pub fn publish_shard(&self, channel: &[u8], payload: &[u8]) -> usize {
        let book = self.shards.read();
        let listeners = book.get(channel);
        listeners.map_or(0, |listeners| deliver(listeners, &[b"smessage", channel, payload]))
    }

    /// Names with listeners, those that match `pattern` if one is given.
    pub fn names(&self, topic: Topic, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let book = self.book(topic).read();
        let wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        book.keys().filter(|name| wanted(name)).cloned().collect()
    }

    /// Listeners of a name.
    pub fn listeners(&self, topic: Topic, name: &[u8]) -> usize {
        self.book(topic).read().get(name).map_or(0, BTreeMap::len)
    }

    /// Who listens to names that `is_meant`.
    pub fn listeners_where(&self, topic: Topic, is_meant: impl Fn(&[u8]) -> bool) -> Vec<u64> {
        let book = self.book(topic).read();
        let meant = book.iter().filter(|(name, _)| is_meant(name));
        meant.flat_map(|(_, listeners)| listeners.keys().copied()).collect()
    }

    /// Names with listeners.
    pub fn count(&self, topic: Topic) -> usize {
        self.book(topic).read().len()
    }
}

fn deliver(listeners: &Listeners, parts: &[&[u8]]) -> usize {
    let mut message = Message { parts, encoded: [None, None] };
    listeners.values().for_each(|listener| message.deliver(&**listener));
    listeners.len()
}
