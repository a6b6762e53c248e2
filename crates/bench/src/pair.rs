//! The two servers that are compared, and the line a comparison prints.

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
        println!("server CPU per command, µs (1M random keys, 64-byte values, median of {repeat})");
        println!("{:<14} {:>8} {:>9} {:>9} {:>7} {:>7}", "command", "pipeline", "redpoll", "redis", "ratio", "goal");
        Ok(pair)
    }

    /// Has a load of `count` commands sent to a port of each in turn, and prints the processor times and their ratio.
    pub(crate) fn row(
        &self,
        name: &str,
        pipeline: u64,
        goal: f64,
        count: u64,
        load: impl Fn(u16) -> Result<()>,
    ) -> Result<()> {
        let measure = |process, port| {
            let before = cpu_nanos(process)?;
            load(port)?;
            anyhow::Ok((cpu_nanos(process)? - before) as f64 / count as f64 / 1000.0)
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.repeat {
            ours.push(measure(self.redpoll.id(), self.redpoll.address().port())?);
            theirs.push(measure(self.redis.id(), self.redis.address().port())?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{name:<14} {pipeline:>8} {ours:>9.3} {theirs:>9.3} {:>7.2} {goal:>7.2}", ours / theirs);
        Ok(())
    }
}
