//! SORT: the elements of a list, set or sorted set in order, by themselves or by what other keys
//! say of them.

use std::cmp::Ordering;

use crate::base::num::parse_f64;
use crate::ds::quicklist::Side;
use crate::engine::context::Ctx;
use crate::keyspace::entry::{Held, New};
use crate::keyspace::event::Event;
use crate::keyspace::view::Deadline;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::{Hash, Kind, List, Value, ValueRef};

const BY_DENIED: &str = "ERR BY option of SORT denied due to insufficient ACL permissions.";
const GET_DENIED: &str = "ERR GET option of SORT denied due to insufficient ACL permissions.";

#[derive(Default)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    skip: i64,
    /// Negative: all.
    count: Option<i64>,
    by: Option<&'a [u8]>,
    gets: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

/// Which of the two commands is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

impl<'a> Options<'a> {
    fn read(cx: &mut Ctx<'a>, access: Access) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        while !cx.args.is_done() {
            match cx.args.option()?.as_str() {
                "asc" => options.descending = false,
                "desc" => options.descending = true,
                "alpha" => options.alpha = true,
                "limit" if cx.args.left() >= 2 => {
                    options.skip = cx.args.i64()?;
                    options.count = Some(cx.args.i64()?);
                }
                "store" if access == Access::ReadWrite => options.store = Some(cx.args.bytes()?),
                "by" => {
                    let by = cx.args.bytes()?;
                    if by.contains(&b'*') && !cx.reads_all_keys {
                        return Err(CmdError::Const(BY_DENIED));
                    }
                    options.by = Some(by);
                }
                "get" => {
                    options.gets.push(cx.args.bytes()?);
                    if !cx.reads_all_keys {
                        return Err(CmdError::Const(GET_DENIED));
                    }
                }
                _ => return Err(CmdError::Syntax),
            }
        }
        Ok(options)
    }

    /// Which of `len` elements are answered.
    fn window(&self, len: usize) -> std::ops::Range<usize> {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        let start = self.skip.clamp(0, len);
        let count = self.count.filter(|count| *count >= 0).unwrap_or(len);
        start as usize..start.saturating_add(count).min(len) as usize
    }
}

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE key]
pub(super) fn sort(cx: &mut Ctx) -> CmdResult {
    sort_as(cx, Access::ReadWrite)
}

/// SORT_RO: the same without STORE.
pub(super) fn sort_ro(cx: &mut Ctx) -> CmdResult {
    sort_as(cx, Access::ReadOnly)
}

fn sort_as(cx: &mut Ctx, access: Access) -> CmdResult {
    let key = cx.args.bytes()?;
    let mut options = Options::read(cx, access)?;
    let (kind, mut elements) = elements(cx, key)?;
    // A pattern without a star says the same of every element: nothing is to be sorted.
    let mut sorted = options.by.is_none_or(|by| by.contains(&b'*'));
    if !sorted && kind == Some(Kind::Set) && (options.store.is_some() || cx.scripted) {
        // What is stored, or seen by a script, must come out the same wherever it is replayed.
        (sorted, options.alpha, options.by) = (true, true, None);
    }
    if sorted {
        elements = in_order(cx, &options, elements)?;
    } else if kind != Some(Kind::Set) && options.descending {
        elements.reverse();
    }
    let window = options.window(elements.len());
    match options.store {
        None => answer(cx, &options.gets, &elements[window]),
        Some(store) => keep(cx, &options.gets, &elements[window], store),
    }
}

fn elements(cx: &mut Ctx, key: &[u8]) -> Result<(Option<Kind>, Vec<Vec<u8>>), CmdError> {
    let Some(entry) = cx.db.read_entry(key) else { return Ok((None, Vec::new())) };
    let all = match entry.held() {
        Held::Value(ValueRef::List(list)) => list.iter().map(|item| item.to_vec()).collect(),
        Held::Value(ValueRef::Set(set)) => set.iter().map(|item| item.to_vec()).collect(),
        Held::Value(ValueRef::Zset(zset)) => zset.iter().map(|(item, _)| item.to_vec()).collect(),
        _ => return Err(CmdError::WrongType),
    };
    Ok((Some(entry.kind()), all))
}

