//! Signals: a hint, from any process to those who wait in others, that something may have changed.
//!
//! ```text
//! a step ─ PUBLISH channel topic ─► store ─► one listening connection ─► board ─► who waits for the channel's topic
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
//! # The connection
//!
//! There is one for each [`Backend`](crate::Backend) that somebody has waited on: made for the first who waits, made again when it is lost, with all
//! its subscriptions. Embedded it is a subscription of the store; on a Cluster a connection to any node, as PUBLISH reaches all. A channel is subscribed to while somebody waits for it, up to [`MAX_CHANNELS`] at once: who comes then is not
//! refused, but has only the interval.
//!
//! Steps publish within their script, so that a change and its hint are one, by `redis.pcall`: a user who may not publish loses time and nothing
//! else. A channel's name is a [`Key`], so it belongs to one tenant; channels
//! know no databases, and a stranger's hint does no harm.
//!
//! Not here: payloads, queues, and delivery. What must arrive is kept in the store.

mod board;
mod listener;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::keys::Key;
use board::Board;
pub(crate) use listener::{Servers, Source};

/// Longest time between two looks of who waits.
pub const RECHECK_MAX: Duration = Duration::from_secs(2);

/// Most channels that are subscribed to at once.
pub const MAX_CHANNELS: usize = 16_384;

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
    board: Arc<Board>,
    source: Source,
}

impl Signals {
    pub(crate) fn new(source: Source) -> Self {
        Self { board: Arc::default(), source }
    }

    /// Begins to listen to a topic of a channel; from now on nothing is missed that a look into the store does not see.
    ///
    /// Must be called within a tokio runtime; elsewhere there is only the interval.
    pub fn listen(&self, channel: &Key, topic: &str) -> Waiter {
        let place = (channel.as_str().to_owned(), topic.to_owned());
        let news = self.board.join(&place.0, &place.1);
        if news.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.board.employ(|shift| self.source.start(shift, &runtime));
        }
        Waiter { board: Arc::clone(&self.board), news: news.map(|news| (place, news)) }
    }

    /// Returns how many channels are waited for.
    pub fn channels(&self) -> usize {
        self.board.channels()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.board.dismiss();
    }
}

/// Somebody who waits for a topic. Dropping it ends the subscription, if it was the last.
#[derive(Debug)]
pub struct Waiter {
    board: Arc<Board>,
    news: Option<((String, String), watch::Receiver<()>)>,
}

impl Waiter {
    /// Waits for a signal, for `limit` or [`RECHECK_MAX`] at most, whichever is shorter.
    pub async fn wait(&mut self, limit: Duration) -> Woken {
        let limit = limit.min(RECHECK_MAX);
        let Some((_, news)) = &mut self.news else {
            tokio::time::sleep(limit).await;
            return Woken::Time;
        };
        match tokio::time::timeout(limit, news.changed()).await {
            Ok(changed) => {
                changed.expect("a topic stays on the board while somebody waits for it");
                Woken::Signal
            }
            Err(_) => Woken::Time,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(((channel, topic), _)) = &self.news {
            self.board.leave(channel, topic);
        }
    }
}
