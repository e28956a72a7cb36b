//! Reading an append-only file back as a stream of commands.
//!
//! What is valid ends behind a whole command that is not inside a MULTI: a transaction counts
//! from its EXEC on, or not at all.

use std::io::{self, Read};
use std::ops::ControlFlow;

use super::group;
use super::input::Input;
use crate::resp::args::{Args, Span};

/// How the comment begins that is the last word of a server that stopped in order.
pub const STOPPED_PREFIX: &str = "#STOPPED:";
/// The longest line of a header of a command or an argument.
const HEADER_BYTES_MAX: usize = 1024;
/// The largest argument; also the greatest value of `proto-max-bulk-len` that makes sense.
const ARGUMENT_BYTES_MAX: u64 = i64::MAX as u64 / 2;

/// A command of the file.
pub struct Entry<'e> {
    /// The command and its arguments; never empty.
    pub args: Args<'e>,
    /// Where it begins.
    pub offset: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Its place in a transaction.
    pub framing: Framing,
}

/// The place of a command in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Outside of any.
    Alone,
    /// The MULTI itself.
    Multi,
    /// Between MULTI and EXEC: to be executed when EXEC comes.
    Queued,
    /// The EXEC itself.
    Exec,
}

/// How reading ended.
#[derive(Debug)]
pub enum Outcome {
    /// At the end of the file.
    Ok {
        /// The size of the file.
        size: u64,
        /// Commands handed out, MULTI and EXEC included.
        commands: u64,
        /// When the writer stopped in order, seconds since the epoch, if the file ends with word
        /// of that.
        stopped: Option<AnnotatedSecs>,
    },
    /// The file ends inside a command or a transaction. Cut here, it is whole.
    Truncated {
        /// Where the last whole command or transaction ends.
        valid_up_to: u64,
        /// Whether it is an EXEC that is missing.
        in_multi: bool,
    },
    /// What is at this offset is no command.
    Bad {
        /// Where.
        offset: u64,
        /// Where the last whole command or transaction ends.
        valid_up_to: u64,
        /// What is wrong, in a sentence.
        what: String,
    },
    /// A group is not what its checksum says, or the file goes on behind its groups with what is
    /// none.
    Damaged {
        /// Where the last whole command or transaction ends.
        valid_up_to: u64,
        /// What is wrong, in a sentence.
        what: String,
    },
    /// A group is what its checksum says, and still no sequence of commands: whoever wrote it did
    /// so wrongly.
    Invalid {
        /// Where the group begins.
        offset: u64,
        /// Where the last whole command or transaction ends.
        valid_up_to: u64,
        /// What is wrong, in a sentence.
        what: String,
    },
    /// The callback wanted no more, after the command that begins here.
    Stopped {
        /// Where.
        offset: u64,
    },
}

/// Seconds since the epoch as an annotation `#TS:` states them.
pub type AnnotatedSecs = i64;

