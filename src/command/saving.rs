//! Saving and ending: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, SHUTDOWN.

use crate::config::ShutdownOn;
use crate::engine::command::Command;
use crate::engine::context::{AdminCtx, Block, NOT_STOPPED, TimeoutReply};
use crate::engine::gate;
use crate::engine::saving::Begun;
use crate::engine::stopping::{Course, Refused};
use crate::engine::{rewriting, saving, stopping};
use crate::keyspace::lock::ShardSet;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::Spec;
use crate::spec::category::{Cat, Group};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::admin(
        save,
        Spec::new("save", Group::Server, Exactly(1))
            .admin()
            .noscript()
            .no_async_loading()
            .no_multi()
            .all_shards()
            .since("1.0.0"),
    ),
    Command::admin(
        bgsave,
        Spec::new("bgsave", Group::Server, AtLeast(1))
            .admin()
            .noscript()
            .no_async_loading()
            .all_shards()
            .since("1.0.0"),
    ),
    Command::admin(
        bgrewriteaof,
        Spec::new("bgrewriteaof", Group::Server, Exactly(1))
            .admin()
            .noscript()
            .no_async_loading()
            .all_shards()
            .since("1.0.0"),
    ),
    Command::admin(
        lastsave,
        Spec::new("lastsave", Group::Server, Exactly(1))
            .fast()
            .loading()
            .stale()
            .category(Cat::Admin)
            .category(Cat::Dangerous)
            .tip("nondeterministic_output")
            .since("1.0.0"),
    ),
    Command::admin(
        shutdown,
        Spec::new("shutdown", Group::Server, AtLeast(1))
            .admin()
            .noscript()
            .loading()
            .stale()
            .no_multi()
            .allow_busy()
            .all_shards()
            .since("1.0.0"),
    ),
];

/// SAVE
fn save(cx: &mut AdminCtx) -> CmdResult {
    saving::save(cx.core, cx.cx.db.hold())?;
    Ok(cx.cx.reply.ok())
}

/// BGSAVE [SCHEDULE]
fn bgsave(cx: &mut AdminCtx) -> CmdResult {
    let args = &mut cx.cx.args;
    let schedule = args.take_keyword("schedule");
    if !args.is_done() {
        return Err(CmdError::Syntax);
    }
    if !cx.cx.may_block && cx.core.persist.child_work().is_none() {
        cx.core.persist.book.lock().save_scheduled = true;
        return Ok(cx.cx.reply.simple("Background saving scheduled"));
    }
    let schedule = schedule || !cx.cx.may_block;
    Ok(match saving::bgsave(cx.core, cx.cx.db.hold(), schedule)? {
        Begun::Started => cx.cx.reply.simple("Background saving started"),
        Begun::Scheduled => cx.cx.reply.simple("Background saving scheduled"),
    })
}

/// BGREWRITEAOF
fn bgrewriteaof(cx: &mut AdminCtx) -> CmdResult {
    let in_transaction = !cx.cx.may_block;
    Ok(match rewriting::bgrewrite(cx.core, cx.cx.db.hold(), in_transaction)? {
        Begun::Started => cx.cx.reply.simple("Background append only file rewriting started"),
        Begun::Scheduled => cx.cx.reply.simple("Background append only file rewriting scheduled"),
    })
}

/// LASTSAVE
fn lastsave(cx: &mut AdminCtx) -> CmdResult {
    let at = cx.core.persist.book.lock().saved_at.secs();
    Ok(cx.cx.reply.int(i64::try_from(at).unwrap_or(i64::MAX)))
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]
fn shutdown(cx: &mut AdminCtx) -> CmdResult {
    let mut how = ShutdownOn::default();
    let mut abort = false;
    let args = &mut cx.cx.args;
    let words = args.left();
    while let Some(word) = args.peek() {
        let known = [
            ("nosave", &mut how.nosave),
            ("save", &mut how.save),
            ("now", &mut how.now),
            ("force", &mut how.force),
            ("abort", &mut abort),
        ];
        let option = known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        let Some((_, option)) = option else { return Err(CmdError::Syntax) };
        *option = true;
        let _ = args.bytes();
    }
    if (abort && words > 1) || (how.save && how.nosave) {
        return Err(CmdError::Syntax);
    }
    if abort {
        return match stopping::abort(cx.core) {
            true => Ok(cx.cx.reply.ok()),
            false => Err(CmdError::err("No shutdown in progress.")),
        };
    }
    if !how.now && !cx.cx.may_block {
        return Err(CmdError::err(
            "SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client",
        ));
    }
    if !cx.cx.db.hold().covers(&ShardSet::ALL) && !how.nosave {
        return Err(gate::busy(cx.core));
    }
    match stopping::begin(cx.core, cx.cx.db.hold(), how) {
        Err(Refused) => return Err(CmdError::Const(NOT_STOPPED)),
        Ok(Course::Waits) => {
            let (until, timeout) = (None, TimeoutReply::NotStopped);
            let block =
                Block { keys: Vec::new(), until, timeout, on_deletion: false, request: None };
            return Ok(cx.cx.block(block));
        }
        Ok(Course::Leaves) => {}
    }
    stopping::finish(cx.core, 0);
    // The locks stay taken until the process has ended: nothing is acknowledged after the save.
    loop {
        std::thread::park();
    }
}
