//! Streams: groups and consumers, what is pending with them, and how the journal learns of it.

use crate::base::text::shown_to_zero;
use crate::command::help::{help, miscounted};
use crate::command::stream::{INVALID_ID, bounds, exact_id};
use crate::engine::context::Ctx;
use crate::engine::record::Record;
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::Stream;
use crate::value::stream::group::millis;
use crate::value::stream::{Group, Pending, StreamId};

/// The refusal where key or group is missing.
pub(super) fn no_group_in(key: &[u8], group: &[u8], place: &str) -> CmdError {
    let (key, group) = (shown_to_zero(key), shown_to_zero(group));
    CmdError::Text(format!("NOGROUP No such key '{key}' or consumer group '{group}'{place}"))
}

/// The refusal where the key is there and the group is missing.
pub(super) fn no_group_for(key: &[u8], group: &[u8]) -> CmdError {
    let (key, group) = (shown_to_zero(key), shown_to_zero(group));
    CmdError::Text(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
}

/// Tells the journal that an entry is pending, in words that may be replayed any number of times.
pub(super) fn record_claim(
    record: &mut Record,
    key: &[u8],
    group_name: &[u8],
    group: &Group,
    id: StreamId,
    pending: &Pending,
) {
    if !record.is_enabled() {
        return;
    }
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    record.instead(&[
        b"XCLAIM",
        key,
        group_name,
        group.consumer(pending.consumer).name(),
        b"0",
        &id.text(),
        b"TIME",
        time.format(pending.delivered_ms).as_bytes(),
        b"RETRYCOUNT",
        count.format(pending.deliveries).as_bytes(),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &group.last_id.text(),
    ]);
}

/// Tells the journal how far a group has read.
pub(super) fn record_position(record: &mut Record, key: &[u8], group_name: &[u8], group: &Group) {
    let mut read = itoa::Buffer::new();
    let read = read.format(group.entries_read.unwrap_or(-1)).as_bytes();
    let id = group.last_id.text();
    record.instead(&[b"XGROUP", b"SETID", key, group_name, &id, b"ENTRIESREAD", read]);
}

/// Tells the journal of a consumer that nothing else names.
pub(super) fn record_consumer(record: &mut Record, key: &[u8], group_name: &[u8], name: &[u8]) {
    record.instead(&[b"XGROUP", b"CREATECONSUMER", key, group_name, name]);
}

const NO_KEY: CmdError = CmdError::Const(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to \
     use the MKSTREAM option to create an empty stream automatically.",
);

/// The options behind the id.
#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<i64>,
}

impl Options {
    fn parse(cx: &mut Ctx, may_make: bool) -> Result<Options, CmdError> {
        let mut options = Options::default();
        while !cx.args.is_done() {
            if may_make && cx.args.take_keyword("mkstream") {
                options.make_stream = true;
            } else if cx.args.left() >= 2 && cx.args.take_keyword("entriesread") {
                let read = cx.args.i64()?;
                if read < -1 {
                    return Err(CmdError::err("value for ENTRIESREAD must be positive or -1"));
                }
                options.entries_read = (read >= 0).then_some(read);
            } else {
                return Err(miscounted("XGROUP", cx.args.word(1)));
            }
        }
        Ok(options)
    }
}

/// The words behind the subcommand's name: key and group.
fn key_and_group<'a>(cx: &mut Ctx<'a>) -> Result<(&'a [u8], &'a [u8]), CmdError> {
    cx.args.bytes()?;
    Ok((cx.args.bytes()?, cx.args.bytes()?))
}

/// XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]
pub(super) fn create(cx: &mut Ctx) -> CmdResult {
    let (key, name) = key_and_group(cx)?;
    let word = cx.args.bytes()?;
    let options = Options::parse(cx, true)?;
    // Redis takes either option twice, but no more words than both have.
    if cx.args.count() > 8 {
        return Err(miscounted("XGROUP", cx.args.word(1)));
    }
    let last_id = cx.db.open::<Stream>(key)?.map(|stream| stream.log.last_id());
    if last_id.is_none() && !options.make_stream {
        return Err(NO_KEY);
    }
    let id = match word {
        b"$" => last_id.unwrap_or(StreamId::MIN),
        word => exact_id(word)?,
    };
    let mut stream = cx.db.open_or_create::<Stream>(key)?;
    if stream.groups.contains_key(name) {
        return Err(CmdError::Const("BUSYGROUP Consumer Group name already exists"));
    }
    stream.groups.insert(name.into(), Group::new(id, options.entries_read));
    let event = Event::stream("xgroup-create");
    match last_id {
        Some(_) => stream.commit_apart(Some(event), 1),
        None => stream.commit(event, 1),
    }
    Ok(cx.reply.ok())
}

