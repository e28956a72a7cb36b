//! The pages of the heap: given back when they are unused, and put together to huge ones again after
//! a forked child has gone.
//!
//! While a child shares the heap, each first write to a page splits the huge page around it. The
//! splits stay, and the next fork has to copy the finer page tables: tens of milliseconds instead of
//! one or two. MADV_COLLAPSE (Linux 6.1) puts 2 MiB at a time together.
#![allow(unsafe_code)] // madvise and mincore.

use std::time::Duration;

use crate::base::mallctl;

/// Bytes of a huge page.
pub const HUGE_BYTES: usize = 2 << 20;
const PAGE_BYTES: usize = 4096;
const PAGES: usize = HUGE_BYTES / PAGE_BYTES;
/// A piece with fewer resident pages stays as it is: it would only grow.
const RESIDENT_MIN: usize = PAGES * 7 / 8;
/// Rest between two pieces that were put together, so that page faults elsewhere find the lock.
const REST: Duration = Duration::from_micros(500);
/// Not in the libc crate for all targets.
const MADV_COLLAPSE: libc::c_int = 25;

/// How much may stay unused for how long.
#[derive(Debug)]
struct Bound {
    /// One of so many parts of the heap.
    share: u64,
    /// What a small heap may keep in any case, in bytes.
    floor: u64,
    /// So many looks in a row must find more.
    looks: u32,
}

/// Much goes soon, less goes later, and what is less than that stays.
const BOUNDS: [Bound; 2] = [
    Bound { share: 8, floor: 16 << 20, looks: 10 },
    Bound { share: 64, floor: 4 << 20, looks: 60 },
];

/// Gives all pages that hold no allocation back to the kernel.
pub fn give_back() {
    // 4096 stands for all arenas. One that is not there has nothing to give.
    let _ = mallctl::deed("arena.4096.purge");
}

/// Gives unused pages back, in place of the allocator, which would do it page by page and in the midst
/// of a command: a page that is given back splits the huge page around it, and most are used again
/// soon, by a table that grows or the entries that come. So they go when they are worth it, and have
/// been unused for long. Only what was larger than 8 MiB goes at once, which the allocator sees to.
#[derive(Debug, Default)]
pub struct Returning {
    /// Looks in a row that have found more than each of the bounds.
    looks: [u32; BOUNDS.len()],
}

impl Returning {
    /// From now on the allocator leaves unused pages of its arenas to this.
    pub fn begin() -> Returning {
        // Not of the arena of what is large, which is none of these.
        for arena in 0..mallctl::number("opt.narenas", None).unwrap_or(0) {
            // An arena that is not there yet goes by the allocator's settings.
            let never = Some(u64::MAX);
            let _ = mallctl::number(&format!("arena.{arena}.dirty_decay_ms"), never);
        }
        Returning::default()
    }

    /// To be called once a second; the allocator's statistics have to be fresh.
    pub fn look(&mut self) {
        let number = |name| mallctl::number(name, None).unwrap_or(0);
        let unused = number("stats.arenas.4096.pdirty") * PAGE_BYTES as u64;
        if self.is_due(unused, number("stats.active")) {
            give_back();
        }
    }

