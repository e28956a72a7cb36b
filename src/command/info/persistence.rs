//! INFO persistence.

use std::sync::atomic::Ordering;

use crate::base::clock::UnixMs;
use crate::command::info::Fields;
use crate::engine::core::Core;
use crate::engine::saving;
use crate::persist::savepoint::LastSave;
use crate::persist::state::{AofState, Book, Child, LastEnd, Work};

/// Writes the section.
pub fn persistence(core: &Core, out: &mut Fields) {
    let persist = &core.persist;
    let book = persist.book.lock().clone();
    let child = persist.child.lock().clone();
    let state = persist.aof.lock().state;
    let loading = persist.loading.active.load(Ordering::Relaxed);
    out.put("loading", u8::from(loading));
    out.put("async_loading", 0);
    child_progress(core, child.as_ref(), out);
    snapshots(core, &book, child.as_ref(), out);
    rewrites(core, &book, child.as_ref(), state, out);
    out.put("module_fork_in_progress", 0);
    out.put("module_fork_last_cow_size", 0);
    out.put(
        "last_run_end",
        match book.last_end {
            LastEnd::Unknown => "unknown",
            LastEnd::Orderly(_) => "orderly",
            LastEnd::Abrupt => "abrupt",
        },
    );
    out.put("last_verified_snapshot_time", book.verified_at.map_or(0, UnixMs::secs));
    if state != AofState::Off {
        append_only_file(core, &book, out);
    }
    if loading {
        loading_progress(core, out);
    }
}

fn child_progress(core: &Core, child: Option<&Child>, out: &mut Fields) {
    let progress = &core.persist.progress;
    let read = |counter: &std::sync::atomic::AtomicU64| match child {
        Some(_) => counter.load(Ordering::Relaxed),
        None => 0,
    };
    let (keys, total) = (read(&progress.keys), read(&progress.keys_total));
    out.put("current_cow_peak", read(&progress.cow_peak));
    out.put("current_cow_size", read(&progress.cow));
    let age = child.map_or(0, |child| child.started.elapsed().as_secs());
    out.put("current_cow_size_age", if read(&progress.cow) > 0 { age } else { 0 });
    let share = if total == 0 { 0.0 } else { keys as f64 / total as f64 * 100.0 };
    out.put("current_fork_perc", format_args!("{share:.2}"));
    out.put("current_save_keys_processed", keys);
    out.put("current_save_keys_total", total);
}

/// Seconds a child of that kind has been at work; -1 without one.
fn running_secs(child: Option<&Child>, work: &Work) -> i64 {
    let child = child.filter(|child| child.work == *work);
    child.map_or(-1, |child| child.started.elapsed().as_secs().cast_signed())
}

fn snapshots(core: &Core, book: &Book, child: Option<&Child>, out: &mut Fields) {
    // What replicas begin with is a snapshot too.
    let running = running_secs(child, &Work::Save).max(running_secs(child, &Work::Sync));
    out.put("rdb_changes_since_last_save", saving::changes(core));
    out.put("rdb_bgsave_in_progress", u8::from(running >= 0));
    out.put("rdb_last_save_time", book.saved_at.secs());
    let status = if book.last_save == LastSave::Ok { "ok" } else { "err" };
    out.put("rdb_last_bgsave_status", status);
    out.put("rdb_last_bgsave_time_sec", book.save_secs);
    out.put("rdb_current_bgsave_time_sec", running);
    out.put("rdb_saves", book.saves);
    out.put("rdb_last_cow_size", book.save_cow);
    out.put("rdb_last_load_keys_expired", book.loaded_keys.0);
    out.put("rdb_last_load_keys_loaded", book.loaded_keys.1);
}

fn rewrites(core: &Core, book: &Book, child: Option<&Child>, state: AofState, out: &mut Fields) {
    let running = running_secs(child, &Work::Rewrite);
    out.put("aof_enabled", u8::from(state != AofState::Off));
    out.put("aof_rewrite_in_progress", u8::from(running >= 0));
    out.put("aof_rewrite_scheduled", u8::from(book.rewrite_scheduled));
    out.put("aof_last_rewrite_time_sec", book.rewrite_secs);
    out.put("aof_current_rewrite_time_sec", running);
    out.put("aof_last_bgrewrite_status", if book.rewrite_ok { "ok" } else { "err" });
    out.put("aof_rewrites", book.rewrites);
    out.put("aof_rewrites_consecutive_failures", book.rewrite_limit.failures());
    let failing = core.persist.journal.is_failing();
    out.put("aof_last_write_status", if failing { "err" } else { "ok" });
    out.put("aof_last_cow_size", book.rewrite_cow);
}

