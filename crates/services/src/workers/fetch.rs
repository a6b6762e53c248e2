//! Talking to the queues: saying what became of jobs, leasing the next, waiting for some.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::hold::Hold;
use super::running::Shared;
use crate::error::Result;
use crate::jobs::{LeaseOptions, Leased, MAX_BATCH, MAX_ERROR_BYTES, Outcome, Settled, Ticket};

/// Longest wait for work at once.
const WAIT: Duration = Duration::from_secs(20);

/// The same while one of several queues is not asked with them, as it does not answer.
const WAIT_TROUBLED: Duration = Duration::from_secs(1);

/// Most bytes of outcomes that are told in one step: while the store reads it, it does nothing else.
const STEP_BYTES: usize = 8 << 20;

/// Outcomes that are to be told to a queue.
pub(super) type Outcomes = Vec<(Ticket, Outcome)>;

/// What a queue is told.
pub(super) struct Told {
    pub(super) queue: usize,
    pub(super) outcomes: Outcomes,
}

/// A leased job, and when it was heard of.
pub(super) struct Got {
    pub(super) leased: Leased,
    pub(super) hold: Arc<Hold>,
    pub(super) since: Instant,
}

impl Got {
    /// Hears of a job, which is held from now on, also while other queues are asked still.
    fn hear(shared: &Shared, queue: usize, leased: Leased) -> Self {
        let timeout = leased.job.timeout_ms.map(Duration::from_millis);
        let hold = shared.holds.add(Hold::new(queue, leased.ticket.clone(), timeout, shared.lease));
        Self { leased, hold, since: Instant::now() }
    }
}

/// What came of talking.
#[derive(Default)]
pub(super) struct Talked {
    /// What the store made of outcomes.
    pub(super) settled: Vec<(usize, Ticket, Outcome, Settled)>,
    /// Those it may not have heard.
    pub(super) untold: Vec<Told>,
    pub(super) jobs: Vec<Got>,
    /// How the queues that were asked have answered.
    pub(super) answers: Vec<(usize, Result<()>)>,
}

impl Talked {
    fn got(&mut self, shared: &Shared, queue: usize, jobs: Result<Vec<Leased>>) {
        let jobs = jobs.map(|jobs| self.jobs.extend(jobs.into_iter().map(|leased| Got::hear(shared, queue, leased))));
        self.answers.push((queue, jobs));
    }
}

/// Tells each of these queues what became of its jobs, and leases up to `room` in the same step from them in their order.
pub(super) async fn exchange(shared: Arc<Shared>, queues: Vec<Told>, room: usize) -> Talked {
    let mut talked = Talked::default();
    for Told { queue, mut outcomes } in queues {
        let room = room - room.min(talked.jobs.len());
        if room == 0 && outcomes.is_empty() {
            continue;
        }
        let answer = loop {
            let rest = outcomes.split_off(fitting(&outcomes));
            let room = if rest.is_empty() { room } else { 0 };
            match step(&shared, queue, &outcomes, room).await {
                Ok((settled, jobs)) => {
                    let told = outcomes.into_iter().zip(settled);
                    talked.settled.extend(told.map(|((ticket, outcome), settled)| (queue, ticket, outcome, settled)));
                    if rest.is_empty() {
                        break Ok(jobs);
                    }
                    outcomes = rest;
                }
                Err(error) => {
                    outcomes.extend(rest);
                    talked.untold.push(Told { queue, outcomes });
                    break Err(error);
                }
            }
        };
        talked.got(&shared, queue, answer);
    }
    talked
}

/// Returns how many of these are told in one step, one at least if there is any.
fn fitting(outcomes: &[(Ticket, Outcome)]) -> usize {
    let mut size_bytes = 0;
    let fits = |(_, outcome): &&(Ticket, Outcome)| {
        size_bytes += match outcome {
            Outcome::Completed { result, .. } => result.as_ref().map_or(0, |result| result.as_bytes().len()),
            Outcome::Failed { error, .. } | Outcome::GivenUp { error } => error.len().min(MAX_ERROR_BYTES),
            Outcome::Released { .. } => 0,
        };
        size_bytes <= STEP_BYTES
    };
    outcomes.iter().take(MAX_BATCH).take_while(fits).count().max(1).min(outcomes.len())
}

