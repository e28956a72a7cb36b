//! Drawing several different elements at random, as SRANDMEMBER, SPOP and HRANDFIELD do.

use crate::base::rng;
use crate::keyspace::effects::Env;
use crate::resp::error::CmdError;
use crate::resp::reply::Reply;

/// When more than one in this many is wanted, all are gathered and shuffled; else they are drawn
/// one by one until enough differ.
const GATHER_FACTOR: usize = 3;

/// Bytes of the shortest element in a reply: an empty string.
const REPLY_BYTES_MIN: u64 = 6;

/// Refuses to write on when what was drawn, with repetitions, has passed the size a string may
/// have: a count is cheap to ask for.
pub fn check_size(reply: &Reply, start: usize, env: &Env) -> Result<(), CmdError> {
    match (reply.len() - start) as u64 <= env.string_bytes_max {
        true => Ok(()),
        false => Err(too_large()),
    }
}

/// Refuses a count that would pass this size whatever is drawn, before anything is.
pub fn check_count(count: usize, env: &Env) -> Result<(), CmdError> {
    match (count as u64).saturating_mul(REPLY_BYTES_MIN) <= env.string_bytes_max {
        true => Ok(()),
        false => Err(too_large()),
    }
}

fn too_large() -> CmdError {
    CmdError::err("the reply exceeds maximum allowed size (proto-max-bulk-len)")
}

/// Up to `count` different elements of a collection of `len`, in random order: from `all` of them
/// or by calling `one`, whichever is cheaper. `same` tells elements apart by a key of theirs.
pub fn distinct<T, K: std::hash::Hash + Eq>(
    len: usize,
    count: usize,
    all: impl Iterator<Item = T>,
    mut one: impl FnMut() -> Option<T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let count = count.min(len);
    if count.saturating_mul(GATHER_FACTOR) > len {
        return shuffled(all.collect(), count);
    }
    let mut seen = std::collections::HashSet::with_capacity(count);
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let Some(element) = one() else { break };
        if seen.insert(key(&element)) {
            drawn.push(element);
        }
    }
    drawn
}

/// `count` of the elements, in random order.
fn shuffled<T>(mut elements: Vec<T>, count: usize) -> Vec<T> {
    let len = elements.len();
    for at in 0..count.min(len) {
        let other = at + rng::below((len - at) as u64) as usize;
        elements.swap(at, other);
    }
    elements.truncate(count);
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_differs_and_all_can_be_drawn() {
        for (len, count) in [(0u64, 5), (1, 1), (10, 10), (10, 20), (10, 7), (100, 3), (100, 33)] {
            let mut met = std::collections::HashSet::new();
            for _ in 0..200 {
                let one = || Some(rng::below(len));
                let mut drawn = distinct(len as usize, count, 0..len, one, |value| *value);
                assert_eq!(drawn.len(), count.min(len as usize));
                met.extend(drawn.iter().copied());
                drawn.sort_unstable();
                drawn.dedup();
                assert_eq!(drawn.len(), count.min(len as usize), "{count} of {len}");
            }
            assert!(met.len() as u64 >= len * 9 / 10, "{count} of {len}");
        }
    }
}
