//! Channels: SUBSCRIBE and its kin, PUBLISH, PUBSUB.

use std::sync::Arc;

use crate::command::help::{help, miscounted};
use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::engine::record::encode_command;
use crate::engine::session::Session;
use crate::pubsub::{Listener, Topic};
use crate::resp::reply::{CmdResult, Reply};
use crate::spec::Arity::{self, AtLeast, Exactly};
use crate::spec::{Group, KeySpec, Spec};

const fn spec(name: &'static str, arity: Arity, since: &'static str) -> Spec {
    Spec::new(name, Group::Pubsub, arity).pubsub().loading().stale().since(since)
}

const SHARD_CHANNELS: KeySpec = KeySpec::range(1, -1, 1).not_key();

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        |ax| subscribe(ax, Topic::Pattern),
        spec("psubscribe", AtLeast(2), "2.0.0").noscript(),
    ),
    Command::admin(publish, spec("publish", Exactly(3), "2.0.0").fast().may_replicate()),
    Command::container(Spec::new("pubsub", Group::Pubsub, AtLeast(2)).container().since("2.8.0")),
    Command::admin(|ax| channels(ax, Topic::Channel), spec("pubsub|channels", AtLeast(2), "2.8.0")),
    Command::admin(
        show_help,
        Spec::new("pubsub|help", Group::Pubsub, Exactly(2)).loading().stale().since("6.2.0"),
    ),
    Command::admin(numpat, spec("pubsub|numpat", Exactly(2), "2.8.0")),
    Command::admin(|ax| numsub(ax, Topic::Channel), spec("pubsub|numsub", AtLeast(2), "2.8.0")),
    Command::admin(
        |ax| channels(ax, Topic::Shard),
        spec("pubsub|shardchannels", AtLeast(2), "7.0.0"),
    ),
    Command::admin(|ax| numsub(ax, Topic::Shard), spec("pubsub|shardnumsub", AtLeast(2), "7.0.0")),
    Command::admin(
        |ax| unsubscribe(ax, Topic::Pattern),
        spec("punsubscribe", AtLeast(1), "2.0.0").noscript(),
    ),
    Command::admin(
        spublish,
        spec("spublish", Exactly(3), "7.0.0")
            .fast()
            .may_replicate()
            .key_spec(KeySpec::at(1).not_key()),
    ),
    Command::admin(
        |ax| subscribe(ax, Topic::Shard),
        spec("ssubscribe", AtLeast(2), "7.0.0").noscript().key_spec(SHARD_CHANNELS),
    ),
    Command::admin(
        |ax| subscribe(ax, Topic::Channel),
        spec("subscribe", AtLeast(2), "2.0.0").noscript(),
    ),
    Command::admin(
        |ax| unsubscribe(ax, Topic::Shard),
        spec("sunsubscribe", AtLeast(1), "7.0.0").noscript().key_spec(SHARD_CHANNELS),
    ),
    Command::admin(
        |ax| unsubscribe(ax, Topic::Channel),
        spec("unsubscribe", AtLeast(1), "2.0.0").noscript(),
    ),
];

const HELP: &[(&str, &str)] = &[
    ("CHANNELS [<pattern>]", "Name the channels somebody listens to."),
    ("NUMPAT", "Say how many patterns somebody listens to."),
    ("NUMSUB [<channel> ...]", "Say how many listen to each of these channels."),
    ("SHARDCHANNELS [<pattern>]", "Name the sharded channels somebody listens to."),
    ("SHARDNUMSUB [<shardchannel> ...]", "Say how many listen to each of these sharded channels."),
];

/// PUBSUB HELP
fn show_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "PUBSUB", HELP))
}

/// The first words of confirmations: of a subscription, and of its end.
fn words(topic: Topic) -> (&'static str, &'static str) {
    match topic {
        Topic::Channel => ("subscribe", "unsubscribe"),
        Topic::Pattern => ("psubscribe", "punsubscribe"),
        Topic::Shard => ("ssubscribe", "sunsubscribe"),
    }
}

/// Subscriptions as confirmations count them: sharded ones apart from the others.
fn counted(session: &mut Session, topic: Topic) -> usize {
    match topic {
        Topic::Shard => session.topics(Topic::Shard).len(),
        Topic::Channel | Topic::Pattern => session.subscriptions(),
    }
}

fn confirm(reply: &mut Reply, word: &str, name: Option<&[u8]>, count: usize) {
    reply.push(3);
    let _ = reply.bulk(word.as_bytes());
    let _ = reply.bulk_or_null(name);
    let _ = reply.count(count);
}

/// SUBSCRIBE channel \[channel ...\], PSUBSCRIBE, SSUBSCRIBE: a confirmation for each.
fn subscribe(ax: &mut AdminCtx, topic: Topic) -> CmdResult {
    for name in ax.cx.args.remaining() {
        if ax.session.topics(topic).insert(name.into()) {
            let listener: Arc<dyn Listener> = Arc::clone(&ax.session.client) as _;
            ax.core.pubsub.subscribe(topic, name, listener);
        }
        let count = counted(ax.session, topic);
        confirm(ax.cx.reply, words(topic).0, Some(name), count);
    }
    ax.session.publish_figures();
    if !ax.session.account.is_unrestricted() {
        leave_what_was_lost(ax.session);
    }
    Ok(ax.cx.reply.done())
}

/// Who loses a permission is looked for among those who listen; this one may not have been there
/// yet, and was allowed before.
fn leave_what_was_lost(session: &mut Session) {
    let user = session.account.user();
    let lost = [Topic::Channel, Topic::Pattern, Topic::Shard].into_iter().any(|topic| {
        let is_pattern = topic == Topic::Pattern;
        session.topics[topic as usize].iter().any(|name| !user.may_hear(name, is_pattern))
    });
    session.closing |= lost;
}

