//! An oracle for many consumers at once: every published entry is handled by each group, in the order of its key, none is lost, and the dead letters are
//! exactly those that died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use redpoll_services::streams::{
    Delivery, EntryId, Event, Group, GroupOptions, Letters, Limits, Outcome, Settled, Start, Stream, StreamSettings,
    TakeOptions,
};
use redpoll_services::{Command, Settings};
use redpoll_testkit::Random;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::stream_groups::{failed, take};
use crate::streams::{BRIEF, briefly, event, group, name_of, patiently, publish, site, up_to};
use crate::support::{Place, eventually, tenant};

const EVENTS: usize = 400;
const KEYS: u64 = 12;
const CONSUMERS: u64 = 24;
const PROCESSES: usize = 3;
const GROUPS: [&str; 2] = ["billing", "search"];

/// What happened to an entry in a group, as its consumers saw it.
#[derive(Debug, Default, Clone)]
struct Seen {
    key: Option<String>,
    tokens: Vec<u64>,
    abandoned: u64,
    refused: u64,
    /// The lease that ended it, and how.
    ends: Vec<(u64, Settled)>,
}

type Diary = Arc<std::sync::Mutex<BTreeMap<EntryId, Seen>>>;

fn note(diary: &Diary, id: EntryId, write: impl FnOnce(&mut Seen)) {
    write(diary.lock().unwrap().entry(id).or_default());
}

