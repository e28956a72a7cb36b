//! The journal: one ordered stream of records, written once, read by offset.
//!
//! ```text
//! append   under the shard locks: the order of the stream is an order in which the commands
//!          could have run
//! flush    to the kernel, before any reply that depends on it leaves; whoever comes first writes
//!          everything pending, the others find it done
//! sync     to the disk, by the file thread: each second, or before the replies under `always`
//! ```
//!
//! appended >= written >= synced always holds. A failed write is cut back and tried again; until
//! it succeeds, writing clients wait and new writes are refused. A failed sync is final for its
//! file: what it covered is written anew to another increment before anything is called synced.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::clock::{self, Steady, UnixMs};
use crate::base::crc::{Crc64, combine_xz};
use crate::base::fs::{DiskFile, FsError};
use crate::persist::aof::group;
use crate::persist::aof::manifest::Seal;
use crate::persist::framing::Framing;
use crate::stats::histogram::{Histogram, Latencies};

/// A position in the journal: bytes appended since the process began. Not a file offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogOffset(pub u64);

/// `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SyncPolicy {
    /// Replies wait for the disk.
    Always = 0,
    /// The file thread syncs each second.
    EverySec = 1,
    /// The kernel decides.
    No = 2,
}

/// Records written before a SELECT is repeated, and such: what the stream's framing remembers.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    framing: Framing,
    /// Whether groups carry checksums.
    grouped: bool,
    /// Second of the last `#TS:` annotation.
    stamped: u64,
}

/// The writing end.
#[derive(Default)]
struct End {
    file: Option<Arc<DiskFile>>,
    /// Bytes of the file that are whole records.
    size: u64,
    /// The checksum of the file when it was opened, if that is known, and of what was added.
    opened: Option<(u64, u64)>,
    added: Crc64,
    /// Taken from pending and not in the file, because a write failed.
    unwritten: Vec<u8>,
    /// A buffer to exchange with pending.
    spare: Vec<u8>,
    /// Files that were switched away from, not synced yet, with the offset they end at.
    retired: Vec<(Arc<DiskFile>, LogOffset)>,
}

impl End {
    /// Size and checksum of the present file, if its checksum is known.
    fn seal(&self) -> Option<Seal> {
        let (sum, size) = self.opened?;
        let sum = combine_xz(sum, self.added.value(), self.size - size);
        Some(Seal { size: self.size, sum })
    }
}

/// Syncs that were begun.
#[derive(Default)]
struct Begun {
    /// What they will cover.
    upto: LogOffset,
    /// When the last of them was begun; none when it is over.
    at: Option<Steady>,
}

/// Why the journal takes no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Verb, object and cause.
    pub what: String,
    /// The cause alone.
    pub cause: String,
    /// Since when.
    pub since: UnixMs,
}

/// What a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The kernel has it: it survives the process.
    Written,
    /// The disk has it: it survives the machine.
    Synced,
}

/// See the module.
pub struct Journal {
    active: AtomicBool,
    stamps: AtomicBool,
    /// `aof-checksums`
    checksums: AtomicBool,
    /// How long each write is held up, microseconds: only ever by DEBUG.
    delay_us: AtomicU64,
    policy: AtomicU8,
    pending: Mutex<Pending>,
    end: Mutex<End>,
    appended: AtomicU64,
    written: AtomicU64,
    synced: AtomicU64,
    size: AtomicU64,
    /// Commands in the present increment since it was opened.
    commands: AtomicU64,
    failing: AtomicBool,
    failure: Mutex<Option<Failure>>,
    waiting: Mutex<Vec<(Durable, LogOffset, Waker)>>,
    /// Offset up to which a sync was asked for, and the bell of the file thread.
    wanted: Mutex<LogOffset>,
    bell: Condvar,
    /// What the syncs that were begun will cover, and when the last of them was begun.
    begun: Mutex<Begun>,
    /// Rings when a sync is asked for that the one under way does not cover.
    overlap_bell: Condvar,
    /// Syncs done.
    syncs: AtomicU64,
    /// How long the disk took for each.
    latencies: Mutex<Histogram>,
    latency_max_us: AtomicU64,
    /// When the oldest byte that is written and not synced was written, milliseconds since the
    /// epoch; 0 when there is none.
    unsynced_since: AtomicU64,
    /// Whether syncs are put off (`no-appendfsync-on-rewrite` while a child is at work).
    paused: AtomicBool,
    /// A sync failed: what was written up to here may never reach the disk, whatever a later sync
    /// says. Only another file that holds it makes it durable.
    tainted: Mutex<Option<LogOffset>>,
    /// The file whose place another one with the same contents has taken: a sync of it that ends
    /// late owes nothing.
    replaced: Mutex<Option<PathBuf>>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            active: AtomicBool::new(false),
            stamps: AtomicBool::new(false),
            checksums: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            policy: AtomicU8::new(SyncPolicy::EverySec as u8),
            pending: Mutex::default(),
            end: Mutex::default(),
            appended: AtomicU64::new(0),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            size: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            failure: Mutex::new(None),
            waiting: Mutex::default(),
            wanted: Mutex::default(),
            bell: Condvar::new(),
            begun: Mutex::default(),
            overlap_bell: Condvar::new(),
            syncs: AtomicU64::new(0),
            latencies: Mutex::default(),
            latency_max_us: AtomicU64::new(0),
            unsynced_since: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            tainted: Mutex::new(None),
            replaced: Mutex::new(None),
        }
    }
}

