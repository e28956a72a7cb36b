//! The Lua machine of a thread: made when the first script comes, with what it has compiled.
//!
//! A script reaches the server through [`Host`] only, for as long as it runs. Libraries that could
//! reach files or the process are not there.

#![allow(unsafe_code)] // The host of the running script is found through a thread-local pointer.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};

use mlua::{Lua, LuaOptions, StdLib};

use crate::base::text::{shown, shown_to_zero};
use crate::resp::args::{Args, Span};
use crate::resp::reply::{Protocol, Reply};
use crate::script::convert::{Returned, answer, error_on_top, push_reply};
use crate::script::library::{Function, Libraries, Library, Loader, Patience};
use crate::script::raw::{GLOBALS, Kept, Kind, Raise, Stack};
use crate::script::{Script, Sha, api, bit, cjson, cmsgpack, guard, structs};

/// What a running script can ask of the server.
pub trait Host {
    /// Runs a command; its reply comes in the protocol of `reply`.
    fn call(&mut self, args: &Args<'_>, reply: &mut Reply);
    /// Whether the user may run a command; nothing when there is no such command.
    fn may_call(&mut self, args: &Args<'_>) -> Option<bool>;
    /// Whether the effects of the following commands are recorded.
    fn set_recorded(&mut self, recorded: bool);
    /// Is asked from time to time whether the script may go on.
    fn tick(&mut self) -> Tick;
}

/// What a script that runs on is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// To go on.
    GoOn,
    /// To end with this error.
    Stop(&'static str),
}

/// What is to be run.
pub enum Code<'c> {
    /// A script; and how often the cached ones were forgotten.
    Script(&'c Script, u64),
    /// A function of a library; and the libraries there are.
    Function(&'c Library, &'c str, &'c Libraries),
}

/// Compiled scripts a thread keeps at the most; beyond, it begins anew.
const COMPILED_MAX: usize = 1000;

/// Base functions of Lua that scripts have.
const BASE: &[&str] = &[
    "assert",
    "collectgarbage",
    "error",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "loadstring",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
    "_VERSION",
    "string",
    "table",
    "math",
    "coroutine",
];

/// Tables that scripts cannot change.
const LIBRARIES: &[&str] =
    &["string", "table", "math", "coroutine", "os", "bit", "cjson", "cmsgpack", "struct", "redis"];

/// Memory of all machines, bytes.
static MEMORY: AtomicI64 = AtomicI64::new(0);

/// Bytes that the machines of all threads take.
pub fn memory_bytes() -> u64 {
    u64::try_from(MEMORY.load(Ordering::Relaxed)).unwrap_or(0)
}

/// The script that runs now.
pub(super) struct Run<'h> {
    pub(super) host: &'h mut dyn Host,
    /// What `redis.setresp` has chosen.
    pub(super) protocol: Protocol,
    /// The functions a library has registered, while it is loaded.
    pub(super) loading: Option<Loading>,
    scratch: Scratch,
}

/// What a library has registered so far.
#[derive(Default)]
pub(super) struct Loading {
    pub(super) functions: Vec<(Function, Kept)>,
}

impl Loading {
    pub(super) fn add(&mut self, function: Function, callback: Kept) {
        self.functions.push((function, callback));
    }
}

/// Words and reply of the last command, kept for their memory.
#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    reply: Reply,
}

/// A scratch that has grown beyond this is not kept, bytes.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

struct Machine {
    _lua: Lua,
    stack: Stack,
    explain: Kept,
    /// The global names of scripts, and of libraries that are being loaded.
    api: Kept,
    library_api: Kept,
    /// The metatable in front of them.
    globals: Kept,
    compiled: HashMap<Sha, Kept>,
    flushes: u64,
    /// The functions of libraries, by the library's id.
    libraries: HashMap<u64, HashMap<String, Kept>>,
    scratch: Scratch,
    memory: i64,
}

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    /// The script that runs; null while it asks its host for something.
    static RUN: Cell<*mut Run<'static>> = const { Cell::new(ptr::null_mut()) };
}

