//! A stream of bytes read in blocks, which counts, sums, and can keep a stretch of what it passed.
//!
//! Invariants, kept by every `&mut self` method:
//!   1. `summed <= at <= buffer.len()`, and `mark <= at` where there is a mark;
//!   2. `buffer[at..]` has been read from the stream but not been passed;
//!   3. `sum` covers every byte of the stream before `buffer[summed]`.
//!
//! Memory grows only with bytes that have really arrived, whatever a length in them claims.

use std::io::{self, Read};

use super::format::length;
use super::reader::{Doing, RdbError};
use crate::base::crc::Crc64;

/// Bytes asked of the stream at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// A length prefix, or the announcement of an encoded string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// A plain length.
    Plain(u64),
    /// A string in this encoding follows.
    Encoded(u8),
}

/// The stream.
#[derive(Debug)]
pub struct Source<R> {
    inner: R,
    buffer: Vec<u8>,
    at: usize,
    summed: usize,
    mark: Option<usize>,
    /// Offset in the stream of `buffer[0]`.
    origin: u64,
    /// Bytes the stream can still have in all, if known: its length.
    total: Option<u64>,
    sum: Option<Crc64>,
    /// What the reader is about, for errors.
    pub doing: Doing,
}

/// What was left when reading stopped, for whoever reads on.
#[derive(Debug)]
pub struct Rest<R> {
    /// The stream.
    pub inner: R,
    /// Bytes that were read from it but not used.
    pub unread: Vec<u8>,
    /// The offset of the first of them.
    pub offset: u64,
}

impl<R: Read> Rest<R> {
    /// What is left as one stream.
    pub fn into_read(self) -> impl Read {
        io::Cursor::new(self.unread).chain(self.inner)
    }
}

impl<R: Read> Source<R> {
    /// A source that has `total` bytes in all, if that is known.
    pub fn new(inner: R, total: Option<u64>) -> Source<R> {
        Source {
            inner,
            buffer: Vec::new(),
            at: 0,
            summed: 0,
            mark: None,
            origin: 0,
            total,
            sum: Some(Crc64::new()),
            doing: Doing::Start,
        }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.origin + self.at as u64
    }

    /// From here on, what is passed is kept until `keep_no_more` is called.
    pub fn keep(&mut self) {
        self.mark = Some(self.at);
    }

    /// What was passed since `keep`.
    pub fn kept(&self) -> &[u8] {
        let from = self.mark.unwrap_or(self.at);
        self.buffer.get(from..self.at).unwrap_or_default()
    }

    /// What was passed need not be kept any longer.
    pub fn keep_no_more(&mut self) {
        self.mark = None;
    }

    /// The sum of every byte passed.
    pub fn sum(&mut self) -> u64 {
        self.sum_up();
        self.sum.as_ref().map_or(0, Crc64::value)
    }

    /// Computes no sum from here on.
    pub fn without_sum(&mut self) {
        self.sum = None;
    }

    /// Gives back the stream and what was read from it too early.
    pub fn into_rest(mut self) -> Rest<R> {
        let offset = self.offset();
        self.buffer.drain(..self.at);
        Rest { inner: self.inner, unread: self.buffer, offset }
    }

    fn sum_up(&mut self) {
        if let (Some(sum), Some(new)) = (&mut self.sum, self.buffer.get(self.summed..self.at)) {
            sum.update(new);
        }
        self.summed = self.at;
    }

    /// An error at this place.
    pub fn corrupt(&self, what: impl Into<String>) -> RdbError {
        RdbError::Corrupt { offset: self.offset(), doing: self.doing, what: what.into() }
    }

    fn truncated(&self) -> RdbError {
        let end = self.origin + self.buffer.len() as u64;
        RdbError::Truncated { offset: end, doing: self.doing }
    }

    /// Drops what has been passed and is not kept, so that the buffer does not grow for it.
    fn compact(&mut self) {
        self.sum_up();
        let keep_from = self.mark.unwrap_or(self.at);
        if keep_from == 0 {
            return;
        }
        self.buffer.drain(..keep_from);
        self.origin += keep_from as u64;
        self.at -= keep_from;
        self.summed = self.at;
        self.mark = self.mark.map(|_| 0);
        if self.buffer.capacity() > 16 * BLOCK_BYTES && self.buffer.len() < BLOCK_BYTES {
            self.buffer.shrink_to(2 * BLOCK_BYTES);
        }
    }

