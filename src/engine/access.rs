//! Who may do what: logging in, permissions, and what happens to connections when users change.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::acl::log::{Case, Context, Reason};
use crate::acl::user::User;
use crate::acl::users::{Account, Changed};
use crate::acl::{Call, Denied};
use crate::base::clock::UnixMs;
use crate::base::fs::FsError;
use crate::base::text::shown_to_zero;
use crate::config::{Config, PubsubDefault};
use crate::engine::client::Client;
use crate::engine::client_line::describe;
use crate::engine::command::Row;
use crate::engine::core::Core;
use crate::engine::session::Session;
use crate::pubsub::Topic;
use crate::resp::args::Args;
use crate::resp::error::CmdError;

type Words<'a> = SmallVec<[&'a [u8]; 16]>;

/// Whether an account's user may run this call.
#[inline]
pub fn check(account: &Account, row: &Row, args: &Args) -> Result<(), Denied> {
    if account.is_unrestricted() {
        return Ok(());
    }
    check_slowly(account, row, args)
}

#[cold]
fn check_slowly(account: &Account, row: &Row, args: &Args) -> Result<(), Denied> {
    // Its connections are on their way out.
    if account.is_gone() {
        return Err(Denied::Command);
    }
    let words: Words = args.words().collect();
    account.user().check(&Call { index: row.index, spec: row.spec(), words: &words })
}

/// Whether the user who may run this call may also read every key, which SORT's patterns need.
#[inline]
pub fn reads_all_keys(account: &Account, row: &Row, args: &Args) -> bool {
    account.is_unrestricted() || !row.spec().name.starts_with("sort") || {
        let words: Words = args.words().collect();
        let call = Call { index: row.index, spec: row.spec(), words: &words };
        account.user().reads_all_keys_in(&call)
    }
}

/// What a denial is about, and Redis's sentence for it. `names_it` also tells the key or channel.
pub fn sentence(user: &str, row: &Row, args: &Args, denied: Denied, names_it: bool) -> String {
    let of = |what: &str, at: usize| match names_it {
        true => {
            let word = shown_to_zero(args.word(at));
            format!("User {user} has no permissions to access the '{word}' {what}")
        }
        false => format!("No permissions to access a {what}"),
    };
    match denied {
        Denied::Command => {
            format!("User {user} has no permissions to run the '{}' command", row.spec().name)
        }
        Denied::Key(at) => of("key", at),
        Denied::Channel(at) => of("channel", at),
    }
}

/// Keeps a denial for ACL LOG.
#[cold]
pub fn log(
    core: &Core,
    client: &Client,
    account: &Account,
    (row, args): (&Row, &Args),
    denied: Denied,
    context: Context,
) {
    let (reason, object) = match denied {
        Denied::Command => (Reason::Command, row.spec().name.as_bytes()),
        Denied::Key(at) => (Reason::Key, args.word(at)),
        Denied::Channel(at) => (Reason::Channel, args.word(at)),
    };
    let case = Case { reason, context, object: object.to_vec(), user: account.name.to_vec() };
    keep(core, client, case);
}

fn keep(core: &Core, client: &Client, case: Case) {
    let len_max = usize::try_from(core.config.load().acllog_max_len).unwrap_or(usize::MAX);
    core.users.log.add(case, describe(core, client), UnixMs::now(), len_max);
}

/// Logs a denial and says it in an error.
#[cold]
pub fn refuse(
    core: &Core,
    client: &Client,
    account: &Account,
    (row, args): (&Row, &Args),
    denied: Denied,
    context: Context,
) -> CmdError {
    log(core, client, account, (row, args), denied, context);
    CmdError::Text(format!("NOPERM {}", sentence(&account.shown(), row, args, denied, false)))
}

/// Where the commands of a session come from.
pub fn context_of(session: &Session) -> Context {
    match session.multi {
        Some(_) => Context::Multi,
        None => Context::Toplevel,
    }
}

/// Whether a session has to log in before it may do anything else.
pub fn must_log_in(core: &Core, session: &Session) -> bool {
    session.account.is_gone() || !session.authenticated && !core.users.default_is_open()
}

const WRONG_PASSWORD: CmdError =
    CmdError::Const("WRONGPASS invalid username-password pair or user is disabled.");

/// Makes a session somebody's. `by` is the command's name, as it was spelled.
pub fn log_in(
    core: &Core,
    session: &mut Session,
    (name, password): (&[u8], &[u8]),
    by: &[u8],
) -> Result<(), CmdError> {
    let known = core.users.get(name).filter(|account| account.user().admits(password));
    let before = session.client.labels.lock().user.clone();
    if let Some(account) = known {
        session.client.labels.lock().user = account.name.clone();
        // Whoever deletes a user looks for its connections by this label, after the deletion.
        if !account.is_gone() {
            session.account = account;
            session.authenticated = true;
            return Ok(());
        }
        session.client.labels.lock().user = before;
    }
    let (reason, context) = (Reason::Auth, context_of(session));
    let case = Case { reason, context, object: by.to_vec(), user: name.to_vec() };
    keep(core, &session.client, case);
    Err(WRONG_PASSWORD)
}

