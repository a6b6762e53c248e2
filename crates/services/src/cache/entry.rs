//! How an entry looks in the store, and what a lookup gives.
//!
//! ```text
//! 1;j;1763718000.482113;5000;120\n{"name":"John"}
//! │ │ │                 │    │    └ payload: JSON text or bytes, to the end
//! │ │ │                 │    └ how long loading took, ms (for early refresh)
//! │ │ │                 └ stale time, ms: the last part of the key's lifetime
//! │ │ └ epoch of the partition the entry belongs to
//! │ └ kind: j JSON, b bytes, n known to be absent
//! └ version of this form
//! ```
//!
//! Text, so that any language and a person can read it. Whatever does not have this form is a miss: a cache must
//! survive foreign bytes in its place.

use serde_json::Value as Json;

use crate::error::{Error, Result};

/// A cached value.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Any JSON value; `null` too is a value.
    Json(Json),
    /// Bytes, returned as they were given.
    Bytes(Vec<u8>),
}

/// What a lookup found. The four cases are never confused.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// A value: `{}`, `0`, `false`, `""` and `null` are values.
    Hit(Body),
    /// A cached absence: a loader has said that there is nothing.
    Absent,
    /// Nothing is known.
    Miss,
    /// The store did not answer. The policy is to treat it as a miss; it is counted.
    Outage,
}

impl Lookup {
    /// Returns the value, if there is one.
    pub fn into_body(self) -> Option<Body> {
        match self {
            Self::Hit(body) => Some(body),
            _ => None,
        }
    }
}

/// An entry as read, freshness apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// `None` is a cached absence.
    pub(super) body: Option<Body>,
    pub(super) stale_ms: u64,
    pub(super) load_ms: u64,
}

/// Returns the kind and payload to store; `None` is a cached absence.
pub(super) fn encode(body: Option<&Body>, bytes_max: usize) -> Result<(&'static str, Vec<u8>)> {
    let (kind, payload) = match body {
        Some(Body::Json(json)) => ("j", serde_json::to_vec(json).expect("a JSON value has a text")),
        Some(Body::Bytes(bytes)) => ("b", bytes.clone()),
        None => ("n", Vec::new()),
    };
    if payload.len() > bytes_max {
        return Err(Error::TooLarge { size_bytes: payload.len(), max_bytes: bytes_max });
    }
    Ok((kind, payload))
}

/// Reads an entry of the given epoch; `None` if it is of another one or no entry at all.
pub(super) fn decode(stored: &[u8], epoch: &[u8]) -> Option<Entry> {
    let header_len = stored.iter().take(128).position(|byte| *byte == b'\n')?;
    let header = std::str::from_utf8(&stored[..header_len]).ok()?;
    let payload = &stored[header_len + 1..];
    let mut fields = header.split(';');
    if fields.next()? != "1" {
        return None;
    }
    let kind = fields.next()?;
    if fields.next()?.as_bytes() != epoch {
        return None;
    }
    let stale_ms = fields.next()?.parse().ok()?;
    let load_ms = fields.next()?.parse().ok()?;
    let body = match kind {
        "j" => Some(Body::Json(serde_json::from_slice(payload).ok()?)),
        "b" => Some(Body::Bytes(payload.to_vec())),
        "n" => None,
        _ => return None,
    };
    Some(Entry { body, stale_ms, load_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let read = |text: &str| decode(text.as_bytes(), b"e");
        assert_eq!(
            read("1;j;e;5;7\nnull"),
            Some(Entry { body: Some(Body::Json(Json::Null)), stale_ms: 5, load_ms: 7 })
        );
        assert_eq!(read("1;b;e;0;0\na\nb").unwrap().body, Some(Body::Bytes(b"a\nb".to_vec())));
        assert_eq!(read("1;n;e;0;0\n").unwrap().body, None);
        for foreign in
            ["", "\n", "1", "hello", "2;j;e;0;0\n1", "1;j;x;0;0\n1", "1;j;e;0;0\n{", "1;q;e;0;0\n", "1;j;e;-1;0\n1"]
        {
            assert_eq!(read(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn cap() {
        assert!(encode(Some(&Body::Bytes(vec![0; 10])), 10).is_ok());
        assert_eq!(encode(Some(&Body::Bytes(vec![0; 11])), 10), Err(Error::TooLarge { size_bytes: 11, max_bytes: 10 }));
    }
}
