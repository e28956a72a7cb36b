//! Reading a snapshot: a stream of events. Keys are gathered in runs, with the bytes of their names
//! and values still encoded, so that other threads can decode them.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use super::format::{
    self, Dialect, HEADER_BYTES, SIGNATURE, SIGNATURE_VALKEY, VERSION_CHECKSUM, VERSION_MAX,
    VERSION_VALKEY, module, opcode,
};
use super::skim::{skim, skim_module};
use super::slice::{Malformed, Slice};
use super::source::{Rest, Source};
use crate::base::clock::UnixMs;

/// What the reader was about when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// The header.
    Start,
    /// The byte that says what comes next.
    ReadType,
    /// A deadline.
    ReadExpire,
    /// A key's name.
    ReadKey,
    /// A key's value.
    ReadValue,
    /// The checksum.
    CheckSum,
    /// The number or the size of a database.
    ReadLen,
    /// A string about the file.
    ReadAux,
    /// A module's data outside the keyspace.
    ReadModuleAux,
    /// A function library.
    ReadFunctions,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doing::Start => "start",
            Doing::ReadType => "read-type",
            Doing::ReadExpire => "read-expire",
            Doing::ReadKey => "read-key",
            Doing::ReadValue => "read-object-value",
            Doing::CheckSum => "check-sum",
            Doing::ReadLen => "read-len",
            Doing::ReadAux => "read-aux",
            Doing::ReadModuleAux => "read-module-aux",
            Doing::ReadFunctions => "read-functions",
        })
    }
}

/// Why a snapshot cannot be read. Every variant knows the byte.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// The file could not be read.
    #[error("reading at offset {offset} failed: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file ends too early.
    #[error("Unexpected EOF reading RDB file at offset {offset}, while doing {doing}")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// What was expected there.
        doing: Doing,
    },
    /// The file says what cannot be.
    #[error("{what} (offset {offset}, while doing {doing})")]
    Corrupt {
        /// Where.
        offset: u64,
        /// While reading what.
        doing: Doing,
        /// What is wrong, in a sentence.
        what: String,
    },
    /// It is no RDB file, or of a version that is not understood.
    #[error("{what}")]
    Header {
        /// What is wrong, in a sentence.
        what: String,
    },
    /// The contents do not have the sum that the file ends with.
    #[error(
        "Wrong RDB checksum expected: ({expected:x}) but got ({found:x}). Aborting now. RDB CRC error"
    )]
    Checksum {
        /// What the file ends with.
        expected: u64,
        /// The sum of its contents.
        found: u64,
    },
}

impl RdbError {
    /// The offset in the file that the error is about, where there is one.
    pub fn offset(&self) -> Option<u64> {
        match self {
            RdbError::Io { offset, .. }
            | RdbError::Truncated { offset, .. }
            | RdbError::Corrupt { offset, .. } => Some(*offset),
            RdbError::Header { .. } | RdbError::Checksum { .. } => None,
        }
    }
}

/// A key with its value, both still encoded.
#[derive(Clone, Copy, Debug)]
pub struct KeyRecord<'r> {
    /// What the file says of the key.
    pub facts: &'r Facts,
    /// The bytes of its name: see [`KeyRecord::name`].
    encoded_name: &'r [u8],
    /// The encoded value.
    pub payload: &'r [u8],
}

impl<'r> KeyRecord<'r> {
    /// The name, decoded.
    pub fn name(&self) -> Result<Cow<'r, [u8]>, Malformed> {
        Slice::new(self.encoded_name).string()
    }

    /// The name for people; empty where it cannot be decoded.
    pub fn shown(&self) -> String {
        self.name().map_or_else(|_| String::new(), |name| String::from_utf8_lossy(&name).into())
    }
}

/// What a file says of a key beside its name and value.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its database.
    pub db: u64,
    /// When it expires.
    pub deadline: Option<UnixMs>,
    /// Seconds since it was used.
    pub idle_secs: Option<u64>,
    /// How often it was used, as LFU counts.
    pub freq: Option<u8>,
    /// The type code of the value; in `Dialect::Redis` unless the reader says otherwise.
    pub code: u8,
    /// Where the value begins in the file.
    pub offset: u64,
}

/// Keys that follow each other in a file.
#[derive(Debug, Default)]
pub struct Run {
    bytes: Vec<u8>,
    /// Of each key: its facts, where its name ends in `bytes`, and where its value does.
    keys: Vec<(Facts, usize, usize)>,
}

impl Run {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of names and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the keys; the memory is kept for others, but for what is above `bytes_kept`.
    pub fn clear(&mut self, bytes_kept: usize) {
        self.keys.clear();
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
    }

