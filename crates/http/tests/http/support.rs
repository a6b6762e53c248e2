//! A router over a store, asked in process.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use redpoll_http::{Options, router};
use redpoll_services::{Backend, Services, Settings};
use redpoll_store::{Config, Store};
use serde_json::Value as Json;
use tokio::sync::watch;
use tower::ServiceExt;

/// Most bytes of an answer that a test reads.
const ANSWER_MAX: usize = 16 << 20;

/// The API over a store of its own.
pub(crate) struct Api {
    router: Router,
    /// Feeds end when it is gone.
    _going_on: watch::Sender<bool>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Api {
    pub(crate) fn new() -> Api {
        Api::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Api {
        let store = Store::open(Config::in_memory()).unwrap();
        Api::over(Backend::embedded(store), options)
    }

    pub(crate) fn over(backend: Backend, options: Options) -> Api {
        let (going_on, stopping) = watch::channel(false);
        let router = router(Services::new(backend, Settings::default()), options, stopping);
        Api { router, _going_on: going_on }
    }

    pub(crate) async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, ANSWER_MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.ask("GET", uri, &[], "").await
    }

    pub(crate) async fn delete(&self, uri: &str) -> Answer {
        self.ask("DELETE", uri, &[], "").await
    }

    pub(crate) async fn json(&self, method: &str, uri: &str, body: Json) -> Answer {
        self.ask(method, uri, &[("content-type", "application/json")], &body.to_string()).await
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Gives a header's text, empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
