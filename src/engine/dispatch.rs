//! A request on its way: row, gate, locks, handler, settlement.

use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::clock;
use crate::base::hash::hash_bytes;
use crate::engine::access;
use crate::engine::ahead::Known;
use crate::engine::blocking;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::command::{Row, Run};
use crate::engine::context::{AdminCtx, Block, Ctx};
use crate::engine::core::{Attention, Core, Kept, Locks, Scratch, Worker};
use crate::engine::evicting;
use crate::engine::expiring;
use crate::engine::fiber;
use crate::engine::gate;
use crate::engine::monitor;
use crate::engine::own_keys;
use crate::engine::record::Record;
use crate::engine::replicas;
use crate::engine::session::{ReplyMode, Session};
use crate::engine::settle;
use crate::engine::tracking;
use crate::engine::transaction;
use crate::keyspace::effects::{Access, Effects, Env};
use crate::keyspace::lock::{Hold, ShardSet, shard_of};
use crate::keyspace::view::DbView;
use crate::resp::args::Args;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::spec::flags::Flags;
use crate::spec::keys::keys_of;
use crate::stats::slowlog::{self, Slow};

/// What surrounds the commands of one unit of execution: they share locks, account and record.
pub struct Unit<'u> {
    /// The thread.
    pub worker: &'u Worker,
    /// The locks.
    pub hold: &'u mut Hold,
    /// What is fixed.
    pub env: &'u Env,
    /// The account.
    pub fx: &'u mut Effects,
    /// The record.
    pub record: &'u mut Record,
    /// Whether the client can wait.
    pub may_block: bool,
    /// Whether a script runs the commands.
    pub scripted: bool,
    /// The hash of the only key, when it is known.
    pub hash: Option<u64>,
}

impl<'u> Unit<'u> {
    /// For the commands of a transaction.
    pub fn inside(
        worker: &'u Worker,
        hold: &'u mut Hold,
        env: &'u Env,
        scratch: &'u mut Scratch,
    ) -> Unit<'u> {
        let Scratch { fx, record, .. } = scratch;
        Unit { worker, hold, env, fx, record, may_block: false, scripted: false, hash: None }
    }
}

/// Executes one request of a session. The reply is encoded; whether it may leave yet is the
/// journal's to say (`session.wrote`).
pub fn execute(
    worker: &Worker,
    env: &Env,
    session: &mut Session,
    args: Args<'_>,
    reply: &mut Reply,
    found: Result<&'static Row, CmdError>,
    known: Known,
) {
    let core = worker.core;
    let mut confirms = false;
    if core.has_attention(Attention::MEMORY_LIMITED) {
        worker.release_kept();
        evicting::run(worker);
    }
    if core.has_attention(Attention::TRACKED) {
        tracking::before(core, session, reply);
    }
    let start = reply.len();
    let follows = session.replica.as_ref().is_some_and(|replica| replica.has_asked());
    let checked = found.and_then(|row| {
        session.client.figures.command.store(row.index as u32, Ordering::Relaxed);
        let checked = gate::check(core, session, row, &args, reply.protocol());
        checked.map(|()| row).map_err(|refusal| refusal.tell(core, session, row, &args))
    });
    match checked {
        Err(error) => refuse(worker, session, args, reply, &error),
        Ok(row) => {
            // Confirmations of subscriptions are messages, which CLIENT REPLY does not hold back.
            confirms = row.spec().flags.has(Flags::PUBSUB.with(Flags::NOSCRIPT));
            let queued = session.multi.is_some() && !transaction::runs_at_once(row);
            let monitored = !queued && core.has_attention(Attention::MONITORED);
            if monitored {
                monitor::feed_before(core, &session.client.addr, session.db, row, &args);
            }
            if queued {
                transaction::queue(session, row, args, reply);
            } else if row.spec().name == "exec" {
                transaction::exec(worker, env, session, row, args, reply);
            } else {
                run_alone(worker, env, session, row, args, reply, known);
            }
            if monitored {
                monitor::feed(core, &session.client.addr, session.db, row, &args);
            }
        }
    }
    if follows && reply.len() > start {
        let name = gate::find(core, &args).map_or("", |row| row.spec().name);
        replicas::refuse_answer(session, name, reply, start);
    }
    if session.reply_mode != ReplyMode::On {
        silence(session, reply, if confirms { reply.len() } else { start });
    }
    if core.has_attention(Attention::TRACKED) {
        let row = gate::find(core, &args).ok();
        tracking::after(session, row, reply);
    }
}

