//! EVAL and its kin.
//!
//! A script holds every shard: whatever keys it touches, nothing happens between its commands. Its
//! effects reach the journal as one unit.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acl::log::Context;
use crate::base::clock::{self, Steady};
use crate::base::num::parse_i64;
use crate::command::help::help;
use crate::engine::access;
use crate::engine::command::{Command, Row};
use crate::engine::context::AdminCtx;
use crate::engine::core::{Attention, Core, Worker};
use crate::engine::dispatch::{self, Unit};
use crate::engine::fiber;
use crate::engine::gate::{self, Refusal};
use crate::engine::monitor;
use crate::engine::record::Record;
use crate::engine::session::Session;
use crate::keyspace::view::DbView;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Protocol, Reply};
use crate::script;
use crate::script::machine::{self, Host, Tick, Watch};
use crate::script::{Running, Sha};
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::flags::Flags;
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
    Command::container(
        Spec::new("function", Group::Scripting, AtLeast(2)).container().since("7.0.0"),
    ),
    Command::admin(
        function_flush,
        Spec::new("function|flush", Group::Scripting, AtLeast(2))
            .writes()
            .noscript()
            .tip("request_policy:all_shards")
            .tip("response_policy:all_succeeded")
            .since("7.0.0"),
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    Allowed,
    Refused,
}

/// EVAL script numkeys [key ...] [arg ...]
fn eval(cx: &mut AdminCtx) -> CmdResult {
    let source: Arc<[u8]> = cx.cx.args.bytes()?.into();
    key_count(cx.cx.args)?;
    let sha = cx.core.scripts.keep(&source);
    run(cx, sha, &source, Writes::Allowed)
}

/// EVAL_RO script numkeys [key ...] [arg ...]
fn eval_ro(cx: &mut AdminCtx) -> CmdResult {
    let source: Arc<[u8]> = cx.cx.args.bytes()?.into();
    key_count(cx.cx.args)?;
    let sha = cx.core.scripts.keep(&source);
    run(cx, sha, &source, Writes::Refused)
}

/// EVALSHA sha1 numkeys [key ...] [arg ...]
fn evalsha(cx: &mut AdminCtx) -> CmdResult {
    let (sha, source) = cached(cx)?;
    run(cx, sha, &source, Writes::Allowed)
}

/// EVALSHA_RO sha1 numkeys [key ...] [arg ...]
fn evalsha_ro(cx: &mut AdminCtx) -> CmdResult {
    let (sha, source) = cached(cx)?;
    run(cx, sha, &source, Writes::Refused)
}

fn cached(cx: &mut AdminCtx) -> Result<(Sha, Arc<[u8]>), CmdError> {
    let name = cx.cx.args.bytes()?;
    if name.len() == size_of::<Sha>() {
        key_count(cx.cx.args)?;
    }
    let found = cx.core.scripts.get(name);
    found.ok_or(CmdError::Const("NOSCRIPT No matching script. Please use EVAL."))
}

/// How many of the words are keys; wrong where it stands, it is refused before the script matters.
fn key_count(mut args: Args) -> Result<usize, CmdError> {
    let count = parse_i64(args.bytes()?).ok_or(CmdError::NotInteger)?;
    if count > args.left() as i64 {
        return Err(CmdError::err("Number of keys can't be greater than number of args"));
    }
    usize::try_from(count).map_err(|_| CmdError::err("Number of keys can't be negative"))
}

