//! The manifest: which files the append-only file consists of, in which order.
//!
//! It is replaced whole (temporary file, sync, rename, sync of the directory), so that at any
//! moment the files it names hold everything. At most one base; increments in rising order.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::crc::crc64_xz;
use crate::base::fs::{Disk, FsError};

/// What the manifest says while the first base is being written. A crash then leaves no base that
/// looks like one whose manifest was lost.
const ANNOUNCEMENT: &[u8] = b"# The first base is being written. Until it is named here, files \
beside this one hold nothing.\n";

/// Says of an increment that everything in it is in groups.
const GROUPS: (&[u8], &[u8]) = (b"groups", b"yes");

/// How the line begins that says the checksum of those above it. Redis takes it for a comment.
const SUM_PREFIX: &[u8] = b"#CRC64XZ:";
const NOT_ITS_SUM: &str = "The AOF manifest is not what its checksum says (whoever has edited it by \
                           hand takes this line out)";

const NOT_WHOLE: &str = "The AOF manifest ends before its #CRC64XZ line (whoever has edited it by \
                         hand takes the words size and crc64xz out of the other lines too)";

fn sum_line(above: &[u8]) -> Vec<u8> {
    format!("#CRC64XZ:{:016x}\n", crc64_xz(above)).into_bytes()
}

/// The longest line, with its line feed.
const LINE_BYTES_MAX: usize = 1024;

/// What a file is to the append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// A snapshot that the increments continue.
    Base,
    /// Commands.
    Increment,
    /// Superseded; to be deleted.
    History,
}

impl PartKind {
    fn letter(self) -> char {
        match self {
            PartKind::Base => 'b',
            PartKind::Increment => 'i',
            PartKind::History => 'h',
        }
    }
}

/// The format of a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFormat {
    /// A snapshot (`aof-use-rdb-preamble yes`).
    Rdb,
    /// Commands.
    Aof,
}

/// A file of the append-only file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name within the directory.
    pub name: Vec<u8>,
    /// Its number, from 1.
    pub seq: u64,
    /// What it is.
    pub kind: PartKind,
    /// What it holds, once it is finished.
    pub seal: Option<Seal>,
    /// What others say of it: pairs of words that have no meaning here.
    pub others: Vec<(Vec<u8>, Vec<u8>)>,
}

/// By what a finished file is known. Redis passes these words over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Its bytes.
    pub size: u64,
    /// Their CRC-64/XZ.
    pub sum: u64,
}

impl Part {
    fn new(name: Vec<u8>, seq: u64, kind: PartKind) -> Part {
        Part { name, seq, kind, seal: None, others: Vec::new() }
    }

    /// Whether all of it was written in groups.
    pub fn is_grouped(&self) -> bool {
        self.others.iter().any(|(key, value)| key == GROUPS.0 && value == GROUPS.1)
    }

    /// Whether checksums tell what it holds.
    fn is_vouched_for(&self) -> bool {
        self.seal.is_some() || self.is_grouped()
    }

    /// Where it is.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(OsStr::from_bytes(&self.name))
    }
}

/// The manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    base: Option<Part>,
    history: Vec<Part>,
    increments: Vec<Part>,
    base_seq: u64,
    increment_seq: u64,
}

/// What is wrong with a line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Invalid {
    /// In the words of Redis.
    pub what: &'static str,
    /// The line's number and contents, unless it is the whole file that is wrong.
    pub line: Option<(usize, String)>,
}

