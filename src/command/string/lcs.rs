//! LCS: the longest common subsequence of two strings.

use crate::engine::context::Ctx;
use crate::keyspace::entry::{Held, Text};
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

#[derive(Default)]
struct Options {
    len_only: bool,
    ranges: bool,
    with_len: bool,
    /// Shorter runs are not shown.
    shown_min: usize,
}

impl Options {
    fn read(cx: &mut Ctx) -> Result<Options, CmdError> {
        let mut options = Options::default();
        while !cx.args.is_done() {
            match cx.args.option()?.as_str() {
                "idx" => options.ranges = true,
                "len" => options.len_only = true,
                "withmatchlen" => options.with_len = true,
                "minmatchlen" => options.shown_min = cx.args.i64()?.max(0) as usize,
                _ => return Err(CmdError::Syntax),
            }
        }
        if options.ranges && options.len_only {
            let text = "If you want both the length and indexes, please just use IDX.";
            return Err(CmdError::err(text));
        }
        Ok(options)
    }
}

/// A run of equal bytes: where it begins in either string, and its length.
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

/// Lengths of the longest common subsequences of all prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8], bytes_max: u64) -> Result<Table, CmdError> {
        if a.len().max(b.len()) >= u32::MAX as usize - 1 {
            return Err(CmdError::err("String too long for LCS"));
        }
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width);
        let bytes = cells.and_then(|cells| cells.checked_mul(size_of::<u32>()));
        let Some(cells) = cells.filter(|_| bytes.is_some_and(|bytes| bytes as u64 <= bytes_max))
        else {
            let text = "Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
            return Err(CmdError::err(text));
        };
        let mut table = Table { cells: vec![0; cells], width };
        for (row, &byte) in a.iter().enumerate() {
            let (above, here) = table.cells[row * width..(row + 2) * width].split_at_mut(width);
            for (col, &other) in b.iter().enumerate() {
                here[col + 1] = match byte == other {
                    true => above[col] + 1,
                    false => above[col + 1].max(here[col]),
                };
            }
        }
        Ok(table)
    }

    fn at(&self, a: usize, b: usize) -> u32 {
        self.cells[a * self.width + b]
    }

    /// The runs of the subsequence, last first.
    fn runs(&self, a: &[u8], b: &[u8]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match runs.last_mut() {
                    Some(run) if run.a == i + 1 && run.b == j + 1 => {
                        *run = Run { a: i, b: j, len: run.len + 1 };
                    }
                    _ => runs.push(Run { a: i, b: j, len: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        runs
    }
}

fn read(cx: &mut Ctx) -> Result<Vec<u8>, CmdError> {
    let key = cx.args.bytes()?;
    match cx.db.read_entry(key).map(|entry| entry.held()) {
        None => Ok(Vec::new()),
        Some(Held::Text(text)) => Ok(Text::to_vec(&text)),
        Some(Held::Value(_)) => Err(CmdError::err("The specified keys must contain string values")),
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]
pub(super) fn lcs(cx: &mut Ctx) -> CmdResult {
    let (a, b) = (read(cx)?, read(cx)?);
    let options = Options::read(cx)?;
    let table = Table::new(&a, &b, cx.db.env().string_bytes_max)?;
    let len = table.at(a.len(), b.len()) as usize;
    if options.len_only {
        return Ok(cx.reply.count(len));
    }
    let runs = table.runs(&a, &b);
    let reply = &mut *cx.reply;
    if !options.ranges {
        let parts = runs.iter().rev().map(|run| &a[run.a..run.a + run.len]);
        return Ok(reply.bulk(&parts.collect::<Vec<_>>().concat()));
    }
    let shown = || runs.iter().filter(|run| run.len >= options.shown_min);
    reply.map(2);
    let _ = reply.bulk(b"matches");
    reply.array(shown().count());
    for run in shown() {
        reply.array(2 + usize::from(options.with_len));
        for from in [run.a, run.b] {
            reply.array(2);
            let _ = reply.count(from);
            let _ = reply.count(from + run.len - 1);
        }
        if options.with_len {
            let _ = reply.count(run.len);
        }
    }
    let _ = reply.bulk(b"len");
    Ok(reply.count(len))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn lcs_finds_what_the_manual_shows() {
        let mut house = House::new();
        house.run("mset key1 ohmytext key2 mynewtext");
        for (line, answer) in [
            ("lcs key1 key2", "$6|mytext|"),
            ("lcs key1 key2 len", ":6|"),
            (
                "lcs key1 key2 idx",
                "*4|$7|matches|*2|*2|*2|:4|:7|*2|:5|:8|*2|*2|:2|:3|*2|:0|:1|$3|len|:6|",
            ),
            (
                "lcs key1 key2 idx minmatchlen 4 withmatchlen",
                "*4|$7|matches|*1|*3|*2|:4|:7|*2|:5|:8|:4|$3|len|:6|",
            ),
            ("lcs none key2", "$0||"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("lcs key1 key2 idx len").starts_with("-ERR If you want both"));
    }
}
