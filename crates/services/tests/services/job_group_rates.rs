//! Tests of how fast the jobs of groups are leased: no group is faster than it may be, none is held up by another, and nobody has to watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use redpoll_services::jobs::{Bounds, GroupBounds, JobSettings, LeaseOptions, Leased, NewJob, Queue, Rate, Ticket};
use redpoll_services::{Backend, Services, Settings};
use redpoll_store::commands::engine::Clock;
use redpoll_store::{Config, Store, SystemClock};
use redpoll_testkit::Random;
use tokio::task::JoinSet;

use crate::job_groups::{of, some};
use crate::jobs::{ids, named, queue, site, take, up_to};
use crate::support::{Place, eventually, tenant};

/// So many in so many milliseconds, and so many at once.
fn at_rate(count: u32, period_ms: u64, burst: u32) -> GroupBounds {
    GroupBounds { rate: Some(rate(count, period_ms, burst)), ..GroupBounds::default() }
}

fn rate(count: u32, period_ms: u64, burst: u32) -> Rate {
    Rate { count, period: Duration::from_millis(period_ms), burst }
}

fn each(group: GroupBounds) -> Bounds {
    Bounds { group, ..Bounds::default() }
}

async fn wait_for_some(queue: &Queue) -> Vec<Leased> {
    let options = LeaseOptions { count: 9, wait: Duration::from_secs(20), ..LeaseOptions::default() };
    queue.lease(&options).await.unwrap()
}

/// Fails if in any stretch of time more were leased than at once and in so many ms each.
fn are_no_faster(mut moments: Vec<u64>, burst: f64, interval_ms: f64) {
    moments.sort_unstable();
    for (first, from) in moments.iter().enumerate() {
        for (last, to) in moments.iter().enumerate().skip(first) {
            let allowed = burst + (to - from + 1) as f64 / interval_ms;
            assert!((last - first + 1) as f64 <= allowed, "{first} to {last}: {moments:?}");
        }
    }
}

pub(crate) async fn groups_are_leased_no_faster_than_allowed(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.limit(&each(at_rate(5, 500, 2))).await.unwrap();
    queue.limit_group("b", &at_rate(1_000, 1_000, 3)).await.unwrap();
    queue
        .enqueue_many(&[some("a", 8), some("b", 3), vec![named("x0"), named("x1"), named("x2")]].concat())
        .await
        .unwrap();
    // Who is slow holds nobody up.
    let mut leased = queue.lease(&up_to(20)).await.unwrap();
    let first: Vec<&str> = leased.iter().map(|leased| leased.job.id.as_str()).collect();
    assert_eq!(first, ["x0", "a0", "b0", "x1", "a1", "b1", "x2", "b2"]);
    let a = queue.group_counts("a").await.unwrap();
    assert!((a.waiting, a.active) == (6, 2) && a.rest_ms <= 100, "{a:?}");
    while leased.len() < 14 {
        leased.extend(wait_for_some(queue).await);
    }
    let moments = leased.iter().filter(|leased| leased.job.group.as_deref() == Some("a"));
    are_no_faster(moments.map(|leased| leased.job.since_ms).collect(), 2.0, 100.0);
    // A group that is empty and comes back has had what it has had.
    for leased in leased {
        queue.complete(&leased.ticket, None).await.unwrap();
    }
    queue.limit(&each(at_rate(1, 60_000, 1))).await.unwrap();
    queue.enqueue(&of("c", "c0")).await.unwrap();
    queue.complete(&take(queue).await.ticket, None).await.unwrap();
    queue.enqueue(&of("c", "c1")).await.unwrap();
    assert_eq!(ids(queue, 9).await, [""; 0]);
    let rest_ms = queue.group_counts("c").await.unwrap().rest_ms;
    assert!((30_000..=60_000).contains(&rest_ms), "{rest_ms}");
    // A bound that is lifted is lifted at once, and nothing is left.
    queue.limit(&each(at_rate(20, 1_000, 1))).await.unwrap();
    for leased in wait_for_some(queue).await {
        queue.complete(&leased.ticket, None).await.unwrap();
    }
    eventually("what is known of groups goes by itself", || async { site.size("EXISTS", "q").await == 0 }).await;
}

