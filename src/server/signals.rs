//! SIGTERM and SIGINT: an orderly end; a second SIGINT: an end at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::ShutdownOn;
use crate::engine::core::Core;
use crate::engine::stopping::Course;
use crate::engine::{saving, stopping};

/// Exit code of an end at once.
const EXIT_AT_ONCE: i32 = 1;

/// Listens to signals on a thread of its own. From its return on none of them ends the process
/// unheard.
pub fn listen(core: &'static Core) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on they end the process in order, whenever the thread comes to run.
    let signals = {
        let _inside = runtime.enter();
        let kinds =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [terminate, interrupt, hangup] = kinds;
        [terminate?, interrupt?, hangup?]
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(serve(core, signals));
    })?;
    Ok(())
}

async fn serve(core: &'static Core, [mut terminate, mut interrupt, mut hangup]: [Signal; 3]) {
    let mut interrupts = 0;
    loop {
        // Cancel safe: `recv` loses no signal when another arm is taken.
        tokio::select! {
            _ = terminate.recv() => {
                tracing::warn!("Received SIGTERM scheduling shutdown...");
                stop(core, core.config().shutdown_on_sigterm);
            }
            _ = interrupt.recv() => {
                interrupts += 1;
                if interrupts > 1 {
                    tracing::warn!("You insist... exiting now.");
                    let half = saving::temp_path(&core.config(), std::process::id());
                    // There is one only if the first signal's snapshot is being written.
                    let _ = core.persist.disk.remove(&half);
                    std::process::exit(EXIT_AT_ONCE);
                }
                tracing::warn!("Received SIGINT scheduling shutdown...");
                stop(core, core.config().shutdown_on_sigint);
            }
            // Redis ignores it: terminals that close do not end servers.
            _ = hangup.recv() => {}
        }
    }
}

/// How often a shutdown that waits looks whether it may begin.
const PAUSED_LOOK: Duration = Duration::from_millis(10);

/// Stops on a thread of its own, so that another signal is heard meanwhile. While DEBUG PAUSE-CRON
/// holds background work, SHUTDOWN ABORT can call it off.
fn stop(core: &'static Core, how: ShutdownOn) {
    core.shutdown.scheduled.store(true, Ordering::Release);
    let spawned = std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        let scheduled = &core.shutdown.scheduled;
        while scheduled.load(Ordering::Acquire) && core.debug.cron_paused.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSED_LOOK);
        }
        if !scheduled.swap(false, Ordering::AcqRel) {
            return;
        }
        let hold = core.keyspace.lock_all();
        let how = stopping::without_redundancy(core, how);
        if stopping::begin(core, &hold, how) == Ok(Course::Leaves) {
            stopping::leave(core, hold, 0);
        }
    });
    if let Err(error) = spawned {
        tracing::error!("Can't shut down: {error}");
    }
}
