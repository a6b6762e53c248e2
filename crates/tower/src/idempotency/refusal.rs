//! What is said to a request that is not done: problem details (RFC 9457) with a stable `code`.

use axum_core::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// Why a request is not done.
#[derive(Debug)]
pub(super) enum Refusal {
    Missing,
    Malformed(&'static str),
    TooLarge { max_bytes: usize },
    Unreadable(String),
    InProgress { retry_after_ms: u64 },
    Mismatch,
    NotKept { status: u64 },
    Failed(redpoll_services::Error),
}

impl Refusal {
    pub(super) fn response(self) -> Response<Body> {
        let (status, code, detail) = self.parts();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    fn parts(&self) -> (u16, &'static str, String) {
        match self {
            Self::Missing => {
                (400, "idempotency_key_missing", "this request needs the header Idempotency-Key".to_owned())
            }
            Self::Malformed(why) => (400, "idempotency_key_malformed", format!("Idempotency-Key: {why}")),
            Self::TooLarge { max_bytes } => {
                (413, "too_large", format!("the body is larger than the {max_bytes} bytes allowed"))
            }
            Self::Unreadable(why) => (400, "unreadable_body", format!("the body could not be read: {why}")),
            Self::InProgress { .. } => {
                (409, "idempotency_in_progress", "a request with this Idempotency-Key is in progress".to_owned())
            }
            Self::Mismatch => {
                (422, "idempotency_key_reused", "this Idempotency-Key was used for another request".to_owned())
            }
            Self::NotKept { status } => (
                410,
                "idempotency_answer_not_kept",
                format!("the request was done with status {status}; its answer was too large to be kept"),
            ),
            // What the layer passes on is its own, so the client's input is at fault only in its key.
            Self::Failed(error) => (error.status(), error.code(), error.to_string()),
        }
    }

    /// Returns after how many seconds to come again.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::InProgress { retry_after_ms } => Some(retry_after_ms.div_ceil(1000).max(1)),
            Self::Failed(error) if error.is_outage() => Some(1),
            _ => None,
        }
    }
}
