//! The order of a sorted set: a B+tree of (score, member) whose inner nodes count what is below
//! them, so that an element is found by its rank as well as by its score.
//!
//! The tree holds `M`, a copyable handle to a member whose bytes live elsewhere (`BlobRef`), and
//! the score beside it. Ranges are ranges of ranks: `position` turns any monotone condition
//! (a score, a lexicographic bound) into the rank where it ends, and everything else starts there.
//!
//! Invariants, kept by every `&mut self` method:
//!   1. all leaves have the same depth, no node but the root is empty;
//!   2. an inner node's `counts[i]` and `firsts[i]` are the size and the least entry of child `i`;
//!   3. entries are strictly increasing by score, then by the bytes of the member.

use std::cmp::Ordering;
use std::ops::Range;

use crate::ds::thin::BlobRef;

/// Entries of a full leaf.
const LEAF_MAX: usize = 64;
/// Children of a full inner node.
const INNER_MAX: usize = 32;
/// A node this small looks for a neighbour to join.
const LEAF_MIN: usize = LEAF_MAX / 4;
const INNER_MIN: usize = INNER_MAX / 4;
/// Entries by which a leaf's allocation grows.
const LEAF_STEP: usize = 8;

/// A handle to the bytes of a member.
pub trait MemberRef: Copy {
    /// The member's bytes.
    fn member(&self) -> &[u8];
}

impl MemberRef for BlobRef {
    fn member(&self) -> &[u8] {
        // The blob of a sorted set's element begins with its score.
        self.bytes().get(size_of::<f64>()..).unwrap_or_default()
    }
}

impl MemberRef for &[u8] {
    fn member(&self) -> &[u8] {
        self
    }
}

/// An element: its score and a handle to its member.
#[derive(Clone, Copy, Debug)]
pub struct Entry<M> {
    /// The score; never a NaN.
    pub score: f64,
    /// The member.
    pub member: M,
}

impl<M: MemberRef> Entry<M> {
    /// The order of sorted sets: by score, then by member.
    pub fn order(&self, score: f64, member: &[u8]) -> Ordering {
        match self.score.partial_cmp(&score) {
            Some(Ordering::Equal) | None => self.member.member().cmp(member),
            Some(order) => order,
        }
    }
}

#[derive(Debug)]
enum Node<M> {
    Leaf(Vec<Entry<M>>),
    Inner(Box<Inner<M>>),
}

#[derive(Debug)]
struct Inner<M> {
    counts: Vec<usize>,
    firsts: Vec<Entry<M>>,
    children: Vec<Node<M>>,
}

/// The tree.
#[derive(Debug)]
pub struct RankTree<M> {
    root: Node<M>,
    len: usize,
}

impl<M: MemberRef> Default for RankTree<M> {
    fn default() -> RankTree<M> {
        RankTree::new()
    }
}

impl<M: MemberRef> RankTree<M> {
    /// An empty tree.
    pub fn new() -> RankTree<M> {
        RankTree { root: Node::Leaf(Vec::new()), len: 0 }
    }

    /// A tree of entries that are already in order.
    pub fn from_sorted(entries: impl IntoIterator<Item = Entry<M>>) -> RankTree<M> {
        let mut tree = RankTree::new();
        entries.into_iter().for_each(|entry| tree.insert(entry));
        tree
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Inserts an entry that is not there yet.
    pub fn insert(&mut self, entry: Entry<M>) {
        if let Some(right) = self.root.insert(entry, true) {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            let mut inner = Inner::with_capacity(2);
            inner.insert(0, left);
            inner.insert(1, right);
            self.root = Node::Inner(Box::new(inner));
        }
        self.len += 1;
    }

    /// Removes the entry of this score and member; says whether it was there.
    pub fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        match self.rank(score, member) {
            Some(rank) => self.remove_at(rank).is_some(),
            None => false,
        }
    }

    /// Removes the entry at a rank.
    pub fn remove_at(&mut self, rank: usize) -> Option<Entry<M>> {
        if rank >= self.len {
            return None;
        }
        let entry = self.root.remove_at(rank);
        self.len -= 1;
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() == 1
        {
            self.root = inner.children.pop().expect("one child");
        }
        Some(entry)
    }

    /// Removes the entries at these ranks, lowest first.
    pub fn remove_range(&mut self, ranks: Range<usize>, mut removed: impl FnMut(Entry<M>)) {
        for _ in ranks.start..ranks.end.min(self.len) {
            let Some(entry) = self.remove_at(ranks.start) else { return };
            removed(entry);
        }
    }

    /// The rank of the entry of this score and member.
    pub fn rank(&self, score: f64, member: &[u8]) -> Option<usize> {
        let (rank, found) = self.locate(|entry| entry.order(score, member));
        found.then_some(rank)
    }

