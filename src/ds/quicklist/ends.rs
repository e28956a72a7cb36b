//! The ends of a long list: the outermost nodes have room for elements that enter there.
//!
//! In a listpack everything behind an element moves when it enters or leaves, up to the 8 KiB of a
//! node, and the listpack changes its size each time. So elements enter a buffer with a gap, and go on
//! together when it is full: it is a kilobyte, whose elements move to the node beside it, and in a
//! long list as large as a node, which it becomes. And those of a large node are taken out together
//! when one is wanted.

use super::{At, Data, ELEMENT_OVERHEAD, EMPTY_LISTPACK, Fill, GAP_FROM, Node, Quicklist, Side};
use crate::ds::listpack::{GAPPED_ELEMENT_MAX, Gapped, Item, Room};

/// Nodes of a list whose ends may have the room of a node.
const LONG: usize = 16;
/// What large room is for: nodes of at least so many bytes.
const NODE_BYTES: usize = 8192;

impl Quicklist {
    /// Adds an element at an end, unless that is for a node without a gap to take.
    pub(super) fn push_gapped(&mut self, side: Side, element: &[u8]) -> bool {
        let fill = self.fill;
        let small = element.len() <= GAPPED_ELEMENT_MAX && !fill.is_large(element.len());
        let Some(at) = self.end(side) else { return false };
        match (&self.node(at).data, small) {
            (Data::Gapped(_), true) => {}
            (Data::Gapped(_), false) => {
                self.close(side);
                return false;
            }
            // Whatever settles an end would leave a small node behind each time.
            (Data::Packed(listpack), true) if listpack.size() <= GAP_FROM => return false,
            (_, true) => self.push_gap(side),
            (_, false) => return false,
        }
        let item = Item::of(element);
        // A gap without elements has room for a small one.
        while let Some(at) = self.end(side)
            && let Node { len, data: Data::Gapped(gapped) } = self.node_mut(at)
        {
            let size = gapped.size() + element.len() + ELEMENT_OVERHEAD;
            if !fill.exceeded_by(size, *len + 1) && gapped.push(side, item) {
                *len += 1;
                self.count(at.chunk, 1);
                return true;
            }
            self.make_room(side);
        }
        false
    }

    /// Gives the list a node with a gap when the one at an end is large, before elements are taken from
    /// it.
    pub(super) fn open(&mut self, side: Side) {
        let Some(at) = self.end(side) else { return };
        if self.node(at).is_worth_a_gap(side) {
            self.push_gap(side);
            self.refill(side);
        }
    }

    /// Moves elements to the node at an end, which has a gap and nothing else, from the node beside it,
    /// if that is large; says whether it was.
    pub(super) fn refill(&mut self, side: Side) -> bool {
        let Some((at, beside)) = self.end(side).and_then(|at| Some((at, self.inward(side, at)?)))
        else {
            return false;
        };
        if !self.node(beside).is_worth_a_gap(side) {
            return false;
        }
        let Some(mut gapped) = self.take_gapped(at) else { return false };
        if gapped.room() == Room::Little && self.is_long() {
            gapped = gapped.widened(side);
        }
        let node = self.node_mut(beside);
        let Data::Packed(listpack) = &mut node.data else { unreachable!("it is worth a gap") };
        let moved = gapped.fill_from(side, listpack);
        node.len -= moved;
        let emptied = node.len == 0;
        self.count(beside.chunk, -(moved as isize));
        *self.node_mut(at) = Node { len: moved, data: Data::Gapped(gapped) };
        self.count(at.chunk, moved as isize);
        if emptied {
            self.remove_node(beside);
        }
        true
    }

