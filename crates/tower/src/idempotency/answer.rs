//! Responses as answers and back.
//!
//! ```text
//! metadata  {"status": 201, "headers": [["content-type", "application/json"], …]}        body as it is
//!           {"status": 201, "kept": false}                                               no body: it was too large
//! ```
//!
//! A body is read up to a limit. If there is more, or it breaks, the client still gets all of it: what has been read,
//! then the rest as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum_core::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::HeaderName;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use redpoll_services::idempotency::Answer;
use serde_json::{Value as Json, json};

use super::REPLAYED_HEADER;
use super::refusal::Refusal;

/// Statuses below 500 that say "not now" or "not you" rather than what came of the request.
const NOT_FINAL: &[StatusCode] = &[
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::CONFLICT,
    StatusCode::TOO_EARLY,
    StatusCode::TOO_MANY_REQUESTS,
];

/// Tells whether a response is what came of a request, so that asking again is answered with it.
pub(super) fn is_final(status: StatusCode) -> bool {
    !status.is_server_error() && !NOT_FINAL.contains(&status)
}

/// Reads a response. Returns it as it is to be sent on, and as the answer to store.
pub(super) async fn take(response: Response<Body>, kept: &[HeaderName], max_bytes: usize) -> (Response<Body>, Answer) {
    let (parts, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    let rest = loop {
        match body.frame().await {
            None => break None,
            Some(Err(error)) => break Some(Rest::Broken(Some(error))),
            Some(Ok(frame)) => {
                // Trailers are not kept.
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
                if read.len() > max_bytes {
                    break Some(Rest::Body(body));
                }
            }
        }
    };
    let read = read.freeze();
    let status = parts.status.as_u16();
    let answer = match rest {
        Some(_) => not_kept(status),
        None => {
            let headers: Vec<Json> = parts
                .headers
                .iter()
                .filter(|(name, _)| kept.contains(name))
                .filter_map(|(name, value)| Some(json!([name.as_str(), value.to_str().ok()?])))
                .collect();
            Answer::new(json!({"status": status, "headers": headers}), &read[..])
        }
    };
    let body = match rest {
        None => Body::from(read),
        Some(rest) => Body::new(Rejoined { read: Some(read), rest }),
    };
    (Response::from_parts(parts, body), answer)
}

/// Returns what is stored when an answer cannot be.
pub(super) fn not_kept(status: u16) -> Answer {
    Answer::new(json!({"status": status, "kept": false}), [])
}

/// Makes the response to a repeated request.
pub(super) fn replay(answer: Answer) -> Response<Body> {
    let status = answer.metadata["status"].as_u64().unwrap_or_default();
    if answer.metadata["kept"] == Json::Bool(false) {
        return Refusal::NotKept { status }.response();
    }
    let mut response = Response::new(Body::from(answer.body));
    let readable = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    *response.status_mut() = readable.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for header in answer.metadata["headers"].as_array().into_iter().flatten() {
        let (Some(name), Some(value)) = (header[0].as_str(), header[1].as_str()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    response
}

/// A body of which a part has been read already.
struct Rejoined {
    read: Option<Bytes>,
    rest: Rest,
}

enum Rest {
    Body(Body),
    Broken(Option<axum_core::Error>),
}

impl HttpBody for Rejoined {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        match &mut self.rest {
            Rest::Body(body) => Pin::new(body).poll_frame(cx),
            Rest::Broken(error) => Poll::Ready(error.take().map(Err)),
        }
    }
}
