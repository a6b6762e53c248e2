//! Recorders that are killed: exactly one trigger per crossing, and nothing lost that was acknowledged.
//!
//! Thirty-two threads record batches whose ids say which recorder they are of. Half of them, or all when they own the
//! store, are in a process of their own (this test program, started again) that says on its standard output what was
//! acknowledged to it, until it is killed with SIGKILL.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Child, Command as Process, Stdio};
use std::sync::{Arc, Mutex};

use redpoll_services::events::{Event, Events};
use redpoll_services::keys::Keyring;
use redpoll_services::{Backend, Services, Settings, Tenant};
use redpoll_store::{Config, Store};
use redpoll_testkit::Scratch;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::events::{by_events, with_ids};
use crate::support::{Place, eventually};
use crate::triggers::waiting;

/// Threads that record.
const RECORDERS: u64 = 32;
/// Those of them that are killed where the store is not theirs.
const KILLED: Range<u64> = 0..RECORDERS / 2;
/// Events of a batch; no divisor of the threshold, so crossings fall inside of batches.
const BATCH: u64 = 7;
/// Batches that one recorder has to record, many more than it comes to.
const BATCHES_EACH: u64 = 60;
/// Events after which a consumer fires.
const THRESHOLD: u64 = 10;
/// Acknowledged batches after which the kill comes.
const KILL_AFTER: usize = 100;
/// Times that the process which owns the store is killed.
const KILLS: u64 = 4;

const URL: &str = "REDPOLL_TEST_RECORDER_URL";
const PREFIX: &str = "REDPOLL_TEST_RECORDER_PREFIX";
const TURN: &str = "REDPOLL_TEST_RECORDER_TURN";
const ACKNOWLEDGED: &str = "acknowledged ";

/// What recorders were told: their batches, and the ids of the triggers these fired.
#[derive(Clone, Debug, Default)]
struct Told {
    batches: HashSet<u64>,
    triggers: HashSet<String>,
}

type Tell = Arc<dyn Fn(u64, Vec<String>) + Send + Sync>;

/// Says what was acknowledged in a process that is going to be killed. One write, so that no line is half of another.
fn print(batch: u64, triggers: &[String]) {
    let line = format!("\n{ACKNOWLEDGED}{batch} {}\n", triggers.join(" "));
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

impl Told {
    fn add(&mut self, batch: u64, triggers: Vec<String>) {
        self.batches.insert(batch);
        self.triggers.extend(triggers);
    }

    /// Takes a line of the process that is killed; other lines are the test program's own.
    fn read(&mut self, line: &str) {
        let Some(words) = line.strip_prefix(ACKNOWLEDGED) else { return };
        let mut words = words.split_whitespace();
        self.add(words.next().unwrap().parse().unwrap(), words.map(str::to_owned).collect());
    }
}

/// Records the batches of one recorder. Turn `n` begins where turn `n - 1` would have ended.
async fn record(events: Events, recorder: u64, turn: u64, tell: Tell) {
    for round in turn * BATCHES_EACH..(turn + 1) * BATCHES_EACH {
        let batch = round * RECORDERS + recorder;
        let recorded = events.record_many("c", &ids_of(batch)).await.unwrap();
        tell(batch, recorded.triggers.into_iter().map(|trigger| trigger.id).collect());
    }
}

fn ids_of(batch: u64) -> Vec<Event> {
    with_ids(batch * BATCH..(batch + 1) * BATCH)
}

/// Starts a thread for each recorder.
fn start_threads(events: &Events, recorders: Range<u64>, turn: u64, tell: &Tell) -> JoinSet<()> {
    let mut threads = JoinSet::new();
    for recorder in recorders {
        let record = record(events.clone(), recorder, turn, tell.clone());
        threads.spawn_blocking(|| Handle::current().block_on(record));
    }
    threads
}

fn settings(prefix: &str) -> Settings {
    Settings { keyring: Keyring::new(prefix).unwrap(), ..Settings::default() }
}

/// Opens a store whose log is on the disk before anything is acknowledged.
fn own(dir: &str) -> Services {
    let config = Config::in_directory(dir).set("appendfsync", "always").unwrap();
    Services::new(Backend::embedded(Store::open(config).unwrap()), settings("own"))
}

/// The process that is killed; without its variables there is nothing to record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorder_process() {
    let (Ok(url), Ok(prefix), Ok(turn)) = (std::env::var(URL), std::env::var(PREFIX), std::env::var(TURN)) else {
        return;
    };
    let (services, recorders) = match url.strip_prefix("embedded:") {
        Some(dir) => (own(dir), 0..RECORDERS),
        None => (Services::new(Backend::connect(&url).await.unwrap(), settings(&prefix)), KILLED),
    };
    let events = services.events(&Tenant::default());
    if events.status("c").await.is_err() {
        events.define("c", &by_events(THRESHOLD)).await.unwrap();
    }
    let tell: Tell = Arc::new(|batch, triggers| print(batch, &triggers));
    start_threads(&events, recorders, turn.parse().unwrap(), &tell).join_all().await;
    // Being killed is how it ends.
    std::future::pending::<()>().await;
}

