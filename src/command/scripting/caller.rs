//! What a running script reaches: commands inside its unit, and its end.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Call;
use crate::acl::log::Context;
use crate::base::clock;
use crate::engine::access;
use crate::engine::command::Row;
use crate::engine::core::{Attention, Core, Worker};
use crate::engine::dispatch::{self, Unit};
use crate::engine::fiber;
use crate::engine::gate::{self, Refusal};
use crate::engine::monitor;
use crate::engine::record::Record;
use crate::engine::session::Session;
use crate::keyspace::view::DbView;
use crate::resp::args::Args;
use crate::resp::error::CmdError;
use crate::resp::reply::{Protocol, Reply};
use crate::script::Running;
use crate::script::header::Flags as Says;
use crate::script::machine::{Host, Tick};
use crate::spec::flags::Flags;

/// What a script that was told to end raises.
const KILLED: &str = "ERR Script killed by user with SCRIPT KILL.";

/// The unit in which a script runs, and the command that runs it.
pub(super) struct InUnit<'c, 'v> {
    pub(super) core: &'static Core,
    pub(super) worker: &'c Worker,
    pub(super) session: &'c mut Session,
    pub(super) view: &'c mut DbView<'v>,
    pub(super) record: &'c mut Record,
    pub(super) request: Args<'c>,
}

/// Runs the commands of a script inside its unit.
pub(super) struct Caller<'c, 'v> {
    unit: InUnit<'c, 'v>,
    name: &'c str,
    says: Says,
    readonly: bool,
    /// Whether memory was short when the script began; what is so later does not stop it.
    out_of_memory: bool,
    recorded: bool,
    running: Arc<Running>,
    slow: Cell<bool>,
}

impl<'c, 'v> Caller<'c, 'v> {
    pub(super) fn new(
        unit: InUnit<'c, 'v>,
        call: &'c Call,
        running: Arc<Running>,
    ) -> Caller<'c, 'v> {
        Caller {
            name: call.name,
            says: call.says,
            readonly: call.readonly || call.says.has(Says::NO_WRITES),
            out_of_memory: unit.core.has_attention(Attention::OUT_OF_MEMORY),
            recorded: true,
            running,
            slow: Cell::new(false),
            unit,
        }
    }
}

impl Host for Caller<'_, '_> {
    fn call(&mut self, args: &Args<'_>, reply: &mut Reply) {
        if let Err(error) = self.try_call(*args, reply) {
            self.unit.worker.stats.errors.add(1);
            self.unit.core.stats.count_error(&error.code());
            reply.cut(0);
            let _ = reply.error(&error);
        }
    }

    fn may_call(&mut self, args: &Args<'_>) -> Option<bool> {
        let row = gate::named(self.unit.core, args)?;
        Some(access::check(&self.unit.session.account, row, args).is_ok())
    }

    fn set_recorded(&mut self, recorded: bool) {
        self.recorded = recorded;
    }

    fn tick(&mut self) -> Tick {
        if self.is_killed() {
            return Tick::Stop(KILLED);
        }
        let ms = self.running.began.elapsed().as_millis();
        let patience =
            u128::try_from(self.unit.core.config.load().busy_reply_threshold).unwrap_or(0);
        if ms >= patience {
            if !self.slow.replace(true) {
                self.tell_slow(ms);
            }
            fiber::step_aside();
        }
        match self.is_killed() {
            false => Tick::GoOn,
            true => {
                tracing::info!("Lua script killed by user with SCRIPT KILL.");
                Tick::Stop(KILLED)
            }
        }
    }
}

impl Caller<'_, '_> {
    fn is_killed(&self) -> bool {
        self.running.killed.load(Ordering::Acquire)
    }

    fn tell_slow(&self, ms: u128) {
        let kill = if self.running.is_function { "FUNCTION KILL" } else { "SCRIPT KILL" };
        tracing::warn!(
            "Slow script detected: still in execution after {ms} milliseconds. You can try killing \
             the script using the {kill} command. Script name is: {}.",
            self.name
        );
        let words = self.unit.request.words().map(<[u8]>::to_vec).collect();
        *self.running.told.lock() = Some((self.name.to_owned(), words));
        self.unit.core.set_attention(Attention::SCRIPT_BUSY, true);
    }

