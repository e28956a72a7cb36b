//! Keys whatever they hold: deleting, renaming, deadlines, walking.

mod dump;
mod expire;
mod migrate;
mod relocate;
mod sort;

use crate::base::glob;
use crate::command::scan_options::{self, Page, ScanOptions, Walk};
use crate::ds::dict::Keyed;
use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::event::Event;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::{Cat, Group};
use crate::spec::keys::KeySpec;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        relocate::copy,
        Spec::new("copy", Group::Generic, AtLeast(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).ro().access())
            .key_spec(KeySpec::at(2).ow().update())
            .since("6.2.0"),
    ),
    Command::data(
        del,
        Spec::new("del", Group::Generic, AtLeast(2))
            .writes()
            .key_spec(KeySpec::range(1, -1, 1).rm().delete())
            .tip("request_policy:multi_shard")
            .tip("response_policy:agg_sum")
            .since("1.0.0"),
    ),
    Command::data(
        dump::dump,
        Spec::new("dump", Group::Generic, Exactly(2))
            .reads()
            .key(1)
            .tip("nondeterministic_output")
            .since("2.6.0"),
    ),
    Command::data(
        exists,
        Spec::new("exists", Group::Generic, AtLeast(2))
            .reads()
            .fast()
            .key_spec(KeySpec::range(1, -1, 1).ro())
            .tip("request_policy:multi_shard")
            .tip("response_policy:agg_sum")
            .since("1.0.0"),
    ),
    Command::data(
        expire::expire,
        Spec::new("expire", Group::Generic, AtLeast(3))
            .rewritten()
            .writes()
            .fast()
            .key(1)
            .since("1.0.0"),
    ),
    Command::data(
        expire::expireat,
        Spec::new("expireat", Group::Generic, AtLeast(3))
            .rewritten()
            .writes()
            .fast()
            .key(1)
            .since("1.2.0"),
    ),
    Command::data(
        expire::expiretime,
        Spec::new("expiretime", Group::Generic, Exactly(2)).reads().fast().key(1).since("7.0.0"),
    ),
    Command::data(
        keys,
        Spec::new("keys", Group::Generic, Exactly(2))
            .all_shards()
            .reads()
            .category(Cat::Dangerous)
            .tip("nondeterministic_output_order")
            .tip("request_policy:all_shards")
            .since("1.0.0"),
    ),
    Command::data(
        relocate::move_to,
        Spec::new("move", Group::Generic, Exactly(3))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().update())
            .since("1.0.0"),
    ),
    Command::data(
        expire::persist,
        Spec::new("persist", Group::Generic, Exactly(2)).writes().fast().key(1).since("2.2.0"),
    ),
    Command::data(
        expire::pexpire,
        Spec::new("pexpire", Group::Generic, AtLeast(3))
            .rewritten()
            .writes()
            .fast()
            .key(1)
            .since("2.6.0"),
    ),
    Command::data(
        expire::pexpireat,
        Spec::new("pexpireat", Group::Generic, AtLeast(3))
            .rewritten()
            .writes()
            .fast()
            .key(1)
            .since("2.6.0"),
    ),
    Command::data(
        expire::pexpiretime,
        Spec::new("pexpiretime", Group::Generic, Exactly(2)).reads().fast().key(1).since("7.0.0"),
    ),
    Command::data(
        expire::pttl,
        Spec::new("pttl", Group::Generic, Exactly(2))
            .reads()
            .fast()
            .key(1)
            .tip("nondeterministic_output")
            .since("2.6.0"),
    ),
    Command::data(
        randomkey,
        Spec::new("randomkey", Group::Generic, Exactly(1))
            .all_shards()
            .reads()
            .touches_arbitrary_keys()
            .tip("nondeterministic_output")
            .tip("request_policy:all_shards")
            .tip("response_policy:special")
            .since("1.0.0"),
    ),
    Command::data(
        relocate::rename,
        Spec::new("rename", Group::Generic, Exactly(3))
            .writes()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .key_spec(KeySpec::at(2).ow().update())
            .since("1.0.0"),
    ),
    Command::data(
        relocate::renamenx,
        Spec::new("renamenx", Group::Generic, Exactly(3))
            .writes()
            .fast()
            .key_spec(KeySpec::at(1).rw().access().delete())
            .key_spec(KeySpec::at(2).ow().insert())
            .since("1.0.0"),
    ),
    Command::admin(
        migrate::migrate,
        Spec::new("migrate", Group::Generic, AtLeast(6))
            .rewritten()
            .writes()
            .category(Cat::Dangerous)
            .key_spec(KeySpec::at(3).rw().access().delete())
            .key_spec(KeySpec::after_range("KEYS", -2, -1, 0).rw().access().delete().incomplete())
            .tip("nondeterministic_output")
            .since("2.6.0"),
    ),
    Command::data(
        dump::restore,
        Spec::new("restore", Group::Generic, AtLeast(4))
            .rewritten()
            .writes()
            .denyoom()
            .category(Cat::Dangerous)
            .key_spec(KeySpec::at(1).ow().update())
            .since("2.6.0"),
    ),
    // What a cluster says when it moves a key; here every slot is at home.
    Command::data(
        dump::restore,
        Spec::new("restore-asking", Group::Server, AtLeast(4))
            .rewritten()
            .writes()
            .denyoom()
            .asking()
            .category(Cat::Dangerous)
            .category(Cat::Keyspace)
            .key_spec(KeySpec::at(1).ow().update())
            .since("3.0.0"),
    ),
    Command::data(
        scan,
        Spec::new("scan", Group::Generic, AtLeast(2))
            .all_shards()
            .reads()
            .touches_arbitrary_keys()
            .tip("nondeterministic_output")
            .tip("request_policy:special")
            .tip("response_policy:special")
            .since("2.8.0"),
    ),
    Command::data(
        sort::sort,
        Spec::new("sort", Group::Generic, AtLeast(2))
            .all_shards()
            .writes()
            .denyoom()
            .no_group_category()
            .category(Cat::Dangerous)
            .category(Cat::List)
            .category(Cat::Set)
            .category(Cat::SortedSet)
            .key_spec(KeySpec::at(1).ro().access())
            .key_spec(KeySpec::unknown().ro().access())
            .key_spec(KeySpec::unknown().ow().update())
            .since("1.0.0"),
    ),
    Command::data(
        sort::sort_ro,
        Spec::new("sort_ro", Group::Generic, AtLeast(2))
            .all_shards()
            .reads()
            .no_group_category()
            .category(Cat::Dangerous)
            .category(Cat::List)
            .category(Cat::Set)
            .category(Cat::SortedSet)
            .key(1)
            .key_spec(KeySpec::unknown().ro().access())
            .since("7.0.0"),
    ),
    Command::data(
        touch,
        Spec::new("touch", Group::Generic, AtLeast(2))
            .reads()
            .fast()
            .key_spec(KeySpec::range(1, -1, 1).ro())
            .tip("request_policy:multi_shard")
            .tip("response_policy:agg_sum")
            .since("3.2.1"),
    ),
    Command::data(
        expire::ttl,
        Spec::new("ttl", Group::Generic, Exactly(2))
            .reads()
            .fast()
            .key(1)
            .tip("nondeterministic_output")
            .since("1.0.0"),
    ),
    Command::data(
        type_of,
        Spec::new("type", Group::Generic, Exactly(2))
            .reads()
            .fast()
            .key_spec(KeySpec::at(1).ro())
            .since("1.0.0"),
    ),
    Command::data(
        del,
        Spec::new("unlink", Group::Generic, AtLeast(2))
            .writes()
            .fast()
            .key_spec(KeySpec::range(1, -1, 1).rm().delete())
            .tip("request_policy:multi_shard")
            .tip("response_policy:agg_sum")
            .since("4.0.0"),
    ),
    Command::data(
        dbsize,
        Spec::new("dbsize", Group::Server, Exactly(1))
            .all_shards()
            .reads()
            .fast()
            .category(Cat::Keyspace)
            .tip("request_policy:all_shards")
            .tip("response_policy:agg_sum")
            .since("1.0.0"),
    ),
];

