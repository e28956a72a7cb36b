//! The search for keys whose deadline has passed, a little at a time.

use std::time::Duration;

use crate::base::clock::{self, UnixMs};
use crate::engine::core::{Scratch, Worker};
use crate::engine::record::Record;
use crate::engine::settle;
use crate::keyspace::effects::Effects;
use crate::keyspace::lock::{Hold, SHARDS};
use crate::keyspace::view::DbView;
use crate::persist::journal::LogOffset;

/// Buckets of a table looked at before the next shard has its turn.
const BUCKETS_A_VISIT: usize = 4;
/// Keys removed under one lock at the most.
const KEYS_A_VISIT: usize = 64;
/// Fields removed under one lock at the most.
const FIELDS_A_VISIT: usize = 256;
/// A shard is visited again at once while more than one in so many keys was past its deadline.
const AGAIN_ABOVE_SHARE: usize = 10;

/// Tells the journal and the statistics which keys and fields were past their deadlines.
#[cold]
pub(super) fn tell(worker: &Worker, fx: &mut Effects, record: &mut Record, word: &'static [u8]) {
    record.removed(&fx.expired, word);
    worker.stats.expired.add(fx.expired.len() as u64);
    fx.expired.clear();
    record.expired_fields(&fx.expired_fields);
    let fields: usize = fx.expired_fields.iter().map(|(_, fields)| fields.len()).sum();
    worker.stats.expired_fields.add(fields as u64);
    fx.expired_fields.clear();
}

/// Looks at every shard once, at those with many expired keys longer, until `budget` is spent.
/// `from` is where the last search ended.
pub fn sweep(worker: &Worker, from: &mut usize, budget: Duration) {
    let before = clock::steady();
    let databases = u32::try_from(worker.core.config.load().databases).unwrap_or(1);
    for _ in 0..SHARDS {
        let shard = *from % SHARDS;
        *from = shard + 1;
        for db in 0..databases {
            while sweep_shard(worker, shard, db) {
                if before.elapsed() > budget {
                    return;
                }
            }
        }
        if before.elapsed() > budget {
            return;
        }
    }
}

/// One visit; says whether another is worth while.
fn sweep_shard(worker: &Worker, shard: usize, db: u32) -> bool {
    let core = worker.core;
    let env = core.env();
    let mut hold = core.keyspace.lock_one(shard);
    if hold.shard(shard).db(db).is_none_or(|db| db.with_deadline == 0 && db.timed.is_none()) {
        return false;
    }
    let found = hold.shard_mut(shard).expired_keys(db, env.now, BUCKETS_A_VISIT, KEYS_A_VISIT);
    let removes = env.expires && env.removes_expired;
    let has_due = |hold: &Hold| removes && due_hash(hold, shard, db, env.now).is_some();
    if found.keys.is_empty() && !has_due(&hold) {
        return false;
    }
    let mut scratch = Scratch::default();
    scratch.record.begin(core.persist.wants_records());
    let mut view = DbView::new(&mut hold, &env, &mut scratch.fx, db);
    for key in &found.keys {
        view.expire_if_due(key);
    }
    let mut left = if removes { FIELDS_A_VISIT } else { 0 };
    while left > 0
        && let Some(key) = due_hash(view.hold(), shard, db, env.now)
    {
        left = left.saturating_sub(view.expire_fields(&key, left).max(1));
    }
    let Scratch { fx, record, .. } = &mut scratch;
    record.loosen();
    tell(worker, fx, record, env.expires_with);
    let mut wrote = LogOffset::default();
    let waiting = settle::settle(worker, &env, &mut scratch, &mut hold, &mut wrote);
    let more = has_due(&hold);
    drop(hold);
    settle::serve_left(worker, waiting);
    more || found.keys.len() * AGAIN_ABOVE_SHARE > found.looked_at
}

/// The hash of a shard with the field that was the first to be past its deadline.
fn due_hash(hold: &Hold, shard: usize, db: u32, now: UnixMs) -> Option<Box<[u8]>> {
    hold.shard(shard).db(db)?.timed.as_ref()?.due(now).map(Box::from)
}
