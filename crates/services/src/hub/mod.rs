//! A hub: one listening connection to the store for all in this process who listen to channels and patterns.
//!
//! ```text
//! PUBLISH ─► store ─► one listening connection ─► board ─┬─► who listens to the channel
//!                                                        └─► who listens to a pattern that it matches
//! ```
//!
//! A [`Backend`](crate::Backend) has two, made for the first who listens: one for [`signals`](crate::signal), one for
//! [pub/sub](crate::pubsub), so that messages, however many, hold up no hint. Embedded each is a subscription of the store; on a Cluster a connection to any
//! node, as PUBLISH reaches all. One that is lost is made again with all its subscriptions.
//!
//! A name is subscribed to while somebody listens to it, up to [`MAX_NAMES`] at once. Who listens is told when a subscription stands, when nothing is
//! heard any more, and when it stands again; what is published while one stands comes once, in the order of its publisher.
//!
//! Not here: buffers. Whoever listens takes a message at once and never waits.

mod board;
mod listener;

use std::fmt::Debug;
use std::sync::Arc;

use board::Board;
pub(crate) use listener::{Losses, Servers, Source};

/// Most names that are subscribed to at once.
pub(crate) const MAX_NAMES: usize = 65_536;

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// One channel.
    Channel(Arc<str>),
    /// All channels that match.
    Pattern(Arc<str>),
}

/// What was published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// To which channel.
    pub(crate) channel: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// Somebody who listens. Called by the listening connection, in the middle of its work: it must not wait, and must not use the hub.
pub(crate) trait Hears: Debug + Send + Sync {
    /// Takes a message that came for a name.
    fn message(&self, name: &Name, message: &Arc<Message>);

    /// Hears, as it joins, that the subscription stands already.
    fn stood(&self, name: &Name);

    /// Hears that a subscription stands, for the first time or again.
    fn stands(&self, name: &Name);

    /// Hears that the connection was lost: no name stands any more.
    fn lost(&self);

    /// Hears that the store refuses a subscription, and why; it is not asked again while somebody listens.
    fn refused(&self, name: &Name, reason: &str);
}

/// A place at the board.
#[derive(Debug)]
pub(crate) struct Hub {
    board: Arc<Board>,
    source: Source,
}

impl Hub {
    pub(crate) fn new(source: Source) -> Self {
        Self { board: Arc::default(), source }
    }

    /// Has somebody listen to a name, until the seat is dropped; none if there are too many names.
    ///
    /// Must be called within a tokio runtime; elsewhere nothing is heard.
    pub(crate) fn join(&self, name: Name, ear: Arc<dyn Hears>) -> Option<Seat> {
        let place = self.board.join(&name, ear)?;
        self.attend();
        Some(Seat { board: Arc::clone(&self.board), name, place })
    }

    /// Makes sure that somebody brings messages, as the runtime may be gone of whoever did.
    pub(crate) fn attend(&self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.board.employ(|shift| self.source.start(shift, &runtime));
        }
    }

    /// Returns how many names are listened to.
    pub(crate) fn names(&self) -> usize {
        self.board.names()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.board.dismiss();
    }
}

/// Listening to a name. Dropping it ends the subscription, if it was the last.
#[derive(Debug)]
pub(crate) struct Seat {
    board: Arc<Board>,
    name: Name,
    place: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.leave(&self.name, self.place);
    }
}
