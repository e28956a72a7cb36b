//! A shard: its keys in every database, and who watches or waits for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::clock::UnixMs;
use crate::ds::deadlines::Deadlines;
use crate::ds::dict::Dict;
use crate::keyspace::effects::DbKey;
use crate::keyspace::entry::Entry;
use crate::keyspace::readers::Readers;

/// Who waits for a key, in the engine's book of blocked clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A flag that WATCH raises: a watched key was touched.
pub type Touched = Arc<AtomicBool>;

/// The keys of one database that belong to a shard.
#[derive(Default)]
pub struct Db {
    /// The keys.
    pub keys: Dict<Entry>,
    /// How many have a deadline.
    pub with_deadline: usize,
    /// The hashes with fields that have deadlines, each with the earliest of these.
    pub timed: Option<Box<Deadlines>>,
    /// Where the search for expired keys goes on.
    pub expire_cursor: u64,
    /// Sum and number of the remaining lives that search has seen, for `avg_ttl`, milliseconds.
    pub ttl_sample: (u64, u64),
}

impl Db {
    /// Notes the earliest deadline of a key's fields, or that there is none.
    pub fn schedule(&mut self, key: &[u8], next: Option<UnixMs>) {
        match (next, &mut self.timed) {
            (Some(next), timed) => timed.get_or_insert_default().set(key, next),
            (None, Some(timed)) => {
                timed.remove(key);
                if timed.is_empty() {
                    self.timed = None;
                }
            }
            (None, None) => {}
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Shard {
    dbs: Vec<Db>,
    /// Clients that wait for a key, longest first.
    pub waiters: HashMap<DbKey, VecDeque<Ticket>>,
    /// Sessions that watch a key.
    pub watchers: HashMap<DbKey, Vec<Touched>>,
    /// Clients that shall hear of changes, while somebody wants to.
    pub readers: Option<Box<Readers>>,
}

impl Shard {
    /// The database, if it ever held a key of this shard.
    pub fn db(&self, db: u32) -> Option<&Db> {
        self.dbs.get(db as usize)
    }

    /// The database, made when it is not there.
    #[inline]
    pub fn db_mut(&mut self, db: u32) -> &mut Db {
        let index = db as usize;
        if index >= self.dbs.len() {
            self.dbs.resize_with(index + 1, Db::default);
        }
        &mut self.dbs[index]
    }

    /// Databases that may hold keys.
    pub fn dbs(&self) -> impl Iterator<Item = (u32, &Db)> {
        self.dbs.iter().enumerate().map(|(index, db)| (index as u32, db))
    }

    /// Takes the whole database out, leaving an empty one.
    pub fn take_db(&mut self, db: u32) -> Db {
        std::mem::take(self.db_mut(db))
    }

    /// Exchanges two databases.
    pub fn swap_dbs(&mut self, a: u32, b: u32) {
        self.db_mut(a.max(b));
        self.dbs.swap(a as usize, b as usize);
    }

    /// Raises the flags of whoever watches the key.
    #[inline]
    pub fn touch(&mut self, db: u32, key: &[u8]) {
        if !self.watchers.is_empty() {
            self.touch_watchers(db, key);
        }
    }

    #[cold]
    fn touch_watchers(&mut self, db: u32, key: &[u8]) {
        let at = DbKey { db, key: key.into() };
        for flag in self.watchers.get(&at).into_iter().flatten() {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Raises the flags of all watchers of `db` whose key `affected` picks.
    pub fn touch_all(&mut self, db: u32, mut affected: impl FnMut(&Shard, &[u8]) -> bool) {
        let watchers = std::mem::take(&mut self.watchers);
        for (at, flags) in &watchers {
            if at.db == db && affected(self, &at.key) {
                flags.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
            }
        }
        self.watchers = watchers;
    }

    /// Up to `want` keys of `db` that are past their deadline, found by going on where the last
    /// search ended and looking at `buckets` buckets at the most.
    pub fn expired_keys(&mut self, db: u32, now: UnixMs, buckets: usize, want: usize) -> Sweep {
        let Some(db) = self.dbs.get_mut(db as usize) else { return Sweep::default() };
        let mut sweep = Sweep::default();
        if db.with_deadline == 0 {
            sweep.wrapped = true;
            return sweep;
        }
        for _ in 0..buckets {
            db.expire_cursor = db.keys.scan(db.expire_cursor, &mut |entry| {
                let Some(deadline) = entry.deadline() else { return };
                sweep.looked_at += 1;
                if deadline < now {
                    sweep.keys.push(crate::ds::dict::Keyed::key(entry).into());
                } else {
                    db.ttl_sample.0 += deadline.0 - now.0;
                    db.ttl_sample.1 += 1;
                }
            });
            sweep.wrapped |= db.expire_cursor == 0;
            if sweep.wrapped || sweep.keys.len() >= want {
                break;
            }
        }
        sweep
    }
}

/// What a search for expired keys found.
#[derive(Default)]
pub struct Sweep {
    /// Keys past their deadline.
    pub keys: Vec<Box<[u8]>>,
    /// Keys with a deadline that were looked at.
    pub looked_at: usize,
    /// Whether the search has come around.
    pub wrapped: bool,
}
