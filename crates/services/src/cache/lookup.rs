//! Looking up: near first, then the store.
//!
//! Lifetimes are read before values. If an entry is replaced between the two, the new value is taken for as old as the
//! one before it, which costs a refresh; the other way round an old value would pass for a new one.

use redpoll_resp::Value;
use serde::de::DeserializeOwned;

use super::entry::{Body, Epoch, Found, Lookup, UNASKED, decode};
use super::namespace::{Namespace, PARTITIONS, Partition, Remaining, check_batch, partition_of};
use super::near::Token;
use super::steps;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::metrics::Counter;

/// What is asked for besides values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Values,
    Lifetimes,
}

impl Namespace {
    /// Looks a key up.
    pub async fn lookup(&self, key: &str) -> Result<Lookup> {
        check_name("key", key)?;
        if let Some(lookup) = self.lookup_near(key) {
            return Ok(lookup);
        }
        let lookup = match self.find(key, self.ask()).await {
            Ok(Some(found)) => {
                if found.must_slide() {
                    self.slide(&[key]).await;
                }
                found.into_lookup()
            }
            Ok(None) => Lookup::Miss,
            Err(error) if self.goes_on_without(&error) => Lookup::Outage,
            Err(error) => return Err(error),
        };
        self.count_lookup(&lookup);
        Ok(lookup)
    }

    /// Looks a key up in this process's memory only, at once; none if it is not there or must not be served from there.
    pub fn lookup_near(&self, key: &str) -> Option<Lookup> {
        let found = self.near()?.find(key)?;
        if found.must_slide() {
            return None;
        }
        let lookup = found.into_lookup();
        self.count_lookup(&lookup);
        Some(lookup)
    }

    /// Looks many keys up; results are in the order of the keys. Keys of one partition are read at one instant.
    pub async fn lookup_many(&self, keys: &[&str]) -> Result<Vec<Lookup>> {
        let mut lookups = Vec::with_capacity(keys.len());
        let mut sliding = Vec::new();
        for (key, found) in keys.iter().zip(self.find_many(keys, self.ask()).await?) {
            lookups.push(match found {
                Ok(Some(found)) => {
                    if found.must_slide() {
                        sliding.push(*key);
                    }
                    found.into_lookup()
                }
                Ok(None) => Lookup::Miss,
                Err(error) if self.goes_on_without(&error) => Lookup::Outage,
                Err(error) => return Err(error),
            });
        }
        self.slide(&sliding).await;
        lookups.iter().for_each(|lookup| self.count_lookup(lookup));
        Ok(lookups)
    }

