//! Snapshots that real servers wrote, and damaged ones.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use rekeep::persist::rdb::reader::{Checksum, Event, KeyRecord, Reader, Verify};

fn legacy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dumps/legacy")
}

/// Every snapshot under the directory, and under the one the environment names.
fn snapshots() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![legacy()];
    dirs.extend(std::env::var_os("REKEEP_DUMPS").map(PathBuf::from));
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rdb") {
                found.push(path);
            }
        }
    }
    found
}

fn read_all(bytes: &[u8]) -> Result<(Vec<KeyRecord>, Checksum), String> {
    let total = Some(bytes.len() as u64);
    let mut reader = Reader::open(bytes, total, Verify::Checksum).map_err(|e| e.to_string())?;
    let mut keys = Vec::new();
    loop {
        match reader.next_event().map_err(|error| error.to_string())? {
            Event::Key(record) => keys.push(record),
            Event::End(sum) => return Ok((keys, sum)),
            _ => {}
        }
    }
}

#[test]
fn reader_skims_every_file_of_real_servers() {
    for path in snapshots() {
        let bytes = std::fs::read(&path).unwrap();
        let (keys, sum) = read_all(&bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let damaged = path.to_string_lossy().contains("corrupt");
        assert!(damaged || matches!(sum, Checksum::Ok | Checksum::Absent), "{path:?}: {sum:?}");
        let contents = path.with_extension("contents.jsonl");
        let contents = contents.to_string_lossy().replace("-uncompressed", "");
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("corrupt") || !Path::new(&contents).exists() {
            continue;
        }
        let lines = std::fs::read_to_string(&contents).unwrap();
        assert_eq!(keys.len(), lines.lines().count(), "{path:?}");
    }
}

#[test]
fn reader_of_every_truncation_and_flip_never_panics() {
    for name in ["encodings.rdb", "list-quicklist.rdb", "hash-zipmap.rdb", "scriptbackup.rdb"] {
        let bytes = std::fs::read(legacy().join(name)).unwrap();
        for cut in 0..bytes.len() {
            assert!(read_all(&bytes[..cut]).is_err(), "{name} cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = read_all(&flipped);
        }
    }
}
