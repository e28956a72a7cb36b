//! Clients that were told what a key holds, and shall hear when it changes: the part of the tracking
//! table that belongs to a shard.

use std::collections::HashMap;

use smallvec::SmallVec;

/// Ids of clients; most keys are read by few.
pub type ReaderIds = SmallVec<[u64; 2]>;

/// See the module. As in Redis, a key is meant in whatever database it is.
#[derive(Default)]
pub struct Readers {
    clients: HashMap<Box<[u8]>, ReaderIds>,
    /// Whether some client wants to hear of keys it never read.
    pub broadcasts: bool,
}

/// A key that changed, and who has to hear of it.
#[derive(Debug)]
pub struct Stale {
    /// The key.
    pub key: Box<[u8]>,
    /// Who read it.
    pub readers: ReaderIds,
    /// Whether the client that runs changed it, rather than its deadline or the want of memory.
    pub own: bool,
}

/// What changed in the books of readers, and what they have to hear.
#[derive(Default)]
pub struct Changes {
    /// Keys, in the order they changed.
    pub stale: Vec<Stale>,
    /// A database was emptied.
    pub flushed: bool,
    /// Keys that went from the books because of that.
    pub keys_forgotten: usize,
    /// The readers of these.
    pub items_forgotten: usize,
}

impl Changes {
    /// Whether there is nothing to tell.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.stale.is_empty() && !self.flushed
    }
}

impl Readers {
    /// A client was told what the key holds. Says how many keys and how many readers that adds.
    pub fn remember(&mut self, key: &[u8], client: u64) -> (usize, usize) {
        match self.clients.get_mut(key) {
            Some(ids) if ids.contains(&client) => (0, 0),
            Some(ids) => {
                ids.push(client);
                (0, 1)
            }
            None => {
                self.clients.insert(key.into(), ReaderIds::from_slice(&[client]));
                (1, 1)
            }
        }
    }

    /// The key has changed: its readers are told once.
    #[cold]
    pub fn change(&mut self, key: &[u8], own: bool, changes: &mut Changes) {
        let readers = self.clients.remove(key).unwrap_or_default();
        if !readers.is_empty() || self.broadcasts {
            changes.stale.push(Stale { key: key.into(), readers, own });
        }
    }

    /// A database was emptied, which makes every key uncertain.
    #[cold]
    pub fn flush(&mut self, changes: &mut Changes) {
        changes.flushed = true;
        changes.keys_forgotten += self.clients.len();
        changes.items_forgotten += self.clients.values().map(|ids| ids.len()).sum::<usize>();
        self.clients.clear();
    }

    /// Takes up to `count` keys out of the books, as though they had changed.
    pub fn evict(&mut self, count: usize, changes: &mut Changes) -> usize {
        let taken = self.clients.extract_if(|_, _| true).take(count);
        let before = changes.stale.len();
        changes.stale.extend(taken.map(|(key, readers)| Stale { key, readers, own: false }));
        changes.stale.len() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_told_once_of_a_change() {
        let mut readers = Readers::default();
        assert_eq!(readers.remember(b"k", 1), (1, 1));
        assert_eq!(readers.remember(b"k", 1), (0, 0));
        assert_eq!(readers.remember(b"k", 2), (0, 1));
        let mut changes = Changes::default();
        readers.change(b"other", true, &mut changes);
        readers.change(b"k", true, &mut changes);
        readers.change(b"k", true, &mut changes);
        assert_eq!(changes.stale.len(), 1);
        assert_eq!(changes.stale[0].readers.as_slice(), [1, 2]);
        readers.remember(b"a", 1);
        readers.remember(b"b", 1);
        assert_eq!(readers.evict(1, &mut changes), 1);
        readers.flush(&mut changes);
        assert!(changes.flushed);
        assert_eq!((changes.keys_forgotten, changes.items_forgotten), (1, 1));
    }
}
