//! Groups: how many jobs of each there are, how many of one may be active, and how fast they are leased.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::Serialize;

use super::job::check_group;
use super::queue::{Queue, Rate, spelled};
use super::steps::{LIMIT_GROUP, LIST_GROUPS};
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::keys::Key;

/// How many jobs of a group may be worked on, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupBounds {
    /// Most jobs that are active at once.
    pub active_max: Option<u32>,
    /// How fast jobs are leased.
    pub rate: Option<Rate>,
}

impl GroupBounds {
    /// Returns the most active jobs, µs between two leases, and how many may be leased at once.
    pub(super) fn checked(&self, field: &'static str) -> Result<[Option<u64>; 3]> {
        if self.active_max == Some(0) {
            return Err(Error::invalid(field, "must be at least 1"));
        }
        let [interval_us, burst] = Rate::checked(self.rate)?;
        Ok([self.active_max.map(u64::from), interval_us, burst])
    }
}

/// How many jobs of a group there are, all of one moment. Those that are delayed or blocked are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GroupCounts {
    /// Its name.
    pub group: String,
    /// Waiting.
    pub waiting: u64,
    /// Leased, those included that are to be cancelled and those whose lease has ended and will be taken back.
    pub active: u64,
    /// How many may be active; none if that is not bounded.
    pub active_max: Option<u64>,
    /// After how many milliseconds the next may be leased; 0 unless its rate holds it up.
    pub rest_ms: u64,
}

impl Queue {
    /// Lists groups that have jobs waiting or active, at most [`MAX_BATCH`](super::MAX_BATCH) in the order of their names; those behind the
    /// name `after`, which is empty for all.
    pub async fn groups(&self, after: &str, count: usize) -> Result<Vec<GroupCounts>> {
        check_batch("count", count)?;
        self.groups_step(after, &count.to_string()).await
    }

    /// Counts the jobs of one group, of which there need not be any.
    pub async fn group_counts(&self, group: &str) -> Result<GroupCounts> {
        check_group(group)?;
        Ok(self.groups_step(group, "").await?.remove(0))
    }

    /// Bounds how many jobs of one group are active at once and how fast they are leased, whatever holds for the others; for what is absent,
    /// what holds for the others ([`Bounds::group`](super::Bounds)) holds for it too. Kept until it is changed, whether the group has jobs or not.
    pub async fn limit_group(&self, group: &str, bounds: &GroupBounds) -> Result<()> {
        check_group(group)?;
        let numbers = spelled(&bounds.checked("active_max")?);
        self.run(self.command(&LIMIT_GROUP, &[]).arg(group).args_of(&numbers)).await.map(drop)
    }

    async fn groups_step(&self, name: &str, count: &str) -> Result<Vec<GroupCounts>> {
        let command = Command::script::<Key, &str>(&LIST_GROUPS, self.keys(), &[]);
        let reply = self.run(command.arg(name).arg(count)).await?;
        let groups = reply.as_array().and_then(|parts| parts.chunks(5).map(GroupCounts::read).collect());
        groups.ok_or_else(|| Error::unexpected(LIST_GROUPS.name(), &reply))
    }
}

impl GroupCounts {
    fn read(parts: &[Value]) -> Option<Self> {
        let [group, waiting, active, max, rest_ms] = parts else { return None };
        Some(Self {
            group: group.as_str()?.to_owned(),
            waiting: waiting.as_u64()?,
            active: active.as_u64()?,
            active_max: max.as_u64(),
            rest_ms: rest_ms.as_u64()?,
        })
    }
}
