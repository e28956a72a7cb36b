//! Listpack: a run of strings and integers in one flat allocation, byte for byte Redis's.
//!
//! ```text
//! total bytes u32 | elements u16 (65535: unknown) | entry ... entry | 0xff
//! entry: encoding and data | their length, readable from the right
//! ```
//!
//! Elements are addressed by position: the offset of an entry. A position is good until the
//! listpack changes. Invariants, established by `parse` and kept by every `&mut self` method:
//!   1. the header's total is the length of the bytes, the last of which is 0xff;
//!   2. between header and end stand whole entries, each followed by its own length;
//!   3. the header counts them, or says 65535.
#![allow(unsafe_code)] // A promise about the layout of `Listpack`.

mod entry;
mod gapped;

use smallvec::SmallVec;

use crate::base::num::parse_i64;
use crate::ds::tagged::Word;
use crate::ds::thin::ThinBytes;

use entry::{Encoded, back_size, decode, decode_back, encode_back, entry_len};

pub use entry::Item;
pub use gapped::{GAPPED_ELEMENT_MAX, Gapped, Room};

const HEADER: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Bytes beyond which nothing may be added to a listpack.
pub const BYTES_MAX: usize = 1 << 30;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Index 0.
    Head,
    /// Index -1.
    Tail,
}

impl Side {
    /// The opposite end.
    pub fn other(self) -> Side {
        match self {
            Side::Head => Side::Tail,
            Side::Tail => Side::Head,
        }
    }
}

/// Why bytes are not a listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// Shorter than an empty listpack, or no end mark.
    #[error("listpack is truncated")]
    Truncated,
    /// The header states another size.
    #[error("listpack of {actual} bytes says it has {stated}")]
    Size {
        /// What the header says.
        stated: usize,
        /// What there is.
        actual: usize,
    },
    /// The entry at this offset is not one.
    #[error("listpack entry at byte {0} is malformed")]
    Entry(usize),
    /// The header states another number of elements.
    #[error("listpack of {actual} elements says it has {stated}")]
    Count {
        /// What the header says.
        stated: usize,
        /// What there is.
        actual: usize,
    },
}

/// Proves that bytes from outside are a listpack.
fn validate(bytes: &[u8]) -> Result<(), Corrupt> {
    let actual = bytes.len();
    let Some((head, [inner @ .., END])) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Corrupt::Truncated);
    };
    let stated = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if stated != actual {
        return Err(Corrupt::Size { stated, actual });
    }
    let mut at = 0;
    let mut count = 0usize;
    while at < inner.len() {
        let wrong = Corrupt::Entry(HEADER + at);
        let (_, len) = decode(&inner[at..]).ok_or(wrong)?;
        let (back, size) = encode_back(len);
        if inner.get(at + len..at + len + size) != Some(&back.to_le_bytes()[..size]) {
            return Err(wrong);
        }
        at += len + size;
        count += 1;
    }
    let stated = u16::from_le_bytes([head[4], head[5]]);
    if stated != COUNT_UNKNOWN && usize::from(stated) != count {
        return Err(Corrupt::Count { stated: usize::from(stated), actual: count });
    }
    Ok(())
}

/// A borrowed listpack: everything that can be read.
#[derive(Clone, Copy)]
pub struct ListpackRef<'a> {
    bytes: &'a [u8],
}

