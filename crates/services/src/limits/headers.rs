//! A verdict as HTTP fields, which are text here and nothing else.
//!
//! * `RateLimit-Policy` and `RateLimit`: draft-ietf-httpapi-ratelimit-headers-10. One item for each enforced limit;
//!   `q` and `r` are units, `w` and `t` whole seconds, rounded up; `qu` is the unit if it is not requests.
//! * `Retry-After`: RFC 9110, whole seconds, rounded up and at least 1, on refusals that waiting ends.
//! * `X-RateLimit-Limit`, `-Remaining`, `-Reset`: what most clients read. The binding limit; reset in seconds since 1970.

use std::fmt::Write;

use super::limit::{Mode, REQUESTS};
use super::verdict::{LimitState, Verdict};

/// The largest integer of a structured field (RFC 9651).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// Which fields to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderSet {
    /// Those of the draft, and those that most clients read.
    #[default]
    All,
    /// Those of the draft only.
    Standard,
    /// Those that most clients read only.
    Legacy,
}

/// Writes a verdict as fields, names in lower case. `Retry-After` is in every set.
pub fn headers(verdict: &Verdict, set: HeaderSet) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let enforced: Vec<&LimitState> = verdict.limits.iter().filter(|state| state.mode == Mode::Enforce).collect();
    if set != HeaderSet::Legacy && !enforced.is_empty() {
        let items = |item: fn(&LimitState) -> String| enforced.iter().map(|state| item(state)).collect::<Vec<_>>();
        fields.push(("ratelimit-policy", items(policy_item).join(", ")));
        fields.push(("ratelimit", items(state_item).join(", ")));
    }
    if set != HeaderSet::Standard
        && let (Some(limit), Some(remaining), Some(reset_at_ms)) =
            (verdict.limit, verdict.remaining, verdict.reset_at_ms)
    {
        fields.push(("x-ratelimit-limit", limit.to_string()));
        fields.push(("x-ratelimit-remaining", remaining.to_string()));
        fields.push(("x-ratelimit-reset", reset_at_ms.div_ceil(1000).to_string()));
    }
    if let Some(ms) = verdict.retry_after_ms.filter(|_| !verdict.allowed) {
        fields.push(("retry-after", ms.div_ceil(1000).max(1).to_string()));
    }
    fields
}

fn policy_item(state: &LimitState) -> String {
    let mut item = format!("{};q={};w={}", string(&state.name), integer(state.limit), seconds(state.window_ms));
    if state.unit != REQUESTS {
        let _ = write!(item, ";qu={}", string(&state.unit));
    }
    item
}

fn state_item(state: &LimitState) -> String {
    // Refused, the client wants to know when it is admitted; else, when the limit is whole again.
    let ms = if state.allowed { state.reset_after_ms } else { state.retry_after_ms };
    format!("{};r={};t={}", string(&state.name), integer(state.remaining), seconds(ms))
}

fn integer(number: u64) -> u64 {
    number.min(MAX_INTEGER)
}

fn seconds(ms: u64) -> u64 {
    integer(ms.div_ceil(1000))
}

/// Writes a string of a structured field; what it cannot hold is percent-encoded.
fn string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => string.extend(['\\', char::from(byte)]),
            b'%' | 0..=0x1f | 0x7f.. => {
                let _ = write!(string, "%{byte:02X}");
            }
            _ => string.push(char::from(byte)),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::VerdictSource;
    use crate::outage::OutagePolicy;

    fn state(name: &str, remaining: u64, mode: Mode) -> LimitState {
        LimitState {
            name: name.to_owned(),
            scope: "user:1".to_owned(),
            unit: "requests".to_owned(),
            mode,
            allowed: remaining > 0,
            limit: 10,
            window_ms: 60_000,
            remaining,
            reset_at_ms: 1_700_000_030_001,
            reset_after_ms: 30_001,
            retry_after_ms: if remaining > 0 { 0 } else { 1200 },
        }
    }

    #[test]
    fn fields_of_a_refusal() {
        let mut tokens = state("to\"k%\u{e9}", 5, Mode::Enforce);
        (tokens.unit, tokens.limit) = ("tokens".to_owned(), u64::MAX);
        let verdict = Verdict {
            allowed: false,
            binding: Some("minute".to_owned()),
            limit: Some(10),
            remaining: Some(0),
            reset_at_ms: Some(1_700_000_030_001),
            reset_after_ms: Some(30_001),
            retry_after_ms: Some(1200),
            limits: vec![state("minute", 0, Mode::Enforce), state("trial", 0, Mode::Shadow), tokens],
            ..Verdict::unasked(VerdictSource::Store)
        };
        let standard = [
            (
                "ratelimit-policy",
                "\"minute\";q=10;w=60, \"to\\\"k%25%C3%A9\";q=999999999999999;w=60;qu=\"tokens\"".to_owned(),
            ),
            ("ratelimit", "\"minute\";r=0;t=2, \"to\\\"k%25%C3%A9\";r=5;t=31".to_owned()),
        ];
        let legacy = [
            ("x-ratelimit-limit", "10".to_owned()),
            ("x-ratelimit-remaining", "0".to_owned()),
            ("x-ratelimit-reset", "1700000031".to_owned()),
        ];
        let retry = [("retry-after", "2".to_owned())];
        assert_eq!(headers(&verdict, HeaderSet::All), [&standard[..], &legacy, &retry].concat());
        assert_eq!(headers(&verdict, HeaderSet::Standard), [&standard[..], &retry].concat());
        assert_eq!(headers(&verdict, HeaderSet::Legacy), [&legacy[..], &retry].concat());
    }

    #[test]
    fn fields_without_limits() {
        let admitted = Verdict::unasked(VerdictSource::Unlimited);
        assert!(headers(&admitted, HeaderSet::All).is_empty());
        let outage = Verdict::outage(OutagePolicy::Closed, 1);
        assert_eq!(headers(&outage, HeaderSet::All), [("retry-after", "1".to_owned())]);
        let for_ever = Verdict { allowed: false, retry_after_ms: None, ..admitted };
        assert!(headers(&for_ever, HeaderSet::All).is_empty());
    }
}
