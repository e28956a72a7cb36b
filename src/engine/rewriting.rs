//! The append-only file: opened, switched on and off, rewritten.
//!
//! A rewrite cuts the journal at the fork's instant. The new increment is in the manifest, durably,
//! before the journal goes on in it; so a crash at any point leaves a manifest whose files hold
//! everything that was acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::clock::UnixMs;
use crate::base::fs::{Disk, DiskFile, FsError};
use crate::config::Config;
use crate::engine::core::Core;
use crate::engine::saving::{self, Begun};
use crate::keyspace::lock::Hold;
use crate::persist::aof::manifest::{
    BaseFormat, Manifest, Part, Seal, path_in, temp_increment_name,
};
use crate::persist::aof::turnover::{self, NewBase, OpenError, Place};
use crate::persist::snapshot::{self, GrowingFile, Plan, SnapshotError};
use crate::persist::state::{AofState, Child, Work};
use crate::persist::verify::verify;
use crate::resp::error::CmdError;

/// The directory of the append-only files.
pub fn directory(config: &Config) -> PathBuf {
    config.dir.to_path().join(config.appenddirname.to_path())
}

fn temp_base(dir: &Path, pid: u32) -> PathBuf {
    dir.join(format!("temp-rewriteaof-bg-{pid}.aof"))
}

fn base_format(config: &Config) -> BaseFormat {
    match config.aof_use_rdb_preamble {
        true => BaseFormat::Rdb,
        false => BaseFormat::Aof,
    }
}

fn plan(core: &Core, config: &Config) -> Plan {
    let memory = core.memory_seen.load(Ordering::Relaxed);
    let mut plan = Plan::new(config, &core.functions.sources(), memory);
    plan.aof_base = true;
    plan.incremental_sync = config.aof_rewrite_incremental_fsync;
    plan
}

fn fill(
    hold: &Hold,
    file: &DiskFile,
    plan: &Plan,
    format: BaseFormat,
    stamp: bool,
    each_key: &mut dyn FnMut(),
) -> Result<Seal, SnapshotError> {
    let sink = GrowingFile::new(file, plan.incremental_sync);
    let written = match format {
        BaseFormat::Rdb => snapshot::write_rdb(hold, sink, plan, each_key),
        BaseFormat::Aof => snapshot::write_commands(hold, sink, plan, stamp, each_key),
    };
    written.map(|sink| sink.seal())
}

/// BGREWRITEAOF. `in_transaction` puts it off, as a running child does.
pub fn bgrewrite(
    core: &'static Core,
    hold: &Hold,
    in_transaction: bool,
) -> Result<Begun, CmdError> {
    match core.persist.child_work() {
        Some(Work::Rewrite) => {
            Err(CmdError::err("Background append only file rewriting already in progress"))
        }
        Some(Work::Save | Work::Sync) => {
            let mut book = core.persist.book.lock();
            book.rewrite_scheduled = true;
            book.rewrite_limit.succeeded();
            Ok(Begun::Scheduled)
        }
        None if in_transaction => {
            core.persist.book.lock().rewrite_scheduled = true;
            Ok(Begun::Scheduled)
        }
        None => start(core, hold).map(|()| Begun::Started).map_err(|error| {
            CmdError::err(format_args!(
                "Can't execute an AOF background rewriting. Please check the server logs for more \
                 information. ({error})"
            ))
        }),
    }
}

/// Where the files are. While none is written to, that follows `dir`, and the manifest is the one
/// that is found there; otherwise a manifest in one place would name files in another.
fn home(core: &Core, config: &Config) -> Result<PathBuf, String> {
    let dir = directory(config);
    let mut aof = core.persist.aof.lock();
    if aof.dir != dir && aof.state != AofState::On {
        let name = config.appendfilename.as_bytes();
        let found = Manifest::load(&core.persist.disk, &dir, name);
        aof.manifest = found.map_err(|error| error.to_string())?.unwrap_or_default();
        aof.dir = dir;
    }
    Ok(aof.dir.clone())
}

