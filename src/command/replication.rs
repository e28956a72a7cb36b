//! Replication, the primary's side: SYNC, PSYNC, REPLCONF, ROLE, WAIT, WAITAOF; and the refusal to be a
//! replica.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::engine::command::Command;
use crate::engine::context::{AckWait, AdminCtx, Block, TimeoutReply};
use crate::engine::core::Core;
use crate::engine::replicas::{Replica, Stage};
use crate::engine::{blocking, replicas, syncing};
use crate::persist::journal::Durable;
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::{Cat, Group};

const fn spec(name: &'static str, arity: crate::spec::Arity, since: &'static str) -> Spec {
    Spec::new(name, Group::Server, arity).since(since)
}

/// Commands that only replicas send.
const fn link(name: &'static str, arity: crate::spec::Arity, since: &'static str) -> Spec {
    spec(name, arity, since).admin().noscript()
}

const fn wait_spec(name: &'static str, arity: crate::spec::Arity, since: &'static str) -> Spec {
    Spec::new(name, Group::Generic, arity)
        .category(Cat::Connection)
        .blocking()
        .tip("request_policy:all_shards")
        .since(since)
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(failover, link("failover", AtLeast(1), "6.2.0").stale()),
    Command::admin(
        psync,
        link("psync", AtLeast(3), "2.8.0").no_async_loading().no_multi().all_shards(),
    ),
    Command::admin(replconf, link("replconf", AtLeast(1), "3.0.0").loading().stale().allow_busy()),
    Command::admin(replicaof, link("replicaof", Exactly(3), "5.0.0").stale().no_async_loading()),
    Command::admin(
        role,
        spec("role", Exactly(1), "2.8.12")
            .noscript()
            .loading()
            .stale()
            .fast()
            .category(Cat::Admin)
            .category(Cat::Dangerous),
    ),
    Command::admin(
        replicaof,
        link("slaveof", Exactly(3), "1.0.0").stale().no_async_loading().deprecated("5.0.0"),
    ),
    Command::admin(
        sync,
        link("sync", Exactly(1), "1.0.0").no_async_loading().no_multi().all_shards(),
    ),
    Command::admin(wait, wait_spec("wait", Exactly(3), "3.0.0").tip("response_policy:agg_min")),
    Command::admin(
        waitaof,
        wait_spec("waitaof", Exactly(4), "7.2.0").tip("response_policy:agg_min"),
    ),
];

/// The session's replica, made at the first word that only replicas say.
fn replica(ax: &mut AdminCtx) -> Arc<Replica> {
    let client = &ax.session.client;
    let replica =
        ax.session.replica.get_or_insert_with(|| Arc::new(Replica::new(Arc::clone(client))));
    Arc::clone(replica)
}

/// SYNC
fn sync(ax: &mut AdminCtx) -> CmdResult {
    synchronize(ax, None)
}

/// PSYNC replication-id offset
fn psync(ax: &mut AdminCtx) -> CmdResult {
    let id = ax.cx.args.bytes()?;
    let offset = ax.cx.args.i64()?;
    synchronize(ax, Some((id, offset)))
}

fn synchronize(ax: &mut AdminCtx, known: Option<(&[u8], i64)>) -> CmdResult {
    let replica = replica(ax);
    if !matches!(*replica.stage.lock(), Stage::Asked) {
        // It follows already.
        return Ok(ax.cx.reply.done());
    }
    tracing::info!("Replica {} asks for synchronization", replica.client.addr);
    ax.session.multi = None;
    if let Some((id, offset)) = known {
        replica.about.lock().confirms = true;
        if syncing::go_on(ax.core, &replica, id, offset) {
            let line = match replica.about.lock().psync2 {
                true => format!("CONTINUE {}", ax.core.repl_id.lock()),
                false => "CONTINUE".to_owned(),
            };
            tracing::info!(
                "Partial resynchronization request from {} accepted",
                replica.client.addr
            );
            return Ok(ax.cx.reply.simple(&line));
        }
    }
    syncing::begin(ax.core, ax.cx.db.hold(), &replica).map_err(|error| {
        CmdError::err(format_args!("Unable to perform background save: {error}"))
    })?;
    Ok(ax.cx.reply.done())
}

