//! Caching of HTTP responses, as a shared cache does by RFC 9111, on plain data: no server's or client's types.
//!
//! ```text
//! request ─► note on the address: Vary? never stored? ─► variant by the headers it names ─► cached, or fetched by one caller,
//!                                                                                           with If-None-Match if it may still hold
//! ```
//!
//! * Stored are answers to GET and HEAD whose status allows it, with a lifetime said by `s-maxage` or else `max-age`, less
//!   `Age`. Nothing is guessed: without a lifetime nothing is stored.
//! * Never stored: `no-store`, `private`, `no-cache`, `Vary: *`, a lifetime that cannot be read, and what was asked for
//!   with `Authorization`, unless the answer is `public` or has `s-maxage` or `must-revalidate`. Such an answer goes to
//!   its own caller only, and for a minute callers of that address do not wait for one another.
//! * `stale-while-revalidate` and `stale-if-error` are the stale and the fail-safe time; `must-revalidate` and
//!   `proxy-revalidate` forbid both.
//! * A request with `no-store` or `no-cache` is fetched. Any other method is fetched, and if it succeeds forgets what is
//!   stored of the address.
//! * A stored answer without ETag gets one, of its body. Who asks with `If-None-Match` and has it is answered 304.
//!
//! When an answer names headers in `Vary` that were not known to matter, it is not stored; the next answer for the address
//! is, as the variant that it is.
//!
//! Not here: `Expires` and other dates, ranges, and heuristics.

mod control;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::derived::derive;
use super::load::flatten;
use super::{Body, Fresh, LoadError, LoadOptions, Namespace, SetOptions, Source};
use crate::error::{Error, Result};
use crate::ttl::Ttl;
use control::{Judgement, header, judge};

/// For how long it is remembered that answers for an address are not to be stored.
const PASS_MS: i64 = 60_000;

/// Headers that a 304 repeats.
const REPEATED: [&str; 6] = ["cache-control", "content-location", "date", "etag", "expires", "vary"];

/// Names, in any case, and values.
pub type Headers = Vec<(String, String)>;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its method, in capitals.
    pub method: &'a str,
    /// The whole address, query included.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a [(String, String)],
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// A response and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What to send; with status 304 and no body if the caller has it.
    pub response: Response,
    /// Where it came from.
    pub source: Source,
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Note {
    /// Variants differ by these headers, lower case, in order.
    Vary(Vec<String>),
    /// Its answers are not to be stored.
    Pass,
}

/// The line before the body of a stored response.
#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Headers,
}

