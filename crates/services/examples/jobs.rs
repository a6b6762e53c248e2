//! Jobs: mails are enqueued, two workers send them, one of them dies, and one mail cannot be sent.
//!
//! `cargo run -p redpoll-services --example jobs` uses a store in this process, `… -- redis://127.0.0.1:6379` another.

use std::time::Duration;

use redpoll_services::jobs::{LeaseOptions, NewJob, Outcome, Payload, Queue, State, Which};
use redpoll_services::{Backend, Services, Settings, Tenant};
use serde_json::{Value as Json, json};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let queue = services.jobs(&Tenant::new("example")?).queue("mail")?;
    for state in [State::Waiting, State::Dead] {
        queue.clear(state, Which::All).await?;
    }

    let mail = |to: &str| Ok::<_, anyhow::Error>(NewJob::new("send_mail", Payload::json(&json!({"to": to}))?));
    let urgent = NewJob { priority: 10, ..mail("boss")? };
    let once = NewJob { id: Some("welcome:17".to_owned()), ..mail("anna")? };
    let broken = NewJob { attempts_max: Some(2), retry_base: Some(Duration::from_millis(20)), ..mail("nowhere")? };
    queue.enqueue_many(&[mail("bert")?, broken, once.clone(), urgent]).await?;
    println!("welcome:17 again: {:?}", queue.enqueue(&once).await?.existing);

    // A worker that takes a job and is never heard of again.
    let brief = LeaseOptions { lease: Some(Duration::from_millis(100)), ..LeaseOptions::default() };
    let lost = queue.lease(&brief).await?;
    println!("a worker dies with {:?}", lost[0].job.payload.as_ref().map(Payload::parse::<Json>));

    let workers = [1, 2].map(|number| tokio::spawn(work(queue.clone(), number)));
    for worker in workers {
        worker.await??;
    }
    println!("the dead worker's outcome: {}", queue.complete(&lost[0].ticket, None).await.expect_err("it is refused"));
    for found in queue.list(State::Dead, 0, 10).await? {
        println!("dead: {:?}", found.error);
    }
    println!("{:?}", queue.counts().await?);
    Ok(())
}

/// Sends mails until there have been none for a second: says what became of the last ones and takes the next in one step.
async fn work(queue: Queue, number: u32) -> anyhow::Result<()> {
    let options = LeaseOptions { count: 2, wait: Duration::from_secs(1), ..LeaseOptions::default() };
    let mut outcomes = Vec::new();
    loop {
        let jobs = queue.exchange(&outcomes, &options).await?.jobs;
        if jobs.is_empty() {
            return Ok(());
        }
        outcomes.clear();
        for leased in jobs {
            let mail: Json = leased.job.payload.as_ref().expect("a leased job has one").parse()?;
            println!("worker {number}: attempt {} to send {mail}", leased.job.attempt());
            let outcome = match mail["to"].as_str() {
                Some("nowhere") => Outcome::Failed { error: "no such address".to_owned(), retry_after: None },
                _ => Outcome::Completed { result: Some(Payload::json(&json!({"sent": true}))?), ttl: None },
            };
            outcomes.push((leased.ticket, outcome));
        }
    }
}
