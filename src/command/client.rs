//! CLIENT: who is connected, and what is done about it.

mod durability;
mod kill;
mod list;
mod tracking;

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::base::text::shown_to_zero;
use crate::command::help::{help, miscounted};
use crate::engine::client::ClientFlags;
use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::engine::pause::{self, PauseMode, Reason};
use crate::engine::session::ReplyMode;
use crate::engine::{blocking, evicting_clients};
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{self, AtLeast, Exactly};
use crate::spec::{Group, Spec};

pub use crate::engine::client_line::describe;

const fn spec(name: &'static str, arity: Arity, since: &'static str) -> Spec {
    Spec::new(name, Group::Connection, arity).noscript().loading().stale().since(since)
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::container(
        Spec::new("client", Group::Connection, AtLeast(2)).container().since("2.4.0"),
    ),
    Command::admin(tracking::caching, spec("client|caching", Exactly(3), "6.0.0")),
    Command::admin(durability::durability, spec("client|durability", AtLeast(2), "7.4.0")),
    Command::admin(getname, spec("client|getname", Exactly(2), "2.6.9")),
    Command::admin(tracking::getredir, spec("client|getredir", Exactly(2), "6.0.0")),
    Command::admin(
        show_help,
        Spec::new("client|help", Group::Connection, Exactly(2)).loading().stale().since("5.0.0"),
    ),
    Command::admin(id, spec("client|id", Exactly(2), "5.0.0")),
    Command::admin(
        list::info,
        spec("client|info", Exactly(2), "6.2.0").tip("nondeterministic_output"),
    ),
    Command::admin(kill::kill, spec("client|kill", AtLeast(3), "2.4.0").admin()),
    Command::admin(
        list::list,
        spec("client|list", AtLeast(2), "2.4.0").admin().tip("nondeterministic_output"),
    ),
    Command::admin(no_evict, spec("client|no-evict", Exactly(3), "7.0.0").admin()),
    Command::admin(no_touch, spec("client|no-touch", Exactly(3), "7.2.0")),
    Command::admin(begin_pause, spec("client|pause", AtLeast(3), "3.0.0").admin()),
    Command::admin(reply, spec("client|reply", Exactly(3), "3.2.0")),
    Command::admin(
        setinfo,
        spec("client|setinfo", Exactly(4), "7.2.0")
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded"),
    ),
    Command::admin(
        setname,
        spec("client|setname", Exactly(3), "2.6.9")
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded"),
    ),
    Command::admin(tracking::tracking, spec("client|tracking", AtLeast(3), "6.0.0").all_shards()),
    Command::admin(tracking::trackinginfo, spec("client|trackinginfo", Exactly(2), "6.2.0")),
    Command::admin(unblock, spec("client|unblock", AtLeast(3), "5.0.0").admin()),
    Command::admin(unpause, spec("client|unpause", Exactly(2), "6.2.0").admin()),
];

const HELP: &[(&str, &str)] = &[
    ("CACHING (YES|NO)", "Track the keys of the next command, or do not."),
    (
        "DURABILITY [DEFAULT|ALWAYS|EVERYSEC|NO]",
        "Say or set what the replies of the connection wait for.",
    ),
    ("GETNAME", "Say how the current connection is named."),
    ("GETREDIR", "Say where tracking messages of the connection go: -1 without tracking."),
    ("ID", "Say the id of the current connection."),
    ("INFO", "Tell what LIST tells, about the current connection only."),
    ("KILL <ip:port>", "Close the connection from that address."),
    ("KILL <option> <value> [<option> <value> [...]]", "Close connections. Options are:"),
    ("    * ADDR <ip:port>|<unixsocket>:0 * LADDR <ip:port>|<unixsocket>:0", "from or to there"),
    ("    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB) * USER <username>", "of that type or user"),
    ("    * ID <client-id> * MAXAGE <seconds> * SKIPME (YES|NO)", "that one; older; not this one"),
    ("LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> ...]", "Describe connections."),
    ("NO-EVICT (ON|OFF)", "Keep the connection when clients' memory runs out."),
    ("NO-TOUCH (ON|OFF)", "Leave no trace of reads in keys' idle times."),
    ("PAUSE <timeout> [WRITE|ALL]", "Let commands wait for that many milliseconds."),
    ("REPLY (ON|OFF|SKIP)", "Answer, or not, or not to the next command."),
    ("SETINFO (LIB-NAME|LIB-VER) <value>", "Say which client library this is."),
    ("SETNAME <name>", "Name the current connection."),
    ("TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]", "Track keys:"),
    ("    * OPTIN * OPTOUT * NOLOOP", "if CACHING says so; unless it does; not own changes"),
    ("TRACKINGINFO", "Tell how tracking is set for the connection."),
    ("UNBLOCK <client-id> [TIMEOUT|ERROR]", "End the wait of a blocked client."),
    ("UNPAUSE", "End the pause."),
];

