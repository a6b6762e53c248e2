//! Tests of rate limit policies: several limits at once, who they hold for, and what a refusal leaves behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_services::OutagePolicy;
use redpoll_services::limits::{Limit, Limits, Plan, Policy, Quota, Request, Scope, Verdict, VerdictSource};
use redpoll_services::metrics::Counter;
use redpoll_services::ratelimit::{Algorithm, Rule};
use redpoll_services::{Command, Error, Services, Settings, Tenant};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Place, tenant};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) async fn open(place: &Place) -> (Services, Tenant, Limits) {
    let (services, tenant) = (place.services().await, tenant());
    let limits = services.limits(&tenant);
    (services, tenant, limits)
}

pub(crate) fn user(id: &str) -> Scope {
    Scope::new("user", id).unwrap()
}

pub(crate) fn limit(name: &str, algorithm: Algorithm, amount: u64, window: Duration) -> Limit {
    Limit::new(name, algorithm, Quota::new(amount, window)).unwrap()
}

pub(crate) fn plan(parts: &[(&Scope, &Limit, u64)]) -> Plan {
    let none = Plan::new(OutagePolicy::Closed);
    parts.iter().fold(none, |plan, (scope, limit, cost)| plan.with(scope, limit, *cost).unwrap())
}

pub(crate) fn remaining(verdict: &Verdict) -> Vec<u64> {
    verdict.limits.iter().map(|state| state.remaining).collect()
}

/// Waiting for time itself.
pub(crate) async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// What the first idea comes to: one limit after the other, each consuming.
async fn one_after_the_other(services: &Services, tenant: &Tenant, rules: &[Rule]) -> bool {
    for rule in rules {
        if !services.rate_limit(tenant).check(rule, "u").await.unwrap().allowed {
            return false;
        }
    }
    true
}

pub(crate) async fn the_minute_is_not_consumed_when_the_hour_refuses(place: Place) {
    let (services, tenant, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        let minute = limit("minute", algorithm, 10, DAY);
        let hour = limit("hour", algorithm, 3, DAY * 2);
        let request = plan(&[(&user, &minute, 1), (&user, &hour, 1)]);
        for _ in 0..3 {
            assert!(limits.check(&request).await.unwrap().allowed);
        }
        for _ in 0..5 {
            let refused = limits.check(&request).await.unwrap();
            assert_eq!((refused.allowed, refused.binding.as_deref()), (false, Some("hour")));
            assert_eq!(remaining(&refused), [7, 0], "{algorithm:?}");
        }
        assert_eq!(limits.check(&plan(&[(&user, &minute, 7)])).await.unwrap().remaining, Some(0));
    }
    // The same by the first idea loses the minute to refusals.
    let rules = [("minute", 10), ("hour", 3)]
        .map(|(name, limit)| Rule::new(name, Algorithm::FixedWindow, limit, 86_400_000).unwrap());
    let mut admitted = 0;
    for _ in 0..8 {
        admitted += u64::from(one_after_the_other(&services, &tenant, &rules).await);
    }
    let minute = services.rate_limit(&tenant).peek(&rules[0], "u", 1).await.unwrap();
    assert_eq!((admitted, minute.remaining), (3, 2), "the naive layer no longer shows the mistake");
}

pub(crate) async fn a_refusal_in_another_scope_consumes_nothing(place: Place) {
    let (_, _, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let (user, org) = (user(&format!("{algorithm:?}")), Scope::new("org", format!("{algorithm:?}")).unwrap());
        let own = limit("own", algorithm, 10, DAY);
        let shared = limit("shared", algorithm, 3, DAY);
        let last = limit("last", algorithm, 100, DAY);
        let global = Scope::global();
        let request = plan(&[(&user, &own, 2), (&org, &shared, 1), (&global, &last, 1)]);
        for _ in 0..3 {
            assert!(limits.check(&request).await.unwrap().allowed, "{algorithm:?}");
        }
        for _ in 0..4 {
            let refused = limits.check(&request).await.unwrap();
            assert_eq!((refused.allowed, refused.binding.as_deref()), (false, Some("shared")));
            assert_eq!(remaining(&refused)[..2], [4, 0], "{algorithm:?}");
        }
        assert_eq!(limits.peek(&plan(&[(&user, &own, 1)])).await.unwrap().remaining, Some(4));
        assert_eq!(limits.status(&user).await.unwrap().reservations, 0, "nothing is left reserved");
    }
}

