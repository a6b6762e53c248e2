//! What a subscription has heard and not yet given: a queue with a bound.
//!
//! The listening connection puts messages in and never waits; who follows a topic waits for room, as a topic can be read later. So both have room of their own.
//! What was missed stands before the item that came next, however often something was, so it takes no room.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use super::buffer::{Buffer, Next, What};
use super::heard::{Body, Gap, Heard, Message, Overflow};
use super::{SubscriptionOptions, envelope};
use crate::error::{Error, Result};
use crate::hub::{self, Hears, Name};
use crate::metrics::{Counter, Metrics};

/// How far a name's subscription is.
#[derive(Debug, Default)]
struct Standing {
    /// It has stood once.
    is_confirmed: bool,
    /// It does not stand any more.
    is_interrupted: bool,
    refusal: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    buffer: Buffer,
    standing: HashMap<Name, Standing>,
    topics: HashMap<String, Topic>,
    next_place: u64,
    is_closed: bool,
}

impl State {
    fn check_open(&self) -> Result<()> {
        match self.is_closed {
            true => Err(Error::Conflict("the subscription has ended".to_owned())),
            false => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Topic {
    place: Place,
    is_failing: bool,
}

/// Who follows a topic; whoever followed it before has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

/// How a name's subscription stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing is known yet.
    Pending,
    Confirmed,
    Refused(String),
    /// Nobody wants it any more.
    Gone,
}

/// Length of what stands before names, in the store.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Heads {
    pub(super) channel: usize,
    pub(super) pattern: usize,
}

#[derive(Debug)]
pub(super) struct Inbox {
    options: SubscriptionOptions,
    heads: Heads,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    arrivals: Notify,
    room: Notify,
    changes: watch::Sender<()>,
}

impl Inbox {
    pub(super) fn new(options: &SubscriptionOptions, heads: Heads, metrics: Arc<Metrics>) -> Self {
        Self {
            options: options.clone(),
            heads,
            metrics,
            state: Mutex::default(),
            arrivals: Notify::new(),
            room: Notify::new(),
            changes: watch::Sender::new(()),
        }
    }

    // ---- Names ----

    /// Begins to take messages of a name; tells whether that is new.
    pub(super) fn add(&self, name: &Name) -> Result<bool> {
        let mut state = self.lock();
        state.check_open()?;
        let is_new = !state.standing.contains_key(name);
        if is_new {
            state.standing.insert(name.clone(), Standing::default());
        }
        Ok(is_new)
    }

    /// Begins to take entries of a topic, from whoever has this place.
    pub(super) fn add_topic(&self, topic: &str, most: usize) -> Result<Place> {
        let mut state = self.lock();
        state.check_open()?;
        if state.topics.contains_key(topic) {
            return Err(Error::Conflict(format!("topic {topic:?} is followed already")));
        }
        if state.topics.len() >= most {
            return Err(Error::Conflict(format!("more than {most} topics are followed")));
        }
        state.next_place += 1;
        let place = Place(state.next_place);
        state.topics.insert(topic.to_owned(), Topic { place, is_failing: false });
        Ok(place)
    }

    /// Takes no more messages of a name, and forgets those that wait.
    pub(super) fn remove(&self, name: &Name) {
        let mut state = self.lock();
        if state.standing.remove(name).is_none() {
            return;
        }
        state.buffer.forget(|what| matches!(what, What::Message(of, _) if of == name));
        drop(state);
        self.changes.send_replace(());
    }

    /// Takes no more entries of a topic from who has this place, and forgets those that wait.
    pub(super) fn remove_topic(&self, topic: &str, place: Place) {
        let mut state = self.lock();
        if state.topics.get(topic).is_none_or(|one| one.place != place) {
            return;
        }
        state.topics.remove(topic);
        state.buffer.forget(|what| match what {
            What::Entry(message, _) => message.channel == topic,
            What::Trimmed(of, _) => of == topic,
            What::Message(..) => false,
        });
        drop(state);
        self.room.notify_waiters();
    }

    /// Takes note whether a topic can be read.
    pub(super) fn topic_fails(&self, place: Place, is_failing: bool) {
        if let Some(topic) = self.lock().topics.values_mut().find(|topic| topic.place == place) {
            topic.is_failing = is_failing;
        }
    }

    pub(super) fn asked(&self, name: &Name) -> Asked {
        match self.lock().standing.get(name) {
            None => Asked::Gone,
            Some(Standing { refusal: Some(refusal), .. }) => Asked::Refused(refusal.clone()),
            Some(Standing { is_confirmed: true, .. }) => Asked::Confirmed,
            Some(_) => Asked::Pending,
        }
    }

    /// Tells of changes of names.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Tells whether everything that is subscribed to stands, and what is followed can be read.
    pub(super) fn is_live(&self) -> bool {
        let state = self.lock();
        state.standing.values().all(|standing| standing.is_confirmed && !standing.is_interrupted)
            && state.topics.values().all(|topic| !topic.is_failing)
    }

    // ---- Messages ----

