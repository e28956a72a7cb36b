//! The table against a map of the standard library, and when it grows.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[expect(clippy::box_collection, reason = "a handle of one pointer")]
struct Word(Box<String>);

impl Keyed for Word {
    fn key(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn word(n: u32) -> Word {
    Word(Box::new(format!("key:{n}")))
}

fn put(dict: &mut Dict<Word>, n: u32) -> bool {
    let entry = word(n);
    dict.insert(hash_bytes(entry.key()), entry).is_none()
}

fn take(dict: &mut Dict<Word>, n: u32) -> bool {
    let key = format!("key:{n}");
    dict.remove(hash_bytes(key.as_bytes()), key.as_bytes()).is_some()
}

#[test]
fn tables_grow_near_their_fill_and_not_before_the_room_that_was_asked_for() {
    for buckets in [1, 2, 512, 1024, 8192] {
        let full = buckets * FILL_GROW_NUMERATOR / FILL_GROW_DENOMINATOR;
        let spread = if buckets < BUCKETS_SPREAD { 1 } else { full / SPREAD_SHARE + 1 };
        for _ in 0..100 {
            assert!(grow_at(buckets).abs_diff(full) <= spread, "{buckets} buckets");
        }
    }
    let entries = 1024 * FILL_GROW_NUMERATOR / FILL_GROW_DENOMINATOR - 1;
    for _ in 0..100 {
        let mut dict: Dict<Word> = Dict::new();
        dict.reserve(entries);
        assert!(dict.grow_at >= entries);
    }
}

proptest! {
    #[test]
    fn dict_behaves_as_a_set(ops in proptest::collection::vec((0u8..3, 0u32..600), 1..3000)) {
        let mut dict = Dict::new();
        let mut model = HashSet::new();
        for (op, n) in ops {
            if op < 2 {
                prop_assert_eq!(put(&mut dict, n), model.insert(n));
            } else {
                prop_assert_eq!(take(&mut dict, n), model.remove(&n));
            }
            prop_assert_eq!(dict.len(), model.len());
        }
        let seen: HashSet<String> = dict.iter().map(|entry| (*entry.0).clone()).collect();
        let wanted: HashSet<String> = model.iter().map(|n| format!("key:{n}")).collect();
        prop_assert_eq!(seen, wanted);
    }
}

#[test]
fn scan_while_growing_and_shrinking_sees_every_lasting_entry() {
    let mut dict = Dict::new();
    for n in 0..500 {
        put(&mut dict, n);
    }
    let mut seen = HashSet::new();
    let (mut cursor, mut extra) = (0, 1000);
    loop {
        cursor = dict.scan(cursor, &mut |entry| {
            seen.insert((*entry.0).clone());
        });
        if cursor == 0 {
            break;
        }
        if extra < 6000 {
            (0..60).for_each(|_| {
                put(&mut dict, extra);
                extra += 1;
            });
        } else if extra < 6100 {
            (1000..6000).for_each(|n| {
                take(&mut dict, n);
            });
            extra = 7000;
        }
    }
    assert!((0..500).all(|n| seen.contains(&format!("key:{n}"))));
}

#[test]
fn random_draws_every_entry_about_evenly() {
    let mut dict = Dict::new();
    (0..100).for_each(|n| {
        put(&mut dict, n);
    });
    let mut counts = HashMap::new();
    for _ in 0..20_000 {
        *counts.entry((*dict.random().unwrap().0).clone()).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 100);
    assert!(counts.values().all(|&count| (100..350).contains(&count)), "{counts:?}");
}

#[test]
fn shrinking_gives_the_memory_back() {
    let mut dict = Dict::new();
    (0..50_000).for_each(|n| {
        put(&mut dict, n);
    });
    let full = dict.memory_bytes();
    (0..49_990).for_each(|n| {
        take(&mut dict, n);
    });
    while dict.step() {}
    assert!(dict.memory_bytes() * 100 < full);
    assert!((49_990..50_000).all(|n| take(&mut dict, n)));
}
