//! `redis.*` as scripts and libraries see it, and chance.

use std::cell::Cell;
use std::ffi::c_int;

use crate::base::text::shown;
use crate::resp::reply::Protocol;
use crate::script::header::{Flags, checked_name};
use crate::script::library::Function;
use crate::script::machine::{Loading, with_run};
use crate::script::raw::{Kind, Native, Raise, Stack};
use crate::script::sha1_hex;

/// Effects go to the append-only file, to replicas.
const REPL_AOF: i64 = 1;
const REPL_REPLICA: i64 = 2;
const REPL_ALL: i64 = REPL_AOF | REPL_REPLICA;

const VERSION_NUMBER: f64 = 0x0007_0401 as f64;

fn put_natives(stack: Stack, natives: &[(&str, Native)]) {
    for (name, native) in natives {
        stack.push_native(*native);
        stack.set(-2, name);
    }
}

fn put_numbers(stack: Stack, numbers: &[(&str, i64)]) {
    for (name, number) in numbers {
        stack.push_number(*number as f64);
        stack.set(-2, name);
    }
}

/// What scripts and libraries that are being loaded have in common.
fn put_common(stack: Stack) {
    put_natives(stack, &[("log", log)]);
    put_numbers(
        stack,
        &[("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)],
    );
    stack.push(crate::config::REDIS_VERSION.as_bytes());
    stack.set(-2, "REDIS_VERSION");
    stack.push_number(VERSION_NUMBER);
    stack.set(-2, "REDIS_VERSION_NUM");
}

/// Pushes `redis` for scripts and functions.
pub(super) fn open(stack: Stack) {
    stack.push_table(0, 32);
    put_common(stack);
    put_natives(
        stack,
        &[
            ("call", |stack| command(stack, true)),
            ("pcall", |stack| command(stack, false)),
            ("acl_check_cmd", acl_check_cmd),
            ("error_reply", error_reply),
            ("status_reply", status_reply),
            ("sha1hex", sha1hex),
            ("setresp", setresp),
            ("set_repl", set_repl),
            ("replicate_commands", |stack| {
                stack.push_bool(true);
                Ok(1)
            }),
            ("breakpoint", |stack| {
                stack.push_bool(false);
                Ok(1)
            }),
            ("debug", |_| Ok(0)),
        ],
    );
    put_numbers(
        stack,
        &[
            ("REPL_NONE", 0),
            ("REPL_AOF", REPL_AOF),
            ("REPL_SLAVE", REPL_REPLICA),
            ("REPL_REPLICA", REPL_REPLICA),
            ("REPL_ALL", REPL_ALL),
        ],
    );
}

/// Pushes `redis` for libraries that are being loaded.
pub(super) fn open_for_libraries(stack: Stack) {
    stack.push_table(0, 16);
    put_common(stack);
    put_natives(stack, &[("register_function", register_function)]);
}

fn refused(text: &str) -> Raise {
    Raise::Table(format!("ERR {text}"))
}

/// redis.call and redis.pcall
fn command(stack: Stack, raises: bool) -> Result<c_int, Raise> {
    let outside = || refused("redis.call/pcall can only be called inside a script invocation");
    let ran = with_run(|run| run.command(stack)).ok_or_else(outside)?;
    if let Err(text) = ran {
        if raises {
            return Err(refused(text));
        }
        stack.push_error(&format!("ERR {text}"));
        return Ok(1);
    }
    match raises && ran == Ok(true) {
        true => Err(Raise::Top),
        false => Ok(1),
    }
}

/// redis.acl_check_cmd(command [, ...])
fn acl_check_cmd(stack: Stack) -> Result<c_int, Raise> {
    let invalid = || refused("Invalid command passed to redis.acl_check_cmd()");
    let answer = with_run(|run| run.may_call(stack)).ok_or_else(invalid)?;
    stack.push_bool(answer.map_err(refused)?.ok_or_else(invalid)?);
    Ok(1)
}

/// redis.error_reply(text); the first word is the code if there are several.
fn error_reply(stack: Stack) -> Result<c_int, Raise> {
    if stack.top() != 1 || stack.kind(1) != Kind::String {
        stack.push_error("ERR wrong number or type of arguments");
        return Ok(1);
    }
    let text = shown(stack.want_text(1)?);
    let text = text.strip_prefix('-').unwrap_or(&text);
    let (code, message) = text.split_once(' ').unwrap_or(("ERR", text));
    stack.push_error(&format!("{code} {}", message.trim_matches(['\r', '\n'])));
    Ok(1)
}

/// redis.status_reply(text)
fn status_reply(stack: Stack) -> Result<c_int, Raise> {
    if stack.top() != 1 || stack.kind(1) != Kind::String {
        stack.push_error("ERR wrong number or type of arguments");
        return Ok(1);
    }
    stack.push_table(0, 1);
    stack.push_value(1);
    stack.set(-2, "ok");
    Ok(1)
}

/// redis.sha1hex(text)
fn sha1hex(stack: Stack) -> Result<c_int, Raise> {
    if stack.top() != 1 {
        return Err(refused("wrong number of arguments"));
    }
    let text = stack.text(1).unwrap_or_default();
    stack.push(&sha1_hex(text));
    Ok(1)
}

/// redis.setresp(version)
fn setresp(stack: Stack) -> Result<c_int, Raise> {
    if stack.top() != 1 {
        return Err(refused("redis.setresp() requires one argument."));
    }
    let protocol = match stack.number(1).unwrap_or_default() as i64 {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => return Err(refused("RESP version must be 2 or 3.")),
    };
    with_run(|run| run.protocol = protocol);
    Ok(0)
}

/// redis.set_repl(where)
fn set_repl(stack: Stack) -> Result<c_int, Raise> {
    if stack.top() != 1 {
        return Err(refused("redis.set_repl() requires one argument."));
    }
    let wanted = stack.number(1).unwrap_or_default() as i64;
    if wanted & !REPL_ALL != 0 {
        return Err(refused(
            "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ));
    }
    with_run(|run| run.host.set_recorded(wanted != 0));
    Ok(0)
}

/// redis.log(level, text [, ...])
fn log(stack: Stack) -> Result<c_int, Raise> {
    let count = stack.top();
    if count < 2 {
        return Err(refused("redis.log() requires two arguments or more."));
    }
    if stack.number(1).is_none() {
        return Err(refused("First argument must be a number (log level)."));
    }
    let level = stack.number(1).unwrap_or_default() as i64;
    let texts = (2..=count).filter_map(|at| stack.text(at)).map(String::from_utf8_lossy);
    let text = texts.collect::<Vec<_>>().join(" ");
    match level {
        0 => tracing::trace!("{text}"),
        1 => tracing::debug!("{text}"),
        2 => tracing::info!("{text}"),
        3 => tracing::warn!("{text}"),
        _ => return Err(refused("Invalid log level.")),
    }
    Ok(0)
}

/// What redis.register_function was given: `None` where nothing was.
#[derive(Default)]
struct Registration {
    name: Option<String>,
    description: Option<Vec<u8>>,
    flags: Flags,
    /// Where the function lies on the stack.
    callback: Option<c_int>,
}

/// redis.register_function(name, function) or redis.register_function{...}
fn register_function(stack: Stack) -> Result<c_int, Raise> {
    let count = stack.top();
    if !(1..=2).contains(&count) {
        return Err(refused("wrong number of arguments to redis.register_function"));
    }
    let registration = match count {
        1 => named_arguments(stack),
        _ => two_arguments(stack),
    };
    let registration = registration.map_err(refused)?;
    let missing = |what| refused(&format!("redis.register_function must get a {what} argument"));
    let name = registration.name.ok_or_else(|| missing("function name"))?;
    let callback = registration.callback.ok_or_else(|| missing("callback"))?;
    let name = checked_name(name.as_bytes()).map_err(|text| refused(&text))?;
    let (description, flags) = (registration.description, registration.flags);
    let added = with_run(|run| match &mut run.loading {
        None => Err("redis.register_function can only be called on FUNCTION LOAD command"),
        Some(loading) if loading.has(&name) => Err("Function already exists in the library"),
        Some(loading) => {
            stack.push_value(callback);
            loading.add(Function { name, description, flags }, stack.keep());
            Ok(())
        }
    });
    let outside = "redis.register_function can only be called on FUNCTION LOAD command";
    added.unwrap_or(Err(outside)).map_err(refused)?;
    Ok(0)
}

impl Loading {
    fn has(&self, name: &str) -> bool {
        self.functions.iter().any(|(function, _)| function.name.eq_ignore_ascii_case(name))
    }
}

fn two_arguments(stack: Stack) -> Result<Registration, &'static str> {
    let name =
        string(stack, 1).ok_or("first argument to redis.register_function must be a string")?;
    if stack.kind(2) != Kind::Function {
        return Err("second argument to redis.register_function must be a function");
    }
    Ok(Registration {
        name: Some(String::from_utf8_lossy(&name).into_owned()),
        callback: Some(2),
        ..Registration::default()
    })
}

fn string(stack: Stack, at: c_int) -> Option<Vec<u8>> {
    (stack.kind(at) == Kind::String).then(|| stack.text(at).unwrap_or_default().to_vec())
}

fn named_arguments(stack: Stack) -> Result<Registration, &'static str> {
    if stack.kind(1) != Kind::Table {
        return Err(
            "calling redis.register_function with a single argument is only applicable to \
                    Lua table (representing named arguments).",
        );
    }
    let mut registration = Registration::default();
    // The place of the function, which outlives the walk over the table.
    stack.push_nil();
    let callback = stack.top();
    stack.push_nil();
    while stack.next(1) {
        let key = string(stack, -2)
            .ok_or("named argument key given to redis.register_function is not a string")?;
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => {
                let name = string(stack, -1).ok_or(
                    "function_name argument given to redis.register_function must be a string",
                )?;
                registration.name = Some(String::from_utf8_lossy(&name).into_owned());
            }
            b"description" => {
                registration.description = Some(string(stack, -1).ok_or(
                    "description argument given to redis.register_function must be a string",
                )?);
            }
            b"callback" => {
                if stack.kind(-1) != Kind::Function {
                    return Err(
                        "callback argument given to redis.register_function must be a function",
                    );
                }
                stack.push_value(-1);
                stack.replace(callback);
                registration.callback = Some(callback);
            }
            b"flags" => registration.flags = flags(stack)?,
            _ => return Err("unknown argument given to redis.register_function"),
        }
        stack.pop(1);
    }
    Ok(registration)
}

/// The flags in the table on top.
fn flags(stack: Stack) -> Result<Flags, &'static str> {
    if stack.kind(-1) != Kind::Table {
        return Err("flags argument to redis.register_function must be a table representing \
                    function flags");
    }
    let mut flags = Flags::default();
    for index in 1.. {
        stack.get_index(-1, index);
        if stack.kind(-1) == Kind::Nil {
            stack.pop(1);
            break;
        }
        let name = string(stack, -1).ok_or("unknown flag given")?;
        flags = flags.with(Flags::named(&name).ok_or("unknown flag given")?);
        stack.pop(1);
    }
    Ok(flags)
}

