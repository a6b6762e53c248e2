//! Tests of what streams keep: what is needed stays, what nobody needs goes, and whoever missed something is told.

use std::time::Duration;

use redpoll_services::Error;
use redpoll_services::streams::{EntryId, Event, Full, GroupOptions, Limits, Reason, Start, StreamSettings};

use crate::stream_groups::{names, take};
use crate::streams::{HandMade, event, group, name_of, publish, site, up_to};
use crate::support::{Place, eventually};

fn at_most(length_max: u64) -> Limits {
    Limits { length_max: Some(length_max), ..Limits::default() }
}

pub(crate) async fn needed_entries_are_not_trimmed(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    // The naive way, MAXLEN, drops what is pending: it can be claimed for ever, and there is nothing to handle.
    let hand_made = HandMade::new(&site.services, "g").await;
    let id = hand_made.add(&[]).await;
    assert_eq!(hand_made.read("a", &[]).await, 1);
    hand_made.add(&["MAXLEN", "1"]).await;
    assert_eq!((hand_made.pending().await, hand_made.is_there(&id).await), (1, false), "the naive stream lost it");

    stream.configure(&at_most(3)).await.unwrap();
    // Nobody needs anything.
    publish(stream, &["1", "2", "3", "4", "5"]).await;
    publish(stream, &["6"]).await;
    assert_eq!(stream.info().await.unwrap().length, 3);
    let (fast, slow) = (group(stream, "fast").await, group(stream, "slow").await);
    let held = take(&slow, 1).await.remove(0);
    assert_eq!(name_of(&held.event), "4");
    publish(stream, &["7", "8", "9"]).await;
    for delivery in take(&fast, 10).await {
        fast.ack(&delivery.ticket).await.unwrap();
    }
    publish(stream, &["10"]).await;
    // What is pending is there, and what was not read.
    assert_eq!(stream.info().await.unwrap().length, 7);
    let rest = take(&slow, 10).await;
    assert_eq!(names(&rest), ["5", "6", "7", "8", "9", "10"]);
    for delivery in &rest {
        slow.ack(&delivery.ticket).await.unwrap();
    }
    for delivery in take(&fast, 10).await {
        fast.ack(&delivery.ticket).await.unwrap();
    }
    // One that is pending holds all behind it.
    assert_eq!(stream.trim().await, Ok(0));
    slow.ack(&held.ticket).await.unwrap();
    assert_eq!(stream.trim().await, Ok(4));
    let info = stream.info().await.unwrap();
    assert_eq!((info.length, info.trimmed_total, info.published_total), (3, 7, 10));
    assert_eq!((fast.status().await.unwrap().missed_total, slow.status().await.unwrap().missed_total), (0, 0));
}

pub(crate) async fn dead_groups_hold_nothing_back_and_are_told(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let idle = Limits { group_idle: Some(Duration::from_millis(1500)), ..at_most(2) };
    stream.configure(&idle).await.unwrap();
    let (dead, live) = (group(stream, "dead").await, group(stream, "live").await);
    let ids = publish(stream, &["1", "2", "3", "4"]).await;
    let held = take(&dead, 1).await.remove(0);
    assert_eq!(stream.trim().await, Ok(0));
    // One goes on, the other is silent for longer than is tolerated.
    eventually("the silent group holds nothing back", || async {
        for delivery in take(&live, 10).await {
            live.ack(&delivery.ticket).await.unwrap();
        }
        stream.trim().await.unwrap();
        stream.info().await.unwrap().length == 2
    })
    .await;
    assert_eq!(stream.info().await.unwrap().first, Some(ids[2]));
    // It comes back, and is told what it missed: one that it had not read, and one that it had pending.
    let back = dead.take(&up_to(10)).await.unwrap();
    assert_eq!((back.missed, names(&back.deliveries)), (1, vec!["3".to_owned(), "4".to_owned()]));
    assert_eq!(dead.status().await.unwrap().missed_total, 1);
    dead.ack(&held.ticket).await.unwrap();
}

pub(crate) async fn refusing_is_back_pressure(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    stream.configure(&Limits { full: Some(Full::Refuse), ..at_most(3) }).await.unwrap();
    let group = group(stream, "g").await;
    publish(stream, &["1", "2", "3"]).await;
    let refused = stream.publish(&event("4")).await.unwrap_err();
    assert!(matches!(&refused, Error::Conflict(text) if text.contains("3 entries")), "{refused}");
    let taken = take(&group, 1).await;
    assert!(stream.publish(&event("4")).await.is_err(), "what is pending is needed");
    group.ack(&taken[0].ticket).await.unwrap();
    publish(stream, &["4"]).await;
    assert!(stream.publish(&event("5")).await.is_err());
    let info = stream.info().await.unwrap();
    assert_eq!((info.length, info.refused_total, info.published_total), (3, 3, 4));
    assert_eq!(names(&take(&group, 10).await), ["2", "3", "4"], "nothing that was published is lost");
    for (length_max, bytes_max) in [(Some(0), None), (None, Some(0)), (Some(u64::MAX), None)] {
        assert!(stream.configure(&Limits { length_max, bytes_max, ..Limits::default() }).await.is_err());
    }
    // Without limits of its own it is as the settings say.
    stream.configure(&Limits::default()).await.unwrap();
    publish(stream, &["5", "6"]).await;
}

