//! Values as a snapshot holds them: the type code that a version knows, and the bytes.
//!
//! Packed collections are written as they are; what a version has no packed form for is written
//! element by element, which every version reads.

use std::io;

use super::dump;
use super::format::{NODE_PACKED, NODE_PLAIN, VERSION_DUMP, VERSION_FIELD_DEADLINES, typecode};
use super::stream;
use super::writer::{Compression, KeyFacts, Settings, WriteError, Writer};
use crate::ds::deadlines::Deadlines;
use crate::ds::listpack::{Item, Listpack};
use crate::ds::quicklist::NodeRef;
use crate::persist::sink::Sink;
use crate::value::ValueRef;
use crate::value::hash::Hash;
use crate::value::list::List;
use crate::value::set::Set;
use crate::value::zset::Zset;

/// The first version with listpacks for hashes, sorted sets and lists.
const VERSION_LISTPACKS: u32 = 10;
/// The first version with listpacks for sets.
const VERSION_SET_LISTPACK: u32 = 11;

/// The first version in which a stream's consumers know when they were active.
const VERSION_STREAM_ACTIVE_TIMES: u32 = 11;

/// The type code of `value` in this version.
pub fn type_code(value: ValueRef<'_>, version: u32) -> u8 {
    let packs = version >= VERSION_LISTPACKS;
    match value {
        ValueRef::Str(_) => typecode::STRING,
        ValueRef::List(_) if packs => typecode::LIST_QUICKLIST_2,
        ValueRef::List(_) => typecode::LIST,
        ValueRef::Set(set) => match (set.intset(), set.listpack()) {
            (Some(_), _) => typecode::SET_INTSET,
            (_, Some(_)) if version >= VERSION_SET_LISTPACK => typecode::SET_LISTPACK,
            _ => typecode::SET,
        },
        ValueRef::Hash(hash) if hash.deadlines().is_some() => match hash.listpack() {
            Some(_) => typecode::HASH_LISTPACK_EX,
            None => typecode::HASH_METADATA,
        },
        ValueRef::Hash(hash) if packs && hash.listpack().is_some() => typecode::HASH_LISTPACK,
        ValueRef::Hash(_) => typecode::HASH,
        ValueRef::Zset(zset) if packs && zset.listpack().is_some() => typecode::ZSET_LISTPACK,
        ValueRef::Zset(_) => typecode::ZSET_2,
        ValueRef::Stream(_) if version >= VERSION_STREAM_ACTIVE_TIMES => {
            typecode::STREAM_LISTPACKS_3
        }
        ValueRef::Stream(_) if packs => typecode::STREAM_LISTPACKS_2,
        ValueRef::Stream(_) => typecode::STREAM_LISTPACKS,
    }
}

/// The payload FUNCTION DUMP gives of libraries.
pub fn functions(sources: &[std::sync::Arc<[u8]>]) -> Vec<u8> {
    let version = u32::from(VERSION_DUMP);
    let settings = Settings { version, compression: Compression::Lzf, checksum: false };
    let mut body = Vec::new();
    let written = Writer::new(&mut body, settings).and_then(|mut writer| {
        sources.iter().try_for_each(|source| writer.function(source))?;
        Ok(writer.flush()?)
    });
    written.expect("memory takes every byte");
    dump::seal(body, VERSION_DUMP)
}

/// The DUMP payload of a value, of version 11 or one before it; a value that only 12 can say is of
/// version 12.
pub fn dump(value: ValueRef<'_>, newest: u16, compression: Compression) -> Vec<u8> {
    let footer = match value.element_deadline() {
        Some(_) => VERSION_FIELD_DEADLINES as u16,
        None => newest.min(VERSION_DUMP),
    };
    let version = u32::from(footer);
    let settings = Settings { version, compression, checksum: false };
    let mut body = vec![type_code(value, version)];
    let written = Writer::new(&mut body, settings).and_then(|mut writer| {
        writer.value(value)?;
        Ok(writer.flush()?)
    });
    written.expect("memory takes every byte");
    dump::seal(body, footer)
}

impl<S: Sink> Writer<S> {
    /// A key with its value.
    pub fn entry(
        &mut self,
        key: &[u8],
        facts: KeyFacts,
        value: ValueRef<'_>,
    ) -> Result<(), WriteError> {
        let version = self.settings().version;
        if version < VERSION_FIELD_DEADLINES && value.element_deadline().is_some() {
            let what = "hash fields with deadlines";
            return Err(WriteError::Inexpressible { version, what });
        }
        self.key(key, facts, type_code(value, self.settings().version))?;
        Ok(self.value(value)?)
    }

    /// A string key with its value.
    pub fn text_entry(
        &mut self,
        key: &[u8],
        facts: KeyFacts,
        text: &[u8],
    ) -> Result<(), WriteError> {
        self.key(key, facts, typecode::STRING)?;
        Ok(self.string(text)?)
    }

