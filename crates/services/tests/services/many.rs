//! Tests of loading many keys at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redpoll_services::cache::{Body, Claim, LoadError, LoadOptions, Loaded, Lookup, Namespace, SetOptions, Source};
use redpoll_services::{Settings, Tenant, Ttl};
use serde_json::json;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

async fn open(place: &Place, tenant: &Tenant) -> Namespace {
    let mut settings = Settings::default();
    settings.cache.lease = Duration::from_millis(400);
    place.services_with(settings).await.cache(tenant).namespace("users").unwrap()
}

/// Values by the number in the key; none for keys without one.
fn values(keys: &[String]) -> HashMap<String, Body> {
    let value = |key: &String| Some((key.clone(), Body::from(json!(key.get(1..)?.parse::<u64>().ok()?))));
    keys.iter().filter_map(value).collect()
}

fn sources(loaded: &[Loaded]) -> Vec<Source> {
    loaded.iter().map(|loaded| loaded.source).collect()
}

pub(crate) async fn many_load_once_what_is_missing(place: Place) {
    let namespace = open(&place, &tenant()).await;
    namespace.set("k1", &1).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let load = |keys: &'static [&'static str]| {
        let asked = asked.clone();
        let namespace = namespace.clone();
        async move {
            let loader = move |keys: Vec<String>| {
                asked.lock().unwrap().push(keys.clone());
                async move { Ok::<_, String>(values(&keys)) }
            };
            namespace.get_or_set_many(keys, &LoadOptions::default(), loader).await.unwrap()
        }
    };
    let keys = &["k3", "k1", "none", "k2", "k3"];
    let loaded = load(keys).await;
    assert_eq!(sources(&loaded), [Source::Loader, Source::Cache, Source::Loader, Source::Loader, Source::Loader]);
    let bodies: Vec<Option<u64>> = loaded
        .iter()
        .map(|loaded| match &loaded.body {
            Some(Body::Json(json)) => json.as_u64(),
            _ => None,
        })
        .collect();
    assert_eq!(bodies, [Some(3), Some(1), None, Some(2), Some(3)]);
    assert_eq!(*asked.lock().unwrap(), [["k3", "none", "k2"]], "once, each key once");
    assert_eq!(sources(&load(keys).await), [Source::Cache; 5]);
    assert_eq!(namespace.lookup("none").await, Ok(Lookup::Absent));
    assert_eq!(asked.lock().unwrap().len(), 1);
    assert_eq!(load(&[]).await, []);
}

pub(crate) async fn many_stampede_loads_each_key_once(place: Place) {
    const PROCESSES: usize = 4;
    const CALLERS: usize = 16;
    let tenant = tenant();
    let loads: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let start = Arc::new(Barrier::new(PROCESSES * CALLERS));
    let mut callers = JoinSet::new();
    for process in 0..PROCESSES {
        // A lease that a busy machine cannot outlast.
        let namespace = place.services().await.cache(&tenant).namespace("users").unwrap();
        for caller in 0..CALLERS {
            let (namespace, loads, start) = (namespace.clone(), loads.clone(), start.clone());
            callers.spawn(async move {
                // Windows that overlap, in different orders.
                let mut keys: Vec<String> = (caller..caller + 20).map(|number| format!("k{number}")).collect();
                if process % 2 == 0 {
                    keys.reverse();
                }
                let names: Vec<&str> = keys.iter().map(String::as_str).collect();
                start.wait().await;
                let loader = move |keys: Vec<String>| {
                    keys.iter().for_each(|key| *loads.lock().unwrap().entry(key.clone()).or_default() += 1);
                    async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Ok::<_, String>(values(&keys))
                    }
                };
                let loaded = namespace.get_or_set_many(&names, &LoadOptions::default(), loader).await.unwrap();
                for (key, loaded) in keys.iter().zip(loaded) {
                    assert_eq!(loaded.body, values(std::slice::from_ref(key)).remove(key));
                }
            });
        }
    }
    callers.join_all().await;
    let loads = loads.lock().unwrap();
    assert_eq!(loads.len(), CALLERS + 19);
    assert!(loads.values().all(|count| *count == 1), "{loads:?}");
}

