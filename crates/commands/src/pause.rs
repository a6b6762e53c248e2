//! CLIENT PAUSE: holding commands back for a while.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use redpoll_keyspace::Millis;

/// Until when commands are held back.
#[derive(Debug, Default)]
pub struct Pause {
    writes_until: AtomicU64,
    all_until: AtomicU64,
    /// Clients that are being held back.
    held: AtomicUsize,
}

/// A client that is being held back, for as long as this value lives.
#[derive(Debug)]
pub struct HeldBack<'a>(&'a Pause);

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
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

    /// Tells whether anything is held back, so that nothing is to change by itself either: what expires stays where it is, out of sight.
    #[inline]
    pub fn is_on(&self, now: Millis) -> bool {
        self.holds(true, now).is_some()
    }

    /// Counts a client that waits for the end of the pause.
    pub fn hold_back(&self) -> HeldBack<'_> {
        self.held.fetch_add(1, Ordering::Relaxed);
        HeldBack(self)
    }

    /// Returns the number of clients that are being held back.
    pub(crate) fn held_clients(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}
