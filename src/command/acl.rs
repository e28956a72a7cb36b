//! ACL: users shown and changed, what was denied, what would be.

use std::sync::Arc;

use crate::acl::has_spaces;
use crate::acl::log::Entry;
use crate::acl::selector::Selector;
use crate::acl::users::{Account, Changed, DEFAULT_USER};
use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::base::text::shown_to_zero;
use crate::command::help::{help, miscounted};
use crate::engine::access;
use crate::engine::blocking::end_connection;
use crate::engine::client::ClientFlags;
use crate::engine::command::{Command, Row};
use crate::engine::context::AdminCtx;
use crate::engine::gate;
use crate::resp::args::{OwnedArgs, is_word};
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Replied, Reply};
use crate::spec::Arity::{self, AtLeast, Exactly};
use crate::spec::{Cat, Group, Spec};

const fn spec(name: &'static str, arity: Arity) -> Spec {
    Spec::new(name, Group::Server, arity).loading().stale().since("6.0.0")
}

/// For those who look after users.
const fn admin(name: &'static str, arity: Arity) -> Spec {
    spec(name, arity).admin().noscript()
}

/// What every node of a cluster has to be told.
const fn told_to_all(spec: Spec) -> Spec {
    spec.tip("request_policy:all_nodes").tip("response_policy:all_succeeded")
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::container(Spec::new("acl", Group::Server, AtLeast(2)).container().since("6.0.0")),
    Command::admin(cat, spec("acl|cat", AtLeast(2)).noscript()),
    Command::admin(deluser, told_to_all(admin("acl|deluser", AtLeast(3)))),
    Command::admin(dryrun, admin("acl|dryrun", AtLeast(4)).since("7.0.0")),
    Command::admin(genpass, spec("acl|genpass", AtLeast(2)).noscript()),
    Command::admin(getuser, admin("acl|getuser", Exactly(3))),
    Command::admin(show_help, spec("acl|help", Exactly(2))),
    Command::admin(list, admin("acl|list", Exactly(2))),
    Command::admin(load, admin("acl|load", Exactly(2))),
    Command::admin(log, admin("acl|log", AtLeast(2))),
    Command::admin(save, told_to_all(admin("acl|save", Exactly(2)))),
    Command::admin(setuser, told_to_all(admin("acl|setuser", AtLeast(3)))),
    Command::admin(users, admin("acl|users", Exactly(2))),
    Command::admin(whoami, spec("acl|whoami", Exactly(2)).noscript()),
];

const HELP: &[(&str, &str)] = &[
    ("CAT [<category>]", "Name the categories, or the commands of one."),
    ("DELUSER <username> [<username> ...]", "Delete users and close their connections."),
    ("DRYRUN <username> <command> [<arg> ...]", "Say whether a user may run a command."),
    ("GENPASS [<bits>]", "Make up a password, of 256 bits if not said otherwise."),
    ("GETUSER <username>", "Show what a user may do."),
    ("LIST", "Show all users as rules."),
    ("LOAD", "Read the file of users anew; with a mistake in it nothing changes."),
    ("LOG [<count> | RESET]", "Show what was denied lately, or forget it."),
    ("SAVE", "Write the users to their file."),
    ("SETUSER <username> [<rule> ...]", "Make or change a user: all of the rules, or none."),
    ("USERS", "Name all users."),
    ("WHOAMI", "Name the user of the connection."),
];

/// ACL HELP
fn show_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "ACL", HELP))
}

/// ACL WHOAMI
fn whoami(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.bulk(&ax.session.account.name))
}

/// ACL USERS
fn users(ax: &mut AdminCtx) -> CmdResult {
    let users = ax.core.users.all();
    ax.cx.reply.array(users.len());
    users.iter().for_each(|user| drop(ax.cx.reply.bulk(&user.name)));
    Ok(ax.cx.reply.done())
}

