//! Decides whether a concurrent history of one key is linearizable.
//!
//! Threads note when each operation was called and when it returned, on one [`Clock`]. The history is linearizable
//! when every operation can be given a single moment between its call and its return such that, one after another in
//! that order, a sequential [`Model`] gives the same results. Keys are independent in a linearizable store (the
//! property is local), so histories are recorded and checked per key, which keeps them small.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memoisation: try
//! every operation that was called before the first return, step the model, go deeper, come back when stuck; a set of
//! operations that led to a state already seen is not tried again. The problem is NP-complete, so the search counts
//! its steps and gives up loudly ([`Verdict::Undecided`]) rather than run for ever.
//!
//! ```text
//!   thread 1   |-- incr → 1 --|        |-- read → 2 --|
//!   thread 2         |---- incr → 2 ----|                    linearizable: incr, incr, read
//! ```
//!
//! An operation whose reply never came (a killed connection) may have happened at any time after its call or not at
//! all; it is recorded without a result.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most steps that one search takes before it gives up.
const STEP_LIMIT: u64 = 50_000_000;

/// A sequential object, the meaning of the operations.
pub trait Model {
    /// What the object holds.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Call: Clone + Debug;
    /// What it answers.
    type Answer: Clone + Debug;

    /// Gives the state before the first operation.
    fn initial(&self) -> Self::State;

    /// Applies a call. Gives the state after it, or nothing when `answer` could not have come from `state`. A call
    /// without answer may have had any result.
    fn step(&self, state: &Self::State, call: &Self::Call, answer: Option<&Self::Answer>) -> Option<Self::State>;
}

/// An operation of a history.
#[derive(Clone, Debug)]
pub struct Operation<C, A> {
    /// When it was called, in ticks of the clock.
    pub called: u64,
    /// When it returned, in ticks of the clock; nothing for an operation whose answer never came.
    pub returned: Option<u64>,
    /// What was asked.
    pub call: C,
    /// What was answered.
    pub answer: Option<A>,
}

/// Gives out moments: later calls get larger numbers, on whatever thread they are made.
#[derive(Debug, Default)]
pub struct Clock {
    ticks: AtomicU64,
}

impl Clock {
    /// Gives the next moment.
    pub fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Runs an operation and notes when it was called and when it returned. `None` from `run` means no answer came.
    pub fn record<C, A>(&self, call: C, run: impl FnOnce(&C) -> Option<A>) -> Operation<C, A> {
        let called = self.tick();
        let answer = run(&call);
        let returned = answer.is_some().then(|| self.tick());
        Operation { called, returned, call, answer }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An order exists.
    Linearizable,
    /// No order exists. The text shows the operations at which the longest order got stuck.
    Violation(String),
    /// The search took more steps than it may; record shorter histories.
    Undecided,
}

/// Checks the history of one key.
pub fn check<M: Model>(model: &M, history: &[Operation<M::Call, M::Answer>]) -> Verdict {
    Search::new(model, history).run()
}

/// Asserts that the history of one key is linearizable.
///
/// # Panics
/// When it is not, or when that could not be decided.
#[track_caller]
pub fn assert_linearizable<M: Model>(model: &M, name: &str, history: &[Operation<M::Call, M::Answer>]) {
    match check(model, history) {
        Verdict::Linearizable => {}
        Verdict::Violation(stuck) => panic!("{name} is not linearizable; no order gets past\n{stuck}"),
        Verdict::Undecided => panic!("{name}: {} operations are too many to decide", history.len()),
    }
}

/// A depth-first search over orders. Operations are sorted by their call and linked into a list from which those that
/// have their place in the order are taken out; `next[i]` of a removed entry stays, so that putting it back is cheap.
struct Search<'a, M: Model> {
    model: &'a M,
    operations: Vec<&'a Operation<M::Call, M::Answer>>,
    /// Index of the next operation in call order, with the list's head at the end of the vector.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// One bit per operation that has its place.
    placed: Vec<u64>,
    /// Operations with an answer that have no place yet.
    open: usize,
    seen: HashSet<(Vec<u64>, M::State)>,
}

