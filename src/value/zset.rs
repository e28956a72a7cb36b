//! Sorted sets: members and scores in turn in a listpack while few and short; else a table for
//! members and a tree for their order, which the wire calls a skiplist.
#![allow(unsafe_code)] // One block, in `Element::handle`: the tree shares the table's members.
// Invariant: the tree holds exactly the handles of the elements in the table. An element leaves
// the tree before the table drops it, and its score is written only by `&mut self` methods that
// hold no slice of it.

use std::ops::Range;

use crate::base::hash::hash_bytes;
use crate::base::num::{f64_as_i64, format_f64, parse_f64};
use crate::base::rng;
use crate::ds::dict::{Dict, Keyed};
use crate::ds::listpack::{Item, Listpack, ListpackRef};
use crate::ds::rank_tree::{Entry, RankTree};
use crate::ds::tagged::Tagged;
use crate::ds::tagged::Which::{Large, Small};
use crate::ds::thin::{BlobRef, ThinBlob};
use crate::value::table;
use crate::value::{Either, Limits, Malformed, check_distinct};

const SCORE: usize = size_of::<f64>();

/// A sorted set.
#[derive(Clone)]
pub struct Zset(Tagged<Listpack, Skiplist, 1>);

const _: () = assert!(size_of::<Zset>() == 8);

struct Skiplist {
    tree: RankTree<BlobRef>,
    table: Dict<Element>,
}

/// An element: its score, then its member, in one blob.
struct Element(ThinBlob);

impl Keyed for Element {
    fn key(&self) -> &[u8] {
        &self.0[SCORE..]
    }
}

impl Element {
    fn new(member: &[u8], score: f64) -> Element {
        Element(ThinBlob::new(&[&score.to_le_bytes(), member]))
    }

    fn score(&self) -> f64 {
        f64::from_le_bytes(*self.0.first_chunk().expect("an element begins with its score"))
    }

    fn set_score(&mut self, score: f64) {
        self.0[..SCORE].copy_from_slice(&score.to_le_bytes());
    }

    fn handle(&self) -> BlobRef {
        // SAFETY: the handle goes into the tree beside the table; see the file's invariant.
        unsafe { self.0.share() }
    }
}

impl std::fmt::Debug for Zset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn blob_member(blob: &BlobRef) -> &[u8] {
    &blob.bytes()[SCORE..]
}

/// Scores between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The least score.
    pub min: f64,
    /// Whether the least score itself is left out.
    pub min_open: bool,
    /// The greatest score.
    pub max: f64,
    /// Whether the greatest score itself is left out.
    pub max_open: bool,
}

/// A bound among members of equal score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before all members.
    Least,
    /// `[member`.
    Closed(&'a [u8]),
    /// `(member`.
    Open(&'a [u8]),
    /// `+`: after all members.
    Greatest,
}

impl LexBound<'_> {
    /// Whether a member lies before a range that begins here.
    fn above(self, member: &[u8]) -> bool {
        match self {
            LexBound::Least => false,
            LexBound::Closed(bound) => member < bound,
            LexBound::Open(bound) => member <= bound,
            LexBound::Greatest => true,
        }
    }

    /// Whether a member lies within a range that ends here.
    fn within(self, member: &[u8]) -> bool {
        match self {
            LexBound::Least => false,
            LexBound::Closed(bound) => member <= bound,
            LexBound::Open(bound) => member < bound,
            LexBound::Greatest => true,
        }
    }
}

impl Default for Zset {
    fn default() -> Zset {
        Zset::new()
    }
}

impl Clone for Skiplist {
    fn clone(&self) -> Skiplist {
        let mut copy = Skiplist::with_capacity(self.table.len());
        self.tree.iter().for_each(|entry| copy.insert(blob_member(&entry.member), entry.score));
        copy
    }
}

