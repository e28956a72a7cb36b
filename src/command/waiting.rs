//! What the blocking commands share: their timeout, and the words of the "many keys" forms.

use crate::base::clock::UnixMs;
use crate::base::num::{LongDouble, parse_f64};
use crate::resp::args::Args;
use crate::resp::error::CmdError;

/// Takes a timeout in seconds: the moment to give up at, `None` for 0, which waits forever.
pub fn deadline(args: &mut Args, now: UnixMs) -> Result<Option<UnixMs>, CmdError> {
    let word = args.bytes()?;
    let seconds = match parse_f64(word) {
        Some(seconds) => seconds,
        // Redis reads wider floats; one that only those hold is a number, if a useless one.
        None if LongDouble::parse(word).is_none() => return Err(CmdError::TimeoutNotFloat),
        None if word.starts_with(b"-") => return Err(CmdError::TimeoutNegative),
        None => return Err(CmdError::TimeoutRange),
    };
    let ms = (seconds * 1000.0).ceil();
    if ms >= i64::MAX as f64 {
        return Err(CmdError::TimeoutRange);
    }
    if ms < 0.0 {
        return Err(CmdError::TimeoutNegative);
    }
    match ms as u64 {
        0 => Ok(None),
        ms if ms > i64::MAX as u64 - now.0 => Err(CmdError::TimeoutRange),
        ms => Ok(Some(UnixMs(now.0 + ms))),
    }
}

/// Takes `numkeys key [key ...]`; the positions of the keys among the words.
pub fn counted_keys(args: &mut Args) -> Result<std::ops::Range<usize>, CmdError> {
    let count = args.i64_in(1..=i64::MAX, "ERR numkeys should be greater than 0")?;
    let first = args.position();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let _ = args.take(count)?;
    Ok(first..first + count)
}

/// Takes `[COUNT count]`, the last words of those commands; 1 when it is not given.
pub fn pop_count(args: &mut Args) -> Result<usize, CmdError> {
    let mut count = 1;
    if args.take_keyword("count") {
        count = args.i64_in(1..=i64::MAX, "ERR count should be greater than 0")?;
    }
    if !args.is_done() {
        return Err(CmdError::Syntax);
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::args::OwnedArgs;

    #[test]
    fn timeouts_are_seconds_with_fractions() {
        let now = UnixMs(1000);
        for (word, expected) in [
            ("0", Ok(None)),
            ("-0", Ok(None)),
            ("0.0001", Ok(Some(1001))),
            ("1.5", Ok(Some(2500))),
            ("-1", Err(CmdError::TimeoutNegative)),
            ("1s", Err(CmdError::TimeoutNotFloat)),
            ("inf", Err(CmdError::TimeoutRange)),
            ("1e400", Err(CmdError::TimeoutRange)),
            ("nan", Err(CmdError::TimeoutNotFloat)),
            ("9223372036854775.807", Err(CmdError::TimeoutRange)),
            ("0x7FFFFFFFFFFFFF", Err(CmdError::TimeoutRange)),
        ] {
            let words = OwnedArgs::new(["x".as_bytes(), word.as_bytes()].into_iter());
            let read = deadline(&mut words.args(), now).map(|at| at.map(|at| at.0));
            assert_eq!(read, expected, "{word}");
        }
    }
}
