//! How long commands take: counts in buckets whose width is an eighth of a power of two or less.

use std::sync::OnceLock;

use crate::stats::Counter;

/// Buckets of a power of two.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Longer than a second counts as a second, as in Redis.
const NANOS_MAX: u64 = 1_000_000_000;
const BUCKETS: usize = bucket_of(NANOS_MAX) + 1;

/// See the module. Made when the first value comes; one thread adds, any thread reads.
#[derive(Default)]
pub struct Histogram(OnceLock<Box<[Counter]>>);

const fn bucket_of(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEP_BITS;
    ((shift as u64 + 1) * STEPS + (nanos >> shift) - STEPS) as usize
}

/// The largest value a bucket holds.
fn bucket_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << shift) - 1
}

impl Histogram {
    /// Counts a value.
    #[inline]
    pub fn add(&self, nanos: u64) {
        let buckets = self.0.get_or_init(|| (0..BUCKETS).map(|_| Counter::default()).collect());
        buckets[bucket_of(nanos.min(NANOS_MAX))].add(1);
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.get().into_iter().flatten().for_each(Counter::reset);
    }

    /// Adds what was counted to a sum over threads.
    pub fn add_to(&self, sum: &mut Latencies) {
        let Some(buckets) = self.0.get() else { return };
        sum.0.resize(BUCKETS, 0);
        sum.0.iter_mut().zip(buckets).for_each(|(sum, count)| *sum += count.get());
    }
}

/// The histograms of all threads together.
#[derive(Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Values counted.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The value, in nanoseconds, that `percent` of the values do not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0 * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return bucket_end(bucket);
            }
        }
        0
    }

    /// Values not longer than each power of two of microseconds, as LATENCY HISTOGRAM shows them:
    /// only where the number grows.
    pub fn cumulative_micros(&self) -> Vec<(u64, u64)> {
        let mut rows: Vec<(u64, u64)> = Vec::new();
        let mut seen = 0;
        let mut limit = 1u64;
        let mut shown = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            while bucket_end(bucket) > limit * 1024 {
                if seen > shown {
                    rows.push((limit, seen));
                    shown = seen;
                }
                limit *= 2;
            }
            seen += count;
        }
        if seen > shown {
            rows.push((limit, seen));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        let mut end_before = None;
        for bucket in 0..BUCKETS {
            let end = bucket_end(bucket);
            assert_eq!(bucket_of(end), bucket);
            if let Some(before) = end_before {
                assert_eq!(bucket_of(before + 1), bucket);
            }
            end_before = Some(end);
        }
    }

    #[test]
    fn percentiles_are_near_the_values_counted() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.add(micros * 1000));
        let mut sum = Latencies::default();
        histogram.add_to(&mut sum);
        assert_eq!(sum.count(), 1000);
        let median = sum.percentile(50.0);
        assert!((500_000..520_000).contains(&median), "{median}");
        assert!(sum.percentile(100.0) >= 1_000_000);
        assert_eq!(sum.cumulative_micros().last().map(|(_, count)| *count), Some(1000));
    }
}
