//! What a client is told when a command fails: every text Redis's clients match on, in one place.

use std::fmt;

/// A command's refusal. Its `Display` is the line on the wire without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CmdError {
    /// The key holds another type.
    WrongType,
    /// An option nobody knows, or options that exclude each other.
    Syntax,
    /// Not a canonical 64-bit integer.
    NotInteger,
    /// Not a float.
    NotFloat,
    /// An integer that the command cannot take.
    OutOfRange,
    /// An index beyond the ends.
    IndexOutOfRange,
    /// The key must exist.
    NoSuchKey,
    /// The number of arguments does not fit the command, named in lower case.
    Arity(String),
    /// Deadlines that are zero, negative or beyond what 64 bits hold; the command in lower case.
    InvalidExpire(String),
    /// A string would pass `proto-max-bulk-len`.
    TooLong,
    /// A database number out of range.
    DbIndex,
    /// The arithmetic would overflow.
    Overflow,
    /// An addition gave NaN or infinity.
    NanOrInfinity,
    /// A timeout that is not a float.
    TimeoutNotFloat,
    /// A negative timeout.
    TimeoutNegative,
    /// A timeout beyond what 64 bits of milliseconds hold.
    TimeoutRange,
    /// Scores of a zset command.
    MinMaxNotFloat,
    /// Lexicographic bounds.
    MinMaxNotLex,
    /// A SCAN cursor.
    InvalidCursor,
    /// Any other text, code included (`ERR ...`).
    Text(String),
    /// The same, of an error that is counted already: a script's command has failed.
    Counted(String),
    /// Any other constant text, code included.
    Const(&'static str),
}

impl CmdError {
    /// `ERR` and a text made for the occasion.
    pub fn err(text: impl fmt::Display) -> CmdError {
        CmdError::Text(format!("ERR {text}"))
    }

    /// The error code: the first word of the line, as INFO errorstats counts it.
    pub fn code(&self) -> String {
        let line = self.to_string();
        line.split(' ').next().unwrap_or("ERR").to_owned()
    }
}

impl fmt::Display for CmdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CmdError::WrongType => {
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            }
            CmdError::Syntax => "ERR syntax error",
            CmdError::NotInteger => "ERR value is not an integer or out of range",
            CmdError::NotFloat => "ERR value is not a valid float",
            CmdError::OutOfRange => "ERR value is out of range",
            CmdError::IndexOutOfRange => "ERR index out of range",
            CmdError::NoSuchKey => "ERR no such key",
            CmdError::Arity(name) => {
                return write!(f, "ERR wrong number of arguments for '{name}' command");
            }
            CmdError::InvalidExpire(name) => {
                return write!(f, "ERR invalid expire time in '{name}' command");
            }
            CmdError::TooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            CmdError::DbIndex => "ERR DB index is out of range",
            CmdError::Overflow => "ERR increment or decrement would overflow",
            CmdError::NanOrInfinity => "ERR increment would produce NaN or Infinity",
            CmdError::TimeoutNotFloat => "ERR timeout is not a float or out of range",
            CmdError::TimeoutNegative => "ERR timeout is negative",
            CmdError::TimeoutRange => "ERR timeout is out of range",
            CmdError::MinMaxNotFloat => "ERR min or max is not a float",
            CmdError::MinMaxNotLex => "ERR min or max not valid string range item",
            CmdError::InvalidCursor => "ERR invalid cursor",
            CmdError::Text(text) | CmdError::Counted(text) => text,
            CmdError::Const(text) => text,
        })
    }
}
