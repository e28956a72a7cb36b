//! The allocator of the process: jemalloc, with size classes eight bytes apart.
//!
//! The classes are chosen where jemalloc is built (`.cargo/config.toml`); built otherwise it works as
//! well, with small values rounded up to sixteen bytes. jemalloc places an allocation at a multiple of
//! the largest power of two that its class is a multiple of. Its crate relies on classes sixteen
//! bytes apart and asks for no alignment up to sixteen; so what must lie at a multiple of sixteen is
//! asked for here as a multiple of sixteen bytes, and gets a class that is one too.
#![allow(unsafe_code)] // An allocator's trait is unsafe.

use std::alloc::{GlobalAlloc, Layout};

use tikv_jemallocator::Jemalloc;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap;

/// The largest alignment that jemalloc's crate does not ask for.
const ALIGN_UNASKED: usize = 16;

/// The layout to ask for: the same for every request of the same layout.
#[inline]
fn rounded(layout: Layout) -> Layout {
    if layout.align() == ALIGN_UNASKED { layout.pad_to_align() } else { layout }
}

// SAFETY: every method passes on to jemalloc, with a layout that is at least what was asked for and
// depends on nothing but that; so a block is given back with the layout it was taken with. Aligned
// as asked: alignments above sixteen are asked for, those up to eight hold for every class, and
// sixteen by the module's account.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises, which `rounded` keeps.
        unsafe { Jemalloc.alloc(rounded(layout)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { Jemalloc.alloc_zeroed(rounded(layout)) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`; the block was taken with this layout, rounded.
        unsafe { Jemalloc.dealloc(block, rounded(layout)) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let size = match layout.align() {
            ALIGN_UNASKED => size.next_multiple_of(ALIGN_UNASKED),
            _ => size,
        };
        // SAFETY: as in `dealloc`; the new size is rounded as `rounded` does it.
        unsafe { Jemalloc.realloc(block, rounded(layout), size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_aligned_and_keeps_its_bytes() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in (1..300).chain([1000, 5000, 70_000]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout has a size, and the block is used within it.
                unsafe {
                    let blocks: Vec<_> = (0..5).map(|_| Heap.alloc(layout)).collect();
                    for &block in &blocks {
                        assert_eq!(block.addr() % align, 0, "{size} bytes at {align}");
                        block.write_bytes(7, size);
                        let grown = Heap.realloc(block, layout, size + 9);
                        assert_eq!(grown.addr() % align, 0, "{size} bytes at {align}, grown");
                        assert_eq!(grown.add(size - 1).read(), 7);
                        Heap.dealloc(grown, Layout::from_size_align(size + 9, align).unwrap());
                    }
                    let zeroed = Heap.alloc_zeroed(layout);
                    assert_eq!((zeroed.addr() % align, zeroed.add(size - 1).read()), (0, 0));
                    Heap.dealloc(zeroed, layout);
                }
            }
        }
    }
}
