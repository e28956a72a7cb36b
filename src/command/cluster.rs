//! CLUSTER and its kin: this server is none of a cluster, and says so.

use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{self, AtLeast, Exactly};
use crate::spec::{Cat, Group, Spec};

const fn row(name: &'static str, arity: Arity) -> Spec {
    Spec::new(name, Group::Cluster, arity)
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        disabled,
        row("asking", Exactly(1)).fast().category(Cat::Connection).since("3.0.0"),
    ),
    Command::container(row("cluster", AtLeast(2)).container().since("3.0.0")),
    Command::admin(
        disabled,
        row("cluster|addslots", AtLeast(3)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|addslotsrange", AtLeast(4)).admin().stale().no_async_loading().since("7.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|bumpepoch", Exactly(2))
            .admin()
            .stale()
            .no_async_loading()
            .tip("nondeterministic_output")
            .since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|count-failure-reports", Exactly(3))
            .admin()
            .stale()
            .tip("nondeterministic_output")
            .since("3.0.0"),
    ),
    Command::admin(disabled, row("cluster|countkeysinslot", Exactly(3)).stale().since("3.0.0")),
    Command::admin(
        disabled,
        row("cluster|delslots", AtLeast(3)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|delslotsrange", AtLeast(4)).admin().stale().no_async_loading().since("7.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|failover", AtLeast(2)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|flushslots", Exactly(2)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|forget", Exactly(3)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|getkeysinslot", Exactly(4))
            .stale()
            .tip("nondeterministic_output")
            .since("3.0.0"),
    ),
    Command::admin(disabled, row("cluster|help", Exactly(2)).loading().stale().since("5.0.0")),
    Command::admin(
        disabled,
        row("cluster|info", Exactly(2)).stale().tip("nondeterministic_output").since("3.0.0"),
    ),
    Command::admin(disabled, row("cluster|keyslot", Exactly(3)).stale().since("3.0.0")),
    Command::admin(
        disabled,
        row("cluster|links", Exactly(2)).stale().tip("nondeterministic_output").since("7.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|meet", AtLeast(4)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(disabled, row("cluster|myid", Exactly(2)).stale().since("3.0.0")),
    Command::admin(
        disabled,
        row("cluster|myshardid", Exactly(2)).stale().tip("nondeterministic_output").since("7.2.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|nodes", Exactly(2)).stale().tip("nondeterministic_output").since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|replicas", Exactly(3))
            .admin()
            .stale()
            .tip("nondeterministic_output")
            .since("5.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|replicate", Exactly(3)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|reset", AtLeast(2)).admin().noscript().stale().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|saveconfig", Exactly(2)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|set-config-epoch", Exactly(3))
            .admin()
            .stale()
            .no_async_loading()
            .since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|setslot", AtLeast(4)).admin().stale().no_async_loading().since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|shards", Exactly(2))
            .loading()
            .stale()
            .tip("nondeterministic_output")
            .since("7.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|slaves", Exactly(3))
            .admin()
            .stale()
            .tip("nondeterministic_output")
            .since("3.0.0")
            .deprecated("5.0.0"),
    ),
    Command::admin(
        disabled,
        row("cluster|slots", Exactly(2))
            .loading()
            .stale()
            .tip("nondeterministic_output")
            .since("3.0.0")
            .deprecated("7.0.0"),
    ),
    Command::admin(
        disabled,
        row("readonly", Exactly(1))
            .loading()
            .stale()
            .fast()
            .category(Cat::Connection)
            .since("3.0.0"),
    ),
    Command::admin(
        disabled,
        row("readwrite", Exactly(1))
            .loading()
            .stale()
            .fast()
            .category(Cat::Connection)
            .since("3.0.0"),
    ),
];

/// All of them.
fn disabled(_: &mut AdminCtx) -> CmdResult {
    Err(CmdError::err("This instance has cluster support disabled"))
}
