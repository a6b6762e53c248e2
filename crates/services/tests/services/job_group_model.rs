//! A random walk over a queue with groups beside a model of turns: who is leased, in which order, and all counts are the model's.
//!
//! Time plays no part: leases do not end, and what is delayed stays so until it is cancelled.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use redpoll_services::jobs::{Bounds, GroupBounds, JobSettings, NewJob, Outcome, Queue, State, Ticket, Which};
use redpoll_testkit::Random;

use crate::job_groups::{at_most, each_group, of};
use crate::jobs::{done, named, queue_with, up_to};
use crate::support::Place;

const STEPS: u64 = 500;
const NAMES: u64 = 30;
const GROUPS: [&str; 4] = ["a", "ab", "b", "é"];
const FAR: Duration = Duration::from_secs(3600);

/// A job that has not ended. `None` stands for those without a group.
#[derive(Debug, Clone)]
struct Modelled {
    group: Option<&'static str>,
    state: State,
    /// Smaller ones first: the priority downwards, and the number.
    order: (i8, u64),
}

#[derive(Debug, Default)]
struct Model {
    jobs: BTreeMap<String, Modelled>,
    tickets: BTreeMap<String, Ticket>,
    numbers: u64,
    /// The turns of the groups that may have one, and of those without a group.
    ring: BTreeMap<&'static str, u64>,
    own: u64,
    last: u64,
    max: Option<u32>,
    maxes: BTreeMap<&'static str, u32>,
}

impl Model {
    fn count(&self, group: Option<&str>, state: State) -> usize {
        self.jobs.values().filter(|job| job.group == group && job.state == state).count()
    }

    fn first(&self, group: Option<&str>) -> Option<(&String, (i8, u64))> {
        let waiting = self.jobs.iter().filter(|(_, job)| job.group == group && job.state == State::Waiting);
        waiting.map(|(id, job)| (id, job.order)).min_by_key(|(_, order)| *order)
    }

