//! A breaker between the services and a store that is gone.
//!
//! ```text
//!            n outages in a row, within t           a pause later, with one call
//! closed ────────────────────────────────► open ────────────────────────────────► half open
//!   ▲                                        ▲                                      │    │
//!   │                                        └──────────── nothing answered ────────┘    │
//!   └───────────────────────────────────── the store answered ───────────────────────────┘
//! ```
//!
//! While it is open calls fail at once with [`Error::Unavailable`], instead of waiting for a timeout each and piling up
//! upon a store that is trying to come back. What counts is that nothing answered: connections refused or lost, and
//! timeouts. An error reply is an answer, also one that refuses service for now (loading, out of memory).
//!
//! One breaker stands before the whole backend. On a Cluster calls to the nodes that live keep it closed; calls to the
//! one that died wait for their timeouts, until another takes its slots.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// When the breaker opens and how soon it tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitPolicy {
    /// Outages in a row that open it, at most [`MAX_OUTAGES`]. Default 5; 0 keeps it closed for ever.
    pub outages: usize,
    /// Span within which they must lie. Default 30 s.
    pub within: Duration,
    /// How long it stays open before one call may try. Default 1 s.
    pub pause: Duration,
}

/// Most outages that can be waited for.
pub const MAX_OUTAGES: usize = 10_000;

impl Default for CircuitPolicy {
    fn default() -> Self {
        Self { outages: 5, within: Duration::from_secs(30), pause: Duration::from_secs(1) }
    }
}

/// Where the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls reach the store.
    Closed,
    /// One call tries whether the store is back; the others fail at once.
    HalfOpen,
    /// Calls fail at once.
    Open,
}

impl CircuitState {
    /// Returns the state's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The store answered, whatever it said.
    Answered,
    /// Nothing answered.
    Outage,
}

/// The breaker.
#[derive(Debug)]
pub(super) struct Circuit {
    policy: CircuitPolicy,
    /// Whether there is anything but calls that are answered; otherwise nothing is locked.
    troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// When the last outages in a row were, oldest first; at most [`CircuitPolicy::outages`].
    Closed(VecDeque<Instant>),
    Open(Instant),
    HalfOpen,
}

impl Circuit {
    /// Makes a breaker that is closed.
    pub(super) fn new(policy: CircuitPolicy) -> Self {
        let policy = CircuitPolicy { outages: policy.outages.min(MAX_OUTAGES), ..policy };
        Self { policy, troubled: AtomicBool::new(false), state: Mutex::new(State::Closed(VecDeque::new())) }
    }

    /// Tells where the breaker stands.
    pub(super) fn state(&self) -> CircuitState {
        match *self.lock() {
            State::Closed(_) => CircuitState::Closed,
            State::Open(_) => CircuitState::Open,
            State::HalfOpen => CircuitState::HalfOpen,
        }
    }

    /// Lets a call through, or fails at once.
    pub(super) fn admit(&self) -> Result<Pass<'_>> {
        if !self.troubled.load(Ordering::Acquire) {
            return Ok(Pass { circuit: self, tries: false });
        }
        let mut state = self.lock();
        match *state {
            State::Closed(_) => Ok(Pass { circuit: self, tries: false }),
            State::Open(since) if since.elapsed() >= self.policy.pause => {
                *state = State::HalfOpen;
                Ok(Pass { circuit: self, tries: true })
            }
            State::Open(_) | State::HalfOpen => {
                let outages = self.policy.outages;
                Err(Error::Unavailable(format!("circuit open after {outages} outages in a row; not tried")))
            }
        }
    }

    fn answered(&self) {
        if !self.troubled.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.lock();
        if !matches!(*state, State::Closed(_)) {
            tracing::info!("the store answers again: circuit closed");
        }
        *state = State::Closed(VecDeque::new());
        self.troubled.store(false, Ordering::Release);
    }

    /// Notes an outage; tells whether it opened the breaker.
    fn outage(&self, tries: bool) -> bool {
        if self.policy.outages == 0 {
            return false;
        }
        let now = Instant::now();
        let mut state = self.lock();
        let opens = match &mut *state {
            State::Closed(outages) => {
                if outages.len() == self.policy.outages {
                    outages.pop_front();
                }
                outages.push_back(now);
                let first = outages.front().expect("one was put there");
                outages.len() == self.policy.outages && now.duration_since(*first) <= self.policy.within
            }
            State::HalfOpen => tries,
            State::Open(_) => false,
        };
        if opens {
            tracing::warn!(outages = self.policy.outages, "the store does not answer: circuit open");
            *state = State::Open(now);
        }
        self.troubled.store(true, Ordering::Release);
        opens
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let through. One that is dropped before it came to anything leaves the try to another.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    circuit: &'a Circuit,
    tries: bool,
}

