//! The cache at work: a stampede, a tag, a loader that fails, a value that is near.
//!
//! `cargo run --example cache [URL]`; without a URL, on a store in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redpoll_services::cache::{Body, LoadOptions, NearSettings, SetOptions};
use redpoll_services::metrics::Counter;
use redpoll_services::{Backend, Services, Settings, Tenant, Ttl};
use serde_json::json;
use tokio::task::JoinSet;

/// How many lookups are timed.
const LOOKUPS: u32 = 200_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let mut settings = Settings::default();
    settings.cache.near = Some(NearSettings::default());
    let services = Services::new(Backend::connect(&url).await?, settings);
    let users = services.cache(&Tenant::new("example")?).namespace("users")?;
    users.clear().await?;

    // A thousand callers want what nobody has: one of them loads it.
    let loads = Arc::new(AtomicUsize::new(0));
    let set = SetOptions {
        ttl: Some(Ttl::ms(300)?),
        fail_safe: Some(Duration::from_secs(60)),
        tags: vec!["team:7".to_owned()],
        ..SetOptions::default()
    };
    let options = LoadOptions { set, ..LoadOptions::default() };
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let (users, loads, options) = (users.clone(), loads.clone(), options.clone());
        callers.spawn(async move {
            let loader = move || async move {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok::<_, String>(Some(Body::from(json!({"name": "Ada"}))))
            };
            users.get_or_set("42", &options, loader).await
        });
    }
    let answers = callers.join_all().await.into_iter().filter(Result::is_ok).count();
    println!("{answers} callers were answered by {} loader", loads.load(Ordering::Relaxed));

    // Read until the value is near; from then on a lookup does not ask the store.
    users.set("7", &json!({"name": "Grace"})).await?;
    while services.metrics().value(Counter::CacheNearHits) == 0 {
        users.lookup("7").await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    for _ in 0..LOOKUPS {
        std::hint::black_box(users.lookup("7").await?);
    }
    println!("{:?}, found in {:?}", users.lookup("7").await?, begun.elapsed() / LOOKUPS);

    // Its lifetime ends and the database is down: the last value is better than none, and says what it is.
    tokio::time::sleep(Duration::from_millis(310)).await;
    let down = || async { Err::<Option<Body>, _>("the database is down") };
    println!("{:?}", users.get_or_set("42", &options, down).await?);

    // A tag takes everything with it.
    println!("{} removed by tag", users.invalidate_tag("team:7").await?);
    println!("{:?}", users.get_or_set("42", &options, down).await.map_err(|error| error.to_string()));
    Ok(())
}
