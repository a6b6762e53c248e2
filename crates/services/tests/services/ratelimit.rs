//! Tests of the rate limiter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redpoll_services::metrics::Counter;
use redpoll_services::ratelimit::{Algorithm, Decision, DecisionSource, MAX_LOG_LIMIT, RateLimit, Rule};
use redpoll_services::{Command, Error, OutagePolicy, Services, Settings, Tenant};
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Place, tenant};

const DAY_MS: u64 = 86_400_000;

async fn open(place: &Place) -> (Services, Tenant, RateLimit) {
    let (services, tenant) = (place.services().await, tenant());
    let limiter = services.rate_limit(&tenant);
    (services, tenant, limiter)
}

fn rule(algorithm: Algorithm, limit: u64, window_ms: u64) -> Rule {
    Rule::new("api", algorithm, limit, window_ms).unwrap()
}

fn state_key(tenant: &Tenant, algorithm: Algorithm, subject: &str) -> String {
    let kind = match algorithm {
        Algorithm::FixedWindow => "f",
        Algorithm::SlidingLog => "l",
        Algorithm::SlidingCounter => "c",
        Algorithm::TokenBucket => "b",
    };
    format!("rp:{{{}:rate:api:{subject}}}:{kind}", tenant.name())
}

/// The store's clock when it decided.
fn now_of(decision: &Decision) -> u64 {
    decision.reset_at_ms.unwrap() - decision.reset_after_ms
}

/// Waiting for time itself.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Waits for the beginning of an aligned window, so that what follows fits into it.
async fn align(services: &Services, window_ms: u64) {
    let now = services.backend().now_ms().await.unwrap();
    pass(window_ms - now % window_ms).await;
}

pub(crate) async fn hammering_admits_exactly_the_limit(place: Place) {
    const THREADS: usize = 64;
    const EACH: usize = 20;
    let tenant = tenant();
    let processes = [place.services().await, place.services().await];
    for algorithm in Algorithm::ALL {
        let rule = Arc::new(rule(algorithm, 100, DAY_MS));
        let start = Arc::new(Barrier::new(THREADS));
        let mut threads = JoinSet::new();
        for thread in 0..THREADS {
            let limiter = processes[thread % 2].rate_limit(&tenant);
            let (rule, start) = (rule.clone(), start.clone());
            let hammer = async move {
                start.wait().await;
                let mut admitted = 0;
                for request in 0..EACH {
                    let cost = 1 + (request % 2) as u64;
                    let decision = limiter.take(&rule, "u", cost).await.unwrap();
                    admitted += if decision.allowed { cost } else { 0 };
                }
                admitted
            };
            threads.spawn_blocking(|| Handle::current().block_on(hammer));
        }
        assert_eq!(threads.join_all().await.iter().sum::<u64>(), 100, "{algorithm:?}");
        assert_eq!(processes[0].rate_limit(&tenant).peek(&rule, "u", 1).await.unwrap().remaining, 0);
    }
}

pub(crate) async fn twenty_in_one_second_with_limit_five(place: Place) {
    let (_, _, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let rule = Arc::new(rule(algorithm, 5, DAY_MS));
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let (limiter, rule) = (limiter.clone(), rule.clone());
            tasks.spawn(async move { limiter.check(&rule, "u").await.unwrap().allowed });
        }
        let allowed = tasks.join_all().await.into_iter().filter(|allowed| *allowed).count();
        assert_eq!(allowed, 5, "{algorithm:?}");
    }
}

pub(crate) async fn no_double_burst_at_the_border(place: Place) {
    const WINDOW_MS: u64 = 1000;
    let (services, _, limiter) = open(&place).await;
    for algorithm in [Algorithm::SlidingLog, Algorithm::SlidingCounter, Algorithm::TokenBucket] {
        let rule = rule(algorithm, 20, WINDOW_MS);
        align(&services, WINDOW_MS).await;
        pass(WINDOW_MS - 150).await;
        let mut admitted = 0;
        let mut first = None;
        loop {
            let decision = limiter.check(&rule, "u").await.unwrap();
            if now_of(&decision) - *first.get_or_insert(now_of(&decision)) >= 300 {
                break;
            }
            admitted += u64::from(decision.allowed);
        }
        // Within 300 ms across the border: the limit, and at most what these 300 ms give back.
        assert!((20..=20 + 20 * 3 / 10 + 1).contains(&admitted), "{algorithm:?} admitted {admitted}");
    }
}