    /// The entry at a rank.
    pub fn get(&self, rank: usize) -> Option<Entry<M>> {
        let (leaf, at) = self.leaf_of(rank)?;
        leaf.get(at).copied()
    }

    /// How many entries satisfy `before`, which must hold for a prefix of the order.
    pub fn position(&self, before: impl Fn(&Entry<M>) -> bool) -> usize {
        let side = |entry: &Entry<M>| match before(entry) {
            true => Ordering::Less,
            false => Ordering::Greater,
        };
        self.locate(side).0
    }

    /// The entries at these ranks, from either end.
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_, M> {
        let end = ranks.end.min(self.len);
        Iter { tree: self, ranks: ranks.start.min(end)..end, front: (0, &[]), back: (0, &[]) }
    }

    /// All entries.
    pub fn iter(&self) -> Iter<'_, M> {
        self.range(0..self.len)
    }

    /// Bytes of memory that the nodes take, the members not counted.
    pub fn memory_bytes(&self) -> usize {
        self.root.memory_bytes()
    }

    /// The first rank whose entry is not less, and whether it is equal.
    fn locate(&self, side: impl Fn(&Entry<M>) -> Ordering) -> (usize, bool) {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(entries) => {
                    return match entries.binary_search_by(&side) {
                        Ok(at) => (rank + at, true),
                        Err(at) => (rank + at, false),
                    };
                }
                Node::Inner(inner) => {
                    let child = inner.child_for(&side);
                    rank += inner.counts[..child].iter().sum::<usize>();
                    node = &inner.children[child];
                }
            }
        }
    }

    fn leaf_of(&self, rank: usize) -> Option<(&[Entry<M>], usize)> {
        if rank >= self.len {
            return None;
        }
        let mut node = &self.root;
        let mut rank = rank;
        loop {
            match node {
                Node::Leaf(entries) => return Some((entries, rank)),
                Node::Inner(inner) => node = &inner.children[inner.child_at(&mut rank)],
            }
        }
    }
}

impl<M: MemberRef> Inner<M> {
    fn with_capacity(room: usize) -> Inner<M> {
        Inner {
            counts: Vec::with_capacity(room),
            firsts: Vec::with_capacity(room),
            children: Vec::with_capacity(room),
        }
    }

    fn insert(&mut self, at: usize, node: Node<M>) {
        self.counts.insert(at, node.len());
        self.firsts.insert(at, node.first());
        self.children.insert(at, node);
    }

    fn remove(&mut self, at: usize) -> Node<M> {
        self.counts.remove(at);
        self.firsts.remove(at);
        self.children.remove(at)
    }

    /// Restates what is known of a child that has changed.
    fn refresh(&mut self, at: usize) {
        self.counts[at] = self.children[at].len();
        self.firsts[at] = self.children[at].first();
    }

    /// The child in which an entry of that place is, or would be.
    fn child_for(&self, side: impl Fn(&Entry<M>) -> Ordering) -> usize {
        self.firsts.partition_point(|first| side(first) != Ordering::Greater).saturating_sub(1)
    }

    /// The child that holds a rank, which becomes the rank within it.
    fn child_at(&self, rank: &mut usize) -> usize {
        let last = self.counts.len() - 1;
        for (at, &count) in self.counts[..last].iter().enumerate() {
            if *rank < count {
                return at;
            }
            *rank -= count;
        }
        last
    }

    fn split_off(&mut self, at: usize) -> Inner<M> {
        Inner {
            counts: self.counts.split_off(at),
            firsts: self.firsts.split_off(at),
            children: self.children.split_off(at),
        }
    }

    /// Joins a child that has become small with a neighbour, if both fit one node. Neither side may
    /// have room at first: the neighbour that becomes small later tries again.
    fn join_small(&mut self, at: usize) {
        if !self.children[at].is_small() {
            return;
        }
        for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
            let Some(right) = self.children.get(left + 1) else { return };
            if self.children[left].fits_with(right) {
                let right = self.remove(left + 1);
                self.children[left].append(right);
                self.refresh(left);
                return;
            }
        }
    }
}

impl<M: MemberRef> Node<M> {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    fn first(&self) -> Entry<M> {
        match self {
            Node::Leaf(entries) => entries[0],
            Node::Inner(inner) => inner.firsts[0],
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Node::Leaf(entries) => entries.len() < LEAF_MIN,
            Node::Inner(inner) => inner.children.len() < INNER_MIN,
        }
    }

