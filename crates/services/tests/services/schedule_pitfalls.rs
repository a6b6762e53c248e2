//! How schedulers fail elsewhere, each beside the naive way that fails so.

use std::time::Duration;

use redpoll_services::Command;
use redpoll_services::jobs::{JobSettings, NewJob, Payload};
use redpoll_services::metrics::Counter;
use redpoll_services::schedules::{Misfire, Outcome, Schedule, Ticker, Timing};

use crate::jobs::take;
use crate::schedule_races::{forgetful, often};
use crate::schedules::{HOUR_MS, Site, hourly, job, site, site_of};
use crate::support::{Place, eventually, tenant};

/// A process that claims a tick and then dies: its queue takes nothing.
async fn claimed(place: &Place, site: &Site, id: &str, schedule: &Schedule) -> u64 {
    let full = JobSettings { length_max: 1, ..JobSettings::default() };
    let dying = site_of(place, &site.tenant, full).await;
    let filler = dying.services.jobs(&site.tenant).queue(&schedule.queue).unwrap();
    filler.enqueue(&NewJob { id: Some("filler".into()), ..job("") }).await.unwrap();
    let tick = dying.schedules.put(id, schedule).await.unwrap().next_ms.unwrap() - HOUR_MS;
    dying.neglect(id, tick).await;
    assert_eq!(dying.schedules.fire_due().await.unwrap().fired, 0);
    let found = dying.schedules.get(id).await.unwrap();
    assert_eq!(found.firing_ms, Some(tick));
    assert!(found.error.unwrap().contains("is full"));
    assert_eq!(dying.services.metrics().value(Counter::SchedulesDeferred), 1);
    tick
}

pub(crate) async fn a_claim_of_the_dead_is_carried_through(place: Place) {
    // The naive way: note that it was fired, then enqueue; who dies in between takes the tick along.
    let site = site_of(&place, &tenant(), forgetful()).await;
    let backend = site.services.backend();
    let naive = format!("{{{}}}:last", site.tenant.name());
    backend.call(Command::new("SET").key(&naive).arg("tick").arg("NX")).await.unwrap();
    let again = backend.call(Command::new("SET").key(&naive).arg("tick").arg("NX")).await.unwrap();
    assert!(again.is_nil(), "nobody enqueues what the naive process has noted");

    let tick = claimed(&place, &site, "s", &hourly(site.now().await)).await;
    // Not before the one that claimed it had its time.
    eventually("help", || async { site.schedules.fire_due().await.unwrap().fired == 1 }).await;
    let worked = site.work().await;
    assert_eq!(worked, ["filler".to_owned(), format!("s:{tick}")]);
    assert_eq!(site.told("s").await, [(Outcome::Fired, Some(tick), None)]);
    let found = site.schedules.get("s").await.unwrap();
    assert_eq!((found.firing_ms, found.error, found.next_ms), (None, None, Some(tick + HOUR_MS)));
    assert!(site.services.metrics().value(Counter::SchedulesHelped) >= 1);
}

pub(crate) async fn what_was_enqueued_is_not_enqueued_again_when_its_job_is_forgotten(place: Place) {
    let site = site_of(&place, &tenant(), forgetful()).await;
    let now = site.now().await;
    // The naive way: the id of the job tells whether it was enqueued. It is done and forgotten.
    let naive = NewJob { id: Some("naive:1".into()), ..job("x") };
    assert_eq!(site.queue.enqueue(&naive).await.unwrap().existing, None);
    site.work().await;
    assert_eq!(site.queue.enqueue(&naive).await.unwrap().existing, None, "the naive retry enqueues it again");
    site.work().await;

    site.schedules.put("s", &hourly(now)).await.unwrap();
    let tick = now - HOUR_MS / 2;
    site.neglect("s", tick).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    assert_eq!(site.work().await, [format!("s:{tick}")]);
    // As if whoever fired it had died before it could confirm that.
    let claim = ["claim", "1", "claim_tick", &tick.to_string(), "claim_ms", &now.to_string(), "claim_until", "0"];
    let set = Command::new("HSET").key(site.key("s:s")).args_of(&claim);
    site.services.backend().call(set).await.unwrap();
    site.look_at("s", tick).await;
    site.schedules.fire_due().await.unwrap();
    assert_eq!(site.work().await, Vec::<String>::new());
    let found = site.schedules.get("s").await.unwrap();
    assert_eq!((found.firing_ms, found.next_ms), (None, Some(tick + HOUR_MS)));
    // The next tick is a new number.
    site.neglect("s", tick).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    assert_eq!(site.work().await.len(), 1);
}

pub(crate) async fn a_claim_that_nobody_can_know_about_is_given_up(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let tick = claimed(&place, &site, "s", &hourly(now)).await;
    let month = 40 * 24 * HOUR_MS;
    let set = ["claim_ms", &(now - month).to_string(), "claim_until", "0"];
    site.services.backend().call(Command::new("HSET").key(site.key("s:s")).args_of(&set)).await.unwrap();
    site.look_at("s", tick).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 0);
    assert_eq!(site.told("s").await, [(Outcome::Unsure, Some(tick), None)]);
    assert_eq!(site.schedules.get("s").await.unwrap().next_ms, Some(tick + HOUR_MS));
    assert_eq!(site.work().await, ["filler"]);
}

