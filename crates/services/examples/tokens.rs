//! Tokens at work: a revoked JWT, a stolen refresh token, a magic link that works once.
//!
//!     cargo run -p redpoll-services --example tokens [redis://127.0.0.1:6379]

use anyhow::Result;
use redpoll_services::tokens::Rotation;
use redpoll_services::{Backend, Services, Settings, Tenant};
use serde_json::json;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    // A tenant of its own, so that the example can run again on the same store.
    let tokens = services.tokens(&Tenant::new(format!("example-{}", uuid::Uuid::new_v4()))?);

    let now = i64::try_from(services.backend().now_ms().await? / 1000)?;
    println!("before:        {:?}", tokens.check("jwt-1", "ann", now - 60).await?);
    println!("denied:        {:?}", tokens.deny("jwt-1", now + 3600).await?);
    println!("after:         {:?}", tokens.check("jwt-1", "ann", now - 60).await?);
    println!("all of ann's:  {:?}", tokens.revoke_user("ann").await?);
    println!("another of it: {:?}", tokens.check("jwt-2", "ann", now - 60).await?);

    let stolen = tokens.issue_refresh("bob", &json!({"device": "phone"})).await?.token;
    let mut current = stolen.clone();
    for _ in 0..2 {
        if let Rotation::Rotated(refresh) = tokens.rotate_refresh(&current).await? {
            println!("rotated:       generation {} of {}", refresh.issued.generation, refresh.user);
            current = refresh.issued.token;
        }
    }
    if let Rotation::Reused { user, .. } = tokens.rotate_refresh(&stolen).await? {
        println!("reused:        an old token of {user} came back, the family is revoked");
    }
    println!("the last one:  {:?}", tokens.rotate_refresh(&current).await?);

    let link = tokens.issue("login", None, &json!({"user": "carol"}), None).await?;
    let mut clicks = JoinSet::new();
    for _ in 0..100 {
        let (tokens, link) = (tokens.clone(), link.clone());
        clicks.spawn(async move { tokens.consume("login", None, &link).await });
    }
    let mut logins = 0;
    while let Some(click) = clicks.join_next().await {
        logins += usize::from(click??.now().is_some());
    }
    println!("magic link:    100 clicks at once, {logins} login");
    Ok(())
}
