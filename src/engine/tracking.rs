//! Client-side caching, as commands and connections see it: reads are remembered under the locks of
//! their keys, changes told when their unit is settled.
//!
//! Tracking is switched on under all locks, so that no command that has begun before misses it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::hash::hash_bytes;
use crate::base::rng;
use crate::engine::blocking::Waiter;
use crate::engine::client::ClientFlags;
use crate::engine::command::Row;
use crate::engine::core::{Attention, Core};
use crate::engine::session::Session;
use crate::keyspace::lock::{Hold, SHARDS, shard_of};
use crate::keyspace::readers::{Changes, Readers};
use crate::resp::args::Args;
use crate::resp::reply::Reply;
use crate::spec::Group;
use crate::spec::flags::Flags;
use crate::spec::keys::keys_of;
use crate::tracking::{Options, Reader};

/// Keys that leave the books at once when these are too long; more each time they still are.
const KEYS_A_TURN: usize = 100;

/// Switches tracking on for a session, or changes how. Every shard is held.
pub fn switch_on(
    core: &Core,
    hold: &mut Hold,
    session: &mut Session,
    options: Options,
    prefixes: &[&[u8]],
) {
    let reader: Arc<dyn Reader> = Arc::clone(&session.client) as _;
    core.tracking.enable(reader, options, prefixes);
    session.tracking = Some(options);
    let state = core.tracking.state(session.client.id);
    session.prefixes = state.map_or(0, |state| state.prefixes.len());
    let broadcasts = core.tracking.prefix_count() > 0;
    for shard in 0..SHARDS {
        let readers = hold.shard_mut(shard).readers.get_or_insert_default();
        readers.broadcasts = broadcasts;
    }
    core.set_attention(Attention::TRACKED, true);
}

/// Switches tracking off for a session. What its client read stays in the books; there it means
/// nothing.
pub fn switch_off(core: &Core, session: &mut Session) {
    session.caching = false;
    session.prefixes = 0;
    if session.tracking.take().is_some() {
        core.tracking.disable(session.client.id);
    }
}

/// Once nobody tracks any more the books are closed.
pub fn close_unused(core: &Core) {
    if !core.has_attention(Attention::TRACKED) || core.tracking.count() > 0 {
        return;
    }
    let mut hold = core.keyspace.lock_all();
    // Somebody may have come before the locks did.
    if core.tracking.count() > 0 {
        return;
    }
    for shard in 0..SHARDS {
        hold.shard_mut(shard).readers = None;
    }
    core.tracking.keys.store(0, Ordering::Relaxed);
    core.tracking.items.store(0, Ordering::Relaxed);
    core.set_attention(Attention::TRACKED, false);
}

/// Whether the keys that a command reads for its client are remembered.
pub fn is_remembered(row: &Row) -> bool {
    let spec = row.spec();
    // A script is remembered for what its commands read.
    spec.flags.has(Flags::READONLY) && spec.group != Group::Scripting
}

/// A client was told what the keys of a command hold. The locks cover them.
#[cold]
pub fn remember(core: &Core, hold: &mut Hold, client: u64, row: &Row, args: &Args<'_>) {
    let words: Vec<&[u8]> = args.words().collect();
    let Ok(keys) = keys_of(row.spec(), &words) else { return };
    for key in keys {
        let key = words[key.pos as usize];
        let shard = hold.shard_mut(shard_of(hash_bytes(key)));
        let readers: &mut Readers = shard.readers.get_or_insert_default();
        let (keys, items) = readers.remember(key, client);
        core.tracking.keys.fetch_add(keys, Ordering::Relaxed);
        core.tracking.items.fetch_add(items, Ordering::Relaxed);
    }
}

/// Remembers what a command of a session that tracks has read, if it is meant to.
#[cold]
pub fn remember_read(
    core: &Core,
    hold: &mut Hold,
    (session, options): (&Session, Options),
    row: &Row,
    args: &Args<'_>,
) {
    if is_remembered(row) && options.remembers(session.caching) {
        remember(core, hold, session.client.id, row, args);
    }
}

/// The same for a command that had to wait.
#[inline]
pub fn remember_served(core: &Core, hold: &mut Hold, waiter: &Waiter) {
    if core.has_attention(Attention::TRACKED)
        && is_remembered(waiter.row)
        && let Some(state) = core.tracking.state(waiter.client.id)
        && state.options.remembers(false)
    {
        remember(core, hold, waiter.client.id, waiter.row, &waiter.args.args());
    }
}

/// Tells of what a unit has changed.
#[cold]
pub fn tell(core: &Core, changes: &mut Changes, by: Option<u64>) {
    core.tracking.tell(changes, by, &|id| find(core, id));
}

/// A client that can be told; one that is about to close counts as gone.
fn find(core: &Core, id: u64) -> Option<Arc<dyn Reader>> {
    let client = core.clients.get(id)?;
    let gone = client.is_killed() || client.has_flag(ClientFlags::CLOSING);
    (!gone).then_some(client as Arc<dyn Reader>)
}

/// Before a command of anyone: the books stay below `tracking-table-max-keys`, and what its client
/// has to hear of this or of evicted keys stands before the reply.
#[cold]
pub fn before(core: &Core, session: &Session, reply: &mut Reply) {
    limit(core);
    take_messages(session, reply);
}

/// After a command: what its client has to hear of its own changes stands behind the reply.
#[cold]
pub fn after(session: &mut Session, row: Option<&Row>, reply: &mut Reply) {
    // CLIENT CACHING is for the next command, or for the next transaction as a whole.
    let keeps = |row: &Row| row.spec().name.starts_with("client|");
    if session.multi.is_none() && !row.is_some_and(keeps) {
        session.caching = false;
    }
    take_messages(session, reply);
}

fn take_messages(session: &Session, reply: &mut Reply) {
    if session.client.is_signaled() {
        session.client.take_messages(reply.buffer());
    }
}

/// Takes keys from the books, by chance, when there are more than `tracking-table-max-keys`.
pub fn limit(core: &Core) {
    let tracking = &core.tracking;
    let max = usize::try_from(core.config.load().tracking_table_max_keys).unwrap_or(usize::MAX);
    let above = tracking.keys.load(Ordering::Relaxed).saturating_sub(max);
    if max == 0 || above == 0 {
        tracking.overruns.store(0, Ordering::Relaxed);
        return;
    }
    let effort = KEYS_A_TURN * (1 + tracking.overruns.load(Ordering::Relaxed));
    let mut left = above.min(effort);
    let share = left.div_ceil(SHARDS);
    let mut shard = rng::below(SHARDS as u64) as usize;
    // Shards that have more than their share are visited again.
    for _ in 0..SHARDS * 2 {
        let busy = || core.has_attention(Attention::SCRIPT_BUSY);
        let Some(mut hold) = core.keyspace.lock_one_unless(shard, busy) else { return };
        let mut changes = Changes::default();
        if let Some(readers) = &mut hold.shard_mut(shard).readers {
            left -= readers.evict(share.min(left), &mut changes);
            tracking.tell_evicted(&mut changes, &|id| find(core, id));
        }
        if left == 0 {
            break;
        }
        shard = (shard + 1) % SHARDS;
    }
    match tracking.keys.load(Ordering::Relaxed) > max {
        true => tracking.overruns.fetch_add(1, Ordering::Relaxed),
        false => tracking.overruns.swap(0, Ordering::Relaxed),
    };
}
