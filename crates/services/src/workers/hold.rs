//! What a worker holds: every job that it has leased and not yet got rid of, shared by the loop, the renewal and the handlers.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::jobs::{Heartbeat, Ticket};

/// Why a handler is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody has cancelled the job.
    Cancelled,
    /// The lease was lost: another may have the job.
    LeaseLost,
    /// The run has taken longer than the job may.
    TimedOut,
    /// The worker stops, and the time to end was up.
    Draining,
}

/// One leased job.
#[derive(Debug)]
pub(super) struct Hold {
    /// Which of the worker's queues it is of.
    pub(super) queue: usize,
    pub(super) ticket: Ticket,
    /// How long its run may take, if that is limited.
    pub(super) timeout: Option<Duration>,
    /// How long the store holds it for us after each renewal, while it has not begun.
    lease: Duration,
    /// When the last renewal that was answered was asked for.
    renewed: Mutex<Instant>,
    stop: OnceLock<Stop>,
    /// There is a reason to stop.
    has_stop: Notify,
    has_begun: AtomicBool,
    /// When the run is to end, if it has begun and is limited.
    deadline: OnceLock<Instant>,
    commits: AtomicUsize,
    is_committed: AtomicBool,
}

impl Hold {
    /// Holds a job that was heard of just now.
    pub(super) fn new(queue: usize, ticket: Ticket, timeout: Option<Duration>, lease: Duration) -> Self {
        let lease = timeout.map_or(lease, |timeout| timeout.min(lease));
        Self {
            queue,
            ticket,
            timeout,
            lease,
            renewed: Mutex::new(Instant::now()),
            stop: OnceLock::new(),
            has_stop: Notify::new(),
            has_begun: AtomicBool::new(false),
            deadline: OnceLock::new(),
            commits: AtomicUsize::new(0),
            is_committed: AtomicBool::new(false),
        }
    }

    /// Tells the handler to stop; the first reason stays.
    pub(super) fn stop(&self, reason: Stop) {
        if self.stop.set(reason).is_ok() {
            self.has_stop.notify_waiters();
        }
    }

    /// Returns why the handler is to stop. One that computes for long may be the first to know that its time is up.
    pub(super) fn stop_reason(&self) -> Option<Stop> {
        if self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline) {
            self.stop(Stop::TimedOut);
        }
        self.stop.get().copied()
    }

    /// Waits until the handler is to stop.
    pub(super) async fn stopped(&self) -> Stop {
        loop {
            // Made before the look, so that what is said in between is heard.
            let told = self.has_stop.notified();
            if let Some(reason) = self.stop_reason() {
                return reason;
            }
            told.await;
        }
    }

    pub(super) fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    /// Says when a run that has begun is to end.
    pub(super) fn limit(&self, deadline: Instant) {
        let _ = self.deadline.set(deadline);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// Tells whether it waits here for a run that is limited: then the store holds it no longer than its run may take.
    pub(super) fn waits_limited(&self) -> bool {
        self.timeout.is_some() && !self.has_begun()
    }

    /// Tells whether at a moment of our own clock the lease of a job that waits here is over, or as good as: then it may be another's. A lease is counted from
    /// when it was heard of, and began before.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let renewed = *self.renewed.lock().expect("nothing panics while it is held");
        now.saturating_duration_since(renewed) >= self.lease - self.lease / 8
    }

    /// A commit is under way until this is dropped: that the job is gone does not mean that it is lost.
    pub(super) fn committing(&self) -> Committing<'_> {
        self.commits.fetch_add(1, Ordering::AcqRel);
        Committing(self)
    }

    pub(super) fn committed(&self) {
        self.is_committed.store(true, Ordering::Release);
    }

    pub(super) fn is_committed(&self) -> bool {
        self.is_committed.load(Ordering::Acquire)
    }

    /// Hears what a heartbeat was answered that was sent at some moment; tells whether that is news.
    pub(super) fn hear(&self, heartbeat: Heartbeat, sent: Instant) -> bool {
        let before = self.stop_reason();
        if heartbeat != Heartbeat::Lost {
            let mut renewed = self.renewed.lock().expect("nothing panics while it is held");
            *renewed = sent.max(*renewed);
        }
        match heartbeat {
            Heartbeat::Extended => {}
            Heartbeat::Cancelling => self.stop(Stop::Cancelled),
            Heartbeat::Lost if self.commits.load(Ordering::Acquire) > 0 || self.is_committed() => {}
            Heartbeat::Lost => self.stop(Stop::LeaseLost),
        }
        before != self.stop_reason()
    }
}

