//! Streams: orders are paid and sent, a consumer bills them, one event cannot be billed until it is mended, and all is replayed into a report.
//!
//! `cargo run -p redpoll-services --example streams` uses a store in this process, `… -- redis://127.0.0.1:6379` another.

use std::time::Duration;

use redpoll_services::streams::{
    Consumer, Delivery, Effect, EntryId, Event, Failure, Force, GroupOptions, Start, Stream,
};
use redpoll_services::{Backend, Error, Services, Settings, Tenant};
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let stream = services.streams(&Tenant::new("example")?).stream("orders")?;
    let billing = stream.group("billing")?;
    match billing.delete(Force::Yes).await {
        Ok(_) | Err(Error::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let two_attempts =
        GroupOptions { attempts_max: Some(2), retry_base: Some(Duration::from_millis(20)), ..GroupOptions::default() };
    billing.create(&two_attempts).await?;

    let first = publish(&stream).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let consumer = Consumer::new(billing.clone()).named("billing-1").concurrency(4);
    let working = tokio::spawn(consumer.run(bill, async { drop(stopped.await) }));
    let status =
        async || Ok::<_, Error>(billing.status().await.map(|status| (status.lag, status.pending, status.dead))?);

    // Its letter is mended and published again, for this group only.
    wait_for(&status, (Some(0), 0, 1)).await?;
    for letter in billing.dead(EntryId::ZERO, 10).await? {
        println!("dead: {} after {} failures: {}", letter.origin, letter.failures, letter.cause);
        billing.redrive_edited(letter.id, br#"{"total": 7}"#).await?;
    }
    wait_for(&status, (Some(0), 0, 0)).await?;
    drop(stop);
    println!("{:?}", working.await??);

    // All payments again, for a report; billing is not disturbed.
    let report = stream.group("report")?;
    if let Err(error) = report.delete(Force::Yes).await
        && !matches!(error, Error::NotFound(_))
    {
        return Err(error.into());
    }
    let payments =
        GroupOptions { start: Start::At(first), types: vec!["order.paid".to_owned()], ..GroupOptions::default() };
    report.replay(&payments).await?;
    let mut total = 0;
    while !report.status().await?.is_complete {
        for delivery in report.take(&redpoll_services::streams::TakeOptions::new("report-1")).await?.deliveries {
            let data: Json = delivery.event.parse()?;
            total += data["total"].as_u64().unwrap_or(0);
            report.ack(&delivery.ticket).await?;
        }
    }
    println!("the report: {total} were paid");
    Ok(())
}

/// Publishes what happened to two orders, and counts what was sent in the same step; returns the first entry.
async fn publish(stream: &Stream) -> anyhow::Result<EntryId> {
    let happened = |order: &str, kind: &str, data: Json| {
        Ok::<_, Error>(Event { key: Some(order.to_owned()), ..Event::json("/shop", kind, &data)? })
    };
    let events = [
        happened("order:17", "order.paid", json!({"total": 5}))?,
        happened("order:18", "order.paid", json!({"total": "seven"}))?,
    ];
    let published = stream.publish_many(&events).await?;
    let run = uuid::Uuid::new_v4();
    let sent = Event { id: Some(format!("sent:17:{run}")), ..happened("order:17", "order.sent", json!({}))? };
    let count = [("sent".to_owned(), Effect::Add { by: 1 })];
    stream.publish_with(std::slice::from_ref(&sent), &count).await?;
    println!("sent again: duplicate {}", stream.publish_with(&[sent], &count).await?[0].duplicate);
    Ok(published[0].entry)
}

/// Bills an order, if it can be understood.
async fn bill(delivery: Delivery) -> Result<(), Failure> {
    let data: Json = delivery.event.parse()?;
    let order = delivery.event.key.as_deref().unwrap_or("?");
    match (delivery.event.kind.as_str(), data["total"].as_u64()) {
        ("order.paid", Some(total)) => println!("{order}: billed {total}, run {}", delivery.attempt()),
        ("order.paid", None) => return Err(Failure::retry(format!("{} is no total", data["total"]))),
        (kind, _) => println!("{order}: {kind}"),
    }
    Ok(())
}

type Counts = (Option<u64>, u64, u64);

/// Waits until a group has so much lag, so many entries pending and so many dead letters.
async fn wait_for(status: &impl AsyncFn() -> Result<Counts, Error>, expected: Counts) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while status().await? != expected {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "the group does not come to {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
