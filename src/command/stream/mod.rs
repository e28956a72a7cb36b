//! Streams: entries that stay where they were appended, and groups of consumers that read them.

mod add;
mod claim;
mod group;
mod info;
mod read;

use crate::command::answer;
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;
use crate::value::Stream;
use crate::value::stream::{Entry, StreamId};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        group::xack,
        Spec::new("xack", Group::Stream, AtLeast(4)).writes().fast().key(1).since("5.0.0"),
    ),
    Command::data(
        add::xadd,
        Spec::new("xadd", Group::Stream, AtLeast(5))
            .writes()
            .rewritten()
            .denyoom()
            .fast()
            .key(1)
            .tip("nondeterministic_output")
            .since("5.0.0"),
    ),
    Command::data(
        claim::xautoclaim,
        Spec::new("xautoclaim", Group::Stream, AtLeast(6))
            .writes()
            .rewritten()
            .fast()
            .key_spec(KeySpec::at(1).rw().delete())
            .tip("nondeterministic_output")
            .since("6.2.0"),
    ),
    Command::data(
        claim::xclaim,
        Spec::new("xclaim", Group::Stream, AtLeast(6))
            .writes()
            .rewritten()
            .fast()
            .key(1)
            .tip("nondeterministic_output")
            .since("5.0.0"),
    ),
    Command::data(
        xdel,
        Spec::new("xdel", Group::Stream, AtLeast(3))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("5.0.0"),
    ),
    Command::container(Spec::new("xgroup", Group::Stream, AtLeast(2)).container().since("5.0.0")),
    Command::data(
        group::create,
        Spec::new("xgroup|create", Group::Stream, AtLeast(5))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(2).rw().insert())
            .since("5.0.0"),
    ),
    Command::data(
        group::create_consumer,
        Spec::new("xgroup|createconsumer", Group::Stream, Exactly(5))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(2).rw().insert())
            .since("6.2.0"),
    ),
    Command::data(
        group::delete_consumer,
        Spec::new("xgroup|delconsumer", Group::Stream, Exactly(5))
            .writes()
            .key_spec(KeySpec::at(2).rw().delete())
            .since("5.0.0"),
    ),
    Command::data(
        group::destroy,
        Spec::new("xgroup|destroy", Group::Stream, Exactly(4))
            .writes()
            .key_spec(KeySpec::at(2).rw().delete())
            .since("5.0.0"),
    ),
    Command::data(
        group::show_help,
        Spec::new("xgroup|help", Group::Stream, Exactly(2)).loading().stale().since("5.0.0"),
    ),
    Command::data(
        group::set_id,
        Spec::new("xgroup|setid", Group::Stream, AtLeast(5)).writes().key(2).since("5.0.0"),
    ),
    Command::container(Spec::new("xinfo", Group::Stream, AtLeast(2)).container().since("5.0.0")),
    Command::data(
        info::consumers,
        Spec::new("xinfo|consumers", Group::Stream, Exactly(4))
            .reads()
            .key(2)
            .tip("nondeterministic_output")
            .since("5.0.0"),
    ),
    Command::data(
        info::groups,
        Spec::new("xinfo|groups", Group::Stream, Exactly(3)).reads().key(2).since("5.0.0"),
    ),
    Command::data(
        info::show_help,
        Spec::new("xinfo|help", Group::Stream, Exactly(2)).loading().stale().since("5.0.0"),
    ),
    Command::data(
        info::stream,
        Spec::new("xinfo|stream", Group::Stream, AtLeast(3)).reads().key(2).since("5.0.0"),
    ),
    Command::data(
        xlen,
        Spec::new("xlen", Group::Stream, Exactly(2))
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("5.0.0"),
    ),
    Command::data(
        group::xpending,
        Spec::new("xpending", Group::Stream, AtLeast(3))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("5.0.0"),
    ),
    Command::data(
        xrange,
        Spec::new("xrange", Group::Stream, AtLeast(4)).reads().key(1).since("5.0.0"),
    ),
    Command::data(
        read::xread,
        Spec::new("xread", Group::Stream, AtLeast(4))
            .reads()
            .blocking()
            .key_spec(KeySpec::after_range("STREAMS", 1, -1, 2).ro().access())
            .since("5.0.0"),
    ),
    Command::data(
        read::xreadgroup,
        Spec::new("xreadgroup", Group::Stream, AtLeast(7))
            .writes()
            .rewritten()
            .blocking()
            .key_spec(KeySpec::after_range("STREAMS", 4, -1, 2).ro().access())
            .since("5.0.0"),
    ),
    Command::data(
        xrevrange,
        Spec::new("xrevrange", Group::Stream, AtLeast(4)).reads().key(1).since("5.0.0"),
    ),
    Command::data(
        xsetid,
        Spec::new("xsetid", Group::Stream, AtLeast(3))
            .writes()
            .denyoom()
            .fast()
            .key(1)
            .since("5.0.0"),
    ),
    Command::data(
        add::xtrim,
        Spec::new("xtrim", Group::Stream, AtLeast(4))
            .writes()
            .rewritten()
            .key_spec(KeySpec::at(1).rw().delete())
            .tip("nondeterministic_output")
            .since("5.0.0"),
    ),
];

