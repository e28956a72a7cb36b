//! CLIENT TRACKING and its kin: which keys a client caches.

use crate::base::text::shown_to_zero;
use crate::command::client::operand;
use crate::engine::context::AdminCtx;
use crate::engine::tracking::{switch_off, switch_on};
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::tracking::Options;

/// CLIENT TRACKING ON | OFF \[REDIRECT id\] \[PREFIX prefix ...\] \[BCAST\] \[OPTIN\] \[OPTOUT\] \[NOLOOP\]
pub(super) fn tracking(ax: &mut AdminCtx) -> CmdResult {
    let mode = operand(ax)?;
    let (options, prefixes) = parse(ax)?;
    if is_word(mode, "off") {
        switch_off(ax.core, ax.session);
        return Ok(ax.cx.reply.ok());
    }
    if !is_word(mode, "on") {
        return Err(CmdError::Syntax);
    }
    check(ax.session.tracking, options, !prefixes.is_empty())?;
    if options.broadcast {
        let state = ax.core.tracking.state(ax.session.client.id);
        let present = state.map(|state| state.prefixes).unwrap_or_default();
        check_prefixes(&present, &prefixes)?;
    }
    switch_on(ax.core, ax.cx.db.hold(), ax.session, options, &prefixes);
    Ok(ax.cx.reply.ok())
}

fn parse<'a>(ax: &mut AdminCtx<'a>) -> Result<(Options, Vec<&'a [u8]>), CmdError> {
    let core = ax.core;
    let args = &mut ax.cx.args;
    let mut options = Options::default();
    let mut prefixes = Vec::new();
    while !args.is_done() {
        if args.left() > 1 && args.take_keyword("redirect") {
            if options.redirect != 0 {
                return Err(CmdError::err("A client can only redirect to a single other client"));
            }
            let id = u64::try_from(args.i64()?).unwrap_or(0);
            if core.clients.get(id).is_none() {
                return Err(CmdError::err("The client ID you want redirect to does not exist"));
            }
            options.redirect = id;
        } else if args.take_keyword("bcast") {
            options.broadcast = true;
        } else if args.take_keyword("optin") {
            options.opt_in = true;
        } else if args.take_keyword("optout") {
            options.opt_out = true;
        } else if args.take_keyword("noloop") {
            options.no_loop = true;
        } else if args.left() > 1 && args.take_keyword("prefix") {
            prefixes.push(args.bytes()?);
        } else {
            return Err(CmdError::Syntax);
        }
    }
    Ok((options, prefixes))
}

/// Whether the options go together, and with those that hold already.
fn check(now: Option<Options>, wanted: Options, has_prefixes: bool) -> Result<(), CmdError> {
    let now_in = now.is_some_and(|now| now.opt_in);
    let now_out = now.is_some_and(|now| now.opt_out);
    let refused = if has_prefixes && !wanted.broadcast {
        "PREFIX option requires BCAST mode to be enabled"
    } else if now.is_some_and(|now| now.broadcast != wanted.broadcast) {
        "You can't switch BCAST mode on/off before disabling tracking for this client, and then \
         re-enabling it with a different mode."
    } else if wanted.broadcast && (wanted.opt_in || wanted.opt_out) {
        "OPTIN and OPTOUT are not compatible with BCAST"
    } else if wanted.opt_in && wanted.opt_out {
        "You can't specify both OPTIN mode and OPTOUT mode"
    } else if wanted.opt_in && now_out || wanted.opt_out && now_in {
        "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
         re-enabling it with a different mode."
    } else {
        return Ok(());
    };
    Err(CmdError::err(refused))
}

/// A key must not be told of twice.
fn check_prefixes(present: &[Box<[u8]>], wanted: &[&[u8]]) -> Result<(), CmdError> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let refuse = |prefix: &[u8], which: &str, other: &[u8]| {
        let (prefix, other) = (shown_to_zero(prefix), shown_to_zero(other));
        CmdError::err(format_args!(
            "Prefix '{prefix}' overlaps with {which} prefix '{other}'. Prefixes for a single client \
             must not overlap."
        ))
    };
    for (index, prefix) in wanted.iter().enumerate() {
        if let Some(other) = present.iter().find(|other| overlap(other, prefix)) {
            return Err(refuse(prefix, "an existing", other));
        }
        if let Some(other) = wanted[index + 1..].iter().find(|other| overlap(other, prefix)) {
            return Err(refuse(prefix, "another provided", other));
        }
    }
    Ok(())
}

