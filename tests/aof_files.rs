//! Append-only files that real servers wrote, and the checking tools beside those of Redis.
//!
//! `REKEEP_DUMPS` names the directory with such files; without it there is only the small one.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use rekeep::base::fs::Disk;
use rekeep::persist::aof::check::{Repair, check};
use rekeep::persist::aof::replay::{Entry, Outcome, replay};
use rekeep::persist::rdb::check::check as check_rdb;
use rekeep::persist::rdb::reader::{Event, Reader, Run, Verify};

fn legacy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dumps/legacy")
}

/// Copies of the append-only directories under the one the environment names.
fn directories() -> Vec<(String, tempfile::TempDir)> {
    let Some(root) = std::env::var_os("REKEEP_DUMPS").map(PathBuf::from) else { return Vec::new() };
    let mut found = Vec::new();
    for server in fs::read_dir(root).unwrap() {
        for kind in ["aof-preamble-no", "aof-preamble-yes"] {
            let dir = server.as_ref().unwrap().path().join(kind);
            let Ok(files) = fs::read_dir(&dir) else { continue };
            let copy = tempfile::tempdir().unwrap();
            for file in files {
                let file = file.unwrap();
                let bytes = fs::read(file.path()).unwrap();
                fs::write(copy.path().join(file.file_name()), bytes).unwrap();
            }
            found.push((dir.display().to_string(), copy));
        }
    }
    found
}

fn run_check(path: &Path) -> (bool, String) {
    let mut out = Vec::new();
    let ok = check(&Disk::real(), path, Repair::None, &mut &b""[..], &mut out).unwrap();
    (ok, String::from_utf8(out).unwrap())
}

#[test]
fn replay_reads_behind_the_preamble_of_a_single_file() {
    let bytes = fs::read(legacy().join("rdb-preamble.aof")).unwrap();
    let mut reader = Reader::open(&bytes[..], None, Verify::Checksum).unwrap();
    let mut run = Run::default();
    while !matches!(reader.next_event(&mut run).unwrap(), Event::End(_)) {}
    let rest = reader.into_rest();
    let offset = rest.offset;
    let mut seen = Vec::new();
    let mut user = |entry: Entry<'_>| {
        seen.push(entry.args.count());
        ControlFlow::Continue(())
    };
    let outcome = replay(rest.into_read(), offset, false, &mut user).unwrap();
    assert!(matches!(outcome, Outcome::Ok { size: 169, commands: 2, .. }), "{outcome:?}");
    assert_eq!(seen, [2, 3]);
}

#[test]
fn replay_reads_every_file_of_real_servers() {
    for (name, dir) in directories() {
        for file in fs::read_dir(dir.path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "aof") {
                continue;
            }
            let mut user = |_: Entry| ControlFlow::Continue(());
            let outcome = replay(fs::File::open(&path).unwrap(), 0, false, &mut user).unwrap();
            assert!(matches!(outcome, Outcome::Ok { .. }), "{name} {path:?}: {outcome:?}");
        }
        let (ok, said) = run_check(&dir.path().join("appendonly.aof.manifest"));
        assert!(ok && said.ends_with("All AOF files and manifest are valid\n"), "{name}: {said}");
    }
}

/// What the tool of Redis prints, without what belongs to its process.
fn tool(name: &str, path: &Path) -> (bool, String) {
    let output = Command::new(name).arg(path).current_dir(path.parent().unwrap()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Version 7.0 counts no fields that expire, and names the file of a base without its directory.
fn normal(said: &str, dir: &Path) -> String {
    let dir = format!("{}/", dir.display());
    let lines = said.lines().filter(|line| !line.ends_with(" subexpires"));
    lines.map(|line| line.replace(&dir, "") + "\n").collect()
}

#[test]
#[ignore = "needs the tools of redis-server 7.0"]
fn check_says_what_the_tools_of_redis_say() {
    let mut directories = directories();
    directories.retain(|(name, _)| name.contains("redis-7.0.15"));
    for (name, dir) in &directories {
        for damage in
            ["", "*3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$9\r\nhe", "!!!", "*1\r\n$5\r\nMULTI\r\n"]
        {
            let file = dir.path().join("appendonly.aof.2.incr.aof");
            let whole = fs::read(&file).unwrap();
            fs::write(&file, [&whole[..], damage.as_bytes()].concat()).unwrap();
            let path = dir.path().join("appendonly.aof.manifest");
            let (ours, theirs) = (run_check(&path), tool("redis-check-aof", &path));
            fs::write(&file, &whole).unwrap();
            assert_eq!(normal(&ours.1, dir.path()), normal(&theirs.1, dir.path()), "{name}");
            assert_eq!(ours.0, theirs.0);
        }
    }
    for name in ["encodings.rdb", "hash-zipmap.rdb", "scriptbackup.rdb", "zset-ziplist.rdb"] {
        let path = legacy().join(name);
        let mut out = Vec::new();
        let ok = check_rdb(&Disk::real(), &path, &mut out).unwrap();
        let theirs = tool("redis-check-rdb", &path);
        let ours = normal(&String::from_utf8(out).unwrap(), &legacy());
        assert_eq!((ok, ours), (theirs.0, normal(&theirs.1, &legacy())));
    }
}
