//! Invalidation by tag, by pattern, and of everything.
//!
//! All three work from the index, so nothing outside the namespace can be reached, and free page by page, so nothing
//! blocks the store. They first refuse fills in progress, then remove; an interrupted call is completed by repeating it.
//!
//! By tag and of everything, the entries of a partition cease to exist in one step, however many there are: the epoch's
//! key says which tags are on their way out (see `entry.rs`), or the epoch is another. What follows only frees memory and
//! counts. An entry is counted by one call: by the one that frees it, or, if it was overwritten before it was freed, by
//! the one that finishes its tag. What expires meanwhile is counted by nobody.

use super::namespace::{Namespace, Partition, sum};
use super::near::Forgetting;
use super::steps;
use super::stored::escaped_tag;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::operation::BoxFuture;
use redpoll_resp::Value;

/// Entries a step removes at once: about a millisecond of the store's time.
const PAGE: usize = 256;

/// Most pages of one call; reaching it means that entries are added faster than they can be removed.
const MAX_PAGES: usize = 1_000_000;

impl Namespace {
    /// Removes the entries that carry a tag. They cease to exist in one step per partition; freeing them follows.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<u64> {
        let tag = escaped_tag(tag)?;
        let _forgetting = Forgetting::all(self.near());
        let total = self.free_tag(self.partitions().collect(), &tag).await?;
        self.invalidated(total)
    }

    /// Finishes what somebody else has begun.
    fn free_left<'a>(&'a self, partition: &'a Partition, tag: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.free_tag(vec![partition], tag))
    }

    /// Invalidates an escaped tag in partitions, and frees its entries page by page.
    async fn free_tag(&self, partitions: Vec<&Partition>, tag: &str) -> Result<u64> {
        let mut cursors: Vec<Cursor<'_>> = partitions.into_iter().map(Cursor::new).collect();
        let mut total = 0;
        for _ in 0..MAX_PAGES {
            if cursors.is_empty() {
                return Ok(total);
            }
            let page = |cursor: &Cursor<'_>| cursor.partition.step(&steps::TAGGED, &[], &[&tag, &cursor.last, &PAGE]);
            let replies = self.services.backend().pipeline(cursors.iter().map(page).collect()).await?;
            let mut frees = Vec::new();
            let mut next = Vec::new();
            for (mut cursor, reply) in cursors.into_iter().zip(replies) {
                let (number, keys) = tagged(reply?)?;
                if number < 0 {
                    // Somebody has begun more invalidations than he has finished.
                    let left = keys.first().ok_or_else(|| Error::Backend("no tag to be finished".to_owned()))?;
                    self.free_left(cursor.partition, left).await?;
                    next.push(cursor);
                    continue;
                }
                if cursor.last.is_empty() {
                    cursor.number = number;
                }
                if !keys.is_empty() {
                    frees.push(purge(cursor.partition, tag, cursor.number, &keys));
                }
                if let Some(last) = keys.last()
                    && keys.len() == PAGE
                {
                    cursor.last.clone_from(last);
                    next.push(cursor);
                } else if cursor.number > 0 {
                    frees.push(cursor.partition.step(&steps::FINISH, &[], &[&tag, &cursor.number]));
                }
            }
            total += sum(self.services.backend().pipeline(frees).await?)?;
            cursors = next;
        }
        Err(too_many_pages())
    }

    /// Removes the entries whose keys match a glob pattern (`*`, `?`, `[a-z]`, `\` before a literal).
    pub async fn invalidate_pattern(&self, pattern: &str) -> Result<u64> {
        check_name("pattern", pattern)?;
        let _forgetting = Forgetting::all(self.near());
        let fences = self.partitions().map(|partition| partition.step(&steps::FENCE, &[], &[]));
        sum(self.services.backend().pipeline(fences.collect()).await?)?;
        let mut cursors: Vec<(&Partition, String)> =
            self.partitions().map(|partition| (partition, "0".to_owned())).collect();
        let mut total = 0;
        for _ in 0..MAX_PAGES {
            if cursors.is_empty() {
                return self.invalidated(total);
            }
            let scans = cursors.iter().map(|(partition, cursor)| {
                let command = Command::new("ZSCAN").key(partition.expiry()).arg(cursor).arg("MATCH").arg(pattern);
                command.arg("COUNT").arg(PAGE).repeatable()
            });
            let mut purges = Vec::new();
            let mut next = Vec::new();
            for ((partition, _), reply) in cursors.iter().zip(self.services.backend().pipeline(scans.collect()).await?)
            {
                let (cursor, keys) = scanned(reply?)?;
                for page in keys.chunks(PAGE) {
                    purges.push(purge(partition, "", 0, page));
                }
                if cursor != "0" {
                    next.push((*partition, cursor));
                }
            }
            total += sum(self.services.backend().pipeline(purges).await?)?;
            cursors = next;
        }
        Err(too_many_pages())
    }

    /// Removes all entries. They cease to exist in one step per partition; freeing their memory follows.
    pub async fn clear(&self) -> Result<u64> {
        let _forgetting = Forgetting::all(self.near());
        let mut waiting: Vec<&Partition> = self.partitions().collect();
        let mut open = Vec::new();
        let mut total = 0;
        for _ in 0..MAX_PAGES {
            let (retired, refused) = self.retire(waiting).await?;
            open.extend(retired);
            waiting = refused;
            if open.is_empty() && waiting.is_empty() {
                return self.invalidated(total);
            }
            let (more, freed) = self.reclaim(&open).await?;
            // What an earlier clearing has left behind stands in the way of this one.
            let (_, freed_before) = self.reclaim(&waiting).await?;
            total += freed + freed_before;
            open = more;
        }
        Err(too_many_pages())
    }

    /// Retires partitions; returns those that are, and those in which an earlier list must be reclaimed first.
    async fn retire<'a>(&self, partitions: Vec<&'a Partition>) -> Result<(Vec<&'a Partition>, Vec<&'a Partition>)> {
        let retire =
            |partition: &&Partition| partition.step(&steps::RETIRE, std::slice::from_ref(&partition.retired), &[]);
        let replies = self.services.backend().pipeline(partitions.iter().map(retire).collect()).await?;
        let (mut retired, mut refused) = (Vec::new(), Vec::new());
        for (partition, reply) in partitions.into_iter().zip(replies) {
            match reply?.as_i64() {
                Some(1) => retired.push(partition),
                _ => refused.push(partition),
            }
        }
        Ok((retired, refused))
    }

    /// Frees a page of what each partition has retired; returns those that may have more, and how many were freed.
    async fn reclaim<'a>(&self, partitions: &[&'a Partition]) -> Result<(Vec<&'a Partition>, u64)> {
        let page = |partition: &&Partition| {
            Command::new("ZRANGE").key(&partition.retired).arg(0_u64).arg(PAGE - 1).repeatable()
        };
        let replies = self.services.backend().pipeline(partitions.iter().map(page).collect()).await?;
        let (mut frees, mut more) = (Vec::new(), Vec::new());
        for (partition, reply) in partitions.iter().zip(replies) {
            let keys = texts(reply?)?;
            if !keys.is_empty() {
                let stored: Vec<Key> = [partition.epoch(), &partition.retired]
                    .into_iter()
                    .cloned()
                    .chain(keys.iter().map(|key| partition.entry(key)))
                    .collect();
                frees.push(Command::script(&steps::RECLAIM, &stored, &keys));
                more.push(*partition);
            }
        }
        Ok((more, sum(self.services.backend().pipeline(frees).await?)?))
    }

    fn invalidated(&self, count: u64) -> Result<u64> {
        self.services.metrics().add(Counter::CacheInvalidated, count);
        Ok(count)
    }
}

