//! Files as a start finds them: whole, torn, damaged, missing, of older servers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{log_of, start, start_refused};

pub(crate) const AOF: &[&str] = &["--appendonly", "yes", "--save", ""];
const NO_AOF: &[&str] = &["--appendonly", "no", "--save", ""];

fn legacy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dumps/legacy").join(name)
}

/// Everything in a directory and the one below it.
pub(crate) fn files_in(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files_in(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A directory in which a server has written keys `k0` to `k9` to a base and `after` behind it.
pub(crate) fn written(more: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[AOF, more].concat());
    let mut client = server.client();
    for at in 0..10 {
        assert_eq!(client.run(&format!("SET k{at} value{at}")), "+OK");
    }
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.run("SET after 1"), "+OK");
    server.kill();
    dir
}

pub(crate) fn part(dir: &Path, ending: &str) -> PathBuf {
    let found = fs::read_dir(dir.join("appendonlydir")).unwrap();
    let mut parts: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    parts.retain(|path| path.to_str().unwrap().ends_with(ending));
    parts.pop().unwrap_or_else(|| panic!("no {ending}"))
}

pub(crate) fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// The start fails with exit code 1, says all of `told`, and changes nothing.
pub(crate) fn refused(dir: &Path, options: &[&str], told: &[&str]) {
    let before = files_in(dir);
    let ended = start_refused(dir, options);
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    for text in told {
        assert!(ended.log.contains(text), "{text:?} is not in: {}", ended.log);
    }
    assert!(files_in(dir) == before, "files have changed: {}", ended.log);
}

pub(crate) fn keys(dir: &Path, options: &[&str]) -> String {
    let server = start(dir, options);
    let size = server.client().run("DBSIZE");
    server.kill();
    size
}

#[test]
fn manifest_that_names_a_missing_file_is_refused() {
    let dir = written(&[]);
    fs::remove_file(part(dir.path(), ".base.rdb")).unwrap();
    refused(
        dir.path(),
        AOF,
        &[".base.rdb is in the AOF manifest and does not exist: No such file or directory"],
    );
    let dir = written(&[]);
    fs::remove_file(part(dir.path(), ".incr.aof")).unwrap();
    refused(
        dir.path(),
        AOF,
        &[".incr.aof is in the AOF manifest and does not exist: No such file or directory"],
    );
}

#[test]
fn damaged_base_is_refused_with_its_offset() {
    let dir = written(&[]);
    let base = part(dir.path(), ".base.rdb");
    let good = fs::read(&base).unwrap();
    for at in [good.len() / 2, good.len() - 20, good.len() - 4] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&base, bytes).unwrap();
        refused(dir.path(), AOF, &[base.to_str().unwrap(), "offset"]);
    }
    fs::write(&base, &good[..good.len() - 30]).unwrap();
    refused(dir.path(), AOF, &[base.to_str().unwrap(), "that the manifest lists with size"]);
    // Another good snapshot is not this base either.
    let other = written(&[]);
    let server = start(other.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("SET key other"), "+OK");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    fs::copy(part(other.path(), ".base.rdb"), &base).unwrap();
    refused(dir.path(), AOF, &[base.to_str().unwrap(), "that the manifest lists with size"]);
    fs::write(&base, good).unwrap();
    assert_eq!(keys(dir.path(), AOF), ":11");
}

#[test]
fn torn_tail_is_cut_and_told_or_refused() {
    let dir = written(&[]);
    let last = part(dir.path(), ".incr.aof");
    let whole = fs::metadata(&last).unwrap().len();
    let torn = b"*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$5\r\nab";
    append(&last, torn);
    let no = [AOF, &["--aof-load-truncated", "no"]].concat();
    refused(dir.path(), &no, &["Unexpected end of file", &format!("offset {whole}")]);
    assert_eq!(keys(dir.path(), AOF), ":11");
    let told = format!("The last {} bytes, with no whole command, are kept in", torn.len());
    assert!(log_of(dir.path()).contains(&told), "{}", log_of(dir.path()));
    assert_eq!(fs::metadata(&last).unwrap().len(), whole);
    assert_eq!(crate::groups::aside(dir.path()), torn);
}

#[test]
fn torn_file_before_the_last_is_refused() {
    let dir = written(&[]);
    let first = part(dir.path(), ".incr.aof");
    append(&first, b"*3\r\n$3\r\nSET");
    let manifest = part(dir.path(), ".manifest");
    append(&manifest, b"file appendonly.aof.9.incr.aof seq 9 type i\n");
    fs::write(dir.path().join("appendonlydir/appendonly.aof.9.incr.aof"), b"").unwrap();
    refused(dir.path(), AOF, &["Unexpected end of file", first.to_str().unwrap()]);
}

