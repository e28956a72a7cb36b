//! The library `cmsgpack`: MessagePack.

use std::ffi::c_int;

use crate::script::raw::{Kind, Native, Raise, Stack};

/// Tables that nest deeper are packed as nil.
const PACK_DEPTH_MAX: usize = 16;

/// How deep unpacked values may nest.
const UNPACK_DEPTH_MAX: usize = 2000;

/// Pushes the library.
pub(super) fn open(stack: Stack) {
    stack.push_table(0, 8);
    let functions: [(&str, Native); 4] = [
        ("pack", pack),
        ("unpack", unpack),
        ("unpack_one", unpack_one),
        ("unpack_limit", unpack_limit),
    ];
    for (name, native) in functions {
        stack.push_native(native);
        stack.set(-2, name);
    }
    let facts = [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ];
    for (name, text) in facts {
        stack.push(text.as_bytes());
        stack.set(-2, name);
    }
}

fn overflow(place: &str) -> Raise {
    Raise::Text(format!("stack overflow (in function {place})"))
}

/// pack(...): the arguments, one after the other.
fn pack(stack: Stack) -> Result<c_int, Raise> {
    let count = stack.top();
    if count == 0 {
        return Err(Raise::Argument(0, "MessagePack pack needs input.".to_owned()));
    }
    let mut out = Vec::new();
    for at in 1..=count {
        if !stack.has_room(1) {
            return Err(overflow("mp_check"));
        }
        stack.push_value(at);
        put(stack, &mut out, 0)?;
    }
    stack.push(&out);
    Ok(1)
}

