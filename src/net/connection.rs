//! A connection: reads once as much as there is, executes what is complete, and hands the replies to the
//! outbox, which sends them once, when the journal allows.
//!
//! A client that does not read its replies does not stop its requests from being executed: both
//! directions are served in one poll, and `client-output-buffer-limit` bounds what waits.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncRead;

use crate::base::clock::{self, Steady, UnixMs};
use crate::engine::ahead::Known;
use crate::engine::blocking::{Busy, Waiter};
use crate::engine::client::Client;
use crate::engine::command::Row;
use crate::engine::core::{Attention, Core, Locks, Worker};
use crate::engine::fiber::{self, Fiber, Step};
use crate::engine::session::Session;
use crate::engine::{
    access, ahead, blocking, dispatch, evicting_clients, gate, monitor, pause, replicas, tracking,
    transaction,
};
use crate::keyspace::effects::Env;
use crate::keyspace::lock::shard_of;
use crate::keyspace::shard::Ticket;
use crate::net::io::poll_read;
use crate::net::outbox::{MAIL_BYTES_KEPT, Outbox, Outlet, Sender};
use crate::persist::journal::{Durable, LogOffset};
use crate::resp::args::OwnedArgs;
use crate::resp::error::CmdError;
use crate::resp::reply::{Protocol, Reply};
use crate::resp::request::{Allowed, Parser};

/// Requests executed before the neighbours have their turn.
const REQUESTS_A_TURN: usize = 256;
/// Room of the query buffer at first.
const INPUT_BYTES_FIRST: usize = 4 * 1024;
/// Room it grows to when reads fill it.
const INPUT_BYTES_GROWN: usize = 64 * 1024;
/// Query buffers larger than this are given back when they are empty.
const INPUT_BYTES_KEPT: usize = 256 * 1024;
/// Replies of this size are handed to the socket before more requests are executed.
const OUTPUT_BYTES_A_TURN: usize = 1024 * 1024;
/// So much is sent at once: until the end of the turn it would have left the processor's cache.
const OUTPUT_BYTES_AT_ONCE: usize = 16 * 1024;
/// A client that leaves so much unread has no more requests executed until it reads.
const OUTPUT_BYTES_HELD: usize = 64 * 1024 * 1024;

/// See the module.
pub struct Connection<S> {
    socket: S,
    outlet: Rc<Outlet>,
    outbox: Rc<Outbox>,
    worker: Rc<Worker>,
    session: Session,
    parser: Parser,
    input: Vec<u8>,
    /// What the outlet has not been given yet.
    reply: Reply,
    /// How far the journal is to be written before that leaves.
    after: LogOffset,
    /// The reply buffer has grown for what others have sent.
    mailed: bool,
    /// The moment of the last requests.
    now: UnixMs,
    /// Since when the soft output limit is passed.
    soft_since: Option<Steady>,
    /// The next request waits for the end of CLIENT PAUSE.
    postponed: bool,
    /// The client's script is over its time and has stepped aside; it has the session and the
    /// replies with it.
    aside: Option<Fiber<Taken>>,
}

/// What a script takes with it to its own stack.
type Taken = (Session, Reply);

