//! A server without sockets and files for tests: a script in, a script out, a clock turned by hand.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use crate::base::clock::UnixMs;
use crate::base::words::split_words;
use crate::command;
use crate::config::Config;
use crate::engine::ahead::Known;
use crate::engine::client::Client;
use crate::engine::core::{Core, Garbage, Worker};
use crate::engine::session::Session;
use crate::engine::{dispatch, gate};
use crate::resp::args::OwnedArgs;
use crate::resp::reply::{Protocol, Reply};

/// See the module.
pub struct House {
    /// The server.
    pub core: &'static Core,
    worker: Worker,
    sessions: Vec<(Session, Reply)>,
    /// The moment commands happen at; turned by hand.
    pub now: UnixMs,
    _garbage: Option<Receiver<Garbage>>,
}

impl Default for House {
    fn default() -> House {
        House::new()
    }
}

impl House {
    /// A server with the default settings and one client; it is a second past the epoch's first
    /// thousand seconds.
    pub fn new() -> House {
        House::with(Config::default())
    }

    /// A server with other settings.
    pub fn with(config: Config) -> House {
        let (garbage, receiver) = channel();
        // FLUSHALL would write a snapshot into the working directory.
        let config = Config { save: Vec::new(), ..config };
        let core = Core::new(config, None, command::table(), garbage);
        core.persist.journal.keep_for_test();
        let mut house = House {
            core,
            worker: Worker::new(core),
            sessions: Vec::new(),
            now: UnixMs(1_000_000),
            _garbage: Some(receiver),
        };
        house.connect();
        house
    }

    /// Another thread of the same server, with a client of its own.
    pub fn beside(&self) -> House {
        let worker = Worker::new(self.core);
        let mut house =
            House { core: self.core, worker, sessions: Vec::new(), now: self.now, _garbage: None };
        house.connect();
        house
    }

    /// Another client; its number for [`House::run_as`].
    pub fn connect(&mut self) -> usize {
        let id = self.core.clients.next_id();
        let client =
            Arc::new(Client::new(id, "127.0.0.1:1".into(), "127.0.0.1:2".into(), 9, self.now));
        self.core.clients.add(Arc::clone(&client));
        let account = Arc::clone(self.core.users.default_account());
        self.sessions.push((Session::new(client, account, true), Reply::new(Protocol::Resp2)));
        self.sessions.len() - 1
    }

    /// Runs a line of words (quoted as in redis-cli) as the first client; the reply's lines joined
    /// by `|`: `:1|`, `$3|abc|`, `*2|:1|:2|`.
    pub fn run(&mut self, line: &str) -> String {
        self.run_as(0, line)
    }

    /// The same as another client. A client that waits gets an empty reply here, and its answer by
    /// [`House::mail`].
    pub fn run_as(&mut self, client: usize, line: &str) -> String {
        let words = split_words(line.as_bytes()).expect("quotes are balanced");
        self.run_words(client, &words)
    }

    /// The same with words that are bytes already.
    pub fn run_words(&mut self, client: usize, words: &[Vec<u8>]) -> String {
        let args = OwnedArgs::new(words.iter().map(Vec::as_slice));
        let (session, reply) = &mut self.sessions[client];
        let env = crate::keyspace::effects::Env { now: self.now, ..self.core.env() };
        let found = gate::find(self.core, &args.args());
        dispatch::execute(&self.worker, &env, session, args.args(), reply, found, Known::default());
        let bytes = std::mem::take(reply.buffer());
        String::from_utf8_lossy(&bytes).replace("\r\n", "|")
    }

    /// What other threads or clients left for a client.
    pub fn mail(&mut self, client: usize) -> String {
        let mail = self.sessions[client].0.client.take_mail();
        if mail.unblocked {
            self.sessions[client].0.waiting = None;
        }
        String::from_utf8_lossy(&mail.bytes).replace("\r\n", "|")
    }

    /// Whether a client's connection was ended by another.
    pub fn is_killed(&self, client: usize) -> bool {
        self.sessions[client].0.client.is_killed()
    }

