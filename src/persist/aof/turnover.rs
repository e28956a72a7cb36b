//! How the append-only file goes over to new parts: the steps that a crash may come between.
//!
//! After each of them the manifest on the disk names files that hold everything that was
//! acknowledged.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::manifest::{BaseFormat, Manifest, Part, Seal, orphan, path_in, temp_increment_name};
use crate::base::crc::Crc64;
use crate::base::fs::{Disk, DiskFile, FsError, Verb};
use crate::persist::journal::{Journal, LogOffset};
use crate::persist::snapshot::SnapshotError;
use crate::persist::state::AofState;

/// Bytes copied at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Where the files are, and what they are called.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    /// The disk.
    pub disk: &'p Disk,
    /// The directory.
    pub dir: &'p Path,
    /// `appendfilename`
    pub name: &'p [u8],
}

/// Why the append-only file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The first base was not written.
    #[error(transparent)]
    Base(#[from] SnapshotError),
    /// A first base would be written over files that are there.
    #[error("{0}")]
    Announce(String),
}

/// A base that is written under another name, and synced.
pub struct NewBase<'b> {
    /// What it is called so far.
    pub written: &'b Path,
    /// Its format.
    pub format: BaseFormat,
    /// What it holds.
    pub seal: Option<Seal>,
    /// Whether the other name stays, beside that of the base.
    pub shared: bool,
}

/// Before the first base: says that there will be one, unless there are files that it could write
/// over.
pub fn announce(place: Place<'_>) -> Result<(), String> {
    let Place { disk, dir, name } = place;
    let told = |error: FsError| error.to_string();
    if Manifest::is_announced(disk, dir, name).map_err(told)? {
        return Ok(());
    }
    refuse_orphans(dir, name, None)?;
    Manifest::announce(disk, dir, name).map_err(told)
}

/// Parts without the manifest that would order them are no reason to begin empty.
pub fn refuse_orphans(dir: &Path, name: &[u8], but: Option<&[u8]>) -> Result<(), String> {
    let Some(found) = orphan(dir, name, but) else { return Ok(()) };
    Err(format!(
        "Found {} but no manifest. The server does not begin empty beside data: restore the \
         manifest, or move the files away.",
        found.display()
    ))
}

/// Where there is no part yet, a first base is written by `fill`, to `temp` at first. What `fill` gives
/// goes into the manifest.
pub fn first_base(
    place: Place<'_>,
    manifest: &mut Manifest,
    format: BaseFormat,
    temp: &Path,
    fill: impl FnOnce(&mut DiskFile) -> Result<Option<Seal>, SnapshotError>,
) -> Result<(), OpenError> {
    if !manifest.is_empty() {
        return Ok(());
    }
    announce(place).map_err(OpenError::Announce)?;
    let mut next = manifest.clone();
    let path = next.new_base(place.name, format, None).path(place.dir);
    tracing::info!("Creating AOF base file {} on server start", path.display());
    let seal = place.disk.write_atomically(&path, temp, fill)?;
    if let Some(seal) = seal {
        next.seal_base(seal);
    }
    *manifest = next;
    Ok(())
}

/// The journal goes on in the last increment, which was loaded and has this checksum, if that is
/// known, or in a first one. Says how long it is.
pub fn open(
    place: Place<'_>,
    journal: &Journal,
    manifest: &mut Manifest,
    loaded_sum: Option<u64>,
) -> Result<u64, OpenError> {
    let file = match manifest.increments().last() {
        Some(part) => reopen(place, &part.path(place.dir))?,
        None => add_increment(place, journal, manifest)?,
    };
    let size = file.size()?;
    let sum = if size == 0 { Some(0) } else { loaded_sum };
    journal.switch(Some(Arc::new(file)), size, sum);
    Ok(size)
}

/// The journal goes on in a new increment from this moment; says where the one before ends. The
/// caller holds the locks of all shards.
pub fn cut(
    place: Place<'_>,
    journal: &Journal,
    manifest: &mut Manifest,
) -> Result<LogOffset, String> {
    // Only the last increment may end in the middle of a record, and nothing in a later one may be
    // durable before what comes before it. So the old one is whole and synced before the manifest
    // names the new one.
    if !journal.drain() {
        return Err("the present increment cannot be written to its end".to_owned());
    }
    if !journal.is_tainted() {
        journal.sync();
    }
    let file = add_increment(place, journal, manifest).map_err(|error| error.to_string())?;
    Ok(journal.switch(Some(Arc::new(file)), 0, Some(0)))
}

