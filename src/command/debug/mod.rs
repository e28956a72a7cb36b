//! DEBUG: what test suites ask of a server.
//!
//! A subcommand is a row of [`SUBCOMMANDS`]: its name, the words behind it, its handler.

mod allocator;
mod digest;
mod object;
mod reload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::num::{parse_f64, parse_i64};
use crate::base::text::{shown, shown_to_zero};
use crate::command::config::rewrite_file;
use crate::command::help::help;
use crate::config::rewrite::Extent;
use crate::ds::dict::Keyed;
use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::engine::record::encode_command;
use crate::keyspace::entry::{Entry, New};
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::spec::Arity::AtLeast;
use crate::spec::{Group, Spec};

/// The rows.
pub const COMMANDS: &[Command] = &[Command::admin(
    debug,
    Spec::new("debug", Group::Server, AtLeast(2))
        .admin()
        .noscript()
        .loading()
        .stale()
        .protected()
        .all_shards()
        .rewritten()
        .since("1.0.0"),
)];

/// What DEBUG PROTOCOL answers for a double; clients' tests expect these digits.
#[expect(clippy::approx_constant, reason = "it is not meant as pi")]
const DOUBLE_SHOWN: f64 = 3.141;

struct Sub {
    name: &'static str,
    /// How many words follow the name, at least and at most.
    words: (usize, usize),
    run: fn(&mut AdminCtx) -> CmdResult,
    /// What HELP says; nothing for those that are refused.
    help: Option<(&'static str, &'static str)>,
}

const fn sub(
    name: &'static str,
    words: (usize, usize),
    run: fn(&mut AdminCtx) -> CmdResult,
    help: (&'static str, &'static str),
) -> Sub {
    Sub { name, words, run, help: Some(help) }
}

/// Known, and refused: what it would change is not there.
const fn absent(name: &'static str, words: (usize, usize)) -> Sub {
    Sub { name, words, run: refuse, help: None }
}

/// DEBUG subcommands about parts that this server is not made of.
fn refuse(ax: &mut AdminCtx) -> CmdResult {
    let name = shown_to_zero(ax.cx.args.word(1)).to_ascii_uppercase();
    Err(CmdError::err(format_args!("DEBUG {name} has nothing to act on in this server")))
}

/// DEBUG REPLYBUFFER: buffers here shrink by another rule, which needs no setting.
fn replybuffer(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.ok())
}

