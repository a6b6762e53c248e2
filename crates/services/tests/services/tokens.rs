//! Tests of revoking tokens: the deny list, a user's revocation, and what must not be evicted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redpoll_services::kept::OnEviction;
use redpoll_services::metrics::Counter;
use redpoll_services::tokens::{
    CsrfUse, Denial, OAuthRequest, Reason, RefreshReason, Rotation, Secret, Tokens, Verdict,
};
use redpoll_services::{Backend, Command, Error, Services, Settings, Tenant, Ttl};
use redpoll_store::{Config, Store};
use redpoll_testkit::RedisServer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

const REVOKED_TOKEN: Verdict = Verdict::Revoked(Reason::Token);
const REVOKED_USER: Verdict = Verdict::Revoked(Reason::User);

async fn open(place: &Place) -> (Services, Tenant, Tokens) {
    let (services, tenant) = (place.services().await, tenant());
    let tokens = services.tokens(&tenant);
    (services, tenant, tokens)
}

/// Returns the store's clock in seconds, as the issuer of a JWT would write it.
async fn seconds(services: &Services) -> i64 {
    (services.backend().now_ms().await.unwrap() / 1000) as i64
}

async fn ask(services: &Services, command: &'static str, key: &str) -> i64 {
    services.backend().call(Command::new(command).key(key)).await.unwrap().as_i64().unwrap()
}

fn deny_key(tenant: &Tenant, jti: &str) -> String {
    format!("rp:kept:{{{}:tokens:jti:{jti}}}:d", tenant.name())
}

pub(crate) async fn denied_for_exactly_the_rest_of_its_life(place: Place) {
    let (services, tenant, tokens) = open(&place).await;
    let exp = seconds(&services).await + 1000;
    let until_ms = exp as u64 * 1000;
    assert_eq!(tokens.check("a", "ann", exp - 2000).await, Ok(Verdict::Valid));
    assert_eq!(tokens.deny("a", exp).await, Ok(Denial::Denied { until_ms }));
    assert_eq!(ask(&services, "PEXPIRETIME", &deny_key(&tenant, "a")).await, until_ms as i64);
    assert_eq!(tokens.check("a", "ann", exp - 2000).await, Ok(REVOKED_TOKEN));
    assert_eq!(tokens.check_token("a").await, Ok(REVOKED_TOKEN));
    assert_eq!(tokens.check("b", "ann", exp - 2000).await, Ok(Verdict::Valid));
    assert_eq!(tokens.check_token("b").await, Ok(Verdict::Valid));
    assert_eq!(services.metrics().value(Counter::TokensDenied), 1);
    assert_eq!(services.metrics().value(Counter::TokensRevoked), 2);
    // Whoever claims an earlier end does not shorten it; a later one is believed.
    assert_eq!(tokens.deny("a", exp - 500).await, Ok(Denial::Denied { until_ms }));
    assert_eq!(tokens.deny("a", exp + 1).await, Ok(Denial::Denied { until_ms: until_ms + 1000 }));
    assert_eq!(services.tokens(&crate::support::tenant()).check_token("a").await, Ok(Verdict::Valid));
}

pub(crate) async fn a_token_is_denied_until_it_expires_and_not_longer(place: Place) {
    let (services, _, tokens) = open(&place).await;
    let exp = seconds(&services).await + 3;
    assert!(matches!(tokens.deny("a", exp).await, Ok(Denial::Denied { .. })));
    eventually("the token's end", || async {
        let verdict = tokens.check_token("a").await.unwrap();
        let after = services.backend().now_ms().await.unwrap();
        assert!(verdict == REVOKED_TOKEN || after >= exp as u64 * 1000, "forgotten at {after}, before {exp} s");
        verdict == Verdict::Valid
    })
    .await;
    assert_eq!(tokens.deny("a", exp).await, Ok(Denial::Expired));
}

