//! Streams: XINFO.

use crate::command::help::{help, miscounted};
use crate::command::stream::entry;
use crate::command::stream::group::no_group_for;
use crate::engine::context::Ctx;
use crate::resp::args::{Args, is_word};
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::value::Stream;
use crate::value::stream::group::millis;
use crate::value::stream::{Consumer, Entry, Group, Log, StreamId};

/// Entries, and pending ones of each list, that FULL shows unless told otherwise.
const SHOWN_DEFAULT: usize = 10;

fn name(reply: &mut Reply, text: &str) {
    let _ = reply.bulk(text.as_bytes());
}

fn number(reply: &mut Reply, text: &str, value: i64) {
    name(reply, text);
    let _ = reply.int(value);
}

fn number_or_null(reply: &mut Reply, text: &str, value: Option<i64>) {
    name(reply, text);
    let _ = match value {
        Some(value) => reply.int(value),
        None => reply.null(),
    };
}

fn id(reply: &mut Reply, text: &str, value: StreamId) {
    name(reply, text);
    let _ = reply.bulk(&value.text());
}

fn entry_or_null(reply: &mut Reply, text: &str, found: Option<Entry<'_>>) {
    name(reply, text);
    match found {
        Some(found) => entry(reply, &found),
        None => drop(reply.null()),
    }
}

/// XINFO CONSUMERS key group
pub(super) fn consumers(cx: &mut Ctx) -> CmdResult {
    cx.args.bytes()?;
    let (key, group) = (cx.args.bytes()?, cx.args.bytes()?);
    let now = millis(cx.now);
    let stream = cx.db.read::<Stream>(key)?.ok_or(CmdError::NoSuchKey)?;
    let group = stream.groups.get(group).ok_or_else(|| no_group_for(key, group))?;
    let reply = &mut *cx.reply;
    reply.array(group.consumers().len());
    for consumer in group.consumers() {
        reply.map(4);
        name(reply, "name");
        let _ = reply.bulk(consumer.name());
        number(reply, "pending", consumer.pending().len() as i64);
        number(reply, "idle", now.saturating_sub(consumer.seen_ms).max(0));
        let inactive = consumer.active_ms.map_or(-1, |at| now.saturating_sub(at));
        number(reply, "inactive", inactive);
    }
    Ok(reply.done())
}

/// XINFO GROUPS key
pub(super) fn groups(cx: &mut Ctx) -> CmdResult {
    cx.args.bytes()?;
    let key = cx.args.bytes()?;
    let stream = cx.db.read::<Stream>(key)?.ok_or(CmdError::NoSuchKey)?;
    let reply = &mut *cx.reply;
    reply.array(stream.groups.len());
    for (group_name, group) in &stream.groups {
        reply.map(6);
        name(reply, "name");
        let _ = reply.bulk(group_name);
        number(reply, "consumers", group.consumers().len() as i64);
        number(reply, "pending", group.pending().len() as i64);
        id(reply, "last-delivered-id", group.last_id);
        number_or_null(reply, "entries-read", group.entries_read);
        number_or_null(reply, "lag", stream.log.lag(group));
    }
    Ok(reply.done())
}

/// XINFO STREAM key [FULL [COUNT count]]
pub(super) fn stream(cx: &mut Ctx) -> CmdResult {
    cx.args.bytes()?;
    let key = cx.args.bytes()?;
    let stream = cx.db.read::<Stream>(key)?.ok_or(CmdError::NoSuchKey)?;
    let full = match cx.args.left() {
        0 => None,
        1 | 3 if cx.args.take_keyword("full") => Some(shown(&mut cx.args)?),
        _ => return Err(miscounted("XINFO", cx.args.word(1))),
    };
    let log = &stream.log;
    let reply = &mut *cx.reply;
    reply.map(if full.is_some() { 9 } else { 10 });
    number(reply, "length", log.len() as i64);
    number(reply, "radix-tree-keys", log.nodes().len() as i64);
    number(reply, "radix-tree-nodes", tree_nodes(log));
    id(reply, "last-generated-id", log.last_id());
    id(reply, "max-deleted-entry-id", log.max_deleted_id());
    number(reply, "entries-added", log.entries_added());
    id(reply, "recorded-first-entry-id", log.first_id());
    let Some(count) = full else {
        number(reply, "groups", stream.groups.len() as i64);
        let ends = (StreamId::MIN, StreamId::MAX);
        entry_or_null(reply, "first-entry", log.range(ends.0, ends.1).next());
        entry_or_null(reply, "last-entry", log.range_back(ends.0, ends.1).next());
        return Ok(reply.done());
    };
    name(reply, "entries");
    let list = reply.open();
    let entries = log.range(StreamId::MIN, StreamId::MAX).take(count);
    let given = entries.map(|found| entry(reply, &found)).count();
    let _ = reply.close_array(list, given);
    name(reply, "groups");
    reply.array(stream.groups.len());
    for (group_name, group) in &stream.groups {
        full_group(reply, log, group_name, group, count);
    }
    Ok(reply.done())
}

