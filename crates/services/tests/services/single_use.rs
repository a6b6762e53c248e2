//! Tests of what is good once, or for a session: one-time tokens, codes, OAuth states, CSRF tokens.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redpoll_services::metrics::Counter;
use redpoll_services::tokens::{
    Consumed, CsrfUse, CsrfVerdict, OAuthRequest, Secret, Tokens, Verification, code_challenge,
};
use redpoll_services::{Command, Error, Services, Settings, Tenant, Ttl};
use serde_json::json;
use sha2::Digest;
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

async fn open(place: &Place) -> (Services, Tokens) {
    let services = place.services().await;
    let tokens = services.tokens(&tenant());
    (services, tokens)
}

/// Calls from several processes at once, and collects what each was told.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    place: &Place,
    tenant: &Tenant,
    callers: usize,
    call: impl Fn(Tokens) -> F,
) -> Vec<T> {
    let processes = [place.services().await, place.services().await, place.services().await, place.services().await];
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        tasks.spawn(call(processes[caller % 4].tokens(tenant)));
    }
    tasks.join_all().await
}

pub(crate) async fn one_of_1000_racing_callers_consumes(place: Place) {
    let tenant = tenant();
    let services = place.services().await;
    let tokens = services.tokens(&tenant);
    let token = tokens.issue("login", Some("ann"), &json!({"next": "/"}), None).await.unwrap();
    let answers = race(&place, &tenant, 1000, |tokens| {
        let token = token.clone();
        async move { tokens.consume("login", Some("ann"), &token).await.unwrap() }
    })
    .await;
    let consumed: Vec<_> = answers.into_iter().filter_map(Consumed::now).collect();
    assert_eq!(consumed, [json!({"next": "/"})]);

    // Looking and then deleting lets everybody through who looked in time.
    let key = format!("naive:{}", tenant.name());
    services.backend().call(Command::new("SET").key(&key).arg("payload")).await.unwrap();
    let mut through = 0;
    for _ in 0..2 {
        let seen = services.backend().call(Command::new("GET").key(&key)).await.unwrap();
        through += usize::from(seen.as_str().is_some());
    }
    services.backend().call(Command::new("DEL").key(&key)).await.unwrap();
    assert_eq!(through, 2);
}

pub(crate) async fn a_token_is_of_its_purpose_subject_and_tenant(place: Place) {
    let (services, tokens) = open(&place).await;
    let token = tokens.issue("login", Some("ann"), &json!(7), None).await.unwrap();
    for (purpose, subject) in [("verify", Some("ann")), ("login", Some("bob")), ("login", None)] {
        assert_eq!(tokens.consume(purpose, subject, &token).await, Ok(Consumed::Unknown), "{purpose} {subject:?}");
        assert_eq!(tokens.peek(purpose, subject, &token).await, Ok(None));
    }
    assert_eq!(services.tokens(&tenant()).consume("login", Some("ann"), &token).await, Ok(Consumed::Unknown));
    for other in ["x", "", &token.expose()[1..]] {
        assert!(!matches!(tokens.consume("login", Some("ann"), &Secret::new(other)).await, Ok(Consumed::Now(_))));
    }
    // None of that has consumed it, and neither does looking.
    assert_eq!(tokens.peek("login", Some("ann"), &token).await, Ok(Some(json!(7))));
    assert_eq!(tokens.peek("login", Some("ann"), &token).await, Ok(Some(json!(7))));
    assert_eq!(tokens.consume("login", Some("ann"), &token).await, Ok(Consumed::Now(json!(7))));
    assert_eq!(tokens.consume("login", Some("ann"), &token).await, Ok(Consumed::Unknown));
    assert_eq!(services.metrics().value(Counter::TokensConsumed), 1);

    let anyones = tokens.issue("invite", None, &json!(null), None).await.unwrap();
    assert_eq!(tokens.consume("invite", None, &anyones).await, Ok(Consumed::Now(json!(null))));
}

