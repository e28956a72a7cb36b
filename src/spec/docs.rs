//! What COMMAND DOCS tells of a command beyond its row: a sentence, its cost, its arguments.
//!
//! `docs.tsv` has a line for each command and subcommand: name, complexity, summary. `arguments.tsv`
//! is made of the facts about Redis's commands by `UPDATE=1 cargo test --test tables`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The sentence about a command, and its cost.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// How the cost grows.
    pub complexity: &'static str,
    /// What the command is for.
    pub summary: &'static str,
}

/// An argument, or several of them that belong together.
#[derive(Debug, Deserialize)]
pub struct Argument {
    /// What it is called.
    pub name: String,
    /// What it is: a key, a string, a number, a token; or `oneof` or `block`, which have arguments.
    #[serde(rename = "type")]
    pub kind: String,
    /// The word that stands before it, or that it is.
    pub token: Option<String>,
    /// Which of the row's key specs finds it.
    pub key_spec_index: Option<i64>,
    /// The first Redis version that had it.
    pub since: Option<String>,
    /// The Redis version that advised against it.
    pub deprecated_since: Option<String>,
    /// It may be missing.
    #[serde(default)]
    pub optional: bool,
    /// It may come more than once.
    #[serde(default)]
    pub multiple: bool,
    /// Its token is repeated with it.
    #[serde(default)]
    pub multiple_token: bool,
    /// What it is made of.
    #[serde(default)]
    pub arguments: Vec<Argument>,
}

/// Commands for servers and their developers.
pub const INTERNAL: &[&str] = &["debug", "pfdebug", "pfselftest", "replconf", "restore-asking"];

static DOCS: LazyLock<HashMap<&str, Doc>> = LazyLock::new(|| {
    let lines = include_str!("docs.tsv").lines();
    lines
        .filter_map(|line| {
            let (name, rest) = line.split_once('\t')?;
            let (complexity, summary) = rest.split_once('\t')?;
            Some((name, Doc { complexity, summary }))
        })
        .collect()
});

static ARGUMENTS: LazyLock<HashMap<&str, Vec<Argument>>> = LazyLock::new(|| {
    let lines = include_str!("arguments.tsv").lines();
    lines
        .filter_map(|line| {
            let (name, tree) = line.split_once('\t')?;
            Some((name, serde_json::from_str(tree).ok()?))
        })
        .collect()
});

/// Every name that has a line.
pub fn names() -> impl Iterator<Item = &'static str> {
    DOCS.keys().copied()
}

/// What is told of a command; a subcommand is named `container|sub`.
pub fn of(name: &str) -> Option<Doc> {
    DOCS.get(name).copied()
}

/// A command's arguments, in order.
pub fn arguments(name: &str) -> &'static [Argument] {
    ARGUMENTS.get(name).map_or(&[], Vec::as_slice)
}