impl Zset {
    /// See `ValueRef::prefetch`.
    pub(super) fn prefetch(&self, member: Option<&[u8]>, hash: Option<u64>) -> Option<u64> {
        match self.0.get() {
            Large(list) => return table::prefetch(&list.table, member, hash),
            Small(listpack) => listpack.prefetch(),
        }
        None
    }

    /// An empty sorted set.
    pub fn new() -> Zset {
        Zset(Tagged::small(Listpack::new()))
    }

    /// An empty sorted set to be filled with `count` members.
    pub fn for_load(count: usize, limits: &Limits) -> Zset {
        let mut zset = Zset::new();
        zset.expect(count, 0, limits);
        zset
    }

    /// An empty sorted set that is a skiplist, as commands begin with that store a result.
    pub fn new_skiplist(count: usize) -> Zset {
        Zset(Tagged::large(Skiplist::with_capacity(count)))
    }

    /// Adopts a listpack of members and scores, after checking both. One that is not in order is
    /// put in order.
    pub fn from_listpack(listpack: Listpack, limits: &Limits) -> Result<Zset, Malformed> {
        let len = listpack.len();
        if !len.is_multiple_of(2) {
            return Err(Malformed::Odd);
        }
        let scored = listpack.iter().skip(1).step_by(2);
        if scored.clone().any(|score| foreign_score(score).is_none()) {
            return Err(Malformed::Score);
        }
        check_distinct(listpack.iter().step_by(2))?;
        let pairs = || listpack.view().pairs().map(|(member, score)| (member, item_score(score)));
        let ordered = pairs().zip(pairs().skip(1)).all(|((member, score), (next, next_score))| {
            score < next_score
                || (score == next_score && next.with_bytes(|next| member.with_bytes(|m| m < next)))
        });
        if ordered && len / 2 <= limits.zset_max_listpack_entries {
            return Ok(Zset(Tagged::small(listpack)));
        }
        let mut zset = Zset::for_load(len / 2, limits);
        let any_length = Limits { zset_max_listpack_value: usize::MAX, ..*limits };
        for (member, score) in pairs() {
            member.with_bytes(|member| zset.set(member, score, &any_length));
        }
        Ok(zset)
    }

    /// Makes ready for up to `count` more members, the longest of `longest` bytes.
    pub fn expect(&mut self, count: usize, longest: usize, limits: &Limits) {
        let long = self.is_empty() && longest > limits.zset_max_listpack_value;
        if count > limits.zset_max_listpack_entries || long {
            self.convert_to_skiplist(count);
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match self.0.get() {
            Small(listpack) => listpack.len() / 2,
            Large(list) => list.tree.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self.0.get() {
            Small(_) => "listpack",
            Large(_) => "skiplist",
        }
    }

    /// Bytes of memory this takes; of a skiplist, an estimate.
    pub fn memory_bytes(&self) -> usize {
        match self.0.get() {
            Small(listpack) => listpack.memory_bytes(),
            Large(list) => {
                let table = table::memory_bytes(&list.table, |element| element.0.memory_bytes());
                size_of::<RankTree<BlobRef>>() + list.tree.memory_bytes() + table
            }
        }
    }

    /// The listpack, if the sorted set is one.
    pub fn listpack(&self) -> Option<ListpackRef<'_>> {
        match self.0.get() {
            Small(listpack) => Some(listpack.view()),
            Large(_) => None,
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self.0.get() {
            Small(listpack) => find(listpack.view(), member).map(|(_, score)| score),
            Large(list) => table::find(&list.table, member).map(Element::score),
        }
    }

    /// Gives a member a score, which is not a NaN; returns the one it had.
    pub fn set(&mut self, member: &[u8], score: f64, limits: &Limits) -> Option<f64> {
        match self.0.get_mut() {
            Small(listpack) => {
                if let Some((pos, old)) = find(listpack.view(), member) {
                    if old != score {
                        listpack.remove_many(pos, 2);
                        insert(listpack, member, score);
                    }
                    return Some(old);
                }
                if listpack.len() / 2 < limits.zset_max_listpack_entries
                    && member.len() <= limits.zset_max_listpack_value
                    && listpack.fits(member.len())
                {
                    insert(listpack, member, score);
                    return None;
                }
                self.convert_to_skiplist(0);
                self.set(member, score, limits)
            }
            Large(list) => list.set(member, score),
        }
    }

    /// Removes a member; returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self.0.get_mut() {
            Small(listpack) => {
                let (pos, score) = find(listpack.view(), member)?;
                listpack.remove_many(pos, 2);
                Some(score)
            }
            Large(list) => {
                let score = table::find(&list.table, member)?.score();
                list.tree.remove(score, member);
                list.table.remove(hash_bytes(member), member);
                Some(score)
            }
        }
    }

