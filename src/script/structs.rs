//! The library `struct`: C structures to bytes and back.

use std::ffi::c_int;

use crate::script::raw::{Kind, Native, Raise, Stack};

/// Bytes of an integer at the most.
const INTEGER_BYTES_MAX: usize = 32;

/// The alignment `!` asks for without a number.
const ALIGN_DEFAULT: usize = 8;

/// Bytes `pack` makes at the most.
const PACKED_BYTES_MAX: usize = 1 << 30;

/// Pushes the library.
pub(super) fn open(stack: Stack) {
    stack.push_table(0, 3);
    let functions: [(&str, Native); 3] = [("pack", pack), ("unpack", unpack), ("size", size)];
    for (name, native) in functions {
        stack.push_native(native);
        stack.set(-2, name);
    }
}

/// What one letter of a format stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Signed,
    Unsigned,
    Float,
    Double,
    Pad,
    /// `c`: bytes.
    Chars,
    /// `s`: bytes that end with a zero.
    Text,
    /// Something about the format itself.
    Control,
}

/// Reads a format.
struct Format<'f> {
    rest: &'f [u8],
    big: bool,
    align: usize,
}

impl<'f> Format<'f> {
    fn new(format: &'f [u8]) -> Format<'f> {
        let end = memchr::memchr(0, format).unwrap_or(format.len());
        Format { rest: &format[..end], big: cfg!(target_endian = "big"), align: 1 }
    }

    fn number(&mut self, default: usize) -> Result<usize, Raise> {
        if !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number = 0i32;
        while let Some((digit, rest)) =
            self.rest.split_first().filter(|(byte, _)| byte.is_ascii_digit())
        {
            let next = number.checked_mul(10);
            number = next
                .and_then(|tens| tens.checked_add(i32::from(digit - b'0')))
                .ok_or_else(|| Raise::Text("integral size overflow".to_owned()))?;
            self.rest = rest;
        }
        Ok(number as usize)
    }

    /// The next item, its letter and its bytes.
    fn next(&mut self) -> Result<Option<(Item, u8, usize)>, Raise> {
        let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let signed = if letter.is_ascii_lowercase() { Item::Signed } else { Item::Unsigned };
        let (item, size) = match letter {
            b'b' | b'B' => (signed, 1),
            b'h' | b'H' => (signed, 2),
            b'l' | b'L' => (signed, 8),
            b'T' => (Item::Unsigned, 8),
            b'i' | b'I' => (signed, self.integer_size()?),
            b'f' => (Item::Float, 4),
            b'd' => (Item::Double, 8),
            b'x' => (Item::Pad, 1),
            b'c' => (Item::Chars, self.number(1)?),
            b's' => (Item::Text, 0),
            _ => (Item::Control, 0),
        };
        Ok(Some((item, letter, size)))
    }

    fn integer_size(&mut self) -> Result<usize, Raise> {
        let size = self.number(4)?;
        if size > INTEGER_BYTES_MAX {
            return Err(Raise::Text(format!(
                "integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"
            )));
        }
        Ok(size)
    }

    fn control(&mut self, letter: u8) -> Result<(), Raise> {
        match letter {
            b' ' => {}
            b'>' => self.big = true,
            b'<' => self.big = false,
            b'!' => {
                self.align = self.number(ALIGN_DEFAULT)?;
                if !self.align.is_power_of_two() {
                    return Err(Raise::Text(format!(
                        "alignment {} is not a power of 2",
                        self.align
                    )));
                }
            }
            _ => {
                let shown = char::from(letter);
                return Err(Raise::Argument(1, format!("invalid format option '{shown}'")));
            }
        }
        Ok(())
    }

    /// Bytes before an item of `size` bytes at `position`.
    fn padding(&self, position: usize, item: Item, size: usize) -> usize {
        if size == 0 || item == Item::Chars {
            return 0;
        }
        let size = size.min(self.align);
        size.wrapping_sub(position & (size - 1)) & (size - 1)
    }
}

fn put(out: &mut Vec<u8>, format: &Format, little: &[u8]) {
    match format.big {
        true => out.extend(little.iter().rev()),
        false => out.extend_from_slice(little),
    }
}

/// The integer's bytes, least first; beyond eight they are zeros.
fn integer_bytes(number: f64) -> [u8; INTEGER_BYTES_MAX] {
    let value = if number < 0.0 { (number as i64).cast_unsigned() } else { number as u64 };
    let mut bytes = [0; INTEGER_BYTES_MAX];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// pack(format, ...)
fn pack(stack: Stack) -> Result<c_int, Raise> {
    let mut format = Format::new(stack.want_text(1)?);
    // What an argument that is not there counts as.
    stack.push_nil();
    let mut out = Vec::new();
    let mut at = 1;
    while let Some((item, letter, size)) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), item, size), 0);
        if !matches!(item, Item::Pad | Item::Control) {
            at += 1;
        }
        match item {
            Item::Signed | Item::Unsigned => {
                put(&mut out, &format, &integer_bytes(stack.want_number(at)?)[..size]);
            }
            Item::Pad => out.push(0),
            Item::Float => {
                put(&mut out, &format, &(stack.want_number(at)? as f32).to_le_bytes());
            }
            Item::Double => put(&mut out, &format, &stack.want_number(at)?.to_le_bytes()),
            Item::Chars | Item::Text => {
                let text = stack.want_text(at)?;
                let size = if size == 0 { text.len() } else { size };
                let Some(text) = text.get(..size) else {
                    return Err(Raise::Argument(at + 1, "string too short".to_owned()));
                };
                out.extend_from_slice(text);
                if item == Item::Text {
                    out.push(0);
                }
            }
            Item::Control => format.control(letter)?,
        }
        if out.len() > PACKED_BYTES_MAX {
            return Err(Raise::Text("resulting string too large".to_owned()));
        }
    }
    stack.push(&out);
    Ok(1)
}

