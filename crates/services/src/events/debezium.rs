//! Change events as Debezium writes them.
//!
//! ```text
//! {"schema": …, "payload": {"before": …, "after": …, "source": …, "op": "u", "ts_ms": 1700000000000}}     with schemas
//! {"before": …, "after": …, "source": …, "op": "u", "ts_ms": 1700000000000}                               without
//! null                                                                                                    tombstone
//! ```
//!
//! What a window needs is taken out: operation, source time, and the row's key from the message's key. Row images are
//! not kept. A tombstone follows a deletion so that a compacted topic can drop the row; the deletion has been counted,
//! so the tombstone is recognised and not counted.
//!
//! Anything else is poison: refused with the reason, counted, kept for inspection, and no obstacle to what follows. The
//! check is strict where a wrong reading would miscount (the operation, which images it must have, the time's unit) and
//! does not look into rows. Flattened events without an envelope are refused, since their operation is not told.
//!
//! Not here: the event's identity. A message's position in its topic is the id that makes redelivery harmless, and only
//! the caller knows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::counting::Recorded;
use super::event::{Event, MAX_SOURCE_MS, Op};
use super::{Events, no_consumer, steps};
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::keys::MAX_NAME_BYTES;
use crate::metrics::Counter;
use crate::ttl::ms;

/// Poisonous messages kept per consumer.
pub const MAX_POISON_KEPT: usize = 100;

/// How much of a poisonous message is kept, in bytes.
pub const MAX_POISON_BYTES: usize = 4096;

/// Largest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A message of a change topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Message {
    /// Where the message stands in its topic, such as `topic:partition:offset`: a redelivery is not counted again.
    pub id: Option<String>,
    /// The message's key: an object of the key's columns, with or without its schema.
    pub key: Option<Json>,
    /// The message's value: the envelope as an object or as its JSON text; null for a tombstone.
    pub value: Option<Json>,
}

/// What became of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ingested {
    /// What recording the good ones did.
    #[serde(flatten)]
    pub recorded: Recorded,
    /// Tombstones, which are not counted.
    pub tombstones: usize,
    /// Messages that could not be understood: their place in the batch and why.
    pub poison: Vec<Poison>,
}

/// A message that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Poison {
    /// Place in the batch, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A change.
    Change(Event),
    /// The mark that a deleted row may be dropped.
    Tombstone,
}

/// Reads a message; the error says what is wrong with it.
pub fn parse(message: &Message) -> Result<Parsed> {
    let text_read;
    let value = match &message.value {
        None | Some(Json::Null) => return Ok(Parsed::Tombstone),
        Some(Json::String(text)) if text.len() > MAX_MESSAGE_BYTES => {
            return Err(Error::TooLarge { size_bytes: text.len(), max_bytes: MAX_MESSAGE_BYTES });
        }
        Some(Json::String(text)) => {
            text_read = serde_json::from_str(text).map_err(|error| poison(format_args!("not JSON: {error}")))?;
            &text_read
        }
        Some(value) => value,
    };
    let Some(payload) = payload_of(value) else {
        return Ok(Parsed::Tombstone);
    };
    let envelope = payload.as_object().ok_or_else(|| poison("neither an envelope nor null"))?;
    let event = Event {
        id: message.id.clone(),
        op: Some(operation(envelope)?),
        key: message.key.as_ref().and_then(key_text),
        source_ms: source_ms(envelope)?,
    };
    event.check()?;
    Ok(Parsed::Change(event))
}

/// Returns what stands beside a schema, or the value itself; `None` for a payload that is null.
fn payload_of(value: &Json) -> Option<&Json> {
    let payload = match value.as_object() {
        Some(object) if object.contains_key("schema") && object.contains_key("payload") => &object["payload"],
        _ => value,
    };
    (!payload.is_null()).then_some(payload)
}

