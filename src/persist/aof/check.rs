//! `redis-check-aof`: says whether the append-only file is whole, and repairs its end.
//!
//! Only the last file may be cut. The wording is that of Redis's tool, since scripts look for it.

use std::io::{self, BufRead, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::group::{self, HEADER_BYTES, Header};
use super::input::Input;
use super::manifest::{Manifest, Part};
use super::replay::STOPPED_PREFIX;
use super::tail;
use crate::base::crc::crc64_xz;
use crate::base::fs::{Disk, DiskFile, FsError, Verb, dir_of};
use crate::persist::rdb::check::check_stream;
use crate::persist::rdb::reader::is_snapshot;

/// The longest line of a header or an annotation.
const LINE_BYTES_MAX: usize = 1024;

/// What to do besides checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    None,
    /// Cut off an invalid end, after asking (`--fix`).
    Fix,
    /// Cut at the first annotation later than this (`--truncate-to-timestamp`).
    ToTimestamp(i64),
}

/// The end of the check, with nothing more to say. What failed has been printed.
#[derive(Debug)]
pub enum Stop {
    /// The check found a reason to give up.
    Invalid,
    /// The report itself could not be written.
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}

/// Checks the file or manifest at `path`; true if the tool should exit with success.
pub fn check(
    disk: &Disk,
    path: &Path,
    repair: Repair,
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let mut checker = Checker { disk, repair, answers, out, line: 1, grouped: false, last_read: 0 };
    match checker.run(path) {
        Ok(()) => Ok(true),
        Err(Stop::Invalid) => Ok(false),
        Err(Stop::Output(error)) => Err(error),
    }
}

struct Checker<'a> {
    disk: &'a Disk,
    repair: Repair,
    answers: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    /// Lines read in all files, from 1.
    line: u64,
    /// Whether everything in the present file is in groups, as far as is known.
    grouped: bool,
    /// Where the last line or argument began, which an error without a place of its own names.
    last_read: u64,
}

/// How a single file turned out.
enum Found {
    Ok,
    Empty,
    Truncated,
    TimestampTruncated(i64),
}

/// Why a command could not be read; the sentence is empty where the file just ends.
struct Broken(String);

/// What a file at the command line is.
enum Style {
    Manifest,
    Snapshot,
    Commands,
}

/// Which of the files this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Last,
    Earlier,
}

macro_rules! say {
    ($self:expr, $($arg:tt)*) => { writeln!($self.out, $($arg)*) };
}

