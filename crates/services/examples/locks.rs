//! Locks: four workers share an account, one of them pauses for too long, and candidates stand for election.
//!
//! `cargo run -p redpoll-services --example locks` uses a store in this process, `… -- redis://127.0.0.1:6379` another.

use std::time::Duration;

use redpoll_services::locks::{LockOptions, Renewal};
use redpoll_services::{Backend, Services, Settings, Tenant, Ttl};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let locks = services.locks(&Tenant::new("example")?);
    let account = locks.mutex("account")?;

    println!("Four workers add to one total, each reading it and writing it back:");
    let workers = (1..=4).map(|worker| {
        let account = account.clone();
        tokio::spawn(async move {
            let owner = Some(format!("worker {worker}"));
            let Some(guard) = account.acquire(&LockOptions { owner, ..LockOptions::default() }).await? else {
                anyhow::bail!("ten seconds are not enough");
            };
            let total = account
                .fenced_value("total")
                .await?
                .map_or(0, |stored| String::from_utf8_lossy(&stored.value).parse::<u64>().unwrap_or_default());
            guard.fenced_set("total", (total + 10).to_string().as_bytes(), Ttl::ms(60_000)?).await?;
            println!("  worker {worker}: {total} + 10, fence {}", guard.fence());
            guard.release().await?;
            Ok(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }

    println!("One pauses for longer than its lease of 100 ms, and another waits for the lock:");
    let brief =
        LockOptions { lease: Some(Duration::from_millis(100)), renewal: Renewal::Manual, ..LockOptions::default() };
    let paused = account.acquire(&brief).await?.expect("it is free");
    let next = account.acquire(&LockOptions::default()).await?.expect("the lease ends");
    println!("  the paused one: {:?}", paused.lost().await);
    let late = paused.fenced_set("total", b"0", Ttl::ms(60_000)?).await;
    println!("  its write: {}", late.expect_err("it is refused"));
    println!("  who holds the lock: {:?}", account.info().await?.holders);
    next.release().await?;

    println!("Two candidates:");
    let election = locks.election("scheduler")?;
    let first = election.campaign("anna", &LockOptions::default()).await?;
    let second = tokio::spawn({
        let election = election.clone();
        async move { election.campaign("bert", &LockOptions::default()).await }
    });
    println!("  {:?}", election.leader().await?.expect("anna leads"));
    first.release().await?;
    let second = second.await??;
    println!("  {:?}", election.leader().await?.expect("bert leads"));
    second.release().await?;
    Ok(())
}