/// ACL LIST
fn list(ax: &mut AdminCtx) -> CmdResult {
    let users = ax.core.users.all();
    ax.cx.reply.array(users.len());
    users.iter().for_each(|user| drop(ax.cx.reply.bulk(&user.line())));
    Ok(ax.cx.reply.done())
}

/// ACL GETUSER username
fn getuser(ax: &mut AdminCtx) -> CmdResult {
    let reply = &mut *ax.cx.reply;
    let Some(account) = ax.core.users.get(ax.cx.args.word(2)) else { return Ok(reply.null()) };
    let user = account.user();
    reply.map(6);
    let _ = reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| drop(reply.bulk(flag.as_bytes())));
    let _ = reply.bulk(b"passwords");
    let passwords = user.passwords();
    reply.array(passwords.len());
    passwords.iter().for_each(|hash| drop(reply.bulk(hash.as_bytes())));
    show_selector(reply, user.root());
    let _ = reply.bulk(b"selectors");
    reply.array(user.selectors().len());
    for selector in user.selectors() {
        reply.map(3);
        show_selector(reply, selector);
    }
    Ok(reply.done())
}

/// Three pairs of a map.
fn show_selector(reply: &mut Reply, selector: &Selector) {
    for (name, value) in [
        ("commands", selector.describe_commands()),
        ("keys", selector.describe_keys()),
        ("channels", selector.describe_channels()),
    ] {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.bulk(&value);
    }
}

/// ACL SETUSER username \[rule \[rule ...\]\]
fn setuser(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let name = ax.cx.args.bytes()?;
    if has_spaces(name) {
        return Err(CmdError::err("Usernames can't contain spaces or null characters"));
    }
    let rules: Vec<&[u8]> = ax.cx.args.remaining().collect();
    let all_channels = access::all_channels_at_first(&ax.core.config.load());
    let changed = ax.core.users.set(name, &rules, all_channels).map_err(CmdError::err)?;
    cast_out(ax, &[changed], &[]);
    Ok(ax.cx.reply.ok())
}

/// ACL DELUSER username \[username ...\]
fn deluser(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let names: Vec<&[u8]> = ax.cx.args.remaining().collect();
    if names.contains(&DEFAULT_USER) {
        return Err(CmdError::err("The 'default' user cannot be removed"));
    }
    let gone: Vec<Arc<Account>> =
        names.into_iter().filter_map(|name| ax.core.users.delete(name)).collect();
    cast_out(ax, &[], &gone);
    Ok(ax.cx.reply.count(gone.len()))
}

/// Closes the connections that users' changes leave without a permission they use.
fn cast_out(ax: &mut AdminCtx, changed: &[Changed], gone: &[Arc<Account>]) {
    for client in access::outcast(ax.core, changed, gone) {
        if client.id == ax.session.client.id {
            // The answer still has to leave.
            ax.session.closing = true;
            client.set_flag(ClientFlags::CLOSING, true);
        } else {
            end_connection(ax.core, &client);
        }
    }
}

/// ACL LOAD
fn load(ax: &mut AdminCtx) -> CmdResult {
    if ax.core.config.load().aclfile.is_empty() {
        return Err(CmdError::err(NO_FILE));
    }
    let users = access::read_file(ax.core).map_err(CmdError::err)?;
    let (changed, gone) = ax.core.users.replace(users);
    cast_out(ax, &changed, &gone);
    Ok(ax.cx.reply.ok())
}

/// ACL SAVE
fn save(ax: &mut AdminCtx) -> CmdResult {
    if ax.core.config.load().aclfile.is_empty() {
        return Err(CmdError::err(NO_FILE));
    }
    access::write_file(ax.core).map_err(|error| {
        tracing::warn!("Writing ACL file for ACL SAVE: {error}");
        CmdError::err(
            "There was an error trying to save the ACLs. Please check the server logs for more \
             information",
        )
    })?;
    Ok(ax.cx.reply.ok())
}

const NO_FILE: &str = "This Redis instance is not configured to use an ACL file. You may want to \
    specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
    Redis configuration file set) in order to store users in the Redis configuration.";

