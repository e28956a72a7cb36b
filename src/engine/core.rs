//! The server's state: one for the process, shared by every thread.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::acl::catalog::Catalog;
use crate::acl::users::Users;
use crate::base::clock::{self, Steady, UnixMs};
use crate::base::rng;
use crate::config::{Config, MaxmemoryPolicy};
use crate::engine::apply::World;
use crate::engine::blocking::Blocked;
use crate::engine::client::{Client, Clients};
use crate::engine::command::{CommandTable, Row};
use crate::engine::evicting::{self, Eviction};
use crate::engine::failover::Failover;
use crate::engine::following::{self, Following};
use crate::engine::migrating::Links;
use crate::engine::oom_score::OomScore;
use crate::engine::own_keys::OwnKeys;
use crate::engine::pause::Pause;
use crate::engine::replicas::{self, Replicas};
use crate::engine::stopping::StopWait;
use crate::keyspace::effects::{Access, Effects, Env};
use crate::keyspace::entry::Entry;
use crate::keyspace::event::Classes;
use crate::keyspace::lock::{Hold, Keyspace};
use crate::keyspace::shard::Db;
use crate::persist::Persistence;
use crate::persist::backlog::Forward;
use crate::pubsub::PubSub;
use crate::script::Scripts;
use crate::script::library::Functions;
use crate::stats::memory::{self, Memory};
use crate::stats::{Stats, ThreadStats};
use crate::tracking::Tracking;

/// Reasons why a command may not simply run, as bits of [`Core::attention`].
pub struct Attention;

impl Attention {
    /// Files are being loaded.
    pub const LOADING: u32 = 1;
    /// The last snapshot failed, and `stop-writes-on-bgsave-error` is on.
    pub const SNAPSHOT_FAILED: u32 = 2;
    /// The journal cannot be written.
    pub const JOURNAL_FAILED: u32 = 4;
    /// More memory is used than `maxmemory`.
    pub const OUT_OF_MEMORY: u32 = 8;
    /// A script is over its time.
    pub const SCRIPT_BUSY: u32 = 16;
    /// Commands are paused.
    pub const PAUSED: u32 = 32;
    /// The process is shutting down.
    pub const STOPPING: u32 = 64;
    /// Clients run MONITOR.
    pub const MONITORED: u32 = 128;
    /// `maxmemory` is set: commands that need memory look how much there is.
    pub const MEMORY_LIMITED: u32 = 256;
    /// `min-replicas-to-write` asks for replicas that are not there.
    pub const REPLICAS_WANTED: u32 = 512;
    /// Clients cache keys and want to hear of changes.
    pub const TRACKED: u32 = 1024;
    /// This server follows a primary.
    pub const FOLLOWING: u32 = 2048;
    /// It does, and takes writes from nobody else.
    pub const READ_ONLY: u32 = 4096;
    /// It does, has lost its primary, and `replica-serve-stale-data` is off.
    pub const STALE: u32 = 8192;
    /// Any of these.
    pub const ANY: u32 = u32::MAX;
}

/// How long an answer of the allocator holds, microseconds.
const MEMORY_LOOK_US: u64 = 500;

/// What a thread may ask of the allocator between two looks, bytes.
const MEMORY_LOOK_BYTES: u64 = 64 * 1024;

/// Memory that another thread frees.
pub enum Garbage {
    /// One key.
    Entry(Entry),
    /// A shard's part of a database.
    Db(Db),
}

