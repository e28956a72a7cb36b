//! How the process ends: signals, SHUTDOWN, and what is in the files afterwards.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use crate::common::{log_of, spawn, start, start_refused};
use crate::files::AOF;

const RULES: &[&str] = &["--appendonly", "no", "--save", "1000 1000"];

#[test]
fn sigterm_and_sigint_save_where_save_points_are_set() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path(), RULES);
        assert_eq!(server.client().run("SET k v"), "+OK");
        server.signal(signal);
        assert_eq!(server.wait(), Some(0), "{signal}");
        let log = log_of(dir.path());
        for line in ["User requested shutdown", "Saving the final RDB snapshot", "bye bye"] {
            assert!(log.contains(line), "{line}: {log}");
        }
        assert!(log.contains(&format!("Received SIG{signal} scheduling shutdown")), "{log}");
        let server = start(dir.path(), RULES);
        assert_eq!(server.client().run("GET k"), "$v");
    }
}

#[test]
fn sigterm_without_save_points_writes_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &["--save", ""]);
    assert_eq!(server.client().run("SET k v"), "+OK");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(!dir.path().join("dump.rdb").exists());
}

#[test]
fn second_sigint_ends_at_once_and_keeps_the_old_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    // A snapshot of 2000 keys then takes twenty seconds.
    let options = [RULES, &["--rdb-key-save-delay", "10000"]].concat();
    let server = start(dir.path(), RULES);
    assert_eq!(server.client().run("SET old 1"), "+OK");
    assert_eq!(server.client().run("SAVE"), "+OK");
    server.kill();
    let before = fs::read(dir.path().join("dump.rdb")).unwrap();
    let server = start(dir.path(), &options);
    assert_eq!(server.client().run("DEBUG POPULATE 2000"), "+OK");
    server.signal("INT");
    while !log_of(dir.path()).contains("Saving the final RDB snapshot") {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    server.signal("INT");
    assert_eq!(server.wait(), Some(1));
    assert!(log_of(dir.path()).contains("You insist... exiting now."));
    assert_eq!(fs::read(dir.path().join("dump.rdb")).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file is left");
}

#[test]
fn signal_while_loading_leaves_the_snapshot_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), RULES);
    assert_eq!(server.client().run("DEBUG POPULATE 3000"), "+OK");
    assert_eq!(server.client().run("SAVE"), "+OK");
    server.kill();
    let before = fs::read(dir.path().join("dump.rdb")).unwrap();
    for end in ["signal", "command"] {
        let server = spawn(dir.path(), &[RULES, &["--key-load-delay", "20000"]].concat());
        while !log_of(dir.path()).contains("RDB age") {
            std::thread::sleep(Duration::from_millis(5));
        }
        match end {
            "signal" => server.signal("TERM"),
            _ => assert_eq!(server.client().run("SHUTDOWN SAVE"), ""),
        }
        assert_eq!(server.wait(), Some(0), "{end}");
        fs::remove_file(dir.path().with_extension("log")).unwrap();
    }
    assert_eq!(fs::read(dir.path().join("dump.rdb")).unwrap(), before);
}

#[test]
fn shutdown_obeys_its_words() {
    for (words, saved) in [("SHUTDOWN", true), ("SHUTDOWN NOSAVE", false)] {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path(), RULES);
        assert_eq!(server.client().run("SET k v"), "+OK");
        assert_eq!(server.client().run(words), "");
        assert_eq!(server.wait(), Some(0));
        assert_eq!(dir.path().join("dump.rdb").exists(), saved, "{words}");
    }
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &["--save", ""]);
    let mut client = server.client();
    assert_eq!(client.run("SHUTDOWN SAVE NOSAVE"), "-ERR syntax error");
    assert_eq!(client.run("SHUTDOWN ABORT"), "-ERR No shutdown in progress.");
    assert_eq!(client.run("SET k v"), "+OK");
    assert_eq!(client.run("SHUTDOWN SAVE"), "");
    assert_eq!(server.wait(), Some(0));
    assert!(dir.path().join("dump.rdb").exists());
}

