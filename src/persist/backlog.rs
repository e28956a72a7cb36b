//! The replication backlog: the last part of the stream of commands, read by replicas by offset.
//!
//! On a replica it holds the primary's stream as it came, so that others can follow the replica; what
//! the replica itself would tell is not part of it.
//!
//! It begins with the first replica and takes every unit in the order in which the journal takes
//! it. What a connected replica has not read yet stays, however much that is; whether a replica
//! lags too far behind is decided where it is served (`client-output-buffer-limit`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::persist::framing::Framing;

/// Bytes of a block, at the least and at the most.
const BLOCK_BYTES: (u64, u64) = (4 * 1024, 64 * 1024);
/// A block with less room than this part of it takes no more units.
const SPARE_SHARE: usize = 8;
/// Parts in which what is kept is given up.
const BLOCKS_KEPT: u64 = 16;

/// Somebody who has read everything and wants to hear of more.
pub trait Reader: Send + Sync {
    /// There is more. Called under the backlog's lock.
    fn more(&self);
}

/// The bytes asked for are no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// A part of the primary's stream, and the database that is selected behind it.
pub struct Forward {
    /// The bytes, as they came.
    pub bytes: Vec<u8>,
    /// The database.
    pub db: u32,
}

#[derive(Default)]
struct Stream {
    /// Whether the stream is the primary's.
    foreign: bool,
    /// The database that is selected at the end of the primary's stream.
    db: u32,
    blocks: VecDeque<Vec<u8>>,
    /// Room of all blocks, bytes.
    block_bytes: u64,
    /// The offset of the first byte that is still there.
    start: u64,
    framing: Framing,
    /// Bytes to keep for replicas that come back.
    keep: u64,
    /// Where each replica reads next.
    readers: HashMap<u64, u64>,
    idle: Vec<Arc<dyn Reader>>,
}

/// See the module.
#[derive(Default)]
pub struct Backlog {
    active: AtomicBool,
    /// Bytes of the stream since its beginning.
    end: AtomicU64,
    /// Bytes of memory that it takes.
    memory: AtomicU64,
    stream: Mutex<Stream>,
}

impl Backlog {
    /// Whether anybody reads the stream, or may come back to it.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Begins to keep the stream; the caller holds all shards.
    pub fn begin(&self, keep: u64) {
        let mut stream = self.stream.lock();
        stream.keep = keep;
        if !self.is_active() {
            stream.start = self.end();
            stream.framing.restart();
            self.active.store(true, Ordering::Release);
        }
    }

    /// Keeps nothing any more; the caller holds all shards.
    pub fn stop(&self) {
        let mut stream = self.stream.lock();
        self.active.store(false, Ordering::Release);
        stream.blocks = VecDeque::new();
        stream.start = self.end();
        self.memory.store(0, Ordering::Relaxed);
    }

    /// As if it had never begun. The caller holds all shards, or is alone.
    pub fn forget(&self) {
        self.stop();
        self.stream.lock().start = 0;
        self.end.store(0, Ordering::Release);
    }

    /// `repl-backlog-size`
    pub fn set_keep(&self, keep: u64) {
        self.stream.lock().keep = keep;
    }

    /// Bytes of the stream since its beginning: the offset behind the last.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The database that is selected at the end of the primary's stream.
    pub fn selected(&self) -> u32 {
        self.stream.lock().db
    }

    /// The offset of the first byte that is there.
    pub fn start(&self) -> u64 {
        self.stream.lock().start
    }

