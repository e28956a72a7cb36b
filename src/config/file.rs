//! Reading redis.conf: lines, quotes, includes, and errors that name the line.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::words::split_words;
use crate::config::value::{How, WRONG_COUNT};
use crate::config::{Config, REDIS_VERSION, Text, Traits, find};

/// How deep includes may be nested.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Settings that old files may still name; they mean nothing any more.
const FORGOTTEN: [&str; 3] =
    ["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// A `user` line: what is in it is for ACL to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLine {
    /// The words behind `user`.
    pub words: Vec<Text>,
    /// The file, when the line is in one.
    pub file: Option<PathBuf>,
    /// The line's number, from 1, and its text.
    pub line: (usize, String),
}

impl UserLine {
    /// What is wrong with the line.
    pub fn wrong(&self, reason: String) -> FileError {
        FileError { file: self.file.clone(), line: Some(self.line.clone()), reason }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file, when the line is in one.
    pub file: Option<PathBuf>,
    /// The line's number, from 1, and its text.
    pub line: Option<(usize, String)>,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***")?;
        if let Some((number, text)) = &self.line {
            writeln!(to, "Reading the configuration file, at line {number}")?;
            writeln!(to, ">>> '{text}'")?;
        }
        write!(to, "{}", self.reason)?;
        if let Some(file) = &self.file {
            write!(to, " (in {})", file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for FileError {}

/// Reads `file`, if any, then what came from standard input, then the lines of the command line,
/// as one text; later lines win.
pub fn load(
    file: Option<&Path>,
    stdin: Option<&[u8]>,
    argv_lines: &[u8],
) -> Result<Config, FileError> {
    let mut text = Vec::new();
    if let Some(path) = file {
        text = read(path)?;
    }
    let file_lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    text.extend_from_slice(stdin.unwrap_or_default());
    if !argv_lines.is_empty() {
        text.push(b'\n');
        text.extend_from_slice(argv_lines);
    }
    let mut reader = Reader { config: Config::default(), saves: How::Replace, depth: 0 };
    reader.read_text(&text, file).map_err(|mut error| {
        let behind_file = error.line.as_ref().is_some_and(|(number, _)| *number > file_lines);
        if behind_file && error.file.as_deref() == file {
            error.file = None;
        }
        error
    })?;
    reader.check()?;
    Ok(reader.config)
}

/// Reads a text that stands in no file.
pub fn parse(text: &[u8]) -> Result<Config, FileError> {
    load(None, Some(text), b"")
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError {
        file: None,
        line: None,
        reason: format!(
            "Fatal error, can't open config file '{}': {}",
            path.display(),
            system_words(&error)
        ),
    })
}

/// The system's words for an error, without Rust's addition of its number.
fn system_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().into(),
        None => error.to_string(),
    }
}

struct Reader {
    config: Config,
    /// The first `save` line replaces the defaults, the others add to it.
    saves: How,
    depth: usize,
}

impl Reader {
    fn read_text(&mut self, text: &[u8], file: Option<&Path>) -> Result<(), FileError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let users = self.config.users.len();
            let file = || file.map(Path::to_path_buf);
            let place = || (index + 1, String::from_utf8_lossy(line).into_owned());
            self.read_line(line).map_err(|wrong| match wrong {
                Wrong::Inside(error) => error,
                Wrong::Here(reason) => {
                    FileError { file: file(), line: Some(place()), reason: reason.into_owned() }
                }
            })?;
            for user in &mut self.config.users[users..] {
                // Those of an included file know their place.
                if user.line.0 == 0 {
                    (user.file, user.line) = (file(), place());
                }
            }
        }
        Ok(())
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let words = split_words(line).ok_or("Unbalanced quotes in configuration line")?;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let [name, values @ ..] = words.as_slice() else { return Ok(()) };
        if let Some((setting, _)) = find(name) {
            return self.set(setting, values);
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match (name.as_str(), values) {
            ("include", [path]) => self.include(path),
            ("rename-command", [old, new]) => {
                self.config.renamed_commands.push((Text::from(*old), Text::from(*new)));
                Ok(())
            }
            ("user", [_, ..]) => {
                let words = values.iter().map(|word| Text::from(*word)).collect();
                self.config.users.push(UserLine { words, file: None, line: (0, String::new()) });
                Ok(())
            }
            ("loadmodule", [_, ..]) => Err("modules are not supported by Rekeep".into()),
            ("sentinel", _) => Err("sentinel directive while not in sentinel mode".into()),
            (name, [_]) if FORGOTTEN.contains(&name) => Ok(()),
            (name, []) if name.contains('.') => Err("Module config specified without value".into()),
            (name, _) if name.contains('.') => Err("modules are not supported by Rekeep".into()),
            _ => Err("Bad directive or wrong number of arguments".into()),
        }
    }

