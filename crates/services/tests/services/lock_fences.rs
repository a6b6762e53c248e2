//! Tests of fences: they grow whatever happens, and what is late is refused.

use redpoll_services::locks::Lost;
use redpoll_services::{Command, Error, Ttl};

use crate::locks::{LONG, briefly, call, is_free, mutex, once, patiently, take};
use crate::support::{Place, eventually};

pub(crate) async fn fences_grow_whatever_happens_to_the_store(place: Place) {
    let (services, lock) = mutex(&place).await;
    let state = lock.state_key().clone();
    let mut newest = 0;
    let mut check = |what: &str, fence: u64| {
        assert!(fence > newest, "{what}: {fence} after {newest}");
        assert!(fence < 1 << 53);
        newest = fence;
    };
    for _ in 0..20 {
        let guard = take(&lock, &once()).await;
        check("release", guard.fence());
        guard.release().await.unwrap();
    }
    let backup = call(&services, Command::new("GET").key(&state)).await;
    let backup = backup.as_bytes().unwrap().to_vec();
    for _ in 0..3 {
        check("expiry", lock.claim(&briefly(10)).await.unwrap().unwrap().fence);
        eventually("the lease ends", || is_free(&lock)).await;
    }
    check("force", lock.force_release().await.unwrap().1);
    check("after force", take(&lock, &once()).await.detach().fence);
    check("force", lock.force_release().await.unwrap().1);
    // The store restarts without its memory, or evicts.
    call(&services, Command::new("DEL").key(&state)).await;
    check("state lost", take(&lock, &once()).await.detach().fence);
    // An older backup is restored.
    call(&services, Command::new("SET").key(&state).arg(&backup)).await;
    check("state rewound", take(&lock, &once()).await.detach().fence);
    // The clock goes back: the last fence is an hour ahead of it.
    let ahead = (services.backend().now_ms().await.unwrap() + 3_600_000) * 1000;
    let mut future = format!("{ahead:016}").into_bytes();
    future.extend_from_slice(&backup[16..]);
    call(&services, Command::new("SET").key(&state).arg(&future)).await;
    check("clock behind", ahead);
    for _ in 0..3 {
        let guard = take(&lock, &once()).await;
        check("clock behind", guard.fence());
        guard.release().await.unwrap();
    }
    check("clock behind, force", lock.force_release().await.unwrap().1);
}

pub(crate) async fn a_paused_holders_write_is_refused(place: Place) {
    let (services, lock) = mutex(&place).await;
    // The holder pauses for longer than its lease: nothing of it runs, so nothing tells it.
    let paused = take(&lock, &briefly(80)).await;
    paused.fenced_set("total", b"its own", Ttl::Never).await.unwrap();
    let next = take(&lock, &patiently()).await;
    // Without a fence, the write that was late would win.
    let naive = lock.resource_key("naive").unwrap();
    for value in ["next", "paused"] {
        call(&services, Command::new("SET").key(&naive).arg(value)).await;
    }
    assert_eq!(call(&services, Command::new("GET").key(&naive)).await.as_str(), Some("paused"));
    // With one it is refused, even before the next has written anything.
    let refused = paused.fenced_set("total", b"late", Ttl::Never).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(lock.fenced_value("total").await.unwrap().unwrap().value, b"its own");
    next.fenced_set("total", b"next", Ttl::ms(60_000).unwrap()).await.unwrap();
    let stored = lock.fenced_value("total").await.unwrap().unwrap();
    assert_eq!((stored.fence, stored.value.as_slice()), (next.fence(), &b"next"[..]));
    assert!(paused.fenced_set("total", b"late", Ttl::Never).await.is_err());
    // It learns that it is over, and frees nobody else's lock.
    assert!(!paused.is_held());
    assert_eq!(paused.lost().await, Lost::Ended);
    assert_eq!(paused.extend(LONG).await, Ok(false));
    assert_eq!(paused.lost().await, Lost::Refused);
    assert_eq!(paused.release().await, Ok(false));
    assert!(next.is_held() && lock.acquire(&once()).await.unwrap().is_none());
    // The resource remembers by itself what the lock has forgotten.
    call(&services, Command::new("DEL").key(lock.state_key())).await;
    assert!(lock.fenced_set("total", next.fence() - 1, b"older", Ttl::Never).await.is_err());
    next.fenced_set("total", b"again", Ttl::Never).await.unwrap();
    assert_eq!(lock.fenced_value("absent").await, Ok(None));
}