    /// The rank of a member, lowest score first, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self.0.get() {
            Small(listpack) => {
                let mut pairs = listpack.view().pairs().enumerate();
                let wanted = Item::of(member);
                pairs.find_map(|(rank, (item, score))| {
                    (item == wanted).then(|| (rank, item_score(score)))
                })
            }
            Large(list) => {
                let score = table::find(&list.table, member)?.score();
                Some((list.tree.rank(score, member)?, score))
            }
        }
    }

    /// The member and score at a rank.
    pub fn get(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        self.range(rank..rank.saturating_add(1)).next()
    }

    /// Members and scores in order, from either end.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Item<'_>, f64)> {
        self.range(0..self.len())
    }

    /// The members and scores at these ranks, from either end.
    pub fn range(&self, ranks: Range<usize>) -> impl DoubleEndedIterator<Item = (Item<'_>, f64)> {
        match self.0.get() {
            Small(listpack) => Either::Left(ListpackRange::new(listpack.view(), ranks)),
            Large(list) => {
                let ranks = ranks.start.min(list.tree.len())..ranks.end;
                let entries = list.tree.range(ranks);
                Either::Right(
                    entries.map(|entry| (Item::Bytes(blob_member(&entry.member)), entry.score)),
                )
            }
        }
    }

    /// The ranks of the members whose scores are in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let ScoreRange { min, min_open, max, max_open } = *range;
        let start = self.position(|score, _| score < min || (min_open && score == min));
        let end = self.position(|score, _| score < max || (!max_open && score == max));
        start..end.max(start)
    }

    /// The ranks of the members between two bounds. All scores should be equal.
    pub fn ranks_by_lex(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        let start = self.position(|_, member| min.above(member));
        let end = self.position(|_, member| max.within(member));
        start..end.max(start)
    }

    /// Removes the members at these ranks, lowest first, and shows them to `f`.
    pub fn remove_ranks(&mut self, ranks: Range<usize>, mut f: impl FnMut(Item<'_>, f64)) {
        for (member, score) in self.range(ranks.clone()) {
            f(member, score);
        }
        let end = ranks.end.min(self.len());
        let count = end.saturating_sub(ranks.start);
        match self.0.get_mut() {
            Small(listpack) => {
                listpack.remove_range(ranks.start.saturating_mul(2) as i64, count * 2);
            }
            Large(list) => {
                let table = &mut list.table;
                list.tree.remove_range(ranks.start..end, |entry| {
                    let member = blob_member(&entry.member);
                    let hash = hash_bytes(member);
                    table.remove(hash, member);
                });
            }
        }
    }

    /// A random member and its score.
    pub fn random(&self) -> Option<(Item<'_>, f64)> {
        self.get(rng::below(self.len() as u64) as usize)
    }

    /// Visits about `count` members from a cursor on, and returns the next cursor; a small sorted
    /// set at once. See `Dict::scan` for what is promised.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Item<'_>, f64)) -> u64 {
        match self.0.get() {
            Small(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            Large(list) => table::scan(&list.table, cursor, count, &mut |element| {
                visit(Item::Bytes(element.key()), element.score());
            }),
        }
    }

    /// Turns a skiplist that is within the limits into a listpack, as commands do that store a
    /// result.
    pub fn prefer_listpack(&mut self, limits: &Limits) {
        let Large(list) = self.0.get() else { return };
        if list.tree.len() > limits.zset_max_listpack_entries {
            return;
        }
        let max = limits.zset_max_listpack_value;
        if self.iter().any(|(member, _)| member.text_len() > max) {
            return;
        }
        let mut listpack = Listpack::new();
        for (member, score) in self.iter() {
            let end = listpack.view().end();
            member.with_bytes(|member| {
                with_score_item(score, |score| {
                    listpack.insert_pair(end, Item::of(member), score);
                })
            });
        }
        self.0 = Tagged::small(listpack);
    }

    /// How many elements, from the lowest on, satisfy `before`.
    fn position(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        match self.0.get() {
            Small(listpack) => {
                let pairs = listpack.view().pairs();
                let mut text = itoa::Buffer::new();
                let mut count = 0;
                for (member, score) in pairs {
                    if !before(item_score(score), member.bytes(&mut text)) {
                        break;
                    }
                    count += 1;
                }
                count
            }
            Large(list) => {
                list.tree.position(|entry| before(entry.score, blob_member(&entry.member)))
            }
        }
    }

    fn convert_to_skiplist(&mut self, count: usize) {
        let Small(listpack) = self.0.get() else { return };
        let mut list = Skiplist::with_capacity(count.max(listpack.len() / 2 + 1));
        for (member, score) in listpack.view().pairs() {
            member.with_bytes(|member| list.insert(member, item_score(score)));
        }
        self.0 = Tagged::large(list);
    }
}

