//! What durability costs: writes that wait for the disk, the log's processor time, a snapshot beside writers, loading.
//!
//! Both servers write to the same file system. A snapshot's memory is what all processes of a server take together (Pss), so that pages a forked process
//! shares with its parent count once and those it has copied count twice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redpoll_testkit::{Client, Launch, Program, RedisServer, Scratch};

use crate::pair::VALUE;
use crate::process::{cpu_nanos, shared_out_bytes};
use crate::served::{send, words};
use crate::{info_number, median};

/// Keys of the snapshot.
const KEYS: u64 = 2_000_000;

/// Clients that write beside the snapshot, and how long they do so without one.
const WRITERS: usize = 4;
const CALM: Duration = Duration::from_secs(5);

/// Longest time a snapshot may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Either server: its process and where it listens.
enum Server {
    Redpoll(Program),
    Redis(RedisServer),
}

impl Server {
    fn both(args: &[&str]) -> Result<[Server; 2]> {
        let with_debug = [args, &["--enable-debug-command", "local"]].concat();
        Ok([Server::Redpoll(Program::start(&with_debug)?), Server::Redis(RedisServer::start_with(args)?)])
    }

    fn id(&self) -> u32 {
        match self {
            Server::Redpoll(server) => server.id(),
            Server::Redis(server) => server.id(),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Server::Redpoll(server) => server.address(),
            Server::Redis(server) => server.address(),
        }
    }

    fn client(&self) -> Result<Client> {
        Client::connect(self.address()).context("cannot connect")
    }
}

pub(crate) fn run(commands: u64, repeat: usize, only: &str) -> Result<()> {
    println!("\ndurability, {repeat} times in turn, medians");
    println!("{:<34} {:>9} {:>9} {:>7} {:>7}", "", "redpoll", "redis", "ratio", "goal");
    if "always".contains(only) {
        let servers = Server::both(&["--appendonly", "yes", "--appendfsync", "always"])?;
        let count = commands / 40;
        let rate = |server: &Server| {
            let begun = Instant::now();
            set_from_many(server.address(), 1, count)?;
            Ok(count as f64 / begun.elapsed().as_secs_f64())
        };
        row("writes/s, always, 50 clients", 3.0, repeat, &servers, rate)?;
    }
    if "everysec".contains(only) {
        let servers = Server::both(&["--appendonly", "yes", "--appendfsync", "everysec"])?;
        for (pipeline, count) in [(1, commands / 8), (16, commands)] {
            let cost = |server: &Server| {
                let before = cpu_nanos(server.id())?;
                set_from_many(server.address(), pipeline, count)?;
                Ok((cpu_nanos(server.id())? - before) as f64 / count as f64 / 1000.0)
            };
            row(&format!("µs a write, everysec, pipeline {pipeline}"), 0.8, repeat, &servers, cost)?;
        }
    }
    if "snapshot".contains(only) {
        let servers = Server::both(&["--appendonly", "no"])?;
        servers.iter().try_for_each(|server| fill(&mut server.client()?))?;
        snapshot(&servers, repeat)?;
    }
    if "load".contains(only) { load(repeat) } else { Ok(()) }
}

fn row(
    name: &str,
    goal: f64,
    repeat: usize,
    servers: &[Server; 2],
    measure: impl Fn(&Server) -> Result<f64>,
) -> Result<()> {
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..repeat {
        for (server, taken) in servers.iter().zip(&mut taken) {
            taken.push(measure(server)?);
        }
    }
    let [ours, theirs] = taken.map(median);
    println!("{name:<34} {ours:>9.2} {theirs:>9.2} {:>7.2} {goal:>7.2}", ours / theirs);
    Ok(())
}

/// Has random keys written.
fn set_from_many(address: SocketAddr, pipeline: u64, count: u64) -> Result<()> {
    send(address.port(), pipeline, count, &words(&["SET", "key:__rand_int__", VALUE]))
}

/// Fills a server with the keys of the snapshot.
fn fill(client: &mut Client) -> Result<()> {
    ensure!(client.run(&format!("DEBUG POPULATE {KEYS} key 64")).is_simple("OK"), "DEBUG POPULATE failed");
    Ok(())
}

