//! How long a command takes, as a distribution.
//!
//! A time is counted in one of [`BUCKETS`] buckets: sixteen for each doubling from 256 nanoseconds to a good quarter of an hour, so a bucket is at most a
//! sixteenth wide. Counting is a few shifts and one atomic addition. What is counted by several slots is added up by readers into a
//! [`Distribution`], which tells percentiles (INFO latencystats) and counts by powers of two (LATENCY HISTOGRAM).
//!
//! It keeps no order and no single values; the slow log does.

use std::sync::atomic::{AtomicU64, Ordering};

/// Logarithm of the shortest time that is told from shorter ones, nanoseconds.
const SHORTEST_LOG: u32 = 8;

/// Logarithm of the time from which all are alike, nanoseconds.
const LONGEST_LOG: u32 = 40;

/// Logarithm of the buckets for each doubling.
const PER_DOUBLING_LOG: u32 = 4;

/// Number of buckets.
const BUCKETS: usize = ((LONGEST_LOG - SHORTEST_LOG) << PER_DOUBLING_LOG) as usize;

/// Counts of times.
#[derive(Debug)]
pub(crate) struct Histogram([AtomicU64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Histogram {
    /// Counts a time.
    #[inline]
    pub(crate) fn count(&self, nanos: u64) {
        self.0[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many times were counted.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn reset(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// Returns the bucket of a time: which doubling it is in, and which sixteenth of that.
#[inline]
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(1 << SHORTEST_LOG);
    let doubling = nanos.ilog2();
    // The leading one of what is left counts as one more doubling, which the subtraction takes off again.
    let leading = (nanos >> (doubling - PER_DOUBLING_LOG)) as usize;
    let bucket = ((doubling - SHORTEST_LOG) << PER_DOUBLING_LOG) as usize + leading - (1 << PER_DOUBLING_LOG);
    bucket.min(BUCKETS - 1)
}

/// Returns the longest time in a bucket, nanoseconds.
fn longest(bucket: usize) -> u64 {
    let (doubling, part) = (bucket >> PER_DOUBLING_LOG, bucket as u64 & ((1 << PER_DOUBLING_LOG) - 1));
    (((1 << PER_DOUBLING_LOG) + part + 1) << (doubling as u32 + SHORTEST_LOG - PER_DOUBLING_LOG)) - 1
}

/// The sum of histograms.
#[derive(Clone, Debug)]
pub struct Distribution(Vec<u64>);

impl Distribution {
    pub(crate) fn sum<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Distribution {
        let mut counts = vec![0; BUCKETS];
        for histogram in histograms {
            counts.iter_mut().zip(&histogram.0).for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
        }
        Distribution(counts)
    }

    /// Returns how many times were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the time that so many percent of all did not exceed, nanoseconds; 0 if there is none.
    pub fn percentile_nanos(&self, percent: f64) -> u64 {
        let rank = ((percent / 100.0 * self.total() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, longest)
    }

    /// Returns for each power of two of about a microsecond how many took no longer, where that is more than for the one before.
    ///
    /// The microseconds are those redis-server prints: its bounds are 1024 nanoseconds and the doubles of that, rounded up by their 128th.
    pub fn by_doubling(&self) -> Vec<(u64, u64)> {
        const FIRST_LOG: u32 = 10;
        let (mut counts, mut seen, mut from) = (Vec::new(), 0, 0);
        for log in FIRST_LOG..=LONGEST_LOG {
            let to = ((log - SHORTEST_LOG) << PER_DOUBLING_LOG) as usize;
            let within: u64 = self.0[from..to].iter().sum();
            from = to;
            seen += within;
            if within > 0 {
                counts.push((((1 << log) + (1 << (log - 7)) - 1) / 1000, seen));
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_lie_side_by_side() {
        for bucket_of in 0..BUCKETS - 1 {
            assert_eq!(bucket(longest(bucket_of)), bucket_of);
            assert_eq!(bucket(longest(bucket_of) + 1), bucket_of + 1);
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn percentiles_are_right_to_a_sixteenth() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.count(micros * 1000));
        let distribution = Distribution::sum([&histogram, &Histogram::default()].into_iter());
        assert_eq!((distribution.total(), histogram.total()), (1000, 1000));
        for percent in [0.1, 1.0, 50.0, 99.0, 99.9, 100.0] {
            let (exact, found) = (percent * 10_000.0, distribution.percentile_nanos(percent) as f64);
            assert!(found >= exact && found <= exact * (1.0 + 1.0 / 16.0) + 1.0, "{percent}: {found}");
        }
        histogram.reset();
        assert_eq!(Distribution::sum(std::iter::once(&histogram)).percentile_nanos(50.0), 0);
    }

    #[test]
    fn doublings_are_named_as_redis_names_them() {
        let histogram = Histogram::default();
        [500, 1500, 1500, 20_000, 40_000, 2_000_000].into_iter().for_each(|nanos| histogram.count(nanos));
        let by_doubling = Distribution::sum(std::iter::once(&histogram)).by_doubling();
        assert_eq!(by_doubling, [(1, 1), (2, 3), (33, 4), (66, 5), (2113, 6)]);
    }
}
