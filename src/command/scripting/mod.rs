//! EVAL and its kin.
//!
//! A script holds every shard: whatever keys it touches, nothing happens between its commands. Its
//! effects reach the journal as one unit.

mod caller;
pub mod functions;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::base::num::parse_i64;
use crate::command::help::help;
use crate::command::scripting::caller::{Caller, InUnit};
use crate::engine::command::Command;
use crate::engine::context::{AdminCtx, Ctx};
use crate::engine::core::{Attention, Core};
use crate::engine::gate;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::script::convert::Returned;
use crate::script::header::Flags as Says;
use crate::script::machine::{self, Code};
use crate::script::{Running, Script, sha1_hex};
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        eval,
        script_spec("eval", "2.6.0").may_replicate().key_spec(NUMKEYS.rw().access().update()),
    ),
    Command::admin(
        evalsha,
        script_spec("evalsha", "2.6.0").may_replicate().key_spec(NUMKEYS.rw().access().update()),
    ),
    Command::admin(
        eval_ro,
        script_spec("eval_ro", "7.0.0").reads().key_spec(NUMKEYS.ro().access()),
    ),
    Command::admin(
        evalsha_ro,
        script_spec("evalsha_ro", "7.0.0").reads().key_spec(NUMKEYS.ro().access()),
    ),
    Command::container(
        Spec::new("script", Group::Scripting, AtLeast(2)).container().since("2.6.0"),
    ),
    Command::admin(
        load,
        Spec::new("script|load", Group::Scripting, Exactly(3))
            .noscript()
            .stale()
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded")
            .since("2.6.0"),
    ),
    Command::admin(
        exists,
        Spec::new("script|exists", Group::Scripting, AtLeast(3))
            .noscript()
            .tip("request_policy:all_shards")
            .tip("response_policy:agg_logical_and")
            .since("2.6.0"),
    ),
    Command::admin(
        flush,
        Spec::new("script|flush", Group::Scripting, AtLeast(2))
            .noscript()
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded")
            .since("2.6.0"),
    ),
    Command::admin(
        script_help,
        Spec::new("script|help", Group::Scripting, Exactly(2)).loading().stale().since("5.0.0"),
    ),
    Command::admin(
        kill,
        Spec::new("script|kill", Group::Scripting, Exactly(2))
            .noscript()
            .allow_busy()
            .tip("request_policy:all_shards")
            .tip("response_policy:one_succeeded")
            .since("2.6.0"),
    ),
    Command::admin(
        script_debug,
        Spec::new("script|debug", Group::Scripting, Exactly(3)).noscript().since("3.2.0"),
    ),
];

const NUMKEYS: KeySpec = KeySpec::counted(2);

const fn script_spec(name: &'static str, since: &'static str) -> Spec {
    Spec::new(name, Group::Scripting, AtLeast(3))
        .noscript()
        .skip_monitor()
        .no_mandatory_keys()
        .stale()
        .movablekeys()
        .all_shards()
        .rewritten()
        .since(since)
}

/// EVAL script numkeys [key ...] [arg ...]
fn eval(cx: &mut AdminCtx) -> CmdResult {
    eval_source(cx, false)
}

/// EVAL_RO script numkeys [key ...] [arg ...]
fn eval_ro(cx: &mut AdminCtx) -> CmdResult {
    eval_source(cx, true)
}

fn eval_source(cx: &mut AdminCtx, readonly: bool) -> CmdResult {
    let source = cx.cx.args.bytes()?;
    let words = Words::read(cx)?;
    let script = kept(cx.core, source, false)?;
    run_script(cx, &script, &words, readonly)
}

/// Digits of a script's name.
const SHA_DIGITS: usize = 40;

/// EVALSHA sha1 numkeys [key ...] [arg ...]
fn evalsha(cx: &mut AdminCtx) -> CmdResult {
    eval_cached(cx, false)
}

/// EVALSHA_RO sha1 numkeys [key ...] [arg ...]
fn evalsha_ro(cx: &mut AdminCtx) -> CmdResult {
    eval_cached(cx, true)
}