/// CLIENT CACHING YES | NO
pub(super) fn caching(ax: &mut AdminCtx) -> CmdResult {
    let word = operand(ax)?;
    let Some(options) = ax.session.tracking else {
        return Err(CmdError::err(
            "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
             OPTOUT mode enabled",
        ));
    };
    let (fits, otherwise) = if is_word(word, "yes") {
        (options.opt_in, "CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    } else if is_word(word, "no") {
        (
            options.opt_out,
            "CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        )
    } else {
        return Err(CmdError::Syntax);
    };
    if !fits {
        return Err(CmdError::err(otherwise));
    }
    ax.session.caching = true;
    Ok(ax.cx.reply.ok())
}

/// CLIENT GETREDIR
pub(super) fn getredir(ax: &mut AdminCtx) -> CmdResult {
    let redirect = ax.session.tracking.map_or(-1, |options| options.redirect as i64);
    Ok(ax.cx.reply.int(redirect))
}

/// CLIENT TRACKINGINFO
pub(super) fn trackinginfo(ax: &mut AdminCtx) -> CmdResult {
    let state = ax.core.tracking.state(ax.session.client.id);
    let options = state.as_ref().map(|state| state.options).unwrap_or_default();
    let caching = ax.session.caching;
    let flags = [
        (state.is_none(), "off"),
        (state.is_some(), "on"),
        (options.broadcast, "bcast"),
        (options.opt_in, "optin"),
        (options.opt_in && caching, "caching-yes"),
        (options.opt_out, "optout"),
        (options.opt_out && caching, "caching-no"),
        (options.no_loop, "noloop"),
        (state.as_ref().is_some_and(|state| state.broken), "broken_redirect"),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag).collect();
    let reply = &mut *ax.cx.reply;
    reply.map(3);
    let _ = reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| drop(reply.bulk(flag.as_bytes())));
    let _ = reply.bulk(b"redirect");
    let _ = reply.int(state.as_ref().map_or(-1, |state| state.options.redirect as i64));
    let _ = reply.bulk(b"prefixes");
    let prefixes = state.map(|state| state.prefixes).unwrap_or_default();
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| drop(reply.bulk(prefix)));
    Ok(reply.done())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn options_are_refused_as_in_redis() {
        let mut house = House::new();
        for (line, answer) in [
            ("client tracking maybe", "-ERR syntax error|"),
            ("client tracking on prefix", "-ERR syntax error|"),
            (
                "client tracking on prefix a",
                "-ERR PREFIX option requires BCAST mode to be enabled|",
            ),
            (
                "client tracking on redirect 77",
                "-ERR The client ID you want redirect to does not exist|",
            ),
            (
                "client tracking on bcast optin",
                "-ERR OPTIN and OPTOUT are not compatible with BCAST|",
            ),
            (
                "client tracking on optin optout",
                "-ERR You can't specify both OPTIN mode and OPTOUT mode|",
            ),
            (
                "client tracking on bcast prefix foo prefix f",
                "-ERR Prefix 'foo' overlaps with another provided prefix 'f'. Prefixes for a single client must not overlap.|",
            ),
            (
                "client caching yes",
                "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled|",
            ),
            ("client tracking on optin", "+OK|"),
            ("client caching yes", "+OK|"),
            (
                "client trackinginfo",
                "*6|$5|flags|*3|$2|on|$5|optin|$11|caching-yes|$8|redirect|:0|$8|prefixes|*0|",
            ),
            ("ping", "+PONG|"),
            ("client trackinginfo", "*6|$5|flags|*2|$2|on|$5|optin|$8|redirect|:0|$8|prefixes|*0|"),
            ("client tracking off", "+OK|"),
            ("client getredir", ":-1|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn readers_hear_of_changes_once_behind_their_own_replies() {
        let mut house = House::new();
        let other = house.connect();
        house.run("hello 3");
        for (line, answer) in [
            ("client tracking on", "+OK|"),
            ("set k 1", "+OK|"),
            ("get k", "$1|1|"),
            ("set k 2", "+OK|>2|$10|invalidate|*1|$1|k|"),
            ("set k 3", "+OK|"),
            ("multi", "+OK|"),
            ("get k", "+QUEUED|"),
            ("incr k", "+QUEUED|"),
            ("flushall", "+QUEUED|"),
            ("exec", "*3|$1|3|:4|+OK|>2|$10|invalidate|_|>2|$10|invalidate|*1|$1|k|"),
            ("eval \"return redis.call('exists', 'k')\" 1 other", ":0|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        house.run_as(other, "set other 1");
        assert_eq!(house.mail(0), "");
        house.run_as(other, "mset k 1 k 2");
        house.run_as(other, "set k 2");
        assert_eq!(house.mail(0), ">2|$10|invalidate|*1|$1|k|");
        house.run("get k");
        house.run_as(other, "expire k 1");
        assert_eq!(house.mail(0), ">2|$10|invalidate|*1|$1|k|");
        house.run("get k");
        house.wait_ms(1500);
        house.run_as(other, "get k");
        assert_eq!(house.mail(0), ">2|$10|invalidate|*1|$1|k|");
        assert!(house.run("client info").contains(" flags=t "));
        house.run("get k");
        house.run("client tracking off");
        house.run_as(other, "set k 2");
        assert_eq!(house.mail(0), "");
    }

    #[test]
    fn broadcasts_tell_of_a_unit_s_keys_at_once_and_go_where_they_are_redirected() {
        let mut house = House::new();
        let (listener, writer) = (house.connect(), house.connect());
        house.run_as(listener, "subscribe __redis__:invalidate");
        house.run("client tracking on bcast prefix a prefix b redirect 2 noloop");
        assert_eq!(house.run_as(writer, "mset b1 1 a2 1 a1 1 c 1"), "+OK|");
        assert_eq!(
            house.mail(listener),
            "*3|$7|message|$20|__redis__:invalidate|*2|$2|a1|$2|a2|\
             *3|$7|message|$20|__redis__:invalidate|*1|$2|b1|"
        );
        house.run("set a1 2");
        assert_eq!(house.mail(listener), "");
        house.run_as(listener, "quit");
        house.run("hello 3");
        house.run_as(writer, "set a1 3");
        assert_eq!(house.mail(0), ">2|$21|tracking-redir-broken|:2|");
        assert!(house.run("client info").contains(" flags=tRB "));
        assert!(house.run("client info").contains(" redir=2 "));
    }

    #[test]
    fn the_books_are_kept_short() {
        let mut house = House::new();
        house.run("hello 3");
        house.run("client tracking on");
        house.run("mget a b c");
        house.run("config set tracking-table-max-keys 1");
        let told = house.run("ping");
        assert_eq!(told.matches("invalidate").count(), 2, "{told}");
        assert!(told.ends_with("+PONG|"), "{told}");
    }
}
