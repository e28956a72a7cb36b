//! What persistence knows of itself: last saves, the child at work, the state of the files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock::{self, Steady, UnixMs};
use crate::base::fs::Disk;
use crate::config::{AppendFsync, Config};
use crate::persist::aof::manifest::{Manifest, Seal};
use crate::persist::aof::pace::{Load, Pace};
use crate::persist::backlog::{Backlog, Forward};
use crate::persist::journal::{Journal, LogOffset, SyncPolicy};
use crate::persist::savepoint::{LastSave, RewriteLimit};

/// Everything that has to do with files.
pub struct Persistence {
    /// The stream of records.
    pub journal: Journal,
    /// The same stream as replicas read it.
    pub backlog: Backlog,
    /// The disk.
    pub disk: Disk,
    /// Past saves and rewrites.
    pub book: Mutex<Book>,
    /// The append-only file.
    pub aof: Mutex<Aof>,
    /// The child at work.
    pub child: Mutex<Option<Child>>,
    /// How far the child is.
    pub progress: Progress,
    /// How far loading is.
    pub loading: Loading,
    child_running: AtomicBool,
}

/// Past saves and rewrites, as INFO tells them.
#[derive(Clone, Debug)]
pub struct Book {
    /// When the last successful snapshot ended.
    pub saved_at: UnixMs,
    /// When the last attempt at a background snapshot began.
    pub tried_at: UnixMs,
    /// How it ended.
    pub last_save: LastSave,
    /// The count of all changes when the last successful snapshot was begun.
    pub saved_dirty: u64,
    /// Successful snapshots since the start.
    pub saves: u64,
    /// Seconds the last background snapshot took; -1 before the first.
    pub save_secs: i64,
    /// Bytes copied on write during the last snapshot and the last rewrite.
    pub save_cow: u64,
    /// See `save_cow`.
    pub rewrite_cow: u64,
    /// BGSAVE SCHEDULE waits for a rewrite to end.
    pub save_scheduled: bool,
    /// BGREWRITEAOF waits for a snapshot to end.
    pub rewrite_scheduled: bool,
    /// Whether the last rewrite succeeded.
    pub rewrite_ok: bool,
    /// Seconds it took; -1 before the first.
    pub rewrite_secs: i64,
    /// Successful rewrites since the start.
    pub rewrites: u64,
    /// Snapshots that became the base of the append-only file.
    pub rebases: u64,
    /// Spaces out automatic rewrites that fail.
    pub rewrite_limit: RewriteLimit,
    /// Microseconds the last fork took.
    pub fork_usec: u64,
    /// Forks since the start.
    pub forks: u64,
    /// Keys that the last load at the start skipped because their deadline had passed, and keys
    /// it loaded.
    pub loaded_keys: (u64, u64),
    /// What the last start moved aside.
    pub recovery: Option<Recovery>,
    /// How the run before this one ended.
    pub last_end: LastEnd,
    /// When a snapshot was last read back and found to be what was written.
    pub verified_at: Option<UnixMs>,
    /// Bytes of the last snapshot or base that was written, and of memory in use then.
    pub written: Option<(u64, u64)>,
}

impl Book {
    /// Bytes that the next snapshot will have, going by the last one; none before the first.
    pub fn estimate(&self, memory: u64) -> Option<u64> {
        let (size, then) = self.written?;
        let grown = u128::from(size) * u128::from(memory) / u128::from(then.max(1));
        u64::try_from(grown).ok()
    }
}

/// How the run before this one ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastEnd {
    /// No file says it.
    #[default]
    Unknown,
    /// It stopped in order, at this second since the epoch.
    Orderly(i64),
    /// It was killed, or lost power.
    Abrupt,
}

/// A damaged end of the append-only file that was moved aside.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// When.
    pub at: UnixMs,
    /// Where it is kept.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Commands in it that can be read.
    pub commands: u64,
}

/// Whether and where records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AofState {
    /// `appendonly no`.
    #[default]
    Off,
    /// Records are collected in a temporary increment while the first base is written.
    Starting,
    /// Records go to the last increment of the manifest.
    On,
}

