//! The groups of the manual, the categories of ACL, and how one follows from the other.

use crate::spec::flags::Flags;

/// The chapter of the manual a command stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Any key, whatever it holds.
    Generic,
    /// Strings.
    String,
    /// Lists.
    List,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Hashes.
    Hash,
    /// Channels.
    Pubsub,
    /// MULTI and its kin.
    Transactions,
    /// The client's own connection.
    Connection,
    /// The server itself.
    Server,
    /// Lua.
    Scripting,
    /// HyperLogLogs.
    Hyperloglog,
    /// Cluster.
    Cluster,
    /// Sentinel.
    Sentinel,
    /// Positions on the globe.
    Geo,
    /// Streams.
    Stream,
    /// Bits of strings.
    Bitmap,
}

impl Group {
    /// As COMMAND DOCS names it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Pubsub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::Hyperloglog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Sentinel => "sentinel",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }

    /// The category every command of the group is in.
    const fn category(self) -> Option<Cat> {
        Some(match self {
            Group::Generic => Cat::Keyspace,
            Group::String => Cat::String,
            Group::List => Cat::List,
            Group::Set => Cat::Set,
            Group::SortedSet => Cat::SortedSet,
            Group::Hash => Cat::Hash,
            Group::Transactions => Cat::Transaction,
            Group::Connection => Cat::Connection,
            Group::Scripting => Cat::Scripting,
            Group::Hyperloglog => Cat::Hyperloglog,
            Group::Geo => Cat::Geo,
            Group::Stream => Cat::Stream,
            Group::Bitmap => Cat::Bitmap,
            Group::Pubsub | Group::Server | Group::Cluster | Group::Sentinel => return None,
        })
    }
}

/// A category of ACL, `@name` in a rule. In ACL CAT's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Cat {
    Keyspace,
    Read,
    Write,
    Set,
    SortedSet,
    List,
    Hash,
    String,
    Bitmap,
    Hyperloglog,
    Geo,
    Stream,
    Pubsub,
    Admin,
    Fast,
    Slow,
    Blocking,
    Dangerous,
    Connection,
    Transaction,
    Scripting,
}

impl Cat {
    /// Every category, in ACL CAT's order.
    pub const ALL: [Cat; 21] = [
        Cat::Keyspace,
        Cat::Read,
        Cat::Write,
        Cat::Set,
        Cat::SortedSet,
        Cat::List,
        Cat::Hash,
        Cat::String,
        Cat::Bitmap,
        Cat::Hyperloglog,
        Cat::Geo,
        Cat::Stream,
        Cat::Pubsub,
        Cat::Admin,
        Cat::Fast,
        Cat::Slow,
        Cat::Blocking,
        Cat::Dangerous,
        Cat::Connection,
        Cat::Transaction,
        Cat::Scripting,
    ];

    /// As a rule names it, without the `@`.
    pub const fn name(self) -> &'static str {
        match self {
            Cat::Keyspace => "keyspace",
            Cat::Read => "read",
            Cat::Write => "write",
            Cat::Set => "set",
            Cat::SortedSet => "sortedset",
            Cat::List => "list",
            Cat::Hash => "hash",
            Cat::String => "string",
            Cat::Bitmap => "bitmap",
            Cat::Hyperloglog => "hyperloglog",
            Cat::Geo => "geo",
            Cat::Stream => "stream",
            Cat::Pubsub => "pubsub",
            Cat::Admin => "admin",
            Cat::Fast => "fast",
            Cat::Slow => "slow",
            Cat::Blocking => "blocking",
            Cat::Dangerous => "dangerous",
            Cat::Connection => "connection",
            Cat::Transaction => "transaction",
            Cat::Scripting => "scripting",
        }
    }

    /// The category a rule means, in any case of letters, without the `@`.
    pub fn parse(name: &[u8]) -> Option<Cat> {
        Cat::ALL.into_iter().find(|cat| cat.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A set of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cats(u32);

impl Cats {
    /// The empty set.
    pub const NONE: Cats = Cats(0);

    /// This set and `cat`.
    pub const fn with(self, cat: Cat) -> Cats {
        Cats(self.0 | 1 << cat as u8)
    }

    /// Whether `cat` is in this set.
    pub const fn has(self, cat: Cat) -> bool {
        self.0 & (1 << cat as u8) != 0
    }

    /// The names, in ACL CAT's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Cat::ALL.into_iter().filter(move |cat| self.has(*cat)).map(Cat::name)
    }
}

/// The categories of a command with these flags, in this group, with these of its own.
pub(super) const fn derive(flags: Flags, group: Group, extra: Cats) -> Cats {
    let mut cats = extra;
    if !flags.has_any(Flags::CONTAINER.with(Flags::NO_GROUP_CATEGORY))
        && let Some(cat) = group.category()
    {
        cats = cats.with(cat);
    }
    if flags.has(Flags::WRITE) {
        cats = cats.with(Cat::Write);
    }
    // A read-only script is not a read: what it reads is told by the commands it calls.
    if flags.has(Flags::READONLY) && !cats.has(Cat::Scripting) {
        cats = cats.with(Cat::Read);
    }
    if flags.has(Flags::ADMIN) {
        cats = cats.with(Cat::Admin).with(Cat::Dangerous);
    }
    if flags.has(Flags::PUBSUB) {
        cats = cats.with(Cat::Pubsub);
    }
    if flags.has(Flags::BLOCKING) {
        cats = cats.with(Cat::Blocking);
    }
    cats.with(if flags.has(Flags::FAST) { Cat::Fast } else { Cat::Slow })
}
