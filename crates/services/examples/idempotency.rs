//! Idempotency keys at work: twenty clients send the same payment at once, and it is made once.
//!
//!     cargo run -p redpoll-services --example idempotency [redis://127.0.0.1:6379]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use redpoll_services::idempotency::{Answer, BeginOptions, Begun, Fingerprint};
use redpoll_services::{Backend, Services, Settings, Tenant};
use serde_json::json;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    // A scope of its own, so that the example can run again on the same store.
    let keys = services.idempotency(&Tenant::default(), &format!("example-{}", uuid::Uuid::new_v4()))?;
    let payment = Fingerprint::of(&[b"POST", b"/payments", b"10 EUR to bob"]);
    let waiting = BeginOptions { wait: Some(Duration::from_secs(10)), ..BeginOptions::default() };

    let payments = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..20 {
        let (keys, payment, payments) = (keys.clone(), payment.clone(), payments.clone());
        clients.spawn(async move {
            Ok::<_, redpoll_services::Error>(match keys.begin_with("key-1", &payment, &waiting).await? {
                Begun::Started(claim) => {
                    let receipt = format!("receipt {}", payments.fetch_add(1, Ordering::SeqCst) + 1);
                    claim.complete(&Answer::new(json!({"status": 201}), receipt.as_str())).await?;
                    format!("client {client} has paid: {receipt}")
                }
                Begun::Replay(answer) => {
                    format!("client {client} is told {}", String::from_utf8_lossy(&answer.body))
                }
                other => format!("client {client}: {other:?}"),
            })
        });
    }
    while let Some(line) = clients.join_next().await {
        println!("{}", line??);
    }
    println!("payments made: {}", payments.load(Ordering::SeqCst));
    let other = Fingerprint::of(&[b"POST", b"/payments", b"99 EUR to bob"]);
    println!("the same key for another payment: {:?}", keys.begin("key-1", &other).await?);
    Ok(())
}
