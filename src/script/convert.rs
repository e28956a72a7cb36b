//! Replies of commands into Lua values, and Lua values into replies.

use std::ffi::c_int;

use crate::base::num::parse_f64;
use crate::base::text::shown_to_zero;
use crate::resp::reply::{Protocol, Reply};
use crate::script::raw::{Kind, Stack};

/// How deep a returned table may nest.
const DEPTH_MAX: usize = 1000;

/// How deep a reply may nest.
const REPLY_DEPTH_MAX: usize = 200;

/// Pushes the first reply of `bytes`; what is behind it. `None` when the bytes are no reply, which
/// does not happen with our own.
pub(super) fn push_reply(stack: Stack, bytes: &[u8], depth: usize) -> Option<&[u8]> {
    if depth > REPLY_DEPTH_MAX || !stack.has_room(6) {
        return None;
    }
    let end = memchr::memchr(b'\r', bytes)?;
    let (line, rest) = (bytes.get(1..end)?, bytes.get(end + 2..)?);
    match *bytes.first()? {
        b':' => stack.push_number(integer(line)? as f64),
        b'+' => push_field(stack, "ok", line),
        b'-' => {
            push_field(stack, "err", line);
            stack.push_bool(true);
            stack.set(-2, "ignore_error_stats_update");
        }
        b'$' => {
            let Ok(len) = usize::try_from(integer(line)?) else {
                stack.push_bool(false);
                return Some(rest);
            };
            stack.push(rest.get(..len)?);
            return rest.get(len + 2..);
        }
        b'*' => return push_array(stack, integer(line)?, rest, depth),
        b'%' => return push_map(stack, integer(line)?, rest, depth),
        b'~' => return push_set(stack, integer(line)?, rest, depth),
        b'|' => {
            let rest = push_map(stack, integer(line)?, rest, depth)?;
            stack.pop(1);
            return push_reply(stack, rest, depth);
        }
        b'_' => stack.push_nil(),
        b'#' => stack.push_bool(line == b"t"),
        b',' => {
            stack.push_table(0, 1);
            stack.push_number(parse_f64(line).unwrap_or(f64::NAN));
            stack.set(-2, "double");
        }
        b'(' => push_field(stack, "big_number", line),
        b'=' => {
            let len = usize::try_from(integer(line)?).ok()?;
            let (format, text) = rest.get(..len)?.split_at_checked(4)?;
            stack.push_table(0, 1);
            stack.push_table(0, 2);
            stack.push(text);
            stack.set(-2, "string");
            stack.push(&format[..3]);
            stack.set(-2, "format");
            stack.set(-2, "verbatim_string");
            return rest.get(len + 2..);
        }
        _ => return None,
    }
    Some(rest)
}

fn integer(line: &[u8]) -> Option<i64> {
    crate::base::num::parse_i64(line)
}

fn push_field(stack: Stack, field: &str, line: &[u8]) {
    stack.push_table(0, 2);
    stack.push(line);
    stack.set(-2, field);
}

fn push_array(stack: Stack, len: i64, bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let Ok(len) = c_int::try_from(len.max(-1)) else { return None };
    if len < 0 {
        stack.push_bool(false);
        return Some(bytes);
    }
    stack.push_table(len as usize, 0);
    let mut rest = bytes;
    for index in 1..=len {
        rest = push_reply(stack, rest, depth + 1)?;
        stack.set_index(-2, index);
    }
    Some(rest)
}

fn push_map(stack: Stack, pairs: i64, bytes: &[u8], depth: usize) -> Option<&[u8]> {
    stack.push_table(0, 1);
    stack.push_table(0, pairs.max(0) as usize);
    let mut rest = bytes;
    for _ in 0..pairs {
        rest = push_reply(stack, rest, depth + 1)?;
        rest = push_reply(stack, rest, depth + 1)?;
        stack.set_pair(-3);
    }
    stack.set(-2, "map");
    Some(rest)
}

fn push_set(stack: Stack, len: i64, bytes: &[u8], depth: usize) -> Option<&[u8]> {
    stack.push_table(0, 1);
    stack.push_table(0, len.max(0) as usize);
    let mut rest = bytes;
    for _ in 0..len {
        rest = push_reply(stack, rest, depth + 1)?;
        stack.push_bool(true);
        stack.set_pair(-3);
    }
    stack.set(-2, "set");
    Some(rest)
}

/// An error that a script has returned.
pub struct Returned {
    /// The line.
    pub text: String,
    /// Whether it is counted already: a command's own.
    pub is_counted: bool,
}

