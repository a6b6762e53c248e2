//! What the routes were asked and how they answered, for the metrics.
//!
//! One row of atomics per operation, made when the router is built, so that counting takes no lock. Statuses are
//! counted by class: the exact status of a failure is in the answer, its rate by class is what one watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;

/// Upper bounds of the time buckets, in microseconds; what took longer is in the last bucket only.
pub(crate) const BUCKETS_MICROS: [u64; 8] = [250, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];

/// Counts of all operations.
#[derive(Debug)]
pub(crate) struct Traffic {
    rows: Box<[Row]>,
}

#[derive(Debug, Default)]
struct Row {
    /// By first digit of the status.
    classes: [AtomicU64; 6],
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    micros: AtomicU64,
}

/// Counts of one operation at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowCounts {
    /// Answers by first digit of the status.
    pub(crate) classes: [u64; 6],
    /// Answers by time, not cumulative; one more than there are bounds.
    pub(crate) buckets: [u64; BUCKETS_MICROS.len() + 1],
    /// Microseconds in all.
    pub(crate) micros: u64,
}

impl Traffic {
    pub(crate) fn new(operations: usize) -> Traffic {
        Traffic { rows: (0..operations).map(|_| Row::default()).collect() }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, operation: usize, status: StatusCode, took: Duration) {
        let row = &self.rows[operation];
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS_MICROS.len());
        row.classes[usize::from(status.as_u16() / 100).min(5)].fetch_add(1, Ordering::Relaxed);
        row.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        row.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the counts of an operation.
    pub(crate) fn counts(&self, operation: usize) -> RowCounts {
        let row = &self.rows[operation];
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RowCounts {
            classes: row.classes.each_ref().map(load),
            buckets: row.buckets.each_ref().map(load),
            micros: load(&row.micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class_and_time() {
        let traffic = Traffic::new(2);
        traffic.answered(1, StatusCode::OK, Duration::from_micros(250));
        traffic.answered(1, StatusCode::NOT_FOUND, Duration::from_micros(251));
        traffic.answered(1, StatusCode::OK, Duration::from_secs(60));
        let counts = traffic.counts(1);
        assert_eq!(counts.classes, [0, 0, 2, 0, 1, 0]);
        assert_eq!(counts.buckets, [1, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(counts.micros, 501 + 60_000_000);
        assert_eq!(traffic.counts(0).classes.iter().sum::<u64>(), 0);
    }
}
