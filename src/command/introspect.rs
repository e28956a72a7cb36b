//! COMMAND: what the table of commands says about itself.

use smallvec::SmallVec;

use crate::base::glob;
use crate::command::help::help;
use crate::engine::command::{Command, Row};
use crate::engine::context::AdminCtx;
use crate::engine::core::Core;
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Replied, Reply};
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::docs::{self, Argument};
use crate::spec::keys::KeysFound;
use crate::spec::{BeginSearch, Cat, FindKeys, Group, KeySpec, KeysError, Spec, keys_of};

const fn spec(name: &'static str, arity: crate::spec::Arity, since: &'static str) -> Spec {
    let spec = Spec::new(name, Group::Server, arity).loading().stale();
    spec.category(Cat::Connection).since(since)
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        everything,
        spec("command", AtLeast(1), "2.8.13").container().tip("nondeterministic_output_order"),
    ),
    Command::admin(count, spec("command|count", Exactly(2), "2.8.13")),
    Command::admin(
        docs,
        spec("command|docs", AtLeast(2), "7.0.0").tip("nondeterministic_output_order"),
    ),
    Command::admin(getkeys, spec("command|getkeys", AtLeast(3), "2.8.13")),
    Command::admin(getkeysandflags, spec("command|getkeysandflags", AtLeast(3), "7.0.0")),
    Command::admin(show_help, spec("command|help", Exactly(2), "5.0.0")),
    Command::admin(
        info,
        spec("command|info", AtLeast(2), "2.8.13").tip("nondeterministic_output_order"),
    ),
    Command::admin(
        list,
        spec("command|list", AtLeast(2), "7.0.0").tip("nondeterministic_output_order"),
    ),
];

const HELP: &[(&str, &str)] = &[
    ("(no subcommand)", "Tell all about every command."),
    ("COUNT", "Say how many commands there are."),
    ("LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]", "Name the commands."),
    ("INFO [<command-name> ...]", "Tell all about these commands, or about every one."),
    ("DOCS [<command-name> ...]", "Tell what documentation knows of these commands."),
    ("GETKEYS <full-command>", "Say which words of a call are keys."),
    ("GETKEYSANDFLAGS <full-command>", "Say the same, and how the keys are used."),
];

/// COMMAND HELP
fn show_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "COMMAND", HELP))
}

/// COMMAND COUNT
fn count(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.count(ax.core.commands.callable().count()))
}

/// COMMAND
fn everything(ax: &mut AdminCtx) -> CmdResult {
    Ok(describe_all(ax.cx.reply, ax.core))
}

/// COMMAND INFO \[command-name ...\]
fn info(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let reply = &mut *ax.cx.reply;
    if ax.cx.args.is_done() {
        return Ok(describe_all(reply, ax.core));
    }
    reply.array(ax.cx.args.left());
    for name in ax.cx.args.remaining() {
        match named(ax.core, name) {
            Some(row) => describe(reply, ax.core, row.spec().name, row),
            None => drop(reply.null_array()),
        }
    }
    Ok(reply.done())
}

/// The command of a name, `container|sub` included.
fn named<'c>(core: &'c Core, name: &[u8]) -> Option<&'c Row> {
    match name.split(|byte| *byte == b'|').collect::<Vec<_>>().as_slice() {
        [name] => core.commands.find(name),
        [container, sub] => core.commands.find_sub(core.commands.find(container)?, sub),
        _ => None,
    }
}

fn subcommands<'c>(core: &'c Core, row: &Row) -> Vec<&'c Row> {
    let mut subs: Vec<usize> = row.subs.values().copied().collect();
    subs.sort_unstable();
    subs.into_iter().map(|index| &core.commands.rows()[index]).collect()
}

fn describe_all(reply: &mut Reply, core: &Core) -> Replied {
    reply.array(core.commands.callable().count());
    for (name, row) in core.commands.callable() {
        describe(reply, core, name, row);
    }
    reply.done()
}

