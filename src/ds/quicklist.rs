//! Quicklist: a long list as a row of nodes, each a listpack or one big element; the first and the last
//! may be listpacks with room to spare.
//!
//! Nodes stand in chunks, so that a node enters the middle of a huge list by moving a few hundred
//! neighbours. Finding an element by index walks chunks, then nodes, from the nearer end.
//! Nodes are not compressed: the depth of compression is kept as a setting, and no more.
//!
//! Invariants, kept by every `&mut self` method:
//!   1. no chunk and no node is empty;
//!   2. `len` of the list, of chunks and of nodes count the elements below;
//!   3. only the first node and the last have gaps.

mod ends;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ds::listpack::{
    BYTES_MAX, GAPPED_ELEMENT_MAX, Gapped, Item, Iter as PackedIter, Listpack, ListpackRef,
};

pub use crate::ds::listpack::Side;

/// `DEBUG QUICKLIST-PACKED-THRESHOLD`: elements of at least so many bytes are nodes of their own.
/// 0: those larger than what the fill setting allows a node.
pub static PACKED_THRESHOLD: AtomicUsize = AtomicUsize::new(0);

/// Nodes of a full chunk.
const CHUNK_MAX: usize = 256;
/// What an element is taken to cost beside its text when a node's size is foreseen.
const ELEMENT_OVERHEAD: usize = 8;
/// Bytes of a node whose limit is a number of elements.
const SIZE_SAFETY_LIMIT: usize = 8192;
/// Bytes of a node that is left as it is when elements enter or leave it.
const GAP_FROM: usize = 2048;
/// Bytes of a listpack without elements.
const EMPTY_LISTPACK: usize = 7;

/// On which side of an element another is inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Towards the head.
    Before,
    /// Towards the tail.
    After,
}

/// `list-max-listpack-size`: how much a node may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// So many bytes.
    Bytes(usize),
    /// So many elements, in at most 8 KiB.
    Count(usize),
}

impl Fill {
    /// Reads the setting: positive: elements; -1 to -5: 4, 8, 16, 32, 64 KiB.
    pub fn from_setting(setting: i32) -> Fill {
        match setting {
            ..=-5 => Fill::Bytes(65536),
            -4..=-1 => Fill::Bytes(2048 << setting.unsigned_abs()),
            _ => Fill::Count(setting.clamp(1, 32767) as usize),
        }
    }

    /// Whether a node of this size would be too large.
    pub fn exceeded_by(self, bytes: usize, count: usize) -> bool {
        match self {
            Fill::Bytes(max) => bytes > max,
            Fill::Count(max) => bytes > SIZE_SAFETY_LIMIT || count > max,
        }
    }

    /// Whether an element is a node of its own.
    pub fn is_large(self, bytes: usize) -> bool {
        match (PACKED_THRESHOLD.load(Ordering::Relaxed), self) {
            (0, Fill::Bytes(max)) => bytes > max,
            (0, Fill::Count(_)) => bytes > SIZE_SAFETY_LIMIT,
            (threshold, _) => bytes >= threshold || bytes > BYTES_MAX / 2,
        }
    }
}

#[derive(Clone, Debug)]
enum Data {
    Packed(Listpack),
    Gapped(Box<Gapped>),
    Plain(Box<[u8]>),
}

#[derive(Clone, Debug)]
struct Node {
    len: usize,
    data: Data,
}

/// A node, to be read.
#[derive(Clone, Copy)]
pub enum NodeRef<'a> {
    /// Some elements.
    Packed(ListpackRef<'a>),
    /// One big element.
    Plain(&'a [u8]),
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    nodes: Vec<Node>,
    len: usize,
}

/// Where a node stands; good until nodes come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    chunk: usize,
    node: usize,
}

/// The list.
#[derive(Clone, Debug)]
pub struct Quicklist {
    chunks: VecDeque<Chunk>,
    len: usize,
    fill: Fill,
    compress_depth: u32,
}

impl Node {
    fn packed(listpack: Listpack) -> Node {
        Node { len: listpack.len(), data: Data::Packed(listpack) }
    }