    /// The keys, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = KeyRecord<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The key that was added as number `index`.
    pub fn get(&self, index: usize) -> Option<KeyRecord<'_>> {
        let (facts, name_end, end) = self.keys.get(index)?;
        let before = index.checked_sub(1).and_then(|before| self.keys.get(before));
        let from = before.map_or(0, |(_, _, end)| *end);
        let encoded_name = &self.bytes[from..*name_end];
        Some(KeyRecord { facts, encoded_name, payload: &self.bytes[*name_end..*end] })
    }

    /// The key that was added last.
    pub fn last(&self) -> Option<KeyRecord<'_>> {
        self.get(self.len().checked_sub(1)?)
    }
}

/// How the end of the file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It matches.
    Ok,
    /// The file was saved without.
    Disabled,
    /// The version has none.
    Absent,
    /// It is there and was not to be verified.
    Ignored,
}

/// What a snapshot consists of, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A named string about the file.
    Aux {
        /// The name.
        key: Vec<u8>,
        /// The string.
        value: Vec<u8>,
    },
    /// The database of the following keys.
    SelectDb(u64),
    /// How many keys, and keys with deadlines, the database has: a hint.
    ResizeDb {
        /// Keys.
        keys: u64,
        /// Keys with deadlines.
        expires: u64,
    },
    /// The sizes of a slot: a hint.
    SlotInfo {
        /// The slot's number.
        slot: u64,
        /// Keys.
        keys: u64,
        /// Keys with deadlines.
        expires: u64,
    },
    /// A function library's source.
    Function(Vec<u8>),
    /// A module's data outside the keyspace, passed over. A check names it; a loader refuses it:
    /// "The RDB file contains AUX module data I can't load: no matching module 'NAME'".
    ModuleAux {
        /// The module's type name.
        name: String,
    },
    /// A key, which was added to the run.
    Key,
    /// The end; nothing follows.
    End(Checksum),
}

/// Whether to verify the checksum (`rdbchecksum`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Verify it.
    Checksum,
    /// Read it and ignore it.
    Nothing,
}

/// The reader.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    version: u32,
    dialect: Dialect,
    verify: Verify,
    db: u64,
    broken_key: Option<(Vec<u8>, u8)>,
}

/// Whether a file that begins with `bytes` is a snapshot, as an append-only file may.
pub fn is_snapshot(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE) || bytes.starts_with(SIGNATURE_VALKEY)
}

impl<R: Read> Reader<R> {
    /// Reads the header of a stream that has `total` bytes in all, if that is known.
    pub fn open(inner: R, total: Option<u64>, verify: Verify) -> Result<Reader<R>, RdbError> {
        let mut source = Source::new(inner, total);
        if verify == Verify::Nothing {
            source.without_sum();
        }
        let header: [u8; HEADER_BYTES] = source.array()?;
        let (version, dialect) = parse_header(&header)?;
        Ok(Reader { source, version, dialect, verify, db: 0, broken_key: None })
    }

    /// The version in the header.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whose type codes the file uses.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The offset of the next unread byte, for progress.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// What the reader is about.
    pub fn doing(&self) -> Doing {
        self.source.doing
    }

    /// After an error in a key's value: its name and the value's type.
    pub fn broken_key(&self) -> Option<(&[u8], u8)> {
        self.broken_key.as_ref().map(|(key, code)| (key.as_slice(), *code))
    }

    /// Gives back the stream, to read on behind the snapshot.
    pub fn into_rest(self) -> Rest<R> {
        self.source.into_rest()
    }

