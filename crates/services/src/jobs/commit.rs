//! Completing a job together with what it did: changes of data in the store, and jobs that follow from it.
//!
//! A worker that writes first and completes then has written twice when it dies in between; one that completes first has written nothing. Here all
//! of it is one step, refused as a whole when the lease was lost. The data lies in the queue's own group, because one step has one hash tag:
//! [`Queue::data_key`] names it for whoever reads it.

use std::collections::HashSet;

use super::job::{NewJob, check_id};
use super::payload::Payload;
use super::queue::{MAX_BATCH, Queue, item};
use super::steps::COMMIT;
use super::work::Ticket;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::ttl::Ttl;

/// Most effects of one commit.
pub const MAX_EFFECTS: usize = 100;

/// Largest number that is added, either way: 2^53, what Lua holds exactly. A sum beyond is refused.
pub const MAX_SUM: i64 = 1 << 53;

/// A change of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Puts a value there, whatever was there before.
    Set {
        /// The value.
        value: Vec<u8>,
        /// How long it lives.
        ttl: Ttl,
    },
    /// Adds to an integer, which is 0 if there is none.
    Add {
        /// What to add, at most [`MAX_SUM`].
        by: i64,
    },
    /// Removes what is there.
    Delete,
    /// Sets a field of a hash.
    Field {
        /// The field.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// Appends to a list.
    Push {
        /// The element.
        value: Vec<u8>,
    },
}

/// What a job did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// Changes of data by name, each name once, at most [`MAX_EFFECTS`].
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
            let (verb, what, more) = effect.spelled()?;
            command = command.arg(verb).arg(what).arg(more);
        }
        let (command, _) = self.with_jobs(command, commit.jobs.iter())?;
        let reply = self.run(command).await?;
        match reply.as_array().and_then(|parts| parts.first()?.as_str()) {
            Some("lost") => {
                self.count(Counter::JobsLost, 1);
                Err(Error::Conflict(format!("the lease of job {:?} was lost", ticket.id)))
            }
            Some("misfit") => {
                let index = item(&reply, 1).and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
                let name = commit.effects.get(index.wrapping_sub(1)).map_or("", |(name, _)| name.as_str());
                Err(Error::Conflict(format!("{name:?} holds something else than the effect takes")))
            }
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
        check_name("name", name)?;
        Ok(self.group().named("u", name))
    }

    fn commit_keys(&self, ticket: &Ticket, commit: &Commit) -> Result<Vec<Key>> {
        if commit.effects.len() > MAX_EFFECTS {
            return Err(Error::invalid("effects", format_args!("more than {MAX_EFFECTS}")));
        }
        if commit.jobs.len() > MAX_BATCH {
            return Err(Error::invalid("jobs", format_args!("more than {MAX_BATCH}")));
        }
        let mut names = HashSet::new();
        let mut keys = vec![self.result_key(&ticket.id)];
        for (name, _) in &commit.effects {
            if !names.insert(name) {
                return Err(Error::invalid("effects", format_args!("{name:?} is there twice")));
            }
            keys.push(self.data_key(name)?);
        }
        Ok(keys)
    }
}

impl Effect {
    /// Returns the effect as the step takes it: verb, what, more.
    fn spelled(&self) -> Result<(&'static str, Vec<u8>, Vec<u8>)> {
        Ok(match self {
            Self::Set { value, ttl } => ("set", value.clone(), ttl.script_ms().to_string().into_bytes()),
            Self::Add { by } if (-MAX_SUM..=MAX_SUM).contains(by) => ("add", by.to_string().into_bytes(), Vec::new()),
            Self::Add { .. } => return Err(Error::invalid("by", format_args!("more than {MAX_SUM}"))),
            Self::Delete => ("delete", Vec::new(), Vec::new()),
            Self::Field { name, value } => ("field", name.as_bytes().to_vec(), value.clone()),
            Self::Push { value } => ("push", value.clone(), Vec::new()),
        })
    }
}