    /// What the journal got since the last call: a line a command.
    pub fn log(&self) -> Vec<String> {
        let bytes = self.core.persist.journal.take_for_test();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines: Vec<String> = Vec::new();
        for line in text.split("\r\n") {
            match line.as_bytes().first() {
                Some(b'*') => lines.push(String::new()),
                Some(b'$') | None => {}
                Some(_) => {
                    let command = lines.last_mut().expect("a header comes first");
                    if !command.is_empty() {
                        command.push(' ');
                    }
                    command.push_str(line);
                }
            }
        }
        lines
    }

    /// A moment later.
    pub fn wait_ms(&mut self, ms: u64) {
        self.now = UnixMs(self.now.0 + ms);
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::engine::command::{Row, Run};
    use crate::resp::request::{Allowed, Parser};

    /// What the fuzz tests draw from; another seed draws something else.
    const SEED: u64 = 7;
    const ALLOWED: Allowed = Allowed { bulk_bytes_max: 1 << 20, authenticated: true };

    #[test]
    fn a_set_is_answered_and_logged() {
        let mut house = House::new();
        assert_eq!(house.run("set k 'a b'"), "+OK|");
        assert_eq!(house.run("get k"), "$3|a b|");
        assert_eq!(house.log(), ["SELECT 0", "set k a b"]);
        assert!(house.run("get").starts_with("-ERR wrong number"));
    }

    /// Words that mean something to some command, and some that mean nothing to any.
    const WORDS: &[&str] = &[
        "str",
        "num",
        "list",
        "set",
        "zset",
        "hash",
        "none",
        "",
        "0",
        "1",
        "-1",
        "2",
        "3",
        "100",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "1.5",
        "-0.0",
        "1e308",
        "-1e400",
        "nan",
        "inf",
        "-inf",
        "(1",
        "[a",
        "(a",
        "-",
        "+",
        "*",
        "?",
        "[a-",
        "\\",
        "a b",
        "ex",
        "px",
        "exat",
        "pxat",
        "nx",
        "xx",
        "gt",
        "lt",
        "ch",
        "incr",
        "get",
        "keepttl",
        "count",
        "match",
        "limit",
        "by",
        "store",
        "asc",
        "desc",
        "alpha",
        "type",
        "string",
        "left",
        "right",
        "before",
        "after",
        "rank",
        "maxlen",
        "min",
        "max",
        "aggregate",
        "sum",
        "weights",
        "withscores",
        "withvalues",
        "withscore",
        "bylex",
        "byscore",
        "rev",
        "replace",
        "db",
        "copy",
        "absttl",
        "idletime",
        "freq",
        "len",
        "idx",
        "minmatchlen",
        "withmatchlen",
        "and",
        "not",
        "u8",
        "i64",
        "#1",
        "overflow",
        "sat",
        "bit",
        "byte",
        "sync",
        "async",
        "on",
        "off",
        "yes",
        "no",
        "id",
        "user",
        "default",
        "addr",
        "nosort",
        "name:*",
        "obj_*",
        "#",
        "maxmemory",
        "port",
        "*max*",
        "return 1",
        "return redis.call(unpack(ARGV))",
        "#!lua flags=no-writes\nreturn {1}",
        "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
        "channel",
        "p*",
        "3",
        "auth",
        "setname",
    ];

    /// Bytes that mean something to the parser.
    const MARKS: &[u8] = b"*$\r\n0-9\"'";

    fn bytes(rng: &mut Rng, len_max: usize) -> Vec<u8> {
        (0..rng.usize(..len_max)).map(|_| rng.u8(..)).collect()
    }

    fn word(rng: &mut Rng) -> Vec<u8> {
        match rng.u8(..20) {
            0 => bytes(rng, 40),
            1 => rng.i64(..).to_string().into_bytes(),
            2 => vec![b'x'; rng.usize(..5000)],
            _ => WORDS[rng.usize(..WORDS.len())].as_bytes().to_vec(),
        }
    }

    /// Keys of every type, to be met with the wrong one.
    fn furnished() -> House {
        let mut house = House::with(Config { proto_max_bulk_len: 1 << 20, ..Config::default() });
        for line in [
            "set str hello",
            "set num 12",
            "rpush list a b 3 4",
            "sadd set 1 2 3",
            "sadd set a",
            "zadd zset 1 a 2 b 2 c",
            "hset hash f v g 2",
        ] {
            assert!(!house.run(line).starts_with('-'), "{line}");
        }
        house
    }

    /// Those that end or halt the process, or write files where the test runs.
    fn is_harmless(row: &Row) -> bool {
        let harmful = ["shutdown", "debug", "save", "bgsave", "bgrewriteaof", "config|rewrite"];
        !harmful.contains(&row.spec().name) && !matches!(row.command.run, Run::Container)
    }

    #[test]
    fn every_command_survives_any_arguments() {
        let mut rng = Rng::with_seed(SEED);
        for round in 0..4 {
            let mut house = furnished();
            let rows = house.core.commands.rows().iter().filter(|row| is_harmless(row));
            for row in rows {
                for count in 0..9 {
                    let mut words: Vec<Vec<u8>> =
                        row.spec().name.split('|').map(|name| name.into()).collect();
                    words.extend((0..count).map(|_| word(&mut rng)));
                    let client = house.connect();
                    if round % 2 == 1 {
                        house.sessions[client].1.set_protocol(Protocol::Resp3);
                    }
                    // A panic tells the words by the line that was printed last.
                    println!(
                        "{:?}",
                        words.iter().map(|w| w.escape_ascii().to_string()).collect::<Vec<_>>()
                    );
                    house.run_words(client, &words);
                    house.run_as(client, "exec");
                    house.sessions.pop();
                }
                house.log();
            }
        }
    }

    /// A pipeline of requests as clients send it.
    fn pipeline(rng: &mut Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(1..6) {
            let words: Vec<Vec<u8>> = match rng.bool() {
                true => vec![b"set".to_vec(), word(rng), word(rng)],
                false => (0..rng.usize(1..5)).map(|_| word(rng)).collect(),
            };
            bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(&word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..3) {
                0 => bytes[at] = rng.u8(..),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, MARKS[rng.usize(..MARKS.len())]),
            }
        }
        bytes
    }