pub(crate) async fn expired_and_far_ends(place: Place) {
    let (services, tenant, tokens) = open(&place).await;
    let now = seconds(&services).await;
    for exp in [now, now - 1, 1, 0, -1, i64::MIN] {
        assert_eq!(tokens.deny("old", exp).await, Ok(Denial::Expired), "{exp}");
    }
    assert_eq!(ask(&services, "EXISTS", &deny_key(&tenant, "old")).await, 0);
    let year = 366 * 86_400;
    assert!(matches!(tokens.deny("year", now + year - 10).await, Ok(Denial::Denied { .. })));
    for exp in [now + year + 10, now * 1000, i64::MAX] {
        assert!(matches!(tokens.deny("far", exp).await, Err(Error::InvalidInput { field: "exp", .. })), "{exp}");
    }
    assert_eq!(ask(&services, "EXISTS", &deny_key(&tenant, "far")).await, 0);
    let milliseconds = tokens.check("a", "ann", now * 1000).await;
    assert!(matches!(milliseconds, Err(Error::InvalidInput { field: "iat", .. })), "{milliseconds:?}");
    for (jti, user) in [("", "ann"), ("a", ""), (&*"x".repeat(2000), "ann")] {
        assert!(matches!(tokens.check(jti, user, now).await, Err(Error::InvalidInput { .. })));
    }
}

/// What a hand-written deny list does: it takes the machine's local time for UTC, which is seven hours off in Denver.
async fn naive_deny(services: &Services, key: &str, exp: i64, local_offset: i64) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 + local_offset;
    let ttl = exp - now;
    if ttl > 0 {
        services.backend().call(Command::new("SET").key(key).arg("1").arg("EX").arg(ttl)).await.unwrap();
    }
}

pub(crate) async fn local_time_does_not_matter(place: Place) {
    let (services, tenant, tokens) = open(&place).await;
    let exp = seconds(&services).await + 3600;
    let naive = format!("naive:{}", tenant.name());
    naive_deny(&services, &naive, exp, 7 * 3600).await;
    assert_eq!(ask(&services, "EXISTS", &naive).await, 0, "the naive list does not hold what has an hour to live");
    naive_deny(&services, &naive, exp, -7 * 3600).await;
    assert!(ask(&services, "TTL", &naive).await > 7 * 3600, "nor for how long");
    assert!(matches!(tokens.deny("a", exp).await, Ok(Denial::Denied { .. })));
    assert_eq!(tokens.check_token("a").await, Ok(REVOKED_TOKEN));
}

pub(crate) async fn everything_of_a_user_is_revoked_up_to_now(place: Place) {
    let (services, tenant, tokens) = open(&place).await;
    let now = seconds(&services).await;
    assert_eq!(tokens.check("a", "ann", now - 5).await, Ok(Verdict::Valid));
    let revoked = tokens.revoke_user("ann").await.unwrap();
    assert_eq!(revoked.not_before, revoked.at_ms / 1000 + 1);
    let not_before = revoked.not_before as i64;
    for (iat, verdict) in [(now - 5, REVOKED_USER), (not_before - 1, REVOKED_USER), (not_before, Verdict::Valid)] {
        assert_eq!(tokens.check("a", "ann", iat).await, Ok(verdict), "{iat} {revoked:?}");
    }
    assert_eq!(tokens.check("a", "bob", now - 5).await, Ok(Verdict::Valid));
    assert_eq!(services.tokens(&crate::support::tenant()).check("a", "ann", now - 5).await, Ok(Verdict::Valid));
    // The token's own denial is the nearer reason.
    assert!(matches!(tokens.deny("a", now + 100).await, Ok(Denial::Denied { .. })));
    assert_eq!(tokens.check("a", "ann", now - 5).await, Ok(REVOKED_TOKEN));
    // Remembered for as long as a token may live that was issued before.
    let key = user_key(&services, &tenant).await;
    let ends = ask(&services, "PEXPIRETIME", &key).await as u64;
    assert_eq!(ends, revoked.at_ms + 366 * 86_400_000);
    // A clock that went back does not bring back what was revoked.
    let future = revoked.at_ms + 3_600_000;
    services.backend().call(Command::new("SET").key(&key).arg(future)).await.unwrap();
    assert_eq!(tokens.revoke_user("ann").await.unwrap().at_ms, future + 1);
}

