//! Sets: members, random members, and what several sets have in common.

use std::collections::HashSet;

use crate::command::scan_options::{self, Page, ScanOptions, Walk};
use crate::command::{answer, draw};
use crate::ds::listpack::Item;
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::entry::{Held, New};
use crate::keyspace::event::Event;
use crate::keyspace::view::{DbView, Deadline};
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;
use crate::value::{Kind, Limits, Set, Value, Variant};

/// Members that one SREM in the journal removes at most, when SPOP took them.
const LOGGED_MEMBERS_MAX: usize = 1024;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        sadd,
        Spec::new("sadd", Group::Set, AtLeast(3))
            .member(2)
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("1.0.0"),
    ),
    Command::data(
        scard,
        Spec::new("scard", Group::Set, Exactly(2))
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("1.0.0"),
    ),
    Command::data(
        sdiff,
        Spec::new("sdiff", Group::Set, AtLeast(2))
            .reads()
            .keys(1, -1, 1)
            .tip("nondeterministic_output_order")
            .since("1.0.0"),
    ),
    Command::data(
        sdiffstore,
        Spec::new("sdiffstore", Group::Set, AtLeast(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::range(2, -1, 1).ro().access())
            .since("1.0.0"),
    ),
    Command::data(
        sinter,
        Spec::new("sinter", Group::Set, AtLeast(2))
            .reads()
            .keys(1, -1, 1)
            .tip("nondeterministic_output_order")
            .since("1.0.0"),
    ),
    Command::data(
        sintercard,
        Spec::new("sintercard", Group::Set, AtLeast(3))
            .reads()
            .key_spec(KeySpec::counted(1).ro().access())
            .since("7.0.0"),
    ),
    Command::data(
        sinterstore,
        Spec::new("sinterstore", Group::Set, AtLeast(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::range(2, -1, 1).ro().access())
            .since("1.0.0"),
    ),
    Command::data(
        sismember,
        Spec::new("sismember", Group::Set, Exactly(3))
            .member(2)
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("1.0.0"),
    ),
    Command::data(
        smembers,
        Spec::new("smembers", Group::Set, Exactly(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output_order")
            .since("1.0.0"),
    ),
    Command::data(
        smismember,
        Spec::new("smismember", Group::Set, AtLeast(3))
            .member(2)
            .reads()
            .fast()
            .key(1)
            .since("6.2.0"),
    ),
    Command::data(
        smove,
        Spec::new("smove", Group::Set, Exactly(4))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .key_spec(KeySpec::at(2).rw().insert())
            .since("1.0.0"),
    ),
    Command::data(
        spop,
        Spec::new("spop", Group::Set, AtLeast(2))
            .writes()
            .fast()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .tip("nondeterministic_output")
            .since("1.0.0"),
    ),
    Command::data(
        srandmember,
        Spec::new("srandmember", Group::Set, AtLeast(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("1.0.0"),
    ),
    Command::data(
        srem,
        Spec::new("srem", Group::Set, AtLeast(3))
            .member(2)
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("1.0.0"),
    ),
    Command::data(
        sscan,
        Spec::new("sscan", Group::Set, AtLeast(3))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("2.8.0"),
    ),
    Command::data(
        sunion,
        Spec::new("sunion", Group::Set, AtLeast(2))
            .reads()
            .keys(1, -1, 1)
            .tip("nondeterministic_output_order")
            .since("1.0.0"),
    ),
    Command::data(
        sunionstore,
        Spec::new("sunionstore", Group::Set, AtLeast(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::range(2, -1, 1).ro().access())
            .since("1.0.0"),
    ),
];

/// SADD key member [member ...]
fn sadd(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let members = cx.args.remaining();
    let first = cx.args.peek().unwrap_or_default();
    let limits = &cx.db.env().limits;
    let mut set = cx.db.open_or_create::<Set>(key)?;
    set.expect(first, members.len(), limits);
    let added = members.filter(|member| set.add(member, limits)).count();
    set.commit(Event::set("sadd"), added);
    Ok(cx.reply.count(added))
}

/// SREM key member [member ...]
fn srem(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let members = cx.args.remaining();
    let Some(mut set) = cx.db.open::<Set>(key)? else { return Ok(cx.reply.int(0)) };
    let removed = members.filter(|member| set.remove(member)).count();
    set.commit(Event::set("srem"), removed);
    Ok(cx.reply.count(removed))
}

/// SMOVE source destination member
fn smove(cx: &mut Ctx) -> CmdResult {
    let (from, to, member) = (cx.args.bytes()?, cx.args.bytes()?, cx.args.bytes()?);
    let limits = &cx.db.env().limits;
    let there = match cx.db.open::<Set>(from)? {
        None => return Ok(cx.reply.int(0)),
        Some(source) => source.contains(member),
    };
    if cx.db.kind(to).is_some_and(|kind| kind != Kind::Set) {
        return Err(CmdError::WrongType);
    }
    if from == to || !there {
        return Ok(cx.reply.flag(there));
    }
    if let Some(mut source) = cx.db.open::<Set>(from)? {
        source.remove(member);
        source.commit(Event::set("srem"), 1);
    }
    let mut destination = cx.db.open_or_create::<Set>(to)?;
    destination.expect(member, 1, limits);
    let added = destination.add(member, limits);
    destination.commit(Event::set("sadd"), usize::from(added));
    Ok(cx.reply.int(1))
}

/// SISMEMBER key member
fn sismember(cx: &mut Ctx) -> CmdResult {
    let (key, member) = (cx.args.bytes()?, cx.args.bytes()?);
    let found = cx.db.read::<Set>(key)?.is_some_and(|set| set.contains(member));
    Ok(cx.reply.flag(found))
}

/// SMISMEMBER key member [member ...]
fn smismember(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let members = cx.args.remaining();
    let set = cx.db.read::<Set>(key)?;
    cx.reply.array(members.len());
    for member in members {
        let _ = cx.reply.flag(set.is_some_and(|set| set.contains(member)));
    }
    Ok(cx.reply.done())
}

/// SCARD key
fn scard(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let len = cx.db.read::<Set>(key)?.map_or(0, Set::len);
    Ok(cx.reply.count(len))
}

/// SMEMBERS key
fn smembers(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let set = cx.db.read::<Set>(key)?;
    cx.reply.set(set.map_or(0, Set::len));
    for member in set.into_iter().flat_map(Set::iter) {
        let _ = answer::item(cx.reply, member);
    }
    Ok(cx.reply.done())
}

/// SSCAN key cursor [MATCH pattern] [COUNT count]
fn sscan(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let cursor = scan_options::cursor(&mut cx.args)?;
    let mut page = Page::new(cx.reply);
    let Some(set) = cx.db.read::<Set>(key)? else { return Ok(page.finish(cx.reply, 0)) };
    let options = ScanOptions::parse(&mut cx.args, Walk::Members)?;
    let next = set.scan(cursor, options.count, &mut |member| {
        member.with_bytes(|member| {
            if options.wants(member) {
                page.push(member);
            }
        });
    });
    Ok(page.finish(cx.reply, next))
}

/// SPOP key [count]
fn spop(cx: &mut Ctx) -> CmdResult {
    const RANGE: &str = "ERR value is out of range, must be positive";
    let key = cx.args.bytes()?;
    match cx.args.left() {
        0 => pop_one(cx, key),
        1 => {
            let count = cx.args.i64_in(0..=i64::MAX, RANGE)? as usize;
            pop_many(cx, key, count)
        }
        _ => Err(CmdError::Syntax),
    }
}

fn pop_one(cx: &mut Ctx, key: &[u8]) -> CmdResult {
    let Some(mut set) = cx.db.open::<Set>(key)? else { return Ok(cx.reply.null()) };
    let member = set.pop_random().expect("a set at a key has members");
    set.commit(Event::set("spop"), 1);
    cx.record.instead(&[b"SREM", key, &member]);
    Ok(cx.reply.bulk(&member))
}

fn pop_many(cx: &mut Ctx, key: &[u8], count: usize) -> CmdResult {
    let Some(mut set) = cx.db.open::<Set>(key)? else {
        cx.reply.set(0);
        return Ok(cx.reply.done());
    };
    if count == 0 {
        cx.reply.set(0);
        return Ok(cx.reply.done());
    }
    let len = set.len();
    if count >= len {
        cx.reply.set(len);
        for member in set.iter() {
            let _ = answer::item(cx.reply, member);
        }
        *set = Set::new();
        set.commit(Event::set("spop"), len);
        cx.record.instead(&[cx.db.env().removes_with, key]);
        return Ok(cx.reply.done());
    }
    let popped = drawn(&set, count);
    cx.reply.set(popped.len());
    for member in &popped {
        set.remove(member);
        let _ = cx.reply.bulk(member);
    }
    set.commit(Event::set("spop"), popped.len());
    for members in popped.chunks(LOGGED_MEMBERS_MAX) {
        let mut words: Vec<&[u8]> = vec![b"SREM", key];
        words.extend(members.iter().map(Vec::as_slice));
        cx.record.instead(&words);
    }
    Ok(cx.reply.done())
}

/// Different members of a set in random order.
fn drawn(set: &Set, count: usize) -> Vec<Vec<u8>> {
    let all = set.iter().map(Item::to_vec);
    draw::distinct(set.len(), count, all, || set.random().map(Item::to_vec), Vec::clone)
}

/// SRANDMEMBER key [count]
fn srandmember(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let count = match cx.args.left() {
        0 => None,
        1 => Some(cx.args.signed_count()?),
        _ => return Err(CmdError::Syntax),
    };
    let env = cx.db.env();
    let set = cx.db.read::<Set>(key)?;
    let Some(count) = count else {
        return Ok(answer::item_or_null(cx.reply, set.and_then(Set::random)));
    };
    let Some(set) = set else { return Ok(cx.reply.empty_array()) };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        draw::check_count(wanted, env)?;
        let start = cx.reply.len();
        cx.reply.array(wanted);
        for member in (0..wanted).map_while(|_| set.random()) {
            let _ = answer::item(cx.reply, member);
            draw::check_size(cx.reply, start, env)?;
        }
    } else if wanted >= set.len() {
        cx.reply.array(set.len());
        for member in set.iter() {
            let _ = answer::item(cx.reply, member);
        }
    } else {
        let members = drawn(set, wanted);
        cx.reply.array(members.len());
        for member in &members {
            let _ = cx.reply.bulk(member);
        }
    }
    Ok(cx.reply.done())
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
fn sintercard(cx: &mut Ctx) -> CmdResult {
    let count = cx.args.i64_in(1..=i64::MAX, "ERR numkeys should be greater than 0")?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > cx.args.left() {
        return Err(CmdError::err("Number of keys can't be greater than number of args"));
    }
    let keys: Vec<&[u8]> = cx.args.take(count)?.collect();
    let mut limit = 0;
    while !cx.args.is_done() {
        if !cx.args.take_keyword("limit") {
            return Err(CmdError::Syntax);
        }
        limit = cx.args.i64_in(0..=i64::MAX, "ERR LIMIT can't be negative")?;
    }
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    let sets = sets_of(&mut cx.db, &keys)?;
    let mut found = 0;
    Combination::Intersection.visit(&sets, &mut |_| {
        found += 1;
        found < limit
    });
    Ok(cx.reply.count(found))
}

/// What is made of several sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Combination {
    Intersection,
    Union,
    Difference,
}

/// SINTER key [key ...]
fn sinter(cx: &mut Ctx) -> CmdResult {
    combine(cx, Combination::Intersection)
}

/// SUNION key [key ...]
fn sunion(cx: &mut Ctx) -> CmdResult {
    combine(cx, Combination::Union)
}

/// SDIFF key [key ...]
fn sdiff(cx: &mut Ctx) -> CmdResult {
    combine(cx, Combination::Difference)
}

fn combine(cx: &mut Ctx, combination: Combination) -> CmdResult {
    let keys: Vec<&[u8]> = cx.args.remaining().collect();
    let sets = sets_of(&mut cx.db, &keys)?;
    let (opened, mut len) = (cx.reply.open(), 0);
    combination.visit(&sets, &mut |member| {
        let _ = answer::item(cx.reply, member);
        len += 1;
        true
    });
    Ok(cx.reply.close_set(opened, len))
}

/// SINTERSTORE destination key [key ...]
fn sinterstore(cx: &mut Ctx) -> CmdResult {
    store(cx, Combination::Intersection, Event::set("sinterstore"))
}

/// SUNIONSTORE destination key [key ...]
fn sunionstore(cx: &mut Ctx) -> CmdResult {
    store(cx, Combination::Union, Event::set("sunionstore"))
}

/// SDIFFSTORE destination key [key ...]
fn sdiffstore(cx: &mut Ctx) -> CmdResult {
    store(cx, Combination::Difference, Event::set("sdiffstore"))
}

fn store(cx: &mut Ctx, combination: Combination, event: Event) -> CmdResult {
    let destination = cx.args.bytes()?;
    let keys: Vec<&[u8]> = cx.args.remaining().collect();
    let limits = &cx.db.env().limits;
    let sets = sets_of(&mut cx.db, &keys)?;
    let result = combination.collect(&sets, limits);
    let len = result.len();
    if len > 0 {
        cx.db.set(destination, New::Value(Value::Set(result)), Deadline::Clear, event);
    } else {
        cx.db.delete(destination, Event::DEL);
    }
    Ok(cx.reply.count(len))
}

/// The sets at some keys, in order.
fn sets_of<'s>(db: &'s mut DbView, keys: &[&[u8]]) -> Result<Vec<Option<&'s Set>>, CmdError> {
    let entries = db.read_many(keys).into_iter();
    let sets = entries.map(|entry| match entry.map(|entry| entry.held()) {
        None => Ok(None),
        Some(Held::Value(value)) => Set::of(value).map(Some).ok_or(CmdError::WrongType),
        Some(Held::Text(_)) => Err(CmdError::WrongType),
    });
    sets.collect()
}

impl Combination {
    /// Hands each member of the result to `visit` once, until that says `false`.
    fn visit(self, sets: &[Option<&Set>], visit: &mut dyn FnMut(Item<'_>) -> bool) {
        match self {
            Combination::Intersection => intersect(sets, visit),
            Combination::Union => unite(sets, visit),
            Combination::Difference => subtract(sets, visit),
        }
    }

    /// The result as a set of its own.
    fn collect(self, sets: &[Option<&Set>], limits: &Limits) -> Set {
        let mut result = match self {
            Combination::Intersection => Set::new_listpack(),
            Combination::Union | Combination::Difference => Set::new(),
        };
        self.visit(sets, &mut |member| {
            member.with_bytes(|member| result.add(member, limits));
            true
        });
        if self == Combination::Intersection {
            result.prefer_intset(limits);
        }
        result
    }
}

fn intersect(sets: &[Option<&Set>], visit: &mut dyn FnMut(Item<'_>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        let everywhere =
            member.with_bytes(|bytes| others.iter().all(|other| other.contains(bytes)));
        if everywhere && !visit(member) {
            return;
        }
    }
}

fn unite(sets: &[Option<&Set>], visit: &mut dyn FnMut(Item<'_>) -> bool) {
    let sets: Vec<&Set> = sets.iter().copied().flatten().collect();
    if let [one] = sets[..] {
        one.iter().all(visit);
        return;
    }
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    for member in sets.into_iter().flat_map(Set::iter) {
        let new = member.with_bytes(|bytes| !seen.contains(bytes) && seen.insert(bytes.to_vec()));
        if new && !visit(member) {
            return;
        }
    }
}

fn subtract(sets: &[Option<&Set>], visit: &mut dyn FnMut(Item<'_>) -> bool) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
    // The largest is the likeliest to have a member.
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    for member in first.iter() {
        let elsewhere = member.with_bytes(|bytes| others.iter().any(|other| other.contains(bytes)));
        if !elsewhere && !visit(member) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    /// The elements of a flat reply, sorted.
    fn sorted(reply: &str) -> Vec<String> {
        let mut words: Vec<String> = reply
            .split('|')
            .filter(|word| !word.starts_with(['$', '*', '~']))
            .map(str::to_owned)
            .collect();
        words.retain(|word| !word.is_empty());
        words.sort();
        words
    }

    #[test]
    fn replies_are_those_of_redis() {
        for script in [
            "sadd k 3 1 2 1 => :3|; smembers k => *3|$1|1|$1|2|$1|3|; srem k 1 9 => :1|; \
             sismember k 2 => :1|; smismember k 1 2 => *2|:0|:1|; smismember no a => *1|:0|; \
             scard k => :2|; sscan k 0 match 2 => *2|$1|0|*1|$1|2|; sscan no 0 bad => *2|$1|0|*0|; \
             sscan k 0 bad => -ERR syntax error|; sscan k x => -ERR invalid cursor|",
            "sadd a 1 2 3 => :3|; sadd b 2 3 4 => :3|; sinter a b => *2|$1|2|$1|3|; sdiff a b => \
             *1|$1|1|; sunion a b a => *4|$1|1|$1|2|$1|3|$1|4|; sinter a no => *0|; \
             sintercard 2 a b => :2|; sintercard 2 a b limit 1 => :1|; sintercard 3 a b => \
             -ERR Number of keys can't be greater than number of args|; sintercard 1 a limit -1 \
             => -ERR LIMIT can't be negative|; sintercard 0 a => -ERR numkeys should be greater \
             than 0|; sintercard 1 a b => -ERR syntax error|",
            "sadd a 1 2 => :2|; smove a b 1 => :1|; smove a b 9 => :0|; smove a a 2 => :1|; \
             smove no b 1 => :0|; smove a b 2 => :1|; scard a => :0|; smembers b => \
             *2|$1|1|$1|2|; sinterstore b no a => :0|; scard b => :0|",
            "spop no => $-1|; spop no 1 => *0|; spop no -1 => -ERR value is out of range, must be \
             positive|; spop no 1 2 => -ERR syntax error|; sadd k a => :1|; spop k 0 => *0|; \
             srandmember k => $1|a|; srandmember k -2 => *2|$1|a|$1|a|; srandmember k 2 => \
             *1|$1|a|; srandmember no 2 => *0|; srandmember no => $-1|; spop k => $1|a|; \
             scard k => :0|",
        ] {
            let mut house = House::new();
            for step in script.split("; ") {
                let (line, expected) = step.split_once("=>").unwrap();
                assert_eq!(house.run(line), expected.trim_start(), "{line}");
            }
        }
    }

    #[test]
    fn every_key_is_checked_even_when_the_result_is_clear() {
        let mut house = House::new();
        house.run("set text 1");
        house.run("sadd s a");
        for line in [
            "sinter no text",
            "sdiff no text",
            "sunion s text",
            "sinterstore d no text",
            "sintercard 2 no text",
            "smove s text x",
            "sadd text a",
            "spop text 1",
            "srandmember text 1",
            "sscan text 0 bad",
            "smembers text",
            "srem text a",
        ] {
            assert!(house.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        assert_eq!(house.run("smove no text x"), ":0|");
    }

    #[test]
    fn what_chance_took_is_logged_by_name() {
        let mut house = House::new();
        house.run("sadd k a b c d e f g h");
        house.log();
        let popped = house.run("spop k");
        assert_eq!(house.log(), [format!("SREM k {}", sorted(&popped)[0])]);
        let popped = house.run("spop k 3");
        let log = house.log().remove(0);
        let mut logged: Vec<String> = log.split(' ').skip(2).map(str::to_owned).collect();
        logged.sort();
        assert_eq!(logged, sorted(&popped));
        assert_eq!(house.run("scard k"), ":4|");
        assert_eq!(sorted(&house.run("spop k 100")).len(), 4);
        assert_eq!(house.log(), ["DEL k"]);
    }

    #[test]
    fn stored_results_replace_whatever_was_there() {
        let mut house = House::new();
        house.run("set d text");
        house.run("sadd a x y");
        house.run("sadd b y z");
        house.log();
        assert_eq!(house.run("sunionstore d a b"), ":3|");
        assert_eq!(sorted(&house.run("smembers d")), ["x", "y", "z"]);
        assert_eq!(house.run("sdiffstore d a a"), ":0|");
        assert_eq!(house.run("sdiffstore d a a"), ":0|");
        assert_eq!(house.log(), ["sunionstore d a b", "sdiffstore d a a"]);
    }
}
