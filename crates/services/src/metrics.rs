//! Counters of the services: one table, read by whoever exposes metrics.
//!
//! A counter is a row in the table below and an `add` where the thing happens. Names follow Prometheus. Values only
//! grow and start at 0 with the process; rates are the reader's business.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($variant:ident, $name:literal, $help:literal;)*) => {
        /// Names a counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        /// Every counter with its name and help text.
        pub const COUNTERS: &[(Counter, &str, &str)] = &[$((Counter::$variant, $name, $help)),*];
    };
}

#[rustfmt::skip]
counters! {
    BackendRetries,     "redpoll_backend_retries_total",        "Calls to the store that were tried again.";
    BackendFailures,    "redpoll_backend_failures_total",       "Calls to the store that ended in an outage or timeout.";
    BackendNotTried,    "redpoll_backend_not_tried_total",      "Calls that failed at once because the circuit was open.";
    BackendCircuitOpened, "redpoll_backend_circuit_opened_total", "Times the circuit was opened because the store did not answer.";
    SignalLosses,       "redpoll_signal_losses_total",          "Listening connections lost; who waited looked for itself.";
    CacheHits,          "redpoll_cache_hits_total",             "Lookups that found a value.";
    CacheAbsents,       "redpoll_cache_absents_total",          "Lookups that found a cached absence.";
    CacheMisses,        "redpoll_cache_misses_total",           "Lookups that found nothing.";
    CacheOutages,       "redpoll_cache_outages_total",          "Lookups answered as a miss because the store was down.";
    CacheStaleServed,   "redpoll_cache_stale_served_total",     "Lookups answered with a stale value while one caller refreshes it.";
    CacheLoads,         "redpoll_cache_loads_total",            "Loaders run.";
    CacheLoadErrors,    "redpoll_cache_load_errors_total",      "Loaders that failed; nothing was cached.";
    CacheLoadWaits,     "redpoll_cache_load_waits_total",       "Callers that waited for another caller's loader.";
    CacheFillsRefused,  "redpoll_cache_fills_refused_total",    "Loaded values not stored: deleted, invalidated or written meanwhile.";
    CacheNearHits,      "redpoll_cache_near_hits_total",        "Lookups answered from this process's memory.";
    CacheNearLost,      "redpoll_cache_near_lost_total",        "Times a near cache was emptied because it could no longer be told of changes.";
    CacheFailSafe,      "redpoll_cache_fail_safe_total",        "Values served past their lifetime because loading failed or took too long.";
    CacheInvalidated,   "redpoll_cache_invalidated_total",      "Entries removed by tag, pattern or clearing.";
    LocksAcquired,      "redpoll_locks_acquired_total",         "Locks acquired.";
    LocksRefused,       "redpoll_locks_refused_total",          "Attempts to acquire a lock that ended because the time to wait was up.";
    LocksLost,          "redpoll_locks_lost_total",             "Locks that were lost while they were held and renewed.";
    LockWaits,          "redpoll_lock_waits_total",             "Callers that waited for a lock.";
    LockOutages,        "redpoll_lock_outages_total",           "Attempts to acquire a lock that failed because the store was down.";
    RateAllowed,        "redpoll_rate_limit_allowed_total",     "Requests admitted by a rate limit.";
    RateRefused,        "redpoll_rate_limit_refused_total",     "Requests refused by a rate limit.";
    RateOutages,        "redpoll_rate_limit_outages_total",     "Requests decided by the outage policy because the store was down.";
    LimitsBypassed,     "redpoll_limits_bypassed_total",        "Requests that a role took past all limits.";
    LimitsBlocked,      "redpoll_limits_blocked_total",         "Requests refused because a scope is blocked.";
    LimitsEscalated,    "redpoll_limits_escalated_total",       "Blocks begun by too many refusals.";
    LimitsShadowRefused, "redpoll_limits_shadow_refused_total", "Refusals that limits in shadow would have made.";
    LimitsUncharged,    "redpoll_limits_uncharged_total",       "Units used by reservations beyond the limit and its debt.";
    EventsRecorded,     "redpoll_events_recorded_total",        "Events counted.";
    EventsDuplicate,    "redpoll_events_duplicate_total",       "Events not counted because their id was known.";
    EventsOutages,      "redpoll_events_outages_total",         "Calls about events that failed because the store was down or may evict.";
    EventsPoison,       "redpoll_events_poison_total",          "Messages that could not be understood as events.";
    TriggersFired,      "redpoll_triggers_fired_total",         "Crossings of a threshold.";
    TriggersDelivered,  "redpoll_triggers_delivered_total",     "Triggers that their receiver accepted.";
    TriggersRetried,    "redpoll_triggers_retried_total",       "Deliveries that failed and will be repeated.";
    AtomicApplied,      "redpoll_atomic_applied_total",         "Atomic operations that changed something.";
    AtomicRefused,      "redpoll_atomic_refused_total",         "Atomic operations that changed nothing: not as expected, out of bounds, or no units left.";
    AtomicReplayed,     "redpoll_atomic_replayed_total",        "Atomic operations that had been done by an earlier request of the same id.";
    AtomicExpired,      "redpoll_atomic_reservations_expired_total", "Reservations given back because they expired.";
    TriggersDead,       "redpoll_triggers_dead_total",          "Triggers given up after an attempt.";
    TokensDenied,       "redpoll_tokens_denied_total",          "Tokens put on the deny list.";
    TokensRevoked,      "redpoll_tokens_revoked_total",         "Checks that found a token revoked.";
    TokensConsumed,     "redpoll_tokens_consumed_total",        "One-time tokens and codes consumed.";
    TokensRefused,      "redpoll_tokens_refused_total",         "One-time tokens, codes and CSRF tokens that were not valid.";
    TokensReused,       "redpoll_tokens_reused_total",          "Families of refresh tokens revoked because a rotated one came back.";
    TokensOutages,      "redpoll_tokens_outages_total",         "Token operations refused because the store was down or may evict.";
    IdempotencyStarted, "redpoll_idempotency_started_total",    "Requests that were the first of their key.";
    IdempotencyReplays, "redpoll_idempotency_replays_total",    "Requests answered with the kept result of the first.";
    IdempotencyBusy,    "redpoll_idempotency_busy_total",       "Requests that came while the first was in progress.";
    IdempotencyMismatches, "redpoll_idempotency_mismatches_total", "Requests that used a key of another request.";
    IdempotencyTakeovers,  "redpoll_idempotency_takeovers_total",  "Requests started anew because the first owner's lease had ended.";
    IdempotencyLost,    "redpoll_idempotency_lost_total",       "Results refused because the lease was another's by then.";
    IdempotencyOutages, "redpoll_idempotency_outages_total",    "Requests refused because the store was down or may evict.";
    SessionsCreated,    "redpoll_sessions_created_total",       "Sessions created.";
    SessionsEvicted,    "redpoll_sessions_evicted_total",       "Sessions ended to make room for a newer one of their user.";
    SessionsEnded,      "redpoll_sessions_ended_total",         "Sessions ended by logout or revocation.";
    SessionsRotated,    "redpoll_sessions_rotated_total",       "Session ids replaced.";
    SessionsMismatched, "redpoll_sessions_mismatched_total",    "Sessions asked for from another address or user agent than they are bound to.";
    SessionsOutages,    "redpoll_sessions_outages_total",       "Calls about sessions that failed because the store was down or may evict.";
    JobsEnqueued,       "redpoll_jobs_enqueued_total",          "Jobs enqueued.";
    JobsDuplicate,      "redpoll_jobs_duplicate_total",         "Jobs not enqueued because one of their id was not ended.";
    JobsFull,           "redpoll_jobs_full_total",              "Calls refused because the queue was full.";
    JobsLeased,         "redpoll_jobs_leased_total",            "Jobs leased.";
    JobsCompleted,      "redpoll_jobs_completed_total",         "Jobs completed.";
    JobsFailed,         "redpoll_jobs_failed_total",            "Runs of jobs that failed.";
    JobsDead,           "redpoll_jobs_dead_total",              "Jobs that failed for the last time.";
    JobsLost,           "redpoll_jobs_lost_total",              "Outcomes of jobs refused because the lease had been lost.";
    WorkerPanics,       "redpoll_worker_panics_total",          "Handlers of jobs that panicked.";
    WorkerTimeouts,     "redpoll_worker_timeouts_total",        "Runs of jobs that a worker ended because they took longer than they may.";
    JobsOutages,        "redpoll_jobs_outages_total",           "Calls about jobs that failed because the store was down.";
    PubsubPublished,    "redpoll_pubsub_published_total",       "Messages published to channels.";
    PubsubReceived,     "redpoll_pubsub_received_total",        "Messages of channels that subscriptions of this process were given.";
    PubsubDropped,      "redpoll_pubsub_dropped_total",         "Messages that found the buffer of their subscription full.";
    PubsubLosses,       "redpoll_pubsub_losses_total",          "Connections lost that brought messages; subscriptions were told.";
    PubsubOutages,      "redpoll_pubsub_outages_total",         "Publications that failed because the store was down.";
    StreamsPublished,   "redpoll_streams_published_total",      "Events published.";
    StreamsDuplicate,   "redpoll_streams_duplicate_total",      "Events not published because they were there already.";
    StreamsFull,        "redpoll_streams_full_total",           "Calls refused because the stream was full.";
    StreamsDelivered,   "redpoll_streams_delivered_total",      "Entries taken by consumers.";
    StreamsAcknowledged, "redpoll_streams_acknowledged_total",  "Entries handled and acknowledged.";
    StreamsFailed,      "redpoll_streams_failed_total",         "Entries whose handling failed.";
    StreamsDead,        "redpoll_streams_dead_total",           "Entries that became dead letters.";
    StreamsLost,        "redpoll_streams_lost_total",           "Outcomes of entries refused because the lease had been lost.";
    StreamsRedriven,    "redpoll_streams_redriven_total",       "Dead letters published again.";
    StreamsOutages,     "redpoll_streams_outages_total",        "Calls about streams that failed because the store was down.";
    SchedulesFired,     "redpoll_schedules_fired_total",        "Ticks of schedules that enqueued a job.";
    SchedulesMissed,    "redpoll_schedules_missed_total",       "Times that late ticks of a schedule were left out.";
    SchedulesOverlapped, "redpoll_schedules_overlapped_total",  "Times that ticks of a schedule were left out because the previous job had not ended.";
    SchedulesFailed,    "redpoll_schedules_failed_total",       "Ticks of schedules that enqueued no job: the queue never takes it, or has one of its id.";
    SchedulesDeferred,  "redpoll_schedules_deferred_total",     "Times that the job of a tick could not be enqueued yet.";
    SchedulesHelped,    "redpoll_schedules_helped_total",       "Ticks of schedules that were carried through for a process that had begun with them.";
    SchedulesOutages,   "redpoll_schedules_outages_total",      "Calls about schedules that failed because the store was down.";
}

/// The counters of one process.
#[derive(Debug)]
pub struct Metrics {
    values: [AtomicU64; COUNTERS.len()],
}

impl Metrics {
    /// Makes counters that stand at 0.
    pub fn new() -> Self {
        Self { values: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Adds `count`.
    pub fn add(&self, counter: Counter, count: u64) {
        self.values[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the present value.
    pub fn value(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }

    /// Returns name, help and present value of every counter, in the order of the table.
    pub fn snapshot(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        COUNTERS.iter().map(|(counter, name, help)| (*name, *help, self.value(*counter)))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_order_and_unique() {
        for (index, (counter, name, _)) in COUNTERS.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(name.starts_with("redpoll_") && name.ends_with("_total"));
            assert_eq!(COUNTERS.iter().filter(|row| row.1 == *name).count(), 1);
        }
    }
}