impl Skiplist {
    fn with_capacity(count: usize) -> Skiplist {
        let mut table = Dict::new();
        table.reserve(count);
        Skiplist { tree: RankTree::new(), table }
    }

    /// Inserts a member that is not there yet.
    fn insert(&mut self, member: &[u8], score: f64) {
        let element = Element::new(member, score);
        self.tree.insert(Entry { score, member: element.handle() });
        self.table.insert_new(hash_bytes(member), element);
    }

    fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let Some(element) = self.table.get_mut(hash_bytes(member), member) else {
            self.insert(member, score);
            return None;
        };
        let old = element.score();
        if old != score {
            let handle = element.handle();
            self.tree.remove(old, member);
            element.set_score(score);
            self.tree.insert(Entry { score, member: handle });
        }
        Some(old)
    }
}

/// Elements of a listpack by rank.
struct ListpackRange<'a> {
    listpack: ListpackRef<'a>,
    /// The position of the next member, and behind the last score.
    front: usize,
    back: usize,
}

impl<'a> ListpackRange<'a> {
    fn new(listpack: ListpackRef<'a>, ranks: Range<usize>) -> ListpackRange<'a> {
        let seek = |rank: usize| {
            let index = i64::try_from(rank.saturating_mul(2)).unwrap_or(i64::MAX);
            listpack.seek(index).unwrap_or(listpack.end())
        };
        ListpackRange { listpack, front: seek(ranks.start), back: seek(ranks.end) }
    }
}

impl<'a> Iterator for ListpackRange<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let member = self.listpack.item(self.front);
        let score = self.listpack.next(self.front)?;
        self.front = self.listpack.next(score).unwrap_or(self.listpack.end());
        Some((member, item_score(self.listpack.item(score))))
    }
}

impl DoubleEndedIterator for ListpackRange<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let score = self.listpack.prev(self.back)?;
        self.back = self.listpack.prev(score)?;
        Some((self.listpack.item(self.back), item_score(self.listpack.item(score))))
    }
}

/// The position of a member in a listpack, and its score.
fn find(listpack: ListpackRef<'_>, member: &[u8]) -> Option<(usize, f64)> {
    let pos = listpack.find(member, 1)?;
    Some((pos, item_score(listpack.item(listpack.next(pos)?))))
}