    /// Looks up a JSON value of the given type. A miss, a cached absence and an outage are `None`; a value of another
    /// shape is an error.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.lookup(key).await? {
            Lookup::Hit(Body::Json(json)) => {
                T::deserialize(&*json).map(Some).map_err(|error| Error::invalid("value", error))
            }
            Lookup::Hit(Body::Bytes(_)) => Err(Error::invalid("value", "is bytes, not JSON")),
            Lookup::Absent | Lookup::Miss | Lookup::Outage => Ok(None),
        }
    }

    /// Tells whether there is an entry, a cached absence and what is kept for fail-safe included. An outage is an error
    /// here. The store is asked, whatever is near.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.remaining(key).await? != Remaining::Missing)
    }

    /// Returns what is left of an entry's lifetime. An outage is an error here. The store is asked, whatever is near.
    pub async fn remaining(&self, key: &str) -> Result<Remaining> {
        check_name("key", key)?;
        Ok(match self.read(key, Ask::Lifetimes).await? {
            None => Remaining::Missing,
            Some(Found { remaining_ms: -1, .. }) => Remaining::Never,
            Some(Found { remaining_ms, .. }) => Remaining::Ms(u64::try_from(remaining_ms).unwrap_or(0)),
        })
    }

    /// Finds an entry near, or reads it and keeps it near.
    pub(super) async fn find(&self, key: &str, ask: Ask) -> Result<Option<Found>> {
        if let Some(found) = self.near().and_then(|near| near.find(key)) {
            return Ok(Some(found));
        }
        let token = self.token(key)?;
        let mut found = self.read(key, ask).await?;
        if ask == Ask::Values && found.as_ref().is_some_and(|found| found.entry.needs_lifetime()) {
            found = self.read(key, Ask::Lifetimes).await?;
        }
        self.keep_near(token, key, found.as_ref());
        Ok(found)
    }

    /// Finds entries near or reads them; each result stands in its key's place, outages as errors.
    pub(super) async fn find_many(&self, keys: &[&str], ask: Ask) -> Result<Vec<Result<Option<Found>>>> {
        check_batch(keys.len())?;
        let mut results: Vec<Result<Option<Found>>> = vec![Ok(None); keys.len()];
        let mut wanted = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            check_name("key", key)?;
            match self.near().and_then(|near| near.find(key)) {
                Some(found) => results[index] = Ok(Some(found)),
                None => wanted.push((index, self.token(key)?)),
            }
        }
        let indices: Vec<usize> = wanted.iter().map(|(index, _)| *index).collect();
        self.read_many(keys, &indices, ask, &mut results).await?;
        if ask == Ask::Values {
            let needs = |index: &usize| matches!(&results[*index], Ok(Some(found)) if found.entry.needs_lifetime());
            let again: Vec<usize> = indices.into_iter().filter(needs).collect();
            self.read_many(keys, &again, Ask::Lifetimes, &mut results).await?;
        }
        for (index, token) in wanted {
            if let Ok(found) = &results[index] {
                self.keep_near(token, keys[index], found.as_ref());
            }
        }
        Ok(results)
    }

    /// Reads an entry from the store.
    pub(super) async fn read(&self, key: &str, ask: Ask) -> Result<Option<Found>> {
        let mut commands = read_commands(self.partition(key), &[key], ask);
        let backend = self.services.backend();
        let replies = match ask {
            Ask::Values => vec![backend.call(commands.pop().expect("values take one command")).await],
            Ask::Lifetimes => backend.pipeline(commands).await?,
        };
        Ok(self.found(&mut replies.into_iter(), 1, ask)?.pop().expect("one was asked for"))
    }

    /// Reads the entries at `indices` into their places, in one exchange.
    async fn read_many(
        &self,
        keys: &[&str],
        indices: &[usize],
        ask: Ask,
        results: &mut [Result<Option<Found>>],
    ) -> Result<()> {
        let mut by_partition = vec![Vec::new(); PARTITIONS];
        for index in indices {
            by_partition[partition_of(keys[*index])].push(*index);
        }
        by_partition.retain(|indices| !indices.is_empty());
        let mut commands = Vec::new();
        for indices in &by_partition {
            let keys: Vec<&str> = indices.iter().map(|index| keys[*index]).collect();
            commands.extend(read_commands(self.partition(keys[0]), &keys, ask));
        }
        let mut replies = match self.services.backend().pipeline(commands).await {
            Ok(replies) => replies.into_iter(),
            Err(error) if error.is_outage() => {
                indices.iter().for_each(|index| results[*index] = Err(error.clone()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for indices in &by_partition {
            match self.found(&mut replies, indices.len(), ask) {
                Ok(found) => indices.iter().zip(found).for_each(|(index, found)| results[*index] = Ok(found)),
                Err(error) if error.is_outage() => {
                    indices.iter().for_each(|index| results[*index] = Err(error.clone()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the replies to [`read_commands`], all of them.
    pub(super) fn found(
        &self,
        replies: &mut impl Iterator<Item = Result<Value>>,
        count: usize,
        ask: Ask,
    ) -> Result<Vec<Option<Found>>> {
        let lifetimes: Vec<Result<Value>> = match ask {
            Ask::Values => Vec::new(),
            Ask::Lifetimes => replies.by_ref().take(count).collect(),
        };
        let values = replies.next().expect("a reply for each command")?;
        let values = values.into_array().map_err(|reply| Error::unexpected("MGET", &reply))?;
        if values.len() != count + 1 {
            return Err(Error::Backend(format!("MGET gave {} values for {} keys", values.len(), count + 1)));
        }
        let mut remaining_ms = vec![UNASKED; count];
        for (remaining_ms, lifetime) in remaining_ms.iter_mut().zip(lifetimes) {
            let lifetime = lifetime?;
            *remaining_ms = lifetime.as_i64().ok_or_else(|| Error::unexpected("PTTL", &lifetime))?;
        }
        let epoch = values[0].as_bytes().map(Epoch::read);
        let found = values[1..].iter().zip(remaining_ms).map(|(value, remaining_ms)| {
            let entry = decode(value.as_bytes()?, epoch.as_ref()?, self.settings.bytes_max)?;
            // -2: it was stored between the two commands, and is as good as not seen.
            (remaining_ms != -2).then_some(Found { entry, remaining_ms })
        });
        Ok(found.collect())
    }

    fn ask(&self) -> Ask {
        match self.near().is_some() || !self.settings.fail_safe.is_zero() {
            true => Ask::Lifetimes,
            false => Ask::Values,
        }
    }

    fn token(&self, key: &str) -> Result<Option<Token>> {
        match self.near() {
            Some(near) => near.token(key, partition_of(key), self.services.backend()),
            None => Ok(None),
        }
    }

    fn keep_near(&self, token: Option<Token>, key: &str, found: Option<&Found>) {
        if let (Some(near), Some(token), Some(found)) = (self.near(), token, found) {
            near.fill(token, key, found);
        }
    }

    /// Gives sliding entries their lifetimes anew. That it fails is no failure of the lookup.
    pub(super) async fn slide(&self, keys: &[&str]) {
        let slide = |key: &&str| {
            let partition = self.partition(key);
            partition.step(&steps::TOUCH, &[partition.entry(key)], &[key, &"slide"])
        };
        if let Err(error) = self.services.backend().pipeline(keys.iter().map(slide).collect()).await {
            tracing::debug!(%error, "sliding lifetimes not prolonged");
        }
    }

    pub(super) fn count_lookup(&self, lookup: &Lookup) {
        let counter = match lookup {
            Lookup::Hit(_) => Counter::CacheHits,
            Lookup::Absent => Counter::CacheAbsents,
            Lookup::Miss => Counter::CacheMisses,
            Lookup::Outage => Counter::CacheOutages,
        };
        self.services.metrics().add(counter, 1);
    }
}

/// Makes the commands that read entries of one partition: a PTTL each, if asked for, and one MGET.
pub(super) fn read_commands(partition: &Partition, keys: &[&str], ask: Ask) -> Vec<Command> {
    let entries: Vec<_> = keys.iter().map(|key| partition.entry(key)).collect();
    let mut commands = Vec::with_capacity(keys.len() + 1);
    if ask == Ask::Lifetimes {
        commands.extend(entries.iter().map(|entry| Command::new("PTTL").key(entry).repeatable()));
    }
    let values = Command::new("MGET").key(partition.epoch()).repeatable();
    commands.push(entries.iter().fold(values, Command::key));
    commands
}