    /// The next event; a key is added to `run`. After `End` or an error there is nothing to read any
    /// more.
    pub fn next_event(&mut self, run: &mut Run) -> Result<Event, RdbError> {
        let mut next = Pending::default();
        loop {
            self.source.doing = Doing::ReadType;
            let code = self.source.byte()?;
            match code {
                opcode::EXPIRETIME => {
                    self.source.doing = Doing::ReadExpire;
                    let secs = i32::from_le_bytes(self.source.array()?);
                    next.deadline = deadline(i64::from(secs).saturating_mul(1000));
                }
                opcode::EXPIRETIME_MS => {
                    self.source.doing = Doing::ReadExpire;
                    next.deadline = deadline(i64::from_le_bytes(self.source.array()?));
                }
                opcode::FREQ => next.freq = Some(self.source.byte()?),
                opcode::IDLE => next.idle_secs = Some(self.source.length()?),
                opcode::EOF => return self.end(),
                opcode::SELECTDB => {
                    self.source.doing = Doing::ReadLen;
                    self.db = self.source.length()?;
                    return Ok(Event::SelectDb(self.db));
                }
                opcode::RESIZEDB => {
                    self.source.doing = Doing::ReadLen;
                    let (keys, expires) = (self.source.length()?, self.source.length()?);
                    return Ok(Event::ResizeDb { keys, expires });
                }
                opcode::SLOT_INFO => {
                    self.source.doing = Doing::ReadLen;
                    let slot = self.source.length()?;
                    let (keys, expires) = (self.source.length()?, self.source.length()?);
                    return Ok(Event::SlotInfo { slot, keys, expires });
                }
                opcode::AUX => {
                    self.source.doing = Doing::ReadAux;
                    let (key, value) = (self.source.string()?, self.source.string()?);
                    return Ok(Event::Aux { key, value });
                }
                opcode::MODULE_AUX => return self.module_aux(),
                opcode::FUNCTION_PRE_GA => {
                    return Err(self.source.corrupt("Pre-release function format not supported."));
                }
                opcode::FUNCTION2 => {
                    self.source.doing = Doing::ReadFunctions;
                    return Ok(Event::Function(self.source.string()?));
                }
                code if format::is_type(code) => return self.key(code, next, run),
                other => {
                    return Err(self.source.corrupt(format!("Invalid object type: {other}")));
                }
            }
        }
    }

    fn key(&mut self, code: u8, next: Pending, run: &mut Run) -> Result<Event, RdbError> {
        self.source.doing = Doing::ReadKey;
        self.source.keep();
        self.source.skip_string()?;
        let name_bytes = self.source.kept().len();
        self.source.doing = Doing::ReadValue;
        let offset = self.source.offset();
        if let Err(error) = skim(&mut self.source, code, self.dialect) {
            let name = Slice::new(&self.source.kept()[..name_bytes]).string();
            self.broken_key = name.ok().map(|name| (name.into_owned(), code));
            return Err(error);
        }
        let Pending { deadline, idle_secs, freq } = next;
        let facts = Facts { db: self.db, deadline, idle_secs, freq, code, offset };
        let from = run.bytes.len();
        run.bytes.extend_from_slice(self.source.kept());
        self.source.keep_no_more();
        run.keys.push((facts, from + name_bytes, run.bytes.len()));
        Ok(Event::Key)
    }

    fn module_aux(&mut self) -> Result<Event, RdbError> {
        self.source.doing = Doing::ReadModuleAux;
        let id = self.source.length()?;
        if self.source.length()? != module::UINT {
            return Err(self.source.corrupt("bad when_opcode"));
        }
        self.source.length()?;
        skim_module(&mut self.source)?;
        Ok(Event::ModuleAux { name: format::module_name(id) })
    }

    fn end(&mut self) -> Result<Event, RdbError> {
        if self.version < VERSION_CHECKSUM {
            return Ok(Event::End(Checksum::Absent));
        }
        self.source.doing = Doing::CheckSum;
        let found = self.source.sum();
        let expected = u64::from_le_bytes(self.source.array()?);
        Ok(Event::End(match self.verify {
            Verify::Nothing => Checksum::Ignored,
            Verify::Checksum if expected == 0 => Checksum::Disabled,
            Verify::Checksum if expected == found => Checksum::Ok,
            Verify::Checksum => return Err(RdbError::Checksum { expected, found }),
        }))
    }
}

/// What has been said about the next key.
#[derive(Default)]
struct Pending {
    deadline: Option<UnixMs>,
    idle_secs: Option<u64>,
    freq: Option<u8>,
}

/// A stated deadline as a moment: -1 stands for none, and what is before the epoch has passed.
fn deadline(ms: i64) -> Option<UnixMs> {
    (ms != -1).then(|| UnixMs(u64::try_from(ms).unwrap_or(0)))
}

