//! The end of the process: what SHUTDOWN and the signals do.
//!
//! ```text
//! begin      replicas that lag are waited for, while writes wait; or the end comes at once
//! prepare    everything is saved and synced, or the process goes on
//! leave      the process ends, with every shard locked
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::config::{Config, ShutdownOn};
use crate::engine::core::{Attention, Core};
use crate::engine::pause::{self, PauseMode, Reason};
use crate::engine::replicas::Replica;
use crate::engine::{blocking, replicas, saving};
use crate::keyspace::lock::{Hold, ShardSet};
use crate::persist::aof::replay::STOPPED_PREFIX;
use crate::persist::state::{AofState, Work};

/// The process must not end: something could not be saved. The log says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What becomes of the wish to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Everything is saved. The caller ends the process, and keeps its hold until then, so that
    /// nothing is acknowledged in between.
    Leaves,
    /// Replicas that lag are waited for.
    Waits,
}

/// A shutdown that waits for replicas.
pub struct StopWait {
    how: ShutdownOn,
    /// `shutdown-timeout`
    until: UnixMs,
}

/// How often a shutdown that waits looks at the replicas.
const WAIT_LOOK: Duration = Duration::from_millis(10);

/// Begins the end. The hold has all shards, but for SHUTDOWN NOSAVE while a script has them.
pub fn begin(core: &'static Core, hold: &Hold, how: ShutdownOn) -> Result<Course, Refused> {
    if core.shutdown.waiting.lock().is_some() {
        return Ok(Course::Waits);
    }
    tracing::warn!("User requested shutdown...");
    let patience = u64::from(core.config.load().shutdown_timeout.unsigned_abs()) * 1000;
    let waits = !how.now && patience > 0 && hold.covers(&ShardSet::ALL);
    if waits && !lagging(core).is_empty() {
        let until = UnixMs(UnixMs::now().0 + patience);
        await_replicas(core, StopWait { how, until });
        return Ok(Course::Waits);
    }
    prepare(core, hold, how, &lagging(core)).map(|()| Course::Leaves)
}

/// Replicas that have not confirmed everything.
fn lagging(core: &Core) -> Vec<Arc<Replica>> {
    let end = core.persist.backlog.end();
    let mut all = core.replicas.all();
    all.retain(|replica| replica.acked.load(Ordering::Acquire) < end);
    all
}

fn await_replicas(core: &'static Core, wait: StopWait) {
    tracing::info!("Replicas lag behind: the shutdown waits for them, and so do writes");
    replicas::ask_all(core);
    pause::begin(core, Reason::Shutdown, PauseMode::Write, pause::UNTIL_ENDED);
    let wait = Arc::new(wait);
    *core.shutdown.waiting.lock() = Some(Arc::clone(&wait));
    let spawned = std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        while is_waiting(core, &wait) {
            std::thread::sleep(WAIT_LOOK);
            if !is_over(core, &wait) {
                continue;
            }
            let hold = core.keyspace.lock_all();
            // Writes that were under way may have come before the locks.
            let lagging = lagging(core);
            if !is_waiting(core, &wait) || !lagging.is_empty() && UnixMs::now() < wait.until {
                continue;
            }
            match prepare(core, &hold, wait.how, &lagging) {
                Ok(()) => leave(core, hold, 0),
                Err(Refused) => go_on(core),
            }
            return;
        }
    });
    if let Err(error) = spawned {
        tracing::error!("Can't wait for replicas: {error}");
        go_on(core);
    }
}

fn is_waiting(core: &Core, wait: &Arc<StopWait>) -> bool {
    core.shutdown.waiting.lock().as_ref().is_some_and(|now| Arc::ptr_eq(now, wait))
}

fn is_over(core: &Core, wait: &StopWait) -> bool {
    UnixMs::now() >= wait.until || lagging(core).is_empty()
}

/// The process does not end: those who asked for it hear of it, and writes go on.
fn go_on(core: &Core) {
    *core.shutdown.waiting.lock() = None;
    blocking::tell_not_stopped(core);
    pause::end(core, Reason::Shutdown);
}

/// SHUTDOWN ABORT; says whether there was anything to call off.
pub fn abort(core: &Core) -> bool {
    let scheduled = core.shutdown.scheduled.swap(false, Ordering::AcqRel);
    let waits = core.shutdown.waiting.lock().is_some();
    if waits {
        go_on(core);
    }
    if scheduled || waits {
        tracing::warn!("Shutdown manually aborted.");
    }
    scheduled || waits
}

/// How long replicas are still waited for.
pub fn milliseconds_left(core: &Core) -> Option<u64> {
    let waiting = core.shutdown.waiting.lock();
    waiting.as_ref().map(|wait| wait.until.0.saturating_sub(UnixMs::now().0))
}

