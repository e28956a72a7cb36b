//! Everyone there is. A connection holds an [`Account`]; what its user may do is replaced as a whole,
//! so that a change holds for every connection at once, and a check costs no lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::acl::Terms;
use crate::acl::catalog::Catalog;
use crate::acl::log::AclLog;
use crate::acl::user::{BadRule, Unmatched, User, join_selectors};
use crate::base::text::shown_to_zero;

/// The user that connections have before they log in.
pub const DEFAULT_USER: &[u8] = b"default";

/// A name, and the user who has it now.
pub struct Account {
    /// The name; never another one.
    pub name: Box<[u8]>,
    user: ArcSwap<User>,
    /// Whether the user may do everything: then nothing has to be looked at.
    unrestricted: AtomicBool,
    gone: AtomicBool,
}

impl Account {
    fn new(user: User) -> Account {
        Account {
            name: user.name.clone(),
            unrestricted: AtomicBool::new(user.is_unrestricted()),
            user: ArcSwap::from_pointee(user),
            gone: AtomicBool::new(false),
        }
    }

    /// What the user may do now.
    pub fn user(&self) -> Guard<Arc<User>> {
        self.user.load()
    }

    /// Whether the user may do everything.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted.load(Ordering::Relaxed)
    }

    /// Whether the user was deleted.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Replaces the user; gives the one before.
    fn put(&self, user: User) -> Arc<User> {
        // In between, a permission that is lost is looked for and may still be found.
        let unrestricted = user.is_unrestricted();
        self.unrestricted.fetch_and(unrestricted, Ordering::AcqRel);
        let before = self.user.swap(Arc::new(user));
        self.unrestricted.store(unrestricted, Ordering::Release);
        before
    }

    fn close(&self) {
        self.unrestricted.store(false, Ordering::Release);
        self.gone.store(true, Ordering::Release);
    }

    /// The name as replies show it.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// A user that is no longer what it was.
pub struct Changed {
    /// Who.
    pub account: Arc<Account>,
    /// What it was; nothing when it is new.
    pub before: Option<Arc<User>>,
}

impl Changed {
    /// The channels its connections may still listen to, if these are fewer than before.
    pub fn channels_left(&self) -> Option<Vec<Box<[u8]>>> {
        self.account.user().channels_left(self.before.as_ref()?)
    }
}

/// Why a user is not changed, in ACL SETUSER's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SetError {
    /// A rule is refused.
    #[error("Error in ACL SETUSER modifier '{}': {}", shown_to_zero(&.0.rule), .0.error)]
    Rule(BadRule),
    /// A selector does not end.
    #[error("Unmatched parenthesis in acl selector starting at '{0}'.")]
    Unmatched(String),
}

/// See the module.
pub struct Users {
    accounts: RwLock<BTreeMap<Box<[u8]>, Arc<Account>>>,
    default: Arc<Account>,
    /// Held while users are changed, so that changes follow each other.
    changing: Mutex<()>,
    /// The commands rules can name.
    pub catalog: Catalog,
    /// What was denied lately.
    pub log: AclLog,
}

impl Users {
    /// The default user alone, with this password if it is not empty.
    pub fn new(catalog: Catalog, password: &[u8]) -> Users {
        let terms = Terms { catalog: &catalog, all_channels_at_first: true };
        let default = Arc::new(Account::new(User::default_one(terms)));
        let users = Users {
            accounts: RwLock::new(BTreeMap::from([(DEFAULT_USER.into(), Arc::clone(&default))])),
            default,
            changing: Mutex::new(()),
            catalog,
            log: AclLog::default(),
        };
        if !password.is_empty() {
            users.set_default_password(password);
        }
        users
    }

