//! Streams: XREAD and XREADGROUP, which answer what is new or wait for it.

use std::ops::Range;

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::command::stream::group::{no_group_in, record_claim, record_consumer, record_position};
use crate::command::stream::{entry, exact_id};
use crate::engine::context::{Block, Ctx, TimeoutReply};
use crate::keyspace::entry::Held;
use crate::keyspace::event::Event;
use crate::resp::args::OwnedArgs;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Opened, Replied, Reply};
use crate::value::stream::group::millis;
use crate::value::stream::{Body, ConsumerId, Group, Log, Pending, StreamId};
use crate::value::{Stream, Variant};

/// The request.
#[derive(Default)]
struct Request<'a> {
    /// Group and consumer.
    reader: Option<(&'a [u8], &'a [u8])>,
    noack: bool,
    /// Entries of each stream at most.
    count: Option<usize>,
    /// When to give up waiting; the outer `None` for not waiting.
    block: Option<Option<UnixMs>>,
    /// Where the keys stand among the words; the ids follow.
    keys: Range<usize>,
}

/// A timeout in milliseconds.
fn deadline(word: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CmdError> {
    let timeout =
        parse_i64(word).ok_or(CmdError::Const("ERR timeout is not an integer or out of range"))?;
    match u64::try_from(timeout) {
        Err(_) => Err(CmdError::TimeoutNegative),
        Ok(0) => Ok(None),
        Ok(ms) if ms > i64::MAX as u64 - now.0 => Err(CmdError::TimeoutRange),
        Ok(ms) => Ok(Some(UnixMs(now.0 + ms))),
    }
}

impl<'a> Request<'a> {
    fn parse(cx: &mut Ctx<'a>) -> Result<Request<'a>, CmdError> {
        let grouped = cx.name() == "xreadgroup";
        let only_grouped = |option: &str| {
            let text = format_args!(
                "The {option} option is only supported by XREADGROUP. You called XREAD instead."
            );
            if grouped { Ok(()) } else { Err(CmdError::err(text)) }
        };
        let mut request = Request::default();
        while !cx.args.is_done() && request.keys.is_empty() {
            let option = cx.args.option()?;
            let more = cx.args.left();
            match option.as_str() {
                "block" if more > 0 && cx.scripted => {
                    return Err(CmdError::err(format_args!(
                        "{} command is not allowed with BLOCK option from scripts",
                        cx.name()
                    )));
                }
                "block" if more > 0 => request.block = Some(deadline(cx.args.bytes()?, cx.now)?),
                "count" if more > 0 => {
                    let count = usize::try_from(cx.args.i64()?).unwrap_or(0);
                    request.count = (count > 0).then_some(count);
                }
                "streams" if more > 0 => {
                    if !more.is_multiple_of(2) {
                        return Err(unbalanced(cx.name(), grouped));
                    }
                    let first = cx.args.position();
                    request.keys = first..first + more / 2;
                }
                "group" if more >= 2 => {
                    only_grouped("GROUP")?;
                    request.reader = Some((cx.args.bytes()?, cx.args.bytes()?));
                }
                "noack" => {
                    only_grouped("NOACK")?;
                    request.noack = true;
                }
                _ => return Err(CmdError::Syntax),
            }
        }
        if request.keys.is_empty() {
            return Err(CmdError::Syntax);
        }
        if grouped && request.reader.is_none() {
            return Err(CmdError::err("Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    fn count(&self) -> usize {
        self.count.unwrap_or(usize::MAX)
    }

    /// Waits, or says that there is nothing.
    fn wait(&self, cx: &mut Ctx, request: Option<OwnedArgs>) -> CmdResult {
        let Some(until) = self.block else { return Ok(cx.reply.null_array()) };
        Ok(cx.block(Block {
            keys: self.keys.clone().collect(),
            until,
            timeout: TimeoutReply::NullArray,
            on_deletion: self.reader.is_some(),
            request,
        }))
    }
}

fn unbalanced(name: &str, grouped: bool) -> CmdError {
    let symbol = if grouped { '>' } else { '$' };
    CmdError::err(format_args!(
        "Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be \
         specified."
    ))
}

/// The answer so far: a map of streams and entries, or pairs of them in RESP2.
struct Answer {
    opened: Opened,
    streams: usize,
}

impl Answer {
    fn stream(&mut self, reply: &mut Reply, key: &[u8]) {
        self.streams += 1;
        if !reply.is_resp3() {
            reply.array(2);
        }
        let _ = reply.bulk(key);
    }

    fn close(self, reply: &mut Reply) -> Replied {
        match reply.is_resp3() {
            true => reply.close_map(self.opened, self.streams),
            false => reply.close_array(self.opened, self.streams),
        }
    }
}

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]
pub(super) fn xread(cx: &mut Ctx) -> CmdResult {
    let request = Request::parse(cx)?;
    let streams = request.keys.len();
    let mut after = Vec::with_capacity(streams);
    let mut now_words = Vec::new();
    for at in request.keys.clone() {
        let stream = cx.db.read::<Stream>(cx.args.word(at))?;
        let last_id = stream.map_or(StreamId::MIN, |stream| stream.log.last_id());
        after.push(match cx.args.word(at + streams) {
            b"$" => {
                now_words.push((at + streams, last_id.text()));
                last_id
            }
            b"+" => {
                let last = stream.and_then(|stream| stream.log.last_entry_id());
                last.and_then(StreamId::prev).unwrap_or(last_id)
            }
            b">" => {
                return Err(CmdError::err(
                    "The > ID can be specified only when calling XREADGROUP using the GROUP \
                     <group> <consumer> option.",
                ));
            }
            word => exact_id(word)?,
        });
    }
    let mut answer = Answer { opened: cx.reply.open(), streams: 0 };
    for (at, after) in request.keys.clone().zip(after) {
        let key = cx.args.word(at);
        let Some(from) = after.next() else { continue };
        let found = match cx.db.peek_entry(key).map(|entry| entry.held()) {
            Some(Held::Value(value)) => Stream::of(value),
            _ => None,
        };
        let Some(stream) = found else { continue };
        if stream.log.last_entry_id().is_none_or(|last| last < from) {
            continue;
        }
        answer.stream(cx.reply, key);
        let list = cx.reply.open();
        let entries = stream.log.range(from, StreamId::MAX).take(request.count());
        let given = entries.map(|found| entry(cx.reply, &found)).count();
        let _ = cx.reply.close_array(list, given);
    }
    if answer.streams > 0 {
        return Ok(answer.close(cx.reply));
    }
    let words = cx.args.words().enumerate().map(|(index, word)| {
        let replaced = now_words.iter().find(|(at, _)| *at == index);
        replaced.map_or(word, |(_, text)| text)
    });
    let again = (!now_words.is_empty()).then(|| OwnedArgs::new(words));
    request.wait(cx, again)
}

/// Where a consumer reads on.
#[derive(Clone, Copy)]
enum From {
    /// `>`: what nobody of the group has got.
    New,
    /// What is pending with it, behind that id.
    Pending(StreamId),
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key
/// [key ...] id [id ...]
pub(super) fn xreadgroup(cx: &mut Ctx) -> CmdResult {
    let request = Request::parse(cx)?;
    cx.record.nothing();
    let Some((group, _)) = request.reader else { return Err(CmdError::Syntax) };
    let streams = request.keys.len();
    let mut from = Vec::with_capacity(streams);
    for at in request.keys.clone() {
        let key = cx.args.word(at);
        let stream = cx.db.read::<Stream>(key)?;
        if stream.is_none_or(|stream| !stream.groups.contains_key(group)) {
            return Err(no_group_in(key, group, " in XREADGROUP with GROUP option"));
        }
        from.push(match cx.args.word(at + streams) {
            b"$" => return Err(meaningless('$')),
            b"+" => return Err(meaningless('+')),
            b">" => From::New,
            word => match exact_id(word)? {
                StreamId::MAX => From::New,
                id => From::Pending(id),
            },
        });
    }
    let mut answer = Answer { opened: cx.reply.open(), streams: 0 };
    for (at, from) in request.keys.clone().zip(from) {
        read_as_consumer(cx, &request, cx.args.word(at), from, &mut answer)?;
    }
    if answer.streams > 0 {
        return Ok(answer.close(cx.reply));
    }
    request.wait(cx, None)
}

fn meaningless(symbol: char) -> CmdError {
    CmdError::err(format_args!(
        "The {symbol} ID is meaningless in the context of XREADGROUP: you want to read the \
         history of this consumer by specifying a proper ID, or use the > ID to get new messages. \
         The {symbol} ID would just return an empty result set."
    ))
}

/// Gives one stream's entries, if there are any to give.
fn read_as_consumer(
    cx: &mut Ctx,
    request: &Request,
    key: &[u8],
    from: From,
    answer: &mut Answer,
) -> Result<(), CmdError> {
    let Some((group_name, name)) = request.reader else { return Ok(()) };
    let now = cx.now;
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Ok(()) };
    let Body { log, groups } = &mut **stream;
    let Some(group) = groups.get_mut(group_name) else { return Ok(()) };
    let created = group.add_consumer(name, now);
    let consumer = created.or_else(|| group.find(name)).expect("it is there, or was added");
    group.consumer_mut(consumer).seen_ms = millis(now);
    let mut delivered = Delivered::default();
    match from {
        From::Pending(after) => {
            answer.stream(cx.reply, key);
            give_pending(cx.reply, log, group, consumer, after, request, now);
        }
        From::New if log.last_entry_id().is_some_and(|last| last > group.last_id) => {
            answer.stream(cx.reply, key);
            let list = cx.reply.open();
            let start = group.last_id.next().unwrap_or(StreamId::MAX);
            for found in log.range(start, StreamId::MAX).take(request.count()) {
                group.advance(log, found.id);
                entry(cx.reply, &found);
                delivered.entries += 1;
                if request.noack {
                    continue;
                }
                let delivered_ms = millis(now);
                let pending = Pending { consumer, delivered_ms, deliveries: 1 };
                group.assign(found.id, pending);
                group.consumer_mut(consumer).active_ms = Some(delivered_ms);
                delivered.claimed = true;
                record_claim(cx.record, key, group_name, group, found.id, &pending);
            }
            let _ = cx.reply.close_array(list, delivered.entries);
        }
        From::New => {}
    }
    if created.is_some() && !delivered.claimed {
        record_consumer(cx.record, key, group_name, name);
    }
    if delivered.entries > 0 {
        record_position(cx.record, key, group_name, group);
    }
    let event = created.map(|_| Event::stream("xgroup-createconsumer"));
    let changes = usize::from(created.is_some()) + usize::from(delivered.entries > 0);
    stream.commit_apart(event, changes);
    Ok(())
}

/// What a consumer got that was new.
#[derive(Default)]
struct Delivered {
    entries: usize,
    claimed: bool,
}

/// Gives what is pending with a consumer; an entry that was deleted meanwhile without its fields.
fn give_pending(
    reply: &mut Reply,
    log: &Log,
    group: &mut Group,
    consumer: ConsumerId,
    after: StreamId,
    request: &Request,
    now: UnixMs,
) {
    let list = reply.open();
    let from = after.next().unwrap_or(StreamId::MIN);
    let pending = group.pending_between(Some(consumer), from, StreamId::MAX);
    let ids: Vec<StreamId> = pending.map(|(id, _)| id).take(request.count()).collect();
    for id in &ids {
        match log.get(*id) {
            Some(found) => {
                entry(reply, &found);
                group.redeliver(*id, now);
            }
            None => {
                reply.array(2);
                let _ = reply.bulk(&id.text());
                let _ = reply.null_array();
            }
        }
    }
    let _ = reply.close_array(list, ids.len());
}