/// Begins a rewrite. The hold has all shards, and no child is at work.
pub fn start(core: &'static Core, hold: &Hold) -> Result<(), String> {
    if core.persist.is_child_running() {
        return Err("another child process is active".to_owned());
    }
    let config = core.config();
    let begun = home(core, &config).and_then(|dir| {
        saving::check_room(core, dir.parent().unwrap_or(&dir))?;
        cut(core, &config, &dir)?;
        let plan = plan(core, &config);
        let (disk, format) = (core.persist.disk.clone(), base_format(&config));
        let stamp = config.aof_timestamp_enabled;
        saving::fork(core, hold, |hold, reporter| {
            let mut write = || -> Result<(), SnapshotError> {
                let temp = temp_base(&dir, std::process::id());
                let file = disk.create(&temp)?;
                let seal = fill(hold, &file, &plan, format, stamp, &mut || reporter.key())?;
                file.sync()?;
                if plan.verify {
                    verify(&disk, &temp, seal)?;
                }
                reporter.sealed(seal);
                Ok(())
            };
            write().map_err(|error| error.to_string())
        })
    });
    let mut book = core.persist.book.lock();
    book.rewrite_scheduled = false;
    match begun {
        Ok(forked) => {
            drop(book);
            let temp = {
                let mut aof = core.persist.aof.lock();
                aof.rewriter = Some(forked.pid);
                temp_base(&aof.dir, forked.pid as u32)
            };
            let dirty = saving::dirty_count(core);
            saving::watch(core, forked, Work::Rewrite, dirty, (temp, None), finish)
        }
        Err(error) => {
            tracing::warn!("Can't rewrite append only file in background: {error}");
            book.rewrite_ok = false;
            book.rewrite_limit.failed();
            // Without a first base nothing is durable: try again.
            book.rewrite_scheduled = core.persist.aof.lock().state == AofState::Starting;
            Err(error)
        }
    }
}

/// The journal goes on in a new increment from this moment. The hold has all shards.
fn cut(core: &Core, config: &Config, dir: &Path) -> Result<(), String> {
    let (disk, journal) = (&core.persist.disk, &core.persist.journal);
    let told = |error: FsError| error.to_string();
    disk.make_dir(dir).map_err(told)?;
    let name = config.appendfilename.as_bytes();
    let place = Place { disk, dir, name };
    let mut aof = core.persist.aof.lock();
    if aof.manifest.is_empty() {
        turnover::announce(place)?;
    }
    match aof.state {
        AofState::Off => {}
        AofState::Starting => {
            let file = disk.create_log(&path_in(dir, &temp_increment_name(name))).map_err(told)?;
            aof.cut = journal.switch(Some(Arc::new(file)), 0, Some(0));
        }
        AofState::On => {
            let commands = journal.commands();
            aof.cut = turnover::cut(place, journal, &mut aof.manifest)?;
            aof.commands_before_increment += commands;
            aof.size_before_increment = sizes(core, &aof.manifest, dir, 1);
        }
    }
    Ok(())
}

/// Bytes of all parts but the last `without` increments.
fn sizes(core: &Core, manifest: &Manifest, dir: &Path, without: usize) -> u64 {
    let increments = manifest.increments();
    let counted = &increments[..increments.len().saturating_sub(without)];
    let size = |part: &Part| core.persist.disk.size(&part.path(dir)).ok().flatten().unwrap_or(0);
    manifest.base().into_iter().chain(counted).map(size).sum()
}

fn base_size(core: &Core, manifest: &Manifest, dir: &Path) -> u64 {
    let size = |part: &Part| core.persist.disk.size(&part.path(dir)).ok().flatten();
    manifest.base().and_then(size).unwrap_or(0)
}

fn finish(core: &'static Core, child: Child, result: Result<(), String>) {
    use std::sync::atomic::Ordering;
    let cow = core.persist.progress.cow_peak.load(Ordering::Relaxed);
    let adopted = match result {
        Ok(()) if child.killed => Err("no longer wanted".to_owned()),
        Ok(()) => {
            tracing::info!("Background AOF rewrite terminated with success");
            adopt(core, &child)
        }
        Err(text) => Err(text),
    };
    let starting = core.persist.aof.lock().state == AofState::Starting;
    let mut book = core.persist.book.lock();
    book.rewrite_secs = child.started.elapsed().as_secs() as i64;
    book.rewrite_cow = cow;
    match adopted {
        Ok(()) => {
            tracing::info!("Fork CoW for AOF rewrite: current {0} MB, peak {0} MB", cow >> 20);
            tracing::info!("Background AOF rewrite finished successfully");
            book.written = child.seal.map(|seal| (seal.size, child.memory)).or(book.written);
            book.rewrite_ok = true;
            book.rewrites += 1;
            if core.config.load().rdb_verify {
                book.verified_at = Some(UnixMs::now());
            }
            book.rewrite_limit.succeeded();
        }
        Err(text) if child.killed => {
            tracing::warn!("Background AOF rewrite terminated by signal 9 ({text})");
            book.rewrite_scheduled = starting;
        }
        Err(text) => {
            tracing::warn!("Background AOF rewrite failed: {text}");
            book.rewrite_ok = false;
            book.rewrite_limit.failed();
            book.rewrite_scheduled = starting;
        }
    }
    drop(book);
    saving::remove_temp(core, &child);
    core.persist.set_child(None);
}