pub(crate) async fn who_waits_hears_of_a_group_that_comes_due(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.limit(&each(at_rate(1, 300, 1))).await.unwrap();
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let queue = queue.clone();
        waiting.spawn(async move { (take(&queue).await.job.since_ms, begun.elapsed()) });
    }
    eventually("they wait", || async { site.size("ZCARD", "l").await == 3 }).await;
    queue.enqueue_many(&some("a", 3)).await.unwrap();
    let mut moments = Vec::new();
    while let Some(taken) = waiting.join_next().await {
        moments.push(taken.unwrap().0);
    }
    moments.sort_unstable();
    are_no_faster(moments.clone(), 1.0, 300.0);
    // By themselves they look every two seconds.
    assert!(moments[2] - moments[0] < 1_500, "{moments:?}");
    // Who waits while its group rests is told when a change of bounds ends that.
    queue.limit(&each(at_rate(1, 60_000, 1))).await.unwrap();
    queue.enqueue_many(&[of("b", "b0"), of("b", "b1")]).await.unwrap();
    take(queue).await;
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { take(&queue).await.job.id }
    });
    eventually("it waits", || async { site.size("ZCARD", "l").await == 1 }).await;
    queue.limit(&Bounds::default()).await.unwrap();
    assert_eq!(waiting.await.unwrap(), "b1");
}

pub(crate) async fn a_group_of_a_type_bounds_that_type(place: Place) {
    // What is documented for types of jobs: a group named after the type, whoever leases.
    let queue = queue(&place).await;
    let bounds = GroupBounds { active_max: Some(2), ..at_rate(1_000, 1_000, 1_000) };
    queue.limit_group("export", &bounds).await.unwrap();
    let jobs = (0..6).map(|number| NewJob { name: "export".to_owned(), ..of("export", &number.to_string()) });
    queue.enqueue_many(&jobs.collect::<Vec<_>>()).await.unwrap();
    let leased = queue.lease(&up_to(9)).await.unwrap();
    assert_eq!((leased.len(), ids(&queue, 9).await.len()), (2, 0));
    queue.complete(&leased[0].ticket, None).await.unwrap();
    assert_eq!(ids(&queue, 9).await.len(), 1);
}

/// A clock that stands still until it is moved on, in µs.
struct Standing {
    clock: SystemClock,
    micros: Arc<AtomicU64>,
}

impl Clock for Standing {
    fn now(&self) -> u64 {
        self.micros() / 1_000
    }

    fn micros(&self) -> u64 {
        self.micros.load(Ordering::SeqCst)
    }

