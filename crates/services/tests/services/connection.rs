//! Tests of the connection: stores that go away, come back, are slow, or are somewhere else now.

use std::time::{Duration, Instant};

use redpoll_resp::Value;
use redpoll_services::backend::{CircuitPolicy, CircuitState, RetryPolicy};
use redpoll_services::cache::Lookup;
use redpoll_services::metrics::Counter;
use redpoll_services::{Backend, BackendConfig, Command, Error, Services, Settings};
use redpoll_store::{Config, Store};
use redpoll_testkit::{Mode, Proxy, RedisSentinel, RedisServer, SENTINEL_SERVICE};

use crate::support::{eventually, tenant};

/// How long the store is gone in the test of that.
const GONE: Duration = Duration::from_secs(5);

fn impatient() -> BackendConfig {
    BackendConfig {
        command_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_millis(200),
        circuit: CircuitPolicy { outages: 3, pause: Duration::from_millis(200), ..CircuitPolicy::default() },
        ..BackendConfig::default()
    }
}

/// The value of a setting, in the reply to CONFIG GET.
fn setting(reply: Value) -> String {
    reply.into_map().unwrap()[0].1.as_str().unwrap().to_owned()
}

fn get(key: &str) -> Command {
    Command::new("GET").key(key).repeatable()
}

/// A process that asks all the time while its store is killed and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_gone_for_five_seconds_is_found_again() {
    let mut server = RedisServer::start().unwrap();
    let backend = Backend::connect(&server.url()).await.unwrap();
    server.kill().unwrap();
    let gone = Instant::now();
    let (mut failed, mut slowest, mut opened) = (0, Duration::ZERO, false);
    while gone.elapsed() < GONE {
        let asked = Instant::now();
        let error = backend.call(get("k")).await.unwrap_err();
        assert!(error.is_outage(), "{error:?}");
        slowest = slowest.max(asked.elapsed());
        opened |= backend.circuit() == CircuitState::Open;
        failed += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(opened, "five outages in a row");
    // The naive client tries each time: with four repetitions and their pauses that is less than a hundred calls.
    assert!(failed > 200, "{failed} calls in {GONE:?}: they were kept waiting");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let tried = failed - backend.metrics().value(Counter::BackendNotTried);
    assert!(tried <= 5 + 2 * GONE.as_secs() + 1, "{tried} calls were tried on a store that was gone");

    server.restart().unwrap();
    let back = Instant::now();
    eventually("coming back", || async { backend.call(get("k")).await.is_ok() }).await;
    assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
    assert_eq!(backend.circuit(), CircuitState::Closed);
    // All connections are whole again, not only one.
    for _ in 0..10 {
        backend.call(get("k")).await.unwrap();
    }
    // Scripts the server lost with its memory are sent again.
    let limiter = Services::new(backend, Settings::default()).rate_limit(&tenant());
    let rule = redpoll_services::ratelimit::Rule::new("r", Default::default(), 5, 60_000).unwrap();
    assert!(limiter.check(&rule, "u").await.unwrap().allowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_is_slow_and_a_silent_one_a_timeout() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let config = BackendConfig { connections: 1, ..impatient() };
    let backend = Backend::connect_with(&proxy.url(), config).await.unwrap();
    proxy.set(Mode::Delay(Duration::from_millis(40)));
    let asked = Instant::now();
    backend.call(get("k")).await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(80), "the proxy delays");
    assert_eq!(backend.metrics().value(Counter::BackendFailures), 0);

    proxy.set(Mode::Silent);
    let asked = Instant::now();
    let error = backend.call(Command::new("INCR").key("n")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    assert!(asked.elapsed() < Duration::from_millis(800), "{:?}", asked.elapsed());
    // What was on its way arrives late; it was not sent twice.
    proxy.set(Mode::Pass);
    eventually("the increment", || async { server.client().unwrap().run("GET n").print() == "\"1\"" }).await;
    eventually("answers", || async { backend.call(get("n")).await.is_ok() }).await;
    assert_eq!(backend.call(get("n")).await.unwrap().as_str(), Some("1"));
}

/// A path that was cut says nothing, and the connection over it stays open for minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_gone_silent_is_replaced() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let config = BackendConfig {
        connections: 1,
        circuit: CircuitPolicy { outages: 0, ..CircuitPolicy::default() },
        retry: RetryPolicy { attempts_max: 0, ..RetryPolicy::default() },
        ..impatient()
    };
    let backend = Backend::connect_with(&proxy.url(), config).await.unwrap();
    let before = proxy.connections();
    proxy.set(Mode::Silent);
    assert!(matches!(backend.call(get("k")).await, Err(Error::Timeout(_))));
    proxy.set(Mode::Pass);
    eventually("an answer", || async { backend.call(get("k")).await.is_ok() }).await;
    assert!(proxy.connections() > before, "the silent connection is still in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_outcome_is_unknown_is_not_sent_twice() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let config = BackendConfig { connections: 1, ..impatient() };
    let backend = Backend::connect_with(&proxy.url(), config).await.unwrap();
    proxy.set(Mode::Deaf);
    let error = backend.call(Command::new("INCR").key("n")).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    assert_eq!(backend.metrics().value(Counter::BackendRetries), 0);
    // One that may run twice is.
    backend.call(get("n")).await.unwrap_err();
    assert!(backend.metrics().value(Counter::BackendRetries) > 0);
    proxy.set(Mode::Pass);
    eventually("an answer", || async { backend.call(get("n")).await.is_ok() }).await;
    assert_eq!(backend.call(get("n")).await.unwrap().as_str(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_circuit_opens_tries_and_closes() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let backend = Backend::connect_with(&proxy.url(), impatient()).await.unwrap();
    proxy.set(Mode::Silent);
    for _ in 0..3 {
        assert_eq!(backend.circuit(), CircuitState::Closed);
        backend.call(get("k")).await.unwrap_err();
    }
    assert_eq!(backend.circuit(), CircuitState::Open);
    assert_eq!(backend.metrics().value(Counter::BackendCircuitOpened), 1);
    let asked = Instant::now();
    let error = backend.call(get("k")).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("circuit")), "{error:?}");
    assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
    assert_eq!(backend.metrics().value(Counter::BackendNotTried), 1);
    // The cache goes on as it does in any outage.
    let services = Services::new(backend.clone(), Settings::default());
    let namespace = services.cache(&tenant()).namespace("n").unwrap();
    assert_eq!(namespace.lookup("k").await, Ok(Lookup::Outage));

    proxy.set(Mode::Pass);
    eventually("the try", || async { backend.call(get("k")).await.is_ok() }).await;
    assert_eq!(backend.circuit(), CircuitState::Closed);
}

