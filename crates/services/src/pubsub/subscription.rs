//! A subscription: what it listens to, and giving what it heard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::AbortHandle;

use super::PubSub;
use super::follow::{Follower, Since, Token};
use super::heard::{Heard, Overflow};
use super::inbox::{Asked, Inbox, Place};
use crate::error::{Error, Result};
use crate::hub::{Name, Seat};

/// Most topics that a subscription follows.
pub const MAX_TOPICS: usize = 256;

/// The buffer of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Most messages of channels and patterns that wait to be read; at least one. Default 1,024.
    pub buffer: usize,
    /// Most bytes of them. A larger message never comes, and is counted as dropped. Default 8 MiB.
    pub buffer_bytes: usize,
    /// What happens above that. Default [`Overflow::DropOldest`].
    pub overflow: Overflow,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self { buffer: 1_024, buffer_bytes: 8 << 20, overflow: Overflow::default() }
    }
}

/// Listens to channels, patterns and topics, which may come and go. Dropping it ends all of that.
///
/// All methods take `&self`: one task may wait for messages while another subscribes. Several may wait; each message goes to one.
#[derive(Debug)]
pub struct Subscription {
    pubsub: PubSub,
    inbox: Arc<Inbox>,
    seats: Mutex<HashMap<Name, Seat>>,
    topics: Mutex<HashMap<String, (Place, AbortHandle)>>,
}

impl Subscription {
    pub(super) fn new(pubsub: PubSub, options: &SubscriptionOptions) -> Self {
        let options = SubscriptionOptions { buffer: options.buffer.max(1), ..options.clone() };
        let metrics = Arc::clone(pubsub.services.backend().metrics());
        let inbox = Arc::new(Inbox::new(&options, pubsub.heads(), metrics));
        Self { pubsub, inbox, seats: Mutex::default(), topics: Mutex::default() }
    }

    /// Listens to a channel too. When this returns, every message that is published from now on comes.
    ///
    /// An error means that the channel is not listened to: the store did not confirm it in time, or refuses it, or there are too many.
    pub async fn subscribe(&self, channel: &str) -> Result<()> {
        self.join(&[self.pubsub.channel_name(channel)?]).await
    }

    /// Listens to all channels that match a pattern too, also to such as come later.
    pub async fn subscribe_pattern(&self, pattern: &str) -> Result<()> {
        self.join(&[self.pubsub.pattern_name(pattern)?]).await
    }

    /// Listens to several channels and patterns too, in the time that one takes. An error means that one of them is not listened to, and then none of them is.
    pub async fn subscribe_all<N: AsRef<str>>(&self, channels: &[N], patterns: &[N]) -> Result<()> {
        let channels = channels.iter().map(|channel| self.pubsub.channel_name(channel.as_ref()));
        let patterns = patterns.iter().map(|pattern| self.pubsub.pattern_name(pattern.as_ref()));
        self.join(&channels.chain(patterns).collect::<Result<Vec<_>>>()?).await
    }

    /// Stops listening to a channel; nothing of it comes any more, nor what waits. Tells whether it was listened to.
    pub fn unsubscribe(&self, channel: &str) -> Result<bool> {
        Ok(self.leave(&self.pubsub.channel_name(channel)?))
    }

    /// Stops listening to a pattern. What comes by another name as well still does.
    pub fn unsubscribe_pattern(&self, pattern: &str) -> Result<bool> {
        Ok(self.leave(&self.pubsub.pattern_name(pattern)?))
    }

    /// Reads a topic from a place on, besides what is listened to, and returns that place: whoever is interrupted before the first message comes goes on there.
    /// A conflict if it is followed already.
    pub async fn follow(&self, topic: &str, since: Since) -> Result<Token> {
        let stream = self.pubsub.services.streams(&self.pubsub.tenant).stream(topic)?;
        let place = self.inbox.add_topic(topic, MAX_TOPICS)?;
        let mut opening = Opening { inbox: &self.inbox, topic, place, is_done: false };
        let follower = Follower::begin(stream, Arc::clone(&self.inbox), place, since).await?;
        opening.is_done = true;
        let start = follower.start();
        let task = tokio::spawn(follower.follow()).abort_handle();
        self.topics().insert(topic.to_owned(), (place, task));
        Ok(start)
    }

