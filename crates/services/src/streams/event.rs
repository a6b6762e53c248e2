//! Events: CloudEvents 1.0, one entry of the stream each.
//!
//! An entry has one field for each attribute, under the attribute's name, and `data` last:
//!
//! ```text
//! specversion 1.0 │ id … │ source … │ type … │ [subject] [time] [datacontenttype] [dataschema] [partitionkey] [traceparent] [extensions]
//!   │ [data], the bytes as they were given │ sequence, the number of the entry in its stream
//! ```
//!
//! `partitionkey`, `sequence` and `traceparent` are documented extensions of CloudEvents. `redriveto` is one of this service: the group that an entry
//! is meant for, because it was one of its dead letters. Entries with other fields, by others, are read as far as they are events.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md> and its `extensions`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::id::EntryId;
use crate::error::{Error, Result};
use crate::keys::MAX_NAME_BYTES;

/// Most extensions of an event.
pub const MAX_EXTENSIONS: usize = 32;

/// Longest name of an extension, in bytes.
pub const MAX_EXTENSION_NAME_BYTES: usize = 64;

const SPEC_VERSION: &str = "1.0";

/// Names that are no extension's: attributes, data, and what this service writes.
const TAKEN: [&str; 18] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "partitionkey",
    "traceparent",
    "data",
    "sequence",
    "redriveto",
    "dlorigin",
    "dlreason",
    "dlcause",
    "dlattempts",
    "dllost",
];

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Identifies it among those of its source; a random one if absent. While an id is remembered, an event of the same source and id is not
    /// published again.
    pub id: Option<String>,
    /// Where it happened: a URI reference.
    pub source: String,
    /// What sort of thing happened, such as `order.paid`.
    pub kind: String,
    /// What it happened to, within the source.
    pub subject: Option<String>,
    /// When it happened, as RFC 3339 writes it. The entry's id tells when it was published.
    pub time: Option<String>,
    /// Media type of the data.
    pub content_type: Option<String>,
    /// Where the form of the data is described: a URI.
    pub schema: Option<String>,
    /// Events of one key are handled one after the other, in the order they were published.
    pub key: Option<String>,
    /// The trace it belongs to, a `traceparent` of W3C Trace Context.
    pub traceparent: Option<String>,
    /// Other attributes: names of lower-case letters and digits.
    pub extensions: BTreeMap<String, String>,
    /// What there is to tell, bytes that nobody looks into.
    pub data: Option<Vec<u8>>,
}

/// An event in its stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is.
    pub id: EntryId,
    /// Its number, from 1 without gaps as long as nobody else adds to the stream or removes from it; none if somebody else added it.
    pub sequence: Option<u64>,
    /// The group that it is meant for, if it was a dead letter once.
    pub redriven_to: Option<String>,
    /// The event; why it is none, if somebody else added it.
    pub event: Result<Event, String>,
}

impl Event {
    /// Makes an event without data.
    pub fn new(source: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { source: source.into(), kind: kind.into(), ..Self::default() }
    }

    /// Makes an event whose data is JSON.
    pub fn json(source: impl Into<String>, kind: impl Into<String>, data: &impl Serialize) -> Result<Self> {
        let data = serde_json::to_vec(data).map_err(|error| Error::invalid("data", error))?;
        Ok(Self { content_type: Some("application/json".to_owned()), data: Some(data), ..Self::new(source, kind) })
    }

    /// Tells whether the data is JSON, by its media type.
    pub fn is_json(&self) -> bool {
        let media_type = self.content_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default();
        let media_type = media_type.trim().to_ascii_lowercase();
        media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
    }

