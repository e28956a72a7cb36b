//! Client-side caching: who wants to hear that keys have changed, and how they are told.
//!
//! Which client read which key stands with the keys, in their shards; here is what a client asked
//! for. A client that broadcasts is told of every key with one of its prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::keyspace::readers::{Changes, Stale};
use crate::pubsub::Listener;
use crate::resp::reply::{Protocol, Reply};

/// The channel on which a RESP2 client hears of the keys of others.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// A client that can be told.
pub trait Reader: Listener {
    /// Whether it listens to channels.
    fn is_subscribed(&self) -> bool;
    /// Memory of what it was told and has not read, bytes.
    fn unread(&self) -> usize;
}

/// What CLIENT TRACKING ON asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Every key with one of the prefixes, read or not.
    pub broadcast: bool,
    /// Only keys read after CLIENT CACHING YES.
    pub opt_in: bool,
    /// Not keys read after CLIENT CACHING NO.
    pub opt_out: bool,
    /// Not what the client changes itself.
    pub no_loop: bool,
    /// The client that is told instead; 0 is none.
    pub redirect: u64,
}

impl Options {
    /// Whether keys that are read now are remembered; `caching` says that CLIENT CACHING came just
    /// before.
    pub fn remembers(&self, caching: bool) -> bool {
        match (self.opt_in, self.opt_out) {
            _ if self.broadcast => false,
            (true, _) => caching,
            (_, true) => !caching,
            (false, false) => true,
        }
    }
}

struct Tracker {
    reader: Arc<dyn Reader>,
    options: Options,
    prefixes: BTreeSet<Box<[u8]>>,
    /// Whom it redirects to has gone.
    broken: AtomicBool,
}

/// How tracking is set for a client, for those who ask.
pub struct State {
    /// What it asked for.
    pub options: Options,
    /// Its prefixes.
    pub prefixes: Vec<Box<[u8]>>,
    /// Whether whom it redirects to has gone.
    pub broken: bool,
}

/// Finds a connected client by its id.
pub type Find<'f> = &'f dyn Fn(u64) -> Option<Arc<dyn Reader>>;

/// See the module.
#[derive(Default)]
pub struct Tracking {
    trackers: RwLock<BTreeMap<u64, Tracker>>,
    prefixes: RwLock<BTreeMap<Box<[u8]>, BTreeSet<u64>>>,
    /// Keys in the shards' books.
    pub keys: AtomicUsize,
    /// Their readers, each key's by itself.
    pub items: AtomicUsize,
    /// Times in a row that the books were found too long.
    pub overruns: AtomicUsize,
}

impl Tracking {
    /// Begins to track for a client, or changes how; the prefixes are added to those it has.
    pub fn enable(&self, reader: Arc<dyn Reader>, options: Options, prefixes: &[&[u8]]) {
        let id = reader.id();
        let mut trackers = self.trackers.write();
        let tracker = trackers.entry(id).or_insert_with(|| Tracker {
            reader,
            options,
            prefixes: BTreeSet::new(),
            broken: AtomicBool::new(false),
        });
        tracker.options = options;
        tracker.broken = AtomicBool::new(false);
        if options.broadcast {
            let all: &[&[u8]] = &[b""];
            let prefixes = if prefixes.is_empty() { all } else { prefixes };
            let mut book = self.prefixes.write();
            for prefix in prefixes {
                tracker.prefixes.insert((*prefix).into());
                book.entry((*prefix).into()).or_default().insert(id);
            }
        }
    }

