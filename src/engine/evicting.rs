//! Eviction: when more memory is used than `maxmemory` allows, keys that are worth least go first.
//!
//! As Redis does, worth is estimated by sampling: a few keys are looked at each time, and the best
//! candidates of all looks are kept in a small pool. One thread evicts at a time; the others'
//! commands go on meanwhile, unless nothing could be evicted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock::{self, Steady, UnixMs};
use crate::base::hash::hash_bytes;
use crate::base::rng;
use crate::config::{Config, MaxmemoryPolicy};
use crate::ds::dict::Keyed;
use crate::engine::core::{Attention, Core, Scratch, Worker};
use crate::engine::evicting_clients;
use crate::engine::pause;
use crate::engine::settle;
use crate::keyspace::effects::DbKey;
use crate::keyspace::entry::Entry;
use crate::keyspace::event::Event;
use crate::keyspace::lfu;
use crate::keyspace::lock::{SHARDS, shard_of};
use crate::keyspace::shard::Db;
use crate::keyspace::view::DbView;
use crate::persist::journal::LogOffset;
use crate::stats::memory::Memory;

/// Candidates kept from one look to the next.
const POOL_KEYS: usize = 16;
/// Keys evicted between two readings of the clock.
const KEYS_A_LOOK: usize = 16;
/// Buckets of a table searched for keys with a deadline before the next table is tried.
const BUCKETS_MAX: usize = 4096;

/// How far eviction is; part of the server's state.
#[derive(Default)]
pub struct Eviction {
    pool: Mutex<Pool>,
    /// Keys evicted since the start.
    pub keys: AtomicU64,
    /// Milliseconds spent above the limit, and since when it is passed, for INFO.
    pub exceeded_ms: AtomicU64,
    /// Milliseconds since the process began when the limit was passed; 0 while it is not.
    pub exceeding_since: AtomicU64,
}

#[derive(Default)]
struct Pool {
    /// The policy the scores belong to.
    policy: Option<MaxmemoryPolicy>,
    /// Worth least first.
    candidates: Vec<Candidate>,
}

struct Candidate {
    /// Higher goes first.
    score: u64,
    db: u32,
    key: Box<[u8]>,
}

/// How a policy chooses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Idle,
    Frequency,
    Deadline,
    Chance,
}

/// What a policy asks for: how it chooses, and whether among keys with a deadline alone.
fn rule(policy: MaxmemoryPolicy) -> Option<(By, bool)> {
    Some(match policy {
        MaxmemoryPolicy::Noeviction => return None,
        MaxmemoryPolicy::AllkeysLru => (By::Idle, false),
        MaxmemoryPolicy::VolatileLru => (By::Idle, true),
        MaxmemoryPolicy::AllkeysLfu => (By::Frequency, false),
        MaxmemoryPolicy::VolatileLfu => (By::Frequency, true),
        MaxmemoryPolicy::AllkeysRandom => (By::Chance, false),
        MaxmemoryPolicy::VolatileRandom => (By::Chance, true),
        MaxmemoryPolicy::VolatileTtl => (By::Deadline, true),
    })
}

/// How long one command may be held up (`maxmemory-eviction-tenacity`); `None` is without limit.
fn budget(tenacity: i32) -> Option<Duration> {
    match tenacity {
        ..=10 => Some(Duration::from_micros(50 * u64::from(tenacity.max(0).unsigned_abs()))),
        11..100 => Some(Duration::from_micros((500.0 * 1.15_f64.powi(tenacity - 10)) as u64)),
        _ => None,
    }
}

