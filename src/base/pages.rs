//! The pages of the heap: given back when they are unused, and put together to huge ones again after
//! a forked child has gone.
//!
//! While a child shares the heap, each first write to a page splits the huge page around it. The
//! splits stay, and the next fork has to copy the finer page tables: tens of milliseconds instead of
//! one or two. MADV_COLLAPSE (Linux 6.1) puts 2 MiB at a time together.
#![allow(unsafe_code)] // madvise, mincore and mallctl.

use std::ptr;
use std::time::Duration;

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

/// Which unused pages the allocator gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// Those that have been unused for a while: a share at each call, all after ten seconds.
    ForLong,
    /// All of them.
    Now,
}

/// Gives pages that hold no allocation back to the kernel. Without it that happens only while the
/// program allocates and frees.
pub fn give_back(unused: Unused) {
    // 4096 stands for all arenas.
    let name = match unused {
        Unused::ForLong => c"arena.4096.decay",
        Unused::Now => c"arena.4096.purge",
    };
    let (nothing, no_length) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the name ends with a zero, and these two neither read nor write values.
    unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), nothing, no_length, ptr::null_mut(), 0) };
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
    use super::*;

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
    fn collapsing_changes_nothing_that_memory_holds() {
        let bytes: Vec<u8> = (0..16 * HUGE_BYTES).map(|at| (at % 251) as u8).collect();
        let _ = collapse_heap(|| false);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    }
}
