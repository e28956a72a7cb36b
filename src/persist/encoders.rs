//! A snapshot's keys, encoded by several processes at once.
//!
//! They are forked from the process that writes the snapshot, a child itself or a server that saves
//! while everything stands still. Each encodes the keys of some shards and sends them over its pipe.
//! The keys of a database may stand in any order: the writer takes runs of whole keys from the pipes in
//! turn. What `child` says of children holds for these too.

use std::fs::File;
use std::io::{self, Read, Write};

use nix::fcntl::{FcntlArg, fcntl};

use crate::keyspace::lock::Hold;
use crate::keyspace::walk::entries;
use crate::persist::child::{EXIT_FAILED, EXIT_OK, Forked, fork_piped};
use crate::persist::rdb::writer::{Settings, Writer};
use crate::persist::sink::Sink;
use crate::persist::snapshot::{Keys, Plan, SnapshotError, filled};

/// Memory in use that is worth another process.
const SHARE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Most processes that nobody asked for.
const DEFAULT_MAX: usize = 4;
/// A run of keys ends with the first that is not within this many bytes.
const RUN_BYTES: u64 = 64 * 1024;
/// What a pipe is asked to hold, so that an encoder goes on while others are read.
const PIPE_BYTES: i32 = 1024 * 1024;
/// Bytes taken from a pipe at a time.
const ROOM_BYTES: usize = 128 * 1024;
/// Before what an encoder sends stand its kind and a number of 8 bytes.
const HEAD_BYTES: usize = 9;
/// That many bytes of entries follow.
const BYTES: u8 = 0;
/// That many keys are whole with this: a run ends.
const RUN: u8 = 1;
/// There are no more keys in this database.
const DATABASE: u8 = 2;
/// It failed; a text of that many bytes follows.
const FAILED: u8 = 3;

/// How many a snapshot gets: as the setting says, or half of the cores, since clients need some too.
pub fn wanted(setting: usize, used_memory: u64) -> usize {
    let half = || std::thread::available_parallelism().map_or(1, usize::from) / 2;
    let most = if setting == 0 { half().min(DEFAULT_MAX) } else { setting };
    most.min(usize::try_from(used_memory / SHARE_BYTES_MIN).unwrap_or(most))
}

/// The processes; they end with this.
pub struct Encoders {
    all: Vec<Encoder>,
}

struct Encoder {
    process: Forked,
    /// Whether there are keys of the present database to come.
    busy: bool,
}

impl Encoders {
    /// Forks them. `hold` has all shards.
    pub fn start(
        hold: &Hold,
        plan: &Plan,
        settings: Settings,
        processes: usize,
    ) -> io::Result<Encoders> {
        let mut encoders = Encoders { all: Vec::with_capacity(processes) };
        for at in 0..processes {
            let process = fork_piped(hold, |pipe| {
                // A smaller pipe does as well, more slowly.
                let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
                match encode(hold, plan, settings, Sender { pipe: &pipe }, (at, processes)) {
                    Ok(()) => EXIT_OK,
                    Err(error) => {
                        let text = error.to_string();
                        // Without a reader there is nobody to tell.
                        let _ =
                            Sender { pipe: &pipe }.send(FAILED, text.len() as u64, text.as_bytes());
                        EXIT_FAILED
                    }
                }
            })?;
            encoders.all.push(Encoder { process, busy: false });
        }
        Ok(encoders)
    }

    /// Hands the writer all keys of the next database that has some; `each_key` is called for each.
    pub fn keys_of_next_db<S: Sink>(
        &mut self,
        writer: &mut Writer<S>,
        each_key: &mut dyn FnMut(),
    ) -> Result<(), SnapshotError> {
        let mut room = vec![0; ROOM_BYTES];
        self.all.iter_mut().for_each(|encoder| encoder.busy = true);
        while self.all.iter().any(|encoder| encoder.busy) {
            for encoder in self.all.iter_mut().filter(|encoder| encoder.busy) {
                match take_run(&mut encoder.process.pipe, writer, &mut room)? {
                    Some(keys) => (0..keys).for_each(|_| each_key()),
                    None => encoder.busy = false,
                }
            }
        }
        Ok(())
    }
}

impl Drop for Encoders {
    fn drop(&mut self) {
        self.all.iter().for_each(|encoder| encoder.process.end());
    }
}

/// An encoder's end of its pipe.
struct Sender<'p> {
    pipe: &'p File,
}

impl Sender<'_> {
    fn send(&mut self, kind: u8, number: u64, bytes: &[u8]) -> io::Result<()> {
        let mut head = [kind; HEAD_BYTES];
        head[1..].copy_from_slice(&number.to_le_bytes());
        self.pipe.write_all(&head)?;
        self.pipe.write_all(bytes)
    }
}

