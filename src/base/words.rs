//! Words of a line with Redis's quoting, as inline commands and configuration files have them.

/// Splits a line into words: blanks separate, `"..."` takes `\n \r \t \a \b \xHH` escapes, `'...'`
/// takes `\'` alone. `None` when a quote is not closed, or is followed by something else than a
/// blank.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(word);
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            0 => return Some(&[]),
            byte if is_blank(byte) => return Some(rest),
            b'"' | b'\'' => {
                rest = take_quoted(after, byte, word)?;
                return rest.first().is_none_or(|byte| is_blank(*byte)).then_some(rest);
            }
            byte => {
                word.push(byte);
                rest = after;
            }
        }
    }
    Some(rest)
}

fn take_quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high) * 16 + hex_digit(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            [b'\\', b'\'', after @ ..] if quote == b'\'' => {
                word.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] if *byte == quote => return Some(after),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_unquoted_and_unescaped() {
        let words = |line: &str| split_words(line.as_bytes());
        assert_eq!(words("  set a  b "), Some(vec![b"set".into(), b"a".into(), b"b".into()]));
        assert_eq!(
            words(r#""a\x41\n" 'it\'s' """#),
            Some(vec![b"aA\n".into(), b"it's".into(), vec![]])
        );
        assert_eq!(words(r#"a"b"c"#), None);
        assert_eq!(words("\"open"), None);
    }
}
