//! One entry of a listpack: its encoding, its data, and its length readable from the right.

use crate::base::num::{parse_i64, text_len_i64};

/// An element: an integer, or bytes borrowed from the listpack.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// Stored as an integer; its text is the canonical decimal one.
    Int(i64),
    /// Stored as bytes.
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// How these bytes are stored: as an integer when they are one's canonical text.
    pub fn of(bytes: &'a [u8]) -> Item<'a> {
        match parse_i64(bytes) {
            Some(value) => Item::Int(value),
            None => Item::Bytes(bytes),
        }
    }

    /// The element as text; an integer is written into `buffer`.
    pub fn bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Item::Int(value) => buffer.format(value).as_bytes(),
            Item::Bytes(bytes) => bytes,
        }
    }

    /// Calls `f` with the element as text.
    pub fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self.bytes(&mut itoa::Buffer::new()))
    }

    /// The element as owned text.
    pub fn to_vec(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// Appends the element's text.
    pub fn write_to(self, out: &mut Vec<u8>) {
        self.with_bytes(|bytes| out.extend_from_slice(bytes));
    }

    /// Bytes of the element's text.
    pub fn text_len(self) -> usize {
        match self {
            Item::Int(value) => text_len_i64(value),
            Item::Bytes(bytes) => bytes.len(),
        }
    }

    /// The integer, when the element is stored as one or its text is one's canonical text.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Item::Int(value) => Some(value),
            Item::Bytes(bytes) => parse_i64(bytes),
        }
    }
}

impl PartialEq<[u8]> for Item<'_> {
    fn eq(&self, other: &[u8]) -> bool {
        match *self {
            Item::Int(value) => parse_i64(other) == Some(value),
            Item::Bytes(bytes) => bytes == other,
        }
    }
}

impl PartialEq for Item<'_> {
    fn eq(&self, other: &Item<'_>) -> bool {
        match (*self, *other) {
            (Item::Int(a), Item::Int(b)) => a == b,
            (item, Item::Bytes(bytes)) | (Item::Bytes(bytes), item) => item == *bytes,
        }
    }
}

/// An element's encoding: head, data and trailing length, ready to be joined.
pub(super) struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    data: &'a [u8],
    back: [u8; 5],
    back_len: usize,
}

impl<'a> Encoded<'a> {
    pub(super) fn of(item: Item<'a>) -> Encoded<'a> {
        let mut head = [0; 9];
        let (head_len, data) = match item {
            Item::Int(value) => (encode_int(value, &mut head), &b""[..]),
            Item::Bytes(bytes) => (encode_string_head(bytes.len(), &mut head), bytes),
        };
        let mut back = [0; 5];
        let back_len = encode_back(head_len + data.len(), &mut back);
        Encoded { head, head_len, data, back, back_len }
    }

    pub(super) fn len(&self) -> usize {
        self.head_len + self.data.len() + self.back_len
    }

    /// Writes the entry to the beginning of `out`, which has room for it.
    #[inline]
    pub(super) fn write_to(&self, out: &mut [u8]) {
        let mut at = 0;
        for part in self.parts() {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }

    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [&self.head[..self.head_len], self.data, &self.back[..self.back_len]]
    }
}

fn encode_int(value: i64, out: &mut [u8; 9]) -> usize {
    let bytes = value.to_le_bytes();
    let (tag, width) = match value {
        0..=127 => {
            out[0] = value as u8;
            return 1;
        }
        -4096..=4095 => {
            let low = (value & 0x1fff) as u16;
            out[0] = 0xc0 | (low >> 8) as u8;
            out[1] = low as u8;
            return 2;
        }
        -0x8000..=0x7fff => (0xf1, 2),
        -0x80_0000..=0x7f_ffff => (0xf2, 3),
        -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
        _ => (0xf4, 8),
    };
    out[0] = tag;
    out[1..=width].copy_from_slice(&bytes[..width]);
    1 + width
}

fn encode_string_head(len: usize, out: &mut [u8; 9]) -> usize {
    match len {
        0..64 => {
            out[0] = 0x80 | len as u8;
            1
        }
        64..4096 => {
            out[0] = 0xe0 | (len >> 8) as u8;
            out[1] = len as u8;
            2
        }
        _ => {
            out[0] = 0xf0;
            out[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            5
        }
    }
}

/// Bytes that the trailing length of an entry of `len` takes. The bounds are one lower than seven
/// bits a byte would allow, and part of the format.
pub(super) fn back_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16383 => 2,
        16383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

pub(super) fn encode_back(len: usize, out: &mut [u8; 5]) -> usize {
    let size = back_size(len);
    for (at, byte) in out[..size].iter_mut().enumerate() {
        let group = (len >> (7 * (size - 1 - at))) as u8 & 0x7f;
        *byte = if at == 0 { group } else { group | 0x80 };
    }
    size
}

/// Reads a trailing length that ends right before `end`.
pub(super) fn decode_back(bytes: &[u8], end: usize) -> Option<usize> {
    let mut len = 0usize;
    for group in 0..5 {
        let byte = *bytes.get(end.checked_sub(group + 1)?)?;
        len |= usize::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

/// The element whose entry begins with `bytes`, and its length without the trailing one.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let (&tag, rest) = bytes.split_first()?;
    let string = |head: usize, len: usize| {
        let data = bytes.get(head..head.checked_add(len)?)?;
        Some((Item::Bytes(data), head + len))
    };
    Some(match tag {
        0x00..=0x7f => (Item::Int(i64::from(tag)), 1),
        0x80..=0xbf => return string(1, usize::from(tag & 0x3f)),
        0xc0..=0xdf => {
            let raw = u16::from_be_bytes([tag & 0x1f, *rest.first()?]);
            (Item::Int(i64::from((raw << 3) as i16 >> 3)), 2)
        }
        0xe0..=0xef => {
            return string(2, usize::from(tag & 0x0f) << 8 | usize::from(*rest.first()?));
        }
        0xf0 => return string(5, u32::from_le_bytes(*rest.first_chunk()?) as usize),
        0xf1 => (Item::Int(i64::from(i16::from_le_bytes(*rest.first_chunk()?))), 3),
        0xf2 => {
            let [a, b, c] = *rest.first_chunk()?;
            (Item::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)), 4)
        }
        0xf3 => (Item::Int(i64::from(i32::from_le_bytes(*rest.first_chunk()?))), 5),
        0xf4 => (Item::Int(i64::from_le_bytes(*rest.first_chunk()?)), 9),
        _ => return None,
    })
}

/// The length of the entry that begins with `bytes`, without the trailing one.
#[inline]
pub(super) fn entry_len(bytes: &[u8]) -> usize {
    match bytes[0] {
        0x00..=0x7f => 1,
        tag @ 0x80..=0xbf => 1 + usize::from(tag & 0x3f),
        0xc0..=0xdf => 2,
        tag @ 0xe0..=0xef => 2 + (usize::from(tag & 0x0f) << 8 | usize::from(bytes[1])),
        0xf1 => 3,
        0xf2 => 4,
        0xf3 => 5,
        0xf4 => 9,
        _ => 5 + u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize,
    }
}
