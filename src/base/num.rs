//! Numbers as Redis reads and writes them.

use crate::base::long_double::strtod;

pub use crate::base::long_double::LongDouble;

/// Reads a signed integer in its one canonical spelling: no plus, no leading zero, no "-0", no
/// space. Only so can text be stored as an integer and read back unchanged.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text.split_first()? {
        (b'-', digits) => {
            let value = parse_u64(digits).filter(|&value| value != 0)?;
            0i64.checked_sub_unsigned(value)
        }
        _ => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// Reads an unsigned integer in its canonical spelling.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    const DIGITS_MAX: usize = 20;
    if text.is_empty() || text.len() > DIGITS_MAX || (text[0] == b'0' && text.len() > 1) {
        return None;
    }
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Reads a double as Redis reads scores: what `strtod` takes, all of it, no leading space, no NaN,
/// and nothing whose magnitude a double cannot hold.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_i64(text)
        && value.unsigned_abs() <= 1 << 53
    {
        return Some(value as f64);
    }
    let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if text.len() > 128 || !text.iter().all(plain) {
        return strtod(text);
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if value == 0.0 || value.is_infinite() {
        // Too small or too large, or an honest zero: strtod tells them apart.
        return strtod(text);
    }
    Some(value)
}

/// Appends a double as Redis 7.2 and later reply it: integers as integers, else the shortest
/// digits that read back the same.
pub fn format_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if let Some(integer) = f64_as_i64(value) {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else {
        format_shortest(value, out);
    }
}

/// The integer that `value` is, when it is one and below 2^62 in magnitude, the range in which
/// Redis writes doubles as integers.
pub fn f64_as_i64(value: f64) -> Option<i64> {
    const LIMIT: f64 = (1u64 << 62) as f64;
    ((-LIMIT..=LIMIT).contains(&value) && value.trunc() == value).then_some(value as i64)
}

/// Appends the decimal text of an integer.
pub fn format_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// How many characters the decimal text of `value` has.
pub fn text_len_i64(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1);
    digits + usize::from(value < 0)
}

/// The layout: plain while the point is near the digits, else `d.ddde+x`.
fn format_shortest(value: f64, out: &mut Vec<u8>) {
    if value < 0.0 {
        out.push(b'-');
    }
    let (digits, scale) = shortest_digits(value.abs());
    let digits = digits.as_slice();
    let count = digits.len() as i32;
    // The value is digits * 10^scale; `lead` is the exponent of the first digit.
    let lead = scale + count - 1;
    if scale >= 0 && lead.abs() < count + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if scale < 0 && (scale > -7 || lead.abs() < 4) {
        let whole = count + scale;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + whole.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(whole as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if lead < 0 { b"e-" } else { b"e+" });
        format_i64(i64::from(lead.abs()), out);
    }
}

/// The shortest digits of a positive finite value, without trailing zeros, and their scale.
fn shortest_digits(value: f64) -> (smallvec::SmallVec<[u8; 24]>, i32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    let mut digits = smallvec::SmallVec::<[u8; 24]>::new();
    let mut scale = 0;
    let mut after_point = false;
    let mut exponent = 0;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => after_point = true,
            b'e' | b'E' => {
                let text = text[at + 1..].strip_prefix(b"+").unwrap_or(&text[at + 1..]);
                exponent = parse_i64(text).map_or(0, |value| value as i32);
                break;
            }
            digit => {
                scale -= i32::from(after_point);
                if digit != b'0' || !digits.is_empty() {
                    digits.push(digit);
                }
            }
        }
    }
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
        scale += 1;
    }
    (digits, scale + exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        format_f64(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_read_in_canonical_form_only() {
        for refused in ["", "-", "+5", "007", "-0", " 1", "1 ", "1a", "00", "-01", "1.0"] {
            assert_eq!(parse_i64(refused.as_bytes()), None, "{refused:?}");
        }
        for value in [0, 1, -1, i64::MAX, i64::MIN, 1234567890] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
            assert_eq!(text_len_i64(value), value.to_string().len());
        }
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }

    #[test]
    fn doubles_are_read_as_strtod_does() {
        let cases: [(&str, Option<f64>); 22] = [
            ("1", Some(1.0)),
            ("+5", Some(5.0)),
            ("007", Some(7.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("0x10", Some(16.0)),
            ("inf", Some(f64::INFINITY)),
            ("+INF", Some(f64::INFINITY)),
            ("-infinity", Some(f64::NEG_INFINITY)),
            ("0e-99999", Some(0.0)),
            ("4.9e-324", Some(5e-324)),
            ("", None),
            ("nan", None),
            (" 1", None),
            ("1 ", None),
            ("1e", None),
            ("1e400", None),
            ("1e-400", None),
            ("1\0", None),
            (".", None),
            ("--1", None),
        ];
        for (input, expected) in cases {
            assert_eq!(parse_f64(input.as_bytes()), expected, "{input:?}");
        }
    }

    #[test]
    fn doubles_are_written_in_redis_layout() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.5, "-17.5"),
            (0.1, "0.1"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (1e-7, "1e-7"),
            (0.000001, "0.000001"),
            (1.23e-5, "1.23e-5"),
            (1.5e-4, "0.00015"),
            (3.0e-10, "3e-10"),
            (4611686018427387904.0, "4611686018427387904"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn doubles_survive_the_round_trip(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(parse_f64(text(value).as_bytes()), Some(value));
        }

        #[test]
        fn integers_survive_the_round_trip(value: i64) {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
    }
}