/// Evicts until memory is below `maxmemory`, nothing is left, or the time is up. Afterwards
/// [`Attention::OUT_OF_MEMORY`] says whether commands that need memory have to be refused.
/// The caller holds no locks.
pub fn run(worker: &Worker) {
    let core = worker.core;
    if !core.is_out_of_memory(&worker.asked) {
        return;
    }
    let config = core.config();
    // What large clients give back is better than keys.
    evicting_clients::run(core, &config);
    if core.has_attention(Attention::PAUSED) && pause::current(core, UnixMs::now()).is_some() {
        // Nothing changes now, and nothing is refused for it.
        return core.set_attention(Attention::OUT_OF_MEMORY, false);
    }
    let Some((by, mortal)) = rule(config.maxmemory_policy) else { return };
    let Some(mut pool) = core.eviction.pool.try_lock() else {
        // Another thread is at it.
        return core.set_attention(Attention::OUT_OF_MEMORY, false);
    };
    if pool.policy.replace(config.maxmemory_policy) != Some(config.maxmemory_policy) {
        pool.candidates.clear();
    }
    let began = clock::steady();
    let deadline = budget(config.maxmemory_eviction_tenacity).map(|budget| began + budget);
    let looker = Looker { core, config: &config, by, mortal, now: UnixMs::now() };
    let left = looker.free(worker, &mut pool, deadline);
    core.watch_memory(config.maxmemory);
    if left {
        // There was more to evict, only no time for it: what follows may still run.
        core.set_attention(Attention::OUT_OF_MEMORY, false);
    }
    core.stats.latency.note("eviction-cycle", began.elapsed());
}

struct Looker<'l> {
    core: &'static Core,
    config: &'l Config,
    by: By,
    mortal: bool,
    now: UnixMs,
}

impl Looker<'_> {
    /// Says whether it ended for lack of time rather than for lack of keys.
    fn free(&self, worker: &Worker, pool: &mut Pool, deadline: Option<Steady>) -> bool {
        loop {
            let Some(wanted) =
                self.used().checked_sub(self.config.maxmemory).filter(|more| *more > 0)
            else {
                return true;
            };
            let mut freed = 0;
            for _ in 0..KEYS_A_LOOK {
                match self.evict_one(worker, pool) {
                    Some(bytes) => freed += bytes as u64,
                    None => return false,
                }
                if freed >= wanted {
                    break;
                }
            }
            if deadline.is_some_and(|deadline| clock::steady() >= deadline) {
                return true;
            }
        }
    }

    /// Memory in use that evicting can make less. Who caches keys is told of each that goes, and
    /// what it has not read yet must not make more of them go.
    fn used(&self) -> u64 {
        let used = self.core.memory_counted(Memory::allocated());
        match self.core.has_attention(Attention::TRACKED) {
            true => used.saturating_sub(self.core.tracking.unread()),
            false => used,
        }
    }

    /// Evicts the key worth least of those looked at; its bytes, or nothing when there is none.
    fn evict_one(&self, worker: &Worker, pool: &mut Pool) -> Option<usize> {
        // A candidate may have gone meanwhile; looking anew always finds one, if there is any.
        for _ in 0..SHARDS {
            if self.by == By::Chance {
                pool.candidates.clear();
            }
            self.look(pool);
            let candidate = pool.candidates.pop()?;
            if let Some(bytes) = self.evict(worker, &candidate) {
                return Some(bytes);
            }
        }
        None
    }

    /// Looks at a few keys, by chance, and keeps the best candidates. Shards without any are passed
    /// over.
    fn look(&self, pool: &mut Pool) {
        let samples = usize::try_from(self.config.maxmemory_samples).unwrap_or(1).max(1);
        let first = rng::below(SHARDS as u64) as usize;
        let mut seen = 0;
        for step in 0..SHARDS {
            let hold = self.core.keyspace.lock_one((first + step) % SHARDS);
            for (index, db) in hold.shard((first + step) % SHARDS).dbs() {
                seen += self.sample(db, samples, &mut |entry| {
                    pool.offer(self.score(entry), index, entry.key());
                });
            }
            if seen >= samples {
                return;
            }
        }
    }

    /// Shows at least `count` entries of a table that may be evicted, or all; says how many.
    fn sample(&self, db: &Db, count: usize, show: &mut dyn FnMut(&Entry)) -> usize {
        let eligible = if self.mortal { db.with_deadline } else { db.keys.len() };
        if eligible == 0 {
            return 0;
        }
        let mut seen = 0;
        let mut cursor = rng::below(u64::MAX);
        for _ in 0..BUCKETS_MAX {
            cursor = db.keys.scan(cursor, &mut |entry| {
                // All of a bucket: those at its beginning are the oldest.
                if !self.mortal || entry.has_deadline() {
                    seen += 1;
                    show(entry);
                }
            });
            if seen >= count.min(eligible) {
                break;
            }
        }
        seen
    }

    fn score(&self, entry: &Entry) -> u64 {
        match self.by {
            By::Idle => {
                let now = self.now.secs() as u32 & 0x00ff_ffff;
                u64::from(now.wrapping_sub(entry.access()) & 0x00ff_ffff)
            }
            By::Frequency => {
                let decay = self.config.lfu_decay_time.unsigned_abs();
                255 - u64::from(lfu::counter(entry.access(), self.now, decay))
            }
            By::Deadline => u64::MAX - entry.deadline().map_or(u64::MAX, |at| at.0),
            By::Chance => rng::below(u64::MAX),
        }
    }

    /// Removes a candidate that is still there and still may go.
    fn evict(&self, worker: &Worker, candidate: &Candidate) -> Option<usize> {
        let core = self.core;
        let began = clock::steady();
        let mut env = core.env();
        let mut hold = core.keyspace.lock_one(shard_of(hash_bytes(&candidate.key)));
        let mut scratch = Scratch::default();
        scratch.record.begin(core.persist.wants_records());
        // Found and removed whatever its deadline.
        env.expires = false;
        let mut view = DbView::new(&mut hold, &env, &mut scratch.fx, candidate.db);
        let entry = view.peek_entry(&candidate.key)?;
        if self.mortal && !entry.has_deadline() {
            return None;
        }
        let bytes = entry.memory_bytes() + size_of::<usize>();
        view.delete(&candidate.key, Event::EVICTED);
        let word: &[u8] = if self.config.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" };
        let at = DbKey { db: candidate.db, key: candidate.key.clone() };
        scratch.record.removed(&[at], word);
        // Evictions do not bring a snapshot nearer.
        scratch.fx.dirty = 0;
        let mut wrote = LogOffset::default();
        let left = settle::settle(worker, &env, &mut scratch, &mut hold, &mut wrote);
        drop(hold);
        settle::serve_left(worker, left);
        core.eviction.keys.fetch_add(1, Ordering::Relaxed);
        core.stats.latency.note("eviction-del", began.elapsed());
        Some(bytes)
    }
}

