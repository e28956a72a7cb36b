//! DEBUG OBJECT, HTSTATS and HTSTATS-KEY: how things lie in memory.

use std::fmt::Write as _;

use crate::engine::context::AdminCtx;
use crate::keyspace::entry::{Entry, Held};
use crate::persist::rdb::encode::dump;
use crate::persist::rdb::format::VERSION_DUMP;
use crate::persist::rdb::writer::Compression;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::ValueRef;

/// Type before and version with checksum behind the value in a DUMP.
const DUMP_FRAME_BYTES: usize = 11;
/// Access times are kept in 24 bits.
const ACCESS_MASK: u32 = (1 << 24) - 1;

/// Bytes the value takes in a snapshot.
fn serialized_bytes(entry: &Entry) -> usize {
    let dumped = match entry.held() {
        Held::Text(text) => {
            text.with(|bytes| dump(ValueRef::Str(bytes), VERSION_DUMP, Compression::Lzf))
        }
        Held::Value(value) => dump(value, VERSION_DUMP, Compression::Lzf),
    };
    dumped.len() - DUMP_FRAME_BYTES
}

/// DEBUG OBJECT key
pub(super) fn object(ax: &mut AdminCtx) -> CmdResult {
    let key = ax.cx.args.bytes()?;
    let now = ax.cx.now.secs() as u32;
    let entry = &*ax.cx.db.entry_raw(key).ok_or(CmdError::NoSuchKey)?;
    let idle = now.wrapping_sub(entry.access()) & ACCESS_MASK;
    let mut text = format!(
        "Value at:{:#x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{idle}",
        entry.address(),
        entry.encoding(),
        serialized_bytes(entry),
        entry.access(),
    );
    if let Held::Value(ValueRef::List(list)) = entry.held()
        && let Some(quicklist) = list.quicklist()
    {
        let nodes = quicklist.node_count();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:0 ql_compressed:{} \
             ql_uncompressed_size:{}",
            list.len() as f64 / nodes.max(1) as f64,
            u8::from(quicklist.compress_depth() != 0),
            list.memory_bytes(),
        );
    }
    Ok(ax.cx.reply.simple(&text))
}

fn table_text(name: &str, elements: usize) -> String {
    format!(
        "{name}\nHash table 0 stats (main hash table):\n table size: {}\n number of elements: {}\n",
        elements.next_power_of_two().max(4),
        elements
    )
}

/// DEBUG HTSTATS dbid
pub(super) fn htstats(ax: &mut AdminCtx) -> CmdResult {
    let db = ax.cx.args.i64()?;
    let databases = i64::from(ax.core.config.load().databases);
    let db = u32::try_from(db).ok().filter(|db| i64::from(*db) < databases);
    let db = db.ok_or_else(|| CmdError::err("Out of range database"))?;
    let (keys, (expires, _)) = ax.cx.db.on_db(db, |db| (db.len(), db.deadlines()));
    let text = table_text("[Dictionary HT]", keys) + &table_text("[Expires HT]", expires);
    Ok(ax.cx.reply.verbatim("txt", text.as_bytes()))
}

/// DEBUG HTSTATS-KEY key
pub(super) fn htstats_key(ax: &mut AdminCtx) -> CmdResult {
    let key = ax.cx.args.bytes()?;
    let entry = ax.cx.db.peek_entry(key).ok_or(CmdError::NoSuchKey)?;
    let elements = match entry.held() {
        Held::Value(ValueRef::Set(set)) if entry.encoding() == "hashtable" => set.len(),
        Held::Value(ValueRef::Hash(hash)) if entry.encoding() == "hashtable" => hash.len(),
        Held::Value(ValueRef::Zset(zset)) if entry.encoding() == "skiplist" => zset.len(),
        _ => {
            return Err(CmdError::err(
                "The value stored at the specified key is not represented using an hash table",
            ));
        }
    };
    let text = table_text("", elements);
    Ok(ax.cx.reply.verbatim("txt", text.trim_start().as_bytes()))
}
