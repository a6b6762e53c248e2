//! Whose sessions there are: listing, counting, and ending those of a user or of a workspace.
//!
//! A list names sessions by the index and reads each one's hash, so one that has ended meanwhile is not shown. Counting
//! first takes what has expired out of the index, in bounded steps, and is exact.

use std::future::Future;

use redpoll_resp::Value;

use super::id::{Handle, SessionId};
use super::place::{PARTITIONS, Partition, partition_of};
use super::session::{Record, Session};
use super::settings::MAX_SESSIONS_PER_USER;
use super::{Sessions, numbers, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Key, check_name, escape};
use crate::metrics::Counter;

/// Longest page of a list.
pub(super) const MAX_PAGE: usize = 1000;

/// How many sessions one step ends: all that a user can have.
const REVOKE_STEP: usize = MAX_SESSIONS_PER_USER;

/// Pages of a partition that ending a workspace's sessions goes through. More are made only by somebody who creates
/// sessions faster than they can be ended.
const MAX_REVOKE_PAGES: usize = 10_000;

/// Steps in which counting clears a partition's index. As above.
const MAX_COUNT_STEPS: usize = 100_000;

/// The names of a hash that a list shows.
const SHOWN: [&str; 11] = ["c", "i", "a", "e", "t", "v", "u", "w", "p", "g", "b"];

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Sessions without their fields.
    pub sessions: Vec<Session>,
    /// Where the next part begins; `None` after the last. A page may be empty and not the last.
    pub next: Option<String>,
}

/// A session as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) handle: Handle,
    stamp: String,
    /// Escaped.
    user: String,
    workspace: String,
}

impl Entry {
    /// Reads a member of the index by user.
    pub(super) fn of_user(partition: usize, member: &Value) -> Result<Self> {
        let [user, stamp, reference, workspace] = parts(member)?;
        Self::new(partition, reference, stamp, user, workspace, member)
    }

    fn of_workspace(partition: usize, member: &Value) -> Result<Self> {
        let [workspace, stamp, reference, user] = parts(member)?;
        Self::new(partition, reference, stamp, user, workspace, member)
    }

    fn new(
        partition: usize,
        reference: &str,
        stamp: &str,
        user: &str,
        workspace: &str,
        member: &Value,
    ) -> Result<Self> {
        let handle = Handle::from_reference(partition, reference)
            .ok_or_else(|| Error::unexpected("a list of sessions", member))?;
        Ok(Self { handle, stamp: stamp.to_owned(), user: user.to_owned(), workspace: workspace.to_owned() })
    }

    /// Returns the member of the index by user.
    pub(super) fn user_member(&self) -> String {
        format!("{}:{}:{}:{}", self.user, self.stamp, self.handle.reference(), self.workspace)
    }

    fn workspace_member(&self) -> String {
        format!("{}:{}:{}:{}", self.workspace, self.stamp, self.handle.reference(), self.user)
    }

    fn expiry_member(&self) -> String {
        format!("{}:{}:{}:{}", self.handle.reference(), self.stamp, self.user, self.workspace)
    }
}

fn parts(member: &Value) -> Result<[&str; 4]> {
    let unexpected = || Error::unexpected("a list of sessions", member);
    let parts: Vec<&str> = member.as_str().ok_or_else(unexpected)?.split(':').collect();
    parts.try_into().map_err(|_| unexpected())
}

impl Sessions {
    /// Lists a user's sessions, oldest first, without their fields.
    pub async fn list_user(&self, user: &str) -> Result<Vec<Session>> {
        let (partition, number) = self.of_user(user)?;
        let entries = self.user_entries(&partition, number, user).await?;
        self.shown(&partition, &entries).await
    }

    /// Lists a workspace's sessions without their fields, `limit` at most, partition by partition and within each oldest
    /// first. `after` is [`Page::next`] of the page before.
    pub async fn list_workspace(&self, workspace: &str, after: Option<&str>, limit: usize) -> Result<Page> {
        check_name("workspace", workspace)?;
        super::within("limit", limit, MAX_PAGE)?;
        let (mut number, mut last) = match after {
            None => (0, None),
            Some(cursor) => read_cursor(cursor, workspace)?,
        };
        while number < PARTITIONS {
            let partition = self.partition(number);
            let set = partition.workspaces();
            let entries = self.range(&set, workspace, last.as_deref(), limit, number, Entry::of_workspace).await?;
            if let Some(end) = entries.last() {
                let next = Some(format!("{number:02}:{}", end.workspace_member()));
                return Ok(Page { sessions: self.shown(&partition, &entries).await?, next });
            }
            (number, last) = (number + 1, None);
        }
        Ok(Page::default())
    }

