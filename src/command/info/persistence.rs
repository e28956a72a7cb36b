//! INFO persistence, and LASTSAVE. What persistence does not tell yet is a constant, marked so.

use crate::command::info::Fields;
use crate::engine::core::{Attention, Core};

/// Writes the section.
pub fn persistence(core: &Core, out: &mut Fields) {
    let loading = core.has_attention(Attention::LOADING);
    let journal = &core.persist.journal;
    let config = core.config.load();
    out.put("loading", u8::from(loading));
    out.put("async_loading", 0);
    out.put("current_cow_peak", 0); // CONSTANT
    out.put("current_cow_size", 0); // CONSTANT
    out.put("current_cow_size_age", 0); // CONSTANT
    out.put("current_fork_perc", "0.00"); // CONSTANT
    out.put("current_save_keys_processed", 0); // CONSTANT
    out.put("current_save_keys_total", 0); // CONSTANT
    // CONSTANT: changes since the last save, not since the start.
    out.put("rdb_changes_since_last_save", core.stats.sum(|stats| &stats.dirty));
    out.put("rdb_bgsave_in_progress", u8::from(core.persist.is_child_running())); // CONSTANT
    out.put("rdb_last_save_time", last_save_secs(core));
    out.put("rdb_last_bgsave_status", "ok"); // CONSTANT
    out.put("rdb_last_bgsave_time_sec", -1); // CONSTANT
    out.put("rdb_current_bgsave_time_sec", -1); // CONSTANT
    out.put("rdb_saves", 0); // CONSTANT
    out.put("rdb_last_cow_size", 0); // CONSTANT
    out.put("rdb_last_load_keys_expired", 0); // CONSTANT
    out.put("rdb_last_load_keys_loaded", 0); // CONSTANT
    out.put("aof_enabled", u8::from(config.appendonly));
    out.put("aof_rewrite_in_progress", 0); // CONSTANT
    out.put("aof_rewrite_scheduled", 0); // CONSTANT
    out.put("aof_last_rewrite_time_sec", -1); // CONSTANT
    out.put("aof_current_rewrite_time_sec", -1); // CONSTANT
    out.put("aof_last_bgrewrite_status", "ok"); // CONSTANT
    out.put("aof_rewrites", 0); // CONSTANT
    out.put("aof_rewrites_consecutive_failures", 0); // CONSTANT
    out.put("aof_last_write_status", if journal.is_failing() { "err" } else { "ok" });
    out.put("aof_last_cow_size", 0); // CONSTANT
    out.put("module_fork_in_progress", 0);
    out.put("module_fork_last_cow_size", 0);
    if config.appendonly {
        append_only_file(core, out);
    }
}

/// Fields that are shown only with an append-only file.
fn append_only_file(core: &Core, out: &mut Fields) {
    let journal = &core.persist.journal;
    let unwritten = journal.appended().0 - journal.written().0.min(journal.appended().0);
    out.put("aof_current_size", journal.size()); // CONSTANT: the base is not counted
    out.put("aof_base_size", 0); // CONSTANT
    out.put("aof_pending_rewrite", 0); // CONSTANT
    out.put("aof_buffer_length", unwritten);
    out.put("aof_pending_bio_fsync", u8::from(journal.synced() < journal.written()));
    out.put("aof_delayed_fsync", 0);
}

/// When the last snapshot was saved, in seconds since the epoch; the start of the process if none.
pub fn last_save_secs(core: &Core) -> u64 {
    core.started.secs() // CONSTANT
}