/// The append-only file.
#[derive(Default)]
pub struct Aof {
    /// Whether and where records are written.
    pub state: AofState,
    /// Where the files are. While records are written that stays so, whatever becomes of `dir`.
    pub dir: PathBuf,
    /// The files.
    pub manifest: Manifest,
    /// Bytes of all files after the last rewrite; after a start those of the base.
    pub size_at_rewrite: u64,
    /// Bytes of base and increments but the one that is written to.
    pub size_before_increment: u64,
    /// Bytes of the base.
    pub base_size: u64,
    /// Commands in the increments but the one that is written to; all that were loaded count
    /// as such.
    pub commands_before_increment: u64,
    /// How fast the last start has replayed commands.
    pub pace: Pace,
    /// The checksum of the last increment as it was loaded.
    pub loaded_sum: Option<u64>,
    /// Where the journal went on in the present increment.
    pub cut: LogOffset,
    /// The child whose base is wanted. One that was begun before the state changed is not: the
    /// journal no longer continues it.
    pub rewriter: Option<i32>,
}

/// What a child does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It writes a snapshot.
    Save,
    /// It writes a base for the append-only file.
    Rewrite,
    /// It writes what replicas begin with.
    Sync,
}

/// A forked child.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its process.
    pub pid: i32,
    /// What it does.
    pub work: Work,
    /// When it was forked.
    pub started: Steady,
    /// The same on the wall clock.
    pub started_at: UnixMs,
    /// All changes counted when it was forked.
    pub dirty: u64,
    /// The file it writes.
    pub temp: PathBuf,
    /// Bytes of memory in use soon after it was forked; known when it has ended.
    pub memory: u64,
    /// Where its file goes as a snapshot, when it is to be the base of the append-only file too.
    pub snapshot: Option<PathBuf>,
    /// What it said its file holds.
    pub seal: Option<Seal>,
    /// Set when it was told to end.
    pub killed: bool,
}

/// How far a child is.
#[derive(Default)]
pub struct Progress {
    /// Keys written.
    pub keys: AtomicU64,
    /// Keys there are.
    pub keys_total: AtomicU64,
    /// Bytes copied on write so far.
    pub cow: AtomicU64,
    /// The most seen.
    pub cow_peak: AtomicU64,
}

/// How far loading is.
#[derive(Default)]
pub struct Loading {
    /// Whether it is under way.
    pub active: AtomicBool,
    /// When it began, seconds since the epoch.
    pub since: AtomicI64,
    /// Bytes of all files.
    pub total: AtomicU64,
    /// Bytes read.
    pub done: AtomicU64,
    /// Keys inserted.
    pub keys: AtomicU64,
    /// Commands replayed.
    pub commands: AtomicU64,
    /// Bytes of memory in use when it began.
    pub memory: AtomicU64,
    /// The database that a snapshot for replicas says is selected in the stream behind it.
    pub stream_db: AtomicU32,
    /// The stream's name, and the offset, that the snapshot says it stands at.
    pub place: Mutex<(Option<String>, Option<u64>)>,
}

impl Persistence {
    /// Nothing saved, nothing open.
    pub fn new(config: &Config) -> Persistence {
        let journal = Journal::default();
        journal.set_policy(policy(config.appendfsync));
        journal.set_stamps(config.aof_timestamp_enabled);
        journal.set_checksums(config.aof_checksums);
        Persistence {
            journal,
            backlog: Backlog::default(),
            disk: Disk::real(),
            book: Mutex::new(Book {
                saved_at: UnixMs::now(),
                tried_at: UnixMs(0),
                last_save: LastSave::Ok,
                saved_dirty: 0,
                saves: 0,
                save_secs: -1,
                save_cow: 0,
                rewrite_cow: 0,
                save_scheduled: false,
                rewrite_scheduled: false,
                rewrite_ok: true,
                rewrite_secs: -1,
                rewrites: 0,
                rebases: 0,
                rewrite_limit: RewriteLimit::default(),
                fork_usec: 0,
                forks: 0,
                loaded_keys: (0, 0),
                recovery: None,
                last_end: LastEnd::Unknown,
                verified_at: None,
                written: None,
            }),
            aof: Mutex::default(),
            child: Mutex::new(None),
            progress: Progress::default(),
            loading: Loading::default(),
            child_running: AtomicBool::new(false),
        }
    }

