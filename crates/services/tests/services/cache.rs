//! Tests of the cache: storing, lifetimes, walls, invalidation.

use std::time::Duration;

use redpoll_services::cache::{Body, Lookup, Namespace, NamespaceSettings, PARTITIONS, Remaining, SetOptions};
use redpoll_services::{Command, Error, Services, Settings, Tenant, Ttl};
use serde_json::json;

use crate::support::{Place, tenant};

async fn open(place: &Place) -> (Services, Tenant, Namespace) {
    let (services, tenant) = (place.services().await, tenant());
    let namespace = services.cache(&tenant).namespace("users").unwrap();
    (services, tenant, namespace)
}

fn bytes(text: &str) -> Body {
    Body::from(text.as_bytes())
}

fn tagged(tags: &[&str]) -> SetOptions {
    SetOptions { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..SetOptions::default() }
}

fn lasting(ttl_ms: i64) -> SetOptions {
    SetOptions { ttl: Some(Ttl::ms(ttl_ms).unwrap()), ..SetOptions::default() }
}

/// The keys of the index of all partitions, those of one kind.
fn index_keys(tenant: &Tenant, kind: &str) -> Vec<String> {
    (0..PARTITIONS).map(|number| format!("rp:{{{}:cache:users:{number:02}}}:{kind}", tenant.name())).collect()
}

async fn pttls(services: &Services, keys: &[String]) -> Vec<i64> {
    let commands = keys.iter().map(|key| Command::new("PTTL").key(key)).collect();
    let replies = services.backend().pipeline(commands).await.unwrap();
    replies.into_iter().map(|reply| reply.unwrap().as_i64().unwrap()).collect()
}

pub(crate) async fn zero_false_empty_and_null_are_not_misses(place: Place) {
    let (_, _, namespace) = open(&place).await;
    assert_eq!(namespace.lookup("nothing").await, Ok(Lookup::Miss));
    for value in [json!({}), json!(0), json!(false), json!(""), json!(null), json!([]), json!(0.5), json!({"a": [1]})] {
        namespace.set("k", &value).await.unwrap();
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Hit(Body::from(value.clone()))), "{value}");
        assert!(namespace.exists("k").await.unwrap());
    }
    namespace.store("k", &bytes(""), &SetOptions::default()).await.unwrap();
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Hit(bytes(""))));
    namespace.set("n", &7_u8).await.unwrap();
    assert_eq!(namespace.get::<u8>("n").await, Ok(Some(7)));
    assert_eq!(namespace.get::<u8>("missing").await, Ok(None));
    assert!(namespace.get::<String>("n").await.is_err(), "a value of another shape is not a miss");
}

pub(crate) async fn bytes_come_back_as_given(place: Place) {
    let (_, _, namespace) = open(&place).await;
    let every: Vec<u8> = (0..=255).chain(*b"\r\n1;j;0;0;0\n").collect();
    for body in [Body::from(every), Body::from(vec![0xff, 0xfe]), Body::from(&b"\n"[..])] {
        namespace.store("k", &body, &SetOptions::default()).await.unwrap();
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Hit(body)));
    }
}

pub(crate) async fn zero_ttl_is_an_error_and_never_is_explicit(place: Place) {
    let (services, tenant, namespace) = open(&place).await;
    for ttl_ms in [0, -1] {
        assert!(matches!(Ttl::ms(ttl_ms), Err(Error::InvalidInput { .. })));
    }
    let never = SetOptions { ttl: Some(Ttl::Never), ..SetOptions::default() };
    namespace.store("k", &bytes("v"), &never).await.unwrap();
    assert_eq!(namespace.remaining("k").await, Ok(Remaining::Never));
    // The index of a lasting entry must last too, whatever joins it, and end with it.
    namespace.store("k2", &bytes("v"), &lasting(60_000)).await.unwrap();
    assert_eq!(namespace.count().await, Ok(2));
    assert!(namespace.delete("k").await.unwrap());
    assert!(namespace.delete("k2").await.unwrap());
    for kind in ["e", "x", "t", "g"] {
        assert!(pttls(&services, &index_keys(&tenant, kind)).await.iter().all(|pttl| *pttl != -1), "{kind}");
    }
}

