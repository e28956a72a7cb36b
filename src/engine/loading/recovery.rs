//! A damaged end of the append-only file: everything up to the last good group is kept, the rest
//! is moved to a side file, and the log and INFO say what it was.
//!
//! A power cut may leave any part of what was not synced, also out of order. So damage is an end
//! that may be cut off, unless a good group behind it says that the place had been synced when it
//! was written: then the disk has lost what it had confirmed, and somebody has to decide.

use std::path::Path;

use crate::base::clock::UnixMs;
use crate::config::Config;
use crate::engine::core::Core;
use crate::engine::loading::LoadError;
use crate::persist::aof::tail;
use crate::persist::state::Recovery;

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
    let aside = tail::move_aside(disk, &file, *valid_up_to, at)?;
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
