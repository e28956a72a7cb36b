//! Hashes: fields with values, and deadlines of those fields that have one.
//!
//! Most hashes have none, and are nothing but their fields. A hash becomes timed with the first
//! deadline, and stays it.

use crate::base::clock::UnixMs;
use crate::ds::deadlines::Deadlines;
use crate::ds::listpack::{Item, Listpack, ListpackRef};
use crate::ds::tagged::Tagged;
use crate::ds::tagged::Which::{Large, Small};
use crate::value::fields::Fields;
use crate::value::{Limits, Malformed};

/// A hash.
#[derive(Clone)]
pub struct Hash(Tagged<Fields, Timed, 2>);

#[derive(Clone)]
struct Timed {
    fields: Fields,
    /// Every name is that of a field.
    deadlines: Deadlines,
}

const _: () = assert!(size_of::<Hash>() == 8);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash(Tagged::small(Fields::new()))
    }

    /// An empty hash to be filled with `count` fields.
    pub fn for_load(count: usize, limits: &Limits) -> Hash {
        Hash(Tagged::small(Fields::for_load(count, limits)))
    }

    /// Adopts a listpack of fields and values, after checking that none is there twice.
    pub fn from_listpack(listpack: Listpack, limits: &Limits) -> Result<Hash, Malformed> {
        Ok(Hash(Tagged::small(Fields::from_listpack(listpack, limits)?)))
    }

    #[inline]
    fn fields(&self) -> &Fields {
        match self.0.get() {
            Small(fields) => fields,
            Large(timed) => &timed.fields,
        }
    }

    #[inline]
    fn fields_mut(&mut self) -> &mut Fields {
        match self.0.get_mut() {
            Small(fields) => fields,
            Large(timed) => &mut timed.fields,
        }
    }

    /// Makes ready for up to `count` more fields, where the longest field or value has `longest`
    /// bytes: leaves the listpack if they would burst it.
    pub fn expect(&mut self, count: usize, longest: usize, limits: &Limits) {
        self.fields_mut().expect(count, longest, limits);
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields().len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match (self.0.get(), self.fields().listpack()) {
            (Large(_), Some(_)) => "listpackex",
            _ => self.fields().encoding(),
        }
    }

    /// Bytes of memory this takes; of a table, an estimate.
    pub fn memory_bytes(&self) -> usize {
        let timed = match self.0.get() {
            Small(_) => 0,
            Large(timed) => size_of::<Timed>() + timed.deadlines.memory_bytes(),
        };
        self.fields().memory_bytes() + timed
    }

    /// The listpack of fields and values, if the hash is one.
    pub fn listpack(&self) -> Option<ListpackRef<'_>> {
        self.fields().listpack()
    }

    /// See `ValueRef::prefetch`.
    pub(super) fn prefetch(&self, field: Option<&[u8]>, hash: Option<u64>) -> Option<u64> {
        self.fields().prefetch(field, hash)
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        self.fields().get(field)
    }

    /// Whether the field is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets a field, which then has no deadline; says whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        match self.0.get_mut() {
            Small(fields) => fields.set(field, value, limits),
            Large(timed) => {
                timed.deadlines.remove(field);
                timed.fields.set(field, value, limits)
            }
        }
    }

    /// Sets a field, which keeps its deadline; says whether it is new.
    pub fn set_keeping_deadline(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.fields_mut().set(field, value, limits)
    }

    /// Removes a field; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self.0.get_mut() {
            Small(fields) => fields.remove(field),
            Large(timed) => {
                timed.deadlines.remove(field);
                timed.fields.remove(field)
            }
        }
    }

    /// The fields and their values; those of a listpack in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        self.fields().iter()
    }

    /// A random field and its value.
    pub fn random(&self) -> Option<(Item<'_>, Item<'_>)> {
        self.fields().random()
    }

    /// Visits about `count` fields from a cursor on, and returns the next cursor; a small hash at
    /// once. See `Dict::scan` for what is promised.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(Item<'_>, Item<'_>),
    ) -> u64 {
        self.fields().scan(cursor, count, visit)
    }

    /// The deadlines of fields; `None` when there is none.
    #[inline]
    pub fn deadlines(&self) -> Option<&Deadlines> {
        match self.0.get() {
            Small(_) => None,
            Large(timed) => Some(&timed.deadlines).filter(|deadlines| !deadlines.is_empty()),
        }
    }

    /// Whether a field has, or had, a deadline.
    #[inline]
    pub fn is_timed(&self) -> bool {
        matches!(self.0.get(), Large(_))
    }

    /// The deadline of a field.
    pub fn deadline(&self, field: &[u8]) -> Option<UnixMs> {
        self.deadlines()?.get(field)
    }

    /// The earliest deadline of a field.
    #[inline]
    pub fn next_deadline(&self) -> Option<UnixMs> {
        self.deadlines()?.next()
    }

    /// Gives a field a deadline; one that is not there gets none.
    pub fn set_deadline(&mut self, field: &[u8], at: UnixMs) {
        if !self.contains(field) {
            return;
        }
        if let Small(fields) = self.0.get_mut() {
            let fields = std::mem::replace(fields, Fields::new());
            self.0 = Tagged::large(Timed { fields, deadlines: Deadlines::default() });
        }
        if let Large(timed) = self.0.get_mut() {
            timed.deadlines.set(field, at);
        }
    }

    /// Takes the deadline of a field away; says whether it had one.
    pub fn clear_deadline(&mut self, field: &[u8]) -> bool {
        match self.0.get_mut() {
            Small(_) => false,
            Large(timed) => timed.deadlines.remove(field),
        }
    }

    /// Removes up to `max` fields whose deadlines have passed, the earliest first.
    pub fn take_due(&mut self, now: UnixMs, max: usize) -> Vec<Box<[u8]>> {
        let mut taken = Vec::new();
        let Large(timed) = self.0.get_mut() else { return taken };
        while taken.len() < max
            && let Some(field) = timed.deadlines.due(now)
        {
            let field: Box<[u8]> = field.into();
            timed.deadlines.remove(&field);
            timed.fields.remove(&field);
            taken.push(field);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hash_changes_encoding_at_the_limits_of_redis() {
        let limits = Limits::default();
        let mut hash = Hash::new();
        for n in 0..512 {
            assert!(hash.set(n.to_string().as_bytes(), b"v", &limits));
        }
        assert_eq!(hash.encoding(), "listpack");
        assert!(hash.set(b"more", b"v", &limits));
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 513));
        let mut hash = Hash::new();
        hash.set(b"f", &[b'x'; 64], &limits);
        assert_eq!(hash.encoding(), "listpack");
        hash.set(b"f", &[b'x'; 65], &limits);
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 1));
        assert_eq!(Hash::for_load(513, &limits).encoding(), "hashtable");
    }

    #[test]
    fn malformed_listpacks_are_refused() {
        let limits = Limits::default();
        let odd = Listpack::from_items([Item::Int(5)]);
        assert_eq!(Hash::from_listpack(odd, &limits).unwrap_err(), Malformed::Odd);
        let twice = Listpack::from_items([5, 6, 5, 7].map(Item::Int));
        assert_eq!(Hash::from_listpack(twice, &limits).unwrap_err(), Malformed::Duplicate);
    }

    #[test]
    fn deadlines_follow_their_fields() {
        let limits = Limits::default();
        let mut hash = Hash::new();
        for field in [b"a", b"b", b"c", b"d"] {
            hash.set(field, b"1", &limits);
            hash.set_deadline(field, UnixMs(u64::from(field[0])));
        }
        assert_eq!(hash.encoding(), "listpackex");
        hash.set_deadline(b"x", UnixMs(1));
        hash.set(b"a", b"2", &limits);
        hash.set_keeping_deadline(b"b", b"2", &limits);
        hash.remove(b"c");
        assert_eq!(hash.next_deadline(), Some(UnixMs(98)));
        assert_eq!((hash.deadline(b"a"), hash.deadline(b"c")), (None, None));
        assert_eq!(hash.take_due(UnixMs(99), 10), [Box::from(*b"b")]);
        assert_eq!((hash.len(), hash.clear_deadline(b"d")), (2, true));
        assert!(hash.deadlines().is_none() && hash.is_timed());
    }

    proptest! {
        #[test]
        fn changes_agree_with_a_map(
            steps in prop::collection::vec((0u8..4, "[0-9a]{0,2}", "[0-9x]{0,200}"), 0..200),
            entries in 0usize..40,
            value in prop_oneof![Just(0usize), Just(64), Just(1000)],
        ) {
            let limits = Limits {
                hash_max_listpack_entries: entries,
                hash_max_listpack_value: value,
                ..Limits::default()
            };
            let mut model = BTreeMap::new();
            let mut hash = Hash::new();
            for (kind, field, value) in steps {
                let (field, value) = (field.into_bytes(), value.into_bytes());
                if kind > 0 {
                    let new = hash.set(&field, &value, &limits);
                    prop_assert_eq!(new, model.insert(field.clone(), value).is_none());
                } else {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                prop_assert_eq!(hash.get(&field).map(Item::to_vec), model.get(&field).cloned());
                prop_assert_eq!(hash.len(), model.len());
            }
            let flat = |(field, value): (Item<'_>, Item<'_>)| (field.to_vec(), value.to_vec());
            let pairs: BTreeMap<_, _> = hash.clone().iter().map(flat).collect();
            prop_assert_eq!(&pairs, &model);
            prop_assert_eq!(hash.random().is_some(), !model.is_empty());
            let mut scanned = BTreeMap::new();
            let mut cursor = 0;
            loop {
                cursor = hash.scan(cursor, 2, &mut |field, value| {
                    scanned.insert(field.to_vec(), value.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(&scanned, &model);
        }
    }
}