/// The ten elements of COMMAND INFO.
fn describe(reply: &mut Reply, core: &Core, name: &str, row: &Row) {
    let spec = row.spec();
    let range = spec.legacy_range();
    reply.array(10);
    let _ = reply.bulk(name.as_bytes());
    let _ = reply.int(spec.arity.wire());
    let flags: Vec<&str> = spec.flag_names().collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| drop(reply.simple(flag)));
    for number in [range.first, range.last, range.step] {
        let _ = reply.int(i64::from(number));
    }
    let categories: Vec<&str> = spec.categories().names().collect();
    reply.set(categories.len());
    categories.iter().for_each(|name| drop(reply.simple(&format!("@{name}"))));
    reply.set(spec.tips().len());
    spec.tips().iter().for_each(|tip| drop(reply.bulk(tip.as_bytes())));
    reply.set(spec.key_specs().len());
    spec.key_specs().iter().for_each(|spec| describe_keys(reply, spec));
    let subs = subcommands(core, row);
    reply.array(subs.len());
    subs.iter().for_each(|sub| describe(reply, core, sub.spec().name, sub));
}

fn describe_keys(reply: &mut Reply, spec: &KeySpec) {
    reply.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = spec.notes {
        let _ = reply.bulk(b"notes");
        let _ = reply.bulk(notes.as_bytes());
    }
    let _ = reply.bulk(b"flags");
    let flags: Vec<&str> = spec.flags.names().collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| drop(reply.simple(flag)));
    let _ = reply.bulk(b"begin_search");
    match spec.begin {
        BeginSearch::Index(pos) => search(reply, "index", &[("index", pos)]),
        BeginSearch::Keyword { keyword, start_from } => {
            reply.map(2);
            let _ = reply.bulk(b"type");
            let _ = reply.bulk(b"keyword");
            let _ = reply.bulk(b"spec");
            reply.map(2);
            let _ = reply.bulk(b"keyword");
            let _ = reply.bulk(keyword.as_bytes());
            let _ = reply.bulk(b"startfrom");
            let _ = reply.int(i64::from(start_from));
        }
        BeginSearch::Unknown => search(reply, "unknown", &[]),
    }
    let _ = reply.bulk(b"find_keys");
    match spec.find {
        FindKeys::Range { last, step, limit } => {
            search(reply, "range", &[("lastkey", last), ("keystep", step), ("limit", limit)]);
        }
        FindKeys::KeyNum { count, first, step } => {
            search(
                reply,
                "keynum",
                &[("keynumidx", count), ("firstkey", first), ("keystep", step)],
            );
        }
        FindKeys::Unknown => search(reply, "unknown", &[]),
    }
}

fn search(reply: &mut Reply, kind: &str, numbers: &[(&str, i32)]) {
    reply.map(2);
    let _ = reply.bulk(b"type");
    let _ = reply.bulk(kind.as_bytes());
    let _ = reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.int(i64::from(*number));
    }
}

/// COMMAND DOCS \[command-name ...\]: what is known without a manual.
fn docs(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let core = ax.core;
    let rows: Vec<(String, &Row)> = if ax.cx.args.is_done() {
        core.commands.callable().map(|(name, row)| (name.to_owned(), row)).collect()
    } else {
        let found = ax.cx.args.remaining().filter_map(|name| named(core, name));
        found.map(|row| (row.spec().name.to_owned(), row)).collect()
    };
    let reply = &mut *ax.cx.reply;
    reply.map(rows.len());
    for (name, row) in rows {
        document(reply, core, &name, row);
    }
    Ok(reply.done())
}

