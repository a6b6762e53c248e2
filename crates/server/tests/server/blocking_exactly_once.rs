//! Many producers, many consumers that wait, and an operator who kills and unblocks them: every element is consumed exactly once, in order.
//!
//! Producers fill the keys in every way (pushes, transactions, scripts, renames); consumers wait with BLPOP on several keys, BLMPOP and BLMOVE, the elements of which
//! are popped from where they were moved to. A consumer that is killed reads what still comes before the connection closes: what was popped for it is there.
//! Elements of one producer on one key are numbered in order and popped from the other end, so no consumer ever sees them out of order.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{PATIENCE, Raw, Running, eventually};
use redpoll_store::commands::blocking::blocked_clients;
use redpoll_testkit::{Random, Reply};

const KEYS: [&str; 5] = ["a", "b", "c", "{c}d", "e"];
const PRODUCERS: usize = 4;
const CONSUMERS: usize = 8;
const ELEMENTS_PER_PRODUCER: u64 = 1_500;

/// What the threads share.
struct Shared {
    address: SocketAddr,
    /// Ids of the consumers' present connections.
    ids: Mutex<BTreeMap<usize, i64>>,
    consumed: AtomicUsize,
    done: AtomicBool,
}

/// A connection that reads whole replies and notices that it was closed.
struct Consumer(BufReader<TcpStream>);

impl Consumer {
    fn connect(shared: &Shared, number: usize) -> Consumer {
        let mut consumer = Consumer(BufReader::new(Raw::connect(shared.address).0));
        if let Some(Reply::Integer(id)) = consumer.call("CLIENT ID") {
            shared.ids.lock().expect("no thread panics with it").insert(number, id);
        }
        consumer
    }

    /// Sends a command and reads its reply; none if the connection was closed without one.
    fn call(&mut self, line: &str) -> Option<Reply> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).ok()?;
        match Reply::read(&mut self.0) {
            Ok(reply) => Some(reply),
            Err(error) => {
                assert!(
                    !matches!(error.kind(), std::io::ErrorKind::WouldBlock),
                    "no reply within {PATIENCE:?} to {line}"
                );
                None
            }
        }
    }
}

/// An element: `key:producer:number`.
fn parse(element: &str) -> (String, u64) {
    let (lane, number) = element.rsplit_once(':').expect("elements have numbers");
    (lane.to_owned(), number.parse().expect("a number"))
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.as_bytes().expect("an element is a string")).into_owned()
}

