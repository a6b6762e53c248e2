//! Headers of a job: a few short texts beside its payload, such as the W3C trace context (`traceparent`, `tracestate`).
//!
//! They are kept with the job as they were given. Names are lower-case, as in HTTP/2, so that one means the same wherever it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Most headers of a job.
pub const MAX_HEADERS: usize = 32;

/// Longest name of a header, in bytes.
pub const MAX_HEADER_NAME_BYTES: usize = 64;

/// Largest size of all headers of a job, in bytes of their JSON.
pub const MAX_HEADERS_BYTES: usize = 4_096;

/// The headers of a job, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, String>);

impl Headers {
    /// Makes none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns these and one more; one of the same name is replaced. What it may be is checked when the job is enqueued.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Returns the value of a header.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns all, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses what is no header.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.len() > MAX_HEADERS {
            return Err(Error::invalid("headers", format_args!("more than {MAX_HEADERS}")));
        }
        for (name, value) in &self.0 {
            let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            if name.is_empty() || name.len() > MAX_HEADER_NAME_BYTES || !name.bytes().all(is_known) {
                return Err(Error::invalid(
                    "headers",
                    format_args!("{name:?} is no name: a-z, 0-9, -, _ and ., up to 64"),
                ));
            }
            if value.chars().any(char::is_control) {
                return Err(Error::invalid("headers", format_args!("{name:?} has control characters")));
            }
        }
        match self.is_empty() || self.to_json().len() <= MAX_HEADERS_BYTES {
            true => Ok(()),
            false => Err(Error::invalid("headers", format_args!("more than {MAX_HEADERS_BYTES} bytes"))),
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("texts have a JSON form")
    }

    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_headers_may_be() {
        let trace = Headers::new().with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace.check(), Ok(()));
        assert_eq!(Headers::read(trace.to_json().as_bytes()), Some(trace));
        let many = (0..=MAX_HEADERS).fold(Headers::new(), |headers, number| headers.with(number.to_string(), ""));
        for bad in [
            many,
            Headers::new().with("", "x"),
            Headers::new().with("Upper", "x"),
            Headers::new().with("a=b", "x"),
            Headers::new().with("a\n", "x"),
            Headers::new().with("é", "x"),
            Headers::new().with("x".repeat(MAX_HEADER_NAME_BYTES + 1), "x"),
            Headers::new().with("x", "a\r\nb"),
            Headers::new().with("x", "a\0b"),
            Headers::new().with("x", "x".repeat(MAX_HEADERS_BYTES)),
        ] {
            assert!(matches!(bad.check(), Err(Error::InvalidInput { field: "headers", .. })), "{bad:?}");
        }
    }
}
