//! Streams: pending entries that go to another consumer.

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::base::text::shown_to_zero;
use crate::command::stream::group::{no_group_in, record_claim, record_consumer, record_position};
use crate::command::stream::{entry, exact_id, range_start};
use crate::engine::context::Ctx;
use crate::engine::record::Record;
use crate::keyspace::event::Event;
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::value::Stream;
use crate::value::stream::group::millis;
use crate::value::stream::{Body, ConsumerId, Group, Log, Pending, StreamId};

/// Pending entries looked at for each that may be claimed.
const ATTEMPTS_A_CLAIM: usize = 10;
/// Entries that XAUTOCLAIM claims unless told otherwise.
const CLAIMED_DEFAULT: usize = 100;

/// The options behind the ids of XCLAIM.
struct Options {
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(cx: &mut Ctx) -> Result<Options, CmdError> {
        let now = millis(cx.now);
        let mut options = Options {
            delivered_ms: None,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: StreamId::MIN,
        };
        while !cx.args.is_done() {
            let option = cx.args.bytes()?;
            let more = !cx.args.is_done();
            let mut number = |name: &str| {
                let text = format_args!("Invalid {name} option argument for XCLAIM");
                parse_i64(cx.args.bytes()?).ok_or_else(|| CmdError::err(text))
            };
            if is_word(option, "force") {
                options.force = true;
            } else if is_word(option, "justid") {
                options.just_id = true;
            } else if is_word(option, "idle") && more {
                options.delivered_ms = Some(now.saturating_sub(number("IDLE")?));
            } else if is_word(option, "time") && more {
                options.delivered_ms = Some(number("TIME")?);
            } else if is_word(option, "retrycount") && more {
                options.deliveries = u64::try_from(number("RETRYCOUNT")?).ok();
            } else if is_word(option, "lastid") && more {
                options.last_id = exact_id(cx.args.bytes()?)?;
            } else {
                let option = shown_to_zero(option);
                let text = format_args!("Unrecognized XCLAIM option '{option}'");
                return Err(CmdError::err(text));
            }
        }
        // A client whose clock is ahead means now.
        options.delivered_ms = options.delivered_ms.filter(|at| (0..=now).contains(at));
        Ok(options)
    }
}

fn min_idle(word: &[u8], name: &str) -> Result<i64, CmdError> {
    let text = format_args!("Invalid min-idle-time argument for {name}");
    Ok(parse_i64(word).ok_or_else(|| CmdError::err(text))?.max(0))
}

/// Who claims, and what has come of it.
struct Claimer<'a> {
    key: &'a [u8],
    group_name: &'a [u8],
    name: &'a [u8],
    consumer: ConsumerId,
    created: bool,
    just_id: bool,
    /// Pending entries that changed or went.
    changes: usize,
    /// Whether a record names the consumer.
    named: bool,
    claimed: usize,
}

