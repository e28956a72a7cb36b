//! A value as the commands that make it, for bases without a snapshot (`aof-use-rdb-preamble no`).
//!
//! May run in a forked child: no locks, no logging, no panics, no clock.

use std::io;

use crate::base::clock::UnixMs;
use crate::base::num::format_f64;
use crate::ds::deadlines::Deadlines;
use crate::ds::listpack::Item;
use crate::persist::sink::Sink;
use crate::value::stream::{Group, Log, StreamId};
use crate::value::{Stream, ValueRef};

/// Elements (members, fields) that one command adds.
const ELEMENTS_PER_COMMAND: usize = 64;
/// Bytes that are gathered before they are handed to the sink.
const BUFFER_BYTES: usize = 128 * 1024;

/// Writes commands.
pub struct CommandWriter<S: Sink> {
    sink: S,
    buffer: Vec<u8>,
    handed_over: u64,
}

impl<S: Sink> CommandWriter<S> {
    /// A writer; nothing is written yet.
    pub fn new(sink: S) -> CommandWriter<S> {
        CommandWriter { sink, buffer: Vec::with_capacity(BUFFER_BYTES + 1024), handed_over: 0 }
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.handed_over + self.buffer.len() as u64
    }

    /// The sink, after everything has been handed over to it.
    pub fn end(mut self) -> io::Result<S> {
        self.flush()?;
        Ok(self.sink)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.write(&self.buffer)?;
        self.handed_over += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// The time annotation that stands before what follows (`aof-timestamp-enabled`).
    pub fn timestamp(&mut self, secs: u64) -> io::Result<()> {
        self.buffer.extend_from_slice(b"#TS:");
        self.number(secs);
        self.buffer.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The database of the following keys.
    pub fn database(&mut self, db: u64) -> io::Result<()> {
        self.command(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()])
    }

    /// A function library's source.
    pub fn function(&mut self, source: &[u8]) -> io::Result<()> {
        self.command(&[b"FUNCTION", b"LOAD", source])
    }

    /// A whole command.
    pub fn command(&mut self, words: &[&[u8]]) -> io::Result<()> {
        self.begin(words.len());
        self.words(words)
    }

    /// A key with its value and its deadline.
    pub fn entry(
        &mut self,
        key: &[u8],
        deadline: Option<UnixMs>,
        value: ValueRef<'_>,
    ) -> io::Result<()> {
        match value {
            ValueRef::Str(text) => self.command(&[b"SET", key, text])?,
            ValueRef::List(list) => self.singles(b"RPUSH", key, list.len(), list.iter())?,
            ValueRef::Set(set) => self.singles(b"SADD", key, set.len(), set.iter())?,
            ValueRef::Hash(hash) => {
                let pairs = hash.iter();
                self.pairs(b"HMSET", key, hash.len(), pairs, |out, (field, value)| {
                    out.item(field)?;
                    out.item(value)
                })?;
                let mut digits = itoa::Buffer::new();
                for (field, at) in hash.deadlines().into_iter().flat_map(Deadlines::iter) {
                    let at = digits.format(at.0).as_bytes();
                    self.command(&[b"HPEXPIREAT", key, at, b"FIELDS", b"1", field])?;
                }
            }
            ValueRef::Zset(zset) => {
                let mut text = Vec::new();
                self.pairs(b"ZADD", key, zset.len(), zset.iter(), |out, (member, score)| {
                    text.clear();
                    format_f64(score, &mut text);
                    out.word(&text)?;
                    out.item(member)
                })?;
            }
            ValueRef::Stream(stream) => self.stream(key, stream)?,
        }
        self.deadline(key, deadline)
    }

    /// A stream: its entries, its groups, and what is known of entries that were there.
    ///
    /// An entry can be pending that is no more in the stream, but only one that is can be made so:
    /// such entries are added, claimed, and removed again.
    fn stream(&mut self, key: &[u8], stream: &Stream) -> io::Result<()> {
        let log = &stream.log;
        let mut pending: Vec<StreamId> =
            stream.groups.values().flat_map(|group| group.pending().keys().copied()).collect();
        pending.sort_unstable();
        pending.dedup();
        let mut pending = pending.into_iter().filter(|id| *id != StreamId::MIN).peekable();
        let mut gone = Vec::new();
        for entry in log.range(StreamId::MIN, StreamId::MAX) {
            while let Some(id) = pending.next_if(|id| *id <= entry.id) {
                if id < entry.id {
                    self.placeholder(key, id, &mut gone)?;
                }
            }
            self.begin(3 + 2 * entry.fields);
            self.words(&[b"XADD", key, &entry.id.text()])?;
            for (field, value) in entry.pairs() {
                self.item(field)?;
                self.item(value)?;
            }
        }
        pending.try_for_each(|id| self.placeholder(key, id, &mut gone))?;
        if log.is_empty() && gone.is_empty() {
            self.command(&[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"])?;
        }
        stream.groups.iter().try_for_each(|(name, group)| self.group(key, name, group))?;
        self.remove_placeholders(key, log, &gone)?;
        let mut number = itoa::Buffer::new();
        self.command(&[
            b"XSETID",
            key,
            &log.last_id().text(),
            b"ENTRIESADDED",
            number.format(log.entries_added()).as_bytes(),
            b"MAXDELETEDID",
            &log.max_deleted_id().text(),
        ])
    }

    fn placeholder(&mut self, key: &[u8], id: StreamId, all: &mut Vec<StreamId>) -> io::Result<()> {
        all.push(id);
        self.command(&[b"XADD", key, &id.text(), b"x", b"y"])
    }

    /// Those before the first entry may never have been deleted, only trimmed; the greatest
    /// deleted id is known to be no less than that of the others.
    fn remove_placeholders(&mut self, key: &[u8], log: &Log, all: &[StreamId]) -> io::Result<()> {
        let first = log.first_id();
        let before = all.partition_point(|id| log.is_empty() || *id < first);
        if before > 0 && log.is_empty() {
            self.command(&[b"XTRIM", key, b"MAXLEN", b"0"])?;
        } else if before > 0 {
            self.command(&[b"XTRIM", key, b"MINID", &first.text()])?;
        }
        all[before..].iter().try_for_each(|id| self.command(&[b"XDEL", key, &id.text()]))
    }

    fn group(&mut self, key: &[u8], name: &[u8], group: &Group) -> io::Result<()> {
        let mut read = itoa::Buffer::new();
        self.command(&[
            b"XGROUP",
            b"CREATE",
            key,
            name,
            &group.last_id.text(),
            b"ENTRIESREAD",
            read.format(group.entries_read.unwrap_or(-1)).as_bytes(),
        ])?;
        for consumer in group.consumers() {
            self.command(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()])?;
        }
        for (id, pending) in group.pending() {
            let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
            self.command(&[
                b"XCLAIM",
                key,
                name,
                group.consumer(pending.consumer).name(),
                b"0",
                &id.text(),
                b"TIME",
                time.format(pending.delivered_ms).as_bytes(),
                b"RETRYCOUNT",
                count.format(pending.deliveries).as_bytes(),
                b"JUSTID",
                b"FORCE",
            ])?;
        }
        Ok(())
    }

    fn words(&mut self, words: &[&[u8]]) -> io::Result<()> {
        words.iter().try_for_each(|word| self.word(word))
    }

    /// The command that gives a key its deadline, if it has one.
    pub fn deadline(&mut self, key: &[u8], deadline: Option<UnixMs>) -> io::Result<()> {
        let Some(UnixMs(ms)) = deadline else { return Ok(()) };
        self.command(&[b"PEXPIREAT", key, itoa::Buffer::new().format(ms).as_bytes()])
    }

    fn singles<'a>(
        &mut self,
        name: &[u8],
        key: &[u8],
        count: usize,
        items: impl Iterator<Item = Item<'a>>,
    ) -> io::Result<()> {
        self.chunks(name, key, count, 1, items, CommandWriter::item)
    }

    fn pairs<T>(
        &mut self,
        name: &[u8],
        key: &[u8],
        count: usize,
        pairs: impl Iterator<Item = T>,
        put: impl FnMut(&mut CommandWriter<S>, T) -> io::Result<()>,
    ) -> io::Result<()> {
        self.chunks(name, key, count, 2, pairs, put)
    }

    /// Commands of up to 64 of the `count` items, of `words` words each.
    fn chunks<T>(
        &mut self,
        name: &[u8],
        key: &[u8],
        count: usize,
        words: usize,
        items: impl Iterator<Item = T>,
        mut put: impl FnMut(&mut CommandWriter<S>, T) -> io::Result<()>,
    ) -> io::Result<()> {
        for (at, item) in items.enumerate() {
            if at % ELEMENTS_PER_COMMAND == 0 {
                let elements = count.saturating_sub(at).min(ELEMENTS_PER_COMMAND);
                self.begin(2 + elements * words);
                self.word(name)?;
                self.word(key)?;
            }
            put(self, item)?;
        }
        Ok(())
    }

    fn begin(&mut self, words: usize) {
        self.buffer.push(b'*');
        self.number(words as u64);
        self.buffer.extend_from_slice(b"\r\n");
    }

    fn item(&mut self, item: Item<'_>) -> io::Result<()> {
        self.word(item.bytes(&mut itoa::Buffer::new()))
    }

    fn word(&mut self, word: &[u8]) -> io::Result<()> {
        self.buffer.push(b'$');
        self.number(word.len() as u64);
        self.buffer.extend_from_slice(b"\r\n");
        if word.len() >= BUFFER_BYTES {
            self.flush()?;
            self.sink.write(word)?;
            self.handed_over += word.len() as u64;
        } else {
            self.buffer.extend_from_slice(word);
        }
        self.buffer.extend_from_slice(b"\r\n");
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn number(&mut self, number: u64) {
        self.buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}
