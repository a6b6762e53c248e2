//! Tests of what is served when loading fails or takes long, and of lifetimes that are drawn, prolonged and given by the
//! loader.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redpoll_services::cache::{
    Body, Fresh, LoadError, LoadOptions, Loaded, Lookup, Namespace, Remaining, SetOptions, Source,
};
use redpoll_services::metrics::Counter;
use redpoll_services::{Command, Error, Services, Settings, Tenant, Ttl};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{Place, eventually, tenant};

async fn open(place: &Place, settings: Settings) -> (Services, Tenant, Namespace) {
    let (services, tenant) = (place.services_with(settings).await, tenant());
    let namespace = services.cache(&tenant).namespace("users").unwrap();
    (services, tenant, namespace)
}

fn number(value: u64) -> Option<Body> {
    Some(Body::from(json!(value)))
}

/// The settings hold.
static PLAIN: std::sync::LazyLock<LoadOptions> = std::sync::LazyLock::new(LoadOptions::default);

fn kept(ttl_ms: i64, fail_safe_ms: u64) -> LoadOptions {
    let set = SetOptions {
        ttl: Some(Ttl::ms(ttl_ms).unwrap()),
        fail_safe: Some(Duration::from_millis(fail_safe_ms)),
        tags: vec!["t".to_owned()],
        ..SetOptions::default()
    };
    LoadOptions { set, ..LoadOptions::default() }
}

async fn load(namespace: &Namespace, options: &LoadOptions, value: u64) -> Loaded {
    namespace.get_or_set("k", options, move || async move { Ok::<_, String>(number(value)) }).await.unwrap()
}

async fn fail(namespace: &Namespace, options: &LoadOptions) -> Result<Loaded, LoadError<&'static str>> {
    namespace.get_or_set("k", options, || async { Err("down") }).await
}

/// Waits until `ms` after `start`.
async fn wait_until(start: Instant, ms: u64) {
    tokio::time::sleep((start + Duration::from_millis(ms)).saturating_duration_since(Instant::now())).await;
}

pub(crate) async fn fail_safe_value_when_loading_fails(place: Place) {
    let (services, _, namespace) = open(&place, Settings::default()).await;
    let options = kept(200, 60_000);
    let start = Instant::now();
    assert_eq!(load(&namespace, &options, 1).await.source, Source::Loader);
    wait_until(start, 400).await;
    // Past its lifetime it is there for failures only.
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));
    assert_eq!(namespace.lookup_many(&["k"]).await, Ok(vec![Lookup::Miss]));
    for round in 1..3 {
        let loaded = fail(&namespace, &options).await.unwrap();
        assert_eq!((loaded.body, loaded.source), (number(1), Source::FailSafe));
        assert_eq!(services.metrics().value(Counter::CacheFailSafe), round);
    }
    assert_eq!(load(&namespace, &options, 2).await, Loaded { body: number(2), source: Source::Loader });
    assert_eq!(namespace.get::<u64>("k").await, Ok(Some(2)));
}

pub(crate) async fn fail_safe_never_past_its_maximum(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    let options = kept(100, 600);
    let start = Instant::now();
    load(&namespace, &options, 1).await;
    wait_until(start, 300).await;
    // A loader that begins before the limit and fails behind it: who holds the value then does not give it.
    let late = namespace.get_or_set("k", &options, move || async move {
        wait_until(start, 900).await;
        Err::<Option<Body>, _>("down")
    });
    assert_eq!(late.await, Err(LoadError::Loader("down")));
    assert_eq!(fail(&namespace, &options).await, Err(LoadError::Loader("down")));
    // Nor after a soft timeout behind it.
    let start = Instant::now();
    load(&namespace, &options, 2).await;
    wait_until(start, 300).await;
    let soft = LoadOptions { soft_timeout: Some(Duration::from_millis(700)), ..options };
    let slow = namespace.get_or_set("k", &soft, move || async move {
        wait_until(start, 1_300).await;
        Ok::<_, String>(number(3))
    });
    assert_eq!(slow.await.unwrap(), Loaded { body: number(3), source: Source::Loader });
}

