//! What the checksums of the append-only file find, and what becomes of it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{log_of, start};
use crate::files::{AOF, append, keys, part, refused, written};
use crate::tools::tool;

/// The file to which a damaged end was moved.
fn side_file(dir: &Path) -> PathBuf {
    let found = fs::read_dir(dir.join("appendonlydir")).unwrap().map(|entry| entry.unwrap().path());
    let mut parts = found.filter(|path| path.to_str().unwrap().contains(".damaged-"));
    let path = parts.next().expect("something was moved aside");
    assert!(parts.next().is_none());
    path
}

pub(crate) fn aside(dir: &Path) -> Vec<u8> {
    fs::read(side_file(dir)).unwrap()
}

#[test]
fn garbage_behind_groups_is_moved_aside() {
    let set = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n";
    for garbage in [format!("garbage\r\n{set}"), "\0".repeat(4096), "#GRP:000\r\n".to_owned()] {
        let dir = written(&[]);
        let last = part(dir.path(), ".incr.aof");
        append(&last, garbage.as_bytes());
        assert_eq!(keys(dir.path(), AOF), ":11", "{garbage:?}");
        assert_eq!(aside(dir.path()), garbage.as_bytes());
        assert_eq!(keys(dir.path(), AOF), ":11", "and again: {garbage:?}");
    }
}

#[test]
fn garbage_in_a_file_without_groups_is_refused_with_its_offset() {
    let dir = written(&["--aof-checksums", "no"]);
    let last = part(dir.path(), ".incr.aof");
    let whole = fs::metadata(&last).unwrap().len();
    append(&last, b"garbage\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n");
    refused(dir.path(), AOF, &["Bad file format", &format!("at offset {whole}")]);
}

/// Writes three keys, each as a group of its own that knows of the sync before it, and kills.
fn synced_groups() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[AOF, &["--appendfsync", "always"]].concat());
    let mut client = server.client();
    for key in ["one", "two", "three"] {
        assert_eq!(client.run(&format!("SET {key} {key}")), "+OK");
    }
    server.kill();
    let last = part(dir.path(), ".incr.aof");
    (dir, last)
}

#[test]
fn last_group_that_is_damaged_is_moved_aside_with_its_commands_told() {
    let (dir, last) = synced_groups();
    let bytes = fs::read(&last).unwrap();
    let group = bytes.windows(5).rposition(|window| window == b"#GRP:").unwrap();
    for at in [group + 6, group + 20, group + 60, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x02;
        fs::write(&last, &damaged).unwrap();
        let server = start(dir.path(), AOF);
        let mut client = server.client();
        assert_eq!(client.run("MGET one two three"), "[$one,$two,$-1]", "byte {at}");
        assert_eq!(client.info("aof_last_recovery_bytes"), (bytes.len() - group).to_string());
        server.kill();
        assert_eq!(aside(dir.path()), damaged[group..], "byte {at}");
        fs::remove_file(side_file(dir.path())).unwrap();
    }
    fs::write(&last, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(keys(dir.path(), AOF), ":2");
    assert!(log_of(dir.path()).contains("bytes, with no whole command"), "{}", log_of(dir.path()));
}

#[test]
fn damage_before_a_group_that_proves_it_was_synced_is_refused_and_fix_shows_what_goes() {
    let (dir, last) = synced_groups();
    let mut bytes = fs::read(&last).unwrap();
    let two = bytes.windows(3).position(|window| window == b"two").unwrap();
    bytes[two] ^= 0x01;
    fs::write(&last, &bytes).unwrap();
    let group = bytes[..two].windows(5).rposition(|window| window == b"#GRP:").unwrap();
    let told = format!("damaged at offset {group}, in its middle");
    refused(dir.path(), AOF, &[&told, "checksum", "check-aof --fix"]);
    let manifest = part(dir.path(), ".manifest");
    let fix = ["--fix", manifest.to_str().unwrap()];
    let (code, said) = tool("check-aof", &fix, "n\n");
    assert_ne!(code, Some(0));
    for words in ["The checksum of a group", "holds 2 commands (set 2)", "behind it is whole"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(fs::read(&last).unwrap(), bytes, "nothing is cut without a yes");
    assert_eq!(tool("check-aof", &fix, "y\n").0, Some(0));
    assert_eq!(keys(dir.path(), AOF), ":1");
}

#[test]
fn without_checksums_the_manifest_is_the_plain_one_of_redis_and_loads() {
    let dir = written(&["--aof-checksums", "no"]);
    let manifest = fs::read_to_string(part(dir.path(), ".manifest")).unwrap();
    let plain = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                 file appendonly.aof.2.incr.aof seq 2 type i\n";
    assert_eq!(manifest, plain);
    assert_eq!(keys(dir.path(), &[AOF, &["--aof-checksums", "no"]].concat()), ":11");
    assert_eq!(keys(dir.path(), AOF), ":11");
    let manifest = fs::read_to_string(part(dir.path(), ".manifest")).unwrap();
    assert_eq!(manifest, plain, "what was written without checksums has none");
}
