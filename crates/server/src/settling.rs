//! Replies that wait for the log, settled for a worker's connections together.
//!
//! ```text
//! one round of the runtime   connection a: SET, waits ─┐ asks once    connection b: INCR, waits   connection c: GET, replies
//! behind all that were ready                           └► settles: one write (one sync) for all changes there are ─► a and b reply
//! ```
//!
//! A connection that has changed something does not reply at once: it stands in line here and has the worker's settling task woken, which the runtime runs behind
//! everything that was ready before. So a write, or a sync under `appendfsync always`, is shared by the changes of a round, as in an event loop. What
//! takes a sync is not waited for here: the log's thread tells when it has ended ([`Onlooker`]), and the worker serves others meanwhile.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use redpoll_store::{Onlooker, Store};
use tokio::sync::Notify;

/// Who stands in line on a worker.
#[derive(Default)]
pub(crate) struct Settling {
    /// By offset and client, so that each stands there once.
    line: Mutex<BTreeMap<(u64, u64), Waker>>,
    asked: Notify,
}

impl Onlooker for Settling {
    fn look(&self) {
        if !self.line.lock().is_empty() {
            self.ask();
        }
    }
}

impl Settling {
    /// The worker's task: settles whenever it is asked to.
    pub(crate) async fn run(self: Arc<Self>, store: Store) {
        loop {
            self.asked.notified().await;
            let settled = store.settle_log();
            let mut line = self.line.lock();
            let after = settled.checked_add(1).map(|next| line.split_off(&(next, 0))).unwrap_or_default();
            let before = std::mem::replace(&mut *line, after);
            drop(line);
            before.into_values().for_each(Waker::wake);
        }
    }

    /// Has the task settle, whether somebody waits or not.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Waits until the reply to a client's change at an offset may go out.
    ///
    /// # Errors
    /// What the disk said, if it refuses.
    pub(crate) async fn wait(&self, store: &Store, offset: u64, client: u64) -> Result<(), String> {
        loop {
            self.stand_in_line(offset, client).await;
            if let Some(verdict) = store.log_verdict(offset) {
                return verdict;
            }
        }
    }

    /// Waits until a round has settled an offset.
    async fn stand_in_line(&self, offset: u64, client: u64) {
        let place = (offset, client);
        let mut is_in_line = false;
        poll_fn(|task| {
            let mut line = self.line.lock();
            if is_in_line && !line.contains_key(&place) {
                return Poll::Ready(());
            }
            line.insert(place, task.waker().clone());
            if !is_in_line {
                is_in_line = true;
                self.ask();
            }
            Poll::Pending
        })
        .await;
    }
}
