//! Workers: a sender of e-mails that tries again, gives up what has no sense, is told to stop, and hands back what it has not begun.
//!
//! `cargo run -p redpoll-services --example workers` uses a store in this process, `… -- redis://127.0.0.1:6379` another.

use std::time::Duration;

use redpoll_services::jobs::{Commit, Effect, NewJob, Payload, Queue, State, Which};
use redpoll_services::workers::{Context, Failure, Worker};
use redpoll_services::{Backend, Services, Settings, Tenant};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Mail {
    to: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let tenant = Tenant::new("example")?;
    let queue = services.jobs(&tenant).queue("outgoing")?;
    for state in [State::Waiting, State::Delayed, State::Dead] {
        queue.clear(state, Which::All).await?;
    }

    let soon = Some(Duration::from_millis(50));
    for to in ["anna@example.org", "busy@example.org", "nobody", "bert@example.org"] {
        let payload = Payload::json(&Mail { to: to.to_owned() })?;
        queue.enqueue(&NewJob { retry_base: soon, attempts_max: Some(3), ..NewJob::new("mail", payload) }).await?;
    }

    let worker = Worker::new(queue.clone()).handle("mail", send).concurrency(4).prefetch(4).name("example");
    let running = worker.start()?;
    until_settled(&queue).await?;
    for worker in services.workers(&tenant).list(10).await? {
        println!("{} is alive: {}, with {} jobs done", worker.name, worker.is_alive, running.summary().completed);
    }
    println!("{:?}", running.stop().await);
    for dead in queue.list(State::Dead, 0, 10).await? {
        println!("dead: {:?}", dead.error);
    }
    Ok(())
}

/// Sends a mail. That it was sent is counted in the step that completes the job: not twice, whoever dies when.
async fn send(cx: Context) -> Result<(), Failure> {
    let mail: Mail = cx.payload().parse()?;
    println!("attempt {} to send to {}", cx.attempt(), mail.to);
    if !mail.to.contains('@') {
        return Err(Failure::give_up("not an address"));
    }
    if mail.to.starts_with("busy") && cx.attempt() < 3 {
        return Err(Failure::new("the server is busy"));
    }
    let effects = vec![("sent".to_owned(), Effect::Add { by: 1 })];
    cx.commit(&Commit { effects, ..Commit::default() }).await?;
    Ok(())
}

/// Waits, for ten seconds at most, until nothing waits any more.
async fn until_settled(queue: &Queue) -> anyhow::Result<()> {
    for _ in 0..10_000 {
        let counts = queue.counts().await?;
        if counts.waiting + counts.delayed + counts.active == 0 {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}