pub(crate) async fn many_fills_are_refused_one_by_one(place: Place) {
    let tenant = tenant();
    let (namespace, other) = (open(&place, &tenant).await, open(&place, &tenant).await);
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let task = tokio::spawn({
        let (namespace, begun, go) = (namespace.clone(), begun.clone(), go.clone());
        async move {
            let loader = move |keys: Vec<String>| {
                let (begun, go) = (begun.clone(), go.clone());
                async move {
                    begun.notify_one();
                    go.notified().await;
                    Ok::<_, String>(values(&keys))
                }
            };
            namespace.get_or_set_many(&["k1", "k2", "k3"], &LoadOptions::default(), loader).await.unwrap()
        }
    });
    tokio::time::timeout(Duration::from_secs(30), begun.notified()).await.expect("the loader begins");
    other.delete("k2").await.unwrap();
    other.set("k3", &33).await.unwrap();
    go.notify_one();
    assert_eq!(sources(&task.await.unwrap()), [Source::Loader, Source::Unstored, Source::Unstored]);
    assert_eq!(other.get::<u64>("k1").await, Ok(Some(1)));
    assert_eq!(other.lookup("k2").await, Ok(Lookup::Miss));
    assert_eq!(other.get::<u64>("k3").await, Ok(Some(33)));
}

pub(crate) async fn many_go_on_after_a_crash_and_after_a_failure(place: Place) {
    let tenant = tenant();
    let namespace = open(&place, &tenant).await;
    let Claim::Lead(crashed) = namespace.claim("k2").await.unwrap() else { panic!("nobody else loads") };
    std::mem::forget(crashed);
    let calls = Arc::new(AtomicUsize::new(0));
    let load = |fails: bool| {
        let (namespace, calls) = (namespace.clone(), calls.clone());
        async move {
            let loader = move |keys: Vec<String>| {
                calls.fetch_add(1, Ordering::SeqCst);
                async move { if fails { Err("down") } else { Ok(values(&keys)) } }
            };
            namespace.get_or_set_many(&["k1", "k2", "k3"], &LoadOptions::default(), loader).await
        }
    };
    assert_eq!(load(true).await, Err(LoadError::Loader("down")));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // The leases of k1 and k3 are given back at once; that of k2 ends by itself.
    assert_eq!(sources(&load(false).await.unwrap()), [Source::Loader; 3]);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

pub(crate) async fn many_stale_and_kept_for_fail_safe(place: Place) {
    let namespace = open(&place, &tenant()).await;
    let set = |stale_ms, fail_safe_ms| SetOptions {
        ttl: Some(Ttl::ms(200).unwrap()),
        stale: Some(Duration::from_millis(stale_ms)),
        fail_safe: Some(Duration::from_millis(fail_safe_ms)),
        ..SetOptions::default()
    };
    namespace.store("stale", &json!(1).into(), &set(60_000, 0)).await.unwrap();
    namespace.store("kept", &json!(2).into(), &set(0, 60_000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let options = LoadOptions { set: set(60_000, 60_000), ..LoadOptions::default() };
    let down = |_: Vec<String>| async { Err::<HashMap<String, Body>, _>("down") };
    let loaded = namespace.get_or_set_many(&["stale", "kept"], &options, down).await.unwrap();
    assert_eq!(sources(&loaded), [Source::Stale, Source::FailSafe]);
    let error = namespace.get_or_set_many(&["kept", "missing"], &options, down).await;
    assert_eq!(error, Err(LoadError::Loader("down")), "not when one of them has nothing");
    let up = |keys: Vec<String>| async move {
        Ok::<_, String>(keys.into_iter().map(|key| (key, Body::from(json!(9)))).collect::<HashMap<_, _>>())
    };
    let loaded = namespace.get_or_set_many(&["stale", "kept"], &options, up).await.unwrap();
    assert_eq!(loaded[1], Loaded { body: Some(Body::from(json!(9))), source: Source::Loader });
    eventually("the refresh", || async {
        let loaded = namespace.get_or_set_many(&["stale"], &options, up).await.unwrap();
        loaded[0].body == Some(Body::from(json!(9)))
    })
    .await;
}

#[tokio::test]
async fn many_without_a_store() {
    let services = Place::down().services_lazily(Settings::default());
    let namespace = services.cache(&tenant()).namespace("users").unwrap();
    let loader = |keys: Vec<String>| async move { Ok::<_, String>(values(&keys)) };
    let loaded = namespace.get_or_set_many(&["k1", "none"], &LoadOptions::default(), loader).await.unwrap();
    let outage = |body| Loaded { body, source: Source::Outage };
    assert_eq!(loaded, [outage(Some(Body::from(json!(1)))), outage(None)]);
}
