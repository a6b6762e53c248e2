//! A cache under a skewed load, here and on redis-server: with room for as many keys, as many reads find theirs.
//!
//! The trace is the same on both: a key drawn by Zipf's law is read, and set if it was not there. `--nocapture` prints the ratios side by side. Under LRU policies both
//! servers tell accesses apart by the second only, so a trace of a few seconds says less of them than of LFU; what `commands/tests/commands/evict_models.rs` holds is more.

use crate::support::{Embedded, in_memory};
use redpoll_testkit::{Random, RedisServer, Reply, Target, command};

/// Keys there is room for, and keys that are asked for.
const ROOM: usize = 10_000;
const UNIVERSE: usize = 100_000;

/// Reads before hits are counted, and while they are.
const WARM_UP: usize = 60_000;
const COUNTED: usize = 100_000;

/// Reads sent at once.
const BATCH: usize = 200;

/// The policies, and how much less of the reads may find their key than on redis-server. Under LRU the faster server sees more accesses in the same second, which it
/// cannot tell apart.
const POLICIES: [(&str, f64); 3] = [("allkeys-lfu", 0.01), ("allkeys-lru", 0.03), ("allkeys-random", 0.01)];

/// How far from the keys there was to be room for the number held may be: the books of the two servers differ.
const ROOM_TOLERANCE: f64 = 0.1;

/// Draws numbers by Zipf's law with exponent 0.9.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new() -> Zipf {
        let mut sum = 0.0;
        Zipf(
            (1..=UNIVERSE)
                .map(|rank| {
                    sum += (rank as f64).powf(-0.9);
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, random: &mut Random) -> usize {
        let total = self.0[UNIVERSE - 1];
        let at = random.below(1 << 53) as f64 / (1u64 << 53) as f64 * total;
        self.0.partition_point(|sum| *sum < at)
    }
}

fn key(number: usize) -> Vec<u8> {
    // Ranks are scattered over the names.
    format!("key:{:08}", number * 7_919 % UNIVERSE).into_bytes()
}

fn set(number: usize) -> Vec<Vec<u8>> {
    vec![b"SET".to_vec(), key(number), vec![b'x'; 100]]
}

fn used(target: &mut dyn Target) -> usize {
    let info = target.call(&command("INFO memory"));
    let text = std::str::from_utf8(info.as_bytes().expect("INFO is a text")).expect("INFO is UTF-8").to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("INFO tells");
    line.trim().parse().expect("bytes are a number")
}

/// Runs the trace and returns the share of hits and the number of keys held in the end.
fn trace(target: &mut dyn Target, policy: &str, zipf: &Zipf) -> (f64, usize) {
    target.call(&command("CONFIG SET maxmemory 0"));
    target.call(&command("FLUSHALL"));
    let numbers: Vec<usize> = (0..ROOM).collect();
    for batch in numbers.chunks(BATCH) {
        target.pipeline(&batch.iter().map(|number| set(UNIVERSE - 1 - number)).collect::<Vec<_>>());
    }
    let limit = used(target);
    target.call(&command(&format!("CONFIG SET maxmemory-policy {policy} maxmemory {limit}")));
    let (mut random, mut hits) = (Random::new(42), 0);
    for done in (0..WARM_UP + COUNTED).step_by(BATCH) {
        let numbers: Vec<usize> = (0..BATCH).map(|_| zipf.draw(&mut random)).collect();
        let reads: Vec<_> = numbers.iter().map(|number| vec![b"GET".to_vec(), key(*number)]).collect();
        let replies = target.pipeline(&reads);
        let missed: Vec<_> = numbers
            .iter()
            .zip(&replies)
            .filter(|(_, reply)| !matches!(reply, Reply::Bulk(_)))
            .map(|(number, _)| set(*number))
            .collect();
        if done >= WARM_UP {
            hits += BATCH - missed.len();
        }
        target.pipeline(&missed);
    }
    let held = target.call(&command("DBSIZE")).as_integer().expect("a number") as usize;
    (hits as f64 / COUNTED as f64, held)
}

#[test]
fn as_many_reads_find_their_key_as_on_redis_server() {
    let redis = RedisServer::start().expect("redis-server starts");
    let (mut theirs, zipf) = (redis.client().expect("it answers"), Zipf::new());
    for (policy, less_max) in POLICIES {
        let store = in_memory();
        let (our_hits, our_keys) = trace(&mut Embedded::new(&store), policy, &zipf);
        let (their_hits, their_keys) = trace(&mut theirs, policy, &zipf);
        println!(
            "{policy:>15}: {:.2} % of reads hit, {our_keys} keys held; redis-server {:.2} %, {their_keys} keys",
            our_hits * 100.0,
            their_hits * 100.0
        );
        assert!(our_hits > their_hits - less_max, "{policy}: {our_hits} against {their_hits}");
        for held in [our_keys, their_keys] {
            assert!((held as f64 / ROOM as f64 - 1.0).abs() < ROOM_TOLERANCE, "{policy}: {held} keys held");
        }
    }
}