    /// Reads data that is JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let data = self.data.as_deref().ok_or_else(|| Error::invalid("data", "there is none"))?;
        serde_json::from_slice(data).map_err(|error| Error::invalid("data", error))
    }

    /// Returns the attributes that have a name and are there, but for the id.
    fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let optional = [
            ("subject", &self.subject),
            ("time", &self.time),
            ("datacontenttype", &self.content_type),
            ("dataschema", &self.schema),
            ("partitionkey", &self.key),
            ("traceparent", &self.traceparent),
        ];
        let present = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        [("source", self.source.as_str()), ("type", self.kind.as_str())].into_iter().chain(present)
    }

    /// Returns the event's id, or a random one if it has none.
    pub(crate) fn id_or_new(&self) -> String {
        self.id.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string())
    }

    /// Returns fields and values as the entry has them, checked.
    pub(crate) fn fields<'a>(&'a self, id: &'a str, event_max: usize) -> Result<Vec<(&'a str, &'a [u8])>> {
        self.check(id)?;
        let mut fields: Vec<(&str, &[u8])> = Vec::with_capacity(12);
        fields.push(("specversion", SPEC_VERSION.as_bytes()));
        fields.push(("id", id.as_bytes()));
        fields.extend(self.attributes().map(|(name, value)| (name, value.as_bytes())));
        fields.extend(self.extensions.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        fields.extend(self.data.as_deref().map(|data| ("data", data)));
        let size_bytes = size_of(&fields);
        match size_bytes <= event_max {
            true => Ok(fields),
            false => Err(Error::TooLarge { size_bytes, max_bytes: event_max }),
        }
    }

    fn check(&self, id: &str) -> Result<()> {
        check_attribute("id", id)?;
        for (name, value) in self.attributes() {
            check_attribute(name, value)?;
        }
        if self.traceparent.as_deref().is_some_and(|text| !is_traceparent(text)) {
            return Err(Error::invalid("traceparent", "is not of the form 00-<32 hex digits>-<16 hex digits>-<2>"));
        }
        if self.time.as_deref().is_some_and(|text| !is_timestamp(text)) {
            return Err(Error::invalid("time", "is not of the form 2026-11-22T11:30:00Z"));
        }
        if self.extensions.len() > MAX_EXTENSIONS {
            return Err(Error::invalid("extensions", format_args!("more than {MAX_EXTENSIONS}")));
        }
        for (name, value) in &self.extensions {
            let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if !is_name || !(1..=MAX_EXTENSION_NAME_BYTES).contains(&name.len()) || TAKEN.contains(&name.as_str()) {
                return Err(Error::invalid("extensions", format_args!("{name:?} cannot be the name of one")));
            }
            check_attribute("extensions", value)?;
        }
        Ok(())
    }

    /// Reads the fields and values of an entry.
    pub(crate) fn read(fields: &[(&[u8], &[u8])]) -> Result<Self, String> {
        let mut event = Self::default();
        let mut version = None;
        for (name, value) in fields {
            if *name == b"data" {
                event.data = Some(value.to_vec());
                continue;
            }
            let text = |bytes: &[u8]| {
                let text = std::str::from_utf8(bytes).map(str::to_owned);
                text.map_err(|_| format!("attribute {:?} is not UTF-8", String::from_utf8_lossy(name)))
            };
            let (name, value) = (text(name)?, text(value)?);
            match name.as_str() {
                "specversion" => version = Some(value),
                "id" => event.id = Some(value),
                "source" => event.source = value,
                "type" => event.kind = value,
                "subject" => event.subject = Some(value),
                "time" => event.time = Some(value),
                "datacontenttype" => event.content_type = Some(value),
                "dataschema" => event.schema = Some(value),
                "partitionkey" => event.key = Some(value),
                "traceparent" => event.traceparent = Some(value),
                name if TAKEN.contains(&name) => {}
                _ => {
                    event.extensions.insert(name, value);
                }
            }
        }
        let is_there = |name: &str, text: &str| match text.is_empty() {
            true => Err(format!("not an event: attribute {name:?} is missing")),
            false => Ok(()),
        };
        is_there("specversion", version.as_deref().unwrap_or_default())?;
        is_there("id", event.id.as_deref().unwrap_or_default())?;
        is_there("source", &event.source)?;
        is_there("type", &event.kind)?;
        Ok(event)
    }
}

/// Returns the bytes of fields and values.
pub(super) fn size_of(fields: &[(&str, &[u8])]) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}

impl Entry {
    /// Reads an entry: fields and values one after the other.
    pub(super) fn read(id: EntryId, values: &[&[u8]]) -> Self {
        let fields: Vec<(&[u8], &[u8])> = values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let text = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| *name == wanted.as_bytes());
            found.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let sequence = text("sequence").and_then(|text| text.parse().ok());
        let redriven_to = text("redriveto").map(str::to_owned);
        Self { id, sequence, redriven_to, event: Event::read(&fields) }
    }
}

fn check_attribute(name: &'static str, value: &str) -> Result<()> {
    if value.is_empty() || value.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(name, format_args!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    match value.chars().any(char::is_control) {
        true => Err(Error::invalid(name, "must not contain control characters")),
        false => Ok(()),
    }
}

fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2]) && parts.iter().all(|part| is_hex(part))
}