    /// Settles a list that is nothing but nodes with gaps and maybe one other, where they are one node
    /// of at most so many bytes and elements.
    pub(super) fn join_ends(&mut self, bytes_max: usize, count_max: usize) {
        if self.chunks.len() != 1 || self.chunks[0].nodes.len() > 3 {
            return;
        }
        let chunk = &mut self.chunks[0];
        let (mut bytes, mut others) = (EMPTY_LISTPACK, 0);
        for node in &chunk.nodes {
            let Some(listpack) = node.listpack() else { return };
            bytes += listpack.as_bytes().len() - EMPTY_LISTPACK;
            others += usize::from(matches!(node.data, Data::Packed(_)));
        }
        let small = bytes <= bytes_max && chunk.len <= count_max;
        if !small || others > 1 || others == chunk.nodes.len() {
            return;
        }
        let behind = chunk.nodes.split_off(1);
        let first = &mut chunk.nodes[0];
        first.settle();
        if let Data::Packed(listpack) = &mut first.data {
            behind.iter().filter_map(Node::listpack).for_each(|more| listpack.append(more));
        }
        first.len = chunk.len;
    }

    /// Whether what an end keeps ready is little beside the rest.
    fn is_long(&self) -> bool {
        let many = self.chunks.len() > 1 || self.chunks.iter().any(|one| one.nodes.len() >= LONG);
        many && matches!(self.fill, Fill::Bytes(bytes) if bytes >= NODE_BYTES)
    }

    /// The node beside one at an end.
    fn inward(&self, side: Side, at: At) -> Option<At> {
        match side {
            Side::Head => self.next(at),
            Side::Tail => self.prev(at),
        }
    }

    /// A node with a gap and nothing else; the caller gives it elements, or removes it.
    fn push_gap(&mut self, side: Side) {
        let data = Data::Gapped(Gapped::new(Room::Little, side));
        self.push_node(side, Node { len: 0, data });
    }

    /// Takes the buffer of a node, whose elements are no longer counted. The caller puts it back.
    fn take_gapped(&mut self, at: At) -> Option<Box<Gapped>> {
        let node = self.node_mut(at);
        match std::mem::replace(&mut node.data, Data::Plain(Box::default())) {
            Data::Gapped(gapped) => {
                let len = std::mem::take(&mut node.len);
                self.count(at.chunk, -(len as isize));
                Some(gapped)
            }
            other => {
                node.data = other;
                None
            }
        }
    }

    /// Makes room in the node at an end, which has a gap that is too small now.
    fn make_room(&mut self, side: Side) {
        let long = self.is_long();
        let Some(at) = self.end(side) else { return };
        if let Data::Gapped(gapped) = &mut self.node_mut(at).data
            && gapped.room() == Room::Little
            && long
        {
            *gapped = gapped.widened(side);
        } else if self.pour(side) == 0
            && let Some(mut gapped) = self.take_gapped(at)
        {
            let node = Node::packed(gapped.take(side));
            self.count(at.chunk, node.len as isize);
            *self.node_mut(at) = node;
            self.push_node(side, Node { len: 0, data: Data::Gapped(gapped) });
        }
    }

    /// Moves elements of the node at an end, which has a gap, to the node beside it, as far as that may
    /// take them; says how many.
    fn pour(&mut self, side: Side) -> usize {
        let Some((at, beside)) = self.end(side).and_then(|at| Some((at, self.inward(side, at)?)))
        else {
            return 0;
        };
        let left = self.node(at).len;
        let Some(mut gapped) = self.take_gapped(at) else { return 0 };
        let (fill, node) = (self.fill, self.node_mut(beside));
        let mut moved = 0;
        if let Data::Packed(listpack) = &mut node.data {
            let (size, held) = (listpack.size(), node.len);
            moved = gapped.pour_into(side, listpack, |bytes, count| {
                !fill.exceeded_by(size + bytes + ELEMENT_OVERHEAD, held + count)
            });
            node.len += moved;
        }
        self.count(beside.chunk, moved as isize);
        *self.node_mut(at) = Node { len: left - moved, data: Data::Gapped(gapped) };
        self.count(at.chunk, (left - moved) as isize);
        moved
    }

    /// Leaves no gap at an end where there is one.
    fn close(&mut self, side: Side) {
        self.pour(side);
        if let Some(at) = self.end(side) {
            let node = self.node_mut(at);
            if node.len == 0 {
                self.remove_node(at);
            } else {
                node.settle();
            }
        }
    }
}
