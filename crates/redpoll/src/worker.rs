//! `redpoll worker`: runs a command for each job of some queues, so that handlers can be written in any language.
//!
//! It is a worker of the services (see `redpoll_services::workers`) whose handler starts a process: the payload on its standard input, facts about the job in
//! its environment, what it prints is the result. What the exit code means stands with [`exec`].
//!
//! SIGTERM and SIGINT drain: nothing more is leased, what has not begun is handed back, processes may end. A second signal stops them.

mod exec;

use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use redpoll_services::workers::{Order, Running, Summary, Worker};
use redpoll_services::{Services, Settings, Tenant};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::without_secret;
use crate::{backend, call, log};
use exec::Exec;

/// What `redpoll worker` is told.
#[derive(clap::Args)]
pub(crate) struct Work {
    /// Queues whose jobs are run, in their order: one is looked at when those before it have nothing.
    #[arg(long = "queue", required = true, value_name = "QUEUE", value_delimiter = ',')]
    queues: Vec<String>,
    /// What is run for each job, by /bin/sh: the payload is its standard input, what it prints the result. Exit code 0: done; 65: given up;
    /// 75: to be left alone for a while; any other: failed, to be tried again.
    #[arg(long, value_name = "COMMAND")]
    exec: String,
    /// Draws the queue that is looked at first by these weights, one for each queue.
    #[arg(long, value_name = "WEIGHT", value_delimiter = ',')]
    weights: Vec<u32>,
    /// Tenant.
    #[arg(long, default_value_t = Tenant::default().name().to_owned())]
    tenant: String,
    /// The store: redis://HOST:PORT or redis+cluster://HOST:PORT,… [default: REDIS_URL or redis://127.0.0.1:6379]
    #[arg(long)]
    url: Option<String>,
    /// Name under which the worker is listed (`redpoll workers list`) [default: worker- and the number of the process]
    #[arg(long)]
    name: Option<String>,
    /// Most jobs at once.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// Jobs leased beyond those that run.
    #[arg(long, default_value_t = 0)]
    prefetch: usize,
    /// How long the worker may give no sign of life until its jobs are another's, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    lease_ms: u64,
    /// How long processes may go on when the worker is to end, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    drain_ms: u64,
    /// How long a process may take to end after SIGTERM until it gets SIGKILL, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    grace_ms: u64,
    /// How long a job is left alone after exit code 75, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    release_ms: u64,
    /// What is printed must be JSON, and is the result as such; anything else has failed.
    #[arg(long)]
    json_results: bool,
    /// Prints the first and the last line as JSON.
    #[arg(long)]
    json: bool,
}

impl Work {
    /// Works until a signal comes.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        log::to_stderr();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(self.work());
        // What a second signal cut off is not waited for.
        runtime.shutdown_background();
        done
    }

    async fn work(self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let url = call::url(self.url.as_ref())?;
        let settings = Settings::from_environment(&|name| std::env::var(name).ok())?;
        let services = Services::new(backend::connect(&url).await?, settings);
        let running = self.worker(&services)?.start()?;
        self.say_ready(&running, &url)?;
        let mut signals = 0;
        let json = self.json;
        let (instance, watched) = (running.instance().to_owned(), running);
        let stopper = watched.stopper();
        let ended = watched.ended();
        tokio::pin!(ended);
        let summary = loop {
            tokio::select! {
                summary = &mut ended => break summary,
                _ = terminate.recv() => signals += 1,
                _ = interrupt.recv() => signals += 1,
            }
            match signals {
                1 => {
                    tracing::info!("stopping: processes may end, what has not begun is handed back");
                    stopper.begin_stop();
                }
                _ => stopper.stop_now(),
            }
        };
        say_ended(&summary, &instance, json)?;
        match summary.untold {
            0 => Ok(()),
            count => bail!("the store could not be told of {count} jobs; their leases end by themselves"),
        }
    }

    fn worker(&self, services: &Services) -> anyhow::Result<Worker> {
        let jobs = services.jobs(&Tenant::new(self.tenant.clone())?);
        if self.exec.trim().is_empty() {
            bail!("--exec is empty: every job would be done at once, by nothing");
        }
        let Some((first, others)) = self.queues.split_first() else { bail!("--queue is missing") };
        let exec = Exec {
            command: self.exec.clone(),
            output_max: services.settings().jobs.result_max,
            release: Duration::from_millis(self.release_ms),
            json_results: self.json_results,
        };
        let mut worker = Worker::new(jobs.queue(first)?)
            .fallback(move |cx| exec.clone().run(cx))
            .concurrency(self.concurrency)
            .prefetch(self.prefetch)
            .lease(Duration::from_millis(self.lease_ms))
            .drain(Duration::from_millis(self.drain_ms))
            .grace(Duration::from_millis(self.grace_ms));
        for queue in others {
            worker = worker.and(jobs.queue(queue)?);
        }
        if !self.weights.is_empty() {
            worker = worker.order(Order::Weighted(self.weights.clone()));
        }
        if let Some(name) = &self.name {
            worker = worker.name(name);
        }
        Ok(worker)
    }

    fn say_ready(&self, running: &Running, url: &str) -> anyhow::Result<()> {
        say(&match self.json {
            true => json!({"event": "ready", "instance": running.instance(), "queues": self.queues}).to_string(),
            false => format!("ready: works on {} of {}", self.queues.join(", "), without_secret(url)),
        })
    }
}

fn say_ended(summary: &Summary, instance: &str, json: bool) -> anyhow::Result<()> {
    let Summary { completed, failed, lost, handed_back, .. } = summary;
    say(&match json {
        true => json!({"event": "stopped", "instance": instance, "summary": summary}).to_string(),
        false => format!("stopped: {completed} completed, {failed} failed, {handed_back} handed back, {lost} lost"),
    })
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}
