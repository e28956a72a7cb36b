//! Packed collections of every age as validated listpacks, the form they are kept in.

use super::slice::Malformed;
use super::{ziplist, zipmap};
use crate::ds::listpack::{BYTES_MAX, Item, Listpack};

/// A listpack from outside.
pub fn from_listpack(blob: &[u8]) -> Result<Listpack, Malformed> {
    Listpack::parse(blob)
        .map_err(|error| Malformed(format!("Listpack integrity check failed: {error}")))
}

/// The elements of a ziplist.
pub fn from_ziplist(blob: &[u8]) -> Result<Listpack, Malformed> {
    ziplist_of("Ziplist", blob)
}

/// The same of a sorted set, of which the log speaks by its own name.
pub fn from_zset_ziplist(blob: &[u8]) -> Result<Listpack, Malformed> {
    ziplist_of("Zset ziplist", blob)
}

fn ziplist_of(what: &str, blob: &[u8]) -> Result<Listpack, Malformed> {
    small_enough(blob)?;
    let items = ziplist::items(blob)
        .map_err(|error| Malformed(format!("{what} integrity check failed: {error}")))?;
    Ok(Listpack::from_items(items.into_iter().map(canonical)))
}

/// The fields and values of a zipmap.
pub fn from_zipmap(blob: &[u8]) -> Result<Listpack, Malformed> {
    small_enough(blob)?;
    let pairs = zipmap::pairs(blob)
        .map_err(|error| Malformed(format!("Zipmap integrity check failed: {error}")))?;
    let items = pairs.into_iter().flat_map(|(field, value)| [Item::of(field), Item::of(value)]);
    Ok(Listpack::from_items(items))
}

/// A string that is an integer is stored as one.
fn canonical(item: Item<'_>) -> Item<'_> {
    match item {
        Item::Bytes(bytes) => Item::of(bytes),
        integer => integer,
    }
}

fn small_enough(blob: &[u8]) -> Result<(), Malformed> {
    if blob.len() > BYTES_MAX { Err("packed collection is too large".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipmap_becomes_a_listpack_with_integers() {
        let made = from_zipmap(b"\x01\x01a\x02\x0042\xff").unwrap();
        assert!(matches!(made.get(1), Some(Item::Int(42))));
        assert!(from_zipmap(b"\x02\x01a\x02\x0042\xff").is_err());
    }
}
