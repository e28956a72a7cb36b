//! CLIENT DURABILITY: what the replies of one connection wait for, whatever `appendfsync` says.

use crate::engine::context::AdminCtx;
use crate::persist::journal::SyncPolicy;
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// CLIENT DURABILITY \[default | always | everysec | no\]: without a word, says what holds.
pub(super) fn durability(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let words = [
        ("default", None),
        ("always", Some(SyncPolicy::Always)),
        ("everysec", Some(SyncPolicy::EverySec)),
        ("no", Some(SyncPolicy::No)),
    ];
    if ax.cx.args.is_done() {
        let now = words.iter().find(|(_, policy)| *policy == ax.session.durability);
        return Ok(ax.cx.reply.bulk(now.map_or("default", |(word, _)| word).as_bytes()));
    }
    let word = ax.cx.args.bytes()?;
    let wanted = words.iter().find(|(name, _)| is_word(word, name));
    let Some((_, policy)) = wanted.filter(|_| ax.cx.args.is_done()) else {
        return Err(CmdError::Syntax);
    };
    if policy.is_some() && !ax.core.persist.journal.is_active() {
        return Err(CmdError::err("CLIENT DURABILITY needs appendonly yes"));
    }
    ax.session.durability = *policy;
    Ok(ax.cx.reply.ok())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn word_is_kept_until_reset() {
        let mut house = House::new();
        for (line, answer) in [
            ("client durability", "$7|default|"),
            ("client durability ALWAYS", "+OK|"),
            ("client durability", "$6|always|"),
            ("client durability sometimes", "-ERR syntax error|"),
            ("client durability no no", "-ERR syntax error|"),
            ("reset", "+RESET|"),
            ("client durability", "$7|default|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
