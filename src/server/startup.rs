//! From settings to a server that accepts clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};

use crate::base::ahead;
use crate::command;
use crate::config::{Config, REDIS_VERSION, REKEEP_VERSION, Supervised};
use crate::engine::access;
use crate::engine::core::{Core, Garbage};
use crate::engine::following;
use crate::engine::loading::{self, LoadError};
use crate::net::listener::Listeners;
use crate::net::threads::Threads;
use crate::persist::child;
use crate::server::world::Process;
use crate::server::{crash, cron, logging, signals, title};

/// Descriptors the process needs beside those of its clients.
const DESCRIPTORS_RESERVED: u64 = 64;
/// Syncs under way at a time, beside the file thread's, on a slow disk.
const OVERLAPPING_SYNCS: usize = 3;

/// Where a server in the background says its process id, unless told otherwise.
const PIDFILE_IN_BACKGROUND: &str = "/var/run/redis.pid";

/// Why the server did not start; told in the log, or on standard error while there is none.
type Failure = String;

/// Serves until the process is asked to end; gives the exit code.
pub fn serve(config: Config, config_file: Option<PathBuf>) -> i32 {
    match start(config, config_file) {
        Ok(core) => {
            following::begin(core);
            wait(core)
        }
        Err(failure) => {
            match tracing::dispatcher::has_been_set() {
                true => tracing::error!("{failure}"),
                // There is no log yet.
                false => eprintln!("{failure}"),
            }
            1
        }
    }
}

fn start(mut config: Config, config_file: Option<PathBuf>) -> Result<&'static Core, Failure> {
    child::install_panic_hook();
    refuse_what_is_missing(&config)?;
    let dir = config.dir.to_path();
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    std::env::set_current_dir(&dir)
        .map_err(|error| format!("Can't chdir to '{}': {error}", dir.display()))?;
    config.dir = dir.to_string_lossy().as_ref().into();
    if config.daemonize && config.supervised == Supervised::No {
        go_to_background(&mut config)?;
    }
    logging::init(&config).map_err(|error| format!("Can't open the log file: {error}"))?;
    if let Err(error) = crash::install(&config) {
        tracing::warn!("A crash will leave no report: {error}");
    }
    greet(&config, config_file.as_deref());
    raise_descriptor_limit(&mut config);
    let mut table = command::table();
    for (old, new) in &config.renamed_commands {
        table.rename(&old.lossy(), &new.lossy())?;
    }
    let (garbage, receiver) = channel();
    let core = Core::new(config, config_file, table, garbage);
    // Before anybody can connect: nobody is more than the users say.
    access::load_at_start(core)?;
    core.heed_settings(&core.config.load());
    if let Err(error) = core.oom_score.lock().set(&core.config.load()) {
        tracing::warn!("oom-score-adj: can't write oom_score_adj: {error}");
    }
    spawn_memory_keepers(core, receiver)?;
    let config = core.config();
    // Before anybody can connect: nothing is answered from a keyspace that is not complete.
    loading::begin(core);
    // And before anybody can see that the server is there, and stop it.
    signals::listen(core).map_err(|error| format!("Can't listen to signals: {error}"))?;
    let threads = Threads::start(core, config.io_threads)
        .map_err(|error| format!("Can't start the threads that serve clients: {error}"))?;
    let listeners =
        Listeners::start(core, Arc::clone(&threads), &config).map_err(|error| error.to_string())?;
    let world = Process { listeners: Arc::new(listeners) };
    core.world.set(Box::new(world)).map_err(|_| "there is one start".to_owned())?;
    write_pidfile(&config);
    tracing::info!("Server initialized");
    loading::load_at_start(core).map_err(|error| match error {
        // Redis's last word about its append-only file is what is wrong with it.
        LoadError::Manifest(_) | LoadError::File(_) if config.appendonly => error.to_string(),
        error => {
            tracing::error!("{error}");
            "Fatal error loading the DB, check server logs. Exiting.".to_owned()
        }
    })?;
    let syncing = move || {
        let paused =
            || core.config.load().no_appendfsync_on_rewrite && core.persist.is_child_running();
        core.persist.journal.run_syncs(&core.shutdown.stop, paused);
    };
    spawn("sync", syncing)?;
    for _ in 0..OVERLAPPING_SYNCS {
        spawn("sync", move || core.persist.journal.run_overlapping_syncs(&core.shutdown.stop))?;
    }
    spawn("cron", move || cron::run(core))?;
    if config.port != 0 {
        tracing::info!("Ready to accept connections tcp");
    }
    if !config.unixsocket.is_empty() {
        tracing::info!("Ready to accept connections unix");
    }
    tell_supervisor(&config);
    Ok(core)
}

