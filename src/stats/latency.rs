//! LATENCY: what passed `latency-monitor-threshold`, by kind of event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock;

/// Samples kept of an event, one a second at the most.
const SAMPLES_MAX: usize = 160;

/// What is known of an event.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Seconds since the epoch and milliseconds, oldest first.
    pub samples: VecDeque<(u64, u64)>,
    /// The longest ever, milliseconds.
    pub max_ms: u64,
}

/// See the module.
pub struct LatencyMonitor {
    threshold_nanos: AtomicU64,
    events: Mutex<BTreeMap<&'static str, Event>>,
}

impl Default for LatencyMonitor {
    fn default() -> LatencyMonitor {
        LatencyMonitor { threshold_nanos: AtomicU64::new(u64::MAX), events: Mutex::default() }
    }
}

impl LatencyMonitor {
    /// Whether something that took so long is an event.
    #[inline]
    pub fn wants(&self, nanos: u64) -> bool {
        nanos >= self.threshold_nanos.load(Ordering::Relaxed)
    }

    /// `latency-monitor-threshold`, milliseconds; 0 turns it off.
    pub fn set_threshold(&self, ms: i64) {
        let nanos = match u64::try_from(ms) {
            Ok(ms @ 1..) => ms.saturating_mul(1_000_000),
            _ => u64::MAX,
        };
        self.threshold_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Keeps what has just taken so long, if it is an event.
    pub fn note(&self, event: &'static str, took: Duration) {
        if self.wants(took.as_nanos() as u64) {
            self.add(event, clock::unix_us() / 1_000_000, took.as_millis() as u64);
        }
    }

    /// Keeps a sample; the longest of a second stands for it.
    pub fn add(&self, event: &'static str, at_secs: u64, ms: u64) {
        let mut events = self.events.lock();
        let event = events.entry(event).or_default();
        event.max_ms = event.max_ms.max(ms);
        match event.samples.back_mut() {
            Some((secs, longest)) if *secs == at_secs => *longest = ms.max(*longest),
            _ => {
                event.samples.push_back((at_secs, ms));
                if event.samples.len() > SAMPLES_MAX {
                    event.samples.pop_front();
                }
            }
        }
    }

    /// All events by name.
    pub fn events(&self) -> BTreeMap<&'static str, Event> {
        self.events.lock().clone()
    }

    /// Forgets the events that `wanted` picks; says how many.
    pub fn forget(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|name, _| !wanted(name));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_longest_sample() {
        let monitor = LatencyMonitor::default();
        assert!(!monitor.wants(u64::MAX - 1));
        monitor.set_threshold(5);
        assert!(monitor.wants(5_000_000) && !monitor.wants(4_999_999));
        for (secs, ms) in [(1, 5), (1, 9), (1, 7), (2, 6)] {
            monitor.add("command", secs, ms);
        }
        let event = &monitor.events()["command"];
        assert_eq!(event.samples, [(1, 9), (2, 6)]);
        assert_eq!(event.max_ms, 9);
        assert_eq!(monitor.forget(|name| name == "command"), 1);
        assert_eq!(monitor.forget(|_| true), 0);
    }
}
