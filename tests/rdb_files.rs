//! Snapshots that real servers wrote, damaged ones, and our own, read by a real server.
//!
//! `REKEEP_DUMPS` may name a directory with more files; the tests with a peer need `redis-server`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rekeep::base::clock::UnixMs;
use rekeep::persist::aof::rewrite::CommandWriter;
use rekeep::persist::rdb::decode::{DecodeError, decode};
use rekeep::persist::rdb::dump::{VerifyDump, verify};
use rekeep::persist::rdb::encode::dump;
use rekeep::persist::rdb::reader::{Checksum, Event, KeyRecord, Reader, Run, Verify};
use rekeep::persist::rdb::writer::{About, Compression, KeyFacts, Settings, Writer};
use rekeep::value::limits::Limits;
use rekeep::value::stream::StreamId;
use rekeep::value::{Stream, Value};
use serde_json::{Value as Json, json};

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

#[derive(Default)]
struct File {
    keys: Run,
    functions: Vec<Vec<u8>>,
    checksum: Option<Checksum>,
}

fn read_all(bytes: &[u8]) -> Result<File, String> {
    let total = Some(bytes.len() as u64);
    let mut reader = Reader::open(bytes, total, Verify::Checksum).map_err(|e| e.to_string())?;
    let mut file = File::default();
    loop {
        match reader.next_event(&mut file.keys).map_err(|error| error.to_string())? {
            Event::Function(source) => file.functions.push(source),
            Event::End(sum) => {
                file.checksum = Some(sum);
                return Ok(file);
            }
            _ => {}
        }
    }
}

