//! A client as other threads see it: its mailbox, and what CLIENT LIST tells.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::acl::users::DEFAULT_USER;
use crate::base::clock::UnixMs;
use crate::engine::blocking::Waiter;
use crate::keyspace::shard::Ticket;
use crate::persist::journal::LogOffset;
use crate::pubsub::Listener;
use crate::resp::reply::Protocol;
use crate::tracking::Reader;

/// What was left for a client by other threads.
#[derive(Default)]
pub struct Mail {
    /// Encoded messages and replies.
    pub bytes: Vec<u8>,
    /// The client's wait is over; the reply is among the bytes.
    pub unblocked: bool,
    /// Nothing of this may leave before the journal is written up to here.
    pub after: LogOffset,
    /// The wait that was cancelled, still in the books of its keys.
    pub cancelled: Option<(Ticket, Arc<Waiter>)>,
}

/// Names a client gave, and words about it that change seldom.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// CLIENT SETNAME
    pub name: String,
    /// CLIENT SETINFO LIB-NAME
    pub lib_name: String,
    /// CLIENT SETINFO LIB-VER
    pub lib_version: String,
    /// The user it authenticated as.
    pub user: Box<[u8]>,
}

/// Figures a connection publishes at the end of each batch.
#[derive(Default)]
pub struct Figures {
    /// Milliseconds since the epoch of its last request.
    pub active_at: AtomicU64,
    /// Selected database.
    pub db: AtomicU32,
    /// Index of its last command; `u32::MAX` before the first.
    pub command: AtomicU32,
    /// Commands queued by MULTI; -1 outside.
    pub multi: AtomicI64,
    /// Keys it watches.
    pub watched: AtomicU32,
    /// Channels, patterns and sharded channels it listens to.
    pub subscriptions: [AtomicU32; 3],
    /// Bytes of requests not executed yet, and the room behind them.
    pub query_bytes: AtomicU64,
    /// Bytes of arguments of an unfinished request.
    pub argument_bytes: AtomicU64,
    /// Room of the query buffer.
    pub query_room: AtomicU64,
    /// Bytes of memory its connection uses.
    pub memory: AtomicU64,
    /// What it gives back once its connection is ended; [`GONE`] when it has.
    pub leaving: AtomicU64,
    /// Room of the reply buffer.
    pub reply_room: AtomicU64,
    /// Bytes of the commands queued by MULTI.
    pub multi_bytes: AtomicU64,
    /// Bytes of replies not sent yet.
    pub output_bytes: AtomicU64,
    /// Whether its protocol is RESP3.
    pub resp3: AtomicBool,
    /// Whether it waits in a blocking command.
    pub blocked: AtomicBool,
    /// CLIENT NO-EVICT, NO-TOUCH, REPLY and such: bits of [`ClientFlags`].
    pub flags: AtomicU32,
    /// Bytes read from it.
    pub net_in: AtomicU64,
    /// Bytes sent to it.
    pub net_out: AtomicU64,
    /// Commands it sent.
    pub commands: AtomicU64,
}

/// Bits of [`Figures::flags`].
pub struct ClientFlags;

impl ClientFlags {
    /// CLIENT NO-EVICT ON
    pub const NO_EVICT: u32 = 1;
    /// CLIENT NO-TOUCH ON
    pub const NO_TOUCH: u32 = 2;
    /// MONITOR
    pub const MONITOR: u32 = 4;
    /// Connected by a Unix socket.
    pub const UNIX: u32 = 8;
    /// A replica.
    pub const REPLICA: u32 = 16;
    /// Its transaction will fail.
    pub const DIRTY_EXEC: u32 = 32;
    /// It closes when its replies are sent.
    pub const CLOSING: u32 = 64;
    /// Whom this server follows.
    pub const PRIMARY: u32 = 128;
}

