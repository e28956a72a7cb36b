//! MIGRATE: keys go to another server.
//!
//! Nothing is locked while the other server is waited for. A key leaves this one when it has
//! arrived and nobody has touched it meanwhile; one that was touched is sent again as it is now.
//! Inside a transaction or a script the locks stay, and others wait for up to the timeout.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::base::hash::hash_bytes;
use crate::base::num::parse_u64;
use crate::command::generic::dump::payload;
use crate::engine::context::AdminCtx;
use crate::engine::core::Attention;
use crate::engine::fiber;
use crate::engine::migrating::{Cargo, Failure, Outcome, Peer, Shipment};
use crate::keyspace::effects::{DbKey, Env};
use crate::keyspace::event::Event;
use crate::keyspace::lock::{ShardSet, shard_of};
use crate::keyspace::shard::Touched;
use crate::keyspace::view::DbView;
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// How often keys are sent that others change all the while.
const ROUNDS: usize = 8;
/// The timeout when a request names none that is above zero, milliseconds.
const TIMEOUT_MS_USUAL: u64 = 1000;
/// How long a thread waits for the other server before its other clients have their turn.
const PATIENCE: Duration = Duration::from_micros(200);

struct Request<'a> {
    peer: Peer,
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    credentials: Vec<Vec<u8>>,
    keys: Vec<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(ax: &mut AdminCtx<'a>) -> Result<Request<'a>, CmdError> {
        let args = &mut ax.cx.args;
        let host = String::from_utf8_lossy(args.bytes()?).into_owned();
        let port = parse_u64(args.bytes()?).and_then(|port| u16::try_from(port).ok());
        let key = args.bytes()?;
        let (db, timeout) = (args.bytes()?, args.bytes()?);
        let mut request = Request {
            peer: (host, port.unwrap_or(0)),
            db: 0,
            timeout: Duration::ZERO,
            copy: false,
            replace: false,
            credentials: Vec::new(),
            keys: vec![key],
        };
        while let Some(word) = args.peek() {
            args.bytes()?;
            if is_word(word, "copy") {
                request.copy = true;
            } else if is_word(word, "replace") {
                request.replace = true;
            } else if is_word(word, "auth") && args.left() >= 1 {
                request.credentials = vec![b"AUTH".to_vec(), args.bytes()?.to_vec()];
            } else if is_word(word, "auth2") && args.left() >= 2 {
                let (user, password) = (args.bytes()?.to_vec(), args.bytes()?.to_vec());
                request.credentials = vec![b"AUTH".to_vec(), user, password];
            } else if is_word(word, "keys") {
                if !key.is_empty() {
                    return Err(CmdError::err(
                        "When using MIGRATE KEYS option, the key argument must be set to the \
                         empty string",
                    ));
                }
                request.keys = args.remaining().collect();
                break;
            } else {
                return Err(CmdError::Syntax);
            }
        }
        let number = |word| crate::base::num::parse_i64(word).ok_or(CmdError::NotInteger);
        let ms = u64::try_from(number(timeout)?).ok().filter(|ms| *ms > 0);
        request.timeout = Duration::from_millis(ms.unwrap_or(TIMEOUT_MS_USUAL));
        request.db = number(db)?;
        Ok(request)
    }
}

/// MIGRATE host port key|"" db timeout \[COPY\] \[REPLACE\] \[AUTH password | AUTH2 user password\]
/// \[KEYS key \[key ...\]\]
pub(super) fn migrate(ax: &mut AdminCtx) -> CmdResult {
    let request = Request::parse(ax)?;
    let mut keys = request.keys.clone();
    let present: Vec<(Box<[u8]>, Cargo)> =
        keys.iter().filter_map(|key| Some(((*key).into(), pack(ax, key)?))).collect();
    if present.is_empty() {
        ax.cx.record.nothing();
        return Ok(ax.cx.reply.simple("NOKEY"));
    }
    let mut cargo = present;
    let mut moved: Vec<Box<[u8]>> = Vec::new();
    let mut ended = Ok(());
    for round in 0..ROUNDS {
        let flags: Vec<Touched> = cargo.iter().map(|(key, _)| watch(ax, key)).collect();
        let names: Vec<Box<[u8]>> = cargo.iter().map(|(key, _)| key.clone()).collect();
        let shipment = Shipment {
            peer: request.peer.clone(),
            db: request.db,
            timeout: request.timeout,
            credentials: request.credentials.clone(),
            // What arrived in the round before is ours to replace.
            replace: request.replace || round > 0,
            cargo,
        };
        let outcome = deliver(ax, shipment);
        let arrived = outcome.arrived.iter().copied().chain(std::iter::repeat(false));
        keys.clear();
        cargo = Vec::new();
        for ((key, flag), arrived) in names.into_iter().zip(flags).zip(arrived) {
            unwatch(ax, &key, &flag);
            if !arrived || request.copy {
                continue;
            }
            if flag.load(Ordering::Relaxed) {
                let now = pack(ax, &key).unwrap_or(Cargo::Gone);
                cargo.push((key, now));
            } else if ax.cx.db.delete(&key, Event::DEL) {
                moved.push(key);
            }
        }
        ended = said(outcome);
        if cargo.is_empty() || ended.is_err() {
            break;
        }
    }
    tell(ax, &moved);
    ended?;
    if !cargo.is_empty() {
        return Err(CmdError::Const(
            "IOERR keys were changed all the while they were migrated, both instances have them",
        ));
    }
    Ok(ax.cx.reply.ok())
}