pub(crate) async fn the_binding_limit_and_the_state_of_each(place: Place) {
    let (_, _, limits) = open(&place).await;
    let user = user("u");
    let short = limit("short", Algorithm::FixedWindow, 4, Duration::from_secs(600));
    let long = limit("long", Algorithm::FixedWindow, 6, DAY);
    let bucket = limit("bucket", Algorithm::TokenBucket, 10, DAY).with_burst(100).unwrap();
    let request = |cost| plan(&[(&user, &short, cost), (&user, &long, cost), (&user, &bucket, cost)]);
    let admitted = limits.check(&request(2)).await.unwrap();
    // A half is less than two thirds and 98 of 100.
    assert_eq!((admitted.binding.as_deref(), remaining(&admitted)), (Some("short"), vec![2, 4, 98]));
    assert_eq!((admitted.limit, admitted.remaining, admitted.retry_after_ms), (Some(4), Some(2), Some(0)));
    assert_eq!(admitted.limits[2].window_ms, 864_000_000, "ten days give back a burst of a hundred");
    let refused = limits.check(&request(3)).await.unwrap();
    assert_eq!(refused.binding.as_deref(), Some("short"));
    assert_eq!(refused.limits.iter().map(|state| state.allowed).collect::<Vec<_>>(), [false, true, true]);
    limits.check(&plan(&[(&user, &long, 4)])).await.unwrap();
    // Both refuse: the one to wait for longer is the one that binds.
    let refused = limits.check(&request(3)).await.unwrap();
    assert_eq!(refused.binding.as_deref(), Some("long"));
    assert!(refused.retry_after_ms.unwrap() > 80_000_000, "{refused:?}");
}

pub(crate) async fn a_cost_above_a_limit_is_an_error(place: Place) {
    let (_, _, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let (user, global) = (user(&format!("{algorithm:?}")), Scope::global());
        let (wide, narrow) = (limit("wide", algorithm, 100, DAY), limit("narrow", algorithm, 5, DAY));
        let error = limits.check(&plan(&[(&user, &wide, 6), (&global, &narrow, 6)])).await.unwrap_err();
        assert!(
            matches!(&error, Error::InvalidInput { field: "cost", reason } if reason.contains("narrow")),
            "{error}"
        );
        let peeked = limits.peek(&plan(&[(&user, &wide, 100), (&global, &narrow, 5)])).await.unwrap();
        assert!(peeked.allowed, "{algorithm:?}: the error has consumed something");
        let shadow = narrow.clone().in_shadow();
        assert!(limits.check(&plan(&[(&user, &wide, 6), (&global, &shadow, 6)])).await.unwrap().allowed);
    }
}