pub(crate) async fn one_time_tokens_expire(place: Place) {
    let (services, tokens) = open(&place).await;
    let before = services.backend().now_ms().await.unwrap();
    let token = tokens.issue("login", None, &json!(1), Some(Ttl::ms(400).unwrap())).await.unwrap();
    eventually("the token's end", || async {
        let seen = tokens.peek("login", None, &token).await.unwrap();
        let now = services.backend().now_ms().await.unwrap();
        assert!(seen.is_some() || now >= before + 400, "gone after {} ms", now - before);
        seen.is_none()
    })
    .await;
    assert_eq!(tokens.consume("login", None, &token).await, Ok(Consumed::Unknown));
}

/// Returns a code that is not this one.
fn another(code: &Secret, nth: u32) -> Secret {
    let number: u32 = code.expose().parse().unwrap();
    Secret::new(format!("{:06}", (number + 1 + nth) % 1_000_000))
}

pub(crate) async fn a_code_has_limited_attempts(place: Place) {
    let (_, tokens) = open(&place).await;
    assert_eq!(tokens.verify_code("mfa", "ann", &Secret::new("000000")).await, Ok(Verification::Unknown));
    let code = tokens.issue_code("mfa", "ann", &json!("x"), None).await.unwrap();
    assert!(code.expose().len() == 6 && code.expose().bytes().all(|byte| byte.is_ascii_digit()));
    for left in (1..5).rev() {
        assert_eq!(tokens.verify_code("mfa", "ann", &another(&code, left)).await, Ok(Verification::Wrong(left.into())));
    }
    // A fifth wrong one, and the right one comes too late.
    assert_eq!(tokens.verify_code("mfa", "ann", &another(&code, 9)).await, Ok(Verification::Exhausted));
    assert_eq!(tokens.verify_code("mfa", "ann", &code).await, Ok(Verification::Exhausted));
    // Another code has attempts of its own; the former one is worth nothing.
    let next = tokens.issue_code("mfa", "ann", &json!("y"), None).await.unwrap();
    if next.expose() != code.expose() {
        assert_eq!(tokens.verify_code("mfa", "ann", &code).await, Ok(Verification::Wrong(4)));
    }
    for (purpose, subject) in [("mfa", "bob"), ("reset", "ann")] {
        assert_eq!(tokens.verify_code(purpose, subject, &next).await, Ok(Verification::Unknown));
    }
    assert_eq!(tokens.verify_code("mfa", "ann", &next).await, Ok(Verification::Right(json!("y"))));
    assert_eq!(tokens.verify_code("mfa", "ann", &next).await, Ok(Verification::Unknown));
}

pub(crate) async fn guessing_at_once_gets_no_more_attempts(place: Place) {
    let tenant = tenant();
    let tokens = place.services().await.tokens(&tenant);
    let code = tokens.issue_code("mfa", "ann", &json!(1), None).await.unwrap();
    let answers = race(&place, &tenant, 300, |tokens| {
        let wrong = another(&code, 1);
        async move { tokens.verify_code("mfa", "ann", &wrong).await.unwrap() }
    })
    .await;
    let mut wrong: Vec<_> = answers.iter().filter(|answer| matches!(answer, Verification::Wrong(_))).collect();
    wrong.sort_by_key(|answer| format!("{answer:?}"));
    assert_eq!(wrong, [1, 2, 3, 4].map(Verification::Wrong).iter().collect::<Vec<_>>());
    assert_eq!(answers.iter().filter(|answer| **answer == Verification::Exhausted).count(), 296);

    let code = tokens.issue_code("mfa", "ann", &json!(2), None).await.unwrap();
    let answers = race(&place, &tenant, 100, |tokens| {
        let code = code.clone();
        async move { tokens.verify_code("mfa", "ann", &code).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Verification::Right(_))).count(), 1);
}

fn login(subject: Option<&str>) -> OAuthRequest {
    OAuthRequest {
        redirect: "/after".to_owned(),
        subject: subject.map(str::to_owned),
        extra: json!({"provider": "example", "scopes": ["openid"]}),
        ttl: None,
    }
}