/// Reads the operation and checks that the images are there which it must have.
fn operation(envelope: &Map<String, Json>) -> Result<Op> {
    let letter = match envelope.get("op") {
        Some(Json::String(letter)) => letter,
        Some(_) => return Err(poison("op is not text")),
        None => return Err(poison("op is missing: not an envelope")),
    };
    let op =
        Op::from_letter(letter).ok_or_else(|| poison(format_args!("op {letter:?} is none of c, u, d, r, t, m")))?;
    for image in ["before", "after"] {
        if !matches!(envelope.get(image), None | Some(Json::Null | Json::Object(_))) {
            return Err(poison(format_args!("{image} is neither a row nor null")));
        }
    }
    let has_row = |image: &str| envelope.get(image).is_some_and(Json::is_object);
    match op {
        Op::Create | Op::Update | Op::Read if !has_row("after") => {
            Err(poison(format_args!("op {letter:?} without after")))
        }
        Op::Delete | Op::Truncate if has_row("after") => Err(poison(format_args!("op {letter:?} with after"))),
        Op::Message if !has_row("message") => Err(poison("op \"m\" without message")),
        _ => Ok(op),
    }
}

fn source_ms(envelope: &Map<String, Json>) -> Result<Option<u64>> {
    match envelope.get("ts_ms") {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(ms) if ms <= MAX_SOURCE_MS => Ok(Some(ms)),
            _ => Err(poison(format_args!("ts_ms {value} is not a time in milliseconds"))),
        },
    }
}

/// Returns a key as text: a single column's text as it is, anything else as JSON, cut to the longest name.
fn key_text(key: &Json) -> Option<String> {
    let mut payload = payload_of(key)?;
    if let Some(columns) = payload.as_object()
        && columns.len() == 1
    {
        payload = columns.values().next().expect("there is one");
    }
    let mut text = payload.as_str().map_or_else(|| payload.to_string(), str::to_owned);
    text.truncate(text.floor_char_boundary(MAX_NAME_BYTES));
    Some(text)
}

fn poison(reason: impl std::fmt::Display) -> Error {
    Error::invalid("value", reason)
}

impl Events {
    /// Records changes. What cannot be understood is reported in its place, counted and kept; the rest is recorded in
    /// one step.
    ///
    /// At most [`MAX_BATCH_EVENTS`](super::MAX_BATCH_EVENTS) messages. An empty batch is an error, a batch of nothing but poison is not.
    pub async fn ingest(&self, consumer: &str, messages: &[Message]) -> Result<Ingested> {
        check_batch("messages", messages.len())?;
        let (mut events, mut tombstones, mut poison) = (Vec::new(), 0, Vec::new());
        for (index, message) in messages.iter().enumerate() {
            match parse(message) {
                Ok(Parsed::Change(event)) => events.push(event),
                Ok(Parsed::Tombstone) => tombstones += 1,
                Err(error) => poison.push(Poison { index, reason: error.to_string() }),
            }
        }
        let recorded = match events.as_slice() {
            [] => self.unchanged(consumer).await?,
            events => self.record_many(consumer, events).await?,
        };
        if !poison.is_empty() {
            self.keep_poison(consumer, messages, &poison).await?;
        }
        Ok(Ingested { recorded, tombstones, poison })
    }

    /// Returns the latest messages that could not be understood, each as `reason`, newline, message; newest first.
    pub async fn poison(&self, consumer: &str) -> Result<Vec<String>> {
        let place = self.place(consumer)?;
        self.info(consumer).await?;
        let reply = self.run(Command::new("LRANGE").key(&place.poison).arg("0").arg("-1").repeatable()).await?;
        let items = reply.as_array().ok_or_else(|| Error::unexpected("LRANGE", &reply))?;
        Ok(items
            .iter()
            .filter_map(|item| item.as_bytes())
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect())
    }

