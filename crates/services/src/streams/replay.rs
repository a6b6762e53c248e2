//! Reading a part of a stream again: into a group beside the others, or into a function.

use super::event::Entry;
use super::group::{Created, Group, GroupOptions};
use super::id::EntryId;
use super::stream::{Range, Stream};
use crate::error::{Error, Result};

/// Entries of one page.
const PAGE: usize = 100;

impl Group {
    /// Makes a group that reads a part of the stream again, beside all others and disturbing none: from its start to `until`, or to what is the last entry
    /// now, of the types and keys that it is restricted to. It is worked on like any other, and done when
    /// [`GroupStatus::is_complete`](super::GroupStatus::is_complete) says so. A conflict if the group is there already.
    pub async fn replay(&self, options: &GroupOptions) -> Result<()> {
        let until = match options.until {
            Some(until) => until,
            None => self.stream().info().await?.last.unwrap_or(EntryId::ZERO),
        };
        match self.create(&GroupOptions { until: Some(until), ..options.clone() }).await? {
            Created::New => Ok(()),
            _ => Err(Error::Conflict(format!("group {:?} is there already", self.name()))),
        }
    }
}

impl Stream {
    /// Gives the entries of a range to a function, one after the other, and disturbs no group: up to what is the last entry when it begins, unless the range
    /// ends before. Returns how many; ends at the function's first error.
    pub async fn replay<F, W>(&self, range: &Range, mut handle: F) -> Result<u64>
    where
        F: FnMut(Entry) -> W,
        W: Future<Output = Result<()>>,
    {
        let Some(last) = self.info().await?.last else { return Ok(0) };
        let mut range = Range { to: Some(range.to.map_or(last, |to| to.min(last))), ..range.clone() };
        let mut handled = 0;
        // Every page begins behind the one before, and what was published meanwhile is not read.
        loop {
            let page = self.read(&range, PAGE).await?;
            for entry in page.entries {
                handle(entry).await?;
                handled += 1;
            }
            match page.next {
                Some(next) if Some(next) <= range.to => range.from = Some(next),
                _ => return Ok(handled),
            }
        }
    }
}