    fn ticks(&self) -> u64 {
        self.micros()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

/// A group as its rate sees it.
#[derive(Debug, Default)]
struct Paced {
    waiting: usize,
    tat: u64,
    rate: Option<Rate>,
}

impl Paced {
    fn interval(Rate { count, period, .. }: Rate) -> u64 {
        period.as_micros() as u64 / u64::from(count)
    }

    /// Looks at the group at a moment, in µs: no job is held up for longer than a burst takes.
    fn look(&mut self, now: u64, each: Option<Rate>) {
        if let (Some(rate), true) = (self.rate.or(each), self.waiting > 0) {
            self.tat = self.tat.min(now + u64::from(rate.burst) * Self::interval(rate));
        }
    }

    /// Returns how many may be leased at a moment.
    fn allowed(&self, now: u64, each: Option<Rate>) -> usize {
        let Some(rate) = self.rate.or(each) else { return usize::MAX };
        (u64::from(rate.burst) - self.tat.saturating_sub(now).div_ceil(Self::interval(rate))) as usize
    }

    fn lease(&mut self, now: u64, each: Option<Rate>) {
        self.waiting -= 1;
        if let Some(rate) = self.rate.or(each) {
            self.tat = self.tat.max(now) + Self::interval(rate);
        }
    }
}

const GROUPS: [&str; 3] = ["a", "b", "é"];

/// A queue and what its rates let through.
struct Walk {
    queue: Queue,
    random: Random,
    micros: Arc<AtomicU64>,
    groups: BTreeMap<&'static str, Paced>,
    each: Option<Rate>,
    enqueued: usize,
    held: Vec<Ticket>,
}

impl Walk {
    /// Returns a rate of which a period has a whole number of µs for each job, or none.
    fn rate(&mut self) -> Option<Rate> {
        let burst = 1 + self.random.below(4) as u32;
        let count = (*self.random.pick(&[1, 2, 4, 5, 8, 10])).max(burst);
        let chosen = rate(count, 1_000 * (1 + self.random.below(4)), burst);
        let is_even = chosen.period.as_micros().is_multiple_of(u128::from(count));
        (is_even && self.random.below(3) > 0).then_some(chosen)
    }

    async fn enqueue(&mut self) {
        let (name, count) = (*self.random.pick(&GROUPS), 1 + self.random.below(4) as usize);
        let jobs = (self.enqueued..self.enqueued + count).map(|number| of(name, &number.to_string()));
        self.queue.enqueue_many(&jobs.collect::<Vec<_>>()).await.unwrap();
        self.enqueued += count;
        self.groups.get_mut(name).unwrap().waiting += count;
    }

    async fn limit(&mut self) {
        self.each = self.rate();
        self.queue.limit(&each(GroupBounds { rate: self.each, ..GroupBounds::default() })).await.unwrap();
    }

    async fn limit_group(&mut self) {
        let (name, rate) = (*self.random.pick(&GROUPS), self.rate());
        self.groups.get_mut(name).unwrap().rate = rate;
        self.queue.limit_group(name, &GroupBounds { rate, ..GroupBounds::default() }).await.unwrap();
    }

    async fn lease(&mut self) {
        let (count, now) = (1 + self.random.below(6) as usize, self.micros.load(Ordering::SeqCst));
        let waiting = self.groups.iter().filter(|(_, group)| group.waiting > 0);
        let room = waiting.map(|(name, group)| (*name, group.allowed(now, self.each).min(group.waiting)));
        let mut room: BTreeMap<&str, usize> = room.collect();
        let options = LeaseOptions { lease: Some(Duration::from_secs(3_600)), ..up_to(count) };
        let leased = self.queue.lease(&options).await.unwrap();
        assert_eq!(leased.len(), count.min(room.values().sum()), "{room:?} {:?}", self.groups);
        for Leased { job, ticket } in leased {
            let name = job.group.unwrap();
            let room = room.get_mut(name.as_str()).unwrap();
            *room = room.checked_sub(1).unwrap_or_else(|| panic!("{name} was too fast: {:?}", self.groups));
            self.groups.get_mut(name.as_str()).unwrap().lease(now, self.each);
            self.held.push(ticket);
        }
    }
}

/// A queue whose clock is moved by hand.
fn standing() -> (Queue, Arc<AtomicU64>) {
    let micros = Arc::new(AtomicU64::new(1_700_000_000_000_000));
    let clock = Standing { clock: SystemClock::new(), micros: micros.clone() };
    let store = Store::open(Config::in_memory().with_clock(clock)).unwrap();
    let services = Services::new(Backend::embedded(store), Settings::default());
    (services.jobs(&tenant()).queue("mail").unwrap(), micros)
}

#[tokio::test]
async fn a_rate_that_was_lifted_and_set_again_loses_no_group() {
    let (queue, micros) = standing();
    let second = |count: u64| micros.fetch_add(count * 1_000_000, Ordering::SeqCst);
    queue.limit(&each(at_rate(1, 10_000, 1))).await.unwrap();
    queue.enqueue(&of("a", "a0")).await.unwrap();
    queue.complete(&take(&queue).await.ticket, None).await.unwrap();
    queue.limit(&Bounds::default()).await.unwrap();
    queue.enqueue(&of("a", "a1")).await.unwrap();
    second(1);
    queue.limit(&each(at_rate(1, 60_000, 1))).await.unwrap();
    queue.enqueue_many(&some("b", 2)).await.unwrap();
    queue.complete(&take(&queue).await.ticket, None).await.unwrap();
    second(9);
    queue.complete(&take(&queue).await.ticket, None).await.unwrap();
    assert_eq!(ids(&queue, 9).await, [""; 0]);
    second(51);
    assert_eq!(ids(&queue, 9).await, ["b1"]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_loses_no_group() {
    let (queue, micros) = standing();
    queue.limit(&each(at_rate(2, 2_000, 2))).await.unwrap();
    queue.enqueue_many(&some("a", 3)).await.unwrap();
    assert_eq!(ids(&queue, 9).await, ["a0", "a1"]);
    micros.fetch_add(1_000_000, Ordering::SeqCst);
    // It comes due while nothing may be leased, and then it was not yet due.
    queue.pause().await.unwrap();
    assert_eq!(ids(&queue, 9).await, [""; 0]);
    queue.resume().await.unwrap();
    micros.fetch_sub(5_000, Ordering::SeqCst);
    assert_eq!(ids(&queue, 9).await, [""; 0]);
    micros.fetch_add(5_000, Ordering::SeqCst);
    assert_eq!(ids(&queue, 9).await, ["a2"]);
}

#[tokio::test]
async fn rates_of_groups_match_the_model() {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let (queue, micros) = standing();
    let mut walk = Walk {
        queue,
        random: Random::new(seed),
        micros,
        groups: GROUPS.map(|name| (name, Paced::default())).into(),
        each: None,
        enqueued: 0,
        held: Vec::new(),
    };
    for _ in 0..1_500 {
        match walk.random.below(12) {
            0..4 => walk.enqueue().await,
            4..7 => drop(walk.micros.fetch_add(1_000 * walk.random.below(1_500), Ordering::SeqCst)),
            7 if walk.random.below(4) == 0 => walk.limit().await,
            8 if walk.random.below(4) == 0 => walk.limit_group().await,
            9 | 10 if !walk.held.is_empty() => walk.queue.complete(&walk.held.swap_remove(0), None).await.unwrap(),
            _ => walk.lease().await,
        }
        for (name, group) in &mut walk.groups {
            group.look(walk.micros.load(Ordering::SeqCst), walk.each);
            assert_eq!(walk.queue.group_counts(name).await.unwrap().waiting, group.waiting as u64, "{name}");
        }
    }
}
