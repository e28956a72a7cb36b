//! What a change of settings asks of the world, all or nothing.
//!
//! Most settings are read where they matter and need nothing here. The others have a step: it goes
//! from one configuration to another, or says why not; then the steps before it go back.

use std::path::Path;
use std::sync::atomic::Ordering;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{Config, LogFormat, LogLevel};
use crate::engine::core::Core;
use crate::engine::evicting_clients;
use crate::engine::rewriting;
use crate::keyspace::lock::Hold;
use crate::persist::state::{AofState, policy};

/// What lies above the engine, as far as settings reach it.
pub trait World: Send + Sync {
    /// Listens where the configuration says; nothing has changed when that fails.
    fn rebind(&self, config: &Config) -> Result<(), String>;
    /// Accepts no connections any more.
    fn stop_listening(&self);
    /// Logs as much as `level` says.
    fn set_log_level(&self, level: LogLevel);
    /// Leaves a report when the process crashes, or not.
    fn set_crash_log(&self, on: bool);
    /// Shows the process's title as the configuration says.
    fn set_title(&self, config: &Config, config_file: Option<&Path>);
    /// Logs in that shape.
    fn set_log_format(&self, format: LogFormat);
}

/// The setting that is refused, and Redis's words for it.
pub type Refusal = (&'static str, String);

struct Step {
    /// Whether the two differ in what this step is about.
    concerns: fn(&Config, &Config) -> bool,
    go: fn(&'static Core, &Hold, &Config, &Config) -> Result<(), Refusal>,
}

/// Descriptors the server needs beside those of clients, as Redis counts them.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Those that can fail come first.
const STEPS: &[Step] = &[
    Step { concerns: |old, new| old.maxclients < new.maxclients, go: raise_descriptors },
    Step {
        concerns: |old, new| {
            (old.oom_score_adj, old.oom_score_adj_values)
                != (new.oom_score_adj, new.oom_score_adj_values)
        },
        go: set_oom_score,
    },
    Step { concerns: |old, new| old.dir != new.dir, go: change_dir },
    Step { concerns: |old, new| (old.port, &old.bind) != (new.port, &new.bind), go: listen },
    Step { concerns: |old, new| old.appendonly != new.appendonly, go: switch_journal },
    Step {
        concerns: |old, new| (old.loglevel, old.log_format) != (new.loglevel, new.log_format),
        go: set_log,
    },
    Step { concerns: |_, _| true, go: set_rest },
];

impl Core {
    /// Makes the world follow a change of settings: everything, or nothing and the reason. The
    /// caller holds `config_change` and publishes `new` when this succeeds.
    pub fn on_config_change(
        &'static self,
        hold: &Hold,
        old: &Config,
        new: &Config,
    ) -> Result<(), Refusal> {
        for (index, step) in STEPS.iter().enumerate() {
            if !(step.concerns)(old, new) {
                continue;
            }
            if let Err(refusal) = (step.go)(self, hold, old, new) {
                for done in STEPS[..index].iter().rev().filter(|done| (done.concerns)(old, new)) {
                    if let Err((name, reason)) = (done.go)(self, hold, new, old) {
                        tracing::warn!("Failed restoring failed CONFIG SET of {name}: {reason}");
                    }
                }
                return Err(refusal);
            }
        }
        Ok(())
    }
}

fn raise_descriptors(_: &Core, _: &Hold, _: &Config, new: &Config) -> Result<(), Refusal> {
    let wanted = u64::from(new.maxclients) + DESCRIPTORS_RESERVED;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft >= wanted {
        return Ok(());
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard));
    let now = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    if raised.is_ok() && now >= wanted {
        return Ok(());
    }
    let possible = now.saturating_sub(DESCRIPTORS_RESERVED);
    let reason = format!(
        "The operating system is not able to handle the specified number of clients, try with \
         {possible}"
    );
    Err(("maxclients", reason))
}

fn set_oom_score(core: &Core, _: &Hold, old: &Config, new: &Config) -> Result<(), Refusal> {
    core.oom_score.lock().set(new).map_err(|error| {
        tracing::warn!("Can't write oom_score_adj: {error}");
        let name = match old.oom_score_adj == new.oom_score_adj {
            true => "oom-score-adj-values",
            false => "oom-score-adj",
        };
        (name, "Failed to set current oom_score_adj. Check server logs.".to_owned())
    })
}

fn change_dir(core: &Core, _: &Hold, _: &Config, new: &Config) -> Result<(), Refusal> {
    if core.persist.aof.lock().state != AofState::Off {
        tracing::warn!(
            "The append only file stays in its directory until appendonly is switched off and on"
        );
    }
    nix::unistd::chdir(&new.dir.to_path()).map_err(|error| ("dir", error.desc().to_owned()))
}

fn listen(core: &Core, _: &Hold, old: &Config, new: &Config) -> Result<(), Refusal> {
    let Some(world) = core.world.get() else { return Ok(()) };
    world.rebind(new).map_err(|error| {
        tracing::warn!("{error}");
        match old.port == new.port {
            true => ("bind", "Failed to bind to specified addresses.".to_owned()),
            false => ("port", "Unable to listen on this port. Check server logs.".to_owned()),
        }
    })
}

/// `appendonly`: the journal gets its file, or gives it up.
fn switch_journal(
    core: &'static Core,
    hold: &Hold,
    _: &Config,
    new: &Config,
) -> Result<(), Refusal> {
    if !new.appendonly {
        rewriting::switch_off(core);
        return Ok(());
    }
    rewriting::switch_on(core, hold)
        .map_err(|_| ("appendonly", "Unable to turn on AOF. Check server logs.".to_owned()))
}

fn set_log(core: &Core, _: &Hold, _: &Config, new: &Config) -> Result<(), Refusal> {
    if let Some(world) = core.world.get() {
        world.set_log_level(new.loglevel);
        world.set_log_format(new.log_format);
    }
    Ok(())
}

fn set_rest(core: &Core, _: &Hold, old: &Config, new: &Config) -> Result<(), Refusal> {
    if old.requirepass != new.requirepass {
        core.users.set_default_password(new.requirepass.as_bytes());
    }
    core.persist.journal.set_policy(policy(new.appendfsync));
    core.persist.journal.set_stamps(new.aof_timestamp_enabled);
    core.persist.journal.set_checksums(new.aof_checksums);
    core.heed_settings(new);
    if old.aof_disable_auto_gc && !new.aof_disable_auto_gc {
        rewriting::collect_garbage(core, new);
    }
    if let Some(world) = core.world.get() {
        world.set_crash_log(new.crash_log_enabled);
        world.set_title(new, core.config_file.as_deref());
    }
    evicting_clients::run(core, new);
    core.stats.slowlog.set_threshold(new.slowlog_log_slower_than);
    core.stats.latency.set_threshold(new.latency_monitor_threshold);
    core.stats.latency_tracking.store(new.latency_tracking, Ordering::Relaxed);
    Ok(())
}
