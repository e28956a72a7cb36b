//! What was denied lately, as ACL LOG tells it. Equal cases within a minute are one entry.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::clock::UnixMs;

/// Cases further apart are different entries.
const ALIKE_MS_MAX: u64 = 60_000;
/// Entries among which an equal one is looked for.
const ALIKE_AMONG: usize = 10;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The user may not run the command.
    Command,
    /// Nor touch the key.
    Key,
    /// Nor use the channel.
    Channel,
    /// Wrong name or password.
    Auth,
}

impl Reason {
    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }
}

/// Where the command was run from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// By the client itself.
    Toplevel,
    /// In a transaction.
    Multi,
    /// In a script.
    Lua,
}

impl Context {
    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// Something that was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Why.
    pub reason: Reason,
    /// From where.
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// To whom.
    pub user: Vec<u8>,
}

/// A case and its repetitions.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What.
    pub case: Case,
    /// How often.
    pub count: u64,
    /// The client's line, as CLIENT LIST shows it, of the last time.
    pub client: String,
    /// Never used twice.
    pub id: u64,
    /// The first time.
    pub created: UnixMs,
    /// The last time.
    pub updated: UnixMs,
}

/// See the module.
#[derive(Default)]
pub struct AclLog {
    entries: Mutex<VecDeque<Entry>>,
    next_id: AtomicU64,
    counts: [AtomicU64; 4],
}

impl AclLog {
    /// Adds a case; at most `len_max` entries stay.
    pub fn add(&self, case: Case, client: String, now: UnixMs, len_max: usize) {
        self.counts[case.reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        if len_max == 0 {
            entries.clear();
            return;
        }
        let alike = entries.iter().take(ALIKE_AMONG).position(|entry| {
            entry.case == case && now.0.abs_diff(entry.updated.0) <= ALIKE_MS_MAX
        });
        let entry = match alike.and_then(|at| entries.remove(at)) {
            Some(entry) => Entry { count: entry.count + 1, client, updated: now, ..entry },
            None => {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                Entry { case, count: 1, client, id, created: now, updated: now }
            }
        };
        entries.push_front(entry);
        entries.truncate(len_max);
    }

    /// The latest entries, the latest first.
    pub fn latest(&self, count: usize) -> Vec<Entry> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.entries.lock().clear();
    }

    /// How often something was denied for this reason since the start.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_cases_within_a_minute_are_one_entry() {
        let log = AclLog::default();
        let add = |object: &str, at: u64| {
            let (reason, context) = (Reason::Key, Context::Toplevel);
            let case = Case { reason, context, object: object.into(), user: b"u".to_vec() };
            log.add(case, String::new(), UnixMs(at), 3);
        };
        add("a", 1000);
        add("b", 2000);
        add("a", 61_000);
        let told = || -> Vec<(String, u64, u64)> {
            let entries = log.latest(9).into_iter();
            entries
                .map(|entry| (String::from_utf8(entry.case.object).unwrap(), entry.count, entry.id))
                .collect()
        };
        assert_eq!(told(), [("a".to_owned(), 2, 0), ("b".to_owned(), 1, 1)]);
        add("a", 200_000);
        add("c", 200_000);
        assert_eq!(told().len(), 3);
        assert_eq!(told()[0], ("c".to_owned(), 1, 3));
        assert_eq!(log.count(Reason::Key), 5);
        log.reset();
        assert!(told().is_empty());
    }
}
