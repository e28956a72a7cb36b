//! The last words of a process that a signal ends: which signal it was, and where.
//!
//! The handlers do only what may be done in one: no allocation, no lock, no formatting of std.
#![allow(unsafe_code)] // Signal handlers and the C library's backtrace.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::config::Config;

/// Frames told at the most.
const FRAMES_MAX: usize = 100;
const SIGNALS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT];

/// Where the log goes.
static LOG: AtomicI32 = AtomicI32::new(libc::STDOUT_FILENO);
/// `crash-log-enabled`
static ENABLED: AtomicBool = AtomicBool::new(true);

/// From now on a crash is told, or not.
pub fn set_enabled(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// Tells of a crash in the log from now on.
pub fn install(config: &Config) -> io::Result<()> {
    set_enabled(config.crash_log_enabled);
    if !config.logfile.is_empty() {
        let path = config.logfile.to_path();
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        LOG.store(file.into_raw_fd(), Ordering::Relaxed);
    }
    let mut frames = [std::ptr::null_mut::<c_void>(); 1];
    // SAFETY: the buffer has room for as many frames as are asked for. The first call loads what
    // later calls need, so that none of them allocates.
    unsafe { libc::backtrace(frames.as_mut_ptr(), 1) };
    // The second signal, or the one raised anew below, meets the default: the process ends.
    let flags = SaFlags::SA_RESETHAND | SaFlags::SA_NODEFER | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::Handler(on_crash), flags, SigSet::empty());
    for signal in SIGNALS {
        // SAFETY: the handler does only what is safe in a signal handler.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

fn say(text: &[u8]) {
    // SAFETY: the pointer and the length are of one slice. What cannot be written is lost.
    unsafe { libc::write(LOG.load(Ordering::Relaxed), text.as_ptr().cast(), text.len()) };
}

extern "C" fn on_crash(signal: c_int) {
    if ENABLED.load(Ordering::Relaxed) {
        let digits = [b'0' + (signal / 10 % 10) as u8, b'0' + (signal % 10) as u8];
        say(b"\n=== REKEEP CRASH REPORT ===\nRekeep crashed by signal: ");
        say(&digits);
        say(b"\n------ STACK TRACE ------\n");
        let mut frames = [std::ptr::null_mut::<c_void>(); FRAMES_MAX];
        // SAFETY: `backtrace` fills no more than the buffer has room for, and says how many there
        // are; `backtrace_symbols_fd` writes them without allocating.
        unsafe {
            let count = libc::backtrace(frames.as_mut_ptr(), FRAMES_MAX as c_int);
            libc::backtrace_symbols_fd(frames.as_ptr(), count, LOG.load(Ordering::Relaxed));
        }
        say(b"=== END OF THE REPORT: please send it with the lines before it ===\n");
    }
    // SAFETY: raising a signal has no preconditions; its handler is the default again.
    unsafe { libc::raise(signal) };
}