/// The recorders that are killed.
enum Victims {
    Process(Child, std::thread::JoinHandle<()>),
    /// A store in the memory of this process has recorders in this process only.
    Tasks(JoinSet<()>),
}

impl Victims {
    fn start_process(url: &str, prefix: &str, turn: u64, told: &Arc<Mutex<Told>>) -> Self {
        let mut process = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::recorder_process"])
            .envs([(URL, url), (PREFIX, prefix), (TURN, turn.to_string().as_str())])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (output, told) = (BufReader::new(process.stdout.take().unwrap()), told.clone());
        let reader = std::thread::spawn(move || {
            output.lines().for_each(|line| told.lock().unwrap().read(&line.unwrap()));
        });
        Self::Process(process, reader)
    }

    fn start_tasks(events: &Events, told: &Arc<Mutex<Told>>) -> Self {
        let told = told.clone();
        let tell: Tell = Arc::new(move |batch, triggers| told.lock().unwrap().add(batch, triggers));
        Self::Tasks(KILLED.map(|recorder| record(events.clone(), recorder, 0, tell.clone())).collect())
    }

    /// Kills them in the middle of what they do and waits for the last they were told.
    async fn kill(self) {
        match self {
            Self::Process(mut process, reader) => {
                assert!(process.try_wait().unwrap().is_none(), "the recorder ended by itself");
                process.kill().unwrap();
                process.wait().unwrap();
                reader.join().unwrap();
            }
            Self::Tasks(mut tasks) => tasks.shutdown().await,
        }
    }
}

/// Waits until so many further batches were acknowledged.
async fn await_batches(told: &Mutex<Told>, further: usize) {
    let before = told.lock().unwrap().batches.len();
    eventually("recording", || async { told.lock().unwrap().batches.len() >= before + further }).await;
}

/// What must be true after any death: whole batches, one trigger per crossing, all that was acknowledged.
async fn check(events: &Events, told: &Told) {
    let status = events.status("c").await.unwrap();
    assert_eq!(status.events_total % BATCH, 0, "half a batch");
    assert_eq!(status.events_total, status.triggered_events_total + status.count);
    assert_eq!(
        (status.triggers_total, status.count),
        (status.events_total / THRESHOLD, status.events_total % THRESHOLD)
    );
    let triggers = waiting(events, "c").await;
    assert_eq!(triggers.len() as u64, status.triggers_total);
    let triggers: HashSet<String> = triggers.into_iter().collect();
    assert!(told.triggers.is_subset(&triggers), "lost: {:?}", told.triggers.difference(&triggers));
    for batch in &told.batches {
        let again = events.record_many("c", &ids_of(*batch)).await.unwrap();
        assert!(again.triggers.is_empty(), "batch {batch} was acknowledged and is lost");
    }
    assert_eq!(events.status("c").await.unwrap().events_total, status.events_total, "an acknowledged batch is lost");
}

/// Whoever takes over delivers everything again, and more.
async fn take_over(events: &Events, turns: u64) {
    let all = turns * BATCHES_EACH * RECORDERS * BATCH;
    for start in (0..all).step_by(500) {
        events.record_many("c", &with_ids(start..all.min(start + 500))).await.unwrap();
    }
    let status = events.status("c").await.unwrap();
    assert_eq!((status.events_total, status.triggers_total, status.count), (all, all / THRESHOLD, all % THRESHOLD));
    assert_eq!(waiting(events, "c").await.len() as u64, all / THRESHOLD);
}

pub(crate) async fn killed_recorder_leaves_whole_batches(place: Place) {
    let prefix = format!("k{}", uuid::Uuid::new_v4().simple());
    let events = place.services_with(settings(&prefix)).await.events(&Tenant::default());
    events.define("c", &by_events(THRESHOLD)).await.unwrap();
    let told = Arc::new(Mutex::new(Told::default()));
    let victims = match place.url() {
        "" => Victims::start_tasks(&events, &told),
        url => Victims::start_process(url, &prefix, 0, &told),
    };
    await_batches(&told, 1).await;
    let survived = told.clone();
    let tell: Tell = Arc::new(move |batch, triggers| survived.lock().unwrap().add(batch, triggers));
    let survivors = start_threads(&events, KILLED.end..RECORDERS, 0, &tell);
    await_batches(&told, KILL_AFTER).await;
    victims.kill().await;
    survivors.join_all().await;

    let told = told.lock().unwrap().clone();
    check(&events, &told).await;
    take_over(&events, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_owner_of_a_store_loses_nothing_acknowledged() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path().to_str().unwrap();
    let told = Arc::new(Mutex::new(Told::default()));
    for turn in 0..KILLS {
        let owner = Victims::start_process(&format!("embedded:{dir}"), "own", turn, &told);
        await_batches(&told, KILL_AFTER).await;
        owner.kill().await;
        let told = told.lock().unwrap().clone();
        check(&own(dir).events(&Tenant::default()), &told).await;
    }
    take_over(&own(dir).events(&Tenant::default()), KILLS).await;
}