/// Lets `with` use the running script; `None` when none runs, or it is in use already.
pub(super) fn with_run<R>(with: impl FnOnce(&mut Run) -> R) -> Option<R> {
    let run = RUN.replace(ptr::null_mut());
    if run.is_null() {
        return None;
    }
    // SAFETY: `protected` sets the pointer to a value on its own frame for as long as the script
    // runs, and it is away while it is in use here.
    let result = with(unsafe { &mut *run });
    RUN.set(run);
    Some(result)
}

/// Whether the running script has to end: the error.
pub(super) fn tick() -> Option<&'static str> {
    match with_run(|run| run.host.tick()) {
        Some(Tick::Stop(text)) => Some(text),
        _ => None,
    }
}

impl Run<'_> {
    /// Gathers the words of a command from the stack.
    fn gather(&mut self, stack: Stack) -> Result<(), &'static str> {
        let count = stack.top();
        if count == 0 {
            return Err("Please specify at least one argument for this redis lib call");
        }
        let Scratch { bytes, spans, .. } = &mut self.scratch;
        bytes.clear();
        spans.clear();
        for at in 1..=count {
            let from = bytes.len();
            match stack.kind(at) {
                Kind::String => bytes.extend_from_slice(stack.text(at).unwrap_or_default()),
                Kind::Number => put_number(stack.number(at).unwrap_or_default(), bytes),
                _ => return Err("Lua redis lib command arguments must be strings or integers"),
            }
            let len = (bytes.len() - from) as u32;
            spans.push(Span { at: from as u32, len });
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err("the command is too long");
        }
        Ok(())
    }

    /// Runs the command whose words are on the stack and pushes its reply; whether it is an error.
    pub(super) fn command(&mut self, stack: Stack) -> Result<bool, &'static str> {
        self.gather(stack)?;
        // As many as the stack takes may be there: the reply needs their room.
        stack.set_top(0);
        let Scratch { bytes, spans, reply } = &mut self.scratch;
        reply.cut(0);
        reply.set_protocol(self.protocol);
        self.host.call(&Args::new(bytes, spans), reply);
        let top = stack.top();
        if push_reply(stack, reply.bytes(), 0).is_none() {
            stack.set_top(top);
            return Err("the reply cannot be shown in Lua");
        }
        Ok(reply.bytes().first() == Some(&b'-'))
    }

    /// Whether the user may run the command whose words are on the stack.
    pub(super) fn may_call(&mut self, stack: Stack) -> Result<Option<bool>, &'static str> {
        self.gather(stack)?;
        Ok(self.host.may_call(&Args::new(&self.scratch.bytes, &self.scratch.spans)))
    }
}

/// Whole numbers beyond this are written like fractions: 2^62.
const INTEGER_BOUND: f64 = 4_611_686_018_427_387_904.0;

/// A number as scripts hand it to commands: integers without a point.
fn put_number(number: f64, out: &mut Vec<u8>) {
    match number.fract() == 0.0 && number.abs() < INTEGER_BOUND {
        true => out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes()),
        false => crate::base::num::format_f64(number, out),
    }
}

/// Says whether a script is Lua; the error is the compiler's.
pub fn compile(script: &Script, flushes: u64) -> Result<(), String> {
    with_machine(|machine| machine.script(script, flushes).map(drop))
}

/// Runs a script or function and answers with what it returns.
pub fn run(
    host: &mut dyn Host,
    code: &Code,
    keys: &[&[u8]],
    argv: &[&[u8]],
    reply: &mut Reply,
) -> Result<(), Returned> {
    let uncounted = |text| Returned { text, is_counted: false };
    let ran = with_machine(|machine| Ok(machine.run(host, code, keys, argv, reply)));
    ran.unwrap_or_else(|text| Err(uncounted(text)))
}

/// Lets a library register its functions.
pub(super) fn load(host: &mut dyn Host, library: &Library) -> Result<Vec<Function>, String> {
    with_machine(|machine| machine.load(host, library))
}

