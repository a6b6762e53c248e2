//! Tests of inventories: nothing promised twice, nothing lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_services::atomic::{Inventory, MAX_UNITS, Reserved, Stock};
use redpoll_services::metrics::Counter;
use redpoll_services::{Command, Error, Services, Settings, Ttl};
use redpoll_testkit::Random;

use tokio::sync::Barrier;

use crate::counters::{TASKS, together};
use crate::support::{Place, eventually, tenant};

async fn open(place: &Place, total: u64) -> (Services, Inventory) {
    let services = place.services().await;
    let inventory = services.atomic(&tenant()).group("g").unwrap().inventory("i").unwrap();
    inventory.set_total(total).await.unwrap();
    (services, inventory)
}

fn ms(ms: i64) -> Ttl {
    Ttl::ms(ms).unwrap()
}

fn long() -> Ttl {
    ms(600_000)
}

fn stock(total: u64, reserved: u64, committed: u64) -> Stock {
    Stock { total, available: total - reserved - committed, reserved, committed }
}

async fn granted(inventory: &Inventory, id: &str, units: u64, ttl: Ttl) -> bool {
    matches!(inventory.reserve(id, units, ttl).await.unwrap(), Reserved::Granted(_))
}

fn is_conflict<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    assert!(matches!(&result, Err(Error::Conflict(text)) if text.contains(words)), "{words}: {result:?}");
}

pub(crate) async fn units_are_reserved_committed_and_given_back(place: Place) {
    let (services, inventory) = open(&place, 10).await;
    let Reserved::Granted(reservation) = inventory.reserve("a", 4, long()).await.unwrap() else {
        panic!("there is room")
    };
    assert_eq!(reservation.stock, stock(10, 4, 0));
    let now = services.backend().now_ms().await.unwrap();
    assert!((now + 500_000..=now + 600_000).contains(&reservation.expires_at_ms));
    assert_eq!(inventory.reserve("b", 7, long()).await, Ok(Reserved::Refused(stock(10, 4, 0))));
    assert!(granted(&inventory, "b", 6, long()).await);
    assert_eq!(inventory.reserve("c", 1, long()).await, Ok(Reserved::Refused(stock(10, 10, 0))));
    assert_eq!(inventory.commit("a", Some(1)).await, Ok(stock(10, 6, 1)), "the rest of it goes back");
    assert_eq!(inventory.release("b").await, Ok(stock(10, 0, 1)));
    assert_eq!(inventory.stock().await, Ok(stock(10, 0, 1)));
    let metrics = services.metrics();
    assert_eq!((metrics.value(Counter::AtomicApplied), metrics.value(Counter::AtomicRefused)), (4, 2));
}

/// Steps sent again, because their answer was lost, do nothing more and answer alike.
pub(crate) async fn every_step_can_be_sent_again(place: Place) {
    let (_, inventory) = open(&place, 10).await;
    let first = inventory.reserve("a", 4, long()).await.unwrap();
    assert_eq!(inventory.reserve("a", 4, ms(1)).await, Ok(first), "and the end is as it was");
    is_conflict(inventory.reserve("a", 5, long()).await, "another number");
    for _ in 0..2 {
        assert_eq!(inventory.commit("a", Some(3)).await, Ok(stock(10, 0, 3)));
    }
    assert_eq!(inventory.commit("a", None).await, Ok(stock(10, 0, 3)));
    is_conflict(inventory.commit("a", Some(4)).await, "another number");
    is_conflict(inventory.release("a").await, "committed");
    is_conflict(inventory.reserve("a", 4, long()).await, "committed");
    inventory.reserve("b", 2, long()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(inventory.release("b").await, Ok(stock(10, 0, 3)));
    }
    is_conflict(inventory.commit("b", None).await, "released");
    is_conflict(inventory.reserve("b", 2, long()).await, "released");
    assert_eq!(inventory.stock().await, Ok(stock(10, 0, 3)));
}

pub(crate) async fn what_expires_comes_back(place: Place) {
    let (services, inventory) = open(&place, 10).await;
    assert!(granted(&inventory, "a", 10, ms(30)).await);
    assert!(!granted(&inventory, "b", 1, long()).await);
    eventually("the end of the reservation", || granted(&inventory, "b", 10, long())).await;
    is_conflict(inventory.commit("a", None).await, "expired");
    is_conflict(inventory.reserve("a", 1, long()).await, "expired");
    assert_eq!(inventory.release("a").await, Ok(stock(10, 10, 0)), "it is given back already, not twice");
    assert_eq!(services.metrics().value(Counter::AtomicExpired), 1);
    assert_eq!(inventory.commit("b", None).await, Ok(stock(10, 0, 10)));
    // Its holder is the first to notice.
    let (_, inventory) = open(&place, 10).await;
    assert!(granted(&inventory, "a", 10, ms(1)).await);
    tokio::time::sleep(Duration::from_millis(5)).await;
    is_conflict(inventory.commit("a", None).await, "expired");
    assert_eq!(inventory.stock().await, Ok(stock(10, 0, 0)));
}

