//! Signals: a hint, from any process to those who wait in others, that something may have changed.
//!
//! ```text
//! a step ─ PUBLISH channel topic ─► store ─► hub ─► who waits for the channel's topic
//! ```
//!
//! # Contract
//!
//! A signal is a hint and carries no news. Who waits looks into the store, waits here, and looks again:
//!
//! ```text
//! let mut waiter = signals.listen(&channel, topic);       before the first look, so that nothing falls between
//! while !done().await { waiter.wait(limit).await; }
//! ```
//!
//! * Every wait ends after [`RECHECK_MAX`] at the latest. A lost message costs that much time and never more: nothing may depend on a
//!   signal being heard.
//! * What cannot be ruled out to have been missed is signalled: all topics of a channel when its subscription has begun, every waiter when the
//!   listening connection was lost. So a signal may come for nothing.
//! * A signal that comes between the look and the wait is not lost. Several may count as one. Everyone who waits for a topic is woken by it: to wake
//!   one only, give each a topic of its own.
//! * A message with an empty topic is for all topics of its channel; who waits for the empty topic hears all messages of the channel.
//!
//! A channel is subscribed to while somebody waits for it, by the hub of signals, up to [`MAX_CHANNELS`] at once: who comes then is not
//! refused, but has only the interval.
//!
//! Steps publish within their script, so that a change and its hint are one, by `redis.pcall`: a user who may not publish loses time and nothing
//! else. A channel's name is a [`Key`], so it belongs to one tenant; channels
//! know no databases, and a stranger's hint does no harm.
//!
//! Not here: payloads, queues, and delivery. What must arrive is kept in the store; messages are the business of [`pubsub`](crate::pubsub).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::hub::{Hears, Hub, MAX_NAMES, Message, Name, Seat, Source};
use crate::keys::Key;

/// Longest time between two looks of who waits.
pub const RECHECK_MAX: Duration = Duration::from_secs(2);

/// Most channels that are subscribed to at once.
pub const MAX_CHANNELS: usize = MAX_NAMES;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something may have changed.
    Signal,
    /// The time was up.
    Time,
}

/// The signals of a backend.
#[derive(Debug)]
pub struct Signals {
    hub: Hub,
}

impl Signals {
    pub(crate) fn new(source: Source) -> Self {
        Self { hub: Hub::new(source) }
    }

    /// Begins to listen to a topic of a channel; from now on nothing is missed that a look into the store does not see.
    ///
    /// Must be called within a tokio runtime; elsewhere there is only the interval.
    pub fn listen(&self, channel: &Key, topic: &str) -> Waiter {
        let bell = Arc::new(Bell { topic: topic.as_bytes().to_vec(), news: Notify::new() });
        let seat = self.hub.join(Name::Channel(channel.as_str().into()), bell.clone());
        Waiter { seat, bell }
    }

    /// Returns how many channels are waited for.
    pub fn channels(&self) -> usize {
        self.hub.names()
    }
}

/// What rings for a waiter.
#[derive(Debug)]
struct Bell {
    topic: Vec<u8>,
    news: Notify,
}

impl Hears for Bell {
    fn message(&self, _: &Name, message: &Arc<Message>) {
        if message.payload.is_empty() || self.topic.is_empty() || message.payload == self.topic {
            self.news.notify_one();
        }
    }

    /// Nothing can have been missed.
    fn stood(&self, _: &Name) {}

    fn stands(&self, _: &Name) {
        self.news.notify_one();
    }

    fn lost(&self) {
        self.news.notify_one();
    }

    /// There is the interval.
    fn refused(&self, _: &Name, _: &str) {}
}

/// Somebody who waits for a topic. Dropping it ends the subscription, if it was the last.
#[derive(Debug)]
pub struct Waiter {
    /// None if there are too many channels.
    seat: Option<Seat>,
    bell: Arc<Bell>,
}

impl Waiter {
    /// Waits for a signal, for `limit` or [`RECHECK_MAX`] at most, whichever is shorter.
    pub async fn wait(&mut self, limit: Duration) -> Woken {
        let limit = limit.min(RECHECK_MAX);
        if self.seat.is_none() {
            tokio::time::sleep(limit).await;
            return Woken::Time;
        }
        match tokio::time::timeout(limit, self.bell.news.notified()).await {
            Ok(()) => Woken::Signal,
            Err(_) => Woken::Time,
        }
    }
}
