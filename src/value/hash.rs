//! Hashes: fields and values in turn in a listpack while few and short, else a table.

use crate::base::hash::hash_bytes;
use crate::base::rng;
use crate::ds::dict::Dict;
use crate::ds::listpack::{Item, Listpack, ListpackRef};
use crate::value::table::{self, Pair};
use crate::value::{Either, Limits, Malformed, check_distinct};

/// A hash.
pub struct Hash(Repr);

enum Repr {
    Listpack(Listpack),
    Table(Box<Dict<Pair>>),
}

const _: () = assert!(size_of::<Hash>() <= 16);

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

impl Clone for Hash {
    fn clone(&self) -> Hash {
        Hash(match &self.0 {
            Repr::Listpack(listpack) => Repr::Listpack(listpack.clone()),
            Repr::Table(table) => Repr::Table(Box::new(table::copy(table))),
        })
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash(Repr::Listpack(Listpack::new()))
    }

    /// An empty hash to be filled with `count` fields.
    pub fn for_load(count: usize, limits: &Limits) -> Hash {
        let mut hash = Hash::new();
        hash.expect(count, 0, limits);
        hash
    }

    /// Adopts a listpack of fields and values, after checking that none is there twice.
    pub fn from_listpack(listpack: Listpack, limits: &Limits) -> Result<Hash, Malformed> {
        let len = listpack.len();
        if !len.is_multiple_of(2) {
            return Err(Malformed::Odd);
        }
        check_distinct(listpack.iter().step_by(2))?;
        let mut hash = Hash(Repr::Listpack(listpack));
        if len / 2 > limits.hash_max_listpack_entries {
            hash.convert_to_table(0);
        }
        Ok(hash)
    }

    /// Makes ready for up to `count` more fields, where the longest field or value has `longest`
    /// bytes: leaves the listpack if they would burst it.
    pub fn expect(&mut self, count: usize, longest: usize, limits: &Limits) {
        if count > limits.hash_max_listpack_entries || longest > limits.hash_max_listpack_value {
            self.convert_to_table(count);
        }
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Listpack(listpack) => listpack.len() / 2,
            Repr::Table(table) => table.len(),
        }
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Listpack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Bytes of memory this takes; of a table, an estimate.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Repr::Listpack(listpack) => listpack.memory_bytes(),
            Repr::Table(table) => table::memory_bytes(table, Pair::memory_bytes),
        }
    }

    /// The listpack, if the hash is one.
    pub fn listpack(&self) -> Option<ListpackRef<'_>> {
        match &self.0 {
            Repr::Listpack(listpack) => Some(listpack.view()),
            Repr::Table(_) => None,
        }
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match &self.0 {
            Repr::Listpack(listpack) => {
                let view = listpack.view();
                let pos = view.next(view.find(field, 1)?)?;
                Some(view.item(pos))
            }
            Repr::Table(table) => Some(Item::Bytes(table::find(table, field)?.value())),
        }
    }

    /// Whether the field is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets a field; says whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Repr::Listpack(listpack) => {
                let max = limits.hash_max_listpack_value;
                let long = field.len() > max || value.len() > max;
                if long || !listpack.fits(field.len() + value.len()) {
                    self.convert_to_table(0);
                    return self.set(field, value, limits);
                }
                let view = listpack.view();
                if let Some(pos) = view.find(field, 1).and_then(|pos| view.next(pos)) {
                    listpack.replace(pos, Item::of(value));
                    return false;
                }
                listpack.insert_pair(view.end(), Item::of(field), Item::of(value));
                if listpack.len() / 2 > limits.hash_max_listpack_entries {
                    self.convert_to_table(0);
                }
                true
            }
            Repr::Table(table) => {
                let hash = hash_bytes(field);
                if let Some(pair) = table.get_mut(hash, field) {
                    pair.set_value(value);
                    return false;
                }
                table.insert_new(hash, Pair::new(field, value));
                true
            }
        }
    }

    /// Removes a field; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Listpack(listpack) => match listpack.view().find(field, 1) {
                Some(pos) => listpack.remove_many(pos, 2) > 0,
                None => false,
            },
            Repr::Table(table) => table.remove(hash_bytes(field), field).is_some(),
        }
    }

    /// The fields and their values; those of a listpack in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        match &self.0 {
            Repr::Listpack(listpack) => Either::Left(listpack.view().pairs()),
            Repr::Table(table) => Either::Right(table.iter().map(items)),
        }
    }

    /// A random field and its value.
    pub fn random(&self) -> Option<(Item<'_>, Item<'_>)> {
        match &self.0 {
            Repr::Listpack(listpack) => {
                let index = rng::below(self.len() as u64) as i64 * 2;
                let view = listpack.view();
                let pos = view.seek(index)?;
                Some((view.item(pos), view.item(view.next(pos)?)))
            }
            Repr::Table(table) => table.random().map(items),
        }
    }

    /// Visits about `count` fields from a cursor on, and returns the next cursor; a small hash at
    /// once. See `Dict::scan` for what is promised.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(Item<'_>, Item<'_>),
    ) -> u64 {
        match &self.0 {
            Repr::Listpack(listpack) => {
                listpack.view().pairs().for_each(|(field, value)| visit(field, value));
                0
            }
            Repr::Table(table) => table::scan(table, cursor, count, &mut |pair| {
                visit(Item::Bytes(pair.field()), Item::Bytes(pair.value()));
            }),
        }
    }

    /// Makes the hash a table with room for `count` fields.
    fn convert_to_table(&mut self, count: usize) {
        let Repr::Listpack(listpack) = &self.0 else { return };
        let mut table = Dict::new();
        table.reserve(count.max(listpack.len() / 2 + 1));
        for (field, value) in listpack.view().pairs() {
            let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
            let field = field.bytes(&mut first);
            table.insert_new(hash_bytes(field), Pair::new(field, value.bytes(&mut second)));
        }
        self.0 = Repr::Table(Box::new(table));
    }
}

fn items(pair: &Pair) -> (Item<'_>, Item<'_>) {
    (Item::Bytes(pair.field()), Item::Bytes(pair.value()))
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
