//! Bytes per key over key and value, as the operating system sees them: a million keys of 16 bytes with values of 64.

use anyhow::{Result, ensure};
use redpoll_testkit::{Program, RedisServer, Reply, Target};

use crate::process::resident_bytes;

/// Keys loaded.
const KEYS: u64 = 1_000_000;

/// Bytes of key and value.
const PAYLOAD: u64 = 16 + 64;

/// Commands sent before replies are read.
const BATCH: u64 = 1000;

/// What a key may take over its payload, bytes.
const GOAL: f64 = 40.0;

pub(crate) fn run() -> Result<()> {
    let redpoll = Program::start(&["--appendonly", "no"])?;
    let redis = RedisServer::start()?;
    let ours = overhead(redpoll.id(), &mut redpoll.client()?)?;
    let theirs = overhead(redis.id(), &mut redis.client()?)?;
    println!("\nresident bytes per key over 16-byte key and 64-byte value (1M keys)");
    println!("{:>9} {:>9} {:>7} {:>7}", "redpoll", "redis", "ratio", "goal");
    println!("{ours:>9.1} {theirs:>9.1} {:>7.2} {GOAL:>7.1}", ours / theirs);
    Ok(())
}

/// Loads the keys and returns how much more memory each takes than its payload.
fn overhead(process: u32, client: &mut dyn Target) -> Result<f64> {
    let before = resident_bytes(process)?;
    for batch in 0..KEYS / BATCH {
        let keys = batch * BATCH..(batch + 1) * BATCH;
        let commands: Vec<Vec<Vec<u8>>> =
            keys.map(|key| vec![b"SET".to_vec(), format!("key:{key:012}").into_bytes(), vec![b'x'; 64]]).collect();
        let replies = client.pipeline(&commands);
        ensure!(replies.iter().all(|reply| *reply == Reply::Simple(b"OK".to_vec())), "a SET failed");
    }
    Ok((resident_bytes(process)? - before) as f64 / KEYS as f64 - PAYLOAD as f64)
}
