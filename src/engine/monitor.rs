//! MONITOR: a line for each command that runs, to every client that asked for them.

use std::sync::Arc;

use crate::base::clock;
use crate::config::words::quote;
use crate::engine::client::{Client, ClientFlags};
use crate::engine::command::Row;
use crate::engine::core::{Attention, Core};
use crate::pubsub::Listener;
use crate::resp::args::Args;
use crate::spec::category::Group;
use crate::spec::flags::Flags;

/// Shows the client every command from here on.
pub fn join(core: &Core, client: &Arc<Client>) {
    let mut monitors = core.monitors.lock();
    if monitors.iter().all(|monitor| monitor.id != client.id) {
        client.set_flag(ClientFlags::MONITOR, true);
        monitors.push(Arc::clone(client));
    }
    core.set_attention(Attention::MONITORED, true);
}

/// Shows the client no more commands.
pub fn leave(core: &Core, client: &Client) {
    if !client.has_flag(ClientFlags::MONITOR) {
        return;
    }
    client.set_flag(ClientFlags::MONITOR, false);
    let mut monitors = core.monitors.lock();
    monitors.retain(|monitor| monitor.id != client.id);
    core.set_attention(Attention::MONITORED, !monitors.is_empty());
}

/// Tells everyone of a script that is about to run: its commands are shown after it.
#[cold]
pub fn feed_before(core: &Core, from: &str, db: u32, row: &Row, args: &Args) {
    if row.spec().group == Group::Scripting && row.spec().flags.has(Flags::SKIP_MONITOR) {
        show(core, from, db, row, args);
    }
}

/// Tells everyone who listens of a command that has run; `from` is the client's address, or
/// `lua` for a script.
#[cold]
pub fn feed(core: &Core, from: &str, db: u32, row: &Row, args: &Args) {
    if row.spec().flags.has_any(Flags::ADMIN.with(Flags::SKIP_MONITOR)) {
        return;
    }
    show(core, from, db, row, args);
}

fn show(core: &Core, from: &str, db: u32, row: &Row, args: &Args) {
    let now = clock::unix_us();
    let mut line =
        format!("+{}.{:06} [{db} {}]", now / 1_000_000, now % 1_000_000, from).into_bytes();
    for (index, word) in args.words().enumerate() {
        line.push(b' ');
        match is_secret(row, args, index) {
            true => line.extend_from_slice(b"\"(redacted)\""),
            false => quote(word, &mut line),
        }
    }
    line.extend_from_slice(b"\r\n");
    for monitor in core.monitors.lock().iter() {
        monitor.deliver(&line);
    }
}

/// Whether a word is a password, as far as the command's grammar tells.
pub fn is_secret(row: &Row, args: &Args, index: usize) -> bool {
    let is = |at: usize, name: &str| args.word(at).eq_ignore_ascii_case(name.as_bytes());
    match row.spec().name {
        "auth" => index > 0,
        "hello" => (1..=2).any(|back| index > back + 1 && is(index - back, "auth")),
        "config|set" => {
            let secrets = ["requirepass", "masterauth", "masteruser", "tls-key-file-pass"];
            index > 2 && index % 2 == 1 && secrets.iter().any(|name| is(index - 1, name))
        }
        "migrate" => {
            index > 6 && (is(index - 1, "auth") || is(index - 1, "auth2"))
                || index > 7 && is(index - 2, "auth2")
        }
        "acl|setuser" | "acl|deluser" | "acl|getuser" => index > 1,
        _ => false,
    }
}