/// The naive breaker counts every error; one that does shuts a store out that is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_are_answers_do_not_open_the_circuit() {
    let server = RedisServer::start().unwrap();
    let config = BackendConfig { circuit: impatient().circuit, ..BackendConfig::default() };
    let backend = Backend::connect_with(&server.url(), config).await.unwrap();
    server.client().unwrap().run("SET text abc");
    for _ in 0..10 {
        let error = backend.call(Command::new("INCR").key("text")).await.unwrap_err();
        assert!(matches!(error, Error::Backend(_)), "{error:?}");
    }
    server.client().unwrap().run("CONFIG SET maxmemory 1");
    // One that refuses service for now is an outage for its caller, and an answer all the same.
    for _ in 0..5 {
        let full = Command::new("SET").key("k").arg("v");
        let error = backend.call(full).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable(line) if line.starts_with("OOM")), "{error:?}");
    }
    assert_eq!(backend.circuit(), CircuitState::Closed);
    assert_eq!(backend.metrics().value(Counter::BackendNotTried), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed() {
    let mut group = RedisSentinel::start().unwrap();
    let url = format!("redis+sentinel://{}/{SENTINEL_SERVICE}", group.address());
    // A sentinel that is gone is passed over.
    let url = url.replace("://", "://127.0.0.1:1,");
    let backend = Backend::connect(&url).await.unwrap();
    backend.call(Command::new("SET").key("k").arg("1")).await.unwrap();
    let wait = || Command::new("WAIT").arg("1").arg("100");
    eventually("replication", || async { backend.call(wait()).await.unwrap().as_i64() == Some(1) }).await;
    let before = group.master().unwrap();
    group.fail_over().unwrap();
    assert_ne!(group.master().unwrap(), before);
    eventually("the new master", || async { backend.call(get("k")).await.is_ok() }).await;
    assert_eq!(backend.call(get("k")).await.unwrap().as_str(), Some("1"));
    backend.call(Command::new("SET").key("k").arg("2")).await.unwrap();
    let results = backend.pipeline(vec![get("k"), Command::new("INCR").key("k")]).await.unwrap();
    assert_eq!(results[1].as_ref().unwrap().as_i64(), Some(3));
    let services = Services::new(backend, Settings::default());
    let rule = redpoll_services::ratelimit::Rule::new("r", Default::default(), 5, 60_000).unwrap();
    assert!(services.rate_limit(&tenant()).check(&rule, "u").await.unwrap().allowed);
}

/// A master that became a replica answers, but refuses to write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_master_is_left() {
    let group = RedisSentinel::start().unwrap();
    let url = format!("redis+sentinel://{}/{SENTINEL_SERVICE}", group.address());
    let backend = Backend::connect(&url).await.unwrap();
    backend.call(Command::new("SET").key("k").arg("1")).await.unwrap();
    let before = group.master().unwrap();
    let mut sentinel = redpoll_testkit::Client::connect(group.address()).unwrap();
    // It takes a moment until the sentinel finds the replica good enough.
    let mut ask = || sentinel.run(&format!("SENTINEL FAILOVER {SENTINEL_SERVICE}")).is_simple("OK");
    eventually("an order to fail over", || std::future::ready(ask())).await;
    eventually("the failover", || async { group.master().is_ok_and(|now| now != before) }).await;
    let set = || Command::new("SET").key("k").arg("2").repeatable();
    // Until it is demoted the old one takes writes, which are lost; that is Redis's promise.
    eventually("writing to the new master", || async {
        let mut master = redpoll_testkit::Client::connect(group.master().unwrap()).unwrap();
        backend.call(set()).await.is_ok() && master.run("GET k").print() == "\"2\""
    })
    .await;
}

