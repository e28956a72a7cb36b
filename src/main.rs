//! The exit code; everything else is `cli`.

use std::ffi::OsString;
use std::process::ExitCode;

use rekeep::cli::{self, Ask};
use rekeep::server::startup;

/// Every allocation of the process, so that memory can be counted and returned.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let code = match cli::ask(&argv, &mut std::io::stdin()) {
        Ok(Ask::Serve(startup)) => startup::serve(*startup),
        Ok(Ask::Print(text)) => {
            println!("{text}");
            0
        }
        Ok(_) => 1,
        Err(refusal) => {
            eprintln!("{refusal}");
            1
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
