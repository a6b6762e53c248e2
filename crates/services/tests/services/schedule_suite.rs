//! What is run of schedules on every backend.

on_every_backend! {
    schedule_killed:
        killed_tickers_neither_lose_nor_double_a_tick;
    schedule_pitfalls:
        a_claim_of_the_dead_is_carried_through
        what_was_enqueued_is_not_enqueued_again_when_its_job_is_forgotten
        a_claim_that_nobody_can_know_about_is_given_up
        what_is_claimed_is_not_edited
        a_claim_ends_with_its_schedule
        a_clock_that_goes_back_fires_nothing_twice
        every_so_often_does_not_drift
        a_tick_while_nobody_ran_is_not_lost
        a_full_queue_loses_no_tick
        a_broken_schedule_does_not_hold_up_others
        jitter_is_the_same_for_everybody;
    schedule_races:
        twenty_nodes_fire_each_tick_once
        twenty_passes_at_the_same_moment_fire_once
        edits_and_fires_at_once;
    schedule_refusals:
        what_can_never_tick_is_refused
        what_a_schedule_cannot_be_is_refused
        there_are_only_so_many_schedules
        schedules_round_trip;
    schedules:
        a_tick_enqueues_its_job_once
        a_ticker_fires_until_it_is_stopped
        putting_again_keeps_the_tick_unless_the_timing_is_another
        paused_schedules_have_no_ticks
        a_schedule_ends
        late_ticks_are_as_the_schedule_says
        overlapping_ticks_are_as_the_schedule_says
        a_schedule_is_run_by_hand
        schedules_are_listed_in_pages
        histories_are_bounded;
}