async fn step(
    shared: &Shared,
    index: usize,
    batch: &[(Ticket, Outcome)],
    room: usize,
) -> Result<(Vec<Settled>, Vec<Leased>)> {
    let queue = &shared.worker.queues[index];
    if room == 0 {
        return Ok((queue.settle(batch).await?, Vec::new()));
    }
    let exchanged = queue.exchange(batch, &options(shared, room, Duration::ZERO)).await?;
    Ok((exchanged.settled, exchanged.jobs))
}

/// Leases up to `room` jobs of these queues, waiting for some until `stop`. With several queues it may come to more, as many may have some at the same time.
pub(super) async fn wait(
    shared: Arc<Shared>,
    queues: Vec<usize>,
    room: usize,
    mut stop: watch::Receiver<bool>,
) -> Talked {
    let is_troubled = queues.len() < shared.worker.queues.len();
    let mut talked = Talked::default();
    if let ([queue], false) = (queues.as_slice(), is_troubled) {
        let (_, leased) = wait_for_one(&shared, *queue, room, &mut stop).await;
        talked.got(&shared, *queue, leased);
        return talked;
    }
    // In their order as long as there is anything.
    let asked = queues.iter().map(|queue| Told { queue: *queue, outcomes: Outcomes::new() });
    talked = exchange(shared.clone(), asked.collect(), room).await;
    let has_failed = talked.answers.iter().any(|(_, answer)| answer.is_err());
    if !talked.jobs.is_empty() || *stop.borrow() {
        return talked;
    }
    let mut until = Instant::now() + if is_troubled || has_failed { WAIT_TROUBLED } else { WAIT };
    let (end, ended) = watch::channel(false);
    let mut waits = JoinSet::new();
    for queue in queues {
        let (shared, mut ended) = (shared.clone(), ended.clone());
        waits.spawn(async move { wait_for_one(&shared, queue, room, &mut ended).await });
    }
    while !waits.is_empty() {
        tokio::select! {
            Some(waited) = waits.join_next() => if let Some((queue, jobs)) = unless_ending(waited) {
                match &jobs {
                    Ok(jobs) if jobs.is_empty() => {}
                    Ok(_) => drop(end.send_replace(true)),
                    Err(_) => until = until.min(Instant::now() + WAIT_TROUBLED),
                }
                talked.got(&shared, queue, jobs);
            },
            Ok(_) = stop.wait_for(|stop| *stop), if !*end.borrow() => drop(end.send_replace(true)),
            () = tokio::time::sleep_until(until), if !*end.borrow() => drop(end.send_replace(true)),
        }
    }
    talked
}

/// Returns what came of a task; nothing if the runtime is ending, as nobody aborts them.
pub(super) fn unless_ending<T>(done: std::result::Result<T, JoinError>) -> Option<T> {
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
    room: usize,
    stop: &mut watch::Receiver<bool>,
) -> (usize, Result<Vec<Leased>>) {
    (index, shared.worker.queues[index].lease_until(&options(shared, room, WAIT), stop).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_tells_no_more_than_it_may() {
        let outcome = || Outcome::Failed { error: "x".repeat(MAX_ERROR_BYTES), retry_after: None };
        let outcomes = |count: usize| -> Outcomes {
            (0..count).map(|number| (Ticket { id: number.to_string(), token: 1 }, outcome())).collect()
        };
        assert_eq!(fitting(&outcomes(3)), 3);
        assert_eq!(fitting(&outcomes(MAX_BATCH + 1)), MAX_BATCH.min(STEP_BYTES / MAX_ERROR_BYTES));
    }
}