#[test]
fn command_that_does_not_exist_is_refused_with_its_offset() {
    let dir = written(&[]);
    let last = part(dir.path(), ".incr.aof");
    let whole = fs::metadata(&last).unwrap().len();
    append(&last, b"*2\r\n$7\r\nNOTHERE\r\n$1\r\nk\r\n");
    refused(
        dir.path(),
        AOF,
        &["Unknown command 'NOTHERE' reading the append only file", &format!("at offset {whole}")],
    );
}

#[test]
fn torn_transaction_is_dropped_whole() {
    let dir = written(&[]);
    let last = part(dir.path(), ".incr.aof");
    let set = |key: &str| format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\n1\r\n", key.len());
    append(&last, format!("*1\r\n$5\r\nMULTI\r\n{}{}", set("ta"), set("tb")).as_bytes());
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("EXISTS ta tb"), ":0");
    assert_eq!(client.run("SET more 1"), "+OK");
    server.kill();
    assert_eq!(keys(dir.path(), AOF), ":12");
}

#[test]
fn bad_manifests_are_refused_with_the_line() {
    let dir = written(&[]);
    let manifest = part(dir.path(), ".manifest");
    for (text, told) in [
        ("", "Found an empty AOF manifest"),
        ("\n", "Invalid AOF manifest file format"),
        ("file a seq 1 type x\n", "Unknown AOF file type, at line 1: 'file a seq 1 type x'"),
        ("# note\nfile ../a seq 1 type b\n", "File can't be a path, just a filename, at line 2"),
        ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
        ("# only a comment\n", "but no manifest"),
    ] {
        fs::write(&manifest, text).unwrap();
        refused(dir.path(), AOF, &[told]);
        if !told.contains("but no") {
            refused(dir.path(), NO_AOF, &[told]);
        }
    }
}

#[test]
fn parts_without_a_manifest_are_refused() {
    let dir = written(&[]);
    fs::remove_file(part(dir.path(), ".manifest")).unwrap();
    refused(dir.path(), AOF, &["but no manifest", "does not begin empty beside data"]);
    // Nor does a snapshot beside them stand in.
    fs::copy(legacy("encodings.rdb"), dir.path().join("dump.rdb")).unwrap();
    refused(dir.path(), AOF, &["but no manifest"]);
    // Nor does switching on write over them.
    let before = files_in(&dir.path().join("appendonlydir"));
    let server = start(dir.path(), NO_AOF);
    let reply = server.client().run("CONFIG SET appendonly yes");
    assert!(reply.contains("Unable to turn on AOF"), "{reply}");
    assert!(server.client().run("BGREWRITEAOF").starts_with('-'));
    server.kill();
    assert!(files_in(&dir.path().join("appendonlydir")) == before);
}

#[test]
fn lone_snapshot_is_adopted_and_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("dump.rdb");
    fs::copy(legacy("encodings.rdb"), &dump).unwrap();
    let bytes = fs::read(&dump).unwrap();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    let before = client.run("DEBUG DIGEST");
    assert_ne!(client.run("DBSIZE"), ":0");
    assert!(log_of(dir.path()).contains("is adopted as its base"));
    server.kill();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG DIGEST"), before);
    assert_eq!(client.run("SET after adoption"), "+OK");
    server.kill();
    // What happens to the snapshot from now on does not matter.
    assert_eq!(fs::read(&dump).unwrap(), bytes);
    fs::write(&dump, b"nonsense").unwrap();
    let server = start(dir.path(), AOF);
    assert_eq!(server.client().run("GET after"), "$adoption");
}

#[test]
fn kill_during_adoption_is_no_end() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(legacy("encodings.rdb"), dir.path().join("dump.rdb")).unwrap();
    let parts = dir.path().join("appendonlydir");
    let server = start(dir.path(), AOF);
    let digest = server.client().run("DEBUG DIGEST");
    server.kill();
    let base = fs::read(part(dir.path(), ".base.rdb")).unwrap();
    // As a crash leaves it before the base has its name, and after.
    for name in ["temp-rewriteaof-bg-7.aof", "appendonly.aof.1.base.rdb"] {
        fs::remove_dir_all(&parts).unwrap();
        fs::create_dir(&parts).unwrap();
        let text = b"# The first base is being written. Until it is named here, files beside this \
                     one hold nothing.\n";
        fs::write(parts.join("appendonly.aof.manifest"), text).unwrap();
        fs::write(parts.join(name), &base[..base.len() / 2]).unwrap();
        let server = start(dir.path(), AOF);
        assert_eq!(server.client().run("DEBUG DIGEST"), digest, "{name}");
        server.kill();
    }
}

