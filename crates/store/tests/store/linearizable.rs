//! Eight threads on a few keys: what each key was seen to hold could have happened one command after another.

use crate::support;
use std::collections::HashMap;
use std::sync::Mutex;

use crate::support::{number, run};
use redpoll_store::{Connection, Value};
use redpoll_testkit::Random;
use redpoll_testkit::linear::{Add, Clock, Counter, Operation, Register, RegisterCall, assert_linearizable};

const THREADS: u64 = 8;
const KEYS: u64 = 12;
/// Per thread and key; the checker's work grows steeply with the operations of one key.
const OPERATIONS_PER_KEY: u64 = 30;

/// Lets every thread call the keys in random order and gives the history of each key.
fn histories<C: Send, A: Send>(
    seed: u64,
    call: impl Fn(&mut Random, u64) -> C + Sync,
    perform: impl Fn(&mut Connection, &str, &C) -> A + Sync,
) -> HashMap<String, Vec<Operation<C, A>>> {
    let (store, clock) = (support::in_memory(), Clock::default());
    let histories = Mutex::new(HashMap::<String, Vec<Operation<C, A>>>::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, clock, histories, call, perform) = (&store, &clock, &histories, &call, &perform);
            scope.spawn(move || {
                let mut random = Random::new(seed).fork(thread);
                let mut connection = store.connect();
                let mut own = Vec::new();
                for step in 0..KEYS * OPERATIONS_PER_KEY {
                    let key = format!("key:{}", random.below(KEYS));
                    let asked = call(&mut random, thread << 32 | step);
                    own.push((key.clone(), clock.record(asked, |asked| Some(perform(&mut connection, &key, asked)))));
                }
                let mut all = histories.lock().expect("no thread panics while it holds the lock");
                own.into_iter().for_each(|(key, operation)| all.entry(key).or_default().push(operation));
            });
        }
    });
    histories.into_inner().expect("no thread panics while it holds the lock")
}

#[test]
fn registers() {
    let call = |random: &mut Random, unique: u64| match random.below(5) {
        0 | 1 => RegisterCall::Read,
        2 => RegisterCall::Write(unique),
        3 => RegisterCall::Swap(Some(unique)),
        _ => RegisterCall::Swap(None),
    };
    let perform = |connection: &mut Connection, key: &str, call: &RegisterCall| {
        let reply = match call {
            RegisterCall::Read => run(connection, &format!("GET {key}")),
            RegisterCall::Write(value) => run(connection, &format!("SET {key} {value}")),
            RegisterCall::Swap(Some(value)) => run(connection, &format!("SET {key} {value} GET")),
            RegisterCall::Swap(None) => run(connection, &format!("GETDEL {key}")),
        };
        assert!(!matches!(reply, Value::Error(_)), "{call:?} was answered by {reply:?}");
        number(&reply).map(|value| value as u64)
    };
    for (key, history) in histories(17, call, perform) {
        assert_linearizable(&Register, &key, &history);
    }
}

#[test]
fn counters() {
    let call = |random: &mut Random, _| Add(random.between(-3, 3));
    let perform = |connection: &mut Connection, key: &str, Add(amount): &Add| {
        let line = match amount {
            0 => format!("GET {key}"),
            amount => format!("INCRBY {key} {amount}"),
        };
        number(&run(connection, &line)).unwrap_or(0)
    };
    for (key, history) in histories(18, call, perform) {
        assert_linearizable(&Counter, &key, &history);
    }
}
