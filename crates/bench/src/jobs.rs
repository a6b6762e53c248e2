//! Job queues: beside BullMQ on one redis-server, and on the embedded store.
//!
//! A job does nothing, so what is measured is the queue. Beside BullMQ both sides add jobs in batches of as many and work with as many at once. Theirs is a
//! program of its own (`jobs/bullmq.mjs`) with the settings that its documentation names for speed; ours is a worker that leases as many beyond those that run.
//! Round trips are how often the server has read from its sockets, which counts the calls of both sides however they are made.
//!
//! On the embedded store the log is on and synced every second, as a program would have it that must not lose jobs. What picking up takes is the time from
//! the call that enqueues to the handler of a worker that waits.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redpoll_services::jobs::{LeaseOptions, Leased, NewJob, Outcome, Payload, Queue, Ticket};
use redpoll_services::workers::{Failure, Worker};
use redpoll_services::{Backend, BackendConfig, Services, Settings, Tenant};
use redpoll_store::{Config, Store};
use redpoll_testkit::{Client, RedisServer, Scratch};
use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::process::cpu_nanos;
use crate::{info_number, median};

/// Jobs of one measurement.
const JOBS: usize = 20_000;

/// Jobs of one measurement on the embedded store.
const EMBEDDED_JOBS: usize = 100_000;

/// Jobs in a batch.
const BATCH: usize = 1_000;

/// Jobs worked on at once.
const CONCURRENCY: usize = 32;

/// How often picking up is timed.
const PICK_UPS: usize = 1_000;

/// The folder of installed packages.
const PACKAGES: &str = "REDPOLL_BENCH_PACKAGES";

pub(crate) fn run(repeat: usize, only: &str) -> Result<()> {
    if "bullmq".contains(only) {
        beside_bullmq(repeat)?;
    }
    if "embedded".contains(only) {
        embedded(repeat)?;
    }
    Ok(())
}

/// What the jobs of one measurement took, each.
#[derive(Debug, Clone, Copy)]
struct Cost {
    micros: f64,
    server_micros: f64,
    client_micros: f64,
    round_trips: f64,
}

fn beside_bullmq(repeat: usize) -> Result<()> {
    let redis = RedisServer::start()?;
    let mut control = redis.client()?;
    let mut bullmq = BullMq::start(&redis.url())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let config = BackendConfig { connections: 1, ..BackendConfig::default() };
    let services = Services::new(runtime.block_on(Backend::connect_with(&redis.url(), config))?, Settings::default());
    let queue = services.jobs(&Tenant::default()).queue("bench")?;
    let (mut added, mut worked) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        control.run("FLUSHALL");
        let ours = measure(redis.id(), &mut control, || timed(|| runtime.block_on(enqueue(&queue, JOBS))))?;
        let our_work = measure(redis.id(), &mut control, || timed(|| runtime.block_on(worker(&queue, JOBS))))?;
        control.run("FLUSHALL");
        let theirs = measure(redis.id(), &mut control, || bullmq.ask(&format!("add {JOBS}")))?;
        let their_work = measure(redis.id(), &mut control, || bullmq.ask(&format!("work {JOBS}")))?;
        added.push((ours, theirs));
        worked.push((our_work, their_work));
    }
    println!(
        "\njobs on redis-server beside BullMQ, ours/theirs per job (median of {repeat}); rate: ours in units of theirs"
    );
    println!(
        "{:<34} {:>13} {:>15} {:>6} {:>15} {:>6} {:>6} {:>5}",
        "call", "round trips", "server µs", "ratio", "client µs", "ratio", "rate", "goal"
    );
    print_row(&format!("added in batches of {BATCH}"), &added, 5.0);
    print_row(&format!("done by a worker, {CONCURRENCY} at once"), &worked, 3.0);
    Ok(())
}

