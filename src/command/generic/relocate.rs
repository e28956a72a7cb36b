//! RENAME, MOVE and COPY: a value under another name or in another database.

use crate::engine::context::Ctx;
use crate::keyspace::entry::{Entry, Held, New, Text};
use crate::keyspace::event::Event;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;

/// What happens to the value that the new name had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Replace,
    Keep,
}

/// RENAME key newkey
pub(super) fn rename(cx: &mut Ctx) -> CmdResult {
    rename_as(cx, Taken::Replace)?;
    Ok(cx.reply.ok())
}

/// RENAMENX key newkey
pub(super) fn renamenx(cx: &mut Ctx) -> CmdResult {
    let renamed = rename_as(cx, Taken::Keep)?;
    Ok(cx.reply.flag(renamed))
}

fn rename_as(cx: &mut Ctx, taken: Taken) -> Result<bool, CmdError> {
    let from = cx.args.bytes()?;
    let to = cx.args.bytes()?;
    if !cx.db.contains(from) {
        return Err(CmdError::NoSuchKey);
    }
    if from == to || (taken == Taken::Keep && cx.db.contains(to)) {
        return Ok(false);
    }
    cx.db.expire_if_due(to);
    let entry = cx.db.extract(from).expect("the key was there just now");
    let (deadline, access) = (entry.deadline(), entry.access());
    let mut entry = entry.into_new().into_entry(to, deadline);
    entry.set_access(access);
    cx.db.insert_unnoted(entry);
    cx.db.note(Event::generic("rename_from"), from);
    cx.db.note(Event::generic("rename_to"), to);
    Ok(true)
}

/// The next word as the number of a database.
fn database(cx: &mut Ctx) -> Result<u32, CmdError> {
    let number = cx.args.i64()?;
    if i32::try_from(number).is_err() {
        let text = "value is out of range, value must between -2147483648 and 2147483647";
        return Err(CmdError::err(text));
    }
    let databases = cx.db.env().databases;
    u32::try_from(number).ok().filter(|number| *number < databases).ok_or(CmdError::DbIndex)
}

const SAME: CmdError = CmdError::Const("ERR source and destination objects are the same");

/// MOVE key db
pub(super) fn move_to(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let to = database(cx)?;
    if to == cx.db.index() {
        return Err(SAME);
    }
    if !cx.db.contains(key) || cx.db.on_db(to, |db| db.contains(key)) {
        return Ok(cx.reply.int(0));
    }
    let entry = cx.db.extract(key).expect("the key was there just now");
    cx.db.on_db(to, |db| db.insert_unnoted(entry));
    cx.db.note(Event::generic("move_from"), key);
    cx.db.on_db(to, |db| db.note(Event::generic("move_to"), key));
    Ok(cx.reply.int(1))
}

/// COPY source destination [DB destination-db] [REPLACE]
pub(super) fn copy(cx: &mut Ctx) -> CmdResult {
    let from = cx.args.bytes()?;
    let to = cx.args.bytes()?;
    let (mut taken, mut to_db) = (Taken::Keep, cx.db.index());
    while !cx.args.is_done() {
        if cx.args.take_keyword("replace") {
            taken = Taken::Replace;
        } else if cx.args.take_keyword("db") {
            to_db = database(cx)?;
        } else {
            return Err(CmdError::Syntax);
        }
    }
    if from == to && to_db == cx.db.index() {
        return Err(SAME);
    }
    let access = cx.db.new_access();
    let Some(entry) = cx.db.read_entry(from) else { return Ok(cx.reply.int(0)) };
    let mut copy = duplicate(entry, to);
    copy.set_access(access);
    let copied = cx.db.on_db(to_db, |db| {
        let free = taken == Taken::Replace || !db.contains(to);
        if free {
            db.expire_if_due(to);
            db.insert_moved(copy, Event::generic("copy_to"));
        }
        free
    });
    Ok(cx.reply.flag(copied))
}

fn duplicate(entry: &Entry, key: &[u8]) -> Entry {
    let new = match entry.held() {
        Held::Text(Text::Int(number)) => New::Int(number),
        Held::Text(Text::Bytes(bytes)) if entry.encoding() == "raw" => New::Changed(bytes),
        Held::Text(Text::Bytes(bytes)) => New::Bytes(bytes),
        Held::Value(value) => New::Value(value.to_value()),
    };
    Entry::new(key, new, entry.deadline())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn values_move_with_their_deadlines() {
        let mut house = House::new();
        house.run("set a 1 ex 10");
        for (line, answer) in [
            ("rename none b", "-ERR no such key|"),
            ("rename a a", "+OK|"),
            ("renamenx a a", ":0|"),
            ("rename a b", "+OK|"),
            ("ttl b", ":10|"),
            ("set c 3", "+OK|"),
            ("renamenx b c", ":0|"),
            ("copy b c", ":0|"),
            ("copy b c replace", ":1|"),
            ("ttl c", ":10|"),
            ("copy b b", "-ERR source and destination objects are the same|"),
            ("copy b b db 1", ":1|"),
            ("copy b x db 16", "-ERR DB index is out of range|"),
            ("copy none x", ":0|"),
            ("move b 1", ":0|"),
            ("move b 0", "-ERR source and destination objects are the same|"),
            ("move c 1", ":1|"),
            ("exists c", ":0|"),
            ("dbsize", ":1|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn renaming_counts_one_change() {
        let mut house = House::new();
        house.run("mset a 1 b 2");
        house.log();
        house.run("rename a b");
        assert_eq!(house.log(), ["rename a b"]);
        house.run("rename b b");
        assert_eq!(house.log(), Vec::<String>::new());
    }
}