/// A commit that is under way.
pub(super) struct Committing<'a>(&'a Hold);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.commits.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A hold among others, found by its ticket.
#[derive(Debug)]
struct Held(Arc<Hold>);

impl Borrow<Ticket> for Held {
    fn borrow(&self) -> &Ticket {
        &self.0.ticket
    }
}

impl Hash for Held {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.ticket.hash(hasher);
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.0.ticket == other.0.ticket
    }
}

impl Eq for Held {}

/// All that a worker holds.
#[derive(Debug)]
pub(super) struct Holds {
    /// Of each queue.
    held: Vec<Mutex<HashSet<Held, RandomState>>>,
    /// Changes when something is added whose run is limited.
    limited: watch::Sender<()>,
}

impl Holds {
    pub(super) fn new(queues: usize) -> Self {
        Self { held: (0..queues).map(|_| Mutex::default()).collect(), limited: watch::Sender::default() }
    }

    pub(super) fn add(&self, hold: Hold) -> Arc<Hold> {
        let hold = Arc::new(hold);
        self.lock(hold.queue).replace(Held(hold.clone()));
        if hold.timeout.is_some() {
            self.limited.send_replace(());
        }
        hold
    }

    /// Returns what tells of additions whose run is limited.
    pub(super) fn limited(&self) -> watch::Receiver<()> {
        self.limited.subscribe()
    }

    pub(super) fn remove(&self, queue: usize, ticket: &Ticket) {
        self.lock(queue).remove(ticket);
    }

    /// Returns what is held of a queue.
    pub(super) fn of(&self, queue: usize) -> Vec<Arc<Hold>> {
        self.lock(queue).iter().map(|Held(hold)| hold.clone()).collect()
    }

    fn lock(&self, queue: usize) -> MutexGuard<'_, HashSet<Held, RandomState>> {
        self.held[queue].lock().expect("nothing panics while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> Hold {
        Hold::new(0, Ticket { id: "a".to_owned(), token: 1 }, None, Duration::from_secs(30))
    }

    fn hear(hold: &Hold, heartbeat: Heartbeat) -> bool {
        hold.hear(heartbeat, Instant::now())
    }

    #[test]
    fn the_first_reason_stays() {
        let hold = hold();
        assert!(!hear(&hold, Heartbeat::Extended));
        assert!(hear(&hold, Heartbeat::Cancelling));
        assert!(!hear(&hold, Heartbeat::Lost));
        assert_eq!(hold.stop_reason(), Some(Stop::Cancelled));
    }

    #[test]
    fn what_is_committed_is_not_lost() {
        let hold = hold();
        let committing = hold.committing();
        assert!(!hear(&hold, Heartbeat::Lost));
        hold.committed();
        drop(committing);
        assert!(!hear(&hold, Heartbeat::Lost));
        assert_eq!(hold.stop_reason(), None);
    }

    #[test]
    fn a_commit_that_is_given_up_hides_no_loss() {
        let hold = hold();
        let (first, second) = (hold.committing(), hold.committing());
        drop(first);
        assert!(!hear(&hold, Heartbeat::Lost));
        drop(second);
        assert!(hear(&hold, Heartbeat::Lost));
    }

    #[test]
    fn a_lease_is_over_when_its_renewals_are_not_answered() {
        let ticket = || Ticket { id: "a".to_owned(), token: 1 };
        let second = Duration::from_secs(1);
        let plain = Hold::new(0, ticket(), None, second * 30);
        let limited = Hold::new(0, ticket(), Some(second * 10), second * 30);
        let over = |now: Instant| (plain.is_over(now), limited.is_over(now));
        let heard = Instant::now();
        assert_eq!(over(heard), (false, false));
        assert_eq!(over(heard + second * 10), (false, true));
        assert_eq!(over(heard + second * 30), (true, true));
        // A lease lasts from when it was asked for, however long the answer took.
        let sent = heard + second * 20;
        plain.hear(Heartbeat::Cancelling, sent);
        limited.hear(Heartbeat::Extended, sent);
        assert_eq!(over(sent), (false, false));
        assert_eq!(over(sent + second * 10), (false, true));
        plain.hear(Heartbeat::Lost, sent + second * 10);
        limited.hear(Heartbeat::Extended, heard);
        assert_eq!(over(sent + second * 8), (false, false));
        assert_eq!(over(sent + second * 30), (true, true));
    }
}
