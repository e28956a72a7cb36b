//! Pauses: commands wait until a moment, or until the pause is ended. CLIENT PAUSE begins one; so
//! do a shutdown that waits for replicas, and a failover.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::base::clock::UnixMs;
use crate::engine::client::ClientFlags;
use crate::engine::command::Row;
use crate::engine::core::{Attention, Core};
use crate::engine::session::Session;
use crate::resp::args::Args;
use crate::script::header::{self, Flags as Says};
use crate::spec::flags::Flags;

/// Which commands wait; the later the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// Those that may change something.
    Write,
    /// All.
    All,
}

/// Who wants a pause. Each has its own, and all of them hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// CLIENT PAUSE.
    Client,
    /// A shutdown that waits for replicas.
    Shutdown,
    /// FAILOVER.
    Failover,
}

/// How many reasons there are.
const REASONS: usize = 3;

/// The end of a pause that somebody will end.
pub const UNTIL_ENDED: UnixMs = UnixMs(i64::MAX as u64);

/// See the module.
#[derive(Default)]
pub struct Pause {
    /// By [`Reason`].
    state: Mutex<[Option<(PauseMode, UnixMs)>; REASONS]>,
    /// Clients whose next command waits.
    pub postponed: AtomicUsize,
}

/// Begins a pause, or makes the one for the same reason longer or stricter.
pub fn begin(core: &Core, reason: Reason, mode: PauseMode, until: UnixMs) {
    let mut state = core.pause.state.lock();
    let slot = &mut state[reason as usize];
    let (mode, until) = match *slot {
        Some((before, end)) => (before.max(mode), end.max(until)),
        None => (mode, until),
    };
    *slot = Some((mode, until));
    core.set_attention(Attention::PAUSED, true);
}

/// Ends the pause for one reason; whoever waited for no other goes on.
pub fn end(core: &Core, reason: Reason) {
    {
        let mut state = core.pause.state.lock();
        state[reason as usize] = None;
        core.set_attention(Attention::PAUSED, state.iter().any(Option::is_some));
    }
    core.clients.all().iter().for_each(|client| client.wake());
}

/// The strictest pause that holds now, and when one ends by itself. Those whose time is up are
/// ended.
pub fn current(core: &Core, now: UnixMs) -> Option<(PauseMode, UnixMs)> {
    let mut state = core.pause.state.lock();
    for slot in state.iter_mut() {
        *slot = slot.filter(|(_, until)| *until > now);
    }
    let held = state.iter().flatten().copied();
    let held = held.reduce(|(mode, until), (other, end)| (mode.max(other), until.min(end)));
    if held.is_none() {
        core.set_attention(Attention::PAUSED, false);
    }
    held
}

/// Whether a command may change something. A script that says it does not is believed: it will be
/// held to it.
fn writes(core: &Core, row: &Row, args: &Args) -> bool {
    let source = args.words().nth(1).unwrap_or_default();
    let readonly = match row.spec().name {
        "eval" => header::is_readonly(source),
        "evalsha" => {
            core.scripts.get(source).is_some_and(|script| script.flags.has(Says::NO_WRITES))
        }
        "fcall" => {
            let libraries = core.functions.now();
            libraries
                .function(source)
                .is_some_and(|(_, function)| function.flags.has(Says::NO_WRITES))
        }
        _ => false,
    };
    !readonly && row.spec().flags.has_any(Flags::WRITE.with(Flags::MAY_REPLICATE))
}

/// Whether this command of this client waits now.
pub fn holds_back(core: &Core, session: &Session, row: &Row, args: &Args, now: UnixMs) -> bool {
    if !core.has_attention(Attention::PAUSED) || session.client.has_flag(ClientFlags::REPLICA) {
        return false;
    }
    match current(core, now) {
        None => false,
        Some((PauseMode::All, _)) => true,
        Some((PauseMode::Write, _)) if row.spec().name == "exec" => {
            let multi = session.multi.as_ref();
            multi.is_some_and(|multi| {
                multi.queue.iter().any(|(row, args)| writes(core, row, &args.args()))
            })
        }
        Some((PauseMode::Write, _)) => writes(core, row, args),
    }
}

impl Pause {
    /// Counts a client among those that wait, or no longer.
    pub fn count(&self, waits: bool) {
        match waits {
            true => self.postponed.fetch_add(1, Ordering::Relaxed),
            false => self.postponed.fetch_sub(1, Ordering::Relaxed),
        };
    }
}
