//! The registry: consumers with their thresholds and where their triggers go.

use std::collections::HashMap;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trigger::Trigger;
use super::{Events, MAX_CONSUMERS_PER_PARTITION, MAX_PAGE, no_consumer, steps, webhook};
use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::jobs::MAX_JOB_NAME_BYTES;
use crate::keys::{Key, Tenant, check_name};
use crate::ttl::ms;

/// Longest threshold of time, and longest retention, in milliseconds: 366 days.
pub(super) const MAX_WINDOW_MS: u64 = 366 * 86_400_000;

/// Largest threshold of events.
pub(super) const MAX_THRESHOLD: u64 = 1_000_000_000_000;

/// What a consumer is to do. At least one threshold; whichever is crossed first fires.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Definition {
    /// Fires when so many events have come.
    pub max_events: Option<u64>,
    /// Fires so many milliseconds after the first event of a window.
    pub max_time_ms: Option<u64>,
    /// How long a window without `max_time_ms`, and each event of the timeline, is kept; 24 hours if absent.
    pub retention_ms: Option<u64>,
    /// Where triggers go.
    pub target: Target,
}

/// Where triggers go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// Nowhere: they wait until somebody leases them.
    #[default]
    Pull,
    /// Enqueued as a job, once for each trigger, for workers to run: with their retries, dead letters and results. The trigger's id is the job's.
    Job {
        /// The queue, of the same tenant.
        queue: String,
        /// Name of the jobs, by which workers choose a handler; `trigger` if absent.
        #[serde(default = "trigger_name")]
        name: String,
    },
    /// A POST to an HTTP server, signed.
    Webhook {
        /// Address, `http://host[:port]/path`.
        url: String,
        /// Key of the signature, at least 16 bytes. Never shown again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
    /// Appended to a list, for workers that pop jobs from it.
    List {
        /// The list's key, as it is in the store.
        key: String,
    },
    /// Appended to a stream.
    Stream {
        /// The stream's key, as it is in the store.
        key: String,
        /// Cuts the stream to about so many entries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_entries: Option<u64>,
    },
    /// Published to a channel. Delivered when published, whoever listens.
    Channel {
        /// The channel's name.
        channel: String,
    },
}

fn trigger_name() -> String {
    "trigger".to_owned()
}

/// Whether a consumer takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Running,
    /// It refuses them. Its open window still closes in time, and its triggers are delivered.
    Stopped,
}

/// A consumer's definition and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConsumerInfo {
    /// Name.
    pub consumer: String,
    /// Whether it takes events.
    pub state: State,
    /// Threshold of events.
    pub max_events: Option<u64>,
    /// Threshold of time.
    pub max_time_ms: Option<u64>,
    /// How long windows without `max_time_ms`, and events of the timeline, are kept.
    pub retention_ms: u64,
    /// Where triggers go; without secrets.
    pub target: Target,
    /// When it was first defined, milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last defined, started or stopped.
    pub changed_at_ms: u64,
}

/// Everything about a consumer at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// Definition and state.
    #[serde(flatten)]
    pub info: ConsumerInfo,
    /// Events in the open window.
    pub count: u64,
    /// When the open window's first event arrived; null if there is none.
    pub first_event_ms: Option<u64>,
    /// When its last event arrived.
    pub last_event_ms: Option<u64>,
    /// Time since its first event.
    pub elapsed_ms: Option<u64>,
    /// Events still missing for the threshold of events.
    pub events_left: Option<u64>,
    /// Time left until the threshold of time.
    pub time_left_ms: Option<u64>,
    /// Triggers that wait for delivery or are being delivered.
    pub waiting: u64,
    /// Triggers given up and kept.
    pub dead: u64,
    /// Events recorded, ever.
    pub events_total: u64,
    /// Events that triggers accounted for, ever.
    pub triggered_events_total: u64,
    /// Events discarded by resets, ever.
    pub discarded_total: u64,
    /// Events whose window expired before a threshold was crossed, ever.
    pub expired_total: u64,
    /// Events not counted because their id was known, ever.
    pub duplicates_total: u64,
    /// Messages that could not be understood, ever.
    pub poison_total: u64,
    /// Triggers fired, ever.
    pub triggers_total: u64,
    /// Triggers delivered, ever.
    pub delivered_total: u64,
    /// Dead triggers dropped because there were too many, ever.
    pub dead_dropped_total: u64,
    /// The last crossing.
    pub last_trigger: Option<Trigger>,
}

