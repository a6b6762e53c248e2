//! Tests of waiting for a lock: order, who is woken, and what becomes of those who give up or die.

use std::time::{Duration, Instant};

use redpoll_services::locks::{Lock, LockOptions, LockSettings};
use redpoll_services::{Command, Services, Settings};
use redpoll_testkit::RedisServer;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::locks::{briefly, is_free, mutex, once, patiently, take};
use crate::support::{Place, eventually, tenant};

/// Waits in a task of its own until so many are in the queue.
async fn queued<T: Send + 'static>(
    lock: &Lock,
    count: u64,
    wait: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let task = tokio::spawn(wait);
    eventually("joining the queue", || async { lock.info().await.unwrap().queue_total == count }).await;
    task
}

/// Waits for a lock, says that it has it, and gives it back.
fn turn(lock: &Lock, number: u64, said: &mpsc::UnboundedSender<u64>) -> impl Future<Output = ()> + Send + 'static {
    let (lock, said) = (lock.clone(), said.clone());
    async move {
        let guard = take(&lock, &patiently()).await;
        said.send(number).unwrap();
        guard.release().await.unwrap();
    }
}

async fn services_with(place: &Place, waiter_lease: Duration) -> Services {
    let locks = LockSettings { waiter_lease, ..LockSettings::default() };
    place.services_with(Settings { locks, ..Settings::default() }).await
}

pub(crate) async fn waiters_are_served_in_the_order_they_came(place: Place) {
    const WAITERS: u64 = 12;
    let (tenant, mut processes) = (tenant(), Vec::new());
    for _ in 0..3 {
        // Nobody loses its place on a busy machine.
        processes.push(services_with(&place, Duration::from_secs(60)).await);
    }
    let locks: Vec<Lock> = processes.iter().map(|process| process.locks(&tenant).mutex("orders").unwrap()).collect();
    let holder = take(&locks[0], &once()).await;
    let (said, mut heard) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for number in 0..WAITERS {
        let lock = &locks[number as usize % locks.len()];
        tasks.push(queued(lock, number + 1, turn(lock, number, &said)).await);
    }
    // Whoever comes now does not get in before them, whether it waits or not.
    let started = Instant::now();
    holder.release().await.unwrap();
    assert!(locks[1].acquire(&once()).await.unwrap().is_none() || heard.len() as u64 == WAITERS);
    for number in 0..WAITERS {
        assert_eq!(heard.recv().await, Some(number));
    }
    // Twelve hand-overs by signals take milliseconds; by intervals they would take minutes.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    for task in tasks {
        task.await.unwrap();
    }
    assert!(is_free(&locks[0]).await);
    eventually("nobody listens any more", || async {
        processes.iter().all(|process| process.signals().channels() == 0)
    })
    .await;
}

/// Scripts that a store has run.
async fn scripts_run(services: &Services) -> u64 {
    let info = services.backend().call(Command::new("INFO").arg("commandstats")).await.unwrap();
    let info = info.as_str().unwrap().to_owned();
    let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
    line.split_once("calls=").unwrap().1.split_once(',').unwrap().0.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_wakes_one_of_many() {
    const WAITERS: u64 = 40;
    let services = services_with(&Place::embedded(), Duration::from_secs(60)).await;
    let lock = services.locks(&tenant()).mutex("orders").unwrap();
    let holder = take(&lock, &once()).await;
    let (said, mut heard) = mpsc::unbounded_channel();
    for number in 0..WAITERS {
        let (lock, said) = (lock.clone(), said.clone());
        queued(&lock.clone(), number + 1, async move {
            said.send(take(&lock, &patiently()).await).ok();
        })
        .await;
    }
    // Each looks again every two seconds; what follows is over sooner, or is tried once more.
    let (mut fewest, mut holder) = (u64::MAX, holder);
    for _ in 0..3 {
        let before = scripts_run(&services).await;
        holder.release().await.unwrap();
        holder = heard.recv().await.unwrap();
        fewest = fewest.min(scripts_run(&services).await - before);
    }
    assert_eq!(fewest, 2, "a release, and an attempt of the one that was woken");
    // Were all woken, as where a release is announced to whoever listens, it would be told by this count.
    let before = scripts_run(&services).await;
    let all = Command::new("PUBLISH").arg(lock.state_key()).arg("");
    services.backend().call(all).await.unwrap();
    eventually("all look", || async { scripts_run(&services).await - before >= WAITERS - 3 }).await;
}

/// Has waiters join a queue and vanish without a word, as those of a process that was killed.
fn die_waiting(lock: &Lock, count: u64) {
    let lock = lock.clone();
    let dying = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let already = lock.info().await.unwrap().queue_total;
            for number in 0..count {
                let waiting = lock.clone();
                queued(
                    &lock,
                    already + number + 1,
                    async move { std::mem::forget(take(&waiting, &patiently()).await) },
                )
                .await;
            }
        });
        // What is spawned from now on, such as their farewell, does not run.
        runtime.shutdown_background();
    });
    dying.join().unwrap();
}

