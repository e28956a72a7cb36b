//! What a setting can hold: how each kind of value is read from words, shown to CONFIG GET, and
//! written into a file.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::config::words::quote;

/// The rules of a setting beyond its type.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The type says it all.
    Plain,
    /// A whole number between two bounds, both included.
    Int(i128, i128),
    /// The same, written in base 8.
    Octal(i128, i128),
    /// A number of bytes; units are understood.
    Memory(i128, i128),
    /// A number of bytes, or a percentage.
    MemoryOrPercent,
    /// Text that must pass a test.
    Checked(fn(&[u8]) -> Result<(), &'static str>),
}

/// Whether new words replace what was there or add to it (repeated `save` lines in a file).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Forget what was there.
    Replace,
    /// Add to it.
    Add,
}

/// One line of a rewritten file, without the name; `needed` when it differs from the default.
pub struct Line {
    /// What stands behind the name.
    pub text: Vec<u8>,
    /// Whether the file must have it even if it did not before.
    pub needed: bool,
}

/// A type that a setting can have.
pub trait Value: Sized {
    /// As CONFIG GET shows it.
    fn show(&self, kind: Kind) -> Vec<u8>;

    /// The new value that `words` ask for; the reason in Redis's words when they are wrong.
    fn read(&self, words: &[&[u8]], kind: Kind, how: How) -> Result<Self, String>;

    /// The lines a rewritten file has for it; no line removes those that are there.
    fn lines(&self, default: &Self, kind: Kind) -> Vec<Line> {
        let text = self.show(kind);
        let needed = text != default.show(kind);
        vec![Line { text, needed }]
    }
}

pub(super) const WRONG_COUNT: &str = "wrong number of arguments";

/// The only word there is.
fn only<'a>(words: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match words {
        [word] => Ok(word),
        _ => Err(WRONG_COUNT.into()),
    }
}

impl Value for bool {
    fn show(&self, _: Kind) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<bool, String> {
        let word = only(words)?;
        if word.eq_ignore_ascii_case(b"yes") {
            Ok(true)
        } else if word.eq_ignore_ascii_case(b"no") {
            Ok(false)
        } else {
            Err("argument must be 'yes' or 'no'".into())
        }
    }
}

/// A whole number as Redis reads it: no plus sign, no leading zero, no spaces.
pub(super) fn strict_int(word: &[u8]) -> Option<i128> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    match digits {
        [b'0'] if word.len() == 1 => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 19 && rest.iter().all(u8::is_ascii_digit) => {
            let value: i128 = std::str::from_utf8(word).ok()?.parse().ok()?;
            (i128::from(i64::MIN)..=i128::from(i64::MAX)).contains(&value).then_some(value)
        }
        _ => None,
    }
}

/// A whole number as C reads it: nothing at all is 0.
pub(super) fn lenient_int(word: &[u8]) -> Option<i64> {
    let word = word.trim_ascii_start();
    if word.is_empty() { Some(0) } else { std::str::from_utf8(word).ok()?.parse().ok() }
}

/// Bytes with a unit, in either case: `k` is 1000, `kb` 1024, and so on up to `gb`.
pub fn memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    // Nothing before the unit counts as 0, as in Redis.
    let number =
        if number.is_empty() { 0 } else { std::str::from_utf8(number).ok()?.parse().ok()? };
    factor.checked_mul(number)
}

