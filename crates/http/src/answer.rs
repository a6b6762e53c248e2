//! Results and failures as responses.
//!
//! ```text
//! plain       the result                                        {"error": {"code", "message", "details"}}
//! envelope    {"success": true, "message", "data"}              {"success": false, "error": code, "details": message}
//! ```
//!
//! The status is the same with and without an envelope, and never 200 for a failure. A result that carries the fields of
//! a rate limit's decision also says so in headers, so that clients and proxies that know nothing of the body understand.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use redpoll_services::operation::{Envelope, Misfit, Operation};
use serde_json::{Value as Json, json};

/// Fields whose being false makes a result a refusal, and the status that says so where an operation lists it.
const REFUSALS: &[(&str, u16)] = &[("allowed", 429), ("acquired", 409)];

/// What went wrong, ready to be told.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Json,
}

impl Problem {
    /// Makes a problem; the code is stable and for machines.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { status, code, message: message.into(), details: Json::Null }
    }

    /// Makes the problem of a field whose value cannot be understood.
    pub(crate) fn invalid(field: &str, reason: impl Into<String>) -> Problem {
        let reason = reason.into();
        Problem {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "invalid_input",
            message: format!("{field}: {reason}"),
            details: json!({"field": field, "reason": reason}),
        }
    }

    /// Makes the problem of a body above the limit.
    pub(crate) fn too_large(max_bytes: usize) -> Problem {
        let mut problem = Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than the {max_bytes} bytes allowed"),
        );
        problem.details = json!({"max_bytes": max_bytes});
        problem
    }

    /// Writes it as an operation's callers expect.
    pub(crate) fn answer(self, envelope: Envelope) -> Response {
        let body = match envelope {
            Envelope::None => {
                json!({"error": {"code": self.code, "message": self.message, "details": self.details}})
            }
            Envelope::Outcome { .. } => json!({"success": false, "error": self.code, "details": self.message}),
        };
        json_response(self.status, &body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.answer(Envelope::None)
    }
}

impl From<Misfit> for Problem {
    fn from(misfit: Misfit) -> Problem {
        Problem::invalid(&misfit.field, misfit.reason)
    }
}

impl From<redpoll_services::Error> for Problem {
    fn from(error: redpoll_services::Error) -> Problem {
        use redpoll_services::Error;
        let details = match &error {
            Error::InvalidInput { field, reason } => json!({"field": field, "reason": reason}),
            Error::TooLarge { size_bytes, max_bytes } => json!({"size_bytes": size_bytes, "max_bytes": max_bytes}),
            _ => Json::Null,
        };
        Problem {
            status: StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: error.code(),
            message: error.to_string(),
            details,
        }
    }
}

/// Writes an operation's result.
pub(crate) fn success(operation: &Operation, result: Json) -> Response {
    let headers = rate_headers(&result);
    let refusal = REFUSALS
        .iter()
        .find(|(field, status)| result[*field] == Json::Bool(false) && operation.statuses.contains(status));
    let status = refusal.map(|(_, status)| *status).or_else(|| operation.statuses.first().copied()).unwrap_or(200);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let body = match operation.envelope {
        Envelope::None => result,
        Envelope::Outcome { message } => json!({"success": true, "message": message, "data": result}),
    };
    let mut response = json_response(status, &body);
    response.headers_mut().extend(headers);
    response
}

/// Writes JSON with a status.
pub(crate) fn json_response(status: StatusCode, body: &Json) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Says in headers what a decision of a rate limit says in fields; times are whole seconds, rounded up.
fn rate_headers(result: &Json) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(allowed) = result["allowed"].as_bool() else {
        return headers;
    };
    if let (Some(limit), Some(remaining), Some(reset_after_ms)) =
        (result["limit"].as_u64(), result["remaining"].as_u64(), result["reset_after_ms"].as_u64())
    {
        headers.insert(HeaderName::from_static("ratelimit-limit"), limit.into());
        headers.insert(HeaderName::from_static("ratelimit-remaining"), remaining.into());
        headers.insert(HeaderName::from_static("ratelimit-reset"), reset_after_ms.div_ceil(1000).into());
    }
    // Null if waiting does not help.
    if let Some(after_ms) = result["retry_after_ms"].as_u64().filter(|_| !allowed) {
        headers.insert(RETRY_AFTER, after_ms.div_ceil(1000).max(1).into());
    }
    headers
}
