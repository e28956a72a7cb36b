//! Texts made of words that need not be UTF-8: each byte that is none stands as a character of its
//! own, and is written as it came.
//!
//! The characters are the last of Unicode's last private plane. One that a word itself holds is taken
//! byte by byte as well, so nothing is lost: `put` undoes `shown` for all bytes.

/// Stands for the byte 0; the 255 after it for the others.
const FIRST: u32 = 0x0010_FF00;
/// The first byte of those characters in UTF-8.
const LEAD: u8 = 0xf4;

/// The bytes as a text, whatever they are.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match stands_for(letter) {
                None => text.push(letter),
                Some(_) => letter.encode_utf8(&mut [0; 4]).bytes().for_each(|b| push(&mut text, b)),
            }
        }
        chunk.invalid().iter().for_each(|byte| push(&mut text, *byte));
    }
    text
}

/// The same up to the first zero, where texts in C end.
pub fn shown_to_zero(bytes: &[u8]) -> String {
    shown(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// Appends the bytes of a text.
pub fn put(text: &str, out: &mut Vec<u8>) {
    if memchr::memchr(LEAD, text.as_bytes()).is_none() {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for letter in text.chars() {
        match stands_for(letter) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The bytes of a text.
pub fn bytes_of(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    put(text, &mut out);
    out
}

fn push(text: &mut String, byte: u8) {
    text.extend(char::from_u32(FIRST + u32::from(byte)));
}

fn stands_for(letter: char) -> Option<u8> {
    u8::try_from(u32::from(letter).checked_sub(FIRST)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_as_it_was() {
        let private = "\u{10ff41}\u{10ffff}\u{10feff}".as_bytes();
        let words: [&[u8]; 6] =
            [b"", b"plain", "häß".as_bytes(), b"a\xff\xfeb\0c", b"\xe2\x82", private];
        for word in words {
            assert_eq!(bytes_of(&shown(word)), word, "{word:?}");
        }
        for one in 0..=255 {
            for other in [0, b'a', 0x80, 0xbf, 0xf4, 0xff] {
                let word = [one, other, one, 0x8f, 0xbf, other];
                assert_eq!(bytes_of(&shown(&word)), word);
            }
        }
        assert_eq!(shown("häß".as_bytes()), "häß");
        assert_eq!(shown_to_zero(b"a\0b"), "a");
    }
}
