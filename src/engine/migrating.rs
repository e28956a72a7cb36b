//! The other end of MIGRATE: connections to servers that take keys, kept for a while.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock::{self, Steady};
use crate::engine::record::encode_command;

/// Connections kept at the most.
const LINKS_MAX: usize = 64;
/// How long an unused one is kept.
const KEPT: Duration = Duration::from_secs(10);
/// The longest answer that is listened to, bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// A server by its address.
pub type Peer = (String, u16);

struct Link {
    stream: TcpStream,
    /// The database it has selected.
    db: Option<i64>,
    used: Steady,
}

/// Connections that nobody uses at the moment.
#[derive(Default)]
pub struct Links(Mutex<HashMap<Peer, Link>>);

/// What becomes of a key over there.
pub enum Cargo {
    /// It is put there: milliseconds it has left, or 0, and what DUMP gives.
    Value(u64, Vec<u8>),
    /// It has gone here since it was put there.
    Gone,
}

/// Keys on their way.
pub struct Shipment {
    /// Where to.
    pub peer: Peer,
    /// Its database.
    pub db: i64,
    /// How long each step may take.
    pub timeout: Duration,
    /// The words of AUTH.
    pub credentials: Vec<Vec<u8>>,
    /// Whether keys that are there are replaced.
    pub replace: bool,
    /// The keys.
    pub cargo: Vec<(Box<[u8]>, Cargo)>,
}

/// Where a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It did not come about.
    Connecting,
    /// While the request was written.
    Writing,
    /// While the answer was read.
    Reading,
}

/// How far a shipment came.
#[derive(Default)]
pub struct Outcome {
    /// Whether each key has arrived.
    pub arrived: Vec<bool>,
    /// The first error the other server answered.
    pub refusal: Option<String>,
    /// Why no more answers came.
    pub failure: Option<Failure>,
}

/// An attempt that failed, and whether that took as long as it might.
struct Broken(Failure, bool);

fn broken(failure: Failure) -> impl Fn(io::Error) -> Broken {
    move |error| {
        let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        Broken(failure, late)
    }
}

impl Links {
    /// Connections that are kept.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Closes those that were not used for long.
    pub fn close_idle(&self) {
        self.0.lock().retain(|_, link| link.used.elapsed() < KEPT);
    }

    /// Sends keys and waits for the answers. Whatever is locked, this takes its time.
    pub fn send(&self, shipment: &Shipment) -> Outcome {
        let kept = self.0.lock().remove(&shipment.peer);
        let mut outcome = Outcome::default();
        if let Some(link) = kept {
            match self.attempt(link, shipment, &mut outcome) {
                Ok(()) => return outcome,
                // The other end has closed it meanwhile; nothing has arrived.
                Err(Broken(_, false)) if outcome.arrived.is_empty() => {}
                Err(Broken(failure, _)) => {
                    outcome.failure = Some(failure);
                    return outcome;
                }
            }
        }
        let Some(link) = connect(shipment) else {
            outcome.failure = Some(Failure::Connecting);
            return outcome;
        };
        if let Err(Broken(failure, _)) = self.attempt(link, shipment, &mut outcome) {
            outcome.failure = Some(failure);
        }
        outcome
    }

    fn attempt(
        &self,
        mut link: Link,
        shipment: &Shipment,
        outcome: &mut Outcome,
    ) -> Result<(), Broken> {
        let stream = &link.stream;
        let timeout = Some(shipment.timeout);
        stream.set_read_timeout(timeout).map_err(broken(Failure::Connecting))?;
        stream.set_write_timeout(timeout).map_err(broken(Failure::Connecting))?;
        let selects = link.db != Some(shipment.db);
        let request = encode(shipment, selects);
        (&link.stream).write_all(&request).map_err(broken(Failure::Writing))?;
        let mut answers = BufReader::new(&link.stream);
        let mut answer = || read_line(&mut answers).map_err(broken(Failure::Reading));
        let mut refusal = None;
        let before = usize::from(!shipment.credentials.is_empty()) + usize::from(selects);
        for _ in 0..before {
            note_refusal(&answer()?, &mut refusal);
        }
        for _ in &shipment.cargo {
            let line = answer()?;
            // What was said before it ran concerns every key.
            outcome.arrived.push(!line.starts_with('-') && refusal.is_none());
            note_refusal(&line, &mut outcome.refusal);
        }
        if refusal.is_some() {
            outcome.refusal = refusal;
            return Ok(());
        }
        link.db = Some(shipment.db);
        link.used = clock::steady();
        let mut links = self.0.lock();
        if links.len() < LINKS_MAX {
            links.insert(shipment.peer.clone(), link);
        }
        Ok(())
    }
}

fn note_refusal(line: &str, first: &mut Option<String>) {
    if let Some(error) = line.strip_prefix('-') {
        first.get_or_insert_with(|| error.to_owned());
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn connect(shipment: &Shipment) -> Option<Link> {
    let (host, port) = &shipment.peer;
    let addrs = (host.as_str(), *port).to_socket_addrs().ok()?;
    let mut streams = addrs.map(|addr| TcpStream::connect_timeout(&addr, shipment.timeout));
    let stream = streams.find_map(Result::ok)?;
    let _ = stream.set_nodelay(true);
    Some(Link { stream, db: None, used: clock::steady() })
}

fn encode(shipment: &Shipment, selects: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if !shipment.credentials.is_empty() {
        encode_command(&mut out, shipment.credentials.iter().map(Vec::as_slice));
    }
    let mut digits = itoa::Buffer::new();
    if selects {
        let db = digits.format(shipment.db).as_bytes();
        encode_command(&mut out, [b"SELECT", db].into_iter());
    }
    for (key, cargo) in &shipment.cargo {
        match cargo {
            Cargo::Gone => encode_command(&mut out, [b"DEL".as_slice(), key].into_iter()),
            Cargo::Value(ttl_ms, payload) => {
                let ttl = digits.format(*ttl_ms).as_bytes();
                let words = [b"RESTORE".as_slice(), key, ttl, payload, b"REPLACE"];
                let count = words.len() - usize::from(!shipment.replace);
                encode_command(&mut out, words[..count].iter().copied());
            }
        }
    }
    out
}
