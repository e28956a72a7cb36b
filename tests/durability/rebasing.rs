//! Snapshots that become the base of the append-only file too, and how long its replay takes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::common::{Client, log_of, start};
use crate::files::{AOF, part};

const SHARED: &[&str] = &["--appendonly", "yes", "--save", "", "--aof-rebase-on-save", "yes"];

fn bgsave(client: &mut Client) {
    assert_eq!(client.run("BGSAVE"), "+Background saving started");
    client.await_info("rdb_bgsave_in_progress", "0");
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn manifest(dir: &Path) -> String {
    fs::read_to_string(dir.join("appendonlydir/appendonly.aof.manifest")).unwrap()
}

#[test]
fn snapshot_is_the_base_too_with_one_fork_and_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), SHARED);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 500"), "+OK");
    assert_eq!(client.run("INCR counter"), ":1");
    for round in 1..=3 {
        bgsave(&mut client);
        let base = part(dir.path(), ".base.rdb");
        assert!(base.ends_with(format!("appendonly.aof.{}.base.rdb", round + 1)), "{base:?}");
        assert_eq!(inode(&base), inode(&dir.path().join("dump.rdb")));
        assert_eq!(client.info("aof_rebases"), round.to_string());
        assert_eq!(client.info("total_forks"), round.to_string());
        assert_eq!(client.info("aof_rewrites"), "0");
        let size = fs::metadata(&base).unwrap().len();
        assert_eq!(client.info("aof_base_size"), size.to_string());
        let listed = manifest(dir.path());
        assert_eq!(listed.matches("type i").count(), 1, "{listed}");
        assert_eq!(client.run("INCR counter"), format!(":{}", round + 1));
    }
    let parts = fs::read_dir(dir.path().join("appendonlydir")).unwrap().count();
    assert_eq!(parts, 3, "what was superseded is gone");
    server.kill();
    let server = start(dir.path(), SHARED);
    let mut client = server.client();
    assert_eq!((client.run("GET counter"), client.run("DBSIZE")), ("$4".into(), ":501".into()));
    server.kill();
    let server = start(dir.path(), &["--appendonly", "no", "--save", ""]);
    assert_eq!(server.client().run("GET counter"), "$3");
}

#[test]
fn snapshot_in_another_file_system_stays_a_snapshot() {
    let memory = Path::new("/dev/shm");
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in(memory));
    let Ok(other) = other else { return };
    if fs::metadata(dir.path()).unwrap().dev() == fs::metadata(other.path()).unwrap().dev() {
        return;
    }
    symlink(other.path(), dir.path().join("appendonlydir")).unwrap();
    let server = start(dir.path(), SHARED);
    let mut client = server.client();
    assert_eq!(client.run("INCR counter"), ":1");
    let before = manifest(dir.path());
    bgsave(&mut client);
    assert_eq!(manifest(dir.path()), before, "and no increment was begun in vain");
    assert_eq!(client.info("aof_rebases"), "0");
    assert!(dir.path().join("dump.rdb").exists());
    assert!(log_of(dir.path()).contains("will not be the base"), "{}", log_of(dir.path()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left of the attempt");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 3);
}

#[test]
fn killed_snapshot_leaves_everything_and_the_next_one_is_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[SHARED, &["--rdb-key-save-delay", "10000"]].concat());
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 1000"), "+OK");
    assert_eq!(client.run("BGSAVE"), "+Background saving started");
    let child = server.forked().unwrap().to_string();
    assert_eq!(client.run("INCR counter"), ":1");
    assert!(std::process::Command::new("kill").args(["-9", &child]).status().unwrap().success());
    client.await_info("rdb_bgsave_in_progress", "0");
    assert_eq!(client.info("rdb_last_bgsave_status"), "err");
    assert_eq!(client.run("CONFIG SET rdb-key-save-delay 0"), "+OK");
    // A base that is not wanted any more: the append-only file was off in between.
    assert_eq!(client.run("CONFIG SET appendonly no"), "+OK");
    assert_eq!(client.run("CONFIG SET appendonly yes"), "+OK");
    client.await_info("aof_rewrite_scheduled", "0");
    client.await_info("aof_rewrite_in_progress", "0");
    bgsave(&mut client);
    assert_eq!(client.run("INCR counter"), ":2");
    server.kill();
    let server = start(dir.path(), SHARED);
    let mut client = server.client();
    assert_eq!((client.run("GET counter"), client.run("DBSIZE")), ("$2".into(), ":1001".into()));
}

#[test]
fn base_size_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 1000"), "+OK");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    let size = client.info("aof_base_size");
    for _ in 0..20 {
        assert_eq!(client.run(&format!("SET same {}", "x".repeat(2000))), "+OK");
    }
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().info("aof_base_size"), size);
    server.kill();
    // So that what had grown by then is rewritten now.
    let limits = ["--auto-aof-rewrite-min-size", "20kb", "--auto-aof-rewrite-percentage", "100"];
    let server = start(dir.path(), &[AOF, &limits].concat());
    server.client().await_info("aof_rewrites", "1");
}

#[test]
fn rewrite_comes_when_the_replay_would_take_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let options = [AOF, &["--auto-aof-rewrite-percentage", "0"]].concat();
    let server = start(dir.path(), &options);
    let mut client = server.client();
    let estimate =
        |client: &mut Client| client.info("aof_replay_seconds_estimate").parse::<f64>().unwrap();
    let script = b"for i = 1, 800000 do redis.call('INCR', 'n') end";
    assert_eq!(client.run_words(&[b"EVAL", script, b"0"]), "$-1");
    let first = estimate(&mut client);
    assert!((1.1..1.4).contains(&first), "before anything was measured: {first}");
    server.kill();
    let server = start(dir.path(), &options);
    let mut client = server.client();
    assert_eq!(client.run("GET n"), "$800000");
    let measured = estimate(&mut client);
    assert!(measured > 0.01 && (measured - first).abs() > 1e-9, "{measured}");
    // What is measured here depends on the machine: go on until it is long enough.
    assert_eq!(client.run("CONFIG SET aof-max-replay-seconds 1"), "+OK");
    for _ in 0..20 {
        if client.info("aof_rewrites") != "0" || client.info("aof_rewrite_in_progress") != "0" {
            break;
        }
        assert_eq!(client.run_words(&[b"EVAL", script, b"0"]), "$-1");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    client.await_info("aof_rewrite_in_progress", "0");
    assert_ne!(client.info("aof_rewrites"), "0");
    assert!(log_of(dir.path()).contains("replaying its increments"), "{}", log_of(dir.path()));
    assert!(estimate(&mut client) < 1.0);
}