pub(crate) async fn the_dead_hold_others_up_for_one_short_lease_together(place: Place) {
    const DEAD: u64 = 6;
    let short = Duration::from_millis(900);
    let tenant = tenant();
    let services = services_with(&place, short).await;
    let lock = services.locks(&tenant).mutex("orders").unwrap();
    let holder = take(&lock, &once()).await;
    let doomed = services_with(&place, short).await.locks(&tenant).mutex("orders").unwrap();
    tokio::task::spawn_blocking(move || die_waiting(&doomed, DEAD)).await.unwrap();
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { take(&lock, &patiently()).await }
    });
    eventually("joining the queue", || async { lock.info().await.unwrap().queue_total > DEAD }).await;
    let started = Instant::now();
    holder.release().await.unwrap();
    let next = waiting.await.unwrap();
    // Had each of them its own time, it would be six leases.
    assert!(started.elapsed() < short * 3, "{:?}", started.elapsed());
    assert_eq!(lock.info().await.unwrap().queue_total, 0, "the dead are gone");
    next.release().await.unwrap();
}

pub(crate) async fn who_gives_up_leaves_nothing_behind(place: Place) {
    let (services, lock) = mutex(&place).await;
    let holder = take(&lock, &once()).await;
    // By time.
    let options = LockOptions { wait: Some(Duration::from_millis(50)), ..briefly(60_000) };
    assert!(lock.acquire(&options).await.unwrap().is_none());
    assert_eq!(lock.info().await.unwrap().queue_total, 0);
    // By dropping the future, first in the queue; the one behind takes its place.
    let (said, mut heard) = mpsc::unbounded_channel();
    let first = queued(&lock, 1, turn(&lock, 1, &said)).await;
    let second = queued(&lock, 2, turn(&lock, 2, &said)).await;
    first.abort();
    assert!(first.await.is_err());
    eventually("leaving", || async { lock.info().await.unwrap().queue_total == 1 }).await;
    let started = Instant::now();
    holder.release().await.unwrap();
    assert_eq!(heard.recv().await, Some(2));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    second.await.unwrap();
    eventually("nobody listens any more", || async { services.signals().channels() == 0 }).await;
}

pub(crate) async fn who_gives_up_at_the_moment_of_its_turn_passes_it_on(place: Place) {
    let (_, lock) = mutex(&place).await;
    for round in 0..20_u64 {
        let holder = take(&lock, &once()).await;
        let (said, mut heard) = mpsc::unbounded_channel();
        let first = queued(&lock, 1, turn(&lock, 1, &said)).await;
        let second = queued(&lock, 2, turn(&lock, 2, &said)).await;
        let started = Instant::now();
        let release = tokio::spawn(holder.release());
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert_eq!(release.await.unwrap(), Ok(true));
        // The first was faster or not; the second has its turn in any case.
        while heard.recv().await != Some(2) {}
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        second.await.unwrap();
        eventually("all is over", || async {
            let info = lock.info().await.unwrap();
            info.holders_total + info.queue_total == 0
        })
        .await;
    }
}

pub(crate) async fn a_waiter_takes_over_when_the_lease_ends(place: Place) {
    let (_, lock) = mutex(&place).await;
    let dead = lock.claim(&briefly(400)).await.unwrap().unwrap();
    let started = Instant::now();
    let next = take(&lock, &patiently()).await;
    // At the end of the lease, not at the next interval.
    assert!(started.elapsed() < Duration::from_millis(1400), "{:?}", started.elapsed());
    assert!(next.fence() > dead.fence);
    next.release().await.unwrap();
}

pub(crate) async fn a_lock_taken_by_force_goes_to_who_waits(place: Place) {
    let (_, lock) = mutex(&place).await;
    let holder = take(&lock, &once()).await;
    let (said, mut heard) = mpsc::unbounded_channel();
    let waiting = queued(&lock, 1, turn(&lock, 1, &said)).await;
    let (_, fence) = lock.force_release().await.unwrap();
    assert_eq!(heard.recv().await, Some(1));
    waiting.await.unwrap();
    assert!(lock.info().await.unwrap().fence > fence && fence > holder.fence());
    assert_eq!(holder.release().await, Ok(false));
}

pub(crate) async fn a_lost_queue_delays_and_loses_nobody(place: Place) {
    let (services, lock) = mutex(&place).await;
    let holder = take(&lock, &once()).await;
    let (said, mut heard) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for number in 0..4 {
        tasks.push(queued(&lock, number + 1, turn(&lock, number, &said)).await);
    }
    let state = lock.state_key().as_str();
    for part in ["q", "w"] {
        let key = format!("{}{part}", &state[..state.len() - 1]);
        services.backend().call(Command::new("DEL").key(key)).await.unwrap();
    }
    holder.release().await.unwrap();
    let mut served = Vec::new();
    for _ in 0..4 {
        served.push(heard.recv().await.unwrap());
    }
    served.sort_unstable();
    assert_eq!(served, [0, 1, 2, 3]);
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_publish_waiting_takes_an_interval() {
    let server = RedisServer::start().unwrap();
    let admin = Place::at(server.url()).services().await;
    let mut user = Command::new("ACL").arg("SETUSER");
    for rule in ["limited", "on", ">secret", "~*", "+@all", "resetchannels"] {
        user = user.arg(rule);
    }
    admin.backend().call(user).await.unwrap();
    let (_, lock) = mutex(&Place::at(server.url().replace("redis://", "redis://limited:secret@"))).await;
    let holder = take(&lock, &once()).await;
    let (said, mut heard) = mpsc::unbounded_channel();
    let waiting = queued(&lock, 1, turn(&lock, 1, &said)).await;
    assert_eq!(holder.release().await, Ok(true));
    assert_eq!(heard.recv().await, Some(1));
    waiting.await.unwrap();
}