    /// A script runs as its client's user.
    fn refuse(&self, refusal: Refusal, row: &Row, args: &Args) -> CmdError {
        let Refusal::Denied(denied) = refusal else {
            return refusal.tell(self.unit.core, self.unit.session, row, args);
        };
        let (client, account) = (&self.unit.session.client, &self.unit.session.account);
        access::log(self.unit.core, client, account, (row, args), denied, Context::Lua);
        let sentence = access::sentence(&account.shown(), row, args, denied, false);
        CmdError::err(format_args!("ACL failure in script: {sentence}"))
    }

    /// What the gate looks at. A script that has written goes on, whatever happens.
    fn attention(&self) -> u32 {
        let now = self.unit.core.attention.load(Ordering::Relaxed);
        let state = Attention::SNAPSHOT_FAILED
            | Attention::JOURNAL_FAILED
            | Attention::OUT_OF_MEMORY
            | Attention::REPLICAS_WANTED
            | Attention::READ_ONLY;
        let kept = match self.running.wrote.load(Ordering::Relaxed) {
            true => now & !state,
            false => now & !Attention::OUT_OF_MEMORY,
        };
        let memory = self.out_of_memory
            && !self.running.wrote.load(Ordering::Relaxed)
            && !self.says.has(Says::ALLOW_OOM);
        let kept = kept & !(Attention::SCRIPT_BUSY | Attention::STALE);
        if memory { kept | Attention::OUT_OF_MEMORY } else { kept }
    }

    /// Whether the command may run.
    fn check(&mut self, row: &'static Row, args: &Args) -> Result<(), CmdError> {
        let may_all = &self.unit.core.debug.scripts_may_all;
        if row.spec().flags.has(Flags::NOSCRIPT) && !may_all.load(Ordering::Relaxed) {
            return Err(CmdError::err("This Redis command is not allowed from script"));
        }
        let changes = Flags::WRITE.with(Flags::MAY_REPLICATE);
        if self.readonly && row.spec().flags.has_any(changes) {
            return Err(CmdError::err("Write commands are not allowed from read-only scripts."));
        }
        let stale = self.unit.core.has_attention(Attention::STALE);
        if stale && !self.unit.session.replaying && !row.spec().flags.has(Flags::STALE) {
            return Err(CmdError::err("Can not execute the command on a stale replica"));
        }
        let multi = self.unit.session.multi.take();
        let attention = self.attention();
        let checked = gate::check_inside(
            self.unit.core,
            self.unit.session,
            row,
            args,
            Protocol::Resp3,
            attention,
        );
        self.unit.session.multi = multi;
        checked.map_err(|refusal| self.refuse(refusal, row, args))
    }

    fn try_call(&mut self, args: Args, reply: &mut Reply) -> Result<(), CmdError> {
        let row = gate::find(self.unit.core, &args).map_err(|error| match error {
            CmdError::Arity(_) => {
                if let Some(row) = gate::named(self.unit.core, &args) {
                    self.unit.worker.stats.commands[row.index].rejected.add(1);
                }
                CmdError::err("Wrong number of args calling Redis command from script")
            }
            _ => CmdError::err("Unknown Redis command called from script"),
        })?;
        if let Err(error) = self.check(row, &args) {
            self.unit.worker.stats.commands[row.index].rejected.add(1);
            return Err(error);
        }
        let (hold, env, fx) = self.unit.view.parts();
        let recorded = self.unit.record.len();
        let mut unit = Unit {
            worker: self.unit.worker,
            hold,
            env,
            fx,
            record: self.unit.record,
            may_block: false,
            scripted: true,
            hash: None,
        };
        if row.spec().flags.has(Flags::WRITE) {
            self.running.wrote.store(true, Ordering::Release);
        }
        let db = self.unit.session.db;
        // The clock tells where the command before ended: here that is where this one begins, and
        // the script as a whole goes on counting from its own.
        let began = self.unit.worker.clock.replace(clock::steady());
        let _ = dispatch::run(&mut unit, Some(&mut *self.unit.session), db, row, args, reply);
        self.unit.worker.clock.set(began);
        if !self.recorded {
            self.unit.record.cut(recorded);
        }
        if self.unit.core.has_attention(Attention::MONITORED) {
            monitor::feed(self.unit.core, "lua", self.unit.session.db, row, &args);
        }
        Ok(())
    }
}