pub(crate) async fn defaults_are_an_hour_and_a_mebibyte(place: Place) {
    let (_, _, namespace) = open(&place).await;
    namespace.set("k", &1).await.unwrap();
    let Remaining::Ms(ms) = namespace.remaining("k").await.unwrap() else { panic!("has a lifetime") };
    assert!((3_590_000..=3_600_000).contains(&ms), "{ms}");
    let largest = Body::from(vec![b'x'; 1 << 20]);
    namespace.store("large", &largest, &SetOptions::default()).await.unwrap();
    assert_eq!(namespace.lookup("large").await, Ok(Lookup::Hit(largest)));
    let above = Body::from(vec![b'x'; (1 << 20) + 1]);
    assert_eq!(
        namespace.store("large", &above, &SetOptions::default()).await,
        Err(Error::TooLarge { size_bytes: (1 << 20) + 1, max_bytes: 1 << 20 })
    );
}

pub(crate) async fn settings_of_a_namespace(place: Place) {
    let mut settings = Settings::default();
    settings.cache.ttl = Ttl::seconds(300).unwrap();
    let own = NamespaceSettings {
        ttl: Some(Ttl::seconds(1800).unwrap()),
        bytes_max: Some(3),
        ..NamespaceSettings::default()
    };
    settings.cache.namespaces.insert("tasks".to_owned(), own);
    let cache = place.services_with(settings).await.cache(&tenant());
    let (tasks, others) = (cache.namespace("tasks").unwrap(), cache.namespace("others").unwrap());
    let remaining = async |namespace: &Namespace| match namespace.remaining("k").await.unwrap() {
        Remaining::Ms(ms) => ms.div_ceil(100_000),
        other => panic!("{other:?}"),
    };
    tasks.set("k", &1).await.unwrap();
    others.set("k", &1).await.unwrap();
    assert_eq!((remaining(&tasks).await, remaining(&others).await), (18, 3));
    assert!(matches!(tasks.set("k", "long").await, Err(Error::TooLarge { .. })));
}

pub(crate) async fn lifetimes(place: Place) {
    let (_, _, namespace) = open(&place).await;
    assert_eq!(namespace.remaining("k").await, Ok(Remaining::Missing));
    assert_eq!(namespace.touch("k", None).await, Ok(false));
    namespace.store("k", &bytes("v"), &lasting(60_000)).await.unwrap();
    assert_eq!(namespace.touch("k", Some(Ttl::ms(120_000).unwrap())).await, Ok(true));
    assert!(matches!(namespace.remaining("k").await.unwrap(), Remaining::Ms(ms) if ms > 60_000));
    assert_eq!(namespace.touch("k", Some(Ttl::Never)).await, Ok(true));
    assert_eq!(namespace.remaining("k").await, Ok(Remaining::Never));
    assert_eq!(namespace.touch("k", Some(Ttl::ms(500).unwrap())).await, Ok(true));
    assert_eq!(namespace.count().await, Ok(1));
    // Waiting for time itself.
    tokio::time::sleep(Duration::from_millis(510)).await;
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));
    assert_eq!(namespace.count().await, Ok(0));
    assert!(!namespace.delete("k").await.unwrap(), "an expired entry is not there to be deleted");
}

pub(crate) async fn deleting_counts(place: Place) {
    let (_, _, namespace) = open(&place).await;
    for key in ["a", "b", "c"] {
        namespace.set(key, &1).await.unwrap();
    }
    assert!(namespace.delete("a").await.unwrap());
    assert!(!namespace.delete("a").await.unwrap());
    assert_eq!(namespace.delete_many(&["a", "b", "c", "d", "b"]).await, Ok(2));
    assert_eq!(namespace.count().await, Ok(0));
}

pub(crate) async fn many_keys_in_order(place: Place) {
    let (_, _, namespace) = open(&place).await;
    let names: Vec<String> = (0..100).map(|number| format!("user:{number}")).collect();
    let entries: Vec<(&str, Body)> =
        names.iter().enumerate().map(|(number, name)| (name.as_str(), Body::from(json!(number)))).collect();
    let stored = namespace.store_many(&entries, &SetOptions::default()).await.unwrap();
    assert_eq!(stored, vec![Ok(()); 100]);
    let keys: Vec<&str> = names.iter().rev().map(String::as_str).chain(["missing"]).collect();
    let found = namespace.lookup_many(&keys).await.unwrap();
    for (index, lookup) in found[..100].iter().enumerate() {
        assert_eq!(*lookup, Lookup::Hit(Body::from(json!(99 - index))));
    }
    assert_eq!(found[100], Lookup::Miss);
    assert_eq!(namespace.lookup_many(&[]).await, Ok(Vec::new()));
    let bad = namespace.store_many(&[("ok", bytes("")), ("", bytes(""))], &SetOptions::default()).await;
    assert!(matches!(bad, Err(Error::InvalidInput { field: "key", .. })));
    assert_eq!(namespace.lookup("ok").await, Ok(Lookup::Miss), "invalid input stores nothing");
}