fn in_order(
    cx: &mut Ctx,
    options: &Options,
    elements: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, CmdError> {
    let directed = |order: Ordering| if options.descending { order.reverse() } else { order };
    let mut weights: Vec<Option<Vec<u8>>> = Vec::new();
    if let Some(by) = options.by {
        weights = elements.iter().map(|element| look_up(cx, by, element)).collect();
    }
    let mut order: Vec<usize> = (0..elements.len()).collect();
    if options.alpha {
        match options.by {
            None => order.sort_by(|a, b| directed(elements[*a].cmp(&elements[*b]))),
            Some(_) => order.sort_by(|a, b| directed(weights[*a].cmp(&weights[*b]))),
        }
    } else {
        let scores: Vec<f64> = match options.by {
            None => elements.iter().map(|element| score(element)).collect::<Result<_, _>>()?,
            Some(_) => weights
                .iter()
                .map(|weight| weight.as_ref().map_or(Ok(0.0), |weight| score(weight)))
                .collect::<Result<_, _>>()?,
        };
        order.sort_by(|a, b| {
            let by_score = scores[*a].partial_cmp(&scores[*b]).unwrap_or(Ordering::Equal);
            directed(by_score.then_with(|| elements[*a].cmp(&elements[*b])))
        });
    }
    let mut elements = elements;
    Ok(order.into_iter().map(|at| std::mem::take(&mut elements[at])).collect())
}

fn score(text: &[u8]) -> Result<f64, CmdError> {
    let trimmed = text.trim_ascii_start();
    match parse_f64(trimmed) {
        Some(score) => Ok(score),
        None if text.is_empty() => Ok(0.0),
        None => Err(CmdError::Const("ERR One or more scores can't be converted into double")),
    }
}

/// What a pattern says of an element: `#` the element itself; else the key that the pattern names
/// with the element in place of its star, or with `->field` a field of the hash at that key.
fn look_up(cx: &mut Ctx, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = after.windows(2).position(|pair| pair == b"->");
    let (after, field) = match arrow {
        Some(arrow) if arrow + 2 < after.len() => (&after[..arrow], Some(&after[arrow + 2..])),
        _ => (after, None),
    };
    let key = [before, element, after].concat();
    match field {
        Some(field) => {
            cx.db.read::<Hash>(&key).ok().flatten()?.get(field).map(|item| item.to_vec())
        }
        None => match cx.db.read_entry(&key)?.held() {
            Held::Text(text) => Some(text.to_vec()),
            Held::Value(_) => None,
        },
    }
}

fn answer(cx: &mut Ctx, gets: &[&[u8]], elements: &[Vec<u8>]) -> CmdResult {
    cx.reply.array(elements.len() * gets.len().max(1));
    for element in elements {
        if gets.is_empty() {
            let _ = cx.reply.bulk(element);
        }
        for get in gets {
            let found = look_up(cx, get, element);
            let _ = cx.reply.bulk_or_null(found.as_deref());
        }
    }
    Ok(cx.reply.done())
}

fn keep(cx: &mut Ctx, gets: &[&[u8]], elements: &[Vec<u8>], store: &[u8]) -> CmdResult {
    let limits = &cx.db.env().limits;
    let mut list = List::builder(limits);
    for element in elements {
        if gets.is_empty() {
            list.push(Side::Tail, element);
        }
        for get in gets {
            list.push(Side::Tail, &look_up(cx, get, element).unwrap_or_default());
        }
    }
    let len = list.len();
    if len == 0 {
        cx.db.delete(store, Event::DEL);
    } else {
        let list = Value::List(List::from_quicklist(list, limits));
        cx.db.set(store, New::Value(list), Deadline::Clear, Event::list("sortstore"));
        cx.db.fx().dirty += len as u64 - 1;
    }
    Ok(cx.reply.count(len))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn sort_refuses_other_types_and_wrong_options() {
        let mut house = House::new();
        house.run("set s v");
        for (line, answer) in [
            ("sort none", "*0|"),
            ("sort none store s", ":0|"),
            ("exists s", ":0|"),
            ("set s v", "+OK|"),
            ("sort s", "-WRONGTYPE Operation against a key holding the wrong kind of value|"),
            ("sort_ro s store d", "-ERR syntax error|"),
            ("sort s limit 1", "-ERR syntax error|"),
            ("sort s limit a b", "-ERR value is not an integer or out of range|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }
}
