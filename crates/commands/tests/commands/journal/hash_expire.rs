//! What deadlines of fields are logged as. The clock of a case begins at 1704067200000 ms.

use redpoll_testkit::{Target, command};

use super::{Records, check, replay};
use crate::support;

#[test]
fn deadlines_of_fields_are_logged_as_points_in_time_with_the_fields_that_took_them() {
    check(
        &[
            "HSET h a 1 b 2 c 3",
            "---",
            "HEXPIRE h 200000 FIELDS 2 a missing",
            "HPEXPIRE h 300000000 NX FIELDS 2 a b",
            "HEXPIREAT h 1704267200 XX FIELDS 3 a b c",
            "HPEXPIREAT h 1704267200001 fields 1 c",
            "HEXPIRE h 10 XX FIELDS 1 missing",
            "HEXPIRE h 10 GT FIELDS 2 a b",
            "HPERSIST h FIELDS 2 a missing",
            "HPERSIST h FIELDS 1 a",
        ],
        &[
            "HPEXPIREAT h 1704267200000 FIELDS 1 a",
            "HPEXPIREAT h 1704367200000 FIELDS 1 b",
            "HPEXPIREAT h 1704267200000 FIELDS 2 a b",
            "HPEXPIREAT h 1704267200001 FIELDS 1 c",
            "HPERSIST h FIELDS 2 a missing",
        ],
    );
}

#[test]
fn deadlines_that_have_come_are_logged_as_removals() {
    check(
        &["HSET h a 1 b 2", "---", "HEXPIRE h 0 FIELDS 2 a missing", "HPEXPIREAT h 1 FIELDS 1 b", "EXISTS h"],
        &["HDEL h a", "HDEL h b"],
    );
    check(
        &["HSET h a 1 b 2", "---", "HGETEX h EXAT 1 FIELDS 1 a", "HSETEX h PX 0 FIELDS 2 b 1 c 2"],
        &["HDEL h a", "HDEL h b c"],
    );
}

#[test]
fn what_expires_is_logged_when_it_is_removed() {
    check(
        &["HSETEX h PX 10 FIELDS 3 a 1 b 2 c 3", "---", "+10", "HLEN h", "HGETALL h", "HGET h a", "HMGET h a b c d"],
        &["HDEL h a", "HDEL h b c"],
    );
    check(
        &["HSET h n 5 keep 1", "HPEXPIRE h 10 FIELDS 1 n", "---", "+10", "HINCRBY h n 1", "HRANDFIELD h"],
        &["HDEL h n", "HINCRBY h n 1"],
    );
    check(
        &["HSETEX h PX 10 FIELDS 2 a 1 b 2", "---", "+10", "HRANDFIELD h", "HSETNX h a 2"],
        &["HDEL h a b", "HSETNX h a 2"],
    );
    // Nobody asks whether it has expired: the value is set, and has no deadline, either way.
    check(&["HSETEX h PX 10 FIELDS 1 a 1", "---", "+10", "HSET h a 2"], &["HSET h a 2"]);
    check(&["HSETEX h PX 10 FIELDS 1 a 1", "---", "+10", "HPEXPIRE h 1000 FIELDS 1 a", "EXISTS h"], &["HDEL h a"]);
}

#[test]
fn fields_with_their_deadlines_are_logged_as_what_was_done() {
    check(
        &[
            "HSET h a 1 b 2 c 3",
            "---",
            "HGETEX h FIELDS 1 a",
            "HGETEX h EX 200000 FIELDS 2 a missing",
            "HGETEX h PERSIST FIELDS 2 a b",
            "HGETEX h PERSIST FIELDS 1 b",
            "HGETDEL h FIELDS 2 a missing",
            "HGETDEL h FIELDS 1 missing",
        ],
        &["HPEXPIREAT h 1704267200000 FIELDS 1 a", "HPERSIST h FIELDS 1 a", "HDEL h a"],
    );
    check(
        &[
            "HSETEX h FNX EX 200000 FIELDS 2 a 1 b 2",
            "HSETEX h FNX EX 300000 FIELDS 1 a 1",
            "HSETEX h FXX KEEPTTL FIELDS 1 a 2",
            "HSETEX h FIELDS 1 b 3",
            "HINCRBYFLOAT h a 0.5",
            "HINCRBYFLOAT h b 0.5",
            "HINCRBY h c 1",
        ],
        &[
            "HSETEX h PXAT 1704267200000 FIELDS 2 a 1 b 2",
            "HSETEX h KEEPTTL FIELDS 1 a 2",
            "HSET h b 3",
            "HSETEX h KEEPTTL FIELDS 1 a 2.5",
            "HSET h b 3.5",
            "HINCRBY h c 1",
        ],
    );
}

#[test]
fn the_log_makes_the_same_deadlines_whenever_it_is_replayed() {
    let (mut target, records) = (support::InProcess::new(), Records::default());
    assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
    let lines = [
        "HSETEX h EX 100 FIELDS 3 a 1 b 2 c 3",
        "HEXPIRE h 500 FIELDS 1 b",
        "HINCRBY h b 7",
        "HPERSIST h FIELDS 1 c",
        "HINCRBYFLOAT h b 0.5",
        "COPY h copy",
        "RENAME copy other",
    ];
    lines.iter().for_each(|line| drop(target.call(&command(line))));
    let ask = ["HPEXPIRETIME h FIELDS 3 a b c", "HPEXPIRETIME other FIELDS 3 a b c", "HGETALL h", "INFO keyspace"];
    let shown = |target: &mut support::InProcess| {
        ask.iter().map(|line| target.call(&command(line)).print()).collect::<Vec<_>>()
    };
    let expected = shown(&mut target);
    assert!(expected[0].contains("1704067700000"), "{expected:?}");
    let mut replayed = support::InProcess::new();
    replay(&replayed.engine, &records);
    assert_eq!(shown(&mut replayed), expected);
    // Long after all deadlines: nothing expires while the log is read, everything is found expired afterwards.
    let mut late = support::InProcess::new();
    late.advance(1000 * 3600);
    replay(&late.engine, &records);
    assert_eq!(late.call(&command("HLEN h")).print(), "(integer) 3");
    assert_eq!(late.call(&command("HMGET h a b c")).print(), "1) (nil)\n2) (nil)\n3) \"3\"");
}

#[test]
fn a_reload_keeps_deadlines_of_fields() {
    check(
        &[
            "HSETEX h EX 200000 FIELDS 2 a 1 b 2",
            "HSETEX h PX 10 FIELDS 1 c 3",
            "---",
            "+10",
            "DEBUG LOADAOF",
            "HGET h c",
        ],
        &["HDEL h c"],
    );
}