/// What each algorithm should answer, in exact arithmetic, given the store's clock.
enum Model {
    Fixed { start: u64, count: u64 },
    Log(VecDeque<u64>),
    Counter { bucket: u64, current: i128, previous: i128 },
    Bucket { level: i128, at: u64 },
}

impl Model {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::FixedWindow => Self::Fixed { start: 0, count: 0 },
            Algorithm::SlidingLog => Self::Log(VecDeque::new()),
            Algorithm::SlidingCounter => Self::Counter { bucket: 0, current: 0, previous: 0 },
            Algorithm::TokenBucket => Self::Bucket { level: 0, at: 0 },
        }
    }

    /// Returns whether `cost` is admitted at `now`, and what remains.
    fn take(&mut self, limit: u64, window: u64, cost: u64, now: u64) -> (bool, u64) {
        let (limit128, window128, cost128) = (i128::from(limit), i128::from(window), i128::from(cost));
        match self {
            Self::Fixed { start, count } => {
                if now - *start >= window {
                    (*start, *count) = (now, 0);
                }
                let allowed = *count + cost <= limit;
                *count += if allowed { cost } else { 0 };
                if *count == 0 {
                    *start = 0;
                }
                (allowed, limit - *count)
            }
            Self::Log(times) => {
                times.retain(|time| time + window > now);
                let allowed = times.len() as u64 + cost <= limit;
                times.extend((0..if allowed { cost } else { 0 }).map(|_| now));
                (allowed, limit - times.len() as u64)
            }
            Self::Counter { bucket, current, previous } => {
                let this = now / window;
                match this - *bucket {
                    0 => {}
                    1 => (*previous, *current) = (*current, 0),
                    _ => (*previous, *current) = (0, 0),
                }
                *bucket = this;
                let left = i128::from(window - now % window);
                let allowed = *previous * left + (*current + cost128) * window128 <= limit128 * window128;
                *current += if allowed { cost128 } else { 0 };
                let used = *previous * left + *current * window128;
                (allowed, ((limit128 * window128 - used).max(0) / window128) as u64)
            }
            Self::Bucket { level, at } => {
                *level = (*level - i128::from(now - *at) * limit128).max(0);
                *at = now;
                let allowed = *level + cost128 * window128 <= limit128 * window128;
                *level += if allowed { cost128 * window128 } else { 0 };
                (allowed, ((limit128 * window128 - *level) / window128) as u64)
            }
        }
    }
}

pub(crate) async fn decisions_match_the_model(place: Place) {
    let (_, _, limiter) = open(&place).await;
    // Windows that do not divide evenly, so that remainders show. The last is long enough that the slowest store has to refuse.
    for (limit, window_ms) in [(7, 53), (3, 10), (100, 37), (1, 5), (50, 600_011)] {
        for algorithm in Algorithm::ALL {
            let rule = rule(algorithm, limit, window_ms);
            let subject = format!("{limit}-{window_ms}");
            let mut model = Model::new(algorithm);
            let mut draw = 0x9e37_79b9_7f4a_7c15_u64 ^ window_ms;
            let mut refused = 0;
            for step in 0..200 {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let cost = 1 + (draw >> 40) % limit.min(4);
                if (draw >> 33).is_multiple_of(16) {
                    pass((draw >> 50) % 20).await;
                }
                let decision = limiter.take(&rule, &subject, cost).await.unwrap();
                let expected = model.take(limit, window_ms, cost, now_of(&decision));
                assert_eq!(
                    (decision.allowed, decision.remaining),
                    expected,
                    "{algorithm:?} {limit}/{window_ms} {step}"
                );
                assert_eq!(decision.retry_after_ms == 0, decision.allowed);
                refused += u64::from(!decision.allowed);
            }
            assert!(refused < 200, "{algorithm:?} {limit}/{window_ms}: nothing is admitted");
            assert!(window_ms < 600_000 || refused > 0, "{algorithm:?} {limit}/{window_ms}: nothing is refused");
        }
    }
}

pub(crate) async fn refusal_consumes_nothing(place: Place) {
    let (_, _, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let rule = rule(algorithm, 10, DAY_MS);
        assert_eq!(limiter.take(&rule, "u", 7).await.unwrap().remaining, 3);
        for _ in 0..5 {
            let refused = limiter.take(&rule, "u", 4).await.unwrap();
            assert_eq!((refused.allowed, refused.remaining, refused.limit), (false, 3, 10), "{algorithm:?}");
            assert!(refused.retry_after_ms > 0 && refused.retry_after_ms <= 2 * DAY_MS);
        }
        let rest = limiter.take(&rule, "u", 3).await.unwrap();
        assert_eq!((rest.allowed, rest.remaining), (true, 0), "{algorithm:?}");
    }
}