pub(crate) async fn what_is_claimed_is_not_edited(place: Place) {
    let site = site(&place).await;
    let schedule = hourly(site.now().await);
    let tick = claimed(&place, &site, "s", &schedule).await;
    let edited = Schedule { queue: "r".into(), job: NewJob::new("edited", Payload::default()), ..schedule };
    for _ in 0..2 {
        site.schedules.put("s", &edited).await.unwrap();
    }
    // Who may have enqueued it did so into the first queue; into another it would come twice.
    eventually("help", || async { site.schedules.fire_due().await.unwrap().fired == 1 }).await;
    assert_eq!(take(&site.queue).await.job.id, "filler");
    let leased = take(&site.queue).await;
    assert_eq!((leased.job.id, leased.job.name), (format!("s:{tick}"), "report".to_owned()));
    site.neglect("s", tick).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    let other = site.services.jobs(&site.tenant).queue("r").unwrap();
    assert_eq!(take(&other).await.job.name, "edited");
}

pub(crate) async fn a_claim_ends_with_its_schedule(place: Place) {
    let site = site(&place).await;
    let schedule = hourly(site.now().await);
    let tick = claimed(&place, &site, "s", &schedule).await;
    site.schedules.pause("s").await.unwrap();
    eventually("it is carried through", || async { site.schedules.fire_due().await.unwrap().fired == 1 }).await;
    assert_eq!(site.work().await, ["filler".to_owned(), format!("s:{tick}")]);
    assert_eq!(site.schedules.fire_due().await.unwrap(), Default::default(), "a paused one is not looked at");
    // Removed and put anew in the middle of a fire, it is another: nothing of the first stands in its way.
    site.schedules.delete("s").await.unwrap();
    let tick = claimed(&place, &site, "s", &schedule).await;
    site.schedules.delete("s").await.unwrap();
    assert_eq!(site.schedules.fire_due().await.unwrap(), Default::default());
    site.schedules.put("s", &schedule).await.unwrap();
    site.neglect("s", tick).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    assert_eq!(site.work().await, ["filler".to_owned(), format!("s:{tick}")]);
}

pub(crate) async fn a_clock_that_goes_back_fires_nothing_twice(place: Place) {
    let site = site_of(&place, &tenant(), forgetful()).await;
    let now = site.now().await;
    // What was fired was an hour ahead of the clock as it is now.
    site.schedules.put("s", &hourly(now)).await.unwrap();
    let fired = now + HOUR_MS / 2;
    let next = fired + HOUR_MS;
    let set = ["tick", &next.to_string(), "look", &next.to_string(), "passed", &fired.to_string()];
    site.services.backend().call(Command::new("HSET").key(site.key("s:s")).args_of(&set)).await.unwrap();
    site.look_at("s", next).await;
    // The naive way asks for the first tick after now, which was fired.
    let naive = site.schedules.preview(&hourly(now).timing, Some(now), 1).await.unwrap()[0].0;
    assert_eq!(naive, fired);
    assert_eq!(site.schedules.fire_due().await.unwrap().due, 0);
    site.schedules.put("s", &Schedule { job: job("edited"), ..hourly(now) }).await.unwrap();
    assert_eq!(site.schedules.get("s").await.unwrap().next_ms, Some(next));
    site.schedules.pause("s").await.unwrap();
    site.schedules.resume("s").await.unwrap();
    assert_eq!(site.schedules.get("s").await.unwrap().next_ms, Some(next));
}

pub(crate) async fn every_so_often_does_not_drift(place: Place) {
    let site = site(&place).await;
    // The naive way counts from when it came to it, which is later each time.
    let (mut naive, mut lateness) = (0, 7);
    for _ in 0..5 {
        naive += 100 + lateness;
        lateness += 1;
    }
    assert_ne!(naive, 500);
    let first = site.schedules.put("s", &often(6)).await.unwrap().next_ms.unwrap();
    let mut ticks = Vec::new();
    while ticks.len() < 6 {
        // Late each time, and never the same.
        let due = first + 100 * ticks.len() as u64 + 7 + ticks.len() as u64;
        eventually("it is late", || async { site.now().await >= due }).await;
        site.schedules.fire_due().await.unwrap();
        ticks.extend(site.work().await);
    }
    let expected: Vec<String> = (0..6).map(|number| format!("s:{}", first + 100 * number)).collect();
    assert_eq!(ticks, expected);
}

pub(crate) async fn a_tick_while_nobody_ran_is_not_lost(place: Place) {
    let at = {
        let gone = site(&place).await;
        let at = gone.now().await + 50;
        gone.schedules.put("s", &Schedule::new(Timing::at(at), "q", job("x"))).await.unwrap();
        (at, gone.tenant.clone())
    };
    let (at, tenant) = at;
    let site = site_of(&place, &tenant, JobSettings::default()).await;
    eventually("it is late", || async { site.now().await > at + 30 }).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    assert_eq!(site.work().await, [format!("s:{at}")]);
}