    fn of(element: &[u8], fill: Fill) -> Node {
        if fill.is_large(element.len()) {
            return Node { len: 1, data: Data::Plain(element.into()) };
        }
        Node::packed(Listpack::from_items([Item::of(element)]))
    }

    fn size(&self) -> usize {
        match &self.data {
            Data::Packed(listpack) => listpack.size(),
            Data::Gapped(gapped) => gapped.size(),
            Data::Plain(bytes) => bytes.len(),
        }
    }

    fn view(&self) -> NodeRef<'_> {
        match &self.data {
            Data::Packed(listpack) => NodeRef::Packed(listpack.view()),
            Data::Gapped(gapped) => NodeRef::Packed(gapped.view()),
            Data::Plain(bytes) => NodeRef::Plain(bytes),
        }
    }

    /// Makes it a node that can be changed anywhere.
    fn settle(&mut self) {
        if let Data::Gapped(gapped) = &mut self.data {
            self.data = Data::Packed(gapped.take(Side::Head));
        }
    }

    fn listpack(&self) -> Option<ListpackRef<'_>> {
        match self.view() {
            NodeRef::Packed(listpack) => Some(listpack),
            NodeRef::Plain(_) => None,
        }
    }

    /// Whether elements are to be taken out many at a time: it is large, and they are small.
    fn is_worth_a_gap(&self, side: Side) -> bool {
        let Data::Packed(listpack) = &self.data else { return false };
        let view = listpack.view();
        let small = |pos| view.item(pos).text_len() <= GAPPED_ELEMENT_MAX;
        listpack.size() > GAP_FROM && view.outermost(side).is_some_and(small)
    }

    /// The listpack, if one more element of so many bytes may enter it.
    fn room_for(&mut self, bytes: usize, fill: Fill) -> Option<&mut Listpack> {
        let size = self.size().saturating_add(bytes).saturating_add(ELEMENT_OVERHEAD);
        if fill.is_large(bytes) || fill.exceeded_by(size, self.len + 1) {
            return None;
        }
        self.settle();
        match &mut self.data {
            Data::Packed(listpack) if listpack.fits(bytes + 16) => {
                self.len += 1;
                Some(listpack)
            }
            _ => None,
        }
    }

    fn push(&mut self, side: Side, element: &[u8], fill: Fill) -> bool {
        let Some(listpack) = self.room_for(element.len(), fill) else { return false };
        match side {
            Side::Head => listpack.push_front(Item::of(element)),
            Side::Tail => listpack.push_back(Item::of(element)),
        }
        true
    }

    /// Takes the elements from `offset` on into a node of their own.
    fn split_off(&mut self, offset: usize) -> Node {
        self.settle();
        let Data::Packed(listpack) = &mut self.data else {
            unreachable!("a plain node has no middle");
        };
        let pos = listpack.view().seek(offset as i64).expect("an offset within the node");
        let tail = Node { len: self.len - offset, data: Data::Packed(listpack.split_off(pos)) };
        self.len = offset;
        tail
    }

    /// Removes up to `count` elements from `offset` on; says how many.
    fn remove(&mut self, offset: usize, count: usize) -> usize {
        self.settle();
        let removed = match &mut self.data {
            Data::Packed(listpack) => listpack.remove_range(offset as i64, count),
            _ => count.min(1),
        };
        self.len -= removed;
        removed
    }
}

impl<'a> NodeRef<'a> {
    /// The node's elements.
    pub fn iter(self) -> NodeIter<'a> {
        match self {
            NodeRef::Packed(listpack) => NodeIter::Packed(listpack.iter()),
            NodeRef::Plain(bytes) => NodeIter::Plain(Some(bytes)),
        }
    }
}

/// The elements of a node.
pub enum NodeIter<'a> {
    /// Those of a listpack.
    Packed(PackedIter<'a>),
    /// The one of a plain node.
    Plain(Option<&'a [u8]>),
}

impl<'a> Iterator for NodeIter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            NodeIter::Packed(items) => items.next(),
            NodeIter::Plain(bytes) => bytes.take().map(Item::Bytes),
        }
    }
}

impl DoubleEndedIterator for NodeIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            NodeIter::Packed(items) => items.next_back(),
            NodeIter::Plain(bytes) => bytes.take().map(Item::Bytes),
        }
    }
}

