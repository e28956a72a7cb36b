//! The table of settings agrees with the example file and with what Redis 7.4 says of itself.
//!
//! `UPDATE=1 cargo test --test config` writes the example file and the list in README.md anew.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;

use rekeep::config::{Asker, Config, SETTINGS, Setting, Traits, When, file, find, get, set};
use serde_json::Value;

/// Where each part of the example file begins: the first setting of it.
const PARTS: [(&str, &str); 16] = [
    ("bind", "Network"),
    ("tls-port", "TLS"),
    ("daemonize", "General"),
    ("loglevel", "Log"),
    ("save", "Snapshots"),
    ("appendonly", "Append-only file"),
    ("replicaof", "Replication"),
    ("requirepass", "Users and permissions"),
    ("maxmemory", "Memory"),
    ("client-output-buffer-limit", "Limits for clients"),
    ("slowlog-log-slower-than", "Observation"),
    ("notify-keyspace-events", "Events"),
    ("busy-reply-threshold", "Scripts"),
    ("server-cpulist", "Processors"),
    ("cluster-enabled", "Cluster"),
    ("list-max-listpack-size", "Small encodings"),
];

const HEAD: &str = "\
# The configuration of Rekeep, with every setting and its default.
#
#     redis-server /path/to/redis.conf
#
# A line is a name and its values. Values with spaces stand in quotes. Sizes take units, in either
# case: 1k is 1000 bytes, 1kb is 1024, and so on with m, mb, g, gb. Later lines win. Settings can be
# given on the command line too: --port 6380. Other files are read with: include /path/to/*.conf
#
# Users of ACL have a line each (user alice on >secret ~* +@all); a command gets another name with
# rename-command OLD NEW, and none with rename-command OLD \"\".
";

/// Settings of Redis that have another default here, and why.
const OTHER_DEFAULTS: [(&str, &str); 1] =
    [("io-threads", "here threads run commands too: one fewer than cores, at most 8")];

/// Settings whose rule the facts state differently from a real server.
const OTHER_RULES: [(&str, &str); 1] =
    [("enable-protected-configs", "real servers answer: can't set immutable config")];

/// Settings that Redis does not have, or shows nowhere.
const OURS: [&str; 7] = [
    "aof-checksums",
    "aof-max-replay-seconds",
    "aof-rebase-on-save",
    "log-format",
    "rdb-save-processes",
    "rdb-verify",
    "rdb-version",
];

fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        if lines.last().unwrap().len() + word.len() >= 100 {
            lines.push("#".into());
        }
        let line = lines.last_mut().unwrap();
        line.push(' ');
        line.push_str(word);
    }
    lines.join("\n") + "\n"
}

fn entry(setting: &Setting) -> String {
    let mut text = comment(setting.doc());
    if let Some(reason) = setting.idle {
        text += &comment(&format!("No effect: {reason}."));
    }
    let mut names = setting.names();
    names.next();
    let older: Vec<&str> = names.collect();
    if !older.is_empty() {
        text += &comment(&format!("Also known as {}.", older.join(", ")));
    }
    for line in setting.example_lines() {
        // The number of cores is not the same everywhere.
        let line = if setting.name() == "io-threads" { "# io-threads 8".into() } else { line };
        text += &format!("{line}\n");
    }
    text
}

fn example() -> String {
    let mut text = HEAD.to_string();
    for setting in SETTINGS.iter().filter(|row| !row.traits.has(Traits::HIDDEN)) {
        if let Some((_, title)) = PARTS.iter().find(|(first, _)| *first == setting.name()) {
            text += &format!("\n{}\n# {title}\n", "#".repeat(40));
        }
        text += &format!("\n{}", entry(setting));
    }
    text
}

#[test]
fn the_example_file_says_what_the_table_says() {
    let path = root("redis.conf.example");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, example()).unwrap();
    }
    let stands = fs::read_to_string(&path).unwrap();
    for (stands, expected) in stands.lines().zip(example().lines()) {
        assert_eq!(stands, expected, "write it anew with UPDATE=1");
    }
    assert_eq!(stands, example());
}

/// The settings without effect, by the reason.
fn idle_list() -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for setting in SETTINGS.iter().filter(|row| !row.traits.has(Traits::HIDDEN)) {
        let Some(reason) = setting.idle else { continue };
        let name = format!("`{}`", setting.name());
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    let lines =
        reasons.iter().map(|(reason, names)| format!("- {}: {reason}.\n", names.join(", ")));
    lines.collect()
}

#[test]
fn the_readme_lists_the_settings_without_effect() {
    const START: &str = "UPDATE=1 cargo test --test config -->\n";
    const END: &str = "<!-- end of the list -->";
    let path = root("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let start = text.find(START).expect("a mark where the list starts") + START.len();
    let end = start + text[start..].find(END).expect("a mark where the list ends");
    let list = idle_list();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, [&text[..start], &list, &text[end..]].concat()).unwrap();
    } else {
        assert_eq!(&text[start..end], list, "write it anew with UPDATE=1");
    }
}

#[test]
fn the_example_file_is_the_default_configuration() {
    let text = fs::read(root("redis.conf.example")).unwrap();
    assert_eq!(file::parse(&text).unwrap(), Config::default());
}

#[test]
fn settings_are_those_of_redis_with_its_defaults() {
    let text = fs::read_to_string(root("tests/facts/config.json")).unwrap();
    let facts: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let config = Config::default();
    let mut wrong = Vec::new();
    for (name, fact) in &facts {
        let Some((setting, _)) = find(name.as_bytes()) else {
            wrong.push(format!("{name}: missing"));
            continue;
        };
        let value = String::from_utf8(setting.show(&config)).unwrap();
        let differs = OTHER_DEFAULTS.iter().any(|(other, _)| other == name);
        if !differs && fact["default"] != value.as_str() {
            wrong.push(format!("{name}: {value}, not {}", fact["default"]));
        }
        let client = When::Runtime(Asker { local: true, loading: false });
        let answer = set(&config, &[(name.as_bytes(), value.as_bytes())], client);
        let why_not = match answer {
            Ok(_) => "",
            Err(error) if error.to_string().ends_with("immutable config") => "immutable",
            Err(error) if error.to_string().ends_with("protected config") => "protected",
            Err(error) => panic!("{error}"),
        };
        let differs = OTHER_RULES.iter().any(|(other, _)| other == name);
        if !differs && fact["why_not"].as_str().unwrap_or_default() != why_not {
            wrong.push(format!("{name}: {why_not}, not {}", fact["why_not"]));
        }
    }
    for (name, _) in get(&config, &[b"*"]) {
        let name = String::from_utf8(name).unwrap();
        if !facts.contains_key(&name) && !OURS.contains(&name.as_str()) {
            wrong.push(format!("{name}: Redis does not show it"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_setting_is_explained() {
    for setting in SETTINGS {
        assert!(
            setting.doc().trim_end_matches(')').ends_with('.'),
            "{}: no sentence",
            setting.name()
        );
    }
}
