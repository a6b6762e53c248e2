//! Tests of what stands about a scope: blocks, ladders, custom amounts, changes, slots; and of stored policies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redpoll_services::limits::{Escalation, Policy, Request};
use redpoll_services::metrics::Counter;
use redpoll_services::ratelimit::Algorithm;
use redpoll_services::{Command, Error, Ttl};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::limits::{DAY, limit, open, pass, plan, user};
use crate::support::{Place, tenant};

pub(crate) async fn a_block_of_an_hour_lasts_an_hour(place: Place) {
    let (services, tenant, limits) = open(&place).await;
    let blocked = user("hour");
    let minute = limit("minute", Algorithm::FixedWindow, 5, Duration::from_secs(60));
    let request = plan(&[(&blocked, &minute, 1)]);
    let until_ms = limits.block(&blocked, Ttl::seconds(3600).unwrap(), "abuse", "ann").await.unwrap().unwrap();
    let refused = limits.check(&request).await.unwrap();
    assert!(!refused.allowed && refused.binding.is_none());
    assert_eq!((refused.blocks[0].until_ms, refused.blocks[0].reason.as_str()), (Some(until_ms), "abuse"));
    assert_eq!(refused.limits[0].remaining, 5, "who is blocked consumes nothing");
    assert!((3_500_000..=3_600_000).contains(&refused.retry_after_ms.unwrap()), "{refused:?}");
    let pttl = Command::new("PTTL").key(format!("rp:{{{}:limits:user:hour}}:x", tenant.name()));
    let pttl = services.backend().call(pttl).await.unwrap().as_i64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&pttl), "{pttl}");
    // The first idea puts the block where the window's count is, and ends it with the window.
    let naive = format!("test:{{{}}}", tenant.name());
    let write = Command::new("SET").key(&naive).arg("blocked").arg("PX").arg(60_000_u64);
    services.backend().call(write).await.unwrap();
    let pttl = services.backend().call(Command::new("PTTL").key(&naive)).await.unwrap().as_i64().unwrap();
    assert!(pttl <= 60_000, "the naive block no longer shows the mistake");

    // The same in small: a block outlives windows, and then ends.
    let short = user("short");
    let window = limit("window", Algorithm::FixedWindow, 5, Duration::from_millis(50));
    let request = plan(&[(&short, &window, 1)]);
    limits.block(&short, Ttl::ms(400).unwrap(), "", "").await.unwrap();
    pass(150).await;
    let refused = limits.check(&request).await.unwrap();
    assert!(!refused.allowed);
    pass(refused.retry_after_ms.unwrap()).await;
    assert!(limits.check(&request).await.unwrap().allowed);
    assert_eq!(services.metrics().value(Counter::LimitsBlocked), 2);
}

pub(crate) async fn who_is_denied_stays_out_until_let_in(place: Place) {
    let (_, _, limits) = open(&place).await;
    let denied = user("d");
    let request = plan(&[(&denied, &limit("l", Algorithm::TokenBucket, 5, DAY), 1)]);
    assert!(!limits.unblock(&denied, "ann").await.unwrap());
    assert_eq!(limits.block(&denied, Ttl::Never, "fraud", "ann").await.unwrap(), None);
    let refused = limits.check(&request).await.unwrap();
    assert_eq!((refused.allowed, refused.retry_after_ms, refused.blocks[0].until_ms), (false, None, None));
    assert!(!limits.check_within(&request, DAY).await.unwrap().allowed, "waiting does not help, so nobody waits");
    assert!(!limits.reserve(&request, DAY).await.unwrap().verdict.allowed);
    // A scope is blocked for requests that no limit of it is asked about, too.
    let watching = plan(&[]).watching(denied.clone());
    assert!(!limits.check(&watching).await.unwrap().allowed);
    assert_eq!(limits.status(&denied).await.unwrap().block.unwrap().reason, "fraud");
    assert!(limits.unblock(&denied, "bob").await.unwrap());
    assert!(limits.check(&request).await.unwrap().allowed);
    let status = limits.status(&denied).await.unwrap();
    let changes: Vec<_> = status.changes.iter().map(|change| (change.what.as_str(), change.by.as_str())).collect();
    assert_eq!(changes, [("unblock", "bob"), ("block", "ann"), ("unblock", "ann")]);
    assert_eq!((status.changes[0].before.as_str(), status.changes[1].before.as_str()), ("0", ""));
}

