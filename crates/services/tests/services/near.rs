//! Tests of the near cache: what is in this process's memory is what is in the store.
//!
//! Services made by separate calls share nothing but the store, as separate processes do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redpoll_services::cache::{LAG_MAX, Lookup, Namespace, NearSettings, SetOptions};
use redpoll_services::metrics::Counter;
use redpoll_services::{Error, Services, Settings, Tenant, Ttl};
use redpoll_testkit::{Program, RedisServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

fn near() -> Settings {
    let mut settings = Settings::default();
    settings.cache.near = Some(NearSettings::default());
    settings
}

async fn open(place: &Place, tenant: &Tenant) -> (Services, Namespace) {
    let services = place.services_with(near()).await;
    let namespace = services.cache(tenant).namespace("users").unwrap();
    (services, namespace)
}

async fn far(place: &Place, tenant: &Tenant) -> Namespace {
    place.services().await.cache(tenant).namespace("users").unwrap()
}

fn hits(services: &Services) -> u64 {
    services.metrics().value(Counter::CacheNearHits)
}

/// Reads the key until it comes from this process's memory.
async fn warm(services: &Services, namespace: &Namespace, key: &str) {
    eventually("a near hit", || async {
        let before = hits(services);
        assert!(matches!(namespace.lookup(key).await, Ok(Lookup::Hit(_))));
        hits(services) > before
    })
    .await;
}

pub(crate) async fn near_hits_do_not_ask_the_store(place: Place) {
    let tenant = tenant();
    let (services, namespace) = open(&place, &tenant).await;
    namespace.set("k", &1).await.unwrap();
    warm(&services, &namespace, "k").await;
    // By any handle of the process, and in any way of asking.
    let other = services.cache(&tenant).namespace("users").unwrap();
    let before = hits(&services);
    assert_eq!(other.get::<u64>("k").await, Ok(Some(1)));
    let found = other.lookup_many(&["k", "missing"]).await.unwrap();
    assert!(matches!(found[..], [Lookup::Hit(_), Lookup::Miss]));
    let never = || async { Err::<_, String>("not to be loaded".to_owned()) };
    let loaded = other.get_or_set("k", &Default::default(), never).await.unwrap();
    assert_eq!(loaded.body, found[0].clone().into_body());
    assert_eq!(hits(&services), before + 3);
    assert_eq!(other.lookup_near("k").as_ref(), Some(&found[0]));
    assert_eq!(other.lookup_near("missing"), None);
    assert_eq!(far(&place, &tenant).await.lookup_near("k"), None, "nothing is near that was not asked to be");
    // A miss is never kept.
    let writer = far(&place, &tenant).await;
    assert_eq!(namespace.lookup("missing").await, Ok(Lookup::Miss));
    writer.set("missing", &2).await.unwrap();
    assert_eq!(namespace.get::<u64>("missing").await, Ok(Some(2)));
}

pub(crate) async fn own_writes_are_seen_at_once(place: Place) {
    const ROUNDS: u64 = 300;
    let tenant = tenant();
    let (services, namespace) = open(&place, &tenant).await;
    namespace.set("k", &0_u64).await.unwrap();
    warm(&services, &namespace, "k").await;
    let done = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (namespace, done) = (namespace.clone(), done.clone());
        readers.spawn(async move {
            while done.load(Ordering::SeqCst) < ROUNDS {
                let least = done.load(Ordering::SeqCst);
                let seen = namespace.get::<u64>("k").await.unwrap();
                // A deleted key is written again in the next round.
                assert!(seen.is_none_or(|seen| seen >= least), "saw {seen:?} after {least} was written");
                tokio::task::yield_now().await;
            }
        });
    }
    for round in 1..=ROUNDS {
        match round % 4 {
            0 => assert!(namespace.delete("k").await.unwrap()),
            1 if round > 4 => namespace
                .store_many(&[("k", serde_json::json!(round).into())], &SetOptions::default())
                .await
                .map(drop)
                .unwrap(),
            _ => namespace.set("k", &round).await.unwrap(),
        }
        done.store(round, Ordering::SeqCst);
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    assert!(hits(&services) > 0);
    // Each way of removing.
    let tagged = SetOptions { tags: vec!["t".to_owned()], ..SetOptions::default() };
    for way in 0..4 {
        namespace.store("k", &serde_json::json!(way).into(), &tagged).await.unwrap();
        warm(&services, &namespace, "k").await;
        let removed = match way {
            0 => namespace.invalidate_tag("t").await,
            1 => namespace.invalidate_pattern("k*").await,
            2 => namespace.clear().await,
            _ => namespace.delete_many(&["k"]).await,
        };
        assert_eq!(removed, Ok(1));
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss), "{way}");
    }
}

