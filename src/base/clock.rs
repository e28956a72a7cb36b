//! The door through which time enters: wall clock in milliseconds, and a steady clock for measuring.
#![allow(clippy::disallowed_methods)] // This is the door.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment in milliseconds since the Unix epoch, as deadlines and files state it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The wall clock now.
    pub fn now() -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whole seconds since the epoch.
    pub fn secs(self) -> u64 {
        self.0 / 1000
    }
}

/// Microseconds since the Unix epoch, for the log, TIME and stream ids.
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A reading of the steady clock.
pub type Steady = Instant;

/// The steady clock now.
pub fn steady() -> Steady {
    Instant::now()
}
