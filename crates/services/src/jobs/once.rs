//! Enqueuing once, for those who cannot know whether they have done so already.
//!
//! The id of a job keeps a second one away only while the first has not ended. So that it is kept away for longer, a number is remembered beside the queue, in
//! the step that enqueues: of a name, for who enqueues a job once, or of a counter, for who counts what it enqueues (as a schedule does its fires).

use std::time::Duration;

use super::job::{NewJob, State, check_id};
use super::queue::{Enqueued, Queue};
use super::settings::MAX_DELAY;
use super::steps::ONCE;
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::metrics::Counter;
use crate::ttl::{bounded_ms, ms};

/// How long a counter's number is remembered after it was the latest.
pub(crate) const NUMBER_AGE: Duration = Duration::from_secs(30 * 86_400);

impl Queue {
    /// Refuses a job that this queue would never take.
    pub(crate) fn check(&self, job: &NewJob) -> Result<()> {
        job.options(self.settings())?;
        job.record(self.settings()).map(drop)
    }

    /// Enqueues a job unless one of its id is alive the time that this is remembered, also if that has ended and
    /// nothing else is known of it; tells whether it was enqueued now. So it may be repeated when the answer was lost. The job needs an id.
    pub async fn enqueue_once(&self, job: &NewJob, remember: Duration) -> Result<bool> {
        let Some(id) = &job.id else { return Err(Error::invalid("id", "is what the job is remembered by")) };
        check_id(id)?;
        let remember_ms = bounded_ms("remember_ms", remember, MAX_DELAY)?;
        if remember_ms == 0 {
            return Err(Error::invalid("remember_ms", "must be at least 1"));
        }
        let enqueued = self.once(self.group().named("i", id), 1, remember_ms, job).await?;
        Ok(enqueued.is_some_and(|enqueued| enqueued.existing.is_none()))
    }

    /// Enqueues a job unless that was done before for this number of `counter`, or a larger one; nothing is returned then. Can be repeated.
    pub(crate) async fn enqueue_counted(&self, counter: &str, number: u64, job: &NewJob) -> Result<Option<Enqueued>> {
        self.once(self.group().named("t", counter), number, ms(NUMBER_AGE), job).await
    }

    async fn once(&self, mark: Key, number: u64, remember_ms: u64, job: &NewJob) -> Result<Option<Enqueued>> {
        let settings = self.settings();
        let command = self.command(&ONCE, &[mark]).arg(settings.length_max).arg(settings.bytes_max);
        let (command, mut ids) = self.with_jobs(command.arg(number).arg(remember_ms), std::iter::once(job))?;
        let reply = self.run(command).await?;
        if reply.as_array().and_then(|parts| parts.first()?.as_str()) == Some("done") {
            self.count(Counter::JobsDuplicate, 1);
            return Ok(None);
        }
        let letters = self.admitted(&ONCE, &reply)?;
        let existing = letters.first().and_then(|letter| State::of_letter(*letter));
        self.count(if existing.is_some() { Counter::JobsDuplicate } else { Counter::JobsEnqueued }, 1);
        Ok(Some(Enqueued { id: ids.remove(0), existing }))
    }
}
