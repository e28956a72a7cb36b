//! Loading: what the files hold becomes the keyspace, or the start fails and says why.
//!
//! Snapshots are read by one thread and decoded by several; commands are read by one thread and
//! replayed by another, through the same path that clients take. With `appendonly yes`, no manifest,
//! and a snapshot or a single append-only file of an older server, that file is adopted as the base:
//! a start is never empty beside data.

mod log;
mod player;
mod recovery;
mod snapshot;
mod sync;

use std::sync::atomic::Ordering;

use crate::base::clock::{self, Steady, UnixMs};
use crate::base::fs::FsError;
use crate::engine::core::{Attention, Core};
use crate::engine::{rewriting, saving};
use crate::keyspace::effects::Effects;
use crate::keyspace::lock::Hold;
use crate::keyspace::view::DbView;
use crate::persist::aof::manifest::ManifestError;
use crate::persist::rdb::reader::RdbError;
use crate::script::library::Libraries;
use crate::stats::memory::Memory;

pub use sync::{adopt_sync, sync_path};

/// How often progress is told in the log.
const PROGRESS_SECS: u64 = 2;

/// Why loading failed. The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The manifest is wrong.
    #[error("{0}")]
    Manifest(ManifestError),
    /// A snapshot is damaged.
    #[error("Internal error in RDB reading {path}: {error}{place}")]
    Rdb {
        /// The file.
        path: String,
        /// What is wrong.
        error: RdbError,
        /// How far it was read, where the error does not say it.
        place: String,
    },
    /// A key of a snapshot cannot be had.
    #[error("Internal error in RDB reading {path}, key '{key}' (offset {offset}): {what}")]
    Key {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// Where its value begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Anything else about a file.
    #[error("{0}")]
    File(String),
}

/// Where keys of a snapshot go.
pub enum Target<'h> {
    /// Into the shards, each locked for itself, by several threads.
    Parallel,
    /// Nowhere: several threads see whether they can be had.
    Nowhere,
    /// Into shards that are all locked by the caller.
    Held(&'h mut Hold),
}

/// What to do with a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// The file is damaged.
    Refuse,
    /// The file's key replaces it (DEBUG RELOAD NOFLUSH).
    Replace,
}

/// How a snapshot is loaded.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Whether keys past their deadline are passed over.
    pub skip_expired: bool,
    /// Whether the stream tells of those.
    pub tells_expired: bool,
    /// See [`Duplicates`].
    pub duplicates: Duplicates,
}

/// Loads what the settings name, at the start.
pub fn load_at_start(core: &'static Core) -> Result<(), LoadError> {
    let config = core.config();
    begin(core);
    core.persist.aof.lock().dir = rewriting::directory(&config);
    saving::remove_leftovers(core, &config);
    if config.appendonly {
        log::load_aof(core, &config)?;
        // Writes are taken only when they can be recorded.
        let hold = core.keyspace.lock_all();
        rewriting::open(core, &hold).map_err(|error| {
            LoadError::File(format!("Can't open the append-only file: {error}"))
        })?;
    } else {
        let dir = rewriting::directory(&config);
        let manifest = log::load_manifest(core, &config, &dir)?;
        core.persist.aof.lock().manifest = manifest.unwrap_or_default();
        snapshot::load_snapshot_file(core, &config)?;
    }
    end(core);
    Ok(())
}

/// From now on clients are told that files are loaded.
pub fn begin(core: &Core) {
    count_anew(core);
    core.persist.loading.active.store(true, Ordering::Relaxed);
    core.set_attention(Attention::LOADING, true);
}

fn count_anew(core: &Core) {
    let loading = &core.persist.loading;
    loading.since.store(UnixMs::now().secs() as i64, Ordering::Relaxed);
    loading.memory.store(Memory::read().allocated, Ordering::Relaxed);
    for counter in [&loading.total, &loading.done, &loading.keys, &loading.commands] {
        counter.store(0, Ordering::Relaxed);
    }
    loading.stream_db.store(0, Ordering::Relaxed);
    *loading.place.lock() = (None, None);
}

