//! Lua scripts: the VM of a thread and what a script may call.

pub mod convert;
pub mod machine;
mod raise;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};
use sha1::{Digest, Sha1};

/// The name a script is cached by: the SHA-1 of its source in 40 hexadecimal digits.
pub type Sha = [u8; 40];

/// A script that runs now.
#[derive(Default)]
pub struct Running {
    /// It has changed something, so it must go on to its end.
    pub wrote: AtomicBool,
    /// SCRIPT KILL.
    pub killed: AtomicBool,
}

/// Scripts by name, for EVALSHA.
#[derive(Default)]
pub struct Scripts {
    /// The one that runs: it holds every shard, so there is no other.
    pub running: Mutex<Option<Arc<Running>>>,
    sources: RwLock<HashMap<Sha, Arc<[u8]>>>,
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

/// Whether a script's first line says that it changes nothing.
pub fn is_readonly(source: &[u8]) -> bool {
    let line = source.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(options) = line.strip_prefix(b"#!lua ") else { return false };
    let flags = options.split(|byte| *byte == b' ').find_map(|word| word.strip_prefix(b"flags="));
    flags.is_some_and(|flags| flags.split(|byte| *byte == b',').any(|flag| flag == b"no-writes"))
}

impl Scripts {
    /// Keeps a script; its name.
    pub fn keep(&self, source: &[u8]) -> Sha {
        let sha = sha1_hex(source);
        if !self.sources.read().contains_key(&sha) {
            self.sources.write().insert(sha, source.into());
        }
        sha
    }

    /// The script of that name, in either case.
    pub fn get(&self, name: &[u8]) -> Option<(Sha, Arc<[u8]>)> {
        let sha: Sha = name.to_ascii_lowercase().try_into().ok()?;
        self.sources.read().get(&sha).map(|source| (sha, Arc::clone(source)))
    }

    /// Forgets all scripts.
    pub fn flush(&self) {
        self.sources.write().clear();
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let sources = self.sources.read();
        (sources.len(), sources.values().map(|source| source.len()).sum())
    }
}
