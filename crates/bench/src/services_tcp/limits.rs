//! Rate limits: each algorithm beside the steps of others that count in the same way. Nobody else has a log.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use redpoll_services::ratelimit::{Algorithm, Rule};

use super::{Part, scripts};

/// No call is refused.
const LIMIT: u64 = 50_000;

const WINDOW_MS: u64 = 60_000;

/// A step of others.
struct Step {
    name: &'static str,
    algorithm: Algorithm,
    file: &'static str,
    script: &'static str,
    /// Makes keys and arguments as its library does, from the subject and the time in ms.
    call: fn(&str, u64) -> Call,
}

/// Keys and arguments.
type Call = (Vec<String>, Vec<u64>);

const FLEXIBLE: &str = "rate-limiter-flexible/lib/RateLimiterRedis.js";
const UPSTASH: &str = "@upstash/ratelimit/dist/index.js";

const STEPS: &[Step] = &[
    Step {
        name: "fixed window, rate-limiter-flexible",
        algorithm: Algorithm::FixedWindow,
        file: FLEXIBLE,
        script: "incrTtlLuaScript",
        call: |subject, _| (vec![format!("rlflx:{subject}")], vec![1, WINDOW_MS / 1000]),
    },
    Step {
        name: "fixed window, @upstash/ratelimit",
        algorithm: Algorithm::FixedWindow,
        file: UPSTASH,
        script: "fixedWindowLimitScript",
        call: |subject, now_ms| (vec![bucket(subject, now_ms / WINDOW_MS)], vec![LIMIT, WINDOW_MS, 1]),
    },
    Step {
        name: "sliding counter, @upstash/ratelimit",
        algorithm: Algorithm::SlidingCounter,
        file: UPSTASH,
        script: "slidingWindowLimitScript",
        call: |subject, now_ms| {
            let number = now_ms / WINDOW_MS;
            (vec![bucket(subject, number), bucket(subject, number - 1)], vec![LIMIT, now_ms, WINDOW_MS, 1])
        },
    },
    Step {
        name: "token bucket, @upstash/ratelimit",
        algorithm: Algorithm::TokenBucket,
        file: UPSTASH,
        script: "tokenBucketLimitScript",
        call: |subject, now_ms| {
            (vec![format!("@upstash/ratelimit:{subject}")], vec![LIMIT, WINDOW_MS, LIMIT, now_ms, 1])
        },
    },
];

fn bucket(subject: &str, number: u64) -> String {
    format!("@upstash/ratelimit:{subject}:{number}")
}

pub(super) async fn run(part: &Part<'_>) -> Result<()> {
    let limiter = part.services.rate_limit(&part.tenant);
    for step in STEPS {
        let rule = Rule::new("bench", step.algorithm, LIMIT, WINDOW_MS)?;
        let ours = async |call: usize| {
            ensure!(limiter.check(&rule, part.subject(call)).await?.allowed, "a call was refused");
            Ok(())
        };
        let load = redis::cmd("SCRIPT").arg("LOAD").arg(scripts::read(step.file, step.script)?).to_owned();
        let sha: String = load.query_async(&mut part.connection.clone()).await?;
        let theirs = async |call: usize| {
            let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
            let (keys, args) = (step.call)(part.subject(call), now_ms);
            let mut command = redis::cmd("EVALSHA");
            command.arg(&sha).arg(keys.len()).arg(keys).arg(args);
            let reply: Vec<i64> = command.query_async(&mut part.connection.clone()).await?;
            ensure!(reply[0] >= 0, "a call was refused");
            Ok(())
        };
        part.row(step.name, ours, theirs).await?;
    }
    Ok(())
}
