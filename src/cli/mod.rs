//! What the command line asks for: to serve, to check files, or to be told something.
//!
//! The program goes by several names. As `redis-server` (and as `rekeep`, with or without `serve`)
//! it takes Redis's own command line; as `redis-check-rdb` and `redis-check-aof` (or
//! `rekeep check-rdb`, `rekeep check-aof`) that of the tools. Nothing is done here: the answer is
//! an [`Ask`], or a [`Refusal`] for standard error and exit code 1.

mod argv;
mod help;
mod system;
mod tools;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use crate::cli::help::{server_help, server_version};
pub use crate::cli::system::check_system;
pub use crate::cli::tools::{CheckAof, CheckRdb};
use crate::config::Config;
use crate::config::file::FileError;

/// What is asked for.
#[derive(Debug, PartialEq)]
pub enum Ask {
    /// Serve clients.
    Serve(Box<Startup>),
    /// Check a snapshot file.
    CheckRdb(CheckRdb),
    /// Check append-only files.
    CheckAof(CheckAof),
    /// Print this and leave with success.
    Print(String),
    /// Look at how the machine is set up: [`check_system`].
    CheckSystem,
}

/// What a server starts with.
#[derive(Debug, PartialEq)]
pub struct Startup {
    /// All settings, from the file, standard input and the command line.
    pub config: Config,
    /// The absolute path of the configuration file, if there is one.
    pub config_file: Option<PathBuf>,
    /// The command line, with the configuration file's path made absolute (for a restart).
    pub argv: Vec<OsString>,
}

/// Why nothing is done.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] FileError),
    /// The command line is wrong, or asks for what is not there.
    #[error("{0}")]
    Usage(String),
}

const NO_SENTINEL: &str = "Rekeep has no Sentinel mode. Run Redis's own redis-sentinel; it can \
                           watch Rekeep servers and their replicas.";
const NO_MEMORY_TEST: &str = "Rekeep does not test memory: a program that runs under an operating \
                              system sees only part of it. Use memtest86+ instead.";

/// What `argv` asks for, the program's name first. `stdin` is read when it says `-`.
pub fn ask(argv: &[OsString], stdin: &mut dyn Read) -> Result<Ask, Refusal> {
    let program = argv.first().and_then(|program| Path::new(program).file_name());
    let program = program.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let first = argv.get(1).map(|word| word.to_string_lossy().into_owned());
    if program.contains("redis-check-rdb") {
        return tools::check_rdb(&argv[1..]);
    }
    if program.contains("redis-check-aof") {
        return tools::check_aof(&argv[1..]);
    }
    if program.contains("redis-sentinel") || argv.iter().any(|word| word == "--sentinel") {
        return Err(Refusal::Usage(NO_SENTINEL.into()));
    }
    let own_name = !program.starts_with("redis-");
    match first.as_deref() {
        Some("check-rdb") if own_name => tools::check_rdb(&argv[2..]),
        Some("check-aof") if own_name => tools::check_aof(&argv[2..]),
        Some("serve") if own_name => {
            let mut argv = argv.to_vec();
            argv.remove(1);
            serve(&argv, stdin)
        }
        Some("help") if own_name => Ok(Ask::Print(server_help())),
        _ => serve(argv, stdin),
    }
}