/// XGROUP SETID key group id|$ [ENTRIESREAD entries-read]
pub(super) fn set_id(cx: &mut Ctx) -> CmdResult {
    let (key, name) = key_and_group(cx)?;
    let word = cx.args.bytes()?;
    let options = Options::parse(cx, false)?;
    if cx.args.count() > 7 {
        return Err(miscounted("XGROUP", cx.args.word(1)));
    }
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Err(NO_KEY) };
    if !stream.groups.contains_key(name) {
        return Err(no_group_for(key, name));
    }
    let id = match word {
        b"$" => stream.log.last_id(),
        word => StreamId::parse_bound(word, 0).ok_or(INVALID_ID)?,
    };
    if let Some(group) = stream.groups.get_mut(name) {
        group.last_id = id;
        group.entries_read = options.entries_read;
    }
    stream.commit_apart(Some(Event::stream("xgroup-setid")), 1);
    Ok(cx.reply.ok())
}

/// XGROUP DESTROY key group
pub(super) fn destroy(cx: &mut Ctx) -> CmdResult {
    let (key, name) = key_and_group(cx)?;
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Err(NO_KEY) };
    let found = stream.groups.remove(name).is_some();
    if found {
        // Who waits for entries as its consumer waits in vain.
        stream.wake();
    }
    stream.commit_apart(found.then_some(Event::stream("xgroup-destroy")), usize::from(found));
    Ok(cx.reply.flag(found))
}

/// XGROUP CREATECONSUMER key group consumer
pub(super) fn create_consumer(cx: &mut Ctx) -> CmdResult {
    let (key, group_name) = key_and_group(cx)?;
    let name = cx.args.bytes()?;
    let now = cx.now;
    let created = change_group(cx, key, group_name, "xgroup-createconsumer", |group| {
        group.add_consumer(name, now).map(|_| 0)
    })?;
    Ok(cx.reply.flag(created.is_some()))
}

/// XGROUP DELCONSUMER key group consumer
pub(super) fn delete_consumer(cx: &mut Ctx) -> CmdResult {
    let (key, group_name) = key_and_group(cx)?;
    let name = cx.args.bytes()?;
    let pending = change_group(cx, key, group_name, "xgroup-delconsumer", |group| {
        group.find(name).map(|id| group.remove_consumer(id))
    })?;
    Ok(cx.reply.count(pending.unwrap_or(0)))
}

/// Opens a group that must be there, and commits what `change` does to it if that is something.
fn change_group(
    cx: &mut Ctx,
    key: &[u8],
    name: &[u8],
    event: &'static str,
    change: impl FnOnce(&mut Group) -> Option<usize>,
) -> Result<Option<usize>, CmdError> {
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Err(NO_KEY) };
    if !stream.groups.contains_key(name) {
        return Err(no_group_for(key, name));
    }
    let changed = stream.groups.get_mut(name).and_then(change);
    let event = changed.map(|_| Event::stream(event));
    stream.commit_apart(event, usize::from(changed.is_some()));
    Ok(changed)
}

/// XGROUP HELP
pub(super) fn show_help(cx: &mut Ctx) -> CmdResult {
    let lines = [
        (
            "CREATE <key> <groupname> <id|$> [MKSTREAM] [ENTRIESREAD <entries-read>]",
            "Make a group that reads on from an id; MKSTREAM makes an absent stream too.",
        ),
        ("CREATECONSUMER <key> <groupname> <consumer>", "Make a consumer."),
        ("DELCONSUMER <key> <groupname> <consumer>", "Remove a consumer and what it has pending."),
        ("DESTROY <key> <groupname>", "Remove a group."),
        ("SETID <key> <groupname> <id|$> [ENTRIESREAD <entries-read>]", "Read on from an id."),
    ];
    Ok(help(cx.reply, "XGROUP", &lines))
}

