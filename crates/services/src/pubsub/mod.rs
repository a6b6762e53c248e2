//! Pub/sub: messages to whoever listens now, and topics that whoever comes later or back reads on from where they were.
//!
//! ```text
//! publish ─► channel ─► hub ──┬─► inbox, bounded ─► next()     channels and patterns: whoever listens now
//!                             └─► inbox of another             a slow one loses its own messages, and is told
//!
//! publish ─► stream ─► read from a token on ─► inbox ─► next()  topics: kept, so nothing is lost but by trimming, and that is told
//! ```
//!
//! One [`Subscription`] listens to any number of channels, patterns and topics, which come and go while it is read, and gives what it hears in one
//! order. What is published is an [`Event`] in either case, so who listens need not know which it was.
//!
//! # Guarantees of channels and patterns
//!
//! * **At most once**, to whoever listens: when [`Subscription::subscribe`] has returned, every message published from then on comes, until it is
//!   said that some did not. Messages of one publisher come in their order; one that matches several names of a subscription comes once for each.
//! * **Nothing is lost in silence.** What a full buffer could not take is counted and told in its place ([`Gap::Dropped`]); when the connection to the store
//!   was lost and stands again, that is told too ([`Gap::Interrupted`]), as nobody knows what was published meanwhile. All that was subscribed to is
//!   subscribed to again.
//! * **Nobody waits for a slow one.** Each subscription has a buffer of its own, bounded in messages and bytes, and a policy of what happens above it
//!   ([`Overflow`]). Publishers and other subscriptions notice nothing.
//! * A channel is a name and nothing else: `*` in it is a star. Patterns are subscribed to as such, and are the store's globs: `*`, `?`, `[ab]`, and
//!   a backslash before what is meant as it is.
//!
//! # Guarantees of topics
//!
//! A topic is a [stream](crate::streams), published to as such, also together with changes of data, and kept within its limits. [`Subscription::follow`]
//! reads on behind a [`Token`], which comes with every message: **each message at least once** for who goes on at the token of the last it has
//! handled, in the order of the stream, over lost connections and restarts. A slow reader loses nothing: it reads later. Only what the stream's limits have dropped before it was
//! read is missed, and told, with how many ([`Gap::Trimmed`]).
//!
//! # Keys
//!
//! ```text
//! rp:{tenant:pubsub}:c:<channel>   a channel, its name as it is: any client of the store may publish and subscribe
//! ```
//!
//! A message is a CloudEvent in its JSON format. What others publish in another form is given as it is ([`Body::Raw`]). Topics have the keys of
//! [streams](crate::streams).
//!
//! # When the store is down
//!
//! Publishing is an error. A message whose publication was not answered is not published again, as it may have been heard. A subscription goes on by itself when the
//! store is back, and tells that it was interrupted.
//!
//! Not here: sharded channels, which patterns cannot match, and a list of who listens.

mod buffer;
mod envelope;
mod follow;
mod heard;
mod inbox;
mod listening;
mod operations;
mod subscription;

use redpoll_resp::Value;
use serde::Serialize;

pub use crate::batch::MAX_BATCH;
pub use follow::{Since, Token};
pub use heard::{Body, Gap, Heard, Message, Overflow};
pub use operations::SERVICE;
pub use subscription::{MAX_TOPICS, Subscription, SubscriptionOptions};

use crate::Services;
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::hub::Name;
use crate::keys::{Key, Tenant, check_name};
use crate::metrics::Counter;
use crate::streams::Event;

/// Settings of pub/sub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubSubSettings {
    /// Largest message, all its attributes and data, in bytes. Default 1 MiB.
    pub message_max: usize,
    /// The buffer of subscriptions that ask for no other.
    pub subscription: SubscriptionOptions,
}

