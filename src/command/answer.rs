//! Answers that several families give.

use crate::ds::listpack::Item;
use crate::resp::reply::{Replied, Reply};

/// An element as a bulk string.
pub fn item(reply: &mut Reply, item: Item<'_>) -> Replied {
    match item {
        Item::Int(number) => reply.bulk_int(number),
        Item::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// An element as a bulk string, or null.
pub fn item_or_null(reply: &mut Reply, found: Option<Item<'_>>) -> Replied {
    match found {
        Some(found) => item(reply, found),
        None => reply.null(),
    }
}
