//! Tests of loading: one loader, no resurrection, stale values, failures.
//!
//! Services made by separate calls share nothing but the store, as separate processes do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use redpoll_services::cache::{
    Body, Claim, LoadError, LoadOptions, Loaded, Lookup, Namespace, PARTITIONS, SetOptions, Source,
};
use redpoll_services::metrics::Counter;
use redpoll_services::{Command, Error, Settings, Tenant, Ttl};
use serde_json::json;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

async fn open(place: &Place, tenant: &Tenant, settings: Settings) -> Namespace {
    place.services_with(settings).await.cache(tenant).namespace("users").unwrap()
}

fn quick() -> Settings {
    let mut settings = Settings::default();
    settings.cache.lease = Duration::from_millis(400);
    settings
}

fn number(value: u64) -> Option<Body> {
    Some(Body::from(json!(value)))
}

fn value_of(loaded: &Loaded) -> Option<u64> {
    match &loaded.body {
        Some(Body::Json(json)) => json.as_u64(),
        _ => None,
    }
}

fn options(ttl_ms: i64, stale_ms: u64, tags: &[&str]) -> LoadOptions {
    let set = SetOptions {
        ttl: Some(Ttl::ms(ttl_ms).unwrap()),
        stale: Some(Duration::from_millis(stale_ms)),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..SetOptions::default()
    };
    LoadOptions { set, ..LoadOptions::default() }
}

/// Loads a number at once.
async fn load(namespace: &Namespace, key: &str, value: u64) -> Loaded {
    let loader = move || async move { Ok::<_, String>(number(value)) };
    namespace.get_or_set(key, &LoadOptions::default(), loader).await.unwrap()
}

async fn claim(namespace: &Namespace, key: &str) -> redpoll_services::cache::Fill {
    match namespace.claim(key).await.unwrap() {
        Claim::Lead(fill) => fill,
        other => panic!("expected to lead: {other:?}"),
    }
}

pub(crate) async fn stampede_runs_one_loader(place: Place) {
    const PROCESSES: usize = 4;
    const CALLERS: usize = 64;
    let tenant = tenant();
    for round in 0..3 {
        let loads = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Barrier::new(PROCESSES * CALLERS));
        let mut callers = JoinSet::new();
        for _ in 0..PROCESSES {
            let namespace = open(&place, &tenant, Settings::default()).await;
            for _ in 0..CALLERS {
                let (namespace, loads, start) = (namespace.clone(), loads.clone(), start.clone());
                callers.spawn(async move {
                    start.wait().await;
                    let loader = move || async move {
                        loads.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        Ok::<_, String>(number(7))
                    };
                    namespace.get_or_set(&format!("k{round}"), &LoadOptions::default(), loader).await.unwrap()
                });
            }
        }
        let all = callers.join_all().await;
        assert!(all.iter().all(|loaded| value_of(loaded) == Some(7)));
        assert_eq!(all.iter().filter(|loaded| loaded.source == Source::Loader).count(), 1);
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }
}

/// A loader that is done at once leaves others no time to wait for it: who is given the lease after it has to find what it stored.
pub(crate) async fn instant_loaders_run_once_too(place: Place) {
    const PROCESSES: usize = 8;
    const KEYS: usize = 60;
    let tenant = tenant();
    let loads: Arc<[AtomicUsize; KEYS]> = Arc::new(std::array::from_fn(|_| AtomicUsize::new(0)));
    let start = Arc::new(Barrier::new(PROCESSES));
    let mut processes = JoinSet::new();
    for _ in 0..PROCESSES {
        let (namespace, loads, start) =
            (open(&place, &tenant, Settings::default()).await, loads.clone(), start.clone());
        processes.spawn(async move {
            for key in 0..KEYS {
                start.wait().await;
                let loads = loads.clone();
                let loader = move || async move {
                    loads[key].fetch_add(1, Ordering::SeqCst);
                    Ok::<_, String>(number(7))
                };
                let loaded = namespace.get_or_set(&format!("k{key}"), &LoadOptions::default(), loader).await.unwrap();
                assert_eq!(value_of(&loaded), Some(7));
            }
        });
    }
    processes.join_all().await;
    let loads: Vec<usize> = loads.iter().map(|loads| loads.load(Ordering::SeqCst)).collect();
    assert_eq!(loads, [1; KEYS]);
}

