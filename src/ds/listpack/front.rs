//! A listpack that begins anywhere in a buffer and always ends with it: an element enters or leaves
//! at its front, and the others stay where they are.

use crate::ds::listpack::entry::Encoded;
use crate::ds::listpack::{END, HEADER, Item, Listpack, ListpackRef};
use crate::ds::thin::ThinBytes;

/// Bytes of the buffer: with what is beside it a kilobyte.
const BYTES: usize = 1022;

/// Bytes of text beyond which an element is not worth a place. One that is not fits if nothing else is
/// there.
pub const FRONT_ELEMENT_MAX: usize = BYTES / 4;

/// See the module. Invariant: from `start` on the bytes are a listpack.
#[derive(Clone, Debug)]
pub struct Front {
    start: u16,
    bytes: [u8; BYTES],
}

impl Front {
    /// One without elements.
    pub fn new() -> Box<Front> {
        let mut front = Box::new(Front { start: 0, bytes: [END; BYTES] });
        front.begin_at(BYTES - HEADER - 1, 0);
        front
    }

    /// The listpack.
    pub fn view(&self) -> ListpackRef<'_> {
        ListpackRef { bytes: &self.bytes[self.start()..] }
    }

    /// Prepends an element; says whether there was room.
    pub fn push(&mut self, item: Item<'_>) -> bool {
        let encoded = Encoded::of(item);
        let Some(start) = self.start().checked_sub(encoded.len()) else { return false };
        // The last bytes of the new entry take the place of the header.
        let count = self.view().len() + 1;
        let mut at = start + HEADER;
        for part in encoded.parts() {
            self.bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.begin_at(start, count);
        true
    }

    /// Takes the first element, and hands it to `f`.
    pub fn pop_with<R>(&mut self, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let view = self.view();
        let pos = view.first()?;
        let result = f(view.item(pos));
        let (start, count) = (self.start() + view.entry_size(pos), view.len() - 1);
        self.begin_at(start, count);
        Some(result)
    }

    /// Takes elements from a listpack's front, as many as there is room for. This has none yet.
    /// Says how many.
    pub fn fill_from(&mut self, listpack: &mut Listpack) -> usize {
        let view = listpack.view();
        let (mut end, mut count) = (HEADER, 0);
        while let Some(after) = (end < view.end()).then(|| view.after(end))
            && after < BYTES
        {
            (end, count) = (after, count + 1);
        }
        let start = BYTES - 1 - end;
        self.bytes[start + HEADER..BYTES - 1].copy_from_slice(&view.as_bytes()[HEADER..end]);
        self.begin_at(start, count);
        listpack.bytes.splice(HEADER, end - HEADER, &[]);
        listpack.update_header(-(count as i64));
        count
    }

    /// Moves the last elements to a listpack's front, as many as it may have: `may` is told their
    /// bytes and their number. Says how many.
    pub fn pour_into(
        &mut self,
        listpack: &mut Listpack,
        may: impl Fn(usize, usize) -> bool,
    ) -> usize {
        let view = self.view();
        let (mut from, mut count) = (view.end(), 0);
        while let Some(before) = view.prev(from)
            && may(view.end() - before, count + 1)
        {
            (from, count) = (before, count + 1);
        }
        let moved = &view.as_bytes()[from..view.end()];
        listpack.bytes.splice(HEADER, 0, &[moved]);
        listpack.update_header(count as i64);
        let (start, left, moved) = (self.start(), view.len() - count, moved.len());
        self.bytes.copy_within(start + HEADER..start + from, start + moved + HEADER);
        self.begin_at(start + moved, left);
        count
    }

    /// Takes all elements, as a listpack of its own.
    pub fn take(&mut self) -> Listpack {
        let listpack = Listpack { bytes: ThinBytes::new(&[self.view().as_bytes()]) };
        self.begin_at(BYTES - HEADER - 1, 0);
        listpack
    }

    fn start(&self) -> usize {
        usize::from(self.start)
    }

    /// Puts the header where the listpack begins now.
    fn begin_at(&mut self, start: usize, count: usize) {
        let size = (BYTES - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&size.to_le_bytes());
        self.bytes[start + 4..start + HEADER].copy_from_slice(&(count as u16).to_le_bytes());
        self.start = start as u16;
    }
}