/// Runs something that tells its seconds and processor seconds, and asks the server what it cost.
fn measure(process: u32, control: &mut Client, run: impl FnOnce() -> Result<(f64, f64)>) -> Result<Cost> {
    let (reads, server) = (info_number(control, "stats", "total_reads_processed")?, cpu_nanos(process)?);
    let (seconds, cpu_seconds) = run()?;
    let server = cpu_nanos(process)? - server;
    let reads = info_number(control, "stats", "total_reads_processed")? - reads;
    let each = |sum: f64| sum / JOBS as f64;
    Ok(Cost {
        micros: each(seconds * 1e6),
        server_micros: each(server as f64 / 1e3),
        client_micros: each(cpu_seconds * 1e6),
        round_trips: each(reads as f64),
    })
}

/// Tells the seconds and the processor seconds of this process that something took.
fn timed(run: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let (cpu, begun) = (cpu_nanos(std::process::id())?, Instant::now());
    run()?;
    Ok((begun.elapsed().as_secs_f64(), (cpu_nanos(std::process::id())? - cpu) as f64 / 1e9))
}

fn print_row(name: &str, costs: &[(Cost, Cost)], goal: f64) {
    let of = |part: fn(&Cost) -> f64| {
        let middle = |side: fn(&(Cost, Cost)) -> &Cost| median(costs.iter().map(|both| part(side(both))).collect());
        (middle(|both| &both.0), middle(|both| &both.1))
    };
    let (trips, server) = (of(|cost| cost.round_trips), of(|cost| cost.server_micros));
    let (client, micros) = (of(|cost| cost.client_micros), of(|cost| cost.micros));
    println!(
        "{name:<34} {:>13} {:>15} {:>6.2} {:>15} {:>6.2} {:>6.1} {goal:>5}",
        format!("{:.4}/{:.4}", trips.0, trips.1),
        format!("{:.1}/{:.1}", server.0, server.1),
        server.0 / server.1,
        format!("{:.1}/{:.1}", client.0, client.1),
        client.0 / client.1,
        micros.1 / micros.0,
    );
}

/// BullMQ in a process of its own.
struct BullMq {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl BullMq {
    fn start(url: &str) -> Result<Self> {
        let packages = std::env::var_os(PACKAGES).map(PathBuf::from);
        let packages = packages.with_context(|| format!("{PACKAGES} is not set; run `cargo xtask bench -- jobs`"))?;
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/jobs/bullmq.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(packages).arg(url).args([CONCURRENCY.to_string(), BATCH.to_string()]);
        let mut process = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run node")?;
        let answers = BufReader::new(process.stdout.take().expect("it is a pipe"));
        Ok(Self { process, answers })
    }

    /// Has it do something, and returns the seconds and processor seconds that took.
    fn ask(&mut self, line: &str) -> Result<(f64, f64)> {
        writeln!(self.process.stdin.as_mut().expect("it is a pipe"), "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let answer: Json = serde_json::from_str(&answer).with_context(|| format!("BullMQ said {answer:?}"))?;
        let number = |name: &str| answer[name].as_f64().with_context(|| format!("no {name} in {answer}"));
        Ok((number("seconds")?, number("cpu_seconds")?))
    }
}

impl Drop for BullMq {
    fn drop(&mut self) {
        // It has no state worth an end in order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn enqueue(queue: &Queue, count: usize) -> Result<()> {
    for first in (0..count).step_by(BATCH) {
        let job = |number| Ok(NewJob::new("noop", Payload::json(&serde_json::json!({"number": number}))?));
        let jobs = (first..(first + BATCH).min(count)).map(job).collect::<Result<Vec<_>>>()?;
        queue.enqueue_many(&jobs).await?;
    }
    Ok(())
}

fn completed(job: Leased) -> (Ticket, Outcome) {
    (job.ticket, Outcome::Completed { result: None, ttl: None })
}

/// Works on as many jobs, all of which must be there.
async fn work(queue: &Queue, count: usize) -> Result<()> {
    let options = LeaseOptions { count: CONCURRENCY, ..LeaseOptions::default() };
    let (mut outcomes, mut done) = (Vec::new(), 0);
    while done < count {
        let jobs = queue.exchange(&outcomes, &options).await?.jobs;
        ensure!(!jobs.is_empty(), "{done} jobs, then none");
        done += jobs.len();
        outcomes = jobs.into_iter().map(completed).collect();
    }
    queue.settle(&outcomes).await?;
    Ok(())
}

/// Has a worker do as many jobs, all of which must be there.
async fn worker(queue: &Queue, count: usize) -> Result<()> {
    let (last, left) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(count)));
    let done = last.clone();
    let worker = Worker::new(queue.clone()).concurrency(CONCURRENCY).prefetch(CONCURRENCY).handle("noop", move |_| {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            done.notify_one();
        }
        async { Ok::<_, Failure>(()) }
    });
    let running = worker.start()?;
    last.notified().await;
    let summary = running.stop().await;
    ensure!(summary.completed == count as u64, "{summary:?} of {count}");
    Ok(())
}

