//! Schedules: a report by cron that is previewed, one that comes every quarter of a second, two tickers that fire it, and a worker.
//!
//! `cargo run -p redpoll-services --example schedules` uses a store in this process, `… -- redis://127.0.0.1:6379` another.

use std::time::Duration;

use redpoll_services::jobs::{LeaseOptions, NewJob, Payload};
use redpoll_services::schedules::{Misfire, Overlap, Schedule, Ticker, Timing};
use redpoll_services::{Backend, Services, Settings, Tenant};
use serde_json::{Value as Json, json};

/// Reports that are waited for.
const REPORTS: usize = 6;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let tenant = Tenant::new("example")?;
    let schedules = services.schedules(&tenant);
    let report = |of: &str| Ok::<_, anyhow::Error>(NewJob::new("report", Payload::json(&json!({"of": of}))?));

    // The night in which clocks are put forward in Berlin: 02:30 is not there.
    let timing = Timing::cron("30 2 * * *", "Europe/Berlin");
    for (_, text) in schedules.preview(&timing, Some(1_774_648_800_000), 3).await? {
        println!("nightly: {text}");
    }
    println!(
        "refused: {}",
        schedules.preview(&Timing::cron("0 0 30 2 *", "UTC"), None, 1).await.expect_err("no such day")
    );
    let nightly = Schedule { overlap: Overlap::Skip, ..Schedule::new(timing, "reports", report("sales")?) };
    println!("put: {:?}", schedules.put("nightly", &nightly).await?);
    println!("run by hand: {}", schedules.run_now("nightly").await?);

    let often = Schedule::new(Timing::every(Duration::from_millis(250)), "reports", report("visitors")?);
    schedules.put("often", &Schedule { misfire: Misfire::CatchUp(100), ..often }).await?;
    // As if they were in two processes: each tick comes once.
    let tickers = [1, 2].map(|_| tokio::spawn(Ticker::new(services.clone()).run(std::future::pending())));

    let queue = services.jobs(&tenant).queue("reports")?;
    for _ in 0..REPORTS {
        let options = LeaseOptions { wait: Duration::from_secs(5), ..LeaseOptions::default() };
        for leased in queue.lease(&options).await? {
            let about: Json = leased.job.payload.as_ref().expect("a leased job has one").parse()?;
            println!("{}: report of {}", leased.job.id, about["of"]);
            queue.complete(&leased.ticket, None).await?;
        }
    }
    tickers.iter().for_each(tokio::task::JoinHandle::abort);
    for entry in schedules.history("often", 0, 3).await? {
        println!("{entry:?}");
    }
    for id in ["nightly", "often"] {
        schedules.delete(id).await?;
    }
    Ok(())
}
