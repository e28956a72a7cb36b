//! Where the keys of a command are, and the pure function that finds them in its words.

use smallvec::SmallVec;
use thiserror::Error;

use crate::spec::{Flags, LegacyRange, Spec};

/// How a command uses a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFlags(u16);

macro_rules! key_flags {
    ($($(#[$doc:meta])* $name:ident, $word:ident = $bit:expr;)*) => {
        impl KeyFlags {
            $($(#[$doc])* pub const $name: KeyFlags = KeyFlags(1 << $bit);)*
        }
        impl KeySpec {
            $($(#[$doc])*
            pub const fn $word(mut self) -> KeySpec {
                self.flags = self.flags.with(KeyFlags::$name);
                self
            })*
        }
    };
}

key_flags! {
    /// The value is only read.
    RO, ro = 0;
    /// The value is read and changed.
    RW, rw = 1;
    /// The value is overwritten whatever it was.
    OW, ow = 2;
    /// The key is removed.
    RM, rm = 3;
    /// The reply tells something of the value.
    ACCESS, access = 4;
    /// The value changes, depending on what it was.
    UPDATE, update = 5;
    /// Something is added; what was there stays.
    INSERT, insert = 6;
    /// Something is explicitly deleted.
    DELETE, delete = 7;
    /// The word is not a key (a channel, say), but a cluster routes by it.
    NOT_KEY, not_key = 8;
    /// The spec may miss keys.
    INCOMPLETE, incomplete = 9;
    /// Other words of the command change these flags.
    VARIABLE_FLAGS, variable_flags = 10;
}

/// What COMMAND shows for each flag, in its order.
const SHOWN: [(KeyFlags, &str); 11] = [
    (KeyFlags::RO, "RO"),
    (KeyFlags::RW, "RW"),
    (KeyFlags::OW, "OW"),
    (KeyFlags::RM, "RM"),
    (KeyFlags::ACCESS, "access"),
    (KeyFlags::UPDATE, "update"),
    (KeyFlags::INSERT, "insert"),
    (KeyFlags::DELETE, "delete"),
    (KeyFlags::NOT_KEY, "not_key"),
    (KeyFlags::INCOMPLETE, "incomplete"),
    (KeyFlags::VARIABLE_FLAGS, "variable_flags"),
];

impl KeyFlags {
    /// The empty set.
    pub const NONE: KeyFlags = KeyFlags(0);

    /// This set and `other`.
    pub const fn with(self, other: KeyFlags) -> KeyFlags {
        KeyFlags(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: KeyFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a user needs the right to read the key.
    pub const fn needs_read(self) -> bool {
        self.0 & KeyFlags::ACCESS.0 != 0
    }

    /// Whether a user needs the right to write the key.
    pub const fn needs_write(self) -> bool {
        let changes = KeyFlags::UPDATE.with(KeyFlags::INSERT).with(KeyFlags::DELETE);
        self.0 & changes.0 != 0
    }

    /// The names COMMAND shows, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        SHOWN.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// Where to begin looking for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginSearch {
    /// At this position.
    Index(i32),
    /// Behind this word, sought from `start_from` on (negative: from the end, backwards).
    Keyword {
        /// The word, upper case.
        keyword: &'static str,
        /// Where the search starts.
        start_from: i32,
    },
    /// Only the command's own grammar tells.
    Unknown,
}

/// How to go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// Up to a last key.
    Range {
        /// Relative to the first key; negative counts from the end.
        last: i32,
        /// Distance between keys.
        step: i32,
        /// With `last` -1: keys are in the first 1/`limit` of the rest; 0 and 1 mean all of it.
        limit: i32,
    },
    /// As many as a word says.
    KeyNum {
        /// Where that word is, relative to the begin.
        count: i32,
        /// Where the first key is, relative to the begin.
        first: i32,
        /// Distance between keys.
        step: i32,
    },
    /// Only the command's own grammar tells.
    Unknown,
}

/// A rule that finds some keys of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Where to begin.
    pub begin: BeginSearch,
    /// How to go on.
    pub find: FindKeys,
    /// How the command uses the keys found.
    pub flags: KeyFlags,
    /// A remark for humans, shown by COMMAND.
    pub notes: Option<&'static str>,
}

impl KeySpec {
    pub(super) const EMPTY: KeySpec = KeySpec::new(BeginSearch::Unknown, FindKeys::Unknown);

    /// A rule without flags.
    pub const fn new(begin: BeginSearch, find: FindKeys) -> KeySpec {
        KeySpec { begin, find, flags: KeyFlags::NONE, notes: None }
    }

    /// One key at `pos`.
    pub const fn at(pos: i32) -> KeySpec {
        KeySpec::range(pos, pos, 1)
    }

    /// Keys from `first` to `last` (negative counts from the end).
    pub const fn range(first: i32, last: i32, step: i32) -> KeySpec {
        let last = if last < 0 { last } else { last - first };
        KeySpec::new(BeginSearch::Index(first), FindKeys::Range { last, step, limit: 0 })
    }

    /// As many keys as the word at `pos` says, beginning behind it.
    pub const fn counted(pos: i32) -> KeySpec {
        KeySpec::new(BeginSearch::Index(pos), FindKeys::KeyNum { count: 0, first: 1, step: 1 })
    }

    /// One key behind `keyword`.
    pub const fn after(keyword: &'static str, start_from: i32) -> KeySpec {
        KeySpec::after_range(keyword, start_from, 0, 0)
    }

    /// Keys behind `keyword`, up to `last` (relative to the first, or negative), in the first
    /// 1/`limit` of the rest.
    pub const fn after_range(
        keyword: &'static str,
        start_from: i32,
        last: i32,
        limit: i32,
    ) -> KeySpec {
        let begin = BeginSearch::Keyword { keyword, start_from };
        KeySpec::new(begin, FindKeys::Range { last, step: 1, limit })
    }

    /// Keys that only the command's own grammar finds.
    pub const fn unknown() -> KeySpec {
        KeySpec::EMPTY
    }

    /// A remark for humans.
    pub const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = Some(notes);
        self
    }

    /// The position, when the rule finds exactly one real key, always there.
    #[inline]
    pub(super) fn single(&self) -> Option<usize> {
        match (self.begin, self.find) {
            (BeginSearch::Index(pos), FindKeys::Range { last: 0, .. })
                if !self.flags.has(KeyFlags::NOT_KEY) =>
            {
                usize::try_from(pos).ok()
            }
            _ => None,
        }
    }
}

/// A key found: its position among the words, the command's name being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAt {
    /// Index into the words.
    pub pos: u32,
    /// How the command uses it.
    pub flags: KeyFlags,
}

/// The keys of one call.
pub type KeysFound = SmallVec<[KeyAt; 4]>;

/// Why no keys could be told, in the words COMMAND GETKEYS uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeysError {
    /// No word of this command is ever a key.
    #[error("The command has no key arguments")]
    NoKeys,
    /// Too few words, or too many.
    #[error("Invalid number of arguments specified for command")]
    Arity,
    /// The words do not follow the command's grammar.
    #[error("Invalid arguments specified for command")]
    Invalid,
}

/// Finds the keys in `args`, the whole call with the command's name first (and the subcommand's
/// second). Order and flags are as COMMAND GETKEYSANDFLAGS tells them.
pub fn keys_of<A: AsRef<[u8]>>(spec: &Spec, args: &[A]) -> Result<KeysFound, KeysError> {
    if !spec.has_keys() {
        return Err(KeysError::NoKeys);
    }
    if !spec.arity.accepts(args.len()) {
        return Err(KeysError::Arity);
    }
    let mut found = KeysFound::new();
    if let Some(finder) = own_finder(spec.name) {
        let words: SmallVec<[&[u8]; 16]> = args.iter().map(AsRef::as_ref).collect();
        finder(&words, &mut found);
    } else if by_specs(spec, args, &mut found).is_none() {
        found.clear();
    }
    if found.is_empty() && !spec.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(KeysError::Invalid);
    }
    Ok(found)
}

/// Follows every key spec; `None` when the words break one of them.
fn by_specs<A: AsRef<[u8]>>(spec: &Spec, args: &[A], found: &mut KeysFound) -> Option<()> {
    for key_spec in spec.key_specs() {
        if key_spec.flags.has(KeyFlags::NOT_KEY) {
            continue;
        }
        let begin = match key_spec.begin {
            BeginSearch::Index(pos) => i64::from(pos),
            BeginSearch::Keyword { keyword, start_from } => {
                match behind_keyword(args, keyword, start_from) {
                    Some(begin) => begin,
                    None => continue,
                }
            }
            BeginSearch::Unknown => return None,
        };
        let (first, last, step) = bounds(key_spec.find, begin, args)?;
        let words = i64::try_from(args.len()).ok()?;
        if first < 1 || first >= words || last < first || last >= words || step < 1 {
            return None;
        }
        let mut pos = first;
        while pos <= last {
            found.push(KeyAt { pos: u32::try_from(pos).ok()?, flags: key_spec.flags });
            pos += step;
        }
        if key_spec.flags.has(KeyFlags::INCOMPLETE) {
            return None;
        }
    }
    Some(())
}

/// First, last and step of the keys that a search beginning at `begin` finds.
fn bounds<A: AsRef<[u8]>>(find: FindKeys, begin: i64, args: &[A]) -> Option<(i64, i64, i64)> {
    let words = i64::try_from(args.len()).ok()?;
    match find {
        FindKeys::Range { last, step, limit } => {
            let last = match (last, limit) {
                (0.., _) => begin + i64::from(last),
                (_, 0 | 1) => words + i64::from(last),
                (_, limit) => begin + (words - begin) / i64::from(limit) + i64::from(last),
            };
            Some((begin, last, i64::from(step)))
        }
        FindKeys::KeyNum { count, first, step } => {
            let at = usize::try_from(begin + i64::from(count)).ok()?;
            let count = plain_count(args.get(at)?.as_ref())?;
            let first = begin + i64::from(first);
            let span = count.checked_mul(i64::from(step))?.checked_sub(i64::from(step))?;
            Some((first, first.checked_add(span)?, i64::from(step)))
        }
        FindKeys::Unknown => None,
    }
}

/// The position behind `keyword`, sought forwards from a positive start, backwards from the end
/// otherwise. The last word forwards and the name backwards are never looked at.
fn behind_keyword<A: AsRef<[u8]>>(args: &[A], keyword: &str, start_from: i32) -> Option<i64> {
    let is_it = |pos: &usize| {
        args.get(*pos).is_some_and(|word| word.as_ref().eq_ignore_ascii_case(keyword.as_bytes()))
    };
    let from_end = usize::try_from(start_from.unsigned_abs()).ok()?;
    let pos = if start_from > 0 {
        (from_end..args.len().saturating_sub(1)).find(is_it)
    } else {
        (2..=args.len().checked_sub(from_end)?).rev().find(is_it)
    }?;
    i64::try_from(pos + 1).ok()
}

/// A count as Redis reads it: digits only, no leading zero, no sign.
fn plain_count(word: &[u8]) -> Option<i64> {
    match word {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(word).ok()?.parse().ok()
        }
        _ => None,
    }
}