const INVALID_ID: CmdError =
    CmdError::Const("ERR Invalid stream ID specified as stream command argument");

/// An id of which the sequence may be missing, and is 0 then.
fn exact_id(word: &[u8]) -> Result<StreamId, CmdError> {
    StreamId::parse(word, 0).ok_or(INVALID_ID)
}

/// The bound of a range, and whether it is itself outside.
fn bound(word: &[u8], missing_seq: u64) -> Result<(StreamId, bool), CmdError> {
    match word {
        [b'(', rest @ ..] if !rest.is_empty() => {
            Ok((StreamId::parse(rest, missing_seq).ok_or(INVALID_ID)?, true))
        }
        word => Ok((StreamId::parse_bound(word, missing_seq).ok_or(INVALID_ID)?, false)),
    }
}

/// The first id of a range.
fn range_start(word: &[u8]) -> Result<StreamId, CmdError> {
    let (id, outside) = bound(word, 0)?;
    let first = if outside { id.next() } else { Some(id) };
    first.ok_or(CmdError::Const("ERR invalid start ID for the interval"))
}

/// The first and the last id of a range.
fn bounds(start: &[u8], end: &[u8]) -> Result<(StreamId, StreamId), CmdError> {
    let start = range_start(start)?;
    let (id, outside) = bound(end, u64::MAX)?;
    let last = if outside { id.prev() } else { Some(id) };
    Ok((start, last.ok_or(CmdError::Const("ERR invalid end ID for the interval"))?))
}

/// An entry: its id, and its fields with their values.
fn entry(reply: &mut Reply, entry: &Entry<'_>) {
    reply.array(2);
    let _ = reply.bulk(&entry.id.text());
    reply.array(2 * entry.fields);
    for (name, value) in entry.pairs() {
        let _ = answer::item(reply, name);
        let _ = answer::item(reply, value);
    }
}

/// XLEN key
fn xlen(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let len = cx.db.read::<Stream>(key)?.map_or(0, |stream| stream.log.len());
    Ok(cx.reply.int(len as i64))
}

/// XRANGE key start end [COUNT count]
fn xrange(cx: &mut Ctx) -> CmdResult {
    let (key, start, end) = (cx.args.bytes()?, cx.args.bytes()?, cx.args.bytes()?);
    range(cx, key, bounds(start, end)?, false)
}

/// XREVRANGE key end start [COUNT count]
fn xrevrange(cx: &mut Ctx) -> CmdResult {
    let (key, end, start) = (cx.args.bytes()?, cx.args.bytes()?, cx.args.bytes()?);
    range(cx, key, bounds(start, end)?, true)
}