    /// Counts a user's sessions.
    pub async fn count_user(&self, user: &str) -> Result<u64> {
        let (partition, _) = self.of_user(user)?;
        self.count(&partition, "u", user).await
    }

    /// Counts a workspace's sessions; partition by partition, so not of one instant.
    pub async fn count_workspace(&self, workspace: &str) -> Result<u64> {
        check_name("workspace", workspace)?;
        let mut total = 0;
        for number in 0..PARTITIONS {
            total += self.count(&self.partition(number), "w", workspace).await?;
        }
        Ok(total)
    }

    /// Ends the session that a handle names; tells whether there was one.
    pub async fn revoke(&self, handle: Handle) -> Result<bool> {
        let partition = self.partition(handle.partition());
        let command = Command::new("HMGET").key(partition.session(handle)).arg("c").arg("u").arg("w").repeatable();
        let reply = self.call(command).await?;
        let text = |index: usize| reply.as_array()?.get(index)?.as_str().map(str::to_owned);
        let Some(stamp) = text(0) else {
            return Ok(false);
        };
        let (user, workspace) = (text(1).unwrap_or_default(), text(2).unwrap_or_default());
        Ok(self.revoke_entries(&partition, &[Entry { handle, stamp, user, workspace }]).await? == 1)
    }

    /// Ends all sessions that a user has now, but for `keep`, and returns how many there were: sign-out everywhere.
    ///
    /// They end in one step. A session that is created meanwhile may be among them or not.
    pub async fn revoke_user(&self, user: &str, keep: Option<&SessionId>) -> Result<u64> {
        let (partition, number) = self.of_user(user)?;
        let mut entries = self.user_entries(&partition, number, user).await?;
        entries.retain(|entry| keep.is_none_or(|id| id.handle() != entry.handle));
        self.revoke_entries(&partition, &entries).await
    }

    /// Ends all sessions that a workspace has now and returns how many there were. Not in one step: partition by
    /// partition.
    pub async fn revoke_workspace(&self, workspace: &str) -> Result<u64> {
        check_name("workspace", workspace)?;
        let mut ended = 0;
        for number in 0..PARTITIONS {
            let partition = self.partition(number);
            let set = partition.workspaces();
            let mut last: Option<String> = None;
            for _ in 0..MAX_REVOKE_PAGES {
                let page = self.range(&set, workspace, last.as_deref(), REVOKE_STEP, number, Entry::of_workspace);
                let entries = page.await?;
                let Some(end) = entries.last() else { break };
                last = Some(end.workspace_member());
                ended += self.revoke_entries(&partition, &entries).await?;
            }
        }
        Ok(ended)
    }

    fn of_user(&self, user: &str) -> Result<(Partition, usize)> {
        check_name("user", user)?;
        let number = usize::from(partition_of(user.as_bytes()));
        Ok((self.partition(number), number))
    }

    async fn user_entries(&self, partition: &Partition, number: usize, user: &str) -> Result<Vec<Entry>> {
        self.range(&partition.users(), user, None, MAX_SESSIONS_PER_USER, number, Entry::of_user).await
    }

    /// Reads a range of the index by user or by workspace.
    fn range(
        &self,
        set: &Key,
        name: &str,
        after: Option<&str>,
        limit: usize,
        number: usize,
        read: fn(usize, &Value) -> Result<Entry>,
    ) -> impl Future<Output = Result<Vec<Entry>>> + Send {
        let name = escape(name);
        let from = after.map_or_else(|| format!("[{name}:"), |member| format!("({member}"));
        // ';' is the character after ':'.
        let command = Command::new("ZRANGEBYLEX").key(set).arg(from).arg(format!("({name};"));
        let command = command.arg("LIMIT").arg(0_u64).arg(limit).repeatable();
        async move {
            let reply = self.call(command).await?;
            let members = reply.as_array().ok_or_else(|| Error::unexpected("ZRANGEBYLEX", &reply))?;
            members.iter().map(|member| read(number, member)).collect()
        }
    }

