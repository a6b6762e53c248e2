//! Memory by kind of value, as the operating system sees it and as the server itself counts it.
//!
//! A row loads one kind into a fresh server each: many small values under keys of 16 bytes, or one large value of many elements. What counts is by how much
//! the process grew for a key or an element, all of it, and how near its own `used_memory` comes to that. The first batch does not count: with it a server
//! takes what it takes once, for buffers and threads.

use anyhow::{Result, ensure};
use redpoll_testkit::{Client, Program, RedisServer, Reply, Target};

use crate::info_number;
use crate::process::resident_bytes;

/// Commands sent before replies are read.
const BATCH: u64 = 1000;

/// Values of a kind that are loaded: strings, small collections, and elements of a large one, so many that huge pages (2 MB) do not count.
const STRINGS: u64 = 1_000_000;
const SMALL: u64 = 200_000;
const LARGE: u64 = 3_000_000;

/// Elements of a small value.
const ELEMENTS: u64 = 10;

/// What a key of 16 bytes may take over itself and a value of 64, bytes.
const GOAL_OVER_PAYLOAD: f64 = 40.0;
const PAYLOAD: f64 = 16.0 + 64.0;

type Words = Vec<Vec<u8>>;

/// A kind of value: what makes the one of a number.
struct Kind {
    name: &'static str,
    count: u64,
    make: fn(u64) -> Words,
}

const KINDS: &[Kind] = &[
    Kind { name: "string of 64", count: STRINGS, make: |n| words(["SET", &key(n), &"x".repeat(64)]) },
    Kind { name: "string, a number", count: STRINGS, make: |n| words(["SET", &key(n), &(n + 100_000).to_string()]) },
    Kind {
        name: "hash of 10",
        count: SMALL,
        make: |n| pairs("HSET", &key(n), |at| (format!("field{at}"), value(n, at))),
    },
    Kind { name: "list of 10", count: SMALL, make: |n| many("RPUSH", &key(n), |at| value(n, at)) },
    Kind { name: "set of 10 numbers", count: SMALL, make: |n| many("SADD", &key(n), |at| (n + at * 7).to_string()) },
    Kind { name: "set of 10", count: SMALL, make: |n| many("SADD", &key(n), |at| value(n, at)) },
    Kind {
        name: "sorted set of 10",
        count: SMALL,
        make: |n| pairs("ZADD", &key(n), |at| (at.to_string(), value(n, at))),
    },
    Kind { name: "stream of 10", count: SMALL * 10, make: |n| entry(&key(n / 10)) },
    Kind { name: "field of a hash", count: LARGE, make: |n| words(["HSET", "large", &value(n, 0), &value(n, 1)]) },
    Kind { name: "element of a list", count: LARGE, make: |n| words(["RPUSH", "large", &value(n, 0)]) },
    Kind { name: "member of a set", count: LARGE, make: |n| words(["SADD", "large", &value(n, 0)]) },
    Kind { name: "of a sorted set", count: LARGE, make: |n| words(["ZADD", "large", &n.to_string(), &value(n, 0)]) },
    Kind { name: "entry of a stream", count: LARGE, make: |_| entry("large") },
];

fn words<const N: usize>(words: [&str; N]) -> Words {
    words.map(|word| word.as_bytes().to_vec()).to_vec()
}

fn key(number: u64) -> String {
    format!("key:{number:012}")
}

fn value(number: u64, at: u64) -> String {
    format!("value{}", number * 31 + at)
}

fn many(command: &str, key: &str, element: impl Fn(u64) -> String) -> Words {
    let elements = (0..ELEMENTS).map(|at| element(at).into_bytes());
    words([command, key]).into_iter().chain(elements).collect()
}

fn pairs(command: &str, key: &str, pair: impl Fn(u64) -> (String, String)) -> Words {
    let pairs = (0..ELEMENTS).map(pair).flat_map(|(first, second)| [first.into_bytes(), second.into_bytes()]);
    words([command, key]).into_iter().chain(pairs).collect()
}

fn entry(key: &str) -> Words {
    words(["XADD", key, "*", "temperature", "21.5", "humidity", "40", "station", "north"])
}

/// Measures the kinds whose name contains `only`.
pub(crate) fn run(only: &str) -> Result<()> {
    println!("\nresident bytes a key or element has cost; counted: used_memory of redpoll in units of that");
    println!("{:<18} {:>9} {:>9} {:>7} {:>8}", "kind", "redpoll", "redis", "ratio", "counted");
    for kind in KINDS.iter().filter(|kind| kind.name.contains(only)) {
        let redpoll = Program::start(&["--appendonly", "no"])?;
        let redis = RedisServer::start()?;
        let ours = growth(redpoll.id(), &mut redpoll.client()?, kind)?;
        let theirs = growth(redis.id(), &mut redis.client()?, kind)?;
        let (ratio, counted) = (ours.resident / theirs.resident, ours.counted / ours.resident);
        println!("{:<18} {:>9.1} {:>9.1} {ratio:>7.2} {counted:>8.2}", kind.name, ours.resident, theirs.resident);
        if kind.name == KINDS[0].name {
            println!("{:<18} {:>9.1} (goal {GOAL_OVER_PAYLOAD})", "  over its payload", ours.resident - PAYLOAD);
        }
    }
    Ok(())
}

/// By how many bytes a server grew for each.
struct Growth {
    resident: f64,
    /// By its own account.
    counted: f64,
}

fn growth(process: u32, client: &mut Client, kind: &Kind) -> Result<Growth> {
    load(client, kind, 0)?;
    let before = (resident_bytes(process)?, info_number(client, "memory", "used_memory")?);
    (1..=kind.count / BATCH).try_for_each(|batch| load(client, kind, batch))?;
    let after = (resident_bytes(process)?, info_number(client, "memory", "used_memory")?);
    let each = |before: u64, after: u64| (after as f64 - before as f64) / kind.count as f64;
    Ok(Growth { resident: each(before.0, after.0), counted: each(before.1, after.1) })
}

fn load(client: &mut Client, kind: &Kind, batch: u64) -> Result<()> {
    let commands: Vec<Words> = (batch * BATCH..(batch + 1) * BATCH).map(kind.make).collect();
    let replies = client.pipeline(&commands);
    ensure!(!replies.iter().any(|reply| matches!(reply, Reply::Error(_))), "{}: {:?}", kind.name, replies[0]);
    Ok(())
}
