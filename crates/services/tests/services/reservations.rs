//! Tests of costs that are known later: reserving, committing, giving back; penalties and rewards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_services::Error;
use redpoll_services::limits::{Limits, Plan, Reservation};
use redpoll_services::ratelimit::Algorithm;
use redpoll_services::script::{Flags, Repeat, Script};
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::limits::{DAY, limit, open, pass, plan, remaining, user};
use crate::support::{Place, tenant};

const LEASE: Duration = Duration::from_secs(600);

fn used(units: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([("tokens".to_owned(), units)])
}

async fn reserve(limits: &Limits, plan: &Plan, lease: Duration) -> Reservation {
    limits.reserve(plan, lease).await.unwrap().reservation.expect("there is room")
}

async fn left(limits: &Limits, plan: &Plan) -> u64 {
    limits.peek(plan).await.unwrap().remaining.unwrap()
}

pub(crate) async fn an_estimate_counts_until_it_is_settled(place: Place) {
    let (_, _, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        let tokens = limit("tokens", algorithm, 100, DAY).with_unit("tokens").unwrap();
        let requests = limit("requests", algorithm, 10, DAY);
        let request = |units| plan(&[(&user, &tokens, units), (&user, &requests, 1)]);
        let first = reserve(&limits, &request(60), LEASE).await;
        assert_eq!(remaining(&limits.peek(&request(1)).await.unwrap()), [40, 9], "{algorithm:?}");
        // What is reserved cannot be had by others, in either way.
        let refused = limits.reserve(&request(50), LEASE).await.unwrap();
        assert!(!refused.verdict.allowed && refused.reservation.is_none());
        assert_eq!(refused.verdict.binding.as_deref(), Some("tokens"));
        assert!(!limits.check(&request(41)).await.unwrap().allowed);
        assert!(limits.check(&request(40)).await.unwrap().allowed);
        // Less than reserved: the rest comes back.
        let settled = first.commit(&used(25)).await.unwrap();
        let charged: Vec<_> = settled.limits.iter().map(|limit| (limit.reserved, limit.used, limit.charged)).collect();
        assert_eq!(charged, [(60, 25, 25), (1, 1, 1)], "{algorithm:?}");
        assert_eq!(remaining(&limits.peek(&request(1)).await.unwrap()), [35, 8], "{algorithm:?}");
        // A refund leaves nothing.
        let second = reserve(&limits, &request(35), LEASE).await;
        second.refund().await.unwrap();
        assert_eq!(remaining(&limits.peek(&request(1)).await.unwrap()), [35, 8], "{algorithm:?}");
    }
}

pub(crate) async fn more_than_reserved_goes_into_debt_up_to_a_bound(place: Place) {
    let (_, _, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        let tokens = limit("tokens", algorithm, 100, DAY).with_unit("tokens").unwrap().with_debt(30).unwrap();
        let request = |units| plan(&[(&user, &tokens, units)]);
        let first = reserve(&limits, &request(50), LEASE).await;
        let other = reserve(&limits, &request(20), LEASE).await;
        // 80 are free beside the other's 20, and 30 more are debt.
        let settled = first.commit(&used(500)).await.unwrap();
        assert_eq!((settled.limits[0].used, settled.limits[0].charged), (500, 110), "{algorithm:?}");
        // The other's are there all the same.
        assert_eq!(other.commit(&used(20)).await.unwrap().limits[0].charged, 20, "{algorithm:?}");
        let refused = limits.check(&request(1)).await.unwrap();
        assert_eq!((refused.allowed, refused.remaining), (false, Some(0)), "{algorithm:?}");
        // Debt weighs: in a bucket of 100 a day, 30 units of it and the one that is wanted take 31/100 of a day.
        if algorithm == Algorithm::TokenBucket {
            let expect = 31 * 864_000;
            assert!(refused.retry_after_ms.unwrap().abs_diff(expect) < 60_000, "{refused:?}");
        }
        // Three units of debt are given back before any unit is free.
        if algorithm != Algorithm::SlidingLog {
            limits.reward(&request(30)).await.unwrap();
            assert!(!limits.check(&request(1)).await.unwrap().allowed, "{algorithm:?}");
            limits.reward(&request(3)).await.unwrap();
            assert_eq!(left(&limits, &request(1)).await, 3, "{algorithm:?}");
        }
    }
}