/// The new base takes the place of what was before `cut`. Gives the manifest as it is then.
pub fn adopt(
    place: Place<'_>,
    journal: &Journal,
    manifest: &Manifest,
    (state, cut): (AofState, LogOffset),
    new: &NewBase<'_>,
) -> Result<Manifest, String> {
    let Place { disk, dir, name } = place;
    let told = |error: FsError| error.to_string();
    let mut next = manifest.clone();
    let seal = new.seal.filter(|_| journal.has_checksums());
    let base = next.new_base(name, new.format, seal).path(dir);
    if new.shared {
        // What an earlier attempt left is not vouched for by any manifest.
        disk.remove(&base).map_err(told)?;
        disk.link(new.written, &base).map_err(told)?;
        disk.sync_dir(dir).map_err(told)?;
    } else {
        disk.rename_durably(new.written, &base).map_err(told)?;
    }
    let kept = match state {
        AofState::Off => 0,
        AofState::On => 1,
        AofState::Starting => {
            let increment = next.new_increment(name).path(dir);
            // What was collected must be in the file before the manifest vouches for it.
            journal.flush();
            journal.sync();
            let temp = path_in(dir, &temp_increment_name(name));
            disk.rename_durably(&temp, &increment).map_err(told)?;
            1
        }
    };
    next.retire_increments(kept);
    publish(disk, &next, dir, name, &base)?;
    journal.superseded(cut);
    Ok(next)
}

/// Creates the next increment and puts it into the manifest, durably. The journal's present file
/// is whole, and synced unless that failed.
fn add_increment(
    place: Place<'_>,
    journal: &Journal,
    manifest: &mut Manifest,
) -> Result<DiskFile, FsError> {
    let Place { disk, dir, name } = place;
    let mut next = manifest.clone();
    // What the disk may have lost is not vouched for.
    let vouched = journal.has_checksums() && !journal.is_tainted();
    next.seal_increment(journal.seal().filter(|_| vouched));
    let path = next.new_increment(name).path(dir);
    if journal.has_checksums() {
        next.mark_grouped();
    }
    tracing::info!("Creating AOF incr file {} on background rewrite", path.display());
    let file = disk.create_log(&path)?;
    disk.sync_dir(dir)?;
    if let Err(error) = next.save(disk, dir, name) {
        settle(disk, &next, dir, name).map_err(|_| {
            // The present increment goes on, so it must not be listed as finished.
            let _ = manifest.save(disk, dir, name);
            error
        })?;
    }
    *manifest = next;
    Ok(file)
}

/// After a failed sync: what the last increment was given is copied to a fresh one, which takes its
/// place. The kernel may have dropped what it could not write; the checksum tells, and then nothing
/// is done, as with an increment larger than `bytes_max`: a new base is the cure.
pub fn write_anew(
    place: Place<'_>,
    journal: &Journal,
    manifest: &mut Manifest,
    bytes_max: u64,
) -> Result<(), String> {
    let Place { disk, dir, name } = place;
    let told = |error: FsError| error.to_string();
    let size = journal.size();
    if size > bytes_max {
        return Err(format!("it has {size} bytes"));
    }
    // Otherwise the name of the fresh one could be one that the disk's manifest counts on.
    if !matches!(Manifest::load(disk, dir, name), Ok(Some(found)) if found == *manifest) {
        return Err("the manifest is not what was written".to_owned());
    }
    let Some(old) = manifest.increments().last() else { return Err("there is none".to_owned()) };
    let old = disk.open(&old.path(dir)).map_err(told)?;
    let mut next = manifest.clone();
    let path = next.replace_increment(name).path(dir);
    let mut copy =
        Copy { old, fresh: disk.create_log(&path).map_err(told)?, at: 0, sum: Crc64::xz() };
    let mut published = false;
    let written = copy.up_to(size).and_then(|()| {
        // Most of it before anybody waits.
        copy.fresh.sync()
    });
    let written = written.map_err(told).and_then(|()| {
        journal.write_anew(|seal| {
            copy.up_to(seal.size).map_err(told)?;
            if (copy.at, copy.sum.value()) != (seal.size, seal.sum) {
                return Err("the kernel does not give back what was written".to_owned());
            }
            copy.fresh.sync().map_err(told)?;
            disk.sync_dir(dir).map_err(told)?;
            published = true;
            if let Err(error) = next.save(disk, dir, name) {
                settle(disk, &next, dir, name).map_err(|_| error.to_string())?;
            }
            Ok(copy.fresh)
        })
    });
    if let Err(error) = written {
        // The old one goes on, so it must be listed, and then the fresh one may go.
        if !published || manifest.save(disk, dir, name).is_ok() {
            let _ = disk.remove(&path);
        } else {
            manifest.skip_increment();
        }
        return Err(error);
    }
    *manifest = next;
    Ok(())
}

