//! Streams: adding entries, and cutting the stream to a size.

use smallvec::SmallVec;

use crate::base::num::parse_i64;
use crate::command::stream::{INVALID_ID, exact_id};
use crate::ds::listpack::BYTES_MAX;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::args::{Args, is_word};
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::Stream;
use crate::value::stream::Log;
use crate::value::stream::id::{NewId, StreamId};
use crate::value::stream::log::{Refused, Trim, TrimTo};

/// Entries that an approximate trim removes at most, when nobody says how many: so many nodes.
const NODES_TRIMMED_MAX: u64 = 100;
/// That limit where nodes have no limit of their own.
const TRIMMED_DEFAULT: u64 = 10_000;
/// That limit however large nodes may be.
const TRIMMED_MAX: u64 = 1_000_000;

/// The words between key and fields.
#[derive(Default)]
struct Options<'a> {
    trim: Option<Trim>,
    /// How far, as the request says it.
    bound: &'a [u8],
    limit: Option<u64>,
    only_existing: bool,
    id: Option<NewId>,
}

/// Whose words they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Add,
    Trim,
}

impl<'a> Options<'a> {
    /// Reads up to the id (XADD), or to the end (XTRIM).
    fn parse(args: &mut Args<'a>, form: Form) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        while options.id.is_none() && !args.is_done() {
            let word = args.bytes()?;
            let more = !args.is_done();
            if is_word(word, "maxlen") && more {
                options.set_trim(args, max_len)?;
            } else if is_word(word, "minid") && more {
                options.set_trim(args, |word| exact_id(word).map(TrimTo::Id))?;
            } else if is_word(word, "limit") && more {
                let limit = args.i64()?;
                let limit = u64::try_from(limit)
                    .map_err(|_| CmdError::Const("ERR The LIMIT argument must be >= 0."))?;
                options.limit = Some(limit);
            } else if form == Form::Trim {
                return Err(CmdError::Syntax);
            } else if is_word(word, "nomkstream") {
                options.only_existing = true;
            } else {
                options.id = Some(NewId::parse(word).ok_or(INVALID_ID)?);
            }
        }
        if options.limit.is_some_and(|limit| limit > 0) && options.trim.is_none() {
            return Err(CmdError::err(
                "syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        Ok(options)
    }

    fn set_trim(
        &mut self,
        args: &mut Args<'a>,
        read: fn(&[u8]) -> Result<TrimTo, CmdError>,
    ) -> Result<(), CmdError> {
        if self.trim.is_some() {
            return Err(CmdError::err(
                "syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let mark = args.peek().filter(|_| args.left() >= 2);
        let whole_nodes = mark == Some(b"~");
        if whole_nodes || mark == Some(b"=") {
            args.bytes()?;
        }
        self.bound = args.bytes()?;
        self.trim = Some(Trim { to: read(self.bound)?, whole_nodes, limit: 0 });
        Ok(())
    }

    /// Settles how much may be removed. What a log says was limited when it was written.
    fn settle_limit(&mut self, cx: &Ctx) -> Result<(), CmdError> {
        let Some(trim) = &mut self.trim else { return Ok(()) };
        let env = cx.db.env();
        let replayed = !env.expires;
        match self.limit {
            _ if replayed => {}
            Some(_) if !trim.whole_nodes => {
                return Err(CmdError::err(
                    "syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            Some(limit) => trim.limit = limit,
            None if trim.whole_nodes => {
                let entries = env.limits.stream_node_max_entries as u64;
                trim.limit = match entries.saturating_mul(NODES_TRIMMED_MAX) {
                    0 => TRIMMED_DEFAULT,
                    limit => limit.min(TRIMMED_MAX),
                };
            }
            None => {}
        }
        Ok(())
    }

    /// What the journal is told of the trim, which has happened: exactly how far it went.
    fn trim_words(&self, log: &Log) -> Option<(&'static [u8], Vec<u8>)> {
        let trim = self.trim?;
        let exact = !trim.whole_nodes;
        Some(match trim.to {
            _ if exact && matches!(trim.to, TrimTo::Len(_)) => (b"MAXLEN", self.bound.to_vec()),
            _ if exact => (b"MINID", self.bound.to_vec()),
            TrimTo::Len(_) => (b"MAXLEN", log.len().to_string().into_bytes()),
            TrimTo::Id(_) if log.is_empty() => (b"MINID", StreamId::MAX.text().to_vec()),
            TrimTo::Id(_) => (b"MINID", log.first_id().text().to_vec()),
        })
    }
}

const TOO_LARGE: CmdError = CmdError::Const("ERR Elements are too large to be stored");

fn max_len(word: &[u8]) -> Result<TrimTo, CmdError> {
    let len = parse_i64(word).ok_or(CmdError::NotInteger)?;
    let negative = |_| CmdError::Const("ERR The MAXLEN argument must be >= 0.");
    u64::try_from(len).map(TrimTo::Len).map_err(negative)
}

impl From<Refused> for CmdError {
    fn from(refused: Refused) -> CmdError {
        match refused {
            Refused::Exhausted => CmdError::err(
                "The stream has exhausted the last possible ID, unable to add more items",
            ),
            Refused::NotGreater => CmdError::err(
                "The ID specified in XADD is equal or smaller than the target stream top item",
            ),
            Refused::TooLarge => TOO_LARGE,
        }
    }
}

/// XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value
/// [field value ...]
pub(super) fn xadd(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let mut options = Options::parse(&mut cx.args, Form::Add)?;
    options.settle_limit(cx)?;
    let words = cx.args.remaining();
    let wanted = match options.id {
        Some(wanted) if words.len() > 0 && words.len().is_multiple_of(2) => wanted,
        _ => return Err(CmdError::Arity(cx.name().to_owned())),
    };
    if wanted == NewId::Exactly(StreamId::MIN) {
        return Err(CmdError::err("The ID specified in XADD must be greater than 0-0"));
    }
    // A new stream takes every entry that fits: no key is made for nothing.
    let too_large = words.clone().map(<[u8]>::len).sum::<usize>() > BYTES_MAX;
    if too_large && !cx.db.contains(key) && !options.only_existing {
        return Err(TOO_LARGE);
    }
    let env = cx.db.env();
    let opened = match options.only_existing {
        true => cx.db.open::<Stream>(key)?,
        false => Some(cx.db.open_or_create::<Stream>(key)?),
    };
    let Some(mut stream) = opened else { return Ok(cx.reply.null()) };
    let id = match stream.log.append(wanted, env.now, words.clone(), &env.limits) {
        Ok(id) => id,
        Err(refused) => {
            stream.commit_apart(None, 0);
            return Err(refused.into());
        }
    };
    let trimmed = options.trim.is_some_and(|trim| stream.log.trim(&trim) > 0);
    let exact = options.trim_words(&stream.log);
    if trimmed {
        stream.announce(Event::stream("xadd"));
        stream.commit(Event::stream("xtrim"), 1);
    } else {
        stream.commit(Event::stream("xadd"), 1);
    }
    let text = id.text();
    let changed = options.trim.is_some_and(|trim| trim.whole_nodes);
    if cx.record.is_enabled() && (changed || !matches!(wanted, NewId::Exactly(_))) {
        let mut said: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(&[b"XADD", key]);
        if options.only_existing {
            said.push(b"NOMKSTREAM");
        }
        if let Some((strategy, bound)) = &exact {
            said.extend([*strategy, b"=".as_slice(), bound]);
        }
        said.push(&text);
        words.for_each(|word| said.push(word));
        cx.record.instead(&said);
    }
    Ok(cx.reply.bulk(&text))
}

/// XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]
pub(super) fn xtrim(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let mut options = Options::parse(&mut cx.args, Form::Trim)?;
    let Some(trim) = options.trim else {
        return Err(CmdError::err("syntax error, XTRIM must be called with a trimming strategy"));
    };
    options.settle_limit(cx)?;
    let trim = options.trim.unwrap_or(trim);
    let Some(mut stream) = cx.db.open::<Stream>(key)? else { return Ok(cx.reply.int(0)) };
    let removed = stream.log.trim(&trim);
    let exact = options.trim_words(&stream.log);
    stream.commit(Event::stream("xtrim"), usize::try_from(removed).unwrap_or(usize::MAX));
    if let Some((strategy, bound)) = exact.filter(|_| removed > 0 && trim.whole_nodes) {
        cx.record.instead(&[b"XTRIM", key, strategy, b"=", &bound]);
    }
    Ok(cx.reply.int(removed as i64))
}