/// Buckets a step of SCAN visits at the most, for each key it was asked for.
const SCAN_STEPS_PER_KEY: usize = 10;

/// DEL key [key ...]; UNLINK too: large values are always freed by another thread.
fn del(cx: &mut Ctx) -> CmdResult {
    let keys = cx.args.remaining();
    let deleted = keys.filter(|key| cx.db.delete(key, Event::DEL)).count();
    Ok(cx.reply.count(deleted))
}

/// EXISTS key [key ...]
fn exists(cx: &mut Ctx) -> CmdResult {
    let keys = cx.args.remaining();
    let found = keys.filter(|key| cx.db.exists(key)).count();
    Ok(cx.reply.count(found))
}

/// TOUCH key [key ...]
fn touch(cx: &mut Ctx) -> CmdResult {
    let keys = cx.args.remaining();
    let found = keys.filter(|key| cx.db.read_entry(key).is_some()).count();
    Ok(cx.reply.count(found))
}

/// TYPE key
fn type_of(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let kind = cx.db.glance_entry(key).map(|entry| entry.kind());
    Ok(cx.reply.simple(kind.map_or("none", |kind| kind.name())))
}

/// DBSIZE
fn dbsize(cx: &mut Ctx) -> CmdResult {
    Ok(cx.reply.count(cx.db.len()))
}

