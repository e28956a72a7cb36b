//! Loading a snapshot: one thread reads and checks, others decode and insert.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use parking_lot::Mutex;

use crate::base::clock::{self, UnixMs};
use crate::base::hash::hash_bytes;
use crate::config::Config;
use crate::ds::dict::Keyed;
use crate::engine::core::Core;
use crate::engine::loading::{Duplicates, How, LoadError, ProgressLog, Target, delay};
use crate::engine::record::encode_command;
use crate::engine::{saving, syncing};
use crate::keyspace::effects::{Effects, Env};
use crate::keyspace::entry::{Entry, New};
use crate::keyspace::lock::{Hold, SHARDS, ShardSet, shard_of};
use crate::keyspace::view::DbView;
use crate::persist::rdb::decode::{DecodeError, decode, decode_string};
use crate::persist::rdb::format::{Dialect, typecode};
use crate::persist::rdb::reader::{Event, Facts, KeyRecord, RdbError, Reader, Run, Verify};
use crate::script::library::{self, Functions};

/// Keys handed to a decoding thread at a time.
const BATCH_KEYS: usize = 256;
/// Bytes of values handed over at a time.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for a decoding thread at the most.
const BATCHES_WAITING: usize = 8;
/// Room of a batch that is used again.
const BATCH_BYTES_KEPT: usize = 2 * BATCH_BYTES;

/// A key's entry on its way into the keyspace.
struct Ready {
    entry: Entry,
    db: u32,
    hash: u64,
    /// Which of its batch it is.
    index: usize,
}

struct Shared<'l> {
    core: &'static Core,
    config: &'l Config,
    env: Env,
    how: How,
    /// Whether the shards are locked one by one.
    parallel: bool,
    /// Whether the keys go nowhere: they are only looked at.
    dry: bool,
    path: String,
    dialect: Dialect,
    expired: AtomicU64,
    emptied: AtomicU64,
    loaded: AtomicU64,
    failed: AtomicBool,
    error: Mutex<Option<LoadError>>,
}

pub(super) fn load_snapshot_file(core: &'static Core, config: &Config) -> Result<(), LoadError> {
    let path = saving::snapshot_path(config);
    let Some(size) = core.persist.disk.size(&path)? else { return Ok(()) };
    core.persist.loading.total.store(size, Ordering::Relaxed);
    let before = clock::steady();
    // Keys past their deadline go when the primary says so.
    let is_primary = config.replicaof.is_none();
    let how =
        How { skip_expired: is_primary, tells_expired: is_primary, duplicates: Duplicates::Refuse };
    let file = core.persist.disk.open(&path)?;
    if is_primary {
        core.persist.backlog.begin(config.repl_backlog_size);
    }
    load_rdb(core, config, file, &path, size, Target::Parallel, how)?;
    syncing::resume(core, config);
    tracing::info!("DB loaded from disk: {:.3} seconds", before.elapsed().as_secs_f64());
    Ok(())
}

/// Loads a snapshot; gives the stream back as it stands behind it.
pub(super) fn load_rdb<R: Read>(
    core: &'static Core,
    config: &Config,
    file: R,
    path: &Path,
    size: u64,
    target: Target<'_>,
    how: How,
) -> Result<impl Read + use<R>, LoadError> {
    let shown = path.display().to_string();
    let wrong = |error| damaged(&shown, error, 0);
    let verify = if config.rdbchecksum { Verify::Checksum } else { Verify::Nothing };
    let mut reader = Reader::open(file, Some(size), verify).map_err(wrong)?;
    let shared = Shared {
        core,
        config,
        env: core.env(),
        how,
        parallel: matches!(target, Target::Parallel),
        dry: matches!(target, Target::Nowhere),
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
            let mut insert = |mut run: Run| {
                shared.insert_all(&run, Some(hold));
                run.clear(BATCH_BYTES_KEPT);
                run
            };
            read_events(&shared, &mut reader, &mut insert)
        }
        Target::Parallel | Target::Nowhere => load_in_parallel(&shared, &mut reader),
    }?;
    if let Some(error) = shared.error.lock().take() {
        return Err(error);
    }
    if shared.dry {
        return Ok(reader.into_rest().into_read());
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

fn load_in_parallel<R: Read>(shared: &Shared<'_>, reader: &mut Reader<R>) -> Result<(), LoadError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let (sender, receiver) = sync_channel::<Run>(BATCHES_WAITING);
    let (done, spare) = channel::<Run>();
    let receiver = Arc::new(Mutex::new(receiver));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (receiver, done) = (Arc::clone(&receiver), done.clone());
            scope.spawn(move || take_batches(shared, &receiver, &done));
        }
        let mut insert = |run: Run| {
            // The threads end only when the sender is dropped.
            let _ = sender.send(run);
            spare.try_recv().unwrap_or_default()
        };
        let read = read_events(shared, reader, &mut insert);
        drop(sender);
        read
    })
}