    /// Whether anybody wants records.
    #[inline]
    pub fn wants_records(&self) -> bool {
        self.journal.is_active() || self.backlog.is_active()
    }

    /// Gives a unit of execution to everybody who reads the stream; see [`Journal::append`]. What
    /// came from the primary is forwarded as it came.
    pub fn append<'c, C: Iterator<Item = (u32, &'c [u8])>>(
        &self,
        transaction: bool,
        commands: impl Fn() -> C,
        now: UnixMs,
        forward: Option<Forward>,
    ) -> LogOffset {
        match forward {
            Some(forward) => self.backlog.forward(&forward),
            None if self.backlog.is_active() => self.backlog.append(transaction, commands()),
            None => {}
        }
        match self.journal.is_active() {
            true => self.journal.append(transaction, commands(), now),
            false => LogOffset::default(),
        }
    }

    /// Whether a forked child is at work.
    pub fn is_child_running(&self) -> bool {
        self.child_running.load(Ordering::Relaxed)
    }

    /// What the child at work does.
    pub fn child_work(&self) -> Option<Work> {
        self.child.lock().as_ref().map(|child| child.work.clone())
    }

    /// Notes a child that was just forked, or that there is none any more.
    pub fn set_child(&self, child: Option<Child>) {
        let mut slot = self.child.lock();
        self.child_running.store(child.is_some(), Ordering::Relaxed);
        *slot = child;
    }

    /// Tells the child of that work to end; says whether there was one.
    pub fn kill_child(&self, work: &Work) -> bool {
        let mut slot = self.child.lock();
        let Some(child) = slot.as_mut().filter(|child| child.work == *work) else { return false };
        child.killed = true;
        let pid = nix::unistd::Pid::from_raw(child.pid);
        // A child that has just ended is no error.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        true
    }

    /// Waits until the child that was told to end is gone, so that it changes no file any more.
    pub fn await_no_child(&self) {
        let began = clock::steady();
        while self.is_child_running() && began.elapsed() < CHILD_END_MAX {
            std::thread::sleep(CHILD_END_LOOK);
        }
    }

    /// How many seconds a start would replay the increments.
    pub fn replay_seconds(&self) -> f64 {
        let aof = self.aof.lock();
        let bytes = aof.size_before_increment.saturating_sub(aof.base_size) + self.journal.size();
        let commands = aof.commands_before_increment + self.journal.commands();
        aof.pace.seconds(Load { commands, bytes })
    }

    /// Bytes of the append-only file: its base and all increments.
    pub fn aof_size(&self) -> u64 {
        self.aof.lock().size_before_increment + self.journal.size()
    }
}

/// How long the end of a killed child is waited for; the disk may hold it up.
const CHILD_END_MAX: Duration = Duration::from_secs(5);
const CHILD_END_LOOK: Duration = Duration::from_millis(1);

/// The journal's policy for a setting.
pub fn policy(setting: AppendFsync) -> SyncPolicy {
    match setting {
        AppendFsync::Always => SyncPolicy::Always,
        AppendFsync::Everysec => SyncPolicy::EverySec,
        AppendFsync::No => SyncPolicy::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_grows_with_memory() {
        let persist = Persistence::new(&Config::default());
        let mut book = persist.book.lock();
        assert_eq!(book.estimate(1000), None, "nothing is known before the first");
        book.written = Some((500, 1000));
        assert_eq!(book.estimate(3000), Some(1500));
        book.written = Some((u64::MAX, 1));
        assert_eq!(book.estimate(u64::MAX), None, "nothing is multiplied beyond what there is");
    }
}
