//! The turn: who holds the gate exclusively, and what the others do meanwhile.
//!
//! A script holds the gate exclusively for as long as it runs, which may be for ever. Who wants the gate meanwhile waits here instead of at its lock, because a lock
//! cannot be told to give up: once the script has run longer than `busy-reply-threshold` it says so ([`Turn::declare_busy`]), and everybody waiting
//! leaves with an error, so that their threads can go on to read the SCRIPT KILL that ends it. Every exclusive holder takes the turn before the
//! gate, hence whoever finds the gate shut finds the turn taken, or just given back.
//!
//! What passes the gate shared, which is almost everything, never comes here unless the gate is shut.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::{Condvar, Mutex};
use redpoll_keyspace::{Gate, Keyspace};

use crate::error::{BUSY_FUNCTION, BUSY_SCRIPT, Error};

/// What kind of script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ScriptKind {
    /// EVAL and its relatives.
    Script = 1,
    /// FCALL and its relative.
    Function = 2,
}

impl ScriptKind {
    /// Returns what clients are told while a script of this kind runs too long.
    pub fn busy(self) -> Error {
        match self {
            ScriptKind::Script => BUSY_SCRIPT,
            ScriptKind::Function => BUSY_FUNCTION,
        }
    }
}

/// Whose turn it is to hold the gate exclusively.
#[derive(Debug, Default)]
pub struct Turn {
    taken: Mutex<bool>,
    changed: Condvar,
    /// A [`ScriptKind`] while a script of it runs too long, else 0.
    busy: AtomicU8,
}

/// The gate, passed in turn.
pub(crate) struct Passage<'e> {
    /// Dropped before the turn is given back: who is woken by that finds the gate open.
    pub(crate) gate: Gate<'e>,
    /// It was shut at first.
    pub(crate) waited: bool,
    _turn: Option<Taken<'e>>,
}

struct Taken<'e>(&'e Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.busy.store(0, Ordering::Relaxed);
        *self.0.taken.lock() = false;
        self.0.changed.notify_all();
    }
}

impl Turn {
    /// Returns the kind of the script that runs too long, if one does.
    #[inline]
    pub fn busy(&self) -> Option<ScriptKind> {
        match self.busy.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(ScriptKind::Script),
            _ => Some(ScriptKind::Function),
        }
    }

    /// Says that the script whose turn it is runs too long: who waits is sent away.
    pub fn declare_busy(&self, kind: ScriptKind) {
        if self.busy.swap(kind as u8, Ordering::Relaxed) != kind as u8 {
            // Under the lock, lest somebody looks before and goes to sleep after.
            drop(self.taken.lock());
            self.changed.notify_all();
        }
    }

    /// Passes the gate shared.
    #[inline]
    pub(crate) fn enter<'e>(&'e self, keyspace: &'e Keyspace) -> Result<Passage<'e>, Error> {
        match keyspace.try_enter() {
            Some(gate) => Ok(Passage { gate, waited: false, _turn: None }),
            None => self.wait_to_enter(keyspace),
        }
    }

    #[cold]
    fn wait_to_enter<'e>(&'e self, keyspace: &'e Keyspace) -> Result<Passage<'e>, Error> {
        loop {
            if let Some(gate) = keyspace.try_enter() {
                return Ok(Passage { gate, waited: true, _turn: None });
            }
            let mut taken = self.taken.lock();
            if !*taken {
                drop(taken);
                std::thread::yield_now();
                continue;
            }
            if let Some(kind) = self.busy() {
                return Err(kind.busy());
            }
            self.changed.wait(&mut taken);
        }
    }

    /// Passes the gate exclusively.
    pub(crate) fn enter_exclusive<'e>(&'e self, keyspace: &'e Keyspace) -> Result<Passage<'e>, Error> {
        let mut taken = self.taken.lock();
        while *taken {
            if let Some(kind) = self.busy() {
                return Err(kind.busy());
            }
            self.changed.wait(&mut taken);
        }
        *taken = true;
        drop(taken);
        let turn = Taken(self);
        Ok(Passage { gate: keyspace.enter_exclusive(), waited: true, _turn: Some(turn) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_leaves_when_the_holder_is_busy_and_enters_when_it_is_done() {
        let (turn, keyspace) = (Turn::default(), Keyspace::new(1, 1));
        let held = turn.enter_exclusive(&keyspace).expect("it is nobody's turn");
        std::thread::scope(|scope| {
            let shared = scope.spawn(|| turn.enter(&keyspace).map(drop));
            let exclusive = scope.spawn(|| turn.enter_exclusive(&keyspace).map(drop));
            turn.declare_busy(ScriptKind::Script);
            assert_eq!(shared.join().expect("no panic"), Err(BUSY_SCRIPT));
            assert_eq!(exclusive.join().expect("no panic"), Err(BUSY_SCRIPT));
        });
        drop(held);
        assert_eq!(turn.busy(), None);
        let held = turn.enter_exclusive(&keyspace).expect("it is nobody's turn");
        std::thread::scope(|scope| {
            let waiting = [
                scope.spawn(|| turn.enter(&keyspace).map(drop)),
                scope.spawn(|| turn.enter_exclusive(&keyspace).map(drop)),
            ];
            drop(held);
            waiting.into_iter().for_each(|thread| assert_eq!(thread.join().expect("no panic"), Ok(())));
        });
    }
}