/// Entries ACL LOG shows unless told otherwise.
const LOG_SHOWN: usize = 10;

/// ACL LOG \[count | RESET\]
fn log(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let log = &ax.core.users.log;
    if ax.cx.args.left() > 1 {
        return Err(miscounted("ACL", ax.cx.args.word(1)));
    }
    let count = match ax.cx.args.peek() {
        None => LOG_SHOWN,
        Some(word) if is_word(word, "reset") => {
            log.reset();
            return Ok(ax.cx.reply.ok());
        }
        Some(word) => {
            let count = parse_i64(word).ok_or(CmdError::NotInteger)?;
            usize::try_from(count).unwrap_or(0)
        }
    };
    let entries = log.latest(count);
    let now = UnixMs::now();
    ax.cx.reply.array(entries.len());
    entries.iter().for_each(|entry| drop(show_entry(ax.cx.reply, entry, now)));
    Ok(ax.cx.reply.done())
}

fn show_entry(reply: &mut Reply, entry: &Entry, now: UnixMs) -> Replied {
    reply.map(10);
    let _ = reply.bulk(b"count");
    let _ = reply.int(entry.count as i64);
    for (name, value) in [
        ("reason", entry.case.reason.name().as_bytes()),
        ("context", entry.case.context.name().as_bytes()),
        ("object", &entry.case.object),
        ("username", &entry.case.user),
    ] {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.bulk(value);
    }
    let _ = reply.bulk(b"age-seconds");
    let _ = reply.double(now.0.saturating_sub(entry.updated.0) as f64 / 1000.0);
    let _ = reply.bulk(b"client-info");
    let _ = reply.bulk(entry.client.as_bytes());
    for (name, number) in [
        ("entry-id", entry.id),
        ("timestamp-created", entry.created.0),
        ("timestamp-last-updated", entry.updated.0),
    ] {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.int(number as i64);
    }
    reply.done()
}

/// ACL DRYRUN username command \[arg \[arg ...\]\]
fn dryrun(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let name = ax.cx.args.bytes()?;
    let Some(account) = ax.core.users.get(name) else {
        let name = shown_to_zero(name);
        return Err(CmdError::err(format_args!("User '{name}' not found")));
    };
    let owned = OwnedArgs::new(ax.cx.args.remaining());
    let args = owned.args();
    let Some(row) = gate::named(ax.core, &args) else {
        let name = shown_to_zero(args.word(0));
        return Err(CmdError::err(format_args!("Command '{name}' not found")));
    };
    if !row.spec().arity.accepts(args.count()) {
        return Err(CmdError::Arity(row.spec().name.to_owned()));
    }
    Ok(match access::check(&account, row, &args) {
        Ok(()) => ax.cx.reply.ok(),
        Err(denied) => {
            let sentence = access::sentence(&account.shown(), row, &args, denied, true);
            ax.cx.reply.bulk(sentence.as_bytes())
        }
    })
}

/// ACL CAT \[category\]
fn cat(ax: &mut AdminCtx) -> CmdResult {
    let args = &mut ax.cx.args;
    args.bytes()?;
    let asked = args.peek();
    if args.left() > 1 {
        return Err(miscounted("ACL", args.word(1)));
    }
    let names: Vec<&str> = match asked {
        None => Cat::ALL.iter().map(|cat| cat.name()).collect(),
        Some(name) => {
            let category = Cat::parse(name).ok_or_else(|| {
                let name = shown_to_zero(name);
                CmdError::err(format_args!("Unknown category '{name}'"))
            })?;
            let all = ax.core.commands.rows().iter().map(Row::spec);
            all.filter(|spec| spec.categories().has(category)).map(|spec| spec.name).collect()
        }
    };
    ax.cx.reply.array(names.len());
    names.iter().for_each(|name| drop(ax.cx.reply.bulk(name.as_bytes())));
    Ok(ax.cx.reply.done())
}

