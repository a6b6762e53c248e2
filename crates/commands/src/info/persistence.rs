//! The section of INFO about snapshots and the log. What the log takes on the disk the store adds.

use std::sync::atomic::Ordering;

use super::Lines;
use crate::cx::Cx;
use crate::persistence::{Active, Record, Writing, changes_since_save};

pub(super) fn persistence(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let (engine, now) = (cx.engine, cx.wall_now());
    let known = engine.persistence.known();
    let saving = known.active.filter(|active| active.writing != Writing::Log);
    let rewriting = known.active.filter(|active| active.writing == Writing::Log);
    let seconds = |active: Option<Active>| active.map_or(-1, |active| (now.saturating_sub(active.began) / 1000) as i64);
    let last = |record: &Record| record.last_seconds.map_or(-1, |seconds| seconds as i64);
    let status = |record: &Record| if record.failures > 0 { "err" } else { "ok" };
    let scheduled = engine.persistence.rewrite_scheduled.load(Ordering::Relaxed);
    lines.add("loading", u8::from(engine.load_state.is_on()));
    lines.zeros(&["async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    lines.add("current_fork_perc", "0.00");
    lines.add("current_save_keys_processed", known.active.map_or(0, |active| active.keys_written));
    lines.add("current_save_keys_total", known.active.map_or(0, |active| active.keys));
    lines.add("rdb_changes_since_last_save", changes_since_save(engine));
    lines.add("rdb_bgsave_in_progress", u8::from(saving.is_some()));
    lines.add("rdb_last_save_time", known.last_save / 1000);
    lines.add("rdb_last_bgsave_status", status(&known.snapshots));
    lines.add("rdb_last_bgsave_time_sec", last(&known.snapshots));
    lines.add("rdb_current_bgsave_time_sec", seconds(saving));
    lines.add("rdb_saves", known.snapshots.succeeded);
    lines.add("rdb_last_cow_size", 0);
    lines.add("rdb_last_load_keys_expired", known.load_expired);
    lines.add("rdb_last_load_keys_loaded", known.loaded);
    lines.add("aof_enabled", u8::from(engine.log().is_some()));
    lines.add("aof_rewrite_in_progress", u8::from(rewriting.is_some()));
    lines.add("aof_rewrite_scheduled", u8::from(scheduled));
    lines.add("aof_last_rewrite_time_sec", last(&known.rewrites));
    lines.add("aof_current_rewrite_time_sec", seconds(rewriting));
    lines.add("aof_last_bgrewrite_status", status(&known.rewrites));
    lines.add("aof_rewrites", known.rewrites.succeeded);
    lines.add("aof_rewrites_consecutive_failures", known.rewrites.failures);
    lines.add("aof_last_write_status", if engine.log_health.is_failing() { "err" } else { "ok" });
    lines.zeros(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    engine.load_state.tell(lines, now);
}
