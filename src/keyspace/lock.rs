//! The shards behind their locks, and the right to touch some of them.
//!
//! Shards are always locked in ascending order, and whoever holds some never waits for others.
#![allow(unsafe_code)] // A set of locks held at once is no borrow that the compiler can follow.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use parking_lot::lock_api::RawMutex as _;

use crate::base::hash::hash_bytes;
use crate::ds::dict::prefetch_bucket;
use crate::keyspace::entry::Held;
use crate::keyspace::shard::Shard;
use crate::value::ValueRef;

/// Shards of a keyspace.
pub const SHARDS: usize = 256;

/// How long a lock is waited for before the question whether to give up is put again.
const PATIENCE: Duration = Duration::from_millis(5);

/// The shard of a hash. Tables take their buckets from the low bits and fingerprints from the top.
#[inline]
pub fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

#[repr(align(128))]
#[derive(Default)]
struct Slot {
    lock: Mutex<Shard>,
    /// Address and index mask of database 0's table, for prefetching without the lock. Possibly
    /// stale, so it is never dereferenced.
    hint: [AtomicUsize; 2],
}

/// All shards.
pub struct Keyspace {
    slots: Box<[Slot]>,
}

/// Which shards a command needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet([u64; SHARDS / 64]);

impl ShardSet {
    /// Every shard.
    pub const ALL: ShardSet = ShardSet([u64::MAX; SHARDS / 64]);

    /// Adds the shard of `key`.
    pub fn add_key(&mut self, key: &[u8]) {
        self.add(shard_of(hash_bytes(key)));
    }

    /// Adds a shard.
    #[inline]
    pub fn add(&mut self, shard: usize) {
        self.0[shard / 64] |= 1 << (shard % 64);
    }

    /// Adds every shard of another set.
    pub fn add_all(&mut self, other: &ShardSet) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// Whether the shard is in it.
    #[inline]
    pub fn has(&self, shard: usize) -> bool {
        self.0[shard / 64] & (1 << (shard % 64)) != 0
    }

    /// Whether every shard of `other` is in it.
    pub fn covers(&self, other: &ShardSet) -> bool {
        self.0.iter().zip(other.0).all(|(word, other)| word & other == other)
    }

    /// Its shards, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let words = self.0;
        (0..words.len()).flat_map(move |index| {
            let mut word = words[index];
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

impl Keyspace {
    /// Empty shards, which live as long as the process: there is one keyspace.
    pub fn new() -> &'static Keyspace {
        let slots = (0..SHARDS).map(|_| Slot::default()).collect();
        Box::leak(Box::new(Keyspace { slots }))
    }

    /// Locks the shards of `set`.
    pub fn lock(&'static self, set: &ShardSet) -> Hold {
        for shard in set.iter() {
            std::mem::forget(self.slots[shard].lock.lock());
        }
        Hold { keyspace: self, held: *set, one: usize::MAX }
    }

    /// Locks the shards of `set`, unless somebody holds one of them and `give_up` says that it is
    /// not worth while to wait.
    pub fn lock_unless(&'static self, set: &ShardSet, give_up: impl Fn() -> bool) -> Option<Hold> {
        let mut hold = self.lock_none();
        if *set == ShardSet::ALL {
            // Scripts do this each time.
            for shard in 0..SHARDS {
                self.wait_for(shard, &give_up)?;
                hold.held.add(shard);
            }
            return Some(hold);
        }
        for shard in set.iter() {
            self.wait_for(shard, &give_up)?;
            hold.held.add(shard);
        }
        Some(hold)
    }

    /// The same for one shard.
    #[inline]
    pub fn lock_one_unless(
        &'static self,
        shard: usize,
        give_up: impl Fn() -> bool,
    ) -> Option<Hold> {
        self.wait_for(shard, &give_up)?;
        Some(Hold { keyspace: self, held: ShardSet::default(), one: shard })
    }

    #[inline]
    fn wait_for(&self, shard: usize, give_up: &impl Fn() -> bool) -> Option<()> {
        let lock = &self.slots[shard].lock;
        let mut guard = lock.try_lock();
        while guard.is_none() {
            if give_up() {
                return None;
            }
            guard = lock.try_lock_for(PATIENCE);
        }
        std::mem::forget(guard);
        Some(())
    }

    /// Locks one shard.
    #[inline]
    pub fn lock_one(&'static self, shard: usize) -> Hold {
        std::mem::forget(self.slots[shard].lock.lock());
        Hold { keyspace: self, held: ShardSet::default(), one: shard }
    }

    /// Locks everything: from here on the keyspace stands still.
    pub fn lock_all(&'static self) -> Hold {
        self.lock(&ShardSet::ALL)
    }

    /// A hold of nothing, for commands that touch no key.
    pub fn lock_none(&'static self) -> Hold {
        self.lock(&ShardSet::default())
    }

    /// Asks the processor for the bucket of a key of database 0.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        let [address, mask] = &self.slots[shard_of(hash)].hint;
        let hint = (address.load(Ordering::Relaxed), mask.load(Ordering::Relaxed));
        prefetch_bucket(hint, hash);
    }

    /// Asks the processor for the entry of a key, whose bucket should be near by now.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64, db: u32) {
        if let Some(shard) = self.slots[shard_of(hash)].lock.try_lock()
            && let Some(db) = shard.db(db)
        {
            db.keys.prefetch(hash);
        }
    }

