//! Reading ziplists, the packed lists of versions before 10.
//!
//! A header (size, offset of the last entry, count), entries (length of the one before, encoding,
//! contents), an end byte. `items` proves all of it before it gives out anything.

use crate::ds::listpack::Item;

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
/// A length of the entry before that takes four more bytes; also the first that is too big for one.
const PREVIOUS_WIDE: u8 = 0xfe;
/// The count of a list that has to be walked to be counted.
const COUNT_UNKNOWN: u16 = u16::MAX;

/// What is wrong with a ziplist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// It is shorter than its header and end, or than its header says, or longer.
    #[error("a ziplist of {actual} bytes states another size")]
    Size {
        /// Its real size.
        actual: usize,
    },
    /// An entry is cut off, or its encoding is unknown, or it misstates the one before.
    #[error("a ziplist has an invalid entry at byte {at}")]
    Entry {
        /// Where the entry begins.
        at: usize,
    },
    /// The header misstates the last entry or the count.
    #[error("a ziplist has a header that does not match its entries")]
    Header,
}

/// The elements of a ziplist.
pub fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, Corrupt> {
    let size = Corrupt::Size { actual: bytes.len() };
    let (total, rest) = bytes.split_first_chunk::<4>().ok_or(size)?;
    let (tail, rest) = rest.split_first_chunk::<4>().ok_or(size)?;
    let (count, _) = rest.split_first_chunk::<2>().ok_or(size)?;
    let (total, tail) = (u32::from_le_bytes(*total), u32::from_le_bytes(*tail));
    let count = u16::from_le_bytes(*count);
    if total as usize != bytes.len() || bytes.last() != Some(&END) {
        return Err(size);
    }
    let body = bytes.get(..bytes.len() - 1).ok_or(size)?;
    let mut items = Vec::new();
    let (mut at, mut last, mut previous) = (HEADER_BYTES, HEADER_BYTES, 0);
    if body.len() < HEADER_BYTES {
        return Err(size);
    }
    while at < body.len() {
        let entry = body.get(at..).and_then(|rest| read_entry(rest, previous));
        let (item, len) = entry.ok_or(Corrupt::Entry { at })?;
        items.push(item);
        (last, previous, at) = (at, len, at + len);
    }
    let counted = count == COUNT_UNKNOWN || usize::from(count) == items.len();
    if tail as usize != last || !counted {
        return Err(Corrupt::Header);
    }
    Ok(items)
}

/// The entry that `rest` begins with, and its length, if the entry before has `previous` bytes.
fn read_entry(rest: &[u8], previous: usize) -> Option<(Item<'_>, usize)> {
    let (&first, after) = rest.split_first()?;
    let (stated, after) = match first {
        END => return None,
        PREVIOUS_WIDE => {
            let (wide, after) = after.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*wide) as usize, after)
        }
        narrow => (usize::from(narrow), after),
    };
    if stated != previous {
        return None;
    }
    let (&encoding, after) = after.split_first()?;
    let (item, after) = match encoding >> 6 {
        0 => string(usize::from(encoding & 63), after)?,
        1 => {
            let (&low, after) = after.split_first()?;
            string(usize::from(encoding & 63) << 8 | usize::from(low), after)?
        }
        2 => {
            let (len, after) = after.split_first_chunk::<4>()?;
            string(u32::from_be_bytes(*len) as usize, after)?
        }
        _ => integer(encoding, after)?,
    };
    Some((item, rest.len() - after.len()))
}

fn string(len: usize, rest: &[u8]) -> Option<(Item<'_>, &[u8])> {
    rest.split_at_checked(len).map(|(bytes, after)| (Item::Bytes(bytes), after))
}

fn integer(encoding: u8, rest: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (value, after) = match encoding {
        0xc0 => {
            rest.split_first_chunk().map(|(b, after)| (i64::from(i16::from_le_bytes(*b)), after))
        }
        0xd0 => {
            rest.split_first_chunk().map(|(b, after)| (i64::from(i32::from_le_bytes(*b)), after))
        }
        0xe0 => rest.split_first_chunk().map(|(b, after)| (i64::from_le_bytes(*b), after)),
        0xf0 => rest
            .split_first_chunk::<3>()
            .map(|([a, b, c], after)| (i64::from(i32::from_le_bytes([0, *a, *b, *c]) >> 8), after)),
        0xfe => {
            rest.split_first_chunk().map(|(b, after)| (i64::from(i8::from_le_bytes(*b)), after))
        }
        0xf1..=0xfd => Some((i64::from(encoding & 15) - 1, rest)),
        _ => None,
    }?;
    Some((Item::Int(value), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let mut tail = HEADER_BYTES;
        let mut previous = 0u8;
        for entry in entries {
            tail = bytes.len();
            bytes.push(previous);
            bytes.extend_from_slice(entry);
            previous = entry.len() as u8 + 1;
        }
        bytes.push(END);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
        bytes[8..10].copy_from_slice(&(entries.len() as u16).to_le_bytes());
        bytes
    }

    fn sample() -> Vec<u8> {
        wrap(&[
            b"\x03abc",
            b"\x40\x02hi",
            b"\x80\0\0\0\x01x",
            b"\xc0\xff\xff",
            b"\xd0\0\0\0\x80",
            b"\xe0\x01\0\0\0\0\0\0\0",
            b"\xf0\xff\xff\x7f",
            b"\xf0\0\0\x80",
            b"\xfe\x80",
            b"\xf1",
            b"\xfd",
        ])
    }

    #[test]
    fn items_reads_every_encoding() {
        let bytes = sample();
        let texts: Vec<String> = items(&bytes)
            .unwrap()
            .into_iter()
            .map(|item| String::from_utf8(item.to_vec()).unwrap())
            .collect();
        let expected = "abc hi x -1 -2147483648 1 8388607 -8388608 -128 0 12";
        assert_eq!(texts.join(" "), expected);
        assert_eq!(items(&wrap(&[])).unwrap().len(), 0);
    }

    #[test]
    fn items_of_every_truncation_and_flip_never_panics() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert!(items(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let _ = items(&flipped);
        }
        for at in 0..HEADER_BYTES {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(items(&flipped).is_err(), "header byte {at}");
        }
    }
}