pub(crate) async fn refusals_climb_the_ladder(place: Place) {
    let (services, _, limits) = open(&place).await;
    let ms = Duration::from_millis;
    let ladder = Escalation::new(3, Duration::from_secs(60), &[ms(300), ms(700)], DAY).unwrap();
    let login = limit("login", Algorithm::FixedWindow, 1, DAY).with_escalation(ladder);
    let user = user("u");
    let request = plan(&[(&user, &login, 1)]);
    assert!(limits.check(&request).await.unwrap().allowed);
    let mut begun = Vec::new();
    for expect in [300, 700, 700] {
        for _ in 0..2 {
            let refused = limits.check(&request).await.unwrap();
            assert!(!refused.allowed && refused.blocks.is_empty());
            // Peeking is not asking.
            assert!(limits.peek(&request).await.unwrap().blocks.is_empty());
        }
        let third = limits.check(&request).await.unwrap();
        let left_ms = third.blocks[0].until_ms.map(|_| third.retry_after_ms.unwrap());
        assert!(third.blocks[0].reason.contains("login"), "{third:?}");
        begun.push(left_ms.is_some());
        // While blocked, further refusals do not climb.
        for _ in 0..5 {
            let refused = limits.check(&request).await.unwrap();
            assert_eq!(refused.blocks[0].until_ms, third.blocks[0].until_ms);
        }
        let status = limits.status(&user).await.unwrap();
        let now_ms = services.backend().now_ms().await.unwrap();
        let left_ms = status.block.expect("blocked").until_ms.unwrap().saturating_sub(now_ms);
        assert!(left_ms <= expect && left_ms + 250 > expect, "{left_ms} of {expect}");
        pass(left_ms + 1).await;
    }
    assert_eq!((begun.len(), services.metrics().value(Counter::LimitsEscalated)), (3, 3));
}

pub(crate) async fn custom_amounts_hold_at_once_and_end(place: Place) {
    let (services, tenant, limits) = open(&place).await;
    for algorithm in Algorithm::ALL {
        let user = user(&format!("{algorithm:?}"));
        let request = |units| plan(&[(&user, &limit("api", algorithm, 5, DAY), units)]);
        assert_eq!(limits.check(&request(5)).await.unwrap().remaining, Some(0));
        assert!(!limits.check(&request(1)).await.unwrap().allowed);
        limits.set_custom(&user, "api", 8, None, Ttl::ms(300).unwrap(), "ann").await.unwrap();
        let raised = limits.check(&request(2)).await.unwrap();
        assert_eq!((raised.allowed, raised.limit, raised.remaining), (true, Some(8), Some(1)), "{algorithm:?}");
        assert!(limits.check(&request(9)).await.is_err(), "{algorithm:?}: above its own amount");
        assert_eq!(limits.status(&user).await.unwrap().custom[0].limit, 8);
        pass(301).await;
        let ended = limits.check(&request(1)).await.unwrap();
        assert_eq!((ended.allowed, ended.limit), (false, Some(5)), "{algorithm:?}");
        assert!(limits.status(&user).await.unwrap().custom.is_empty());
        // What has ended is gone, though nobody has changed anything since.
        let amounts = format!("rp:{{{}:limits:{}}}:o", tenant.name(), user);
        let left = || async { services.backend().call(Command::new("PTTL").key(&amounts)).await.unwrap().as_i64() };
        assert_eq!(left().await, Some(-2), "{algorithm:?}: amounts that have ended stay for ever");
        // Far above what can be counted is as much as can be counted.
        limits.set_custom(&user, "api", 1 << 52, None, Ttl::Never, "").await.unwrap();
        let raised = limits.check(&request(5)).await.unwrap();
        assert!(raised.allowed && raised.limit.unwrap() >= 52_000_000 / 1000, "{algorithm:?} {raised:?}");
        assert!(limits.remove_custom(&user, "api", "").await.unwrap());
        assert!(!limits.remove_custom(&user, "api", "").await.unwrap());
        // The policy's amount holds again. (A bucket that so much flows out of is empty within milliseconds.)
        assert_eq!(limits.check(&request(1)).await.unwrap().limit, Some(5), "{algorithm:?}");
        limits.set_custom(&user, "for ever", 1, None, Ttl::Never, "").await.unwrap();
        limits.set_custom(&user, "a while", 1, None, Ttl::ms(60_000).unwrap(), "").await.unwrap();
        assert_eq!(left().await, Some(-1), "one of them has no end");
        assert!(limits.remove_custom(&user, "for ever", "").await.unwrap());
        assert!(left().await.is_some_and(|ms| (1..=60_000).contains(&ms)), "{:?}", left().await);
    }
    for amount in [0, u64::MAX] {
        let error = limits.set_custom(&user("u"), "api", amount, None, Ttl::Never, "").await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { field: "amount", .. }), "{error}");
    }
}

