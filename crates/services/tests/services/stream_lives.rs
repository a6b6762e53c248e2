//! Tests of the lives of groups: where they begin and end, how they are deleted, lost and made again, and what is told of them.

use std::time::{Duration, Instant};

use redpoll_services::streams::{
    Created, Delivery, EntryId, Event, Force, GroupOptions, Letters, Limits, Outcome, Settled, Start, StreamSettings,
    TakeOptions,
};
use redpoll_services::{Command, Error};

use crate::stream_groups::{names, take};
use crate::streams::{briefly, event, group, group_with, keyed, name_of, patiently, publish, site, stream, up_to};
use crate::support::{Place, eventually};

pub(crate) async fn groups_begin_where_they_are_told(place: Place) {
    let stream = stream(&place).await;
    let ids = publish(&stream, &["1", "2", "3"]).await;
    for (name, start, expected) in [
        ("beginning", Start::Beginning, vec!["1", "2", "3", "4"]),
        ("end", Start::End, vec!["4"]),
        ("at", Start::At(ids[1]), vec!["2", "3", "4"]),
        ("time", Start::Time(ids[0].ms), vec!["1", "2", "3", "4"]),
        ("later", Start::Time(ids[2].ms + 3_600_000), vec![]),
    ] {
        let group = stream.group(name).unwrap();
        let options = GroupOptions { start, ..GroupOptions::default() };
        assert_eq!(group.create(&options).await, Ok(Created::New));
        assert_eq!(group.create(&options).await, Ok(Created::Existing));
        if name == "beginning" {
            continue;
        }
        assert_eq!(
            group.status().await.unwrap().lag.unwrap() + u64::from(!expected.is_empty()),
            expected.len() as u64,
            "{name}"
        );
    }
    publish(&stream, &["4"]).await;
    for (name, expected) in [("beginning", 4), ("end", 1), ("at", 3), ("time", 4), ("later", 0)] {
        let group = stream.group(name).unwrap();
        assert_eq!(take(&group, 9).await.len(), expected, "{name}");
    }
    let missing = stream.group("missing").unwrap();
    assert!(matches!(missing.take(&up_to(1)).await, Err(Error::NotFound(_))));
    assert!(matches!(missing.status().await, Err(Error::NotFound(_))));
    assert!(matches!(missing.delete(Force::Yes).await, Err(Error::NotFound(_))));
    let made =
        TakeOptions { create: Some(GroupOptions { start: Start::Beginning, ..GroupOptions::default() }), ..up_to(9) };
    let taken = missing.take(&made).await.unwrap();
    assert_eq!((taken.created, taken.deliveries.len()), (true, 4));
}

pub(crate) async fn a_deleted_group_stays_deleted(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let group = group(stream, "g").await;
    publish(stream, &["1"]).await;
    let held = take(&group, 1).await.remove(0);
    assert!(matches!(group.delete(Force::No).await, Err(Error::Conflict(_))));
    // Who waits meanwhile is told.
    let waiting = tokio::spawn({
        let group = group.clone();
        let create = Some(GroupOptions::default());
        async move { group.take(&TakeOptions { create, ..patiently(1) }).await }
    });
    eventually("somebody waits", || async { site.waiters().await == 1 }).await;
    let deleted = group.delete(Force::Yes).await.unwrap();
    assert_eq!((deleted.pending, deleted.dead), (1, 0));
    assert!(matches!(waiting.await.unwrap(), Err(Error::NotFound(_))));
    // Its holder is refused, and nobody makes it again by the way.
    assert_eq!(group.settle(&[(held.ticket, Outcome::Done)]).await.unwrap(), [Settled::Lost]);
    let create = TakeOptions { create: Some(GroupOptions::default()), ..up_to(1) };
    assert!(matches!(group.take(&create).await, Err(Error::NotFound(_))));
    assert!(stream.info().await.unwrap().groups.is_empty());
    // Only on purpose; and nothing of the old one is in the new one.
    let options = GroupOptions { start: Start::Beginning, ..GroupOptions::default() };
    assert_eq!(group.create(&options).await, Ok(Created::New));
    let again = take(&group, 1).await.remove(0);
    assert_eq!((again.ticket.entry, again.attempt()), (held.ticket.entry, 1));
    assert_eq!(group.settle(&[(held.ticket, Outcome::Done)]).await.unwrap(), [Settled::Lost]);
}

