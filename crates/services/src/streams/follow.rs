//! Reading on behind an entry, for those who follow a stream as it is published: see [`pubsub`](crate::pubsub).

use redpoll_resp::Value;
use serde_json::{Map, Value as Json};

use super::event::Entry;
use super::id::EntryId;
use super::steps::{BEHIND, LATEST};
use super::stream::{Stream, read_entry};
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::leasing::REGISTERED;
use crate::ttl::ms;

/// What `publish.lua` says to all who follow; it stands in `stream.lua` too.
pub(crate) const FOLLOWERS: &str = "follow";

/// What stands behind an entry.
pub(crate) struct Followed {
    pub(crate) entries: Vec<FollowedEntry>,
    /// The last of the stream, or that it ever had.
    pub(crate) last: EntryId,
    /// The last number.
    pub(crate) sequence: u64,
    /// Whether there may be more than was asked for, or than is given at once.
    pub(crate) is_more: bool,
}

/// An entry as it is followed.
pub(crate) struct FollowedEntry {
    pub(crate) entry: Entry,
    /// What is there of an entry that is no event: its fields as a JSON object.
    pub(crate) fields: Vec<u8>,
    /// Bytes of its fields.
    pub(crate) size: usize,
}

impl Stream {
    /// Reads up to `count` entries behind one, and has who reads told for a moment of what is published next, if these are all.
    pub(crate) async fn behind(&self, entry: EntryId, count: usize) -> Result<Followed> {
        let args = [entry.to_string(), count.to_string(), ms(REGISTERED).to_string()];
        let reply = self.run(Command::script(&BEHIND, self.keys(), &args)).await?;
        let read = || {
            let [entries, last, sequence, is_more] = reply.as_array()? else { return None };
            let last = last.as_str()?.parse().ok()?;
            let entries = entries.as_array()?.iter().map(FollowedEntry::read).collect::<Option<_>>()?;
            Some(Followed { entries, last, sequence: sequence.as_u64()?, is_more: is_more.as_u64()? == 1 })
        };
        read().ok_or_else(|| Error::unexpected(BEHIND.name(), &reply))
    }

    /// Returns the first of the latest so many entries; none if there are none.
    pub(crate) async fn nth_latest(&self, count: u32) -> Result<Option<EntryId>> {
        check_batch("latest", count as usize)?;
        let reply = self.run(Command::script(&LATEST, self.keys(), &[count.to_string()])).await?;
        match reply.as_str() {
            Some("") => Ok(None),
            Some(id) => id.parse().map(Some),
            None => Err(Error::unexpected(LATEST.name(), &reply)),
        }
    }
}

impl FollowedEntry {
    fn read(value: &Value) -> Option<Self> {
        let [id, values] = value.as_array()? else { return None };
        let entry = read_entry(id, values)?;
        let texts: Vec<&[u8]> = values.as_array()?.iter().map(Value::as_bytes).collect::<Option<_>>()?;
        let fields = match &entry.event {
            Ok(_) => Vec::new(),
            Err(_) => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let fields: Map<_, _> =
                    texts.chunks_exact(2).map(|pair| (text(pair[0]), Json::String(text(pair[1])))).collect();
                Json::Object(fields).to_string().into_bytes()
            }
        };
        Some(Self { entry, fields, size: texts.iter().map(|text| text.len()).sum() })
    }
}
