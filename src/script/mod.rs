//! Lua scripts: the VM of a thread, what scripts may call, and the scripts and libraries kept.

mod api;
mod bit;
mod cjson;
mod cmsgpack;
pub mod convert;
mod format;
mod guard;
pub mod header;
pub mod library;
pub mod machine;
mod raw;
mod structs;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use sha1::{Digest, Sha1};

use crate::base::clock::Steady;
use crate::script::header::{Flags, Header};

/// The name a script is cached by: the SHA-1 of its source in 40 hexadecimal digits.
pub type Sha = [u8; 40];

/// Scripts that EVAL has brought are kept so many; the one that was not run for longest goes.
const EVAL_SCRIPTS_MAX: usize = 500;

/// A script or function that runs now.
pub struct Running {
    /// Whether it is a function.
    pub is_function: bool,
    /// When it began.
    pub began: Steady,
    /// It has changed something, so it must go on to its end.
    pub wrote: AtomicBool,
    /// SCRIPT KILL, FUNCTION KILL.
    pub killed: AtomicBool,
    /// Its name, and the command that runs it: there once it is over its time.
    pub told: Mutex<Option<(String, Vec<Vec<u8>>)>>,
}

impl Running {
    /// One that begins.
    pub fn new(is_function: bool, began: Steady) -> Running {
        Running {
            is_function,
            began,
            wrote: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }
}

/// A script that is cached.
pub struct Script {
    /// Its name.
    pub sha: Sha,
    /// All of it.
    pub source: Box<[u8]>,
    /// Where the line about it ends and Lua begins.
    pub body_at: usize,
    /// What it says about itself.
    pub flags: Flags,
    /// Whether SCRIPT LOAD has brought it, so that it stays.
    stays: AtomicBool,
    last_used: AtomicU64,
}

impl Script {
    /// A script of that source; the error is the client's.
    pub fn new(sha: Sha, source: &[u8]) -> Result<Script, String> {
        let Header { flags, body_at } = Header::of_script(source)?;
        Ok(Script {
            sha,
            source: source.into(),
            body_at,
            flags,
            stays: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
        })
    }
}

/// Scripts by name, for EVALSHA.
#[derive(Default)]
pub struct Scripts {
    /// The one that runs: it holds every shard, so there is no other.
    pub running: Mutex<Option<Arc<Running>>>,
    cached: RwLock<HashMap<Sha, Arc<Script>>>,
    uses: AtomicU64,
    /// How often all were forgotten.
    pub flushes: AtomicU64,
    /// Scripts that went because there were too many.
    pub evicted: AtomicU64,
}

/// The hexadecimal SHA-1 of `bytes`.
pub fn sha1_hex(bytes: &[u8]) -> Sha {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0u8; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha1::digest(bytes)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    hex
}

impl Scripts {
    /// Keeps a script; one that `stays` does so until all are forgotten.
    pub fn keep(&self, script: Script, stays: bool) -> Arc<Script> {
        let mut cached = self.cached.write();
        let script = cached.entry(script.sha).or_insert_with(|| Arc::new(script));
        let script = Arc::clone(script);
        script.last_used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if stays {
            script.stays.store(true, Ordering::Relaxed);
            return script;
        }
        let goes = |script: &Script| !script.stays.load(Ordering::Relaxed);
        if cached.values().filter(|script| goes(script)).count() > EVAL_SCRIPTS_MAX {
            let oldest = cached.values().filter(|script| goes(script));
            let oldest = oldest.min_by_key(|script| script.last_used.load(Ordering::Relaxed));
            if let Some(sha) = oldest.map(|script| script.sha) {
                cached.remove(&sha);
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        script
    }

    /// The script of that name, in either case.
    pub fn get(&self, name: &[u8]) -> Option<Arc<Script>> {
        let mut sha: Sha = name.try_into().ok()?;
        sha.make_ascii_lowercase();
        let script = Arc::clone(self.cached.read().get(&sha)?);
        script.last_used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(script)
    }

    /// Forgets all scripts.
    pub fn flush(&self) {
        self.cached.write().clear();
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let cached = self.cached.read();
        let bytes = cached.values().map(|script| script.source.len() + size_of::<Script>()).sum();
        (cached.len(), bytes)
    }
}