pub(crate) async fn a_destroyed_group_is_restored(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let group = group_with(stream, "g", GroupOptions::default()).await;
    stream.publish_many(&[keyed("a", "1"), keyed("a", "2"), event("3"), event("4")]).await.unwrap();
    let taken = take(&group, 3).await;
    assert_eq!(names(&taken), ["1", "3"]);
    group.ack(&taken[1].ticket).await.unwrap();
    site.native("XGROUP", &["DESTROY"], &["g"]).await.unwrap();
    // Until somebody restores it, nothing is trimmed that it has not read.
    stream.configure(&Limits { length_max: Some(1), ..Limits::default() }).await.unwrap();
    assert_eq!(stream.trim().await, Ok(0));
    stream.configure(&Limits::default()).await.unwrap();
    // The naive way: make it anew from its start, so that all is done twice, or from the end, so that the rest is lost.
    let after = group.take(&up_to(10)).await.unwrap();
    assert_eq!((after.restored, names(&after.deliveries)), (true, vec!["4".to_owned()]));
    let pending = site.native("XPENDING", &[], &["g"]).await.unwrap();
    assert_eq!(pending.as_array().unwrap()[0].as_i64(), Some(3));
    group.ack(&taken[0].ticket).await.unwrap();
    let parked = group.take(&up_to(10)).await.unwrap();
    assert_eq!((parked.restored, names(&parked.deliveries)), (false, vec!["2".to_owned()]));
    // The stream is lost with everything in it: what was pending is told as dead letters, what comes is handled.
    site.native("DEL", &[], &[]).await.unwrap();
    publish(stream, &["5"]).await;
    let new = group.take(&up_to(10)).await.unwrap();
    assert_eq!((new.restored, names(&new.deliveries)), (true, vec!["5".to_owned()]));
    group.ack(&new.deliveries[0].ticket).await.unwrap();
    assert_eq!(group.status().await.unwrap().pending, 2);
}

pub(crate) async fn an_emptied_store_begins_anew(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let group = group(stream, "g").await;
    publish(stream, &["1"]).await;
    let held = take(&group, 1).await.remove(0);
    site.empty("g").await;
    publish(stream, &["2"]).await;
    assert!(matches!(group.take(&up_to(1)).await, Err(Error::NotFound(_))), "it is told");
    let create = Some(GroupOptions { start: Start::Beginning, ..GroupOptions::default() });
    let taken = group.take(&TakeOptions { create, ..up_to(10) }).await.unwrap();
    assert_eq!((taken.created, names(&taken.deliveries)), (true, vec!["2".to_owned()]));
    assert!(taken.deliveries[0].ticket.token > held.ticket.token);
    assert_eq!(group.settle(&[(held.ticket, Outcome::Done)]).await.unwrap(), [Settled::Lost]);
}

pub(crate) async fn lag_is_exact(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let group = group(stream, "g").await;
    let lag = async || group.status().await.unwrap().lag;
    assert_eq!(lag().await, Some(0));
    let ids = publish(stream, &["1", "2", "3", "4", "5", "6"]).await;
    assert_eq!(lag().await, Some(6));
    take(&group, 2).await;
    assert_eq!(lag().await, Some(4));
    // Entries removed from the middle, read and unread.
    site.native("XDEL", &[], &[&ids[0].to_string(), &ids[3].to_string()]).await.unwrap();
    assert_eq!(lag().await, Some(3));
    take(&group, 1).await;
    assert_eq!(lag().await, Some(2));
    // Trimmed past where the group is.
    site.native("XTRIM", &[], &["MAXLEN", "1"]).await.unwrap();
    assert_eq!(lag().await, Some(1));
    take(&group, 5).await;
    assert_eq!(lag().await, Some(0));
    publish(stream, &["7"]).await;
    site.xadd("*", &["x", "y"]).await;
    publish(stream, &["8"]).await;
    assert_eq!(lag().await, Some(3));
    // A group that begins in the middle, and one that ends.
    let info = stream.info().await.unwrap();
    for (name, start, until, expected) in [
        ("end", Start::End, None, 0),
        ("at", Start::At(info.last.unwrap()), None, 1),
        ("until", Start::Beginning, Some(ids[5]), 1),
        ("empty", Start::At(info.last.unwrap()), Some(ids[5]), 0),
    ] {
        let other = stream.group(name).unwrap();
        other.create(&GroupOptions { start, until, ..GroupOptions::default() }).await.unwrap();
        let status = other.status().await.unwrap();
        assert_eq!((status.lag, status.is_complete), (Some(expected), name == "empty"), "{name}");
    }
    // More than a page of them, which have to be counted.
    let many: Vec<Event> = (0..1000).map(|_| event("x")).collect();
    for _ in 0..3 {
        stream.publish_many(&many).await.unwrap();
    }
    assert_eq!(lag().await, Some(3003));
}

