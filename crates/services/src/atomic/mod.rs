//! Atomic operations: compare and set, counters, sequences, inventories, typed collections, pipelines and scripts of one's
//! own.
//!
//! # Guarantees
//!
//! * Every operation is one step in the store. A refused one has changed nothing; input that can never work is an error
//!   before anything is sent.
//! * **Nothing is not something.** No value, `""` and JSON `null` are three things. What has no bytes cannot be stored; an
//!   `Option` where one is taken removes what is there.
//! * **Lifetimes stay.** Changing a value keeps the lifetime it has unless another is given ([`Lifetime`]). A counter gets
//!   one when it is created.
//! * **Integers are exact** over all 64 bits, and a sum out of bounds is refused. Amounts of money are integers of a
//!   millionth ([`Micros`]); there are no floats.
//! * **Comparing versions** notices every change, also from A to B and back to A, and removal in between ([`Expected`]).
//! * **Unknown outcomes.** A step that was sent and not answered may have been done. With a request id an addition is done
//!   once however often it is sent, and answered alike, for [`AtomicSettings::request_window`]; so are reservations and
//!   drawn numbers by their own ids. What has neither is not repeated.
//! * An [`Inventory`] never promises more than there is: total = available + reserved + committed at every moment, also
//!   across crashes of those who reserved. What expires comes back.
//! * A [`Sequence`] hands each number out once and has gaps; [`Gapless`] has none once all that was drawn is settled.
//! * A [`Pipeline`] gives each result or error in its place. It is not one step; a script is.
//!
//! # Keys
//!
//! The caller names a group, and objects in it. A group is one hash tag: what is in it can be touched by one script,
//! and different groups spread over a Cluster.
//!
//! ```text
//! rp:{tenant:atomic:group}:v:<name>  register     :f:<name>  record       :r:<id>    request
//!                         :n:<name>  counter      :m:<name>  money        :q:<name>  sequence
//!                         :g:<name>  gapless      :o:<name>  its open numbers
//!                         :e:<name>  inventory    :d:<name>  its reservations by their end
//!                         :h:<name>  hash :s: set :z: sorted set :l: list :b: bits :p: HyperLogLog :x: for scripts
//! ```
//!
//! # When the store is down
//!
//! Everything is an error.
//!
//! # Work
//!
//! A step touches a few entries. Those of an inventory give back at most a hundred expired reservations on the way (`STEP`
//! in `inventory.lua`); if room is lacking and more have expired they are sent again, a bounded number of times.
//!
//! Not here: transactions by WATCH, which a script does better, and limits per time, which are rate limits.

mod call;
mod collections;
mod counter;
mod inventory;
mod micros;
mod operations;
mod sequence;
mod steps;
mod value;

use std::sync::Arc;
use std::time::Duration;

use redpoll_resp::Value;

pub use call::{Call, Pipeline, Results, Ticket};
pub use collections::{Bits, Hash, HyperLogLog, List, MAX_PAGE, MAX_SCORE, Set, SortedSet};
pub use counter::{Added, Addition, Counter, Money};
pub use inventory::{Inventory, MAX_RESERVATIONS, MAX_UNITS, Reservation, Reserved, Stock};
pub use micros::Micros;
pub use operations::SERVICE;
pub use sequence::{Gapless, MAX_OPEN_NUMBERS, Numbers, Sequence};
pub use value::{Compared, Expected, Field, MAX_UPDATE_ATTEMPTS, Record, Register, Versioned};

use crate::Services;
use crate::backend::{Command, ToArg};
use crate::cache::Remaining;
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant, check_name};
use crate::script::Script;
use crate::ttl::Ttl;

/// Settings of atomic operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtomicSettings {
    /// Largest value in bytes. Default 1 MiB.
    pub bytes_max: usize,
    /// How long requests, confirmations and settled reservations are known by their ids. Default 10 min; at least 1 s.
    pub request_window: Duration,
}

impl Default for AtomicSettings {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, request_window: Duration::from_secs(600) }
    }
}

impl AtomicSettings {
    fn check_size(&self, bytes: &[u8]) -> Result<()> {
        match bytes.len() {
            size_bytes if size_bytes > self.bytes_max => Err(Error::TooLarge { size_bytes, max_bytes: self.bytes_max }),
            _ => Ok(()),
        }
    }

    fn window_ms(&self) -> u64 {
        u64::try_from(self.request_window.as_millis())
            .unwrap_or(crate::ttl::MAX_TTL_MS)
            .clamp(1000, crate::ttl::MAX_TTL_MS)
    }
}

/// What happens to the lifetime of what is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It stays as it is; what is created stays until it is removed.
    Keep,
    /// It begins anew.
    Set(Ttl),
}

/// A tenant's atomic operations.
#[derive(Debug, Clone)]
pub struct Atomic {
    services: Services,
    tenant: Tenant,
}

impl Atomic {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Opens a group of objects that can be touched together; its name has 1 to
    /// [`MAX_NAME_BYTES`](crate::keys::MAX_NAME_BYTES) bytes.
    pub fn group(&self, name: &str) -> Result<AtomicGroup> {
        check_name("group", name)?;
        let group = self.services.settings().keyring.group(&self.tenant, "atomic", &[name]);
        Ok(AtomicGroup { services: self.services.clone(), group })
    }

