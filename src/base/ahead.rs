//! The heap's next pages are ready before they are used.
//!
//! Whoever writes to fresh memory first waits while the kernel finds a page and clears it: for a huge
//! page a fifth of a millisecond, and several milliseconds where a hypervisor has to find it too. So
//! each arena of the allocator gets its memory from a reserve of addresses, one after the other, and
//! a thread of its own makes the next huge pages present as the arena nears them
//! (MADV_POPULATE_WRITE, Linux 5.14).
//!
//! The allocator tells through its extent hooks (see jemalloc's manual): memory of a reserve counts
//! as not committed, so it announces what it is about to use. It does so inside an allocation, maybe
//! with locks held: the hooks take no lock and allocate nothing, which also keeps them sound in a
//! forked child.
#![allow(unsafe_code)] // mmap, madvise, mallctl and the allocator's hooks.

use std::ffi::{CString, c_uint, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;

use tikv_jemalloc_sys::{extent_hooks_t, mallctl};

use crate::base::pages::HUGE_BYTES;

/// Addresses a reserve has; they begin at a multiple of this. Not memory: that is taken page by page.
const RESERVE_BYTES: usize = 8 << 30;
/// The last of them are for the allocator's own books, which it opens at once and fills slowly, here
/// and there: in small pages, and never made ready.
const BOOKS_BYTES: usize = RESERVE_BYTES / 32;
const PIECES_BYTES: usize = RESERVE_BYTES - BOOKS_BYTES;
/// Larger pieces are mapped on their own.
const PIECE_MAX: usize = RESERVE_BYTES / 16;
/// Arenas with a reserve; further ones grow as they would without.
const ARENAS: usize = 128;
/// What is kept ready in front of an arena: a share of what it has, within bounds. With the least of
/// it, the next huge page comes when half of one is used: a server without data takes none.
const AHEAD_SHARE: usize = 128;
const AHEAD_MIN: usize = HUGE_BYTES / 2;
const AHEAD_MAX: usize = 2 * HUGE_BYTES;
/// There is none, as the kernel does not give it.
const REFUSED: usize = 1;

/// Addresses of an arena's memory.
struct Reserve {
    /// The first that has not been given to the arena. 0 before there is a reserve.
    free: AtomicUsize,
    /// The same for the allocator's books.
    books: AtomicUsize,
    /// Up to where the thread was told to make pages ready.
    wanted: AtomicUsize,
}

static RESERVES: [Reserve; ARENAS] = [const { Reserve::new() }; ARENAS];

/// Who makes pages ready.
static THREAD: OnceLock<Thread> = OnceLock::new();

/// The allocator's own way of doing these things.
static ITS_OWN: OnceLock<extent_hooks_t> = OnceLock::new();

/// The first address of the reserve that an address is in.
const fn reserve_of(at: usize) -> usize {
    at & !(RESERVE_BYTES - 1)
}

impl Reserve {
    const fn new() -> Reserve {
        let [free, books, wanted] = [const { AtomicUsize::new(0) }; 3];
        Reserve { free, books, wanted }
    }

    /// Takes addresses for the allocator's books.
    fn take_books(&self, size: usize, align: usize) -> Option<usize> {
        if self.free.load(Ordering::Acquire) == 0 {
            self.renew(0);
        }
        let next = |from: usize| {
            let from = from.next_multiple_of(align);
            (from != 0 && reserve_of(from + size) == reserve_of(from)).then_some(from + size)
        };
        let before = self.books.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(before.next_multiple_of(align))
    }

    /// Takes addresses for a piece of an arena's memory; `at` is where it has to be, if not 0.
    fn take(&self, at: usize, size: usize, align: usize) -> Option<usize> {
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            if free == REFUSED || size > PIECE_MAX || align > PIECE_MAX {
                return None;
            }
            let from = free.next_multiple_of(align);
            let fits = free != 0 && from + size <= reserve_of(free) + PIECES_BYTES;
            if at != 0 && (at != from || !fits) {
                return None;
            }
            if !fits {
                free = self.renew(free);
                continue;
            }
            let taken = self.free.compare_exchange_weak(
                free,
                from + size,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match taken {
                Ok(_) => return Some(from),
                Err(now) => free = now,
            }
        }
    }

    /// Another reserve, unless another thread was faster; its first free address.
    fn renew(&self, old: usize) -> usize {
        let new = map_reserve().unwrap_or(REFUSED);
        match self.free.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                if new != REFUSED {
                    self.books.store(new + PIECES_BYTES, Ordering::Release);
                }
                new
            }
            Err(now) => {
                if new != REFUSED {
                    // SAFETY: nobody knows of it.
                    unsafe { libc::munmap(new as *mut c_void, RESERVE_BYTES) };
                }
                now
            }
        }
    }

    /// The arena is about to use its memory up to `end`.
    fn use_up_to(&self, end: usize) {
        let here = reserve_of(end);
        // What it has in a reserve of before says nothing of what comes.
        if here != reserve_of(self.free.load(Ordering::Relaxed)) {
            return;
        }
        let ahead = ((end - here) / AHEAD_SHARE).clamp(AHEAD_MIN, AHEAD_MAX);
        let wanted = (end + ahead).next_multiple_of(HUGE_BYTES).min(here + PIECES_BYTES);
        let before = self.wanted.load(Ordering::Relaxed);
        // Nor does what it uses again.
        if wanted <= before && reserve_of(before) == here {
            return;
        }
        self.wanted.store(wanted, Ordering::Release);
        if let Some(thread) = THREAD.get() {
            thread.unpark();
        }
    }
}

