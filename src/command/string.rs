//! Strings: GET, SET and what counts, cuts and joins.

use crate::engine::command::Command;
use crate::engine::context::Ctx;
use crate::keyspace::entry::New;
use crate::keyspace::event::Event;
use crate::keyspace::view::Deadline;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::Group;
use crate::spec::keys::KeySpec;

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::data(
        get,
        Spec::new("get", Group::String, Exactly(2)).reads().fast().key(1).since("1.0.0"),
    ),
    Command::data(
        set,
        Spec::new("set", Group::String, AtLeast(3))
            .writes()
            .denyoom()
            .key_spec(KeySpec::at(1).rw().access().update().variable_flags())
            .since("1.0.0"),
    ),
];

/// GET key
fn get(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    Ok(match cx.db.read_text(key)? {
        None => cx.reply.null(),
        Some(text) => text.with(|bytes| cx.reply.bulk(bytes)),
    })
}

/// SET key value
fn set(cx: &mut Ctx) -> CmdResult {
    let key = cx.args.bytes()?;
    let value = cx.args.bytes()?;
    cx.db.set(key, New::Bytes(value), Deadline::Clear, Event::string("set"));
    Ok(cx.reply.ok())
}
