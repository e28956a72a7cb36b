//! Values from their encoded bytes. Bytes are proved before they are trusted.

use std::borrow::Cow;

use super::format::{Dialect, NODE_PACKED, NODE_PLAIN, module_name, type_name, typecode};
use super::packs;
use super::slice::{Malformed, Slice};
use super::stream;
use crate::base::clock::UnixMs;
use crate::base::num::parse_f64;
use crate::ds::intset::Intset;
use crate::ds::listpack::{Item, Listpack};
use crate::ds::quicklist::{Quicklist, Side};
use crate::value::hash::Hash;
use crate::value::limits::Limits;
use crate::value::list::List;
use crate::value::set::Set;
use crate::value::zset::Zset;
use crate::value::{self, Value};

/// Why a value cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A collection without elements, which no key may hold; a loader skips the key.
    #[error("empty collection")]
    Empty,
    /// The bytes are not a value of this type.
    #[error("{0}")]
    Corrupt(String),
    /// A module's value; there are no modules here.
    #[error("The RDB file contains module data I can't load: no matching module type '{0}'")]
    Module(String),
    /// A type that is not decoded.
    #[error("values of type {0} are not supported")]
    Unsupported(&'static str),
}

impl From<Malformed> for DecodeError {
    fn from(Malformed(what): Malformed) -> DecodeError {
        DecodeError::Corrupt(what)
    }
}

impl From<value::Malformed> for DecodeError {
    fn from(what: value::Malformed) -> DecodeError {
        DecodeError::Corrupt(what.to_string())
    }
}

/// The value of type `code` that `payload` encodes, all of it.
pub fn decode(
    code: u8,
    dialect: Dialect,
    payload: &[u8],
    limits: &Limits,
) -> Result<Value, DecodeError> {
    if dialect == Dialect::Valkey && code == typecode::VALKEY_HASH_2 {
        return Err(DecodeError::Unsupported("hash with field deadlines"));
    }
    let mut input = Slice::new(payload);
    let decoder = Decoder { limits };
    let value = match code {
        typecode::STRING => return Ok(Value::Str(decode_string(payload)?.into_owned())),
        typecode::LIST => decoder.list(&mut input)?,
        typecode::LIST_ZIPLIST => {
            let mut nodes = List::builder(limits);
            nodes.push_packed(packs::from_ziplist(&input.string()?)?);
            decoder.nodes(nodes)?
        }
        typecode::LIST_QUICKLIST | typecode::LIST_QUICKLIST_2 => {
            decoder.quicklist(&mut input, code)?
        }
        typecode::SET => decoder.set(&mut input)?,
        typecode::SET_INTSET => decoder.intset(&input.string()?)?,
        typecode::SET_LISTPACK => decoder.set_pack(packs::from_listpack(&input.string()?)?)?,
        typecode::HASH => decoder.hash(&mut input)?,
        typecode::HASH_ZIPMAP => decoder.zipmap(&input.string()?)?,
        typecode::HASH_ZIPLIST => decoder.hash_pack(packs::from_ziplist(&input.string()?)?)?,
        typecode::HASH_LISTPACK => decoder.hash_pack(packs::from_listpack(&input.string()?)?)?,
        typecode::HASH_METADATA => {
            let first = u64::from_le_bytes(input.array()?);
            decoder.timed_hash(&mut input, Some(first))?
        }
        typecode::HASH_METADATA_PRE_GA => decoder.timed_hash(&mut input, None)?,
        typecode::HASH_LISTPACK_EX => {
            input.bytes(8)?;
            decoder.threes(packs::from_listpack(&input.string()?)?)?
        }
        typecode::HASH_LISTPACK_EX_PRE_GA => {
            decoder.threes(packs::from_listpack(&input.string()?)?)?
        }
        typecode::ZSET | typecode::ZSET_2 => decoder.zset(&mut input, code)?,
        typecode::ZSET_ZIPLIST => decoder.zset_pack(packs::from_zset_ziplist(&input.string()?)?)?,
        typecode::ZSET_LISTPACK => decoder.zset_pack(packs::from_listpack(&input.string()?)?)?,
        typecode::STREAM_LISTPACKS
        | typecode::STREAM_LISTPACKS_2
        | typecode::STREAM_LISTPACKS_3 => stream::read(&mut input, code)?,
        typecode::MODULE_2 => return Err(DecodeError::Module(module_name(input.length()?))),
        other => return Err(unsupported(other)),
    };
    all_read(&input)?;
    Ok(value)
}