fn run(cx: &mut AdminCtx, sha: Sha, source: &[u8], writes: Writes) -> CmdResult {
    let writes = if script::is_readonly(source) { Writes::Refused } else { writes };
    let count = key_count(cx.cx.args)?;
    cx.cx.args.bytes()?;
    let keys: Vec<&[u8]> = cx.cx.args.take(count)?.collect();
    let argv: Vec<&[u8]> = cx.cx.args.remaining().collect();
    let db = cx.session.db;
    let running = Arc::new(Running::default());
    let mut host = Caller {
        core: cx.core,
        worker: cx.worker,
        session: cx.session,
        view: &mut cx.cx.db,
        record: cx.cx.record,
        writes,
        running: Arc::clone(&running),
    };
    *cx.core.scripts.running.lock() = Some(Arc::clone(&running));
    let overseer = Rc::new(Overseer::new(cx.core, running, sha));
    let ran = machine::run(&mut host, overseer, (sha, source), &keys, &argv, cx.cx.reply);
    *cx.core.scripts.running.lock() = None;
    cx.core.set_attention(Attention::SCRIPT_BUSY, false);
    // SELECT inside a script ends with it.
    cx.session.db = db;
    cx.cx.record.begin_command(db);
    cx.cx.record.nothing();
    ran.map(|()| cx.cx.reply.done()).map_err(CmdError::Text)
}

/// Watches over the time of a script.
struct Overseer {
    core: &'static Core,
    running: Arc<Running>,
    sha: Sha,
    began: Steady,
    slow: Cell<bool>,
}

impl Overseer {
    fn new(core: &'static Core, running: Arc<Running>, sha: Sha) -> Overseer {
        Overseer { core, running, sha, began: clock::steady(), slow: Cell::new(false) }
    }

    fn tell_slow(&self, ms: u128) {
        tracing::warn!(
            "Slow script detected: still in execution after {ms} milliseconds. You can try killing \
             the script using the SCRIPT KILL command. Script name is: {}.",
            String::from_utf8_lossy(&self.sha)
        );
        self.core.set_attention(Attention::SCRIPT_BUSY, true);
    }
}

impl Watch for Overseer {
    fn tick(&self) -> Tick {
        let ms = self.began.elapsed().as_millis();
        let patience = u128::try_from(self.core.config.load().busy_reply_threshold).unwrap_or(0);
        if ms >= patience {
            if !self.slow.replace(true) {
                self.tell_slow(ms);
            }
            fiber::step_aside();
        }
        match self.running.killed.load(Ordering::Acquire) {
            false => Tick::GoOn,
            true => {
                tracing::info!("Lua script killed by user with SCRIPT KILL.");
                Tick::Stop
            }
        }
    }
}

/// SCRIPT KILL
fn kill(cx: &mut AdminCtx) -> CmdResult {
    let running = cx.core.scripts.running.lock();
    let Some(script) = &*running else {
        return Err(CmdError::Const("NOTBUSY No scripts in execution right now."));
    };
    if script.wrote.load(Ordering::Acquire) {
        return Err(CmdError::Const(UNKILLABLE));
    }
    script.killed.store(true, Ordering::Release);
    Ok(cx.cx.reply.ok())
}

const UNKILLABLE: &str = "UNKILLABLE Sorry the script already executed write commands against the \
    dataset. You can either wait the script termination or kill the server in a hard way using the \
    SHUTDOWN NOSAVE command.";

/// Runs the commands of a script inside its unit.
struct Caller<'c, 'v> {
    core: &'static Core,
    worker: &'c Worker,
    session: &'c mut Session,
    view: &'c mut DbView<'v>,
    record: &'c mut Record,
    writes: Writes,
    running: Arc<Running>,
}

impl Host for Caller<'_, '_> {
    fn call(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let owned = OwnedArgs::new(words.iter().map(Vec::as_slice));
        let mut reply = Reply::new(Protocol::Resp2);
        if let Err(error) = self.try_call(&owned, &mut reply) {
            reply.cut(0);
            let _ = reply.error(&error);
        }
        std::mem::take(reply.buffer())
    }

    fn may_call(&mut self, words: &[Vec<u8>]) -> Option<bool> {
        let owned = OwnedArgs::new(words.iter().map(Vec::as_slice));
        let row = gate::named(self.core, &owned.args())?;
        Some(access::check(&self.session.account, row, &owned.args()).is_ok())
    }
}

