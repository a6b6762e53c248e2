//! Atomic operations: a shop that never sells a seat twice and numbers its invoices without gaps.
//!
//! `cargo run -p redpoll-services --example atomic [URL]`, on a store in this process unless a URL is given.

use std::time::Duration;

use redpoll_services::atomic::{Addition, Compared, Expected, Lifetime, Reserved};
use redpoll_services::{Backend, Services, Settings, Tenant, Ttl};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let atomic = services.atomic(&Tenant::new("example")?);
    let group = atomic.group(&format!("concert {}", services.backend().now_ms().await?))?;

    // Twenty customers, ten seats.
    let seats = group.inventory("seats")?;
    seats.set_total(10).await?;
    let invoices = group.gapless("invoices")?;
    let mut customers = JoinSet::new();
    for customer in 0..20 {
        let (seats, invoices) = (seats.clone(), invoices.clone());
        customers.spawn(async move {
            let cart = format!("cart {customer}");
            let Reserved::Granted(_) = seats.reserve(&cart, 1, Ttl::seconds(600)?).await? else {
                return anyhow::Ok(None);
            };
            if customer % 5 == 0 {
                seats.release(&cart).await?;
                return Ok(None);
            }
            seats.commit(&cart, None).await?;
            invoices.draw(&cart, Duration::from_secs(60)).await?;
            Ok(Some(invoices.confirm(&cart).await?))
        });
    }
    let mut numbers = Vec::new();
    while let Some(done) = customers.join_next().await {
        numbers.extend(done??);
    }
    numbers.sort_unstable();
    println!("seats: {:?}", seats.stock().await?);
    println!("invoices: {numbers:?}");

    // Only who saw the last version may write.
    let state = group.register("state")?;
    state.swap(Some(b"open"), Lifetime::Keep).await?;
    let seen = state.read().await?.expect("just set");
    let first = state.compare_and_set(&Expected::Version(seen.version), b"sold out", Lifetime::Keep).await?;
    let second = state.compare_and_set(&Expected::Version(seen.version), b"cancelled", Lifetime::Keep).await?;
    println!("the first writer: {}", if matches!(first, Compared::Done(_)) { "done" } else { "refused" });
    println!("the second writer: {}", if matches!(second, Compared::Done(_)) { "done" } else { "refused" });

    // Sent twice, added once; and several answers in one exchange.
    let sold = group.counter("sold")?;
    let once = Addition { request: Some("r-1".to_owned()), ..Addition::of(10) };
    let mut pipeline = atomic.pipeline();
    let (one, again, income) = (
        pipeline.add(sold.add(&once)),
        pipeline.add(sold.add(&once)),
        pipeline.add(group.money("income")?.add("399.90".parse()?)),
    );
    let mut results = pipeline.send().await?;
    println!("{:?}, then {:?}; income {}", results.take(one)?, results.take(again)?, results.take(income)?);
    Ok(())
}
