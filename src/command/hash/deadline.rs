//! Fields that live until a moment: setting, asking for and removing their deadlines.

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::command::answer;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::args::Args;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::value::{Hash, Kind};

/// The last moment a field's deadline can be.
const LAST: u64 = (1 << 46) - 1;

const NO_FIELD: i64 = -2;
const NO_DEADLINE: i64 = -1;
const REFUSED: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

/// How a command states a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Clock {
    /// Milliseconds of its unit.
    unit: u64,
    /// Whether it counts from the epoch, not from now.
    absolute: bool,
}

impl Clock {
    const SECONDS: Clock = Clock { unit: 1000, absolute: false };
    const MILLIS: Clock = Clock { unit: 1, absolute: false };
    const UNIX_SECONDS: Clock = Clock { unit: 1000, absolute: true };
    const UNIX_MILLIS: Clock = Clock { unit: 1, absolute: true };

    fn base(self, cx: &Ctx) -> u64 {
        if self.absolute { 0 } else { cx.now.0 }
    }

    /// The moment that `word` states.
    fn read(self, cx: &Ctx, word: &[u8]) -> Result<UnixMs, CmdError> {
        let stated = parse_i64(word).ok_or(CmdError::NotInteger)?;
        let stated = u64::try_from(stated)
            .map_err(|_| CmdError::Const("ERR invalid expire time, must be >= 0"))?;
        let at = stated.checked_mul(self.unit).and_then(|ms| ms.checked_add(self.base(cx)));
        let at = at.filter(|at| *at <= LAST);
        at.map(UnixMs).ok_or_else(|| CmdError::InvalidExpire(cx.name().to_owned()))
    }
}

/// Refuses a key of another type before anything else is looked at.
fn check_type(cx: &mut Ctx, key: &[u8]) -> Result<(), CmdError> {
    match cx.db.kind(key) {
        None | Some(Kind::Hash) => Ok(()),
        Some(_) => Err(CmdError::WrongType),
    }
}

