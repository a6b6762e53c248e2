//! A subscription: what it listens to, and giving what it heard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::task::AbortHandle;

use super::follow::{Follower, Since};
use super::heard::{Heard, Overflow};
use super::inbox::{Asked, Inbox};
use super::{PubSub, PubSubSettings};
use crate::error::{Error, Result};
use crate::hub::{Name, Seat};

/// Most topics that a subscription follows.
pub const MAX_TOPICS: usize = 256;

/// The buffer of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Most messages of channels and patterns that wait to be read; at least one.
    pub buffer: usize,
    /// Most bytes of them. A larger message never comes, and is counted as dropped.
    pub buffer_bytes: usize,
    /// What happens above that.
    pub overflow: Overflow,
}

impl Default for SubscriptionOptions {
    /// Those of [`PubSubSettings::default`].
    fn default() -> Self {
        let PubSubSettings { buffer, buffer_bytes, overflow, .. } = PubSubSettings::default();
        Self { buffer, buffer_bytes, overflow }
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
    topics: Mutex<HashMap<String, AbortHandle>>,
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
        self.join(self.pubsub.channel_name(channel)?).await
    }

    /// Listens to all channels that match a pattern too, also to such as come later.
    pub async fn subscribe_pattern(&self, pattern: &str) -> Result<()> {
        self.join(self.pubsub.pattern_name(pattern)?).await
    }

    /// Stops listening to a channel; nothing of it comes any more, nor what waits. Tells whether it was listened to.
    pub fn unsubscribe(&self, channel: &str) -> Result<bool> {
        Ok(self.leave(&self.pubsub.channel_name(channel)?))
    }

    /// Stops listening to a pattern. What comes by another name as well still does.
    pub fn unsubscribe_pattern(&self, pattern: &str) -> Result<bool> {
        Ok(self.leave(&self.pubsub.pattern_name(pattern)?))
    }

    /// Reads a topic from a place on, besides what is listened to. A conflict if it is followed already.
    pub async fn follow(&self, topic: &str, since: Since) -> Result<()> {
        let stream = self.pubsub.services.streams(&self.pubsub.tenant).stream(topic)?;
        let place = self.inbox.add_topic(topic, MAX_TOPICS)?;
        let begun = Follower::begin(stream, Arc::clone(&self.inbox), place, since).await;
        let follower = begun.inspect_err(|_| self.inbox.remove_topic(topic))?;
        let task = tokio::spawn(follower.follow()).abort_handle();
        self.topics.lock().expect("nothing panics while holding the lock").insert(topic.to_owned(), task);
        Ok(())
    }

    /// Stops following a topic; nothing of it comes any more, nor what waits. Tells whether it was followed.
    pub fn unfollow(&self, topic: &str) -> bool {
        let task = self.topics.lock().expect("nothing panics while holding the lock").remove(topic);
        if let Some(task) = &task {
            task.abort();
            self.inbox.remove_topic(topic);
        }
        task.is_some()
    }

    /// Waits for the next message, or word of one that was missed. Nothing more comes after none: the buffer was full and [`Overflow::Close`] chosen,
    /// or [`Subscription::close`] was called.
    pub async fn next(&self) -> Option<Heard> {
        self.inbox.next().await
    }

    /// Returns how many messages found the buffer full so far.
    pub fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }

    /// Tells whether everything that is subscribed to is heard at present: the connection to the store stands.
    pub fn is_live(&self) -> bool {
        self.inbox.is_live()
    }

    /// Ends the subscription behind what waits.
    pub fn close(&self) {
        self.inbox.close();
    }

    async fn join(&self, name: Name) -> Result<()> {
        let mut changes = self.inbox.changes();
        if self.inbox.add(&name)? {
            let Some(seat) = self.pubsub.services.backend().messages().join(name.clone(), self.inbox.clone()) else {
                self.inbox.remove(&name);
                return Err(Error::Conflict("this process listens to too many names".to_owned()));
            };
            if seat.stood() {
                self.inbox.confirm(&name);
            }
            self.seats.lock().expect("nothing panics while holding the lock").insert(name.clone(), seat);
        }
        let asked = async {
            loop {
                match self.inbox.asked(&name) {
                    Asked::Pending => changes.changed().await.expect("the sender is in the inbox"),
                    told => return told,
                }
            }
        };
        let limit = self.pubsub.services.backend().command_timeout();
        let error = match tokio::time::timeout(limit, asked).await {
            Ok(Asked::Confirmed) => return Ok(()),
            Ok(Asked::Refused(reason)) => Error::Backend(format!("the subscription was refused: {reason}")),
            Ok(_) => Error::Conflict("the subscription was ended meanwhile".to_owned()),
            Err(_) => Error::Unavailable("the subscription was not confirmed in time".to_owned()),
        };
        self.leave(&name);
        Err(error)
    }

    fn leave(&self, name: &Name) -> bool {
        // Once the seat is gone no message comes any more, so none comes behind the removal.
        let seat = self.seats.lock().expect("nothing panics while holding the lock").remove(name);
        let was_there = seat.is_some();
        drop(seat);
        self.inbox.remove(name);
        was_there
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inbox.close();
        self.topics.lock().expect("nothing panics while holding the lock").values().for_each(AbortHandle::abort);
    }
}
