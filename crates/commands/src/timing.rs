//! What becomes of the time a command took.
//!
//! The dispatcher looks at the clock once when a command has ended; the difference to the end of the one before (of the same batch) is its time. Who had
//! to wait for everybody else looks again when it goes on, so waiting counts as nobody's work. The commands of a transaction and of a script are timed
//! one by one.
//!
//! The time is counted ([`Stats::ran`](crate::stats::Stats)), and if it reaches the least of the thresholds of slow log and latency monitor, both are told.
//! Almost always that is one comparison.
//!
//! A command that waits for data is counted when it begins to. Once it is served, the work of serving it is added, and only then is the slow log told.

use crate::args::Args;
use crate::command::{FAST, SKIP_SLOWLOG};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::registry::Resolved;
use crate::session::Session;
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
    if !resolved.has(SKIP_SLOWLOG) {
        slow_log::note(engine, &cx.session.client, micros, || slow_log::Call::new(resolved, args));
    }
    engine.note_latency(if resolved.has(FAST) { "fast-command" } else { "command" }, micros / 1000);
}

/// What was noted of a command that waits for data.
#[derive(Debug)]
pub(crate) struct Unfinished {
    call: slow_log::Call,
    /// The time it took to find nothing.
    nanos: u64,
}

impl Unfinished {
    /// Takes note of a command that has found nothing.
    #[cold]
    pub(crate) fn note(resolved: &Resolved, args: Args<'_>, nanos: u64) -> Unfinished {
        Unfinished { call: slow_log::Call::new(resolved, args), nanos }
    }

    /// Takes note of the time of serving it. Waiting is no work.
    pub(crate) fn served(self, engine: &Engine, session: &Session, command: usize, nanos: u64) {
        engine.stats.went_on(session.slot, command, nanos);
        slow_log::note(engine, &session.client, (self.nanos + nanos) / 1000, || self.call);
        engine.note_latency("command-unblocking", nanos / 1_000_000);
    }
}