pub(crate) async fn others_writes_are_told(place: Place) {
    let tenant = tenant();
    let (services, namespace) = open(&place, &tenant).await;
    let writer = far(&place, &tenant).await;
    for (round, key) in ["k", "a:b", "{x}", "%", "\u{e9}\n"].into_iter().enumerate() {
        writer.set(key, &round).await.unwrap();
        warm(&services, &namespace, key).await;
        writer.set(key, &(round + 100)).await.unwrap();
        let written = Instant::now();
        eventually("the new value", || async { namespace.get::<usize>(key).await == Ok(Some(round + 100)) }).await;
        assert!(written.elapsed() <= LAG_MAX, "{key:?} after {:?}", written.elapsed());
        warm(&services, &namespace, key).await;
        assert!(writer.delete(key).await.unwrap());
        eventually("the end of the value", || async { namespace.lookup(key).await == Ok(Lookup::Miss) }).await;
    }
}

pub(crate) async fn others_invalidations_are_told(place: Place) {
    let tenant = tenant();
    let (services, namespace) = open(&place, &tenant).await;
    let writer = far(&place, &tenant).await;
    let tagged = SetOptions { tags: vec!["t".to_owned()], ..SetOptions::default() };
    let keys: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    for way in 0..3 {
        for key in &keys {
            writer.store(key, &serde_json::json!(way).into(), &tagged).await.unwrap();
        }
        for key in &keys {
            warm(&services, &namespace, key).await;
        }
        let removed = match way {
            0 => writer.invalidate_tag("t").await,
            1 => writer.invalidate_pattern("k*").await,
            _ => writer.clear().await,
        };
        assert_eq!(removed, Ok(40));
        for key in &keys {
            eventually("the end of the value", || async { namespace.lookup(key).await == Ok(Lookup::Miss) }).await;
        }
    }
}

pub(crate) async fn near_ends_with_the_lifetime(place: Place) {
    let tenant = tenant();
    let (services, namespace) = open(&place, &tenant).await;
    namespace.set("warm", &1).await.unwrap();
    warm(&services, &namespace, "warm").await;
    let brief = SetOptions { ttl: Some(Ttl::ms(1_500).unwrap()), ..SetOptions::default() };
    namespace.store("k", &serde_json::json!(1).into(), &brief).await.unwrap();
    let stored = Instant::now();
    warm(&services, &namespace, "k").await;
    tokio::time::sleep((stored + Duration::from_millis(1_510)).saturating_duration_since(Instant::now())).await;
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));
}

/// What a proxy does with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Ends connections and makes none.
    Cut,
    /// Keeps back what the server says on connections that track, and says nothing of it.
    Deaf,
}

