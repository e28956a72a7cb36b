//! What only a real connection shows: a server of its own, and sockets.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Bytes of a value whose reply does not fit into the buffers of a socket.
const LARGE: usize = 12_000_000;

struct Server {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_rekeep"))
            .args(["--port", &port.to_string(), "--save", "", "--dir"])
            .arg(dir.path())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Server { process, port, _dir: dir }
    }

    fn connect(&self) -> TcpStream {
        for _ in 0..200 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                return stream;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not listen on port {}", self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn expect(stream: &mut TcpStream, answer: &[u8]) {
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got.escape_ascii().to_string(), answer.escape_ascii().to_string());
}

#[test]
fn requests_behind_a_reply_larger_than_the_sockets_are_answered() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    write!(client, "SETRANGE k {} x\r\n", LARGE - 1).unwrap();
    expect(&mut client, format!(":{LARGE}\r\n").as_bytes());
    client.write_all(b"GET k\r\nINCR n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    client.write_all(b"INCR n\r\n").unwrap();
    expect(&mut client, format!("${LARGE}\r\n").as_bytes());
    std::io::copy(&mut (&mut client).take(LARGE as u64), &mut std::io::sink()).unwrap();
    expect(&mut client, b"\r\n:1\r\n:2\r\n");
}

#[test]
fn a_script_over_its_time_leaves_its_thread_to_others() {
    let server = Server::start(&["--io-threads", "1", "--busy-reply-threshold", "20"]);
    let mut client = server.connect();
    let mut other = server.connect();
    client.write_all(b"EVAL \"while true do pcall(error) end\" 0\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    other.write_all(b"GET k\r\nWATCH k\r\nSCRIPT KILL\r\n").unwrap();
    let busy = b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN \
                 NOSAVE.\r\n";
    expect(&mut other, busy);
    expect(&mut other, busy);
    expect(&mut other, b"+OK\r\n");
    expect(&mut client, b"-ERR Script killed by user with SCRIPT KILL. script: ");
    other.write_all(b"GET k\r\n").unwrap();
    expect(&mut other, b"$-1\r\n");
}

#[test]
fn connections_that_come_at_once_do_not_pass_maxclients() {
    let dir = tempfile::tempdir().unwrap();
    let server = common::start(dir.path(), &["--save", "", "--maxclients", "5"]);
    let mut clients: Vec<_> = (0..40).map(|_| server.client()).collect();
    let replies: Vec<String> = clients.iter_mut().map(|client| client.run("PING")).collect();
    let served = replies.iter().filter(|reply| *reply == "+PONG").count();
    assert!((1..=5).contains(&served), "{served} were served");
}

#[test]
fn oom_score_adj_is_written_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = common::start(dir.path(), &["--save", ""]);
    let mut client = server.client();
    let file = format!("/proc/{}/oom_score_adj", client.info("process_id"));
    let score = || std::fs::read_to_string(&file).unwrap().trim().parse::<i32>().unwrap();
    let before = score();
    let values: [&[u8]; 4] = [b"CONFIG", b"SET", b"oom-score-adj-values", b"10 20 30"];
    assert_eq!(client.run_words(&values), "+OK");
    assert_eq!(score(), before);
    assert_eq!(client.run("CONFIG SET oom-score-adj relative"), "+OK");
    assert_eq!(score(), (before + 10).min(1000));
    assert_eq!(client.run("CONFIG SET oom-score-adj no"), "+OK");
    assert_eq!(score(), before);
}

#[test]
fn whoever_a_pause_holds_back_goes_on_when_its_time_is_up() {
    const CLIENTS: usize = 16;
    const PAUSES: usize = 1000;
    let server = Server::start(&[]);
    let mut one = server.connect();
    let mut others: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for _ in 0..PAUSES {
        // The requests come about when the pause ends.
        one.write_all(b"CLIENT PAUSE 1\r\n").unwrap();
        expect(&mut one, b"+OK\r\n");
        std::thread::sleep(Duration::from_micros(400));
        for other in &mut others {
            other.write_all(b"PING\r\n").unwrap();
        }
        for other in &mut others {
            expect(other, b"+PONG\r\n");
        }
    }
}

/// Requests that come at once are looked ahead for; that must change no answer, whatever they find.
#[test]
fn requests_about_collections_answer_in_a_batch_as_they_do_alone() {
    let server = Server::start(&[]);
    let mut lines: Vec<String> = vec!["SET text 1".into(), "RPUSH list a".into()];
    for at in 0..600 {
        lines.push(format!("SADD large{} member{at}", at % 2));
        lines.push(format!("HSET fields{} field{} {at}", at % 7, at % 300));
        lines.push(format!("ZADD scores {at} member{}", at % 200));
        lines.push(format!("SADD numbers{} {at}", at % 50));
        lines.push(format!("HGET fields{} field{at}", at % 9));
        lines.push(format!("SISMEMBER large0 member{}", at * 2));
        lines.push(format!("ZSCORE scores member{at}"));
        lines.push(format!("SREM large1 member{at}"));
        lines.push(format!("HDEL fields3 field{at}"));
    }
    for wrong in
        ["HGET text a", "SADD list a", "ZADD text 1 a", "HGET fields0", "ZADD scores 1", "SADD"]
    {
        lines.extend([wrong.to_owned(), "SCARD large0".to_owned(), "HLEN fields3".to_owned()]);
    }
    let mut stream = server.connect();
    let mut answers = |batch: &[String]| {
        let mut sent = batch.join("\r\n");
        sent.push_str("\r\nECHO end\r\n");
        stream.write_all(sent.as_bytes()).unwrap();
        let mut told = Vec::new();
        let mut room = [0; 4096];
        while !told.ends_with(b"$3\r\nend\r\n") {
            let count = stream.read(&mut room).unwrap();
            assert!(count > 0);
            told.extend_from_slice(&room[..count]);
        }
        told.truncate(told.len() - b"$3\r\nend\r\n".len());
        told
    };
    let alone: Vec<u8> =
        lines.iter().flat_map(|line| answers(std::slice::from_ref(line))).collect();
    assert_eq!(answers(&["FLUSHALL".to_owned()]), b"+OK\r\n");
    let together: Vec<u8> = lines.chunks(61).flat_map(&mut answers).collect();
    assert!(together == alone);
}