impl Pass<'_> {
    /// Says what the call came to; tells whether that opened the breaker.
    pub(super) fn settle(mut self, outcome: Outcome) -> bool {
        let tries = std::mem::take(&mut self.tries);
        match outcome {
            Outcome::Answered => {
                self.circuit.answered();
                false
            }
            Outcome::Outage => self.circuit.outage(tries),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.tries {
            return;
        }
        let mut state = self.circuit.lock();
        if matches!(*state, State::HalfOpen) {
            // Due at once: as far back as the clock allows.
            let now = Instant::now();
            *state = State::Open(now.checked_sub(self.circuit.policy.pause).unwrap_or(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(outages: usize, within: Duration, pause: Duration) -> Circuit {
        Circuit::new(CircuitPolicy { outages, within, pause })
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn fail(circuit: &Circuit) -> bool {
        circuit.admit().unwrap().settle(Outcome::Outage)
    }

    #[test]
    fn opens_after_outages_in_a_row_only() {
        let circuit = circuit(3, LONG, LONG);
        for _ in 0..10 {
            assert!(!fail(&circuit) && !fail(&circuit));
            circuit.admit().unwrap().settle(Outcome::Answered);
        }
        assert!(!fail(&circuit) && !fail(&circuit) && fail(&circuit));
        assert_eq!(circuit.state(), CircuitState::Open);
        assert!(matches!(circuit.admit().unwrap_err(), Error::Unavailable(_)));
    }

    #[test]
    fn outages_far_apart_do_not_open_it() {
        let circuit = circuit(2, Duration::ZERO, LONG);
        for _ in 0..10 {
            assert!(!fail(&circuit));
            // The clock is finer than a call, so two outages are never at one instant.
            let before = Instant::now();
            while Instant::now() == before {}
        }
        assert_eq!(circuit.state(), CircuitState::Closed);
    }

    #[test]
    fn one_call_tries_and_decides() {
        let circuit = circuit(1, LONG, Duration::ZERO);
        assert!(fail(&circuit));
        let trying = circuit.admit().unwrap();
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert!(circuit.admit().is_err(), "only one tries");
        assert!(trying.settle(Outcome::Outage));
        let trying = circuit.admit().unwrap();
        trying.settle(Outcome::Answered);
        assert_eq!(circuit.state(), CircuitState::Closed);
        assert!(circuit.admit().is_ok() && circuit.admit().is_ok());
    }

    #[test]
    fn a_try_that_is_given_up_is_left_to_another() {
        let circuit = circuit(1, LONG, Duration::from_millis(1));
        assert!(fail(&circuit));
        let trying = loop {
            if let Ok(pass) = circuit.admit() {
                break pass;
            }
        };
        drop(trying);
        assert_eq!(circuit.state(), CircuitState::Open);
        assert!(circuit.admit().is_ok());
    }

    #[test]
    fn latecomers_of_the_outage_do_not_decide_the_try() {
        let circuit = circuit(1, LONG, Duration::ZERO);
        let late = circuit.admit().unwrap();
        assert!(fail(&circuit));
        let trying = circuit.admit().unwrap();
        assert!(!late.settle(Outcome::Outage));
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        trying.settle(Outcome::Answered);
        assert_eq!(circuit.state(), CircuitState::Closed);
    }

    #[test]
    fn none_is_a_choice() {
        let circuit = circuit(0, LONG, LONG);
        assert!((0..100).all(|_| !fail(&circuit)));
    }
}
