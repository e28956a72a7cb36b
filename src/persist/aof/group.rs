//! Groups: what one write to the append-only file carries, behind a line with its checksum.
//!
//! ```text
//! #GRP:000000000213:0f1e2d3c4b5a6978:000000018422\r\n
//!      bytes        CRC-64/XZ        bytes of the file that were synced when it was written
//! ```
//!
//! Redis takes the line for a comment. The last number tells damage that a power cut may leave
//! (blocks that were never synced) from damage to what the disk had already confirmed.

use crate::base::crc::crc64_xz;

/// How a header begins.
pub const PREFIX: &[u8] = b"#GRP:";
/// Bytes of a header, its line break included.
pub const HEADER_BYTES: usize = 5 + 12 + 1 + 16 + 1 + 12 + 2;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the group, behind the header.
    pub bytes: u64,
    /// Their checksum.
    pub sum: u64,
    /// How much of the file was durable.
    pub synced: u64,
}

impl Header {
    /// The header as a line. Digit by digit, because every write to the file has one.
    pub fn format(&self) -> [u8; HEADER_BYTES] {
        let mut line = PLACEHOLDER;
        let (bytes, rest) = line[PREFIX.len()..].split_at_mut(12);
        let (sum, rest) = rest[1..].split_at_mut(16);
        write_digits::<10>(bytes, self.bytes.min(TWELVE_DIGITS_MAX));
        write_digits::<16>(sum, self.sum);
        write_digits::<10>(&mut rest[1..13], self.synced.min(TWELVE_DIGITS_MAX));
        line
    }

    /// Reads a line; `None` when it is no header.
    pub fn parse(line: &[u8]) -> Option<Header> {
        let text = std::str::from_utf8(line).ok()?;
        let mut fields = text.strip_prefix("#GRP:")?.strip_suffix("\r\n")?.split(':');
        let [bytes, sum, synced] = [fields.next()?, fields.next()?, fields.next()?];
        let header = Header {
            bytes: bytes.parse().ok()?,
            sum: u64::from_str_radix(sum, 16).ok()?,
            synced: synced.parse().ok()?,
        };
        // The same can be said in one way only, so that a damaged header is none.
        (header.format() == line).then_some(header)
    }

    /// Whether these are the bytes of the group.
    pub fn fits(&self, group: &[u8]) -> bool {
        self.bytes == group.len() as u64 && self.sum == crc64_xz(group)
    }
}

/// The largest number of twelve digits; no group is longer, and a file of more is durable up to here.
const TWELVE_DIGITS_MAX: u64 = 999_999_999_999;

/// Fills the place with the number's last digits.
fn write_digits<const BASE: u64>(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
    }
}

/// Keeps the place of a header until its group is complete.
pub const PLACEHOLDER: [u8; HEADER_BYTES] = *b"#GRP:............:................:............\r\n";

/// Puts the header into its place at the beginning of a group that is complete. Bytes without a
/// place for it stay as they are.
pub fn seal(group: &mut [u8], synced: u64) {
    if !group.starts_with(PREFIX) {
        return;
    }
    if let Some((head, rest)) = group.split_first_chunk_mut::<HEADER_BYTES>() {
        *head = Header { bytes: rest.len() as u64, sum: crc64_xz(rest), synced }.format();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_group_says_what_it_holds() {
        let mut bytes = PLACEHOLDER.to_vec();
        bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        seal(&mut bytes, 77);
        let (head, rest) = bytes.split_at(HEADER_BYTES);
        let header = Header::parse(head).unwrap();
        assert_eq!((header.bytes, header.synced), (14, 77));
        assert!(header.fits(rest) && !header.fits(&rest[1..]));
        let mut plain = b"*1\r\n".to_vec();
        seal(&mut plain, 0);
        assert_eq!(plain, b"*1\r\n");
    }

    #[test]
    fn damaged_header_is_none() {
        let good = Header { bytes: 14, sum: 0xabc, synced: 3 }.format();
        assert_eq!(&good, b"#GRP:000000000014:0000000000000abc:000000000003\r\n");
        assert!(Header::parse(&good).is_some());
        assert_eq!(Header::parse(&PLACEHOLDER), None);
        for at in 0..HEADER_BYTES {
            let mut bad = good;
            bad[at] = b'x';
            assert_eq!(Header::parse(&bad), None, "byte {at}");
            bad[at] = b'+';
            assert_eq!(Header::parse(&bad), None, "byte {at}");
        }
        assert_eq!(Header::parse(&good[..HEADER_BYTES - 1]), None);
    }

    #[test]
    fn of_a_huge_file_a_header_says_less_than_is_durable() {
        let line = Header { bytes: 1, sum: u64::MAX, synced: 1 << 50 }.format();
        assert_eq!(&line, b"#GRP:000000000001:ffffffffffffffff:999999999999\r\n");
        assert_eq!(Header::parse(&line).map(|header| header.synced), Some(TWELVE_DIGITS_MAX));
    }
}