fn decoded(record: &KeyRecord, limits: &Limits) -> Result<Value, DecodeError> {
    let dialect = rekeep::persist::rdb::format::Dialect::Redis;
    decode(record.facts.code, dialect, record.payload, limits)
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A value as the `contents` tool writes it.
fn shown(value: &Value) -> Json {
    match value {
        Value::Str(bytes) => json!(text(bytes)),
        Value::List(list) => list.iter().map(|item| json!(text(&item.to_vec()))).collect(),
        Value::Set(set) => {
            let mut members: Vec<_> = set.iter().map(|item| text(&item.to_vec())).collect();
            members.sort();
            json!(members)
        }
        Value::Hash(hash) => {
            let mut fields: Vec<Json> = hash
                .iter()
                .map(|(field, value)| {
                    let deadline = hash.deadline(&field.to_vec());
                    match deadline {
                        None => json!([field_text(field), field_text(value)]),
                        Some(at) => json!([field_text(field), field_text(value), at.0]),
                    }
                })
                .collect();
            fields.sort_by_key(|pair| pair[0].as_str().map(str::to_owned));
            json!(fields)
        }
        Value::Zset(zset) => {
            zset.iter().map(|(member, score)| json!([field_text(member), score])).collect()
        }
        Value::Stream(stream) => shown_stream(stream),
    }
}

fn shown_stream(stream: &Stream) -> Json {
    let log = &stream.log;
    let id = |id: StreamId| id.to_string();
    let entries = log.range(StreamId::MIN, StreamId::MAX).map(|entry| {
        let fields = entry.pairs().flat_map(|(field, value)| [field, value]).map(field_text);
        json!([id(entry.id), fields.collect::<Vec<_>>()])
    });
    let groups = stream.groups.iter().map(|(name, group)| {
        let consumers = group.consumers().map(|consumer| {
            let pending = consumer.pending().iter();
            let pending = pending.map(|at| json!([id(*at), group.pending()[at].deliveries]));
            json!({"name": text(consumer.name()), "pending": pending.collect::<Vec<_>>()})
        });
        let pending = group.pending().iter().map(|(at, pending)| {
            json!([id(*at), text(group.consumer(pending.consumer).name()), pending.deliveries])
        });
        json!({
            "name": text(name),
            "last-delivered-id": id(group.last_id),
            "entries-read": group.entries_read,
            "consumers": consumers.collect::<Vec<_>>(),
            "pending": pending.collect::<Vec<_>>(),
        })
    });
    json!({
        "entries": entries.collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
        "last-generated-id": id(log.last_id()),
        "max-deleted-entry-id": id(log.max_deleted_id()),
        "recorded-first-entry-id": id(log.first_id()),
        "entries-added": log.entries_added(),
    })
}

fn field_text(item: rekeep::ds::listpack::Item<'_>) -> String {
    text(&item.to_vec())
}

/// The lines of a `contents` file by database and key, scores as numbers; keys only.
fn contents(path: &Path) -> Option<HashMap<(u64, String), Json>> {
    let name = path.to_string_lossy().replace("-uncompressed", "");
    let lines = std::fs::read_to_string(Path::new(&name).with_extension("contents.jsonl")).ok()?;
    let mut found = HashMap::new();
    for line in lines.lines() {
        let mut line: Json = serde_json::from_str(line).unwrap();
        let Some(key) = line["key"].as_str().map(str::to_owned) else { continue };
        if line["type"] == "zset" {
            for pair in line["value"].as_array_mut().unwrap() {
                pair[1] = json!(pair[1].as_str().unwrap().parse::<f64>().unwrap());
            }
        }
        found.insert((line["db"].as_u64().unwrap(), key), line);
    }
    Some(found)
}

#[test]
fn reader_and_decoder_take_every_file_of_real_servers() {
    for path in snapshots() {
        let bytes = std::fs::read(&path).unwrap();
        let file = read_all(&bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        if path.to_string_lossy().contains("corrupt") {
            continue;
        }
        let sum = file.checksum.unwrap();
        assert!(matches!(sum, Checksum::Ok | Checksum::Absent), "{path:?}: {sum:?}");
        let expected = contents(&path);
        if let Some(expected) = &expected {
            assert_eq!(file.keys.len(), expected.len(), "{path:?}");
        }
        for record in file.keys.iter() {
            let key = text(&record.name().unwrap());
            let value = match decoded(&record, &Limits::default()) {
                Err(DecodeError::Unsupported(_)) => continue,
                other => other.unwrap_or_else(|error| panic!("{path:?} {key}: {error}")),
            };
            let Some(expected) = &expected else { continue };
            let line = &expected[&(record.facts.db, key.clone())];
            assert_eq!(shown(&value), line["value"], "{path:?} {key}");
            let deadline = record.facts.deadline.map(|UnixMs(ms)| ms);
            assert_eq!(deadline, line["expire_at_ms"].as_u64(), "{path:?} {key}");
        }
    }
}

#[test]
fn decoder_refuses_the_corrupt_and_tells_the_empty() {
    let bytes = std::fs::read(legacy().join("corrupt_ziplist.rdb")).unwrap();
    let file = read_all(&bytes).unwrap();
    let broken = |record: &KeyRecord| decoded(record, &Limits::default()).is_err();
    assert_eq!(file.keys.iter().find(broken).unwrap().shown(), "key:000000000091");
    let bytes = std::fs::read(legacy().join("corrupt_empty_keys.rdb")).unwrap();
    for record in read_all(&bytes).unwrap().keys.iter() {
        let key = text(&record.name().unwrap());
        assert_eq!(decoded(&record, &Limits::default()).err(), Some(DecodeError::Empty), "{key}");
    }
}

/// Small values of every encoding, and limits under which they get it.
fn samples() -> Vec<(String, Value)> {
    let mut samples = Vec::new();
    for path in snapshots().into_iter().filter(|path| !path.to_string_lossy().contains("corrupt")) {
        let stem = path.to_string_lossy().into_owned();
        for record in read_all(&std::fs::read(&path).unwrap()).unwrap().keys.iter() {
            for limits in [Limits::default(), narrow()] {
                if let Ok(value) = decoded(&record, &limits) {
                    samples.push((format!("{stem} {}", text(&record.name().unwrap())), value));
                }
            }
        }
    }
    for limits in [Limits::default(), narrow()] {
        samples
            .push((format!("timed, {} fields", limits.hash_max_listpack_entries), timed(&limits)));
    }
    samples
}

/// A hash of which some fields have deadlines.
fn timed(limits: &Limits) -> Value {
    let mut hash = rekeep::value::Hash::new();
    for number in 0..20_u64 {
        let field = format!("field:{number}");
        hash.set(field.as_bytes(), number.to_string().as_bytes(), limits);
        if number % 3 > 0 {
            hash.set_deadline(field.as_bytes(), UnixMs(4_102_444_800_000 - number * number));
        }
    }
    Value::Hash(hash)
}

/// The samples that a version can hold.
fn samples_of(version: u32) -> Vec<(String, Value)> {
    let mut samples = samples();
    samples.retain(|(_, value)| version >= 12 || value.view().element_deadline().is_none());
    samples
}

/// Limits that make every collection large.
fn narrow() -> Limits {
    Limits {
        hash_max_listpack_entries: 1,
        list_max_listpack_size: 2,
        set_max_intset_entries: 1,
        set_max_listpack_entries: 1,
        zset_max_listpack_entries: 1,
        ..Limits::default()
    }
}

fn settings(version: u32, compression: Compression) -> Settings {
    Settings { version, compression, checksum: true }
}

fn written(samples: &[(String, Value)], settings: Settings) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), settings).unwrap();
    let about = About { redis_version: "7.4.1", created_secs: 1, ..About::default() };
    writer.header(&about).unwrap();
    writer.database(0, samples.len() as u64, 0).unwrap();
    for (at, (key, value)) in samples.iter().enumerate() {
        let deadline = (at % 2 == 1).then_some(UnixMs(4_102_444_800_000 + at as u64));
        let facts = KeyFacts { deadline, ..KeyFacts::default() };
        writer.entry(key.as_bytes(), facts, value.view()).unwrap();
    }
    writer.end().unwrap()
}

