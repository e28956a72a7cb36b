//! The door through which time enters: wall clock in milliseconds, and a steady clock for measuring.
#![allow(clippy::disallowed_methods)] // This is the door.

use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

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

/// A reading of the steady clock: nanoseconds since the machine started. One number, because it is
/// taken for every command and most often only subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Steady(u64);

impl Steady {
    /// Nanoseconds from `earlier` to this; 0 if it is not earlier.
    #[inline]
    pub fn nanos_since(self, earlier: Steady) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from `earlier` to this; nothing if it is not earlier.
    pub fn duration_since(self, earlier: Steady) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The time since this.
    pub fn elapsed(self) -> Duration {
        steady().duration_since(self)
    }
}

impl Add<Duration> for Steady {
    type Output = Steady;

    fn add(self, later: Duration) -> Steady {
        Steady(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The steady clock now.
#[inline]
pub fn steady() -> Steady {
    // A kernel without a monotonic clock cannot run Rust's own library either.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the kernel has a monotonic clock");
    Steady(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}
