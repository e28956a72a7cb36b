//! DUMP and RESTORE: a value as bytes.

use crate::base::clock::UnixMs;
use crate::engine::context::Ctx;
use crate::keyspace::effects::Access;
use crate::keyspace::effects::Env;
use crate::keyspace::entry::{Entry, Held, New};
use crate::keyspace::event::Event;
use crate::keyspace::lfu;
use crate::persist::rdb::decode::decode;
use crate::persist::rdb::dump::{VerifyDump, verify};
use crate::persist::rdb::encode;
use crate::persist::rdb::format::Dialect;
use crate::persist::rdb::writer::Compression;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::{Value, ValueRef};

/// DUMP key
pub(super) fn dump(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let env = cx.db.env();
    let Some(entry) = cx.db.read_entry(key) else { return Ok(cx.reply.null()) };
    let payload = payload(entry, env);
    Ok(cx.reply.bulk(&payload))
}

/// A value as RESTORE takes it.
pub(super) fn payload(entry: &Entry, env: &Env) -> Vec<u8> {
    let (version, compressed) = env.dumps;
    let compression = if compressed { Compression::Lzf } else { Compression::Off };
    match entry.held() {
        Held::Text(text) => {
            text.with(|bytes| encode::dump(ValueRef::Str(bytes), version, compression))
        }
        Held::Value(value) => encode::dump(value, version, compression),
    }
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_secs: Option<u64>,
    frequency: Option<u32>,
}

impl Options {
    fn read(cx: &mut Ctx) -> Result<Options, CmdError> {
        let mut options = Options::default();
        while !cx.args.is_done() {
            match cx.args.option()?.as_str() {
                "replace" => options.replace = true,
                "absttl" => options.absolute = true,
                "idletime" if !cx.args.is_done() && options.frequency.is_none() => {
                    let idle = u64::try_from(cx.args.i64()?);
                    let text = "ERR Invalid IDLETIME value, must be >= 0";
                    options.idle_secs = Some(idle.map_err(|_| CmdError::Const(text))?);
                }
                "freq" if !cx.args.is_done() && options.idle_secs.is_none() => {
                    let freq = u8::try_from(cx.args.i64()?);
                    let text = "ERR Invalid FREQ value, must be >= 0 and <= 255";
                    options.frequency = Some(freq.map_err(|_| CmdError::Const(text))?.into());
                }
                _ => return Err(CmdError::Syntax),
            }
        }
        Ok(options)
    }

    fn access(&self, cx: &Ctx) -> u32 {
        match (cx.db.env().access, self.idle_secs, self.frequency) {
            (Access::Lru | Access::Untouched, Some(idle), _) => {
                cx.now.secs().saturating_sub(idle) as u32
            }
            (Access::Lfu { .. } | Access::Untouched, _, Some(frequency)) => {
                lfu::access(cx.now, frequency)
            }
            _ => cx.db.new_access(),
        }
    }
}

/// RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub(super) fn restore(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let ttl = cx.args.bytes()?;
    let payload = cx.args.bytes()?;
    let options = Options::read(cx)?;
    if !options.replace && cx.db.contains(key) {
        return Err(CmdError::Const("BUSYKEY Target key name already exists."));
    }
    let ttl = crate::base::num::parse_i64(ttl).ok_or(CmdError::NotInteger)?;
    let Ok(ttl) = u64::try_from(ttl) else {
        return Err(CmdError::err("Invalid TTL value, must be >= 0"));
    };
    let checked = match cx.db.env().checks_dumps {
        true => VerifyDump::Checksum,
        false => VerifyDump::Version,
    };
    let dumped = verify(payload, checked)
        .map_err(|_| CmdError::Const("ERR DUMP payload version or checksum are wrong"))?;
    let value = decode(dumped.code, Dialect::Redis, dumped.payload, &cx.db.env().limits).map_err(
        |error| {
            tracing::warn!("RESTORE: integrity check failed: {error}");
            CmdError::Const("ERR Bad data format")
        },
    )?;
    let base = if options.absolute { 0 } else { cx.now.0 };
    let deadline = (ttl > 0).then(|| UnixMs(ttl.saturating_add(base)));

    if deadline.is_some_and(|at| at <= cx.now) && cx.db.env().expires {
        if options.replace && cx.db.delete(key, Event::DEL) {
            cx.record.instead(&[cx.db.env().removes_with, key]);
        }
        return Ok(cx.reply.ok());
    }
    let new = match &value {
        Value::Str(bytes) => New::Bytes(bytes),
        _ => New::Value(value),
    };
    let mut entry = Entry::new(key, new, deadline);
    entry.set_access(options.access(cx));
    cx.db.expire_if_due(key);
    cx.db.insert_moved(entry, Event::generic("restore"));
    if let Some(at) = deadline.filter(|_| !options.absolute) {
        let mut digits = itoa::Buffer::new();
        let mut words: Vec<&[u8]> = cx.args.words().collect();
        words[2] = digits.format(at.0).as_bytes();
        words.push(b"ABSTTL");
        cx.record.instead(&words);
    }
    Ok(cx.reply.ok())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn restore_takes_what_dump_gave() {
        let mut house = House::new();
        // DUMP of "10" by the manual.
        let payload = br"\x00\xc0\n\n\x00n\x9fWE\x0e\xaec\xbb";
        let restore = |rest: &str, key: &str, ttl: &str| {
            format!("restore {key} {ttl} \"{}\" {rest}", String::from_utf8_lossy(payload))
        };
        for (line, answer) in [
            (restore("", "k", "0"), "+OK|"),
            ("get k".into(), "$2|10|"),
            (restore("", "k", "0"), "-BUSYKEY Target key name already exists.|"),
            (restore("replace", "k", "-1"), "-ERR Invalid TTL value, must be >= 0|"),
            (restore("replace", "k", "500"), "+OK|"),
            ("pttl k".into(), ":500|"),
            (restore("replace absttl", "k", "500"), "+OK|"),
            ("exists k".into(), ":0|"),
            (restore("freq 256", "k", "0"), "-ERR Invalid FREQ value, must be >= 0 and <= 255|"),
            (restore("freq 1 idletime 1", "k", "0"), "-ERR syntax error|"),
            ("restore k 0 foo".into(), "-ERR DUMP payload version or checksum are wrong|"),
            ("dump none".into(), "$-1|"),
            (restore("", "k", "0").replacen("restore", "restore-asking", 1), "+OK|"),
            ("get k".into(), "$2|10|"),
        ] {
            assert_eq!(house.run(&line), answer, "{line}");
        }
    }
}