/// More have expired than one step gives back: room that is there is found all the same.
pub(crate) async fn many_that_expired_make_room(place: Place) {
    const MANY: u64 = 350;
    let (services, inventory) = open(&place, MANY).await;
    for id in 0..MANY {
        assert!(granted(&inventory, &id.to_string(), 1, ms(400)).await);
    }
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert!(granted(&inventory, "all", MANY, long()).await);
    assert_eq!(services.metrics().value(Counter::AtomicExpired), MANY);
    inventory.release("all").await.unwrap();
    assert_eq!(inventory.stock().await, Ok(stock(MANY, 0, 0)));
}

/// What has ended is forgotten after the window, so an inventory does not grow with its past.
pub(crate) async fn what_ended_is_forgotten(place: Place) {
    let mut settings = Settings::default();
    settings.atomic.request_window = Duration::from_secs(1);
    let (services, tenant) = (place.services_with(settings).await, tenant());
    let inventory = services.atomic(&tenant).group("g").unwrap().inventory("i").unwrap();
    let key = |kind: &str| format!("rp:{{{}:atomic:g}}:{kind}:i", tenant.name());
    inventory.set_total(10).await.unwrap();
    for id in 0..30 {
        inventory.reserve(&id.to_string(), 1, long()).await.unwrap();
        inventory.release(&id.to_string()).await.unwrap();
    }
    let known = || async {
        inventory.stock().await.unwrap();
        services.backend().call(Command::new("ZCARD").key(key("d"))).await.unwrap().as_i64().unwrap()
    };
    assert_eq!(known().await, 30);
    eventually("forgetting", || async { known().await == 0 }).await;
    assert!(matches!(inventory.commit("3", None).await, Err(Error::NotFound(_))));
    let fields = services.backend().call(Command::new("HLEN").key(key("e"))).await;
    assert!(fields.unwrap().as_i64().unwrap() <= 3, "total, held and used are all that is left");
    assert_eq!((inventory.remove().await, inventory.remove().await), (Ok(true), Ok(false)));
    assert!(matches!(inventory.stock().await, Err(Error::NotFound(_))));
}

pub(crate) async fn totals_never_fall_below_what_is_promised(place: Place) {
    let (_, inventory) = open(&place, 10).await;
    inventory.reserve("a", 4, long()).await.unwrap();
    inventory.reserve("b", 3, long()).await.unwrap();
    inventory.commit("b", None).await.unwrap();
    is_conflict(inventory.set_total(6).await, "reserved");
    is_conflict(inventory.add_total(-4).await, "reserved");
    assert_eq!(inventory.add_total(-3).await, Ok(stock(7, 4, 3)));
    assert_eq!(inventory.set_total(20).await, Ok(stock(20, 4, 3)));
    assert_eq!(inventory.set_total(MAX_UNITS).await, Ok(stock(MAX_UNITS, 4, 3)));
    is_conflict(inventory.add_total(1).await, "at most");
    assert_eq!(inventory.stock().await, Ok(stock(MAX_UNITS, 4, 3)), "exact to the last unit");
}

pub(crate) async fn bad_input_changes_nothing(place: Place) {
    let services = place.services().await;
    let inventory = services.atomic(&tenant()).group("g").unwrap().inventory("i").unwrap();
    for missing in [
        inventory.stock().await,
        inventory.add_total(1).await,
        inventory.commit("a", None).await,
        inventory.release("a").await,
        inventory.reserve("a", 1, long()).await.map(|_| stock(0, 0, 0)),
    ] {
        assert!(matches!(missing, Err(Error::NotFound(_))), "{missing:?}");
    }
    assert!(matches!(inventory.set_total(MAX_UNITS + 1).await, Err(Error::InvalidInput { field: "total", .. })));
    inventory.set_total(10).await.unwrap();
    for (id, units, ttl) in [("", 1, long()), ("a", 0, long()), ("a", u64::MAX, long()), ("a", 1, Ttl::Never)] {
        let error = inventory.reserve(id, units, ttl).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    }
    inventory.reserve("a", 2, long()).await.unwrap();
    assert!(matches!(inventory.commit("a", Some(3)).await, Err(Error::InvalidInput { field: "units", .. })));
    assert!(matches!(inventory.commit("b", None).await, Err(Error::NotFound(_))));
    assert_eq!(inventory.stock().await, Ok(stock(10, 2, 0)));
}

