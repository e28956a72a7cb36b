//! Snapshots whose keys several processes encode.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Client, Server, log_of, start};
use crate::files::AOF;

const PROCESSES: usize = 3;
const OPTIONS: &[&str] = &["--save", "", "--rdb-save-processes", "3"];

/// A server with keys of all kinds in two databases, in enough memory for all the processes.
fn filled(dir: &Path, options: &[&str]) -> Server {
    let server = start(dir, options);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 220000 key 1000"), "+OK");
    assert_eq!(client.run("SELECT 3"), "+OK");
    assert_eq!(client.run("DEBUG POPULATE 5000 other"), "+OK");
    for at in 0..200 {
        client.run(&format!("SADD set{at} a b {at}"));
        client.run(&format!("HSET hash{at} field {at}"));
        client.run(&format!("RPUSH list{at} a {at}"));
        client.run(&format!("ZADD scores{at} {at} a"));
        client.run(&format!("PEXPIREAT hash{at} 9999999999999"));
    }
    assert_eq!(client.run("SETRANGE long 3000000 end"), ":3000003");
    await_memory(&mut client, 200 << 20);
    server
}

/// Asks again until there is an answer.
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(found) = found() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} does not come");
}

/// The server goes by a figure that it takes ten times a second, and INFO at once.
fn await_memory(client: &mut Client, bytes: u64) {
    wait_for("memory in use", || {
        let peak: u64 = client.info("used_memory_peak").parse().unwrap();
        (peak >= bytes).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
}

fn children(pid: u32) -> Vec<u32> {
    let told = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    told.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// A snapshot is being written, slowly: its child and that one's processes.
fn begin(server: &Server, client: &mut Client) -> (u32, Vec<u32>) {
    assert_eq!(client.run("CONFIG SET rdb-key-save-delay 1000"), "+OK");
    assert_eq!(client.run("BGSAVE"), "+Background saving started");
    wait_for("a child with its encoders", || {
        let child = server.forked()?;
        Some((child, children(child))).filter(|(_, encoders)| encoders.len() == PROCESSES)
    })
}

fn end(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

fn await_gone(pids: &[u32]) {
    let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    wait_for("the end of processes", || (!pids.iter().any(is_there)).then_some(()));
}

#[test]
fn what_several_processes_encode_is_everything() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(dir.path(), OPTIONS);
    let mut client = server.client();
    let digest = client.run("DEBUG DIGEST");
    let reload = |server: Server, options: &[&str]| {
        server.kill();
        let server = start(dir.path(), options);
        let mut client = server.client();
        assert_eq!(client.run("DEBUG DIGEST"), digest);
        await_memory(&mut client, 200 << 20);
        server
    };
    assert_eq!(client.run("BGSAVE"), "+Background saving started");
    client.await_info("rdb_bgsave_in_progress", "0");
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    let server = reload(server, OPTIONS);
    fs::remove_file(dir.path().join("dump.rdb")).unwrap();
    assert_eq!(server.client().run("SAVE"), "+OK");
    let options = [OPTIONS, AOF].concat();
    let server = reload(server, &options);
    let mut client = server.client();
    client.await_info("aof_rewrite_in_progress", "0");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    reload(server, &options).kill();
}

#[test]
fn processes_that_encode_end_with_their_child_and_it_fails_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(dir.path(), OPTIONS);
    let mut client = server.client();
    let (child, encoders) = begin(&server, &mut client);
    end(child);
    client.await_info("rdb_bgsave_in_progress", "0");
    assert_eq!(client.info("rdb_last_bgsave_status"), "err");
    await_gone(&encoders);

    let (child, encoders) = begin(&server, &mut client);
    end(encoders[1]);
    client.await_info("rdb_bgsave_in_progress", "0");
    assert_eq!(client.info("rdb_last_bgsave_status"), "err");
    await_gone(&encoders);
    await_gone(&[child]);
    let log = log_of(dir.path());
    assert!(log.contains("encoding failed: a process has ended"), "{log}");
    assert!(!dir.path().join("dump.rdb").exists());
    server.kill();
}