fn document(reply: &mut Reply, core: &Core, name: &str, row: &Row) {
    let spec = row.spec();
    let subs = subcommands(core, row);
    let doc = docs::of(spec.name);
    let arguments = docs::arguments(spec.name);
    let facts = [
        ("summary", doc.map(|doc| doc.summary)),
        ("since", Some(spec.since)),
        ("group", Some(spec.group.name())),
        ("complexity", doc.map(|doc| doc.complexity)),
        ("deprecated_since", spec.deprecated_since),
    ];
    let facts = facts.into_iter().filter_map(|(name, fact)| Some((name, fact?)));
    let deprecated = spec.deprecated_since.map(|_| "deprecated");
    let internal = docs::INTERNAL.contains(&spec.name).then_some("syscmd");
    let flag = deprecated.or(internal);
    let _ = reply.bulk(name.as_bytes());
    let more = [flag.is_some(), !arguments.is_empty(), !subs.is_empty()];
    reply.map(facts.clone().count() + more.iter().filter(|told| **told).count());
    for (name, fact) in facts {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.bulk(fact.as_bytes());
    }
    if let Some(flag) = flag {
        let _ = reply.bulk(b"doc_flags");
        reply.set(1);
        let _ = reply.simple(flag);
    }
    if !arguments.is_empty() {
        document_arguments(reply, arguments);
    }
    if !subs.is_empty() {
        let _ = reply.bulk(b"subcommands");
        reply.map(subs.len());
        subs.iter().for_each(|sub| document(reply, core, sub.spec().name, sub));
    }
}

fn document_arguments(reply: &mut Reply, arguments: &[Argument]) {
    let _ = reply.bulk(b"arguments");
    reply.array(arguments.len());
    for argument in arguments {
        let parts = !argument.arguments.is_empty();
        let shown = (!parts).then_some(&argument.name);
        let token = argument.token.as_ref().map(|token| token.to_ascii_uppercase());
        let facts = [
            ("name", Some(&argument.name)),
            ("type", Some(&argument.kind)),
            ("display_text", shown),
            ("token", token.as_ref()),
            ("since", argument.since.as_ref()),
            ("deprecated_since", argument.deprecated_since.as_ref()),
        ];
        let facts = facts.into_iter().filter_map(|(name, fact)| Some((name, fact?)));
        let flags = [
            ("optional", argument.optional),
            ("multiple", argument.multiple),
            ("multiple_token", argument.multiple_token),
        ];
        let flags = flags.into_iter().filter(|(_, holds)| *holds).map(|(flag, _)| flag);
        let flag_count = flags.clone().count();
        let more = [argument.key_spec_index.is_some(), flag_count > 0, parts];
        reply.map(facts.clone().count() + more.iter().filter(|told| **told).count());
        for (name, fact) in facts {
            let _ = reply.bulk(name.as_bytes());
            let _ = reply.bulk(fact.as_bytes());
        }
        if let Some(index) = argument.key_spec_index {
            let _ = reply.bulk(b"key_spec_index");
            let _ = reply.int(index);
        }
        if flag_count > 0 {
            let _ = reply.bulk(b"flags");
            reply.set(flag_count);
            flags.for_each(|flag| drop(reply.simple(flag)));
        }
        if parts {
            document_arguments(reply, &argument.arguments);
        }
    }
}

/// COMMAND LIST \[FILTERBY MODULE name | ACLCAT category | PATTERN pattern\]
fn list(ax: &mut AdminCtx) -> CmdResult {
    let args = &mut ax.cx.args;
    args.bytes()?;
    let rows = ax.core.commands.rows();
    let mut names: Vec<&str> = Vec::new();
    if args.is_done() {
        for (name, row) in ax.core.commands.callable() {
            names.push(name);
            names.extend(row.subs.values().map(|index| rows[*index].spec().name));
        }
    } else {
        if args.left() != 3 || !args.take_keyword("filterby") {
            return Err(CmdError::Syntax);
        }
        let (by, what) = (args.bytes()?, args.bytes()?);
        let all = rows.iter().map(Row::spec);
        if is_word(by, "module") {
            // No module is ever loaded.
        } else if is_word(by, "aclcat") {
            let category = Cat::parse(what);
            let fits = |spec: &&Spec| category.is_some_and(|cat| spec.categories().has(cat));
            names.extend(all.filter(fits).map(|spec| spec.name));
        } else if is_word(by, "pattern") {
            let fits = |spec: &&Spec| glob::matches_nocase(what, spec.name.as_bytes());
            names.extend(all.filter(fits).map(|spec| spec.name));
        } else {
            return Err(CmdError::Syntax);
        }
    }
    ax.cx.reply.array(names.len());
    names.iter().for_each(|name| drop(ax.cx.reply.bulk(name.as_bytes())));
    Ok(ax.cx.reply.done())
}

