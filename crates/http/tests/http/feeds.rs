//! Feeds as their readers see them: server-sent events and WebSockets of a running server.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use redpoll_http::{HttpConfig, HttpServer, Options};
use redpoll_services::streams::Event;
use redpoll_services::{Backend, Services, Settings, Tenant};
use redpoll_store::{Config, Store};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATIENCE: Duration = Duration::from_secs(30);

struct Site {
    services: Services,
    server: HttpServer,
}

async fn site() -> Site {
    site_with(Options::default()).await
}

async fn site_with(options: Options) -> Site {
    let store = Store::open(Config::in_memory()).unwrap();
    let services = Services::new(Backend::embedded(store), Settings::default());
    let server = HttpServer::start(services.clone(), &HttpConfig { options, ..HttpConfig::default() }).unwrap();
    Site { services, server }
}

impl Site {
    fn host(&self) -> String {
        self.server.addresses()[0].to_string()
    }

    async fn publish(&self, channel: &str, number: u32) -> u64 {
        let event = Event { id: Some(number.to_string()), ..Event::json("s", "t", &number).unwrap() };
        self.services.pubsub(&Tenant::default()).publish(channel, &event).await.unwrap().receivers
    }

    async fn publish_to_topic(&self, number: u32) {
        let stream = self.services.streams(&Tenant::default()).stream("orders").unwrap();
        stream.publish(&Event::json("s", "t", &number).unwrap()).await.unwrap();
    }

    /// Asks for events and reads the head of the answer.
    async fn events(&self, query: &str, headers: &str) -> Events {
        let mut stream = TcpStream::connect(self.host()).await.unwrap();
        let request = format!("GET /v1/pubsub/listen?{query} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Events(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push_str(&events.line().await);
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("cache-control: no-") && head.contains("x-accel-buffering: no"), "{head}");
        events
    }

    async fn socket(&self, query: &str) -> Socket {
        let url = format!("ws://{}/v1/pubsub/listen?{query}", self.host());
        Socket(connect_async(url).await.unwrap().0)
    }
}

