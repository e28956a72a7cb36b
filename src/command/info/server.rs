//! INFO server, replication and cpu.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use std::sync::atomic::Ordering;

use crate::base::clock::{self, UnixMs};
use crate::command::info::Fields;
use crate::config::{Primary, REDIS_VERSION};
use crate::engine::context::AdminCtx;
use crate::engine::following::Stage;
use crate::engine::{failover, stopping};

/// Access times are kept in 24 bits.
const LRU_CLOCK_MASK: u64 = (1 << 24) - 1;
const SECS_A_DAY: u64 = 86_400;

pub(super) fn server(ax: &mut AdminCtx, out: &mut Fields) {
    let core = ax.core;
    let config = core.config.load();
    let now_us = clock::unix_us();
    let uptime_secs = core.started_steady.elapsed().as_secs();
    let system = nix::sys::utsname::uname().map_or_else(
        |_| "Linux".to_owned(),
        |name| {
            let parts = [name.sysname(), name.release(), name.machine()];
            parts.map(|part| part.to_string_lossy().into_owned()).join(" ")
        },
    );
    out.put("redis_version", REDIS_VERSION);
    out.put("redis_git_sha1", "00000000");
    out.put("redis_git_dirty", 0);
    out.put("redis_build_id", "0000000000000000");
    out.put("redis_mode", "standalone");
    out.put("os", system);
    out.put("arch_bits", usize::BITS);
    out.put("monotonic_clock", "POSIX clock_gettime");
    out.put("multiplexing_api", "epoll");
    out.put("atomicvar_api", "c11-builtin");
    out.put("gcc_version", "0.0.0");
    out.put("process_id", std::process::id());
    out.put("process_supervised", "no");
    out.put("run_id", &core.run_id);
    out.put("tcp_port", config.port);
    out.put("server_time_usec", now_us);
    out.put("uptime_in_seconds", uptime_secs);
    out.put("uptime_in_days", uptime_secs / SECS_A_DAY);
    out.put("hz", config.hz);
    out.put("configured_hz", config.hz);
    out.put("lru_clock", (now_us / 1_000_000) & LRU_CLOCK_MASK);
    let executable = std::env::current_exe().unwrap_or_default();
    out.put("executable", executable.display());
    let file = core.config_file.clone().unwrap_or_default();
    out.put("config_file", file.display());
    out.put("io_threads_active", u8::from(config.io_threads > 1));
    if let Some(left) = stopping::milliseconds_left(core) {
        out.put("shutdown_in_milliseconds", left);
    }
    let binds: String = config.bind.iter().map(|address| format!(",bind={address}")).collect();
    if config.port != 0 {
        out.put("listener0", format_args!("name=tcp{binds},port={}", config.port));
    }
}

pub(super) fn replication(ax: &mut AdminCtx, out: &mut Fields) {
    let core = ax.core;
    let config = core.config();
    match &config.replicaof {
        Some(primary) => replica(ax, out, primary),
        None => out.put("role", "master"),
    }
    let all = core.replicas.all();
    out.put("connected_slaves", all.len());
    if config.min_replicas_to_write > 0 {
        let lag_max = u64::from(config.min_replicas_max_lag.unsigned_abs());
        out.put("min_slaves_good_slaves", core.replicas.good(lag_max));
    }
    for (index, replica) in all.iter().enumerate() {
        let ((ip, port), state) = (replica.address(), replica.state());
        let acked = replica.acked.load(Ordering::Relaxed);
        let lag = replica.lag_secs(UnixMs::now());
        let line = format_args!("ip={ip},port={port},state={state},offset={acked},lag={lag}");
        out.put(&format!("slave{index}"), line);
    }
    out.put("master_failover_state", failover::state(core));
    out.put("master_replid", &*core.repl_id.lock());
    let before = core.repl_id_before.lock().clone();
    let (before, until) = match before {
        Some((id, end)) => (id, end as i64 + 1),
        None => ("0".repeat(40), -1),
    };
    out.put("master_replid2", before);
    let backlog = &core.persist.backlog;
    let (start, end) = (backlog.start(), backlog.end());
    out.put("master_repl_offset", end);
    out.put("second_repl_offset", until);
    out.put("repl_backlog_active", u8::from(backlog.is_active()));
    out.put("repl_backlog_size", config.repl_backlog_size);
    let first = if backlog.is_active() { start + 1 } else { 0 };
    out.put("repl_backlog_first_byte_offset", first);
    out.put("repl_backlog_histlen", end - start);
}

/// What a replica tells of its primary.
fn replica(ax: &mut AdminCtx, out: &mut Fields, primary: &Primary) {
    let core = ax.core;
    let config = core.config();
    let status = core.following.status();
    let now = UnixMs::now();
    let since = |at: UnixMs| now.0.saturating_sub(at.0) / 1000;
    let (is_up, is_syncing) = (status.stage == Stage::Connected, status.stage == Stage::Sync);
    out.put("role", "slave");
    out.put("master_host", &primary.host);
    out.put("master_port", primary.port);
    out.put("master_link_status", if is_up { "up" } else { "down" });
    match is_up {
        true => out.put("master_last_io_seconds_ago", since(status.heard_at)),
        false => out.put("master_last_io_seconds_ago", -1),
    }
    out.put("master_sync_in_progress", u8::from(is_syncing));
    out.put("slave_read_repl_offset", core.following.read(core));
    out.put("slave_repl_offset", core.persist.backlog.end());
    if is_syncing {
        let total = status.sync_total.unwrap_or(0);
        let share = if total > 0 { status.sync_read as f64 / total as f64 } else { 0.0 };
        out.put("master_sync_total_bytes", total);
        out.put("master_sync_read_bytes", status.sync_read);
        out.put("master_sync_left_bytes", total as i64 - status.sync_read as i64);
        out.put("master_sync_perc", format_args!("{:.2}", share * 100.0));
        out.put("master_sync_last_io_seconds_ago", since(status.heard_at));
    }
    if !is_up {
        out.put("master_link_down_since_seconds", since(status.down_since));
    }
    out.put("slave_priority", config.replica_priority);
    out.put("slave_read_only", u8::from(config.replica_read_only));
    out.put("replica_announced", u8::from(config.replica_announced));
}

pub(super) fn cpu(_: &mut AdminCtx, out: &mut Fields) {
    let show = |time: TimeVal| format!("{}.{:06}", time.tv_sec(), time.tv_usec());
    let rows = [
        ("", UsageWho::RUSAGE_SELF),
        ("_children", UsageWho::RUSAGE_CHILDREN),
        ("_main_thread", UsageWho::RUSAGE_THREAD),
    ];
    for (suffix, who) in rows {
        if let Ok(usage) = getrusage(who) {
            out.put(&format!("used_cpu_sys{suffix}"), show(usage.system_time()));
            out.put(&format!("used_cpu_user{suffix}"), show(usage.user_time()));
        }
    }
}
