//! One handle, many threads: [`Store::call`] needs no connection of one's own, and no state leaks from one call into the next.

use crate::support;
use redpoll_store::{Store, Value};

const THREADS: usize = 8;
const CALLS: usize = 5_000;

#[test]
fn calls_from_many_threads_all_count() {
    let store = support::in_memory();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = store.clone();
            scope.spawn(move || {
                for call in 0..CALLS {
                    assert!(matches!(store.call(&["INCR", "shared"]), Value::Int(_)));
                    let own = format!("own:{thread}");
                    assert_eq!(store.call(&["INCR", &own]), Value::Int(call as i64 + 1));
                }
            });
        }
    });
    assert_eq!(store.get("shared").unwrap().as_deref(), Some((THREADS * CALLS).to_string().as_bytes()));
}

#[test]
fn state_ends_with_the_call() {
    let store = support::in_memory();
    let calls: [&[&str]; 5] =
        [&["SELECT", "5"], &["MULTI"], &["WATCH", "k"], &["CLIENT", "REPLY", "OFF"], &["HELLO", "2"]];
    for call in calls {
        store.call(call);
        assert_eq!(store.call(&["SET", "k", "v"]), Value::Simple("OK".into()), "after {call:?}");
        assert_eq!(store.call(&["EXISTS", "k"]), Value::Int(1), "after {call:?}");
        assert_eq!(store.call(&["DEL", "k"]), Value::Int(1), "after {call:?}");
    }
}

#[test]
fn a_borrowed_connection_is_not_kept_by_a_thread_that_ended() {
    let store = support::in_memory();
    let clients = |store: &Store| store.engine().clients.all().len();
    for _ in 0..50 {
        let store = store.clone();
        std::thread::spawn(move || store.call(&["PING"])).join().expect("PING does not panic");
    }
    assert!(clients(&store) <= 2, "{} clients are left", clients(&store));
}
