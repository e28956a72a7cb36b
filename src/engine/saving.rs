//! Snapshots: SAVE in this process, BGSAVE in a child, and what their end means.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::base::clock::{self, UnixMs};
use crate::base::fs::{DiskFile, FsError};
use crate::base::pages;
use crate::config::Config;
use crate::engine::core::{Attention, Core};
use crate::engine::{rewriting, syncing};
use crate::keyspace::lock::Hold;
use crate::persist::aof::manifest::Seal;
use crate::persist::child::{self, EXIT_OK, Forked, Report};
use crate::persist::savepoint::LastSave;
use crate::persist::snapshot::{self, GrowingFile, Plan, SnapshotError};
use crate::persist::state::{Child, Work};
use crate::persist::verify::verify;
use crate::resp::error::CmdError;
use crate::stats::memory::Memory;

/// An unfinished file that did not change for this long, and whose process is gone, is left over.
const LEFTOVER_AGE: std::time::Duration = std::time::Duration::from_secs(60);

/// How a background job was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// A child is at work.
    Started,
    /// It will be begun when the present child has ended.
    Scheduled,
}

/// The snapshot's path.
pub fn snapshot_path(config: &Config) -> PathBuf {
    config.dir.to_path().join(config.dbfilename.to_path())
}

/// The name a snapshot has until it is complete.
pub fn temp_path(config: &Config, pid: u32) -> PathBuf {
    config.dir.to_path().join(format!("temp-{pid}.rdb"))
}

/// All changes counted so far.
pub fn dirty_count(core: &Core) -> u64 {
    core.stats.sum(|stats| &stats.dirty)
}

/// Changes since the last successful snapshot.
pub fn changes(core: &Core) -> u64 {
    dirty_count(core).wrapping_sub(core.persist.book.lock().saved_dirty)
}

fn plan(core: &Core, config: &Config) -> Plan {
    let memory = core.memory_seen.load(Ordering::Relaxed);
    let mut plan = Plan::new(config, &core.functions.sources(), memory);
    plan.replication = syncing::place(core);
    plan
}

fn fill(
    hold: &Hold,
    file: &DiskFile,
    plan: &Plan,
    each_key: &mut dyn FnMut(),
) -> Result<Seal, SnapshotError> {
    let sink = GrowingFile::new(file, plan.incremental_sync);
    Ok(snapshot::write_rdb(hold, sink, plan, each_key)?.seal())
}

/// SAVE: writes a snapshot while the keyspace stands still. The hold has all shards.
pub fn save(core: &Core, hold: &Hold) -> Result<(), CmdError> {
    if core.persist.child_work() == Some(Work::Save) {
        return Err(CmdError::err("Background save already in progress"));
    }
    save_now(core, hold).map_err(|error| {
        tracing::warn!("Error saving the snapshot: {error}");
        CmdError::Const("ERR")
    })
}

