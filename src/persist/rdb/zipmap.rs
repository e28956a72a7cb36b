//! Reading zipmaps, the packed hashes of versions before 4.
//!
//! A count, then fields and values, each after its length; behind a value's length comes the count
//! of unused bytes after the value. `pairs` proves all of it before it gives out anything.

const END: u8 = 0xff;
/// A length that takes four more bytes; as the count: unknown.
const WIDE: u8 = 0xfe;

/// What is wrong with a zipmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// It ends before its end byte, or after it.
    #[error("a zipmap does not end where it says")]
    Size,
    /// An entry is cut off.
    #[error("a zipmap has an invalid entry at byte {at}")]
    Entry {
        /// Where the entry begins.
        at: usize,
    },
    /// The count is wrong.
    #[error("a zipmap has another number of entries than it states")]
    Count,
}

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// The fields and values of a zipmap.
pub fn pairs(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Corrupt> {
    let (&count, mut rest) = bytes.split_first().ok_or(Corrupt::Size)?;
    let mut pairs = Vec::new();
    loop {
        let at = bytes.len() - rest.len();
        match rest.split_first().ok_or(Corrupt::Size)? {
            (&END, []) => break,
            (&END, _) => return Err(Corrupt::Size),
            _ => {}
        }
        let (pair, after) = read_pair(rest).ok_or(Corrupt::Entry { at })?;
        pairs.push(pair);
        rest = after;
    }
    if count < WIDE && usize::from(count) != pairs.len() {
        return Err(Corrupt::Count);
    }
    Ok(pairs)
}

fn read_pair(rest: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (len, rest) = read_length(rest)?;
    let (field, rest) = rest.split_at_checked(len)?;
    let (len, rest) = read_length(rest)?;
    let (&unused, rest) = rest.split_first()?;
    let (value, rest) = rest.split_at_checked(len)?;
    let (_, rest) = rest.split_at_checked(usize::from(unused))?;
    Some(((field, value), rest))
}

fn read_length(rest: &[u8]) -> Option<(usize, &[u8])> {
    match rest.split_first()? {
        (&END, _) => None,
        (&WIDE, rest) => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*len) as usize, rest))
        }
        (&len, rest) => Some((usize::from(len), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\x02\x03foo\x03\x02bar..\x01k\xfe\x02\0\0\0\0vv\xff";

    #[test]
    fn pairs_reads_both_lengths_and_skips_the_unused() {
        let expected: Vec<(&[u8], &[u8])> = vec![(b"foo", b"bar"), (b"k", b"vv")];
        assert_eq!(pairs(SAMPLE).unwrap(), expected);
        assert_eq!(pairs(b"\0\xff").unwrap(), vec![]);
        assert_eq!(pairs(b"\x01\xff"), Err(Corrupt::Count));
        assert_eq!(pairs(b"\0\xff\xff"), Err(Corrupt::Size));
    }

    #[test]
    fn pairs_of_every_truncation_and_flip_never_panics() {
        for cut in 0..SAMPLE.len() {
            assert!(pairs(&SAMPLE[..cut]).is_err());
        }
        for at in 0..SAMPLE.len() * 8 {
            let mut flipped = SAMPLE.to_vec();
            flipped[at / 8] ^= 1 << (at % 8);
            let _ = pairs(&flipped);
        }
    }
}