    /// Stops following a topic; nothing of it comes any more, nor what waits. Tells whether it was followed.
    pub fn unfollow(&self, topic: &str) -> bool {
        let followed = self.topics().remove(topic);
        if let Some((place, task)) = &followed {
            task.abort();
            self.inbox.remove_topic(topic, *place);
        }
        followed.is_some()
    }

    /// Waits for the next message, or word of one that was missed. Nothing more comes after none: the buffer was full and [`Overflow::Close`] chosen,
    /// or [`Subscription::close`] was called.
    pub async fn next(&self) -> Option<Heard> {
        let listen = || {
            if !self.seats().is_empty() {
                self.pubsub.services.backend().messages().attend();
            }
        };
        self.inbox.next(listen).await
    }

    /// Returns how many messages found the buffer full so far.
    pub fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }

    /// Tells whether everything that is subscribed to is heard at present, and what is followed can be read: the connection to the store stands.
    pub fn is_live(&self) -> bool {
        self.inbox.is_live()
    }

    /// Ends the subscription behind what waits.
    pub fn close(&self) {
        self.inbox.close();
    }

    /// Joins names, and waits until all of them stand; after an error none of those that are new is left.
    async fn join(&self, names: &[Name]) -> Result<()> {
        let mut changes = self.inbox.changes();
        let mut new = Vec::new();
        let joined = async {
            for name in names {
                if self.take_seat(name)? {
                    new.push(name);
                }
            }
            for name in names {
                let told = loop {
                    match self.inbox.asked(name) {
                        Asked::Pending => changes.changed().await.expect("the sender is in the inbox"),
                        told => break told,
                    }
                };
                match told {
                    Asked::Refused(reason) => {
                        return Err(Error::Backend(format!("the subscription was refused: {reason}")));
                    }
                    Asked::Gone => return Err(Error::Conflict("the subscription was ended meanwhile".to_owned())),
                    _ => {}
                }
            }
            Ok(())
        };
        let limit = self.pubsub.services.backend().command_timeout();
        let joined = tokio::time::timeout(limit, joined)
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("the subscription was not confirmed in time".to_owned())));
        if joined.is_err() {
            new.into_iter().for_each(|name| _ = self.leave(name));
        }
        joined
    }

    /// Has a name listened to, unless it is; tells whether that is new.
    fn take_seat(&self, name: &Name) -> Result<bool> {
        let is_new = self.inbox.add(name)?;
        if is_new {
            let Some(seat) = self.pubsub.services.backend().messages().join(name.clone(), self.inbox.clone()) else {
                self.inbox.remove(name);
                return Err(Error::Conflict("this process listens to too many names".to_owned()));
            };
            self.seats().insert(name.clone(), seat);
        }
        Ok(is_new)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Name, Seat>> {
        self.seats.lock().expect("nothing panics while holding the lock")
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, (Place, AbortHandle)>> {
        self.topics.lock().expect("nothing panics while holding the lock")
    }

    fn leave(&self, name: &Name) -> bool {
        // Once the seat is gone no message comes any more, so none comes behind the removal.
        let seat = self.seats().remove(name);
        let was_there = seat.is_some();
        drop(seat);
        self.inbox.remove(name);
        was_there
    }
}

/// A topic whose beginning is looked for; given up, it is not followed.
struct Opening<'a> {
    inbox: &'a Inbox,
    topic: &'a str,
    place: Place,
    is_done: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.inbox.remove_topic(self.topic, self.place);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inbox.close();
        self.topics().values().for_each(|(_, task)| task.abort());
    }
}