/// The same for whoever has no client to answer.
pub fn save_now(core: &Core, hold: &Hold) -> Result<(), SnapshotError> {
    let config = core.config();
    let plan = plan(core, &config);
    let dirty = dirty_count(core);
    let temp = temp_path(&config, std::process::id());
    let path = snapshot_path(&config);
    let saved = core
        .persist
        .disk
        .write_atomically(&path, &temp, |file| fill(hold, file, &plan, &mut || {}));
    let mut book = core.persist.book.lock();
    match saved {
        Ok(_) => {
            tracing::info!("DB saved on disk");
            book.saved_at = UnixMs::now();
            book.saved_dirty = dirty;
            book.last_save = LastSave::Ok;
            book.saves += 1;
            core.set_attention(Attention::SNAPSHOT_FAILED, false);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// FLUSHALL: a snapshot of before must not come back, neither from a child at work nor at the next
/// start. The hold has all shards, which are empty. Inside a transaction the moment for a snapshot
/// comes after its end. Says whether a snapshot holds the change.
pub fn after_flush(core: &Core, hold: &Hold, in_transaction: bool) -> bool {
    if core.has_attention(Attention::LOADING) {
        return false;
    }
    if core.persist.kill_child(&Work::Save) {
        core.persist.await_no_child();
    }
    if core.config.load().save.is_empty() {
        return false;
    }
    if in_transaction {
        core.persist.book.lock().save_scheduled = true;
        return false;
    }
    let saved = save_now(core, hold);
    if let Err(error) = &saved {
        tracing::warn!("Error saving the snapshot after FLUSHALL: {error}");
    }
    saved.is_ok()
}

/// BGSAVE. `schedule` says what to do while a rewrite is under way.
pub fn bgsave(core: &'static Core, hold: &Hold, schedule: bool) -> Result<Begun, CmdError> {
    match core.persist.child_work() {
        Some(Work::Save) => Err(CmdError::err("Background save already in progress")),
        Some(Work::Rewrite | Work::Sync) if schedule => {
            core.persist.book.lock().save_scheduled = true;
            Ok(Begun::Scheduled)
        }
        Some(Work::Rewrite | Work::Sync) => Err(CmdError::err(
            "Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE \
             in order to schedule a BGSAVE whenever possible.",
        )),
        None => start(core, hold)
            .map(|()| Begun::Started)
            .map_err(|error| CmdError::err(format_args!("Can't save in background: {error}"))),
    }
}

/// Forks a child that writes a snapshot. The hold has all shards, and no child is at work.
pub fn start(core: &'static Core, hold: &Hold) -> Result<(), String> {
    if core.persist.is_child_running() {
        return Err("another child process is active".to_owned());
    }
    let config = core.config();
    let mut plan = plan(core, &config);
    let dirty = dirty_count(core);
    let path = snapshot_path(&config);
    core.persist.book.lock().tried_at = UnixMs::now();
    let disk = core.persist.disk.clone();
    let dir = config.dir.to_path();
    let room = check_room(core, &dir);
    let shared = room.is_ok() && rewriting::begin_shared(core, &config, &dir);
    plan.aof_base = shared;
    let forked = room
        .and_then(|()| {
            fork(core, hold, |hold, reporter| {
                let temp = dir.join(format!("temp-{}.rdb", std::process::id()));
                let mut write = || -> Result<Seal, SnapshotError> {
                    let file = disk.create(&temp)?;
                    let seal = fill(hold, &file, &plan, &mut || reporter.key())?;
                    file.sync()?;
                    if plan.verify {
                        verify(&disk, &temp, seal)?;
                    }
                    if !shared {
                        disk.rename_durably(&temp, &path)?;
                    }
                    Ok(seal)
                };
                let seal = write().map_err(|error| error.to_string())?;
                reporter.sealed(seal);
                Ok(())
            })
        })
        .inspect_err(|error| {
            tracing::warn!("Can't save in background: {error}");
            core.persist.book.lock().last_save = LastSave::Failed;
            update_attention(core);
        })?;
    let temp = temp_path(&config, forked.pid as u32);
    if shared {
        core.persist.aof.lock().rewriter = Some(forked.pid);
    }
    watch(core, forked, Work::Save, dirty, (temp, shared.then_some(path)), finish)
}

/// What the child has written becomes base and snapshot.
fn place_shared(core: &Core, child: &Child, path: &Path) -> Result<(), String> {
    if child.killed {
        return Err("no longer wanted".to_owned());
    }
    rewriting::rebase(core, child);
    let placed = core.persist.disk.rename_durably(&child.temp, path);
    placed.map_err(|error| error.to_string())
}

/// Compares the room in a directory with what a snapshot will need, going by the last one: it is
/// not begun to fail at its end.
pub fn check_room(core: &Core, dir: &Path) -> Result<(), String> {
    let needed = core.persist.book.lock().estimate(Memory::allocated());
    let Some(needed) = needed else { return Ok(()) };
    // Where that cannot be asked, writing will tell.
    let Ok(available) = core.persist.disk.available(dir) else { return Ok(()) };
    if needed <= available {
        return Ok(());
    }
    Err(format!(
        "{} has {available} bytes left, and the file will need about {needed}, going by the last one",
        dir.display()
    ))
}

/// Forks with the time measured.
pub fn fork(
    core: &Core,
    hold: &Hold,
    work: impl FnOnce(&Hold, &mut child::Reporter) -> Result<(), String>,
) -> Result<Forked, String> {
    let progress = &core.persist.progress;
    progress.keys.store(0, Ordering::Relaxed);
    progress.cow.store(0, Ordering::Relaxed);
    progress.cow_peak.store(0, Ordering::Relaxed);
    progress.keys_total.store(snapshot::key_count(hold), Ordering::Relaxed);
    // Built before the fork, so that the child finds it built.
    crate::base::crc::warm_up();
    let before = clock::steady();
    let forked = child::fork_with(hold, work).map_err(|error| error.to_string())?;
    let mut book = core.persist.book.lock();
    book.fork_usec = before.elapsed().as_micros() as u64;
    book.forks += 1;
    Ok(forked)
}

/// Notes a child and listens to it on a thread of its own; `finish` hears how it ended. Right after a
/// fork each page that is written for the first time is copied, and everyone waits for the locks: so
/// that thread does also what need not be done under them.
pub fn watch(
    core: &'static Core,
    forked: Forked,
    work: Work,
    dirty: u64,
    (temp, snapshot): (PathBuf, Option<PathBuf>),
    finish: fn(&'static Core, Child, Result<(), String>),
) -> Result<(), String> {
    let pid = forked.pid;
    let begun = match work {
        Work::Save | Work::Sync => "Background saving",
        Work::Rewrite => "Background append only file rewriting",
    };
    let child = Child {
        pid,
        work,
        started: clock::steady(),
        started_at: UnixMs::now(),
        dirty,
        temp,
        snapshot,
        memory: 0,
        seal: None,
        killed: false,
    };
    core.persist.set_child(Some(child));
    let listen = move || {
        tracing::info!("{begun} started by pid {pid}");
        let memory = Memory::allocated();
        let (mut failure, mut seal) = (None, None);
        let code = forked.wait(|report| match report {
            Report::Progress { keys, cow } => {
                let progress = &core.persist.progress;
                progress.keys.store(keys, Ordering::Relaxed);
                if cow > 0 {
                    progress.cow.store(cow, Ordering::Relaxed);
                    progress.cow_peak.fetch_max(cow, Ordering::Relaxed);
                }
            }
            Report::Sealed(told) => seal = Some(told),
            Report::Failed(text) => failure = Some(text),
        });
        let result = match (code, failure) {
            (EXIT_OK, _) => Ok(()),
            (_, Some(text)) => Err(text),
            (code @ ..0, None) => Err(format!("terminated by signal {}", -code)),
            (code, None) => Err(format!("exit code {code}")),
        };
        let child = core.persist.child.lock().clone();
        if let Some(child) = child.filter(|child| child.pid == pid) {
            finish(core, Child { seal, memory, ..child }, result);
            restore_huge_pages(core);
        }
    };
    let spawned = std::thread::Builder::new().name("child-watch".to_owned()).spawn(listen);
    spawned.map(|_| ()).map_err(|error| error.to_string())
}

/// What a child's copy-on-write has split is put together again, until the next child begins.
fn restore_huge_pages(core: &Core) {
    let before = clock::steady();
    let stop = || core.persist.is_child_running() || core.shutdown.stop.load(Ordering::Relaxed);
    let done = pages::collapse_heap(stop);
    if done.huge > 0 {
        tracing::debug!("{} huge pages put together in {:?}", done.huge, before.elapsed());
    }
}

/// Removes unfinished files that children of killed servers left. Another server may share the
/// directory: its children live, or have written a moment ago.
pub fn remove_leftovers(core: &Core, config: &Config) {
    let dirs = [
        (config.dir.to_path(), "temp-", ".rdb"),
        (config.dir.to_path(), "temp-sync-", ".rdb"),
        (rewriting::directory(config), "temp-rewriteaof-bg-", ".aof"),
    ];
    for (dir, prefix, suffix) in dirs {
        let Ok(found) = std::fs::read_dir(dir) else { continue };
        for file in found.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix(prefix).and_then(|name| name.strip_suffix(suffix));
            let Some(pid) = pid.and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0)
            else {
                continue;
            };
            let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
            let lives = asked != Err(nix::errno::Errno::ESRCH);
            let changed = file.metadata().and_then(|data| data.modified()).ok();
            let age = changed.and_then(|at| at.elapsed().ok()).unwrap_or_default();
            if !lives && age > LEFTOVER_AGE {
                tracing::info!("Removing {name}, which an earlier process has not finished");
                // Nobody misses the space more than before.
                let _ = core.persist.disk.remove(&file.path());
            }
        }
    }
}

/// Removes what a failed child left.
pub fn remove_temp(core: &Core, child: &Child) {
    let removed: Result<(), FsError> = core.persist.disk.remove(&child.temp);
    // Usually the child removed it, or never made it.
    drop(removed);
}

fn finish(core: &'static Core, child: Child, result: Result<(), String>) {
    let cow = core.persist.progress.cow_peak.load(Ordering::Relaxed);
    let result = match (&child.snapshot, result) {
        (Some(path), Ok(())) => place_shared(core, &child, path),
        (Some(_), Err(text)) if !child.killed => {
            core.persist.book.lock().rewrite_limit.failed();
            Err(text)
        }
        (_, result) => result,
    };
    {
        let mut book = core.persist.book.lock();
        book.save_secs = child.started.elapsed().as_secs() as i64;
        book.save_cow = cow;
        match &result {
            Ok(()) => {
                book.written = child.seal.map(|seal| (seal.size, child.memory)).or(book.written);
                tracing::info!("DB saved on disk");
                tracing::info!("Fork CoW for RDB: current {0} MB, peak {0} MB", cow >> 20);
                tracing::info!("Background saving terminated with success");
                book.saved_dirty = child.dirty;
                book.saved_at = UnixMs::now();
                if core.config.load().rdb_verify {
                    book.verified_at = Some(book.saved_at);
                }
                book.last_save = LastSave::Ok;
                book.saves += 1;
            }
            // Killed on purpose: neither success nor a failure of the disk.
            Err(_) if child.killed => {
                tracing::warn!("Background saving terminated by signal 9");
            }
            Err(text) => {
                tracing::warn!("Background saving error: {text}");
                book.last_save = LastSave::Failed;
            }
        }
    }
    if result.is_err() {
        remove_temp(core, &child);
    }
    core.persist.set_child(None);
    update_attention(core);
}

/// Whether writes are refused because the last snapshot failed.
pub fn update_attention(core: &Core) {
    let config = core.config.load();
    let failed = core.persist.book.lock().last_save == LastSave::Failed;
    let refuse = failed && config.stop_writes_on_bgsave_error && !config.save.is_empty();
    core.set_attention(Attention::SNAPSHOT_FAILED, refuse);
}
