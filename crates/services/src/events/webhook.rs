//! Triggers as signed HTTP requests, and how a receiver checks them.
//!
//! ```text
//! POST /path HTTP/1.1
//! Content-Type: application/json
//! Idempotency-Key: 3f1c…-0000000017          the trigger's id, the same in every attempt
//! Redpoll-Attempt: 2
//! Redpoll-Signature: t=1700000000,v1=5257a8…  HMAC-SHA256 of "1700000000." and the body, in hexadecimal
//! ```
//!
//! A status of 2xx accepts the trigger. 410 refuses it for good. Anything else, or silence, is repeated later; a
//! `Retry-After` in seconds is respected. Redirections are not followed, so that a receiver cannot point the sender at
//! somebody else, and an answer is read only up to [`MAX_ANSWER_BYTES`].
//!
//! The time is signed along with the body, so a request cannot be replayed after a receiver's tolerance, and within it
//! the id tells. [`verify`] is the receiver's side.
//!
//! Not here: TLS. Addresses are `http://`; a proxy beside the sender can add it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;

use super::delivery::Lease;
use crate::error::{Error, Result};

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "redpoll-signature";

/// The header with the trigger's id.
pub const ID_HEADER: &str = "idempotency-key";

/// The header that counts attempts, from 1.
pub const ATTEMPT_HEADER: &str = "redpoll-attempt";

/// Shortest key of a signature, in bytes.
pub const MIN_SECRET_BYTES: usize = 16;

/// Longest key of a signature, in bytes.
pub const MAX_SECRET_BYTES: usize = 1024;

/// Longest address, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// How much of an answer is read.
pub const MAX_ANSWER_BYTES: usize = 65_536;

/// Returns the value of the signature header for a body sent at `seconds` since 1970.
pub fn sign(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let digest = code(secret, seconds, body).finalize().into_bytes();
    let mut text = format!("t={seconds},v1=");
    for byte in digest {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Checks a signature header against the body as received, in constant time.
///
/// The error says what is wrong: the header's form, a time further than `tolerance` from `now_seconds`, or the code.
pub fn verify(secret: &[u8], header: &str, body: &[u8], now_seconds: u64, tolerance: Duration) -> Result<()> {
    let invalid = |reason: &str| Error::invalid("signature", reason);
    let (time, rest) = header
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(",v1="))
        .ok_or_else(|| invalid("is not of the form t=…,v1=…"))?;
    let seconds: u64 = time.parse().map_err(|_| invalid("has a time that is no number"))?;
    if now_seconds.abs_diff(seconds) > tolerance.as_secs() {
        return Err(invalid("is too old, or from the future"));
    }
    let hex = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
    let digest: Option<Vec<u8>> = rest.as_bytes().chunks(2).map(hex).collect();
    let digest = digest.ok_or_else(|| invalid("is not hexadecimal"))?;
    code(secret, seconds, body).verify_slice(&digest).map_err(|_| invalid("does not match"))
}

fn code(secret: &[u8], seconds: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length will do");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// Refuses addresses that are no `http://host[:port]/path`.
pub(super) fn check_url(url: &str) -> Result<()> {
    let invalid = |reason: &str| Err(Error::invalid("url", reason));
    if url.len() > MAX_URL_BYTES {
        return Err(Error::invalid("url", format_args!("longer than {MAX_URL_BYTES} bytes")));
    }
    let Ok(uri) = url.parse::<Uri>() else {
        return invalid("is not an address");
    };
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if authority.as_str().contains('@') => invalid("must not contain credentials"),
        (Some("http"), Some(authority)) if !authority.host().is_empty() => Ok(()),
        (Some("https"), _) => invalid("https is not supported; put a proxy beside the server"),
        _ => invalid("must be http://host[:port]/path"),
    }
}

/// Refuses keys that are too short to be kept secret.
pub(super) fn check_secret(secret: &str) -> Result<()> {
    match secret.len() {
        MIN_SECRET_BYTES..=MAX_SECRET_BYTES => Ok(()),
        _ => Err(Error::invalid("secret", format_args!("must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"))),
    }
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Later { error: String, wait: Option<Duration> },
    Never { error: String },
}

/// Sends webhooks; keeps connections for the next ones.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl Sender {
    pub(super) fn new(timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(8).build(connector);
        Self { client, timeout }
    }

    /// Makes one attempt.
    pub(super) async fn send(&self, url: &str, secret: &str, lease: &Lease) -> Answer {
        let body = lease.trigger.payload();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("redpoll/", env!("CARGO_PKG_VERSION")))
            .header(ID_HEADER, &lease.trigger.id)
            .header(ATTEMPT_HEADER, lease.attempt)
            .header(SIGNATURE_HEADER, sign(secret.as_bytes(), seconds, body.as_bytes()))
            .body(Full::new(Bytes::from(body)));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Answer::Never { error: error.to_string() },
        };
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Later { error: format!("no answer within {} ms", self.timeout.as_millis()), wait: None },
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Later { error: chain(&error), wait: None },
        };
        let (head, body) = response.into_parts();
        // Reading the rest lets the connection be used again; what it says does not matter.
        let _ = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        judge(head.status, &head.headers)
    }
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Answer {
    let error = format!("the receiver answered {status}");
    let seconds = || headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs);
    match status {
        status if status.is_success() => Answer::Accepted,
        StatusCode::GONE => Answer::Never { error },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Answer::Later { error, wait: seconds() },
        _ => Answer::Later { error, wait: None },
    }
}

