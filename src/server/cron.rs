//! What happens by itself: save points, rewrites, expired keys, idle clients, memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock::{self, Steady, UnixMs};
use crate::base::pages::Returning;
use crate::config::Config;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::core::{Attention, Core, Worker};
use crate::engine::{
    blocking, evicting, evicting_clients, expiring, failover, own_keys, pause, replicas, rewriting,
    saving, syncing, tracking,
};
use crate::keyspace::lock::SHARDS;
use crate::persist::savepoint::{
    Attempt, RewriteState, SaveRule, SaveState, rewrite_due, save_due,
};
use crate::persist::state::AofState;
use crate::stats::{Counter, ThreadStats};

/// The shortest time between two rounds.
const ROUND: Duration = Duration::from_millis(100);
/// The share of a round that the search for expired keys may take.
const EXPIRE_SHARE: u32 = 4;
/// Buckets of tables that are moved in a round while nobody asks.
const RESIZE_STEPS: usize = 64;

/// Runs rounds until the process ends.
pub fn run(core: &'static Core) {
    let worker = Worker::new(core);
    let mut expire_from = 0;
    let mut round: u64 = 0;
    let mut returning = Returning::begin();
    while !core.shutdown.stop.load(Ordering::Acquire) {
        std::thread::sleep(ROUND);
        round += 1;
        let began = clock::steady();
        sample_rates(core, began);
        if core.debug.cron_paused.load(Ordering::Relaxed) {
            continue;
        }
        let config = core.config();
        if !core.has_attention(Attention::LOADING) {
            if core.debug.active_expire.load(Ordering::Relaxed) {
                remove_expired(&worker, &mut expire_from);
            }
            background_jobs(core, &config);
            replicas::tick(core, &config);
            failover::tick(&worker);
            blocking::serve_acks(core);
            if core.has_attention(Attention::TRACKED) {
                tracking::limit(core);
                tracking::close_unused(core);
            }
            if config.activerehashing {
                finish_resizing(core, round);
            }
        }
        evicting_clients::run(core, &config);
        core.links.close_idle();
        core.watch_memory(config.maxmemory);
        if core.has_attention(Attention::OUT_OF_MEMORY) && !core.has_attention(Attention::LOADING) {
            evicting::run(&worker);
        }
        if round.is_multiple_of(10) {
            drop_idle_clients(core, &config);
            wake_slow_readers(core);
            if config.jemalloc_bg_thread {
                returning.look();
            }
        }
        // What was removed here no client's batch would flush; and what failed is tried again.
        core.persist.journal.flush();
        core.set_attention(Attention::JOURNAL_FAILED, core.persist.journal.is_failing());
        let took = began.elapsed();
        worker.stats.reads.add(1);
        worker.stats.turn(took, 0);
        core.stats.cron_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }
}

/// Keys past their deadlines; on a replica those that its primary does not know.
fn remove_expired(worker: &Worker, from: &mut usize) {
    let core = worker.core;
    if pause::current(core, UnixMs::now()).is_some() {
        return;
    }
    if core.has_attention(Attention::FOLLOWING) {
        own_keys::sweep(worker);
        return;
    }
    let before = clock::steady();
    expiring::sweep(worker, from, ROUND / EXPIRE_SHARE);
    core.stats.latency.note("expire-cycle", before.elapsed());
}

/// What INFO tells per second.
fn sample_rates(core: &Core, now: Steady) {
    let sum = |counter: fn(&ThreadStats) -> &Counter| core.stats.sum(counter);
    let counters = [
        sum(|stats| &stats.processed),
        sum(|stats| &stats.net_in),
        sum(|stats| &stats.net_out),
        sum(|stats| &stats.reads),
        sum(|stats| &stats.busy) / 1000,
    ];
    core.stats.rates.sample(now, counters);
}

/// Begins what is scheduled or due, one child at a time.
fn background_jobs(core: &'static Core, config: &Config) {
    if core.has_attention(Attention::STOPPING) {
        return;
    }
    let now = UnixMs::now();
    // Writes are refused until what could not be synced is somewhere else, child or not.
    let tainted = core.persist.journal.is_tainted();
    let tried = tainted && allowed(core, now);
    if tried && rewriting::write_anew(core) {
        core.persist.book.lock().rewrite_limit.succeeded();
        return;
    }
    if core.persist.is_child_running() {
        return;
    }
    if tried {
        rewrite(core);
        return;
    }
    let book = core.persist.book.lock().clone();
    if syncing::start_waiting(core) {
        return;
    }
    if book.rewrite_scheduled && !tainted && allowed(core, now) {
        rewrite(core);
        return;
    }
    let state = SaveState {
        dirty: saving::changes(core),
        saved_at: book.saved_at,
        tried_at: book.tried_at,
        last: book.last_save,
    };
    let rules: Vec<SaveRule> = config
        .save
        .iter()
        .map(|point| SaveRule { secs: point.seconds, changes: point.changes })
        .collect();
    if let Some(rule) = save_due(&rules, state, now) {
        tracing::info!("{} changes in {} seconds. Saving...", rule.changes, rule.secs);
        save(core, config);
        saving::update_attention(core);
        return;
    }
    if book.save_scheduled {
        core.persist.book.lock().save_scheduled = false;
        save(core, config);
        return;
    }
    rewrite_if_grown(core, config, now);
}

