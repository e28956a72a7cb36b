//! A server without sockets and files: words in, replies out.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rekeep::base::clock::UnixMs;
use rekeep::command;
use rekeep::config::{Config, Permission};
use rekeep::engine::ahead::Known;
use rekeep::engine::client::Client;
use rekeep::engine::core::{Core, Garbage, Worker};
use rekeep::engine::session::Session;
use rekeep::engine::{blocking, dispatch, gate, tracking, transaction};
use rekeep::keyspace::effects::Env;
use rekeep::resp::args::OwnedArgs;
use rekeep::resp::reply::{Protocol, Reply};

/// Strings are no longer than this.
const STRING_BYTES_MAX: u64 = 1 << 16;
/// Enough to move keys from one to another.
const DATABASES: i32 = 2;
/// The moment everything happens at.
const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// What ends or halts the process, writes files, opens connections, or runs what does not end.
const HARMFUL: &[&str] = &[
    "bgrewriteaof",
    "bgsave",
    "debug",
    "eval",
    "eval_ro",
    "evalsha",
    "evalsha_ro",
    "failover",
    "fcall",
    "fcall_ro",
    "migrate",
    "monitor",
    "psync",
    "replicaof",
    "replconf",
    "save",
    "shutdown",
    "slaveof",
    "sync",
];
/// Commands of which some subcommands are harmful.
const HARMFUL_BELOW: &[&str] = &["config|", "function|", "script|", "debug|", "client|pause"];
/// A negative number asks these for as many elements, the same again and again.
const REPEATING: &[&str] = &["srandmember", "hrandfield", "zrandmember"];
/// What is asked for so often at most.
const REPEATS_MAX: i64 = 1000;

pub(crate) struct House {
    worker: Worker,
    core: &'static Core,
    session: Session,
    reply: Reply,
    garbage: Receiver<Garbage>,
}

thread_local! {
    static HOUSE: RefCell<House> = RefCell::new(House::new());
}

/// Lets `visit` use this thread's server, which is empty and has one client.
pub(crate) fn visit<R>(visit: impl FnOnce(&mut House) -> R) -> R {
    HOUSE.with_borrow_mut(|house| {
        let result = visit(house);
        house.tidy();
        result
    })
}

impl House {
    fn new() -> House {
        let (garbage, receiver) = channel();
        let config = Config {
            save: Vec::new(),
            databases: DATABASES,
            proto_max_bulk_len: STRING_BYTES_MAX,
            enable_debug_command: Permission::Yes,
            ..Config::default()
        };
        let core = Core::new(config, None, command::table(), garbage);
        let (session, reply) = client(core);
        House { worker: Worker::new(core), core, session, reply, garbage: receiver }
    }

    /// Makes it as if nothing had happened.
    fn tidy(&mut self) {
        self.connect();
        for db in 0..DATABASES {
            self.run(&[b"select", db.to_string().as_bytes()]);
            if self.run(&[b"dbsize"]) != b":0\r\n" {
                // FLUSHALL would make all tables anew, which takes far longer than most inputs.
                let keys = self.run(&[b"keys", b"*"]);
                bulks(&keys).into_iter().for_each(|key| drop(self.run(&[b"del", key])));
            }
        }
        self.connect();
        let users = &self.core.users;
        if users.all().len() > 1 || !users.default_account().is_unrestricted() {
            users.replace(Vec::new());
        }
        while self.garbage.try_recv().is_ok() {}
    }

    /// Another client in the place of the last one.
    pub(crate) fn connect(&mut self) {
        let core = self.core;
        if let Some(ticket) = self.session.waiting.take() {
            while blocking::give_up(core, ticket).is_err() {}
        }
        self.session.unsubscribe_all(core);
        tracking::switch_off(core, &mut self.session);
        while !transaction::unwatch(core, &mut self.session) {}
        core.clients.remove(self.session.client.id);
        (self.session, self.reply) = client(self.core);
    }

    /// Runs a command; the reply's bytes, none for a client that waits.
    pub(crate) fn run(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let args = OwnedArgs::new(words.iter().copied());
        let env = Env { now: NOW, ..self.core.env() };
        let found = gate::find(self.core, &args.args());
        let (session, reply) = (&mut self.session, &mut self.reply);
        dispatch::execute(&self.worker, &env, session, args.args(), reply, found, Known::default());
        let bytes = std::mem::take(reply.buffer());
        if self.session.waiting.is_some() {
            self.connect();
        }
        bytes
    }

    /// The same, unless the command is harmful.
    pub(crate) fn run_harmless(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let args = OwnedArgs::new(words.iter().copied());
        let name = match gate::find(self.core, &args.args()) {
            Ok(row) => row.spec().name,
            Err(_) => "",
        };
        let repeats = |word: &&[u8]| {
            let number = std::str::from_utf8(word).ok().and_then(|text| text.parse::<i64>().ok());
            number.is_some_and(|number| number < -REPEATS_MAX)
        };
        let harmful = HARMFUL.contains(&name)
            || HARMFUL_BELOW.iter().any(|begin| name.starts_with(begin))
            || REPEATING.contains(&name) && words.iter().any(repeats);
        if harmful { Vec::new() } else { self.run(words) }
    }
}

/// The elements of an array of bulk strings.
fn bulks(reply: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = reply;
    let line = |rest: &mut &[u8]| -> Option<usize> {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let number = std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()?;
        *rest = &rest[end + 2..];
        Some(number)
    };
    for _ in 0..line(&mut rest).unwrap_or(0) {
        let Some(len) = line(&mut rest) else { break };
        found.push(&rest[..len]);
        rest = &rest[len + 2..];
    }
    found
}

fn client(core: &'static Core) -> (Session, Reply) {
    let id = core.clients.next_id();
    let client = Client::new(id, "127.0.0.1:1".into(), "127.0.0.1:2".into(), 9, NOW);
    let client = Arc::new(client);
    core.clients.add(Arc::clone(&client));
    let account = Arc::clone(core.users.default_account());
    (Session::new(client, account, true), Reply::new(Protocol::Resp2))
}
