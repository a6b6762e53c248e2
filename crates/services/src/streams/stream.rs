//! A stream: publishing, what it keeps, and reading along.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::Serialize;

use super::event::{Entry, Event, size_of};
use super::group::Group;
use super::id::EntryId;
use super::settings::{Full, StreamSettings};
use super::steps::{CONFIGURE, INFO, PUBLISH, TRIM};
use crate::Services;
use crate::backend::Command;
use crate::batch::check_batch;
use crate::effects::{self, Effect};
use crate::error::{Error, Result};
use crate::keys::{Group as KeyGroup, Key, Tenant, check_name};
use crate::metrics::Counter;
use crate::random;
use crate::ttl::ms;

/// Kinds of the keys that every step of a stream takes, in their order.
const KINDS: [&str; 4] = ["s", "m", "g", "w"];

/// Most steps of a trim: after them a stream has been looked through that is as long as one may be.
const TRIM_STEPS_MAX: usize = 200_000;

/// A stream. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Stream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Services,
    name: String,
    group: KeyGroup,
    keys: Vec<Key>,
}

/// What became of an event that was to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Published {
    /// Id of its entry; of the earlier entry, if it was published already.
    pub entry: EntryId,
    /// Id of the event.
    pub id: String,
    /// Whether an event of this source and id was there already, so that this one was not added.
    pub duplicate: bool,
}

/// What a stream keeps; what is absent is as the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most entries.
    pub length_max: Option<u64>,
    /// Most bytes.
    pub bytes_max: Option<u64>,
    /// Greatest age.
    pub age_max: Option<Duration>,
    /// What happens above them.
    pub full: Option<Full>,
    /// How long a group may be silent before it holds nothing back.
    pub group_idle: Option<Duration>,
}

/// A stream as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StreamInfo {
    /// Entries.
    pub length: u64,
    /// Bytes of those that were published here: names and values of their fields.
    pub bytes: u64,
    /// The oldest entry.
    pub first: Option<EntryId>,
    /// The entry published last, whether or not it is still there.
    pub last: Option<EntryId>,
    /// Entries published, ever.
    pub published_total: u64,
    /// Events not published because they were there already, ever.
    pub duplicates_total: u64,
    /// Entries dropped to stay within the limits, ever.
    pub trimmed_total: u64,
    /// Events refused because the stream was full, ever.
    pub refused_total: u64,
    /// The groups, those that others made with XGROUP too.
    pub groups: Vec<String>,
}

/// Which entries to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// The first that may be among them; from the oldest if absent.
    pub from: Option<EntryId>,
    /// The last that may be among them; up to the newest if absent.
    pub to: Option<EntryId>,
    /// Only events of these types; all if empty.
    pub types: Vec<String>,
    /// Only events of these keys; all if empty.
    pub keys: Vec<String>,
}

/// Some entries of a range.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; none if this was the last.
    pub next: Option<EntryId>,
}

