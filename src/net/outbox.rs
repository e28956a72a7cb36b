//! What clients are sent: the replies of a thread's turn leave together, at its end.
//!
//! A thread executes what all its clients have sent; then the journal is written, once for all of
//! them; then the replies are sent. Whoever waits for replies from several connections, as a
//! benchmark or a pool does, is woken once for them, and waking somebody costs more than sending.
//! What a socket does not take at once is its connection's to send.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::net::{tcp, unix};

use crate::base::clock::{self, Steady};
use crate::engine::core::Worker;
use crate::persist::journal::{Durable, LogOffset};

/// Replies that have waited for so long leave before the next client's requests are executed.
const PATIENCE: Duration = Duration::from_micros(200);
/// Buffers larger than this are given back when all is sent.
const BYTES_KEPT: usize = 64 * 1024;
/// So are those that grew for messages of this size: many clients get the same.
pub const MAIL_BYTES_KEPT: usize = 4 * 1024;

/// The sending side of a socket.
pub enum Sender {
    /// TCP.
    Tcp(tcp::OwnedWriteHalf),
    /// A Unix socket.
    Unix(unix::OwnedWriteHalf),
}

impl Sender {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sender::Tcp(socket) => socket.try_write(bytes),
            Sender::Unix(socket) => socket.try_write(bytes),
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Sender::Tcp(socket) => socket.as_ref().poll_write_ready(context),
            Sender::Unix(socket) => socket.as_ref().poll_write_ready(context),
        }
    }
}

/// What one client is sent.
pub struct Outlet {
    socket: Sender,
    unsent: RefCell<Unsent>,
    /// Whether it stands in the outbox.
    listed: Cell<bool>,
    /// Whether its connection has to see to the rest.
    stalled: Cell<bool>,
    /// Its connection's task.
    task: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// Bytes of them that are sent.
    sent: usize,
    /// The journal is written up to here before they leave.
    after: LogOffset,
    /// The buffer has grown for what others have sent.
    mailed: bool,
    /// Why the socket takes no more.
    failed: Option<io::Error>,
}

impl Outlet {
    /// For a client that was sent nothing yet.
    pub fn new(socket: Sender) -> Outlet {
        Outlet {
            socket,
            unsent: RefCell::default(),
            listed: Cell::new(false),
            stalled: Cell::new(false),
            task: RefCell::new(None),
        }
    }

    /// The task that is woken when there is something left for it to send.
    pub fn set_task(&self, waker: &Waker) {
        *self.task.borrow_mut() = Some(waker.clone());
    }

    /// Bytes that were taken and not sent.
    pub fn unsent_bytes(&self) -> usize {
        let unsent = self.unsent.borrow();
        unsent.bytes.len() - unsent.sent
    }

    /// Whether there is something to be sent, or to be written to the journal.
    pub fn has_work(&self, worker: &Worker) -> bool {
        self.unsent_bytes() > 0
            || self.unsent.borrow().after > worker.core.persist.journal.written()
    }

    /// Whether the connection has to see to what is left.
    pub fn is_stalled(&self) -> bool {
        self.stalled.get()
    }

    /// Bytes of the buffer.
    pub fn capacity(&self) -> usize {
        self.unsent.borrow().bytes.capacity()
    }

    /// Gives a buffer without memory that of what was sent before.
    pub fn lend(&self, buffer: &mut Vec<u8>) {
        let mut unsent = self.unsent.borrow_mut();
        if buffer.capacity() == 0 && unsent.bytes.is_empty() {
            std::mem::swap(buffer, &mut unsent.bytes);
        }
    }

    /// Takes bytes to be sent once the journal is written up to an offset.
    pub fn take(&self, bytes: &mut Vec<u8>, after: LogOffset, mailed: bool) {
        let mut unsent = self.unsent.borrow_mut();
        unsent.after = unsent.after.max(after);
        unsent.mailed |= mailed;
        if unsent.bytes.is_empty() {
            std::mem::swap(bytes, &mut unsent.bytes);
        } else {
            unsent.bytes.append(bytes);
        }
    }

    /// Drops what was not sent.
    pub fn close(&self) {
        *self.unsent.borrow_mut() = Unsent::default();
    }

