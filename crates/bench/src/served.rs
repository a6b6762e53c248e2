//! Processor time per command over TCP: 50 clients, a million random keys, values of 64 bytes. redis-benchmark is the load.

use std::io;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use redpoll_services::ratelimit::Algorithm;
use redpoll_testkit::{Client, Target};

use crate::pair::{Pair, VALUE};

/// Connections of the load.
const CLIENTS: &str = "50";

/// Different keys.
const KEYS: &str = "1000000";

/// How many listen while PUBLISH is measured.
const SUBSCRIBERS: usize = 50;

/// Members of the sorted set that ranges are read from.
const MEMBERS: usize = 10_000;

/// Commands in flight per connection, and what Redpoll's time may be in units of redis-server's.
type Goals = &'static [(u64, f64)];

/// Everyday commands: deep pipelines show the work, none shows the system calls.
const EVERYDAY: Goals = &[(64, 0.6), (1, 0.95)];

/// Commands that do more each.
const LARGER: Goals = &[(16, 0.7)];

/// What redis-benchmark sends, made when a server is ready for it.
struct Workload {
    name: &'static str,
    goals: Goals,
    prepare: fn(&mut Client) -> Vec<String>,
    /// Who has to listen while it runs.
    subscribers: usize,
}

const fn workload(name: &'static str, goals: Goals, prepare: fn(&mut Client) -> Vec<String>) -> Workload {
    Workload { name, goals, prepare, subscribers: 0 }
}

const WORKLOADS: &[Workload] = &[
    workload("SET", EVERYDAY, |_| words(&["SET", "key:__rand_int__", VALUE])),
    workload("GET", EVERYDAY, |_| words(&["GET", "key:__rand_int__"])),
    workload("INCR", EVERYDAY, |_| words(&["INCR", "counter:__rand_int__"])),
    workload("HSET", EVERYDAY, |_| words(&["HSET", "hash:__rand_int__", "field", VALUE])),
    workload("LPUSH", EVERYDAY, |_| words(&["LPUSH", "list:__rand_int__", VALUE])),
    workload("ZADD", EVERYDAY, |_| words(&["ZADD", "zset:__rand_int__", "1", VALUE])),
    workload("XADD", LARGER, |_| words(&["XADD", "stream", "MAXLEN", "~", "100000", "*", "field", VALUE])),
    workload("EVALSHA", LARGER, rate_limit),
    workload("ZRANGEBYSCORE", LARGER, range_by_score),
    workload("LRANGE_100", LARGER, hundred_elements),
    workload("MSET_10", LARGER, |_| words(&[&["MSET"], ["key:__rand_int__", VALUE].repeat(10).as_slice()].concat())),
    Workload { subscribers: SUBSCRIBERS, ..workload("PUBLISH", LARGER, |_| words(&["PUBLISH", "channel", VALUE])) },
];

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The step of the rate limiter, each subject within its limit.
fn rate_limit(client: &mut Client) -> Vec<String> {
    let script = Algorithm::TokenBucket.script();
    client.call(&[b"SCRIPT".to_vec(), b"LOAD".to_vec(), script.source().into()]);
    words(&["EVALSHA", script.sha(), "1", "rate:__rand_int__", "1000", "60000", "1", "take", "1000"])
}

fn range_by_score(client: &mut Client) -> Vec<String> {
    for member in 0..MEMBERS {
        client.run(&format!("ZADD scores {} member:{member}", member * 100));
    }
    words(&["ZRANGEBYSCORE", "scores", "__rand_int__", "+inf", "LIMIT", "0", "10"])
}

fn hundred_elements(client: &mut Client) -> Vec<String> {
    client.run("DEL elements");
    client.run(&format!("RPUSH elements {}", [VALUE; 100].join(" ")));
    words(&["LRANGE", "elements", "0", "99"])
}

pub(crate) fn run(pair: &Pair, commands: u64, only: &str) -> Result<()> {
    for workload in WORKLOADS.iter().filter(|workload| workload.name.contains(only)) {
        for &(pipeline, goal) in workload.goals {
            let count = match pipeline {
                1 => commands / 10,
                64 => commands,
                _ => commands / 4,
            };
            pair.row(workload.name, pipeline, goal, count, |port| load(workload, port, pipeline, count))?;
        }
    }
    Ok(())
}

/// Prepares a server and sends it a workload.
fn load(workload: &Workload, port: u16, pipeline: u64, count: u64) -> Result<()> {
    let address = ([127, 0, 0, 1], port).into();
    let command = (workload.prepare)(&mut Client::connect(address)?);
    let subscribers = (0..workload.subscribers).map(|_| listen(port)).collect::<Result<Vec<_>>>()?;
    send(port, pipeline, count, &command)?;
    for (stream, reader) in subscribers {
        stream.shutdown(std::net::Shutdown::Both)?;
        ensure!(reader.join().is_ok_and(|read| read > count), "a subscriber was cut off");
    }
    Ok(())
}

/// Has redis-benchmark send a command so many times from many clients, with random keys.
pub(crate) fn send(port: u16, pipeline: u64, count: u64, command: &[String]) -> Result<()> {
    let status = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", CLIENTS, "-n", &count.to_string()])
        .args(["-P", &pipeline.to_string(), "-r", KEYS, "-q"])
        .args(command)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("redis-benchmark is missing; install redis-tools")?;
    ensure!(status.success(), "redis-benchmark failed");
    Ok(())
}

/// Subscribes to the channel and reads whatever comes; gives the number of bytes in the end.
fn listen(port: u16) -> Result<(TcpStream, JoinHandle<u64>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    io::Write::write_all(&mut stream, b"SUBSCRIBE channel\r\n")?;
    let mut reader = stream.try_clone()?;
    Ok((stream, std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()).unwrap_or(0))))
}
