//! Strings that are numbers: INCR and its kin.

use crate::base::num::LongDouble;
use crate::engine::context::Ctx;
use crate::keyspace::entry::New;
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// INCR key
pub(super) fn incr(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    add(cx, key, 1)
}

/// DECR key
pub(super) fn decr(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    add(cx, key, -1)
}

/// INCRBY key increment
pub(super) fn incrby(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let by = cx.args.i64()?;
    add(cx, key, by)
}

/// DECRBY key decrement
pub(super) fn decrby(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let by = cx.args.i64()?;
    let by = by.checked_neg().ok_or_else(|| CmdError::err("decrement would overflow"))?;
    add(cx, key, by)
}

fn add(cx: &mut Ctx, key: &[u8], by: i64) -> CmdResult {
    let mut text = cx.db.open_text(key)?;
    let old = match text.text() {
        None => 0,
        Some(text) => text.to_i64().ok_or(CmdError::NotInteger)?,
    };
    let sum = old.checked_add(by).ok_or(CmdError::Overflow)?;
    text.write(New::Int(sum));
    text.commit(Event::string("incrby"));
    Ok(cx.reply.int(sum))
}

/// INCRBYFLOAT key increment
pub(super) fn incrbyfloat(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let by = cx.args.bytes()?;

    let mut text = cx.db.open_text(key)?;
    let number = |bytes: &[u8]| LongDouble::parse(bytes).ok_or(CmdError::NotFloat);
    let mut sum = match text.text() {
        None => number(b"0")?,
        Some(text) => text.with(number)?,
    };
    sum.add(number(by)?);
    if !sum.is_finite() {
        return Err(CmdError::NanOrInfinity);
    }
    let mut digits = Vec::new();
    sum.format(&mut digits);
    text.write(New::Bytes(&digits));
    text.commit(Event::string("incrbyfloat"));
    // A sum of floats depends on the machine; what the journal says does not.
    cx.record.instead(&[b"SET", key, &digits, b"KEEPTTL"]);
    Ok(cx.reply.bulk(&digits))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn counting_answers_sums_and_refuses_what_is_no_number() {
        let mut house = House::new();
        for (line, answer) in [
            ("incr k", ":1|"),
            ("decr k", ":0|"),
            ("incrby k 9223372036854775807", ":9223372036854775807|"),
            ("incr k", "-ERR increment or decrement would overflow|"),
            ("decrby k -9223372036854775808", "-ERR decrement would overflow|"),
            ("decrby k 7", ":9223372036854775800|"),
            ("set k ' 11'", "+OK|"),
            ("incr k", "-ERR value is not an integer or out of range|"),
            ("incrbyfloat k 1", "-ERR value is not a valid float|"),
            ("set k 10.50", "+OK|"),
            ("incrbyfloat k 0.1", "$4|10.6|"),
            ("incrbyfloat k inf", "-ERR increment would produce NaN or Infinity|"),
            ("incrbyfloat k x", "-ERR value is not a valid float|"),
            ("incrbyfloat new 5.0e3", "$4|5000|"),
            ("incr new", ":5001|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert_eq!(house.log().last().map(String::as_str), Some("incr new"));
        house.run("incrbyfloat k -1");
        assert_eq!(house.log(), ["SET k 9.6 KEEPTTL"]);
    }
}
