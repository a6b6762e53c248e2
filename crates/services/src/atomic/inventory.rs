//! A stock of units that is never promised twice: reserve some for a while, commit them, or give them back.
//!
//! ```text
//! total = available + reserved + committed
//!            │  ▲         │ │        ▲
//!            │  └─ release, expiry ──┘        (committing less than was reserved gives the rest back)
//!            └─ reserve ─►└─┴─ commit ─┘
//! ```
//!
//! The caller names each reservation, so every step can be sent again when its outcome is unknown: what was done is
//! answered alike. A reservation that has come to its end is known for a while, so that committing one that has expired is
//! told apart from one that never was.
//!
//! Reservations that expire are given back by whatever step comes next, a hundred at a time. A step that lacks room while
//! more are due is sent again, so room that is there is found.

use redpoll_resp::Value as Reply;

use super::call::{Call, read};
use super::{Object, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::metrics::Counter as Metric;
use crate::script::Script;
use crate::ttl::Ttl;

/// Most units of a stock.
pub const MAX_UNITS: u64 = 1 << 52;

/// Most reservations of one stock that are known at a time, those that have ended included.
pub const MAX_RESERVATIONS: u64 = 100_000;

/// How often a step is sent again to give back what has expired; each time a hundred reservations are.
const MAX_ROUNDS: u64 = MAX_RESERVATIONS / 100 + 1;

/// How a stock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// All units.
    pub total: u64,
    /// Those that can be reserved.
    pub available: u64,
    /// Those reserved and not committed.
    pub reserved: u64,
    /// Those committed.
    pub committed: u64,
}

/// Units that are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// When the units go back, in milliseconds since 1970 by the store's clock.
    pub expires_at_ms: u64,
    /// How the stock stands.
    pub stock: Stock,
}

/// What asking for units came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// They are reserved, by this call or an earlier one with the same id.
    Granted(Reservation),
    /// There are not as many; nothing was reserved.
    Refused(Stock),
}

/// A stock of units.
#[derive(Debug, Clone)]
pub struct Inventory(Object);

/// What every step answers.
struct Answer {
    word: String,
    stock: Stock,
    further: u64,
}

impl Inventory {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    /// Says how many units there are in all, at most [`MAX_UNITS`], and makes the stock if there is none. Fewer than are
    /// reserved and committed is [`Error::Conflict`].
    pub async fn set_total(&self, total: u64) -> Result<Stock> {
        if total > MAX_UNITS {
            return Err(Error::invalid("total", format_args!("more than {MAX_UNITS}")));
        }
        self.resize(&steps::SET_TOTAL, "set", i64::try_from(total).expect("checked")).await
    }

    /// Adds units, or takes away for a negative number, with the bounds of [`Inventory::set_total`].
    pub async fn add_total(&self, units: i64) -> Result<Stock> {
        if units.unsigned_abs() > MAX_UNITS {
            return Err(Error::invalid("units", format_args!("more than {MAX_UNITS}")));
        }
        self.resize(&steps::ADD_TOTAL, "add", units).await
    }

    /// Reserves units, all or none, until they are committed, released or the time is over. `id` is the reservation's, any
    /// text; asking again with the same id and units gives the same reservation. One that has ended, or has other
    /// units, is [`Error::Conflict`].
    pub async fn reserve(&self, id: &str, units: u64, ttl: Ttl) -> Result<Reserved> {
        check_name("reservation", id)?;
        if units == 0 || units > MAX_UNITS {
            return Err(Error::invalid("units", format_args!("must be 1 to {MAX_UNITS}")));
        }
        let Ttl::Ms(ms) = ttl else {
            return Err(Error::invalid("ttl_ms", "a reservation has an end"));
        };
        let args: [&dyn ToArg; 4] = [&id, &units, &ms.get(), &MAX_RESERVATIONS];
        let answer = self.until_cleared(&steps::RESERVE, &args).await?;
        let (counter, result) = match answer.word.as_str() {
            "done" | "again" => {
                let counter = if answer.word == "done" { Metric::AtomicApplied } else { Metric::AtomicReplayed };
                (counter, Ok(Reserved::Granted(Reservation { expires_at_ms: answer.further, stock: answer.stock })))
            }
            "refused" => (Metric::AtomicRefused, Ok(Reserved::Refused(answer.stock))),
            _ => (Metric::AtomicRefused, Err(self.problem(&answer, id))),
        };
        self.0.services.metrics().add(counter, 1);
        result
    }

    /// Commits a reservation, `units` of it and the rest goes back, or all. More than were reserved is an error. One that
    /// expired is [`Error::Conflict`]: its units may be somebody else's.
    pub fn commit(&self, id: &str, units: Option<u64>) -> Call<Stock> {
        let part = units.map(|units| units.to_string()).unwrap_or_default();
        self.step(&steps::COMMIT, id, &[&id, &part])
    }

