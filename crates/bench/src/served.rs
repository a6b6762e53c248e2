//! Processor time per command over TCP: 50 clients, a million random keys, values of 64 bytes.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use redpoll_testkit::{Program, RedisServer};

use crate::median;
use crate::process::cpu_nanos;

/// Connections of the load.
const CLIENTS: &str = "50";

/// Different keys.
const KEYS: &str = "1000000";

/// A value of 64 bytes.
const VALUE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// A workload: its name, and what redis-benchmark sends, `V` standing for the value.
const WORKLOADS: &[(&str, &[&str])] = &[
    ("SET", &["SET", "key:__rand_int__", "V"]),
    ("GET", &["GET", "key:__rand_int__"]),
    ("INCR", &["INCR", "counter:__rand_int__"]),
    ("HSET", &["HSET", "hash:__rand_int__", "field", "V"]),
    ("LPUSH", &["LPUSH", "list:__rand_int__", "V"]),
    ("ZADD", &["ZADD", "zset:__rand_int__", "1", "V"]),
];

/// Commands in flight per connection, and what Redpoll's time may be in units of redis-server's.
const PIPELINES: &[(u64, f64)] = &[(64, 0.6), (1, 0.95)];

pub(crate) fn run(commands: u64, repeat: usize, only: &str) -> Result<()> {
    let redpoll = Program::start(&["--appendonly", "no"])?;
    let redis = RedisServer::start()?;
    println!("server CPU per command, µs (50 clients, 1M random keys, 64-byte values, median of {repeat})");
    println!("{:<8} {:>8} {:>9} {:>9} {:>7} {:>7}", "command", "pipeline", "redpoll", "redis", "ratio", "goal");
    for (name, command) in WORKLOADS.iter().filter(|(name, _)| name.contains(only)) {
        for (pipeline, goal) in PIPELINES {
            let count = if *pipeline == 1 { commands / 10 } else { commands };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..repeat {
                ours.push(measure(redpoll.id(), redpoll.address().port(), command, *pipeline, count)?);
                theirs.push(measure(redis.id(), redis.address().port(), command, *pipeline, count)?);
            }
            let (ours, theirs) = (median(ours), median(theirs));
            println!("{name:<8} {pipeline:>8} {ours:>9.3} {theirs:>9.3} {:>7.2} {goal:>7.2}", ours / theirs);
        }
    }
    Ok(())
}

/// Runs a workload and returns the server's processor time per command, microseconds.
fn measure(process: u32, port: u16, command: &[&str], pipeline: u64, count: u64) -> Result<f64> {
    let before = cpu_nanos(process)?;
    let args = command.iter().map(|arg| if *arg == "V" { VALUE } else { arg });
    let status = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", CLIENTS, "-n", &count.to_string()])
        .args(["-P", &pipeline.to_string(), "-r", KEYS, "-q"])
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("redis-benchmark is missing; install redis-tools")?;
    ensure!(status.success(), "redis-benchmark failed");
    Ok((cpu_nanos(process)? - before) as f64 / count as f64 / 1000.0)
}
