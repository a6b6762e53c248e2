//! Eight processes at once: one loader, exact admission, single use, one holder at a time by the order of fences.
//!
//! Tasks of one process share its connections, its clock and the loads it knows of; processes share the store and nothing
//! else. So this test program starts itself eight times. Each says on standard output what it was told, and the oracles add
//! up. Beside each stands what is often written instead, looking first and then setting, which they find out.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redpoll_services::cache::{Body, LoadOptions};
use redpoll_services::keys::Keyring;
use redpoll_services::locks::{LockOptions, LockSettings, Renewal};
use redpoll_services::ratelimit::{Algorithm, Rule};
use redpoll_services::tokens::Secret;
use redpoll_services::{Backend, Command, Error, Services, Settings, Tenant, Ttl};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Place, eventually};

const PROCESSES: usize = 8;
/// Tasks that ask at once in each process.
const TASKS: usize = 4;

/// Keys that are loaded, one after the other.
const KEYS: usize = 10;
/// What a limit admits, and how often each task asks.
const LIMIT: u64 = 500;
const ASKS: usize = 50;
/// Tokens that everybody tries to consume.
const TOKENS: usize = 40;
/// How often each process takes the lock; of all these turns, each `PAUSED_EACH`th is stopped for longer than its lease.
const TURNS: usize = 6;
const PAUSED_EACH: usize = 8;
const LEASE: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(700);

const URL: &str = "REDPOLL_TEST_MEMBER_URL";
const PREFIX: &str = "REDPOLL_TEST_MEMBER_PREFIX";
const ROLE: &str = "REDPOLL_TEST_MEMBER_ROLE";
const SECRETS: &str = "REDPOLL_TEST_MEMBER_SECRETS";
/// Before what a member says; other lines are the test program's own.
const SAID: &str = "said ";

/// Says something to whoever started this process. One write, so that no line is half of another.
fn say(what: &str) {
    std::io::stdout().lock().write_all(format!("\n{SAID}{what}\n").as_bytes()).unwrap();
}

async fn integer(services: &Services, command: Command) -> i64 {
    services.backend().call(command).await.unwrap().as_i64().unwrap_or_default()
}

/// Waits until all processes have come here.
async fn meet(services: &Services, prefix: &str, name: &str) {
    let key = format!("{prefix}:meet:{name}");
    integer(services, Command::new("INCR").key(&key)).await;
    let all = || async { integer(services, Command::new("GET").key(&key)).await >= PROCESSES as i64 };
    eventually("meeting", all).await;
}

/// One of the eight; without its variables there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member() {
    let (Ok(url), Ok(prefix), Ok(role)) = (std::env::var(URL), std::env::var(PREFIX), std::env::var(ROLE)) else {
        return;
    };
    // Who waits looks three times in such a lease, so it is there when another's has ended.
    let locks = LockSettings { waiter_lease: LEASE, ..LockSettings::default() };
    let settings = Settings { keyring: Keyring::new(&prefix).unwrap(), locks, ..Settings::default() };
    let services = Services::new(Backend::connect(&url).await.unwrap(), settings);
    meet(&services, &prefix, "begin").await;
    match role.as_str() {
        "load" => load(&services, &prefix).await,
        "ask" => ask(&services, &prefix).await,
        "consume" => consume(&services, &std::env::var(SECRETS).unwrap()).await,
        "lock" => take_turns(&services, &prefix).await,
        other => panic!("no role {other}"),
    }
    say("done");
}

/// Starts the members, and returns what they said, in the order in which each said it. `hear` is told of each line too, and
/// may answer, or stop the process for a while.
fn run(place: &Place, prefix: &str, role: &str, secrets: &str, hear: impl Fn(&str, &mut Member) + Sync) -> Vec<String> {
    let start = |_| Member::start(place.url(), prefix, role, secrets);
    let members: Vec<Member> = (0..PROCESSES).map(start).collect();
    let said: Vec<Vec<String>> = std::thread::scope(|scope| {
        let listening: Vec<_> = members.into_iter().map(|member| scope.spawn(|| member.listen(&hear))).collect();
        listening.into_iter().map(|listening| listening.join().unwrap()).collect()
    });
    said.concat()
}

/// A process of its own, killed if the test ends before it.
struct Member {
    process: Child,
    input: ChildStdin,
}

