//! DEBUG RELOAD and LOADAOF: the files as the server would find them at its next start.

use std::sync::atomic::Ordering;

use crate::base::glob;
use crate::base::num::parse_u64;
use crate::config::value::memory;
use crate::ds::quicklist::PACKED_THRESHOLD;
use crate::engine::context::AdminCtx;
use crate::engine::loading::{self, Duplicates};
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// The longest text that STRINGMATCH-LEN matches against.
const MATCH_BYTES_MAX: u64 = 64 << 20;

/// DEBUG RELOAD \[MERGE\] \[NOFLUSH\] \[NOSAVE\]
pub(super) fn reload(ax: &mut AdminCtx) -> CmdResult {
    let (mut save, mut flush, mut duplicates) = (true, true, Duplicates::Refuse);
    while let Some(word) = ax.cx.args.peek() {
        match word.to_ascii_lowercase().as_slice() {
            b"merge" => duplicates = Duplicates::Replace,
            b"noflush" => flush = false,
            b"nosave" => save = false,
            _ => {
                return Err(CmdError::err(
                    "DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
        ax.cx.args.bytes()?;
    }
    let core = ax.core;
    let reloaded = loading::reload(core, ax.cx.db.hold(), save, flush, duplicates);
    reloaded.map_err(|error| {
        tracing::warn!("DEBUG RELOAD: {error}");
        CmdError::err("Error trying to load the RDB dump, check server logs")
    })?;
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    Ok(ax.cx.reply.ok())
}

/// DEBUG LOADAOF. Lets go of the shards: the log is replayed through the path that clients take.
pub(super) fn loadaof(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.db.hold().release();
    loading::reload_aof(ax.core).map_err(|error| {
        tracing::warn!("DEBUG LOADAOF: {error}");
        CmdError::err("Error trying to load the AOF files, check server logs")
    })?;
    tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
    Ok(ax.cx.reply.ok())
}

/// DEBUG QUICKLIST-PACKED-THRESHOLD size: elements of that size get nodes of their own.
pub(super) fn packed_threshold(ax: &mut AdminCtx) -> CmdResult {
    let bytes = memory(ax.cx.args.bytes()?).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or(CmdError::Const(
        "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
    ))?;
    PACKED_THRESHOLD.store(bytes, Ordering::Relaxed);
    Ok(ax.cx.reply.ok())
}

/// DEBUG STRINGMATCH-LEN length pattern: matches a text of that many `a`.
pub(super) fn stringmatch_len(ax: &mut AdminCtx) -> CmdResult {
    let len = parse_u64(ax.cx.args.bytes()?).filter(|len| *len <= MATCH_BYTES_MAX);
    let len = len.ok_or(CmdError::OutOfRange)?;
    let pattern = ax.cx.args.bytes()?;
    let text = vec![b'a'; len as usize];
    Ok(ax.cx.reply.flag(glob::matches(pattern, &text)))
}