    /// Appends a unit of execution. The caller holds the locks of every shard that it touched.
    pub fn append<'c>(&self, transaction: bool, commands: impl Iterator<Item = (u32, &'c [u8])>) {
        self.extend(
            |stream| !stream.foreign,
            |framing, out| framing.unit(out, transaction, commands),
        );
    }

    /// Appends a command for replicas alone, which belongs to no database.
    pub fn append_aside(&self, command: &[u8]) {
        self.extend(|stream| !stream.foreign, |_, out| out.extend_from_slice(command));
    }

    /// Appends a part of the primary's stream. The caller holds the locks of every shard that it
    /// touched.
    pub fn forward(&self, forward: &Forward) {
        let note = |stream: &mut Stream| {
            stream.db = forward.db;
            if !stream.foreign {
                // It came too late: this server follows nobody any more.
                stream.framing.restart();
            }
            true
        };
        self.extend(note, |_, out| out.extend_from_slice(&forward.bytes));
    }

    /// From now on the stream is the primary's, or no longer. The caller holds all shards.
    pub fn set_foreign(&self, foreign: bool) {
        let mut stream = self.stream.lock();
        stream.foreign = foreign;
        stream.framing.restart();
    }

    /// The primary's stream begins anew at `offset`. The caller holds all shards.
    pub fn follow(&self, offset: u64, db: u32, keep: u64) {
        let mut stream = self.stream.lock();
        *stream = Stream { foreign: true, db, start: offset, keep, ..Stream::default() };
        self.begin_at(offset);
    }

    fn begin_at(&self, offset: u64) {
        self.end.store(offset, Ordering::Release);
        self.memory.store(0, Ordering::Relaxed);
        self.active.store(true, Ordering::Release);
    }

    /// What was appended so far stands behind the stream of an earlier process, of which `offset` bytes
    /// are in the files. The caller holds all shards, and nobody reads yet.
    pub fn rebase(&self, offset: u64) {
        let mut stream = self.stream.lock();
        stream.start += offset;
        self.end.fetch_add(offset, Ordering::AcqRel);
    }

    /// The present end, and the database that is selected there. The caller holds all shards.
    pub fn place(&self) -> (u64, u32) {
        let stream = self.stream.lock();
        (self.end(), if stream.foreign { stream.db } else { stream.framing.selected() })
    }

    fn extend(
        &self,
        wanted: impl FnOnce(&mut Stream) -> bool,
        put: impl FnOnce(&mut Framing, &mut Vec<u8>),
    ) {
        let mut stream = self.stream.lock();
        if !self.is_active() || !wanted(&mut stream) {
            return;
        }
        let stream = &mut *stream;
        let room = (stream.keep / BLOCKS_KEPT).clamp(BLOCK_BYTES.0, BLOCK_BYTES.1) as usize;
        let full = |block: &Vec<u8>| block.capacity() - block.len() < room / SPARE_SHARE;
        if stream.blocks.back().is_none_or(full) {
            stream.push(Vec::with_capacity(room));
        }
        let block = stream.blocks.back_mut().expect("just pushed");
        let (before, held) = (block.len(), block.capacity());
        put(&mut stream.framing, block);
        let added = (block.len() - before) as u64;
        if block.capacity() > held {
            stream.divide_last(before, held, room);
        }
        let end = self.end.fetch_add(added, Ordering::AcqRel) + added;
        stream.trim(end);
        self.memory.store(stream.memory(), Ordering::Relaxed);
        for reader in stream.idle.drain(..) {
            reader.more();
        }
    }

    /// The next replica begins at the present end: it knows no database but the one that is told
    /// here with that end. The caller holds all shards.
    pub fn cut(&self) -> (u64, u32) {
        let mut stream = self.stream.lock();
        stream.framing.restart();
        (self.end(), if stream.foreign { stream.db } else { 0 })
    }

    /// Keeps everything from `offset` on for a reader, if it is all there.
    pub fn enter(&self, reader: u64, offset: u64) -> Result<(), Lost> {
        let mut stream = self.stream.lock();
        if !self.is_active() || offset < stream.start || offset > self.end() {
            return Err(Lost);
        }
        stream.readers.insert(reader, offset);
        Ok(())
    }

    /// A reader has gone, and what was kept for it.
    pub fn leave(&self, reader: u64) {
        let mut stream = self.stream.lock();
        if stream.readers.remove(&reader).is_some() && self.is_active() {
            stream.trim(self.end());
            self.memory.store(stream.memory(), Ordering::Relaxed);
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Bytes that a reader has not taken.
    pub fn lag(&self, reader: u64) -> u64 {
        let at = self.stream.lock().readers.get(&reader).copied();
        at.map_or(0, |at| self.end().saturating_sub(at))
    }

    /// Gives the reader `id` up to about `max` bytes; says how many. When there are none, `reader`
    /// hears of the next.
    pub fn read(
        &self,
        id: u64,
        reader: &Arc<dyn Reader>,
        out: &mut Vec<u8>,
        max: usize,
    ) -> Result<usize, Lost> {
        let mut stream = self.stream.lock();
        let at = stream.readers.get(&id).copied().ok_or(Lost)?;
        if at == self.end() {
            stream.idle.push(Arc::clone(reader));
            return Ok(0);
        }
        let mut skip = usize::try_from(at.checked_sub(stream.start).ok_or(Lost)?).or(Err(Lost))?;
        let mut taken = 0;
        for block in &stream.blocks {
            if skip >= block.len() {
                skip -= block.len();
                continue;
            }
            let part = &block[skip..(skip + max - taken).min(block.len())];
            out.extend_from_slice(part);
            taken += part.len();
            skip = 0;
            if taken >= max {
                break;
            }
        }
        stream.readers.insert(id, at + taken as u64);
        Ok(taken)
    }
}

impl Stream {
    fn push(&mut self, block: Vec<u8>) {
        self.block_bytes += block.capacity() as u64;
        self.blocks.push_back(block);
    }

    /// The last block has outgrown the room it had: what was put behind `before` gets blocks of its own,
    /// so that it can be given up piece by piece.
    fn divide_last(&mut self, before: usize, held: usize, room: usize) {
        let Some(mut block) = self.blocks.pop_back() else { return };
        self.block_bytes -= held as u64;
        let unit = block.split_off(before);
        if before > 0 {
            block.shrink_to_fit();
            self.push(block);
        }
        for part in unit.chunks(BLOCK_BYTES.1 as usize) {
            let mut block = Vec::with_capacity(room.max(part.len()));
            block.extend_from_slice(part);
            self.push(block);
        }
    }

    /// Gives up blocks that nobody needs.
    fn trim(&mut self, end: u64) {
        let needed = self.readers.values().copied().min().unwrap_or(end);
        while let Some(block) = self.blocks.front() {
            let next = self.start + block.len() as u64;
            if self.blocks.len() == 1 || next > needed || end - next < self.keep {
                break;
            }
            self.start = next;
            self.block_bytes -= block.capacity() as u64;
            self.blocks.pop_front();
        }
        if self.blocks.capacity() > self.blocks.len() * 4 {
            self.blocks.shrink_to_fit();
        }
    }

    fn memory(&self) -> u64 {
        self.block_bytes + (self.blocks.capacity() * size_of::<Vec<u8>>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Reader for Bell {
        fn more(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn append(backlog: &Backlog, command: &[u8]) {
        backlog.append(false, [(0, command)].into_iter());
    }

    #[test]
    fn readers_get_the_stream_from_their_offset_and_hear_of_more() {
        let backlog = Backlog::default();
        append(&backlog, b"lost");
        assert_eq!(backlog.end(), 0, "nobody reads yet");
        backlog.begin(1);
        let (offset, _) = backlog.cut();
        backlog.enter(7, offset).unwrap();
        let bell = Arc::new(Bell::default());
        let reader = Arc::clone(&bell) as Arc<dyn Reader>;
        let mut out = Vec::new();
        assert_eq!(backlog.read(7, &reader, &mut out, 10), Ok(0));
        append(&backlog, b"one");
        append(&backlog, b"two");
        assert_eq!(bell.0.load(Ordering::Relaxed), 1, "once, until it reads again");
        while backlog.read(7, &reader, &mut out, 10).unwrap() > 0 {}
        assert_eq!(out, b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\nonetwo");
        assert_eq!(backlog.lag(7), 0);
    }

    #[test]
    fn stream_of_a_primary_is_kept_as_it_came() {
        let backlog = Backlog::default();
        backlog.follow(100, 3, 1000);
        append(&backlog, b"own");
        backlog.append_aside(b"own");
        backlog.forward(&Forward { bytes: b"theirs".to_vec(), db: 4 });
        assert_eq!((backlog.start(), backlog.selected(), backlog.cut()), (100, 4, (106, 4)));
        backlog.enter(7, 100).unwrap();
        let reader = Arc::new(Bell::default()) as Arc<dyn Reader>;
        let mut out = Vec::new();
        backlog.read(7, &reader, &mut out, 100).unwrap();
        backlog.set_foreign(false);
        append(&backlog, b"own");
        backlog.read(7, &reader, &mut out, 100).unwrap();
        assert_eq!(out, b"theirs*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\nown");
    }

    #[test]
    fn what_a_reader_needs_stays_and_the_rest_goes() {
        let backlog = Backlog::default();
        backlog.begin(100_000);
        backlog.enter(7, 0).unwrap();
        let unit = vec![b'x'; 10_000];
        for _ in 0..100 {
            append(&backlog, &unit);
        }
        assert_eq!((backlog.start(), backlog.lag(7)), (0, backlog.end()));
        let all = backlog.end() - backlog.start();
        assert!((all..all * 2).contains(&backlog.memory()), "{}", backlog.memory());
        backlog.leave(7);
        let kept = backlog.end() - backlog.start();
        assert!((100_000..130_000).contains(&kept), "{kept}");
        assert!((kept..kept * 2).contains(&backlog.memory()), "{}", backlog.memory());
        assert_eq!(backlog.enter(7, 0), Err(Lost));
        assert_eq!(backlog.enter(7, backlog.end() + 1), Err(Lost));
        assert_eq!(backlog.enter(7, backlog.end() - 100_000), Ok(()));
        backlog.stop();
        assert_eq!(backlog.memory(), 0);
    }

    #[test]
    fn large_unit_is_kept_no_longer_than_others() {
        let backlog = Backlog::default();
        backlog.begin(10_000);
        append(&backlog, b"small");
        let before = backlog.end();
        append(&backlog, &vec![b'x'; 50_000]);
        assert_eq!((backlog.start(), backlog.enter(7, before)), (before, Ok(())));
        backlog.leave(7);
        append(&backlog, &vec![b'y'; 200_000]);
        let kept = backlog.end() - backlog.start();
        assert!((10_000..80_000).contains(&kept), "{kept}");
        backlog.enter(7, backlog.start()).unwrap();
        let reader = Arc::new(Bell::default()) as Arc<dyn Reader>;
        let mut out = Vec::new();
        while backlog.read(7, &reader, &mut out, 1000).unwrap() > 0 {}
        assert_eq!(out, vec![b'y'; kept as usize]);
    }

    #[test]
    fn stream_of_an_earlier_process_goes_on() {
        let backlog = Backlog::default();
        backlog.begin(1000);
        append(&backlog, b"gone");
        let own = backlog.end();
        backlog.rebase(500);
        assert_eq!((backlog.start(), backlog.place()), (500, (500 + own, 0)));
        backlog.forget();
        assert_eq!((backlog.start(), backlog.end(), backlog.is_active()), (0, 0, false));
    }
}
