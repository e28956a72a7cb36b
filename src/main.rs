//! The exit code; everything else is `cli`.

#![allow(unsafe_code)] // The allocator reads its settings from a symbol.

use std::ffi::OsString;
use std::process::ExitCode;

use rekeep::base::heap::Heap;
use rekeep::cli::{self, Ask};
use rekeep::server::startup;

/// Every allocation of the process, so that memory can be counted and returned.
#[global_allocator]
static ALLOCATOR: Heap = Heap;

/// The heap in huge pages: fewer page tables to copy at a fork, fewer misses when keys are looked up.
/// One arena a core, not four: a fork locks them all, and then their pages are copied. Unused pages
/// are kept for a minute, unless `base::pages::Returning` sees to them.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: Option<&'static std::ffi::c_char> =
    // SAFETY: the string is static and ends with a zero byte.
    Some(unsafe {
        &*c"thp:always,narenas_ratio:1,dirty_decay_ms:60000,slab_sizes:8192-8192:8".as_ptr()
    });

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods)] // Before there is a title.
    let argv: Vec<OsString> = std::env::args_os().collect();
    let code = match cli::ask(&argv, &mut std::io::stdin()) {
        Ok(Ask::Serve(startup)) => startup::serve(startup.config, startup.config_file),
        Ok(Ask::Print(text)) => {
            println!("{text}");
            0
        }
        Ok(Ask::CheckRdb(tool)) => tool.run(),
        Ok(Ask::CheckAof(tool)) => tool.run(),
        Ok(Ask::CheckSystem) => {
            let (findings, well) = cli::check_system();
            println!("{findings}");
            i32::from(!well)
        }
        Err(refusal) => {
            eprintln!("{refusal}");
            1
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
