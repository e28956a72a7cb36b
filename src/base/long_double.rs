//! The C type `long double`, in which INCRBYFLOAT and HINCRBYFLOAT add.
#![allow(unsafe_code)] // Calls into `long_double.c`, each with buffers of this file.

use std::ffi::{c_char, c_double, c_int};

/// Longest text that Redis reads as a long double.
const TEXT_BYTES_MAX: usize = 5 * 1024;

/// A C `long double`, of which Rust knows only the size and the alignment.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct LongDouble([u8; 16]);

unsafe extern "C" {
    fn rekeep_ld_parse(text: *const c_char, len: usize, out: *mut LongDouble) -> c_int;
    fn rekeep_d_parse(text: *const c_char, len: usize, out: *mut c_double) -> c_int;
    fn rekeep_ld_add(sum: *mut LongDouble, term: *const LongDouble);
    fn rekeep_ld_finite(value: *const LongDouble) -> c_int;
    fn rekeep_ld_format(value: *const LongDouble, out: *mut c_char, room: usize) -> c_int;
}

impl LongDouble {
    /// Reads a number as Redis does: the whole text, no leading space, in range, not a NaN.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        let copy = terminated(text)?;
        let mut value = LongDouble([0; 16]);
        // SAFETY: `copy` ends with NUL at `text.len()`, and `value` has long double's layout.
        let read = unsafe { rekeep_ld_parse(copy.as_ptr().cast(), text.len(), &raw mut value) };
        (read == 1).then_some(value)
    }

    /// Adds another value to this one.
    pub fn add(&mut self, term: LongDouble) {
        // SAFETY: both point to initialised long doubles.
        unsafe { rekeep_ld_add(&raw mut *self, &raw const term) }
    }

    /// Whether this is neither infinite nor a NaN.
    pub fn is_finite(&self) -> bool {
        // SAFETY: `self` is an initialised long double.
        unsafe { rekeep_ld_finite(&raw const *self) == 1 }
    }

    /// Appends the value with up to 17 decimals and no trailing zeros, as INCRBYFLOAT replies.
    /// Of a value that is not finite it writes C's word for it.
    pub fn format(&self, out: &mut Vec<u8>) {
        let mut text = [0u8; TEXT_BYTES_MAX];
        // SAFETY: `text` has the room that is told, and `self` is initialised.
        let wrote =
            unsafe { rekeep_ld_format(&raw const *self, text.as_mut_ptr().cast(), text.len()) };
        let mut text = text.get(..usize::try_from(wrote).unwrap_or(0)).unwrap_or(b"");
        if text.contains(&b'.') {
            while let Some((b'0', rest)) = text.split_last() {
                text = rest;
            }
            text = text.strip_suffix(b".").unwrap_or(text);
        }
        out.extend_from_slice(if text == b"-0" { b"0" } else { text });
    }
}

/// Reads a double with C's `strtod`: for the spellings Rust does not know, such as hexadecimal.
pub(super) fn strtod(text: &[u8]) -> Option<f64> {
    let copy = terminated(text)?;
    let mut value = 0.0;
    // SAFETY: `copy` ends with NUL at `text.len()`.
    let read = unsafe { rekeep_d_parse(copy.as_ptr().cast(), text.len(), &raw mut value) };
    (read == 1).then_some(value)
}

/// The text with a NUL behind it, unless it is empty, too long, or begins with a space.
fn terminated(text: &[u8]) -> Option<Vec<u8>> {
    let first = *text.first()?;
    if text.len() >= TEXT_BYTES_MAX || first.is_ascii_whitespace() || first == 0x0b {
        return None;
    }
    let mut copy = Vec::with_capacity(text.len() + 1);
    copy.extend_from_slice(text);
    copy.push(0);
    Some(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let mut value = LongDouble::parse(a.as_bytes()).expect("a number");
        value.add(LongDouble::parse(b.as_bytes()).expect("a number"));
        let mut out = Vec::new();
        value.format(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sums_are_those_of_redis() {
        assert_eq!(sum("10.50", "0.1"), "10.6");
        assert_eq!(sum("5.0e3", "2.0e2"), "5200");
        assert_eq!(sum("-1", "1"), "0");
        assert_eq!(sum("-0.0", "-0.0"), "0");
        assert_eq!(sum("100", "0"), "100");
    }

    #[test]
    fn odd_texts_are_refused() {
        for text in ["", " 1", "1 ", "nan", "1e99999", "abc", "1\0", "\x0b1"] {
            assert!(LongDouble::parse(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(!LongDouble::parse(b"inf").unwrap().is_finite());
        assert!(LongDouble::parse(b"0x10").unwrap().is_finite());
    }
}
