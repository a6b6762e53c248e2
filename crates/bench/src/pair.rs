//! The two servers that are compared, and the line a comparison prints.

use std::time::Instant;

use anyhow::Result;
use redpoll_testkit::{Program, RedisServer};

use crate::median;
use crate::process::cpu_nanos;

/// A value of 64 bytes.
pub(crate) const VALUE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Redpoll and redis-server, both without a log.
pub(crate) struct Pair {
    redpoll: Program,
    redis: RedisServer,
    repeat: usize,
}

impl Pair {
    /// Starts both and prints what the columns mean.
    pub(crate) fn start(repeat: usize) -> Result<Self> {
        let pair = Self { redpoll: Program::start(&["--appendonly", "no"])?, redis: RedisServer::start()?, repeat };
        println!("server CPU per command, µs, and commands per second in units of redis-server's");
        println!("(1M random keys, 64-byte values, median of {repeat})");
        println!(
            "{:<14} {:>8} {:>9} {:>9} {:>7} {:>7} {:>7}",
            "command", "pipeline", "redpoll", "redis", "ratio", "goal", "rate"
        );
        Ok(pair)
    }

    /// Has a load of `count` commands sent to a port of each in turn, and prints the processor times, their ratio, and that of the rates at which
    /// they were served.
    pub(crate) fn row(
        &self,
        name: &str,
        pipeline: u64,
        goal: f64,
        count: u64,
        load: impl Fn(u16) -> Result<()>,
    ) -> Result<()> {
        let measure = |process, port| {
            let (before, begun) = (cpu_nanos(process)?, Instant::now());
            load(port)?;
            let seconds = begun.elapsed().as_secs_f64();
            anyhow::Ok(((cpu_nanos(process)? - before) as f64 / count as f64 / 1000.0, seconds))
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.repeat {
            ours.push(measure(self.redpoll.id(), self.redpoll.address().port())?);
            theirs.push(measure(self.redis.id(), self.redis.address().port())?);
        }
        let [(ours, our_seconds), (theirs, their_seconds)] = [ours, theirs].map(|taken| {
            let (micros, seconds) = taken.into_iter().unzip();
            (median(micros), median(seconds))
        });
        let (ratio, rate) = (ours / theirs, their_seconds / our_seconds);
        println!("{name:<14} {pipeline:>8} {ours:>9.3} {theirs:>9.3} {ratio:>7.2} {goal:>7.2} {rate:>7.2}");
        Ok(())
    }
}
