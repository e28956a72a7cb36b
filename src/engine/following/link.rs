//! The connection to the primary: handshake, snapshot, stream; and the next one when it breaks.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::base::clock::{self, Steady, UnixMs};
use crate::config::Primary;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::core::{Core, Worker};
use crate::engine::following::frames::Incoming;
use crate::engine::following::stream::Stream;
use crate::engine::following::{self, Stage};
use crate::engine::record::encode_command;
use crate::engine::{failover, loading, pause};

/// How long to wait before the next attempt: at first, and at the most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
/// The same after a link that had held: the primary keeps the stream for a while only.
const PAUSE_AFTER_LINK: Duration = Duration::from_millis(10);
/// A link has held that has lasted so long.
const LINK_HELD: Duration = Duration::from_secs(1);
/// How often a connection looks around.
const TICK: Duration = Duration::from_millis(100);
/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// The longest line of a handshake, bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Why a link ended.
type Failure = String;

/// Follows whom the settings name, until the process ends.
pub(super) fn run(core: &'static Core) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(follow(core)),
        Err(error) => tracing::error!("The primary cannot be followed: {error}"),
    }
    core.following.is_running.store(false, Ordering::Release);
}

async fn follow(core: &'static Core) {
    let worker = Worker::new(core);
    let changed = Arc::clone(&core.following.changed);
    let mut pause = PAUSES[0];
    loop {
        let turn = core.following.turn();
        let Some(primary) = core.config().replicaof.clone() else {
            pause = PAUSES[0];
            changed.notified().await;
            continue;
        };
        let mut attempt = Attempt { core, worker: &worker, turn, primary, synced_at: None };
        tokio::select! {
            () = changed.notified() => {
                pause = PAUSES[0];
                continue;
            }
            failure = attempt.run() => {
                if let Err(failure) = failure {
                    tracing::warn!("{failure}");
                }
            }
        }
        if core.following.turn() != turn {
            continue;
        }
        core.following.enter(core, Stage::Down);
        pause = match attempt.synced_at {
            Some(at) if at.elapsed() >= LINK_HELD => PAUSE_AFTER_LINK,
            Some(_) => PAUSES[0],
            None => (pause * 2).clamp(PAUSES[0], PAUSES[1]),
        };
        tokio::select! {
            () = changed.notified() => pause = PAUSES[0],
            () = sleep(pause) => {}
        }
    }
}

struct Attempt<'w> {
    core: &'static Core,
    worker: &'w Worker,
    turn: u64,
    primary: Primary,
    /// Since when the stream is read.
    synced_at: Option<Steady>,
}

