//! One operation, to be awaited alone or sent with others.
//!
//! ```text
//! handle.method() ─► Call<T> ─┬─ .await ───────────────────► Result<T>
//!                             └─ pipeline.add ─► Ticket<T> ─► results.take(ticket) ─► Result<T>
//! ```
//!
//! A call is a command and what its reply means. So a pipeline knows each result's type, and a result cannot come to
//! stand in another's place: an error stays where it happened, also that of an input that was never sent.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;

use redpoll_resp::Value;

use crate::Services;
use crate::backend::{Command, MAX_PIPELINE_COMMANDS};
use crate::error::{Error, Result};
use crate::operation::BoxFuture;

/// Reads a reply.
type Read<T> = Box<dyn FnOnce(Value) -> Result<T> + Send>;

/// An operation that has not been sent yet.
#[must_use = "nothing is sent until it is awaited or put into a pipeline"]
pub struct Call<T> {
    services: Services,
    command: Result<Command>,
    read: Read<T>,
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Call").field("command", &self.command).finish_non_exhaustive()
    }
}

impl<T> Call<T> {
    pub(super) fn new(
        services: &Services,
        command: Result<Command>,
        read: impl FnOnce(Value) -> Result<T> + Send + 'static,
    ) -> Self {
        Self { services: services.clone(), command, read: Box::new(read) }
    }

    /// Returns the call with its result turned into another.
    pub(super) fn map<U>(self, turn: impl FnOnce(T) -> Result<U> + Send + 'static) -> Call<U>
    where
        T: 'static,
    {
        let read = self.read;
        Call { services: self.services, command: self.command, read: Box::new(move |value| turn(read(value)?)) }
    }
}

impl<T: 'static> IntoFuture for Call<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let command = self.command?;
            let reply = self.services.backend().call(command).await.map_err(understood)?;
            (self.read)(reply)
        })
    }
}

/// Says what an error of the store means, where that is known.
fn understood(error: Error) -> Error {
    match error {
        Error::Backend(line) if line.contains("would overflow") => {
            Error::Conflict("the sum has no place in 64 bits; nothing was changed".to_owned())
        }
        other => other,
    }
}

/// Calls that are sent together, in as few exchanges as there are nodes. They are not one step: others may come between.
///
/// Calls on objects of one group run in the order they were added.
#[derive(Debug)]
pub struct Pipeline {
    services: Services,
    commands: Vec<Result<Command>>,
}

impl Pipeline {
    pub(super) fn new(services: Services) -> Self {
        Self { services, commands: Vec::new() }
    }

    /// Adds a call and returns what its result is taken with.
    pub fn add<T>(&mut self, call: Call<T>) -> Ticket<T> {
        self.commands.push(call.command);
        Ticket { index: self.commands.len() - 1, read: call.read, result: PhantomData }
    }

    /// Returns the number of calls.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Tells whether there are no calls.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Sends them. The outer error means that nothing is known about any of them, or that there are more than
    /// [`MAX_PIPELINE_COMMANDS`] and none was sent.
    pub async fn send(self) -> Result<Results> {
        if self.commands.len() > MAX_PIPELINE_COMMANDS {
            return Err(Error::invalid("pipeline", format_args!("more than {MAX_PIPELINE_COMMANDS} calls")));
        }
        let sent = self.commands.iter().filter_map(|command| command.as_ref().ok().cloned()).collect();
        let mut replies = self.services.backend().pipeline(sent).await?.into_iter();
        let results = self.commands.into_iter().map(|command| match command {
            Ok(_) => replies.next().expect("one for each that was sent").map_err(understood),
            Err(error) => Err(error),
        });
        Ok(Results { results: results.map(Some).collect() })
    }
}

/// Stands for the result of a call in a pipeline.
pub struct Ticket<T> {
    index: usize,
    read: Read<T>,
    result: PhantomData<T>,
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ticket").field("index", &self.index).finish_non_exhaustive()
    }
}

/// What the calls of a pipeline came to, each in its place.
#[derive(Debug)]
pub struct Results {
    results: Vec<Option<Result<Value>>>,
}

impl Results {
    /// Takes the result of a call. A ticket of another pipeline is an error.
    pub fn take<T>(&mut self, ticket: Ticket<T>) -> Result<T> {
        let result = self.results.get_mut(ticket.index).and_then(Option::take);
        (ticket.read)(result.ok_or_else(|| Error::invalid("ticket", "is not of this pipeline"))??)
    }

    /// Returns the number of calls.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Tells whether there were no calls.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }
}

/// Readers of the replies that several calls have.
pub(super) mod read {
    use super::{Error, Result, Value};

    fn no(reply: &Value) -> Error {
        Error::unexpected("an atomic operation", reply)
    }

    pub(in crate::atomic) fn done(_: Value) -> Result<()> {
        Ok(())
    }

    pub(in crate::atomic) fn integer(reply: Value) -> Result<i64> {
        number(&reply).ok_or_else(|| no(&reply))
    }

    /// An integer, whether as one or as text, which is how numbers come that a double does not hold.
    pub(in crate::atomic) fn number(reply: &Value) -> Option<i64> {
        reply.as_i64().or_else(|| reply.as_str()?.parse().ok())
    }

    pub(in crate::atomic) fn maybe_integer(reply: Value) -> Result<Option<i64>> {
        if reply == Value::Nil { Ok(None) } else { integer(reply).map(Some) }
    }

    pub(in crate::atomic) fn count(reply: Value) -> Result<u64> {
        reply.as_u64().ok_or_else(|| no(&reply))
    }

    pub(in crate::atomic) fn flag(reply: Value) -> Result<bool> {
        Ok(integer(reply)? > 0)
    }

    pub(in crate::atomic) fn maybe_bytes(reply: Value) -> Result<Option<Vec<u8>>> {
        match reply {
            Value::Nil => Ok(None),
            reply => reply.as_bytes().map(|bytes| Some(bytes.to_vec())).ok_or_else(|| no(&reply)),
        }
    }

    pub(in crate::atomic) fn all_bytes(reply: Value) -> Result<Vec<Vec<u8>>> {
        let bytes = |item: &Value| item.as_bytes().map(<[u8]>::to_vec);
        let items = reply.as_array().and_then(|items| items.iter().map(bytes).collect());
        items.ok_or_else(|| no(&reply))
    }

    pub(in crate::atomic) fn all_maybe_bytes(reply: Value) -> Result<Vec<Option<Vec<u8>>>> {
        let items = reply.as_array().ok_or_else(|| no(&reply))?;
        items.iter().map(|item| maybe_bytes(item.clone())).collect()
    }

    /// A page of a scan: where to go on, 0 at the end, and what was found.
    pub(in crate::atomic) fn page(reply: Value) -> Result<(u64, Vec<Vec<u8>>)> {
        let (next, items) = match reply.as_array() {
            Some([next, items]) => (next.as_str().and_then(|next| next.parse().ok()), items.clone()),
            _ => (None, Value::Nil),
        };
        Ok((next.ok_or_else(|| no(&reply))?, all_bytes(items)?))
    }

    /// A score, which is always an integer here.
    pub(in crate::atomic) fn score(reply: &Value) -> Result<i64> {
        let score = match reply {
            Value::Double(score) => Some(*score),
            reply => reply.as_str().and_then(|text| text.parse::<f64>().ok()),
        };
        let exact = score.filter(|score| score.fract() == 0.0 && score.abs() <= super::super::MAX_SCORE as f64);
        exact.map(|score| score as i64).ok_or_else(|| no(reply))
    }
}
