//! What several requests will read is asked for together, before the first of them runs: waiting for
//! memory is then one wait for all of them.

use crate::base::hash::hash_bytes;
use crate::engine::command::Row;
use crate::keyspace::lock::Keyspace;
use crate::resp::args::Args;

/// What is known of a request before it runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The hash of its only key.
    pub hash: Option<u64>,
    /// Whether the request behind it needs the lock of the same shard and no other.
    pub same_shard_next: bool,
}

/// Requests that are looked at together.
pub const REQUESTS: usize = 16;

/// The first look at a request: its only key's bucket. Gives the key's hash.
#[inline]
pub fn look_at(keyspace: &Keyspace, row: &Row, args: &Args) -> Option<u64> {
    let hash = hash_bytes(args.word(row.only_key?));
    keyspace.prefetch_bucket(hash);
    Some(hash)
}

/// The second look at up to [`REQUESTS`] requests: the entries of their keys, and then what they will
/// look up in collections; where that is in a large one, once more for what the time before has found.
/// `found` gives a request's row and what [`look_at`] gave, `args` its words.
#[inline]
pub fn look_further<'a>(
    keyspace: &Keyspace,
    db: u32,
    count: usize,
    found: impl Fn(usize) -> Option<(&'static Row, u64)>,
    args: impl Fn(usize) -> Args<'a>,
) {
    let (mut collections, mut before) = (false, None);
    for (row, hash) in (0..count).filter_map(&found) {
        // Requests for one key mostly follow each other.
        if before != Some(hash) {
            keyspace.prefetch_entry(hash, db);
        }
        before = Some(hash);
        collections |= row.looks_inside;
    }
    if !collections {
        return;
    }
    let mut hashes = [None; REQUESTS];
    for again in [false, true] {
        for (index, member_hash) in hashes.iter_mut().enumerate().take(count) {
            let Some((row, hash)) = found(index) else { continue };
            let (Some(key), true) = (row.only_key, row.looks_inside) else { continue };
            if again && member_hash.is_none() {
                continue;
            }
            let args = args(index);
            let member = row.spec().member.map(usize::from).filter(|at| *at < args.count());
            let member = member.map(|at| args.word(at));
            let key = (args.word(key), hash);
            *member_hash = keyspace.peek(key, db, |value| value.prefetch(member, *member_hash));
        }
    }
}