pub(crate) async fn cost_above_the_limit_is_an_error(place: Place) {
    let (_, _, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let rule = rule(algorithm, 10, DAY_MS);
        for cost in [0, 11, u64::MAX] {
            let error = limiter.take(&rule, "u", cost).await.unwrap_err();
            assert!(matches!(error, Error::InvalidInput { field: "cost", .. }), "{algorithm:?} {error:?}");
        }
        assert_eq!(limiter.peek(&rule, "u", 10).await.unwrap().remaining, 10);
    }
    let burst = rule(Algorithm::TokenBucket, 10, DAY_MS).with_burst(50).unwrap();
    let decision = limiter.take(&burst, "burst", 50).await.unwrap();
    assert_eq!((decision.allowed, decision.remaining, decision.limit), (true, 0, 50));
    assert!(decision.reset_after_ms <= 5 * DAY_MS && decision.reset_after_ms > 4 * DAY_MS);
}

pub(crate) async fn peek_consumes_nothing(place: Place) {
    let (services, tenant, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let rule = rule(algorithm, 3, DAY_MS);
        for _ in 0..5 {
            let peeked = limiter.peek(&rule, "u", 1).await.unwrap();
            assert_eq!((peeked.allowed, peeked.remaining, peeked.reset_after_ms), (true, 3, 0), "{algorithm:?}");
        }
        let state = Command::new("EXISTS").key(state_key(&tenant, algorithm, "u"));
        assert_eq!(services.backend().call(state).await.unwrap().as_i64(), Some(0));
        limiter.take(&rule, "u", 2).await.unwrap();
        assert!(limiter.peek(&rule, "u", 1).await.unwrap().allowed);
        assert!(!limiter.peek(&rule, "u", 2).await.unwrap().allowed);
        assert_eq!(limiter.peek(&rule, "u", 1).await.unwrap().remaining, 1);
    }
}

pub(crate) async fn reset_forgets(place: Place) {
    let (_, _, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let rule = rule(algorithm, 2, DAY_MS);
        assert_eq!(limiter.reset(&rule, "u").await, Ok(false));
        limiter.take(&rule, "u", 2).await.unwrap();
        assert!(!limiter.check(&rule, "u").await.unwrap().allowed);
        assert_eq!(limiter.reset(&rule, "u").await, Ok(true));
        assert_eq!(limiter.check(&rule, "u").await.unwrap().remaining, 1, "{algorithm:?}");
    }
}

pub(crate) async fn retry_after_is_when_it_is_admitted(place: Place) {
    let (_, _, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let rule = rule(algorithm, 5, 250);
        let mut waits = 0;
        for cost in [2, 3, 1, 5, 4, 2, 5, 1, 3] {
            let decision = limiter.take(&rule, "u", cost).await.unwrap();
            if decision.allowed {
                continue;
            }
            waits += 1;
            assert!(decision.retry_after_ms <= 500, "{algorithm:?} {decision:?}");
            // One ms before, it must not be; then it must.
            if decision.retry_after_ms > 20 {
                pass(decision.retry_after_ms - 20).await;
                let early = limiter.peek(&rule, "u", cost).await.unwrap();
                let due = now_of(&decision) + decision.retry_after_ms;
                assert_eq!(early.allowed, now_of(&early) >= due, "{algorithm:?} {decision:?} {early:?}");
                assert!(early.allowed || early.retry_after_ms == due - now_of(&early), "{decision:?} {early:?}");
                pass(early.retry_after_ms).await;
            } else {
                pass(decision.retry_after_ms).await;
            }
            assert!(limiter.take(&rule, "u", cost).await.unwrap().allowed, "{algorithm:?} {decision:?}");
        }
        assert!(waits > 0, "{algorithm:?}");
    }
}

pub(crate) async fn state_always_expires(place: Place) {
    let (services, tenant, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let rule = rule(algorithm, 3, 60_000);
        for _ in 0..6 {
            limiter.check(&rule, "u").await.unwrap();
            let pttl = Command::new("PTTL").key(state_key(&tenant, algorithm, "u"));
            let pttl = services.backend().call(pttl).await.unwrap().as_i64().unwrap();
            assert!((1..=120_000).contains(&pttl), "{algorithm:?} {pttl}");
        }
    }
}

