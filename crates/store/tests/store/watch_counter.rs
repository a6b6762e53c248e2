//! The classic of optimistic locking: read, compute, write if nobody else wrote. Eight threads lose no increment.

use crate::support;
use crate::support::{number, run, succeed};
use redpoll_store::{Connection, Value};

const THREADS: i64 = 8;
const INCREMENTS: i64 = 300;

/// Adds one; returns how often somebody else was faster.
fn increment(connection: &mut Connection) -> u64 {
    let mut lost = 0;
    loop {
        succeed(connection, "WATCH counter");
        let value = number(&run(connection, "GET counter")).unwrap_or(0);
        succeed(connection, "MULTI");
        succeed(connection, &format!("SET counter {}", value + 1));
        match run(connection, "EXEC") {
            Value::Array(_) => return lost,
            Value::Nil => lost += 1,
            other => panic!("EXEC was answered by {other:?}"),
        }
    }
}

#[test]
fn no_increment_is_lost() {
    let store = support::in_memory();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut connection = store.connect();
                for _ in 0..INCREMENTS {
                    increment(&mut connection);
                }
            });
        }
    });
    assert_eq!(store.get("counter").unwrap().as_deref(), Some((THREADS * INCREMENTS).to_string().as_bytes()));
}

#[test]
fn who_was_overtaken_is_told() {
    let store = support::in_memory();
    let (mut slow, mut fast) = (store.connect(), store.connect());
    succeed(&mut slow, "WATCH counter");
    assert_eq!(increment(&mut fast), 0);
    succeed(&mut slow, "MULTI");
    succeed(&mut slow, "SET counter 99");
    assert_eq!(run(&mut slow, "EXEC"), Value::Nil);
    assert_eq!(store.get("counter").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(increment(&mut slow), 0);
}
