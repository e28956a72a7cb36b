//! How often a key is used, in the 24 bits that LFU policies have for it: the minute it was last used in,
//! and a counter that rises by chance and falls with time.

use crate::base::clock::UnixMs;
use crate::base::rng;

/// The counter a new key begins with.
pub(super) const INITIAL: u32 = 5;

/// Minutes since the epoch, as LFU bits store them.
fn minutes(now: UnixMs) -> u32 {
    (now.0 / 60_000) as u32
}

/// The access bits of a key whose LFU counter is known.
pub fn access(now: UnixMs, counter: u32) -> u32 {
    (minutes(now) & 0xffff) << 8 | counter
}

/// The LFU counter of access bits, decayed by the minutes that have passed.
pub fn counter(bits: u32, now: UnixMs, decay_minutes: u32) -> u32 {
    let (since, counter) = (bits >> 8 & 0xffff, bits & 0xff);
    let passed = (minutes(now) & 0xffff).wrapping_sub(since) & 0xffff;
    match decay_minutes {
        0 => counter,
        per => counter.saturating_sub(passed / per),
    }
}

/// The access bits after another use, which raises the counter by chance, the less the higher it is.
pub(super) fn raised(bits: u32, now: UnixMs, log_factor: u32, decay_minutes: u32) -> u32 {
    let counter = counter(bits, now, decay_minutes);
    let above = f64::from(counter.saturating_sub(INITIAL));
    let raise = counter < 255 && rng::unit() < 1.0 / (above * f64::from(log_factor) + 1.0);
    access(now, counter + u32::from(raise))
}
