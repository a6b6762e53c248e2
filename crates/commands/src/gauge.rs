//! Bytes held for somebody, and their sum over everybody.
//!
//! What clients take must be known before every command while memory is limited. Adding up all clients would take too long for that, so each amount that is held for
//! one of them is a gauge: whoever sets it moves the common sum by the difference. Setting what is set already, as an idle buffer does, touches nothing in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sum of gauges.
#[derive(Clone, Debug, Default)]
pub struct GaugeSum(Arc<Padded>);

/// A number with cache lines of its own, since many threads write to it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicUsize);

impl GaugeSum {
    /// Returns the sum.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }
}

/// An amount of bytes; what is left of it goes when it is dropped. One thread at a time changes it, any may read it.
#[derive(Debug, Default)]
pub struct Gauge {
    bytes: AtomicUsize,
    sum: GaugeSum,
}

impl Gauge {
    /// Makes a gauge of nothing that counts into a sum.
    pub fn new(sum: &GaugeSum) -> Gauge {
        Gauge { bytes: AtomicUsize::new(0), sum: sum.clone() }
    }

    /// Returns the amount.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Sets the amount.
    #[inline]
    pub fn set(&self, bytes: usize) {
        let before = self.bytes.load(Ordering::Relaxed);
        if before != bytes {
            self.bytes.store(bytes, Ordering::Release);
            // Wraps like the sum itself: what went is added as its complement.
            self.sum.0.0.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_follows() {
        let sum = GaugeSum::default();
        let (one, other) = (Gauge::new(&sum), Gauge::new(&sum));
        one.set(100);
        other.set(20);
        assert_eq!((one.bytes(), sum.bytes()), (100, 120));
        one.set(5);
        assert_eq!(sum.bytes(), 25);
        drop(other);
        assert_eq!(sum.bytes(), 5);
    }
}
