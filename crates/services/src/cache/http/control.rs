//! Whether a response may be stored by a cache that many share, and for how long (RFC 9111, RFC 5861).

use std::time::Duration;

use super::{Headers, Response};

/// Most headers that variants may differ by.
const VARY_MAX: usize = 16;

/// Statuses whose responses may be stored if they say for how long.
const STATUSES: [u16; 11] = [200, 203, 204, 300, 301, 404, 405, 410, 414, 451, 501];

/// Longest lifetime, in seconds: a year, as what is beyond it means.
const SECONDS_MAX: u64 = 31_536_000;

/// What is to be done with a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Store it.
    Store(Lifetimes),
    /// Do not store it; the next one of the same address will hardly be another case.
    Pass,
    /// Do not store it; the next one may be another case.
    Once,
}

/// For how long a response is stored, and by which headers of the request it varies: lower case, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lifetimes {
    pub(super) fresh: Duration,
    pub(super) stale: Duration,
    pub(super) fail_safe: Duration,
    pub(super) vary: Vec<String>,
}

/// Returns the values of a header, joined by commas; nothing if there is none.
pub(super) fn header(headers: &[(String, String)], name: &str) -> String {
    let values = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    values.map(|(_, value)| value.trim()).collect::<Vec<_>>().join(", ")
}

/// Whether a request wants nothing from a cache.
pub(super) fn bypasses(headers: &[(String, String)]) -> bool {
    let control = Control::read(headers);
    control.has("no-store") || control.has("no-cache")
}

/// Judges a response to a GET or HEAD.
pub(super) fn judge(response: &Response, authorized: bool) -> Judgement {
    let control = Control::read(&response.headers);
    let forbidden = ["no-store", "private", "no-cache"].iter().any(|name| control.has(name));
    let shared = ["public", "s-maxage", "must-revalidate"].iter().any(|name| control.has(name));
    let vary = header(&response.headers, "vary").to_ascii_lowercase();
    let mut vary: Vec<String> = vary.split(',').map(|name| name.trim().to_owned()).collect();
    vary.retain(|name| !name.is_empty());
    vary.sort();
    vary.dedup();
    if forbidden || (authorized && !shared) || vary.iter().any(|name| name == "*") || vary.len() > VARY_MAX {
        return Judgement::Pass;
    }
    if !STATUSES.contains(&response.status) {
        return Judgement::Once;
    }
    let Some(seconds) = control.seconds("s-maxage").or_else(|| control.seconds("max-age")) else {
        return Judgement::Pass;
    };
    let age = header(&response.headers, "age").parse().unwrap_or(0);
    let fresh = seconds.saturating_sub(age);
    if fresh == 0 {
        return Judgement::Once;
    }
    let strict = control.has("must-revalidate") || control.has("proxy-revalidate");
    let beyond = |name| Duration::from_secs(if strict { 0 } else { control.seconds(name).unwrap_or(0) });
    let (stale, fail_safe) = (beyond("stale-while-revalidate"), beyond("stale-if-error"));
    Judgement::Store(Lifetimes { fresh: Duration::from_secs(fresh), stale, fail_safe, vary })
}

/// The directives of Cache-Control.
struct Control(Headers);

impl Control {
    fn read(headers: &[(String, String)]) -> Self {
        let text = header(headers, "cache-control");
        let directives = text.split(',').map(|directive| {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
        });
        Self(directives.collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// Returns a number of seconds; none if there is none. What is said twice or cannot be read is 0: then it is old.
    fn seconds(&self, name: &str) -> Option<u64> {
        let mut values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
        let value = values.next()?;
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        match values.next() {
            None if is_number => Some(value.parse().unwrap_or(SECONDS_MAX).min(SECONDS_MAX)),
            _ => Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { status, headers, body: Vec::new() }
    }

    fn store(fresh: u64, stale: u64, fail_safe: u64) -> Judgement {
        let [fresh, stale, fail_safe] = [fresh, stale, fail_safe].map(Duration::from_secs);
        Judgement::Store(Lifetimes { fresh, stale, fail_safe, vary: Vec::new() })
    }

    #[test]
    fn what_is_stored_and_for_how_long() {
        for (control, expected) in [
            ("max-age=60", store(60, 0, 0)),
            ("MAX-AGE = \"60\" , Public", store(60, 0, 0)),
            ("max-age=60, s-maxage=10", store(10, 0, 0)),
            ("max-age=60, stale-while-revalidate=30, stale-if-error=300", store(60, 30, 300)),
            ("max-age=60, stale-while-revalidate=30, must-revalidate", store(60, 0, 0)),
            ("max-age=60, stale-if-error=30, proxy-revalidate", store(60, 0, 0)),
            ("max-age=99999999999999999999999", store(SECONDS_MAX, 0, 0)),
            ("max-age=60, no-store", Judgement::Pass),
            ("max-age=60, private", Judgement::Pass),
            ("max-age=60, private=\"x\"", Judgement::Pass),
            ("max-age=60, no-cache", Judgement::Pass),
            ("", Judgement::Pass),
            ("public", Judgement::Pass),
            ("max-age=0", Judgement::Once),
            ("max-age=-1", Judgement::Once),
            ("max-age=soon", Judgement::Once),
            ("max-age=60, max-age=70", Judgement::Once),
        ] {
            assert_eq!(judge(&said(200, &[("Cache-Control", control)]), false), expected, "{control}");
        }
        assert_eq!(judge(&said(200, &[("cache-control", "max-age=60"), ("Age", "20")]), false), store(40, 0, 0));
        assert_eq!(judge(&said(200, &[("cache-control", "max-age=60"), ("Age", "60")]), false), Judgement::Once);
        for (status, is_stored) in [(200, true), (404, true), (301, true), (206, false), (302, false), (500, false)] {
            let judgement = judge(&said(status, &[("cache-control", "max-age=60")]), false);
            assert_eq!(judgement == store(60, 0, 0), is_stored, "{status}");
        }
    }

    #[test]
    fn who_asked_with_authorization() {
        for (control, is_stored) in [
            ("max-age=60", false),
            ("max-age=60, public", true),
            ("s-maxage=60", true),
            ("max-age=60, must-revalidate", true),
        ] {
            let judgement = judge(&said(200, &[("cache-control", control)]), true);
            assert_eq!(judgement == store(60, 0, 0), is_stored, "{control}");
        }
    }

    #[test]
    fn variants() {
        let names = |vary: &str| match judge(&said(200, &[("cache-control", "max-age=1"), ("Vary", vary)]), false) {
            Judgement::Store(lifetimes) => Some(lifetimes.vary.join(" ")),
            _ => None,
        };
        assert_eq!(names("Accept-Language, accept ,ACCEPT,").as_deref(), Some("accept accept-language"));
        assert_eq!((names("*"), names("accept, *")), (None, None));
        let many: Vec<String> = (0..17).map(|number| format!("x{number}")).collect();
        assert_eq!(names(&many.join(",")), None);
    }
}
