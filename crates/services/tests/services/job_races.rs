//! An oracle for many workers at once: every job ends exactly once, none is lost, and none is worked on twice unless a lease ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use redpoll_services::jobs::{
    JobSettings, LeaseOptions, Leased, NewJob, Outcome, Payload, Queue, Settled, State, Ticket,
};
use redpoll_testkit::Random;
use tokio::task::JoinSet;

use crate::jobs::{done, failed, named, patiently, queue, queue_with, take, up_to};
use crate::support::{Place, eventually, tenant};

const JOBS: usize = 600;
const TASKS: u64 = 64;
const PROCESSES: usize = 4;

/// What happened to a job, as its workers saw it.
#[derive(Debug, Default, Clone)]
struct Seen {
    leases: u64,
    failures: u64,
    abandoned: u64,
    refused: u64,
    ends: Vec<State>,
}

/// What workers tell the oracle.
type Diary = Arc<std::sync::Mutex<HashMap<String, Seen>>>;

fn note(diary: &Diary, id: &str, write: impl FnOnce(&mut Seen)) {
    write(diary.lock().unwrap().entry(id.to_owned()).or_default());
}

/// Works until all jobs have ended: completes, fails, hands back, or dies with a job in its hands.
async fn work(queue: Queue, mut random: Random, diary: Diary, ended: Arc<AtomicU64>) {
    while ended.load(Ordering::Relaxed) < JOBS as u64 {
        let options = LeaseOptions {
            count: 1 + random.below(4) as usize,
            lease: Some(Duration::from_millis(30 + random.below(60))),
            wait: Duration::from_millis(20),
        };
        for Leased { ticket, job } in queue.lease(&options).await.unwrap() {
            note(&diary, &ticket.id, |seen| seen.leases += 1);
            assert_eq!(job.payload, Some(Payload::bytes(ticket.id.as_str())), "its own payload");
            let outcome = match random.below(10) {
                0 => {
                    note(&diary, &ticket.id, |seen| seen.abandoned += 1);
                    continue;
                }
                1 | 2 => failed("by chance"),
                3 => Outcome::Released { delay: Duration::from_millis(random.below(5)) },
                _ => done(),
            };
            settle(&queue, &ticket, outcome, &diary, &ended).await;
        }
    }
}

async fn settle(queue: &Queue, ticket: &Ticket, outcome: Outcome, diary: &Diary, ended: &AtomicU64) {
    let is_failure = matches!(outcome, Outcome::Failed { .. });
    match queue.settle(&[(ticket.clone(), outcome)]).await.unwrap()[0] {
        Settled::Lost => note(diary, &ticket.id, |seen| seen.refused += 1),
        Settled::Done(state) => note(diary, &ticket.id, |seen| {
            seen.failures += u64::from(is_failure);
            if state.is_ended() {
                seen.ends.push(state);
                ended.fetch_add(1, Ordering::Relaxed);
            }
        }),
    }
}

pub(crate) async fn every_job_ends_exactly_once_under_64_workers(place: Place) {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let tenant = tenant();
    let mut queues = Vec::new();
    for _ in 0..PROCESSES {
        // No job may end but by an outcome that its worker is told.
        let settings = redpoll_services::Settings {
            jobs: JobSettings { lost_max: 9_999, dead_max: 10_000, completed_max: 10_000, ..JobSettings::default() },
            ..redpoll_services::Settings::default()
        };
        queues.push(place.services_with(settings).await.jobs(&tenant).queue("mail").unwrap());
    }
    let (diary, ended) = (Diary::default(), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let queue = queues[task as usize % PROCESSES].clone();
        tasks.spawn(work(queue, Random::new(seed ^ task), Arc::clone(&diary), Arc::clone(&ended)));
    }
    let retry_base = Some(Duration::from_millis(4));
    for page in 0..JOBS / 20 {
        let jobs: Vec<NewJob> = (0..20)
            .map(|number| NewJob { retry_base, attempts_max: Some(5), ..named(&format!("{page}-{number}")) })
            .collect();
        queues[page % PROCESSES].enqueue_many(&jobs).await.unwrap();
    }
    let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("all jobs end");

    let diary = std::mem::take(&mut *diary.lock().unwrap());
    assert_eq!(diary.len(), JOBS);
    for (id, seen) in diary.iter() {
        assert_eq!(seen.ends.len(), 1, "{id}: {seen:?}");
        assert!(seen.failures < 5 || seen.ends == [State::Dead], "{id}: {seen:?}");
    }
    let ends = |state: State| diary.values().filter(|seen| seen.ends == [state]).count() as u64;
    let (leases, lost): (u64, u64) = diary
        .values()
        .fold((0, 0), |(leases, lost), seen| (leases + seen.leases, lost + seen.abandoned + seen.refused));
    println!("{leases} leases, {lost} lost");
    let counts = queues[0].counts().await.unwrap();
    assert_eq!((counts.waiting, counts.delayed, counts.active, counts.bytes), (0, 0, 0, 0));
    assert_eq!((counts.completed, counts.dead), (ends(State::Completed), ends(State::Dead)));
    assert_eq!((counts.completed_total, counts.dead_total), (counts.completed, counts.dead));
    // A lease was lost for each that was abandoned or refused, and for no other.
    assert_eq!(counts.lost_total, lost);
}

