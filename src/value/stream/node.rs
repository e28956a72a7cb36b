//! A stretch of a stream: its entries in one listpack, byte for byte Redis's.
//!
//! ```text
//! live | deleted | names | name ... name | 0          what the entries have in common
//! flags | ms | seq | value ... value | elements        an entry with those names
//! flags | ms | seq | fields | name | value ... | elements    an entry with its own
//! ```
//!
//! An id is stated as the distance from the node's own, that of its first entry ever. The last
//! element of an entry counts those before it, so that entries can be read from the right.
//! Invariants, established by `parse` and kept by every `&mut self` method:
//!   1. behind the head stand whole entries, whose flags are integers from 0 to 3;
//!   2. their ids increase, and none is less than the node's;
//!   3. the head counts the live and the deleted ones.

use crate::ds::listpack::{Item, Listpack, ListpackRef};
use crate::value::stream::id::StreamId;

/// The flag of a deleted entry.
const DELETED: i64 = 1;
/// The flag of an entry that has the names of the head.
const SAME_NAMES: i64 = 2;
/// Elements of an entry that are neither names nor values: flags and id.
const FIXED: i64 = 3;

/// A node's listpack.
#[derive(Clone, Debug)]
pub struct Node {
    pack: Listpack,
}

/// Why bytes are not a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Stream listpack integrity check failed.")]
pub struct BrokenNode;

impl Node {
    /// A node of one entry, whose id is the node's. `words` are names and values in turn.
    pub fn new<'w>(words: impl ExactSizeIterator<Item = &'w [u8]> + Clone) -> Node {
        let mut pack = Listpack::new();
        let names = Item::Int(words.len() as i64 / 2);
        let head = [Item::Int(0), Item::Int(0), names].into_iter();
        let names = words.clone().step_by(2).map(Item::of);
        pack.push_many(head.chain(names).chain([Item::Int(0)]));
        let mut node = Node { pack };
        node.append(StreamId::MIN, StreamId::MIN, words);
        node
    }

    /// Adopts bytes from outside after proving them.
    pub fn parse(base: StreamId, bytes: &[u8]) -> Result<Node, BrokenNode> {
        let pack = Listpack::parse(bytes).map_err(|_| BrokenNode)?;
        check(base, pack.view()).ok_or(BrokenNode)?;
        Ok(Node { pack })
    }

    /// The listpack's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.pack.as_bytes()
    }

    /// Bytes of the listpack.
    pub fn size(&self) -> usize {
        self.pack.size()
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        self.pack.memory_bytes()
    }

    /// Entries that are live.
    pub fn live(&self) -> u64 {
        self.counter(0) as u64
    }

    /// Entries, with the deleted ones.
    pub fn total(&self) -> u64 {
        (self.counter(0) + self.counter(1)) as u64
    }

    fn counter(&self, index: i64) -> i64 {
        self.pack.get(index).and_then(Item::as_i64).unwrap_or(0)
    }

    fn add_to_counter(&mut self, index: i64, change: i64) {
        let value = self.counter(index) + change;
        if let Some(pos) = self.pack.view().seek(index) {
            self.pack.replace(pos, Item::Int(value));
        }
    }

    /// Appends an entry whose id is greater than those here.
    pub fn append<'w>(
        &mut self,
        base: StreamId,
        id: StreamId,
        words: impl ExactSizeIterator<Item = &'w [u8]> + Clone,
    ) {
        self.add_to_counter(0, 1);
        let fields = words.len() as i64 / 2;
        let head = Head::of(self.pack.view());
        let same = head.names == words.len() / 2 && {
            let mut pos = head.first_name;
            words.clone().step_by(2).all(|word| {
                let equal = self.pack.item(pos) == *word;
                pos = self.pack.view().after(pos);
                equal
            })
        };
        let flags = if same { SAME_NAMES } else { 0 };
        let ms = id.ms.wrapping_sub(base.ms) as i64;
        let seq = id.seq.wrapping_sub(base.seq) as i64;
        let start = [Item::Int(flags), Item::Int(ms), Item::Int(seq)].into_iter();
        if same {
            let values = words.skip(1).step_by(2).map(Item::of);
            self.pack.push_many(start.chain(values).chain([Item::Int(FIXED + fields)]));
        } else {
            let end = [Item::Int(FIXED + 1 + 2 * fields)];
            let body = [Item::Int(fields)].into_iter().chain(words.map(Item::of));
            self.pack.push_many(start.chain(body).chain(end));
        }
    }

    /// The entries, deleted ones too, from either end.
    pub fn entries(&self, base: StreamId) -> Entries<'_> {
        let head = Head::of(self.pack.view());
        let back = self.pack.view().end();
        Entries { pack: self.pack.view(), base, head, front: head.end, back }
    }

    /// The id of the last entry, deleted or not.
    pub fn last_id(&self, base: StreamId) -> StreamId {
        self.entries(base).next_back().map_or(base, |entry| entry.id)
    }

    /// Marks an entry as deleted; says whether it was live.
    pub fn delete(&mut self, base: StreamId, id: StreamId) -> bool {
        let found = self.entries(base).find(|entry| entry.id == id);
        let Some(at) = found.filter(|entry| !entry.deleted).map(|entry| entry.at) else {
            return false;
        };
        self.mark(at);
        self.add_to_counter(0, -1);
        self.add_to_counter(1, 1);
        true
    }

    /// Marks the first live entries as deleted, as long as `goes` says so; says how many.
    pub fn delete_first(
        &mut self,
        base: StreamId,
        mut goes: impl FnMut(StreamId, u64) -> bool,
    ) -> u64 {
        let (mut at, mut removed) = (Head::of(self.pack.view()).end, 0);
        loop {
            let mut entries = Entries { front: at, ..self.entries(base) };
            let Some(entry) = entries.next() else { break };
            let after = entries.front;
            if !entry.deleted {
                if !goes(entry.id, removed) {
                    break;
                }
                let here = entry.at;
                self.mark(here);
                removed += 1;
            }
            at = after;
        }
        self.add_to_counter(0, -(removed as i64));
        self.add_to_counter(1, removed as i64);
        removed
    }

    /// Flags are of one size, so no position changes.
    fn mark(&mut self, at: usize) {
        let flags = self.pack.item(at).as_i64().unwrap_or(0);
        self.pack.replace(at, Item::Int(flags | DELETED));
    }
}

