//! Reading a file back before it replaces the last good one (`rdb-verify`).
//!
//! Runs in a forked child: no lock but the allocator's, no log.

use std::io::{self, Read};
use std::path::Path;

use crate::base::crc::Crc64;
use crate::base::fs::{Disk, DiskFile};
use crate::persist::aof::manifest::Seal;
use crate::persist::rdb::reader::{Event, Reader, Run, Verify, is_snapshot};
use crate::persist::snapshot::SnapshotError;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// A file on its way through, with its size and checksum.
struct Through {
    file: DiskFile,
    bytes: u64,
    sum: Crc64,
}

impl Read for &mut Through {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(room)?;
        self.bytes += count as u64;
        self.sum.update(room.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Whether the disk gives back what was written. The kernel is asked to forget its copy first;
/// `file` must be synced.
pub fn verify(disk: &Disk, path: &Path, wanted: Seal) -> Result<(), SnapshotError> {
    let file = disk.open(path)?;
    file.forget_cached();
    let mut head = [0u8; 9];
    let count = disk.open(path)?.read(&mut head)?;
    let mut through = Through { file, bytes: 0, sum: Crc64::xz() };
    let unlike = |what: String| SnapshotError::Unlike { path: path.to_owned(), what };
    if is_snapshot(head.get(..count).unwrap_or_default()) {
        let read = walk(&mut through, wanted.size);
        read.map_err(|error| unlike(error.to_string()))?;
    }
    let mut room = vec![0; BLOCK_BYTES];
    while (&mut through).read(&mut room)? > 0 {}
    let found = Seal { size: through.bytes, sum: through.sum.value() };
    if found != wanted {
        return Err(unlike(format!(
            "{} bytes with checksum {:016x} were written, {} bytes with {:016x} are read",
            wanted.size, wanted.sum, found.size, found.sum
        )));
    }
    Ok(())
}

/// Every entry of a snapshot can be found, and its own checksum holds.
fn walk(through: &mut Through, size: u64) -> Result<(), crate::persist::rdb::reader::RdbError> {
    let mut reader = Reader::open(through, Some(size), Verify::Checksum)?;
    let mut run = Run::default();
    while !matches!(reader.next_event(&mut run)?, Event::End(_)) {
        run.clear(BLOCK_BYTES);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::crc::crc64_xz;

    #[test]
    fn what_is_not_what_was_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (Disk::real(), dir.path().join("file"));
        let dump = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dumps/legacy/encodings.rdb");
        for good in [std::fs::read(dump).unwrap(), b"*1\r\n$4\r\nPING\r\n".to_vec()] {
            let seal = Seal { size: good.len() as u64, sum: crc64_xz(&good) };
            std::fs::write(&path, &good).unwrap();
            verify(&disk, &path, seal).unwrap();
            for at in [0, good.len() / 2, good.len() - 1] {
                let mut bad = good.clone();
                bad[at] ^= 4;
                std::fs::write(&path, &bad).unwrap();
                assert!(verify(&disk, &path, seal).is_err(), "byte {at}");
            }
            std::fs::write(&path, &good[..good.len() - 1]).unwrap();
            assert!(verify(&disk, &path, seal).is_err());
        }
    }
}
