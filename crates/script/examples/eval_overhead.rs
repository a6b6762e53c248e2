//! Measures what running a script costs beside the commands it runs.
//!
//! `cargo run --release -p redpoll-script --example eval_overhead`

use std::time::Instant;

use redpoll_script::{Engine, EngineConfig, Host, Interrupt, Invocation, LogLevel, Origin, Protocol};

/// A host whose commands cost nothing.
struct Idle;

impl Host for Idle {
    fn call(&mut self, args: &[&[u8]], _protocol: Protocol, reply: &mut Vec<u8>) {
        reply.extend_from_slice(if args[0] == b"get" { b"$5\r\nhello\r\n" } else { b"+OK\r\n" });
    }

    fn log(&mut self, _level: LogLevel, _message: &[u8]) {}

    fn interrupt(&mut self) -> Interrupt {
        Interrupt::Continue
    }
}

const SCRIPTS: &[(&str, &str)] = &[
    ("empty", "return 1"),
    ("one call", "return redis.call('get', KEYS[1])"),
    ("two calls", "redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[2])"),
    (
        "two calls, table",
        "redis.call('set', KEYS[1], ARGV[1], ARGV[2]) return {redis.call('get', KEYS[2]), ARGV[3], 1}",
    ),
    ("pcall", "return redis.pcall('get', KEYS[1])"),
    ("cjson", "local t = cjson.decode('{\"a\":1,\"b\":[1,2,3]}') return cjson.encode(t)"),
    ("patterns", "return (('key=value'):gsub('(%w+)=(%w+)', '%2=%1'))"),
    ("loop of 1000", "local s = 0 for i = 1, 1000 do s = s + i end return s"),
    ("100 calls of 1", "for i = 1, 100 do redis.call('set') end"),
    ("100 calls of 8", "for i = 1, 100 do redis.call('set', 'a', 'b', 'c', 'd', 'e', 'f', 'g') end"),
    ("100 globals", "local x = 0 for i = 1, 100 do x = math.max(x, i) end return x"),
    ("100 locals", "local x, max = 0, math.max for i = 1, 100 do x = max(x, i) end return x"),
    ("100 calls", "for i = 1, 100 do redis.call('set', KEYS[1], i) end"),
    ("100 table.insert", "local t = {} for i = 1, 100 do table.insert(t, i) end return #t"),
];

fn main() {
    let mut engine = Engine::new(EngineConfig::default());
    let invocation = Invocation {
        keys: &[b"{user:1}:a", b"{user:1}:b"],
        args: &[b"first argument", b"2", b"third", b"1700000000000"],
        protocol: Protocol::Resp2,
    };
    let only = std::env::args().nth(1);
    let mut reply = Vec::new();
    for (name, script) in SCRIPTS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let sha = engine.load(script.as_bytes(), Origin::Load).expect("the scripts above compile");
        const RUNS: u32 = 100_000;
        for _ in 0..RUNS / 10 {
            reply.clear();
            engine.run(&sha, &invocation, &mut Idle, &mut reply);
        }
        let started = Instant::now();
        for _ in 0..RUNS {
            reply.clear();
            engine.run(&sha, &invocation, &mut Idle, &mut reply);
        }
        println!("{name:18} {:6.0} ns", started.elapsed().as_nanos() as f64 / f64::from(RUNS));
    }
}
