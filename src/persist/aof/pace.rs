//! How long a start takes to replay the increments: what they hold, and how fast that goes.

use std::time::Duration;

/// What increments hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Commands.
    pub commands: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How fast increments are replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// For each command, beside its bytes.
    nanos_per_command: f64,
}

/// Before anything was measured.
const NANOS_PER_COMMAND: f64 = 1_500.0;
/// Reading, checksum and copying.
const NANOS_PER_BYTE: f64 = 1.0;
/// Fewer commands than this say nothing about the next million.
const COMMANDS_MIN: u64 = 20_000;

impl Default for Pace {
    fn default() -> Pace {
        Pace { nanos_per_command: NANOS_PER_COMMAND }
    }
}

impl Pace {
    /// The pace at which so much was replayed; none if it was too little to tell.
    pub fn measured(load: Load, took: Duration) -> Option<Pace> {
        if load.commands < COMMANDS_MIN {
            return None;
        }
        let rest = took.as_nanos() as f64 - load.bytes as f64 * NANOS_PER_BYTE;
        Some(Pace { nanos_per_command: rest.max(0.0) / load.commands as f64 })
    }

    /// Seconds for so much.
    pub fn seconds(self, load: Load) -> f64 {
        let nanos = load.commands as f64 * self.nanos_per_command;
        (nanos + load.bytes as f64 * NANOS_PER_BYTE) / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_is_what_was_measured() {
        let load = Load { commands: 1_000_000, bytes: 100_000_000 };
        let pace = Pace::measured(load, Duration::from_secs(3)).unwrap();
        assert!((pace.seconds(load) - 3.0).abs() < 1e-6);
        let twice = Load { commands: 2_000_000, bytes: 200_000_000 };
        assert!((pace.seconds(twice) - 6.0).abs() < 1e-6);
        let few = Load { commands: 10, bytes: 100 };
        assert_eq!(Pace::measured(few, Duration::from_secs(3)), None);
        assert!(Pace::default().seconds(load) > 1.0);
    }
}