/// Inserts a member where it belongs.
fn insert(listpack: &mut Listpack, member: &[u8], score: f64) {
    let view = listpack.view();
    let mut text = itoa::Buffer::new();
    let mut next = view.first();
    while let Some(pos) = next {
        let Some(beside) = view.next(pos) else { break };
        let there = item_score(view.item(beside));
        if there > score || (there == score && view.item(pos).bytes(&mut text) > member) {
            break;
        }
        next = view.next(beside);
    }
    let pos = next.unwrap_or(view.end());
    with_score_item(score, |score| listpack.insert_pair(pos, Item::of(member), score));
}

/// A score as a listpack stores it: an integer if it is one, else its text.
fn with_score_item<R>(score: f64, f: impl FnOnce(Item<'_>) -> R) -> R {
    match f64_as_i64(score) {
        Some(value) => f(Item::Int(value)),
        None => {
            let mut text = Vec::with_capacity(24);
            format_f64(score, &mut text);
            f(Item::Bytes(&text))
        }
    }
}

fn item_score(item: Item<'_>) -> f64 {
    foreign_score(item).unwrap_or(0.0)
}

fn foreign_score(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(value) => Some(value as f64),
        Item::Bytes(text) => parse_f64(text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn flat((member, score): (Item<'_>, f64)) -> (f64, Vec<u8>) {
        (score, member.to_vec())
    }

    fn sorted(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(f64, Vec<u8>)> {
        let mut pairs: Vec<_> =
            model.iter().map(|(member, &score)| (score, member.clone())).collect();
        pairs.sort_by(|a, b| a.partial_cmp(b).unwrap());
        pairs
    }

    #[test]
    fn zset_changes_encoding_at_the_limits_of_redis() {
        let limits = Limits::default();
        let mut zset = Zset::new();
        for n in 0..128 {
            assert_eq!(zset.set(format!("m{n}").as_bytes(), f64::from(n), &limits), None);
        }
        assert_eq!(zset.encoding(), "listpack");
        zset.set(b"more", 0.5, &limits);
        assert_eq!((zset.encoding(), zset.len()), ("skiplist", 129));
        zset.remove_ranks(0..100, |_, _| {});
        assert_eq!(zset.encoding(), "skiplist");
        zset.prefer_listpack(&limits);
        assert_eq!((zset.encoding(), zset.len()), ("listpack", 29));
        zset.set(&[b'x'; 65], 0.5, &limits);
        assert_eq!(zset.encoding(), "skiplist");
        let mut zset = Zset::new();
        zset.expect(1, 65, &limits);
        assert_eq!(zset.encoding(), "skiplist");
    }

    #[test]
    fn foreign_listpacks_are_checked_and_put_in_order() {
        let limits = Limits::default();
        let of = |items: &[Item<'_>]| {
            Zset::from_listpack(Listpack::from_items(items.iter().copied()), &limits)
        };
        let (a, b) = (Item::Bytes(b"a"), Item::Bytes(b"b"));
        assert_eq!(of(&[a]).unwrap_err(), Malformed::Odd);
        assert_eq!(of(&[a, b]).unwrap_err(), Malformed::Score);
        assert_eq!(of(&[a, Item::Bytes(b"nan")]).unwrap_err(), Malformed::Score);
        assert_eq!(of(&[a, Item::Int(1), a, Item::Int(2)]).unwrap_err(), Malformed::Duplicate);
        let zset = of(&[b, Item::Bytes(b"2.5"), a, Item::Int(2)]).unwrap();
        assert_eq!(
            zset.iter().map(flat).collect::<Vec<_>>(),
            [(2.0, b"a".to_vec()), (2.5, b"b".to_vec())]
        );
    }

    /// Redis 7.0 takes 118 bytes for each of a million members of 16 bytes with such scores.
    #[test]
    fn big_zset_takes_less_than_three_quarters_of_redis_memory() {
        let limits = Limits::default();
        let mut zset = Zset::new();
        for n in 0..100_000u64 {
            let score = (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as f64 / 3.0;
            zset.set(format!("member:{n:09}").as_bytes(), score, &limits);
        }
        assert!(zset.memory_bytes() < zset.len() * 118 * 3 / 4);
    }

    proptest! {
        #[test]
        fn changes_agree_with_a_map(
            steps in prop::collection::vec((0u8..5, "[0-9a]{0,3}", -8i32..8), 0..300),
            entries in prop_oneof![Just(0usize), Just(20), Just(1000)],
            ends in (0usize..100, 0usize..100, -9i32..9, -9i32..9, any::<(bool, bool)>()),
        ) {
            let limits = Limits { zset_max_listpack_entries: entries, ..Limits::default() };
            let mut model: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
            let mut zset = Zset::new();
            for (kind, member, score) in steps {
                let (member, score) = (member.into_bytes(), f64::from(score) / 2.0);
                if kind > 0 {
                    prop_assert_eq!(zset.set(&member, score, &limits), model.insert(member.clone(), score));
                } else {
                    prop_assert_eq!(zset.remove(&member), model.remove(&member));
                }
                prop_assert_eq!(zset.score(&member), model.get(&member).copied());
                prop_assert_eq!(zset.len(), model.len());
            }
            let mut pairs = sorted(&model);
            prop_assert_eq!(zset.clone().iter().map(flat).collect::<Vec<_>>(), pairs.clone());
            for (rank, (score, member)) in pairs.iter().enumerate() {
                prop_assert_eq!(zset.rank(member), Some((rank, *score)));
            }
            let (a, b, min, max, (min_open, max_open)) = ends;
            let range = a.min(b).min(pairs.len())..a.max(b).min(pairs.len());
            let back: Vec<_> = zset.range(range.clone()).rev().map(flat).collect();
            prop_assert_eq!(back, pairs[range.clone()].iter().rev().cloned().collect::<Vec<_>>());
            let (min, max) = (f64::from(min) / 2.0, f64::from(max) / 2.0);
            let within = |score: f64| {
                (if min_open { score > min } else { score >= min })
                    && (if max_open { score < max } else { score <= max })
            };
            let ranks = zset.ranks_by_score(&ScoreRange { min, min_open, max, max_open });
            let expected: Vec<_> = pairs.iter().filter(|pair| within(pair.0)).cloned().collect();
            prop_assert_eq!(zset.range(ranks).map(flat).collect::<Vec<_>>(), expected);
            let mut seen = BTreeMap::new();
            let mut cursor = 0;
            loop {
                cursor = zset.scan(cursor, 2, &mut |member, score| {
                    seen.insert(member.to_vec(), score);
                });
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(&seen, &model);
            let mut gone = Vec::new();
            zset.remove_ranks(range.clone(), |member, score| gone.push((score, member.to_vec())));
            prop_assert_eq!(gone, pairs.drain(range).collect::<Vec<_>>());
            prop_assert_eq!(zset.iter().map(flat).collect::<Vec<_>>(), pairs);
        }

        #[test]
        fn lex_ranges_agree_with_a_filter(
            members in prop::collection::btree_set("[a-d]{0,3}", 0..60),
            (low, high) in ("[a-d]{0,2}", "[a-d]{0,2}"),
            entries in prop_oneof![Just(0usize), Just(1000)],
        ) {
            let limits = Limits { zset_max_listpack_entries: entries, ..Limits::default() };
            let mut zset = Zset::new();
            for member in &members {
                zset.set(member.as_bytes(), 0.0, &limits);
            }
            let ranks = zset.ranks_by_lex(LexBound::Open(low.as_bytes()), LexBound::Closed(high.as_bytes()));
            let expected = members.iter().filter(|member| **member > low && **member <= high);
            let found: Vec<_> = zset.range(ranks).map(|(member, _)| member.to_vec()).collect();
            prop_assert_eq!(found, expected.map(|member| member.as_bytes().to_vec()).collect::<Vec<_>>());
            let all = zset.ranks_by_lex(LexBound::Least, LexBound::Greatest);
            prop_assert_eq!(all, 0..members.len());
        }
    }
}