pub(crate) async fn hammering_several_limits_admits_exactly_what_they_allow(place: Place) {
    const TASKS: usize = 64;
    const EACH: usize = 6;
    let tenant = tenant();
    let processes = [place.services().await, place.services().await];
    for algorithm in Algorithm::ALL {
        let kind = format!("{algorithm:?}");
        let minute = limit(&format!("{kind}-minute"), algorithm, 40, DAY);
        let hour = limit(&format!("{kind}-hour"), algorithm, 30, DAY);
        let all = limit(&format!("{kind}-all"), algorithm, 70, DAY);
        let request = |number: usize| {
            let user = user(&format!("u{}", number % 4));
            plan(&[(&user, &minute, 1), (&user, &hour, 1), (&Scope::global(), &all, 1)])
        };
        let start = Arc::new(Barrier::new(TASKS));
        let mut tasks = JoinSet::new();
        for number in 0..TASKS {
            let (limits, request, start) = (processes[number % 2].limits(&tenant), request(number), start.clone());
            let hammer = async move {
                start.wait().await;
                let mut admitted = 0;
                for _ in 0..EACH {
                    admitted += u64::from(limits.check(&request).await.unwrap().allowed);
                }
                (number % 4, admitted)
            };
            tasks.spawn_blocking(|| Handle::current().block_on(hammer));
        }
        let mut admitted = [0_u64; 4];
        for (user, count) in tasks.join_all().await {
            admitted[user] += count;
        }
        let total: u64 = admitted.iter().sum();
        assert!(total <= 70 && admitted.iter().all(|count| *count <= 30), "{algorithm:?} {admitted:?}");
        let limits = processes[0].limits(&tenant);
        if !processes[0].backend().is_cluster() {
            assert_eq!(total, 70, "{algorithm:?}: one step for all of them");
        }
        // Nothing was lost to refusals: what is left can be had, to the last unit.
        let mut rest = 0;
        for number in (0..4).cycle().take(300) {
            rest += u64::from(limits.check(&request(number)).await.unwrap().allowed);
        }
        assert_eq!(total + rest, 70, "{algorithm:?}");
        for (number, count) in admitted.iter().enumerate() {
            let states = limits.peek(&request(number)).await.unwrap();
            assert!(remaining(&states)[0] >= 10 && *count <= 30, "{algorithm:?} {states:?}");
        }
    }
}

/// What the first idea of a window comes to: a counter for each second of the clock.
async fn aligned_counter(services: &Services, key: &str, window_ms: u64, units: u64, limit: u64) -> (u64, u64) {
    let now_ms = services.backend().now_ms().await.unwrap();
    let count = Command::new("INCRBY").key(format!("{key}:{}", now_ms / window_ms)).arg(units);
    let count = services.backend().call(count).await.unwrap().as_i64().unwrap() as u64;
    (now_ms, if count <= limit { units } else { 0 })
}

pub(crate) async fn no_double_burst_at_the_border(place: Place) {
    const WINDOW_MS: u64 = 1000;
    const SPAN_MS: u64 = 300;
    let (services, tenant, limits) = open(&place).await;
    let user = user("u");
    let second = limit("second", Algorithm::SlidingCounter, 20, Duration::from_millis(WINDOW_MS));
    let log = limit("log", Algorithm::SlidingLog, 20, Duration::from_millis(WINDOW_MS));
    let request = |cost| plan(&[(&user, &second, cost), (&user, &log, cost)]);
    let now = services.backend().now_ms().await.unwrap();
    pass(2 * WINDOW_MS - now % WINDOW_MS - 100).await;
    // All of the limit before the border, by both; then, across it, as much as either gives.
    let first = limits.check(&request(20)).await.unwrap();
    let (begun_ms, mut naive) = aligned_counter(&services, tenant.name(), WINDOW_MS, 20, 20).await;
    assert!(first.allowed && naive == 20);
    let mut admitted = 20;
    let mut again = true;
    loop {
        let verdict = limits.check(&request(1)).await.unwrap();
        let now_ms = verdict.reset_at_ms.unwrap() - verdict.reset_after_ms.unwrap();
        if now_ms >= begun_ms + SPAN_MS {
            break;
        }
        admitted += u64::from(verdict.allowed);
        if again && now_ms / WINDOW_MS > begun_ms / WINDOW_MS {
            naive += aligned_counter(&services, tenant.name(), WINDOW_MS, 20, 20).await.1;
            again = false;
        }
    }
    assert!((20..=27).contains(&admitted), "admitted {admitted} within {SPAN_MS} ms");
    assert!(again || naive == 40, "the naive counter no longer shows the mistake: {naive}");
}

pub(crate) async fn a_changed_policy_holds_within_its_window(place: Place) {
    let (_, _, limits) = open(&place).await;
    let policy = |amount: u64, window_ms: u64| {
        let table = json!({
            "limits": {"l": {"per": ["user"], "algorithm": "token_bucket", "limit": amount, "window_ms": window_ms}},
            "endpoints": [{"pattern": "**", "limits": ["l"]}]
        });
        Policy::from_value(table).unwrap()
    };
    let request = |units| Request::new("GET /x").about("user", "u").costing("requests", units);
    let check = async |amount, window_ms, units| {
        let verdict = limits.check(&policy(amount, window_ms).plan(&request(units)).unwrap()).await.unwrap();
        (verdict.allowed, verdict.remaining.unwrap())
    };
    assert_eq!(check(10, 86_400_000, 6).await, (true, 4));
    assert_eq!(check(4, 86_400_000, 1).await, (false, 0));
    assert_eq!(check(20, 86_400_000, 1).await, (true, 13));
    assert_eq!(check(20, 2 * 86_400_000, 1).await, (true, 12));
}

