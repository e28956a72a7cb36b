//! BITFIELD: integers of any width at any bit of a string.

use crate::base::num::parse_i64;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};

/// The type of a field.
#[derive(Clone, Copy)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn read(word: &[u8]) -> Result<Width, CmdError> {
        let (signed, bits_max, digits) = match word.split_first() {
            Some((b'i', digits)) => (true, 64, digits),
            Some((b'u', digits)) => (false, 63, digits),
            _ => (true, 0, &b""[..]),
        };
        let bits = parse_i64(digits).filter(|bits| (1..=bits_max).contains(bits));
        let bits = bits.ok_or(CmdError::Const(
            "ERR Invalid bitfield type. Use something like i16 u8. \
             Note that u64 is not supported but i64 is.",
        ))?;
        Ok(Width { signed, bits: bits as u32 })
    }

    fn bounds(self) -> (i128, i128) {
        match self.signed {
            true => (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1),
            false => (0, (1 << self.bits) - 1),
        }
    }

    /// The lowest bits of a number as such a field.
    fn wrapped(self, number: i128) -> i128 {
        let low = number & ((1 << self.bits) - 1);
        if low > self.bounds().1 { low - (1 << self.bits) } else { low }
    }

    fn get(self, bytes: &[u8], at: usize) -> i128 {
        let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte & super::mask(at) != 0);
        let bits = at..at + self.bits as usize;
        self.wrapped(bits.fold(0, |number, at| number << 1 | i128::from(bit(at))))
    }

    fn set(self, bytes: &mut [u8], at: usize, number: i128) {
        for index in 0..self.bits as usize {
            let on = number >> (self.bits as usize - 1 - index) & 1 == 1;
            let (byte, mask) = (&mut bytes[(at + index) / 8], super::mask(at + index));
            *byte = *byte & !mask | if on { mask } else { 0 };
        }
    }
}

/// What happens to a number that its field cannot hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

struct Step {
    width: Width,
    at: usize,
    action: Action,
    overflow: Overflow,
}

impl Step {
    /// The number to be written, and the one to be answered, where the field holds `old`.
    fn outcome(&self, old: i128) -> Option<(i128, i128)> {
        let wanted = match self.action {
            Action::Get => return Some((old, old)),
            Action::Set(number) if self.width.signed => i128::from(number),
            Action::Set(number) => i128::from(number as u64),
            Action::Add(number) => old + i128::from(number),
        };
        let (min, max) = self.width.bounds();
        let new = match self.overflow {
            _ if (min..=max).contains(&wanted) => wanted,
            Overflow::Wrap => self.width.wrapped(wanted),
            Overflow::Saturate => wanted.clamp(min, max),
            Overflow::Fail => return None,
        };
        Some((new, if matches!(self.action, Action::Set(_)) { old } else { new }))
    }

    fn end(&self) -> usize {
        self.at + self.width.bits as usize
    }
}

fn read_steps(cx: &mut Ctx) -> Result<Vec<Step>, CmdError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    while !cx.args.is_done() {
        let name = cx.args.option()?;
        let words = match name.as_str() {
            "overflow" => 1,
            "get" => 2,
            "set" | "incrby" => 3,
            _ => return Err(CmdError::Syntax),
        };
        if cx.args.left() < words {
            return Err(CmdError::Syntax);
        }
        if name == "overflow" {
            overflow = match cx.args.option()?.as_str() {
                "wrap" => Overflow::Wrap,
                "sat" => Overflow::Saturate,
                "fail" => Overflow::Fail,
                _ => return Err(CmdError::err("Invalid OVERFLOW type specified")),
            };
            continue;
        }
        let width = Width::read(cx.args.bytes()?)?;
        let word = cx.args.bytes()?;
        let at = super::offset(cx, word, Some(width.bits))?;
        let action = match name.as_str() {
            "get" => Action::Get,
            "set" => Action::Set(cx.args.i64()?),
            _ => Action::Add(cx.args.i64()?),
        };
        steps.push(Step { width, at, action, overflow });
    }
    Ok(steps)
}

/// BITFIELD key [GET type offset | [OVERFLOW …] SET | INCRBY type offset value] ...
pub(super) fn bitfield(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let steps = read_steps(cx)?;
    let is_write = |step: &&Step| !matches!(step.action, Action::Get);
    let Some(end) = steps.iter().filter(is_write).map(Step::end).max() else {
        return answer_all(cx, key, &steps);
    };
    let mut text = cx.db.open_text(key)?;
    let bytes = text.bytes_mut();
    let grown = bytes.len() < end.div_ceil(8);
    if grown {
        bytes.resize(end.div_ceil(8), 0);
    }
    let mut changes = 0;
    cx.reply.array(steps.len());
    for step in &steps {
        let old = step.width.get(bytes, step.at);
        let outcome = step.outcome(old);
        if let Some((new, _)) = outcome.filter(|_| is_write(&step)) {
            step.width.set(bytes, step.at, new);
            changes += u64::from(grown || new != old);
        }
        answer(cx.reply, outcome.map(|(_, told)| told));
    }
    if grown {
        // A string that only grew has changed too.
        changes = changes.max(1);
    }
    if changes > 0 {
        text.commit_changes(Event::string("setbit"), changes);
    }
    Ok(cx.reply.done())
}

/// BITFIELD_RO key [GET type offset ...]
pub(super) fn bitfield_ro(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let steps = read_steps(cx)?;
    if steps.iter().any(|step| !matches!(step.action, Action::Get)) {
        return Err(CmdError::err("BITFIELD_RO only supports the GET subcommand"));
    }
    answer_all(cx, key, &steps)
}

fn answer_all(cx: &mut Ctx, key: &[u8], steps: &[Step]) -> CmdResult {
    let bytes = cx.db.read_text(key)?.map(|text| text.to_vec()).unwrap_or_default();
    cx.reply.array(steps.len());
    for step in steps {
        answer(cx.reply, Some(step.width.get(&bytes, step.at)));
    }
    Ok(cx.reply.done())
}

fn answer(reply: &mut Reply, number: Option<i128>) {
    let _ = match number {
        // The bounds of every width lie within 64 bits.
        Some(number) => reply.int(number as i64),
        None => reply.null(),
    };
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn fields_are_read_written_and_overflow_as_told() {
        let mut house = House::new();
        for (line, answer) in [
            ("bitfield k set u8 0 255 get u8 0 get i8 0", "*3|:0|:255|:-1|"),
            ("bitfield k incrby u8 0 1", "*1|:0|"),
            ("bitfield k overflow sat incrby i8 #0 200", "*1|:127|"),
            ("bitfield k overflow fail incrby i8 0 1", "*1|$-1|"),
            (
                "bitfield k set i64 0 -9223372036854775808 get i64 0",
                "*2|:9151314442816847872|:-9223372036854775808|",
            ),
            ("bitfield k overflow sat set u4 0 -1 get u4 0", "*2|:8|:15|"),
            ("bitfield_ro k get u4 0", "*1|:15|"),
            ("bitfield_ro k set u4 0 1", "-ERR BITFIELD_RO only supports the GET subcommand|"),
            (
                "bitfield k get u64 0",
                "-ERR Invalid bitfield type. Use something like i16 u8. \
                 Note that u64 is not supported but i64 is.|",
            ),
            ("bitfield k get u8 -1", "-ERR bit offset is not an integer or out of range|"),
            ("bitfield k overflow x", "-ERR Invalid OVERFLOW type specified|"),
            ("bitfield k get u8", "-ERR syntax error|"),
            ("bitfield none", "*0|"),
            ("exists none", ":0|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