/// What reading tells its user.
pub trait Replay {
    /// A command.
    fn command(&mut self, entry: Entry<'_>) -> ControlFlow<()>;

    /// The time at which the following commands were written.
    fn timestamp(&mut self, secs: AnnotatedSecs, offset: u64) {
        let _ = (secs, offset);
    }
}

impl<F: FnMut(Entry<'_>) -> ControlFlow<()>> Replay for F {
    fn command(&mut self, entry: Entry<'_>) -> ControlFlow<()> {
        self(entry)
    }
}

/// Reads commands from `file`, which is at `offset`, to its end. In a file that is `grouped` from its
/// beginning, whatever is no group, no command and no comment of ours is damage.
pub fn replay<R: Read>(
    file: R,
    offset: u64,
    grouped: bool,
    user: &mut impl Replay,
) -> io::Result<Outcome> {
    let mut input = Input::new(file, offset);
    let mut run = Run {
        user,
        valid_up_to: offset,
        commands: 0,
        in_multi: false,
        grouped,
        stopped: None,
        spans: Vec::new(),
    };
    let outcome = run.read_on(&mut input)?;
    let (valid_up_to, in_multi) = (run.valid_up_to, run.in_multi);
    let damaged = |what: String| Outcome::Damaged { valid_up_to, what };
    Ok(match outcome {
        None if in_multi && run.grouped => damaged("the file ends inside a transaction".to_owned()),
        None if in_multi => Outcome::Truncated { valid_up_to, in_multi },
        None => {
            let (commands, stopped) = (run.commands, run.stopped);
            Outcome::Ok { size: input.offset(), commands, stopped }
        }
        // Everything here was written in groups: what is in none was never acknowledged whole.
        Some(Outcome::Truncated { .. }) if run.grouped => {
            damaged("the file ends inside a command".to_owned())
        }
        Some(Outcome::Bad { what, .. }) if run.grouped => damaged(what),
        Some(outcome) => outcome,
    })
}

struct Run<'u, U> {
    user: &'u mut U,
    valid_up_to: u64,
    commands: u64,
    in_multi: bool,
    /// Whether a group was met.
    grouped: bool,
    /// When the writer stopped, if nothing came after.
    stopped: Option<AnnotatedSecs>,
    /// Where the words of the present command lie.
    spans: Vec<Span>,
}

/// What an annotation was.
enum Note {
    /// One that is passed over, or was told.
    Passed,
    /// One that has no meaning here.
    Unknown,
    /// The file ends in it.
    Short,
    /// The writer stopped in order.
    Stopped(Option<AnnotatedSecs>),
    /// The header of a group.
    Group(Option<group::Header>),
}

impl<U: Replay> Run<'_, U> {
    /// Reads on to the end of the file; nothing when it is whole.
    fn read_on<R: Read>(&mut self, input: &mut Input<R>) -> io::Result<Option<Outcome>> {
        while let Some(first) = input.peek()? {
            if first != b'#' {
                if let Some(outcome) = self.command(input)? {
                    return Ok(Some(outcome));
                }
                continue;
            }
            match annotation(input, self.user)? {
                Note::Stopped(secs) => {
                    self.stopped = secs;
                    self.valid_up_to = input.offset();
                }
                // Passing over it could pass over commands: damage does not end with the line.
                Note::Unknown if self.grouped => {
                    let what = "a comment that nobody writes here".to_owned();
                    return Ok(Some(Outcome::Damaged { valid_up_to: self.valid_up_to, what }));
                }
                Note::Passed | Note::Unknown if self.in_multi => {}
                Note::Passed | Note::Unknown => self.valid_up_to = input.offset(),
                Note::Short => {
                    let (valid_up_to, in_multi) = (self.valid_up_to, self.in_multi);
                    return Ok(Some(Outcome::Truncated { valid_up_to, in_multi }));
                }
                Note::Group(header) => {
                    if let Some(outcome) = self.group(input, header)? {
                        return Ok(Some(outcome));
                    }
                }
            }
        }
        Ok(None)
    }

    /// A group is read whole and checked before anything of it is handed out.
    fn group<R: Read>(
        &mut self,
        input: &mut Input<R>,
        header: Option<group::Header>,
    ) -> io::Result<Option<Outcome>> {
        self.grouped = true;
        let damaged = |what: &str| {
            Ok(Some(Outcome::Damaged { valid_up_to: self.valid_up_to, what: what.to_owned() }))
        };
        if self.in_multi {
            return damaged("a group inside a transaction");
        }
        let Some(header) = header else { return damaged("a group's header is damaged") };
        let begins = input.offset();
        let bytes = input.ahead(header.bytes)?;
        if (bytes.len() as u64) < header.bytes {
            return damaged("the file ends inside a group");
        }
        if !header.fits(bytes) {
            return damaged("a group's checksum is not that of its bytes");
        }
        let outer = input.end_at(Some(begins + header.bytes));
        let inner = self.read_on(input)?;
        input.end_at(outer);
        let wrong = |what: &str| {
            let (offset, valid_up_to) = (begins, self.valid_up_to);
            Ok(Some(Outcome::Invalid { offset, valid_up_to, what: what.to_owned() }))
        };
        match inner {
            None if self.in_multi => wrong("a group that ends inside a transaction"),
            None => Ok(None),
            Some(Outcome::Truncated { .. }) => wrong("a group that ends inside a command"),
            Some(Outcome::Bad { what, .. } | Outcome::Damaged { what, .. }) => wrong(&what),
            Some(outcome) => Ok(Some(outcome)),
        }
    }

    fn command<R: Read>(&mut self, input: &mut Input<R>) -> io::Result<Option<Outcome>> {
        let (at, valid_up_to, in_multi) = (input.offset(), self.valid_up_to, self.in_multi);
        match read_command(input, &mut self.spans)? {
            Parsed::Whole => {}
            Parsed::Short => return Ok(Some(Outcome::Truncated { valid_up_to, in_multi })),
            Parsed::Bad { offset, what } => {
                return Ok(Some(Outcome::Bad { offset, valid_up_to, what: what.to_owned() }));
            }
        }
        let args = Args::new(input.kept(), &self.spans);
        let framing = match framing_of(args.word(0), in_multi) {
            Ok(framing) => framing,
            Err(what) => return Ok(Some(Outcome::Bad { offset: at, valid_up_to, what })),
        };
        self.in_multi = matches!(framing, Framing::Multi | Framing::Queued);
        let end = input.offset();
        if !self.in_multi {
            self.valid_up_to = end;
        }
        self.commands += 1;
        self.stopped = None;
        if self.user.command(Entry { args, offset: at, end, framing }).is_break() {
            return Ok(Some(Outcome::Stopped { offset: at }));
        }
        Ok(None)
    }
}

