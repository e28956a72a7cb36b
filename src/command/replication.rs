//! Replication: SYNC, PSYNC, REPLCONF, WAIT and WAITAOF of a primary, REPLICAOF of a replica, ROLE of
//! both.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::base::text::shown_to_zero;
use crate::config::Primary;
use crate::engine::client::ClientFlags;
use crate::engine::command::Command;
use crate::engine::context::{AckWait, AdminCtx, Block, TimeoutReply};
use crate::engine::core::Core;
use crate::engine::failover::{self as hand_over, Wish};
use crate::engine::following::{self, Stage as Link};
use crate::engine::replicas::{Part, Replica, Stage};
use crate::engine::{blocking, replicas, syncing};
use crate::persist::journal::Durable;
use crate::persist::state::AofState;
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
    Command::admin(failover, link("failover", AtLeast(1), "6.2.0").stale().all_shards()),
    Command::admin(
        psync,
        link("psync", AtLeast(3), "2.8.0").no_async_loading().no_multi().all_shards(),
    ),
    Command::admin(replconf, link("replconf", AtLeast(1), "3.0.0").loading().stale().allow_busy()),
    Command::admin(
        replicaof,
        link("replicaof", Exactly(3), "5.0.0").stale().no_async_loading().all_shards(),
    ),
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
        link("slaveof", Exactly(3), "1.0.0")
            .stale()
            .no_async_loading()
            .all_shards()
            .deprecated("5.0.0"),
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

/// PSYNC replication-id offset \[FAILOVER\]
fn psync(ax: &mut AdminCtx) -> CmdResult {
    let id = ax.cx.args.bytes()?;
    let offset = ax.cx.args.i64();
    if ax.cx.args.take_keyword("failover") && follows_nothing_yet(ax) {
        take_over(ax, id)?;
    }
    let offset = offset.inspect_err(|_| {
        let asker = &ax.session.client.addr;
        tracing::warn!("Replica {asker} asks for synchronization but with a wrong offset");
    })?;
    synchronize(ax, Some((id, offset)))
}

/// The primary wants to change places: this server is the primary from here on.
fn take_over(ax: &mut AdminCtx, id: &[u8]) -> Result<(), CmdError> {
    let asker = ax.session.client.addr.clone();
    tracing::info!("Failover request received for replid {}.", String::from_utf8_lossy(id));
    if !following::is_on(ax.core) {
        return Err(CmdError::err("PSYNC FAILOVER can't be sent to a master."));
    }
    if !id.eq_ignore_ascii_case(ax.core.repl_id.lock().as_bytes()) {
        return Err(CmdError::err("PSYNC FAILOVER replid must match my replid."));
    }
    following::set_primary(ax.worker, ax.cx.db.hold(), None);
    tracing::info!("MASTER MODE enabled (failover request from '{asker}')");
    Ok(())
}

/// Whether the client has not asked for the stream before.
fn follows_nothing_yet(ax: &mut AdminCtx) -> bool {
    matches!(*replica(ax).stage.lock(), Stage::Asked)
}

fn synchronize(ax: &mut AdminCtx, known: Option<(&[u8], i64)>) -> CmdResult {
    if !follows_nothing_yet(ax) {
        return Ok(ax.cx.reply.done());
    }
    let replica = replica(ax);
    if hand_over::is_on(ax.core) {
        return Err(CmdError::Const("NOMASTERLINK Can't SYNC while failing over"));
    }
    if following::is_on(ax.core) && ax.core.following.status().stage != Link::Connected {
        return Err(CmdError::Const("NOMASTERLINK Can't SYNC while not connected with my master"));
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
            about.part = part_named(value)?;
        } else {
            let option = shown_to_zero(option);
            return Err(CmdError::err(format_args!("Unrecognized REPLCONF option: {option}")));
        }
    }
    Ok(ax.cx.reply.ok())
}

