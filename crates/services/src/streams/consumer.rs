//! A consumer at work: takes entries, hands them to a function, renews their leases meanwhile, and says what became of them.
//!
//! ```text
//! take ─► handle, so many at once ─► done, failed, given up ─► settle, what has ended meanwhile together
//!            └ every third of a lease: renew what is held; what was lost is stopped
//! ```
//!
//! It takes no more than it can begin with at once: an entry that waits in a buffer grows old while nobody works on it, and another takes it back. The order
//! within a key is the group's business, in the store, so that it holds between processes too.
//!
//! Not here: more than one group for a consumer, and what to do with dead letters.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use uuid::Uuid;

use super::group::{Group, GroupOptions, Start};
use super::settle::{Outcome, Settled};
use super::take::{Delivery, TakeOptions, Taken, Ticket};
use crate::batch::MAX_BATCH;
use crate::caught::{Panicked, caught};
use crate::error::Result;
use crate::random;

/// Shortest and longest pause after an outage.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(5);

/// How often an outcome is told to a store that does not answer. After that the entry comes again when its lease ends.
const SETTLE_TRIES: u32 = 8;

/// One wait for entries; then another begins.
const WAIT: Duration = Duration::from_secs(30);

/// A consumer of a group.
#[derive(Debug, Clone)]
pub struct Consumer {
    group: Group,
    name: String,
    concurrency: usize,
    lease: Option<Duration>,
    create: Option<GroupOptions>,
    drain: Duration,
}

/// Why handling an event failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is worth trying again.
    Retry {
        /// What went wrong.
        cause: String,
        /// When; after the group's pause if absent.
        pause: Option<Duration>,
    },
    /// It is not worth trying again.
    GiveUp {
        /// What went wrong.
        cause: String,
    },
    /// It cannot be understood.
    Poison {
        /// Why.
        cause: String,
    },
}

/// Every error is worth trying again, so that handlers can use `?`.
impl<E: StdError> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry { cause: error.to_string(), pause: None }
    }
}

impl Failure {
    /// Makes a failure that is worth trying again.
    pub fn retry(cause: impl Into<String>) -> Self {
        Self::Retry { cause: cause.into(), pause: None }
    }

    /// Makes a failure that is not worth trying again.
    pub fn give_up(cause: impl Into<String>) -> Self {
        Self::GiveUp { cause: cause.into() }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Retry { cause, pause } => Outcome::Failed { cause, pause },
            Self::GiveUp { cause } => Outcome::GivenUp { cause },
            Self::Poison { cause } => Outcome::Poison { cause },
        }
    }
}

/// What a consumer has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ran {
    /// Entries handled and acknowledged.
    pub done: u64,
    /// Failures after which entries will be tried again, and entries handed back at the end.
    pub again: u64,
    /// Entries that became dead letters.
    pub dead: u64,
    /// Entries whose leases were lost, so that nothing could be said of them.
    pub lost: u64,
    /// Times the group was found missing, and made again.
    pub recreated: u64,
}

/// What the parts of a consumer at work share.
#[derive(Debug)]
struct Desk {
    group: Group,
    lease: Option<Duration>,
    /// Entries that are being handled, and how to stop that.
    held: Mutex<HashMap<Ticket, AbortHandle>>,
    words: mpsc::Sender<Word>,
    done: AtomicU64,
    again: AtomicU64,
    dead: AtomicU64,
    lost: AtomicU64,
    recreated: AtomicU64,
}

/// What is to be told of an entry; its sender is dropped when it was.
#[derive(Debug)]
struct Word {
    ticket: Ticket,
    outcome: Outcome,
    told: oneshot::Sender<()>,
}

/// Ends a task with its owner.
struct Tied<T>(JoinHandle<T>);

impl<T> Drop for Tied<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Consumer {
    /// Makes a consumer with a random name that handles one entry at a time.
    pub fn new(group: Group) -> Self {
        let name = Uuid::new_v4().simple().to_string();
        Self { group, name, concurrency: 1, lease: None, create: None, drain: Duration::from_secs(30) }
    }