impl Checker<'_> {
    fn give_up<T>(&mut self, text: &str) -> Result<T, Stop> {
        say!(self, "{text}")?;
        Err(Stop::Invalid)
    }

    fn run(&mut self, path: &Path) -> Result<(), Stop> {
        match self.style(path)? {
            Style::Manifest => self.multi_part(path),
            style => {
                say!(self, "Start checking Old-Style AOF")?;
                self.grouped = false;
                let name = path.display().to_string();
                let found =
                    self.single(path, &name, Place::Last, matches!(style, Style::Snapshot))?;
                self.conclude(found, &name, "AOF")
            }
        }
    }

    fn style(&mut self, path: &Path) -> Result<Style, Stop> {
        if self.is_snapshot(path)? {
            return Ok(Style::Snapshot);
        }
        let mut input = Input::new(self.open(path)?, 0);
        loop {
            let Ok(line) = input.line(LINE_BYTES_MAX) else {
                return self.give_up(&format!("Cannot read file: {}", path.display()));
            };
            if !line.starts_with(b"#") {
                let manifest = line.starts_with(b"file");
                return Ok(if manifest { Style::Manifest } else { Style::Commands });
            }
        }
    }

    fn open(&mut self, path: &Path) -> Result<DiskFile, Stop> {
        match self.disk.open_edit(path) {
            Ok(file) => Ok(file),
            Err(error) => {
                let (path, cause) = (path.display(), words_of(&error.source));
                self.give_up(&format!("Cannot open file {path}: {cause}, aborting..."))
            }
        }
    }

    fn is_snapshot(&mut self, path: &Path) -> Result<bool, Stop> {
        let mut start = Vec::new();
        match self.open(path)?.take(9).read_to_end(&mut start) {
            Ok(read) => Ok(read >= 8 && is_snapshot(&start)),
            Err(_) => self.give_up(&format!("Cannot read file: {}", path.display())),
        }
    }

    fn multi_part(&mut self, path: &Path) -> Result<(), Stop> {
        say!(self, "Start checking Multi Part AOF")?;
        let manifest = self.manifest(path)?;
        let dir = dir_of(path);
        let parts: Vec<&Part> = manifest.parts().collect();
        let has_base = manifest.base().is_some();
        for (at, part) in parts.iter().enumerate() {
            let place = if at + 1 == parts.len() { Place::Last } else { Place::Earlier };
            let (path, name) = (part.path(dir), String::from_utf8_lossy(&part.name));
            self.grouped = part.is_grouped();
            if at == 0 && has_base {
                let snapshot = self.is_snapshot(&path)?;
                let format = if snapshot { "RDB" } else { "RESP" };
                say!(self, "Start to check BASE AOF ({format} format).")?;
                let found = self.single(&path, &name, place, snapshot)?;
                self.conclude(found, &name, "BASE AOF")?;
                continue;
            }
            if at == usize::from(has_base) {
                say!(self, "Start to check INCR files.")?;
            }
            let found = self.single(&path, &name, place, false)?;
            self.conclude(found, &name, "INCR AOF")?;
        }
        say!(self, "All AOF files and manifest are valid")?;
        Ok(())
    }

    fn manifest(&mut self, path: &Path) -> Result<Manifest, Stop> {
        let text = match self.disk.read(path) {
            Ok(text) => text,
            Err(error) => {
                let (path, cause) = (path.display(), words_of(&error.source));
                return self.give_up(&format!(
                    "Fatal error: can't open the AOF manifest file {path} for reading: {cause}"
                ));
            }
        };
        let error = match Manifest::parse(&text) {
            Ok(manifest) => return Ok(manifest),
            Err(error) => error,
        };
        say!(self, "\n*** FATAL AOF MANIFEST FILE ERROR ***\n")?;
        if let Some((number, line)) = &error.line {
            say!(self, "Reading the manifest file, at line {number}\n")?;
            say!(self, ">>> '{line}'\n")?;
        }
        self.give_up(error.what)
    }

    fn conclude(&mut self, found: Found, name: &str, what: &str) -> Result<(), Stop> {
        match found {
            Found::Ok => say!(self, "{what} {name} is valid")?,
            Found::Empty => say!(self, "{what} {name} is empty")?,
            Found::Truncated => say!(self, "Successfully truncated AOF {name}")?,
            Found::TimestampTruncated(secs) => {
                say!(self, "Successfully truncated AOF {name} to timestamp {secs}")?;
            }
        }
        Ok(())
    }

    fn single(
        &mut self,
        path: &Path,
        name: &str,
        place: Place,
        snapshot: bool,
    ) -> Result<Found, Stop> {
        let file = self.open(path)?;
        let Ok(size) = file.size() else {
            return self.give_up(&format!("Cannot stat file: {name}, aborting..."));
        };
        if size == 0 {
            return Ok(Found::Empty);
        }
        let mut start = 0;
        if snapshot {
            let Some(end) = check_stream(file.inner(), Some(size), path, self.out)? else {
                return self.give_up("RDB preamble of AOF file is not sane, aborting.");
            };
            say!(self, "RDB preamble is OK, proceeding with AOF tail...")?;
            start = end;
        }
        let mut reader = file.inner();
        if reader.seek(io::SeekFrom::Start(start)).is_err() {
            return self.give_up(&format!("Failed to fseek in AOF {name}"));
        }
        let mut input = Input::new(reader, start);
        let valid_up_to = match self.commands(&mut input, path, place)? {
            Scan::Timestamp { offset, secs, group } => {
                if cut(&file, offset, group).is_err() {
                    let path = path.display();
                    let text = format!("Failed to truncate AOF {path} to timestamp {secs}");
                    return self.give_up(&text);
                }
                return Ok(Found::TimestampTruncated(secs));
            }
            Scan::End { valid_up_to } => valid_up_to,
        };
        self.judge(&file, name, size, valid_up_to, place)
    }

    /// Says what is valid, and cuts the rest off if that is asked for.
    fn judge(
        &mut self,
        file: &DiskFile,
        name: &str,
        size: u64,
        valid_up_to: u64,
        place: Place,
    ) -> Result<Found, Stop> {
        let diff = size - valid_up_to;
        if let (0, Repair::ToTimestamp(secs)) = (diff, self.repair) {
            say!(self, "Truncate nothing in AOF {name} to timestamp {secs}")?;
            return Ok(Found::Ok);
        }
        say!(
            self,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={valid_up_to}, \
             ok_up_to_line={}, diff={diff}",
            self.line
        )?;
        if diff == 0 {
            return Ok(Found::Ok);
        }
        if self.repair != Repair::Fix {
            return self.give_up(&format!(
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            ));
        }
        if place != Place::Last {
            return self.give_up(&format!(
                "Failed to truncate AOF {name} because it is not the last file"
            ));
        }
        if let Ok(commands) = tail::commands_behind(file, valid_up_to) {
            say!(self, "What would be cut off holds {}", tail::told(&commands))?;
        }
        if let Ok(Some(offset)) = tail::synced_before(file, valid_up_to, size) {
            say!(
                self,
                "The group at offset {offset} behind it is whole: it and all that follows would \
                 be cut off too"
            )?;
        }
        say!(
            self,
            "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to \
             {valid_up_to} bytes"
        )?;
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        let answered = self.answers.read_line(&mut answer).is_ok();
        if !answered || !answer.starts_with(['y', 'Y']) {
            return self.give_up("Aborting...");
        }
        if file.set_len(valid_up_to).and_then(|()| file.sync()).is_err() {
            return self.give_up(&format!("Failed to truncate AOF {name}"));
        }
        Ok(Found::Truncated)
    }

    /// Reads commands and annotations to the end, to what is neither, or to the moment to cut at.
    fn commands<R: Read>(
        &mut self,
        input: &mut Input<R>,
        path: &Path,
        place: Place,
    ) -> Result<Scan, Stop> {
        let mut in_multi = false;
        let mut valid_up_to = input.offset();
        loop {
            if !in_multi {
                valid_up_to = input.offset();
            }
            let Ok(next) = input.peek() else {
                let path = path.display();
                return self.give_up(&format!("Failed to read from AOF {path}, aborting..."));
            };
            match next {
                None => break,
                Some(b'#') => {
                    let scan = match self.annotation(input, path, place)? {
                        Note::Passed => None,
                        Note::Unknown => {
                            // Passing over it could pass over commands.
                            let text = "A comment that nobody writes in a file of groups";
                            say!(self, "{}", at(self.last_read, text).0)?;
                            return Ok(Scan::End { valid_up_to });
                        }
                        Note::Cut { offset, secs } => {
                            Some(Scan::Timestamp { offset, secs, group: None })
                        }
                        Note::Group(header) => self.group(input, header, path, place)?,
                    };
                    if let Some(scan) = scan {
                        return Ok(scan);
                    }
                }
                Some(b'*') => {
                    if let Err(Broken(text)) = self.command(input, path, &mut in_multi) {
                        if !text.is_empty() {
                            say!(self, "{text}")?;
                        }
                        return Ok(Scan::End { valid_up_to });
                    }
                }
                Some(_) => {
                    say!(self, "AOF {} format error", path.display())?;
                    return Ok(Scan::End { valid_up_to });
                }
            }
        }
        if in_multi {
            let text = "Reached EOF before reading EXEC for MULTI";
            say!(self, "{}", at(self.last_read, text).0)?;
        }
        Ok(Scan::End { valid_up_to })
    }

    /// A group: its checksum, and then what is in it. Nothing when it is whole.
    fn group<R: Read>(
        &mut self,
        input: &mut Input<R>,
        header: Option<Header>,
        path: &Path,
        place: Place,
    ) -> Result<Option<Scan>, Stop> {
        self.grouped = true;
        let begins = input.offset();
        let valid_up_to = begins.saturating_sub(HEADER_BYTES as u64);
        let Some(header) = header else {
            say!(self, "{}", at(self.last_read, "The header of a group is damaged").0)?;
            return Ok(Some(Scan::End { valid_up_to: self.last_read }));
        };
        let bytes = input.bytes(header.bytes).unwrap_or_default().to_vec();
        if !header.fits(&bytes) {
            let got = bytes.len();
            let text = match (got as u64) < header.bytes {
                true => format!("A group of {} bytes ends after {got} bytes", header.bytes),
                false => "The checksum of a group is not that of its bytes".to_owned(),
            };
            say!(self, "{}", at(valid_up_to, &text).0)?;
            return Ok(Some(Scan::End { valid_up_to }));
        }
        let mut inner = Input::new(bytes.as_slice(), begins);
        Ok(match self.commands(&mut inner, path, place)? {
            Scan::End { valid_up_to } if valid_up_to == input.offset() => None,
            // Nothing is left of the group: it goes with its header.
            Scan::Timestamp { offset, secs, .. } if offset == begins => {
                Some(Scan::Timestamp { offset: valid_up_to, secs, group: None })
            }
            Scan::Timestamp { offset, secs, .. } => {
                let kept = bytes.get(..(offset - begins) as usize).unwrap_or_default();
                let sum = crc64_xz(kept);
                let header = Header { bytes: kept.len() as u64, sum, ..header };
                Some(Scan::Timestamp { offset, secs, group: Some((valid_up_to, header)) })
            }
            end => Some(end),
        })
    }

    /// Passes an annotation, or says what it is.
    fn annotation<R: Read>(
        &mut self,
        input: &mut Input<R>,
        path: &Path,
        place: Place,
    ) -> Result<Note, Stop> {
        let offset = input.offset();
        self.last_read = offset;
        let Ok(line) = input.line(LINE_BYTES_MAX) else {
            let path = path.display();
            return self
                .give_up(&format!("Failed to read annotations from AOF {path}, aborting..."));
        };
        if line.starts_with(group::PREFIX) {
            return Ok(Note::Group(Header::parse(line)));
        }
        if self.grouped && !is_known(line) {
            return Ok(Note::Unknown);
        }
        let (Repair::ToTimestamp(limit), Some(stated)) = (self.repair, line.strip_prefix(b"#TS:"))
        else {
            return Ok(Note::Passed);
        };
        let digits = stated.strip_suffix(b"\r\n").and_then(|text| std::str::from_utf8(text).ok());
        let Some(secs) = digits.and_then(|text| text.parse::<i64>().ok()) else {
            return self.give_up("Invalid timestamp annotation");
        };
        if secs <= limit {
            return Ok(Note::Passed);
        }
        let path = path.display();
        if offset == 0 {
            return self
                .give_up(&format!("AOF {path} has nothing before timestamp {limit}, aborting..."));
        }
        if place != Place::Last {
            say!(
                self,
                "Failed to truncate AOF {path} to timestamp {limit} to offset {offset} because \
                 it is not the last file."
            )?;
            return self.give_up(
                "Later files hold newer commands. To cut here all the same, first remove those \
                 files and their lines in the manifest, then run this check again.",
            );
        }
        Ok(Note::Cut { offset, secs: limit })
    }

    fn command<R: Read>(
        &mut self,
        input: &mut Input<R>,
        path: &Path,
        in_multi: &mut bool,
    ) -> Result<(), Broken> {
        let count = self.number(input, b'*')?;
        for word in 0..count {
            let bytes = self.argument(input)?;
            if word > 0 {
                continue;
            }
            let (multi, exec) =
                (bytes.eq_ignore_ascii_case(b"multi"), bytes.eq_ignore_ascii_case(b"exec"));
            if (multi && *in_multi) || (exec && !*in_multi) {
                let name = if multi { "MULTI" } else { "EXEC" };
                let text = format!("Unexpected {name} in AOF {}", path.display());
                return Err(at(input.offset() - bytes.len() as u64 - 2, &text));
            }
            *in_multi = multi || (*in_multi && !exec);
        }
        Ok(())
    }

    fn number<R: Read>(&mut self, input: &mut Input<R>, prefix: u8) -> Result<i64, Broken> {
        let offset = input.offset();
        self.last_read = offset;
        let line = input.line(LINE_BYTES_MAX).map_err(|error| at(offset, &words_of(&error)))?;
        let Some((&first, rest)) = line.split_first() else { return Err(Broken(String::new())) };
        if first != prefix {
            let (wanted, got) = (char::from(prefix), char::from(first));
            return Err(at(offset, &format!("Expected prefix '{wanted}', got: '{got}'")));
        }
        let sign = usize::from(rest.starts_with(b"-"));
        let digits = rest.iter().skip(sign).take_while(|byte| byte.is_ascii_digit()).count() + sign;
        let (digits, end) = rest.split_at(digits);
        self.line_end(end, offset)?;
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| at(offset, "Expected a number"))
    }

    fn line_end(&mut self, end: &[u8], offset: u64) -> Result<(), Broken> {
        if end.starts_with(b"\r\n") {
            self.line += 1;
            return Ok(());
        }
        let byte = |at: usize| end.get(at).copied().unwrap_or(0);
        Err(at(offset, &format!("Expected \\r\\n, got: {:02x}{:02x}", byte(0), byte(1))))
    }

    fn argument<R: Read>(&mut self, input: &mut Input<R>) -> Result<Vec<u8>, Broken> {
        let len = self.number(input, b'$')?;
        let offset = input.offset();
        self.last_read = offset;
        let Some(wanted) = u64::try_from(len).ok().filter(|len| *len <= i64::MAX as u64 - 2) else {
            return Err(at(
                offset,
                &format!(
                    "Expected to read string of {len} bytes, which is not in the suitable range"
                ),
            ));
        };
        let wanted = wanted + 2;
        let bytes = input.bytes(wanted).map_err(|error| at(offset, &words_of(&error)))?;
        let got = bytes.len() as u64;
        if got != wanted {
            return Err(at(offset, &format!("Expected to read {wanted} bytes, got {got} bytes")));
        }
        let (bytes, end) = bytes.split_at(bytes.len() - 2);
        self.line_end(end, offset)?;
        Ok(bytes.to_vec())
    }
}

