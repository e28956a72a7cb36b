//! Redis's command line for servers: a configuration file, then options that become its last lines.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use crate::acl::Terms;
use crate::acl::catalog::Catalog;
use crate::acl::file::read_words;
use crate::base::words::split_words;
use crate::cli::{Refusal, Startup};
use crate::command;
use crate::config::Config;
use crate::config::file::{self, FileError};
use crate::config::words::quote;
use crate::engine::access::all_channels_at_first;
use crate::engine::command::Row;

/// Reads the configuration that `argv` names and spells out.
pub(super) fn startup(argv: &[OsString], stdin: &mut dyn Read) -> Result<Startup, Refusal> {
    let mut argv = argv.to_vec();
    let mut config_file = None;
    let mut options = 1;
    if let Some(first) = argv.get_mut(1)
        && !first.as_bytes().starts_with(b"-")
    {
        let path = std::path::absolute(&*first)
            .map_err(|error| Refusal::Usage(format!("no such path: {error}")))?;
        *first = path.clone().into_os_string();
        config_file = Some(path);
        options = 2;
    }
    let words: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
    let lines = Lines::of(words.get(options..).unwrap_or_default(), options == 1);
    let mut piped = Vec::new();
    if lines.stdin {
        stdin
            .read_to_end(&mut piped)
            .map_err(|error| Refusal::Usage(format!("can't read standard input: {error}")))?;
    }
    let piped = lines.stdin.then_some(piped.as_slice());
    let config = file::load(config_file.as_deref(), piped, &lines.text)?;
    check_users(&config)?;
    Ok(Startup { config, config_file, argv })
}

/// `user` lines are refused with their place, before anything else happens.
fn check_users(config: &Config) -> Result<(), FileError> {
    if config.users.is_empty() {
        return Ok(());
    }
    let table = command::table();
    let catalog = Catalog::new(table.rows().iter().map(Row::spec));
    let terms = Terms { catalog: &catalog, all_channels_at_first: all_channels_at_first(config) };
    for (index, line) in config.users.iter().enumerate() {
        let words: Vec<&[u8]> = line.words.iter().map(|word| word.as_bytes()).collect();
        let is_known = config.users[..index].iter().any(|other| other.words[0] == line.words[0]);
        if is_known {
            return Err(line.wrong(format!(
                "Error in user declaration '{}': Duplicate user found. A user can only be defined \
                 once in config files",
                line.words[0].lossy()
            )));
        }
        read_words(&words, terms).map_err(|reason| line.wrong(reason))?;
    }
    Ok(())
}

/// The options as lines of a configuration file.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    /// A lone `-` asked for more lines from standard input.
    stdin: bool,
}

impl Lines {
    /// `--name` opens a line, other words are values on it. Directly behind a lone `--name` a word
    /// is a value even when it begins with `--`; only `--save` may go without one.
    fn of(words: &[&[u8]], first_may_be_stdin: bool) -> Lines {
        let mut lines = Lines::default();
        let mut wants_value = false;
        for (index, word) in words.iter().enumerate() {
            let next = words.get(index + 1);
            let at_an_end = next.is_none() || (index == 0 && first_may_be_stdin);
            if *word == b"-" && at_an_end {
                lines.stdin = true;
            } else if !wants_value && word.starts_with(b"--") {
                lines.open(&word[2..]);
                let is_save = word.eq_ignore_ascii_case(b"--save");
                let alone = split_words(word).is_some_and(|parts| parts.len() == 1);
                wants_value = alone;
                if is_save && next.is_none_or(|next| next.starts_with(b"--")) {
                    lines.text.extend_from_slice(b"\"\"");
                    wants_value = false;
                }
            } else {
                quote(word, &mut lines.text);
                lines.text.push(b' ');
                wants_value = false;
            }
        }
        lines
    }

    fn open(&mut self, name: &[u8]) {
        if !self.text.is_empty() {
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(name);
        self.text.push(b' ');
    }
}