    fn turn(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Has a group be in the ring if it should be; `again` if it has just had its turn.
    fn review(&mut self, group: &'static str, again: bool) {
        let active = self.count(Some(group), State::Active) as u32;
        let max = self.maxes.get(group).copied().or(self.max).unwrap_or(u32::MAX);
        if self.first(Some(group)).is_none() || active >= max {
            self.ring.remove(group);
        } else if again || !self.ring.contains_key(group) {
            let turn = self.turn();
            self.ring.insert(group, turn);
        }
    }

    fn review_all(&mut self) {
        GROUPS.into_iter().for_each(|group| self.review(group, false));
        if self.jobs.values().all(|job| job.group.is_none()) {
            (self.own, self.last) = (0, 0);
        }
    }

    fn end(&mut self, id: &str) {
        self.jobs.remove(id);
        self.review_all();
    }

    fn lease(&mut self) -> Option<String> {
        let next = |group: Option<&str>, turn: u64| Some((self.first(group)?.1.0, turn));
        let group = self.ring.iter().filter_map(|(group, turn)| Some((next(Some(group), *turn)?, *group))).min();
        let group = match (group, next(None, self.own)) {
            (Some((place, group)), Some(own)) if place < own => Some(group),
            (Some((_, group)), None) => Some(group),
            (_, Some(_)) => None,
            (None, None) => return None,
        };
        let id = self.first(group)?.0.clone();
        self.jobs.get_mut(&id).unwrap().state = State::Active;
        match group {
            Some(group) => self.review(group, true),
            None if self.jobs.values().any(|job| job.group.is_some()) => self.own = self.turn(),
            None => {}
        }
        Some(id)
    }
}

async fn enqueue(queue: &Queue, model: &mut Model, random: &mut Random) {
    let id = format!("job{}", random.below(NAMES));
    let group = (random.below(5) > 0).then(|| *random.pick(&GROUPS));
    let priority = random.below(2) as i8;
    let delay = if random.below(6) == 0 { FAR } else { Duration::ZERO };
    let job = NewJob { priority, delay, ..named(&id) };
    let job = group.map_or(job.clone(), |group| NewJob { priority, delay, ..of(group, &id) });
    let is_new = queue.enqueue(&job).await.unwrap().existing.is_none();
    assert_eq!(is_new, !model.jobs.contains_key(&id));
    if is_new {
        model.numbers += 1;
        let state = if delay.is_zero() { State::Waiting } else { State::Delayed };
        model.jobs.insert(id, Modelled { group, state, order: (-priority, model.numbers) });
        model.review_all();
    }
}

async fn lease(queue: &Queue, model: &mut Model, random: &mut Random) {
    let count = 1 + random.below(4) as usize;
    let expected: Vec<String> = (0..count).map_while(|_| model.lease()).collect();
    let leased = queue.lease(&up_to(count)).await.unwrap();
    let found: Vec<&str> = leased.iter().map(|leased| leased.job.id.as_str()).collect();
    assert_eq!(found, expected);
    model.tickets.extend(leased.into_iter().map(|leased| (leased.job.id, leased.ticket)));
}

async fn settle(queue: &Queue, model: &mut Model, random: &mut Random) {
    let active: Vec<&String> =
        model.jobs.iter().filter(|(_, job)| job.state == State::Active).map(|(id, _)| id).collect();
    if active.is_empty() {
        return;
    }
    let id = (*random.pick(&active)).clone();
    let failed = |retry_after| Outcome::Failed { error: "no".to_owned(), retry_after: Some(retry_after) };
    let outcome = match random.below(6) {
        0 => Outcome::Released { delay: Duration::ZERO },
        1 => failed(Duration::ZERO),
        2 => failed(FAR),
        3 => Outcome::GivenUp { error: String::new() },
        _ => done(),
    };
    let state = queue.settle_one(&model.tickets[&id], outcome).await.unwrap();
    match state.is_ended() {
        true => model.end(&id),
        false => {
            model.jobs.get_mut(&id).unwrap().state = state;
            model.review_all();
        }
    }
}

async fn operate(queue: &Queue, model: &mut Model, random: &mut Random) {
    match random.below(5) {
        0 => {
            let free = |job: &&Modelled| matches!(job.state, State::Waiting | State::Delayed);
            let free: Vec<String> = model.jobs.iter().filter(|(_, job)| free(job)).map(|(id, _)| id.clone()).collect();
            if let [_, ..] = free.as_slice() {
                let id = random.pick(&free).clone();
                queue.cancel(std::slice::from_ref(&id)).await.unwrap();
                model.end(&id);
            }
        }
        1 => {
            let state = *random.pick(&[State::Waiting, State::Delayed]);
            let before = model.jobs.len();
            model.jobs.retain(|_, job| job.state != state || before.is_multiple_of(2));
            if !before.is_multiple_of(2) {
                queue.clear(state, Which::All).await.unwrap();
            }
            model.review_all();
        }
        2 => {
            model.max = (random.below(3) > 0).then(|| 1 + random.below(3) as u32);
            let bounds = model.max.map_or(Bounds::default(), each_group);
            queue.limit(&bounds).await.unwrap();
            model.review_all();
        }
        _ => {
            let (group, max) = (*random.pick(&GROUPS), 1 + random.below(3) as u32);
            if random.below(2) == 0 {
                model.maxes.insert(group, max);
            } else {
                model.maxes.remove(group);
            }
            let bounds = model.maxes.get(group).map_or_else(GroupBounds::default, |max| at_most(*max));
            queue.limit_group(group, &bounds).await.unwrap();
            model.review_all();
        }
    }
}

async fn check(queue: &Queue, model: &Model) {
    let of_groups = queue.groups("", 9).await.unwrap();
    let mut expected = Vec::new();
    for group in GROUPS {
        let [waiting, active] = [State::Waiting, State::Active].map(|state| model.count(Some(group), state) as u64);
        if waiting + active > 0 {
            let max = model.maxes.get(group).copied().or(model.max);
            expected.push((group.to_owned(), waiting, active, max.map(u64::from)));
        }
    }
    let found: Vec<_> =
        of_groups.into_iter().map(|found| (found.group, found.waiting, found.active, found.active_max)).collect();
    assert_eq!(found, expected);
    let counts = queue.counts().await.unwrap();
    let all = |state: State| model.jobs.values().filter(|job| job.state == state).count() as u64;
    let [waiting, delayed, active] = [State::Waiting, State::Delayed, State::Active].map(all);
    assert_eq!((counts.waiting, counts.delayed, counts.active), (waiting, delayed, active));
}

pub(crate) async fn turns_match_the_model(place: Place) {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let settings = JobSettings { attempts_max: 9_999, lease: FAR, ..JobSettings::default() };
    let queue = queue_with(&place, settings).await;
    let (mut model, mut random) = (Model::default(), Random::new(seed));
    for _ in 0..STEPS {
        match random.below(10) {
            0..4 => enqueue(&queue, &mut model, &mut random).await,
            4..6 => lease(&queue, &mut model, &mut random).await,
            6..9 => settle(&queue, &mut model, &mut random).await,
            _ => operate(&queue, &mut model, &mut random).await,
        }
        check(&queue, &model).await;
    }
}