impl Caller<'_, '_> {
    /// A script runs as its client's user.
    fn refuse(&self, refusal: Refusal, row: &Row, args: &Args) -> CmdError {
        let Refusal::Denied(denied) = refusal else {
            return refusal.tell(self.core, self.session, row, args);
        };
        let (client, account) = (&self.session.client, &self.session.account);
        access::log(self.core, client, account, (row, args), denied, Context::Lua);
        self.worker.stats.commands[row.index].rejected.add(1);
        let sentence = access::sentence(&account.shown(), row, args, denied, false);
        CmdError::err(format_args!("ACL failure in script: {sentence}"))
    }

    fn try_call(&mut self, owned: &OwnedArgs, reply: &mut Reply) -> Result<(), CmdError> {
        let args = owned.args();
        let row = gate::find(self.core, &args).map_err(|error| match error {
            CmdError::Arity(_) => {
                CmdError::err("Wrong number of args calling Redis command from script")
            }
            _ => CmdError::err("Unknown Redis command called from script"),
        })?;
        let may_all = &self.core.debug.scripts_may_all;
        if row.spec().flags.has(Flags::NOSCRIPT) && !may_all.load(Ordering::Relaxed) {
            return Err(CmdError::err("This Redis command is not allowed from script"));
        }
        let changes = Flags::WRITE.with(Flags::MAY_REPLICATE);
        if self.writes == Writes::Refused && row.spec().flags.has_any(changes) {
            return Err(CmdError::err("Write commands are not allowed from read-only scripts."));
        }
        let multi = self.session.multi.take();
        let checked = gate::check_inside(self.core, self.session, row, &args, Protocol::Resp3);
        self.session.multi = multi;
        checked.map_err(|refusal| self.refuse(refusal, row, &args))?;
        let (hold, env, fx) = self.view.parts();
        let mut unit = Unit {
            worker: self.worker,
            hold,
            env,
            fx,
            record: self.record,
            may_block: false,
            hash: None,
        };
        if row.spec().flags.has(Flags::WRITE) {
            self.running.wrote.store(true, Ordering::Release);
        }
        let db = self.session.db;
        // The clock tells where the command before ended: here that is where this one begins, and
        // the script as a whole goes on counting from its own.
        let began = self.worker.clock.replace(clock::steady());
        let _ = dispatch::run(&mut unit, Some(&mut *self.session), db, row, args, reply);
        self.worker.clock.set(began);
        if self.core.has_attention(Attention::MONITORED) {
            monitor::feed(self.core, "lua", self.session.db, row, &args);
        }
        Ok(())
    }
}

const SCRIPT_HELP: &[(&str, &str)] = &[
    ("EXISTS <sha1> [<sha1> ...]", "Say which scripts are cached."),
    ("FLUSH [ASYNC|SYNC]", "Forget all scripts."),
    ("KILL", "End the script that runs, if it has written nothing."),
    ("LOAD <script>", "Cache a script without running it."),
];

/// SCRIPT HELP
fn script_help(cx: &mut AdminCtx) -> CmdResult {
    Ok(help(cx.cx.reply, "SCRIPT", SCRIPT_HELP))
}

/// SCRIPT LOAD script
fn load(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    let source = cx.cx.args.bytes()?;
    machine::compile(crate::script::sha1_hex(source), source).map_err(CmdError::Text)?;
    let sha = cx.core.scripts.keep(source);
    Ok(cx.cx.reply.bulk(&sha))
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
    machine::forget();
    Ok(cx.cx.reply.ok())
}

/// FUNCTION FLUSH [ASYNC | SYNC]: forgets the libraries that files have brought.
fn function_flush(cx: &mut AdminCtx) -> CmdResult {
    cx.cx.args.bytes()?;
    let _ = cx.cx.args.take_keyword("async") || cx.cx.args.take_keyword("sync");
    if !cx.cx.args.is_done() {
        return Err(CmdError::err("FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    cx.core.persist.functions.lock().clear();
    cx.cx.db.fx().dirty += 1;
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
}
