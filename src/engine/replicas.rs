//! Replicas that follow this server: what each was told, what it has confirmed, what it gets next.
//!
//! ```text
//! Asked      it said REPLCONF, and nothing more yet
//! Waiting    it needs everything; another child is at work
//! Snapshot   a child writes everything as of an offset; the backlog keeps what follows
//! Sending    it is being sent that file
//! Online     it reads the stream from the backlog
//! Done       it wanted the file alone
//! ```
//!
//! A replica's connection pulls: whenever everything is sent, it asks here for more.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::clock::UnixMs;
use crate::base::fs::DiskFile;
use crate::config::Config;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::context::AckWait;
use crate::engine::core::{Attention, Core};
use crate::engine::failover;
use crate::engine::session::Session;
use crate::persist::backlog::Reader;
use crate::persist::state::{AofState, Work};
use crate::resp::reply::{Replied, Reply};

/// Bytes handed to a replica's connection at a time.
const FEED_BYTES: usize = 64 * 1024;

/// Where a replica stands; see the module.
pub enum Stage {
    /// See the module.
    Asked,
    /// See the module.
    Waiting,
    /// See the module.
    Snapshot {
        /// The offset.
        offset: u64,
    },
    /// See the module.
    Sending {
        /// The file.
        file: Arc<DiskFile>,
        /// Its bytes.
        size: u64,
        /// Bytes that were sent; `None` before the header.
        sent: Option<u64>,
    },
    /// See the module.
    Online,
    /// See the module.
    Done,
}

/// What of a snapshot is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    All,
    /// The libraries of functions.
    Functions,
    /// Neither keys nor libraries.
    Nothing,
}

/// What a replica said of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Where it can be reached, if not where it connects from.
    pub ip: Option<String>,
    /// The port it listens on.
    pub port: u16,
    /// Whether it understands PSYNC's second form (REPLCONF capa psync2).
    pub psync2: bool,
    /// Whether it speaks PSYNC and confirms what it has read.
    pub confirms: bool,
    /// Whether it wants a snapshot and no stream.
    pub snapshot_only: bool,
    /// What the snapshot shall hold.
    pub part: Part,
}

/// See the module.
pub struct Replica {
    /// Its connection.
    pub client: Arc<Client>,
    /// What it said of itself.
    pub about: Mutex<About>,
    /// Where it stands.
    pub stage: Mutex<Stage>,
    /// The offset it confirmed.
    pub acked: AtomicU64,
    /// The offset its disk holds.
    pub acked_disk: AtomicU64,
    /// When it confirmed last, milliseconds since the epoch.
    pub acked_at: AtomicU64,
}

impl Replica {
    /// A client that speaks as replicas do.
    pub fn new(client: Arc<Client>) -> Replica {
        Replica {
            client,
            about: Mutex::default(),
            stage: Mutex::new(Stage::Asked),
            acked: AtomicU64::new(0),
            acked_disk: AtomicU64::new(0),
            acked_at: AtomicU64::new(UnixMs::now().0),
        }
    }

    /// Whether it has asked for the stream.
    pub fn has_asked(&self) -> bool {
        !matches!(*self.stage.lock(), Stage::Asked)
    }

    /// What its snapshot shall hold.
    pub fn part(&self) -> Part {
        self.about.lock().part
    }

    /// Whether it waits for a snapshot that nobody has begun.
    pub fn is_waiting(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Waiting)
    }

    /// Whether it reads the stream.
    pub fn is_online(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Online)
    }

    /// The state INFO shows.
    pub fn state(&self) -> &'static str {
        match *self.stage.lock() {
            Stage::Asked | Stage::Waiting | Stage::Snapshot { .. } => "wait_bgsave",
            Stage::Sending { .. } => "send_bulk",
            Stage::Online => "online",
            Stage::Done => "rdb_transmitted",
        }
    }

    /// Where it is reached: address and port.
    pub fn address(&self) -> (String, u16) {
        let about = self.about.lock();
        let peer = self.client.addr.rsplit_once(':').map_or("", |(ip, _)| ip);
        (about.ip.clone().unwrap_or_else(|| peer.to_owned()), about.port)
    }

    /// Seconds since it confirmed last.
    pub fn lag_secs(&self, now: UnixMs) -> u64 {
        now.0.saturating_sub(self.acked_at.load(Ordering::Relaxed)) / 1000
    }

    /// REPLCONF ACK
    pub fn confirm(&self, offset: u64, disk: Option<u64>) {
        self.acked.fetch_max(offset, Ordering::AcqRel);
        if let Some(disk) = disk {
            self.acked_disk.fetch_max(disk, Ordering::AcqRel);
        }
        self.acked_at.store(UnixMs::now().0, Ordering::Relaxed);
    }

    /// Puts what comes next behind `out`; says whether there was anything.
    pub fn feed(self: &Arc<Replica>, core: &'static Core, out: &mut Vec<u8>) -> bool {
        let mut stage = self.stage.lock();
        if self.client.is_signaled() {
            // What lies in the mailbox was said before: which moment it gets, or that it waits.
            return false;
        }
        match &mut *stage {
            Stage::Sending { file, size, sent } => {
                let Some(at) = *sent else {
                    *sent = Some(0);
                    out.extend_from_slice(format!("${size}\r\n").as_bytes());
                    return true;
                };
                let from = out.len();
                out.resize(from + FEED_BYTES.min((*size - at) as usize), 0);
                if let Err(error) = file.inner().read_exact_at(&mut out[from..], at) {
                    tracing::warn!("Read error sending DB to replica: {error}");
                    self.client.kill();
                    return false;
                }
                *sent = Some(at + (out.len() - from) as u64);
                if *sent == Some(*size) {
                    *stage = self.after_snapshot(core);
                }
                true
            }
            Stage::Online => {
                let reader = Arc::clone(self) as Arc<dyn Reader>;
                match core.persist.backlog.read(self.client.id, &reader, out, FEED_BYTES) {
                    Ok(count) => count > 0,
                    Err(_) => {
                        self.client.kill();
                        false
                    }
                }
            }
            Stage::Asked | Stage::Waiting | Stage::Snapshot { .. } | Stage::Done => false,
        }
    }

    fn after_snapshot(&self, core: &Core) -> Stage {
        tracing::info!("Synchronization with replica {} succeeded", self.client.addr);
        self.acked_at.store(UnixMs::now().0, Ordering::Relaxed);
        if self.about.lock().snapshot_only {
            core.persist.backlog.leave(self.client.id);
            return Stage::Done;
        }
        Stage::Online
    }
}

