//! Who may ask: checked before any route is looked at.
//!
//! A server on loopback is reachable by every page the machine's browser shows. Three checks keep pages out: the name in
//! `Host` (a page that rebinds its own DNS name to 127.0.0.1 still sends that name), the page's `Origin`, and
//! `Sec-Fetch-Site` for requests that change something. A configured token is asked for on top and makes the check of
//! names unnecessary, since a page does not have it.
//!
//! It also bounds the time of a request and sets the headers that all answers carry.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, ORIGIN, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::answer::Problem;
use crate::options::Options;
use crate::routes::App;

/// Paths that are answered without a token: what asks there knows nothing else of the server.
const OPEN_PATHS: &[&str] = &["/healthz", "/readyz"];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request through or refuses it.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&app.options, &request) {
        Some(problem) => problem.into_response(),
        None => within_time(&app.options, request, next).await,
    };
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn within_time(options: &Options, request: Request, next: Next) -> Response {
    let timeout = options.request_timeout;
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took longer than {} ms", timeout.as_millis());
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message).into_response()
        }
    }
}

/// Says why a request is refused, if it is.
fn refusal(options: &Options, request: &Request) -> Option<Problem> {
    let text = |name: &HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str).or_else(|| text(&HOST));
    if options.wanted_token().is_none()
        && let Some(authority) = authority
        && !is_own_name(host_of(authority), &options.allowed_hosts)
    {
        let message = format!("not asked for under the name {authority:?}: allow it with --http-allow-host");
        return Some(Problem::new(StatusCode::FORBIDDEN, "host_refused", message));
    }
    if let Some(origin) = text(&ORIGIN)
        && !is_same_origin(origin, authority)
    {
        let message = format!("requests of pages from {origin:?} are refused");
        return Some(Problem::new(StatusCode::FORBIDDEN, "origin_refused", message));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && is_cross_site(request.headers()) {
        return Some(Problem::new(StatusCode::FORBIDDEN, "origin_refused", "cross-site requests are refused"));
    }
    let token = options.wanted_token()?;
    if OPEN_PATHS.contains(&request.uri().path()) || is_bearer(text(&AUTHORIZATION), token) {
        return None;
    }
    let message = "send the token: Authorization: Bearer …";
    Some(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
}

/// Tells whether a browser says that a page from elsewhere asks.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get(&SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none")
}

/// Tells whether a name can only mean this server: an address, a local name, or one that was allowed.
fn is_own_name(host: &str, allowed: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    host.parse::<Ipv4Addr>().is_ok()
        || host.parse::<Ipv6Addr>().is_ok()
        || host.ends_with(".localhost")
        || !(host.is_empty() || host.contains(['.', ':']))
        || allowed.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(&host))
}

/// Returns the host of `host`, `host:port` or `[address]:port`.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Tells whether a page comes from the very address it asks. The scheme may differ: a proxy may speak TLS.
fn is_same_origin(origin: &str, authority: Option<&str>) -> bool {
    let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    matches!((own, authority), (Some(own), Some(authority)) if own.eq_ignore_ascii_case(authority))
}

/// Compares in a time that does not depend on where the tokens differ.
fn is_bearer(authorization: Option<&str>, token: &str) -> bool {
    let Some((scheme, given)) = authorization.and_then(|text| text.split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && bool::from(given.trim().as_bytes().ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_rebound_entry_could_have_are_foreign() {
        for own in ["127.0.0.1", "127.0.0.1:8379", "[::1]:8379", "localhost:80", "LOCALHOST", "a.localhost", "redpoll"]
        {
            assert!(is_own_name(host_of(own), &[]), "{own}");
        }
        for foreign in ["evil.example", "127.0.0.1.evil.example:8379", "", "evil.:80", "[evil.example]"] {
            assert!(!is_own_name(host_of(foreign), &[]), "{foreign}");
        }
        assert!(is_own_name("cache.internal", &["Cache.Internal".to_owned()]));
        assert!(is_own_name("any.thing", &["*".to_owned()]));
    }

    #[test]
    fn origins() {
        let own = Some("localhost:8379");
        assert!(is_same_origin("http://localhost:8379", own));
        assert!(is_same_origin("https://LOCALHOST:8379", own));
        for foreign in ["http://localhost:3000", "null", "http://evil.example", "localhost:8379", ""] {
            assert!(!is_same_origin(foreign, own), "{foreign}");
        }
        assert!(!is_same_origin("http://localhost:8379", None));
    }

    #[test]
    fn tokens() {
        assert!(is_bearer(Some("Bearer secret"), "secret"));
        assert!(is_bearer(Some("bearer secret"), "secret"));
        for wrong in
            [None, Some("Bearer secre"), Some("Bearer secrets"), Some("Basic secret"), Some("secret"), Some("")]
        {
            assert!(!is_bearer(wrong, "secret"), "{wrong:?}");
        }
    }
}
