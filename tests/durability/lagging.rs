//! Ends and new starts of a primary whose replicas have not read everything.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Server, log_of, start};

/// A replica, as far as its primary can tell.
struct Follower(BufReader<TcpStream>);

impl Follower {
    /// Asks for the stream; gives what is answered, behind the snapshot if there is one.
    fn ask(server: &Server, id: &str, next: i64) -> (Follower, String) {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut follower = Follower(BufReader::new(stream));
        follower.say(&format!("REPLCONF capa psync2\r\nPSYNC {id} {next}\r\n"));
        assert_eq!(follower.line(), "+OK");
        let answer = follower.line();
        if answer.starts_with("+FULLRESYNC") {
            let size: usize = follower.line().strip_prefix('$').unwrap().parse().unwrap();
            follower.0.read_exact(&mut vec![0; size]).unwrap();
        }
        (follower, answer)
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line that is not a sign of life.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection is closed");
            if line != "\n" {
                return line.trim_end().to_owned();
            }
        }
    }
}

fn serve(dir: &Path, patience: &str) -> Server {
    let save = ["--save", "3600 1", "--repl-ping-replica-period", "3600"];
    start(dir, &[&save[..], &["--shutdown-timeout", patience]].concat())
}

#[test]
fn shutdown_waits_for_a_replica_for_as_long_as_it_may() {
    for (confirms, patience, told) in [(false, "1", "0 of 1"), (true, "30", "1 of 1")] {
        let dir = tempfile::tempdir().unwrap();
        let server = serve(dir.path(), patience);
        let (mut follower, _) = Follower::ask(&server, "?", -1);
        let (mut client, mut late) = (server.client(), server.client());
        assert_eq!(client.run("SET key value"), "+OK");
        let began = Instant::now();
        server.signal("TERM");
        while !client.run("INFO server").contains("shutdown_in_milliseconds:") {
            assert!(began.elapsed() < Duration::from_millis(900), "{}", log_of(dir.path()));
        }
        late.send(&[b"SET", b"late", b"1"]);
        if confirms {
            let end = client.info("master_repl_offset");
            follower.say(&format!("REPLCONF ACK {end}\r\n"));
        }
        assert_eq!(server.wait(), Some(0));
        let took = began.elapsed();
        assert_eq!(took >= Duration::from_secs(1), !confirms, "{took:?}");
        let log = log_of(dir.path());
        assert!(log.contains(&format!("{told} replicas are in sync")), "{log}");
        assert_eq!(log.contains("Lagging replica"), !confirms, "{log}");
        assert_eq!(late.reply(), "", "writes wait for the end");
        let server = serve(dir.path(), "1");
        assert_eq!(server.client().run("MGET key late"), "[$value,$-1]");
    }
}

#[test]
fn shutdown_that_waits_can_be_called_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "30");
    let _follower = Follower::ask(&server, "?", -1);
    let (mut client, mut asking, mut late) = (server.client(), server.client(), server.client());
    assert_eq!(client.run("SET key value"), "+OK");
    asking.send(&[b"SHUTDOWN"]);
    client.await_info("blocked_clients", "1");
    late.send(&[b"INCR", b"late"]);
    assert_eq!(client.run("SHUTDOWN ABORT"), "+OK");
    assert_eq!(asking.reply(), "-ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(late.reply(), ":1");
    assert_eq!(client.run("SHUTDOWN ABORT"), "-ERR No shutdown in progress.");
    assert_eq!(client.run("SHUTDOWN NOW"), "", "who is in a hurry does not wait");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn stream_goes_on_behind_the_snapshot_that_a_primary_has_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "1");
    let _follower = Follower::ask(&server, "?", -1);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK");
    assert_eq!(client.run("SET gone 1 PX 1"), "+OK");
    assert_eq!(client.run("SET kept 1"), "+OK");
    let (id, end) = (client.info("master_replid"), client.info("master_repl_offset"));
    assert_eq!(client.run("SHUTDOWN NOW"), "");
    assert_eq!(server.wait(), Some(0));
    let end: i64 = end.parse().unwrap();
    let server = serve(dir.path(), "1");
    let mut client = server.client();
    assert_eq!(client.info("master_replid2"), id);
    assert_eq!(client.info("second_repl_offset"), (end + 1).to_string());
    // Who has everything up to there goes on, and hears what has expired meanwhile.
    let (mut follower, answer) = Follower::ask(&server, &id, end + 1);
    assert_eq!(answer, format!("+CONTINUE {}", client.info("master_replid")));
    let words: Vec<String> = (0..10).map(|_| follower.line()).collect();
    assert_eq!(words.join(" "), "*2 $6 SELECT $1 0 *2 $3 DEL $4 gone");
    let (_, answer) = Follower::ask(&server, &id, end + 2);
    assert!(answer.starts_with("+FULLRESYNC"), "{answer}: it knows more than the snapshot");
}
