//! Sorted sets: members in the order of their scores.

mod bounds;
mod combine;
mod member;
mod pop;
mod range;

pub(super) use member::{Adding, add_scores};
pub(super) use range::store;

use crate::ds::listpack::Item;
use crate::engine::command::Command;
use crate::resp::reply::Reply;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        pop::bzmpop,
        Spec::new("bzmpop", Group::SortedSet, AtLeast(5))
            .rewritten()
            .writes()
            .blocking()
            .key_spec(KeySpec::counted(2).rw().access().delete())
            .since("7.0.0"),
    ),
    Command::data(
        pop::bzpopmax,
        Spec::new("bzpopmax", Group::SortedSet, AtLeast(3))
            .rewritten()
            .writes()
            .blocking()
            .fast()
            .key_spec(KeySpec::range(1, -2, 1).rw().access().delete())
            .since("5.0.0"),
    ),
    Command::data(
        pop::bzpopmin,
        Spec::new("bzpopmin", Group::SortedSet, AtLeast(3))
            .rewritten()
            .writes()
            .blocking()
            .fast()
            .key_spec(KeySpec::range(1, -2, 1).rw().access().delete())
            .since("5.0.0"),
    ),
    Command::data(
        member::zadd,
        Spec::new("zadd", Group::SortedSet, AtLeast(4))
            .member(3)
            .writes()
            .denyoom()
            .fast()
            .key(1)
            .since("1.2.0"),
    ),
    Command::data(
        member::zcard,
        Spec::new("zcard", Group::SortedSet, Exactly(2))
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("1.2.0"),
    ),
    Command::data(
        range::zcount,
        Spec::new("zcount", Group::SortedSet, Exactly(4)).reads().fast().key(1).since("2.0.0"),
    ),
    Command::data(
        combine::zdiff,
        Spec::new("zdiff", Group::SortedSet, AtLeast(3))
            .reads()
            .key_spec(KeySpec::counted(1).ro().access())
            .since("6.2.0"),
    ),
    Command::data(
        combine::zdiffstore,
        Spec::new("zdiffstore", Group::SortedSet, AtLeast(4))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::counted(2).ro().access())
            .since("6.2.0"),
    ),
    Command::data(
        member::zincrby,
        Spec::new("zincrby", Group::SortedSet, Exactly(4))
            .member(3)
            .writes()
            .denyoom()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("1.2.0"),
    ),
    Command::data(
        combine::zinter,
        Spec::new("zinter", Group::SortedSet, AtLeast(3))
            .reads()
            .key_spec(KeySpec::counted(1).ro().access())
            .since("6.2.0"),
    ),
    Command::data(
        combine::zintercard,
        Spec::new("zintercard", Group::SortedSet, AtLeast(3))
            .reads()
            .key_spec(KeySpec::counted(1).ro().access())
            .since("7.0.0"),
    ),
    Command::data(
        combine::zinterstore,
        Spec::new("zinterstore", Group::SortedSet, AtLeast(4))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::counted(2).ro().access())
            .since("2.0.0"),
    ),
    Command::data(
        range::zlexcount,
        Spec::new("zlexcount", Group::SortedSet, Exactly(4)).reads().fast().key(1).since("2.8.9"),
    ),
    Command::data(
        pop::zmpop,
        Spec::new("zmpop", Group::SortedSet, AtLeast(4))
            .rewritten()
            .writes()
            .key_spec(KeySpec::counted(1).rw().access().delete())
            .since("7.0.0"),
    ),
    Command::data(
        member::zmscore,
        Spec::new("zmscore", Group::SortedSet, AtLeast(3))
            .member(2)
            .reads()
            .fast()
            .key(1)
            .since("6.2.0"),
    ),
    Command::data(
        pop::zpopmax,
        Spec::new("zpopmax", Group::SortedSet, AtLeast(2))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .since("5.0.0"),
    ),
    Command::data(
        pop::zpopmin,
        Spec::new("zpopmin", Group::SortedSet, AtLeast(2))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .since("5.0.0"),
    ),
    Command::data(
        member::zrandmember,
        Spec::new("zrandmember", Group::SortedSet, AtLeast(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("6.2.0"),
    ),
    Command::data(
        range::zrange,
        Spec::new("zrange", Group::SortedSet, AtLeast(4)).reads().key(1).since("1.2.0"),
    ),
    Command::data(
        range::zrangebylex,
        Spec::new("zrangebylex", Group::SortedSet, AtLeast(4))
            .reads()
            .key(1)
            .since("2.8.9")
            .deprecated("6.2.0"),
    ),
    Command::data(
        range::zrangebyscore,
        Spec::new("zrangebyscore", Group::SortedSet, AtLeast(4))
            .reads()
            .key(1)
            .since("1.0.5")
            .deprecated("6.2.0"),
    ),
    Command::data(
        range::zrangestore,
        Spec::new("zrangestore", Group::SortedSet, AtLeast(5))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::at(2).ro().access())
            .since("6.2.0"),
    ),
    Command::data(
        member::zrank,
        Spec::new("zrank", Group::SortedSet, AtLeast(3))
            .member(2)
            .reads()
            .fast()
            .key(1)
            .since("2.0.0"),
    ),
    Command::data(
        member::zrem,
        Spec::new("zrem", Group::SortedSet, AtLeast(3))
            .member(2)
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("1.2.0"),
    ),
    Command::data(
        range::zremrangebylex,
        Spec::new("zremrangebylex", Group::SortedSet, Exactly(4))
            .writes()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("2.8.9"),
    ),
    Command::data(
        range::zremrangebyrank,
        Spec::new("zremrangebyrank", Group::SortedSet, Exactly(4))
            .writes()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("2.0.0"),
    ),
    Command::data(
        range::zremrangebyscore,
        Spec::new("zremrangebyscore", Group::SortedSet, Exactly(4))
            .writes()
            .key_spec(KeySpec::at(1).rw().delete())
            .since("1.2.0"),
    ),
    Command::data(
        range::zrevrange,
        Spec::new("zrevrange", Group::SortedSet, AtLeast(4))
            .reads()
            .key(1)
            .since("1.2.0")
            .deprecated("6.2.0"),
    ),
    Command::data(
        range::zrevrangebylex,
        Spec::new("zrevrangebylex", Group::SortedSet, AtLeast(4))
            .reads()
            .key(1)
            .since("2.8.9")
            .deprecated("6.2.0"),
    ),
    Command::data(
        range::zrevrangebyscore,
        Spec::new("zrevrangebyscore", Group::SortedSet, AtLeast(4))
            .reads()
            .key(1)
            .since("2.2.0")
            .deprecated("6.2.0"),
    ),
    Command::data(
        member::zrevrank,
        Spec::new("zrevrank", Group::SortedSet, AtLeast(3))
            .member(2)
            .reads()
            .fast()
            .key(1)
            .since("2.0.0"),
    ),
    Command::data(
        member::zscan,
        Spec::new("zscan", Group::SortedSet, AtLeast(3))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("2.8.0"),
    ),
    Command::data(
        member::zscore,
        Spec::new("zscore", Group::SortedSet, Exactly(3))
            .member(2)
            .reads()
            .fast()
            .key(1)
            .since("1.2.0"),
    ),
    Command::data(
        combine::zunion,
        Spec::new("zunion", Group::SortedSet, AtLeast(3))
            .reads()
            .key_spec(KeySpec::counted(1).ro().access())
            .since("6.2.0"),
    ),
    Command::data(
        combine::zunionstore,
        Spec::new("zunionstore", Group::SortedSet, AtLeast(4))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ow().update())
            .key_spec(KeySpec::counted(2).ro().access())
            .since("2.0.0"),
    ),
];

/// Whether scores are answered beside members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    Hidden,
    Shown,
}

/// The head of an array of `len` members: with scores pairs in RESP3, and twice as long in RESP2.
fn members_head(reply: &mut Reply, len: usize, scores: Scores) {
    let flat = scores == Scores::Shown && !reply.is_resp3();
    reply.array(if flat { len.saturating_mul(2) } else { len });
}

/// One member of such an array.
fn member(reply: &mut Reply, item: Item<'_>, score: f64, scores: Scores) {
    if scores == Scores::Shown && reply.is_resp3() {
        reply.array(2);
    }
    let _ = item.with_bytes(|bytes| reply.bulk(bytes));
    if scores == Scores::Shown {
        let _ = reply.double(score);
    }
}