/// REPLCONF option value \[option value ...\]
fn replconf(ax: &mut AdminCtx) -> CmdResult {
    if ax.cx.args.left() % 2 == 1 {
        return Err(CmdError::Syntax);
    }
    while !ax.cx.args.is_done() {
        let (option, value) = (ax.cx.args.bytes()?, ax.cx.args.bytes()?);
        if is_word(option, "ack") {
            return acknowledge(ax, value);
        }
        if is_word(option, "getack") {
            // A question to replicas.
            return Ok(ax.cx.reply.done());
        }
        let replica = replica(ax);
        let mut about = replica.about.lock();
        let number = || parse_i64(value).ok_or(CmdError::NotInteger);
        if is_word(option, "listening-port") {
            about.port = u16::try_from(number()?).map_err(|_| CmdError::NotInteger)?;
        } else if is_word(option, "ip-address") {
            if value.len() > IP_BYTES_MAX {
                return Err(CmdError::err(format_args!(
                    "REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            about.ip =
                Some(String::from_utf8_lossy(value).into_owned()).filter(|ip| !ip.is_empty());
        } else if is_word(option, "capa") {
            about.psync2 |= is_word(value, "psync2");
        } else if is_word(option, "rdb-only") {
            about.snapshot_only = number()? == 1;
        } else if is_word(option, "rdb-filter-only") {
            if !value.iter().all(u8::is_ascii_whitespace) {
                return Err(CmdError::err("Unsupported rdb-filter-only option"));
            }
        } else {
            let option = String::from_utf8_lossy(option);
            return Err(CmdError::err(format_args!("Unrecognized REPLCONF option: {option}")));
        }
    }
    Ok(ax.cx.reply.ok())
}

/// An address in text has fewer bytes.
const IP_BYTES_MAX: usize = 255;

/// REPLCONF ACK offset \[FACK offset\]: nothing is answered.
fn acknowledge(ax: &mut AdminCtx, offset: &[u8]) -> CmdResult {
    let offset = parse_i64(offset).and_then(|at| u64::try_from(at).ok());
    let mut disk = None;
    if ax.cx.args.take_keyword("fack") {
        disk = parse_i64(ax.cx.args.bytes()?).and_then(|at| u64::try_from(at).ok());
    }
    if let (Some(replica), Some(offset)) = (&ax.session.replica, offset) {
        replica.confirm(offset, disk);
        blocking::serve_acks(ax.core);
    }
    Ok(ax.cx.reply.done())
}

/// ROLE
fn role(ax: &mut AdminCtx) -> CmdResult {
    let online: Vec<_> =
        ax.core.replicas.all().into_iter().filter(|replica| replica.is_online()).collect();
    let reply = &mut *ax.cx.reply;
    reply.array(3);
    let _ = reply.bulk(b"master");
    let _ = reply.int(ax.core.persist.backlog.end() as i64);
    reply.array(online.len());
    for replica in online {
        let (ip, port) = replica.address();
        reply.array(3);
        let _ = reply.bulk(ip.as_bytes());
        let _ = reply.bulk(port.to_string().as_bytes());
        let _ = reply.bulk(replica.acked.load(Ordering::Relaxed).to_string().as_bytes());
    }
    Ok(reply.done())
}

/// REPLICAOF host port | NO ONE
fn replicaof(ax: &mut AdminCtx) -> CmdResult {
    let (host, port) = (ax.cx.args.bytes()?, ax.cx.args.bytes()?);
    if is_word(host, "no") && is_word(port, "one") {
        return Ok(ax.cx.reply.ok());
    }
    match parse_i64(port) {
        Some(0..=65535) => Err(CmdError::err("This server cannot be a replica")),
        _ => Err(CmdError::err("Invalid master port")),
    }
}

/// FAILOVER
fn failover(ax: &mut AdminCtx) -> CmdResult {
    if ax.cx.args.left() == 1 && ax.cx.args.take_keyword("abort") {
        return Err(CmdError::err("No failover in progress."));
    }
    if ax.core.replicas.count() == 0 {
        return Err(CmdError::err("FAILOVER requires connected replicas."));
    }
    Err(CmdError::err("FAILOVER needs a server that can become a replica; this one cannot"))
}

/// Milliseconds until WAIT gives up, as a moment; 0 waits forever.
fn give_up_at(ax: &mut AdminCtx) -> Result<Option<UnixMs>, CmdError> {
    let timeout = ax.cx.args.i64();
    let timeout =
        timeout.map_err(|_| CmdError::Const("ERR timeout is not an integer or out of range"))?;
    let Ok(timeout_ms) = u64::try_from(timeout) else { return Err(CmdError::TimeoutNegative) };
    if timeout_ms > i64::MAX as u64 - ax.cx.now.0 {
        return Err(CmdError::TimeoutRange);
    }
    Ok((timeout_ms > 0).then(|| UnixMs(ax.cx.now.0 + timeout_ms)))
}

/// WAIT numreplicas timeout
fn wait(ax: &mut AdminCtx) -> CmdResult {
    let replicas = ax.cx.args.i64()?;
    let until = give_up_at(ax)?;
    let replicas = u64::try_from(replicas).unwrap_or(0);
    let offset = ax.core.persist.backlog.end();
    Ok(settle(ax, AckWait { offset, replicas, disk: None }, until))
}

/// WAITAOF numlocal numreplicas timeout
fn waitaof(ax: &mut AdminCtx) -> CmdResult {
    let own = ax.cx.args.i64_in(0..=1, "ERR value is out of range, must be between 0 and 1")? == 1;
    let replicas =
        ax.cx.args.i64_in(0..=i64::MAX, "ERR value is out of range, must be positive")?;
    let until = give_up_at(ax)?;
    let journal = &ax.core.persist.journal;
    if own && !journal.is_active() {
        return Err(CmdError::err(
            "WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    let upto = journal.appended();
    let offset = ax.core.persist.backlog.end();
    let wait = AckWait { offset, replicas: replicas.unsigned_abs(), disk: Some((own, upto)) };
    if own && ax.cx.may_block && !replicas::is_confirmed(ax.core, wait) {
        journal.flush_to(upto);
        journal.ask_sync(upto);
        let waker = Waker::from(Arc::new(ServeAcks(ax.core)));
        let mut context = Context::from_waker(&waker);
        let _: Poll<()> = journal.poll_durable(upto, Durable::Synced, &mut context);
    }
    Ok(settle(ax, wait, until))
}

/// Looks who has waited long enough, when the disk has more than before.
struct ServeAcks(&'static Core);

impl Wake for ServeAcks {
    fn wake(self: Arc<ServeAcks>) {
        blocking::serve_acks(self.0);
    }
}

fn settle(ax: &mut AdminCtx, wait: AckWait, until: Option<UnixMs>) -> crate::resp::reply::Replied {
    if !ax.cx.may_block || replicas::is_confirmed(ax.core, wait) {
        return replicas::answer(ax.core, wait, ax.cx.reply);
    }
    if wait.replicas > 0 {
        // Replicas confirm once a second without being asked.
        let ask = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
        ax.core.persist.backlog.append_aside(ask);
    }
    let timeout = TimeoutReply::Acks(wait);
    ax.cx.block(Block { keys: Vec::new(), until, timeout, on_deletion: false, request: None })
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn server_without_replicas_answers_as_a_primary() {
        let mut house = House::new();
        for (line, answer) in [
            ("role", "*3|$6|master|:0|*0|"),
            ("replicaof no one", "+OK|"),
            ("slaveof localhost x", "-ERR Invalid master port|"),
            ("failover", "-ERR FAILOVER requires connected replicas.|"),
            ("wait 0 0", ":0|"),
            ("wait 0 -1", "-ERR timeout is negative|"),
            ("wait x 0", "-ERR value is not an integer or out of range|"),
            ("waitaof 2 0 0", "-ERR value is out of range, must be between 0 and 1|"),
            ("waitaof 0 -1 0", "-ERR value is out of range, must be positive|"),
            ("replconf capa", "-ERR syntax error|"),
            ("replconf what ever", "-ERR Unrecognized REPLCONF option: what|"),
            ("replconf listening-port 7000 capa eof capa psync2", "+OK|"),
            ("replconf ack 5", ""),
            ("psync ? x", "-ERR value is not an integer or out of range|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