const SUBCOMMANDS: &[Sub] = &[
    Sub { name: "help", words: (0, 0), run: show_help, help: None },
    sub("change-repl-id", (0, 0), change_repl_id, ("CHANGE-REPL-ID", "Take a new replication id.")),
    sub(
        "config-rewrite-force-all",
        (0, 0),
        rewrite_everything,
        ("CONFIG-REWRITE-FORCE-ALL", "Rewrite the configuration file with every setting."),
    ),
    sub("digest", (0, 0), digest::digest, ("DIGEST", "Sum the whole data set up.")),
    sub(
        "digest-value",
        (0, usize::MAX),
        digest::digest_value,
        ("DIGEST-VALUE [<key> ...]", "Sum each of these keys' values up."),
    ),
    sub("error", (1, 1), error, ("ERROR <text>", "Answer this error.")),
    sub("htstats", (1, 2), object::htstats, ("HTSTATS <dbid>", "Show the tables of a database.")),
    sub("htstats-key", (1, 2), object::htstats_key, ("HTSTATS-KEY <key>", "Show a value's table.")),
    sub("log", (1, 1), log, ("LOG <text>", "Write a line to the log.")),
    sub("object", (1, 2), object::object, ("OBJECT <key>", "Show how a key is stored.")),
    sub("panic", (0, 0), crash, ("PANIC", "End the process at once.")),
    sub("pause-cron", (1, 1), pause_cron, ("PAUSE-CRON (0|1)", "Halt background work.")),
    sub(
        "populate",
        (1, 3),
        populate,
        ("POPULATE <count> [<prefix>] [<size>]", "Make that many keys."),
    ),
    sub("protocol", (1, 1), protocol, ("PROTOCOL <type>", "Answer a value of that type.")),
    sub("segfault", (0, 0), segfault, ("SEGFAULT", "End the process by that signal.")),
    sub(
        "set-active-expire",
        (1, 1),
        set_active_expire,
        ("SET-ACTIVE-EXPIRE (0|1)", "Look for expired keys in the background, or only when met."),
    ),
    sub("sleep", (1, 1), sleep, ("SLEEP <seconds>", "Hold everything up for so long.")),
    sub(
        "aof-flush-sleep",
        (1, 1),
        |ax| {
            let us = positive(ax)?;
            ax.core.persist.journal.set_delay(us as u64);
            Ok(ax.cx.reply.ok())
        },
        ("AOF-FLUSH-SLEEP <microseconds>", "Hold up each write to the append-only file."),
    ),
    sub(
        "loadaof",
        (0, 0),
        reload::loadaof,
        ("LOADAOF", "Flush the append-only file, empty the data set and load it again."),
    ),
    sub(
        "quicklist-packed-threshold",
        (1, 1),
        reload::packed_threshold,
        ("QUICKLIST-PACKED-THRESHOLD <size>", "Give list elements of that size their own nodes."),
    ),
    sub(
        "reload",
        (0, 3),
        reload::reload,
        (
            "RELOAD [<option> ...]",
            "Save a snapshot, empty the data set and load it again. Options: MERGE, NOFLUSH, NOSAVE.",
        ),
    ),
    sub(
        "replicate",
        (1, usize::MAX),
        replicate,
        ("REPLICATE <command> [<arg> ...]", "Send a command to the replicas, and only to them."),
    ),
    Sub { name: "replybuffer", words: (2, 2), run: replybuffer, help: None },
    sub(
        "set-disable-deny-scripts",
        (1, 1),
        |ax| switch(ax, |debug| &debug.scripts_may_all),
        ("SET-DISABLE-DENY-SCRIPTS (0|1)", "Let scripts call what they otherwise may not."),
    ),
    sub(
        "set-skip-checksum-validation",
        (1, 1),
        |ax| switch(ax, |debug| &debug.checksums_skipped),
        ("SET-SKIP-CHECKSUM-VALIDATION (0|1)", "Let RESTORE overlook wrong checksums."),
    ),
    sub(
        "stringmatch-len",
        (2, 2),
        reload::stringmatch_len,
        ("STRINGMATCH-LEN <len> <pattern>", "Match a pattern against so many letters."),
    ),
    absent("dict-resizing", (1, 1)),
    sub(
        "mallctl",
        (1, 2),
        allocator::number,
        ("MALLCTL <key> [<value>]", "Show a number of the allocator, or set it."),
    ),
    sub(
        "mallctl-str",
        (1, 2),
        allocator::text,
        ("MALLCTL-STR <key> [<value>]", "Show a text of the allocator, or set it."),
    ),
];

/// DEBUG subcommand \[arg ...\]
fn debug(ax: &mut AdminCtx) -> CmdResult {
    let name = ax.cx.args.bytes()?;
    let left = ax.cx.args.left();
    let found = SUBCOMMANDS
        .iter()
        .find(|sub| is_word(name, sub.name) && (sub.words.0..=sub.words.1).contains(&left));
    let Some(sub) = found else {
        let name = shown_to_zero(name);
        return Err(CmdError::err(format_args!(
            "unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP."
        )));
    };
    ax.cx.record.nothing();
    (sub.run)(ax)
}

fn show_help(ax: &mut AdminCtx) -> CmdResult {
    let lines: Vec<(&str, &str)> = SUBCOMMANDS.iter().filter_map(|sub| sub.help).collect();
    Ok(help(ax.cx.reply, "DEBUG", &lines))
}

