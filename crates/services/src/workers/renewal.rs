//! The heartbeat: one task for each queue of a worker renews the leases of all that is held of it.
//!
//! A third of a lease passes between two, so two may fail. One that fails is repeated soon; a lease that has ended meanwhile goes on as long as nobody has
//! taken the job back. A job that waits here for a run that is limited is held by the store no longer than that run may take, so while there is one the pace is a third
//! of that. Cancelling a job is hinted at on the queue's channel, and then the heartbeat comes at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::hold::Hold;
use super::registry::WorkerState;
use super::running::Shared;
use crate::error::Result;
use crate::jobs::{Heartbeat, MAX_BATCH, Ticket};
use crate::signal::{Waiter, Woken};

/// What `cancel.lua` says to those who hold jobs.
const TOPIC: &str = "cancel";

/// Longest pause after a heartbeat that failed.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Renews until the worker has ended.
pub(super) async fn renew(shared: Arc<Shared>, index: usize, mut ended: watch::Receiver<WorkerState>) {
    let queue = &shared.worker.queues[index];
    let mut waiter = queue.services().signals().listen(queue.channel(), TOPIC);
    let mut limited = shared.holds.limited();
    let mut next = Instant::now() + shared.lease / 3;
    loop {
        tokio::select! {
            () = next_beat(&mut waiter, next) => {}
            Ok(()) = limited.changed() => {
                next = next.min(Instant::now() + pace(&shared, index));
                continue;
            }
            _ = ended.wait_for(|state| *state == WorkerState::Stopped) => return,
        }
        let begun = Instant::now();
        next = match beat(&shared, index).await {
            Ok(()) => begun + pace(&shared, index),
            Err(error) => {
                tracing::warn!(queue = queue.name(), %error, "leases could not be renewed");
                Instant::now() + (shared.lease / 10).min(RETRY_MAX)
            }
        };
    }
}

/// Returns the time between two heartbeats.
fn pace(shared: &Shared, index: usize) -> Duration {
    let holds = shared.holds.of(index);
    let waiting = holds.iter().filter(|hold| hold.waits_limited()).filter_map(|hold| hold.timeout);
    waiting.min().map_or(shared.lease, |timeout| timeout.min(shared.lease)) / 3
}

/// Waits until it is time, or somebody has cancelled a job.
async fn next_beat(waiter: &mut Waiter, next: Instant) {
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() || waiter.wait(left).await == Woken::Signal {
            return;
        }
    }
}

/// Renews all that is held of a queue.
async fn beat(shared: &Shared, index: usize) -> Result<()> {
    let (begun, waiting): (Vec<_>, Vec<_>) = shared.holds.of(index).into_iter().partition(|hold| !hold.waits_limited());
    let queue = &shared.worker.queues[index];
    for (holds, is_begun) in [(begun, true), (waiting, false)] {
        for some in holds.chunks(MAX_BATCH) {
            let tickets: Vec<Ticket> = some.iter().map(|hold| hold.ticket.clone()).collect();
            let (lease, sent) = (Some(shared.lease), Instant::now());
            let heartbeats = match is_begun {
                true => queue.extend(&tickets, lease).await?,
                false => queue.extend_unbegun(&tickets, lease).await?,
            };
            hear(shared, some, &heartbeats, sent);
        }
    }
    Ok(())
}

fn hear(shared: &Shared, holds: &[Arc<Hold>], heartbeats: &[Heartbeat], sent: Instant) {
    for (hold, heartbeat) in holds.iter().zip(heartbeats) {
        if hold.hear(*heartbeat, sent) {
            shared.stopped.notify_one();
        }
    }
}
