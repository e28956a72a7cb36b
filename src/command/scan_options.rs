//! What SCAN, SSCAN, HSCAN and ZSCAN share: the cursor, the options, the shape of the answer.

use crate::base::glob;
use crate::base::num::parse_u64;
use crate::resp::args::Args;
use crate::resp::error::CmdError;
use crate::resp::reply::{Replied, Reply};
use crate::value::Kind;

/// Elements a step visits when COUNT is not given.
const COUNT_DEFAULT: usize = 10;

/// What is walked; it decides which options there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// The keys of a database: TYPE is an option.
    Keys,
    /// The fields of a hash: NOVALUES is an option.
    Fields,
    /// The members of a set or sorted set.
    Members,
}

/// Which types of values SCAN is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    All,
    Only(Kind),
    /// TYPE named one that does not exist.
    None,
}

/// The options of a step.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// About how many elements to visit.
    pub count: usize,
    /// Whether a hash's values are answered beside its fields.
    pub values: bool,
    pattern: Option<&'a [u8]>,
    kinds: Kinds,
}

impl<'a> ScanOptions<'a> {
    /// Takes every word left. Commands on one key parse them only when the key is there.
    pub fn parse(args: &mut Args<'a>, walk: Walk) -> Result<ScanOptions<'a>, CmdError> {
        let mut options =
            ScanOptions { count: COUNT_DEFAULT, values: true, pattern: None, kinds: Kinds::All };
        while !args.is_done() {
            match args.option()?.as_str() {
                "count" => {
                    let count = args.i64()?;
                    if count < 1 {
                        return Err(CmdError::Syntax);
                    }
                    options.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                "match" => options.pattern = Some(args.bytes()?).filter(|pattern| *pattern != b"*"),
                "type" if walk == Walk::Keys => {
                    options.kinds = Kind::from_name(args.bytes()?).map_or(Kinds::None, Kinds::Only);
                }
                "novalues" if walk == Walk::Fields => options.values = false,
                "novalues" => {
                    return Err(CmdError::Const("ERR NOVALUES option can only be used in HSCAN"));
                }
                _ => return Err(CmdError::Syntax),
            }
        }
        Ok(options)
    }

    /// Whether MATCH lets a key, field or member through.
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }

    /// Whether TYPE lets a value through.
    pub fn wants_kind(&self, kind: Kind) -> bool {
        match self.kinds {
            Kinds::All => true,
            Kinds::Only(only) => only == kind,
            Kinds::None => false,
        }
    }
}

/// Takes the cursor.
pub fn cursor(args: &mut Args) -> Result<u64, CmdError> {
    let word = args.bytes()?;
    // Zeros in front are allowed here, unlike in other numbers.
    let zeros = word.iter().take_while(|byte| **byte == b'0').count();
    let digits = word.get(zeros.min(word.len().saturating_sub(1))..).unwrap_or_default();
    parse_u64(digits).ok_or(CmdError::InvalidCursor)
}

/// The answer to one step, gathered while the next cursor is not known yet.
pub struct Page {
    items: Reply,
    len: usize,
}

impl Page {
    /// One without elements, in the protocol of `reply`.
    pub fn new(reply: &Reply) -> Page {
        Page { items: Reply::new(reply.protocol()), len: 0 }
    }

    /// Adds an element.
    pub fn push(&mut self, bytes: &[u8]) {
        self.len += 1;
        let _ = self.items.bulk(bytes);
    }

    /// Answers with the next cursor.
    pub fn finish(self, reply: &mut Reply, next: u64) -> Replied {
        reply.array(2);
        let _ = reply.bulk(itoa::Buffer::new().format(next).as_bytes());
        reply.array(self.len);
        reply.raw(self.items.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::args::OwnedArgs;

    fn parse(line: &str, walk: Walk) -> Result<(usize, bool, bool), String> {
        let words = OwnedArgs::new(line.split(' ').map(str::as_bytes));
        let mut args = words.args();
        cursor(&mut args).map_err(|error| error.to_string())?;
        let options = ScanOptions::parse(&mut args, walk).map_err(|error| error.to_string())?;
        Ok((options.count, options.values, options.wants(b"abc")))
    }

    #[test]
    fn options_are_those_of_the_walk() {
        let syntax = || Err("ERR syntax error".to_owned());
        let cursor = || Err("ERR invalid cursor".to_owned());
        for (line, walk, expected) in [
            ("scan 0", Walk::Keys, Ok((10, true, true))),
            ("scan 007 match b* COUNT 5", Walk::Keys, Ok((5, true, false))),
            ("scan 18446744073709551615 match *", Walk::Keys, Ok((10, true, true))),
            ("scan 0 type list", Walk::Keys, Ok((10, true, true))),
            ("hscan 0 novalues", Walk::Fields, Ok((10, false, true))),
            ("sscan 0 type list", Walk::Members, syntax()),
            ("sscan 0 count 0", Walk::Members, syntax()),
            ("sscan 0 match", Walk::Members, syntax()),
            ("scan -1", Walk::Keys, cursor()),
            ("scan 18446744073709551616", Walk::Keys, cursor()),
            ("scan x", Walk::Keys, cursor()),
        ] {
            assert_eq!(parse(line, walk), expected, "{line}");
        }
        let only_hscan = parse("sscan 0 novalues", Walk::Members).unwrap_err();
        assert_eq!(only_hscan, "ERR NOVALUES option can only be used in HSCAN");
    }
}
