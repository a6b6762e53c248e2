//! Counts of what happened, for INFO.
//!
//! Counting must not make cores wait for each other, so every counter exists once per slot; a session counts in its own slot and readers add up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Number of slots; sessions share them round robin.
const SLOTS: usize = 8;

/// Number of different error codes that are counted by name; further ones are counted together, as Redis does.
const ERROR_CODES_MAX: usize = 128;

/// What one command did in one slot.
#[derive(Debug, Default)]
struct Command {
    calls: AtomicU64,
    nanos: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

/// The sums for one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandStats {
    /// Times it ran.
    pub calls: u64,
    /// Microseconds it took in all.
    pub micros: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and failed.
    pub failed: u64,
}

/// Counters that belong to no single command.
#[derive(Debug, Default)]
pub struct Totals {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because there were too many.
    pub rejected_connections: AtomicU64,
    /// Bytes received.
    pub input_bytes: AtomicU64,
    /// Bytes sent.
    pub output_bytes: AtomicU64,
    /// Sweeps cut short because they took their share of time.
    pub expire_cycles_cut: AtomicU64,
}

/// All counts.
#[derive(Debug)]
pub struct Stats {
    slots: Box<[Box<[Command]>]>,
    /// Everything else.
    pub totals: Totals,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Stats {
    pub(crate) fn new(commands: usize) -> Stats {
        let slots = (0..SLOTS).map(|_| (0..commands).map(|_| Command::default()).collect()).collect();
        Stats { slots, totals: Totals::default(), errors: Mutex::default() }
    }

    /// Counts a command that ran.
    #[inline]
    pub(crate) fn ran(&self, slot: usize, id: usize, nanos: u64) {
        let command = &self.slots[slot % SLOTS][id];
        command.calls.fetch_add(1, Ordering::Relaxed);
        command.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, slot: usize, id: usize) {
        self.slots[slot % SLOTS][id].failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rejected(&self, slot: usize, id: usize) {
        self.slots[slot % SLOTS][id].rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an error reply by its code.
    pub(crate) fn error(&self, code: &str) {
        let mut errors = self.errors.lock();
        if errors.len() < ERROR_CODES_MAX || errors.contains_key(code) {
            *errors.entry(code.to_owned()).or_default() += 1;
        }
    }

    /// Returns the sums for a command.
    pub fn command(&self, id: usize) -> CommandStats {
        let sum = |count: fn(&Command) -> &AtomicU64| -> u64 {
            self.slots.iter().map(|slot| count(&slot[id]).load(Ordering::Relaxed)).sum()
        };
        CommandStats {
            calls: sum(|command| &command.calls),
            micros: sum(|command| &command.nanos) / 1000,
            rejected: sum(|command| &command.rejected),
            failed: sum(|command| &command.failed),
        }
    }

    /// Returns the number of commands that ran.
    pub fn commands(&self) -> u64 {
        self.slots.iter().flatten().map(|command| command.calls.load(Ordering::Relaxed)).sum()
    }

    /// Returns the error replies by code.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Sets everything to zero (CONFIG RESETSTAT).
    pub fn reset(&self) {
        for command in self.slots.iter().flatten() {
            for counter in [&command.calls, &command.nanos, &command.rejected, &command.failed] {
                counter.store(0, Ordering::Relaxed);
            }
        }
        let totals = &self.totals;
        for counter in [
            &totals.connections,
            &totals.rejected_connections,
            &totals.input_bytes,
            &totals.output_bytes,
            &totals.expire_cycles_cut,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.errors.lock().clear();
    }
}