fn framing_of(name: &[u8], in_multi: bool) -> Result<Framing, String> {
    if name.eq_ignore_ascii_case(b"multi") {
        if in_multi { Err("MULTI inside MULTI".to_owned()) } else { Ok(Framing::Multi) }
    } else if name.eq_ignore_ascii_case(b"exec") {
        if in_multi { Ok(Framing::Exec) } else { Err("EXEC without MULTI".to_owned()) }
    } else if in_multi {
        Ok(Framing::Queued)
    } else {
        Ok(Framing::Alone)
    }
}

/// Passes an annotation.
fn annotation<R: Read>(input: &mut Input<R>, user: &mut impl Replay) -> io::Result<Note> {
    let at = input.offset();
    let line = input.line(HEADER_BYTES_MAX)?;
    if line.starts_with(group::PREFIX) {
        return Ok(Note::Group(group::Header::parse(line)));
    }
    if !line.ends_with(b"\n") {
        return Ok(if input.skip_line()? { Note::Unknown } else { Note::Short });
    }
    if let Some(secs) = line.strip_prefix(STOPPED_PREFIX.as_bytes()) {
        return Ok(Note::Stopped(number(secs.trim_ascii())));
    }
    let secs = line.strip_prefix(b"#TS:").map(<[u8]>::trim_ascii).and_then(number);
    if let Some(secs) = secs {
        user.timestamp(secs, at);
        return Ok(Note::Passed);
    }
    Ok(Note::Unknown)
}

