//! What a key can hold: each type with its encodings, and the limits at which one becomes another.

mod fields;
pub mod hash;
pub mod limits;
pub mod list;
pub mod set;
pub mod stream;
mod table;
pub mod zset;

use crate::base::clock::UnixMs;
use crate::base::hash::hash_bytes;
use crate::base::num::parse_i64;
use crate::ds::listpack::Item;
use crate::ds::thin::size_class;

pub use hash::Hash;
pub use limits::Limits;
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use zset::Zset;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A string.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
}

impl Kind {
    /// The name TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Zset => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }

    /// The kind of that name, letters of either case.
    pub fn from_name(name: &[u8]) -> Option<Kind> {
        [Kind::String, Kind::List, Kind::Set, Kind::Zset, Kind::Hash, Kind::Stream]
            .into_iter()
            .find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }
}

/// What a key holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Str(Vec<u8>),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    Zset(Zset),
    /// A stream.
    Stream(Stream),
}

/// The same borrowed, wherever it is stored.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string.
    Str(&'a [u8]),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A hash.
    Hash(&'a Hash),
    /// A sorted set.
    Zset(&'a Zset),
    /// A stream.
    Stream(&'a Stream),
}

/// The same to be changed.
#[derive(Debug)]
pub enum ValueMut<'a> {
    /// A string.
    Str(&'a mut Vec<u8>),
    /// A list.
    List(&'a mut List),
    /// A set.
    Set(&'a mut Set),
    /// A hash.
    Hash(&'a mut Hash),
    /// A sorted set.
    Zset(&'a mut Zset),
    /// A stream.
    Stream(&'a mut Stream),
}

/// Bytes of the longest string that OBJECT ENCODING calls embstr.
const EMBSTR_MAX: usize = 44;

impl Value {
    /// The value borrowed.
    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Value::Str(text) => ValueRef::Str(text),
            Value::List(list) => ValueRef::List(list),
            Value::Set(set) => ValueRef::Set(set),
            Value::Hash(hash) => ValueRef::Hash(hash),
            Value::Zset(zset) => ValueRef::Zset(zset),
            Value::Stream(stream) => ValueRef::Stream(stream),
        }
    }
}

impl ValueRef<'_> {
    /// A copy that owns what it holds.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Str(text) => Value::Str(text.to_vec()),
            ValueRef::List(list) => Value::List(list.clone()),
            ValueRef::Set(set) => Value::Set(set.clone()),
            ValueRef::Hash(hash) => Value::Hash(hash.clone()),
            ValueRef::Zset(zset) => Value::Zset(zset.clone()),
            ValueRef::Stream(stream) => Value::Stream(stream.clone()),
        }
    }

    /// The type.
    pub fn kind(self) -> Kind {
        match self {
            ValueRef::Str(_) => Kind::String,
            ValueRef::List(_) => Kind::List,
            ValueRef::Set(_) => Kind::Set,
            ValueRef::Hash(_) => Kind::Hash,
            ValueRef::Zset(_) => Kind::Zset,
            ValueRef::Stream(_) => Kind::Stream,
        }
    }

    /// Asks the processor for the first bytes of a small set, hash or sorted set, which are read whatever
    /// is done with it. Where it is a table, and a member or field is named, for that one's bucket; and the
    /// next time, with the hash that this gave, for its entry.
    pub fn prefetch(self, member: Option<&[u8]>, hash: Option<u64>) -> Option<u64> {
        match self {
            ValueRef::Set(set) => set.prefetch(member, hash),
            ValueRef::Hash(fields) => fields.prefetch(member, hash),
            ValueRef::Zset(zset) => zset.prefetch(member, hash),
            ValueRef::Str(_) | ValueRef::List(_) | ValueRef::Stream(_) => None,
        }
    }

    /// The encoding OBJECT ENCODING answers. That of a string follows from its bytes alone.
    pub fn encoding(self) -> &'static str {
        match self {
            ValueRef::Str(text) => string_encoding(text),
            ValueRef::List(list) => list.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::Zset(zset) => zset.encoding(),
            ValueRef::Stream(_) => "stream",
        }
    }

    /// Bytes of memory the value takes beside this handle; large collections are estimated.
    pub fn memory_bytes(self) -> usize {
        match self {
            ValueRef::Str([]) => 0,
            ValueRef::Str(text) => size_class(text.len()),
            ValueRef::List(list) => list.memory_bytes(),
            ValueRef::Set(set) => set.memory_bytes(),
            ValueRef::Hash(hash) => hash.memory_bytes(),
            ValueRef::Zset(zset) => zset.memory_bytes(),
            ValueRef::Stream(stream) => stream.memory_bytes(),
        }
    }

    /// The earliest deadline of an element.
    pub fn element_deadline(self) -> Option<UnixMs> {
        match self {
            ValueRef::Hash(hash) => hash.next_deadline(),
            _ => None,
        }
    }

    /// How many allocations freeing the value takes, roughly: what decides about lazy freeing.
    pub fn free_effort(self) -> usize {
        match self {
            ValueRef::List(list) => list.quicklist().map_or(1, |list| list.node_count()),
            ValueRef::Set(set) if set.encoding() == "hashtable" => set.len(),
            ValueRef::Hash(hash) if hash.encoding() == "hashtable" => hash.len(),
            ValueRef::Zset(zset) if zset.encoding() == "skiplist" => zset.len(),
            ValueRef::Stream(stream) => stream.free_effort(),
            _ => 1,
        }
    }
}

/// The encoding of a string by its bytes.
pub fn string_encoding(text: &[u8]) -> &'static str {
    if parse_i64(text).is_some() {
        "int"
    } else if text.len() <= EMBSTR_MAX {
        "embstr"
    } else {
        "raw"
    }
}

/// A collection that a value may be: what lets the keyspace open any of them by its type.
pub trait Variant: Sized {
    /// The kind of such values.
    const KIND: Kind;

    /// The collection, if the value is one of this kind.
    fn of(value: ValueRef<'_>) -> Option<&Self>;

    /// The collection to change, if the value is one of this kind.
    fn of_mut(value: ValueMut<'_>) -> Option<&mut Self>;

    /// A value without elements.
    #[expect(clippy::new_ret_no_self, reason = "the keyspace stores values")]
    fn new(limits: &Limits) -> Value;

    /// Whether there are no elements.
    fn is_empty(&self) -> bool;

    /// Whether elements can have deadlines.
    const TIMED: bool = false;

    /// The earliest deadline of an element; the outer `None` where elements cannot have any, as in
    /// every type but one.
    #[inline]
    fn element_deadline(&self) -> Option<Option<UnixMs>> {
        None
    }
}

macro_rules! variant {
    ($type:ident $(, $more:item)*) => {
        impl Variant for $type {
            const KIND: Kind = Kind::$type;

            fn of(value: ValueRef<'_>) -> Option<&$type> {
                match value {
                    ValueRef::$type(collection) => Some(collection),
                    _ => None,
                }
            }

            fn of_mut(value: ValueMut<'_>) -> Option<&mut $type> {
                match value {
                    ValueMut::$type(collection) => Some(collection),
                    _ => None,
                }
            }

            fn new(_limits: &Limits) -> Value {
                Value::$type($type::new())
            }

            fn is_empty(&self) -> bool {
                self.len() == 0
            }

            $($more)*
        }
    };
}

variant!(List);
variant!(Set);
variant!(
    Hash,
    const TIMED: bool = true;,
    #[inline]
    fn element_deadline(&self) -> Option<Option<UnixMs>> {
        self.is_timed().then(|| self.next_deadline())
    }
);
variant!(Zset);

/// Why a listpack that is whole cannot be the value it is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Elements that come in twos, and one is alone.
    #[error("an element without its value")]
    Odd,
    /// A member or field twice.
    #[error("a member or field twice")]
    Duplicate,
    /// A score that is not a number.
    #[error("a score that is not a number")]
    Score,
    /// A stream's entries that do not follow one another.
    #[error("Stream entries are not in order")]
    StreamOrder,
    /// A stream that has not as many entries as it should.
    #[error("Stream length inconsistent with its entries")]
    StreamLength,
}

/// Checks that no two items are equal.
fn check_distinct<'a>(items: impl Iterator<Item = Item<'a>>) -> Result<(), Malformed> {
    // Equal 64-bit hashes under a secret key are taken for equal items.
    let mut hashes: Vec<u64> = items.map(hash_item).collect();
    hashes.sort_unstable();
    match hashes.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(Malformed::Duplicate),
        false => Ok(()),
    }
}

fn hash_item(item: Item<'_>) -> u64 {
    item.with_bytes(hash_bytes)
}

/// An iterator that is one of two.
#[derive(Clone)]
pub enum Either<A, B> {
    /// The first.
    Left(A),
    /// The second.
    Right(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Either<A, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Either::Left(items) => items.next(),
            Either::Right(items) => items.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Either::Left(items) => items.size_hint(),
            Either::Right(items) => items.size_hint(),
        }
    }
}

impl<T, A, B> DoubleEndedIterator for Either<A, B>
where
    A: DoubleEndedIterator<Item = T>,
    B: DoubleEndedIterator<Item = T>,
{
    fn next_back(&mut self) -> Option<T> {
        match self {
            Either::Left(items) => items.next_back(),
            Either::Right(items) => items.next_back(),
        }
    }
}