fn change_repl_id(ax: &mut AdminCtx) -> CmdResult {
    *ax.core.repl_id.lock() = crate::base::rng::hex::<40>();
    Ok(ax.cx.reply.ok())
}

/// DEBUG REPLICATE command \[arg ...\]
fn replicate(ax: &mut AdminCtx) -> CmdResult {
    let mut command = Vec::new();
    let words: Vec<&[u8]> = ax.cx.args.remaining().collect();
    encode_command(&mut command, words.into_iter());
    ax.core.persist.backlog.append_aside(&command);
    Ok(ax.cx.reply.ok())
}

fn rewrite_everything(ax: &mut AdminCtx) -> CmdResult {
    rewrite_file(ax.core, Extent::Everything)?;
    Ok(ax.cx.reply.ok())
}

fn error(ax: &mut AdminCtx) -> CmdResult {
    Err(CmdError::Text(shown(ax.cx.args.bytes()?)))
}

fn log(ax: &mut AdminCtx) -> CmdResult {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(ax.cx.args.bytes()?));
    Ok(ax.cx.reply.ok())
}

fn crash(_: &mut AdminCtx) -> CmdResult {
    tracing::error!("The process was asked to crash");
    std::process::abort();
}

fn segfault(ax: &mut AdminCtx) -> CmdResult {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSEGV);
    crash(ax)
}

fn is_on(ax: &mut AdminCtx) -> Result<bool, CmdError> {
    Ok(parse_i64(ax.cx.args.bytes()?).unwrap_or(0) != 0)
}

fn switch(ax: &mut AdminCtx, to: fn(&crate::engine::core::Debug) -> &AtomicBool) -> CmdResult {
    let on = is_on(ax)?;
    to(&ax.core.debug).store(on, Ordering::Relaxed);
    Ok(ax.cx.reply.ok())
}

fn pause_cron(ax: &mut AdminCtx) -> CmdResult {
    switch(ax, |debug| &debug.cron_paused)
}

fn set_active_expire(ax: &mut AdminCtx) -> CmdResult {
    switch(ax, |debug| &debug.active_expire)
}

/// Every shard is locked meanwhile, so whoever needs a key waits too.
fn sleep(ax: &mut AdminCtx) -> CmdResult {
    let seconds = parse_f64(ax.cx.args.bytes()?).unwrap_or(0.0);
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    std::thread::sleep(duration);
    Ok(ax.cx.reply.ok())
}

fn positive(ax: &mut AdminCtx) -> Result<usize, CmdError> {
    parse_i64(ax.cx.args.bytes()?)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| CmdError::err("value is out of range, must be positive"))
}