/// Why a manifest cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It could not be read or written.
    #[error(transparent)]
    Io(#[from] FsError),
    /// It says what it must not.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// The manifest's name for this `appendfilename`.
pub fn manifest_name(file: &[u8]) -> Vec<u8> {
    [file, b".manifest"].concat()
}

/// The name a manifest has until it is complete.
pub fn temp_manifest_name(file: &[u8]) -> Vec<u8> {
    [b"temp-", file, b".manifest"].concat()
}

/// The name of the increment that collects commands while the first base is being written.
pub fn temp_increment_name(file: &[u8]) -> Vec<u8> {
    [b"temp-", file, b".incr"].concat()
}

/// `name` in `dir`.
pub fn path_in(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

impl Manifest {
    /// The base.
    pub fn base(&self) -> Option<&Part> {
        self.base.as_ref()
    }

    /// The increments, oldest first.
    pub fn increments(&self) -> &[Part] {
        &self.increments
    }

    /// The superseded files.
    pub fn history(&self) -> &[Part] {
        &self.history
    }

    /// Base and increments in the order in which they are loaded.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.increments)
    }

    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// Reads a manifest from its contents.
    pub fn parse(text: &[u8]) -> Result<Manifest, Invalid> {
        if text.is_empty() {
            return Err(Invalid { what: "Found an empty AOF manifest", line: None });
        }
        let mut manifest = Manifest::default();
        let (mut before, mut summed) = (0, false);
        for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let above = text.get(..before).unwrap_or_default();
            before += line.len();
            summed |= line.starts_with(SUM_PREFIX);
            if line.starts_with(SUM_PREFIX) && line != sum_line(above) {
                let line = (at + 1, String::from_utf8_lossy(line.trim_ascii()).into_owned());
                return Err(Invalid { what: NOT_ITS_SUM, line: Some(line) });
            }
            if line.starts_with(b"#") {
                continue;
            }
            if line.len() > LINE_BYTES_MAX || !line.ends_with(b"\n") {
                let what = "The AOF manifest file contains too long line";
                return Err(Invalid { what, line: None });
            }
            let line = line.trim_ascii();
            parse_part(line).and_then(|part| manifest.add(part)).map_err(|what| {
                let line = (at + 1, String::from_utf8_lossy(line).into_owned());
                Invalid { what, line: Some(line) }
            })?;
        }
        // Who writes the one writes the other.
        if !summed && manifest.parts().any(|part| part.seal.is_some()) {
            return Err(Invalid { what: NOT_WHOLE, line: None });
        }
        Ok(manifest)
    }

    fn add(&mut self, part: Part) -> Result<(), &'static str> {
        match part.kind {
            PartKind::Base if self.base.is_some() => {
                return Err("Found duplicate base file information");
            }
            PartKind::Base => {
                self.base_seq = part.seq;
                self.base = Some(part);
            }
            PartKind::History => self.history.push(part),
            PartKind::Increment if part.seq <= self.increment_seq => {
                return Err("Found a non-monotonic sequence number");
            }
            PartKind::Increment => {
                self.increment_seq = part.seq;
                self.increments.push(part);
            }
        }
        Ok(())
    }

    /// The contents of the file. Where nothing has a checksum it is what Redis writes.
    pub fn format(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for part in self.base.iter().chain(&self.history).chain(&self.increments) {
            text.extend_from_slice(b"file ");
            put_word(&part.name, &mut text);
            let rest = format!(" seq {} type {}", part.seq, part.kind.letter());
            text.extend_from_slice(rest.as_bytes());
            if let Some(Seal { size, sum }) = part.seal {
                text.extend_from_slice(format!(" size {size} crc64xz {sum:016x}").as_bytes());
            }
            for word in part.others.iter().flat_map(|(key, value)| [key, value]) {
                text.push(b' ');
                put_word(word, &mut text);
            }
            text.push(b'\n');
        }
        if self.base.iter().chain(&self.history).chain(&self.increments).any(Part::is_vouched_for) {
            let sum = sum_line(&text);
            text.extend_from_slice(&sum);
        }
        text
    }

    /// Reads the manifest from `dir`; none if there is no file.
    pub fn load(disk: &Disk, dir: &Path, file: &[u8]) -> Result<Option<Manifest>, ManifestError> {
        let path = path_in(dir, &manifest_name(file));
        if disk.size(&path)?.is_none() {
            return Ok(None);
        }
        Ok(Some(Manifest::parse(&disk.read(&path)?)?))
    }

    /// Whether the manifest in `dir` only announces a first base.
    pub fn is_announced(disk: &Disk, dir: &Path, file: &[u8]) -> Result<bool, FsError> {
        let path = path_in(dir, &manifest_name(file));
        Ok(disk.exists(&path)? && disk.read(&path)? == ANNOUNCEMENT)
    }

    /// Says in `dir` that a first base is being written. There is no manifest yet.
    pub fn announce(disk: &Disk, dir: &Path, file: &[u8]) -> Result<(), FsError> {
        let path = path_in(dir, &manifest_name(file));
        let temp = path_in(dir, &temp_manifest_name(file));
        disk.write_atomically(&path, &temp, |out| out.put(ANNOUNCEMENT))
    }

    /// Replaces the manifest in `dir`, durably.
    pub fn save(&self, disk: &Disk, dir: &Path, file: &[u8]) -> Result<(), FsError> {
        let path = path_in(dir, &manifest_name(file));
        let temp = path_in(dir, &temp_manifest_name(file));
        disk.write_atomically(&path, &temp, |out| out.put(&self.format()))
    }

    /// Makes a new base the present one; the old one becomes history.
    pub fn new_base(&mut self, file: &[u8], format: BaseFormat, seal: Option<Seal>) -> &Part {
        if let Some(old) = self.base.take() {
            self.history.insert(0, Part { kind: PartKind::History, ..old });
        }
        self.base_seq += 1;
        let suffix = match format {
            BaseFormat::Rdb => ".base.rdb",
            BaseFormat::Aof => ".base.aof",
        };
        let name = numbered(file, self.base_seq, suffix);
        let part = Part::new(name, self.base_seq, PartKind::Base);
        self.base.insert(Part { seal, ..part })
    }

    /// Adds a new increment at the end.
    pub fn new_increment(&mut self, file: &[u8]) -> &Part {
        self.increment_seq += 1;
        let name = numbered(file, self.increment_seq, ".incr.aof");
        let part = Part::new(name, self.increment_seq, PartKind::Increment);
        self.increments.push(part);
        self.increments.last().expect("just pushed")
    }

    /// The last increment is new, and will be written in groups.
    pub fn mark_grouped(&mut self) {
        if let Some(part) = self.increments.last_mut() {
            part.others.push((GROUPS.0.to_vec(), GROUPS.1.to_vec()));
        }
    }

    /// A new increment takes the place of the last one, which becomes history.
    pub fn replace_increment(&mut self, file: &[u8]) -> &Part {
        let old = self.increments.pop();
        self.new_increment(file);
        if let (Some(old), Some(new)) = (old, self.increments.last_mut()) {
            new.others.clone_from(&old.others);
            self.history.insert(0, Part { kind: PartKind::History, ..old });
        }
        self.increments.last().expect("just added")
    }

    /// The name of the next increment is not to be used: a manifest on the disk may count on it.
    pub fn skip_increment(&mut self) {
        self.increment_seq += 1;
    }

    /// The base is written, and holds this.
    pub fn seal_base(&mut self, seal: Seal) {
        if let Some(part) = &mut self.base {
            part.seal = Some(seal);
        }
    }

    /// The last increment is finished; another follows.
    pub fn seal_increment(&mut self, seal: Option<Seal>) {
        if let Some(part) = self.increments.last_mut() {
            part.seal = seal;
        }
    }

    /// The name the next increment will have.
    pub fn next_increment_name(&self, file: &[u8]) -> Vec<u8> {
        numbered(file, self.increment_seq + 1, ".incr.aof")
    }

    /// Makes every increment but the last `kept` history: a new base holds what they say.
    pub fn retire_increments(&mut self, kept: usize) {
        let retired = self.increments.len().saturating_sub(kept);
        for part in self.increments.drain(..retired) {
            self.history.insert(0, Part { kind: PartKind::History, ..part });
        }
    }

    /// Forgets the superseded files, which are to be deleted once this manifest is saved.
    pub fn take_history(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.history)
    }

    /// Remembers superseded files that could not be deleted.
    pub fn put_back_history(&mut self, parts: Vec<Part>) {
        self.history.extend(parts);
    }

    /// Whether all there is to load is the single file of a server before 7.0. It may not have come
    /// into the directory yet.
    pub fn is_single_file(&self, file: &[u8]) -> bool {
        self.increments.is_empty() && self.base.as_ref().is_some_and(|base| base.name == file)
    }

    /// Takes the single file of a server before 7.0 as the base.
    pub fn adopt_single_file(&mut self, file: &[u8]) {
        self.base_seq = 1;
        self.base = Some(Part::new(file.to_vec(), 1, PartKind::Base));
    }
}

