//! Tests of refresh tokens: rotation, reuse, and what revokes a family.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redpoll_services::metrics::Counter;
use redpoll_services::tokens::{Refresh, RefreshReason, Rotation, Secret, Tokens};
use redpoll_services::{Command, Services, Settings, Ttl};
use redpoll_testkit::Random;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

async fn open(place: &Place) -> (Services, Tokens) {
    open_with(place, Settings::default()).await
}

async fn open_with(place: &Place, settings: Settings) -> (Services, Tokens) {
    let services = place.services_with(settings).await;
    let tokens = services.tokens(&tenant());
    (services, tokens)
}

fn with_grace(grace: Duration) -> Settings {
    let mut settings = Settings::default();
    settings.tokens.refresh_grace = grace;
    settings
}

async fn rotate(tokens: &Tokens, token: &Secret) -> Refresh {
    match tokens.rotate_refresh(token).await.unwrap() {
        Rotation::Rotated(refresh) => refresh,
        other => panic!("{other:?}"),
    }
}

/// What a rotation came to, without what it carries.
fn name(rotation: &Rotation) -> &'static str {
    match rotation {
        Rotation::Rotated(_) => "rotated",
        Rotation::Reused { .. } => "reused",
        Rotation::Revoked(RefreshReason::Reuse) => "revoked: reuse",
        Rotation::Revoked(RefreshReason::Family) => "revoked: family",
        Rotation::Revoked(RefreshReason::User) => "revoked: user",
        Rotation::Unknown => "unknown",
    }
}

async fn outcome(tokens: &Tokens, token: &Secret) -> &'static str {
    name(&tokens.rotate_refresh(token).await.unwrap())
}

pub(crate) async fn a_family_lives_by_rotation(place: Place) {
    let (services, tokens) = open(&place).await;
    let before = services.backend().now_ms().await.unwrap();
    let issued = tokens.issue_refresh("ann", &json!({"device": "phone"})).await.unwrap();
    let after = services.backend().now_ms().await.unwrap();
    let month = 30 * 86_400_000;
    assert!((before + month..=after + month).contains(&issued.expires_at_ms));
    let mut token = issued.token.clone();
    let mut seen = HashSet::from([token.expose().to_owned()]);
    for generation in 1..=20 {
        let refresh = rotate(&tokens, &token).await;
        assert_eq!((refresh.user.as_str(), &refresh.payload), ("ann", &json!({"device": "phone"})));
        assert_eq!((refresh.issued.generation, &refresh.issued.family), (generation, &issued.family));
        token = refresh.issued.token;
        assert!(seen.insert(token.expose().to_owned()));
    }
    let other = tokens.issue_refresh("ann", &json!(null)).await.unwrap();
    assert_ne!(other.family, issued.family);
    for stranger in ["", "x", &"A".repeat(86), &BASE64.encode([7; 64])] {
        assert_eq!(outcome(&tokens, &Secret::new(stranger)).await, "unknown");
    }
    assert_eq!(outcome(&services.tokens(&tenant()), &token).await, "unknown");
    assert_eq!(outcome(&tokens, &token).await, "rotated");
}

pub(crate) async fn reuse_of_a_rotated_token_revokes_the_family(place: Place) {
    let (services, tokens) = open_with(&place, with_grace(Duration::ZERO)).await;
    let issued = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    let other = tokens.issue_refresh("ann", &json!(2)).await.unwrap();
    // The thief is faster than the owner.
    let stolen = issued.token.clone();
    let thiefs = rotate(&tokens, &stolen).await.issued.token;
    let thiefs = rotate(&tokens, &thiefs).await.issued.token;
    match tokens.rotate_refresh(&issued.token).await.unwrap() {
        Rotation::Reused { user, family } => assert_eq!((user.as_str(), family), ("ann", issued.family)),
        other => panic!("{other:?}"),
    }
    assert_eq!(outcome(&tokens, &thiefs).await, "revoked: reuse");
    assert_eq!(outcome(&tokens, &issued.token).await, "revoked: reuse");
    assert_eq!(services.metrics().value(Counter::TokensReused), 1);
    assert_eq!(outcome(&tokens, &other.token).await, "rotated");

    // Without families the owner is sent away, and the thief stays.
    let key = |token: &str| format!("naive:{{{token}}}");
    let backend = services.backend();
    let naive_rotate = |old: String, new: String| async move {
        let known = backend.call(Command::new("GETDEL").key(key(&old))).await.unwrap().as_str().is_some();
        if known {
            backend.call(Command::new("SET").key(key(&new)).arg("ann")).await.unwrap();
        }
        known
    };
    let names: Vec<String> = (0..3).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    backend.call(Command::new("SET").key(key(&names[0])).arg("ann")).await.unwrap();
    assert!(naive_rotate(names[0].clone(), names[1].clone()).await, "the thief");
    assert!(!naive_rotate(names[0].clone(), names[2].clone()).await, "the owner");
    assert!(naive_rotate(names[1].clone(), names[2].clone()).await, "the thief goes on");
}

