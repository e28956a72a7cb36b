//! The keyspace: shards, databases, entries; the only way to change a key is open and commit.