fn parse_header(header: &[u8; HEADER_BYTES]) -> Result<(u32, Dialect), RdbError> {
    let number = |digits: &[u8]| -> Option<u32> {
        let known = digits.iter().all(u8::is_ascii_digit);
        known.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    };
    let (digits, dialect) = match header.strip_prefix(SIGNATURE) {
        Some(digits) => (digits, Dialect::Redis),
        None => match header.strip_prefix(SIGNATURE_VALKEY) {
            Some(digits) => (digits, Dialect::Valkey),
            None => {
                let what = "Wrong signature trying to load DB from file".to_owned();
                return Err(RdbError::Header { what });
            }
        },
    };
    let shown = String::from_utf8_lossy(digits).into_owned();
    let version = number(digits).filter(|version| match dialect {
        Dialect::Redis => (1..=VERSION_MAX).contains(version),
        Dialect::Valkey => *version == VERSION_VALKEY,
    });
    let shown = number(digits).map_or(shown, |number| number.to_string());
    let what = format!("Can't handle RDB format version {shown}");
    version.map(|version| (version, dialect)).ok_or(RdbError::Header { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> Result<Reader<&[u8]>, String> {
        Reader::open(bytes, None, Verify::Checksum).map_err(|error| error.to_string())
    }

    #[test]
    fn open_takes_known_versions_alone() {
        for header in [&b"REDIS0001"[..], b"REDIS0012", b"VALKEY080"] {
            assert!(open(header).is_ok());
        }
        let version = |text: &[u8]| open(text).map(|_| ()).unwrap_err();
        assert_eq!(version(b"REDIS0013"), "Can't handle RDB format version 13");
        assert_eq!(version(b"REDIS0000"), "Can't handle RDB format version 0");
        assert_eq!(version(b"VALKEY081"), "Can't handle RDB format version 81");
        assert_eq!(version(b"REDIX0009"), "Wrong signature trying to load DB from file");
        assert!(version(b"REDIS00").starts_with("Unexpected EOF"));
    }

    #[test]
    fn events_carry_what_precedes_a_key() {
        let file = b"REDIS0003\xfe\x05\xf8\x07\xf9\x09\xfd\x02\0\0\0\x00\x01k\x01v\
                     \xfc\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01l\xc0\xff\
                     \xf4\x01\x02\x03\xff tail";
        let mut reader = open(file).unwrap();
        let mut run = Run::default();
        assert_eq!(reader.next_event(&mut run).unwrap(), Event::SelectDb(5));
        assert_eq!(reader.next_event(&mut run).unwrap(), Event::Key);
        assert_eq!(reader.next_event(&mut run).unwrap(), Event::Key);
        assert_eq!((run.len(), run.bytes(), run.last().unwrap().shown()), (2, 8, "l".to_owned()));
        let [first, second] = run.iter().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((first.facts.db, first.shown().as_str(), first.facts.code), (5, "k", 0));
        assert_eq!(first.facts.deadline, Some(UnixMs(2000)));
        assert_eq!((first.facts.idle_secs, first.facts.freq), (Some(7), Some(9)));
        assert_eq!((first.payload, first.facts.offset), (&b"\x01v"[..], 23));
        assert_eq!((second.facts.deadline, second.payload), (None, &b"\xc0\xff"[..]));
        let slot = Event::SlotInfo { slot: 1, keys: 2, expires: 3 };
        assert_eq!(reader.next_event(&mut run).unwrap(), slot);
        assert_eq!(reader.next_event(&mut run).unwrap(), Event::End(Checksum::Absent));
        let rest = reader.into_rest();
        assert_eq!(rest.offset as usize, file.len() - 5);
        let mut tail = String::new();
        rest.into_read().read_to_string(&mut tail).unwrap();
        assert_eq!(tail, " tail");
    }

    #[test]
    fn valkey_file_has_its_own_hash_type() {
        let entry = b"\x16\x01k\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff";
        let mut reader_bytes = b"VALKEY080".to_vec();
        reader_bytes.extend_from_slice(entry);
        reader_bytes.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
        let mut reader = open(&reader_bytes).unwrap();
        let mut run = Run::default();
        assert_eq!(reader.next_event(&mut run).unwrap(), Event::Key);
        let record = run.last().unwrap();
        assert_eq!((record.facts.code, record.payload.len()), (22, 13));
        assert_eq!(reader.next_event(&mut run).unwrap(), Event::End(Checksum::Disabled));
    }

    #[test]
    fn claimed_lengths_take_no_memory_and_end_in_truncation() {
        for claim in [&b"\x81\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x80\xff\xff\xff\xff"] {
            for code in [0, 1, 2, 3, 4, 5, 14, 18, 15, 21, 22, 24] {
                let file = [b"REDIS0012", &[code, 1, b'k'][..], claim, b"abc"].concat();
                let error = open(&file).unwrap().next_event(&mut Run::default()).unwrap_err();
                let bad = matches!(error, RdbError::Truncated { .. } | RdbError::Corrupt { .. });
                assert!(bad, "type {code}: {error}");
            }
        }
    }

    #[test]
    fn checksum_that_does_not_match_is_told() {
        let file = b"REDIS0009\xff\x01\0\0\0\0\0\0\0";
        let error = open(file).unwrap().next_event(&mut Run::default()).unwrap_err();
        assert!(matches!(error, RdbError::Checksum { expected: 1, .. }), "{error}");
        let mut lax = Reader::open(&file[..], None, Verify::Nothing).unwrap();
        assert_eq!(lax.next_event(&mut Run::default()).unwrap(), Event::End(Checksum::Ignored));
    }
}