/// Where reading commands ended.
enum Scan {
    End {
        valid_up_to: u64,
    },
    /// The moment to cut at; cut there, the group around it gets this header at that offset.
    Timestamp {
        offset: u64,
        secs: i64,
        group: Option<(u64, Header)>,
    },
}

/// What an annotation is.
enum Note {
    /// It may be passed over.
    Passed,
    /// It has no meaning, in a file where everything has one.
    Unknown,
    /// It is the moment to cut at.
    Cut { offset: u64, secs: i64 },
    /// The header of a group, if it is a sound one.
    Group(Option<Header>),
}

/// Whether an annotation is one that a file of groups may hold.
fn is_known(line: &[u8]) -> bool {
    let stated = line.strip_prefix(b"#TS:").and_then(|text| std::str::from_utf8(text).ok());
    let stamped = stated.is_some_and(|text| text.trim_ascii().parse::<i64>().is_ok());
    line.ends_with(b"\n") && (stamped || line.starts_with(STOPPED_PREFIX.as_bytes()))
}

/// Cuts a file off, durably.
fn cut(file: &DiskFile, offset: u64, group: Option<(u64, Header)>) -> Result<(), FsError> {
    file.set_len(offset)?;
    if let Some((at, header)) = group {
        let written = file.inner().write_all_at(&header.format(), at);
        written.map_err(|error| file.error(Verb::Write, error))?;
    }
    file.sync()
}

