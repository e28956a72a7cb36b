//! FAILOVER: this primary and one of its replicas change places, and nothing is lost.
//!
//! ```text
//! waiting       writes wait until the replica has confirmed everything
//! in progress   this server follows the replica, and asks it to be the primary
//! done          the replica gives its stream; writes that waited learn who takes them now
//! ```
//!
//! Whoever may not go on, or is told not to, leaves both where they were.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::base::clock::UnixMs;
use crate::config::Primary;
use crate::engine::core::{Core, Worker};
use crate::engine::following;
use crate::engine::pause::{self, PauseMode, Reason};
use crate::engine::replicas::Replica;
use crate::keyspace::lock::Hold;

/// What FAILOVER asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Which replica; the first that has everything, where none is named.
    pub target: Option<Primary>,
    /// How long it is waited for, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Whether it takes over then, whatever it lacks.
    pub force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    InProgress,
}

struct Going {
    wish: Wish,
    until: Option<UnixMs>,
    stage: Stage,
}

/// See the module.
#[derive(Default)]
pub struct Failover {
    going: Mutex<Option<Going>>,
}

/// The word INFO has for it.
pub fn state(core: &Core) -> &'static str {
    match core.failover.going.lock().as_ref().map(|going| going.stage) {
        None => "no-failover",
        Some(Stage::Waiting) => "waiting-for-sync",
        Some(Stage::InProgress) => "failover-in-progress",
    }
}

/// Whether one is under way.
pub fn is_on(core: &Core) -> bool {
    core.failover.going.lock().is_some()
}

/// Whether the replica is to be asked to be the primary.
pub fn is_in_progress(core: &Core) -> bool {
    core.failover.going.lock().as_ref().is_some_and(|going| going.stage == Stage::InProgress)
}

/// Whether one is under way that has a limited time: nothing makes the stream longer meanwhile.
pub fn is_timed(core: &Core) -> bool {
    core.failover.going.lock().as_ref().is_some_and(|going| going.until.is_some())
}

/// The replica that is reached there.
pub fn find(core: &Core, target: &Primary) -> Option<Arc<Replica>> {
    let is_there = |replica: &Arc<Replica>| {
        let (ip, port) = replica.address();
        port == target.port && ip.eq_ignore_ascii_case(&target.host)
    };
    core.replicas.all().into_iter().find(is_there)
}

/// Begins one: from now on writes wait.
pub fn begin(core: &Core, wish: Wish) {
    match &wish.target {
        Some(Primary { host, port }) => tracing::info!("FAILOVER requested to {host}:{port}."),
        None => tracing::info!("FAILOVER requested to any replica."),
    }
    let until = wish.timeout_ms.map(|timeout| UnixMs(UnixMs::now().0.saturating_add(timeout)));
    *core.failover.going.lock() = Some(Going { wish, until, stage: Stage::Waiting });
    pause::begin(core, Reason::Failover, PauseMode::Write, pause::UNTIL_ENDED);
}

/// Takes it back, and says why in the log; false when there is none. The hold has all shards.
pub fn abort(worker: &Worker, hold: &Hold, why: &str) -> bool {
    let core = worker.core;
    let Some(going) = core.failover.going.lock().take() else { return false };
    match &going.wish.target {
        Some(Primary { host, port }) => {
            tracing::info!("FAILOVER to {host}:{port} aborted: {why}");
        }
        None => tracing::info!("FAILOVER to any replica aborted: {why}"),
    }
    if going.stage == Stage::InProgress {
        following::set_primary(worker, hold, None);
    }
    pause::end(core, Reason::Failover);
    true
}

/// The replica is the primary now: it gives its stream.
pub fn succeeded(core: &Core) {
    if core.failover.going.lock().take().is_some() {
        pause::end(core, Reason::Failover);
    }
}

/// The replica does not want to be the primary.
pub fn rejected(worker: &Worker) {
    let core = worker.core;
    if is_in_progress(core) {
        abort(worker, &core.keyspace.lock_all(), "Failover target rejected psync request");
    }
}

/// Once each tenth of a second: whether the replica is there, or the time is up.
pub fn tick(worker: &Worker) {
    let core = worker.core;
    let is_due = {
        let going = core.failover.going.lock();
        let Some(going) = going.as_ref().filter(|going| going.stage == Stage::Waiting) else {
            return;
        };
        going.until.is_some_and(|until| until <= UnixMs::now())
            || synced(core, &going.wish).is_some()
    };
    if is_due {
        step(worker, &core.keyspace.lock_all());
    }
}

/// The replica that has everything, of those that are wished for.
fn synced(core: &Core, wish: &Wish) -> Option<Primary> {
    let end = core.persist.backlog.end();
    let has_all = |replica: &Replica| replica.acked.load(Ordering::Acquire) == end;
    match &wish.target {
        Some(target) => {
            find(core, target).is_some_and(|replica| has_all(&replica)).then(|| target.clone())
        }
        None => core.replicas.all().iter().find(|replica| has_all(replica)).map(|replica| {
            let (host, port) = replica.address();
            Primary { host, port }
        }),
    }
}

/// Follows the replica, or gives up. Writes that were under way have come before the locks.
fn step(worker: &Worker, hold: &Hold) {
    let core = worker.core;
    let (wish, until) = {
        let going = core.failover.going.lock();
        let Some(going) = going.as_ref().filter(|going| going.stage == Stage::Waiting) else {
            return;
        };
        (going.wish.clone(), going.until)
    };
    let late = until.is_some_and(|until| until <= UnixMs::now());
    let target = match (synced(core, &wish), wish.target) {
        _ if late && !wish.force => {
            abort(worker, hold, "Replica never caught up before timeout");
            return;
        }
        (_, Some(target)) if late => {
            let Primary { host, port } = &target;
            tracing::info!("FAILOVER to {host}:{port} time out exceeded, failing over.");
            target
        }
        (Some(target), _) => {
            let Primary { host, port } = &target;
            tracing::info!("Failover target {host}:{port} is synced, failing over.");
            target
        }
        (None, _) => return,
    };
    if let Some(going) = core.failover.going.lock().as_mut() {
        going.wish.target = Some(target.clone());
        going.stage = Stage::InProgress;
    }
    following::set_primary(worker, hold, Some(target));
}
