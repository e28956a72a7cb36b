//! Being a replica: whom this server follows, how far it is, and how that begins and ends.
//!
//! ```text
//! link      a connection to the primary: handshake, snapshot, stream
//! frames    where the snapshot ends among the bytes that come
//! stream    the commands of the stream, each executed as the primary's
//! ```
//!
//! One thread does it all. While it follows, the backlog holds the primary's stream as it came, under
//! the primary's name and offsets: replicas of this server read it there, and promotion goes on behind
//! it.

mod frames;
mod link;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::clock::UnixMs;
use crate::base::rng;
use crate::config::{Config, Primary};
use crate::engine::blocking;
use crate::engine::core::{Attention, Core, Worker};
use crate::keyspace::lock::Hold;

/// How far the link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// There is none; it will be tried again.
    #[default]
    Down,
    /// It is being made.
    Connecting,
    /// The two find out what to send.
    Handshake,
    /// A snapshot is on its way, or being loaded.
    Sync,
    /// The stream is read.
    Connected,
}

impl Stage {
    /// The word ROLE has for it.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Down => "connect",
            Stage::Connecting => "connecting",
            Stage::Handshake => "handshake",
            Stage::Sync => "sync",
            Stage::Connected => "connected",
        }
    }
}

/// What INFO tells of the link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// How far it is.
    pub stage: Stage,
    /// When something came last.
    pub heard_at: UnixMs,
    /// Since when there is no stream.
    pub down_since: UnixMs,
    /// Bytes of the snapshot, if that is known.
    pub sync_total: Option<u64>,
    /// Bytes of it that have come.
    pub sync_read: u64,
}

/// See the module.
#[derive(Default)]
pub struct Following {
    status: Mutex<Status>,
    /// Another number with every change of the primary.
    turn: AtomicU64,
    /// Rings when the primary has changed.
    changed: Arc<Notify>,
    is_running: AtomicBool,
    /// Bytes of the stream that were read, executed or not.
    read: AtomicU64,
}

impl Following {
    /// What INFO tells.
    pub fn status(&self) -> Status {
        *self.status.lock()
    }

    /// The offset up to which the stream was read.
    pub fn read(&self, core: &Core) -> u64 {
        self.read.load(Ordering::Relaxed).max(core.persist.backlog.end())
    }

    fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    fn enter(&self, core: &Core, stage: Stage) {
        {
            let mut status = self.status.lock();
            let now = UnixMs::now();
            if status.stage == Stage::Connected && stage != Stage::Connected {
                status.down_since = now;
            }
            status.stage = stage;
            status.heard_at = now;
            if stage != Stage::Sync {
                (status.sync_total, status.sync_read) = (None, 0);
            }
        }
        heed(core, &core.config.load());
    }

    fn note(&self, put: impl FnOnce(&mut Status)) {
        put(&mut self.status.lock());
    }
}

/// Sets what clients may not do on a replica with these settings.
pub fn heed(core: &Core, config: &Config) {
    let status = core.following.status.lock();
    let follows = config.replicaof.is_some();
    let stale = status.stage != Stage::Connected && !config.replica_serve_stale_data;
    core.set_attention(Attention::FOLLOWING, follows);
    core.set_attention(Attention::READ_ONLY, follows && config.replica_read_only);
    core.set_attention(Attention::STALE, follows && stale);
}

/// Whether this server follows another.
pub fn is_on(core: &Core) -> bool {
    core.has_attention(Attention::FOLLOWING)
}

/// The reply to clients that wait while their server becomes a replica.
const UNBLOCKED: &[u8] =
    b"-UNBLOCKED force unblock from blocking operation, instance state changed \
    (master -> replica?)\r\n";

/// Another primary, or none any more; false when nothing changes. The hold has all shards.
pub fn set_primary(worker: &Worker, _hold: &Hold, primary: Option<Primary>) -> bool {
    let core = worker.core;
    let was_on = {
        let _one_at_a_time = core.config_change.lock();
        let old = core.config();
        if old.replicaof == primary {
            return false;
        }
        let new = Config { replicaof: primary.clone(), ..Config::clone(&old) };
        core.config.store(new.into());
        old.replicaof.is_some()
    };
    core.following.note(|status| {
        *status = Status { down_since: UnixMs::now(), ..Status::default() };
    });
    core.heed_settings(&core.config.load());
    if let Err(error) = core.oom_score.lock().set(&core.config.load()) {
        tracing::warn!("Can't write oom_score_adj: {error}");
    }
    // Whoever follows goes on with the new stream, if it goes on where this one ends.
    match primary {
        Some(_) => {
            if !was_on {
                blocking::end_all(worker, UNBLOCKED);
            }
            begin(core);
        }
        None => promote(core),
    }
    core.following.turn.fetch_add(1, Ordering::AcqRel);
    core.following.changed.notify_one();
    true
}

fn disconnect_replicas(core: &Core) {
    core.replicas.all().iter().for_each(|replica| replica.client.kill());
}

/// The stream goes on as our own, under another name; who knows the old one may come back by it.
fn promote(core: &Core) {
    // Whoever follows learns the name by asking again.
    disconnect_replicas(core);
    let before = std::mem::replace(&mut *core.repl_id.lock(), rng::hex::<40>());
    *core.repl_id_before.lock() = Some((before, core.persist.backlog.end()));
    core.persist.backlog.set_foreign(false);
    core.replicas.now_alone();
    // Expired keys of all kinds are removed from here on.
    core.own_keys.clear();
}

/// Begins to follow whom the settings name, if anybody.
pub fn begin(core: &'static Core) {
    if core.config.load().replicaof.is_none() {
        return;
    }
    core.persist.backlog.set_foreign(true);
    if core.following.is_running.swap(true, Ordering::AcqRel) {
        return;
    }
    let spawned =
        std::thread::Builder::new().name("following".to_owned()).spawn(move || link::run(core));
    if let Err(error) = spawned {
        core.following.is_running.store(false, Ordering::Release);
        tracing::error!("Can't start the thread that follows the primary: {error}");
    }
}
