//! DUMP payloads: a type, a value, the format's version and a checksum.

use super::format::VERSION_MAX;
use crate::base::crc::crc64;

/// Bytes of version and checksum at the end.
pub const FOOTER_BYTES: usize = 2 + 8;

/// A payload whose version and checksum are right: what is left to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumped<'a> {
    /// The type code of the value.
    pub code: u8,
    /// The encoded value.
    pub payload: &'a [u8],
}

/// The payload is cut, of a version that is not understood, or its checksum is wrong. RESTORE says
/// "DUMP payload version or checksum are wrong".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DUMP payload version or checksum are wrong")]
pub struct WrongFooter;

/// Whether the checksum of a payload counts (`DEBUG set-skip-checksum-validation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyDump {
    /// It does.
    Checksum,
    /// Only the version counts.
    Version,
}

/// Verifies version and checksum.
pub fn verify(dump: &[u8], verify: VerifyDump) -> Result<Dumped<'_>, WrongFooter> {
    let (&code, payload) = body(dump, verify)?.split_first().ok_or(WrongFooter)?;
    Ok(Dumped { code, payload })
}

/// The same of a payload of any form: what is before version and checksum.
pub fn body(dump: &[u8], verify: VerifyDump) -> Result<&[u8], WrongFooter> {
    let (covered, sum) = dump.split_last_chunk::<8>().ok_or(WrongFooter)?;
    let (body, version) = covered.split_last_chunk::<2>().ok_or(WrongFooter)?;
    if u32::from(u16::from_le_bytes(*version)) > VERSION_MAX {
        return Err(WrongFooter);
    }
    if verify == VerifyDump::Checksum && crc64(covered) != u64::from_le_bytes(*sum) {
        return Err(WrongFooter);
    }
    Ok(body)
}

/// Ends `body`, a type code and an encoded value, as a payload of this version.
pub fn seal(mut body: Vec<u8>, version: u16) -> Vec<u8> {
    body.extend_from_slice(&version.to_le_bytes());
    let sum = crc64(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_takes_what_real_servers_dump() {
        // DUMP of a key set to 10 by the documentation of Redis, version 5 of the format.
        let dump = b"\x00\xc0\n\n\x00n\x9fWE\x0e\xaec\xbb";
        let dumped = verify(dump, VerifyDump::Checksum).unwrap();
        assert_eq!((dumped.code, dumped.payload), (0, &b"\xc0\n"[..]));
    }

    #[test]
    fn verify_refuses_cuts_flips_and_newer_versions() {
        let dump = seal(b"\x00\x03abc".to_vec(), 11);
        assert_eq!(verify(&dump, VerifyDump::Checksum).unwrap().payload, b"\x03abc");
        for cut in 0..dump.len() {
            assert_eq!(verify(&dump[..cut], VerifyDump::Checksum), Err(WrongFooter));
        }
        for at in 0..dump.len() {
            let mut flipped = dump.clone();
            flipped[at] ^= 0x40;
            assert_eq!(verify(&flipped, VerifyDump::Checksum), Err(WrongFooter));
        }
        let mut newer = dump[..dump.len() - 10].to_vec();
        newer.extend_from_slice(&13u16.to_le_bytes());
        let sum = crc64(&newer);
        newer.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(verify(&newer, VerifyDump::Checksum), Err(WrongFooter));
        let mut unsummed = dump.clone();
        *unsummed.last_mut().unwrap() ^= 1;
        assert!(verify(&unsummed, VerifyDump::Version).is_ok());
    }
}
