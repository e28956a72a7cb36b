//! The server as a whole: its clock, its databases emptied and exchanged.

use crate::base::clock;
use crate::base::num::parse_i64;
use crate::command::help::help;
use crate::config::{REDIS_VERSION, REKEEP_VERSION};
use crate::engine::command::Command;
use crate::engine::context::{AdminCtx, Ctx};
use crate::engine::{monitor as monitors, saving};
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::{Cat, Group, Spec};

const fn flush(name: &'static str) -> Spec {
    Spec::new(name, Group::Server, AtLeast(1))
        .writes()
        .all_shards()
        .rewritten()
        .category(Cat::Dangerous)
        .category(Cat::Keyspace)
        .tip("request_policy:all_shards")
        .tip("response_policy:all_succeeded")
        .since("1.0.0")
}

const fn module(name: &'static str, arity: crate::spec::Arity, since: &'static str) -> Spec {
    let spec = Spec::new(name, Group::Server, arity).admin().noscript();
    spec.protected().no_async_loading().since(since)
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        dbsize,
        Spec::new("dbsize", Group::Server, Exactly(1))
            .reads()
            .fast()
            .all_shards()
            .category(Cat::Keyspace)
            .tip("request_policy:all_shards")
            .tip("response_policy:agg_sum")
            .since("1.0.0"),
    ),
    Command::admin(flushall, flush("flushall")),
    Command::admin(flushdb, flush("flushdb")),
    Command::data(
        lolwut,
        Spec::new("lolwut", Group::Server, AtLeast(1)).reads().fast().since("5.0.0"),
    ),
    Command::container(Spec::new("module", Group::Server, AtLeast(2)).container().since("4.0.0")),
    Command::admin(
        module_help,
        Spec::new("module|help", Group::Server, Exactly(2)).loading().stale().since("5.0.0"),
    ),
    Command::admin(
        module_list,
        Spec::new("module|list", Group::Server, Exactly(2))
            .admin()
            .noscript()
            .tip("nondeterministic_output_order")
            .since("4.0.0"),
    ),
    Command::admin(module_load, module("module|load", AtLeast(3), "4.0.0")),
    Command::admin(module_load, module("module|loadex", AtLeast(3), "7.0.0")),
    Command::admin(module_unload, module("module|unload", Exactly(3), "4.0.0")),
    Command::admin(
        monitor,
        Spec::new("monitor", Group::Server, Exactly(1))
            .admin()
            .noscript()
            .loading()
            .stale()
            .since("1.0.0"),
    ),
    Command::admin(
        swapdb,
        Spec::new("swapdb", Group::Server, Exactly(3))
            .writes()
            .fast()
            .all_shards()
            .category(Cat::Dangerous)
            .category(Cat::Keyspace)
            .since("4.0.0"),
    ),
    Command::data(
        time,
        Spec::new("time", Group::Server, Exactly(1))
            .loading()
            .stale()
            .fast()
            .tip("nondeterministic_output")
            .since("2.6.0"),
    ),
];

/// TIME
fn time(cx: &mut Ctx) -> CmdResult {
    // Time stands still for a script.
    let micros = match cx.scripted {
        true => cx.now.0 as i64 * 1000,
        false => clock::unix_us() as i64,
    };
    cx.reply.array(2);
    let _ = cx.reply.bulk_int(micros / 1_000_000);
    Ok(cx.reply.bulk_int(micros % 1_000_000))
}

/// DBSIZE
fn dbsize(cx: &mut Ctx) -> CmdResult {
    let len = cx.db.len();
    Ok(cx.reply.count(len))
}

/// Checks the words of FLUSHALL and FLUSHDB. Memory is freed by another thread in any case.
fn flush_words(cx: &mut Ctx) -> Result<(), CmdError> {
    let known = match cx.args.peek() {
        None => true,
        Some(word) => is_word(word, "async") || is_word(word, "sync"),
    };
    if !known || cx.args.left() > 1 {
        return Err(CmdError::Syntax);
    }
    Ok(())
}

/// Empties databases as one change, which the journal learns of even if there was nothing.
fn empty(cx: &mut Ctx, databases: impl Iterator<Item = u32>) -> CmdResult {
    let removed: usize = databases.map(|db| cx.db.on_db(db, |db| db.flush())).sum();
    cx.db.fx().dirty += removed as u64;
    let words: Vec<&[u8]> = cx.args.words().collect();
    cx.record.instead(&words);
    Ok(cx.reply.ok())
}

/// FLUSHALL \[ASYNC | SYNC\]
fn flushall(ax: &mut AdminCtx) -> CmdResult {
    flush_words(&mut ax.cx)?;
    let databases = u32::try_from(ax.core.config.load().databases).unwrap_or(0);
    let done = empty(&mut ax.cx, 0..databases)?;
    let in_transaction = !ax.cx.may_block;
    if saving::after_flush(ax.core, ax.cx.db.hold(), in_transaction) {
        ax.cx.db.fx().dirty = 0;
    }
    Ok(done)
}