pub(crate) async fn a_lease_that_nobody_needs_is_given_back(place: Place) {
    let tenant = tenant();
    let services = place.services_with(Settings::default()).await;
    let namespace = services.cache(&tenant).namespace("users").unwrap();
    namespace.set("k", &7).await.unwrap();
    assert!(matches!(namespace.claim("k").await.unwrap(), Claim::Found(body) if body == number(7)));
    let lease = |number| format!("rp:{{{}:cache:users:{number:02}}}:l:k", tenant.name());
    eventually("giving the lease back", || async {
        let looks = (0..PARTITIONS).map(|number| Command::new("EXISTS").key(lease(number))).collect();
        let found = services.backend().pipeline(looks).await.unwrap();
        found.into_iter().all(|found| found.unwrap().as_i64() == Some(0))
    })
    .await;
}

pub(crate) async fn slow_loader_outlives_its_lease(place: Place) {
    let tenant = tenant();
    let loads = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..3 {
        let (namespace, loads) = (open(&place, &tenant, quick()).await, loads.clone());
        callers.spawn(async move {
            let loader = move || async move {
                loads.fetch_add(1, Ordering::SeqCst);
                // Three leases long: renewals keep the others waiting.
                tokio::time::sleep(Duration::from_millis(1200)).await;
                Ok::<_, String>(number(7))
            };
            namespace.get_or_set("k", &LoadOptions::default(), loader).await.unwrap()
        });
    }
    assert!(callers.join_all().await.iter().all(|loaded| value_of(loaded) == Some(7)));
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

pub(crate) async fn crashed_loader_lets_others_proceed(place: Place) {
    let tenant = tenant();
    let crashed = open(&place, &tenant, quick()).await;
    // A process that dies neither renews nor releases.
    std::mem::forget(claim(&crashed, "k").await);
    assert!(matches!(crashed.claim("k").await.unwrap(), Claim::Busy(ms) if (1..=400).contains(&ms)));
    let other = open(&place, &tenant, quick()).await;
    let started = std::time::Instant::now();
    let loaded = load(&other, "k", 8).await;
    assert_eq!((value_of(&loaded), loaded.source), (Some(8), Source::Loader));
    assert!(started.elapsed() < Duration::from_secs(5));
}

pub(crate) async fn dropped_loader_lets_others_proceed(place: Place) {
    let tenant = tenant();
    // The default lease of 5 s would be noticed.
    let namespace = open(&place, &tenant, Settings::default()).await;
    let begun = Arc::new(Notify::new());
    let task = tokio::spawn({
        let (namespace, begun) = (namespace.clone(), begun.clone());
        async move {
            let loader = move || async move {
                begun.notify_one();
                std::future::pending::<Result<Option<Body>, String>>().await
            };
            namespace.get_or_set("k", &LoadOptions::default(), loader).await
        }
    });
    tokio::time::timeout(Duration::from_secs(30), begun.notified()).await.expect("the loader begins");
    task.abort();
    let started = std::time::Instant::now();
    assert_eq!(load(&namespace, "k", 9).await.source, Source::Loader);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

pub(crate) async fn loader_errors_are_not_cached(place: Place) {
    let tenant = tenant();
    let namespace = open(&place, &tenant, Settings::default()).await;
    for attempt in 0..3 {
        let loader = move || async move { Err::<Option<Body>, _>(format!("down {attempt}")) };
        let error = namespace.get_or_set("k", &LoadOptions::default(), loader).await.unwrap_err();
        assert_eq!(error, LoadError::Loader(format!("down {attempt}")));
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));
    }
    assert_eq!(load(&namespace, "k", 1).await.source, Source::Loader);

    // Those who wait for a loader that fails run their own, one after the other.
    let failed = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(8));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (namespace, failed, start) = (namespace.clone(), failed.clone(), start.clone());
        callers.spawn(async move {
            start.wait().await;
            let loader = move || async move {
                match failed.fetch_add(1, Ordering::SeqCst) {
                    0 | 1 => Err("down"),
                    _ => Ok(number(5)),
                }
            };
            namespace.get_or_set("k2", &LoadOptions::default(), loader).await
        });
    }
    let results = callers.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 2);
    assert!(results.iter().flatten().all(|loaded| value_of(loaded) == Some(5)));
    assert_eq!(failed.load(Ordering::SeqCst), 3);
}

