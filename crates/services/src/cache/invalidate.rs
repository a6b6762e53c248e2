//! Invalidation by tag, by pattern, and of everything.
//!
//! All three work from the index, page by page, so nothing blocks the store and nothing outside the namespace can be
//! reached. They first refuse fills in progress, then remove; an interrupted call is completed by repeating it. The
//! number returned is the number of entries this call removed.

use super::namespace::{Namespace, Partition, escaped_tag, sum};
use super::steps;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use redpoll_resp::Value;

/// Entries a step removes at once: about a millisecond of the store's time.
const PAGE: usize = 256;

/// Most pages of one call; reaching it means that entries are added faster than they can be removed.
const MAX_PAGES: usize = 1_000_000;

impl Namespace {
    /// Removes the entries that carry a tag.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<u64> {
        let tag = escaped_tag(tag)?;
        let mut cursors: Vec<(&Partition, String)> =
            self.partitions().map(|partition| (partition, String::new())).collect();
        let mut total = 0;
        for _ in 0..MAX_PAGES {
            if cursors.is_empty() {
                return self.invalidated(total);
            }
            let pages = cursors
                .iter()
                .map(|(partition, cursor)| partition.step(&steps::TAGGED, &[], &[&tag, cursor, &PAGE]))
                .collect();
            let mut purges = Vec::new();
            let mut next = Vec::new();
            for ((partition, _), reply) in cursors.iter().zip(self.services.backend().pipeline(pages).await?) {
                let keys = texts(reply?)?;
                if let Some(last) = keys.last()
                    && keys.len() == PAGE
                {
                    next.push((*partition, last.clone()));
                }
                if !keys.is_empty() {
                    purges.push(purge(partition, &tag, &keys));
                }
            }
            total += sum(self.services.backend().pipeline(purges).await?)?;
            cursors = next;
        }
        Err(too_many_pages())
    }

    /// Removes the entries whose keys match a glob pattern (`*`, `?`, `[a-z]`, `\` before a literal).
    pub async fn invalidate_pattern(&self, pattern: &str) -> Result<u64> {
        check_name("pattern", pattern)?;
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
                    purges.push(purge(partition, "", page));
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

fn purge(partition: &Partition, tag: &str, keys: &[String]) -> Command {
    let entries: Vec<Key> = keys.iter().map(|key| partition.entry(key)).collect();
    let mut args: Vec<&dyn ToArg> = vec![&tag];
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
