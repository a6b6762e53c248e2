//! Routes that belong to no service: health, metrics and the OpenAPI document.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde_json::json;

use crate::answer::json_response;
use crate::health::{self, Level};
use crate::metrics;
use crate::routes::App;

/// Media type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the routes by path.
pub(crate) fn routes() -> BTreeMap<String, MethodRouter<Arc<App>>> {
    BTreeMap::from([
        ("/healthz".to_owned(), get(alive)),
        ("/readyz".to_owned(), get(ready)),
        ("/metrics".to_owned(), get(metrics_text)),
        ("/openapi.json".to_owned(), get(openapi)),
    ])
}

/// The process is up; nothing else is looked at, so that a store that is down does not get the process restarted.
async fn alive() -> Response {
    json_response(StatusCode::OK, &json!({"status": "healthy"}))
}

/// The store works; 503 if it does not.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let health = health::examine(&app.services).await;
    let status = if health.status == Level::Critical { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    json_response(status, &serde_json::to_value(&health).unwrap_or_default())
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    ([(CONTENT_TYPE, PROMETHEUS)], metrics::collect(&app).await).into_response()
}

async fn openapi(State(app): State<Arc<App>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.openapi.clone()).into_response()
}