pub(crate) async fn absence_is_cached(place: Place) {
    let tenant = tenant();
    let namespace = open(&place, &tenant, Settings::default()).await;
    let loads = Arc::new(AtomicUsize::new(0));
    let brief = LoadOptions { absent_ttl: Some(Ttl::ms(1500).unwrap()), ..LoadOptions::default() };
    let ask = || {
        let loads = loads.clone();
        namespace.get_or_set("k", &brief, move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, String>(None)
        })
    };
    assert_eq!(ask().await.unwrap(), Loaded { body: None, source: Source::Loader });
    assert_eq!(ask().await.unwrap(), Loaded { body: None, source: Source::Cache });
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Absent));
    assert_eq!(namespace.lookup("k2").await, Ok(Lookup::Miss));
    assert_eq!(namespace.lookup_many(&["k", "k2"]).await, Ok(vec![Lookup::Absent, Lookup::Miss]));
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    tokio::time::sleep(Duration::from_millis(1510)).await;
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));
    // A value of null is a value, not an absence.
    let null = namespace.get_or_set("n", &brief, || async { Ok::<_, String>(Some(Body::from(json!(null)))) });
    assert_eq!(null.await.unwrap().body, Some(Body::from(json!(null))));
    assert_eq!(namespace.lookup("n").await, Ok(Lookup::Hit(Body::from(json!(null)))));
}

pub(crate) async fn fill_after_delete_is_refused(place: Place) {
    let tenant = tenant();
    let namespace = open(&place, &tenant, Settings::default()).await;
    let other = open(&place, &tenant, Settings::default()).await;
    let fill = claim(&namespace, "k").await;
    assert!(!other.delete("k").await.unwrap());
    assert!(!fill.store(number(1).as_ref(), &LoadOptions::default()).await.unwrap());
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));

    // A second load that began after the deletion is not the first one's to spoil, nor the other way round.
    let first = claim(&namespace, "k").await;
    other.delete("k").await.unwrap();
    let second = claim(&other, "k").await;
    assert!(!first.store(number(1).as_ref(), &LoadOptions::default()).await.unwrap());
    assert!(second.store(number(2).as_ref(), &LoadOptions::default()).await.unwrap());
    assert_eq!(namespace.get::<u64>("k").await, Ok(Some(2)));

    // The same through get_or_set: the caller gets its value, nobody else does.
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let task = tokio::spawn({
        let (namespace, begun, go) = (namespace.clone(), begun.clone(), go.clone());
        async move {
            let loader = move || async move {
                begun.notify_one();
                go.notified().await;
                Ok::<_, String>(number(3))
            };
            namespace.get_or_set("g", &LoadOptions::default(), loader).await.unwrap()
        }
    });
    tokio::time::timeout(Duration::from_secs(30), begun.notified()).await.expect("the loader begins");
    other.delete("g").await.unwrap();
    go.notify_one();
    let loaded = task.await.unwrap();
    assert_eq!((value_of(&loaded), loaded.source), (Some(3), Source::Unstored));
    assert_eq!(other.lookup("g").await, Ok(Lookup::Miss));
}

pub(crate) async fn fill_after_invalidation_is_refused(place: Place) {
    let tenant = tenant();
    let namespace = open(&place, &tenant, Settings::default()).await;
    let other = open(&place, &tenant, Settings::default()).await;
    let with_tag = options(60_000, 0, &["t", "u"]);

    let fill = claim(&namespace, "k").await;
    assert_eq!(other.invalidate_tag("t").await, Ok(0));
    assert!(!fill.store(number(1).as_ref(), &with_tag).await.unwrap());
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));

    let fill = claim(&namespace, "k").await;
    other.invalidate_tag("unrelated").await.unwrap();
    assert!(fill.store(number(2).as_ref(), &with_tag).await.unwrap(), "another tag's invalidation does not matter");
    assert_eq!(other.invalidate_tag("u").await, Ok(1));

    for how in 0..2 {
        let fill = claim(&namespace, "k").await;
        let removed = match how {
            0 => other.clear().await,
            _ => other.invalidate_pattern("*").await,
        };
        assert_eq!(removed, Ok(0));
        assert!(!fill.store(number(3).as_ref(), &LoadOptions::default()).await.unwrap());
        let fill = claim(&namespace, "k").await;
        assert!(fill.store(number(4).as_ref(), &LoadOptions::default()).await.unwrap(), "a later load is accepted");
        assert!(namespace.delete("k").await.unwrap());
    }
}