fn with_machine<R>(with: impl FnOnce(&mut Machine) -> Result<R, String>) -> Result<R, String> {
    MACHINE.with(|slot| {
        let Ok(mut slot) = slot.try_borrow_mut() else {
            return Err("ERR A script runs already on this thread".to_owned());
        };
        if slot.is_none() {
            *slot = Some(Machine::new().map_err(|error| format!("ERR {error}"))?);
        }
        let machine = slot.as_mut().expect("made above");
        let result = with(machine);
        machine.tell_memory();
        result
    })
}

/// Pushes a table of strings.
fn push_strings(stack: Stack, words: &[&[u8]]) {
    stack.push_table(words.len(), 0);
    for (index, word) in words.iter().enumerate() {
        stack.push(word);
        stack.set_index(-2, index as c_int + 1);
    }
}

/// What is on top of the stack after a failed call: an error table, or anything else.
fn error_text(stack: Stack) -> Returned {
    if let Some(returned) = error_on_top(stack) {
        return returned;
    }
    let text = match stack.kind(-1) {
        Kind::String | Kind::Number => {
            format!("ERR {}", shown_to_zero(stack.text(-1).unwrap_or_default()))
        }
        _ => "ERR unknown error".to_owned(),
    };
    Returned { text, is_counted: false }
}

/// Makes a table of whatever was raised, and says in it where.
fn explain(stack: Stack) -> Result<c_int, Raise> {
    stack.set_top(1);
    if stack.kind(1) != Kind::Table {
        let shown = match stack.kind(1) {
            Kind::Boolean => stack.truth(1).to_string(),
            _ => match stack.text(1) {
                Some(text) => shown_to_zero(text),
                None => stack.type_name(1).to_owned(),
            },
        };
        stack.push_error(&format!("ERR {shown}"));
        stack.replace(1);
    }
    let place = stack.place(1);
    let place = match place {
        Some(place) if place.is_native => stack.place(2).or(Some(place)),
        place => place,
    };
    if let Some(place) = place {
        stack.push(&place.source);
        stack.set(1, "source");
        stack.push_number(place.line.into());
        stack.set(1, "line");
    }
    Ok(1)
}

/// The line that tells of the error on top, which `explain` has made.
fn explained(stack: Stack, name: &str) -> Returned {
    let mut returned = error_text(stack);
    if stack.kind(-1) == Kind::Table {
        stack.get(-1, "line");
        stack.get(-2, "source");
        if let (Some(line), Some(source)) = (stack.number(-2), stack.text(-1)) {
            let source = shown(source);
            returned.text = format!("{} script: {name}, on {source}:{line}.", returned.text);
        }
        stack.pop(2);
    }
    returned
}

