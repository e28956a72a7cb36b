//! FUNCTION and FCALL: libraries that stay.

use std::sync::Arc;

use super::{Call, NUMKEYS, Words, run};
use crate::base::glob;
use crate::base::num::parse_i64;
use crate::base::text::shown_to_zero;
use crate::command::help::{help, miscounted};
use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::persist::rdb::dump::{self, VerifyDump};
use crate::persist::rdb::encode;
use crate::persist::rdb::format::opcode;
use crate::persist::rdb::slice::Slice;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Reply};
use crate::script::library::{self, Libraries, Library, Patience};
use crate::script::machine::Code;
use crate::spec::Arity::{self, AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;

const fn spec(name: &'static str, arity: Arity) -> Spec {
    Spec::new(name, Group::Scripting, arity).since("7.0.0")
}

/// Commands that change the libraries. They hold all shards, so that they are recorded in the order
/// in which they take effect.
const fn changing(name: &'static str, arity: Arity) -> Spec {
    spec(name, arity)
        .writes()
        .noscript()
        .all_shards()
        .tip("request_policy:all_shards")
        .tip("response_policy:all_succeeded")
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        fcall,
        super::script_spec("fcall", "7.0.0")
            .may_replicate()
            .key_spec(NUMKEYS.rw().access().update()),
    ),
    Command::admin(
        fcall_ro,
        super::script_spec("fcall_ro", "7.0.0").reads().key_spec(NUMKEYS.ro().access()),
    ),
    Command::container(spec("function", AtLeast(2)).container()),
    Command::admin(delete, changing("function|delete", Exactly(3))),
    Command::admin(dump_all, spec("function|dump", Exactly(2)).noscript()),
    Command::admin(flush, changing("function|flush", AtLeast(2))),
    Command::admin(function_help, spec("function|help", Exactly(2)).loading().stale()),
    Command::admin(
        super::kill,
        spec("function|kill", Exactly(2))
            .noscript()
            .allow_busy()
            .tip("request_policy:all_shards")
            .tip("response_policy:one_succeeded"),
    ),
    Command::admin(
        list,
        spec("function|list", AtLeast(2)).noscript().tip("nondeterministic_output_order"),
    ),
    Command::admin(load, changing("function|load", AtLeast(3)).denyoom()),
    Command::admin(restore, changing("function|restore", AtLeast(3)).denyoom()),
    Command::admin(
        stats,
        spec("function|stats", Exactly(2))
            .noscript()
            .allow_busy()
            .tip("nondeterministic_output")
            .tip("request_policy:all_shards")
            .tip("response_policy:special"),
    ),
];

/// FCALL function numkeys [key ...] [arg ...]
fn fcall(cx: &mut AdminCtx) -> CmdResult {
    call(cx, false)
}

/// FCALL_RO function numkeys [key ...] [arg ...]
fn fcall_ro(cx: &mut AdminCtx) -> CmdResult {
    call(cx, true)
}

fn call(cx: &mut AdminCtx, readonly: bool) -> CmdResult {
    let libraries = cx.core.functions.now();
    let found = libraries.function(cx.cx.args.bytes()?);
    let (library, function) = found.ok_or_else(|| CmdError::err("Function not found"))?;
    let count = parse_i64(cx.cx.args.bytes()?);
    let count = count.ok_or_else(|| CmdError::err("Bad number of keys provided"))?;
    let words = Words::read_counted(cx, count)?;
    let call = Call { name: &function.name, says: function.flags, is_function: true, readonly };
    run(cx, &Code::Function(library, &function.name, &libraries), &call, &words)
}

/// Other libraries from now on, which the command has made.
fn change(cx: &mut AdminCtx, libraries: Libraries) {
    cx.core.functions.set(libraries);
    cx.cx.db.fx().dirty += 1;
}

fn copy(cx: &AdminCtx) -> Libraries {
    Libraries::clone(&cx.core.functions.now())
}