/// CLIENT HELP
fn show_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "CLIENT", HELP))
}

/// A name of printable characters without blanks; the error names `what` it would have been.
pub fn valid_label(word: &[u8], what: &str) -> Result<String, CmdError> {
    if word.iter().all(u8::is_ascii_graphic) {
        return Ok(String::from_utf8_lossy(word).into_owned());
    }
    Err(CmdError::err(format_args!(
        "{what} cannot contain spaces, newlines or special characters."
    )))
}

/// The word behind the subcommand.
fn operand<'a>(ax: &mut AdminCtx<'a>) -> Result<&'a [u8], CmdError> {
    ax.cx.args.bytes()?;
    ax.cx.args.bytes()
}

/// CLIENT ID
fn id(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.int(ax.session.client.id as i64))
}

/// CLIENT GETNAME
fn getname(ax: &mut AdminCtx) -> CmdResult {
    let labels = ax.session.client.labels.lock();
    let name = Some(labels.name.as_bytes()).filter(|name| !name.is_empty());
    Ok(ax.cx.reply.bulk_or_null(name))
}

/// CLIENT SETNAME name
fn setname(ax: &mut AdminCtx) -> CmdResult {
    let name = valid_label(operand(ax)?, "Client names")?;
    ax.session.client.labels.lock().name = name;
    Ok(ax.cx.reply.ok())
}

/// CLIENT SETINFO LIB-NAME name | LIB-VER version
fn setinfo(ax: &mut AdminCtx) -> CmdResult {
    let option = operand(ax)?;
    let value = ax.cx.args.bytes()?;
    let mut labels = ax.session.client.labels.lock();
    let (what, field) = if is_word(option, "lib-name") {
        ("lib-name", &mut labels.lib_name)
    } else if is_word(option, "lib-ver") {
        ("lib-ver", &mut labels.lib_version)
    } else {
        let option = shown_to_zero(option);
        return Err(CmdError::err(format_args!("Unrecognized option '{option}'")));
    };
    *field = valid_label(value, what)?;
    Ok(ax.cx.reply.ok())
}

fn switch(ax: &mut AdminCtx, flag: u32) -> CmdResult {
    let word = operand(ax)?;
    let on = match (is_word(word, "on"), is_word(word, "off")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err(CmdError::Syntax),
    };
    ax.session.client.set_flag(flag, on);
    // It may have grown too large meanwhile.
    evicting_clients::run(ax.core, &ax.core.config.load());
    Ok(ax.cx.reply.ok())
}

/// CLIENT NO-EVICT ON | OFF
fn no_evict(ax: &mut AdminCtx) -> CmdResult {
    switch(ax, ClientFlags::NO_EVICT)
}

/// CLIENT NO-TOUCH ON | OFF
fn no_touch(ax: &mut AdminCtx) -> CmdResult {
    switch(ax, ClientFlags::NO_TOUCH)
}

/// CLIENT REPLY ON | OFF | SKIP. What it answers is cut when the mode says so.
fn reply(ax: &mut AdminCtx) -> CmdResult {
    let word = operand(ax)?;
    if is_word(word, "on") {
        ax.session.reply_mode = ReplyMode::On;
    } else if is_word(word, "off") {
        ax.session.reply_mode = ReplyMode::Off;
    } else if is_word(word, "skip") {
        if ax.session.reply_mode != ReplyMode::Off {
            ax.session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CmdError::Syntax);
    }
    Ok(ax.cx.reply.ok())
}

