//! A trigger: the record that a threshold was crossed.
//!
//! The steps write it as one line, `1;EVENT_THRESHOLD;10;start;end;created;low;high;c;u;d;r;t;m`, where `1` is the version
//! of the form and the last six are events by operation. Here it becomes what receivers see, as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::jobs::Job;

/// Which threshold was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// So many events had come.
    EventThreshold,
    /// So much time had passed since the window's first event.
    TimeThreshold,
}

/// Events by the operation they named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpCounts {
    /// Creations.
    pub c: u64,
    /// Updates.
    pub u: u64,
    /// Deletions.
    pub d: u64,
    /// Reads of a snapshot.
    pub r: u64,
    /// Truncations.
    pub t: u64,
    /// Messages.
    pub m: u64,
}

/// One crossing of a threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trigger {
    /// Identifies the crossing, in every attempt to deliver it. Ends in a number that counts the consumer's triggers.
    pub id: String,
    /// Whose consumer it is.
    pub tenant: String,
    /// The consumer.
    pub consumer: String,
    /// Which threshold was crossed.
    pub reason: Reason,
    /// Events of the window, all of which this trigger accounts for.
    pub count: u64,
    /// When the window's first event arrived, milliseconds since 1970.
    pub window_start_ms: u64,
    /// When the window ended: its last event, or its start plus `max_time_ms`.
    pub window_end_ms: u64,
    /// When the trigger was written.
    pub created_at_ms: u64,
    /// Earliest time an event of the window gave for its source.
    pub source_first_ms: Option<u64>,
    /// Latest time an event of the window gave for its source.
    pub source_last_ms: Option<u64>,
    /// Events by operation; those without one are only in `count`.
    pub operations: OpCounts,
}

impl Trigger {
    /// Reads what the steps wrote.
    pub(super) fn parse(tenant: &str, consumer: &str, id: &str, record: &str) -> Result<Self> {
        let broken = || Error::Backend(format!("trigger {id} has an unreadable record: {record:?}"));
        let fields: Vec<&str> = record.split(';').collect();
        let [version, reason, numbers @ ..] = fields.as_slice() else {
            return Err(broken());
        };
        let numbers: Vec<Option<u64>> = numbers
            .iter()
            .map(|text| if text.is_empty() { Ok(None) } else { text.parse().map(Some) })
            .collect::<Result<_, _>>()
            .map_err(|_| broken())?;
        let [Some(count), Some(start), Some(end), Some(created), low, high, ops @ ..] = numbers.as_slice() else {
            return Err(broken());
        };
        let [Some(c), Some(u), Some(d), Some(r), Some(t), Some(m)] = *ops else {
            return Err(broken());
        };
        Ok(Self {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            consumer: consumer.to_owned(),
            reason: match (*version, *reason) {
                ("1", "EVENT_THRESHOLD") => Reason::EventThreshold,
                ("1", "TIME_THRESHOLD") => Reason::TimeThreshold,
                _ => return Err(broken()),
            },
            count: *count,
            window_start_ms: *start,
            window_end_ms: *end,
            created_at_ms: *created,
            source_first_ms: *low,
            source_last_ms: *high,
            operations: OpCounts { c, u, d, r, t, m },
        })
    }

    /// Reads the trigger that is a job of its consumer's queue.
    pub(super) fn of_job(tenant: &str, consumer: &str, job: &Job) -> Result<Self> {
        let record = job.payload.as_ref().and_then(|payload| std::str::from_utf8(payload.as_bytes()).ok());
        Self::parse(tenant, consumer, &job.id, record.unwrap_or_default())
    }

    /// Returns the JSON text that receivers get.
    pub(super) fn payload(&self) -> String {
        serde_json::to_string(self).expect("text and numbers have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let parse = |record| Trigger::parse("t", "c", "x-1", record);
        let trigger = parse("1;TIME_THRESHOLD;3;10;20;21;;;1;0;2;0;0;0").unwrap();
        assert_eq!((trigger.reason, trigger.count), (Reason::TimeThreshold, 3));
        assert_eq!((trigger.window_start_ms, trigger.window_end_ms, trigger.created_at_ms), (10, 20, 21));
        assert_eq!((trigger.source_first_ms, trigger.operations.d), (None, 2));
        assert_eq!(parse("1;EVENT_THRESHOLD;3;1;2;3;4;5;0;0;0;0;0;0").unwrap().source_last_ms, Some(5));
        for record in
            ["", "1", "2;EVENT_THRESHOLD;3;1;2;3;;;0;0;0;0;0;0", "1;X;3;1;2;3;;;0;0;0;0;0;0", "1;EVENT_THRESHOLD;3;1;2"]
        {
            assert!(parse(record).is_err(), "{record}");
        }
    }

    #[test]
    fn reasons_in_json() {
        assert_eq!(serde_json::to_string(&Reason::EventThreshold).unwrap(), "\"EVENT_THRESHOLD\"");
        assert_eq!(serde_json::to_string(&Reason::TimeThreshold).unwrap(), "\"TIME_THRESHOLD\"");
    }
}
