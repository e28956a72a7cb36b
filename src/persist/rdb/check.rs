//! `redis-check-rdb`: reads a whole snapshot, decodes every value with full validation, and says
//! where it breaks. The wording is that of Redis's tool, since scripts look for it.

use std::io::{self, Read, Write};
use std::path::Path;

use super::decode::{DecodeError, decode};
use super::format::{Dialect, type_name};
use super::reader::{Checksum, Doing, Event, RdbError, Reader, Run, Verify};
use crate::base::clock::UnixMs;
use crate::base::fs::Disk;
use crate::value::limits::Limits;

/// Room that is kept from one key to the next.
const RUN_BYTES_KEPT: usize = 1 << 20;

/// Checks the file at `path`; true if the tool should exit with success.
pub fn check(disk: &Disk, path: &Path, out: &mut dyn Write) -> io::Result<bool> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) => {
            writeln!(out, "Cannot open file {}: {}", path.display(), error.source)?;
            return Ok(false);
        }
    };
    let total = file.size().ok();
    Ok(check_stream(file, total, path, out)?.is_some())
}

/// Checks a snapshot at the beginning of `stream`; where it ends, if it is sane.
pub fn check_stream(
    stream: impl Read,
    total: Option<u64>,
    path: &Path,
    out: &mut dyn Write,
) -> io::Result<Option<u64>> {
    writeln!(out, "[offset 0] Checking RDB file {}", path.display())?;
    let mut checker =
        Checker { out, counts: Counts::default(), current: None, run: Run::default() };
    let mut reader = match Reader::open(stream, total, Verify::Checksum) {
        Ok(reader) => reader,
        Err(error) => {
            checker.failed(&error, error.offset().unwrap_or(9), Doing::Start)?;
            return Ok(None);
        }
    };
    loop {
        match checker.step(&mut reader)? {
            Step::Further => {}
            Step::Broken => return Ok(None),
            Step::End => {
                let offset = reader.offset();
                writeln!(checker.out, "[offset {offset}] \\o/ RDB looks OK! \\o/")?;
                checker.counts.show(checker.out)?;
                return Ok(Some(offset));
            }
        }
    }
}

enum Step {
    Further,
    End,
    Broken,
}

#[derive(Default)]
struct Counts {
    keys: u64,
    expires: u64,
    already_expired: u64,
    subexpires: u64,
}

impl Counts {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "[info] {} keys read", self.keys)?;
        writeln!(out, "[info] {} expires", self.expires)?;
        writeln!(out, "[info] {} already expired", self.already_expired)?;
        writeln!(out, "[info] {} subexpires", self.subexpires)
    }
}

struct Checker<'a> {
    out: &'a mut dyn Write,
    counts: Counts,
    /// The key being looked at and the type of its value.
    current: Option<(String, u8)>,
    run: Run,
}