fn take_batches(shared: &Shared<'_>, batches: &Mutex<Receiver<Run>>, done: &Sender<Run>) {
    loop {
        let batch = batches.lock().recv();
        let Ok(mut run) = batch else { return };
        shared.insert_all(&run, None);
        run.clear(BATCH_BYTES_KEPT);
        // The reader may have come to its end.
        let _ = done.send(run);
    }
}

fn damaged(path: &str, error: RdbError, read_bytes: u64) -> LoadError {
    let place = match error.offset() {
        Some(_) => String::new(),
        None => format!(" (offset {read_bytes})"),
    };
    LoadError::Rdb { path: path.to_owned(), error, place }
}

/// Reads the snapshot to its end and hands its keys over in batches; `insert` gives room for the next.
fn read_events<R: Read>(
    shared: &Shared<'_>,
    reader: &mut Reader<R>,
    insert: &mut dyn FnMut(Run) -> Run,
) -> Result<(), LoadError> {
    let core = shared.core;
    let mut run = Run::default();
    let mut progress = ProgressLog::new();
    let from = core.persist.loading.done.load(Ordering::Relaxed);
    let mut functions = Vec::new();
    let mut db = 0;
    loop {
        let event = reader.next_event(&mut run);
        match event.map_err(|error| damaged(&shared.path, error, reader.offset()))? {
            Event::Aux { .. } if shared.dry => {}
            Event::Aux { key, value } => tell_aux(core, &key, &value),
            Event::SelectDb(db) if db >= shared.config.databases as u64 => {
                return Err(LoadError::File(format!(
                    "FATAL: Data file was created with a Redis server configured to handle more \
                     than {} databases. Exiting",
                    shared.config.databases
                )));
            }
            Event::SelectDb(index) => db = index as u32,
            Event::ResizeDb { keys, .. } => {
                // A key takes three bytes of the file at the least.
                let rest = core.persist.loading.total.load(Ordering::Relaxed) / 3;
                shared.reserve(db, keys.min(rest));
            }
            Event::SlotInfo { .. } => {}
            Event::Function(source) => functions.push(Arc::from(source)),
            Event::ModuleAux { name } => {
                return Err(LoadError::File(format!(
                    "The RDB file contains AUX module data I can't load: no matching module \
                     '{name}'"
                )));
            }
            Event::Key => {
                if run.len() >= BATCH_KEYS || run.bytes() >= BATCH_BYTES {
                    run = insert(run);
                    core.persist.loading.done.store(from + reader.offset(), Ordering::Relaxed);
                    progress.tell(core);
                }
                delay(if shared.dry { 0 } else { shared.config.key_load_delay });
            }
            Event::End(_) => break,
        }
        if shared.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
    insert(run);
    core.persist.loading.done.store(from + reader.offset(), Ordering::Relaxed);
    let replaces = shared.how.duplicates == Duplicates::Replace;
    let nowhere = Functions::default();
    let to = if shared.dry { &nowhere } else { &core.functions };
    library::add_sources(to, functions, replaces).map_err(|error| {
        LoadError::File(format!("{}: a function library cannot be loaded: {error}", shared.path))
    })
}

fn tell_aux(core: &Core, key: &[u8], value: &[u8]) {
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
        b"repl-stream-db" => {
            let db = value.parse().unwrap_or(0);
            core.persist.loading.stream_db.store(db, Ordering::Relaxed);
        }
        b"repl-id" if syncing::is_stream_name(&value) => {
            core.persist.loading.place.lock().0 = Some(value.into_owned());
        }
        b"repl-offset" => core.persist.loading.place.lock().1 = value.parse().ok(),
        b"aof-base" if value == "1" => tracing::info!("RDB is base AOF"),
        _ => {}
    }
}