    /// Starts a pipeline, for calls on objects of any groups.
    pub fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.services.clone())
    }

    /// Calls a script on objects of one group of this tenant, by its hash, in full only if the store does not know it.
    ///
    /// Objects of several groups are an error before anything is sent, on every kind of store, since they share no slot
    /// of a Cluster. The script must not touch keys that it is not given. It is part of the program: nothing keeps it
    /// from anything that a client of the store may do.
    pub fn run(&self, script: &Arc<Script>, objects: &[&Object], args: &[&dyn ToArg]) -> Call<Value> {
        Call::new(&self.services, self.script_command(script, objects, args), Ok)
    }

    fn script_command(&self, script: &Arc<Script>, objects: &[&Object], args: &[&dyn ToArg]) -> Result<Command> {
        let Some(first) = objects.first() else {
            return Err(Error::invalid("objects", "a script is called on at least one"));
        };
        let whole = self.services.settings().keyring.group(&self.tenant, "atomic", &[]).key("");
        let own = whole.as_str().trim_end_matches("}:");
        for object in objects {
            if object.group != first.group {
                return Err(Error::invalid("objects", "are of several groups, which share no slot; use one group"));
            }
            if !object.key.as_str().strip_prefix(own).is_some_and(|rest| rest.starts_with(':')) {
                return Err(Error::invalid("objects", "are of another tenant"));
            }
        }
        let keys: Vec<&Key> = objects.iter().map(|object| &object.key).collect();
        Ok(Command::script(script, &keys, args))
    }
}

/// A group of objects.
#[derive(Debug, Clone)]
pub struct AtomicGroup {
    services: Services,
    group: Group,
}

macro_rules! objects {
    ($($(#[$doc:meta])* $method:ident, $kind:literal => $type:ident;)*) => {
        impl AtomicGroup {
            $($(#[$doc])* pub fn $method(&self, name: &str) -> Result<$type> {
                self.object($kind, name).map($type::new)
            })*
        }
    };
}

objects! {
    /// Opens a versioned value. Names of objects have 1 to [`MAX_NAME_BYTES`](crate::keys::MAX_NAME_BYTES) bytes.
    register, "v" => Register;
    /// Opens a hash of versioned fields.
    record, "f" => Record;
    /// Opens an integer that is added to.
    counter, "n" => Counter;
    /// Opens an amount of money that is added to.
    money, "m" => Money;
    /// Opens a sequence of numbers, with gaps.
    sequence, "q" => Sequence;
    /// Opens a sequence of numbers, without gaps.
    gapless, "g" => Gapless;
    /// Opens a stock of units that are reserved, committed and given back.
    inventory, "e" => Inventory;
    /// Opens a hash.
    hash, "h" => Hash;
    /// Opens a set.
    set, "s" => Set;
    /// Opens a sorted set.
    sorted_set, "z" => SortedSet;
    /// Opens a list.
    list, "l" => List;
    /// Opens a string of bits.
    bits, "b" => Bits;
    /// Opens a count of what is distinct, to within a percent.
    hyper_log_log, "p" => HyperLogLog;
}

impl AtomicGroup {
    /// Names an object that only scripts touch, of any type.
    pub fn script_object(&self, name: &str) -> Result<Object> {
        self.object("x", name)
    }

    fn object(&self, kind: &'static str, name: &str) -> Result<Object> {
        check_name("name", name)?;
        let key = self.group.named(kind, name);
        Ok(Object { services: self.services.clone(), group: self.group.clone(), key, kind, name: name.to_owned() })
    }
}

/// What all kinds of objects have: a key and a lifetime.
#[derive(Debug, Clone)]
pub struct Object {
    services: Services,
    group: Group,
    key: Key,
    kind: &'static str,
    name: String,
}

impl Object {
    /// Returns the key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Gives the object a lifetime from now; false if there is none.
    pub fn expire(&self, ttl: Ttl) -> Call<bool> {
        let command = match ttl {
            Ttl::Ms(ms) => Command::new("PEXPIRE").key(&self.key).arg(ms.get()),
            // Whether there is an object, and no lifetime either way.
            Ttl::Never => Command::script(&steps::PERSIST, &[&self.key], &[] as &[&str]),
        };
        self.call(command.repeatable(), call::read::flag)
    }

    /// Returns what is left of the object's lifetime.
    pub fn remaining(&self) -> Call<Remaining> {
        self.call(Command::new("PTTL").key(&self.key).repeatable(), |reply| {
            Ok(match call::read::integer(reply)? {
                -2 => Remaining::Missing,
                -1 => Remaining::Never,
                ms => Remaining::Ms(ms.unsigned_abs()),
            })
        })
    }

    /// Removes the object; tells whether there was one. What else an object keeps (reservations, open numbers) goes with
    /// the `remove` of its own type.
    pub fn remove(&self) -> Call<bool> {
        self.call(Command::new("UNLINK").key(&self.key), call::read::flag)
    }

    fn call<T>(&self, command: Command, read: impl FnOnce(Value) -> Result<T> + Send + 'static) -> Call<T> {
        Call::new(&self.services, Ok(command), read)
    }

    /// The other key of an object that has two.
    fn beside(&self, kind: &'static str) -> Key {
        self.group.named(kind, &self.name)
    }

    /// Where a request of this object is remembered.
    fn request(&self, id: &str) -> Result<Key> {
        check_name("request", id)?;
        Ok(self.group.named("r", id))
    }
}
