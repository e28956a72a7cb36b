//! Strings as rows of bits: the first bit is the highest of the first byte.

mod field;
mod seek;

use crate::base::num::parse_i64;
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::entry::{Held, New};
use crate::keyspace::event::Event;
use crate::keyspace::view::Deadline;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        seek::bitcount,
        Spec::new("bitcount", Group::Bitmap, AtLeast(2)).reads().key(1).since("2.6.0"),
    ),
    Command::data(
        field::bitfield,
        Spec::new("bitfield", Group::Bitmap, AtLeast(2))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).rw().update().access().variable_flags())
            .since("3.2.0"),
    ),
    Command::data(
        field::bitfield_ro,
        Spec::new("bitfield_ro", Group::Bitmap, AtLeast(2)).reads().fast().key(1).since("6.0.0"),
    ),
    Command::data(
        bitop,
        Spec::new("bitop", Group::Bitmap, AtLeast(4))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(2).ow().update())
            .key_spec(KeySpec::range(3, -1, 1).ro().access())
            .since("2.6.0"),
    ),
    Command::data(
        seek::bitpos,
        Spec::new("bitpos", Group::Bitmap, AtLeast(3)).reads().key(1).since("2.8.7"),
    ),
    Command::data(
        getbit,
        Spec::new("getbit", Group::Bitmap, Exactly(3)).reads().fast().key(1).since("2.2.0"),
    ),
    Command::data(
        setbit,
        Spec::new("setbit", Group::Bitmap, Exactly(4))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("2.2.0"),
    ),
];

const OFFSET: CmdError = CmdError::Const("ERR bit offset is not an integer or out of range");

/// An offset of bits within the longest string there may be; a leading `#` counts in fields of
/// `width` bits, where that is given.
fn offset(cx: &Ctx, word: &[u8], width: Option<u32>) -> Result<usize, CmdError> {
    let (digits, unit) = match (word.strip_prefix(b"#"), width) {
        (Some(digits), Some(width)) => (digits, i64::from(width)),
        _ => (word, 1),
    };
    let offset = parse_i64(digits).and_then(|number| number.checked_mul(unit)).ok_or(OFFSET)?;
    let offset = usize::try_from(offset).map_err(|_| OFFSET)?;
    let fits = (offset as u64 / 8) < cx.db.env().string_bytes_max;
    if fits { Ok(offset) } else { Err(OFFSET) }
}

fn mask(at: usize) -> u8 {
    0x80 >> (at % 8)
}

/// SETBIT key offset value
fn setbit(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let word = cx.args.bytes()?;
    let at = offset(cx, word, None)?;
    let on = match cx.args.bytes()? {
        b"0" => false,
        b"1" => true,
        _ => return Err(CmdError::Const("ERR bit is not an integer or out of range")),
    };
    let mut text = cx.db.open_text(key)?;
    // Whatever becomes of the bit, the string is a buffer of its own from here on, as in Redis.
    let bytes = text.bytes_mut();
    let grows = bytes.len() <= at / 8;
    if grows {
        bytes.resize(at / 8 + 1, 0);
    }
    let old = bytes[at / 8] & mask(at) != 0;
    if grows || old != on {
        bytes[at / 8] ^= if old != on { mask(at) } else { 0 };
        text.commit(Event::string("setbit"));
    }
    Ok(cx.reply.flag(old))
}

/// GETBIT key offset
fn getbit(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let word = cx.args.bytes()?;
    let at = offset(cx, word, None)?;
    let on = cx.db.read_text(key)?.is_some_and(|text| {
        text.with(|bytes| bytes.get(at / 8).is_some_and(|byte| byte & mask(at) != 0))
    });
    Ok(cx.reply.flag(on))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

/// BITOP AND | OR | XOR | NOT destination key [key ...]
fn bitop(cx: &mut Ctx) -> CmdResult {
    let operation = match cx.args.option()?.as_str() {
        "and" => Operation::And,
        "or" => Operation::Or,
        "xor" => Operation::Xor,
        "not" => Operation::Not,
        _ => return Err(CmdError::Syntax),
    };
    let target = cx.args.bytes()?;
    let keys: Vec<&[u8]> = cx.args.remaining().collect();
    if operation == Operation::Not && keys.len() != 1 {
        return Err(CmdError::err("BITOP NOT must be called with a single source key."));
    }
    let mut result: Option<Vec<u8>> = None;
    for entry in cx.db.read_many(&keys) {
        let operand = match entry.map(|entry| entry.held()) {
            None => Vec::new(),
            Some(Held::Text(text)) => text.to_vec(),
            Some(Held::Value(_)) => return Err(CmdError::WrongType),
        };
        result = Some(match result {
            None if operation == Operation::Not => operand.iter().map(|byte| !byte).collect(),
            None => operand,
            Some(so_far) => join(operation, so_far, &operand),
        });
    }
    let result = result.unwrap_or_default();
    if result.is_empty() {
        cx.db.delete(target, Event::DEL);
    } else {
        cx.db.set(target, New::Changed(&result), Deadline::Clear, Event::string("set"));
    }
    Ok(cx.reply.count(result.len()))
}

/// Joins two operands; the shorter counts as followed by zeros.
fn join(operation: Operation, mut left: Vec<u8>, right: &[u8]) -> Vec<u8> {
    left.resize(left.len().max(right.len()), 0);
    let zeros = std::iter::repeat(&0);
    for (byte, other) in left.iter_mut().zip(right.iter().chain(zeros)) {
        match operation {
            Operation::And => *byte &= other,
            Operation::Or => *byte |= other,
            Operation::Xor | Operation::Not => *byte ^= other,
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn bits_are_set_read_and_joined() {
        let mut house = House::new();
        for (line, answer) in [
            ("setbit k 7 1", ":0|"),
            ("get k", "$1|\u{1}|"),
            ("setbit k 7 1", ":1|"),
            ("getbit k 7", ":1|"),
            ("getbit k 100", ":0|"),
            ("setbit k 4294967296 1", "-ERR bit offset is not an integer or out of range|"),
            ("setbit k 1 2", "-ERR bit is not an integer or out of range|"),
            ("setbit k 15 0", ":0|"),
            ("strlen k", ":2|"),
            ("set c 12", "+OK|"),
            ("setbit c 0 0", ":0|"),
            ("object encoding c", "$3|raw|"),
            ("get c", "$2|12|"),
            ("set a abc", "+OK|"),
            ("set b AB", "+OK|"),
            ("bitop xor d a b", ":3|"),
            ("get d", "$3|  c|"),
            ("object encoding d", "$3|raw|"),
            ("bitop and d a none", ":3|"),
            ("bitop not d none", ":0|"),
            ("exists d", ":0|"),
            ("bitop not d a b", "-ERR BITOP NOT must be called with a single source key.|"),
            ("bitop nor d a b", "-ERR syntax error|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        let log = house.log();
        assert_eq!(log.iter().filter(|line| line.starts_with("setbit")).count(), 2);
    }
}