impl Journal {
    /// Whether records are wanted at all.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether records are taken, while the files stay as they are.
    pub fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Release);
    }

    /// `appendfsync`.
    pub fn policy(&self) -> SyncPolicy {
        match self.policy.load(Ordering::Relaxed) {
            0 => SyncPolicy::Always,
            1 => SyncPolicy::EverySec,
            _ => SyncPolicy::No,
        }
    }

    /// Sets `appendfsync`.
    pub fn set_policy(&self, policy: SyncPolicy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
    }

    /// Sets `aof-timestamp-enabled`.
    pub fn set_stamps(&self, on: bool) {
        self.stamps.store(on, Ordering::Relaxed);
    }

    /// Sets `aof-checksums`; it holds for files that are begun from now on.
    pub fn set_checksums(&self, on: bool) {
        self.checksums.store(on, Ordering::Relaxed);
    }

    /// Whether files that are begun now will consist of groups.
    pub fn has_checksums(&self) -> bool {
        self.checksums.load(Ordering::Relaxed)
    }

    /// DEBUG AOF-FLUSH-SLEEP
    pub fn set_delay(&self, us: u64) {
        self.delay_us.store(us, Ordering::Relaxed);
    }

    /// Appends a unit of execution: `commands` are database and RESP bytes. A transaction is
    /// framed as such. The caller holds the locks of every shard the unit touched.
    pub fn append<'c>(
        &self,
        transaction: bool,
        commands: impl Iterator<Item = (u32, &'c [u8])>,
        now: UnixMs,
    ) -> LogOffset {
        let mut pending = self.pending.lock();
        let before = pending.bytes.len();
        if before == 0 && pending.grouped {
            pending.bytes.extend_from_slice(&group::PLACEHOLDER);
        }
        if self.stamps.load(Ordering::Relaxed) && pending.stamped != now.secs() {
            pending.stamped = now.secs();
            let stamp = format!("#TS:{}\r\n", now.secs());
            pending.bytes.extend_from_slice(stamp.as_bytes());
        }
        let Pending { bytes, framing, .. } = &mut *pending;
        let mut count = 0;
        framing.unit(bytes, transaction, commands.inspect(|_| count += 1));
        self.commands.fetch_add(count, Ordering::Relaxed);
        let added = (pending.bytes.len() - before) as u64;
        LogOffset(self.appended.fetch_add(added, Ordering::AcqRel) + added)
    }

    /// Everything appended so far.
    pub fn appended(&self) -> LogOffset {
        LogOffset(self.appended.load(Ordering::Acquire))
    }

    /// Everything the kernel has.
    pub fn written(&self) -> LogOffset {
        LogOffset(self.written.load(Ordering::Acquire))
    }

    /// Everything the disk has.
    pub fn synced(&self) -> LogOffset {
        LogOffset(self.synced.load(Ordering::Acquire))
    }

    /// Bytes of the present increment.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Commands of the present increment, but those that were there when it was opened.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Size and checksum of the present increment, if its checksum is known. Whoever holds the locks
    /// of all shards and has drained the journal knows that they are those of the whole file.
    pub fn seal(&self) -> Option<Seal> {
        self.end.lock().seal()
    }

    /// Syncs done since the start.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Whether a write or a sync has failed and not been made good.
    #[inline]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// What failed.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().clone()
    }

    fn note_latency(&self, took: Duration) {
        self.latencies.lock().add(took.as_nanos() as u64);
        self.latency_max_us.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// How long the disk took for a sync, microseconds: half and 99 of 100 were not longer than
    /// the first two, none than the third.
    pub fn sync_latencies(&self) -> [u64; 3] {
        let mut sum = Latencies::default();
        self.latencies.lock().add_to(&mut sum);
        let of = |percent| sum.percentile(percent) / 1000;
        [of(50.0), of(99.0), self.latency_max_us.load(Ordering::Relaxed)]
    }

    /// Hands everything pending to the kernel. Waits for whoever is doing so already.
    pub fn flush(&self) {
        self.flush_locked(&mut self.end.lock());
    }

    /// The same unless `upto` is written already.
    #[inline]
    pub fn flush_to(&self, upto: LogOffset) {
        if self.written() < upto {
            let mut end = self.end.lock();
            if self.written() < upto {
                self.flush_locked(&mut end);
            }
        }
    }

    fn flush_locked(&self, end: &mut End) {
        {
            let mut pending = self.pending.lock();
            // Of the file that is written to: what is before it counts as nothing.
            let unsynced = self.written().0.saturating_sub(self.synced().0);
            group::seal(&mut pending.bytes, end.size.saturating_sub(unsynced));
            if end.unwritten.is_empty() {
                std::mem::swap(&mut pending.bytes, &mut end.spare);
                std::mem::swap(&mut end.unwritten, &mut end.spare);
            } else {
                end.unwritten.append(&mut pending.bytes);
            }
        }
        if end.unwritten.is_empty() {
            return;
        }
        let delay_us = self.delay_us.load(Ordering::Relaxed);
        if delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
        }
        if let Some(file) = end.file.clone()
            && let Err((reached, error)) = file.append(&end.unwritten)
        {
            self.cut_back(end, &file, reached);
            self.fail(&error);
            return;
        }
        let count = end.unwritten.len() as u64;
        end.size += count;
        end.added.update(&end.unwritten);
        end.unwritten.clear();
        if end.unwritten.capacity() > SPARE_BYTES_MAX {
            end.unwritten = Vec::new();
        }
        std::mem::swap(&mut end.unwritten, &mut end.spare);
        self.size.store(end.size, Ordering::Relaxed);
        if self.unsynced_since.load(Ordering::Relaxed) == 0 {
            self.unsynced_since.store(UnixMs::now().0, Ordering::Relaxed);
        }
        self.written.fetch_add(count, Ordering::AcqRel);
        if end.file.is_none() {
            self.synced.store(self.written().0, Ordering::Release);
        }
        self.recover();
        self.wake(Durable::Written, self.written());
        if self.policy() == SyncPolicy::Always && end.file.is_some() {
            self.ask_sync(self.written());
        }
    }

    /// A failed write leaves whole records only, or remembers how much of one is in the file.
    fn cut_back(&self, end: &mut End, file: &DiskFile, reached: usize) {
        if reached == 0 {
            return;
        }
        if file.set_len(end.size).is_err() {
            // The next attempt goes on in the middle of the record.
            end.added.update(&end.unwritten[..reached]);
            end.unwritten.drain(..reached);
            end.size += reached as u64;
            self.written.fetch_add(reached as u64, Ordering::AcqRel);
        }
    }

    fn fail(&self, error: &FsError) {
        let what = error.to_string();
        let mut failure = self.failure.lock();
        if failure.as_ref().is_none_or(|failure| failure.what != what) {
            tracing::error!("Error writing to the append-only file: {what}");
            let since = failure.as_ref().map_or(UnixMs::now(), |failure| failure.since);
            *failure = Some(Failure { what, cause: error.cause(), since });
        }
        self.failing.store(true, Ordering::Release);
    }

    fn recover(&self) {
        if self.is_tainted() {
            return;
        }
        if self.failing.swap(false, Ordering::AcqRel) {
            *self.failure.lock() = None;
            tracing::warn!("AOF write error looks solved. The server can write again.");
        }
    }

    /// Ready once `upto` is as durable as asked. Wakes the task when that changes.
    pub fn poll_durable(
        &self,
        upto: LogOffset,
        durable: Durable,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let reached = |journal: &Journal| match durable {
            Durable::Written => journal.written(),
            Durable::Synced => journal.synced(),
        };
        if reached(self) >= upto {
            return Poll::Ready(());
        }
        self.waiting.lock().push((durable, upto, context.waker().clone()));
        // It may have been reached between the look and the registration.
        if reached(self) >= upto { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake(&self, durable: Durable, upto: LogOffset) {
        self.waiting.lock().retain(|(wanted, offset, waker)| {
            let due = *wanted == durable && *offset <= upto;
            if due {
                waker.wake_by_ref();
            }
            !due
        });
    }

    /// What replies wait for `now` under a policy, or the present one. Under `everysec` that is the kernel,
    /// unless the disk has fallen so far behind that more than two seconds could be lost.
    pub fn needed(&self, policy: Option<SyncPolicy>, now: UnixMs) -> Durable {
        match policy.unwrap_or(self.policy()) {
            SyncPolicy::Always => Durable::Synced,
            SyncPolicy::EverySec if self.is_late(now) => Durable::Synced,
            SyncPolicy::EverySec | SyncPolicy::No => Durable::Written,
        }
    }

    fn is_late(&self, now: UnixMs) -> bool {
        let since = self.unsynced_since.load(Ordering::Relaxed);
        since != 0 && !self.paused.load(Ordering::Relaxed) && now.0.saturating_sub(since) > LATE_MS
    }

    /// Whether a sync has failed, so that only a rewrite can make the data durable.
    pub fn is_tainted(&self) -> bool {
        self.tainted.lock().is_some()
    }

    /// A new base holds everything up to `upto`, durably.
    pub fn superseded(&self, upto: LogOffset) {
        {
            let mut tainted = self.tainted.lock();
            if tainted.is_some_and(|until| until <= upto) {
                *tainted = None;
                self.end.lock().retired.clear();
            }
        }
        if !self.is_tainted() {
            self.advance_synced(upto);
            self.recover();
        }
    }

    /// Asks the file thread to sync up to `upto`.
    pub fn ask_sync(&self, upto: LogOffset) {
        let mut wanted = self.wanted.lock();
        if *wanted < upto {
            *wanted = upto;
            self.bell.notify_one();
            self.overlap_bell.notify_one();
        }
    }

    /// The file thread: syncs when asked, and each second under `everysec`. Ends when `stop` is
    /// set; the last sync is the caller's.
    pub fn run_syncs(&self, stop: &AtomicBool, paused: impl Fn() -> bool) {
        let mut last = clock::steady();
        while !stop.load(Ordering::Acquire) {
            {
                let mut wanted = self.wanted.lock();
                if *wanted <= self.synced() {
                    self.bell.wait_for(&mut wanted, SYNC_WAIT);
                }
            }
            self.paused.store(paused(), Ordering::Relaxed);
            if self.is_tainted() {
                std::thread::sleep(SYNC_WAIT);
                continue;
            }
            let asked = *self.wanted.lock() > self.synced();
            let due = last.elapsed() >= SYNC_INTERVAL && self.written() > self.synced();
            if self.is_failing() {
                self.flush();
            }
            if asked
                || (due
                    && self.policy() == SyncPolicy::EverySec
                    && !self.paused.load(Ordering::Relaxed))
            {
                last = clock::steady();
                self.sync();
            }
        }
    }

    /// A thread beside the file thread's: while the disk takes long for a sync, what has been
    /// written since need not wait for its end. Ends when `stop` is set.
    pub fn run_overlapping_syncs(&self, stop: &AtomicBool) {
        let mut own: Option<(Arc<DiskFile>, DiskFile)> = None;
        while !stop.load(Ordering::Acquire) {
            let rest = {
                let mut wanted = self.wanted.lock();
                let rest = self.rest_before_overlap(*wanted);
                if rest.is_none() {
                    self.overlap_bell.wait_for(&mut wanted, SYNC_INTERVAL);
                }
                rest
            };
            let Some(rest) = rest else { continue };
            if !rest.is_zero() {
                // Asking again would not make it shorter.
                std::thread::sleep(rest);
            } else if let Some((file, upto)) = self.begin_overlap() {
                if own.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, &file)) {
                    own = file.reopen().ok().map(|opened| (file, opened));
                }
                if let Some((_, opened)) = &own {
                    self.sync_file(opened, upto, upto);
                }
            }
        }
    }

    /// How long to wait before a sync may be begun beside the one under way; none when there is
    /// none, or nothing for it to do.
    fn rest_before_overlap(&self, wanted: LogOffset) -> Option<Duration> {
        let begun = self.begun.lock();
        let since = begun.at.filter(|_| wanted > begun.upto)?;
        Some(OVERLAP_AFTER.saturating_sub(since.elapsed()))
    }

    fn begin_overlap(&self) -> Option<(Arc<DiskFile>, LogOffset)> {
        if self.is_tainted() {
            return None;
        }
        let end = self.end.lock();
        // What was switched away from is the file thread's.
        let file = end.file.clone().filter(|_| end.retired.is_empty())?;
        let upto = self.written();
        let mut begun = self.begun.lock();
        if upto <= begun.upto {
            return None;
        }
        *begun = Begun { upto, at: Some(clock::steady()) };
        Some((file, upto))
    }

    /// Syncs one file; says whether that worked. Then everything up to `covered` is durable;
    /// otherwise nothing up to `owed` may be called so.
    fn sync_file(&self, file: &DiskFile, covered: LogOffset, owed: LogOffset) -> bool {
        let before = clock::steady();
        let synced = file.sync_data();
        self.note_latency(before.elapsed());
        let Err(error) = synced else {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            if !self.is_tainted() {
                self.advance_synced(covered);
            }
            return true;
        };
        // Switched off meanwhile, or written anew: nothing is owed any more.
        let replaced = self.replaced.lock().as_deref() == Some(file.path());
        if self.is_active() && !replaced {
            self.taint(owed, &error);
        }
        false
    }

    fn taint(&self, upto: LogOffset, error: &FsError) {
        {
            let mut tainted = self.tainted.lock();
            *tainted = Some(tainted.map_or(upto, |before| before.max(upto)));
        }
        self.fail(error);
        tracing::error!(
            "What the append-only file could not sync may be lost by the kernel: writes are refused \
             until it is in another file"
        );
    }

    /// Makes everything written so far durable; says whether that worked. A failure is final for
    /// what was written: the kernel may have dropped it, and a second sync would report success
    /// over lost data.
    pub fn sync(&self) -> bool {
        if self.is_tainted() {
            return false;
        }
        let began = UnixMs::now().0;
        let (file, upto, retired) = {
            let end = self.end.lock();
            // They stay listed until they are synced: nothing behind them is durable before that.
            (end.file.clone(), self.written(), end.retired.clone())
        };
        {
            let mut begun = self.begun.lock();
            let upto = begun.upto.max(upto);
            *begun = Begun { upto, at: Some(clock::steady()) };
        }
        for (file, _) in &retired {
            // What it holds is before what any other file holds.
            let covered = LogOffset::default();
            if !self.sync_file(file, covered, upto) {
                return false;
            }
        }
        if !retired.is_empty() {
            let is_synced =
                |file: &Arc<DiskFile>| retired.iter().any(|(of, _)| Arc::ptr_eq(of, file));
            self.end.lock().retired.retain(|(file, _)| !is_synced(file));
        }
        if let Some(file) = &file
            && !self.sync_file(file, upto, upto)
        {
            return false;
        }
        self.begun.lock().at = None;
        if self.is_tainted() {
            return false;
        }
        let clean = self.written() == upto;
        self.unsynced_since.store(if clean { 0 } else { began }, Ordering::Relaxed);
        self.advance_synced(upto);
        true
    }

    fn advance_synced(&self, upto: LogOffset) {
        self.synced.fetch_max(upto.0, Ordering::AcqRel);
        self.wake(Durable::Synced, upto);
    }

    /// Puts a comment at the end of the file, and syncs it: nothing follows. What is pending must
    /// be written.
    pub fn end_with(&self, comment: &[u8]) {
        let mut end = self.end.lock();
        let Some(file) = end.file.clone().filter(|_| end.unwritten.is_empty()) else { return };
        if file.append(comment).and_then(|()| file.sync_data().map_err(|error| (0, error))).is_ok()
        {
            end.size += comment.len() as u64;
            end.added.update(comment);
        } else {
            // A comment that is cut off is a damaged end.
            let _ = file.set_len(end.size);
        }
    }

    /// Writes everything pending; says whether the file holds all of it now. Whoever holds the
    /// locks of all shards then knows that the file ends there.
    pub fn drain(&self) -> bool {
        self.flush();
        self.written() == self.appended()
    }

    /// Goes on in another file from this moment. The caller holds the locks of all shards, so
    /// nothing is appended meanwhile; everything before is in the old file. `None` ends writing.
    /// Returns where the old file ends.
    ///
    /// What could not be written to the old file never reaches the new one: there it would be
    /// replayed on top of a base that holds it already. Where the old file counts, `drain` comes
    /// first.
    ///
    /// `size` and `sum` are those of the new file so far; without a sum it will have none.
    pub fn switch(&self, file: Option<Arc<DiskFile>>, size: u64, sum: Option<u64>) -> LogOffset {
        let mut end = self.end.lock();
        self.flush_locked(&mut end);
        if !end.unwritten.is_empty() {
            self.written.fetch_add(end.unwritten.len() as u64, Ordering::AcqRel);
            end.unwritten.clear();
            self.wake(Durable::Written, self.written());
            self.recover();
        }
        if let Some(old) = end.file.take() {
            let upto = self.written();
            end.retired.push((old, upto));
        }
        self.active.store(file.is_some(), Ordering::Release);
        let grouped = file.is_some() && self.checksums.load(Ordering::Relaxed);
        end.file = file;
        end.size = size;
        end.opened = sum.map(|sum| (sum, size));
        end.added = Crc64::xz();
        self.size.store(size, Ordering::Relaxed);
        self.commands.store(0, Ordering::Relaxed);
        // Whoever reads the new file alone must learn the database, and the time.
        let mut pending = self.pending.lock();
        pending.framing.restart();
        pending.stamped = 0;
        pending.grouped = grouped;
        drop(pending);
        self.appended()
    }

    /// After a failed sync: goes on in a file that holds all that the present one was given, and is
    /// synced. `write` makes it, and may fail; it is told what the present file was given. Nothing is
    /// written meanwhile.
    pub fn write_anew(
        &self,
        write: impl FnOnce(Seal) -> Result<DiskFile, String>,
    ) -> Result<(), String> {
        let mut end = self.end.lock();
        self.flush_locked(&mut end);
        if !end.unwritten.is_empty() {
            return Err("it cannot be written to its end".to_owned());
        }
        // What those hold comes before, and is not durable either.
        if !end.retired.is_empty() {
            return Err("the one before it is not synced".to_owned());
        }
        let seal = end.seal().ok_or("its checksum is not known")?;
        let fresh = write(seal)?;
        let old = end.file.replace(Arc::new(fresh));
        *self.replaced.lock() = old.map(|old| old.path().to_owned());
        *self.tainted.lock() = None;
        self.unsynced_since.store(0, Ordering::Relaxed);
        self.advance_synced(self.written());
        self.recover();
        Ok(())
    }

    /// Ends writing: nothing more is recorded, and nothing is owed for what was. The caller holds
    /// the locks of all shards.
    pub fn close(&self) {
        let upto = self.switch(None, 0, None);
        self.sync();
        *self.tainted.lock() = None;
        self.end.lock().retired.clear();
        self.advance_synced(upto);
        self.recover();
    }

    /// The file that is written to.
    pub fn file(&self) -> Option<Arc<DiskFile>> {
        self.end.lock().file.clone()
    }
}

/// A buffer larger than this is given back after it was written.
const SPARE_BYTES_MAX: usize = 1 << 20;
/// How old the oldest unsynced byte may get under `everysec` before writers wait for the disk.
const LATE_MS: u64 = 2000;
/// How often the file thread looks without being asked.
const SYNC_WAIT: Duration = Duration::from_millis(100);
/// How long a sync may take before another is begun beside it.
const OVERLAP_AFTER: Duration = Duration::from_millis(1);
/// `everysec`.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
impl Journal {
    /// Keeps what is appended in memory.
    pub fn keep_for_test(&self) {
        self.active.store(true, Ordering::Release);
    }

    /// Takes what was appended.
    pub fn take_for_test(&self) -> Vec<u8> {
        std::mem::take(&mut self.pending.lock().bytes)
    }
}

#[cfg(test)]
mod tests;