pub(crate) async fn changed_limit_and_window(place: Place) {
    let (_, _, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let daily = |limit| rule(algorithm, limit, DAY_MS);
        assert_eq!(limiter.take(&daily(10), "u", 6).await.unwrap().remaining, 4);
        let lowered = limiter.take(&daily(4), "u", 1).await.unwrap();
        assert_eq!((lowered.allowed, lowered.remaining), (false, 0), "{algorithm:?}");
        assert!((1..=2 * DAY_MS).contains(&lowered.retry_after_ms), "{algorithm:?} {lowered:?}");
        let raised = limiter.take(&daily(20), "u", 1).await.unwrap();
        assert_eq!((raised.allowed, raised.remaining), (true, 13), "{algorithm:?}");
        // Half the window: what was used stays used, and nobody waits longer than the new rule can make them.
        let halved = limiter.take(&rule(algorithm, 20, DAY_MS / 2), "u", 1).await.unwrap();
        assert_eq!((halved.allowed, halved.remaining), (true, 12), "{algorithm:?}");
        assert!(halved.reset_after_ms <= DAY_MS, "{algorithm:?}");
        let doubled = limiter.take(&daily(20), "u", 1).await.unwrap();
        assert_eq!((doubled.allowed, doubled.remaining), (true, 11), "{algorithm:?}");
    }
}

pub(crate) async fn subjects_rules_and_tenants_are_apart(place: Place) {
    let (services, _, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let one = rule(algorithm, 1, DAY_MS);
        let other = Rule::new("api2", algorithm, 1, DAY_MS).unwrap();
        assert!(limiter.check(&one, "a").await.unwrap().allowed);
        assert!(!limiter.check(&one, "a").await.unwrap().allowed);
        assert!(limiter.check(&one, "a:b").await.unwrap().allowed);
        assert!(limiter.check(&one, "a%3Ab").await.unwrap().allowed);
        assert!(limiter.check(&other, "a").await.unwrap().allowed);
        assert!(services.rate_limit(&tenant()).check(&one, "a").await.unwrap().allowed);
        assert!(limiter.check(&one, "").await.is_err());
    }
}

/// Writes what the state looks like when the clock that wrote it was an hour ahead, with 3 units used.
async fn write_state_of_the_future(services: &Services, key: &str, algorithm: Algorithm) {
    let ahead = services.backend().now_ms().await.unwrap() + 3_600_000;
    let numbers = match algorithm {
        Algorithm::FixedWindow => vec![ahead, 3],
        Algorithm::SlidingLog => Vec::new(),
        Algorithm::SlidingCounter => vec![1000, ahead / 1000, 3, 3],
        Algorithm::TokenBucket => vec![1000, 3000, ahead],
    };
    let write = if algorithm == Algorithm::SlidingLog {
        Command::new("ZADD").key(key).arg(ahead).arg(format!("{ahead}:0:3"))
    } else {
        let digits: String = numbers.iter().map(|number| format!("{number:016}")).collect();
        Command::new("SET").key(key).arg(digits)
    };
    services.backend().call(write).await.unwrap();
}

pub(crate) async fn void_state_of_a_clock_that_went_back(place: Place) {
    let (services, tenant, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        write_state_of_the_future(&services, &state_key(&tenant, algorithm, "u"), algorithm).await;
        let rule = rule(algorithm, 3, 1000);
        let decision = limiter.check(&rule, "u").await.unwrap();
        assert!(decision.retry_after_ms <= 2000, "{algorithm:?} {decision:?}");
        pass(decision.retry_after_ms).await;
        assert!(limiter.check(&rule, "u").await.unwrap().allowed, "{algorithm:?}");
    }
}

pub(crate) async fn peek_leaves_void_state_as_it_is(place: Place) {
    let (services, tenant, limiter) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let key = state_key(&tenant, algorithm, "u");
        write_state_of_the_future(&services, &key, algorithm).await;
        let all = || async {
            let read = if algorithm == Algorithm::SlidingLog {
                Command::new("ZRANGE").key(&key).arg(0_u64).arg(-1_i64).arg("WITHSCORES")
            } else {
                Command::new("GET").key(&key)
            };
            services.backend().call(read).await.unwrap()
        };
        let before = all().await;
        let peeked = limiter.peek(&rule(algorithm, 3, 1000), "u", 3).await.unwrap();
        assert!(peeked.allowed, "{algorithm:?} {peeked:?}");
        assert_eq!(all().await, before, "{algorithm:?}");
        let pttl = services.backend().call(Command::new("PTTL").key(&key)).await.unwrap();
        assert_eq!(pttl.as_i64(), Some(-1), "{algorithm:?}");
    }
}

