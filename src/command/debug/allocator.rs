//! DEBUG MALLCTL and MALLCTL-STR: what the allocator says of itself, and what it lets itself be told.

use nix::errno::Errno;

use crate::base::mallctl;
use crate::base::num::parse_i64;
use crate::engine::context::AdminCtx;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// The value that stands for none where something is to be done.
const VOID: &[u8] = b"VOID";

fn failure(error: &std::io::Error) -> CmdError {
    CmdError::err(Errno::from_raw(error.raw_os_error().unwrap_or(0)).desc())
}

fn name(ax: &mut AdminCtx) -> Result<String, CmdError> {
    Ok(String::from_utf8_lossy(ax.cx.args.bytes()?).into_owned())
}

/// DEBUG MALLCTL key \[value\]: a number, and what it was before.
pub(super) fn number(ax: &mut AdminCtx) -> CmdResult {
    let name = name(ax)?;
    let new = match ax.cx.args.is_done() {
        true => None,
        false => Some(parse_i64(ax.cx.args.bytes()?).ok_or(CmdError::NotInteger)?),
    };
    let old = mallctl::number(&name, new.map(|new| new as u64)).map_err(|error| failure(&error))?;
    Ok(ax.cx.reply.int(old as i64))
}

/// DEBUG MALLCTL-STR key \[value\]: a text, or with VOID something that is done.
pub(super) fn text(ax: &mut AdminCtx) -> CmdResult {
    let name = name(ax)?;
    let new = ax.cx.args.bytes().ok();
    if new == Some(VOID) {
        mallctl::deed(&name).map_err(|error| failure(&error))?;
        return Ok(ax.cx.reply.ok());
    }
    let text = mallctl::text(&name, new).map_err(|error| failure(&error))?;
    Ok(ax.cx.reply.bulk(&text))
}