/// Finds the only user of a tenant, whose name is not in the key.
async fn user_key(services: &Services, tenant: &Tenant) -> String {
    use base64::Engine;
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for part in ["user", "ann"] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mark = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash.finalize()[..16]);
    let key = format!("rp:kept:{{{}:tokens:user:{mark}}}:n", tenant.name());
    assert_eq!(ask(services, "EXISTS", &key).await, 1);
    key
}

pub(crate) async fn clocks_of_issuers_may_be_ahead_by_the_leeway(place: Place) {
    let mut settings = Settings::default();
    settings.tokens.leeway = Duration::from_secs(30);
    let services = place.services_with(settings).await;
    let tokens = services.tokens(&tenant());
    let now = seconds(&services).await;
    let revoked = tokens.revoke_user("ann").await.unwrap();
    assert_eq!(tokens.check("a", "ann", now + 29).await, Ok(REVOKED_USER));
    assert_eq!(tokens.check("a", "ann", revoked.not_before as i64).await, Ok(Verdict::Valid));
    // A verifier whose clock is behind still takes a token that has just expired for good.
    assert_eq!(tokens.deny("a", now - 10).await, Ok(Denial::Denied { until_ms: (now as u64 + 20) * 1000 }));
    assert_eq!(tokens.deny("b", now - 31).await, Ok(Denial::Expired));
    // Refresh tokens need no clock, so they are good right after a revocation.
    let issued = tokens.issue_refresh("ann", &json!(null)).await.unwrap();
    assert!(matches!(tokens.rotate_refresh(&issued.token).await, Ok(Rotation::Rotated(_))));
}

pub(crate) async fn revoking_all_misses_nothing_issued_at_the_same_time(place: Place) {
    const ISSUERS: usize = 64;
    let tenant = tenant();
    let processes = [place.services().await, place.services().await, place.services().await];
    // 0 before the revocation, 1 during it, 2 after it.
    let phase = Arc::new(AtomicU64::new(0));
    let start = Arc::new(Barrier::new(ISSUERS + 1));
    let mut issuers = JoinSet::new();
    for issuer in 0..ISSUERS {
        let tokens = processes[issuer % 3].tokens(&tenant);
        let (phase, start) = (phase.clone(), start.clone());
        issuers.spawn(async move {
            let mut issued = Vec::new();
            loop {
                let before = phase.load(Ordering::SeqCst);
                let refresh = tokens.issue_refresh("ann", &json!(issuer)).await.unwrap();
                issued.push((before, phase.load(Ordering::SeqCst), refresh.token));
                match before {
                    2 => return issued,
                    // Everybody has issued one before the revocation begins.
                    _ if issued.len() == 1 => {
                        start.wait().await;
                    }
                    _ => tokio::task::yield_now().await,
                }
            }
        });
    }
    let tokens = processes[0].tokens(&tenant);
    start.wait().await;
    phase.store(1, Ordering::SeqCst);
    tokens.revoke_user("ann").await.unwrap();
    phase.store(2, Ordering::SeqCst);
    let (mut revoked, mut good) = (0, 0);
    for (before, after, token) in issuers.join_all().await.into_iter().flatten() {
        match tokens.rotate_refresh(&token).await.unwrap() {
            Rotation::Revoked(RefreshReason::User) if before < 2 => revoked += 1,
            Rotation::Rotated(_) if after > 0 => good += 1,
            other => panic!("issued in phase {before} to {after}: {other:?}"),
        }
    }
    assert!(revoked >= ISSUERS && good >= ISSUERS, "{revoked} {good}");

    // An index of the user's tokens misses the one that is made but not yet in it.
    let backend = processes[0].backend();
    let (token, index) = (format!("naive:{{{0}}}:t", tenant.name()), format!("naive:{{{0}}}:i", tenant.name()));
    backend.call(Command::new("SET").key(&token).arg("good")).await.unwrap();
    let members = backend.call(Command::new("SMEMBERS").key(&index)).await.unwrap().into_array().unwrap();
    assert!(members.is_empty(), "whoever revokes all now finds nothing to revoke");
    backend.call(Command::new("SADD").key(&index).arg(&token)).await.unwrap();
    assert_eq!(ask(&processes[0], "EXISTS", &token).await, 1, "and the token lives on");
}

