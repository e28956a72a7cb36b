//! Lists: elements that go from one list to another, the first list of many, and those who wait.

use std::ops::Range;

use crate::base::clock::UnixMs;
use crate::command::list::{answer_ends, popped, pushed, remove_ends};
use crate::command::{answer, waiting};
use crate::engine::context::{Block, Ctx, TimeoutReply};
use crate::resp::args::{Args, is_word};
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Replied};
use crate::value::List;
use crate::value::list::Side;

/// From which end of which list an element goes to which end of which.
struct Move<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    from: Side,
    to: Side,
}

/// RPOPLPUSH source destination
pub(super) fn rpoplpush(cx: &mut Ctx) -> CmdResult {
    let (source, destination) = (cx.args.bytes()?, cx.args.bytes()?);
    let what = Move { source, destination, from: Side::Tail, to: Side::Head };
    let moved = shift(cx, &what)?;
    Ok(cx.reply.bulk_or_null(moved.as_deref()))
}

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
pub(super) fn lmove(cx: &mut Ctx) -> CmdResult {
    let (source, destination) = (cx.args.bytes()?, cx.args.bytes()?);
    let what = Move { source, destination, from: side(&mut cx.args)?, to: side(&mut cx.args)? };
    let moved = shift(cx, &what)?;
    Ok(cx.reply.bulk_or_null(moved.as_deref()))
}

/// BRPOPLPUSH source destination timeout
pub(super) fn brpoplpush(cx: &mut Ctx) -> CmdResult {
    let (source, destination) = (cx.args.bytes()?, cx.args.bytes()?);
    let until = waiting::deadline(&mut cx.args, cx.now)?;
    let what = Move { source, destination, from: Side::Tail, to: Side::Head };
    shift_or_wait(cx, &what, until, &[b"RPOPLPUSH", source, destination])
}

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout
pub(super) fn blmove(cx: &mut Ctx) -> CmdResult {
    let (source, destination) = (cx.args.bytes()?, cx.args.bytes()?);
    let words = [cx.args.word(3), cx.args.word(4)];
    let what = Move { source, destination, from: side(&mut cx.args)?, to: side(&mut cx.args)? };
    let until = waiting::deadline(&mut cx.args, cx.now)?;
    shift_or_wait(cx, &what, until, &[b"LMOVE", source, destination, words[0], words[1]])
}

fn shift_or_wait(cx: &mut Ctx, what: &Move, until: Option<UnixMs>, record: &[&[u8]]) -> CmdResult {
    if let Some(element) = shift(cx, what)? {
        cx.record.instead(record);
        return Ok(cx.reply.bulk(&element));
    }
    if !cx.may_block {
        // Unlike the answer when the time is up, which is a null array.
        return Ok(cx.reply.null());
    }
    Ok(wait(cx, 1..2, until))
}

/// Moves an element, and gives it; `None` when there is no source.
fn shift(cx: &mut Ctx, what: &Move) -> Result<Option<Vec<u8>>, CmdError> {
    let limits = &cx.db.env().limits;
    let Some(mut list) = cx.db.open::<List>(what.source)? else { return Ok(None) };
    if what.source == what.destination {
        let element = list.pop(what.from).expect("a list at a key has elements");
        list.grow(1, element.len(), limits);
        list.push(what.to, &element);
        list.shrink(limits);
        list.announce(pushed(what.to));
        list.commit(popped(what.from), 1);
        return Ok(Some(element));
    }
    let end = match what.from {
        Side::Head => 0,
        Side::Tail => list.len() - 1,
    };
    let element = list.get(end).expect("a list at a key has elements").to_vec();
    drop(list);
    let mut list = cx.db.open_or_create::<List>(what.destination)?;
    list.grow(1, element.len(), limits);
    list.push(what.to, &element);
    list.announce(pushed(what.to));
    // The move is one change, that of the source.
    list.commit(pushed(what.to), 0);
    if let Some(mut list) = cx.db.open::<List>(what.source)? {
        remove_ends(&mut list, what.from, 1);
        list.shrink(limits);
        list.commit(popped(what.from), 1);
    }
    Ok(Some(element))
}

/// BLPOP key [key ...] timeout
pub(super) fn blpop(cx: &mut Ctx) -> CmdResult {
    pop_or_wait(cx, Side::Head)
}

/// BRPOP key [key ...] timeout
pub(super) fn brpop(cx: &mut Ctx) -> CmdResult {
    pop_or_wait(cx, Side::Tail)
}

fn pop_or_wait(cx: &mut Ctx, side: Side) -> CmdResult {
    let keys = cx.args.position()..cx.args.count() - 1;
    let until = waiting::deadline(&mut cx.args.from_word(keys.end), cx.now)?;
    let limits = &cx.db.env().limits;
    for position in keys.clone() {
        let key = cx.args.word(position);
        let Some(mut list) = cx.db.open::<List>(key)? else { continue };
        cx.reply.array(2);
        let _ = cx.reply.bulk(key);
        let _ = list.pop_with(side, |item| answer::item(cx.reply, item));
        list.shrink(limits);
        list.commit(popped(side), 1);
        cx.record.instead(&[pop_name(side), key]);
        return Ok(cx.reply.done());
    }
    Ok(wait(cx, keys, until))
}

/// LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]
pub(super) fn lmpop(cx: &mut Ctx) -> CmdResult {
    let keys = waiting::counted_keys(&mut cx.args)?;
    let side = side(&mut cx.args)?;
    let count = waiting::pop_count(&mut cx.args)?;
    match pop_many(cx, keys, side, count)? {
        Some(replied) => Ok(replied),
        None => Ok(cx.reply.null_array()),
    }
}

/// BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]
pub(super) fn blmpop(cx: &mut Ctx) -> CmdResult {
    let mut timeout = cx.args;
    let _ = cx.args.bytes()?;
    let keys = waiting::counted_keys(&mut cx.args)?;
    let side = side(&mut cx.args)?;
    let count = waiting::pop_count(&mut cx.args)?;
    let until = waiting::deadline(&mut timeout, cx.now)?;
    match pop_many(cx, keys.clone(), side, count)? {
        Some(replied) => Ok(replied),
        None => Ok(wait(cx, keys, until)),
    }
}

/// Pops up to `count` elements from the first of the lists that is there, and answers with its key
/// and them.
fn pop_many(
    cx: &mut Ctx,
    keys: Range<usize>,
    side: Side,
    count: usize,
) -> Result<Option<Replied>, CmdError> {
    let limits = &cx.db.env().limits;
    for position in keys {
        let key = cx.args.word(position);
        let Some(mut list) = cx.db.open::<List>(key)? else { continue };
        cx.reply.array(2);
        let _ = cx.reply.bulk(key);
        let (replied, taken) = answer_ends(cx.reply, &list, side, count);
        remove_ends(&mut list, side, taken);
        list.shrink(limits);
        list.commit(popped(side), taken);
        let taken = taken.to_string();
        cx.record.instead(&[pop_name(side), key, taken.as_bytes()]);
        return Ok(Some(replied));
    }
    Ok(None)
}

fn wait(cx: &mut Ctx, keys: Range<usize>, until: Option<UnixMs>) -> Replied {
    cx.block(Block {
        keys: keys.collect(),
        until,
        timeout: TimeoutReply::NullArray,
        on_deletion: false,
        request: None,
    })
}

/// Takes LEFT or RIGHT.
fn side(args: &mut Args) -> Result<Side, CmdError> {
    match args.bytes()? {
        word if is_word(word, "left") => Ok(Side::Head),
        word if is_word(word, "right") => Ok(Side::Tail),
        _ => Err(CmdError::Syntax),
    }
}

fn pop_name(side: Side) -> &'static [u8] {
    match side {
        Side::Head => b"LPOP",
        Side::Tail => b"RPOP",
    }
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn effects_are_logged_not_waits() {
        let mut house = House::new();
        house.run("rpush k a b c d e");
        house.log();
        for (line, logged) in [
            ("blpop no k 0", "LPOP k"),
            ("brpop k 0", "RPOP k"),
            ("blmpop 0 1 k left count 1", "LPOP k 1"),
            ("blmove k l right LEFT 0", "LMOVE k l right LEFT"),
            ("brpoplpush k l 0", "RPOPLPUSH k l"),
            ("ltrim l 0 -1", ""),
        ] {
            house.run(line);
            assert_eq!(house.log().join(";"), logged, "{line}");
        }
    }

    #[test]
    fn values_of_another_type_end_no_wait() {
        let mut house = House::new();
        let waiter = house.connect();
        assert_eq!(house.run_as(waiter, "blpop k l 5"), "");
        house.run("sadd k member");
        assert_eq!(house.mail(waiter), "");
        house.run("spop k");
        house.log();
        house.run("rpush k a");
        assert_eq!(house.mail(waiter), "*2|$1|k|$1|a|");
        assert_eq!(house.log(), ["rpush k a", "LPOP k"]);
    }

    #[test]
    fn pushes_serve_those_who_wait() {
        let mut house = House::new();
        let (first, second) = (house.connect(), house.connect());
        assert_eq!(house.run_as(first, "blpop no k 0"), "");
        assert_eq!(house.run_as(second, "blmove k l left right 0"), "");
        assert_eq!(house.run("rpush k a b"), ":2|");
        assert_eq!(house.mail(first), "*2|$1|k|$1|a|");
        assert_eq!(house.mail(second), "$1|b|");
        let logged = ["SELECT 0", "rpush k a b", "LPOP k", "LMOVE k l left right"];
        assert_eq!(house.log(), logged);
        assert_eq!(house.run("llen k"), ":0|");
        assert_eq!(house.run("lrange l 0 -1"), "*1|$1|b|");
    }

    #[test]
    fn a_key_past_its_deadline_wakes_nobody_and_stays_to_be_removed() {
        let mut house = House::new();
        let waiter = house.connect();
        for line in ["select 1", "rpush k a", "pexpire k 10", "select 0"] {
            house.run(line);
        }
        assert_eq!(house.run_as(waiter, "blpop k 0"), "");
        house.wait_ms(11);
        house.run("swapdb 0 1");
        assert_eq!(house.mail(waiter), "");
        assert_eq!(house.log().last().unwrap(), "swapdb 0 1");
        assert_eq!(house.run("exists k"), ":0|");
        assert_eq!(house.log().last().unwrap(), "DEL k");
    }

    #[test]
    fn a_refused_destination_costs_the_waiter_nothing_but_an_error() {
        let mut house = House::new();
        let waiter = house.connect();
        assert_eq!(house.run_as(waiter, "blmove k l left right 0"), "");
        house.run("set l text");
        house.run("rpush k a");
        assert!(house.mail(waiter).starts_with("-WRONGTYPE"));
        assert_eq!(house.run("lrange k 0 -1"), "*1|$1|a|");
    }
}
