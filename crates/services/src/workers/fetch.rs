//! Talking to the queues: saying what became of jobs, leasing the next, waiting for some.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::running::Shared;
use crate::error::Error;
use crate::jobs::{LeaseOptions, Leased, Outcome, Settled, Ticket};

/// Longest wait for work at once.
const WAIT: Duration = Duration::from_secs(20);

/// The same while one of several queues cannot be asked.
const WAIT_TROUBLED: Duration = Duration::from_secs(1);

/// Outcomes that are to be told, of each queue.
pub(super) type Outcomes = Vec<Vec<(Ticket, Outcome)>>;

/// A leased job, the number of its queue, and when it was heard of.
pub(super) struct Got {
    pub(super) queue: usize,
    pub(super) leased: Leased,
    pub(super) since: Instant,
}

/// What came of talking.
#[derive(Default)]
pub(super) struct Talked {
    /// What the store made of outcomes.
    pub(super) settled: Vec<(usize, Ticket, Outcome, Settled)>,
    /// Those it may not have heard.
    pub(super) untold: Outcomes,
    pub(super) jobs: Vec<Got>,
    /// The last thing that went wrong.
    pub(super) error: Option<Error>,
}

impl Talked {
    fn got(&mut self, queue: usize, jobs: Vec<Leased>) {
        let since = Instant::now();
        self.jobs.extend(jobs.into_iter().map(|leased| Got { queue, leased, since }));
    }
}

/// Tells each queue what became of its jobs, and leases up to `room` in the same step from the queues in their order.
pub(super) async fn exchange(shared: Arc<Shared>, mut outcomes: Outcomes, room: usize) -> Talked {
    let mut talked = Talked { untold: outcomes.iter().map(|_| Vec::new()).collect(), ..Talked::default() };
    for index in shared.worker.look_order() {
        let (batch, room) = (std::mem::take(&mut outcomes[index]), room - room.min(talked.jobs.len()));
        match step(&shared, index, &batch, room).await {
            Ok((settled, jobs)) => {
                let told = batch.into_iter().zip(settled);
                talked.settled.extend(told.map(|((ticket, outcome), settled)| (index, ticket, outcome, settled)));
                talked.got(index, jobs);
            }
            Err(error) => {
                talked.untold[index] = batch;
                talked.error = Some(error);
            }
        }
    }
    talked
}

async fn step(
    shared: &Shared,
    index: usize,
    batch: &[(Ticket, Outcome)],
    room: usize,
) -> crate::Result<(Vec<Settled>, Vec<Leased>)> {
    let queue = &shared.worker.queues[index];
    match (room, batch) {
        (0, []) => Ok(Default::default()),
        (0, batch) => Ok((queue.settle(batch).await?, Vec::new())),
        (room, batch) => {
            let options = LeaseOptions { count: room, lease: Some(shared.lease), wait: Duration::ZERO };
            let exchanged = queue.exchange(batch, &options).await?;
            Ok((exchanged.settled, exchanged.jobs))
        }
    }
}

/// Leases up to `room` jobs, waiting for some until `stop`. With several queues it may come to more, as many may have some at the same time.
pub(super) async fn wait(shared: Arc<Shared>, room: usize, mut stop: watch::Receiver<bool>) -> Talked {
    let count = shared.worker.queues.len();
    if count == 1 {
        let mut talked = Talked::default();
        let (_, leased) = wait_for_one(&shared, 0, options(&shared, room, WAIT), &mut stop).await;
        match leased {
            Ok(jobs) => talked.got(0, jobs),
            Err(error) => talked.error = Some(error),
        }
        return talked;
    }
    // In their order as long as there is anything.
    let mut talked = exchange(shared.clone(), vec![Vec::new(); count], room).await;
    if !talked.jobs.is_empty() || *stop.borrow() {
        return talked;
    }
    let longest = if talked.error.is_some() { WAIT_TROUBLED } else { WAIT };
    let (end, ended) = watch::channel(false);
    let mut waits = JoinSet::new();
    for index in 0..count {
        let (shared, mut ended) = (shared.clone(), ended.clone());
        waits.spawn(async move { wait_for_one(&shared, index, options(&shared, room, longest), &mut ended).await });
    }
    while !waits.is_empty() {
        tokio::select! {
            Some(waited) = waits.join_next() => match unless_ending(waited) {
                None => {}
                Some((index, Ok(jobs))) => {
                    if !jobs.is_empty() {
                        end.send_replace(true);
                    }
                    talked.got(index, jobs);
                }
                Some((_, Err(error))) => talked.error = Some(error),
            },
            Ok(_) = stop.wait_for(|stop| *stop), if !*end.borrow() => drop(end.send_replace(true)),
        }
    }
    talked
}

/// Returns what came of a task; nothing if the runtime is ending, as nobody aborts them.
pub(super) fn unless_ending<T>(done: Result<T, JoinError>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

fn options(shared: &Shared, room: usize, wait: Duration) -> LeaseOptions {
    LeaseOptions { count: room, lease: Some(shared.lease), wait }
}

async fn wait_for_one(
    shared: &Shared,
    index: usize,
    options: LeaseOptions,
    stop: &mut watch::Receiver<bool>,
) -> (usize, crate::Result<Vec<Leased>>) {
    (index, shared.worker.queues[index].lease_until(&options, stop).await)
}
