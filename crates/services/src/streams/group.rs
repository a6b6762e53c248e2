//! A group of consumers: making, looking at and deleting it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::EntryId;
use super::settings::{MAX_ATTEMPTS, MAX_PAUSE, MAX_PENDING};
use super::steps::{COUNT, CREATE, DELETE, STATUS};
use super::stream::{Stream, item};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::script::Script;
use crate::ttl::bounded_ms;

/// Most groups of a stream.
pub const MAX_GROUPS: usize = 256;

/// Most types and most keys that a group may be restricted to.
pub const MAX_FILTERS: usize = 100;

/// Entries that one step counts, and most steps of a count.
const COUNT_PAGE: usize = 1_000;
const COUNT_STEPS_MAX: usize = 10_000;

/// How long it is remembered that a group was deleted.
const DELETED_MS: u64 = 86_400_000;

/// Kinds of a group's keys, in the order in which the steps take them.
const KINDS: [&str; 5] = ["h", "e", "l", "k", "d"];

/// A group of consumers of a stream. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stream: Stream,
    name: String,
    keys: Vec<Key>,
}

/// Where a group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the oldest entry.
    Beginning,
    /// With what is published from now on.
    #[default]
    End,
    /// With this entry, or the next if it is not there.
    At(EntryId),
    /// With what was published at this time or later, milliseconds since 1970.
    Time(u64),
}

/// Whether entries of one key wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// They are handled one after the other, whoever handles them; one that failed holds up those behind it until it is done or dead.
    #[default]
    PerKey,
    /// They are handled whenever somebody is free.
    None,
}

/// How a group works; what is absent is as the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupOptions {
    /// Where it begins.
    pub start: Start,
    /// The last entry it handles; for ever if absent.
    pub until: Option<EntryId>,
    /// Only events of these types; all if empty.
    pub types: Vec<String>,
    /// Only events of these keys; all if empty.
    pub keys: Vec<String>,
    /// Whether entries of one key wait for each other.
    pub order: Order,
    /// Failures after which an entry is dead.
    pub attempts_max: Option<u32>,
    /// Lost leases after which an entry is dead.
    pub lost_max: Option<u32>,
    /// Pause after the first failure, which doubles with each.
    pub retry_base: Option<Duration>,
    /// Longest pause.
    pub retry_cap: Option<Duration>,
    /// Most entries pending; it reads no new ones then.
    pub pending_max: Option<u64>,
}

/// What came of making a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Created {
    /// It was made.
    New,
    /// It was there, and stays as it was.
    Existing,
    /// Others had made it with XGROUP; from now on it is looked after here, from where it was.
    Adopted,
}

/// What a group was when it was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Deleted {
    /// Entries it had pending.
    pub pending: u64,
    /// Its dead letters.
    pub dead: u64,
}

/// A group as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// The entry it has read last.
    pub last: Option<EntryId>,
    /// The last entry that it handles, if it ends.
    pub until: Option<EntryId>,
    /// Entries that it has not read, exactly; those that its types and keys leave out are among them until it passes over them. Null if there are
    /// more than can be counted.
    pub lag: Option<u64>,
    /// Entries that it has read and that are neither done nor dead.
    pub pending: u64,
    /// Of these, those that wait for another of their key.
    pub parked: u64,
    /// Of these, those that can be taken now.
    pub overdue: u64,
    /// Dead letters.
    pub dead: u64,
    /// Whether it ends, has read all of its entries, no more can come, and none is pending.
    pub is_complete: bool,
    /// Deliveries, ever.
    pub delivered_total: u64,
    /// Entries acknowledged, ever.
    pub acknowledged_total: u64,
    /// Failures, ever.
    pub failed_total: u64,
    /// Leases that ended without an outcome, ever.
    pub lost_total: u64,
    /// Entries that became dead letters, ever.
    pub dead_total: u64,
    /// Dead letters dropped because there were too many, ever.
    pub dropped_total: u64,
    /// Entries passed over because they were not for this group, ever.
    pub skipped_total: u64,
    /// Entries that were dropped from the stream before it read them, because it had been silent for too long, ever.
    pub missed_total: u64,
    /// The consumers of the last hour.
    pub consumers: Vec<ConsumerStatus>,
}

/// A consumer as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConsumerStatus {
    /// Its name.
    pub consumer: String,
    /// Entries that it read and that are neither done nor dead.
    pub pending: u64,
    /// How long it has given no sign of life, in milliseconds.
    pub idle_ms: u64,
}