pub(crate) async fn changes_are_remembered_and_bounded(place: Place) {
    let (_, _, limits) = open(&place).await;
    let user = user("u");
    for amount in 1..=105 {
        limits.set_custom(&user, "api", amount, Some(amount * 2), Ttl::Never, "a\nb").await.unwrap();
    }
    let status = limits.status(&user).await.unwrap();
    assert_eq!(status.changes.len(), 100);
    let (latest, oldest) = (&status.changes[0], &status.changes[99]);
    assert_eq!((latest.before.as_str(), latest.after.as_str()), ("104:208:0", "105:210"));
    assert_eq!((latest.what.as_str(), latest.limit.as_str(), latest.by.as_str()), ("set", "api", "a\nb"));
    assert_eq!(oldest.after, "6:12");
    for number in 1..100 {
        limits.set_custom(&user, &format!("l{number}"), 1, None, Ttl::Never, "").await.unwrap();
    }
    let full = limits.set_custom(&user, "one more", 1, None, Ttl::Never, "").await;
    assert!(matches!(full, Err(Error::Conflict(_))), "{full:?}");
    limits.set_custom(&user, "l1", 2, None, Ttl::Never, "").await.unwrap();
}

pub(crate) async fn policies_are_stored_with_their_history(place: Place) {
    let (_, _, limits) = open(&place).await;
    let policy = |amount: u64| {
        let table = json!({
            "limits": {"l": {"per": ["user"], "limit": amount, "window_ms": 86_400_000}},
            "endpoints": [{"pattern": "**", "limits": ["l"]}]
        });
        Policy::from_value(table).unwrap()
    };
    assert!(matches!(limits.policy("api").await, Err(Error::NotFound(_))));
    assert!(matches!(limits.define("api", &policy(1), Some(1)).await, Err(Error::Conflict(_))));
    assert_eq!(limits.define("api", &policy(1), Some(0)).await, Ok(1));
    assert!(matches!(limits.define("api", &policy(2), Some(0)).await, Err(Error::Conflict(_))));
    for amount in 2..=30 {
        assert_eq!(limits.define("api", &policy(amount), Some(amount - 1)).await, Ok(amount));
    }
    let stored = limits.policy("api").await.unwrap();
    assert_eq!((stored.version, stored.policy.table()), (30, policy(30).table()));
    let plan = stored.policy.plan(&Request::new("/x").about("user", "u")).unwrap();
    assert_eq!(limits.check(&plan).await.unwrap().limit, Some(30));
    let history = limits.policy_history("api").await.unwrap();
    assert_eq!(history.iter().map(|earlier| earlier.version).collect::<Vec<_>>(), (10..30).rev().collect::<Vec<_>>());
    assert_eq!(&history[0].table, policy(29).table());
    limits.remove_policy("api").await.unwrap();
    assert!(matches!(limits.remove_policy("api").await, Err(Error::NotFound(_))));
    assert_eq!(limits.define("api", &policy(1), Some(0)).await, Ok(31), "no version is given twice");
}