/// Most bits ACL GENPASS gives.
const PASSWORD_BITS_MAX: i64 = 4096;

/// ACL GENPASS \[bits\]
fn genpass(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let bits = match ax.cx.args.peek() {
        None => 256,
        Some(word) => parse_i64(word).ok_or(CmdError::NotInteger)?,
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CmdError::err(
            "ACL GENPASS argument must be the number of bits for the output password, a positive \
             number up to 4096",
        ));
    }
    let mut bytes = vec![0u8; PASSWORD_BITS_MAX as usize / 8];
    getrandom::fill(&mut bytes).map_err(CmdError::err)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = usize::try_from(bits).unwrap_or(0).div_ceil(4);
    Ok(ax.cx.reply.bulk(&digits.as_bytes()[..wanted]))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn the_default_user_is_described() {
        let mut house = House::new();
        for (line, answer) in [
            ("acl whoami", "$7|default|"),
            ("acl users", "*1|$7|default|"),
            ("acl list", "*1|$51|user default on nopass sanitize-payload ~* &* +@all|"),
            ("acl getuser nobody", "$-1|"),
            ("acl cat nothing", "-ERR Unknown category 'nothing'|"),
            ("acl deluser default", "-ERR The 'default' user cannot be removed|"),
            ("acl setuser 'a b'", "-ERR Usernames can't contain spaces or null characters|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("acl getuser default").starts_with("*12|$5|flags|*3|$2|on|$6|nopass|"));
        assert!(house.run("acl cat").starts_with("*21|$8|keyspace|"));
        assert!(house.run("acl genpass").starts_with("$64|"));
        assert!(house.run("acl genpass 5").starts_with("$2|"));
        assert!(house.run("acl load").starts_with("-ERR This Redis instance is not configured"));
    }

    /// A house with a second client, who is `alice` and may do what `rules` say.
    fn with_alice(rules: &str) -> House {
        let mut house = House::new();
        assert_eq!(house.run(&format!("acl setuser alice on >pw {rules}")), "+OK|");
        house.connect();
        assert_eq!(house.run_as(1, "auth alice pw"), "+OK|");
        house
    }

    #[test]
    fn a_user_hears_in_redis_s_words_what_it_may_not() {
        let mut house = with_alice("+@read +set +multi +exec +publish +acl|whoami %R~r* ~k &c");
        let no_key = "-NOPERM No permissions to access a key|";
        for (line, answer) in [
            ("acl whoami", "$5|alice|"),
            ("get r1", "$-1|"),
            ("set k v", "+OK|"),
            ("set r1 v", no_key),
            ("mget r1 x", no_key),
            ("incr k", "-NOPERM User alice has no permissions to run the 'incr' command|"),
            ("acl users", "-NOPERM User alice has no permissions to run the 'acl|users' command|"),
            ("publish c m", ":0|"),
            ("publish d m", "-NOPERM No permissions to access a channel|"),
            ("multi", "+OK|"),
            ("get x", no_key),
            ("exec", "-EXECABORT Transaction discarded because of previous errors.|"),
            ("auth alice wrong", "-WRONGPASS invalid username-password pair or user is disabled.|"),
            ("acl whoami", "$5|alice|"),
        ] {
            assert_eq!(house.run_as(1, line), answer, "{line}");
        }
        let info = house.run("info stats");
        for (field, count) in [("auth", 1), ("cmd", 2), ("key", 3), ("channel", 1)] {
            assert!(
                info.contains(&format!("acl_access_denied_{field}:{count}|")),
                "{field}: {info}"
            );
        }
        let log = house.run("acl log 2");
        assert!(log.starts_with("*2|*20|$5|count|:1|$6|reason|$4|auth|$7|context|$8|toplevel|"));
        assert!(log.contains("$7|context|$5|multi|$6|object|$1|x|$8|username|$5|alice|"), "{log}");
        assert!(
            house
                .run("info commandstats")
                .contains("cmdstat_incr:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,")
        );
    }

    #[test]
    fn a_change_holds_at_once_in_transactions_and_for_those_who_wait() {
        let mut house = with_alice("+@all allkeys");
        for (line, answer) in [("multi", "+OK|"), ("get k", "+QUEUED|"), ("incr n", "+QUEUED|")] {
            assert_eq!(house.run_as(1, line), answer, "{line}");
        }
        house.run("acl setuser alice -incr");
        let got = house.run_as(1, "exec");
        assert!(got.starts_with("*2|$-1|-NOPERM ACLs rules changed between the moment"), "{got}");
        assert_eq!(house.run_as(1, "blpop list 0"), "");
        house.run("acl setuser alice resetkeys");
        assert_eq!(house.run("rpush list a"), ":1|");
        assert_eq!(house.mail(1), "-NOPERM No permissions to access a key|");
        assert_eq!(house.run("llen list"), ":1|");
        house.run("acl setuser alice allkeys");
        assert_eq!(house.run_as(1, "llen list"), ":1|");
        house.run("acl deluser alice");
        assert_eq!(house.run_as(1, "llen list"), "-NOAUTH Authentication required.|");
        assert!(house.is_killed(1) && !house.is_killed(0));
    }

    #[test]
    fn scripts_run_as_the_user_who_sent_them() {
        let mut house = with_alice("+eval +set ~k* ");
        let got = house.run_as(1, "eval \"return redis.call('incr', 'k')\" 0");
        assert!(got.starts_with(
            "-ERR ACL failure in script: User alice has no permissions to run the 'incr' command"
        ), "{got}");
        for (script, answer) in [
            ("return redis.call('set', 'k', 'v')", "+OK|"),
            ("return redis.acl_check_cmd('set', 'k', 'v')", ":1|"),
            ("return redis.acl_check_cmd('set', 'x', 'v')", "$-1|"),
            ("return redis.acl_check_cmd('get', 'k')", "$-1|"),
        ] {
            assert_eq!(house.run_as(1, &format!("eval \"{script}\" 0")), answer, "{script}");
        }
        let got = house.run_as(1, "eval \"return redis.acl_check_cmd('nosuch')\" 0");
        assert!(got.starts_with("-ERR Invalid command passed to redis.acl_check_cmd()"), "{got}");
        assert!(house.run("acl log 1").contains("$7|context|$3|lua|"));
    }

    #[test]
    fn listeners_of_channels_that_are_lost_are_closed() {
        let mut house = with_alice("+@all &a &b.*");
        for line in ["subscribe a b.1", "psubscribe b.*"] {
            assert!(!house.run_as(1, line).starts_with('-'), "{line}");
        }
        house.run("acl setuser alice &c");
        house.run("acl setuser alice allchannels");
        assert!(!house.is_killed(1));
        house.run("acl setuser alice resetchannels &a &b.1");
        assert!(house.is_killed(1));
    }

    #[test]
    fn a_dry_run_says_what_would_be_denied() {
        let mut house = with_alice("+@all %R~r %W~w");
        for (line, answer) in [
            ("get r", "+OK|"),
            ("get w", "$51|User alice has no permissions to access the 'w' key|"),
            ("set w v get", "$51|User alice has no permissions to access the 'w' key|"),
            ("sort r store w", "+OK|"),
            ("set w", "-ERR wrong number of arguments for 'set' command|"),
            ("nosuch", "-ERR Command 'nosuch' not found|"),
            ("eval x 3 w r", "+OK|"),
        ] {
            assert_eq!(house.run(&format!("acl dryrun alice {line}")), answer, "{line}");
        }
        assert_eq!(house.run("acl dryrun bob get r"), "-ERR User 'bob' not found|");
        let by = "-ERR BY option of SORT denied due to insufficient ACL permissions.|";
        assert_eq!(house.run_as(1, "sort r by v*"), by);
        assert_eq!(house.run_as(1, "sort r by nosort"), "*0|");
    }
}