impl Start {
    /// Returns the id behind which a group begins.
    fn spelled(self) -> String {
        match self {
            Self::Beginning => EntryId::ZERO.to_string(),
            Self::End => "$".to_owned(),
            Self::At(id) => id.before().to_string(),
            Self::Time(ms) => EntryId::first_of(ms).before().to_string(),
        }
    }
}

impl Group {
    pub(super) fn open(stream: Stream, name: &str) -> Result<Self> {
        check_name("group", name)?;
        let group = stream.key_group();
        let own = KINDS.iter().map(|kind| group.named(kind, name));
        let keys = stream.keys().iter().cloned().chain(own).collect();
        Ok(Self { inner: Arc::new(Inner { stream, name: name.to_owned(), keys }) })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the stream.
    pub fn stream(&self) -> &Stream {
        &self.inner.stream
    }

    /// Makes the group. One that is there stays as it is, and that is told.
    pub async fn create(&self, options: &GroupOptions) -> Result<Created> {
        let settings = self.options(options)?;
        let filter = |field, names: &[String]| {
            if names.len() > MAX_FILTERS {
                return Err(Error::invalid(field, format_args!("more than {MAX_FILTERS}")));
            }
            names.iter().try_for_each(|name| match name.chars().any(char::is_control) {
                true => Err(Error::invalid(field, "must not contain control characters")),
                false => check_name(field, name),
            })?;
            Ok(names.join("\n"))
        };
        let command = self.command(&CREATE).arg(MAX_GROUPS).arg(settings).arg(options.start.spelled());
        let command = command.arg(options.until.map(|id| id.to_string()).unwrap_or_default());
        let command = command.arg(filter("types", &options.types)?).arg(filter("keys", &options.keys)?);
        match self.stream().run(command).await?.as_i64() {
            Some(0) => Ok(Created::Existing),
            Some(1) => Ok(Created::New),
            Some(2) => Ok(Created::Adopted),
            _ => Err(Error::Conflict(format!("stream {:?} has {MAX_GROUPS} groups", self.stream().name()))),
        }
    }

    fn options(&self, options: &GroupOptions) -> Result<String> {
        let settings = self.stream().settings();
        let within = |field, value: u64, max: u64| match (1..=max).contains(&value) {
            true => Ok(value),
            false => Err(Error::invalid(field, format_args!("must be 1 to {max}"))),
        };
        let attempts = options.attempts_max.unwrap_or(settings.attempts_max);
        let attempts = within("attempts_max", u64::from(attempts), u64::from(MAX_ATTEMPTS))?;
        let lost = u64::from(options.lost_max.unwrap_or(settings.lost_max));
        let lost = within("lost_max", lost, u64::from(MAX_ATTEMPTS))?;
        let base = bounded_ms("retry_base_ms", options.retry_base.unwrap_or(settings.retry_base), MAX_PAUSE)?;
        let cap = bounded_ms("retry_cap_ms", options.retry_cap.unwrap_or(settings.retry_cap), MAX_PAUSE)?;
        let pending = within("pending_max", options.pending_max.unwrap_or(settings.pending_max), MAX_PENDING)?;
        let letter = if options.order == Order::PerKey { "k" } else { "n" };
        Ok(format!("{attempts},{lost},{base},{cap},{pending},{letter}"))
    }

    /// Deletes the group with its pending entries and dead letters. A conflict if there are any, unless that is what `force` says; not found if it
    /// is not there. Consumers at work are told so at their next step, and do not make it again for a day.
    pub async fn delete(&self, force: Force) -> Result<Deleted> {
        let forced = if force == Force::Yes { "1" } else { "0" };
        let reply = self.stream().run(self.command(&DELETE).arg(forced).arg(DELETED_MS)).await?;
        let broken = || Error::unexpected(DELETE.name(), &reply);
        let deleted =
            Deleted { pending: item(&reply, 1).ok_or_else(broken)?, dead: item(&reply, 2).ok_or_else(broken)? };
        match reply.as_array().and_then(|parts| parts.first()?.as_i64()) {
            Some(1) => Ok(deleted),
            Some(0) => {
                let Deleted { pending, dead } = deleted;
                let name = self.name();
                Err(Error::Conflict(format!("group {name:?} has {pending} entries pending and {dead} dead letters")))
            }
            _ => Err(self.not_found()),
        }
    }

    /// Tells about the group.
    pub async fn status(&self) -> Result<GroupStatus> {
        let reply = self.stream().run(self.command(&STATUS)).await?;
        if reply.as_array().is_some_and(<[Value]>::is_empty) {
            return Err(self.not_found());
        }
        let mut status = self.read_status(&reply).ok_or_else(|| Error::unexpected(STATUS.name(), &reply))?;
        if status.lag.is_none() {
            status.lag = self.counted(status.last.unwrap_or(EntryId::ZERO), status.until).await?;
        }
        Ok(status)
    }

    fn read_status(&self, reply: &Value) -> Option<GroupStatus> {
        let parts = reply.as_array()?;
        let id = |index: usize| parts.get(index)?.as_str()?.parse().ok();
        let fields = parts.get(8)?.as_array()?;
        let totals: HashMap<&str, u64> = fields
            .chunks_exact(2)
            .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?.parse().ok()?)))
            .collect();
        let total = |name: &str| totals.get(name).copied().unwrap_or(0);
        Some(GroupStatus {
            group: self.name().to_owned(),
            last: id(0),
            until: id(1),
            pending: item(reply, 2)?,
            overdue: item(reply, 3)?,
            parked: item(reply, 4)?,
            dead: item(reply, 6)?,
            lag: item(reply, 7),
            is_complete: item(reply, 10)? == 1 && item(reply, 2)? == 0,
            delivered_total: total("delivered"),
            acknowledged_total: total("acknowledged"),
            failed_total: total("failed"),
            lost_total: total("lost"),
            dead_total: total("dead"),
            dropped_total: total("dropped"),
            skipped_total: total("skipped"),
            missed_total: total("missed"),
            consumers: parts.get(9)?.as_array()?.iter().map(ConsumerStatus::read).collect::<Option<_>>()?,
        })
    }

    /// Counts what lies behind an entry, when the numbers of the entries do not tell.
    async fn counted(&self, mut last: EntryId, until: Option<EntryId>) -> Result<Option<u64>> {
        let until = until.unwrap_or(EntryId::MAX).to_string();
        let mut total = 0;
        for _ in 0..COUNT_STEPS_MAX {
            let command = Command::script(&COUNT, std::slice::from_ref(self.stream().key()), &[last.to_string()]);
            let reply = self.stream().run(command.arg(&until).arg(COUNT_PAGE)).await?;
            let count = item(&reply, 0).ok_or_else(|| Error::unexpected(COUNT.name(), &reply))?;
            total += count;
            if count < COUNT_PAGE as u64 {
                return Ok(Some(total));
            }
            let end = reply.as_array().and_then(|parts| parts.get(1)?.as_str()?.parse().ok());
            last = end.ok_or_else(|| Error::unexpected(COUNT.name(), &reply))?;
        }
        Ok(None)
    }

    pub(super) fn not_found(&self) -> Error {
        Error::NotFound(format!("group {:?} of stream {:?}", self.name(), self.stream().name()))
    }

    pub(super) fn hash_key(&self) -> &Key {
        &self.inner.keys[self.stream().keys().len()]
    }

    pub(super) fn dead_key(&self) -> &Key {
        self.inner.keys.last().expect("a group has keys")
    }

    /// Begins the call of a step of groups.
    pub(super) fn command(&self, step: &'static Script) -> Command {
        let told = format!("{},{}", Stream::dice(), self.stream().settings().dead_max.max(1));
        Command::script(step, &self.inner.keys, &[self.name()]).arg(told)
    }
}

/// Whether to delete what is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Force {
    /// Only what nobody needs.
    #[default]
    No,
    /// Whatever is there.
    Yes,
}

impl ConsumerStatus {
    /// Reads a consumer as XINFO CONSUMERS tells of it.
    fn read(value: &Value) -> Option<Self> {
        let field = |name: &str| {
            value.as_array()?.chunks_exact(2).find(|pair| pair[0].as_str() == Some(name)).map(|pair| &pair[1])
        };
        let number = |name: &str| u64::try_from(field(name)?.as_i64()?).ok();
        let consumer = String::from_utf8_lossy(field("name")?.as_bytes()?).into_owned();
        Some(Self { consumer, pending: number("pending")?, idle_ms: number("idle")? })
    }
}