/// The naive way looks whether there is enough and then takes it.
pub(crate) async fn nothing_is_sold_twice_under_64_tasks(place: Place) {
    const TOTAL: u64 = 100;
    let tenant = tenant();
    let naive = format!("test:{}", tenant.name());
    let services = place.services().await;
    services.backend().call(Command::new("SET").key(&naive).arg(TOTAL)).await.unwrap();
    let all_have_looked = Arc::new(Barrier::new(TASKS));
    together(&place, |services, _| {
        let (naive, all_have_looked) = (naive.clone(), all_have_looked.clone());
        async move {
            let left = services.backend().call(Command::new("GET").key(&naive)).await.unwrap();
            all_have_looked.wait().await;
            if left.as_str().unwrap().parse::<i64>().unwrap() >= 3 {
                services.backend().call(Command::new("DECRBY").key(&naive).arg("3")).await.unwrap();
            }
        }
    })
    .await;
    let left = services.backend().call(Command::new("GET").key(&naive)).await.unwrap();
    assert!(left.as_str().unwrap().starts_with('-'), "the naive way sold more than there was: {left:?} left");

    let inventory = |services: &Services| services.atomic(&tenant).group("g").unwrap().inventory("i").unwrap();
    inventory(&services).set_total(TOTAL).await.unwrap();
    let committed = together(&place, |services, number| {
        let inventory = inventory(&services);
        async move {
            let mut committed = 0;
            for round in 0..10 {
                let (id, units) = (format!("{number}:{round}"), 1 + (number + round) as u64 % 3);
                // Some of those who reserve die; what they held comes back.
                let dies = (number + round) % 3 == 2;
                let reserved = inventory.reserve(&id, units, if dies { ms(1) } else { long() }).await.unwrap();
                let Reserved::Granted(reservation) = reserved else { continue };
                let Stock { total, available, reserved, committed: sold } = reservation.stock;
                assert_eq!((total, available + reserved + sold), (TOTAL, TOTAL));
                match (number + round) % 3 {
                    0 => {
                        inventory.commit(&id, Some(1)).await.unwrap();
                        committed += 1;
                    }
                    1 => drop(inventory.release(&id).await.unwrap()),
                    _ => {}
                }
            }
            committed
        }
    });
    let committed: u64 = committed.await.into_iter().sum();
    let inventory = inventory(&services);
    let all_back = || async { inventory.stock().await == Ok(stock(TOTAL, 0, committed)) };
    eventually("the end of what was abandoned", all_back).await;
    assert!(committed > 0 && committed <= TOTAL);
}

/// Random operations against a model. The seed is printed when it fails.
pub(crate) async fn stocks_match_the_model(place: Place) {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (_, inventory) = open(&place, 20).await;
    let (mut total, mut committed) = (20, 0);
    // Units while held, and what has ended.
    let mut held: HashMap<String, u64> = HashMap::new();
    let mut ended: HashMap<String, &str> = HashMap::new();
    for step in 0..300 {
        let id = random.below(40).to_string();
        let reserved: u64 = held.values().sum();
        let context = format!("seed {seed}, step {step}, {id}");
        match random.below(4) {
            0 | 1 => {
                let units = 1 + random.below(6);
                let result = inventory.reserve(&id, units, long()).await;
                match (held.get(&id), ended.get(&id)) {
                    (Some(known), _) if *known == units => {
                        assert!(matches!(result, Ok(Reserved::Granted(_))), "{context}: {result:?}");
                    }
                    (None, None) if reserved + committed + units > total => {
                        assert_eq!(result, Ok(Reserved::Refused(stock(total, reserved, committed))), "{context}");
                    }
                    (None, None) => {
                        assert!(matches!(result, Ok(Reserved::Granted(_))), "{context}: {result:?}");
                        held.insert(id, units);
                    }
                    _ => assert!(matches!(result, Err(Error::Conflict(_))), "{context}: {result:?}"),
                }
            }
            2 if random.below(2) == 0 => {
                let units = 1 + random.below(6);
                let result = inventory.commit(&id, Some(units)).await;
                match held.get(&id) {
                    Some(known) if units <= *known => {
                        assert!(result.is_ok(), "{context}: {result:?}");
                        held.remove(&id);
                        committed += units;
                        ended.insert(id, "committed");
                    }
                    Some(_) => assert!(matches!(result, Err(Error::InvalidInput { .. })), "{context}: {result:?}"),
                    None => assert!(ended.get(&id) == Some(&"committed") || result.is_err(), "{context}: {result:?}"),
                }
            }
            2 => {
                let units = random.between(-5, 5);
                let result = inventory.add_total(units).await;
                match total.checked_add_signed(units).filter(|total| *total >= reserved + committed) {
                    Some(new) => total = new,
                    None => assert!(matches!(result, Err(Error::Conflict(_))), "{context}: {result:?}"),
                }
            }
            _ => {
                let result = inventory.release(&id).await;
                match (held.remove(&id), ended.get(&id)) {
                    (Some(_), _) => drop(ended.insert(id, "released")),
                    (None, Some(&"committed")) => assert!(matches!(result, Err(Error::Conflict(_))), "{context}"),
                    (None, Some(_)) => assert!(result.is_ok(), "{context}: {result:?}"),
                    (None, None) => assert!(matches!(result, Err(Error::NotFound(_))), "{context}: {result:?}"),
                }
            }
        }
        let expected = stock(total, held.values().sum(), committed);
        assert_eq!(inventory.stock().await, Ok(expected), "{context}");
    }
    assert!(committed > 0 && !ended.is_empty(), "the test must see something");
}
