//! The computer's clock.
//!
//! Reading both clocks of the operating system costs a command more than some commands do. So wall time is derived from the monotonic clock
//! (the processor's time stamp counter, where it is steady) and the difference of the two, which the housekeeper measures anew ten times a second: a change of the wall clock is followed that late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quanta::Instant;
use redpoll_commands::engine::{Clock, Moment};

/// Times both clocks are looked at to find their difference, if the looks are far apart.
const MEASUREMENTS_MAX: usize = 8;

/// Looks that are no farther apart than this are good enough, nanoseconds.
const GAP_NANOS: u64 = 20_000;

/// Only by as much as this does the wall clock count as set back, nanoseconds.
const SET_BACK_NANOS: u64 = 1_000_000;

/// Wall time and monotonic time of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    /// Nanoseconds since the epoch at `started`, as last measured.
    epoch_nanos: AtomicU64,
}

impl SystemClock {
    /// Makes a clock.
    pub fn new() -> SystemClock {
        let clock = SystemClock { started: Instant::now(), epoch_nanos: AtomicU64::new(0) };
        clock.synchronise();
        clock
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn moment(&self) -> Moment {
        let ticks = self.ticks();
        Moment { now: (self.epoch_nanos.load(Ordering::Relaxed) + ticks) / 1_000_000, ticks }
    }

    fn now(&self) -> u64 {
        self.moment().now
    }

    fn micros(&self) -> u64 {
        self.micros_at(self.ticks())
    }

    fn micros_at(&self, ticks: u64) -> u64 {
        (self.epoch_nanos.load(Ordering::Relaxed) + ticks) / 1000
    }

    fn ticks(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn synchronise(&self) {
        let measure = || {
            let before = self.ticks();
            // A clock before 1970 is a broken machine; time starts at the epoch then rather than running wild.
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
            let after = self.ticks();
            (after.saturating_sub(before), wall.saturating_sub(before))
        };
        // On a busy machine this thread may lose the processor between two looks, which would set time off by as much.
        let mut best = measure();
        for _ in 1..MEASUREMENTS_MAX {
            if best.0 <= GAP_NANOS {
                break;
            }
            best = best.min(measure());
        }
        // Two looks differ by what lies between them; time does not go back for that.
        let known = self.epoch_nanos.load(Ordering::Relaxed);
        if best.1 >= known || known - best.1 >= SET_BACK_NANOS {
            self.epoch_nanos.store(best.1, Ordering::Relaxed);
        }
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}
