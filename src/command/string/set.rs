//! SET and GET with everything that can be said beside them.

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::engine::context::Ctx;
use crate::keyspace::entry::New;
use crate::keyspace::event::Event;
use crate::keyspace::view::Deadline;
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

const SET: Event = Event::string("set");
const EXPIRE: Event = Event::generic("expire");

/// In what a deadline was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
}

/// A deadline as the client gave it.
#[derive(Clone, Copy, Debug)]
struct Expiry<'a> {
    unit: Unit,
    relative: bool,
    word: &'a [u8],
}

impl Expiry<'_> {
    fn deadline(&self, now: UnixMs, command: &str) -> Result<UnixMs, CmdError> {
        let given = parse_i64(self.word).ok_or(CmdError::NotInteger)?;
        let ms = match self.unit {
            _ if given <= 0 => None,
            Unit::Seconds => given.checked_mul(1000),
            Unit::Millis => Some(given),
        };
        let base = if self.relative { now.0 as i64 } else { 0 };
        let at = ms.and_then(|ms| ms.checked_add(base));
        at.map(|at| UnixMs(at as u64)).ok_or_else(|| CmdError::InvalidExpire(command.to_owned()))
    }
}

/// Whether a key must be there, or must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum When {
    #[default]
    Always,
    Absent,
    Present,
}

#[derive(Default)]
struct Options<'a> {
    when: When,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    expiry: Option<Expiry<'a>>,
}

/// Which command's options are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Set,
    GetEx,
}

impl<'a> Options<'a> {
    fn read(cx: &mut Ctx<'a>, of: Of) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        while !cx.args.is_done() {
            options.read_one(cx.args.bytes()?, cx, of)?;
        }
        Ok(options)
    }

    fn read_one(&mut self, word: &[u8], cx: &mut Ctx<'a>, of: Of) -> Result<(), CmdError> {
        let is = |name| is_word(word, name);
        let set = of == Of::Set;
        let timeless = !self.keep_ttl && !self.persist && self.expiry.is_none();
        if set && is("nx") && self.when != When::Present {
            self.when = When::Absent;
        } else if set && is("xx") && self.when != When::Absent {
            self.when = When::Present;
        } else if set && is("get") {
            self.get = true;
        } else if set && is("keepttl") && (timeless || self.keep_ttl) {
            self.keep_ttl = true;
        } else if !set && is("persist") && (timeless || self.persist) {
            self.persist = true;
        } else if timeless {
            let (unit, relative) = match word.to_ascii_lowercase().as_slice() {
                b"ex" => (Unit::Seconds, true),
                b"px" => (Unit::Millis, true),
                b"exat" => (Unit::Seconds, false),
                b"pxat" => (Unit::Millis, false),
                _ => return Err(CmdError::Syntax),
            };
            self.expiry = Some(Expiry { unit, relative, word: cx.args.bytes()? });
        } else {
            return Err(CmdError::Syntax);
        }
        Ok(())
    }
}

/// GET key
pub(super) fn get(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    Ok(match cx.db.read_text(key)? {
        None => cx.reply.null(),
        Some(text) => text.with(|bytes| cx.reply.bulk(bytes)),
    })
}

/// SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT | KEEPTTL]
pub(super) fn set(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let value = cx.args.bytes()?;
    if cx.args.is_done() {
        cx.db.set(key, New::Bytes(value), Deadline::Clear, SET);
        return Ok(cx.reply.ok());
    }
    let options = Options::read(cx, Of::Set)?;
    let deadline = match (&options.expiry, options.keep_ttl) {
        (Some(expiry), _) => Deadline::At(expiry.deadline(cx.now, "set")?),
        (None, true) => Deadline::Keep,
        (None, false) => Deadline::Clear,
    };
    if options.get {
        let _ = match cx.db.read_text(key)? {
            None => cx.reply.null(),
            Some(text) => text.with(|bytes| cx.reply.bulk(bytes)),
        };
    }
    if !may_set(cx, key, options.when) {
        return Ok(if options.get { cx.reply.done() } else { cx.reply.null() });
    }
    match &options.expiry {
        // The request names the moment already.
        Some(Expiry { unit: Unit::Millis, relative: false, .. }) => {
            store(cx, key, value, deadline);
        }
        _ => put(cx, key, value, deadline),
    }
    if options.get && options.expiry.is_none() {
        // Who replays the journal does not want the answer.
        let is_kept = |at: usize, word: &[u8]| at < 3 || !is_word(word, "get");
        let words = cx.args.words().enumerate().filter(|(at, word)| is_kept(*at, word));
        cx.record.instead(&words.map(|(_, word)| word).collect::<Vec<_>>());
    }
    Ok(if options.get { cx.reply.done() } else { cx.reply.ok() })
}

fn may_set(cx: &mut Ctx, key: &[u8], when: When) -> bool {
    match when {
        When::Always => true,
        When::Absent => !cx.db.contains(key),
        When::Present => cx.db.contains(key),
    }
}

/// Sets the key.
fn store(cx: &mut Ctx, key: &[u8], value: &[u8], deadline: Deadline) {
    cx.db.set(key, New::Bytes(value), deadline, SET);
    if matches!(deadline, Deadline::At(_)) {
        cx.db.note(EXPIRE, key);
    }
}

/// Sets the key, and tells the journal a deadline as a moment.
fn put(cx: &mut Ctx, key: &[u8], value: &[u8], deadline: Deadline) {
    store(cx, key, value, deadline);
    if let Deadline::At(at) = deadline {
        let mut digits = itoa::Buffer::new();
        cx.record.instead(&[b"SET", key, value, b"PXAT", digits.format(at.0).as_bytes()]);
    }
}

