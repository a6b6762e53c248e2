//! Tests of the deliverer: every trigger reaches its target, once, whatever happens in between.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redpoll_services::events::webhook::{ATTEMPT_HEADER, ID_HEADER, SIGNATURE_HEADER, verify};
use redpoll_services::events::{Definition, Deliverer, Events, EventsSettings, PARTITIONS, Target, Trigger, Which};
use redpoll_services::jobs::{self, LeaseOptions, NewJob, Payload, State};
use redpoll_services::{Command, Error, Services};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::events::{by_events, settings, some};
use crate::support::{Place, eventually, tenant};

pub(crate) const SECRET: &str = "a secret of more than sixteen bytes";

/// A request as it came.
#[derive(Debug, Clone)]
struct Received {
    headers: HashMap<String, String>,
    body: Vec<u8>,
    status: u16,
}

/// A webhook receiver on a free port.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    status: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (received, status) = (Arc::default(), Arc::new(AtomicU16::new(200)));
        let task = tokio::spawn(serve(listener, Arc::clone(&received), Arc::clone(&status)));
        Self { address, received, status, task }
    }

    /// Takes the receiver away: nobody listens and every connection is cut.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.task = tokio::spawn(serve(listener, Arc::clone(&self.received), Arc::clone(&self.status)));
    }

    pub(crate) fn target(&self) -> Target {
        Target::Webhook { url: format!("http://{}/hook?x=1", self.address), secret: Some(SECRET.into()) }
    }

    fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Returns how often each id was accepted.
    pub(crate) fn accepted(&self) -> HashMap<String, usize> {
        let mut accepted = HashMap::new();
        for received in self.all().iter().filter(|received| received.status == 200) {
            *accepted.entry(received.headers[ID_HEADER].clone()).or_default() += 1;
        }
        accepted
    }
}

async fn serve(listener: TcpListener, received: Arc<Mutex<Vec<Received>>>, status: Arc<AtomicU16>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (received, status) = (Arc::clone(&received), Arc::clone(&status));
        connections.spawn(async move {
            let mut stream = BufReader::new(stream);
            while answer(&mut stream, &received, &status).await.is_some() {}
        });
    }
}

/// Answers one request; nothing when the connection ends.
async fn answer(stream: &mut BufReader<TcpStream>, received: &Mutex<Vec<Received>>, status: &AtomicU16) -> Option<()> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    assert_eq!(line, "POST /hook?x=1 HTTP/1.1\r\n");
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    let status = status.load(Ordering::SeqCst);
    let text = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\nok");
    received.lock().unwrap().push(Received { headers, body, status });
    stream.get_mut().write_all(text.as_bytes()).await.ok()
}

/// A deliverer that runs until it is told to stop.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(services: &Services) -> Self {
        let (stop, stopped) = oneshot::channel();
        let deliverer = Deliverer::new(services.clone());
        let task = tokio::spawn(deliverer.run(async move {
            let _ = stopped.await;
        }));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

pub(crate) fn quick() -> EventsSettings {
    EventsSettings {
        retry_base: Duration::from_millis(10),
        retry_cap: Duration::from_millis(40),
        attempts_max: 10_000,
        poll: Duration::from_millis(5),
        ..EventsSettings::default()
    }
}

pub(crate) async fn open(place: &Place, events: EventsSettings) -> (Services, Events) {
    let services = place.services_with(settings(events)).await;
    let events = services.events(&tenant());
    (services, events)
}

pub(crate) fn to(target: Target) -> Definition {
    Definition { target, ..by_events(10) }
}

pub(crate) async fn delivered(events: &Events, consumer: &str, count: u64) {
    eventually("delivery", || async {
        let status = events.status(consumer).await.unwrap();
        status.delivered_total == count && status.waiting == 0
    })
    .await;
}

pub(crate) async fn webhook_is_signed_and_names_its_trigger(place: Place) {
    let receiver = Receiver::start().await;
    let (services, events) = open(&place, quick()).await;
    events.define("c", &to(receiver.target())).await.unwrap();
    let running = Running::start(&services);
    let triggers = events.record_many("c", &some(10)).await.unwrap().triggers;
    delivered(&events, "c", 1).await;
    running.stop().await;
    let all = receiver.all();
    let [received] = all.as_slice() else { panic!("{all:?}") };
    let body: Trigger = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(body, triggers[0]);
    assert_eq!(received.headers[ID_HEADER], triggers[0].id);
    assert_eq!(received.headers[ATTEMPT_HEADER], "1");
    assert_eq!(received.headers["content-type"], "application/json");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let check = |secret: &str, body: &[u8]| {
        verify(secret.as_bytes(), &received.headers[SIGNATURE_HEADER], body, now, Duration::from_secs(60))
    };
    assert_eq!(check(SECRET, &received.body), Ok(()));
    assert!(check(SECRET, b"{}").is_err());
    assert!(check("another secret of that length", &received.body).is_err());
}

