//! A random walk over a queue beside a model that does the same: every answer, every order and every count is the model's.
//!
//! Time plays no part: leases do not end, and what is delayed stays so until it is cancelled or removed.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use redpoll_services::jobs::{
    Heartbeat, JobSettings, LeaseOptions, NewJob, Outcome, Payload, Queue, Settled, State, Ticket, Which,
};
use redpoll_testkit::Random;

use crate::jobs::{named, queue_with};
use crate::support::Place;

const STEPS: u64 = 600;
const NAMES: u64 = 14;
const ATTEMPTS_MAX: u32 = 3;
const LENGTH_MAX: usize = 12;
const FAR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
struct Modelled {
    state: State,
    priority: i8,
    number: u64,
    failures: u32,
    payload: Vec<u8>,
    /// When it ended, as a count of steps.
    ended: u64,
}

#[derive(Debug, Default)]
struct Model {
    jobs: BTreeMap<String, Modelled>,
    /// Every ticket ever given, and whether it is still the job's.
    tickets: Vec<(Ticket, bool)>,
    numbers: u64,
    moments: u64,
    is_paused: bool,
}

impl Model {
    fn is_live(state: State) -> bool {
        !state.is_ended()
    }

    fn live(&self) -> usize {
        self.jobs.values().filter(|job| Self::is_live(job.state)).count()
    }

    fn waiting(&self) -> Vec<String> {
        let mut waiting: Vec<_> = self.jobs.iter().filter(|(_, job)| job.state == State::Waiting).collect();
        waiting.sort_by_key(|(_, job)| (-i16::from(job.priority), job.number));
        waiting.into_iter().map(|(id, _)| id.clone()).collect()
    }

    fn enqueue(&mut self, batch: &[NewJob]) -> Option<Vec<Option<State>>> {
        let mut fresh = Vec::new();
        let mut existing = Vec::new();
        for job in batch {
            let id = job.id.clone().unwrap();
            let known = self.jobs.get(&id).map(|job| job.state).filter(|state| Self::is_live(*state));
            let known = known.or_else(|| {
                let before = fresh.iter().any(|other: &&NewJob| other.id.as_ref() == Some(&id));
                before.then_some(State::Waiting)
            });
            if known.is_none() {
                fresh.push(job);
            }
            existing.push(known);
        }
        if self.live() + fresh.len() > LENGTH_MAX {
            return None;
        }
        for job in fresh {
            self.numbers += 1;
            let state = if job.delay.is_zero() { State::Waiting } else { State::Delayed };
            let payload = job.payload.as_bytes().to_vec();
            let (priority, number) = (job.priority, self.numbers);
            let modelled = Modelled { state, priority, number, failures: 0, payload, ended: 0 };
            self.jobs.insert(job.id.clone().unwrap(), modelled);
        }
        Some(existing)
    }

    fn end(&mut self, id: &str, state: State) {
        self.moments += 1;
        let job = self.jobs.get_mut(id).unwrap();
        (job.state, job.ended) = (state, self.moments);
    }

    fn settle(&mut self, index: usize, outcome: &Outcome) -> Settled {
        let (ticket, holds) = self.tickets[index].clone();
        let state = self.jobs.get(&ticket.id).map(|job| job.state);
        if !holds || !matches!(state, Some(State::Active | State::Cancelling)) {
            return Settled::Lost;
        }
        self.tickets[index].1 = false;
        let cancelling = state == Some(State::Cancelling);
        let job = self.jobs.get_mut(&ticket.id).unwrap();
        let next = match outcome {
            Outcome::Completed { .. } => State::Completed,
            _ if cancelling => State::Cancelled,
            Outcome::Released { .. } => State::Waiting,
            Outcome::GivenUp { .. } => {
                job.failures += 1;
                State::Dead
            }
            Outcome::Failed { retry_after, .. } => {
                job.failures += 1;
                match (job.failures == ATTEMPTS_MAX, retry_after) {
                    (true, _) => State::Dead,
                    (false, Some(Duration::ZERO)) => State::Waiting,
                    (false, _) => State::Delayed,
                }
            }
        };
        job.state = next;
        if next.is_ended() {
            self.end(&ticket.id, next);
        }
        Settled::Done(next)
    }
}

fn name(random: &mut Random) -> String {
    format!("job:{}", random.below(NAMES))
}

async fn enqueue(queue: &Queue, model: &mut Model, random: &mut Random) {
    let batch: Vec<NewJob> = (0..1 + random.below(4))
        .map(|_| {
            let id = name(random);
            NewJob {
                priority: random.below(3) as i8 - 1,
                // A job that is twice in a batch waits in the model, so only single ones are delayed.
                delay: Duration::ZERO,
                payload: Payload::bytes(random.below(1 << 40).to_le_bytes()),
                ..named(&id)
            }
        })
        .collect();
    let batch = match random.below(4) {
        0 => vec![NewJob { delay: FAR, ..batch[0].clone() }],
        _ => batch,
    };
    let expected = model.enqueue(&batch);
    let found = queue.enqueue_many(&batch).await.ok();
    let found = found.map(|found| found.into_iter().map(|one| one.existing).collect::<Vec<_>>());
    assert_eq!(found, expected);
}