impl Stream {
    pub(super) fn open(services: Services, tenant: &Tenant, name: &str) -> Result<Self> {
        check_name("stream", name)?;
        let group = services.settings().keyring.kept_group(tenant, "streams", &[name]);
        let keys = KINDS.iter().map(|kind| group.key(kind)).collect();
        Ok(Self { inner: Arc::new(Inner { services, name: name.to_owned(), group, keys }) })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the key of the native stream, for whoever reads along.
    pub fn key(&self) -> &Key {
        &self.inner.keys[0]
    }

    /// Returns a group of consumers, whether or not it is there.
    pub fn group(&self, name: &str) -> Result<Group> {
        Group::open(self.clone(), name)
    }

    /// Publishes an event.
    pub async fn publish(&self, event: &Event) -> Result<Published> {
        let mut published = self.publish_many(std::slice::from_ref(event)).await?;
        Ok(published.remove(0))
    }

    /// Publishes up to [`MAX_BATCH`](super::MAX_BATCH) events in one step, all or none; those that are there already are told. A full stream is a conflict.
    pub async fn publish_many(&self, events: &[Event]) -> Result<Vec<Published>> {
        self.publish_with(events, &[]).await
    }

    /// Publishes events and changes data, both or neither: what was changed is told of, and what is told has happened. The data is at
    /// [`Stream::data_key`]. A call whose events are all there already was made before, and changes nothing; so give them ids. A conflict if the
    /// stream is full, or a name holds something that its effect does not fit.
    pub async fn publish_with(&self, events: &[Event], changes: &[(String, Effect)]) -> Result<Vec<Published>> {
        check_batch("events", events.len())?;
        let (settings, group) = (self.settings(), &self.inner.group);
        let mut keys = self.inner.keys.clone();
        keys.extend([group.key("i"), group.key("t")]);
        keys.extend(effects::data_keys(group, changes)?);
        let mut command = Command::script(&PUBLISH, &keys, &[settings.limits()]).arg(ms(settings.dedupe));
        command = command.arg(settings.dedupe_max.max(1)).arg(changes.len());
        for (_, effect) in changes {
            command = command.args_of(&effect.spelled()?);
        }
        let (mut ids, mut seen) = (Vec::with_capacity(events.len()), HashSet::new());
        let (mut names, mut head) = (String::new(), String::new());
        for event in events {
            let id = event.id_or_new();
            let fields = event.fields(&id, settings.event_max)?;
            if !changes.is_empty() && !seen.insert((event.source.as_str(), id.clone())) {
                return Err(Error::invalid("events", format_args!("{id:?} is there twice")));
            }
            let is_alike = names.split(',').eq(fields.iter().map(|(name, _)| *name));
            write_head(&mut head, event, &fields, is_alike);
            command = command.arg(head.as_str());
            if !is_alike {
                names = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
                command = command.arg(names.as_str());
            }
            command = fields.iter().fold(command, |command, (_, value)| command.arg(*value));
            ids.push(id);
        }
        if events.iter().all(|event| event.id.is_some()) {
            command = command.repeatable();
        }
        let reply = self.run(command).await?;
        self.published(&reply, ids, changes)
    }

    fn published(&self, reply: &Value, ids: Vec<String>, changes: &[(String, Effect)]) -> Result<Vec<Published>> {
        let parts = reply.as_array().unwrap_or_default();
        match (parts.first().and_then(Value::as_str), parts) {
            (Some("ok"), [_, entries]) => {
                let broken = || Error::unexpected(PUBLISH.name(), reply);
                let mut published = Vec::with_capacity(ids.len());
                for (id, entry) in ids.into_iter().zip(entries.as_str().ok_or_else(broken)?.split(',')) {
                    let (entry, duplicate) = entry.strip_prefix('=').map_or((entry, false), |entry| (entry, true));
                    published.push(Published { entry: entry.parse()?, id, duplicate });
                }
                let duplicates = published.iter().filter(|one| one.duplicate).count();
                self.count(Counter::StreamsDuplicate, duplicates);
                self.count(Counter::StreamsPublished, published.len() - duplicates);
                Ok(published)
            }
            (Some("misfit"), _) => Err(effects::misfit(changes, item(reply, 1).unwrap_or_default())),
            (Some("mixed"), _) => Err(Error::Conflict("some of the events are there already".to_owned())),
            _ => Err(self.full(PUBLISH.name(), reply)),
        }
    }

    /// Returns the error of a step that found the stream full.
    pub(super) fn full(&self, step: &str, reply: &Value) -> Error {
        if reply.as_array().and_then(|parts| parts.first()?.as_str()) != Some("full") {
            return Error::unexpected(step, reply);
        }
        self.count(Counter::StreamsFull, 1);
        let (length, bytes) = (item(reply, 1).unwrap_or_default(), item(reply, 2).unwrap_or_default());
        let name = self.name();
        Error::Conflict(format!(
            "stream {name:?} is full: it holds {length} entries with {bytes} bytes that are needed"
        ))
    }

    /// Says what the stream keeps, whoever publishes; what is absent is as the publisher's settings say.
    pub async fn configure(&self, limits: &Limits) -> Result<()> {
        let settings = self.settings();
        let within = |field, value: Option<u64>, cap: u64| match value {
            Some(value) if !(1..=cap).contains(&value) => {
                Err(Error::invalid(field, format_args!("must be 1 to {cap}")))
            }
            value => Ok(value.map(|value| value.to_string()).unwrap_or_default()),
        };
        let args = [
            within("length_max", limits.length_max, settings.length_cap)?,
            within("bytes_max", limits.bytes_max, settings.bytes_cap)?,
            within("age_ms", limits.age_max.map(ms), MAX_AGE_MS)?,
            limits.full.map(Full::letter).unwrap_or_default().to_owned(),
            within("group_idle_ms", limits.group_idle.map(ms), MAX_AGE_MS)?,
        ];
        self.run(Command::script(&CONFIGURE, &self.inner.keys[1..2], &args)).await.map(drop)
    }

    /// Drops what the limits want dropped and nobody needs, and returns how many entries. Publishing does the same, a bounded number at a time; so
    /// this is for streams that nobody publishes to.
    pub async fn trim(&self) -> Result<u64> {
        let mut total = 0;
        for _ in 0..TRIM_STEPS_MAX {
            let reply = self.run(Command::script(&TRIM, &self.inner.keys, &[self.settings().limits()])).await?;
            match reply.as_u64() {
                Some(0) => break,
                Some(count) => total += count,
                None => return Err(Error::unexpected(TRIM.name(), &reply)),
            }
        }
        Ok(total)
    }

    /// Tells about the stream.
    pub async fn info(&self) -> Result<StreamInfo> {
        let reply = self.run(Command::script(&INFO, &self.inner.keys[..2], &[""; 0])).await?;
        let read = || {
            let id = |index: usize| reply.as_array()?.get(index)?.as_str()?.parse().ok();
            let names = reply.as_array()?.get(8)?.as_array()?;
            Some(StreamInfo {
                length: item(&reply, 0)?,
                first: id(1),
                last: id(2),
                bytes: item(&reply, 3)?,
                trimmed_total: item(&reply, 4)?,
                refused_total: item(&reply, 5)?,
                duplicates_total: item(&reply, 6)?,
                published_total: item(&reply, 7)?,
                groups: names
                    .iter()
                    .map(|name| Some(String::from_utf8_lossy(name.as_bytes()?).into_owned()))
                    .collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| Error::unexpected(INFO.name(), &reply))
    }

    /// Reads up to `count` entries of a range, oldest first, and disturbs nobody. Of entries that the range's types and keys leave out, fewer come.
    pub async fn read(&self, range: &Range, count: usize) -> Result<Page> {
        check_batch("count", count)?;
        let (from, to) = (range.from.unwrap_or(EntryId::ZERO), range.to.unwrap_or(EntryId::MAX));
        let command = Command::new("XRANGE").key(self.key()).arg(from.to_string()).arg(to.to_string());
        let reply = self.run(command.arg("COUNT").arg(count).repeatable()).await?;
        let all = read_entries(&reply).ok_or_else(|| Error::unexpected("XRANGE", &reply))?;
        let next = all.last().filter(|_| all.len() == count).map(|entry| entry.id.after());
        Ok(Page { entries: all.into_iter().filter(|entry| range.takes(entry)).collect(), next })
    }

    /// Returns the key of data that [`Stream::publish_with`] changes.
    pub fn data_key(&self, name: &str) -> Result<Key> {
        effects::data_key(&self.inner.group, name)
    }

    pub(crate) fn services(&self) -> &Services {
        &self.inner.services
    }

    pub(super) fn settings(&self) -> &StreamSettings {
        &self.inner.services.settings().streams
    }

    pub(super) fn count(&self, counter: Counter, count: usize) {
        self.inner.services.metrics().add(counter, count as u64);
    }

    /// Returns the channel of those who wait for entries.
    pub(crate) fn channel(&self) -> &Key {
        &self.inner.keys[1]
    }

    /// Returns the keys that every step takes.
    pub(super) fn keys(&self) -> &[Key] {
        &self.inner.keys
    }

    /// Returns what all keys of the stream share.
    pub(super) fn key_group(&self) -> &KeyGroup {
        &self.inner.group
    }

    /// Returns a random number below a million.
    pub(super) fn dice() -> u64 {
        (random::unit() * 999_999.0) as u64
    }

    /// Talks to a store that does not evict, and counts when there is none.
    pub(super) async fn run(&self, command: Command) -> Result<Value> {
        let services = &self.inner.services;
        services.upon_kept(Counter::StreamsOutages, services.backend().call(command)).await
    }
}

/// Longest age and silence, in milliseconds: ten years.
const MAX_AGE_MS: u64 = 10 * 366 * 86_400_000;

impl Range {
    /// Takes everything from a point in time on.
    pub fn since_ms(ms: u64) -> Self {
        Self { from: Some(EntryId::first_of(ms)), ..Self::default() }
    }

    fn takes(&self, entry: &Entry) -> bool {
        let Ok(event) = &entry.event else { return self.types.is_empty() && self.keys.is_empty() };
        let key = event.key.as_deref().unwrap_or_default();
        (self.types.is_empty() || self.types.contains(&event.kind))
            && (self.keys.is_empty() || self.keys.iter().any(|one| one == key))
    }
}

/// Writes what stands before the values of an event that is to be published; see `publish.lua`.
fn write_head(head: &mut String, event: &Event, fields: &[(&str, &[u8])], is_alike: bool) {
    head.clear();
    head.push(if is_alike { 's' } else { 'n' });
    write!(head, "{:010}", size_of(fields)).expect("a text takes all");
    if let Some(id) = &event.id {
        write!(head, "{}:{}{id}", event.source.len(), event.source).expect("a text takes all");
    }
}

/// Reads entries as XRANGE gives them.
pub(super) fn read_entries(reply: &Value) -> Option<Vec<Entry>> {
    let read = |entry: &Value| {
        let [id, values] = entry.as_array()? else { return None };
        read_entry(id, values)
    };
    reply.as_array()?.iter().map(read).collect()
}

/// Reads an entry.
pub(super) fn read_entry(id: &Value, values: &Value) -> Option<Entry> {
    let values: Vec<&[u8]> = values.as_array()?.iter().map(Value::as_bytes).collect::<Option<_>>()?;
    Some(Entry::read(id.as_str()?.parse().ok()?, &values))
}

/// Reads a number of a reply that is a list.
pub(super) fn item(reply: &Value, index: usize) -> Option<u64> {
    reply.as_array()?.get(index)?.as_u64()
}