pub(crate) async fn namespaces_and_tenants_are_walls(place: Place) {
    let services = place.services().await;
    let base = tenant();
    let longer = Tenant::new(format!("{}1", base.name())).unwrap();
    let star = Tenant::new("*").unwrap();
    let ours = services.cache(&base).namespace("users").unwrap();
    let others = [
        services.cache(&base).namespace("users2").unwrap(),
        services.cache(&base).namespace("*").unwrap(),
        services.cache(&longer).namespace("users").unwrap(),
        services.cache(&Tenant::new(format!("{}:cache:users", base.name())).unwrap()).namespace("users").unwrap(),
    ];
    let keys = ["42", "*", "a:b", "{x}", "%", "users:42", "\u{0}", "é"];
    for namespace in others.iter().chain([&ours]) {
        for key in keys {
            namespace.store(key, &bytes("v"), &tagged(&["t", "*"])).await.unwrap();
        }
    }
    assert_eq!(services.cache(&star).namespace("*").unwrap().clear().await, Ok(0));
    assert_eq!(ours.invalidate_tag("*").await, Ok(keys.len() as u64));
    for key in keys {
        ours.store(key, &bytes("v"), &SetOptions::default()).await.unwrap();
    }
    assert_eq!(ours.invalidate_pattern("*").await, Ok(keys.len() as u64));
    ours.set("42", &1).await.unwrap();
    assert_eq!(ours.clear().await, Ok(1));
    for namespace in &others {
        assert_eq!(namespace.count().await, Ok(keys.len() as u64));
        for key in keys {
            assert_eq!(namespace.lookup(key).await, Ok(Lookup::Hit(bytes("v"))), "{key:?}");
        }
    }
}

pub(crate) async fn tag_invalidation_is_exact(place: Place) {
    let (_, _, namespace) = open(&place).await;
    for number in 0..60 {
        let tags: &[&str] = match number % 3 {
            0 => &["red", "all"],
            1 => &["red:ish", "all"],
            _ => &["all"],
        };
        namespace.store(&format!("k{number}"), &bytes("v"), &tagged(tags)).await.unwrap();
    }
    namespace.set("untagged", &1).await.unwrap();
    assert_eq!(namespace.invalidate_tag("nothing").await, Ok(0));
    assert_eq!(namespace.invalidate_tag("red").await, Ok(20), "not the tag that begins alike");
    assert_eq!(namespace.invalidate_tag("red").await, Ok(0));
    for number in 0..60 {
        let lookup = namespace.lookup(&format!("k{number}")).await.unwrap();
        assert_eq!(lookup == Lookup::Miss, number % 3 == 0, "k{number}");
    }
    assert!(namespace.delete("k1").await.unwrap());
    assert_eq!(namespace.invalidate_tag("all").await, Ok(39), "deleted entries do not count");
    assert_eq!(namespace.count().await, Ok(1));
    assert!(namespace.store("k", &bytes("v"), &tagged(&[""])).await.is_err());
}

pub(crate) async fn tags_of_an_overwritten_entry(place: Place) {
    let (_, _, namespace) = open(&place).await;
    namespace.store("k", &bytes("1"), &tagged(&["old", "both"])).await.unwrap();
    namespace.store("k", &bytes("2"), &tagged(&["new", "both"])).await.unwrap();
    assert_eq!(namespace.invalidate_tag("old").await, Ok(0));
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Hit(bytes("2"))));
    assert_eq!(namespace.invalidate_tag("both").await, Ok(1));
    namespace.store("k", &bytes("3"), &tagged(&["new"])).await.unwrap();
    namespace.store("k", &bytes("4"), &SetOptions::default()).await.unwrap();
    assert_eq!(namespace.invalidate_tag("new").await, Ok(0));
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Hit(bytes("4"))));
}

