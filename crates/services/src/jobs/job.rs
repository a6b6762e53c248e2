//! A job: as a producer gives it, and as it is found in the store.

use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::headers::Headers;
use super::payload::Payload;
use super::settings::{JobSettings, MAX_ATTEMPTS, MAX_DELAY, MAX_TIMEOUT};
use crate::error::{Error, Result};
use crate::ttl::{MAX_TTL_MS, bounded_ms};

/// Longest name of a job, in bytes.
pub const MAX_JOB_NAME_BYTES: usize = 255;

/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 255;

/// Longest name of a group, in bytes.
pub const MAX_GROUP_BYTES: usize = 128;

/// How many numbers each priority has in the order of those that wait.
const SHARE: u64 = 1 << 44;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waiting for a worker.
    Waiting,
    /// Waiting until it is due: enqueued with a delay, or to be tried again after a pause.
    Delayed,
    /// Waiting until all its children have completed.
    Blocked,
    /// Leased to a worker.
    Active,
    /// Leased to a worker that is told to stop.
    Cancelling,
    /// Done.
    Completed,
    /// Ended before it was done, because somebody asked for it.
    Cancelled,
    /// Ended because nobody had begun with it in time.
    Expired,
    /// Given up: it has failed, or its lease was lost, as often as it may.
    Dead,
}

/// Every state and its letter in the store.
const LETTERS: [(State, &str); 9] = [
    (State::Waiting, "w"),
    (State::Delayed, "d"),
    (State::Blocked, "p"),
    (State::Active, "a"),
    (State::Cancelling, "r"),
    (State::Completed, "c"),
    (State::Cancelled, "x"),
    (State::Expired, "o"),
    (State::Dead, "k"),
];

impl State {
    /// Tells whether the job is over.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Expired | Self::Dead)
    }

    pub(super) fn letter(self) -> &'static str {
        LETTERS.iter().find(|(state, _)| *state == self).expect("all are listed").1
    }

    pub(super) fn of_letter(letter: u8) -> Option<Self> {
        LETTERS.iter().find(|(_, known)| known.as_bytes() == [letter]).map(|(state, _)| *state)
    }
}

/// A job to enqueue; absent parts are the settings'.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewJob {
    /// Its id within the queue; while a job of that id is not ended, another is not enqueued. A random one if absent.
    pub id: Option<String>,
    /// What sort of job it is, by which a worker knows what to do.
    pub name: String,
    /// What it is about.
    pub payload: Payload,
    /// Short texts beside the payload, such as the trace context.
    pub headers: Headers,
    /// Larger ones are worked on first; equal ones in the order they were enqueued.
    pub priority: i8,
    /// How long it waits at least.
    pub delay: Duration,
    /// When it is due at the earliest, in milliseconds since 1970 by the store's clock. Both hold if there is a delay too.
    pub at_ms: u64,
    /// How long it may wait, from now; then it expires. For ever if absent.
    pub patience: Option<Duration>,
    /// How long one run may take, whatever heartbeats say; then it has failed. As long as it is renewed if absent.
    pub timeout: Option<Duration>,
    /// Failures after which it is dead.
    pub attempts_max: Option<u32>,
    /// Lost leases after which it is dead.
    pub lost_max: Option<u32>,
    /// Pause after the first failure.
    pub retry_base: Option<Duration>,
    /// Longest pause.
    pub retry_cap: Option<Duration>,
    /// Whose it is, such as a tenant: groups take turns, however many jobs each has. Those without one are a group together.
    pub group: Option<String>,
}

impl NewJob {
    /// Makes a job of a name, about this.
    pub fn new(name: impl Into<String>, payload: Payload) -> Self {
        Self { name: name.into(), payload, ..Self::default() }
    }

    pub(super) fn id(&self) -> Result<String> {
        let Some(id) = &self.id else { return Ok(Uuid::new_v4().to_string()) };
        check_id(id)?;
        Ok(id.clone())
    }

    /// Returns the record, if its size is within the limits.
    pub(super) fn record(&self, settings: &JobSettings) -> Result<Vec<u8>> {
        if self.name.len() > MAX_JOB_NAME_BYTES {
            return Err(Error::invalid("name", format_args!("longer than {MAX_JOB_NAME_BYTES} bytes")));
        }
        self.headers.check()?;
        let record = self.payload.record(&self.name, &self.headers);
        match record.len() <= settings.payload_max {
            true => Ok(record),
            false => Err(Error::TooLarge { size_bytes: record.len(), max_bytes: settings.payload_max }),
        }
    }