impl Member {
    fn start(url: &str, prefix: &str, role: &str, secrets: &str) -> Self {
        let mut process = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::member", "--nocapture"])
            .envs([(URL, url), (PREFIX, prefix), (ROLE, role), (SECRETS, secrets)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        Self { process, input }
    }

    fn listen(mut self, hear: &impl Fn(&str, &mut Self)) -> Vec<String> {
        let mut said = Vec::new();
        for line in BufReader::new(self.process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(what) = line.strip_prefix(SAID) else { continue };
            hear(what, &mut self);
            said.push(what.to_owned());
        }
        assert_eq!(said.pop().as_deref(), Some("done"), "a member has failed");
        said
    }

    fn signal(&self, name: &str) {
        let sent = Process::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    fn go_on(&mut self) {
        self.input.write_all(b"go on\n").unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn unique() -> String {
    format!("p{}", uuid::Uuid::new_v4().simple())
}

/// Adds up `<name> <number>` of what was said.
fn sum(said: &[String], name: &str) -> u64 {
    let numbers = said.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    numbers.map(|number| number.parse::<u64>().unwrap()).sum()
}

// ---- One loader ----

async fn load(services: &Services, prefix: &str) {
    let cache = services.cache(&Tenant::default()).namespace("n").unwrap();
    for key in 0..KEYS {
        meet(services, prefix, &format!("load{key}")).await;
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (cache, services, prefix) = (cache.clone(), services.clone(), prefix.to_owned());
            tasks.spawn(async move {
                let counter = format!("{prefix}:loads:{key}");
                let loader = move || async move {
                    let loads = integer(&services, Command::new("INCR").key(&counter)).await;
                    // Loading takes a while.
                    for _ in 0..50 {
                        integer(&services, Command::new("GET").key(&counter)).await;
                    }
                    Ok::<_, Error>(Some(Body::from(json!(loads))))
                };
                let loaded = cache.get_or_set(&format!("k{key}"), &LoadOptions::default(), loader).await.unwrap();
                assert_eq!(loaded.body, Some(Body::from(json!(1))), "{:?}", loaded.source);
            });
        }
        tasks.join_all().await;
        // Looking, loading, setting: as it is often written.
        meet(services, prefix, &format!("naive{key}")).await;
        let (value, loads) = (format!("{prefix}:value:{key}"), format!("{prefix}:naive:{key}"));
        if services.backend().call(Command::new("GET").key(&value)).await.unwrap().is_nil() {
            let loaded = integer(services, Command::new("INCR").key(&loads)).await;
            integer(services, Command::new("SET").key(&value).arg(loaded)).await;
        }
    }
}

async fn one_loader(place: Place) {
    let prefix = unique();
    run(&place, &prefix, "load", "", |_, _| {});
    let services = place.services().await;
    let mut naive = 0;
    for key in 0..KEYS {
        let count = |kind: &str| Command::new("GET").key(format!("{prefix}:{kind}:{key}"));
        assert_eq!(integer(&services, count("loads")).await, 1, "loaders of key {key}");
        naive += integer(&services, count("naive")).await;
    }
    assert!(naive > KEYS as i64, "eight processes never met, so nothing was tested");
}

// ---- Exact admission ----

async fn ask(services: &Services, prefix: &str) {
    for algorithm in Algorithm::ALL {
        meet(services, prefix, &format!("{algorithm:?}")).await;
        let rule = Rule::new("r", algorithm, LIMIT, 86_400_000).unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (limiter, rule) = (services.rate_limit(&Tenant::default()), rule.clone());
            tasks.spawn(async move {
                let mut admitted = 0;
                for _ in 0..ASKS {
                    admitted += u64::from(limiter.check(&rule, "s").await.unwrap().allowed);
                }
                admitted
            });
        }
        say(&format!("{algorithm:?} {}", tasks.join_all().await.iter().sum::<u64>()));
    }
    meet(services, prefix, "naive").await;
    let key = format!("{prefix}:naive");
    let mut admitted = 0;
    for _ in 0..TASKS * ASKS {
        let used = integer(services, Command::new("GET").key(&key)).await;
        if (used as u64) < LIMIT {
            integer(services, Command::new("SET").key(&key).arg(used + 1)).await;
            admitted += 1;
        }
    }
    say(&format!("naive {admitted}"));
}

async fn exact_admission(place: Place) {
    let said = run(&place, &unique(), "ask", "", |_, _| {});
    for algorithm in Algorithm::ALL {
        assert_eq!(sum(&said, &format!("{algorithm:?}")), LIMIT, "admitted by {algorithm:?}");
    }
    assert!(sum(&said, "naive") > LIMIT, "eight processes never met, so nothing was tested");
}

// ---- Single use ----

async fn consume(services: &Services, secrets: &str) {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let tokens = services.tokens(&Tenant::default());
        let secrets: Vec<Secret> = secrets.split(',').map(Secret::new).collect();
        tasks.spawn(async move {
            for (number, secret) in secrets.iter().enumerate() {
                if tokens.consume("login", None, secret).await.unwrap().now().is_some() {
                    say(&format!("consumed {number}"));
                }
            }
        });
    }
    tasks.join_all().await;
}

async fn single_use(place: Place) {
    let prefix = unique();
    let settings = Settings { keyring: Keyring::new(&prefix).unwrap(), ..Settings::default() };
    let tokens = place.services_with(settings).await.tokens(&Tenant::default());
    let mut secrets = Vec::new();
    for number in 0..TOKENS {
        secrets.push(tokens.issue("login", None, &json!(number), None).await.unwrap().expose().to_owned());
    }
    let mut said = run(&place, &prefix, "consume", &secrets.join(","), |_, _| {});
    let mut expected: Vec<String> = (0..TOKENS).map(|number| format!("consumed {number}")).collect();
    said.sort();
    expected.sort();
    assert_eq!(said, expected);
}

// ---- One holder ----

async fn take_turns(services: &Services, prefix: &str) {
    let lock = services.locks(&Tenant::default()).mutex("orders").unwrap();
    let wait = Some(Duration::from_secs(120));
    let options = LockOptions { wait, lease: Some(LEASE), renewal: Renewal::Manual, ..LockOptions::default() };
    let naive = format!("{prefix}:naive");
    for _ in 0..TURNS {
        let guard = lock.acquire(&options).await.unwrap().expect("nobody holds it for long");
        let total = lock.fenced_value("total").await.unwrap();
        let total: u64 = total.map_or(0, |total| String::from_utf8(total.value).unwrap().parse().unwrap());
        let naive_total = integer(services, Command::new("GET").key(&naive)).await;
        say(&format!("inside {}", guard.fence()));
        // Whoever hears it says when to go on, after more than a lease at times.
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).unwrap();
        let next = (total + 1).to_string();
        match guard.fenced_set("total", next.as_bytes(), Ttl::Never).await {
            Ok(()) => say(&format!("wrote {next} {}", guard.fence())),
            Err(Error::Conflict(_)) => say(&format!("refused {}", guard.fence())),
            Err(error) => panic!("{error}"),
        }
        integer(services, Command::new("SET").key(&naive).arg(naive_total + 1)).await;
        guard.release().await.unwrap();
    }
}

async fn one_holder(place: Place) {
    let prefix = unique();
    let turns = AtomicUsize::new(0);
    let said = run(&place, &prefix, "lock", "", |what, member| {
        if !what.starts_with("inside ") {
            return;
        }
        if turns.fetch_add(1, Ordering::Relaxed) % PAUSED_EACH == PAUSED_EACH / 2 {
            member.signal("STOP");
            std::thread::sleep(PAUSE);
            member.go_on();
            member.signal("CONT");
        } else {
            member.go_on();
        }
    });
    let of = |kind: &str| said.iter().filter_map(|line| line.strip_prefix(kind)).collect::<Vec<&str>>();
    let fences: HashSet<&str> = of("inside ").into_iter().collect();
    assert_eq!(fences.len(), PROCESSES * TURNS, "a fence was given twice");
    let number = |text: &str| text.parse::<u64>().unwrap();
    let writes: Vec<(u64, u64)> = of("wrote ")
        .iter()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(next, fence)| (number(next), number(fence)))
        .collect();
    let by_value: BTreeMap<u64, u64> = writes.iter().copied().collect();
    let count = writes.len() as u64;
    assert_eq!(by_value.keys().copied().collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>(), "an update was lost");
    assert!(by_value.values().is_sorted(), "a write came after that of a later holder: {by_value:?}");
    let refused = of("refused ").len() as u64;
    assert_eq!(count + refused, (PROCESSES * TURNS) as u64);
    assert!(refused > 0, "nobody was late, so nothing was tested");
    // Without fences what was late has overwritten what others did.
    let services = place.services().await;
    let naive = integer(&services, Command::new("GET").key(format!("{prefix}:naive"))).await;
    assert!(naive < (PROCESSES * TURNS) as i64, "{naive}");
}

macro_rules! in_eight_processes {
    ($($oracle:ident)*) => {
        mod redis { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $oracle() {
                super::$oracle(super::Place::redis()).await;
            }
        )* }
        mod redpoll { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $oracle() {
                super::$oracle(super::Place::redpoll()).await;
            }
        )* }
    };
}

in_eight_processes! { one_loader exact_admission single_use one_holder }
