//! What is true of a command: a set of flags, and the names a client sees.

/// A set of command flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*
        }
    };
}

flags! {
    /// Changes the keyspace.
    WRITE = 0;
    /// Only reads the keyspace.
    READONLY = 1;
    /// May grow memory.
    DENYOOM = 2;
    /// For operators.
    ADMIN = 3;
    /// About channels.
    PUBSUB = 4;
    /// Not for scripts.
    NOSCRIPT = 5;
    /// May make the client wait.
    BLOCKING = 6;
    /// Allowed while loading.
    LOADING = 7;
    /// Allowed on a stale replica.
    STALE = 8;
    /// Not shown by MONITOR.
    SKIP_MONITOR = 9;
    /// Not kept by the slow log.
    SKIP_SLOWLOG = 10;
    /// Accepted on an importing slot.
    ASKING = 11;
    /// Constant or logarithmic time.
    FAST = 12;
    /// Allowed before authentication.
    NO_AUTH = 13;
    /// May put something into the journal although it does not write.
    MAY_REPLICATE = 14;
    /// May be called without any key.
    NO_MANDATORY_KEYS = 15;
    /// Needs an `enable-*-command` setting.
    PROTECTED = 16;
    /// Refused while a replica loads beside its old data.
    NO_ASYNC_LOADING = 17;
    /// Refused inside MULTI.
    NO_MULTI = 18;
    /// Keys are not a plain range.
    MOVABLEKEYS = 19;
    /// Allowed while a script is over its time.
    ALLOW_BUSY = 20;
    /// Touches keys its arguments do not name.
    TOUCHES_ARBITRARY_KEYS = 21;
    /// Needs the whole keyspace locked.
    ALL_SHARDS = 22;
    /// The journal gets something else than what was received.
    REWRITTEN = 23;
    /// Only groups subcommands.
    CONTAINER = 24;
    /// The group says nothing about the ACL category.
    NO_GROUP_CATEGORY = 25;
}

/// What COMMAND INFO shows, in its order. The other flags are nobody's business outside.
const SHOWN: [(Flags, &str); 19] = [
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLEKEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

impl Flags {
    /// The empty set.
    pub const NONE: Flags = Flags(0);

    /// This set and `other`.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    #[inline]
    pub const fn has_any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// The names a client sees, in COMMAND INFO's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        SHOWN.iter().filter(move |(flag, _)| self.has_any(*flag)).map(|(_, name)| *name)
    }
}
