//! Counts of what happened, for INFO.
//!
//! Counting must not make cores wait for each other, so every counter exists once per slot; a session counts in its own slot and readers add up.
//!
//! A command that ran is counted by adding its time to a sum and to a histogram, whose total is the number of calls: two additions. The histogram of a
//! command comes into being when a slot first runs it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::histogram::{Distribution, Histogram};
use crate::rates::{PerSecond, Rates, Sums};

/// Number of slots; sessions share them round robin.
const SLOTS: usize = 8;

/// Number of different error codes that are counted by name; further ones are counted together, as Redis does.
const ERROR_CODES_MAX: usize = 128;

/// What one command did in one slot.
#[derive(Debug, Default)]
struct Command {
    /// Those that ran while `latency-tracking` was off.
    untracked: AtomicU64,
    /// Those that ran while it was on.
    histogram: OnceLock<Box<Histogram>>,
    nanos: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

impl Command {
    fn calls(&self) -> u64 {
        self.untracked.load(Ordering::Relaxed) + self.histogram.get().map_or(0, |histogram| histogram.total())
    }
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
    /// Clients disconnected because all together took too much memory.
    pub evicted_clients: AtomicU64,
    /// Bytes received.
    pub input_bytes: AtomicU64,
    /// Bytes sent.
    pub output_bytes: AtomicU64,
    /// Sweeps cut short because they took their share of time.
    pub expire_cycles_cut: AtomicU64,
    /// Time spent on sweeps, nanoseconds.
    pub expire_nanos: AtomicU64,
}

/// A count on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Changes(AtomicU64);

/// All counts.
#[derive(Debug)]
pub struct Stats {
    slots: Box<[Box<[Command]>]>,
    /// Everything else.
    pub totals: Totals,
    errors: Mutex<BTreeMap<String, u64>>,
    /// Changes of data in each slot.
    changes: [Changes; SLOTS],
    rates: Rates,
}

impl Stats {
    pub(crate) fn new(commands: usize) -> Stats {
        let slots = (0..SLOTS).map(|_| (0..commands).map(|_| Command::default()).collect()).collect();
        Stats {
            slots,
            totals: Totals::default(),
            errors: Mutex::default(),
            changes: Default::default(),
            rates: Rates::default(),
        }
    }

    /// Counts a command that ran, with its time.
    #[inline]
    pub(crate) fn ran(&self, slot: usize, id: usize, nanos: u64) {
        let command = &self.slots[slot % SLOTS][id];
        command.nanos.fetch_add(nanos, Ordering::Relaxed);
        command.histogram.get_or_init(Box::default).count(nanos);
    }

    /// Counts a command that ran, with nothing but the sum of times.
    pub(crate) fn ran_untracked(&self, slot: usize, id: usize, nanos: u64) {
        let command = &self.slots[slot % SLOTS][id];
        command.nanos.fetch_add(nanos, Ordering::Relaxed);
        command.untracked.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds time to a command that was counted when it began to wait.
    pub(crate) fn went_on(&self, slot: usize, id: usize, nanos: u64) {
        self.slots[slot % SLOTS][id].nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, slot: usize, id: usize) {
        self.slots[slot % SLOTS][id].failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rejected(&self, slot: usize, id: usize) {
        self.slots[slot % SLOTS][id].rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts changes of data. Nothing sets this count back: what is counted is their difference since something.
    pub(crate) fn changed(&self, slot: usize, changes: u64) {
        self.changes[slot % SLOTS].0.fetch_add(changes, Ordering::Relaxed);
    }

    /// Returns the number of changes of data since the start.
    pub fn changes(&self) -> u64 {
        self.changes.iter().map(|changes| changes.0.load(Ordering::Relaxed)).sum()
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
        let sum = |count: fn(&Command) -> u64| -> u64 { self.slots.iter().map(|slot| count(&slot[id])).sum() };
        CommandStats {
            calls: sum(Command::calls),
            micros: sum(|command| command.nanos.load(Ordering::Relaxed)) / 1000,
            rejected: sum(|command| command.rejected.load(Ordering::Relaxed)),
            failed: sum(|command| command.failed.load(Ordering::Relaxed)),
        }
    }

    /// Returns how long a command took, as far as `latency-tracking` was on.
    pub fn distribution(&self, id: usize) -> Distribution {
        Distribution::sum(self.slots.iter().filter_map(|slot| slot[id].histogram.get()).map(AsRef::as_ref))
    }

    /// Returns the number of commands that ran.
    pub fn commands(&self) -> u64 {
        self.slots.iter().flatten().map(Command::calls).sum()
    }

    /// Looks at the sums, so that rates can be told; called ten times a second.
    pub fn look(&self, ticks: u64) {
        let totals = &self.totals;
        self.rates.add(Sums {
            ticks,
            commands: self.commands(),
            input_bytes: totals.input_bytes.load(Ordering::Relaxed),
            output_bytes: totals.output_bytes.load(Ordering::Relaxed),
        });
    }

    /// Returns what happens per second.
    pub fn rates(&self) -> PerSecond {
        self.rates.per_second()
    }

    /// Returns the error replies by code.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Sets everything to zero (CONFIG RESETSTAT).
    pub fn reset(&self) {
        for command in self.slots.iter().flatten() {
            for counter in [&command.untracked, &command.nanos, &command.rejected, &command.failed] {
                counter.store(0, Ordering::Relaxed);
            }
            if let Some(histogram) = command.histogram.get() {
                histogram.reset();
            }
        }
        let totals = &self.totals;
        for counter in [
            &totals.connections,
            &totals.evicted_clients,
            &totals.rejected_connections,
            &totals.input_bytes,
            &totals.output_bytes,
            &totals.expire_cycles_cut,
            &totals.expire_nanos,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.errors.lock().clear();
        self.rates.reset();
    }
}
