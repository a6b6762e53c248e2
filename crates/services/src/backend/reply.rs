//! What comes back: replies of the client library as [`Value`], errors as [`Failure`].
//!
//! The one judgement made here is whether a failed command can have been executed, since that decides whether it may
//! be sent again.

use redis::{ErrorKind, RedisError, ServerError};
use redpoll_resp::Value;

use crate::error::{Error, Result};

/// Whether a failed command may have been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Certainly not.
    No,
    /// Nobody knows.
    Maybe,
}

/// An error and what it says about the command.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) sent: Sent,
    /// The server does not know the script.
    pub(super) no_script: bool,
    /// The slot is served elsewhere.
    pub(super) moved: bool,
    /// Who answered is a replica.
    pub(super) replica: bool,
    /// There was an answer, if only an error.
    pub(super) answered: bool,
}

impl Failure {
    /// An error that was the answer.
    fn answer(error: Error, sent: Sent) -> Self {
        Self { error, sent, no_script: false, moved: false, replica: false, answered: true }
    }

    /// There was no answer.
    pub(super) fn silence(error: Error, sent: Sent) -> Self {
        Self { answered: false, ..Self::answer(error, sent) }
    }
}

/// Commands that went one way together, by their places in a pipeline, and what came of them: a reply to each.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) indices: Vec<usize>,
    pub(super) outcome: Result<Vec<Value>, Failure>,
}

/// Tells whether a reply says that who gave it is a replica.
pub(super) fn is_of_a_replica(value: &Value) -> bool {
    matches!(value, Value::Error(line) if line.starts_with("READONLY "))
}

/// Splits a reply into value and error.
pub(super) fn checked(value: Value) -> Result<Value, Failure> {
    match value {
        Value::Error(line) => Err(failure_of_line(line)),
        value => Ok(value),
    }
}

/// Judges an error line by its first word.
fn failure_of_line(line: String) -> Failure {
    let code = line.split(' ').next().unwrap_or_default();
    match code {
        "LOADING" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "BUSY" | "NOREPLICAS" | "OOM"
        | "MISCONF" => {
            let replica = matches!(code, "READONLY" | "MASTERDOWN");
            Failure { replica, ..Failure::answer(Error::Unavailable(line), Sent::No) }
        }
        "NOSCRIPT" => Failure { no_script: true, ..Failure::answer(Error::Backend(line), Sent::No) },
        "MOVED" | "ASK" => Failure { moved: true, ..Failure::answer(Error::Unavailable(line), Sent::No) },
        _ => Failure::answer(Error::Backend(line), Sent::Maybe),
    }
}

/// Judges an error of the client library.
pub(super) fn failure_of(error: &RedisError) -> Failure {
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => Failure::silence(Error::Timeout(error.to_string()), Sent::Maybe),
        ErrorKind::Io if error.is_connection_refusal() => {
            Failure::silence(Error::Unavailable(error.to_string()), Sent::No)
        }
        ErrorKind::Io | ErrorKind::Parse => Failure::silence(Error::Unavailable(error.to_string()), Sent::Maybe),
        ErrorKind::ClusterConnectionNotFound => Failure::silence(Error::Unavailable(error.to_string()), Sent::No),
        _ => match error.code() {
            Some(code) => failure_of_line(format!("{code} {}", error.detail().unwrap_or_default())),
            None => Failure::answer(Error::Backend(error.to_string()), Sent::Maybe),
        },
    }
}

/// Turns what a transport returned into a value, an error reply staying a value.
pub(super) fn value_or_failure(result: redis::RedisResult<redis::Value>) -> Result<Value, Failure> {
    match result {
        Ok(value) => Ok(value_of(value)),
        Err(error) => Err(failure_of(&error)),
    }
}

/// Maps the client library's reply. Attributes are dropped.
pub(super) fn value_of(value: redis::Value) -> Value {
    let all = |items: Vec<redis::Value>| items.into_iter().map(value_of).collect();
    match value {
        redis::Value::Nil => Value::Nil,
        redis::Value::Int(number) => Value::Int(number),
        redis::Value::BulkString(bytes) => Value::Bulk(bytes),
        redis::Value::Array(items) => Value::Array(all(items)),
        redis::Value::SimpleString(text) => Value::Simple(text),
        redis::Value::Okay => Value::Simple("OK".to_owned()),
        redis::Value::Map(pairs) => {
            Value::Map(pairs.into_iter().map(|(key, value)| (value_of(key), value_of(value))).collect())
        }
        redis::Value::Attribute { data, .. } => value_of(*data),
        redis::Value::Set(items) => Value::Set(all(items)),
        redis::Value::Double(number) => Value::Double(number),
        redis::Value::Boolean(truth) => Value::Bool(truth),
        redis::Value::VerbatimString { text, .. } => Value::Verbatim { format: *b"txt", text: text.into_bytes() },
        redis::Value::BigNumber(digits) => Value::BigNumber(String::from_utf8_lossy(&digits).into_owned()),
        redis::Value::Push { data, .. } => Value::Push(all(data)),
        redis::Value::ServerError(error) => Value::Error(error_line(&error)),
        other => Value::Error(format!("ERR reply of a kind this client does not know: {other:?}")),
    }
}

fn error_line(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements() {
        let sent = |line: &str| failure_of_line(line.to_owned()).sent;
        assert_eq!(sent("LOADING Redis is loading the dataset in memory"), Sent::No);
        assert_eq!(sent("ERR something"), Sent::Maybe);
        assert!(failure_of_line("NOSCRIPT No matching script.".to_owned()).no_script);
        assert!(failure_of_line("MOVED 1 127.0.0.1:1".to_owned()).moved);
        assert!(!failure_of_line("WRONGTYPE x".to_owned()).error.is_outage());
        let readonly = failure_of_line("READONLY You can't write against a read only replica.".to_owned());
        assert!(readonly.answered && readonly.replica && readonly.error.is_outage());
        let disk_full = failure_of_line("MISCONF Errors writing to the AOF file: No space left on device".to_owned());
        assert!(disk_full.answered && disk_full.sent == Sent::No && disk_full.error.is_outage());
    }

    #[test]
    fn nested_values() {
        let value = redis::Value::Array(vec![redis::Value::Okay, redis::Value::Nil, redis::Value::Int(3)]);
        assert_eq!(value_of(value), Value::Array(vec![Value::Simple("OK".into()), Value::Nil, Value::Int(3)]));
    }
}
