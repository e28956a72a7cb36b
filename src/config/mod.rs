//! The configuration: one table of settings, read by startup, CONFIG GET, SET and REWRITE, and the
//! example file.
//!
//! Everything here is pure: a change gives a new [`Config`], and whoever holds the current one
//! adopts it, or not. What a change asks of the world (listen on another port, change the
//! directory) is for the caller, who can refuse with [`ConfigError::refused`].

pub mod file;
pub mod rewrite;
mod schema;
pub mod special;
mod table;
pub mod value;
pub mod words;

use std::collections::HashSet;

use thiserror::Error;

use crate::base::glob;
use crate::base::text::shown_to_zero;
pub use crate::config::schema::{Config, SETTINGS, TITLE_VARIABLES};
pub use crate::config::special::*;
pub use crate::config::table::{Setting, Traits};
use crate::config::value::How;
pub use crate::config::value::{Share, Text};

/// The version of Redis whose behaviour clients see.
pub const REDIS_VERSION: &str = "7.4.1";
/// Our own version.
pub const REKEEP_VERSION: &str = env!("CARGO_PKG_VERSION");

/// When and by whom settings are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the server serves: everything may be set.
    Startup,
    /// By CONFIG SET.
    Runtime(Asker),
}

/// What matters about the client that sends CONFIG SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// It is connected from this machine.
    pub local: bool,
    /// The server is loading its files.
    pub loading: bool,
}

/// Why settings were not set, in Redis's words (without `ERR `).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// The setting cannot be changed, or not to this.
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed {
        /// The setting.
        name: String,
        /// Redis's words for it.
        reason: String,
    },
    /// Not while the files are loaded: the client gets the LOADING error.
    #[error("Redis is loading the dataset in memory")]
    Loading,
}

impl ConfigError {
    /// The world does not allow it: the port is taken, the directory does not exist.
    pub fn refused(name: &str, reason: impl ToString) -> ConfigError {
        ConfigError::Failed { name: name.into(), reason: reason.to_string() }
    }
}

impl Permission {
    /// Whether a client, local or not, is allowed.
    pub fn allows(self, local: bool) -> bool {
        match self {
            Permission::Yes => true,
            Permission::Local => local,
            Permission::No => false,
        }
    }
}

/// The setting with this name or older name, in either case, and the name as the table spells it.
pub fn find(name: &[u8]) -> Option<(&'static Setting, &'static str)> {
    SETTINGS.iter().find_map(|setting| {
        let known = setting.names().find(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
        Some((setting, known))
    })
}

/// CONFIG GET: names and values of the settings that any pattern matches, each name once.
/// An exact name is given back as it was spelled; a pattern never finds hidden settings.
pub fn get(config: &Config, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for pattern in patterns {
        if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
            if let Some((setting, name)) = find(pattern)
                && seen.insert(name)
            {
                found.push((pattern.to_vec(), setting.show(config)));
            }
            continue;
        }
        for setting in SETTINGS.iter().filter(|row| !row.traits.has(Traits::HIDDEN)) {
            for name in setting.names() {
                if glob::matches_nocase(pattern, name.as_bytes()) && seen.insert(name) {
                    found.push((name.into(), setting.show(config)));
                }
            }
        }
    }
    found
}

/// CONFIG SET: the configuration with all of `pairs` set, or the first reason against it.
pub fn set(config: &Config, pairs: &[(&[u8], &[u8])], when: When) -> Result<Config, ConfigError> {
    let mut rows: Vec<(&Setting, &str)> = Vec::new();
    for (asked, _) in pairs {
        let spelled = || shown_to_zero(asked);
        let (setting, name) = find(asked).ok_or_else(|| ConfigError::Unknown(spelled()))?;
        if let When::Runtime(asker) = when {
            allowed(config, setting, asker, &spelled)?;
        }
        if rows.iter().any(|(_, other)| *other == name) {
            return Err(ConfigError::refused(&spelled(), "duplicate parameter"));
        }
        rows.push((setting, name));
    }
    let mut new = config.clone();
    for ((setting, name), (_, value)) in rows.iter().zip(pairs) {
        let words: Vec<&[u8]> = if setting.traits.has(Traits::WORDS) {
            value.split(|byte| *byte == b' ').collect()
        } else {
            vec![value]
        };
        (setting.read)(&mut new, setting.kind, &words, How::Replace)
            .map_err(|reason| ConfigError::refused(name, reason))?;
        new.settle();
    }
    Ok(new)
}

/// Whether a client may change this setting now.
fn allowed(
    config: &Config,
    setting: &Setting,
    asker: Asker,
    spelled: &dyn Fn() -> String,
) -> Result<(), ConfigError> {
    let traits = setting.traits;
    if traits.has(Traits::START) {
        return Err(ConfigError::refused(&spelled(), "can't set immutable config"));
    }
    if traits.has(Traits::PROTECTED) && !config.enable_protected_configs.allows(asker.local) {
        return Err(ConfigError::refused(&spelled(), "can't set protected config"));
    }
    if traits.has(Traits::NOT_LOADING) && asker.loading {
        return Err(ConfigError::Loading);
    }
    Ok(())
}