async fn lease(queue: &Queue, model: &mut Model, random: &mut Random) {
    let options = LeaseOptions { count: 1 + random.below(3) as usize, ..LeaseOptions::default() };
    let expected: Vec<String> = match model.is_paused {
        true => Vec::new(),
        false => model.waiting().into_iter().take(options.count).collect(),
    };
    let leased = queue.lease(&options).await.unwrap();
    assert_eq!(leased.iter().map(|leased| leased.job.id.clone()).collect::<Vec<_>>(), expected);
    for leased in leased {
        let job = model.jobs.get_mut(&leased.job.id).unwrap();
        job.state = State::Active;
        assert_eq!((leased.job.failures, leased.job.lost, leased.job.priority), (job.failures, 0, job.priority));
        assert_eq!(leased.job.payload.unwrap().as_bytes(), job.payload);
        for (ticket, holds) in &mut model.tickets {
            assert!(ticket.id != leased.ticket.id || ticket.token < leased.ticket.token);
            *holds &= ticket.id != leased.ticket.id;
        }
        model.tickets.push((leased.ticket, true));
    }
}

async fn settle(queue: &Queue, model: &mut Model, random: &mut Random) {
    if model.tickets.is_empty() {
        return;
    }
    // Mostly the latest, which are held, sometimes an old one.
    let back = random.below(model.tickets.len().min(6) as u64 + 1) as usize;
    let index = model.tickets.len() - 1 - back.min(model.tickets.len() - 1);
    let (ticket, holds) = model.tickets[index].clone();
    if random.below(4) == 0 {
        let expected = match model.jobs.get(&ticket.id).map(|job| job.state) {
            Some(State::Active) if holds => Heartbeat::Extended,
            Some(State::Cancelling) if holds => Heartbeat::Cancelling,
            _ => Heartbeat::Lost,
        };
        assert_eq!(queue.extend(&[ticket], None).await.unwrap(), [expected]);
        return;
    }
    if !holds {
        // What was settled may be said again; only what another lease has superseded is refused for certain.
        let superseded = model.tickets.iter().any(|(other, _)| other.id == ticket.id && other.token > ticket.token);
        if superseded {
            let outcome = Outcome::Completed { result: None, ttl: None };
            assert_eq!(queue.settle(&[(ticket, outcome)]).await.unwrap(), [Settled::Lost]);
        }
        return;
    }
    let outcome = match random.below(6) {
        0 => Outcome::Released { delay: Duration::ZERO },
        1 => Outcome::GivenUp { error: "no".to_owned() },
        2 => Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) },
        3 => Outcome::Failed { error: "no".to_owned(), retry_after: Some(FAR) },
        _ => Outcome::Completed { result: None, ttl: None },
    };
    let expected = model.settle(index, &outcome);
    assert_eq!(queue.settle(&[(ticket, outcome)]).await.unwrap(), [expected]);
}

async fn operate(queue: &Queue, model: &mut Model, random: &mut Random) {
    match random.below(6) {
        0 | 1 => {
            let id = name(random);
            let state = model.jobs.get(&id).map(|job| job.state);
            let expected = match state {
                Some(State::Waiting | State::Delayed) => {
                    model.end(&id, State::Cancelled);
                    Some(State::Cancelled)
                }
                Some(State::Active) => {
                    model.jobs.get_mut(&id).unwrap().state = State::Cancelling;
                    Some(State::Cancelling)
                }
                other => other,
            };
            assert_eq!(queue.cancel(&[id]).await.unwrap(), [expected]);
        }
        2 => {
            model.is_paused = !model.is_paused;
            assert_eq!(if model.is_paused { queue.pause().await } else { queue.resume().await }, Ok(true));
        }
        3 => {
            let id = name(random);
            let dead = model.jobs.get(&id).is_some_and(|job| job.state == State::Dead);
            if model.live() >= LENGTH_MAX {
                return;
            }
            if dead {
                model.numbers += 1;
                let job = model.jobs.get_mut(&id).unwrap();
                (job.state, job.failures, job.number) = (State::Waiting, 0, model.numbers);
            }
            assert_eq!(queue.requeue(Which::Ids(&[id])).await, Ok(u64::from(dead)));
        }
        _ => {
            let state = [State::Waiting, State::Delayed, State::Completed, State::Dead][random.below(4) as usize];
            let before = model.jobs.len();
            model.jobs.retain(|_, job| job.state != state);
            assert_eq!(queue.clear(state, Which::All).await, Ok((before - model.jobs.len()) as u64));
        }
    }
}

async fn check(queue: &Queue, model: &Model) {
    let counts = queue.counts().await.unwrap();
    let of = |state: State| model.jobs.values().filter(|job| job.state == state).count() as u64;
    assert_eq!((counts.waiting, counts.delayed), (of(State::Waiting), of(State::Delayed)));
    assert_eq!(counts.active, of(State::Active) + of(State::Cancelling));
    assert_eq!((counts.completed, counts.cancelled), (of(State::Completed), of(State::Cancelled)));
    assert_eq!((counts.dead, counts.expired), (of(State::Dead), 0));
    let sizes =
        model.jobs.values().filter(|job| Model::is_live(job.state)).map(|job| "b4:send".len() + job.payload.len());
    assert_eq!(counts.bytes, sizes.sum::<usize>() as u64);
    let listed = queue.list(State::Waiting, 0, 100).await.unwrap();
    assert_eq!(listed.into_iter().map(|found| found.job.unwrap().id).collect::<Vec<_>>(), model.waiting());
}

pub(crate) async fn a_queue_matches_the_model(place: Place) {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let settings =
        JobSettings { length_max: LENGTH_MAX as u64, attempts_max: ATTEMPTS_MAX, lease: FAR, ..JobSettings::default() };
    let queue = queue_with(&place, settings).await;
    let (mut model, mut random) = (Model::default(), Random::new(seed));
    for _ in 0..STEPS {
        match random.below(10) {
            0..3 => enqueue(&queue, &mut model, &mut random).await,
            3..6 => lease(&queue, &mut model, &mut random).await,
            6..9 => settle(&queue, &mut model, &mut random).await,
            _ => operate(&queue, &mut model, &mut random).await,
        }
        check(&queue, &model).await;
    }
}
