//! Rate limit policies: a table, requests under it, a reservation, a block.
//!
//! `cargo run -p redpoll-services --example limits [redis://…]`; without an address on a store of its own in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use redpoll_services::limits::{HeaderSet, Policy, Request, Scope, headers};
use redpoll_services::{Backend, Services, Settings, Tenant, Ttl};

const POLICY: &str = r#"
tiers = ["free", "pro"]
default_tier = "free"

[limits.minute]
per = ["user"]
limit = { free = 3, pro = 60 }
window_ms = 60_000

[limits.tokens]
per = ["user"]
unit = "tokens"
algorithm = "token_bucket"
limit = { free = 1000, pro = 100_000 }
window_ms = 60_000
debt = 500

[[endpoints]]
pattern = "POST /agents/**"
limits = ["minute", "tokens"]
outage = "closed"

[[endpoints]]
pattern = "**"
limits = []
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let limits = services.limits(&Tenant::new(format!("example-{}", std::process::id()))?);
    let policy = Policy::from_toml(POLICY)?;
    let request = Request::new("POST /agents/run").about("user", "ann");

    println!("A request takes from all of its limits or from none:");
    for _ in 0..4 {
        let verdict = limits.check(&policy.plan(&request.clone().costing("tokens", 100))?).await?;
        println!("  allowed {} by {:?}", verdict.allowed, verdict.binding.as_deref().unwrap_or("nobody"));
        headers(&verdict, HeaderSet::All).iter().for_each(|(name, value)| println!("    {name}: {value}"));
    }

    println!("A cost that is known later is reserved, then settled once:");
    let bob = Request::new("POST /agents/run").about("user", "bob").costing("tokens", 800);
    let reserved = limits.reserve(&policy.plan(&bob)?, Duration::from_secs(60)).await?;
    let reservation = reserved.reservation.expect("bob has room");
    println!("  reserved, {} tokens left", reserved.verdict.limits[1].remaining);
    let settled = reservation.commit(&BTreeMap::from([("tokens".to_owned(), 1200)])).await?;
    println!("  used {}, charged {}", settled.limits[1].used, settled.limits[1].charged);
    println!("  again: {:?}", reservation.refund().await.map(drop));

    println!("A block holds for its own time:");
    let carl = Scope::new("user", "carl")?;
    limits.block(&carl, Ttl::seconds(3600)?, "abuse", "the example").await?;
    let verdict = limits.check(&policy.plan(&Request::new("POST /agents/run").about("user", "carl"))?).await?;
    println!("  allowed {}, again in {:?} ms", verdict.allowed, verdict.retry_after_ms);
    Ok(())
}
