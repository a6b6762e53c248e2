//! A worker that runs: its tasks, and how to stop them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::driver::Driver;
use super::hold::Holds;
use super::registry::{self, WorkerState};
use super::renewal;
use super::stats::{Stats, Summary};
use super::worker::Worker;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    /// It leases and runs.
    Working,
    /// What runs may end.
    Draining,
    /// What runs is told to stop.
    Stopping,
}

/// What the tasks of a worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) worker: Worker,
    pub(super) lease: Duration,
    /// Of this run, and of no other.
    pub(super) instance: String,
    pub(super) holds: Holds,
    pub(super) stats: Stats,
    /// Something that is held is to stop.
    pub(super) stopped: Notify,
}

/// A worker that runs. Dropping it has it drain by itself.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    stopper: Stopper,
    task: JoinHandle<Summary>,
}

/// Stops a worker. Cloning is cheap; a worker drains too when the last of these is dropped.
#[derive(Debug, Clone)]
pub struct Stopper {
    phase: watch::Sender<Phase>,
}

impl Stopper {
    /// Leases nothing more, hands back what has not begun, and lets what runs end.
    pub fn begin_stop(&self) {
        self.advance(Phase::Draining);
    }

    /// Tells what runs to stop, without further time to end.
    pub fn stop_now(&self) {
        self.advance(Phase::Stopping);
    }

    fn advance(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_further = *phase < next;
            if is_further {
                *phase = next;
            }
            is_further
        });
    }
}

impl Running {
    pub(super) fn start(worker: Worker) -> Self {
        let lease = worker.lease.unwrap_or(worker.queues[0].settings().lease);
        let instance = Uuid::new_v4().to_string();
        let (holds, stats, stopped) = (Holds::new(worker.queues.len()), Stats::default(), Notify::new());
        let shared = Arc::new(Shared { worker, lease, instance, holds, stats, stopped });
        let (phase, told) = watch::channel(Phase::Working);
        let task = tokio::spawn(run(shared.clone(), told));
        Self { shared, stopper: Stopper { phase }, task }
    }

    /// Returns the id of this run, under which it is listed.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// Returns what it has done so far.
    pub fn summary(&self) -> Summary {
        self.shared.stats.summary()
    }

    /// Returns how many jobs run at this moment.
    pub fn busy(&self) -> usize {
        self.shared.stats.busy.load(Ordering::Relaxed)
    }

    /// Returns how many jobs are leased and have not begun.
    pub fn prefetched(&self) -> usize {
        self.shared.stats.ready.load(Ordering::Relaxed)
    }

    /// Leases nothing more, hands back what has not begun, and lets what runs end. Returns at once; [`Running::stop`] waits.
    pub fn begin_stop(&self) {
        self.stopper.begin_stop();
    }

    /// Returns what stops it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Stops it and waits for the end: at most the time to drain, the grace, and a few seconds to tell the store.
    pub async fn stop(self) -> Summary {
        self.begin_stop();
        self.ended().await
    }

    /// Waits until it has been stopped.
    pub async fn ended(self) -> Summary {
        let Self { shared, stopper, task } = self;
        let summary = match task.await {
            Ok(summary) => summary,
            // The runtime is ending, or the loop broke, which the task has shown already.
            Err(error) => {
                tracing::error!(%error, "a worker broke");
                shared.stats.summary()
            }
        };
        drop(stopper);
        summary
    }
}

async fn run(shared: Arc<Shared>, told: watch::Receiver<Phase>) -> Summary {
    // When this is dropped the tasks below end by themselves.
    let (end, ended) = watch::channel(WorkerState::Running);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..shared.worker.queues.len() {
        tasks.spawn(renewal::renew(shared.clone(), index, ended.clone()));
    }
    tasks.spawn(registry::announce(shared.clone(), ended));
    let summary = Driver::new(shared, told, &end).drive().await;
    end.send_replace(WorkerState::Stopped);
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            tracing::error!(%error, "a task of a worker broke");
        }
    }
    summary
}
