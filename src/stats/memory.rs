//! What the allocator and the kernel say about our memory.

use std::sync::LazyLock;

use tikv_jemalloc_ctl::thread::{self, ThreadLocal};
use tikv_jemalloc_ctl::{Access, AsName, Mib, epoch, stats, stats_print};

/// A reading, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Asked for by the program.
    pub allocated: u64,
    /// In pages that hold allocations.
    pub active: u64,
    /// In pages the allocator has from the kernel and has touched.
    pub resident: u64,
    /// Resident for the kernel.
    pub rss: u64,
}

thread_local! {
    /// Where the allocator counts what this thread has asked for since it began.
    static ASKED_HERE: Option<ThreadLocal<u64>> = thread::allocatedp::read().ok();
}

/// Bytes that this thread has asked for since it began; costs next to nothing.
pub fn asked_here() -> u64 {
    ASKED_HERE.with(|asked| asked.as_ref().map_or(0, |asked| asked.get()))
}

/// Where the allocator tells, of all its arenas (which is what 4096 stands for), what threads keep
/// ready for themselves. It counts that as allocated.
static KEPT_READY: LazyLock<Option<Mib<[usize; 4]>>> =
    LazyLock::new(|| "stats.arenas.4096.tcache_bytes\0".name().mib().ok());

/// What the program has asked for and not given back, as of the last epoch. Without what threads
/// keep ready: that does not become less when a key is removed.
fn in_use() -> u64 {
    let ready = KEPT_READY.as_ref().and_then(|ready| ready.read().ok()).unwrap_or(0_usize);
    stats::allocated::read().unwrap_or(0).saturating_sub(ready) as u64
}

impl Memory {
    /// Bytes the program has asked for.
    pub fn allocated() -> u64 {
        let _ = epoch::advance();
        in_use()
    }

    /// Asks both.
    pub fn read() -> Memory {
        let as_u64 = |value: Result<usize, tikv_jemalloc_ctl::Error>| value.unwrap_or(0) as u64;
        // The statistics are as of the last epoch.
        let _ = epoch::advance();
        Memory {
            allocated: in_use(),
            active: as_u64(stats::active::read()),
            resident: as_u64(stats::resident::read()),
            rss: resident_set(),
        }
    }
}

/// What the allocator tells of itself, at length.
pub fn allocator_report() -> Vec<u8> {
    let mut report = Vec::new();
    stats_print::stats_print(&mut report, stats_print::Options::default())
        .expect("memory takes every byte");
    report
}

fn resident_set() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * page_bytes()
}

fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
}

/// Memory of the machine.
pub fn system_bytes() -> u64 {
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES).ok().flatten();
    pages.and_then(|pages| u64::try_from(pages).ok()).unwrap_or(0) * page_bytes()
}

/// Bytes as INFO shows them to humans: two digits behind the point and a letter.
pub fn human(bytes: u64) -> String {
    let float = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{:.2}K", float / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.2}M", float / 1_048_576.0),
        1_073_741_824..1_099_511_627_776 => format!("{:.2}G", float / 1_073_741_824.0),
        _ => format!("{:.2}T", float / 1_099_511_627_776.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_keep_ready_is_told_by_the_allocator() {
        assert!(KEPT_READY.is_some());
    }
}
