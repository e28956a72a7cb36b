//! Reading the encoded bytes of one value, which are all there.

use std::borrow::Cow;

use super::format::length;
use super::source::Length;
use crate::base::lzf;

/// Why bytes are not what they should be: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl From<&str> for Malformed {
    fn from(what: &str) -> Malformed {
        Malformed(what.to_owned())
    }
}

/// The bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    rest: &'a [u8],
}

impl<'a> Slice<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Slice<'a> {
        Slice { rest: bytes }
    }

    /// How many bytes are left; no more items than that can follow.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or("value ends too early")?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: u64) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or("value ends too early")?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A length prefix or the announcement of an encoded string.
    pub fn length_or_encoding(&mut self) -> Result<Length, Malformed> {
        let first = self.byte()?;
        Ok(Length::Plain(match first >> 6 {
            length::BITS_6 => u64::from(first & 63),
            length::BITS_14 => u64::from(first & 63) << 8 | u64::from(self.byte()?),
            length::ENCODED => return Ok(Length::Encoded(first & 63)),
            _ if first == length::BYTES_4 => u64::from(u32::from_be_bytes(self.array()?)),
            _ if first == length::BYTES_8 => u64::from_be_bytes(self.array()?),
            _ => return Err(Malformed(format!("Unknown length encoding {first} in rdbLoadLen()"))),
        }))
    }

    /// A length prefix.
    pub fn length(&mut self) -> Result<u64, Malformed> {
        match self.length_or_encoding()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err("a string encoding where a length should be".into()),
        }
    }

    /// A string, decoded.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        let integer = match self.length_or_encoding()? {
            Length::Plain(len) => return self.bytes(len).map(Cow::Borrowed),
            Length::Encoded(length::INT_8) => i32::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(length::INT_16) => i32::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(length::INT_32) => i32::from_le_bytes(self.array()?),
            Length::Encoded(length::LZF) => {
                let (packed, len) = (self.length()?, self.length()?);
                let packed = self.bytes(packed)?;
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                let bytes = lzf::decompress(packed, len).map_err(|error| {
                    Malformed(format!("Invalid LZF compressed string: {error}"))
                })?;
                return Ok(Cow::Owned(bytes));
            }
            Length::Encoded(other) => {
                return Err(Malformed(format!("Unknown RDB string encoding type {other}")));
            }
        };
        Ok(Cow::Owned(itoa::Buffer::new().format(integer).as_bytes().to_vec()))
    }
}