impl Pool {
    /// Keeps a candidate, if it is better than the worst that is kept.
    fn offer(&mut self, score: u64, db: u32, key: &[u8]) {
        let known = |other: &Candidate| other.db == db && *other.key == *key;
        if self.candidates.iter().any(known) {
            return;
        }
        let at = self.candidates.partition_point(|other| other.score < score);
        if self.candidates.len() == POOL_KEYS {
            if at == 0 {
                return;
            }
            self.candidates.remove(0);
            self.candidates.insert(at - 1, Candidate { score, db, key: key.into() });
        } else {
            self.candidates.insert(at, Candidate { score, db, key: key.into() });
        }
    }
}

/// What INFO tells: milliseconds spent above the limit in all, and the present time above it.
pub fn exceeded(core: &Core) -> (u64, u64) {
    let since = core.eviction.exceeding_since.load(Ordering::Relaxed);
    let now = core.started_steady.elapsed().as_millis() as u64;
    let current = if since == 0 { 0 } else { now.saturating_sub(since) };
    (core.eviction.exceeded_ms.load(Ordering::Relaxed) + current, current)
}

/// Notes whether memory is above the limit at this moment.
pub fn note(core: &Core, above: bool) {
    let since = &core.eviction.exceeding_since;
    let now = core.started_steady.elapsed().as_millis() as u64;
    if above {
        let _ = since.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
    } else {
        let from = since.swap(0, Ordering::Relaxed);
        if from != 0 {
            core.eviction.exceeded_ms.fetch_add(now.saturating_sub(from), Ordering::Relaxed);
        }
    }
}