impl Definition {
    fn check(&self, services: &Services) -> Result<()> {
        let within = |field, value: Option<u64>, max| match value {
            Some(0) => Err(Error::invalid(field, "must be at least 1")),
            Some(value) if value > max => Err(Error::invalid(field, format_args!("must be at most {max}"))),
            _ => Ok(()),
        };
        within("max_events", self.max_events, MAX_THRESHOLD)?;
        within("max_time_ms", self.max_time_ms, MAX_WINDOW_MS)?;
        within("retention_ms", self.retention_ms, MAX_WINDOW_MS)?;
        if self.max_events.is_none() && self.max_time_ms.is_none() {
            return Err(Error::invalid("max_events", "a consumer needs max_events or max_time_ms, or both"));
        }
        self.target.check(services)
    }
}

impl Target {
    /// Tells whether the deliverer brings the triggers there.
    pub fn is_push(&self) -> bool {
        !matches!(self, Self::Pull)
    }

    fn check(&self, services: &Services) -> Result<()> {
        match self {
            Self::Pull => Ok(()),
            Self::Job { queue, name } => {
                check_name("queue", queue)?;
                match name.len() <= MAX_JOB_NAME_BYTES {
                    true => Ok(()),
                    false => Err(Error::invalid("name", format_args!("longer than {MAX_JOB_NAME_BYTES} bytes"))),
                }
            }
            Self::Webhook { url, secret } => {
                webhook::check_url(url)?;
                webhook::check_secret(secret.as_deref().unwrap_or_default())
            }
            Self::List { key } | Self::Stream { key, max_entries: None | Some(1..) } => {
                check_name("key", key)?;
                if services.settings().keyring.owns(key) {
                    return Err(Error::invalid("key", "belongs to the services themselves"));
                }
                Ok(())
            }
            Self::Stream { .. } => Err(Error::invalid("max_entries", "must be at least 1")),
            Self::Channel { channel } => check_name("channel", channel),
        }
    }

    /// Reads what a definition stored; by way of a value, since an enum with a tag cannot take numbers of any precision
    /// from text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        serde_json::from_value(value).ok()
    }

    /// Returns the command of the store that delivers there, if that is how it is done.
    fn command(&self) -> Option<&'static str> {
        match self {
            Self::Pull | Self::Job { .. } | Self::Webhook { .. } => None,
            Self::List { .. } => Some("RPUSH"),
            Self::Stream { .. } => Some("XADD"),
            Self::Channel { .. } => Some("PUBLISH"),
        }
    }

    /// Refuses a target that the store has no command for: each trigger would die there.
    async fn check_deliverable(&self, services: &Services) -> Result<()> {
        let Some(name) = self.command() else {
            return Ok(());
        };
        let command = Command::new("COMMAND").arg("INFO").arg(name).repeatable();
        let reply = services.backend().call(command).await?;
        match reply.as_array() {
            Some([known]) if !known.is_nil() => Ok(()),
            Some([_]) => Err(Error::invalid("target", format_args!("the store does not have the command {name}"))),
            _ => Err(Error::unexpected("COMMAND INFO", &reply)),
        }
    }

    fn without_secrets(mut self) -> Self {
        if let Self::Webhook { secret, .. } = &mut self {
            *secret = None;
        }
        self
    }
}

impl Events {
    /// Defines a consumer, or defines it anew, and starts it. Events of an open window stay; a threshold that they have
    /// crossed already fires at the next [`Events::tick`].
    pub async fn define(&self, consumer: &str, definition: &Definition) -> Result<ConsumerInfo> {
        definition.check(&self.services)?;
        let place = self.place(consumer)?;
        definition.target.check_deliverable(&self.services).await?;
        self.register_tenant().await?;
        let settings = self.settings();
        let uid = uuid::Uuid::new_v4().simple().to_string();
        let target = serde_json::to_string(&definition.target).expect("text and numbers have a JSON form");
        let numbers = [
            ("max_events", definition.max_events.unwrap_or(0)),
            ("max_time_ms", definition.max_time_ms.unwrap_or(0)),
            ("retention_ms", definition.retention_ms.unwrap_or(ms(settings.retention))),
            ("timeline_max", settings.timeline_max.max(1)),
            ("dedupe_ms", ms(settings.dedupe).max(1)),
            ("dedupe_max", settings.dedupe_max.max(1)),
            ("push", u64::from(definition.target.is_push())),
        ];
        let command = place.command(&steps::DEFINE, [&place.names]).arg(uid).arg(MAX_CONSUMERS_PER_PARTITION);
        let command = command.arg("target").arg(target);
        let command = numbers.iter().fold(command, |command, (name, value)| command.arg(name).arg(value));
        let reply = self.run(command).await?;
        if reply.as_str() == Some("full") {
            return Err(Error::Conflict("there are too many consumers".to_owned()));
        }
        self.services.fired().notify_one();
        self.info(consumer).await
    }

