//! The forked child: one thread that reads memory, writes a file, reports over a pipe and leaves. It may
//! fork itself (see `encoders`).
//!
//! The caller holds the locks of all shards, so the child's copy is one moment. What the child must
//! not touch: standard output, tracing, std's environment and threads, tokio, any lock but the
//! allocator's own, a panic. It closes every descriptor it does not need, or a client that the
//! parent closes would stay connected through the child.
#![allow(unsafe_code)] // fork, close_range and _exit.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use nix::unistd::{ForkResult, Pid, fork, pipe};

use crate::base::clock::{self, Steady};
use crate::keyspace::lock::{Hold, ShardSet};
use crate::persist::aof::manifest::Seal;

/// Whether this process is a forked child; the panic hook looks at it.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// What children write into their `oom_score_adj`.
static OOM_SCORE: AtomicI32 = AtomicI32::new(OOM_SCORE_KEPT);
const OOM_SCORE_KEPT: i32 = i32::MIN;

/// How ready the kernel shall be to end children when memory runs out; `None` is as their parent.
pub fn set_oom_score(score: Option<i32>) {
    OOM_SCORE.store(score.unwrap_or(OOM_SCORE_KEPT), Ordering::Relaxed);
}

/// Makes a panic in a child end it at once: unwinding could reach locks that nobody will release.
pub fn install_panic_hook() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if IS_CHILD.load(Ordering::Relaxed) {
            // SAFETY: _exit has no preconditions; it runs no destructors, as wanted here.
            unsafe { libc::_exit(EXIT_PANIC) };
        }
        default(info);
    }));
}

/// The exit code of a child that succeeded.
pub const EXIT_OK: i32 = 0;
/// The exit code of a child that failed and said why.
pub const EXIT_FAILED: i32 = 1;
const EXIT_PANIC: i32 = 70;
/// By how much children step back behind the threads that serve clients.
const NICENESS: i32 = 10;
/// For how long they run at a time while others are ready, nanoseconds: the least that Linux knows.
const PIECE_NS: u64 = 100_000;
/// Keys between two reports.
const REPORT_KEYS: u64 = 1024;
/// Time between two looks at the pages copied on write; and those take that part of it at most.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
const MEASURE_SHARE: u32 = 50;
/// A report: a tag and two numbers of 8 bytes; or a tag and the text of a failure.
const REPORT_BYTES: usize = 17;
const TAG_PROGRESS: u8 = 0;
const TAG_FAILED: u8 = 1;
const TAG_SEALED: u8 = 2;

/// The child's end of the pipe.
pub struct Reporter {
    pipe: File,
    keys: u64,
    cow: u64,
    measure_at: Steady,
}

/// What the parent hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Keys written, bytes copied on write.
    Progress {
        /// Keys.
        keys: u64,
        /// Bytes.
        cow: u64,
    },
    /// What the child's file holds.
    Sealed(Seal),
    /// Why the child failed.
    Failed(String),
}

impl Reporter {
    /// Another key was written.
    #[inline]
    pub fn key(&mut self) {
        self.keys += 1;
        if self.keys.is_multiple_of(REPORT_KEYS) {
            self.report(clock::steady() >= self.measure_at);
        }
    }

    /// The file is written, and holds this.
    pub fn sealed(&mut self, seal: Seal) {
        self.tell(TAG_SEALED, seal.size, seal.sum);
    }

    fn report(&mut self, measure: bool) {
        if measure {
            let began = clock::steady();
            self.cow = private_dirty_bytes();
            let took = began.elapsed();
            self.measure_at = began + MEASURE_EVERY.max(took * MEASURE_SHARE);
        }
        self.tell(TAG_PROGRESS, self.keys, self.cow);
    }

    fn tell(&mut self, tag: u8, first: u64, second: u64) {
        let mut report = [tag; REPORT_BYTES];
        report[1..9].copy_from_slice(&first.to_le_bytes());
        report[9..17].copy_from_slice(&second.to_le_bytes());
        // Without a parent that listens there is nobody to tell.
        let _ = self.pipe.write_all(&report);
    }

    fn fail(&mut self, text: &str) {
        let mut message = vec![TAG_FAILED];
        message.extend_from_slice(text.as_bytes());
        let _ = self.pipe.write_all(&message);
    }
}

/// A child as its parent knows it.
pub struct Forked {
    /// Its process.
    pub pid: i32,
    /// What it writes.
    pub(super) pipe: File,
}

/// Forks a child that reports. In it `work` runs and the process ends; the parent gets its handle.
/// `hold` has all shards. Processes that the child forks are in its process group.
pub fn fork_with(
    hold: &Hold,
    work: impl FnOnce(&Hold, &mut Reporter) -> Result<(), String>,
) -> io::Result<Forked> {
    fork_piped(hold, |pipe| {
        heed_oom_score();
        // SAFETY: a system call on integers; a child that leads no group works all the same.
        unsafe { libc::setpgid(0, 0) };
        step_back();
        let measure_at = clock::steady() + MEASURE_EVERY;
        let mut reporter = Reporter { pipe, keys: 0, cow: 0, measure_at };
        match work(hold, &mut reporter) {
            Ok(()) => {
                reporter.report(true);
                EXIT_OK
            }
            Err(text) => {
                reporter.fail(&text);
                EXIT_FAILED
            }
        }
    })
}