/// What the primary wants to send.
enum Offer {
    Full { id: String, offset: u64 },
    Partial { id: Option<String> },
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let core = self.core;
        let Primary { host, port } = &self.primary;
        core.following.enter(core, Stage::Connecting);
        tracing::info!("Connecting to MASTER {host}:{port}");
        let socket = timeout(self.patience(), self.connect())
            .await
            .map_err(|_| format!("Timeout connecting to the MASTER {host}:{port}"))?
            .map_err(|error| format!("Error connecting to MASTER {host}:{port}: {error}"))?;
        tracing::info!("MASTER <-> REPLICA sync started");
        core.following.enter(core, Stage::Handshake);
        let client = register(core, &socket);
        let _leaving = Leaving(&client, core);
        let mut link = Link { socket, input: Vec::new(), patience: self.patience(), core };
        self.shake_hands(&mut link).await?;
        let db = match self.agree(&mut link).await? {
            Offer::Full { id, offset } => self.take_all(&mut link, &id, offset).await?,
            Offer::Partial { id } => {
                tracing::info!("Successful partial resynchronization with master.");
                self.rename(id);
                core.persist.backlog.selected()
            }
        };
        self.synced_at = Some(clock::steady());
        let mut stream = Stream::new(self.worker, Arc::clone(&client), db);
        stream.input = std::mem::take(&mut link.input);
        self.read(&mut link, &mut stream, &client).await
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.core.config.load().repl_timeout.unsigned_abs()))
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let config = self.core.config();
        let source = config.bind_source_addr.lossy();
        let source: Option<IpAddr> = source.parse().ok();
        let mut failure = io::Error::other("the name has no address");
        for address in lookup_host((self.primary.host.as_str(), self.primary.port)).await? {
            match connect_to(address, source).await {
                Ok(socket) => {
                    let _ = socket.set_nodelay(!config.repl_disable_tcp_nodelay);
                    return Ok(socket);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn shake_hands(&self, link: &mut Link) -> Result<(), Failure> {
        let config = self.core.config();
        let pong = link.say(&[b"PING"]).await?;
        let known = ["+", "-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
        if !known.iter().any(|start| pong.starts_with(start)) {
            return Err(format!("Error reply to PING from master: '{pong}'"));
        }
        let (user, password) = (config.masteruser.as_bytes(), config.masterauth.as_bytes());
        if !password.is_empty() {
            let words: Vec<&[u8]> = [b"AUTH".as_slice(), user, password]
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect();
            let answer = link.say(&words).await?;
            if answer.starts_with('-') {
                return Err(format!("Unable to AUTH to MASTER: {answer}"));
            }
        }
        let port = match config.replica_announce_port {
            0 => config.port,
            port => port,
        };
        let port = port.to_string();
        link.tell(&[b"listening-port", port.as_bytes()]).await?;
        let ip = config.replica_announce_ip.as_bytes();
        if !ip.is_empty() {
            link.tell(&[b"ip-address", ip]).await?;
        }
        link.tell(&[b"capa", b"eof", b"capa", b"psync2"]).await
    }

    /// PSYNC. Whom a failover makes the primary must want it; who is not reached is tried again.
    async fn agree(&self, link: &mut Link) -> Result<Offer, Failure> {
        let core = self.core;
        let hands_over = failover::is_in_progress(core);
        let offer = self.ask(link, hands_over).await;
        match &offer {
            Ok(_) if hands_over => failover::succeeded(core),
            Err(_) if hands_over && !self.is_over() => failover::rejected(self.worker),
            _ => {}
        }
        offer
    }

    async fn ask(&self, link: &mut Link, hands_over: bool) -> Result<Offer, Failure> {
        let core = self.core;
        let known = core.persist.backlog.is_active();
        let (id, next) = match known {
            true => (core.repl_id.lock().clone(), (core.persist.backlog.end() + 1).to_string()),
            false => ("?".to_owned(), "-1".to_owned()),
        };
        if known {
            tracing::info!("Trying a partial resynchronization (request {id}:{next}).");
        } else {
            tracing::info!("Partial resynchronization not possible (no cached master)");
        }
        let mut words = vec![b"PSYNC".as_slice(), id.as_bytes(), next.as_bytes()];
        if hands_over {
            words.push(b"FAILOVER");
        }
        let answer = link.say(&words).await?;
        let words: Vec<&str> = answer.split(' ').collect();
        match words.as_slice() {
            ["+FULLRESYNC", id, offset] if id.len() == 40 => {
                let offset = offset.parse().map_err(|_| format!("Master answered: {answer}"))?;
                tracing::info!("Full resync from master: {id}:{offset}");
                Ok(Offer::Full { id: (*id).to_owned(), offset })
            }
            ["+CONTINUE", rest @ ..] if known => {
                Ok(Offer::Partial { id: rest.first().map(|id| (*id).to_owned()) })
            }
            _ => Err(format!("The master does not synchronize now: {answer}")),
        }
    }

    /// The primary's stream may have another name by now.
    fn rename(&self, id: Option<String>) {
        let core = self.core;
        let _hold = core.keyspace.lock_all();
        if self.is_over() {
            return;
        }
        let mut own = core.repl_id.lock();
        let Some(id) = id.filter(|id| *id != *own && id.len() == 40) else { return };
        let before = std::mem::replace(&mut *own, id);
        *core.repl_id_before.lock() = Some((before, core.persist.backlog.end()));
        // Who follows learns the name by asking again.
        following::disconnect_replicas(core);
    }

    fn is_over(&self) -> bool {
        self.core.following.turn() != self.turn
    }

    /// A full synchronization; gives the database that is selected behind the snapshot.
    async fn take_all(&self, link: &mut Link, id: &str, offset: u64) -> Result<u32, Failure> {
        let core = self.core;
        core.following.enter(core, Stage::Sync);
        // While the primary prepares it, empty lines come.
        let header = link.line().await?;
        let incoming = header.strip_prefix('$').and_then(Incoming::announced);
        let mut incoming = incoming
            .ok_or_else(|| format!("MASTER <-> REPLICA sync: bad announcement '{header}'"))?;
        match incoming.size {
            Some(size) => {
                tracing::info!(
                    "MASTER <-> REPLICA sync: receiving {size} bytes from master to disk"
                );
            }
            None => tracing::info!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to disk"
            ),
        }
        core.following.note(|status| status.sync_total = incoming.size);
        let temp = Temp(loading::sync_path(&core.config()), core);
        let told = |error: crate::base::fs::FsError| error.to_string();
        let file = core.persist.disk.create(&temp.0).map_err(told)?;
        loop {
            let mut room = std::mem::take(&mut link.input);
            let taken = incoming.take(&room, |bytes| file.put(bytes)).map_err(told)?;
            core.following.note(|status| {
                (status.sync_read, status.heard_at) =
                    (status.sync_read + taken as u64, UnixMs::now());
            });
            room.drain(..taken);
            link.input = room;
            if incoming.is_done() {
                break;
            }
            link.fill().await?;
        }
        drop(file);
        self.load(link, &temp, id, offset).await
    }

    /// Puts the snapshot in place of the keyspace.
    async fn load(
        &self,
        link: &mut Link,
        temp: &Temp,
        id: &str,
        offset: u64,
    ) -> Result<u32, Failure> {
        let core = self.core;
        tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        let (path, turn) = (temp.0.clone(), self.turn);
        let (worker, id) = (self.worker, id.to_owned());
        let loaded = std::thread::scope(|scope| {
            // The primary must not take us for dead.
            let (done, over) = std::sync::mpsc::channel::<()>();
            let socket = &link.socket;
            scope.spawn(move || {
                while over
                    .recv_timeout(Duration::from_secs(1))
                    .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    let _ = socket.try_write(ALIVE);
                }
            });
            let loaded = loading::adopt_sync(
                core,
                worker,
                &path,
                || core.following.turn() == turn,
                |db| {
                    *core.repl_id.lock() = id;
                    *core.repl_id_before.lock() = None;
                    core.persist.backlog.follow(offset, db, core.config.load().repl_backlog_size);
                },
            );
            drop(done);
            loaded
        });
        let db = loaded.map_err(|error| {
            format!("Failed trying to load the MASTER synchronization DB from disk: {error}")
        })?;
        tracing::info!("MASTER <-> REPLICA sync: Finished with success");
        Ok(db)
    }

    /// Reads the stream for as long as it comes.
    async fn read(
        &self,
        link: &mut Link,
        stream: &mut Stream<'_>,
        client: &Client,
    ) -> Result<(), Failure> {
        let core = self.core;
        core.following.enter(core, Stage::Connected);
        let (mut heard, mut told) = (clock::steady(), None::<Steady>);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let unread = core.persist.backlog.end() + stream.input.len() as u64;
            core.following.read.store(unread, Ordering::Relaxed);
            // CLIENT PAUSE holds up the primary too.
            let paused = pause::current(core, UnixMs::now()).is_some();
            let applied = if paused { Ok(()) } else { stream.apply(|| !self.is_over()) };
            applied.map_err(|error| {
                format!("The master's stream is no stream of commands: {error}")
            })?;
            if self.is_over() {
                return Ok(());
            }
            if std::mem::take(&mut stream.is_asked)
                || told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1))
            {
                told = Some(clock::steady());
                link.confirm(core.persist.backlog.end(), stream.synced(core)).await?;
            }
            // A pause holds up what the stream does; what comes is read all the same, to a limit.
            let has_room = stream.input.len() < READ_BYTES;
            stream.input.reserve(READ_BYTES.max(stream.lacking()));
            tokio::select! {
                read = link.socket.read_buf(&mut stream.input), if !paused || has_room => {
                    match read.map_err(|error| format!("Error reading from MASTER: {error}"))? {
                        0 => return Err("Connection with master lost.".to_owned()),
                        count => self.worker.stats.net_in.add(count as u64),
                    }
                    heard = clock::steady();
                    core.following.note(|status| status.heard_at = UnixMs::now());
                    client.figures.active_at.store(UnixMs::now().0, Ordering::Relaxed);
                }
                _ = tick.tick() => {
                    if client.is_killed() {
                        return Err("Connection with master lost: it was killed.".to_owned());
                    }
                    if !paused && heard.elapsed() > self.patience() {
                        return Err("MASTER timeout: no data nor PING received...".to_owned());
                    }
                }
            }
        }
    }
}