/// CLIENT PAUSE timeout \[WRITE | ALL\]
fn begin_pause(ax: &mut AdminCtx) -> CmdResult {
    if ax.cx.args.count() > 4 {
        return Err(miscounted("CLIENT", ax.cx.args.word(1)));
    }
    let timeout = parse_i64(operand(ax)?)
        .ok_or_else(|| CmdError::err("timeout is not an integer or out of range"))?;
    let mode = match ax.cx.args.peek() {
        None => PauseMode::All,
        Some(word) if is_word(word, "write") => PauseMode::Write,
        Some(word) if is_word(word, "all") => PauseMode::All,
        Some(_) => return Err(CmdError::err("CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout = u64::try_from(timeout).map_err(|_| CmdError::TimeoutNegative)?;
    let until = UnixMs::now().0.checked_add(timeout).ok_or(CmdError::TimeoutRange)?;
    pause::begin(ax.core, Reason::Client, mode, UnixMs(until));
    Ok(ax.cx.reply.ok())
}

/// CLIENT UNPAUSE
fn unpause(ax: &mut AdminCtx) -> CmdResult {
    pause::end(ax.core, Reason::Client);
    Ok(ax.cx.reply.ok())
}

/// CLIENT UNBLOCK client-id \[TIMEOUT | ERROR\]
fn unblock(ax: &mut AdminCtx) -> CmdResult {
    let id = parse_i64(operand(ax)?).ok_or(CmdError::NotInteger)?;
    let with_error = match ax.cx.args.peek() {
        None => false,
        Some(word) if is_word(word, "timeout") => false,
        Some(word) if is_word(word, "error") => true,
        Some(_) => {
            return Err(CmdError::err("CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = u64::try_from(id).unwrap_or(0);
    if !blocking::can_time_out(ax.core, id) {
        return Ok(ax.cx.reply.flag(false));
    }
    let ended = match with_error {
        true => blocking::end_wait(ax.core, id, |_| UNBLOCKED.to_vec()),
        false => blocking::end_wait(ax.core, id, |waiter| blocking::timeout_reply(ax.core, waiter)),
    };
    match &ended {
        Some(waiter) if with_error => blocking::count_failed(ax.worker, waiter),
        Some(waiter) => blocking::count_timeout(ax.worker, waiter),
        None => {}
    }
    Ok(ax.cx.reply.flag(ended.is_some()))
}

const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn names_are_given_and_refused_as_in_redis() {
        let mut house = House::new();
        for (line, answer) in [
            ("client id", ":1|"),
            ("client getname", "$-1|"),
            (
                "client setname 'a b'",
                "-ERR Client names cannot contain spaces, newlines or special characters.|",
            ),
            ("client setname x", "+OK|"),
            ("client getname", "$1|x|"),
            (
                "client setinfo lib-name 'a b'",
                "-ERR lib-name cannot contain spaces, newlines or special characters.|",
            ),
            ("client setinfo bad x", "-ERR Unrecognized option 'bad'|"),
            ("client setinfo LIB-VER 1.2", "+OK|"),
            ("client no-evict maybe", "-ERR syntax error|"),
            ("client getredir", ":-1|"),
            ("client trackinginfo", "*6|$5|flags|*1|$3|off|$8|redirect|:-1|$8|prefixes|*0|"),
            ("client nonsense", "-ERR unknown subcommand 'nonsense'. Try CLIENT HELP.|"),
            ("client kill id 0", "-ERR client-id should be greater than 0|"),
            ("client kill type x", "-ERR Unknown client type 'x'|"),
            ("client kill 1.2.3.4:5", "-ERR No such client|"),
            ("client unblock 77", ":0|"),
            ("client unblock x", "-ERR value is not an integer or out of range|"),
            ("client pause x", "-ERR timeout is not an integer or out of range|"),
            ("client pause -1", "-ERR timeout is negative|"),
            ("client pause 1 some", "-ERR CLIENT PAUSE mode must be WRITE or ALL|"),
            ("client list type x", "-ERR Unknown client type 'x'|"),
            ("client list id x", "-ERR Invalid client ID|"),
            ("client list x", "-ERR syntax error|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("client info").contains(" name=x "));
        assert!(house.run("client info").contains(" lib-name= lib-ver=1.2"));
    }

    #[test]
    fn reply_modes_silence_what_they_should() {
        let mut house = House::new();
        for (line, answer) in [
            ("client reply skip", ""),
            ("ping", ""),
            ("ping", "+PONG|"),
            ("client reply off", ""),
            ("ping", ""),
            ("client reply skip", ""),
            ("ping", ""),
            ("client reply on", "+OK|"),
            ("ping", "+PONG|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn a_list_is_filtered_by_id_and_type() {
        let mut house = House::new();
        let other = house.connect();
        house.run_as(other, "subscribe x");
        let lines = |text: String| text.matches("id=").count();
        assert_eq!(lines(house.run("client list")), 2);
        assert_eq!(lines(house.run("client list id 2 9")), 1);
        assert!(house.run("client list type pubsub").contains("id=2 "));
        assert_eq!(lines(house.run("client list type replica")), 0);
        assert_eq!(house.run("client kill id 2"), ":1|");
        assert_eq!(lines(house.run("client list")), 1);
        assert_eq!(house.run("client kill skipme yes type normal"), ":0|");
    }
}