/// Makes a session what it was when it connected.
pub fn log_out(core: &Core, session: &mut Session) {
    session.account = Arc::clone(core.users.default_account());
    session.authenticated = core.users.default_is_open();
    session.client.labels.lock().user = session.account.name.clone();
}

/// The clients who have to go because users changed or are gone: everyone who is no longer there, and
/// who listens to channels that were lost.
pub fn outcast(core: &Core, changed: &[Changed], gone: &[Arc<Account>]) -> Vec<Arc<Client>> {
    let mut names: HashSet<&[u8]> = gone.iter().map(|account| &*account.name).collect();
    let all = core.clients.all();
    let mut ids: HashSet<u64> = HashSet::new();
    let has = |names: &HashSet<&[u8]>, client: &Client| names.contains(&*client.labels.lock().user);
    ids.extend(all.iter().filter(|client| has(&names, client)).map(|client| client.id));
    for change in changed {
        let Some(left) = change.channels_left() else { continue };
        names.clear();
        names.insert(&change.account.name);
        let listeners = unheard(core, &left);
        let theirs = all.iter().filter(|client| listeners.contains(&client.id));
        ids.extend(theirs.filter(|client| has(&names, client)).map(|client| client.id));
    }
    all.into_iter().filter(|client| ids.contains(&client.id)).collect()
}

/// Who listens to something that these patterns do not allow.
fn unheard(core: &Core, left: &[Box<[u8]>]) -> HashSet<u64> {
    let mut ids = HashSet::new();
    for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
        let is_pattern = topic == Topic::Pattern;
        let lost = |name: &[u8]| !crate::acl::selector::may_hear(left, name, is_pattern);
        ids.extend(core.pubsub.listeners_where(topic, lost));
    }
    ids
}

/// Whether new users and selectors begin with all channels.
pub fn all_channels_at_first(config: &Config) -> bool {
    config.acl_pubsub_default == PubsubDefault::Allchannels
}

/// Reads the users that the configuration names, in its own lines or in a file.
pub fn load_at_start(core: &Core) -> Result<(), String> {
    let config = core.config();
    if config.aclfile.is_empty() && config.users.is_empty() {
        return Ok(());
    }
    if !config.aclfile.is_empty() && !config.users.is_empty() {
        return Err(BOTH.to_owned());
    }
    let users = match config.aclfile.is_empty() {
        true => configured(core, &config)?,
        false => read_file(core)
            .map_err(|error| format!("Aborting Redis startup because of ACL errors: {error}"))?,
    };
    let is_default = |user: &User| *user.name == *crate::acl::users::DEFAULT_USER;
    if config.aclfile.is_empty() && !users.iter().any(is_default) {
        // `requirepass` has made the default user already.
        let default = core.users.default_account().user().clone();
        let all = users.into_iter().chain([User::clone(&default)]).collect();
        core.users.replace(all);
        return Ok(());
    }
    core.users.replace(users);
    Ok(())
}

fn configured(core: &Core, config: &Config) -> Result<Vec<User>, String> {
    let mut users = Vec::new();
    for line in &config.users {
        let words: Vec<&[u8]> = line.words.iter().map(|word| word.as_bytes()).collect();
        let user = core.users.read_words(&words, all_channels_at_first(config))?;
        if !user.enabled {
            tracing::info!(
                "The user '{}' is disabled (there is no 'on' modifier in the user description). \
                 Make sure this is not a configuration error.",
                String::from_utf8_lossy(&user.name)
            );
        }
        users.push(user);
    }
    Ok(users)
}

/// Reads the file that `aclfile` names.
pub fn read_file(core: &Core) -> Result<Vec<User>, String> {
    let config = core.config.load();
    let (path, name) = (config.aclfile.to_path(), config.aclfile.lossy());
    let text =
        core.persist.disk.read(&path).map_err(|error| {
            format!("Error loading ACLs, opening file '{name}': {}", error.cause())
        })?;
    core.users.read_file(&text, &name, all_channels_at_first(&config))
}

/// Writes the users to the file that `aclfile` names: whole, or not at all.
pub fn write_file(core: &Core) -> Result<(), FsError> {
    let path = core.config.load().aclfile.to_path();
    let users = core.users.all();
    let text = crate::acl::file::write(users.iter().map(|user| &**user));
    let mut temp = path.clone().into_os_string();
    temp.push(format!(".tmp-{}-{}", std::process::id(), UnixMs::now().0));
    core.persist.disk.write_atomically(&path, temp.as_ref(), |file| file.put(&text))
}

const BOTH: &str = "Configuring Redis with users defined in redis.conf and at the same setting an \
    ACL file path is invalid. This setup is very likely to lead to configuration errors and \
    security holes, please define either an ACL file or declare users directly in your redis.conf, \
    but not both.";