    /// A string key whose value is an integer.
    pub fn integer_entry(
        &mut self,
        key: &[u8],
        facts: KeyFacts,
        value: i64,
    ) -> Result<(), WriteError> {
        self.key(key, facts, typecode::STRING)?;
        Ok(self.decimal(value)?)
    }

    /// The bytes of a value, in the form that `type_code` names.
    pub fn value(&mut self, value: ValueRef<'_>) -> io::Result<()> {
        let code = type_code(value, self.settings().version);
        match value {
            ValueRef::Str(text) => self.string(text),
            ValueRef::List(list) => self.list(list, code),
            ValueRef::Set(set) => self.set(set, code),
            ValueRef::Hash(hash) => self.hash(hash, code),
            ValueRef::Zset(zset) => self.zset(zset, code),
            ValueRef::Stream(stream) => stream::write(self, stream, code),
        }
    }

    fn item(&mut self, item: Item<'_>) -> io::Result<()> {
        match item {
            Item::Int(value) => self.decimal(value),
            Item::Bytes(bytes) => self.string(bytes),
        }
    }

    fn list(&mut self, list: &List, code: u8) -> io::Result<()> {
        if code == typecode::LIST {
            self.length(list.len() as u64)?;
            return list.iter().try_for_each(|item| self.item(item));
        }
        if let Some(pack) = list.listpack() {
            self.length(1)?;
            self.length(NODE_PACKED)?;
            return self.string(pack.as_bytes());
        }
        let Some(nodes) = list.quicklist() else { return Ok(()) };
        self.length(nodes.node_count() as u64)?;
        for node in nodes.nodes() {
            match node {
                NodeRef::Packed(pack) => {
                    self.length(NODE_PACKED)?;
                    self.string(pack.as_bytes())?;
                }
                NodeRef::Plain(bytes) => {
                    self.length(NODE_PLAIN)?;
                    self.string(bytes)?;
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, set: &Set, code: u8) -> io::Result<()> {
        match (code, set.intset(), set.listpack()) {
            (typecode::SET_INTSET, Some(intset), _) => self.string(intset.as_bytes()),
            (typecode::SET_LISTPACK, _, Some(pack)) => self.string(pack.as_bytes()),
            _ => {
                self.length(set.len() as u64)?;
                set.iter().try_for_each(|member| self.item(member))
            }
        }
    }

    fn hash(&mut self, hash: &Hash, code: u8) -> io::Result<()> {
        if let Some(deadlines) = hash.deadlines() {
            return self.timed_hash(hash, deadlines);
        }
        if let (typecode::HASH_LISTPACK, Some(pack)) = (code, hash.listpack()) {
            return self.string(pack.as_bytes());
        }
        self.length(hash.len() as u64)?;
        hash.iter().try_for_each(|(field, value)| {
            self.item(field)?;
            self.item(value)
        })
    }

    fn timed_hash(&mut self, hash: &Hash, deadlines: &Deadlines) -> io::Result<()> {
        let first = deadlines.next().map_or(0, |at| at.0);
        self.raw(&first.to_le_bytes())?;
        if hash.listpack().is_some() {
            return self.string(in_threes(hash, deadlines).as_bytes());
        }
        self.length(hash.len() as u64)?;
        hash.iter().try_for_each(|(field, value)| {
            let at = field.with_bytes(|field| deadlines.get(field));
            self.length(at.map_or(0, |at| at.0 - first + 1))?;
            self.item(field)?;
            self.item(value)
        })
    }

    fn zset(&mut self, zset: &Zset, code: u8) -> io::Result<()> {
        if let (typecode::ZSET_LISTPACK, Some(pack)) = (code, zset.listpack()) {
            return self.string(pack.as_bytes());
        }
        self.length(zset.len() as u64)?;
        // From the greatest to the least, so that each insertion of a loader is at the front.
        zset.iter().rev().try_for_each(|(member, score)| {
            self.item(member)?;
            self.raw(&score.to_le_bytes())
        })
    }
}

/// Fields, values and deadlines in the order of the deadlines; 0 stands for none, and comes last.
fn in_threes(hash: &Hash, deadlines: &Deadlines) -> Listpack {
    let mut pack = Listpack::new();
    let mut put = |field: Item<'_>, value: Item<'_>, at: u64| {
        for item in [field, value, Item::Int(i64::try_from(at).unwrap_or(i64::MAX))] {
            pack.push_back(item);
        }
    };
    for (field, at) in deadlines.iter() {
        if let Some(value) = hash.get(field) {
            put(Item::of(field), value, at.0);
        }
    }
    for (field, value) in hash.iter() {
        if field.with_bytes(|field| deadlines.get(field)).is_none() {
            put(field, value, 0);
        }
    }
    pack
}