    /// Returns the part of a step that most jobs of a batch share; see `enqueue.lua`.
    pub(crate) fn options(&self, settings: &JobSettings) -> Result<String> {
        let delay = bounded_ms("delay_ms", self.delay, MAX_DELAY)?;
        if self.at_ms > MAX_TTL_MS {
            return Err(Error::invalid("at_ms", format_args!("more than {MAX_TTL_MS}")));
        }
        let patience = some_ms("patience_ms", self.patience, MAX_DELAY)?;
        let timeout = some_ms("timeout_ms", self.timeout, MAX_TIMEOUT)?;
        let attempts_max = count("attempts_max", self.attempts_max.unwrap_or(settings.attempts_max))?;
        let lost_max = count("lost_max", self.lost_max.unwrap_or(settings.lost_max))?;
        let base = bounded_ms("retry_base_ms", self.retry_base.unwrap_or(settings.retry_base), MAX_DELAY)?;
        let cap = bounded_ms("retry_cap_ms", self.retry_cap.unwrap_or(settings.retry_cap), MAX_DELAY)?;
        let (priority, at) = (self.priority, self.at_ms);
        let mut options =
            format!("{priority},{delay},{at},{patience},{timeout};{attempts_max},{lost_max},{base},{cap}");
        if let Some(group) = &self.group {
            check_group(group)?;
            options.push(';');
            options.push_str(group);
        }
        Ok(options)
    }
}

/// Refuses ids that are empty or too long.
pub(super) fn check_id(id: &str) -> Result<()> {
    match id.len() {
        1..=MAX_ID_BYTES => Ok(()),
        _ => Err(Error::invalid("id", format_args!("must have 1 to {MAX_ID_BYTES} bytes"))),
    }
}

/// Refuses names of groups that are empty, too long, or have control characters, which the store keeps behind names.
pub(super) fn check_group(group: &str) -> Result<()> {
    match group.len() {
        1..=MAX_GROUP_BYTES if !group.contains(|letter: char| letter.is_ascii_control()) => Ok(()),
        _ => Err(Error::invalid("group", format_args!("must have 1 to {MAX_GROUP_BYTES} bytes, none of them control"))),
    }
}

fn some_ms(field: &'static str, duration: Option<Duration>, max: Duration) -> Result<u64> {
    match duration.map(|duration| bounded_ms(field, duration, max)).transpose()? {
        Some(0) => Err(Error::invalid(field, "must be at least 1")),
        ms => Ok(ms.unwrap_or(0)),
    }
}

fn count(field: &'static str, count: u32) -> Result<u32> {
    match (1..=MAX_ATTEMPTS).contains(&count) {
        true => Ok(count),
        false => Err(Error::invalid(field, format_args!("must be 1 to {MAX_ATTEMPTS}"))),
    }
}

/// A job as it was at one moment. Times are milliseconds since 1970 by the store's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What sort of job it is; empty if its record is gone, as that of one that has ended and is not dead.
    pub name: String,
    /// What it is about; none if its record is gone.
    pub payload: Option<Payload>,
    /// Its headers; none if its record is gone.
    pub headers: Headers,
    /// Where it is.
    pub state: State,
    /// Its priority.
    pub priority: i8,
    /// Its number in the order of the queue: those enqueued later have larger ones.
    pub number: u64,
    /// How often it has failed.
    pub failures: u32,
    /// How often its lease ended without an outcome.
    pub lost: u32,
    /// When it was enqueued.
    pub created_ms: u64,
    /// Since when it is in this state; for an active job, when the lease began.
    pub since_ms: u64,
    /// When it expires if nobody has begun with it, if ever.
    pub expires_ms: Option<u64>,
    /// How long one run may take, if that is limited.
    pub timeout_ms: Option<u64>,
    /// Failures after which it is dead.
    pub attempts_max: u32,
    /// Lost leases after which it is dead.
    pub lost_max: u32,
    /// Its group, if it has one.
    pub group: Option<String>,
    pub(super) token: u64,
}

impl Job {
    /// Returns the number of its present or next run, from 1: every run before has failed or was lost.
    pub fn attempt(&self) -> u32 {
        self.failures + self.lost + 1
    }

