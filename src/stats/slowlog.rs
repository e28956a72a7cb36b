//! SLOWLOG: the last commands that took longer than a threshold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Words kept of a command.
const WORDS_MAX: usize = 32;
/// Bytes kept of a word.
const WORD_BYTES_MAX: usize = 128;

/// A command that was slow.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Never used twice.
    pub id: u64,
    /// When, in seconds since the epoch.
    pub at_secs: u64,
    /// How long it ran, microseconds.
    pub micros: u64,
    /// Its words, shortened.
    pub words: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: String,
}

/// See the module.
pub struct SlowLog {
    threshold_nanos: AtomicU64,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<Slow>,
    next_id: u64,
}

impl Default for SlowLog {
    fn default() -> SlowLog {
        SlowLog { threshold_nanos: AtomicU64::new(u64::MAX), ring: Mutex::default() }
    }
}

impl SlowLog {
    /// Whether a command that ran this long is kept.
    #[inline]
    pub fn wants(&self, nanos: u64) -> bool {
        nanos >= self.threshold_nanos.load(Ordering::Relaxed)
    }

    /// `slowlog-log-slower-than`; a negative one keeps nothing.
    pub fn set_threshold(&self, micros: i64) {
        let nanos = u64::try_from(micros).map_or(u64::MAX, |micros| micros.saturating_mul(1000));
        self.threshold_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Keeps a command; the oldest beyond `max` are forgotten. The id is given here.
    pub fn push(&self, mut slow: Slow, max: usize) {
        let mut ring = self.ring.lock();
        slow.id = ring.next_id;
        ring.next_id += 1;
        ring.entries.push_front(slow);
        ring.entries.truncate(max);
    }

    /// The newest `count`, newest first.
    pub fn newest(&self, count: usize) -> Vec<Slow> {
        self.ring.lock().entries.iter().take(count).cloned().collect()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.ring.lock().entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.ring.lock().entries.clear();
    }
}

/// The words of a command as the log keeps them: not too many, none too long.
pub fn shortened<'w>(words: impl ExactSizeIterator<Item = &'w [u8]>) -> Vec<Vec<u8>> {
    let count = words.len();
    let kept = if count > WORDS_MAX { WORDS_MAX - 1 } else { count };
    let mut short: Vec<Vec<u8>> = words.take(kept).map(shorten).collect();
    if kept < count {
        short.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    short
}

fn shorten(word: &[u8]) -> Vec<u8> {
    match word.split_at_checked(WORD_BYTES_MAX) {
        Some((head, tail)) if !tail.is_empty() => {
            [head, format!("... ({} more bytes)", tail.len()).as_bytes()].concat()
        }
        _ => word.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_kept_shortened() {
        let words: Vec<Vec<u8>> = (0..40).map(|_| vec![b'x'; 129]).collect();
        let short = shortened(words.iter().map(Vec::as_slice));
        assert_eq!(short.len(), 32);
        assert!(short[0].ends_with(b"x... (1 more bytes)"));
        assert_eq!(short[31], b"... (9 more arguments)");
        let words = vec![vec![b'y'; 128]; 32];
        assert_eq!(shortened(words.iter().map(Vec::as_slice)), words);
    }
}
