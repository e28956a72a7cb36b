//! Listening sockets: several addresses, optional ones, a Unix socket; changed while running.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::base::clock;
use crate::config::Config;
use crate::engine::core::{Attention, Core};
use crate::net::threads::{Accepted, Threads};

/// Accepting goes on after an error such as "too many open files", but not at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the end of the process waits for the sockets to be closed.
const CLOSE_WAIT: Duration = Duration::from_millis(200);
/// How long those who come while the server starts wait before they are told that it is loading, and
/// how often it is looked whether it still is.
const LOAD_WAIT: Duration = Duration::from_millis(150);
const LOAD_LOOK: Duration = Duration::from_millis(2);

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address cannot be had.
    #[error("Could not create server TCP listening socket {address}: {error}")]
    Tcp {
        /// The address as configured, with its port.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// No address of `bind` was usable.
    #[error("Failed listening on port {0} (tcp), aborting.")]
    Nowhere(u16),
    /// The Unix socket cannot be made.
    #[error("Failed opening Unix socket: bind: {0}")]
    Unix(io::Error),
}

enum Order {
    Listen(std::net::TcpListener),
    ListenUnix(std::os::unix::net::UnixListener),
    CloseTcp,
    /// Everything; then say so.
    Close(SyncSender<()>),
}

/// The listeners of the process.
pub struct Listeners {
    orders: UnboundedSender<Order>,
    bound: Mutex<(Vec<String>, u16)>,
}

impl Listeners {
    /// Binds what the configuration names and accepts from now on.
    pub fn start(
        core: &'static Core,
        threads: Arc<Threads>,
        config: &Config,
    ) -> Result<Listeners, ListenError> {
        let tcp = bind_all(config)?;
        let unix = bind_unix(config)?;
        let (orders, receiver) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ListenError::Unix)?;
        let started = std::thread::Builder::new().name("accept".to_owned()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, follow_orders(core, threads, receiver));
        });
        started.map_err(ListenError::Unix)?;
        let listeners = Listeners { orders, bound: Mutex::new((config.bind.clone(), config.port)) };
        tcp.into_iter().for_each(|listener| listeners.order(Order::Listen(listener)));
        unix.into_iter().for_each(|listener| listeners.order(Order::ListenUnix(listener)));
        Ok(listeners)
    }

    fn order(&self, order: Order) {
        // The accepting thread lives as long as the process.
        let _ = self.orders.send(order);
    }

    /// Accepts nobody any more. Whoever sees the server end and comes again at once is refused, and
    /// not let in to find that it ends.
    pub fn close(&self) {
        let (done, closed) = sync_channel(1);
        self.order(Order::Close(done));
        let _ = closed.recv_timeout(CLOSE_WAIT);
    }

    /// Listens where the configuration says now; nothing changes when that fails.
    pub fn rebind(&self, config: &Config) -> Result<(), ListenError> {
        let mut bound = self.bound.lock();
        let wanted = (config.bind.clone(), config.port);
        if *bound == wanted {
            return Ok(());
        }
        let same_port = bound.1 == wanted.1;
        if same_port {
            // The old sockets hold the port.
            self.order(Order::CloseTcp);
        }
        let tcp = match bind_all(config) {
            Ok(tcp) => tcp,
            Err(error) => {
                if same_port {
                    self.listen_again(config, &bound.0);
                }
                return Err(error);
            }
        };
        if !same_port {
            self.order(Order::CloseTcp);
        }
        tcp.into_iter().for_each(|listener| self.order(Order::Listen(listener)));
        *bound = wanted;
        Ok(())
    }
}

impl Listeners {
    /// Listens where it did before an attempt failed.
    fn listen_again(&self, config: &Config, addresses: &[String]) {
        let before = Config { bind: addresses.to_vec(), ..config.clone() };
        match bind_all(&before) {
            Ok(tcp) => tcp.into_iter().for_each(|listener| self.order(Order::Listen(listener))),
            Err(error) => tracing::error!("Listening where it did before is refused: {error}"),
        }
    }
}

/// Listening sockets for every address of `bind`; an address with a `-` in front may be missing.
fn bind_all(config: &Config) -> Result<Vec<std::net::TcpListener>, ListenError> {
    if config.port == 0 {
        return Ok(Vec::new());
    }
    let mut bound = Vec::new();
    for address in &config.bind {
        let (name, optional) = match address.strip_prefix('-') {
            Some(name) => (name, true),
            None => (address.as_str(), false),
        };
        let name = match name {
            "*" => "0.0.0.0",
            "::*" => "::",
            name => name,
        };
        match bind_one(name, config.port, config.tcp_backlog) {
            Ok(listener) => bound.push(listener),
            Err(error) if optional && is_missing(&error) => {}
            Err(error) => {
                let address = format!("{name}:{}", config.port);
                let error = ListenError::Tcp { address, error };
                tracing::warn!("{error}");
                return Err(ListenError::Nowhere(config.port));
            }
        }
    }
    if bound.is_empty() && !config.bind.is_empty() {
        return Err(ListenError::Nowhere(config.port));
    }
    Ok(bound)
}

