//! Hashes: fields and their values.

mod deadline;

use crate::base::num::LongDouble;
use crate::command::scan_options::{self, Page, ScanOptions, Walk};
use crate::command::{answer, draw};
use crate::ds::listpack::Item;
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;
use crate::value::Hash;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        deadline::hexpire,
        Spec::new("hexpire", Group::Hash, AtLeast(6))
            .rewritten()
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().update())
            .since("7.4.0"),
    ),
    Command::data(
        deadline::hexpireat,
        Spec::new("hexpireat", Group::Hash, AtLeast(6))
            .rewritten()
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().update())
            .since("7.4.0"),
    ),
    Command::data(
        deadline::hpexpire,
        Spec::new("hpexpire", Group::Hash, AtLeast(6))
            .rewritten()
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().update())
            .since("7.4.0"),
    ),
    Command::data(
        deadline::hpexpireat,
        Spec::new("hpexpireat", Group::Hash, AtLeast(6))
            .rewritten()
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().update())
            .since("7.4.0"),
    ),
    Command::data(
        deadline::hexpiretime,
        Spec::new("hexpiretime", Group::Hash, AtLeast(5)).reads().fast().key(1).since("7.4.0"),
    ),
    Command::data(
        deadline::hpexpiretime,
        Spec::new("hpexpiretime", Group::Hash, AtLeast(5)).reads().fast().key(1).since("7.4.0"),
    ),
    Command::data(
        deadline::httl,
        Spec::new("httl", Group::Hash, AtLeast(5)).reads().fast().key(1).since("7.4.0"),
    ),
    Command::data(
        deadline::hpttl,
        Spec::new("hpttl", Group::Hash, AtLeast(5)).reads().fast().key(1).since("7.4.0"),
    ),
    Command::data(
        deadline::hpersist,
        Spec::new("hpersist", Group::Hash, AtLeast(5))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().update())
            .since("7.4.0"),
    ),
    Command::data(
        deadline::hgetdel,
        Spec::new("hgetdel", Group::Hash, AtLeast(5))
            .rewritten()
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .since("8.0.0"),
    ),
    Command::data(
        deadline::hgetex,
        Spec::new("hgetex", Group::Hash, AtLeast(5))
            .rewritten()
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("8.0.0"),
    ),
    Command::data(
        deadline::hsetex,
        Spec::new("hsetex", Group::Hash, AtLeast(6))
            .rewritten()
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().update())
            .since("8.0.0"),
    ),
    Command::data(
        hdel,
        Spec::new("hdel", Group::Hash, AtLeast(3))
            .member(2)
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("2.0.0"),
    ),
    Command::data(
        hexists,
        Spec::new("hexists", Group::Hash, Exactly(3))
            .member(2)
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("2.0.0"),
    ),
    Command::data(
        hget,
        Spec::new("hget", Group::Hash, Exactly(3)).member(2).reads().fast().key(1).since("2.0.0"),
    ),
    Command::data(
        hgetall,
        Spec::new("hgetall", Group::Hash, Exactly(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output_order")
            .since("2.0.0"),
    ),
    Command::data(
        hincrby,
        Spec::new("hincrby", Group::Hash, Exactly(4))
            .member(2)
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("2.0.0"),
    ),
    Command::data(
        hincrbyfloat,
        Spec::new("hincrbyfloat", Group::Hash, Exactly(4))
            .member(2)
            .writes()
            .denyoom()
            .fast()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("2.6.0"),
    ),
    Command::data(
        hkeys,
        Spec::new("hkeys", Group::Hash, Exactly(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output_order")
            .since("2.0.0"),
    ),
    Command::data(
        hlen,
        Spec::new("hlen", Group::Hash, Exactly(2))
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("2.0.0"),
    ),
    Command::data(
        hmget,
        Spec::new("hmget", Group::Hash, AtLeast(3)).member(2).reads().fast().key(1).since("2.0.0"),
    ),
    Command::data(
        hmset,
        Spec::new("hmset", Group::Hash, AtLeast(4))
            .member(2)
            .writes()
            .denyoom()
            .fast()
            .key(1)
            .since("2.0.0")
            .deprecated("4.0.0"),
    ),
    Command::data(
        hrandfield,
        Spec::new("hrandfield", Group::Hash, AtLeast(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("6.2.0"),
    ),
    Command::data(
        hscan,
        Spec::new("hscan", Group::Hash, AtLeast(3))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("2.8.0"),
    ),
    Command::data(
        hset,
        Spec::new("hset", Group::Hash, AtLeast(4))
            .member(2)
            .writes()
            .denyoom()
            .fast()
            .key(1)
            .since("2.0.0"),
    ),
    Command::data(
        hsetnx,
        Spec::new("hsetnx", Group::Hash, Exactly(4))
            .member(2)
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().insert())
            .since("2.0.0"),
    ),
    Command::data(
        hstrlen,
        Spec::new("hstrlen", Group::Hash, Exactly(3))
            .member(2)
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("3.2.0"),
    ),
    Command::data(
        hvals,
        Spec::new("hvals", Group::Hash, Exactly(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output_order")
            .since("2.0.0"),
    ),
];

/// HSET key field value [field value ...]
fn hset(cx: &mut Ctx) -> CmdResult {
    let created = set_fields(cx)?;
    Ok(cx.reply.count(created))
}

/// HMSET key field value [field value ...]
fn hmset(cx: &mut Ctx) -> CmdResult {
    set_fields(cx)?;
    Ok(cx.reply.ok())
}

/// Sets the fields of the request; says how many are new.
fn set_fields(cx: &mut Ctx) -> Result<usize, CmdError> {
    let key = cx.args.bytes()?;
    if !cx.args.left().is_multiple_of(2) {
        return Err(CmdError::Arity(cx.name().to_owned()));
    }
    let pairs = cx.args.left() / 2;
    let longest = cx.args.remaining().map(<[u8]>::len).max().unwrap_or(0);
    let limits = &cx.db.env().limits;
    let mut hash = cx.db.open_or_create::<Hash>(key)?;
    hash.expect(pairs, longest, limits);
    let mut created = 0;
    while !cx.args.is_done() {
        created += usize::from(hash.set(cx.args.bytes()?, cx.args.bytes()?, limits));
    }
    hash.commit(Event::hash("hset"), pairs);
    Ok(created)
}

/// HSETNX key field value
fn hsetnx(cx: &mut Ctx) -> CmdResult {
    let (key, field, value) = (cx.args.bytes()?, cx.args.bytes()?, cx.args.bytes()?);
    let limits = &cx.db.env().limits;
    let mut hash = cx.db.open_or_create::<Hash>(key)?;
    if hash.contains(field) {
        return Ok(cx.reply.int(0));
    }
    hash.set(field, value, limits);
    hash.commit(Event::hash("hset"), 1);
    Ok(cx.reply.int(1))
}

/// HDEL key field [field ...]
fn hdel(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let fields = cx.args.remaining();
    let Some(mut hash) = cx.db.open::<Hash>(key)? else { return Ok(cx.reply.int(0)) };
    let removed = fields.filter(|field| hash.remove(field)).count();
    hash.commit(Event::hash("hdel"), removed);
    Ok(cx.reply.count(removed))
}

/// HGET key field
fn hget(cx: &mut Ctx) -> CmdResult {
    let (key, field) = (cx.args.bytes()?, cx.args.bytes()?);
    let found = cx.db.read::<Hash>(key)?.and_then(|hash| hash.get(field));
    Ok(answer::item_or_null(cx.reply, found))
}

/// HMGET key field [field ...]
fn hmget(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let fields = cx.args.remaining();
    let hash = cx.db.read::<Hash>(key)?;
    cx.reply.array(fields.len());
    for field in fields {
        let _ = answer::item_or_null(cx.reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(cx.reply.done())
}

/// HLEN key
fn hlen(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let len = cx.db.read::<Hash>(key)?.map_or(0, Hash::len);
    Ok(cx.reply.count(len))
}

/// HSTRLEN key field
fn hstrlen(cx: &mut Ctx) -> CmdResult {
    let (key, field) = (cx.args.bytes()?, cx.args.bytes()?);
    let found = cx.db.read::<Hash>(key)?.and_then(|hash| hash.get(field));
    Ok(cx.reply.count(found.map_or(0, Item::text_len)))
}

/// HEXISTS key field
fn hexists(cx: &mut Ctx) -> CmdResult {
    let (key, field) = (cx.args.bytes()?, cx.args.bytes()?);
    let found = cx.db.read::<Hash>(key)?.is_some_and(|hash| hash.contains(field));
    Ok(cx.reply.flag(found))
}

/// HINCRBY key field increment
fn hincrby(cx: &mut Ctx) -> CmdResult {
    let (key, field) = (cx.args.bytes()?, cx.args.bytes()?);
    let increment = cx.args.i64()?;
    let limits = &cx.db.env().limits;
    let mut hash = cx.db.open_or_create::<Hash>(key)?;
    let old = match hash.get(field) {
        None => 0,
        Some(item) => item.as_i64().ok_or(CmdError::Const("ERR hash value is not an integer"))?,
    };
    let new = old.checked_add(increment).ok_or(CmdError::Overflow)?;
    hash.set_keeping_deadline(field, itoa::Buffer::new().format(new).as_bytes(), limits);
    hash.commit(Event::hash("hincrby"), 1);
    Ok(cx.reply.int(new))
}

/// HINCRBYFLOAT key field increment
fn hincrbyfloat(cx: &mut Ctx) -> CmdResult {
    let (key, field) = (cx.args.bytes()?, cx.args.bytes()?);
    let increment = LongDouble::parse(cx.args.bytes()?).ok_or(CmdError::NotFloat)?;
    if !increment.is_finite() {
        return Err(CmdError::Const("ERR value is NaN or Infinity"));
    }
    let limits = &cx.db.env().limits;
    let mut hash = cx.db.open_or_create::<Hash>(key)?;
    let mut sum = increment;
    if let Some(item) = hash.get(field) {
        let old = item.with_bytes(LongDouble::parse);
        sum.add(old.ok_or(CmdError::Const("ERR hash value is not a float"))?);
    }
    if !sum.is_finite() {
        return Err(CmdError::NanOrInfinity);
    }
    let mut text = Vec::new();
    sum.format(&mut text);
    hash.set_keeping_deadline(field, &text, limits);
    let deadline = hash.deadline(field);
    hash.commit(Event::hash("hincrbyfloat"), 1);
    // Arithmetic of another machine may differ in the last digit.
    cx.record.instead(&[b"HSET", key, field, &text]);
    if let Some(at) = deadline {
        deadline::tell_deadline(cx, key, at, &[field]);
    }
    Ok(cx.reply.bulk(&text))
}

/// HGETALL key
fn hgetall(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let hash = cx.db.read::<Hash>(key)?;
    cx.reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        let _ = answer::item(cx.reply, field);
        let _ = answer::item(cx.reply, value);
    }
    Ok(cx.reply.done())
}

/// HKEYS key
fn hkeys(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let hash = cx.db.read::<Hash>(key)?;
    cx.reply.array(hash.map_or(0, Hash::len));
    for (field, _) in hash.into_iter().flat_map(Hash::iter) {
        let _ = answer::item(cx.reply, field);
    }
    Ok(cx.reply.done())
}

/// HVALS key
fn hvals(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let hash = cx.db.read::<Hash>(key)?;
    cx.reply.array(hash.map_or(0, Hash::len));
    for (_, value) in hash.into_iter().flat_map(Hash::iter) {
        let _ = answer::item(cx.reply, value);
    }
    Ok(cx.reply.done())
}

/// HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]
fn hscan(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let cursor = scan_options::cursor(&mut cx.args)?;
    let mut page = Page::new(cx.reply);
    let Some(hash) = cx.db.read::<Hash>(key)? else { return Ok(page.finish(cx.reply, 0)) };
    let options = ScanOptions::parse(&mut cx.args, Walk::Fields)?;
    let next = hash.scan(cursor, options.count, &mut |field, value| {
        field.with_bytes(|field| {
            if options.wants(field) {
                page.push(field);
                if options.values {
                    value.with_bytes(|value| page.push(value));
                }
            }
        });
    });
    Ok(page.finish(cx.reply, next))
}

/// HRANDFIELD key [count [WITHVALUES]]
fn hrandfield(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    if cx.args.is_done() {
        let drawn = cx.db.read::<Hash>(key)?.and_then(Hash::random);
        return Ok(answer::item_or_null(cx.reply, drawn.map(|(field, _)| field)));
    }
    let count = cx.args.signed_count()?;
    let with_values = cx.args.take_keyword("withvalues");
    if !cx.args.is_done() {
        return Err(CmdError::Syntax);
    }
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CmdError::OutOfRange);
    }
    let env = cx.db.env();
    let Some(hash) = cx.db.read::<Hash>(key)? else { return Ok(cx.reply.empty_array()) };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let mut answer = Fields { reply: cx.reply, with_values };
    if count < 0 {
        draw::check_count(wanted, env)?;
        let start = answer.reply.len();
        answer.head(wanted);
        for pair in (0..wanted).map_while(|_| hash.random()) {
            answer.put(pair);
            draw::check_size(answer.reply, start, env)?;
        }
    } else if wanted >= hash.len() {
        answer.head(hash.len());
        hash.iter().for_each(|pair| answer.put(pair));
    } else {
        let field = |pair: &(Item<'_>, Item<'_>)| pair.0.to_vec();
        let pairs = draw::distinct(hash.len(), wanted, hash.iter(), || hash.random(), field);
        answer.head(pairs.len());
        pairs.into_iter().for_each(|pair| answer.put(pair));
    }
    Ok(cx.reply.done())
}

/// The answer of HRANDFIELD: pairs are arrays of their own in RESP3, flat in RESP2.
struct Fields<'a> {
    reply: &'a mut Reply,
    with_values: bool,
}

impl Fields<'_> {
    fn head(&mut self, fields: usize) {
        let flat = self.with_values && !self.reply.is_resp3();
        self.reply.array(if flat { fields * 2 } else { fields });
    }

    fn put(&mut self, (field, value): (Item<'_>, Item<'_>)) {
        if self.with_values && self.reply.is_resp3() {
            self.reply.array(2);
        }
        let _ = answer::item(self.reply, field);
        if self.with_values {
            let _ = answer::item(self.reply, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn a_count_whose_reply_can_only_be_too_large_draws_nothing() {
        let mut house = House::new();
        for line in ["hset h a 1", "sadd s a", "zadd z 1 a"] {
            house.run(line);
        }
        for line in ["hrandfield h", "srandmember s", "zrandmember z"] {
            let refused = "-ERR the reply exceeds maximum allowed size (proto-max-bulk-len)|";
            assert_eq!(house.run(&format!("{line} -4000000000000000000")), refused, "{line}");
        }
    }

    #[test]
    fn replies_are_those_of_redis() {
        for script in [
            "hset k a 1 b 2 a 3 => :2|; hgetall k => *4|$1|a|$1|3|$1|b|$1|2|; hget k z => $-1|; \
             hmget k a z => *2|$1|3|$-1|; hmget no a => *1|$-1|; hlen k => :2|; hstrlen k a => \
             :1|; hexists k b => :1|; hkeys k => *2|$1|a|$1|b|; hvals no => *0|; hsetnx k a 9 => \
             :0|; hsetnx k c 9 => :1|; hdel k a b c d => :3|; hlen k => :0|; hgetall k => *0|",
            "hset k a => -ERR wrong number of arguments for 'hset' command|; hset k a 1 b => \
             -ERR wrong number of arguments for 'hset' command|; hmset k a 1 b => -ERR wrong \
             number of arguments for 'hmset' command|; hmset k a 1 => +OK|",
            "hincrby k n 5 => :5|; hincrby k n -7 => :-2|; hincrby k n x => -ERR value is not an \
             integer or out of range|; hset k s text => :1|; hincrby k s 1 => -ERR hash value is \
             not an integer|; hset k n 9223372036854775807 => :0|; hincrby k n 1 => -ERR \
             increment or decrement would overflow|",
            "hincrbyfloat k f 10.50 => $4|10.5|; hincrbyfloat k f 0.1 => $4|10.6|; hincrbyfloat k f \
             x => -ERR value is not a valid float|; hincrbyfloat k f inf => -ERR value is NaN or \
             Infinity|; hset k s text => :1|; hincrbyfloat k s 1 => -ERR hash value is not a \
             float|",
            "hset k a 1 => :1|; hrandfield k => $1|a|; hrandfield k 5 withvalues => \
             *2|$1|a|$1|1|; hrandfield k -2 => *2|$1|a|$1|a|; hrandfield no => $-1|; hrandfield \
             no 1 => *0|; hrandfield k 1 with => -ERR syntax error|; hrandfield k \
             -9223372036854775807 withvalues => -ERR value is out of range|; hrandfield k 0 => *0|",
            "hset k a 1 b 2 => :2|; hscan k 0 match a => *2|$1|0|*2|$1|a|$1|1|; hscan k 0 \
             novalues => *2|$1|0|*2|$1|a|$1|b|; hscan no 0 bad => *2|$1|0|*0|; hscan k 0 count x \
             => -ERR value is not an integer or out of range|; hscan k 0 count 0 => -ERR syntax \
             error|",
        ] {
            let mut house = House::new();
            for step in script.split("; ") {
                let (line, expected) = step.split_once("=>").unwrap();
                assert_eq!(house.run(line), expected.trim_start(), "{line}");
            }
        }
    }

    #[test]
    fn refusals_leave_no_key_behind() {
        let mut house = House::new();
        house.run("set text 1");
        for line in [
            "hset text a 1",
            "hsetnx text a 1",
            "hget text a",
            "hmget text a",
            "hdel text a",
            "hincrby text a 1",
            "hincrbyfloat text a 1",
            "hgetall text",
            "hscan text 0 bad",
            "hrandfield text 1",
            "hstrlen text a",
        ] {
            assert!(house.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        house.log();
        house.run("hincrby k f x");
        house.run("hincrbyfloat k f inf");
        house.run("hset k a 1 b");
        assert_eq!(house.run("hlen k"), ":0|");
        assert!(house.log().is_empty());
    }

    #[test]
    fn float_sums_are_logged_as_results() {
        let mut house = House::new();
        house.run("hincrbyfloat k f 1.5");
        house.run("hincrby k n 1");
        assert_eq!(house.log(), ["SELECT 0", "HSET k f 1.5", "hincrby k n 1"]);
    }

    #[test]
    fn hashes_of_any_size_are_scanned_and_drawn_whole() {
        let mut house = House::new();
        for number in 0..1000 {
            house.run(&format!("hset k f{number} {number}"));
        }
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::HashSet::new());
        loop {
            let page = house.run(&format!("hscan k {cursor} count 50 novalues"));
            let words: Vec<&str> = page.split('|').collect();
            cursor = words[2].to_owned();
            seen.extend(words.iter().filter(|word| word.starts_with('f')).map(|w| w.to_string()));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 1000);
        for count in [1, 10, 400, 999, 2000] {
            let drawn = house.run(&format!("hrandfield k {count}"));
            let fields: std::collections::HashSet<&str> =
                drawn.split('|').filter(|word| word.starts_with('f')).collect();
            assert_eq!(fields.len(), count.min(1000));
        }
    }
}
