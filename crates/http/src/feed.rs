//! Feeds over HTTP: as server-sent events, or over a WebSocket to whoever asks for one.
//!
//! ```text
//! server-sent events      event: message ↵ id: <position> ↵ data: <the thing> ↵ ↵      Last-Event-ID: <position> is the input's `resume`
//! WebSocket               {"kind": "message", "position": …, "body": <the thing>}
//!     what is said to it  {"id": …, …}  is answered  {"kind": "reply" | "error", "id": …, "body": …}
//! ```
//!
//! An answer begins when everything is listened to, so whoever has its head misses nothing. A reader that is too slow holds up nobody: the feed drops, and
//! says so. One that is gone, or takes nothing, is noticed by what cannot be sent to it, or by pings. There are only so many at a time, so that other requests
//! find connections; all end when the server stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::UPGRADE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use redpoll_services::operation::{Feed, FeedItem};
use serde_json::{Map, Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::answer::Problem;
use crate::guard;
use crate::routes::App;

/// How often something is sent when there is nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Longest time for a message to be taken by a WebSocket's other side.
const SEND_MAX: Duration = Duration::from_secs(30);

/// Places for feeds, and when they end.
#[derive(Debug, Clone)]
pub(crate) struct Feeds {
    max: u32,
    places: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Feeds {
    /// Makes so many places for feeds that end when `stopping` says so.
    pub(crate) fn new(max: u32, stopping: watch::Receiver<bool>) -> Feeds {
        Feeds { max, places: Arc::new(Semaphore::new(max as usize)), stopping }
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(&self) {
        self.places.acquire_many(self.max).await.map(drop).expect("the semaphore is never closed");
    }
}

/// Largest message that is said to a feed.
const SAID_MAX: usize = 64 * 1024;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Has proxies pass on what there is.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A feed with somebody at its other end.
struct Line {
    feed: Box<dyn Feed>,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

/// Takes the position from the header that a browser sends when it comes back.
pub(crate) fn add_position(headers: &HeaderMap, input: &mut Map<String, Json>) -> Result<(), Problem> {
    let Some(position) = headers.get(LAST_EVENT_ID).filter(|position| !position.is_empty()) else { return Ok(()) };
    let text =
        std::str::from_utf8(position.as_bytes()).map_err(|_| Problem::invalid("Last-Event-ID", "is not UTF-8"))?;
    input.insert("resume".to_owned(), Json::String(text.to_owned()));
    Ok(())
}

/// Opens a feed and answers with it.
pub(crate) async fn answer<F>(app: &App, parts: &mut Parts, open: F) -> Result<Response, Problem>
where
    F: Future<Output = redpoll_services::Result<Box<dyn Feed>>>,
{
    // A feed takes a place, so a page of somebody else's must not open one, as it may read what changes nothing.
    if guard::is_cross_site(&parts.headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "origin_refused", "cross-site requests for feeds are refused"));
    }
    let Feeds { max, places, stopping } = &app.feeds;
    let permit = places.clone().try_acquire_owned().map_err(|_| {
        let message = format!("there are {max} feeds already");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_feeds", message)
    })?;
    let is_websocket = parts.headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let upgrade = match is_websocket {
        false => None,
        true => {
            let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await;
            Some(upgrade.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_request", error.body_text()))?)
        }
    };
    let line = Line { feed: open.await?, stopping: stopping.clone(), _permit: permit };
    Ok(match upgrade {
        None => events(line),
        Some(upgrade) => {
            let upgrade = upgrade.max_frame_size(SAID_MAX).max_message_size(SAID_MAX);
            upgrade.on_upgrade(|socket| speak(socket, line))
        }
    })
}

impl Line {
    /// Waits for the next thing; nothing if the feed has ended or the server stops.
    async fn next(&mut self) -> Option<FeedItem> {
        tokio::select! {
            item = self.feed.next() => item,
            _ = self.stopping.wait_for(|stop| *stop) => None,
        }
    }
}

/// Answers with server-sent events.
fn events(line: Line) -> Response {
    let stream = unfold(line, |mut line| async {
        let FeedItem { kind, position, body } = line.next().await?;
        let event = Event::default().event(kind).data(body.to_string());
        let event = match position {
            Some(position) => event.id(position),
            None => event,
        };
        Some((Ok::<_, Infallible>(event), line))
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    let mut response = Sse::new(stream).keep_alive(heartbeat).into_response();
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Speaks over a WebSocket until either side ends it.
async fn speak(mut socket: WebSocket, mut line: Line) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.tick().await;
    let mut is_silent = false;
    loop {
        let message = tokio::select! {
            item = line.next() => match item {
                Some(item) => Message::Text(item.into_json().to_string().into()),
                None => break,
            },
            said = socket.recv() => match said {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(said)) => {
                    is_silent = false;
                    match said {
                        Message::Text(text) => hear(&line, text.as_bytes()).await,
                        Message::Binary(bytes) => hear(&line, &bytes).await,
                        _ => continue,
                    }
                }
            },
            _ = heartbeat.tick() => {
                // The last ping was not answered.
                if std::mem::replace(&mut is_silent, true) {
                    return;
                }
                Message::Ping(Default::default())
            }
        };
        if !matches!(tokio::time::timeout(SEND_MAX, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let frame = match *line.stopping.borrow() {
        true => CloseFrame { code: close_code::AWAY, reason: "the server stops".into() },
        false => CloseFrame { code: close_code::NORMAL, reason: "the feed has ended".into() },
    };
    // Whoever does not take it finds out anyway.
    tokio::time::timeout(SEND_MAX, socket.send(Message::Close(Some(frame)))).await.ok();
}

/// Answers what was said.
async fn hear(line: &Line, said: &[u8]) -> Message {
    let (id, told) = match serde_json::from_slice::<Map<String, Json>>(said) {
        Ok(mut input) => (input.remove("id"), line.feed.tell(Json::Object(input)).await),
        Err(error) => (None, Err(redpoll_services::Error::invalid("message", error))),
    };
    let (kind, body) = match told {
        Ok(body) => ("reply", body),
        Err(error) => ("error", json!({"code": error.code(), "message": error.to_string()})),
    };
    let mut answer = json!({"kind": kind, "body": body});
    if let Some(id) = id {
        answer["id"] = id;
    }
    Message::Text(answer.to_string().into())
}
