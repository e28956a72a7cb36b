//! A server without sockets and files for tests: a script in, a script out, a clock turned by hand.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use crate::base::clock::UnixMs;
use crate::base::words::split_words;
use crate::command;
use crate::config::Config;
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
    _garbage: Receiver<Garbage>,
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
            _garbage: receiver,
        };
        house.connect();
        house
    }

    /// Another client; its number for [`House::run_as`].
    pub fn connect(&mut self) -> usize {
        let id = self.core.clients.next_id();
        let client =
            Arc::new(Client::new(id, "127.0.0.1:1".into(), "127.0.0.1:2".into(), 9, self.now));
        self.core.clients.add(Arc::clone(&client));
        self.sessions.push((Session::new(client, true), Reply::new(Protocol::Resp2)));
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
        dispatch::execute(&self.worker, &env, session, args.args(), reply, found, None);
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
    use super::*;

    #[test]
    fn a_set_is_answered_and_logged() {
        let mut house = House::new();
        assert_eq!(house.run("set k 'a b'"), "+OK|");
        assert_eq!(house.run("get k"), "$3|a b|");
        assert_eq!(house.log(), ["SELECT 0", "set k a b"]);
        assert!(house.run("get").starts_with("-ERR wrong number"));
    }
}
