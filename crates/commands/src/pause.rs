//! CLIENT PAUSE: holding commands back for a while.

use std::sync::atomic::{AtomicU64, Ordering};

use redpoll_keyspace::Millis;

/// Until when commands are held back.
#[derive(Debug, Default)]
pub struct Pause {
    writes_until: AtomicU64,
    all_until: AtomicU64,
}

impl Pause {
    /// Holds back commands until a time; a running pause is never shortened.
    pub fn pause_all(&self, until: Millis) {
        self.all_until.fetch_max(until, Ordering::AcqRel);
    }

    /// Holds back commands that write until a time; a running pause is never shortened.
    pub fn pause_writes(&self, until: Millis) {
        self.writes_until.fetch_max(until, Ordering::AcqRel);
    }

    /// Ends the pause.
    pub fn end(&self) {
        self.all_until.store(0, Ordering::Release);
        self.writes_until.store(0, Ordering::Release);
    }

    /// Returns until when a command must wait, if it must.
    #[inline]
    pub fn holds(&self, writes: bool, now: Millis) -> Option<Millis> {
        let all = self.all_until.load(Ordering::Acquire);
        let until = if writes { all.max(self.writes_until.load(Ordering::Acquire)) } else { all };
        (until > now).then_some(until)
    }
}