    /// Lets a consumer take events again; harmless if it does.
    pub async fn start(&self, consumer: &str) -> Result<ConsumerInfo> {
        self.set_state(consumer, "running").await
    }

    /// Makes a consumer refuse events; harmless if it does.
    pub async fn stop(&self, consumer: &str) -> Result<ConsumerInfo> {
        self.set_state(consumer, "stopped").await
    }

    async fn set_state(&self, consumer: &str, state: &'static str) -> Result<ConsumerInfo> {
        check_name("consumer", consumer)?;
        let key = self.partition_of(consumer).definition(consumer);
        let reply = self.run(Command::script(&steps::STATE, &[key], &[state])).await?;
        if reply.is_nil() {
            return Err(no_consumer(consumer));
        }
        self.info(consumer).await
    }

    /// Forgets a stopped consumer with its window, timeline and triggers; returns how many triggers were waiting. A
    /// running one is a conflict.
    pub async fn remove(&self, consumer: &str) -> Result<u64> {
        let place = self.place(consumer)?;
        let more = [&place.names, &place.timeline, &place.seen, &place.poison];
        let reply = self.run(place.command(&steps::REMOVE, more)).await?;
        match reply.as_str() {
            Some("absent") => Err(no_consumer(consumer)),
            Some("running") => Err(Error::Conflict(format!("consumer {consumer:?} is running; stop it first"))),
            _ => reply.as_u64().ok_or_else(|| Error::unexpected(steps::REMOVE.name(), &reply)),
        }
    }

    /// Returns a consumer's definition and state.
    pub async fn info(&self, consumer: &str) -> Result<ConsumerInfo> {
        check_name("consumer", consumer)?;
        let command = Command::new("HGETALL").key(self.partition_of(consumer).definition(consumer)).repeatable();
        let fields = Fields::read(self.run(command).await?)?;
        if fields.0.is_empty() {
            return Err(no_consumer(consumer));
        }
        fields.info(consumer)
    }

    /// Lists consumers in the order of their names, those after `after`, at most `limit` of them, which is at most
    /// [`MAX_PAGE`].
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ConsumerInfo>> {
        check_limit(limit)?;
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let commands = self.partitions().map(|partition| lex_page(&partition.names, &from, limit)).collect();
        let mut names = Vec::new();
        for reply in self.run_all(commands).await? {
            names.extend(texts(&reply?)?);
        }
        names.sort_unstable();
        names.truncate(limit);
        let definition =
            |name: &String| Command::new("HGETALL").key(self.partition_of(name).definition(name)).repeatable();
        let replies = self.run_all(names.iter().map(definition).collect()).await?;
        let mut consumers = Vec::with_capacity(names.len());
        for (name, reply) in names.iter().zip(replies) {
            let fields = Fields::read(reply?)?;
            // One without fields was removed in between.
            if !fields.0.is_empty() {
                consumers.push(fields.info(name)?);
            }
        }
        Ok(consumers)
    }

    /// Returns everything about a consumer at one moment.
    pub async fn status(&self, consumer: &str) -> Result<Status> {
        let reply = self.run(self.place(consumer)?.command(&steps::STATUS, [])).await?;
        let broken = || Error::unexpected(steps::STATUS.name(), &reply);
        let [now, fields, window, waiting, dead, delivered, dropped] = reply.as_array().ok_or_else(broken)? else {
            return Err(no_consumer(consumer));
        };
        let fields = Fields::read(fields.clone())?;
        let info = fields.info(consumer)?;
        let window = window.as_array().ok_or_else(broken)?;
        let count = window.first().and_then(Value::as_u64).unwrap_or(0);
        let first = window.get(1).and_then(Value::as_u64);
        let elapsed = first.zip(now.as_u64()).map(|(first, now)| now.saturating_sub(first));
        let [events_total, triggered, discarded] = ["events", "fired", "discarded"].map(|name| fields.number(name));
        let last_trigger = match (fields.0.get("last_id"), fields.0.get("last")) {
            (Some(id), Some(record)) => Some(Trigger::parse(self.tenant.name(), consumer, id, record)?),
            _ => None,
        };
        Ok(Status {
            count,
            first_event_ms: first,
            last_event_ms: window.get(2).and_then(Value::as_u64),
            elapsed_ms: elapsed,
            events_left: info.max_events.map(|max| max.saturating_sub(count)),
            time_left_ms: info.max_time_ms.zip(elapsed).map(|(max, elapsed)| max.saturating_sub(elapsed)),
            waiting: waiting.as_u64().ok_or_else(broken)?,
            dead: dead.as_u64().ok_or_else(broken)?,
            events_total,
            triggered_events_total: triggered,
            discarded_total: discarded,
            expired_total: events_total.saturating_sub(triggered + discarded + count),
            duplicates_total: fields.number("duplicates"),
            poison_total: fields.number("poison"),
            triggers_total: fields.number("triggers"),
            delivered_total: delivered.as_u64().ok_or_else(broken)?,
            dead_dropped_total: dropped.as_u64().ok_or_else(broken)?,
            last_trigger,
            info,
        })
    }