type Finder = fn(&[&[u8]], &mut KeysFound);

/// The commands whose key specs do not tell everything.
fn own_finder(name: &str) -> Option<Finder> {
    Some(match name {
        "set" => keys_of_set,
        "bitfield" => keys_of_bitfield,
        "sort" => keys_of_sort,
        "sort_ro" => |_, found| found.push(KeyAt { pos: 1, flags: READ }),
        "migrate" => keys_of_migrate,
        "xread" | "xreadgroup" => keys_of_xread,
        "pfmerge" => keys_of_pfmerge,
        "georadius" => |args, found| keys_of_georadius(args, 6, found),
        "georadiusbymember" => |args, found| keys_of_georadius(args, 5, found),
        _ => return None,
    })
}

const READ: KeyFlags = KeyFlags::RO.with(KeyFlags::ACCESS);
const OVERWRITE: KeyFlags = KeyFlags::OW.with(KeyFlags::UPDATE);
const READ_WRITE: KeyFlags = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE);

/// SET reads only when it is asked to GET.
fn keys_of_set(args: &[&[u8]], found: &mut KeysFound) {
    let reads = args.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"get"));
    found.push(KeyAt { pos: 1, flags: if reads { READ_WRITE } else { OVERWRITE } });
}

/// BITFIELD writes unless it has only GETs.
fn keys_of_bitfield(args: &[&[u8]], found: &mut KeysFound) {
    let mut rest = args.get(2..).unwrap_or_default();
    let mut flags = READ;
    while let [word, after @ ..] = rest {
        let skip = match word.to_ascii_lowercase().as_slice() {
            b"get" if after.len() >= 2 => 2,
            b"overflow" if !after.is_empty() => 1,
            _ => {
                flags = READ_WRITE;
                break;
            }
        };
        rest = &after[skip..];
    }
    found.push(KeyAt { pos: 1, flags });
}

