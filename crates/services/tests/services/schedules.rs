//! Tests of schedules: ticks come when they should, enqueue what they should, and stop when they should.

use std::time::Duration;

use redpoll_services::jobs::{JobSettings, NewJob, Payload, Queue, State};
use redpoll_services::keys::Keyring;
use redpoll_services::schedules::{
    Entry, Misfire, Outcome, Overlap, Put, Schedule, ScheduleSettings, Schedules, Ticker, Timing,
};
use redpoll_services::{Command, Error, Services, Settings, Tenant};

use crate::jobs::{done, ids, state_of, take, up_to};
use crate::support::{Place, eventually, tenant};

pub(crate) const HOUR_MS: u64 = 3_600_000;

/// Schedules of a tenant of their own, and what they enqueue into.
pub(crate) struct Site {
    pub(crate) services: Services,
    pub(crate) tenant: Tenant,
    pub(crate) schedules: Schedules,
    pub(crate) queue: Queue,
}

pub(crate) async fn site(place: &Place) -> Site {
    site_of(place, &tenant(), JobSettings::default()).await
}

/// Another process that works for the same tenant.
pub(crate) async fn site_of(place: &Place, tenant: &Tenant, jobs: JobSettings) -> Site {
    let brief = Duration::from_millis(50);
    let schedules = ScheduleSettings { claim: brief, recheck: brief, poll: brief, ..ScheduleSettings::default() };
    // Tickers look at all tenants, so those of other tests have another prefix.
    let keyring = Keyring::new(tenant.name()).unwrap();
    let services = place.services_with(Settings { keyring, jobs, schedules, ..Settings::default() }).await;
    let (schedules, queue) = (services.schedules(tenant), services.jobs(tenant).queue("q").unwrap());
    Site { services, tenant: tenant.clone(), schedules, queue }
}

pub(crate) fn job(text: &str) -> NewJob {
    NewJob::new("report", Payload::bytes(text))
}

/// Every hour, half an hour ago for the last time.
pub(crate) fn hourly(now_ms: u64) -> Schedule {
    let anchor_ms = Some(now_ms - HOUR_MS / 2);
    let spec = redpoll_services::schedules::Spec::Every { period: Duration::from_secs(3600), anchor_ms };
    Schedule::new(Timing::new(spec), "q", job("x"))
}

impl Site {
    pub(crate) async fn now(&self) -> u64 {
        self.services.backend().now_ms().await.unwrap()
    }

    pub(crate) fn key(&self, part: &str) -> String {
        format!("{0}:kept:{{{0}:schedules}}:{part}", self.tenant.name())
    }

    /// Has nobody looked at a schedule since this tick.
    pub(crate) async fn neglect(&self, id: &str, tick: u64) {
        let set = Command::new("HSET").key(self.key(&format!("s:{id}"))).arg("tick").arg(tick).arg("look").arg(tick);
        self.services.backend().call(set).await.unwrap();
        self.look_at(id, tick).await;
    }

    /// Has a schedule looked at as if this were the moment for it.
    pub(crate) async fn look_at(&self, id: &str, moment: u64) {
        let add = Command::new("ZADD").key(self.key("d")).arg(moment).arg(id);
        self.services.backend().call(add).await.unwrap();
    }

    /// Returns what the history says, earliest first: outcome, first and last tick.
    pub(crate) async fn told(&self, id: &str) -> Vec<(Outcome, Option<u64>, Option<u64>)> {
        let entries = self.schedules.history(id, 0, 1_000).await.unwrap();
        entries.iter().rev().map(|Entry { fire, .. }| (fire.outcome, fire.tick_ms, fire.until_ms)).collect()
    }

    /// Ends what waits in the queue, and returns its ids in their order.
    pub(crate) async fn work(&self) -> Vec<String> {
        let leased = self.queue.lease(&up_to(1_000)).await.unwrap();
        let outcomes: Vec<_> = leased.into_iter().map(|leased| (leased.ticket, done())).collect();
        if !outcomes.is_empty() {
            self.queue.settle(&outcomes).await.unwrap();
        }
        outcomes.into_iter().map(|(ticket, _)| ticket.id).collect()
    }
}

