//! The whole keyspace of one moment into a file: an RDB, or the commands that make it again.
//!
//! Used by SAVE, by forked children and by whoever needs all keys in order.

use std::sync::Arc;

use crate::base::clock::UnixMs;
use crate::base::crc::Crc64;
use crate::base::fs::{DiskFile, FsError};
use crate::config::{Config, MaxmemoryPolicy, REDIS_VERSION};
use crate::ds::dict::Keyed;
use crate::keyspace::entry::{Entry, Held, Text};
use crate::keyspace::lfu;
use crate::keyspace::lock::Hold;
use crate::keyspace::walk::{entries, tables};
use crate::persist::aof::manifest::Seal;
use crate::persist::aof::rewrite::CommandWriter;
use crate::persist::encoders::{self, Encoders};
use crate::persist::rdb::format::VERSION_FIELD_DEADLINES;
use crate::persist::rdb::writer::{
    About, Compression, KeyFacts, ReplicationState, Settings, WriteError, Writer,
};
use crate::persist::sink::Sink;
use crate::value::ValueRef;

/// Bytes after which the kernel is asked to begin writing them to the disk
/// (`rdb-save-incremental-fsync`, `aof-rewrite-incremental-fsync`).
const WRITEBACK_BYTES: u64 = 4 * 1024 * 1024;

/// Everything about a snapshot that is decided before it begins, so that a child needs nothing else.
#[derive(Clone)]
pub struct Plan {
    /// Version, compression, checksum.
    pub rdb: Settings,
    /// Whether it will be the base of an append-only file.
    pub aof_base: bool,
    /// Where in the replication stream it stands, if it is for replicas.
    pub replication: Option<StreamPlace>,
    /// The moment.
    pub now: UnixMs,
    /// Memory in use, for the header.
    pub used_memory: u64,
    /// Whether keys carry how recently or how often they were used.
    pub usage: Usage,
    /// Microseconds to wait after each key, for tests; negative: keys for each microsecond.
    pub key_delay: i32,
    /// Whether the kernel is asked to write as the file grows.
    pub incremental_sync: bool,
    /// Function libraries' sources.
    pub functions: Vec<Arc<[u8]>>,
    /// Number of databases.
    pub databases: u32,
    /// Whether the file is read back before it counts.
    pub verify: bool,
    /// Processes that encode the keys of an RDB.
    pub processes: usize,
}

/// A place in the replication stream.
#[derive(Clone, Debug)]
pub struct StreamPlace {
    /// The stream's name.
    pub id: String,
    /// Bytes before the place.
    pub offset: u64,
    /// The database that is selected there.
    pub db: u32,
}

impl StreamPlace {
    fn state(&self) -> ReplicationState<'_> {
        let offset = i64::try_from(self.offset).unwrap_or(i64::MAX);
        ReplicationState { stream_db: i64::from(self.db), id: &self.id, offset }
    }
}

/// What eviction needs to know of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nothing.
    None,
    /// How long it was not used.
    Idle,
    /// How often it was used.
    Frequency {
        /// `lfu-decay-time`
        decay_minutes: u32,
    },
}

impl Plan {
    /// The plan that the settings ask for.
    pub fn new(config: &Config, functions: &[Arc<[u8]>], used_memory: u64) -> Plan {
        let compression = match config.rdbcompression {
            true => Compression::Lzf,
            false => Compression::Off,
        };
        let usage = match config.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => Usage::Idle,
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                Usage::Frequency { decay_minutes: config.lfu_decay_time as u32 }
            }
            _ => Usage::None,
        };
        Plan {
            rdb: Settings {
                version: config.rdb_version as u32,
                compression,
                checksum: config.rdbchecksum,
            },
            aof_base: false,
            replication: None,
            now: UnixMs::now(),
            used_memory,
            usage,
            key_delay: config.rdb_key_save_delay,
            incremental_sync: config.rdb_save_incremental_fsync,
            functions: functions.to_vec(),
            databases: u32::try_from(config.databases).unwrap_or(1),
            verify: config.rdb_verify,
            processes: encoders::wanted(config.rdb_save_processes, used_memory),
        }
    }
}