/// CLIENT REPLY OFF and SKIP.
#[cold]
fn silence(session: &mut Session, reply: &mut Reply, start: usize) {
    reply.cut(start);
    session.reply_mode = match session.reply_mode {
        ReplyMode::SkipNext => ReplyMode::Skip,
        ReplyMode::Skip => ReplyMode::On,
        mode => mode,
    };
}

/// Answers a request that does not run.
#[cold]
fn refuse(worker: &Worker, session: &mut Session, args: Args, reply: &mut Reply, error: &CmdError) {
    if let Some(multi) = &mut session.multi {
        multi.failed = true;
        session.client.set_flag(ClientFlags::DIRTY_EXEC, true);
    }
    if let Ok(row) = gate::find(worker.core, &args) {
        worker.stats.commands[row.index].rejected.add(1);
    } else if let Some(row) = worker.core.commands.find(args.word(0)) {
        worker.stats.commands[row.index].rejected.add(1);
    }
    count_error(worker, error);
    if args.word(0).eq_ignore_ascii_case(b"exec") {
        // Failing is part of EXEC's own work: it ends the transaction, if there is one.
        let _ = transaction::discard(worker.core, session);
        let error = error.to_string();
        let why = error.strip_prefix("ERR ").unwrap_or(&error);
        let _ = reply.error_line(&format!("EXECABORT Transaction discarded because of: {why}"));
        return;
    }
    let _ = reply.error(error);
}

fn count_error(worker: &Worker, error: &CmdError) {
    if matches!(error, CmdError::Counted(_)) {
        return;
    }
    worker.stats.errors.add(1);
    worker.core.stats.count_error(&error.code());
}

/// The hashes of a request's keys.
type Hashes = SmallVec<[u64; 16]>;

/// The shards a request needs; gives the hashes of its keys, where not all shards are needed.
pub fn shards_of(row: &Row, args: &Args, set: &mut ShardSet) -> Hashes {
    let mut hashes = Hashes::new();
    if row.spec().flags.has(Flags::ALL_SHARDS) {
        *set = ShardSet::ALL;
    } else if let Some(position) = row.only_key {
        hashes.push(hash_bytes(args.word(position)));
    } else if row.spec().has_keys() {
        let words: SmallVec<[&[u8]; 16]> = args.words().collect();
        // Words without keys are refused by the handler, whatever it holds.
        if let Ok(keys) = keys_of(row.spec(), &words) {
            hashes.extend(keys.iter().map(|key| hash_bytes(words[key.pos as usize])));
        }
    }
    hashes.iter().for_each(|hash| set.add(shard_of(*hash)));
    hashes
}

/// The locks of a command; nothing when a script that is over its time has them, unless the command
/// has to run. Where there are several keys, they are asked for ahead.
#[inline]
fn lock(core: &Core, session: &Session, row: &Row, args: &Args, hash: Option<u64>) -> Option<Hold> {
    let busy = || !session.replaying && core.has_attention(Attention::SCRIPT_BUSY);
    if let (Some(_), Some(hash)) = (row.only_key, hash) {
        return core.keyspace.lock_one_unless(shard_of(hash), busy);
    }
    let mut set = ShardSet::default();
    let hashes = shards_of(row, args, &mut set);
    hashes.iter().for_each(|hash| core.keyspace.prefetch_bucket(*hash));
    match core.keyspace.lock_unless(&set, busy) {
        // SHUTDOWN NOSAVE needs none.
        None if row.spec().name == "shutdown" => Some(core.keyspace.lock_none()),
        None => None,
        Some(hold) => {
            hashes.iter().for_each(|hash| hold.prefetch_entry(*hash, session.db));
            Some(hold)
        }
    }
}