pub(crate) async fn fill_after_write_is_refused(place: Place) {
    let tenant = tenant();
    let namespace = open(&place, &tenant, Settings::default()).await;
    let fill = claim(&namespace, "k").await;
    namespace.set("k", &"newer").await.unwrap();
    assert!(!fill.store(number(1).as_ref(), &LoadOptions::default()).await.unwrap());
    assert_eq!(namespace.get::<String>("k").await, Ok(Some("newer".to_owned())));
}

pub(crate) async fn invalidation_racing_with_loads(place: Place) {
    const ROUNDS: u64 = 150;
    let tenant = tenant();
    let truth = Arc::new(AtomicU64::new(0));
    let writer = open(&place, &tenant, Settings::default()).await;
    let done = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let namespace = open(&place, &tenant, Settings::default()).await;
        for _ in 0..2 {
            let (namespace, truth, done) = (namespace.clone(), truth.clone(), done.clone());
            readers.spawn(async move {
                let mut reads = 0_u64;
                while done.load(Ordering::SeqCst) < ROUNDS {
                    // Invalidations finished before this read began; its answer must not be older.
                    let least = done.load(Ordering::SeqCst);
                    let source = truth.clone();
                    let loader = move || async move {
                        let value = source.load(Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok::<_, String>(number(value))
                    };
                    let loaded = namespace.get_or_set("k", &options(60_000, 0, &["t"]), loader).await.unwrap();
                    let seen = value_of(&loaded).unwrap();
                    assert!(seen >= least, "read {seen} after invalidation {least}: {loaded:?}");
                    reads += 1;
                }
                reads
            });
        }
    }
    for round in 1..=ROUNDS {
        truth.store(round, Ordering::SeqCst);
        if round % 2 == 0 {
            writer.invalidate_tag("t").await.unwrap();
        } else {
            writer.delete("k").await.unwrap();
        }
        done.store(round, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    assert!(readers.join_all().await.iter().sum::<u64>() > 0);
}

pub(crate) async fn stale_value_while_one_refreshes(place: Place) {
    let tenant = tenant();
    let mut settings = Settings::default();
    settings.cache.early_refresh = 0.0;
    let loads = Arc::new(AtomicU64::new(0));
    let spaces = [open(&place, &tenant, settings.clone()).await, open(&place, &tenant, settings).await];
    let ask = |namespace: &Namespace| {
        let (loads, namespace) = (loads.clone(), namespace.clone());
        async move {
            let loader = move || async move {
                let value = loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, String>(number(value))
            };
            namespace.get_or_set("k", &options(500, 60_000, &[]), loader).await.unwrap()
        }
    };
    assert_eq!(ask(&spaces[0]).await.source, Source::Loader);
    assert_eq!(ask(&spaces[1]).await.source, Source::Cache);
    tokio::time::sleep(Duration::from_millis(510)).await;
    // From here on the value is stale; each answer is immediate, and the first refresh replaces it.
    let stale = ask(&spaces[0]).await;
    assert_eq!((value_of(&stale), stale.source), (Some(0), Source::Stale));
    eventually("the refresh", || async { spaces[1].get::<u64>("k").await == Ok(Some(1)) }).await;
    assert_eq!(loads.load(Ordering::SeqCst), 2);

    // A refresh that fails leaves the stale value.
    tokio::time::sleep(Duration::from_millis(510)).await;
    let failing = || async { Err::<Option<Body>, _>("down") };
    let kept = spaces[0].get_or_set("k", &LoadOptions::default(), failing).await.unwrap();
    assert_eq!((value_of(&kept), kept.source), (Some(1), Source::Stale));
    assert_eq!(spaces[0].get::<u64>("k").await, Ok(Some(1)));
}

pub(crate) async fn early_refresh(place: Place) {
    let tenant = tenant();
    let with = |early_refresh: f64| {
        let mut settings = Settings::default();
        settings.cache.early_refresh = early_refresh;
        settings
    };
    let eager = open(&place, &tenant, with(1e12)).await;
    let fill = claim(&eager, "k").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    // Loading took at least 5 ms, so an eagerness of 10^12 always draws a refresh.
    assert!(fill.store(number(1).as_ref(), &LoadOptions::default()).await.unwrap());
    let never = open(&place, &tenant, with(0.0)).await;
    assert_eq!(load(&never, "k", 2).await.source, Source::Cache);
    assert_eq!(never.get::<u64>("k").await, Ok(Some(1)));
    let loaded = load(&eager, "k", 3).await;
    assert_eq!((value_of(&loaded), loaded.source), (Some(1), Source::Cache));
    eventually("the refresh", || async { never.get::<u64>("k").await == Ok(Some(3)) }).await;
}

pub(crate) async fn loaded_value_above_the_cap(place: Place) {
    let tenant = tenant();
    let mut settings = Settings::default();
    settings.cache.bytes_max = 10;
    let namespace = open(&place, &tenant, settings).await;
    let large = || async { Ok::<_, String>(Some(Body::from(vec![1; 11]))) };
    let loaded = namespace.get_or_set("k", &LoadOptions::default(), large).await.unwrap();
    assert_eq!(loaded, Loaded { body: Some(Body::from(vec![1; 11])), source: Source::Unstored });
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));
    assert!(matches!(namespace.claim("k").await.unwrap(), Claim::Lead(_)), "the lease was given back");
}

