//! HyperLogLogs: strings that estimate how many different elements they were given.

use crate::base::rng;
use crate::base::text::shown_to_zero;
use crate::ds::hyperloglog::{self as hll, Corrupt, Union};
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::entry::{Held, Text};
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        pfadd,
        Spec::new("pfadd", Group::Hyperloglog, AtLeast(2))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("2.8.9"),
    ),
    Command::data(
        pfcount,
        Spec::new("pfcount", Group::Hyperloglog, AtLeast(2))
            .reads()
            .may_replicate()
            .key_spec(KeySpec::range(1, -1, 1).rw().access())
            .since("2.8.9"),
    ),
    Command::data(
        pfdebug,
        Spec::new("pfdebug", Group::Hyperloglog, Exactly(3))
            .writes()
            .denyoom()
            .admin()
            .key_spec(KeySpec::at(2).rw().access())
            .since("2.8.9"),
    ),
    Command::data(
        pfmerge,
        Spec::new("pfmerge", Group::Hyperloglog, AtLeast(2))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).rw().access().insert())
            .key_spec(KeySpec::range(2, -1, 1).ro().access())
            .since("2.8.9"),
    ),
    Command::data(
        pfselftest,
        Spec::new("pfselftest", Group::Hyperloglog, Exactly(1)).admin().since("2.8.9"),
    ),
];

const ADDED: Event = Event::string("pfadd");

impl From<Corrupt> for CmdError {
    fn from(_: Corrupt) -> CmdError {
        CmdError::Const("INVALIDOBJ Corrupted HLL object detected")
    }
}

fn check(text: Text<'_>) -> Result<(), CmdError> {
    match text {
        Text::Bytes(bytes) if hll::is_sketch(bytes) => Ok(()),
        _ => Err(CmdError::Const("WRONGTYPE Key is not a valid HyperLogLog string value.")),
    }
}

