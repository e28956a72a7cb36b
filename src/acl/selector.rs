//! A set of permissions: commands, keys and channels, with the rules that made it.
//!
//! The rules are kept beside what they mean, so that a set of permissions can be told in the words
//! it was given in, and read again by a version that knows more commands.

use std::collections::BTreeMap;

use crate::acl::catalog::Catalog;
use crate::acl::{Call, Denied, RuleError, Terms, has_spaces};
use crate::base::glob;
use crate::spec::Cat;
use crate::spec::flags::Flags;
use crate::spec::keys::{KeyFlags, KeysFound, keys_of};

/// A pattern of keys and what may be done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    glob: Box<[u8]>,
    reads: bool,
    writes: bool,
}

impl KeyPattern {
    fn allows(&self, flags: KeyFlags) -> bool {
        (self.reads || !flags.needs_read()) && (self.writes || !flags.needs_write())
    }

    fn describe(&self, to: &mut Vec<u8>) {
        let prefix: &[u8] = match (self.reads, self.writes) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            _ => b"~",
        };
        to.extend_from_slice(prefix);
        to.extend_from_slice(&self.glob);
    }
}

/// `+get`, `-@slow`: the sign and the name in lower case, with the category's `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandRule {
    allows: bool,
    name: Vec<u8>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// A bit a command, by its place in the catalog.
    allowed: Vec<u64>,
    /// Whether the rules begin with `+@all`, so that commands unknown today would be allowed.
    from_all: bool,
    /// Whether no command was taken away since.
    all_commands: bool,
    /// Words allowed behind commands that are not allowed as such: `+select|0`.
    first_words: BTreeMap<usize, Vec<Box<[u8]>>>,
    rules: Vec<CommandRule>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Box<[u8]>>,
}

impl Selector {
    /// No permissions, save for channels if the terms say so.
    pub fn new(terms: Terms) -> Selector {
        Selector {
            allowed: vec![0; terms.catalog.len().div_ceil(64)],
            from_all: false,
            all_commands: false,
            first_words: BTreeMap::new(),
            rules: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: terms.all_channels_at_first,
            channels: Vec::new(),
        }
    }

