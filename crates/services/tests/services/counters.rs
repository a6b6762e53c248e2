//! Tests of counters, money and sequences.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redpoll_services::atomic::{Added, Addition, Micros, Numbers};
use redpoll_services::metrics::Counter;
use redpoll_services::{Backend, BackendConfig, Command, Error, Services, Settings};
use redpoll_testkit::{Mode, Proxy, RedisServer};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::atomic::{group, open};
use crate::support::{Place, eventually, tenant};

/// Tasks that work on one object at once.
pub(crate) const TASKS: usize = 64;

/// Runs `work` in [`TASKS`] tasks that begin together, upon services of their own, two each.
pub(crate) async fn together<T, F>(place: &Place, work: impl Fn(Services, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let processes = [place.services().await, place.services().await];
    let start = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (work, start) = (work(processes[number % 2].clone(), number), start.clone());
        tasks.spawn(async move {
            start.wait().await;
            work.await
        });
    }
    tasks.join_all().await
}

pub(crate) async fn additions_stay_within_bounds(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let counter = atomic.group("g").unwrap().counter("c").unwrap();
    let within = |amount, floor, ceiling| Addition { floor, ceiling, ..Addition::of(amount) };
    assert_eq!(counter.add(&within(5, 0, 4)).await, Ok(Added::Refused(None)));
    assert_eq!(counter.read().await, Ok(None), "a refusal creates nothing");
    assert_eq!(counter.add(&within(4, 0, 4)).await, Ok(Added::Done(4)));
    assert_eq!(counter.add(&within(1, 0, 4)).await, Ok(Added::Refused(Some(4))));
    assert_eq!(counter.add(&within(-5, 0, 4)).await, Ok(Added::Refused(Some(4))));
    assert_eq!(counter.add(&within(-4, 0, 4)).await, Ok(Added::Done(0)));
    let error = counter.add(&within(1, 5, 4)).await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "floor", .. }), "{error:?}");
    assert_eq!(counter.take().await, Ok(Some(0)));
    assert_eq!((counter.take().await, counter.swap(3).await, counter.increment().await), (Ok(None), Ok(None), Ok(4)));
    let metrics = services.metrics();
    assert_eq!((metrics.value(Counter::AtomicApplied), metrics.value(Counter::AtomicRefused)), (3, 3));
}

/// A step that counts in doubles says 9007199254740993 is 9007199254740992, and wraps or saturates at the end.
pub(crate) async fn integers_are_exact_and_never_overflow(place: Place) {
    let group = group(&place).await;
    let counter = group.counter("c").unwrap();
    for (start, amount) in [
        ((1_i64 << 53) + 1, 2),
        (i64::MAX - 1, 1),
        (i64::MAX, 1),
        (i64::MAX, i64::MAX),
        (i64::MIN, -1),
        (i64::MIN, i64::MIN),
        (i64::MIN, i64::MAX),
        (-1, i64::MIN),
        (9_999_999_999, 1),
        (-10_000_000_000, 1),
        (-1, 1),
        (0, i64::MIN),
    ] {
        counter.swap(start).await.unwrap();
        let expected = match start.checked_add(amount) {
            Some(sum) => Added::Done(sum),
            None => Added::Refused(Some(start)),
        };
        assert_eq!(counter.add(&Addition::of(amount)).await, Ok(expected), "{start} + {amount}");
        assert_eq!(counter.read().await, Ok(Some(start.checked_add(amount).unwrap_or(start))));
    }
    // A double would not have seen the bound.
    let edge = (1_i64 << 53) + 1;
    counter.swap(edge - 1).await.unwrap();
    assert_eq!((edge as f64, edge), ((edge - 1) as f64, (1 << 53) + 1));
    let beyond = Addition { ceiling: edge - 1, ..Addition::of(1) };
    assert_eq!(counter.add(&beyond).await, Ok(Added::Refused(Some(edge - 1))));

    let hash = group.hash("h").unwrap();
    assert_eq!(hash.increment("f", i64::MAX).await, Ok(i64::MAX));
    assert!(matches!(hash.increment("f", 1).await, Err(Error::Conflict(_))));
    assert_eq!(hash.get("f").await, Ok(Some(i64::MAX.to_string().into_bytes())));
}

pub(crate) async fn money_does_not_drift(place: Place) {
    let money = group(&place).await.money("m").unwrap();
    let tenth: Micros = "0.1".parse().unwrap();
    let mut naive = 0.0;
    for _ in 0..30 {
        money.add(tenth).await.unwrap();
        naive += 0.1;
    }
    assert_ne!(naive, 3.0, "what floats make of thirty tenths");
    assert_eq!(money.read().await.unwrap().unwrap().to_string(), "3");
    assert_eq!(money.add("-3.000001".parse().unwrap()).await.unwrap().to_string(), "-0.000001");
    assert!(matches!(money.add(Micros(i64::MIN)).await, Err(Error::Conflict(_))));
}