/// The child's file becomes the base, and what it supersedes goes.
fn adopt(core: &Core, child: &Child) -> Result<(), String> {
    let config = core.config();
    let mut aof = core.persist.aof.lock();
    let dir = aof.dir.clone();
    if aof.rewriter.take() != Some(child.pid) {
        return Err("no longer wanted".to_owned());
    }
    let name = config.appendfilename.as_bytes();
    let place = Place { disk: &core.persist.disk, dir: &dir, name };
    let format = match is_snapshot_file(place.disk, &child.temp) {
        true => BaseFormat::Rdb,
        false => BaseFormat::Aof,
    };
    let shared = child.snapshot.is_some();
    let new = NewBase { written: &child.temp, format, seal: child.seal, shared };
    let goes_on = (aof.state, aof.cut);
    aof.manifest = turnover::adopt(place, &core.persist.journal, &aof.manifest, goes_on, &new)?;
    if aof.state == AofState::Starting {
        aof.state = AofState::On;
    }
    aof.size_before_increment = sizes(core, &aof.manifest, &dir, 1);
    aof.size_at_rewrite = aof.size_before_increment + core.persist.journal.size();
    aof.base_size = base_size(core, &aof.manifest, &dir);
    aof.commands_before_increment = 0;
    if !config.aof_disable_auto_gc {
        turnover::remove_history(place, &mut aof.manifest);
    }
    Ok(())
}

/// Before a snapshot is begun in `dir`: whether it is to be the base too (`aof-rebase-on-save`). The
/// journal goes on in a new increment then. The hold has all shards.
pub fn begin_shared(core: &Core, config: &Config, dir: &Path) -> bool {
    let (state, home) = {
        let aof = core.persist.aof.lock();
        (aof.state, aof.dir.clone())
    };
    let wanted = config.aof_rebase_on_save && config.aof_use_rdb_preamble;
    // Each attempt adds an increment, also one that fails.
    let tired = core.persist.book.lock().rewrite_limit.is_reached();
    if !wanted || state != AofState::On || tired {
        return false;
    }
    let begun = can_link(&core.persist.disk, dir, &home).and_then(|()| cut(core, config, &home));
    begun
        .inspect_err(|error| {
            tracing::warn!("The snapshot will not be the base of the append only file: {error}");
        })
        .is_ok()
}

/// Whether a file in one directory can have another name in the other.
fn can_link(disk: &Disk, from: &Path, to: &Path) -> Result<(), String> {
    let pid = std::process::id();
    let (from, to) = (from.join(format!("temp-{pid}.rdb")), temp_base(to, pid));
    let linked = disk.create(&from).and_then(|_| {
        disk.remove(&to)?;
        disk.link(&from, &to)
    });
    // What is left is removed at a later start.
    let _ = disk.remove(&from).and(disk.remove(&to));
    linked.map_err(|error| error.to_string())
}

/// A snapshot whose child has ended becomes the base. Whatever comes of that, it remains a
/// snapshot.
pub fn rebase(core: &Core, child: &Child) {
    let adopted = adopt(core, child);
    let mut book = core.persist.book.lock();
    match adopted {
        Ok(()) => {
            tracing::info!("The snapshot is the new base of the append only file too");
            book.rebases += 1;
            book.rewrite_limit.succeeded();
        }
        Err(text) => {
            tracing::warn!("The snapshot is not the base of the append only file: {text}");
            book.rewrite_limit.failed();
        }
    }
}

/// An increment that is larger is not copied while clients wait: a child writes a new base.
const ANEW_BYTES_MAX: u64 = 256 << 20;

/// After a failed sync: writes what the present increment holds to a fresh one, durably. Says
/// whether that worked; otherwise a rewrite has to come.
pub fn write_anew(core: &Core) -> bool {
    let config = core.config();
    let mut aof = core.persist.aof.lock();
    if aof.state != AofState::On {
        return false;
    }
    let (disk, dir) = (&core.persist.disk, aof.dir.clone());
    let place = Place { disk, dir: &dir, name: config.appendfilename.as_bytes() };
    let journal = &core.persist.journal;
    match turnover::write_anew(place, journal, &mut aof.manifest, ANEW_BYTES_MAX) {
        Ok(()) => {
            tracing::warn!("What could not be synced is written anew, to another increment");
            if !config.aof_disable_auto_gc {
                turnover::remove_history(place, &mut aof.manifest);
            }
            true
        }
        Err(error) => {
            tracing::warn!("The increment that could not be synced is not written anew: {error}");
            false
        }
    }
}

