//! Moments by name, in the order in which they come.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::clock::UnixMs;

/// What a name and its moment take beside the name, roughly.
const NODE_BYTES: usize = 96;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    by_name: HashMap<Arc<[u8]>, UnixMs>,
    in_order: BTreeSet<(UnixMs, Arc<[u8]>)>,
}

impl Deadlines {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The moment of a name.
    pub fn get(&self, name: &[u8]) -> Option<UnixMs> {
        self.by_name.get(name).copied()
    }

    /// Sets the moment of a name.
    pub fn set(&mut self, name: &[u8], at: UnixMs) {
        let name = match self.by_name.get_key_value(name) {
            Some((_, old)) if *old == at => return,
            Some((name, old)) => {
                let name = Arc::clone(name);
                self.in_order.remove(&(*old, Arc::clone(&name)));
                name
            }
            None => Arc::from(name),
        };
        self.in_order.insert((at, Arc::clone(&name)));
        self.by_name.insert(name, at);
    }

    /// Forgets a name; says whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some((name, at)) = self.by_name.remove_entry(name) else { return false };
        self.in_order.remove(&(at, name));
        true
    }

    /// The earliest moment.
    pub fn next(&self) -> Option<UnixMs> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// The name of the earliest moment, if that is before `now`.
    pub fn due(&self, now: UnixMs) -> Option<&[u8]> {
        self.in_order.first().filter(|(at, _)| *at < now).map(|(_, name)| &**name)
    }

    /// Names and moments in the order of the moments.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], UnixMs)> {
        self.in_order.iter().map(|(at, name)| (&**name, *at))
    }

    /// Bytes of memory this takes, roughly.
    pub fn memory_bytes(&self) -> usize {
        let names: usize = self.by_name.keys().map(|name| name.len()).sum();
        names + self.len() * NODE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_in_order_and_once_a_name() {
        let mut deadlines = Deadlines::default();
        for (name, at) in [(b"a", 30), (b"b", 10), (b"a", 20), (b"c", 5)] {
            deadlines.set(name, UnixMs(at));
        }
        assert!(deadlines.remove(b"c") && !deadlines.remove(b"c"));
        let all: Vec<_> = deadlines.iter().map(|(name, at)| (name.to_vec(), at.0)).collect();
        assert_eq!(all, [(b"b".to_vec(), 10), (b"a".to_vec(), 20)]);
        assert_eq!(deadlines.due(UnixMs(10)), None);
        assert_eq!(deadlines.due(UnixMs(11)), Some(&b"b"[..]));
    }
}
