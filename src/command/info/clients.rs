//! INFO clients.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use crate::command::info::Fields;
use crate::engine::client::Client;
use crate::engine::context::AdminCtx;

pub(super) fn clients(ax: &mut AdminCtx, out: &mut Fields) {
    ax.session.publish_figures();
    let core = ax.core;
    let all = core.clients.all();
    let max = |figure: fn(&Client) -> u64| all.iter().map(|client| figure(client)).max();
    let count = |is: fn(&Client) -> bool| all.iter().filter(|client| is(client)).count();
    let subscribes = |client: &Client| {
        client.figures.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    };
    let watches = |client: &Client| client.figures.watched.load(Ordering::Relaxed) > 0;
    let input = max(|client| {
        let figures = &client.figures;
        figures.query_bytes.load(Ordering::Relaxed) + figures.query_room.load(Ordering::Relaxed)
    });
    let output = max(|client| client.figures.output_bytes.load(Ordering::Relaxed));
    out.put("connected_clients", all.len().saturating_sub(core.replicas.count()));
    out.put("cluster_connections", 0);
    out.put("maxclients", core.config.load().maxclients);
    out.put("client_recent_max_input_buffer", input.unwrap_or(0));
    out.put("client_recent_max_output_buffer", output.unwrap_or(0));
    let postponed = core.pause.postponed.load(Ordering::Relaxed);
    out.put("blocked_clients", core.blocked.count() + postponed);
    out.put("tracking_clients", core.tracking.count());
    out.put("pubsub_clients", count(subscribes));
    out.put("watching_clients", count(watches));
    out.put("clients_in_timeout_table", core.blocked.timed());
    let mut watched = HashSet::new();
    let hold = ax.cx.db.hold();
    for shard in hold.shards() {
        watched.extend(hold.shard(shard).watchers.keys());
    }
    out.put("total_watched_keys", watched.len());
    let (keys, deletions) = core.blocked.keys();
    out.put("total_blocking_keys", keys);
    out.put("total_blocking_keys_on_nokey", deletions);
}