    /// Whether there is nothing it does not allow.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Applies a rule.
    pub fn apply(&mut self, rule: &[u8], terms: Terms) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => self.reset_keys(true),
            b"resetkeys" => self.reset_keys(false),
            b"allchannels" | b"&*" => self.reset_channels(true),
            b"resetchannels" => self.reset_channels(false),
            b"allcommands" | b"+@all" => self.reset_commands(true),
            b"nocommands" | b"-@all" => self.reset_commands(false),
            _ => match rule {
                [b'~', pattern @ ..] => self.add_keys(pattern, true, true)?,
                [b'%', rest @ ..] => self.add_some_keys(rest)?,
                [b'&', pattern @ ..] => self.add_channels(pattern)?,
                [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                    self.change_category(name, *sign == b'+', terms.catalog)?;
                }
                [b'+', name @ ..] => self.allow(name, terms.catalog)?,
                [b'-', name @ ..] => {
                    let place = terms.catalog.find(name).ok_or(RuleError::Unknown)?;
                    self.change_command(place, false, terms.catalog);
                    self.note(terms.catalog.name(place).as_bytes(), false);
                }
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn reset_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn reset_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn reset_commands(&mut self, all: bool) {
        self.allowed.fill(if all { u64::MAX } else { 0 });
        (self.from_all, self.all_commands) = (all, all);
        self.first_words.clear();
        self.rules.clear();
    }

    fn add_keys(&mut self, pattern: &[u8], reads: bool, writes: bool) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AllKeysAlready);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| *known.glob == *pattern) {
            Some(known) => {
                known.reads |= reads;
                known.writes |= writes;
            }
            None => self.keys.push(KeyPattern { glob: pattern.into(), reads, writes }),
        }
        Ok(())
    }

    /// `R~pattern`, `W~pattern`, `RW~pattern`.
    fn add_some_keys(&mut self, rest: &[u8]) -> Result<(), RuleError> {
        let tilde = rest.iter().position(|byte| *byte == b'~').ok_or(RuleError::Syntax)?;
        let (reads, writes) = match rest[..tilde].to_ascii_lowercase().as_slice() {
            b"r" => (true, false),
            b"w" => (false, true),
            b"rw" | b"wr" => (true, true),
            _ => return Err(RuleError::Syntax),
        };
        self.add_keys(&rest[tilde + 1..], reads, writes)
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AllChannelsAlready);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    /// `+name`, `+container|sub`, `+name|word`.
    fn allow(&mut self, name: &[u8], catalog: &Catalog) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            let place = catalog.find(name).ok_or(RuleError::Unknown)?;
            self.change_command(place, true, catalog);
            self.note(catalog.name(place).as_bytes(), true);
            return Ok(());
        };
        let (before, word) = (&name[..bar], &name[bar + 1..]);
        let place = catalog.find(before).ok_or(RuleError::Unknown)?;
        if catalog.name(place).contains('|') {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if word.is_empty() || has_spaces(word) {
            return Err(RuleError::Syntax);
        }
        if catalog.subs(place).is_empty() {
            let words = self.first_words.entry(place).or_default();
            if !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                words.push(word.into());
            }
        } else {
            let place = catalog.find(name).ok_or(RuleError::Unknown)?;
            self.change_command(place, true, catalog);
        }
        self.note(name, true);
        Ok(())
    }

    fn change_category(
        &mut self,
        name: &[u8],
        allows: bool,
        catalog: &Catalog,
    ) -> Result<(), RuleError> {
        let category = Cat::parse(name).ok_or(RuleError::Unknown)?;
        for place in catalog.of(category) {
            self.change_command(place, allows, catalog);
        }
        self.note(format!("@{}", category.name()).as_bytes(), allows);
        Ok(())
    }

    /// Allows or denies a command, and a container's subcommands with it.
    fn change_command(&mut self, place: usize, allows: bool, catalog: &Catalog) {
        self.all_commands &= allows;
        self.first_words.remove(&place);
        for place in std::iter::once(&place).chain(catalog.subs(place)) {
            let bit = 1 << (place % 64);
            match allows {
                true => self.allowed[place / 64] |= bit,
                false => self.allowed[place / 64] &= !bit,
            }
        }
    }

    /// Keeps a rule. It takes the place of those that said something of the same command or
    /// category, or of a part of that command.
    fn note(&mut self, name: &[u8], allows: bool) {
        let name = name.to_ascii_lowercase();
        self.rules.retain(|rule| {
            let rest = rule.name.strip_prefix(name.as_slice());
            !rest.is_some_and(|rest| matches!(rest, [] | [b'|', ..]))
        });
        self.rules.push(CommandRule { allows, name });
    }

    /// The rules for commands, as ACL GETUSER shows them.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = if self.from_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            text.extend_from_slice(if rule.allows { b" +" } else { b" -" });
            text.extend_from_slice(&rule.name);
        }
        text
    }

    /// The same for keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let mut text = Vec::new();
        for (index, pattern) in self.keys.iter().enumerate() {
            if index > 0 {
                text.push(b' ');
            }
            pattern.describe(&mut text);
        }
        text
    }

    /// The same for channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let shown: Vec<Vec<u8>> =
            self.channels.iter().map(|name| [b"&", &**name].concat()).collect();
        shown.join(&b' ')
    }

    /// Everything, as ACL LIST shows it.
    pub fn describe(&self) -> Vec<u8> {
        let reset: &[u8] = if self.all_channels { b"" } else { b"resetchannels" };
        let parts = [
            self.describe_keys(),
            reset.to_vec(),
            self.describe_channels(),
            self.describe_commands(),
        ];
        let parts: Vec<Vec<u8>> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(&b' ')
    }

    /// The patterns of channels; `None` when all are allowed.
    pub fn channels(&self) -> Option<&[Box<[u8]>]> {
        (!self.all_channels).then_some(&self.channels)
    }

    fn allows_command(&self, call: &Call) -> bool {
        if self.all_commands || call.spec.flags.has(Flags::NO_AUTH) {
            return true;
        }
        if self.allowed.get(call.index / 64).is_some_and(|bits| bits >> (call.index % 64) & 1 == 1)
        {
            return true;
        }
        let (Some(words), Some(first)) = (self.first_words.get(&call.index), call.words.get(1))
        else {
            return false;
        };
        words.iter().any(|word| word.eq_ignore_ascii_case(first))
    }

    fn allows_key(&self, key: &[u8], flags: KeyFlags) -> bool {
        self.all_keys
            || self.keys.iter().any(|known| known.allows(flags) && glob::matches(&known.glob, key))
    }

    /// Whether a channel may be published or listened to.
    fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels || may_hear(&self.channels, channel, is_pattern)
    }

    /// Whether a call is allowed. `keys` are the call's, found when they are first needed.
    pub fn check(&self, call: &Call, keys: &mut Option<KeysFound>) -> Result<(), Denied> {
        if !self.allows_command(call) {
            return Err(Denied::Command);
        }
        if !self.all_keys && call.spec.has_keys() {
            // Words in which no keys can be found are refused by the handler.
            let find = || keys_of(call.spec, call.words).unwrap_or_default();
            for key in keys.get_or_insert_with(find).iter() {
                let at = key.pos as usize;
                let word = call.words.get(at).copied().unwrap_or_default();
                if !self.allows_key(word, key.flags) {
                    return Err(Denied::Key(at));
                }
            }
        }
        if !self.all_channels
            && let Some(channels) = call.spec.channels()
        {
            let count = if channels.all { usize::MAX } else { 1 };
            for (at, word) in call.words.iter().enumerate().skip(1).take(count) {
                if !self.allows_channel(word, channels.patterns) {
                    return Err(Denied::Channel(at));
                }
            }
        }
        Ok(())
    }

    /// Whether every key may be read.
    pub fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| known.reads && *known.glob == *b"*")
    }
}

/// Whether one of the allowed patterns is for a channel. A pattern that somebody listens to must
/// be among them as it stands: what it would hear is not known.
pub fn may_hear(allowed: &[Box<[u8]>], channel: &[u8], is_pattern: bool) -> bool {
    allowed.iter().any(|known| match is_pattern {
        true => **known == *channel,
        false => glob::matches(known, channel),
    })
}