impl Quicklist {
    /// An empty list with the settings of its nodes.
    pub fn new(fill: Fill, compress_depth: u32) -> Quicklist {
        Quicklist { chunks: VecDeque::new(), len: 0, fill, compress_depth }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The setting by which nodes are filled.
    pub fn fill(&self) -> Fill {
        self.fill
    }

    /// The setting of compression, which is only kept.
    pub fn compress_depth(&self) -> u32 {
        self.compress_depth
    }

    /// The nodes, from either end.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeRef<'_>> {
        self.chunks.iter().flat_map(|chunk| &chunk.nodes).map(Node::view)
    }

    /// The number of nodes.
    pub fn node_count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.nodes.len()).sum()
    }

    /// The elements, from either end.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Item<'_>> {
        self.nodes().flat_map(NodeRef::iter)
    }

    /// Up to `count` elements from an index on.
    pub fn range(&self, start: usize, count: usize) -> impl Iterator<Item = Item<'_>> {
        let (at, offset) = self.locate(start).unwrap_or((At { chunk: usize::MAX, node: 0 }, 0));
        let chunks = self.chunks.iter().skip(at.chunk);
        let nodes = chunks.flat_map(|chunk| &chunk.nodes).skip(at.node).map(Node::view);
        nodes.flat_map(NodeRef::iter).skip(offset).take(count)
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        let (at, offset) = self.locate(index)?;
        match self.node(at).view() {
            NodeRef::Packed(listpack) => listpack.get(offset as i64),
            NodeRef::Plain(bytes) => Some(Item::Bytes(bytes)),
        }
    }

    /// Adds an element at an end.
    pub fn push(&mut self, side: Side, element: &[u8]) {
        if self.push_gapped(side, element) {
            return;
        }
        let fill = self.fill;
        if let Some(at) = self.end(side)
            && self.node_mut(at).push(side, element, fill)
        {
            self.count(at.chunk, 1);
            return;
        }
        let node = Node::of(element, fill);
        self.push_node(side, node);
    }

    /// Takes an element from an end, and hands it to `f`.
    pub fn pop_with<R>(&mut self, side: Side, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.open(side);
        let at = self.end(side)?;
        let node = self.node_mut(at);
        let result = match &mut node.data {
            Data::Packed(listpack) => listpack.pop_with(side, f)?,
            Data::Gapped(gapped) => gapped.pop_with(side, f)?,
            Data::Plain(bytes) => f(Item::Bytes(bytes)),
        };
        node.len -= 1;
        let emptied = node.len == 0;
        self.count(at.chunk, -1);
        if emptied && !self.refill(side) {
            self.remove_node(at);
        }
        Some(result)
    }

    /// Appends a listpack as a node, as it is.
    pub fn push_packed(&mut self, listpack: Listpack) {
        if !listpack.is_empty() {
            self.push_node(Side::Tail, Node::packed(listpack));
        }
    }

    /// Appends an element as a node of its own.
    pub fn push_plain(&mut self, element: Box<[u8]>) {
        self.push_node(Side::Tail, Node { len: 1, data: Data::Plain(element) });
    }

    /// Inserts an element beside the one at `index`, which exists.
    pub fn insert(&mut self, index: usize, place: Place, element: &[u8]) {
        let (at, offset) = self.locate(index).expect("the index of an element");
        let fill = self.fill;
        let (cut, edge, side) = match place {
            Place::Before => (offset, offset == 0, Side::Tail),
            Place::After => (offset + 1, offset + 1 == self.node(at).len, Side::Head),
        };
        if let Some(listpack) = self.node_mut(at).room_for(element.len(), fill) {
            let view = listpack.view();
            let pos = view.seek(cut as i64).unwrap_or(view.end());
            listpack.insert(pos, Item::of(element));
            self.count(at.chunk, 1);
        } else if edge {
            let neighbour = match place {
                Place::Before => self.prev(at),
                Place::After => self.next(at),
            };
            match neighbour {
                Some(beside) if self.node_mut(beside).push(side, element, fill) => {
                    self.count(beside.chunk, 1);
                }
                _ => {
                    self.insert_node(at, place, Node::of(element, fill));
                }
            }
        } else {
            self.split_and_insert(at, cut, place, element);
        }
    }

    /// Replaces the element at `index`; says whether there is one.
    pub fn set(&mut self, index: usize, element: &[u8]) -> bool {
        let Some((at, offset)) = self.locate(index) else { return false };
        let fill = self.fill;
        let large = fill.is_large(element.len());
        let node = self.node_mut(at);
        node.settle();
        match &mut node.data {
            Data::Packed(listpack) if !large && listpack.fits(element.len() + 16) => {
                let pos = listpack.view().seek(offset as i64).expect("an offset within the node");
                listpack.replace(pos, Item::of(element));
            }
            Data::Plain(_) => *node = Node::of(element, fill),
            Data::Packed(_) if node.len == 1 => *node = Node::of(element, fill),
            Data::Packed(_) | Data::Gapped(_) => {
                let last = offset + 1 == node.len;
                let tail = (!last).then(|| node.split_off(offset + 1));
                node.remove(offset, 1);
                let kept = node.len > 0;
                let tail_len = tail.as_ref().map_or(0, |tail| tail.len);
                self.count(at.chunk, -1 - tail_len as isize);
                let new = self.insert_node(at, Place::After, Node::of(element, fill));
                let new = match tail {
                    Some(tail) => {
                        let tail = self.insert_node(new, Place::After, tail);
                        self.prev(tail).expect("the new node")
                    }
                    None => new,
                };
                let new = match (kept, self.prev(new)) {
                    (false, Some(empty)) => self.remove_node(empty),
                    _ => new,
                };
                self.merge_around(new);
            }
        }
        true
    }

    /// Removes up to `count` elements from an index on; says how many.
    pub fn remove_range(&mut self, start: usize, count: usize) -> usize {
        let Some((mut at, mut offset)) = self.locate(start) else { return 0 };
        let mut left = count.min(self.len - start);
        let removed = left;
        while left > 0 {
            let node = self.node_mut(at);
            let now = if offset == 0 && node.len <= left {
                std::mem::take(&mut node.len)
            } else {
                node.remove(offset, left)
            };
            left -= now;
            let emptied = node.len == 0;
            self.count(at.chunk, -(now as isize));
            // Whatever is left to remove begins with the next node.
            if emptied {
                at = self.remove_node(at);
            } else if let Some(next) = self.next(at) {
                at = next;
            }
            offset = 0;
        }
        removed
    }

    /// Removes elements equal to `element`, `max` at most, beginning at a side; says how many.
    pub fn remove_equal(&mut self, side: Side, element: &[u8], max: usize) -> usize {
        let mut removed = 0;
        let mut at = self.end(side);
        while let Some(here) = at
            && removed < max
        {
            let gone = self.node_mut(here).remove_equal(side, element, max - removed);
            removed += gone;
            self.count(here.chunk, -(gone as isize));
            let emptied = self.node(here).len == 0;
            at = match side {
                Side::Tail => {
                    let before = self.prev(here);
                    if emptied {
                        self.remove_node(here);
                    }
                    before
                }
                Side::Head if emptied => Some(self.remove_node(here)).filter(|&at| self.has(at)),
                Side::Head => self.next(here),
            };
        }
        removed
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        let chunk_bytes = |chunk: &Chunk| chunk.nodes.capacity() * size_of::<Node>();
        let data = |node: &Node| match &node.data {
            Data::Packed(listpack) => listpack.memory_bytes(),
            Data::Gapped(gapped) => size_of_val(&**gapped),
            Data::Plain(bytes) => bytes.len(),
        };
        let nodes = self.chunks.iter().flat_map(|chunk| &chunk.nodes);
        size_of::<Quicklist>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.chunks.iter().map(chunk_bytes).sum::<usize>()
            + nodes.map(data).sum::<usize>()
    }

    /// The listpack, when the list is one node of at most so many bytes and elements. The list is
    /// empty then.
    pub fn take_single(&mut self, bytes_max: usize, count_max: usize) -> Option<Listpack> {
        self.join_ends(bytes_max, count_max);
        if self.chunks.len() != 1 || self.chunks[0].nodes.len() != 1 {
            return None;
        }
        let node = &mut self.chunks[0].nodes[0];
        match &mut node.data {
            Data::Packed(listpack) if listpack.size() <= bytes_max && node.len <= count_max => {
                let listpack = std::mem::take(listpack);
                self.chunks.clear();
                self.len = 0;
                Some(listpack)
            }
            _ => None,
        }
    }

    fn split_and_insert(&mut self, at: At, cut: usize, place: Place, element: &[u8]) {
        let fill = self.fill;
        let mut tail = self.node_mut(at).split_off(cut);
        self.count(at.chunk, -(tail.len as isize));
        if fill.is_large(element.len()) {
            let new = self.insert_node(at, Place::After, Node::of(element, fill));
            self.insert_node(new, Place::After, tail);
            return;
        }
        let item = Item::of(element);
        match (place, &mut tail.data) {
            (Place::After, Data::Packed(listpack)) => {
                listpack.push_front(item);
                tail.len += 1;
            }
            _ => {
                let node = self.node_mut(at);
                if let Data::Packed(listpack) = &mut node.data {
                    listpack.push_back(item);
                    node.len += 1;
                }
                self.count(at.chunk, 1);
            }
        }
        let tail = self.insert_node(at, Place::After, tail);
        let center = match place {
            Place::After => self.prev(tail).expect("the node that was split"),
            Place::Before => tail,
        };
        self.merge_around(center);
    }

    /// Joins a node and the two on each side of it, where the results fit a node.
    fn merge_around(&mut self, center: At) {
        let mut center = center;
        if let Some(prev) = self.prev(center)
            && let Some(before) = self.prev(prev)
            && self.merge_with_next(before)
        {
            center = self.next(before).expect("the center");
        }
        if let Some(next) = self.next(center) {
            self.merge_with_next(next);
        }
        if let Some(prev) = self.prev(center)
            && self.merge_with_next(prev)
        {
            center = prev;
        }
        self.merge_with_next(center);
    }

    fn merge_with_next(&mut self, at: At) -> bool {
        let Some(next) = self.next(at) else { return false };
        let (a, b) = (self.node(at), self.node(next));
        let (Data::Packed(first), Data::Packed(second)) = (&a.data, &b.data) else { return false };
        let size = first.size() + second.size() - EMPTY_LISTPACK;
        if self.fill.exceeded_by(size, a.len + b.len) || !first.fits(second.size()) {
            return false;
        }
        let moved = std::mem::take(&mut self.node_mut(next).len);
        let data = std::mem::replace(&mut self.node_mut(next).data, Data::Plain(Box::default()));
        self.count(next.chunk, -(moved as isize));
        self.remove_node(next);
        let node = self.node_mut(at);
        if let (Data::Packed(first), Data::Packed(second)) = (&mut node.data, &data) {
            first.append(second.view());
            node.len += moved;
        }
        self.count(at.chunk, moved as isize);
        true
    }

    /// The node that holds an index, and the offset in it.
    fn locate(&self, index: usize) -> Option<(At, usize)> {
        if index >= self.len {
            return None;
        }
        let mut left = index;
        let mut chunk = 0;
        if index <= self.len / 2 {
            while left >= self.chunks[chunk].len {
                left -= self.chunks[chunk].len;
                chunk += 1;
            }
        } else {
            chunk = self.chunks.len() - 1;
            let mut behind = self.len - self.chunks[chunk].len;
            while behind > index {
                chunk -= 1;
                behind -= self.chunks[chunk].len;
            }
            left = index - behind;
        }
        let Chunk { nodes, len } = &self.chunks[chunk];
        if left <= len / 2 {
            for (node, held) in nodes.iter().enumerate() {
                if left < held.len {
                    return Some((At { chunk, node }, left));
                }
                left -= held.len;
            }
        } else {
            let mut behind = *len;
            for (node, held) in nodes.iter().enumerate().rev() {
                behind -= held.len;
                if behind <= left {
                    return Some((At { chunk, node }, left - behind));
                }
            }
        }
        unreachable!("a chunk's length is that of its nodes")
    }

    fn node(&self, at: At) -> &Node {
        &self.chunks[at.chunk].nodes[at.node]
    }

    fn node_mut(&mut self, at: At) -> &mut Node {
        &mut self.chunks[at.chunk].nodes[at.node]
    }

    fn has(&self, at: At) -> bool {
        self.chunks.get(at.chunk).is_some_and(|chunk| at.node < chunk.nodes.len())
    }

    fn end(&self, side: Side) -> Option<At> {
        let chunk = self.chunks.len().checked_sub(1)?;
        Some(match side {
            Side::Head => At { chunk: 0, node: 0 },
            Side::Tail => At { chunk, node: self.chunks[chunk].nodes.len() - 1 },
        })
    }

    fn next(&self, at: At) -> Option<At> {
        let beside = At { chunk: at.chunk, node: at.node + 1 };
        let beyond = At { chunk: at.chunk + 1, node: 0 };
        [beside, beyond].into_iter().find(|&at| self.has(at))
    }

    fn prev(&self, at: At) -> Option<At> {
        if let Some(node) = at.node.checked_sub(1) {
            return Some(At { chunk: at.chunk, node });
        }
        let chunk = at.chunk.checked_sub(1)?;
        Some(At { chunk, node: self.chunks[chunk].nodes.len() - 1 })
    }

    /// Counts elements that entered or left nodes of a chunk.
    fn count(&mut self, chunk: usize, change: isize) {
        let held = &mut self.chunks[chunk].len;
        *held = held.wrapping_add_signed(change);
        self.len = self.len.wrapping_add_signed(change);
    }

    fn push_node(&mut self, side: Side, node: Node) {
        match self.end(side) {
            Some(at) if self.chunks[at.chunk].nodes.len() < CHUNK_MAX => {
                let place = if side == Side::Head { Place::Before } else { Place::After };
                self.insert_node(at, place, node);
            }
            _ => {
                self.len += node.len;
                let chunk = Chunk { len: node.len, nodes: vec![node] };
                match side {
                    Side::Head => self.chunks.push_front(chunk),
                    Side::Tail => self.chunks.push_back(chunk),
                }
            }
        }
    }

    /// Inserts a node beside another; returns where it stands.
    fn insert_node(&mut self, at: At, place: Place, node: Node) -> At {
        // It may have been the first or the last.
        self.node_mut(at).settle();
        let mut at = match place {
            Place::Before => at,
            Place::After => At { chunk: at.chunk, node: at.node + 1 },
        };
        if self.chunks[at.chunk].nodes.len() >= CHUNK_MAX {
            let nodes = self.chunks[at.chunk].nodes.split_off(CHUNK_MAX / 2);
            let len = nodes.iter().map(|node| node.len).sum();
            self.chunks[at.chunk].len -= len;
            self.chunks.insert(at.chunk + 1, Chunk { nodes, len });
            if at.node > CHUNK_MAX / 2 {
                at = At { chunk: at.chunk + 1, node: at.node - CHUNK_MAX / 2 };
            }
        }
        self.count(at.chunk, node.len as isize);
        self.chunks[at.chunk].nodes.insert(at.node, node);
        at
    }

    /// Removes a node whose elements are no longer counted; returns where the next one stands, if
    /// there is one.
    fn remove_node(&mut self, at: At) -> At {
        self.chunks[at.chunk].nodes.remove(at.node);
        if self.chunks[at.chunk].nodes.is_empty() {
            self.chunks.remove(at.chunk);
            return At { chunk: at.chunk, node: 0 };
        }
        match self.chunks[at.chunk].nodes.len() == at.node {
            true => At { chunk: at.chunk + 1, node: 0 },
            false => at,
        }
    }
}

impl Node {
    fn remove_equal(&mut self, side: Side, element: &[u8], max: usize) -> usize {
        self.settle();
        let removed = match &mut self.data {
            Data::Packed(listpack) => listpack.remove_equal(side == Side::Tail, element, max),
            Data::Plain(bytes) => usize::from(**bytes == *element),
            Data::Gapped(_) => unreachable!("it is settled"),
        };
        self.len -= removed;
        removed
    }
}

#[cfg(test)]
mod tests;
