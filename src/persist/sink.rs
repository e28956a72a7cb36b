//! Where encoded bytes go: a file, a pipe, memory.

use std::io;

use crate::base::fs::DiskFile;

/// Takes bytes. May be used in a forked child: no locks, no panics.
pub trait Sink {
    /// Takes all of `bytes`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl Sink for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes).map_err(|(_, error)| error.source)
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).write(bytes)
    }
}
