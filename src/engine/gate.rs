//! The gate: every reason why a command may not run now, in Redis's order, in one place.

use std::sync::atomic::Ordering;

use crate::acl::Denied;
use crate::base::text::{bytes_of, shown_to_zero};
use crate::engine::access;
use crate::engine::client::ClientFlags;
use crate::engine::command::{Row, Run};
use crate::engine::core::{Attention, Core};
use crate::engine::session::Session;
use crate::resp::args::Args;
use crate::resp::error::CmdError;
use crate::resp::reply::Protocol;
use crate::spec::category::Group;
use crate::spec::flags::Flags;

/// Why a request does not run.
#[derive(Debug)]
pub enum Refusal {
    /// The state of the server or of the connection.
    State(CmdError),
    /// The user may not. Whoever answers the client tells ACL LOG.
    Denied(Denied),
}

impl From<CmdError> for Refusal {
    fn from(error: CmdError) -> Refusal {
        Refusal::State(error)
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        Refusal::Denied(denied)
    }
}

impl Refusal {
    /// The error for the client; a denial is logged.
    pub fn tell(self, core: &Core, session: &Session, row: &Row, args: &Args) -> CmdError {
        match self {
            Refusal::State(error) => error,
            Refusal::Denied(denied) => {
                let context = access::context_of(session);
                let (client, account) = (&session.client, &session.account);
                access::refuse(core, client, account, (row, args), denied, context)
            }
        }
    }
}

const NOT_IN_MULTI: CmdError = CmdError::Const("ERR Command not allowed inside a transaction");

/// Words of arguments that the answer to an unknown command repeats, bytes.
const UNKNOWN_ARGS_BYTES_MAX: usize = 128;