/// See the module.
pub struct Core {
    /// The keys.
    pub keyspace: &'static Keyspace,
    /// The settings.
    pub config: ArcSwap<Config>,
    /// Held while settings are changed, so that changes follow each other.
    pub config_change: Mutex<()>,
    /// The configuration file, if the server was started with one.
    pub config_file: Option<std::path::PathBuf>,
    /// The commands by the names they have here.
    pub commands: CommandTable,
    /// Journal, snapshots, append-only file.
    pub persist: Persistence,
    /// Everyone connected.
    pub clients: Clients,
    /// Users and their permissions.
    pub users: Users,
    /// Who listens to what.
    pub pubsub: PubSub,
    /// Who caches keys.
    pub tracking: Tracking,
    /// Who waits for what.
    pub blocked: Blocked,
    /// Keys that go when memory is short.
    pub eviction: Eviction,
    /// Where MIGRATE sends keys to.
    pub links: Links,
    /// Who follows.
    pub replicas: Replicas,
    /// Whom this server follows.
    pub following: Following,
    /// FAILOVER.
    pub failover: Failover,
    /// Keys that the primary does not know.
    pub own_keys: OwnKeys,
    /// Scripts by name.
    pub scripts: Scripts,
    /// Libraries of functions.
    pub functions: Functions,
    /// Clients that run MONITOR.
    pub monitors: Mutex<Vec<Arc<Client>>>,
    /// Commands that wait.
    pub pause: Pause,
    /// What lies above: sockets and the log.
    pub world: OnceLock<Box<dyn World>>,
    /// Counters.
    pub stats: Stats,
    /// Bits of [`Attention`].
    pub attention: AtomicU32,
    /// 40 hexadecimal digits, new at each start.
    pub run_id: String,
    /// The replication id.
    pub repl_id: Mutex<String>,
    /// The one before, and up to which offset it was the same stream.
    pub repl_id_before: Mutex<Option<(String, u64)>>,
    /// When the process began.
    pub started: UnixMs,
    /// The same on the steady clock.
    pub started_steady: Steady,
    /// How ready the kernel shall be to end the process.
    pub oom_score: Mutex<OomScore>,
    /// Settings DEBUG changes.
    pub debug: Debug,
    /// Where garbage goes.
    pub garbage: Sender<Garbage>,
    /// Garbage on its way, and freed since the start.
    pub garbage_pending: AtomicU64,
    /// See `garbage_pending`.
    pub garbage_freed: AtomicU64,
    /// Memory in use when the process began to serve, bytes.
    pub memory_startup: u64,
    /// Highest memory use seen, bytes.
    pub memory_peak: AtomicU64,
    /// Memory in use when it was last looked at, bytes: cron does at each of its rounds. Looking takes
    /// up to half a millisecond, which is long while all locks are held.
    pub memory_seen: AtomicU64,
    /// When memory use is worth another look, microseconds since the start.
    memory_look_at: AtomicU64,
    /// Rings when the process shall end.
    pub shutdown: Shutdown,
}

/// Settings DEBUG changes.
pub struct Debug {
    /// DEBUG SET-ACTIVE-EXPIRE
    pub active_expire: AtomicBool,
    /// DEBUG PAUSE-CRON
    pub cron_paused: AtomicBool,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS
    pub scripts_may_all: AtomicBool,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION
    pub checksums_skipped: AtomicBool,
}

/// The order to end.
#[derive(Default)]
pub struct Shutdown {
    /// A signal has asked for it, and it has not begun.
    pub scheduled: AtomicBool,
    /// It waits for replicas.
    pub waiting: Mutex<Option<Arc<StopWait>>>,
    /// Set once the process shall end; threads look at it.
    pub stop: AtomicBool,
    /// What the main thread waits for: the exit code.
    pub asked: Mutex<Option<i32>>,
    /// Its bell.
    pub bell: parking_lot::Condvar,
}

impl Shutdown {
    /// Asks the main thread to end the process; everything is saved already.
    pub fn finish(&self, code: i32) {
        *self.asked.lock() = Some(code);
        self.stop.store(true, Ordering::Release);
        self.bell.notify_all();
    }
}

