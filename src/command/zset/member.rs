//! Sorted sets member by member: adding, removing, asking, drawing, walking.

use crate::base::num::parse_f64;
use crate::base::rng;
use crate::command::answer;
use crate::command::draw;
use crate::command::scan_options::{self, Page, ScanOptions, Walk};
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::Zset;

use super::{Scores, member, members_head};

/// Under which conditions ZADD gives a score, and what it answers.
#[derive(Clone, Copy, Default)]
pub(in crate::command) struct Adding {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    count_changed: bool,
    add_to_score: bool,
}

impl Adding {
    fn read(cx: &mut Ctx) -> Adding {
        let mut adding = Adding::default();
        while let Some(word) = cx.args.peek() {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => adding.nx = true,
                b"xx" => adding.xx = true,
                b"gt" => adding.gt = true,
                b"lt" => adding.lt = true,
                b"ch" => adding.count_changed = true,
                b"incr" => adding.add_to_score = true,
                _ => break,
            }
            let _ = cx.args.bytes();
        }
        adding
    }

    /// Reads what GEOADD knows of them: whether members may be new, and what is counted.
    pub(in crate::command) fn read_conditions(cx: &mut Ctx) -> Adding {
        let mut adding = Adding::default();
        while !cx.args.is_done() {
            match () {
                () if cx.args.take_keyword("nx") => adding.nx = true,
                () if cx.args.take_keyword("xx") => adding.xx = true,
                () if cx.args.take_keyword("ch") => adding.count_changed = true,
                () => break,
            }
        }
        adding
    }

    /// Whether members would have to be new and old at once.
    pub(in crate::command) fn excludes_itself(&self) -> bool {
        self.nx && self.xx
    }

    fn check(&self, pairs: usize) -> Result<(), CmdError> {
        if self.excludes_itself() {
            let text = "XX and NX options at the same time are not compatible";
            return Err(CmdError::err(text));
        }
        if [self.nx, self.gt, self.lt].into_iter().filter(|given| *given).count() > 1 {
            let text = "GT, LT, and/or NX options at the same time are not compatible";
            return Err(CmdError::err(text));
        }
        if self.add_to_score && pairs > 1 {
            let text = "INCR option supports a single increment-element pair";
            return Err(CmdError::err(text));
        }
        Ok(())
    }

    /// The score a member gets, if any, that has `present` now and is given `score`.
    fn outcome(&self, present: Option<f64>, score: f64) -> Result<Option<f64>, CmdError> {
        let Some(present) = present else { return Ok((!self.xx).then_some(score)) };
        if self.nx {
            return Ok(None);
        }
        let score = if self.add_to_score { present + score } else { score };
        if score.is_nan() {
            return Err(CmdError::err("resulting score is not a number (NaN)"));
        }
        let refused = (self.lt && score >= present) || (self.gt && score <= present);
        Ok((!refused).then_some(score))
    }
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
pub(super) fn zadd(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let adding = Adding::read(cx);
    if cx.args.is_done() || cx.args.left() % 2 == 1 {
        return Err(CmdError::Syntax);
    }
    adding.check(cx.args.left() / 2)?;
    add(cx, key, adding)
}

/// ZINCRBY key increment member
pub(super) fn zincrby(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    add(cx, key, Adding { add_to_score: true, ..Adding::default() })
}

/// Adds the pairs of scores and members that are the words left.
fn add(cx: &mut Ctx, key: &[u8], adding: Adding) -> CmdResult {
    let args = cx.args;
    let words = args.remaining();
    let scores = words.clone().step_by(2).map(|word| parse_f64(word).ok_or(CmdError::NotFloat));
    let scores: smallvec::SmallVec<[f64; 8]> = scores.collect::<Result<_, _>>()?;
    add_scores(cx, key, adding, &scores, words.skip(1).step_by(2))
}

