//! One namespace: where it is, storing, deleting, and lifetimes.

use std::sync::{Arc, OnceLock};

use redpoll_resp::Value;
use serde::Serialize;

use super::entry::Body;
use super::near::{Forgetting, Near};
use super::settings::CacheSettings;
use super::steps;
use super::stored::{SetOptions, Stored};
use crate::Services;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant, check_name};
use crate::outage::OutagePolicy;
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
    near: Option<Arc<Near>>,
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

    pub(super) fn stamps(&self) -> &Key {
        &self.index[4]
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

impl Namespace {
    pub(super) fn open(services: Services, tenant: &Tenant, name: &str) -> Result<Self> {
        check_name("namespace", name)?;
        let settings = Arc::new(services.settings().cache.of_namespace(name)?);
        let place = Place {
            tenant: tenant.clone(),
            name: name.to_owned(),
            partitions: std::array::from_fn(|_| OnceLock::new()),
        };
        let mut namespace = Self { services, settings, place: Arc::new(place), near: None };
        if let Some(near) = &namespace.settings.near {
            let prefix = namespace.numbered(0).group.siblings();
            let services = &namespace.services;
            namespace.near = Some(services.nears().open(tenant, name, prefix, near, services.backend())?);
        }
        Ok(namespace)
    }

    /// Returns what is kept in this process's memory.
    pub(super) fn near(&self) -> Option<&Near> {
        self.near.as_deref()
    }

    /// Stores a value as JSON with the namespace's lifetime.
    pub async fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let json = serde_json::to_value(value).map_err(|error| Error::invalid("value", error))?;
        self.store(key, &Body::from(json), &SetOptions::default()).await
    }

    /// Stores a value. A load of this key that is under way will not overwrite it.
    pub async fn store(&self, key: &str, body: &Body, options: &SetOptions) -> Result<()> {
        let command = self.set_command(key, body, options)?;
        let _forgetting = Forgetting::these(self.near(), [key]);
        self.services.backend().call(command).await.map(drop)
    }

    /// Stores many values with the same options; each result stands in its entry's place. An error in one does not
    /// keep the others from being stored, except for invalid input, which is found before anything is sent.
    pub async fn store_many(&self, entries: &[(&str, Body)], options: &SetOptions) -> Result<Vec<Result<()>>> {
        check_batch(entries.len())?;
        let commands: Result<Vec<Command>> =
            entries.iter().map(|(key, body)| self.set_command(key, body, options)).collect();
        let commands = commands?;
        let _forgetting = Forgetting::these(self.near(), entries.iter().map(|(key, _)| *key));
        let results = self.services.backend().pipeline(commands).await?;
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
        let _forgetting = Forgetting::these(self.near(), keys.iter().copied());
        sum(self.services.backend().pipeline(commands).await?)
    }

    /// Gives an entry a new lifetime from now, the namespace's if `ttl` is `None`; tells whether there is one.
    pub async fn touch(&self, key: &str, ttl: Option<Ttl>) -> Result<bool> {
        check_name("key", key)?;
        let partition = self.partition(key);
        let ttl_ms = ttl.unwrap_or(self.settings.ttl).script_ms();
        let command = partition.step(&steps::TOUCH, &[partition.entry(key)], &[&key, &ttl_ms]);
        let _forgetting = Forgetting::these(self.near(), [key]);
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

    /// Tells whether an error is an outage that the policy answers as a miss.
    pub(super) fn goes_on_without(&self, error: &Error) -> bool {
        error.is_outage() && self.services.settings().outage.of("cache") == OutagePolicy::Open
    }

    fn set_command(&self, key: &str, body: &Body, options: &SetOptions) -> Result<Command> {
        let stored = Stored::new(self, key, Some(body), options)?;
        Ok(stored.command(&steps::SET, 0, "", 0))
    }
}

pub(super) fn check_batch(len: usize) -> Result<()> {
    if len > MAX_BATCH_KEYS {
        return Err(Error::invalid("keys", format_args!("more than {MAX_BATCH_KEYS} at once")));
    }
    Ok(())
}

/// Adds up integer replies; the first error wins.
pub(super) fn sum(replies: Vec<Result<Value>>) -> Result<u64> {
    let mut total = 0;
    for reply in replies {
        let reply = reply?;
        let count = reply.as_u64();
        total += count.ok_or_else(|| Error::unexpected("a count", &reply))?;
    }
    Ok(total)
}

/// Places a key: FNV-1a over its bytes.
pub(super) fn partition_of(key: &str) -> usize {
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
}