/// `FIELDS count field ...`, where each field has so many words and nothing follows.
fn fields<'a>(args: &mut Args<'a>, words: usize, count: &'static str) -> FieldsOf<'a> {
    if !args.take_keyword("fields") {
        return Err(CmdError::err(
            "Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let stated = args.i64_in(1..=i64::MAX, count)?;
    if usize::try_from(stated).ok().and_then(|stated| stated.checked_mul(words))
        != Some(args.left())
    {
        return Err(CmdError::err("The `numfields` parameter must match the number of arguments"));
    }
    Ok(args.take(args.left())?.collect())
}

type FieldsOf<'a> = Result<Vec<&'a [u8]>, CmdError>;

const POSITIVE: &str = "ERR Number of fields must be a positive integer";
const ABOVE_ZERO: &str = "ERR Parameter `numFields` should be greater than 0";

/// The words `command key [word ...] FIELDS count field ...` for the journal.
fn tell(cx: &mut Ctx, command: &[u8], key: &[u8], more: &[&[u8]], fields: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    let mut words = vec![command, key];
    words.extend_from_slice(more);
    words.extend([b"FIELDS".as_slice(), digits.format(fields.len()).as_bytes()]);
    words.extend_from_slice(fields);
    cx.record.instead(&words);
}

pub(super) fn tell_deadline(cx: &mut Ctx, key: &[u8], at: UnixMs, fields: &[&[u8]]) {
    tell(cx, b"HPEXPIREAT", key, &[itoa::Buffer::new().format(at.0).as_bytes()], fields);
}

fn tell_removed(cx: &mut Ctx, key: &[u8], fields: &[&[u8]]) {
    for field in fields {
        cx.record.instead(&[b"HDEL", key, field]);
    }
}

/// Whether a deadline has come already. A journal that is replayed says itself what was removed.
fn has_come(cx: &Ctx, at: UnixMs) -> bool {
    cx.db.env().expires && at <= cx.now
}

fn answer_all(cx: &mut Ctx, answers: &[i64]) -> CmdResult {
    cx.reply.array(answers.len());
    for answer in answers {
        let _ = cx.reply.int(*answer);
    }
    Ok(cx.reply.done())
}

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS count field [field ...]
pub(super) fn hexpire(cx: &mut Ctx) -> CmdResult {
    expire(cx, Clock::SECONDS)
}

/// HPEXPIRE, in milliseconds
pub(super) fn hpexpire(cx: &mut Ctx) -> CmdResult {
    expire(cx, Clock::MILLIS)
}

/// HEXPIREAT, from the epoch
pub(super) fn hexpireat(cx: &mut Ctx) -> CmdResult {
    expire(cx, Clock::UNIX_SECONDS)
}

/// HPEXPIREAT, in milliseconds from the epoch
pub(super) fn hpexpireat(cx: &mut Ctx) -> CmdResult {
    expire(cx, Clock::UNIX_MILLIS)
}

fn expire(cx: &mut Ctx, clock: Clock) -> CmdResult {
    let key = cx.args.bytes()?;
    check_type(cx, key)?;
    let stated = cx.args.bytes()?;
    let at = clock.read(cx, stated)?;
    let condition = cx.args.peek().map(<[u8]>::to_ascii_uppercase);
    let condition =
        condition.filter(|word| [&b"NX"[..], b"XX", b"GT", b"LT"].contains(&word.as_slice()));
    if condition.is_some() {
        cx.args.bytes()?;
    }
    let fields = fields(&mut cx.args, 1, ABOVE_ZERO)?;
    let allows = |present: Option<UnixMs>| match (condition.as_deref(), present) {
        (Some(b"NX"), present) => present.is_none(),
        (Some(b"XX"), present) => present.is_some(),
        (Some(b"GT"), present) => present.is_some_and(|present| at > present),
        (Some(b"LT"), present) => present.is_none_or(|present| at < present),
        _ => true,
    };
    let come = has_come(cx, at);
    let Some(mut hash) = cx.db.open::<Hash>(key)? else {
        return answer_all(cx, &vec![NO_FIELD; fields.len()]);
    };
    let mut changed = Vec::new();
    let mut answers = Vec::with_capacity(fields.len());
    for field in fields {
        answers.push(if !hash.contains(field) {
            NO_FIELD
        } else if !allows(hash.deadline(field)) {
            REFUSED
        } else {
            changed.push(field);
            if come {
                hash.remove(field);
                DELETED
            } else {
                hash.set_deadline(field, at);
                DONE
            }
        });
    }
    hash.commit(Event::hash(if come { "hdel" } else { "hexpire" }), changed.len());
    match changed.is_empty() {
        true => {}
        false if come => tell_removed(cx, key, &changed),
        false => {
            let mut digits = itoa::Buffer::new();
            let mut more = vec![digits.format(at.0).as_bytes()];
            more.extend(condition.as_deref());
            tell(cx, b"HPEXPIREAT", key, &more, &changed);
        }
    }
    answer_all(cx, &answers)
}

/// HTTL key FIELDS count field [field ...]
pub(super) fn httl(cx: &mut Ctx) -> CmdResult {
    ask(cx, Clock::SECONDS)
}

/// HPTTL, in milliseconds
pub(super) fn hpttl(cx: &mut Ctx) -> CmdResult {
    ask(cx, Clock::MILLIS)
}

/// HEXPIRETIME, from the epoch
pub(super) fn hexpiretime(cx: &mut Ctx) -> CmdResult {
    ask(cx, Clock::UNIX_SECONDS)
}

/// HPEXPIRETIME, in milliseconds from the epoch
pub(super) fn hpexpiretime(cx: &mut Ctx) -> CmdResult {
    ask(cx, Clock::UNIX_MILLIS)
}

fn ask(cx: &mut Ctx, clock: Clock) -> CmdResult {
    let key = cx.args.bytes()?;
    let base = clock.base(cx);
    let hash = cx.db.read::<Hash>(key)?;
    let fields = fields(&mut cx.args, 1, POSITIVE)?;
    cx.reply.array(fields.len());
    for field in fields {
        let answer = match hash.filter(|hash| hash.contains(field)) {
            None => NO_FIELD,
            Some(hash) => hash
                .deadline(field)
                .map_or(NO_DEADLINE, |at| at.0.saturating_sub(base).div_ceil(clock.unit) as i64),
        };
        let _ = cx.reply.int(answer);
    }
    Ok(cx.reply.done())
}

/// HPERSIST key FIELDS count field [field ...]
pub(super) fn hpersist(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    check_type(cx, key)?;
    let fields = fields(&mut cx.args, 1, POSITIVE)?;
    let Some(mut hash) = cx.db.open::<Hash>(key)? else {
        return answer_all(cx, &vec![NO_FIELD; fields.len()]);
    };
    let mut answers = Vec::with_capacity(fields.len());
    for field in fields {
        answers.push(match hash.contains(field) {
            false => NO_FIELD,
            true if hash.deadline(field).is_none() => NO_DEADLINE,
            true => {
                hash.clear_deadline(field);
                DONE
            }
        });
    }
    let changed = answers.contains(&DONE);
    hash.commit(Event::hash("hpersist"), usize::from(changed));
    answer_all(cx, &answers)
}

/// What HGETEX and HSETEX do with deadlines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    At(UnixMs),
    /// KEEPTTL, or nothing said to HGETEX.
    Keep,
    /// PERSIST, or nothing said to HSETEX.
    Clear,
}

/// `EX seconds` and its kin: a change of deadlines, if the next word begins one.
fn change(cx: &mut Ctx) -> Result<Option<Change>, CmdError> {
    let clocks = [
        ("ex", Clock::SECONDS),
        ("px", Clock::MILLIS),
        ("exat", Clock::UNIX_SECONDS),
        ("pxat", Clock::UNIX_MILLIS),
    ];
    for (name, clock) in clocks {
        if cx.args.take_keyword(name) {
            let word = cx.args.bytes()?;
            if parse_i64(word).is_some_and(|stated| stated <= 0) {
                return Err(CmdError::InvalidExpire(cx.name().to_owned()));
            }
            return Ok(Some(Change::At(clock.read(cx, word)?)));
        }
    }
    Ok(None)
}

/// HGETEX key [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | PERSIST]
/// FIELDS count field [field ...]
pub(super) fn hgetex(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    check_type(cx, key)?;
    let change = match change(cx)? {
        Some(change) => change,
        None if cx.args.take_keyword("persist") => Change::Clear,
        None => Change::Keep,
    };
    let fields = fields(&mut cx.args, 1, ABOVE_ZERO)?;
    let hash = cx.db.read::<Hash>(key)?;
    cx.reply.array(fields.len());
    for field in &fields {
        let _ = answer::item_or_null(cx.reply, hash.and_then(|hash| hash.get(field)));
    }
    let replied = cx.reply.done();
    if change == Change::Keep {
        return Ok(replied);
    }
    let come = matches!(change, Change::At(at) if has_come(cx, at));
    let Some(mut hash) = cx.db.open::<Hash>(key)? else { return Ok(replied) };
    let mut changed = fields;
    changed.retain(|field| match change {
        _ if !hash.contains(field) => false,
        _ if come => hash.remove(field),
        Change::At(at) => {
            hash.set_deadline(field, at);
            true
        }
        Change::Clear | Change::Keep => hash.clear_deadline(field),
    });
    let event = match change {
        _ if come => "hdel",
        Change::At(_) => "hexpire",
        Change::Clear | Change::Keep => "hpersist",
    };
    hash.commit(Event::hash(event), changed.len());
    match change {
        _ if changed.is_empty() => cx.record.nothing(),
        _ if come => tell_removed(cx, key, &changed),
        Change::At(at) => tell_deadline(cx, key, at, &changed),
        Change::Clear | Change::Keep => tell(cx, b"HPERSIST", key, &[], &changed),
    }
    Ok(replied)
}

/// HGETDEL key FIELDS count field [field ...]
pub(super) fn hgetdel(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    check_type(cx, key)?;
    let fields = fields(&mut cx.args, 1, POSITIVE)?;
    let Some(mut hash) = cx.db.open::<Hash>(key)? else {
        cx.reply.array(fields.len());
        for _ in fields {
            let _ = cx.reply.null();
        }
        return Ok(cx.reply.done());
    };
    cx.reply.array(fields.len());
    let mut words: Vec<&[u8]> = vec![b"HDEL", key];
    for field in fields {
        let _ = answer::item_or_null(cx.reply, hash.get(field));
        if hash.remove(field) {
            words.push(field);
        }
    }
    hash.commit(Event::hash("hdel"), words.len() - 2);
    if words.len() > 2 {
        cx.record.instead(&words);
    }
    Ok(cx.reply.done())
}

/// Whether HSETEX wants the fields present or absent, and what it does with deadlines.
fn conditions(cx: &mut Ctx) -> Result<(Option<bool>, Change), CmdError> {
    let (mut present, mut stated) = (None, None);
    loop {
        match () {
            () if present.is_none() && cx.args.take_keyword("fnx") => present = Some(false),
            () if present.is_none() && cx.args.take_keyword("fxx") => present = Some(true),
            () if stated.is_none() && cx.args.take_keyword("keepttl") => {
                stated = Some(Change::Keep);
            }
            () => match change(cx)? {
                Some(_) if stated.is_some() => return Err(CmdError::Syntax),
                Some(change) => stated = Some(change),
                None => break,
            },
        }
    }
    Ok((present, stated.unwrap_or(Change::Clear)))
}

/// HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-seconds |
/// PXAT unix-milliseconds | KEEPTTL] FIELDS count field value [field value ...]
pub(super) fn hsetex(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    check_type(cx, key)?;
    let (present, change) = conditions(cx)?;
    let words = fields(&mut cx.args, 2, ABOVE_ZERO)?;
    let fields: Vec<&[u8]> = words.iter().copied().step_by(2).collect();
    let old = cx.db.read::<Hash>(key)?;
    let met = present.is_none_or(|present| {
        let has = |field: &&[u8]| old.is_some_and(|hash| hash.contains(field)) == present;
        fields.iter().all(has)
    });
    if !met {
        return Ok(cx.reply.int(0));
    }
    let come = matches!(change, Change::At(at) if has_come(cx, at));
    let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
    let limits = &cx.db.env().limits;
    let mut hash = cx.db.open_or_create::<Hash>(key)?;
    hash.expect(fields.len(), longest, limits);
    let mut kept = Vec::new();
    for pair in words.chunks_exact(2) {
        let [field, value] = [pair[0], pair[1]];
        match change {
            Change::Keep => {
                hash.set_keeping_deadline(field, value, limits);
                kept.extend(hash.deadline(field).map(|at| (field, at)));
            }
            Change::Clear => {
                hash.set(field, value, limits);
            }
            Change::At(at) => {
                hash.set(field, value, limits);
                hash.set_deadline(field, at);
            }
        }
    }
    hash.announce(Event::hash("hset"));
    let mut event = Event::hash("hexpire");
    if come {
        for field in &fields {
            hash.remove(field);
        }
        event = Event::hash("hdel");
    }
    match change {
        Change::At(_) => hash.commit(event, fields.len()),
        Change::Keep | Change::Clear => hash.commit_apart(None, fields.len()),
    }
    if come {
        tell_removed(cx, key, &fields);
        return Ok(cx.reply.int(1));
    }
    // Said in the words of older versions.
    let mut told: Vec<&[u8]> = vec![b"HSET", key];
    told.extend(&words);
    cx.record.instead(&told);
    if let Change::At(at) = change {
        tell_deadline(cx, key, at, &fields);
    }
    for (field, at) in kept {
        tell_deadline(cx, key, at, &[field]);
    }
    Ok(cx.reply.int(1))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    fn play(house: &mut House, steps: &[(&str, &str)]) {
        for (line, answer) in steps {
            assert_eq!(house.run(line), *answer, "{line}");
        }
    }

    #[test]
    fn deadlines_are_set_under_conditions_and_asked_for() {
        play(
            &mut House::new(),
            &[
                ("hexpire h 10 fields 1 a", "*1|:-2|"),
                ("hset h a 1 b 2 c 3", ":3|"),
                ("hexpire h 10 fields 2 a x", "*2|:1|:-2|"),
                ("object encoding h", "$10|listpackex|"),
                ("hexpire h 20 nx fields 2 a b", "*2|:0|:1|"),
                ("hexpire h 30 xx fields 2 a c", "*2|:1|:0|"),
                ("hexpire h 25 gt fields 3 a b c", "*3|:0|:1|:0|"),
                ("hexpire h 28 lt fields 3 a b c", "*3|:1|:0|:1|"),
                ("httl h fields 4 a b c x", "*4|:28|:25|:28|:-2|"),
                ("hpttl h fields 1 a", "*1|:28000|"),
                ("hexpiretime h fields 1 a", "*1|:1028|"),
                ("hpexpiretime h fields 1 a", "*1|:1028000|"),
                ("hpersist h fields 3 a x a", "*3|:1|:-2|:-1|"),
                ("httl h fields 1 a", "*1|:-1|"),
                ("hincrby h b 1", ":3|"),
                ("httl h fields 1 b", "*1|:25|"),
                ("hset h b 1", ":0|"),
                ("httl h fields 1 b", "*1|:-1|"),
                ("hpexpireat h 1 fields 2 b x", "*2|:2|:-2|"),
                ("hexists h b", ":0|"),
                ("hexpire h -1 fields 1 a", "-ERR invalid expire time, must be >= 0|"),
                (
                    "hexpire h 99999999999 fields 1 a",
                    "-ERR invalid expire time in 'hexpire' command|",
                ),
                (
                    "hexpire h 1 field 1 a",
                    "-ERR Mandatory argument FIELDS is missing or not at the right position|",
                ),
                ("hexpire h 1 fields 0 a", "-ERR Parameter `numFields` should be greater than 0|"),
                (
                    "hexpire h 1 fields 2 a",
                    "-ERR The `numfields` parameter must match the number of arguments|",
                ),
                ("httl h fields x a", "-ERR Number of fields must be a positive integer|"),
            ],
        );
    }

    #[test]
    fn fields_past_their_deadline_are_gone_for_every_command() {
        for read in ["hget h a", "hlen h", "hgetall h", "hscan h 0", "hkeys h", "hset h c 1"] {
            let mut house = House::new();
            house.run("hset h a 1 b 2");
            house.run("hpexpire h 100 fields 1 a");
            house.wait_ms(101);
            house.log();
            house.run(read);
            assert!(house.log().contains(&"HDEL h a".to_owned()), "{read}");
            assert_eq!(house.run("hexists h a"), ":0|", "{read}");
        }
        let mut house = House::new();
        house.run("hset h a 1");
        house.run("hpexpire h 100 fields 1 a");
        house.wait_ms(101);
        assert_eq!(house.run("hget h a"), "$-1|");
        assert_eq!(house.run("exists h"), ":0|");
    }

    #[test]
    fn fields_past_their_deadline_are_hidden_while_nothing_may_be_removed() {
        let mut house = House::new();
        house.run("hset h a 1 b 2");
        house.run("hpexpire h 100 fields 1 a");
        house.run("hset g a 1");
        house.run("hpexpire g 100 fields 1 a");
        house.wait_ms(101);
        house.run("client pause 100000 write");
        house.log();
        assert_eq!(house.run("hgetall h"), "*2|$1|b|$1|2|");
        assert_eq!(house.run("hlen g"), ":0|");
        assert!(house.log().is_empty());
        house.run("client unpause");
        assert_eq!(house.run("hlen h"), ":1|");
        assert!(house.log().contains(&"HDEL h a".to_owned()));
    }

    #[test]
    fn journal_gets_moments_and_what_was_removed() {
        let mut house = House::new();
        house.run("hset h a 1 b 2 c 3");
        house.log();
        for (line, told) in [
            ("hexpire h 10 nx fields 2 a x", &["HPEXPIREAT h 1010000 NX FIELDS 1 a"][..]),
            ("hexpire h 10 nx fields 1 a", &[]),
            ("hincrbyfloat h a 0.5", &["HSET h a 1.5", "HPEXPIREAT h 1010000 FIELDS 1 a"]),
            ("hpersist h fields 1 b", &[]),
            ("hexpireat h 1 fields 2 a b", &["HDEL h a", "HDEL h b"]),
            ("hgetex h fields 1 c", &[]),
            ("hgetex h px 5 fields 1 c", &["HPEXPIREAT h 1000005 FIELDS 1 c"]),
            (
                "hsetex h keepttl fields 2 c 4 d 5",
                &["HSET h c 4 d 5", "HPEXPIREAT h 1000005 FIELDS 1 c"],
            ),
            ("hgetex h persist fields 2 c d", &["HPERSIST h FIELDS 1 c"]),
            ("hsetex h fnx ex 1 fields 1 e 6", &["HSET h e 6", "HPEXPIREAT h 1001000 FIELDS 1 e"]),
            ("hsetex h fnx ex 1 fields 1 e 6", &[]),
            ("hgetdel h fields 3 c e x", &["HDEL h c e"]),
        ] {
            house.run(line);
            let log: Vec<String> =
                house.log().into_iter().filter(|line| line != "MULTI" && line != "EXEC").collect();
            assert_eq!(log, told, "{line}");
        }
        assert_eq!(house.run("hgetdel h fields 2 d x"), "*2|$1|5|$-1|");
        assert_eq!(house.run("exists h"), ":0|");
    }

    #[test]
    fn deadlines_move_with_their_hash() {
        let mut house = House::new();
        house.run("hset h a 1 b 2");
        house.run("hpexpire h 100 fields 1 a");
        house.run("copy h c");
        house.run("rename h r");
        for key in ["c", "r"] {
            assert_eq!(house.run(&format!("hpttl {key} fields 2 a b")), "*2|:100|:-1|");
        }
        assert!(house.run("info keyspace").contains("subexpiry=2"));
        house.run("set c 1");
        house.run("hpersist r fields 1 a");
        assert!(house.run("info keyspace").contains("subexpiry=0"));
    }
}