/// The words of the call that is asked about, and its keys.
fn asked<'a>(ax: &mut AdminCtx<'a>) -> Result<(Vec<&'a [u8]>, KeysFound), CmdError> {
    ax.cx.args.bytes()?;
    let words: Vec<&[u8]> = ax.cx.args.remaining().collect();
    let row = ax.core.commands.find(words[0]);
    let row = match row {
        Some(row) if !row.subs.is_empty() && words.len() > 1 => {
            ax.core.commands.find_sub(row, words[1])
        }
        row => row,
    };
    let row = row.ok_or_else(|| CmdError::err("Invalid command specified"))?;
    let short: SmallVec<[&[u8]; 16]> = words.iter().copied().collect();
    match keys_of(row.spec(), &short) {
        Ok(keys) => Ok((words, keys)),
        // A sharded channel is no key, and is told all the same.
        Err(KeysError::NoKeys) | Err(KeysError::Arity) | Err(KeysError::Invalid)
            if row.spec().key_specs().is_empty() =>
        {
            Err(CmdError::err(KeysError::NoKeys))
        }
        Err(error) => Err(CmdError::err(error)),
    }
}

/// COMMAND GETKEYS command \[arg ...\]
fn getkeys(ax: &mut AdminCtx) -> CmdResult {
    let (words, keys) = asked(ax)?;
    ax.cx.reply.array(keys.len());
    keys.iter().for_each(|key| drop(ax.cx.reply.bulk(words[key.pos as usize])));
    Ok(ax.cx.reply.done())
}

/// COMMAND GETKEYSANDFLAGS command \[arg ...\]
fn getkeysandflags(ax: &mut AdminCtx) -> CmdResult {
    let (words, keys) = asked(ax)?;
    let reply = &mut *ax.cx.reply;
    reply.array(keys.len());
    for key in &keys {
        reply.array(2);
        let _ = reply.bulk(words[key.pos as usize]);
        let flags: Vec<&str> = key.flags.names().collect();
        reply.set(flags.len());
        flags.iter().for_each(|flag| drop(reply.simple(flag)));
    }
    Ok(reply.done())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn commands_are_described_as_redis_describes_them() {
        let mut house = House::new();
        for (line, answer) in [
            (
                "command info echo nothing",
                "*2|*10|$4|echo|:2|*3|+loading|+stale|+fast|:0|:0|:0|*2|+@fast|+@connection|*0|*0|*0|*-1|",
            ),
            ("command getkeys set k v get", "*1|$1|k|"),
            ("command getkeysandflags set k v get", "*1|*2|$1|k|*3|+RW|+access|+update|"),
            ("command getkeys memory usage k", "*1|$1|k|"),
            ("command getkeys ping", "-ERR The command has no key arguments|"),
            ("command getkeys nothing x", "-ERR Invalid command specified|"),
            ("command getkeys get", "-ERR Invalid number of arguments specified for command|"),
            ("command list filterby module x", "*0|"),
            ("command list filterby pattern echo", "*1|$4|echo|"),
            ("command list x", "-ERR syntax error|"),
            ("command nonsense", "-ERR unknown subcommand 'nonsense'. Try COMMAND HELP.|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        let docs = house.run("command docs zrank");
        assert!(
            docs.starts_with("*2|$5|zrank|*10|$7|summary|$47|Tells a member's place"),
            "{docs}"
        );
        let score = "$9|withscore|$4|type|$10|pure-token|$12|display_text|$9|withscore|$5|token|";
        assert!(docs.contains(score) && docs.ends_with("$5|flags|*1|+optional|"), "{docs}");
        let debug = house.run("command docs debug");
        assert!(debug.contains("$9|doc_flags|*1|+syscmd|"), "{debug}");
        let all = house.run("command");
        assert!(all.contains("|$10|config|get|"), "subcommands are nested");
    }
}
