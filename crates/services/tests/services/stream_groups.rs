//! Tests of groups: every entry is handled by every group, by its present owner, in the order of its key, or is a dead letter.

use std::time::{Duration, Instant};

use redpoll_services::Error;
use redpoll_services::streams::{
    Delivery, EntryId, Event, Group, GroupOptions, Letters, Order, Outcome, Reason, Settled, StreamSettings,
    TakeOptions, Ticket,
};

use crate::streams::{
    BRIEF, briefly, event, group, group_with, keyed, name_of, patiently, publish, site, stream, up_to,
};
use crate::support::{Place, eventually};

pub(crate) async fn take(group: &Group, count: usize) -> Vec<Delivery> {
    group.take(&up_to(count)).await.unwrap().deliveries
}

pub(crate) fn names(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|one| name_of(&one.event)).collect()
}

pub(crate) fn failed(cause: &str, pause_ms: u64) -> Outcome {
    Outcome::Failed { cause: cause.to_owned(), pause: Some(Duration::from_millis(pause_ms)) }
}

/// Takes one entry, however long that takes.
async fn take_one(group: &Group) -> Delivery {
    group.take(&patiently(1)).await.unwrap().deliveries.remove(0)
}

pub(crate) async fn every_group_gets_every_entry(place: Place) {
    let stream = stream(&place).await;
    let groups = [group(&stream, "a").await, group(&stream, "b").await];
    publish(&stream, &["1", "2", "3"]).await;
    for group in &groups {
        assert_eq!(names(&take(group, 2).await), ["1", "2"]);
        let last = take(group, 2).await;
        assert_eq!(names(&last), ["3"]);
        group.ack(&last[0].ticket).await.unwrap();
        let status = group.status().await.unwrap();
        assert_eq!((status.pending, status.lag, status.acknowledged_total), (2, Some(0), 1));
        assert_eq!((status.consumers.len(), status.consumers[0].pending), (1, 2));
    }
}

pub(crate) async fn only_the_present_owner_acknowledges(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let group = group(&site.stream, "g").await;
    publish(&site.stream, &["1"]).await;
    let first = group.take(&briefly(1)).await.unwrap().deliveries.remove(0);
    let second = take_one(&group).await;
    assert_eq!((second.ticket.entry, second.lost, second.failures), (first.ticket.entry, 1, 0));
    assert!(second.ticket.token > first.ticket.token);
    // The naive way: XACK takes an entry from whoever owns it.
    for outcome in [Outcome::Done, failed("late", 0), Outcome::Released { delay: Duration::ZERO }] {
        assert_eq!(group.settle(&[(first.ticket, outcome)]).await.unwrap(), [Settled::Lost]);
    }
    assert_eq!(group.renew(&[first.ticket], None).await.unwrap(), [false]);
    assert!(matches!(group.ack(&first.ticket).await, Err(Error::Conflict(_))));
    assert_eq!(group.status().await.unwrap().pending, 1);
    group.ack(&second.ticket).await.unwrap();
    assert!(matches!(group.ack(&second.ticket).await, Err(Error::Conflict(_))));
    assert_eq!(group.status().await.unwrap().pending, 0);
    assert!(take(&group, 1).await.is_empty());
    let pending = site.native("XPENDING", &[], &["g"]).await.unwrap();
    assert_eq!(pending.as_array().unwrap()[0].as_i64(), Some(0));
    // As long as nobody took it back, its holder can settle late.
    publish(&site.stream, &["2"]).await;
    let late = group.take(&briefly(1)).await.unwrap().deliveries.remove(0);
    eventually("the lease ends", || async { group.status().await.unwrap().overdue == 1 }).await;
    group.ack(&late.ticket).await.unwrap();
    // Said twice in one call it holds once, whatever it was; a refused one before it does no harm.
    publish(&site.stream, &["3", "4", "5"]).await;
    let [done, paused, dead] = &take(&group, 3).await[..] else { panic!("there are three") };
    let stale = Ticket { token: done.ticket.token - 1, ..done.ticket };
    let outcomes = [
        (stale, Outcome::Done),
        (done.ticket, Outcome::Done),
        (done.ticket, failed("no", 0)),
        (paused.ticket, failed("no", 3_600_000)),
        (paused.ticket, Outcome::Done),
        (dead.ticket, Outcome::GivenUp { cause: "no".to_owned() }),
        (dead.ticket, Outcome::Done),
    ];
    let said =
        [Settled::Lost, Settled::Done, Settled::Lost, Settled::Again, Settled::Lost, Settled::Dead, Settled::Lost];
    assert_eq!(group.settle(&outcomes).await.unwrap(), said);
    let status = group.status().await.unwrap();
    assert_eq!((status.pending, status.acknowledged_total, status.failed_total, status.dead), (1, 3, 2, 1));
}