/// A file on its way to another.
struct Copy {
    old: DiskFile,
    fresh: DiskFile,
    at: u64,
    sum: Crc64,
}

impl Copy {
    /// Goes on until so many bytes are copied, or the old file ends.
    fn up_to(&mut self, size: u64) -> Result<(), FsError> {
        let mut room = vec![0; BLOCK_BYTES];
        while self.at < size {
            let want = room.len().min((size - self.at) as usize);
            let read = self.old.inner().read_at(&mut room[..want], self.at);
            let count = read.map_err(|error| self.old.error(Verb::Read, error))?;
            if count == 0 {
                break;
            }
            let bytes = room.get(..count).unwrap_or_default();
            self.fresh.put(bytes)?;
            self.sum.update(bytes);
            self.at += count as u64;
        }
        Ok(())
    }
}

/// Makes `manifest` the one that counts; `base` is its new base, in place and synced.
fn publish(
    disk: &Disk,
    manifest: &Manifest,
    dir: &Path,
    name: &[u8],
    base: &Path,
) -> Result<(), String> {
    let Err(error) = manifest.save(disk, dir, name) else { return Ok(()) };
    settle(disk, manifest, dir, name).map_err(|in_place| {
        if !in_place {
            let _ = disk.remove(base);
        }
        error.to_string()
    })
}

/// A failure of the last step of saving leaves the new manifest in place, and then it counts, once
/// its name is durable. Otherwise says whether it is or may be in place.
fn settle(disk: &Disk, manifest: &Manifest, dir: &Path, name: &[u8]) -> Result<(), bool> {
    match Manifest::load(disk, dir, name) {
        Ok(Some(found)) if found == *manifest => disk.sync_dir(dir).map_err(|_| true),
        Ok(_) => Err(false),
        Err(_) => Err(true),
    }
}

/// Opens the last increment that is there, to go on in it. A killed process may have left it, and
/// the manifest's name, to the kernel alone.
fn reopen(place: Place<'_>, path: &Path) -> Result<DiskFile, FsError> {
    let file = place.disk.open_append(path)?;
    file.sync()?;
    place.disk.sync_dir(place.dir)?;
    Ok(file)
}

/// Deletes superseded files; what cannot be deleted now is tried again at the next rewrite.
pub fn remove_history(place: Place<'_>, manifest: &mut Manifest) {
    let Place { disk, dir, name } = place;
    let mut next = manifest.clone();
    let history = next.take_history();
    if history.is_empty() {
        return;
    }
    // A killed process may have left the manifest's name to the kernel alone: a power cut could
    // bring back the one before, after what it names is gone.
    if let Err(error) = disk.sync_dir(dir) {
        tracing::warn!("Superseded append only files are kept for now: {error}");
        return;
    }
    let is_left = |part: &Part| {
        let removed = disk.remove(&part.path(dir));
        removed
            .inspect_err(|error| {
                tracing::warn!("Can't remove a superseded append only file: {error}");
            })
            .is_err()
    };
    next.put_back_history(history.into_iter().filter(is_left).collect());
    match next.save(disk, dir, name) {
        Ok(()) => *manifest = next,
        Err(error) => tracing::warn!("Can't save the manifest: {error}"),
    }
}

#[cfg(test)]
#[path = "power.rs"]
mod power;