fn embedded(repeat: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (mut added, mut worked, mut workers, mut picked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..repeat {
            let folder = Scratch::new()?;
            let config = Config::in_directory(folder.path().display().to_string())
                .set("appendonly", "yes")?
                .set("appendfsync", "everysec")?;
            let services = Services::new(Backend::embedded(Store::open(config)?), Settings::default());
            let queue = services.jobs(&Tenant::default()).queue("bench")?;
            let begun = Instant::now();
            enqueue(&queue, EMBEDDED_JOBS).await?;
            added.push(EMBEDDED_JOBS as f64 / begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            work(&queue, EMBEDDED_JOBS).await?;
            worked.push(EMBEDDED_JOBS as f64 / begun.elapsed().as_secs_f64());
            enqueue(&queue, EMBEDDED_JOBS).await?;
            let begun = Instant::now();
            worker(&queue, EMBEDDED_JOBS).await?;
            workers.push(EMBEDDED_JOBS as f64 / begun.elapsed().as_secs_f64());
            picked.push(pick_up(&queue).await?);
        }
        println!("\njobs on the embedded store, log synced every second (median of {repeat})");
        println!("{:<52} {:>12} {:>10}", "what", "redpoll", "goal");
        for (what, measured, goal) in [
            (format!("jobs enqueued a second, batches of {BATCH}"), added, 200_000),
            (format!("jobs leased and settled a second, {CONCURRENCY} a call"), worked, 100_000),
            (format!("jobs done by a worker a second, {CONCURRENCY} at once"), workers, 100_000),
            ("from enqueuing to the handler, idle, p99 in µs".to_owned(), picked, 2_000),
        ] {
            println!("{what:<52} {:>12.0} {goal:>10}", median(measured));
        }
        Ok(())
    })
}

/// Returns the 99th percentile of the microseconds until a waiting worker has a job.
async fn pick_up(queue: &Queue) -> Result<f64> {
    let (sender, mut picked) = tokio::sync::mpsc::channel(1);
    let worker = queue.clone();
    let waiting = tokio::spawn(async move {
        let options = LeaseOptions { wait: Duration::from_secs(60), ..LeaseOptions::default() };
        for _ in 0..PICK_UPS {
            let jobs = worker.lease(&options).await?;
            sender.send(Instant::now()).await.context("nobody listens")?;
            worker.settle(&jobs.into_iter().map(completed).collect::<Vec<_>>()).await?;
        }
        anyhow::Ok(())
    });
    let mut micros = Vec::new();
    for _ in 0..PICK_UPS {
        // Long enough for the worker to be waiting again.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let begun = Instant::now();
        queue.enqueue(&NewJob::new("noop", Payload::json(&Json::Null)?)).await?;
        micros.push(picked.recv().await.context("the worker has ended")?.duration_since(begun).as_secs_f64() * 1e6);
    }
    waiting.await??;
    micros.sort_by(f64::total_cmp);
    Ok(micros[PICK_UPS * 99 / 100])
}
