//! When a snapshot or a rewrite is begun that nobody asked for just now: by the rules of `save`, by the growth of the log, or because it was put off.

use std::sync::atomic::Ordering;

use redpoll_commands::engine::Engine;
use redpoll_commands::persistence::{self, Record, Snapshots};
use redpoll_commands::settings::Setting;

use super::{Keeper, SharedKeeper};

/// Time after a snapshot or rewrite before a failed one is tried again by a rule, and before it is looked whether all files were renewed, milliseconds.
const RETRY_MILLIS: u64 = 5_000;

/// Rewrites that may fail before the next attempts are put off: by a minute, and twice as long each time.
const FAILURES_MAX: u32 = 3;
const PUT_OFF_MILLIS: u64 = 60_000;

/// How long attempts are put off at most, milliseconds.
const PUT_OFF_MAX: u64 = 3_600_000;

impl SharedKeeper {
    /// Begins what is due.
    pub(crate) fn look(&self, engine: &Engine) {
        let (persistence, known, now) = (&engine.persistence, engine.persistence.known(), engine.clock.now());
        if known.active.is_some() {
            return;
        }
        self.0.renew_again(engine, known.rewrites.last_try.max(known.snapshots.last_try));
        let may_rewrite = !is_put_off(&known.rewrites, now);
        if may_rewrite && persistence.rewrite_scheduled.swap(false, Ordering::Relaxed) {
            self.begin_rewrite(engine).ok();
        } else if persistence.save_scheduled.swap(false, Ordering::Relaxed) {
            self.begin_save_by_itself(engine);
        } else if let Some((seconds, changes)) = due_rule(engine, now) {
            tracing::info!("{changes} changes in {seconds} seconds. Saving...");
            self.begin_save_by_itself(engine);
        } else if may_rewrite && self.0.log_has_grown(engine) {
            self.begin_rewrite(engine).ok();
        }
    }

    fn begin_save_by_itself(&self, engine: &Engine) {
        let begun = persistence::with_everything(engine, |view| self.0.begin_save_of(engine, view).is_ok());
        if begun != Ok(true) {
            // A script holds everything for too long; it is tried again at the next look.
            engine.persistence.save_scheduled.store(true, Ordering::Relaxed);
        }
    }
}

/// Finds a rule of snapshots that is met.
fn due_rule(engine: &Engine, now: u64) -> Option<(u64, u64)> {
    let (known, changes) = (engine.persistence.known(), persistence::changes_since_save(engine));
    let is_held_back = known.snapshots.failures > 0 && now < known.snapshots.last_try + RETRY_MILLIS;
    if changes == 0 || is_held_back {
        return None;
    }
    let waited = now.saturating_sub(known.last_save);
    let is_met = |(seconds, least): &(u64, u64)| changes >= *least && waited > seconds.saturating_mul(1000);
    persistence::rules(engine).into_iter().find(is_met)
}

fn is_put_off(rewrites: &Record, now: u64) -> bool {
    let Some(times) = rewrites.failures.checked_sub(FAILURES_MAX) else { return false };
    let time =
        PUT_OFF_MILLIS.checked_shl(times).filter(|_| times < 16).map_or(PUT_OFF_MAX, |time| time.min(PUT_OFF_MAX));
    now < rewrites.last_try + time
}

impl Keeper {
    /// Has files renewed that should have been, some time after the last attempt at anything.
    fn renew_again(&self, engine: &Engine, last_try: u64) {
        let persistence = &engine.persistence;
        let is_scheduled = [&persistence.rewrite_scheduled, &persistence.save_scheduled];
        if self.seals.is_renewing()
            && !is_scheduled.iter().any(|scheduled| scheduled.load(Ordering::Relaxed))
            && engine.clock.now() >= last_try + RETRY_MILLIS
        {
            self.renew_seals(engine);
        }
    }

    fn log_has_grown(&self, engine: &Engine) -> bool {
        let growth = engine.settings.size(Setting::AutoAofRewritePercentage) as u64;
        let Some(log) = self.log.log().filter(|_| growth > 0) else { return false };
        let (len, base_len) = (log.len(), log.base_len().max(1));
        let least = engine.settings.size(Setting::AutoAofRewriteMinSize) as u64;
        let grown = (len.saturating_sub(base_len)).saturating_mul(100) / base_len;
        if len <= least || grown < growth {
            return false;
        }
        tracing::info!("Starting automatic rewriting of AOF on {grown}% growth");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_put_the_next_attempt_off() {
        let put_off_for = |failures| {
            let record = Record { failures, last_try: 1000, ..Record::default() };
            (0..5_000_000).step_by(20_000).take_while(|now| is_put_off(&record, 1000 + now)).count() * 20
        };
        assert_eq!([0, 2, 3, 4, 5, 9, 200].map(put_off_for), [0, 0, 60, 120, 240, 3600, 3600]);
    }
}
