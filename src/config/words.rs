//! Words as a configuration file has them: quoted, so that they are read back the same.

/// Appends `word` in double quotes, so that `split_words` reads it back.
pub fn quote(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in word {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            0x20..=0x7e => out.push(*byte),
            other => out.extend(format!("\\x{other:02x}").bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::words::split_words;

    proptest::proptest! {
        #[test]
        fn quoted_words_are_read_back(word: Vec<u8>) {
            let mut line = Vec::new();
            quote(&word, &mut line);
            proptest::prop_assert_eq!(split_words(&line), Some(vec![word]));
        }
    }
}
