//! Caches: what is there, and what has to be loaded. The few lines beside them have two callers load the same, and nothing is invalidated.

use std::convert::Infallible;

use anyhow::{Result, ensure};
use redpoll_services::cache::{Body, LoadOptions, Source};

use super::Part;

/// A value of 64 bytes.
const VALUE: &[u8] = crate::pair::VALUE.as_bytes();

const LIFETIME_SECONDS: u64 = 3_600;

pub(super) async fn run(part: &Part<'_>) -> Result<()> {
    let namespace = part.services.cache(&part.tenant).namespace("bench")?;
    let (value, options) = (Body::from(VALUE), LoadOptions::default());
    let ours = async |key: &str| {
        let body = value.clone();
        let load = || async move { Ok::<_, Infallible>(Some(body)) };
        let loaded = namespace.get_or_set(key, &options, load).await?;
        ensure!(loaded.body.as_ref() == Some(&value), "another value was found");
        anyhow::Ok(loaded.source)
    };
    let theirs = async |key: &str| {
        let (mut connection, key) = (part.connection.clone(), format!("cache:bench:{key}"));
        let found: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query_async(&mut connection).await?;
        let source = match found {
            Some(found) => {
                ensure!(found == VALUE, "another value was found");
                Source::Cache
            }
            None => {
                let mut store = redis::cmd("SETEX");
                store.arg(&key).arg(LIFETIME_SECONDS).arg(VALUE);
                store.query_async::<()>(&mut connection).await?;
                Source::Loader
            }
        };
        anyhow::Ok(source)
    };
    let our_hit = async |call: usize| ours(part.subject(call)).await.map(drop);
    let their_hit = async |call: usize| theirs(part.subject(call)).await.map(drop);
    part.row("cache, found; GET", our_hit, their_hit).await?;
    let our_fill = async |call: usize| {
        ensure!(ours(&format!("subject:{call}")).await? == Source::Loader, "it was there");
        Ok(())
    };
    let their_fill = async |call: usize| {
        ensure!(theirs(&format!("subject:{call}")).await? == Source::Loader, "it was there");
        Ok(())
    };
    part.row("cache, loaded and stored; GET, SETEX", our_fill, their_fill).await
}