pub(crate) async fn a_tick_enqueues_its_job_once(place: Place) {
    let site = site(&place).await;
    let at = site.now().await + 60;
    let bytes: Vec<u8> = (0..=255).collect();
    let job = NewJob { priority: 7, ..NewJob::new("report", Payload::bytes(bytes.clone())) };
    let schedule = Schedule::new(Timing::at(at), "q", job);
    let put = site.schedules.put("once", &schedule).await.unwrap();
    assert_eq!(put, Put { created: true, next_ms: Some(at) });
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 0, "before its time");
    eventually("the tick", || async { site.schedules.fire_due().await.unwrap().fired == 1 }).await;
    let leased = take(&site.queue).await;
    assert_eq!(leased.job.id, format!("once:{at}"));
    assert_eq!((leased.job.payload, leased.job.priority), (Some(Payload::bytes(bytes)), 7));
    assert!(leased.job.created_ms >= at);
    let found = site.schedules.get("once").await.unwrap();
    assert_eq!((found.next_ms, found.has_ended, found.runs, found.firing_ms), (None, true, 1, None));
    assert_eq!((found.last_tick_ms, found.last_job), (Some(at), Some(format!("once:{at}"))));
    assert_eq!(found.schedule, schedule);
    assert_eq!(site.told("once").await, [(Outcome::Fired, Some(at), None)]);
    // Put again as it is, it does not come again.
    let put = site.schedules.put("once", &schedule).await.unwrap();
    assert_eq!(put, Put { created: false, next_ms: None });
    assert_eq!(site.schedules.fire_due().await.unwrap().due, 0);
}

pub(crate) async fn a_ticker_fires_until_it_is_stopped(place: Place) {
    let site = site(&place).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let services = site.services.clone();
    let ticker = tokio::spawn(Ticker::new(services).run(async { stopped.await.unwrap_or_default() }));
    let mut schedule = Schedule::new(Timing::every(Duration::from_millis(100)), "q", job("x"));
    schedule.misfire = Misfire::CatchUp(1_000);
    schedule.max_runs = Some(4);
    // Put by another process.
    let other = site_of(&place, &site.tenant, JobSettings::default()).await;
    let first = other.schedules.put("s", &schedule).await.unwrap().next_ms.unwrap();
    let expected: Vec<String> = (0..4).map(|number| format!("s:{}", first + number * 100)).collect();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(take(&site.queue).await.job.id);
    }
    assert_eq!(seen, expected);
    let found = site.schedules.get("s").await.unwrap();
    assert_eq!((found.has_ended, found.runs), (true, 4));
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), ticker).await.expect("it stops").unwrap();
}

pub(crate) async fn putting_again_keeps_the_tick_unless_the_timing_is_another(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let schedule = hourly(now);
    let next = site.schedules.put("s", &schedule).await.unwrap().next_ms.unwrap();
    assert_eq!(next, now + HOUR_MS / 2);
    // Due, and changed before anybody looked: the tick is not lost.
    site.neglect("s", next - HOUR_MS).await;
    let edited = Schedule { job: job("edited"), overlap: Overlap::Skip, ..schedule.clone() };
    let put = site.schedules.put("s", &edited).await.unwrap();
    assert_eq!(put, Put { created: false, next_ms: Some(next - HOUR_MS) });
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    assert_eq!(take(&site.queue).await.job.payload, Some(Payload::bytes("edited")));
    // Another timing begins anew.
    let daily = Schedule { timing: Timing::cron("@daily", "Europe/Berlin"), ..schedule.clone() };
    let put = site.schedules.put("s", &daily).await.unwrap();
    assert!(!put.created && put.next_ms.unwrap() > now && put.next_ms != Some(next));
    assert_eq!(site.schedules.get("s").await.unwrap().runs, 0);
    // A schedule without an anchor keeps the one it was given.
    let every = Schedule::new(Timing::every(Duration::from_secs(60)), "q", job("x"));
    let first = site.schedules.put("t", &every).await.unwrap();
    let again = site.schedules.put("t", &Schedule { job: job("y"), ..every }).await.unwrap();
    assert_eq!((again.next_ms, again.created), (first.next_ms, false));
}

pub(crate) async fn paused_schedules_have_no_ticks(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let next = site.schedules.put("s", &hourly(now)).await.unwrap().next_ms;
    assert_eq!(site.schedules.pause("s").await, Ok(true));
    assert_eq!(site.schedules.pause("s").await, Ok(false));
    assert_eq!(site.schedules.get("s").await.unwrap().next_ms, None);
    // What would have come is not late afterwards.
    site.neglect("s", now - 10 * HOUR_MS).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 0);
    assert_eq!(site.schedules.put("s", &hourly(now)).await.unwrap().next_ms, None, "it stays paused");
    assert_eq!(site.schedules.resume("s").await, Ok(true));
    assert_eq!(site.schedules.resume("s").await, Ok(false));
    assert_eq!(site.schedules.get("s").await.unwrap().next_ms, next);
    assert_eq!((site.schedules.fire_due().await.unwrap().due, site.told("s").await.len()), (0, 0));
    // But what comes once waits.
    let once = Schedule::new(Timing::at(now + 30), "q", job("x"));
    site.schedules.put("once", &once).await.unwrap();
    site.schedules.pause("once").await.unwrap();
    eventually("it has passed", || async { site.now().await > now + 40 }).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 0);
    site.schedules.resume("once").await.unwrap();
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    assert!(matches!(site.schedules.pause("absent").await, Err(Error::NotFound(_))));
}