pub(crate) async fn replays_disturb_nobody(place: Place) {
    let stream = stream(&place).await;
    let main = group(&stream, "main").await;
    let ids = publish(&stream, &["1", "2", "3", "4"]).await;
    for delivery in take(&main, 3).await {
        main.ack(&delivery.ticket).await.unwrap();
    }
    let side = stream.group("side").unwrap();
    let options = GroupOptions { start: Start::At(ids[1]), ..GroupOptions::default() };
    side.replay(&options).await.unwrap();
    assert!(matches!(side.replay(&options).await, Err(Error::Conflict(_))));
    publish(&stream, &["5"]).await;
    let status = side.status().await.unwrap();
    assert_eq!((status.lag, status.is_complete), (Some(3), false));
    let taken = take(&side, 10).await;
    assert_eq!(names(&taken), ["2", "3", "4"], "up to what was the last when it began");
    assert!(!side.status().await.unwrap().is_complete);
    for delivery in taken {
        side.ack(&delivery.ticket).await.unwrap();
    }
    assert!(side.status().await.unwrap().is_complete && take(&side, 10).await.is_empty());
    assert_eq!(names(&take(&main, 10).await), ["4", "5"]);
    side.delete(Force::No).await.unwrap();
    // By time, to a time, of a key.
    let options = GroupOptions {
        start: Start::Time(ids[0].ms),
        until: Some(EntryId::last_of(ids[3].ms)),
        keys: vec!["k".to_owned()],
        ..GroupOptions::default()
    };
    let timed = stream.group("timed").unwrap();
    timed.replay(&options).await.unwrap();
    assert!(take(&timed, 10).await.is_empty());
    eventually("nothing of that time can come", || async { timed.status().await.unwrap().is_complete }).await;
    // A time that is not over yet: more may come.
    let open = stream.group("open").unwrap();
    open.replay(&GroupOptions { until: Some(EntryId::last_of(ids[3].ms + 3_600_000)), ..GroupOptions::default() })
        .await
        .unwrap();
    assert!(take(&open, 10).await.is_empty());
    assert!(!open.status().await.unwrap().is_complete);
    // Dead letters of a group that ends can only go into another.
    let again = stream.group("again").unwrap();
    again.replay(&options).await.unwrap();
    assert!(matches!(again.redrive(Letters::Ids(&[ids[0]])).await, Err(Error::Conflict(_))));
}

pub(crate) async fn consumers_are_bounded(place: Place) {
    let stream = stream(&place).await;
    let group = group(&stream, "g").await;
    for number in 0..1000 {
        group.take(&TakeOptions::new(number.to_string())).await.unwrap();
    }
    assert!(matches!(group.take(&TakeOptions::new("one more")).await, Err(Error::Conflict(_))));
    publish(&stream, &["1"]).await;
    assert_eq!(group.take(&TakeOptions::new("999")).await.unwrap().deliveries.len(), 1);
    assert_eq!(group.status().await.unwrap().consumers.len(), 1000);
}

pub(crate) async fn strangers_in_a_group_are_noticed(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    // A group that a stranger made is taken over where it is.
    let ids = publish(stream, &["1", "2", "3"]).await;
    site.native("XGROUP", &["CREATE"], &["theirs", &ids[0].to_string()]).await.unwrap();
    let theirs = stream.group("theirs").unwrap();
    assert!(matches!(theirs.take(&up_to(1)).await, Err(Error::NotFound(_))));
    assert_eq!(theirs.create(&GroupOptions::default()).await, Ok(Created::Adopted));
    assert_eq!(names(&take(&theirs, 10).await), ["2", "3"]);
    // A stranger reads with a group of ours, and dies.
    let ours = group(stream, "ours").await;
    let key = stream.key().as_str().to_owned();
    let read = Command::new("XREADGROUP")
        .arg("GROUP")
        .arg("ours")
        .arg("stranger")
        .arg("COUNT")
        .arg("2")
        .arg("STREAMS")
        .key(&key)
        .arg(">");
    site.services.backend().call(read).await.unwrap();
    site.native("XACK", &[], &["ours", &ids[0].to_string()]).await.unwrap();
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !seen.iter().any(|one: &Delivery| name_of(&one.event) == "2") && Instant::now() < deadline {
        let taken = ours.take(&TakeOptions { wait: Duration::from_millis(200), ..briefly(10) }).await.unwrap();
        seen.extend(taken.deliveries);
    }
    assert!(seen.iter().any(|one: &Delivery| name_of(&one.event) == "2" && one.lost == 1), "{seen:?}");
    assert!(seen.iter().all(|one| name_of(&one.event) != "1"), "what was acknowledged is done");
}
