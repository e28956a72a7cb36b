//! Writing a snapshot: a header, events, an end with a checksum, streamed to a sink.
//!
//! Everything here may run in a forked child: no locks, no logging, no panics, no clock. What the
//! child must not find out by itself (time, memory, versions) is in the arguments.

use std::io;

use super::format::{VERSION_CHECKSUM, VERSION_MAX, length, opcode};
use crate::base::clock::UnixMs;
use crate::base::crc::Crc64;
use crate::base::lzf::Compressor;
use crate::base::num::parse_i64;
use crate::persist::sink::Sink;

/// Bytes that are gathered before they are summed and handed to the sink.
const BUFFER_BYTES: usize = 128 * 1024;
/// The longest string that can be an integer of 32 bits.
const INTEGER_TEXT_BYTES_MAX: usize = 11;
/// The shortest string worth compressing.
const COMPRESS_BYTES_MIN: usize = 21;
/// Bytes that compressing must save.
const COMPRESS_GAIN_BYTES: usize = 4;
/// The oldest version that can be written.
pub const VERSION_WRITE_MIN: u32 = 9;

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The sink failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The version cannot express this.
    #[error("RDB version {version} cannot hold {what}")]
    Inexpressible {
        /// The version asked for.
        version: u32,
        /// What it cannot hold.
        what: &'static str,
    },
}

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `rdb-version`: 9 to 12.
    pub version: u32,
    /// `rdbcompression`.
    pub compression: Compression,
    /// `rdbchecksum`.
    pub checksum: bool,
}

/// Whether strings are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Those that get smaller.
    Lzf,
    /// None.
    Off,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { version: 11, compression: Compression::Lzf, checksum: true }
    }
}

/// What the header says about the file.
#[derive(Clone, Debug, Default)]
pub struct About<'a> {
    /// `redis-ver`.
    pub redis_version: &'a str,
    /// `ctime`, seconds.
    pub created_secs: u64,
    /// `used-mem`, bytes.
    pub used_memory: u64,
    /// The replication state, where there is one.
    pub replication: Option<ReplicationState<'a>>,
    /// Whether this is the base of an append-only file.
    pub aof_base: bool,
}

/// Where in which stream of commands a snapshot was taken.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationState<'a> {
    /// `repl-stream-db`.
    pub stream_db: i64,
    /// `repl-id`.
    pub id: &'a str,
    /// `repl-offset`.
    pub offset: i64,
}

/// What precedes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFacts {
    /// When it expires.
    pub deadline: Option<UnixMs>,
    /// Seconds since it was used (LRU policies).
    pub idle_secs: Option<u64>,
    /// How often it was used (LFU policies).
    pub freq: Option<u8>,
}

/// The writer.
pub struct Writer<S: Sink> {
    sink: S,
    buffer: Vec<u8>,
    sum: Option<Crc64>,
    handed_over: u64,
    settings: Settings,
    compressor: Compressor,
    compressed: Vec<u8>,
}

impl<S: Sink> Writer<S> {
    /// A writer; nothing is written yet.
    pub fn new(sink: S, settings: Settings) -> Result<Writer<S>, WriteError> {
        if !(VERSION_WRITE_MIN..=VERSION_MAX).contains(&settings.version) {
            let version = settings.version;
            return Err(WriteError::Inexpressible { version, what: "anything written here" });
        }
        Ok(Writer::with_sum(sink, settings, settings.checksum.then(Crc64::new)))
    }

    fn with_sum(sink: S, settings: Settings, sum: Option<Crc64>) -> Writer<S> {
        Writer {
            sink,
            buffer: Vec::with_capacity(BUFFER_BYTES + 1024),
            sum,
            handed_over: 0,
            settings,
            compressor: Compressor::new(),
            compressed: Vec::new(),
        }
    }