    /// Waits for what is next; nothing if the subscription has ended. Calls `on_wait` before it waits.
    pub(super) async fn next(&self, on_wait: impl Fn()) -> Option<Heard> {
        let mut has_waited = false;
        loop {
            {
                let mut state = self.lock();
                let next = state.buffer.next();
                if state.is_closed || !state.buffer.is_empty() {
                    // Another may be waiting for it.
                    self.arrivals.notify_one();
                }
                match next {
                    Some(Next::Gap(gap)) => return Some(Heard::Gap(gap)),
                    Some(Next::Item(what)) => {
                        drop(state);
                        self.room.notify_waiters();
                        return Some(self.heard(what));
                    }
                    None if state.is_closed => return None,
                    None => {}
                }
            }
            if has_waited {
                // For nothing. On a runtime that is ending whoever is to listen is gone at once, and tells so: others, and the end, must have their turn.
                tokio::task::yield_now().await;
            }
            on_wait();
            self.arrivals.notified().await;
            has_waited = true;
        }
    }

    /// Puts an entry of a topic in, as soon as there is room.
    pub(super) async fn put(&self, place: Place, entry: Message, size: usize) {
        let size = size.min(self.options.buffer_bytes);
        self.put_in(place, What::Entry(Box::new(entry), size)).await;
    }

    /// Tells of entries of a topic that are gone, as soon as there is room.
    pub(super) async fn put_trimmed(&self, place: Place, topic: &str, count: Option<u64>) {
        self.put_in(place, What::Trimmed(topic.to_owned(), count)).await;
    }

    async fn put_in(&self, place: Place, what: What) {
        let mut what = Some(what);
        loop {
            let mut room = pin!(self.room.notified());
            // From here on no room that is made is missed.
            room.as_mut().enable();
            {
                let mut state = self.lock();
                if state.is_closed || !state.topics.values().any(|topic| topic.place == place) {
                    return;
                }
                if what.as_ref().is_some_and(|what| state.buffer.has_room_for(what, &self.options)) {
                    state.buffer.push(what.take().expect("it is put once"));
                    self.arrivals.notify_one();
                    return;
                }
            }
            room.await;
        }
    }

    /// Returns how many messages found the buffer full.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().buffer.dropped()
    }

    /// Ends the subscription behind what waits.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrivals.notify_one();
        self.room.notify_waiters();
    }

    fn heard(&self, what: What) -> Heard {
        let (name, raw) = match what {
            What::Trimmed(topic, count) => return Heard::Gap(Gap::Trimmed { topic, count }),
            What::Entry(entry, _) => return Heard::Message(*entry),
            What::Message(name, raw) => (name, raw),
        };
        let channel = String::from_utf8_lossy(raw.channel.get(self.heads.channel..).unwrap_or_default()).into_owned();
        let pattern = match name {
            Name::Channel(_) => None,
            Name::Pattern(pattern) => Some(pattern[self.heads.pattern..].to_owned()),
        };
        let body = match envelope::read(&raw.payload) {
            Some(event) => Body::Event(Box::new(event)),
            None => Body::Raw(raw.payload.clone()),
        };
        Heard::Message(Message { channel, pattern, token: None, body })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding the lock")
    }
}

impl Hears for Inbox {
    fn message(&self, name: &Name, message: &Arc<hub::Message>) {
        let mut state = self.lock();
        if state.is_closed || !state.standing.contains_key(name) {
            return;
        }
        let what = What::Message(name.clone(), Arc::clone(message));
        let dropped = state.buffer.take(what, &self.options);
        let is_over = dropped > 0 && self.options.overflow == Overflow::Close;
        drop(state);
        self.metrics.add(Counter::PubsubReceived, 1);
        self.metrics.add(Counter::PubsubDropped, dropped);
        match is_over {
            true => self.close(),
            false => self.arrivals.notify_one(),
        }
    }

    fn stood(&self, name: &Name) {
        self.stands(name);
    }

    fn stands(&self, name: &Name) {
        let mut state = self.lock();
        let Some(standing) = state.standing.get_mut(name) else { return };
        standing.is_confirmed = true;
        if std::mem::take(&mut standing.is_interrupted) {
            state.buffer.interrupted();
            self.arrivals.notify_one();
        }
        drop(state);
        self.changes.send_replace(());
    }

    fn lost(&self) {
        for standing in self.lock().standing.values_mut() {
            standing.is_interrupted |= standing.is_confirmed;
        }
        self.changes.send_replace(());
        // Who waits sees to it that somebody listens.
        self.arrivals.notify_one();
    }

