//! The task that fires what is due, of all tenants.
//!
//! Any number of processes may run one; [claims](super) keep them apart, and none of them is the leader. It sleeps until the next tick, until something is put in
//! this process, or for [`ScheduleSettings::poll`](super::ScheduleSettings), whichever comes first. On shutdown it finishes the pass it is at.
//!
//! Tenants lie on different nodes, so several are looked after at once, and one that cannot be reached comes again a second later, behind those that were due
//! meanwhile.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Schedules;
use super::agenda::Agenda;
use crate::Services;
use crate::error::Result;
use crate::ttl::ms;

/// Pause after the store could not be asked, or something of a tenant could not be fired.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Tenants that are looked after at once.
const AT_ONCE: usize = 16;

/// Fires what is due, of all tenants.
#[derive(Debug)]
pub struct Ticker {
    services: Services,
}

impl Ticker {
    /// Makes a ticker upon services, with their settings.
    pub fn new(services: Services) -> Self {
        Self { services }
    }

    /// Fires until `shutdown` is ready.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut has_failed = false;
        loop {
            // A pass is not cut short: what it has claimed, it enqueues.
            let passed = self.pass().await;
            // Once for each outage, which may last.
            match &passed {
                Err(error) if !has_failed => tracing::warn!(%error, "schedules cannot be looked for"),
                Ok(_) if has_failed => tracing::info!("schedules are looked for again"),
                _ => {}
            }
            has_failed = passed.is_err();
            let pause = passed.unwrap_or(ERROR_PAUSE);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = self.services.scheduled().notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at each tenant that has something due, and returns how long there is nothing to do.
    async fn pass(&self) -> Result<Duration> {
        let agenda = Agenda::look(&self.services).await?;
        let looked = Instant::now();
        let mut tenants = agenda.tenants.iter().cloned();
        let (mut tasks, mut failed) = (JoinSet::new(), None);
        loop {
            while tasks.len() < AT_ONCE
                && let Some((tenant, version)) = tenants.next()
            {
                tasks.spawn(look_after(self.services.schedules(&tenant), version, (agenda.now_ms, looked)));
            }
            match tasks.join_next().await {
                None => break,
                Some(done) => failed = done.expect("it neither panics nor is aborted").err().or(failed),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let poll = self.services.settings().schedules.poll.max(Duration::from_millis(1));
        Ok(match agenda.next_ms {
            _ if !agenda.tenants.is_empty() => Duration::ZERO,
            Some(next_ms) => Duration::from_millis(next_ms.saturating_sub(agenda.now_ms).max(1)).min(poll),
            None => poll,
        })
    }
}

/// Fires what is due of a tenant; the pair is one moment by the store's clock and by ours. One whose schedules cannot be reached leaves its place among those that are due; an error
/// is that it could not.
async fn look_after(schedules: Schedules, version: String, (now_ms, looked): (u64, Instant)) -> Result<()> {
    let next_ms = match schedules.fire_due().await {
        // Nothing left: it need not be looked at until the next is due.
        Ok(passed) if passed.due == 0 => passed.next_ms,
        Ok(_) => return Ok(()),
        Err(error) => {
            tracing::warn!(tenant = schedules.tenant.name(), %error, "a schedule could not be fired");
            // From now, as it may have taken long to fail.
            Some(now_ms.saturating_add(ms(looked.elapsed() + ERROR_PAUSE)))
        }
    };
    schedules.settle(&version, next_ms).await
}