/// What the first elements say.
#[derive(Clone, Copy)]
struct Head {
    names: usize,
    first_name: usize,
    /// Where the entries begin.
    end: usize,
}

impl Head {
    fn of(pack: ListpackRef<'_>) -> Head {
        let at = pack.seek(2).unwrap_or(pack.end());
        let names = int_at(pack, at) as usize;
        let first_name = pack.after(at);
        let end = (0..=names).fold(first_name, |pos, _| pack.after(pos));
        Head { names, first_name, end }
    }
}

fn int_at(pack: ListpackRef<'_>, pos: usize) -> i64 {
    pack.item(pos).as_i64().unwrap_or(0)
}

/// Follows the whole structure; `None` where it is broken.
fn check(base: StreamId, pack: ListpackRef<'_>) -> Option<()> {
    let mut items = pack.iter();
    let int = |items: &mut dyn Iterator<Item = Item<'_>>| items.next().and_then(Item::as_i64);
    let (live, deleted, names) = (int(&mut items)?, int(&mut items)?, int(&mut items)?);
    let skip = |items: &mut dyn Iterator<Item = Item<'_>>, count: i64| {
        (count >= 0 && (0..count).all(|_| items.next().is_some())).then_some(())
    };
    skip(&mut items, names)?;
    if int(&mut items)? != 0 {
        return None;
    }
    let (mut seen, mut last) = ([0; 2], None);
    while let Some(flags) = items.next() {
        let Item::Int(flags @ 0..=3) = flags else { return None };
        let id = shifted(base, int(&mut items)?, int(&mut items)?);
        if id < base || last.is_some_and(|last| last >= id) {
            return None;
        }
        last = Some(id);
        let body = if flags & SAME_NAMES != 0 {
            skip(&mut items, names)?;
            names
        } else {
            let fields = int(&mut items)?;
            skip(&mut items, fields.checked_mul(2)?)?;
            fields * 2 + 1
        };
        if int(&mut items)? != FIXED + body {
            return None;
        }
        seen[usize::from(flags & DELETED != 0)] += 1;
    }
    (seen == [live, deleted]).then_some(())
}

fn shifted(base: StreamId, ms: i64, seq: i64) -> StreamId {
    StreamId { ms: base.ms.wrapping_add(ms as u64), seq: base.seq.wrapping_add(seq as u64) }
}

/// The entries of a node.
#[derive(Clone)]
pub struct Entries<'a> {
    pack: ListpackRef<'a>,
    base: StreamId,
    head: Head,
    front: usize,
    back: usize,
}

impl<'a> Entries<'a> {
    /// The entry at a position, and where its last element stands.
    fn entry(&self, at: usize) -> Entry<'a> {
        let pack = self.pack;
        let flags = int_at(pack, at);
        let ms = pack.after(at);
        let seq = pack.after(ms);
        let id = shifted(self.base, int_at(pack, ms), int_at(pack, seq));
        let mut body = pack.after(seq);
        let same = flags & SAME_NAMES != 0;
        let mut fields = self.head.names;
        if !same {
            fields = int_at(pack, body) as usize;
            body = pack.after(body);
        }
        let names = same.then_some(self.head.first_name);
        Entry { id, deleted: flags & DELETED != 0, fields, at, pack, names, body }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.front >= self.back {
            return None;
        }
        let entry = self.entry(self.front);
        let steps = if entry.names.is_some() { entry.fields } else { 2 * entry.fields };
        self.front = (0..=steps).fold(entry.body, |pos, _| self.pack.after(pos));
        Some(entry)
    }
}

impl<'a> DoubleEndedIterator for Entries<'a> {
    fn next_back(&mut self) -> Option<Entry<'a>> {
        if self.front >= self.back {
            return None;
        }
        let count = self.pack.prev(self.back)?;
        for _ in 0..=int_at(self.pack, count) {
            self.back = self.pack.prev(self.back)?;
        }
        Some(self.entry(self.back))
    }
}

/// An entry.
#[derive(Clone)]
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    /// Whether it is only a tombstone.
    pub deleted: bool,
    /// How many fields it has.
    pub fields: usize,
    at: usize,
    pack: ListpackRef<'a>,
    /// Where the names stand, if not beside the values.
    names: Option<usize>,
    body: usize,
}

impl<'a> Entry<'a> {
    /// The fields and their values.
    pub fn pairs(&self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> + use<'a> {
        let pack = self.pack;
        let (mut names, mut body) = (self.names, self.body);
        (0..self.fields).map(move |_| {
            let name = match &mut names {
                Some(pos) => {
                    let name = pack.item(*pos);
                    *pos = pack.after(*pos);
                    name
                }
                None => {
                    let name = pack.item(body);
                    body = pack.after(body);
                    name
                }
            };
            let value = pack.item(body);
            body = pack.after(body);
            (name, value)
        })
    }
}
