//! Unions, intersections and differences of sorted sets and sets.

use crate::base::num::parse_f64;
use crate::ds::listpack::Item;
use crate::engine::context::Ctx;
use crate::keyspace::entry::{Entry, Held};
use crate::resp::args::Args;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::{Limits, Set, ValueRef, Zset};

use super::range::store;
use super::{Scores, member, members_head};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answered,
    Stored(&'static str),
    Counted,
}

/// How the scores of one member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => not_nan(a + b),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

/// Infinities that cancel each other out leave nothing.
fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

struct Options {
    weights: Option<Vec<f64>>,
    aggregate: Aggregate,
    scores: Scores,
    /// 0: none.
    limit: usize,
}

impl Options {
    fn read(
        args: &mut Args,
        operation: Operation,
        result: Outcome,
        sources: usize,
    ) -> Result<Options, CmdError> {
        let weighs = operation != Operation::Difference && result != Outcome::Counted;
        let mut options =
            Options { weights: None, aggregate: Aggregate::Sum, scores: Scores::Hidden, limit: 0 };
        while !args.is_done() {
            match args.option()?.as_str() {
                "weights" if weighs && args.left() >= sources => {
                    let text = "ERR weight value is not a float";
                    let weight = |word| parse_f64(word).ok_or(CmdError::Const(text));
                    options.weights =
                        Some(args.take(sources)?.map(weight).collect::<Result<_, _>>()?);
                }
                "aggregate" if weighs && !args.is_done() => {
                    options.aggregate = match args.option()?.as_str() {
                        "sum" => Aggregate::Sum,
                        "min" => Aggregate::Min,
                        "max" => Aggregate::Max,
                        _ => return Err(CmdError::Syntax),
                    };
                }
                "withscores" if result == Outcome::Answered => options.scores = Scores::Shown,
                "limit" if result == Outcome::Counted && !args.is_done() => {
                    let limit = args.i64_in(0..=i64::MAX, "ERR LIMIT can't be negative")?;
                    options.limit = usize::try_from(limit).unwrap_or(usize::MAX);
                }
                _ => return Err(CmdError::Syntax),
            }
        }
        Ok(options)
    }
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
pub(super) fn zunion(cx: &mut Ctx) -> CmdResult {
    combine(cx, Operation::Union, Outcome::Answered)
}

/// ZINTER, with the options of ZUNION
pub(super) fn zinter(cx: &mut Ctx) -> CmdResult {
    combine(cx, Operation::Intersection, Outcome::Answered)
}

/// ZDIFF numkeys key [key ...] [WITHSCORES]
pub(super) fn zdiff(cx: &mut Ctx) -> CmdResult {
    combine(cx, Operation::Difference, Outcome::Answered)
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
pub(super) fn zintercard(cx: &mut Ctx) -> CmdResult {
    combine(cx, Operation::Intersection, Outcome::Counted)
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS …] [AGGREGATE …]
pub(super) fn zunionstore(cx: &mut Ctx) -> CmdResult {
    combine(cx, Operation::Union, Outcome::Stored("zunionstore"))
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS …] [AGGREGATE …]
pub(super) fn zinterstore(cx: &mut Ctx) -> CmdResult {
    combine(cx, Operation::Intersection, Outcome::Stored("zinterstore"))
}

/// ZDIFFSTORE destination numkeys key [key ...]
pub(super) fn zdiffstore(cx: &mut Ctx) -> CmdResult {
    combine(cx, Operation::Difference, Outcome::Stored("zdiffstore"))
}

fn combine(cx: &mut Ctx, operation: Operation, result: Outcome) -> CmdResult {
    let target = match result {
        Outcome::Stored(_) => cx.args.bytes()?,
        _ => b"",
    };
    let count = cx.args.i64()?;
    if count < 1 {
        let name = cx.name();
        let text = format_args!("at least 1 input key is needed for '{name}' command").to_string();
        return Err(CmdError::err(text));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let keys: Vec<&[u8]> = cx.args.take(count)?.collect();
    let limits = cx.db.env().limits;
    let sources = cx.db.read_many(&keys);
    let sources = sources.into_iter().map(Source::of).collect::<Result<Vec<_>, _>>()?;
    let options = Options::read(&mut cx.args, operation, result, count)?;
    let weights = options.weights.as_deref().unwrap_or(&[]);
    let mut weighed: Vec<Weighed> = sources
        .into_iter()
        .enumerate()
        .map(|(at, source)| (source, weights.get(at).copied().unwrap_or(1.0)))
        .collect();
    if operation != Operation::Difference {
        weighed.sort_by_key(|(source, _)| source.len());
    }
    if result == Outcome::Counted {
        let common = intersect(&weighed, options.aggregate, options.limit, &mut |_, _| {});
        return Ok(cx.reply.count(common));
    }
    let mut zset = Zset::new_skiplist(0);
    match operation {
        Operation::Union => unite(&weighed, options.aggregate, &limits, &mut zset),
        Operation::Intersection => {
            intersect(&weighed, options.aggregate, 0, &mut |item, score| {
                item.with_bytes(|member| zset.set(member, score, &limits));
            });
        }
        Operation::Difference => subtract(&weighed, &limits, &mut zset),
    }
    if let Outcome::Stored(event) = result {
        zset.prefer_listpack(&limits);
        return Ok(store(cx, target, zset, event));
    }
    members_head(cx.reply, zset.len(), options.scores);
    zset.iter().for_each(|(item, score)| member(cx.reply, item, score, options.scores));
    Ok(cx.reply.done())
}

/// What is combined. The members of a set have score 1.
#[derive(Clone, Copy)]
enum Source<'a> {
    Nothing,
    Set(&'a Set),
    Zset(&'a Zset),
}

type Weighed<'a> = (Source<'a>, f64);

impl<'a> Source<'a> {
    fn of(entry: Option<&'a Entry>) -> Result<Source<'a>, CmdError> {
        match entry.map(Entry::held) {
            None => Ok(Source::Nothing),
            Some(Held::Value(ValueRef::Set(set))) => Ok(Source::Set(set)),
            Some(Held::Value(ValueRef::Zset(zset))) => Ok(Source::Zset(zset)),
            Some(_) => Err(CmdError::WrongType),
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::Set(set) => set.len(),
            Source::Zset(zset) => zset.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Nothing => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::Zset(zset) => zset.score(member),
        }
    }

    /// Shows every member and its score to `visit` until that says no.
    fn all(self, mut visit: impl FnMut(Item<'_>, f64) -> bool) {
        let _ = match self {
            Source::Nothing => true,
            Source::Set(set) => set.iter().all(|item| visit(item, 1.0)),
            Source::Zset(zset) => zset.iter().all(|(item, score)| visit(item, score)),
        };
    }
}

fn unite(sources: &[Weighed], aggregate: Aggregate, limits: &Limits, into: &mut Zset) {
    for (source, weight) in sources {
        source.all(|item, score| {
            let score = not_nan(score * weight);
            item.with_bytes(|member| {
                let score = into.score(member).map_or(score, |old| aggregate.of(old, score));
                into.set(member, score, limits);
            });
            true
        });
    }
}

/// Shows what all sources have in common to `found`; ends at `limit` members unless that is 0.
/// Returns how many there were.
fn intersect(
    sources: &[Weighed],
    aggregate: Aggregate,
    limit: usize,
    found: &mut dyn FnMut(Item<'_>, f64),
) -> usize {
    let mut count = 0;
    let Some(((first, weight), others)) = sources.split_first() else { return 0 };
    first.all(|item, score| {
        let score = not_nan(score * weight);
        let common = item.with_bytes(|member| {
            others.iter().try_fold(score, |sum, (other, weight)| {
                Some(aggregate.of(sum, not_nan(other.score(member)? * weight)))
            })
        });
        if let Some(score) = common {
            count += 1;
            found(item, score);
        }
        limit == 0 || count < limit
    });
    count
}

fn subtract(sources: &[Weighed], limits: &Limits, into: &mut Zset) {
    let Some(((first, _), others)) = sources.split_first() else { return };
    first.all(|item, score| {
        item.with_bytes(|member| {
            if others.iter().all(|(other, _)| other.score(member).is_none()) {
                into.set(member, score, limits);
            }
        });
        true
    });
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn sorted_sets_are_combined_as_redis_does() {
        let mut house = House::new();
        house.run("zadd a 1 x 2 y");
        house.run("zadd b 10 y 20 z");
        house.run("set s v");
        for (line, answer) in [
            ("zunion 2 a b withscores", "*6|$1|x|$1|1|$1|y|$2|12|$1|z|$2|20|"),
            ("zunion 2 a b weights 2 1 aggregate max", "*3|$1|x|$1|y|$1|z|"),
            ("zinter 2 a b weights 2 1 aggregate min withscores", "*2|$1|y|$1|4|"),
            ("zinter 2 a a withscores", "*4|$1|x|$1|2|$1|y|$1|4|"),
            ("zdiff 2 a b withscores", "*2|$1|x|$1|1|"),
            ("zdiff 2 a a", "*0|"),
            ("zintercard 2 a b", ":1|"),
            ("zintercard 2 a a limit 1", ":1|"),
            ("zintercard 2 a b limit -1", "-ERR LIMIT can't be negative|"),
            ("zinter 0 a", "-ERR at least 1 input key is needed for 'zinter' command|"),
            ("zinter 3 a b", "-ERR syntax error|"),
            ("zinter x a", "-ERR value is not an integer or out of range|"),
            ("zunion 2 a b weights 1", "-ERR syntax error|"),
            ("zunion 2 a b weights 1 x", "-ERR weight value is not a float|"),
            ("zdiff 2 a b weights 1 1", "-ERR syntax error|"),
            ("zunion 2 a s", "-WRONGTYPE Operation against a key holding the wrong kind of value|"),
            ("zunionstore d 2 a b withscores", "-ERR syntax error|"),
            ("zunionstore a 2 a b", ":3|"),
            ("zscore a y", "$2|12|"),
            ("zinterstore d 2 a b", ":2|"),
            ("zdiffstore d 2 b a", ":0|"),
            ("exists d", ":0|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