pub(crate) async fn a_double_submit_gets_the_same_successor(place: Place) {
    let tenant = tenant();
    let settings = with_grace(Duration::from_secs(3600));
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(place.services_with(settings.clone()).await);
    }
    let tokens = processes[0].tokens(&tenant);
    let issued = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..60 {
        let (tokens, token) = (processes[caller % 3].tokens(&tenant), issued.token.clone());
        callers.spawn(async move { rotate(&tokens, &token).await });
    }
    let answers = callers.join_all().await;
    let successors: HashSet<&str> = answers.iter().map(|answer| answer.issued.token.expose()).collect();
    assert_eq!(successors.len(), 1);
    assert!(answers.iter().all(|answer| answer.issued.generation == 1));
    let next = rotate(&tokens, &answers[0].issued.token).await.issued.token;
    // Two rotations ago is no double submit.
    assert_eq!(outcome(&tokens, &issued.token).await, "reused");
    assert_eq!(outcome(&tokens, &next).await, "revoked: reuse");
}

pub(crate) async fn without_grace_one_of_many_rotates(place: Place) {
    let tenant = tenant();
    let settings = with_grace(Duration::ZERO);
    let processes = [place.services_with(settings.clone()).await, place.services_with(settings).await];
    let issued = processes[0].tokens(&tenant).issue_refresh("ann", &json!(1)).await.unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..40 {
        let (tokens, token) = (processes[caller % 2].tokens(&tenant), issued.token.clone());
        callers.spawn(async move { outcome(&tokens, &token).await });
    }
    let answers = callers.join_all().await;
    let count = |name| answers.iter().filter(|answer| **answer == name).count();
    assert_eq!((count("rotated"), count("reused"), count("revoked: reuse")), (1, 1, 38));
}

