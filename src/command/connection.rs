//! The connection itself: HELLO, AUTH, SELECT, PING.

use crate::base::num::parse_i64;
use crate::base::text::shown_to_zero;
use crate::command::client::valid_label;
use crate::config::REDIS_VERSION;
use crate::engine::client::ClientFlags;
use crate::engine::command::Command;
use crate::engine::context::{AdminCtx, Ctx};
use crate::engine::session::ReplyMode;
use crate::engine::{access, monitor, tracking, transaction};
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Protocol};
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::{Group, Spec};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        auth,
        Spec::new("auth", Group::Connection, AtLeast(2))
            .noscript()
            .loading()
            .stale()
            .fast()
            .no_auth()
            .allow_busy()
            .since("1.0.0"),
    ),
    Command::data(
        echo,
        Spec::new("echo", Group::Connection, Exactly(2)).loading().stale().fast().since("1.0.0"),
    ),
    Command::admin(
        hello,
        Spec::new("hello", Group::Connection, AtLeast(1))
            .noscript()
            .loading()
            .stale()
            .fast()
            .no_auth()
            .allow_busy()
            .since("6.0.0"),
    ),
    Command::admin(
        ping,
        Spec::new("ping", Group::Connection, AtLeast(1))
            .fast()
            .tip("request_policy:all_shards")
            .tip("response_policy:all_succeeded")
            .since("1.0.0"),
    ),
    Command::admin(
        quit,
        Spec::new("quit", Group::Connection, AtLeast(1))
            .noscript()
            .loading()
            .stale()
            .fast()
            .no_auth()
            .allow_busy()
            .since("1.0.0")
            .deprecated("7.2.0"),
    ),
    Command::admin(
        reset,
        Spec::new("reset", Group::Connection, Exactly(1))
            .noscript()
            .loading()
            .stale()
            .fast()
            .no_auth()
            .allow_busy()
            .since("6.2.0"),
    ),
    Command::admin(
        select,
        Spec::new("select", Group::Connection, Exactly(2)).loading().stale().fast().since("1.0.0"),
    ),
];

