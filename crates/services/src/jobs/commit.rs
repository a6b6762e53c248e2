//! Completing a job together with what it did: changes of data in the store, and jobs that follow from it.
//!
//! A worker that writes first and completes then has written twice when it dies in between; one that completes first has written nothing. Here all
//! of it is one step, refused as a whole when the lease was lost. The data lies in the queue's own group, because one step has one hash tag:
//! [`Queue::data_key`] names it for whoever reads it.

use super::job::{NewJob, check_id};
use super::payload::Payload;
use super::queue::{Queue, item};
use super::steps::COMMIT;
use super::work::Ticket;
use crate::batch::MAX_BATCH;
use crate::effects::{self, Effect};
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::metrics::Counter;
use crate::ttl::Ttl;

/// What a job did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// Changes of data by name, each name once, at most [`MAX_EFFECTS`](effects::MAX_EFFECTS).
    pub effects: Vec<(String, Effect)>,
    /// Jobs that follow, at most [`MAX_BATCH`]. An id that is alive stays as it is.
    pub jobs: Vec<NewJob>,
    /// What came of it, if that is to be kept.
    pub result: Option<Payload>,
    /// How long; the settings' if absent.
    pub ttl: Option<Ttl>,
}

impl Queue {
    /// Completes a job, changes data and enqueues jobs in one step. A conflict if the lease was lost, the queue is full, or a name
    /// holds something that the effect does not fit; then nothing was changed.
    pub async fn commit(&self, ticket: &Ticket, commit: &Commit) -> Result<()> {
        check_id(&ticket.id)?;
        let keys = self.commit_keys(ticket, commit)?;
        let settings = self.settings();
        let (result, ttl_ms) = self.spelled_result(commit.result.as_ref(), commit.ttl)?;
        let mut command = self.command(&COMMIT, &keys).arg(settings.length_max).arg(settings.bytes_max);
        command = command.arg(&ticket.id).arg(ticket.token).arg(result).arg(ttl_ms).arg(commit.effects.len());
        for (_, effect) in &commit.effects {
            command = command.args_of(&effect.spelled()?);
        }
        let (command, _) = self.with_jobs(command, commit.jobs.iter())?;
        let reply = self.run(command).await?;
        match reply.as_array().and_then(|parts| parts.first()?.as_str()) {
            Some("lost") => {
                self.count(Counter::JobsLost, 1);
                Err(Error::Conflict(format!("the lease of job {:?} was lost", ticket.id)))
            }
            Some("misfit") => Err(effects::misfit(&commit.effects, item(&reply, 1).unwrap_or_default())),
            _ => {
                let letters = self.admitted(&COMMIT, &reply)?;
                self.count(Counter::JobsEnqueued, letters.iter().filter(|letter| **letter == b'n').count());
                self.count(Counter::JobsCompleted, 1);
                Ok(())
            }
        }
    }

    /// Returns the key of data that jobs of this queue change.
    pub fn data_key(&self, name: &str) -> Result<Key> {
        effects::data_key(self.group(), name)
    }

    fn commit_keys(&self, ticket: &Ticket, commit: &Commit) -> Result<Vec<Key>> {
        if commit.jobs.len() > MAX_BATCH {
            return Err(Error::invalid("jobs", format_args!("more than {MAX_BATCH}")));
        }
        let mut keys = vec![self.result_key(&ticket.id)];
        keys.extend(effects::data_keys(self.group(), &commit.effects)?);
        Ok(keys)
    }
}
