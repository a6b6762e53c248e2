//! The way to tell a thread that it is to stop, which wakes it if it rests.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Whether work is to stop.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    wanted: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    /// Tells the worker to stop.
    pub(crate) fn demand(&self) {
        *self.wanted.lock() = true;
        self.told.notify_all();
    }

    /// Tells whether the worker is to stop.
    pub(crate) fn is_demanded(&self) -> bool {
        *self.wanted.lock()
    }

    /// Lets time pass, unless the worker is to stop.
    pub(crate) fn rest(&self, time: Duration) {
        let mut wanted = self.wanted.lock();
        if !*wanted && !time.is_zero() {
            self.told.wait_while_for(&mut wanted, |wanted| !*wanted, time);
        }
    }
}
