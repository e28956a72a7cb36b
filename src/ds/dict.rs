//! A hash table of owned, pointer-sized entries that grows and shrinks step by step.
//!
//! A bucket is one cache line: seven one-byte fingerprints, a byte of metadata and seven entries.
//! A full bucket chains to another by giving up its last slot. Resizing keeps two tables and moves
//! a bucket with every insertion, so no single operation is long. SCAN walks buckets in
//! reverse-binary order, which keeps Redis's guarantee (every entry that is present throughout is
//! seen) while the table grows or shrinks between two calls.
//!
//! Invariants, kept by every method:
//!   1. slot `i` of a bucket is initialized exactly if bit `i` of `meta` is set; bit 7 says that
//!      slot 6 holds the address of a further bucket instead, and then bit 6 is clear;
//!   2. `tables[1]` is allocated exactly while a resize is under way; the buckets of `tables[0]`
//!      below `moved` are then empty, and insertions go to `tables[1]`;
//!   3. an entry lies in the chain of bucket `hash & (buckets - 1)` of one of the tables;
//!   4. a bucket further down a chain is never empty.
#![allow(unsafe_code)] // Buckets are uninitialized memory in part, and chains are raw pointers.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::ptr::NonNull;

use crate::base::hash::hash_bytes;
use crate::base::rng;
use crate::ds::prefetch::prefetch_address;

/// What a table holds: an owned handle of one pointer that knows its key.
pub trait Keyed {
    /// The bytes the entry is found by; they never change while it is in a table.
    fn key(&self) -> &[u8];
}

const SLOTS: usize = 7;
const CHAINED: u8 = 0x80;
/// Entries a bucket holds on average when the table begins to grow.
const FILL_GROW_NUMERATOR: usize = 28;
const FILL_GROW_DENOMINATOR: usize = 5;
/// Tables of at least so many buckets grow that share of their entries earlier or later.
const BUCKETS_SPREAD: usize = 256;
const SPREAD_SHARE: usize = 20;
/// A table with less than one entry in this many slots begins to shrink.
const SHRINK_SLOTS_PER_ENTRY: usize = 10;
/// Empty buckets passed over in one step of a resize.
const EMPTY_VISITS_MAX: usize = 10;
/// A chain is taken to have at most this many entries when a random one is drawn.
const RANDOM_CHAIN_MAX: u64 = 16;

#[repr(C, align(64))]
struct Bucket<E> {
    tags: [u8; SLOTS],
    meta: u8,
    slots: [MaybeUninit<E>; SLOTS],
}

struct Table<E> {
    buckets: NonNull<Bucket<E>>,
    /// A power of two, or 0 before anything is allocated.
    count: usize,
}

/// See the module.
pub struct Dict<E: Keyed> {
    tables: [Table<E>; 2],
    len: usize,
    moved: usize,
    /// With so many entries it begins to grow.
    grow_at: usize,
    owns: PhantomData<E>,
}

// SAFETY: a Dict owns its entries and its memory; moving it moves them.
unsafe impl<E: Keyed + Send> Send for Dict<E> {}
// SAFETY: `&Dict` gives out only `&E`.
unsafe impl<E: Keyed + Sync> Sync for Dict<E> {}

/// The fingerprint of a hash: its top byte. Buckets are chosen by the low bits.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

impl<E> Bucket<E> {
    const LAYOUT: Layout = Layout::new::<Bucket<E>>();

    fn is_chained(&self) -> bool {
        self.meta & CHAINED != 0
    }

    fn child(&self) -> Option<NonNull<Bucket<E>>> {
        if !self.is_chained() {
            return None;
        }
        // SAFETY: invariant 1: slot 6 holds the address written by `set_child`.
        NonNull::new(unsafe { self.slots[SLOTS - 1].as_ptr().cast::<*mut Bucket<E>>().read() })
    }

    fn set_child(&mut self, child: NonNull<Bucket<E>>) {
        // SAFETY: a slot has the size and alignment of a pointer (asserted in `Dict::new`).
        unsafe { self.slots[SLOTS - 1].as_mut_ptr().cast::<*mut Bucket<E>>().write(child.as_ptr()) }
        self.meta |= CHAINED;
    }

    /// Bits of the occupied slots.
    #[inline]
    fn present(&self) -> u8 {
        self.meta & !CHAINED
    }