pub(crate) async fn retry_after_never_moves_away(place: Place) {
    let (_, _, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        let (short, long) = (
            limit("a", algorithm, 5, Duration::from_millis(800)),
            limit("b", algorithm, 7, Duration::from_millis(1_800)),
        );
        let request = |cost| plan(&[(&user, &short, cost), (&user, &long, cost)]);
        assert!(limits.check(&request(5)).await.unwrap().allowed);
        let mut due_ms = u64::MAX;
        let mut refusals = 0;
        loop {
            let verdict = limits.peek(&request(4)).await.unwrap();
            let now_ms = verdict.reset_at_ms.unwrap() - verdict.reset_after_ms.unwrap();
            if verdict.allowed {
                assert!(now_ms >= due_ms, "{algorithm:?}: admitted before it was due");
                break;
            }
            let due = now_ms + verdict.retry_after_ms.unwrap();
            assert!(due <= due_ms, "{algorithm:?}: due at {due_ms}, then at {due}");
            assert!(now_ms < due, "{algorithm:?}");
            (due_ms, refusals) = (due, refusals + 1);
            pass(7).await;
        }
        assert!(refusals > 3, "{algorithm:?}: {refusals} looks");
    }
}

pub(crate) async fn a_wait_asks_only_when_it_is_due(place: Place) {
    let (services, _, limits) = open(&place).await;
    let user = user("u");
    let request = plan(&[(&user, &limit("l", Algorithm::FixedWindow, 1, Duration::from_millis(300)), 1)]);
    assert!(limits.check(&request).await.unwrap().allowed);
    // Who cannot be admitted in time is told at once.
    let started = Instant::now();
    assert!(!limits.check_within(&request, Duration::from_millis(20)).await.unwrap().allowed);
    assert!(started.elapsed() < Duration::from_millis(200));
    let before = services.metrics().value(Counter::RateRefused);
    assert!(limits.check_within(&request, Duration::from_secs(10)).await.unwrap().allowed);
    let asked = services.metrics().value(Counter::RateRefused) - before;
    assert!((1..=2).contains(&asked), "asked {asked} times in vain within 300 ms");
}

pub(crate) async fn limits_in_shadow_count_and_refuse_nobody(place: Place) {
    let (services, _, limits) = open(&place).await;
    let user = user("u");
    let enforced = limit("old", Algorithm::FixedWindow, 5, DAY);
    let trial = limit("new", Algorithm::FixedWindow, 2, DAY).in_shadow();
    let request = plan(&[(&user, &trial, 1), (&user, &enforced, 1)]);
    let mut would = Vec::new();
    for _ in 0..6 {
        let verdict = limits.check(&request).await.unwrap();
        assert_eq!(verdict.binding.as_deref(), Some("old"));
        would.push((verdict.allowed, verdict.limits[0].would_refuse()));
    }
    let (refused, admitted) = ((true, true), (true, false));
    assert_eq!(would, [admitted, admitted, refused, refused, refused, (false, true)]);
    assert_eq!(services.metrics().value(Counter::LimitsShadowRefused), 4);
}