    /// What a key holds, for a look without waiting; nothing where somebody else has the shard.
    pub fn peek<T>(
        &self,
        (key, hash): (&[u8], u64),
        db: u32,
        look: impl FnOnce(ValueRef<'_>) -> Option<T>,
    ) -> Option<T> {
        let shard = self.slots[shard_of(hash)].lock.try_lock()?;
        match shard.db(db)?.keys.get(hash, key)?.held() {
            Held::Value(value) => look(value),
            Held::Text(_) => None,
        }
    }
}

/// The locks of some shards, held until it is dropped.
pub struct Hold {
    keyspace: &'static Keyspace,
    held: ShardSet,
    /// The only shard held, or none of them.
    one: usize,
}

impl Hold {
    /// The keyspace whose shards are held.
    pub fn keyspace(&self) -> &'static Keyspace {
        self.keyspace
    }

    /// Whether the shard is held.
    #[inline]
    pub fn has(&self, shard: usize) -> bool {
        shard == self.one || self.held.has(shard)
    }

    /// Whether all of `set` are held.
    pub fn covers(&self, set: &ShardSet) -> bool {
        let mut held = self.held;
        if self.one < SHARDS {
            held.add(self.one);
        }
        held.covers(set)
    }

    /// Asks the processor for the entry of a key, whose shard is held.
    pub fn prefetch_entry(&self, hash: u64, db: u32) {
        if let Some(db) = self.shard(shard_of(hash)).db(db) {
            db.keys.prefetch(hash);
        }
    }

    /// A shard that is held.
    #[inline]
    pub fn shard(&self, shard: usize) -> &Shard {
        assert!(self.has(shard), "shard {shard} is not locked by this command");
        // SAFETY: this thread holds the shard's lock, and `&self` excludes `shard_mut`.
        unsafe { &*self.keyspace.slots[shard].lock.data_ptr() }
    }

    /// A shard that is held, to be changed.
    #[inline]
    pub fn shard_mut(&mut self, shard: usize) -> &mut Shard {
        assert!(self.has(shard), "shard {shard} is not locked by this command");
        // SAFETY: this thread holds the shard's lock, and `&mut self` excludes every other
        // reference this hold has given out.
        unsafe { &mut *self.keyspace.slots[shard].lock.data_ptr() }
    }

    /// The shards that are held, ascending.
    pub fn shards(&self) -> impl Iterator<Item = usize> + use<> {
        let mut held = self.held;
        if self.one < SHARDS {
            held.add(self.one);
        }
        held.iter()
    }

    /// Publishes where database 0's table of a shard lies now.
    #[inline]
    pub fn publish_hint(&self, shard: usize) {
        if let Some(db) = self.shard(shard).db(0) {
            let (address, mask) = db.keys.prefetch_hint();
            let hint = &self.keyspace.slots[shard].hint;
            if hint[0].load(Ordering::Relaxed) != address {
                hint[0].store(address, Ordering::Relaxed);
                hint[1].store(mask, Ordering::Relaxed);
            }
        }
    }
}

impl Hold {
    /// Lets go of every lock before the end of the command.
    pub fn release(&mut self) {
        let unlock = |shard: usize| {
            // SAFETY: the guard was forgotten in `lock` or `lock_one`, so this thread holds it.
            unsafe { self.keyspace.slots[shard].lock.raw().unlock() }
        };
        if self.one < SHARDS {
            unlock(self.one);
        } else if self.held == ShardSet::ALL {
            (0..SHARDS).for_each(unlock);
        } else {
            self.held.iter().for_each(unlock);
        }
        self.one = usize::MAX;
        self.held = ShardSet::default();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_give_their_shards_ascending() {
        let mut set = ShardSet::default();
        [200, 3, 64, 3, 255].iter().for_each(|shard| set.add(*shard));
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 200, 255]);
        assert_eq!(ShardSet::ALL.iter().count(), SHARDS);
    }

    #[test]
    #[should_panic(expected = "not locked")]
    fn touching_a_shard_without_its_lock_is_refused() {
        let keyspace = Keyspace::new();
        let _ = keyspace.lock_one(3).shard(4);
    }

    #[test]
    fn a_lock_that_is_given_up_leaves_nothing_locked() {
        let keyspace = Keyspace::new();
        let held = keyspace.lock_one(9);
        assert!(keyspace.lock_unless(&ShardSet::ALL, || true).is_none());
        assert!(keyspace.lock_one_unless(9, || true).is_none());
        drop(held);
        assert!(keyspace.lock_one_unless(9, || true).is_some());
        assert!(keyspace.lock_unless(&ShardSet::ALL, || true).is_some());
    }

    #[test]
    fn locks_are_released_when_the_hold_is_dropped() {
        let keyspace = Keyspace::new();
        drop(keyspace.lock_all());
        drop(keyspace.lock_one(7));
        let _all = keyspace.lock_all();
    }
}