/// A decision that can be taken back: this operation was placed when the object was in this state.
struct Placed<S> {
    index: usize,
    before: S,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [Operation<M::Call, M::Answer>]) -> Self {
        let mut operations: Vec<_> = history.iter().collect();
        operations.sort_by_key(|operation| operation.called);
        let count = operations.len();
        // The head of the circular list is index `count`.
        let next = (0..=count).map(|index| (index + 1) % (count + 1)).collect();
        let previous = (0..=count).map(|index| (index + count) % (count + 1)).collect();
        let open = operations.iter().filter(|operation| operation.returned.is_some()).count();
        let placed = vec![0; count.div_ceil(64)];
        Self { model, operations, next, previous, placed, open, seen: HashSet::new() }
    }

    fn run(mut self) -> Verdict {
        let head = self.operations.len();
        let mut state = self.model.initial();
        let mut order: Vec<Placed<M::State>> = Vec::new();
        let mut candidate = self.next[head];
        let mut stuck = (usize::MAX, String::new());
        for _ in 0..STEP_LIMIT {
            if self.open == 0 {
                return Verdict::Linearizable;
            }
            let deadline = self.first_return();
            if candidate != head && self.operations[candidate].called < deadline {
                let index = candidate;
                candidate = self.next[index];
                if let Some(after) = self.try_place(index, &state) {
                    order.push(Placed { index, before: std::mem::replace(&mut state, after) });
                    candidate = self.next[head];
                }
                continue;
            }
            // No operation that may come next fits: take back the last decision and try what follows it.
            if self.open < stuck.0 {
                stuck = (self.open, self.describe(&state, deadline));
            }
            let Some(last) = order.pop() else { return Verdict::Violation(stuck.1) };
            self.put_back(last.index);
            state = last.before;
            candidate = self.next[last.index];
        }
        Verdict::Undecided
    }

    /// The earliest return among operations without a place: none may be placed that was called later.
    fn first_return(&self) -> u64 {
        let head = self.operations.len();
        let mut earliest = u64::MAX;
        let mut index = self.next[head];
        while index != head && self.operations[index].called < earliest {
            earliest = earliest.min(self.operations[index].returned.unwrap_or(u64::MAX));
            index = self.next[index];
        }
        earliest
    }

    fn try_place(&mut self, index: usize, state: &M::State) -> Option<M::State> {
        let operation = self.operations[index];
        let after = self.model.step(state, &operation.call, operation.answer.as_ref())?;
        self.placed[index / 64] |= 1 << (index % 64);
        if !self.seen.insert((self.placed.clone(), after.clone())) {
            self.placed[index / 64] &= !(1 << (index % 64));
            return None;
        }
        let (before, behind) = (self.previous[index], self.next[index]);
        self.next[before] = behind;
        self.previous[behind] = before;
        self.open -= usize::from(operation.returned.is_some());
        Some(after)
    }

    fn put_back(&mut self, index: usize) {
        let (before, behind) = (self.previous[index], self.next[index]);
        self.next[before] = index;
        self.previous[behind] = index;
        self.placed[index / 64] &= !(1 << (index % 64));
        self.open += usize::from(self.operations[index].returned.is_some());
    }

    fn describe(&self, state: &M::State, deadline: u64) -> String {
        let mut text = format!("  state {state:?}, where none of these could come next:");
        let waiting = (0..self.operations.len())
            .filter(|index| self.placed[index / 64] & (1 << (index % 64)) == 0)
            .map(|index| self.operations[index])
            .filter(|operation| operation.called < deadline);
        for operation in waiting {
            text += &format!("\n  {:?} → {:?}", operation.call, operation.answer);
        }
        text
    }
}

/// A register that holds a value or nothing: `SET`, `GET`, `SET … GET`, `DEL`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What is asked of a [`Register`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterCall {
    /// Gives the value.
    Read,
    /// Stores a value; the answer is not looked at.
    Write(u64),
    /// Stores a value (or nothing) and gives the old one.
    Swap(Option<u64>),
}

