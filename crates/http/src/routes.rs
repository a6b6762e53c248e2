//! The router: one route for each operation of each service, and the fallbacks.
//!
//! Operations are mounted below [`API_ROOT`], those in an envelope at the root. An operation runs in a task of its
//! own: a client that goes away in the middle does not cut a step short, and a defect in one is an answer with
//! status 500 instead of a connection that breaks. One that waits for others ends with its request: otherwise a client that
//! gives up and asks again would wait twice, and hold for a whole lease what nobody knows of. A feed lasts as long as its connection: see `feed`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use redpoll_services::operation::{Envelope, Method, Operation, Run, Shape};
use redpoll_services::{SERVICES, Services};
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::answer::{Problem, success};
use crate::feed::{self, Feeds};
use crate::input::{add_path, add_query, body_object};
use crate::options::Options;
use crate::traffic::Traffic;
use crate::{guard, openapi, system};

/// Where operations without an envelope are mounted.
pub const API_ROOT: &str = "/v1";

/// What all routes share.
pub(crate) struct App {
    pub(crate) services: Services,
    pub(crate) options: Options,
    pub(crate) traffic: Traffic,
    pub(crate) openapi: String,
    pub(crate) feeds: Feeds,
}

/// Returns all operations in the order of the tables.
pub(crate) fn operations() -> impl Iterator<Item = &'static Operation> {
    SERVICES.iter().flat_map(|service| service.operations)
}

/// Returns the path an operation is mounted at.
pub(crate) fn mounted_at(operation: &Operation) -> String {
    match operation.envelope {
        Envelope::None => format!("{API_ROOT}{}", operation.path),
        Envelope::Outcome { .. } => operation.path.to_owned(),
    }
}

/// Makes the router over services. Its feeds end when `stopping` says so, or its sender is gone.
pub fn router(services: Services, options: Options, stopping: watch::Receiver<bool>) -> Router {
    let feeds = Feeds::new(options.feeds_max, stopping);
    router_with(services, options, feeds)
}

/// Makes the router over services and places for feeds.
pub(crate) fn router_with(services: Services, options: Options, feeds: Feeds) -> Router {
    let app = Arc::new(App {
        services,
        options,
        traffic: Traffic::new(operations().count()),
        openapi: openapi::document().to_string(),
        feeds,
    });
    let mut paths: BTreeMap<String, MethodRouter<Arc<App>>> = system::routes();
    for (index, operation) in operations().enumerate() {
        let shape = Arc::new(Shape::of(operation));
        let handler = move |State(app): State<Arc<App>>, params, request| async move {
            let started = Instant::now();
            let outcome = serve(&app, operation, &shape, params, request).await;
            let response = outcome.unwrap_or_else(|problem| problem.answer(operation.envelope));
            app.traffic.answered(index, response.status(), started.elapsed());
            response
        };
        let methods = paths.remove(&mounted_at(operation)).unwrap_or_default();
        paths.insert(mounted_at(operation), methods.on(filter(operation.method), handler));
    }
    let mut router = Router::new();
    for (path, methods) in paths {
        router = router.route(&path, methods);
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), guard::check))
        .with_state(app)
}

/// Runs an operation on what a request says.
async fn serve(
    app: &App,
    operation: &'static Operation,
    shape: &Shape,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let params = params.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_path", error.body_text()))?;
    let (mut parts, body) = request.into_parts();
    let mut input = body_object(&parts.headers, body, app.options.body_max_bytes).await?;
    add_query(shape, parts.uri.query().unwrap_or_default(), &mut input)?;
    add_path(shape, params.iter(), &mut input)?;
    let run = match operation.run {
        Run::Answer(run) => run,
        Run::Feed(open) => {
            feed::add_position(&parts.headers, &mut input)?;
            return feed::answer(app, &mut parts, open(app.services.clone(), Json::Object(input))).await;
        }
    };
    let task = tokio::spawn(run(app.services.clone(), Json::Object(input)));
    let mut running = Running { task, waits: operation.waits };
    match (&mut running.task).await {
        Ok(Ok(result)) => Ok(success(operation, result)),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!(?operation, %error, "an operation broke");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the operation broke; the log says where"))
        }
    }
}

/// An operation under way. Dropping it gives up one that waits.
struct Running {
    task: JoinHandle<redpoll_services::Result<Json>>,
    waits: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.waits {
            self.task.abort();
        }
    }
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Put => MethodFilter::PUT,
        Method::Post => MethodFilter::POST,
        Method::Delete => MethodFilter::DELETE,
    }
}

async fn unknown_path(request: Request) -> Problem {
    let message = format!("there is nothing at {}; see /openapi.json", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "no_such_path", message)
}

async fn wrong_method(request: Request) -> Problem {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