impl Core {
    /// A core for the process; it lives as long.
    pub fn new(
        config: Config,
        config_file: Option<std::path::PathBuf>,
        commands: CommandTable,
        garbage: Sender<Garbage>,
    ) -> &'static Core {
        let persist = Persistence::new(&config);
        let stats = Stats::default();
        stats.slowlog.set_threshold(config.slowlog_log_slower_than);
        stats.latency.set_threshold(config.latency_monitor_threshold);
        stats.latency_tracking.store(config.latency_tracking, Ordering::Relaxed);
        let catalog = Catalog::new(commands.rows().iter().map(Row::spec));
        let users = Users::new(catalog, config.requirepass.as_bytes());
        Box::leak(Box::new(Core {
            keyspace: Keyspace::new(),
            config: ArcSwap::from_pointee(config),
            config_change: Mutex::new(()),
            config_file,
            commands,
            persist,
            clients: Clients::default(),
            users,
            pubsub: PubSub::default(),
            tracking: Tracking::default(),
            blocked: Blocked::default(),
            eviction: Eviction::default(),
            oom_score: Mutex::default(),
            links: Links::default(),
            replicas: Replicas::default(),
            following: Following::default(),
            failover: Failover::default(),
            own_keys: OwnKeys::default(),
            scripts: Scripts::default(),
            functions: Functions::default(),
            monitors: Mutex::default(),
            pause: Pause::default(),
            world: OnceLock::new(),
            stats,
            attention: AtomicU32::new(0),
            run_id: rng::hex::<40>(),
            repl_id: Mutex::new(rng::hex::<40>()),
            repl_id_before: Mutex::default(),
            started: UnixMs::now(),
            started_steady: clock::steady(),
            debug: Debug {
                active_expire: AtomicBool::new(true),
                cron_paused: AtomicBool::new(false),
                scripts_may_all: AtomicBool::new(false),
                checksums_skipped: AtomicBool::new(false),
            },
            garbage,
            garbage_pending: AtomicU64::new(0),
            garbage_freed: AtomicU64::new(0),
            memory_startup: Memory::allocated(),
            memory_peak: AtomicU64::new(0),
            memory_seen: AtomicU64::new(Memory::allocated()),
            memory_look_at: AtomicU64::new(0),
            shutdown: Shutdown::default(),
        }))
    }

    /// The settings of this moment.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Whether a reason for attention holds.
    pub fn has_attention(&self, bit: u32) -> bool {
        self.attention.load(Ordering::Relaxed) & bit != 0
    }

    /// Sets or clears a reason for attention.
    pub fn set_attention(&self, bit: u32, on: bool) {
        if on {
            self.attention.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.attention.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Sets the attention that the settings by themselves ask for.
    pub fn heed_settings(&self, config: &Config) {
        self.watch_memory(config.maxmemory);
        self.persist.backlog.set_keep(config.repl_backlog_size);
        following::heed(self, config);
        replicas::update_attention(self, config);
    }

    /// Looks how much memory is in use, and sets the attention that `maxmemory` needs.
    pub fn watch_memory(&self, limit: u64) {
        // The primary evicts for both.
        let left_alone =
            self.has_attention(Attention::FOLLOWING) && self.config.load().replica_ignore_maxmemory;
        let limit = if left_alone { 0 } else { limit };
        let used = Memory::allocated();
        self.memory_peak.fetch_max(used, Ordering::Relaxed);
        self.memory_seen.store(used, Ordering::Relaxed);
        self.set_attention(Attention::MEMORY_LIMITED, limit > 0);
        let above = limit > 0 && self.memory_counted(used) > limit;
        self.set_attention(Attention::OUT_OF_MEMORY, above);
        if limit > 0 {
            evicting::note(self, above);
        }
    }

    /// Memory that `maxmemory` bounds: all but what the backlog keeps for replicas that lag, which
    /// evicting would only make longer, and what clients that were ended are about to give back.
    pub fn memory_counted(&self, allocated: u64) -> u64 {
        let leaving = self.clients.leaving.load(Ordering::Relaxed);
        allocated.saturating_sub(replicas::buffers(self).beyond).saturating_sub(leaving)
    }

    /// Whether a command that needs memory has to be refused. Asking the allocator costs more than
    /// a command, so its answer holds for [`MEMORY_LOOK_US`], unless the thread asks for much.
    #[cold]
    pub fn is_out_of_memory(&self, asked: &std::cell::Cell<u64>) -> bool {
        let now = self.started_steady.elapsed().as_micros() as u64;
        let here = memory::asked_here();
        let much = here.wrapping_sub(asked.get()) > MEMORY_LOOK_BYTES;
        if much || now >= self.memory_look_at.load(Ordering::Relaxed) {
            asked.set(here);
            self.memory_look_at.store(now + MEMORY_LOOK_US, Ordering::Relaxed);
            self.watch_memory(self.config.load().maxmemory);
        }
        self.has_attention(Attention::OUT_OF_MEMORY)
    }

    /// Leaves memory to the freeing thread.
    pub fn free_later(&self, garbage: Garbage) {
        self.garbage_pending.fetch_add(1, Ordering::Relaxed);
        // Without the thread (at the very end) it is freed here.
        if self.garbage.send(garbage).is_err() {
            self.garbage_pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What is fixed for the commands of a batch.
    pub fn env(&self) -> Env {
        let config = self.config.load();
        let lfu = matches!(
            config.maxmemory_policy,
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu
        );
        let access = match lfu {
            _ if self.persist.is_child_running() => Access::Untouched,
            true => Access::Lfu {
                log_factor: config.lfu_log_factor as u32,
                decay_minutes: config.lfu_decay_time as u32,
            },
            false => Access::Lru,
        };
        Env {
            now: UnixMs::now(),
            limits: config.limits,
            notify: Classes(u32::from(config.notify_keyspace_events.0)),
            access,
            expires: !self.has_attention(Attention::LOADING),
            removes_expired: !self.has_attention(Attention::PAUSED | Attention::FOLLOWING),
            checks_dumps: !self.debug.checksums_skipped.load(Ordering::Relaxed),
            string_bytes_max: config.proto_max_bulk_len,
            dumps: (config.rdb_version as u16, config.rdbcompression),
            databases: config.databases as u32,
            removes_with: removal(config.lazyfree_lazy_server_del),
            expires_with: removal(config.lazyfree_lazy_expire),
        }
    }
}

/// How the stream of commands names a removal.
fn removal(lazy: bool) -> &'static [u8] {
    if lazy { b"UNLINK" } else { b"DEL" }
}

/// A thread that executes commands.
pub struct Worker {
    /// The server.
    pub core: &'static Core,
    /// Its counters.
    pub stats: &'static ThreadStats,
    /// When the last command it ran ended.
    pub clock: std::cell::Cell<Steady>,
    /// What the thread had asked of the allocator when it last looked how much is in use.
    pub asked: std::cell::Cell<u64>,
    /// A unit's account and record, kept between commands for their memory.
    scratch: std::cell::Cell<Option<Box<Scratch>>>,
    /// The locks of the command that has just ended, kept for the next one of the same batch.
    kept: std::cell::Cell<Option<Kept>>,
    keeping: std::cell::Cell<Keeping>,
    /// What the unit that runs is in the primary's stream.
    pub forward: std::cell::Cell<Option<Box<Forward>>>,
}

/// Locks that commands of a batch that follow each other may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// Those of all shards, as scripts need them.
    All,
    /// That of one shard.
    One(usize),
}

/// Whether locks are kept from one command to the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// There is no batch.
    Never,
    /// There is, and none are kept.
    Nothing,
    /// These are kept.
    Some(Locks),
}