pub(crate) async fn one_consumer_sees_the_order_in_which_jobs_came(place: Place) {
    let queue = queue(&place).await;
    let mut produced = Vec::new();
    for number in 0..200_i64 {
        let job = NewJob { priority: (number * 7 % 3) as i8, ..named(&number.to_string()) };
        produced.push((job.priority, number));
        queue.enqueue(&job).await.unwrap();
    }
    produced.sort_by_key(|(priority, number)| (-priority, *number));
    let mut consumed = Vec::new();
    let mut outcomes = Vec::new();
    while consumed.len() < 200 {
        let jobs = queue.exchange(&outcomes, &up_to(7)).await.unwrap().jobs;
        consumed.extend(jobs.iter().map(|leased| (leased.job.priority, leased.job.id.parse::<i64>().unwrap())));
        outcomes = jobs.into_iter().map(|leased| (leased.ticket, done())).collect();
    }
    assert_eq!(consumed, produced);
}

/// A queue as it is often written: a list from which workers pop, and a note of what is being worked on.
async fn naive_pop(backend: &redpoll_services::Backend, list: &str, active: &str, dies: bool) -> Option<String> {
    use redpoll_services::Command;
    let popped = backend.call(Command::new("LPOP").key(list)).await.unwrap();
    let id = popped.as_str()?.to_owned();
    if dies {
        return None;
    }
    backend.call(Command::new("HSET").key(active).arg(&id).arg("1")).await.unwrap();
    Some(id)
}

pub(crate) async fn a_worker_that_dies_while_taking_loses_nothing(place: Place) {
    // The naive way: who dies between taking a job and saying so takes it along.
    let services = place.services().await;
    let prefix = format!("{{{}}}", tenant().name());
    let (list, active) = (format!("{prefix}:list"), format!("{prefix}:active"));
    let push = redpoll_services::Command::new("RPUSH").key(&list).arg("a");
    services.backend().call(push).await.unwrap();
    assert_eq!(naive_pop(services.backend(), &list, &active, true).await, None);
    let left = [("LLEN", &list), ("HLEN", &active)];
    let mut jobs = 0;
    for (command, key) in left {
        let count = services.backend().call(redpoll_services::Command::new(command).key(key)).await.unwrap();
        jobs += count.as_i64().unwrap();
    }
    assert_eq!(jobs, 0, "the naive queue has lost the job");
    // Here taking and saying so are one step: whenever the worker dies, the job is in the queue or leased.
    let queue = queue_with(&place, JobSettings::default()).await;
    queue.enqueue(&named("a")).await.unwrap();
    let brief = LeaseOptions { lease: Some(Duration::from_millis(20)), ..patiently() };
    drop(queue.lease(&brief).await.unwrap());
    let counts = queue.counts().await.unwrap();
    assert_eq!(counts.waiting + counts.active, 1);
    assert_eq!(take(&queue).await.job.id, "a");
}

pub(crate) async fn delayed_jobs_are_moved_once_by_many(place: Place) {
    let tenant = tenant();
    let mut queues = Vec::new();
    for _ in 0..PROCESSES {
        queues.push(place.services().await.jobs(&tenant).queue("mail").unwrap());
    }
    let jobs: Vec<NewJob> = (0..400)
        .map(|number| NewJob { delay: Duration::from_millis(number % 50), ..named(&number.to_string()) })
        .collect();
    queues[0].enqueue_many(&jobs).await.unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (queue, seen) = (queues[task % PROCESSES].clone(), Arc::clone(&seen));
        tasks.spawn(async move {
            while seen.lock().unwrap().len() < 400 {
                let options = LeaseOptions { count: 5, wait: Duration::from_millis(50), ..LeaseOptions::default() };
                for leased in queue.lease(&options).await.unwrap() {
                    queue.complete(&leased.ticket, None).await.unwrap();
                    seen.lock().unwrap().push(leased.job.id);
                }
            }
        });
    }
    while tasks.join_next().await.transpose().unwrap().is_some() {}
    let mut ids = seen.lock().unwrap().clone();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), queues[0].counts().await.unwrap().completed_total), (400, 400));
    eventually("nothing is left", || async { queues[0].counts().await.unwrap().delayed == 0 }).await;
}