    /// Makes `count` bytes available at `at`.
    #[inline]
    fn want(&mut self, count: usize) -> Result<(), RdbError> {
        if self.buffer.len() - self.at >= count { Ok(()) } else { self.fill(count) }
    }

    fn fill(&mut self, count: usize) -> Result<(), RdbError> {
        if self.total.is_some_and(|total| count as u64 > total.saturating_sub(self.offset())) {
            return Err(self.truncated());
        }
        self.compact();
        while self.buffer.len() - self.at < count {
            if self.read_block()? == 0 {
                return Err(self.truncated());
            }
        }
        Ok(())
    }

    fn read_block(&mut self) -> Result<usize, RdbError> {
        let len = self.buffer.len();
        self.buffer.resize(len + BLOCK_BYTES, 0);
        let read = loop {
            match self.inner.read(&mut self.buffer[len..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(len + read.as_ref().map_or(0, |count| *count));
        read.map_err(|source| RdbError::Io { offset: self.origin + len as u64, source })
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, RdbError> {
        self.want(1)?;
        let byte = self.buffer[self.at];
        self.at += 1;
        Ok(byte)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        self.want(N)?;
        let bytes = self.buffer[self.at..].first_chunk::<N>().copied();
        self.at += N;
        Ok(bytes.expect("want made N bytes available"))
    }

    /// Passes `count` bytes.
    pub fn skip(&mut self, count: u64) -> Result<(), RdbError> {
        let count = usize::try_from(count).map_err(|_| self.truncated())?;
        if self.mark.is_some() {
            self.want(count)?;
            self.at += count;
            return Ok(());
        }
        let mut left = count;
        while left > 0 {
            let step = left.min(BLOCK_BYTES);
            self.want(step)?;
            self.at += step;
            left -= step;
        }
        Ok(())
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: u64) -> Result<Vec<u8>, RdbError> {
        let count = usize::try_from(count).map_err(|_| self.truncated())?;
        self.want(count)?;
        let bytes = self.buffer[self.at..self.at + count].to_vec();
        self.at += count;
        Ok(bytes)
    }

    /// A length prefix or the announcement of an encoded string.
    pub fn length_or_encoding(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(Length::Plain(match first >> 6 {
            length::BITS_6 => u64::from(first & 63),
            length::BITS_14 => u64::from(first & 63) << 8 | u64::from(self.byte()?),
            length::ENCODED => return Ok(Length::Encoded(first & 63)),
            _ => match first {
                length::BYTES_4 => u64::from(u32::from_be_bytes(self.array()?)),
                length::BYTES_8 => u64::from_be_bytes(self.array()?),
                other => {
                    return Err(
                        self.corrupt(format!("Unknown length encoding {other} in rdbLoadLen()"))
                    );
                }
            },
        }))
    }

    /// A length prefix.
    pub fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(code) => {
                Err(self.corrupt(format!("expected a length, found string encoding {code}")))
            }
        }
    }

    /// A string, decoded.
    pub fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(len) => self.bytes(len),
            Length::Encoded(length::INT_8) => {
                Ok(i8::from_le_bytes(self.array()?).to_string().into_bytes())
            }
            Length::Encoded(length::INT_16) => {
                Ok(i16::from_le_bytes(self.array()?).to_string().into_bytes())
            }
            Length::Encoded(length::INT_32) => {
                Ok(i32::from_le_bytes(self.array()?).to_string().into_bytes())
            }
            Length::Encoded(length::LZF) => {
                let packed = self.length()?;
                let len = self.length()?;
                let bytes = self.bytes(packed)?;
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                crate::base::lzf::decompress(&bytes, len).map_err(|error| {
                    self.corrupt(format!("Invalid LZF compressed string: {error}"))
                })
            }
            Length::Encoded(other) => {
                Err(self.corrupt(format!("Unknown RDB string encoding type {other}")))
            }
        }
    }

    /// Passes a string.
    pub fn skip_string(&mut self) -> Result<(), RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(len) => self.skip(len),
            Length::Encoded(length::INT_8) => self.skip(1),
            Length::Encoded(length::INT_16) => self.skip(2),
            Length::Encoded(length::INT_32) => self.skip(4),
            Length::Encoded(length::LZF) => {
                let packed = self.length()?;
                self.length()?;
                self.skip(packed)
            }
            Length::Encoded(other) => {
                Err(self.corrupt(format!("Unknown RDB string encoding type {other}")))
            }
        }
    }
}