impl Machine {
    fn new() -> mlua::Result<Machine> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        // No function of ours unwinds, so Lua's own `pcall` will do.
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        let mut state = ptr::null_mut();
        // SAFETY: the state lives as long as `lua`, which the machine holds and no one else uses;
        // the closure leaves the stack alone.
        let stack = unsafe {
            lua.exec_raw::<()>((), |inner| state = inner)?;
            Stack::new(state)
        };
        let (api, library_api, globals) = build(stack);
        stack.push_native(explain);
        let explain = stack.keep();
        Ok(Machine {
            _lua: lua,
            stack,
            explain,
            api,
            library_api,
            globals,
            compiled: HashMap::new(),
            flushes: 0,
            libraries: HashMap::new(),
            scratch: Scratch::default(),
            memory: 0,
        })
    }

    fn tell_memory(&mut self) {
        let memory = self.stack.memory_bytes() as i64;
        MEMORY.fetch_add(memory - self.memory, Ordering::Relaxed);
        self.memory = memory;
    }

    /// A script, compiled.
    fn script(&mut self, script: &Script, flushes: u64) -> Result<Kept, String> {
        if flushes != self.flushes || self.compiled.len() >= COMPILED_MAX {
            let machine = Machine::new().map_err(|error| format!("ERR {error}"))?;
            *self = Machine { flushes, memory: self.memory, ..machine };
        }
        if let Some(kept) = self.compiled.get(&script.sha) {
            return Ok(*kept);
        }
        let body = script.source.get(script.body_at..).unwrap_or_default();
        if !self.stack.load(body, c"@user_script") {
            let text = error_text(self.stack).text;
            self.stack.pop(1);
            let text = text.trim_start_matches("ERR ");
            return Err(format!("ERR Error compiling script (new function): {text}"));
        }
        let kept = self.stack.keep();
        self.compiled.insert(script.sha, kept);
        Ok(kept)
    }

    /// A function, compiled with its library.
    fn function(
        &mut self,
        library: &Library,
        name: &str,
        libraries: &Libraries,
    ) -> Result<Kept, String> {
        if !self.libraries.contains_key(&library.id) {
            if self.libraries.len() > 2 * libraries.all().len() {
                let now: HashSet<u64> = libraries.all().map(|library| library.id).collect();
                let stack = self.stack;
                self.libraries.retain(|id, functions| {
                    let stays = now.contains(id);
                    if !stays {
                        functions.values().for_each(|kept| stack.let_go(*kept));
                    }
                    stays
                });
            }
            self.load(&mut Loader::new(Patience::Long), library)?;
        }
        let found = self.libraries.get(&library.id).and_then(|functions| functions.get(name));
        found.copied().ok_or_else(|| "ERR Function not found".to_owned())
    }

    /// Calls what lies on the stack while `run` can be reached.
    fn protected(&mut self, run: &mut Run<'_>, call: impl FnOnce(Stack) -> bool) -> bool {
        guard::watch(self.stack);
        let before = RUN.replace(ptr::from_mut(run).cast::<Run<'static>>());
        let ok = call(self.stack);
        RUN.set(before);
        ok
    }

    fn run(
        &mut self,
        host: &mut dyn Host,
        code: &Code,
        keys: &[&[u8]],
        argv: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), Returned> {
        let uncounted = |text| Returned { text, is_counted: false };
        let function = match code {
            Code::Script(script, flushes) => self.script(script, *flushes),
            Code::Function(library, name, libraries) => self.function(library, name, libraries),
        };
        let function = function.map_err(uncounted)?;
        let (stack, top) = (self.stack, self.stack.top());
        stack.push_kept(self.explain);
        stack.push_kept(function);
        let arguments = self.push_arguments(code, keys, argv);
        let scratch = std::mem::take(&mut self.scratch);
        let mut run = Run { host, protocol: Protocol::Resp2, loading: None, scratch };
        let ok = self.protected(&mut run, |stack| stack.call(arguments, 1, top + 1));
        self.scratch = run.scratch;
        if self.scratch.bytes.capacity() + self.scratch.reply.len() > SCRATCH_BYTES_MAX {
            self.scratch = Scratch::default();
        }
        let result = match ok {
            true => match error_on_top(stack) {
                Some(returned) => Err(returned),
                None => {
                    answer(stack, reply, run.protocol, 0);
                    Ok(())
                }
            },
            false => Err(match code {
                Code::Script(script, _) => explained(stack, &String::from_utf8_lossy(&script.sha)),
                Code::Function(_, name, _) => explained(stack, name),
            }),
        };
        stack.set_top(top);
        result
    }

    /// KEYS and ARGV: arguments of functions, global names of scripts. How many lie on the stack.
    fn push_arguments(&self, code: &Code, keys: &[&[u8]], argv: &[&[u8]]) -> c_int {
        let stack = self.stack;
        stack.push_kept(self.api);
        let for_script = matches!(code, Code::Script(..));
        for (name, words) in [("KEYS", keys), ("ARGV", argv)] {
            match for_script {
                true => push_strings(stack, words),
                false => stack.push_nil(),
            }
            stack.set(-2, name);
        }
        stack.pop(1);
        if for_script {
            return 0;
        }
        push_strings(stack, keys);
        push_strings(stack, argv);
        2
    }

    /// Lets the names of the table in front of which `globals` stands be others.
    fn set_names(&self, names: Kept) {
        self.stack.push_kept(self.globals);
        self.stack.push_kept(names);
        self.stack.set(-2, "__index");
        self.stack.pop(1);
    }

    fn load(&mut self, host: &mut dyn Host, library: &Library) -> Result<Vec<Function>, String> {
        let (stack, top) = (self.stack, self.stack.top());
        let body = library.source.get(library.body_at..).unwrap_or_default();
        if !stack.load(body, c"@user_function") {
            let text = error_text(stack).text;
            stack.set_top(top);
            return Err(format!("Error compiling function: {}", text.trim_start_matches("ERR ")));
        }
        let loading = Some(Loading::default());
        let scratch = Scratch::default();
        let mut run = Run { host, protocol: Protocol::Resp2, loading, scratch };
        self.set_names(self.library_api);
        let ok = self.protected(&mut run, |stack| stack.call(0, 0, 0));
        self.set_names(self.api);
        let registered = run.loading.take().unwrap_or_default().functions;
        if !ok {
            registered.iter().for_each(|(_, kept)| stack.let_go(*kept));
            let text = error_text(stack).text;
            stack.set_top(top);
            return Err(format!("Error registering functions: {text}"));
        }
        stack.set_top(top);
        let names = registered.iter().map(|(function, kept)| (function.name.clone(), *kept));
        self.libraries.insert(library.id, names.collect());
        Ok(registered.into_iter().map(|(function, _)| function).collect())
    }
}