#[test]
fn shutdown_that_cannot_save_is_refused_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), RULES);
    let mut client = server.client();
    assert_eq!(client.run("SET k v"), "+OK");
    // A snapshot cannot replace a directory.
    fs::create_dir(dir.path().join("dump.rdb")).unwrap();
    assert_eq!(client.run("SHUTDOWN"), "-ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(client.run("GET k"), "$v");
    assert_eq!(client.run("SET k w"), "+OK");
    assert_eq!(client.run("SHUTDOWN FORCE"), "");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn shutdown_during_a_background_save_or_rewrite_leaves_whole_files() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--appendonly", "yes", "--save", "1000 10000", "--rdb-key-save-delay", "10000"];
    for job in ["BGSAVE", "BGREWRITEAOF"] {
        let server = start(dir.path(), &options);
        let mut client = server.client();
        assert_eq!(client.run("CONFIG SET rdb-key-save-delay 0"), "+OK");
        assert_eq!(client.run("FLUSHALL"), "+OK");
        assert_eq!(client.run("CONFIG SET rdb-key-save-delay 10000"), "+OK");
        for at in 0..1000 {
            assert_eq!(client.run(&format!("SET k{at} v")), "+OK");
        }
        assert!(client.run(job).starts_with('+'));
        assert_eq!(client.run("CONFIG SET rdb-key-save-delay 0"), "+OK");
        assert_eq!(client.run("SET late 1"), "+OK");
        assert_eq!(client.run("SHUTDOWN"), "");
        assert_eq!(server.wait(), Some(0), "{job}");
        let server = start(dir.path(), AOF);
        assert_eq!(server.client().run("DBSIZE"), ":1001", "{job}");
        server.kill();
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .chain(fs::read_dir(dir.path().join("appendonlydir")).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("temp-"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{job}");
    }
}

#[test]
fn flushall_replaces_the_snapshot_and_ends_its_child() {
    let dir = tempfile::tempdir().unwrap();
    let options = [RULES, &["--rdb-key-save-delay", "10000"]].concat();
    let server = start(dir.path(), &options);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 1000"), "+OK");
    assert!(client.run("BGSAVE").starts_with('+'));
    assert_eq!(client.run("FLUSHALL"), "+OK");
    assert_eq!(client.info("rdb_bgsave_in_progress"), "0");
    assert!(dir.path().join("dump.rdb").exists());
    server.kill();
    let server = start(dir.path(), RULES);
    assert_eq!(server.client().run("DBSIZE"), ":0");
}

#[test]
fn child_does_not_outlive_a_killed_server() {
    let dir = tempfile::tempdir().unwrap();
    let options = [RULES, &["--rdb-key-save-delay", "2000"]].concat();
    let server = start(dir.path(), &options);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG POPULATE 500"), "+OK");
    assert!(client.run("BGSAVE").starts_with('+'));
    server.kill();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!dir.path().join("dump.rdb").exists(), "an orphan has written a snapshot");
}

#[test]
fn bad_settings_stop_the_start_with_file_line_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("redis.conf");
    fs::write(&file, "port 1\n\nnonsense 1 2\n").unwrap();
    let output = std::process::Command::new(crate::common::BINARY).arg(&file).output().unwrap();
    let text = crate::common::text_of(&output);
    assert_eq!(output.status.code(), Some(1));
    for told in [file.to_str().unwrap(), "3", ">>> 'nonsense 1 2'", "Bad directive or wrong number"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    let ended = start_refused(dir.path(), &["--appendfsync", "sometimes"]);
    assert_eq!(ended.code, Some(1));
    for told in [">>> 'appendfsync \"sometimes\"'", "argument(s) must be one of the following"] {
        assert!(ended.log.contains(told), "{told}: {}", ended.log);
    }
    let ended = start_refused(&dir.path().join("missing"), &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("Can't chdir to"), "{}", ended.log);
}

#[test]
fn log_and_info_say_how_the_last_run_ended() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("SET key value"), "+OK");
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().info("last_run_end"), "abrupt");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    for _ in 0..2 {
        let server = start(dir.path(), AOF);
        assert_eq!(server.client().info("last_run_end"), "orderly");
        assert_eq!(server.client().run("GET key"), "$value");
        server.signal("INT");
        assert_eq!(server.wait(), Some(0));
    }
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("SET key more"), "+OK");
    server.kill();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().info("last_run_end"), "abrupt");
    assert_eq!(server.client().run("GET key"), "$more");
}

#[test]
fn signal_writes_no_snapshot_beside_the_append_only_file_unless_told() {
    let points = ["--appendonly", "yes", "--save", "900 1"];
    for (more, saved) in [(&[][..], false), (&["--shutdown-on-sigterm", "save"], true)] {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path(), &[&points[..], more].concat());
        assert_eq!(server.client().run("SET key value"), "+OK");
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
        assert_eq!(dir.path().join("dump.rdb").exists(), saved);
    }
}

#[test]
fn connection_that_asks_for_it_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let (mut orders, mut cache) = (server.client(), server.client());
    assert_eq!(orders.run("CLIENT DURABILITY always"), "+OK");
    for _ in 0..20 {
        assert_eq!(orders.run("INCR orders"), orders.run("GET orders").replace('$', ":"));
        assert_eq!(orders.info("aof_not_durable_bytes"), "0");
    }
    let waits: u64 = orders.info("aof_disk_waits").parse().unwrap();
    assert!(waits >= 20, "{waits}");
    for _ in 0..20 {
        assert!(cache.run("INCR cache").starts_with(':'));
    }
    assert_eq!(cache.info("aof_disk_waits"), waits.to_string());
    assert_eq!(orders.run("CONFIG SET appendonly no"), "+OK");
    assert!(cache.run("CLIENT DURABILITY always").contains("needs appendonly yes"));
    // Nothing to wait for is no reason to wait.
    assert!(orders.run("INCR orders").starts_with(':'));
}

#[test]
fn who_comes_back_after_a_shutdown_is_refused() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path(), &["--save", ""]);
        assert_eq!(server.client().run("SHUTDOWN NOSAVE"), "");
        let again = std::net::TcpStream::connect(("127.0.0.1", server.port));
        assert!(again.is_err(), "it still listened");
        assert_eq!(server.wait(), Some(0));
    }
}
