//! The fields of a hash: with their values in turn in a listpack while few and short, else a table.
#![allow(unsafe_code)] // A promise about the layout of `Fields`.

use crate::base::hash::hash_bytes;
use crate::base::rng;
use crate::ds::dict::Dict;
use crate::ds::listpack::{Item, Listpack, ListpackRef};
use crate::ds::tagged::Which::{Large, Small};
use crate::ds::tagged::{Tagged, Word};
use crate::value::table::{self, Pair};
use crate::value::{Either, Limits, Malformed, check_distinct};

/// See the module.
#[derive(Clone)]
#[repr(transparent)]
pub(super) struct Fields(Tagged<Listpack, Dict<Pair>, TAG>);

/// The bit that fields use of their word.
const TAG: usize = 1;

// SAFETY: transparent over a word that uses this bit.
unsafe impl Word for Fields {
    const TAGS: usize = TAG;
}

impl Fields {
    /// An empty hash.
    pub(super) fn new() -> Fields {
        Fields(Tagged::small(Listpack::new()))
    }

    /// See `ValueRef::prefetch`.
    pub(super) fn prefetch(&self, field: Option<&[u8]>, hash: Option<u64>) -> Option<u64> {
        match self.0.get() {
            Large(table) => return table::prefetch(table, field, hash),
            Small(listpack) => listpack.prefetch(),
        }
        None
    }

    /// An empty hash to be filled with `count` fields.
    pub(super) fn for_load(count: usize, limits: &Limits) -> Fields {
        let mut hash = Fields::new();
        hash.expect(count, 0, limits);
        hash
    }

    /// Adopts a listpack of fields and values, after checking that none is there twice.
    pub(super) fn from_listpack(listpack: Listpack, limits: &Limits) -> Result<Fields, Malformed> {
        let len = listpack.len();
        if !len.is_multiple_of(2) {
            return Err(Malformed::Odd);
        }
        check_distinct(listpack.iter().step_by(2))?;
        let mut hash = Fields(Tagged::small(listpack));
        if len / 2 > limits.hash_max_listpack_entries {
            hash.convert_to_table(0);
        }
        Ok(hash)
    }

    /// Makes ready for up to `count` more fields, where the longest field or value has `longest`
    /// bytes: leaves the listpack if they would burst it.
    pub(super) fn expect(&mut self, count: usize, longest: usize, limits: &Limits) {
        if count > limits.hash_max_listpack_entries || longest > limits.hash_max_listpack_value {
            self.convert_to_table(count);
        }
    }

    /// The number of fields.
    pub(super) fn len(&self) -> usize {
        match self.0.get() {
            Small(listpack) => listpack.len() / 2,
            Large(table) => table.len(),
        }
    }

    /// The encoding OBJECT ENCODING answers.
    pub(super) fn encoding(&self) -> &'static str {
        match self.0.get() {
            Small(_) => "listpack",
            Large(_) => "hashtable",
        }
    }

    /// Bytes of memory this takes; of a table, an estimate.
    pub(super) fn memory_bytes(&self) -> usize {
        match self.0.get() {
            Small(listpack) => listpack.memory_bytes(),
            Large(table) => table::memory_bytes(table, Pair::memory_bytes),
        }
    }

    /// The listpack, if the hash is one.
    pub(super) fn listpack(&self) -> Option<ListpackRef<'_>> {
        match self.0.get() {
            Small(listpack) => Some(listpack.view()),
            Large(_) => None,
        }
    }

    /// The value of a field.
    pub(super) fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match self.0.get() {
            Small(listpack) => {
                let view = listpack.view();
                let pos = view.next(view.find(field, 1)?)?;
                Some(view.item(pos))
            }
            Large(table) => Some(Item::Bytes(table::find(table, field)?.value())),
        }
    }

    /// Sets a field; says whether it is new.
    pub(super) fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        match self.0.get_mut() {
            Small(listpack) => {
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
            Large(table) => {
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
    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        match self.0.get_mut() {
            Small(listpack) => match listpack.view().find(field, 1) {
                Some(pos) => listpack.remove_many(pos, 2) > 0,
                None => false,
            },
            Large(table) => table.remove(hash_bytes(field), field).is_some(),
        }
    }

    /// The fields and their values; those of a listpack in the order they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        match self.0.get() {
            Small(listpack) => Either::Left(listpack.view().pairs()),
            Large(table) => Either::Right(table.iter().map(items)),
        }
    }

    /// A random field and its value.
    pub(super) fn random(&self) -> Option<(Item<'_>, Item<'_>)> {
        match self.0.get() {
            Small(listpack) => {
                let index = rng::below(self.len() as u64) as i64 * 2;
                let view = listpack.view();
                let pos = view.seek(index)?;
                Some((view.item(pos), view.item(view.next(pos)?)))
            }
            Large(table) => table.random().map(items),
        }
    }

    /// Visits about `count` fields from a cursor on, and returns the next cursor; a small hash at
    /// once. See `Dict::scan` for what is promised.
    pub(super) fn scan(
        &self,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(Item<'_>, Item<'_>),
    ) -> u64 {
        match self.0.get() {
            Small(listpack) => {
                listpack.view().pairs().for_each(|(field, value)| visit(field, value));
                0
            }
            Large(table) => table::scan(table, cursor, count, &mut |pair| {
                visit(Item::Bytes(pair.field()), Item::Bytes(pair.value()));
            }),
        }
    }

    /// Makes the hash a table with room for `count` fields.
    fn convert_to_table(&mut self, count: usize) {
        let Small(listpack) = self.0.get() else { return };
        let mut table = Dict::new();
        table.reserve(count.max(listpack.len() / 2 + 1));
        for (field, value) in listpack.view().pairs() {
            let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
            let field = field.bytes(&mut first);
            table.insert_new(hash_bytes(field), Pair::new(field, value.bytes(&mut second)));
        }
        self.0 = Tagged::large(table);
    }
}

fn items(pair: &Pair) -> (Item<'_>, Item<'_>) {
    (Item::Bytes(pair.field()), Item::Bytes(pair.value()))
}
