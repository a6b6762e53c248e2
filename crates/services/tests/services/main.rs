//! One suite for every service, run on every kind of backend: the embedded store, our own server over TCP, redis-server
//! and a Redis Cluster.
//!
//! A test is an async function that takes a [`Place`](support::Place); the macro below runs it on each. What is
//! particular to one kind of backend, or to none, stands in the modules as ordinary tests.

#![allow(clippy::unwrap_used)]

mod atomic;
mod atomic_operations;
mod backend;
mod cache;
mod cache_model;
mod cluster_moves;
mod connection;
mod counters;
mod crashes;
mod delivery;
mod event_operations;
mod events;
mod fallback;
mod idempotency;
mod inventory;
mod job_ends;
mod job_events;
mod job_flows;
mod job_group_model;
mod job_group_rates;
mod job_groups;
mod job_logs;
mod job_model;
mod job_pitfalls;
mod job_races;
mod job_waiting;
mod jobs;
mod killed;
mod limit_model;
mod limit_operations;
mod limits;
mod load;
mod lock_fences;
mod lock_queue;
mod lock_sharing;
mod locks;
mod many;
mod near;
mod operations;
mod processes;
mod pubsub;
mod ratelimit;
mod redelivery;
mod refresh_tokens;
mod reservations;
mod schedule_killed;
mod schedule_pitfalls;
mod schedule_races;
mod schedule_refusals;
mod schedules;
mod scopes;
mod session_foreign;
mod session_lifetimes;
mod session_lists;
mod session_pitfalls;
mod session_races;
mod sessions;
mod signal;
mod single_use;
mod stream_consumers;
mod stream_groups;
mod stream_killed;
mod stream_lives;
mod stream_model;
mod stream_operations;
mod stream_races;
mod stream_retention;
mod streams;
mod support;
mod tls;
mod tokens;
mod topics;
mod triggers;
mod typed;
mod worker_chaos;
mod worker_ends;
mod worker_leases;
mod worker_outages;
mod worker_queues;
mod workers;

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
        suite!(embedded; $($tests)*);
        suite!(redpoll; $($tests)*);
        suite!(redis; $($tests)*);
        suite!(cluster; $($tests)*);
    };
}

mod job_suites;
mod pubsub_suite;
mod schedule_suite;
mod stream_suite;
// Behind the macros it uses.
mod worker_suites;

