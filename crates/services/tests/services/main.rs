//! One suite for every service, run on every kind of backend.
//!
//! A test is an async function that takes a [`Place`](support::Place); the macro below runs it on each. What is
//! particular to one kind of backend, or to none, stands in the modules as ordinary tests.

#![allow(clippy::unwrap_used)]

mod backend;
mod cache;
mod load;
mod operations;
mod ratelimit;
mod support;

macro_rules! suite {
    ($place:ident; $($module:ident: $($name:ident)*;)*) => {
        mod $place {
            $(mod $module { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::$module::$name(crate::support::Place::$place()).await;
                }
            )* })*
        }
    };
}

macro_rules! on_every_backend {
    ($($tests:tt)*) => {
        suite!(remote; $($tests)*);
        suite!(cluster; $($tests)*);
    };
}

suite! {
    embedded;
    backend:
        clock_is_the_stores
        scripts_survive_a_flush
        a_script_spans_no_slots;
}

on_every_backend! {
    backend:
        clock_is_the_stores
        errors_stay_in_their_places
        scripts_survive_a_flush
        a_script_spans_no_slots;
    cache:
        zero_false_empty_and_null_are_not_misses
        bytes_come_back_as_given
        zero_ttl_is_an_error_and_never_is_explicit
        defaults_are_an_hour_and_a_mebibyte
        settings_of_a_namespace
        lifetimes
        deleting_counts
        many_keys_in_order
        namespaces_and_tenants_are_walls
        tag_invalidation_is_exact
        tags_of_an_overwritten_entry
        tag_invalidation_of_many_pages
        pattern_invalidation_stays_inside
        clearing_is_exact_and_immediate
        index_does_not_leak
        eviction_of_the_index_hides_entries
        foreign_bytes_are_a_miss;
    load:
        stampede_runs_one_loader
        slow_loader_outlives_its_lease
        crashed_loader_lets_others_proceed
        dropped_loader_lets_others_proceed
        loader_errors_are_not_cached
        absence_is_cached
        fill_after_delete_is_refused
        fill_after_invalidation_is_refused
        fill_after_write_is_refused
        invalidation_racing_with_loads
        stale_value_while_one_refreshes
        early_refresh
        loaded_value_above_the_cap
        waiting_is_bounded;
    operations:
        cache_round_trip
        rate_round_trip;
    ratelimit:
        hammering_admits_exactly_the_limit
        twenty_in_one_second_with_limit_five
        no_double_burst_at_the_border
        decisions_match_the_model
        refusal_consumes_nothing
        cost_above_the_limit_is_an_error
        peek_consumes_nothing
        reset_forgets
        retry_after_is_when_it_is_admitted
        state_always_expires
        changed_limit_and_window
        subjects_rules_and_tenants_are_apart
        void_state_of_a_clock_that_went_back;
}