impl Sink for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(BYTES, bytes.len() as u64, bytes)
    }
}

/// The work of an encoder: its share of the shards.
fn encode(
    hold: &Hold,
    plan: &Plan,
    settings: Settings,
    sender: Sender<'_>,
    (at, processes): (usize, usize),
) -> Result<(), SnapshotError> {
    // The sum is that of the whole file.
    let mut writer = Writer::new(sender, Settings { checksum: false, ..settings })?;
    let mut keys = Keys::new(plan);
    for db in filled(hold, plan) {
        let shards = hold.shards().skip(at).step_by(processes);
        let (mut count, mut sent) = (0, writer.bytes_written());
        keys.write(&mut writer, entries(hold, shards, db), |writer| {
            count += 1;
            if writer.bytes_written() - sent >= RUN_BYTES {
                writer.flush()?;
                writer.sink_mut().send(RUN, count, &[])?;
                (count, sent) = (0, writer.bytes_written());
            }
            Ok(())
        })?;
        writer.flush()?;
        writer.sink_mut().send(RUN, count, &[])?;
        writer.sink_mut().send(DATABASE, 0, &[])?;
    }
    Ok(())
}

/// Takes the next run of whole keys: how many; `None` if the database has no more.
fn take_run<S: Sink>(
    pipe: &mut impl Read,
    writer: &mut Writer<S>,
    room: &mut [u8],
) -> Result<Option<u64>, SnapshotError> {
    loop {
        let mut head = [0; HEAD_BYTES];
        read(pipe, &mut head)?;
        let [kind, number @ ..] = head;
        let mut number = u64::from_le_bytes(number);
        match kind {
            BYTES => {
                while number > 0 {
                    let count = room.len().min(usize::try_from(number).unwrap_or(usize::MAX));
                    read(pipe, &mut room[..count])?;
                    writer.raw(&room[..count])?;
                    number -= count as u64;
                }
            }
            RUN => return Ok(Some(number)),
            DATABASE => return Ok(None),
            _ => {
                let mut text = String::new();
                pipe.take(number).read_to_string(&mut text)?;
                return Err(SnapshotError::Encoder(text));
            }
        }
    }
}

fn read(pipe: &mut impl Read, room: &mut [u8]) -> Result<(), SnapshotError> {
    let ended = |error: io::Error| SnapshotError::Encoder(format!("a process has ended: {error}"));
    pipe.read_exact(room).map_err(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_as_many_as_memory_is_worth() {
        assert_eq!(wanted(3, 10 * SHARE_BYTES_MIN), 3);
        assert_eq!(wanted(3, 2 * SHARE_BYTES_MIN + 1), 2);
        assert_eq!(wanted(3, SHARE_BYTES_MIN - 1), 0);
        assert!(wanted(0, u64::MAX) <= DEFAULT_MAX);
    }

    /// Runs taken until the database ends or there is an error; their keys, and what was written.
    fn take_all(mut sent: &[u8]) -> (Result<Vec<u64>, String>, Vec<u8>) {
        let settings = Settings { checksum: false, ..Settings::default() };
        let mut writer = Writer::new(Vec::new(), settings).unwrap();
        // Smaller than what is sent: it is taken piece by piece.
        let mut room = [0; 7];
        let mut runs = Vec::new();
        let end = loop {
            match take_run(&mut sent, &mut writer, &mut room) {
                Ok(Some(keys)) => runs.push(keys),
                Ok(None) => break Ok(runs),
                Err(error) => break Err(error.to_string()),
            }
        };
        (end, writer.into_sink().unwrap())
    }

    fn frame(kind: u8, number: u64, bytes: &[u8]) -> Vec<u8> {
        [&[kind], &number.to_le_bytes()[..], bytes].concat()
    }

    #[test]
    fn runs_are_taken_whole() {
        let first = [frame(BYTES, 10, b"0123456789"), frame(BYTES, 3, b"abc"), frame(RUN, 2, b"")];
        let sent = [first.concat(), frame(RUN, 0, b""), frame(DATABASE, 0, b"")].concat();
        let (runs, written) = take_all(&sent);
        assert_eq!((runs, written), (Ok(vec![2, 0]), b"0123456789abc".to_vec()));
        for cut in 0..sent.len() {
            let told = take_all(&sent[..cut]).0.unwrap_err();
            assert!(told.contains("a process has ended"), "{cut}: {told}");
        }
    }

    #[test]
    fn what_an_encoder_says_of_its_failure_is_told() {
        let sent = [frame(RUN, 1, b""), frame(FAILED, 4, b"oops"), frame(RUN, 1, b"")].concat();
        assert_eq!(take_all(&sent).0, Err("encoding failed: oops".to_owned()));
    }
}
