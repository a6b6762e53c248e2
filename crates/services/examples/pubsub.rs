//! Pub/sub: a dashboard that falls behind and is told, and one that goes away and comes back to where it was.
//!
//! `cargo run -p redpoll-services --example pubsub`, or with the URL of a store behind `--`.

use anyhow::{Context, Result};
use redpoll_services::pubsub::{Gap, Heard, Message, Overflow, Since, Subscription, SubscriptionOptions};
use redpoll_services::streams::Event;
use redpoll_services::{Backend, Services, Settings, Tenant};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let tenant = Tenant::new(format!("example-{}", std::process::id()))?;
    let pubsub = services.pubsub(&tenant);

    // A dashboard that wants the latest ten and reads too late.
    let options = SubscriptionOptions { buffer: 10, overflow: Overflow::DropOldest, ..SubscriptionOptions::default() };
    let dashboard = pubsub.subscription_with(&options);
    dashboard.subscribe_pattern("prices.*").await?;
    for price in 0..100 {
        pubsub.publish("prices.tea", &Event::json("/desk", "price", &price)?).await?;
    }
    match dashboard.next().await.context("it goes on")? {
        Heard::Gap(Gap::Dropped { count }) => println!("the dashboard missed {count} prices"),
        other => println!("{other:?}"),
    }
    println!("the next it sees is {}", number(&message(&dashboard).await?)?);

    // A topic keeps what is published, so whoever comes back goes on where they were.
    let orders = services.streams(&tenant).stream("orders")?;
    let screen = pubsub.subscription();
    screen.follow("orders", Since::Now).await?;
    for order in 0..3 {
        orders.publish(&Event::json("/shop", "order.paid", &order)?).await?;
    }
    let seen = message(&screen).await?;
    let token = seen.token.context("a topic's messages have tokens")?;
    println!("the screen saw order {} and went away", number(&seen)?);
    drop(screen);
    orders.publish(&Event::json("/shop", "order.paid", &3)?).await?;
    let screen = pubsub.subscription();
    screen.follow("orders", Since::After(token)).await?;
    for _ in 0..3 {
        println!("back again it sees order {}", number(&message(&screen).await?)?);
    }
    Ok(())
}

async fn message(subscription: &Subscription) -> Result<Message> {
    loop {
        if let Heard::Message(message) = subscription.next().await.context("it goes on")? {
            return Ok(message);
        }
    }
}

fn number(message: &Message) -> Result<u64> {
    Ok(message.event().context("an event")?.parse()?)
}
