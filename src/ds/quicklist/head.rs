//! The head of a long list: its first node has room in front.
//!
//! In a listpack everything moves when an element enters or leaves at the front, up to the 8 KiB of
//! a node. So elements enter a small node before the others, and those that are too many for it go
//! on together; and the first elements of a large node are taken out together when one is wanted.

use super::{At, Data, EMPTY_LISTPACK, Node, Place, Quicklist, Side};
use crate::ds::listpack::{FRONT_ELEMENT_MAX, Front, Item};

/// The first node.
const FIRST: At = At { chunk: 0, node: 0 };
/// Bytes of a first node that is left as it is when elements are taken from it.
const SMALL: usize = 2048;

impl Quicklist {
    /// Adds an element at the head, unless that is not for the first node to take.
    pub(super) fn push_front(&mut self, element: &[u8]) -> bool {
        let (item, fill) = (Item::of(element), self.fill);
        let small = element.len() <= FRONT_ELEMENT_MAX && !fill.is_large(element.len());
        let first = self.end(Side::Head).map(|at| self.node_mut(at));
        match first {
            None => return false,
            Some(Node { len, data: Data::Front(front) }) => {
                let full = fill.exceeded_by(front.view().as_bytes().len(), *len + 1);
                if small && !full && front.push(item) {
                    *len += 1;
                    self.count(FIRST.chunk, 1);
                    return true;
                }
                self.pour_front();
                if !small {
                    self.remove_node(FIRST);
                    return false;
                }
            }
            Some(_) if small => {
                self.push_node(Side::Head, Node { len: 0, data: Data::Front(Front::new()) });
            }
            Some(_) => return false,
        }
        let node = self.node_mut(FIRST);
        if let Data::Front(front) = &mut node.data {
            let fits = front.push(item);
            debug_assert!(fits, "an empty front takes what is not large");
            node.len += 1;
        }
        self.count(FIRST.chunk, 1);
        true
    }

    /// Gives the list a small first node when the first is large, before elements are taken from it.
    pub(super) fn open_front(&mut self) {
        let Some(at) = self.end(Side::Head) else { return };
        let node = self.node_mut(at);
        let Data::Packed(listpack) = &mut node.data else { return };
        let small = |first: Item<'_>| first.text_len() <= FRONT_ELEMENT_MAX;
        if listpack.size() > SMALL && listpack.get(0).is_some_and(small) {
            let mut front = Front::new();
            let len = front.fill_from(listpack);
            node.len -= len;
            self.count(at.chunk, -(len as isize));
            self.push_node(Side::Head, Node { len, data: Data::Front(front) });
        }
    }

    /// Empties the first node, which is one with room in front: what it holds goes into the node after
    /// it as far as that may take it, and what is left becomes a node. The caller adds to the first
    /// node again, or removes it.
    fn pour_front(&mut self) {
        let node = self.node_mut(FIRST);
        let taken = std::mem::replace(&mut node.data, Data::Plain(Box::default()));
        let Data::Front(mut front) = taken else { unreachable!("the caller has looked") };
        let len = std::mem::take(&mut node.len);
        self.count(FIRST.chunk, -(len as isize));
        let fill = self.fill;
        if let Some(next) = self.next(FIRST) {
            let node = self.node_mut(next);
            if let Data::Packed(listpack) = &mut node.data {
                let (size, held) = (listpack.size(), node.len);
                let moved = front.pour_into(listpack, |bytes, count| {
                    !fill.exceeded_by(size + bytes, held + count)
                });
                node.len += moved;
                self.count(next.chunk, moved as isize);
            }
        }
        if !front.view().is_empty() {
            self.insert_node(FIRST, Place::After, Node::packed(front.take()));
        }
        self.node_mut(FIRST).data = Data::Front(front);
    }

    /// Settles a list that is nothing but a node with room in front and maybe another, where they are
    /// one node of at most so many bytes and elements.
    pub(super) fn join_front(&mut self, bytes_max: usize, count_max: usize) {
        if self.chunks.len() != 1 {
            return;
        }
        let chunk = &mut self.chunks[0];
        let small = match &mut chunk.nodes[..] {
            [only] => {
                only.settle();
                false
            }
            [Node { data: Data::Front(front), .. }, Node { data: Data::Packed(listpack), .. }] => {
                let bytes = front.view().as_bytes().len() + listpack.size() - EMPTY_LISTPACK;
                bytes <= bytes_max && chunk.len <= count_max
            }
            _ => false,
        };
        if small {
            self.pour_front();
            self.remove_node(FIRST);
        }
    }
}
