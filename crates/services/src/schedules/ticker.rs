//! The task that fires what is due, of all tenants.
//!
//! Any number of processes may run one; [claims](super) keep them apart, and none of them is the leader. It sleeps until the next tick, until something is put in
//! this process, or for [`ScheduleSettings::poll`](super::ScheduleSettings), whichever comes first. On shutdown it finishes the pass it is at.

use std::time::Duration;

use super::agenda::Agenda;
use crate::Services;
use crate::error::Result;

/// Pause after the store could not be asked, or something could not be fired.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

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
        let mut has_failed = false;
        for (tenant, version) in &agenda.tenants {
            let schedules = self.services.schedules(tenant);
            match schedules.fire_due().await {
                // Nothing left: it need not be looked at until the next is due.
                Ok(passed) if passed.due == 0 => schedules.settle(version, passed.next_ms).await?,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(tenant = tenant.name(), %error, "a schedule could not be fired");
                    has_failed = true;
                }
            }
        }
        let poll = self.services.settings().schedules.poll.max(Duration::from_millis(1));
        Ok(match agenda.next_ms {
            _ if has_failed => ERROR_PAUSE,
            _ if !agenda.tenants.is_empty() => Duration::ZERO,
            Some(next_ms) => Duration::from_millis(next_ms.saturating_sub(agenda.now_ms).max(1)).min(poll),
            None => poll,
        })
    }
}
