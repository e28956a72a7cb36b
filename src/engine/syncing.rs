//! Full synchronization: a child writes everything as of an offset of the stream; each replica that
//! waited gets the file, and then the stream from that offset on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::rng;
use crate::config::Config;
use crate::engine::core::Core;
use crate::engine::replicas::{Part, Replica, Stage};
use crate::engine::saving;
use crate::keyspace::lock::Hold;
use crate::persist::snapshot::{self, GrowingFile, Plan, StreamPlace};
use crate::persist::state::{Child, Work};

/// Begins to keep the stream, which has a new name if nobody could know its past.
pub fn keep_stream(core: &Core) {
    if !core.persist.backlog.is_active() {
        *core.repl_id.lock() = rng::hex::<40>();
        *core.repl_id_before.lock() = None;
    }
    core.persist.backlog.begin(core.config.load().repl_backlog_size);
}

/// Bytes of a stream's name.
const NAME_BYTES: usize = 40;
/// No stream becomes so long.
const OFFSET_MAX: u64 = 1 << 62;

/// Whether a text can be a stream's name.
pub fn is_stream_name(text: &str) -> bool {
    text.len() == NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The place in the stream that a snapshot of this moment has, if there is a stream. The caller
/// holds all shards.
pub fn place(core: &Core) -> Option<StreamPlace> {
    let backlog = &core.persist.backlog;
    backlog.is_active().then(|| {
        let (offset, db) = backlog.place();
        StreamPlace { id: core.repl_id.lock().clone(), offset, db }
    })
}

/// After the start has loaded a snapshot: the stream goes on at the place that the snapshot names.
/// A replica asks its primary for what follows; a primary's own replicas come back by the name of
/// before.
pub fn resume(core: &Core, config: &Config) {
    let (id, offset) = std::mem::take(&mut *core.persist.loading.place.lock());
    let db = core.persist.loading.stream_db.load(Ordering::Relaxed);
    let backlog = &core.persist.backlog;
    let offset =
        offset.filter(|offset| *offset < OFFSET_MAX && i64::from(db) < config.databases.into());
    let (Some(id), Some(offset)) = (id, offset) else {
        backlog.forget();
        return;
    };
    if config.replicaof.is_some() {
        tracing::info!("The snapshot stands at offset {offset} of the stream {id}");
        *core.repl_id.lock() = id;
        backlog.follow(offset, db, config.repl_backlog_size);
    } else {
        *core.repl_id_before.lock() = Some((id, offset));
        backlog.rebase(offset);
        core.replicas.now_alone();
    }
}

/// Lets a replica go on where it was, if its stream is ours and the backlog reaches back so far.
pub fn go_on(core: &Core, replica: &Arc<Replica>, id: &[u8], next: i64) -> bool {
    let offset = u64::try_from(next.saturating_sub(1));
    let before = core.repl_id_before.lock().clone();
    let as_before = before.is_some_and(|(before, end)| {
        before.as_bytes() == id && offset.is_ok_and(|offset| offset <= end)
    });
    let known = core.repl_id.lock().as_bytes() == id || as_before;
    let entered = known
        && core.persist.backlog.is_active()
        && offset.is_ok_and(|at| core.persist.backlog.enter(replica.client.id, at).is_ok());
    if entered {
        core.replicas.partial.fetch_add(1, Ordering::Relaxed);
        *replica.stage.lock() = Stage::Online;
        core.replicas.add(replica);
    } else if id != b"?" {
        core.replicas.partial_failed.fetch_add(1, Ordering::Relaxed);
    }
    entered
}

/// Gives a replica everything: from the child that writes for others already, from one that is
/// forked now, or from one that is forked when the present child has ended. The hold has all shards.
pub fn begin(core: &'static Core, hold: &Hold, replica: &Arc<Replica>) -> Result<(), String> {
    core.replicas.full.fetch_add(1, Ordering::Relaxed);
    keep_stream(core);
    *replica.stage.lock() = Stage::Waiting;
    core.replicas.add(replica);
    match core.persist.child_work() {
        None => fork(core, hold, replica.part()),
        Some(Work::Sync) if join(core, replica) => Ok(()),
        Some(_) => {
            tracing::info!("The replica waits for the child at work to end");
            Ok(())
        }
    }
}

/// The same moment serves another replica, if its file is not finished.
fn join(core: &Core, replica: &Arc<Replica>) -> bool {
    let (others, part) = (core.replicas.all(), replica.part());
    let same = others.iter().filter(|other| other.part() == part);
    let offset = same.into_iter().find_map(|other| match *other.stage.lock() {
        Stage::Snapshot { offset } => Some(offset),
        _ => None,
    });
    let Some(offset) = offset else { return false };
    if core.persist.backlog.enter(replica.client.id, offset).is_err() {
        return false;
    }
    tell(core, replica, offset);
    true
}

/// Tells a replica which moment it gets.
fn tell(core: &Core, replica: &Replica, offset: u64) {
    *replica.stage.lock() = Stage::Snapshot { offset };
    if replica.about.lock().confirms {
        let id = core.repl_id.lock().clone();
        let line = format!("+FULLRESYNC {id} {offset}\r\n");
        replica.client.post(|mail| mail.bytes.extend_from_slice(line.as_bytes()));
    }
}

/// Forks for replicas that wait, once no other child is at work.
pub fn start_waiting(core: &'static Core) -> bool {
    let all = core.replicas.all();
    let Some(first) = all.iter().find(|replica| replica.is_waiting()) else { return false };
    // A failure is told to the replicas, and logged.
    let _ = fork(core, &core.keyspace.lock_all(), first.part());
    true
}

/// Begins a snapshot for those who want that part; others wait for the next.
fn fork(core: &'static Core, hold: &Hold, part: Part) -> Result<(), String> {
    let config = core.config();
    let functions = match part {
        Part::All | Part::Functions => core.functions.sources(),
        Part::Nothing => Vec::new(),
    };
    let mut plan = Plan::new(&config, &functions, core.memory_seen.load(Ordering::Relaxed));
    if part != Part::All {
        plan.databases = 0;
    }
    let (offset, db) = core.persist.backlog.cut();
    let id = core.repl_id.lock().clone();
    plan.replication = Some(StreamPlace { id, offset, db });
    let dirty = saving::dirty_count(core);
    let disk = core.persist.disk.clone();
    let dir = config.dir.to_path();
    let forked = saving::fork(core, hold, |hold, reporter| {
        let temp = dir.join(format!("temp-{}.rdb", std::process::id()));
        let file = disk.create(&temp).map_err(|error| error.to_string())?;
        let sink = GrowingFile::new(&file, plan.incremental_sync);
        let written = snapshot::write_rdb(hold, sink, &plan, &mut || reporter.key());
        written.map(drop).map_err(|error| error.to_string())
    });
    let forked = match forked {
        Ok(forked) => forked,
        Err(error) => {
            tracing::warn!("BGSAVE for replication failed: {error}");
            give_up(core, |stage| matches!(stage, Stage::Waiting));
            return Err(error);
        }
    };
    for replica in core.replicas.all() {
        let wants = replica.is_waiting() && replica.part() == part;
        if wants && core.persist.backlog.enter(replica.client.id, offset).is_ok() {
            tell(core, &replica, offset);
        }
    }
    let temp = saving::temp_path(&config, forked.pid as u32);
    saving::watch(core, forked, Work::Sync, dirty, (temp, None), finish)
}

/// Replicas at such a stage were to get a file and get none: they will ask again.
fn give_up(core: &Core, stage: fn(&Stage) -> bool) {
    for replica in core.replicas.all() {
        if stage(&replica.stage.lock()) {
            replica.client.kill();
        }
    }
}

/// Whether the child at work writes for a replica at that stage. Others wait for the next child.
fn is_written_for(stage: &Stage) -> bool {
    matches!(stage, Stage::Snapshot { .. })
}

fn finish(core: &'static Core, child: Child, result: Result<(), String>) {
    let opened = result.and_then(|()| {
        let file = core.persist.disk.open(&child.temp).map_err(|error| error.to_string())?;
        let size = file.size().map_err(|error| error.to_string())?;
        Ok((Arc::new(file), size))
    });
    // Who has it open reads on.
    saving::remove_temp(core, &child);
    match opened {
        Ok((file, size)) => {
            tracing::info!("Background saving for replicas terminated with success");
            for replica in core.replicas.all() {
                let mut stage = replica.stage.lock();
                if is_written_for(&stage) {
                    *stage = Stage::Sending { file: Arc::clone(&file), size, sent: None };
                    drop(stage);
                    replica.client.wake();
                }
            }
        }
        Err(_) if child.killed => {
            tracing::info!("No replica waits for it any more: the child was ended");
            give_up(core, is_written_for);
        }
        Err(error) => {
            tracing::warn!("Background saving for replicas failed: {error}");
            give_up(core, is_written_for);
        }
    }
    core.persist.set_child(None);
}
