//! DEBUG DIGEST: sums that are equal when the data is, whatever order it came in.

use sha1::{Digest, Sha1};

use crate::ds::dict::Keyed;
use crate::ds::listpack::Item;
use crate::engine::context::AdminCtx;
use crate::keyspace::entry::{Entry, Held};
use crate::keyspace::walk::entries;
use crate::resp::reply::CmdResult;
use crate::value::stream::StreamId;
use crate::value::{Stream, ValueRef};

/// A sum of things whose order does not matter.
#[derive(Default)]
struct Sum([u8; 20]);

impl Sum {
    fn add(&mut self, parts: &[&[u8]]) {
        self.0.iter_mut().zip(hash(parts)).for_each(|(sum, byte)| *sum ^= byte);
    }

    fn text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The hash of parts in this order, each with its length.
fn hash(parts: &[&[u8]]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn of_items<'a>(items: impl Iterator<Item = Item<'a>>) -> [u8; 20] {
    let mut sum = Sum::default();
    items.for_each(|item| item.with_bytes(|bytes| sum.add(&[bytes])));
    sum.0
}

fn of_value(value: ValueRef<'_>) -> [u8; 20] {
    let mut sum = Sum::default();
    match value {
        ValueRef::Str(text) => return hash(&[text]),
        ValueRef::List(list) => {
            let mut chain = [0; 20];
            list.iter().for_each(|item| {
                chain = item.with_bytes(|bytes| hash(&[&chain, bytes]));
            });
            return chain;
        }
        ValueRef::Set(set) => return of_items(set.iter()),
        ValueRef::Hash(fields) => fields.iter().for_each(|(field, value)| {
            let deadline = field.with_bytes(|field| fields.deadline(field));
            let deadline = deadline.map(|at| at.0.to_le_bytes());
            let deadline = deadline.as_ref().map_or(&[][..], |bytes| bytes);
            field.with_bytes(|field| value.with_bytes(|value| sum.add(&[field, value, deadline])));
        }),
        ValueRef::Zset(zset) => zset.iter().for_each(|(member, score)| {
            member.with_bytes(|member| sum.add(&[member, &score.to_bits().to_le_bytes()]));
        }),
        ValueRef::Stream(stream) => return of_stream(stream),
    }
    sum.0
}

/// Entries, groups, and what is pending with whom; no times, which a log does not keep.
fn of_stream(stream: &Stream) -> [u8; 20] {
    let mut chain = hash(&[&stream.log.last_id().to_bytes()]);
    for entry in stream.log.range(StreamId::MIN, StreamId::MAX) {
        chain = hash(&[&chain, &entry.id.to_bytes()]);
        for (field, value) in entry.pairs() {
            chain =
                field.with_bytes(|field| value.with_bytes(|value| hash(&[&chain, field, value])));
        }
    }
    for (name, group) in &stream.groups {
        chain = hash(&[&chain, name, &group.last_id.to_bytes()]);
        for (id, pending) in group.pending() {
            chain = hash(&[&chain, &id.to_bytes(), group.consumer(pending.consumer).name()]);
        }
    }
    chain
}

fn of_entry(entry: &Entry) -> [u8; 20] {
    let value = match entry.held() {
        Held::Text(text) => text.with(|bytes| hash(&[bytes])),
        Held::Value(value) => of_value(value),
    };
    let deadline = entry.deadline().map_or(0, |deadline| deadline.0);
    hash(&[entry.kind().name().as_bytes(), &value, &deadline.to_le_bytes()])
}

/// DEBUG DIGEST
pub(super) fn digest(ax: &mut AdminCtx) -> CmdResult {
    let databases = u32::try_from(ax.core.config.load().databases).unwrap_or(0);
    let now = ax.cx.now;
    let mut sum = Sum::default();
    for db in 0..databases {
        let hold = ax.cx.db.hold();
        let live = entries(hold, hold.shards(), db)
            .filter(|entry| entry.deadline().is_none_or(|deadline| deadline >= now));
        for entry in live {
            sum.add(&[&db.to_le_bytes(), entry.key(), &of_entry(entry)]);
        }
    }
    Ok(ax.cx.reply.simple(&sum.text()))
}

/// DEBUG DIGEST-VALUE \[key ...\]
pub(super) fn digest_value(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.reply.array(ax.cx.args.left());
    for key in ax.cx.args.remaining() {
        let sum = ax.cx.db.peek_entry(key).map_or([0; 20], of_entry);
        let _ = ax.cx.reply.simple(&Sum(sum).text());
    }
    Ok(ax.cx.reply.done())
}