/// Redis's own command line.
fn serve(argv: &[OsString], stdin: &mut dyn Read) -> Result<Ask, Refusal> {
    match argv.get(1).and_then(|word| word.to_str()) {
        Some("-v" | "--version") => Ok(Ask::Print(server_version())),
        Some("-h" | "--help") => Ok(Ask::Print(server_help())),
        Some("--check-system") => Ok(Ask::CheckSystem),
        Some("--test-memory") => Err(Refusal::Usage(NO_MEMORY_TEST.into())),
        _ => argv::startup(argv, stdin).map(|startup| Ask::Serve(Box::new(startup))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Ask, Refusal> {
        let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        ask(&argv, &mut &b"timeout 3\n"[..])
    }

    fn config(words: &[&str]) -> Config {
        let words = [&["/usr/bin/redis-server"], words].concat();
        match asked(&words) {
            Ok(Ask::Serve(startup)) => startup.config,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn error(words: &[&str]) -> String {
        asked(&[&["redis-server"], words].concat()).unwrap_err().to_string()
    }

    #[test]
    fn options_and_their_values_are_told_apart_as_redis_does() {
        let both = config(&["--maxmemory 700mb", "--maxmemory-policy 'volatile-lru'"]);
        assert_eq!(both.maxmemory, 700 << 20);
        assert_eq!(both.maxmemory_policy, crate::config::MaxmemoryPolicy::VolatileLru);
        assert_eq!(config(&["--port", "0", "--timeout", "5"]).timeout, 5);
        let title = |words: &[&str]| config(words).proc_title_template.lossy();
        assert_eq!(title(&["--proc-title-template", "--my", "--port", "1"]), "--my");
        assert_eq!(title(&["--proc-title-template --my", "--port 1"]), "--my");
        let on = config(&[
            "--shutdown-on-sigint",
            "nosave",
            "force",
            "now",
            "--shutdown-on-sigterm",
            "nosave force",
        ]);
        assert!(on.shutdown_on_sigint.now && on.shutdown_on_sigterm.force);
        assert!(!on.shutdown_on_sigterm.now);
        for words in [
            &["--save", "--port", "1"][..],
            &["--port", "1", "--save"],
            &["--save", "", "--port", "1"],
            &["--port", "1", "--save", ""],
            &["--proc-title-template", "--save", "--save", "", "--port", "1"],
        ] {
            let config = config(words);
            assert_eq!((config.save.len(), config.port), (0, 1), "{words:?}");
        }
        assert_eq!(config(&["-", "--port", "2"]).timeout, 3);
        assert_eq!(config(&["--port", "2", "-"]).timeout, 3);
    }

    #[test]
    fn errors_show_the_line_as_redis_does() {
        for (words, line, reason) in [
            (&["--invalid"][..], "'invalid'", "Bad directive or wrong number of arguments"),
            (&["--port"], "'port'", "wrong number of arguments"),
            (&["--port", "6380", "--loglevel"], "'loglevel'", "wrong number of arguments"),
            (&["--port", "1", "2"], r#"'port "1" "2"'"#, "wrong number of arguments"),
            (
                &["--port", "--loglevel", "verbose"],
                r#"'port "--loglevel" "verbose"'"#,
                "wrong number of arguments",
            ),
            (
                &["--port", "--bla", "--loglevel", "verbose"],
                r#"'port "--bla"'"#,
                "argument couldn't be parsed into an integer",
            ),
            (
                &["--logfile", "", "--loglevel", "--bla"],
                r#"'loglevel "--bla"'"#,
                "argument(s) must be one of the following",
            ),
            (
                &["--shutdown-on-sigint"],
                "'shutdown-on-sigint'",
                "argument(s) must be one of the following",
            ),
            (
                &["--shutdown-on-sigint", "now force", "--shutdown-on-sigterm"],
                "'shutdown-on-sigterm'",
                "argument(s) must be one of the following",
            ),
            (
                &["--replicaof", "--127.0.0.1", "abc"],
                r#"'replicaof "--127.0.0.1" "abc"'"#,
                "Invalid master port",
            ),
            (
                &["--replicaof", "--127.0.0.1", "--abc"],
                r#"'replicaof "--127.0.0.1"'"#,
                "wrong number of arguments",
            ),
        ] {
            let error = error(words);
            assert!(error.contains(&format!(">>> {line}\n")), "{words:?}: {error}");
            assert!(error.contains(reason), "{words:?}: {error}");
        }
        assert!(error(&["--sentinel"]).contains("no Sentinel"));
        assert!(error(&["--test-memory", "9"]).contains("memtest86+"));
        let missing = error(&["no/such.conf"]);
        assert!(missing.contains("can't open config file '/"), "{missing}");
        assert!(missing.ends_with("No such file or directory"), "{missing}");
    }

    #[test]
    fn a_file_comes_first_and_its_path_becomes_absolute() {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        std::fs::write(file.path(), "port 1\nmaxclients 7\n").unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap().to_string();
        let Ask::Serve(startup) = asked(&["rekeep", "serve", &name, "--port", "2"]).unwrap() else {
            panic!("serves")
        };
        assert_eq!((startup.config.port, startup.config.maxclients), (2, 7));
        let path = startup.config_file.unwrap();
        assert!(path.is_absolute() && path.ends_with(&name));
        assert_eq!(startup.argv[1], path.as_os_str());
    }

    #[test]
    fn tools_go_by_two_names() {
        let rdb = Ask::CheckRdb(CheckRdb { file: "a.rdb".into() });
        assert_eq!(asked(&["redis-check-rdb", "a.rdb"]).unwrap(), rdb);
        assert_eq!(asked(&["rekeep", "check-rdb", "a.rdb"]).unwrap(), rdb);
        let aof = |fix, truncate_to_timestamp| {
            Ask::CheckAof(CheckAof { fix, truncate_to_timestamp, file: "m".into() })
        };
        assert_eq!(asked(&["redis-check-aof", "--fix", "m"]).unwrap(), aof(true, None));
        let words = ["rekeep", "check-aof", "--truncate-to-timestamp", "12", "m"];
        assert_eq!(asked(&words).unwrap(), aof(false, Some(12)));
        assert!(asked(&["redis-check-aof"]).unwrap_err().to_string().contains("Usage"));
        assert!(matches!(asked(&["redis-check-aof", "--help"]), Ok(Ask::Print(_))));
        assert!(matches!(asked(&["redis-server", "-v"]),
            Ok(Ask::Print(text)) if text.starts_with("Redis server v=7.4.1 sha=00000000:0 ")));
    }
}