/// Gives the table on top a metatable that raises where a name is not there.
fn demand_names(stack: Stack) {
    stack.push_table(0, 1);
    stack.push_native(guard::absent);
    stack.set(-2, "__index");
    stack.set_metatable(-2);
}

/// Makes the global names: of scripts, of libraries that are being loaded, and the metatable of the
/// read-only table in front of them.
fn build(stack: Stack) -> (Kept, Kept, Kept) {
    stack.push_table(0, 64);
    let api = stack.top();
    for name in BASE {
        stack.get(GLOBALS, name);
        stack.set(api, name);
    }
    stack.get(GLOBALS, "os");
    stack.get(-1, "clock");
    stack.push_table(0, 1);
    stack.insert(-2);
    stack.set(-2, "clock");
    stack.set(api, "os");
    stack.set_top(api);
    guard::place_all(stack, api);
    stack.get(api, "math");
    api::put_chance(stack);
    stack.pop(1);
    type Open = fn(Stack);
    let libraries: [(&str, Open); 5] = [
        ("bit", bit::open),
        ("cjson", cjson::open),
        ("cmsgpack", cmsgpack::open),
        ("struct", structs::open),
        ("redis", api::open),
    ];
    for (name, open) in libraries {
        open(stack);
        stack.set(api, name);
    }
    for name in LIBRARIES {
        stack.get(api, name);
        guard::protect(stack);
        stack.set(api, name);
    }
    stack.push(b"");
    if stack.get_metatable(-1) {
        stack.push_bool(false);
        stack.set(-2, "__metatable");
    }
    stack.set_top(api);
    demand_names(stack);
    stack.push_value(api);
    guard::protect(stack);
    stack.push_value(-1);
    stack.set(api, "_G");
    let globals = front(stack);
    stack.set_top(api);
    let api = stack.keep();
    (api, keep_library_api(stack), globals)
}

/// Puts the read-only table on top in the place of the global variables; its metatable.
fn front(stack: Stack) -> Kept {
    stack.get_metatable(-1);
    // What `getmetatable(_G)` shows.
    stack.push_table(0, 1);
    stack.push_value(-3);
    stack.set(-2, "__index");
    guard::protect(stack);
    stack.set(-2, "__metatable");
    let globals = stack.keep();
    stack.replace(GLOBALS);
    globals
}

fn keep_library_api(stack: Stack) -> Kept {
    stack.push_table(0, 1);
    api::open_for_libraries(stack);
    demand_names(stack);
    guard::protect(stack);
    stack.set(-2, "redis");
    demand_names(stack);
    stack.keep()
}
