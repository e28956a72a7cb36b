//! A damaged end of the append-only file: everything up to the last good group is kept, the rest
//! is moved to a side file, and the log and INFO say what it was.
//!
//! A power cut may leave any part of what was not synced, also out of order. So damage is an end
//! that may be cut off, unless a good group behind it says that the place had been synced when it
//! was written: then the disk has lost what it had confirmed, and somebody has to decide.

use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::clock::UnixMs;
use crate::base::fs::{DiskFile, FsError, Verb, dir_of};
use crate::config::Config;
use crate::engine::core::Core;
use crate::engine::loading::LoadError;
use crate::persist::aof::tail;
use crate::persist::state::Recovery;

/// Bytes handled at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// A file that is not whole.
pub(super) struct Broken<'b> {
    /// The file.
    pub path: &'b Path,
    /// Where the last whole group, command or transaction ends.
    pub valid_up_to: u64,
    /// What is wrong behind that.
    pub what: String,
    /// Whether groups with checksums come before.
    pub grouped: bool,
}

/// Moves the damaged end of the last file aside, or says why that cannot be.
pub(super) fn recover(
    core: &Core,
    config: &Config,
    broken: &Broken<'_>,
    last: bool,
) -> Result<(), LoadError> {
    let Broken { path, valid_up_to, what, grouped } = broken;
    let shown = path.display();
    if !last || !config.aof_load_truncated {
        return Err(LoadError::File(format!(
            "Unexpected end of file reading the append only file {shown} behind offset \
             {valid_up_to} ({what}). You can: 1) make a backup of your AOF file, then use rekeep \
             check-aof --fix <manifest>; 2) set 'aof-load-truncated' to yes and restart the server, \
             if it is the last file"
        )));
    }
    let disk = &core.persist.disk;
    let file = disk.open(path)?;
    let size = file.size()?;
    if *grouped && let Some(proof) = tail::synced_before(&file, *valid_up_to, size)? {
        return Err(LoadError::File(format!(
            "The append only file {shown} is damaged at offset {valid_up_to}, in its middle: {what}. \
             The group at offset {proof} is whole and was written after that place had been synced. \
             Make a backup of the file; rekeep check-aof --fix <manifest> shows what it would cut \
             off before it does"
        )));
    }
    let commands = tail::commands_behind(&file, *valid_up_to)?;
    let at = UnixMs::now();
    let aside = side_path(core, path, at)?;
    copy_tail(core, &file, *valid_up_to, &aside)?;
    disk.truncate(path, *valid_up_to)?;
    let bytes = size.saturating_sub(*valid_up_to);
    tracing::warn!("!!! Warning: short read while loading the AOF file {shown}!!!");
    tracing::warn!(
        "AOF {shown} loaded anyway because aof-load-truncated is enabled: behind offset \
         {valid_up_to} {what}. The last {bytes} bytes, with {}, are kept in {}",
        tail::told(&commands),
        aside.display()
    );
    let count = commands.values().sum();
    let recovery = Recovery { at, file: aside, bytes, commands: count };
    core.persist.book.lock().recovery = Some(recovery);
    Ok(())
}

/// A name beside the file that is free.
fn side_path(core: &Core, path: &Path, at: UnixMs) -> Result<PathBuf, FsError> {
    let mut secs = at.secs();
    loop {
        let mut name = OsString::from(path.as_os_str());
        name.push(format!(".damaged-{secs}"));
        if !core.persist.disk.exists(Path::new(&name))? {
            return Ok(name.into());
        }
        secs += 1;
    }
}

/// Copies what is behind an offset, durably.
fn copy_tail(core: &Core, file: &DiskFile, offset: u64, aside: &Path) -> Result<(), FsError> {
    let disk = &core.persist.disk;
    let copy = disk.create(aside)?;
    let mut at = offset;
    let mut room = vec![0; BLOCK_BYTES];
    loop {
        let count =
            file.inner().read_at(&mut room, at).map_err(|error| file.error(Verb::Read, error))?;
        if count == 0 {
            break;
        }
        copy.append(&room[..count]).map_err(|(_, error)| error)?;
        at += count as u64;
    }
    copy.sync()?;
    disk.sync_dir(dir_of(aside))
}
