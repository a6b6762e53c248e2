//! Whether the log can be written: while the disk refuses, so do commands that write.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, log_failing};

/// Whether the log can be written, and what the disk said if not: commands that write are refused then. Asking costs one relaxed load.
#[derive(Debug, Default)]
pub struct LogHealth {
    failing: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl LogHealth {
    /// Takes over what the disk said last, nothing if it is well; returns what was known before.
    pub fn note(&self, failure: Option<String>) -> Option<String> {
        let mut reason = self.reason.lock();
        self.failing.store(failure.is_some(), Ordering::Relaxed);
        std::mem::replace(&mut *reason, failure)
    }

    /// Tells whether the disk refuses.
    #[inline]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Returns the refusal of a command that writes; none if the disk has recovered.
    #[cold]
    pub fn refusal(&self) -> Option<Error> {
        self.reason.lock().as_deref().map(log_failing)
    }
}
