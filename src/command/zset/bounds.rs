//! The ends of ranges as clients write them: ranks, scores, members.

use std::ops::Range;

use crate::base::num::parse_f64;
use crate::resp::error::CmdError;
use crate::value::Zset;
use crate::value::zset::{LexBound, ScoreRange};

/// By what a range is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// A range of a sorted set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bounds<'a> {
    /// Indices; negative ones count from the end, both are included.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexBound<'a>, LexBound<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads both ends, the lower first.
    pub(super) fn read(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, CmdError> {
        Ok(match by {
            By::Rank => {
                let index = |word| crate::base::num::parse_i64(word).ok_or(CmdError::NotInteger);
                Bounds::Ranks(index(min)?, index(max)?)
            }
            By::Score => {
                let (min, min_open) = score_bound(min)?;
                let (max, max_open) = score_bound(max)?;
                Bounds::Scores(ScoreRange { min, min_open, max, max_open })
            }
            By::Lex => Bounds::Members(lex_bound(min)?, lex_bound(max)?),
        })
    }

    /// The ranks that lie within.
    pub(super) fn ranks(&self, zset: &Zset) -> Range<usize> {
        match self {
            Bounds::Ranks(start, end) => between(*start, *end, zset.len()),
            Bounds::Scores(range) => zset.ranks_by_score(range),
            Bounds::Members(min, max) => zset.ranks_by_lex(*min, *max),
        }
    }
}

/// What two indices mean of `len` elements.
fn between(start: i64, end: i64, len: usize) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, end) = (from_end(start).max(0), from_end(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

/// The same ranks seen from the other end.
pub(super) fn mirrored(ranks: Range<usize>, len: usize) -> Range<usize> {
    len - ranks.end.min(len)..len - ranks.start.min(len)
}

fn score_bound(word: &[u8]) -> Result<(f64, bool), CmdError> {
    let (text, open) = match word.strip_prefix(b"(") {
        Some(text) => (text, true),
        None => (word, false),
    };
    let score = match parse_f64(text.trim_ascii_start()) {
        None if text.is_empty() => Some(0.0),
        None => beyond_doubles(text),
        score => score,
    };
    score.map(|score| (score, open)).ok_or(CmdError::MinMaxNotFloat)
}

/// A decimal number too large or too small for a double is taken for infinity or zero here.
fn beyond_doubles(text: &[u8]) -> Option<f64> {
    let digits = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let text = std::str::from_utf8(text).ok().filter(|text| text.as_bytes().iter().all(digits))?;
    text.parse().ok()
}

fn lex_bound(word: &[u8]) -> Result<LexBound<'_>, CmdError> {
    match word.split_first() {
        Some((b'-', [])) => Ok(LexBound::Least),
        Some((b'+', [])) => Ok(LexBound::Greatest),
        Some((b'[', member)) => Ok(LexBound::Closed(member)),
        Some((b'(', member)) => Ok(LexBound::Open(member)),
        _ => Err(CmdError::MinMaxNotLex),
    }
}