/// Naive additions read, add and write.
pub(crate) async fn no_addition_is_lost_under_64_tasks(place: Place) {
    const EACH: i64 = 20;
    let tenant = tenant();
    let naive = format!("test:{}", tenant.name());
    let all_have_read = Arc::new(Barrier::new(TASKS));
    together(&place, |services, _| {
        let (naive, all_have_read) = (naive.clone(), all_have_read.clone());
        async move {
            let read = services.backend().call(Command::new("GET").key(&naive)).await.unwrap();
            let value: i64 = read.as_str().map_or(0, |text| text.parse().unwrap());
            all_have_read.wait().await;
            services.backend().call(Command::new("SET").key(&naive).arg(value + 1)).await.unwrap();
        }
    })
    .await;
    let services = place.services().await;
    let read = services.backend().call(Command::new("GET").key(&naive)).await.unwrap();
    assert_eq!(read.as_str(), Some("1"), "the naive way loses all but one");

    let counter = |services: &Services| services.atomic(&tenant).group("g").unwrap().counter("c").unwrap();
    let applied = together(&place, |services, number| {
        let counter = counter(&services);
        async move {
            let (mut sum, ceiling) = (0, 1000);
            for _ in 0..EACH {
                let amount = number as i64 % 5 - 1;
                let addition = Addition { floor: 0, ceiling, ..Addition::of(amount) };
                match counter.add(&addition).await.unwrap() {
                    Added::Done(value) => {
                        assert!((0..=ceiling).contains(&value), "{value}");
                        sum += amount;
                    }
                    Added::Refused(_) => {}
                    Added::Again(_) => panic!("nobody asked twice"),
                }
            }
            sum
        }
    });
    let applied: i64 = applied.await.into_iter().sum();
    assert_eq!(counter(&services).read().await, Ok(Some(applied)));
}

pub(crate) async fn an_addition_with_an_id_is_done_once(place: Place) {
    let (services, _, atomic) = open(&place).await;
    let group = atomic.group("g").unwrap();
    let counter = group.counter("c").unwrap();
    let once = Addition { request: Some("a".to_owned()), ..Addition::of(5) };
    assert_eq!(counter.add(&once).await, Ok(Added::Done(5)));
    counter.increment().await.unwrap();
    assert_eq!(counter.add(&once).await, Ok(Added::Again(5)), "as it was then");
    assert_eq!(counter.read().await, Ok(Some(6)));
    for other in [Addition { amount: 6, ..once.clone() }, Addition { ceiling: 7, ..once.clone() }] {
        assert!(matches!(counter.add(&other).await, Err(Error::Conflict(_))), "{other:?}");
    }
    let elsewhere = group.counter("other").unwrap().add(&once).await;
    assert!(matches!(elsewhere, Err(Error::Conflict(_))), "the id stands for an addition to another counter");
    // What was refused was not done, so it may be tried again.
    let bounded = Addition { ceiling: 10, request: Some("b".to_owned()), ..Addition::of(5) };
    assert_eq!(counter.add(&bounded).await, Ok(Added::Refused(Some(6))));
    counter.add(&Addition::of(-2)).await.unwrap();
    assert_eq!(counter.add(&bounded).await, Ok(Added::Done(9)));
    assert_eq!(services.metrics().value(Counter::AtomicReplayed), 1);
    let empty = Addition { request: Some(String::new()), ..Addition::of(1) };
    assert!(matches!(counter.add(&empty).await, Err(Error::InvalidInput { field: "request", .. })));
    // Sixty-four copies of one request.
    let tenant = tenant();
    let outcomes = together(&place, |services, _| {
        let counter = services.atomic(&tenant).group("g").unwrap().counter("c").unwrap();
        async move { counter.add(&Addition { request: Some("x".to_owned()), ..Addition::of(3) }).await.unwrap() }
    });
    let outcomes = outcomes.await;
    assert_eq!(outcomes.iter().filter(|added| **added == Added::Done(3)).count(), 1);
    assert_eq!(outcomes.iter().filter(|added| **added == Added::Again(3)).count(), TASKS - 1);
}

/// The answer is lost, the addition is done: sent again blindly it counts twice, with an id once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_adds_once() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let config = BackendConfig { connections: 1, ..BackendConfig::default() };
    let services = Services::new(Backend::connect_with(&proxy.url(), config).await.unwrap(), Settings::default());
    let group = services.atomic(&tenant()).group("g").unwrap();
    let counter = group.counter("c").unwrap();
    counter.increment().await.unwrap();

    proxy.set(Mode::Deaf);
    let error = counter.increment().await.unwrap_err();
    assert!(error.is_outage(), "the outcome is unknown, and not repeated: {error:?}");
    proxy.set(Mode::Pass);
    eventually("answers", || async { counter.read().await.is_ok() }).await;
    assert_eq!(counter.read().await, Ok(Some(2)));
    counter.increment().await.unwrap();
    assert_eq!(counter.read().await, Ok(Some(3)), "sent again blindly it has counted twice");

    let once = Addition { request: Some("r".to_owned()), ..Addition::of(10) };
    proxy.set(Mode::Deaf);
    counter.add(&once).await.unwrap_err();
    assert!(services.metrics().value(Counter::BackendRetries) > 0, "with an id it is sent again by itself");
    proxy.set(Mode::Pass);
    eventually("answers", || async { counter.read().await.is_ok() }).await;
    assert_eq!(counter.add(&once).await, Ok(Added::Again(13)));
    assert_eq!(counter.read().await, Ok(Some(13)));
}