/// SORT reads its key and writes to the last STORE. What BY and GET reach is nowhere named.
fn keys_of_sort(args: &[&[u8]], found: &mut KeysFound) {
    found.push(KeyAt { pos: 1, flags: READ });
    let mut store = None;
    let mut pos = 2;
    while let Some(word) = args.get(pos) {
        pos += match word.to_ascii_lowercase().as_slice() {
            b"limit" => 3,
            b"get" | b"by" => 2,
            b"store" if pos + 1 < args.len() => {
                store = u32::try_from(pos + 1).ok();
                1
            }
            _ => 1,
        };
    }
    found.extend(store.map(|pos| KeyAt { pos, flags: OVERWRITE }));
}

/// MIGRATE has one key, or an empty word in its place and many behind KEYS.
fn keys_of_migrate(args: &[&[u8]], found: &mut KeysFound) {
    let flags = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE);
    let mut pos = 6;
    while let Some(word) = args.get(pos) {
        pos += match word.to_ascii_lowercase().as_slice() {
            b"keys" => {
                if args.get(3).is_some_and(|key| key.is_empty()) {
                    let behind = (pos + 1..args.len()).filter_map(|pos| u32::try_from(pos).ok());
                    found.extend(behind.map(|pos| KeyAt { pos, flags }));
                }
                return;
            }
            b"auth" => 2,
            b"auth2" => 3,
            _ => 1,
        };
    }
    found.push(KeyAt { pos: 3, flags });
}

