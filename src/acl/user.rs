//! A user: a name, passwords, permissions; and the grammar of the rules that change them.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::acl::selector::Selector;
use crate::acl::{Call, Denied, RuleError, Terms};
use crate::base::words::split_words;

/// The SHA-256 of a password.
type Hash = [u8; 32];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: Box<[u8]>,
    /// Whether one can log in.
    pub enabled: bool,
    /// Whether any password will do.
    pub nopass: bool,
    /// Whether dumps that RESTORE gets are looked at closely.
    sanitizes: bool,
    passwords: Vec<Hash>,
    root: Selector,
    selectors: Vec<Selector>,
}

/// The rule that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule {
    /// The rule.
    pub rule: Vec<u8>,
    /// What is wrong with it.
    pub error: RuleError,
}

/// A selector begins at this word and does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmatched(pub usize);

fn hash_of(password: &[u8]) -> Hash {
    Sha256::digest(password).into()
}

/// A hash as rules show it.
fn hex_of(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 64 lower-case hexadecimal digits.
fn parse_hash(digits: &[u8]) -> Result<Hash, RuleError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(RuleError::NoHash),
    };
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return Err(RuleError::NoHash);
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(hash)
}

/// Joins the words of selectors: a rule that opens a parenthesis goes on to the word that closes it.
pub fn join_selectors(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, Unmatched> {
    let mut rules: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (index, word) in words.iter().enumerate() {
        let (at, rule) = match open.take() {
            Some((at, begun)) => (at, [begun.as_slice(), b" ", word].concat()),
            None if word.starts_with(b"(") => (index, word.to_vec()),
            None => {
                rules.push(word.to_vec());
                continue;
            }
        };
        match word.ends_with(b")") {
            true => rules.push(rule),
            false => open = Some((at, rule)),
        }
    }
    match open {
        Some((at, _)) => Err(Unmatched(at)),
        None => Ok(rules),
    }
}

impl User {
    /// A new user: disabled, without passwords and permissions.
    pub fn new(name: &[u8], terms: Terms) -> User {
        User {
            name: name.into(),
            enabled: false,
            nopass: false,
            sanitizes: true,
            passwords: Vec::new(),
            root: Selector::new(terms),
            selectors: Vec::new(),
        }
    }

    /// The default user as it is at first: it may do everything, and needs no password.
    pub fn default_one(terms: Terms) -> User {
        let mut user = User::new(b"default", terms);
        let rules: [&[u8]; 5] = [b"+@all", b"~*", b"&*", b"on", b"nopass"];
        for rule in rules {
            user.apply(rule, terms).expect("these are rules");
        }
        user
    }

    /// Applies rules in turn; the first that is refused ends it half way.
    pub fn apply_all(&mut self, rules: &[Vec<u8>], terms: Terms) -> Result<(), BadRule> {
        for rule in rules {
            self.apply(rule, terms).map_err(|error| BadRule { rule: rule.clone(), error })?;
        }
        Ok(())
    }

    /// Applies a rule.
    pub fn apply(&mut self, rule: &[u8], terms: Terms) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"sanitize-payload" => self.sanitizes = true,
            b"skip-sanitize-payload" => self.sanitizes = false,
            b"nopass" => self.reset_passwords(true),
            b"resetpass" => self.reset_passwords(false),
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = User::new(&self.name, terms),
            _ => match rule {
                [b'>', password @ ..] => self.add_password(hash_of(password)),
                [b'#', digits @ ..] => self.add_password(parse_hash(digits)?),
                [b'<', password @ ..] => self.remove_password(&hash_of(password))?,
                [b'!', digits @ ..] => self.remove_password(&parse_hash(digits)?)?,
                [b'(', inside @ .., b')'] => {
                    let mut selector = Selector::new(terms);
                    for rule in split_words(inside).ok_or(RuleError::Syntax)? {
                        // A file would end the selector there.
                        if rule.ends_with(b")") {
                            return Err(RuleError::Syntax);
                        }
                        selector.apply(&rule, terms)?;
                    }
                    self.selectors.push(selector);
                }
                rule => self.root.apply(rule, terms)?,
            },
        }
        Ok(())
    }

    fn reset_passwords(&mut self, nopass: bool) {
        self.nopass = nopass;
        self.passwords.clear();
    }

    fn add_password(&mut self, hash: Hash) {
        self.nopass = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }

    fn remove_password(&mut self, hash: &Hash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| known == hash);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// Whether one can log in with this password. Takes as long for a wrong one as for a right one.
    pub fn admits(&self, password: &[u8]) -> bool {
        let hash = hash_of(password);
        let fits = |found: Choice, known: &Hash| found | known.ct_eq(&hash);
        let found = self.passwords.iter().fold(Choice::from(0), fits);
        self.enabled && (self.nopass || bool::from(found))
    }

    /// The words ACL GETUSER shows under `flags`.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        flags.extend(self.nopass.then_some("nopass"));
        flags.push(if self.sanitizes { "sanitize-payload" } else { "skip-sanitize-payload" });
        flags
    }

    /// The passwords as rules show them.
    pub fn passwords(&self) -> Vec<String> {
        self.passwords.iter().map(hex_of).collect()
    }

    /// The permissions outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// Those in parentheses.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// The rules that make this user of a new one.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> =
            self.flags().iter().map(|flag| flag.as_bytes().into()).collect();
        parts.extend(self.passwords().iter().map(|hash| format!("#{hash}").into_bytes()));
        parts.push(self.root.describe());
        for selector in &self.selectors {
            parts.push([b"(", selector.describe().as_slice(), b")"].concat());
        }
        parts.join(&b' ')
    }

    /// The user as a line of a file.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &*self.name, b" ", &self.describe()].concat()
    }

    /// Whether there is nothing it may not do.
    pub fn is_unrestricted(&self) -> bool {
        self.all_selectors().any(Selector::is_unrestricted)
    }

    /// Whether one selector allows the call; otherwise what to tell: the command when no selector
    /// has it, else what the selector that came furthest lacks.
    pub fn check(&self, call: &Call) -> Result<(), Denied> {
        let mut keys = None;
        let mut worst = Denied::Command;
        for selector in self.all_selectors() {
            match selector.check(call, &mut keys) {
                Ok(()) => return Ok(()),
                Err(denied) => worst = worst.max(denied),
            }
        }
        Err(worst)
    }

    /// Whether a selector that allows the call also lets every key be read.
    pub fn reads_all_keys_in(&self, call: &Call) -> bool {
        let mut keys = None;
        self.all_selectors()
            .any(|selector| selector.reads_all_keys() && selector.check(call, &mut keys).is_ok())
    }

    /// The patterns of channels that may be heard from now on, if that is less than `before` could.
    pub fn channels_left(&self, before: &User) -> Option<Vec<Box<[u8]>>> {
        let mut left = Vec::new();
        for selector in self.all_selectors() {
            left.extend_from_slice(selector.channels()?);
        }
        let kept = before.all_selectors().all(|selector| {
            selector.channels().is_some_and(|names| names.iter().all(|name| left.contains(name)))
        });
        (!kept).then_some(left)
    }

    /// Whether a channel, or a pattern as it stands, may be listened to.
    pub fn may_hear(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all_selectors().any(|selector| {
            selector
                .channels()
                .is_none_or(|allowed| crate::acl::selector::may_hear(allowed, name, is_pattern))
        })
    }
}