/// SETNX key value
pub(super) fn setnx(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let value = cx.args.bytes()?;
    let free = may_set(cx, key, When::Absent);
    if free {
        put(cx, key, value, Deadline::Clear);
    }
    Ok(cx.reply.flag(free))
}

/// SETEX key seconds value
pub(super) fn setex(cx: &mut Ctx) -> CmdResult {
    set_for(cx, Unit::Seconds)
}

/// PSETEX key milliseconds value
pub(super) fn psetex(cx: &mut Ctx) -> CmdResult {
    set_for(cx, Unit::Millis)
}

fn set_for(cx: &mut Ctx, unit: Unit) -> CmdResult {
    let key = cx.args.bytes()?;
    let expiry = Expiry { unit, relative: true, word: cx.args.bytes()? };
    let value = cx.args.bytes()?;
    let at = expiry.deadline(cx.now, cx.name())?;
    put(cx, key, value, Deadline::At(at));
    Ok(cx.reply.ok())
}

/// GETSET key value
pub(super) fn getset(cx: &mut Ctx) -> CmdResult {
    let answer = get(cx)?;
    let mut args = cx.args.rewound();
    let (key, value) = (args.bytes()?, args.from_word(2).bytes()?);
    put(cx, key, value, Deadline::Clear);
    cx.record.instead(&[b"SET", key, value]);
    Ok(answer)
}

/// GETDEL key
pub(super) fn getdel(cx: &mut Ctx) -> CmdResult {
    let answer = get(cx)?;
    let key = cx.args.word(1);
    if cx.db.delete(key, Event::DEL) {
        cx.record.instead(&[b"DEL", key]);
    }
    Ok(answer)
}

/// GETEX key [EX | PX | EXAT | PXAT | PERSIST]
pub(super) fn getex(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let options = Options::read(cx, Of::GetEx)?;
    let Some(text) = cx.db.read_text(key)? else { return Ok(cx.reply.null()) };
    let deadline = match options.expiry {
        Some(expiry) => Some(expiry.deadline(cx.now, "getex")?),
        None => None,
    };
    let answer = text.with(|bytes| cx.reply.bulk(bytes));
    match deadline {
        Some(at) if at <= cx.now && cx.db.env().expires => {
            cx.db.delete(key, Event::DEL);
            cx.record.instead(&[cx.db.env().expires_with, key]);
        }
        Some(at) => {
            cx.db.set_deadline(key, Some(at), EXPIRE);
            let mut digits = itoa::Buffer::new();
            cx.record.instead(&[b"PEXPIREAT", key, digits.format(at.0).as_bytes()]);
        }
        None if options.persist && cx.db.deadline(key).flatten().is_some() => {
            cx.db.set_deadline(key, None, Event::generic("persist"));
            cx.record.instead(&[b"PERSIST", key]);
        }
        None => {}
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn set_takes_its_options_and_refuses_contradictions() {
        let mut house = House::new();
        for (line, answer) in [
            ("set k 1 nx", "+OK|"),
            ("set k 2 nx", "$-1|"),
            ("set k 2 xx get", "$1|1|"),
            ("set k 3 nx get", "$1|2|"),
            ("set new 3 nx get", "$-1|"),
            ("get new", "$1|3|"),
            ("set none 3 xx", "$-1|"),
            ("set k 1 nx xx", "-ERR syntax error|"),
            ("set k 1 ex 10 px 10", "-ERR syntax error|"),
            ("set k 1 ex 10 keepttl", "-ERR syntax error|"),
            ("set k 1 persist", "-ERR syntax error|"),
            ("set k 1 ex", "-ERR syntax error|"),
            ("set k 1 ex a", "-ERR value is not an integer or out of range|"),
            ("set k 1 ex 0", "-ERR invalid expire time in 'set' command|"),
            ("set k 1 px 9223372036854775807", "-ERR invalid expire time in 'set' command|"),
            ("setex k 9223372036854775807 1", "-ERR invalid expire time in 'setex' command|"),
            ("psetex k -1 1", "-ERR invalid expire time in 'psetex' command|"),
            ("getex none ex 0", "$-1|"),
            ("getex k ex 0", "-ERR invalid expire time in 'getex' command|"),
            ("getex k nx", "-ERR syntax error|"),
            ("getset k 9", "$1|2|"),
            ("setnx k 1", ":0|"),
            ("getdel k", "$1|9|"),
            ("get k", "$-1|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn set_with_a_duration_is_logged_as_a_moment() {
        let mut house = House::new();
        for (line, logged) in [
            ("set k 1 ex 10", &["SELECT 0", "SET k 1 PXAT 1010000"][..]),
            ("set k 1 pxat 2000000", &["set k 1 pxat 2000000"]),
            ("set k 1 keepttl get", &["set k 1 keepttl"]),
            ("setex k 1 v", &["SET k v PXAT 1001000"]),
            ("getex k persist", &["PERSIST k"]),
            ("getex k persist", &[]),
            ("getex k px 5", &["PEXPIREAT k 1000005"]),
            ("getset k w", &["SET k w"]),
            ("getex k exat 1", &["DEL k"]),
            ("setnx k 1", &["setnx k 1"]),
            ("getdel k", &["DEL k"]),
            ("getdel k", &[]),
        ] {
            house.run(line);
            assert_eq!(house.log(), logged, "{line}");
        }
    }
}
