//! Reading a file of commands: lines and counted bytes, with the offset of each.
//!
//! Memory grows only with bytes that have really arrived, whatever a length in them claims.

use std::io::{self, BufRead, BufReader, Read};

/// Bytes asked of the file at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// A file, read forward.
#[derive(Debug)]
pub struct Input<R> {
    inner: BufReader<R>,
    offset: u64,
}

impl<R: Read> Input<R> {
    /// Reads on at `offset`.
    pub fn new(inner: R, offset: u64) -> Input<R> {
        Input { inner: BufReader::with_capacity(BLOCK_BYTES, inner), offset }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next byte, without passing it; none at the end.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.inner.fill_buf() {
                Ok(block) => return Ok(block.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads into `line` up to and with a line feed, at most `max` bytes. Without a line feed at
    /// its end, the file ended or the line is longer.
    pub fn line(&mut self, max: usize, line: &mut Vec<u8>) -> io::Result<()> {
        line.clear();
        let read = self.inner.by_ref().take(max as u64).read_until(b'\n', line)?;
        self.offset += read as u64;
        Ok(())
    }

    /// Passes the rest of a line; says whether it ended with a line feed.
    pub fn skip_line(&mut self) -> io::Result<bool> {
        let mut piece = Vec::new();
        loop {
            self.line(BLOCK_BYTES, &mut piece)?;
            match piece.last() {
                None => return Ok(false),
                Some(b'\n') => return Ok(true),
                Some(_) => {}
            }
        }
    }

    /// Reads `count` bytes, or what there is.
    pub fn bytes(&mut self, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.inner.buffer().get(..usize::try_from(count).unwrap_or(usize::MAX)) {
            Some(ready) => {
                bytes.extend_from_slice(ready);
                self.inner.consume(bytes.len());
            }
            None => {
                self.inner.by_ref().take(count).read_to_end(&mut bytes)?;
            }
        }
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }
}
