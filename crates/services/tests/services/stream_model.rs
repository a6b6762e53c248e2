//! A random walk over a stream and its groups beside a model that does the same: every entry that is handed out, parked, passed over, dead or trimmed is the
//! model's.
//!
//! Time plays no part: leases do not end, and pauses are none or for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use redpoll_services::streams::{
    EntryId, Event, Force, Group, GroupOptions, Letters, Limits, Outcome, Settled, Start, Stream, StreamSettings,
    TakeOptions, Ticket,
};
use redpoll_testkit::Random;

use crate::streams::{Site, event, site};
use crate::support::Place;

const STEPS: u64 = 500;
const KEYS: u64 = 4;
const ATTEMPTS_MAX: u32 = 3;
const PENDING_MAX: usize = 9;
const LENGTH_MAX: usize = 15;
const NAMES: [&str; 3] = ["all", "paid", "late"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Leased,
    Parked,
    Due,
    Paused,
}

#[derive(Debug, Clone)]
struct Pending {
    state: State,
    failures: u32,
    ticket: Option<Ticket>,
}

#[derive(Debug, Clone)]
struct Stored {
    key: Option<String>,
    kind: String,
    redriven_to: Option<&'static str>,
}

#[derive(Debug, Default, Clone)]
struct Side {
    last: EntryId0,
    pending: BTreeMap<EntryId, Pending>,
    dead: Vec<EntryId>,
    stale: Vec<Ticket>,
    acknowledged: u64,
}

/// An id that begins with zero.
#[derive(Debug, Clone, Copy)]
struct EntryId0(EntryId);

impl Default for EntryId0 {
    fn default() -> Self {
        Self(EntryId::ZERO)
    }
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<EntryId, Stored>,
    published: u64,
    sides: BTreeMap<&'static str, Side>,
    /// Groups that somebody has destroyed; whoever takes next restores them, and until then nothing is trimmed.
    destroyed: BTreeSet<&'static str>,
}

impl Model {
    /// Drops what nobody needs, as publishing so many would.
    fn trim(&mut self, adding: usize) {
        while self.entries.len() + adding > LENGTH_MAX {
            let Some(oldest) = self.entries.keys().next().copied() else { return };
            let is_needed =
                |side: &Side| oldest > side.last.0 || side.pending.keys().next().is_some_and(|first| *first <= oldest);
            if !self.destroyed.is_empty() || self.sides.values().any(is_needed) {
                return;
            }
            self.entries.remove(&oldest);
        }
    }

    /// Frees the next of a key, when an entry has left the group.
    fn leave(&mut self, name: &'static str, id: EntryId) {
        let key = self.entries[&id].key.clone();
        let side = self.sides.get_mut(name).unwrap();
        side.pending.remove(&id);
        let Some(key) = key else { return };
        let next = side.pending.keys().copied().find(|id| self.entries[id].key.as_ref() == Some(&key));
        if let Some(next) = next.and_then(|next| side.pending.get_mut(&next))
            && next.state == State::Parked
        {
            next.state = State::Due;
        }
    }

    fn is_for(name: &str, stored: &Stored) -> bool {
        stored.redriven_to.is_none_or(|to| to == name) && (name != "paid" || stored.kind == "paid")
    }

    /// One look of a consumer; `given` is what the group gave. Returns what it should have given of new entries, and whether it should look again.
    fn look(&mut self, name: &'static str, count: usize, given: &BTreeSet<EntryId>) -> (BTreeSet<EntryId>, bool) {
        let side = self.sides.get_mut(name).unwrap();
        let due: BTreeSet<EntryId> =
            side.pending.iter().filter(|(_, one)| one.state == State::Due).map(|(id, _)| *id).collect();
        // Which of those whose time has come is the group's choice, how many is not.
        let mut gives: BTreeSet<EntryId> = due.intersection(given).copied().collect();
        assert_eq!(gives.len(), due.len().min(count), "{due:?} are due");
        let room = (count - gives.len()).min(PENDING_MAX.saturating_sub(side.pending.len()));
        let new: Vec<EntryId> = self.entries.range(side.last.0.after()..).map(|(id, _)| *id).take(room).collect();
        for id in &new {
            side.last = EntryId0(*id);
            let stored = &self.entries[id];
            if !Self::is_for(name, stored) {
                continue;
            }
            let is_taken =
                stored.key.is_some() && side.pending.keys().any(|other| self.entries[other].key == stored.key);
            let state = if is_taken { State::Parked } else { State::Leased };
            side.pending.insert(*id, Pending { state, failures: 0, ticket: None });
            if !is_taken {
                gives.insert(*id);
            }
        }
        let is_more = due.len().min(count) == count || (room > 0 && new.len() == room);
        (gives, is_more)
    }
}

