//! What is left over: dead jobs that are to be tried again, and jobs that are to be removed.

use super::job::{State, check_id};
use super::payload::Payload;
use super::queue::{Queue, check_ids, item};
use super::steps::{CLEAR, REQUEUE};
use crate::backend::Command;
use crate::batch::MAX_BATCH;
use crate::error::{Error, Result};

/// What is to be removed or tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// All there are when the call begins.
    All,
    /// Those of these ids, at most [`MAX_BATCH`].
    Ids(&'a [String]),
}

impl Queue {
    /// Removes jobs of one state without a trace and returns how many. What workers are at can only be cancelled.
    pub async fn clear(&self, state: State, which: Which<'_>) -> Result<u64> {
        if matches!(state, State::Active | State::Cancelling) {
            return Err(Error::invalid("state", "active jobs cannot be removed, only cancelled"));
        }
        let command = |count: u64| self.command(&CLEAR, &[]).arg(state.letter()).arg(count);
        if let Which::Ids(ids) = which {
            check_ids(ids)?;
            return Ok(self.cleared(command(0).args_of(ids)).await?.0);
        }
        let (mut removed, left) = self.cleared(command(MAX_BATCH as u64)).await?;
        // Those that come meanwhile are not meant.
        let goal = removed + left;
        while removed < goal {
            match self.cleared(command((goal - removed).min(MAX_BATCH as u64))).await? {
                (0, _) => break,
                (now, _) => removed += now,
            }
        }
        Ok(removed)
    }

    async fn cleared(&self, command: Command) -> Result<(u64, u64)> {
        let reply = self.run(command).await?;
        match (item(&reply, 0), item(&reply, 1)) {
            (Some(removed), Some(left)) => Ok((removed, left)),
            _ => Err(Error::unexpected(CLEAR.name(), &reply)),
        }
    }

    /// Has dead jobs wait again, as if they were new, and returns how many; all there are, or up to [`MAX_BATCH`] named ones.
    pub async fn requeue(&self, which: Which<'_>) -> Result<u64> {
        match which {
            Which::Ids(ids) => {
                check_ids(ids)?;
                self.requeue_some(ids).await
            }
            Which::All => {
                let (mut requeued, all) = (0, self.counts().await?.dead);
                while requeued < all {
                    // The latest come first; those requeued are not among them any more.
                    let page = self.list(State::Dead, 0, MAX_BATCH).await?;
                    let ids: Vec<String> = page.into_iter().filter_map(|found| Some(found.job?.id)).collect();
                    if ids.is_empty() {
                        break;
                    }
                    requeued += self.requeue_some(&ids).await?;
                }
                Ok(requeued)
            }
        }
    }

    /// Has a dead job wait again, with another payload; not found if it is not among the dead.
    pub async fn requeue_edited(&self, id: &str, payload: &Payload) -> Result<()> {
        check_id(id)?;
        let (size_bytes, max_bytes) = (payload.as_bytes().len(), self.settings().payload_max);
        if size_bytes > max_bytes {
            return Err(Error::TooLarge { size_bytes, max_bytes });
        }
        match self.requeue_step(&[(id, &payload.marked())]).await? {
            1 => Ok(()),
            _ => Err(Error::NotFound(format!("dead job {id:?}"))),
        }
    }

    async fn requeue_some(&self, ids: &[String]) -> Result<u64> {
        let jobs: Vec<(&str, &[u8])> = ids.iter().map(|id| (id.as_str(), &b""[..])).collect();
        self.requeue_step(&jobs).await
    }

    async fn requeue_step(&self, jobs: &[(&str, &[u8])]) -> Result<u64> {
        let settings = self.settings();
        let mut command = self.command(&REQUEUE, &[]).arg(settings.length_max).arg(settings.bytes_max);
        for (id, payload) in jobs {
            command = command.arg(id).arg(payload);
        }
        let letters = self.admitted(&REQUEUE, &self.run(command).await?)?;
        Ok(letters.iter().filter(|letter| **letter == b'n').count() as u64)
    }
}
