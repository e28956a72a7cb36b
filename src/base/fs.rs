//! Durable file operations: the only place that renames, and the seam through which every file
//! of persistence is touched, so that a test can make any single step fail.
//!
//! A file that replaces another is written under a temporary name, synced, renamed, and then its
//! directory is synced; a crash leaves the old file or the new one, never half of either.
#![allow(unsafe_code)] // sync_file_range is in libc alone.
#![allow(clippy::disallowed_methods)] // This is the door for renaming.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was being done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Opening, for reading or writing.
    Open,
    /// Creating, empty.
    Create,
    /// Reading.
    Read,
    /// Writing; the count of bytes goes with it.
    Write,
    /// Making contents durable.
    Sync,
    /// Cutting to a length.
    Truncate,
    /// Renaming.
    Rename,
    /// Giving a file another name.
    Link,
    /// Removing.
    Remove,
    /// Making a directory.
    MakeDir,
    /// Making a directory's entries durable.
    SyncDir,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Open => "open",
            Verb::Create => "create",
            Verb::Read => "read",
            Verb::Write => "write",
            Verb::Sync => "sync",
            Verb::Truncate => "truncate",
            Verb::Rename => "rename",
            Verb::Link => "link",
            Verb::Remove => "remove",
            Verb::MakeDir => "make directory",
            Verb::SyncDir => "sync directory",
        })
    }
}

/// A file operation that failed: the verb, the path, the cause.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {}: {source}", path.display())]
pub struct FsError {
    /// What was being done.
    pub verb: Verb,
    /// To which file.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl FsError {
    /// The cause alone, as the system words it.
    pub fn cause(&self) -> String {
        let text = self.source.to_string();
        text.split(" (os error").next().unwrap_or_default().to_owned()
    }
}

/// Shorthand for results of file operations.
pub type FsResult<T> = Result<T, FsError>;

/// Decides in tests which file operation fails, and how.
pub trait Faults: Send + Sync {
    /// Called before each operation. An error fails it; otherwise at most the returned number of
    /// `bytes` is written (which makes a short write).
    fn before(&self, verb: Verb, path: &Path, bytes: usize) -> io::Result<usize>;
}

/// The disk, as persistence sees it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Disk {
    faults: Option<Arc<dyn Faults>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// An open file that knows its path, so that its errors can name it.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    path: PathBuf,
    disk: Disk,
}

impl Disk {
    /// The real disk.
    pub fn real() -> Disk {
        Disk::default()
    }

    /// A disk on which `faults` decides what works.
    pub fn with_faults(faults: Arc<dyn Faults>) -> Disk {
        Disk { faults: Some(faults) }
    }

    fn allow(&self, verb: Verb, path: &Path, bytes: usize) -> io::Result<usize> {
        match &self.faults {
            None => Ok(bytes),
            Some(faults) => faults.before(verb, path, bytes),
        }
    }

    fn run<T>(&self, verb: Verb, path: &Path, work: impl FnOnce() -> io::Result<T>) -> FsResult<T> {
        self.allow(verb, path, 0).and_then(|_| work()).map_err(|source| FsError {
            verb,
            path: path.to_owned(),
            source,
        })
    }

    fn open_with(&self, verb: Verb, path: &Path, options: &OpenOptions) -> FsResult<DiskFile> {
        let file = self.run(verb, path, || options.open(path))?;
        Ok(DiskFile { file, path: path.to_owned(), disk: self.clone() })
    }

    /// Opens a file for reading.
    pub fn open(&self, path: &Path) -> FsResult<DiskFile> {
        self.open_with(Verb::Open, path, OpenOptions::new().read(true))
    }

    /// Opens an existing file for reading, writing and cutting.
    pub fn open_edit(&self, path: &Path) -> FsResult<DiskFile> {
        self.open_with(Verb::Open, path, OpenOptions::new().read(true).write(true))
    }

    /// Opens a file so that every write goes to its end, creating it if it is missing.
    pub fn open_append(&self, path: &Path) -> FsResult<DiskFile> {
        self.open_with(Verb::Open, path, OpenOptions::new().create(true).append(true))
    }

    /// Creates a file, or empties the one that is there.
    pub fn create(&self, path: &Path) -> FsResult<DiskFile> {
        let mut options = OpenOptions::new();
        self.open_with(Verb::Create, path, options.write(true).create(true).truncate(true))
    }

