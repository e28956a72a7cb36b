//! The end of a file that is not whole: what is in it, and whether it may be cut off.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::group::{self, HEADER_BYTES, Header};
use super::replay;
use crate::base::clock::UnixMs;
use crate::base::crc::Crc64;
use crate::base::fs::{Disk, DiskFile, FsError, Verb, dir_of};

/// Bytes handled at a time.
const BLOCK_BYTES: usize = 1 << 20;
/// Kinds of commands that are named.
const NAMES_TOLD: usize = 10;

fn read_failed(file: &DiskFile, source: std::io::Error) -> FsError {
    file.error(Verb::Read, source)
}

/// Where a good group begins that was written when the place behind `from` had been synced.
pub fn synced_before(file: &DiskFile, from: u64, size: u64) -> Result<Option<u64>, FsError> {
    let mut at = from;
    let mut room = vec![0; BLOCK_BYTES];
    while at + (HEADER_BYTES as u64) <= size {
        let want = room.len().min((size - at) as usize);
        let block = &mut room[..want];
        file.inner().read_exact_at(block, at).map_err(|error| read_failed(file, error))?;
        for found in memchr::memmem::find_iter(block, group::PREFIX) {
            let Some(line) = block.get(found..found + HEADER_BYTES) else { break };
            let place = at + found as u64;
            if let Some(header) = Header::parse(line)
                && header.synced > from
                && is_good(file, place, header, size)?
            {
                return Ok(Some(place));
            }
        }
        // A header may lie across two blocks.
        at += (want - (HEADER_BYTES - 1).min(want - 1)) as u64;
    }
    Ok(None)
}

fn is_good(file: &DiskFile, place: u64, header: Header, size: u64) -> Result<bool, FsError> {
    let mut at = place + HEADER_BYTES as u64;
    let end = at.saturating_add(header.bytes);
    if end > size {
        return Ok(false);
    }
    let mut sum = Crc64::xz();
    let mut room = vec![0; BLOCK_BYTES];
    while at < end {
        let block = &mut room[..BLOCK_BYTES.min((end - at) as usize)];
        file.inner().read_exact_at(block, at).map_err(|error| read_failed(file, error))?;
        sum.update(block);
        at += block.len() as u64;
    }
    Ok(sum.value() == header.sum)
}

/// The commands that can still be read behind an offset, by name.
pub fn commands_behind(file: &DiskFile, offset: u64) -> Result<BTreeMap<String, u64>, FsError> {
    let mut found = BTreeMap::new();
    let mut head = [0u8; HEADER_BYTES];
    let from = match file.inner().read_exact_at(&mut head, offset) {
        Ok(()) if head.starts_with(group::PREFIX) => offset + HEADER_BYTES as u64,
        _ => offset,
    };
    let mut tail = file.inner();
    tail.seek(SeekFrom::Start(from)).map_err(|error| read_failed(file, error))?;
    let mut count = |entry: replay::Entry<'_>| {
        let name = entry.args.word(0).to_ascii_lowercase();
        *found.entry(String::from_utf8_lossy(&name).into_owned()).or_default() += 1;
        ControlFlow::Continue(())
    };
    // However it ends: this is what can be said of it.
    let _ = replay::replay(tail, from, false, &mut count);
    Ok(found)
}

/// Moves what is behind an offset to a file of its own beside this one; says which. Only once that
/// is durable this one is cut.
pub fn move_aside(
    disk: &Disk,
    file: &DiskFile,
    offset: u64,
    now: UnixMs,
) -> Result<PathBuf, FsError> {
    let aside = side_path(disk, file.path(), now)?;
    let copy = disk.create(&aside)?;
    let mut at = offset;
    let mut room = vec![0; BLOCK_BYTES];
    loop {
        let read = file.inner().read_at(&mut room, at);
        let count = read.map_err(|error| read_failed(file, error))?;
        if count == 0 {
            break;
        }
        copy.put(room.get(..count).unwrap_or_default())?;
        at += count as u64;
    }
    copy.sync()?;
    disk.sync_dir(dir_of(&aside))?;
    disk.truncate(file.path(), offset)?;
    Ok(aside)
}

/// A name beside the file that is free.
fn side_path(disk: &Disk, path: &Path, now: UnixMs) -> Result<PathBuf, FsError> {
    let mut secs = now.secs();
    loop {
        let mut name = OsString::from(path.as_os_str());
        name.push(format!(".damaged-{secs}"));
        if !disk.exists(Path::new(&name))? {
            return Ok(name.into());
        }
        secs += 1;
    }
}

/// The commands in words.
pub fn told(commands: &BTreeMap<String, u64>) -> String {
    if commands.is_empty() {
        return "no whole command".to_owned();
    }
    let mut by_count: Vec<_> = commands.iter().collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named = by_count.iter().take(NAMES_TOLD).map(|(name, count)| format!("{name} {count}"));
    let named = named.collect::<Vec<_>>().join(", ");
    format!("{} commands ({named})", commands.values().sum::<u64>())
}