/// Failures are logged where they happen, and spaced out.
fn save(core: &'static Core, config: &Config) {
    if config.aof_rebase_on_save {
        // As for a rewrite.
        core.persist.journal.sync();
    }
    let _ = saving::start(core, &core.keyspace.lock_all());
}

/// The same for the append-only file.
fn rewrite(core: &'static Core) {
    // Most of what the cut has to sync is synced before anybody waits for it.
    core.persist.journal.sync();
    let _ = rewriting::start(core, &core.keyspace.lock_all());
}

fn allowed(core: &Core, now: UnixMs) -> bool {
    let limit = &mut core.persist.book.lock().rewrite_limit;
    let attempt = match core.persist.journal.is_tainted() {
        true => limit.attempt_urgent(now),
        false => limit.attempt(now),
    };
    match attempt {
        Attempt::Allowed => true,
        Attempt::PauseBegins(minutes) => {
            tracing::warn!(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry \
                 in {minutes} minutes"
            );
            false
        }
        Attempt::Paused => false,
    }
}

fn rewrite_if_grown(core: &'static Core, config: &Config, now: UnixMs) {
    let (state, base_bytes) = {
        let aof = core.persist.aof.lock();
        (aof.state, aof.size_at_rewrite)
    };
    // A journal that cannot be written cannot be cut either.
    if state != AofState::On || core.persist.journal.is_failing() {
        return;
    }
    let due = rewrite_due(RewriteState {
        percentage: u64::try_from(config.auto_aof_rewrite_percentage).unwrap_or(0),
        size_bytes_min: config.auto_aof_rewrite_min_size,
        base_bytes,
        current_bytes: core.persist.aof_size(),
    });
    let seconds = match config.aof_max_replay_seconds {
        0 => None,
        limit => Some(core.persist.replay_seconds()).filter(|seconds| *seconds > limit as f64),
    };
    if (due.is_none() && seconds.is_none()) || !allowed(core, now) {
        return;
    }
    match (due, seconds) {
        (Some(growth), _) => {
            tracing::info!("Starting automatic rewriting of AOF on {growth}% growth");
        }
        (None, seconds) => tracing::info!(
            "Starting automatic rewriting of AOF: replaying its increments would take about {:.0} \
             seconds",
            seconds.unwrap_or_default()
        ),
    }
    rewrite(core);
}

/// Goes on with tables that are between two sizes, though nobody inserts.
fn finish_resizing(core: &Core, round: u64) {
    let shard = (round as usize * 8) % SHARDS;
    for shard in shard..(shard + 8).min(SHARDS) {
        let mut hold = core.keyspace.lock_one(shard);
        let dbs: Vec<u32> = hold
            .shard(shard)
            .dbs()
            .filter(|(_, db)| db.keys.is_resizing())
            .map(|(index, _)| index)
            .collect();
        for db in dbs {
            let keys = &mut hold.shard_mut(shard).db_mut(db).keys;
            for _ in 0..RESIZE_STEPS {
                if !keys.step() {
                    break;
                }
            }
        }
        hold.publish_hint(shard);
    }
}

/// Whoever has left replies unread for long enough is noticed though nothing comes from it.
fn wake_slow_readers(core: &Core) {
    let all = core.clients.all();
    let unread = |client: &Client| client.figures.output_bytes.load(Ordering::Relaxed) > 0;
    all.iter().filter(|client| unread(client)).for_each(|client| client.wake());
}

/// `timeout`
fn drop_idle_clients(core: &Core, config: &Config) {
    let Ok(limit @ 1..) = u64::try_from(config.timeout) else { return };
    let now = UnixMs::now().0;
    for client in core.clients.all() {
        let figures = &client.figures;
        let exempt = client
            .has_flag(ClientFlags::REPLICA | ClientFlags::MONITOR | ClientFlags::PRIMARY)
            || figures.blocked.load(Ordering::Relaxed)
            || figures.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0);
        let idle = now.saturating_sub(figures.active_at.load(Ordering::Relaxed)) / 1000;
        if !exempt && idle > limit {
            tracing::debug!("Closing idle client");
            client.kill();
        }
    }
}
