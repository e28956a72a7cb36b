//! Clients that wait for keys.
//!
//! A waiter stands in the books of its keys' shards and in [`Blocked`]; it enters and leaves both
//! under the locks of all its keys, so an element is never handed to somebody who has gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::acl::Denied;
use crate::acl::log::Context;
use crate::acl::users::Account;
use crate::base::hash::hash_bytes;
use crate::engine::access;
use crate::engine::client::Client;
use crate::engine::command::Row;
use crate::engine::context::{Block, NOT_STOPPED, TimeoutReply};
use crate::engine::core::{Attention, Core, Scratch, Worker};
use crate::engine::dispatch::{self, Unit};
use crate::engine::replicas;
use crate::engine::session::Session;
use crate::keyspace::effects::{DbKey, Env};
use crate::keyspace::lock::{Hold, ShardSet, shard_of};
use crate::keyspace::shard::Ticket;
use crate::persist::journal::LogOffset;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::reply::{Protocol, Reply};
use crate::spec::Group;
use crate::value::Kind;

/// A client that waits, with the command it will run.
pub struct Waiter {
    /// Who.
    pub client: Arc<Client>,
    /// As which user.
    pub account: Arc<Account>,
    /// Its command.
    pub row: &'static Row,
    /// The words.
    pub args: OwnedArgs,
    /// The database.
    pub db: u32,
    /// How its reply is encoded.
    pub protocol: Protocol,
    /// What it waits for.
    pub block: Block,
    /// The shards its command needs.
    pub set: ShardSet,
    /// Set by whoever ends the wait, and held while the command runs on the client's behalf: a
    /// wait ends once.
    pub over: Mutex<bool>,
}

impl Waiter {
    /// Whether a key that now holds a value of this kind, or none, ends the wait.
    pub fn is_for(&self, kind: Option<Kind>) -> bool {
        let wanted = match self.row.spec().group {
            Group::List => Some(Kind::List),
            Group::SortedSet => Some(Kind::Zset),
            Group::Stream => Some(Kind::Stream),
            _ => return true,
        };
        self.block.on_deletion || kind == wanted
    }

    fn keys(&self) -> impl Iterator<Item = DbKey> + '_ {
        let args = self.args.args();
        self.block.keys.iter().map(move |at| DbKey { db: self.db, key: args.word(*at).into() })
    }
}

/// Everyone who waits.
#[derive(Default)]
pub struct Blocked {
    waiters: Mutex<HashMap<Ticket, Arc<Waiter>>>,
    next: AtomicU64,
}

impl Blocked {
    /// Clients that wait.
    pub fn count(&self) -> usize {
        self.waiters.lock().len()
    }

    /// Clients that wait for a limited time.
    pub fn timed(&self) -> usize {
        self.waiters.lock().values().filter(|waiter| waiter.block.until.is_some()).count()
    }

    /// Keys somebody waits for, and those for whose deletion somebody waits.
    pub fn keys(&self) -> (usize, usize) {
        let mut all = std::collections::HashSet::new();
        let mut deletions = std::collections::HashSet::new();
        for waiter in self.waiters.lock().values() {
            for key in waiter.keys() {
                if waiter.block.on_deletion {
                    deletions.insert(key.clone());
                }
                all.insert(key);
            }
        }
        (all.len(), deletions.len())
    }

    /// The ticket of a client that waits.
    pub fn ticket_of(&self, client: u64) -> Option<Ticket> {
        let waiters = self.waiters.lock();
        waiters.iter().find(|(_, waiter)| waiter.client.id == client).map(|(ticket, _)| *ticket)
    }

    fn get(&self, ticket: Ticket) -> Option<Arc<Waiter>> {
        self.waiters.lock().get(&ticket).cloned()
    }

    /// When a waiting client gives up.
    pub fn deadline(&self, ticket: Ticket) -> Option<crate::base::clock::UnixMs> {
        self.get(ticket)?.block.until
    }
}

/// Enters a session's wait. The hold covers the command's keys.
pub fn register(
    core: &Core,
    session: &mut Session,
    row: &'static Row,
    args: &Args,
    mut block: Block,
    hold: &mut Hold,
    protocol: Protocol,
) {
    let ticket = Ticket(core.blocked.next.fetch_add(1, Ordering::Relaxed));
    let mut set = ShardSet::default();
    dispatch::shards_of(row, args, &mut set);
    let waiter = Waiter {
        client: Arc::clone(&session.client),
        account: Arc::clone(&session.account),
        row,
        args: block.request.take().unwrap_or_else(|| args.to_owned()),
        db: session.db,
        protocol,
        block,
        set,
        over: Mutex::new(false),
    };
    for at in waiter.keys() {
        let waiters = &mut hold.shard_mut(shard_of(hash_bytes(&at.key))).waiters;
        let queue = waiters.entry(at).or_default();
        if !queue.contains(&ticket) {
            queue.push_back(ticket);
        }
    }
    core.blocked.waiters.lock().insert(ticket, Arc::new(waiter));
    session.waiting = Some(ticket);
}