pub(crate) async fn a_schedule_ends(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let base = hourly(now);
    // After so many runs, and goes on if it may have more.
    let bounded = Schedule { max_runs: Some(2), misfire: Misfire::CatchUp(9), ..base.clone() };
    site.schedules.put("s", &bounded).await.unwrap();
    let first = now - HOUR_MS / 2 - 4 * HOUR_MS;
    site.neglect("s", first).await;
    let expected = [format!("s:{first}"), format!("s:{}", first + HOUR_MS)];
    for _ in 0..3 {
        site.schedules.fire_due().await.unwrap();
    }
    assert_eq!(ids(&site.queue, 9).await, expected);
    let found = site.schedules.get("s").await.unwrap();
    assert_eq!((found.has_ended, found.runs, found.next_ms), (true, 2, None));
    assert_eq!(site.schedules.next("s", 5).await.unwrap(), []);
    let more = Schedule { max_runs: Some(3), ..bounded };
    assert_eq!(site.schedules.put("s", &more).await.unwrap().next_ms, Some(now + HOUR_MS / 2));
    assert_eq!(site.schedules.next("s", 5).await.unwrap().len(), 1);
    // Between two moments, both of which may be ticks.
    let start = now + 10 * HOUR_MS;
    let mut timing = Timing::every(Duration::from_secs(3600));
    (timing.start_ms, timing.end_ms) = (Some(start), Some(start + 2 * HOUR_MS));
    site.schedules.put("t", &Schedule { timing, ..base }).await.unwrap();
    let ticks: Vec<u64> = site.schedules.next("t", 9).await.unwrap().into_iter().map(|(tick, _)| tick).collect();
    assert_eq!(ticks, [start, start + HOUR_MS, start + 2 * HOUR_MS]);
}

pub(crate) async fn late_ticks_are_as_the_schedule_says(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let latest = now - HOUR_MS / 2;
    let first = latest - 9 * HOUR_MS;
    let put = async |misfire: Misfire, grace: Duration| {
        site.schedules.put("s", &Schedule { misfire, grace, ..hourly(now) }).await.unwrap();
        site.neglect("s", first).await;
        let mut fired = 0;
        for _ in 0..6 {
            fired += site.schedules.fire_due().await.unwrap().fired;
        }
        assert_eq!(site.schedules.get("s").await.unwrap().next_ms, Some(latest + HOUR_MS), "{misfire:?}");
        let (worked, told) = (site.work().await, site.told("s").await);
        assert_eq!(worked.len(), fired);
        assert!(site.schedules.delete("s").await.unwrap());
        (worked, told)
    };
    let tick = |back: u64| latest - back * HOUR_MS;
    let id = |back: u64| format!("s:{}", tick(back));
    let fired = |back: u64| (Outcome::Fired, Some(tick(back)), None);
    let missed = |last: u64| (Outcome::Missed, Some(first), Some(tick(last)));
    let minute = Duration::from_secs(60);
    assert_eq!(put(Misfire::Skip, minute).await, (vec![], vec![missed(0)]));
    assert_eq!(put(Misfire::Skip, minute * 60).await, (vec![id(0)], vec![missed(1), fired(0)]));
    assert_eq!(put(Misfire::RunOnce, minute).await, (vec![id(0)], vec![missed(1), fired(0)]));
    let all = (vec![id(2), id(1), id(0)], vec![missed(3), fired(2), fired(1), fired(0)]);
    assert_eq!(put(Misfire::CatchUp(3), minute).await, all);
    let (worked, told) = put(Misfire::CatchUp(1), minute).await;
    assert_eq!((worked, told.len()), (vec![id(0)], 2));
}