async fn publish(stream: &Stream, model: &mut Model, random: &mut Random) {
    let events: Vec<Event> = (0..1 + random.below(4))
        .map(|_| {
            let key = (random.below(3) > 0).then(|| format!("k{}", random.below(KEYS)));
            let kind = if random.below(2) == 0 { "paid" } else { "sent" };
            Event { key, kind: kind.to_owned(), ..event("x") }
        })
        .collect();
    let published = stream.publish_many(&events).await.unwrap();
    model.trim(events.len());
    for (event, published) in events.into_iter().zip(published) {
        model.published += 1;
        model.entries.insert(published.entry, Stored { key: event.key, kind: event.kind, redriven_to: None });
    }
}

async fn take(group: &Group, name: &'static str, model: &mut Model, random: &mut Random) {
    let count = 1 + random.below(6) as usize;
    let taken = group.take(&TakeOptions { count, ..TakeOptions::new("c") }).await.unwrap();
    let given: BTreeSet<EntryId> = taken.deliveries.iter().map(|one| one.ticket.entry).collect();
    assert_eq!((given.len(), taken.died, taken.missed), (taken.deliveries.len(), 0, 0));
    assert_eq!(taken.restored, model.destroyed.remove(name));
    let mut expected = BTreeSet::new();
    loop {
        let (gives, is_more) = model.look(name, count, &given);
        expected.extend(gives);
        if !expected.is_empty() || !is_more {
            break;
        }
    }
    assert_eq!(given, expected, "{name}");
    let side = model.sides.get_mut(name).unwrap();
    for delivery in taken.deliveries {
        let pending = side.pending.get_mut(&delivery.ticket.entry).unwrap();
        assert_eq!((delivery.failures, delivery.lost), (pending.failures, 0));
        side.stale.extend(pending.ticket.replace(delivery.ticket));
        pending.state = State::Leased;
    }
}

async fn settle(group: &Group, name: &'static str, model: &mut Model, random: &mut Random) {
    let side = model.sides.get_mut(name).unwrap();
    if let Some(stale) = side.stale.last()
        && random.below(4) == 0
    {
        assert_eq!(group.settle(&[(*stale, Outcome::Done)]).await.unwrap(), [Settled::Lost]);
        return;
    }
    let held: Vec<(EntryId, Ticket)> = side
        .pending
        .iter()
        .filter(|(_, one)| one.state == State::Leased)
        .map(|(id, one)| (*id, one.ticket.unwrap()))
        .collect();
    if held.is_empty() {
        return;
    }
    let (id, ticket) = held[random.below(held.len() as u64) as usize];
    let pending = side.pending.get_mut(&id).unwrap();
    let pause = |pause| Outcome::Failed { cause: "no".to_owned(), pause: Some(pause) };
    let (outcome, settled) = match random.below(8) {
        0 => (Outcome::Released { delay: Duration::ZERO }, Settled::Again),
        1 => (Outcome::GivenUp { cause: "no".to_owned() }, Settled::Dead),
        which @ (2 | 3) => {
            pending.failures += 1;
            let is_last = pending.failures == ATTEMPTS_MAX;
            pending.state = if which == 2 { State::Due } else { State::Paused };
            let pause = pause(if which == 2 { Duration::ZERO } else { Duration::from_secs(86_400) });
            (pause, if is_last { Settled::Dead } else { Settled::Again })
        }
        _ => (Outcome::Done, Settled::Done),
    };
    if matches!(outcome, Outcome::Released { .. }) {
        pending.state = State::Due;
    }
    side.stale.push(ticket);
    if settled == Settled::Dead {
        side.dead.push(id);
    }
    side.acknowledged += u64::from(settled == Settled::Done);
    assert_eq!(group.settle(&[(ticket, outcome)]).await.unwrap(), [settled]);
    if settled != Settled::Again {
        model.leave(name, id);
    }
}