pub(crate) async fn so_many_at_once_and_no_more(place: Place) {
    const TASKS: usize = 64;
    let tenant = tenant();
    let processes = [place.services().await, place.services().await];
    let scope = user("u");
    let (inside, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let slots = processes[number % 2].limits(&tenant).slots(&scope, "jobs", 7, Duration::from_secs(60)).unwrap();
        let (inside, most) = (inside.clone(), most.clone());
        let work = async move {
            let mut taken = 0;
            for _ in 0..10 {
                let (answer, slot) = slots.acquire().await.unwrap();
                assert_eq!(answer.allowed, slot.is_some());
                let Some(slot) = slot else { continue };
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                assert!(slot.renew().await.unwrap());
                inside.fetch_sub(1, Ordering::SeqCst);
                assert!(slot.release().await.unwrap());
                assert!(!slot.release().await.unwrap() && !slot.renew().await.unwrap(), "what is given back is gone");
                taken += 1;
            }
            taken
        };
        tasks.spawn_blocking(|| Handle::current().block_on(work));
    }
    let taken: u64 = tasks.join_all().await.into_iter().sum();
    assert!(taken >= 7 && (1..=7).contains(&most.load(Ordering::SeqCst)), "{taken} {most:?}");
    let slots = processes[0].limits(&tenant).slots(&scope, "jobs", 7, Duration::from_secs(60)).unwrap();
    assert_eq!(slots.held().await.unwrap(), 0);
}

pub(crate) async fn who_waits_for_a_slot_is_woken(place: Place) {
    let (_, tenant, limits) = open(&place).await;
    let other = place.services().await.limits(&tenant);
    let slots = |limits: &redpoll_services::limits::Limits| {
        limits.slots(&user("u"), "jobs", 1, Duration::from_secs(600)).unwrap()
    };
    let held = slots(&limits).acquire().await.unwrap().1.unwrap();
    let (refused, none) = slots(&other).acquire_within(Duration::from_millis(50)).await.unwrap();
    assert!(none.is_none() && !refused.allowed);
    let waiting = slots(&other);
    let waiter = tokio::spawn(async move { waiting.acquire_within(Duration::from_secs(30)).await.unwrap() });
    pass(100).await;
    let released = Instant::now();
    assert!(held.release().await.unwrap());
    let (taken, slot) = waiter.await.unwrap();
    assert!(taken.allowed && slot.is_some());
    assert!(released.elapsed() < Duration::from_secs(10), "waited {:?}", released.elapsed());
}

pub(crate) async fn slots_of_the_dead_come_back(place: Place) {
    let (services, tenant, limits) = open(&place).await;
    let scope = user("u");
    let slots = limits.slots(&scope, "jobs", 2, Duration::from_millis(400)).unwrap();
    let dead = slots.acquire().await.unwrap().1.unwrap();
    let alive = slots.acquire().await.unwrap().1.unwrap();
    let (refused, none) = slots.acquire().await.unwrap();
    assert!(none.is_none() && !refused.allowed && refused.remaining == 0);
    assert!((1..=400).contains(&refused.retry_after_ms), "{refused:?}");
    pass(refused.retry_after_ms / 2).await;
    assert!(alive.renew().await.unwrap());
    pass(refused.retry_after_ms / 2 + 2).await;
    let (taken, next) = slots.acquire().await.unwrap();
    assert!(taken.allowed && next.is_some(), "the dead one's slot is free: {taken:?}");
    assert!(!dead.renew().await.unwrap() && !dead.release().await.unwrap(), "lost is lost");
    assert!(alive.release().await.unwrap());
    let pttl = Command::new("PTTL").key(format!("rp:{{{}:limits:user:u}}:s:jobs", tenant.name()));
    let pttl = services.backend().call(pttl).await.unwrap().as_i64().unwrap();
    assert!((1..=400).contains(&pttl), "{pttl}");
    for most in [0, u64::MAX] {
        assert!(limits.slots(&scope, "jobs", most, DAY).is_err());
    }
}