    /// Whether this node and the next fit into one that is not full at once again.
    fn fits_with(&self, next: &Node<M>) -> bool {
        match (self, next) {
            (Node::Leaf(a), Node::Leaf(b)) => a.len() + b.len() <= LEAF_MAX * 3 / 4,
            (Node::Inner(a), Node::Inner(b)) => {
                a.children.len() + b.children.len() <= INNER_MAX * 3 / 4
            }
            _ => false,
        }
    }

    fn append(&mut self, next: Node<M>) {
        match (self, next) {
            (Node::Leaf(a), Node::Leaf(b)) => {
                a.reserve_exact(b.len());
                a.extend(b);
            }
            (Node::Inner(a), Node::Inner(b)) => {
                a.counts.extend(b.counts);
                a.firsts.extend(b.firsts);
                a.children.extend(b.children);
            }
            _ => unreachable!("neighbours have the same depth"),
        }
    }

    /// Inserts below this node. A full one splits and returns its right part. `rightmost`: no
    /// entries of the tree are to the right of this node, so that appending in order is foreseen
    /// and leaves full nodes behind.
    fn insert(&mut self, entry: Entry<M>, rightmost: bool) -> Option<Node<M>> {
        let side = |other: &Entry<M>| other.order(entry.score, entry.member.member());
        match self {
            Node::Leaf(entries) => {
                let at = entries.binary_search_by(side).unwrap_or_else(|at| at);
                if entries.len() < LEAF_MAX {
                    insert_tight(entries, at, entry);
                    return None;
                }
                if rightmost && at == entries.len() {
                    return Some(Node::Leaf(vec![entry]));
                }
                let middle = entries.len() / 2;
                let mut right = entries.split_off(middle);
                right.shrink_to_fit();
                entries.shrink_to_fit();
                if at <= middle {
                    insert_tight(entries, at, entry);
                } else {
                    insert_tight(&mut right, at - middle, entry);
                }
                Some(Node::Leaf(right))
            }
            Node::Inner(inner) => {
                let at = inner.child_for(side);
                let rightmost = rightmost && at + 1 == inner.children.len();
                let split = inner.children[at].insert(entry, rightmost);
                if let Some(right) = split {
                    inner.refresh(at);
                    inner.insert(at + 1, right);
                } else {
                    inner.counts[at] += 1;
                    if side(&inner.firsts[at]) == Ordering::Greater {
                        inner.firsts[at] = entry;
                    }
                }
                if inner.children.len() <= INNER_MAX {
                    return None;
                }
                let last = inner.children.len() - 1;
                let middle = if rightmost && at + 1 == last { last } else { last / 2 };
                Some(Node::Inner(Box::new(inner.split_off(middle))))
            }
        }
    }

    fn remove_at(&mut self, mut rank: usize) -> Entry<M> {
        match self {
            Node::Leaf(entries) => {
                let entry = entries.remove(rank);
                if entries.capacity() - entries.len() > 2 * LEAF_STEP {
                    entries.shrink_to(entries.len() + LEAF_STEP);
                }
                entry
            }
            Node::Inner(inner) => {
                let at = inner.child_at(&mut rank);
                let entry = inner.children[at].remove_at(rank);
                inner.counts[at] -= 1;
                if inner.counts[at] == 0 {
                    inner.remove(at);
                    return entry;
                }
                if rank == 0 {
                    inner.firsts[at] = inner.children[at].first();
                }
                inner.join_small(at);
                entry
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.capacity() * size_of::<Entry<M>>(),
            Node::Inner(inner) => {
                let slot = size_of::<usize>() + size_of::<Entry<M>>() + size_of::<Node<M>>();
                let below: usize = inner.children.iter().map(Node::memory_bytes).sum();
                size_of::<Inner<M>>() + inner.children.capacity() * slot + below
            }
        }
    }
}

fn insert_tight<M>(entries: &mut Vec<Entry<M>>, at: usize, entry: Entry<M>) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact(LEAF_STEP);
    }
    entries.insert(at, entry);
}