    /// Bits of the slots whose fingerprint is `tag` and that are occupied.
    #[inline]
    fn candidates(&self, tag: u8) -> u64 {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let mut word = [0u8; 8];
        word[..SLOTS].copy_from_slice(&self.tags);
        word[SLOTS] = !tag;
        let differs = u64::from_le_bytes(word) ^ (u64::from(tag) * 0x0101_0101_0101_0101);
        // 0x80 in exactly the bytes that are zero.
        !(((differs & LOW) + LOW) | differs | LOW)
    }

    /// A free slot of this bucket alone.
    fn free_slot(&self) -> Option<usize> {
        let usable: u8 = if self.is_chained() { 0x3f } else { 0x7f };
        let free = !self.meta & usable;
        (free != 0).then(|| free.trailing_zeros() as usize)
    }

    fn put(&mut self, slot: usize, tag: u8, entry: E) {
        debug_assert!(self.meta & (1 << slot) == 0);
        self.tags[slot] = tag;
        self.slots[slot].write(entry);
        self.meta |= 1 << slot;
    }

    fn take(&mut self, slot: usize) -> E {
        debug_assert!(self.meta & (1 << slot) != 0);
        self.meta &= !(1 << slot);
        // SAFETY: the bit was set (callers pass occupied slots), so invariant 1 holds; the bit is
        // cleared, so nothing reads the slot again.
        unsafe { self.slots[slot].assume_init_read() }
    }
}

impl<E> Table<E> {
    const EMPTY: Table<E> = Table { buckets: NonNull::dangling(), count: 0 };

    fn layout(count: usize) -> Layout {
        Layout::array::<Bucket<E>>(count).expect("a table fits the address space")
    }

    fn with_buckets(count: usize) -> Table<E> {
        debug_assert!(count.is_power_of_two());
        let layout = Table::<E>::layout(count);
        // SAFETY: the layout has a size. Zero bytes are empty buckets: meta 0.
        let memory = unsafe { alloc_zeroed(layout) }.cast::<Bucket<E>>();
        let Some(buckets) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Table { buckets, count }
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        hash as usize & (self.count - 1)
    }

    #[inline]
    fn bucket(&self, index: usize) -> NonNull<Bucket<E>> {
        debug_assert!(index < self.count);
        // SAFETY: callers pass an index below `count`.
        unsafe { self.buckets.add(index) }
    }

    fn free(&mut self) {
        if self.count != 0 {
            // SAFETY: allocated in `with_buckets` with the same layout; entries were moved out or
            // dropped by the caller.
            unsafe { dealloc(self.buckets.as_ptr().cast(), Table::<E>::layout(self.count)) }
            *self = Table::EMPTY;
        }
    }
}

/// An occupied slot: the chain it belongs to, its bucket, its number.
struct Location<E> {
    first: NonNull<Bucket<E>>,
    bucket: NonNull<Bucket<E>>,
    slot: usize,
}

/// The buckets of one chain, first to last.
struct Chain<E> {
    next: Option<NonNull<Bucket<E>>>,
}

impl<E> Iterator for Chain<E> {
    type Item = NonNull<Bucket<E>>;

    fn next(&mut self) -> Option<NonNull<Bucket<E>>> {
        let bucket = self.next?;
        // SAFETY: a chain holds live buckets of a table that its user has borrowed.
        self.next = unsafe { bucket.as_ref() }.child();
        Some(bucket)
    }
}

impl<E: Keyed> Default for Dict<E> {
    fn default() -> Dict<E> {
        Dict::new()
    }
}

impl<E: Keyed + Clone> Clone for Dict<E> {
    fn clone(&self) -> Dict<E> {
        let mut copy = Dict::new();
        copy.reserve(self.len());
        for entry in self.iter() {
            copy.insert_new(hash_bytes(entry.key()), entry.clone());
        }
        copy
    }
}

impl<E: Keyed> Dict<E> {
    const POINTER_SIZED: () = assert!(
        size_of::<E>() == size_of::<usize>() && size_of::<Bucket<E>>() == 64,
        "entries are handles of one pointer"
    );

