//! Tests of how long sessions live.

use std::time::Duration;

use redpoll_services::sessions::NewSession;
use redpoll_services::{Error, Ttl};
use serde_json::json;

use crate::sessions::{found, is_missing, key_of, keys_of, lasting, not_found, number, open, open_with};
use crate::support::Place;

/// Waiting for time itself.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub(crate) async fn reading_changes_nothing(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let id = sessions.create(&NewSession::of("ann").with("a", json!(1))).await.unwrap().id;
    sessions.append(&id, &[json!("hello")], None).await.unwrap();
    let mut ends = Vec::new();
    for key in keys_of(&services, &tenant).await {
        ends.push((number(&services, "PEXPIRETIME", &key).await, key));
    }
    let before = found(&sessions, &id).await;
    for _ in 0..5 {
        pass(3).await;
        assert_eq!(found(&sessions, &id).await, before);
        sessions.messages(&id).await.unwrap();
        sessions.list_user("ann").await.unwrap();
        sessions.count_user("ann").await.unwrap();
    }
    for (end, key) in ends {
        assert!(end > 0 && number(&services, "PEXPIRETIME", &key).await == end, "{key}");
    }
}

pub(crate) async fn lifetimes_are_milliseconds_and_never_zero(place: Place) {
    let (services, tenant, sessions) = open_with(&place, |settings| {
        settings.sessions.idle = Ttl::seconds(90).unwrap();
        settings.sessions.absolute = Ttl::Never;
    })
    .await;
    let created = sessions.create(&NewSession::of("ann")).await.unwrap();
    assert_eq!(created.expires_ms, created.created_ms + 90_000);
    assert_eq!(found(&sessions, &created.id).await.absolute_ms, None);
    let key = key_of(&services, &tenant, "s:").await;
    assert_eq!(number(&services, "PEXPIRETIME", &key).await, i64::try_from(created.expires_ms).unwrap());
    for ttl in [0, -1] {
        assert!(Ttl::ms(ttl).is_err());
    }
    let endless = NewSession { idle: Some(Ttl::Never), ..NewSession::of("ann") };
    assert!(matches!(sessions.create(&endless).await, Err(Error::InvalidInput { field: "idle_ms", .. })));
    assert!(matches!(sessions.extend(&created.id, Ttl::Never).await, Err(Error::InvalidInput { .. })));
    let capped = sessions.create(&lasting(50_000, 20_000)).await.unwrap();
    assert_eq!(capped.expires_ms, capped.created_ms + 20_000);
}

pub(crate) async fn touches_slide_up_to_the_absolute_end(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let created = sessions.create(&lasting(400, 1000)).await.unwrap();
    let absolute_ms = found(&sessions, &created.id).await.absolute_ms.unwrap();
    sessions.append(&created.id, &[json!(1)], None).await.unwrap();
    let mut last_ms = created.expires_ms;
    let mut touches = 0;
    while let Ok(touched) = sessions.touch(&created.id, Some(Duration::ZERO)).await {
        assert!(touched.moved && touched.expires_ms >= last_ms && touched.expires_ms <= absolute_ms, "{touched:?}");
        last_ms = touched.expires_ms;
        touches += 1;
        pass(50).await;
    }
    assert!(touches > 8, "it lived longer than its idle time: {touches}");
    assert_eq!(last_ms, absolute_ms);
    assert!(services.backend().now_ms().await.unwrap() >= absolute_ms);
    assert!(is_missing(&sessions, &created.id).await);
    assert_eq!(sessions.count_user("ann").await, Ok(0));
    let keys = keys_of(&services, &tenant).await;
    assert!(keys.is_empty(), "the index does not outlive its sessions: {keys:?}");
}

pub(crate) async fn an_unused_session_ends(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let id = sessions.create(&lasting(60, 60_000)).await.unwrap().id;
    pass(70).await;
    assert!(is_missing(&sessions, &id).await);
    assert!(not_found(sessions.touch(&id, None).await));
    assert_eq!(sessions.list_user("ann").await.unwrap(), []);
}

pub(crate) async fn a_touch_within_the_interval_writes_nothing(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let created = sessions.create(&NewSession::of("ann").with("a", json!(1))).await.unwrap();
    pass(5).await;
    let before = found(&sessions, &created.id).await;
    let idle = sessions.touch(&created.id, None).await.unwrap();
    assert_eq!((idle.moved, idle.expires_ms), (false, created.expires_ms));
    assert_eq!(found(&sessions, &created.id).await, before);
    let moved = sessions.touch(&created.id, Some(Duration::from_millis(2))).await.unwrap();
    let after = found(&sessions, &created.id).await;
    assert!(moved.moved && moved.expires_ms > created.expires_ms);
    assert_eq!((after.expires_ms, after.last_seen_ms > before.last_seen_ms), (moved.expires_ms, true));
    assert_eq!((after.version, after.fields), (before.version, before.fields), "data is not rewritten");
}

pub(crate) async fn extending_sets_the_end_within_the_absolute(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let created = sessions.create(&lasting(60_000, 3_600_000)).await.unwrap();
    let longer = sessions.extend(&created.id, Ttl::seconds(1800).unwrap()).await.unwrap();
    assert!(longer >= created.created_ms + 1_800_000);
    let touched = sessions.touch(&created.id, Some(Duration::ZERO)).await.unwrap();
    assert_eq!(touched.expires_ms, longer, "a touch does not shorten");
    assert_eq!(sessions.extend(&created.id, Ttl::seconds(7200).unwrap()).await, Ok(created.created_ms + 3_600_000));
    let shorter = sessions.extend(&created.id, Ttl::seconds(1).unwrap()).await.unwrap();
    assert!(shorter < longer);
    let listed = &sessions.list_user("ann").await.unwrap()[0];
    assert_eq!(listed.expires_ms, shorter);
}

pub(crate) async fn expired_sessions_do_not_push_others_out(place: Place) {
    let (_, _, sessions) = open_with(&place, |settings| settings.sessions.per_user_max = 2).await;
    let kept = sessions.create(&NewSession::of("ann")).await.unwrap().id;
    sessions.create(&lasting(30, 30)).await.unwrap();
    pass(40).await;
    let created = sessions.create(&NewSession::of("ann")).await.unwrap();
    assert_eq!(created.evicted, 0);
    found(&sessions, &kept).await;
    assert_eq!(sessions.count_user("ann").await, Ok(2));
}