/// Reads the elements out of the reply to a command that pops.
fn elements(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Array(parts) => match &parts[1] {
            Reply::Array(elements) => elements.iter().map(text).collect(),
            element => vec![text(element)],
        },
        element if element.as_bytes().is_some() => vec![text(element)],
        Reply::Error(error) => {
            assert!(String::from_utf8_lossy(error).starts_with("UNBLOCKED"), "{}", reply.print());
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Pops until everything is consumed; returns what it got.
fn consume(shared: &Shared, number: usize, seed: u64) -> Vec<String> {
    let (mut random, mut got) = (Random::new(seed).fork(number as u64), Vec::new());
    let mut consumer = Consumer::connect(shared, number);
    let mut last: HashMap<String, u64> = HashMap::new();
    while !shared.done.load(Ordering::Acquire) {
        let (one, other) = (KEYS[random.below(5) as usize], KEYS[random.below(5) as usize]);
        let line = match random.below(6) {
            0 | 1 => format!("BLPOP {one} {other} moved:{number} 0.5"),
            2 => format!("BLPOP {one} {other} 0.01"),
            3 => format!("BLMPOP 0.5 2 {one} {other} LEFT COUNT 3"),
            4 => format!("BLMOVE {one} moved:{number} LEFT RIGHT 0.5"),
            _ => format!("BLPOP {} 0.5", KEYS.join(" ")),
        };
        let Some(reply) = consumer.call(&line) else {
            consumer = Consumer::connect(shared, number);
            continue;
        };
        let moved = line.starts_with("BLMOVE");
        for element in elements(&reply) {
            // What was only moved is consumed when it is popped; other consumers may overtake it then.
            if moved {
                continue;
            }
            if !line.contains("moved") {
                let (lane, number) = parse(&element);
                let before = last.insert(lane, number);
                assert!(before.is_none_or(|before| before < number), "{element} came after {before:?}");
            }
            got.push(element);
            shared.consumed.fetch_add(1, Ordering::AcqRel);
        }
    }
    got
}

/// Fills the keys with numbered elements.
fn produce(shared: &Shared, number: usize, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed).fork(1000 + number as u64);
    let mut client = Consumer(BufReader::new(Raw::connect(shared.address).0));
    let mut sent = Vec::new();
    let mut run = |line: &str| {
        let reply = client.call(line).expect("nobody kills producers");
        assert!(!matches!(reply, Reply::Error(_)), "{line}: {}", reply.print());
    };
    while (sent.len() as u64) < ELEMENTS_PER_PRODUCER {
        let key = KEYS[random.below(5) as usize];
        let batch: Vec<String> =
            (0..=random.below(3)).map(|n| format!("{key}:{number}:{}", sent.len() as u64 + n)).collect();
        match random.below(5) {
            0 => {
                run("MULTI");
                batch.iter().for_each(|element| run(&format!("RPUSH {key} {element}")));
                run("EXEC");
            }
            1 => run(&format!(
                "EVAL \"for i = 1, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[i]) end\" 1 {key} {}",
                batch.join(" ")
            )),
            2 => {
                // Filled elsewhere and moved over, one by one, in one transaction.
                run(&format!("RPUSH source:{number} {}", batch.join(" ")));
                run("MULTI");
                batch.iter().for_each(|_| run(&format!("LMOVE source:{number} {key} LEFT RIGHT")));
                run("EXEC");
            }
            3 => {
                run(&format!("RPUSH source:{number} {}", batch.join(" ")));
                let script = "if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('RENAME', KEYS[1], KEYS[2]) \
                              else for _, e in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do \
                              redis.call('RPUSH', KEYS[2], e) end redis.call('DEL', KEYS[1]) end";
                run(&format!("EVAL \"{script}\" 2 source:{number} {key}"));
            }
            _ => run(&format!("RPUSH {key} {}", batch.join(" "))),
        }
        sent.extend(batch);
    }
    sent
}

/// Kills and unblocks consumers until they are done; returns how many of each.
fn operate(shared: &Shared, seed: u64) -> (i64, i64) {
    let mut random = Random::new(seed).fork(7);
    let mut client = Consumer(BufReader::new(Raw::connect(shared.address).0));
    let (mut killed, mut unblocked) = (0, 0);
    while !shared.done.load(Ordering::Acquire) {
        let victim = random.below(CONSUMERS as u64) as usize;
        let id = shared.ids.lock().expect("no thread panics with it").get(&victim).copied();
        let Some(id) = id else { continue };
        let (line, count) = match random.below(12) {
            0 => (format!("CLIENT KILL ID {id}"), &mut killed),
            1 => (format!("CLIENT UNBLOCK {id}"), &mut unblocked),
            2 => (format!("CLIENT UNBLOCK {id} ERROR"), &mut unblocked),
            _ => ("PING".to_owned(), &mut unblocked),
        };
        if let Some(Reply::Integer(hit)) = client.call(&line) {
            *count += hit;
        }
    }
    (killed, unblocked)
}

#[test]
fn every_element_is_consumed_exactly_once() {
    let running = Running::start(&[]);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0xb10c_u64);
    println!("SEED={seed}");
    let shared = Shared {
        address: running.address(),
        ids: Mutex::default(),
        consumed: AtomicUsize::new(0),
        done: AtomicBool::new(false),
    };
    let shared = &shared;
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS).map(|n| scope.spawn(move || consume(shared, n, seed))).collect();
        let producers: Vec<_> = (0..PRODUCERS).map(|n| scope.spawn(move || produce(shared, n, seed))).collect();
        let operator = scope.spawn(move || operate(shared, seed));
        sent = producers.into_iter().flat_map(|producer| producer.join().expect("a producer goes on")).collect();
        let all = sent.len();
        let left = || (0..CONSUMERS).map(|n| format!("moved:{n}")).collect::<Vec<_>>();
        let mut cleaner = Consumer(BufReader::new(Raw::connect(shared.address).0));
        eventually("everything is consumed", || {
            // What was moved for a consumer that now waits elsewhere would lie there for ever.
            for key in left() {
                while let Some(reply @ Reply::Array(_)) = cleaner.call(&format!("BLPOP {key} 0.001")) {
                    got.extend(elements(&reply));
                    shared.consumed.fetch_add(1, Ordering::AcqRel);
                }
            }
            shared.consumed.load(Ordering::Acquire) >= all
        });
        shared.done.store(true, Ordering::Release);
        let (killed, unblocked) = operator.join().expect("the operator goes on");
        assert!(killed > 0 && unblocked > 0, "{killed} killed, {unblocked} unblocked");
        for consumer in consumers {
            got.extend(consumer.join().expect("a consumer goes on"));
        }
    });
    sent.sort_unstable();
    got.sort_unstable();
    assert_eq!(got.len(), sent.len());
    assert_eq!(got, sent);
    eventually("nobody waits any more", || blocked_clients(running.store.engine()) == 0);
    running.connect().call("DBSIZE", ":0");
}
