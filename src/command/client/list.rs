//! CLIENT LIST and INFO: what is known of connections, a line each.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::context::AdminCtx;
use crate::engine::core::Core;
use crate::pubsub::{Listener, Topic};
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::{CmdResult, Protocol};

/// Kinds of clients that LIST and KILL tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientType {
    Normal,
    Primary,
    Replica,
    Pubsub,
}

impl ClientType {
    pub(super) fn parse(word: &[u8]) -> Result<ClientType, CmdError> {
        let known = [
            ("normal", ClientType::Normal),
            ("slave", ClientType::Replica),
            ("replica", ClientType::Replica),
            ("pubsub", ClientType::Pubsub),
            ("master", ClientType::Primary),
        ];
        known.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, kind)| kind).ok_or_else(
            || {
                let word = String::from_utf8_lossy(word);
                CmdError::err(format_args!("Unknown client type '{word}'"))
            },
        )
    }

    pub(super) fn of(client: &Client) -> ClientType {
        let figure =
            |topic: Topic| client.figures.subscriptions[topic as usize].load(Ordering::Relaxed);
        if client.has_flag(ClientFlags::REPLICA) {
            ClientType::Replica
        } else if figure(Topic::Channel) + figure(Topic::Pattern) + figure(Topic::Shard) > 0 {
            ClientType::Pubsub
        } else {
            ClientType::Normal
        }
    }
}

/// The letters CLIENT LIST shows.
fn flags(client: &Client) -> String {
    let figures = &client.figures;
    let has = |flag| client.has_flag(flag);
    let letters = [
        (has(ClientFlags::MONITOR), 'O'),
        (has(ClientFlags::REPLICA), 'S'),
        (ClientType::of(client) == ClientType::Pubsub, 'P'),
        (figures.multi.load(Ordering::Relaxed) >= 0, 'x'),
        (figures.blocked.load(Ordering::Relaxed), 'b'),
        (has(ClientFlags::CLOSING), 'c'),
        (client.is_killed(), 'A'),
        (has(ClientFlags::UNIX), 'U'),
        (has(ClientFlags::NO_EVICT), 'e'),
        (has(ClientFlags::NO_TOUCH), 'T'),
    ];
    let shown: String = letters.iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
    if shown.is_empty() { "N".to_owned() } else { shown }
}

/// A client's line, without the line break.
pub fn describe(core: &Core, client: &Client) -> String {
    let now = UnixMs::now().0;
    let figures = &client.figures;
    let load = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
    let command = figures.command.load(Ordering::Relaxed) as usize;
    let command = core.commands.rows().get(command).map_or("NULL", |row| row.spec().name);
    let age = now.saturating_sub(client.created.0) / 1000;
    let idle = now.saturating_sub(load(&figures.active_at)) / 1000;
    let [channels, patterns, shards] =
        [0, 1, 2].map(|at: usize| figures.subscriptions[at].load(Ordering::Relaxed));
    let (query, room) = (load(&figures.query_bytes), load(&figures.query_room));
    let out = load(&figures.output_bytes) + client.mail_bytes() as u64;
    let total = query + room + out + size_of::<Client>() as u64;
    let events = if out > 0 { "rw" } else { "r" };
    let resp = if client.protocol() == Protocol::Resp3 { 3 } else { 2 };
    let labels = client.labels.lock().clone();
    format!(
        "id={} addr={} laddr={} fd={} name={} age={age} idle={idle} flags={} db={} \
         sub={channels} psub={patterns} ssub={shards} multi={} watch={} qbuf={query} \
         qbuf-free={room} argv-mem=0 multi-mem=0 rbs={out} rbp={out} obl=0 oll={} omem={out} \
         tot-mem={total} events={events} cmd={command} user={} redir=-1 resp={resp} \
         lib-name={} lib-ver={}",
        client.id,
        client.addr,
        client.laddr,
        client.fd,
        labels.name,
        flags(client),
        figures.db.load(Ordering::Relaxed),
        figures.multi.load(Ordering::Relaxed),
        figures.watched.load(Ordering::Relaxed),
        u8::from(out > 0),
        labels.user,
        labels.lib_name,
        labels.lib_version,
    )
}

/// CLIENT INFO
pub(super) fn info(ax: &mut AdminCtx) -> CmdResult {
    ax.session.publish_figures();
    let line = describe(ax.core, &ax.session.client) + "\n";
    Ok(ax.cx.reply.verbatim("txt", line.as_bytes()))
}

/// CLIENT LIST \[TYPE type | ID id \[id ...\]\]
pub(super) fn list(ax: &mut AdminCtx) -> CmdResult {
    let args = &mut ax.cx.args;
    args.bytes()?;
    let mut wanted: Option<ClientType> = None;
    let mut ids: Option<Vec<i64>> = None;
    if args.left() == 2 && args.take_keyword("type") {
        wanted = Some(ClientType::parse(args.bytes()?)?);
    } else if args.left() >= 2 && args.take_keyword("id") {
        let words = args.remaining();
        let parsed: Option<Vec<i64>> = words.map(parse_i64).collect();
        ids = Some(parsed.ok_or_else(|| CmdError::err("Invalid client ID"))?);
    } else if !args.is_done() {
        return Err(CmdError::Syntax);
    }
    ax.session.publish_figures();
    let all = ax.core.clients.all();
    let listed: Vec<&Arc<Client>> = match &ids {
        Some(ids) => {
            let find = |id: &i64| all.iter().find(|client| client.id as i64 == *id);
            ids.iter().filter_map(find).collect()
        }
        None => {
            let fits = |client: &&Arc<Client>| {
                wanted.is_none_or(|wanted| ClientType::of(client) == wanted)
            };
            all.iter().filter(fits).collect()
        }
    };
    let text: String = listed.iter().map(|client| describe(ax.core, client) + "\n").collect();
    Ok(ax.cx.reply.verbatim("txt", text.as_bytes()))
}