    /// Makes sure that there is a consumer of this name.
    pub(super) async fn ensure_defined(&self, consumer: &str) -> Result<()> {
        check_name("consumer", consumer)?;
        let key = self.partition_of(consumer).definition(consumer);
        match self.run(Command::new("EXISTS").key(key).repeatable()).await?.as_i64() {
            Some(1) => Ok(()),
            _ => Err(no_consumer(consumer)),
        }
    }

    /// Returns where a consumer's triggers go.
    pub(super) async fn target(&self, consumer: &str) -> Result<Target> {
        check_name("consumer", consumer)?;
        let key = self.partition_of(consumer).definition(consumer);
        let reply = self.run(Command::new("HGET").key(key).arg("target").repeatable()).await?;
        if reply.is_nil() {
            return Err(no_consumer(consumer));
        }
        reply.as_str().and_then(Target::parse).ok_or_else(|| unreadable_target(consumer))
    }

    /// Enters the tenant among those the deliverer looks after, before it has anything to deliver.
    async fn register_tenant(&self) -> Result<()> {
        let command =
            Command::new("ZADD").key(tenants_key(&self.services)).arg("0").arg(self.tenant.name()).repeatable();
        self.run(command).await.map(drop)
    }
}

/// Returns a page of the tenants that ever defined a consumer, those after `after`.
pub(super) async fn tenants(services: &Services, after: Option<&Tenant>) -> Result<Vec<Tenant>> {
    let from = after.map_or_else(|| "-".to_owned(), |after| format!("({}", after.name()));
    let reply = services.backend().call(lex_page(&tenants_key(services), &from, MAX_PAGE)).await?;
    texts(&reply)?.into_iter().map(Tenant::new).collect()
}

fn tenants_key(services: &Services) -> Key {
    services.settings().keyring.kept_group_of_all("events").key("tenants")
}

fn lex_page(key: &Key, from: &str, limit: usize) -> Command {
    Command::new("ZRANGEBYLEX").key(key).arg(from).arg("+").arg("LIMIT").arg("0").arg(limit).repeatable()
}

fn texts(reply: &Value) -> Result<Vec<String>> {
    let texts = reply.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    texts.ok_or_else(|| Error::unexpected("a list of names", reply))
}

fn unreadable_target(consumer: &str) -> Error {
    Error::Backend(format!("consumer {consumer:?} has an unreadable target"))
}

/// Refuses pages of nothing and pages above [`MAX_PAGE`].
pub(super) fn check_limit(limit: usize) -> Result<()> {
    if limit == 0 || limit > MAX_PAGE {
        return Err(Error::invalid("limit", format_args!("must be 1 to {MAX_PAGE}")));
    }
    Ok(())
}

/// The fields of a consumer's hash.
struct Fields(HashMap<String, String>);

impl Fields {
    fn read(reply: Value) -> Result<Self> {
        let pairs = reply.into_map().map_err(|reply| Error::unexpected("HGETALL", &reply))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let fields: Option<_> = pairs.iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        fields.map(Self).ok_or_else(|| Error::Backend("a consumer's definition is not text".to_owned()))
    }

    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn info(&self, consumer: &str) -> Result<ConsumerInfo> {
        let target = self.0.get("target").map_or("", String::as_str);
        let target = Target::parse(target).ok_or_else(|| unreadable_target(consumer))?;
        let threshold = |name| Some(self.number(name)).filter(|value| *value > 0);
        Ok(ConsumerInfo {
            consumer: consumer.to_owned(),
            state: match self.0.get("state").map(String::as_str) {
                Some("running") => State::Running,
                _ => State::Stopped,
            },
            max_events: threshold("max_events"),
            max_time_ms: threshold("max_time_ms"),
            retention_ms: self.number("retention_ms"),
            target: target.without_secrets(),
            created_at_ms: self.number("created_ms"),
            changed_at_ms: self.number("changed_ms"),
        })
    }
}