#[tokio::test]
async fn an_outage_is_never_a_yes() {
    let services = Place::down().services_lazily(Settings::default());
    let tokens = services.tokens(&tenant());
    let secret = || Secret::new("A".repeat(86));
    let mut errors = Vec::new();
    errors.push(tokens.deny("a", 2_000_000_000).await.map(drop));
    errors.push(tokens.check("a", "ann", 1).await.map(drop));
    errors.push(tokens.check_token("a").await.map(drop));
    errors.push(tokens.revoke_user("ann").await.map(drop));
    errors.push(tokens.issue("p", None, &json!(1), None).await.map(drop));
    errors.push(tokens.consume("p", None, &secret()).await.map(drop));
    errors.push(tokens.peek("p", None, &secret()).await.map(drop));
    errors.push(tokens.issue_code("p", "ann", &json!(1), None).await.map(drop));
    errors.push(tokens.verify_code("p", "ann", &secret()).await.map(drop));
    errors.push(tokens.begin_oauth(&OAuthRequest { redirect: "/".into(), ..Default::default() }).await.map(drop));
    errors.push(tokens.consume_oauth(&secret(), None).await.map(drop));
    errors.push(tokens.issue_csrf("s", CsrfUse::Many, None).await.map(drop));
    errors.push(tokens.check_csrf("s", &secret()).await.map(drop));
    errors.push(tokens.forget_csrf("s").await.map(drop));
    errors.push(tokens.issue_refresh("ann", &json!(1)).await.map(drop));
    errors.push(tokens.rotate_refresh(&secret()).await.map(drop));
    errors.push(tokens.revoke_refresh(&secret()).await.map(drop));
    errors.push(tokens.revoke_family("ann", "f").await.map(drop));
    for (index, result) in errors.iter().enumerate() {
        assert!(result.as_ref().is_err_and(Error::is_outage), "{index}: {result:?}");
    }
    assert_eq!(services.metrics().value(Counter::TokensOutages), errors.len() as u64);
}