/// Removes a waiter from every book. The hold covers its keys.
pub fn unregister(core: &Core, hold: &mut Hold, ticket: Ticket, waiter: &Waiter) {
    for at in waiter.keys() {
        let waiters = &mut hold.shard_mut(shard_of(hash_bytes(&at.key))).waiters;
        if let Some(queue) = waiters.get_mut(&at) {
            queue.retain(|other| *other != ticket);
            if queue.is_empty() {
                waiters.remove(&at);
            }
        }
    }
    core.blocked.waiters.lock().remove(&ticket);
}

/// The client that has waited longest for a key, after `skipped` others, and its place in the queue.
/// Those whose wait was cancelled are passed over.
pub fn waiter(
    core: &Core,
    hold: &Hold,
    at: &DbKey,
    skipped: usize,
) -> Option<(usize, Ticket, Arc<Waiter>)> {
    let shard = hold.shard(shard_of(hash_bytes(&at.key)));
    let queue = shard.waiters.get(at)?.iter().enumerate().skip(skipped);
    queue.into_iter().find_map(|(place, ticket)| Some((place, *ticket, core.blocked.get(*ticket)?)))
}

/// What a key holds now, whose shard is held.
/// One whose deadline has passed is as good as gone, and stays for others to remove.
pub fn kind_at(hold: &Hold, env: &Env, at: &DbKey) -> Option<Kind> {
    let hash = hash_bytes(&at.key);
    let entry = hold.shard(shard_of(hash)).db(at.db)?.keys.get(hash, &at.key)?;
    let past = env.expires && entry.deadline().is_some_and(|deadline| deadline < env.now);
    (!past).then(|| entry.kind())
}

/// Adds the shards that the waiters of a key need.
pub fn widen(core: &Core, hold: &Hold, at: &DbKey, set: &mut ShardSet) {
    let mut skipped = 0;
    while let Some((place, _, waiter)) = waiter(core, hold, at, skipped) {
        set.add_all(&waiter.set);
        skipped = place + 1;
    }
}

/// Runs a waiter's command; its reply, or nothing when it still has to wait.
pub fn try_serve(
    worker: &Worker,
    env: &Env,
    waiter: &Waiter,
    hold: &mut Hold,
    scratch: &mut Scratch,
) -> Option<Vec<u8>> {
    let mut reply = Reply::new(waiter.protocol);
    if let Err(denied) = access::check(&waiter.account, waiter.row, &waiter.args.args()) {
        return Some(deny(worker, waiter, denied));
    }
    scratch.record.begin(worker.core.persist.wants_records());
    let Scratch { fx, record, .. } = scratch;
    let mut unit =
        Unit { worker, hold, env, fx, record, may_block: true, scripted: false, hash: None };
    let args = waiter.args.args();
    let before = worker.clock.get();
    let block = dispatch::run(&mut unit, None, waiter.db, waiter.row, args, &mut reply);
    let nanos = worker.clock.get().duration_since(before).as_nanos() as u64;
    if block.is_none() && worker.core.stats.slowlog.wants(nanos) {
        dispatch::keep_slow(worker.core, &waiter.client, waiter.row, &args, nanos);
    }
    match block {
        Some(_) => None,
        None => Some(std::mem::take(reply.buffer())),
    }
}

/// The reply to a client whose user may no longer do what it waits for.
#[cold]
fn deny(worker: &Worker, waiter: &Waiter, denied: Denied) -> Vec<u8> {
    let (core, row, args) = (worker.core, waiter.row, waiter.args.args());
    let (client, account) = (&waiter.client, &waiter.account);
    let error = access::refuse(core, client, account, (row, &args), denied, Context::Toplevel);
    worker.stats.commands[row.index].rejected.add(1);
    worker.stats.errors.add(1);
    core.stats.count_error(&error.code());
    let mut reply = Reply::new(waiter.protocol);
    let _ = reply.error(&error);
    std::mem::take(reply.buffer())
}

/// Ends a wait by CLIENT UNBLOCK or CLIENT KILL, without the locks of its keys: nobody serves it
/// from here on. It stays in their books until [`forget`]. `None` when it was served before.
pub fn cancel(core: &Core, ticket: Ticket) -> Option<Arc<Waiter>> {
    let waiter = core.blocked.get(ticket)?;
    {
        let mut over = waiter.over.lock();
        if std::mem::replace(&mut *over, true) {
            return None;
        }
    }
    core.blocked.waiters.lock().remove(&ticket);
    Some(waiter)
}

/// A busy script has the locks: try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

fn lock(core: &Core, set: &ShardSet) -> Result<Hold, Busy> {
    core.keyspace.lock_unless(set, || core.has_attention(Attention::SCRIPT_BUSY)).ok_or(Busy)
}