/// Bytes with the largest unit that divides them.
pub(super) fn memory_with_unit(bytes: i128) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes % (1 << shift) == 0 {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A number within the bounds of its kind.
fn number(word: &[u8], kind: Kind) -> Result<i128, String> {
    let between = |value: i128, min: i128, max: i128| {
        if (min..=max).contains(&value) {
            Ok(value)
        } else if matches!(kind, Kind::Octal(..)) {
            Err(format!("argument must be between {min:o} and {max:o} inclusive"))
        } else {
            Err(format!("argument must be between {min} and {max} inclusive"))
        }
    };
    match kind {
        Kind::Memory(min, max) => {
            let bytes = memory(word).ok_or("argument must be a memory value")?;
            between(bytes.into(), min, max)
        }
        Kind::Octal(min, max) => {
            let text = std::str::from_utf8(word).unwrap_or("?");
            let value = i64::from_str_radix(text, 8)
                .map_err(|_| "argument couldn't be parsed as an octal number")?;
            between(value.into(), min, max)
        }
        Kind::Int(min, max) => {
            let value = strict_int(word).ok_or("argument couldn't be parsed into an integer")?;
            between(value, min, max)
        }
        Kind::Plain | Kind::MemoryOrPercent | Kind::Checked(_) => {
            strict_int(word).ok_or_else(|| "argument couldn't be parsed into an integer".into())
        }
    }
}

macro_rules! whole_numbers {
    ($($int:ty),*) => {$(
        impl Value for $int {
            fn show(&self, kind: Kind) -> Vec<u8> {
                match kind {
                    Kind::Octal(..) => format!("{self:o}").into_bytes(),
                    _ => self.to_string().into_bytes(),
                }
            }

            fn read(&self, words: &[&[u8]], kind: Kind, _: How) -> Result<$int, String> {
                let value = number(only(words)?, kind)?;
                <$int>::try_from(value)
                    .map_err(|_| "argument couldn't be parsed into an integer".into())
            }

            fn lines(&self, default: &Self, kind: Kind) -> Vec<Line> {
                let text = match kind {
                    Kind::Memory(..) => memory_with_unit(*self as i128).into_bytes(),
                    _ => self.show(kind),
                };
                vec![Line { text, needed: self != default }]
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64, usize, i32, i64);

/// A part of `maxmemory`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Bytes; 0 is no limit.
    Bytes(u64),
    /// Percent of `maxmemory`.
    Percent(u8),
}

impl Value for Share {
    fn show(&self, _: Kind) -> Vec<u8> {
        match self {
            Share::Bytes(bytes) => bytes.to_string().into_bytes(),
            Share::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<Share, String> {
        let word = only(words)?;
        if let Some(bytes) = memory(word) {
            return Ok(Share::Bytes(bytes));
        }
        match word.strip_suffix(b"%").and_then(strict_int) {
            Some(0) => Ok(Share::Bytes(0)),
            Some(percent @ 1..=100) => Ok(Share::Percent(percent as u8)),
            Some(101..) => Err("percentage argument must be less or equal to 100".into()),
            _ => Err("argument must be a memory or percent value".into()),
        }
    }

    fn lines(&self, default: &Self, kind: Kind) -> Vec<Line> {
        let text = match self {
            Share::Bytes(bytes) => memory_with_unit((*bytes).into()).into_bytes(),
            Share::Percent(_) => self.show(kind),
        };
        vec![Line { text, needed: self != default }]
    }
}

/// Any bytes: names, paths, passwords. Empty means not set.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// The bytes as they are.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the path it names.
    pub fn to_path(&self) -> PathBuf {
        OsStr::from_bytes(&self.0).into()
    }

    /// As text, for messages.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}", self.lossy())
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Text {
    fn from(bytes: &T) -> Text {
        Text(bytes.as_ref().to_vec())
    }
}

impl Value for Text {
    fn show(&self, _: Kind) -> Vec<u8> {
        self.0.clone()
    }

    fn read(&self, words: &[&[u8]], kind: Kind, _: How) -> Result<Text, String> {
        let word = only(words)?;
        if let Kind::Checked(check) = kind {
            check(word)?;
        }
        Ok(Text(word.to_vec()))
    }

    fn lines(&self, default: &Self, _: Kind) -> Vec<Line> {
        let mut text = Vec::new();
        quote(&self.0, &mut text);
        vec![Line { text, needed: self != default }]
    }
}

/// A setting that is one of several words.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word with its meaning, in the order of the error message.
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Choice> Value for T {
    fn show(&self, _: Kind) -> Vec<u8> {
        let found = T::WORDS.iter().find(|(_, value)| value == self);
        found.map(|(word, _)| word.as_bytes().to_vec()).unwrap_or_default()
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<T, String> {
        let found = match words {
            [word] => T::WORDS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word)),
            _ => None,
        };
        found.map(|(_, value)| *value).ok_or_else(|| not_among(T::WORDS))
    }
}

/// The message that lists what could have been said.
pub(super) fn not_among<T>(words: &[(&str, T)]) -> String {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    format!("argument(s) must be one of the following: {}", names.join(", "))
}