pub(crate) async fn a_failure_pauses_and_is_tried_again(place: Place) {
    let stream = stream(&place).await;
    let options = GroupOptions { retry_base: Some(Duration::from_millis(40)), ..GroupOptions::default() };
    let group = group_with(&stream, "g", options).await;
    publish(&stream, &["1"]).await;
    for failures in 0..4 {
        let delivery = take_one(&group).await;
        assert_eq!((delivery.failures, delivery.lost, delivery.attempt()), (failures, 0, failures + 1));
        let begun = Instant::now();
        assert_eq!(group.fail(&delivery.ticket, "no").await.unwrap(), Settled::Again);
        assert_eq!(group.status().await.unwrap().pending, 1, "a failure does not acknowledge");
        eventually("the pause is over", || async { group.status().await.unwrap().overdue == 1 }).await;
        let pause = begun.elapsed();
        // Half of it at least, doubled each time.
        assert!(pause >= Duration::from_millis(20 << failures), "{failures}: {pause:?}");
    }
    let delivery = take_one(&group).await;
    let paused = failed("later", 3_600_000);
    assert_eq!(group.settle_one(&delivery.ticket, paused).await.unwrap(), Settled::Again);
    assert!(take(&group, 1).await.is_empty());
}

pub(crate) async fn after_the_last_attempt_an_entry_is_a_dead_letter(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let group = group_with(&site.stream, "g", GroupOptions { attempts_max: Some(2), ..GroupOptions::default() }).await;
    let ids = publish(&site.stream, &["1", "2", "3"]).await;
    let taken = take(&group, 3).await;
    let outcomes: Vec<_> = [
        failed("one", 0),
        Outcome::GivenUp { cause: "hopeless".to_owned() },
        Outcome::Poison { cause: "what?".to_owned() },
    ]
    .into_iter()
    .zip(&taken)
    .map(|(outcome, taken)| (taken.ticket, outcome))
    .collect();
    assert_eq!(group.settle(&outcomes).await.unwrap(), [Settled::Again, Settled::Dead, Settled::Dead]);
    let again = take_one(&group).await;
    assert_eq!(group.fail(&again.ticket, "x".repeat(5000) + "é").await.unwrap(), Settled::Dead);
    let dead = group.dead(EntryId::ZERO, 10).await.unwrap();
    let told: Vec<_> = dead.iter().map(|one| (one.origin, one.reason, one.failures, one.lost)).collect();
    assert_eq!(told, [(ids[1], Reason::GivenUp, 1, 0), (ids[2], Reason::Poison, 1, 0), (ids[0], Reason::Failed, 2, 0)]);
    assert_eq!((dead[0].cause.as_str(), dead[2].cause.len()), ("hopeless", 4096));
    assert_eq!(dead[2].entry.event.as_ref().unwrap(), &taken[0].event);
    // All of them are acknowledged: natively nothing is pending, and nothing comes again.
    let pending = site.native("XPENDING", &[], &["g"]).await.unwrap();
    assert_eq!(pending.as_array().unwrap()[0].as_i64(), Some(0));
    let status = group.status().await.unwrap();
    assert_eq!((status.pending, status.dead, status.dead_total, status.failed_total), (0, 3, 3, 4));
    assert_eq!(group.dead(dead[0].id, 1).await.unwrap(), [dead[1].clone()]);
}

