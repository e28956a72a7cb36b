//! Facts about commands, as data: what a row of the command table says, and what follows from it.
//!
//! Nothing here runs a command. A family writes `Spec::new("lpush", Group::List, AtLeast(3))` and
//! the facts that hold, each as one word; dispatch, ACL, COMMAND and the lock sets read them.

pub mod category;
pub mod channels;
pub mod docs;
pub mod flags;
pub mod keys;

pub use category::{Cat, Cats, Group};
pub use channels::Channels;
pub use flags::Flags;
pub use keys::{BeginSearch, FindKeys, KeyAt, KeyFlags, KeySpec, KeysError, keys_of};

/// Most key specs a command has (GEORADIUS has three).
const KEY_SPECS_MAX: usize = 3;
/// Most tips a command has.
const TIPS_MAX: usize = 4;

/// How many words a command takes, its name (and its container's) counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Neither more nor fewer.
    Exactly(u16),
    /// This many or more.
    AtLeast(u16),
}

impl Arity {
    /// Whether `words` words, the name included, are a possible call.
    pub const fn accepts(self, words: usize) -> bool {
        match self {
            Arity::Exactly(count) => words == count as usize,
            Arity::AtLeast(count) => words >= count as usize,
        }
    }

    /// As COMMAND INFO shows it: negative for "at least".
    pub const fn wire(self) -> i64 {
        match self {
            Arity::Exactly(count) => count as i64,
            Arity::AtLeast(count) => -(count as i64),
        }
    }
}

/// Where the keys are, as the first versions of COMMAND said it: `first` 0 means no such range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegacyRange {
    /// Position of the first key.
    pub first: i32,
    /// Position of the last key; negative counts from the end.
    pub last: i32,
    /// Distance between keys.
    pub step: i32,
    /// The range does not tell it all: ask COMMAND GETKEYS.
    pub movable: bool,
}

/// The facts about one command or subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Lower case; a subcommand is named `container|sub`.
    pub name: &'static str,
    /// The chapter of the manual it stands in.
    pub group: Group,
    /// How many words it takes.
    pub arity: Arity,
    /// What is true of it.
    pub flags: Flags,
    /// The first Redis version that had it.
    pub since: &'static str,
    /// The Redis version that advised against it.
    pub deprecated_since: Option<&'static str>,
    extra_cats: Cats,
    /// The position of the first member or field that it looks up in the collection at its only key.
    pub member: Option<u8>,
    key_specs: [KeySpec; KEY_SPECS_MAX],
    key_specs_len: u8,
    tips: [&'static str; TIPS_MAX],
    tips_len: u8,
}

