//! The rows of pub/sub, and their inputs and outputs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::listening::listen;
use super::{Overflow, Sent, Token};
use crate::Services;
use crate::error::Result;
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, feed, inputs, operation, present};
use crate::outage::OutagePolicy;
use crate::streams::{Event, EventForm, EventView};

const NAME: &str = "pubsub";

/// Pub/sub, as the outside sees it.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Messages to whoever listens now, and topics that whoever comes later or back reads on from where they were.",
    eviction: Eviction::Allowed,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "publish", Post "/pubsub/channels/{channel}/publish", publish: PublishInput => Sent, [200, 413, 422, 503, 504],
            "Publishes a message to whoever listens to a channel now.",
            "At most once: 503 and 504 leave open whether it was heard. What must not be lost is published to a topic, which is a stream: see `streams publish`."),
        operation!(NAME, "publish_many", Post "/pubsub/channels/{channel}/publish_many", publish_many: BatchInput => BatchDone, [200, 413, 422, 503, 504],
            "Publishes up to 1,000 messages in their order.", "In one exchange. After a failure some may have been published."),
        operation!(NAME, "subscribers", Get "/pubsub/channels/{channel}/subscribers", subscribers: ChannelInput => Number, [200, 422, 503, 504],
            "Counts the connections to the store that listen to a channel.", "Each is a process, or another client of the store. Those that listen by a pattern are not among them."),
        feed!(NAME, "listen", "/pubsub/listen", listen: ListenInput => Told, [200, 409, 422, 503, 504],
            "Listens to channels, patterns and topics.",
            "Gives a `message` for each that is published from then on, `ready` with the positions of topics before the first, and a `gap` where some are missed: `dropped` because the reader was too slow, `interrupted` because the connection to the store was lost, `trimmed` because a topic no longer had them. Topics are read from `resume`, or as `latest`, `from_ms` and `beginning` say, else with what is published from now on. The position of an item is the `resume` to go on behind it. What is said to it meanwhile is `{\"subscribe\": {\"channels\", \"patterns\", \"topics\"}, \"unsubscribe\": …}`."),
    ],
};

inputs! {
    /// Names a channel.
    ChannelInput {
        /// Name of the channel.
        channel: String,
    }

    /// A message to publish.
    PublishInput {
        /// Name of the channel.
        channel: String,
        /// What sort of thing happened; `message` if absent.
        #[serde(default = "usual_kind", rename = "type")]
        kind: String,
        /// Where it happened: a URI reference; `redpoll` if absent.
        #[serde(default = "usual_source")]
        source: String,
        /// Identifies the message; random if absent.
        id: Option<String>,
        /// What it happened to.
        subject: Option<String>,
        /// The trace it belongs to.
        traceparent: Option<String>,
        /// The data: any JSON.
        #[serde(default, deserialize_with = "present")]
        data: Option<Json>,
        /// The data: bytes.
        data_base64: Option<String>,
    }

    /// Messages to publish.
    BatchInput {
        /// Name of the channel.
        channel: String,
        /// The messages, at most 1,000.
        events: Vec<EventForm>,
    }

    /// What to listen to.
    ListenInput {
        /// Channels.
        #[serde(default)]
        channels: Vec<String>,
        /// Patterns of channels: `*`, `?`, `[ab]`; a backslash before what is meant as it is.
        #[serde(default)]
        patterns: Vec<String>,
        /// Topics: streams to follow.
        #[serde(default)]
        topics: Vec<String>,
        /// The position of an earlier item: topics are read on behind it.
        resume: Option<String>,
        /// Of topics without a position: begin with the latest so many, at most 1,000.
        latest: Option<u32>,
        /// Of topics without a position: begin with what was published then or later, milliseconds since 1970.
        from_ms: Option<u64>,
        /// Of topics without a position: begin with the oldest that is kept.
        #[serde(default)]
        beginning: bool,
        /// Most messages of channels and patterns that wait to be read, at most 10,000; 1,024 if absent.
        buffer: Option<usize>,
        /// What happens above that; `drop_oldest` if absent.
        overflow: Option<Overflow>,
    }
}

fn usual_kind() -> String {
    "message".to_owned()
}

fn usual_source() -> String {
    "redpoll".to_owned()
}

/// Messages that were published.
#[derive(Debug, Serialize, JsonSchema)]
struct BatchDone {
    /// In the order given.
    sent: Vec<Sent>,
}

/// How many.
#[derive(Debug, Serialize, JsonSchema)]
struct Number {
    /// How many.
    count: u64,
}

/// A message, word of some that were missed, or where reading topics begins.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Told {
    /// A message.
    Message {
        /// The channel or topic it was published to.
        channel: String,
        /// The pattern by which it came.
        #[serde(skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
        /// Its place, if it came by a topic.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
        /// What was published; absent if it is no event.
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<Box<EventView>>,
        /// What was published by others in a form of their own, if it is a text.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The same, if it is bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// Where topics are read from, before the first of their messages.
    Ready {
        /// By topic.
        positions: BTreeMap<String, Token>,
    },
    /// Messages that did not come.
    Gap {
        /// Why: `dropped`, `interrupted` or `trimmed`.
        reason: &'static str,
        /// How many; absent if nobody knows.
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// Of which topic.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
    },
}

async fn publish(services: Services, input: PublishInput) -> Result<Sent> {
    let PublishInput { tenant, channel, kind, source, id, subject, traceparent, data, data_base64 } = input;
    let mut form = EventForm::new(source, kind);
    (form.id, form.subject, form.traceparent) = (id, subject, traceparent);
    (form.data, form.data_base64) = (data, data_base64);
    services.pubsub(&Tenant::new(tenant)?).publish(&channel, &form.read()?).await
}

async fn publish_many(services: Services, input: BatchInput) -> Result<BatchDone> {
    let events = input.events.into_iter().map(EventForm::read).collect::<Result<Vec<Event>>>()?;
    let sent = services.pubsub(&Tenant::new(input.tenant)?).publish_many(&input.channel, &events).await?;
    Ok(BatchDone { sent })
}

async fn subscribers(services: Services, input: ChannelInput) -> Result<Number> {
    let count = services.pubsub(&Tenant::new(input.tenant)?).subscribers(&input.channel).await?;
    Ok(Number { count })
}