#[tokio::test]
async fn sentinels_that_know_nothing_are_an_outage() {
    let group = RedisSentinel::start().unwrap();
    let config = BackendConfig { command_timeout: Duration::from_secs(1), ..BackendConfig::default() };
    let url = format!("redis+sentinel://{}/other", group.address());
    let error = Backend::connect_with(&url, config.clone()).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(_) | Error::Timeout(_)), "{error:?}");
    let error = Backend::connect_with("redis+sentinel://127.0.0.1:1/main", config).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
}

#[tokio::test]
async fn a_store_in_this_process_keeps_what_must_stay() {
    let store = Store::open(
        Config::in_memory().set("maxmemory", "8mb").unwrap().set("maxmemory-policy", "allkeys-random").unwrap(),
    );
    let store = store.unwrap();
    store.call(&["CONFIG", "SET", "non-evictable-prefixes", "mine:"]);
    let services = Services::new(Backend::embedded(store.clone()), Settings::default());
    assert_eq!(services.eviction_risk().await, Ok(None));
    // A second time changes nothing, and what was there stays.
    Services::new(Backend::embedded(store.clone()), Settings::default());
    let words = setting(store.call(&["CONFIG", "GET", "non-evictable-prefixes"]));
    assert!(words.starts_with("mine: ") && words.matches("rp:{*:rate:").count() == 1, "{words}");

    let limiter = services.rate_limit(&tenant());
    let rule = redpoll_services::ratelimit::Rule::new("r", Default::default(), 1, 86_400_000).unwrap();
    for subject in 0..200 {
        assert!(limiter.check(&rule, &subject.to_string()).await.unwrap().allowed);
    }
    let cache = services.cache(&tenant()).namespace("n").unwrap();
    for key in 0..4000 {
        cache.set(&key.to_string(), &"x".repeat(4000)).await.unwrap();
    }
    let info = store.call(&["INFO", "stats"]);
    let evicted = info.as_str().and_then(|info| info.lines().find_map(|line| line.strip_prefix("evicted_keys:")));
    assert!(evicted.is_some_and(|count| count.trim() != "0"), "the store is full, so entries of the cache had to go");
    for subject in 0..200 {
        assert!(!limiter.check(&rule, &subject.to_string()).await.unwrap().allowed, "{subject} was forgotten");
    }
}

#[tokio::test]
async fn a_store_elsewhere_that_evicts_is_reported() {
    for (policy, risky) in [("allkeys-lru", true), ("volatile-ttl", true), ("noeviction", false)] {
        let server = RedisServer::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", policy]).unwrap();
        let services = Services::new(Backend::connect(&server.url()).await.unwrap(), Settings::default());
        let risk = services.eviction_risk().await.unwrap();
        assert_eq!(risk.is_some(), risky, "{policy}: {risk:?}");
        assert!(risk.is_none_or(|risk| risk.contains(policy) && risk.contains("events") && !risk.contains("cache")));
    }
}

#[tokio::test]
async fn a_store_in_this_process_takes_its_limits_from_the_environment() {
    let environment = |name: &str| match name {
        "REDIS_MAX_MEMORY" => Some("64mb".to_owned()),
        "REDIS_EVICTION_POLICY" => Some("allkeys-lru".to_owned()),
        _ => None,
    };
    let config = BackendConfig::from_environment(&environment).unwrap();
    let backend = Backend::connect_with("embedded:", config).await.unwrap();
    let ask = |name: &str| backend.call(Command::new("CONFIG").arg("GET").arg(name));
    for (name, value) in [("maxmemory", "67108864"), ("maxmemory-policy", "allkeys-lru")] {
        let reply = ask(name).await.unwrap();
        assert_eq!(setting(reply), value);
    }
    let wrong = |name: &str| (name == "REDIS_MAX_MEMORY").then(|| "plenty".to_owned());
    let config = BackendConfig::from_environment(&wrong).unwrap();
    let error = Backend::connect_with("embedded:", config).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "store", .. }), "{error:?}");
}
