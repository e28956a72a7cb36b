//! Reading a file of commands: lines and counted bytes, with the offset of each.
//!
//! Memory grows only with bytes that have really arrived, whatever a length in them claims.
//!
//! Invariant, kept by every `&mut self` method: `mark <= at <= filled <= buffer.len()`; the bytes
//! from `at` to `filled` have come from the file and were not passed.

use std::io::{self, Read};

use memchr::memchr;

/// Bytes asked of the file at a time, at the least.
const BLOCK_BYTES: usize = 256 * 1024;

/// A file, read forward.
#[derive(Debug)]
pub struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    /// From here on passed bytes are kept.
    mark: Option<usize>,
    /// The offset in the file of `buffer[0]`.
    origin: u64,
    /// An offset behind which nothing is seen.
    end: Option<u64>,
}

impl<R: Read> Input<R> {
    /// Reads on at `offset`.
    pub fn new(inner: R, offset: u64) -> Input<R> {
        let buffer = Vec::new();
        Input { inner, buffer, at: 0, filled: 0, mark: None, origin: offset, end: None }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.origin + self.at as u64
    }

    /// Until the next call the file seems to end at this offset, which is not passed yet; says where
    /// it seemed to before.
    pub fn end_at(&mut self, end: Option<u64>) -> Option<u64> {
        std::mem::replace(&mut self.end, end)
    }

    /// From here on what is passed is kept, until the next call.
    pub fn keep(&mut self) {
        self.mark = Some(self.at);
    }

    /// What was passed since `keep`.
    pub fn kept(&self) -> &[u8] {
        self.buffer.get(self.mark.unwrap_or(self.at)..self.at).unwrap_or_default()
    }

    /// What has come and was not passed, as far as it is seen.
    fn ready(&self) -> &[u8] {
        let seen = self.end.map_or(usize::MAX, |end| (end - self.origin) as usize);
        self.buffer.get(self.at..self.filled.min(seen)).unwrap_or_default()
    }

    /// Reads some more; says whether there was any.
    fn more(&mut self) -> io::Result<bool> {
        if self.end.is_some_and(|end| self.origin + self.filled as u64 >= end) {
            return Ok(false);
        }
        let from = self.mark.unwrap_or(self.at);
        if from > 0 {
            self.buffer.copy_within(from..self.filled, 0);
        }
        self.origin += from as u64;
        self.at -= from;
        self.filled -= from;
        self.mark = self.mark.map(|_| 0);
        if self.buffer.len() - self.filled < BLOCK_BYTES {
            self.buffer.resize((self.buffer.len() * 2).max(BLOCK_BYTES), 0);
        }
        loop {
            match self.inner.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let count = read?;
                    self.filled += count;
                    return Ok(count > 0);
                }
            }
        }
    }

    /// Makes the next `count` bytes ready, or what there is of them; says whether it is all.
    pub fn want(&mut self, count: u64) -> io::Result<bool> {
        while (self.ready().len() as u64) < count {
            if !self.more()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next byte, without passing it; none at the end.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        self.want(1)?;
        Ok(self.ready().first().copied())
    }

    /// Passes and gives what there is up to and with a line feed, at most `max` bytes. Without a
    /// line feed at its end, the file ended or the line is longer.
    pub fn line(&mut self, max: usize) -> io::Result<&[u8]> {
        let mut searched = 0;
        let len = loop {
            let seen = self.ready();
            let seen = seen.get(..max).unwrap_or(seen);
            if let Some(found) = memchr(b'\n', &seen[searched..]) {
                break searched + found + 1;
            }
            searched = seen.len();
            if searched == max || !self.more()? {
                break searched;
            }
        };
        self.at += len;
        Ok(&self.buffer[self.at - len..self.at])
    }

    /// Passes the rest of a line; says whether it ended with a line feed.
    pub fn skip_line(&mut self) -> io::Result<bool> {
        loop {
            match self.line(BLOCK_BYTES)?.last() {
                None => return Ok(false),
                Some(b'\n') => return Ok(true),
                Some(_) => {}
            }
        }
    }

    /// Passes and gives `count` bytes, or what there is.
    pub fn bytes(&mut self, count: u64) -> io::Result<&[u8]> {
        self.want(count)?;
        let len = self.ready().len();
        let len = usize::try_from(count).map_or(len, |count| count.min(len));
        self.at += len;
        Ok(&self.buffer[self.at - len..self.at])
    }

    /// The next `count` bytes without passing them, or what there is.
    pub fn ahead(&mut self, count: u64) -> io::Result<&[u8]> {
        self.want(count)?;
        let ready = self.ready();
        Ok(usize::try_from(count).ok().and_then(|count| ready.get(..count)).unwrap_or(ready))
    }
}
