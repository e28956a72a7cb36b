//! What a handler can reach. The context is the permission.

use crate::base::clock::UnixMs;
use crate::engine::core::{Core, Worker};
use crate::engine::record::Record;
use crate::engine::session::Session;
use crate::keyspace::view::DbView;
use crate::persist::journal::LogOffset;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::reply::{Replied, Reply};
use crate::spec::Spec;

/// For commands on data: no sockets, no configuration, no clock. `now` is fixed for the whole
/// command, and everything that outlives the call is in `db`, `reply` or `record`.
pub struct Ctx<'a> {
    /// The words of the request.
    pub args: Args<'a>,
    /// The database, as far as the command has locked it.
    pub db: DbView<'a>,
    /// Where the answer goes.
    pub reply: &'a mut Reply,
    /// What the journal gets instead of the request, if something else.
    pub record: &'a mut Record,
    /// The moment the command happens at.
    pub now: UnixMs,
    /// The facts about the command.
    pub spec: &'static Spec,
    /// Whether the user may read keys that the words do not name (SORT BY and GET).
    pub reads_all_keys: bool,
    /// Whether the client can wait: not inside MULTI or a script.
    pub may_block: bool,
    /// Whether a script runs the command.
    pub scripted: bool,
    /// What the client waits for, if the handler found nothing to answer.
    pub(super) block: &'a mut Option<Block>,
}

/// A client's wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The keys, as positions among the words of the request.
    pub keys: Vec<usize>,
    /// When to give up; `None` waits forever.
    pub until: Option<UnixMs>,
    /// What is answered when the time is up.
    pub timeout: TimeoutReply,
    /// Whether the deletion of a key also ends the wait (XREADGROUP).
    pub on_deletion: bool,
    /// The request to run then, if not the one that came: `$` of XREAD is the moment it came at.
    pub request: Option<OwnedArgs>,
}

/// What a client gets whose wait has timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReply {
    /// A null.
    Null,
    /// A null array.
    NullArray,
    /// How far it got (WAIT, WAITAOF).
    Acks(AckWait),
    /// The process does not end (SHUTDOWN).
    NotStopped,
}

/// The answer to SHUTDOWN when the process goes on.
pub const NOT_STOPPED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// What WAIT and WAITAOF wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckWait {
    /// The end of the replication stream when the wait began.
    pub offset: u64,
    /// How many replicas have to confirm it.
    pub replicas: u64,
    /// WAITAOF: whether the own disk has to hold the journal up to here.
    pub disk: Option<(bool, LogOffset)>,
}

impl Ctx<'_> {
    /// The name of the command in lower case, as error texts use it.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Ends the handler without an answer: the client waits until one of the keys is ready, then
    /// the command runs again. Where nobody can wait, the timeout's reply is given at once.
    pub fn block(&mut self, block: Block) -> Replied {
        if self.may_block {
            *self.block = Some(block);
            return self.reply.done();
        }
        match block.timeout {
            TimeoutReply::Null => self.reply.null(),
            TimeoutReply::NullArray => self.reply.null_array(),
            // Whoever waits for replicas has answered before, where nobody can wait.
            TimeoutReply::Acks(_) => self.reply.int(0),
            // SHUTDOWN is refused before.
            TimeoutReply::NotStopped => self.reply.error_line(NOT_STOPPED),
        }
    }
}

/// For commands on the server: all of [`Ctx`], and who asks, and the server itself.
pub struct AdminCtx<'a> {
    /// The data.
    pub cx: Ctx<'a>,
    /// Who asks.
    pub session: &'a mut Session,
    /// The server.
    pub core: &'static Core,
    /// The thread this runs on.
    pub worker: &'a Worker,
}
