//! Loading the append-only file: its base, then every command of its increments, through the path
//! that clients take.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock;
use crate::base::crc::Crc64;
use crate::config::Config;
use crate::engine::core::Core;
use crate::engine::loading::player::{self, Unknown};
use crate::engine::loading::recovery::{self, Broken};
use crate::engine::loading::snapshot::{load_rdb, load_snapshot_file};
use crate::engine::loading::{Duplicates, How, LoadError, Target};
use crate::engine::{rewriting, saving};
use crate::persist::aof::manifest::{
    Invalid, Manifest, ManifestError, Part, PartKind, Seal, manifest_name, path_in,
};
use crate::persist::aof::pace::{Load, Pace};
use crate::persist::aof::replay::Outcome;
use crate::persist::aof::turnover;
use crate::persist::rdb::reader;
use crate::persist::state::LastEnd;

/// The manifest, which also counts while `appendonly` is off: the next base is numbered after its
/// own. None if there is no file, or none that names any part.
pub(super) fn load_manifest(
    core: &Core,
    config: &Config,
    dir: &Path,
) -> Result<Option<Manifest>, LoadError> {
    let name = config.appendfilename.as_bytes();
    let found = Manifest::load(&core.persist.disk, dir, name).map_err(|error| {
        let shown = match &error {
            ManifestError::Invalid(Invalid { what, line: Some((number, line)) }) => {
                format!("{what}, at line {number}: '{line}'")
            }
            error => error.to_string(),
        };
        LoadError::File(format!(
            "Error loading the append only file manifest {}: {shown}",
            path_in(dir, &manifest_name(name)).display()
        ))
    })?;
    Ok(found.filter(|manifest| !manifest.is_empty()))
}

/// `appendonly yes`: the manifest's files, or what there is instead of them.
pub(super) fn load_aof(core: &'static Core, config: &Config) -> Result<(), LoadError> {
    let (dir, disk) = (rewriting::directory(config), &core.persist.disk);
    let name = config.appendfilename.as_bytes();
    let single = path_in(&config.dir.to_path(), name);
    let has_single = disk.size(&single)?.is_some();
    if let Some(manifest) = load_manifest(core, config, &dir)? {
        let moved = disk.exists(&path_in(&dir, name))?;
        if has_single && !moved && manifest.is_single_file(name) {
            // Whoever took it for the base had no time to move it.
            return adopt_single_file(core, config, &single, &dir);
        }
        load_parts(core, config, &manifest, &dir)?;
        {
            let mut aof = core.persist.aof.lock();
            aof.manifest = manifest;
            aof.commands_before_increment = core.persist.loading.commands.load(Ordering::Relaxed);
        }
        rewriting::collect_garbage(core, config);
        return Ok(());
    }
    if !Manifest::is_announced(disk, &dir, name)? {
        let link = has_single.then_some(name);
        turnover::refuse_orphans(&dir, name, link).map_err(LoadError::File)?;
    }
    if has_single {
        return adopt_single_file(core, config, &single, &dir);
    }
    let snapshot = saving::snapshot_path(config);
    if disk.size(&snapshot)?.is_some_and(|size| size > 0) {
        tracing::info!(
            "appendonly is on, and there is no append only file: {} is adopted as its base",
            snapshot.display()
        );
        load_snapshot_file(core, config)?;
    }
    Ok(())
}

/// Loads the append-only file of a server before 7.0, and then makes it the base.
fn adopt_single_file(
    core: &'static Core,
    config: &Config,
    single: &Path,
    dir: &Path,
) -> Result<(), LoadError> {
    let (disk, name) = (&core.persist.disk, config.appendfilename.as_bytes());
    core.persist.loading.total.store(disk.size(single)?.unwrap_or(0), Ordering::Relaxed);
    load_file(core, config, single, false, true)?;
    disk.make_dir(dir)?;
    let mut manifest = Manifest::default();
    manifest.adopt_single_file(name);
    let base = path_in(dir, name);
    // What an earlier attempt left is not vouched for by any manifest.
    disk.remove(&base)?;
    disk.link_or_copy(single, &base)?;
    disk.sync_dir(dir)?;
    manifest.save(disk, dir, name)?;
    disk.remove(single)?;
    tracing::info!("Successfully migrated an old-style AOF configuration ({})", single.display());
    core.persist.aof.lock().manifest = manifest;
    Ok(())
}

pub(super) fn load_parts(
    core: &'static Core,
    config: &Config,
    manifest: &Manifest,
    dir: &Path,
) -> Result<(), LoadError> {
    let disk = &core.persist.disk;
    let parts: Vec<&Part> = manifest.parts().collect();
    let mut total = 0;
    for part in &parts {
        let path = part.path(dir);
        let Some(size) = disk.size(&path)? else {
            return Err(LoadError::File(format!(
                "{} is in the AOF manifest and does not exist: No such file or directory",
                path.display()
            )));
        };
        total += size;
    }
    core.persist.loading.total.store(total, Ordering::Relaxed);
    let mut took = Duration::ZERO;
    for (index, part) in parts.iter().enumerate() {
        let before = clock::steady();
        let last = index + 1 == parts.len();
        let sum = load_part(core, config, part, dir, last)?;
        match part.kind {
            PartKind::Increment => took += before.elapsed(),
            // What it takes is known from its size, and no rewrite makes it less.
            _ => core.persist.loading.commands.store(0, Ordering::Relaxed),
        }
        if last && part.kind == PartKind::Increment {
            core.persist.aof.lock().loaded_sum = sum;
        }
        let kind = match part.kind {
            PartKind::Base => "base",
            _ => "incr",
        };
        tracing::info!(
            "DB loaded from {kind} file {}: {:.3} seconds",
            String::from_utf8_lossy(&part.name),
            before.elapsed().as_secs_f64()
        );
    }
    let base = manifest.base().map(|base| disk.size(&base.path(dir))).transpose()?;
    let bytes = total.saturating_sub(base.flatten().unwrap_or(0));
    let commands = core.persist.loading.commands.load(Ordering::Relaxed);
    if let Some(pace) = Pace::measured(Load { commands, bytes }, took) {
        core.persist.aof.lock().pace = pace;
    }
    Ok(())
}

