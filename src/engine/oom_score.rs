//! `oom-score-adj`: whom the kernel ends first when the machine's memory runs out.

use std::fs;
use std::io;

use crate::config::{Config, OomScoreAdj};
use crate::persist::child;

/// Where the kernel keeps a process's own number.
const FILE: &str = "/proc/self/oom_score_adj";
/// What the kernel takes.
const MAX: i32 = 1000;

/// The number the process had before it was changed; `None` while it is as it was.
#[derive(Default)]
pub struct OomScore {
    before: Option<i32>,
}

impl OomScore {
    /// Makes the process and its future children what the settings say. The process is left as it
    /// was when the kernel refuses.
    pub fn set(&mut self, config: &Config) -> io::Result<()> {
        if config.oom_score_adj == OomScoreAdj::No {
            if let Some(before) = self.before {
                write(before)?;
            }
            self.before = None;
            child::set_oom_score(None);
            return Ok(());
        }
        let before = match self.before {
            Some(before) => before,
            None => read()?,
        };
        // A primary, a replica, a child.
        let [primary, replica, child] =
            config.oom_score_adj_values.map(|value| match config.oom_score_adj {
                OomScoreAdj::Absolute => value.clamp(-MAX, MAX),
                _ => (before + value).clamp(-MAX, MAX),
            });
        write(if config.replicaof.is_some() { replica } else { primary })?;
        self.before = Some(before);
        child::set_oom_score(Some(child));
        Ok(())
    }
}

fn read() -> io::Result<i32> {
    let text = fs::read_to_string(FILE)?;
    text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

fn write(score: i32) -> io::Result<()> {
    fs::write(FILE, score.to_string())
}
