//! Inputs of the operations: events, outcomes and options as JSON. What is bytes stands in Base64 in a field of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::{EntryId, Event, Full, GroupOptions, Order, Outcome, Range, Start, Ticket};
use crate::effects::EffectForm;
use crate::error::{Error, Result};
use crate::operation::{inputs, present, split};

/// An event, in the JSON form of CloudEvents.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventForm {
    /// Identifies it among those of its source; random if absent. While an id is remembered, an event of the same source and id is not published again.
    pub(crate) id: Option<String>,
    /// Where it happened: a URI reference.
    source: String,
    /// What sort of thing happened.
    #[serde(rename = "type")]
    kind: String,
    /// What it happened to.
    pub(crate) subject: Option<String>,
    /// When it happened, as RFC 3339 writes it.
    time: Option<String>,
    /// Media type of the data; `application/json` if there is `data` and this is absent.
    datacontenttype: Option<String>,
    /// Where the form of the data is described.
    dataschema: Option<String>,
    /// Events of one key are handled one after the other.
    partitionkey: Option<String>,
    /// The trace it belongs to.
    pub(crate) traceparent: Option<String>,
    /// Other attributes.
    #[serde(default)]
    extensions: BTreeMap<String, String>,
    /// The data: any JSON.
    #[serde(default, deserialize_with = "present")]
    pub(crate) data: Option<Json>,
    /// The data: bytes.
    pub(crate) data_base64: Option<String>,
}

/// What became of a taken entry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeForm {
    /// The entry.
    entry: EntryId,
    /// What taking gave.
    token: u64,
    /// What became of it.
    outcome: Verb,
    /// What went wrong.
    cause: Option<String>,
    /// Of a failed or released entry: when it may be taken again, in milliseconds from now. A failed one after the group's pause, a released one at
    /// once if absent.
    pause_ms: Option<u64>,
}

/// What became of a taken entry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verb {
    /// It has been handled.
    Done,
    /// It failed, and is tried again unless that was the last time.
    Failed,
    /// It failed and need not be tried again.
    GivenUp,
    /// It cannot be understood.
    Poison,
    /// It is handed back as if it had not been taken.
    Released,
}

/// How a group works.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct GroupForm {
    /// The first entry it handles; `from_ms`, or what is published from now on if absent. `0-0` is the oldest.
    from: Option<EntryId>,
    /// When the first entry it handles was published at the earliest, milliseconds since 1970.
    from_ms: Option<u64>,
    /// The last entry it handles; for ever if absent.
    to: Option<EntryId>,
    /// When the last entry it handles was published at the latest, milliseconds since 1970.
    to_ms: Option<u64>,
    /// Only events of these types; all if absent.
    #[serde(default)]
    types: Vec<String>,
    /// Only events of these keys; all if absent.
    #[serde(default)]
    keys: Vec<String>,
    /// Whether entries of one key wait for each other; `per_key` if absent.
    order: Option<Order>,
    /// Failures after which an entry is dead; 10 if absent.
    attempts_max: Option<u32>,
    /// Lost leases after which an entry is dead; 5 if absent.
    lost_max: Option<u32>,
    /// Pause after the first failure, in milliseconds, which doubles with each; 1,000 if absent.
    retry_base_ms: Option<u64>,
    /// Longest pause, in milliseconds; 3,600,000 if absent.
    retry_cap_ms: Option<u64>,
    /// Most entries pending, at most 20,000; 10,000 if absent.
    pending_max: Option<u64>,
}

/// An event to publish.
#[derive(Debug, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishInput {
    /// Tenant; `default` if absent.
    #[serde(default = "crate::operation::default_tenant")]
    pub(super) tenant: String,
    /// Name of the stream.
    pub(super) stream: String,
    /// The event.
    #[serde(flatten)]
    pub(super) event: EventForm,
}

impl<'de> Deserialize<'de> for PublishInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (StreamInput { tenant, stream }, event) = split(deserializer, &["tenant", "stream"])?;
        Ok(Self { tenant, stream, event })
    }
}