fn is_missing(error: &io::Error) -> bool {
    let missing =
        [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ENOPROTOOPT];
    error.raw_os_error().is_some_and(|code| missing.contains(&code))
}

fn bind_one(name: &str, port: u16, backlog: i32) -> io::Result<std::net::TcpListener> {
    use std::net::ToSocketAddrs;
    let addr: SocketAddr = (name, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_unix(config: &Config) -> Result<Option<std::os::unix::net::UnixListener>, ListenError> {
    if config.unixsocket.is_empty() {
        return Ok(None);
    }
    let path = config.unixsocket.to_path();
    // A socket file that a dead process left behind is in the way.
    let _ = std::fs::remove_file(&path);
    let bound = std::os::unix::net::UnixListener::bind(&path).and_then(|listener| {
        if config.unixsocketperm != 0 {
            let mode = std::fs::Permissions::from_mode(config.unixsocketperm);
            std::fs::set_permissions(&path, mode)?;
        }
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map(Some).map_err(ListenError::Unix)
}

async fn follow_orders(
    core: &'static Core,
    threads: Arc<Threads>,
    mut orders: UnboundedReceiver<Order>,
) {
    let mut tcp: Vec<tokio::task::JoinHandle<()>> = Vec::new();
    let mut unix: Vec<tokio::task::JoinHandle<()>> = Vec::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Listen(listener) => {
                let threads = Arc::clone(&threads);
                tcp.push(tokio::task::spawn_local(accept_tcp(core, threads, listener)));
            }
            Order::ListenUnix(listener) => {
                let accepting = accept_unix(core, Arc::clone(&threads), listener);
                unix.push(tokio::task::spawn_local(accepting));
            }
            Order::CloseTcp => tcp.drain(..).for_each(|task| task.abort()),
            Order::Close(done) => {
                for task in tcp.drain(..).chain(unix.drain(..)) {
                    task.abort();
                    // The socket is closed once the task has gone.
                    let _ = task.await;
                }
                let _ = done.send(());
            }
        }
    }
}

/// A data set that is loaded in an instant is not worth an error to whoever comes in that instant.
async fn await_short_load(core: &Core) {
    let until = clock::steady() + LOAD_WAIT;
    while core.has_attention(Attention::LOADING) && clock::steady() < until {
        tokio::time::sleep(LOAD_LOOK).await;
    }
}

async fn accept_tcp(core: &'static Core, threads: Arc<Threads>, listener: std::net::TcpListener) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    await_short_load(core).await;
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        if let Some(refusal) = refusal(core, peer.ip().to_canonical().is_loopback()) {
            send_refusal(stream, refusal);
            continue;
        }
        keep_alive(&stream, core.config.load().tcp_keepalive);
        threads.hand_over(core, Accepted::Tcp(stream));
    }
}

async fn accept_unix(
    core: &'static Core,
    threads: Arc<Threads>,
    listener: std::os::unix::net::UnixListener,
) {
    let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { return };
    await_short_load(core).await;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        if let Some(refusal) = refusal(core, true) {
            send_refusal(stream, refusal);
            continue;
        }
        threads.hand_over(core, Accepted::Unix(stream));
    }
}

/// Why a connection is not served, if it is not.
fn refusal(core: &Core, local: bool) -> Option<&'static str> {
    core.clients.accepted.fetch_add(1, Ordering::Relaxed);
    let config = core.config.load();
    if core.clients.count_with_arriving() >= config.maxclients as usize {
        core.clients.rejected.fetch_add(1, Ordering::Relaxed);
        return Some("-ERR max number of clients reached\r\n");
    }
    if config.protected_mode && !local && core.users.default_account().user().nopass {
        core.clients.rejected.fetch_add(1, Ordering::Relaxed);
        return Some(PROTECTED);
    }
    None
}

const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is \
    enabled and no password is set for the default user. In this mode connections are only \
    accepted from the loopback interface. If you want to connect from external computers to \
    Redis you may adopt one of the following solutions: 1) Disable protected mode by sending \
    CONFIG SET protected-mode no from a local client. 2) Set protected-mode no in the \
    configuration file and restart. 3) Start with --protected-mode no. 4) Set a password for the \
    default user.\r\n";

fn send_refusal(mut stream: impl io::Write, refusal: &str) {
    // The socket's buffer is empty, so this does not wait; a client that has gone does not matter.
    let _ = stream.write_all(refusal.as_bytes());
}

fn keep_alive(stream: &std::net::TcpStream, seconds: i32) {
    let Ok(seconds @ 1..) = u64::try_from(seconds) else { return };
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(seconds))
        .with_interval(Duration::from_secs((seconds / 3).max(1)))
        .with_retries(3);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!("keepalive not set on descriptor {}: {error}", stream.as_raw_fd());
    }
}