impl Model for Register {
    type State = Option<u64>;
    type Call = RegisterCall;
    type Answer = Option<u64>;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, call: &Self::Call, answer: Option<&Self::Answer>) -> Option<Self::State> {
        let fits = answer.is_none_or(|answer| answer == state);
        match call {
            RegisterCall::Write(value) => Some(Some(*value)),
            RegisterCall::Read => fits.then_some(*state),
            RegisterCall::Swap(value) => fits.then_some(*value),
        }
    }
}

/// A counter that starts at zero and answers with its value after the call: `INCRBY`; a read adds zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// What is asked of a [`Counter`]: add this much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Add(pub i64);

impl Model for Counter {
    type State = i64;
    type Call = Add;
    type Answer = i64;

    fn initial(&self) -> Self::State {
        0
    }

    fn step(&self, state: &Self::State, call: &Self::Call, answer: Option<&Self::Answer>) -> Option<Self::State> {
        let after = state.wrapping_add(call.0);
        answer.is_none_or(|answer| *answer == after).then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use std::sync::Mutex;

    fn operation<C, A>(called: u64, returned: u64, call: C, answer: A) -> Operation<C, A> {
        Operation { called, returned: Some(returned), call, answer: Some(answer) }
    }

    #[test]
    fn overlapping_operations_may_swap() {
        let history = [
            operation(0, 5, RegisterCall::Write(1), None),
            operation(1, 2, RegisterCall::Read, Some(1)),
            operation(3, 4, RegisterCall::Read, Some(1)),
        ];
        assert_eq!(check(&Register, &history), Verdict::Linearizable);
    }

    #[test]
    fn a_value_does_not_come_back() {
        let history = [
            operation(0, 9, RegisterCall::Write(1), None),
            operation(1, 2, RegisterCall::Read, Some(1)),
            operation(3, 4, RegisterCall::Read, None),
        ];
        let Verdict::Violation(stuck) = check(&Register, &history) else { panic!("a stale read passed") };
        assert!(stuck.contains("Read → Some(None)"), "{stuck}");
    }

    #[test]
    fn a_lost_update_is_found() {
        let history = [operation(0, 3, Add(1), 1), operation(1, 2, Add(1), 1), operation(4, 5, Add(0), 1)];
        assert!(matches!(check(&Counter, &history), Verdict::Violation(_)));
    }

    #[test]
    fn an_operation_without_answer_may_have_happened_or_not() {
        let lost = Operation { called: 0, returned: None, call: Add(1), answer: None };
        assert_eq!(check(&Counter, &[lost.clone(), operation(1, 2, Add(0), 1)]), Verdict::Linearizable);
        assert_eq!(check(&Counter, &[lost.clone(), operation(1, 2, Add(0), 0)]), Verdict::Linearizable);
        assert!(matches!(check(&Counter, &[lost, operation(1, 2, Add(0), 2)]), Verdict::Violation(_)));
    }

    /// Records what eight threads do to a counter behind a lock.
    fn recorded() -> Vec<Operation<Add, i64>> {
        let (clock, counter, history) = (Clock::default(), Mutex::new(0_i64), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (clock, counter, history) = (&clock, &counter, &history);
                scope.spawn(move || {
                    let mut random = Random::new(thread);
                    for _ in 0..500 {
                        let done = clock.record(Add(random.between(0, 2)), |add| {
                            let mut value = counter.lock().unwrap();
                            *value += add.0;
                            Some(*value)
                        });
                        history.lock().unwrap().push(done);
                    }
                });
            }
        });
        history.into_inner().unwrap()
    }

    #[test]
    fn real_threads_pass_and_one_wrong_answer_among_thousands_fails() {
        let mut history = recorded();
        assert_eq!(check(&Counter, &history), Verdict::Linearizable);
        // Only one addition can have answered with the total; afterwards none did.
        let last = history.iter_mut().filter(|done| done.call.0 > 0).max_by_key(|done| done.answer).unwrap();
        last.answer = last.answer.map(|answer| answer - 1);
        assert!(matches!(check(&Counter, &history), Verdict::Violation(_)));
    }
}
