//! Workers whose processes are killed or stopped, and workers whose store goes away: every job ends, none is lost, and what commits do is done once.
//!
//! This test program starts itself as the workers. Beside what commits count stands a number that handlers add to before they commit, as is often done:
//! it shows that deaths have fallen in between.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use redpoll_services::jobs::{Commit, Effect, NewJob, Payload, Queue};
use redpoll_services::keys::Keyring;
use redpoll_services::workers::{Context, Failure, Running, Worker};
use redpoll_services::{Backend, Command, Error, Services, Settings, Tenant};
use redpoll_store::commands::engine::Clock;
use redpoll_store::{Config, Store, SystemClock};
use redpoll_testkit::{Launch, Program, Proxy, RedisServer, Scratch};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::support::{Place, eventually};
use crate::workers::{enqueue, job};

const PROCESSES: usize = 8;
const JOBS: usize = 2_000;
const KILLS: usize = 24;
/// How many jobs are worked on by a store that is killed or whose clock jumps; it is killed once for so many of them.
const JOBS_OF_TROUBLED: usize = 600;
const JOBS_A_KILL: usize = 150;

pub(crate) const LEASE: Duration = Duration::from_millis(400);
const OFTEN: Duration = Duration::from_millis(200);

const URL: &str = "REDPOLL_TEST_WORKER_URL";
const PREFIX: &str = "REDPOLL_TEST_WORKER_PREFIX";
/// How many jobs there are and how many workers are killed, for runs that take longer.
const MORE_JOBS: &str = "REDPOLL_CHAOS_JOBS";
const MORE_KILLS: &str = "REDPOLL_CHAOS_KILLS";
const SAID: &str = "said ";

fn say(what: &str) {
    std::io::stdout().lock().write_all(format!("\n{SAID}{what}\n").as_bytes()).unwrap();
}

pub(crate) fn settings(prefix: &str) -> Settings {
    Settings { keyring: Keyring::new(prefix).unwrap(), ..Settings::default() }
}

pub(crate) fn mail(services: &Services) -> Queue {
    services.jobs(&Tenant::default()).queue("mail").unwrap()
}

/// The process that is killed or stopped; without its variables there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_process() {
    let (Ok(url), Ok(prefix)) = (std::env::var(URL), std::env::var(PREFIX)) else { return };
    let services = Services::new(Backend::connect(&url).await.unwrap(), settings(&prefix));
    let running = committing(&services, &prefix).start().unwrap();
    say(&format!("ready {}", running.instance()));
    running.ended().await;
}

/// A worker that counts each job twice: as part of its commit, and before it. Jobs of the name `wait` say that they run, and go on when they are told.
fn committing(services: &Services, prefix: &str) -> Worker {
    let (services, naive) = (services.clone(), format!("{prefix}:naive"));
    let worker = Worker::new(mail(&services)).fallback(move |cx: Context| {
        let (services, naive) = (services.clone(), naive.clone());
        async move {
            services.backend().call(Command::new("INCR").key(&naive)).await?;
            let id = cx.job().id.clone();
            let effects = vec![
                ("total".to_owned(), Effect::Add { by: 1 }),
                ("ids".to_owned(), Effect::Push { value: id.into_bytes() }),
            ];
            cx.commit(&Commit { effects, ..Commit::default() }).await?;
            Ok::<_, Failure>(())
        }
    });
    let worker = worker.handle("wait", |cx: Context| async move {
        say(&format!("inside {}", cx.job().id));
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().map(drop));
        line.await.ok();
        let effects = vec![("total".to_owned(), Effect::Add { by: 1 })];
        match cx.commit(&Commit { effects, ..Commit::default() }).await {
            Ok(()) => say("committed"),
            Err(Error::Conflict(_)) => say("refused"),
            Err(error) => say(&format!("error {error}")),
        }
        Ok::<_, Failure>(())
    });
    worker.concurrency(4).prefetch(8).lease(LEASE).announce_every(OFTEN)
}

/// A worker in a process of its own, killed if the test ends before it.
struct Member {
    process: Child,
    lines: UnboundedReceiver<String>,
}

impl Member {
    fn start(url: &str, prefix: &str) -> Self {
        let mut process = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker_chaos::worker_process", "--nocapture"])
            .envs([(URL, url), (PREFIX, prefix)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (tell, lines) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(said) = line.strip_prefix(SAID) {
                    // Nobody listens any more when the test is over.
                    let _ = tell.send(said.to_owned());
                }
            }
        });
        Self { process, lines }
    }

    async fn says(&mut self) -> String {
        tokio::time::timeout(Duration::from_secs(30), self.lines.recv()).await.expect("a line in time").expect("a line")
    }

    fn signal(&self, name: &str) {
        let sent = Process::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn integer(services: &Services, command: Command) -> u64 {
    let reply = services.backend().call(command).await.unwrap();
    reply.as_i64().unwrap_or_default().try_into().unwrap()
}

/// Returns the number that a longer run asks for.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().unwrap())
}

