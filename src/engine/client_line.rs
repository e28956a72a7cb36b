//! A client as a line: what CLIENT LIST, ACL LOG and others tell of it.

use std::sync::atomic::Ordering;

use crate::base::clock::UnixMs;
use crate::base::text::shown_to_zero;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::core::Core;
use crate::pubsub::{Listener, Topic};
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::Protocol;
use crate::tracking::State;

/// Bounds of what Redis calls a client's reply buffer; what is above stands in its list of replies.
const REPLY_BYTES_MIN: u64 = 1024;
const REPLY_BYTES_MAX: u64 = 16 * 1024;

/// Kinds of clients that LIST and KILL tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientType {
    /// None of the others.
    Normal,
    /// Whom this server follows.
    Primary,
    /// Who follows this server.
    Replica,
    /// It listens to channels.
    Pubsub,
}

impl ClientType {
    /// The type a word means.
    pub fn parse(word: &[u8]) -> Result<ClientType, CmdError> {
        let known = [
            ("normal", ClientType::Normal),
            ("slave", ClientType::Replica),
            ("replica", ClientType::Replica),
            ("pubsub", ClientType::Pubsub),
            ("master", ClientType::Primary),
        ];
        known.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, kind)| kind).ok_or_else(
            || {
                let word = shown_to_zero(word);
                CmdError::err(format_args!("Unknown client type '{word}'"))
            },
        )
    }

    /// The type of a client.
    pub fn of(client: &Client) -> ClientType {
        let figure =
            |topic: Topic| client.figures.subscriptions[topic as usize].load(Ordering::Relaxed);
        if client.has_flag(ClientFlags::REPLICA) {
            ClientType::Replica
        } else if client.has_flag(ClientFlags::PRIMARY) {
            ClientType::Primary
        } else if figure(Topic::Channel) + figure(Topic::Pattern) + figure(Topic::Shard) > 0 {
            ClientType::Pubsub
        } else {
            ClientType::Normal
        }
    }
}

/// The letters CLIENT LIST shows.
fn flags(client: &Client, tracking: Option<&State>) -> String {
    let figures = &client.figures;
    let has = |flag| client.has_flag(flag);
    let letters = [
        (has(ClientFlags::MONITOR), 'O'),
        (has(ClientFlags::REPLICA), 'S'),
        (has(ClientFlags::PRIMARY), 'M'),
        (ClientType::of(client) == ClientType::Pubsub, 'P'),
        (figures.multi.load(Ordering::Relaxed) >= 0, 'x'),
        (figures.blocked.load(Ordering::Relaxed), 'b'),
        (tracking.is_some(), 't'),
        (tracking.is_some_and(|tracking| tracking.broken), 'R'),
        (tracking.is_some_and(|tracking| tracking.options.broadcast), 'B'),
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
    let total = load(&figures.memory) + client.mail_bytes() as u64;
    let argv = load(&figures.argument_bytes);
    let queued = load(&figures.multi_bytes);
    let rbs = load(&figures.reply_room).clamp(REPLY_BYTES_MIN, REPLY_BYTES_MAX);
    let events = if out > 0 { "rw" } else { "r" };
    let resp = if client.protocol() == Protocol::Resp3 { 3 } else { 2 };
    let labels = client.labels.lock().clone();
    let tracking = core.tracking.state(client.id);
    let redirect = tracking.as_ref().map_or(-1, |tracking| tracking.options.redirect as i64);
    format!(
        "id={} addr={} laddr={} fd={} name={} age={age} idle={idle} flags={} db={} \
         sub={channels} psub={patterns} ssub={shards} multi={} watch={} qbuf={query} \
         qbuf-free={room} argv-mem={argv} multi-mem={queued} rbs={rbs} rbp={out} obl=0 oll={} omem={out} \
         tot-mem={total} events={events} cmd={command} user={} redir={redirect} resp={resp} \
         lib-name={} lib-ver={}",
        client.id,
        client.addr,
        client.laddr,
        client.fd,
        labels.name,
        flags(client, tracking.as_ref()),
        figures.db.load(Ordering::Relaxed),
        figures.multi.load(Ordering::Relaxed),
        figures.watched.load(Ordering::Relaxed),
        u8::from(out > 0),
        String::from_utf8_lossy(&labels.user),
        labels.lib_name,
        labels.lib_version,
    )
}
