//! Strings: setting and getting, counting, cutting and joining.

mod count;
mod lcs;
mod set;

use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::entry::{Entry, New};
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
        append,
        Spec::new("append", Group::String, Exactly(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("2.0.0"),
    ),
    Command::data(
        count::decr,
        Spec::new("decr", Group::String, Exactly(2))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("1.0.0"),
    ),
    Command::data(
        count::decrby,
        Spec::new("decrby", Group::String, Exactly(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("1.0.0"),
    ),
    Command::data(
        set::get,
        Spec::new("get", Group::String, Exactly(2)).reads().fast().key(1).since("1.0.0"),
    ),
    Command::data(
        set::getdel,
        Spec::new("getdel", Group::String, Exactly(2))
            .writes()
            .fast()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .since("6.2.0"),
    ),
    Command::data(
        set::getex,
        Spec::new("getex", Group::String, AtLeast(2))
            .writes()
            .fast()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("6.2.0"),
    ),
    Command::data(
        getrange,
        Spec::new("getrange", Group::String, Exactly(4)).reads().key(1).since("2.4.0"),
    ),
    Command::data(
        set::getset,
        Spec::new("getset", Group::String, Exactly(3))
            .writes()
            .denyoom()
            .fast()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("1.0.0")
            .deprecated("6.2.0"),
    ),
    Command::data(
        count::incr,
        Spec::new("incr", Group::String, Exactly(2))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("1.0.0"),
    ),
    Command::data(
        count::incrby,
        Spec::new("incrby", Group::String, Exactly(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("1.0.0"),
    ),
    Command::data(
        count::incrbyfloat,
        Spec::new("incrbyfloat", Group::String, Exactly(3))
            .writes()
            .denyoom()
            .fast()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("2.6.0"),
    ),
    Command::data(
        lcs::lcs,
        Spec::new("lcs", Group::String, AtLeast(3)).reads().keys(1, 2, 1).since("7.0.0"),
    ),
    Command::data(
        mget,
        Spec::new("mget", Group::String, AtLeast(2))
            .reads()
            .fast()
            .keys(1, -1, 1)
            .tip("request_policy:multi_shard")
            .since("1.0.0"),
    ),
    Command::data(
        mset,
        Spec::new("mset", Group::String, AtLeast(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::range(1, -1, 2).ow().update())
            .tip("request_policy:multi_shard")
            .tip("response_policy:all_succeeded")
            .since("1.0.1"),
    ),
    Command::data(
        msetnx,
        Spec::new("msetnx", Group::String, AtLeast(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::range(1, -1, 2).ow().insert())
            .since("1.0.1"),
    ),
    Command::data(
        set::psetex,
        Spec::new("psetex", Group::String, Exactly(4))
            .writes()
            .denyoom()
            .rewritten()
            .key_spec(KeySpec::at(1).ow().update())
            .since("2.6.0")
            .deprecated("2.6.12"),
    ),
    Command::data(
        set::set,
        Spec::new("set", Group::String, AtLeast(3))
            .writes()
            .denyoom()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().update().variable_flags())
            .since("1.0.0"),
    ),
    Command::data(
        set::setex,
        Spec::new("setex", Group::String, Exactly(4))
            .writes()
            .denyoom()
            .rewritten()
            .key_spec(KeySpec::at(1).ow().update())
            .since("2.0.0")
            .deprecated("2.6.12"),
    ),
    Command::data(
        set::setnx,
        Spec::new("setnx", Group::String, Exactly(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).ow().insert())
            .since("1.0.0")
            .deprecated("2.6.12"),
    ),
    Command::data(
        setrange,
        Spec::new("setrange", Group::String, Exactly(4)).writes().denyoom().key(1).since("2.2.0"),
    ),
    Command::data(
        strlen,
        Spec::new("strlen", Group::String, Exactly(2))
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("2.2.0"),
    ),
    Command::data(
        getrange,
        Spec::new("substr", Group::String, Exactly(4))
            .reads()
            .key(1)
            .since("1.0.0")
            .deprecated("2.0.0"),
    ),
];

/// Refuses strings beyond `proto-max-bulk-len`.
fn check_len(cx: &Ctx, len: u64) -> Result<(), CmdError> {
    if len > cx.db.env().string_bytes_max { Err(CmdError::TooLong) } else { Ok(()) }
}

/// APPEND key value
fn append(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let more = cx.args.bytes()?;
    let max = cx.db.env().string_bytes_max;

    let mut text = cx.db.open_text(key)?;
    let len = match text.text().map(|old| old.len()) {
        None => {
            text.write(New::Bytes(more));
            more.len()
        }
        Some(old) => {
            let len = old.saturating_add(more.len());
            if len as u64 > max {
                return Err(CmdError::TooLong);
            }
            text.bytes_mut().extend_from_slice(more);
            len
        }
    };
    text.commit(Event::string("append"));
    Ok(cx.reply.count(len))
}

/// STRLEN key
fn strlen(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let len = cx.db.read_text(key)?.map_or(0, |text| text.len());
    Ok(cx.reply.count(len))
}

/// GETRANGE key start end
fn getrange(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let (start, end) = (cx.args.i64()?, cx.args.i64()?);
    Ok(match cx.db.read_text(key)? {
        None => cx.reply.bulk(b""),
        Some(text) => text.with(|bytes| {
            let range = between(start, end, bytes.len());
            cx.reply.bulk(bytes.get(range).unwrap_or(b""))
        }),
    })
}

/// What two indices mean of something of `len` bytes; negative ones count from the end, both ends
/// are included.
fn between(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_end = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end || len == 0 { 0..0 } else { start as usize..end as usize + 1 }
}

/// SETRANGE key offset value
fn setrange(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let offset = cx.args.i64()?;
    let patch = cx.args.bytes()?;
    let Ok(offset) = u64::try_from(offset) else {
        return Err(CmdError::err("offset is out of range"));
    };
    let end = offset.saturating_add(patch.len() as u64);
    let fits = check_len(cx, end);

    let mut text = cx.db.open_text(key)?;
    if patch.is_empty() {
        let len = text.text().map_or(0, |text| text.len());
        return Ok(cx.reply.count(len));
    }
    fits?;
    let (offset, end) = (offset as usize, end as usize);
    let bytes = text.bytes_mut();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(patch);
    let len = bytes.len();
    text.commit(Event::string("setrange"));
    Ok(cx.reply.count(len))
}

/// MGET key [key ...]
fn mget(cx: &mut Ctx) -> CmdResult {
    let keys: Vec<&[u8]> = cx.args.remaining().collect();
    cx.reply.array(keys.len());
    for key in keys {
        let _ = match cx.db.read_entry(key).and_then(Entry::text) {
            None => cx.reply.null(),
            Some(text) => text.with(|bytes| cx.reply.bulk(bytes)),
        };
    }
    Ok(cx.reply.done())
}

/// MSET key value [key value ...]
fn mset(cx: &mut Ctx) -> CmdResult {
    set_pairs(cx)?;
    Ok(cx.reply.ok())
}

/// MSETNX key value [key value ...]
fn msetnx(cx: &mut Ctx) -> CmdResult {
    check_pairs(cx)?;
    let taken = cx.args.remaining().step_by(2).any(|key| cx.db.contains(key));
    if taken {
        return Ok(cx.reply.int(0));
    }
    set_pairs(cx)?;
    Ok(cx.reply.int(1))
}

fn check_pairs(cx: &Ctx) -> Result<(), CmdError> {
    match cx.args.left() % 2 {
        0 => Ok(()),
        _ => Err(CmdError::Arity(cx.name().to_owned())),
    }
}

fn set_pairs(cx: &mut Ctx) -> Result<(), CmdError> {
    check_pairs(cx)?;
    while !cx.args.is_done() {
        let (key, value) = (cx.args.bytes()?, cx.args.bytes()?);
        cx.db.set(key, New::Bytes(value), Deadline::Clear, Event::string("set"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn strings_are_cut_and_joined_as_redis_does() {
        let mut house = House::new();
        for (line, answer) in [
            ("append k abc", ":3|"),
            ("append k de", ":5|"),
            ("getrange k 1 -2", "$3|bcd|"),
            ("getrange k -3 -4", "$0||"),
            ("getrange k 3 99", "$2|de|"),
            ("getrange none 0 -1", "$0||"),
            ("substr k 0 0", "$1|a|"),
            ("setrange k 7 xy", ":9|"),
            ("getrange k 5 7", "$3|\0\0x|"),
            ("setrange none 3 ''", ":0|"),
            ("exists none", ":0|"),
            ("setrange k -1 x", "-ERR offset is out of range|"),
            (
                "setrange k 536870911 xx",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)|",
            ),
            ("strlen k", ":9|"),
            ("mset a 1 b", "-ERR wrong number of arguments for 'mset' command|"),
            ("mset a 1 b 2", "+OK|"),
            ("msetnx c 3 b 4", ":0|"),
            ("mget a b c", "*3|$1|1|$1|2|$-1|"),
            ("msetnx c 3 d 4 c 5", ":1|"),
            ("mget c d", "*2|$1|5|$1|4|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
