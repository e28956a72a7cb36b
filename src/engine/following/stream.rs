//! The primary's stream: its commands are executed as the primary's own, whatever clients may do here.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::clock::{self, UnixMs};
use crate::base::num::parse_u64;
use crate::engine::ahead::Known;
use crate::engine::client::Client;
use crate::engine::core::{Core, Worker};
use crate::engine::session::Session;
use crate::engine::{dispatch, gate};
use crate::keyspace::effects::Env;
use crate::persist::backlog::Forward;
use crate::persist::journal::{Durable, LogOffset};
use crate::persist::state::AofState;
use crate::resp::args::{Args, is_word};
use crate::resp::reply::{Protocol, Reply};
use crate::resp::request::{Allowed, Parser};

/// Errors of the primary's commands that are told in the log, on one connection.
const ERRORS_TOLD: u64 = 10;

/// What came is not a stream of commands.
pub(super) type Broken = String;

/// Executes the stream of one connection.
pub(super) struct Stream<'w> {
    worker: &'w Worker,
    session: Session,
    reply: Reply,
    parser: Parser,
    /// Bytes that were not executed.
    pub(super) input: Vec<u8>,
    /// Bytes of a unit whose end has not come.
    unit: Vec<u8>,
    /// The primary wants to know how far we are.
    pub(super) is_asked: bool,
    errors: u64,
    /// Ends of the journal, and the offsets of the stream that they hold.
    marks: VecDeque<(LogOffset, u64)>,
    synced: u64,
}

/// Offsets of the stream that are remembered until the disk has them.
const MARKS_MAX: usize = 64;

impl<'w> Stream<'w> {
    pub(super) fn new(worker: &'w Worker, client: Arc<Client>, db: u32) -> Stream<'w> {
        let account = Arc::clone(worker.core.users.default_account());
        let mut session = Session::new(client, account, true);
        session.replaying = true;
        session.db = db;
        Stream {
            worker,
            session,
            reply: Reply::new(Protocol::Resp2),
            parser: Parser::default(),
            input: Vec::new(),
            unit: Vec::new(),
            is_asked: false,
            errors: 0,
            marks: VecDeque::new(),
            synced: 0,
        }
    }

    /// Bytes that the command at the end still lacks.
    pub(super) fn lacking(&self) -> usize {
        self.parser.lacking(&self.input)
    }

    /// Executes what is complete, as long as `wanted`.
    pub(super) fn apply(&mut self, wanted: impl Fn() -> bool) -> Result<(), Broken> {
        let core = self.worker.core;
        let allowed = Allowed { bulk_bytes_max: i64::MAX as u64, authenticated: true };
        let mut parser = std::mem::take(&mut self.parser);
        let mut input = std::mem::take(&mut self.input);
        parser.parse(&mut input, allowed);
        // Keys are gone when the primary says so.
        let env = Env { expires: false, string_bytes_max: u64::MAX, ..core.env() };
        self.worker.clock.set(clock::steady());
        let (count, mut from) = (parser.count(), 0);
        for index in 0..count {
            if !wanted() {
                return Ok(());
            }
            let end = parser.end_of(index);
            self.unit.extend_from_slice(&input[from..end]);
            from = end;
            self.execute(&env, parser.request(index, &input));
        }
        parser.consume(count, &mut input);
        let error = parser.error().map(ToString::to_string);
        (self.parser, self.input) = (parser, input);
        core.persist.journal.flush();
        if core.persist.journal.needed(None, UnixMs::now()) == Durable::Synced {
            core.persist.journal.ask_sync(self.session.wrote);
        }
        error.map_or(Ok(()), Err)
    }

    fn execute(&mut self, env: &Env, args: Args<'_>) {
        let name = args.word(0);
        let mut db = self.session.db;
        if is_word(name, "replconf") {
            self.is_asked |= args.count() > 1 && is_word(args.word(1), "getack");
        } else {
            if is_word(name, "select") && args.count() == 2 {
                db = parse_u64(args.word(1)).and_then(|db| db.try_into().ok()).unwrap_or(db);
            }
            if self.session.multi.is_none() || is_word(name, "exec") {
                let forward =
                    Forward { bytes: std::mem::take(&mut self.unit), db: self.last_db(db) };
                self.worker.forward.set(Some(Box::new(forward)));
            }
            self.run(env, args);
        }
        let left = self.worker.forward.take();
        if self.session.multi.is_some() {
            if let Some(left) = left {
                self.unit = left.bytes;
            }
            return;
        }
        // What changed nothing was not forwarded with a change.
        let left = left
            .map_or_else(|| Forward { bytes: std::mem::take(&mut self.unit), db }, |left| *left);
        if !left.bytes.is_empty() {
            self.worker.core.persist.backlog.forward(&left);
        }
    }

    /// The database that is selected behind the unit.
    fn last_db(&self, db: u32) -> u32 {
        let Some(multi) = &self.session.multi else { return db };
        let selected = multi.queue.iter().rev().find(|(row, _)| row.spec().name == "select");
        let selected = selected.filter(|(_, args)| args.args().count() == 2);
        selected.and_then(|(_, args)| parse_u64(args.args().word(1))).map_or(db, |db| db as u32)
    }

    fn run(&mut self, env: &Env, args: Args<'_>) {
        let core = self.worker.core;
        let found = gate::find(core, &args);
        let session = &mut self.session;
        dispatch::execute(
            self.worker,
            env,
            session,
            args,
            &mut self.reply,
            found,
            Known::default(),
        );
        if self.reply.bytes().first() == Some(&b'-') {
            self.errors += 1;
            if self.errors <= ERRORS_TOLD {
                let name = String::from_utf8_lossy(args.word(0)).into_owned();
                let answer = String::from_utf8_lossy(self.reply.bytes()).into_owned();
                tracing::error!(
                    "== CRITICAL == This replica is sending an error to its master: '{}' after \
                     processing the command '{}'",
                    answer.trim_start_matches('-').trim_end(),
                    name.escape_debug()
                );
            }
        }
        self.reply.cut(0);
    }

    /// The offset up to which the stream is on our disk; none without an append-only file.
    pub(super) fn synced(&mut self, core: &Core) -> Option<u64> {
        let journal = &core.persist.journal;
        if core.persist.aof.lock().state != AofState::On {
            self.marks.clear();
            return None;
        }
        // In this order: the journal holds at least what belongs to the offset.
        let offset = core.persist.backlog.end();
        let upto = journal.appended();
        if self.marks.len() < MARKS_MAX {
            self.marks.push_back((upto, offset));
        }
        while let Some((_, offset)) = self.marks.pop_front_if(|(upto, _)| *upto <= journal.synced())
        {
            self.synced = offset;
        }
        Some(self.synced)
    }
}
