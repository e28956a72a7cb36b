//! The threads that serve clients: each with a runtime of its own, connections handed out in turn.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::base::clock::UnixMs;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::core::{Core, Worker};
use crate::net::connection::Connection;
use crate::net::outbox::{Outbox, Sender};

/// A connection on its way to its thread.
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

/// The threads.
pub struct Threads {
    senders: Vec<UnboundedSender<Accepted>>,
    next: AtomicUsize,
}

impl Threads {
    /// Starts `count` threads.
    pub fn start(core: &'static Core, count: usize) -> std::io::Result<Arc<Threads>> {
        let mut senders = Vec::new();
        for index in 0..count {
            let (sender, receiver) = unbounded_channel();
            senders.push(sender);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(format!("io-{index}")).spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, take_in(core, receiver));
            })?;
        }
        Ok(Arc::new(Threads { senders, next: AtomicUsize::new(0) }))
    }

    /// Hands a connection to the next thread.
    pub fn hand_over(&self, core: &Core, accepted: Accepted) {
        core.clients.expect();
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.senders.len();
        // A thread ends with the process only.
        let _ = self.senders[index].send(accepted);
    }
}

async fn take_in(core: &'static Core, mut receiver: UnboundedReceiver<Accepted>) {
    let worker = Rc::new(Worker::new(core));
    let outbox = Rc::new(Outbox::new(Rc::clone(&worker)));
    tokio::task::spawn_local(Rc::clone(&outbox).serve());
    while let Some(accepted) = receiver.recv().await {
        let (worker, outbox) = (Rc::clone(&worker), Rc::clone(&outbox));
        match accepted {
            Accepted::Tcp(stream) => {
                let client = tcp_client(core, &stream);
                let Ok((client, stream)) = client
                    .and_then(|client| Ok((client, tokio::net::TcpStream::from_std(stream)?)))
                else {
                    core.clients.arrived(None);
                    continue;
                };
                core.clients.arrived(Some(Arc::clone(&client)));
                let (receiver, sender) = stream.into_split();
                let halves = (receiver, Sender::Tcp(sender));
                let connection = Connection::new(halves, worker, outbox, client);
                tokio::task::spawn_local(connection.serve());
            }
            Accepted::Unix(stream) => {
                let client = unix_client(core, &stream);
                let Ok(stream) = tokio::net::UnixStream::from_std(stream) else {
                    core.clients.arrived(None);
                    continue;
                };
                core.clients.arrived(Some(Arc::clone(&client)));
                let (receiver, sender) = stream.into_split();
                let halves = (receiver, Sender::Unix(sender));
                let connection = Connection::new(halves, worker, outbox, client);
                tokio::task::spawn_local(connection.serve());
            }
        }
    }
}

fn tcp_client(core: &Core, stream: &std::net::TcpStream) -> std::io::Result<Arc<Client>> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let show = |addr: std::net::SocketAddr| match addr.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => format!("{ip}:{}", addr.port()),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:{}", addr.port()),
    };
    let (addr, laddr) = (show(stream.peer_addr()?), show(stream.local_addr()?));
    let id = core.clients.next_id();
    Ok(Arc::new(Client::new(id, addr, laddr, stream.as_raw_fd(), UnixMs::now())))
}

fn unix_client(core: &Core, stream: &std::os::unix::net::UnixStream) -> Arc<Client> {
    let path = core.config.load().unixsocket.lossy();
    let id = core.clients.next_id();
    let addr = format!("{path}:0");
    let client = Client::new(id, addr.clone(), addr, stream.as_raw_fd(), UnixMs::now());
    client.set_flag(ClientFlags::UNIX, true);
    Arc::new(client)
}