/// REPLCONF rdb-filter-only: the parts that are wanted.
fn part_named(words: &[u8]) -> Result<Part, CmdError> {
    let mut part = Part::Nothing;
    for word in words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        if !is_word(word, "functions") {
            let word = String::from_utf8_lossy(word);
            return Err(CmdError::err(format_args!("Unsupported rdb-filter-only option: {word}")));
        }
        part = Part::Functions;
    }
    Ok(part)
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
    if following::is_on(ax.core) {
        return role_of_replica(ax);
    }
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

fn role_of_replica(ax: &mut AdminCtx) -> CmdResult {
    let primary = ax.core.config().replicaof.clone();
    let (host, port) = primary.map_or_else(Default::default, |it| (it.host, it.port));
    let stage = ax.core.following.status().stage;
    let offset = match stage {
        Link::Connected => ax.core.persist.backlog.end() as i64,
        _ => -1,
    };
    let reply = &mut *ax.cx.reply;
    reply.array(5);
    let _ = reply.bulk(b"slave");
    let _ = reply.bulk(host.as_bytes());
    let _ = reply.int(port.into());
    let _ = reply.bulk(stage.word().as_bytes());
    Ok(reply.int(offset))
}

/// REPLICAOF host port | NO ONE
fn replicaof(ax: &mut AdminCtx) -> CmdResult {
    let (host, port) = (ax.cx.args.bytes()?, ax.cx.args.bytes()?);
    let asker = ax.session.client.addr.clone();
    if hand_over::is_on(ax.core) {
        return Err(CmdError::err("REPLICAOF not allowed while failing over."));
    }
    if is_word(host, "no") && is_word(port, "one") {
        if following::set_primary(ax.worker, ax.cx.db.hold(), None) {
            tracing::info!("MASTER MODE enabled (user request from '{asker}')");
        }
        return Ok(ax.cx.reply.ok());
    }
    if ax.session.client.has_flag(ClientFlags::REPLICA) {
        return Err(CmdError::err("Command is not valid when client is a replica."));
    }
    if ax.core.config.load().tls_replication {
        return Err(CmdError::err("tls-replication is on, and TLS is not there yet"));
    }
    let port = parse_i64(port).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| CmdError::err("Invalid master port"))?;
    let primary = Primary { host: String::from_utf8_lossy(host).into_owned(), port };
    tracing::info!("REPLICAOF {}:{port} (user request from '{asker}')", primary.host);
    match following::set_primary(ax.worker, ax.cx.db.hold(), Some(primary)) {
        true => Ok(ax.cx.reply.ok()),
        false => Ok(ax.cx.reply.simple("OK Already connected to specified master")),
    }
}

/// FAILOVER \[TO host port \[FORCE\]\] \[ABORT\] \[TIMEOUT milliseconds\]
fn failover(ax: &mut AdminCtx) -> CmdResult {
    if ax.cx.args.left() == 1 && ax.cx.args.take_keyword("abort") {
        return match hand_over::abort(ax.worker, ax.cx.db.hold(), "Failover manually aborted") {
            true => Ok(ax.cx.reply.ok()),
            false => Err(CmdError::err("No failover in progress.")),
        };
    }
    let wish = failover_wish(ax)?;
    if hand_over::is_on(ax.core) {
        return Err(CmdError::err("FAILOVER already in progress."));
    }
    if following::is_on(ax.core) {
        return Err(CmdError::err("FAILOVER is not valid when server is a replica."));
    }
    if ax.core.replicas.count() == 0 {
        return Err(CmdError::err("FAILOVER requires connected replicas."));
    }
    if wish.force && (wish.timeout_ms.is_none() || wish.target.is_none()) {
        return Err(CmdError::err(
            "FAILOVER with force option requires both a timeout and target HOST and IP.",
        ));
    }
    if let Some(target) = &wish.target {
        let replica = hand_over::find(ax.core, target);
        let replica = replica
            .ok_or_else(|| CmdError::err("FAILOVER target HOST and PORT is not a replica."))?;
        if !replica.is_online() {
            return Err(CmdError::err("FAILOVER target replica is not online."));
        }
    }
    hand_over::begin(ax.core, wish);
    Ok(ax.cx.reply.ok())
}

