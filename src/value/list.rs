//! Lists: one listpack while small, then a quicklist; back when they have shrunk well below.
//!
//! Whoever adds elements calls `grow` before, and whoever removed some calls `shrink` after, as the
//! commands of Redis do: there the encoding changes, and nowhere else.

use crate::ds::listpack::{Item, Listpack, ListpackRef};
use crate::ds::quicklist::{Fill, Quicklist};
use crate::ds::tagged::Tagged;
use crate::ds::tagged::Which::{Large, Small};
use crate::value::{Either, Limits};

pub use crate::ds::quicklist::{Place, Side};

/// A list.
#[derive(Clone)]
pub struct List(Tagged<Listpack, Quicklist, 1>);

const _: () = assert!(size_of::<List>() == 8);

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List(Tagged::small(Listpack::new()))
    }

    /// Adopts a listpack.
    pub fn from_listpack(listpack: Listpack, limits: &Limits) -> List {
        let mut list = List(Tagged::small(listpack));
        list.grow(0, 0, limits);
        list
    }

    /// Adopts a quicklist, which becomes a listpack if it is one small node.
    pub fn from_quicklist(quicklist: Quicklist, limits: &Limits) -> List {
        let mut list = List(Tagged::large(quicklist));
        list.convert_to_small(1, limits);
        list
    }

    /// An empty quicklist with the nodes that the limits demand, to be filled and adopted.
    pub fn builder(limits: &Limits) -> Quicklist {
        Quicklist::new(
            Fill::from_setting(limits.list_max_listpack_size),
            limits.list_compress_depth,
        )
    }

    /// Makes ready for `count` more elements of `bytes` in all.
    pub fn grow(&mut self, count: usize, bytes: usize, limits: &Limits) {
        let Small(listpack) = self.0.get_mut() else { return };
        let fill = Fill::from_setting(limits.list_max_listpack_size);
        let size = listpack.size().saturating_add(bytes);
        if fill.exceeded_by(size, listpack.len() + count) {
            let mut large = List::builder(limits);
            large.push_packed(std::mem::take(listpack));
            self.0 = Tagged::large(large);
        }
    }

    /// Takes note that elements were removed or became shorter.
    pub fn shrink(&mut self, limits: &Limits) {
        // Half of the limit, so that a list at the limit does not go back and forth.
        self.convert_to_small(2, limits);
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self.0.get() {
            Small(listpack) => listpack.len(),
            Large(list) => list.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self.0.get() {
            Small(_) => "listpack",
            Large(_) => "quicklist",
        }
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        match self.0.get() {
            Small(listpack) => listpack.memory_bytes(),
            Large(list) => list.memory_bytes(),
        }
    }

    /// The listpack, if the list is one.
    pub fn listpack(&self) -> Option<ListpackRef<'_>> {
        match self.0.get() {
            Small(listpack) => Some(listpack.view()),
            Large(_) => None,
        }
    }

    /// The quicklist, if the list is one.
    pub fn quicklist(&self) -> Option<&Quicklist> {
        match self.0.get() {
            Small(_) => None,
            Large(list) => Some(list),
        }
    }

    /// The index that a client means: negative ones count from the tail.
    pub fn index(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        (index < len).then_some(index)
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        match self.0.get() {
            Small(listpack) => listpack.get(i64::try_from(index).ok()?),
            Large(list) => list.get(index),
        }
    }

    /// The elements, from either end.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Item<'_>> {
        match self.0.get() {
            Small(listpack) => Either::Left(listpack.iter()),
            Large(list) => Either::Right(list.iter()),
        }
    }

    /// Up to `count` elements from an index on.
    pub fn range(&self, start: usize, count: usize) -> impl Iterator<Item = Item<'_>> {
        match self.0.get() {
            Small(listpack) => Either::Left(listpack.iter().skip(start).take(count)),
            Large(list) => Either::Right(list.range(start, count)),
        }
    }

    /// The index of the first element equal to `element`.
    pub fn find(&self, element: &[u8]) -> Option<usize> {
        let wanted = Item::of(element);
        self.iter().position(|item| item == wanted)
    }

    /// Adds an element at an end. See `grow`.
    pub fn push(&mut self, side: Side, element: &[u8]) {
        match self.0.get_mut() {
            Small(listpack) => match side {
                Side::Head => listpack.push_front(Item::of(element)),
                Side::Tail => listpack.push_back(Item::of(element)),
            },
            Large(list) => list.push(side, element),
        }
    }

    /// Takes an element from an end, and hands it to `f`. See `shrink`.
    pub fn pop_with<R>(&mut self, side: Side, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match self.0.get_mut() {
            Small(listpack) => listpack.pop_with(side, f),
            Large(list) => list.pop_with(side, f),
        }
    }

    /// Takes an element from an end. See `shrink`.
    pub fn pop(&mut self, side: Side) -> Option<Vec<u8>> {
        self.pop_with(side, |item| item.to_vec())
    }

    /// Inserts an element beside the one at `index`, which exists. See `grow`.
    pub fn insert(&mut self, index: usize, place: Place, element: &[u8]) {
        match self.0.get_mut() {
            Small(listpack) => {
                let view = listpack.view();
                let index = index + usize::from(place == Place::After);
                let pos = view.seek(index as i64).unwrap_or(view.end());
                listpack.insert(pos, Item::of(element));
            }
            Large(list) => list.insert(index, place, element),
        }
    }

    /// Replaces the element at an index; says whether there is one. See `grow` and `shrink`.
    pub fn set(&mut self, index: usize, element: &[u8]) -> bool {
        match self.0.get_mut() {
            Small(listpack) => {
                let Some(pos) = listpack.view().seek(index as i64) else { return false };
                listpack.replace(pos, Item::of(element));
                true
            }
            Large(list) => list.set(index, element),
        }
    }

    /// Removes up to `count` elements from an index on; says how many. See `shrink`.
    pub fn remove_range(&mut self, start: usize, count: usize) -> usize {
        match self.0.get_mut() {
            Small(listpack) => listpack.remove_range(start as i64, count),
            Large(list) => list.remove_range(start, count),
        }
    }

    /// Removes elements equal to `element`, `max` at most, beginning at a side; says how many. See
    /// `shrink`.
    pub fn remove_equal(&mut self, side: Side, element: &[u8], max: usize) -> usize {
        match self.0.get_mut() {
            Small(listpack) => listpack.remove_equal(side == Side::Tail, element, max),
            Large(list) => list.remove_equal(side, element, max),
        }
    }

    fn convert_to_small(&mut self, divisor: usize, limits: &Limits) {
        let Large(list) = self.0.get_mut() else { return };
        let (bytes, count) = match Fill::from_setting(limits.list_max_listpack_size) {
            Fill::Bytes(bytes) => (bytes / divisor, usize::MAX),
            Fill::Count(count) => (usize::MAX, count / divisor),
        };
        if let Some(listpack) = list.take_single(bytes, count) {
            self.0 = Tagged::small(listpack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(size: i32) -> Limits {
        Limits { list_max_listpack_size: size, ..Limits::default() }
    }

    #[test]
    fn list_changes_encoding_at_the_limits_of_redis() {
        let limits = limits(4);
        let mut list = List::new();
        for len in 1..=4 {
            list.grow(1, 1, &limits);
            list.push(Side::Tail, b"a");
            assert_eq!((list.len(), list.encoding()), (len, "listpack"));
        }
        list.grow(1, 1, &limits);
        list.push(Side::Head, b"b");
        assert_eq!(list.encoding(), "quicklist");
        // A listpack too full for one more is left as the tail node, and a new one begins.
        assert_eq!(list.quicklist().map(Quicklist::node_count), Some(2));
        assert_eq!(list.pop(Side::Head).as_deref(), Some(&b"b"[..]));
        list.shrink(&limits);
        assert_eq!(list.encoding(), "quicklist");
        list.remove_range(0, 2);
        list.shrink(&limits);
        assert_eq!((list.len(), list.encoding()), (2, "listpack"));
    }

    #[test]
    fn list_indexes_count_from_both_ends() {
        let mut list = List::new();
        for text in ["a", "b", "c", "b"] {
            list.push(Side::Tail, text.as_bytes());
        }
        assert_eq!((list.index(-1), list.index(-5), list.index(4)), (Some(3), None, None));
        assert_eq!(list.index(i64::MIN), None);
        assert_eq!(list.find(b"b"), Some(1));
        assert_eq!(list.remove_equal(Side::Tail, b"b", 1), 1);
        list.insert(0, Place::After, b"x");
        assert!(list.set(2, b"17"));
        let texts: Vec<_> = list.iter().map(Item::to_vec).collect();
        assert_eq!(texts, [&b"a"[..], b"x", b"17", b"c"]);
    }

    #[test]
    fn big_element_makes_a_plain_node() {
        let limits = limits(-1);
        let mut list = List::new();
        let big = vec![b'x'; 5000];
        list.grow(1, big.len(), &limits);
        list.push(Side::Tail, &big);
        assert_eq!(list.encoding(), "quicklist");
        list.shrink(&limits);
        assert_eq!(list.encoding(), "quicklist");
        assert!(list.set(0, b"small"));
        list.shrink(&limits);
        assert_eq!(list.encoding(), "listpack");
    }
}