pub(crate) async fn waiters_are_woken_and_do_not_poll(place: Place) {
    let tenant = tenant();
    let services = place.services().await;
    let (leader, waiter) =
        (open(&place, &tenant, Settings::default()).await, services.cache(&tenant).namespace("users").unwrap());
    for round in 0..3 {
        let key = format!("k{round}");
        let fill = claim(&leader, &key).await;
        let task = tokio::spawn({
            let (waiter, key) = (waiter.clone(), key.clone());
            async move {
                let loader = || async { Ok::<_, String>(number(8)) };
                waiter.get_or_set(&key, &LoadOptions::default(), loader).await.unwrap()
            }
        });
        eventually("waiting", || async { services.signals().channels() == 1 }).await;
        // Time for the subscription. Who looked again at intervals would be asleep for long after it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let settled = std::time::Instant::now();
        if round < 2 {
            assert!(fill.store(number(7).as_ref(), &LoadOptions::default()).await.unwrap());
        } else {
            drop(fill);
        }
        let loaded = task.await.unwrap();
        assert!(settled.elapsed() < redpoll_services::signal::RECHECK_MAX / 2, "{:?}", settled.elapsed());
        let expected = if round < 2 { (Some(7), Source::Shared) } else { (Some(8), Source::Loader) };
        assert_eq!((value_of(&loaded), loaded.source), expected);
        assert_eq!(services.signals().channels(), 0);
    }
}

pub(crate) async fn waiting_is_bounded(place: Place) {
    let tenant = tenant();
    let mut settings = Settings::default();
    settings.cache.wait_timeout = Duration::from_millis(60);
    settings.cache.load_timeout = Duration::from_millis(60);
    let namespace = open(&place, &tenant, settings).await;
    let held = claim(&namespace, "k").await;
    let error = namespace.get_or_set("k", &LoadOptions::default(), || async { Ok::<_, String>(None) }).await;
    assert!(matches!(error, Err(LoadError::Cache(Error::Timeout(_)))), "{error:?}");
    drop(held);
    let never = || std::future::pending::<Result<Option<Body>, String>>();
    let error = namespace.get_or_set("k2", &LoadOptions::default(), never).await;
    assert!(matches!(error, Err(LoadError::Cache(Error::Timeout(_)))), "{error:?}");
    assert!(matches!(namespace.claim("k2").await.unwrap(), Claim::Lead(_)), "the lease was given back");
}

#[tokio::test]
async fn outage_runs_the_loader_and_is_counted() {
    let services = Place::down().services_lazily(Settings::default());
    let namespace = services.cache(&tenant()).namespace("users").unwrap();
    let loaded = load(&namespace, "k", 5).await;
    assert_eq!((value_of(&loaded), loaded.source), (Some(5), Source::Outage));
    assert_eq!(services.metrics().value(Counter::CacheOutages), 1);
    let error = namespace.get_or_set("k", &LoadOptions::default(), || async { Err::<Option<Body>, _>("down") }).await;
    assert_eq!(error, Err(LoadError::Loader("down")));
}