/// DEBUG POPULATE count \[prefix\] \[size\]: keys that exist already stay; nothing is logged.
fn populate(ax: &mut AdminCtx) -> CmdResult {
    let count = positive(ax)?;
    let prefix = ax.cx.args.bytes().unwrap_or(b"key");
    let size = match ax.cx.args.is_done() {
        true => 0,
        false => positive(ax)?,
    };
    for index in 0..count {
        let key = [prefix, format!(":{index}").as_bytes()].concat();
        if ax.cx.db.contains(&key) {
            continue;
        }
        let mut value = format!("value:{index}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        let mut entry = Entry::new(&key, New::Bytes(&value), None);
        entry.set_access(ax.cx.now.secs() as u32);
        debug_assert_eq!(entry.key(), &key);
        ax.cx.db.insert_loaded(entry);
    }
    Ok(ax.cx.reply.ok())
}

/// DEBUG PROTOCOL type
fn protocol(ax: &mut AdminCtx) -> CmdResult {
    let name = ax.cx.args.option()?;
    let reply = &mut *ax.cx.reply;
    let numbers = |reply: &mut Reply| (0..3).for_each(|number| drop(reply.int(number)));
    Ok(match name.as_str() {
        "string" => reply.bulk(b"Hello World"),
        "integer" => reply.int(12345),
        "double" => reply.double(DOUBLE_SHOWN),
        "null" => reply.null(),
        "array" => {
            reply.array(3);
            numbers(reply);
            reply.done()
        }
        "set" => {
            reply.set(3);
            numbers(reply);
            reply.done()
        }
        "map" => {
            reply.map(3);
            for number in 0..3 {
                let _ = reply.int(number);
                let _ = reply.bool(number == 1);
            }
            reply.done()
        }
        "attrib" => {
            if reply.is_resp3() {
                reply.attribute(1);
                let _ = reply.bulk(b"key-popularity");
                reply.array(2);
                let _ = reply.bulk(b"key:123");
                let _ = reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute")
        }
        "push" => {
            if !reply.is_resp3() {
                return Err(CmdError::err("RESP2 not supported by this command"));
            }
            reply.push(2);
            let _ = reply.bulk(b"server-cpu-usage");
            let _ = reply.int(42);
            reply.bulk(b"Some real reply following the push reply")
        }
        "verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        "true" => reply.bool(true),
        "false" => reply.bool(false),
        "bignum" => reply.big_number("1234567999999999999999999999999999999"),
        _ => {
            return Err(CmdError::err(
                "Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;
    use crate::config::{Config, Permission};

    const WRONG_MALLCTL: &str = "-ERR unknown subcommand or wrong number of arguments for \
                                 'mallctl'. Try DEBUG HELP.|";

    fn house() -> House {
        House::with(Config { enable_debug_command: Permission::Yes, ..Config::default() })
    }

    #[test]
    fn debug_needs_permission() {
        let mut house = House::new();
        assert_eq!(
            house.run("debug sleep 0"),
            "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \
             \"local\", you can run it from a local connection, otherwise you need to set this \
             option in the configuration file, and then restart the server.|"
        );
        let local = Config { enable_debug_command: Permission::Local, ..Config::default() };
        assert_eq!(House::with(local).run("debug sleep 0"), "+OK|");
    }

    #[test]
    fn subcommands_answer_and_leave_no_record() {
        let mut house = house();
        for (line, answer) in [
            ("debug populate 3 k 10", "+OK|"),
            ("get k:2", "$10|value:2\0\0\0|"),
            ("dbsize", ":3|"),
            ("debug set-active-expire 0", "+OK|"),
            ("debug error 'CODE text'", "-CODE text|"),
            ("debug protocol double", "$5|3.141|"),
            ("debug object none", "-ERR no such key|"),
            ("debug error \"\\xff\\x00\\xfe b\"", "-\u{fffd}\0\u{fffd} b|"),
            ("debug mallctl-str opt.dss", "$9|secondary|"),
            ("debug mallctl-str thread.tcache.flush VOID", "+OK|"),
            ("debug mallctl nonsense", "-ERR No such file or directory|"),
            ("debug mallctl opt.narenas 5", "-ERR Operation not permitted|"),
            ("debug mallctl arenas.page 5 5", WRONG_MALLCTL),
            (
                "debug nonsense",
                "-ERR unknown subcommand or wrong number of arguments for 'nonsense'. Try DEBUG HELP.|",
            ),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("debug object k:0").contains(" encoding:embstr serializedlength:"));
        assert_eq!(house.log(), Vec::<String>::new());
    }

    #[test]
    fn digests_tell_contents_not_order() {
        let (mut one, mut other) = (house(), house());
        assert_eq!(one.run("debug digest"), format!("+{}|", "0".repeat(40)));
        for line in ["set a 1", "set b 2"] {
            one.run(line);
        }
        for line in ["set b 2", "set a 1"] {
            other.run(line);
        }
        assert_eq!(one.run("debug digest"), other.run("debug digest"));
        other.run("set a 2");
        assert_ne!(one.run("debug digest"), other.run("debug digest"));
        assert_eq!(one.run("debug digest-value b"), other.run("debug digest-value a"));
        assert_eq!(one.run("debug digest-value z"), format!("*1|+{}|", "0".repeat(40)));
    }
}