fn range(cx: &mut Ctx, key: &[u8], (from, to): (StreamId, StreamId), back: bool) -> CmdResult {
    let mut count = None;
    while !cx.args.is_done() {
        if cx.args.left() < 2 || !cx.args.take_keyword("count") {
            return Err(CmdError::Syntax);
        }
        count = Some(usize::try_from(cx.args.i64()?).unwrap_or(0));
    }
    let Some(stream) = cx.db.read::<Stream>(key)? else { return Ok(cx.reply.empty_array()) };
    if count == Some(0) {
        return Ok(cx.reply.null_array());
    }
    let count = count.unwrap_or(usize::MAX);
    let list = cx.reply.open();
    let mut given = 0;
    let mut give = |found: Entry<'_>| {
        entry(cx.reply, &found);
        given += 1;
    };
    match back {
        false => stream.log.range(from, to).take(count).for_each(&mut give),
        true => stream.log.range_back(from, to).take(count).for_each(&mut give),
    }
    Ok(cx.reply.close_array(list, given))
}

/// XDEL key id [id ...]
fn xdel(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Ok(cx.reply.int(0)) };
    let ids = cx.args.remaining().map(exact_id).collect::<Result<Vec<_>, _>>()?;
    let deleted = ids.into_iter().filter(|id| stream.log.delete(*id)).count();
    stream.commit(Event::stream("xdel"), deleted);
    Ok(cx.reply.count(deleted))
}

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
fn xsetid(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let id = exact_id(cx.args.bytes()?)?;
    let (mut added, mut deleted) = (None, None);
    while !cx.args.is_done() {
        if cx.args.left() >= 2 && cx.args.take_keyword("entriesadded") {
            added = Some(cx.args.i64()?);
            if added < Some(0) {
                return Err(CmdError::err("entries_added must be positive"));
            }
        } else if cx.args.left() >= 2 && cx.args.take_keyword("maxdeletedid") {
            let greatest = exact_id(cx.args.bytes()?)?;
            if id < greatest {
                return Err(smaller("the provided max_deleted_entry_id"));
            }
            deleted = Some(greatest).filter(|id| *id != StreamId::MIN);
        } else {
            return Err(CmdError::Syntax);
        }
    }
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Err(CmdError::NoSuchKey) };
    if id < stream.log.max_deleted_id() {
        return Err(smaller("current max_deleted_entry_id"));
    }
    if stream.log.last_entry_id().is_some_and(|last| id < last) {
        return Err(smaller("the target stream top item"));
    }
    let len = stream.log.len();
    if len > 0 && added.is_some_and(|added| (added as u64) < len) {
        return Err(CmdError::err(
            "The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    stream.log.set_ids(id, added, deleted);
    stream.commit_apart(Some(Event::stream("xsetid")), 1);
    Ok(cx.reply.ok())
}

fn smaller(than: &str) -> CmdError {
    CmdError::err(format_args!("The ID specified in XSETID is smaller than {than}"))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    fn play(script: &str) {
        let mut house = House::new();
        for step in script.split("; ") {
            let (line, expected) = step.split_once("=>").unwrap();
            assert_eq!(house.run(line), expected.trim(), "{line}");
        }
    }

    #[test]
    fn replies_are_those_of_redis() {
        for script in [
            "xadd s 1-1 a 1 => $3|1-1|; xadd s 1-* b 2 => $3|1-2|; xadd s 5 c 3 => $3|5-0|; \
             xadd s * d 4 => $9|1000000-0|; xadd s 1-1 a 1 => -ERR The ID specified in XADD is \
             equal or smaller than the target stream top item|; xlen s => :4|; xrange s - + count \
             1 => *1|*2|$3|1-1|*2|$1|a|$1|1|; xrange s (1-1 1 => *1|*2|$3|1-2|*2|$1|b|$1|2|; \
             xrevrange s + - count 1 => *1|*2|$9|1000000-0|*2|$1|d|$1|4|; xrange s - + count 0 => \
             *-1|; xdel s 1-1 9-9 => :1|; xtrim s maxlen 1 => :2|; type s => +stream|; object \
             encoding s => $6|stream|",
            "xadd s nomkstream * a 1 => $-1|; xadd s 0-0 a 1 => -ERR The ID specified in XADD \
             must be greater than 0-0|; xadd s 1-1 a => -ERR wrong number of arguments for 'xadd' \
             command|; xadd s x a 1 => -ERR Invalid stream ID specified as stream command \
             argument|; xadd s maxlen 5 limit 3 * a 1 => -ERR syntax error, LIMIT cannot be used \
             without the special ~ option|; exists s => :0|; xtrim s limit 5 => -ERR syntax \
             error, LIMIT cannot be used without specifying a trimming strategy|; xtrim s limit 0 \
             => -ERR syntax error, XTRIM must be called with a trimming strategy|; xtrim s maxlen \
             5 minid 5 => -ERR syntax error, MAXLEN and MINID options at the same time are not \
             compatible|",
            "xadd s 1-1 a 1 => $3|1-1|; xdel s 1-1 => :1|; exists s => :1|; xlen s => :0|; xsetid \
             s 0-1 => -ERR The ID specified in XSETID is smaller than current \
             max_deleted_entry_id|; xsetid s 7-7 entriesadded 9 => +OK|; xadd s * a 1 => \
             $9|1000000-0|; xread streams s 7-7 => *1|*2|$1|s|*1|*2|$9|1000000-0|*2|$1|a|$1|1|; \
             xread streams s + => *1|*2|$1|s|*1|*2|$9|1000000-0|*2|$1|a|$1|1|; xread streams s $ \
             => *-1|; xread block 1 streams => -ERR syntax error|; xread streams s t 0 => -ERR \
             Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be \
             specified.|",
        ] {
            play(script);
        }
    }

    #[test]
    fn groups_keep_account_of_what_was_delivered() {
        play(
            "xgroup create s g $ => -ERR The XGROUP subcommand requires the key to exist. Note \
             that for CREATE you may want to use the MKSTREAM option to create an empty stream \
             automatically.|; xgroup create s g $ mkstream => +OK|; xgroup create s g 0 => \
             -BUSYGROUP Consumer Group name already exists|; xadd s 1-1 a 1 => $3|1-1|; xadd s \
             2-2 b 2 => $3|2-2|; xreadgroup group g me count 1 streams s > => \
             *1|*2|$1|s|*1|*2|$3|1-1|*2|$1|a|$1|1|; xpending s g => \
             *4|:1|$3|1-1|$3|1-1|*1|*2|$2|me|$1|1|; xpending s g - + 9 => \
             *1|*4|$3|1-1|$2|me|:0|:1|; xinfo groups s => *1|*12|$4|name|$1|g|$9|consumers|:1|\
             $7|pending|:1|$17|last-delivered-id|$3|1-1|$12|entries-read|:1|$3|lag|:1|; xclaim s g \
             you 0 1-1 justid => *1|$3|1-1|; xreadgroup group g me streams s 0 => \
             *1|*2|$1|s|*0|; xdel s 1-1 => :1|; xreadgroup group g you streams s 0 => \
             *1|*2|$1|s|*1|*2|$3|1-1|*-1|; xautoclaim s g me 0 0 => *3|$3|0-0|*0|*1|$3|1-1|; xack \
             s g 1-1 => :0|; xgroup delconsumer s g me => :0|; xgroup destroy s g => :1|; \
             xreadgroup group g me streams s > => -NOGROUP No such key 's' or consumer group 'g' \
             in XREADGROUP with GROUP option|",
        );
    }

    #[test]
    fn the_journal_gets_what_can_be_replayed() {
        let mut house = House::new();
        house.run("config set stream-node-max-entries 2");
        house.log();
        let claim = |id: &str, name: &str, times: u8| {
            format!(
                "XCLAIM s g {name} 0 {id} TIME 1000000 RETRYCOUNT {times} FORCE JUSTID LASTID {id}"
            )
        };
        for (line, logged) in [
            ("xadd s 1-1 a 1", "SELECT 0;xadd s 1-1 a 1".to_owned()),
            ("xadd s * a 1", "XADD s 1000000-0 a 1".into()),
            ("xadd s maxlen ~ 1 limit 5 * a 1", "XADD s MAXLEN = 1 1000000-1 a 1".into()),
            ("xadd s 1000001-* a 1", "XADD s 1000001-0 a 1".into()),
            ("xtrim s maxlen ~ 1", String::new()),
            ("xgroup create s g 0", "xgroup create s g 0".into()),
            (
                "xreadgroup group g me count 1 streams s >",
                claim("1000000-1", "me", 1) + ";XGROUP SETID s g 1000000-1 ENTRIESREAD 3",
            ),
            ("xreadgroup group g me streams s 0", String::new()),
            (
                "xreadgroup group g you noack streams s >",
                "XGROUP CREATECONSUMER s g you;XGROUP SETID s g 1000001-0 ENTRIESREAD 4".into(),
            ),
            ("xreadgroup group g new streams s >", "XGROUP CREATECONSUMER s g new".into()),
            ("xack s g 5-5", String::new()),
            (
                "xautoclaim s g you 0 -",
                claim("1000000-1", "you", 3).replace("LASTID 1000000-1", "LASTID 1000001-0"),
            ),
            ("xack s g 1000000-1", "xack s g 1000000-1".into()),
        ] {
            house.run(line);
            let log = house.log().into_iter().filter(|line| line != "MULTI" && line != "EXEC");
            assert_eq!(log.collect::<Vec<_>>().join(";"), logged, "{line}");
        }
    }

    #[test]
    fn who_waits_for_entries_gets_them_all() {
        let mut house = House::new();
        let waiting: Vec<usize> = (0..4).map(|_| house.connect()).collect();
        house.run("xadd s 1-1 a 0");
        house.run("xgroup create s g $");
        for (client, line) in waiting.iter().zip([
            "xread block 0 streams s $",
            "xread block 0 streams none s 0 5-5",
            "xreadgroup group g me block 0 streams s >",
            "xreadgroup group g you block 0 streams s >",
        ]) {
            assert_eq!(house.run_as(*client, line), "", "{line}");
        }
        house.log();
        house.run("xadd s 2-2 a 1");
        let entry = "*1|*2|$1|s|*1|*2|$3|2-2|*2|$1|a|$1|1|";
        let mail: Vec<String> = waiting.iter().map(|client| house.mail(*client)).collect();
        assert_eq!(mail, [entry, "", entry, ""]);
        let names = ["xadd", "MULTI", "XCLAIM", "XGROUP", "EXEC"];
        let log = house.log();
        assert!(log.iter().zip(names).all(|(line, name)| line.starts_with(name)), "{log:?}");
        house.run("xgroup destroy s g");
        let gone =
            "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option|";
        assert_eq!(house.mail(waiting[3]), gone);
        house.run("xadd s 5-6 a 2");
        assert_eq!(house.mail(waiting[1]), "*1|*2|$1|s|*1|*2|$3|5-6|*2|$1|a|$1|2|");
    }

    #[test]
    fn consumers_learn_that_their_stream_is_gone() {
        for (line, error) in [
            ("del s", "-NOGROUP"),
            ("set s text", "-WRONGTYPE"),
            ("flushall", "-NOGROUP"),
            ("rename s t", "-NOGROUP"),
            ("swapdb 0 1", "-NOGROUP"),
        ] {
            let mut house = House::new();
            let (consumer, reader) = (house.connect(), house.connect());
            house.run("xgroup create s g $ mkstream");
            house.run_as(consumer, "xreadgroup group g me block 0 streams s >");
            house.run_as(reader, "xread block 0 streams s 0");
            house.run(line);
            assert!(house.mail(consumer).starts_with(error), "{line}");
            assert_eq!(house.mail(reader), "", "{line}");
        }
    }
}