pub(crate) async fn overlapping_ticks_are_as_the_schedule_says(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let (earlier, later) = (now - HOUR_MS / 2 - HOUR_MS, now - HOUR_MS / 2);
    let fire = async || site.schedules.fire_due().await.unwrap().fired;
    for overlap in [Overlap::Allow, Overlap::Skip, Overlap::Queue, Overlap::Cancel] {
        let misfire = if overlap == Overlap::Queue { Misfire::Skip } else { Misfire::CatchUp(9) };
        site.schedules.put("s", &Schedule { overlap, misfire: Misfire::CatchUp(9), ..hourly(now) }).await.unwrap();
        site.neglect("s", earlier).await;
        assert_eq!(fire().await, 1);
        let previous = take(&site.queue).await;
        assert_eq!(previous.job.id, format!("s:{earlier}"));
        site.schedules.put("s", &Schedule { overlap, misfire, ..hourly(now) }).await.unwrap();
        let fired = fire().await;
        let state = state_of(&site.queue, &previous.job.id).await;
        let told = site.told("s").await;
        match overlap {
            Overlap::Allow => assert_eq!((fired, state), (1, State::Active)),
            Overlap::Skip => {
                assert_eq!((fired, state), (0, State::Active));
                assert_eq!(told.last(), Some(&(Outcome::Overlapped, Some(later), Some(later))));
            }
            Overlap::Queue => {
                assert_eq!((fired, state, told.len()), (0, State::Active, 1));
                site.queue.complete(&previous.ticket, None).await.unwrap();
                // It has waited for longer than its grace, and comes nevertheless.
                eventually("its turn", || async { site.schedules.fire_due().await.unwrap().fired == 1 }).await;
            }
            Overlap::Cancel => assert_eq!((fired, state), (1, State::Cancelling)),
        }
        assert_eq!(site.schedules.get("s").await.unwrap().next_ms, Some(later + HOUR_MS), "{overlap:?}");
        site.queue.complete(&previous.ticket, None).await.ok();
        let expected = if overlap == Overlap::Skip { vec![] } else { vec![format!("s:{later}")] };
        assert_eq!(site.work().await, expected, "{overlap:?}");
        site.schedules.delete("s").await.unwrap();
    }
}

pub(crate) async fn a_schedule_is_run_by_hand(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let schedule = Schedule { overlap: Overlap::Skip, ..hourly(now) };
    let next = site.schedules.put("s", &schedule).await.unwrap().next_ms;
    site.schedules.pause("s").await.unwrap();
    let (one, two) = (site.schedules.run_now("s").await.unwrap(), site.schedules.run_now("s").await.unwrap());
    assert_ne!(one, two);
    site.schedules.resume("s").await.unwrap();
    let found = site.schedules.get("s").await.unwrap();
    assert_eq!((found.next_ms, found.runs, found.last_job), (next, 0, Some(two.clone())));
    // It is the previous job for the next tick.
    site.neglect("s", next.unwrap() - HOUR_MS).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 0);
    let outcomes: Vec<Outcome> = site.told("s").await.into_iter().map(|(outcome, ..)| outcome).collect();
    assert_eq!(outcomes, [Outcome::Manual, Outcome::Manual, Outcome::Overlapped]);
    assert_eq!(site.work().await, [one, two]);
    assert!(matches!(site.schedules.run_now("absent").await, Err(Error::NotFound(_))));
}

pub(crate) async fn schedules_are_listed_in_pages(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let names = ["", "\0", "a:b", "a{b}", "é", "z", "zz", " "];
    for name in &names[1..] {
        site.schedules.put(name, &hourly(now)).await.unwrap();
    }
    let mut sorted = names[1..].to_vec();
    sorted.sort_unstable();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = site.schedules.list(after.as_deref(), 3).await.unwrap();
        seen.extend(page.iter().map(|found| found.id.clone()));
        match page.last() {
            Some(last) => after = Some(last.id.clone()),
            None => break,
        }
    }
    assert_eq!(seen, sorted);
    // Another tenant sees none of it.
    let other = site_of(&place, &tenant(), JobSettings::default()).await;
    assert_eq!(other.schedules.list(None, 9).await.unwrap(), []);
    assert!(matches!(other.schedules.get("z").await, Err(Error::NotFound(_))));
    assert_eq!(other.schedules.delete("z").await, Ok(false));
    // What is removed leaves nothing behind.
    for name in sorted {
        site.schedules.run_now(name).await.unwrap();
        assert_eq!(site.schedules.delete(name).await, Ok(true));
        assert!(matches!(site.schedules.history(name, 0, 9).await, Err(Error::NotFound(_))));
    }
    for key in ["d", "n", "s:z", "h:z"] {
        let exists = site.services.backend().call(Command::new("EXISTS").key(site.key(key))).await.unwrap();
        assert_eq!(exists.as_i64(), Some(0), "{key}");
    }
}

pub(crate) async fn histories_are_bounded(place: Place) {
    let tenant = tenant();
    let schedules = ScheduleSettings { history_max: 5, ..ScheduleSettings::default() };
    let services = place.services_with(Settings { schedules, ..Settings::default() }).await;
    let schedules = services.schedules(&tenant);
    let now = services.backend().now_ms().await.unwrap();
    schedules.put("s", &hourly(now)).await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(schedules.run_now("s").await.unwrap());
    }
    let entries = schedules.history("s", 0, 100).await.unwrap();
    let told: Vec<_> = entries.iter().rev().map(|entry| entry.fire.job.clone().unwrap()).collect();
    assert_eq!(told, jobs[3..]);
    assert_eq!(schedules.history("s", 1, 2).await.unwrap(), entries[1..3]);
    assert_eq!(schedules.history("s", 9, 2).await.unwrap(), []);
}