/// Returns an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    // No chain of causes is long; the limit is for one that would go in a circle.
    for _ in 0..8 {
        let Some(inner) = cause else { break };
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef";

    #[test]
    fn a_known_signature() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(sign(SECRET, 1_700_000_000, b"{}"), format!("t=1700000000,v1={KNOWN}"));
    }

    const KNOWN: &str = "e4f8e2ecae2295b2ddb2f0b5584c8275e226c0ebe9b3b819e70156bb67122e3e";

    #[test]
    fn verifying() {
        let header = sign(SECRET, 1000, b"body");
        let check = |secret, header: &str, body, now| verify(secret, header, body, now, Duration::from_secs(300));
        assert_eq!(check(SECRET, &header, b"body", 1300), Ok(()));
        assert_eq!(check(SECRET, &header, b"body", 700), Ok(()));
        assert!(check(SECRET, &header, b"body", 1301).is_err());
        assert!(check(SECRET, &header, b"Body", 1000).is_err());
        assert!(check(b"another secret..", &header, b"body", 1000).is_err());
        assert!(check(SECRET, &header.replace("t=1000", "t=1001"), b"body", 1000).is_err());
        for broken in
            ["", "t=1000", "t=x,v1=00", "t=1000,v1=zz", "t=1000,v1=", "t=1000,v1=é", &header[..header.len() - 1]]
        {
            assert!(check(SECRET, broken, b"body", 1000).is_err(), "{broken}");
        }
    }

    #[test]
    fn addresses() {
        for good in ["http://localhost", "http://127.0.0.1:8080/a?b=c", "http://[::1]:9/"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "https://host/",
            "ftp://host/",
            "/path",
            "host:80",
            "http://user:word@host/",
            "http://",
            "http:// host",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        assert!(check_url(&format!("http://host/{}", "x".repeat(MAX_URL_BYTES))).is_err());
        assert!(check_secret("short").is_err());
    }

    #[test]
    fn answers() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let wait = |status| match judge(status, &headers) {
            Answer::Later { wait, .. } => wait,
            other => panic!("{other:?}"),
        };
        assert_eq!(judge(StatusCode::ACCEPTED, &headers), Answer::Accepted);
        assert!(matches!(judge(StatusCode::GONE, &headers), Answer::Never { .. }));
        assert_eq!(wait(StatusCode::SERVICE_UNAVAILABLE), Some(Duration::from_secs(7)));
        assert_eq!(wait(StatusCode::FOUND), None);
        assert_eq!(wait(StatusCode::BAD_REQUEST), None);
    }
}