/// AUTH \[username\] password
fn auth(ax: &mut AdminCtx) -> CmdResult {
    let first = ax.cx.args.bytes()?;
    let second = ax.cx.args.peek();
    if ax.cx.args.left() > 1 {
        return Err(CmdError::Syntax);
    }
    if second.is_none() && ax.core.users.default_account().user().nopass {
        return Err(CmdError::err(
            "AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        ));
    }
    let (user, password) = second.map_or((b"default".as_slice(), first), |second| (first, second));
    let by = ax.cx.args.word(0);
    access::log_in(ax.core, ax.session, (user, password), by)?;
    Ok(ax.cx.reply.ok())
}

/// HELLO \[protover \[AUTH username password\] \[SETNAME clientname\]\]
fn hello(ax: &mut AdminCtx) -> CmdResult {
    let args = &mut ax.cx.args;
    let mut protocol = None;
    if let Some(word) = args.peek() {
        let _ = args.bytes();
        protocol = Some(match parse_i64(word) {
            None => {
                return Err(CmdError::err("Protocol version is not an integer or out of range"));
            }
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(CmdError::Const("NOPROTO unsupported protocol version")),
        });
    }
    let mut credentials = None;
    let mut name = None;
    while let Some(word) = args.peek() {
        if args.left() >= 3 && args.take_keyword("auth") {
            credentials = Some((args.bytes()?, args.bytes()?));
        } else if args.left() >= 2 && args.take_keyword("setname") {
            name = Some(valid_label(args.bytes()?, "Client names")?);
        } else {
            let word = shown_to_zero(word);
            return Err(CmdError::err(format_args!("Syntax error in HELLO option '{word}'")));
        }
    }
    if let Some(credentials) = credentials {
        let by = ax.cx.args.word(0);
        access::log_in(ax.core, ax.session, credentials, by)?;
    }
    if !ax.session.authenticated {
        return Err(CmdError::Const(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        ax.session.client.labels.lock().name = name;
    }
    if let Some(protocol) = protocol {
        speak(ax, protocol);
    }
    Ok(greet(ax))
}

/// Speaks another protocol from here on, in replies and in messages.
fn speak(ax: &mut AdminCtx, protocol: Protocol) {
    use std::sync::atomic::Ordering;
    ax.cx.reply.set_protocol(protocol);
    let resp3 = protocol == Protocol::Resp3;
    ax.session.client.figures.resp3.store(resp3, Ordering::Relaxed);
}

fn greet(ax: &mut AdminCtx) -> crate::resp::reply::Replied {
    let reply = &mut *ax.cx.reply;
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.bulk(value.as_bytes());
    }
    let _ = reply.bulk(b"proto");
    let _ = reply.int(if reply.is_resp3() { 3 } else { 2 });
    let _ = reply.bulk(b"id");
    let _ = reply.int(ax.session.client.id as i64);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.bulk(value.as_bytes());
    }
    let _ = reply.bulk(b"modules");
    reply.empty_array()
}

/// ECHO message
fn echo(cx: &mut Ctx) -> CmdResult {
    let message = cx.args.bytes()?;
    Ok(cx.reply.bulk(message))
}

/// PING \[message\]
fn ping(ax: &mut AdminCtx) -> CmdResult {
    let message = ax.cx.args.peek();
    if ax.cx.args.left() > 1 {
        return Err(CmdError::Arity("ping".to_owned()));
    }
    let reply = &mut *ax.cx.reply;
    if ax.session.is_subscribed() && !reply.is_resp3() {
        reply.array(2);
        let _ = reply.bulk(b"pong");
        return Ok(reply.bulk(message.unwrap_or_default()));
    }
    Ok(match message {
        Some(message) => reply.bulk(message),
        None => reply.simple("PONG"),
    })
}

/// QUIT
fn quit(ax: &mut AdminCtx) -> CmdResult {
    ax.session.closing = true;
    ax.session.client.set_flag(ClientFlags::CLOSING, true);
    Ok(ax.cx.reply.ok())
}

/// RESET: the session is as if it had just connected.
fn reset(ax: &mut AdminCtx) -> CmdResult {
    let (core, session) = (ax.core, &mut *ax.session);
    session.multi = None;
    transaction::unwatch(core, session);
    session.unsubscribe_all(core);
    monitor::leave(core, &session.client);
    tracking::switch_off(core, session);
    session.db = 0;
    session.reply_mode = ReplyMode::On;
    session.durability = None;
    access::log_out(core, session);
    session.client.labels.lock().name.clear();
    for flag in [ClientFlags::DIRTY_EXEC, ClientFlags::NO_EVICT, ClientFlags::NO_TOUCH] {
        session.client.set_flag(flag, false);
    }
    speak(ax, Protocol::Resp2);
    Ok(ax.cx.reply.simple("RESET"))
}

/// SELECT index
fn select(ax: &mut AdminCtx) -> CmdResult {
    let index = ax.cx.args.i64()?;
    let databases = i64::from(ax.core.config.load().databases);
    if !(0..databases).contains(&index) {
        return Err(match i32::try_from(index) {
            Ok(_) => CmdError::DbIndex,
            Err(_) => CmdError::err(
                "value is out of range, value must between -2147483648 and 2147483647",
            ),
        });
    }
    ax.session.db = u32::try_from(index).map_err(|_| CmdError::DbIndex)?;
    Ok(ax.cx.reply.ok())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;
    use crate::config::{Config, Text};

    #[test]
    fn a_password_is_asked_for_in_redis_s_words() {
        let mut house = House::new();
        assert!(house.run("auth x").starts_with("-ERR AUTH <password> called without any"));
        assert_eq!(house.run("auth default x"), "+OK|");
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.|";
        assert_eq!(house.run("auth nobody x"), wrong);
        let config = Config { requirepass: Text::from("secret"), ..Config::default() };
        let mut house = House::with(config);
        for (line, answer) in [
            ("reset", "+RESET|"),
            ("ping", "-NOAUTH Authentication required.|"),
            ("auth secre", wrong),
            ("hello 3 auth default wrong", wrong),
            ("auth a b c", "-ERR syntax error|"),
            ("auth secret", "+OK|"),
            ("ping", "+PONG|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert_eq!(house.run("reset"), "+RESET|");
        assert!(house.run("hello 2").starts_with("-NOAUTH HELLO must be called with"));
        assert!(house.run("hello 3 auth default secret").starts_with("%7|$6|server|$5|redis|"));
    }

    #[test]
    fn the_connection_s_commands_answer_as_redis_does() {
        let mut house = House::new();
        for (line, answer) in [
            ("ping", "+PONG|"),
            ("ping x", "$1|x|"),
            ("ping x y", "-ERR wrong number of arguments for 'ping' command|"),
            ("echo x", "$1|x|"),
            ("select 15", "+OK|"),
            ("select 16", "-ERR DB index is out of range|"),
            ("select -1", "-ERR DB index is out of range|"),
            ("select x", "-ERR value is not an integer or out of range|"),
            ("hello 4", "-NOPROTO unsupported protocol version|"),
            ("hello x", "-ERR Protocol version is not an integer or out of range|"),
            ("hello 2 setname", "-ERR Syntax error in HELLO option 'setname'|"),
            (
                "hello 2 setname 'a b'",
                "-ERR Client names cannot contain spaces, newlines or special characters.|",
            ),
            ("quit", "+OK|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("hello 3 setname me").contains("$5|proto|:3|$2|id|:1|$4|mode|"));
        assert_eq!(house.run("client getname"), "$2|me|");
    }
}
