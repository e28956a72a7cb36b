//! What each fuzz target does with its bytes: `cargo +nightly fuzz run NAME`.
//!
//! `tests/foreign.rs` runs the same functions on mutations of real files. A panic is a failure, and so
//! is an answer that contradicts itself.

use std::ops::ControlFlow;
use std::path::Path;

use rekeep::base::glob;
use rekeep::config;
use rekeep::persist::aof::manifest::Manifest;
use rekeep::persist::aof::replay::{Entry, replay};
use rekeep::persist::rdb::check::check_stream;
use rekeep::persist::rdb::decode::decode;
use rekeep::persist::rdb::dump::{VerifyDump, verify};
use rekeep::persist::rdb::encode::dump;
use rekeep::persist::rdb::format::Dialect;
use rekeep::persist::rdb::writer::Compression;
use rekeep::resp::request::{Allowed, Parser};
use rekeep::value::limits::Limits;

/// A name, and what reads.
pub(crate) type Reader = (&'static str, fn(&[u8]));

/// Every reader.
pub(crate) const READERS: &[Reader] = &[
    ("request", request),
    ("restore", restore),
    ("rdb", rdb),
    ("aof", aof),
    ("manifest", manifest),
    ("config", config),
    ("glob", glob),
];

const ALLOWED: Allowed = Allowed { bulk_bytes_max: 512 << 20, authenticated: true };

/// Requests, in one piece and in two: the words are the same.
pub(crate) fn request(bytes: &[u8]) {
    let whole = words(bytes, bytes.len());
    let halves = words(bytes, bytes.len() / 2);
    assert_eq!(whole, halves, "where the bytes are cut must not matter");
}

fn words(bytes: &[u8], first: usize) -> (Vec<Vec<Vec<u8>>>, bool) {
    let (mut parser, mut buffer) = (Parser::default(), bytes[..first].to_vec());
    parser.parse(&mut buffer, ALLOWED);
    buffer.extend_from_slice(&bytes[first..]);
    parser.parse(&mut buffer, ALLOWED);
    let mut requests = Vec::new();
    for index in 0..parser.count() {
        let words = parser.request(index, &buffer);
        requests.push(words.words().map(<[u8]>::to_vec).collect());
    }
    let _ = parser.lacking(&buffer);
    let failed = parser.error().is_some();
    parser.consume(parser.count(), &mut buffer);
    (requests, failed)
}

/// A payload of RESTORE, without a look at its checksum; what is taken can be dumped and taken again.
pub(crate) fn restore(bytes: &[u8]) {
    let Ok(dumped) = verify(bytes, VerifyDump::Version) else { return };
    value(dumped.code, dumped.payload);
}

fn value(code: u8, payload: &[u8]) {
    let limits = Limits::default();
    let Ok(value) = decode(code, Dialect::Redis, payload, &limits) else { return };
    let again = dump(value.view(), 11, Compression::Off);
    let again = verify(&again, VerifyDump::Checksum).expect("our own dump is sealed");
    if let Err(error) = decode(again.code, Dialect::Redis, again.payload, &limits) {
        panic!("our own dump is refused: {error}");
    }
}

/// A snapshot, all of it decoded, as the checking tool does.
pub(crate) fn rdb(bytes: &[u8]) {
    let total = Some(bytes.len() as u64);
    let checked = check_stream(bytes, total, Path::new("a.rdb"), &mut std::io::sink());
    checked.expect("a slice is always read");
}

/// An increment of the append-only file.
pub(crate) fn aof(bytes: &[u8]) {
    let mut commands = 0;
    let outcome = replay(bytes, 0, false, &mut |entry: Entry<'_>| {
        commands += entry.args.count();
        ControlFlow::Continue(())
    });
    outcome.expect("a slice is always read");
}

/// A manifest; one that is taken is written as it was understood.
pub(crate) fn manifest(bytes: &[u8]) {
    // Quoted, a line may be four times as long, and then too long.
    if bytes.len() > 256 {
        return;
    }
    // One that names no file is never written.
    let Some(manifest) = Manifest::parse(bytes).ok().filter(|found| !found.is_empty()) else {
        return;
    };
    let again = Manifest::parse(&manifest.format()).expect("our own manifest is taken");
    assert_eq!(manifest.format(), again.format());
}

/// A configuration file that names no others.
pub(crate) fn config(bytes: &[u8]) {
    if bytes.to_ascii_lowercase().windows(7).any(|word| word == b"include") {
        return;
    }
    let _ = config::file::parse(bytes);
}

/// A pattern and a text, split at the first zero.
pub(crate) fn glob(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (pattern, text) = bytes.split_at(at);
    let found = glob::matches(pattern, text);
    assert!(
        !glob::is_literal(pattern) || found == (pattern == text),
        "a literal fits itself alone"
    );
    let _ = glob::matches_nocase(pattern, text);
}