/// Clients are served again.
pub fn end(core: &Core) {
    core.set_attention(Attention::LOADING, false);
    core.persist.loading.active.store(false, Ordering::Relaxed);
}

/// Tells every other second how far loading is.
struct ProgressLog {
    began: Steady,
    told: Steady,
}

impl ProgressLog {
    fn new() -> ProgressLog {
        let now = clock::steady();
        ProgressLog { began: now, told: now }
    }

    fn tell(&mut self, core: &Core) {
        if self.told.elapsed().as_secs() < PROGRESS_SECS {
            return;
        }
        self.told = clock::steady();
        let loading = &core.persist.loading;
        let total = loading.total.load(Ordering::Relaxed).max(1);
        let done = loading.done.load(Ordering::Relaxed);
        let share = done as f64 / total as f64;
        let left = self.began.elapsed().as_secs_f64() * (1.0 / share.max(0.001) - 1.0);
        tracing::info!(
            "Loading: {:.1}% of {:.1} MB, {} keys, about {:.0} seconds left",
            share * 100.0,
            total as f64 / 1_048_576.0,
            loading.keys.load(Ordering::Relaxed),
            left
        );
    }
}

/// `key-load-delay`, microseconds.
fn delay(micros: i32) {
    if micros > 0 {
        std::thread::sleep(std::time::Duration::from_micros(micros.unsigned_abs().into()));
    }
}

/// DEBUG RELOAD: saves, empties and loads again. The hold has all shards.
pub fn reload(
    core: &'static Core,
    hold: &mut Hold,
    save: bool,
    flush: bool,
    duplicates: Duplicates,
) -> Result<(), String> {
    if save {
        saving::save_now(core, hold).map_err(|error| error.to_string())?;
    }
    let config = core.config();
    let path = saving::snapshot_path(&config);
    if flush {
        empty(core, hold);
    }
    let disk = &core.persist.disk;
    let size = disk.size(&path).ok().flatten().unwrap_or(0);
    let how = How { skip_expired: true, tells_expired: false, duplicates };
    let file = disk.open(&path).map_err(|error| error.to_string())?;
    begin(core);
    let loaded =
        snapshot::load_rdb(core, &config, file, &path, size, Target::Held(hold), how).map(drop);
    end(core);
    loaded.map_err(|error| error.to_string())
}

/// DEBUG LOADAOF: empties and loads the append-only file again. No shard is held.
pub fn reload_aof(core: &'static Core) -> Result<(), String> {
    let config = core.config();
    let was_active = core.persist.journal.is_active();
    {
        let mut hold = core.keyspace.lock_all();
        core.persist.journal.flush();
        core.persist.journal.set_active(false);
        // Replicas begin anew: what is replayed is not for them.
        core.persist.backlog.stop();
        empty(core, &mut hold);
        begin(core);
    }
    let dir = core.persist.aof.lock().dir.clone();
    let loaded = log::load_manifest(core, &config, &dir).and_then(|manifest| {
        let manifest = manifest.unwrap_or_default();
        log::load_parts(core, &config, &manifest, &dir)?;
        // As after a start, numbers go on from those it has.
        core.persist.aof.lock().manifest = manifest;
        Ok(())
    });
    let _hold = core.keyspace.lock_all();
    if let Err(error) = loaded {
        // What is in memory is not what the files say, and must not go over them.
        tracing::error!("Fatal error loading the append only file: {error}. Exiting.");
        core.shutdown.finish(1);
        return Err(error.to_string());
    }
    end(core);
    core.persist.journal.set_active(was_active);
    Ok(())
}

/// Removes every key of every database, and the libraries; nothing is recorded.
fn empty(core: &Core, hold: &mut Hold) {
    core.functions.set(Libraries::default());
    let mut fx = Effects::default();
    let env = core.env();
    let databases = u32::try_from(core.config.load().databases).unwrap_or(1);
    for db in 0..databases {
        DbView::new(hold, &env, &mut fx, db).flush();
    }
}
