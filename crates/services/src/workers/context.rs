//! What a handler is given: the job, and what it may say while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hold::{Hold, Stop};
use crate::error::{Error, Result};
use crate::jobs::{Commit, Job, Payload, Queue, Ticket};

/// A run of a job, as its handler sees it. Cloning is cheap.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    queue: Queue,
    job: Job,
    hold: Arc<Hold>,
    lease: Duration,
}

/// W3C trace context that came with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace<'a> {
    /// The whole `traceparent`, of version 00: `00-<trace id>-<parent id>-<flags>`.
    pub traceparent: &'a str,
    /// 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// 16 hexadecimal digits.
    pub parent_id: &'a str,
    /// What vendors add, unread.
    pub tracestate: Option<&'a str>,
}

impl Context {
    pub(super) fn new(queue: Queue, job: Job, hold: Arc<Hold>, lease: Duration) -> Self {
        Self(Arc::new(Inner { queue, job, hold, lease }))
    }

    /// Returns the job.
    pub fn job(&self) -> &Job {
        &self.0.job
    }

    /// Returns what the job is about.
    pub fn payload(&self) -> &Payload {
        self.0.job.payload.as_ref().expect("a leased job has its record")
    }

    /// Returns the number of this run, from 1: above that, the job may have been done already.
    pub fn attempt(&self) -> u32 {
        self.0.job.attempt()
    }

    /// Returns the lease; its token is a fence.
    pub fn ticket(&self) -> &Ticket {
        &self.0.hold.ticket
    }

    /// Returns the queue the job is of.
    pub fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// Says how far the job is, which renews its lease too, and returns why it is to stop, if it is.
    pub async fn progress(&self, progress: &Payload) -> Result<Option<Stop>> {
        let sent = Instant::now();
        let heartbeat = self.0.queue.progress(self.ticket(), progress, Some(self.0.lease)).await?;
        self.0.hold.hear(heartbeat, sent);
        Ok(self.stop_reason())
    }

    /// Appends a line to the job's log. A conflict if the lease was lost.
    pub async fn log(&self, line: impl Into<String>) -> Result<()> {
        self.0.queue.log(self.ticket(), &[line.into()]).await.map(drop)
    }

    /// Returns why the handler is to stop, if it is.
    pub fn stop_reason(&self) -> Option<Stop> {
        self.0.hold.stop_reason()
    }

    /// Waits until the handler is to stop. It is dropped a grace later, and what it answers until then still counts, unless the lease was lost.
    pub async fn stopped(&self) -> Stop {
        self.0.hold.stopped().await
    }

    /// Completes the job, changes data beside the queue and enqueues what follows, all or nothing; what the handler answers after that does not
    /// matter. A conflict if the lease was lost, the queue is full or an effect does not fit.
    pub async fn commit(&self, commit: &Commit) -> Result<()> {
        let hold = &self.0.hold;
        if hold.is_committed() {
            return Err(Error::Conflict(format!("job {:?} has been committed", hold.ticket.id)));
        }
        let _committing = hold.committing();
        let committed = self.0.queue.commit(&hold.ticket, commit).await;
        if committed.is_ok() {
            hold.committed();
        }
        committed
    }

    /// Returns the trace context that came with the job, if it is one.
    pub fn trace(&self) -> Option<Trace<'_>> {
        let headers = &self.0.job.headers;
        Trace::read(headers.value("traceparent")?, headers.value("tracestate"))
    }

    pub(super) fn hold(&self) -> &Arc<Hold> {
        &self.0.hold
    }

    /// Says that the run begins now, for a job that has waited here; from now on its time counts, if that is limited.
    pub(super) async fn begin(&self) -> Result<()> {
        let (tickets, sent) = (std::slice::from_ref(self.ticket()), Instant::now());
        let heartbeat = self.0.queue.extend_unbegun(tickets, Some(self.0.lease)).await?.remove(0);
        self.0.hold.hear(heartbeat, sent);
        Ok(())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Context").field("job", &self.0.job.id).finish_non_exhaustive()
    }
}

impl<'a> Trace<'a> {
    fn read(traceparent: &'a str, tracestate: Option<&'a str>) -> Option<Self> {
        let parts: Vec<&str> = traceparent.split('-').collect();
        let ["00", trace_id, parent_id, flags] = parts.as_slice() else { return None };
        let is_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let is_some = |text: &str| text.bytes().any(|byte| byte != b'0');
        let fits = is_hex(trace_id, 32) && is_hex(parent_id, 16) && is_hex(flags, 2);
        (fits && is_some(trace_id) && is_some(parent_id)).then_some(Self {
            traceparent,
            trace_id,
            parent_id,
            tracestate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_contexts() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::read(parent, Some("a=b")).unwrap();
        assert_eq!((trace.trace_id, trace.parent_id), ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(Trace::read(bad, None), None, "{bad}");
        }
    }
}
