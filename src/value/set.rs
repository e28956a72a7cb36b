//! Sets: integers in an intset, a few short members in a listpack, else a table.

use crate::base::hash::hash_bytes;
use crate::base::num::{parse_i64, text_len_i64};
use crate::base::rng;
use crate::ds::dict::Dict;
use crate::ds::intset::Intset;
use crate::ds::listpack::{Item, Listpack, ListpackRef};
use crate::ds::tagged::Tagged;
use crate::ds::tagged::Which::{Large, Small};
use crate::ds::thin::ThinBlob;
use crate::value::table::{self, Member};
use crate::value::{Either, Limits, Malformed, check_distinct};

/// A set.
#[derive(Clone)]
pub struct Set(Tagged<Packed, Dict<Member>, 1>);

/// A small set.
type Packed = Tagged<Listpack, Intset, 2>;

/// What a set is, borrowed: shared or to be changed.
enum Repr<I, P, T> {
    Intset(I),
    Listpack(P),
    Table(T),
}

const _: () = assert!(size_of::<Set>() == 8);

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

impl From<Intset> for Set {
    fn from(intset: Intset) -> Set {
        Set(Tagged::small(Tagged::large(intset)))
    }
}

impl From<Listpack> for Set {
    fn from(listpack: Listpack) -> Set {
        Set(Tagged::small(Tagged::small(listpack)))
    }
}

impl From<Dict<Member>> for Set {
    fn from(table: Dict<Member>) -> Set {
        Set(Tagged::large(table))
    }
}

impl Set {
    fn repr(&self) -> Repr<&Intset, &Listpack, &Dict<Member>> {
        match self.0.get() {
            Large(table) => Repr::Table(table),
            Small(packed) => match packed.get() {
                Small(listpack) => Repr::Listpack(listpack),
                Large(intset) => Repr::Intset(intset),
            },
        }
    }

    fn repr_mut(&mut self) -> Repr<&mut Intset, &mut Listpack, &mut Dict<Member>> {
        match self.0.get_mut() {
            Large(table) => Repr::Table(table),
            Small(packed) => match packed.get_mut() {
                Small(listpack) => Repr::Listpack(listpack),
                Large(intset) => Repr::Intset(intset),
            },
        }
    }

    /// See `ValueRef::prefetch`.
    pub(super) fn prefetch(&self, member: Option<&[u8]>, hash: Option<u64>) -> Option<u64> {
        match self.repr() {
            Repr::Table(table) => return table::prefetch(table, member, hash),
            Repr::Listpack(listpack) => listpack.prefetch(),
            Repr::Intset(intset) => intset.prefetch(),
        }
        None
    }

    /// An empty set, which is an intset until `expect` or the first member says otherwise.
    pub fn new() -> Set {
        Intset::new().into()
    }

    /// An empty set that is a listpack.
    pub fn new_listpack() -> Set {
        Listpack::new().into()
    }

    /// An empty set that is a table with room for `count` members.
    pub fn new_table(count: usize) -> Set {
        let mut table = Dict::new();
        table.reserve(count);
        table.into()
    }

    /// An empty set to be filled with `count` members that are not known yet, as from a file.
    pub fn for_load(count: usize, limits: &Limits) -> Set {
        if count > limits.set_max_intset_entries { Set::new_table(count) } else { Set::new() }
    }

    /// Adopts an intset.
    pub fn from_intset(intset: Intset, limits: &Limits) -> Set {
        let mut set = Set::from(intset);
        if set.len() > limits.set_max_intset_entries {
            set.convert_to_table(set.len());
        }
        set
    }

    /// Adopts a listpack of members, after checking that none is there twice.
    pub fn from_listpack(listpack: Listpack, limits: &Limits) -> Result<Set, Malformed> {
        check_distinct(listpack.iter())?;
        let mut set = Set::from(listpack);
        if set.len() > limits.set_max_listpack_entries {
            set.convert_to_table(set.len());
        }
        Ok(set)
    }

