//! A database as a whole, for code that walks all of it: snapshots, DEBUG.

use crate::ds::dict::Dict;
use crate::keyspace::entry::Entry;
use crate::keyspace::lock::Hold;
use crate::keyspace::shard::Db;

/// The tables of a database in some of the shards that are held.
pub fn tables(
    hold: &Hold,
    shards: impl Iterator<Item = usize>,
    db: u32,
) -> impl Iterator<Item = &Db> {
    shards.filter_map(move |at| hold.shard(at).db(db))
}

/// The entries in them.
pub fn entries(
    hold: &Hold,
    shards: impl Iterator<Item = usize>,
    db: u32,
) -> impl Iterator<Item = &Entry> {
    tables(hold, shards, db).flat_map(|db| Dict::iter(&db.keys))
}
