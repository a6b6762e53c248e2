//! One namespace: looking up, storing, deleting, and lifetimes.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redpoll_resp::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{Body, Entry, Lookup, decode, encode};
use super::settings::CacheSettings;
use super::steps;
use crate::Services;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant, check_name, escape};
use crate::metrics::Counter;
use crate::script::Script;
use crate::ttl::Ttl;

/// Parts of a namespace. Fixed, because every process must agree on where a key is.
pub const PARTITIONS: usize = 16;

/// Most keys in one call.
pub const MAX_BATCH_KEYS: usize = 10_000;

/// Most tags on one entry.
pub const MAX_TAGS: usize = 64;

/// Longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 256;

/// How an entry is stored; absent parts are the namespace's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetOptions {
    /// Lifetime.
    pub ttl: Option<Ttl>,
    /// How long after its lifetime the value may still be served while it is refreshed.
    pub stale: Option<Duration>,
    /// Tags to invalidate it by.
    pub tags: Vec<String>,
}

/// What is left of an entry's lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// There is no entry.
    Missing,
    /// It never expires.
    Never,
    /// Milliseconds, stale time included.
    Ms(u64),
}

/// A namespace of a tenant's cache.
#[derive(Debug, Clone)]
pub struct Namespace {
    pub(super) services: Services,
    pub(super) settings: Arc<CacheSettings>,
    place: Arc<Place>,
}

/// Where the namespace is; the keys of a partition are built when it is first used.
#[derive(Debug)]
struct Place {
    tenant: Tenant,
    name: String,
    partitions: [OnceLock<Partition>; PARTITIONS],
}

/// The keys of one partition.
#[derive(Debug)]
pub(super) struct Partition {
    group: Group,
    /// Epoch, expiry, tags, members, stamps: KEYS[1..5] of the steps.
    pub(super) index: [Key; 5],
    pub(super) retired: Key,
}

impl Partition {
    fn new(group: Group) -> Self {
        let index = ["e", "x", "t", "g", "i"].map(|kind| group.key(kind));
        Self { index, retired: group.key("z"), group }
    }

    pub(super) fn epoch(&self) -> &Key {
        &self.index[0]
    }

    pub(super) fn expiry(&self) -> &Key {
        &self.index[1]
    }

    pub(super) fn entry(&self, key: &str) -> Key {
        self.group.named("v", key)
    }

    pub(super) fn lease(&self, key: &str) -> Key {
        self.group.named("l", key)
    }

    /// Makes a step that takes the index and more keys.
    pub(super) fn step(&self, script: &'static Script, keys: &[Key], args: &[&dyn ToArg]) -> Command {
        let keys: Vec<&Key> = self.index.iter().chain(keys).collect();
        Command::script(script, &keys, args)
    }
}

/// An entry with the rest of its lifetime.
pub(super) struct Found {
    pub(super) entry: Entry,
    /// As PTTL gives it: -1 never expires.
    pub(super) remaining_ms: i64,
}

impl Namespace {
    pub(super) fn open(services: Services, tenant: &Tenant, name: &str) -> Result<Self> {
        check_name("namespace", name)?;
        let settings = Arc::new(services.settings().cache.of_namespace(name)?);
        let place = Place {
            tenant: tenant.clone(),
            name: name.to_owned(),
            partitions: std::array::from_fn(|_| OnceLock::new()),
        };
        Ok(Self { services, settings, place: Arc::new(place) })
    }

    /// Looks a key up.
    pub async fn lookup(&self, key: &str) -> Result<Lookup> {
        check_name("key", key)?;
        let partition = self.partition(key);
        let command = Command::new("MGET").key(partition.epoch()).key(partition.entry(key)).repeatable();
        let lookup = match self.services.backend().call(command).await {
            Ok(reply) => match lookups(reply, 1)?.pop().expect("one was asked for") {
                Some(entry) => entry.body.map_or(Lookup::Absent, Lookup::Hit),
                None => Lookup::Miss,
            },
            Err(error) if error.is_outage() => Lookup::Outage,
            Err(error) => return Err(error),
        };
        self.count_lookup(&lookup);
        Ok(lookup)
    }

