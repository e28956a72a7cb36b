//! The checking tools by their two names.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{BINARY, start, text_of};
use crate::files::AOF;

/// Runs a tool with `yes` at its standard input: by its own name, and as a subcommand.
fn both(tool: &str, words: &[&str]) -> [(Option<i32>, String); 2] {
    let dir = tempfile::tempdir().unwrap();
    let named = dir.path().join(format!("redis-{tool}"));
    symlink(BINARY, &named).unwrap();
    let mut by_name = Command::new(&named);
    let mut by_word = Command::new(BINARY);
    by_word.arg(tool);
    [&mut by_name, &mut by_word].map(|command| answered(command.args(words), "y\n"))
}

fn answered(command: &mut Command, answer: &str) -> (Option<i32>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(answer.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text_of(&output))
}

/// Runs a tool with an answer at its standard input.
pub(crate) fn tool(name: &str, words: &[&str], answer: &str) -> (Option<i32>, String) {
    answered(Command::new(BINARY).arg(name).args(words), answer)
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn check_rdb_tells_good_from_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[]);
    assert_eq!(server.client().run("SET key value"), "+OK");
    assert_eq!(server.client().run("SAVE"), "+OK");
    server.kill();
    let dump = dir.path().join("dump.rdb");
    for (code, text) in both("check-rdb", &[shown(&dump)]) {
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("\\o/ RDB looks OK! \\o/") && text.contains("1 keys read"), "{text}");
    }
    let mut bytes = fs::read(&dump).unwrap();
    let at = bytes.len() - 12;
    bytes[at] ^= 1;
    fs::write(&dump, bytes).unwrap();
    for (code, text) in both("check-rdb", &[shown(&dump)]) {
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("[offset "), "{text}");
    }
    for (code, text) in both("check-rdb", &["/not/there"]) {
        assert_eq!(code, Some(1));
        assert!(text.contains("Cannot open file"), "{text}");
    }
}

#[test]
fn check_aof_tells_and_repairs() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("SET key value"), "+OK");
    server.kill();
    let parts = dir.path().join("appendonlydir");
    let manifest = parts.join("appendonly.aof.manifest");
    for (code, text) in both("check-aof", &[shown(&manifest)]) {
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("All AOF files and manifest are valid"), "{text}");
    }
    let last = parts.join("appendonly.aof.1.incr.aof");
    let whole = fs::read(&last).unwrap();
    fs::write(&last, [whole.as_slice(), b"*2\r\n$3\r\nDE"].concat()).unwrap();
    for (code, text) in both("check-aof", &[shown(&manifest)]) {
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("is not valid. Use the --fix option"), "{text}");
    }
    let [(code, text), (again, _)] = both("check-aof", &["--fix", shown(&manifest)]);
    assert_eq!((code, again), (Some(0), Some(0)), "{text}");
    assert!(text.contains("Successfully truncated AOF"), "{text}");
    assert_eq!(fs::read(&last).unwrap(), whole);
}

#[test]
fn check_system_reports() {
    let output = Command::new(BINARY).arg("--check-system").output().unwrap();
    assert!(text_of(&output).contains("[overcommit]"), "{}", text_of(&output));
}
