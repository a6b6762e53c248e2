//! The tests of workers, on every kind of backend.

on_every_backend! {
    worker_ends:
        draining_lets_runs_end_and_hands_the_rest_back
        what_does_not_end_in_time_is_cancelled_and_handed_back
        a_blocking_handler_is_left_behind
        dropping_a_worker_drains_it
        a_dead_worker_is_never_shown_alive
        a_restarted_worker_is_another
        workers_are_listed
        what_a_worker_cannot_be
        an_event_is_enqueued_once
        headers_survive_requeueing
        a_crash_between_leasing_and_running_loses_nothing;
    worker_leases:
        a_slow_handler_keeps_its_job
        prefetched_jobs_keep_their_leases_behind_a_slow_handler
        prefetched_jobs_of_short_runs_are_held_as_long_as_others
        what_is_cancelled_or_lost_before_it_began_is_not_run
        a_lease_lost_in_the_middle_is_not_reported_as_done
        a_running_job_is_cancelled_at_once
        a_run_that_takes_too_long_is_ended
        a_run_that_never_rests_is_ended_all_the_same;
    worker_queues:
        a_queue_that_cannot_be_told_keeps_no_other_waiting;
    workers:
        what_handlers_answer_becomes_of_jobs
        jobs_that_nothing_handles
        queues_are_worked_off_in_their_order
        one_at_a_time_they_begin_in_order
        weighted_queues_share
        bounds_of_runs_hold
        progress_commit_and_headers_of_a_run;
}