    /// An empty table, which holds no memory yet.
    pub fn new() -> Dict<E> {
        const { Self::POINTER_SIZED };
        Dict {
            tables: [Table::EMPTY, Table::EMPTY],
            len: 0,
            moved: 0,
            grow_at: 0,
            owns: PhantomData,
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a resize is under way.
    pub fn is_resizing(&self) -> bool {
        self.tables[1].count != 0
    }

    /// Slots of the tables, as DEBUG HTSTATS shows them: of the present one and of the one that is
    /// being moved to.
    pub fn slots(&self) -> [usize; 2] {
        [self.tables[0].count * SLOTS, self.tables[1].count * SLOTS]
    }

    /// Bytes of the tables, without the entries.
    pub fn memory_bytes(&self) -> usize {
        let mut buckets = self.tables[0].count + self.tables[1].count;
        // Chained buckets are counted by their expected share: counting them would walk the table.
        buckets += self.len.saturating_sub(buckets * SLOTS / 2) / 16;
        buckets * size_of::<Bucket<E>>()
    }

    /// Where a key's bucket would be: the address of the table's first bucket and the mask of the
    /// index, for a prefetch that dereferences nothing.
    #[inline]
    pub fn prefetch_hint(&self) -> (usize, usize) {
        let table = &self.tables[usize::from(self.is_resizing())];
        (table.buckets.as_ptr() as usize, table.count.saturating_sub(1))
    }

    /// Asks the processor for the bucket of a hash.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        prefetch_bucket(self.prefetch_hint(), hash);
    }

    /// Asks the processor for the entry's memory, if a fingerprint matches.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        for table in &self.tables {
            if table.count == 0 {
                continue;
            }
            // SAFETY: the bucket is live while self is borrowed.
            let bucket = unsafe { table.bucket(table.index(hash)).as_ref() };
            let mut found = bucket.candidates(tag_of(hash));
            while found != 0 {
                let slot = found.trailing_zeros() as usize / 8;
                found &= found - 1;
                if bucket.present() & (1 << slot) != 0 {
                    // SAFETY: the slot is initialized; it is read as an address only.
                    let address = unsafe { bucket.slots[slot].as_ptr().cast::<usize>().read() };
                    prefetch_address(address & !7);
                    // A small value lies behind the key, most often in the next line.
                    prefetch_address((address & !7) + 64);
                }
            }
        }
    }

    /// Where the entry of `key` lies.
    #[inline]
    fn locate(&self, hash: u64, key: &[u8]) -> Option<Location<E>> {
        let tag = tag_of(hash);
        for table in &self.tables {
            if table.count == 0 {
                continue;
            }
            let first = table.bucket(table.index(hash));
            for bucket in (Chain { next: Some(first) }) {
                // SAFETY: live while self is borrowed.
                let seen = unsafe { bucket.as_ref() };
                let mut found = seen.candidates(tag);
                while found != 0 {
                    let slot = found.trailing_zeros() as usize / 8;
                    found &= found - 1;
                    if seen.present() & (1 << slot) == 0 {
                        continue;
                    }
                    // SAFETY: invariant 1.
                    if unsafe { seen.slots[slot].assume_init_ref() }.key() == key {
                        return Some(Location { first, bucket, slot });
                    }
                }
            }
        }
        None
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<NonNull<E>> {
        let Location { bucket, slot, .. } = self.locate(hash, key)?;
        // SAFETY: in bounds of the bucket. Derived from the table's pointer, so that `get_mut` may
        // write through it.
        let slots = unsafe { &raw mut (*bucket.as_ptr()).slots };
        NonNull::new(slots.cast::<E>().wrapping_add(slot))
    }

    /// The entry of `key`, whose hash is `hash`.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&E> {
        // SAFETY: `find` points into a live, initialized slot.
        self.find(hash, key).map(|at| unsafe { at.as_ref() })
    }

    /// The same to be changed; its key must stay.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut E> {
        // SAFETY: as in `get`, and self is borrowed exclusively.
        self.find(hash, key).map(|mut at| unsafe { at.as_mut() })
    }

    /// Inserts, and returns the entry of the same key that it replaces.
    pub fn insert(&mut self, hash: u64, entry: E) -> Option<E> {
        match self.get_mut(hash, entry.key()) {
            Some(old) => Some(std::mem::replace(old, entry)),
            None => {
                self.insert_new(hash, entry);
                None
            }
        }
    }

    /// Inserts an entry whose key is known to be absent.
    pub fn insert_new(&mut self, hash: u64, entry: E) -> &mut E {
        if self.is_resizing() {
            self.step();
        } else {
            let count = self.tables[0].count;
            if count == 0 {
                self.tables[0] = Table::with_buckets(1);
                self.grow_at = grow_at(1);
            } else if self.len >= self.grow_at {
                self.begin_resize(count * 2);
            }
        }
        let table = &self.tables[usize::from(self.is_resizing())];
        let place = put_in_chain(table.bucket(table.index(hash)), tag_of(hash), entry);
        self.len += 1;
        // SAFETY: just written, and self is borrowed exclusively for the reference's life.
        unsafe { &mut *place.as_ptr() }
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<E> {
        if self.is_resizing() {
            self.step();
        }
        let Location { first, mut bucket, slot } = self.locate(hash, key)?;
        // SAFETY: `locate` points into a live, occupied slot, and self is borrowed exclusively.
        let entry = unsafe { bucket.as_mut() }.take(slot);
        fill_hole(first, bucket, slot);
        self.len -= 1;
        self.shrink_if_sparse();
        Some(entry)
    }

    /// Makes room for `more` further entries at once.
    pub fn reserve(&mut self, more: usize) {
        let count = buckets_for(self.len + more);
        if self.is_resizing() || count <= self.tables[0].count {
            return;
        }
        if self.len == 0 {
            self.tables[0].free();
            self.tables[0] = Table::with_buckets(count);
            self.grow_at = grow_at(count).max(more);
        } else {
            self.begin_resize(count);
        }
    }

    fn shrink_if_sparse(&mut self) {
        let count = self.tables[0].count;
        if !self.is_resizing()
            && count > 1
            && self.len * SHRINK_SLOTS_PER_ENTRY < count * SLOTS
            && buckets_for(self.len * 2) < count
        {
            self.begin_resize(buckets_for(self.len * 2));
        }
    }

    fn begin_resize(&mut self, count: usize) {
        self.tables[1] = Table::with_buckets(count);
        self.moved = 0;
        self.step();
    }

    /// Moves the next bucket of a resize; nothing when none is under way. Says whether there is
    /// more to do.
    pub fn step(&mut self) -> bool {
        if !self.is_resizing() {
            return false;
        }
        for _ in 0..EMPTY_VISITS_MAX {
            if self.moved == self.tables[0].count {
                self.tables[0].free();
                self.tables.swap(0, 1);
                self.grow_at = grow_at(self.tables[0].count);
                return false;
            }
            let from = self.tables[0].bucket(self.moved);
            self.moved += 1;
            if move_chain(from, &self.tables[1]) > 0 {
                break;
            }
        }
        if self.moved < self.tables[0].count {
            prefetch_address(self.tables[0].bucket(self.moved).as_ptr() as usize);
        }
        true
    }

    /// Visits the entries at `cursor` and gives the next cursor; 0 begins and ends. Every entry
    /// that is present from the first call to the last is visited at least once.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(&E)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        if !self.is_resizing() {
            let mask = (self.tables[0].count - 1) as u64;
            visit_chain(self.tables[0].bucket((cursor & mask) as usize), visit);
            return next_cursor(cursor, mask);
        }
        let [small, large] = if self.tables[0].count <= self.tables[1].count {
            [&self.tables[0], &self.tables[1]]
        } else {
            [&self.tables[1], &self.tables[0]]
        };
        let (small_mask, large_mask) = ((small.count - 1) as u64, (large.count - 1) as u64);
        visit_chain(small.bucket((cursor & small_mask) as usize), visit);
        let mut cursor = cursor;
        loop {
            visit_chain(large.bucket((cursor & large_mask) as usize), visit);
            cursor = next_cursor(cursor, large_mask);
            if cursor & (small_mask ^ large_mask) == 0 {
                return cursor;
            }
        }
    }

    /// An entry drawn evenly (chains of more than sixteen entries aside); `None` when empty.
    pub fn random(&self) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        let counts = [self.tables[0].count, self.tables[1].count];
        // Bounded: a table that is nearly empty because a shrink has not finished is walked.
        for _ in 0..2_000 {
            let pick = rng::below((counts[0] + counts[1]) as u64) as usize;
            let bucket = if pick < counts[0] {
                self.tables[0].bucket(pick)
            } else {
                self.tables[1].bucket(pick - counts[0])
            };
            let mut entries = 0;
            visit_chain(bucket, &mut |_| entries += 1);
            if entries == 0 || rng::below(RANDOM_CHAIN_MAX) >= entries {
                continue;
            }
            let chosen = rng::below(entries) as usize;
            return ChainEntries::new(bucket).nth(chosen);
        }
        self.iter().nth(rng::below(self.len as u64) as usize)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> Iter<'_, E> {
        Iter { dict: self, table: 0, bucket: 0, chain: None }
    }

    /// Drops every entry and the memory of the tables.
    pub fn clear(&mut self) {
        *self = Dict::new();
    }

    /// For DEBUG HTSTATS: how many chains have how many entries, up to `limit`, and the longest.
    pub fn chain_lengths(&self, limit: usize) -> (Vec<usize>, usize) {
        let mut lengths = vec![0; limit + 1];
        let mut longest = 0;
        for table in &self.tables {
            for index in 0..table.count {
                let mut entries = 0;
                visit_chain(table.bucket(index), &mut |_| entries += 1);
                longest = longest.max(entries);
                lengths[entries.min(limit)] += 1;
            }
        }
        (lengths, longest)
    }
}

