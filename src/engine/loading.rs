//! Loading: what the files hold becomes the keyspace, or the start fails and says why.
//!
//! Snapshots are read by one thread and decoded by several; commands are replayed through the same
//! path that clients take. With `appendonly yes`, no manifest, and a snapshot or a single
//! append-only file of an older server, that file is adopted as the base: a start is never empty
//! beside data.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use parking_lot::Mutex;

use crate::base::clock::{self, Steady, UnixMs};
use crate::base::fs::{DiskFile, FsError};
use crate::config::Config;
use crate::engine::client::Client;
use crate::engine::core::{Attention, Core, Worker};
use crate::engine::session::Session;
use crate::engine::{dispatch, gate, rewriting, saving};
use crate::keyspace::effects::{Effects, Env};
use crate::keyspace::entry::{Entry, New};
use crate::keyspace::lock::{Hold, ShardSet};
use crate::keyspace::view::DbView;
use crate::persist::aof::manifest::{
    Invalid, Manifest, ManifestError, Part, manifest_name, path_in,
};
use crate::persist::aof::replay::{self, Outcome};
use crate::persist::rdb::decode::{DecodeError, decode};
use crate::persist::rdb::format::Dialect;
use crate::persist::rdb::reader::{self, Event, KeyRecord, RdbError, Reader, Verify};
use crate::resp::args::OwnedArgs;
use crate::resp::error::CmdError;
use crate::resp::reply::{Protocol, Reply};
use crate::stats::memory::Memory;
use crate::value::Value;

/// Keys handed to a decoding thread at a time.
const BATCH_KEYS: usize = 256;
/// Bytes of values handed over at a time.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for a decoding thread at the most.
const BATCHES_WAITING: usize = 8;
/// How often progress is told in the log.
const PROGRESS_SECS: u64 = 2;
/// Errors of replayed commands told in the log.
const REPLAY_ERRORS_TOLD: u64 = 5;

/// Why loading failed. The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The manifest is wrong.
    #[error("{0}")]
    Manifest(ManifestError),
    /// A snapshot is damaged.
    #[error("Internal error in RDB reading {path}: {error}{place}")]
    Rdb {
        /// The file.
        path: String,
        /// What is wrong.
        error: RdbError,
        /// How far it was read, where the error does not say it.
        place: String,
    },
    /// A key of a snapshot cannot be had.
    #[error("Internal error in RDB reading {path}, key '{key}' (offset {offset}): {what}")]
    Key {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// Where its value begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Anything else about a file.
    #[error("{0}")]
    File(String),
}

/// Where keys of a snapshot go.
pub enum Target<'h> {
    /// Into the shards, each locked for itself, by several threads.
    Parallel,
    /// Into shards that are all locked by the caller.
    Held(&'h mut Hold),
}

/// What to do with a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// The file is damaged.
    Refuse,
    /// The file's key replaces it (DEBUG RELOAD NOFLUSH).
    Replace,
}

/// How a snapshot is loaded.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Whether keys past their deadline are passed over.
    pub skip_expired: bool,
    /// See [`Duplicates`].
    pub duplicates: Duplicates,
}

struct Shared<'l> {
    core: &'static Core,
    config: &'l Config,
    env: Env,
    how: How,
    path: String,
    dialect: Dialect,
    expired: AtomicU64,
    emptied: AtomicU64,
    loaded: AtomicU64,
    failed: AtomicBool,
    error: Mutex<Option<LoadError>>,
}

/// Loads what the settings name, at the start.
pub fn load_at_start(core: &'static Core) -> Result<(), LoadError> {
    let config = core.config();
    begin(core);
    core.persist.aof.lock().dir = rewriting::directory(&config);
    saving::remove_leftovers(core, &config);
    if config.appendonly {
        load_aof(core, &config)?;
        // Writes are taken only when they can be recorded.
        let hold = core.keyspace.lock_all();
        rewriting::open(core, &hold).map_err(|error| {
            LoadError::File(format!("Can't open the append-only file: {error}"))
        })?;
    } else {
        let manifest = load_manifest(core, &config)?;
        core.persist.aof.lock().manifest = manifest.unwrap_or_default();
        load_snapshot_file(core, &config)?;
    }
    end(core);
    Ok(())
}