/// See the module.
pub struct Client {
    /// Never used twice.
    pub id: u64,
    /// `ip:port` of the other end, or the socket's path.
    pub addr: String,
    /// `ip:port` of our end.
    pub laddr: String,
    /// The socket's descriptor.
    pub fd: i32,
    /// When it connected.
    pub created: UnixMs,
    /// Its names.
    pub labels: Mutex<Labels>,
    /// Its figures.
    pub figures: Figures,
    mail: Mutex<Mail>,
    signal: AtomicBool,
    killed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(id: u64, addr: String, laddr: String, fd: i32, now: UnixMs) -> Client {
        let figures = Figures::default();
        figures.active_at.store(now.0, Ordering::Relaxed);
        figures.command.store(u32::MAX, Ordering::Relaxed);
        figures.multi.store(-1, Ordering::Relaxed);
        let labels = Labels { user: DEFAULT_USER.into(), ..Labels::default() };
        Client {
            id,
            addr,
            laddr,
            fd,
            created: now,
            labels: Mutex::new(labels),
            figures,
            mail: Mutex::default(),
            signal: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Whether it is connected from this machine.
    pub fn is_local(&self) -> bool {
        let loopback =
            |addr: &str| addr.parse().is_ok_and(|addr: SocketAddr| addr.ip().is_loopback());
        self.has_flag(ClientFlags::UNIX) || loopback(&self.addr)
    }

    /// Leaves something in the mailbox and wakes the connection.
    pub fn post(&self, put: impl FnOnce(&mut Mail)) {
        put(&mut self.mail.lock());
        self.wake();
    }

    /// The reply that ends a wait, to be sent once the journal is written up to `after`.
    pub fn unblock(&self, reply: &[u8], after: LogOffset) {
        self.post(|mail| {
            mail.bytes.extend_from_slice(reply);
            mail.unblocked = true;
            mail.after = mail.after.max(after);
        });
    }

    /// Ends the connection.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether somebody ended the connection.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Makes the connection look around.
    pub fn wake(&self) {
        self.signal.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether there is mail, or an order to close.
    #[inline]
    pub fn is_signaled(&self) -> bool {
        self.signal.load(Ordering::Acquire)
    }

    /// Takes the mail.
    pub fn take_mail(&self) -> Mail {
        self.signal.store(false, Ordering::Release);
        std::mem::take(&mut self.mail.lock())
    }

    /// Takes messages, unless they came with the end of a wait.
    pub fn take_messages(&self, out: &mut Vec<u8>) {
        let mut mail = self.mail.lock();
        if !mail.unblocked && mail.after == LogOffset::default() {
            out.append(&mut mail.bytes);
        }
    }

    /// Bytes that wait in the mailbox.
    pub fn mail_bytes(&self) -> usize {
        self.mail.lock().bytes.len()
    }

    /// Says whom to wake.
    pub fn set_waker(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    /// Whether one of the [`ClientFlags`] is set.
    pub fn has_flag(&self, flag: u32) -> bool {
        self.figures.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Sets or clears one of the [`ClientFlags`].
    pub fn set_flag(&self, flag: u32, on: bool) {
        if on {
            self.figures.flags.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.figures.flags.fetch_and(!flag, Ordering::Relaxed);
        }
    }
}

impl Listener for Client {
    fn id(&self) -> u64 {
        self.id
    }

    fn protocol(&self) -> Protocol {
        match self.figures.resp3.load(Ordering::Relaxed) {
            true => Protocol::Resp3,
            false => Protocol::Resp2,
        }
    }

    fn deliver(&self, message: &[u8]) {
        self.post(|mail| mail.bytes.extend_from_slice(message));
    }
}

impl Reader for Client {
    fn is_subscribed(&self) -> bool {
        let counts = &self.figures.subscriptions;
        counts.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    fn unread(&self) -> usize {
        self.mail.lock().bytes.capacity()
    }
}

/// See [`Figures::leaving`].
const GONE: u64 = u64::MAX;

/// All clients, by id.
#[derive(Default)]
pub struct Clients {
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
    next_id: AtomicU64,
    /// Connections accepted that are on their way to a thread.
    arriving: AtomicUsize,
    /// Memory that connections use, bytes.
    pub memory: AtomicU64,
    /// Of it, what clients that were ended for the want of memory have not given back yet.
    pub leaving: AtomicU64,
    /// Held while large clients are ended for the want of memory.
    pub evicting: Mutex<()>,
    /// Clients ended for that.
    pub evicted: AtomicU64,
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// Connections refused because of `maxclients`.
    pub rejected: AtomicU64,
}

impl Clients {
    /// Notes that a client, which is about to be ended, will give so many bytes back.
    pub fn expect_back(&self, client: &Client, bytes: u64) {
        self.leaving.fetch_add(bytes, Ordering::AcqRel);
        let noted = &client.figures.leaving;
        if noted.compare_exchange(0, bytes, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // It has left by itself.
            self.leaving.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// A client has given back what it used.
    pub fn gave_back(&self, client: &Client) {
        let bytes = client.figures.leaving.swap(GONE, Ordering::AcqRel);
        if bytes != GONE {
            self.leaving.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// An id for a new client.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a client.
    pub fn add(&self, client: Arc<Client>) {
        self.all.lock().insert(client.id, client);
    }

    /// A connection is on its way to the thread that will serve it.
    pub fn expect(&self) {
        self.arriving.fetch_add(1, Ordering::Relaxed);
    }

    /// What was expected has come, or is not going to.
    pub fn arrived(&self, client: Option<Arc<Client>>) {
        let mut all = self.all.lock();
        if let Some(client) = client {
            all.insert(client.id, client);
        }
        self.arriving.fetch_sub(1, Ordering::Relaxed);
    }

    /// Clients connected, and those about to be.
    pub fn count_with_arriving(&self) -> usize {
        let all = self.all.lock();
        all.len() + self.arriving.load(Ordering::Relaxed)
    }

    /// Removes a client.
    pub fn remove(&self, id: u64) {
        self.all.lock().remove(&id);
    }

    /// Clients connected.
    pub fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// Bytes that the buffers of clients take, but those of replicas, which the stream fills.
    pub fn buffer_bytes(&self) -> u64 {
        let bytes = |client: &Arc<Client>| match client.has_flag(ClientFlags::REPLICA) {
            true => 0,
            false => client.figures.memory.load(Ordering::Relaxed) + client.mail_bytes() as u64,
        };
        self.all.lock().values().map(bytes).sum()
    }

    /// A client by its id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.all.lock().get(&id).cloned()
    }

    /// All clients, oldest first.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.all.lock().values().cloned().collect()
    }
}
