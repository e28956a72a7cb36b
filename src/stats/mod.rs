//! Counters of the server, written by one thread each and summed when asked.

pub mod histogram;
pub mod latency;
pub mod memory;
pub mod rates;
pub mod slowlog;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// A counter that one thread writes and any thread reads.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the thread that owns the counter may call it.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Makes it at least `value`; only the thread that owns the counter may call it.
    pub fn raise(&self, value: u64) {
        if value > self.get() {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Back to zero; an addition under way may win.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What INFO commandstats tells of one command.
#[derive(Default)]
pub struct CommandCounters {
    /// Executions.
    pub calls: Counter,
    /// Nanoseconds spent executing.
    pub nanos: Counter,
    /// Calls refused before execution.
    pub rejected: Counter,
    /// Executions that answered an error.
    pub failed: Counter,
    /// How long they took.
    pub latencies: histogram::Histogram,
}

/// The counters of one thread.
pub struct ThreadStats {
    /// By the command's index in the command table.
    pub commands: Box<[CommandCounters]>,
    /// Commands processed.
    pub processed: Counter,
    /// Keys read and found.
    pub hits: Counter,
    /// Keys read and not found.
    pub misses: Counter,
    /// Keys removed because their deadline had passed.
    pub expired: Counter,
    /// Fields of hashes removed because their deadlines had passed.
    pub expired_fields: Counter,
    /// Changes to the keyspace since the process began.
    pub dirty: Counter,
    /// Bytes read from clients.
    pub net_in: Counter,
    /// Bytes written to clients.
    pub net_out: Counter,
    /// Batches of requests executed.
    pub reads: Counter,
    /// Writes to clients.
    pub writes: Counter,
    /// Error replies.
    pub errors: Counter,
    /// Nanoseconds spent in batches and rounds.
    pub busy: Counter,
    /// The longest of them.
    pub busy_max: Counter,
    /// Most commands in one of them.
    pub commands_max: Counter,
    /// Connections closed because of `client-query-buffer-limit`.
    pub query_limit: Counter,
    /// Connections closed because of `client-output-buffer-limit`.
    pub output_limit: Counter,
    /// Batches of replies that waited for the disk.
    pub disk_waits: Counter,
}

impl ThreadStats {
    /// Counts a turn of work.
    pub fn turn(&self, took: Duration, commands: usize) {
        let nanos = took.as_nanos() as u64;
        self.busy.add(nanos);
        self.busy_max.raise(nanos);
        self.commands_max.raise(commands as u64);
    }
}

/// The counters of the process.
#[derive(Default)]
pub struct Stats {
    threads: Mutex<Vec<&'static ThreadStats>>,
    errors: Mutex<BTreeMap<String, u64>>,
    /// SLOWLOG.
    pub slowlog: slowlog::SlowLog,
    /// LATENCY.
    pub latency: latency::LatencyMonitor,
    /// Whether latencies are counted (`latency-tracking`).
    pub latency_tracking: AtomicBool,
    /// Microseconds the cron has worked.
    pub cron_micros: AtomicU64,
    /// What happens per second.
    pub rates: rates::Rates,
}

/// Error codes kept apart at the most; Redis stops there too.
const ERROR_CODES_MAX: usize = 128;

impl Stats {
    /// Counters for a new thread, of a command table with `commands` rows.
    pub fn register(&self, commands: usize) -> &'static ThreadStats {
        let stats: &'static ThreadStats = Box::leak(Box::new(ThreadStats {
            commands: (0..commands).map(|_| CommandCounters::default()).collect(),
            processed: Counter::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            expired: Counter::default(),
            expired_fields: Counter::default(),
            dirty: Counter::default(),
            net_in: Counter::default(),
            net_out: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
            errors: Counter::default(),
            busy: Counter::default(),
            busy_max: Counter::default(),
            commands_max: Counter::default(),
            query_limit: Counter::default(),
            output_limit: Counter::default(),
            disk_waits: Counter::default(),
        }));
        self.threads.lock().push(stats);
        stats
    }

    /// The sum of a counter over all threads.
    pub fn sum(&self, counter: impl Fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.lock().iter().map(|stats| counter(stats).get()).fold(0, u64::wrapping_add)
    }

    /// The highest value of a counter on any thread.
    pub fn max(&self, counter: impl Fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.lock().iter().map(|stats| counter(stats).get()).max().unwrap_or(0)
    }

    /// Runs `with` on the counters of every thread.
    pub fn each(&self, mut with: impl FnMut(&ThreadStats)) {
        self.threads.lock().iter().for_each(|stats| with(stats));
    }

    /// Counts an error reply by its code.
    pub fn count_error(&self, code: &str) {
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// Error replies by code.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// CONFIG RESETSTAT. Changes to the keyspace are no statistic and stay.
    pub fn reset(&self) {
        self.errors.lock().clear();
        self.each(|stats| {
            for command in &stats.commands {
                command.calls.reset();
                command.nanos.reset();
                command.rejected.reset();
                command.failed.reset();
                command.latencies.reset();
            }
            let counters = [
                &stats.processed,
                &stats.hits,
                &stats.misses,
                &stats.expired,
                &stats.expired_fields,
                &stats.net_in,
                &stats.net_out,
                &stats.reads,
                &stats.writes,
                &stats.errors,
                &stats.busy,
                &stats.busy_max,
                &stats.commands_max,
                &stats.query_limit,
                &stats.output_limit,
            ];
            counters.iter().for_each(|counter| counter.reset());
        });
    }
}