pub(crate) async fn a_full_queue_loses_no_tick(place: Place) {
    let tenant = tenant();
    let site = site_of(&place, &tenant, JobSettings { length_max: 1, ..forgetful() }).await;
    let now = site.now().await;
    site.schedules.put("s", &Schedule { misfire: Misfire::CatchUp(9), ..hourly(now) }).await.unwrap();
    let latest = now - HOUR_MS / 2;
    site.neglect("s", latest - 2 * HOUR_MS).await;
    let mut worked = Vec::new();
    while worked.len() < 3 {
        // The first of these fills the queue, and the others wait for it to be worked off.
        for _ in 0..3 {
            site.schedules.fire_due().await.unwrap();
        }
        assert!(site.queue.counts().await.unwrap().waiting <= 1);
        worked.extend(site.work().await);
    }
    let expected: Vec<String> = (0..3).rev().map(|back| format!("s:{}", latest - back * HOUR_MS)).collect();
    assert_eq!(worked, expected);
}

pub(crate) async fn a_broken_schedule_does_not_hold_up_others(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    for id in ["broken", "sound", "large"] {
        site.schedules.put(id, &hourly(now)).await.unwrap();
        site.neglect(id, now - HOUR_MS / 2).await;
    }
    let set = Command::new("HSET").key(site.key("s:broken")).arg("def").arg("{\"what\":");
    site.services.backend().call(set).await.unwrap();
    // Put by a process that allowed more.
    let strict = JobSettings { payload_max: 3, ..JobSettings::default() };
    let strict = site_of(&place, &site.tenant, strict).await;
    // One that was removed by somebody who does not know schedules.
    site.look_at("gone", now - 1).await;
    assert_eq!(strict.schedules.fire_due().await.unwrap().fired, 0);
    assert_eq!(strict.schedules.fire_due().await.unwrap().due, 0, "nobody is busy with them");
    assert_eq!(strict.told("large").await, [(Outcome::Failed, Some(now - HOUR_MS / 2), None)]);
    site.neglect("sound", now - HOUR_MS / 2).await;
    assert_eq!(site.schedules.fire_due().await.unwrap().fired, 1);
    assert!(site.schedules.get("broken").await.is_err() && site.schedules.delete("broken").await.unwrap());
    assert_eq!(site.schedules.get("sound").await.unwrap().next_ms, Some(now + HOUR_MS / 2));
}

pub(crate) async fn tenants_that_cannot_be_reached_do_not_hold_up_others(place: Place) {
    let site = site(&place).await;
    let (now, prefix) = (site.now().await, site.tenant.name());
    let agenda = format!("{prefix}:kept:{{:schedules}}:t");
    // As many as are looked at together, all of them due before the one that can be reached.
    let backend = site.services.backend();
    let spoil = (0..256_u64).map(|number| {
        let tenant = format!("spoilt-{number}");
        let due = Command::new("SET").key(format!("{prefix}:kept:{{{tenant}:schedules}}:d")).arg("spoilt");
        [due, Command::new("ZADD").key(&agenda).arg(number).arg(&tenant)]
    });
    backend.pipeline(spoil.flatten().collect()).await.unwrap().into_iter().for_each(|reply| drop(reply.unwrap()));
    site.schedules.put("s", &hourly(now)).await.unwrap();
    site.neglect("s", now - HOUR_MS / 2).await;
    backend.call(Command::new("ZADD").key(&agenda).arg(now - 1).arg(prefix)).await.unwrap();
    let ticker = tokio::spawn(Ticker::new(site.services.clone()).run(std::future::pending()));
    assert_eq!(take(&site.queue).await.job.id, format!("s:{}", now - HOUR_MS / 2));
    // They have not been forgotten.
    let spoilt = Command::new("ZCARD").key(&agenda);
    assert_eq!(backend.call(spoilt).await.unwrap().as_i64(), Some(257));
    ticker.abort();
}

pub(crate) async fn jitter_is_the_same_for_everybody(place: Place) {
    let site = site(&place).await;
    let now = site.now().await;
    let schedule = Schedule { jitter: Duration::from_secs(1800), ..hourly(now) };
    let mut looks = Vec::new();
    for id in ["a", "b", "c", "d", "e", "f"] {
        let tick = site.schedules.put(id, &schedule).await.unwrap().next_ms.unwrap();
        assert_eq!(tick, now + HOUR_MS / 2, "the tick is where it was");
        let look = async || {
            let score = Command::new("ZSCORE").key(site.key("d")).arg(id);
            let score = site.services.backend().call(score).await.unwrap();
            score.as_f64().unwrap() as u64
        };
        let before = look().await;
        assert!((tick..=tick + HOUR_MS / 2).contains(&before));
        let other = site_of(&place, &site.tenant, JobSettings::default()).await;
        other.schedules.put(id, &Schedule { job: job("other"), ..schedule.clone() }).await.unwrap();
        assert_eq!(look().await, before);
        looks.push(before);
    }
    looks.sort_unstable();
    looks.dedup();
    assert!(looks.len() > 3, "they are spread: {looks:?}");
}
