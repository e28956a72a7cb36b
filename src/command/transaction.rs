//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. What they do is in `engine::transaction`.

use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::engine::transaction;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::{Group, KeySpec, Spec};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        discard,
        Spec::new("discard", Group::Transactions, Exactly(1))
            .noscript()
            .loading()
            .stale()
            .fast()
            .allow_busy()
            .since("2.0.0"),
    ),
    Command::admin(
        exec,
        Spec::new("exec", Group::Transactions, Exactly(1))
            .noscript()
            .loading()
            .stale()
            .skip_slowlog()
            .since("1.2.0"),
    ),
    Command::admin(
        multi,
        Spec::new("multi", Group::Transactions, Exactly(1))
            .noscript()
            .loading()
            .stale()
            .fast()
            .allow_busy()
            .since("1.2.0"),
    ),
    Command::admin(
        unwatch,
        Spec::new("unwatch", Group::Transactions, Exactly(1))
            .noscript()
            .loading()
            .stale()
            .fast()
            .allow_busy()
            .since("2.2.0"),
    ),
    Command::admin(
        watch,
        Spec::new("watch", Group::Transactions, AtLeast(2))
            .noscript()
            .loading()
            .stale()
            .fast()
            .allow_busy()
            .key_spec(KeySpec::range(1, -1, 1).ro())
            .since("2.2.0"),
    ),
];

/// MULTI
fn multi(ax: &mut AdminCtx) -> CmdResult {
    transaction::begin(ax.session)?;
    Ok(ax.cx.reply.ok())
}

/// EXEC is taken up by dispatch before it gets here; only a script's call does.
fn exec(_: &mut AdminCtx) -> CmdResult {
    Err(CmdError::err("EXEC without MULTI"))
}

/// DISCARD
fn discard(ax: &mut AdminCtx) -> CmdResult {
    transaction::discard(ax.core, ax.session)?;
    Ok(ax.cx.reply.ok())
}

/// UNWATCH
fn unwatch(ax: &mut AdminCtx) -> CmdResult {
    transaction::unwatch(ax.core, ax.session);
    Ok(ax.cx.reply.ok())
}

/// WATCH key \[key ...\]
fn watch(ax: &mut AdminCtx) -> CmdResult {
    if ax.session.multi.is_some() {
        return Err(CmdError::err("WATCH inside MULTI is not allowed"));
    }
    for key in ax.cx.args.remaining() {
        // A key that is past its deadline already is watched as one that is not there.
        ax.cx.db.expire_if_due(key);
        transaction::watch(ax.session, ax.cx.db.hold(), key, ax.cx.now);
    }
    Ok(ax.cx.reply.ok())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn a_transaction_runs_as_one_unit() {
        let mut house = House::new();
        assert_eq!(house.run("multi"), "+OK|");
        assert_eq!(house.run("multi"), "-ERR MULTI calls can not be nested|");
        assert_eq!(house.run("watch k"), "-ERR WATCH inside MULTI is not allowed|");
        assert_eq!(house.run("set k 1"), "+QUEUED|");
        assert_eq!(house.run("get k"), "+QUEUED|");
        assert_eq!(house.run("exec"), "*2|+OK|$1|1|");
        assert_eq!(house.run("exec"), "-ERR EXEC without MULTI|");
        let refused = "wrong number of arguments for 'exec' command|";
        let aborted = format!("-EXECABORT Transaction discarded because of: {refused}");
        assert_eq!(house.run("exec 1"), aborted);
        assert_eq!(house.run("discard"), "-ERR DISCARD without MULTI|");
    }

    #[test]
    fn a_transaction_that_has_begun_is_not_stopped_by_want_of_memory() {
        let mut house = House::new();
        for line in ["multi", "incr x", "config set maxmemory 1", "incr x"] {
            house.run(line);
        }
        assert_eq!(house.run("exec"), "*3|:1|+OK|:2|");
        assert!(house.run("incr x").starts_with("-OOM "));
        for line in ["multi", "get x"] {
            house.run(line);
        }
        assert_eq!(house.run("exec"), "*1|$1|2|");
    }

    #[test]
    fn a_watched_key_that_another_touches_breaks_the_transaction() {
        let mut house = House::new();
        let other = house.connect();
        house.run("watch a b");
        house.run_as(other, "set b 1");
        house.run("multi");
        house.run("set c 1");
        assert_eq!(house.run("exec"), "*-1|");
        house.run("watch a b");
        house.run_as(other, "set b 1");
        assert_eq!(house.run("unwatch"), "+OK|");
        house.run("multi");
        assert_eq!(house.run("set c"), "-ERR wrong number of arguments for 'set' command|");
        let aborted = "-EXECABORT Transaction discarded because of previous errors.|";
        assert_eq!(house.run("exec"), aborted);
        house.run("multi");
        assert_eq!(house.run("discard"), "+OK|");
    }
}
