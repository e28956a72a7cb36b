//! The Lua machine of a thread: made when the first script comes, with the scripts it has compiled.
//!
//! A script reaches the server through [`Host`] only, for as long as it runs. Libraries that could
//! reach files or the process are not there.

#![allow(unsafe_code)] // One block: the raw function behind redis.call.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::debug::{Debug, HookTriggers};
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use crate::resp::reply::Reply;
use crate::script::convert::{to_lua, to_reply};
use crate::script::{Sha, raise, sha1_hex};

/// What a running script can ask of the server.
pub trait Host {
    /// Runs a command; its reply in RESP2.
    fn call(&mut self, words: &[Vec<u8>]) -> Vec<u8>;
    /// Whether the user may run a command; nothing when there is no such command.
    fn may_call(&mut self, words: &[Vec<u8>]) -> Option<bool>;
}

/// What a script that runs on is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// To go on.
    GoOn,
    /// To end.
    Stop,
}

/// Is asked from time to time while a script runs.
pub trait Watch {
    /// Whether it may go on.
    fn tick(&self) -> Tick;
}

/// Instructions of Lua between two ticks.
const TICK_INSTRUCTIONS: u32 = 100_000;

/// Compiled scripts a thread keeps at the most; beyond, it begins anew.
const COMPILED_MAX: usize = 1000;

struct Machine {
    lua: Lua,
    driver: Function,
    host: Table,
    compiled: HashMap<Sha, Function>,
}

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    /// Who watches the script that runs.
    static WATCH: RefCell<Option<Rc<dyn Watch>>> = const { RefCell::new(None) };
}

/// Forgets what the calling thread has compiled.
pub fn forget() {
    MACHINE.with_borrow_mut(|machine| *machine = None);
}

/// Says whether `source` is Lua; the error is the compiler's.
pub fn compile(sha: Sha, source: &[u8]) -> Result<(), String> {
    with_machine(|machine| machine.function(sha, source).map(drop))
}

/// Runs a script and encodes what it returns.
pub fn run(
    host: &mut dyn Host,
    watch: Rc<dyn Watch>,
    (sha, source): (Sha, &[u8]),
    keys: &[&[u8]],
    argv: &[&[u8]],
    reply: &mut Reply,
) -> Result<(), String> {
    with_machine(|machine| {
        let body = machine.function(sha, source)?;
        WATCH.set(Some(watch));
        let ran = machine.run(host, sha, &body, keys, argv, reply);
        WATCH.set(None);
        ran.map_err(|error| format!("ERR {error}"))
    })
}

/// What a script that was told to end raises.
const KILLED: &str = "ERR Script killed by user with SCRIPT KILL.";

/// Asks the watch. A script that has to end raises at every line from then on, so that no `pcall`
/// of its own keeps it alive.
fn tick(lua: &Lua, _: &Debug) -> mlua::Result<VmState> {
    let watch = WATCH.with_borrow(Clone::clone);
    match watch.map_or(Tick::GoOn, |watch| watch.tick()) {
        Tick::GoOn => Ok(VmState::Continue),
        Tick::Stop => {
            let stop = |_: &Lua, _: &Debug| Err(mlua::Error::runtime(KILLED));
            lua.set_hook(HookTriggers::EVERY_LINE, stop)?;
            Err(mlua::Error::runtime(KILLED))
        }
    }
}

fn watch_instructions(lua: &Lua) -> mlua::Result<()> {
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(TICK_INSTRUCTIONS), tick)
}

fn with_machine<R>(with: impl FnOnce(&mut Machine) -> Result<R, String>) -> Result<R, String> {
    MACHINE.with(|slot| {
        let Ok(mut slot) = slot.try_borrow_mut() else {
            return Err("ERR A script runs already on this thread".to_owned());
        };
        if slot.is_none() {
            *slot = Some(Machine::new().map_err(|error| format!("ERR {error}"))?);
        }
        with(slot.as_mut().expect("made above"))
    })
}