/// Entries with which a table of so many buckets begins to grow. Tables that get entries at the same
/// pace, as the shards of a keyspace do, shall not need their memory at the same moment: the larger
/// ones begin a little earlier or later than each other.
fn grow_at(buckets: usize) -> usize {
    let entries = (buckets * FILL_GROW_NUMERATOR).div_ceil(FILL_GROW_DENOMINATOR);
    if buckets < BUCKETS_SPREAD {
        return entries;
    }
    let spread = entries / SPREAD_SHARE;
    entries - spread + rng::below(2 * spread as u64) as usize
}

/// Buckets a table needs for `entries` without growing at once.
fn buckets_for(entries: usize) -> usize {
    (entries * FILL_GROW_DENOMINATOR / FILL_GROW_NUMERATOR + 1).next_power_of_two()
}

/// The cursor after `cursor` in reverse-binary order over the bits of `mask`.
fn next_cursor(cursor: u64, mask: u64) -> u64 {
    (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
}

/// Prefetches the bucket of `hash` by a published [`Dict::prefetch_hint`], which may be stale.
#[inline]
pub fn prefetch_bucket(hint: (usize, usize), hash: u64) {
    prefetch_address(hint.0.wrapping_add((hash as usize & hint.1) * 64));
}

fn put_in_chain<E>(first: NonNull<Bucket<E>>, tag: u8, entry: E) -> NonNull<E> {
    let mut at = first;
    loop {
        // SAFETY: callers own the table exclusively.
        let bucket = unsafe { at.as_mut() };
        if let Some(slot) = bucket.free_slot() {
            bucket.put(slot, tag, entry);
            return NonNull::from(&mut bucket.slots[slot]).cast();
        }
        if let Some(child) = bucket.child() {
            at = child;
            continue;
        }
        let mut child = new_bucket::<E>();
        // The last entry makes way for the child's address.
        let displaced_tag = bucket.tags[SLOTS - 1];
        let displaced = bucket.take(SLOTS - 1);
        // SAFETY: `new_bucket` gives an empty, live bucket that nobody else knows.
        let below = unsafe { child.as_mut() };
        below.put(0, displaced_tag, displaced);
        below.put(1, tag, entry);
        bucket.set_child(child);
        return NonNull::from(&mut below.slots[1]).cast();
    }
}

fn new_bucket<E>() -> NonNull<Bucket<E>> {
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc(Bucket::<E>::LAYOUT) }.cast::<Bucket<E>>();
    let Some(bucket) = NonNull::new(memory) else { handle_alloc_error(Bucket::<E>::LAYOUT) };
    // SAFETY: freshly allocated for one bucket; an empty bucket needs its tags and meta only.
    unsafe {
        (*bucket.as_ptr()).tags = [0; SLOTS];
        (*bucket.as_ptr()).meta = 0;
    }
    bucket
}

