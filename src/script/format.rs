//! Numbers as C's `%g` writes them and as `strtod` reads them.

/// Writes `number` with so many significant digits, without zeros at the end.
pub(super) fn format_g(number: f64, precision: usize, out: &mut Vec<u8>) {
    let precision = precision.clamp(1, 17);
    if !number.is_finite() {
        let word = match (number.is_nan(), number.is_sign_negative()) {
            (true, _) => "nan",
            (false, true) => "-inf",
            (false, false) => "inf",
        };
        return out.extend_from_slice(word.as_bytes());
    }
    let is_small = number.fract() == 0.0 && number.abs() < 10f64.powi(precision as i32);
    if is_small && (number != 0.0 || number.is_sign_positive()) {
        return out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    }
    let scientific = format!("{number:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(without_zeros(mantissa).as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    } else {
        let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
        out.extend_from_slice(without_zeros(&format!("{number:.decimals$}")).as_bytes());
    }
}

fn without_zeros(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

/// The number `bytes` begin with, and how many bytes it takes; `None` when they begin with none.
pub(super) fn read_number(bytes: &[u8]) -> Option<(f64, usize)> {
    let signed = matches!(bytes.first(), Some(b'+' | b'-'));
    let sign = if bytes.first() == Some(&b'-') { -1.0 } else { 1.0 };
    let start = usize::from(signed);
    let body = &bytes[start..];
    for (word, value) in [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if body.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes())) {
            return Some((sign * value, start + word.len()));
        }
    }
    if let [b'0', b'x' | b'X', rest @ ..] = body
        && let Some((value, len)) = read_hex(rest)
    {
        return Some((sign * value, start + 2 + len));
    }
    let digits = |from: usize| body[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if body.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(body.get(len), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(body.get(len + 1), Some(b'+' | b'-')));
        let from = len + 1 + signed;
        if body.get(from).is_some_and(u8::is_ascii_digit) {
            len = from + digits(from);
        }
    }
    let value: f64 = std::str::from_utf8(&body[..len]).ok()?.parse().ok()?;
    Some((sign * value, start + len))
}

/// The digits behind `0x`, with a binary exponent.
fn read_hex(bytes: &[u8]) -> Option<(f64, usize)> {
    let (mut value, mut len, mut count, mut scale) = (0.0f64, 0, 0, 0i32);
    let mut behind_point = false;
    while let Some(byte) = bytes.get(len) {
        match char::from(*byte).to_digit(16) {
            Some(digit) => {
                value = value * 16.0 + f64::from(digit);
                scale = scale.saturating_sub(if behind_point { 4 } else { 0 });
                count += 1;
            }
            None if *byte == b'.' && !behind_point => behind_point = true,
            None => break,
        }
        len += 1;
    }
    if count == 0 {
        return None;
    }
    if matches!(bytes.get(len), Some(b'p' | b'P')) {
        let signed = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let from = len + 1 + signed;
        let digits = bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        if digits > 0 {
            let text = std::str::from_utf8(&bytes[from..from + digits]).ok()?;
            let power: i32 = text.parse().unwrap_or(i32::MAX / 2).min(100_000);
            let negative = bytes.get(len + 1) == Some(&b'-');
            scale = scale.saturating_add(if negative { -power } else { power });
            len = from + digits;
        }
    }
    Some((value * 2f64.powi(scale), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        for (number, text) in [
            (0.1, "0.1"),
            (-0.0, "-0"),
            (100.0, "100"),
            (1e14, "1e+14"),
            (123456789012345.0, "1.2345678901234e+14"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.0 / 3.0, "0.33333333333333"),
            (-2.5e-300, "-2.5e-300"),
            (f64::INFINITY, "inf"),
        ] {
            let mut out = Vec::new();
            format_g(number, 14, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, number, len) in [
            ("12,", 12.0, 2),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            (".5", 0.5, 2),
            ("0x1p4", 16.0, 5),
            ("0x", 0.0, 1),
            ("-Infinity", f64::NEG_INFINITY, 9),
        ] {
            assert_eq!(read_number(text.as_bytes()), Some((number, len)), "{text}");
        }
        assert_eq!(read_number(b"-"), None);
        assert_eq!(read_number(b"."), None);
    }
}