/// XREAD has as many keys as ids behind STREAMS, which is found by passing over what the options
/// before it take.
fn keys_of_xread(args: &[&[u8]], found: &mut KeysFound) {
    let mut pos = 1;
    while let Some(word) = args.get(pos) {
        pos += match word.to_ascii_lowercase().as_slice() {
            b"block" | b"count" => 2,
            b"group" => 3,
            b"noack" => 1,
            b"streams" => {
                let first = pos + 1;
                let keys = first..first + args.len().saturating_sub(first) / 2;
                if args.len().saturating_sub(first).is_multiple_of(2) {
                    let keys = keys.filter_map(|pos| u32::try_from(pos).ok());
                    found.extend(keys.map(|pos| KeyAt { pos, flags: READ }));
                }
                return;
            }
            _ => return,
        };
    }
}

/// PFMERGE needs no source: the destination is one itself.
fn keys_of_pfmerge(args: &[&[u8]], found: &mut KeysFound) {
    let first = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::INSERT);
    let positions = (1..args.len()).filter_map(|pos| u32::try_from(pos).ok());
    found.extend(positions.map(|pos| KeyAt { pos, flags: if pos == 1 { first } else { READ } }));
}

/// GEORADIUS reads its key and writes to the last STORE or STOREDIST.
fn keys_of_georadius(args: &[&[u8]], options: usize, found: &mut KeysFound) {
    found.push(KeyAt { pos: 1, flags: READ });
    let mut store = None;
    let mut pos = options;
    while let Some(word) = args.get(pos) {
        let stores = [b"store".as_slice(), b"storedist"];
        if stores.iter().any(|name| word.eq_ignore_ascii_case(name)) && pos + 1 < args.len() {
            pos += 1;
            store = u32::try_from(pos).ok();
        }
        pos += 1;
    }
    found.extend(store.map(|pos| KeyAt { pos, flags: OVERWRITE }));
}