pub(crate) async fn numbers_are_given_once_under_64_tasks(place: Place) {
    const EACH: usize = 20;
    let tenant = tenant();
    let taken = together(&place, |services, number| {
        let sequence = services.atomic(&tenant).group("g").unwrap().sequence("s").unwrap();
        async move {
            let mut taken = Vec::new();
            for _ in 0..EACH {
                let Numbers { first, last } = sequence.take(1 + number as u64 % 3, None).await.unwrap();
                taken.extend(first..=last);
            }
            taken
        }
    });
    let taken: Vec<i64> = taken.await.concat();
    let distinct: BTreeSet<i64> = taken.iter().copied().collect();
    assert_eq!(distinct.len(), taken.len(), "a number was given twice");
    let last = taken.len() as i64;
    assert_eq!((distinct.first(), distinct.last()), (Some(&1), Some(&last)), "and none was left out, as all came back");
    let sequence = place.services().await.atomic(&tenant).group("g").unwrap().sequence("s").unwrap();
    assert_eq!(sequence.last().await, Ok(last));
    let again = Numbers { first: last + 1, last: last + 5 };
    assert_eq!(sequence.take(5, Some("r")).await, Ok(again));
    assert_eq!(sequence.next().await, Ok(last + 6));
    assert_eq!(sequence.take(5, Some("r")).await, Ok(again), "the request has its numbers");
    for count in [0, u64::MAX] {
        assert!(matches!(sequence.take(count, None).await, Err(Error::InvalidInput { field: "count", .. })));
    }
}

/// Holders confirm, give back, or die; a counter alone would leave a gap for each that did not confirm.
pub(crate) async fn a_gapless_sequence_has_no_gaps(place: Place) {
    const EACH: usize = 6;
    let tenant = tenant();
    let gapless = |services: &Services| services.atomic(&tenant).group("g").unwrap().gapless("s").unwrap();
    let confirmed = together(&place, |services, number| {
        let gapless = gapless(&services);
        async move {
            let mut confirmed = Vec::new();
            for round in 0..EACH {
                let holder = format!("{number}:{round}");
                // Those that die do so with a lease that ends soon; a lease of others outlives the test.
                let dies = (number + round).is_multiple_of(4);
                let lease = Duration::from_millis(if dies { 1 } else { 600_000 });
                let drawn = gapless.draw(&holder, lease).await.unwrap();
                match (number + round) % 4 {
                    0 => {}
                    1 => assert!(gapless.give_back(&holder).await.unwrap()),
                    _ => {
                        assert_eq!(gapless.confirm(&holder).await, Ok(drawn));
                        confirmed.push(drawn);
                    }
                }
            }
            confirmed
        }
    });
    let mut confirmed: Vec<u64> = confirmed.await.concat();
    let gapless = gapless(&place.services().await);
    gapless.draw("dead", Duration::from_millis(1)).await.unwrap();
    let (last, open) = (gapless.last().await.unwrap(), gapless.open().await.unwrap());
    assert_eq!(confirmed.len() as u64 + open, last);
    assert!(open > 0, "what the naive way leaves as gaps");
    // The next holders fill them.
    tokio::time::sleep(Duration::from_millis(5)).await;
    for holder in 0..open {
        let holder = format!("late {holder}");
        gapless.draw(&holder, Duration::from_secs(600)).await.unwrap();
        confirmed.push(gapless.confirm(&holder).await.unwrap());
    }
    confirmed.sort_unstable();
    assert!(confirmed.iter().copied().eq(1..=last), "{confirmed:?}");
    assert_eq!((gapless.open().await, gapless.last().await), (Ok(0), Ok(last)));
    assert_eq!((gapless.remove().await, gapless.last().await), (Ok(true), Ok(0)));
}

pub(crate) async fn a_late_holder_of_a_number_is_told(place: Place) {
    let gapless = group(&place).await.gapless("s").unwrap();
    let long = Duration::from_secs(600);
    assert_eq!(gapless.draw("slow", Duration::from_millis(1)).await, Ok(1));
    assert_eq!(gapless.draw("slow", Duration::from_millis(1)).await, Ok(1), "its own again");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(gapless.draw("quick", long).await, Ok(1));
    assert!(matches!(gapless.confirm("slow").await, Err(Error::NotFound(_))));
    assert_eq!(gapless.give_back("slow").await, Ok(false));
    assert_eq!(gapless.confirm("quick").await, Ok(1));
    assert_eq!(gapless.confirm("quick").await, Ok(1), "asked again it says the same");
    assert!(matches!(gapless.draw("quick", long).await, Err(Error::Conflict(_))));
    // Nobody else came, so a lease that has ended does no harm.
    assert_eq!(gapless.draw("late", Duration::from_millis(1)).await, Ok(2));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(gapless.confirm("late").await, Ok(2));
    assert!(matches!(gapless.draw("x", Duration::ZERO).await, Err(Error::InvalidInput { .. })));
}