    fn refused(&self, name: &Name, reason: &str) {
        let mut state = self.lock();
        let Some(standing) = state.standing.get_mut(name) else { return };
        standing.refusal = Some(reason.to_owned());
        if standing.is_interrupted {
            // It was heard once, and will not be again.
            state.buffer.interrupted();
            self.arrivals.notify_one();
        }
        drop(state);
        self.changes.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(overflow: Overflow) -> SubscriptionOptions {
        SubscriptionOptions { buffer: 3, buffer_bytes: 100, overflow }
    }

    fn channel() -> Name {
        Name::Channel("c".into())
    }

    fn inbox(overflow: Overflow) -> Inbox {
        let inbox = Inbox::new(&options(overflow), Heads::default(), Arc::new(Metrics::new()));
        assert!(inbox.add(&channel()).unwrap());
        inbox.stands(&channel());
        inbox
    }

    fn hear(inbox: &Inbox, payloads: impl IntoIterator<Item = impl ToString>) {
        for payload in payloads {
            let message = hub::Message { channel: b"c".to_vec(), payload: payload.to_string().into_bytes() };
            inbox.message(&channel(), &Arc::new(message));
        }
    }

    fn interrupt(inbox: &Inbox) {
        inbox.lost();
        inbox.stands(&channel());
    }

    /// Returns what is there, written shortly.
    fn told(inbox: &Inbox) -> Vec<String> {
        let mut told = Vec::new();
        while !inbox.lock().buffer.is_empty() {
            let heard = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(inbox.next(|| ()));
            told.push(match heard.unwrap() {
                Heard::Message(Message { body: Body::Raw(raw), .. }) => String::from_utf8(raw).unwrap(),
                Heard::Message(message) => format!("{message:?}"),
                Heard::Gap(Gap::Dropped { count }) => format!("-{count}"),
                Heard::Gap(Gap::Interrupted) => "~".to_owned(),
                Heard::Gap(Gap::Trimmed { .. }) => "trimmed".to_owned(),
            });
        }
        told
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_at_once_does_not_keep_the_task() {
        let inbox = inbox(Overflow::Close);
        let mut turns = 0;
        let waiting = inbox.next(|| inbox.lost());
        let others = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
                turns += 1;
            }
        };
        tokio::select! {
            biased;
            heard = waiting => panic!("{heard:?}"),
            () = others => {}
        }
        assert_eq!(turns, 10);
    }

    #[test]
    fn the_oldest_go() {
        let inbox = inbox(Overflow::DropOldest);
        hear(&inbox, 1..=3);
        assert_eq!(told(&inbox), ["1", "2", "3"]);
        hear(&inbox, 1..=10);
        assert_eq!(inbox.dropped(), 7);
        assert_eq!(told(&inbox), ["-7", "8", "9", "10"]);
        // One message of many bytes takes the place of several.
        hear(&inbox, 1..=3);
        hear(&inbox, ["x".repeat(97)]);
        hear(&inbox, ["y".repeat(101)]);
        assert_eq!(told(&inbox), ["-2".to_owned(), "3".to_owned(), "x".repeat(97), "-1".to_owned()]);
        assert_eq!(inbox.dropped(), 10);
    }

    #[test]
    fn the_newest_go() {
        let inbox = inbox(Overflow::DropNewest);
        hear(&inbox, 1..=10);
        interrupt(&inbox);
        hear(&inbox, 11..=12);
        assert_eq!(told(&inbox), ["1", "2", "3", "-9", "~"]);
        hear(&inbox, 13..=14);
        assert_eq!(told(&inbox), ["13", "14"]);
    }

    #[test]
    fn it_ends_behind_what_waits() {
        let inbox = inbox(Overflow::Close);
        hear(&inbox, 1..=5);
        assert_eq!(told(&inbox), ["1", "2", "3", "-1"]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(inbox.next(|| ())), None);
        assert_eq!(runtime.block_on(inbox.next(|| ())), None);
    }

    #[test]
    fn gaps_stand_where_they_happened() {
        let inbox = inbox(Overflow::DropOldest);
        hear(&inbox, 1..=2);
        interrupt(&inbox);
        interrupt(&inbox);
        hear(&inbox, [3]);
        assert_eq!(told(&inbox), ["1", "2", "~", "3"]);
        hear(&inbox, 1..=2);
        interrupt(&inbox);
        hear(&inbox, 3..=6);
        assert_eq!(told(&inbox), ["-3", "~", "4", "5", "6"]);
    }

    #[test]
    fn what_was_missed_takes_no_room() {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let inbox = inbox(overflow);
            for round in 0..1000 {
                hear(&inbox, [round]);
                interrupt(&inbox);
            }
            assert_eq!(inbox.lock().buffer.messages().0, 3);
            assert_eq!(inbox.dropped(), 997);
        }
    }

    #[test]
    fn what_is_not_listened_to_any_more_is_forgotten() {
        let inbox = inbox(Overflow::DropOldest);
        let other = Name::Pattern("*".into());
        inbox.add(&other).unwrap();
        hear(&inbox, 1..=2);
        let message = hub::Message { channel: b"d".to_vec(), payload: b"other".to_vec() };
        inbox.message(&other, &Arc::new(message));
        interrupt(&inbox);
        inbox.remove(&channel());
        hear(&inbox, 3..=9);
        assert_eq!(told(&inbox), ["other", "~"]);
        assert_eq!(inbox.lock().buffer.messages(), (0, 0));
    }
}
