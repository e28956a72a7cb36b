//! Rules of the house that a compiler does not know: what each file says first, how long files and
//! functions are, who may import whom, and where unsafe code may stand.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// A room one can see across; empty lines take no room.
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// The files that may hold unsafe code.
const UNSAFE_FILES: &[&str] = &[
    "src/base/ahead.rs",
    "src/base/fs.rs",
    "src/base/heap.rs",
    "src/base/long_double.rs",
    "src/base/mallctl.rs",
    "src/base/pages.rs",
    "src/ds/dict.rs",
    "src/ds/listpack.rs",
    "src/ds/prefetch.rs",
    "src/ds/tagged.rs",
    "src/ds/thin.rs",
    "src/engine/fiber.rs",
    "src/keyspace/entry.rs",
    "src/keyspace/lock.rs",
    "src/keyspace/open.rs",
    "src/keyspace/view.rs",
    "src/main.rs",
    "src/net/io.rs",
    "src/persist/child.rs",
    "src/script/guard.rs",
    "src/script/machine.rs",
    "src/script/raw.rs",
    "src/server/crash.rs",
    "src/server/logging.rs",
    "src/server/title.rs",
    "src/value/fields.rs",
    "src/value/zset.rs",
];

struct Source {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
                found.push(Source { path, text });
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The folders in the order `src/lib.rs` lists them.
fn folders() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows = text.lines().skip_while(|line| *line != "//! ```text").skip(1);
    let rows = rows.take_while(|line| *line != "//! ```");
    let folder =
        |row: &str| row.trim_start_matches("//!").split_whitespace().next().map(str::to_string);
    rows.filter_map(folder).collect()
}

/// The lines outside of the tests at the end of a file, with their numbers.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

fn all_well(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|source| {
        !source.text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 12)
    });
    all_well(silent.map(|source| source.path).collect());
}

#[test]
fn files_fit_a_room() {
    let wrong = sources().into_iter().filter_map(|source| {
        let lines = source.text.lines().filter(|line| !line.trim().is_empty()).count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    });
    all_well(wrong.collect());
}

/// A function's first line, and where its closing brace is expected: at the same depth.
fn function_start(line: &str) -> Option<(&str, usize)> {
    let indent = line.len() - line.trim_start().len();
    let mut rest = line.trim_start();
    for word in [
        "pub(crate) ",
        "pub(super) ",
        "pub ",
        "const ",
        "async ",
        "unsafe ",
        "extern \"C-unwind\" ",
        "extern \"C\" ",
    ] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    Some((&name[..end], indent))
}

#[test]
fn functions_fit_a_screen() {
    let mut wrong = Vec::new();
    for source in sources() {
        let mut open: Vec<(String, usize, usize)> = Vec::new();
        for (number, line) in source.text.lines().enumerate() {
            if let Some((name, indent)) = function_start(line) {
                if !line.trim_end().ends_with([';', '}']) {
                    open.push((name.into(), indent, number));
                }
                continue;
            }
            let Some((name, indent, start)) = open.last() else { continue };
            let at_depth = line.len() - line.trim_start().len() == *indent;
            if at_depth && (line.trim() == "}" || line.trim_end().ends_with(';')) {
                let lines = number - start + 1;
                if lines > FUNCTION_LINES_MAX {
                    wrong.push(format!("{}:{}: {name} has {lines} lines", source.path, start + 1));
                }
                open.pop();
            }
        }
    }
    all_well(wrong);
}

#[test]
fn folders_import_only_from_those_above_them() {
    let folders = folders();
    assert!(folders.len() > 10, "src/lib.rs lists the folders");
    let rank = |name: &str| folders.iter().position(|folder| folder == name);
    let mut wrong = Vec::new();
    for source in sources() {
        let inside = source.path.strip_prefix("src/").unwrap();
        let Some((own, _)) = inside.split_once('/') else { continue };
        let Some(own_rank) = rank(own) else {
            wrong.push(format!("{}: {own} is not listed in src/lib.rs", source.path));
            continue;
        };
        for (number, line) in code(&source) {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for part in line.split("crate::").skip(1) {
                let end = part.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                let name = &part[..end.unwrap_or(part.len())];
                if rank(name).is_some_and(|rank| rank > own_rank) {
                    wrong.push(format!("{}:{number}: {own} imports {name}", source.path));
                }
            }
        }
    }
    all_well(wrong);
}

#[test]
fn grouped_imports_name_their_folder() {
    let grouped = sources().into_iter().filter(|source| source.text.contains("use crate::{"));
    let wrong = grouped.map(|source| format!("{}: `use crate::{{` hides folders", source.path));
    all_well(wrong.collect());
}

#[test]
fn unsafe_code_stands_only_where_it_is_listed_and_says_why() {
    let mut wrong = Vec::new();
    for source in sources() {
        let allow = source.text.lines().find(|line| line.starts_with("#![allow(unsafe_code"));
        let listed = UNSAFE_FILES.contains(&source.path.as_str());
        match allow {
            Some(_) if !listed => wrong.push(format!("{}: not listed here", source.path)),
            Some(line) => {
                let reason = line.split_once("// ").or_else(|| line.split_once("reason = "));
                if reason.is_none_or(|(_, reason)| reason.len() < 10) {
                    wrong.push(format!("{}: no reason given", source.path));
                }
            }
            None if listed => wrong.push(format!("{}: listed in vain", source.path)),
            None => {}
        }
        if allow.is_none() && source.text.contains("allow(unsafe_code") {
            wrong.push(format!("{}: allows unsafe code below the file's top", source.path));
        }
    }
    all_well(wrong);
}

#[test]
fn every_folder_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let missing = folders().into_iter().filter(|folder| !map.contains(&format!("`{folder}/`")));
    all_well(missing.map(|folder| format!("ARCHITECTURE.md does not name {folder}/")).collect());
}
