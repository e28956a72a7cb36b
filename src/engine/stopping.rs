//! The end of the process: what SHUTDOWN and the signals do.

use crate::config::ShutdownOn;
use crate::engine::core::{Attention, Core};
use crate::engine::saving;
use crate::keyspace::lock::Hold;
use crate::persist::state::{AofState, Work};

/// Something could not be saved or synced; the log says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotEnd;

/// Saves and syncs what the settings and `how` ask for. `Ok` means that the process may end; the
/// caller keeps the hold until it does, so that nothing is acknowledged in between.
pub fn prepare(core: &'static Core, hold: &Hold, how: ShutdownOn) -> Result<(), CannotEnd> {
    let config = core.config();
    tracing::warn!("User requested shutdown...");
    core.set_attention(Attention::STOPPING, true);
    let prepared = save_everything(core, hold, how, &config);
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
) -> Result<(), CannotEnd> {
    if core.persist.kill_child(&Work::Save) {
        tracing::warn!("There is a child saving an .rdb. Killing it!");
    }
    let state = core.persist.aof.lock().state;
    if core.persist.child_work() == Some(Work::Rewrite) || state == AofState::Starting {
        if state == AofState::Starting && !how.force {
            tracing::warn!("Writing initial AOF, can't exit.");
            return Err(CannotEnd);
        }
        if core.persist.kill_child(&Work::Rewrite) {
            tracing::warn!("There is a child rewriting the AOF. Killing it!");
        }
    }
    if state == AofState::On {
        tracing::info!("Calling fsync() on the AOF file.");
        let journal = &core.persist.journal;
        journal.flush();
        let synced = journal.sync() && journal.written() == journal.appended();
        if !synced && !how.force {
            tracing::warn!("The append only file could not be written and synced, can't exit.");
            return Err(CannotEnd);
        }
    }
    if (!config.save.is_empty() && !how.nosave) || how.save {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        if let Err(error) = saving::save_now(core, hold) {
            tracing::warn!("Error trying to save the DB, can't exit: {error}");
            if !how.force {
                return Err(CannotEnd);
            }
        }
    }
    Ok(())
}

/// Ends the process. The hold's locks are never released.
pub fn leave(core: &'static Core, hold: Hold, code: i32) {
    std::mem::forget(hold);
    core.shutdown.finish(code);
}