/// A file whose checksum is made while it is read.
struct Summed<R> {
    file: R,
    sum: Arc<Mutex<Crc64>>,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(room)?;
        self.sum.lock().update(room.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Loads a part of the manifest; its checksum, unless its end was damaged.
fn load_part(
    core: &'static Core,
    config: &Config,
    part: &Part,
    dir: &Path,
    last: bool,
) -> Result<Option<u64>, LoadError> {
    let path = part.path(dir);
    let size = core.persist.disk.size(&path)?.unwrap_or(0);
    if let Some(seal) = part.seal.filter(|seal| seal.size != size) {
        return Err(not_as_sealed(&path, seal, &format!("it has {size} bytes")));
    }
    let (sum, whole) = load_file(core, config, &path, part.is_grouped(), last)?;
    if let Some(seal) = part.seal.filter(|seal| seal.sum != sum) {
        return Err(not_as_sealed(&path, seal, &format!("its checksum is {sum:016x}")));
    }
    Ok(whole.then_some(sum))
}

fn not_as_sealed(path: &Path, seal: Seal, found: &str) -> LoadError {
    LoadError::File(format!(
        "{} is not the file that the manifest lists with size {} and crc64xz {:016x}: {found}. \
         Restore the file from a backup; or, to load it all the same, take these words and the \
         #CRC64XZ line out of the manifest",
        path.display(),
        seal.size,
        seal.sum
    ))
}

/// A file: a snapshot, commands, or a snapshot with commands behind it. Gives its checksum, and
/// whether it is whole.
fn load_file(
    core: &'static Core,
    config: &Config,
    path: &Path,
    grouped: bool,
    last: bool,
) -> Result<(u64, bool), LoadError> {
    let disk = &core.persist.disk;
    let size = disk.size(path)?.unwrap_or(0);
    if size == 0 {
        return Ok((0, true));
    }
    let mut head = [0u8; 9];
    let count = disk.open(path)?.read(&mut head).unwrap_or(0);
    let sum = Arc::new(Mutex::new(Crc64::xz()));
    let file = Summed { file: disk.open(path)?, sum: Arc::clone(&sum) };
    let whole = if reader::is_snapshot(&head[..count]) {
        let how = How { skip_expired: false, tells_expired: false, duplicates: Duplicates::Refuse };
        let from = core.persist.loading.done.load(Ordering::Relaxed);
        let mut rest = load_rdb(core, config, file, path, size, Target::Parallel, how)?;
        let done = core.persist.loading.done.load(Ordering::Relaxed) - from;
        replay_commands(core, config, &mut rest, done, path, (false, last))
    } else {
        replay_commands(core, config, file, 0, path, (grouped, last))
    }?;
    let sum = sum.lock().value();
    Ok((sum, whole))
}

/// How the last run ended, as far as its file says it.
fn tell_last_end(core: &Core, stopped: Option<i64>) {
    match stopped {
        Some(at) => tracing::info!("The last run stopped in order, at {at} (Unix time)"),
        None => tracing::info!("The last run did not stop in order: it was killed, or lost power"),
    }
    core.persist.book.lock().last_end = stopped.map_or(LastEnd::Abrupt, LastEnd::Orderly);
}

/// Says whether the file was whole; if it was not, it is now.
fn replay_commands(
    core: &'static Core,
    config: &Config,
    file: impl Read + Send,
    offset: u64,
    path: &Path,
    (grouped, last): (bool, bool),
) -> Result<bool, LoadError> {
    let (outcome, played) = player::play(core, config, file, offset, grouped);
    let shown = path.display();
    let bad = |what: &str, offset: u64| {
        LoadError::File(format!(
            "Bad file format reading the append only file {shown}: {what} at offset {offset}. Make \
             a backup of your AOF file, then use rekeep check-aof --fix <manifest>"
        ))
    };
    if let Err(Unknown { offset, name }) = played {
        // Going on without it would lose it at the next rewrite.
        return Err(LoadError::File(format!(
            "Unknown command '{name}' reading the append only file {shown} at offset {offset}"
        )));
    }
    let broken = match outcome {
        Ok(Outcome::Stopped { .. }) => unreachable!("reading stops only where playing does"),
        Err(error) => {
            return Err(LoadError::File(format!(
                "Unrecoverable error reading the append only file {shown}: {error}"
            )));
        }
        Ok(Outcome::Ok { stopped, .. }) => {
            if last {
                tell_last_end(core, stopped);
            }
            return Ok(true);
        }
        Ok(Outcome::Bad { offset, what, .. } | Outcome::Invalid { offset, what, .. }) => {
            return Err(bad(&what, offset));
        }
        Ok(Outcome::Truncated { valid_up_to, .. }) => Broken {
            path,
            valid_up_to,
            what: "the file ends inside a command".to_owned(),
            grouped: false,
        },
        Ok(Outcome::Damaged { valid_up_to, what }) => {
            Broken { path, valid_up_to, what, grouped: true }
        }
    };
    recovery::recover(core, config, &broken, last)?;
    Ok(false)
}