pub(crate) async fn receiver_down_then_up_accepts_each_trigger_once(place: Place) {
    let mut receiver = Receiver::start().await;
    let (services, events) = open(&place, quick()).await;
    events.define("c", &to(receiver.target())).await.unwrap();
    let running = Running::start(&services);
    let mut ids: Vec<String> = Vec::new();
    let mut record = async |count: usize| {
        let recorded = events.record_many("c", &some(count)).await.unwrap();
        ids.extend(recorded.triggers.into_iter().map(|trigger| trigger.id));
    };
    record(50).await;
    delivered(&events, "c", 5).await;
    receiver.kill().await;
    record(200).await;
    eventually("failed attempts", || async {
        let held = events.triggers("c", Which::Waiting, 0, 100).await.unwrap();
        held.len() == 20 && held.iter().all(|held| held.attempts > 1 && held.error.is_some())
    })
    .await;
    receiver.restart().await;
    record(100).await;
    delivered(&events, "c", 35).await;
    // And one that is up but says no.
    receiver.status.store(500, Ordering::SeqCst);
    record(30).await;
    eventually("refusals", || async { receiver.all().iter().filter(|received| received.status == 500).count() > 6 })
        .await;
    receiver.status.store(200, Ordering::SeqCst);
    delivered(&events, "c", 38).await;
    running.stop().await;
    let accepted = receiver.accepted();
    assert_eq!(accepted.len(), 38);
    for id in &ids {
        assert_eq!(accepted.get(id), Some(&1), "{id}");
    }
    assert_eq!(events.status("c").await.unwrap().dead, 0);
}

pub(crate) async fn many_deliverers_deliver_once(place: Place) {
    let receiver = Receiver::start().await;
    let shared = settings(quick());
    let tenant = tenant();
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(place.services_with(shared.clone()).await);
    }
    let events = processes[0].events(&tenant);
    for consumer in 0..5 {
        events.define(&format!("c{consumer}"), &to(receiver.target())).await.unwrap();
    }
    let running: Vec<_> = processes.iter().map(Running::start).collect();
    let mut count = 0;
    for round in 0..20 {
        count += events.record_many(&format!("c{}", round % 5), &some(100)).await.unwrap().triggers.len();
    }
    for consumer in 0..5 {
        delivered(&events, &format!("c{consumer}"), count as u64 / 5).await;
    }
    for running in running {
        running.stop().await;
    }
    let accepted = receiver.accepted();
    assert_eq!((accepted.len(), accepted.values().sum::<usize>()), (count, count));
}

pub(crate) async fn timer_and_delivery_together(place: Place) {
    let receiver = Receiver::start().await;
    let (services, events) = open(&place, quick()).await;
    let definition = Definition { max_time_ms: Some(20), target: receiver.target(), ..Definition::default() };
    events.define("idle", &definition).await.unwrap();
    let running = Running::start(&services);
    events.record_many("idle", &some(3)).await.unwrap();
    delivered(&events, "idle", 1).await;
    running.stop().await;
    let body: Trigger = serde_json::from_slice(&receiver.all()[0].body).unwrap();
    assert_eq!((body.count, body.window_end_ms - body.window_start_ms), (3, 20));
}

