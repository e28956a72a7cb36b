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

/// An element's encoding: head, data and trailing length, ready to be joined. What is short is held in
/// numbers, lowest byte first: those stay in registers.
pub(super) struct Encoded<'a> {
    tag: u8,
    /// What follows the tag in the head.
    more: u64,
    more_len: usize,
    data: &'a [u8],
    back: u64,
    back_len: usize,
}

/// The short parts of an entry as bytes: its head, and its trailing length.
pub(super) struct Edges {
    head: [u8; 9],
    back: [u8; 8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn of(item: Item<'a>) -> Encoded<'a> {
        let ((tag, more, more_len), data) = match item {
            Item::Int(value) => (int_head(value), &b""[..]),
            Item::Bytes(bytes) => (string_head(bytes.len()), bytes),
        };
        let (back, back_len) = encode_back(1 + more_len + data.len());
        Encoded { tag, more, more_len, data, back, back_len }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        1 + self.more_len + self.data.len() + self.back_len
    }

    /// Writes the entry to the beginning of `out`, which has room for it.
    #[inline]
    pub(super) fn write_to(&self, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(1 + self.more_len);
        let (data, back) = rest.split_at_mut(self.data.len());
        head[0] = self.tag;
        put(&mut head[1..], self.more);
        data.copy_from_slice(self.data);
        put(&mut back[..self.back_len], self.back);
    }

    pub(super) fn edges(&self) -> Edges {
        let mut head = [self.tag; 9];
        head[1..].copy_from_slice(&self.more.to_le_bytes());
        Edges { head, back: self.back.to_le_bytes() }
    }

    /// The entry's parts; `edges` are its own.
    pub(super) fn parts<'e>(&'e self, edges: &'e Edges) -> [&'e [u8]; 3] {
        [&edges.head[..1 + self.more_len], self.data, &edges.back[..self.back_len]]
    }
}

/// Writes the lowest bytes of a number, as many as there is room for. They are few, mostly one.
#[inline]
fn put(out: &mut [u8], value: u64) {
    match out {
        [] => {}
        [only] => *only = value as u8,
        out => out.copy_from_slice(&value.to_le_bytes()[..out.len()]),
    }
}

/// Tag of an integer, what follows it, and how many bytes that is.
fn int_head(value: i64) -> (u8, u64, usize) {
    match value {
        0..=127 => (value as u8, 0, 0),
        -4096..=4095 => {
            let bits = (value & 0x1fff) as u16;
            (0xc0 | (bits >> 8) as u8, u64::from(bits & 0xff), 1)
        }
        -0x8000..=0x7fff => (0xf1, value as u64, 2),
        -0x80_0000..=0x7f_ffff => (0xf2, value as u64, 3),
        -0x8000_0000..=0x7fff_ffff => (0xf3, value as u64, 4),
        _ => (0xf4, value as u64, 8),
    }
}

/// The same for a string of so many bytes.
#[inline]
fn string_head(len: usize) -> (u8, u64, usize) {
    match len {
        0..64 => (0x80 | len as u8, 0, 0),
        64..4096 => (0xe0 | (len >> 8) as u8, len as u64 & 0xff, 1),
        _ => (0xf0, len as u64, 4),
    }
}

/// Bytes that the trailing length of an entry of `len` takes. The bounds are one lower than seven
/// bits a byte would allow, and part of the format.
#[inline]
pub(super) fn back_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16383 => 2,
        16383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The trailing length, lowest byte first, and how many bytes it takes.
#[inline]
pub(super) fn encode_back(len: usize) -> (u64, usize) {
    let size = back_size(len);
    let mut back = 0;
    for at in 0..size {
        let group = (len >> (7 * (size - 1 - at))) as u64 & 0x7f;
        back |= (if at == 0 { group } else { group | 0x80 }) << (8 * at);
    }
    (back, size)
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
