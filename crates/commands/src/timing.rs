//! What becomes of the time a command took.
//!
//! The dispatcher looks at the clock once when a command has ended; the difference to the end of the one before (of the same batch) is its time. Who had
//! to wait for everybody else looks again when it goes on, so waiting counts as nobody's work. The commands of a transaction and of a script are timed
//! one by one.
//!
//! The time is counted ([`Stats::ran`](crate::stats::Stats)), and if it reaches the least of the thresholds of slow log and latency monitor, both are told.
//! Almost always that is one comparison.

use crate::args::Args;
use crate::command::{FAST, SKIP_SLOWLOG};
use crate::cx::Cx;
use crate::registry::Resolved;
use crate::settings::Setting;
use crate::slow_log;

/// Takes note of the time of a command that has run.
#[inline]
pub(crate) fn ran(cx: &Cx<'_, '_>, resolved: &Resolved, args: Args<'_>, nanos: u64) {
    let (stats, settings) = (&cx.engine.stats, &cx.engine.settings);
    if settings.is_on(Setting::LatencyTracking) {
        stats.ran(cx.session.slot, resolved.id, nanos);
    } else {
        stats.ran_untracked(cx.session.slot, resolved.id, nanos);
    }
    if nanos >= settings.watched_nanos() {
        took_long(cx, resolved, args, nanos);
    }
}

/// Tells slow log and latency monitor of a command that took long.
#[cold]
fn took_long(cx: &Cx<'_, '_>, resolved: &Resolved, args: Args<'_>, nanos: u64) {
    // Waiting for data is no work.
    if cx.session.is_blocked() {
        return;
    }
    let engine = cx.engine;
    let micros = nanos / 1000;
    let slow_micros = u64::try_from(engine.settings.int(Setting::SlowlogLogSlowerThan)).unwrap_or(u64::MAX);
    if micros >= slow_micros && !resolved.has(SKIP_SLOWLOG) {
        engine.slow_log.add(slow_log::entry(cx, resolved, args, micros), engine.settings.size(Setting::SlowlogMaxLen));
    }
    engine.note_latency(if resolved.has(FAST) { "fast-command" } else { "command" }, micros / 1000);
}