fn jobs_of_troubled() -> usize {
    number(MORE_JOBS, JOBS_OF_TROUBLED)
}

pub(crate) fn unique() -> String {
    format!("w{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn numbered(count: usize) -> Vec<NewJob> {
    let job =
        |number: usize| NewJob { lost_max: Some(9_999), attempts_max: Some(9_999), ..job(&number.to_string(), "send") };
    (0..count).map(|number| NewJob { retry_base: Some(Duration::from_millis(10)), ..job(number) }).collect()
}

/// What must be true when all is done: each job has completed, and its effects are there once.
async fn all_done_once(services: &Services, count: u64) {
    let queue = mail(services);
    let counts = queue.counts().await.unwrap();
    let left = counts.waiting + counts.delayed + counts.active + counts.blocked;
    assert_eq!((left, counts.completed_total, counts.dead_total), (0, count, 0), "{counts:?}");
    let key = |name: &str| queue.data_key(name).unwrap().as_str().to_owned();
    assert_eq!(integer(services, Command::new("GET").key(key("total"))).await, count);
    let ids = services.backend().call(Command::new("LRANGE").key(key("ids")).arg("0").arg("-1")).await.unwrap();
    let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!((ids.len() as u64, ids.iter().collect::<HashSet<_>>().len() as u64), (count, count), "once each");
}

pub(crate) async fn killed_workers_lose_no_job_and_do_none_twice(place: Place) {
    let (prefix, count, kills) = (unique(), number(MORE_JOBS, JOBS), number(MORE_KILLS, KILLS));
    let services = place.services_with(settings(&prefix)).await;
    let queue = mail(&services);
    for page in numbered(count).chunks(1_000) {
        enqueue(&queue, page).await;
    }
    let mut members: Vec<Member> = (0..PROCESSES).map(|_| Member::start(place.url(), &prefix)).collect();
    let mut random = redpoll_testkit::Random::new(0x5eed);
    for kill in 1..=kills {
        let goal = (count * kill / (kills + 2)) as u64;
        let done = || async { queue.counts().await.unwrap().completed_total >= goal };
        eventually("work goes on", done).await;
        let victim = random.below(PROCESSES as u64) as usize;
        members[victim].signal("KILL");
        members[victim] = Member::start(place.url(), &prefix);
    }
    eventually("all are done", || async { queue.counts().await.unwrap().completed_total == count as u64 }).await;
    all_done_once(&services, count as u64).await;
    let naive = integer(&services, Command::new("GET").key(format!("{prefix}:naive"))).await;
    assert!(naive > count as u64, "no death fell between an effect and its commit, so nothing was tested");
    // Of all that ever announced themselves, those are alive that live.
    let mut living = HashSet::new();
    for member in &mut members {
        living.insert(member.says().await.strip_prefix("ready ").unwrap().to_owned());
    }
    eventually("the dead are known to be", || async {
        let seen = services.workers(&Tenant::default()).list(1_000).await.unwrap();
        let alive: HashSet<String> = seen.into_iter().filter(|one| one.is_alive).map(|one| one.instance).collect();
        alive == living
    })
    .await;
}

pub(crate) async fn a_worker_that_stood_still_is_refused(place: Place) {
    let prefix = unique();
    let services = place.services_with(settings(&prefix)).await;
    let queue = mail(&services);
    enqueue(&queue, &[NewJob { lost_max: Some(9_999), ..NewJob::new("wait", Payload::default()) }]).await;
    let mut paused = Member::start(place.url(), &prefix);
    assert!(paused.says().await.starts_with("ready"));
    let inside = paused.says().await;
    paused.signal("STOP");
    // Its lease ends, and another takes the job and does it.
    let mut next = Member::start(place.url(), &prefix);
    assert!(next.says().await.starts_with("ready"));
    assert_eq!(next.says().await, inside);
    next.process.stdin.as_mut().unwrap().write_all(b"go on\n").unwrap();
    assert_eq!(next.says().await, "committed");
    // It wakes up, does not know, and is refused.
    paused.process.stdin.as_mut().unwrap().write_all(b"go on\n").unwrap();
    paused.signal("CONT");
    assert_eq!(paused.says().await, "refused");
    let total = Command::new("GET").key(queue.data_key("total").unwrap().as_str());
    assert_eq!(integer(&services, total).await, 1);
    let counts = queue.counts().await.unwrap();
    assert!(counts.completed_total == 1 && counts.lost_total > 0, "{counts:?}");
}

macro_rules! in_processes {
    ($($test:ident)*) => {
        mod redis { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Place::redis()).await;
            }
        )* }
        mod redpoll { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Place::redpoll()).await;
            }
        )* }
        mod cluster { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Place::cluster()).await;
            }
        )* }
    };
}

in_processes! { killed_workers_lose_no_job_and_do_none_twice a_worker_that_stood_still_is_refused }

// ---- The store goes away ----