    /// Makes ready for up to `count` more members, of which `first` is one: chooses the encoding of
    /// an empty set, and leaves a small encoding that so many members would burst anyway.
    pub fn expect(&mut self, first: &[u8], count: usize, limits: &Limits) {
        if self.is_empty() {
            *self = if count <= limits.set_max_intset_entries && parse_i64(first).is_some() {
                Set::new()
            } else if count <= limits.set_max_listpack_entries {
                Set::new_listpack()
            } else {
                Set::new_table(count)
            };
            return;
        }
        let max = match self.repr() {
            Repr::Intset(_) => limits.set_max_intset_entries,
            Repr::Listpack(_) => limits.set_max_listpack_entries,
            Repr::Table(_) => return,
        };
        if count > max {
            self.convert_to_table(count);
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match self.repr() {
            Repr::Intset(intset) => intset.len(),
            Repr::Listpack(listpack) => listpack.len(),
            Repr::Table(table) => table.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self.repr() {
            Repr::Intset(_) => "intset",
            Repr::Listpack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Bytes of memory this takes; of a table, an estimate.
    pub fn memory_bytes(&self) -> usize {
        match self.repr() {
            Repr::Intset(intset) => intset.memory_bytes(),
            Repr::Listpack(listpack) => listpack.memory_bytes(),
            Repr::Table(table) => table::memory_bytes(table, |member| member.0.memory_bytes()),
        }
    }

    /// The intset, if the set is one.
    pub fn intset(&self) -> Option<&Intset> {
        match self.repr() {
            Repr::Intset(intset) => Some(intset),
            _ => None,
        }
    }

    /// The listpack, if the set is one.
    pub fn listpack(&self) -> Option<ListpackRef<'_>> {
        match self.repr() {
            Repr::Listpack(listpack) => Some(listpack.view()),
            _ => None,
        }
    }

    /// Whether `member` is in the set.
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.repr() {
            Repr::Intset(intset) => parse_i64(member).is_some_and(|value| intset.contains(value)),
            Repr::Listpack(listpack) => listpack.view().find(member, 0).is_some(),
            Repr::Table(table) => table::find(table, member).is_some(),
        }
    }

    /// Adds a member; says whether it is new.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match self.repr_mut() {
            Repr::Intset(intset) => match parse_i64(member) {
                Some(value) => {
                    let added = intset.insert(value);
                    let len = intset.len();
                    if added && len > limits.set_max_intset_entries {
                        self.convert_to_table(len);
                    }
                    added
                }
                None => {
                    self.leave_intset(member, limits);
                    self.add(member, limits)
                }
            },
            Repr::Listpack(listpack) => {
                if listpack.view().find(member, 0).is_some() {
                    return false;
                }
                let len = listpack.len();
                if len < limits.set_max_listpack_entries
                    && member.len() <= limits.set_max_listpack_value
                    && listpack.fits(member.len())
                {
                    listpack.push_back(Item::of(member));
                    return true;
                }
                self.convert_to_table(len + 1);
                self.add(member, limits)
            }
            Repr::Table(table) => {
                let hash = hash_bytes(member);
                if table.get(hash, member).is_some() {
                    return false;
                }
                table.insert_new(hash, Member(ThinBlob::new(&[member])));
                true
            }
        }
    }