impl Default for PubSubSettings {
    fn default() -> Self {
        Self { message_max: 1 << 20, subscription: SubscriptionOptions::default() }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Sent {
    /// Id of the message.
    pub id: String,
    /// Connections to the store that were given it: each is a process, or another client of the store. On a Cluster those of one node only.
    pub receivers: u64,
}

/// A tenant's pub/sub.
#[derive(Debug, Clone)]
pub struct PubSub {
    services: Services,
    tenant: Tenant,
}

impl PubSub {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Publishes a message to whoever listens now.
    pub async fn publish(&self, channel: &str, event: &Event) -> Result<Sent> {
        let mut sent = self.publish_many(channel, std::slice::from_ref(event)).await?;
        Ok(sent.remove(0))
    }

    /// Publishes up to [`MAX_BATCH`] messages in their order, in one exchange. An error means that some may have been published.
    pub async fn publish_many(&self, channel: &str, events: &[Event]) -> Result<Vec<Sent>> {
        check_batch("events", events.len())?;
        let key = self.channel_key(channel)?;
        let message_max = self.services.settings().pubsub.message_max;
        let (mut ids, mut commands) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for event in events {
            let id = event.id_or_new();
            let message = envelope::write(event, &id, message_max)?;
            commands.push(Command::new("PUBLISH").key(&key).arg(message));
            ids.push(id);
        }
        let backend = self.services.backend();
        let replies = match commands.len() {
            1 => backend.call(commands.remove(0)).await.map(|reply| vec![Ok(reply)]),
            _ => backend.pipeline(commands).await,
        };
        let replies = replies.and_then(|replies| replies.into_iter().collect::<Result<Vec<_>>>());
        let replies = replies.inspect_err(|error| {
            self.services.metrics().add(Counter::PubsubOutages, u64::from(error.is_outage()));
        })?;
        self.services.metrics().add(Counter::PubsubPublished, replies.len() as u64);
        let sent = ids.into_iter().zip(&replies).map(|(id, reply)| {
            let receivers = reply.as_u64().ok_or_else(|| Error::unexpected("PUBLISH", reply))?;
            Ok(Sent { id, receivers })
        });
        sent.collect()
    }

    /// Returns how many connections to the store listen to a channel by its name: each is a process, or another client of the store. Those that listen by a
    /// pattern are not among them.
    pub async fn subscribers(&self, channel: &str) -> Result<u64> {
        let key = self.channel_key(channel)?;
        let command = Command::new("PUBSUB").arg("NUMSUB").arg(&key).repeatable();
        let reply = self.services.backend().call(command).await?;
        // A Cluster's is summed over its nodes.
        let count = match &reply {
            Value::Map(counts) => counts.first().and_then(|(_, count)| count.as_u64()),
            counts => counts.as_array().and_then(|counts| counts.get(1)?.as_u64()),
        };
        count.ok_or_else(|| Error::unexpected("PUBSUB NUMSUB", &reply))
    }

    /// Makes a subscription, to nothing yet, with the buffer of the settings.
    pub fn subscription(&self) -> Subscription {
        self.subscription_with(&self.services.settings().pubsub.subscription)
    }

    /// Makes a subscription, to nothing yet.
    pub fn subscription_with(&self, options: &SubscriptionOptions) -> Subscription {
        Subscription::new(self.clone(), options)
    }

    /// Returns the name of a channel in the store, for other clients of it.
    pub fn channel_key(&self, channel: &str) -> Result<Key> {
        check_name("channel", channel)?;
        Ok(self.group().as_given("c", channel))
    }

    fn group(&self) -> crate::keys::Group {
        self.services.settings().keyring.group(&self.tenant, "pubsub", &[])
    }

    /// Returns what stands before the names of channels and patterns.
    fn heads(&self) -> inbox::Heads {
        let Name::Pattern(pattern) = self.glob("") else { unreachable!("a glob is a pattern") };
        inbox::Heads { channel: self.group().as_given("c", "").as_str().len(), pattern: pattern.len() }
    }

    fn channel_name(&self, channel: &str) -> Result<Name> {
        Ok(Name::Channel(self.channel_key(channel)?.as_str().into()))
    }

    /// Returns the pattern that matches what a pattern means among the tenant's channels.
    fn pattern_name(&self, pattern: &str) -> Result<Name> {
        check_name("pattern", pattern)?;
        Ok(self.glob(pattern))
    }

    fn glob(&self, pattern: &str) -> Name {
        let head = self.group().as_given("c", "");
        let mut glob = String::with_capacity(head.as_str().len() + pattern.len() + 8);
        for char in head.as_str().chars() {
            if matches!(char, '*' | '?' | '[' | ']' | '\\' | '^') {
                glob.push('\\');
            }
            glob.push(char);
        }
        glob.push_str(pattern);
        Name::Pattern(glob.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::settings::Settings;

    #[tokio::test]
    async fn tenants_are_taken_literally_in_patterns() {
        let services = Services::new(Backend::connect("embedded:").await.unwrap(), Settings::default());
        let pubsub = services.pubsub(&Tenant::new("a*[b]?\\").unwrap());
        let Name::Pattern(glob) = pubsub.pattern_name("orders.*").unwrap() else { panic!("a pattern") };
        assert_eq!(&*glob, r"rp:{a\*\[b\]\?\\:pubsub}:c:orders.*");
        assert_eq!(pubsub.channel_key("a:{b}*").unwrap().as_str(), r"rp:{a*[b]?\:pubsub}:c:a:{b}*");
    }
}