    /// Creates an empty file whose every write goes to its end, also after it was cut. A file of
    /// that name is removed first: whoever has it open goes on writing to a file without a name.
    pub fn create_log(&self, path: &Path) -> FsResult<DiskFile> {
        self.remove(path)?;
        self.open_with(Verb::Create, path, OpenOptions::new().create_new(true).append(true))
    }

    /// The whole contents of a file.
    pub fn read(&self, path: &Path) -> FsResult<Vec<u8>> {
        self.run(Verb::Read, path, || fs::read(path))
    }

    /// The size of a file in bytes, or none if it does not exist.
    pub fn size(&self, path: &Path) -> FsResult<Option<u64>> {
        self.run(Verb::Open, path, || match fs::metadata(path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Whether a file or directory is there.
    pub fn exists(&self, path: &Path) -> FsResult<bool> {
        Ok(self.size(path)?.is_some())
    }

    /// Bytes that may still be written to the file system of `path`.
    pub fn available(&self, path: &Path) -> FsResult<u64> {
        self.run(Verb::Open, path, || {
            let found = nix::sys::statvfs::statvfs(path)?;
            Ok(found.blocks_available() * found.fragment_size())
        })
    }

    /// Makes a directory if it is missing; the directory that holds it is synced.
    pub fn make_dir(&self, path: &Path) -> FsResult<()> {
        if self.run(Verb::MakeDir, path, || Ok(path.is_dir()))? {
            return Ok(());
        }
        self.run(Verb::MakeDir, path, || fs::create_dir(path))?;
        self.sync_dir(dir_of(path))
    }

    /// Renames, and makes the renaming durable. The contents must be synced already.
    pub fn rename_durably(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.run(Verb::Rename, to, || fs::rename(from, to))?;
        self.sync_dir(dir_of(to))
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, path: &Path) -> FsResult<()> {
        self.run(Verb::Remove, path, || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    /// Makes the entries of a directory durable.
    pub fn sync_dir(&self, path: &Path) -> FsResult<()> {
        self.run(Verb::SyncDir, path, || match File::open(path)?.sync_all() {
            // Some file systems cannot sync a directory, and need not.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        })
    }

    /// Makes `to` another name of `from`'s contents.
    pub fn link(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.run(Verb::Link, to, || fs::hard_link(from, to))
    }

    /// Makes `to` another name of `from`'s contents, or a synced copy where that cannot be had.
    pub fn link_or_copy(&self, from: &Path, to: &Path) -> FsResult<()> {
        if self.link(from, to).is_ok() {
            return Ok(());
        }
        self.run(Verb::Create, to, || fs::copy(from, to).map(drop))?;
        self.open(to)?.sync()
    }

    /// Cuts a file to `bytes` and makes that durable.
    pub fn truncate(&self, path: &Path, bytes: u64) -> FsResult<()> {
        let file = self.open_edit(path)?;
        file.set_len(bytes)?;
        file.sync()
    }

    /// Writes a file whole or not at all: `fill` writes to `temp`, which then replaces `path`.
    ///
    /// `temp` must be in the same directory as `path`; it is removed when anything fails.
    pub fn write_atomically<T, E: From<FsError>>(
        &self,
        path: &Path,
        temp: &Path,
        fill: impl FnOnce(&mut DiskFile) -> Result<T, E>,
    ) -> Result<T, E> {
        let attempt = || {
            let mut file = self.create(temp)?;
            let filled = fill(&mut file)?;
            file.sync()?;
            drop(file);
            self.rename_durably(temp, path)?;
            Ok(filled)
        };
        attempt().inspect_err(|_| {
            // The failure that led here is the one to report.
            let _ = fs::remove_file(temp);
        })
    }
}

impl DiskFile {
    /// The same file opened once more, whatever it is called by now: the kernel tells errors of
    /// writing back to each of the two.
    pub fn reopen(&self) -> FsResult<DiskFile> {
        use std::os::fd::AsRawFd;
        let name = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let opened = OpenOptions::new().write(true).open(name);
        let file = opened.map_err(|error| self.error(Verb::Open, error))?;
        Ok(DiskFile { file, path: self.path.clone(), disk: self.disk.clone() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, for what this seam does not cover.
    pub fn inner(&self) -> &File {
        &self.file
    }

    /// Writes all of `bytes`. On failure says how many of them reached the file.
    pub fn append(&self, bytes: &[u8]) -> Result<(), (usize, FsError)> {
        let mut done = 0;
        while done < bytes.len() {
            match self.write_some(&bytes[done..]) {
                Ok(0) => return Err((done, self.error(Verb::Write, full()))),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((done, self.error(Verb::Write, error))),
            }
        }
        Ok(())
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let allowed = self.disk.allow(Verb::Write, &self.path, bytes.len())?;
        (&self.file).write(bytes.get(..allowed).unwrap_or(bytes))
    }

    /// Writes all of `bytes`.
    pub fn put(&self, bytes: &[u8]) -> FsResult<()> {
        self.append(bytes).map_err(|(_, error)| error)
    }

    /// Makes contents and length durable.
    pub fn sync(&self) -> FsResult<()> {
        self.disk.run(Verb::Sync, &self.path, || self.file.sync_all())
    }

    /// Makes contents durable, and of the rest only what reading them back needs.
    pub fn sync_data(&self) -> FsResult<()> {
        self.disk.run(Verb::Sync, &self.path, || self.file.sync_data())
    }

    /// Asks the kernel to begin writing `len` bytes from `from` to the disk, without waiting for
    /// it. A hint: what matters is the sync at the end.
    pub fn start_writeback(&self, from: u64, len: u64) {
        use std::os::fd::AsRawFd;
        let (from, len) = (from.cast_signed(), len.cast_signed());
        // SAFETY: a system call on an open descriptor and integers.
        unsafe {
            libc::sync_file_range(self.file.as_raw_fd(), from, len, libc::SYNC_FILE_RANGE_WRITE);
        }
    }

    /// Asks the kernel to forget what it holds of the file, so that it is read from the disk. A
    /// hint: what is not synced stays.
    pub fn forget_cached(&self) {
        use std::os::fd::AsRawFd;
        // SAFETY: a system call on an open descriptor and integers.
        unsafe {
            libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
        }
    }

    /// Cuts or extends to `bytes`.
    pub fn set_len(&self, bytes: u64) -> FsResult<()> {
        self.disk.run(Verb::Truncate, &self.path, || self.file.set_len(bytes))
    }

    /// The size in bytes.
    pub fn size(&self) -> FsResult<u64> {
        self.disk.run(Verb::Open, &self.path, || Ok(self.file.metadata()?.len()))
    }

    /// `source` as an error of this file.
    pub fn error(&self, verb: Verb, source: io::Error) -> FsError {
        FsError { verb, path: self.path.clone(), source }
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for DiskFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.disk.allow(Verb::Read, &self.path, into.len())?;
        self.file.read(into)
    }
}

/// The directory that holds `path`.
pub fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::WriteZero)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Fails the operation with this number, counted from 0.
    struct FailAt(AtomicUsize);

    impl Faults for FailAt {
        fn before(&self, _: Verb, _: &Path, bytes: usize) -> io::Result<usize> {
            match self.0.fetch_sub(1, Ordering::Relaxed) {
                0 => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => Ok(bytes.min(3)),
            }
        }
    }

    fn replace(disk: &Disk, dir: &Path) -> FsResult<()> {
        disk.write_atomically(&dir.join("kept"), &dir.join("temp"), |file| file.put(b"new bytes"))
    }

    #[test]
    fn write_atomically_failing_anywhere_leaves_old_or_new() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        for step in 0..20 {
            fs::write(&kept, b"old").unwrap();
            let disk = Disk::with_faults(Arc::new(FailAt(AtomicUsize::new(step))));
            let result = replace(&disk, dir.path());
            let found = fs::read(&kept).unwrap();
            assert!(!dir.path().join("temp").exists());
            match result {
                Ok(()) => return assert_eq!((found.as_slice(), step), (&b"new bytes"[..], 7)),
                Err(error) if error.verb == Verb::SyncDir => assert_eq!(found, b"new bytes"),
                Err(_) => assert_eq!(found, b"old"),
            }
        }
        panic!("twenty steps were not enough");
    }

    #[test]
    fn errors_name_verb_and_path() {
        let error = Disk::real().open(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.verb, Verb::Open);
        assert!(error.to_string().starts_with("open /nowhere/at/all: "), "{error}");
        assert_eq!(Disk::real().size(Path::new("/nowhere/at/all")).unwrap(), None);
        Disk::real().remove(Path::new("/nowhere/at/all")).unwrap();
        assert_eq!(dir_of(Path::new("file")), Path::new("."));
    }

    #[test]
    fn append_and_truncate_change_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let disk = Disk::real();
        disk.open_append(&path).unwrap().put(b"hello").unwrap();
        disk.open_append(&path).unwrap().put(b" world").unwrap();
        disk.truncate(&path, 7).unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"hello w");
        assert_eq!(disk.size(&path).unwrap(), Some(7));
    }
}
