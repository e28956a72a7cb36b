//! Keys with deadlines that clients have written on a replica that takes writes. Its primary does
//! not know them, and will never say that they are gone.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::base::clock::UnixMs;
use crate::base::hash::hash_bytes;
use crate::engine::command::Row;
use crate::engine::core::{Attention, Core, Scratch, Worker};
use crate::engine::{expiring, settle};
use crate::keyspace::effects::{DbKey, Effects, Env};
use crate::keyspace::entry::Entry;
use crate::keyspace::lock::{Hold, shard_of};
use crate::keyspace::view::DbView;
use crate::persist::journal::LogOffset;
use crate::resp::args::Args;
use crate::spec::keys::keys_of;

/// Keys looked at in a round at the most.
const KEYS_A_ROUND: usize = 1024;

/// See the module. Each stands at the deadline that it had when it was written.
#[derive(Default)]
pub struct OwnKeys(Mutex<BTreeSet<(UnixMs, DbKey)>>);

impl OwnKeys {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// The primary's keys take their place.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    fn add(&self, at: UnixMs, key: DbKey) {
        self.0.lock().insert((at, key));
    }

    fn take_due(&self, now: UnixMs) -> Option<DbKey> {
        let mut keys = self.0.lock();
        let is_due = keys.first().is_some_and(|(at, _)| *at < now);
        if is_due { keys.pop_first().map(|(_, key)| key) } else { None }
    }
}

fn deadline(hold: &Hold, at: &DbKey) -> Option<UnixMs> {
    let hash = hash_bytes(&at.key);
    hold.shard(shard_of(hash)).db(at.db)?.keys.get(hash, &at.key).and_then(Entry::deadline)
}

/// A command has changed something while this server removes no expired keys. The hold covers its
/// keys.
#[cold]
pub fn note(core: &Core, hold: &Hold, (row, args, db): Call) {
    if !core.has_attention(Attention::FOLLOWING) {
        return;
    }
    let words: SmallVec<[&[u8]; 16]> = args.words().collect();
    let Ok(keys) = keys_of(row.spec(), &words) else { return };
    for key in keys.iter() {
        let key = DbKey { db, key: words[key.pos as usize].into() };
        if let Some(at) = deadline(hold, &key) {
            core.own_keys.add(at, key);
        }
    }
}

/// Before a client's write on a replica that takes writes: keys of it that are past their deadlines
/// are gone for good, so that nothing of them comes back with what is written. The hold covers them.
#[cold]
pub fn make_way(core: &Core, hold: &mut Hold, fx: &mut Effects, (row, args, db): Call, env: &Env) {
    if !core.has_attention(Attention::FOLLOWING) || core.has_attention(Attention::READ_ONLY) {
        return;
    }
    let words: SmallVec<[&[u8]; 16]> = args.words().collect();
    let Ok(keys) = keys_of(row.spec(), &words) else { return };
    let env = Env { removes_expired: true, ..*env };
    let mut view = DbView::new(hold, &env, fx, db);
    for key in keys.iter() {
        view.expire_if_due(words[key.pos as usize]);
    }
}

/// A command, its words, and the database.
pub type Call<'c> = (&'c Row, &'c Args<'c>, u32);

/// Removes those whose deadlines have passed.
pub fn sweep(worker: &Worker) {
    let core = worker.core;
    let env = Env { removes_expired: true, ..core.env() };
    for _ in 0..KEYS_A_ROUND {
        let Some(key) = core.own_keys.take_due(env.now) else { return };
        let mut hold = core.keyspace.lock_one(shard_of(hash_bytes(&key.key)));
        let left = match deadline(&hold, &key) {
            None => continue,
            Some(at) if at >= env.now => {
                core.own_keys.add(at, key);
                continue;
            }
            Some(_) => remove(worker, &env, &mut hold, &key),
        };
        drop(hold);
        settle::serve_left(worker, left);
    }
}

/// Gives the keys whose waiters are still to be served.
fn remove(worker: &Worker, env: &Env, hold: &mut Hold, key: &DbKey) -> Vec<DbKey> {
    let mut scratch = Scratch::default();
    scratch.record.begin(worker.core.persist.wants_records());
    DbView::new(hold, env, &mut scratch.fx, key.db).expire_if_due(&key.key);
    let Scratch { fx, record, .. } = &mut scratch;
    expiring::tell(worker, fx, record, env.expires_with);
    settle::settle(worker, env, &mut scratch, hold, &mut LogOffset::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_when_their_deadline_has_passed() {
        let keys = OwnKeys::default();
        let key = |name: &str| DbKey { db: 0, key: name.as_bytes().into() };
        keys.add(UnixMs(20), key("later"));
        keys.add(UnixMs(10), key("soon"));
        assert_eq!(keys.take_due(UnixMs(10)), None);
        assert_eq!(keys.take_due(UnixMs(11)), Some(key("soon")));
        assert_eq!((keys.take_due(UnixMs(11)), keys.count()), (None, 1));
        keys.clear();
        assert_eq!(keys.take_due(UnixMs(21)), None);
    }
}
