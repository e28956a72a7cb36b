//! CONFIG: settings shown, changed, written back to their file.

use std::sync::Arc;

use crate::acl::user::User;
use crate::base::fs::FsError;
use crate::command::help::help;
use crate::config::rewrite::{self, Extent};
use crate::config::{self, Asker, Config, ConfigError, Text, When, words};
use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::engine::core::{Attention, Core};
use crate::engine::saving;
use crate::keyspace::lock::Hold;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::{Group, Spec};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::container(Spec::new("config", Group::Server, AtLeast(2)).container().since("2.0.0")),
    Command::admin(
        get,
        Spec::new("config|get", Group::Server, AtLeast(3))
            .admin()
            .noscript()
            .loading()
            .stale()
            .since("2.0.0"),
    ),
    Command::admin(
        show_help,
        Spec::new("config|help", Group::Server, Exactly(2)).loading().stale().since("5.0.0"),
    ),
    Command::admin(
        resetstat,
        Spec::new("config|resetstat", Group::Server, Exactly(2))
            .admin()
            .noscript()
            .loading()
            .stale()
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded")
            .since("2.0.0"),
    ),
    Command::admin(
        rewrite,
        Spec::new("config|rewrite", Group::Server, Exactly(2))
            .admin()
            .noscript()
            .loading()
            .stale()
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded")
            .since("2.8.0"),
    ),
    Command::admin(
        set,
        Spec::new("config|set", Group::Server, AtLeast(4))
            .admin()
            .noscript()
            .loading()
            .stale()
            .all_shards()
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded")
            .since("2.0.0"),
    ),
];

const HELP: &[(&str, &str)] = &[
    ("GET <pattern>", "Show the settings whose names match a glob."),
    ("SET <directive> <value>", "Change settings; one that is refused refuses all."),
    ("RESETSTAT", "Begin the counters of INFO anew."),
    ("REWRITE", "Write the settings back to the file the server was started with."),
];

/// CONFIG HELP
fn show_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "CONFIG", HELP))
}

/// CONFIG GET parameter \[parameter ...\]
fn get(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let patterns: Vec<&[u8]> = ax.cx.args.remaining().collect();
    let found = config::get(&ax.core.config.load(), &patterns);
    ax.cx.reply.map(found.len());
    for (name, value) in found {
        let _ = ax.cx.reply.bulk(&name);
        let _ = ax.cx.reply.bulk(&value);
    }
    Ok(ax.cx.reply.done())
}

/// CONFIG SET parameter value \[parameter value ...\]
fn set(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let words: Vec<&[u8]> = ax.cx.args.remaining().collect();
    if !words.len().is_multiple_of(2) {
        return Err(CmdError::Arity("config|set".to_owned()));
    }
    let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let asker = Asker {
        local: ax.session.client.is_local(),
        loading: ax.core.has_attention(Attention::LOADING),
    };
    change(ax.core, ax.cx.db.hold(), &pairs, asker)?;
    Ok(ax.cx.reply.ok())
}

fn change(
    core: &'static Core,
    hold: &Hold,
    pairs: &[(&[u8], &[u8])],
    asker: Asker,
) -> Result<(), CmdError> {
    let _one_at_a_time = core.config_change.lock();
    let old = core.config();
    let mut new = config::set(&old, pairs, When::Runtime(asker)).map_err(|error| match error {
        ConfigError::Loading => CmdError::Text(format!("LOADING {error}")),
        error => CmdError::err(error),
    })?;
    core.on_config_change(hold, &old, &new)
        .map_err(|(name, reason)| CmdError::err(ConfigError::refused(name, reason)))?;
    if old.dir != new.dir {
        new.dir = working_directory(&new);
    }
    core.config.store(new.into());
    saving::update_attention(core);
    Ok(())
}

/// The directory the process is in now, as CONFIG GET shows it.
fn working_directory(config: &Config) -> Text {
    use std::os::unix::ffi::OsStrExt;
    std::env::current_dir()
        .map_or_else(|_| config.dir.clone(), |dir| Text::from(dir.as_os_str().as_bytes()))
}