/// What the first idea comes to: tokens in a number, taken and given back.
static NAIVE: Script = Script::new(
    "naive",
    Flags::None,
    Repeat::Never,
    &["redis.call('SET', KEYS[1], 100, 'NX') return redis.call('INCRBY', KEYS[1], ARGV[1])"],
);

pub(crate) async fn a_refund_never_lifts_above_capacity(place: Place) {
    let (services, tenant, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        // All of it comes back within 100 ms, while the reservation is still open.
        let tokens = limit("tokens", algorithm, 100, Duration::from_millis(100));
        let request = |units| plan(&[(&user, &tokens, units)]);
        let reservation = reserve(&limits, &request(80), LEASE).await;
        pass(250).await;
        assert_eq!(left(&limits, &request(1)).await, 20, "{algorithm:?}: reserved is reserved, however long");
        reservation.refund().await.unwrap();
        assert_eq!(left(&limits, &request(1)).await, 100, "{algorithm:?}");
        if algorithm != Algorithm::SlidingLog {
            let given = limits.reward(&request(80)).await.unwrap();
            assert_eq!((given[0].units, given[0].remaining), (0, 100), "{algorithm:?}");
        }
        assert!(limits.check(&request(100)).await.unwrap().allowed);
        assert!(!limits.check(&request(50)).await.unwrap().allowed, "{algorithm:?}: more than the capacity at once");
    }
    let key = format!("test:{{{}}}", tenant.name());
    let mut tokens = 0;
    for units in ["-80", "80", "80"] {
        tokens = services.backend().script(&NAIVE, &[&key], &[units]).await.unwrap().as_i64().unwrap();
    }
    assert!(tokens > 100, "the naive bucket no longer shows the mistake");
}

pub(crate) async fn a_reservation_ends_with_its_lease(place: Place) {
    let (_, _, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        let tokens = limit("tokens", algorithm, 10, DAY).with_unit("tokens").unwrap();
        let request = |units| plan(&[(&user, &tokens, units)]);
        let lost = reserve(&limits, &request(8), Duration::from_millis(250)).await;
        let refused = limits.check(&request(5)).await.unwrap();
        // Nothing was used yet, so it is the lease that has to end.
        assert!(!refused.allowed && refused.retry_after_ms.unwrap() <= 250, "{algorithm:?} {refused:?}");
        pass(refused.retry_after_ms.unwrap() + 1).await;
        assert!(limits.check(&request(10)).await.unwrap().allowed, "{algorithm:?}: as if it had never been");
        assert!(matches!(lost.commit(&used(8)).await, Err(Error::NotFound(_))), "{algorithm:?}");
        assert!(matches!(lost.refund().await, Err(Error::NotFound(_))), "{algorithm:?}");
        assert_eq!(left(&limits, &request(1)).await, 0);
    }
    assert!(matches!(limits.reservation("nobody's").await, Err(Error::NotFound(_))));
    let request = plan(&[(&user("u"), &limit("l", Algorithm::FixedWindow, 1, DAY), 1)]);
    for lease in [Duration::ZERO, DAY * 2] {
        assert!(matches!(limits.reserve(&request, lease).await, Err(Error::InvalidInput { field: "lease_ms", .. })));
    }
}