/// Tells whether a text has the form of RFC 3339, with numbers that can be.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let fits = |form: &[u8], bytes: &[u8]| {
        bytes.len() == form.len()
            && form.iter().zip(bytes).all(|(form, byte)| match form {
                b'9' => byte.is_ascii_digit(),
                form => form.eq_ignore_ascii_case(byte),
            })
    };
    let Some((head, rest)) = bytes.split_at_checked(19) else { return false };
    let digits = rest.strip_prefix(b".").map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let zone = if rest.starts_with(b".") { &rest[1 + digits..] } else { rest };
    let has_fraction = !rest.starts_with(b".") || (1..=9).contains(&digits);
    let is_zone = fits(b"Z", zone) || fits(b"+99:99", zone) || fits(b"-99:99", zone);
    let within = |from: usize, low: u32, high: u32| {
        std::str::from_utf8(&head[from..from + 2])
            .ok()
            .and_then(|part| part.parse().ok())
            .is_some_and(|n: u32| (low..=high).contains(&n))
    };
    fits(b"9999-99-99T99:99:99", head)
        && has_fraction
        && is_zone
        && within(5, 1, 12)
        && within(8, 1, 31)
        && within(11, 0, 23)
        && within(14, 0, 59)
        && within(17, 0, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(values: &[&[u8]]) -> Entry {
        Entry::read(EntryId::ZERO, values)
    }

    #[test]
    fn events_come_back() {
        let full = Event {
            id: Some("17".to_owned()),
            subject: Some("ünïcode \u{1F600}".to_owned()),
            time: Some("2026-11-22T11:30:00.123+01:00".to_owned()),
            schema: Some("https://example.com/order".to_owned()),
            key: Some("order:17".to_owned()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            extensions: BTreeMap::from([("tenant1".to_owned(), "a b".to_owned())]),
            ..Event::json("/shop", "order.paid", &serde_json::json!({"total": 5})).unwrap()
        };
        let bytes = Event { id: Some("x".to_owned()), data: Some(b"\0\xff\r\n".to_vec()), ..Event::new("s", "t") };
        let empty = Event { id: Some("x".to_owned()), data: Some(Vec::new()), ..Event::new("s", "t") };
        for event in [full, bytes, empty, Event { id: Some("x".to_owned()), ..Event::new("s", "t") }] {
            let fields = event.fields(event.id.as_deref().unwrap(), 1 << 20).unwrap();
            let values: Vec<&[u8]> = fields.iter().flat_map(|(name, value)| [name.as_bytes(), value]).collect();
            assert_eq!(entry(&values).event, Ok(event.clone()));
        }
    }

    #[test]
    fn what_is_no_event() {
        let event = |change: fn(&mut Event)| {
            let mut event = Event::new("s", "t");
            change(&mut event);
            event.fields("x", 1000).map(drop)
        };
        assert!(event(|_| ()).is_ok());
        assert!(event(|event| event.source.clear()).is_err());
        assert!(event(|event| event.kind = "a\nb".to_owned()).is_err());
        assert!(event(|event| event.subject = Some("x".repeat(MAX_NAME_BYTES + 1))).is_err());
        assert!(event(|event| event.traceparent = Some("00-xyz".to_owned())).is_err());
        for name in ["", "Data", "data", "sequence", "a-b", "dlorigin"] {
            let extensions = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            assert!(Event { extensions, ..Event::new("s", "t") }.fields("x", 1000).is_err(), "{name:?}");
        }
        let large = event(|event| event.data = Some(vec![0; 1000]));
        assert!(matches!(large, Err(Error::TooLarge { max_bytes: 1000, .. })));
    }

    #[test]
    fn times() {
        for good in ["2026-11-22T11:30:00Z", "2026-11-22t11:30:00.1z", "2026-11-22T11:30:60.123456789-08:00"] {
            assert!(is_timestamp(good), "{good}");
        }
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T11:30:00",
            "2026-13-22T11:30:00Z",
            "2026-11-22T11:30:00.Z",
            "2026-11-22T11:30:00+1:00",
            "2026-11-22 11:30:00Z",
            "é026-11-22T11:30:00Z",
        ] {
            assert!(!is_timestamp(bad), "{bad}");
        }
    }

    #[test]
    fn entries_of_others() {
        let values = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect::<Vec<_>>()
        };
        assert!(entry(&values(&[("temperature", "21")])).event.unwrap_err().contains("specversion"));
        assert!(
            entry(&values(&[("specversion", "1.0"), ("id", "1"), ("source", "s")])).event.unwrap_err().contains("type")
        );
        assert!(entry(&[b"type", b"\xff"]).event.unwrap_err().contains("UTF-8"));
        let known =
            entry(&values(&[("specversion", "1.0"), ("id", "1"), ("source", "s"), ("type", "t"), ("sequence", "x")]));
        assert!(known.event.is_ok() && known.sequence.is_none());
    }
}
