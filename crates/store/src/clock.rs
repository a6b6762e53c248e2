//! The computer's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use redpoll_commands::engine::Clock;

/// Wall time and monotonic time of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Makes a clock.
    pub fn new() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        self.micros() / 1000
    }

    fn micros(&self) -> u64 {
        // A clock before 1970 is a broken machine; time stands still then rather than running wild.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }

    fn ticks(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}