/// How long a connection waits before it asks again for locks that a busy script has.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// A request's row, and the hash of its only key.
type Found = (Result<&'static Row, CmdError>, Option<u64>);

enum Wake {
    /// Bytes came.
    Input,
    /// Something lies in the mailbox, or the connection was killed.
    Mail,
    /// The blocking command's time is up.
    Timeout,
    /// The other end has gone.
    Gone,
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// A connection that was just accepted.
    pub fn new(
        (socket, sender): (S, Sender),
        worker: Rc<Worker>,
        outbox: Rc<Outbox>,
        client: Arc<Client>,
    ) -> Connection<S> {
        let account = Arc::clone(worker.core.users.default_account());
        let authenticated = worker.core.users.default_is_open();
        Connection {
            socket,
            outlet: Rc::new(Outlet::new(sender)),
            outbox,
            worker,
            session: Session::new(client, account, authenticated),
            parser: Parser::default(),
            input: Vec::new(),
            reply: Reply::new(Protocol::Resp2),
            after: LogOffset::default(),
            mailed: false,
            now: UnixMs::now(),
            soft_since: None,
            postponed: false,
            aside: None,
        }
    }

    /// Serves the client until one of both ends it.
    pub async fn serve(mut self) {
        poll_fn(|context| {
            self.session.client.set_waker(context.waker());
            self.outlet.set_task(context.waker());
            Poll::Ready(())
        })
        .await;
        let ended = self.run().await;
        self.leave().await;
        if let Err(error) = ended {
            tracing::trace!("Reading from client: {error}");
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        loop {
            let more = self.execute();
            self.finish_script().await;
            self.release().await;
            if self.session.closing {
                return self.drain().await;
            }
            if self.is_over_limit() {
                return Ok(());
            }
            evicting_clients::run(self.core(), &self.core().config.load());
            if more {
                poll_fn(|context| Poll::Ready(self.send(context))).await?;
                tokio::task::yield_now().await;
                continue;
            }
            match self.wait().await? {
                Wake::Input => {}
                Wake::Mail => {
                    if self.session.client.is_killed() {
                        return Ok(());
                    }
                    self.take_mail().await;
                }
                Wake::Timeout => {
                    if let Some(waiter) = self.give_up().await {
                        blocking::count_timeout(&self.worker, &waiter);
                        blocking::time_out(self.core(), &waiter);
                    }
                    // Whoever served it in the last moment has left the reply in the mailbox.
                    self.take_mail().await;
                }
                Wake::Gone => return Ok(()),
            }
        }
    }

    fn core(&self) -> &'static Core {
        self.worker.core
    }

    /// Executes complete requests; says whether some are left for the next turn.
    fn execute(&mut self) -> bool {
        if self.session.waiting.is_some() || self.input.is_empty() {
            return false;
        }
        let core = self.core();
        let allowed = Allowed {
            bulk_bytes_max: core.config.load().proto_max_bulk_len,
            authenticated: !access::must_log_in(core, &self.session),
        };
        self.parser.parse(&mut self.input, allowed);
        let count = self.parser.count();
        let mut done = 0;
        self.outlet.lend(self.reply.buffer());
        let before = self.reply.len();
        self.publish_buffers();
        // What others are sent is no part of this client's time.
        let began = self.outbox.hurry(clock::steady());
        self.worker.clock.set(began);
        self.worker.begin_batch();
        while done < count.min(REQUESTS_A_TURN)
            && self.session.waiting.is_none()
            && !self.session.closing
            && self.aside.is_none()
            && self.reply.len() - before < OUTPUT_BYTES_A_TURN
            && self.unsent() < OUTPUT_BYTES_HELD
        {
            if core.has_attention(Attention::PAUSED) {
                self.postpone(self.is_held_back(done));
                if self.postponed {
                    break;
                }
                self.execute_one(&core.env(), done, None, false);
                done += 1;
                continue;
            }
            self.postpone(false);
            done += self.execute_ahead(done, count);
        }
        self.worker.end_batch();
        self.worker.stats.turn(self.worker.clock.get().duration_since(began), done);
        self.parser.consume(done, &mut self.input);
        if self.input.is_empty() && self.input.capacity() > INPUT_BYTES_KEPT {
            self.input = Vec::new();
        }
        if self.aside.is_some() {
            return true;
        }
        self.publish_figures(done);
        if let Some(error) = self.parser.error().filter(|_| self.parser.count() == 0) {
            let _ = self.reply.error_line(&error.to_string());
            self.session.closing = true;
        }
        done > 0 && self.parser.count() > 0 && self.session.waiting.is_none()
    }

    /// Whether CLIENT PAUSE makes this request wait. One that is refused anyway does not.
    fn is_held_back(&self, index: usize) -> bool {
        let core = self.core();
        let args = self.parser.request(index, &self.input);
        if args.count() == 0 {
            return false;
        }
        let Ok(row) = gate::find(core, &args) else { return false };
        gate::check(core, &self.session, row, &args, self.reply.protocol()).is_ok()
            && pause::holds_back(core, &self.session, row, &args, UnixMs::now())
    }

    fn postpone(&mut self, waits: bool) {
        if self.postponed != waits {
            self.postponed = waits;
            self.core().pause.count(waits);
        }
    }

    /// Looks the keys of the next requests up ahead, then executes them; says how many.
    fn execute_ahead(&mut self, from: usize, count: usize) -> usize {
        let core = self.core();
        let env = core.env();
        self.now = env.now;
        let group = (count - from).min(ahead::REQUESTS);
        if group == 1 {
            self.execute_one(&env, from, None, false);
            return 1;
        }
        let mut found: [Option<Found>; ahead::REQUESTS] = [const { None }; ahead::REQUESTS];
        for (index, slot) in found.iter_mut().enumerate().take(group) {
            let args = self.parser.request(from + index, &self.input);
            if args.count() == 0 {
                continue;
            }
            let row = gate::find(core, &args);
            let hash = row.as_ref().ok().and_then(|row| ahead::look_at(core.keyspace, row, &args));
            *slot = Some((row, hash));
        }
        let look = |index: usize| match &found[index] {
            Some((Ok(row), Some(hash))) => Some((*row, *hash)),
            _ => None,
        };
        let args = |index| self.parser.request(from + index, &self.input);
        ahead::look_further(core.keyspace, self.session.db, group, look, args);
        for index in 0..group {
            let shard = |slot: &Option<Found>| slot.as_ref()?.1.map(shard_of);
            let next = found.get(index + 1).and_then(shard);
            let same_shard_next = next.is_some() && next == shard(&found[index]);
            self.execute_one(&env, from + index, found[index].take(), same_shard_next);
            if self.session.waiting.is_some() || self.session.closing || self.aside.is_some() {
                return index + 1;
            }
        }
        group
    }

    fn execute_one(&mut self, env: &Env, index: usize, found: Option<Found>, same: bool) {
        let args = self.parser.request(index, &self.input);
        if args.count() == 0 {
            return;
        }
        let (row, hash) = found.unwrap_or_else(|| (gate::find(self.worker.core, &args), None));
        let scripts = row.as_ref().is_ok_and(|row| fiber::runs_script(row));
        let on_fiber = row.as_ref().is_ok_and(|row| fiber::is_for(row, &self.session));
        let needs = match (scripts, hash) {
            (true, _) => Some(Locks::All),
            (false, Some(hash)) if !on_fiber => Some(Locks::One(shard_of(hash))),
            _ => None,
        };
        self.worker.release_unless(needs.filter(|_| self.session.multi.is_none()));
        if let Ok(row) = row
            && on_fiber
        {
            let args = args.to_owned();
            self.execute_script(*env, row, args);
            return;
        }
        let known = Known { hash, same_shard_next: same };
        dispatch::execute(&self.worker, env, &mut self.session, args, &mut self.reply, row, known);
    }

    /// A script runs on a stack of its own, so that it can step aside.
    fn execute_script(&mut self, env: Env, row: &'static Row, args: OwnedArgs) {
        let client = Arc::clone(&self.session.client);
        let empty = Session::new(client, Arc::clone(&self.session.account), false);
        let session = std::mem::replace(&mut self.session, empty);
        let reply = std::mem::take(&mut self.reply);
        let worker = Rc::clone(&self.worker);
        let run = move |(mut session, mut reply): Taken| {
            dispatch::execute(
                &worker,
                &env,
                &mut session,
                args.args(),
                &mut reply,
                Ok(row),
                Known::default(),
            );
            (session, reply)
        };
        let fiber = Fiber::new(move || run((session, reply)));
        let fiber = fiber.expect("the system has a few pages for a stack");
        self.go_on(fiber);
    }

    fn go_on(&mut self, fiber: Fiber<Taken>) {
        match fiber.resume() {
            Step::Aside(fiber) => self.aside = Some(fiber),
            Step::Done((session, reply)) => (self.session, self.reply) = (session, reply),
        }
    }

    /// Lets a script that has stepped aside go on to its end, while the thread serves others.
    async fn finish_script(&mut self) {
        if self.aside.is_none() {
            return;
        }
        let began = self.worker.clock.get();
        while let Some(fiber) = self.aside.take() {
            tokio::task::yield_now().await;
            // Others have used the thread's clock meanwhile.
            self.worker.clock.set(began);
            self.go_on(fiber);
        }
        self.publish_figures(1);
    }

    /// Ends the client's wait; the waiter, unless it was served before.
    async fn give_up(&mut self) -> Option<Arc<Waiter>> {
        let ticket = self.session.waiting?;
        loop {
            match blocking::give_up(self.core(), ticket) {
                Ok(waiter) => return waiter,
                Err(Busy) => tokio::time::sleep(BUSY_PAUSE).await,
            }
        }
    }

    /// Strikes a wait that was cancelled from the books.
    async fn forget(&mut self, cancelled: Option<(Ticket, Arc<Waiter>)>) {
        let Some((ticket, waiter)) = cancelled else { return };
        while blocking::forget(self.core(), ticket, &waiter) == Err(Busy) {
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    fn publish_figures(&mut self, done: usize) {
        self.session.publish_figures();
        let figures = &self.session.client.figures;
        figures.active_at.store(self.now.0, Ordering::Relaxed);
        figures.resp3.store(self.reply.is_resp3(), Ordering::Relaxed);
        // Only this task writes it.
        let commands = figures.commands.load(Ordering::Relaxed) + done as u64;
        figures.commands.store(commands, Ordering::Relaxed);
        self.publish_buffers();
    }

    fn publish_buffers(&self) {
        let figures = &self.session.client.figures;
        let read = self.parser.arguments_read().min(self.input.len());
        figures.argument_bytes.store(read as u64, Ordering::Relaxed);
        figures.query_bytes.store((self.input.len() - read) as u64, Ordering::Relaxed);
        let room = self.input.capacity() - self.input.len();
        figures.query_room.store(room as u64, Ordering::Relaxed);
        let lag = self.session.replica.as_ref().map(|_| {
            let id = self.session.client.id;
            self.worker.core.persist.backlog.lag(id)
        });
        // What leaves at the end of the turn is not waited for.
        let stalled = if self.outlet.is_stalled() { self.unsent() } else { self.reply.len() };
        figures.output_bytes.store(stalled as u64 + lag.unwrap_or(0), Ordering::Relaxed);
        let room = self.reply.capacity() + self.outlet.capacity();
        figures.reply_room.store(room as u64, Ordering::Relaxed);
        let used = self.input.capacity() + room + self.session.memory_bytes();
        self.count_memory(used as u64);
    }

    /// Keeps the sum of what connections use up to date. Only this task writes its part.
    fn count_memory(&self, used: u64) {
        let memory = &self.session.client.figures.memory;
        let before = memory.load(Ordering::Relaxed);
        if used != before {
            memory.store(used, Ordering::Relaxed);
            let sum = &self.worker.core.clients.memory;
            sum.fetch_add(used.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Bytes of replies that have not left.
    fn unsent(&self) -> usize {
        self.reply.len() + self.outlet.unsent_bytes()
    }

    /// Waits until the disk has what the replies depend on, where that is needed.
    async fn release(&mut self) {
        let wrote = std::mem::take(&mut self.session.wrote);
        if wrote != LogOffset::default() {
            self.await_journal(wrote, self.now).await;
        }
    }

    async fn await_journal(&mut self, upto: LogOffset, now: UnixMs) {
        self.after = self.after.max(upto);
        let journal = &self.core().persist.journal;
        if journal.needed(self.session.durability, now) == Durable::Synced {
            if journal.written() < upto {
                // Let the neighbours append first: one write serves all of them.
                tokio::task::yield_now().await;
                journal.flush_to(upto);
            }
            // What cannot be written is tried again by others; asking for a sync does not help it.
            poll_fn(|context| journal.poll_durable(upto, Durable::Written, context)).await;
            // The policy may have changed since the write, and nobody else may ask.
            journal.ask_sync(upto);
            if journal.synced() < upto {
                self.worker.stats.disk_waits.add(1);
            }
            poll_fn(|context| journal.poll_durable(upto, Durable::Synced, context)).await;
        }
    }

    async fn take_mail(&mut self) {
        let mut mail = self.session.client.take_mail();
        self.forget(mail.cancelled.take()).await;
        if mail.unblocked {
            self.session.waiting = None;
            self.session.publish_figures();
        }
        if mail.after != LogOffset::default() {
            self.await_journal(mail.after, UnixMs::now()).await;
        }
        self.mailed |= mail.bytes.len() > MAIL_BYTES_KEPT;
        self.outlet.lend(self.reply.buffer());
        self.reply.buffer().extend_from_slice(&mail.bytes);
    }

    /// Gives the replies to be sent at the end of the turn. Large ones are sent now, as far as the socket
    /// takes them, and so is what was left of those before, and all that a replica gets.
    fn send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            let mailed = std::mem::take(&mut self.mailed);
            self.outlet.take(self.reply.buffer(), self.after, mailed);
            let at_once = self.outlet.is_stalled()
                || self.session.replica.is_some()
                || self.outlet.unsent_bytes() >= OUTPUT_BYTES_AT_ONCE;
            if !at_once {
                if self.outlet.has_work(&self.worker) {
                    self.outbox.enlist(&self.outlet);
                }
                return Ok(());
            }
            match self.outlet.poll_send(&self.worker, context) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => return Ok(()),
            }
            match &self.session.replica {
                Some(replica) if replica.feed(self.worker.core, self.reply.buffer()) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Sends replies while waiting for bytes, mail or the end of a blocking command's time.
    async fn wait(&mut self) -> io::Result<Wake> {
        let until = match self.session.waiting {
            Some(ticket) => self.core().blocked.deadline(ticket),
            None if self.postponed => {
                let now = UnixMs::now();
                // A pause may have ended since the request was held back, and nobody would tell.
                Some(pause::current(self.core(), now).map_or(now, |(_, until)| until))
            }
            None => None,
        };
        match until {
            None => poll_fn(|context| self.poll_wake(context)).await,
            Some(until) => {
                let left = until.0.saturating_sub(UnixMs::now().0);
                let sleep = tokio::time::sleep(std::time::Duration::from_millis(left));
                // Cancel safe: poll_wake keeps nothing in the future; what it read is in `input`.
                tokio::select! {
                    wake = poll_fn(|context| self.poll_wake(context)) => wake,
                    () = sleep => Ok(Wake::Timeout),
                }
            }
        }
    }

    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Wake>> {
        self.send(context)?;
        if self.session.client.is_signaled() {
            return Poll::Ready(Ok(Wake::Mail));
        }
        if self.has_waited_for_output() {
            return Poll::Ready(Ok(Wake::Input));
        }
        self.make_room();
        match poll_read(&mut self.socket, &mut self.input, context) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(Wake::Gone)),
            Poll::Ready(Ok(count)) => {
                self.worker.stats.net_in.add(count as u64);
                self.worker.stats.reads.add(1);
                Poll::Ready(Ok(Wake::Input))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.publish_buffers();
                Poll::Pending
            }
        }
    }

    /// Whether a complete request was only held up by replies that now are sent.
    fn has_waited_for_output(&self) -> bool {
        self.parser.count() > 0
            && self.session.waiting.is_none()
            && !self.postponed
            && self.unsent() < OUTPUT_BYTES_HELD
    }

    /// Room for the next read: what the unfinished argument lacks, or a page that grows when reads
    /// fill it.
    fn make_room(&mut self) {
        let lacking = self.parser.lacking(&self.input);
        let full = self.input.len() == self.input.capacity();
        if lacking > self.input.capacity() - self.input.len() {
            self.input.reserve(lacking);
        } else if full {
            let more = self.input.capacity().clamp(INPUT_BYTES_FIRST, INPUT_BYTES_GROWN);
            self.input.reserve(more);
        }
    }

    /// Whether the client has let more pile up than it may.
    fn is_over_limit(&mut self) -> bool {
        let config = self.core().config.load();
        if self.input.len() as u64 > config.client_query_buffer_limit {
            tracing::warn!(
                "Closing client that reached max query buffer length: id={}",
                self.session.client.id
            );
            self.worker.stats.query_limit.add(1);
            return true;
        }
        let id = self.session.client.id;
        let lag = self.session.replica.as_ref().map(|_| self.core().persist.backlog.lag(id));
        let unsent = self.unsent() as u64 + lag.unwrap_or(0);
        if unsent == 0 {
            self.soft_since = None;
            return false;
        }
        let limits = &config.client_output_buffer_limit;
        let limit = match lag {
            Some(_) => limits.replica.at_least(config.repl_backlog_size),
            None if self.session.is_subscribed() => limits.pubsub,
            None => limits.normal,
        };
        let hard = limit.hard_bytes != 0 && unsent > limit.hard_bytes;
        let soft = limit.soft_bytes != 0 && unsent > limit.soft_bytes;
        let since = match soft {
            true => *self.soft_since.get_or_insert_with(clock::steady),
            false => {
                self.soft_since = None;
                clock::steady()
            }
        };
        let over = hard || soft && since.elapsed().as_secs() >= limit.soft_seconds;
        if over {
            self.worker.stats.output_limit.add(1);
            tracing::warn!(
                "Client id={} addr={} closed for overcoming of output buffer limits.",
                self.session.client.id,
                self.session.client.addr
            );
        }
        over
    }

    /// Sends what is left before the connection closes.
    async fn drain(&mut self) -> io::Result<()> {
        self.outlet.take(self.reply.buffer(), self.after, false);
        poll_fn(|context| self.outlet.poll_send(&self.worker, context)).await
    }

    /// The client has gone: nothing waits for it, watches for it or is delivered to it any more.
    async fn leave(&mut self) {
        let core = self.core();
        self.postpone(false);
        monitor::leave(core, &self.session.client);
        if let Some(replica) = self.session.replica.take() {
            replicas::leave(core, &replica);
        }
        self.session.unsubscribe_all(core);
        tracking::switch_off(core, &mut self.session);
        core.clients.remove(self.session.client.id);
        self.count_memory(0);
        self.give_up().await;
        let cancelled = self.session.client.take_mail().cancelled;
        self.forget(cancelled).await;
        while !transaction::unwatch(core, &mut self.session) {
            tokio::time::sleep(BUSY_PAUSE).await;
        }
        (self.input, self.reply) = (Vec::new(), Reply::new(Protocol::Resp2));
        self.outlet.close();
        // Its writes stand, though nobody hears of them.
        core.persist.journal.flush_to(self.after);
        core.clients.gave_back(&self.session.client);
    }
}