/// `[COUNT count]`; 0 shows everything.
fn shown(args: &mut Args) -> Result<usize, CmdError> {
    if args.is_done() {
        return Ok(SHOWN_DEFAULT);
    }
    if !is_word(args.bytes()?, "count") {
        return Err(miscounted("XINFO", args.word(1)));
    }
    Ok(match args.i64()? {
        0 => usize::MAX,
        count => usize::try_from(count).unwrap_or(SHOWN_DEFAULT),
    })
}

fn full_group(reply: &mut Reply, log: &Log, group_name: &[u8], group: &Group, count: usize) {
    reply.map(7);
    name(reply, "name");
    let _ = reply.bulk(group_name);
    id(reply, "last-delivered-id", group.last_id);
    number_or_null(reply, "entries-read", group.entries_read);
    number_or_null(reply, "lag", log.lag(group));
    number(reply, "pel-count", group.pending().len() as i64);
    name(reply, "pending");
    reply.array(group.pending().len().min(count));
    for (id, pending) in group.pending().iter().take(count) {
        reply.array(4);
        let _ = reply.bulk(&id.text());
        let _ = reply.bulk(group.consumer(pending.consumer).name());
        let _ = reply.int(pending.delivered_ms);
        let _ = reply.int(pending.deliveries as i64);
    }
    name(reply, "consumers");
    reply.array(group.consumers().len());
    for consumer in group.consumers() {
        full_consumer(reply, group, consumer, count);
    }
}

fn full_consumer(reply: &mut Reply, group: &Group, consumer: &Consumer, count: usize) {
    reply.map(5);
    name(reply, "name");
    let _ = reply.bulk(consumer.name());
    number(reply, "seen-time", consumer.seen_ms);
    number(reply, "active-time", consumer.active_ms.unwrap_or(-1));
    number(reply, "pel-count", consumer.pending().len() as i64);
    name(reply, "pending");
    reply.array(consumer.pending().len().min(count));
    for id in consumer.pending().iter().take(count) {
        let pending = group.pending().get(id);
        reply.array(3);
        let _ = reply.bulk(&id.text());
        let _ = reply.int(pending.map_or(0, |pending| pending.delivered_ms));
        let _ = reply.int(pending.map_or(0, |pending| pending.deliveries as i64));
    }
}

/// Nodes that a radix tree of the listpacks' ids has, as Redis counts them: one a key and a fork,
/// and one for each stretch of bytes between them.
fn tree_nodes(log: &Log) -> i64 {
    const KEY_BYTES: usize = 16;
    let shared = |one: [u8; KEY_BYTES], other: [u8; KEY_BYTES]| {
        one.iter().zip(other).take_while(|(one, other)| **one == *other).count()
    };
    // The forks on the way to the last key, by their depths.
    let mut forks: Vec<usize> = Vec::new();
    let mut count = 0;
    let mut last: Option<[u8; KEY_BYTES]> = None;
    // What hangs below depth `above` and ends at depth `below`.
    let stretch =
        |above: Option<usize>, below: usize| i64::from(below > above.map_or(0, |above| above + 1));
    for (id, _) in log.nodes() {
        let key = id.to_bytes();
        if let Some(last) = last {
            let depth = shared(last, key);
            let mut below = KEY_BYTES;
            while let Some(fork) = forks.pop_if(|fork| *fork > depth) {
                count += 1 + stretch(Some(fork), below);
                below = fork;
            }
            count += stretch(Some(depth), below);
            if forks.last() != Some(&depth) {
                forks.push(depth);
            }
        }
        count += 1;
        last = Some(key);
    }
    let mut below = KEY_BYTES;
    while let Some(fork) = forks.pop() {
        count += 1 + stretch(Some(fork), below);
        below = fork;
    }
    match last {
        Some(_) => count + stretch(None, below),
        None => 1,
    }
}

/// XINFO HELP
pub(super) fn show_help(cx: &mut Ctx) -> CmdResult {
    let lines = [
        ("CONSUMERS <key> <groupname>", "Show a group's consumers."),
        ("GROUPS <key>", "Show a stream's groups."),
        ("STREAM <key> [FULL [COUNT <count>]]", "Show what is known of a stream."),
    ];
    Ok(help(cx.reply, "XINFO", &lines))
}