/// FUNCTION LOAD [REPLACE] code
fn load(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    let mut replaces = false;
    while cx.cx.args.left() > 1 {
        let word = cx.cx.args.bytes()?;
        if !word.eq_ignore_ascii_case(b"replace") {
            let word = shown_to_zero(word);
            return Err(CmdError::err(format_args!("Unknown option given: {word}")));
        }
        replaces = true;
    }
    let source: Arc<[u8]> = cx.cx.args.bytes()?.into();
    let mut libraries = copy(cx);
    let (name, _) = crate::script::header::of_library(&source).map_err(CmdError::err)?;
    if !replaces && libraries.get(&name).is_some() {
        return Err(CmdError::err(format_args!("Library '{name}' already exists")));
    }
    let patience = if cx.session.replaying { Patience::Long } else { Patience::Short };
    let library = library::load(source, patience).map_err(CmdError::err)?;
    libraries.add(library, replaces).map_err(CmdError::err)?;
    change(cx, libraries);
    Ok(cx.cx.reply.bulk(name.as_bytes()))
}

/// FUNCTION DELETE library
fn delete(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    let name = String::from_utf8_lossy(cx.cx.args.bytes()?).into_owned();
    let mut libraries = copy(cx);
    if !libraries.remove(&name) {
        return Err(CmdError::err("Library not found"));
    }
    change(cx, libraries);
    Ok(cx.cx.reply.ok())
}

