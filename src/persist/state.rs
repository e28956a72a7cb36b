//! What persistence knows of itself: last saves, the child at work, the state of the files.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::fs::Disk;
use crate::config::{AppendFsync, Config};
use crate::persist::journal::{Journal, SyncPolicy};

/// Everything that has to do with files.
pub struct Persistence {
    /// The stream of records.
    pub journal: Journal,
    /// The disk.
    pub disk: Disk,
    child_running: AtomicBool,
}

impl Persistence {
    /// Nothing saved, nothing open.
    pub fn new(config: &Config) -> Persistence {
        let journal = Journal::default();
        journal.set_policy(policy(config.appendfsync));
        journal.set_stamps(config.aof_timestamp_enabled);
        Persistence { journal, disk: Disk::real(), child_running: AtomicBool::new(false) }
    }

    /// Whether a forked child is at work.
    pub fn is_child_running(&self) -> bool {
        self.child_running.load(Ordering::Relaxed)
    }
}

/// The journal's policy for a setting.
pub fn policy(setting: AppendFsync) -> SyncPolicy {
    match setting {
        AppendFsync::Always => SyncPolicy::Always,
        AppendFsync::Everysec => SyncPolicy::EverySec,
        AppendFsync::No => SyncPolicy::No,
    }
}
