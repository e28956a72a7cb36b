//! Replies of commands into Lua values, and Lua values into replies.

use mlua::{Lua, Table, Value};

use crate::resp::reply::Reply;

/// How deep a returned table may nest.
const DEPTH_MAX: usize = 100;

/// The first reply of `bytes` (RESP2) as a Lua value, and what is behind it. `None` when the bytes
/// are no reply, which does not happen with our own.
pub fn to_lua<'b>(lua: &Lua, bytes: &'b [u8]) -> Option<(mlua::Result<Value>, &'b [u8])> {
    let end = memchr::memchr(b'\r', bytes)?;
    let (line, rest) = (bytes.get(1..end)?, bytes.get(end + 2..)?);
    let number = || std::str::from_utf8(line).ok()?.parse::<i64>().ok();
    match *bytes.first()? {
        b':' => Some((Ok(Value::Number(number()? as f64)), rest)),
        b'+' => Some((status(lua, "ok", line), rest)),
        b'-' => Some((status(lua, "err", line), rest)),
        b'$' => {
            let Ok(len) = usize::try_from(number()?) else {
                return Some((Ok(Value::Boolean(false)), rest));
            };
            let string = lua.create_string(rest.get(..len)?).map(Value::String);
            Some((string, rest.get(len + 2..)?))
        }
        b'*' => {
            let Ok(len) = usize::try_from(number()?) else {
                return Some((Ok(Value::Boolean(false)), rest));
            };
            let table = match lua.create_table_with_capacity(len.min(1 << 16), 0) {
                Ok(table) => table,
                Err(error) => return Some((Err(error), rest)),
            };
            let mut rest = rest;
            for index in 1..=len {
                let (element, behind) = to_lua(lua, rest)?;
                rest = behind;
                if let Err(error) = element.and_then(|element| table.raw_set(index, element)) {
                    return Some((Err(error), rest));
                }
            }
            Some((Ok(Value::Table(table)), rest))
        }
        _ => None,
    }
}

fn status(lua: &Lua, field: &str, line: &[u8]) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(field, lua.create_string(line)?)?;
    Ok(Value::Table(table))
}

/// Answers with what a script returned.
pub fn to_reply(value: &Value, reply: &mut Reply, depth: usize) -> mlua::Result<()> {
    if depth > DEPTH_MAX {
        let _ = reply.error_line("ERR reached lua stack limit");
        return Ok(());
    }
    let _ = match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Integer(number) => reply.int(*number),
        Value::Number(number) => reply.int(*number as i64),
        Value::Boolean(true) => reply.int(1),
        Value::Table(table) => return table_to_reply(table, reply, depth),
        _ => reply.null(),
    };
    Ok(())
}

fn table_to_reply(table: &Table, reply: &mut Reply, depth: usize) -> mlua::Result<()> {
    if let Value::String(text) = table.raw_get::<Value>("err")? {
        let _ = reply.error_line(&text.to_string_lossy());
        return Ok(());
    }
    if let Value::String(text) = table.raw_get::<Value>("ok")? {
        let line = text.to_string_lossy().replace(['\r', '\n'], " ");
        let _ = reply.simple(&line);
        return Ok(());
    }
    let opened = reply.open();
    let mut len = 0;
    loop {
        let element: Value = table.raw_get(len + 1)?;
        if element.is_nil() {
            break;
        }
        to_reply(&element, reply, depth + 1)?;
        len += 1;
    }
    let _ = reply.close_array(opened, len);
    Ok(())
}