pub(crate) async fn what_a_request_leaves_expires(place: Place) {
    let (services, tenant, limits) = open(&place).await;
    let user = user("u");
    for algorithm in Algorithm::ALL {
        let limit = limit("l", algorithm, 5, Duration::from_secs(60)).with_debt(5).unwrap();
        let request = plan(&[(&user, &limit, 1)]);
        limits.check(&request).await.unwrap();
        let reservation = limits.reserve(&request, Duration::from_secs(30)).await.unwrap().reservation.unwrap();
        limits.penalise(&plan(&[(&user, &limit, 20)])).await.unwrap();
        assert!(!limits.check(&request).await.unwrap().allowed, "{algorithm:?}");
        let head = format!("rp:{{{}:limits:user:u}}", tenant.name());
        let kind = match algorithm {
            Algorithm::FixedWindow => "f",
            Algorithm::SlidingLog => "l",
            Algorithm::SlidingCounter => "c",
            Algorithm::TokenBucket => "b",
        };
        let record = format!("rp:{{{}:limits-reservations:{}}}:r", tenant.name(), reservation.id());
        for key in [format!("{head}:{kind}:l"), format!("{head}:h"), format!("{head}:u"), record] {
            let pttl = services.backend().call(Command::new("PTTL").key(&key)).await.unwrap().as_i64().unwrap();
            assert!((1..=120_000).contains(&pttl), "{key} {pttl}");
        }
    }
}

/// What happens when a limit and a window are two numbers in a row.
fn naive_window(_limit: u64, window_seconds: u64) -> Duration {
    Duration::from_secs(window_seconds)
}

pub(crate) async fn amounts_and_windows_cannot_change_places(place: Place) {
    let (_, _, limits) = open(&place).await;
    // Ten a minute, with the arguments the other way round, compiles and is sixty in ten seconds.
    assert_eq!(naive_window(60, 10), Duration::from_secs(10));
    // Here an amount is a number and a window is a duration, or both have names.
    let minute = Limit::new("l", Algorithm::FixedWindow, Quota::per_minute(10)).unwrap();
    let verdict = limits.check(&plan(&[(&user("u"), &minute, 1)])).await.unwrap();
    assert_eq!((verdict.limit, verdict.limits[0].window_ms), (Some(10), 60_000));
    let table = json!({
        "limits": {"l": {"window_ms": 60_000, "limit": 10}},
        "endpoints": [{"pattern": "**", "limits": ["l"]}]
    });
    let verdict = limits.check(&Policy::from_value(table).unwrap().plan(&Request::new("/x")).unwrap()).await.unwrap();
    assert_eq!((verdict.limit, verdict.limits[0].window_ms), (Some(10), 60_000));
}

#[tokio::test]
async fn outage_policy_belongs_to_the_row() {
    let services = Place::down().services_lazily(Settings::default());
    let limits = services.limits(&tenant());
    let table = json!({
        "outage": "open", "bypass_roles": ["admin"],
        "limits": {"l": {"per": ["user"], "limit": 1, "window_ms": 1000}},
        "endpoints": [
            {"pattern": "POST /pay", "limits": ["l"], "outage": "closed"},
            {"pattern": "/free", "limits": []},
            {"pattern": "**", "limits": ["l"]}
        ]
    });
    let policy = Policy::from_value(table).unwrap();
    let check =
        async |request: Request| limits.check(&policy.plan(&request.about("user", "u")).unwrap()).await.unwrap();
    let closed = check(Request::new("POST /pay")).await;
    assert_eq!((closed.allowed, closed.source), (false, VerdictSource::OutagePolicy));
    assert_eq!(closed.retry_after_ms, Some(1000));
    let open = check(Request::new("GET /x")).await;
    assert_eq!((open.allowed, open.source, open.retry_after_ms), (true, VerdictSource::OutagePolicy, Some(0)));
    assert_eq!(services.metrics().value(Counter::RateOutages), 2);
    // Nobody has to ask about these.
    assert_eq!(check(Request::new("GET /free")).await.source, VerdictSource::Unlimited);
    assert_eq!(check(Request::new("POST /pay").with_role("admin")).await.source, VerdictSource::Bypass);
    assert_eq!(services.metrics().value(Counter::LimitsBypassed), 1);
    // A promise needs a store.
    let plan = policy.plan(&Request::new("GET /x").about("user", "u")).unwrap();
    assert!(limits.reserve(&plan, Duration::from_secs(1)).await.unwrap_err().is_outage());
    assert!(limits.penalise(&plan).await.unwrap_err().is_outage());
    let slots = limits.slots(&user("u"), "s", 1, Duration::from_secs(1)).unwrap();
    assert!(slots.acquire().await.unwrap_err().is_outage());
}