/// Stands between clients and a server, and counts how often a client spoke after it had been answered.
async fn listening_post(server: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, turns) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = turns.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(server).await.unwrap();
            let turns = counted.clone();
            tokio::spawn(async move {
                let (mut asked, mut told) = ([0; 65_536], [0; 65_536]);
                let mut answered = true;
                loop {
                    tokio::select! {
                        read = client.read(&mut asked) => {
                            let Ok(len @ 1..) = read else { return };
                            turns.fetch_add(u64::from(std::mem::take(&mut answered)), Ordering::SeqCst);
                            server.write_all(&asked[..len]).await.unwrap();
                        }
                        read = server.read(&mut told) => {
                            let Ok(len @ 1..) = read else { return };
                            answered = true;
                            client.write_all(&told[..len]).await.unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, turns)
}

#[tokio::test]
async fn a_check_is_one_exchange() {
    let server = RedisServer::start().unwrap();
    let (address, turns) = listening_post(server.address()).await;
    let (_, _, tokens) = open(&Place::at(format!("redis://{address}"))).await;
    tokens.revoke_user("ann").await.unwrap();
    assert_eq!(tokens.check("a", "ann", 1).await, Ok(REVOKED_USER));
    let before = turns.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(tokens.check("a", "ann", 1).await, Ok(REVOKED_USER));
    }
    assert_eq!(turns.load(Ordering::SeqCst) - before, 10);
}

/// Writes until the store must have evicted what was used least.
async fn fill(services: &Services, what: &str) {
    for index in 0..1200 {
        let set = Command::new("SET").key(format!("{what}:{index}")).arg("x".repeat(10_000));
        // A store that has nothing to evict refuses.
        services.backend().call(set).await.ok();
    }
}

#[tokio::test]
async fn a_store_that_evicts_is_refused_since_it_would_forget() {
    let limits = ["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"];
    let server = RedisServer::start_with(&limits).unwrap();
    let place = Place::at(server.url());
    let (services, _, tokens) = open(&place).await;
    let exp = seconds(&services).await + 3600;
    let refused = tokens.deny("a", exp).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("allkeys-lru")), "{refused:?}");
    assert!(tokens.check_token("a").await.unwrap_err().is_outage());
    assert_eq!(services.metrics().value(Counter::TokensOutages), 2);

    // Who works all the same un-revokes tokens by using the store.
    let tolerant = Settings { eviction: OnEviction::Tolerate, ..Settings::default() };
    let services = place.services_with(tolerant).await;
    let tokens = services.tokens(&tenant());
    let jtis: Vec<String> = (0..30).map(|index| index.to_string()).collect();
    for jti in &jtis {
        assert!(matches!(tokens.deny(jti, exp).await, Ok(Denial::Denied { .. })));
        assert_eq!(tokens.check_token(jti).await, Ok(REVOKED_TOKEN));
    }
    fill(&services, "page").await;
    let mut valid = 0;
    for jti in &jtis {
        valid += usize::from(tokens.check_token(jti).await == Ok(Verdict::Valid));
    }
    assert!(valid > 0, "victims are drawn at random, but one of {} is among them", jtis.len());

    // Policies can be changed at any time; what does not evict is accepted.
    services.backend().call(Command::new("CONFIG").arg("SET").arg("maxmemory-policy").arg("noeviction")).await.unwrap();
    services.backend().call(Command::new("FLUSHALL")).await.unwrap();
    let (_, _, tokens) = open(&place).await;
    assert!(matches!(tokens.deny("a", exp).await, Ok(Denial::Denied { .. })));
}

#[tokio::test]
async fn redpoll_keeps_what_must_be_kept_and_evicts_the_rest() {
    let config = Config::in_memory().set("maxmemory-policy", "allkeys-lru").unwrap();
    let store = Store::open(config).unwrap();
    let open = || Services::new(Backend::embedded(store.clone()), Settings::default());
    let used = store.call(&["INFO", "memory"]).as_str().unwrap().to_owned();
    let used: u64 = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap();
    store.call(&["CONFIG", "SET", "maxmemory", &(used + 4_000_000).to_string()]);

    let tenant = tenant();
    let services = open();
    store.call(&["CONFIG", "SET", "non-evictable-prefixes", "other:"]);
    let refused = services.tokens(&tenant).check_token("a").await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("non-evictable-prefixes")), "{refused:?}");
    // Services on a store in their process say themselves what must stay.
    let services = open();
    let tokens = services.tokens(&tenant);
    let exp = seconds(&services).await + 3600;
    for index in 0..20 {
        assert!(matches!(tokens.deny(&index.to_string(), exp).await, Ok(Denial::Denied { .. })));
        store.call(&["SET", &format!("naive:{index}"), "1"]);
    }
    fill(&services, "page").await;
    let left = (0..20).filter(|index| store.call(&["EXISTS", &format!("naive:{index}")]).as_i64() == Some(1)).count();
    assert!(left < 20, "the store has evicted");
    for index in 0..20 {
        assert_eq!(tokens.check_token(&index.to_string()).await, Ok(REVOKED_TOKEN));
    }
}

#[tokio::test]
async fn lifetimes_have_an_end() {
    let services = Place::embedded().services().await;
    let tokens = services.tokens(&tenant());
    for ttl in [Ttl::Never, Ttl::seconds(366 * 86_400 + 1).unwrap()] {
        assert!(matches!(tokens.issue("p", None, &json!(1), Some(ttl)).await, Err(Error::InvalidInput { .. })));
    }
    let large = json!("x".repeat(16 << 10));
    assert!(matches!(tokens.issue("p", None, &large, None).await, Err(Error::TooLarge { .. })));
    assert!(matches!(tokens.issue_refresh("ann", &large).await, Err(Error::TooLarge { .. })));
}