/// Works until all entries have ended: handles, fails, gives up, hands back, or dies with an entry in its hands.
async fn work(group: Group, mut random: Random, diary: Diary, ended: Arc<AtomicU64>) {
    while ended.load(Ordering::Relaxed) < EVENTS as u64 {
        let options = TakeOptions {
            count: 1 + random.below(4) as usize,
            lease: Some(Duration::from_millis(40 + random.below(60))),
            wait: Duration::from_millis(20),
            ..TakeOptions::new(format!("c{}", random.below(8)))
        };
        for Delivery { ticket, event, .. } in group.take(&options).await.unwrap().deliveries {
            note(&diary, ticket.entry, |seen| {
                seen.tokens.push(ticket.token);
                seen.key = event.key.clone();
            });
            assert_eq!(name_of(&event), event.id.clone().unwrap(), "its own data");
            let outcome = match random.below(12) {
                0 => {
                    note(&diary, ticket.entry, |seen| seen.abandoned += 1);
                    continue;
                }
                1 | 2 => failed("by chance", random.below(4)),
                3 => Outcome::Released { delay: Duration::from_millis(random.below(4)) },
                4 if random.below(3) == 0 => Outcome::GivenUp { cause: "by chance".to_owned() },
                _ => Outcome::Done,
            };
            match group.settle(&[(ticket, outcome)]).await.unwrap()[0] {
                Settled::Lost => note(&diary, ticket.entry, |seen| seen.refused += 1),
                Settled::Again => {}
                end => {
                    note(&diary, ticket.entry, |seen| seen.ends.push((ticket.token, end)));
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Publishes its share of the events, some of them twice.
async fn produce(stream: Stream, mut random: Random, share: usize) {
    for page in 0..EVENTS / 20 {
        if page % PROCESSES != share {
            continue;
        }
        let events: Vec<Event> = (0..20)
            .map(|number| {
                let id = format!("{page}-{number}");
                let key = (random.below(4) > 0).then(|| format!("k{}", random.below(KEYS)));
                Event { id: Some(id.clone()), key, ..event(&id) }
            })
            .collect();
        let published = stream.publish_many(&events).await.unwrap();
        if random.below(3) == 0 {
            let again = stream.publish_many(&events).await.unwrap();
            assert!(again.iter().zip(&published).all(|(again, first)| again.duplicate && again.entry == first.entry));
        }
    }
}

/// Checks what consumers of a group saw against what the group says.
async fn check(group: &Group, diary: &BTreeMap<EntryId, Seen>) {
    assert_eq!(diary.len(), EVENTS, "every entry was handed out");
    for (id, seen) in diary {
        assert_eq!(seen.ends.len(), 1, "{id}: {seen:?}");
    }
    // The next of a key is leased after the one before it has ended, never before and never with it.
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for (id, seen) in diary {
        let Some(key) = seen.key.as_deref() else { continue };
        let first = *seen.tokens.iter().min().unwrap();
        let before = last.insert(key, seen.ends[0].0);
        assert!(
            before.is_none_or(|before| before < first),
            "{id} of {key} was leased before the one before it was done"
        );
    }
    let died: BTreeSet<EntryId> =
        diary.iter().filter(|(_, seen)| seen.ends[0].1 == Settled::Dead).map(|(id, _)| *id).collect();
    let dead: Vec<EntryId> = group.dead(EntryId::ZERO, 1000).await.unwrap().iter().map(|one| one.origin).collect();
    assert_eq!((dead.len(), dead.into_iter().collect::<BTreeSet<_>>()), (died.len(), died.clone()));
    let status = group.status().await.unwrap();
    assert_eq!((status.pending, status.parked, status.lag, status.missed_total), (0, 0, Some(0), 0));
    assert_eq!((status.acknowledged_total, status.dead_total), ((EVENTS - died.len()) as u64, died.len() as u64));
    let lost: u64 = diary.values().map(|seen| seen.abandoned + seen.refused).sum();
    assert_eq!(status.lost_total, lost, "a lease was lost for each that was abandoned or refused, and for no other");
    println!(
        "{}: {} leases, {lost} lost, {} dead",
        group.name(),
        diary.values().map(|seen| seen.tokens.len()).sum::<usize>(),
        died.len()
    );
}

pub(crate) async fn every_group_handles_every_entry_in_order(place: Place) {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let tenant = tenant();
    let mut streams = Vec::new();
    for _ in 0..PROCESSES {
        // The stream is trimmed all the while.
        let settings = StreamSettings { length_max: 30, ..StreamSettings::default() };
        let services = place.services_with(Settings { streams: settings, ..Settings::default() }).await;
        streams.push(services.streams(&tenant).stream("orders").unwrap());
    }
    let options = GroupOptions {
        start: Start::Beginning,
        attempts_max: Some(3),
        lost_max: Some(9_999),
        ..GroupOptions::default()
    };
    let mut tasks = JoinSet::new();
    let mut diaries = Vec::new();
    for (index, name) in GROUPS.into_iter().enumerate() {
        streams[0].group(name).unwrap().create(&options).await.unwrap();
        let (diary, ended) = (Diary::default(), Arc::new(AtomicU64::new(0)));
        for task in 0..CONSUMERS {
            let group = streams[task as usize % PROCESSES].group(name).unwrap();
            let random = Random::new(seed ^ (task + 100 * index as u64));
            tasks.spawn(work(group, random, Arc::clone(&diary), Arc::clone(&ended)));
        }
        diaries.push(diary);
    }
    for (share, stream) in streams.iter().enumerate() {
        tasks.spawn(produce(stream.clone(), Random::new(seed ^ (1000 + share as u64)), share));
    }
    let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("all entries end");
    for (name, diary) in GROUPS.into_iter().zip(diaries) {
        let diary = diary.lock().unwrap().clone();
        check(&streams[0].group(name).unwrap(), &diary).await;
    }
    streams[0].trim().await.unwrap();
    let info = streams[0].info().await.unwrap();
    assert_eq!((info.published_total, info.length, info.trimmed_total), (EVENTS as u64, 30, EVENTS as u64 - 30));
}

pub(crate) async fn of_two_claimers_one_wins(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    // The naive way: look who is idle, then claim; both claim it, and each believes it is theirs.
    let id = publish(&site.stream, &["naive"]).await[0].to_string();
    site.native("XGROUP", &["CREATE"], &["naive", "0"]).await.unwrap();
    let key = site.stream.key().as_str();
    let read = Command::new("XREADGROUP").arg("GROUP").arg("naive").arg("dead").arg("STREAMS").key(key).arg(">");
    site.services.backend().call(read).await.unwrap();
    let mut won = 0;
    for claimer in ["a", "b"] {
        let claimed = site.native("XCLAIM", &[], &["naive", claimer, "0", &id]).await.unwrap();
        won += claimed.as_array().unwrap().len();
    }
    assert_eq!(won, 2, "the naive claimers both have it");
    let acked = site.native("XACK", &[], &["naive", &id]).await.unwrap();
    assert_eq!(acked.as_i64(), Some(1), "and whoever it is acknowledges it");
    // Here one of many gets it, each time its lease ends.
    let group = group(&site.stream, "g").await;
    let mut held = group.take(&briefly(1)).await.unwrap().deliveries.remove(0);
    for round in 0..10 {
        eventually("the lease ends", || async { group.status().await.unwrap().overdue == 1 }).await;
        let barrier = Arc::new(Barrier::new(16));
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let (group, barrier) = (group.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                let options = TakeOptions { lease: Some(BRIEF * 20), ..TakeOptions::new(format!("c{task}")) };
                group.take(&options).await.unwrap().deliveries
            });
        }
        let claimed: Vec<Delivery> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!((claimed.len(), claimed[0].lost), (1, 1), "round {round}");
        assert_eq!(group.settle(&[(held.ticket, Outcome::Done)]).await.unwrap(), [Settled::Lost]);
        group.ack(&claimed[0].ticket).await.unwrap();
        publish(&site.stream, &["next"]).await;
        held = group.take(&briefly(1)).await.unwrap().deliveries.remove(0);
    }
}

pub(crate) async fn acknowledging_races_claiming(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let group = group(&site.stream, "g").await;
    for round in 0..30 {
        publish(&site.stream, &["x"]).await;
        let brief = TakeOptions { lease: Some(Duration::from_millis(10)), ..up_to(1) };
        let held = group.take(&brief).await.unwrap().deliveries.remove(0);
        let barrier = Arc::new(Barrier::new(4));
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let (group, barrier) = (group.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                take(&group, 1).await
            });
        }
        eventually("the lease ends", || async { group.status().await.unwrap().overdue == 1 }).await;
        barrier.wait().await;
        let acked = group.ack(&held.ticket).await.is_ok();
        let claimed: Vec<Delivery> = tasks.join_all().await.into_iter().flatten().collect();
        // Acknowledged by the one, or with the other: never both, never neither.
        assert_eq!(claimed.len(), usize::from(!acked), "round {round}");
        for delivery in claimed {
            group.ack(&delivery.ticket).await.unwrap();
        }
        assert_eq!(group.status().await.unwrap().pending, 0, "round {round}");
    }
}

pub(crate) async fn a_step_does_its_share_of_very_many(place: Place) {
    let site = site(&place, StreamSettings::default()).await;
    let stream = &site.stream;
    let group = group(stream, "g").await;
    let limited = stream.group("limited").unwrap();
    let options = GroupOptions { start: Start::Beginning, pending_max: Some(50), ..GroupOptions::default() };
    limited.create(&options).await.unwrap();
    let hot: Vec<Event> =
        (0..1000).map(|number| Event { key: Some("hot".to_owned()), ..event(&number.to_string()) }).collect();
    for _ in 0..3 {
        stream.publish_many(&hot).await.unwrap();
    }
    // A single key: one is handed out, those behind it are parked up to the bound, the rest stays unread.
    assert_eq!(take(&limited, 1000).await.len(), 1);
    assert!(take(&limited, 1000).await.is_empty());
    let status = limited.status().await.unwrap();
    assert_eq!((status.pending, status.parked, status.lag), (50, 49, Some(2950)));
    assert_eq!(take(&group, 1000).await.len(), 1);
    assert!(take(&group, 1000).await.is_empty());
    assert_eq!(group.status().await.unwrap().parked, 2999);
    // All of them go to the dead and come back.
    let plain = stream.group("plain").unwrap();
    let options = GroupOptions {
        order: redpoll_services::streams::Order::None,
        start: Start::Beginning,
        ..GroupOptions::default()
    };
    plain.create(&options).await.unwrap();
    for _ in 0..3 {
        let taken = take(&plain, 1000).await;
        let outcomes: Vec<_> =
            taken.iter().map(|one| (one.ticket, Outcome::GivenUp { cause: String::new() })).collect();
        plain.settle(&outcomes).await.unwrap();
    }
    assert_eq!(plain.redrive(Letters::All).await, Ok(3000));
    let again = plain.take(&patiently(1000)).await.unwrap().deliveries;
    assert_eq!(again.len(), 1000);
    stream.configure(&Limits { length_max: Some(1), ..Limits::default() }).await.unwrap();
    assert_eq!(stream.trim().await, Ok(0), "they are needed");
}