/// FLUSHDB \[ASYNC | SYNC\]
fn flushdb(ax: &mut AdminCtx) -> CmdResult {
    flush_words(&mut ax.cx)?;
    let db = ax.cx.db.index();
    empty(&mut ax.cx, std::iter::once(db))
}

/// SWAPDB index1 index2
fn swapdb(ax: &mut AdminCtx) -> CmdResult {
    let (first, second) = (ax.cx.args.bytes()?, ax.cx.args.bytes()?);
    let databases = i64::from(ax.core.config.load().databases);
    let index = |word: &[u8], which: &str| {
        let number = parse_i64(word).filter(|number| i32::try_from(*number).is_ok());
        number.ok_or_else(|| CmdError::err(format_args!("invalid {which} DB index")))
    };
    let (first, second) = (index(first, "first")?, index(second, "second")?);
    let within = |index: i64| {
        u32::try_from(index).ok().filter(|_| index < databases).ok_or(CmdError::DbIndex)
    };
    let (first, second) = (within(first)?, within(second)?);
    if first != second {
        ax.cx.db.swap(first, second);
    }
    ax.cx.db.fx().dirty += 1;
    Ok(ax.cx.reply.ok())
}

/// MONITOR
fn monitor(ax: &mut AdminCtx) -> CmdResult {
    if !ax.cx.may_block {
        return Err(CmdError::err("MONITOR isn't allowed for DENY BLOCKING client"));
    }
    monitors::join(ax.core, &ax.session.client);
    Ok(ax.cx.reply.ok())
}

const MODULE_HELP: &[(&str, &str)] = &[
    ("LIST", "Name the modules: none, ever."),
    ("LOAD <path> [<arg> ...]", "Refused: modules are native code for another server."),
    ("LOADEX <path> [<option> ...]", "Refused likewise."),
    ("UNLOAD <name>", "Refused likewise."),
];

/// MODULE HELP
fn module_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "MODULE", MODULE_HELP))
}

/// MODULE LIST
fn module_list(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.empty_array())
}

/// MODULE LOAD, LOADEX
fn module_load(_: &mut AdminCtx) -> CmdResult {
    Err(CmdError::err("Error loading the extension. Please check the server logs."))
}

/// MODULE UNLOAD
fn module_unload(_: &mut AdminCtx) -> CmdResult {
    Err(CmdError::err("Error unloading module: no such module with that name"))
}

/// LOLWUT \[VERSION version\]: the drawer that keeps things.
fn lolwut(cx: &mut Ctx) -> CmdResult {
    let text = format!(
        "  .-----------------------.\n  |  =====   (o)   =====  |\n  |-----------------------|\n  \
         |  =====   (o)   =====  |\n  '-----------------------'\n  what is put in, stays in\n\n\
         Rekeep {REKEEP_VERSION}, at your service as Redis ver. {REDIS_VERSION}\n"
    );
    Ok(cx.reply.verbatim("txt", text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn databases_are_emptied_and_exchanged() {
        let mut house = House::new();
        house.run("set a 1");
        house.run("select 1");
        house.run("set b 2");
        house.log();
        for (line, answer) in [
            ("swapdb 0 1", "+OK|"),
            ("get a", "$1|1|"),
            ("dbsize", ":1|"),
            ("swapdb x 1", "-ERR invalid first DB index|"),
            ("swapdb 1 x", "-ERR invalid second DB index|"),
            ("swapdb 0 99", "-ERR DB index is out of range|"),
            ("flushdb maybe", "-ERR syntax error|"),
            ("flushdb async", "+OK|"),
            ("dbsize", ":0|"),
            ("flushdb", "+OK|"),
            ("flushall", "+OK|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert_eq!(house.log(), ["swapdb 0 1", "flushdb async", "flushdb", "flushall"]);
        assert_eq!(house.run("info keyspace"), "$12|# Keyspace||");
    }

    #[test]
    fn monitors_see_commands_but_no_secrets() {
        let mut house = House::new();
        let other = house.connect();
        assert_eq!(house.run("monitor"), "+OK|");
        house.run_as(other, "set k 'a\"\\x01'");
        house.run_as(other, "auth secret");
        house.run_as(other, "config get x");
        house.run_as(other, "multi");
        house.run_as(other, "get k");
        house.run_as(other, "exec");
        let mail = house.mail(0);
        let seen: Vec<&str> = mail
            .split('|')
            .filter_map(|line| line.split_once("] "))
            .map(|(_, line)| line)
            .collect();
        let expected = [
            r#""set" "k" "a\"\\x01""#,
            r#""auth" "(redacted)""#,
            r#""multi""#,
            r#""get" "k""#,
            r#""exec""#,
        ];
        assert_eq!(seen, expected);
        assert_eq!(house.run("reset"), "+RESET|");
        house.mail(0);
        house.run_as(other, "get k");
        assert_eq!(house.mail(0), "");
    }

    #[test]
    fn modules_are_there_none_and_get_none() {
        let mut house = House::new();
        assert_eq!(house.run("module list"), "*0|");
        assert!(house.run("module load x").starts_with("-ERR MODULE command not allowed. If the"));
    }
}
