//! Users and what they may do. Pure: knows no connections, no files and no clock.
//!
//! ```text
//! catalog    the commands as rules name them
//! selector   a set of permissions: commands, keys, channels
//! user       a name, passwords, selectors; the grammar of rules
//! users      everyone there is; connections hold an account, whose user is replaced as a whole
//! file       a file of users
//! log        what was denied lately
//! ```

pub mod catalog;
pub mod file;
pub mod log;
pub mod selector;
pub mod user;
pub mod users;

use thiserror::Error;

use crate::acl::catalog::Catalog;
use crate::spec::Spec;

/// What rules are read against.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The commands.
    pub catalog: &'a Catalog,
    /// Whether a new user or selector begins with all channels (`acl-pubsub-default`).
    pub all_channels_at_first: bool,
}

/// Why a rule is refused, in Redis's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// Nothing that rules know.
    #[error("Syntax error")]
    Syntax,
    /// No such command, subcommand or category.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// `config|get|x`.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
    /// A pattern of keys although all keys are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
         have any effect. Try 'resetkeys' to start with an empty list of patterns"
    )]
    AllKeysAlready,
    /// A pattern of channels although all channels are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does \
         not have any effect. Try 'resetchannels' to start with an empty list of channels"
    )]
    AllChannelsAlready,
    /// The user has no such password.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// `#` or `!` without a SHA-256.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal \
         characters"
    )]
    NoHash,
}

/// A call as permissions see it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The command's place in the catalog.
    pub index: usize,
    /// Its facts.
    pub spec: &'a Spec,
    /// Its words, the name first.
    pub words: &'a [&'a [u8]],
}

/// What a user may not do, ordered by what is told when selectors fail in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// Run the command.
    Command,
    /// Touch the key at this position.
    Key(usize),
    /// Use the channel at this position.
    Channel(usize),
}

/// Whether a name or pattern has white space or a null byte, which files and replies could not show.
pub fn has_spaces(word: &[u8]) -> bool {
    word.iter().any(|byte| matches!(byte, 0 | b' ' | b'\t'..=b'\r'))
}