/// The error on top of the stack, if it is one: a table with `err`.
pub(super) fn error_on_top(stack: Stack) -> Option<Returned> {
    if stack.kind(-1) != Kind::Table || !stack.has_room(4) {
        return None;
    }
    stack.get(-1, "err");
    let is_error = stack.kind(-1) == Kind::String;
    let text = is_error.then(|| stack.text(-1).map(shown_to_zero)).flatten();
    stack.pop(1);
    let text = text?;
    stack.get(-1, "ignore_error_stats_update");
    let is_counted = stack.truth(-1);
    stack.pop(1);
    Some(Returned { text, is_counted })
}

/// Answers with the value on top of the stack, and removes it. `script` is the version of the
/// protocol that the script has asked for.
pub(super) fn answer(stack: Stack, reply: &mut Reply, script: Protocol, depth: usize) {
    if depth > DEPTH_MAX || !stack.has_room(6) {
        let _ = reply.error_line("ERR reached lua stack limit");
        stack.pop(1);
        return;
    }
    let _ = match stack.kind(-1) {
        Kind::String => reply.bulk(stack.text(-1).unwrap_or_default()),
        Kind::Number => reply.int(integer_of(stack.number(-1).unwrap_or_default())),
        Kind::Boolean => match (script, stack.truth(-1)) {
            (Protocol::Resp3, yes) => reply.bool(yes),
            (Protocol::Resp2, true) => reply.int(1),
            (Protocol::Resp2, false) => reply.null(),
        },
        Kind::Table => {
            answer_table(stack, reply, script, depth);
            reply.done()
        }
        _ => reply.null(),
    };
    stack.pop(1);
}

/// A number without its fraction; what 64 bits do not hold is what processors make of it.
fn integer_of(number: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&number) { number as i64 } else { i64::MIN }
}

/// Pushes a field; whether it is of that kind. What is not is removed.
fn has(stack: Stack, field: &str, kind: Kind) -> bool {
    stack.get(-1, field);
    let found = stack.kind(-1) == kind;
    if !found {
        stack.pop(1);
    }
    found
}

fn in_one_line(stack: Stack) -> String {
    let text = shown_to_zero(stack.text(-1).unwrap_or_default());
    let text = text.replace(['\r', '\n'], " ");
    stack.pop(1);
    text
}

fn answer_table(stack: Stack, reply: &mut Reply, script: Protocol, depth: usize) {
    if has(stack, "err", Kind::String) {
        let _ = reply.error_line(&in_one_line(stack));
    } else if has(stack, "ok", Kind::String) {
        let _ = reply.simple(&in_one_line(stack));
    } else if has(stack, "double", Kind::Number) {
        let _ = reply.double(stack.number(-1).unwrap_or_default());
        stack.pop(1);
    } else if has(stack, "map", Kind::Table) {
        answer_pairs(stack, reply, script, depth, true);
    } else if has(stack, "set", Kind::Table) {
        answer_pairs(stack, reply, script, depth, false);
    } else if has(stack, "big_number", Kind::String) {
        let _ = reply.big_number(&in_one_line(stack));
    } else if has(stack, "verbatim_string", Kind::Table) {
        answer_verbatim(stack, reply);
    } else {
        let mut len = 0;
        loop {
            stack.get_index(-1, len + 1);
            let is_end = stack.kind(-1) == Kind::Nil;
            stack.pop(1);
            if is_end {
                break;
            }
            len += 1;
        }
        reply.array(len as usize);
        for index in 1..=len {
            stack.get_index(-1, index);
            answer(stack, reply, script, depth + 1);
        }
    }
}

/// The table on top as a map or as the set of its keys.
fn answer_pairs(stack: Stack, reply: &mut Reply, script: Protocol, depth: usize, is_map: bool) {
    let mut count = 0;
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        count += 1;
    }
    match is_map {
        true => reply.map(count),
        false => reply.set(count),
    }
    stack.push_nil();
    while stack.next(-2) {
        stack.push_value(-2);
        answer(stack, reply, script, depth + 1);
        match is_map {
            true => answer(stack, reply, script, depth + 1),
            false => stack.pop(1),
        }
    }
    stack.pop(1);
}

fn answer_verbatim(stack: Stack, reply: &mut Reply) {
    stack.get(-1, "format");
    let format = String::from_utf8_lossy(stack.text(-1).unwrap_or_default()).into_owned();
    stack.pop(1);
    stack.get(-1, "string");
    let format: String =
        format.chars().filter(char::is_ascii_graphic).chain("   ".chars()).collect();
    let _ = reply.verbatim(&format[..3], stack.text(-1).unwrap_or_default());
    stack.pop(2);
}