/// Gives scores to members, in pairs.
pub(in crate::command) fn add_scores<'m>(
    cx: &mut Ctx,
    key: &[u8],
    adding: Adding,
    scores: &[f64],
    members: impl Iterator<Item = &'m [u8]> + Clone,
) -> CmdResult {
    let longest = members.clone().map(<[u8]>::len).max().unwrap_or(0);
    let limits = &cx.db.env().limits;

    if adding.xx && cx.db.kind(key).is_none() {
        return Ok(if adding.add_to_score { cx.reply.null() } else { cx.reply.int(0) });
    }
    let mut zset = cx.db.open_or_create::<Zset>(key)?;
    let (mut added, mut updated, mut last) = (0, 0, None);
    if scores.len() > 1 || zset.is_empty() {
        zset.expect(scores.len(), longest, limits);
    }
    let mut failed = None;
    for (member, score) in members.zip(scores) {
        let present = zset.score(member);
        match adding.outcome(present, *score) {
            Err(error) => failed = Some(error),
            Ok(None) => {}
            Ok(Some(score)) => {
                last = Some(score);
                if present != Some(score) {
                    zset.set(member, score, limits);
                    updated += usize::from(present.is_some());
                    added += usize::from(present.is_none());
                }
            }
        }
    }
    let event = Event::zset(if adding.add_to_score { "zincr" } else { "zadd" });
    zset.commit(event, added + updated);
    if let Some(error) = failed {
        return Err(error);
    }
    Ok(match (adding.add_to_score, last) {
        (true, Some(score)) => cx.reply.double(score),
        (true, None) => cx.reply.null(),
        (false, _) if adding.count_changed => cx.reply.count(added + updated),
        (false, _) => cx.reply.count(added),
    })
}

/// ZREM key member [member ...]
pub(super) fn zrem(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let members = cx.args.remaining();
    let Some(mut zset) = cx.db.open::<Zset>(key)? else { return Ok(cx.reply.int(0)) };
    let removed = members.filter(|member| zset.remove(member).is_some()).count();
    zset.commit(Event::zset("zrem"), removed);
    Ok(cx.reply.count(removed))
}

/// ZCARD key
pub(super) fn zcard(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let len = cx.db.read::<Zset>(key)?.map_or(0, Zset::len);
    Ok(cx.reply.count(len))
}

/// ZSCORE key member
pub(super) fn zscore(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let member = cx.args.bytes()?;
    Ok(match cx.db.read::<Zset>(key)?.and_then(|zset| zset.score(member)) {
        Some(score) => cx.reply.double(score),
        None => cx.reply.null(),
    })
}

/// ZMSCORE key member [member ...]
pub(super) fn zmscore(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let members = cx.args.remaining();
    let zset = cx.db.read::<Zset>(key)?;
    cx.reply.array(members.len());
    for member in members {
        let _ = match zset.and_then(|zset| zset.score(member)) {
            Some(score) => cx.reply.double(score),
            None => cx.reply.null(),
        };
    }
    Ok(cx.reply.done())
}

/// From which end ranks count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Lowest,
    Highest,
}

/// ZRANK key member [WITHSCORE]
pub(super) fn zrank(cx: &mut Ctx) -> CmdResult {
    rank(cx, From::Lowest)
}

/// ZREVRANK key member [WITHSCORE]
pub(super) fn zrevrank(cx: &mut Ctx) -> CmdResult {
    rank(cx, From::Highest)
}

fn rank(cx: &mut Ctx, from: From) -> CmdResult {
    let key = cx.args.bytes()?;
    let member = cx.args.bytes()?;
    if cx.args.left() > 1 {
        return Err(CmdError::Arity(cx.name().to_owned()));
    }
    let with_score = cx.args.take_keyword("withscore");
    if !cx.args.is_done() {
        return Err(CmdError::Syntax);
    }
    let zset = cx.db.read::<Zset>(key)?;
    let found = zset.and_then(|zset| Some((zset.rank(member)?, zset.len())));
    let Some(((rank, score), len)) = found else {
        return Ok(if with_score { cx.reply.null_array() } else { cx.reply.null() });
    };
    let rank = if from == From::Lowest { rank } else { len - 1 - rank };
    if !with_score {
        return Ok(cx.reply.count(rank));
    }
    cx.reply.array(2);
    let _ = cx.reply.count(rank);
    Ok(cx.reply.double(score))
}