/// A command that is a unit of its own.
fn run_alone(
    worker: &Worker,
    env: &Env,
    session: &mut Session,
    row: &'static Row,
    args: Args<'_>,
    reply: &mut Reply,
    known: Known,
) {
    let core = worker.core;
    let hash = match (known.hash, row.only_key) {
        (None, Some(position)) => Some(hash_bytes(args.word(position))),
        (hash, _) => hash,
    };
    let scripts = row.only_key.is_none() && fiber::runs_script(row);
    let locks = match hash {
        _ if scripts => Some(Locks::All),
        Some(hash) if row.only_key.is_some() => Some(Locks::One(shard_of(hash))),
        _ => None,
    };
    let kept = locks.and_then(|locks| worker.take_kept(locks));
    let since = kept.as_ref().map_or_else(|| worker.clock.get(), |kept| kept.since);
    let taken = kept.map(|kept| kept.hold).or_else(|| lock(core, session, row, &args, hash));
    let Some(mut hold) = taken else {
        refuse(worker, session, args, reply, &gate::busy(core));
        return;
    };
    if gate::comes_too_late(core, session, row) {
        refuse(worker, session, args, reply, &CmdError::Const(gate::READONLY));
        return;
    }
    let mut scratch = worker.take_scratch();
    scratch.by = Some(session.client.id);
    scratch.record.begin(core.persist.wants_records());
    if row.spec().flags.has(Flags::READONLY) {
        // Whatever it leaves is the removal of what it met past its deadline.
        scratch.record.loosen();
    }
    let Scratch { fx, record, .. } = &mut *scratch;
    let mut unit =
        Unit { worker, hold: &mut hold, env, fx, record, may_block: true, scripted: false, hash };
    let db = session.db;
    let block = run(&mut unit, Some(session), db, row, args, reply);
    if let Some(block) = block {
        blocking::register(core, session, row, &args, block, &mut hold, reply.protocol());
    }
    let left = settle::settle(worker, env, &mut scratch, &mut hold, &mut session.wrote);
    worker.keep_scratch(scratch);
    let leaves = scripts || known.same_shard_next && !core.has_attention(Attention::ANY);
    if let Some(locks) = locks.filter(|_| leaves && left.is_empty())
        && worker.clock.get().duration_since(since) < KEPT_MAX
    {
        drop(worker.keep(locks, Kept { hold, since }));
        return;
    }
    drop(hold);
    settle::serve_left(worker, left);
}

/// How long locks are held for commands that follow each other.
const KEPT_MAX: Duration = Duration::from_micros(300);

/// Runs one command of a unit and puts what it tells the journal into the unit's record.
/// Returns what the client waits for, if the command could not answer yet.
pub fn run(
    unit: &mut Unit<'_>,
    mut session: Option<&mut Session>,
    db: u32,
    row: &'static Row,
    args: Args<'_>,
    reply: &mut Reply,
) -> Option<Block> {
    let worker = unit.worker;
    let start = reply.len();
    let dirty = unit.fx.dirty;
    let mut block = None;
    unit.record.begin_command(db);
    let quiet;
    let env = match &session {
        Some(session) if session.client.has_flag(ClientFlags::NO_TOUCH) => {
            quiet = Env { access: Access::Untouched, ..*unit.env };
            &quiet
        }
        _ => unit.env,
    };
    let reads_all_keys =
        session.as_ref().is_none_or(|session| access::reads_all_keys(&session.account, row, &args));
    if !env.removes_expired && env.expires && row.spec().flags.has(Flags::WRITE) {
        own_keys::make_way(worker.core, unit.hold, unit.fx, (row, &args, db), env);
    }
    let mut view = DbView::new(unit.hold, env, unit.fx, db);
    if let (Some(hash), Some(position)) = (unit.hash, row.only_key) {
        view = view.with_hash(args.word(position), hash);
    }
    let cx = Ctx {
        args,
        db: view,
        reply,
        record: unit.record,
        now: env.now,
        spec: &row.command.spec,
        reads_all_keys,
        may_block: unit.may_block,
        scripted: unit.scripted,
        block: &mut block,
    };
    let result = call(cx, session.as_deref_mut(), row, worker);
    if let Err(error) = &result {
        reply.cut(start);
        let _ = reply.error(error);
        worker.stats.commands[row.index].failed.add(1);
        count_error(worker, error);
    }
    if let Some(session) = &session
        && let Some(options) = session.tracking
    {
        tracking::remember_read(worker.core, unit.hold, (session, options), row, &args);
    }
    end_command(unit, (row, &args, db), unit.fx.dirty != dirty);
    let now = clock::steady();
    let nanos = now.nanos_since(worker.clock.replace(now));
    if block.is_none() {
        let counters = &worker.stats.commands[row.index];
        counters.calls.add(1);
        counters.nanos.add(nanos);
        worker.stats.processed.add(1);
        if worker.core.stats.latency_tracking.load(Ordering::Relaxed) {
            counters.latencies.add(nanos);
        }
        tell_slow(worker.core, session, row, &args, nanos);
    }
    block
}

