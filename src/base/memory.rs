//! How much memory the process uses, as the allocator counts it.

use tikv_jemalloc_ctl::{epoch, stats};

/// The allocator's figures, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Asked for by the program.
    pub allocated: u64,
    /// In pages that hold something.
    pub active: u64,
    /// Mapped and present.
    pub resident: u64,
    /// Kept for later.
    pub retained: u64,
    /// The allocator's own.
    pub metadata: u64,
}

/// The figures of this moment; takes some ten microseconds.
pub fn measure() -> Memory {
    // Under another allocator (in tests) there is nothing to measure.
    if epoch::advance().is_err() {
        return Memory::default();
    }
    let bytes = |read: Result<usize, _>| read.map_or(0, |bytes: usize| bytes as u64);
    Memory {
        allocated: bytes(stats::allocated::read()),
        active: bytes(stats::active::read()),
        resident: bytes(stats::resident::read()),
        retained: bytes(stats::retained::read()),
        metadata: bytes(stats::metadata::read()),
    }
}

/// Bytes in use.
pub fn used() -> u64 {
    measure().allocated
}
