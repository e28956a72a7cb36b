//! The command lines of the tools that check files.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

use crate::base::fs::Disk;
use crate::cli::{Ask, Refusal};
use crate::persist::aof::check::{self as aof, Repair};
use crate::persist::rdb::check as rdb;

/// Reads a snapshot file to its end and tells the first thing wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "redis-check-rdb", version)]
pub struct CheckRdb {
    /// The snapshot, dump.rdb.
    pub file: PathBuf,
}

/// Reads append-only files to their end and tells the first thing wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "redis-check-aof", version)]
pub struct CheckAof {
    /// Cut the last file where it becomes unreadable, after asking.
    #[arg(long)]
    pub fix: bool,
    /// Cut everything written after this moment, in seconds since 1970. The file must have been
    /// written with aof-timestamp-enabled yes.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..))]
    pub truncate_to_timestamp: Option<i64>,
    /// The manifest, appendonly.aof.manifest, or a single file.
    #[arg(value_name = "MANIFEST-OR-FILE")]
    pub file: PathBuf,
}

impl CheckRdb {
    /// Does it, reports on standard output, and gives the exit code.
    pub fn run(&self) -> i32 {
        let mut out = BufWriter::new(io::stdout().lock());
        let checked = rdb::check(&Disk::real(), &self.file, &mut out);
        exit_code(checked.and_then(|well| out.flush().map(|()| well)))
    }
}

impl CheckAof {
    /// Does it, asks and reports on the terminal, and gives the exit code.
    pub fn run(&self) -> i32 {
        let repair = match (self.truncate_to_timestamp, self.fix) {
            (Some(moment), _) => Repair::ToTimestamp(moment),
            (None, true) => Repair::Fix,
            (None, false) => Repair::None,
        };
        let (mut answers, mut out) = (io::stdin().lock(), io::stdout().lock());
        exit_code(aof::check(&Disk::real(), &self.file, repair, &mut answers, &mut out))
    }
}

/// A report that could not be written is no success either.
fn exit_code(checked: io::Result<bool>) -> i32 {
    i32::from(!checked.unwrap_or(false))
}

/// What the words behind `redis-check-rdb` ask for.
pub(super) fn check_rdb(words: &[OsString]) -> Result<Ask, Refusal> {
    parsed("redis-check-rdb", words, Ask::CheckRdb)
}

/// What the words behind `redis-check-aof` ask for.
pub(super) fn check_aof(words: &[OsString]) -> Result<Ask, Refusal> {
    parsed("redis-check-aof", words, Ask::CheckAof)
}

fn parsed<T: Parser>(name: &str, words: &[OsString], ask: fn(T) -> Ask) -> Result<Ask, Refusal> {
    let argv = [OsString::from(name)].into_iter().chain(words.iter().cloned());
    match T::try_parse_from(argv) {
        Ok(tool) => Ok(ask(tool)),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            Ok(Ask::Print(error.to_string().trim_end().into()))
        }
        Err(error) => Err(Refusal::Usage(error.to_string().trim_end().into())),
    }
}
