//! What is written is the state of one moment, however much goes on meanwhile: money moved between accounts is never lost nor made in any snapshot,
//! any base of the log, nor any log.

use crate::support;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{info, int, run, succeed, until_written};
use redpoll_store::{Config, Connection, Store, Value};
use redpoll_testkit::{Random, Scratch};

const ACCOUNTS: u64 = 4000;
const EACH: i64 = 100;
const THREADS: u64 = 4;
const ROUNDS: usize = 8;

fn open(dir: &Scratch, appendonly: &str) -> Store {
    let config = Config::in_memory().set("dir", &dir.path().display().to_string()).expect("the setting exists");
    Store::open(config.set("appendonly", appendonly).expect("the setting exists"))
        .unwrap_or_else(|error| panic!("the store opens: {error}"))
}

fn endow(store: &Store) {
    let mut connection = store.connect();
    for account in 0..ACCOUNTS {
        succeed(&mut connection, &format!("SET account:{account} {EACH}"));
        succeed(&mut connection, &format!("HSET purse:{account} coins {EACH}"));
    }
}

/// Counts all there is.
#[track_caller]
fn assert_nothing_is_lost(store: &Store) {
    let mut connection = store.connect();
    let mut sum = 0;
    for account in 0..ACCOUNTS {
        sum += support::number(&run(&mut connection, &format!("GET account:{account}"))).expect("there is the account");
        sum +=
            support::number(&run(&mut connection, &format!("HGET purse:{account} coins"))).expect("there is the purse");
    }
    assert_eq!(sum, ACCOUNTS as i64 * EACH * 2);
    assert_eq!(int(&mut connection, "DBSIZE"), ACCOUNTS as i64 * 2);
}

/// Moves money in one of the ways there are.
fn transfer(connection: &mut Connection, random: &mut Random) {
    let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
    let script = "redis.call('DECR', KEYS[1]); return redis.call('HINCRBY', KEYS[2], 'coins', 1)";
    match random.below(4) {
        0 => drop(connection.call(&["EVAL", script, "2", &format!("account:{from}"), &format!("purse:{to}")])),
        1 => {
            for line in [
                "MULTI".to_owned(),
                format!("HINCRBY purse:{from} coins -3"),
                format!("INCRBY account:{to} 3"),
                "EXEC".into(),
            ] {
                succeed(connection, &line);
            }
        }
        2 => {
            // Through a key that is there for a moment only.
            let passing = format!("passing:{}", random.below(1 << 40));
            for line in [
                "MULTI".to_owned(),
                format!("DECRBY account:{from} 2"),
                format!("SET {passing} 2"),
                format!("INCRBY account:{to} 2"),
                format!("DEL {passing}"),
                "EXEC".into(),
            ] {
                succeed(connection, &line);
            }
        }
        _ => {
            for line in [
                "MULTI".to_owned(),
                format!("RENAME account:{from} aside"),
                format!("RENAME aside account:{from}"),
                "EXEC".into(),
            ] {
                succeed(connection, &line);
            }
        }
    }
}

/// Runs `work` while threads move money.
fn during_transfers(store: &Store, seed: u64, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, done) = (store.clone(), &done);
            scope.spawn(move || {
                let (mut connection, mut random) = (store.connect(), Random::new(seed * 100 + thread));
                while !done.load(Ordering::Relaxed) {
                    transfer(&mut connection, &mut random);
                }
            });
        }
        // Whatever happens in `work`, the threads are told to end.
        let ends = Ends(&done);
        work();
        drop(ends);
    });
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_snapshot_holds_one_moment() {
    let dir = Scratch::new().unwrap();
    let store = open(&dir, "no");
    endow(&store);
    during_transfers(&store, 1, || {
        for round in 0..ROUNDS {
            assert_eq!(store.call(&["BGSAVE"]), Value::Simple("Background saving started".into()));
            until_written(&store);
            assert_eq!((round, info(&store, "rdb_last_bgsave_status")), (round, "ok".into()));
            assert_nothing_is_lost(&open(&dir, "no"));
        }
    });
    assert_nothing_is_lost(&store);
}

#[test]
fn every_rewritten_log_holds_everything_once() {
    for (seed, preamble) in [(2, "yes"), (3, "no")] {
        let dir = Scratch::new().unwrap();
        let store = open(&dir, "yes");
        assert_eq!(store.call(&["CONFIG", "SET", "aof-use-rdb-preamble", preamble]), Value::Simple("OK".into()));
        endow(&store);
        during_transfers(&store, seed, || {
            for _ in 0..ROUNDS {
                assert_eq!(
                    store.call(&["BGREWRITEAOF"]),
                    Value::Simple("Background append only file rewriting started".into())
                );
                until_written(&store);
                assert_eq!(info(&store, "aof_last_bgrewrite_status"), "ok");
            }
        });
        assert_nothing_is_lost(&store);
        let before = balances(&store);
        drop(store);
        let again = open(&dir, "yes");
        assert_nothing_is_lost(&again);
        assert!(balances(&again) == before, "every change is there, and once");
        let names: Vec<_> = std::fs::read_dir(dir.path().join("appendonlydir")).unwrap().collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }
}

#[test]
fn a_log_switched_on_while_everything_goes_on_holds_everything_once() {
    let dir = Scratch::new().unwrap();
    let store = open(&dir, "no");
    endow(&store);
    during_transfers(&store, 4, || {
        for round in 0..ROUNDS {
            assert_eq!(store.call(&["CONFIG", "SET", "appendonly", "yes"]), Value::Simple("OK".into()));
            until_written(&store);
            assert_eq!(info(&store, "aof_enabled"), "1");
            if round + 1 < ROUNDS {
                assert_eq!(store.call(&["CONFIG", "SET", "appendonly", "no"]), Value::Simple("OK".into()));
                assert_nothing_is_lost(&open(&dir, "yes"));
            }
        }
    });
    let before = balances(&store);
    drop(store);
    let again = open(&dir, "yes");
    assert_nothing_is_lost(&again);
    assert!(balances(&again) == before);
}

fn balances(store: &Store) -> Vec<Value> {
    let mut connection = store.connect();
    (0..ACCOUNTS)
        .flat_map(|account| [format!("GET account:{account}"), format!("HGET purse:{account} coins")])
        .map(|line| run(&mut connection, &line))
        .collect()
}