fn eval_cached(cx: &mut AdminCtx, readonly: bool) -> CmdResult {
    let sha = cx.cx.args.bytes()?;
    let none = CmdError::Const("NOSCRIPT No matching script. Please use EVAL.");
    if sha.len() != SHA_DIGITS {
        return Err(none);
    }
    let words = Words::read(cx)?;
    let script = cx.core.scripts.get(sha).ok_or(none)?;
    run_script(cx, &script, &words, readonly)
}

/// The script of a source, cached once it has been compiled.
fn kept(core: &Core, source: &[u8], stays: bool) -> Result<Arc<Script>, CmdError> {
    let sha = sha1_hex(source);
    if !stays && let Some(script) = core.scripts.get(&sha) {
        return Ok(script);
    }
    let script = Script::new(sha, source).map_err(CmdError::err)?;
    machine::compile(&script, flushes(core)).map_err(CmdError::Text)?;
    Ok(core.scripts.keep(script, stays))
}

fn flushes(core: &Core) -> u64 {
    core.scripts.flushes.load(Ordering::Relaxed)
}

fn run_script(cx: &mut AdminCtx, script: &Script, words: &Words, readonly: bool) -> CmdResult {
    let (core, name) = (cx.core, String::from_utf8_lossy(&script.sha));
    let call = Call { name: &name, says: script.flags, is_function: false, readonly };
    run(cx, &Code::Script(script, flushes(core)), &call, words)
}

/// Keys and arguments.
struct Words<'a> {
    keys: Vec<&'a [u8]>,
    argv: Vec<&'a [u8]>,
}