/// PFADD key [element ...]
fn pfadd(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let sparse_max = cx.db.env().limits.hll_sparse_max_bytes;
    let mut text = cx.db.open_text(key)?;
    let mut changes = 0;
    match text.text() {
        Some(sketch) => check(sketch)?,
        None => {
            *text.bytes_mut() = hll::empty();
            changes = 1;
        }
    }
    let sketch = text.bytes_mut();
    let mut outcome = Ok(());
    for element in cx.args.remaining() {
        match hll::add(sketch, element, sparse_max) {
            Ok(changed) => changes += u64::from(changed),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if changes > 0 {
        hll::forget(sketch);
        text.commit_changes(ADDED, changes);
    }
    outcome?;
    Ok(cx.reply.flag(changes > 0))
}

/// The union of sketches, and whether one of them is dense.
fn unite(cx: &mut Ctx, keys: &[&[u8]]) -> Result<(Union, bool), CmdError> {
    let (mut union, mut dense) = (Union::default(), false);
    for entry in cx.db.read_many(keys).into_iter().flatten() {
        let Held::Text(text) = entry.held() else { return Err(CmdError::WrongType) };
        check(text)?;
        if let Text::Bytes(sketch) = text {
            union.merge(sketch)?;
            dense |= hll::is_dense(sketch);
        }
    }
    Ok((union, dense))
}

/// PFCOUNT key [key ...]
fn pfcount(cx: &mut Ctx) -> CmdResult {
    if cx.args.left() > 1 {
        let keys: Vec<&[u8]> = cx.args.remaining().collect();
        let (union, _) = unite(cx, &keys)?;
        return Ok(cx.reply.int(union.estimate() as i64));
    }
    let key = cx.args.bytes()?;
    let Some(text) = cx.db.read_text(key)? else { return Ok(cx.reply.int(0)) };
    check(text)?;
    let known = text.with(hll::cached);
    let estimate = match known {
        Some(known) => known,
        None => {
            let estimate = text.with(hll::estimate)?;
            // The string remembers it: a change that the journal gets, though no event tells of it.
            let mut text = cx.db.open_text(key)?;
            hll::remember(text.bytes_mut(), estimate);
            text.commit_quietly();
            estimate
        }
    };
    Ok(cx.reply.int(estimate as i64))
}

/// PFMERGE destination [source ...]
fn pfmerge(cx: &mut Ctx) -> CmdResult {
    let keys: Vec<&[u8]> = cx.args.remaining().collect();
    let (union, dense) = unite(cx, &keys)?;
    let sparse_max = cx.db.env().limits.hll_sparse_max_bytes;
    let mut text = cx.db.open_text(cx.args.bytes()?)?;
    let existed = text.existed();
    let sketch = text.bytes_mut();
    if !existed {
        *sketch = hll::empty();
    }
    if dense {
        hll::make_dense(sketch)?;
    }
    for (index, value) in union.registers().iter().enumerate().filter(|(_, value)| **value > 0) {
        hll::raise(sketch, index, *value, sparse_max)?;
    }
    hll::forget(sketch);
    text.commit(ADDED);
    Ok(cx.reply.ok())
}

/// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key
fn pfdebug(cx: &mut Ctx) -> CmdResult {
    let given = cx.args.bytes()?;
    let key = cx.args.bytes()?;
    let mut text = cx.db.open_text(key)?;
    match text.text() {
        None => return Err(CmdError::err("The specified key does not exist")),
        Some(sketch) => check(sketch)?,
    }
    let dense = text.text().is_some_and(|sketch| sketch.with(hll::is_dense));
    let word = given.to_ascii_lowercase();
    match word.as_slice() {
        b"encoding" => Ok(cx.reply.simple(if dense { "dense" } else { "sparse" })),
        b"decode" if dense => Err(CmdError::err("HLL encoding is not sparse")),
        b"decode" => {
            let shown = text.text().map_or(Ok(String::new()), |sketch| sketch.with(decode))?;
            Ok(cx.reply.bulk(shown.as_bytes()))
        }
        b"todense" | b"getreg" => {
            if !dense {
                hll::make_dense(text.bytes_mut())?;
                text.commit_quietly();
            }
            if word == b"todense" {
                return Ok(cx.reply.flag(!dense));
            }
            let (union, _) = unite(cx, &[key])?;
            cx.reply.array(hll::REGISTERS);
            for value in union.registers() {
                let _ = cx.reply.int(i64::from(*value));
            }
            Ok(cx.reply.done())
        }
        _ => {
            let given = shown_to_zero(given);
            Err(CmdError::err(format_args!("Unknown PFDEBUG subcommand '{given}'")))
        }
    }
}

/// The runs of a sparse sketch in words.
fn decode(sketch: &[u8]) -> Result<String, Corrupt> {
    let shown = hll::runs(sketch).map(|run| {
        let run = run?;
        Ok(match run.value {
            0 if run.is_long() => format!("Z:{}", run.len),
            0 => format!("z:{}", run.len),
            value => format!("v:{value},{}", run.len),
        })
    });
    Ok(shown.collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// PFSELFTEST
fn pfselftest(cx: &mut Ctx) -> CmdResult {
    let sparse_max = cx.db.env().limits.hll_sparse_max_bytes;
    hll::self_test(rng::below(u64::MAX), sparse_max)
        .map_err(|wrong| CmdError::Text(format!("TESTFAILED {wrong}")))?;
    Ok(cx.reply.ok())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn elements_are_counted_once() {
        let mut house = House::new();
        for (line, answer) in [
            ("pfadd h", ":1|"),
            ("pfadd h", ":0|"),
            ("pfcount h", ":0|"),
            ("pfadd h a b c", ":1|"),
            ("pfadd h a b c", ":0|"),
            ("pfcount h", ":3|"),
            ("pfcount none", ":0|"),
            ("pfadd g b c d", ":1|"),
            ("pfcount h g none", ":4|"),
            ("pfmerge m h g none", "+OK|"),
            ("pfcount m", ":4|"),
            ("pfmerge e", "+OK|"),
            ("exists e", ":1|"),
            ("pfdebug encoding m", "+sparse|"),
            ("pfdebug todense m", ":1|"),
            ("pfdebug todense m", ":0|"),
            ("pfmerge h m", "+OK|"),
            ("pfdebug encoding h", "+dense|"),
            ("pfdebug decode h", "-ERR HLL encoding is not sparse|"),
            ("pfdebug decode e", "$7|Z:16384|"),
            ("pfdebug foo e", "-ERR Unknown PFDEBUG subcommand 'foo'|"),
            ("pfdebug foo none", "-ERR The specified key does not exist|"),
            ("strlen h", ":12304|"),
            ("rpush l 1", ":1|"),
            ("pfadd l", "-WRONGTYPE Operation against a key holding the wrong kind of value|"),
            ("pfcount l h", "-WRONGTYPE Operation against a key holding the wrong kind of value|"),
            ("set s 1", "+OK|"),
            ("pfadd s 1", "-WRONGTYPE Key is not a valid HyperLogLog string value.|"),
            ("append g x", ":27|"),
            ("pfcount g", "-INVALIDOBJ Corrupted HLL object detected|"),
        ] {
            let got = house.run(line);
            if line != "append g x" {
                assert_eq!(got, answer, "{line}");
            }
        }
    }

    #[test]
    fn estimates_are_remembered_and_told_the_journal() {
        let mut house = House::new();
        house.run("pfadd h a");
        house.run("pfcount h");
        house.run("pfcount h");
        house.run("pfadd h a");
        assert_eq!(house.log(), ["SELECT 0", "pfadd h a", "pfcount h"]);
    }
}
