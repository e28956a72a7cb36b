//! The shape of a row of the table of settings, and the macro that makes fields and rows of one
//! list, so that a setting is written down once.

use crate::config::Config;
use crate::config::value::{How, Kind, Line, Value};

/// What is true of a setting besides its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits(u16);

impl Traits {
    /// CONFIG SET takes it.
    pub const RUN: Traits = Traits(0);
    /// Only the file and the command line can set it.
    pub const START: Traits = Traits(1);
    /// CONFIG SET takes it from those whom `enable-protected-configs` allows.
    pub const PROTECTED: Traits = Traits(1 << 1);
    /// CONFIG GET shows it only when it is named exactly.
    pub const HIDDEN: Traits = Traits(1 << 2);
    /// Its value is several words.
    pub const WORDS: Traits = Traits(1 << 3);
    /// A secret: kept out of logs.
    pub const SECRET: Traits = Traits(1 << 4);
    /// Not while the files are loaded.
    pub const NOT_LOADING: Traits = Traits(1 << 5);
    /// Several lines of a file add up.
    pub const ADDS_UP: Traits = Traits(1 << 6);

    /// Both.
    pub const fn and(self, other: Traits) -> Traits {
        Traits(self.0 | other.0)
    }

    /// Whether all of `other` is true.
    pub const fn has(self, other: Traits) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Sets a field of a configuration from words.
pub(super) type Read = fn(&mut Config, Kind, &[&[u8]], How) -> Result<(), String>;

/// A row: one setting.
pub struct Setting {
    /// The name and, behind spaces, its older names.
    pub(super) names: &'static str,
    /// What it does, in a sentence or two.
    pub(super) doc: &'static str,
    /// Bounds and checks of the value.
    pub kind: Kind,
    /// What else is true of it.
    pub traits: Traits,
    /// Why it has no effect here, if so.
    pub idle: Option<&'static str>,
    pub(super) show: fn(&Config, Kind) -> Vec<u8>,
    pub(super) read: Read,
    pub(super) lines: fn(&Config, &Config, Kind) -> Vec<Line>,
}

impl Setting {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.names.split(' ').next().unwrap_or_default()
    }

    /// The name and then its older names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.split(' ')
    }

    /// What it does.
    pub fn doc(&self) -> &'static str {
        self.doc.trim()
    }

    /// Its value, as CONFIG GET shows it.
    pub fn show(&self, config: &Config) -> Vec<u8> {
        (self.show)(config, self.kind)
    }

    /// The lines a file would have for the default; a comment when there is none to write.
    pub fn example_lines(&self) -> Vec<String> {
        let default = Config::default();
        let lines = (self.lines)(&default, &default, self.kind);
        let mut texts: Vec<Vec<u8>> = lines.into_iter().map(|line| line.text).collect();
        if texts.is_empty() {
            texts.push(self.show(&default));
        }
        let line = |text: &Vec<u8>| {
            let text = String::from_utf8_lossy(text);
            if text.is_empty() {
                format!("# {}", self.name())
            } else {
                format!("{} {text}", self.name())
            }
        };
        texts.iter().map(line).collect()
    }

    /// Whether the value is the same in both.
    pub fn same(&self, one: &Config, other: &Config) -> bool {
        self.show(one) == self.show(other)
    }
}

/// Reads a value through its type.
pub(super) fn read_into<T: Value>(
    field: &mut T,
    kind: Kind,
    words: &[&[u8]],
    how: How,
) -> Result<(), String> {
    *field = field.read(words, kind, how)?;
    Ok(())
}

/// `field: Type = default, "names", kind, traits [, idle "reason"];` for each setting; those of
/// the second block are fields of `limits`.
macro_rules! settings {
    (
        config { $(
            $(#[doc = $doc:expr])+
            $field:ident: $type:ty = $default:expr, $names:literal, $kind:expr, $traits:expr
            $(, idle $idle:expr)?;
        )* }
        limits { $(
            $(#[doc = $ldoc:expr])+
            $lfield:ident = $ldefault:expr, $lnames:literal, $lkind:expr;
        )* }
    ) => {
        /// Every setting, one field each. A copy is a consistent view.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            /// Where small encodings become large ones.
            pub limits: $crate::value::limits::Limits,
            /// `user` lines of the file.
            pub users: Vec<$crate::config::file::UserLine>,
            /// `rename-command` lines of the file: the name, and the new one (empty: none).
            pub renamed_commands: Vec<($crate::config::value::Text, $crate::config::value::Text)>,
        }

        impl Default for Config {
            fn default() -> Config {
                #[expect(clippy::needless_update, reason = "limits may gain fields of their own")]
                let limits = $crate::value::limits::Limits {
                    $( $lfield: $ldefault, )*
                    ..$crate::value::limits::Limits::default()
                };
                Config {
                    $( $field: $default, )*
                    limits,
                    users: Vec::new(),
                    renamed_commands: Vec::new(),
                }
            }
        }

        /// The table of settings, in the order of the example file.
        pub static SETTINGS: &[Setting] = &[
            $( Setting {
                names: $names,
                doc: concat!($($doc, "\n"),+),
                kind: $kind,
                traits: $traits,
                idle: settings!(@idle $($idle)?),
                show: |config, kind| config.$field.show(kind),
                read: |config, kind, words, how| read_into(&mut config.$field, kind, words, how),
                lines: |config, default, kind| config.$field.lines(&default.$field, kind),
            }, )*
            $( Setting {
                names: $lnames,
                doc: concat!($($ldoc, "\n"),+),
                kind: $lkind,
                traits: Traits::RUN,
                idle: None,
                show: |config, kind| config.limits.$lfield.show(kind),
                read: |config, kind, words, how| {
                    read_into(&mut config.limits.$lfield, kind, words, how)
                },
                lines: |config, default, kind| {
                    config.limits.$lfield.lines(&default.limits.$lfield, kind)
                },
            }, )*
        ];
    };
    (@idle) => { None };
    (@idle $reason:expr) => { Some($reason) };
}
pub(super) use settings;