pub(crate) async fn an_oauth_login_goes_round(place: Place) {
    let tenant = tenant();
    let tokens = place.services().await.tokens(&tenant);
    let begun = tokens.begin_oauth(&login(Some("cookie"))).await.unwrap();
    assert_eq!(begun.verifier.expose().len(), 43, "RFC 7636 wants 43 to 128 characters");
    assert_eq!(begun.challenge(), BASE64.encode(sha2::Sha256::digest(begun.verifier.expose())));
    let secrets: HashSet<&str> =
        [&begun.state, &begun.verifier, &begun.nonce].map(Secret::expose).into_iter().collect();
    assert_eq!(secrets.len(), 3);
    for stranger in [None, Some("another cookie")] {
        assert!(tokens.consume_oauth(&begun.state, stranger).await.unwrap().now().is_none());
    }
    // Of many that come back with the state, one gets on.
    let answers = race(&place, &tenant, 50, |tokens| {
        let state = begun.state.clone();
        async move { tokens.consume_oauth(&state, Some("cookie")).await.unwrap().now() }
    })
    .await;
    let [flow] = &answers.iter().flatten().collect::<Vec<_>>()[..] else { panic!("{answers:?}") };
    assert!(flow.verifier.matches(&begun.verifier) && flow.nonce.matches(&begun.nonce));
    assert_eq!((flow.redirect.as_str(), &flow.extra), ("/after", &login(None).extra));
    assert_eq!(code_challenge(&flow.verifier), begun.challenge());
    let anyones = tokens.begin_oauth(&login(None)).await.unwrap();
    assert!(tokens.consume_oauth(&Secret::new("forged"), None).await.unwrap().now().is_none());
    assert!(tokens.consume_oauth(&anyones.state, None).await.unwrap().now().is_some());
}

pub(crate) async fn csrf_tokens_are_a_sessions(place: Place) {
    let (_, tokens) = open(&place).await;
    let many = tokens.issue_csrf("s1", CsrfUse::Many, None).await.unwrap();
    let once = tokens.issue_csrf("s1", CsrfUse::Once, None).await.unwrap();
    for token in [&many, &once] {
        assert_eq!(tokens.check_csrf("s2", token).await, Ok(CsrfVerdict::Invalid));
    }
    for _ in 0..3 {
        assert_eq!(tokens.check_csrf("s1", &many).await, Ok(CsrfVerdict::Valid));
    }
    // Two that differ are refused before anything is consumed.
    assert_eq!(tokens.check_csrf_pair("s1", &many, &once).await, Ok(CsrfVerdict::Invalid));
    assert_eq!(tokens.check_csrf_pair("s1", &once, &once).await, Ok(CsrfVerdict::Valid));
    assert_eq!(tokens.check_csrf_pair("s1", &once, &once).await, Ok(CsrfVerdict::Invalid));
    assert_eq!(tokens.check_csrf("s1", &Secret::new("forged")).await, Ok(CsrfVerdict::Invalid));
    assert!(matches!(tokens.check_csrf("s1", &Secret::new("")).await, Err(Error::InvalidInput { .. })));
    assert_eq!(tokens.forget_csrf("s1").await, Ok(true));
    assert_eq!(tokens.check_csrf("s1", &many).await, Ok(CsrfVerdict::Invalid));
    assert_eq!(tokens.forget_csrf("s1").await, Ok(false));
}

pub(crate) async fn a_csrf_token_of_one_request_is_used_once(place: Place) {
    let tenant = tenant();
    let token = place.services().await.tokens(&tenant).issue_csrf("s", CsrfUse::Once, None).await.unwrap();
    let answers = race(&place, &tenant, 100, |tokens| {
        let token = token.clone();
        async move { tokens.check_csrf("s", &token).await.unwrap() }
    })
    .await;
    assert_eq!(answers.into_iter().filter(|verdict| *verdict == CsrfVerdict::Valid).count(), 1);
}

