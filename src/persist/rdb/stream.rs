//! Streams in a snapshot: their listpacks, what is known of entries, and the groups.

use std::collections::BTreeMap;
use std::io;

use super::decode::DecodeError;
use super::format::typecode;
use super::slice::{Malformed, Slice};
use super::writer::Writer;
use crate::base::clock::UnixMs;
use crate::persist::sink::Sink;
use crate::value::stream::log::Facts;
use crate::value::stream::node::Node;
use crate::value::stream::{Group, Log, Pending, StreamId};
use crate::value::{Stream, Value};

/// How a file says that nobody knows how many entries a group has read.
const READ_UNKNOWN: u64 = u64::MAX;
/// How a file says that a consumer never got anything.
const NEVER: i64 = -1;

/// Writes a stream in the form of `code`.
pub(super) fn write<S: Sink>(out: &mut Writer<S>, stream: &Stream, code: u8) -> io::Result<()> {
    let second = code >= typecode::STREAM_LISTPACKS_2;
    let log = &stream.log;
    out.length(log.nodes().len() as u64)?;
    for (base, node) in log.nodes() {
        out.string(&base.to_bytes())?;
        out.string(node.as_bytes())?;
    }
    out.length(log.len())?;
    write_id(out, log.last_id())?;
    if second {
        write_id(out, log.first_id())?;
        write_id(out, log.max_deleted_id())?;
        out.length(log.entries_added() as u64)?;
    }
    out.length(stream.groups.len() as u64)?;
    for (name, group) in &stream.groups {
        out.string(name)?;
        write_id(out, group.last_id)?;
        if second {
            out.length(group.entries_read.map_or(READ_UNKNOWN, |read| read as u64))?;
        }
        write_group(out, group, code)?;
    }
    Ok(())
}

fn write_id<S: Sink>(out: &mut Writer<S>, id: StreamId) -> io::Result<()> {
    out.length(id.ms)?;
    out.length(id.seq)
}

fn write_group<S: Sink>(out: &mut Writer<S>, group: &Group, code: u8) -> io::Result<()> {
    out.length(group.pending().len() as u64)?;
    for (id, pending) in group.pending() {
        out.raw(&id.to_bytes())?;
        out.raw(&pending.delivered_ms.to_le_bytes())?;
        out.length(pending.deliveries)?;
    }
    out.length(group.consumers().len() as u64)?;
    for consumer in group.consumers() {
        out.string(consumer.name())?;
        out.raw(&consumer.seen_ms.to_le_bytes())?;
        if code >= typecode::STREAM_LISTPACKS_3 {
            out.raw(&consumer.active_ms.unwrap_or(NEVER).to_le_bytes())?;
        }
        out.length(consumer.pending().len() as u64)?;
        consumer.pending().iter().try_for_each(|id| out.raw(&id.to_bytes()))?;
    }
    Ok(())
}

/// Reads a stream in the form of `code`.
pub(super) fn read(input: &mut Slice<'_>, code: u8) -> Result<Value, DecodeError> {
    let second = code >= typecode::STREAM_LISTPACKS_2;
    let mut nodes = BTreeMap::new();
    for _ in 0..input.length()? {
        let base: [u8; 16] = (*input.string()?)
            .try_into()
            .map_err(|_| Malformed::from("Stream node key entry is not the size of a stream ID"))?;
        let base = StreamId::from_bytes(base);
        let node = Node::parse(base, &input.string()?);
        let node = node.map_err(|broken| Malformed(broken.to_string()))?;
        if nodes.insert(base, node).is_some() {
            return Err(Malformed::from("Listpack re-added with existing key").into());
        }
    }
    let mut facts = Facts { len: input.length()?, last_id: read_id(input)?, ..Facts::default() };
    if second {
        // The first entry is found by itself.
        read_id(input)?;
        facts.max_deleted_id = read_id(input)?;
        let added = i64::try_from(input.length()?);
        let added = added.map_err(|_| Malformed::from("Stream has too many entries added"))?;
        facts.entries_added = Some(added);
    }
    let mut stream = Stream::new();
    stream.log = Log::from_nodes(nodes.into_iter(), facts)?;
    for _ in 0..input.length()? {
        let name = input.string()?.into_owned().into_boxed_slice();
        let last_id = read_id(input)?;
        let read = match second {
            true => i64::try_from(input.length()?).ok(),
            false => stream.log.distance(last_id),
        };
        let mut group = Group::new(last_id, read);
        read_group(input, &mut group, code)?;
        if stream.groups.insert(name, group).is_some() {
            return Err(Malformed::from("Duplicated consumer group name").into());
        }
    }
    Ok(Value::Stream(stream))
}

fn read_id(input: &mut Slice<'_>) -> Result<StreamId, Malformed> {
    Ok(StreamId { ms: input.length()?, seq: input.length()? })
}