/// Locks, and since when they are held.
pub struct Kept {
    /// The locks.
    pub hold: Hold,
    /// Since when.
    pub since: Steady,
}

/// What a unit of execution fills.
#[derive(Default)]
pub struct Scratch {
    /// The account.
    pub fx: Effects,
    /// The record.
    pub record: crate::engine::record::Record,
    /// The client that runs, if it is one.
    pub by: Option<u64>,
}

impl Worker {
    /// A worker for the calling thread.
    pub fn new(core: &'static Core) -> Worker {
        Worker {
            core,
            stats: core.stats.register(core.commands.rows().len()),
            clock: std::cell::Cell::new(clock::steady()),
            asked: std::cell::Cell::new(0),
            scratch: std::cell::Cell::new(None),
            kept: std::cell::Cell::new(None),
            keeping: std::cell::Cell::new(Keeping::Never),
            forward: std::cell::Cell::new(None),
        }
    }

    /// An empty account and record. A command inside another's unit gets its own.
    #[inline]
    pub fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.take().unwrap_or_default()
    }

    /// Keeps them for the next unit; they must be settled.
    #[inline]
    pub fn keep_scratch(&self, scratch: Box<Scratch>) {
        self.scratch.set(Some(scratch));
    }

    /// A batch begins: commands that follow each other in it may share their locks.
    pub fn begin_batch(&self) {
        self.keeping.set(Keeping::Nothing);
    }

    /// The batch is over: nothing is held any more.
    pub fn end_batch(&self) {
        self.release_kept();
        self.keeping.set(Keeping::Never);
    }

    /// Keeps a command's locks for the next, or gives them back where there is no batch.
    pub fn keep(&self, locks: Locks, kept: Kept) -> Option<Kept> {
        if self.keeping.get() == Keeping::Never {
            return Some(kept);
        }
        self.keeping.set(Keeping::Some(locks));
        self.kept.set(Some(kept));
        None
    }

    /// The locks that were kept, if they are these.
    #[inline]
    pub fn take_kept(&self, locks: Locks) -> Option<Kept> {
        if self.keeping.get() != Keeping::Some(locks) {
            return None;
        }
        self.keeping.set(Keeping::Nothing);
        self.kept.take()
    }

    /// Lets go of locks that were kept.
    #[inline]
    pub fn release_kept(&self) {
        self.release_unless(None);
    }

    /// Lets go of locks that were kept, but of these.
    #[inline]
    pub fn release_unless(&self, needed: Option<Locks>) {
        if let Keeping::Some(locks) = self.keeping.get()
            && Some(locks) != needed
        {
            drop(self.take_kept(locks));
        }
    }
}