    /// Reads what the store says of a job; nothing if it has not the form of `queue.lua`.
    pub(super) fn read(id: &Value, state: &Value, record: &Value) -> Option<Self> {
        let form = state.as_str()?;
        let number = |first: usize, last: usize| form.get(first - 1..last)?.parse::<u64>().ok();
        let (policy, group) =
            form.get(99..)?.split_once(';').map_or((form.get(99..)?, None), |(policy, group)| (policy, Some(group)));
        let mut policy = policy.split(',').map(|part| part.parse().ok());
        let (name, headers, payload) = match record.as_bytes() {
            Some(record) => {
                let (name, headers, payload) = Payload::read_record(record)?;
                (name, headers, Some(payload))
            }
            None => (String::new(), Headers::default(), None),
        };
        let order = number(2, 17)?;
        let some = |number: u64| (number > 0).then_some(number);
        Some(Self {
            id: id.as_str()?.to_owned(),
            name,
            payload,
            headers,
            state: State::of_letter(*form.as_bytes().first()?)?,
            priority: i8::try_from(127 - i64::try_from(order / SHARE).ok()?).ok()?,
            number: order % SHARE,
            failures: number(18, 21)?.try_into().ok()?,
            lost: number(22, 25)?.try_into().ok()?,
            token: number(26, 41)?,
            since_ms: number(42, 54)?,
            expires_ms: some(number(55, 67)?),
            timeout_ms: some(number(68, 77)?),
            created_ms: number(87, 99)?,
            attempts_max: policy.next()??,
            lost_max: policy.next()??,
            group: group.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    #[test]
    fn a_state_is_read() {
        let order = (127 - 5) * SHARE + 42;
        let form = format!("a{order:016}00020001{:016}{:013}{:013}{:010}{:09}{:013}7,3,10,1000", 99, 5, 0, 60, 1, 4);
        let job = Job::read(&bulk("x"), &bulk(&form), &bulk("b1:nX")).unwrap();
        assert_eq!((job.priority, job.number, job.attempt(), job.token), (5, 42, 4, 99));
        assert_eq!((job.since_ms, job.expires_ms, job.timeout_ms, job.created_ms), (5, None, Some(60), 4));
        assert_eq!((job.attempts_max, job.lost_max, job.state), (7, 3, State::Active));
        assert_eq!((job.name.as_str(), job.payload), ("n", Some(Payload::bytes(*b"X"))));
        for end in 0..form.len() - "3,10,1000".len() {
            assert_eq!(Job::read(&bulk("x"), &bulk(&form[..end]), &Value::Nil), None);
        }
        assert_eq!(Job::read(&bulk("x"), &bulk(&form.replace('a', "?")), &Value::Nil), None);
        let of_group = Job::read(&bulk("x"), &bulk(&format!("{form};a;b,c")), &Value::Nil).unwrap();
        assert_eq!((job.group, of_group.group.as_deref(), of_group.lost_max), (None, Some("a;b,c"), 3));
    }

    #[test]
    fn what_a_job_may_be() {
        let settings = JobSettings { payload_max: 10, ..JobSettings::default() };
        let job = NewJob::default();
        assert_eq!(job.options(&settings).unwrap(), "0,0,0,0,0;10,5,1000,3600000");
        let second = Some(Duration::from_secs(1));
        let other = NewJob { priority: -128, patience: second, timeout: second, attempts_max: Some(1), ..job.clone() };
        assert_eq!(other.options(&settings).unwrap(), "-128,0,0,1000,1000;1,5,1000,3600000");
        let of_group = NewJob { group: Some("a;b".to_owned()), ..job.clone() };
        assert_eq!(of_group.options(&settings).unwrap(), "0,0,0,0,0;10,5,1000,3600000;a;b");
        for bad in [
            NewJob { delay: MAX_DELAY * 2, ..job.clone() },
            NewJob { at_ms: u64::MAX, ..job.clone() },
            NewJob { patience: Some(Duration::ZERO), ..job.clone() },
            NewJob { timeout: Some(MAX_DELAY), ..job.clone() },
            NewJob { attempts_max: Some(0), ..job.clone() },
            NewJob { lost_max: Some(10_000), ..job.clone() },
            NewJob { group: Some(String::new()), ..job.clone() },
            NewJob { group: Some("a\u{1}".to_owned()), ..job.clone() },
            NewJob { group: Some("x".repeat(129)), ..job.clone() },
        ] {
            assert!(matches!(bad.options(&settings), Err(Error::InvalidInput { .. })), "{bad:?}");
        }
        assert!(NewJob { id: Some(String::new()), ..job.clone() }.id().is_err());
        assert_ne!(job.id(), job.id());
        assert_eq!(
            NewJob::new("12345", Payload::bytes(*b"1234")).record(&settings),
            Err(Error::TooLarge { size_bytes: 12, max_bytes: 10 })
        );
    }
}
