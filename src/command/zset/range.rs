//! Ranges of sorted sets: answered, counted, stored, removed.

use std::ops::Range;

use crate::engine::context::Ctx;
use crate::keyspace::entry::New;
use crate::keyspace::event::Event;
use crate::keyspace::view::Deadline;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::{Value, Zset};

use super::bounds::{Bounds, By, mirrored};
use super::{Scores, member, members_head};

/// In which order a range is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// What a command's name says already, and what it leaves to its options.
#[derive(Clone, Copy)]
struct Form {
    by: Option<By>,
    order: Option<Order>,
    stores: bool,
}

struct Options {
    by: By,
    order: Order,
    scores: Scores,
    offset: i64,
    /// Negative: all.
    limit: i64,
}

impl Options {
    fn read(cx: &mut Ctx, form: Form) -> Result<Options, CmdError> {
        let (mut by, mut order) = (form.by, form.order);
        let (mut scores, mut offset, mut limit) = (Scores::Hidden, 0, -1);
        while !cx.args.is_done() {
            match cx.args.option()?.as_str() {
                "withscores" if !form.stores => scores = Scores::Shown,
                "limit" if cx.args.left() >= 2 => {
                    offset = cx.args.i64()?;
                    limit = cx.args.i64()?;
                }
                "rev" if form.order.is_none() => order = Some(Order::Descending),
                "bylex" if form.by.is_none() => by = Some(By::Lex),
                "byscore" if form.by.is_none() => by = Some(By::Score),
                _ => return Err(CmdError::Syntax),
            }
        }
        let by = by.unwrap_or(By::Rank);
        if limit != -1 && by == By::Rank {
            return Err(CmdError::err(
                "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if scores == Scores::Shown && by == By::Lex {
            return Err(CmdError::err(
                "syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let order = order.unwrap_or(Order::Ascending);
        Ok(Options { by, order, scores, offset, limit })
    }

    /// The ranks wanted, lowest first.
    fn ranks(&self, bounds: &Bounds, zset: &Zset) -> Range<usize> {
        let ranks = bounds.ranks(zset);
        if self.by == By::Rank {
            return match self.order {
                Order::Ascending => ranks,
                Order::Descending => mirrored(ranks, zset.len()),
            };
        }
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let skipped = offset.min(ranks.len());
        let count = usize::try_from(self.limit).unwrap_or(usize::MAX).min(ranks.len() - skipped);
        match self.order {
            Order::Ascending => ranks.start + skipped..ranks.start + skipped + count,
            Order::Descending => ranks.end - skipped - count..ranks.end - skipped,
        }
    }
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub(super) fn zrange(cx: &mut Ctx) -> CmdResult {
    range(cx, Form { by: None, order: None, stores: false })
}

/// ZREVRANGE key start stop [WITHSCORES]
pub(super) fn zrevrange(cx: &mut Ctx) -> CmdResult {
    range(cx, Form { by: Some(By::Rank), order: Some(Order::Descending), stores: false })
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub(super) fn zrangebyscore(cx: &mut Ctx) -> CmdResult {
    range(cx, Form { by: Some(By::Score), order: Some(Order::Ascending), stores: false })
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub(super) fn zrevrangebyscore(cx: &mut Ctx) -> CmdResult {
    range(cx, Form { by: Some(By::Score), order: Some(Order::Descending), stores: false })
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub(super) fn zrangebylex(cx: &mut Ctx) -> CmdResult {
    range(cx, Form { by: Some(By::Lex), order: Some(Order::Ascending), stores: false })
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub(super) fn zrevrangebylex(cx: &mut Ctx) -> CmdResult {
    range(cx, Form { by: Some(By::Lex), order: Some(Order::Descending), stores: false })
}

/// ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub(super) fn zrangestore(cx: &mut Ctx) -> CmdResult {
    range(cx, Form { by: None, order: None, stores: true })
}

fn range(cx: &mut Ctx, form: Form) -> CmdResult {
    let target = if form.stores { Some(cx.args.bytes()?) } else { None };
    let key = cx.args.bytes()?;
    let (first, second) = (cx.args.bytes()?, cx.args.bytes()?);
    let options = Options::read(cx, form)?;
    let swapped = options.order == Order::Descending && options.by != By::Rank;
    let (min, max) = if swapped { (second, first) } else { (first, second) };
    let bounds = Bounds::read(options.by, min, max)?;
    let limits = &cx.db.env().limits;

    let zset = cx.db.read::<Zset>(key)?;
    let ranks = zset.map_or(0..0, |zset| options.ranks(&bounds, zset));
    if let Some(target) = target {
        let mut copy = Zset::for_load(ranks.len(), limits);
        for (item, score) in zset.into_iter().flat_map(|zset| zset.range(ranks.clone())) {
            item.with_bytes(|member| copy.set(member, score, limits));
        }
        return Ok(store(cx, target, copy, "zrangestore"));
    }
    let Some(zset) = zset else { return Ok(cx.reply.empty_array()) };
    members_head(cx.reply, ranks.len(), options.scores);
    let found = zset.range(ranks);
    let reply = &mut *cx.reply;
    match options.order {
        Order::Ascending => found.for_each(|(item, at)| member(reply, item, at, options.scores)),
        Order::Descending => {
            found.rev().for_each(|(item, at)| member(reply, item, at, options.scores));
        }
    }
    Ok(cx.reply.done())
}

/// Puts a result at a key, or removes the key when there is none; answers how many members it has.
pub(in crate::command) fn store(
    cx: &mut Ctx,
    key: &[u8],
    zset: Zset,
    event: &'static str,
) -> crate::resp::reply::Replied {
    let len = zset.len();
    if len == 0 {
        cx.db.delete(key, Event::DEL);
    } else {
        cx.db.set(key, New::Value(Value::Zset(zset)), Deadline::Clear, Event::zset(event));
    }
    cx.reply.count(len)
}

/// ZCOUNT key min max
pub(super) fn zcount(cx: &mut Ctx) -> CmdResult {
    count(cx, By::Score)
}

/// ZLEXCOUNT key min max
pub(super) fn zlexcount(cx: &mut Ctx) -> CmdResult {
    count(cx, By::Lex)
}

fn count(cx: &mut Ctx, by: By) -> CmdResult {
    let key = cx.args.bytes()?;
    let bounds = Bounds::read(by, cx.args.bytes()?, cx.args.bytes()?)?;
    let found = cx.db.read::<Zset>(key)?.map_or(0, |zset| bounds.ranks(zset).len());
    Ok(cx.reply.count(found))
}

/// ZREMRANGEBYRANK key start stop
pub(super) fn zremrangebyrank(cx: &mut Ctx) -> CmdResult {
    remove(cx, By::Rank, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE key min max
pub(super) fn zremrangebyscore(cx: &mut Ctx) -> CmdResult {
    remove(cx, By::Score, "zremrangebyscore")
}

/// ZREMRANGEBYLEX key min max
pub(super) fn zremrangebylex(cx: &mut Ctx) -> CmdResult {
    remove(cx, By::Lex, "zremrangebylex")
}

fn remove(cx: &mut Ctx, by: By, event: &'static str) -> CmdResult {
    let key = cx.args.bytes()?;
    let bounds = Bounds::read(by, cx.args.bytes()?, cx.args.bytes()?)?;
    let Some(mut zset) = cx.db.open::<Zset>(key)? else { return Ok(cx.reply.int(0)) };
    let ranks = bounds.ranks(&zset);
    let removed = ranks.len();
    if removed > 0 {
        zset.remove_ranks(ranks, |_, _| {});
    }
    zset.commit(Event::zset(event), removed);
    Ok(cx.reply.count(removed))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn ranges_are_those_redis_answers() {
        let mut house = House::new();
        house.run("zadd z 1 a 2 b 3 c 4 d");
        house.run("zadd l 0 a 0 b 0 c");
        for (line, answer) in [
            ("zrange z 0 -1", "*4|$1|a|$1|b|$1|c|$1|d|"),
            ("zrange z -2 -1 rev withscores", "*4|$1|b|$1|2|$1|a|$1|1|"),
            ("zrevrange z 0 0", "*1|$1|d|"),
            ("zrange z (1 3 byscore", "*2|$1|b|$1|c|"),
            ("zrange z 3 (1 byscore rev limit 1 5", "*1|$1|b|"),
            ("zrange z -inf +inf byscore limit -1 5", "*0|"),
            ("zrangebyscore z 2 9 limit 1 -1", "*2|$1|c|$1|d|"),
            ("zrevrangebyscore z 9 2 withscores limit 0 1", "*2|$1|d|$1|4|"),
            ("zrange l [b + bylex", "*2|$1|b|$1|c|"),
            ("zrange l + (a bylex rev limit 0 1", "*1|$1|c|"),
            ("zrevrangebylex l [b -", "*2|$1|b|$1|a|"),
            ("zlexcount l - (c", ":2|"),
            ("zcount z 2 (4", ":2|"),
            ("zrange none 0 -1", "*0|"),
            (
                "zrange z 0 1 limit 0 1",
                "-ERR syntax error, LIMIT is only supported in combination with \
                 either BYSCORE or BYLEX|",
            ),
            (
                "zrange l - + bylex withscores",
                "-ERR syntax error, WITHSCORES not supported in combination with BYLEX|",
            ),
            ("zrange z a 1", "-ERR value is not an integer or out of range|"),
            ("zcount z a 1", "-ERR min or max is not a float|"),
            ("zlexcount l a c", "-ERR min or max not valid string range item|"),
            ("zrevrange z 0 1 byscore", "-ERR syntax error|"),
            ("zrangestore d z 1 -1", ":3|"),
            ("zrangestore d z 0 1 withscores", "-ERR syntax error|"),
            ("zrange d 0 -1", "*3|$1|b|$1|c|$1|d|"),
            ("zrangestore d none 0 -1", ":0|"),
            ("exists d", ":0|"),
            ("zremrangebyrank z 0 0", ":1|"),
            ("zremrangebyscore z 3 3", ":1|"),
            ("zremrangebylex l - +", ":3|"),
            ("exists l", ":0|"),
            ("zrange z 0 -1 withscores", "*4|$1|b|$1|2|$1|d|$1|4|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
