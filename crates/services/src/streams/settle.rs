//! What became of leased entries, and signs of life meanwhile.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::group::Group;
use super::settings::MAX_PAUSE;
use super::steps::{RENEW, SETTLE};
use super::take::Ticket;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::metrics::Counter;
use crate::ttl::bounded_ms;

/// Longest text of what went wrong that is kept, in bytes; the rest is cut off.
pub const MAX_CAUSE_BYTES: usize = 4_096;

/// What became of a leased entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has been handled.
    Done,
    /// Handling it failed; it is tried again unless that was the last time.
    Failed {
        /// What went wrong.
        cause: String,
        /// When to try again; after the group's pause if absent.
        pause: Option<Duration>,
    },
    /// Handling it failed and need not be tried again.
    GivenUp {
        /// What went wrong.
        cause: String,
    },
    /// It cannot be understood, whoever tries.
    Poison {
        /// Why.
        cause: String,
    },
    /// It is handed back as if it had not been taken.
    Released {
        /// How long it is to be left alone.
        delay: Duration,
    },
}

/// What the store made of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// It is acknowledged, and the group is done with it.
    Done,
    /// It will be taken again.
    Again,
    /// It is a dead letter, and acknowledged in the same step.
    Dead,
    /// The outcome was refused and changed nothing: the lease was lost, and another may have the entry.
    Lost,
}

impl Group {
    /// Says what became of up to [`MAX_BATCH`](super::MAX_BATCH) entries, in one step. What is said with a ticket that is no longer the entry's changes
    /// nothing, and so does what is said a second time: both are [`Settled::Lost`].
    pub async fn settle(&self, outcomes: &[(Ticket, Outcome)]) -> Result<Vec<Settled>> {
        check_batch("outcomes", outcomes.len())?;
        let mut command = self.command(&SETTLE);
        for (ticket, outcome) in outcomes {
            let (verb, cause, ms) = outcome.spelled()?;
            command = command.arg(format!("{verb}{:016}{}", ticket.token, ticket.entry));
            if *outcome != Outcome::Done {
                command = command.arg(cause).arg(ms);
            }
        }
        let reply = self.stream().run(command).await?;
        let letters = reply.as_bytes().unwrap_or_default();
        if letters.len() != outcomes.len() {
            return Err(Error::unexpected(SETTLE.name(), &reply));
        }
        let settled: Vec<Settled> = letters
            .iter()
            .map(|letter| match letter {
                b'd' => Settled::Done,
                b'r' => Settled::Again,
                b'k' => Settled::Dead,
                _ => Settled::Lost,
            })
            .collect();
        self.tally(outcomes, &settled);
        Ok(settled)
    }

    /// Says that an entry has been handled. A conflict if its lease was lost: then another has it or has had it, and this changed nothing.
    pub async fn ack(&self, ticket: &Ticket) -> Result<()> {
        self.settle_one(ticket, Outcome::Done).await.map(drop)
    }

    /// Says that handling an entry failed, and tells whether it is tried again or dead. A conflict if its lease was lost.
    pub async fn fail(&self, ticket: &Ticket, cause: impl Into<String>) -> Result<Settled> {
        self.settle_one(ticket, Outcome::Failed { cause: cause.into(), pause: None }).await
    }

    /// Says what became of one entry. A conflict if its lease was lost.
    pub async fn settle_one(&self, ticket: &Ticket, outcome: Outcome) -> Result<Settled> {
        match self.settle(&[(*ticket, outcome)]).await?.as_slice() {
            [settled] if *settled != Settled::Lost => Ok(*settled),
            _ => Err(Error::Conflict(format!("the lease of entry {} was lost", ticket.entry))),
        }
    }

    /// Begins the leases of up to [`MAX_BATCH`](super::MAX_BATCH) entries anew, and tells of each whether it goes on.
    pub async fn renew(&self, tickets: &[Ticket], lease: Option<Duration>) -> Result<Vec<bool>> {
        check_batch("tickets", tickets.len())?;
        let mut command = self.command(&RENEW).arg(self.stream().settings().lease_ms(lease)?);
        for ticket in tickets {
            command = command.arg(ticket.entry.to_string()).arg(ticket.token);
        }
        let reply = self.stream().run(command).await?;
        match reply.as_bytes() {
            Some(letters) if letters.len() == tickets.len() => {
                Ok(letters.iter().map(|letter| *letter == b'a').collect())
            }
            _ => Err(Error::unexpected(RENEW.name(), &reply)),
        }
    }

    fn tally(&self, outcomes: &[(Ticket, Outcome)], settled: &[Settled]) {
        let count = |counts: &dyn Fn(&Outcome, Settled) -> bool| {
            outcomes.iter().zip(settled).filter(|((_, outcome), settled)| counts(outcome, **settled)).count()
        };
        let stream = self.stream();
        stream.count(Counter::StreamsAcknowledged, count(&|_, settled| settled == Settled::Done));
        stream.count(Counter::StreamsDead, count(&|_, settled| settled == Settled::Dead));
        stream.count(Counter::StreamsLost, count(&|_, settled| settled == Settled::Lost));
        let is_failure = |outcome: &Outcome| !matches!(outcome, Outcome::Done | Outcome::Released { .. });
        stream
            .count(Counter::StreamsFailed, count(&|outcome, settled| is_failure(outcome) && settled != Settled::Lost));
    }
}

impl Outcome {
    /// Refuses what no step would take.
    pub(super) fn check(&self) -> Result<()> {
        self.spelled().map(drop)
    }

    /// Returns the outcome as the step takes it: verb, cause, ms.
    fn spelled(&self) -> Result<(&'static str, &[u8], String)> {
        let cut = |cause: &'_ str| cause.floor_char_boundary(MAX_CAUSE_BYTES);
        Ok(match self {
            Self::Done => ("d", &[], String::new()),
            Self::Failed { cause, pause } => {
                let pause = pause.map(|pause| bounded_ms("pause_ms", pause, MAX_PAUSE)).transpose()?;
                ("f", &cause.as_bytes()[..cut(cause)], pause.map(|ms| ms.to_string()).unwrap_or_default())
            }
            Self::GivenUp { cause } => ("g", &cause.as_bytes()[..cut(cause)], String::new()),
            Self::Poison { cause } => ("x", &cause.as_bytes()[..cut(cause)], String::new()),
            Self::Released { delay } => ("r", &[], bounded_ms("pause_ms", *delay, MAX_PAUSE)?.to_string()),
        })
    }
}
