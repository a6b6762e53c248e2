//! Commands on several keys, transactions and scripts happen at one moment: nobody sees them half done, whatever else goes on.

use crate::support;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{int, numbers, run, succeed};
use redpoll_store::{Connection, Store, Value};
use redpoll_testkit::Random;

const ROUNDS: usize = 1_500;
const ROUNDS_MAX: usize = 1_000 * ROUNDS;

/// How often the watcher looks at least.
const LOOKS: usize = 20;

/// What a writer does again and again.
type Write<'a> = &'a (dyn Fn(&mut Connection, &mut Random) + Sync);

/// Runs writers while a watcher looks again and again and others shake the gate: so many rounds, and for as long as the watcher has not looked often enough to
/// see something.
fn watch(store: &Store, writers: &[Write<'_>], look: &(dyn Fn(&mut Connection) + Sync)) {
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut connection = store.connect();
            while !done.load(Ordering::Acquire) {
                look(&mut connection);
                looks.fetch_add(1, Ordering::AcqRel);
            }
        });
        let shaker = scope.spawn(|| {
            let mut connection = store.connect();
            succeed(&mut connection, "SELECT 9");
            while !done.load(Ordering::Acquire) {
                // Exclusive and whole-keyspace commands that change nothing the others look at.
                ["FLUSHDB", "SWAPDB 8 9", "DBSIZE", "KEYS *", "SCAN 0"]
                    .iter()
                    .for_each(|line| succeed(&mut connection, line));
            }
        });
        let writing: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(index, write)| {
                let looks = &looks;
                scope.spawn(move || {
                    let (mut connection, mut random) = (store.connect(), Random::new(5).fork(index as u64));
                    let goes_on = |round: &usize| *round < ROUNDS || looks.load(Ordering::Acquire) < LOOKS;
                    (0..ROUNDS_MAX).take_while(goes_on).for_each(|_| write(&mut connection, &mut random));
                })
            })
            .collect();
        let failed = writing.into_iter().map(std::thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        done.store(true, Ordering::Release);
        shaker.join().expect("the shaker found nothing wrong");
        assert_eq!(failed, 0, "a writer panicked");
        watcher.join().expect("the watcher found nothing wrong");
    });
    let looks = looks.into_inner();
    assert!(looks >= LOOKS, "the watcher looked {looks} times only");
}

#[test]
fn keys_set_together_are_seen_together() {
    let store = support::in_memory();
    let mset = |connection: &mut Connection, random: &mut Random| {
        let value = random.below(1000);
        succeed(connection, &format!("MSET left {value} middle {value} right {value}"));
    };
    let del = |connection: &mut Connection, _: &mut Random| succeed(connection, "DEL right left middle");
    let exec = |connection: &mut Connection, random: &mut Random| {
        let value = random.below(1000);
        succeed(connection, "MULTI");
        ["left", "right", "middle"].iter().for_each(|key| succeed(connection, &format!("SET {key} {value}")));
        succeed(connection, "EXEC");
    };
    let script = |connection: &mut Connection, random: &mut Random| {
        let value = random.below(1000).to_string();
        let body = "for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1]) end";
        let reply = connection.call(&["EVAL", body, "3", "middle", "right", "left", &value]);
        assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
    };
    watch(&store, &[&mset, &mset, &del, &exec, &script], &|connection| {
        let seen = numbers(connection, "MGET left middle right");
        assert!(seen[0] == seen[1] && seen[1] == seen[2], "{seen:?}");
    });
}

#[test]
fn a_renamed_key_is_always_somewhere_once() {
    let store = support::in_memory();
    succeed(&mut store.connect(), "SET here 1");
    let there = |connection: &mut Connection, _: &mut Random| drop(run(connection, "RENAME here there"));
    let back = |connection: &mut Connection, _: &mut Random| drop(run(connection, "RENAMENX there here"));
    watch(&store, &[&there, &back, &there, &back], &|connection| {
        assert_eq!(int(connection, "EXISTS here there"), 1);
        let seen = numbers(connection, "MGET here there");
        assert_eq!(seen.iter().flatten().count(), 1, "{seen:?}");
    });
}

#[test]
fn transfers_keep_the_sum() {
    const ACCOUNTS: u64 = 6;
    const ALL: &str = "account:0 account:1 account:2 account:3 account:4 account:5";
    let store = support::in_memory();
    let mut connection = store.connect();
    (0..ACCOUNTS).for_each(|account| succeed(&mut connection, &format!("SET account:{account} 1000")));
    let exec = |connection: &mut Connection, random: &mut Random| {
        let (from, to, amount) = (random.below(ACCOUNTS), random.below(ACCOUNTS), random.below(50));
        succeed(connection, "MULTI");
        succeed(connection, &format!("DECRBY account:{from} {amount}"));
        succeed(connection, &format!("INCRBY account:{to} {amount}"));
        succeed(connection, "EXEC");
    };
    let script = |connection: &mut Connection, random: &mut Random| {
        let (from, to, amount) = (random.below(ACCOUNTS), random.below(ACCOUNTS), random.below(50).to_string());
        let body = "redis.call('DECRBY', KEYS[1], ARGV[1]); redis.call('INCRBY', KEYS[2], ARGV[1])";
        let keys = [format!("account:{from}"), format!("account:{to}")];
        let reply = connection.call(&["EVAL", body, "2", &keys[0], &keys[1], &amount]);
        assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
    };
    let sum =
        |connection: &mut Connection| numbers(connection, &format!("MGET {ALL}")).into_iter().flatten().sum::<i64>();
    watch(&store, &[&exec, &exec, &exec, &script, &script], &|connection| {
        assert_eq!(sum(connection), 1000 * ACCOUNTS as i64);
        let body = "local sum = 0; for i = 0, 5 do sum = sum + redis.call('GET', 'account:' .. i) end; return sum";
        assert_eq!(connection.call(&["EVAL", body, "0"]), Value::Int(1000 * ACCOUNTS as i64));
    });
    assert_eq!(sum(&mut connection), 1000 * ACCOUNTS as i64);
}
