//! The end of the process: what SHUTDOWN and the signals do.

use crate::base::clock::UnixMs;
use crate::config::ShutdownOn;
use crate::engine::core::{Attention, Core};
use crate::engine::saving;
use crate::keyspace::lock::Hold;
use crate::persist::aof::replay::STOPPED_PREFIX;
use crate::persist::state::{AofState, Work};

/// The process must not end: something could not be saved. The log says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Saves and syncs what the settings and `how` ask for. `Ok` means that the process may end; the
/// caller keeps the hold until it does, so that nothing is acknowledged in between.
pub fn prepare(core: &'static Core, hold: &Hold, how: ShutdownOn) -> Result<(), Refused> {
    let config = core.config();
    tracing::warn!("User requested shutdown...");
    core.set_attention(Attention::STOPPING, true);
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

fn save_everything(
    core: &'static Core,
    hold: &Hold,
    how: ShutdownOn,
    config: &crate::config::Config,
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
