//! How many bytes the data set takes, known at any moment without a look at the shards.
//!
//! Each shard counts under its own lock, which is exact and free, but a sum of a thousand shards is too slow to be asked for before every command. While there is
//! a limit to hold (`maxmemory`), a shard therefore tells the tally what has changed:
//!
//! ```text
//! Account (under the shard's lock)   used ── told      once they differ by more than the tolerance: sum += used − told
//! Tally   (shared by all)            sum of all told
//! ```
//!
//! The tolerance is zero for small limits and a share of large ones, so that writers on many processors do not all write to one cache line with every
//! command; the sum is off by less than a hundredth of the limit then. Without a limit nothing is told, and the check for it is the comparison that would be made anyway.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// The tolerance with which nothing is ever told.
const SILENT: usize = usize::MAX;

/// What all shards have told.
#[derive(Debug)]
pub(crate) struct Tally {
    sum: CachePadded<AtomicUsize>,
    tolerance: AtomicUsize,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { sum: CachePadded::default(), tolerance: AtomicUsize::new(SILENT) }
    }
}

impl Tally {
    #[inline]
    pub(crate) fn sum(&self) -> usize {
        self.sum.load(Ordering::Relaxed)
    }

    /// Returns within how many bytes each shard is to tell what it takes; none if nobody asks.
    #[inline]
    pub(crate) fn tolerance(&self) -> Option<usize> {
        Some(self.tolerance.load(Ordering::Relaxed)).filter(|tolerance| *tolerance != SILENT)
    }

    /// Notes what the accounts of all shards are told next.
    pub(crate) fn set_tolerance(&self, tolerance: Option<usize>) {
        self.tolerance.store(tolerance.unwrap_or(SILENT), Ordering::Relaxed);
    }
}

/// What one shard takes, and how much of it the tally knows.
#[derive(Debug)]
pub(crate) struct Account {
    used: usize,
    told: usize,
    tolerance: usize,
}

impl Default for Account {
    fn default() -> Account {
        Account { used: 0, told: 0, tolerance: SILENT }
    }
}

impl Account {
    /// Returns the heap bytes of the shard's entries and tables.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Tells whether somebody wants to know the sum.
    #[inline]
    pub(crate) fn is_asked_for(&self) -> bool {
        self.tolerance != SILENT
    }

    /// Notes that something took `before` bytes and now takes `after`.
    #[inline]
    pub(crate) fn change(&mut self, before: usize, after: usize, tally: &Tally) {
        self.used = self.used + after - before;
        if self.used.abs_diff(self.told) > self.tolerance {
            self.tell(tally);
        }
    }

    /// Tells everything that was not told yet, if anybody wants to know.
    #[cold]
    pub(crate) fn tell(&mut self, tally: &Tally) {
        if self.is_asked_for() {
            // Wraps like the sum itself: what went is added as its complement.
            tally.sum.fetch_add(self.used.wrapping_sub(self.told), Ordering::Relaxed);
            self.told = self.used;
        }
    }

    /// Tells from now on within this tolerance, or takes back what was told.
    pub(crate) fn tell_within(&mut self, tolerance: Option<usize>, tally: &Tally) {
        self.tolerance = tolerance.unwrap_or(SILENT);
        match tolerance {
            Some(_) => self.tell(tally),
            None => {
                tally.sum.fetch_sub(std::mem::take(&mut self.told), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_what_was_told_within_the_tolerance() {
        let tally = Tally::default();
        let mut accounts = [Account::default(), Account::default()];
        accounts[0].change(0, 100, &tally);
        assert_eq!((tally.sum(), tally.tolerance()), (0, None), "nobody asks");
        accounts.iter_mut().for_each(|account| account.tell_within(Some(10), &tally));
        assert_eq!(tally.sum(), 100);
        accounts[1].change(0, 10, &tally);
        assert_eq!(tally.sum(), 100, "within the tolerance");
        accounts[1].change(10, 11, &tally);
        assert_eq!(tally.sum(), 111);
        accounts[0].change(100, 95, &tally);
        accounts[0].tell(&tally);
        assert_eq!(tally.sum(), 106, "what went is told when asked");
        accounts[0].tell_within(None, &tally);
        assert_eq!(tally.sum(), 11);
        accounts[0].change(95, 1000, &tally);
        accounts[0].tell_within(Some(0), &tally);
        assert_eq!(tally.sum(), 1011, "asked for again, everything is told");
    }
}