    /// Looks many keys up; results are in the order of the keys. Keys of one partition are read at one instant.
    pub async fn lookup_many(&self, keys: &[&str]) -> Result<Vec<Lookup>> {
        check_batch(keys.len())?;
        let mut by_partition = vec![Vec::new(); PARTITIONS];
        for (index, key) in keys.iter().enumerate() {
            check_name("key", key)?;
            by_partition[partition_of(key)].push(index);
        }
        by_partition.retain(|indices| !indices.is_empty());
        let commands = by_partition.iter().map(|indices| {
            let partition = self.partition(keys[indices[0]]);
            let start = Command::new("MGET").key(partition.epoch()).repeatable();
            indices.iter().fold(start, |command, index| command.key(partition.entry(keys[*index])))
        });
        let mut found = vec![Lookup::Outage; keys.len()];
        match self.services.backend().pipeline(commands.collect()).await {
            Ok(replies) => {
                for (indices, reply) in by_partition.iter().zip(replies) {
                    let reply = match reply {
                        Err(error) if error.is_outage() => continue,
                        other => other?,
                    };
                    for (index, entry) in indices.iter().zip(lookups(reply, indices.len())?) {
                        found[*index] = match entry {
                            Some(entry) => entry.body.map_or(Lookup::Absent, Lookup::Hit),
                            None => Lookup::Miss,
                        };
                    }
                }
            }
            Err(error) if error.is_outage() => {}
            Err(error) => return Err(error),
        }
        found.iter().for_each(|lookup| self.count_lookup(lookup));
        Ok(found)
    }

