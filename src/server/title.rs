//! The title of the process, as `ps` shows it: written over the arguments it was started with.
//!
//! The kernel shows what stands where it has put the arguments, and goes on to the environment behind
//! them when the last byte of the arguments is none of zero. `reserve` moves the environment away while
//! there is one thread; from then on nobody else uses that memory.
#![allow(unsafe_code)] // The memory of the arguments and the environment.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::config::Config;

/// Where the fields of /proc/self/stat about that memory begin, behind the name.
const STAT_ARG_START: usize = 45;

/// The memory of the title.
struct Room {
    at: *mut u8,
    bytes: usize,
}

// SAFETY: the memory belongs to whoever holds the room, and stays as long as the process.
unsafe impl Send for Room {}

/// What does not change while the process runs.
struct Title {
    /// The name the process was started by.
    name: Vec<u8>,
    room: Mutex<Room>,
}

static TITLE: OnceLock<Title> = OnceLock::new();

unsafe extern "C" {
    /// The C library's list of the variables of the environment; a null pointer ends it.
    static mut environ: *mut *mut c_char;
}

/// Makes the memory of arguments and environment free for titles. Nothing happens where the kernel
/// does not tell where that is, and where there are other threads already.
#[expect(clippy::disallowed_methods)] // The last to read the arguments where they are.
pub fn reserve() {
    if std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) != 1 {
        return;
    }
    let name = std::env::args_os().next().map_or_else(Vec::new, |name| name.into_encoded_bytes());
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some([start, arguments_end, environment, end]) = places(&stat) else { return };
    let end = if environment == arguments_end { end } else { arguments_end };
    // SAFETY: there is no other thread to change the list. Each variable is a string that lives as long
    // as the process, and so does its copy, which takes its place.
    unsafe {
        let mut variable = environ;
        while !variable.is_null() && !(*variable).is_null() {
            if (start..end).contains(&(*variable).addr()) {
                let copy = CStr::from_ptr(*variable).to_owned();
                *variable = copy.into_raw();
            }
            variable = variable.add(1);
        }
    }
    let room = Mutex::new(Room { at: ptr::with_exposed_provenance_mut(start), bytes: end - start });
    let _ = TITLE.set(Title { name, room });
}

/// The four addresses: where the arguments begin and end, and the environment.
fn places(stat: &str) -> Option<[usize; 4]> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_ascii_whitespace().skip(STAT_ARG_START).take(4);
    let places: Vec<usize> = fields.filter_map(|field| field.parse().ok()).collect();
    let places: [usize; 4] = places.try_into().ok()?;
    (places[0] > 0 && places.is_sorted() && places[0] < places[1]).then_some(places)
}

/// Shows what the configuration says.
pub fn show(config: &Config, config_file: Option<&Path>) {
    let Some(title) = TITLE.get().filter(|_| config.set_proc_title) else { return };
    let text = expanded(config, &title.name, config_file);
    let text: Vec<u8> = text.into_iter().filter(|byte| *byte != 0).collect();
    let room = title.room.lock();
    let len = text.len().min(room.bytes.saturating_sub(1));
    // SAFETY: the kernel has mapped that memory for the process to write to, `reserve` has made it
    // free, and the lock keeps other titles out. The text fits, and is not part of it.
    unsafe {
        ptr::write_bytes(room.at, 0, room.bytes);
        ptr::copy_nonoverlapping(text.as_ptr(), room.at, len);
    }
}

/// The template with the values of its variables.
fn expanded(config: &Config, name: &[u8], config_file: Option<&Path>) -> Vec<u8> {
    let file = config_file.map(|path| path.as_os_str().as_encoded_bytes());
    let value = |variable: &[u8]| -> Cow<'_, [u8]> {
        match variable {
            b"title" => name.into(),
            b"listen-addr" => address(config).into(),
            b"port" => config.port.to_string().into_bytes().into(),
            b"tls-port" => config.tls_port.to_string().into_bytes().into(),
            b"unixsocket" => config.unixsocket.as_bytes().into(),
            b"config-file" => file.unwrap_or(b"-").into(),
            // `server-mode` is that of a cluster or of Sentinel.
            _ => Cow::default(),
        }
    };
    let mut text = Vec::new();
    let mut rest = config.proc_title_template.as_bytes();
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        text.extend_from_slice(&rest[..open]);
        let variable = &rest[open + 1..];
        let close = variable.iter().position(|byte| *byte == b'}').unwrap_or(variable.len());
        text.extend_from_slice(&value(&variable[..close]));
        rest = variable.get(close + 1..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
    text.trim_ascii().to_vec()
}

/// The first address that is listened on.
fn address(config: &Config) -> Vec<u8> {
    match (config.port, config.tls_port) {
        (0, 0) if config.unixsocket.is_empty() => Vec::new(),
        (0, 0) => [b"unixsocket:", config.unixsocket.as_bytes()].concat(),
        (plain, tls) => {
            let port = if tls == 0 { plain } else { tls };
            let host = config.bind.first().map_or("*", String::as_str);
            format!("{host}:{port}").into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[(&[u8], &[u8])], file: Option<&str>) -> String {
        let config = crate::config::set(&Config::default(), words, crate::config::When::Startup);
        let text = expanded(&config.unwrap(), b"rekeep", file.map(Path::new));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn titles_say_what_the_template_asks_for() {
        assert_eq!(shown(&[], None), "rekeep *:6379");
        assert_eq!(
            shown(&[(b"bind", b"127.0.0.1 -::1"), (b"port", b"7")], None),
            "rekeep 127.0.0.1:7"
        );
        let socket: (&[u8], &[u8]) = (b"unixsocket", b"/run/r.sock");
        assert_eq!(shown(&[(b"port", b"0"), socket], None), "rekeep unixsocket:/run/r.sock");
        let all = b"A {title} {server-mode}{port} {tls-port} {unixsocket} {config-file} ";
        let all: (&[u8], &[u8]) = (b"proc-title-template", all);
        assert_eq!(shown(&[all, socket], Some("/r.conf")), "A rekeep 6379 0 /run/r.sock /r.conf");
        assert_eq!(shown(&[all], None), "A rekeep 6379 0  -");
    }

    #[test]
    fn places_are_read_behind_a_name_that_holds_anything() {
        let numbers = |from: usize| (from..from + 52).map(|n| format!(" {n}")).collect::<String>();
        assert_eq!(places(&format!("1 (a) b){}", numbers(3))), Some([48, 49, 50, 51]));
        assert_eq!(places(&format!("1 (x) S{}", " 0".repeat(50))), None);
        assert_eq!(places("1 (x) S 4"), None);
    }
}
