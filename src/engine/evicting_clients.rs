//! `maxmemory-clients`: when connections use more memory than it allows, the largest are ended.
//!
//! Each connection counts what it uses and keeps a sum up to date, so that looking costs one
//! comparison; only above the limit is everyone asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::Config;
use crate::config::value::Share;
use crate::engine::blocking;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::client_line::{ClientType, describe};
use crate::engine::core::Core;

/// A smaller limit would leave nobody to raise it, bytes.
const LIMIT_BYTES_MIN: u64 = 128 * 1024;

/// The bytes connections may use; `None` is no limit.
fn limit(config: &Config) -> Option<u64> {
    let bytes = match config.maxmemory_clients {
        Share::Bytes(bytes) => bytes,
        Share::Percent(percent) => {
            (u128::from(config.maxmemory) * u128::from(percent) / 100) as u64
        }
    };
    let is_set = match config.maxmemory_clients {
        Share::Bytes(bytes) => bytes > 0,
        Share::Percent(percent) => percent > 0 && config.maxmemory > 0,
    };
    is_set.then(|| bytes.max(LIMIT_BYTES_MIN))
}

/// Ends the largest connections until the others use no more than they may.
#[inline]
pub fn run(core: &Core, config: &Config) {
    if let Some(limit) = limit(config)
        && core.clients.memory.load(Ordering::Relaxed) > limit
    {
        evict(core, limit);
    }
}

#[cold]
fn evict(core: &Core, limit: u64) {
    // One at a time: two would end twice as many.
    let _turn = core.clients.evicting.lock();
    let bytes = |client: &Client| client.figures.memory.load(Ordering::Relaxed);
    let counted = |client: &Arc<Client>| {
        matches!(ClientType::of(client), ClientType::Normal | ClientType::Pubsub)
    };
    let mut all: Vec<(u64, Arc<Client>)> = core
        .clients
        .all()
        .into_iter()
        .filter(counted)
        .map(|client| (bytes(&client), client))
        .collect();
    let mut used: u64 = all.iter().map(|(bytes, _)| bytes).sum();
    all.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    for (bytes, client) in all {
        if used <= limit {
            return;
        }
        if client.has_flag(ClientFlags::NO_EVICT) {
            continue;
        }
        tracing::info!("Evicting client: {}", describe(core, &client));
        core.clients.expect_back(&client, bytes);
        blocking::end_connection(core, &client);
        core.clients.evicted.fetch_add(1, Ordering::Relaxed);
        used = used.saturating_sub(bytes);
    }
    if used > limit {
        tracing::warn!("Over client maxmemory after evicting all evictable clients");
    }
}
