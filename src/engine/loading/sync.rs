//! What a primary sent in place of everything that is here.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::config::Config;
use crate::engine::core::{Core, Scratch, Worker};
use crate::engine::loading::snapshot::load_rdb;
use crate::engine::loading::{Duplicates, How, LoadError, Target, begin, count_anew, empty, end};
use crate::engine::{rewriting, settle};
use crate::keyspace::lock::Hold;
use crate::keyspace::view::DbView;
use crate::persist::journal::LogOffset;
use crate::script::library::Libraries;

/// A snapshot up to so many bytes is loaded while clients wait.
const AT_ONCE_BYTES_MAX: u64 = 4 << 20;

/// The file to which a primary's snapshot comes.
pub fn sync_path(config: &Config) -> PathBuf {
    config.dir.to_path().join(format!("temp-sync-{}.rdb", std::process::id()))
}

/// Loads a primary's snapshot in place of all keys and libraries. It is decoded once while what is
/// here goes on being served, so that a damaged one changes nothing. A small one is loaded while
/// clients wait; otherwise they are told that files are loaded. `then` is called when everything is
/// there, with the database that is selected in the stream behind the snapshot, under all locks; not
/// if it is not `wanted` any more.
pub fn adopt_sync(
    core: &'static Core,
    worker: &Worker,
    path: &Path,
    wanted: impl Fn() -> bool,
    then: impl FnOnce(u32),
) -> Result<u32, LoadError> {
    let config = core.config();
    let disk = &core.persist.disk;
    let size = disk.size(path)?.unwrap_or(0);
    // Keys past their deadline go when the primary says so.
    let how = How { skip_expired: false, tells_expired: false, duplicates: Duplicates::Replace };
    load_rdb(core, &config, disk.open(path)?, path, size, Target::Nowhere, how).map(drop)?;
    let file = disk.open(path)?;
    let mut hold = core.keyspace.lock_all();
    if !wanted() {
        return Err(LoadError::File("no longer wanted".to_owned()));
    }
    rewriting::switch_off(core);
    // Neither before nor after: who comes back must get everything.
    core.persist.backlog.stop();
    core.replicas.all().iter().for_each(|replica| replica.client.kill());
    remove_all(core, worker, &mut hold);
    let at_once = size <= AT_ONCE_BYTES_MAX && config.key_load_delay == 0;
    let loaded = if at_once {
        count_anew(core);
        load_rdb(core, &config, file, path, size, Target::Held(&mut hold), how).map(drop)
    } else {
        begin(core);
        core.persist.loading.total.store(size, Ordering::Relaxed);
        drop(hold);
        let loaded = load_rdb(core, &config, file, path, size, Target::Parallel, how).map(drop);
        hold = core.keyspace.lock_all();
        loaded
    };
    let db = core.persist.loading.stream_db.load(Ordering::Relaxed);
    match &loaded {
        Ok(()) => then(db),
        // Half of it is worth less than nothing.
        Err(_) => empty(core, &mut hold),
    }
    worker.stats.dirty.add(core.persist.loading.keys.load(Ordering::Relaxed).max(1));
    end(core);
    if loaded.is_ok() {
        rewriting::begin_anew(core, &hold);
    }
    loaded.map(|()| db)
}

/// Clients that watched or cached keys hear that they are gone; nothing is recorded.
fn remove_all(core: &'static Core, worker: &Worker, hold: &mut Hold) {
    core.functions.set(Libraries::default());
    core.own_keys.clear();
    let env = core.env();
    let mut scratch = Scratch::default();
    for db in 0..env.databases {
        DbView::new(hold, &env, &mut scratch.fx, db).flush();
    }
    let left = settle::settle(worker, &env, &mut scratch, hold, &mut LogOffset::default());
    // Nobody waits for keys on a replica but for their end, which comes again.
    drop(left);
}
