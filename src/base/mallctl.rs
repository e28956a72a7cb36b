//! The allocator's own variables, by their names: see its manual.
#![allow(unsafe_code)] // mallctl reads and writes through pointers.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::ptr;

/// Variables that are texts, beside `arena.<i>.dss`.
const TEXTS: &[&str] = &[
    "version",
    "config.malloc_conf",
    "opt.dss",
    "opt.junk",
    "opt.metadata_thp",
    "opt.percpu_arena",
    "opt.stats_interval_opts",
    "opt.stats_print_opts",
    "opt.thp",
    "opt.zero_realloc",
];
/// Numbers that may be written, beside those of an arena.
const WRITABLE: &[&str] = &[
    "arenas.dirty_decay_ms",
    "arenas.muzzy_decay_ms",
    "background_thread",
    "epoch",
    "max_background_threads",
    "thread.tcache.enabled",
];
const WRITABLE_OF_ARENAS: &[&str] = &["dirty_decay_ms", "muzzy_decay_ms", "retain_grow_limit"];
/// What does something and has no value.
const DEEDS: &[&str] = &["thread.tcache.flush", "thread.idle"];
const DEEDS_OF_ARENAS: &[&str] = &["decay", "purge"];
/// Texts that may be chosen as `dss`.
const DSS: &[&CStr] = &[c"disabled", c"primary", c"secondary"];
/// Bytes a number may have, in the order in which they are tried.
const WIDTHS: [usize; 3] = [8, 4, 1];

/// Whether a name is one of `whole`, or `arena.<number>.` and one of `of_arenas`.
fn is_one_of(name: &str, whole: &[&str], of_arenas: &[&str]) -> bool {
    let of_arena = name.strip_prefix("arena.").and_then(|rest| rest.split_once('.'));
    whole.contains(&name)
        || of_arena.is_some_and(|(number, rest)| {
            number.bytes().all(|byte| byte.is_ascii_digit()) && of_arenas.contains(&rest)
        })
}

fn answer(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

fn named(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))
}

/// The number of that name, which becomes `new` if there is one. A number that is not known to be
/// harmless is not written.
pub fn number(name: &str, new: Option<u64>) -> io::Result<u64> {
    let c_name = named(name)?;
    if new.is_some() && !is_one_of(name, WRITABLE, WRITABLE_OF_ARENAS) {
        // One that is not there is told as such.
        number(name, None)?;
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    for width in WIDTHS {
        let (mut old, mut len, mut new) = (0u64, width, new);
        let (new_at, new_len) = match &mut new {
            Some(new) => (ptr::from_mut(new).cast::<c_void>(), width),
            None => (ptr::null_mut(), 0),
        };
        // SAFETY: the name ends with a zero; both buffers have eight bytes, of which `width` are used,
        // and live during the call. What is written is a number.
        let code = unsafe {
            let old = ptr::from_mut(&mut old).cast::<c_void>();
            tikv_jemalloc_sys::mallctl(c_name.as_ptr(), old, &mut len, new_at, new_len)
        };
        // The width is another one.
        if code != libc::EINVAL {
            return answer(code).map(|()| old);
        }
    }
    answer(libc::EINVAL).map(|()| 0)
}

/// The text of that name, which becomes `new` if there is one and the name is that of an arena's `dss`.
pub fn text(name: &str, new: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let c_name = named(name)?;
    if !is_one_of(name, TEXTS, &["dss"]) {
        number(name, None)?;
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let chosen = match new {
        None => None,
        Some(_) if TEXTS.contains(&name) => {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Some(new) => {
            let known = DSS.iter().find(|known| known.to_bytes() == new);
            Some(known.ok_or(io::Error::from_raw_os_error(libc::EINVAL))?.as_ptr())
        }
    };
    let mut old = ptr::null::<c_char>();
    let mut len = size_of::<*const c_char>();
    let mut chosen = chosen;
    let (new_at, new_len) = match &mut chosen {
        Some(chosen) => (ptr::from_mut(chosen).cast::<c_void>(), len),
        None => (ptr::null_mut(), 0),
    };
    // SAFETY: the names here stand for pointers to texts that end with a zero and stay as they are;
    // both buffers hold such a pointer.
    unsafe {
        let old_at = ptr::from_mut(&mut old).cast::<c_void>();
        let code = tikv_jemalloc_sys::mallctl(c_name.as_ptr(), old_at, &mut len, new_at, new_len);
        answer(code)?;
        Ok(if old.is_null() { Vec::new() } else { CStr::from_ptr(old).to_bytes().to_vec() })
    }
}

/// Does what has a name and no value.
pub fn deed(name: &str) -> io::Result<()> {
    let c_name = named(name)?;
    if !is_one_of(name, DEEDS, DEEDS_OF_ARENAS) {
        number(name, None)?;
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let (nothing, no_length) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the name ends with a zero, and these neither read nor write values.
    answer(unsafe {
        tikv_jemalloc_sys::mallctl(c_name.as_ptr(), nothing, no_length, ptr::null_mut(), 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
        result.unwrap_err().raw_os_error()
    }

    #[test]
    fn numbers_of_each_width_are_read_and_harmless_ones_written() {
        assert_eq!(number("arenas.page", None).unwrap() % 4096, 0);
        assert!(number("opt.narenas", None).unwrap() > 0);
        assert!(number("config.debug", None).unwrap() <= 1);
        let before = number("arenas.muzzy_decay_ms", Some(7)).unwrap();
        assert_eq!(number("arenas.muzzy_decay_ms", Some(before)).unwrap(), 7);
        assert_eq!(code(number("nonsense", None)), Some(libc::ENOENT));
        assert_eq!(code(number("nonsense", Some(1))), Some(libc::ENOENT));
        assert_eq!(code(number("a\0b", None)), Some(libc::ENOENT));
        assert_eq!(code(number("opt.narenas", Some(1))), Some(libc::EPERM));
        assert_eq!(code(number("arena.0.extent_hooks", Some(1))), Some(libc::EPERM));
    }

    #[test]
    fn texts_are_read_and_numbers_are_none() {
        assert!(text("version", None).unwrap().starts_with(b"5."));
        assert_eq!(text("arena.0.dss", Some(b"secondary")).unwrap(), b"secondary");
        assert_eq!(code(text("arena.0.dss", Some(b"elsewhere"))), Some(libc::EINVAL));
        assert_eq!(code(text("stats.allocated", None)), Some(libc::EINVAL));
        assert_eq!(code(text("version", Some(b"6"))), Some(libc::EPERM));
        assert_eq!(code(text("nonsense", None)), Some(libc::ENOENT));
        deed("thread.tcache.flush").unwrap();
        assert_eq!(code(deed("arena.0.destroy")), Some(libc::EPERM));
    }
}