/// The row a request asks for; the error names what is unknown or miscounted.
pub fn find(core: &'static Core, args: &Args) -> Result<&'static Row, CmdError> {
    let Some(row) = core.commands.find(args.word(0)) else { return Err(unknown(args)) };
    let row = match row.subs.is_empty() || args.count() == 1 {
        true => row,
        false => core.commands.find_sub(row, args.word(1)).ok_or_else(|| unknown_sub(args))?,
    };
    if !row.spec().arity.accepts(args.count()) || matches!(row.command.run, Run::Container) {
        return Err(CmdError::Arity(row.spec().name.to_owned()));
    }
    Ok(row)
}

/// The row a request names, however many words it has.
pub fn named(core: &'static Core, args: &Args) -> Option<&'static Row> {
    let row = core.commands.find(args.word(0))?;
    match row.subs.is_empty() || args.count() == 1 {
        true => Some(row),
        false => core.commands.find_sub(row, args.word(1)),
    }
}

/// The beginning of a word, which ends at a zero as texts in C do.
fn printable(word: &[u8], bytes_max: usize) -> String {
    shown_to_zero(&word[..word.len().min(bytes_max)])
}

fn unknown(args: &Args) -> CmdError {
    let (mut listed, mut bytes) = (String::new(), 0);
    for word in args.words().skip(1) {
        if bytes >= UNKNOWN_ARGS_BYTES_MAX {
            break;
        }
        let room = UNKNOWN_ARGS_BYTES_MAX - bytes;
        let word = format!("'{}' ", printable(word, room));
        bytes += bytes_of(&word).len();
        listed.push_str(&word);
    }
    let name = printable(args.word(0), UNKNOWN_ARGS_BYTES_MAX);
    CmdError::err(format_args!("unknown command '{name}', with args beginning with: {listed}"))
}

fn unknown_sub(args: &Args) -> CmdError {
    let sub = printable(args.word(1), UNKNOWN_ARGS_BYTES_MAX);
    let container = shown_to_zero(args.word(0)).to_ascii_uppercase();
    CmdError::err(format_args!("unknown subcommand '{sub}'. Try {container} HELP."))
}

/// Whether this server has become a replica that takes no writes while a client's write waited for
/// its locks: what it would write here, no primary knows.
#[inline]
pub fn comes_too_late(core: &Core, session: &Session, row: &Row) -> bool {
    core.has_attention(Attention::READ_ONLY)
        && row.spec().flags.has(Flags::WRITE)
        && !session.replaying
}

/// The same for a command of a script, which says itself what it heeds.
pub fn check_inside(
    core: &Core,
    session: &Session,
    row: &Row,
    args: &Args,
    protocol: Protocol,
    attention: u32,
) -> Result<(), Refusal> {
    check_slowly(core, session, row, args, protocol, attention)
}

/// Whether the command may run for this session now.
#[inline]
pub fn check(
    core: &Core,
    session: &Session,
    row: &Row,
    args: &Args,
    protocol: Protocol,
) -> Result<(), Refusal> {
    let attention = core.attention.load(Ordering::Relaxed);
    let harmless = Attention::MONITORED
        | Attention::PAUSED
        | Attention::MEMORY_LIMITED
        | Attention::TRACKED
        | Attention::FOLLOWING
        | Attention::READ_ONLY;
    if attention & !harmless == 0
        && session.authenticated
        && session.account.is_unrestricted()
        && session.multi.is_none()
        && session.replica.is_none()
        && !session.is_subscribed()
        && !row.spec().flags.has(Flags::PROTECTED)
        && (attention & Attention::MEMORY_LIMITED == 0 || !row.spec().flags.has(Flags::DENYOOM))
        && (attention & Attention::READ_ONLY == 0 || !row.spec().flags.has(Flags::WRITE))
    {
        return Ok(());
    }
    check_slowly(core, session, row, args, protocol, attention)
}

/// The same for a command of a transaction that has begun: that the disk or a replica fails now,
/// that memory has run out, or that the transaction itself made a replica of this server, is no
/// reason to stop half way.
pub fn check_queued(
    core: &Core,
    session: &Session,
    row: &Row,
    args: &Args,
    protocol: Protocol,
) -> Result<(), Refusal> {
    let of_exec = Attention::SNAPSHOT_FAILED
        | Attention::JOURNAL_FAILED
        | Attention::REPLICAS_WANTED
        | Attention::OUT_OF_MEMORY
        | Attention::READ_ONLY
        | Attention::STALE;
    let attention = core.attention.load(Ordering::Relaxed) & !of_exec;
    check_slowly(core, session, row, args, protocol, attention)
}

/// Why writes are refused, if the disk fails.
fn disk_refusal(core: &Core, attention: u32) -> Option<CmdError> {
    if attention & Attention::SNAPSHOT_FAILED != 0 {
        return Some(CmdError::Const(MISCONF_SNAPSHOT));
    }
    if attention & Attention::JOURNAL_FAILED == 0 || !core.persist.journal.is_failing() {
        return None;
    }
    let failure = core.persist.journal.failure()?;
    Some(CmdError::Text(format!("MISCONF Errors writing to the AOF file: {}", failure.cause)))
}

#[cold]
fn check_slowly(
    core: &Core,
    session: &Session,
    row: &Row,
    args: &Args,
    protocol: Protocol,
    attention: u32,
) -> Result<(), Refusal> {
    let flags = row.spec().flags;
    if session.replaying {
        return match session.multi.is_some() && flags.has(Flags::NO_MULTI) {
            true => Err(NOT_IN_MULTI.into()),
            false => Ok(()),
        };
    }
    if !flags.has(Flags::NO_AUTH) && access::must_log_in(core, session) {
        return Err(CmdError::Const("NOAUTH Authentication required.").into());
    }
    if session.multi.is_some() && flags.has(Flags::NO_MULTI) {
        return Err(NOT_IN_MULTI.into());
    }
    access::check(&session.account, row, args)?;
    if flags.has(Flags::PROTECTED) {
        permitted(core, session, row)?;
    }
    let has = |bit| attention & bit != 0;
    writable(core, session, row, attention)?;
    if session.is_subscribed() && protocol == Protocol::Resp2 {
        allowed_while_subscribed(row.spec().name)?;
    }
    if has(Attention::STALE) {
        up_to_date(session, row)?;
    }
    if session.client.has_flag(ClientFlags::REPLICA)
        && flags.has_any(Flags::WRITE.with(Flags::READONLY))
    {
        return Err(CmdError::err("Replica can't interact with the keyspace").into());
    }
    if has(Attention::LOADING) && !flags.has(Flags::LOADING) {
        return Err(CmdError::Const("LOADING Redis is loading the dataset in memory").into());
    }
    if has(Attention::SCRIPT_BUSY) && !flags.has(Flags::ALLOW_BUSY) {
        return Err(busy(core).into());
    }
    Ok(())
}

/// With RESP2, a client that listens cannot tell replies from messages.
fn allowed_while_subscribed(name: &str) -> Result<(), CmdError> {
    match name {
        "ping" | "subscribe" | "ssubscribe" | "sunsubscribe" | "psubscribe" | "unsubscribe"
        | "punsubscribe" | "quit" | "reset" => Ok(()),
        _ => Err(CmdError::err(format_args!(
            "Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
             are allowed in this context"
        ))),
    }
}

/// Reasons why nothing can be changed now. EXEC is refused for what its transaction would do.
fn writable(core: &Core, session: &Session, row: &Row, attention: u32) -> Result<(), CmdError> {
    let queued = session.multi.as_ref().filter(|_| row.spec().name == "exec");
    let any = |wanted: Flags| {
        let has = |flags: Flags| flags.has_any(wanted);
        has(row.spec().flags)
            || queued.is_some_and(|multi| multi.queue.iter().any(|(row, _)| has(row.spec().flags)))
    };
    let has = |bit| attention & bit != 0;
    if has(Attention::OUT_OF_MEMORY) && any(Flags::DENYOOM) {
        return Err(CmdError::Const("OOM command not allowed when used memory > 'maxmemory'."));
    }
    let write = any(Flags::WRITE);
    // PING, so that who watches over the server hears of it.
    if (write || row.spec().name == "ping")
        && let Some(refusal) = disk_refusal(core, attention)
    {
        return Err(refusal);
    }
    if has(Attention::REPLICAS_WANTED) && write {
        return Err(CmdError::Const(NOREPLICAS));
    }
    if has(Attention::READ_ONLY) && write {
        return Err(CmdError::Const(READONLY));
    }
    Ok(())
}

/// Without its primary, a replica answers only what does not depend on the data.
fn up_to_date(session: &Session, row: &Row) -> Result<(), CmdError> {
    let stale = |row: &Row| row.spec().flags.has(Flags::STALE);
    let queued = session.multi.as_ref().filter(|_| row.spec().name == "exec");
    if stale(row) && queued.is_none_or(|multi| multi.queue.iter().all(|(row, _)| stale(row))) {
        return Ok(());
    }
    Err(CmdError::Const(MASTERDOWN))
}

/// DEBUG and MODULE need the permission of a setting.
fn permitted(core: &Core, session: &Session, row: &Row) -> Result<(), CmdError> {
    let config = core.config.load();
    let (name, setting, permission) = match row.spec().group {
        Group::Server if row.spec().name.starts_with("module") => {
            ("MODULE", "enable-module-command", config.enable_module_command)
        }
        _ => ("DEBUG", "enable-debug-command", config.enable_debug_command),
    };
    if permission.allows(session.client.is_local()) {
        return Ok(());
    }
    Err(CmdError::err(format_args!(
        "{name} command not allowed. If the {setting} option is set to \"local\", you can run it \
         from a local connection, otherwise you need to set this option in the configuration file, \
         and then restart the server."
    )))
}

/// The answer of a replica to writes.
pub const READONLY: &str = "READONLY You can't write against a read only replica.";

/// The answer of a replica without its primary.
pub const MASTERDOWN: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";

/// The answer to writes while `min-replicas-to-write` is not met.
pub const NOREPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";

/// The answer while a script is over its time.
#[cold]
pub fn busy(core: &Core) -> CmdError {
    let running = core.scripts.running.lock();
    CmdError::Const(match running.as_ref().is_some_and(|running| running.is_function) {
        false => {
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        }
        true => {
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN \
             NOSAVE."
        }
    })
}

const MISCONF_SNAPSHOT: &str = "MISCONF Redis is configured to save RDB snapshots, but it's \
    currently unable to persist to disk. Commands that may modify the data set are disabled, \
    because this instance is configured to report errors during writes if RDB snapshotting fails \
    (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
    error.";
