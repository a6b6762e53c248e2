//! Loading at the start: while it lasts clients are answered, but whoever wants data is told to wait (`-LOADING`), and INFO says how far it has come.
//!
//! Who loads holds no lock between one piece and the next, so what is allowed meanwhile (INFO, CLIENT, CONFIG, SHUTDOWN) runs beside it. The end of the program
//! does not wait for it either: loading is [given up](LoadState::give_up), and nothing of the half that is there is ever saved.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redpoll_keyspace::Millis;

use crate::info::Lines;

/// Whether data is being loaded, and how far that has come.
#[derive(Debug, Default)]
pub struct LoadState {
    is_on: AtomicBool,
    is_given_up: AtomicBool,
    began: AtomicU64,
    total: AtomicU64,
    memory: AtomicU64,
    /// Bytes read so far; whoever reads counts them.
    pub read: AtomicU64,
}

impl LoadState {
    /// Refuses commands that need the data from now on.
    pub fn begin(&self, now: Millis) {
        self.began.store(now, Ordering::Relaxed);
        self.is_on.store(true, Ordering::Release);
    }

    /// Says how many bytes there are to read.
    pub fn expect(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// Says how much memory the data took where it was written, as its files tell.
    pub fn note_memory(&self, bytes: u64) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// Everything is there.
    pub fn end(&self) {
        self.is_on.store(false, Ordering::Release);
    }

    /// Tells whether data is being loaded, or was and is not all there.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Has whoever loads stop soon: the program ends.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }

    /// Tells whether loading is to stop.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    /// Adds what INFO tells while data is being loaded.
    pub(crate) fn tell(&self, lines: &mut Lines, now: Millis) {
        if !self.is_on() {
            return;
        }
        let [began, total, memory, read] =
            [&self.began, &self.total, &self.memory, &self.read].map(|number| number.load(Ordering::Relaxed));
        let elapsed = now.saturating_sub(began) / 1000;
        let left = u128::from(total.saturating_sub(read)) * u128::from(elapsed);
        // Where nothing is known yet, redis-server says a second.
        let seconds_left = left.checked_div(u128::from(read)).unwrap_or(1);
        lines.add("loading_start_time", began / 1000);
        lines.add("loading_total_bytes", total);
        lines.add("loading_rdb_used_mem", memory);
        lines.add("loading_loaded_bytes", read);
        lines.add("loading_loaded_perc", format!("{:.2}", read as f64 * 100.0 / total.max(1) as f64));
        lines.add("loading_eta_seconds", seconds_left);
    }
}