/// Fields that are shown only with an append-only file.
fn append_only_file(core: &Core, book: &Book, out: &mut Fields) {
    let journal = &core.persist.journal;
    let (appended, written) = (journal.appended().0, journal.written().0);
    out.put("aof_current_size", core.persist.aof_size());
    out.put("aof_base_size", core.persist.aof.lock().size_at_rewrite);
    out.put("aof_pending_rewrite", u8::from(book.rewrite_scheduled));
    out.put("aof_buffer_length", appended.saturating_sub(written));
    out.put("aof_pending_bio_fsync", u8::from(journal.synced() < journal.written()));
    out.put("aof_delayed_fsync", 0);
    out.put("aof_rebases", book.rebases);
    let seconds = core.persist.replay_seconds();
    out.put("aof_replay_seconds_estimate", format_args!("{seconds:.3}"));
    ledger(core, out);
    if let Some(recovery) = &book.recovery {
        out.put("aof_last_recovery_time", recovery.at.secs());
        out.put("aof_last_recovery_bytes", recovery.bytes);
        out.put("aof_last_recovery_commands", recovery.commands);
        out.put("aof_last_recovery_file", recovery.file.display());
    }
}

/// What was promised and what is kept: offsets in the stream of records, and the disk's times.
fn ledger(core: &Core, out: &mut Fields) {
    let journal = &core.persist.journal;
    let (appended, written, synced) = (journal.appended(), journal.written(), journal.synced());
    out.put("aof_appended_offset", appended.0);
    out.put("aof_written_offset", written.0);
    out.put("aof_durable_offset", synced.0);
    // What is written may be acknowledged, unless the reply waits for the disk.
    out.put("aof_not_durable_bytes", written.0.saturating_sub(synced.0));
    let [median, p99, max] = journal.sync_latencies();
    out.put("aof_fsyncs", journal.syncs());
    out.put("aof_fsync_usec_p50", median);
    out.put("aof_fsync_usec_p99", p99);
    out.put("aof_fsync_usec_max", max);
    out.put("aof_disk_waits", core.stats.sum(|stats| &stats.disk_waits));
}

/// Fields that are shown only while files are loaded.
fn loading_progress(core: &Core, out: &mut Fields) {
    let loading = &core.persist.loading;
    let since = loading.since.load(Ordering::Relaxed);
    let (total, done) =
        (loading.total.load(Ordering::Relaxed), loading.done.load(Ordering::Relaxed));
    let share = done as f64 / total.max(1) as f64;
    let elapsed = UnixMs::now().secs().saturating_sub(since.max(0).unsigned_abs());
    out.put("loading_start_time", since);
    out.put("loading_total_bytes", total);
    out.put("loading_rdb_used_mem", loading.memory.load(Ordering::Relaxed));
    out.put("loading_loaded_bytes", done);
    out.put("loading_loaded_perc", format_args!("{:.2}", share * 100.0));
    out.put("loading_eta_seconds", loading_seconds_left(elapsed, done, total));
}

/// How long loading will take, of which so many whole seconds have passed. Clients wait that long
/// before they ask again, so the first bytes do not count as a speed.
fn loading_seconds_left(elapsed: u64, done: u64, total: u64) -> u64 {
    if elapsed < 2 || done == 0 {
        return 1;
    }
    let speed = done as f64 / elapsed as f64;
    (total.saturating_sub(done) as f64 / speed) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_seconds_left_the_first_bytes_are_no_speed() {
        assert_eq!(loading_seconds_left(0, 9, 1_000_000), 1);
        assert_eq!(loading_seconds_left(1, 9, 1_000_000), 1);
        assert_eq!(loading_seconds_left(5, 0, 1_000_000), 1);
        assert_eq!(loading_seconds_left(10, 250_000, 1_000_000), 30);
        assert_eq!(loading_seconds_left(10, 1_000_000, 1_000_000), 0);
    }
}