    /// Reads sessions without their fields, those that are still there.
    async fn shown(&self, partition: &Partition, entries: &[Entry]) -> Result<Vec<Session>> {
        let commands = entries.iter().map(|entry| {
            let start = Command::new("HMGET").key(partition.session(entry.handle)).repeatable();
            SHOWN.iter().fold(start, |command, name| command.arg(*name))
        });
        let replies = self.calls(commands.collect()).await?;
        let mut sessions = Vec::with_capacity(entries.len());
        for (entry, reply) in entries.iter().zip(replies) {
            let values = reply.into_array().map_err(|reply| Error::unexpected("HMGET", &reply))?;
            let names = SHOWN.iter().map(|name| Value::Bulk(name.as_bytes().to_vec()));
            sessions.extend(Record::read(entry.handle, names.zip(values).collect())?.map(|record| record.session));
        }
        Ok(sessions)
    }

    async fn count(&self, partition: &Partition, set: &'static str, name: &str) -> Result<u64> {
        let name = escape(name);
        for _ in 0..MAX_COUNT_STEPS {
            let reply = self.step(&steps::COUNT, &partition.index(), &[&set, &name]).await?;
            match numbers(&reply).as_deref() {
                Some([0, count]) => return Ok(*count),
                Some([_, _]) => {}
                _ => return Err(Error::unexpected(steps::COUNT.name(), &reply)),
            }
        }
        Err(Error::Conflict("sessions expire faster than they can be counted".to_owned()))
    }

    async fn revoke_entries(&self, partition: &Partition, entries: &[Entry]) -> Result<u64> {
        let mut total = 0;
        for entries in entries.chunks(REVOKE_STEP) {
            let pairs = entries.iter().flat_map(|entry| partition.pair(entry.handle));
            let keys: Vec<Key> = partition.index().into_iter().chain(pairs).collect();
            let members: Vec<String> = entries.iter().map(Entry::expiry_member).collect();
            let args: Vec<&dyn ToArg> = members.iter().map(|member| member as &dyn ToArg).collect();
            let reply = self.step(&steps::REVOKE, &keys, &args).await?;
            total += reply.as_u64().ok_or_else(|| Error::unexpected(steps::REVOKE.name(), &reply))?;
        }
        self.services.metrics().add(Counter::SessionsEnded, total);
        Ok(total)
    }
}

/// Reads where a page begins: partition and last member. A cursor of another list is an error.
fn read_cursor(cursor: &str, workspace: &str) -> Result<(usize, Option<String>)> {
    let read = || {
        let (number, member) = cursor.split_once(':')?;
        let number: usize = number.parse().ok().filter(|number| *number < PARTITIONS)?;
        let own = member.strip_prefix(&escape(workspace))?.starts_with(':');
        own.then(|| (number, Some(member.to_owned())))
    };
    read().ok_or_else(|| Error::invalid("after", "is not the end of a page of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_checked() {
        assert_eq!(read_cursor("03:w:1:r:u", "w").unwrap(), (3, Some("w:1:r:u".to_owned())));
        for bad in ["", "03", "16:w:1:r:u", "x:w:1:r:u", "03:ww:1:r:u", "03:v:1:r:u", "03:w"] {
            assert!(read_cursor(bad, "w").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        let handle = SessionId::generate(None).unwrap().handle();
        let entry = Entry { handle, stamp: "0001".into(), user: "a%3Ab".into(), workspace: String::new() };
        let bulk = |text: String| Value::Bulk(text.into_bytes());
        assert_eq!(Entry::of_user(handle.partition(), &bulk(entry.user_member())).unwrap(), entry);
        assert_eq!(Entry::of_workspace(handle.partition(), &bulk(entry.workspace_member())).unwrap(), entry);
        assert!(Entry::of_user(0, &bulk("a:b".into())).is_err());
        assert!(Entry::of_user(0, &bulk("a:b:c:d".into())).is_err());
    }
}