fn integer(bytes: &[u8], big: bool, signed: bool) -> f64 {
    let add = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
    let value = match big {
        true => bytes.iter().fold(0, add),
        false => bytes.iter().rev().fold(0, add),
    };
    if !signed {
        return value as f64;
    }
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    ((value << unused).cast_signed() >> unused) as f64
}

fn too_short() -> Raise {
    Raise::Argument(2, "data string too short".to_owned())
}

/// unpack(format, data [, position])
fn unpack(stack: Stack) -> Result<c_int, Raise> {
    let mut format = Format::new(stack.want_text(1)?);
    let data = stack.want_text(2)?;
    let position = stack.want_integer(3, Some(1))?;
    if position == 0 {
        return Err(Raise::Argument(3, "offset must be 1 or greater".to_owned()));
    }
    let mut position = usize::try_from(position - 1).map_err(|_| too_short())?;
    let mut results = 0;
    while let Some((item, letter, size)) = format.next()? {
        position = position.saturating_add(format.padding(position, item, size));
        let rest = data.get(position..).ok_or_else(too_short)?;
        let bytes = rest.get(..size).ok_or_else(too_short)?;
        if !stack.has_room(2) {
            return Err(Raise::Text("stack overflow (too many results)".to_owned()));
        }
        let mut taken = size;
        match item {
            Item::Signed | Item::Unsigned => {
                stack.push_number(integer(bytes, format.big, item == Item::Signed));
            }
            Item::Float => {
                stack.push_number(f64::from(f32::from_le_bytes(ordered(bytes, &format))))
            }
            Item::Double => stack.push_number(f64::from_le_bytes(ordered(bytes, &format))),
            Item::Chars if size == 0 => {
                let before = if results == 0 { None } else { stack.number(-1) };
                let Some(count) = before.filter(|_| stack.kind(-1) != Kind::None) else {
                    let text = "format 'c0' needs a previous size";
                    return Err(Raise::Text(text.to_owned()));
                };
                stack.pop(1);
                results -= 1;
                taken = if count < 0.0 { usize::MAX } else { count as usize };
                stack.push(rest.get(..taken).ok_or_else(too_short)?);
            }
            Item::Chars => stack.push(bytes),
            Item::Text => {
                let Some(end) = memchr::memchr(0, rest) else {
                    return Err(Raise::Text("unfinished string in data".to_owned()));
                };
                stack.push(&rest[..end]);
                taken = end + 1;
            }
            Item::Pad | Item::Control => {
                if item == Item::Control {
                    format.control(letter)?;
                }
                results -= 1;
            }
        }
        results += 1;
        position += taken;
    }
    stack.push_number((position + 1) as f64);
    Ok(results + 1)
}

/// The bytes, least first.
fn ordered<const N: usize>(bytes: &[u8], format: &Format) -> [u8; N] {
    let mut little: [u8; N] = bytes.try_into().unwrap_or([0; N]);
    if format.big {
        little.reverse();
    }
    little
}

/// size(format)
fn size(stack: Stack) -> Result<c_int, Raise> {
    let mut format = Format::new(stack.want_text(1)?);
    let mut position = 0usize;
    while let Some((item, letter, size)) = format.next()? {
        position += format.padding(position, item, size);
        match item {
            Item::Text => {
                return Err(Raise::Argument(1, "option 's' has no fixed size".to_owned()));
            }
            Item::Chars if size == 0 => {
                return Err(Raise::Argument(1, "option 'c0' has no fixed size".to_owned()));
            }
            // Letters that mean nothing are passed over here.
            Item::Control if !letter.is_ascii_alphanumeric() => format.control(letter)?,
            _ => {}
        }
        position += size;
    }
    stack.push_number(position as f64);
    Ok(1)
}