/// Steps back behind the threads that serve clients: a smaller share of the processors, and that in
/// small pieces, so that who becomes ready need not wait for the end of a long one. (Linux heeds the
/// length since 6.12, `sched_setattr(2)`.)
fn step_back() {
    // SAFETY: system calls on integers and on a structure of ours, whose size they are told; all its
    // bytes may be zero. A child that may not step back works all the same.
    unsafe {
        libc::nice(NICENESS);
        let mut attr: libc::sched_attr = std::mem::zeroed();
        let size = size_of::<libc::sched_attr>();
        let got = libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0);
        if got == 0 && attr.sched_policy == libc::SCHED_OTHER as u32 {
            attr.sched_runtime = PIECE_NS;
            libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0);
        }
    }
}

/// Forks a process that does `work` with its end of a pipe, and ends with that exit code.
pub fn fork_piped(hold: &Hold, work: impl FnOnce(File) -> i32) -> io::Result<Forked> {
    debug_assert!(hold.covers(&ShardSet::ALL));
    let (read, write): (OwnedFd, OwnedFd) = pipe()?;
    let parent = std::process::id();
    // SAFETY: the child touches only what the module's head allows.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(write);
            Ok(Forked { pid: child.as_raw(), pipe: File::from(read) })
        }
        ForkResult::Child => {
            IS_CHILD.store(true, Ordering::Relaxed);
            settle_in(write.as_raw_fd(), parent);
            let code = work(File::from(write));
            // SAFETY: as in the panic hook.
            unsafe { libc::_exit(code) }
        }
    }
}

fn heed_oom_score() {
    let score = OOM_SCORE.load(Ordering::Relaxed);
    if score != OOM_SCORE_KEPT {
        // A child with the score of its parent does its work all the same.
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
}

/// Default signals, no descriptors but the standard ones and the pipe, and an end with the parent:
/// a child that outlives it could put an old moment over a file that the next process has written.
fn settle_in(pipe: i32, parent: u32) {
    // SAFETY: plain system calls on integers; errors leave things as they were.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid().cast_unsigned() != parent {
            libc::_exit(EXIT_FAILED);
        }
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
        if pipe > 3 {
            libc::close_range(3, (pipe - 1) as u32, 0);
        }
        libc::close_range((pipe + 1) as u32, u32::MAX, 0);
    }
}

impl Forked {
    /// Listens until the child ends, then gives its exit code; killed by a signal, the signal's
    /// negative number.
    pub fn wait(mut self, mut hear: impl FnMut(Report)) -> i32 {
        let mut bytes = Vec::new();
        let mut room = [0u8; 4096];
        let mut failed = false;
        loop {
            match self.pipe.read(&mut room) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            while bytes.len() >= REPORT_BYTES && bytes[0] != TAG_FAILED {
                let (report, _) = bytes.split_first_chunk::<REPORT_BYTES>().expect("checked");
                let number = |at: usize| {
                    let bytes = report[at..at + 8].try_into().expect("eight bytes");
                    u64::from_le_bytes(bytes)
                };
                hear(match report[0] {
                    TAG_SEALED => Report::Sealed(Seal { size: number(1), sum: number(9) }),
                    _ => Report::Progress { keys: number(1), cow: number(9) },
                });
                bytes.drain(..REPORT_BYTES);
            }
            failed = bytes.first() == Some(&TAG_FAILED);
        }
        if failed {
            hear(Report::Failed(String::from_utf8_lossy(&bytes[1..]).into_owned()));
        }
        let code = exit_code(self.pid);
        reap_orphans(self.pid);
        code
    }

    /// Ends the child, whatever it does.
    pub fn end(&self) {
        // SAFETY: a system call on integers; the process is this one's child and was not waited for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        exit_code(self.pid);
    }
}

/// Processes that a child has left are the first process's of a container, which may be this one: they
/// have ended with the child, and are forgotten here.
fn reap_orphans(group: i32) {
    use nix::sys::wait::waitpid;
    while waitpid(Pid::from_raw(-group), None).is_ok() {}
}

fn exit_code(pid: i32) -> i32 {
    use nix::sys::wait::{WaitStatus, waitpid};
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => return code,
            Ok(WaitStatus::Signaled(_, signal, _)) => return -(signal as i32),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => {}
            // Somebody else has reaped it: how it ended is not known, so it failed.
            Err(_) => return EXIT_FAILED,
        }
    }
}

/// Bytes of memory that are this process's alone: in a child, what was copied on write.
pub fn private_dirty_bytes() -> u64 {
    let Ok(rollup) = std::fs::read_to_string("/proc/self/smaps_rollup") else { return 0 };
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
