//! Commands that wait, embedded: the calling thread waits, and what was served comes back with the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{in_directory, in_memory, int, run};
use redpoll_store::commands::blocking::blocked_clients;
use redpoll_store::{Connection, Store, Value};
use redpoll_testkit::Scratch;

/// Longer than anything here takes on a busy machine; what waits longer has hung.
const PATIENCE: Duration = Duration::from_secs(30);

fn until_blocked(store: &Store, clients: usize) {
    let started = Instant::now();
    while blocked_clients(store.engine()) != clients {
        assert!(started.elapsed() < PATIENCE, "not {clients} clients wait");
        std::thread::yield_now();
    }
}

fn popped(key: &str, element: &str) -> Value {
    Value::Array(vec![Value::Bulk(key.into()), Value::Bulk(element.into())])
}

#[test]
fn a_call_waits_on_its_thread() {
    let store = in_memory();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.call(&["BLPOP", "q", "0"]));
        until_blocked(&store, 1);
        assert_eq!(store.call(&["RPUSH", "q", "a"]), Value::Int(1));
        assert_eq!(waiting.join().expect("no panic"), popped("q", "a"));
    });
    let started = Instant::now();
    assert_eq!(store.call(&["BLPOP", "q", "0.05"]), Value::Nil);
    assert!(started.elapsed() >= Duration::from_millis(49), "{:?}", started.elapsed());
    assert_eq!(store.call(&["WAIT", "1", "5"]), Value::Int(0));
    assert_eq!(blocked_clients(store.engine()), 0);
}

#[test]
fn threads_are_served_in_the_order_they_came_and_can_be_unblocked() {
    let store = in_memory();
    std::thread::scope(|scope| {
        let mut waiting = Vec::new();
        let mut ids = Vec::new();
        for number in 0..4 {
            let mut connection = store.connect();
            ids.push(int(&mut connection, "CLIENT ID"));
            waiting.push(scope.spawn(move || run(&mut connection, "BLMOVE q done RIGHT LEFT 0")));
            until_blocked(&store, number + 1);
        }
        assert_eq!(store.call(&["CLIENT", "UNBLOCK", &ids[1].to_string(), "ERROR"]), Value::Int(1));
        assert_eq!(store.call(&["LPUSH", "q", "1", "2", "3"]), Value::Int(3));
        let answers: Vec<Value> = waiting.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        assert!(matches!(&answers[1], Value::Error(text) if text.starts_with("UNBLOCKED")), "{answers:?}");
        let served: Vec<&Value> = [0, 2, 3].map(|index| &answers[index]).into();
        let expected = ["1", "2", "3"].map(|element| Value::Bulk(element.into()));
        assert_eq!(served, expected.iter().collect::<Vec<_>>());
    });
}

/// Everything that is left in the lists.
fn contents(connection: &mut Connection) -> Vec<Value> {
    ["a", "b", "c", "d", "done"].map(|key| connection.call(&["LRANGE", key, "0", "-1"])).into()
}

#[test]
fn the_log_knows_who_was_served_in_which_order() {
    const ELEMENTS: u64 = 600;
    const MOVES: [&str; 4] = [
        "BLMOVE a b LEFT RIGHT 0.02",
        "BRPOPLPUSH b c 0.02",
        "BLMOVE c d RIGHT RIGHT 0.02",
        "BLMOVE d done LEFT LEFT 0.02",
    ];
    let dir = Scratch::new().expect("a directory can be made");
    let store = in_directory(&dir);
    let (pushed, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut connection = store.connect();
                while !done.load(Ordering::Acquire) {
                    run(&mut connection, MOVES[number % 4]);
                }
            });
        }
        for number in 0..2 {
            let (store, pushed) = (&store, &pushed);
            scope.spawn(move || {
                let mut connection = store.connect();
                for n in 0..ELEMENTS / 2 {
                    int(&mut connection, &format!("RPUSH a {number}-{n}"));
                    pushed.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let (started, mut connection) = (Instant::now(), store.connect());
        while int(&mut connection, "LLEN done") < (ELEMENTS - 10) as i64 {
            assert!(started.elapsed() < PATIENCE, "the elements do not arrive");
            std::thread::yield_now();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(pushed.load(Ordering::Acquire), ELEMENTS);
    let before = contents(&mut store.connect());
    drop(store);
    let store = in_directory(&dir);
    let after = contents(&mut store.connect());
    assert_eq!(after, before);
    let left: usize = after.iter().map(|list| if let Value::Array(items) = list { items.len() } else { 0 }).sum();
    assert_eq!(left as u64, ELEMENTS);
}
