//! Lists, and clients that wait for them.

mod moving;

use std::ops::Range;

use crate::command::answer;
use crate::ds::listpack::Item;
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::args::{Args, is_word};
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Replied, Reply};
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;
use crate::value::List;
use crate::value::list::{Place, Side};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        moving::blmove,
        Spec::new("blmove", Group::List, Exactly(6))
            .writes()
            .denyoom()
            .blocking()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .key_spec(KeySpec::at(2).rw().insert())
            .since("6.2.0"),
    ),
    Command::data(
        moving::blmpop,
        Spec::new("blmpop", Group::List, AtLeast(5))
            .writes()
            .blocking()
            .rewritten()
            .key_spec(KeySpec::counted(2).rw().access().delete())
            .since("7.0.0"),
    ),
    Command::data(
        moving::blpop,
        Spec::new("blpop", Group::List, AtLeast(3))
            .writes()
            .blocking()
            .rewritten()
            .key_spec(KeySpec::range(1, -2, 1).rw().access().delete())
            .since("2.0.0"),
    ),
    Command::data(
        moving::brpop,
        Spec::new("brpop", Group::List, AtLeast(3))
            .writes()
            .blocking()
            .rewritten()
            .key_spec(KeySpec::range(1, -2, 1).rw().access().delete())
            .since("2.0.0"),
    ),
    Command::data(
        moving::brpoplpush,
        Spec::new("brpoplpush", Group::List, Exactly(4))
            .writes()
            .denyoom()
            .blocking()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .key_spec(KeySpec::at(2).rw().insert())
            .since("2.2.0")
            .deprecated("6.2.0"),
    ),
    Command::data(
        lindex,
        Spec::new("lindex", Group::List, Exactly(3)).reads().key(1).since("1.0.0"),
    ),
    Command::data(
        linsert,
        Spec::new("linsert", Group::List, Exactly(5))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("2.2.0"),
    ),
    Command::data(
        llen,
        Spec::new("llen", Group::List, Exactly(2))
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("1.0.0"),
    ),
    Command::data(
        moving::lmove,
        Spec::new("lmove", Group::List, Exactly(5))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .key_spec(KeySpec::at(2).rw().insert())
            .since("6.2.0"),
    ),
    Command::data(
        moving::lmpop,
        Spec::new("lmpop", Group::List, AtLeast(4))
            .writes()
            .rewritten()
            .key_spec(KeySpec::counted(1).rw().access().delete())
            .since("7.0.0"),
    ),
    Command::data(
        lpop,
        Spec::new("lpop", Group::List, AtLeast(2))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .since("1.0.0"),
    ),
    Command::data(lpos, Spec::new("lpos", Group::List, AtLeast(3)).reads().key(1).since("6.0.6")),
    Command::data(
        lpush,
        Spec::new("lpush", Group::List, AtLeast(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("1.0.0"),
    ),
    Command::data(
        lpushx,
        Spec::new("lpushx", Group::List, AtLeast(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("2.2.0"),
    ),
    Command::data(
        lrange,
        Spec::new("lrange", Group::List, Exactly(4)).reads().key(1).since("1.0.0"),
    ),
    Command::data(
        lrem,
        Spec::new("lrem", Group::List, Exactly(4))
            .writes()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("1.0.0"),
    ),
    Command::data(
        lset,
        Spec::new("lset", Group::List, Exactly(4)).writes().denyoom().key(1).since("1.0.0"),
    ),
    Command::data(
        ltrim,
        Spec::new("ltrim", Group::List, Exactly(4))
            .writes()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("1.0.0"),
    ),
    Command::data(
        rpop,
        Spec::new("rpop", Group::List, AtLeast(2))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .since("1.0.0"),
    ),
    Command::data(
        moving::rpoplpush,
        Spec::new("rpoplpush", Group::List, Exactly(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .key_spec(KeySpec::at(2).rw().insert())
            .since("1.2.0")
            .deprecated("6.2.0"),
    ),
    Command::data(
        rpush,
        Spec::new("rpush", Group::List, AtLeast(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("1.0.0"),
    ),
    Command::data(
        rpushx,
        Spec::new("rpushx", Group::List, AtLeast(3))
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("2.2.0"),
    ),
];

/// What a push does when there is no list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Create,
    Refuse,
}

/// LPUSH key element [element ...]
fn lpush(cx: &mut Ctx) -> CmdResult {
    push(cx, Side::Head, Absent::Create)
}

/// RPUSH key element [element ...]
fn rpush(cx: &mut Ctx) -> CmdResult {
    push(cx, Side::Tail, Absent::Create)
}

/// LPUSHX key element [element ...]
fn lpushx(cx: &mut Ctx) -> CmdResult {
    push(cx, Side::Head, Absent::Refuse)
}

/// RPUSHX key element [element ...]
fn rpushx(cx: &mut Ctx) -> CmdResult {
    push(cx, Side::Tail, Absent::Refuse)
}

fn push(cx: &mut Ctx, side: Side, absent: Absent) -> CmdResult {
    let key = cx.args.bytes()?;
    let elements = cx.args.remaining();
    let added = elements.len();
    let limits = &cx.db.env().limits;
    let mut list = match absent {
        Absent::Create => cx.db.open_or_create::<List>(key)?,
        Absent::Refuse => match cx.db.open::<List>(key)? {
            Some(list) => list,
            None => return Ok(cx.reply.int(0)),
        },
    };
    list.grow(added, elements.clone().map(<[u8]>::len).sum(), limits);
    elements.for_each(|element| list.push(side, element));
    let len = list.len();
    list.commit(pushed(side), added);
    Ok(cx.reply.count(len))
}

/// LPOP key [count]
fn lpop(cx: &mut Ctx) -> CmdResult {
    pop(cx, Side::Head)
}

/// RPOP key [count]
fn rpop(cx: &mut Ctx) -> CmdResult {
    pop(cx, Side::Tail)
}

fn pop(cx: &mut Ctx, side: Side) -> CmdResult {
    const RANGE: &str = "ERR value is out of range, must be positive";
    let key = cx.args.bytes()?;
    let count = match cx.args.left() {
        0 => None,
        1 => Some(cx.args.i64_in(0..=i64::MAX, RANGE)? as usize),
        _ => return Err(CmdError::Arity(cx.name().to_owned())),
    };
    let limits = &cx.db.env().limits;
    let Some(mut list) = cx.db.open::<List>(key)? else {
        return Ok(match count {
            None => cx.reply.null(),
            Some(_) => cx.reply.null_array(),
        });
    };
    match count {
        Some(0) => Ok(cx.reply.empty_array()),
        None => {
            let element = list.pop_with(side, |item| answer::item(cx.reply, item));
            list.shrink(limits);
            list.commit(popped(side), 1);
            Ok(element.unwrap_or_else(|| cx.reply.null()))
        }
        Some(count) => {
            let (replied, taken) = answer_ends(cx.reply, &list, side, count);
            remove_ends(&mut list, side, taken);
            list.shrink(limits);
            list.commit(popped(side), taken);
            Ok(replied)
        }
    }
}

/// Answers with up to `count` elements from an end, and says how many there are.
fn answer_ends(reply: &mut Reply, list: &List, side: Side, count: usize) -> (Replied, usize) {
    let count = count.min(list.len());
    reply.array(count);
    let mut put = |item: Item<'_>| {
        let _ = answer::item(reply, item);
    };
    match side {
        Side::Head => list.range(0, count).for_each(&mut put),
        Side::Tail => list.iter().rev().take(count).for_each(&mut put),
    }
    (reply.done(), count)
}

fn remove_ends(list: &mut List, side: Side, count: usize) {
    let start = match side {
        Side::Head => 0,
        Side::Tail => list.len() - count,
    };
    list.remove_range(start, count);
}

/// LLEN key
fn llen(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let len = cx.db.read::<List>(key)?.map_or(0, List::len);
    Ok(cx.reply.count(len))
}

/// LINDEX key index
fn lindex(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let index = cx.args.i64();
    let Some(list) = cx.db.read::<List>(key)? else { return Ok(cx.reply.null()) };
    let found = list.index(index?).and_then(|index| list.get(index));
    Ok(answer::item_or_null(cx.reply, found))
}

/// LSET key index element
fn lset(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let index = cx.args.i64();
    let element = cx.args.bytes()?;
    let limits = &cx.db.env().limits;
    let Some(mut list) = cx.db.open::<List>(key)? else { return Err(CmdError::NoSuchKey) };
    let index = list.index(index?).ok_or(CmdError::IndexOutOfRange)?;
    list.grow(1, element.len(), limits);
    list.set(index, element);
    list.shrink(limits);
    list.commit(Event::list("lset"), 1);
    Ok(cx.reply.ok())
}

/// LINSERT key BEFORE|AFTER pivot element
fn linsert(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let place = match cx.args.bytes()? {
        word if is_word(word, "before") => Place::Before,
        word if is_word(word, "after") => Place::After,
        _ => return Err(CmdError::Syntax),
    };
    let (pivot, element) = (cx.args.bytes()?, cx.args.bytes()?);
    let limits = &cx.db.env().limits;
    let Some(mut list) = cx.db.open::<List>(key)? else { return Ok(cx.reply.int(0)) };
    let Some(index) = list.find(pivot) else { return Ok(cx.reply.int(-1)) };
    list.grow(1, element.len(), limits);
    list.insert(index, place, element);
    let len = list.len();
    list.commit(Event::list("linsert"), 1);
    Ok(cx.reply.count(len))
}

/// LRANGE key start stop
fn lrange(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let (start, stop) = (cx.args.i64()?, cx.args.i64()?);
    let Some(list) = cx.db.read::<List>(key)? else { return Ok(cx.reply.empty_array()) };
    let range = clip(start, stop, list.len());
    cx.reply.array(range.len());
    for item in list.range(range.start, range.len()) {
        let _ = answer::item(cx.reply, item);
    }
    Ok(cx.reply.done())
}

/// LTRIM key start stop
fn ltrim(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let (start, stop) = (cx.args.i64()?, cx.args.i64()?);
    let limits = &cx.db.env().limits;
    let event = Event::list("ltrim");
    let Some(mut list) = cx.db.open::<List>(key)? else { return Ok(cx.reply.ok()) };
    let len = list.len();
    let kept = clip(start, stop, len);
    let removed = len - kept.len();
    if removed == 0 {
        // Watchers and listeners learn even of a trim that took nothing.
        list.announce(event);
    } else {
        list.remove_range(kept.end, len - kept.end);
        list.remove_range(0, kept.start);
        list.shrink(limits);
    }
    list.commit(event, removed);
    Ok(cx.reply.ok())
}

/// The indexes that a client means by `start` and `stop`, both included and either counted from the
/// end when negative. Empty ranges begin at 0.
fn clip(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let start = from_end(start).max(0);
    let end = from_end(stop).min(len - 1) + 1;
    if start < end { start as usize..end as usize } else { 0..0 }
}

/// LREM key count element
fn lrem(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let count = cx.args.signed_count()?;
    let element = cx.args.bytes()?;
    let limits = &cx.db.env().limits;
    let (side, max) = match count {
        0 => (Side::Head, usize::MAX),
        1.. => (Side::Head, count as usize),
        _ => (Side::Tail, count.unsigned_abs() as usize),
    };
    let Some(mut list) = cx.db.open::<List>(key)? else { return Ok(cx.reply.int(0)) };
    let removed = list.remove_equal(side, element, max);
    if removed > 0 {
        list.shrink(limits);
    }
    list.commit(Event::list("lrem"), removed);
    Ok(cx.reply.count(removed))
}

/// What LPOS looks for.
struct Search {
    /// Which match is the first wanted, 1 being the first met.
    rank: u64,
    /// Where the search begins.
    from: Side,
    /// Matches wanted; `None` wants one, answered alone.
    count: Option<usize>,
    /// Elements compared at most.
    len_max: usize,
}

/// LPOS key element [RANK rank] [COUNT matches] [MAXLEN len]
fn lpos(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let element = cx.args.bytes()?;
    let search = Search::parse(&mut cx.args)?;
    let Some(list) = cx.db.read::<List>(key)? else {
        return Ok(match search.count {
            None => cx.reply.null(),
            Some(_) => cx.reply.empty_array(),
        });
    };
    let wanted = Item::of(element);
    let (len, len_max) = (list.len(), search.len_max);
    let mut matches: Box<dyn Iterator<Item = usize>> = match search.from {
        Side::Head => {
            let numbered = list.iter().enumerate().take(len_max);
            Box::new(numbered.filter(|(_, item)| *item == wanted).map(|(at, _)| at))
        }
        Side::Tail => {
            let numbered = list.iter().rev().enumerate().take(len_max);
            Box::new(numbered.filter(|(_, item)| *item == wanted).map(move |(at, _)| len - 1 - at))
        }
    };
    let skip = usize::try_from(search.rank - 1).unwrap_or(usize::MAX);
    let Some(count) = search.count else {
        return Ok(match matches.nth(skip) {
            Some(index) => cx.reply.count(index),
            None => cx.reply.null(),
        });
    };
    let (opened, mut found) = (cx.reply.open(), 0);
    for index in matches.skip(skip).take(count) {
        let _ = cx.reply.count(index);
        found += 1;
    }
    Ok(cx.reply.close_array(opened, found))
}

impl Search {
    fn parse(args: &mut Args) -> Result<Search, CmdError> {
        const RANK_ZERO: &str = "ERR RANK can't be zero: use 1 to start from the first match, \
             2 from the second ... or use negative to start from the end of the list";
        let any = |number: i64| match number {
            0 => usize::MAX,
            number => usize::try_from(number).unwrap_or(usize::MAX),
        };
        let mut search = Search { rank: 1, from: Side::Head, count: None, len_max: usize::MAX };
        while !args.is_done() {
            match args.option()?.as_str() {
                "rank" => {
                    let rank = args.signed_count()?;
                    if rank == 0 {
                        return Err(CmdError::Const(RANK_ZERO));
                    }
                    search.rank = rank.unsigned_abs();
                    search.from = if rank < 0 { Side::Tail } else { Side::Head };
                }
                "count" => {
                    let count = args.i64_in(0..=i64::MAX, "ERR COUNT can't be negative")?;
                    search.count = Some(any(count));
                }
                "maxlen" => {
                    search.len_max =
                        any(args.i64_in(0..=i64::MAX, "ERR MAXLEN can't be negative")?);
                }
                _ => return Err(CmdError::Syntax),
            }
        }
        Ok(search)
    }
}

fn pushed(side: Side) -> Event {
    match side {
        Side::Head => Event::list("lpush"),
        Side::Tail => Event::list("rpush"),
    }
}

fn popped(side: Side) -> Event {
    match side {
        Side::Head => Event::list("lpop"),
        Side::Tail => Event::list("rpop"),
    }
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn replies_are_those_of_redis() {
        for script in [
            "rpush k a b c => :3|; lrange k 0 -1 => *3|$1|a|$1|b|$1|c|; lrange k -100 100 => \
             *3|$1|a|$1|b|$1|c|; lrange k 2 1 => *0|; lrange no 0 x => \
             -ERR value is not an integer or out of range|; lindex no x => $-1|; lindex k -1 => $1|c|",
            "lpush k a b => :2|; lpushx no a => :0|; rpushx k 5 => :3|; lpop k 0 => *0|; \
             lpop k 2 => *2|$1|b|$1|a|; rpop k => $1|5|; rpop k => $-1|; rpop k 1 => *-1|; \
             lpop k -1 => -ERR value is out of range, must be positive|; lpop k 1 2 => \
             -ERR wrong number of arguments for 'lpop' command|",
            "rpush k a b a b a => :5|; lpos k a => :0|; lpos k a rank -1 => :4|; lpos k a rank 2 \
             count 0 => *2|:2|:4|; lpos k b rank -1 count 1 maxlen 1 => *0|; lpos no b count 1 => \
             *0|; lrem k -2 a => :2|; lrem k 0 z => :0|; lrange k 0 -1 => *3|$1|a|$1|b|$1|b|",
            "rpush k a c => :2|; linsert k before c b => :3|; linsert k after x y => :-1|; \
             linsert k near c b => -ERR syntax error|; lset k 3 x => -ERR index out of range|; \
             lset no x x => -ERR no such key|; lset k -1 z => +OK|; ltrim k 1 -1 => +OK|; \
             lrange k 0 -1 => *2|$1|b|$1|z|; ltrim k 5 1 => +OK|; llen k => :0|",
            "rpush k a b => :2|; lmove k k left right => $1|a|; rpoplpush k l => $1|a|; \
             lmove k l left right => $1|b|; llen k => :0|; lrange l 0 -1 => *2|$1|a|$1|b|; \
             lmove k l left up => -ERR syntax error|; rpoplpush k l => $-1|",
            "rpush k a b => :2|; lmpop 2 no k right count 5 => *2|$1|k|*2|$1|b|$1|a|; \
             lmpop 1 k left => *-1|; lmpop 0 k left => -ERR numkeys should be greater than 0|; \
             lmpop 1 k left count 0 => -ERR count should be greater than 0|; lmpop 3 k left => \
             -ERR syntax error|; lmpop 1 k left count 1 count 1 => -ERR syntax error|",
        ] {
            let mut house = House::new();
            for step in script.split("; ") {
                let (line, expected) = step.split_once("=>").unwrap();
                assert_eq!(house.run(line), expected.trim_start(), "{line}");
            }
        }
    }

    #[test]
    fn wrong_types_are_refused_before_anything_changes() {
        let mut house = House::new();
        house.run("set s 1");
        house.run("rpush k a");
        house.log();
        for line in [
            "lpush s a",
            "lpushx s a",
            "lpop s",
            "llen s",
            "lindex s x",
            "lset s x x",
            "lrange s 0 1",
            "ltrim s 0 1",
            "lrem s 0 a",
            "lpos s a",
            "linsert s before a b",
            "lmove k s left left",
            "rpoplpush s k",
            "blpop s 0",
            "lmpop 1 s left",
            "blmove k s left right 0",
        ] {
            assert!(house.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        assert_eq!(house.run("llen k"), ":1|");
        assert!(house.log().is_empty());
    }
}
