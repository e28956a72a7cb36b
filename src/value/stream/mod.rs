//! Streams: entries that are appended and stay, and groups of consumers that read them.

pub mod group;
pub mod id;
pub mod log;
pub mod node;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use crate::value::{Kind, Limits, Value, ValueMut, ValueRef, Variant};

pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::{NewId, StreamId};
pub use log::Log;
pub use node::Entry;

/// A stream. It may be empty, and stays at its key then.
#[derive(Clone, Debug, Default)]
pub struct Stream(Box<Body>);

/// What a stream is made of.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// The entries.
    pub log: Log,
    /// The groups by name.
    pub groups: BTreeMap<Box<[u8]>, Group>,
}

impl Stream {
    /// An empty stream.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Bytes of memory this takes, roughly.
    pub fn memory_bytes(&self) -> usize {
        let groups = self.groups.iter();
        let groups: usize = groups
            .map(|(name, group)| name.len() + size_of::<Group>() + group.memory_bytes())
            .sum();
        size_of::<Body>() + self.log.memory_bytes() + groups
    }

    /// How many allocations freeing it takes, roughly.
    pub fn free_effort(&self) -> usize {
        let pending: usize = self.groups.values().map(|group| group.pending().len()).sum();
        self.log.nodes().len() + pending
    }
}

impl Deref for Stream {
    type Target = Body;

    fn deref(&self) -> &Body {
        &self.0
    }
}

impl DerefMut for Stream {
    fn deref_mut(&mut self) -> &mut Body {
        &mut self.0
    }
}

impl Variant for Stream {
    const KIND: Kind = Kind::Stream;

    fn of(value: ValueRef<'_>) -> Option<&Stream> {
        match value {
            ValueRef::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn of_mut(value: ValueMut<'_>) -> Option<&mut Stream> {
        match value {
            ValueMut::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn new(_limits: &Limits) -> Value {
        Value::Stream(Stream::new())
    }

    /// A key may hold a stream without entries.
    fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::log::{Facts, Trim, TrimTo};
    use super::node::Node;
    use super::*;
    use crate::base::clock::UnixMs;

    type Model = BTreeMap<StreamId, Vec<Vec<u8>>>;

    fn words(entry: &Entry<'_>) -> Vec<Vec<u8>> {
        entry.pairs().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect()
    }

    fn contents(log: &Log) -> Model {
        log.range(StreamId::MIN, StreamId::MAX).map(|entry| (entry.id, words(&entry))).collect()
    }

    fn reparsed(log: &Log) -> Log {
        let nodes = log.nodes().map(|(base, node)| {
            (base, Node::parse(base, node.as_bytes()).expect("our own bytes are whole"))
        });
        let facts = Facts {
            len: log.len(),
            last_id: log.last_id(),
            max_deleted_id: log.max_deleted_id(),
            entries_added: Some(log.entries_added()),
        };
        Log::from_nodes(nodes, facts).expect("our own nodes are in order")
    }

    #[test]
    fn a_node_has_the_bytes_of_redis() {
        let mut log = Log::default();
        let limits = Limits::default();
        for (id, text) in [((5, 1), "a 1 b x"), ((5, 2), "a 2 b y"), ((6, 0), "c 3")] {
            let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let id = NewId::Exactly(StreamId::new(id.0, id.1));
            log.append(id, UnixMs(0), words.into_iter(), &limits).unwrap();
        }
        let (base, node) = log.nodes().next().unwrap();
        assert_eq!(base, StreamId::new(5, 1));
        let int = |value: u8| vec![value, 1];
        let text = |text: u8| vec![0x81, text, 2];
        let parts = [
            [int(3), int(0), int(2), text(b'a'), text(b'b'), int(0)].concat(),
            [int(2), int(0), int(0), int(1), text(b'x'), int(5)].concat(),
            [int(2), int(0), int(1), int(2), text(b'y'), int(5)].concat(),
            [int(0), int(1), vec![0xdf, 0xff, 2], int(1), text(b'c'), int(3), int(6)].concat(),
        ];
        assert_eq!(&node.as_bytes()[6..node.as_bytes().len() - 1], parts.concat());
    }

    proptest! {
        #[test]
        fn changes_agree_with_a_map(
            steps in prop::collection::vec((0u8..12, 0u64..40, 0u64..4, "[a-c]{0,2}"), 0..120)
        ) {
            let limits = Limits {
                stream_node_max_entries: 5, stream_node_max_bytes: 120, ..Limits::default()
            };
            let (mut log, mut model) = (Log::default(), Model::new());
            for (kind, ms, seq, text) in steps {
                let id = StreamId::new(ms, seq);
                match kind {
                    0..=7 => {
                        let words = [b"f".to_vec(), text.clone().into_bytes(), text.into_bytes(),
                            b"7".to_vec()];
                        let words = &words[..if kind < 5 { 2 } else { 4 }];
                        let wanted = if kind % 2 == 0 { NewId::Auto } else { NewId::Exactly(id) };
                        let items = words.iter().map(Vec::as_slice);
                        if let Ok(id) = log.append(wanted, UnixMs(ms), items, &limits) {
                            model.insert(id, words.to_vec());
                        }
                    }
                    8 | 9 => prop_assert_eq!(log.delete(id), model.remove(&id).is_some()),
                    10 => {
                        let whole_nodes = seq == 0;
                        log.trim(&Trim { to: TrimTo::Len(ms / 4), whole_nodes, limit: 0 });
                        while !whole_nodes && model.len() as u64 > ms / 4 {
                            model.pop_first();
                        }
                    }
                    _ => {
                        log.trim(&Trim { to: TrimTo::Id(id), whole_nodes: false, limit: 0 });
                        model = model.split_off(&id);
                    }
                }
                if kind == 10 {
                    let kept = contents(&log);
                    model.retain(|id, _| kept.contains_key(id));
                }
                prop_assert_eq!(contents(&log), model.clone());
                prop_assert_eq!(log.len(), model.len() as u64);
                let first = model.keys().next().copied().unwrap_or_default();
                prop_assert_eq!(log.first_id(), first);
                let back = log.range_back(id, StreamId::MAX).map(|entry| entry.id);
                prop_assert!(back.eq(model.range(id..).rev().map(|(id, _)| *id)));
                prop_assert_eq!(log.get(id).map(|entry| words(&entry)), model.get(&id).cloned());
            }
            prop_assert_eq!(contents(&reparsed(&log)), model);
        }

        #[test]
        fn damaged_nodes_are_refused_or_walkable(at in 0usize..60, byte: u8) {
            let mut log = Log::default();
            for value in ["x", "300", "a longer text"] {
                let words = [b"f".as_slice(), value.as_bytes()];
                log.append(NewId::Auto, UnixMs(9), words.into_iter(), &Limits::default()).unwrap();
            }
            let (base, node) = log.nodes().next().unwrap();
            let mut bytes = node.as_bytes().to_vec();
            let len = bytes.len();
            bytes[at % len] = byte;
            if let Ok(node) = Node::parse(base, &bytes) {
                prop_assert_eq!(node.entries(base).count(), node.entries(base).rev().count());
                node.entries(base).for_each(|entry| drop(words(&entry)));
            }
        }
    }
}