/// Fills the hole that a removal left with an entry of the chain's last bucket, and frees that
/// bucket when it is empty.
fn fill_hole<E>(first: NonNull<Bucket<E>>, mut hole: NonNull<Bucket<E>>, slot: usize) {
    let mut parent = None;
    let mut last = first;
    loop {
        // SAFETY: callers own the table exclusively, and each bucket is borrowed alone.
        let child = unsafe { last.as_ref() }.child();
        let Some(child) = child else { break };
        parent = Some(last);
        last = child;
    }
    let Some(mut parent) = parent else { return };
    if last != hole {
        // SAFETY: see above; `last` and `hole` are distinct.
        let (from, to) = unsafe { (last.as_mut(), hole.as_mut()) };
        let taken = from.present().trailing_zeros() as usize;
        let tag = from.tags[taken];
        let entry = from.take(taken);
        to.put(slot, tag, entry);
    }
    // SAFETY: see above.
    if unsafe { last.as_ref() }.present() == 0 {
        // SAFETY: the last bucket of a chain has no child and, now, no entries; its parent forgets
        // it before it is freed.
        unsafe {
            parent.as_mut().meta &= !CHAINED;
            dealloc(last.as_ptr().cast(), Bucket::<E>::LAYOUT);
        }
    }
}

/// Moves every entry of a chain into `to`, frees its further buckets, and says how many there were.
fn move_chain<E: Keyed>(first: NonNull<Bucket<E>>, to: &Table<E>) -> usize {
    let mut entries = 0;
    let mut next = Some(first);
    while let Some(mut at) = next {
        // SAFETY: the caller owns both tables exclusively.
        let bucket = unsafe { at.as_mut() };
        next = bucket.child();
        // The keys are hashed anew: let their memory come all at once.
        let mut ahead = bucket.present();
        while ahead != 0 {
            let slot = ahead.trailing_zeros() as usize;
            ahead &= ahead - 1;
            // SAFETY: invariant 1; the entry is read as an address only.
            let address = unsafe { bucket.slots[slot].as_ptr().cast::<usize>().read() };
            prefetch_address(address & !7);
        }
        let mut present = bucket.present();
        while present != 0 {
            let slot = present.trailing_zeros() as usize;
            present &= present - 1;
            let entry = bucket.take(slot);
            let hash = hash_bytes(entry.key());
            put_in_chain(to.bucket(to.index(hash)), tag_of(hash), entry);
            entries += 1;
        }
        bucket.meta = 0;
        if at != first {
            // SAFETY: emptied above, and its parent's link was cleared.
            unsafe { dealloc(at.as_ptr().cast(), Bucket::<E>::LAYOUT) }
        }
    }
    entries
}

