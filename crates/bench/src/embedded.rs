//! Time per call of the embedded store: get and set over a million keys on one thread, and how two threads on keys of their own scale.

use std::time::Instant;

use anyhow::Result;
use redpoll_store::{Config, Connection, Store};

use crate::median;

/// Different keys, set before anything is measured.
const KEYS: u64 = 1_000_000;

/// Calls per measurement and thread.
const CALLS: u64 = 1_000_000;

/// What a call may take on one thread, nanoseconds.
const GOAL_NANOS: f64 = 350.0;

/// How much more two threads must do than one.
const GOAL_SCALING: f64 = 1.8;

type Workload = fn(&mut Connection, u64);

pub(crate) fn run(repeat: usize) -> Result<()> {
    let store = Store::open(Config::in_memory())?;
    let mut connection = store.connect();
    (0..KEYS).for_each(|key| set(&mut connection, key));
    println!("\nembedded store (1M keys, 64-byte values, median of {repeat})");
    println!("{:<8} {:>9} {:>7} {:>14} {:>7}", "call", "ns", "goal", "two threads", "goal");
    for (name, workload) in [("get", get as Workload), ("set", set as Workload)] {
        let one = median((0..repeat).map(|_| nanos_per_call(&store, 1, workload)).collect());
        let two = median((0..repeat).map(|_| nanos_per_call(&store, 2, workload)).collect());
        println!("{name:<8} {one:>9.0} {GOAL_NANOS:>7.0} {:>13.2}x {GOAL_SCALING:>6.1}x", one / two * 2.0);
    }
    Ok(())
}

/// Runs the workload on some threads at once and returns the wall time per call of one thread.
fn nanos_per_call(store: &Store, threads: u64, workload: Workload) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut connection = store.connect();
                let mut state = thread + 1;
                for _ in 0..CALLS {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Threads use keys of their own: one the even ones, the other the odd ones.
                    let key = ((state >> 33) % (KEYS / threads)) * threads + thread;
                    workload(&mut connection, key);
                }
            });
        }
    });
    started.elapsed().as_nanos() as f64 / CALLS as f64
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn get(connection: &mut Connection, number: u64) {
    let reply = connection.call_raw(&[b"GET", &key(number)]);
    assert_eq!(reply.first(), Some(&b'$'), "every key is there");
}

fn set(connection: &mut Connection, number: u64) {
    let reply = connection.call_raw(&[b"SET", &key(number), &[b'x'; 64]]);
    assert_eq!(reply.first(), Some(&b'+'), "every set succeeds");
}
