//! Replaying a file of commands: one thread reads and checks them, another runs them on the path
//! that clients take.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SendError, SyncSender, channel, sync_channel};
use std::thread;

use crate::base::clock::UnixMs;
use crate::config::Config;
use crate::engine::ahead::Known;
use crate::engine::client::Client;
use crate::engine::command::Row;
use crate::engine::core::{Core, Worker};
use crate::engine::loading::{ProgressLog, delay};
use crate::engine::session::Session;
use crate::engine::{ahead, dispatch, gate};
use crate::keyspace::effects::Env;
use crate::persist::aof::replay::{self, Outcome, Replay};
use crate::resp::args::{Args, Span};
use crate::resp::reply::{Protocol, Reply};

/// Errors of replayed commands told in the log.
const REPLAY_ERRORS_TOLD: u64 = 5;
/// Characters shown of the name of a command that does not exist.
const UNKNOWN_CHARS_MAX: usize = 128;

/// Commands, and bytes of them, that the reading thread hands over at a time.
const BATCH_COMMANDS: usize = 1024;
const BATCH_BYTES: usize = 256 * 1024;
/// Batches that wait for their commands to run at the most.
const BATCHES_WAITING: usize = 4;

/// A command that does not exist here.
pub(super) struct Unknown {
    /// Where it begins.
    pub offset: u64,
    /// Its name, shortened.
    pub name: String,
}

/// Runs the commands of `file`, which is at `offset`. Says how reading ended, and at which command
/// running did, if that was before.
pub(super) fn play(
    core: &'static Core,
    config: &Config,
    file: impl Read + Send,
    offset: u64,
    grouped: bool,
) -> (io::Result<Outcome>, Result<(), Unknown>) {
    let mut player = Player::new(core, config);
    let (sender, receiver) = sync_channel::<Batch>(BATCHES_WAITING);
    let (done, spare) = channel::<Batch>();
    let (outcome, played) = thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut reading = Reading { batch: Batch::default(), sender, spare };
            let outcome = replay::replay(file, offset, grouped, &mut reading);
            // Where the commands end too early, those before count.
            let _ = reading.hand_over();
            outcome
        });
        let mut played = Ok(());
        // Dropped at an error, which stops the reading.
        let receiver = receiver;
        for mut batch in receiver.iter() {
            played = player.play(&batch);
            if played.is_err() {
                break;
            }
            batch.clear();
            let _ = done.send(batch);
        }
        drop(receiver);
        (reading.join().expect("reading does not panic"), played)
    });
    player.leave();
    (outcome, played)
}

/// Commands that follow each other in the file.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    commands: Vec<Placed>,
}

/// Where a command of a batch begins and ends in the file, and where its bytes and spans end in the
/// batch.
struct Placed {
    begins: u64,
    ends: u64,
    bytes_end: usize,
    spans_end: usize,
}

impl Batch {
    fn push(&mut self, entry: &replay::Entry<'_>) {
        let (bytes, spans) = entry.args.parts();
        self.bytes.extend_from_slice(bytes);
        self.spans.extend_from_slice(spans);
        let (bytes_end, spans_end) = (self.bytes.len(), self.spans.len());
        let (begins, ends) = (entry.offset, entry.end);
        self.commands.push(Placed { begins, ends, bytes_end, spans_end });
    }

    fn is_full(&self) -> bool {
        self.commands.len() >= BATCH_COMMANDS || self.bytes.len() >= BATCH_BYTES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(2 * BATCH_BYTES);
        self.spans.clear();
        self.commands.clear();
    }

    fn iter(&self) -> impl Iterator<Item = (Args<'_>, &Placed)> {
        let (mut bytes_at, mut spans_at) = (0, 0);
        self.commands.iter().map(move |placed| {
            let bytes = &self.bytes[bytes_at..placed.bytes_end];
            let spans = &self.spans[spans_at..placed.spans_end];
            (bytes_at, spans_at) = (placed.bytes_end, placed.spans_end);
            (Args::new(bytes, spans), placed)
        })
    }
}

/// The reading thread's side.
struct Reading {
    batch: Batch,
    sender: SyncSender<Batch>,
    spare: Receiver<Batch>,
}

impl Reading {
    /// Hands the batch over; an error says that nobody runs commands any more.
    fn hand_over(&mut self) -> Result<(), SendError<Batch>> {
        let next = self.spare.try_recv().unwrap_or_default();
        self.sender.send(std::mem::replace(&mut self.batch, next))
    }
}