pub(crate) async fn tag_invalidation_of_many_pages(place: Place) {
    let (_, _, namespace) = open(&place).await;
    let names: Vec<String> = (0..9_000).map(|number| format!("k{number}")).collect();
    let entries: Vec<(&str, Body)> = names.iter().map(|name| (name.as_str(), bytes("v"))).collect();
    let stored = namespace.store_many(&entries, &tagged(&["t"])).await.unwrap();
    assert!(stored.iter().all(Result::is_ok));
    namespace.store("other", &bytes("v"), &tagged(&["t2"])).await.unwrap();
    assert_eq!(namespace.count().await, Ok(9_001));
    assert_eq!(namespace.invalidate_tag("t").await, Ok(9_000));
    assert_eq!(namespace.count().await, Ok(1));
}

/// Where a key is, as the essay says: FNV-1a over its bytes.
fn partition_of(key: &str) -> usize {
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % PARTITIONS
}

pub(crate) async fn tag_invalidation_is_immediate(place: Place) {
    let (_, tenant, namespace) = open(&place).await;
    let other = place.services().await.cache(&tenant).namespace("users").unwrap();
    // Many pages of one partition, so that removing them one page after the other would be seen.
    let all: Vec<String> =
        (0..48_000).map(|number| format!("k{number}")).filter(|key| partition_of(key) == 3).collect();
    let entries: Vec<(&str, Body)> = all.iter().map(|key| (key.as_str(), bytes("v"))).collect();
    assert!(namespace.store_many(&entries, &tagged(&["t"])).await.unwrap().iter().all(Result::is_ok));
    let keys: Vec<&str> = all.iter().map(String::as_str).collect();
    let watcher = async {
        loop {
            // Keys of one partition are read at one instant.
            let found = other.lookup_many(&keys).await.unwrap();
            let misses = found.iter().filter(|lookup| **lookup == Lookup::Miss).count();
            assert!(misses == 0 || misses == keys.len(), "{misses} of {} are gone", keys.len());
            if misses > 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let invalidation = async {
        tokio::task::yield_now().await;
        namespace.invalidate_tag("t").await
    };
    let (removed, ()) = tokio::join!(invalidation, watcher);
    assert_eq!(removed, Ok(keys.len() as u64));
    assert_eq!(namespace.count().await, Ok(0));
}

pub(crate) async fn tag_invalidations_count_each_entry_once(place: Place) {
    const WRITERS: u64 = 4;
    const ENTRIES: u64 = 150;
    let (_, tenant, _) = open(&place).await;
    let (done, mut tasks) = (std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)), tokio::task::JoinSet::new());
    for number in 0..WRITERS + 3 {
        let namespace = place.services().await.cache(&tenant).namespace("users").unwrap();
        let done = done.clone();
        tasks.spawn(async move {
            let mut removed = 0;
            if number < WRITERS {
                for entry in 0..ENTRIES {
                    let tag = ["red", "blue"][(entry % 2) as usize];
                    namespace.store(&format!("k{number}.{entry}"), &bytes("v"), &tagged(&[tag, "all"])).await.unwrap();
                }
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            while number >= WRITERS && done.load(std::sync::atomic::Ordering::SeqCst) < WRITERS {
                removed += namespace.invalidate_tag(["red", "blue", "all"][(number - WRITERS) as usize]).await.unwrap();
            }
            removed
        });
    }
    let removed: u64 = tasks.join_all().await.into_iter().sum();
    let namespace = place.services().await.cache(&tenant).namespace("users").unwrap();
    let rest = namespace.count().await.unwrap();
    assert_eq!(removed + rest, WRITERS * ENTRIES);
    assert_eq!(namespace.invalidate_tag("all").await, Ok(rest));
}

pub(crate) async fn pattern_invalidation_stays_inside(place: Place) {
    let (services, tenant, namespace) = open(&place).await;
    let other = services.cache(&tenant).namespace("other").unwrap();
    for key in ["user:1", "user:2", "user:10", "task:1", "us*r"] {
        namespace.set(key, &1).await.unwrap();
        other.set(key, &1).await.unwrap();
    }
    assert_eq!(namespace.invalidate_pattern("user:?").await, Ok(2));
    assert_eq!(namespace.invalidate_pattern("us\\*r").await, Ok(1));
    assert_eq!(namespace.invalidate_pattern("[u]*").await, Ok(1));
    assert_eq!(namespace.lookup("task:1").await, Ok(Lookup::Hit(Body::from(json!(1)))));
    assert!(namespace.invalidate_pattern("").await.is_err());
    assert_eq!(other.count().await, Ok(5));
}

pub(crate) async fn clearing_is_exact_and_immediate(place: Place) {
    let (services, tenant, namespace) = open(&place).await;
    let names: Vec<String> = (0..5_000).map(|number| format!("k{number}")).collect();
    let entries: Vec<(&str, Body)> = names.iter().map(|name| (name.as_str(), bytes("v"))).collect();
    for _ in 0..2 {
        namespace.store_many(&entries, &tagged(&["t"])).await.unwrap();
        assert_eq!(namespace.delete("k0").await, Ok(true));
        assert_eq!(namespace.clear().await, Ok(4_999));
        assert_eq!(namespace.clear().await, Ok(0));
        assert_eq!(namespace.count().await, Ok(0));
    }
    assert_eq!(namespace.lookup("k1").await, Ok(Lookup::Miss));
    let entry = Command::new("EXISTS").key(&index_keys(&tenant, "v:k1")[0]);
    assert_eq!(services.backend().call(entry).await.unwrap().as_i64(), Some(0));
    namespace.set("k1", &1).await.unwrap();
    assert_eq!(namespace.lookup("k1").await, Ok(Lookup::Hit(Body::from(json!(1)))));
    assert_eq!(namespace.invalidate_tag("t").await, Ok(0));
    assert_eq!(namespace.count().await, Ok(1));
}

pub(crate) async fn index_does_not_leak(place: Place) {
    let (services, tenant, namespace) = open(&place).await;
    // Many short entries, then enough writes to take them out of the index.
    let names: Vec<String> = (0..800).map(|number| format!("short{number}")).collect();
    let entries: Vec<(&str, Body)> = names.iter().map(|name| (name.as_str(), bytes("v"))).collect();
    let short = SetOptions { ttl: Some(Ttl::ms(1).unwrap()), ..tagged(&["t", "u"]) };
    namespace.store_many(&entries, &short).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3)).await;
    let names: Vec<String> = (0..400).map(|number| format!("long{number}")).collect();
    let entries: Vec<(&str, Body)> = names.iter().map(|name| (name.as_str(), bytes("v"))).collect();
    namespace.store_many(&entries, &lasting(60_000)).await.unwrap();
    let mut elements = 0;
    for (kind, count) in [("x", "ZCARD"), ("g", "ZCARD"), ("t", "HLEN")] {
        for key in index_keys(&tenant, kind) {
            let reply = services.backend().call(Command::new(count).key(&key)).await.unwrap();
            elements += reply.as_i64().unwrap();
        }
    }
    assert_eq!(elements, 400 + 400 + PARTITIONS as i64, "400 in expiry, none in members, 400 and a count in tags");
    for kind in ["e", "x", "t", "g", "i"] {
        let pttls = pttls(&services, &index_keys(&tenant, kind)).await;
        assert!(pttls.iter().all(|pttl| *pttl == -2 || (1..=70_000).contains(pttl)), "{kind} {pttls:?}");
    }
}