fn at(offset: u64, text: &str) -> Broken {
    Broken(format!("0x{offset:>16x}: {text}"))
}

/// The cause without the number that std appends to it.
fn words_of(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn run(path: &Path, repair: Repair, answer: &str) -> (bool, String) {
        let mut out = Vec::new();
        let ok = check(&Disk::real(), path, repair, &mut answer.as_bytes(), &mut out).unwrap();
        (ok, String::from_utf8(out).unwrap())
    }

    const SET: &str = "*3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$5\r\nhello\r\n";

    fn multi_part(parts: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for (at, (kind, text)) in parts.iter().enumerate() {
            let name = format!("appendonly.aof.{}.{kind}.aof", at + 1);
            fs::write(dir.path().join(&name), text).unwrap();
            lines += &format!("file {name} seq {} type {}\n", at + 1, &kind[..1]);
        }
        let manifest = dir.path().join("appendonly.aof.manifest");
        fs::write(&manifest, lines).unwrap();
        (dir, manifest)
    }

    #[test]
    fn check_of_a_damaged_end_names_the_line_and_fix_cuts_it() {
        let (dir, manifest) = multi_part(&[("incr", &format!("{SET}!!!"))]);
        let (ok, said) = run(&manifest, Repair::None, "");
        assert!(!ok);
        assert!(said.contains("ok_up_to_line=8") && said.contains("not valid"), "{said}");
        let (ok, said) = run(&manifest, Repair::Fix, "n\n");
        assert!(!ok && said.ends_with("Continue? [y/N]: Aborting...\n"), "{said}");
        let (ok, said) = run(&manifest, Repair::Fix, "y\n");
        assert!(ok && said.contains("Successfully truncated AOF"), "{said}");
        let fixed = fs::read_to_string(dir.path().join("appendonly.aof.1.incr.aof")).unwrap();
        assert_eq!(fixed, SET);
    }

    #[test]
    fn check_of_groups_takes_an_unknown_comment_for_damage() {
        let mut group = group::PLACEHOLDER.to_vec();
        group.extend_from_slice(SET.as_bytes());
        group::seal(&mut group, 0);
        let group = String::from_utf8(group).unwrap();
        let end = "#STOPPED:1600000000\r\n";
        let (_dir, manifest) = multi_part(&[("incr", &format!("{group}#TS:5\r\n{group}{end}"))]);
        let (ok, said) = run(&manifest, Repair::None, "");
        assert!(ok, "{said}");
        let (dir, manifest) = multi_part(&[("incr", &format!("{group}# a note\r\n{group}"))]);
        let (ok, said) = run(&manifest, Repair::None, "");
        assert!(!ok && said.contains("A comment that nobody writes"), "{said}");
        assert!(said.contains(&format!("ok_up_to={},", group.len())), "{said}");
        // Nothing says yet that there are groups, except the manifest.
        let file = dir.path().join("appendonly.aof.1.incr.aof");
        fs::write(&file, format!("# a note\r\n{group}")).unwrap();
        assert!(run(&manifest, Repair::None, "").0);
        let listed =
            fs::read_to_string(&manifest).unwrap().replace(" type i", " type i groups yes");
        fs::write(&manifest, listed).unwrap();
        let (ok, said) = run(&manifest, Repair::None, "");
        assert!(!ok && said.contains("ok_up_to=0,"), "{said}");
    }

    #[test]
    fn check_cuts_only_the_last_file() {
        let (_dir, manifest) = multi_part(&[("base", &format!("{SET}!!!")), ("incr", SET)]);
        let (ok, said) = run(&manifest, Repair::Fix, "y\n");
        assert!(!ok && said.contains("because it is not the last file"), "{said}");
    }

    #[test]
    fn check_of_whole_files_says_valid() {
        let (dir, manifest) = multi_part(&[("base", SET), ("incr", SET), ("incr", "")]);
        let (ok, said) = run(&manifest, Repair::None, "");
        assert!(ok);
        for wanted in [
            "Start checking Multi Part AOF\n",
            "Start to check BASE AOF (RESP format).\n",
            "BASE AOF appendonly.aof.1.base.aof is valid\n",
            "Start to check INCR files.\n",
            "INCR AOF appendonly.aof.2.incr.aof is valid\n",
            "INCR AOF appendonly.aof.3.incr.aof is empty\n",
            "All AOF files and manifest are valid\n",
        ] {
            assert!(said.contains(wanted), "{wanted:?} in {said}");
        }
        let (ok, said) = run(&dir.path().join("appendonly.aof.1.base.aof"), Repair::None, "");
        assert!(ok && said.contains("Start checking Old-Style AOF\nAOF analyzed: "), "{said}");
        fs::write(&manifest, "file x\n").unwrap();
        let (ok, said) = run(&manifest, Repair::None, "");
        assert!(!ok && said.contains("Invalid AOF manifest file format"), "{said}");
    }

    #[test]
    fn truncate_to_timestamp_cuts_before_the_first_later_annotation() {
        let text = format!("#TS:10\r\n{SET}#TS:20\r\n{SET}#TS:30\r\n{SET}");
        let (dir, manifest) = multi_part(&[("incr", &text)]);
        let file = dir.path().join("appendonly.aof.1.incr.aof");
        let (ok, said) = run(&manifest, Repair::ToTimestamp(30), "");
        assert!(ok && said.contains("Truncate nothing"), "{said}");
        let (ok, said) = run(&manifest, Repair::ToTimestamp(20), "");
        assert!(ok && said.contains("Successfully truncated AOF"), "{said}");
        assert_eq!(fs::read(&file).unwrap().len(), 2 * (SET.len() + 8));
        let (ok, said) = run(&manifest, Repair::ToTimestamp(9), "");
        assert!(!ok && said.contains("aborting"), "{said}");
        let (_dir, manifest) = multi_part(&[("base", &text), ("incr", SET)]);
        let (ok, said) = run(&manifest, Repair::ToTimestamp(20), "");
        assert!(!ok && said.contains("because it is not the last file"), "{said}");
    }

    #[test]
    fn check_of_an_open_transaction_is_valid_up_to_its_multi() {
        let (_dir, manifest) = multi_part(&[("incr", &format!("{SET}*1\r\n$5\r\nmulti\r\n{SET}"))]);
        let (ok, said) = run(&manifest, Repair::None, "");
        assert!(!ok && said.contains("Reached EOF before reading EXEC for MULTI"), "{said}");
        assert!(said.contains(&format!("ok_up_to={},", SET.len())), "{said}");
    }
}