    /// Ends tracking for a client; says whether nobody is left.
    pub fn disable(&self, id: u64) -> bool {
        let mut trackers = self.trackers.write();
        if let Some(tracker) = trackers.remove(&id) {
            let mut book = self.prefixes.write();
            for prefix in &tracker.prefixes {
                if let Some(ids) = book.get_mut(prefix) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        book.remove(prefix);
                    }
                }
            }
        }
        trackers.is_empty()
    }

    /// Clients that track.
    pub fn count(&self) -> usize {
        self.trackers.read().len()
    }

    /// Memory of what clients that track were told and have not read, bytes.
    pub fn unread(&self) -> u64 {
        self.trackers.read().values().map(|tracker| tracker.reader.unread() as u64).sum()
    }

    /// Prefixes somebody wants to hear of.
    pub fn prefix_count(&self) -> usize {
        self.prefixes.read().len()
    }

    /// How tracking is set for a client.
    pub fn state(&self, id: u64) -> Option<State> {
        let trackers = self.trackers.read();
        let tracker = trackers.get(&id)?;
        Some(State {
            options: tracker.options,
            prefixes: tracker.prefixes.iter().cloned().collect(),
            broken: tracker.broken.load(Ordering::Relaxed),
        })
    }

    /// Tells of changes that `by`, if it was a client, has made.
    pub fn tell(&self, changes: &mut Changes, by: Option<u64>, find: Find<'_>) {
        self.forget(changes);
        let trackers = self.trackers.read();
        if std::mem::take(&mut changes.flushed) {
            trackers.values().for_each(|tracker| tracker.send(None, find));
        }
        for stale in &changes.stale {
            for id in &stale.readers {
                let Some(tracker) = trackers.get(id) else { continue };
                let own = tracker.options.no_loop && by == Some(*id);
                if !own && !tracker.options.broadcast {
                    tracker.send(Some(&[&stale.key]), find);
                }
            }
        }
        for (prefix, ids) in self.prefixes.read().iter() {
            let meant = changes.stale.iter().filter(|stale| stale.key.starts_with(prefix));
            // Whoever changed a key last changed it.
            let keys: BTreeMap<&[u8], &Stale> = meant.map(|stale| (&*stale.key, stale)).collect();
            for tracker in ids.iter().filter_map(|id| trackers.get(id)) {
                let is_own = tracker.options.no_loop && by == Some(tracker.reader.id());
                let told = keys.values().filter(|stale| !(is_own && stale.own));
                let told: Vec<&[u8]> = told.map(|stale| &*stale.key).collect();
                if !told.is_empty() {
                    tracker.send(Some(&told), find);
                }
            }
        }
        changes.stale.clear();
    }

    /// Tells readers of keys that are no longer remembered though they have not changed.
    pub fn tell_evicted(&self, changes: &mut Changes, find: Find<'_>) {
        self.forget(changes);
        let trackers = self.trackers.read();
        for stale in changes.stale.drain(..) {
            let tracked = stale.readers.iter().filter_map(|id| trackers.get(id));
            for tracker in tracked.filter(|tracker| !tracker.options.broadcast) {
                tracker.send(Some(&[&stale.key]), find);
            }
        }
    }

    /// Brings the sums up to date.
    fn forget(&self, changes: &mut Changes) {
        let read = changes.stale.iter().filter(|stale| !stale.readers.is_empty());
        let keys = read.count() + std::mem::take(&mut changes.keys_forgotten);
        let items: usize = changes.stale.iter().map(|stale| stale.readers.len()).sum();
        self.keys.fetch_sub(keys, Ordering::Relaxed);
        let items = items + std::mem::take(&mut changes.items_forgotten);
        self.items.fetch_sub(items, Ordering::Relaxed);
    }
}

impl Tracker {
    /// Tells of keys, or that every key may have changed.
    fn send(&self, keys: Option<&[&[u8]]>, find: Find<'_>) {
        let redirected = match self.options.redirect {
            0 => None,
            id => match find(id) {
                None => return self.tell_broken(),
                redirected => redirected,
            },
        };
        let target = redirected.as_deref().unwrap_or(&*self.reader);
        let mut message = Reply::new(target.protocol());
        match target.protocol() {
            Protocol::Resp3 => {
                message.push(2);
                let _ = message.bulk(b"invalidate");
            }
            Protocol::Resp2 if redirected.is_some() && target.is_subscribed() => {
                message.push(3);
                let _ = message.bulk(b"message");
                let _ = message.bulk(CHANNEL);
            }
            // RESP2 has no room for messages between replies.
            Protocol::Resp2 => return,
        }
        match keys {
            None => {
                let _ = message.null();
            }
            Some(keys) => {
                message.array(keys.len());
                keys.iter().for_each(|key| drop(message.bulk(key)));
            }
        }
        target.deliver(message.bytes());
    }

    fn tell_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
        if self.reader.protocol() == Protocol::Resp3 {
            let mut message = Reply::new(Protocol::Resp3);
            message.push(2);
            let _ = message.bulk(b"tracking-redir-broken");
            let _ = message.int(self.options.redirect as i64);
            self.reader.deliver(message.bytes());
        }
    }
}