/// Asks until the answer is yes.
async fn eventually(what: &str, probe: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !probe().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An answer in chunks, of which each event is one.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("a line in time").unwrap();
        assert!(read > 0, "the answer has ended");
        line
    }

    /// Returns kind, id and data of the next event.
    async fn next(&mut self) -> (String, Option<String>, Json) {
        let (mut kind, mut id, mut data) = (None, None, None);
        loop {
            let line = self.line().await;
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => kind = Some(text.to_owned()),
                Some(("id", text)) => id = Some(text.to_owned()),
                Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
                _ => {}
            }
            if let ("\n", Some(kind), Some(data)) = (line.as_str(), &kind, &data) {
                return (String::clone(kind), id, Json::clone(data));
            }
        }
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn message(&mut self) -> Message {
        let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message in time");
        message.expect("the socket is open").unwrap()
    }

    async fn next(&mut self) -> Json {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn say(&mut self, text: impl ToString) -> Json {
        self.0.send(Message::text(text.to_string())).await.unwrap();
        self.next().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_as_they_are_published() {
    let site = site().await;
    let mut events = site.events("channels=a&channels=b&patterns=p*", "").await;
    // The head says that all is listened to.
    for (number, channel) in ["a", "b", "p1"].into_iter().enumerate() {
        assert_eq!(site.publish(channel, number as u32).await, 1);
        let (kind, id, data) = events.next().await;
        assert_eq!((kind.as_str(), id), ("message", None));
        assert_eq!((&data["channel"], &data["event"]["data"]), (&json!(channel), &json!(number)));
    }
    drop(events);
    // Whoever has gone is noticed, and unsubscribed, at the latest when something is sent to them.
    eventually("it is unsubscribed", async || site.publish("a", 0).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_comes_back_goes_on_where_it_was() {
    let site = site().await;
    let mut events = site.events("topics=orders", "").await;
    for number in 0..3 {
        site.publish_to_topic(number).await;
    }
    let (kind, mut position, _) = events.next().await;
    assert_eq!(kind, "ready");
    for number in 0..2 {
        let (_, id, data) = events.next().await;
        assert_eq!(data["event"]["data"], json!(number));
        position = id;
    }
    drop(events);
    site.publish_to_topic(3).await;
    let header = format!("Last-Event-ID: {}\r\n", position.unwrap());
    let mut events = site.events("topics=orders", &header).await;
    assert_eq!(events.next().await.0, "ready");
    for number in 2..4 {
        assert_eq!(events.next().await.2["event"]["data"], json!(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_is_told_what_it_missed() {
    let site = site().await;
    let mut events = site.events("channels=a&buffer=10", "").await;
    // More than fits into the sockets' buffers.
    let text = "x".repeat(100_000);
    let pubsub = site.services.pubsub(&Tenant::default());
    for number in 0..400_u32 {
        pubsub.publish("a", &Event::json("s", "t", &(number, &text)).unwrap()).await.unwrap();
    }
    let (mut heard, mut dropped, mut last) = (0, 0, 0);
    while last != 399 {
        let (kind, _, data) = events.next().await;
        match kind.as_str() {
            "gap" => dropped += data["count"].as_u64().unwrap(),
            _ => {
                heard += 1;
                last = data["event"]["data"][0].as_u64().unwrap();
            }
        }
    }
    assert!(dropped > 0 && heard + dropped == 400, "{heard} heard, {dropped} dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_websocket_it_is_a_conversation() {
    let site = site().await;
    let mut socket = site.socket("channels=a").await;
    site.publish("a", 1).await;
    let told = socket.next().await;
    assert_eq!((&told["kind"], &told["body"]["event"]["data"]), (&json!("message"), &json!(1)));
    let say =
        json!({"id": 7, "subscribe": {"channels": ["b"], "topics": ["orders"]}, "unsubscribe": {"channels": ["a"]}});
    assert_eq!(socket.say(say).await, json!({"kind": "reply", "id": 7, "body": {"done": true}}));
    assert_eq!(socket.next().await["kind"], json!("ready"));
    assert_eq!(site.publish("a", 2).await, 0);
    site.publish("b", 3).await;
    assert_eq!(socket.next().await["body"]["channel"], json!("b"));
    site.publish_to_topic(4).await;
    let told = socket.next().await;
    assert_eq!(told["body"]["event"]["data"], json!(4));
    assert!(told["position"].as_str().unwrap().contains("orders"), "{told}");
    for odd in ["", "[]", "{\"subscribe\": 5}", "{\"id\": 1, \"x\": 2}", "\u{1F600}"] {
        let told = socket.say(odd).await;
        assert_eq!((&told["kind"], &told["body"]["code"]), (&json!("error"), &json!("invalid_input")), "{odd}");
    }
    socket.0.send(Message::Ping(vec![1].into())).await.unwrap();
    assert_eq!(socket.message().await, Message::Pong(vec![1].into()));
    socket.0.close(None).await.unwrap();
    eventually("it is unsubscribed", async || site.publish("b", 0).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_upgrade_is_passed_over() {
    let site = site().await;
    let mut events = site.events("channels=a", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n").await;
    site.publish("a", 1).await;
    assert_eq!(events.next().await.2["event"]["data"], json!(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_ends_a_websocket() {
    let site = site().await;
    let mut socket = site.socket("channels=a").await;
    socket.0.send(Message::text("x".repeat(100_000))).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, async {
        while let Some(Ok(message)) = socket.0.next().await {
            assert!(matches!(message, Message::Close(_)), "{message:?}");
        }
    });
    end.await.expect("it is ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_end_when_the_server_stops() {
    let site = site().await;
    let mut events = site.events("channels=a", "").await;
    let mut socket = site.socket("channels=a").await;
    let begun = std::time::Instant::now();
    site.server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for feeds");
    let mut rest = Vec::new();
    events.0.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"0\r\n\r\n", "the answer ends as it should");
    match socket.message().await {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_are_guarded_and_counted() {
    let site = site_with(Options { token: Some("secret".to_owned()), feeds_max: 4, ..Options::default() }).await;
    let url = format!("ws://{}/v1/pubsub/listen?channels=a", site.host());
    let status = async |headers: &[(&'static str, &str)]| {
        let mut request = url.as_str().into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, response)) => (response.status().as_u16(), Some(socket)),
            Err(Error::Http(response)) => (response.status().as_u16(), None),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(status(&[]).await.0, 401);
    let token = ("authorization", "Bearer secret");
    assert_eq!(status(&[token, ("origin", "http://evil.example")]).await.0, 403);
    assert_eq!(status(&[token, ("sec-fetch-site", "cross-site")]).await.0, 403);
    let mut open = Vec::new();
    for _ in 0..4 {
        let (code, socket) = status(&[token]).await;
        assert_eq!(code, 101);
        open.push(socket);
    }
    assert_eq!(status(&[token]).await.0, 503);
    open.truncate(3);
    eventually("the place of one that is gone is free", async || status(&[token]).await.0 == 101).await;
}
