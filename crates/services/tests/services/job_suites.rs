//! What is run of job queues on every backend.

on_every_backend! {
    job_ends:
        pauses_double_with_jitter_up_to_their_bound after_the_last_attempt_a_job_is_dead_with_its_cause
        lost_leases_are_counted_apart_and_end_in_quarantine heartbeats_keep_a_lease_and_tell_how_far_it_is
        a_run_ends_at_its_timeout_whatever_its_heartbeats_say what_waited_for_too_long_is_not_begun
        many_expire_and_come_due_a_bounded_number_at_a_time cancelling_ends_what_waits_and_tells_who_works
        a_paused_queue_leases_nothing what_is_remembered_is_bounded what_is_old_is_forgotten
        the_dead_are_listed_requeued_and_removed requeueing_respects_the_limits_of_the_queue
        clearing_is_exact_and_leaves_who_works;
    job_events:
        what_becomes_of_jobs_is_told what_nobody_did_is_told_too events_are_bounded_and_what_was_missed_is_counted
        who_waits_for_events_is_woken events_of_many_workers_add_up events_round_trip events_are_watched;
    job_flows:
        flows_round_trip a_parent_waits_for_its_children a_child_that_does_not_complete_takes_its_parent_along
        a_flow_is_enqueued_whole_or_not_at_all so_many_are_active_and_no_more who_waits_for_a_place_is_woken
        jobs_are_leased_no_faster_than_allowed a_commit_does_all_of_it a_commit_of_a_lost_lease_does_nothing_of_it
        effects_are_applied_once_where_the_naive_way_applies_them_twice;
    job_group_model:
        turns_match_the_model;
    job_groups:
        a_big_tenant_does_not_hold_up_small_ones groups_take_turns_within_a_priority
        what_comes_back_keeps_its_place_in_its_group a_group_at_its_bound_stands_aside
        a_lost_lease_makes_room_in_its_group who_waits_for_room_in_a_group_is_woken
        bounds_of_groups_hold_under_many_workers counts_of_groups_are_exact_whatever_happens
        bounds_of_very_many_groups_change groups_round_trip;
    job_group_rates:
        groups_are_leased_no_faster_than_allowed who_waits_hears_of_a_group_that_comes_due
        a_group_of_a_type_bounds_that_type;
    job_logs:
        lines_come_back_in_order a_log_is_bounded_in_lines_and_bytes only_who_holds_the_lease_appends
        a_log_goes_with_its_job no_line_is_lost_when_many_append handlers_write_logs logs_round_trip;
    job_model:
        a_queue_matches_the_model;
    job_pitfalls:
        equal_priorities_come_in_order a_due_job_does_not_vanish what_a_reaper_takes_back_is_not_done_yet
        two_producers_of_one_id_make_one_job a_worker_that_was_paused_is_refused attempts_are_counted_before_the_run
        a_step_does_its_share_of_very_many a_call_carries_only_so_much a_job_that_was_not_leased_has_no_token;
    job_races:
        every_job_ends_exactly_once_under_64_workers one_consumer_sees_the_order_in_which_jobs_came
        a_worker_that_dies_while_taking_loses_nothing delayed_jobs_are_moved_once_by_many;
    job_waiting:
        whatever_brings_work_wakes_who_waits who_waits_gets_what_the_dead_held each_job_wakes_one_and_all_are_served
        who_gives_up_leaves_nothing_behind who_gives_up_when_woken_passes_it_on;
    jobs:
        payloads_come_back_unaltered what_is_too_large_changes_nothing priorities_first_and_order_within
        what_comes_back_keeps_its_place delayed_jobs_wait_until_they_are_due an_id_is_taken_until_its_job_has_ended
        a_batch_is_enqueued_whole_or_not_at_all a_lost_lease_is_refused
        a_late_outcome_counts_while_nobody_took_the_job_back a_completed_job_is_not_done_again
        an_exchange_settles_and_leases_in_one_step results_live_as_long_as_they_should
        nothing_of_a_result_is_left_to_another_run queues_and_tenants_are_apart jobs_round_trip;
}