fn is_snapshot_file(disk: &Disk, path: &Path) -> bool {
    use std::io::Read;
    let mut head = [0u8; 9];
    let read = disk.open(path).ok().and_then(|mut file| file.read(&mut head).ok());
    read.is_some_and(|count| crate::persist::rdb::reader::is_snapshot(&head[..count]))
}

/// Deletes superseded files that an earlier run or `aof-disable-auto-gc` has left.
pub fn collect_garbage(core: &Core, config: &Config) {
    let name = config.appendfilename.as_bytes();
    if !config.aof_disable_auto_gc {
        let mut aof = core.persist.aof.lock();
        let dir = aof.dir.clone();
        let place = Place { disk: &core.persist.disk, dir: &dir, name };
        turnover::remove_history(place, &mut aof.manifest);
    }
}

/// `appendonly yes` at the start, after everything was loaded: records go to the last increment, or
/// to a first one. The hold has all shards.
pub fn open(core: &Core, hold: &Hold) -> Result<(), OpenError> {
    let config = core.config();
    let (dir, disk) = (directory(&config), &core.persist.disk);
    let place = Place { disk, dir: &dir, name: config.appendfilename.as_bytes() };
    disk.make_dir(&dir)?;
    let mut aof = core.persist.aof.lock();
    let temp = temp_base(&dir, std::process::id());
    let format = base_format(&config);
    turnover::first_base(place, &mut aof.manifest, format, &temp, |file| {
        let (plan, stamp) = (plan(core, &config), config.aof_timestamp_enabled);
        let seal = fill(hold, file, &plan, format, stamp, &mut || {})?;
        Ok(core.persist.journal.has_checksums().then_some(seal))
    })?;
    let loaded_sum = aof.loaded_sum;
    let size = turnover::open(place, &core.persist.journal, &mut aof.manifest, loaded_sum)?;
    aof.size_before_increment = sizes(core, &aof.manifest, &dir, 1);
    aof.base_size = base_size(core, &aof.manifest, &dir);
    // What had grown before the start goes on growing.
    aof.size_at_rewrite = match aof.manifest.base() {
        Some(_) => aof.base_size,
        None => aof.size_before_increment + size,
    };
    aof.state = AofState::On;
    Ok(())
}

/// CONFIG SET appendonly yes. The hold has all shards.
pub fn switch_on(core: &'static Core, hold: &Hold) -> Result<(), String> {
    {
        let mut aof = core.persist.aof.lock();
        if aof.state != AofState::Off {
            return Ok(());
        }
        aof.state = AofState::Starting;
        aof.rewriter = None;
    }
    core.persist.kill_child(&Work::Rewrite);
    if core.persist.is_child_running() {
        core.persist.book.lock().rewrite_scheduled = true;
        tracing::info!(
            "AOF was enabled but there is already another background operation. An AOF background \
             was scheduled to start when possible."
        );
        return Ok(());
    }
    start(core, hold).inspect_err(|_| {
        switch_off(core);
    })
}

/// With `appendonly yes`, after everything was replaced by what a primary holds: the file begins anew
/// with that. Until its first base is there, a start finds what was before. The hold has all shards.
pub fn begin_anew(core: &'static Core, hold: &Hold) {
    switch_off(core);
    if !core.config.load().appendonly {
        return;
    }
    core.persist.aof.lock().state = AofState::Starting;
    if core.persist.is_child_running() || start(core, hold).is_err() {
        core.persist.book.lock().rewrite_scheduled = true;
    }
}

/// CONFIG SET appendonly no. The hold has all shards.
pub fn switch_off(core: &Core) {
    core.persist.journal.close();
    {
        let mut aof = core.persist.aof.lock();
        if std::mem::take(&mut aof.state) == AofState::Starting {
            let config = core.config();
            let temp = temp_increment_name(config.appendfilename.as_bytes());
            // No base continues in it.
            let _ = core.persist.disk.remove(&path_in(&aof.dir, &temp));
        }
        aof.rewriter = None;
    }
    core.persist.book.lock().rewrite_scheduled = false;
    if core.persist.kill_child(&Work::Rewrite) {
        tracing::info!("Killing running AOF rewrite child");
    }
}

/// When the present rewrite began, if one is under way.
pub fn since(core: &Core) -> Option<UnixMs> {
    let child = core.persist.child.lock();
    child.as_ref().filter(|child| child.work == Work::Rewrite).map(|child| child.started_at)
}