/// CONFIG RESETSTAT
fn resetstat(ax: &mut AdminCtx) -> CmdResult {
    use std::sync::atomic::Ordering;
    ax.core.stats.reset();
    let core = ax.core;
    for counter in [
        &core.clients.accepted,
        &core.clients.rejected,
        &core.clients.evicted,
        &core.garbage_freed,
        &core.scripts.evicted,
        &core.eviction.keys,
        &core.eviction.exceeded_ms,
        &core.eviction.exceeding_since,
        &core.replicas.full,
        &core.replicas.partial,
        &core.replicas.partial_failed,
    ] {
        counter.store(0, Ordering::Relaxed);
    }
    Ok(ax.cx.reply.ok())
}

/// CONFIG REWRITE
fn rewrite(ax: &mut AdminCtx) -> CmdResult {
    rewrite_file(ax.core, Extent::Changed)?;
    tracing::info!("CONFIG REWRITE executed with success.");
    Ok(ax.cx.reply.ok())
}

/// Writes the settings into the file the server was started with.
pub fn rewrite_file(core: &Core, extent: Extent) -> Result<(), CmdError> {
    let Some(path) = &core.config_file else {
        return Err(CmdError::err("The server is running without a config file"));
    };
    let _one_at_a_time = core.config_change.lock();
    let disk = &core.persist.disk;
    let written = || -> Result<(), FsError> {
        let old = match disk.exists(path)? {
            true => disk.read(path)?,
            false => Vec::new(),
        };
        let users = users_as_lines(core);
        let text = rewrite::rewrite(&old, &core.config.load(), Some(&users), extent);
        let mut temp = path.clone().into_os_string();
        temp.push(format!(".{}.tmp", std::process::id()));
        disk.write_atomically(path, temp.as_ref(), |file| file.put(&text))
    };
    written().map_err(|error| {
        tracing::warn!("CONFIG REWRITE failed: {error}");
        CmdError::err(format_args!("Rewriting config file: {}", error.source))
    })
}

/// The users, each as what stands behind `user` in a line; none when they have a file of their own.
fn users_as_lines(core: &Core) -> Vec<Vec<u8>> {
    if !core.config.load().aclfile.is_empty() {
        return Vec::new();
    }
    let line = |user: Arc<User>| {
        let line = [&*user.name, b" ", &user.describe()].concat();
        let words: Vec<Vec<u8>> = line.split(|byte| *byte == b' ').map(quoted).collect();
        words.join(&b' ')
    };
    core.users.all().into_iter().map(line).collect()
}

/// A word as it is, unless a quote or another special byte in it would be misread.
fn quoted(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    let mut to = Vec::new();
    words::quote(word, &mut to);
    to
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn resetstat_begins_the_counters_of_evictions_anew() {
        use std::sync::atomic::Ordering;
        let mut house = House::new();
        let counters =
            [&house.core.eviction.keys, &house.core.clients.evicted, &house.core.scripts.evicted];
        counters.iter().for_each(|counter| counter.store(5, Ordering::Relaxed));
        assert_eq!(house.run("config resetstat"), "+OK|");
        assert!(counters.iter().all(|counter| counter.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn settings_are_shown_and_changed_or_refused_together() {
        let mut house = House::new();
        for (line, answer) in [
            ("config get maxmemory port", "*4|$9|maxmemory|$1|0|$4|port|$4|6379|"),
            ("config get nothing*", "*0|"),
            ("config set maxmemory 1mb hz 20", "+OK|"),
            ("config get maxmemory", "*2|$9|maxmemory|$7|1048576|"),
            (
                "config set maxmemory 5 databases 3",
                "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config|",
            ),
            ("config get maxmemory", "*2|$9|maxmemory|$7|1048576|"),
            (
                "config set maxmemory 1 hz",
                "-ERR wrong number of arguments for 'config|set' command|",
            ),
            (
                "config set nothing 1",
                "-ERR Unknown option or number of arguments for CONFIG SET - 'nothing'|",
            ),
            ("config rewrite", "-ERR The server is running without a config file|"),
            ("config resetstat", "+OK|"),
            ("config", "-ERR wrong number of arguments for 'config' command|"),
            ("config nonsense", "-ERR unknown subcommand 'nonsense'. Try CONFIG HELP.|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("config help").starts_with("*11|+CONFIG <subcommand> [<arg> [value]"));
    }
}
