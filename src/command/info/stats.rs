//! INFO stats, commandstats, errorstats, latencystats, keyspace and debug.

use std::sync::atomic::Ordering;

use crate::acl::log::Reason;
use crate::command::info::Fields;
use crate::engine::context::AdminCtx;
use crate::engine::core::Core;
use crate::engine::evicting;
use crate::pubsub::Topic;
use crate::stats::histogram::Latencies;
use crate::stats::rates::Rate;

fn zeros(out: &mut Fields, names: &[&str]) {
    names.iter().for_each(|name| out.put(name, 0));
}

fn kilobytes(core: &Core, rate: Rate) -> String {
    format!("{:.2}", core.stats.rates.get(rate) as f64 / 1024.0)
}

pub(super) fn stats(ax: &mut AdminCtx, out: &mut Fields) {
    let core = ax.core;
    traffic(core, out);
    let replicas = &core.replicas;
    for (name, count) in [
        ("sync_full", &replicas.full),
        ("sync_partial_ok", &replicas.partial),
        ("sync_partial_err", &replicas.partial_failed),
    ] {
        out.put(name, count.load(Ordering::Relaxed));
    }
    out.put("expired_subkeys", core.stats.sum(|stats| &stats.expired_fields));
    out.put("expired_keys", core.stats.sum(|stats| &stats.expired));
    out.put("expired_stale_perc", "0.00");
    zeros(out, &["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"]);
    out.put("evicted_keys", core.eviction.keys.load(Ordering::Relaxed));
    out.put("evicted_clients", core.clients.evicted.load(Ordering::Relaxed));
    out.put("evicted_scripts", core.scripts.evicted.load(Ordering::Relaxed));
    let (total, current) = evicting::exceeded(core);
    out.put("total_eviction_exceeded_time", total);
    out.put("current_eviction_exceeded_time", current);
    out.put("keyspace_hits", core.stats.sum(|stats| &stats.hits));
    out.put("keyspace_misses", core.stats.sum(|stats| &stats.misses));
    out.put("pubsub_channels", core.pubsub.count(Topic::Channel));
    out.put("pubsub_patterns", core.pubsub.count(Topic::Pattern));
    out.put("pubsubshard_channels", core.pubsub.count(Topic::Shard));
    forks(core, out);
    out.put("migrate_cached_sockets", core.links.count());
    out.put("slave_expires_tracked_keys", core.own_keys.count());
    zeros(
        out,
        &[
            "active_defrag_hits",
            "active_defrag_misses",
            "active_defrag_key_hits",
            "active_defrag_key_misses",
            "total_active_defrag_time",
            "current_active_defrag_time",
        ],
    );
    let tracking = &core.tracking;
    out.put("tracking_total_keys", tracking.keys.load(Ordering::Relaxed));
    out.put("tracking_total_items", tracking.items.load(Ordering::Relaxed));
    out.put("tracking_total_prefixes", tracking.prefix_count());
    zeros(out, &["unexpected_error_replies"]);
    out.put("total_error_replies", core.stats.sum(|stats| &stats.errors));
    input_and_output(core, out);
}

