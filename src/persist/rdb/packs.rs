//! Packed collections of every age as validated listpacks, the form they are kept in.

use std::collections::HashSet;

use super::slice::Malformed;
use super::{ziplist, zipmap};
use crate::base::num::parse_f64;
use crate::ds::listpack::{BYTES_MAX, Item, Listpack};

/// How the elements of a listpack belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuple {
    /// Each for itself.
    Single,
    /// Fields and values, members and scores.
    Pair,
}

/// Whether scores are in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They are, and so are members with equal scores.
    Sorted,
    /// They are not.
    Unsorted,
}

/// A listpack from outside.
pub fn from_listpack(blob: &[u8]) -> Result<Listpack, Malformed> {
    Listpack::parse(blob)
        .map_err(|error| Malformed(format!("Listpack integrity check failed: {error}")))
}

/// The elements of a ziplist.
pub fn from_ziplist(blob: &[u8]) -> Result<Listpack, Malformed> {
    small_enough(blob)?;
    let items = ziplist::items(blob)
        .map_err(|error| Malformed(format!("Ziplist integrity check failed: {error}")))?;
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

/// Whether the elements come in pairs.
pub fn check_pairs(pack: &Listpack) -> Result<(), Malformed> {
    if pack.len() % 2 == 0 { Ok(()) } else { Err("an odd number of elements in pairs".into()) }
}

/// Whether no member or field occurs twice.
pub fn check_distinct(pack: &Listpack, tuple: Tuple) -> Result<(), Malformed> {
    let step = if tuple == Tuple::Pair { 2 } else { 1 };
    let mut seen = HashSet::with_capacity(pack.len() / step);
    for item in pack.iter().step_by(step) {
        if !seen.insert(item.to_vec()) {
            return Err("duplicate elements in a packed collection".into());
        }
    }
    Ok(())
}

/// The score an element states.
pub fn score(item: Item<'_>) -> Result<f64, Malformed> {
    match item {
        Item::Int(value) => Ok(value as f64),
        Item::Bytes(text) => parse_f64(text)
            .filter(|score| !score.is_nan())
            .ok_or("a score that is no number".into()),
    }
}

/// Whether every score is a number, and whether they rise.
pub fn check_scores(pack: &Listpack) -> Result<Order, Malformed> {
    let mut order = Order::Sorted;
    let mut before: Option<(f64, Vec<u8>)> = None;
    for (member, stated) in pack.view().pairs() {
        let now = (score(stated)?, member.to_vec());
        if before.is_some_and(|before| before.partial_cmp(&now).is_none_or(|order| order.is_gt())) {
            order = Order::Unsorted;
        }
        before = Some(now);
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(words: &[&str]) -> Listpack {
        Listpack::from_items(words.iter().map(|word| Item::of(word.as_bytes())))
    }

    #[test]
    fn checks_find_odd_counts_duplicates_and_bad_scores() {
        assert!(check_pairs(&pack(&["a", "1"])).is_ok());
        assert!(check_pairs(&pack(&["a"])).is_err());
        assert!(check_distinct(&pack(&["a", "a"]), Tuple::Pair).is_ok());
        assert!(check_distinct(&pack(&["a", "a"]), Tuple::Single).is_err());
        assert!(check_distinct(&pack(&["a", "1", "a", "2"]), Tuple::Pair).is_err());
        assert_eq!(check_scores(&pack(&["a", "-inf", "b", "1", "c", "1.5"])), Ok(Order::Sorted));
        assert_eq!(check_scores(&pack(&["a", "1", "b", "0"])), Ok(Order::Unsorted));
        assert_eq!(check_scores(&pack(&["b", "1", "a", "1"])), Ok(Order::Unsorted));
        assert!(check_scores(&pack(&["a", "nan"])).is_err());
        assert!(check_scores(&pack(&["a", "x"])).is_err());
    }

    #[test]
    fn zipmap_becomes_a_listpack_with_integers() {
        let made = from_zipmap(b"\x01\x01a\x02\x0042\xff").unwrap();
        assert!(matches!(made.get(1), Some(Item::Int(42))));
        assert!(from_zipmap(b"\x02\x01a\x02\x0042\xff").is_err());
    }
}