/// Measures writers beside a snapshot and without one.
fn snapshot(servers: &[Server; 2], repeat: usize) -> Result<()> {
    let mut taken: [[Vec<f64>; 3]; 2] = Default::default();
    for _ in 0..repeat {
        for (server, taken) in servers.iter().zip(&mut taken) {
            let seen = beside_snapshot(server)?;
            for (taken, seen) in taken.iter_mut().zip(seen) {
                taken.push(seen);
            }
        }
    }
    let [[calm, beside, more], [their_calm, their_beside, their_more]] = taken.map(|taken| taken.map(median));
    println!("{:<34} {calm:>9.0} {their_calm:>9.0}", "p99 µs of a SET, 4 writers");
    println!("{:<34} {beside:>9.0} {their_beside:>9.0}", "  beside BGSAVE of 2M keys");
    println!(
        "{:<34} {:>9.2} {:>9.2} {:>7} {:>7.2}",
        "  in units of the first",
        beside / calm,
        their_beside / their_calm,
        "",
        2.0
    );
    println!("{:<34} {more:>9.1} {their_more:>9.1} {:>7} {:>7.1}", "memory more beside BGSAVE, %", "", 10.0);
    Ok(())
}

/// Returns the writers' p99 without a snapshot and beside one, µs, and by how many per cent more memory the server took at its most.
fn beside_snapshot(server: &Server) -> Result<[f64; 3]> {
    let (calm, _) = written_while(server, || {
        std::thread::sleep(CALM);
        Ok(())
    })?;
    let before = shared_out_bytes(server.id())?;
    let (beside, peak) = written_while(server, || {
        let mut client = server.client()?;
        let (begun, mut peak) = (Instant::now(), before);
        client.run("BGSAVE");
        while info_number(&mut client, "persistence", "rdb_bgsave_in_progress")? == 1 {
            ensure!(begun.elapsed() < PATIENCE, "the snapshot takes too long");
            peak = peak.max(shared_out_bytes(server.id())?);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peak)
    })?;
    let more = (peak as f64 / before as f64 - 1.0) * 100.0;
    Ok([calm, beside, more])
}

/// Has clients write while something goes on; returns their p99 in µs and what came of it.
fn written_while<R: Send>(server: &Server, goes_on: impl FnOnce() -> Result<R> + Send) -> Result<(f64, R)> {
    let (done, address) = (AtomicBool::new(false), server.address());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let done = &done;
                scope.spawn(move || -> Result<Vec<f64>> {
                    let (mut client, mut taken, mut number) = (Client::connect(address)?, Vec::new(), writer as u64);
                    while !done.load(Ordering::Relaxed) {
                        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let command = format!("SET key:{} {VALUE}", (number >> 33) % KEYS);
                        let begun = Instant::now();
                        ensure!(client.run(&command).is_simple("OK"), "a SET failed");
                        taken.push(begun.elapsed().as_secs_f64() * 1e6);
                    }
                    Ok(taken)
                })
            })
            .collect();
        let result = goes_on();
        done.store(true, Ordering::Relaxed);
        let mut taken = Vec::new();
        for writer in writers {
            taken.append(&mut writer.join().expect("a writer does not panic")?);
        }
        taken.sort_by(f64::total_cmp);
        Ok((taken[taken.len() * 99 / 100], result?))
    })
}

/// Has both load the same snapshot, made by redis-server.
fn load(repeat: usize) -> Result<()> {
    let scratch = Scratch::new()?;
    let dir = scratch.path().to_str().context("the directory has a name in Unicode")?.to_owned();
    {
        let redis = RedisServer::start_with(&["--dir", &dir])?;
        let mut client = redis.client()?;
        fill(&mut client)?;
        ensure!(client.run("SAVE").is_simple("OK"), "SAVE failed");
    }
    let mut taken: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..repeat {
        let begun = Instant::now();
        let launch = Launch {
            dir: Some(dir.clone().into()),
            args: vec!["--appendonly".into(), "no".into()],
            ..Launch::default()
        };
        let redpoll = launch.start()?;
        loaded(&mut taken[0], begun, redpoll.id(), &mut redpoll.client()?)?;
        drop(redpoll);
        let begun = Instant::now();
        let redis = RedisServer::start_with(&["--dir", &dir])?;
        loaded(&mut taken[1], begun, redis.id(), &mut redis.client()?)?;
    }
    let [[wall, cpu], [their_wall, their_cpu]] = taken.map(|taken| taken.map(median));
    println!("{:<34} {wall:>9.2} {their_wall:>9.2} {:>7.2} {:>7.2}", "s to load 2M keys", wall / their_wall, 1.0 / 1.5);
    println!(
        "{:<34} {cpu:>9.2} {their_cpu:>9.2} {:>7.2} {:>7.2}",
        "s of processor time to load them",
        cpu / their_cpu,
        1.0 / 1.5
    );
    Ok(())
}

fn loaded(taken: &mut [Vec<f64>; 2], begun: Instant, process: u32, client: &mut Client) -> Result<()> {
    while client.run("DBSIZE").as_integer() != Some(KEYS as i64) {
        ensure!(begun.elapsed() < PATIENCE, "not all keys were loaded");
    }
    taken[0].push(begun.elapsed().as_secs_f64());
    taken[1].push(cpu_nanos(process)? as f64 / 1e9);
    Ok(())
}