#[test]
fn writer_then_reader_is_the_same_in_every_version() {
    let samples = samples();
    let names: std::collections::HashSet<_> =
        samples.iter().map(|(_, v)| v.view().encoding()).collect();
    assert!(names.len() >= 6, "{names:?}");
    for version in 9..=12 {
        let samples = samples_of(version);
        for compression in [Compression::Lzf, Compression::Off] {
            let bytes = written(&samples, settings(version, compression));
            let file = read_all(&bytes).unwrap();
            assert_eq!(file.checksum, Some(Checksum::Ok));
            assert_eq!(file.keys.len(), samples.len());
            for (record, (key, value)) in file.keys.iter().zip(&samples) {
                assert_eq!(text(&record.name().unwrap()), *key);
                let read = decoded(&record, &Limits::default()).unwrap();
                let (mut read, mut value) = (shown(&read), shown(value));
                if version == 9 {
                    forget_what_version_9_does(&mut read);
                    forget_what_version_9_does(&mut value);
                }
                assert_eq!(read, value, "{key} in version {version}");
            }
        }
    }
}

/// Until version 10 nothing was known of entries that a stream once had.
fn forget_what_version_9_does(shown: &mut Json) {
    let Some(stream) = shown.as_object_mut() else { return };
    stream.remove("entries-added");
    stream.remove("max-deleted-entry-id");
    for group in stream["groups"].as_array_mut().unwrap() {
        group.as_object_mut().unwrap().remove("entries-read");
    }
}

#[test]
fn older_versions_refuse_fields_with_deadlines_by_name() {
    let mut writer = Writer::new(Vec::new(), settings(11, Compression::Off)).unwrap();
    let refused = writer.entry(b"h", KeyFacts::default(), timed(&Limits::default()).view());
    let told = refused.unwrap_err().to_string();
    assert_eq!(told, "RDB version 11 cannot hold hash fields with deadlines");
}

#[test]
fn dump_then_restore_is_the_same() {
    for (key, value) in samples() {
        let payload = dump(value.view(), 11, Compression::Lzf);
        let dumped = verify(&payload, VerifyDump::Checksum).unwrap();
        let dialect = rekeep::persist::rdb::format::Dialect::Redis;
        let read = decode(dumped.code, dialect, dumped.payload, &Limits::default());
        assert_eq!(shown(&read.unwrap()), shown(&value), "{key}");
    }
}

