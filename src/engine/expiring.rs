//! The search for keys whose deadline has passed, a little at a time.

use std::time::Duration;

use crate::base::clock;
use crate::engine::core::{Scratch, Worker};
use crate::engine::settle;
use crate::keyspace::lock::SHARDS;
use crate::keyspace::view::DbView;
use crate::persist::journal::LogOffset;

/// Buckets of a table looked at before the next shard has its turn.
const BUCKETS_A_VISIT: usize = 4;
/// Keys removed under one lock at the most.
const KEYS_A_VISIT: usize = 64;
/// A shard is visited again at once while more than one in so many keys was past its deadline.
const AGAIN_ABOVE_SHARE: usize = 10;

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
    if hold.shard(shard).db(db).is_none_or(|db| db.with_deadline == 0) {
        return false;
    }
    let found = hold.shard_mut(shard).expired_keys(db, env.now, BUCKETS_A_VISIT, KEYS_A_VISIT);
    if found.keys.is_empty() {
        return false;
    }
    let mut scratch = Scratch::default();
    scratch.record.begin(core.persist.wants_records());
    let mut view = DbView::new(&mut hold, &env, &mut scratch.fx, db);
    for key in &found.keys {
        view.expire_if_due(key);
    }
    let Scratch { fx, record } = &mut scratch;
    record.loosen();
    record.removed(&fx.expired, env.expires_with);
    worker.stats.expired.add(fx.expired.len() as u64);
    fx.expired.clear();
    let mut wrote = LogOffset::default();
    let left = settle::settle(worker, &env, &mut scratch, &mut hold, &mut wrote);
    drop(hold);
    settle::serve_left(worker, left);
    found.keys.len() * AGAIN_ABOVE_SHARE > found.looked_at
}
