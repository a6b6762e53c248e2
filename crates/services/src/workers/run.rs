//! One run of a handler, watched: it may answer, fail, panic, take too long, or be told to stop.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::Instrument;

use super::context::Context;
use super::handler::{Handler, HandlerResult, outcome_of};
use super::hold::{Hold, Stop};
use crate::jobs::Outcome;
use crate::metrics::Counter;

/// A run that is about to begin.
pub(super) struct Run {
    pub(super) cx: Context,
    pub(super) handler: Handler,
    /// When the lease began, if the job has been here ever since; none if it has waited and its time is to be counted from now.
    pub(super) leased: Option<Instant>,
    /// How long the handler may go on after it was told to stop.
    pub(super) grace: Duration,
}

/// How a run ended.
pub(super) enum End {
    /// The store is to be told this.
    Told(Outcome),
    /// The handler has told it already.
    Committed,
    /// It is another's job by now.
    Lost,
}

/// Ends a task when it is dropped, so that a handler does not outlive who watches it.
struct Guard(AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Run {
    pub(super) async fn run(self) -> (Arc<Hold>, End) {
        let hold = self.cx.hold().clone();
        let end = self.watch().await;
        match end {
            _ if hold.is_committed() => (hold, End::Committed),
            end => (hold, end),
        }
    }

    async fn watch(self) -> End {
        let hold = self.cx.hold().clone();
        let begun = match self.begin().await {
            Ok(begun) => begun,
            Err(end) => return end,
        };
        let timeout_ms = self.cx.job().timeout_ms;
        let deadline = timeout_ms.map(|ms| begun + Duration::from_millis(ms));
        let mut task = self.spawn();
        let _guard = Guard(task.abort_handle());
        let reason = tokio::select! {
            biased;
            answer = &mut task => return self.answered(answer),
            reason = hold.stopped() => reason,
            () = at(deadline) => {
                hold.stop(Stop::TimedOut);
                self.cx.queue().count(Counter::WorkerTimeouts, 1);
                Stop::TimedOut
            }
        };
        // After its timeout another may begin at once, so there is no grace.
        if reason != Stop::TimedOut {
            let grace = tokio::time::timeout(self.grace, &mut task).await;
            if let Ok(answer) = grace {
                return if reason == Stop::LeaseLost { End::Lost } else { self.answered(answer) };
            }
        }
        task.abort();
        match task.await {
            Err(error) if error.is_cancelled() => ended(reason, timeout_ms),
            // What cannot be dropped has answered at last; the store knows whether that is too late.
            _ if reason == Stop::LeaseLost => End::Lost,
            answer => self.answered(answer),
        }
    }

    /// Has the time of a job begin that has waited here, and returns when that was; an error is what becomes of one that is not to begin at all.
    async fn begin(&self) -> Result<Instant, End> {
        let (hold, now) = (self.cx.hold(), Instant::now());
        if self.leased.is_none() && (hold.timeout.is_some() || hold.is_over(now)) {
            // Unless the store says that the job is ours still, it may be another's, and is handed back.
            if let Err(error) = self.cx.begin().await {
                tracing::warn!(job = hold.ticket.id, %error, "a run is not begun, as its lease is not known to hold");
                return Err(End::Told(Outcome::Released { delay: Duration::ZERO }));
            }
        }
        hold.begin();
        match hold.stop_reason() {
            None => Ok(self.leased.unwrap_or(now)),
            Some(reason) => Err(ended(reason, self.cx.job().timeout_ms)),
        }
    }

    fn spawn(&self) -> JoinHandle<HandlerResult> {
        let (cx, job) = (self.cx.clone(), self.cx.job());
        let traceparent = self.cx.trace().map(|trace| trace.traceparent);
        let span = tracing::info_span!(
            "job",
            queue = cx.queue().name(),
            id = job.id,
            name = job.name,
            attempt = job.attempt(),
            traceparent
        );
        match self.handler.clone() {
            Handler::Async(handler) => tokio::spawn(async move { handler(cx).await }.instrument(span)),
            Handler::Blocking(handler) => tokio::task::spawn_blocking(move || span.in_scope(|| handler(cx))),
        }
    }

    fn answered(&self, answer: Result<HandlerResult, JoinError>) -> End {
        End::Told(match answer {
            Ok(answer) => outcome_of(answer),
            Err(error) if error.is_panic() => {
                self.cx.queue().count(Counter::WorkerPanics, 1);
                let error = format!("panicked: {}", panic_text(&*error.into_panic()));
                Outcome::Failed { error, retry_after: None }
            }
            // The runtime is ending.
            Err(_) => Outcome::Released { delay: Duration::ZERO },
        })
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Returns what becomes of a run that was ended from outside.
fn ended(reason: Stop, timeout_ms: Option<u64>) -> End {
    match reason {
        Stop::LeaseLost => End::Lost,
        // One that was cancelled ends in the store, whatever is said of it.
        Stop::Cancelled | Stop::Draining => End::Told(Outcome::Released { delay: Duration::ZERO }),
        Stop::TimedOut => {
            let error = format!("timed out after {} ms", timeout_ms.unwrap_or_default());
            End::Told(Outcome::Failed { error, retry_after: None })
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}