pub(crate) async fn what_was_removed_is_not_kept_for_failures(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    for way in 0..5 {
        let options = kept(100, 60_000);
        let start = Instant::now();
        load(&namespace, &options, 1).await;
        wait_until(start, 200).await;
        assert_eq!(fail(&namespace, &options).await.unwrap().source, Source::FailSafe);
        match way {
            0 => assert!(namespace.delete("k").await.unwrap()),
            1 => assert_eq!(namespace.invalidate_tag("t").await, Ok(1)),
            2 => assert_eq!(namespace.invalidate_pattern("*").await, Ok(1)),
            3 => assert_eq!(namespace.clear().await, Ok(1)),
            _ => {
                // Nor is an absence: nobody has said that there is nothing now.
                let brief = LoadOptions { absent_ttl: Some(Ttl::ms(100).unwrap()), ..options.clone() };
                let none = namespace.get_or_set("k", &brief, || async { Ok::<Option<Body>, String>(None) });
                assert_eq!(none.await.unwrap().source, Source::Loader);
                wait_until(start, 450).await;
            }
        }
        assert_eq!(fail(&namespace, &options).await, Err(LoadError::Loader("down")), "{way}");
    }
}

pub(crate) async fn soft_timeout_goes_on_in_the_background(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    let options = LoadOptions { soft_timeout: Some(Duration::from_millis(50)), ..kept(100, 60_000) };
    let start = Instant::now();
    load(&namespace, &options, 1).await;
    wait_until(start, 200).await;
    let (go, loads) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let slow = || {
        let (go, loads) = (go.clone(), loads.clone());
        namespace.get_or_set("k", &options, move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            go.notified().await;
            Ok::<_, String>(number(2))
        })
    };
    // Who comes while it is loaded waits no longer, and loads nothing.
    for _ in 0..3 {
        assert_eq!(slow().await.unwrap(), Loaded { body: number(1), source: Source::FailSafe });
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    go.notify_one();
    eventually("the new value", || async { namespace.get::<u64>("k").await == Ok(Some(2)) }).await;
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

pub(crate) async fn hard_timeout_is_an_error(place: Place) {
    let mut settings = Settings::default();
    settings.cache.load_timeout = Duration::from_millis(60);
    let (_, _, namespace) = open(&place, settings).await;
    let never = || std::future::pending::<Result<Option<Body>, String>>();
    let error = namespace.get_or_set("k", &kept(100, 60_000), never).await;
    assert!(matches!(error, Err(LoadError::Cache(Error::Timeout(_)))), "{error:?}");
    let start = Instant::now();
    load(&namespace, &kept(100, 60_000), 1).await;
    wait_until(start, 200).await;
    let loaded = namespace.get_or_set("k", &kept(100, 60_000), never).await.unwrap();
    assert_eq!((loaded.body, loaded.source), (number(1), Source::FailSafe));
}

pub(crate) async fn loader_knows_how_long(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    let own = SetOptions { ttl: Some(Ttl::ms(5_000).unwrap()), ..SetOptions::default() };
    let brief = own.clone();
    let loaded = namespace.get_or_load("k", &PLAIN, |previous| async move {
        assert_eq!(previous, None);
        Ok::<_, String>(Fresh::value(json!(1)).with(brief))
    });
    assert_eq!(loaded.await.unwrap().source, Source::Loader);
    assert!(matches!(namespace.remaining("k").await, Ok(Remaining::Ms(4_000..=5_000))));
    let absent = namespace.get_or_load("n", &PLAIN, |_| async move { Ok::<_, String>(Fresh::absent().with(own)) });
    assert_eq!(absent.await.unwrap().body, None);
    assert!(matches!(namespace.remaining("n").await, Ok(Remaining::Ms(4_000..=5_000))));
    let nothing = namespace.get_or_load("u", &PLAIN, |_| async { Ok::<_, String>(Fresh::unchanged()) });
    assert!(matches!(nothing.await, Err(LoadError::Cache(Error::InvalidInput { field: "loader", .. }))));
    assert!(matches!(namespace.claim("u").await.unwrap(), redpoll_services::cache::Claim::Lead(_)), "lease given back");
}

pub(crate) async fn unchanged_gets_a_new_lifetime(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    let options = kept(200, 60_000);
    for round in 0..2 {
        let start = Instant::now();
        if round == 0 {
            load(&namespace, &options, 1).await;
        }
        wait_until(start, 300).await;
        let loaded = namespace.get_or_load("k", &options, |previous| async move {
            assert_eq!(previous, number(1), "the loader can ask whether it still holds");
            Ok::<_, String>(Fresh::unchanged())
        });
        assert_eq!(loaded.await.unwrap(), Loaded { body: number(1), source: Source::Loader });
        assert_eq!(namespace.get::<u64>("k").await, Ok(Some(1)));
    }
}

pub(crate) async fn sliding_lifetimes(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    let lasting = |sliding| SetOptions { ttl: Some(Ttl::ms(1_000).unwrap()), sliding, ..SetOptions::default() };
    let start = Instant::now();
    for (key, sliding) in [("read", true), ("many", true), ("loaded", true), ("idle", true), ("fixed", false)] {
        namespace.store(key, &json!(1).into(), &lasting(sliding)).await.unwrap();
    }
    for step in 1..=6 {
        wait_until(start, step * 300).await;
        assert!(matches!(namespace.lookup("read").await, Ok(Lookup::Hit(_))), "step {step}");
        assert!(matches!(namespace.lookup_many(&["many"]).await.unwrap()[0], Lookup::Hit(_)), "step {step}");
        let loaded = namespace.get_or_set("loaded", &PLAIN, || async { Err::<_, String>("no".into()) });
        assert_eq!(loaded.await.unwrap().source, Source::Cache, "step {step}");
        namespace.lookup("fixed").await.unwrap();
    }
    assert_eq!(namespace.lookup("idle").await, Ok(Lookup::Miss));
    assert_eq!(namespace.lookup("fixed").await, Ok(Lookup::Miss));
    assert_eq!(namespace.count().await, Ok(3));
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    assert_eq!(namespace.lookup("read").await, Ok(Lookup::Miss));
}

pub(crate) async fn touching_keeps_stale_and_fail_safe_time(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    let set = SetOptions {
        ttl: Some(Ttl::ms(1_000).unwrap()),
        stale: Some(Duration::from_secs(20)),
        fail_safe: Some(Duration::from_secs(50)),
        ..SetOptions::default()
    };
    namespace.store("k", &json!(1).into(), &set).await.unwrap();
    assert!(matches!(namespace.remaining("k").await, Ok(Remaining::Ms(50_000..=51_000))), "fail-safe holds stale time");
    assert_eq!(namespace.touch("k", Some(Ttl::ms(100_000).unwrap())).await, Ok(true));
    assert!(matches!(namespace.remaining("k").await, Ok(Remaining::Ms(149_000..=150_000))));
}

pub(crate) async fn jitter_spreads_lifetimes(place: Place) {
    let (_, _, namespace) = open(&place, Settings::default()).await;
    let set = SetOptions { ttl: Some(Ttl::seconds(1_000).unwrap()), jitter: Some(0.5), ..SetOptions::default() };
    let mut lifetimes = Vec::new();
    for number in 0..100 {
        let key = format!("k{number}");
        namespace.store(&key, &json!(1).into(), &set).await.unwrap();
        match namespace.remaining(&key).await.unwrap() {
            Remaining::Ms(ms) => lifetimes.push(ms),
            other => panic!("{other:?}"),
        }
    }
    let (least, most) = (*lifetimes.iter().min().unwrap(), *lifetimes.iter().max().unwrap());
    assert!(least >= 490_000 && most <= 1_000_000, "{least} {most}");
    assert!(most - least > 300_000, "{least} {most}");
    let bad = SetOptions { jitter: Some(1.5), ..SetOptions::default() };
    assert!(matches!(
        namespace.store("k", &json!(1).into(), &bad).await,
        Err(Error::InvalidInput { field: "jitter", .. })
    ));
}

pub(crate) async fn large_values_are_compressed(place: Place) {
    let (services, tenant, namespace) = open(&place, Settings::default()).await;
    let text = "what is said again and again ".repeat(3_000);
    let mut stored = 0;
    for body in [Body::from(json!({ "text": text })), Body::from(text.as_bytes()), Body::from(vec![0; 1 << 20])] {
        namespace.store("k", &body, &SetOptions::default()).await.unwrap();
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Hit(body.clone())));
        for number in 0..redpoll_services::cache::PARTITIONS {
            let key = format!("rp:{{{}:cache:users:{number:02}}}:v:k", tenant.name());
            let len = services.backend().call(Command::new("STRLEN").key(&key)).await.unwrap().as_i64().unwrap();
            assert!(len < 10_000, "{len}");
            stored += i64::from(len > 0);
        }
        assert_eq!(
            namespace.claim("k").await.map(|claim| format!("{claim:?}")).unwrap(),
            format!("Found(Some({body:?}))")
        );
        assert!(namespace.delete("k").await.unwrap());
    }
    assert_eq!(stored, 3);
}