/// New addresses at a multiple of their number, without memory yet.
fn map_reserve() -> Option<usize> {
    // SAFETY: a new mapping at an address that the kernel chooses; what lies outside of the part that
    // is aligned is given back before anyone knows of it. Advice changes nothing that memory holds.
    unsafe {
        let all = libc::mmap(
            ptr::null_mut(),
            2 * RESERVE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if all == libc::MAP_FAILED {
            return None;
        }
        let from = (all as usize).next_multiple_of(RESERVE_BYTES);
        let before = from - all as usize;
        if before > 0 {
            libc::munmap(all, before);
        }
        libc::munmap((from + RESERVE_BYTES) as *mut c_void, RESERVE_BYTES - before);
        let advise = |at: usize, size: usize, advice| {
            libc::madvise(at as *mut c_void, size, advice);
        };
        // Nobody is ahead of who uses it first.
        advise(from, HUGE_BYTES, libc::MADV_NOHUGEPAGE);
        advise(from + HUGE_BYTES, PIECES_BYTES - HUGE_BYTES, libc::MADV_HUGEPAGE);
        advise(from + PIECES_BYTES, BOOKS_BYTES, libc::MADV_NOHUGEPAGE);
        Some(from)
    }
}

unsafe extern "C" fn alloc(
    hooks: *mut extent_hooks_t,
    at: *mut c_void,
    size: usize,
    align: usize,
    zero: *mut bool,
    commit: *mut bool,
    arena: c_uint,
) -> *mut c_void {
    // SAFETY: the allocator's pointer, which lives during the call. It may want the memory committed: a
    // reserve's is ready to be used.
    let committed = unsafe { *commit };
    // Only its books does it want in whole huge pages.
    let is_book = committed && at.is_null() && align == HUGE_BYTES;
    let taken = RESERVES.get(arena as usize).and_then(|reserve| {
        let from = match is_book {
            true => reserve.take_books(size, align),
            false => reserve.take(at as usize, size, align),
        }?;
        if committed && !is_book {
            reserve.use_up_to(from + size);
        }
        Some(from)
    });
    match taken {
        Some(from) => {
            // SAFETY: as above. What a reserve gives is all zeros.
            unsafe { *zero = true };
            from as *mut c_void
        }
        None => match ITS_OWN.get().and_then(|own| own.alloc) {
            // SAFETY: passed on as it came.
            Some(own) => unsafe { own(hooks, at, size, align, zero, commit, arena) },
            None => ptr::null_mut(),
        },
    }
}

unsafe extern "C" fn commit(
    _: *mut extent_hooks_t,
    at: *mut c_void,
    _: usize,
    offset: usize,
    size: usize,
    arena: c_uint,
) -> bool {
    if let Some(reserve) = RESERVES.get(arena as usize) {
        reserve.use_up_to(at as usize + offset + size);
    }
    false
}

unsafe extern "C" fn decommit(
    hooks: *mut extent_hooks_t,
    at: *mut c_void,
    size: usize,
    offset: usize,
    length: usize,
    arena: c_uint,
) -> bool {
    match ITS_OWN.get().and_then(|own| own.purge_forced) {
        // SAFETY: passed on as it came. Its pages are gone then, and zeros when they are used again.
        Some(own) => unsafe { own(hooks, at, size, offset, length, arena) },
        None => true,
    }
}

/// From now on the heap's next pages are made ready by a thread, which runs as long as the process.
/// Where the kernel or the allocator cannot, the heap grows as it would without.
///
/// # Errors
///
/// The thread cannot be started.
pub fn begin() -> std::io::Result<()> {
    let Some(own) = hooks_of(0) else { return Ok(()) };
    if ITS_OWN.set(own).is_err() {
        return Ok(());
    }
    let thread = std::thread::Builder::new().name("heap-ahead".to_owned()).spawn(make_ready)?;
    let _ = THREAD.set(thread.thread().clone());
    let hooks = extent_hooks_t {
        alloc: Some(alloc),
        // Memory stays the arena's.
        dalloc: None,
        commit: Some(commit),
        decommit: Some(decommit),
        ..own
    };
    // The allocator keeps the pointer.
    let hooks: *mut extent_hooks_t = Box::leak(Box::new(hooks));
    let arenas = crate::base::mallctl::number("arenas.narenas", None).unwrap_or(1);
    for arena in 0..arenas.min(ARENAS as u64) {
        set_hooks(arena, hooks);
    }
    Ok(())
}

fn hooks_name(arena: u64) -> CString {
    CString::new(format!("arena.{arena}.extent_hooks")).expect("no zero byte")
}

/// How an arena gets its memory.
fn hooks_of(arena: u64) -> Option<extent_hooks_t> {
    let name = hooks_name(arena);
    let mut hooks: *mut extent_hooks_t = ptr::null_mut();
    let mut size = mem::size_of_val(&hooks);
    // SAFETY: the variable is a pointer to hooks, which live as long as the process.
    unsafe {
        let at = ptr::from_mut(&mut hooks).cast();
        let code = mallctl(name.as_ptr(), at, &mut size, ptr::null_mut(), 0);
        (code == 0 && !hooks.is_null()).then(|| *hooks)
    }
}

fn set_hooks(arena: u64, mut hooks: *mut extent_hooks_t) {
    let name = hooks_name(arena);
    let size = mem::size_of_val(&hooks);
    let at = ptr::from_mut(&mut hooks).cast();
    // SAFETY: the variable is a pointer to hooks, and these live as long as the process. An arena that
    // cannot have them goes on with its own.
    unsafe { mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), at, size) };
}

