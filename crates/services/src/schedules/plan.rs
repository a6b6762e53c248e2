//! What to do with a schedule whose time has come. Pure: the same for everybody who has read the same.

#[cfg(test)]
mod tests;

use super::schedule::{Misfire, Overlap, Schedule};
use super::state::{Outcome, State};
use super::timing::Calendar;

/// Ticks that are looked at beside those that are fired.
const EXTRA_MAX: usize = 1_000;

/// A step forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is not due yet.
    Later,
    /// Fires a tick.
    Fire {
        /// The tick.
        tick: u64,
        /// The first and last of late ticks that are left out before it.
        missed: Option<(u64, u64)>,
        /// Whether the previous job is cancelled.
        cancels: bool,
    },
    /// Leaves out all ticks that are due, of which these are the first and the last.
    Pass {
        /// Why.
        outcome: Outcome,
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Looks again a little later.
    Hold,
}

/// Decides about a schedule that is not being fired. `is_busy` tells whether the previous job has not ended.
pub(super) fn decide(id: &str, state: &State, calendar: &Calendar, now_ms: u64, is_busy: bool) -> Plan {
    let Some(tick) = state.tick.filter(|_| state.look <= now_ms && !state.is_paused) else { return Plan::Later };
    let schedule = &state.schedule;
    let misfire = match schedule.misfire {
        // What had to wait is not late for it.
        Misfire::Skip if state.is_held => Misfire::RunOnce,
        misfire => misfire,
    };
    let wanted = if let Misfire::CatchUp(count) = misfire { count as usize } else { 1 };
    let due = latest(id, schedule, calendar, tick, now_ms, wanted);
    let (first, last) = (due[due.len() - 1], due[0]);
    let mut cancels = false;
    if is_busy {
        match schedule.overlap {
            Overlap::Allow => {}
            Overlap::Skip => return Plan::Pass { outcome: Outcome::Overlapped, first: tick, last },
            Overlap::Queue => return Plan::Hold,
            Overlap::Cancel => cancels = true,
        }
    }
    let latest_at = schedule.look_ms(id, last).saturating_add(schedule.grace_ms());
    if misfire == Misfire::Skip && now_ms > latest_at {
        return Plan::Pass { outcome: Outcome::Missed, first: tick, last };
    }
    let missed = (first > tick).then(|| (tick, calendar.last(first - 1).unwrap_or(tick)));
    Plan::Fire { tick: first, missed, cancels }
}

/// Returns the latest ticks that are due, latest first, at most so many and none before `tick`, which is due.
fn latest(id: &str, schedule: &Schedule, calendar: &Calendar, tick: u64, now_ms: u64, wanted: usize) -> Vec<u64> {
    let mut due = Vec::new();
    let mut until = now_ms;
    for _ in 0..wanted + EXTRA_MAX {
        let Some(candidate) = calendar.last(until).filter(|candidate| *candidate > tick) else { break };
        if schedule.look_ms(id, candidate) <= now_ms {
            due.push(candidate);
        }
        if due.len() == wanted {
            return due;
        }
        until = candidate - 1;
    }
    due.push(tick);
    due
}

/// Returns the tick after one, if the schedule goes on.
pub(super) fn next(schedule: &Schedule, calendar: &Calendar, runs: u64, after_ms: u64) -> Option<u64> {
    let goes_on = schedule.max_runs.is_none_or(|max| runs < max);
    goes_on.then(|| calendar.next(after_ms)).flatten()
}