/// One builder word for one flag.
macro_rules! flag_words {
    ($($(#[$doc:meta])* $word:ident => $flag:ident;)*) => {
        impl Spec {
            $($(#[$doc])*
            pub const fn $word(mut self) -> Spec {
                self.flags = self.flags.with(Flags::$flag);
                self
            })*
        }
    };
}

flag_words! {
    /// It changes the keyspace.
    writes => WRITE;
    /// It only reads the keyspace.
    reads => READONLY;
    /// It may grow memory: refused when `maxmemory` is reached.
    denyoom => DENYOOM;
    /// For operators; also puts it into @admin and @dangerous.
    admin => ADMIN;
    /// About channels; also puts it into @pubsub.
    pubsub => PUBSUB;
    /// Scripts may not call it.
    noscript => NOSCRIPT;
    /// It may make the client wait.
    blocking => BLOCKING;
    /// Allowed while the files are loaded at startup.
    loading => LOADING;
    /// Allowed on a replica whose data is stale.
    stale => STALE;
    /// MONITOR does not show it.
    skip_monitor => SKIP_MONITOR;
    /// The slow log does not keep it.
    skip_slowlog => SKIP_SLOWLOG;
    /// Accepted on an importing slot.
    asking => ASKING;
    /// Constant or logarithmic time; without it the command is @slow.
    fast => FAST;
    /// Allowed before authentication.
    no_auth => NO_AUTH;
    /// It may put something into the journal although it does not write.
    may_replicate => MAY_REPLICATE;
    /// It may be called without any key.
    no_mandatory_keys => NO_MANDATORY_KEYS;
    /// Needs the permission of an `enable-*-command` setting.
    protected => PROTECTED;
    /// Refused while a replica loads beside its old data.
    no_async_loading => NO_ASYNC_LOADING;
    /// Refused inside MULTI.
    no_multi => NO_MULTI;
    /// Where its keys are is not a plain range.
    movablekeys => MOVABLEKEYS;
    /// Allowed while a script is over its time.
    allow_busy => ALLOW_BUSY;
    /// It touches keys that its arguments do not name (RANDOMKEY, SCAN).
    touches_arbitrary_keys => TOUCHES_ARBITRARY_KEYS;
    /// It needs the whole keyspace locked (ours).
    all_shards => ALL_SHARDS;
    /// The journal gets something else than what was received (ours).
    rewritten => REWRITTEN;
    /// It only groups subcommands; it is in no data category itself.
    container => CONTAINER;
    /// Its group says nothing about its ACL category.
    no_group_category => NO_GROUP_CATEGORY;
}

impl Spec {
    /// A command about which nothing is known but its name, group and arity.
    pub const fn new(name: &'static str, group: Group, arity: Arity) -> Spec {
        Spec {
            name,
            group,
            arity,
            flags: Flags::NONE,
            since: "",
            deprecated_since: None,
            extra_cats: Cats::NONE,
            member: None,
            key_specs: [KeySpec::EMPTY; KEY_SPECS_MAX],
            key_specs_len: 0,
            tips: [""; TIPS_MAX],
            tips_len: 0,
        }
    }

    /// The first Redis version that had it.
    pub const fn since(mut self, version: &'static str) -> Spec {
        self.since = version;
        self
    }

    /// Where its first member or field stands.
    pub const fn member(mut self, position: u8) -> Spec {
        self.member = Some(position);
        self
    }

    /// The Redis version that advised against it.
    pub const fn deprecated(mut self, version: &'static str) -> Spec {
        self.deprecated_since = Some(version);
        self
    }

    /// An ACL category that follows neither from the flags nor from the group.
    pub const fn category(mut self, cat: Cat) -> Spec {
        self.extra_cats = self.extra_cats.with(cat);
        self
    }

    /// A hint for clients, as COMMAND shows it.
    pub const fn tip(mut self, tip: &'static str) -> Spec {
        self.tips[self.tips_len as usize] = tip;
        self.tips_len += 1;
        self
    }

    /// One key at `pos`: read when the command reads, updated in place when it writes.
    /// The flag words come before this one.
    pub const fn key(self, pos: i32) -> Spec {
        self.keys(pos, pos, 1)
    }

    /// Keys from `first` to `last` (negative counts from the end), each `step` words.
    /// The flag words come before this one.
    pub const fn keys(self, first: i32, last: i32, step: i32) -> Spec {
        let spec = KeySpec::range(first, last, step);
        let spec =
            if self.flags.has(Flags::WRITE) { spec.rw().update() } else { spec.ro().access() };
        self.key_spec(spec)
    }

    /// Keys as `spec` finds them; up to three specs add up.
    pub const fn key_spec(mut self, spec: KeySpec) -> Spec {
        self.key_specs[self.key_specs_len as usize] = spec;
        self.key_specs_len += 1;
        self
    }

    /// All key specs, in the order they were given.
    pub fn key_specs(&self) -> &[KeySpec] {
        &self.key_specs[..usize::from(self.key_specs_len)]
    }

    /// All hints for clients.
    pub fn tips(&self) -> &[&'static str] {
        &self.tips[..usize::from(self.tips_len)]
    }

    /// The container's name when this is a subcommand.
    pub fn parent(&self) -> Option<&'static str> {
        self.name.split_once('|').map(|(container, _)| container)
    }

    /// The last part of the name: `cat` of `acl|cat`.
    pub fn own_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, sub)| sub)
    }

    /// The ACL categories: what follows from the flags, the group and the row's own words.
    pub const fn categories(&self) -> Cats {
        category::derive(self.flags, self.group, self.extra_cats)
    }

    /// The position of the key, when the command has exactly one, always at the same place.
    #[inline]
    pub fn only_key(&self) -> Option<usize> {
        match self.key_specs() {
            [only] => only.single(),
            _ => None,
        }
    }

    /// Whether any argument can be a key.
    pub fn has_keys(&self) -> bool {
        self.key_specs().iter().any(|spec| !spec.flags.has(KeyFlags::NOT_KEY))
    }

    /// First, last and step as COMMAND INFO shows them.
    pub fn legacy_range(&self) -> LegacyRange {
        keys::legacy_range(self.key_specs())
    }

    /// The flag names COMMAND INFO shows, in its order.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        let mut flags = self.flags;
        if self.legacy_range().movable {
            flags = flags.with(Flags::MOVABLEKEYS);
        }
        flags.names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arity::{AtLeast, Exactly};

    static GET: Spec = Spec::new("get", Group::String, Exactly(2)).reads().fast().key(1);
    static MSET: Spec = Spec::new("mset", Group::String, AtLeast(3))
        .writes()
        .denyoom()
        .key_spec(KeySpec::range(1, -1, 2).ow().update());

    fn cats(spec: &Spec) -> Vec<&'static str> {
        spec.categories().names().collect()
    }

    #[test]
    fn categories_follow_from_flags_and_group() {
        assert_eq!(cats(&GET), ["read", "string", "fast"]);
        assert_eq!(cats(&MSET), ["write", "string", "slow"]);
        let shutdown = Spec::new("shutdown", Group::Server, AtLeast(1)).admin().noscript();
        assert_eq!(cats(&shutdown), ["admin", "slow", "dangerous"]);
        let script = Spec::new("eval_ro", Group::Scripting, AtLeast(3)).reads();
        assert_eq!(cats(&script), ["slow", "scripting"]);
        let xinfo = Spec::new("xinfo", Group::Stream, AtLeast(2)).container();
        assert_eq!(cats(&xinfo), ["slow"]);
    }

    #[test]
    fn legacy_range_is_what_command_info_shows() {
        let range = GET.legacy_range();
        assert_eq!((range.first, range.last, range.step, range.movable), (1, 1, 1, false));
        let range = MSET.legacy_range();
        assert_eq!((range.first, range.last, range.step, range.movable), (1, -1, 2, false));
        assert_eq!(GET.flag_names().collect::<Vec<_>>(), ["readonly", "fast"]);
        assert_eq!(GET.only_key(), Some(1));
        assert_eq!(MSET.only_key(), None);
    }

    #[test]
    fn arity_counts_the_name() {
        assert!(Exactly(2).accepts(2) && !Exactly(2).accepts(3));
        assert!(AtLeast(2).accepts(9) && !AtLeast(2).accepts(1));
        assert_eq!((Exactly(2).wire(), AtLeast(2).wire()), (2, -2));
    }
}