impl Shared<'_> {
    /// Makes room for `keys` keys of a database that has none.
    fn reserve(&self, db: u32, keys: u64) {
        if !self.parallel {
            return;
        }
        for shard in 0..SHARDS {
            let mut set = ShardSet::default();
            set.add(shard);
            let mut hold = self.core.keyspace.lock(&set);
            hold.shard_mut(shard).db_mut(db).keys.reserve(keys as usize / SHARDS);
            hold.publish_hint(shard);
        }
    }

    /// Decodes all of a batch while the places where they belong come near, then inserts them.
    fn insert_all(&self, run: &Run, hold: Option<&mut Hold>) {
        let mut hold = hold;
        let mut batch = Vec::with_capacity(run.len());
        for (index, record) in run.iter().enumerate() {
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            match self.decode(record, index) {
                Ok(Some(ready)) => {
                    self.core.keyspace.prefetch_bucket(ready.hash);
                    batch.push(ready);
                }
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
        }
        let count = batch.len() as u64;
        let mut fx = Effects::default();
        for ready in batch {
            let index = ready.index;
            if self.insert(ready, hold.as_deref_mut(), &mut fx)
                && self.how.duplicates == Duplicates::Refuse
            {
                let twice = run.get(index).expect("the key is of this batch");
                return self.fail(self.damaged(&twice, "the key is there twice".to_owned()));
            }
        }
        self.loaded.fetch_add(count, Ordering::Relaxed);
        self.core.persist.loading.keys.fetch_add(count, Ordering::Relaxed);
    }

    fn fail(&self, error: LoadError) {
        self.failed.store(true, Ordering::Relaxed);
        self.error.lock().get_or_insert(error);
    }

    fn damaged(&self, record: &KeyRecord<'_>, what: String) -> LoadError {
        let (path, key) = (self.path.clone(), record.shown());
        LoadError::Key { path, key, offset: record.facts.offset, what }
    }

    /// Replicas that come back have the key.
    fn tell_expired(&self, db: u32, key: &[u8]) {
        if !self.how.tells_expired {
            return;
        }
        let mut command = Vec::new();
        encode_command(&mut command, [self.env.expires_with, key].into_iter());
        self.core.persist.backlog.append(false, std::iter::once((db, command.as_slice())));
    }

    /// The entry of a record, unless its deadline has passed or it holds nothing.
    fn decode(&self, record: KeyRecord<'_>, index: usize) -> Result<Option<Ready>, LoadError> {
        let facts = record.facts;
        let wrong = |error: DecodeError| self.damaged(&record, error.to_string());
        let name = record.name().map_err(|error| wrong(error.into()))?;
        let db = u32::try_from(facts.db).expect("read_events refuses databases that are not there");
        if self.how.skip_expired && facts.deadline.is_some_and(|at| at < self.env.now) {
            self.expired.fetch_add(1, Ordering::Relaxed);
            self.tell_expired(db, &name);
            return Ok(None);
        }
        let mut entry = if facts.code == typecode::STRING {
            let text = decode_string(record.payload).map_err(wrong)?;
            if self.dry {
                return Ok(None);
            }
            Entry::new(&name, New::Bytes(&text), facts.deadline)
        } else {
            match decode(facts.code, self.dialect, record.payload, &self.env.limits) {
                Ok(_) if self.dry => return Ok(None),
                Ok(value) => Entry::new(&name, New::Value(value), facts.deadline),
                Err(DecodeError::Empty) => {
                    let told = self.emptied.fetch_add(1, Ordering::Relaxed);
                    if told < 10 {
                        tracing::info!("rdbLoadObject skipping empty key: {}", record.shown());
                    }
                    return Ok(None);
                }
                Err(error) => return Err(wrong(error)),
            }
        };
        entry.set_access(self.access(facts));
        let hash = hash_bytes(&name);
        Ok(Some(Ready { entry, db, hash, index }))
    }

    /// Puts a key where it belongs; says whether it was there already.
    fn insert(&self, ready: Ready, hold: Option<&mut Hold>, fx: &mut Effects) -> bool {
        let Ready { entry, db, hash, .. } = ready;
        let mut own;
        let hold = match hold {
            Some(hold) => hold,
            None => {
                own = self.core.keyspace.lock_one(shard_of(hash));
                &mut own
            }
        };
        let mut view = DbView::new(hold, &self.env, fx, db).with_hash(entry.key(), hash);
        view.insert_loaded(entry)
    }

    fn access(&self, facts: &Facts) -> u32 {
        match (facts.freq, facts.idle_secs) {
            (Some(freq), _) => ((self.env.now.0 / 60_000) as u32 & 0xffff) << 8 | u32::from(freq),
            (None, Some(idle)) => self.env.now.secs().saturating_sub(idle) as u32,
            (None, None) => self.env.now.secs() as u32,
        }
    }
}