    async fn keep_poison(&self, consumer: &str, messages: &[Message], poison: &[Poison]) -> Result<()> {
        self.services.metrics().add(Counter::EventsPoison, poison.len() as u64);
        tracing::warn!(consumer, count = poison.len(), reason = poison[0].reason, "messages that are no events");
        let place = self.place(consumer)?;
        let texts: Vec<String> = poison
            .iter()
            .map(|poison| {
                let mut text = serde_json::to_string(&messages[poison.index]).expect("it was JSON");
                text.truncate(text.floor_char_boundary(MAX_POISON_BYTES));
                format!("{}\n{text}", poison.reason)
            })
            .collect();
        let kept_ms = ms(self.settings().retention);
        let command = Command::script::<_, &str>(&steps::POISON, &[place.definition(), &place.poison], &[]);
        let reply = self.run(command.arg(MAX_POISON_KEPT).arg(kept_ms).args_of(&texts)).await?;
        if reply.as_i64() == Some(1) { Ok(()) } else { Err(no_consumer(consumer)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Json) -> Result<Parsed> {
        parse(&Message { value: Some(value), ..Message::default() })
    }

    fn change(value: Json) -> Event {
        match read(value) {
            Ok(Parsed::Change(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_operation() {
        for (op, more) in [
            ("c", json!({"before": null, "after": {"id": 1}})),
            ("r", json!({"after": {"id": 1}})),
            ("u", json!({"before": {"id": 1}, "after": {"id": 1}})),
            ("d", json!({"before": {"id": 1}, "after": null})),
            ("d", json!({"before": null, "after": null})),
            ("t", json!({})),
            ("m", json!({"message": {"prefix": "p", "content": "aGk="}})),
        ] {
            let mut envelope = json!({"op": op, "ts_ms": 1_700_000_000_000_u64, "source": {"table": "t"}});
            envelope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let with_schema = json!({"schema": {"type": "struct"}, "payload": envelope});
            for form in [envelope.clone(), with_schema, Json::String(envelope.to_string())] {
                let event = change(form);
                assert_eq!(event.op.map(Op::letter), Some(op));
                assert_eq!(event.source_ms, Some(1_700_000_000_000));
            }
        }
    }

    #[test]
    fn tombstones() {
        assert_eq!(parse(&Message::default()), Ok(Parsed::Tombstone));
        assert_eq!(read(Json::Null), Ok(Parsed::Tombstone));
        assert_eq!(read(json!({"schema": null, "payload": null})), Ok(Parsed::Tombstone));
        assert_eq!(read(json!("null")), Ok(Parsed::Tombstone));
    }

    #[test]
    fn poison_says_why() {
        for (value, why) in [
            (json!("{\"op\":"), "not JSON"),
            (json!(7), "neither an envelope"),
            (json!([]), "neither an envelope"),
            (json!({"id": 1, "name": "flat"}), "op is missing"),
            (json!({"op": 1}), "op is not text"),
            (json!({"op": "x", "after": {}}), "none of c, u, d, r, t, m"),
            (json!({"op": "c", "after": null}), "without after"),
            (json!({"op": "c", "after": "row"}), "neither a row nor null"),
            (json!({"op": "d", "after": {}}), "with after"),
            (json!({"op": "m"}), "without message"),
            (json!({"op": "c", "after": {}, "ts_ms": -1}), "not a time"),
            (json!({"op": "c", "after": {}, "ts_ms": "now"}), "not a time"),
            (json!({"op": "c", "after": {}, "ts_ms": 1_700_000_000_000_000_000_u64}), "not a time"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert_eq!(error.status(), 422);
            assert!(error.to_string().contains(why), "{value}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(Json::String(deep)).is_err());
    }

    #[test]
    fn keys() {
        let key = |key: Json| match parse(&Message { key: Some(key), value: Some(json!({"op": "t"})), id: None }) {
            Ok(Parsed::Change(event)) => event.key,
            other => panic!("{other:?}"),
        };
        assert_eq!(key(json!({"id": 7})).as_deref(), Some("7"));
        assert_eq!(key(json!({"schema": {}, "payload": {"id": "a"}})).as_deref(), Some("a"));
        assert_eq!(key(json!({"a": 1, "b": 2})).as_deref(), Some("{\"a\":1,\"b\":2}"));
        assert_eq!(key(json!("é".repeat(2000))).unwrap().len(), 1024);
        assert_eq!(key(Json::Null), None);
    }
}