/// How far the thread is with a reserve.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Up to here pages are ready.
    ready: usize,
    /// The reserve before the present one, which has all it needs.
    left: usize,
}

impl Progress {
    /// The next huge page to make ready.
    fn next(&mut self, wanted: usize) -> Option<usize> {
        let here = reserve_of(wanted);
        if here != reserve_of(self.ready) {
            if here == self.left {
                return None;
            }
            *self = Progress { ready: here + HUGE_BYTES, left: reserve_of(self.ready) };
        }
        (self.ready < wanted).then_some(self.ready)
    }
}

/// The thread: each time it is woken, what is wanted is made ready. But for a reserve's first page,
/// which is one of small pages, it leaves out nothing before that: a table that has just been taken is
/// touched here and there, later, and what is present already costs next to nothing.
fn make_ready() {
    let mut progress = [Progress::default(); ARENAS];
    loop {
        for (reserve, progress) in RESERVES.iter().zip(&mut progress) {
            loop {
                let wanted = reserve.wanted.load(Ordering::Acquire);
                let Some(from) = progress.next(wanted) else { break };
                // SAFETY: the reserve is mapped as long as the process runs. Pages become present; what
                // they hold stays.
                let code = unsafe {
                    libc::madvise(from as *mut c_void, HUGE_BYTES, libc::MADV_POPULATE_WRITE)
                };
                // Where the kernel cannot, or has no memory, who writes there will see.
                progress.ready = if code == 0 { from + HUGE_BYTES } else { wanted };
            }
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};
    use std::time::Duration;

    use super::*;
    use crate::base::clock;
    use crate::base::heap::Heap;

    #[test]
    fn pieces_of_a_reserve_follow_each_other() {
        let reserve = Reserve::new();
        assert_eq!(reserve.take(4096, 4096, 4096), None, "no reserve for a certain place");
        assert_eq!(reserve.free.load(Ordering::Relaxed), 0);
        let first = reserve.take(0, 4096, 4096).unwrap();
        assert_eq!(first, reserve_of(first));
        assert_eq!(reserve.take(0, 8192, 4096), Some(first + 4096));
        assert_eq!(reserve.take(first + 12288, 4096, 4096), Some(first + 12288));
        assert_eq!(reserve.take(first, 4096, 4096), None, "a place that is taken");
        assert_eq!(reserve.take(0, 4096, HUGE_BYTES), Some(first + HUGE_BYTES));
        assert_eq!(reserve.take(0, PIECE_MAX + 1, 4096), None);
        // The memory is there, and all zeros.
        // SAFETY: the piece was taken here and nobody else has it.
        unsafe {
            let at = (first + 4096) as *mut u8;
            assert_eq!((at.read(), at.add(8191).read()), (0, 0));
            at.write(7);
            assert_eq!(at.read(), 7);
        }
    }

    #[test]
    fn a_full_reserve_is_followed_by_another() {
        let reserve = Reserve::new();
        let first = reserve.take(0, PIECE_MAX, 4096).unwrap();
        let mut last = first;
        while reserve_of(last) == first {
            assert!(last - first <= RESERVE_BYTES - PIECE_MAX);
            last = reserve.take(0, PIECE_MAX, 4096).unwrap();
        }
        assert_eq!(last, reserve_of(last));
    }

    #[test]
    fn more_is_wanted_as_an_arena_grows_and_nothing_when_it_uses_memory_again() {
        let reserve = Reserve::new();
        let first = reserve.take(0, 4096, 4096).unwrap();
        let wanted = || reserve.wanted.load(Ordering::Relaxed) - first;
        let used = |bytes: usize| {
            reserve.use_up_to(first + bytes);
            wanted()
        };
        assert_eq!(used(HUGE_BYTES - AHEAD_MIN), HUGE_BYTES, "the page it is in");
        assert_eq!(used(HUGE_BYTES - AHEAD_MIN + 1), 2 * HUGE_BYTES);
        assert_eq!(used(128 * HUGE_BYTES + 1), 130 * HUGE_BYTES);
        assert_eq!(used(1 << 30), (1 << 30) + AHEAD_MAX);
        assert_eq!(used(HUGE_BYTES), (1 << 30) + AHEAD_MAX, "what it uses again");
        assert_eq!(used(PIECES_BYTES - 1), PIECES_BYTES);
        assert_eq!(used(2 * RESERVE_BYTES), PIECES_BYTES, "not in its reserve");
    }

    #[test]
    fn books_are_apart() {
        let reserve = Reserve::new();
        let books = reserve.take_books(HUGE_BYTES, HUGE_BYTES).unwrap();
        assert_eq!(books - reserve_of(books), PIECES_BYTES);
        let first = reserve.take(0, HUGE_BYTES, 4096).unwrap();
        assert_eq!(first, reserve_of(books));
        assert_eq!(reserve.take_books(4 << 20, HUGE_BYTES), Some(books + HUGE_BYTES));
        assert_eq!(reserve.take(0, 4096, 4096), Some(first + HUGE_BYTES), "the next piece");
        assert_eq!(reserve.take_books(BOOKS_BYTES, HUGE_BYTES), None, "no room");
        // Another reserve has books of its own.
        while reserve_of(reserve.take(0, PIECE_MAX, 4096).unwrap()) == first {}
        let others = reserve.take_books(HUGE_BYTES, HUGE_BYTES).unwrap();
        assert_eq!(others - reserve_of(others), PIECES_BYTES);
        assert_ne!(reserve_of(others), first);
    }

    #[test]
    fn a_reserve_is_made_ready_from_its_second_page_on_and_never_again() {
        let (one, other) = (RESERVE_BYTES, 5 * RESERVE_BYTES);
        let mut progress = Progress::default();
        assert_eq!(progress.next(0), None);
        assert_eq!(progress.next(other + HUGE_BYTES), None);
        assert_eq!(progress.next(other + 2 * HUGE_BYTES), Some(other + HUGE_BYTES));
        progress.ready = other + 2 * HUGE_BYTES;
        assert_eq!(progress.next(other + 2 * HUGE_BYTES), None);
        assert_eq!(progress.next(other + 3 * HUGE_BYTES), Some(other + 2 * HUGE_BYTES));
        assert_eq!(progress.next(one + 2 * HUGE_BYTES), Some(one + HUGE_BYTES));
        assert_eq!(progress.next(other + 9 * HUGE_BYTES), None, "told too late");
        assert_eq!(progress.next(one + 2 * HUGE_BYTES), Some(one + HUGE_BYTES));
    }

    #[test]
    fn memory_in_front_of_the_heap_becomes_present() {
        begin().unwrap();
        let present = |at: usize| {
            let mut page = 0u8;
            // SAFETY: the kernel writes one byte for the one page.
            let code = unsafe { libc::mincore(at as *mut c_void, 4096, &raw mut page) };
            code == 0 && page & 1 == 1
        };
        // Small enough for an arena, not for a mapping of its own.
        let layout = Layout::from_size_align(1 << 20, 8).unwrap();
        let fill = |byte: u8| {
            // SAFETY: the layout has a size, and the block is used within it.
            unsafe {
                let block = Heap.alloc(layout);
                block.write_bytes(byte, layout.size());
                block
            }
        };
        let blocks: Vec<*mut u8> = (0..64).map(fill).collect();
        // Other arenas may use no more than their first page, which nobody makes ready.
        let wanted = RESERVES.iter().map(|one| one.wanted.load(Ordering::Relaxed));
        let wanted = wanted.filter(|at| at - reserve_of(*at) > HUGE_BYTES).max().unwrap();
        let end = clock::steady() + Duration::from_secs(20);
        while !present(wanted - 4096) {
            assert!(clock::steady() < end, "{wanted:x} is not made ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        for (byte, block) in (0..).zip(blocks) {
            // SAFETY: as above; each block is given back once.
            unsafe {
                let bytes = std::slice::from_raw_parts(block, layout.size());
                assert!(bytes.iter().all(|found| *found == byte));
                Heap.dealloc(block, layout);
            }
        }
    }
}