/// Removes a cancelled wait from the books of its keys.
pub fn forget(core: &Core, ticket: Ticket, waiter: &Waiter) -> Result<(), Busy> {
    let mut set = ShardSet::default();
    waiter.keys().for_each(|at| set.add_key(&at.key));
    unregister(core, &mut lock(core, &set)?, ticket, waiter);
    Ok(())
}

/// Ends a wait from outside: by its timeout, or because the client has gone.
/// Returns the waiter, unless it was served before.
pub fn give_up(core: &Core, ticket: Ticket) -> Result<Option<Arc<Waiter>>, Busy> {
    let Some(waiter) = core.blocked.get(ticket) else { return Ok(None) };
    let mut set = waiter.set;
    waiter.keys().for_each(|at| set.add_key(&at.key));
    let mut hold = lock(core, &set)?;
    // It may have been served or cancelled while the locks were awaited.
    if std::mem::replace(&mut *waiter.over.lock(), true) {
        return Ok(None);
    }
    unregister(core, &mut hold, ticket, &waiter);
    Ok(Some(waiter))
}

/// Counts the call of a command whose time is up; one that is served counts itself.
pub fn count_timeout(worker: &Worker, waiter: &Waiter) {
    worker.stats.commands[waiter.row.index].calls.add(1);
}

/// Tells a client that its time is up.
pub fn time_out(core: &Core, waiter: &Waiter) {
    waiter.client.unblock(&timeout_reply(core, waiter), LogOffset::default());
}

/// What a client gets whose time is up.
pub fn timeout_reply(core: &Core, waiter: &Waiter) -> Vec<u8> {
    let mut reply = Reply::new(waiter.protocol);
    let _ = match waiter.block.timeout {
        TimeoutReply::Null => reply.null(),
        TimeoutReply::NullArray => reply.null_array(),
        TimeoutReply::Acks(wait) => replicas::answer(core, wait, &mut reply),
        TimeoutReply::NotStopped => reply.error_line(NOT_STOPPED),
    };
    std::mem::take(reply.buffer())
}

/// Answers the clients in WAIT and WAITAOF who have waited long enough.
pub fn serve_acks(core: &Core) {
    answer_all(core, |waiter| match waiter.block.timeout {
        TimeoutReply::Acks(wait) => replicas::is_confirmed(core, wait),
        _ => false,
    });
}

/// Answers those in SHUTDOWN that the process does not end.
pub fn tell_not_stopped(core: &Core) {
    answer_all(core, |waiter| waiter.block.timeout == TimeoutReply::NotStopped);
}

/// Ends every wait that is over, as if its time were up. For those that wait for no key.
fn answer_all(core: &Core, is_over: impl Fn(&Waiter) -> bool) {
    let done: Vec<Ticket> = {
        let waiters = core.blocked.waiters.lock();
        let done = waiters.iter().filter(|(_, waiter)| is_over(waiter));
        done.map(|(ticket, _)| *ticket).collect()
    };
    for ticket in done {
        if let Some(waiter) = cancel(core, ticket) {
            time_out(core, &waiter);
        }
    }
}

/// Whether a client's wait has a time that could be up.
pub fn can_time_out(core: &Core, id: u64) -> bool {
    let waiter = core.blocked.ticket_of(id).and_then(|ticket| core.blocked.get(ticket));
    waiter.is_some_and(|waiter| waiter.block.timeout != TimeoutReply::NotStopped)
}

/// Ends a client's wait with the reply that `answer` gives; `None` when it did not wait.
pub fn end_wait(core: &Core, id: u64, answer: impl Fn(&Waiter) -> Vec<u8>) -> Option<Arc<Waiter>> {
    let ticket = core.blocked.ticket_of(id)?;
    let waiter = cancel(core, ticket)?;
    let reply = answer(&waiter);
    let client = Arc::clone(&waiter.client);
    client.figures.blocked.store(false, Ordering::Relaxed);
    client.post(|mail| {
        mail.cancelled = Some((ticket, Arc::clone(&waiter)));
    });
    client.unblock(&reply, LogOffset::default());
    Some(waiter)
}

/// Ends every wait with the same error.
pub fn end_all(worker: &Worker, error: &[u8]) {
    let core = worker.core;
    let ids: Vec<u64> =
        core.blocked.waiters.lock().values().map(|waiter| waiter.client.id).collect();
    for id in ids {
        if let Some(waiter) = end_wait(core, id, |_| error.to_vec()) {
            count_failed(worker, &waiter);
        }
    }
}

/// Counts a call that was ended with an error from outside.
pub fn count_failed(worker: &Worker, waiter: &Waiter) {
    count_timeout(worker, waiter);
    worker.stats.commands[waiter.row.index].failed.add(1);
    worker.stats.errors.add(1);
    worker.core.stats.count_error("UNBLOCKED");
}

/// Ends a connection from outside; nothing is handed to it any more.
pub fn end_connection(core: &Core, client: &Client) {
    end_wait(core, client.id, |_| Vec::new());
    core.clients.remove(client.id);
    client.kill();
}