    fn is_due(&mut self, unused: u64, used: u64) -> bool {
        for (looks, bound) in self.looks.iter_mut().zip(&BOUNDS) {
            let more = unused > (used / bound.share).max(bound.floor);
            *looks = if more { *looks + 1 } else { 0 };
        }
        let due = self.looks.iter().zip(&BOUNDS).any(|(looks, bound)| *looks >= bound.looks);
        if due {
            self.looks = Default::default();
        }
        due
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collapsed {
    /// Pieces that are huge pages now.
    pub huge: usize,
    /// Pieces that could not be put together.
    pub failed: usize,
}

/// Puts the heap's huge pages together, until done or told to stop. Where the kernel cannot, nothing
/// happens.
pub fn collapse_heap(stop: impl Fn() -> bool) -> Collapsed {
    let mut done = Collapsed::default();
    for (from, to) in anonymous() {
        let mut at = from.next_multiple_of(HUGE_BYTES);
        while at + HUGE_BYTES <= to {
            if stop() {
                return done;
            }
            if is_resident(at) {
                match collapse(at) {
                    true => done.huge += 1,
                    false => done.failed += 1,
                }
                if done.huge == 0 && done.failed > 8 {
                    return done;
                }
                std::thread::sleep(REST);
            }
            at += HUGE_BYTES;
        }
    }
    done
}

/// Private mappings of memory without a file, large enough to matter.
fn anonymous() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let (_, device, _) = (words.next()?, words.next()?, words.next()?);
    let name = words.next();
    if rights != "rw-p" || device != "00:00" || name.is_some_and(|name| !name.starts_with("[anon"))
    {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (from, to) = (number(from)?, number(to)?);
    (to - from >= 2 * HUGE_BYTES).then_some((from, to))
}

fn is_resident(at: usize) -> bool {
    let mut pages = [0u8; PAGES];
    // SAFETY: the kernel writes one byte for each page of the range into `pages`, which has as many;
    // it answers an error for a range that is not mapped any more.
    let answer = unsafe { libc::mincore(at as *mut libc::c_void, HUGE_BYTES, pages.as_mut_ptr()) };
    answer == 0 && pages.iter().filter(|page| **page & 1 == 1).count() >= RESIDENT_MIN
}

fn collapse(at: usize) -> bool {
    // SAFETY: this advice changes how memory is mapped and never what it holds; a range that is not
    // mapped any more is an error.
    unsafe { libc::madvise(at as *mut libc::c_void, HUGE_BYTES, MADV_COLLAPSE) == 0 }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::*;
    use crate::base::heap::Heap;

    #[test]
    fn only_private_memory_without_a_file_counts() {
        let big = "7f0000000000-7f0001000000";
        assert_eq!(
            parse(&format!("{big} rw-p 00000000 00:00 0 ")),
            Some((0x7f00_0000_0000, 0x7f00_0100_0000))
        );
        assert!(parse(&format!("{big} rw-p 00000000 00:00 0 [anon:heap]")).is_some());
        for line in [
            format!("{big} r--p 00000000 00:00 0"),
            format!("{big} rw-p 00000000 08:01 77 /usr/lib/x.so"),
            format!("{big} rw-p 00000000 00:00 0 [stack]"),
            "7f0000000000-7f0000001000 rw-p 00000000 00:00 0".to_owned(),
            "nonsense".to_owned(),
        ] {
            assert_eq!(parse(&line), None, "{line}");
        }
    }

    #[test]
    fn what_is_unused_goes_when_it_is_much_for_long() {
        let [soon, later] = BOUNDS;
        let (much, some, little) = (soon.floor + 1, later.floor + 1, later.floor);
        let mut returning = Returning::default();
        let mut looks = |unused: u64, used: u64, times: u32| {
            (0..times).filter(|_| returning.is_due(unused, used)).count()
        };
        assert_eq!(looks(little, 0, 1000), 0);
        assert_eq!(looks(much, much * later.share, 1000), 0, "not much of this heap");
        assert_eq!(looks(much, 0, soon.looks - 1), 0);
        assert_eq!(looks(little, 0, 1), 0);
        assert_eq!(looks(much, 0, soon.looks), 1);
        assert_eq!(looks(much, 0, soon.looks - 1), 0);
        assert_eq!(looks(some, 0, later.looks - soon.looks), 0);
        assert_eq!(looks(some, 0, 1), 1);
        assert_eq!(looks(some, 0, later.looks - 1), 0);
    }

    #[test]
    fn unused_pages_are_given_back() {
        let dirty = || {
            let _ = mallctl::number("epoch", Some(1));
            mallctl::number("stats.arenas.4096.pdirty", None).unwrap() * PAGE_BYTES as u64
        };
        // Larger ones go back at once.
        let layout = Layout::from_size_align(1 << 20, 8).unwrap();
        let blocks: Vec<*mut u8> = (0..64)
            .map(|_| {
                // SAFETY: the layout has a size, and the block is used within it.
                unsafe {
                    let block = Heap.alloc(layout);
                    block.write_bytes(1, layout.size());
                    block
                }
            })
            .collect();
        for block in blocks {
            // SAFETY: it was taken above, and is given back once.
            unsafe { Heap.dealloc(block, layout) };
        }
        let [Bound { floor, looks, .. }, _] = BOUNDS;
        assert!(dirty() > 2 * floor, "{}", dirty());
        let mut returning = Returning::default();
        // Other tests of the process may free as much in between.
        let went = (0..20).any(|_| {
            (0..looks).for_each(|_| returning.look());
            dirty() < floor
        });
        assert!(went, "{}", dirty());
    }

    #[test]
    fn collapsing_changes_nothing_that_memory_holds() {
        let bytes: Vec<u8> = (0..16 * HUGE_BYTES).map(|at| (at % 251) as u8).collect();
        let _ = collapse_heap(|| false);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    }
}