impl Namespace {
    /// Answers a request from the cache, or by `fetch`, which is given further headers to send: `if-none-match`, where a
    /// stored answer may still hold. It may run in the background after a stale answer was given.
    pub async fn http<E, L, F>(&self, request: Request<'_>, fetch: L) -> Result<Answer, LoadError<E>>
    where
        E: fmt::Display + Send + 'static,
        L: FnOnce(Headers) -> F + Send + 'static,
        F: Future<Output = Result<Response, E>> + Send + 'static,
    {
        let address = derive("url", &[request.url])?;
        let safe = matches!(request.method, "GET" | "HEAD");
        let note_key = derive("note", &[request.method, request.url])?;
        // What is no note is none: it is written anew.
        let note = if safe { self.get::<Note>(note_key.as_str()).await.ok().flatten() } else { None };
        if !safe || note == Some(Note::Pass) || control::bypasses(request.headers) {
            let response = fetch(Headers::new()).await.map_err(LoadError::Loader)?;
            if !safe && (200..400).contains(&response.status) {
                self.invalidate_tag(address.as_str()).await?;
            }
            return Ok(Answer { response, source: Source::Unstored });
        }
        let known = match note {
            Some(Note::Vary(names)) => names,
            _ => Vec::new(),
        };
        let mut parts = vec![request.method, request.url];
        let values: Vec<String> = known.iter().map(|name| header(request.headers, name)).collect();
        parts.extend(known.iter().zip(&values).flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        let key = derive("http", &parts)?;
        let (namespace, tag) = (self.clone(), address.to_string());
        let authorized = !header(request.headers, "authorization").is_empty();
        let loader = move |previous: Option<Body>| async move {
            let previous = previous.as_ref().and_then(read);
            let etag = previous.as_ref().map(|previous| header(&previous.headers, "etag")).unwrap_or_default();
            let conditions = if etag.is_empty() { Headers::new() } else { vec![("if-none-match".to_owned(), etag)] };
            let fetched = fetch(conditions).await.map_err(LoadError::Loader)?;
            let response = match previous {
                Some(previous) if fetched.status == 304 => previous.refreshed_by(fetched),
                _ => fetched,
            };
            namespace.keep(note_key.as_str(), tag, known, response, authorized).await
        };
        let loaded = self.get_or_load(key.as_str(), &LoadOptions::default(), loader).await.map_err(flatten)?;
        let response = loaded.body.as_ref().and_then(read);
        let response = response.ok_or_else(|| Error::Backend("what is cached is no response".to_owned()))?;
        Ok(Answer { response, source: loaded.source }.for_caller(request.headers))
    }

    /// Decides whether a response is stored, and for how long; notes what the next request has to know.
    async fn keep<E>(
        &self,
        note_key: &str,
        tag: String,
        known: Vec<String>,
        mut response: Response,
        authorized: bool,
    ) -> Result<Fresh, LoadError<E>> {
        let noted = |ttl: Ttl| SetOptions { ttl: Some(ttl), tags: vec![tag.clone()], ..SetOptions::default() };
        let lifetimes = match judge(&response, authorized) {
            Judgement::Pass => {
                let note = serde_json::to_value(Note::Pass).expect("a note has a JSON form");
                self.put_note(note_key, note, &noted(Ttl::ms(PASS_MS)?)).await?;
                return Ok(Fresh::value(write(&response)).unstored());
            }
            Judgement::Once => return Ok(Fresh::value(write(&response)).unstored()),
            Judgement::Store(lifetimes) => lifetimes,
        };
        let mut names = lifetimes.vary;
        if names.iter().any(|name| !known.contains(name)) {
            names.extend(known);
            names.sort();
            names.dedup();
            let note = serde_json::to_value(Note::Vary(names)).expect("a note has a JSON form");
            self.put_note(note_key, note, &noted(self.settings.ttl)).await?;
            return Ok(Fresh::value(write(&response)).unstored());
        }
        if response.status == 200 && header(&response.headers, "etag").is_empty() {
            let digest: String = Sha256::digest(&response.body).iter().map(|byte| format!("{byte:02x}")).collect();
            response.headers.push(("etag".to_owned(), format!("\"{digest}\"")));
        }
        let set = SetOptions {
            stale: Some(lifetimes.stale),
            fail_safe: Some(lifetimes.fail_safe),
            ..noted(Ttl::try_from(lifetimes.fresh)?)
        };
        Ok(Fresh::value(write(&response)).with(set))
    }

    /// Stores a note. That it fails costs the next request a fetch.
    async fn put_note(&self, key: &str, note: serde_json::Value, set: &SetOptions) -> Result<()> {
        match self.store(key, &note.into(), set).await {
            Err(error) if !error.is_outage() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Response {
    /// Returns this response with the headers that a 304 has brought.
    fn refreshed_by(mut self, fetched: Response) -> Self {
        let brought = |name: &str| fetched.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        // A length is that of the 304.
        self.headers.retain(|(name, _)| name.eq_ignore_ascii_case("content-length") || !brought(name));
        let fetched = fetched.headers.into_iter();
        self.headers.extend(fetched.filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")));
        self
    }
}

impl Answer {
    /// Says 304 to a caller that has the response.
    fn for_caller(mut self, asked: &[(String, String)]) -> Self {
        let etag = header(&self.response.headers, "etag");
        let wanted = header(asked, "if-none-match");
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let has = wanted.trim() == "*" || wanted.split(',').any(|tag| !etag.is_empty() && weak(tag) == weak(&etag));
        if self.response.status == 200 && !wanted.is_empty() && has {
            self.response.status = 304;
            self.response.body = Vec::new();
            self.response.headers.retain(|(name, _)| REPEATED.contains(&name.to_ascii_lowercase().as_str()));
        }
        self
    }
}

fn write(response: &Response) -> Body {
    let head = Head { status: response.status, headers: response.headers.clone() };
    let head = serde_json::to_vec(&head).expect("a head has a JSON form");
    Body::from([&head[..], b"\n", &response.body].concat())
}

fn read(body: &Body) -> Option<Response> {
    let Body::Bytes(bytes) = body else { return None };
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let Head { status, headers } = serde_json::from_slice(&bytes[..end]).ok()?;
    Some(Response { status, headers, body: bytes[end + 1..].to_vec() })
}