/// A network that can fail.
async fn proxy(server: SocketAddr) -> (Place, watch::Sender<Mode>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::at(format!("redis://{}", listener.local_addr().unwrap()));
    let (sender, mode) = watch::channel(Mode::Open);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            if *mode.borrow() != Mode::Cut {
                tokio::spawn(carry(client, server, mode.clone()));
            }
        }
    });
    (place, sender)
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut tracks = false;
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Cut {
            return;
        }
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(len) if len > 0 => {
                    tracks |= up[..len].windows(8).any(|word| word == b"TRACKING");
                    if server.write_all(&up[..len]).await.is_err() { return }
                }
                _ => return,
            },
            read = server.read(&mut down), if !(now == Mode::Deaf && tracks) => match read {
                Ok(len) if len > 0 => if client.write_all(&down[..len]).await.is_err() { return },
                _ => return,
            },
            changed = mode.changed() => if changed.is_err() { return },
        }
    }
}

/// One of each kind of server.
fn servers() -> (RedisServer, Program) {
    (RedisServer::start().unwrap(), Program::start(&["--no-http"]).unwrap())
}

/// Services with a near cache behind a proxy, which keep the entry `k` near, and somebody who writes to it directly.
async fn warm_behind_a_proxy(server: SocketAddr) -> (watch::Sender<Mode>, Services, Namespace, Namespace) {
    let (place, mode) = proxy(server).await;
    let tenant = tenant();
    let (services, namespace) = open(&place, &tenant).await;
    let writer = far(&Place::at(format!("redis://{server}")), &tenant).await;
    writer.set("k", &"old").await.unwrap();
    warm(&services, &namespace, "k").await;
    (mode, services, namespace, writer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn push_lost_while_disconnected_empties_the_near_cache() {
    let (redis, redpoll) = servers();
    for server in [redis.address(), redpoll.address()] {
        let (mode, services, namespace, writer) = warm_behind_a_proxy(server).await;
        mode.send_replace(Mode::Cut);
        eventually("the loss", || async { services.metrics().value(Counter::CacheNearLost) == 1 }).await;
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Outage), "what cannot be kept right is not served");
        writer.set("k", &"new").await.unwrap();
        mode.send_replace(Mode::Open);
        eventually("the new value", || async {
            match namespace.lookup("k").await.unwrap() {
                Lookup::Outage => false,
                found => {
                    assert_eq!(found, Lookup::Hit(serde_json::json!("new").into()));
                    true
                }
            }
        })
        .await;
        warm(&services, &namespace, "k").await;
        writer.set("k", &"newer").await.unwrap();
        eventually("a push on the new connection", || async {
            namespace.get::<String>("k").await == Ok(Some("newer".to_owned()))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_falls_silent_is_not_trusted() {
    let (redis, redpoll) = servers();
    for server in [redis.address(), redpoll.address()] {
        let (mode, services, namespace, writer) = warm_behind_a_proxy(server).await;
        mode.send_replace(Mode::Deaf);
        writer.set("k", &"new").await.unwrap();
        let written = Instant::now();
        let value = || async { namespace.get::<String>("k").await.unwrap() };
        assert_eq!(value().await.as_deref(), Some("old"), "the push was kept back, so the rest proves something");
        eventually("the new value", || async { value().await.as_deref() == Some("new") }).await;
        assert!(written.elapsed() < LAG_MAX + Duration::from_secs(1), "{:?}", written.elapsed());
        mode.send_replace(Mode::Open);
        warm(&services, &namespace, "k").await;
        assert_eq!(value().await.as_deref(), Some("new"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_tell_is_an_error() {
    let server = RedisServer::start_with(&["--rename-command", "CLIENT", ""]).unwrap();
    let (_, namespace) = open(&Place::at(server.url()), &tenant()).await;
    eventually("the refusal", || async {
        match namespace.lookup("k").await {
            Ok(Lookup::Miss) => false,
            Err(Error::Backend(reason)) => reason.contains("near cache"),
            other => panic!("{other:?}"),
        }
    })
    .await;
    let plain = far(&Place::at(server.url()), &tenant()).await;
    assert_eq!(plain.lookup("k").await, Ok(Lookup::Miss), "without a near cache nothing is refused");
}