pub(crate) async fn a_log_grows_by_requests_and_not_by_cost(place: Place) {
    let (services, tenant, limiter) = open(&place).await;
    let rule = rule(Algorithm::SlidingLog, MAX_LOG_LIMIT, DAY_MS);
    let size = Command::new("ZCARD").key(state_key(&tenant, Algorithm::SlidingLog, "u"));
    for (cost, remaining) in [(MAX_LOG_LIMIT - 10, 10), (7, 3), (3, 0)] {
        assert_eq!(limiter.take(&rule, "u", cost).await.unwrap().remaining, remaining);
    }
    assert!(!limiter.check(&rule, "u").await.unwrap().allowed);
    let elements = services.backend().call(size).await.unwrap().as_i64().unwrap();
    assert!((1..=3).contains(&elements), "{elements}");
}

pub(crate) async fn a_log_knows_whose_leaving_makes_room(place: Place) {
    let (_, _, limiter) = open(&place).await;
    let rule = rule(Algorithm::SlidingLog, 10, DAY_MS);
    let mut times = Vec::new();
    for cost in [1, 2, 3, 4] {
        times.push(now_of(&limiter.take(&rule, "u", cost).await.unwrap()));
        pass(2).await;
    }
    // The first makes room for 1, the second for 3 in all, and so on.
    for cost in 1..=10 {
        let refused = limiter.peek(&rule, "u", cost).await.unwrap();
        let leaves = times[[1, 3, 6, 10].iter().position(|units| *units >= cost).unwrap()];
        assert_eq!(now_of(&refused) + refused.retry_after_ms, leaves + DAY_MS, "{cost}");
    }
}

pub(crate) async fn a_log_is_pruned_a_little_at_a_time(place: Place) {
    let (services, tenant, limiter) = open(&place).await;
    let key = state_key(&tenant, Algorithm::SlidingLog, "u");
    let then = services.backend().now_ms().await.unwrap() - 2 * DAY_MS;
    let mut write = Command::new("ZADD").key(&key);
    for index in 0..100 {
        write = write.arg(then + index).arg(format!("{}:{index}:1", then + index));
    }
    services.backend().call(write).await.unwrap();
    let rule = rule(Algorithm::SlidingLog, 10, DAY_MS);
    let mut before = 100;
    for remaining in (0..10).rev() {
        assert_eq!(limiter.check(&rule, "u").await.unwrap().remaining, remaining);
        let left = services.backend().call(Command::new("ZCARD").key(&key)).await.unwrap().as_i64().unwrap();
        assert!(left >= before - 16, "{before} to {left}");
        before = left;
    }
    assert!(before <= 10, "{before} are left of those that left the window");
}

#[tokio::test]
async fn outage_policy_is_chosen_and_visible() {
    for (outage, allowed) in [(OutagePolicy::Open, true), (OutagePolicy::Closed, false)] {
        let mut settings = Settings::default();
        settings.outage.choose("rate", outage).unwrap();
        let services = Place::down().services_lazily(settings);
        let limiter = services.rate_limit(&tenant());
        let decision = limiter.check(&rule(Algorithm::SlidingCounter, 5, 1000), "u").await.unwrap();
        assert_eq!((decision.allowed, decision.source), (allowed, DecisionSource::OutagePolicy));
        assert_eq!(decision.retry_after_ms > 0, !allowed);
        assert_eq!(services.metrics().value(Counter::RateOutages), 1);
        assert!(limiter.reset(&rule(Algorithm::SlidingCounter, 5, 1000), "u").await.unwrap_err().is_outage());
    }
    let mut settings = Settings::default();
    settings.outage.choose("rate", OutagePolicy::Error).unwrap();
    let services = Place::down().services_lazily(settings);
    let error = services.rate_limit(&tenant()).check(&rule(Algorithm::FixedWindow, 5, 1000), "u").await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    assert_eq!(services.metrics().value(Counter::RateOutages), 1);
}