/// A part in `dir` that holds something; without a manifest nobody knows what. `but` is a name that
/// does not count.
pub fn orphan(dir: &Path, file: &[u8], but: Option<&[u8]>) -> Option<PathBuf> {
    let found = std::fs::read_dir(dir).ok()?.flatten().find(|found| {
        let name = found.file_name();
        let name = name.as_bytes();
        name.starts_with(file)
            && (name.ends_with(b".aof") || name.ends_with(b".rdb"))
            && but != Some(name)
            && found.metadata().is_ok_and(|data| data.len() > 0)
    });
    found.map(|found| found.path())
}

fn numbered(file: &[u8], seq: u64, suffix: &str) -> Vec<u8> {
    [file, b".", seq.to_string().as_bytes(), suffix.as_bytes()].concat()
}

const FORMAT: &str = "Invalid AOF manifest file format";

fn parse_part(line: &[u8]) -> Result<Part, &'static str> {
    let words = split_words(line).filter(|words| words.len() >= 6 && words.len() % 2 == 0);
    let words = words.ok_or(FORMAT)?;
    let (mut name, mut seq, mut letter) = (None, 0, None);
    let (mut size, mut sum, mut others) = (None, None, Vec::new());
    for pair in words.chunks_exact(2) {
        let [key, value] = pair else { continue };
        if key.eq_ignore_ascii_case(b"file") {
            if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                return Err("File can't be a path, just a filename");
            }
            name = Some(value.clone());
        } else if key.eq_ignore_ascii_case(b"seq") {
            seq = leading_number(value);
        } else if key.eq_ignore_ascii_case(b"type") {
            letter = value.first().copied();
        } else if key == b"size" {
            size = Some(text(value).and_then(|text| text.parse().ok()).ok_or(FORMAT)?);
        } else if key == b"crc64xz" {
            let hex = text(value).filter(|text| text.len() == 16);
            sum = Some(hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).ok_or(FORMAT)?);
        } else {
            others.push((key.clone(), value.clone()));
        }
    }
    let (Some(name), true, Some(letter)) = (name, seq > 0, letter) else { return Err(FORMAT) };
    let kind = match letter {
        b'b' => PartKind::Base,
        b'i' => PartKind::Increment,
        b'h' => PartKind::History,
        _ => return Err("Unknown AOF file type"),
    };
    let seal = size.zip(sum).map(|(size, sum)| Seal { size, sum });
    Ok(Part { seal, others, ..Part::new(name, seq, kind) })
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

