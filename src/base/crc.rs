//! CRC-64, in two kinds: as RDB files and DUMP payloads end with it (CRC-64/REDIS), and for sums of
//! our own over whole files (CRC-64/XZ), since the former is 0 for whatever ends with it.
//!
//! After `warm_up` no call takes a lock, allocates or asks the operating system for anything, so
//! a forked child may compute sums.

use crc_fast::{CrcAlgorithm, Digest, checksum, checksum_combine};

/// A sum that grows block by block. Blocks of 4 KiB and more are fastest.
#[derive(Clone, Debug)]
pub struct Crc64(Digest);

impl Crc64 {
    /// CRC-64/REDIS of nothing, which is 0.
    pub fn new() -> Crc64 {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }

    /// CRC-64/XZ of nothing, which is 0.
    pub fn xz() -> Crc64 {
        Crc64(Digest::new(CrcAlgorithm::Crc64Xz))
    }

    /// Adds `bytes` to what the sum covers.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64::new()
    }
}

/// CRC-64/REDIS of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Redis, bytes)
}

/// CRC-64/XZ of `bytes`.
pub fn crc64_xz(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Xz, bytes)
}

/// CRC-64/XZ of two adjacent parts, of which the second has `second_bytes` bytes.
pub fn combine_xz(first: u64, second: u64, second_bytes: u64) -> u64 {
    checksum_combine(CrcAlgorithm::Crc64Xz, first, second, second_bytes)
}

/// Makes the processor's abilities known once, so that no later call has to find them out.
pub fn warm_up() {
    let block = [0x5a; 4096];
    let whole = crc64(&block);
    let whole_xz = crc64_xz(&block);
    let (first, second) = block.split_at(100);
    debug_assert_eq!(whole_xz, combine_xz(crc64_xz(first), crc64_xz(second), 3996));
    debug_assert_ne!(whole, whole_xz);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc64_of_the_check_string_is_that_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
        assert_eq!(crc64_xz(b"123456789"), 0x995d_c9bb_df19_39fa);
    }

    #[test]
    fn crc64_in_parts_equals_the_whole() {
        let bytes: Vec<u8> = (0..10_000u32).map(|at| (at * 31 % 251) as u8).collect();
        let whole = crc64_xz(&bytes);
        let mut sum = Crc64::xz();
        bytes.chunks(777).for_each(|part| sum.update(part));
        assert_eq!(sum.value(), whole);
        for cut in [0, 1, 16, 5000, 9999, 10_000] {
            let (first, second) = bytes.split_at(cut);
            let len = second.len() as u64;
            let (first, second) = (crc64_xz(first), crc64_xz(second));
            assert_eq!(combine_xz(first, second, len), whole, "cut at {cut}");
        }
        warm_up();
    }
}