fn read_group(input: &mut Slice<'_>, group: &mut Group, code: u8) -> Result<(), Malformed> {
    let mut unowned = BTreeMap::new();
    for _ in 0..input.length()? {
        let id = StreamId::from_bytes(input.array()?);
        let delivered_ms = i64::from_le_bytes(input.array()?);
        if unowned.insert(id, (delivered_ms, input.length()?)).is_some() {
            return Err("Duplicated global PEL entry loading stream consumer group".into());
        }
    }
    for _ in 0..input.length()? {
        let name = input.string()?;
        let id = group.add_consumer(&name, UnixMs(0));
        let consumer = id.ok_or("Duplicate stream consumer detected.")?;
        let seen_ms = i64::from_le_bytes(input.array()?);
        // Older files do not say when it was active; it was seen then.
        let active_ms = match code >= typecode::STREAM_LISTPACKS_3 {
            true => i64::from_le_bytes(input.array()?),
            false => seen_ms,
        };
        let account = group.consumer_mut(consumer);
        account.seen_ms = seen_ms;
        account.active_ms = (active_ms != NEVER).then_some(active_ms);
        for _ in 0..input.length()? {
            let id = StreamId::from_bytes(input.array()?);
            let found = unowned.remove(&id);
            let (delivered_ms, deliveries) =
                found.ok_or("Consumer entry not found in group global PEL")?;
            group.assign(id, Pending { consumer, delivered_ms, deliveries });
        }
    }
    match unowned.is_empty() {
        true => Ok(()),
        false => Err("Stream CG PEL entry without consumer".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::super::format::Dialect;
    use super::super::writer::{Compression, Settings};
    use super::*;
    use crate::value::stream::NewId;
    use crate::value::{Limits, ValueRef};

    /// A stream with two nodes, a gap, and a group whose consumers have something pending.
    fn sample() -> Stream {
        let mut stream = Stream::new();
        let limits = Limits { stream_node_max_entries: 3, ..Limits::default() };
        for value in ["a", "300", "c", "d", "e"] {
            let words = [b"field".as_slice(), value.as_bytes()];
            stream.log.append(NewId::Next(7), UnixMs(0), words.into_iter(), &limits).unwrap();
        }
        stream.log.delete(StreamId::new(7, 1));
        let mut group = Group::new(StreamId::new(7, 3), Some(4));
        for (name, seq) in [("alice", 0), ("bob", 2)] {
            let consumer = group.add_consumer(name.as_bytes(), UnixMs(9)).unwrap();
            let pending = Pending { consumer, delivered_ms: 5, deliveries: 2 };
            group.assign(StreamId::new(7, seq), pending);
        }
        group.add_consumer(b"carol", UnixMs(9)).unwrap();
        stream.groups.insert(b"group".as_slice().into(), group);
        stream
    }

    fn written(stream: &Stream, version: u32) -> (u8, Vec<u8>) {
        let settings = Settings { version, compression: Compression::Off, checksum: false };
        let value = ValueRef::Stream(stream);
        let mut writer = Writer::new(Vec::new(), settings).unwrap();
        writer.value(value).unwrap();
        (super::super::encode::type_code(value, version), writer.into_sink().unwrap())
    }

    fn parsed(code: u8, payload: &[u8]) -> Option<Stream> {
        match decode(code, Dialect::Redis, payload, &Limits::default()) {
            Ok(Value::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    #[test]
    fn streams_are_read_as_they_were_written() {
        for (version, code) in [(9, 15), (10, 19), (11, 21), (12, 21)] {
            let (written_code, payload) = written(&sample(), version);
            assert_eq!(written_code, code);
            let read = parsed(code, &payload).unwrap();
            assert_eq!(written(&read, version).1, payload);
            let known = read.log.max_deleted_id() != StreamId::MIN;
            assert_eq!(
                (known, read.groups[b"group".as_slice()].entries_read),
                match version {
                    9 => (false, None),
                    _ => (true, Some(4)),
                }
            );
        }
    }

    #[test]
    fn damaged_streams_are_refused_or_usable() {
        let (code, payload) = written(&sample(), 11);
        for cut in 0..payload.len() {
            assert!(parsed(code, &payload[..cut]).is_none());
        }
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Some(mut stream) = parsed(code, &flipped) else { continue };
            let entries: Vec<_> = stream.log.range(StreamId::MIN, StreamId::MAX).collect();
            assert_eq!(entries.len() as u64, stream.log.len());
            assert!(entries.iter().all(|entry| entry.pairs().count() == entry.fields));
            for group in stream.groups.values() {
                let _ = stream.log.lag(group);
            }
            let ids: Vec<_> = stream.log.range_back(StreamId::MIN, StreamId::MAX).collect();
            let ids: Vec<_> = ids.into_iter().map(|entry| entry.id).collect();
            assert!(ids.into_iter().all(|id| stream.log.delete(id)));
        }
    }
}