inputs! {
    each {
        /// Name of the stream.
        stream: String,
    }

    /// Names a stream.
    StreamInput {}

    /// Events to publish, and changes of data.
    BatchInput {
        /// The events, at most 1,000.
        events: Vec<EventForm>,
        /// Changes of data in the same step, at most 100. Give the events ids then, so that the call can be repeated.
        #[serde(default)]
        effects: Vec<EffectForm>,
    }

    /// What a stream keeps; what is absent is as the settings say.
    ConfigureInput {
        /// Most entries that no group needs any more.
        length_max: Option<u64>,
        /// Most bytes that no group needs any more.
        bytes_max: Option<u64>,
        /// How old an entry may be that no group needs any more, in milliseconds.
        age_ms: Option<u64>,
        /// What happens when what would have to go is still needed.
        full: Option<Full>,
        /// How long a group may be silent before it holds nothing back, in milliseconds.
        group_idle_ms: Option<u64>,
    }

    /// Which entries to read.
    ReadInput {
        /// The first that may be among them; the oldest if absent.
        from: Option<EntryId>,
        /// When the first was published at the earliest, milliseconds since 1970.
        from_ms: Option<u64>,
        /// The last that may be among them; the newest if absent.
        to: Option<EntryId>,
        /// When the last was published at the latest, milliseconds since 1970.
        to_ms: Option<u64>,
        /// Only events of these types; all if absent.
        #[serde(default)]
        types: Vec<String>,
        /// Only events of these keys; all if absent.
        #[serde(default)]
        keys: Vec<String>,
        /// How many entries to look at, at most 1,000; 100 if absent.
        count: Option<usize>,
    }

    /// Names a group.
    GroupInput {
        /// Name of the group.
        group: String,
    }

    /// A group to make.
    CreateInput {
        /// Name of the group.
        group: String,
        /// How it works.
        #[serde(flatten)]
        options: GroupForm,
    }

    /// A group to delete.
    DeleteInput {
        /// Name of the group.
        group: String,
        /// Whether to delete it even if it has entries pending or dead letters; false if absent.
        #[serde(default)]
        force: bool,
    }

    /// A wish for entries.
    TakeInput {
        /// Name of the group.
        group: String,
        /// Name of the consumer.
        consumer: String,
        /// Most entries, 1 to 1,000; 1 if absent.
        count: Option<usize>,
        /// How long the consumer may give no sign of life, in milliseconds; 30,000 if absent.
        lease_ms: Option<u64>,
        /// How long to wait for entries if there are none, in milliseconds, at most an hour; 0 if absent.
        #[serde(default)]
        wait_ms: u64,
    }

    /// What became of entries.
    SettleInput {
        /// Name of the group.
        group: String,
        /// What became of them, at most 1,000.
        outcomes: Vec<OutcomeForm>,
    }

    /// A sign of life.
    RenewInput {
        /// Name of the group.
        group: String,
        /// The leases, at most 1,000.
        tickets: Vec<Ticket>,
        /// How long they last from now, in milliseconds; 30,000 if absent.
        lease_ms: Option<u64>,
    }

    /// Which dead letters to list.
    DeadInput {
        /// Name of the group.
        group: String,
        /// Only those behind this one; from the oldest if absent.
        behind: Option<EntryId>,
        /// How many, at most 1,000; 100 if absent.
        count: Option<usize>,
    }

    /// Dead letters to publish again.
    RedriveInput {
        /// Name of the group.
        group: String,
        /// Only these, at most 1,000; all if absent.
        #[serde(default)]
        ids: Vec<EntryId>,
        /// Other data, any JSON, for a single one.
        #[serde(default, deserialize_with = "present")]
        data: Option<Json>,
        /// Other data, bytes, for a single one.
        data_base64: Option<String>,
    }

    /// Dead letters to remove.
    PurgeInput {
        /// Name of the group.
        group: String,
        /// Only these, at most 1,000; all if absent.
        #[serde(default)]
        ids: Vec<EntryId>,
    }
}

/// Takes data that was given in one of two forms; nothing if in none.
pub(super) fn bytes_of(json: Option<Json>, base64: Option<String>) -> Result<Option<Vec<u8>>> {
    match (json, base64) {
        (None, None) => Ok(None),
        (Some(json), None) => serde_json::to_vec(&json).map(Some).map_err(|error| Error::invalid("data", error)),
        (None, Some(text)) => BASE64.decode(&text).map(Some).map_err(|error| Error::invalid("data_base64", error)),
        (Some(_), Some(_)) => Err(Error::invalid("data_base64", "give JSON or bytes, not both")),
    }
}

/// Takes an id or a time, as the bound that a time makes.
fn bound(field: &'static str, id: Option<EntryId>, ms: Option<u64>, of: fn(u64) -> EntryId) -> Result<Option<EntryId>> {
    match (id, ms) {
        (Some(_), Some(_)) => Err(Error::invalid(field, "give an entry or a time, not both")),
        (id, ms) => Ok(id.or(ms.map(of))),
    }
}

impl EventForm {
    pub(crate) fn new(source: String, kind: String) -> Self {
        Self { source, kind, ..Self::default() }
    }

    pub(crate) fn read(self) -> Result<Event> {
        let is_json = self.data.is_some();
        let content_type = self.datacontenttype.or(is_json.then(|| "application/json".to_owned()));
        Ok(Event {
            id: self.id,
            source: self.source,
            kind: self.kind,
            subject: self.subject,
            time: self.time,
            content_type,
            schema: self.dataschema,
            key: self.partitionkey,
            traceparent: self.traceparent,
            extensions: self.extensions,
            data: bytes_of(self.data, self.data_base64)?,
        })
    }
}

impl OutcomeForm {
    pub(super) fn read(self) -> (Ticket, Outcome) {
        let (cause, pause) = (self.cause.unwrap_or_default(), self.pause_ms.map(Duration::from_millis));
        let outcome = match self.outcome {
            Verb::Done => Outcome::Done,
            Verb::Failed => Outcome::Failed { cause, pause },
            Verb::GivenUp => Outcome::GivenUp { cause },
            Verb::Poison => Outcome::Poison { cause },
            Verb::Released => Outcome::Released { delay: pause.unwrap_or_default() },
        };
        (Ticket { entry: self.entry, token: self.token }, outcome)
    }
}

impl GroupForm {
    pub(super) fn read(self) -> Result<GroupOptions> {
        let from = bound("from_ms", self.from, self.from_ms, EntryId::first_of)?;
        Ok(GroupOptions {
            start: from.map_or(Start::End, Start::At),
            until: bound("to_ms", self.to, self.to_ms, EntryId::last_of)?,
            types: self.types,
            keys: self.keys,
            order: self.order.unwrap_or_default(),
            attempts_max: self.attempts_max,
            lost_max: self.lost_max,
            retry_base: self.retry_base_ms.map(Duration::from_millis),
            retry_cap: self.retry_cap_ms.map(Duration::from_millis),
            pending_max: self.pending_max,
        })
    }
}

impl ReadInput {
    pub(super) fn range(&self) -> Result<Range> {
        Ok(Range {
            from: bound("from_ms", self.from, self.from_ms, EntryId::first_of)?,
            to: bound("to_ms", self.to, self.to_ms, EntryId::last_of)?,
            types: self.types.clone(),
            keys: self.keys.clone(),
        })
    }
}