thread_local! {
    /// 48 bits of chance.
    static CHANCE: Cell<u64> = Cell::new(crate::base::rng::below(CHANCE_BOUND));
}

const CHANCE_BOUND: u64 = 1 << 48;

/// The next number of the generator that C calls drand48: 31 bits.
fn chance() -> u32 {
    let next = CHANCE.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) % CHANCE_BOUND;
    CHANCE.set(next);
    (next >> 17) as u32
}

/// Puts `random` and `randomseed` into the table on top.
pub(super) fn put_chance(stack: Stack) {
    put_natives(stack, &[("random", random), ("randomseed", randomseed)]);
}

/// math.random([low,] [high])
fn random(stack: Stack) -> Result<c_int, Raise> {
    let bound = i32::MAX as u32;
    let part = f64::from(chance() % bound) / f64::from(bound);
    let empty = |at| Raise::Argument(at, "interval is empty".to_owned());
    let number = match stack.top() {
        0 => part,
        1 => {
            let high = stack.want_integer(1, None)?;
            if high < 1 {
                return Err(empty(1));
            }
            (part * high as f64).floor() + 1.0
        }
        2 => {
            let (low, high) = (stack.want_integer(1, None)?, stack.want_integer(2, None)?);
            if low > high {
                return Err(empty(2));
            }
            (part * (high.wrapping_sub(low).wrapping_add(1)) as f64).floor() + low as f64
        }
        _ => return Err(Raise::Text("wrong number of arguments".to_owned())),
    };
    stack.push_number(number);
    Ok(1)
}

/// math.randomseed(number)
fn randomseed(stack: Stack) -> Result<c_int, Raise> {
    let seed = stack.want_integer(1, None)? as u32;
    CHANCE.set(u64::from(seed) << 16 | 0x330E);
    Ok(0)
}
