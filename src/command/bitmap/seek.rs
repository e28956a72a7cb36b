//! Counting and finding bits in a part of a string.

use std::ops::Range;

use crate::base::num::parse_i64;
use crate::engine::context::Ctx;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// In what the ends of a part are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn read(cx: &mut Ctx) -> Result<Unit, CmdError> {
        match cx.args.is_done() {
            true => Ok(Unit::Byte),
            false if cx.args.take_keyword("bit") => Ok(Unit::Bit),
            false if cx.args.take_keyword("byte") => Ok(Unit::Byte),
            false => Err(CmdError::Syntax),
        }
    }
}

/// A part of a string; negative ends count from its end, both are included.
struct Part {
    start: i64,
    end: i64,
    unit: Unit,
}

impl Part {
    /// The bits it covers in a string of `bytes`.
    fn bits(&self, bytes: usize) -> Range<usize> {
        let scale = if self.unit == Unit::Bit { 1 } else { 8 };
        let len = i64::try_from(bytes * 8 / scale).unwrap_or(i64::MAX);
        if self.start < 0 && self.end < 0 && self.start > self.end {
            return 0..0;
        }
        let from_end =
            |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
        let (start, end) = (from_end(self.start), from_end(self.end).min(len - 1));
        if start > end { 0..0 } else { start as usize * scale..(end as usize + 1) * scale }
    }
}

/// The byte at `at` with the bits outside of `bits` cleared.
fn within(bytes: &[u8], at: usize, bits: &Range<usize>) -> u8 {
    let mut byte = bytes[at];
    if bits.start > at * 8 {
        byte &= 0xff >> (bits.start - at * 8);
    }
    if bits.end < at * 8 + 8 {
        byte &= !(0xff >> (bits.end - at * 8));
    }
    byte
}

/// BITCOUNT key [start end [BYTE | BIT]]
pub(super) fn bitcount(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let mut part = Part { start: 0, end: -1, unit: Unit::Byte };
    if !cx.args.is_done() {
        if cx.args.left() == 1 || cx.args.left() > 3 {
            return Err(CmdError::Syntax);
        }
        (part.start, part.end) = (cx.args.i64()?, cx.args.i64()?);
        part.unit = Unit::read(cx)?;
    }
    let count = cx
        .db
        .read_text(key)?
        .map_or(0, |text| text.with(|bytes| count(bytes, &part.bits(bytes.len()))));
    Ok(cx.reply.count(count))
}

fn count(bytes: &[u8], bits: &Range<usize>) -> usize {
    if bits.is_empty() {
        return 0;
    }
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    let mut ones = within(bytes, first, bits).count_ones() as usize;
    if last > first {
        ones += within(bytes, last, bits).count_ones() as usize;
        let (words, rest) = bytes[first + 1..last].as_chunks::<8>();
        ones += words.iter().map(|w| u64::from_ne_bytes(*w).count_ones() as usize).sum::<usize>();
        ones += rest.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    }
    ones
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
pub(super) fn bitpos(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let wanted = match cx.args.i64()? {
        0 => false,
        1 => true,
        _ => return Err(CmdError::err("The bit argument must be 1 or 0.")),
    };
    if cx.args.left() > 3 {
        return Err(CmdError::Syntax);
    }
    let mut part = Part { start: 0, end: -1, unit: Unit::Byte };
    if !cx.args.is_done() {
        part.start = cx.args.i64()?;
    }
    let closed = !cx.args.is_done();
    if closed {
        // An unknown unit is refused before an end that is no number.
        let end = cx.args.bytes()?;
        part.unit = Unit::read(cx)?;
        part.end = parse_i64(end).ok_or(CmdError::NotInteger)?;
    }
    let Some(text) = cx.db.read_text(key)? else {
        return Ok(cx.reply.int(if wanted { -1 } else { 0 }));
    };
    let found = text.with(|bytes| {
        let bits = part.bits(bytes.len());
        match find(bytes, &bits, wanted) {
            Some(at) => at as i64,
            // Behind the end of a string there are zeros, unless the end was told.
            None if !wanted && !closed && !bits.is_empty() => bits.end as i64,
            None => -1,
        }
    });
    Ok(cx.reply.int(found))
}

fn find(bytes: &[u8], bits: &Range<usize>, wanted: bool) -> Option<usize> {
    if bits.is_empty() {
        return None;
    }
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    let dull = if wanted { 0x00 } else { 0xff };
    let mut at = first;
    loop {
        let byte = if wanted { bytes[at] } else { !bytes[at] };
        let hits = if at == first || at == last {
            within(&[byte], 0, &(bits.start.saturating_sub(at * 8)..bits.end - at * 8))
        } else {
            byte
        };
        if hits != 0 {
            return Some(at * 8 + hits.leading_zeros() as usize);
        }
        if at == last {
            return None;
        }
        let skipped = bytes[at + 1..last].iter().position(|byte| *byte != dull);
        at = skipped.map_or(last, |skipped| at + 1 + skipped);
    }
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn bits_are_counted_and_found_in_parts() {
        let mut house = House::new();
        house.run("set k foobar");
        house.run(r#"set ones "\x7f""#);
        for (line, answer) in [
            ("bitcount k", ":26|"),
            ("bitcount k 0 0", ":4|"),
            ("bitcount k 5 30 bit", ":17|"),
            ("bitcount k -2 -1", ":7|"),
            ("bitcount k 0", "-ERR syntax error|"),
            ("bitcount none", ":0|"),
            ("bitpos k 1", ":1|"),
            ("bitpos k 0", ":0|"),
            ("bitpos ones 0 0 -1", ":0|"),
            ("bitpos ones 1 1 7 bit", ":1|"),
            ("bitpos ones 0 1 7 bit", ":-1|"),
            ("bitpos none 1", ":-1|"),
            ("bitpos none 0", ":0|"),
            ("bitpos k 2", "-ERR The bit argument must be 1 or 0.|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
