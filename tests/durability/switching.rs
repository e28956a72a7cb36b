//! `appendonly`, `appendfsync` and rewrites while the server runs.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::common::{Client, start};
use crate::files::{AOF, files_in, part};

const NO_AOF: &[&str] = &["--appendonly", "no", "--save", ""];

fn await_base(client: &mut Client) {
    client.await_info("aof_rewrite_scheduled", "0");
    client.await_info("aof_rewrite_in_progress", "0");
}

#[test]
fn switched_on_while_a_snapshot_is_written_it_begins_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[NO_AOF, &["--rdb-key-save-delay", "1000"]].concat());
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 500"), "+OK");
    assert!(client.run("BGSAVE").starts_with('+'));
    assert_eq!(client.run("CONFIG SET rdb-key-save-delay 0 appendonly yes"), "+OK");
    assert_eq!(client.run("SET before 1"), "+OK");
    await_base(&mut client);
    assert_eq!(client.run("INCR counter"), ":1");
    server.kill();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("DBSIZE"), ":502");
    assert_eq!(client.run("GET counter"), "$1");
}

#[test]
fn switched_on_again_during_a_rewrite_nothing_is_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[AOF, &["--rdb-key-save-delay", "500"]].concat());
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 300"), "+OK");
    for round in 1..=12 {
        assert!(client.run("BGREWRITEAOF").starts_with('+'), "{round}");
        client.run("INCR counter");
        // Between the beginning and the end of the child, earlier and later.
        std::thread::sleep(std::time::Duration::from_millis(20 * round));
        assert_eq!(client.run("CONFIG SET appendonly no"), "+OK");
        client.run("INCR counter");
        assert_eq!(client.run("CONFIG SET appendonly yes"), "+OK");
        client.run("INCR counter");
        await_base(&mut client);
        assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    }
    client.run("INCR counter");
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("GET counter"), "$37");
}

#[test]
fn switched_on_beside_older_files_their_manifest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("SET old 1"), "+OK");
    server.kill();
    let server = start(dir.path(), NO_AOF);
    let mut client = server.client();
    assert_eq!(client.run("DBSIZE"), ":0");
    assert_eq!(client.run("SET new 1"), "+OK");
    assert_eq!(client.run("CONFIG SET appendonly yes"), "+OK");
    await_base(&mut client);
    let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
    let text = fs::read_to_string(manifest).unwrap();
    assert!(text.contains("appendonly.aof.2.base.rdb seq 2 type b"), "{text}");
    assert!(text.contains("appendonly.aof.2.incr.aof seq 2 type i"), "{text}");
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("KEYS *"), "[$new]");
}

#[test]
fn killed_rewrite_leaves_everything_and_the_next_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[AOF, &["--rdb-key-save-delay", "10000"]].concat());
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 1000"), "+OK");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    let child = server.forked().unwrap().to_string();
    assert_eq!(client.run("SET during 1"), "+OK");
    assert!(std::process::Command::new("kill").args(["-9", &child]).status().unwrap().success());
    client.await_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "err");
    assert_eq!(client.run("CONFIG SET rdb-key-save-delay 0"), "+OK");
    assert_eq!(client.run("SET behind 1"), "+OK");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    let parts = files_in(&dir.path().join("appendonlydir"));
    assert_eq!(parts.len(), 3, "{:?}", parts.keys());
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("DBSIZE"), ":1002");
}

#[test]
fn rewrite_without_append_only_file_writes_a_base() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), NO_AOF);
    let mut client = server.client();
    assert_eq!(client.run("SET k v"), "+OK");
    let reply = client.run("BGREWRITEAOF");
    assert_eq!(reply, "+Background append only file rewriting started");
    client.await_info("aof_rewrite_in_progress", "0");
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("GET k"), "$v");
}

#[test]
fn appendfsync_changes_while_writers_wait_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let mut changer = server.client();
    let writer = {
        let mut client = server.client();
        std::thread::spawn(move || {
            (0..1500).for_each(|at| assert_eq!(client.run("INCR n"), format!(":{}", at + 1)));
        })
    };
    while !writer.is_finished() {
        for policy in ["always", "no", "everysec", "always", "everysec"] {
            assert_eq!(changer.run(&format!("CONFIG SET appendfsync {policy}")), "+OK");
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
    }
    writer.join().unwrap();
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("GET n"), "$1500");
}

#[test]
fn loadaof_finds_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    for at in 0..20 {
        assert_eq!(client.run(&format!("SET k{at} v")), "+OK");
    }
    assert_eq!(client.run("DEBUG LOADAOF"), "+OK");
    assert_eq!(client.run("DBSIZE"), ":20");
    assert_eq!(client.run("SET after 1"), "+OK");
    assert_eq!(client.run("DEBUG LOADAOF"), "+OK");
    assert_eq!(client.run("DBSIZE"), ":21");
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("DBSIZE"), ":21");
}

#[test]
fn automatic_rewrite_comes_when_the_file_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ["--auto-aof-rewrite-min-size", "20kb", "--auto-aof-rewrite-percentage", "100"];
    let server = start(dir.path(), &[AOF, &limits].concat());
    let mut client = server.client();
    let value = "x".repeat(1000);
    for _ in 0..40 {
        assert_eq!(client.run(&format!("SET same {value}")), "+OK");
    }
    client.await_info("aof_rewrites", "1");
    let size: u64 = client.info("aof_current_size").parse().unwrap();
    assert!(size < 20_000, "{size}");
}

#[test]
fn dir_that_changes_leaves_the_append_only_file_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("SET before 1"), "+OK");
    assert_eq!(client.run("CONFIG SET enable-protected-configs yes").get(..4), Some("-ERR"));
    server.kill();
    let options = [AOF, &["--enable-protected-configs", "yes"]].concat();
    let server = start(dir.path(), &options);
    let mut client = server.client();
    assert_eq!(client.run(&format!("CONFIG SET dir {}", other.path().display())), "+OK");
    assert_eq!(client.run("SET between 1"), "+OK");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    assert_eq!(client.run("SET after 1"), "+OK");
    assert!(!other.path().join("appendonlydir").exists());
    server.kill();
    let server = start(dir.path(), &options);
    let mut client = server.client();
    assert_eq!(client.run("DBSIZE"), ":3");
    // Off and on again, it moves.
    for line in ["appendonly no", &format!("dir {}", other.path().display()), "appendonly yes"] {
        assert_eq!(client.run(&format!("CONFIG SET {line}")), "+OK");
    }
    await_base(&mut client);
    server.kill();
    let server = start(other.path(), AOF);
    assert_eq!(server.client().run("DBSIZE"), ":3");
}

#[test]
fn leftovers_of_dead_children_go_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH;
    let names = ["temp-999999999.rdb", "temp-1.rdb", "temp-x.rdb", "temp-.rdb", "temp-9.rdb.bak"];
    for name in names {
        let file = fs::File::create(dir.path().join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    fs::File::create(dir.path().join("temp-999999998.rdb")).unwrap();
    start(dir.path(), NO_AOF).kill();
    assert!(!dir.path().join(names[0]).exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), names.len());
}

#[test]
fn superseded_files_go_once_aof_disable_auto_gc_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[AOF, &["--aof-disable-auto-gc", "yes"]].concat());
    let mut client = server.client();
    let old = part(dir.path(), ".base.rdb");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    assert!(old.exists());
    assert_eq!(client.run("CONFIG SET aof-disable-auto-gc no"), "+OK");
    assert!(!old.exists());
    let manifest = fs::read_to_string(part(dir.path(), ".manifest")).unwrap();
    assert!(!manifest.contains("type h"), "{manifest}");
}