fn visit_chain<E>(first: NonNull<Bucket<E>>, visit: &mut dyn FnMut(&E)) {
    ChainEntries::new(first).for_each(visit);
}

/// The entries of one chain. The caller keeps the table borrowed for `'a`.
struct ChainEntries<'a, E> {
    bucket: Option<&'a Bucket<E>>,
    present: u8,
}

impl<'a, E> ChainEntries<'a, E> {
    fn new(first: NonNull<Bucket<E>>) -> ChainEntries<'a, E> {
        // SAFETY: the caller keeps the table borrowed for 'a.
        let bucket: &'a Bucket<E> = unsafe { &*first.as_ptr() };
        ChainEntries { bucket: Some(bucket), present: bucket.present() }
    }
}

impl<'a, E> Iterator for ChainEntries<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            let bucket = self.bucket?;
            if self.present != 0 {
                let slot = self.present.trailing_zeros() as usize;
                self.present &= self.present - 1;
                // SAFETY: invariant 1.
                return Some(unsafe { bucket.slots[slot].assume_init_ref() });
            }
            // SAFETY: a child is live as long as its parent.
            self.bucket = bucket.child().map(|child| unsafe { &*child.as_ptr() });
            self.present = self.bucket.map_or(0, Bucket::present);
        }
    }
}

/// An iterator over all entries of a table.
pub struct Iter<'a, E: Keyed> {
    dict: &'a Dict<E>,
    table: usize,
    bucket: usize,
    chain: Option<ChainEntries<'a, E>>,
}

impl<'a, E: Keyed> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some(entry) = self.chain.as_mut().and_then(Iterator::next) {
                return Some(entry);
            }
            if self.table == 2 {
                return None;
            }
            let table = &self.dict.tables[self.table];
            if self.bucket == table.count {
                self.table += 1;
                self.bucket = 0;
                self.chain = None;
                continue;
            }
            self.chain = Some(ChainEntries::new(table.bucket(self.bucket)));
            self.bucket += 1;
        }
    }
}

impl<E: Keyed> Drop for Dict<E> {
    fn drop(&mut self) {
        for table in &mut self.tables {
            for index in 0..table.count {
                let first = table.bucket(index);
                let mut next = Some(first);
                while let Some(mut at) = next {
                    // SAFETY: dropped exclusively; each bucket is freed after its entries.
                    let bucket = unsafe { at.as_mut() };
                    next = bucket.child();
                    let mut present = bucket.present();
                    while present != 0 {
                        drop(bucket.take(present.trailing_zeros() as usize));
                        present &= present - 1;
                    }
                    if at != first {
                        // SAFETY: no entries and no parent that will look at it again.
                        unsafe { dealloc(at.as_ptr().cast(), Bucket::<E>::LAYOUT) }
                    }
                }
            }
            table.free();
        }
    }
}

#[cfg(test)]
mod tests;
