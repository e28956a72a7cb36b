//! What each fuzz target does with its bytes: `cargo +nightly fuzz run NAME`.
//!
//! `tests/foreign.rs` runs the same functions on mutations of real files. A panic is a failure, and so
//! is an answer that contradicts itself.

mod house;
mod values;
mod words;

use std::ops::ControlFlow;
use std::path::Path;

use rekeep::base::glob;
use rekeep::config;
use rekeep::config::rewrite::{Extent, rewrite};
use rekeep::persist::aof::manifest::Manifest;
use rekeep::persist::aof::replay::{Entry, replay};
use rekeep::persist::rdb::check::check_stream;
use rekeep::persist::rdb::reader::{Event, Reader as Snapshot, Run, Verify};
use rekeep::resp::request::{Allowed, Parser};

/// A name, and what reads.
type Reader = (&'static str, fn(&[u8]));

/// Every reader.
const READERS: &[Reader] = &[
    ("request", request),
    ("restore", values::restore),
    ("rdb", rdb),
    ("aof", aof),
    ("manifest", manifest),
    ("config", config),
    ("glob", glob),
    ("commands", words::commands),
    ("acl", words::acl),
    ("stream", words::stream),
    ("script", words::script),
];

/// Of a snapshot so many values are used.
const VALUES_MAX: usize = 4;

/// Runs the reader of that name.
pub(crate) fn run(name: &str, bytes: &[u8]) {
    let (_, read) = READERS.iter().find(|(known, _)| *known == name).expect("a reader's name");
    read(bytes);
}

pub(crate) const ALLOWED: Allowed = Allowed { bulk_bytes_max: 512 << 20, authenticated: true };

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

/// A snapshot, all of it decoded, as the checking tool does; each value is used.
pub(crate) fn rdb(bytes: &[u8]) {
    let total = Some(bytes.len() as u64);
    let checked = check_stream(bytes, total, Path::new("a.rdb"), &mut std::io::sink());
    checked.expect("a slice is always read");
    let Ok(mut snapshot) = Snapshot::open(bytes, total, Verify::Nothing) else { return };
    let dialect = snapshot.dialect();
    let (mut used, mut run) = (0, Run::default());
    while used < VALUES_MAX {
        match snapshot.next_event(&mut run) {
            Ok(Event::Key) => {
                used += 1;
                let record = run.last().expect("a key was added");
                values::meet(record.facts.code, dialect, record.payload);
            }
            Ok(Event::End(_)) | Err(_) => break,
            Ok(_) => {}
        }
    }
}

/// An increment of the append-only file; its commands are run.
pub(crate) fn aof(bytes: &[u8]) {
    house::visit(|house| {
        let outcome = replay(bytes, 0, false, &mut |entry: Entry<'_>| {
            let words: Vec<&[u8]> = entry.args.words().collect();
            house.run_harmless(&words);
            ControlFlow::Continue(())
        });
        outcome.expect("a slice is always read");
        house.run(&[b"debug", b"digest"]);
    });
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

/// A configuration file that names no others; one that is taken is written as it was understood.
pub(crate) fn config(bytes: &[u8]) {
    if bytes.to_ascii_lowercase().windows(7).any(|word| word == b"include") {
        return;
    }
    let Ok(taken) = config::file::parse(bytes) else { return };
    for (old, extent) in
        [(&b""[..], Extent::Everything), (b"", Extent::Changed), (bytes, Extent::Changed)]
    {
        let text = rewrite(old, &taken, None, extent);
        let again = match config::file::parse(&text) {
            Ok(again) => again,
            Err(error) => panic!("our own file is refused: {error}"),
        };
        let all = |config| config::get(config, &[b"*"]);
        assert_eq!(all(&again), all(&taken), "what is written is what was read");
    }
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