/// How far the freeing of a tag's entries has come in a partition.
struct Cursor<'a> {
    partition: &'a Partition,
    /// Of the invalidation; 0 if there is nothing to free.
    number: i64,
    /// Last key of the page before.
    last: String,
}

impl<'a> Cursor<'a> {
    fn new(partition: &'a Partition) -> Self {
        Self { partition, number: 0, last: String::new() }
    }
}

/// Reads a page of a tag: the number of the invalidation, and keys.
fn tagged(reply: Value) -> Result<(i64, Vec<String>)> {
    let mut parts = reply.into_array().map_err(|reply| Error::unexpected("cache.tagged", &reply))?.into_iter();
    match (parts.next().and_then(|number| number.as_i64()), parts.next()) {
        (Some(number), Some(keys)) => Ok((number, texts(keys)?)),
        _ => Err(Error::Backend("cache.tagged gave fewer than two parts".to_owned())),
    }
}

fn purge(partition: &Partition, tag: &str, number: i64, keys: &[String]) -> Command {
    let entries: Vec<Key> = keys.iter().map(|key| partition.entry(key)).collect();
    let mut args: Vec<&dyn ToArg> = vec![&tag, &number];
    args.extend(keys.iter().map(|key| key as &dyn ToArg));
    partition.step(&steps::PURGE, &entries, &args)
}

fn texts(reply: Value) -> Result<Vec<String>> {
    let values = reply.into_array().map_err(|reply| Error::unexpected("a list of keys", &reply))?;
    values.into_iter().map(text).collect()
}

/// Reads the reply to ZSCAN: a cursor, and members and scores in turn.
fn scanned(reply: Value) -> Result<(String, Vec<String>)> {
    let unexpected = |reply: &Value| Error::unexpected("ZSCAN", reply);
    let mut parts = reply.into_array().map_err(|reply| unexpected(&reply))?.into_iter();
    let (Some(cursor), Some(pairs)) = (parts.next(), parts.next()) else {
        return Err(Error::Backend("ZSCAN gave fewer than two parts".to_owned()));
    };
    let pairs = pairs.into_map().map_err(|reply| unexpected(&reply))?;
    let keys = pairs.into_iter().map(|(key, _)| text(key)).collect::<Result<_>>()?;
    Ok((text(cursor)?, keys))
}

fn text(value: Value) -> Result<String> {
    let bytes = value.into_bytes().map_err(|value| Error::unexpected("a key", &value))?;
    String::from_utf8(bytes).map_err(|_| Error::Backend("a key in the index is not UTF-8".to_owned()))
}