/// Packs the value on top and removes it.
fn put(stack: Stack, out: &mut Vec<u8>, depth: usize) -> Result<(), Raise> {
    match stack.kind(-1) {
        Kind::String => put_string(out, stack.want_text(-1)?),
        Kind::Boolean => out.push(if stack.truth(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => put_number(out, stack.number(-1).unwrap_or_default()),
        Kind::Table if depth < PACK_DEPTH_MAX => put_table(stack, out, depth)?,
        _ => out.push(0xc0),
    }
    stack.pop(1);
    Ok(())
}

fn put_number(out: &mut Vec<u8>, number: f64) {
    // What 64 bits hold, as C converts it: 2^63 itself does not come back.
    let integer = number as i64;
    if integer as f64 == number && number < 9_223_372_036_854_775_808.0 {
        return put_integer(out, integer);
    }
    let short = number as f32;
    if f64::from(short) == number {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn put_integer(out: &mut Vec<u8>, number: i64) {
    let bytes = number.to_be_bytes();
    let (code, len) = match number {
        -32..=0x7f => return out.push(bytes[7]),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -128..=-33 => (0xd0, 1),
        -32_768..=-129 => (0xd1, 2),
        -2_147_483_648..=-32_769 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(code);
    out.extend_from_slice(&bytes[8 - len..]);
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len => put_count(out, len, [0xda, 0xdb]),
    }
    out.extend_from_slice(bytes);
}

/// A count in two or four bytes.
fn put_count(out: &mut Vec<u8>, count: usize, [short, long]: [u8; 2]) {
    match u16::try_from(count) {
        Ok(count) => {
            out.push(short);
            out.extend_from_slice(&count.to_be_bytes());
        }
        Err(_) => {
            out.push(long);
            out.extend_from_slice(&(count as u32).to_be_bytes());
        }
    }
}

fn put_head(out: &mut Vec<u8>, count: usize, tiny: u8, codes: [u8; 2]) {
    match count {
        0..=15 => out.push(tiny | count as u8),
        _ => put_count(out, count, codes),
    }
}

/// How many elements the table on top has, and whether their keys are 1 to so many.
fn shape(stack: Stack) -> (usize, bool) {
    let (mut count, mut last, mut is_array) = (0, 0.0f64, true);
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        count += 1;
        let index = if stack.kind(-1) == Kind::Number { stack.number(-1) } else { None };
        match index {
            Some(index) if index > 0.0 && index.fract() == 0.0 && index <= f64::from(i32::MAX) => {
                last = last.max(index);
            }
            _ => is_array = false,
        }
    }
    (count, is_array && last == count as f64)
}

fn put_table(stack: Stack, out: &mut Vec<u8>, depth: usize) -> Result<(), Raise> {
    if !stack.has_room(4) {
        return Err(overflow("mp_encode_lua_table_as_map"));
    }
    let (count, is_array) = shape(stack);
    if is_array {
        put_head(out, count, 0x90, [0xdc, 0xdd]);
        for index in 1..=count {
            stack.get_index(-1, index as c_int);
            put(stack, out, depth + 1)?;
        }
        return Ok(());
    }
    put_head(out, count, 0x80, [0xde, 0xdf]);
    stack.push_nil();
    while stack.next(-2) {
        stack.push_value(-2);
        put(stack, out, depth + 1)?;
        put(stack, out, depth + 1)?;
    }
    Ok(())
}

/// Why bytes cannot be unpacked.
enum Bad {
    Ended,
    Format,
    Deep,
}

/// The bytes that are still to be unpacked.
struct Input<'i> {
    rest: &'i [u8],
}

impl<'i> Input<'i> {
    fn take(&mut self, count: usize) -> Result<&'i [u8], Bad> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Bad::Ended)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned number of `len` bytes.
    fn number(&mut self, len: usize) -> Result<u64, Bad> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// A number with a sign.
    fn signed(&mut self, len: usize) -> Result<f64, Bad> {
        let unused = 64 - 8 * len as u32;
        Ok(((self.number(len)? << unused).cast_signed() >> unused) as f64)
    }

    fn string(&mut self, stack: Stack, len: u64) -> Result<(), Bad> {
        stack.push(self.take(usize::try_from(len).unwrap_or(usize::MAX))?);
        Ok(())
    }

    /// Pushes the next value.
    fn value(&mut self, stack: Stack, depth: usize) -> Result<(), Bad> {
        if depth > UNPACK_DEPTH_MAX || !stack.has_room(4) {
            return Err(Bad::Deep);
        }
        let code = self.take(1)?[0];
        match code {
            0x00..=0x7f => stack.push_number(code.into()),
            0xe0..=0xff => stack.push_number(code.cast_signed().into()),
            0xa0..=0xbf => self.string(stack, u64::from(code & 31))?,
            0x90..=0x9f => self.array(stack, u64::from(code & 15), depth)?,
            0x80..=0x8f => self.map(stack, u64::from(code & 15), depth)?,
            0xc0 => stack.push_nil(),
            0xc2 | 0xc3 => stack.push_bool(code == 0xc3),
            0xca => stack.push_number(f32::from_bits(self.number(4)? as u32).into()),
            0xcb => stack.push_number(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => stack.push_number(self.number(1 << (code - 0xcc))? as f64),
            0xd0..=0xd3 => stack.push_number(self.signed(1 << (code - 0xd0))?),
            0xd9..=0xdb => {
                let len = self.number(1 << (code - 0xd9))?;
                self.string(stack, len)?;
            }
            0xdc | 0xdd => {
                let len = self.number(2 << (code - 0xdc))?;
                self.array(stack, len, depth)?;
            }
            0xde | 0xdf => {
                let len = self.number(2 << (code - 0xde))?;
                self.map(stack, len, depth)?;
            }
            _ => return Err(Bad::Format),
        }
        Ok(())
    }

    fn array(&mut self, stack: Stack, len: u64, depth: usize) -> Result<(), Bad> {
        // Each element takes a byte at least.
        stack.push_table((len as usize).min(self.rest.len()), 0);
        for index in 1..=len {
            self.value(stack, depth + 1)?;
            stack.set_index(-2, index as c_int);
        }
        Ok(())
    }

    fn map(&mut self, stack: Stack, len: u64, depth: usize) -> Result<(), Bad> {
        stack.push_table(0, (len as usize).min(self.rest.len() / 2));
        for _ in 0..len {
            self.value(stack, depth + 1)?;
            self.value(stack, depth + 1)?;
            stack.set_pair(-3);
        }
        Ok(())
    }
}

const TOO_MANY: &str = "stack overflow (too many return values at once; use unpack_one or \
    unpack_limit instead.)";

/// Unpacks `limit` values (all, when `None`) of the first argument, the only one left.
fn unpack_some(stack: Stack, limit: Option<i64>, offset: i64) -> Result<c_int, Raise> {
    let bytes = stack.want_text(1)?;
    let len = bytes.len();
    if offset < 0 || limit.is_some_and(|limit| limit < 0) {
        let text = format!("Invalid request to unpack with offset of {offset} and limit of {len}.");
        return Err(Raise::Text(text));
    }
    let Some(rest) = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..) else {
        let text = format!("Start offset {offset} greater than input length {len}.");
        return Err(Raise::Text(text));
    };
    // Neither a limit nor an offset means all.
    let limit = limit.filter(|limit| *limit != 0 || offset != 0);
    let mut input = Input { rest };
    let mut count = 0;
    while !input.rest.is_empty() && limit.is_none_or(|limit| i64::from(count) < limit) {
        if !stack.has_room(1) {
            return Err(Raise::Text(TOO_MANY.to_owned()));
        }
        input.value(stack, 0).map_err(|bad| match bad {
            Bad::Ended => Raise::Text("Missing bytes in input.".to_owned()),
            Bad::Format => Raise::Text("Bad data format in input.".to_owned()),
            Bad::Deep => overflow("mp_decode_to_lua_array"),
        })?;
        count += 1;
    }
    if limit.is_some() {
        let end = if input.rest.is_empty() { -1.0 } else { (len - input.rest.len()) as f64 };
        stack.push_number(end);
        stack.insert(2);
        count += 1;
    }
    Ok(count)
}

fn unpack(stack: Stack) -> Result<c_int, Raise> {
    stack.want_text(1)?;
    stack.set_top(1);
    unpack_some(stack, None, 0)
}

fn unpack_one(stack: Stack) -> Result<c_int, Raise> {
    let offset = stack.want_integer(2, Some(0))?;
    stack.set_top(1);
    unpack_some(stack, Some(1), offset)
}

fn unpack_limit(stack: Stack) -> Result<c_int, Raise> {
    let limit = stack.want_integer(2, None)?;
    let offset = stack.want_integer(3, Some(0))?;
    stack.set_top(1);
    unpack_some(stack, Some(limit), offset)
}