impl Checker<'_> {
    fn step<R: Read>(&mut self, reader: &mut Reader<R>) -> io::Result<Step> {
        self.run.clear(RUN_BYTES_KEPT);
        let event = match reader.next_event(&mut self.run) {
            Ok(event) => event,
            Err(error) => {
                let offset = error.offset().unwrap_or(reader.offset());
                if let Some((key, code)) = reader.broken_key() {
                    self.current = Some((String::from_utf8_lossy(key).into_owned(), code));
                    self.counts.keys += 1;
                }
                self.failed(&error, offset, reader.doing())?;
                return Ok(Step::Broken);
            }
        };
        let offset = reader.offset();
        match event {
            Event::SelectDb(db) => writeln!(self.out, "[offset {offset}] Selecting DB ID {db}")?,
            Event::Aux { key, value } => {
                let (key, value) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
                writeln!(self.out, "[offset {offset}] AUX FIELD {key} = '{value}'")?;
            }
            Event::ModuleAux { name } => {
                writeln!(self.out, "[offset {offset}] MODULE AUX for: {name}")?;
            }
            Event::Key => return self.key(reader.dialect()),
            Event::End(sum) => {
                match sum {
                    Checksum::Ok => writeln!(self.out, "[offset {offset}] Checksum OK")?,
                    Checksum::Disabled => writeln!(
                        self.out,
                        "[offset {offset}] RDB file was saved with checksum disabled: no check \
                         performed."
                    )?,
                    Checksum::Absent | Checksum::Ignored => {}
                }
                return Ok(Step::End);
            }
            Event::ResizeDb { .. } | Event::SlotInfo { .. } | Event::Function(_) => {}
        }
        Ok(Step::Further)
    }

    fn key(&mut self, dialect: Dialect) -> io::Result<Step> {
        let record = self.run.last().expect("the reader has just added the key");
        let facts = *record.facts;
        self.current = Some((record.shown(), facts.code));
        self.counts.keys += 1;
        let end = facts.offset + record.payload.len() as u64;
        let decoded = match record.name() {
            Ok(_) => decode(facts.code, dialect, record.payload, &Limits::default()),
            Err(error) => Err(error.into()),
        };
        if let Ok(value) = &decoded {
            self.counts.subexpires += u64::from(value.view().element_deadline().is_some());
        }
        let broken = match decoded {
            Ok(_) | Err(DecodeError::Module(_) | DecodeError::Unsupported(_)) => None,
            Err(DecodeError::Empty) => Some("The key holds an empty collection".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(text) = broken {
            self.report(&text, end, Doing::ReadValue)?;
            return Ok(Step::Broken);
        }
        if let Some(deadline) = facts.deadline {
            self.counts.expires += 1;
            self.counts.already_expired += u64::from(deadline < UnixMs::now());
        }
        self.current = None;
        Ok(Step::Further)
    }

    fn failed(&mut self, error: &RdbError, offset: u64, doing: Doing) -> io::Result<()> {
        let text = match error {
            RdbError::Truncated { .. } => "Unexpected EOF reading RDB file".to_owned(),
            RdbError::Corrupt { what, .. } | RdbError::Header { what } => what.clone(),
            RdbError::Checksum { .. } => "RDB CRC error".to_owned(),
            RdbError::Io { source, .. } => format!("Error reading RDB file: {source}"),
        };
        self.report(&text, offset, doing)
    }

    fn report(&mut self, text: &str, offset: u64, doing: Doing) -> io::Result<()> {
        writeln!(self.out, "--- RDB ERROR DETECTED ---")?;
        writeln!(self.out, "[offset {offset}] {text}")?;
        writeln!(self.out, "[additional info] While doing: {doing}")?;
        if let Some((key, code)) = &self.current {
            writeln!(self.out, "[additional info] Reading key '{key}'")?;
            writeln!(self.out, "[additional info] Reading type {code} ({})", type_name(*code))?;
        }
        self.counts.show(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, cut: Option<usize>) -> (bool, String) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dumps/legacy");
        let mut bytes = std::fs::read(dir.join(name)).unwrap();
        bytes.truncate(cut.unwrap_or(usize::MAX));
        let mut out = Vec::new();
        let end = check_stream(&bytes[..], None, Path::new(name), &mut out).unwrap();
        (end.is_some(), String::from_utf8(out).unwrap())
    }

    const NOTHING_EXPIRES: &str =
        "[info] 0 expires\n[info] 0 already expired\n[info] 0 subexpires\n";

    #[test]
    fn check_of_a_sane_file_says_what_the_tool_of_redis_says() {
        let (ok, said) = run("encodings.rdb", None);
        let expected = "[offset 0] Checking RDB file encodings.rdb\n\
                        [offset 11] Selecting DB ID 0\n\
                        [offset 667] \\o/ RDB looks OK! \\o/\n[info] 13 keys read\n";
        assert_eq!((ok, said), (true, format!("{expected}{NOTHING_EXPIRES}")));
        let (ok, said) = run("scriptbackup.rdb", None);
        assert!(ok && said.contains("[offset 225] Checksum OK\n"), "{said}");
        assert!(said.contains("[offset 32] AUX FIELD redis-ver = '255.255.255'\n"), "{said}");
    }

    #[test]
    fn check_of_a_cut_file_names_offset_key_and_type() {
        let (ok, said) = run("encodings.rdb", Some(300));
        let expected = "--- RDB ERROR DETECTED ---\n\
                        [offset 300] Unexpected EOF reading RDB file\n\
                        [additional info] While doing: read-object-value\n\
                        [additional info] Reading key 'number'\n\
                        [additional info] Reading type 0 (string)\n\
                        [info] 7 keys read\n";
        assert!(!ok && said.ends_with(&format!("{expected}{NOTHING_EXPIRES}")), "{said}");
    }

    #[test]
    fn check_of_damaged_files_fails() {
        let (ok, said) = run("corrupt_ziplist.rdb", None);
        assert!(!ok && said.contains("[offset 494] Ziplist integrity check failed"), "{said}");
        assert!(said.contains("Reading key 'key:000000000091'\n"), "{said}");
        let (ok, said) = run("corrupt_empty_keys.rdb", None);
        assert!(!ok && said.contains("Reading key 'set'\n"), "{said}");
    }
}