    /// Gives it a name, under which it is seen among the consumers of the group.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Has it handle up to so many entries at once, at most [`MAX_BATCH`].
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.clamp(1, MAX_BATCH);
        self
    }

    /// Says how long it may give no sign of life before others take its entries.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Has it make the group if it is not there, unless it was deleted. A group that was there and is missing later, because the store was emptied, is made
    /// again from the beginning: whatever is in the stream then, nobody has handled.
    #[must_use]
    pub fn create(mut self, options: GroupOptions) -> Self {
        self.create = Some(options);
        self
    }

    /// Says how long it waits for what it is handling when it is stopped; the rest is handed back.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Works until `stop` is ready: takes entries and gives each to `handle`. Success acknowledges it, a failure has it tried again or given up, a panic is a
    /// failure. When the store cannot be reached, it rests and goes on. Ends with an error when the group was deleted.
    pub async fn run<H, F>(self, handle: H, stop: impl Future<Output = ()>) -> Result<Ran>
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (words, to_tell) = mpsc::channel(MAX_BATCH);
        let desk = Arc::new(Desk::new(self.group.clone(), self.lease, words));
        let _telling = Tied(tokio::spawn(Arc::clone(&desk).tell(to_tell)));
        let lease = self.lease.unwrap_or(self.group.stream().settings().lease);
        let _renewing = Tied(tokio::spawn(Arc::clone(&desk).renew(lease / 3)));
        let mut tasks = JoinSet::new();
        let mut stop = pin!(stop);
        let ended = self.work(&desk, &mut tasks, &handle, &mut stop).await;
        let finish = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain, finish).await.is_err() {
            desk.stop_all();
            while tasks.join_next().await.is_some() {}
        }
        ended.map(|()| desk.ran())
    }

    async fn work<H, F, S>(&self, desk: &Arc<Desk>, tasks: &mut JoinSet<()>, handle: &H, stop: &mut S) -> Result<()>
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
        S: Future<Output = ()> + Unpin,
    {
        let (mut create, mut outages) = (self.create.clone(), 0);
        loop {
            while tasks.len() >= self.concurrency {
                tokio::select! {
                    () = &mut *stop => return Ok(()),
                    _ = tasks.join_next() => {}
                }
            }
            // Whatever has ended makes room.
            while tasks.try_join_next().is_some() {}
            let options = TakeOptions {
                count: self.concurrency - tasks.len(),
                lease: self.lease,
                wait: WAIT,
                create: create.clone(),
                ..TakeOptions::new(&self.name)
            };
            let taken = tokio::select! {
                () = &mut *stop => return Ok(()),
                taken = desk.group.take(&options) => taken,
            };
            match taken {
                Ok(taken) => {
                    outages = 0;
                    desk.note(&taken, &mut create);
                    for delivery in taken.deliveries {
                        let (desk, ticket) = (Arc::clone(desk), delivery.ticket);
                        // What it does before its first wait may panic too.
                        match caught(|| handle(delivery)) {
                            Ok(work) => tasks.spawn(desk.handle(ticket, work)),
                            Err(Panicked(cause)) => {
                                tasks.spawn(desk.handle(ticket, async { Err(Failure::retry(cause)) }))
                            }
                        };
                    }
                }
                Err(error) if error.is_outage() => {
                    tracing::debug!(%error, "the consumer rests");
                    tokio::select! {
                        () = &mut *stop => return Ok(()),
                        () = tokio::time::sleep(rest(outages)) => outages += 1,
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Desk {
    fn new(group: Group, lease: Option<Duration>, words: mpsc::Sender<Word>) -> Self {
        let zero = AtomicU64::default;
        Self {
            group,
            lease,
            held: Mutex::default(),
            words,
            done: zero(),
            again: zero(),
            dead: zero(),
            lost: zero(),
            recreated: zero(),
        }
    }

    /// Tells of what happened to the group. From the first time on that it was there, one that is missing has been lost.
    fn note(&self, taken: &Taken, create: &mut Option<GroupOptions>) {
        let group = self.group.name();
        if let Some(create) = create {
            if taken.created && create.start == Start::Beginning {
                tracing::warn!(group, "the group was not there and has been made");
            }
            create.start = Start::Beginning;
        }
        if taken.restored {
            tracing::warn!(group, "the group had been destroyed and has been restored");
        }
        if taken.missed > 0 {
            tracing::warn!(group, missed = taken.missed, "entries were dropped before the group read them");
        }
        self.recreated.fetch_add(u64::from(taken.created) + u64::from(taken.restored), Ordering::Relaxed);
    }

    /// Handles an entry and says what became of it.
    async fn handle<F>(self: Arc<Self>, ticket: Ticket, work: F)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut working = Tied(tokio::spawn(work));
        self.hold(ticket, working.0.abort_handle());
        let outcome = match (&mut working.0).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(failure)) => failure.outcome(),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Failure::retry(Panicked::of(&*panic).0).outcome(),
                // It was stopped.
                Err(_) => Outcome::Released { delay: Duration::ZERO },
            },
        };
        self.conclude(ticket, outcome).await;
    }

    /// Has it told what became of an entry, and returns when it was.
    async fn conclude(self: Arc<Self>, ticket: Ticket, outcome: Outcome) {
        let outcome = match outcome.check() {
            Ok(()) => outcome,
            Err(error) => {
                let cause = format!("what the handler answered cannot be kept: {error}");
                Outcome::Failed { cause, pause: None }
            }
        };
        let (told, was_told) = oneshot::channel();
        // It fails only when the consumer is dropped, and this with it.
        if self.words.send(Word { ticket, outcome, told }).await.is_ok() {
            let _ = was_told.await;
        }
    }

    /// Tells what became of entries, all that have ended since the last call in one, and counts them.
    async fn tell(self: Arc<Self>, mut words: mpsc::Receiver<Word>) {
        let mut batch = Vec::new();
        while words.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let (outcomes, _told): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|Word { ticket, outcome, told }| ((ticket, outcome), told)).unzip();
            let settled = self.settle(&outcomes).await.unwrap_or_else(|| vec![Settled::Lost; outcomes.len()]);
            for ((ticket, _), settled) in outcomes.iter().zip(settled) {
                self.let_go(ticket);
                let counter = match settled {
                    Settled::Done => &self.done,
                    Settled::Again => &self.again,
                    Settled::Dead => &self.dead,
                    Settled::Lost => &self.lost,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Tells outcomes, patiently; none if the store never answered.
    async fn settle(&self, outcomes: &[(Ticket, Outcome)]) -> Option<Vec<Settled>> {
        for attempt in 0..SETTLE_TRIES {
            match self.group.settle(outcomes).await {
                Ok(settled) => return Some(settled),
                Err(error) if error.is_outage() => tokio::time::sleep(rest(attempt)).await,
                Err(error) => {
                    tracing::warn!(%error, entries = outcomes.len(), "outcomes could not be told");
                    return None;
                }
            }
        }
        None
    }

    /// Renews what is held, again and again, and stops what was lost.
    async fn renew(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let held: Vec<Ticket> = self.held().keys().copied().collect();
            for tickets in held.chunks(MAX_BATCH) {
                // Without an answer the leases may go on or not; the next tick asks again.
                let Ok(renewed) = self.group.renew(tickets, self.lease).await else { continue };
                for (ticket, _) in tickets.iter().zip(renewed).filter(|(_, goes_on)| !goes_on) {
                    if let Some(work) = self.let_go(ticket) {
                        work.abort();
                    }
                }
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Ticket, AbortHandle>> {
        self.held.lock().expect("nothing panics while holding the lock")
    }

    fn hold(&self, ticket: Ticket, work: AbortHandle) {
        self.held().insert(ticket, work);
    }

    fn let_go(&self, ticket: &Ticket) -> Option<AbortHandle> {
        self.held().remove(ticket)
    }

    fn stop_all(&self) {
        self.held().values().for_each(AbortHandle::abort);
    }

    fn ran(&self) -> Ran {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ran {
            done: read(&self.done),
            again: read(&self.again),
            dead: read(&self.dead),
            lost: read(&self.lost),
            recreated: read(&self.recreated),
        }
    }
}

/// Returns the pause after so many outages in a row.
fn rest(outages: u32) -> Duration {
    random::pause(REST_MIN, REST_MAX, outages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_up_to_their_bound() {
        for outages in 0..100 {
            let longest = REST_MIN.saturating_mul(1_u32 << outages.min(10)).min(REST_MAX);
            let rest = rest(outages);
            assert!(rest <= longest && rest >= longest / 2, "{outages}: {rest:?}");
        }
        assert!(rest(u32::MAX) <= REST_MAX);
    }
}