/// Services behind a proxy, whose calls fail soon.
pub(crate) fn behind(proxy: &Proxy, prefix: &str) -> Services {
    let config = redpoll_services::BackendConfig {
        command_timeout: Duration::from_millis(300),
        ..redpoll_services::BackendConfig::default()
    };
    Services::new(Backend::connect_lazily(&proxy.url(), config).unwrap(), settings(prefix))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redpoll_that_is_killed_under_load_loses_no_job() {
    let scratch = Scratch::new().unwrap();
    let start = || -> Program {
        let args = ["--no-http", "--appendfsync", "always"].map(str::to_owned).to_vec();
        Launch { dir: Some(scratch.path().join("data")), args, ..Launch::default() }.start().unwrap()
    };
    let program = start();
    let (address, mut program) = (program.address(), Some(program));
    work_through_kills(address, || {
        program.take().expect("it runs").kill().unwrap();
        program.insert(start()).address()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_with_its_log_that_is_killed_under_load_loses_no_job() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).unwrap();
    work_through_kills(server.address(), || {
        server.kill().unwrap();
        server.restart().unwrap();
        server.address()
    })
    .await;
}

/// Has jobs enqueued and worked on while the store is killed and started again; `kill` does that and returns where it is then.
async fn work_through_kills(address: SocketAddr, mut kill: impl FnMut() -> SocketAddr) {
    let (proxy, prefix) = (Proxy::start(address).unwrap(), unique());
    let services = behind(&proxy, &prefix);
    let (producer, enqueued) = produce(&services);
    let workers: Vec<_> = (0..2).map(|_| committing(&services, &prefix).start().unwrap()).collect();
    for round in 1..jobs_of_troubled() / JOBS_A_KILL {
        let goal = round * JOBS_A_KILL;
        eventually("work goes on", || async { enqueued.load(Ordering::SeqCst) >= goal }).await;
        proxy.point(kill());
    }
    producer.await.unwrap();
    end_well(&services, workers).await;
}

/// Enqueues jobs, each until it is acknowledged: an id is enqueued once. Counts them.
fn produce(services: &Services) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    let (queue, enqueued) = (mail(services), Arc::new(AtomicUsize::new(0)));
    let count = enqueued.clone();
    let producer = tokio::spawn(async move {
        for job in numbered(jobs_of_troubled()) {
            while queue.enqueue_once(&job, Duration::from_secs(86_400)).await.is_err() {
                tokio::task::yield_now().await;
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (producer, enqueued)
}

/// Waits until all jobs are done, each once.
async fn end_well(services: &Services, workers: Vec<Running>) {
    let (queue, count) = (mail(services), jobs_of_troubled() as u64);
    let done = AtomicU64::new(0);
    while done.load(Ordering::SeqCst) < count {
        eventually("work goes on", || async {
            let now = queue.counts().await.map_or(0, |counts| counts.completed_total);
            done.fetch_max(now, Ordering::SeqCst) < now
        })
        .await;
    }
    for running in workers {
        let summary = running.stop().await;
        assert_eq!(summary.untold, 0, "{summary:?}");
    }
    all_done_once(services, count).await;
}

// ---- The store's clock jumps ----

const HOUR_MS: i64 = 3_600_000;
const JUMPS: usize = 20;

/// The computer's clock, set forward or back.
struct Jumping {
    clock: SystemClock,
    offset_ms: Arc<AtomicI64>,
}

impl Clock for Jumping {
    fn now(&self) -> u64 {
        self.clock.now().saturating_add_signed(self.offset_ms.load(Ordering::SeqCst))
    }

    fn micros(&self) -> u64 {
        self.clock.micros().saturating_add_signed(self.offset_ms.load(Ordering::SeqCst) * 1000)
    }

    fn ticks(&self) -> u64 {
        self.clock.ticks()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_loses_no_job_and_does_none_twice() {
    let (prefix, offset_ms) = (unique(), Arc::new(AtomicI64::new(0)));
    let clock = Jumping { clock: SystemClock::new(), offset_ms: offset_ms.clone() };
    let store = Store::open(Config::in_memory().with_clock(clock)).unwrap();
    let services = Services::new(Backend::embedded(store), settings(&prefix));
    let (producer, enqueued) = produce(&services);
    let workers: Vec<_> = (0..4).map(|_| committing(&services, &prefix).start().unwrap()).collect();
    // Forward every lease is over at once, in the middle of what it is for; back everything that waits for a time waits an hour longer, until the next jump.
    for jump in 1..=JUMPS {
        let goal = jobs_of_troubled() * jump / (JUMPS + 2);
        eventually("work goes on", || async { enqueued.load(Ordering::SeqCst) >= goal }).await;
        let hours = if jump % 2 == 1 { 2 } else { -1 };
        offset_ms.fetch_add(hours * HOUR_MS, Ordering::SeqCst);
    }
    // What waits since the last was set back comes when that time is reached again.
    offset_ms.fetch_add(HOUR_MS, Ordering::SeqCst);
    producer.await.unwrap();
    end_well(&services, workers).await;
    let lost = mail(&services).counts().await.unwrap().lost_total;
    assert!(lost > 0, "no lease ended early, so nothing was tested");
    println!("{lost} leases ended early");
}
