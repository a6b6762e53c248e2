//! Integers that are added to, within bounds, once per request.

use redpoll_resp::Value as Reply;

use super::call::{Call, read};
use super::{Micros, Object, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::escape;
use crate::metrics::Counter as Metric;
use crate::ttl::Ttl;

/// How something is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// What is added; negative to take away.
    pub amount: i64,
    /// The sum must not be below this. Default: what 64 bits hold.
    pub floor: i64,
    /// The sum must not be above this. Default: what 64 bits hold.
    pub ceiling: i64,
    /// Lifetime of a counter that this creates. One that is there keeps its own.
    pub ttl_on_create: Ttl,
    /// Id of the request: an addition with the same id is done once and answered alike for
    /// [`AtomicSettings::request_window`](super::AtomicSettings::request_window), and repeated if its outcome is unknown.
    /// The id belongs to the group; another addition with it is [`Error::Conflict`].
    pub request: Option<String>,
}

impl Addition {
    /// An addition without bounds, lifetime or id.
    pub fn of(amount: i64) -> Self {
        Self { amount, floor: i64::MIN, ceiling: i64::MAX, ttl_on_create: Ttl::Never, request: None }
    }
}

/// What adding came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The sum.
    Done(i64),
    /// It was done before by a request of this id; the sum it had then.
    Again(i64),
    /// It would have gone beyond a bound; nothing was changed. The counter as it is, `None` if there is none.
    Refused(Option<i64>),
}

impl Added {
    /// Returns the sum, `None` if it was refused.
    pub fn sum(self) -> Option<i64> {
        match self {
            Self::Done(sum) | Self::Again(sum) => Some(sum),
            Self::Refused(_) => None,
        }
    }
}

/// An integer of 64 bits.
#[derive(Debug, Clone)]
pub struct Counter(Object);

/// An amount of money, in millionths.
#[derive(Debug, Clone)]
pub struct Money(Counter);

impl Counter {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    /// Returns what all kinds of objects have: key, lifetime, removal.
    pub fn object(&self) -> &Object {
        &self.0
    }

    /// Reads the counter; `None` if there is none.
    pub fn read(&self) -> Call<Option<i64>> {
        self.0.call(Command::new("GET").key(&self.0.key).repeatable(), read::maybe_integer)
    }

    /// Adds, all or nothing. A sum beyond the bounds, or beyond 64 bits, is refused.
    pub fn add(&self, addition: &Addition) -> Call<Added> {
        let (services, command) = (self.0.services.clone(), self.command(addition));
        Call::new(&self.0.services, command, move |reply| {
            let added = added(&reply)?;
            let counter = match added {
                Added::Done(_) => Metric::AtomicApplied,
                Added::Again(_) => Metric::AtomicReplayed,
                Added::Refused(_) => Metric::AtomicRefused,
            };
            services.metrics().add(counter, 1);
            Ok(added)
        })
    }

    /// Adds one and returns the sum; beyond 64 bits it is [`Error::Conflict`].
    pub fn increment(&self) -> Call<i64> {
        self.add(&Addition::of(1)).map(|added| added.sum().ok_or_else(full))
    }

    /// Sets the counter and returns what it was; it keeps its lifetime.
    pub fn swap(&self, value: i64) -> Call<Option<i64>> {
        let command = Command::new("SET").key(&self.0.key).arg(value).arg("GET").arg("KEEPTTL");
        self.0.call(command, read::maybe_integer)
    }

    /// Removes the counter and returns what it was.
    pub fn take(&self) -> Call<Option<i64>> {
        self.0.call(Command::new("GETDEL").key(&self.0.key), read::maybe_integer)
    }

    fn command(&self, addition: &Addition) -> Result<Command> {
        let Addition { amount, floor, ceiling, ttl_on_create, request } = addition;
        if floor > ceiling {
            return Err(Error::invalid("floor", "is above the ceiling"));
        }
        let ttl_ms = ttl_on_create.script_ms();
        let mut keys = vec![self.0.key.clone()];
        let mut fingerprint = String::new();
        if let Some(id) = request {
            keys.push(self.0.request(id)?);
            let (kind, name) = (self.0.kind, escape(&self.0.name));
            fingerprint = format!("{kind}:{name}:{amount}:{floor}:{ceiling}:{ttl_ms}");
        }
        let window_ms = self.0.services.settings().atomic.window_ms();
        let args: [&dyn ToArg; 6] = [amount, floor, ceiling, &ttl_ms, &fingerprint, &window_ms];
        let command = Command::script(&steps::ADD, &keys, &args);
        Ok(if request.is_some() { command.repeatable() } else { command })
    }
}

impl Money {
    pub(super) fn new(object: Object) -> Self {
        Self(Counter::new(object))
    }

    /// Returns the counter of millionths, for everything else.
    pub fn micros(&self) -> &Counter {
        &self.0
    }

    /// Reads the amount.
    pub fn read(&self) -> Call<Option<Micros>> {
        self.0.read().map(|micros| Ok(micros.map(Micros)))
    }

    /// Adds an amount and returns the sum; one that has no place in 64 bits is [`Error::Conflict`].
    pub fn add(&self, amount: Micros) -> Call<Micros> {
        self.0.add(&Addition::of(amount.0)).map(|added| added.sum().map(Micros).ok_or_else(full))
    }
}

fn full() -> Error {
    Error::Conflict("the sum has no place in 64 bits; nothing was changed".to_owned())
}

pub(super) fn added(reply: &Reply) -> Result<Added> {
    let wrong = || Error::unexpected("atomic.add", reply);
    let Some([word, value]) = reply.as_array() else { return Err(wrong()) };
    match (word.as_str(), read::number(value)) {
        (Some("done"), Some(sum)) => Ok(Added::Done(sum)),
        (Some("again"), Some(sum)) => Ok(Added::Again(sum)),
        (Some("refused"), value) => Ok(Added::Refused(value)),
        (Some("other"), _) => Err(Error::Conflict("the request id stands for another request".to_owned())),
        _ => Err(wrong()),
    }
}