fn failover_wish(ax: &mut AdminCtx) -> Result<Wish, CmdError> {
    let mut wish = Wish::default();
    let args = &mut ax.cx.args;
    while !args.is_done() {
        if wish.timeout_ms.is_none() && args.left() >= 2 && args.take_keyword("timeout") {
            let timeout = args.i64()?;
            if timeout <= 0 {
                return Err(CmdError::err("FAILOVER timeout must be greater than 0"));
            }
            wish.timeout_ms = Some(timeout.unsigned_abs());
        } else if wish.target.is_none() && args.left() >= 3 && args.take_keyword("to") {
            let host = String::from_utf8_lossy(args.bytes()?).into_owned();
            // No replica listens on a port that is none.
            let port = u16::try_from(args.i64()?).unwrap_or(0);
            wish.target = Some(Primary { host, port });
        } else if !wish.force && args.take_keyword("force") {
            wish.force = true;
        } else {
            return Err(CmdError::Syntax);
        }
    }
    Ok(wish)
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

/// Replicas have nothing to wait for.
fn refuse_on_replica(ax: &AdminCtx, name: &str) -> Result<(), CmdError> {
    if !following::is_on(ax.core) {
        return Ok(());
    }
    Err(CmdError::err(format_args!(
        "{name} cannot be used with replica instances. Please also note that since Redis 4.0 if a \
         replica is configured to be writable (which is not the default) writes to replicas are \
         just local and are not propagated."
    )))
}

/// WAIT numreplicas timeout
fn wait(ax: &mut AdminCtx) -> CmdResult {
    refuse_on_replica(ax, "WAIT")?;
    let replicas = ax.cx.args.i64()?;
    let until = give_up_at(ax)?;
    let replicas = u64::try_from(replicas).unwrap_or(0);
    let offset = ax.core.persist.backlog.end();
    Ok(settle(ax, AckWait { offset, replicas, disk: None }, until))
}

/// WAITAOF numlocal numreplicas timeout
fn waitaof(ax: &mut AdminCtx) -> CmdResult {
    refuse_on_replica(ax, "WAITAOF")?;
    let own = ax.cx.args.i64_in(0..=1, "ERR value is out of range, must be between 0 and 1")? == 1;
    let replicas =
        ax.cx.args.i64_in(0..=i64::MAX, "ERR value is out of range, must be positive")?;
    let until = give_up_at(ax)?;
    let journal = &ax.core.persist.journal;
    if own && ax.core.persist.aof.lock().state == AofState::Off {
        return Err(CmdError::Const(replicas::NO_FILE));
    }
    let upto = journal.appended();
    let offset = ax.core.persist.backlog.end();
    let wait = AckWait { offset, replicas: replicas.unsigned_abs(), disk: Some((own, upto)) };
    if own && journal.is_active() && ax.cx.may_block && !replicas::is_confirmed(ax.core, wait) {
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
        replicas::ask_all(ax.core);
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
            ("failover abort", "-ERR No failover in progress.|"),
            ("failover timeout 0", "-ERR FAILOVER timeout must be greater than 0|"),
            ("failover to h 1 to h 2", "-ERR syntax error|"),
            ("failover to h", "-ERR syntax error|"),
            ("failover to h x", "-ERR value is not an integer or out of range|"),
            ("psync x 1 failover", "-ERR PSYNC FAILOVER can't be sent to a master.|"),
            ("wait 0 0", ":0|"),
            ("wait 0 -1", "-ERR timeout is negative|"),
            ("wait x 0", "-ERR value is not an integer or out of range|"),
            ("waitaof 2 0 0", "-ERR value is out of range, must be between 0 and 1|"),
            ("waitaof 0 -1 0", "-ERR value is out of range, must be positive|"),
            ("replconf capa", "-ERR syntax error|"),
            ("replconf what ever", "-ERR Unrecognized REPLCONF option: what|"),
            ("replconf listening-port 7000 capa eof capa psync2", "+OK|"),
            ("replconf rdb-filter-only ' functions '", "+OK|"),
            ("replconf rdb-filter-only keys", "-ERR Unsupported rdb-filter-only option: keys|"),
            ("replconf ack 5", ""),
            ("psync ? x", "-ERR value is not an integer or out of range|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
