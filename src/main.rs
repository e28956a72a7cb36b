//! The exit code; everything else is `cli`.

#![allow(unsafe_code)] // The allocator reads its settings from a symbol.

use std::ffi::OsString;
use std::process::ExitCode;

use rekeep::base::fs::Disk;
use rekeep::cli::{self, Ask, CheckAof, CheckRdb};
use rekeep::persist::aof::check::{self as check_aof, Repair};
use rekeep::persist::rdb::check as check_rdb;
use rekeep::server::startup;

/// Every allocation of the process, so that memory can be counted and returned.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The heap in huge pages: fewer page tables to copy at a fork, fewer misses when keys are looked up.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: Option<&'static std::ffi::c_char> =
    // SAFETY: the string is static and ends with a zero byte.
    Some(unsafe { &*c"thp:always".as_ptr() });

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let code = match cli::ask(&argv, &mut std::io::stdin()) {
        Ok(Ask::Serve(startup)) => startup::serve(*startup),
        Ok(Ask::Print(text)) => {
            println!("{text}");
            0
        }
        Ok(Ask::CheckRdb(CheckRdb { file })) => {
            told(check_rdb::check(&Disk::real(), &file, &mut std::io::stdout()))
        }
        Ok(Ask::CheckAof(asked)) => told(check_append_only(&asked)),
        Ok(Ask::CheckSystem) => {
            let (text, well) = cli::check_system();
            println!("{text}");
            i32::from(!well)
        }
        Err(refusal) => {
            eprintln!("{refusal}");
            1
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn check_append_only(asked: &CheckAof) -> std::io::Result<bool> {
    let repair = match (asked.truncate_to_timestamp, asked.fix) {
        (Some(secs), _) => Repair::ToTimestamp(secs),
        (None, true) => Repair::Fix,
        (None, false) => Repair::None,
    };
    let (disk, mut answers) = (Disk::real(), std::io::stdin().lock());
    check_aof::check(&disk, &asked.file, repair, &mut answers, &mut std::io::stdout())
}

/// The exit code of a check.
fn told(checked: std::io::Result<bool>) -> i32 {
    match checked {
        Ok(well) => i32::from(!well),
        Err(error) => {
            eprintln!("The report could not be written: {error}");
            1
        }
    }
}