/// What a command leaves: keys past their deadlines, and its record.
#[inline]
fn end_command(unit: &mut Unit<'_>, call: own_keys::Call, changed: bool) {
    if changed && unit.env.expires && !unit.env.removes_expired {
        own_keys::note(unit.worker.core, unit.hold, call);
    }
    let fx = &mut *unit.fx;
    if !fx.expired.is_empty() || !fx.expired_fields.is_empty() {
        expiring::tell(unit.worker, fx, unit.record, unit.env.expires_with);
    }
    unit.record.end_command(changed, call.1);
}

/// Leaves word of a command that took long.
#[inline]
fn tell_slow(core: &Core, session: Option<&mut Session>, row: &Row, args: &Args, nanos: u64) {
    if core.stats.latency.wants(nanos) {
        keep_latency(core, row, nanos);
    }
    if core.stats.slowlog.wants(nanos)
        && let Some(session) = session
    {
        keep_slow(core, &session.client, row, args, nanos);
    }
}

/// LATENCY keeps the command's time.
#[cold]
fn keep_latency(core: &Core, row: &Row, nanos: u64) {
    let event = match row.spec().flags.has(Flags::FAST) {
        true => "fast-command",
        false => "command",
    };
    core.stats.latency.add(event, clock::unix_us() / 1_000_000, nanos / 1_000_000);
}

/// SLOWLOG keeps the command.
#[cold]
pub(super) fn keep_slow(core: &Core, client: &Client, row: &Row, args: &Args, nanos: u64) {
    if row.spec().flags.has(Flags::SKIP_SLOWLOG) {
        return;
    }
    let mut words: Vec<&[u8]> = args.words().collect();
    for (index, word) in words.iter_mut().enumerate() {
        if monitor::is_secret(row, args, index) {
            *word = b"(redacted)";
        }
    }
    let slow = Slow {
        id: 0,
        at_secs: clock::unix_us() / 1_000_000,
        micros: nanos / 1000,
        words: slowlog::shortened(words.into_iter()),
        addr: client.addr.clone(),
        name: client.labels.lock().name.clone(),
    };
    let max = usize::try_from(core.config.load().slowlog_max_len).unwrap_or(usize::MAX);
    core.stats.slowlog.push(slow, max);
}

#[inline]
fn call(
    mut cx: Ctx<'_>,
    session: Option<&mut Session>,
    row: &'static Row,
    worker: &Worker,
) -> CmdResult {
    match (row.command.run, session) {
        (Run::Data(handler), _) => handler(&mut cx),
        (Run::Admin(handler), Some(session)) => {
            handler(&mut AdminCtx { cx, session, core: worker.core, worker })
        }
        (Run::Admin(_), None) | (Run::Container, _) => {
            Err(CmdError::err("This command needs a client"))
        }
    }
}