enum Parsed {
    Whole,
    Short,
    Bad { offset: u64, what: &'static str },
}

/// Reads a command, whose bytes `input` keeps, and notes where its words lie in them.
fn read_command<R: Read>(input: &mut Input<R>, spans: &mut Vec<Span>) -> io::Result<Parsed> {
    input.keep();
    let begins = input.offset();
    spans.clear();
    let bad = |offset: u64, what: &'static str| Ok(Parsed::Bad { offset, what });
    let count = match header(input, b'*')? {
        Header::Number(count) if count >= 1 => count,
        Header::Number(_) => return bad(begins, "a command without a word"),
        Header::Short => return Ok(Parsed::Short),
        Header::Bad(what) => return bad(begins, what),
    };
    for _ in 0..count {
        let offset = input.offset();
        let len = match header(input, b'$')? {
            Header::Number(len) => u64::try_from(len).ok().filter(|len| *len < ARGUMENT_BYTES_MAX),
            Header::Short => return Ok(Parsed::Short),
            Header::Bad(what) => return bad(offset, what),
        };
        let Some(len) = len else { return bad(offset, "an argument of no valid length") };
        let at = input.offset() - begins;
        let bytes = input.bytes(len + 2)?;
        if bytes.len() as u64 != len + 2 {
            return Ok(Parsed::Short);
        }
        if !bytes.ends_with(b"\r\n") {
            return bad(input.offset() - 2, "an argument longer than its length");
        }
        match (u32::try_from(at), u32::try_from(len)) {
            (Ok(at), Ok(len)) if at.checked_add(len).is_some() => spans.push(Span { at, len }),
            _ => return bad(begins, "a command of more than four gigabytes"),
        }
    }
    Ok(Parsed::Whole)
}

enum Header {
    Number(i64),
    Short,
    Bad(&'static str),
}

/// A line that begins with `prefix` and states a number.
fn header<R: Read>(input: &mut Input<R>, prefix: u8) -> io::Result<Header> {
    let line = input.line(HEADER_BYTES_MAX)?;
    let Some((&first, rest)) = line.split_first() else { return Ok(Header::Short) };
    if first != prefix {
        return Ok(Header::Bad(match prefix {
            b'*' => "no command, which would begin with '*'",
            _ => "no argument, which would begin with '$'",
        }));
    }
    let Some(digits) = rest.strip_suffix(b"\n") else {
        let cut = line.len() < HEADER_BYTES_MAX;
        return Ok(if cut { Header::Short } else { Header::Bad("a number that does not end") });
    };
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    let number = match digits {
        // As lengths mostly are.
        [one @ b'0'..=b'9'] => Some(i64::from(one - b'0')),
        [ten @ b'0'..=b'9', one @ b'0'..=b'9'] => {
            Some(i64::from(ten - b'0') * 10 + i64::from(one - b'0'))
        }
        digits => number(digits),
    };
    Ok(number.map_or(Header::Bad("a length that is no number"), Header::Number))
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(words: &[&str]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        bytes
    }

    fn run(file: &[u8]) -> (Vec<(String, Framing)>, Outcome) {
        let mut seen = Vec::new();
        let mut user = |entry: Entry<'_>| {
            let words: Vec<_> = entry.args.words().map(String::from_utf8_lossy).collect();
            seen.push((words.join(" "), entry.framing));
            ControlFlow::Continue(())
        };
        let outcome = replay(file, 0, false, &mut user).unwrap();
        (seen, outcome)
    }

    fn transaction() -> Vec<u8> {
        [
            b"#TS:1628217470\r\n".to_vec(),
            encode(&["SET", "a", "1"]),
            encode(&["multi"]),
            encode(&["INCR", "a"]),
            encode(&["EXEC"]),
            b"# a note\r\n".to_vec(),
            encode(&["SET", "b", ""]),
        ]
        .concat()
    }

    #[test]
    fn replay_hands_out_commands_with_their_framing() {
        let (seen, outcome) = run(&transaction());
        let framings: Vec<_> = seen.iter().map(|(_, framing)| *framing).collect();
        use Framing::{Alone, Exec, Multi, Queued};
        assert_eq!(framings, [Alone, Multi, Queued, Exec, Alone]);
        assert_eq!(seen[2].0, "INCR a");
        assert!(matches!(outcome, Outcome::Ok { commands: 5, .. }));
    }