#[test]
fn snapshot_that_cannot_be_read_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("dump.rdb");
    let server = start(dir.path(), NO_AOF);
    assert_eq!(server.client().run("DEBUG POPULATE 100"), "+OK");
    assert_eq!(server.client().run("SAVE"), "+OK");
    server.kill();
    let good = fs::read(&dump).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bytes in [&good[..good.len() / 3], &flipped, b"no snapshot at all", b""] {
        fs::write(&dump, bytes).unwrap();
        refused(dir.path(), &["--appendonly", "no", "--save", "1 1"], &["dump.rdb"]);
        if !bytes.is_empty() {
            refused(dir.path(), AOF, &["dump.rdb"]);
        }
    }
}

#[test]
fn single_file_of_an_older_server_is_migrated() {
    let dir = tempfile::tempdir().unwrap();
    let single = dir.path().join("appendonly.aof");
    fs::copy(legacy("rdb-preamble.aof"), &single).unwrap();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_ne!(client.run("DBSIZE"), ":0");
    assert_eq!(client.run("SET after migration"), "+OK");
    let digest = client.run("DEBUG DIGEST");
    server.kill();
    assert!(!single.exists());
    assert!(dir.path().join("appendonlydir/appendonly.aof").exists());
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("DEBUG DIGEST"), digest);
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    assert!(!dir.path().join("appendonlydir/appendonly.aof").exists());
}

#[test]
fn damaged_single_file_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let single = dir.path().join("appendonly.aof");
    let mut bytes = fs::read(legacy("rdb-preamble.aof")).unwrap();
    bytes.extend_from_slice(b"*1\r\n$4\r\ngarbage");
    fs::write(&single, bytes).unwrap();
    refused(dir.path(), AOF, &["Bad file format", "offset"]);
}

#[test]
fn deadlines_are_kept_through_kill_and_what_expired_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    for line in ["SET gone 1 PX 300", "SET kept 1 PX 300", "PERSIST kept", "SET later 1 EX 1000"] {
        assert!(!client.run(line).starts_with('-'));
    }
    server.kill();
    std::thread::sleep(std::time::Duration::from_millis(350));
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("EXISTS gone"), ":0");
    assert_eq!(client.run("TTL kept"), ":-1");
    let left: u64 = client.run("TTL later")[1..].parse().unwrap();
    assert!((900..=1000).contains(&left), "{left}");
}

#[test]
fn commands_as_base_and_timestamps_load() {
    let dir = written(&["--aof-use-rdb-preamble", "no", "--aof-timestamp-enabled", "yes"]);
    let base = fs::read(part(dir.path(), ".base.aof")).unwrap();
    assert!(base.starts_with(b"#TS:"), "{}", String::from_utf8_lossy(&base[..20]));
    let last = fs::read(part(dir.path(), ".incr.aof")).unwrap();
    let (head, rest) = last.split_at(last.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    assert!(head.starts_with(b"#GRP:") && rest.starts_with(b"#TS:"));
    assert_eq!(keys(dir.path(), AOF), ":11");
}

#[test]
fn kill_between_the_steps_of_a_rewrite_is_no_end() {
    let dir = written(&[]);
    let parts = dir.path().join("appendonlydir");
    // The next base has its name and the manifest does not know it yet; the next manifest is half
    // written; a superseded file is gone and the manifest still calls it history.
    fs::write(parts.join("appendonly.aof.3.base.rdb"), b"REDIS0011 half").unwrap();
    fs::write(parts.join("appendonly.aof.3.incr.aof"), b"*3\r\n$3").unwrap();
    fs::write(parts.join("temp-appendonly.aof.manifest"), b"file appendon").unwrap();
    append(&part(dir.path(), "/appendonly.aof.manifest"), b"file gone.aof seq 1 type h\n");
    let server = start(dir.path(), AOF);
    let mut client = server.client();
    assert_eq!(client.run("DBSIZE"), ":11");
    assert!(client.run("BGREWRITEAOF").starts_with('+'));
    client.await_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    assert_eq!(client.run("SET last 1"), "+OK");
    server.kill();
    assert_eq!(keys(dir.path(), AOF), ":12");
}

#[test]
fn single_file_that_was_taken_for_the_base_but_not_moved_is_moved() {
    let dir = tempfile::tempdir().unwrap();
    let single = dir.path().join("appendonly.aof");
    fs::write(&single, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n").unwrap();
    let inside = dir.path().join("appendonlydir");
    fs::create_dir(&inside).unwrap();
    let manifest = inside.join("appendonly.aof.manifest");
    fs::write(&manifest, "file appendonly.aof seq 1 type b\n").unwrap();
    assert_eq!(keys(dir.path(), AOF), ":1");
    assert!(!single.exists() && inside.join("appendonly.aof").exists());
    assert_eq!(keys(dir.path(), AOF), ":1");
}