fn input_and_output(core: &Core, out: &mut Fields) {
    zeros(out, &["dump_payload_sanitizations"]);
    out.put("total_reads_processed", core.stats.sum(|stats| &stats.reads));
    out.put("total_writes_processed", core.stats.sum(|stats| &stats.writes));
    zeros(out, &["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    let closed = core.stats.sum(|stats| &stats.query_limit);
    out.put("client_query_buffer_limit_disconnections", closed);
    let closed = core.stats.sum(|stats| &stats.output_limit);
    out.put("client_output_buffer_limit_disconnections", closed);
    zeros(out, &["reply_buffer_shrinks", "reply_buffer_expands"]);
    turns(core, out);
    for (name, reason) in [
        ("acl_access_denied_auth", Reason::Auth),
        ("acl_access_denied_cmd", Reason::Command),
        ("acl_access_denied_key", Reason::Key),
        ("acl_access_denied_channel", Reason::Channel),
    ] {
        out.put(name, core.users.log.count(reason));
    }
}

/// There is no loop here that does everything: what is told is the turns of all threads.
fn turns(core: &Core, out: &mut Fields) {
    let rates = &core.stats.rates;
    let (turns, micros) = (rates.get(Rate::Turns), rates.get(Rate::TurnMicros));
    let mut commands = 0;
    core.stats.each(|stats| commands += stats.commands.iter().map(|c| c.nanos.get()).sum::<u64>());
    out.put("eventloop_cycles", core.stats.sum(|stats| &stats.reads));
    out.put("eventloop_duration_sum", core.stats.sum(|stats| &stats.busy) / 1000);
    out.put("eventloop_duration_cmd_sum", commands / 1000);
    out.put("instantaneous_eventloop_cycles_per_sec", turns);
    out.put("instantaneous_eventloop_duration_usec", micros / turns.max(1));
}

fn traffic(core: &Core, out: &mut Fields) {
    out.put("total_connections_received", core.clients.accepted.load(Ordering::Relaxed));
    out.put("total_commands_processed", core.stats.sum(|stats| &stats.processed));
    out.put("instantaneous_ops_per_sec", core.stats.rates.get(Rate::Commands));
    out.put("total_net_input_bytes", core.stats.sum(|stats| &stats.net_in));
    out.put("total_net_output_bytes", core.stats.sum(|stats| &stats.net_out));
    zeros(out, &["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    out.put("instantaneous_input_kbps", kilobytes(core, Rate::NetIn));
    out.put("instantaneous_output_kbps", kilobytes(core, Rate::NetOut));
    out.put("instantaneous_input_repl_kbps", "0.00");
    out.put("instantaneous_output_repl_kbps", "0.00");
    out.put("rejected_connections", core.clients.rejected.load(Ordering::Relaxed));
}

pub(super) fn commandstats(ax: &mut AdminCtx, out: &mut Fields) {
    let core = ax.core;
    for row in core.commands.rows() {
        let (mut calls, mut nanos, mut rejected, mut failed) = (0, 0, 0, 0);
        core.stats.each(|stats| {
            let counters = &stats.commands[row.index];
            calls += counters.calls.get();
            nanos += counters.nanos.get();
            rejected += counters.rejected.get();
            failed += counters.failed.get();
        });
        if calls + rejected + failed == 0 {
            continue;
        }
        let micros = nanos / 1000;
        let each = if calls == 0 { 0.0 } else { micros as f64 / calls as f64 };
        out.put(
            &format!("cmdstat_{}", row.spec().name),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={rejected},\
                 failed_calls={failed}"
            ),
        );
    }
}

pub(super) fn errorstats(ax: &mut AdminCtx, out: &mut Fields) {
    for (code, count) in ax.core.stats.errors() {
        out.put(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

/// The latencies of a command on all threads.
pub fn latencies(core: &Core, index: usize) -> Latencies {
    let mut sum = Latencies::default();
    core.stats.each(|stats| stats.commands[index].latencies.add_to(&mut sum));
    sum
}

pub(super) fn latencystats(ax: &mut AdminCtx, out: &mut Fields) {
    let percents = ax.core.config.load().latency_tracking_info_percentiles.clone();
    for row in ax.core.commands.rows() {
        let sum = latencies(ax.core, row.index);
        if sum.count() == 0 {
            continue;
        }
        let shown: Vec<String> = percents
            .iter()
            .map(|percent| {
                let micros = sum.percentile(*percent) as f64 / 1000.0;
                format!("p{percent}={micros:.3}")
            })
            .collect();
        out.put(&format!("latency_percentiles_usec_{}", row.spec().name), shown.join(","));
    }
}

pub(super) fn keyspace(ax: &mut AdminCtx, out: &mut Fields) {
    let databases = u32::try_from(ax.core.config.load().databases).unwrap_or(0);
    for db in 0..databases {
        let (keys, (expires, average), timed) =
            ax.cx.db.on_db(db, |db| (db.len(), db.deadlines(), db.timed_hashes()));
        if keys > 0 {
            out.put(
                &format!("db{db}"),
                format_args!("keys={keys},expires={expires},avg_ttl={average},subexpiry={timed}"),
            );
        }
    }
}

pub(super) fn debug(ax: &mut AdminCtx, out: &mut Fields) {
    let stats = &ax.core.stats;
    out.put("eventloop_duration_aof_sum", 0);
    out.put("eventloop_duration_cron_sum", stats.cron_micros.load(Ordering::Relaxed));
    out.put("eventloop_duration_max", stats.max(|stats| &stats.busy_max) / 1000);
    out.put("eventloop_cmd_per_cycle_max", stats.max(|stats| &stats.commands_max));
}

fn forks(core: &Core, out: &mut Fields) {
    let book = core.persist.book.lock();
    out.put("latest_fork_usec", book.fork_usec);
    out.put("total_forks", book.forks);
}