/// From now on clients are told that files are loaded.
pub fn begin(core: &Core) {
    let loading = &core.persist.loading;
    loading.active.store(true, Ordering::Relaxed);
    loading.since.store(UnixMs::now().secs() as i64, Ordering::Relaxed);
    loading.memory.store(Memory::read().allocated, Ordering::Relaxed);
    for counter in [&loading.total, &loading.done, &loading.keys] {
        counter.store(0, Ordering::Relaxed);
    }
    core.set_attention(Attention::LOADING, true);
}

/// Clients are served again.
pub fn end(core: &Core) {
    core.set_attention(Attention::LOADING, false);
    core.persist.loading.active.store(false, Ordering::Relaxed);
}

fn load_snapshot_file(core: &'static Core, config: &Config) -> Result<(), LoadError> {
    let path = saving::snapshot_path(config);
    let Some(size) = core.persist.disk.size(&path)? else { return Ok(()) };
    core.persist.loading.total.store(size, Ordering::Relaxed);
    let before = clock::steady();
    let how = How { skip_expired: true, duplicates: Duplicates::Refuse };
    let file = core.persist.disk.open(&path)?;
    load_rdb(core, config, file, &path, size, Target::Parallel, how)?;
    tracing::info!("DB loaded from disk: {:.3} seconds", before.elapsed().as_secs_f64());
    Ok(())
}

/// Loads a snapshot; gives the stream back as it stands behind it.
pub fn load_rdb(
    core: &'static Core,
    config: &Config,
    file: DiskFile,
    path: &Path,
    size: u64,
    target: Target<'_>,
    how: How,
) -> Result<impl Read + use<>, LoadError> {
    let shown = path.display().to_string();
    let wrong = |error| damaged(&shown, error, 0);
    let verify = if config.rdbchecksum { Verify::Checksum } else { Verify::Nothing };
    let mut reader = Reader::open(file, Some(size), verify).map_err(wrong)?;
    let shared = Shared {
        core,
        config,
        env: core.env(),
        how,
        path: shown.clone(),
        dialect: reader.dialect(),
        expired: AtomicU64::new(0),
        emptied: AtomicU64::new(0),
        loaded: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        error: Mutex::new(None),
    };
    match target {
        Target::Held(hold) => {
            let mut insert = |records: Vec<KeyRecord>| shared.insert_all(records, Some(hold));
            read_events(&shared, &mut reader, &mut insert)
        }
        Target::Parallel => load_in_parallel(&shared, &mut reader),
    }?;
    if let Some(error) = shared.error.lock().take() {
        return Err(error);
    }
    let (loaded, expired) =
        (shared.loaded.load(Ordering::Relaxed), shared.expired.load(Ordering::Relaxed));
    let emptied = shared.emptied.load(Ordering::Relaxed);
    core.persist.book.lock().loaded_keys = (expired, loaded);
    if emptied > 0 {
        tracing::info!(
            "Done loading RDB, keys loaded: {loaded}, keys expired: {expired}, empty keys \
             skipped: {emptied}."
        );
    } else {
        tracing::info!("Done loading RDB, keys loaded: {loaded}, keys expired: {expired}.");
    }
    Ok(reader.into_rest().into_read())
}

fn load_in_parallel(shared: &Shared<'_>, reader: &mut Reader<DiskFile>) -> Result<(), LoadError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let (sender, receiver) = sync_channel::<Vec<KeyRecord>>(BATCHES_WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let receiver = Arc::clone(&receiver);
            scope.spawn(move || take_batches(shared, &receiver));
        }
        let mut insert = |records: Vec<KeyRecord>| {
            // The threads end only when the sender is dropped.
            let _ = sender.send(records);
        };
        let read = read_events(shared, reader, &mut insert);
        drop(sender);
        read
    })
}