/// What is sent while nothing can be said: an offset that confirms nothing.
const ALIVE: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n";

async fn connect_to(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

/// The primary stands among the clients.
fn register(core: &Core, socket: &TcpStream) -> Arc<Client> {
    use std::os::fd::AsRawFd;
    let shown = |address: io::Result<SocketAddr>| {
        address.map_or_else(|_| String::new(), |address| address.to_string())
    };
    let (peer, own) = (shown(socket.peer_addr()), shown(socket.local_addr()));
    let id = core.clients.next_id();
    let client = Client::new(id, peer, own, socket.as_raw_fd(), UnixMs::now());
    client.set_flag(ClientFlags::PRIMARY, true);
    client.labels.lock().user = Box::default();
    let client = Arc::new(client);
    core.clients.add(Arc::clone(&client));
    client
}

struct Leaving<'c>(&'c Client, &'static Core);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.1.clients.remove(self.0.id);
    }
}

/// The file that a snapshot comes to; it goes when it is loaded.
struct Temp(PathBuf, &'static Core);

impl Drop for Temp {
    fn drop(&mut self) {
        // What stays is removed at a later start.
        let _ = self.1.persist.disk.remove(&self.0);
    }
}

/// A connection and what was read from it.
struct Link {
    socket: TcpStream,
    input: Vec<u8>,
    patience: Duration,
    core: &'static Core,
}

impl Link {
    async fn send(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words.iter().copied());
        let sent = timeout(self.patience, self.socket.write_all(&bytes)).await;
        sent.map_err(|_| "Timeout writing to MASTER".to_owned())?
            .map_err(|error| format!("Error writing to MASTER: {error}"))
    }

    /// Reads more.
    async fn fill(&mut self) -> Result<(), Failure> {
        self.input.reserve(READ_BYTES);
        let read = timeout(self.patience, self.socket.read_buf(&mut self.input)).await;
        let count = read
            .map_err(|_| match self.core.following.status().stage {
                Stage::Sync => "Timeout receiving bulk data from MASTER".to_owned(),
                _ => "Timeout connecting to the MASTER".to_owned(),
            })?
            .map_err(|error| format!("Error reading from MASTER: {error}"))?;
        self.core.following.note(|status| status.heard_at = UnixMs::now());
        match count {
            0 => Err("MASTER closed the connection".to_owned()),
            _ => Ok(()),
        }
    }

    /// The next line that is not empty.
    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.input) {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if !line.is_empty() {
                    return Ok(line);
                }
            }
            if self.input.len() > LINE_BYTES_MAX {
                return Err("MASTER sends a line without end".to_owned());
            }
            self.fill().await?;
        }
    }

    async fn say(&mut self, words: &[&[u8]]) -> Result<String, Failure> {
        self.send(words).await?;
        self.line().await
    }

    /// REPLCONF; what the primary does not know is not needed.
    async fn tell(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        let words: Vec<&[u8]> = [b"REPLCONF".as_slice()].iter().chain(words).copied().collect();
        let answer = self.say(&words).await?;
        if answer.starts_with('-') {
            tracing::info!("(Non critical) Master does not understand REPLCONF: {answer}");
        }
        Ok(())
    }

    async fn confirm(&mut self, offset: u64, synced: Option<u64>) -> Result<(), Failure> {
        let (offset, synced) = (offset.to_string(), synced.map(|synced| synced.to_string()));
        let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", offset.as_bytes()];
        if let Some(synced) = &synced {
            words.extend([b"FACK".as_slice(), synced.as_bytes()]);
        }
        self.send(&words).await
    }
}
