//! Deadlines: setting, asking, removing them.

use crate::base::clock::UnixMs;
use crate::base::text::shown_to_zero;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// How a moment is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
}

/// From when a time counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Now,
    Epoch,
}

/// When a deadline is set at all.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn read(cx: &mut Ctx) -> Result<Conditions, CmdError> {
        let mut only = Conditions::default();
        while !cx.args.is_done() {
            let word = cx.args.bytes()?;
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => only.nx = true,
                b"xx" => only.xx = true,
                b"gt" => only.gt = true,
                b"lt" => only.lt = true,
                _ => {
                    let word = shown_to_zero(word);
                    return Err(CmdError::err(format_args!("Unsupported option {word}")));
                }
            }
        }
        if only.nx && (only.xx || only.gt || only.lt) {
            let text = "NX and XX, GT or LT options at the same time are not compatible";
            return Err(CmdError::err(text));
        }
        if only.gt && only.lt {
            let text = "GT and LT options at the same time are not compatible";
            return Err(CmdError::err(text));
        }
        Ok(only)
    }

    /// Whether `at` may follow the deadline the key has.
    fn allow(&self, present: Option<UnixMs>, at: UnixMs) -> bool {
        match present {
            // No deadline is later than any.
            None => !self.xx && !self.gt,
            Some(present) => {
                let early = self.gt && at <= present;
                let late = self.lt && at >= present;
                !(self.nx || early || late)
            }
        }
    }
}

/// EXPIRE key seconds [NX | XX | GT | LT]
pub(super) fn expire(cx: &mut Ctx) -> CmdResult {
    set(cx, Unit::Seconds, From::Now)
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
pub(super) fn pexpire(cx: &mut Ctx) -> CmdResult {
    set(cx, Unit::Millis, From::Now)
}

/// EXPIREAT key unix-time-seconds [NX | XX | GT | LT]
pub(super) fn expireat(cx: &mut Ctx) -> CmdResult {
    set(cx, Unit::Seconds, From::Epoch)
}

/// PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]
pub(super) fn pexpireat(cx: &mut Ctx) -> CmdResult {
    set(cx, Unit::Millis, From::Epoch)
}

fn set(cx: &mut Ctx, unit: Unit, from: From) -> CmdResult {
    let key = cx.args.bytes()?;
    let word = cx.args.bytes()?;
    let conditions = Conditions::read(cx)?;
    let given = crate::base::num::parse_i64(word).ok_or(CmdError::NotInteger)?;
    let ms = if unit == Unit::Seconds { given.checked_mul(1000) } else { Some(given) };
    let base = if from == From::Now { cx.now.0 as i64 } else { 0 };
    let Some(ms) = ms.and_then(|ms| ms.checked_add(base)) else {
        return Err(CmdError::InvalidExpire(cx.name().to_owned()));
    };
    // What lies before the epoch has passed all the same.
    let at = UnixMs(ms.max(0) as u64);

    let Some(present) = cx.db.deadline(key) else { return Ok(cx.reply.int(0)) };
    if !conditions.allow(present, at) {
        return Ok(cx.reply.int(0));
    }
    if at <= cx.now && cx.db.env().expires {
        cx.db.delete(key, Event::DEL);
        cx.record.instead(&[cx.db.env().expires_with, key]);
        return Ok(cx.reply.int(1));
    }
    cx.db.set_deadline(key, Some(at), Event::generic("expire"));
    let mut digits = itoa::Buffer::new();
    let mut words: Vec<&[u8]> = vec![b"PEXPIREAT", key, digits.format(at.0).as_bytes()];
    words.extend(cx.args.words().skip(3));
    cx.record.instead(&words);
    Ok(cx.reply.int(1))
}

/// PERSIST key
pub(super) fn persist(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let mortal = cx.db.deadline(key).flatten().is_some();
    if mortal {
        cx.db.set_deadline(key, None, Event::generic("persist"));
    }
    Ok(cx.reply.flag(mortal))
}

/// TTL key
pub(super) fn ttl(cx: &mut Ctx) -> CmdResult {
    ask(cx, Unit::Seconds, From::Now)
}

/// PTTL key
pub(super) fn pttl(cx: &mut Ctx) -> CmdResult {
    ask(cx, Unit::Millis, From::Now)
}

/// EXPIRETIME key
pub(super) fn expiretime(cx: &mut Ctx) -> CmdResult {
    ask(cx, Unit::Seconds, From::Epoch)
}

/// PEXPIRETIME key
pub(super) fn pexpiretime(cx: &mut Ctx) -> CmdResult {
    ask(cx, Unit::Millis, From::Epoch)
}

fn ask(cx: &mut Ctx, unit: Unit, from: From) -> CmdResult {
    let key = cx.args.bytes()?;
    let base = if from == From::Now { cx.now.0 } else { 0 };
    let answer = match cx.db.glance_entry(key).map(|entry| entry.deadline()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let ms = i64::try_from(at.0.saturating_sub(base)).unwrap_or(i64::MAX);
            if unit == Unit::Seconds { ms.saturating_add(500) / 1000 } else { ms }
        }
    };
    Ok(cx.reply.int(answer))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn deadlines_are_set_under_conditions_and_told() {
        let mut house = House::new();
        house.run("set k v");
        for (line, answer) in [
            ("ttl k", ":-1|"),
            ("ttl none", ":-2|"),
            ("persist k", ":0|"),
            ("expire k 10 xx", ":0|"),
            ("expire k 10 gt", ":0|"),
            ("expire k 10 lt", ":1|"),
            ("expire k 20 nx", ":0|"),
            ("expire k 20 lt", ":0|"),
            ("expire k 20 gt", ":1|"),
            ("ttl k", ":20|"),
            ("pttl k", ":20000|"),
            ("expiretime k", ":1020|"),
            ("pexpiretime k", ":1020000|"),
            ("expire none 10", ":0|"),
            ("expire k 9223372036854775807", "-ERR invalid expire time in 'expire' command|"),
            ("pexpire k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command|"),
            ("expire k x", "-ERR value is not an integer or out of range|"),
            ("expire k 1 foo", "-ERR Unsupported option foo|"),
            ("persist k", ":1|"),
            ("pexpireat k 1", ":1|"),
            ("exists k", ":0|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn expire_is_logged_as_a_moment_not_a_duration() {
        let mut house = House::new();
        for (line, logged) in [
            ("set k v", &["SELECT 0", "set k v"][..]),
            ("expire k 10", &["PEXPIREAT k 1010000"]),
            ("pexpireat k 1020000 gt", &["PEXPIREAT k 1020000 gt"]),
            ("expire k 1 nx", &[]),
            ("persist k", &["persist k"]),
            ("expire k -1", &["DEL k"]),
        ] {
            house.run(line);
            assert_eq!(house.log(), logged, "{line}");
        }
    }
}
