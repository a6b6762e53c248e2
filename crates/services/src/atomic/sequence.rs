//! Numbers handed out once each, with gaps or without.
//!
//! A [`Sequence`] is a counter: fast, any number of callers, and a number whose caller dies is lost. That is a gap.
//!
//! A [`Gapless`] sequence is for numbers that somebody will ask after (invoices). A number is drawn under a lease, used, and
//! then confirmed or given back. One that was given back, or whose lease has ended, is the next to be drawn. So there is
//! a gap only while a drawn number is open: when none is, the confirmed numbers are 1 to the last, each once. Who
//! confirms too late, when the number is drawn anew, is told so, and must not use it.

use std::time::Duration;

use redpoll_resp::Value as Reply;

use super::call::{Call, read};
use super::{Added, Addition, Counter, Object, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::ttl::Ttl;

/// Most numbers of one [`Gapless`] that may be open at a time.
pub const MAX_OPEN_NUMBERS: u64 = 10_000;

/// Most numbers that one call hands out.
const MAX_RANGE: u64 = 1_000_000_000;

/// Numbers 1, 2, 3 and so on, each handed out once, with gaps.
#[derive(Debug, Clone)]
pub struct Sequence(Counter);

/// Consecutive numbers that were handed out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
}

impl Sequence {
    pub(super) fn new(object: Object) -> Self {
        Self(Counter::new(object))
    }

    /// Returns what all kinds of objects have: key, lifetime, removal.
    pub fn object(&self) -> &Object {
        self.0.object()
    }

    /// Takes the next number.
    pub fn next(&self) -> Call<i64> {
        self.take(1, None).map(|numbers| Ok(numbers.last))
    }

    /// Takes `count` numbers, 1 to 1,000,000,000. With the id of a request they are the same however often it is sent, as
    /// with [`Addition::request`].
    pub fn take(&self, count: u64, request: Option<&str>) -> Call<Numbers> {
        let amount = i64::try_from(count).ok().filter(|count| (1..=MAX_RANGE as i64).contains(count));
        let Some(amount) = amount else {
            let error = Error::invalid("count", format_args!("must be 1 to {MAX_RANGE}"));
            return Call::new(&self.object().services, Err(error), |reply| Err(Error::unexpected("nothing", &reply)));
        };
        let addition = Addition { request: request.map(str::to_owned), ..Addition::of(amount) };
        self.0.add(&addition).map(move |added| match added {
            Added::Done(last) | Added::Again(last) => Ok(Numbers { first: last - amount + 1, last }),
            Added::Refused(_) => Err(Error::Conflict("the sequence has come to its end".to_owned())),
        })
    }

    /// Returns the last number handed out, 0 if none was.
    pub fn last(&self) -> Call<i64> {
        self.0.read().map(|last| Ok(last.unwrap_or(0)))
    }
}

/// Numbers 1, 2, 3 and so on, each confirmed once, without gaps.
#[derive(Debug, Clone)]
pub struct Gapless(Object);

impl Gapless {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    /// Draws a number for a holder, any text that no other use has. The same holder gets the same number again, with a
    /// new lease. One who has confirmed, or [`MAX_OPEN_NUMBERS`] open ones, is [`Error::Conflict`].
    pub fn draw(&self, holder: &str, lease: Duration) -> Call<u64> {
        let command = Ttl::try_from(lease).and_then(|lease| {
            let args: [&dyn ToArg; 3] = [&holder, &lease.script_ms(), &MAX_OPEN_NUMBERS];
            self.command(&steps::DRAW, holder, &args)
        });
        Call::new(&self.0.services, command, |reply| match word(&reply)? {
            ("done" | "again", Some(number)) => Ok(number),
            ("settled", _) => Err(Error::Conflict("the holder has confirmed its number already".to_owned())),
            ("full", _) => Err(Error::Conflict(format!("{MAX_OPEN_NUMBERS} numbers are open; confirm some"))),
            _ => Err(Error::unexpected("atomic.draw", &reply)),
        })
    }

    /// Makes the holder's number final and returns it. A holder whose number was drawn by another, or that has none, is
    /// [`Error::NotFound`].
    pub fn confirm(&self, holder: &str) -> Call<u64> {
        let window_ms = self.0.services.settings().atomic.window_ms();
        let args: [&dyn ToArg; 2] = [&holder, &window_ms];
        Call::new(&self.0.services, self.command(&steps::CONFIRM, holder, &args), |reply| match word(&reply)? {
            ("done" | "again", Some(number)) => Ok(number),
            ("lost", _) => Err(Error::NotFound("a number of this holder".to_owned())),
            _ => Err(Error::unexpected("atomic.confirm", &reply)),
        })
    }

    /// Gives the holder's number back; false if it has none.
    pub fn give_back(&self, holder: &str) -> Call<bool> {
        let args: [&dyn ToArg; 1] = [&holder];
        Call::new(&self.0.services, self.command(&steps::GIVE_BACK, holder, &args), read::flag)
    }

    /// Returns the last number drawn, 0 if none was.
    pub fn last(&self) -> Call<u64> {
        let command = Command::new("HGET").key(&self.0.key).arg("last").repeatable();
        self.0.call(command, |reply| {
            let last = read::maybe_integer(reply)?.unwrap_or(0);
            u64::try_from(last).map_err(|error| Error::Backend(error.to_string()))
        })
    }

    /// Returns how many numbers are open; at 0 there is no gap.
    pub fn open(&self) -> Call<u64> {
        self.0.call(Command::new("ZCARD").key(self.0.beside("o")).repeatable(), read::count)
    }

    /// Forgets everything; the next number is 1.
    pub fn remove(&self) -> Call<bool> {
        let command = Command::new("UNLINK").key(&self.0.key).key(self.0.beside("o"));
        self.0.call(command, read::flag)
    }

    fn command(&self, step: &'static crate::script::Script, holder: &str, args: &[&dyn ToArg]) -> Result<Command> {
        check_name("holder", holder)?;
        // The holder's confirmation is known under a name that no request of the group has.
        let confirmation = self.0.group.named("c", &format!("{}:{holder}", crate::keys::escape(&self.0.name)));
        Ok(Command::script(step, &[self.0.key.clone(), self.0.beside("o"), confirmation], args))
    }
}

fn word(reply: &Reply) -> Result<(&str, Option<u64>)> {
    let parts = reply.as_array().and_then(|parts| Some((parts.first()?.as_str()?, parts.get(1)?)));
    let (word, number) = parts.ok_or_else(|| Error::unexpected("a step of a sequence", reply))?;
    Ok((word, read::number(number).and_then(|number| number.try_into().ok())))
}