pub(crate) async fn csrf_tokens_are_bounded_and_expire(place: Place) {
    let mut settings = Settings::default();
    settings.tokens.csrf_tokens_max = 3;
    let services = place.services_with(settings).await;
    let tokens = services.tokens(&tenant());
    let mut issued = Vec::new();
    for _ in 0..5 {
        // Each expires later than the one before, so it is clear which are the oldest.
        let ttl = Ttl::ms(60_000 + 1000 * issued.len() as i64).unwrap();
        issued.push(tokens.issue_csrf("s", CsrfUse::Many, Some(ttl)).await.unwrap());
    }
    let mut valid = Vec::new();
    for token in &issued {
        valid.push(tokens.check_csrf("s", token).await.unwrap() == CsrfVerdict::Valid);
    }
    assert_eq!(valid, [false, false, true, true, true]);
    // The newest stays, also when it is the first to expire; it ends before the set does.
    let before = services.backend().now_ms().await.unwrap();
    let brief = tokens.issue_csrf("s", CsrfUse::Many, Some(Ttl::ms(300).unwrap())).await.unwrap();
    eventually("the token's end", || async {
        let verdict = tokens.check_csrf("s", &brief).await.unwrap();
        let now = services.backend().now_ms().await.unwrap();
        assert!(verdict == CsrfVerdict::Valid || now >= before + 300);
        verdict == CsrfVerdict::Invalid
    })
    .await;
    assert_eq!(tokens.check_csrf("s", &issued[4]).await, Ok(CsrfVerdict::Valid));
}

/// Everything a store holds, keys and values, as one text.
fn everything(store: &redpoll_store::Store) -> String {
    let mut text = String::new();
    let keys = store.call(&["KEYS", "*"]).into_array().unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        let key = key.as_str().unwrap().to_owned();
        assert!(store.call(&["PTTL", &key]).as_i64().unwrap() > 0, "{key} has no end");
        assert!(key.starts_with("rp:kept:{"), "{key} may be evicted");
        let value = match store.call(&["TYPE", &key]).as_str().unwrap() {
            "string" => store.call(&["GET", &key]),
            "hash" => store.call(&["HGETALL", &key]),
            "zset" => store.call(&["ZRANGE", &key, "0", "-1"]),
            other => panic!("{other}"),
        };
        text += &format!("{key} {value:?}\n");
    }
    text
}

#[tokio::test]
async fn no_secret_is_in_the_store() {
    let store = redpoll_store::Store::open(redpoll_store::Config::in_memory()).unwrap();
    let services = Services::new(redpoll_services::Backend::embedded(store.clone()), Settings::default());
    let tokens = services.tokens(&tenant());
    let flow = tokens.begin_oauth(&login(None)).await.unwrap();
    let refresh = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    let successor = match tokens.rotate_refresh(&refresh.token).await.unwrap() {
        redpoll_services::tokens::Rotation::Rotated(refresh) => refresh.issued.token,
        other => panic!("{other:?}"),
    };
    let secrets = [
        tokens.issue("login", Some("ann"), &json!(1), None).await.unwrap(),
        tokens.issue_csrf("session-of-ann", CsrfUse::Many, None).await.unwrap(),
        tokens.issue_code("mfa", "ann", &json!(1), None).await.unwrap(),
        flow.state,
        flow.verifier,
        flow.nonce,
        refresh.token,
        successor,
        Secret::new("session-of-ann"),
    ];
    tokens.revoke_user("ann").await.unwrap();
    let text = everything(&store);
    for (index, secret) in secrets.iter().enumerate() {
        let lies_open = match secret.expose().len() {
            // Six digits may be part of a digest or a time; as a value of their own they would stand between quotes.
            6 => text.contains(&format!("\"{}\"", secret.expose())),
            _ => text.contains(secret.expose()),
        };
        assert!(!lies_open, "secret {index} is in the store:\n{text}");
    }
    // The parts of a refresh token do not lie about on their own, either.
    let bytes = BASE64.decode(secrets[6].expose()).unwrap();
    for part in [&bytes[16..32], &bytes[32..]] {
        assert!(!text.contains(&BASE64.encode(part)));
    }
}