async fn redrive(stream: &Stream, group: &Group, name: &'static str, model: &mut Model) {
    let dead = std::mem::take(&mut model.sides.get_mut(name).unwrap().dead);
    let letters = group.dead(EntryId::ZERO, 1000).await.unwrap();
    assert_eq!(letters.iter().map(|one| one.origin).collect::<Vec<_>>(), dead);
    let events: Vec<Event> = letters.into_iter().map(|one| one.entry.event.unwrap()).collect();
    let before = stream.info().await.unwrap().last;
    assert_eq!(group.redrive(Letters::All).await.unwrap(), dead.len() as u64);
    if dead.is_empty() {
        return;
    }
    model.trim(dead.len());
    let range = redpoll_services::streams::Range { from: before.map(EntryId::after), ..Default::default() };
    let page = stream.read(&range, 1000).await.unwrap();
    assert_eq!(page.entries.len(), events.len());
    for (entry, event) in page.entries.into_iter().zip(events) {
        assert_eq!((entry.redriven_to.as_deref(), entry.event.as_ref()), (Some(name), Ok(&event)));
        model.published += 1;
        model.entries.insert(entry.id, Stored { key: event.key, kind: event.kind, redriven_to: Some(name) });
    }
}

async fn check(site: &Site, model: &Model) {
    let info = site.stream.info().await.unwrap();
    assert_eq!((info.length, info.published_total), (model.entries.len() as u64, model.published));
    assert_eq!(info.first, model.entries.keys().next().copied());
    for (name, side) in &model.sides {
        let status = site.stream.group(name).unwrap().status().await.unwrap();
        let count = |state: State| side.pending.values().filter(|one| one.state == state).count() as u64;
        assert_eq!((status.pending, status.parked), (side.pending.len() as u64, count(State::Parked)), "{name}");
        assert_eq!((status.dead, status.acknowledged_total), (side.dead.len() as u64, side.acknowledged), "{name}");
        assert_eq!(status.lag, Some(model.entries.range(side.last.0.after()..).count() as u64), "{name}");
        assert_eq!((status.lost_total, status.missed_total), (0, 0));
        // The native list of pending entries says the same.
        if !model.destroyed.contains(name) {
            let native = site.native("XPENDING", &[], &[name, "-", "+", "1000"]).await.unwrap();
            let ids = native
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one.as_array().unwrap()[0].as_str().unwrap().parse().unwrap());
            assert_eq!(ids.collect::<Vec<EntryId>>(), side.pending.keys().copied().collect::<Vec<_>>(), "{name}");
        }
    }
}

/// Makes a group that is not there, or deletes one with all it has.
async fn turn(stream: &Stream, name: &'static str, model: &mut Model) {
    let group = stream.group(name).unwrap();
    if let Some(side) = model.sides.remove(name) {
        model.destroyed.remove(name);
        let deleted = group.delete(Force::Yes).await.unwrap();
        assert_eq!((deleted.pending, deleted.dead), (side.pending.len() as u64, side.dead.len() as u64));
        return;
    }
    let options = GroupOptions {
        start: Start::Beginning,
        types: if name == "paid" { vec!["paid".to_owned()] } else { Vec::new() },
        attempts_max: Some(ATTEMPTS_MAX),
        pending_max: Some(PENDING_MAX as u64),
        ..GroupOptions::default()
    };
    group.create(&options).await.unwrap();
    model.sides.insert(name, Side::default());
}

pub(crate) async fn streams_match_the_model(place: Place) {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let site = site(&place, StreamSettings::default()).await;
    site.stream.configure(&Limits { length_max: Some(LENGTH_MAX as u64), ..Limits::default() }).await.unwrap();
    let mut model = Model::default();
    for name in &NAMES[..2] {
        turn(&site.stream, name, &mut model).await;
    }
    for step in 0..STEPS {
        let name = NAMES[random.below(3) as usize];
        let group = site.stream.group(name).unwrap();
        let what = random.below(40);
        if what < 9 {
            publish(&site.stream, &mut model, &mut random).await;
        } else if what == 9 && (name == "late" || !model.sides.contains_key(name)) {
            turn(&site.stream, name, &mut model).await;
        } else if model.sides.contains_key(name) {
            match what {
                10 => redrive(&site.stream, &group, name, &mut model).await,
                11 => {
                    site.native("XGROUP", &["DESTROY"], &[name]).await.unwrap();
                    model.destroyed.insert(name);
                }
                12..=25 => take(&group, name, &mut model, &mut random).await,
                _ => settle(&group, name, &mut model, &mut random).await,
            }
        }
        if step % 10 == 0 {
            check(&site, &model).await;
        }
    }
    check(&site, &model).await;
}