/// A file whose bytes the kernel is asked to write out while it grows.
pub struct GrowingFile<'f> {
    file: &'f DiskFile,
    incremental: bool,
    written: u64,
    asked: u64,
    sum: Crc64,
}

impl<'f> GrowingFile<'f> {
    /// Wraps an empty file.
    pub fn new(file: &'f DiskFile, incremental: bool) -> GrowingFile<'f> {
        GrowingFile { file, incremental, written: 0, asked: 0, sum: Crc64::xz() }
    }
}

impl GrowingFile<'_> {
    /// What was written.
    pub fn seal(&self) -> Seal {
        Seal { size: self.written, sum: self.sum.value() }
    }
}

impl Sink for GrowingFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.append(bytes).map_err(|(_, error)| error.source)?;
        self.written += bytes.len() as u64;
        self.sum.update(bytes);
        if self.incremental && self.written - self.asked >= WRITEBACK_BYTES {
            self.file.start_writeback(self.asked, self.written - self.asked);
            self.asked = self.written;
        }
        Ok(())
    }
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The format cannot say it, or the bytes could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Writing commands failed.
    #[error("write failed: {0}")]
    Io(#[from] std::io::Error),
    /// A process that encodes keys failed.
    #[error("encoding failed: {0}")]
    Encoder(String),
    /// The disk does not give back what was written.
    #[error("{} was written, but is not what is read back: {what}", path.display())]
    Unlike {
        /// The file.
        path: std::path::PathBuf,
        /// What is read.
        what: String,
    },
}

/// Keys in all databases.
pub fn key_count(hold: &Hold) -> u64 {
    let dbs = |at: usize| hold.shard(at).dbs().map(|(_, db)| db.keys.len() as u64).sum::<u64>();
    hold.shards().map(dbs).sum()
}

fn has_field_deadlines(hold: &Hold) -> bool {
    hold.shards().any(|at| hold.shard(at).dbs().any(|(_, db)| db.timed.is_some()))
}

fn facts(entry: &Entry, plan: &Plan) -> KeyFacts {
    let (mut idle_secs, mut freq) = (None, None);
    match plan.usage {
        Usage::None => {}
        Usage::Idle => {
            let now = plan.now.secs() as u32 & 0x00ff_ffff;
            idle_secs = Some(u64::from(now.wrapping_sub(entry.access()) & 0x00ff_ffff));
        }
        Usage::Frequency { decay_minutes } => {
            freq = Some(lfu::counter(entry.access(), plan.now, decay_minutes) as u8);
        }
    }
    KeyFacts { deadline: entry.deadline(), idle_secs, freq }
}

/// Writes an RDB of everything. `each_key` is called after every key.
pub fn write_rdb<S: Sink>(
    hold: &Hold,
    sink: S,
    plan: &Plan,
    each_key: &mut dyn FnMut(),
) -> Result<S, SnapshotError> {
    let mut settings = plan.rdb;
    // Version 11 is the default, asked for by nobody: 12 differs from it in these fields alone.
    if settings.version == VERSION_FIELD_DEADLINES - 1 && has_field_deadlines(hold) {
        settings.version = VERSION_FIELD_DEADLINES;
    }
    let mut writer = Writer::new(sink, settings)?;
    writer.header(&About {
        redis_version: REDIS_VERSION,
        created_secs: plan.now.secs(),
        used_memory: plan.used_memory,
        replication: plan.replication.as_ref().map(StreamPlace::state),
        aof_base: plan.aof_base,
    })?;
    for source in &plan.functions {
        writer.function(source)?;
    }
    let mut encoders = match plan.processes {
        0 | 1 => None,
        // Where they cannot be forked, this process does it all.
        processes => Encoders::start(hold, plan, settings, processes).ok(),
    };
    let mut keys = Keys::new(plan);
    for db in filled(hold, plan) {
        let tables = || tables(hold, hold.shards(), db);
        let count: usize = tables().map(|db| db.keys.len()).sum();
        let with_deadline: usize = tables().map(|db| db.with_deadline).sum();
        writer.database(u64::from(db), count as u64, with_deadline as u64)?;
        match &mut encoders {
            Some(encoders) => encoders.keys_of_next_db(&mut writer, each_key)?,
            None => keys.write(&mut writer, entries(hold, hold.shards(), db), |_| {
                each_key();
                Ok(())
            })?,
        }
    }
    Ok(writer.end()?)
}