pub(crate) async fn lost_leases_are_counted_apart(place: Place) {
    let stream = stream(&place).await;
    let options = GroupOptions { attempts_max: Some(2), lost_max: Some(3), ..GroupOptions::default() };
    let group = group_with(&stream, "g", options).await;
    publish(&stream, &["1"]).await;
    let patient = TakeOptions { wait: Duration::from_secs(10), ..briefly(1) };
    for lost in 0..3 {
        let delivery = group.take(&patient).await.unwrap().deliveries.remove(0);
        assert_eq!((delivery.lost, delivery.failures), (lost, 0));
    }
    // The entry may be what kills its consumers: it is taken out of their way.
    eventually("it dies", || async { group.take(&up_to(1)).await.unwrap().died == 1 }).await;
    let dead = group.dead(EntryId::ZERO, 10).await.unwrap();
    assert_eq!((dead[0].reason, dead[0].lost, dead[0].failures), (Reason::Lost, 3, 0));
    assert_eq!(group.status().await.unwrap().pending, 0);
}

pub(crate) async fn entries_of_a_key_wait_for_each_other(place: Place) {
    let stream = stream(&place).await;
    let group = group_with(&stream, "g", GroupOptions { attempts_max: Some(2), ..GroupOptions::default() }).await;
    let events = [
        keyed("a", "a1"),
        keyed("a", "a2"),
        keyed("b", "b1"),
        event("x1"),
        keyed("a", "a3"),
        event("x2"),
        keyed("a:", "c1"),
    ];
    stream.publish_many(&events).await.unwrap();
    let first = take(&group, 10).await;
    assert_eq!(names(&first), ["a1", "b1", "x1", "x2", "c1"]);
    let status = group.status().await.unwrap();
    assert_eq!((status.pending, status.parked, status.lag), (7, 2, Some(0)));
    // A failure holds up those behind it, and nobody else.
    group.settle(&[(first[0].ticket, failed("no", 30)), (first[1].ticket, Outcome::Done)]).await.unwrap();
    assert!(take(&group, 10).await.iter().all(|one| name_of(&one.event) == "a1"));
    let again = match take(&group, 10).await.pop() {
        Some(again) => again,
        None => {
            eventually("its pause or lease ends", || async { group.status().await.unwrap().overdue > 0 }).await;
            take_one(&group).await
        }
    };
    assert_eq!(name_of(&again.event), "a1");
    // Dead is done too.
    assert_eq!(group.fail(&again.ticket, "no").await.unwrap(), Settled::Dead);
    let second = take(&group, 10).await;
    assert_eq!(names(&second), ["a2"]);
    group.settle_one(&second[0].ticket, Outcome::Released { delay: Duration::ZERO }).await.unwrap();
    let second = take(&group, 10).await;
    assert_eq!((names(&second), second[0].failures, second[0].lost), (vec!["a2".to_owned()], 0, 0));
    group.ack(&second[0].ticket).await.unwrap();
    let third = take(&group, 10).await;
    assert_eq!(names(&third), ["a3"]);
    // What ends in one call, in whichever way, frees what comes behind it at once.
    let more = [keyed("a", "a4"), keyed("d", "d1"), keyed("d", "d2"), keyed("b", "b2"), keyed("d", "d3")];
    stream.publish_many(&more).await.unwrap();
    let fourth = take(&group, 10).await;
    assert_eq!(names(&fourth), ["d1", "b2"]);
    let poison = Outcome::Poison { cause: "no".to_owned() };
    let outcomes = [(fourth[0].ticket, poison), (fourth[1].ticket, Outcome::Done), (third[0].ticket, Outcome::Done)];
    group.settle(&outcomes).await.unwrap();
    let mut freed = names(&take(&group, 10).await);
    freed.sort();
    assert_eq!((freed, group.status().await.unwrap().parked), (vec!["a4".to_owned(), "d2".to_owned()], 1));
}

pub(crate) async fn order_can_be_given_up(place: Place) {
    let stream = stream(&place).await;
    let group = group_with(&stream, "g", GroupOptions { order: Order::None, ..GroupOptions::default() }).await;
    stream.publish_many(&[keyed("a", "a1"), keyed("a", "a2")]).await.unwrap();
    assert_eq!(names(&take(&group, 10).await), ["a1", "a2"]);
}

