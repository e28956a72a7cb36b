//! What the engine knows of one connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acl::users::Account;
use crate::base::clock::UnixMs;
use crate::engine::client::Client;
use crate::engine::command::Row;
use crate::engine::core::Core;
use crate::engine::replicas::Replica;
use crate::keyspace::effects::DbKey;
use crate::keyspace::shard::{Ticket, Touched};
use crate::persist::journal::{LogOffset, SyncPolicy};
use crate::pubsub::Topic;
use crate::resp::args::OwnedArgs;
use crate::tracking::Options;

/// What a name that is listened to is counted as, bytes.
const NAME_BYTES: usize = 80;
/// What a watched key is counted as, bytes.
const WATCH_BYTES: usize = 96;

/// A transaction being queued.
#[derive(Default)]
pub struct Multi {
    /// The queued commands.
    pub queue: Vec<(&'static Row, OwnedArgs)>,
    /// A command was refused while queueing; EXEC will fail.
    pub failed: bool,
    /// Bytes of the queue.
    pub bytes: usize,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The next is not.
    SkipNext,
    /// This one is not.
    Skip,
}

/// See the module.
pub struct Session {
    /// What other threads see.
    pub client: Arc<Client>,
    /// The selected database.
    pub db: u32,
    /// Who it is: the default user until it logs in.
    pub account: Arc<Account>,
    /// Whether it has logged in, or needed not to when it connected.
    pub authenticated: bool,
    /// The transaction between MULTI and EXEC.
    pub multi: Option<Multi>,
    /// Keys under WATCH.
    pub watched: Vec<DbKey>,
    /// When the first of them came under WATCH.
    pub watching_since: UnixMs,
    /// Keys no longer under WATCH that still stand in the books, with the flag they stand under.
    pub unforgotten: Vec<(DbKey, Touched)>,
    /// Raised when one of them is touched; a new flag for each WATCH.
    pub touched: Touched,
    /// Subscriptions by [`Topic`].
    pub topics: [BTreeSet<Box<[u8]>>; 3],
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// CLIENT TRACKING.
    pub tracking: Option<Options>,
    /// Prefixes of keys it hears of.
    pub prefixes: usize,
    /// CLIENT CACHING came just before.
    pub caching: bool,
    /// The connection ends when its replies are sent.
    pub closing: bool,
    /// The client waits in a blocking command.
    pub waiting: Option<Ticket>,
    /// The journal's end behind the last thing this session wrote: replies wait for it.
    pub wrote: LogOffset,
    /// CLIENT DURABILITY; without one, `appendfsync` holds.
    pub durability: Option<SyncPolicy>,
    /// Set once the client speaks as a replica does.
    pub replica: Option<Arc<Replica>>,
    /// Whether this is the replay of a file: no gate, no clock but the file's.
    pub replaying: bool,
}

impl Session {
    /// The session of a client that has just connected.
    pub fn new(client: Arc<Client>, account: Arc<Account>, authenticated: bool) -> Session {
        Session {
            client,
            account,
            db: 0,
            authenticated,
            multi: None,
            watched: Vec::new(),
            unforgotten: Vec::new(),
            watching_since: UnixMs(0),
            touched: Touched::default(),
            topics: Default::default(),
            reply_mode: ReplyMode::On,
            tracking: None,
            prefixes: 0,
            caching: false,
            closing: false,
            waiting: None,
            wrote: LogOffset::default(),
            durability: None,
            replica: None,
            replaying: false,
        }
    }

    /// Subscriptions of a kind.
    pub fn topics(&mut self, topic: Topic) -> &mut BTreeSet<Box<[u8]>> {
        &mut self.topics[topic as usize]
    }

    /// Subscriptions to channels and patterns, as replies to SUBSCRIBE count them.
    pub fn subscriptions(&self) -> usize {
        self.topics[Topic::Channel as usize].len() + self.topics[Topic::Pattern as usize].len()
    }

    /// Whether it listens to anything, which restricts a RESP2 client.
    pub fn is_subscribed(&self) -> bool {
        self.topics.iter().any(|names| !names.is_empty())
    }

    /// Ends every subscription, silently.
    pub fn unsubscribe_all(&mut self, core: &Core) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
            for name in std::mem::take(self.topics(topic)) {
                core.pubsub.unsubscribe(topic, &name, self.client.id);
            }
        }
    }

    /// Bytes of memory that go with the session, beside its buffers.
    pub fn memory_bytes(&self) -> usize {
        let multi = self.multi.as_ref().map_or(0, |multi| multi.bytes);
        let names: usize = self.topics.iter().map(BTreeSet::len).sum();
        let books = (names + self.prefixes) * NAME_BYTES + self.watched.len() * WATCH_BYTES;
        size_of::<Session>() + size_of::<Client>() + multi + books
    }

    /// Publishes what CLIENT LIST tells of it.
    pub fn publish_figures(&self) {
        let figures = &self.client.figures;
        let store = |to: &std::sync::atomic::AtomicU32, value: usize| {
            to.store(u32::try_from(value).unwrap_or(u32::MAX), Ordering::Relaxed);
        };
        figures.db.store(self.db, Ordering::Relaxed);
        let bytes = self.multi.as_ref().map_or(0, |multi| multi.bytes);
        figures.multi_bytes.store(bytes as u64, Ordering::Relaxed);
        let queued = self.multi.as_ref().map_or(-1, |multi| multi.queue.len() as i64);
        figures.multi.store(queued, Ordering::Relaxed);
        store(&figures.watched, self.watched.len());
        for (names, figure) in self.topics.iter().zip(&figures.subscriptions) {
            store(figure, names.len());
        }
        figures.blocked.store(self.waiting.is_some(), Ordering::Relaxed);
    }
}
