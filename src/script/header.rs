//! The first line of a script or library: `#!lua name=... flags=...`.

use crate::base::text::shown_to_zero;
use crate::base::words::split_words;

/// What a script or function says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// It changes nothing.
    pub const NO_WRITES: Flags = Flags(1);
    /// It may run out of memory.
    pub const ALLOW_OOM: Flags = Flags(2);
    /// It may run on a replica that has lost its primary.
    pub const ALLOW_STALE: Flags = Flags(4);
    /// Not for clusters.
    pub const NO_CLUSTER: Flags = Flags(8);
    /// Its keys may be in several slots.
    pub const ALLOW_CROSS_SLOT: Flags = Flags(16);
    /// A script without the line: nothing is known of it.
    pub const UNKNOWN: Flags = Flags(32);

    /// Whether one of them is set.
    pub fn has(self, any: Flags) -> bool {
        self.0 & any.0 != 0
    }

    /// Both.
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The flag of that name.
    pub fn named(name: &[u8]) -> Option<Flags> {
        NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, flag)| *flag)
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(_, flag)| self.has(*flag)).map(|(name, _)| *name)
    }
}

const NAMES: &[(&str, Flags)] = &[
    ("no-writes", Flags::NO_WRITES),
    ("allow-oom", Flags::ALLOW_OOM),
    ("allow-stale", Flags::ALLOW_STALE),
    ("no-cluster", Flags::NO_CLUSTER),
    ("allow-cross-slot-keys", Flags::ALLOW_CROSS_SLOT),
];

/// What a script's first line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// Its flags.
    pub flags: Flags,
    /// Where the line ends.
    pub body_at: usize,
}

impl Header {
    /// The header of a script; a script needs none.
    pub fn of_script(source: &[u8]) -> Result<Header, String> {
        if !source.starts_with(b"#!") {
            return Ok(Header { flags: Flags::UNKNOWN, body_at: 0 });
        }
        let body_at = memchr::memchr(b'\n', source).ok_or("Invalid script shebang")?;
        let words = split_words(&source[..body_at]).unwrap_or_default();
        let (engine, options) = words.split_first().ok_or("Invalid engine in script shebang")?;
        if engine != b"#!lua" {
            let engine = shown_to_zero(engine);
            return Err(format!("Unexpected engine in script shebang: {engine}"));
        }
        let mut flags = Flags::default();
        for option in options {
            let Some(names) = option.strip_prefix(b"flags=") else {
                let option = shown_to_zero(option);
                return Err(format!("Unknown lua shebang option: {option}"));
            };
            for name in names.split(|byte| *byte == b',').filter(|name| !name.is_empty()) {
                let flag = Flags::named(name).ok_or_else(|| {
                    let name = shown_to_zero(name);
                    format!("Unexpected flag in script shebang: {name}")
                })?;
                flags = flags.with(flag);
            }
        }
        Ok(Header { flags, body_at })
    }
}

/// The header of a library: its name, and where the line ends.
pub fn of_library(source: &[u8]) -> Result<(String, usize), String> {
    if !source.starts_with(b"#!") {
        return Err("Missing library metadata".to_owned());
    }
    let body_at = memchr::memchr(b'\n', source).ok_or("Invalid library metadata")?;
    let words = split_words(&source[..body_at]).unwrap_or_default();
    let (engine, options) = words.split_first().ok_or("Invalid library metadata")?;
    let mut name = None;
    for option in options {
        let is_name = option.get(..5).is_some_and(|key| key.eq_ignore_ascii_case(b"name="));
        if !is_name {
            let option = shown_to_zero(option);
            return Err(format!("Invalid metadata value given: {option}"));
        }
        if name.is_some() {
            let text = "Invalid metadata value, name argument was given multiple times";
            return Err(text.to_owned());
        }
        name = Some(&option[5..]);
    }
    let name = name.ok_or("Library name was not given")?;
    let name = checked_name(name)?;
    let engine = engine.strip_prefix(b"#!").unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(format!("Engine '{}' not found", shown_to_zero(engine)));
    }
    Ok((name, body_at))
}

/// The name of a library or function, if it may be one.
pub fn checked_name(name: &[u8]) -> Result<String, String> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match !name.is_empty() && name.iter().all(fits) {
        true => Ok(String::from_utf8_lossy(name).into_owned()),
        false => {
            Err("Library names can only contain letters, numbers, or underscores(_) and must \
                      be at least one character long"
                .to_owned())
        }
    }
}

/// Whether a script's first line says that it changes nothing.
pub fn is_readonly(source: &[u8]) -> bool {
    Header::of_script(source).is_ok_and(|header| header.flags.has(Flags::NO_WRITES))
}
