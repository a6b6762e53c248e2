//! What was logged makes the same data again, whatever the commands were and however many wrote at once.

use crate::support;
use crate::support::workload::Workload;
use crate::support::{Embedded, digest, let_soon_pass};
use redpoll_store::{Connection, Value};
use redpoll_testkit::differential::{Plan, run};
use redpoll_testkit::{Random, Scratch};

/// Runs commands of the workload; returns how many were answered by an error.
fn work(connection: &mut Connection, seed: u64, commands: usize) -> usize {
    let mut workload = Workload::new(seed);
    (0..commands).filter(|_| matches!(connection.call(&workload.next()), Value::Error(_))).count()
}

#[test]
fn a_random_workload() {
    for seed in 0..4 {
        let dir = Scratch::new().unwrap();
        let store = support::in_directory(&dir);
        let errors = work(&mut store.connect(), seed, 6_000);
        assert!((1..2_500).contains(&errors), "seed {seed}: {errors} errors of 6,000 commands");
        let_soon_pass(&store);
        let (before, keys) = (digest(&store), store.call(&["DBSIZE"]));
        assert!(matches!(keys, Value::Int(10..)), "seed {seed}: {keys:?} keys are left to compare");
        assert_eq!(store.call(&["DEBUG", "LOADAOF"]), Value::Simple("OK".into()), "seed {seed}");
        assert_eq!(digest(&store), before, "seed {seed}: loaded into the running store");
        drop(store);
        let again = support::in_directory(&dir);
        assert_eq!(digest(&again), before, "seed {seed}: opened again");
        // And on from there.
        work(&mut again.connect(), seed + 100, 500);
        let_soon_pass(&again);
        let before = digest(&again);
        drop(again);
        assert_eq!(digest(&support::in_directory(&dir)), before, "seed {seed}: opened a third time");
    }
}

#[test]
fn several_threads_at_once() {
    const THREADS: u64 = 4;
    let dir = Scratch::new().unwrap();
    let store = support::in_directory(&dir);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || work(&mut store.connect(), 1000 + thread, 3_000));
        }
        // Sees to it that keys expire by the sweep, by access and by scripts alike.
        scope.spawn(|| {
            let (mut connection, mut random) = (store.connect(), Random::new(7));
            for _ in 0..2_000 {
                let key = format!("str:{}", random.below(8));
                connection.call(&["GET", &key]);
                connection.call(&["EVAL_RO", "return redis.call('EXISTS', KEYS[1])", "1", &key]);
            }
        });
    });
    let_soon_pass(&store);
    let before = digest(&store);
    drop(store);
    assert_eq!(digest(&support::in_directory(&dir)), before);
}

/// The commands of the differential test, which know every option of every family.
#[test]
fn every_command_of_the_differential_test() {
    for seed in [3, 4] {
        let dir = Scratch::new().unwrap();
        let (logged, other) = (support::in_directory(&dir), support::in_memory());
        let plan = Plan::new(seed, 8_000);
        let summary = run(&plan, &mut Embedded::new(&logged), &mut Embedded::new(&other));
        summary.unwrap_or_else(|failure| panic!("with and without a log: {failure}"));
        let before = digest(&logged);
        drop(logged);
        assert_eq!(digest(&support::in_directory(&dir)), before, "seed {seed}");
    }
}