    fn terms(&self, all_channels_at_first: bool) -> Terms<'_> {
        Terms { catalog: &self.catalog, all_channels_at_first }
    }

    /// The default user.
    pub fn default_account(&self) -> &Arc<Account> {
        &self.default
    }

    /// Whether connections are the default user's without a word.
    pub fn default_is_open(&self) -> bool {
        let user = self.default.user();
        user.enabled && user.nopass
    }

    /// Somebody by name.
    pub fn get(&self, name: &[u8]) -> Option<Arc<Account>> {
        self.accounts.read().get(name).cloned()
    }

    /// Everyone, by name.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.accounts.read().values().map(|account| account.user.load_full()).collect()
    }

    /// `requirepass`: the default user's only password; none when it is empty.
    pub fn set_default_password(&self, password: &[u8]) {
        let _one_at_a_time = self.changing.lock();
        let mut user = User::clone(&self.default.user());
        let rule = match password.is_empty() {
            true => b"nopass".to_vec(),
            false => [b">", password].concat(),
        };
        let rules = [b"resetpass".to_vec(), rule];
        user.apply_all(&rules, self.terms(false)).expect("these are rules");
        self.default.put(user);
    }

    /// Changes a user, or makes one: all rules, or none and the reason.
    pub fn set(
        &self,
        name: &[u8],
        words: &[&[u8]],
        all_channels_at_first: bool,
    ) -> Result<Changed, SetError> {
        let unmatched = |Unmatched(at)| SetError::Unmatched(shown_to_zero(words[at]));
        let rules = join_selectors(words).map_err(unmatched)?;
        let terms = self.terms(all_channels_at_first);
        let _one_at_a_time = self.changing.lock();
        let known = self.get(name);
        let mut user = match &known {
            Some(account) => User::clone(&account.user()),
            None => User::new(name, terms),
        };
        user.apply_all(&rules, terms).map_err(SetError::Rule)?;
        Ok(self.put(user))
    }

    fn put(&self, user: User) -> Changed {
        let mut accounts = self.accounts.write();
        if let Some(account) = accounts.get(&user.name).cloned() {
            let before = Some(account.put(user));
            return Changed { account, before };
        }
        let account = Arc::new(Account::new(user));
        accounts.insert(account.name.clone(), Arc::clone(&account));
        Changed { account, before: None }
    }

    /// Deletes a user; says whether there was one. The default user stays.
    pub fn delete(&self, name: &[u8]) -> Option<Arc<Account>> {
        if name == DEFAULT_USER {
            return None;
        }
        let _one_at_a_time = self.changing.lock();
        let account = self.accounts.write().remove(name)?;
        account.close();
        Some(account)
    }

    /// Puts these users in the place of all there are. Gives those that were changed, and those that
    /// are gone. A default user is there in any case.
    pub fn replace(&self, users: Vec<User>) -> (Vec<Changed>, Vec<Arc<Account>>) {
        let _one_at_a_time = self.changing.lock();
        let mut users = users;
        if !users.iter().any(|user| *user.name == *DEFAULT_USER) {
            users.push(User::default_one(self.terms(true)));
        }
        let stays = |name: &[u8]| users.iter().any(|user| *user.name == *name);
        let mut gone = Vec::new();
        self.accounts.write().retain(|name, account| {
            let stays = stays(name);
            if !stays {
                account.close();
                gone.push(Arc::clone(account));
            }
            stays
        });
        (users.into_iter().map(|user| self.put(user)).collect(), gone)
    }

    /// Reads a file of users; see [`crate::acl::file::read`].
    pub fn read_file(
        &self,
        text: &[u8],
        name: &str,
        all_channels_at_first: bool,
    ) -> Result<Vec<User>, String> {
        crate::acl::file::read(text, name, self.terms(all_channels_at_first))
    }

    /// A user as the words behind `user` in a configuration file say.
    pub fn read_words(&self, words: &[&[u8]], all_channels_at_first: bool) -> Result<User, String> {
        crate::acl::file::read_words(words, self.terms(all_channels_at_first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{Call, Denied};
    use crate::spec::Arity::{AtLeast, Exactly};
    use crate::spec::{Group, Spec};

    const SPECS: &[Spec] = &[
        Spec::new("get", Group::String, Exactly(2)).reads().fast().key(1),
        Spec::new("set", Group::String, AtLeast(3)).writes().denyoom().key(1),
        Spec::new("mget", Group::String, AtLeast(2)).reads().fast().keys(1, -1, 1),
        Spec::new("hget", Group::Hash, Exactly(3)).reads().fast().key(1),
        Spec::new("hset", Group::Hash, AtLeast(4)).writes().fast().key(1),
        Spec::new("select", Group::Connection, Exactly(2)).fast(),
        Spec::new("config", Group::Server, AtLeast(2)).container(),
        Spec::new("config|get", Group::Server, AtLeast(3)).admin(),
        Spec::new("config|set", Group::Server, AtLeast(4)).admin(),
        Spec::new("publish", Group::Pubsub, Exactly(3)).pubsub().fast(),
        Spec::new("psubscribe", Group::Pubsub, AtLeast(2)).pubsub(),
        Spec::new("auth", Group::Connection, AtLeast(2)).fast().no_auth(),
    ];

    fn users() -> Users {
        Users::new(Catalog::new(SPECS.iter()), b"")
    }

    fn set(users: &Users, line: &str) -> Result<String, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let changed = users.set(b"u", &words, false).map_err(|error| error.to_string())?;
        let user = changed.account.user();
        Ok(String::from_utf8(user.describe()).unwrap())
    }

    fn may(users: &Users, line: &str) -> Result<(), Denied> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let full =
            format!("{}|{}", line.split(' ').next().unwrap(), line.split(' ').nth(1).unwrap());
        let catalog = &users.catalog;
        let index = catalog.find(full.as_bytes()).or_else(|| catalog.find(words[0])).unwrap();
        users.get(b"u").unwrap().user().check(&Call { index, spec: &SPECS[index], words: &words })
    }

    #[test]
    fn rules_are_told_in_the_order_and_the_words_of_redis() {
        let users = users();
        let off = "off sanitize-payload";
        for (rules, told) in [
            ("reset", "resetchannels -@all"),
            ("+@all -@hash -@slow +hget", "resetchannels +@all -@hash -@slow +hget"),
            ("-@hash", "resetchannels +@all -@slow +hget -@hash"),
            ("+@HASH", "resetchannels +@all -@slow +hget +@hash"),
            ("-@all +GET +get +select|0 +SELECT|0", "resetchannels -@all +get +select|0"),
            ("+config|get +config|set +config", "resetchannels -@all +get +select|0 +config"),
            ("-config|get", "resetchannels -@all +get +select|0 +config -config|get"),
            ("reset %R~a %W~a %RW~b %w~c ~b", "~a ~b %W~c resetchannels -@all"),
            ("allkeys &x &y &x", "~* resetchannels &x &y -@all"),
            (
                "allchannels (+get ~x) ( +set",
                "Unmatched parenthesis in acl selector starting at '('.",
            ),
            (
                "allchannels (+get ~x) ( +set )",
                "~* &* -@all (~x resetchannels -@all +get) (resetchannels -@all +set)",
            ),
            ("clearselectors", "~* &* -@all"),
        ] {
            let expected = match told.starts_with("Unmatched") {
                true => told.to_owned(),
                false => format!("{off} {told}"),
            };
            let got = set(&users, rules).unwrap_or_else(|error| error);
            assert_eq!(got, expected, "{rules}");
        }
    }

    #[test]
    fn wrong_rules_change_nothing_and_say_why() {
        let users = users();
        set(&users, "on >p allkeys allchannels").unwrap();
        let before = users.get(b"u").unwrap().user().describe();
        for (rules, reason) in [
            ("-@all nonsense", "'nonsense': Syntax error"),
            ("+nosuch", "'+nosuch': Unknown command or category name in ACL"),
            ("-config|nosuch", "Unknown command or category name in ACL"),
            ("+@nosuch", "Unknown command or category name in ACL"),
            ("+config|get|x", "Allowing first-arg of a subcommand is not supported"),
            ("+get|a|b", "Unknown command or category name in ACL"),
            ("+get|", "Syntax error"),
            ("~x", "Adding a pattern after the * pattern (or the 'allkeys' flag)"),
            ("&x", "Adding a pattern after the * pattern (or the 'allchannels' flag)"),
            ("%X~a", "Syntax error"),
            ("%RR~a", "Syntax error"),
            ("<other", "The password you are trying to remove from the user does not exist"),
            ("#12", "The password hash must be exactly 64 characters"),
            ("(nonsense)", "'(nonsense)': Syntax error"),
            (")", "Syntax error"),
        ] {
            let error = set(&users, rules).unwrap_err();
            assert!(error.contains(reason), "{rules}: {error}");
            assert_eq!(users.get(b"u").unwrap().user().describe(), before, "{rules}");
        }
    }

    #[test]
    fn a_call_needs_its_command_its_keys_and_its_channels() {
        let users = users();
        set(&users, "+@read +select|1 +config|get +publish +psubscribe %R~r* %W~w* ~rw &c.* &d")
            .unwrap();
        for (call, verdict) in [
            ("get r1", Ok(())),
            ("get w1", Err(Denied::Key(1))),
            ("get rw", Ok(())),
            ("set w1 v", Err(Denied::Command)),
            ("mget r1 x r2", Err(Denied::Key(2))),
            ("select 1", Ok(())),
            ("select 2", Err(Denied::Command)),
            ("config get x", Ok(())),
            ("config set x y", Err(Denied::Command)),
            ("auth x", Ok(())),
            ("publish c.1 m", Ok(())),
            ("publish x c.1", Err(Denied::Channel(1))),
            ("psubscribe c.* d", Ok(())),
            ("psubscribe c.1", Err(Denied::Channel(1))),
        ] {
            assert_eq!(may(&users, call), verdict, "{call}");
        }
        set(&users, "reset +mget ~key (+mget ~key ~other) (+set %W~w)").unwrap();
        assert_eq!(may(&users, "mget other third"), Err(Denied::Key(2)));
        assert_eq!(may(&users, "set w v"), Ok(()));
        assert_eq!(may(&users, "set key v"), Err(Denied::Key(1)));
        assert_eq!(may(&users, "get key"), Err(Denied::Command));
    }

    #[test]
    fn passwords_admit_and_are_shown_as_hashes() {
        let users = users();
        set(&users, "on >one >two").unwrap();
        let admits = |password: &[u8]| users.get(b"u").unwrap().user().admits(password);
        assert!(admits(b"one") && admits(b"two") && !admits(b"three") && !admits(b""));
        set(&users, "<one").unwrap();
        assert!(!admits(b"one") && admits(b"two"));
        let hash = users.get(b"u").unwrap().user().passwords()[0].clone();
        assert_eq!(hash, "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");
        set(&users, &format!("!{hash}")).unwrap();
        assert!(!admits(b"two"));
        set(&users, "nopass").unwrap();
        assert!(admits(b"anything"));
        set(&users, "off").unwrap();
        assert!(!admits(b"anything"));
    }

    #[test]
    fn what_is_described_reads_back_the_same() {
        let users = users();
        for rules in [
            "on >p +@all -@hash +hget %R~a %W~b ~c &x (+get ~y) skip-sanitize-payload",
            "nopass +config -config|set +select|3 allkeys allchannels (%W~* +set) (allchannels)",
        ] {
            set(&users, &format!("reset {rules}")).unwrap();
            let user = users.get(b"u").unwrap().user().clone();
            let again = users.read_file(&user.line(), "f", false).unwrap();
            assert_eq!(again, [User::clone(&user)], "{rules}");
        }
    }

    #[test]
    fn the_default_user_is_never_gone_and_losses_of_channels_are_told() {
        let users = users();
        assert!(users.delete(b"default").is_none() && users.default_is_open());
        users.set_default_password(b"x");
        assert!(!users.default_is_open());
        set(&users, "&a &b").unwrap();
        let words: [&[u8]; 2] = [b"resetchannels", b"&b"];
        let left = users.set(b"u", &words, false).unwrap().channels_left();
        assert_eq!(left, Some(vec![b"b".as_slice().into()]));
        let (changed, gone) = users.replace(Vec::new());
        assert_eq!((changed.len(), gone.len()), (1, 1));
        assert!(gone[0].is_gone() && users.default_is_open());
    }
}