impl Reader for Replica {
    fn more(&self) {
        self.client.wake();
    }
}

/// All replicas, and how they came.
#[derive(Default)]
pub struct Replicas {
    all: Mutex<Vec<Arc<Replica>>>,
    /// Full synchronizations begun.
    pub full: AtomicU64,
    /// Replicas that came back and went on.
    pub partial: AtomicU64,
    /// Replicas that came back and could not go on.
    pub partial_failed: AtomicU64,
    /// When the last replica left, milliseconds since the epoch; 0 while there is one.
    alone_since: AtomicU64,
    /// Rounds of [`tick`].
    rounds: AtomicU64,
}

impl Replicas {
    /// Those that asked to follow.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.all.lock().clone()
    }

    /// Adds one.
    pub fn add(&self, replica: &Arc<Replica>) {
        replica.client.set_flag(ClientFlags::REPLICA, true);
        self.all.lock().push(Arc::clone(replica));
        self.alone_since.store(0, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// The history is kept for a while from now on, if nobody follows.
    pub fn now_alone(&self) {
        if self.all.lock().is_empty() {
            self.alone_since.store(UnixMs::now().0, Ordering::Relaxed);
        }
    }

    /// Online replicas that confirmed within the last `lag` seconds.
    pub fn good(&self, lag_max: u64) -> usize {
        let now = UnixMs::now();
        let good =
            |replica: &&Arc<Replica>| replica.is_online() && replica.lag_secs(now) <= lag_max;
        self.all.lock().iter().filter(good).count()
    }
}

/// Memory that the stream takes, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffers {
    /// All of it: the backlog, and what is on its way to replicas.
    pub total: u64,
    /// What is kept for replicas that come back.
    pub backlog: u64,
    /// What is kept beyond that, because replicas lag.
    pub beyond: u64,
}

/// Memory that the stream takes now.
pub fn buffers(core: &Core) -> Buffers {
    let all = core.replicas.all.lock();
    let rooms = all.iter().map(|it| it.client.figures.reply_room.load(Ordering::Relaxed));
    let total = core.persist.backlog.memory() + rooms.sum::<u64>();
    let beyond = match all.is_empty() {
        true => 0,
        false => total.saturating_sub(core.config.load().repl_backlog_size),
    };
    Buffers { total, backlog: total - beyond, beyond }
}

/// A connection has gone that may have been a replica's.
pub fn leave(core: &'static Core, replica: &Replica) {
    let id = replica.client.id;
    let mut all = core.replicas.all.lock();
    let before = all.len();
    all.retain(|other| other.client.id != id);
    core.persist.backlog.leave(id);
    if all.is_empty() && before > 0 {
        core.replicas.alone_since.store(UnixMs::now().0, Ordering::Relaxed);
    }
    let wanted = |other: &Arc<Replica>| matches!(*other.stage.lock(), Stage::Snapshot { .. });
    if !all.iter().any(wanted) && core.persist.child_work() == Some(Work::Sync) {
        core.persist.kill_child(&Work::Sync);
    }
}

/// Replicas that confirmed an offset, in memory or on disk.
fn confirmed(core: &Core, offset: u64, on_disk: bool) -> u64 {
    let all = core.replicas.all.lock();
    let has = |replica: &&Arc<Replica>| {
        let acked = if on_disk { &replica.acked_disk } else { &replica.acked };
        replica.is_online() && acked.load(Ordering::Acquire) >= offset
    };
    all.iter().filter(has).count() as u64
}