/// Entries of a range of ranks, from either end.
pub struct Iter<'a, M> {
    tree: &'a RankTree<M>,
    ranks: Range<usize>,
    /// The leaf that serves the front, and the rank of its first entry; likewise the back.
    front: (usize, &'a [Entry<M>]),
    back: (usize, &'a [Entry<M>]),
}

impl<'a, M: MemberRef> Iterator for Iter<'a, M> {
    type Item = &'a Entry<M>;

    fn next(&mut self) -> Option<&'a Entry<M>> {
        let rank = self.ranks.next()?;
        let (start, leaf) = self.front;
        if let Some(entry) = leaf.get(rank.wrapping_sub(start)) {
            return Some(entry);
        }
        let (leaf, at) = self.tree.leaf_of(rank)?;
        self.front = (rank - at, leaf);
        leaf.get(at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

impl<'a, M: MemberRef> DoubleEndedIterator for Iter<'a, M> {
    fn next_back(&mut self) -> Option<&'a Entry<M>> {
        let rank = self.ranks.next_back()?;
        let (start, leaf) = self.back;
        if let Some(entry) = leaf.get(rank.wrapping_sub(start)) {
            return Some(entry);
        }
        let (leaf, at) = self.tree.leaf_of(rank)?;
        self.back = (rank - at, leaf);
        leaf.get(at)
    }
}

impl<M: MemberRef> ExactSizeIterator for Iter<'_, M> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(node: &Node<&[u8]>, root: bool) -> usize {
        match node {
            Node::Leaf(entries) => {
                assert!(entries.len() <= LEAF_MAX && (root || !entries.is_empty()));
                1
            }
            Node::Inner(inner) => {
                assert!(inner.children.len() <= INNER_MAX && !inner.children.is_empty());
                let mut depths = Vec::new();
                for (at, child) in inner.children.iter().enumerate() {
                    assert_eq!(inner.counts[at], child.len());
                    assert_eq!(inner.firsts[at].score, child.first().score);
                    assert_eq!(inner.firsts[at].member, child.first().member);
                    depths.push(check(child, false));
                }
                assert!(depths.iter().all(|&depth| depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    fn names(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|at| format!("m{at:05}").into_bytes()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn changes_agree_with_a_sorted_vec(
            steps in prop::collection::vec((0u8..10, 0usize..3000, -20i32..20), 0..2500),
            ends in prop::collection::vec((0usize..3000, 0usize..3000), 5),
        ) {
            let names = names(3000);
            let mut model: Vec<(f64, &[u8])> = Vec::new();
            let mut tree: RankTree<&[u8]> = RankTree::new();
            for (kind, name, score) in steps {
                let (score, member) = (f64::from(score), &names[name][..]);
                if kind < 8 {
                    match model.binary_search_by(|entry| entry.partial_cmp(&(score, member)).unwrap()) {
                        Ok(at) => prop_assert_eq!(tree.rank(score, member), Some(at)),
                        Err(at) => {
                            prop_assert_eq!(tree.rank(score, member), None);
                            model.insert(at, (score, member));
                            tree.insert(Entry { score, member });
                        }
                    }
                } else if !model.is_empty() {
                    let (score, member) = model.remove(name % model.len());
                    prop_assert!(tree.remove(score, member));
                    prop_assert!(!tree.remove(score, member));
                }
            }
            check(&tree.root, true);
            prop_assert_eq!(tree.len(), model.len());
            let pair = |entry: Entry<_>| (entry.score, entry.member);
            let flat = |entry: &Entry<_>| (entry.score, entry.member);
            prop_assert!(tree.iter().map(flat).eq(model.iter().copied()));
            prop_assert!(tree.iter().rev().map(flat).eq(model.iter().rev().copied()));
            for (a, b) in ends {
                let (a, b) = (a.min(model.len()), b.min(model.len()));
                let range = a.min(b)..a.max(b);
                prop_assert!(tree.range(range.clone()).map(flat).eq(model[range].iter().copied()));
                let score = a as f64 / 100.0 - 10.0;
                let expected = model.partition_point(|entry| entry.0 <= score);
                prop_assert_eq!(tree.position(|entry| entry.score <= score), expected);
            }
            let third = model.len() / 3;
            let mut gone = Vec::new();
            tree.remove_range(third..2 * third, |entry| gone.push(pair(entry)));
            prop_assert_eq!(gone, model.drain(third..2 * third).collect::<Vec<_>>());
            check(&tree.root, true);
            prop_assert!(tree.iter().map(flat).eq(model.iter().copied()));
        }
    }

    #[test]
    fn growing_in_order_fills_the_leaves_and_shrinking_frees_them() {
        let names = names(100_000);
        let mut tree: RankTree<&[u8]> = RankTree::new();
        for (at, name) in names.iter().enumerate() {
            tree.insert(Entry { score: at as f64, member: name });
        }
        check(&tree.root, true);
        let slot = size_of::<Entry<&[u8]>>();
        assert!(tree.memory_bytes() < 100_000 * (slot + slot / 4));
        for at in (0..100_000).rev().filter(|at| at % 100 != 0) {
            assert!(tree.remove_at(at).is_some());
        }
        check(&tree.root, true);
        assert_eq!(tree.len(), 1000);
        assert!(tree.memory_bytes() < 1000 * 8 * slot);
        while tree.remove_at(0).is_some() {}
        assert!(tree.is_empty() && tree.get(0).is_none());
    }
}
