//! Taking members from either end of sorted sets, and waiting for them.

use std::ops::Range;

use crate::command::waiting;
use crate::engine::context::{Block, Ctx, TimeoutReply};
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::{Kind, Zset};

use super::{Scores, member, members_head};

/// Which members are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> Event {
        Event::zset(if self == End::Min { "zpopmin" } else { "zpopmax" })
    }

    /// The command that takes from this end.
    fn command(self) -> &'static [u8] {
        if self == End::Min { b"ZPOPMIN" } else { b"ZPOPMAX" }
    }
}

/// Takes up to `count` members, the outermost first.
fn take(cx: &mut Ctx, key: &[u8], end: End, count: usize) -> Result<Vec<(Vec<u8>, f64)>, CmdError> {
    let Some(mut zset) = cx.db.open::<Zset>(key)? else { return Ok(Vec::new()) };
    let len = zset.len();
    let count = count.min(len);
    let ranks = if end == End::Min { 0..count } else { len - count..len };
    let mut taken = Vec::with_capacity(count);
    if count > 0 {
        zset.remove_ranks(ranks, |item, score| taken.push((item.to_vec(), score)));
    }
    zset.commit(end.event(), count);
    if end == End::Max {
        taken.reverse();
    }
    Ok(taken)
}

fn answer(cx: &mut Ctx, taken: &[(Vec<u8>, f64)]) {
    for (name, score) in taken {
        let _ = cx.reply.bulk(name);
        let _ = cx.reply.double(*score);
    }
}

/// ZPOPMIN key [count]
pub(super) fn zpopmin(cx: &mut Ctx) -> CmdResult {
    pop(cx, End::Min)
}

/// ZPOPMAX key [count]
pub(super) fn zpopmax(cx: &mut Ctx) -> CmdResult {
    pop(cx, End::Max)
}

fn pop(cx: &mut Ctx, end: End) -> CmdResult {
    let key = cx.args.bytes()?;
    if cx.args.left() > 1 {
        return Err(CmdError::Syntax);
    }
    let counted = !cx.args.is_done();
    let mut count = 1;
    if counted {
        count = cx.args.i64_in(0..=i64::MAX, "ERR value is out of range, must be positive")?;
    }
    let taken = take(cx, key, end, usize::try_from(count).unwrap_or(usize::MAX))?;
    if !counted {
        cx.reply.array(taken.len() * 2);
        answer(cx, &taken);
        return Ok(cx.reply.done());
    }
    members_head(cx.reply, taken.len(), Scores::Shown);
    for (name, score) in &taken {
        let item = crate::ds::listpack::Item::Bytes(name);
        member(cx.reply, item, *score, Scores::Shown);
    }
    Ok(cx.reply.done())
}

/// The first key of `keys` (positions among the words) that holds something.
fn first_filled<'a>(cx: &mut Ctx<'a>, keys: Range<usize>) -> Result<Option<&'a [u8]>, CmdError> {
    for at in keys {
        let key = cx.args.word(at);
        match cx.db.kind(key) {
            None => {}
            Some(Kind::Zset) => return Ok(Some(key)),
            Some(_) => return Err(CmdError::WrongType),
        }
    }
    Ok(None)
}

/// Waits for one of `keys`.
fn wait(
    cx: &mut Ctx,
    keys: Range<usize>,
    until: Option<crate::base::clock::UnixMs>,
) -> crate::resp::reply::Replied {
    let timeout = TimeoutReply::NullArray;
    cx.block(Block { keys: keys.collect(), until, timeout, on_deletion: false, request: None })
}

/// BZPOPMIN key [key ...] timeout
pub(super) fn bzpopmin(cx: &mut Ctx) -> CmdResult {
    pop_or_wait(cx, End::Min)
}

/// BZPOPMAX key [key ...] timeout
pub(super) fn bzpopmax(cx: &mut Ctx) -> CmdResult {
    pop_or_wait(cx, End::Max)
}

fn pop_or_wait(cx: &mut Ctx, end: End) -> CmdResult {
    let last = cx.args.count() - 1;
    let until = waiting::deadline(&mut cx.args.from_word(last), cx.now)?;
    let Some(key) = first_filled(cx, 1..last)? else { return Ok(wait(cx, 1..last, until)) };
    let taken = take(cx, key, end, 1)?;
    cx.record.instead(&[end.command(), key]);
    cx.reply.array(3);
    let _ = cx.reply.bulk(key);
    answer(cx, &taken);
    Ok(cx.reply.done())
}

/// ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]
pub(super) fn zmpop(cx: &mut Ctx) -> CmdResult {
    let (keys, end, count) = many(cx)?;
    match first_filled(cx, keys)? {
        Some(key) => pop_many(cx, key, end, count),
        None => Ok(cx.reply.null_array()),
    }
}

/// BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count]
pub(super) fn bzmpop(cx: &mut Ctx) -> CmdResult {
    let mut timeout = cx.args;
    let _ = cx.args.bytes()?;
    let (keys, end, count) = many(cx)?;
    let until = waiting::deadline(&mut timeout, cx.now)?;
    match first_filled(cx, keys.clone())? {
        Some(key) => pop_many(cx, key, end, count),
        None => Ok(wait(cx, keys, until)),
    }
}

fn many(cx: &mut Ctx) -> Result<(Range<usize>, End, usize), CmdError> {
    let keys = waiting::counted_keys(&mut cx.args)?;
    let end = match cx.args.option()?.as_str() {
        "min" => End::Min,
        "max" => End::Max,
        _ => return Err(CmdError::Syntax),
    };
    Ok((keys, end, waiting::pop_count(&mut cx.args)?))
}

fn pop_many(cx: &mut Ctx, key: &[u8], end: End, count: usize) -> CmdResult {
    let taken = take(cx, key, end, count)?;
    let mut digits = itoa::Buffer::new();
    cx.record.instead(&[end.command(), key, digits.format(taken.len()).as_bytes()]);
    cx.reply.array(2);
    let _ = cx.reply.bulk(key);
    cx.reply.array(taken.len());
    for pair in &taken {
        cx.reply.array(2);
        answer(cx, std::slice::from_ref(pair));
    }
    Ok(cx.reply.done())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn members_are_taken_from_the_ends() {
        let mut house = House::new();
        house.run("zadd z 1 a 2 b 3 c 4 d 5 e 6 f");
        for (line, answer) in [
            ("zpopmin z", "*2|$1|a|$1|1|"),
            ("zpopmax z 2", "*4|$1|f|$1|6|$1|e|$1|5|"),
            ("zpopmin z 0", "*0|"),
            ("zpopmin z -1", "-ERR value is out of range, must be positive|"),
            ("zpopmin z 1 2", "-ERR syntax error|"),
            ("zpopmin none", "*0|"),
            ("zmpop 2 none z max", "*2|$1|z|*1|*2|$1|d|$1|4|"),
            ("zmpop 1 none max", "*-1|"),
            ("zmpop 0 z max", "-ERR numkeys should be greater than 0|"),
            ("zmpop 1 z max count 0", "-ERR count should be greater than 0|"),
            ("zmpop 1 z foo", "-ERR syntax error|"),
            ("bzpopmin none z 0", "*3|$1|z|$1|b|$1|2|"),
            ("bzpopmin z a", "-ERR timeout is not a float or out of range|"),
            ("bzmpop -1 1 z min count 0", "-ERR count should be greater than 0|"),
            ("bzmpop 0 1 z min count 9", "*2|$1|z|*1|*2|$1|c|$1|3|"),
            ("exists z", ":0|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn a_waiting_client_gets_the_member_and_the_journal_the_effect() {
        let mut house = House::new();
        let (first, second) = (house.connect(), house.connect());
        assert_eq!(house.run_as(first, "bzpopmax z 0"), "");
        assert_eq!(house.run_as(second, "bzmpop 0 1 z min count 5"), "");
        house.run("set z string");
        assert_eq!(house.mail(first), "");
        house.run("del z");
        house.log();
        house.run("zadd z 1 a 2 b 3 c");
        assert_eq!(house.mail(first), "*3|$1|z|$1|c|$1|3|");
        assert_eq!(house.mail(second), "*2|$1|z|*2|*2|$1|a|$1|1|*2|$1|b|$1|2|");
        assert_eq!(house.log(), ["zadd z 1 a 2 b 3 c", "ZPOPMAX z", "ZPOPMIN z 2"]);
        assert_eq!(house.run("exists z"), ":0|");
    }
}