fn leading_number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// Splits a line at blanks, with words in double quotes (and escapes) or single quotes.
fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = Vec::new();
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            match first {
                quote @ (b'"' | b'\'') => {
                    rest = unquote(quote, rest, &mut word)?;
                    if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return None;
                    }
                }
                byte if byte.is_ascii_whitespace() || byte == 0 => break,
                byte => word.push(byte),
            }
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

/// Reads up to the closing `quote` and returns what follows it.
fn unquote<'a>(quote: u8, text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = text;
    loop {
        rest = match (quote, rest) {
            (_, [byte, after @ ..]) if *byte == quote => return Some(after),
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                word.push(digit(*high) << 4 | digit(*low));
                after
            }
            (b'"', [b'\\', escaped, after @ ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            (b'\'', [b'\\', b'\'', after @ ..]) => {
                word.push(b'\'');
                after
            }
            (_, [byte, after @ ..]) => {
                word.push(*byte);
                after
            }
            (_, []) => return None,
        };
    }
}

/// Appends a word, in double quotes if it would not be read back otherwise.
fn put_word(word: &[u8], out: &mut Vec<u8>) {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'');
    if !word.is_empty() && word.iter().all(plain) {
        return out.extend_from_slice(word);
    }
    out.push(b'"');
    for byte in word {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            7 => out.extend_from_slice(b"\\a"),
            b' '..=b'~' => out.push(*byte),
            other => out.extend_from_slice(format!("\\x{other:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"appendonly.aof";

    #[test]
    fn manifest_of_a_real_server_reads_and_writes_back() {
        let text = b"file appendonly.aof.2.base.rdb seq 2 type b\n\
                     file appendonly.aof.1.incr.aof seq 1 type h\n\
                     file appendonly.aof.2.incr.aof seq 2 type i\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.base().unwrap().seq, 2);
        assert_eq!(manifest.increments().len(), 1);
        assert_eq!(manifest.history().len(), 1);
        let written = manifest.format();
        assert_eq!(written, text, "what has no checksums stays as Redis writes it");
        assert_eq!(Manifest::parse(&written).unwrap(), manifest);
    }

    #[test]
    fn damaged_or_cut_manifest_of_ours_is_refused() {
        let mut manifest = Manifest::default();
        let seal = Some(Seal { size: 271, sum: 0xabc });
        manifest.new_base(FILE, BaseFormat::Rdb, seal);
        manifest.new_increment(FILE);
        let text = manifest.format();
        assert_eq!(Manifest::parse(&text).unwrap().base().unwrap().seal, seal);
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(Manifest::parse(&lines[..2].concat()).unwrap_err().what, NOT_WHOLE);
        assert_eq!(Manifest::parse(lines[0]).unwrap_err().what, NOT_WHOLE);
        let swapped = [lines[1], lines[0], lines[2]].concat();
        assert_eq!(Manifest::parse(&swapped).unwrap_err().what, NOT_ITS_SUM);
        let foreign = b"file a.1.base.rdb seq 1 type b mood good startoffset 7\n";
        let kept = Manifest::parse(foreign).unwrap().format();
        assert!(kept.starts_with(foreign), "what others say stays");
    }

    #[test]
    fn parse_tells_every_error_in_the_words_of_redis() {
        let format = "Invalid AOF manifest file format";
        let long = format!("file {} seq 1 type b\n", "x".repeat(1024));
        for (text, what) in [
            ("", "Found an empty AOF manifest"),
            ("\n", format),
            ("file a seq 1\n", format),
            ("file a seq 1 type\n", format),
            ("file a seq 0 type b\n", format),
            ("file a seq 1 nothing b\n", format),
            ("file \"a seq 1 type b\n", format),
            ("file \"a\"b seq 1 type b\n", format),
            ("file a seq 1 type b", "The AOF manifest file contains too long line"),
            (&long, "The AOF manifest file contains too long line"),
            ("file ../a seq 1 type b\n", "File can't be a path, just a filename"),
            ("file a seq 1 type x\n", "Unknown AOF file type"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number"),
        ] {
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err().what, what, "{text:?}");
        }
        let error = Manifest::parse(b"# note\nfile a seq 1 type x\n").unwrap_err();
        assert_eq!(error.line, Some((2, "file a seq 1 type x".to_owned())));
    }

    #[test]
    fn parse_takes_comments_quotes_and_further_pairs() {
        let text = b"# a comment\nFILE \"a \\x41\\n\\\"\" Seq 3 type base startoffset 7\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.base().unwrap().name, b"a A\n\"");
        let escaped = b"file \"a A\\n\\\"\" seq 3 type b startoffset 7\n";
        assert_eq!(manifest.format(), escaped);
        assert_eq!(Manifest::parse(&manifest.format()).unwrap(), manifest);
        let single = Manifest::parse(b"file 'it\\'s' seq 1 type i\n").unwrap();
        assert_eq!(single.increments()[0].name, b"it's");
        assert_eq!(Manifest::parse(&single.format()).unwrap(), single);
    }

    #[test]
    fn rewrite_moves_the_old_to_history_and_keeps_counting() {
        let mut manifest = Manifest::default();
        assert_eq!(
            manifest.new_base(FILE, BaseFormat::Rdb, None).name,
            b"appendonly.aof.1.base.rdb"
        );
        assert_eq!(manifest.new_increment(FILE).name, b"appendonly.aof.1.incr.aof");
        assert_eq!(manifest.new_increment(FILE).name, b"appendonly.aof.2.incr.aof");
        assert_eq!(
            manifest.new_base(FILE, BaseFormat::Aof, None).name,
            b"appendonly.aof.2.base.aof"
        );
        manifest.retire_increments(1);
        assert_eq!(
            String::from_utf8(manifest.format()).unwrap(),
            "file appendonly.aof.2.base.aof seq 2 type b\n\
             file appendonly.aof.1.incr.aof seq 1 type h\n\
             file appendonly.aof.1.base.rdb seq 1 type h\n\
             file appendonly.aof.2.incr.aof seq 2 type i\n"
        );
        assert_eq!(manifest.take_history().len(), 2);
        let mut read = Manifest::parse(&manifest.format()).unwrap();
        assert_eq!(read, manifest);
        assert_eq!(read.new_increment(FILE).seq, 3);
    }

    #[test]
    fn save_then_load_is_the_same_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        assert!(Manifest::load(&disk, dir.path(), FILE).unwrap().is_none());
        let mut manifest = Manifest::default();
        manifest.adopt_single_file(FILE);
        manifest.new_increment(FILE);
        manifest.save(&disk, dir.path(), FILE).unwrap();
        assert_eq!(Manifest::load(&disk, dir.path(), FILE).unwrap(), Some(manifest));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