impl<'a> Claimer<'a> {
    fn new(now: UnixMs, words: [&'a [u8]; 3], group: &mut Group, just_id: bool) -> Claimer<'a> {
        let [key, group_name, name] = words;
        let added = group.add_consumer(name, now);
        let consumer = added.or_else(|| group.find(name)).expect("it is there, or was added");
        group.consumer_mut(consumer).seen_ms = millis(now);
        let created = added.is_some();
        Claimer {
            key,
            group_name,
            name,
            consumer,
            created,
            just_id,
            changes: 0,
            named: false,
            claimed: 0,
        }
    }

    /// An entry that is pending, but was deleted: it is pending no more.
    fn drop_dangling(
        &mut self,
        record: &mut Record,
        group: &mut Group,
        id: StreamId,
        pending: &Pending,
    ) {
        record_claim(record, self.key, self.group_name, group, id, pending);
        self.named |= pending.consumer == self.consumer;
        group.acknowledge(id);
        self.changes += 1;
    }

    fn claim(
        &mut self,
        (record, reply): (&mut Record, &mut Reply),
        (log, group): (&Log, &mut Group),
        now_ms: i64,
        id: StreamId,
        pending: Pending,
    ) {
        group.assign(id, pending);
        group.consumer_mut(self.consumer).active_ms = Some(now_ms);
        match log.get(id).filter(|_| !self.just_id) {
            Some(found) => entry(reply, &found),
            None => drop(reply.bulk(&id.text())),
        }
        record_claim(record, self.key, self.group_name, group, id, &pending);
        self.named = true;
        self.claimed += 1;
        self.changes += 1;
    }

    /// Tells of the consumer if nothing else did; the event and the changes to commit.
    fn finish(&self, record: &mut Record) -> (Option<Event>, usize) {
        if self.created && !self.named {
            record_consumer(record, self.key, self.group_name, self.name);
        }
        let event = self.created.then_some(Event::stream("xgroup-createconsumer"));
        (event, self.changes + usize::from(self.created))
    }
}

fn has_group(cx: &mut Ctx, key: &[u8], name: &[u8]) -> Result<(), CmdError> {
    let stream = cx.db.read::<Stream>(key)?;
    match stream.is_some_and(|stream| stream.groups.contains_key(name)) {
        true => Ok(()),
        false => Err(no_group_in(key, name, "")),
    }
}

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds]
/// [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]
pub(super) fn xclaim(cx: &mut Ctx) -> CmdResult {
    let words = [cx.args.bytes()?, cx.args.bytes()?, cx.args.bytes()?];
    let [key, group_name, _] = words;
    has_group(cx, key, group_name)?;
    let idle_min = min_idle(cx.args.bytes()?, "XCLAIM")?;
    let mut ids = Vec::new();
    while let Some(id) = cx.args.peek().and_then(|word| StreamId::parse(word, 0)) {
        cx.args.bytes()?;
        ids.push(id);
    }
    let options = Options::parse(cx)?;
    cx.record.nothing();
    let now = millis(cx.now);
    let delivered_ms = options.delivered_ms.unwrap_or(now);
    let mut stream = cx.db.open::<Stream>(key)?.expect("the key was read just now");
    let Body { log, groups } = &mut **stream;
    let group = groups.get_mut(group_name).expect("the group was found just now");
    let moved = options.last_id > group.last_id;
    group.last_id = group.last_id.max(options.last_id);
    let mut claimer = Claimer::new(cx.now, words, group, options.just_id);
    let list = cx.reply.open();
    for id in ids {
        let old = group.pending().get(&id).copied();
        if log.get(id).is_none() {
            if let Some(old) = old {
                claimer.drop_dangling(cx.record, group, id, &old);
            }
            continue;
        }
        let young = |old: &Pending| idle_min > 0 && now.saturating_sub(old.delivered_ms) < idle_min;
        if old.as_ref().is_some_and(young) || (old.is_none() && !options.force) {
            continue;
        }
        let before = old.map_or(1, |old| old.deliveries);
        let deliveries = match options.deliveries {
            Some(count) => count,
            None => before.saturating_add(u64::from(!options.just_id)),
        };
        let pending = Pending { consumer: claimer.consumer, delivered_ms, deliveries };
        claimer.claim((cx.record, cx.reply), (log, group), now, id, pending);
    }
    // A claim says how far the group has read, too.
    let moved = moved && claimer.changes == 0;
    if moved {
        record_position(cx.record, key, group_name, group);
    }
    let (event, changes) = claimer.finish(cx.record);
    stream.commit_apart(event, changes + usize::from(moved));
    Ok(cx.reply.close_array(list, claimer.claimed))
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
pub(super) fn xautoclaim(cx: &mut Ctx) -> CmdResult {
    let words = [cx.args.bytes()?, cx.args.bytes()?, cx.args.bytes()?];
    let [key, group_name, _] = words;
    let idle_min = min_idle(cx.args.bytes()?, "XAUTOCLAIM")?;
    let start = range_start(cx.args.bytes()?)?;
    let (mut left, mut just_id) = (CLAIMED_DEFAULT, false);
    while !cx.args.is_done() {
        if cx.args.left() >= 2 && cx.args.take_keyword("count") {
            left = cx.args.i64_in(1..=i64::MAX / 16, "ERR COUNT must be > 0")? as usize;
        } else if cx.args.take_keyword("justid") {
            just_id = true;
        } else {
            return Err(CmdError::Syntax);
        }
    }
    has_group(cx, key, group_name)?;
    cx.record.nothing();
    let now = millis(cx.now);
    let mut stream = cx.db.open::<Stream>(key)?.expect("the key was read just now");
    let Body { log, groups } = &mut **stream;
    let group = groups.get_mut(group_name).expect("the group was found just now");
    let mut claimer = Claimer::new(cx.now, words, group, just_id);
    let mut claimed = Reply::new(cx.reply.protocol());
    let mut deleted = Vec::new();
    let mut attempts = left.saturating_mul(ATTEMPTS_A_CLAIM);
    let mut from = Some(start);
    while attempts > 0
        && left > 0
        && let Some((id, old)) = from.and_then(|from| group.pending_from(from))
    {
        attempts -= 1;
        from = id.next();
        if log.get(id).is_none() {
            claimer.drop_dangling(cx.record, group, id, &old);
            deleted.push(id);
            left -= 1;
            continue;
        }
        if idle_min > 0 && now.saturating_sub(old.delivered_ms) < idle_min {
            continue;
        }
        let deliveries = old.deliveries.saturating_add(u64::from(!just_id));
        let pending = Pending { consumer: claimer.consumer, delivered_ms: now, deliveries };
        claimer.claim((cx.record, &mut claimed), (log, group), now, id, pending);
        left -= 1;
    }
    let next = from.and_then(|from| group.pending_from(from));
    let next = next.map_or(StreamId::MIN, |(id, _)| id);
    let (event, changes) = claimer.finish(cx.record);
    stream.commit_apart(event, changes);
    cx.reply.array(3);
    let _ = cx.reply.bulk(&next.text());
    cx.reply.array(claimer.claimed);
    let _ = cx.reply.raw(claimed.bytes());
    cx.reply.array(deleted.len());
    deleted.iter().for_each(|id| drop(cx.reply.bulk(&id.text())));
    Ok(cx.reply.done())
}