    #[test]
    fn replay_of_every_truncation_is_valid_up_to_a_whole_command() {
        let whole = transaction();
        for cut in 0..whole.len() {
            match run(&whole[..cut]).1 {
                Outcome::Ok { size, .. } => assert_eq!(size, cut as u64),
                Outcome::Truncated { valid_up_to, .. } => {
                    let kept = &whole[..valid_up_to as usize];
                    assert!(matches!(run(kept).1, Outcome::Ok { .. }), "cut at {cut}");
                }
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
    }

    fn grouped(commands: &[&[u8]]) -> Vec<u8> {
        let mut bytes = group::PLACEHOLDER.to_vec();
        commands.iter().for_each(|command| bytes.extend_from_slice(command));
        group::seal(&mut bytes, 0);
        bytes
    }

    #[test]
    fn group_counts_whole_or_not_at_all() {
        let first = grouped(&[&encode(&["SET", "a", "1"]), &encode(&["SET", "b", "1"])]);
        let note = b"# a note\r\n";
        let noted = transaction();
        let at = noted.windows(note.len()).position(|window| window == note).unwrap();
        let second = grouped(&[&noted[..at], &noted[at + note.len()..]]);
        let whole = [first.as_slice(), &second].concat();
        let (seen, outcome) = run(&whole);
        assert!(matches!(outcome, Outcome::Ok { commands: 7, .. }) && seen.len() == 7);
        for cut in first.len() + 1..whole.len() {
            let (seen, outcome) = run(&whole[..cut]);
            let valid = match outcome {
                Outcome::Damaged { valid_up_to, .. } => valid_up_to,
                // Not even the word that makes it a header.
                Outcome::Truncated { valid_up_to, .. } if cut < first.len() + 5 => valid_up_to,
                other => panic!("cut at {cut}: {other:?}"),
            };
            assert_eq!((valid as usize, seen.len()), (first.len(), 2), "cut at {cut}");
        }
        for at in first.len()..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x20;
            let (seen, outcome) = run(&bad);
            let found = matches!(outcome, Outcome::Damaged { valid_up_to, .. } if valid_up_to as usize == first.len());
            assert!(found && seen.len() == 2, "byte {at}: {outcome:?}");
        }
    }

    #[test]
    fn group_within_a_group_ends_with_it() {
        let inner = grouped(&[&encode(&["SET", "a", "1"])]);
        let whole = [grouped(&[&inner, &encode(&["SET", "b", "1"])]), b"*1".to_vec()].concat();
        let (seen, outcome) = run(&whole);
        assert_eq!(seen.len(), 2);
        let end = whole.len() - 2;
        let ends =
            matches!(outcome, Outcome::Damaged { valid_up_to, .. } if valid_up_to == end as u64);
        assert!(ends, "{outcome:?}");
    }

    #[test]
    fn sound_group_of_nonsense_is_invalid() {
        for nonsense in [&b"!"[..], b"*1\r\n$4\r\nPI", b"*1\r\n$5\r\nMULTI\r\n"] {
            let outcome = run(&grouped(&[nonsense])).1;
            assert!(matches!(outcome, Outcome::Invalid { .. }), "{outcome:?}");
        }
    }

    #[test]
    fn replay_stops_at_what_is_no_command() {
        let good = encode(&["SET", "a", "1"]);
        for (tail, at) in [
            ("!!!", 0),
            ("\0\0\0\0", 0),
            ("*0\r\n", 0),
            ("*-1\r\n", 0),
            ("*x\r\n", 0),
            ("*1\r\n+PING\r\n", 4),
            ("*1\r\n$-1\r\n", 4),
            ("*1\r\n$3\r\nPINGPONG\r\n", 11),
            ("*1\r\n$4\r\nEXEC\r\n", 0),
        ] {
            let start = good.len() as u64;
            match run(&[&good, tail.as_bytes()].concat()).1 {
                Outcome::Bad { offset, valid_up_to, .. } => {
                    assert_eq!((offset, valid_up_to), (start + at, start), "{tail:?}");
                }
                other => panic!("{tail:?}: {other:?}"),
            }
        }
        let huge = b"*2000000000\r\n$9000000000\r\nabc";
        assert!(matches!(run(huge).1, Outcome::Truncated { valid_up_to: 0, .. }));
    }

    proptest! {
        #[test]
        fn replay_of_anything_never_panics(file in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = run(&file);
        }
    }
}