#[test]
fn every_truncation_and_flip_is_an_error_or_a_value() {
    let mut files: Vec<_> =
        snapshots().into_iter().filter(|path| path.starts_with(legacy())).collect();
    files.sort();
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            try_all(&bytes[..cut]);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            try_all(&flipped);
        }
    }
}

/// Reads and decodes as far as it goes, whatever the checksum says.
fn try_all(bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(bytes, None, Verify::Nothing) else { return };
    let mut run = Run::default();
    while let Ok(event) = reader.next_event(&mut run) {
        match event {
            Event::Key => {
                let record = run.last().unwrap();
                if let Ok(value) = decoded(&record, &Limits::default()) {
                    let _ = shown(&value);
                }
            }
            Event::End(_) => return,
            _ => {}
        }
    }
}

struct Peer {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// A `redis-server` that loads what `prepare` put in its directory.
    fn start(port: u16, options: &[&str], prepare: impl FnOnce(&Path)) -> Peer {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--dir"])
            .arg(dir.path())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let peer = Peer { child, port, dir };
        for _ in 0..100 {
            let ping = |mut connection| redis::cmd("PING").query::<String>(&mut connection);
            if peer.connect().and_then(ping).is_ok() {
                return peer;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("redis-server does not start in {:?}", peer.dir.path());
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?.get_connection()
    }

    /// Every sample must be there, and its DUMP must decode to the same.
    fn must_hold(&self, samples: &[(String, Value)]) {
        let mut connection = self.connect().unwrap();
        let size: usize = redis::cmd("DBSIZE").query(&mut connection).unwrap();
        assert_eq!(size, samples.len());
        for (at, (key, value)) in samples.iter().enumerate() {
            let payload: Vec<u8> = redis::cmd("DUMP").arg(key).query(&mut connection).unwrap();
            let dumped = verify(&payload, VerifyDump::Checksum).unwrap();
            let dialect = rekeep::persist::rdb::format::Dialect::Redis;
            let read = decode(dumped.code, dialect, dumped.payload, &narrow());
            let (mut read, mut value) = (shown(&read.unwrap()), shown(value));
            forget_what_version_9_does(&mut read);
            forget_what_version_9_does(&mut value);
            assert_eq!(read, value, "{key}");
            let at_ms: i64 = redis::cmd("PEXPIRETIME").arg(key).query(&mut connection).unwrap();
            let expected = if at % 2 == 1 { 4_102_444_800_000 + at as i64 } else { -1 };
            assert_eq!(at_ms, expected, "{key}");
        }
    }
}

/// The samples under names that are all different.
fn named_samples() -> Vec<(String, Value)> {
    let name = |(at, (key, value))| (format!("{at} {key}"), value);
    samples_of(10).into_iter().enumerate().map(name).collect()
}

#[test]
#[ignore = "needs redis-server"]
fn peer_loads_snapshots_of_version_9_and_10() {
    let samples = named_samples();
    for version in [9, 10] {
        let peer = Peer::start(7301, &[], |dir| {
            let bytes = written(&samples, settings(version, Compression::Lzf));
            std::fs::write(dir.join("dump.rdb"), bytes).unwrap();
        });
        peer.must_hold(&samples);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn peer_replays_rewritten_commands_and_its_dumps_decode() {
    let samples = named_samples();
    let peer = Peer::start(7302, &["--appendonly", "yes"], |dir| {
        let mut writer = CommandWriter::new(Vec::new());
        writer.timestamp(1).unwrap();
        writer.database(0).unwrap();
        for (at, (key, value)) in samples.iter().enumerate() {
            let deadline = (at % 2 == 1).then_some(UnixMs(4_102_444_800_000 + at as u64));
            writer.entry(key.as_bytes(), deadline, value.view()).unwrap();
        }
        std::fs::create_dir(dir.join("appendonlydir")).unwrap();
        let bytes = writer.end().unwrap();
        std::fs::write(dir.join("appendonlydir/appendonly.aof.1.base.aof"), bytes).unwrap();
        let manifest = "file appendonly.aof.1.base.aof seq 1 type b\n";
        std::fs::write(dir.join("appendonlydir/appendonly.aof.manifest"), manifest).unwrap();
    });
    peer.must_hold(&samples);
}