pub(crate) async fn a_reservation_is_settled_once(place: Place) {
    const TASKS: usize = 64;
    let tenant = tenant();
    let processes = [place.services().await, place.services().await];
    let limits = processes[0].limits(&tenant);
    let (user, org) = (user("u"), redpoll_services::limits::Scope::new("org", "o").unwrap());
    let tokens = limit("tokens", Algorithm::TokenBucket, 1000, DAY).with_unit("tokens").unwrap();
    let shared = limit("shared", Algorithm::FixedWindow, 1000, DAY).with_unit("tokens").unwrap();
    let request = plan(&[(&user, &tokens, 100), (&org, &shared, 100)]);
    for round in 0..4_u64 {
        let id = reserve(&limits, &request, LEASE).await.id().to_owned();
        let start = Arc::new(Barrier::new(TASKS));
        let mut tasks = JoinSet::new();
        for number in 0..TASKS {
            let (limits, id, start) = (processes[number % 2].limits(&tenant), id.clone(), start.clone());
            let settle = async move {
                let reservation = limits.reservation(&id).await.unwrap();
                start.wait().await;
                match number % 4 {
                    0 => reservation.refund().await.map(|_| 0),
                    units => reservation.commit(&used(units as u64 * 10)).await.map(|_| units * 10),
                }
            };
            tasks.spawn_blocking(|| Handle::current().block_on(settle));
        }
        let mut ways = Vec::new();
        for outcome in tasks.join_all().await {
            match outcome {
                Ok(units) => ways.push(units),
                Err(Error::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        ways.dedup();
        // On a Cluster two ways may win in one scope each; in each scope it was one.
        assert!(ways.len() == 1 || processes[0].backend().is_cluster(), "{round}: settled as {ways:?}");
        let states = limits.peek(&request).await.unwrap();
        for (state, whole) in states.limits.iter().zip([1000, 1000]) {
            assert_eq!((whole - state.remaining) % 10, 0, "{round}: {states:?}");
            assert!(whole - state.remaining <= 30 * (round + 1), "{round}: charged more than once: {states:?}");
        }
    }
}

pub(crate) async fn asking_again_gives_the_same_answer(place: Place) {
    let (_, _, limits) = open(&place).await;
    let (user, org) = (user("u"), redpoll_services::limits::Scope::new("org", "o").unwrap());
    let tokens = limit("settled", Algorithm::TokenBucket, 100, DAY).with_unit("tokens").unwrap();
    let log = limit("log", Algorithm::SlidingLog, 100, DAY);
    let request = plan(&[(&user, &tokens, 50), (&user, &log, 1), (&org, &tokens, 50)]);
    let id = reserve(&limits, &request, LEASE).await.id().to_owned();
    let by_id = limits.reservation(&id).await.unwrap();
    let first = by_id.commit(&used(30)).await.unwrap();
    assert_eq!(first.limits.iter().map(|limit| limit.charged).collect::<Vec<_>>(), [30, 1, 30]);
    assert_eq!(by_id.commit(&used(30)).await.unwrap(), first);
    assert!(matches!(by_id.commit(&used(31)).await, Err(Error::Conflict(_))));
    assert!(matches!(by_id.refund().await, Err(Error::Conflict(_))));
    assert_eq!(remaining(&limits.peek(&request).await.unwrap()), [70, 99, 70]);
    // A request that nobody limits can be settled like any other.
    let free = limits.reserve(&Plan::new(Default::default()), LEASE).await.unwrap().reservation.unwrap();
    assert!(limits.reservation(free.id()).await.unwrap().commit(&used(5)).await.unwrap().limits.is_empty());
}

pub(crate) async fn penalties_and_rewards(place: Place) {
    let (_, _, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        let requests = limit("requests", algorithm, 10, DAY).with_debt(5).unwrap();
        let request = |units| plan(&[(&user, &requests, units)]);
        assert_eq!(limits.penalise(&request(4)).await.unwrap()[0].remaining, 6, "{algorithm:?}");
        let charged = limits.penalise(&request(100)).await.unwrap();
        assert_eq!((charged[0].units, charged[0].remaining), (11, 0), "{algorithm:?}: up to 10 and 5 of debt");
        assert!(!limits.check(&request(1)).await.unwrap().allowed);
        if algorithm == Algorithm::SlidingLog {
            assert!(matches!(limits.reward(&request(1)).await, Err(Error::InvalidInput { field: "limit", .. })));
            assert_eq!(limits.reset(&request(1)).await.unwrap(), 1);
            assert_eq!(left(&limits, &request(1)).await, 10);
            continue;
        }
        assert_eq!(limits.reward(&request(7)).await.unwrap()[0].remaining, 2, "{algorithm:?}");
        let given = limits.reward(&request(100)).await.unwrap();
        assert_eq!((given[0].units, given[0].remaining), (8, 10), "{algorithm:?}");
        assert!(limits.check(&request(10)).await.unwrap().allowed);
    }
}