/// XACK key group id [id ...]
pub(super) fn xack(cx: &mut Ctx) -> CmdResult {
    let (key, name) = (cx.args.bytes()?, cx.args.bytes()?);
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Ok(cx.reply.int(0)) };
    if !stream.groups.contains_key(name) {
        return Ok(cx.reply.int(0));
    }
    let ids = cx.args.remaining().map(exact_id).collect::<Result<Vec<_>, _>>()?;
    let acknowledged = match stream.groups.get_mut(name) {
        Some(group) => ids.into_iter().filter(|id| group.acknowledge(*id)).count(),
        None => 0,
    };
    stream.commit_apart(None, acknowledged);
    Ok(cx.reply.count(acknowledged))
}

/// Which pending entries XPENDING lists.
struct Listing<'a> {
    from: StreamId,
    to: StreamId,
    count: usize,
    idle_ms_min: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Listing<'a> {
    /// `[IDLE ms] start end count [consumer]`; `None` where no words are left.
    fn parse(cx: &mut Ctx<'a>) -> Result<Option<Listing<'a>>, CmdError> {
        let words = cx.args.count();
        if words == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&words) {
            return Err(CmdError::Syntax);
        }
        let mut idle_ms_min = 0;
        if cx.args.take_keyword("idle") {
            idle_ms_min = cx.args.i64()?;
            if words < 8 {
                return Err(CmdError::Syntax);
            }
        }
        let (start, end) = (cx.args.bytes()?, cx.args.bytes()?);
        let count = usize::try_from(cx.args.i64()?).unwrap_or(0);
        let (from, to) = bounds(start, end)?;
        let consumer = cx.args.peek();
        Ok(Some(Listing { from, to, count, idle_ms_min, consumer }))
    }
}

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
pub(super) fn xpending(cx: &mut Ctx) -> CmdResult {
    let (key, name) = (cx.args.bytes()?, cx.args.bytes()?);
    let listing = Listing::parse(cx)?;
    let now = millis(cx.now);
    let group = cx.db.read::<Stream>(key)?.and_then(|stream| stream.groups.get(name));
    let Some(group) = group else { return Err(no_group_in(key, name, "")) };
    let reply = &mut *cx.reply;
    let Some(listing) = listing else {
        reply.array(4);
        let _ = reply.count(group.pending().len());
        let ends = group.pending().first_key_value().zip(group.pending().last_key_value());
        let Some(((first, _), (last, _))) = ends else {
            let _ = reply.null();
            let _ = reply.null();
            return Ok(reply.null_array());
        };
        let _ = reply.bulk(&first.text());
        let _ = reply.bulk(&last.text());
        let list = reply.open();
        let owners = group.consumers().filter(|consumer| !consumer.pending().is_empty());
        let owners = owners.map(|consumer| {
            reply.array(2);
            let _ = reply.bulk(consumer.name());
            let _ = reply.bulk_int(consumer.pending().len() as i64);
        });
        let count = owners.count();
        return Ok(reply.close_array(list, count));
    };
    let consumer = listing.consumer.map(|name| group.find(name));
    if consumer == Some(None) {
        return Ok(reply.empty_array());
    }
    let list = reply.open();
    let idle = |pending: &Pending| now.saturating_sub(pending.delivered_ms);
    let shown = group
        .pending_between(consumer.flatten(), listing.from, listing.to)
        .filter(|(_, pending)| listing.idle_ms_min == 0 || idle(pending) >= listing.idle_ms_min)
        .take(listing.count);
    let count = shown.map(|(id, pending)| {
        reply.array(4);
        let _ = reply.bulk(&id.text());
        let _ = reply.bulk(group.consumer(pending.consumer).name());
        let _ = reply.int(idle(&pending).max(0));
        let _ = reply.int(pending.deliveries as i64);
    });
    let count = count.count();
    Ok(reply.close_array(list, count))
}