    /// Looks up a JSON value of the given type. A miss, a cached absence and an outage are `None`; a value of another
    /// shape is an error.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.lookup(key).await? {
            Lookup::Hit(Body::Json(json)) => {
                serde_json::from_value(json).map(Some).map_err(|error| Error::invalid("value", error))
            }
            Lookup::Hit(Body::Bytes(_)) => Err(Error::invalid("value", "is bytes, not JSON")),
            Lookup::Absent | Lookup::Miss | Lookup::Outage => Ok(None),
        }
    }

    /// Stores a value as JSON with the namespace's lifetime.
    pub async fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let json = serde_json::to_value(value).map_err(|error| Error::invalid("value", error))?;
        self.store(key, &Body::Json(json), &SetOptions::default()).await
    }

    /// Stores a value. A load of this key that is under way will not overwrite it.
    pub async fn store(&self, key: &str, body: &Body, options: &SetOptions) -> Result<()> {
        let command = self.set_command(key, body, options)?;
        self.services.backend().call(command).await.map(drop)
    }

    /// Stores many values with the same options; each result stands in its entry's place. An error in one does not
    /// keep the others from being stored, except for invalid input, which is found before anything is sent.
    pub async fn store_many(&self, entries: &[(&str, Body)], options: &SetOptions) -> Result<Vec<Result<()>>> {
        check_batch(entries.len())?;
        let commands: Result<Vec<Command>> =
            entries.iter().map(|(key, body)| self.set_command(key, body, options)).collect();
        let results = self.services.backend().pipeline(commands?).await?;
        Ok(results.into_iter().map(|result| result.map(drop)).collect())
    }

    /// Deletes an entry; tells whether there was one. A load under way will not bring it back.
    pub async fn delete(&self, key: &str) -> Result<bool> {
        Ok(self.delete_many(&[key]).await? == 1)
    }

    /// Deletes entries and returns how many there were.
    pub async fn delete_many(&self, keys: &[&str]) -> Result<u64> {
        check_batch(keys.len())?;
        let mut commands = Vec::with_capacity(keys.len());
        for key in keys {
            check_name("key", key)?;
            let partition = self.partition(key);
            commands.push(partition.step(&steps::DELETE, &[partition.entry(key), partition.lease(key)], &[key]));
        }
        sum(self.services.backend().pipeline(commands).await?)
    }

    /// Tells whether there is an entry, a cached absence included. An outage is an error here.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.remaining(key).await? != Remaining::Missing)
    }

    /// Returns what is left of an entry's lifetime. An outage is an error here.
    pub async fn remaining(&self, key: &str) -> Result<Remaining> {
        check_name("key", key)?;
        let found = self.read(key).await?;
        Ok(match found {
            None => Remaining::Missing,
            Some(Found { remaining_ms: -1, .. }) => Remaining::Never,
            Some(Found { remaining_ms, .. }) => Remaining::Ms(u64::try_from(remaining_ms).unwrap_or(0)),
        })
    }

    /// Gives an entry a new lifetime from now, the namespace's if `ttl` is `None`; tells whether there is one.
    pub async fn touch(&self, key: &str, ttl: Option<Ttl>) -> Result<bool> {
        check_name("key", key)?;
        let partition = self.partition(key);
        let ttl_ms = ttl.unwrap_or(self.settings.ttl).script_ms();
        let command = partition.step(&steps::TOUCH, &[partition.entry(key)], &[&key, &ttl_ms]);
        self.services.backend().call(command).await.map(|reply| reply.as_i64() == Some(1))
    }

    /// Returns how many entries have not expired.
    pub async fn count(&self) -> Result<u64> {
        let now = self.services.backend().now_ms().await?;
        let commands = self
            .partitions()
            .map(|partition| Command::new("ZCOUNT").key(partition.expiry()).arg(now).arg("+inf").repeatable());
        sum(self.services.backend().pipeline(commands.collect()).await?)
    }

    /// Reads an entry with what is left of its lifetime.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Found>> {
        let partition = self.partition(key);
        let entry = partition.entry(key);
        let commands = vec![
            Command::new("MGET").key(partition.epoch()).key(&entry).repeatable(),
            Command::new("PTTL").key(&entry).repeatable(),
        ];
        let mut replies = self.services.backend().pipeline(commands).await?.into_iter();
        let (values, remaining) = (replies.next().expect("two")?, replies.next().expect("two")?);
        let remaining_ms = remaining.as_i64().ok_or_else(|| Error::unexpected("PTTL", &remaining))?;
        let entry = lookups(values, 1)?.pop().expect("one was asked for");
        // -2: it expired between the two commands.
        Ok(entry.filter(|_| remaining_ms != -2).map(|entry| Found { entry, remaining_ms }))
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        (0..PARTITIONS).map(|number| self.numbered(number))
    }

    pub(super) fn partition(&self, key: &str) -> &Partition {
        self.numbered(partition_of(key))
    }

    fn numbered(&self, number: usize) -> &Partition {
        self.place.partitions[number].get_or_init(|| {
            let parts = [self.place.name.as_str(), &format!("{number:02}")];
            Partition::new(self.services.settings().keyring.group(&self.place.tenant, "cache", &parts))
        })
    }

    fn count_lookup(&self, lookup: &Lookup) {
        let counter = match lookup {
            Lookup::Hit(_) => Counter::CacheHits,
            Lookup::Absent => Counter::CacheAbsents,
            Lookup::Miss => Counter::CacheMisses,
            Lookup::Outage => Counter::CacheOutages,
        };
        self.services.metrics().add(counter, 1);
    }

    fn set_command(&self, key: &str, body: &Body, options: &SetOptions) -> Result<Command> {
        let stored = Stored::new(self, key, Some(body), options)?;
        Ok(stored.command(&steps::SET, 0, ""))
    }
}

/// An entry about to be stored, checked.
pub(super) struct Stored<'a> {
    namespace: &'a Namespace,
    key: &'a str,
    kind: &'static str,
    payload: Vec<u8>,
    lifetime_ms: u64,
    stale_ms: u64,
    tags: Vec<String>,
}