on_every_backend! {
    atomic:
        a_value_is_changed_only_as_expected
        nothing_is_not_stored_as_empty
        a_lifetime_survives_changes
        versions_see_there_and_back
        fields_have_versions_of_their_own
        updates_of_json_lose_none
        collections_return_types
        scores_are_exact_or_refused
        a_pipeline_keeps_results_and_errors_in_place
        scripts_of_ones_own
        scripts_stay_in_one_group_of_their_tenant
        what_can_never_work_is_refused
        operations_match_the_model;
    atomic_operations:
        atomic_round_trip;
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
        tag_invalidation_is_immediate
        tag_invalidations_count_each_entry_once
        pattern_invalidation_stays_inside
        clearing_is_exact_and_immediate
        index_does_not_leak
        eviction_of_the_index_hides_entries
        an_index_ends_once_what_never_expires_has_gone
        foreign_bytes_are_a_miss;
    cache_model:
        two_processes_are_one_cache
        a_process_sees_its_own_writes_also_near;
    counters:
        additions_stay_within_bounds
        integers_are_exact_and_never_overflow
        money_does_not_drift
        no_addition_is_lost_under_64_tasks
        an_addition_with_an_id_is_done_once
        numbers_are_given_once_under_64_tasks
        a_gapless_sequence_has_no_gaps
        a_late_holder_of_a_number_is_told;
    delivery:
        webhook_is_signed_and_names_its_trigger
        receiver_down_then_up_accepts_each_trigger_once
        many_deliverers_deliver_once
        timer_and_delivery_together
        attempts_run_out_and_requeue_delivers
        one_slow_receiver_does_not_hold_up_the_others
        triggers_are_pushed_to_a_list
        spoilt_consumers_do_not_hold_up_others
        triggers_become_jobs_once
        triggers_are_appended_to_a_stream
        triggers_are_published_to_a_channel
        wrong_type_of_a_target_key_is_dead_after_its_attempts;
    event_operations:
        events_round_trip
        endpoints_of_an_earlier_service;
    events:
        counts_with_first_and_last_time
        batch_fires_once_per_crossing_and_keeps_the_surplus
        redelivered_event_counts_once
        known_ids_are_bounded_and_forgotten
        expiry_is_set_once_and_never_extended
        steady_events_do_not_keep_a_window_alive
        elapsed_is_measured_from_the_first_event
        timer_fires_for_an_idle_consumer
        concurrent_tickers_fire_each_window_once
        whichever_threshold_comes_first
        a_window_with_a_timer_does_not_expire_unnoticed
        lowered_threshold_fires_without_another_event
        timeline_is_bounded_and_windows_say_so
        sliding_and_tumbling_windows
        poison_message_stops_nothing
        reset_discards_the_open_window_only
        stopped_consumer_refuses_events
        registry_of_consumers
        definitions_and_events_are_checked;
    idempotency:
        a_second_request_gets_the_first_ones_answer
        another_request_is_a_mismatch_at_any_time
        fifty_callers_at_once_do_the_work_once
        a_second_caller_may_wait_for_the_first
        a_crashed_owner_is_succeeded_and_its_answer_refused
        many_successors_of_a_crashed_owner_are_one
        renewing_outlives_the_lease
        abandoning_frees_the_key
        scopes_and_tenants_are_walls
        answers_are_bounded_and_kept_for_a_day
        a_clock_that_went_back_does_not_prolong_a_lease
        records_match_the_model;
    fallback:
        fail_safe_value_when_loading_fails
        fail_safe_never_past_its_maximum
        what_was_removed_is_not_kept_for_failures
        soft_timeout_goes_on_in_the_background
        hard_timeout_is_an_error
        loader_knows_how_long
        unchanged_gets_a_new_lifetime
        sliding_lifetimes
        touching_keeps_stale_and_fail_safe_time
        jitter_spreads_lifetimes
        large_values_are_compressed;
    inventory:
        units_are_reserved_committed_and_given_back
        every_step_can_be_sent_again
        what_expires_comes_back
        many_that_expired_make_room
        what_ended_is_forgotten
        totals_never_fall_below_what_is_promised
        bad_input_changes_nothing
        nothing_is_sold_twice_under_64_tasks
        stocks_match_the_model;
    killed:
        killed_recorder_leaves_whole_batches;
    load:
        stampede_runs_one_loader
        instant_loaders_run_once_too
        a_lease_that_nobody_needs_is_given_back
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
        waiters_are_woken_and_do_not_poll
        waiting_is_bounded;
    lock_fences:
        fences_grow_whatever_happens_to_the_store
        a_paused_holders_write_is_refused;
    lock_queue:
        waiters_are_served_in_the_order_they_came
        the_dead_hold_others_up_for_one_short_lease_together
        who_gives_up_leaves_nothing_behind
        who_gives_up_at_the_moment_of_its_turn_passes_it_on
        a_waiter_takes_over_when_the_lease_ends
        a_lock_taken_by_force_goes_to_who_waits
        a_lost_queue_delays_and_loses_nobody;
    lock_sharing:
        permits_are_never_exceeded
        permits_of_the_dead_come_back
        who_wants_much_is_not_starved_by_who_wants_little
        asking_twice_for_permits_is_asking_once
        permits_match_the_model
        readers_share_and_a_writer_is_alone
        readers_do_not_starve_a_writer_nor_it_them
        one_candidate_leads_and_another_follows
        renewal_of_permits;
    locks:
        one_holder_at_any_time_in_the_order_of_fences
        wait_and_lease_have_nothing_to_do_with_each_other
        only_the_owner_extends_and_releases
        asking_twice_is_asking_once
        giving_up_a_second_request_keeps_the_lock
        a_renewed_lock_is_kept
        nothing_is_renewed_after_its_release
        a_holder_is_told_when_its_lock_is_taken_away
        a_lease_that_ended_is_not_revived
        info_tells_who_and_since_when_but_no_token
        every_key_of_a_lock_expires
        decisions_match_the_model
        locks_of_other_tenants_kinds_and_names_are_others;
    many:
        many_load_once_what_is_missing
        many_stampede_loads_each_key_once
        many_fills_are_refused_one_by_one
        many_go_on_after_a_crash_and_after_a_failure
        many_stale_and_kept_for_fail_safe;
    near:
        near_hits_do_not_ask_the_store
        own_writes_are_seen_at_once
        others_writes_are_told
        others_invalidations_are_told
        near_ends_with_the_lifetime;
    limit_model:
        everything_matches_the_model;
    limit_operations:
        limits_round_trip;
    limits:
        the_minute_is_not_consumed_when_the_hour_refuses
        a_refusal_in_another_scope_consumes_nothing
        the_binding_limit_and_the_state_of_each
        a_cost_above_a_limit_is_an_error
        hammering_several_limits_admits_exactly_what_they_allow
        no_double_burst_at_the_border
        a_changed_policy_holds_within_its_window
        retry_after_never_moves_away
        a_wait_asks_only_when_it_is_due
        limits_in_shadow_count_and_refuse_nobody
        what_a_request_leaves_expires
        amounts_and_windows_cannot_change_places;
    operations:
        locks_round_trip
        cache_round_trip
        numbers_come_back_as_they_were_given
        rate_round_trip
        tokens_round_trip
        idempotency_round_trip;
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
        void_state_of_a_clock_that_went_back
        peek_leaves_void_state_as_it_is
        a_log_grows_by_requests_and_not_by_cost
        a_log_knows_whose_leaving_makes_room
        a_log_is_pruned_a_little_at_a_time;
    reservations:
        an_estimate_counts_until_it_is_settled
        more_than_reserved_goes_into_debt_up_to_a_bound
        a_refund_never_lifts_above_capacity
        a_reservation_ends_with_its_lease
        a_reservation_is_settled_once
        asking_again_gives_the_same_answer
        penalties_and_rewards;
    scopes:
        a_block_of_an_hour_lasts_an_hour
        who_is_denied_stays_out_until_let_in
        refusals_climb_the_ladder
        custom_amounts_hold_at_once_and_end
        changes_are_remembered_and_bounded
        policies_are_stored_with_their_history
        so_many_at_once_and_no_more
        slots_of_the_dead_come_back
        who_waits_for_a_slot_is_woken;
    signal:
        a_message_wakes_those_it_is_for
        a_signal_before_the_wait_is_not_lost
        a_lost_message_costs_an_interval
        subscriptions_end_with_those_who_wait;
    redelivery:
        a_dead_deliverers_lease_ends
        silent_receivers_take_turns_with_others
        triggers_of_a_consumer_that_is_pulled_now_are_not_pushed
        many_dead_are_requeued_as_far_as_there_is_room_and_delivered
        triggers_that_waited_to_be_leased_are_pushed_once_there_is_a_target
        a_trigger_that_cannot_be_read_is_dead_and_holds_up_nothing;
    refresh_tokens:
        a_family_lives_by_rotation reuse_of_a_rotated_token_revokes_the_family a_double_submit_gets_the_same_successor
        without_grace_one_of_many_rotates after_the_grace_a_repetition_is_a_reuse
        a_forged_token_of_a_known_family_revokes_it what_revokes_a_family
        issuing_and_revoking_in_one_millisecond_keep_their_order families_expire families_match_the_model;
    single_use:
        one_of_1000_racing_callers_consumes a_token_is_of_its_purpose_subject_and_tenant one_time_tokens_expire
        a_code_has_limited_attempts guessing_at_once_gets_no_more_attempts an_oauth_login_goes_round
        csrf_tokens_are_a_sessions a_csrf_token_of_one_request_is_used_once csrf_tokens_are_bounded_and_expire;
    tokens:
        denied_for_exactly_the_rest_of_its_life a_token_is_denied_until_it_expires_and_not_longer expired_and_far_ends
        local_time_does_not_matter everything_of_a_user_is_revoked_up_to_now
        clocks_of_issuers_may_be_ahead_by_the_leeway revoking_all_misses_nothing_issued_at_the_same_time;
    session_foreign:
        sessions_of_other_libraries
        imports_take_a_session_over_once
        no_sid_leads_to_our_own_keys
        sessions_round_trip;
    session_lifetimes:
        reading_changes_nothing lifetimes_are_milliseconds_and_never_zero touches_slide_up_to_the_absolute_end
        an_unused_session_ends a_touch_within_the_interval_writes_nothing extending_sets_the_end_within_the_absolute
        expired_sessions_do_not_push_others_out;
    session_lists:
        lists_and_counts revoking_is_exact a_workspace_ends_in_all_partitions the_index_ends_with_its_longest_session
        what_the_index_lost_comes_back expired_ones_leave_the_index_step_by_step;
    session_pitfalls:
        lost_update logout_then_save logout_then_touch double_rotation request_under_way chosen_id
        lifetime_dropped_by_a_read lifetime_of_another_unit absolute_end index_too_short index_too_long
        sign_out_racing_a_login;
    session_races:
        parallel_requests_lose_no_update compare_and_set_counts_exactly a_logout_is_final_whoever_races_it
        rotations_at_once_give_one_new_id logins_at_once_make_one_session_and_lose_nothing
        the_cap_holds_under_racing_creates sign_out_everywhere_racing_creates sessions_match_the_model
        a_login_racing_a_logout;
    sessions:
        a_created_session_is_loaded
        an_id_that_was_not_given_out_is_nobodys
        the_store_keeps_no_secret
        updates_change_what_they_name
        compare_and_set_by_version
        sizes_are_bounded
        fields_are_counted
        the_last_messages_are_kept
        nothing_comes_back_after_the_logout
        a_replaced_id_is_accepted_for_the_grace
        rotating_without_grace_ends_that_of_earlier_ids
        an_id_from_before_the_login_is_worth_nothing
        the_oldest_session_makes_room
        the_oldest_of_as_many_as_can_be_is_logged_in_anew
        a_lowered_cap_ends_the_excess
        binding_is_checked_by_loading
        short_ids;
    triggers:
        one_trigger_per_crossing_of_32_recorders
        ack_of_a_lost_lease_is_refused
        ended_lease_nobody_took_can_still_be_settled
        leases_are_exclusive
        failed_attempts_end_among_the_dead
        holders_that_vanish_do_not_keep_a_trigger_for_ever
        pauses_grow_with_attempts
        pushed_triggers_cannot_be_leased
        a_full_queue_refuses_events_and_loses_none
        the_dead_are_bounded_and_dropping_is_counted;
    typed:
        http_is_cached_as_it_says
        http_varies
        http_revalidates
        no_stale_lookup_after_a_rename
        cache_aside_race
        task_lists_change_with_their_tasks
        derived_keys_and_embeddings;
}
