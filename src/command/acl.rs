//! ACL, as far as a server with nobody but the default user needs it.

use sha2::{Digest, Sha256};

use crate::base::num::parse_i64;
use crate::command::help::{help, miscounted};
use crate::engine::command::{Command, Row};
use crate::engine::context::AdminCtx;
use crate::engine::core::Core;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{self, AtLeast, Exactly};
use crate::spec::{Cat, Group, Spec};

const fn spec(name: &'static str, arity: Arity) -> Spec {
    Spec::new(name, Group::Server, arity).loading().stale().since("6.0.0")
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::container(Spec::new("acl", Group::Server, AtLeast(2)).container().since("6.0.0")),
    Command::admin(cat, spec("acl|cat", AtLeast(2)).noscript()),
    Command::admin(genpass, spec("acl|genpass", AtLeast(2)).noscript()),
    Command::admin(getuser, spec("acl|getuser", Exactly(3)).admin().noscript()),
    Command::admin(show_help, spec("acl|help", Exactly(2))),
    Command::admin(list, spec("acl|list", Exactly(2)).admin().noscript()),
    Command::admin(users, spec("acl|users", Exactly(2)).admin().noscript()),
    Command::admin(whoami, spec("acl|whoami", Exactly(2)).noscript()),
];

const HELP: &[(&str, &str)] = &[
    ("CAT [<category>]", "Name the categories, or the commands of one."),
    ("GENPASS [<bits>]", "Make up a password, of 256 bits if not said otherwise."),
    ("GETUSER <username>", "Show what a user may do."),
    ("LIST", "Show all users as rules."),
    ("USERS", "Name all users."),
    ("WHOAMI", "Name the user of the connection."),
];

/// ACL HELP
fn show_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "ACL", HELP))
}

/// ACL WHOAMI
fn whoami(ax: &mut AdminCtx) -> CmdResult {
    let user = ax.session.client.labels.lock().user.clone();
    Ok(ax.cx.reply.bulk(user.as_bytes()))
}

/// ACL USERS
fn users(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.reply.array(1);
    Ok(ax.cx.reply.bulk(b"default"))
}

/// The default user's password as rules show it: its SHA-256.
fn password_hash(core: &Core) -> Option<String> {
    let config = core.config.load();
    let password = Some(&config.requirepass).filter(|password| !password.is_empty())?;
    let digest = Sha256::digest(password.as_bytes());
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// ACL LIST
fn list(ax: &mut AdminCtx) -> CmdResult {
    let rule = match password_hash(ax.core) {
        Some(hash) => format!("user default on sanitize-payload #{hash} ~* &* +@all"),
        None => "user default on nopass sanitize-payload ~* &* +@all".to_owned(),
    };
    ax.cx.reply.array(1);
    Ok(ax.cx.reply.bulk(rule.as_bytes()))
}

/// ACL GETUSER username
fn getuser(ax: &mut AdminCtx) -> CmdResult {
    if ax.cx.args.word(2) != b"default" {
        return Ok(ax.cx.reply.null());
    }
    let hash = password_hash(ax.core);
    let reply = &mut *ax.cx.reply;
    reply.map(6);
    let _ = reply.bulk(b"flags");
    let flags = match hash {
        Some(_) => &["on", "sanitize-payload"][..],
        None => &["on", "nopass", "sanitize-payload"],
    };
    reply.set(flags.len());
    flags.iter().for_each(|flag| drop(reply.bulk(flag.as_bytes())));
    let _ = reply.bulk(b"passwords");
    reply.array(hash.iter().len());
    hash.iter().for_each(|hash| drop(reply.bulk(hash.as_bytes())));
    for (name, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.bulk(value.as_bytes());
    }
    let _ = reply.bulk(b"selectors");
    Ok(reply.empty_array())
}

/// ACL CAT \[category\]
fn cat(ax: &mut AdminCtx) -> CmdResult {
    let args = &mut ax.cx.args;
    args.bytes()?;
    let asked = args.peek();
    if args.left() > 1 {
        return Err(miscounted("ACL", args.word(1)));
    }
    let names: Vec<&str> = match asked {
        None => Cat::ALL.iter().map(|cat| cat.name()).collect(),
        Some(name) => {
            let category = Cat::parse(name).ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                CmdError::err(format_args!("Unknown category '{name}'"))
            })?;
            let all = ax.core.commands.rows().iter().map(Row::spec);
            all.filter(|spec| spec.categories().has(category)).map(|spec| spec.name).collect()
        }
    };
    ax.cx.reply.array(names.len());
    names.iter().for_each(|name| drop(ax.cx.reply.bulk(name.as_bytes())));
    Ok(ax.cx.reply.done())
}

/// Most bits ACL GENPASS gives.
const PASSWORD_BITS_MAX: i64 = 4096;

/// ACL GENPASS \[bits\]
fn genpass(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let bits = match ax.cx.args.peek() {
        None => 256,
        Some(word) => parse_i64(word).ok_or(CmdError::NotInteger)?,
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CmdError::err(
            "ACL GENPASS argument must be the number of bits for the output password, a positive \
             number up to 4096",
        ));
    }
    let mut bytes = vec![0u8; PASSWORD_BITS_MAX as usize / 8];
    getrandom::fill(&mut bytes).map_err(CmdError::err)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = usize::try_from(bits).unwrap_or(0).div_ceil(4);
    Ok(ax.cx.reply.bulk(&digits.as_bytes()[..wanted]))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn the_default_user_is_described() {
        let mut house = House::new();
        for (line, answer) in [
            ("acl whoami", "$7|default|"),
            ("acl users", "*1|$7|default|"),
            ("acl list", "*1|$51|user default on nopass sanitize-payload ~* &* +@all|"),
            ("acl getuser nobody", "$-1|"),
            ("acl cat nothing", "-ERR Unknown category 'nothing'|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("acl getuser default").starts_with("*12|$5|flags|*3|$2|on|$6|nopass|"));
        assert!(house.run("acl cat").starts_with("*21|$8|keyspace|"));
        assert!(house.run("acl genpass").starts_with("$64|"));
        assert!(house.run("acl genpass 5").starts_with("$2|"));
    }
}