/// FUNCTION FLUSH [ASYNC | SYNC]
fn flush(cx: &mut AdminCtx) -> CmdResult {
    let word = cx.cx.args.bytes()?;
    if cx.cx.args.left() > 1 {
        return Err(miscounted("FUNCTION", word));
    }
    let known = cx.cx.args.take_keyword("async") || cx.cx.args.take_keyword("sync");
    if !known && !cx.cx.args.is_done() {
        return Err(CmdError::err("FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    change(cx, Libraries::default());
    Ok(cx.cx.reply.ok())
}

/// FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]
fn list(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    let (mut pattern, mut with_code) = (None, false);
    while let Some(word) = cx.cx.args.peek() {
        if !with_code && cx.cx.args.take_keyword("withcode") {
            with_code = true;
        } else if pattern.is_none() && cx.cx.args.take_keyword("libraryname") {
            let missing = |_| CmdError::err("library name argument was not given");
            pattern = Some(cx.cx.args.bytes().map_err(missing)?);
        } else {
            let word = shown_to_zero(word);
            return Err(CmdError::err(format_args!("Unknown argument {word}")));
        }
    }
    let libraries = cx.core.functions.now();
    let shown = |library: &&Arc<Library>| {
        pattern.is_none_or(|pattern| glob::matches_nocase(pattern, library.name.as_bytes()))
    };
    let shown: Vec<&Arc<Library>> = libraries.all().filter(shown).collect();
    cx.cx.reply.array(shown.len());
    shown.into_iter().for_each(|library| tell(cx.cx.reply, library, with_code));
    Ok(cx.cx.reply.done())
}

fn tell(reply: &mut Reply, library: &Library, with_code: bool) {
    reply.map(if with_code { 4 } else { 3 });
    for word in ["library_name", &library.name, "engine", "LUA", "functions"] {
        let _ = reply.bulk(word.as_bytes());
    }
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        for word in ["name", &function.name, "description"] {
            let _ = reply.bulk(word.as_bytes());
        }
        let _ = match &function.description {
            Some(description) => reply.bulk(description),
            None => reply.null(),
        };
        let _ = reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        for flag in function.flags.names() {
            let _ = reply.simple(flag);
        }
    }
    if with_code {
        let _ = reply.bulk(b"library_code");
        let _ = reply.bulk(&library.source);
    }
}

/// FUNCTION DUMP
fn dump_all(cx: &mut AdminCtx) -> CmdResult {
    let payload = encode::functions(&cx.core.functions.sources());
    Ok(cx.cx.reply.bulk(&payload))
}

/// What FUNCTION RESTORE does with libraries that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Append,
    Replace,
    Flush,
}

/// FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE]
fn restore(cx: &mut AdminCtx) -> CmdResult {
    let word = cx.cx.args.bytes()?;
    if cx.cx.args.left() > 2 {
        return Err(miscounted("FUNCTION", word));
    }
    let payload = cx.cx.args.bytes()?;
    let policy = match cx.cx.args.is_done() {
        true => Policy::Append,
        false => match cx.cx.args.option()?.as_str() {
            "append" => Policy::Append,
            "replace" => Policy::Replace,
            "flush" => Policy::Flush,
            _ => {
                return Err(CmdError::err(
                    "Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
                ));
            }
        },
    };
    let verify = match cx.cx.db.env().checks_dumps {
        true => VerifyDump::Checksum,
        false => VerifyDump::Version,
    };
    let body = dump::body(payload, verify).map_err(CmdError::err)?;
    let patience = if cx.session.replaying { Patience::Long } else { Patience::Short };
    let mut libraries = if policy == Policy::Flush { Libraries::default() } else { copy(cx) };
    for source in sources(body)? {
        let library = library::load(source, patience).map_err(CmdError::err)?;
        let name = library.name.clone();
        if policy != Policy::Replace && libraries.get(&name).is_some() {
            return Err(CmdError::err(format_args!("Library {name} already exists")));
        }
        libraries.add(library, true).map_err(CmdError::err)?;
    }
    change(cx, libraries);
    Ok(cx.cx.reply.ok())
}

/// The sources a payload holds.
fn sources(body: &[u8]) -> Result<Vec<Arc<[u8]>>, CmdError> {
    let mut slice = Slice::new(body);
    let mut sources = Vec::new();
    while slice.left() > 0 {
        match slice.byte() {
            Ok(opcode::FUNCTION2) => {}
            Ok(opcode::FUNCTION_PRE_GA) => {
                return Err(CmdError::err("Pre-GA function format not supported"));
            }
            _ => return Err(CmdError::err("given type is not a function")),
        }
        let source = slice.string();
        let failed = |_| CmdError::err("failed loading the given functions payload");
        sources.push(Arc::from(&*source.map_err(failed)?));
    }
    Ok(sources)
}

/// FUNCTION STATS
fn stats(cx: &mut AdminCtx) -> CmdResult {
    let running = cx.core.scripts.running.lock().clone();
    let reply = &mut *cx.cx.reply;
    reply.map(2);
    let _ = reply.bulk(b"running_script");
    let told = running.as_ref().and_then(|running| running.told.lock().clone());
    match (running, told) {
        (Some(running), Some((name, words))) => {
            reply.map(3);
            let _ = reply.bulk(b"name");
            let _ = reply.bulk(name.as_bytes());
            let _ = reply.bulk(b"command");
            reply.array(words.len());
            for word in words {
                let _ = reply.bulk(&word);
            }
            let _ = reply.bulk(b"duration_ms");
            let _ = reply.int(running.began.elapsed().as_millis() as i64);
        }
        _ => {
            let _ = reply.null();
        }
    }
    let libraries = cx.core.functions.now();
    let _ = reply.bulk(b"engines");
    reply.map(1);
    let _ = reply.bulk(b"LUA");
    reply.map(2);
    let _ = reply.bulk(b"libraries_count");
    let _ = reply.int(libraries.all().len() as i64);
    let _ = reply.bulk(b"functions_count");
    Ok(reply.int(libraries.function_count() as i64))
}

const FUNCTION_HELP: &[(&str, &str)] = &[
    ("DELETE <library>", "Remove a library and its functions."),
    ("DUMP", "Give all libraries as one payload for RESTORE."),
    ("FLUSH [ASYNC|SYNC]", "Remove all libraries."),
    ("KILL", "End the function that runs, if it has written nothing."),
    ("LIST [LIBRARYNAME <pattern>] [WITHCODE]", "Tell of the libraries and their functions."),
    ("LOAD [REPLACE] <code>", "Add the library that the code is."),
    (
        "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
        "Add the libraries of a payload; those that are there go, stay, or are replaced.",
    ),
    ("STATS", "Tell of the function that runs, and how many there are."),
];

/// FUNCTION HELP
fn function_help(cx: &mut AdminCtx) -> CmdResult {
    Ok(help(cx.cx.reply, "FUNCTION", FUNCTION_HELP))
}
