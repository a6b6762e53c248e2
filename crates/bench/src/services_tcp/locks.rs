//! Mutexes: acquired when free, and released. rslock gives no fence and knows no queue.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redpoll_services::locks::LockOptions;
use rslock::LockManager;

use super::{Part, SUBJECTS};

const LEASE: Duration = Duration::from_secs(30);

pub(super) async fn run(part: &Part<'_>, url: &str) -> Result<()> {
    let locks = part.services.locks(&part.tenant);
    let mutexes = part.subjects.iter().map(|name| locks.mutex(name)).collect::<Result<Vec<_>, _>>()?;
    let options = LockOptions { lease: Some(LEASE), ..LockOptions::default() };
    let ours = async |call: usize| {
        let mutex = &mutexes[call % SUBJECTS];
        let claim = mutex.claim(&options).await?.context("somebody holds it")?;
        ensure!(mutex.release(&claim.token).await?, "it was lost");
        Ok(())
    };
    let manager = LockManager::new(vec![url]);
    let theirs = async |call: usize| {
        let lock = manager.lock(part.subject(call), LEASE).await?;
        manager.unlock(&lock).await;
        Ok(())
    };
    part.row("mutex, acquired and released; rslock", ours, theirs).await
}