    fn set(&mut self, setting: &crate::config::Setting, values: &[&[u8]]) -> Result<(), Wrong> {
        let how = if setting.traits.has(Traits::ADDS_UP) {
            std::mem::replace(&mut self.saves, How::Add)
        } else {
            How::Replace
        };
        let mut apply = |values: &[&[u8]]| {
            (setting.read)(&mut self.config, setting.kind, values, how)
                .map_err(|reason| Wrong::Here(reason.into()))
        };
        match values {
            [value] if setting.traits.has(Traits::WORDS) && !value.is_empty() => {
                let words = split_words(value).ok_or("Unbalanced quotes in configuration line")?;
                apply(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
            }
            values if setting.traits.has(Traits::WORDS) || values.len() == 1 => apply(values),
            _ => Err(WRONG_COUNT.into()),
        }
    }

    /// A pattern may match no file at all; a plain name must be there.
    fn include(&mut self, path: &[u8]) -> Result<(), Wrong> {
        if self.depth == INCLUDE_DEPTH_MAX {
            return Err("include files are nested too deep".into());
        }
        let name = String::from_utf8_lossy(path).into_owned();
        let paths = if path.iter().any(|byte| b"*?[".contains(byte)) {
            let found = glob::glob(&name).map_err(|error| Wrong::Here(error.to_string().into()))?;
            found.filter_map(Result::ok).collect()
        } else {
            vec![PathBuf::from(std::ffi::OsStr::from_bytes(path))]
        };
        self.depth += 1;
        for path in paths {
            let text = read(&path).map_err(|error| Wrong::Here(error.reason.into()))?;
            self.read_text(&text, Some(&path)).map_err(Wrong::Inside)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// What must hold between settings, and what cannot be done here.
    fn check(&mut self) -> Result<(), FileError> {
        let wrong = |reason: String| Err(FileError { file: None, line: None, reason });
        if self.config.cluster_enabled {
            return wrong("cluster-enabled yes: Rekeep has no cluster mode".into());
        }
        if !self.config.logfile.is_empty() {
            let path = self.config.logfile.to_path();
            if let Err(error) = fs::OpenOptions::new().append(true).create(true).open(path) {
                return wrong(format!("Can't open the log file: {}", system_words(&error)));
            }
        }
        self.config.settle();
        Ok(())
    }
}

/// A line that is wrong, or an included file that has one.
enum Wrong {
    Here(Cow<'static, str>),
    Inside(FileError),
}

impl From<&'static str> for Wrong {
    fn from(reason: &'static str) -> Wrong {
        Wrong::Here(reason.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::point;

    #[test]
    fn save_lines_replace_the_defaults_and_then_add_up() {
        let saves = |text: &str| parse(text.as_bytes()).unwrap().save;
        assert_eq!(saves(""), Config::default().save);
        assert_eq!(saves("save 10 1\nsave 20 2"), [point(10, 1), point(20, 2)]);
        assert_eq!(saves("save 10 1\nsave \"\""), []);
        assert_eq!(saves("save \"10 1 20 2\""), [point(10, 1), point(20, 2)]);
    }

    #[test]
    fn an_error_names_the_line_and_the_file() {
        let error = parse(b"# a\n\n  Port x  \n").unwrap_err();
        let text = "\n*** FATAL CONFIG FILE ERROR (Redis 7.4.1) ***\n\
                    Reading the configuration file, at line 3\n\
                    >>> 'Port x'\n\
                    argument couldn't be parsed into an integer";
        assert_eq!(error.to_string(), text);
        for (line, reason) in [
            ("port", "wrong number of arguments"),
            ("port 1 2", "wrong number of arguments"),
            ("port \"1", "Unbalanced quotes in configuration line"),
            ("nonsense 1", "Bad directive or wrong number of arguments"),
            ("replicaof a", "wrong number of arguments"),
            ("replicaof a b", "Invalid master port"),
            ("loadmodule x.so", "modules are not supported by Rekeep"),
            ("cluster-enabled yes", "cluster-enabled yes: Rekeep has no cluster mode"),
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().reason, reason, "{line}");
        }
    }

    #[test]
    fn includes_are_read_in_place_and_patterns_may_find_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.conf"), "port 7\nuser joe on\nrename-command FLUSHALL \"\"\n").unwrap();
        fs::write(at("bad.conf"), "\nport x\n").unwrap();
        let main = at("main");
        let text = |names: &str| {
            let lines = names.split(' ').map(|name| format!("include {}\n", at(name).display()));
            fs::write(&main, lines.collect::<String>() + "maxclients 5").unwrap();
            load(Some(&main), None, b"timeout \"9\" ")
        };
        let config = text("a.conf none-*.conf").unwrap();
        assert_eq!((config.port, config.maxclients, config.timeout), (7, 5, 9));
        assert_eq!(config.users[0].words, [Text::from("joe"), Text::from("on")]);
        assert_eq!((&config.users[0].file, config.users[0].line.0), (&Some(at("a.conf")), 2));
        assert_eq!(config.renamed_commands.len(), 1);
        let error = text("bad.conf").unwrap_err();
        assert_eq!((error.file, error.line), (Some(at("bad.conf")), Some((2, "port x".into()))));
        assert!(text("missing").unwrap_err().reason.contains("can't open config file"));
        assert_eq!(text("main").unwrap_err().reason, "include files are nested too deep");
        fs::write(&main, "port 1\n").unwrap();
        let error = load(Some(&main), None, b"port").unwrap_err();
        assert_eq!((error.file, error.line), (None, Some((3, "port".into()))));
    }
}
