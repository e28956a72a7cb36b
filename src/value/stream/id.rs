//! The id of a stream's entry: milliseconds, then a sequence number within them.

use std::fmt;
use std::ops::Deref;

use crate::base::num::parse_u64;

/// The longest text that is read as an id.
const TEXT_BYTES_MAX: usize = 127;
/// Two numbers of 20 digits and what joins them.
const SHOWN_BYTES_MAX: usize = 41;

/// An id. Ids are ordered by time, then by sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds since the epoch, as a rule.
    pub ms: u64,
    /// The place among the entries of that millisecond.
    pub seq: u64,
}

/// The id an entry is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: by the clock.
    Auto,
    /// `ms-*`: the next in that millisecond.
    Next(u64),
    /// This one.
    Exactly(StreamId),
}

impl StreamId {
    /// The least id, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// An id by its parts.
    pub fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id after this one.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The id before this one.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// The id as 16 bytes whose order is that of the ids.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id that `to_bytes` gave.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// Reads `ms-seq`, or `ms` with a sequence that is understood.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut parts = text.splitn(2, |byte| *byte == b'-');
        let ms = number(parts.next()?)?;
        Some(StreamId { ms, seq: parts.next().map_or(Some(missing_seq), number)? })
    }

    /// The same, where `-` and `+` are the ends of all ids.
    pub fn parse_bound(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match text {
            b"-" => Some(StreamId::MIN),
            b"+" => Some(StreamId::MAX),
            text => StreamId::parse(text, missing_seq),
        }
    }

    /// The text `ms-seq`.
    pub fn text(self) -> IdText {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (ms, seq) = (ms.format(self.ms).as_bytes(), seq.format(self.seq).as_bytes());
        let mut bytes = [b'-'; SHOWN_BYTES_MAX];
        bytes[..ms.len()].copy_from_slice(ms);
        let len = ms.len() + 1 + seq.len();
        bytes[ms.len() + 1..len].copy_from_slice(seq);
        IdText { bytes, len }
    }
}

impl NewId {
    /// Reads what XADD takes.
    pub fn parse(text: &[u8]) -> Option<NewId> {
        if text == b"*" {
            return Some(NewId::Auto);
        }
        match text.strip_suffix(b"-*") {
            Some(ms) => number(ms).map(NewId::Next),
            None => StreamId::parse(text, 0).map(NewId::Exactly),
        }
    }
}

/// A number; leading zeros, blanks and a plus are overlooked, as Redis does.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_u64(text) {
        return Some(number);
    }
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let significant = digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
    match &digits[significant..] {
        [] if digits.is_empty() => None,
        [] => Some(0),
        rest => parse_u64(rest),
    }
}

/// An id's text.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; SHOWN_BYTES_MAX],
    len: usize,
}

impl Deref for IdText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_redis_reads_them() {
        for (text, id) in [
            ("5-3", Some((5, 3))),
            ("5", Some((5, 9))),
            ("007-01", Some((7, 1))),
            ("18446744073709551615-0", Some((u64::MAX, 0))),
            ("18446744073709551616-0", None),
            ("-", None),
            ("", None),
            ("5-", None),
            ("5--1", None),
            ("5-*", None),
            ("x-1", None),
        ] {
            let read = StreamId::parse(text.as_bytes(), 9).map(|id| (id.ms, id.seq));
            assert_eq!(read, id, "{text}");
        }
        assert_eq!(NewId::parse(b"5-*"), Some(NewId::Next(5)));
        assert_eq!(&*StreamId::MAX.text(), b"18446744073709551615-18446744073709551615");
    }

    #[test]
    fn neighbours_cross_the_millisecond() {
        let id = StreamId::new(7, u64::MAX);
        assert_eq!(id.next(), Some(StreamId::new(8, 0)));
        assert_eq!(StreamId::new(8, 0).prev(), Some(id));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.prev()), (None, None));
        assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
    }
}