/// The string that `payload` encodes, all of it.
pub fn decode_string(payload: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let mut input = Slice::new(payload);
    let text = input.string()?;
    all_read(&input)?;
    Ok(text)
}

fn all_read(input: &Slice<'_>) -> Result<(), DecodeError> {
    match input.left() {
        0 => Ok(()),
        left => Err(DecodeError::Corrupt(format!("{left} bytes too many in a value"))),
    }
}

fn unsupported(code: u8) -> DecodeError {
    let name = type_name(code);
    DecodeError::Corrupt(format!("Unknown RDB encoding type {code} ({name})"))
}

struct Decoder<'a> {
    limits: &'a Limits,
}

/// A count of items that follow, at least one byte each.
fn count(input: &mut Slice<'_>) -> Result<usize, DecodeError> {
    match input.length()? {
        0 => Err(DecodeError::Empty),
        stated => usize::try_from(stated)
            .ok()
            .filter(|stated| *stated <= input.left())
            .ok_or_else(|| DecodeError::Corrupt(format!("{stated} elements in too few bytes"))),
    }
}

fn corrupt<T>(what: &str) -> Result<T, DecodeError> {
    Err(DecodeError::Corrupt(what.to_owned()))
}

impl Decoder<'_> {
    fn list(&self, input: &mut Slice<'_>) -> Result<Value, DecodeError> {
        let mut nodes = List::builder(self.limits);
        for _ in 0..count(input)? {
            nodes.push(Side::Tail, &input.string()?);
        }
        self.nodes(nodes)
    }

    fn quicklist(&self, input: &mut Slice<'_>, code: u8) -> Result<Value, DecodeError> {
        let mut nodes = List::builder(self.limits);
        for _ in 0..count(input)? {
            let container = match code {
                typecode::LIST_QUICKLIST => NODE_PACKED,
                _ => input.length()?,
            };
            let blob = input.string()?;
            if blob.is_empty() {
                return corrupt("an empty node in a list");
            }
            let pack = match (container, code) {
                (NODE_PLAIN, _) => {
                    nodes.push_plain(blob.into_owned().into_boxed_slice());
                    continue;
                }
                (NODE_PACKED, typecode::LIST_QUICKLIST) => packs::from_ziplist(&blob)?,
                (NODE_PACKED, _) => packs::from_listpack(&blob)?,
                _ => return corrupt("Quicklist integrity check failed."),
            };
            nodes.push_packed(pack);
        }
        self.nodes(nodes)
    }

    fn nodes(&self, nodes: Quicklist) -> Result<Value, DecodeError> {
        if nodes.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Value::List(List::from_quicklist(nodes, self.limits)))
    }

    fn set(&self, input: &mut Slice<'_>) -> Result<Value, DecodeError> {
        let members = count(input)?;
        let mut set = Set::for_load(members, self.limits);
        for _ in 0..members {
            if !set.add(&input.string()?, self.limits) {
                return corrupt("Duplicate set members detected");
            }
        }
        Ok(Value::Set(set))
    }

    fn intset(&self, blob: &[u8]) -> Result<Value, DecodeError> {
        let intset = Intset::parse(blob).map_err(|error| {
            DecodeError::Corrupt(format!("Intset integrity check failed: {error}"))
        })?;
        if intset.is_empty() {
            return corrupt("Intset integrity check failed: no members");
        }
        Ok(Value::Set(Set::from_intset(intset, self.limits)))
    }

    fn set_pack(&self, pack: Listpack) -> Result<Value, DecodeError> {
        if pack.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Value::Set(Set::from_listpack(pack, self.limits)?))
    }

    fn hash(&self, input: &mut Slice<'_>) -> Result<Value, DecodeError> {
        let fields = count(input)?;
        let mut hash = Hash::for_load(fields, self.limits);
        for _ in 0..fields {
            let (field, value) = (input.string()?, input.string()?);
            if !hash.set(&field, &value, self.limits) {
                return corrupt("Duplicate hash fields detected");
            }
        }
        Ok(Value::Hash(hash))
    }

    /// A hash of a time that knew no limits on values.
    fn zipmap(&self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let pack = packs::from_zipmap(bytes)?;
        if pack.is_empty() {
            return corrupt("Zipmap integrity check failed: it is empty");
        }
        let longest = pack.iter().map(|item| item.to_vec().len()).max().unwrap_or(0);
        let mut value = self.hash_pack(pack)?;
        if let Value::Hash(hash) = &mut value {
            hash.expect(0, longest, self.limits);
        }
        Ok(value)
    }

    fn hash_pack(&self, pack: Listpack) -> Result<Value, DecodeError> {
        if pack.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Value::Hash(Hash::from_listpack(pack, self.limits)?))
    }

    /// Fields with deadlines, which count from the `first`, where 1 is that itself.
    fn timed_hash(&self, input: &mut Slice<'_>, first: Option<u64>) -> Result<Value, DecodeError> {
        let fields = count(input)?;
        let mut hash = Hash::for_load(fields, self.limits);
        for _ in 0..fields {
            let stated = input.length()?;
            let (field, value) = (input.string()?, input.string()?);
            if !hash.set(&field, &value, self.limits) {
                return corrupt("Duplicate hash fields detected");
            }
            if stated > 0 {
                let at = first.map_or(Some(stated), |first| first.checked_add(stated - 1));
                hash.set_deadline(&field, moment(at)?);
            }
        }
        Ok(Value::Hash(hash))
    }

    /// A listpack of fields, values and deadlines.
    fn threes(&self, pack: Listpack) -> Result<Value, DecodeError> {
        if pack.is_empty() {
            return Err(DecodeError::Empty);
        }
        let items: Vec<Item<'_>> = pack.iter().collect();
        let (threes, []) = items.as_chunks::<3>() else {
            return corrupt("a field without its value and deadline");
        };
        let pairs = threes.iter().flat_map(|[field, value, _]| [*field, *value]);
        let mut hash = Hash::from_listpack(Listpack::from_items(pairs), self.limits)?;
        for [field, _, stated] in threes {
            match stated.as_i64().and_then(|stated| u64::try_from(stated).ok()) {
                Some(0) => {}
                at => {
                    let at = moment(at)?;
                    field.with_bytes(|field| hash.set_deadline(field, at));
                }
            }
        }
        Ok(Value::Hash(hash))
    }

    fn zset(&self, input: &mut Slice<'_>, code: u8) -> Result<Value, DecodeError> {
        let members = count(input)?;
        let mut zset = Zset::for_load(members, self.limits);
        for _ in 0..members {
            let member = input.string()?;
            let score = match code {
                typecode::ZSET => decimal(input)?,
                _ => f64::from_le_bytes(input.array()?),
            };
            if score.is_nan() {
                return corrupt("Zset with NAN score detected");
            }
            if zset.set(&member, score, self.limits).is_some() {
                return corrupt("Duplicate zset fields detected");
            }
        }
        Ok(Value::Zset(zset))
    }

    fn zset_pack(&self, pack: Listpack) -> Result<Value, DecodeError> {
        if pack.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Value::Zset(Zset::from_listpack(pack, self.limits)?))
    }
}

