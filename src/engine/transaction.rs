//! MULTI, EXEC, WATCH.
//!
//! EXEC locks the union of what its commands need and of what the session watches, looks whether
//! a watched key was touched, and runs everything as one unit with one record.

use std::sync::atomic::Ordering;

use crate::acl::Denied;
use crate::acl::log::Context;
use crate::base::clock::UnixMs;
use crate::base::hash::hash_bytes;
use crate::engine::access;
use crate::engine::client::ClientFlags;
use crate::engine::command::Row;
use crate::engine::core::{Attention, Core, Worker};
use crate::engine::dispatch::{self, Unit};
use crate::engine::gate::{self, Refusal};
use crate::engine::monitor;
use crate::engine::session::{Multi, Session};
use crate::engine::settle;
use crate::keyspace::effects::{DbKey, Env};
use crate::keyspace::lock::{Hold, ShardSet, shard_of};
use crate::keyspace::shard::Touched;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::error::CmdError;
use crate::resp::reply::Reply;

/// Whether a command is executed although a transaction is being queued.
pub fn runs_at_once(row: &Row) -> bool {
    matches!(row.spec().name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

/// Queues a command.
pub fn queue(session: &mut Session, row: &'static Row, args: Args<'_>, reply: &mut Reply) {
    if let Some(multi) = &mut session.multi {
        let args = args.to_owned();
        multi.bytes += args.memory_bytes() + size_of::<(&Row, OwnedArgs)>();
        multi.queue.push((row, args));
    }
    let _ = reply.simple("QUEUED");
}

/// Begins a transaction.
pub fn begin(session: &mut Session) -> Result<(), CmdError> {
    if session.multi.is_some() {
        return Err(CmdError::err("MULTI calls can not be nested"));
    }
    session.multi = Some(Multi::default());
    Ok(())
}

/// Ends a transaction without executing it.
pub fn discard(core: &Core, session: &mut Session) -> Result<(), CmdError> {
    if session.multi.take().is_none() {
        return Err(CmdError::err("DISCARD without MULTI"));
    }
    session.client.set_flag(ClientFlags::DIRTY_EXEC, false);
    unwatch(core, session);
    Ok(())
}

/// Watches a key. The hold covers it.
pub fn watch(session: &mut Session, hold: &mut Hold, key: &[u8], now: UnixMs) {
    if session.watched.is_empty() {
        session.watching_since = now;
    }
    let at = DbKey { db: session.db, key: key.into() };
    if session.watched.contains(&at) {
        return;
    }
    let shard = hold.shard_mut(shard_of(hash_bytes(key)));
    shard.watchers.entry(at.clone()).or_default().push(Touched::clone(&session.touched));
    session.watched.push(at);
}

/// Watches nothing any more. What a busy script keeps from being forgotten is left for the next
/// time; false says that there is such.
pub fn unwatch(core: &Core, session: &mut Session) -> bool {
    let watched = std::mem::take(&mut session.watched);
    let touched = std::mem::take(&mut session.touched);
    session.unforgotten.extend(watched.into_iter().map(|at| (at, Touched::clone(&touched))));
    session.unforgotten.retain(|(at, touched)| {
        let shard = shard_of(hash_bytes(&at.key));
        let busy = || core.has_attention(Attention::SCRIPT_BUSY);
        let Some(mut hold) = core.keyspace.lock_one_unless(shard, busy) else { return true };
        forget(touched, &mut hold, at);
        false
    });
    session.unforgotten.is_empty()
}

fn forget(touched: &Touched, hold: &mut Hold, at: &DbKey) {
    let watchers = &mut hold.shard_mut(shard_of(hash_bytes(&at.key))).watchers;
    if let Some(flags) = watchers.get_mut(at) {
        flags.retain(|flag| !Touched::ptr_eq(flag, touched));
        if flags.is_empty() {
            watchers.remove(at);
        }
    }
}

/// Whether a watched key was touched, or its deadline has passed since.
fn is_broken(session: &Session, hold: &Hold, env: &Env) -> bool {
    session.touched.load(Ordering::Relaxed)
        || session.watched.iter().any(|at| {
            let hash = hash_bytes(&at.key);
            let db = hold.shard(shard_of(hash)).db(at.db);
            let entry = db.and_then(|db| db.keys.get(hash, &at.key));
            // One that was past its deadline before was watched as absent.
            entry
                .and_then(|entry| entry.deadline())
                .is_some_and(|deadline| deadline < env.now && deadline >= session.watching_since)
        })
}

/// The shards of everything that is queued or watched, unless nothing may be written any more.
fn lock(core: &Core, session: &Session, multi: &Multi) -> Result<Hold, CmdError> {
    let mut set = ShardSet::default();
    for (row, args) in &multi.queue {
        dispatch::shards_of(row, &args.args(), &mut set);
    }
    session.watched.iter().for_each(|at| set.add_key(&at.key));
    let busy = || !session.replaying && core.has_attention(Attention::SCRIPT_BUSY);
    let late = || multi.queue.iter().any(|(row, _)| gate::comes_too_late(core, session, row));
    match core.keyspace.lock_unless(&set, busy) {
        None => Err(gate::busy(core)),
        Some(_) if late() => Err(CmdError::Const(gate::READONLY)),
        Some(hold) => Ok(hold),
    }
}

/// EXEC.
pub fn exec(
    worker: &Worker,
    env: &Env,
    session: &mut Session,
    row: &'static Row,
    args: Args<'_>,
    reply: &mut Reply,
) {
    let core = worker.core;
    let counters = &worker.stats.commands[row.index];
    counters.calls.add(1);
    let Some(multi) = session.multi.take() else {
        counters.failed.add(1);
        fail(worker, reply, &CmdError::err("EXEC without MULTI"));
        return;
    };
    debug_assert_eq!(args.count(), 1);
    session.client.set_flag(ClientFlags::DIRTY_EXEC, false);
    if multi.failed {
        unwatch(core, session);
        counters.failed.add(1);
        let text = "EXECABORT Transaction discarded because of previous errors.";
        fail(worker, reply, &CmdError::Const(text));
        return;
    }
    let mut hold = match lock(core, session, &multi) {
        Ok(hold) => hold,
        Err(error) => {
            unwatch(core, session);
            counters.failed.add(1);
            let text = format!("EXECABORT Transaction discarded because of: {error}");
            fail(worker, reply, &CmdError::Text(text));
            return;
        }
    };
    let broken = is_broken(session, &hold, env);
    for at in std::mem::take(&mut session.watched) {
        forget(&session.touched, &mut hold, &at);
    }
    session.touched = Touched::default();
    if broken {
        let _ = reply.null_array();
        return;
    }
    let mut scratch = worker.take_scratch();
    scratch.by = Some(session.client.id);
    scratch.record.begin(core.persist.wants_records());
    reply.array(multi.queue.len());
    let began = worker.clock.get();
    for (row, args) in &multi.queue {
        let mut unit = Unit::inside(worker, &mut hold, env, &mut scratch);
        run_queued(&mut unit, session, row, args.args(), reply);
    }
    // Clients that waited are served at the moment the transaction ends: what it set may have
    // expired by then.
    let took = worker.clock.get().duration_since(began).as_millis() as u64;
    let env = Env { now: UnixMs(env.now.0 + took), ..*env };
    let left = settle::settle(worker, &env, &mut scratch, &mut hold, &mut session.wrote);
    drop(hold);
    worker.keep_scratch(scratch);
    settle::serve_left(worker, left);
}

fn run_queued(
    unit: &mut Unit<'_>,
    session: &mut Session,
    row: &'static Row,
    args: Args<'_>,
    reply: &mut Reply,
) {
    // What held when the command was queued may not hold now.
    match gate::check_queued(unit.worker.core, session, row, &args, reply.protocol()) {
        Ok(()) => {
            let db = session.db;
            let core = unit.worker.core;
            let monitored = core.has_attention(Attention::MONITORED);
            if monitored {
                monitor::feed_before(core, &session.client.addr, db, row, &args);
            }
            let _ = dispatch::run(unit, Some(&mut *session), db, row, args, reply);
            if monitored {
                monitor::feed(core, &session.client.addr, session.db, row, &args);
            }
        }
        Err(Refusal::State(error)) => fail(unit.worker, reply, &error),
        Err(Refusal::Denied(denied)) => {
            let (client, account) = (&session.client, &session.account);
            let call = (row, &args);
            access::log(unit.worker.core, client, account, call, denied, Context::Multi);
            fail(unit.worker, reply, &CmdError::Text(no_longer(denied)));
        }
    }
}

/// What a transaction hears of a command that was allowed when it was queued.
fn no_longer(denied: Denied) -> String {
    let reason = match denied {
        Denied::Command => "no permission to execute the command or subcommand",
        Denied::Key(_) => "no permission to touch the specified keys",
        Denied::Channel(_) => "no permission to access one of the channels used as arguments",
    };
    format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC \
         call. This command is no longer allowed for the following reason: {reason}"
    )
}

fn fail(worker: &Worker, reply: &mut Reply, error: &CmdError) {
    worker.stats.errors.add(1);
    worker.core.stats.count_error(&error.code());
    let _ = reply.error(error);
}
