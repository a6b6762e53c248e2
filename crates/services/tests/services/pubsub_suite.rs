//! What is run of pub/sub on every backend.

on_every_backend! {
    pubsub:
        what_is_published_is_heard
        a_star_is_a_star_and_a_pattern_is_a_pattern
        tenants_hear_nothing_of_each_other
        channels_come_and_go_while_somebody_waits
        nothing_is_missed_from_when_subscribing_returns
        a_slow_reader_holds_up_nobody_and_is_told
        publishers_at_once_keep_each_their_order
        messages_of_others_come_as_they_are
        who_listens_is_counted
        what_cannot_be_is_refused;
    topics:
        a_topic_is_read_on_behind_a_token
        where_following_begins
        a_message_comes_at_once
        a_slow_reader_of_a_topic_loses_nothing
        what_was_trimmed_is_told
        following_begins_where_it_was_told
        numbers_of_others_are_not_believed
        large_messages_come_a_few_at_a_time
        what_is_all_gone_is_told_at_once
        following_that_is_given_up_can_begin_again
        a_store_older_than_a_token_is_told
        topics_and_channels_in_one_subscription
        entries_of_others_and_for_others
        nothing_is_left_of_who_followed
        a_feed_is_read_on_behind_its_position;
}