    /// Sends for as long as the socket takes it; ready when nothing is left.
    pub fn poll_send(&self, worker: &Worker, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut unsent = self.unsent.borrow_mut();
        if let Some(error) = unsent.failed.take() {
            return Poll::Ready(Err(error));
        }
        self.stalled.set(true);
        let journal = &worker.core.persist.journal;
        if unsent.after > journal.written() {
            journal.flush_to(unsent.after);
            ready!(journal.poll_durable(unsent.after, Durable::Written, context));
        }
        while !unsent.send(&self.socket, worker)? {
            ready!(self.socket.poll_ready(context))?;
        }
        self.stalled.set(false);
        Poll::Ready(Ok(()))
    }

    /// Sends what the socket takes now; the connection is told of what is left.
    fn send(&self, worker: &Worker, written: LogOffset) {
        let mut unsent = self.unsent.borrow_mut();
        let done = match unsent.after <= written {
            true => unsent.send(&self.socket, worker),
            false => Ok(false),
        };
        let done = done.unwrap_or_else(|error| {
            unsent.failed = Some(error);
            false
        });
        if !done {
            self.stalled.set(true);
            if let Some(task) = &*self.task.borrow() {
                task.wake_by_ref();
            }
        }
    }
}

impl Unsent {
    /// Writes until nothing is left, or the socket takes no more; says whether nothing is left.
    fn send(&mut self, socket: &Sender, worker: &Worker) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            match socket.try_write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    worker.stats.net_out.add(count as u64);
                    worker.stats.writes.add(1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.bytes.clear();
        let kept = if std::mem::take(&mut self.mailed) { MAIL_BYTES_KEPT } else { BYTES_KEPT };
        if self.bytes.capacity() > kept {
            self.bytes = Vec::new();
        }
        Ok(true)
    }
}

/// What a thread's clients are sent at the end of the turn.
pub struct Outbox {
    worker: Rc<Worker>,
    waiting: RefCell<Vec<Rc<Outlet>>>,
    /// When the first of them began to wait.
    since: Cell<Steady>,
    task: RefCell<Option<Waker>>,
}

impl Outbox {
    /// For the calling thread.
    pub fn new(worker: Rc<Worker>) -> Outbox {
        let since = Cell::new(worker.clock.get());
        Outbox { worker, waiting: RefCell::default(), since, task: RefCell::new(None) }
    }

    /// What has been taken from this client leaves at the end of the turn.
    pub fn enlist(&self, outlet: &Rc<Outlet>) {
        if outlet.listed.replace(true) {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.since.set(self.worker.clock.get());
            // It comes behind all that are ready now.
            if let Some(task) = &*self.task.borrow() {
                task.wake_by_ref();
            }
        }
        waiting.push(Rc::clone(outlet));
    }

    /// Sends what waits, if it has waited for long; gives the time after that.
    pub fn hurry(&self, now: Steady) -> Steady {
        if self.waiting.borrow().is_empty() || now.duration_since(self.since.get()) <= PATIENCE {
            return now;
        }
        self.flush();
        clock::steady()
    }

    /// Writes the journal as far as what waits demands, then sends it.
    fn flush(&self) {
        let mut waiting = self.waiting.take();
        let journal = &self.worker.core.persist.journal;
        journal.flush_to(demanded(&waiting));
        let written = journal.written();
        for outlet in waiting.drain(..) {
            outlet.listed.set(false);
            outlet.send(&self.worker, written);
        }
        // Its memory serves the next turn.
        *self.waiting.borrow_mut() = waiting;
    }

    /// Sends at the end of each turn, for ever.
    pub async fn serve(self: Rc<Outbox>) {
        loop {
            poll_fn(|context| {
                if self.waiting.borrow().is_empty() {
                    *self.task.borrow_mut() = Some(context.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            self.flush();
        }
    }
}

/// How far the journal is to be written before all of these may leave.
fn demanded(outlets: &[Rc<Outlet>]) -> LogOffset {
    outlets.iter().map(|outlet| outlet.unsent.borrow().after).max().unwrap_or_default()
}