impl<'a> Stored<'a> {
    /// Checks key, size, lifetime and tags. `None` is a cached absence.
    pub(super) fn new(
        namespace: &'a Namespace,
        key: &'a str,
        body: Option<&Body>,
        options: &SetOptions,
    ) -> Result<Self> {
        check_name("key", key)?;
        let (kind, payload) = encode(body, namespace.settings.bytes_max)?;
        let ttl = options.ttl.unwrap_or(namespace.settings.ttl);
        let stale = options.stale.unwrap_or(namespace.settings.stale);
        let stale_ms = u64::try_from(stale.as_millis()).map_err(|_| Error::invalid("stale", "too long"))?;
        let (lifetime_ms, stale_ms) = match ttl {
            Ttl::Never => (0, 0),
            Ttl::Ms(ms) => {
                let total = i64::try_from(ms.get().saturating_add(stale_ms)).unwrap_or(i64::MAX);
                (Ttl::ms(total)?.script_ms(), stale_ms)
            }
        };
        let tags = escaped_tags(&options.tags)?;
        Ok(Self { namespace, key, kind, payload, lifetime_ms, stale_ms, tags })
    }

    /// Makes the step that stores it; `token` is empty for an unconditional set.
    pub(super) fn command(&self, script: &'static Script, load_ms: u64, token: &str) -> Command {
        let partition = self.namespace.partition(self.key);
        let mut args: Vec<&dyn ToArg> =
            vec![&self.key, &self.kind, &self.lifetime_ms, &self.stale_ms, &load_ms, &self.payload, &token];
        args.extend(self.tags.iter().map(|tag| tag as &dyn ToArg));
        partition.step(script, &[partition.entry(self.key), partition.lease(self.key)], &args)
    }
}

/// Checks and escapes one tag.
pub(super) fn escaped_tag(tag: &str) -> Result<String> {
    check_name("tag", tag)?;
    if tag.len() > MAX_TAG_BYTES {
        return Err(Error::invalid("tag", format_args!("longer than {MAX_TAG_BYTES} bytes")));
    }
    Ok(escape(tag))
}

/// Checks and escapes tags, in order and without duplicates.
fn escaped_tags(tags: &[String]) -> Result<Vec<String>> {
    let distinct: BTreeSet<String> = tags.iter().map(|tag| escaped_tag(tag)).collect::<Result<_>>()?;
    if distinct.len() > MAX_TAGS {
        return Err(Error::invalid("tags", format_args!("more than {MAX_TAGS}")));
    }
    Ok(distinct.into_iter().collect())
}

fn check_batch(len: usize) -> Result<()> {
    if len > MAX_BATCH_KEYS {
        return Err(Error::invalid("keys", format_args!("more than {MAX_BATCH_KEYS} at once")));
    }
    Ok(())
}

/// Reads the reply to MGET of an epoch and `count` entries.
fn lookups(reply: Value, count: usize) -> Result<Vec<Option<Entry>>> {
    let values = reply.into_array().map_err(|reply| Error::unexpected("MGET", &reply))?;
    if values.len() != count + 1 {
        return Err(Error::Backend(format!("MGET gave {} values for {} keys", values.len(), count + 1)));
    }
    let epoch = values[0].as_bytes();
    Ok(values[1..].iter().map(|value| decode(value.as_bytes()?, epoch?)).collect())
}

/// Adds up integer replies; the first error wins.
pub(super) fn sum(replies: Vec<Result<Value>>) -> Result<u64> {
    let mut total = 0;
    for reply in replies {
        let reply = reply?;
        let count = reply.as_i64().and_then(|count| u64::try_from(count).ok());
        total += count.ok_or_else(|| Error::unexpected("a count", &reply))?;
    }
    Ok(total)
}

/// Places a key: FNV-1a over its bytes.
fn partition_of(key: &str) -> usize {
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % PARTITIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_even_and_stable() {
        assert_eq!(partition_of(""), 0x811c_9dc5 % PARTITIONS);
        assert_eq!(partition_of("foobar"), 0xbf9c_f968 % PARTITIONS);
        let mut counts = [0; PARTITIONS];
        (0..16_000).for_each(|number| counts[partition_of(&format!("user:{number}"))] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn tags_are_distinct_and_bounded() {
        let tags = |names: &[&str]| escaped_tags(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(tags(&["b", "a:b", "b"]).unwrap(), ["a%3Ab", "b"]);
        assert!(tags(&[""]).is_err());
        assert!(tags(&[&"x".repeat(MAX_TAG_BYTES + 1)]).is_err());
    }
}
