//! What commands leave behind beside their replies: the keyspace's account, settled by the engine.

use crate::base::clock::UnixMs;
use crate::keyspace::entry::Entry;
use crate::keyspace::event::{Classes, Event};
use crate::keyspace::readers::Changes;
use crate::keyspace::shard::Db;
use crate::value::limits::Limits;

/// How reads mark a key as used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Leave no trace (CLIENT NO-TOUCH, a forked child at work).
    Untouched,
    /// Store the second of the access.
    Lru,
    /// Raise a logarithmic counter that decays.
    Lfu {
        /// `lfu-log-factor`
        log_factor: u32,
        /// `lfu-decay-time`, minutes
        decay_minutes: u32,
    },
}

/// What is fixed while a command runs.
#[derive(Clone, Copy, Debug)]
pub struct Env {
    /// The moment the command happens at.
    pub now: UnixMs,
    /// Encoding limits.
    pub limits: Limits,
    /// Events somebody wants (`notify-keyspace-events`).
    pub notify: Classes,
    /// How reads mark keys.
    pub access: Access,
    /// Whether keys past their deadline are gone; not while a log is replayed.
    pub expires: bool,
    /// Whether such keys are removed when met, or only hidden, as during CLIENT PAUSE.
    pub removes_expired: bool,
    /// Whether RESTORE looks at checksums.
    pub checks_dumps: bool,
    /// `proto-max-bulk-len`, which bounds strings.
    pub string_bytes_max: u64,
    /// `rdb-version` and `rdbcompression`, which DUMP follows.
    pub dumps: (u16, bool),
    /// `databases`
    pub databases: u32,
    /// The command by which others remove a key that became empty or was drawn from.
    pub removes_with: &'static [u8],
    /// The same for a key past its deadline.
    pub expires_with: &'static [u8],
}

impl Default for Env {
    fn default() -> Env {
        Env {
            now: UnixMs(0),
            limits: Limits::default(),
            notify: Classes(0),
            access: Access::Lru,
            expires: true,
            removes_expired: true,
            checks_dumps: true,
            string_bytes_max: 512 << 20,
            dumps: (11, true),
            databases: 16,
            removes_with: b"DEL",
            expires_with: b"DEL",
        }
    }
}

/// A key of a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DbKey {
    /// The database's number.
    pub db: u32,
    /// The key.
    pub key: Box<[u8]>,
}

/// An event that somebody wants to hear of.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What happened.
    pub event: Event,
    /// To which key.
    pub at: DbKey,
}

/// The account of one command or transaction.
#[derive(Default)]
pub struct Effects {
    /// Changes, as save points count them.
    pub dirty: u64,
    /// Keys looked up for reading and found.
    pub hits: u64,
    /// Keys looked up for reading and not found.
    pub misses: u64,
    /// Keys removed because their deadline had passed.
    pub expired: Vec<DbKey>,
    /// Fields removed because their deadline had passed, and the keys they were in.
    pub expired_fields: Vec<(DbKey, Vec<Box<[u8]>>)>,
    /// Keys that somebody waits for and that may have become ready.
    pub ready: Vec<DbKey>,
    /// Events to publish, in order.
    pub notices: Vec<Notice>,
    /// What clients that cache keys have to hear.
    pub readers: Changes,
    /// Entries whose memory another thread should free.
    pub garbage: Vec<Entry>,
    /// Whole databases of shards whose memory another thread should free.
    pub dropped: Vec<Db>,
}

impl Effects {
    /// Whether anything is there to be settled.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.dirty == 0
            && self.expired.is_empty()
            && self.expired_fields.is_empty()
            && self.ready.is_empty()
            && self.notices.is_empty()
            && self.readers.is_empty()
            && self.garbage.is_empty()
            && self.dropped.is_empty()
    }
}
