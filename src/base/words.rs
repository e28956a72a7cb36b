//! Words of a line with the quoting rules that redis.conf, inline commands and CONFIG REWRITE share.

/// Splits a line into words at white space. Double quotes take `\xHH`, `\n`, `\r`, `\t`, `\b`,
/// `\a` and `\` before any other byte; single quotes take `\'` only. A closing quote must be
/// followed by white space or the end. `None` when quotes are unbalanced.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        // C's white space has the vertical tab too.
        while let [0x0b, after @ ..] = rest {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() || rest[0] == 0 {
            return Some(words);
        }
        let (word, after) = next_word(rest)?;
        words.push(word);
        rest = after;
    }
}

/// The word that begins `rest`, and what is behind it.
fn next_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    while let [byte, after @ ..] = rest {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' | 0 => break,
            b'"' => return closed(double_quoted(after, &mut word)?, word),
            b'\'' => return closed(single_quoted(after, &mut word)?, word),
            byte => {
                word.push(*byte);
                rest = after;
            }
        }
    }
    Some((word, rest))
}

/// A closing quote ends its word.
fn closed(after: &[u8], word: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    match after.first() {
        None => Some((word, after)),
        Some(byte) if is_space(*byte) => Some((word, after)),
        Some(_) => None,
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Reads up to the closing double quote; returns what is behind it.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = after;
            }
            [b'\\', byte, after @ ..] => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [b'"', after @ ..] => return Some(after),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// Reads up to the closing single quote; returns what is behind it.
fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [b'\'', after @ ..] => return Some(after),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte.wrapping_sub(b'A').wrapping_add(10) & 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_words(line.as_bytes())?;
        Some(words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect())
    }

    #[test]
    fn quotes_and_escapes_are_read_as_redis_reads_them() {
        for (line, expected) in [
            ("", &[][..]),
            ("  a\tb  ", &["a", "b"]),
            (r#"save "" x"#, &["save", "", "x"]),
            (r#""\x41\n\"q" 'it\'s \n'"#, &["A\n\"q", r"it's \n"]),
            (r#"a"b c" d"#, &["ab c", "d"]),
            ("a\0b", &["a"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for line in [r#""a"#, "'a", r#""a"b"#, r#"'a'b"#, r#""a\"#] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_or_refused(line: Vec<u8>) {
            let _ = split_words(&line);
        }
    }
}
