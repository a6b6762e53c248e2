//! Time per call of the embedded store over a million keys: get and set on one thread beside what a program would use without a store, the standard
//! library's hash map behind a lock, and how two threads on keys of their own scale.
//!
//! With a million keys either spends most of a call waiting for main memory. The map says how long that is on this machine today.

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::Instant;

use anyhow::Result;
use redpoll_store::{Config, Connection, Store};

use crate::median;
use crate::process::thread_cpu_nanos;

/// Different keys, set before anything is measured.
const KEYS: u64 = 1_000_000;

/// Calls per measurement and thread.
const CALLS: u64 = 1_000_000;

/// What a call may take on one thread, nanoseconds.
const GOAL_NANOS: f64 = 350.0;

/// How much more two threads must do than one.
const GOAL_SCALING: f64 = 1.8;

type Map = RwLock<HashMap<Box<[u8]>, Box<[u8]>>>;
type Workload<T> = fn(&mut T, u64);

pub(crate) fn run(repeat: usize) -> Result<()> {
    let store = Store::open(Config::in_memory())?;
    let mut connection = store.connect();
    let mut map = Map::default();
    for number in 0..KEYS {
        set(&mut connection, number);
        set_in_map(&mut map, number);
    }
    println!("\nembedded store, processor ns per call (1M keys, 64-byte values, median of {repeat})");
    println!(
        "{:<8} {:>8} {:>9} {:>7} {:>7} {:>14} {:>7}",
        "call", "redpoll", "hash map", "ratio", "goal", "two threads", "goal"
    );
    let workloads: [(&str, Workload<Connection>, Workload<Map>); 2] =
        [("get", get, find_in_map), ("set", set, set_in_map)];
    for (name, workload, in_map) in workloads {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..repeat {
            ours.push(cpu_per_call(&mut connection, workload)?);
            theirs.push(cpu_per_call(&mut map, in_map)?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let one = median((0..repeat).map(|_| wall_per_call(&store, 1, workload)).collect());
        let two = median((0..repeat).map(|_| wall_per_call(&store, 2, workload)).collect());
        let (ratio, scaling) = (ours / theirs, one / two * 2.0);
        println!(
            "{name:<8} {ours:>8.0} {theirs:>9.0} {ratio:>7.2} {GOAL_NANOS:>7.0} {scaling:>13.2}x {GOAL_SCALING:>6.1}x"
        );
    }
    Ok(())
}

/// Runs the workload on this thread and returns the processor time per call.
fn cpu_per_call<T>(target: &mut T, workload: Workload<T>) -> Result<f64> {
    let before = thread_cpu_nanos()?;
    numbers(0, 1).for_each(|number| workload(target, number));
    Ok((thread_cpu_nanos()? - before) as f64 / CALLS as f64)
}

/// Runs the workload on some threads at once and returns the wall time per call of one thread.
fn wall_per_call(store: &Store, threads: u64, workload: Workload<Connection>) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut connection = store.connect();
                numbers(thread, threads).for_each(|number| workload(&mut connection, number));
            });
        }
    });
    started.elapsed().as_nanos() as f64 / CALLS as f64
}

/// Draws keys. Threads use keys of their own: with two, one the even ones, the other the odd ones.
fn numbers(thread: u64, threads: u64) -> impl Iterator<Item = u64> {
    let mut state = thread + 1;
    (0..CALLS).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % (KEYS / threads)) * threads + thread
    })
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

fn find_in_map(map: &mut Map, number: u64) {
    let map = map.read().expect("no holder panics");
    let value = map.get(key(number).as_slice()).cloned();
    assert_eq!(value.as_ref().and_then(|value| value.first()), Some(&b'x'), "every key is there");
}

fn set_in_map(map: &mut Map, number: u64) {
    map.write().expect("no holder panics").insert(Box::new(key(number)), Box::new([b'x'; 64]));
}
