//! Data structures: bytes and tables that know nothing of keys, databases or clients.

pub mod deadlines;
pub mod dict;
pub mod hyperloglog;
pub mod intset;
pub mod listpack;
pub mod prefetch;
pub mod quicklist;
pub mod rank_tree;
pub mod tagged;
pub mod thin;