    /// Removes a member; says whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.repr_mut() {
            Repr::Intset(intset) => parse_i64(member).is_some_and(|value| intset.remove(value)),
            Repr::Listpack(listpack) => match listpack.view().find(member, 0) {
                Some(pos) => {
                    listpack.remove(pos);
                    true
                }
                None => false,
            },
            Repr::Table(table) => table.remove(hash_bytes(member), member).is_some(),
        }
    }

    /// The members, in no particular order; an intset's ascending.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        match self.repr() {
            Repr::Intset(intset) => Either::Left(Either::Left(intset.iter().map(Item::Int))),
            Repr::Listpack(listpack) => Either::Left(Either::Right(listpack.iter())),
            Repr::Table(table) => Either::Right(table.iter().map(|member| Item::Bytes(&member.0))),
        }
    }

    /// A random member.
    pub fn random(&self) -> Option<Item<'_>> {
        match self.repr() {
            Repr::Intset(intset) => intset.random().map(Item::Int),
            Repr::Listpack(listpack) => listpack.get(rng::below(listpack.len() as u64) as i64),
            Repr::Table(table) => table.random().map(|member| Item::Bytes(&member.0)),
        }
    }

    /// Takes a random member.
    pub fn pop_random(&mut self) -> Option<Vec<u8>> {
        let member = self.random()?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Visits about `count` members from a cursor on, and returns the next cursor; a small set at
    /// once. See `Dict::scan` for what is promised.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Item<'_>)) -> u64 {
        match self.repr() {
            Repr::Table(table) => table::scan(table, cursor, count, &mut |member| {
                visit(Item::Bytes(&member.0));
            }),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Turns a set of nothing but integers into an intset, if it is within the limits, as commands
    /// do that store a result.
    pub fn prefer_intset(&mut self, limits: &Limits) {
        if self.intset().is_some() || self.len() > limits.set_max_intset_entries {
            return;
        }
        let mut values = Vec::with_capacity(self.len());
        for item in self.iter() {
            let Some(value) = item.as_i64() else { return };
            values.push(value);
        }
        values.sort_unstable();
        let mut intset = Intset::new();
        for value in values {
            intset.insert(value);
        }
        *self = intset.into();
    }

    /// Makes the set a table. For DEBUG and tests; else the limits decide.
    pub fn convert_to_table(&mut self, count: usize) {
        if matches!(self.repr(), Repr::Table(_)) {
            return;
        }
        let mut table = Dict::new();
        table.reserve(count.max(self.len()));
        for item in self.iter() {
            item.with_bytes(|member| {
                table.insert_new(hash_bytes(member), Member(ThinBlob::new(&[member])));
            });
        }
        *self = table.into();
    }

    /// Turns an intset into what can hold `member`, which is not an integer.
    fn leave_intset(&mut self, member: &[u8], limits: &Limits) {
        let Repr::Intset(intset) = self.repr() else { return };
        let ends = [intset.get(0), intset.len().checked_sub(1).and_then(|last| intset.get(last))];
        let longest = ends.into_iter().flatten().map(text_len_i64).max().unwrap_or(0);
        if intset.len() < limits.set_max_listpack_entries
            && longest.max(member.len()) <= limits.set_max_listpack_value
        {
            *self = Listpack::from_items(intset.iter().map(Item::Int)).into();
        } else {
            self.convert_to_table(intset.len() + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set_of(members: impl IntoIterator<Item = String>, limits: &Limits) -> Set {
        let mut set = Set::new();
        for member in members {
            set.add(member.as_bytes(), limits);
        }
        set
    }

    #[test]
    fn set_changes_encoding_at_the_limits_of_redis() {
        let limits = Limits::default();
        let numbers = |count: usize| (0..count).map(|n| n.to_string());
        assert_eq!(set_of(numbers(512), &limits).encoding(), "intset");
        assert_eq!(set_of(numbers(513), &limits).encoding(), "hashtable");
        let with_text = |count| numbers(count).chain(["x".to_owned()]);
        assert_eq!(set_of(with_text(127), &limits).encoding(), "listpack");
        assert_eq!(set_of(with_text(128), &limits).encoding(), "hashtable");
        assert_eq!(set_of(["x".repeat(64)], &limits).encoding(), "listpack");
        assert_eq!(set_of(["x".repeat(65)], &limits).encoding(), "hashtable");
        let mut set = Set::new();
        set.expect(b"1", 513, &limits);
        assert_eq!(set.encoding(), "hashtable");
        set = Set::new();
        set.expect(b"a", 128, &limits);
        assert_eq!(set.encoding(), "listpack");
        set.add(b"17", &limits);
        assert_eq!(set.encoding(), "listpack");
        set.prefer_intset(&limits);
        assert_eq!(set.encoding(), "intset");
        set.expect(b"1", 513, &limits);
        assert_eq!((set.encoding(), set.contains(b"17")), ("hashtable", true));
    }

    #[test]
    fn listpack_with_a_member_twice_is_refused() {
        let listpack = Listpack::from_items([Item::Int(5), Item::Bytes(b"5")]);
        let refused = Set::from_listpack(listpack, &Limits::default());
        assert_eq!(refused.unwrap_err(), Malformed::Duplicate);
    }

    proptest! {
        #[test]
        fn changes_agree_with_a_tree(
            steps in prop::collection::vec((0u8..4, "[0-9a]{0,3}"), 0..300),
            entries in 0usize..40,
        ) {
            let limits = Limits {
                set_max_intset_entries: entries,
                set_max_listpack_entries: entries * 2,
                ..Limits::default()
            };
            let mut model = BTreeSet::new();
            let mut set = Set::new();
            for (kind, member) in steps {
                let member = member.into_bytes();
                if kind > 0 {
                    prop_assert_eq!(set.add(&member, &limits), model.insert(member.clone()));
                } else {
                    prop_assert_eq!(set.remove(&member), model.remove(&member));
                }
                prop_assert_eq!(set.contains(&member), model.contains(&member));
                prop_assert_eq!(set.len(), model.len());
            }
            let members: BTreeSet<_> = set.clone().iter().map(Item::to_vec).collect();
            prop_assert_eq!(&members, &model);
            let mut scanned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, 3, &mut |member| {
                    scanned.insert(member.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(&scanned, &model);
            while let Some(member) = set.pop_random() {
                prop_assert!(model.remove(&member));
            }
            prop_assert!(model.is_empty());
        }
    }
}
