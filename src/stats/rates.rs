//! What happens per second: samples of counters, taken some ten times a second by the cron.

use parking_lot::Mutex;

use crate::base::clock::Steady;

/// Samples kept; a rate is their mean.
const SAMPLES: usize = 16;

/// A counter whose rate is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Commands.
    Commands,
    /// Bytes read from clients.
    NetIn,
    /// Bytes sent to clients.
    NetOut,
    /// Turns of work: batches of requests, and rounds of the cron.
    Turns,
    /// Microseconds they took.
    TurnMicros,
}

/// Counters of [`Rate`] in its order.
pub type Counters = [u64; 5];

#[derive(Default)]
struct Ring {
    last: Option<(Steady, Counters)>,
    samples: [Counters; SAMPLES],
    at: usize,
}

/// See the module.
#[derive(Default)]
pub struct Rates(Mutex<Ring>);

impl Rates {
    /// Takes a sample.
    pub fn sample(&self, now: Steady, counters: Counters) {
        let mut ring = self.0.lock();
        if let Some((then, before)) = ring.last {
            let millis = now.duration_since(then).as_millis().max(1) as u64;
            let at = ring.at;
            for (index, (now, before)) in counters.iter().zip(before).enumerate() {
                ring.samples[at][index] = now.saturating_sub(before) * 1000 / millis;
            }
            ring.at = (at + 1) % SAMPLES;
        }
        ring.last = Some((now, counters));
    }

    /// A rate per second.
    pub fn get(&self, rate: Rate) -> u64 {
        let ring = self.0.lock();
        ring.samples.iter().map(|sample| sample[rate as usize]).sum::<u64>() / SAMPLES as u64
    }
}
