//! The form of a message: a CloudEvent in the JSON event format.
//!
//! Data that is JSON by its media type stands in `data`, as it was given; all other in `data_base64`. Extensions are members beside the attributes.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json};

use crate::error::Result;
use crate::streams::Event;

const JSON: &str = "application/json";

/// Writes an event under this id, checked.
pub(super) fn write(event: &Event, id: &str, message_max: usize) -> Result<Vec<u8>> {
    let fields = event.fields(id, message_max)?;
    let mut message =
        Vec::with_capacity(64 + fields.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>());
    for (name, value) in fields {
        message.push(if message.is_empty() { b'{' } else { b',' });
        let is_data = name == "data";
        let is_json = is_data && event.is_json() && is_readable(value);
        match (is_data, is_json) {
            (true, true) => {
                message.extend_from_slice(b"\"data\":");
                message.extend_from_slice(value);
            }
            (true, false) => {
                message.extend_from_slice(b"\"data_base64\":\"");
                message.extend_from_slice(BASE64.encode(value).as_bytes());
                message.push(b'"');
            }
            (false, _) => {
                push_text(&mut message, name.as_bytes());
                message.push(b':');
                push_text(&mut message, value);
            }
        }
    }
    message.push(b'}');
    Ok(message)
}

/// Tells whether data is JSON that can be read where it will stand, which is a level deeper.
fn is_readable(data: &[u8]) -> bool {
    serde_json::from_slice::<Json>(&[b"[", data, b"]"].concat())
        .is_ok_and(|list| list.as_array().is_some_and(|list| list.len() == 1))
}

/// Writes a checked name or attribute, which is UTF-8.
fn push_text(message: &mut Vec<u8>, text: &[u8]) {
    let text = std::str::from_utf8(text).expect("names and attributes are texts");
    serde_json::to_writer(message, text).expect("a text has a JSON form, and memory does not fail");
}

/// Reads an event; none if a message is none.
pub(super) fn read(message: &[u8]) -> Option<Event> {
    let mut members: Map<String, Json> = serde_json::from_slice(message).ok()?;
    let (data, data_base64) = (members.remove("data"), members.remove("data_base64"));
    let attributes: Vec<(String, String)> = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match value {
            Json::String(text) => Some((name, text)),
            Json::Bool(_) | Json::Number(_) => Some((name, value.to_string())),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let fields: Vec<(&[u8], &[u8])> =
        attributes.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let mut event = Event::read(&fields).ok()?;
    event.data = match (data, data_base64) {
        (None, None) => None,
        (None, Some(Json::String(text))) => Some(BASE64.decode(text).ok()?),
        (Some(Json::String(text)), None) if event.content_type.is_some() && !event.is_json() => Some(text.into_bytes()),
        (Some(data), None) => {
            event.content_type.get_or_insert_with(|| JSON.to_owned());
            Some(serde_json::to_vec(&data).ok()?)
        }
        _ => return None,
    };
    Some(event)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn there_and_back(event: &Event) -> Event {
        read(&write(event, event.id.as_deref().unwrap(), 1 << 20).unwrap()).unwrap()
    }

    #[test]
    fn events_come_back() {
        let full = Event {
            id: Some("1\"7\u{1F600}".to_owned()),
            subject: Some("ünïcode".to_owned()),
            extensions: BTreeMap::from([("region".to_owned(), "eu \\ \"west\"".to_owned())]),
            ..Event::json("/shop", "order.paid", &json!({"total": 5})).unwrap()
        };
        let with = |content_type: Option<&str>, data: Option<&[u8]>| Event {
            id: Some("x".to_owned()),
            content_type: content_type.map(str::to_owned),
            data: data.map(<[u8]>::to_vec),
            ..Event::new("s", "t")
        };
        let wide = b"123456789012345678901234567890123456789012345678901234567890";
        for event in [
            full,
            with(None, None),
            with(None, Some(b"\0\xff")),
            with(None, Some(b"")),
            with(Some("text/plain"), Some(b"{\"a\":1}")),
            with(Some("application/json"), Some(b"not json")),
            with(Some("application/json"), Some(b"null")),
            with(Some("application/json"), Some(b"1,2")),
            with(Some("application/json"), Some(b"\"\xff\"")),
            with(Some("application/json"), Some(b"\"\\ud800\"")),
            with(Some("application/json"), Some("[".repeat(127).as_bytes())),
            with(Some("application/json"), Some(("[".repeat(127) + &"]".repeat(127)).as_bytes())),
            with(Some("application/json"), Some(("[".repeat(126) + &"]".repeat(126)).as_bytes())),
            with(Some("application/json"), Some(wide)),
        ] {
            assert_eq!(there_and_back(&event), event);
        }
    }

    #[test]
    fn events_of_others() {
        let event = |members: &str| {
            read(format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t"{members}}}"#).as_bytes())
        };
        let data = |members: &str| event(members).and_then(|event| event.data);
        assert_eq!(data(r#","data":{"a":[1]}"#).unwrap(), br#"{"a":[1]}"#);
        assert_eq!(data(r#","data":"text""#).unwrap(), br#""text""#);
        assert_eq!(data(r#","datacontenttype":"text/plain","data":"text""#).unwrap(), b"text");
        assert_eq!(data(r#","data":null"#).unwrap(), b"null");
        assert_eq!(event(r#","count":5,"flag":true,"none":null"#).unwrap().extensions["count"], "5");
        for wrong in [r#","data":1,"data_base64":"AA==""#, r#","data_base64":"?""#, r#","nested":{}"#, r#","id":"""#] {
            assert!(event(wrong).is_none(), "{wrong}");
        }
        for raw in [&b"hello"[..], b"", b"[]", b"{}", b"\xff", br#"{"specversion":"1.0"}"#] {
            assert!(read(raw).is_none(), "{raw:?}");
        }
    }
}