impl<'a> Words<'a> {
    fn read(cx: &mut AdminCtx<'a>) -> Result<Words<'a>, CmdError> {
        let count = parse_i64(cx.cx.args.bytes()?).ok_or(CmdError::NotInteger)?;
        Words::read_counted(cx, count)
    }

    fn read_counted(cx: &mut AdminCtx<'a>, count: i64) -> Result<Words<'a>, CmdError> {
        if count > cx.cx.args.left() as i64 {
            return Err(CmdError::err("Number of keys can't be greater than number of args"));
        }
        let count = usize::try_from(count)
            .map_err(|_| CmdError::err("Number of keys can't be negative"))?;
        let keys = cx.cx.args.take(count)?.collect();
        Ok(Words { keys, argv: cx.cx.args.remaining().collect() })
    }
}

/// What is called, and how.
struct Call<'c> {
    name: &'c str,
    says: Says,
    is_function: bool,
    /// EVAL_RO and its kin.
    readonly: bool,
}

/// Runs a script or function.
fn run(cx: &mut AdminCtx, code: &Code, call: &Call, words: &Words) -> CmdResult {
    prepare(cx.core, cx.session.replaying, call)?;
    let AdminCtx { cx: Ctx { args, db: view, reply, record, .. }, session, core, worker } = cx;
    let (db, core) = (session.db, *core);
    let running = Arc::new(Running::new(call.is_function, clock::steady()));
    *core.scripts.running.lock() = Some(Arc::clone(&running));
    let unit = InUnit { core, worker, session, view, record, request: args.rewound() };
    let mut host = Caller::new(unit, call, running);
    let ran = machine::run(&mut host, code, &words.keys, &words.argv, reply);
    *core.scripts.running.lock() = None;
    core.set_attention(Attention::SCRIPT_BUSY, false);
    // SELECT inside a script ends with it.
    session.db = db;
    record.begin_command(db);
    record.nothing();
    ran.map(|()| reply.done()).map_err(|Returned { text, is_counted }| match is_counted {
        true => CmdError::Counted(text),
        false => CmdError::Text(text),
    })
}

/// Why a script that says what it does cannot begin. Of one that says nothing each command is
/// looked at.
fn prepare(core: &Core, replaying: bool, call: &Call) -> Result<(), CmdError> {
    if replaying {
        return Ok(());
    }
    if core.has_attention(Attention::STALE) && !call.says.has(Says::ALLOW_STALE) {
        return Err(CmdError::Const(gate::MASTERDOWN));
    }
    if call.says.has(Says::UNKNOWN) {
        return Ok(());
    }
    if !call.says.has(Says::NO_WRITES) {
        if core.has_attention(Attention::READ_ONLY) {
            return Err(CmdError::Const(gate::READONLY));
        }
        if let Some(refusal) = disk_refusal(core) {
            return Err(refusal);
        }
        if call.readonly {
            let text = "Can not execute a script with write flag using *_ro command.";
            return Err(CmdError::err(text));
        }
        if core.has_attention(Attention::REPLICAS_WANTED) {
            return Err(CmdError::Const(gate::NOREPLICAS));
        }
        if core.has_attention(Attention::OUT_OF_MEMORY) && !call.says.has(Says::ALLOW_OOM) {
            return Err(CmdError::Const(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > \
                 'maxmemory'",
            ));
        }
    }
    Ok(())
}

fn disk_refusal(core: &Core) -> Option<CmdError> {
    const BLOCKED: &str =
        "Writable scripts are blocked. Use 'no-writes' flag for read only scripts.";
    if core.has_attention(Attention::SNAPSHOT_FAILED) {
        return Some(CmdError::Text(format!(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
             persist to disk. {BLOCKED}"
        )));
    }
    if !core.has_attention(Attention::JOURNAL_FAILED) || !core.persist.journal.is_failing() {
        return None;
    }
    let failure = core.persist.journal.failure()?;
    Some(CmdError::Text(format!(
        "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist \
         to disk. {BLOCKED} AOF error: {}",
        failure.cause
    )))
}

/// SCRIPT KILL and FUNCTION KILL
fn kill(cx: &mut AdminCtx) -> CmdResult {
    let for_function = cx.cx.spec.name == "function|kill";
    let running = cx.core.scripts.running.lock();
    let Some(script) = &*running else {
        return Err(CmdError::Const("NOTBUSY No scripts in execution right now."));
    };
    if script.is_function != for_function {
        drop(running);
        return Err(gate::busy(cx.core));
    }
    if script.wrote.load(Ordering::Acquire) {
        return Err(CmdError::Const(UNKILLABLE));
    }
    script.killed.store(true, Ordering::Release);
    Ok(cx.cx.reply.ok())
}

const UNKILLABLE: &str = "UNKILLABLE Sorry the script already executed write commands against the \
    dataset. You can either wait the script termination or kill the server in a hard way using the \
    SHUTDOWN NOSAVE command.";

const SCRIPT_HELP: &[(&str, &str)] = &[
    ("DEBUG (YES|SYNC|NO)", "Accepted for NO alone: there is no debugger."),
    ("EXISTS <sha1> [<sha1> ...]", "Say which scripts are cached."),
    ("FLUSH [ASYNC|SYNC]", "Forget all scripts."),
    ("KILL", "End the script that runs, if it has written nothing."),
    ("LOAD <script>", "Cache a script without running it."),
];

/// SCRIPT HELP
fn script_help(cx: &mut AdminCtx) -> CmdResult {
    Ok(help(cx.cx.reply, "SCRIPT", SCRIPT_HELP))
}

/// SCRIPT DEBUG YES | SYNC | NO
fn script_debug(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    match cx.cx.args.option()?.as_str() {
        "no" => Ok(cx.cx.reply.ok()),
        "yes" | "sync" => Err(CmdError::err("This server has no Lua debugger")),
        _ => Err(CmdError::err("Use SCRIPT DEBUG YES/SYNC/NO")),
    }
}

/// SCRIPT LOAD script
fn load(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    let script = kept(cx.core, cx.cx.args.bytes()?, true)?;
    Ok(cx.cx.reply.bulk(&script.sha))
}

/// SCRIPT EXISTS sha1 [sha1 ...]
fn exists(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    cx.cx.reply.array(cx.cx.args.left());
    for name in cx.cx.args.remaining() {
        let _ = cx.cx.reply.flag(cx.core.scripts.get(name).is_some());
    }
    Ok(cx.cx.reply.done())
}

/// SCRIPT FLUSH [ASYNC | SYNC]
fn flush(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    let _ = cx.cx.args.take_keyword("async") || cx.cx.args.take_keyword("sync");
    if !cx.cx.args.is_done() {
        return Err(CmdError::err("SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    cx.core.scripts.flush();
    Ok(cx.cx.reply.ok())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;
    use crate::config::Config;

    #[test]
    fn scripts_call_commands_and_return_values() {
        let mut house = House::new();
        for (script, answer) in [
            ("return 1", ":1|"),
            ("return 'a'", "$1|a|"),
            ("return {1, 'b', {3}, nil, 5}", "*3|:1|$1|b|*1|:3|"),
            ("return redis.status_reply('FINE')", "+FINE|"),
            ("return redis.error_reply('MY error')", "-MY error|"),
            ("return redis.call('set', KEYS[1], ARGV[1])", "+OK|"),
            ("return redis.call('get', KEYS[1])", "$1|v|"),
            ("return redis.call('get', 'absent')", "$-1|"),
            (
                "return redis.pcall('nosuch').err",
                "$44|ERR Unknown Redis command called from script|",
            ),
        ] {
            let line = format!("eval \"{script}\" 1 k v");
            assert_eq!(house.run(&line), answer, "{script}");
        }
        assert_eq!(house.log(), ["SELECT 0", "set k v"]);
    }

    #[test]
    fn script_errors_say_script_and_line() {
        let mut house = House::new();
        let error = house.run("eval \"return redis.call('get')\" 0");
        assert!(error.starts_with("-ERR Wrong number of args calling Redis command from script"));
        assert!(error.contains(", on @user_script:1."), "{error}");
        let error = house.run("eval 'return nosuch' 0");
        assert!(error.contains("nonexistent global variable 'nosuch'"), "{error}");
        assert!(house.run("eval 'x = 1' 0").contains("Attempt to modify a readonly table"));
        assert!(house.run("eval 'return {' 0").contains("Error compiling script"));
        assert!(house.run("eval 'return io' 0").contains("nonexistent global"));
        // Each of these would take the process along.
        for (script, error) in [
            ("unpack({}, 0, 2147483647)", "too many results to unpack"),
            ("unpack({}, 2147483640, 2147483647)", "too many results to unpack"),
            ("string.find('a', string.rep('a?', 300000))", "pattern too complex"),
            ("('a'):gsub(string.rep('(a)', 300000), '')", "pattern too complex"),
        ] {
            let said = house.run(&format!("eval \"return {script}\" 0"));
            assert!(said.contains(error), "{script}: {said}");
        }
        let plain = "eval \"return string.find('b', string.rep('a', 9000), 1, true) or unpack({7, 8}, 2)\" 0";
        assert_eq!(house.run(plain), ":8|");
    }

    /// Lets `script` run on a thread of its own until others hear BUSY.
    fn busy(script: &str) -> (House, std::thread::JoinHandle<String>) {
        let config = Config { busy_reply_threshold: 10, ..Config::default() };
        let mut house = House::with(config);
        let mut other = house.beside();
        let line = format!("eval \"{script}\" 0");
        let running = std::thread::spawn(move || house.run(&line));
        while !other.run("get k").starts_with("-BUSY Redis is busy running a script.") {
            std::thread::yield_now();
        }
        (other, running)
    }

    #[test]
    fn a_script_over_its_time_makes_others_hear_busy_and_can_be_killed() {
        let (mut other, running) =
            busy("while true do pcall(function() while true do redis.call('ping') end end) end");
        for (line, answer) in [
            ("ping", "-BUSY"),
            ("multi", "+OK|"),
            ("set k v", "-BUSY"),
            ("exec", "-EXECABORT Transaction discarded because of: BUSY"),
            ("shutdown", "-BUSY"),
            ("script kill", "+OK|"),
        ] {
            let got = other.run(line);
            assert!(got.starts_with(answer), "{line}: {got}");
        }
        let killed = running.join().unwrap();
        assert!(killed.starts_with("-ERR Script killed by user with SCRIPT KILL."), "{killed}");
        assert_eq!(other.run("script kill"), "-NOTBUSY No scripts in execution right now.|");
        assert_eq!(other.run("eval 'return 1' 0"), ":1|");
        assert_eq!(other.run("get k"), "$-1|");
    }

    #[test]
    fn a_script_that_has_written_goes_on_to_its_end() {
        let (mut other, running) =
            busy("redis.call('set', 'k', 'v') for i = 1, 3e7 do end return 'end'");
        assert!(other.run("script kill").starts_with("-UNKILLABLE Sorry the script already"));
        assert_eq!(running.join().unwrap(), "$3|end|");
        assert_eq!(other.run("get k"), "$1|v|");
    }

    #[test]
    fn cached_scripts_run_by_their_name() {
        let mut house = House::new();
        let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert!(house.run(&format!("evalsha {sha} 0")).starts_with("-NOSCRIPT"));
        let negative = "-ERR Number of keys can't be negative|";
        assert_eq!(house.run(&format!("evalsha {sha} -1")), negative);
        assert!(house.run("evalsha short -1").starts_with("-NOSCRIPT"));
        assert_eq!(house.run("eval 'return 1' -1"), negative);
        assert_eq!(house.run(&format!("script exists {sha}")), "*1|:0|");
        assert_eq!(house.run("script load 'return 1'"), format!("$40|{sha}|"));
        assert_eq!(house.run(&format!("evalsha {sha} 0")), ":1|");
        assert_eq!(house.run(&format!("script exists {sha} abc")), "*2|:1|:0|");
    }

    #[test]
    fn libraries_of_lua_do_what_scripts_expect() {
        let mut house = House::new();
        for (script, answer) in [
            ("cjson.encode({1, 'a/b', cjson.null, {x=0.1}})", r#"$25|[1,"a\/b",null,{"x":0.1}]|"#),
            ("cjson.decode('[1, [2, {}]]')", "*2|:1|*2|:2|*0|"),
            ("#cmsgpack.pack({1, 'abc', {a=1}}, 300)", ":13|"),
            ("{cmsgpack.unpack(cmsgpack.pack(-5, 'x', {1, 2}))}", "*3|:-5|$1|x|*2|:1|:2|"),
            ("{struct.unpack('>I2s', struct.pack('>I2s', 258, 'abc'))}", "*3|:258|$3|abc|:7|"),
            (
                "{bit.band(0xff, 0x0f), bit.rol(1, 31), bit.bswap(1)}",
                "*3|:15|:-2147483648|:16777216|",
            ),
            ("bit.tohex(-1, -4)", "$4|FFFF|"),
        ] {
            assert_eq!(house.run(&format!("eval \"return {script}\" 0")), answer, "{script}");
        }
        for (script, error) in [
            ("cjson.encode({[1]=1, [100]=1})", "excessively sparse array"),
            ("cjson.decode(string.rep('[', 5000))", "too many nested data structures"),
            ("cmsgpack.unpack(string.rep(string.char(0x91), 90000))", "stack overflow"),
            ("cmsgpack.unpack(string.char(0xdd, 255, 255, 255, 255))", "Missing bytes in input"),
            ("struct.unpack('c2147483647', 'x')", "data string too short"),
            ("struct.pack('i33', 1)", "integral size 33 is larger than limit of 32"),
        ] {
            let said = house.run(&format!("eval \"return {script}\" 0"));
            assert!(said.contains(error), "{script}: {said}");
        }
    }

    #[test]
    fn no_script_changes_what_others_see() {
        let mut house = House::new();
        for attempt in [
            "redis = 1",
            "redis.call = 1",
            "_G.x = 1",
            "KEYS = {}",
            "rawset(_G, 'x', 1)",
            "rawset(redis, 'call', 1)",
            "setmetatable(_G, {})",
            "setmetatable(cjson, {})",
            "getmetatable(_G).__index = {}",
            "table.insert(redis, 1)",
            "table.sort(bit)",
            "string.rep = 1",
            "local next, t = pairs(redis); t.call = 1",
            "for _, library in pairs(_G) do if type(library) == 'table' then library.x = 1 end end",
        ] {
            let said = house.run(&format!("eval \"{attempt}\" 0"));
            assert!(said.contains("Attempt to modify a readonly table"), "{attempt}: {said}");
        }
        for absent in
            ["io", "print", "require", "debug", "dofile", "getfenv", "newproxy", "package"]
        {
            let said = house.run(&format!("eval \"return {absent}\" 0"));
            assert!(said.contains("nonexistent global variable"), "{absent}: {said}");
        }
        let bytecode = "eval \"return loadstring(string.dump(function() return 1 end))()\" 0";
        assert!(house.run(bytecode).contains("attempt to call a nil value"));
        assert_eq!(house.run("eval \"return getmetatable('')\" 0"), "$-1|");
        let names = "eval \"local n = 0 for _ in pairs(redis) do n = n + 1 end return n > 20\" 0";
        assert_eq!(house.run(names), ":1|");
    }

    #[test]
    fn flags_of_a_script_are_enforced() {
        let mut house = House::new();
        for (line, answer) in [
            (
                r##"eval "#!lua flags=no-writes\nreturn redis.call('set','k','v')" 0"##,
                "-ERR Write commands are not allowed from read-only scripts. script: ",
            ),
            (
                r##"eval_ro "#!lua\nreturn 1" 0"##,
                "-ERR Can not execute a script with write flag using *_ro command.|",
            ),
            (
                r##"eval "#!lua flags=what\nreturn 1" 0"##,
                "-ERR Unexpected flag in script shebang: what|",
            ),
            (r##"eval "#!perl\nreturn 1" 0"##, "-ERR Unexpected engine in script shebang: #!perl|"),
            (r##"eval "#!lua flags=no-writes,allow-oom\nreturn 2" 0"##, ":2|"),
            (
                r##"eval "redis.set_repl(redis.REPL_NONE) redis.call('set','a','1') redis.set_repl(redis.REPL_ALL) return redis.call('set','b','2')" 0"##,
                "+OK|",
            ),
        ] {
            let said = house.run(line);
            assert!(said.starts_with(answer), "{line}: {said}");
        }
        assert_eq!(house.log(), ["SELECT 0", "set b 2"]);
    }

    #[test]
    fn functions_are_loaded_called_listed_and_carried_over() {
        let mut house = House::new();
        let code = "#!lua name=lib\\nlocal function twice(n) return 2 * n end\\n\
            redis.register_function('f', function(keys, args) return twice(args[1]) end)\\n\
            redis.register_function{function_name='g', flags={'no-writes'}, \
            callback=function(keys) return redis.call('get', keys[1]) end}";
        assert_eq!(house.run(&format!("function load \"{code}\"")), "$3|lib|");
        let again = house.run(&format!("function load \"{code}\""));
        assert_eq!(again, "-ERR Library 'lib' already exists|");
        for (line, answer) in [
            ("fcall F 0 21", ":42|"),
            ("set k v", "+OK|"),
            ("fcall_ro g 1 k", "$1|v|"),
            ("fcall nosuch 0", "-ERR Function not found|"),
            ("fcall f x", "-ERR Bad number of keys provided|"),
            (
                "fcall_ro f 0 1",
                "-ERR Can not execute a script with write flag using *_ro command.|",
            ),
            ("function list libraryname nosuch*", "*0|"),
            ("function delete nosuch", "-ERR Library not found|"),
            ("function load nothing", "-ERR Missing library metadata|"),
            ("function restore nothing", "-ERR DUMP payload version or checksum are wrong|"),
            ("function kill", "-NOTBUSY No scripts in execution right now.|"),
            ("function flush", "+OK|"),
            ("fcall f 0 1", "-ERR Function not found|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        let log = house.log();
        assert!(log[1].starts_with("function load #!lua name=lib"), "{log:?}");
        assert_eq!(log.last().map(String::as_str), Some("function flush"));
    }

    #[test]
    fn libraries_that_cannot_be_loaded_say_why_and_leave_nothing() {
        let mut house = House::new();
        for (code, error) in [
            ("return 1", "No functions registered"),
            ("x = 1", "Attempt to modify a readonly table"),
            ("return redis.call('ping')", "nonexistent global variable 'call'"),
            ("return math", "nonexistent global variable 'math'"),
            ("(", "Error compiling function"),
            ("redis.register_function('f', 1)", "second argument to redis.register_function must"),
            ("while true do end", "FUNCTION LOAD timeout"),
        ] {
            let said = house.run(&format!("function load \"#!lua name=lib\\n{code}\""));
            assert!(said.starts_with("-ERR ") && said.contains(error), "{code}: {said}");
        }
        assert_eq!(house.run("function list"), "*0|");
        let again = "#!lua name=lib\\nlocal api = redis redis.register_function('f', function() \
            api.register_function('g', function() end) end)";
        assert_eq!(house.run(&format!("function load \"{again}\"")), "$3|lib|");
        let said = house.run("fcall f 0");
        assert!(said.contains("can only be called on FUNCTION LOAD command"), "{said}");
    }
}