/// Saves and syncs what the settings and `how` ask for. `Ok` means that the process may end; the
/// caller keeps the hold until it does.
fn prepare(
    core: &'static Core,
    hold: &Hold,
    how: ShutdownOn,
    lagging: &[Arc<Replica>],
) -> Result<(), Refused> {
    let config = core.config();
    core.set_attention(Attention::STOPPING, true);
    tell_lagging(core, lagging);
    let prepared = match core.has_attention(Attention::LOADING) {
        // What is loaded so far is not worth saving, and the files have it all.
        true => Ok(()),
        false => save_everything(core, hold, how, &config),
    };
    if prepared.is_err() {
        tracing::warn!(
            "Errors trying to shut down the server. Check the logs for more information."
        );
        core.set_attention(Attention::STOPPING, false);
        return prepared;
    }
    if !config.pidfile.is_empty() {
        tracing::info!("Removing the pid file.");
        let _ = std::fs::remove_file(config.pidfile.to_path());
    }
    if !config.unixsocket.is_empty() {
        tracing::info!("Removing the unix socket file.");
        let _ = std::fs::remove_file(config.unixsocket.to_path());
    }
    tracing::warn!("Redis is now ready to exit, bye bye...");
    Ok(())
}

/// Says which replicas will lack something.
fn tell_lagging(core: &Core, lagging: &[Arc<Replica>]) {
    let (end, now) = (core.persist.backlog.end(), UnixMs::now());
    for replica in lagging {
        let (ip, port) = replica.address();
        let lag = if replica.is_online() { replica.lag_secs(now) } else { 0 };
        tracing::info!(
            "Lagging replica {ip}:{port} lacks {} bytes, lag={lag}, state={}.",
            end.saturating_sub(replica.acked.load(Ordering::Acquire)),
            replica.state()
        );
    }
    let count = core.replicas.count();
    if count > 0 {
        let synced = count.saturating_sub(lagging.len());
        tracing::info!("{synced} of {count} replicas are in sync when shutting down.");
    }
}

fn save_everything(
    core: &'static Core,
    hold: &Hold,
    how: ShutdownOn,
    config: &Config,
) -> Result<(), Refused> {
    if core.persist.kill_child(&Work::Save) {
        tracing::warn!("There is a child saving an .rdb. Killing it!");
        core.persist.await_no_child();
    }
    if core.persist.kill_child(&Work::Sync) {
        core.persist.await_no_child();
    }
    let state = core.persist.aof.lock().state;
    if core.persist.child_work() == Some(Work::Rewrite) || state == AofState::Starting {
        if state == AofState::Starting && !how.force {
            tracing::warn!("Writing initial AOF, can't exit.");
            return Err(Refused);
        }
        if core.persist.kill_child(&Work::Rewrite) {
            tracing::warn!("There is a child rewriting the AOF. Killing it!");
            core.persist.await_no_child();
        }
    }
    if state == AofState::On {
        tracing::info!("Calling fsync() on the AOF file.");
        let journal = &core.persist.journal;
        journal.flush();
        let synced = journal.sync() && journal.written() == journal.appended();
        if !synced && !how.force {
            tracing::warn!("The append only file could not be written and synced, can't exit.");
            return Err(Refused);
        }
    }
    if (!config.save.is_empty() && !how.nosave) || how.save {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        if let Err(error) = saving::save_now(core, hold) {
            tracing::warn!("Error trying to save the DB, can't exit: {error}");
            if !how.force {
                return Err(Refused);
            }
        }
    }
    if state == AofState::On {
        let now = UnixMs::now().secs();
        core.persist.journal.end_with(format!("{STOPPED_PREFIX}{now}\r\n").as_bytes());
    }
    Ok(())
}

/// A signal's shutdown writes no snapshot where the append-only file holds everything, unless the
/// settings ask for one.
pub fn without_redundancy(core: &Core, how: ShutdownOn) -> ShutdownOn {
    let redundant = core.persist.aof.lock().state == AofState::On && !how.save;
    if redundant && !how.nosave && !core.config.load().save.is_empty() {
        tracing::info!("The append only file holds everything: no RDB snapshot is saved.");
    }
    ShutdownOn { nosave: how.nosave || redundant, ..how }
}

/// Ends the process. The hold's locks are never released.
pub fn leave(core: &'static Core, hold: Hold, code: i32) {
    std::mem::forget(hold);
    finish(core, code);
}

/// Ends the process; the caller goes on holding all shards until it has ended.
pub fn finish(core: &'static Core, code: i32) {
    if let Some(world) = core.world.get() {
        world.stop_listening();
    }
    if core.has_attention(Attention::LOADING) {
        // The main thread waits for shards to load into, and there is nothing to leave in order.
        std::process::exit(code);
    }
    core.shutdown.finish(code);
}
