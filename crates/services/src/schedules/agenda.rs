//! Which tenants have something due.
//!
//! A sorted set over all tenants, by when the first schedule of each is due. Schedules are in other groups, so it is a hint: nothing depends on it but
//! how soon somebody looks.

use std::time::Duration;

use super::fire::Due;
use super::steps::{DUE, HINT, SETTLE};
use super::{NAME, Schedules, run};
use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Key, Tenant};

/// How often each tenant is looked at whatever the hints say.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Most tenants of one look.
const MAX_TENANTS: usize = 256;

/// Tenants that have something due.
pub(super) struct Agenda {
    pub(super) now_ms: u64,
    pub(super) next_ms: Option<u64>,
    /// Each with its version.
    pub(super) tenants: Vec<(Tenant, String)>,
}

impl Agenda {
    pub(super) async fn look(services: &Services) -> Result<Self> {
        let due = Due::read(&run(services, Command::script(&DUE, &keys(services), &[MAX_TENANTS])).await?)?;
        let tenants = due.names.into_iter().map(|(name, version)| Ok((Tenant::new(name)?, version)));
        Ok(Self { now_ms: due.now_ms, next_ms: due.next_ms, tenants: tenants.collect::<Result<_>>()? })
    }
}

impl Schedules {
    /// Has tickers look at this tenant no later than at a moment, if there is one.
    pub(super) async fn hint(&self, look_ms: Option<u64>) -> Result<()> {
        let Some(look_ms) = look_ms else { return Ok(()) };
        let hint = Command::script(&HINT, &keys(&self.services), &[self.tenant.name()]).arg(look_ms);
        self.run(hint).await?;
        self.services.scheduled().notify_one();
        Ok(())
    }

    /// Has tickers look at this tenant when its next schedule is due, unless something was put since it was of this version.
    pub(super) async fn settle(&self, version: &str, next_ms: Option<u64>) -> Result<()> {
        let next = next_ms.map(|next| next.to_string()).unwrap_or_default();
        let every = u64::try_from(LOOK_EVERY.as_millis()).expect("it is short");
        let settle = Command::script(&SETTLE, &keys(&self.services), &[self.tenant.name(), version, &next]).arg(every);
        match self.run(settle).await?.as_i64() {
            Some(_) => Ok(()),
            None => Err(Error::Backend("settling gave no number".to_owned())),
        }
    }
}

fn keys(services: &Services) -> [Key; 2] {
    let group = services.settings().keyring.kept_group_of_all(NAME);
    [group.key("t"), group.key("v")]
}