/// How often a second background work may run.
const HZ_MIN: i32 = 1;
const HZ_MAX: i32 = 500;

impl Config {
    /// Brings values that are hints into their bounds.
    fn settle(&mut self) {
        self.hz = self.hz.clamp(HZ_MIN, HZ_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: When = When::Runtime(Asker { local: true, loading: false });

    fn set_one(name: &str, value: &str) -> Result<Config, String> {
        let pairs = [(name.as_bytes(), value.as_bytes())];
        set(&Config::default(), &pairs, LOCAL).map_err(|error| error.to_string())
    }

    fn shown(config: &Config, name: &str) -> String {
        let found = get(config, &[name.as_bytes()]);
        String::from_utf8(found.into_iter().next().expect("known").1).expect("text")
    }

    #[test]
    fn values_are_shown_as_redis_shows_them() {
        for (name, value, expected) in [
            ("maxmemory", "100mb", "104857600"),
            ("maxmemory", "", "0"),
            ("maxmemory", "010k", "10000"),
            ("maxmemory-clients", "5%", "5%"),
            ("save", "10 1 20 2", "10 1 20 2"),
            ("save", "", ""),
            ("notify-keyspace-events", "KEA", "AKE"),
            ("notify-keyspace-events", "AnKEm", "AKEm"),
            ("notify-keyspace-events", "ndtexzhsl$", "$lshzxetdn"),
            ("shutdown-on-sigint", "force now nosave", "nosave now force"),
            ("oom-score-adj", "relative", "yes"),
            (
                "client-output-buffer-limit",
                "replica 1mb 1kb 9",
                "normal 0 0 0 slave 1048576 1024 9 pubsub 33554432 8388608 60",
            ),
            ("latency-tracking-info-percentiles", "99.123456 50 0.0", "99.123456 50 0"),
            ("hz", "5000", "500"),
            ("appendonly", "YES", "yes"),
            ("bind", "", ""),
            ("hash-max-ziplist-entries", "7", "7"),
        ] {
            let config = set_one(name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(shown(&config, name), expected, "{name} {value}");
        }
    }

    #[test]
    fn refusals_have_redis_s_words() {
        let between = "argument must be between";
        for (name, value, reason) in [
            ("maxmemory", "1.5gb", "argument must be a memory value".to_string()),
            (
                "maxmemory-clients",
                "101%",
                "percentage argument must be less or equal to 100".into(),
            ),
            ("maxmemory-clients", "x", "argument must be a memory or percent value".into()),
            ("maxclients", "-1", format!("{between} 1 and 4294967295 inclusive")),
            ("repl-backlog-size", "0", format!("{between} 1 and 9223372036854775807 inclusive")),
            ("active-expire-effort", "11", format!("{between} 1 and 10 inclusive")),
            ("active-expire-effort", "07", "argument couldn't be parsed into an integer".into()),
            ("appendonly", "maybe", "argument must be 'yes' or 'no'".into()),
            (
                "loglevel",
                "x",
                "argument(s) must be one of the following: \
                               debug, verbose, notice, warning, nothing"
                    .into(),
            ),
            ("save", "10", "Invalid save parameters".into()),
            ("dir", "/", "can't set protected config".into()),
            ("unixsocketperm", "700", "can't set immutable config".into()),
            (
                "proc-title-template",
                "{foo}",
                "template format is invalid or contains unknown variables".into(),
            ),
        ] {
            let expected =
                format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}");
            assert_eq!(set_one(name, value).unwrap_err(), expected);
        }
        let error = set_one("NoSuch", "1").unwrap_err();
        assert_eq!(error, "Unknown option or number of arguments for CONFIG SET - 'NoSuch'");
    }

    #[test]
    fn a_set_is_all_or_nothing_and_names_no_setting_twice() {
        let pairs: [(&[u8], &[u8]); 2] = [(b"port", b"1"), (b"PORT", b"2")];
        let error = set(&Config::default(), &pairs, LOCAL).unwrap_err();
        assert!(error.to_string().ends_with("'PORT') - duplicate parameter"), "{error}");
        let loading = When::Runtime(Asker { local: true, loading: true });
        let error = set(&Config::default(), &[(b"appendonly", b"yes")], loading).unwrap_err();
        assert_eq!(error, ConfigError::Loading);
    }

    #[test]
    fn a_pattern_finds_older_names_and_no_hidden_ones() {
        let config = Config::default();
        let names: Vec<_> = get(&config, &[b"*LAVEOF", b"replicaof", b"re*caof", b"*-delay"])
            .into_iter()
            .map(|(name, _)| String::from_utf8(name).unwrap())
            .collect();
        assert_eq!(names, ["slaveof", "replicaof", "repl-diskless-sync-delay"]);
        assert_eq!(get(&config, &[b"Key-Load-Delay"]), [(b"Key-Load-Delay".into(), b"0".into())]);
    }

    #[test]
    fn every_value_shown_can_be_set_again() {
        let config = Config::default();
        for setting in SETTINGS {
            let value = setting.show(&config);
            let again = set(&config, &[(setting.name().as_bytes(), &value)], When::Startup);
            if setting.name() != "replicaof" {
                assert_eq!(again.as_ref(), Ok(&config), "{}", setting.name());
            }
        }
    }
}