    /// Gives a reservation back. One that has expired is given back already, which is no error; one that was committed
    /// is [`Error::Conflict`].
    pub fn release(&self, id: &str) -> Call<Stock> {
        self.step(&steps::RELEASE, id, &[&id])
    }

    /// Tells how the stock stands.
    pub async fn stock(&self) -> Result<Stock> {
        let answer = self.until_cleared(&steps::LOOK, &[]).await?;
        if answer.word == "done" { Ok(answer.stock) } else { Err(self.problem(&answer, "")) }
    }

    /// Forgets the stock with its reservations; tells whether there was one.
    pub fn remove(&self) -> Call<bool> {
        self.0.call(Command::new("UNLINK").key(&self.0.key).key(self.0.beside("d")), read::flag)
    }

    async fn resize(&self, step: &'static Script, mode: &'static str, units: i64) -> Result<Stock> {
        let args: [&dyn ToArg; 3] = [&mode, &units, &MAX_UNITS];
        let answer = self.until_cleared(step, &args).await?;
        match answer.word.as_str() {
            "done" => Ok(answer.stock),
            "refused" => {
                let Stock { reserved, committed, .. } = answer.stock;
                let reason =
                    format!("{reserved} units are reserved and {committed} committed, at most {MAX_UNITS} can be");
                Err(Error::Conflict(reason))
            }
            _ => Err(self.problem(&answer, "")),
        }
    }

    /// Sends a step again while it says that there is more to clear: as it changed nothing else then, that is harmless.
    async fn until_cleared(&self, step: &'static Script, args: &[&dyn ToArg]) -> Result<Answer> {
        for _ in 0..MAX_ROUNDS {
            let answer = Call::new(&self.0.services, Ok(self.command(step, args)), self.reader()).await?;
            let looks = std::ptr::eq(step, &steps::LOOK);
            if !(answer.further == 1 && (answer.word == "refused" || looks && answer.word == "done")) {
                return Ok(answer);
            }
        }
        Err(Error::Timeout("giving back what has expired".to_owned()))
    }

    fn step(&self, step: &'static Script, id: &str, args: &[&dyn ToArg]) -> Call<Stock> {
        let command = check_name("reservation", id).map(|()| self.command(step, args));
        let (inventory, id) = (self.clone(), id.to_owned());
        Call::new(&self.0.services, command, self.reader()).map(move |answer| {
            let counter = match answer.word.as_str() {
                "done" => Metric::AtomicApplied,
                "again" => Metric::AtomicReplayed,
                _ => Metric::AtomicRefused,
            };
            inventory.0.services.metrics().add(counter, 1);
            match answer.word.as_str() {
                "done" | "again" => Ok(answer.stock),
                _ => Err(inventory.problem(&answer, &id)),
            }
        })
    }

    fn command(&self, step: &'static Script, args: &[&dyn ToArg]) -> Command {
        let window_ms = self.0.services.settings().atomic.window_ms();
        let args: Vec<&dyn ToArg> = std::iter::once(&window_ms as &dyn ToArg).chain(args.iter().copied()).collect();
        Command::script(step, &[self.0.key.clone(), self.0.beside("d")], &args)
    }

    fn reader(&self) -> impl FnOnce(Reply) -> Result<Answer> + Send + 'static {
        let services = self.0.services.clone();
        move |reply| {
            let wrong = || Error::unexpected("a step of an inventory", &reply);
            let parts = reply.as_array().ok_or_else(wrong)?;
            let number = |index: usize| {
                let number = parts.get(index).and_then(read::number);
                number.and_then(|number| u64::try_from(number).ok()).ok_or_else(wrong)
            };
            let word = parts.first().and_then(Reply::as_str).ok_or_else(wrong)?.to_owned();
            let (total, reserved, committed) = (number(1)?, number(2)?, number(3)?);
            let available = total.checked_sub(reserved + committed).ok_or_else(wrong)?;
            services.metrics().add(Metric::AtomicExpired, number(4)?);
            Ok(Answer { word, stock: Stock { total, available, reserved, committed }, further: number(5)? })
        }
    }

    fn problem(&self, answer: &Answer, id: &str) -> Error {
        let name = &self.0.name;
        match answer.word.as_str() {
            "missing" if id.is_empty() => Error::NotFound(format!("inventory {name:?}")),
            "missing" => Error::NotFound(format!("inventory {name:?} or its reservation {id:?}")),
            "excess" => Error::invalid("units", format_args!("only {} are reserved", answer.further)),
            "other" => Error::Conflict(format!("reservation {id:?} is of another number of units")),
            "full" => Error::Conflict(format!("{MAX_RESERVATIONS} reservations are known")),
            ended => Error::Conflict(format!("reservation {id:?} is {ended}")),
        }
    }
}