pub(crate) async fn an_index_ends_once_what_never_expires_has_gone(place: Place) {
    let (services, tenant, namespace) = open(&place).await;
    let never = SetOptions { ttl: Some(Ttl::Never), ..SetOptions::default() };
    let names = |kind: &str| (0..100).map(|number| format!("{kind}{number}")).collect::<Vec<_>>();
    let (lasting_names, deleted, touched) = (names("lasting"), names("deleted"), names("touched"));
    for (names, options) in [(&lasting_names, &lasting(60_000)), (&deleted, &never), (&touched, &never)] {
        let entries: Vec<(&str, Body)> = names.iter().map(|name| (name.as_str(), bytes("v"))).collect();
        namespace.store_many(&entries, options).await.unwrap();
    }
    let endless = async || pttls(&services, &index_keys(&tenant, "x")).await.iter().filter(|pttl| **pttl == -1).count();
    assert_eq!(endless().await, PARTITIONS, "each partition has some that never expire");
    for name in &touched {
        assert!(namespace.touch(name, Some(Ttl::ms(50_000).unwrap())).await.unwrap());
    }
    for name in &deleted {
        assert!(namespace.delete(name).await.unwrap());
    }
    for kind in ["e", "x", "t"] {
        let pttls = pttls(&services, &index_keys(&tenant, kind)).await;
        assert!(pttls.iter().all(|pttl| (1..=70_000).contains(pttl)), "{kind} {pttls:?}");
    }
    assert_eq!(namespace.count().await, Ok(200));
}