pub(crate) async fn attempts_run_out_and_requeue_delivers(place: Place) {
    let receiver = Receiver::start().await;
    receiver.status.store(400, Ordering::SeqCst);
    let (services, events) = open(&place, EventsSettings { attempts_max: 3, ..quick() }).await;
    events.define("c", &to(receiver.target())).await.unwrap();
    let running = Running::start(&services);
    events.record_many("c", &some(10)).await.unwrap();
    eventually("death", || async { events.status("c").await.unwrap().dead == 1 }).await;
    let attempts: Vec<_> = receiver.all().iter().map(|received| received.headers[ATTEMPT_HEADER].clone()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    let dead = events.triggers("c", Which::Dead, 0, 10).await.unwrap();
    assert!(dead[0].error.as_ref().unwrap().contains("400"), "{dead:?}");
    receiver.status.store(200, Ordering::SeqCst);
    assert_eq!(events.requeue("c", None).await.unwrap(), 1);
    delivered(&events, "c", 1).await;
    // A receiver that is gone for good is not asked again.
    receiver.status.store(410, Ordering::SeqCst);
    events.record_many("c", &some(10)).await.unwrap();
    eventually("death", || async { events.status("c").await.unwrap().dead == 1 }).await;
    running.stop().await;
    assert_eq!(receiver.all().iter().filter(|received| received.status == 410).count(), 1);
}

pub(crate) async fn one_slow_receiver_does_not_hold_up_the_others(place: Place) {
    // It accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?x=1", silent.local_addr().unwrap());
    let receiver = Receiver::start().await;
    let (services, events) = open(&place, EventsSettings { concurrency: 12, ..quick() }).await;
    events.define("slow", &to(Target::Webhook { url, secret: Some(SECRET.into()) })).await.unwrap();
    events.define("quick", &to(receiver.target())).await.unwrap();
    events.record_many("slow", &some(500)).await.unwrap();
    let running = Running::start(&services);
    events.record_many("quick", &some(200)).await.unwrap();
    delivered(&events, "quick", 20).await;
    assert_eq!(events.status("slow").await.unwrap().delivered_total, 0);
    running.task.abort();
}

pub(crate) async fn triggers_are_pushed_to_a_list(place: Place) {
    let (services, events) = open(&place, quick()).await;
    let key = format!("jobs-{}", uuid::Uuid::new_v4());
    events.define("c", &to(Target::List { key: key.clone() })).await.unwrap();
    let running = Running::start(&services);
    let triggers = events.record_many("c", &some(30)).await.unwrap().triggers;
    delivered(&events, "c", 3).await;
    running.stop().await;
    let reply = services.backend().call(Command::new("LRANGE").key(&key).arg("0").arg("-1")).await.unwrap();
    let mut pushed: Vec<Trigger> = reply
        .as_array()
        .unwrap()
        .iter()
        .map(|item| serde_json::from_slice(item.as_bytes().unwrap()).unwrap())
        .collect();
    pushed.sort_by(|left, right| left.id.cmp(&right.id));
    assert_eq!(pushed, triggers);
}

pub(crate) async fn spoilt_consumers_do_not_hold_up_others(place: Place) {
    let (services, events) = open(&place, quick()).await;
    let key = format!("rp:{{{}:x}}:list", events.tenant().name());
    let (target, keyring) = (|| Target::List { key: key.clone() }, &services.settings().keyring);
    // Enough for each partition, with something to deliver or a window that is over, before the others.
    for number in 0..40 {
        let name = format!("spoilt-{number}");
        let definition = Definition { max_time_ms: Some(1), ..to(target()) };
        events.define(&name, &definition).await.unwrap();
        events.record_many(&name, &some(if number % 2 == 0 { 10 } else { 1 })).await.unwrap();
        let partitions = (0..PARTITIONS).map(|number| format!("{number:02}"));
        let keys = partitions.map(|part| keyring.kept_group(events.tenant(), "events", &[&part]).named("c", &name));
        let mut spoilt = 0;
        for key in keys {
            if services.backend().call(Command::new("DEL").key(&key)).await.unwrap().as_i64() == Some(1) {
                services.backend().call(Command::new("SET").key(&key).arg("spoilt")).await.unwrap();
                spoilt += 1;
            }
        }
        assert_eq!(spoilt, 1);
    }
    for number in 0..16 {
        let name = number.to_string();
        events.define(&name, &to(target())).await.unwrap();
        events.define(&format!("timed-{name}"), &Definition { max_time_ms: Some(1), ..to(target()) }).await.unwrap();
        events.record_many(&name, &some(10)).await.unwrap();
        events.record_many(&format!("timed-{name}"), &some(1)).await.unwrap();
    }
    let running = Running::start(&services);
    for number in 0..16 {
        delivered(&events, &number.to_string(), 1).await;
        delivered(&events, &format!("timed-{number}"), 1).await;
    }
    running.stop().await;
}

pub(crate) async fn triggers_become_jobs_once(place: Place) {
    let (services, events) = open(&place, quick()).await;
    let queue = services.jobs(events.tenant()).queue("batches").unwrap();
    let target: Target = serde_json::from_str(r#"{"kind": "job", "queue": "batches"}"#).unwrap();
    assert_eq!(events.define("c", &to(target.clone())).await.unwrap().target, target);
    let triggers = events.record_many("c", &some(30)).await.unwrap().triggers;
    // An attempt whose outcome nobody heard: the job is there, was done, and is forgotten.
    let first = NewJob { id: Some(triggers[0].id.clone()), ..NewJob::new("trigger", Payload::default()) };
    assert!(queue.enqueue_once(&first, Duration::from_secs(60)).await.unwrap());
    let leased = queue.lease(&LeaseOptions::default()).await.unwrap().remove(0);
    queue.complete(&leased.ticket, None).await.unwrap();
    queue.clear(State::Completed, jobs::Which::All).await.unwrap();
    let running = Running::start(&services);
    delivered(&events, "c", 3).await;
    running.stop().await;
    let leased = queue.lease(&LeaseOptions { count: 10, ..LeaseOptions::default() }).await.unwrap();
    let mut payloads: Vec<Trigger> =
        leased.iter().map(|leased| leased.job.payload.as_ref().unwrap().parse().unwrap()).collect();
    payloads.sort_by(|left, right| left.id.cmp(&right.id));
    assert_eq!(payloads, triggers[1..], "each has become a job, and the first no second time");
    assert!(leased.iter().all(|leased| leased.job.name == "trigger"));
    for (queue, name) in [("", "x".to_owned()), ("q", "x".repeat(256))] {
        let bad = Target::Job { queue: queue.to_owned(), name };
        assert!(matches!(events.define("d", &to(bad)).await, Err(Error::InvalidInput { .. })));
    }
}

pub(crate) async fn triggers_are_appended_to_a_stream(place: Place) {
    let (services, events) = open(&place, quick()).await;
    let key = format!("stream-{}", uuid::Uuid::new_v4());
    let target = Target::Stream { key: key.clone(), max_entries: Some(1000) };
    assert_eq!(events.define("c", &to(target.clone())).await.unwrap().target, target);
    let running = Running::start(&services);
    let triggers = events.record_many("c", &some(10)).await.unwrap().triggers;
    delivered(&events, "c", 1).await;
    running.stop().await;
    let entries = services.backend().call(Command::new("XRANGE").key(&key).arg("-").arg("+")).await.unwrap();
    let entry = entries.as_array().unwrap()[0].as_array().unwrap()[1].as_array().unwrap();
    assert_eq!(entry[1].as_str(), Some(triggers[0].id.as_str()));
    let trigger: Trigger = serde_json::from_slice(entry[5].as_bytes().unwrap()).unwrap();
    assert_eq!(trigger, triggers[0]);
}

pub(crate) async fn triggers_are_published_to_a_channel(place: Place) {
    let (services, events) = open(&place, quick()).await;
    let channel = format!("channel-{}", uuid::Uuid::new_v4());
    let target = to(Target::Channel { channel: channel.clone() });
    let command = Command::new("COMMAND").arg("INFO").arg("PUBLISH");
    if services.backend().call(command).await.unwrap().as_array().unwrap()[0].is_nil() {
        // A store that cannot publish: better to say so at once than to let every trigger die.
        let error = events.define("c", &target).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { field: "target", .. }), "{error:?}");
        assert!(events.info("c").await.is_err());
        return;
    }
    let mut listener = place.listen(&channel).await;
    events.define("c", &target).await.unwrap();
    let running = Running::start(&services);
    let triggers = events.record_many("c", &some(10)).await.unwrap().triggers;
    let heard: Trigger = serde_json::from_str(&listener.payload().await).unwrap();
    assert_eq!(heard, triggers[0]);
    delivered(&events, "c", 1).await;
    running.stop().await;
}

pub(crate) async fn wrong_type_of_a_target_key_is_dead_after_its_attempts(place: Place) {
    let (services, events) = open(&place, EventsSettings { attempts_max: 2, ..quick() }).await;
    let key = format!("text-{}", uuid::Uuid::new_v4());
    services.backend().call(Command::new("SET").key(&key).arg("text")).await.unwrap();
    events.define("c", &to(Target::List { key })).await.unwrap();
    let running = Running::start(&services);
    events.record_many("c", &some(10)).await.unwrap();
    eventually("death", || async { events.status("c").await.unwrap().dead == 1 }).await;
    running.stop().await;
    let dead = events.triggers("c", Which::Dead, 0, 10).await.unwrap();
    assert!(dead[0].error.as_ref().unwrap().contains("WRONGTYPE"), "{dead:?}");
}
