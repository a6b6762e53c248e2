//! Enqueuing once, for those who cannot know whether they have done so already.
//!
//! The id of a job keeps a second one away only while the first has not ended. Who counts what it enqueues (as a schedule does its fires) has the
//! count remembered beside the queue, in the same step.

use std::time::Duration;

use super::job::{NewJob, State};
use super::queue::{Enqueued, Queue};
use super::steps::ONCE;
use crate::error::Result;
use crate::metrics::Counter;

/// How long a number is remembered after it was the latest.
pub(crate) const NUMBER_AGE: Duration = Duration::from_secs(30 * 86_400);

impl Queue {
    /// Refuses a job that this queue would never take.
    pub(crate) fn check(&self, job: &NewJob) -> Result<()> {
        job.options(self.settings())?;
        job.record(self.settings()).map(drop)
    }

    /// Enqueues a job unless that was done before for this number of `counter`, or a larger one; nothing is returned then. Can be repeated.
    pub(crate) async fn enqueue_once(&self, counter: &str, number: u64, job: &NewJob) -> Result<Option<Enqueued>> {
        let settings = self.settings();
        let command = self.command(&ONCE, &[self.group().named("t", counter)]);
        let command = command.arg(settings.length_max).arg(settings.bytes_max).arg(number);
        let command = command.arg(u64::try_from(NUMBER_AGE.as_millis()).expect("it is short"));
        let (command, mut ids) = self.with_jobs(command, std::iter::once(job))?;
        let reply = self.run(command).await?;
        if reply.as_array().and_then(|parts| parts.first()?.as_str()) == Some("done") {
            return Ok(None);
        }
        let letters = self.admitted(&ONCE, &reply)?;
        let existing = letters.first().and_then(|letter| State::of_letter(*letter));
        self.count(if existing.is_some() { Counter::JobsDuplicate } else { Counter::JobsEnqueued }, 1);
        Ok(Some(Enqueued { id: ids.remove(0), existing }))
    }
}
