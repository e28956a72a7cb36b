//! A listpack in a buffer with room to spare at one end: there an element enters or leaves, and the
//! others stay where they are.

use crate::ds::listpack::entry::Encoded;
use crate::ds::listpack::{END, HEADER, Item, Listpack, ListpackRef, Side};
use crate::ds::thin::ThinBytes;

/// Bytes of the smaller buffer: with what is beside it a kilobyte.
const LITTLE: usize = 1020;
/// Bytes of the larger one: with what is beside it 8 KiB.
const NODE: usize = 8188;

/// Bytes of text that every buffer without elements has room for. What is larger is not worth a place.
pub const GAPPED_ELEMENT_MAX: usize = LITTLE / 4;

/// How large a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// A kilobyte: some elements, which go on together.
    Little,
    /// As much as a node of a list usually holds.
    Node,
}

/// See the module. Invariant: from `start` to `end` the bytes are a listpack.
#[derive(Debug)]
pub struct Gapped<B: ?Sized = [u8]> {
    start: u16,
    end: u16,
    bytes: B,
}

impl Gapped {
    /// One without elements, for those that enter at a side.
    pub fn new(room: Room, side: Side) -> Box<Gapped> {
        let mut gapped: Box<Gapped> = match room {
            Room::Little => Box::new(Gapped { start: 0, end: 0, bytes: [END; LITTLE] }),
            Room::Node => Box::new(Gapped { start: 0, end: 0, bytes: [END; NODE] }),
        };
        gapped.hold(side, &[], 0);
        gapped
    }

    /// The same elements in a larger buffer.
    pub fn widened(&self, side: Side) -> Box<Gapped> {
        let mut wide = Gapped::new(Room::Node, side);
        wide.hold(side, self.entries(), self.view().len());
        wide
    }

    /// How large the buffer is.
    pub fn room(&self) -> Room {
        if self.bytes.len() == NODE { Room::Node } else { Room::Little }
    }

    /// The listpack.
    pub fn view(&self) -> ListpackRef<'_> {
        ListpackRef { bytes: &self.bytes[usize::from(self.start)..usize::from(self.end)] }
    }

    /// The size of the listpack in bytes.
    pub fn size(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// Adds an element at an end; says whether there was room.
    pub fn push(&mut self, side: Side, item: Item<'_>) -> bool {
        let encoded = Encoded::of(item);
        let (start, end) = (usize::from(self.start), usize::from(self.end));
        let count = self.view().len() + 1;
        // The last bytes of the new entry take the place of the header, or the first that of the end.
        match side {
            Side::Head => {
                let Some(start) = start.checked_sub(encoded.len()) else { return false };
                encoded.write_to(&mut self.bytes[start + HEADER..]);
                self.frame(start, end, count);
            }
            Side::Tail => {
                let after = end + encoded.len();
                if after > self.bytes.len() {
                    return false;
                }
                encoded.write_to(&mut self.bytes[end - 1..]);
                self.frame(start, after, count);
            }
        }
        true
    }

    /// Takes the element at an end, and hands it to `f`.
    pub fn pop_with<R>(&mut self, side: Side, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let (start, end) = (usize::from(self.start), usize::from(self.end));
        let view = self.view();
        let left = view.len().saturating_sub(1);
        let pos = view.outermost(side)?;
        let result = f(view.item(pos));
        match side {
            Side::Head => self.frame(start + view.after(pos) - HEADER, end, left),
            Side::Tail => self.frame(start, start + pos + 1, left),
        }
        Some(result)
    }

    /// Takes elements from a listpack's end, as many as there is room for. This has none yet.
    /// Says how many.
    pub fn fill_from(&mut self, side: Side, listpack: &mut Listpack) -> usize {
        let view = listpack.view();
        let room = self.bytes.len() - HEADER - 1;
        let (from, to, count) = part(view, side, |bytes, _| bytes <= room);
        self.hold(side, &view.bytes[from..to], count);
        listpack.bytes.splice(from, to - from, &[]);
        listpack.update_header(-(count as i64));
        count
    }

    /// Moves the elements that have been there the longest to the near end of a listpack, as many as it
    /// may have: `may` is told their bytes and their number. Says how many.
    pub fn pour_into(
        &mut self,
        side: Side,
        listpack: &mut Listpack,
        may: impl Fn(usize, usize) -> bool,
    ) -> usize {
        let view = self.view();
        let (from, to, moved) = part(view, side.other(), may);
        if moved == 0 {
            return 0;
        }
        let at = match side {
            Side::Head => HEADER,
            Side::Tail => listpack.view().end(),
        };
        listpack.bytes.splice(at, 0, &[&view.bytes[from..to]]);
        listpack.update_header(moved as i64);
        let (start, end, left) = (usize::from(self.start), view.end(), view.len() - moved);
        let kept = match side {
            Side::Head => start + HEADER..start + from,
            Side::Tail => start + to..start + end,
        };
        let (start, end) = self.window(side, kept.len());
        self.bytes.copy_within(kept, start + HEADER);
        self.frame(start, end, left);
        moved
    }

    /// Takes all elements, as a listpack of its own.
    pub fn take(&mut self, side: Side) -> Listpack {
        let listpack = Listpack { bytes: ThinBytes::new(&[self.view().as_bytes()]) };
        self.hold(side, &[], 0);
        listpack
    }

    fn entries(&self) -> &[u8] {
        let view = self.view();
        &view.bytes[HEADER..view.end()]
    }

    /// Where a listpack with so many bytes of entries stands so that all room is at a side.
    fn window(&self, side: Side, entries: usize) -> (usize, usize) {
        let size = HEADER + entries + 1;
        match side {
            Side::Head => (self.bytes.len() - size, self.bytes.len()),
            Side::Tail => (0, size),
        }
    }

    /// Holds these entries and no others.
    fn hold(&mut self, side: Side, entries: &[u8], count: usize) {
        let (start, end) = self.window(side, entries.len());
        self.bytes[start + HEADER..end - 1].copy_from_slice(entries);
        self.frame(start, end, count);
    }

    /// Puts header and end where the listpack begins and ends now.
    fn frame(&mut self, start: usize, end: usize, count: usize) {
        let size = (end - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&size.to_le_bytes());
        self.bytes[start + 4..start + HEADER].copy_from_slice(&(count as u16).to_le_bytes());
        self.bytes[end - 1] = END;
        (self.start, self.end) = (start as u16, end as u16);
    }
}

impl Clone for Box<Gapped> {
    fn clone(&self) -> Box<Gapped> {
        let mut gapped = Gapped::new(self.room(), Side::Head);
        gapped.bytes.copy_from_slice(&self.bytes);
        (gapped.start, gapped.end) = (self.start, self.end);
        gapped
    }
}

/// The entries at one end of a listpack, as many as `may`, which is told bytes and number, allows:
/// where they begin and end, and how many they are.
fn part(
    view: ListpackRef<'_>,
    side: Side,
    may: impl Fn(usize, usize) -> bool,
) -> (usize, usize, usize) {
    let (mut from, mut to, mut count) = match side {
        Side::Head => (HEADER, HEADER, 0),
        Side::Tail => (view.end(), view.end(), 0),
    };
    loop {
        let more = match side {
            Side::Head => (to < view.end()).then(|| (from, view.after(to))),
            Side::Tail => view.prev(from).map(|before| (before, to)),
        };
        match more.filter(|(from, to)| may(to - from, count + 1)) {
            Some(more) => ((from, to), count) = (more, count + 1),
            None => return (from, to, count),
        }
    }
}