impl Replay for Reading {
    fn command(&mut self, entry: replay::Entry<'_>) -> ControlFlow<()> {
        self.batch.push(&entry);
        if self.batch.is_full() && self.hand_over().is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// A command whose key comes near before it runs.
struct Ahead<'b> {
    args: Args<'b>,
    row: &'static Row,
    hash: Option<u64>,
    /// Where it ends in the file.
    ends: u64,
}

/// A session that replays commands.
struct Player {
    worker: Worker,
    session: Session,
    reply: Reply,
    env: Env,
    progress: ProgressLog,
    from: u64,
    errors: u64,
    commands: u64,
    delay: i32,
}

impl Player {
    fn new(core: &'static Core, config: &Config) -> Player {
        let client = Client::new(0, String::new(), String::new(), -1, UnixMs::now());
        let account = Arc::clone(core.users.default_account());
        let mut session = Session::new(Arc::new(client), account, true);
        session.replaying = true;
        Player {
            worker: Worker::new(core),
            session,
            reply: Reply::new(Protocol::Resp2),
            env: core.env(),
            progress: ProgressLog::new(),
            from: core.persist.loading.done.load(Ordering::Relaxed),
            errors: 0,
            commands: 0,
            delay: config.key_load_delay,
        }
    }

    /// Runs the commands of a batch up to one that does not exist here.
    fn play(&mut self, batch: &Batch) -> Result<(), Unknown> {
        let mut ahead = Vec::with_capacity(ahead::REQUESTS);
        for (args, placed) in batch.iter() {
            match self.look_up(args, placed) {
                Ok(found) => ahead.push(found),
                Err(unknown) => {
                    self.run_all(&mut ahead);
                    return Err(unknown);
                }
            }
            if ahead.len() == ahead::REQUESTS {
                self.run_all(&mut ahead);
            }
        }
        self.run_all(&mut ahead);
        Ok(())
    }

    fn look_up<'b>(&self, args: Args<'b>, placed: &Placed) -> Result<Ahead<'b>, Unknown> {
        let core = self.worker.core;
        let row = gate::find(core, &args).map_err(|_| {
            let name = String::from_utf8_lossy(args.word(0));
            let name = name.escape_debug().take(UNKNOWN_CHARS_MAX).collect();
            Unknown { offset: placed.begins, name }
        })?;
        let hash = ahead::look_at(core.keyspace, row, &args);
        Ok(Ahead { args, row, hash, ends: placed.ends })
    }

    fn run_all(&mut self, ahead: &mut Vec<Ahead<'_>>) {
        let look = |index: usize| {
            let ahead: &Ahead<'_> = &ahead[index];
            Some((ahead.row, ahead.hash?))
        };
        let (keyspace, db) = (self.worker.core.keyspace, self.session.db);
        ahead::look_further(keyspace, db, ahead.len(), look, |index| ahead[index].args);
        for ahead in ahead.drain(..) {
            self.run(&ahead);
        }
    }

    fn run(&mut self, ahead: &Ahead<'_>) {
        let core = self.worker.core;
        let Ahead { args, row, hash, ends } = *ahead;
        let (env, session, reply) = (&self.env, &mut self.session, &mut self.reply);
        dispatch::execute(
            &self.worker,
            env,
            session,
            args,
            reply,
            Ok(row),
            Known { hash, ..Known::default() },
        );
        if self.reply.bytes().first() == Some(&b'-') {
            self.errors += 1;
            if self.errors <= REPLAY_ERRORS_TOLD {
                tracing::warn!(
                    "A command of the append only file that ends at offset {ends} answered: {}",
                    String::from_utf8_lossy(self.reply.bytes()).trim_end()
                );
            }
        }
        self.reply.cut(0);
        self.commands += 1;
        if self.commands.is_multiple_of(1024) {
            core.persist.loading.done.store(self.from + ends, Ordering::Relaxed);
            self.progress.tell(core);
            self.env = core.env();
        }
        delay(self.delay);
    }

    fn leave(&mut self) {
        self.worker.core.persist.loading.commands.fetch_add(self.commands, Ordering::Relaxed);
        if self.errors > REPLAY_ERRORS_TOLD {
            tracing::warn!("{} commands of the append only file failed", self.errors);
        }
    }
}
