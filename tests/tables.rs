//! Every row of the command table says what Redis 7.4 says of the command.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use rekeep::command;
use rekeep::spec::{BeginSearch, FindKeys, Spec, docs};
use serde_json::Value;

fn facts() -> BTreeMap<String, Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/facts/commands.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn of_redis(fact: &Value) -> bool {
    fact["in"].as_array().unwrap().iter().any(|server| server == "redis-7.4")
}

/// The strings of an array, sorted.
fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    let mut all: Vec<String> = all.map(|word| word.as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn sorted<S: Into<String>>(names: impl Iterator<Item = S>) -> Vec<String> {
    let mut names: Vec<String> = names.map(Into::into).collect();
    names.sort();
    names
}

/// The key specs as the facts write them.
fn key_specs(spec: &Spec) -> Vec<Value> {
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    spec.key_specs()
        .iter()
        .map(|spec| {
            let begin = match spec.begin {
                BeginSearch::Index(pos) => format!(r#"{{"index":{{"pos":{pos}}}}}"#),
                BeginSearch::Keyword { keyword, start_from } => {
                    format!(r#"{{"keyword":{{"keyword":"{keyword}","startfrom":{start_from}}}}}"#)
                }
                BeginSearch::Unknown => r#"{"unknown":null}"#.to_owned(),
            };
            let find = match spec.find {
                FindKeys::Range { last, step, limit } => {
                    format!(r#"{{"range":{{"lastkey":{last},"step":{step},"limit":{limit}}}}}"#)
                }
                FindKeys::KeyNum { count, first, step } => format!(
                    r#"{{"keynum":{{"keynumidx":{count},"firstkey":{first},"step":{step}}}}}"#
                ),
                FindKeys::Unknown => r#"{"unknown":null}"#.to_owned(),
            };
            let flags: Vec<String> = spec.flags.names().map(str::to_ascii_uppercase).collect();
            let flags = serde_json::to_string(&flags).unwrap();
            json(format!(r#"{{"begin_search":{begin},"find_keys":{find},"flags":{flags}}}"#))
        })
        .collect()
}

/// The facts' key specs without remarks, flags in our order.
fn plain_specs(value: &Value) -> Vec<Value> {
    let mut specs: Vec<Value> = value.as_array().cloned().unwrap_or_default();
    for spec in &mut specs {
        spec.as_object_mut().unwrap().remove("notes");
    }
    specs
}

fn with_sorted_flags(mut specs: Vec<Value>) -> Vec<Value> {
    for spec in &mut specs {
        let flags = strings(&spec["flags"]);
        spec["flags"] = serde_json::to_value(flags).unwrap();
    }
    specs
}

fn compare<T: PartialEq + std::fmt::Debug>(
    wrong: &mut Vec<String>,
    what: &str,
    ours: T,
    theirs: T,
) {
    if ours != theirs {
        wrong.push(format!("{what}: {ours:?}, but Redis has {theirs:?}"));
    }
}

#[test]
fn rows_agree_with_redis() {
    let facts = facts();
    let mut wrong = Vec::new();
    for row in command::table().rows() {
        let spec = row.spec();
        let name = spec.name;
        let Some(fact) = facts.get(name) else {
            wrong.push(format!("{name} is no command of Redis"));
            continue;
        };
        let text = |key: &str| fact[key].as_str().map(str::to_owned);
        let what = |field: &str| format!("{name}, {field}");
        compare(&mut wrong, &what("arity"), spec.arity.wire(), fact["arity"].as_i64().unwrap());
        compare(&mut wrong, &what("since"), Some(spec.since.to_owned()), text("since"));
        let deprecated = spec.deprecated_since.map(str::to_owned);
        compare(&mut wrong, &what("deprecated"), deprecated, text("deprecated_since"));
        compare(
            &mut wrong,
            &what("group"),
            normal(spec.group.name()),
            normal(&text("group").unwrap()),
        );
        // What no client sees is not compared; movable keys follow from the specs.
        let hidden =
            ["sentinel", "only_sentinel", "may_replicate", "protected", "touches_arbitrary_keys"];
        let flags = strings(&fact["flags"]).into_iter();
        let flags = sorted(flags.filter(|flag| !hidden.contains(&flag.as_str())));
        let ours = sorted(spec.flags.names().filter(|flag| *flag != "movablekeys"));
        compare(&mut wrong, &what("flags"), ours, flags);
        let tips: Vec<String> = strings(&fact["tips"]);
        compare(&mut wrong, &what("tips"), sorted(spec.tips().iter().copied()), tips);
        let categories = sorted(spec.categories().names());
        for category in strings(&fact["acl_categories"]) {
            if !categories.contains(&category) {
                wrong.push(format!("{name} is not in @{category}"));
            }
        }
        compare(
            &mut wrong,
            &what("keys"),
            with_sorted_flags(key_specs(spec)),
            with_sorted_flags(plain_specs(&fact["key_specs"])),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn normal(group: &str) -> String {
    group.replace(['-', '_'], "")
}

#[test]
fn every_command_of_redis_is_here() {
    let facts = facts();
    let table = command::table();
    let here: Vec<&str> = table.rows().iter().map(|row| row.spec().name).collect();
    let missing: Vec<&str> = facts
        .iter()
        .filter(|(name, fact)| of_redis(fact) && !here.contains(&name.as_str()))
        .map(|(name, _)| name.as_str())
        // Watching over other servers is another program's work.
        .filter(|name| !name.starts_with("sentinel"))
        .collect();
    assert!(missing.is_empty(), "not here: {missing:?}");
}

#[test]
fn every_command_is_documented() {
    let facts = facts();
    let table = command::table();
    let bare: Vec<&str> = table.rows().iter().map(|row| row.spec().name).collect();
    let bare: Vec<&str> = bare.into_iter().filter(|name| docs::of(name).is_none()).collect();
    assert!(bare.is_empty(), "src/spec/docs.tsv lacks {bare:?}");
    for name in docs::names() {
        let doc = docs::of(name).unwrap();
        let row = table.rows().iter().any(|row| row.spec().name == name);
        assert!(row || facts.contains_key(name), "{name} is no command");
        assert!(doc.summary.ends_with('.') && doc.summary.len() < 120, "{name}: {}", doc.summary);
        assert!(!doc.complexity.is_empty() && !doc.complexity.ends_with('.'), "{name}");
    }
}

#[test]
fn arguments_are_those_of_the_facts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/spec/arguments.tsv");
    let known = |name: &str| docs::of(name).is_some();
    let lines: String = facts()
        .iter()
        .filter(|(name, fact)| known(name) && !fact["arguments"].is_null())
        .map(|(name, fact)| format!("{name}\t{}\n", fact["arguments"]))
        .collect();
    if std::env::var_os("UPDATE").is_some() {
        // The file is a part of the program: it counts when that is made again.
        return std::fs::write(path, &lines).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == lines, "UPDATE=1 writes {path}");
    for name in docs::names() {
        let given = lines.lines().any(|line| line.split('\t').next() == Some(name));
        assert_eq!(given, !docs::arguments(name).is_empty(), "the arguments of {name} are read");
    }
}
