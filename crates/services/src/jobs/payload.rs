//! What travels with a job, to the worker and back: bytes that nobody looks into.
//!
//! A record in the store is `j` or `b` (JSON or bytes), the length of the job's name, a colon, the name, and the payload to the
//! end: `j10:send_email{"to":17}`. One with headers begins with `J` or `B`, and has their length, a colon and their JSON before the payload:
//! `J10:send_email11:{"lang":"e"}{"to":17}`. A result and a progress have no name: `j{"sent":true}`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::headers::Headers;
use crate::error::{Error, Result};

/// Bytes, and whether they are JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    bytes: Vec<u8>,
    is_json: bool,
}

impl Payload {
    /// Takes bytes, which come back as they were given.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), is_json: false }
    }

    /// Writes a value as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value).map_err(|error| Error::invalid("payload", error))?;
        Ok(Self { bytes, is_json: true })
    }

    /// Returns the bytes; JSON as its text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Tells whether they were given as JSON.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Reads JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.bytes).map_err(|error| Error::invalid("payload", error))
    }

    /// Takes them back out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn mark(&self) -> u8 {
        if self.is_json { b'j' } else { b'b' }
    }

    /// Returns the form of results and progress.
    pub(super) fn marked(&self) -> Vec<u8> {
        [&[self.mark()], self.bytes.as_slice()].concat()
    }

    /// Reads that form.
    pub(super) fn read(stored: &[u8]) -> Option<Self> {
        let (mark, bytes) = stored.split_first()?;
        Some(Self { bytes: bytes.to_vec(), is_json: is_json(*mark)? })
    }

    /// Returns a job's record.
    pub(super) fn record(&self, name: &str, headers: &Headers) -> Vec<u8> {
        let length = name.len().to_string();
        if headers.is_empty() {
            return [&[self.mark()], length.as_bytes(), b":", name.as_bytes(), &self.bytes].concat();
        }
        let headers = headers.to_json();
        let mark = [self.mark().to_ascii_uppercase()];
        let more = headers.len().to_string();
        let parts: [&[u8]; 8] =
            [&mark, length.as_bytes(), b":", name.as_bytes(), more.as_bytes(), b":", headers.as_bytes(), &self.bytes];
        parts.concat()
    }

    /// Reads a job's record: its name, headers and payload.
    pub(super) fn read_record(record: &[u8]) -> Option<(String, Headers, Self)> {
        let (mark, rest) = record.split_first()?;
        let (name, rest) = counted(rest)?;
        let (headers, bytes) = match mark.is_ascii_uppercase() {
            true => counted(rest).and_then(|(headers, bytes)| Some((Headers::read(headers)?, bytes)))?,
            false => (Headers::default(), rest),
        };
        let is_json = is_json(mark.to_ascii_lowercase())?;
        Some((String::from_utf8(name.to_vec()).ok()?, headers, Self { bytes: bytes.to_vec(), is_json }))
    }
}

/// Reads a length, a colon and as many bytes; returns these and the rest.
fn counted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&text[..colon]).ok()?.parse().ok()?;
    text[colon + 1..].split_at_checked(length)
}

fn is_json(mark: u8) -> Option<bool> {
    match mark {
        b'j' => Some(true),
        b'b' => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_come_back() {
        for name in ["", "send_email", "a:b", "9:", "é"] {
            for payload in
                [Payload::bytes(*b"\0\xff\r\n"), Payload::bytes(*b""), Payload::json(&json!({"a": [1, null]})).unwrap()]
            {
                for headers in [Headers::new(), Headers::new().with("traceparent", "00-1:2-3").with("x", "é")] {
                    let record = payload.record(name, &headers);
                    assert_eq!(Payload::read_record(&record), Some((name.to_owned(), headers, payload.clone())));
                }
                assert_eq!(Payload::read(&payload.marked()), Some(payload));
            }
        }
        assert_eq!(Payload::json(&17).unwrap().record("send", &Headers::new()), b"j4:send17");
        let headers = Headers::new().with("a", "b");
        assert_eq!(Payload::bytes(*b"17").record("send", &headers), b"B4:send9:{\"a\":\"b\"}17");
    }

    #[test]
    fn foreign_bytes_are_none() {
        for bytes in [
            &b""[..],
            b"x",
            b"j",
            b"j:",
            b"j5:ab",
            b"j-1:",
            b"b99999999999999999999:",
            b"J1:a",
            b"J1:a2:[]",
            b"X1:a2:{}",
        ] {
            assert_eq!(Payload::read_record(bytes), None, "{bytes:?}");
        }
        assert_eq!(Payload::read(b""), None);
        assert_eq!(Payload::read(b"x1"), None);
    }
}