pub(crate) async fn renewing_keeps_a_lease(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let group = group(&site.stream, "g").await;
    publish(&site.stream, &["1"]).await;
    let held = group.take(&briefly(1)).await.unwrap().deliveries.remove(0);
    let begun = Instant::now();
    while begun.elapsed() < BRIEF * 4 {
        assert_eq!(group.renew(&[held.ticket], Some(BRIEF * 20)).await.unwrap(), [true]);
        assert!(take(&group, 1).await.is_empty());
    }
    // Whoever looks at the native list sees that it is alive.
    let pending = site.native("XPENDING", &[], &["g", "-", "+", "1"]).await.unwrap();
    let idle_ms = pending.as_array().unwrap()[0].as_array().unwrap()[2].as_i64().unwrap();
    assert!(idle_ms < 1000, "{idle_ms}");
    group.ack(&held.ticket).await.unwrap();
    assert_eq!(group.renew(&[held.ticket], None).await.unwrap(), [false]);
    assert!(group.renew(&[held.ticket], Some(Duration::ZERO)).await.is_err());
}

pub(crate) async fn poison_is_buried_and_stops_nobody(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let group = group(&site.stream, "g").await;
    publish(&site.stream, &["1"]).await;
    let odd = site.xadd("*", &["temperature", "21"]).await;
    // More fields than a step can copy at once.
    let many: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let huge = site.xadd("*", &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    publish(&site.stream, &["2"]).await;
    let taken = group.take(&up_to(10)).await.unwrap();
    assert_eq!((names(&taken.deliveries), taken.died), (vec!["1".to_owned(), "2".to_owned()], 2));
    let dead = group.dead(EntryId::ZERO, 10).await.unwrap();
    assert_eq!(
        dead.iter().map(|one| (one.origin, one.reason)).collect::<Vec<_>>(),
        [(odd, Reason::Poison), (huge, Reason::Poison)]
    );
    assert!(dead[0].cause.contains("specversion"), "{}", dead[0].cause);
    // Numbers that are none, under which an event of a stranger would be missing, or break what counts.
    for sequence in ["nan", "inf", "1e300", "-1", "0x10", "999999999999999999999", "4000"] {
        site.xadd(
            "*",
            &["specversion", "1.0", "id", "b", "source", "s", "type", "t", "data", "b", "sequence", sequence],
        )
        .await;
    }
    let taken = group.take(&up_to(10)).await.unwrap();
    assert_eq!((taken.deliveries.len(), taken.missed), (7, 0));
    assert_eq!(group.status().await.unwrap().lag, Some(0));
    // Only poison: who waits is not answered by it.
    site.xadd("*", &["x", "y"]).await;
    assert!(take(&group, 1).await.is_empty());
    assert_eq!(group.status().await.unwrap().dead, 3);
}

pub(crate) async fn dead_letters_are_redriven_to_their_group_only(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let (group, other) = (group(&site.stream, "g").await, group(&site.stream, "other").await);
    publish(&site.stream, &["1", "2", "3"]).await;
    assert_eq!(take(&other, 10).await.len(), 3);
    let give_up = Outcome::GivenUp { cause: "no".to_owned() };
    let outcomes: Vec<_> = take(&group, 3).await.into_iter().map(|one| (one.ticket, give_up.clone())).collect();
    group.settle(&outcomes).await.unwrap();
    let dead = group.dead(EntryId::ZERO, 10).await.unwrap();
    assert_eq!(group.redrive(Letters::Ids(&[dead[0].id, dead[0].id, EntryId::ZERO])).await, Ok(1));
    group.redrive_edited(dead[1].id, b"better").await.unwrap();
    assert!(matches!(group.redrive_edited(dead[1].id, b"x").await, Err(Error::NotFound(_))));
    assert_eq!(group.purge(Letters::Ids(&[dead[2].id])).await, Ok(1));
    assert_eq!(group.status().await.unwrap().dead, 0);
    let again = take(&group, 10).await;
    assert_eq!(names(&again), ["1", "better"]);
    assert_eq!((again[0].failures, &again[0].event), (0, dead[0].entry.event.as_ref().unwrap()));
    assert!(again[0].ticket.entry > dead[2].origin);
    assert!(take(&other, 10).await.is_empty(), "the other group has handled them");
    assert_eq!(other.status().await.unwrap().skipped_total, 2);
    // All of them.
    let outcomes: Vec<_> = again.into_iter().map(|one| (one.ticket, give_up.clone())).collect();
    group.settle(&outcomes).await.unwrap();
    assert_eq!(group.redrive(Letters::All).await, Ok(2));
    assert_eq!(names(&take(&group, 10).await), ["1", "better"]);
    assert_eq!(group.purge(Letters::All).await, Ok(0));
}

pub(crate) async fn filters_pass_over(place: Place) {
    let stream = stream(&place).await;
    let options = GroupOptions {
        types: vec!["paid".to_owned(), "sent".to_owned()],
        keys: vec!["a".to_owned()],
        ..GroupOptions::default()
    };
    let group = group_with(&stream, "g", options).await;
    let kind = |kind: &str, event: Event| Event { kind: kind.to_owned(), ..event };
    // So many that are for nobody that several looks pass over them.
    let mut events: Vec<Event> = (0..50).map(|_| kind("other", event("x"))).collect();
    events.extend([
        kind("paid", keyed("a", "1")),
        kind("paid", keyed("b", "2")),
        kind("sent", event("3")),
        kind("sent", keyed("a", "4")),
    ]);
    stream.publish_many(&events).await.unwrap();
    let first = group.take(&up_to(3)).await.unwrap().deliveries;
    assert_eq!(names(&first), ["1"]);
    group.ack(&first[0].ticket).await.unwrap();
    assert_eq!(names(&take(&group, 3).await), ["4"]);
    let status = group.status().await.unwrap();
    assert_eq!((status.pending, status.lag, status.skipped_total), (1, Some(0), 52));
    for bad in [vec!["a\nb".to_owned()], vec![String::new()], vec!["x".to_owned(); 101]] {
        let options = GroupOptions { types: bad, ..GroupOptions::default() };
        assert!(stream.group("h").unwrap().create(&options).await.is_err());
    }
}

pub(crate) async fn who_waits_is_woken(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let groups = [group(stream, "a").await, group(stream, "b").await];
    let wait = |group: &Group| {
        let group = group.clone();
        tokio::spawn(async move { group.take(&patiently(1)).await.unwrap().deliveries.remove(0) })
    };
    let waiting: Vec<_> = groups.iter().flat_map(|group| [wait(group), wait(group)]).collect();
    eventually("all wait", || async { site.waiters().await == 4 }).await;
    let begun = Instant::now();
    publish(stream, &["1", "2"]).await;
    let mut seen = Vec::new();
    for task in waiting {
        seen.push(name_of(&task.await.unwrap().event));
    }
    seen.sort();
    assert_eq!(seen, ["1", "1", "2", "2"]);
    assert!(begun.elapsed() < Duration::from_millis(1500), "they were woken, and did not look by themselves");
    assert_eq!(site.waiters().await, 0);
    // What is freed by the entry before it wakes too.
    stream.publish_many(&[keyed("k", "3"), keyed("k", "4")]).await.unwrap();
    let first = take(&groups[0], 1).await;
    let waiting = wait(&groups[0]);
    eventually("one waits", || async { site.waiters().await == 1 }).await;
    let begun = Instant::now();
    groups[0].ack(&first[0].ticket).await.unwrap();
    assert_eq!(name_of(&waiting.await.unwrap().event), "4");
    assert!(begun.elapsed() < Duration::from_millis(1500));
    // Who gives up leaves nothing behind.
    let given_up = wait(&groups[0]);
    eventually("one waits", || async { site.waiters().await == 1 }).await;
    given_up.abort();
    eventually("nobody waits", || async { site.waiters().await == 0 }).await;
}