/// Whether the own disk holds what WAITAOF waits for.
fn local(core: &Core, wait: AckWait) -> bool {
    wait.disk.is_some_and(|(_, upto)| {
        // Before its first base is there a file holds nothing.
        core.persist.aof.lock().state == AofState::On && core.persist.journal.synced() >= upto
    })
}

/// Whether WAITAOF waits for an append-only file that is not there any more.
fn is_in_vain(core: &Core, wait: AckWait) -> bool {
    wait.disk.is_some_and(|(wanted, _)| wanted) && core.persist.aof.lock().state == AofState::Off
}

/// The answer to WAITAOF without an append-only file.
pub const NO_FILE: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

/// Whether WAIT or WAITAOF has waited long enough, or waits in vain.
pub fn is_confirmed(core: &Core, wait: AckWait) -> bool {
    if is_in_vain(core, wait) {
        return true;
    }
    let own = wait.disk.is_none_or(|(wanted, _)| !wanted || local(core, wait));
    own && confirmed(core, wait.offset, wait.disk.is_some()) >= wait.replicas
}

/// The reply of WAIT and WAITAOF at this moment.
pub fn answer(core: &Core, wait: AckWait, reply: &mut Reply) -> Replied {
    if is_in_vain(core, wait) {
        return reply.error_line(NO_FILE);
    }
    let count = confirmed(core, wait.offset, wait.disk.is_some()) as i64;
    if wait.disk.is_some() {
        reply.array(2);
        let _ = reply.flag(local(core, wait));
    }
    reply.int(count)
}

/// A command of a replica gave an answer, which would stand in the middle of its stream: nothing of
/// it is sent, and the connection ends.
#[cold]
pub fn refuse_answer(session: &mut Session, name: &str, reply: &mut Reply, start: usize) {
    let answer = String::from_utf8_lossy(&reply.bytes()[start..]).into_owned();
    let addr = session.client.addr.clone();
    if let Some(error) = answer.strip_prefix('-') {
        tracing::warn!(
            "== CRITICAL == This master is sending an error to its replica: '{}' after processing the \
             command '{name}'",
            error.trim_end()
        );
    }
    tracing::warn!("Replica generated a reply to command '{name}', disconnecting it: {addr}");
    reply.cut(start);
    session.closing = true;
}

/// Asks all replicas how far they are; they confirm once a second without being asked.
pub fn ask_all(core: &Core) {
    core.persist.backlog.append_aside(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
}

/// Once each tenth of a second: keepalives, replicas that are silent, the backlog's end.
pub fn tick(core: &'static Core, config: &Config) {
    update_attention(core, config);
    let round = core.replicas.rounds.fetch_add(1, Ordering::Relaxed) + 1;
    if !round.is_multiple_of(10) || !core.persist.backlog.is_active() {
        return;
    }
    let all = core.replicas.all();
    let now = UnixMs::now();
    let period = u64::from(config.repl_ping_replica_period.unsigned_abs()).max(1);
    if !all.is_empty() && (round / 10).is_multiple_of(period) && !failover::is_timed(core) {
        core.persist.backlog.append_aside(b"*1\r\n$4\r\nPING\r\n");
    }
    for replica in &all {
        let limit = u64::from(config.repl_timeout.unsigned_abs());
        let silent = replica.about.lock().confirms && replica.lag_secs(now) > limit;
        let stage = replica.stage.lock();
        match &*stage {
            Stage::Waiting | Stage::Snapshot { .. } => {
                // It shall not take us for dead.
                replica.client.post(|mail| mail.bytes.push(b'\n'));
            }
            Stage::Online if silent => {
                tracing::warn!(
                    "Disconnecting timedout replica (streaming sync): {}",
                    replica.client.addr
                );
                replica.client.kill();
            }
            // Its connection looks at its limits.
            Stage::Online | Stage::Sending { .. } => replica.client.wake(),
            Stage::Asked | Stage::Done => {}
        }
    }
    let since = core.replicas.alone_since.load(Ordering::Relaxed);
    let ttl = u64::try_from(config.repl_backlog_ttl).unwrap_or(0) * 1000;
    let follows = core.has_attention(Attention::FOLLOWING);
    if all.is_empty() && !follows && ttl > 0 && since > 0 && now.0.saturating_sub(since) > ttl {
        let _hold = core.keyspace.lock_all();
        if core.replicas.count() == 0 {
            core.persist.backlog.stop();
            tracing::info!("Replication backlog freed after no replica was connected for a while");
        }
    }
}

/// `min-replicas-to-write`
pub fn update_attention(core: &Core, config: &Config) {
    let wanted = config.min_replicas_to_write;
    let lag_max = u64::from(config.min_replicas_max_lag.unsigned_abs());
    let lacking = !core.has_attention(Attention::FOLLOWING)
        && wanted > 0
        && lag_max > 0
        && core.replicas.good(lag_max) < wanted.unsigned_abs() as usize;
    if lacking != core.has_attention(Attention::REPLICAS_WANTED) {
        core.set_attention(Attention::REPLICAS_WANTED, lacking);
    }
}