impl<'a> ListpackRef<'a> {
    /// Validates bytes from outside.
    pub fn parse(bytes: &'a [u8]) -> Result<ListpackRef<'a>, Corrupt> {
        validate(bytes)?;
        Ok(ListpackRef { bytes })
    }

    /// The listpack's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The number of elements. Counts them one by one beyond 65534.
    pub fn len(self) -> usize {
        match u16::from_le_bytes([self.bytes[4], self.bytes[5]]) {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(self) -> bool {
        self.bytes.len() == HEADER + 1
    }

    /// The position behind the last element, where one may be inserted.
    pub fn end(self) -> usize {
        self.bytes.len() - 1
    }

    /// The position of the first element.
    pub fn first(self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER)
    }

    /// The position of the last element.
    pub fn last(self) -> Option<usize> {
        self.prev(self.end())
    }

    /// The position of the outermost element at a side.
    pub fn outermost(self, side: Side) -> Option<usize> {
        match side {
            Side::Head => self.first(),
            Side::Tail => self.last(),
        }
    }

    /// The position after that of an element.
    #[inline]
    pub fn next(self, pos: usize) -> Option<usize> {
        let next = pos + self.entry_size(pos);
        (next < self.end()).then_some(next)
    }

    /// The position behind an element: the next one's, or the end.
    #[inline]
    pub fn after(self, pos: usize) -> usize {
        pos + self.entry_size(pos)
    }

    /// The position before that of an element, or before the end.
    pub fn prev(self, pos: usize) -> Option<usize> {
        if pos <= HEADER {
            return None;
        }
        let len = decode_back(self.bytes, pos)?;
        Some(pos - len - back_size(len))
    }

    /// The element at a position.
    #[inline]
    pub fn item(self, pos: usize) -> Item<'a> {
        decode(&self.bytes[pos..]).expect("a position is that of a whole entry").0
    }

    /// The position of the element at `index`; negative ones count from the end.
    pub fn seek(self, index: i64) -> Option<usize> {
        let from_front = if index >= 0 {
            usize::try_from(index).ok()?
        } else {
            let mut back = index.unsigned_abs();
            let known = u16::from_le_bytes([self.bytes[4], self.bytes[5]]);
            if known != COUNT_UNKNOWN && back > u64::from(known) {
                return None;
            }
            let mut pos = self.end();
            while back > 0 {
                pos = self.prev(pos)?;
                back -= 1;
            }
            return Some(pos);
        };
        let known = u16::from_le_bytes([self.bytes[4], self.bytes[5]]);
        if known != COUNT_UNKNOWN {
            if from_front >= usize::from(known) {
                return None;
            }
            if from_front > usize::from(known) / 2 {
                return self.seek(index - i64::from(known));
            }
        }
        let mut pos = self.first()?;
        for _ in 0..from_front {
            pos = self.next(pos)?;
        }
        Some(pos)
    }

    /// The element at `index`; negative ones count from the end.
    pub fn get(self, index: i64) -> Option<Item<'a>> {
        Some(self.item(self.seek(index)?))
    }

    /// The position of the first element equal to `wanted`, from `pos` on, comparing one element
    /// and then passing over `skip`.
    pub fn find_from(self, pos: usize, wanted: &[u8], skip: usize) -> Option<usize> {
        let as_int = parse_i64(wanted);
        let mut pos = (pos < self.end()).then_some(pos)?;
        loop {
            let equal = match self.item(pos) {
                Item::Int(value) => as_int == Some(value),
                Item::Bytes(bytes) => bytes == wanted,
            };
            if equal {
                return Some(pos);
            }
            for _ in 0..=skip {
                pos = self.next(pos)?;
            }
        }
    }

    /// `find_from` the first element.
    pub fn find(self, wanted: &[u8], skip: usize) -> Option<usize> {
        self.find_from(HEADER, wanted, skip)
    }

    /// The elements, from either end.
    pub fn iter(self) -> Iter<'a> {
        Iter { listpack: self, front: HEADER, back: self.end() }
    }

    /// The elements in twos, as hashes and sorted sets store them. A last odd one is left out.
    pub fn pairs(self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> {
        let mut items = self.iter();
        std::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }

    /// Bytes of the entry at a position, its trailing length included.
    #[inline]
    fn entry_size(self, pos: usize) -> usize {
        let len = entry_len(&self.bytes[pos..]);
        len + back_size(len)
    }
}

/// The elements of a listpack.
#[derive(Clone)]
pub struct Iter<'a> {
    listpack: ListpackRef<'a>,
    front: usize,
    back: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let bytes = &self.listpack.bytes[self.front..];
        let (item, len) = decode(bytes).expect("between front and back stand whole entries");
        self.front += len + back_size(len);
        Some(item)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = self.listpack.prev(self.back)?;
        Some(self.listpack.item(self.back))
    }
}