/// ZRANDMEMBER key [count [WITHSCORES]]
pub(super) fn zrandmember(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    if cx.args.is_done() {
        let zset = cx.db.read::<Zset>(key)?;
        let drawn = zset.and_then(Zset::random).map(|(item, _)| item);
        return Ok(answer::item_or_null(cx.reply, drawn));
    }
    let count = cx.args.signed_count()?;
    let scores = match cx.args.take_keyword("withscores") {
        true => Scores::Shown,
        false => Scores::Hidden,
    };
    if !cx.args.is_done() {
        return Err(CmdError::Syntax);
    }
    if scores == Scores::Shown && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CmdError::OutOfRange);
    }
    let env = cx.db.env();
    let Some(zset) = cx.db.read::<Zset>(key)?.filter(|_| count != 0) else {
        return Ok(cx.reply.empty_array());
    };
    let (len, times) = (zset.len(), usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX));
    if count < 0 {
        draw::check_count(times, env)?;
        let start = cx.reply.len();
        members_head(cx.reply, times, scores);
        for _ in 0..times {
            let (item, score) = zset.random().expect("an empty sorted set is never stored");
            member(cx.reply, item, score, scores);
            draw::check_size(cx.reply, start, env)?;
        }
        return Ok(cx.reply.done());
    }
    let one = || Some(rng::below(len as u64) as usize);
    let ranks = draw::distinct(len, times, 0..len, one, |rank| *rank);
    members_head(cx.reply, ranks.len(), scores);
    for rank in ranks {
        let (item, score) = zset.get(rank).expect("ranks below the length were drawn");
        member(cx.reply, item, score, scores);
    }
    Ok(cx.reply.done())
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
pub(super) fn zscan(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let cursor = scan_options::cursor(&mut cx.args)?;
    let Some(zset) = cx.db.read::<Zset>(key)? else {
        return Ok(Page::new(cx.reply).finish(cx.reply, 0));
    };
    let options = ScanOptions::parse(&mut cx.args, Walk::Members)?;
    let packed = zset.listpack().is_some();
    let mut page = Page::new(cx.reply);
    let mut text = Vec::new();
    let next = zset.scan(cursor, options.count, &mut |item, score| {
        item.with_bytes(|member| {
            if options.wants(member) {
                page.push(member);
                text.clear();
                if packed {
                    crate::base::num::format_f64(score, &mut text);
                } else {
                    seventeen_digits(score, &mut text);
                }
                page.push(&text);
            }
        });
    });
    Ok(page.finish(cx.reply, next))
}

/// Appends a double as C's `%.17g` does: ZSCAN of a skiplist answers so, unlike everything else.
fn seventeen_digits(value: f64, out: &mut Vec<u8>) {
    const DIGITS: i32 = 17;
    if !value.is_finite() {
        return crate::base::num::format_f64(value, out);
    }
    let text = format!("{value:.16e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let shortened = |text: &str| -> String {
        let is_fraction = text.contains('.');
        let text = if is_fraction { text.trim_end_matches('0') } else { text };
        text.strip_suffix('.').unwrap_or(text).to_owned()
    };
    let text = if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        shortened(&format!("{value:.decimals$}"))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", shortened(digits), exponent.abs())
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::house::House;

    #[test]
    fn zadd_follows_its_conditions() {
        let mut house = House::new();
        for (line, answer) in [
            ("zadd z 1 a 2 b", ":2|"),
            ("zadd z 1 a 3 b 4 c", ":1|"),
            ("zadd z ch 1 a 2 b 4 c", ":1|"),
            ("zadd z nx 9 a 9 d", ":1|"),
            ("zadd z xx ch 5 a 5 e", ":1|"),
            ("zadd z gt ch 4 a 6 b", ":1|"),
            ("zadd z lt ch 4 a 7 b", ":1|"),
            ("zadd z incr 1.5 a", "$3|5.5|"),
            ("zadd z nx incr 1.5 a", "$-1|"),
            ("zadd none xx incr 1.5 a", "$-1|"),
            ("zadd none xx 1 a", ":0|"),
            ("zincrby z -inf a", "$4|-inf|"),
            ("zincrby z inf a", "-ERR resulting score is not a number (NaN)|"),
            ("zadd z 1", "-ERR wrong number of arguments for 'zadd' command|"),
            ("zadd z 1 a 2", "-ERR syntax error|"),
            ("zadd z nx xx 1 a", "-ERR XX and NX options at the same time are not compatible|"),
            (
                "zadd z gt lt 1 a",
                "-ERR GT, LT, and/or NX options at the same time are not compatible|",
            ),
            ("zadd z incr 1 a 2 b", "-ERR INCR option supports a single increment-element pair|"),
            ("zadd z 1 x foo y", "-ERR value is not a valid float|"),
            ("zcard z", ":4|"),
            ("zscore z x", "$-1|"),
            ("zmscore z b x", "*2|$1|6|$-1|"),
            ("zrank z b", ":2|"),
            ("zrevrank z b withscore", "*2|:1|$1|6|"),
            ("zrank z x withscore", "*-1|"),
            ("zrank z b foo", "-ERR syntax error|"),
            ("zrem z a b c x", ":3|"),
            ("zrem z d", ":1|"),
            ("exists z", ":0|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn doubles_have_seventeen_digits_as_in_c() {
        for (value, expected) in [
            (0.1, "0.10000000000000001"),
            (3.0, "3"),
            (1e20, "1e+20"),
            (1.5e-7, "1.4999999999999999e-07"),
            (-0.0, "-0"),
            (12345678.9, "12345678.9"),
            (f64::INFINITY, "inf"),
        ] {
            let mut out = Vec::new();
            seventeen_digits(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