/// The threads that care for memory.
fn spawn_memory_keepers(core: &'static Core, garbage: Receiver<Garbage>) -> Result<(), Failure> {
    ahead::begin().map_err(|error| format!("Can't start the thread 'heap-ahead': {error}"))?;
    spawn("lazyfree", move || free_garbage(core, &garbage))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| format!("Can't start the thread '{name}': {error}"))
}

/// Settings that would seem to protect or keep something, and do not yet.
fn refuse_what_is_missing(config: &Config) -> Result<(), Failure> {
    let missing = [
        (config.tls_port != 0, "tls-port: TLS is not there yet"),
        (
            config.tls_replication && config.replicaof.is_some(),
            "tls-replication: TLS is not there yet",
        ),
    ];
    match missing.into_iter().find(|(asked, _)| *asked) {
        Some((_, text)) => Err(text.to_owned()),
        None => Ok(()),
    }
}

/// Forks while there is one thread, and goes on in the child without a terminal.
fn go_to_background(config: &mut Config) -> Result<(), Failure> {
    nix::unistd::daemon(true, false)
        .map_err(|error| format!("Can't go to the background: {error}"))?;
    if config.pidfile.is_empty() {
        config.pidfile = PIDFILE_IN_BACKGROUND.into();
    }
    Ok(())
}

/// The title, and the first lines of the log.
fn greet(config: &Config, config_file: Option<&Path>) {
    title::reserve();
    title::show(config, config_file);
    tracing::info!("oO0OoO0OoO0Oo Rekeep is starting oO0OoO0OoO0Oo");
    tracing::info!(
        "Rekeep version={REKEEP_VERSION}, compatible with Redis {REDIS_VERSION}, bits={}, pid={}, \
         just started",
        usize::BITS,
        std::process::id()
    );
    if config_file.is_none() {
        tracing::info!(
            "No config file: the settings are the defaults and those of the command line"
        );
    }
    if config.always_show_logo {
        let greeting = logging::greeting(config, REDIS_VERSION, REKEEP_VERSION);
        if let Err(error) = logging::write_raw(config, &greeting) {
            tracing::warn!("Can't write the greeting: {error}");
        }
    }
}

/// `maxclients` needs as many descriptors; where the system gives fewer, it is lowered.
fn raise_descriptor_limit(config: &mut Config) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = u64::from(config.maxclients) + DESCRIPTORS_RESERVED;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= wanted {
        return;
    }
    let raised = [wanted, hard.min(wanted)]
        .into_iter()
        .find(|limit| setrlimit(Resource::RLIMIT_NOFILE, *limit, hard.max(*limit)).is_ok());
    let have = raised.unwrap_or(soft);
    if have < wanted {
        let clients = have.saturating_sub(DESCRIPTORS_RESERVED).max(1);
        config.maxclients = u32::try_from(clients).unwrap_or(u32::MAX);
        tracing::warn!("The system allows {have} descriptors: maxclients is lowered to {clients}");
    }
}

fn write_pidfile(config: &Config) {
    if config.pidfile.is_empty() {
        return;
    }
    let text = format!("{}\n", std::process::id());
    if let Err(error) = std::fs::write(config.pidfile.to_path(), text) {
        tracing::warn!("Can't write the pid file {}: {error}", config.pidfile.lossy());
    }
}

fn tell_supervisor(config: &Config) {
    if matches!(config.supervised, Supervised::Systemd | Supervised::Auto) {
        let states = [
            sd_notify::NotifyState::Status("Ready to accept connections"),
            sd_notify::NotifyState::Ready,
        ];
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!("systemd was not told: {error}");
        }
    }
}

/// The main thread's part: wait for the end.
fn wait(core: &'static Core) -> i32 {
    let mut asked = core.shutdown.asked.lock();
    loop {
        if let Some(code) = *asked {
            return code;
        }
        core.shutdown.bell.wait(&mut asked);
    }
}

fn free_garbage(core: &Core, garbage: &Receiver<Garbage>) {
    while let Ok(garbage) = garbage.recv() {
        let objects = match &garbage {
            Garbage::Entry(_) => 1,
            Garbage::Db(db) => db.keys.len() as u64,
        };
        drop(garbage);
        core.garbage_pending.fetch_sub(1, Ordering::Relaxed);
        core.garbage_freed.fetch_add(objects, Ordering::Relaxed);
    }
}
