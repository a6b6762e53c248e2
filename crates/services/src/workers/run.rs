//! One run of a handler, watched: it may answer, fail, panic, take too long, or be told to stop.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::task::{JoinHandle, unconstrained};
use tokio::time::Instant;
use tracing::Instrument;
use tracing::instrument::Instrumented;

use super::context::Context;
use super::handler::{Handler, HandlerResult, outcome_of};
use super::hold::{Hold, Stop};
use crate::caught::{Caught, Panicked};
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

/// A handler at work.
enum Work {
    /// Within the run, and dropped with it.
    Here(Instrumented<Caught<HandlerResult>>),
    /// On a thread that may block, which nobody can end.
    There(JoinHandle<HandlerResult>),
}

/// How a handler ended.
enum Answer {
    Answered(HandlerResult),
    Panicked(Panicked),
    /// It was not heard to end, as the runtime is ending.
    Unheard,
}

impl Future for Work {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Answer> {
        match self.get_mut() {
            Self::Here(work) => Pin::new(work).poll(context).map(|answer| match answer {
                Ok(answer) => Answer::Answered(answer),
                Err(panicked) => Answer::Panicked(panicked),
            }),
            Self::There(work) => Pin::new(work).poll(context).map(|answer| match answer {
                Ok(answer) => Answer::Answered(answer),
                Err(error) if error.is_panic() => Answer::Panicked(Panicked::of(&*error.into_panic())),
                Err(_) => Answer::Unheard,
            }),
        }
    }
}

impl Work {
    /// Ends it, and returns its answer if it cannot be ended and so has answered at last.
    async fn end(self) -> Option<Answer> {
        match self {
            Self::Here(_) => None,
            work @ Self::There(_) => Some(work.await),
        }
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
        if let Some(deadline) = deadline {
            hold.limit(deadline);
        }
        let mut work = self.work();
        let reason = tokio::select! {
            biased;
            answer = &mut work => return self.answered(answer),
            reason = hold.stopped() => reason,
            // Also when the handler has used up what a task may do at once.
            () = unconstrained(at(deadline)) => {
                hold.stop(Stop::TimedOut);
                Stop::TimedOut
            }
        };
        // After its timeout another may begin at once, so there is no grace.
        if reason == Stop::TimedOut {
            self.cx.queue().count(Counter::WorkerTimeouts, 1);
        } else {
            let grace = tokio::time::timeout(self.grace, &mut work).await;
            if let Ok(answer) = grace {
                return if reason == Stop::LeaseLost { End::Lost } else { self.answered(answer) };
            }
        }
        match work.end().await {
            None => ended(reason, timeout_ms),
            // The store knows whether that is too late.
            Some(_) if reason == Stop::LeaseLost => End::Lost,
            Some(answer) => self.answered(answer),
        }
    }

    /// Has the time of a job begin that has waited here, and returns when that was; an error is what becomes of one that is not to begin at all.
    async fn begin(&self) -> Result<Instant, End> {
        let (hold, now) = (self.cx.hold(), Instant::now());
        if self.leased.is_none() && (hold.timeout.is_some() || hold.is_over(now)) {
            // Unless the store says that the job is ours still, it may be another's, and is handed back. Boxed, as few runs come here and each would be as large.
            if let Err(error) = Box::pin(self.cx.begin()).await {
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

    fn work(&self) -> Work {
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
            Handler::Async(handler) => {
                let caught = span.in_scope(|| Caught::new(|| handler(cx)));
                Work::Here(caught.instrument(span))
            }
            Handler::Blocking(handler) => {
                Work::There(tokio::task::spawn_blocking(move || span.in_scope(|| handler(cx))))
            }
        }
    }

    fn answered(&self, answer: Answer) -> End {
        End::Told(match answer {
            Answer::Answered(answer) => outcome_of(answer),
            Answer::Panicked(Panicked(error)) => {
                self.cx.queue().count(Counter::WorkerPanics, 1);
                Outcome::Failed { error, retry_after: None }
            }
            Answer::Unheard => Outcome::Released { delay: Duration::ZERO },
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
