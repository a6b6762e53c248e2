//! What a worker holds: every job that it has leased and not yet got rid of, shared by the loop, the renewal and the handlers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

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
    /// Whether its run is limited in time.
    pub(super) is_limited: bool,
    stop: watch::Sender<Option<Stop>>,
    has_begun: AtomicBool,
    is_committing: AtomicBool,
    is_committed: AtomicBool,
}

impl Hold {
    pub(super) fn new(queue: usize, ticket: Ticket, is_limited: bool) -> Self {
        let (stop, _) = watch::channel(None);
        let no = || AtomicBool::new(false);
        Self { queue, ticket, is_limited, stop, has_begun: no(), is_committing: no(), is_committed: no() }
    }

    /// Tells the handler to stop; the first reason stays.
    pub(super) fn stop(&self, reason: Stop) {
        self.stop.send_if_modified(|stop| {
            let is_news = stop.is_none();
            stop.get_or_insert(reason);
            is_news
        });
    }

    pub(super) fn stop_reason(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Waits until the handler is to stop.
    pub(super) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        let reason = stop.wait_for(Option::is_some).await.expect("the sender is in this hold");
        reason.expect("waited for")
    }

    pub(super) fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// A commit is under way: that the job is gone does not mean that it is lost.
    pub(super) fn committing(&self, is_committing: bool) {
        self.is_committing.store(is_committing, Ordering::Release);
    }

    pub(super) fn committed(&self) {
        self.is_committed.store(true, Ordering::Release);
    }

    pub(super) fn is_committed(&self) -> bool {
        self.is_committed.load(Ordering::Acquire)
    }

    /// Hears what a heartbeat was answered; tells whether that is news.
    pub(super) fn hear(&self, heartbeat: Heartbeat) -> bool {
        let before = self.stop_reason();
        match heartbeat {
            Heartbeat::Extended => {}
            Heartbeat::Cancelling => self.stop(Stop::Cancelled),
            Heartbeat::Lost if self.is_committing.load(Ordering::Acquire) || self.is_committed() => {}
            Heartbeat::Lost => self.stop(Stop::LeaseLost),
        }
        before != self.stop_reason()
    }
}

/// All that a worker holds, by queue and lease.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<(usize, Ticket), Arc<Hold>>>);

impl Holds {
    pub(super) fn add(&self, hold: Hold) -> Arc<Hold> {
        let hold = Arc::new(hold);
        self.lock().insert((hold.queue, hold.ticket.clone()), hold.clone());
        hold
    }

    pub(super) fn remove(&self, queue: usize, ticket: &Ticket) {
        self.lock().remove(&(queue, ticket.clone()));
    }

    /// Returns what is held of a queue.
    pub(super) fn of(&self, queue: usize) -> Vec<Arc<Hold>> {
        self.lock().values().filter(|hold| hold.queue == queue).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, Ticket), Arc<Hold>>> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> Hold {
        Hold::new(0, Ticket { id: "a".to_owned(), token: 1 }, false)
    }

    #[test]
    fn the_first_reason_stays() {
        let hold = hold();
        assert!(!hold.hear(Heartbeat::Extended));
        assert!(hold.hear(Heartbeat::Cancelling));
        assert!(!hold.hear(Heartbeat::Lost));
        assert_eq!(hold.stop_reason(), Some(Stop::Cancelled));
    }

    #[test]
    fn what_is_committed_is_not_lost() {
        let hold = hold();
        hold.committing(true);
        assert!(!hold.hear(Heartbeat::Lost));
        hold.committed();
        hold.committing(false);
        assert!(!hold.hear(Heartbeat::Lost));
        assert_eq!(hold.stop_reason(), None);
    }
}