pub(crate) async fn eviction_of_the_index_hides_entries(place: Place) {
    for (kind, by_write) in
        [("e", true), ("x", true), ("t", true), ("g", true), ("x", false), ("t", false), ("g", false)]
    {
        let (services, tenant, namespace) = open(&place).await;
        for number in 0..50 {
            namespace.store(&format!("k{number}"), &bytes("v"), &tagged(&["t"])).await.unwrap();
        }
        for key in index_keys(&tenant, kind) {
            services.backend().call(Command::new("DEL").key(&key)).await.unwrap();
        }
        if by_write {
            for number in 100..300 {
                namespace.store(&format!("k{number}"), &bytes("v"), &SetOptions::default()).await.unwrap();
            }
        } else {
            namespace.invalidate_tag("t").await.unwrap();
        }
        for number in 0..50 {
            assert_eq!(namespace.lookup(&format!("k{number}")).await, Ok(Lookup::Miss), "{kind} {by_write}");
        }
    }
}

pub(crate) async fn foreign_bytes_are_a_miss(place: Place) {
    let (services, tenant, namespace) = open(&place).await;
    namespace.set("k", &1).await.unwrap();
    let keys = index_keys(&tenant, "v:k");
    let mut entry = None;
    for key in &keys {
        if services.backend().call(Command::new("EXISTS").key(key)).await.unwrap().as_i64() == Some(1) {
            entry = Some(key);
        }
    }
    let entry = entry.expect("the layout is as documented");
    for foreign in [&b"hello"[..], b"", b"1;j;", b"\x80\x04K\x01.", b"1;j;0;0;0\n1"] {
        services.backend().call(Command::new("SET").key(entry).arg(foreign)).await.unwrap();
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss), "{foreign:?}");
        assert_eq!(namespace.remaining("k").await, Ok(Remaining::Missing));
        assert_eq!(namespace.delete("k").await, Ok(false));
    }
    namespace.set("k", &2).await.unwrap();
    assert_eq!(namespace.get::<u8>("k").await, Ok(Some(2)));
}

#[tokio::test]
async fn outage_is_not_a_miss() {
    let services = Place::down().services_lazily(Settings::default());
    let namespace = services.cache(&tenant()).namespace("users").unwrap();
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Outage));
    assert_eq!(namespace.lookup_many(&["a", "b"]).await, Ok(vec![Lookup::Outage; 2]));
    assert_eq!(namespace.get::<u8>("k").await, Ok(None));
    assert_eq!(services.metrics().value(redpoll_services::metrics::Counter::CacheOutages), 4);
    assert!(namespace.set("k", &1).await.unwrap_err().is_outage());
    assert!(namespace.delete("k").await.unwrap_err().is_outage());
    assert!(namespace.exists("k").await.unwrap_err().is_outage());
    assert!(namespace.invalidate_tag("t").await.unwrap_err().is_outage());
    assert!(namespace.invalidate_pattern("*").await.unwrap_err().is_outage());
    assert!(namespace.clear().await.unwrap_err().is_outage());
}

#[tokio::test]
async fn outage_is_an_error_where_that_was_chosen() {
    let mut settings = Settings::default();
    settings.outage.choose("cache", redpoll_services::OutagePolicy::Error).unwrap();
    let services = Place::down().services_lazily(settings);
    let namespace = services.cache(&tenant()).namespace("users").unwrap();
    assert!(namespace.lookup("k").await.unwrap_err().is_outage());
    assert!(namespace.lookup_many(&["a", "b"]).await.unwrap_err().is_outage());
    assert_eq!(services.metrics().value(redpoll_services::metrics::Counter::CacheOutages), 0);
}