    /// How it writes.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.handed_over + self.buffer.len() as u64
    }

    /// Hands everything over to the sink.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(sum) = &mut self.sum {
            sum.update(&self.buffer);
        }
        self.sink.write(&self.buffer)?;
        self.handed_over += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// The sink, which has what was handed over to it.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// The sink, after everything has been handed over to it.
    pub fn into_sink(mut self) -> io::Result<S> {
        self.flush()?;
        Ok(self.sink)
    }

    /// Signature, version and the facts about the file.
    pub fn header(&mut self, about: &About) -> Result<(), WriteError> {
        let signature = format!("REDIS{:04}", self.settings.version);
        self.raw(signature.as_bytes())?;
        self.aux(b"redis-ver", about.redis_version.as_bytes())?;
        self.aux_number(b"redis-bits", i64::from(usize::BITS))?;
        self.aux_number(b"ctime", i64::try_from(about.created_secs).unwrap_or(i64::MAX))?;
        self.aux_number(b"used-mem", i64::try_from(about.used_memory).unwrap_or(i64::MAX))?;
        if let Some(state) = about.replication {
            self.aux_number(b"repl-stream-db", state.stream_db)?;
            self.aux(b"repl-id", state.id.as_bytes())?;
            self.aux_number(b"repl-offset", state.offset)?;
        }
        self.aux_number(b"aof-base", i64::from(about.aof_base))
    }

    /// A named string.
    pub fn aux(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        self.raw(&[opcode::AUX])?;
        self.string(key)?;
        Ok(self.string(value)?)
    }

    fn aux_number(&mut self, key: &[u8], value: i64) -> Result<(), WriteError> {
        self.aux(key, itoa::Buffer::new().format(value).as_bytes())
    }

    /// A function library's source.
    pub fn function(&mut self, source: &[u8]) -> Result<(), WriteError> {
        let version = self.settings.version;
        if version < 10 {
            return Err(WriteError::Inexpressible { version, what: "functions" });
        }
        self.raw(&[opcode::FUNCTION2])?;
        Ok(self.string(source)?)
    }

    /// The database of the following keys and its sizes.
    pub fn database(&mut self, db: u64, keys: u64, expires: u64) -> Result<(), WriteError> {
        self.raw(&[opcode::SELECTDB])?;
        self.length(db)?;
        self.raw(&[opcode::RESIZEDB])?;
        self.length(keys)?;
        Ok(self.length(expires)?)
    }

    /// What precedes a key, and its name; the value follows. `code` is the value's type.
    pub(super) fn key(&mut self, key: &[u8], facts: KeyFacts, code: u8) -> io::Result<()> {
        if let Some(deadline) = facts.deadline {
            self.raw(&[opcode::EXPIRETIME_MS])?;
            self.raw(&i64::try_from(deadline.0).unwrap_or(i64::MAX).to_le_bytes())?;
        }
        if let Some(secs) = facts.idle_secs {
            self.raw(&[opcode::IDLE])?;
            self.length(secs)?;
        }
        if let Some(freq) = facts.freq {
            self.raw(&[opcode::FREQ, freq])?;
        }
        self.raw(&[code])?;
        self.string(key)
    }

    /// The end, with the checksum; hands everything over and returns the sink.
    pub fn end(mut self) -> Result<S, WriteError> {
        const { assert!(VERSION_WRITE_MIN >= VERSION_CHECKSUM) };
        self.raw(&[opcode::EOF])?;
        self.flush()?;
        let sum = self.sum.take().map_or(0, |sum| sum.value());
        self.raw(&sum.to_le_bytes())?;
        Ok(self.into_sink()?)
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= BUFFER_BYTES {
            self.flush()?;
            if let Some(sum) = &mut self.sum {
                sum.update(bytes);
            }
            self.handed_over += bytes.len() as u64;
            return self.sink.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// A length prefix.
    pub fn length(&mut self, len: u64) -> io::Result<()> {
        if len < 1 << 6 {
            self.raw(&[len as u8])
        } else if len < 1 << 14 {
            self.raw(&[length::BITS_14 << 6 | (len >> 8) as u8, len as u8])
        } else if let Ok(len) = u32::try_from(len) {
            let [a, b, c, d] = len.to_be_bytes();
            self.raw(&[length::BYTES_4, a, b, c, d])
        } else {
            self.raw(&[length::BYTES_8])?;
            self.raw(&len.to_be_bytes())
        }
    }

    /// A string, in the smallest form the settings allow.
    pub fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= INTEGER_TEXT_BYTES_MAX
            && let Some(value) = parse_i64(bytes).and_then(|value| i32::try_from(value).ok())
        {
            return self.integer(value);
        }
        if self.settings.compression == Compression::Lzf && bytes.len() >= COMPRESS_BYTES_MIN {
            let mut compressed = std::mem::take(&mut self.compressed);
            compressed.clear();
            let room = bytes.len() - COMPRESS_GAIN_BYTES;
            let smaller = self.compressor.compress(bytes, room, &mut compressed);
            let written = if smaller { self.packed(&compressed, bytes.len()) } else { Ok(()) };
            self.compressed = compressed;
            if self.compressed.capacity() > 8 * BUFFER_BYTES {
                self.compressed = Vec::new();
            }
            if smaller {
                return written;
            }
        }
        self.length(bytes.len() as u64)?;
        self.raw(bytes)
    }

    /// A string that is an integer of 64 bits in decimal.
    pub fn decimal(&mut self, value: i64) -> io::Result<()> {
        match i32::try_from(value) {
            Ok(value) => self.integer(value),
            Err(_) => self.string(itoa::Buffer::new().format(value).as_bytes()),
        }
    }

    fn integer(&mut self, value: i32) -> io::Result<()> {
        const ENCODED: u8 = length::ENCODED << 6;
        if let Ok(value) = i8::try_from(value) {
            self.raw(&[ENCODED | length::INT_8, value as u8])
        } else if let Ok(value) = i16::try_from(value) {
            let [a, b] = value.to_le_bytes();
            self.raw(&[ENCODED | length::INT_16, a, b])
        } else {
            let [a, b, c, d] = value.to_le_bytes();
            self.raw(&[ENCODED | length::INT_32, a, b, c, d])
        }
    }

    fn packed(&mut self, compressed: &[u8], len: usize) -> io::Result<()> {
        self.raw(&[length::ENCODED << 6 | length::LZF])?;
        self.length(compressed.len() as u64)?;
        self.length(len as u64)?;
        self.raw(compressed)
    }
}
