//! Outputs of the operations. What is bytes stands in Base64 in a field of its own.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{
    Created, DeadLetter, Delivery, Entry, EntryId, Event, GroupStatus, Page, Published, Reason, Settled, Taken,
};

/// An event, in the JSON form of CloudEvents.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventView {
    /// Version of CloudEvents.
    specversion: &'static str,
    /// Identifies it among those of its source.
    id: String,
    /// Where it happened.
    source: String,
    /// What sort of thing happened.
    #[serde(rename = "type")]
    kind: String,
    /// What it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// Media type of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<String>,
    /// Where the form of the data is described.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<String>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<String>,
    /// The trace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// Other attributes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, String>,
    /// The data, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Json>,
    /// The data, if it is bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let json = event.data.as_deref().filter(|_| event.is_json()).and_then(|data| serde_json::from_slice(data).ok());
        let data_base64 = event.data.as_ref().filter(|_| json.is_none()).map(|data| BASE64.encode(data));
        Self {
            specversion: "1.0",
            id: event.id.unwrap_or_default(),
            source: event.source,
            kind: event.kind,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.content_type,
            dataschema: event.schema,
            partitionkey: event.key,
            traceparent: event.traceparent,
            extensions: event.extensions,
            data: json,
            data_base64,
        }
    }
}

/// An entry.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EntryView {
    /// Its id.
    entry: EntryId,
    /// Its number in the stream; null if somebody else added it.
    sequence: Option<u64>,
    /// The group that it is meant for, if it was a dead letter once.
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven_to: Option<String>,
    /// The event; null if it is none.
    event: Option<EventView>,
    /// Why it is no event.
    #[serde(skip_serializing_if = "Option::is_none")]
    defect: Option<String>,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let (event, defect) = match entry.event {
            Ok(event) => (Some(event.into()), None),
            Err(defect) => (None, Some(defect)),
        };
        Self { entry: entry.id, sequence: entry.sequence, redriven_to: entry.redriven_to, event, defect }
    }
}

/// What became of events that were to be published.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BatchDone {
    /// In the order given.
    pub(super) events: Vec<Published>,
}

/// Entries of a range.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReadDone {
    /// The entries.
    entries: Vec<EntryView>,
    /// Where to go on; null if this was the last.
    next: Option<EntryId>,
}

impl From<Page> for ReadDone {
    fn from(page: Page) -> Self {
        Self { entries: page.entries.into_iter().map(EntryView::from).collect(), next: page.next }
    }
}

/// What came of making a group.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CreateDone {
    /// Whether it was made.
    pub(super) created: Created,
}

/// The groups of a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GroupsDone {
    /// The groups that are looked after here.
    pub(super) groups: Vec<GroupStatus>,
}

/// A taken entry.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DeliveryView {
    /// Its id.
    entry: EntryId,
    /// Proves the lease, and is larger than that of any lease of this entry before.
    token: u64,
    /// Its number in the stream; null if somebody else added it.
    sequence: Option<u64>,
    /// Number of this run, from 1.
    attempt: u32,
    /// How often it has failed.
    failures: u32,
    /// How often its lease ended without an outcome.
    lost: u32,
    /// The event.
    event: EventView,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            entry: delivery.ticket.entry,
            token: delivery.ticket.token,
            sequence: delivery.sequence,
            attempt: delivery.attempt(),
            failures: delivery.failures,
            lost: delivery.lost,
            event: delivery.event.into(),
        }
    }
}

/// Taken entries.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TakeDone {
    /// The entries.
    entries: Vec<DeliveryView>,
    /// Whether the group had been destroyed from outside and was made again where it was.
    restored: bool,
    /// Entries found to have been dropped from the stream before the group read them.
    missed: u64,
    /// Entries found that became dead letters.
    died: u64,
}

impl From<Taken> for TakeDone {
    fn from(taken: Taken) -> Self {
        let entries = taken.deliveries.into_iter().map(DeliveryView::from).collect();
        Self { entries, restored: taken.restored, missed: taken.missed, died: taken.died }
    }
}

/// What became of outcomes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SettleDone {
    /// For each outcome what came of it.
    pub(super) settled: Vec<Settled>,
}

/// Answers to signs of life.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RenewDone {
    /// For each lease whether it goes on.
    pub(super) renewed: Vec<bool>,
}

/// A dead letter.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LetterView {
    /// Where it is; its time is when it became one.
    id: EntryId,
    /// Why it is one.
    reason: Reason,
    /// What went wrong.
    cause: String,
    /// How often handling it failed.
    failures: u32,
    /// How often its lease ended without an outcome.
    lost: u32,
    /// The entry it was.
    #[serde(flatten)]
    entry: EntryView,
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { id, reason, cause, failures, lost, entry, .. } = letter;
        Self { id, reason, cause, failures, lost, entry: entry.into() }
    }
}

/// Dead letters.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DeadDone {
    /// The oldest first.
    letters: Vec<LetterView>,
}

impl From<Vec<DeadLetter>> for DeadDone {
    fn from(letters: Vec<DeadLetter>) -> Self {
        Self { letters: letters.into_iter().map(LetterView::from).collect() }
    }
}

/// How many.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Number {
    /// How many.
    pub(super) count: u64,
}

/// Whether something changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Switched {
    /// Whether something changed.
    pub(super) changed: bool,
}