/// An owned listpack: one pointer.
#[derive(Clone, Debug)]
#[repr(transparent)]
pub struct Listpack {
    bytes: ThinBytes,
}

// SAFETY: transparent over a word.
unsafe impl Word for Listpack {}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl Listpack {
    /// An empty listpack.
    pub fn new() -> Listpack {
        Listpack { bytes: ThinBytes::new(&[&[(HEADER + 1) as u8, 0, 0, 0, 0, 0, END]]) }
    }

    /// Asks the processor for the first bytes.
    pub fn prefetch(&self) {
        self.bytes.prefetch();
    }

    /// Validates bytes from outside and copies them.
    pub fn parse(bytes: &[u8]) -> Result<Listpack, Corrupt> {
        validate(bytes)?;
        Ok(Listpack { bytes: ThinBytes::new(&[bytes]) })
    }

    /// A listpack of these elements.
    pub fn from_items<'a>(items: impl IntoIterator<Item = Item<'a>>) -> Listpack {
        let mut listpack = Listpack::new();
        items.into_iter().for_each(|item| listpack.push_back(item));
        listpack
    }

    /// The listpack, borrowed.
    #[inline]
    pub fn view(&self) -> ListpackRef<'_> {
        ListpackRef { bytes: &self.bytes }
    }

    /// The listpack's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The size in bytes, header and end included.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.memory_bytes()
    }

    /// Whether `bytes` more may be added without growing beyond what a listpack may be.
    pub fn fits(&self, bytes: usize) -> bool {
        self.size().saturating_add(bytes) <= BYTES_MAX
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    /// The elements, from either end.
    pub fn iter(&self) -> Iter<'_> {
        self.view().iter()
    }

    /// The element at `index`; negative ones count from the end.
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        self.view().get(index)
    }

    /// The element at a position.
    pub fn item(&self, pos: usize) -> Item<'_> {
        self.view().item(pos)
    }

    /// Appends an element.
    pub fn push_back(&mut self, item: Item<'_>) {
        self.insert(self.view().end(), item);
    }

    /// Appends elements, which are counted and moved in at once.
    pub fn push_many<'i>(&mut self, items: impl Iterator<Item = Item<'i>>) {
        let mut bytes: SmallVec<[u8; 256]> = SmallVec::new();
        let mut added = 0;
        for item in items {
            let encoded = Encoded::of(item);
            let at = bytes.len();
            bytes.resize(at + encoded.len(), 0);
            encoded.write_to(&mut bytes[at..]);
            added += 1;
        }
        self.bytes.splice(self.view().end(), 0, &[&bytes]);
        self.update_header(added);
    }

    /// Prepends an element.
    pub fn push_front(&mut self, item: Item<'_>) {
        self.insert(HEADER, item);
    }

    /// Inserts an element before the position, or at the end's. It then stands at `pos`.
    pub fn insert(&mut self, pos: usize, item: Item<'_>) {
        let encoded = Encoded::of(item);
        self.bytes.splice(pos, 0, &encoded.parts(&encoded.edges()));
        self.update_header(1);
    }

    /// Inserts two elements before the position: the first then stands at `pos`.
    pub fn insert_pair(&mut self, pos: usize, first: Item<'_>, second: Item<'_>) {
        let (first, second) = (Encoded::of(first), Encoded::of(second));
        let (first_edges, second_edges) = (first.edges(), second.edges());
        let [a, b, c] = first.parts(&first_edges);
        let [d, e, f] = second.parts(&second_edges);
        self.bytes.splice(pos, 0, &[a, b, c, d, e, f]);
        self.update_header(2);
    }

    /// Replaces the element at a position.
    pub fn replace(&mut self, pos: usize, item: Item<'_>) {
        let size = self.view().entry_size(pos);
        let encoded = Encoded::of(item);
        self.bytes.splice(pos, size, &encoded.parts(&encoded.edges()));
        self.update_header(0);
    }

    /// Takes the element at an end, and hands it to `f`.
    pub fn pop_with<R>(&mut self, side: Side, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let view = self.view();
        let pos = view.outermost(side)?;
        let result = f(view.item(pos));
        self.remove(pos);
        Some(result)
    }

    /// Removes the element at a position; the one after it then stands there, or the end.
    pub fn remove(&mut self, pos: usize) {
        self.remove_many(pos, 1);
    }

    /// Removes up to `count` elements from a position on; says how many.
    pub fn remove_many(&mut self, pos: usize, count: usize) -> usize {
        let view = self.view();
        let (mut end, mut removed) = (pos, 0);
        while removed < count && end < view.end() {
            end += view.entry_size(end);
            removed += 1;
        }
        self.bytes.splice(pos, end - pos, &[]);
        self.update_header(-(removed as i64));
        removed
    }

    /// Removes up to `count` elements from `index` on, negative ones counting from the end; says
    /// how many.
    pub fn remove_range(&mut self, index: i64, count: usize) -> usize {
        match self.view().seek(index) {
            Some(pos) if count > 0 => self.remove_many(pos, count),
            _ => 0,
        }
    }

    /// Removes elements equal to `wanted`, `max` at most, the last ones if `backward`; says how
    /// many.
    pub fn remove_equal(&mut self, backward: bool, wanted: &[u8], max: usize) -> usize {
        let mut removed = 0;
        let mut pos = match backward {
            true => self.view().last(),
            false => self.view().find(wanted, 0),
        };
        while let Some(here) = pos
            && removed < max
        {
            let before = if backward { self.view().prev(here) } else { None };
            if self.item(here) == *wanted {
                self.remove(here);
                removed += 1;
            }
            pos = match backward {
                true => before,
                false => self.view().find_from(here, wanted, 0),
            };
        }
        removed
    }

    /// Takes everything from the position on into a listpack of its own.
    pub fn split_off(&mut self, pos: usize) -> Listpack {
        let tail_len = Iter { listpack: self.view(), front: pos, back: self.view().end() }.count();
        let moved = &self.bytes[pos..self.view().end()];
        let mut tail = Listpack::new();
        tail.bytes.splice(HEADER, 0, &[moved]);
        tail.update_header(tail_len as i64);
        let moved = moved.len();
        self.bytes.splice(pos, moved, &[]);
        self.update_header(-(tail_len as i64));
        tail
    }

    /// Appends all elements of another listpack.
    pub fn append(&mut self, other: ListpackRef<'_>) {
        let count = other.len() as i64;
        let end = self.view().end();
        self.bytes.splice(end, 0, &[&other.bytes[HEADER..other.end()]]);
        self.update_header(count);
    }

    /// Bytes that an element takes.
    pub fn encoded_size(item: Item<'_>) -> usize {
        Encoded::of(item).len()
    }

    /// Writes size and count after a change by `added` elements. A count that does not fit is
    /// unknown, and stays so until the listpack has no elements or is counted as few enough.
    fn update_header(&mut self, added: i64) {
        let size = u32::try_from(self.bytes.len()).expect("thin bytes below 4 GiB");
        self.bytes[..4].copy_from_slice(&size.to_le_bytes());
        let count = u16::from_le_bytes([self.bytes[4], self.bytes[5]]);
        if added == 0 {
            return;
        }
        let count = if count == COUNT_UNKNOWN {
            // Growing cannot make it known; shrinking can, where counting is worth it.
            if added > 0 || self.bytes.len() - HEADER > 4 * usize::from(COUNT_UNKNOWN) {
                return;
            }
            self.iter().count() as i64
        } else {
            i64::from(count) + added
        };
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[4..6].copy_from_slice(&count.to_le_bytes());
    }
}