/// First, last and step of the plain ranges among `specs`, and whether that is all there is.
pub(super) fn legacy_range(specs: &[KeySpec]) -> LegacyRange {
    let plain = |spec: &KeySpec| match (spec.begin, spec.find) {
        (BeginSearch::Index(first), FindKeys::Range { last, step, .. }) => {
            Some((first, if last < 0 { last } else { first + last }, step))
        }
        _ => None,
    };
    if let [only] = specs
        && let Some((first, last, step)) = plain(only)
    {
        let movable = only.flags.has(KeyFlags::INCOMPLETE);
        return LegacyRange { first, last, step, movable };
    }
    let mut range = LegacyRange::default();
    for spec in specs {
        match plain(spec) {
            Some((first, last, 1)) if range.first == 0 || range.last == first - 1 => {
                range.movable |= spec.flags.has(KeyFlags::INCOMPLETE);
                range.first = if range.first == 0 { first } else { range.first.min(first) };
                range.last = last;
                range.step = 1;
            }
            _ => range.movable = true,
        }
    }
    range
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Arity::{AtLeast, Exactly};
    use crate::spec::Group;

    fn positions(spec: &Spec, line: &str) -> Result<Vec<u32>, KeysError> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        keys_of(spec, &args).map(|found| found.iter().map(|key| key.pos).collect())
    }

    #[test]
    fn keys_by_count_must_fit_the_words() {
        let zunion = Spec::new("zunionstore", Group::SortedSet, AtLeast(4))
            .writes()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::counted(2).ro().access());
        assert_eq!(positions(&zunion, "ZUNIONSTORE d 2 a b"), Ok(vec![1, 3, 4]));
        for wrong in ["z d 3 a b", "z d 0 a b", "z d x a b", "z d 02 a b", "z d -1 a b"] {
            assert_eq!(positions(&zunion, wrong), Err(KeysError::Invalid), "{wrong}");
        }
        let huge = format!("z d {} a", i64::MAX);
        assert_eq!(positions(&zunion, &huge), Err(KeysError::Invalid));
        let range = zunion.legacy_range();
        assert_eq!((range.first, range.last, range.movable), (1, 1, true));
    }

    #[test]
    fn eval_without_keys_has_none() {
        let eval = Spec::new("eval", Group::Scripting, AtLeast(3))
            .no_mandatory_keys()
            .key_spec(KeySpec::counted(2).rw().access().update());
        assert_eq!(positions(&eval, "eval s 0"), Ok(vec![]));
        assert_eq!(positions(&eval, "eval s 1 k v"), Ok(vec![3]));
        assert_eq!(positions(&eval, "eval s"), Err(KeysError::Arity));
    }

    #[test]
    fn xread_takes_the_first_half_behind_streams() {
        let xread = Spec::new("xread", Group::Stream, AtLeast(4))
            .reads()
            .key_spec(KeySpec::after_range("STREAMS", 1, -1, 2).ro().access());
        assert_eq!(positions(&xread, "XREAD COUNT 1 streams a b 0 0"), Ok(vec![4, 5]));
        assert_eq!(positions(&xread, "XREAD COUNT 1 streams"), Err(KeysError::Invalid));
        assert_eq!(positions(&xread, "XREAD streams a b 0"), Err(KeysError::Invalid));
        let xreadgroup = Spec::new("xreadgroup", Group::Stream, AtLeast(7))
            .key_spec(KeySpec::after_range("STREAMS", 4, -1, 2).ro().access());
        let line = "XREADGROUP NOACK GROUP g streams STREAMS k >";
        assert_eq!(positions(&xreadgroup, line), Ok(vec![6]));
    }

    #[test]
    fn own_finders_follow_the_grammar() {
        let sort = Spec::new("sort", Group::Generic, AtLeast(2)).writes().key(1);
        assert_eq!(positions(&sort, "sort k by store get store store a STORE b"), Ok(vec![1, 9]));
        let migrate = Spec::new("migrate", Group::Generic, AtLeast(6)).writes().key(3);
        assert_eq!(positions(&migrate, "migrate h 1  0 5 copy keys a b"), Ok(vec![8, 9]));
        assert_eq!(positions(&migrate, "migrate h 1 k 0 5 auth keys"), Ok(vec![3]));
        let radius = Spec::new("georadius", Group::Geo, AtLeast(6)).writes().key(1);
        let line = "georadius k 1 1 1 m store a asc storedist b store";
        assert_eq!(positions(&radius, line), Ok(vec![1, 10]));
        let set = Spec::new("set", Group::String, AtLeast(3)).writes().key(1);
        let flags = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            keys_of(&set, &args).unwrap()[0].flags
        };
        assert_eq!(flags("set k get"), OVERWRITE);
        assert_eq!(flags("set k v GET"), READ_WRITE);
    }

    #[test]
    fn channels_are_not_keys() {
        let spublish =
            Spec::new("spublish", Group::Pubsub, Exactly(3)).key_spec(KeySpec::at(1).not_key());
        assert_eq!(positions(&spublish, "spublish c m"), Err(KeysError::NoKeys));
    }
}
