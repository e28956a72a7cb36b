//! How the append-only file goes over to new parts: the steps that a crash may come between.
//!
//! After each of them the manifest on the disk names files that hold everything that was
//! acknowledged.

use std::path::Path;

use super::manifest::{Manifest, Part};
use crate::base::fs::{Disk, DiskFile, FsError};
use crate::persist::journal::Journal;

/// Creates the next increment and puts it into the manifest, durably. The journal's present file
/// is whole, and synced unless that failed.
pub fn add_increment(
    disk: &Disk,
    journal: &Journal,
    manifest: &mut Manifest,
    dir: &Path,
    name: &[u8],
) -> Result<DiskFile, FsError> {
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

/// Makes `manifest` the one that counts; `base` is its new base, in place and synced.
pub fn publish(
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
pub fn reopen(disk: &Disk, dir: &Path, path: &Path) -> Result<DiskFile, FsError> {
    let file = disk.open_append(path)?;
    file.sync()?;
    disk.sync_dir(dir)?;
    Ok(file)
}

/// Deletes superseded files; what cannot be deleted now is tried again at the next rewrite.
pub fn remove_history(disk: &Disk, manifest: &mut Manifest, dir: &Path, name: &[u8]) {
    let mut next = manifest.clone();
    let history = next.take_history();
    if history.is_empty() {
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