/// KEYS pattern
fn keys(cx: &mut Ctx) -> CmdResult {
    let pattern = cx.args.bytes()?;
    let all = pattern == b"*";
    let mut len = 0;
    let opened = cx.reply.open();
    for (_, db) in cx.db.tables() {
        for entry in db.keys.iter() {
            if (all || glob::matches(pattern, entry.key())) && cx.db.is_live(entry) {
                let _ = cx.reply.bulk(entry.key());
                len += 1;
            }
        }
    }
    Ok(cx.reply.close_array(opened, len))
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
fn scan(cx: &mut Ctx) -> CmdResult {
    let mut cursor = scan_options::cursor(&mut cx.args)?;
    let options = ScanOptions::parse(&mut cx.args, Walk::Keys)?;
    let mut seen = 0usize;
    let mut steps = options.count.saturating_mul(SCAN_STEPS_PER_KEY);
    let mut met: Vec<(Vec<u8>, bool)> = Vec::new();
    loop {
        cursor = cx.db.scan(cursor, &mut |entry| {
            seen += 1;
            let wanted = options.wants(entry.key());
            if wanted && (options.wants_kind(entry.kind()) || entry.has_deadline()) {
                met.push((entry.key().to_vec(), options.wants_kind(entry.kind())));
            }
        });
        steps -= 1;
        if cursor == 0 || steps == 0 || seen >= options.count {
            break;
        }
    }
    let mut page = Page::new(cx.reply);
    for (key, of_kind) in met {
        // A key past its deadline goes now, of whatever type.
        if !cx.db.expire_if_due(&key) && of_kind {
            page.push(&key);
        }
    }
    Ok(page.finish(cx.reply, cursor))
}

/// RANDOMKEY
fn randomkey(cx: &mut Ctx) -> CmdResult {
    let key = cx.db.random_key();
    Ok(cx.reply.bulk_or_null(key.as_deref()))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn keys_are_counted_named_and_walked() {
        let mut house = House::new();
        house.run("mset a 1 b 2 c 3");
        for (line, answer) in [
            ("exists a a none", ":2|"),
            ("touch a b none", ":2|"),
            ("type a", "+string|"),
            ("type none", "+none|"),
            ("dbsize", ":3|"),
            ("keys [a-a]", "*1|$1|a|"),
            ("scan 0 match b count 1000", "*2|$1|0|*1|$1|b|"),
            ("scan 0 type hash count 1000", "*2|$1|0|*0|"),
            ("del a none b", ":2|"),
            ("unlink c c", ":1|"),
            ("randomkey", "$-1|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
    }

    #[test]
    fn scan_in_steps_meets_every_key() {
        let mut house = House::new();
        for n in 0..500 {
            house.run(&format!("set key:{n} v"));
        }
        let (mut cursor, mut met) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let answer = house.run(&format!("scan {cursor} count 7"));
            let lines: Vec<&str> = answer.split('|').collect();
            cursor = lines[2].to_owned();
            met.extend(lines.iter().filter(|line| line.starts_with("key:")).map(|l| l.to_string()));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(met.len(), 500);
    }

    #[test]
    fn keys_past_their_deadline_are_not_met() {
        let mut house = House::new();
        house.run("set k v px 10");
        house.wait_ms(11);
        assert_eq!(house.run("keys *"), "*0|");
        assert_eq!(house.run("scan 0 count 5000"), "*2|$1|0|*0|");
        assert_eq!(house.run("dbsize"), ":0|");
        assert_eq!(house.log().last().map(String::as_str), Some("DEL k"));
    }
}