/// The journal gets the deletion of what has left.
fn tell(ax: &mut AdminCtx, moved: &[Box<[u8]>]) {
    ax.cx.record.nothing();
    if !moved.is_empty() {
        let mut words: Vec<&[u8]> = vec![b"DEL"];
        words.extend(moved.iter().map(|key| &**key));
        ax.cx.record.instead(&words);
    }
}

/// What the client hears, unless all is well.
fn said(outcome: Outcome) -> Result<(), CmdError> {
    match (outcome.refusal, outcome.failure) {
        (Some(error), _) => {
            Err(CmdError::err(format_args!("Target instance replied with error: {error}")))
        }
        (None, None) => Ok(()),
        (None, Some(failure)) => Err(CmdError::Const(match failure {
            Failure::Connecting => "IOERR error or timeout connecting to the client",
            Failure::Writing => "IOERR error or timeout writing to target instance",
            Failure::Reading => "IOERR error or timeout reading to target instance",
        })),
    }
}

/// What is sent of a key that exists. Nothing is changed yet, not even what is past its deadline:
/// the journal would learn of it only after the locks were let go.
fn pack(ax: &mut AdminCtx, key: &[u8]) -> Option<Cargo> {
    let now = ax.cx.now;
    let db = ax.cx.db.index();
    let env = Env { removes_expired: false, ..*ax.cx.db.env() };
    let (hold, _, fx) = ax.cx.db.parts();
    let mut view = DbView::new(hold, &env, fx, db);
    let entry = view.peek_entry(key)?;
    let ttl = entry.deadline().map_or(0, |at| at.0.saturating_sub(now.0).max(1));
    Some(Cargo::Value(ttl, payload(entry, &env)))
}

fn watch(ax: &mut AdminCtx, key: &[u8]) -> Touched {
    let flag = Touched::default();
    let at = DbKey { db: ax.cx.db.index(), key: key.into() };
    let shard = ax.cx.db.hold().shard_mut(shard_of(hash_bytes(key)));
    shard.watchers.entry(at).or_default().push(Touched::clone(&flag));
    flag
}

fn unwatch(ax: &mut AdminCtx, key: &[u8], flag: &Touched) {
    let at = DbKey { db: ax.cx.db.index(), key: key.into() };
    let watchers = &mut ax.cx.db.hold().shard_mut(shard_of(hash_bytes(key))).watchers;
    if let Some(flags) = watchers.get_mut(&at) {
        flags.retain(|other| !Touched::ptr_eq(other, flag));
        if flags.is_empty() {
            watchers.remove(&at);
        }
    }
}

/// Sends keys, without the locks if the command runs alone: another thread waits for the answers,
/// and this one serves its other clients meanwhile.
fn deliver(ax: &mut AdminCtx, shipment: Shipment) -> Outcome {
    let core = ax.core;
    if !ax.cx.may_block {
        return core.links.send(&shipment);
    }
    let hold = ax.cx.db.hold();
    let mut set = ShardSet::default();
    hold.shards().for_each(|shard| set.add(shard));
    hold.release();
    let (sender, receiver) = channel();
    let send = move || drop(sender.send(core.links.send(&shipment)));
    let spawned = std::thread::Builder::new().name("migrate".to_owned()).spawn(send);
    let outcome = loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(outcome) => break outcome,
            Err(RecvTimeoutError::Timeout) => fiber::step_aside(),
            Err(RecvTimeoutError::Disconnected) => {
                break Outcome { failure: Some(Failure::Connecting), ..Outcome::default() };
            }
        }
    };
    drop(spawned);
    let busy = || core.has_attention(Attention::SCRIPT_BUSY);
    loop {
        if let Some(again) = core.keyspace.lock_unless(&set, busy) {
            *ax.cx.db.hold() = again;
            return outcome;
        }
        std::thread::sleep(PATIENCE);
        fiber::step_aside();
    }
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn what_cannot_be_sent_stays() {
        let mut house = House::new();
        house.run("set k v");
        for (line, answer) in [
            ("migrate 127.0.0.1 1 none 0 100", "+NOKEY|"),
            ("migrate 127.0.0.1 1 k x 100", "-ERR value is not an integer or out of range|"),
            ("migrate 127.0.0.1 1 k 0 100 nonsense", "-ERR syntax error|"),
            ("migrate 127.0.0.1 1 k 0 100 auth2 me", "-ERR syntax error|"),
            (
                "migrate 127.0.0.1 1 k 0 100 keys a",
                "-ERR When using MIGRATE KEYS option, the key argument must be set to the empty string|",
            ),
            ("migrate 127.0.0.1 1 k 0 100", "-IOERR error or timeout connecting to the client|"),
            ("get k", "$1|v|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