impl Machine {
    fn new() -> mlua::Result<Machine> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        // No library that loads foreign code is opened.
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let host = lua.create_table()?;
        host.set("version", crate::config::REDIS_VERSION)?;
        host.set("version_num", 0x0007_0401)?;
        let sha1hex =
            |lua: &Lua, text: mlua::LuaString| lua.create_string(sha1_hex(&text.as_bytes()));
        host.set("sha1hex", lua.create_function(sha1hex)?)?;
        host.set("log", lua.create_function(log)?)?;
        // SAFETY: the closure gets the one upvalue it reads, and keeps the stack balanced.
        let raising: Function = unsafe {
            lua.exec_raw(host.clone(), |state| {
                mlua::ffi::lua_pushcclosure(state, raise::call, 1);
            })?
        };
        host.set("raising", raising)?;
        let getinfo = lua.create_function(getinfo)?;
        let debug = lua.create_table()?;
        debug.set("getinfo", getinfo)?;
        lua.globals().set("debug", debug)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude").into_function()?;
        // `host.call` is read at each call: it is another function for every run.
        let driver = prelude.call::<Function>(host.clone())?;
        watch_instructions(&lua)?;
        Ok(Machine { lua, driver, host, compiled: HashMap::new() })
    }

    fn function(&mut self, sha: Sha, source: &[u8]) -> Result<Function, String> {
        if let Some(function) = self.compiled.get(&sha) {
            return Ok(function.clone());
        }
        let text = source.strip_prefix(b"#!lua").map_or(source, |rest| {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            &rest[end..]
        });
        let chunk = self.lua.load(text).set_name("@user_script");
        let function =
            chunk.set_mode(mlua::chunk::ChunkMode::Text).into_function().map_err(|error| {
                format!("ERR Error compiling script (new function): {}", first_line(&error))
            })?;
        if self.compiled.len() >= COMPILED_MAX {
            self.compiled.clear();
        }
        self.compiled.insert(sha, function.clone());
        Ok(function)
    }

    fn run(
        &self,
        host: &mut dyn Host,
        sha: Sha,
        body: &Function,
        keys: &[&[u8]],
        argv: &[&[u8]],
        reply: &mut Reply,
    ) -> mlua::Result<()> {
        let globals = self.lua.globals();
        globals.raw_set("KEYS", self.strings(keys)?)?;
        globals.raw_set("ARGV", self.strings(argv)?)?;
        let lua = &self.lua;
        let host = &RefCell::new(host);
        let (ok, value): (bool, Value) = lua.scope(|scope| {
            let call = scope.create_function(move |lua, words: MultiValue| {
                let words = match command_words(&words) {
                    Ok(words) => words,
                    Err(refusal) => return error_table(lua, refusal),
                };
                let answer = host.borrow_mut().call(&words);
                match to_lua(lua, &answer) {
                    Some((value, _)) => value,
                    None => error_table(lua, "ERR the reply cannot be shown in Lua"),
                }
            })?;
            let may_call = scope.create_function(move |lua, words: MultiValue| {
                let words = match command_words(&words) {
                    Ok(words) => words,
                    Err(refusal) => return error_table(lua, refusal),
                };
                match host.borrow_mut().may_call(&words) {
                    Some(may) => Ok(Value::Boolean(may)),
                    None => error_table(lua, "ERR Invalid command passed to redis.acl_check_cmd()"),
                }
            })?;
            self.host.raw_set("may_call", may_call)?;
            self.host.raw_set("call", call)?;
            self.driver.call(body)
        })?;
        if ok {
            return to_reply(&value, reply, 0);
        }
        let Value::Table(problem) = value else { return Ok(()) };
        let text: mlua::LuaString = problem.raw_get("err")?;
        let mut line = text.to_string_lossy();
        if line.contains(KILLED) {
            watch_instructions(lua)?;
            KILLED.clone_into(&mut line);
        }
        if let Ok(Some(at)) = problem.raw_get::<Option<i64>>("line") {
            let sha = String::from_utf8_lossy(&sha);
            line = format!("{line} script: {sha}, on @user_script:{at}.");
        }
        let _ = reply.error_line(&line);
        Ok(())
    }

    fn strings(&self, words: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(words.len(), 0)?;
        for (index, word) in words.iter().enumerate() {
            table.raw_set(index + 1, self.lua.create_string(word)?)?;
        }
        Ok(table)
    }
}

fn first_line(error: &mlua::Error) -> String {
    let text = match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        error => error.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

fn error_table(lua: &Lua, text: &str) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set("err", text)?;
    Ok(Value::Table(table))
}

/// Strings and numbers as the words of a command; otherwise what is wrong with them.
fn command_words(words: &MultiValue) -> Result<Vec<Vec<u8>>, &'static str> {
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(lua_number(*number).into_bytes()),
        _ => None,
    };
    let words: Option<Vec<Vec<u8>>> = words.iter().map(word).collect();
    match words {
        None => Err("ERR Lua redis lib command arguments must be strings or integers"),
        Some(words) if words.is_empty() => {
            Err("ERR Please specify at least one argument for this redis lib call")
        }
        Some(words) => Ok(words),
    }
}

/// A number as scripts hand it to commands: integers without a point, else seventeen digits.
fn lua_number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e17 {
        return format!("{number:.0}");
    }
    let mut text = Vec::new();
    crate::base::num::format_f64(number, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// redis.log(level, message)
fn log(_: &Lua, (level, text): (i64, mlua::LuaString)) -> mlua::Result<()> {
    let text = text.to_string_lossy();
    match level {
        0 => tracing::trace!("{text}"),
        1 => tracing::debug!("{text}"),
        2 => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
    Ok(())
}

/// What the prelude needs of `debug.getinfo`: source and line of a level of the stack.
fn getinfo(lua: &Lua, (level, _): (usize, mlua::LuaString)) -> mlua::Result<Option<Table>> {
    let found = lua.inspect_stack(level, |debug| {
        let source = debug.source();
        (source.source.map(|source| source.into_owned()), debug.current_line())
    });
    let Some((source, line)) = found else { return Ok(None) };
    let table = lua.create_table()?;
    table.raw_set("source", source)?;
    table.raw_set("currentline", line)?;
    Ok(Some(table))
}
