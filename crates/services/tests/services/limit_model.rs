//! A random sequence of everything that changes limits, held against a few counters in memory.
//!
//! Windows are so long that time does not pass in them; what time does is tested beside the algorithms.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use redpoll_services::OutagePolicy;
use redpoll_services::limits::{Limit, Plan, Reservation, Scope};
use redpoll_services::ratelimit::Algorithm;
use redpoll_services::{Error, Ttl};

use crate::limits::{limit, open};
use crate::support::Place;

/// Longer than the test runs, and aligned to a border that is years away.
const WINDOW: Duration = Duration::from_secs(366 * 86_400);
const STEPS: usize = 400;

/// What a limit should have counted.
#[derive(Debug, Clone, Copy)]
struct Count {
    limit: i64,
    debt: i64,
    used: i64,
    held: i64,
}

impl Count {
    fn free(&self) -> i64 {
        self.limit - self.used - self.held
    }

    fn charge(&mut self, units: i64) -> i64 {
        let charged = units.min((self.free() + self.debt).max(0));
        self.used += charged;
        charged
    }
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

struct Model {
    draw: Draw,
    limits: Vec<(Scope, Limit)>,
    counts: Vec<Count>,
    blocked: HashMap<String, bool>,
    open: Vec<(Reservation, Vec<(usize, i64)>)>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let user = Scope::new("user", "u").unwrap();
        let org = Scope::new("org", "o").unwrap();
        let mut limits = Vec::new();
        let mut counts = Vec::new();
        for (index, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            for scope in [&user, &org] {
                let (amount, debt) = (30 + 5 * index as u64, 7 * (index as u64 % 2));
                let limit = limit(&format!("l{index}"), algorithm, amount, WINDOW).with_debt(debt).unwrap();
                counts.push(Count { limit: amount as i64, debt: debt as i64, used: 0, held: 0 });
                limits.push((scope.clone(), limit));
            }
        }
        Self { draw: Draw(seed), limits, counts, blocked: HashMap::new(), open: Vec::new() }
    }

    /// Draws a plan, and says what it costs of which limit.
    fn plan(&mut self) -> (Plan, Vec<(usize, i64)>) {
        let mut costs = Vec::new();
        let mut plan = Plan::new(OutagePolicy::Closed);
        for index in 0..self.limits.len() {
            if self.draw.below(3) == 0 {
                let cost = 1 + self.draw.below(6);
                let (scope, limit) = &self.limits[index];
                plan = plan.with(scope, limit, cost).unwrap();
                costs.push((index, cost as i64));
            }
        }
        (plan, costs)
    }

    fn admits(&self, costs: &[(usize, i64)]) -> bool {
        let free = |(index, cost): &(usize, i64)| {
            let blocked = self.blocked.get(&self.limits[*index].0.to_string()) == Some(&true);
            !blocked && self.counts[*index].free() >= *cost
        };
        costs.iter().all(free)
    }
}

pub(crate) async fn everything_matches_the_model(place: Place) {
    let seed = std::env::var("REDPOLL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 16 | 0x9e37);
    println!("REDPOLL_SEED={seed}");
    let (_, _, limits) = open(&place).await;
    let mut model = Model::new(seed);
    let (mut admitted, mut refused) = (0, 0);
    for step in 0..STEPS {
        let (plan, costs) = model.plan();
        let expect = model.admits(&costs);
        match model.draw.below(10) {
            0..=3 => {
                let verdict = limits.check(&plan).await.unwrap();
                assert_eq!(verdict.allowed, expect, "seed {seed} step {step}: {verdict:?}");
                (admitted, refused) = (admitted + u64::from(expect), refused + u64::from(!expect));
                for (index, cost) in costs.iter().filter(|_| expect) {
                    model.counts[*index].used += cost;
                }
            }
            4 | 5 => {
                let reserved = limits.reserve(&plan, Duration::from_secs(600)).await.unwrap();
                assert_eq!(reserved.verdict.allowed, expect, "seed {seed} step {step}: {:?}", reserved.verdict);
                if let Some(reservation) = reserved.reservation {
                    costs.iter().for_each(|(index, cost)| model.counts[*index].held += cost);
                    model.open.push((reservation, costs));
                }
            }
            6 if !model.open.is_empty() => settle(&mut model, seed, step).await,
            7 => {
                for (charged, (index, cost)) in limits.penalise(&plan).await.unwrap().iter().zip(costs) {
                    assert_eq!(charged.units as i64, model.counts[index].charge(cost), "seed {seed} step {step}");
                }
            }
            8 => reward(&limits, &mut model, seed, step).await,
            _ => {
                let scope = model.limits[model.draw.below(2) as usize].0.clone();
                let block = model.draw.below(3) == 0;
                if block {
                    limits.block(&scope, Ttl::Never, "", "").await.unwrap();
                } else {
                    limits.unblock(&scope, "").await.unwrap();
                }
                model.blocked.insert(scope.to_string(), block);
            }
        }
        // Reading changes nothing, and says the same as the model.
        let all = model
            .limits
            .iter()
            .fold(Plan::new(OutagePolicy::Closed), |plan, (scope, limit)| plan.with(scope, limit, 1).unwrap());
        let states = limits.peek(&all).await.unwrap();
        let remaining: Vec<i64> = states.limits.iter().map(|state| state.remaining as i64).collect();
        let expected: Vec<i64> = model.counts.iter().map(|count| count.free().max(0)).collect();
        assert_eq!(remaining, expected, "seed {seed} step {step}: {:?}", model.counts);
    }
    assert!(admitted > 5 && refused > 5, "seed {seed}: the test must see both, {admitted} and {refused}");
}

async fn settle(model: &mut Model, seed: u64, step: usize) {
    let place = model.draw.below(model.open.len() as u64) as usize;
    let (reservation, costs) = model.open.swap_remove(place);
    for (index, cost) in &costs {
        model.counts[*index].held -= cost;
    }
    let used = model.draw.below(15);
    if used == 0 {
        reservation.refund().await.unwrap();
        return;
    }
    let settled = reservation.commit(&BTreeMap::from([("requests".to_owned(), used)])).await.unwrap();
    for (limit, (index, _)) in settled.limits.iter().zip(&costs) {
        assert_eq!(limit.charged as i64, model.counts[*index].charge(used as i64), "seed {seed} step {step}");
    }
    let again = reservation.commit(&BTreeMap::from([("requests".to_owned(), used + 1)])).await;
    assert_eq!(costs.is_empty(), again.is_ok(), "seed {seed} step {step}: {again:?}");
    assert!(matches!(again, Ok(_) | Err(Error::Conflict(_))), "seed {seed} step {step}: {again:?}");
}

async fn reward(limits: &redpoll_services::limits::Limits, model: &mut Model, seed: u64, step: usize) {
    let index = model.draw.below(model.limits.len() as u64) as usize;
    let units = 1 + model.draw.below(8);
    let (scope, limit) = &model.limits[index];
    if limit.rule().algorithm() == Algorithm::SlidingLog {
        return;
    }
    let plan = Plan::new(OutagePolicy::Closed).with(scope, limit, units).unwrap();
    let given = limits.reward(&plan).await.unwrap()[0].units as i64;
    let count = &mut model.counts[index];
    assert_eq!(given, (units as i64).min(count.used), "seed {seed} step {step}");
    count.used -= given;
}