pub(crate) async fn limits_of_bytes_and_age(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    stream.configure(&Limits { bytes_max: Some(5_000), ..Limits::default() }).await.unwrap();
    for _ in 0..20 {
        stream.publish(&Event { data: Some(vec![7; 1000]), ..event("x") }).await.unwrap();
        assert!(stream.info().await.unwrap().bytes <= 5_000 + 100);
    }
    let length = stream.info().await.unwrap().length;
    assert!((3..=5).contains(&length), "{length}");
    stream.configure(&Limits { age_max: Some(Duration::from_millis(1)), ..Limits::default() }).await.unwrap();
    eventually("they are too old", || async {
        stream.trim().await.unwrap();
        stream.info().await.unwrap().length == 0
    })
    .await;
    assert_eq!(stream.info().await.unwrap().bytes, 0);
}

pub(crate) async fn a_pending_entry_that_is_gone_is_a_dead_letter(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let group = group(&site.stream, "g").await;
    let ids = publish(&site.stream, &["1", "2", "3"]).await;
    let taken = take(&group, 3).await;
    // Somebody trims the stream by hand. The naive group has entries pending for ever that nobody can read.
    site.native("XTRIM", &[], &["MAXLEN", "1"]).await.unwrap();
    let again = crate::stream_groups::failed("again", 0);
    group.settle(&[(taken[0].ticket, again.clone()), (taken[2].ticket, again)]).await.unwrap();
    let back = group.take(&up_to(10)).await.unwrap();
    assert_eq!((names(&back.deliveries), back.died), (vec!["3".to_owned()], 1));
    // Whoever has it still can be done with it.
    group.ack(&taken[1].ticket).await.unwrap();
    let dead = group.dead(EntryId::ZERO, 10).await.unwrap();
    assert_eq!(
        dead.iter().map(|one| (one.origin, one.reason, one.failures)).collect::<Vec<_>>(),
        [(ids[0], Reason::Gone, 1)]
    );
    assert_eq!(group.status().await.unwrap().pending, 1);
    // There is nothing to publish again.
    assert_eq!(group.redrive(redpoll_services::streams::Letters::All).await, Ok(0));
    let pending = site.native("XPENDING", &[], &["g"]).await.unwrap();
    assert_eq!(pending.as_array().unwrap()[0].as_i64(), Some(1));
}

pub(crate) async fn strangers_groups_hold_too(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    stream.configure(&Limits { group_idle: Some(Duration::from_millis(1500)), ..at_most(1) }).await.unwrap();
    publish(stream, &["1", "2"]).await;
    site.native("XGROUP", &["CREATE"], &["theirs", "0"]).await.unwrap();
    assert_eq!(stream.trim().await, Ok(0));
    publish(stream, &["3"]).await;
    assert_eq!(stream.info().await.unwrap().length, 3);
    eventually("nobody has used it for too long", || async {
        stream.trim().await.unwrap();
        stream.info().await.unwrap().length == 1
    })
    .await;
}

pub(crate) async fn what_has_ended_holds_nothing_back(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    publish(stream, &["1", "2", "3"]).await;
    let replay = stream.group("replay").unwrap();
    let options = GroupOptions { start: Start::Beginning, ..GroupOptions::default() };
    replay.replay(&options).await.unwrap();
    stream.configure(&at_most(1)).await.unwrap();
    publish(stream, &["4", "5"]).await;
    assert_eq!(stream.trim().await, Ok(0), "it has not read them");
    let taken = take(&replay, 10).await;
    assert_eq!(names(&taken), ["1", "2", "3"]);
    assert_eq!(stream.trim().await, Ok(0), "they are pending");
    for delivery in &taken[..2] {
        replay.ack(&delivery.ticket).await.unwrap();
    }
    assert_eq!(stream.trim().await, Ok(2));
    assert_eq!(replay.renew(&[taken[2].ticket], None).await, Ok(vec![true]));
    assert!(take(&replay, 10).await.is_empty());
    assert_eq!(stream.trim().await, Ok(0));
    replay.ack(&taken[2].ticket).await.unwrap();
    assert!(replay.status().await.unwrap().is_complete);
    // What came after its end it never needs.
    assert_eq!(stream.trim().await, Ok(2));
}

pub(crate) async fn a_stream_grows_up_to_its_cap(place: Place) {
    let small = StreamSettings { length_max: 2, length_cap: 5, ..StreamSettings::default() };
    let site = site(&place, small).await;
    let stream = &site.stream;
    let group = group(stream, "g").await;
    publish(stream, &["1", "2", "3", "4", "5"]).await;
    assert!(matches!(stream.publish(&event("6")).await, Err(Error::Conflict(_))));
    for delivery in take(&group, 4).await {
        group.ack(&delivery.ticket).await.unwrap();
    }
    publish(stream, &["6"]).await;
    assert_eq!(stream.info().await.unwrap().length, 2);
    assert_eq!(names(&take(&group, 9).await), ["5", "6"]);
}

pub(crate) async fn a_hundred_at_a_time(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let many: Vec<Event> = (0..1000).map(|number| event(&number.to_string())).collect();
    stream.publish_many(&many).await.unwrap();
    stream.configure(&at_most(10)).await.unwrap();
    // A publisher does its share, and no more.
    publish(stream, &["x"]).await;
    assert_eq!(stream.info().await.unwrap().length, 900);
    assert_eq!(stream.trim().await, Ok(890));
    assert_eq!(stream.info().await.unwrap().first.map(|id| id > EntryId::ZERO), Some(true));
}
