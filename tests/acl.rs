//! Users in files: what a start and ACL LOAD take of them, what SAVE and CONFIG REWRITE write.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{BINARY, start, start_refused, text_of};

/// A directory with a file of users in it.
fn with_users(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("users.acl"), text).unwrap();
    dir
}

const FILE: [&str; 2] = ["--aclfile", "users.acl"];
const GOOD: &str = "user alice on >secret ~a:* +@all\nuser default on nopass ~* &* +@all\n";

#[test]
fn a_file_with_one_bad_line_is_not_taken_at_all() {
    for (line, complaint) in [
        ("user bob on +nosuch", "Unknown command or category name in ACL"),
        ("user bob on nonsense", "users.acl:3: Syntax error"),
        ("user alice on", "Duplicate user 'alice' found on line 3"),
        ("# nobody", "users.acl:3 should start with user keyword"),
    ] {
        let dir = with_users(GOOD);
        let server = start(dir.path(), &FILE);
        let mut client = server.client();
        let before = client.run("ACL LIST");
        let bad = format!("{GOOD}{line}\nuser carol on nopass ~* +@all\n");
        fs::write(dir.path().join("users.acl"), &bad).unwrap();
        let refusal = client.run("ACL LOAD");
        assert!(refusal.contains(complaint) && refusal.contains("no change"), "{refusal}");
        assert_eq!(client.run("ACL LIST"), before);
        server.kill();
        let ended = start_refused(dir.path(), &FILE);
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.log.contains("Aborting Redis startup because of ACL errors"),
            "{}",
            ended.log
        );
        assert!(ended.log.contains(complaint), "{}", ended.log);
        assert_eq!(fs::read_to_string(dir.path().join("users.acl")).unwrap(), bad);
    }
}

#[test]
fn users_saved_are_there_after_a_restart_and_a_load_closes_those_who_are_gone() {
    let dir = with_users(GOOD);
    let server = start(dir.path(), &FILE);
    let mut client = server.client();
    assert_eq!(client.run("ACL SETUSER bob on >pw ~b:* +get (+set ~c:*)"), "+OK");
    assert_eq!(client.run("ACL SAVE"), "+OK");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("tmp")), "{names:?}");
    let saved = client.run("ACL LIST");
    server.kill();

    let server = start(dir.path(), &FILE);
    let (mut client, mut bob, mut alice) = (server.client(), server.client(), server.client());
    assert_eq!(client.run("ACL LIST"), saved);
    assert_eq!(bob.run("AUTH bob pw"), "+OK");
    assert_eq!(alice.run("AUTH alice secret"), "+OK");
    assert_eq!(bob.run("SET c:1 x"), "+OK");
    assert_eq!(bob.run("GET c:1"), "-NOPERM No permissions to access a key");
    fs::write(dir.path().join("users.acl"), "user alice on >secret ~b:* +get\n").unwrap();
    assert_eq!(client.run("ACL LOAD"), "+OK");
    assert_eq!(client.run("ACL USERS"), "[$alice,$default]");
    // A command may have come before the connection noticed.
    let last = bob.run("GET b:1");
    assert!(last.is_empty() || last == "-NOAUTH Authentication required.", "{last}");
    assert_eq!(bob.run("PING"), "");
    assert_eq!(alice.run("GET b:1"), "$-1");
    assert_eq!(alice.run("GET a:1"), "-NOPERM No permissions to access a key");
}

#[test]
fn users_of_the_configuration_are_written_back_and_wrong_ones_name_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("redis.conf");
    let refused = |text: &str| {
        fs::write(&conf, text).unwrap();
        let output = std::process::Command::new(BINARY).arg(&conf).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text_of(&output)
    };
    for (text, complaint) in [
        ("port 0\nuser bob on +nosuch\n", "at line 2\n>>> 'user bob on +nosuch'"),
        ("port 0\nuser bob on ~* ~a\n", "Error in user declaration '~a': Adding a pattern after"),
        ("user bob on\nuser bob off\n", "Duplicate user found."),
        ("port 0\nuser bob (+get\n", "Unmatched parenthesis"),
        ("port 0\nuser bob on\naclfile users.acl\n", "but not both."),
    ] {
        let said = refused(text);
        assert!(said.contains(complaint), "{text}: {said}");
    }
    let text =
        "user default on nopass ~* &* +@all -flushdb\nuser bob on >p \"~x\\\"y\" (+get ~z)\n";
    fs::write(&conf, text).unwrap();
    let options = [conf.to_str().unwrap()];
    let server = start(dir.path(), &options);
    let mut client = server.client();
    assert!(client.run("FLUSHDB").starts_with("-NOPERM User default has no permissions"));
    let users = client.run("ACL LIST");
    assert_eq!(client.run("ACL SETUSER carol"), "+OK");
    assert_eq!(client.run("ACL DELUSER carol"), ":1");
    assert_eq!(client.run("CONFIG REWRITE"), "+OK");
    let written = fs::read_to_string(&conf).unwrap();
    assert!(!written.contains(">p") && written.contains("user default on nopass"), "{written}");
    server.kill();
    let server = start(dir.path(), &options);
    assert_eq!(server.client().run("ACL LIST"), users);
}