const _: () = assert!(size_of::<Option<Listpack>>() == 8);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(listpack: &Listpack) -> Vec<Vec<u8>> {
        listpack.iter().map(Item::to_vec).collect()
    }

    #[test]
    fn bytes_are_those_of_redis() {
        let mut listpack = Listpack::new();
        for text in ["hello", "1", "-1", "1000", "100000", "foo-5000000000"] {
            listpack.push_back(Item::of(text.as_bytes()));
        }
        let expected = b"\x31\0\0\0\x06\0\x85hello\x06\x01\x01\xdf\xff\x02\xc3\xe8\x02\
            \xf2\xa0\x86\x01\x04\x8efoo-5000000000\x0f\xff";
        let mut expected = expected.to_vec();
        expected[0] = expected.len() as u8;
        assert_eq!(listpack.as_bytes(), expected);
    }

    #[test]
    fn corrupt_bytes_are_refused() {
        let good = Listpack::from_items([Item::Int(5), Item::Bytes(b"abc")]);
        let good = good.as_bytes();
        for at in 0..good.len() {
            assert!(Listpack::parse(&good[..at]).is_err());
        }
        let mut wrong = good.to_vec();
        wrong[4] = 3;
        assert_eq!(Listpack::parse(&wrong).unwrap_err(), Corrupt::Count { stated: 3, actual: 2 });
        let mut wrong = good.to_vec();
        wrong[7] = 2;
        assert_eq!(Listpack::parse(&wrong).unwrap_err(), Corrupt::Entry(6));
    }

    #[test]
    fn counts_beyond_the_header_are_found_by_walking() {
        let mut listpack = Listpack::new();
        for _ in 0..70_000 {
            listpack.push_back(Item::Int(1));
        }
        assert_eq!(listpack.len(), 70_000);
        assert_eq!(listpack.remove_range(-60_000, 50_000), 50_000);
        assert_eq!(listpack.len(), 20_000);
        assert!(Listpack::parse(listpack.as_bytes()).is_ok());
        assert!(listpack.get(-20_000).is_some() && listpack.get(-20_001).is_none());
    }

    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<i64>().prop_map(|value| value.to_string().into_bytes()),
            (-5000i64..5000).prop_map(|value| value.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..80),
            (4000usize..4200).prop_map(|len| vec![b'x'; len]),
            (16370usize..16390).prop_map(|len| vec![b'y'; len]),
        ]
    }

    proptest! {
        #[test]
        fn changes_agree_with_vec(
            steps in prop::collection::vec((0u8..7, 0usize..30, element()), 0..60)
        ) {
            let mut model: Vec<Vec<u8>> = Vec::new();
            let mut listpack = Listpack::new();
            for (kind, at, element) in steps {
                let at = at.min(model.len());
                let view = listpack.view();
                let pos = view.seek(at as i64).unwrap_or(view.end());
                match kind {
                    0..=3 => {
                        listpack.insert(pos, Item::of(&element));
                        model.insert(at, element);
                    }
                    4 if at < model.len() => {
                        listpack.replace(pos, Item::of(&element));
                        model[at] = element;
                    }
                    5 => {
                        let removed = listpack.remove_many(pos, 3);
                        prop_assert_eq!(removed, model.drain(at..(at + 3).min(model.len())).count());
                    }
                    6 => {
                        let tail = listpack.split_off(pos);
                        prop_assert!(Listpack::parse(tail.as_bytes()).is_ok());
                        listpack.append(tail.view());
                    }
                    _ => {}
                }
                prop_assert_eq!(texts(&listpack), model.clone());
                prop_assert_eq!(listpack.len(), model.len());
                prop_assert!(Listpack::parse(listpack.as_bytes()).is_ok());
            }
            let back: Vec<_> = listpack.iter().rev().map(Item::to_vec).collect();
            model.reverse();
            prop_assert_eq!(back, model.clone());
            for element in &model {
                let found = listpack.view().find(element, 0).map(|pos| listpack.item(pos).to_vec());
                prop_assert_eq!(found.as_ref(), Some(element));
            }
        }

        #[test]
        fn parsing_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..64), patch: bool) {
            if patch && bytes.len() >= 7 {
                let len = bytes.len();
                bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
                bytes[len - 1] = END;
                bytes[4..6].copy_from_slice(&[0xff; 2]);
            }
            if let Ok(listpack) = Listpack::parse(&bytes) {
                prop_assert_eq!(listpack.iter().count(), listpack.iter().rev().count());
            }
        }
    }
}