pub(crate) async fn after_the_grace_a_repetition_is_a_reuse(place: Place) {
    let (services, tokens) = open_with(&place, with_grace(Duration::from_millis(300))).await;
    let issued = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    let before = services.backend().now_ms().await.unwrap();
    let next = rotate(&tokens, &issued.token).await.issued.token;
    eventually("the end of the grace", || async {
        match tokens.rotate_refresh(&issued.token).await.unwrap() {
            Rotation::Rotated(again) => {
                assert!(again.issued.token.matches(&next));
                false
            }
            Rotation::Reused { .. } => true,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert!(services.backend().now_ms().await.unwrap() >= before + 300);
    assert_eq!(outcome(&tokens, &next).await, "revoked: reuse");
}

pub(crate) async fn a_forged_token_of_a_known_family_revokes_it(place: Place) {
    let (_, tokens) = open(&place).await;
    let issued = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    let mut bytes = BASE64.decode(issued.token.expose()).unwrap();
    bytes[63] ^= 1;
    assert_eq!(outcome(&tokens, &Secret::new(BASE64.encode(&bytes))).await, "reused");
    assert_eq!(outcome(&tokens, &issued.token).await, "revoked: reuse");
    // Who knows the name of a family, which is in logs, cannot do that.
    let other = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    let mut bytes = BASE64.decode(other.token.expose()).unwrap();
    bytes[16..32].copy_from_slice(&BASE64.decode(&other.family).unwrap()[..16]);
    assert_eq!(outcome(&tokens, &Secret::new(BASE64.encode(&bytes))).await, "unknown");
    assert_eq!(outcome(&tokens, &other.token).await, "rotated");
}

pub(crate) async fn what_revokes_a_family(place: Place) {
    let (_, tokens) = open(&place).await;
    let mut families = Vec::new();
    for _ in 0..4 {
        families.push(tokens.issue_refresh("ann", &json!(1)).await.unwrap());
    }
    let bobs = tokens.issue_refresh("bob", &json!(1)).await.unwrap();
    assert_eq!(tokens.revoke_refresh(&families[0].token).await, Ok(true));
    assert_eq!(tokens.revoke_refresh(&families[0].token).await, Ok(false));
    assert_eq!(tokens.revoke_family("ann", &families[1].family).await, Ok(true));
    assert_eq!(tokens.revoke_family("bob", &families[2].family).await, Ok(false), "another's");
    assert_eq!(tokens.revoke_refresh(&Secret::new("nonsense")).await, Ok(false));
    assert_eq!(outcome(&tokens, &families[0].token).await, "revoked: family");
    assert_eq!(outcome(&tokens, &families[1].token).await, "revoked: family");
    let next = rotate(&tokens, &families[2].token).await.issued.token;
    tokens.revoke_user("ann").await.unwrap();
    assert_eq!(outcome(&tokens, &next).await, "revoked: user");
    assert_eq!(outcome(&tokens, &families[3].token).await, "revoked: user");
    assert_eq!(outcome(&tokens, &bobs.token).await, "rotated");
}

pub(crate) async fn issuing_and_revoking_in_one_millisecond_keep_their_order(place: Place) {
    let (_, tokens) = open(&place).await;
    for _ in 0..100 {
        let before = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
        tokens.revoke_user("ann").await.unwrap();
        let after = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
        assert_eq!(outcome(&tokens, &before.token).await, "revoked: user");
        assert_eq!(outcome(&tokens, &after.token).await, "rotated");
    }
}

pub(crate) async fn families_expire(place: Place) {
    let mut settings = Settings::default();
    settings.tokens.refresh_ttl = Ttl::ms(60_000).unwrap();
    settings.tokens.refresh_family_ttl = Ttl::ms(61_000).unwrap();
    let (services, tokens) = open_with(&place, settings).await;
    let issued = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    // Rotation moves the end, but not beyond that of the family.
    eventually("a later rotation", || async {
        services.backend().now_ms().await.unwrap() >= issued.expires_at_ms - 60_000 + 1200
    })
    .await;
    let next = rotate(&tokens, &issued.token).await.issued;
    assert_eq!(next.expires_at_ms, issued.expires_at_ms + 1000);

    let mut settings = Settings::default();
    settings.tokens.refresh_ttl = Ttl::ms(300).unwrap();
    let (services, tokens) = open_with(&place, settings).await;
    let issued = tokens.issue_refresh("ann", &json!(1)).await.unwrap();
    eventually("the token's end", || async { services.backend().now_ms().await.unwrap() > issued.expires_at_ms }).await;
    assert_eq!(outcome(&tokens, &issued.token).await, "unknown");
}

/// What the test knows of a family: its tokens in order, and why it is revoked.
struct Family {
    user: usize,
    tokens: Vec<Secret>,
    revoked: Option<&'static str>,
}

pub(crate) async fn families_match_the_model(place: Place) {
    const STEPS: usize = 400;
    let seed = 0x70cc_5eed;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    let tenant = tenant();
    let settings = with_grace(Duration::from_secs(3600));
    let processes = [place.services_with(settings.clone()).await, place.services_with(settings).await];
    let mut families: Vec<Family> = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for step in 0..STEPS {
        let tokens = processes[step % 2].tokens(&tenant);
        if families.is_empty() || random.chance(1, 8) {
            let user = random.below(3) as usize;
            let issued = tokens.issue_refresh(&user.to_string(), &json!(families.len())).await.unwrap();
            families.push(Family { user, tokens: vec![issued.token], revoked: None });
            continue;
        }
        let chosen = random.below(families.len() as u64) as usize;
        if random.chance(1, 40) {
            let user = families[chosen].user;
            tokens.revoke_user(&user.to_string()).await.unwrap();
            let of_the_user = families.iter_mut().filter(|family| family.user == user);
            of_the_user.for_each(|family| family.revoked = family.revoked.or(Some("revoked: user")));
            continue;
        }
        let family = &mut families[chosen];
        let age = if random.chance(3, 4) { 0 } else { random.below(family.tokens.len() as u64) as usize };
        let at = family.tokens.len() - 1 - age;
        if random.chance(1, 20) {
            assert_eq!(tokens.revoke_refresh(&family.tokens[at]).await, Ok(family.revoked.is_none()), "step {step}");
            family.revoked.get_or_insert("revoked: family");
            continue;
        }
        let rotation = tokens.rotate_refresh(&family.tokens[at]).await.unwrap();
        let expected = match (family.revoked, age) {
            (Some(reason), _) => reason,
            (None, 0 | 1) => "rotated",
            (None, _) => "reused",
        };
        assert_eq!(name(&rotation), expected, "step {step}, age {age}");
        match rotation {
            Rotation::Rotated(refresh) if age == 0 => family.tokens.push(refresh.issued.token),
            Rotation::Rotated(refresh) => assert!(refresh.issued.token.matches(&family.tokens[at + 1])),
            Rotation::Reused { .. } => family.revoked = Some("revoked: reuse"),
            _ => {}
        }
        seen.insert(expected);
    }
    assert_eq!(seen.len(), 5, "the test must see all of them: {seen:?}");
}