/// A deadline of a field, which has 48 bits.
fn moment(at: Option<u64>) -> Result<UnixMs, DecodeError> {
    match at {
        Some(at) if at < 1 << 48 => Ok(UnixMs(at)),
        _ => corrupt("invalid deadline of a hash field"),
    }
}

/// A score as decimal text after a byte of length, of which three values are special.
fn decimal(input: &mut Slice<'_>) -> Result<f64, DecodeError> {
    let len = match input.byte()? {
        253 => return Ok(f64::NAN),
        254 => return Ok(f64::INFINITY),
        255 => return Ok(f64::NEG_INFINITY),
        len => u64::from(len),
    };
    parse_f64(input.bytes(len)?).map_or_else(|| corrupt("a score that is no number"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(code: u8, payload: &[u8]) -> Result<Value, String> {
        decode(code, Dialect::Redis, payload, &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn decode_refuses_duplicates_nan_and_what_is_left_over() {
        for (code, payload, what) in [
            (typecode::SET, &b"\x02\x01a\x01a"[..], "Duplicate set members detected"),
            (typecode::HASH, b"\x02\x01a\x011\x01a\x012", "Duplicate hash fields detected"),
            (typecode::ZSET, b"\x02\x01a\x011\x01a\x012", "Duplicate zset fields detected"),
            (typecode::ZSET, b"\x01\x01a\xfd", "Zset with NAN score detected"),
            (typecode::ZSET, b"\x01\x01a\x03one", "a score that is no number"),
            (typecode::STRING, b"\x01ab", "1 bytes too many in a value"),
            (typecode::STRING, b"\xc3\x01\x05a", "Invalid LZF compressed string"),
            (typecode::STRING, b"\xc4", "Unknown RDB string encoding type 4"),
            (typecode::LIST, b"\x3f\x01a", "63 elements in too few bytes"),
            (typecode::LIST_QUICKLIST_2, b"\x01\x03\x01a", "Quicklist integrity check failed."),
            (typecode::HASH_LISTPACK, b"\x09\x09\0\0\0\x01\0\x01\x01\xff", "without its value"),
            (typecode::SET_INTSET, b"\x08\x02\0\0\0\0\0\0\0", "Intset integrity check failed"),
            (typecode::HASH_ZIPMAP, b"\x02\0\xff", "Zipmap integrity check failed"),
            (typecode::ZSET_ZIPLIST, b"\x01\0", "Zset ziplist integrity check failed"),
            (typecode::STREAM_LISTPACKS_3, b"", "value ends too early"),
            (typecode::MODULE_2, b"\0\0", "no matching module type 'AAAAAAAAA'"),
        ] {
            let error = run(code, payload).unwrap_err();
            assert!(error.contains(what), "type {code}: {error}");
        }
    }

    #[test]
    fn decode_takes_deadlines_of_fields_in_all_four_forms() {
        let items = [Item::of(b"a"), Item::of(b"1"), Item::Int(5)];
        let none = [Item::of(b"b"), Item::of(b"2"), Item::Int(0)];
        let pack = Listpack::from_items(items.into_iter().chain(none));
        let string = [&[pack.as_bytes().len() as u8][..], pack.as_bytes()].concat();
        let fields = |deadline: u8| [&[2, deadline][..], b"\x01a\x011\0\x01b\x012"].concat();
        let first = 5_u64.to_le_bytes();
        for (code, payload) in [
            (typecode::HASH_METADATA_PRE_GA, fields(5)),
            (typecode::HASH_METADATA, [&first[..], &fields(1)].concat()),
            (typecode::HASH_LISTPACK_EX_PRE_GA, string.clone()),
            (typecode::HASH_LISTPACK_EX, [&first[..], &string].concat()),
        ] {
            let Ok(Value::Hash(hash)) = run(code, &payload) else { panic!("type {code}") };
            let deadlines = (hash.deadline(b"a"), hash.deadline(b"b"));
            assert_eq!((hash.len(), deadlines), (2, (Some(UnixMs(5)), None)), "type {code}");
        }
        let beyond = [&u64::MAX.to_le_bytes()[..], &fields(2)].concat();
        assert!(run(typecode::HASH_METADATA, &beyond).is_err());
    }

    #[test]
    fn decode_tells_an_empty_collection_from_a_broken_one() {
        for code in [1, 2, 3, 4, 5, 14, 18] {
            assert_eq!(run(code, b"\0").unwrap_err(), "empty collection", "type {code}");
        }
        let pack = b"\x07\x07\0\0\0\0\0\xff";
        for code in [16, 17, 20] {
            assert_eq!(run(code, pack).unwrap_err(), "empty collection", "type {code}");
        }
    }

    #[test]
    fn decode_of_old_scores_knows_the_infinities() {
        let Ok(Value::Zset(zset)) = run(typecode::ZSET, b"\x03\x01a\xff\x01b\xfe\x01c\x031.5")
        else {
            panic!("a sorted set")
        };
        let scores: Vec<f64> = zset.iter().map(|(_, score)| score).collect();
        assert_eq!(scores, [f64::NEG_INFINITY, 1.5, f64::INFINITY]);
    }
}
