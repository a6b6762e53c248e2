//! What is run of streams on every backend.

on_every_backend! {
    streams:
        events_come_back_unaltered an_event_is_published_once a_batch_is_published_whole_or_not_at_all
        what_is_no_event_changes_nothing a_state_and_its_event_are_one ids_grow_when_the_clock_is_set_back
        ranges_are_read_by_id_time_type_and_key streams_and_tenants_are_apart any_client_may_read_along;
    stream_groups:
        every_group_gets_every_entry only_the_present_owner_acknowledges a_failure_pauses_and_is_tried_again
        after_the_last_attempt_an_entry_is_a_dead_letter lost_leases_are_counted_apart
        entries_of_a_key_wait_for_each_other order_can_be_given_up renewing_keeps_a_lease
        poison_is_buried_and_stops_nobody dead_letters_are_redriven_to_their_group_only filters_pass_over
        who_waits_is_woken;
    stream_lives:
        groups_begin_where_they_are_told a_deleted_group_stays_deleted a_destroyed_group_is_restored
        an_emptied_store_begins_anew lag_is_exact replays_disturb_nobody strangers_in_a_group_are_noticed
        consumers_are_bounded;
    stream_retention:
        needed_entries_are_not_trimmed dead_groups_hold_nothing_back_and_are_told refusing_is_back_pressure
        limits_of_bytes_and_age a_pending_entry_that_is_gone_is_a_dead_letter strangers_groups_hold_too
        what_has_ended_holds_nothing_back a_stream_grows_up_to_its_cap a_hundred_at_a_time;
    stream_races:
        every_group_handles_every_entry_in_order of_two_claimers_one_wins acknowledging_races_claiming
        a_step_does_its_share_of_very_many;
    stream_consumers:
        keys_in_order_and_others_at_once errors_and_panics_are_failures what_is_held_is_renewed
        a_crash_between_handling_and_acknowledging stopping_waits_and_then_hands_back
        a_group_deleted_under_its_consumer a_lost_group_is_made_again;
    stream_model:
        streams_match_the_model;
    stream_operations:
        streams_round_trip;
}
