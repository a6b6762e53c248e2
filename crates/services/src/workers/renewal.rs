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
                next = next.min(Instant::now() + pace(shared.lease, &shared.holds.of(index)));
                continue;
            }
            _ = ended.wait_for(|state| *state == WorkerState::Stopped) => return,
        }
        let begun = Instant::now();
        let beaten = beat(&shared, index).await;
        let every = pace(shared.lease, &shared.holds.of(index));
        next = match beaten {
            Ok(()) => begun + every,
            Err(error) => {
                tracing::warn!(queue = queue.name(), %error, "leases could not be renewed");
                Instant::now() + retry_pause(every)
            }
        };
    }
}

/// Returns the time between two heartbeats.
fn pace(lease: Duration, holds: &[Arc<Hold>]) -> Duration {
    let waiting = holds.iter().filter(|hold| hold.waits_limited()).filter_map(|hold| hold.timeout);
    waiting.min().map_or(lease, |timeout| timeout.min(lease)) / 3
}

/// Returns the time after a heartbeat that failed: there is room for a few more before a lease ends.
fn retry_pause(pace: Duration) -> Duration {
    (pace / 3).min(RETRY_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lease_says_how_soon_it_is_renewed() {
        let second = Duration::from_secs(1);
        let hold = |timeout: Option<Duration>| {
            Arc::new(Hold::new(0, Ticket { id: "a".to_owned(), token: 1 }, timeout, second * 60))
        };
        let (plain, long, short) = (hold(None), hold(Some(second * 3_600)), hold(Some(second)));
        for (holds, beats, retries) in [
            (vec![], second * 20, second),
            (vec![plain.clone(), long.clone()], second * 20, second),
            (vec![plain.clone(), long.clone(), short.clone()], second / 3, second / 9),
        ] {
            let pace = pace(second * 60, &holds);
            assert_eq!((pace, retry_pause(pace)), (beats, retries));
        }
        // What runs is held as long as others.
        short.begin();
        assert_eq!(pace(second * 60, &[plain, long, short]), second * 20);
    }
}