fn take_batches(shared: &Shared<'_>, batches: &Mutex<Receiver<Vec<KeyRecord>>>) {
    loop {
        let batch = batches.lock().recv();
        let Ok(records) = batch else { return };
        shared.insert_all(records, None);
    }
}

fn damaged(path: &str, error: RdbError, read_bytes: u64) -> LoadError {
    let place = match error.offset() {
        Some(_) => String::new(),
        None => format!(" (offset {read_bytes})"),
    };
    LoadError::Rdb { path: path.to_owned(), error, place }
}

/// Reads the snapshot to its end and hands its keys over in batches.
fn read_events(
    shared: &Shared<'_>,
    reader: &mut Reader<DiskFile>,
    insert: &mut dyn FnMut(Vec<KeyRecord>),
) -> Result<(), LoadError> {
    let core = shared.core;
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut progress = ProgressLog::new();
    let from = core.persist.loading.done.load(Ordering::Relaxed);
    let mut functions = Vec::new();
    loop {
        let event = reader.next_event();
        match event.map_err(|error| damaged(&shared.path, error, reader.offset()))? {
            Event::Aux { key, value } => tell_aux(&key, &value),
            Event::SelectDb(db) if db >= shared.config.databases as u64 => {
                return Err(LoadError::File(format!(
                    "FATAL: Data file was created with a Redis server configured to handle more \
                     than {} databases. Exiting",
                    shared.config.databases
                )));
            }
            Event::SelectDb(_) | Event::ResizeDb { .. } | Event::SlotInfo { .. } => {}
            Event::Function(source) => functions.push(Arc::from(source)),
            Event::ModuleAux { name } => {
                return Err(LoadError::File(format!(
                    "The RDB file contains AUX module data I can't load: no matching module \
                     '{name}'"
                )));
            }
            Event::Key(record) => {
                bytes += record.payload.len();
                records.push(record);
                if records.len() >= BATCH_KEYS || bytes >= BATCH_BYTES {
                    insert(std::mem::take(&mut records));
                    bytes = 0;
                    core.persist.loading.done.store(from + reader.offset(), Ordering::Relaxed);
                    progress.tell(core);
                }
                delay(shared.config.key_load_delay);
            }
            Event::End(_) => break,
        }
        if shared.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
    insert(records);
    core.persist.loading.done.store(from + reader.offset(), Ordering::Relaxed);
    *core.persist.functions.lock() = functions;
    Ok(())
}

/// `key-load-delay`, microseconds.
fn delay(micros: i32) {
    if micros > 0 {
        std::thread::sleep(std::time::Duration::from_micros(micros.unsigned_abs().into()));
    }
}

fn tell_aux(key: &[u8], value: &[u8]) {
    let value = String::from_utf8_lossy(value);
    match key {
        b"redis-ver" | b"valkey-ver" => tracing::info!("Loading RDB produced by version {value}"),
        b"ctime" => {
            let age = value.parse().map_or(0, |at| UnixMs::now().secs().saturating_sub(at));
            tracing::info!("RDB age {age} seconds");
        }
        b"used-mem" => {
            let bytes: f64 = value.parse().unwrap_or(0.0);
            tracing::info!("RDB memory usage when created {:.2} Mb", bytes / 1_048_576.0);
        }
        b"aof-base" if value == "1" => tracing::info!("RDB is base AOF"),
        _ => {}
    }
}

impl Shared<'_> {
    fn insert_all(&self, records: Vec<KeyRecord>, hold: Option<&mut Hold>) {
        let mut hold = hold;
        for record in records {
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.insert(record, hold.as_deref_mut()) {
                self.failed.store(true, Ordering::Relaxed);
                self.error.lock().get_or_insert(error);
                return;
            }
        }
    }

    fn insert(&self, record: KeyRecord, hold: Option<&mut Hold>) -> Result<(), LoadError> {
        let damaged = |what: String| LoadError::Key {
            path: self.path.clone(),
            key: String::from_utf8_lossy(&record.key).into_owned(),
            offset: record.offset,
            what,
        };
        if self.how.skip_expired && record.deadline.is_some_and(|at| at < self.env.now) {
            self.expired.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let value = match decode(record.code, self.dialect, &record.payload, &self.env.limits) {
            Ok(value) => value,
            Err(DecodeError::Empty) => {
                let told = self.emptied.fetch_add(1, Ordering::Relaxed);
                if told < 10 {
                    let key = String::from_utf8_lossy(&record.key);
                    tracing::info!("rdbLoadObject skipping empty key: {key}");
                }
                return Ok(());
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        let new = match &value {
            Value::Str(bytes) => New::Bytes(bytes),
            _ => New::Value(value),
        };
        let mut entry = Entry::new(&record.key, new, record.deadline);
        entry.set_access(self.access(&record));
        let replaced = match hold {
            Some(hold) => self.put(entry, record.db, hold),
            None => {
                let mut set = ShardSet::default();
                set.add_key(&record.key);
                self.put(entry, record.db, &mut self.core.keyspace.lock(&set))
            }
        };
        if replaced && self.how.duplicates == Duplicates::Refuse {
            return Err(damaged("the key is there twice".to_owned()));
        }
        self.loaded.fetch_add(1, Ordering::Relaxed);
        self.core.persist.loading.keys.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn put(&self, entry: Entry, db: u64, hold: &mut Hold) -> bool {
        let mut fx = Effects::default();
        let db = u32::try_from(db).expect("read_events refuses databases that are not there");
        DbView::new(hold, &self.env, &mut fx, db).insert_loaded(entry)
    }

    fn access(&self, record: &KeyRecord) -> u32 {
        match (record.freq, record.idle_secs) {
            (Some(freq), _) => ((self.env.now.0 / 60_000) as u32 & 0xffff) << 8 | u32::from(freq),
            (None, Some(idle)) => self.env.now.secs().saturating_sub(idle) as u32,
            (None, None) => self.env.now.secs() as u32,
        }
    }
}

/// Tells every other second how far loading is.
struct ProgressLog {
    began: Steady,
    told: Steady,
}

impl ProgressLog {
    fn new() -> ProgressLog {
        let now = clock::steady();
        ProgressLog { began: now, told: now }
    }

    fn tell(&mut self, core: &Core) {
        if self.told.elapsed().as_secs() < PROGRESS_SECS {
            return;
        }
        self.told = clock::steady();
        let loading = &core.persist.loading;
        let total = loading.total.load(Ordering::Relaxed).max(1);
        let done = loading.done.load(Ordering::Relaxed);
        let share = done as f64 / total as f64;
        let left = self.began.elapsed().as_secs_f64() * (1.0 / share.max(0.001) - 1.0);
        tracing::info!(
            "Loading: {:.1}% of {:.1} MB, {} keys, about {:.0} seconds left",
            share * 100.0,
            total as f64 / 1_048_576.0,
            loading.keys.load(Ordering::Relaxed),
            left
        );
    }
}

/// The manifest, which also counts while `appendonly` is off: the next base is numbered after its
/// own. None if there is no file, or none that names any part.
fn load_manifest(core: &Core, config: &Config) -> Result<Option<Manifest>, LoadError> {
    let (dir, name) = (rewriting::directory(config), config.appendfilename.as_bytes());
    let found = Manifest::load(&core.persist.disk, &dir, name).map_err(|error| {
        let shown = match &error {
            ManifestError::Invalid(Invalid { what, line: Some((number, line)) }) => {
                format!("{what}, at line {number}: '{line}'")
            }
            error => error.to_string(),
        };
        LoadError::File(format!(
            "Error loading the append only file manifest {}: {shown}",
            path_in(&dir, &manifest_name(name)).display()
        ))
    })?;
    Ok(found.filter(|manifest| !manifest.is_empty()))
}

/// `appendonly yes`: the manifest's files, or what there is instead of them.
fn load_aof(core: &'static Core, config: &Config) -> Result<(), LoadError> {
    let (dir, disk) = (rewriting::directory(config), &core.persist.disk);
    let name = config.appendfilename.as_bytes();
    if let Some(manifest) = load_manifest(core, config)? {
        load_parts(core, config, &manifest, &dir)?;
        core.persist.aof.lock().manifest = manifest;
        rewriting::collect_garbage(core, config);
        return Ok(());
    }
    let single = path_in(&config.dir.to_path(), name);
    let has_single = disk.size(&single)?.is_some();
    if !Manifest::is_announced(disk, &dir, name)? {
        let link = has_single.then_some(name);
        rewriting::refuse_orphans(&dir, name, link).map_err(LoadError::File)?;
    }
    if has_single {
        return adopt_single_file(core, config, &single, &dir);
    }
    let snapshot = saving::snapshot_path(config);
    if disk.size(&snapshot)?.is_some_and(|size| size > 0) {
        tracing::info!(
            "appendonly is on, and there is no append only file: {} is adopted as its base",
            snapshot.display()
        );
        load_snapshot_file(core, config)?;
    }
    Ok(())
}

/// Loads the append-only file of a server before 7.0, and then makes it the base.
fn adopt_single_file(
    core: &'static Core,
    config: &Config,
    single: &Path,
    dir: &Path,
) -> Result<(), LoadError> {
    let (disk, name) = (&core.persist.disk, config.appendfilename.as_bytes());
    core.persist.loading.total.store(disk.size(single)?.unwrap_or(0), Ordering::Relaxed);
    load_part(core, config, single, true)?;
    disk.make_dir(dir)?;
    let mut manifest = Manifest::default();
    manifest.adopt_single_file(name);
    let base = path_in(dir, name);
    // What an earlier attempt left is not vouched for by any manifest.
    disk.remove(&base)?;
    disk.link_or_copy(single, &base)?;
    disk.sync_dir(dir)?;
    manifest.save(disk, dir, name)?;
    disk.remove(single)?;
    tracing::info!("Successfully migrated an old-style AOF configuration ({})", single.display());
    core.persist.aof.lock().manifest = manifest;
    Ok(())
}

fn load_parts(
    core: &'static Core,
    config: &Config,
    manifest: &Manifest,
    dir: &Path,
) -> Result<(), LoadError> {
    let disk = &core.persist.disk;
    let parts: Vec<&Part> = manifest.parts().collect();
    let mut total = 0;
    for part in &parts {
        let path = part.path(dir);
        let Some(size) = disk.size(&path)? else {
            return Err(LoadError::File(format!(
                "The AOF manifest names {}, which does not exist: No such file or directory",
                path.display()
            )));
        };
        total += size;
    }
    core.persist.loading.total.store(total, Ordering::Relaxed);
    for (index, part) in parts.iter().enumerate() {
        let before = clock::steady();
        let path = part.path(dir);
        let last = index + 1 == parts.len();
        load_part(core, config, &path, last)?;
        let kind = match part.kind {
            crate::persist::aof::manifest::PartKind::Base => "base",
            _ => "incr",
        };
        tracing::info!(
            "DB loaded from {kind} file {}: {:.3} seconds",
            String::from_utf8_lossy(&part.name),
            before.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// A part: a snapshot, commands, or a snapshot with commands behind it.
fn load_part(
    core: &'static Core,
    config: &Config,
    path: &Path,
    last: bool,
) -> Result<(), LoadError> {
    let disk = &core.persist.disk;
    let size = disk.size(path)?.unwrap_or(0);
    if size == 0 {
        return Ok(());
    }
    let mut head = [0u8; 9];
    let count = disk.open(path)?.read(&mut head).unwrap_or(0);
    let file = disk.open(path)?;
    if reader::is_snapshot(&head[..count]) {
        let how = How { skip_expired: false, duplicates: Duplicates::Refuse };
        let from = core.persist.loading.done.load(Ordering::Relaxed);
        let mut rest = load_rdb(core, config, file, path, size, Target::Parallel, how)?;
        let done = core.persist.loading.done.load(Ordering::Relaxed) - from;
        return replay_commands(core, config, &mut rest, done, path, last);
    }
    replay_commands(core, config, std::io::BufReader::with_capacity(1 << 16, file), 0, path, last)
}

fn replay_commands(
    core: &'static Core,
    config: &Config,
    file: impl Read,
    offset: u64,
    path: &Path,
    last: bool,
) -> Result<(), LoadError> {
    let mut player = Player::new(core, config);
    let mut refused = None;
    let outcome = replay::replay(file, offset, &mut |entry: replay::Entry| match player
        .play(&entry.argv, entry.end)
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            refused = Some(error);
            ControlFlow::Break(())
        }
    });
    player.leave();
    let shown = path.display();
    match outcome {
        // Going on without it would lose it at the next rewrite.
        Ok(Outcome::Stopped { offset }) => Err(LoadError::File(format!(
            "A command of the append only file {shown} at offset {offset} can't be executed: {}",
            refused.map(|error| error.to_string()).unwrap_or_default()
        ))),
        Err(error) => Err(LoadError::File(format!(
            "Unrecoverable error reading the append only file {shown}: {error}"
        ))),
        Ok(Outcome::Ok { .. }) => Ok(()),
        Ok(Outcome::Truncated { valid_up_to, .. }) => {
            cut_tail(core, config, path, valid_up_to, last)
        }
        Ok(Outcome::Bad { offset, what, .. }) => Err(LoadError::File(format!(
            "Bad file format reading the append only file {shown}: {what} at offset {offset}. Make \
             a backup of your AOF file, then use rekeep check-aof --fix <manifest>"
        ))),
    }
}

/// A tail that was being written when the process or the machine ended.
fn cut_tail(
    core: &Core,
    config: &Config,
    path: &Path,
    valid_up_to: u64,
    last: bool,
) -> Result<(), LoadError> {
    let shown = path.display();
    if !last || !config.aof_load_truncated {
        return Err(LoadError::File(format!(
            "Unexpected end of file reading the append only file {shown} behind offset \
             {valid_up_to}. You can: 1) make a backup of your AOF file, then use rekeep check-aof \
             --fix <manifest>; 2) set 'aof-load-truncated' to yes and restart the server, if it is \
             the last file"
        )));
    }
    let size = core.persist.disk.size(path)?.unwrap_or(0);
    tracing::warn!("!!! Warning: short read while loading the AOF file {shown}!!!");
    tracing::warn!(
        "AOF {shown} loaded anyway because aof-load-truncated is enabled; its last {} bytes are \
         cut off behind offset {valid_up_to}",
        size.saturating_sub(valid_up_to)
    );
    core.persist.disk.truncate(path, valid_up_to)?;
    Ok(())
}

/// A session that replays commands.
struct Player {
    worker: Worker,
    session: Session,
    reply: Reply,
    env: Env,
    progress: ProgressLog,
    from: u64,
    errors: u64,
    commands: u64,
    delay: i32,
}

impl Player {
    fn new(core: &'static Core, config: &Config) -> Player {
        let client = Client::new(0, String::new(), String::new(), -1, UnixMs::now());
        let account = Arc::clone(core.users.default_account());
        let mut session = Session::new(Arc::new(client), account, true);
        session.replaying = true;
        Player {
            worker: Worker::new(core),
            session,
            reply: Reply::new(Protocol::Resp2),
            env: core.env(),
            progress: ProgressLog::new(),
            from: core.persist.loading.done.load(Ordering::Relaxed),
            errors: 0,
            commands: 0,
            delay: config.key_load_delay,
        }
    }

    /// An error says that there is no such command here.
    fn play(&mut self, argv: &[Vec<u8>], end: u64) -> Result<(), CmdError> {
        let core = self.worker.core;
        let args = OwnedArgs::new(argv.iter().map(Vec::as_slice));
        let row = gate::find(core, &args.args())?;
        dispatch::execute(
            &self.worker,
            &self.env,
            &mut self.session,
            args.args(),
            &mut self.reply,
            Ok(row),
            None,
        );
        if self.reply.bytes().first() == Some(&b'-') {
            self.errors += 1;
            if self.errors <= REPLAY_ERRORS_TOLD {
                tracing::warn!(
                    "A command of the append only file that ends at offset {end} answered: {}",
                    String::from_utf8_lossy(self.reply.bytes()).trim_end()
                );
            }
        }
        self.reply.cut(0);
        self.commands += 1;
        if self.commands.is_multiple_of(1024) {
            core.persist.loading.done.store(self.from + end, Ordering::Relaxed);
            self.progress.tell(core);
            self.env = core.env();
        }
        delay(self.delay);
        Ok(())
    }

    fn leave(&mut self) {
        if self.errors > REPLAY_ERRORS_TOLD {
            tracing::warn!("{} commands of the append only file failed", self.errors);
        }
    }
}

/// DEBUG RELOAD: saves, empties and loads again. The hold has all shards.
pub fn reload(
    core: &'static Core,
    hold: &mut Hold,
    save: bool,
    flush: bool,
    duplicates: Duplicates,
) -> Result<(), String> {
    if save {
        saving::save_now(core, hold).map_err(|error| error.to_string())?;
    }
    let config = core.config();
    let path = saving::snapshot_path(&config);
    if flush {
        empty(core, hold);
    }
    let disk = &core.persist.disk;
    let size = disk.size(&path).ok().flatten().unwrap_or(0);
    let how = How { skip_expired: true, duplicates };
    let file = disk.open(&path).map_err(|error| error.to_string())?;
    begin(core);
    let loaded = load_rdb(core, &config, file, &path, size, Target::Held(hold), how).map(drop);
    end(core);
    loaded.map_err(|error| error.to_string())
}

/// DEBUG LOADAOF: empties and loads the append-only file again. No shard is held.
pub fn reload_aof(core: &'static Core) -> Result<(), String> {
    let config = core.config();
    let was_active = core.persist.journal.is_active();
    {
        let mut hold = core.keyspace.lock_all();
        core.persist.journal.flush();
        core.persist.journal.set_active(false);
        // Replicas begin anew: what is replayed is not for them.
        core.persist.backlog.stop();
        empty(core, &mut hold);
        begin(core);
    }
    let manifest = core.persist.aof.lock().manifest.clone();
    let dir = core.persist.aof.lock().dir.clone();
    let loaded = load_parts(core, &config, &manifest, &dir);
    let _hold = core.keyspace.lock_all();
    if let Err(error) = loaded {
        // What is in memory is not what the files say, and must not go over them.
        tracing::error!("Fatal error loading the append only file: {error}. Exiting.");
        core.shutdown.finish(1);
        return Err(error.to_string());
    }
    end(core);
    core.persist.journal.set_active(was_active);
    Ok(())
}

/// Removes every key of every database; nothing is recorded.
fn empty(core: &Core, hold: &mut Hold) {
    let mut fx = Effects::default();
    let env = core.env();
    let databases = u32::try_from(core.config.load().databases).unwrap_or(1);
    for db in 0..databases {
        DbView::new(hold, &env, &mut fx, db).flush();
    }
}