/// Databases that have keys.
pub(super) fn filled(hold: &Hold, plan: &Plan) -> impl Iterator<Item = u32> {
    let has_keys = |db: &u32| tables(hold, hold.shards(), *db).any(|db| !db.keys.is_empty());
    (0..plan.databases).filter(has_keys)
}

/// Writes keys as the plan wants them.
pub(super) struct Keys<'p> {
    plan: &'p Plan,
    delay: Delay,
}

impl<'p> Keys<'p> {
    pub(super) fn new(plan: &'p Plan) -> Keys<'p> {
        Keys { plan, delay: Delay::new(plan.key_delay) }
    }

    /// `each_key` is called after every key.
    pub(super) fn write<'e, S: Sink>(
        &mut self,
        writer: &mut Writer<S>,
        entries: impl Iterator<Item = &'e Entry>,
        mut each_key: impl FnMut(&mut Writer<S>) -> std::io::Result<()>,
    ) -> Result<(), SnapshotError> {
        for entry in entries {
            let facts = facts(entry, self.plan);
            match entry.held() {
                Held::Text(Text::Int(number)) => {
                    writer.integer_entry(entry.key(), facts, number)?;
                }
                Held::Text(Text::Bytes(bytes)) => writer.text_entry(entry.key(), facts, bytes)?,
                Held::Value(value) => writer.entry(entry.key(), facts, value)?,
            }
            self.delay.pass();
            each_key(writer)?;
        }
        Ok(())
    }
}

/// Writes the commands that make everything again (`aof-use-rdb-preamble no`).
pub fn write_commands<S: Sink>(
    hold: &Hold,
    sink: S,
    plan: &Plan,
    stamp: bool,
    each_key: &mut dyn FnMut(),
) -> Result<S, SnapshotError> {
    let mut writer = CommandWriter::new(sink);
    if stamp {
        writer.timestamp(plan.now.secs())?;
    }
    for source in &plan.functions {
        writer.function(source)?;
    }
    let mut delay = Delay::new(plan.key_delay);
    for db in filled(hold, plan) {
        writer.database(u64::from(db))?;
        for entry in entries(hold, hold.shards(), db) {
            match entry.held() {
                Held::Text(text) => {
                    text.with(|bytes| writer.command(&[b"SET", entry.key(), bytes]))?;
                    writer.deadline(entry.key(), entry.deadline())?;
                }
                Held::Value(value) => write_value(&mut writer, entry, value)?,
            }
            delay.pass();
            each_key();
        }
    }
    Ok(writer.end()?)
}

fn write_value<S: Sink>(
    writer: &mut CommandWriter<S>,
    entry: &Entry,
    value: ValueRef<'_>,
) -> std::io::Result<()> {
    writer.entry(entry.key(), entry.deadline(), value)
}

/// `rdb-key-save-delay`.
struct Delay {
    micros: i32,
    keys: i32,
}

impl Delay {
    fn new(micros: i32) -> Delay {
        Delay { micros, keys: 0 }
    }

    fn pass(&mut self) {
        let sleep = |micros: u64| std::thread::sleep(std::time::Duration::from_micros(micros));
        if self.micros > 0 {
            sleep(self.micros.unsigned_abs().into());
        } else if self.micros < 0 {
            self.keys += 1;
            if self.keys >= -self.micros {
                self.keys = 0;
                sleep(1);
            }
        }
    }
}
