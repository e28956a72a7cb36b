//! The end of a unit, still under its locks: journal, statistics, events, blocked clients.
//!
//! ```text
//! append    what changed goes to the journal
//! publish   events go to their subscribers
//! serve     clients that wait for a key that became ready run their commands, each its own unit
//! ```

use std::collections::VecDeque;

use crate::base::hash::hash_bytes;
use crate::engine::blocking;
use crate::engine::core::{Garbage, Scratch, Worker};
use crate::engine::tracking;
use crate::keyspace::effects::{DbKey, Effects, Env, Notice};
use crate::keyspace::event::Classes;
use crate::keyspace::lock::{Hold, ShardSet, shard_of};
use crate::persist::journal::LogOffset;

/// Settles a unit. Returns the keys that became ready and whose waiters need locks that are not
/// held: they are served once the present locks have dropped.
pub fn settle(
    worker: &Worker,
    env: &Env,
    scratch: &mut Scratch,
    hold: &mut Hold,
    wrote: &mut LogOffset,
) -> Vec<DbKey> {
    count_reads(worker, &mut scratch.fx);
    if scratch.fx.is_quiet() && scratch.record.is_empty() {
        return Vec::new();
    }
    account(worker, env, scratch, wrote);
    tell_readers(worker, scratch);
    if scratch.fx.ready.is_empty() {
        return Vec::new();
    }
    let ready = scratch.fx.ready.drain(..).collect();
    serve(worker, env, ready, hold)
}

fn count_reads(worker: &Worker, fx: &mut Effects) {
    if fx.hits != 0 {
        worker.stats.hits.add(std::mem::take(&mut fx.hits));
    }
    if fx.misses != 0 {
        worker.stats.misses.add(std::mem::take(&mut fx.misses));
    }
}

/// Journal, counters, events and garbage of one unit.
fn account(worker: &Worker, env: &Env, scratch: &mut Scratch, wrote: &mut LogOffset) {
    let Scratch { fx, record, .. } = scratch;
    let core = worker.core;
    if !record.is_empty() {
        let forward = worker.forward.take().map(|forward| *forward);
        let upto =
            core.persist.append(record.is_transaction(), || record.commands(), env.now, forward);
        *wrote = upto.max(*wrote);
    }
    if fx.dirty != 0 {
        worker.stats.dirty.add(std::mem::take(&mut fx.dirty));
    }
    for notice in fx.notices.drain(..) {
        publish(worker, env, &notice);
    }
    for entry in fx.garbage.drain(..) {
        core.free_later(Garbage::Entry(entry));
    }
    for db in fx.dropped.drain(..) {
        core.free_later(Garbage::Db(db));
    }
}

/// Clients that cached what was changed.
#[inline]
fn tell_readers(worker: &Worker, scratch: &mut Scratch) {
    if !scratch.fx.readers.is_empty() {
        tracking::tell(worker.core, &mut scratch.fx.readers, scratch.by);
    }
}

#[cold]
fn publish(worker: &Worker, env: &Env, notice: &Notice) {
    let pubsub = &worker.core.pubsub;
    if env.notify.has(Classes::KEYSPACE) {
        let mut channel = format!("__keyspace@{}__:", notice.at.db).into_bytes();
        channel.extend_from_slice(&notice.at.key);
        pubsub.publish(&channel, notice.event.name.as_bytes());
    }
    if env.notify.has(Classes::KEYEVENT) {
        let channel = format!("__keyevent@{}__:{}", notice.at.db, notice.event.name);
        pubsub.publish(channel.as_bytes(), &notice.at.key);
    }
}

/// Runs the commands of clients that wait for ready keys, as far as the locks reach.
#[cold]
fn serve(worker: &Worker, env: &Env, ready: VecDeque<DbKey>, hold: &mut Hold) -> Vec<DbKey> {
    let mut queue = ready;
    let mut left = Vec::new();
    while let Some(at) = queue.pop_front() {
        if !hold.has(shard_of(hash_bytes(&at.key))) {
            left.push(at);
            continue;
        }
        let mut skipped = 0;
        while let Some((place, ticket, waiter)) = blocking::waiter(worker.core, hold, &at, skipped)
        {
            if !waiter.is_for(blocking::kind_at(hold, env, &at)) {
                // It waits for another type of value; the next may not.
                skipped = place + 1;
                continue;
            }
            if !hold.covers(&waiter.set) {
                left.push(at.clone());
                break;
            }
            let mut over = waiter.over.lock();
            if *over {
                skipped = place + 1;
                continue;
            }
            let by = Some(waiter.client.id);
            let mut scratch = Scratch { by, ..Scratch::default() };
            let Some(reply) = blocking::try_serve(worker, env, &waiter, hold, &mut scratch) else {
                // What it waits for is not all there yet; the next may wait for less. Looking may
                // have changed something: a consumer that asks is there from then on.
                account(worker, env, &mut scratch, &mut LogOffset::default());
                tell_readers(worker, &mut scratch);
                skipped = place + 1;
                continue;
            };
            *over = true;
            drop(over);
            blocking::unregister(worker.core, hold, ticket, &waiter);
            let mut wrote = LogOffset::default();
            count_reads(worker, &mut scratch.fx);
            account(worker, env, &mut scratch, &mut wrote);
            waiter.client.unblock(&reply, wrote);
            tracking::remember_served(worker.core, hold, &waiter);
            tell_readers(worker, &mut scratch);
            queue.extend(scratch.fx.ready.drain(..));
        }
    }
    left
}

/// Serves waiters whose locks were not held: takes the locks anew, as wide as each needs.
pub fn serve_left(worker: &Worker, left: Vec<DbKey>) {
    let mut left = left;
    // Each round serves at least one waiter or finds none; a waiter is served once.
    while let Some(at) = left.pop() {
        let core = worker.core;
        let mut set = ShardSet::default();
        set.add_key(&at.key);
        {
            let hold = core.keyspace.lock(&set);
            blocking::widen(core, &hold, &at, &mut set);
        }
        let env = core.env();
        let mut hold = core.keyspace.lock(&set);
        let more = serve(worker, &env, VecDeque::from([at]), &mut hold);
        drop(hold);
        left.extend(more);
    }
}
