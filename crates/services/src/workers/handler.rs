//! Handlers: what runs for a job, and what it may answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use crate::jobs::{Outcome, Payload};
use crate::operation::BoxFuture;
use crate::ttl::Ttl;

/// What a handler answers.
pub type HandlerResult = Result<Done, Failure>;

/// The job is done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Done {
    /// What came of it, if that is to be kept.
    pub result: Option<Payload>,
    /// How long; the settings' if absent.
    pub ttl: Option<Ttl>,
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<Payload> for Done {
    fn from(result: Payload) -> Self {
        Self { result: Some(result), ttl: None }
    }
}

impl From<Option<Payload>> for Done {
    fn from(result: Option<Payload>) -> Self {
        Self { result, ttl: None }
    }
}

/// The job is not done: what went wrong, and what is to happen next. Any error becomes one with `?`, to be tried again after the job's pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    error: String,
    next: Next,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    Retry(Option<Duration>),
    GiveUp,
    Release(Duration),
}

impl Failure {
    /// It is tried again after its pause, unless that was the last time.
    pub fn new(error: impl fmt::Display) -> Self {
        Self { error: error.to_string(), next: Next::Retry(None) }
    }

    /// It need not be tried again: the job is dead.
    pub fn give_up(error: impl fmt::Display) -> Self {
        Self { error: error.to_string(), next: Next::GiveUp }
    }

    /// It has not been tried: the job goes back to its place, to be left alone for so long.
    pub fn release(delay: Duration) -> Self {
        Self { error: String::new(), next: Next::Release(delay) }
    }

    /// Chooses the pause before the next attempt.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        if let Next::Retry(chosen) = &mut self.next {
            *chosen = Some(pause);
        }
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        // No chain of causes is long; the limit is for one that would go in a circle.
        for _ in 0..8 {
            let Some(inner) = cause else { break };
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        Self::new(text)
    }
}

pub(super) fn outcome_of(answer: HandlerResult) -> Outcome {
    match answer {
        Ok(Done { result, ttl }) => Outcome::Completed { result, ttl },
        Err(Failure { error, next }) => match next {
            Next::Retry(retry_after) => Outcome::Failed { error, retry_after },
            Next::GiveUp => Outcome::GivenUp { error },
            Next::Release(delay) => Outcome::Released { delay },
        },
    }
}

/// What runs for a job.
#[derive(Clone)]
pub(super) enum Handler {
    /// A future, which is dropped when its time is up.
    Async(Arc<dyn Fn(Context) -> BoxFuture<'static, HandlerResult> + Send + Sync>),
    /// A function on a thread of its own, which nobody can end.
    Blocking(Arc<dyn Fn(Context) -> HandlerResult + Send + Sync>),
}

impl fmt::Debug for Handler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Async(_) => "async",
            Self::Blocking(_) => "blocking",
        })
    }
}

impl Handler {
    pub(super) fn of<F, Fut, R>(handler: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
        R: Into<Done>,
    {
        Self::Async(Arc::new(move |cx| {
            let answer = handler(cx);
            Box::pin(async move { answer.await.map(Into::into) })
        }))
    }

    pub(super) fn blocking<F, R>(handler: F) -> Self
    where
        F: Fn(Context) -> Result<R, Failure> + Send + Sync + 'static,
        R: Into<Done>,
    {
        Self::Blocking(Arc::new(move |cx| handler(cx).map(Into::into)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_become() {
        let second = Duration::from_secs(1);
        let error = || "no such host".to_owned();
        for (answer, outcome) in [
            (Ok(().into()), Outcome::Completed { result: None, ttl: None }),
            (Ok(Payload::bytes(*b"x").into()), Outcome::Completed { result: Some(Payload::bytes(*b"x")), ttl: None }),
            (Err(Failure::new(error())), Outcome::Failed { error: error(), retry_after: None }),
            (Err(Failure::new(error()).after(second)), Outcome::Failed { error: error(), retry_after: Some(second) }),
            (Err(Failure::give_up(error()).after(second)), Outcome::GivenUp { error: error() }),
            (Err(Failure::release(second)), Outcome::Released { delay: second }),
        ] {
            assert_eq!(outcome_of(answer), outcome);
        }
        let parsed: Failure = "x".parse::<u32>().unwrap_err().into();
        assert_eq!(parsed, Failure::new("invalid digit found in string"));
    }
}