fn too_many_pages() -> Error {
    Error::Conflict("entries are added faster than they can be removed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Lookup, SetOptions};
    use crate::{Backend, Services, Settings, Tenant};
    use serde_json::json;

    fn open() -> Namespace {
        let store = redpoll_store::Store::open(redpoll_store::Config::in_memory()).unwrap();
        let services = Services::new(Backend::embedded(store), Settings::default());
        services.cache(&Tenant::default()).namespace("users").unwrap()
    }

    async fn store(namespace: &Namespace, key: &str, tags: &[&str]) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        namespace.store(key, &json!(1).into(), &SetOptions { tags, ..SetOptions::default() }).await.unwrap();
    }

    /// Does the one write of an invalidation, and no more: what a process does that crashes then.
    async fn begin(namespace: &Namespace, tag: &str) -> Vec<(i64, Vec<String>)> {
        let begin = |partition: &Partition| partition.step(&steps::TAGGED, &[], &[&tag, &"", &PAGE]);
        let replies = namespace.services.backend().pipeline(namespace.partitions().map(begin).collect()).await.unwrap();
        replies.into_iter().map(|reply| tagged(reply.unwrap()).unwrap()).collect()
    }

    async fn pending(namespace: &Namespace) -> usize {
        let epochs = namespace.partitions().map(|partition| Command::new("GET").key(partition.epoch()));
        let epochs = namespace.services.backend().pipeline(epochs.collect()).await.unwrap();
        let tags = |epoch: Value| epoch.as_str().map_or(0, |epoch| epoch.split(':').skip(2).count() / 3);
        epochs.into_iter().map(|epoch| tags(epoch.unwrap())).sum()
    }

    #[tokio::test]
    async fn entries_are_gone_before_they_are_freed() {
        let namespace = open();
        for number in 0..40 {
            store(&namespace, &format!("k{number}"), &["red", "all"]).await;
        }
        store(&namespace, "other", &["blue"]).await;
        begin(&namespace, "red").await;
        for number in 0..40 {
            let key = format!("k{number}");
            assert_eq!(namespace.lookup(&key).await, Ok(Lookup::Miss));
            assert_eq!(namespace.touch(&key, None).await, Ok(false));
        }
        assert!(matches!(namespace.lookup("other").await, Ok(Lookup::Hit(_))));
        assert!(matches!(namespace.claim("k0").await, Ok(crate::cache::Claim::Lead(_))), "it is to be loaded");
        // What is stored now lives, whatever its tags.
        store(&namespace, "k1", &["red"]).await;
        store(&namespace, "new", &["red"]).await;
        // Whoever removes what is gone removes nothing; it is counted by the invalidation, once.
        assert_eq!(namespace.delete("k2").await, Ok(false));
        assert_eq!(namespace.invalidate_pattern("k3").await, Ok(0));
        assert_eq!(namespace.invalidate_tag("red").await, Ok(40 + 2), "those before, and the two stored since");
        assert_eq!(namespace.invalidate_tag("all").await, Ok(0));
        assert_eq!((namespace.count().await, pending(&namespace).await), (Ok(1), 0));
    }

    #[tokio::test]
    async fn overwritten_entries_count_and_live() {
        let namespace = open();
        for key in ["a", "b"] {
            store(&namespace, key, &["red"]).await;
        }
        let begun = begin(&namespace, "red").await;
        store(&namespace, "a", &["red"]).await;
        // The one who began comes back, and finishes.
        let mut total = 0;
        for (partition, (number, keys)) in namespace.partitions().zip(begun) {
            let commands =
                vec![purge(partition, "red", number, &keys), partition.step(&steps::FINISH, &[], &[&"red", &number])];
            total += sum(namespace.services.backend().pipeline(commands).await.unwrap()).unwrap();
        }
        assert_eq!(total, 2, "a was there when the tag was invalidated");
        assert!(matches!(namespace.lookup("a").await, Ok(Lookup::Hit(_))));
        assert_eq!(namespace.lookup("b").await, Ok(Lookup::Miss));
        assert_eq!((namespace.count().await, pending(&namespace).await), (Ok(1), 0));
        assert_eq!(namespace.invalidate_tag("red").await, Ok(1));
    }

    #[tokio::test]
    async fn abandoned_invalidations_are_bounded_and_finished() {
        let namespace = open();
        for number in 0..70 {
            store(&namespace, "k", &[&format!("tag{number}")]).await;
            begin(&namespace, &format!("tag{number}")).await;
        }
        assert_eq!(pending(&namespace).await, 64);
        assert!(matches!(namespace.lookup("k").await, Ok(Lookup::Hit(_))), "it was too much at once, and nothing done");
        assert_eq!(namespace.invalidate_tag("tag69").await, Ok(1));
        assert_eq!(namespace.lookup("k").await, Ok(Lookup::Miss));
        assert_eq!(pending(&namespace).await, 63);
        // Clearing ends what was begun.
        store(&namespace, "k", &["tag1"]).await;
        assert_eq!(namespace.clear().await, Ok(1));
        assert_eq!(pending(&namespace).await, 0);
    }
}
