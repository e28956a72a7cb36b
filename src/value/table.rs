//! What sets, hashes and sorted sets share when they are tables.

use crate::base::hash::hash_bytes;
use crate::ds::dict::{Dict, Keyed};
use crate::ds::thin::ThinBlob;

/// Buckets that one call visits at most, for each element it was asked for.
const SCAN_STEPS_PER_ELEMENT: u64 = 10;

/// Entries looked at when the memory of a table is estimated.
const MEMORY_SAMPLES: usize = 8;

/// A member of a set.
#[derive(Clone, Debug)]
pub(super) struct Member(pub(super) ThinBlob);

impl Keyed for Member {
    fn key(&self) -> &[u8] {
        &self.0
    }
}

/// A field of a hash and its value, in one blob: the length of the field as a varint whose lowest
/// bit is kept for fields with a deadline, the field, the value.
#[derive(Clone, Debug)]
pub(super) struct Pair(ThinBlob);

impl Pair {
    pub(super) fn new(field: &[u8], value: &[u8]) -> Pair {
        let mut head = [0; 10];
        let mut used = 0;
        let mut left = field.len() << 1;
        loop {
            head[used] = (left & 0x7f) as u8 | if left > 0x7f { 0x80 } else { 0 };
            left >>= 7;
            used += 1;
            if left == 0 {
                return Pair(ThinBlob::new(&[&head[..used], field, value]));
            }
        }
    }

    pub(super) fn field(&self) -> &[u8] {
        let (start, end) = self.bounds();
        &self.0[start..end]
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.0[self.bounds().1..]
    }

    /// Changes the value, in place if it has the same length.
    pub(super) fn set_value(&mut self, value: &[u8]) {
        let (start, end) = self.bounds();
        if self.0.len() - end == value.len() {
            self.0[end..].copy_from_slice(value);
        } else {
            *self = Pair(ThinBlob::new(&[&self.0[..start], &self.0[start..end], value]));
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    fn bounds(&self) -> (usize, usize) {
        let mut head = 0;
        let mut used = 0;
        for &byte in self.0.iter() {
            head |= usize::from(byte & 0x7f) << (7 * used);
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (used, used + (head >> 1))
    }
}

impl Keyed for Pair {
    fn key(&self) -> &[u8] {
        self.field()
    }
}

pub(super) fn find<'a, E: Keyed>(table: &'a Dict<E>, key: &[u8]) -> Option<&'a E> {
    table.get(hash_bytes(key), key)
}

/// Asks the processor for the bucket of a key whose hash is not known yet, or else for its entry; the
/// hash.
pub(super) fn prefetch<E: Keyed>(
    table: &Dict<E>,
    key: Option<&[u8]>,
    hash: Option<u64>,
) -> Option<u64> {
    if hash.is_some() {
        hash.inspect(|hash| table.prefetch(*hash))
    } else {
        key.map(hash_bytes).inspect(|hash| table.prefetch_bucket(*hash))
    }
}

/// Visits about `count` entries from a cursor on; returns the next cursor.
pub(super) fn scan<E: Keyed>(
    table: &Dict<E>,
    cursor: u64,
    count: usize,
    visit: &mut dyn FnMut(&E),
) -> u64 {
    let mut seen = 0;
    let mut cursor = cursor;
    let mut steps = (count as u64).saturating_mul(SCAN_STEPS_PER_ELEMENT).max(1);
    loop {
        cursor = table.scan(cursor, &mut |entry| {
            seen += 1;
            visit(entry);
        });
        steps -= 1;
        if cursor == 0 || steps == 0 || seen >= count {
            return cursor;
        }
    }
}

/// Estimates the memory of a table and its entries from some of them.
pub(super) fn memory_bytes<E: Keyed>(table: &Dict<E>, entry: impl Fn(&E) -> usize) -> usize {
    let samples = table.len().min(MEMORY_SAMPLES);
    let sampled: usize = table.iter().take(samples).map(entry).sum();
    let entries = sampled.checked_div(samples).map_or(0, |mean| mean * table.len());
    size_of::<Dict<E>>() + table.memory_bytes() + entries
}