/// UNSUBSCRIBE \[channel ...\], PUNSUBSCRIBE, SUNSUBSCRIBE: a confirmation for each, at least one.
fn unsubscribe(ax: &mut AdminCtx, topic: Topic) -> CmdResult {
    let mut names: Vec<Box<[u8]>> = ax.cx.args.remaining().map(Into::into).collect();
    if names.is_empty() {
        names.extend(ax.session.topics(topic).iter().cloned());
    }
    for name in &names {
        if ax.session.topics(topic).remove(name) {
            ax.core.pubsub.unsubscribe(topic, name, ax.session.client.id);
        }
        let count = counted(ax.session, topic);
        confirm(ax.cx.reply, words(topic).1, Some(name), count);
    }
    if names.is_empty() {
        let count = counted(ax.session, topic);
        confirm(ax.cx.reply, words(topic).1, None, count);
    }
    ax.session.publish_figures();
    Ok(ax.cx.reply.done())
}

/// Replicas publish to their own clients; files hold nothing of it.
fn propagate(ax: &AdminCtx, words: &[&[u8]]) {
    let backlog = &ax.core.persist.backlog;
    if backlog.is_active() {
        let mut encoded = Vec::new();
        encode_command(&mut encoded, words.iter().copied());
        backlog.append(false, [(ax.session.db, encoded.as_slice())].into_iter());
    }
}

/// PUBLISH channel message
fn publish(ax: &mut AdminCtx) -> CmdResult {
    let (channel, message) = (ax.cx.args.bytes()?, ax.cx.args.bytes()?);
    propagate(ax, &[b"PUBLISH", channel, message]);
    Ok(ax.cx.reply.count(ax.core.pubsub.publish(channel, message)))
}

/// SPUBLISH shardchannel message
fn spublish(ax: &mut AdminCtx) -> CmdResult {
    let (channel, message) = (ax.cx.args.bytes()?, ax.cx.args.bytes()?);
    propagate(ax, &[b"SPUBLISH", channel, message]);
    Ok(ax.cx.reply.count(ax.core.pubsub.publish_shard(channel, message)))
}

/// PUBSUB CHANNELS \[pattern\], SHARDCHANNELS
fn channels(ax: &mut AdminCtx, topic: Topic) -> CmdResult {
    let sub = ax.cx.args.bytes()?;
    let pattern = ax.cx.args.peek();
    if ax.cx.args.left() > 1 {
        return Err(miscounted("PUBSUB", sub));
    }
    let names = ax.core.pubsub.names(topic, pattern);
    ax.cx.reply.array(names.len());
    names.iter().for_each(|name| drop(ax.cx.reply.bulk(name)));
    Ok(ax.cx.reply.done())
}

/// PUBSUB NUMSUB \[channel ...\], SHARDNUMSUB
fn numsub(ax: &mut AdminCtx, topic: Topic) -> CmdResult {
    ax.cx.args.bytes()?;
    ax.cx.reply.array(ax.cx.args.left() * 2);
    for name in ax.cx.args.remaining() {
        let _ = ax.cx.reply.bulk(name);
        let _ = ax.cx.reply.count(ax.core.pubsub.listeners(topic, name));
    }
    Ok(ax.cx.reply.done())
}

/// PUBSUB NUMPAT
fn numpat(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.count(ax.core.pubsub.count(Topic::Pattern)))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn subscriptions_are_confirmed_one_by_one_and_messages_delivered() {
        let mut house = House::new();
        let other = house.connect();
        for (line, answer) in [
            ("subscribe a b", "*3|$9|subscribe|$1|a|:1|*3|$9|subscribe|$1|b|:2|"),
            ("psubscribe a*", "*3|$10|psubscribe|$2|a*|:3|"),
            ("ssubscribe s", "*3|$10|ssubscribe|$1|s|:1|"),
            ("ping", "*2|$4|pong|$0||"),
            (
                "get x",
                "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context|",
            ),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        for (line, answer) in [
            ("publish a hi", ":2|"),
            ("spublish s hi", ":1|"),
            ("publish none hi", ":0|"),
            ("pubsub numsub a none", "*4|$1|a|:1|$4|none|:0|"),
            ("pubsub numpat", ":1|"),
            ("pubsub channels b*", "*1|$1|b|"),
            ("pubsub shardchannels", "*1|$1|s|"),
            (
                "pubsub channels a b",
                "-ERR unknown subcommand or wrong number of arguments for 'channels'. Try PUBSUB HELP.|",
            ),
        ] {
            assert_eq!(house.run_as(other, line), answer, "{line}");
        }
        assert_eq!(
            house.mail(0),
            "*3|$7|message|$1|a|$2|hi|*4|$8|pmessage|$2|a*|$1|a|$2|hi|*3|$8|smessage|$1|s|$2|hi|"
        );
        for (line, answer) in [
            ("unsubscribe none", "*3|$11|unsubscribe|$4|none|:3|"),
            ("unsubscribe", "*3|$11|unsubscribe|$1|a|:2|*3|$11|unsubscribe|$1|b|:1|"),
            ("unsubscribe", "*3|$11|unsubscribe|$-1|:1|"),
            ("punsubscribe", "*3|$12|punsubscribe|$2|a*|:0|"),
            ("sunsubscribe", "*3|$12|sunsubscribe|$1|s|:0|"),
            ("ping", "+PONG|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
