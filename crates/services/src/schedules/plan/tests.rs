//! Random schedules beside a naive reference, which keeps every tick in a list and looks through it.

use std::collections::VecDeque;
use std::time::{Duration, UNIX_EPOCH};

use redpoll_resp::Value;
use redpoll_testkit::Random;

use super::super::timing::{Spec, Timing};
use super::{Calendar, Misfire, Outcome, Overlap, Plan, Schedule, State, decide, next};
use crate::jobs::NewJob;

const RUNS: u64 = 400;
const STEPS: u64 = 40;
/// An hour before clocks are put back in Berlin.
const START: u64 = 1_792_886_400_000;

fn schedule(random: &mut Random) -> Schedule {
    let every = |seconds: u64| Spec::Every { period: Duration::from_secs(seconds), anchor_ms: Some(START + 1) };
    let cron = |expression: &str| Spec::Cron { expression: expression.to_owned(), zone: "Europe/Berlin".to_owned() };
    let spec = match random.below(6) {
        0 => every(60),
        1 => every(977),
        2 => cron("*/5 * * * *"),
        3 => cron("*/20 2,3 * * *"),
        4 => cron("7 * * * *"),
        _ => Spec::At { at_ms: START + 3_600_000 },
    };
    let mut timing = Timing::new(spec);
    timing.end_ms = (random.below(3) == 0).then_some(START + 20_000_000);
    let misfire = match random.below(4) {
        0 => Misfire::Skip,
        1 => Misfire::RunOnce,
        _ => Misfire::CatchUp(1 + random.below(7) as u32),
    };
    let overlap = *random.pick(&[Overlap::Allow, Overlap::Skip, Overlap::Queue, Overlap::Cancel]);
    Schedule {
        jitter: Duration::from_secs(random.below(2) * 50),
        max_runs: (random.below(3) == 0).then(|| 1 + random.below(9)),
        grace: Duration::from_secs(random.below(900)),
        misfire,
        overlap,
        ..Schedule::new(timing, "q", NewJob::default())
    }
}

/// Every tick there is, and what has been done with the first of them.
struct Naive {
    ticks: VecDeque<u64>,
    runs: u64,
    is_held: bool,
}

impl Naive {
    fn decide(&mut self, schedule: &Schedule, now: u64, is_busy: bool) -> Plan {
        let is_due = |tick: &u64| schedule.look_ms("s", *tick) <= now;
        if !self.ticks.front().is_some_and(is_due) || schedule.max_runs.is_some_and(|max| self.runs >= max) {
            return Plan::Later;
        }
        let first = self.ticks[0];
        let due: Vec<u64> = self.ticks.iter().copied().take_while(is_due).collect();
        let last = due[due.len() - 1];
        let was_held = std::mem::take(&mut self.is_held);
        match schedule.overlap {
            Overlap::Skip if is_busy => {
                self.ticks.drain(..due.len());
                return Plan::Pass { outcome: Outcome::Overlapped, first, last };
            }
            Overlap::Queue if is_busy => {
                self.is_held = true;
                return Plan::Hold;
            }
            _ => {}
        }
        let lateness = now - schedule.look_ms("s", last);
        if schedule.misfire == Misfire::Skip && !was_held && u128::from(lateness) > schedule.grace.as_millis() {
            self.ticks.drain(..due.len());
            return Plan::Pass { outcome: Outcome::Missed, first, last };
        }
        let kept = if let Misfire::CatchUp(count) = schedule.misfire { count as usize } else { 1 };
        let missed = due.len().saturating_sub(kept);
        self.ticks.drain(..=missed);
        self.runs += 1;
        let missed_ends = missed.checked_sub(1).map(|end| (first, due[end]));
        Plan::Fire { tick: due[missed], missed: missed_ends, cancels: is_busy && schedule.overlap == Overlap::Cancel }
    }
}

/// A schedule of the store that has this tick ahead.
fn state(schedule: &Schedule, tick: Option<u64>, runs: u64, is_held: bool) -> State {
    let mut fields = vec![("uid", b"u".to_vec()), ("def", schedule.stored().unwrap())];
    fields.push(("runs", runs.to_string().into_bytes()));
    if let Some(tick) = tick {
        fields.push(("tick", tick.to_string().into_bytes()));
        fields.push(("look", schedule.look_ms("s", tick).to_string().into_bytes()));
    }
    if is_held {
        fields.push(("held", b"1".to_vec()));
    }
    let pairs = fields.into_iter().map(|(name, value)| (Value::Bulk(name.into()), Value::Bulk(value))).collect();
    State::read(Value::Map(pairs)).unwrap().unwrap()
}

fn all_ticks(calendar: &Calendar) -> VecDeque<u64> {
    let first = calendar.first(START);
    std::iter::successors(first, |tick| calendar.next(*tick)).take_while(|tick| *tick < START + 200_000_000).collect()
}

#[test]
fn plans_are_those_of_a_naive_scheduler() {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut fired = 0;
    for run in 0..RUNS {
        let schedule = schedule(&mut random);
        let calendar = schedule.calendar(START).unwrap();
        let mut naive = Naive { ticks: all_ticks(&calendar), runs: 0, is_held: false };
        let (mut tick, mut runs, mut is_held, mut now) = (calendar.first(START), 0, false, START);
        for _ in 0..STEPS {
            now += *random.pick(&[0, 1, 1_000, 60_000, 600_000, 3_600_000]) * random.between(0, 3) as u64;
            let is_busy = random.below(3) == 0 && schedule.overlap.matters();
            let found = decide("s", &state(&schedule, tick, runs, is_held), &calendar, now, is_busy);
            let expected = naive.decide(&schedule, now, is_busy);
            assert_eq!(found, expected, "run {run} of seed {seed} at {now}: {schedule:?}");
            match found {
                Plan::Later => {}
                Plan::Hold => is_held = true,
                Plan::Pass { last, .. } => (tick, is_held) = (next(&schedule, &calendar, runs, last), false),
                Plan::Fire { tick: one, .. } => {
                    (runs, fired) = (runs + 1, fired + 1);
                    (tick, is_held) = (next(&schedule, &calendar, runs, one), false);
                }
            }
        }
    }
    assert!(fired > RUNS, "{fired} fires prove little");
}