    /// The requests in `bytes`, which come in pieces of up to `piece`; and how it ended.
    fn requests(bytes: &[u8], piece: usize, rng: &mut Rng) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
        let (mut parser, mut buffer, mut found) = (Parser::default(), Vec::new(), Vec::new());
        let mut rest = bytes;
        while !rest.is_empty() && parser.error().is_none() {
            let (now, later) = rest.split_at(rng.usize(1..=piece).min(rest.len()));
            rest = later;
            buffer.extend_from_slice(now);
            parser.parse(&mut buffer, ALLOWED);
            let count = parser.count();
            for index in 0..count {
                let args = parser.request(index, &buffer);
                if args.count() > 0 {
                    found.push(args.words().map(<[u8]>::to_vec).collect());
                }
            }
            parser.consume(count, &mut buffer);
        }
        (found, parser.error().map(ToString::to_string))
    }

    #[test]
    fn damaged_requests_are_refused_or_run_however_they_are_cut() {
        let mut rng = Rng::with_seed(SEED);
        let mut house = furnished();
        for round in 0..3000 {
            let bytes = match round % 10 {
                0 => bytes(&mut rng, 200),
                _ => pipeline(&mut rng),
            };
            let whole = requests(&bytes, bytes.len(), &mut rng);
            for piece in [1, 7] {
                let cut = requests(&bytes, piece, &mut rng);
                assert_eq!(cut, whole, "seed {SEED}: {}", bytes.escape_ascii());
            }
            for words in whole.0 {
                let found = house.core.commands.find(&words[0]);
                if found.is_some_and(|row| is_harmless(row) && row.subs.is_empty()) {
                    house.run_words(0, &words);
                    house.sessions.clear();
                    house.connect();
                }
            }
            house.log();
        }
    }
}
