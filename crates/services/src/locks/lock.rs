//! What a caller asks for, and what it is given.

use std::sync::Arc;
use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::info::LockInfo;
use super::settings::check_lease;
use super::steps::{FENCED_SET, OF_ONE, OF_SEVERAL, Steps};
use crate::Services;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant, check_name};
use crate::script::Script;
use crate::ttl::{Ttl, ms};

/// Most permits of a semaphore, and most readers at once.
pub const MAX_PERMITS: u64 = 1_000_000;

/// Largest fence: what Lua and JSON hold exactly.
const MAX_FENCE: u64 = 1 << 53;

/// Characters of a token.
const TOKEN_LEN: usize = 32;

/// Sorts of locks. Locks of different sorts share no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One holds it.
    Mutex,
    /// Many read, or one writes.
    Rw,
    /// So many permits.
    Semaphore,
    /// One leads; a mutex in all but name.
    Election,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::Rw => "rw",
            Self::Semaphore => "semaphore",
            Self::Election => "election",
        }
    }

    fn steps(self) -> &'static Steps {
        match self {
            Self::Mutex | Self::Election => &OF_ONE,
            Self::Rw | Self::Semaphore => &OF_SEVERAL,
        }
    }
}

/// The right to extend and release one acquisition: 32 lower-case hexadecimal digits. Whoever knows it is the owner.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    /// Makes one that nobody can guess.
    pub fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    /// Takes one from text.
    pub fn parse(text: &str) -> Result<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != TOKEN_LEN || !text.bytes().all(is_digit) {
            return Err(Error::invalid("token", format_args!("must be {TOKEN_LEN} lower-case hexadecimal digits")));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}

/// An acquisition that nobody renews or releases but whoever knows its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The right to extend and release it.
    pub token: Token,
    /// Larger than that of any acquisition before.
    pub fence: u64,
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempted {
    /// Acquired, with this fence.
    Held(u64),
    /// Not now; it is worth coming again after `after`, or when woken.
    Refused { after: Duration },
}

/// What somebody gives up who acquires no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withdrawal {
    /// Its place in the queue, and what it may hold by now.
    Everything,
    /// Its place in the queue.
    Place,
}

/// A value stored under a fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// The fence it was stored with.
    pub fence: u64,
    /// What was stored.
    pub value: Vec<u8>,
}

/// What a caller asks for: the whole of a mutex, a side of a read/write lock, permits of a semaphore. Cloning is cheap; asking is [`Lock::acquire`].
#[derive(Debug, Clone)]
pub struct Lock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Services,
    kind: Kind,
    name: String,
    group: Group,
    keys: Vec<Key>,
    permits: u64,
    capacity: u64,
}

impl Lock {
    pub(super) fn new(
        services: &Services,
        tenant: &Tenant,
        kind: Kind,
        name: &str,
        permits: u64,
        capacity: u64,
    ) -> Result<Self> {
        check_name("name", name)?;
        services.settings().locks.check()?;
        let group = services.settings().keyring.kept_group(tenant, "lock", &[kind.name(), name]);
        let keys = ["m", "q", "w", "h", "d"].into_iter().take(kind.steps().keys).map(|part| group.key(part)).collect();
        let (services, name) = (services.clone(), name.to_owned());
        Ok(Self { inner: Arc::new(Inner { services, kind, name, group, keys, permits, capacity }) })
    }

    pub(super) fn services(&self) -> &Services {
        &self.inner.services
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the sort of lock.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// Returns the key of the lock's state, for scripts that include [`FENCED`](super::FENCED). What they write lies in the same group:
    /// [`Lock::resource_key`].
    pub fn state_key(&self) -> &Key {
        &self.inner.keys[0]
    }

    /// Returns the key of a thing that this lock protects.
    pub fn resource_key(&self, resource: &str) -> Result<Key> {
        check_name("resource", resource)?;
        Ok(self.inner.group.named("r", resource))
    }

    /// Begins the lease of an acquisition anew; false if it holds nothing any more. A lease that has ended is not revived.
    pub async fn extend(&self, token: &Token, lease: Duration) -> Result<bool> {
        check_lease("lease", lease)?;
        let step = &self.inner.kind.steps().extend;
        let reply = self.run(step, self.inner.kind.steps().holder_keys, token, &[&ms(lease)]).await?;
        Ok(reply.as_i64() == Some(1))
    }

    /// Gives an acquisition back and wakes who waits first; false if it holds nothing any more, and somebody may have held the lock since.
    pub async fn release(&self, token: &Token) -> Result<bool> {
        let steps = self.inner.kind.steps();
        Ok(self.run(&steps.release, steps.holder_keys, token, &[]).await?.as_i64() == Some(1))
    }

    /// Takes the lock from whoever holds it and returns a new fence, and whether it was held. The holders learn it at their next renewal, and what they write
    /// under their fences is refused at once.
    pub async fn force_release(&self) -> Result<(bool, u64)> {
        let steps = self.inner.kind.steps();
        let reply = self.run(&steps.force, steps.keys, &Token::new(), &[]).await?;
        match reply.as_array().unwrap_or_default() {
            [held, fence] => match (held.as_i64(), number(fence)) {
                (Some(held), Some(fence)) => Ok((held > 0, fence)),
                _ => Err(Error::unexpected(steps.force.name(), &reply)),
            },
            _ => Err(Error::unexpected(steps.force.name(), &reply)),
        }
    }

    /// Tells who holds the lock and who waits.
    pub async fn info(&self) -> Result<LockInfo> {
        let steps = self.inner.kind.steps();
        let reply = self.run(&steps.info, steps.keys, &Token::new(), &[]).await?;
        LockInfo::read(self.inner.kind, &reply).ok_or_else(|| Error::unexpected(steps.info.name(), &reply))
    }

    /// Stores what this lock protects, if nobody has acquired the lock since the fence was given; a refusal is [`Error::Conflict`] and changes nothing.
    ///
    /// Meaningful for those that hold a lock alone: of several holders of permits only the last to acquire would be heard. The fence is remembered as long
    /// as the value.
    pub async fn fenced_set(&self, resource: &str, fence: u64, value: &[u8], ttl: Ttl) -> Result<()> {
        if fence == 0 || fence >= MAX_FENCE {
            return Err(Error::invalid("fence", "is none that a lock has given"));
        }
        let keys = [self.inner.keys[0].clone(), self.resource_key(resource)?];
        let args: [&dyn ToArg; 3] = [&fence, &value, &ttl.script_ms()];
        let reply = self.inner.services.backend().script(&FENCED_SET, &keys, &args).await?;
        match number(&reply) {
            Some(newest) if newest == fence => Ok(()),
            Some(newest) => Err(Error::Conflict(format!("fence {fence} is behind {newest}"))),
            None => Err(Error::unexpected(FENCED_SET.name(), &reply)),
        }
    }

    /// Returns what was stored under a fence of this lock.
    pub async fn fenced_value(&self, resource: &str) -> Result<Option<Fenced>> {
        let command = Command::new("HMGET").key(self.resource_key(resource)?).arg("fence").arg("value").repeatable();
        let reply = self.inner.services.backend().call(command).await?;
        match reply.as_array().unwrap_or_default() {
            [Value::Nil, _] => Ok(None),
            [fence, value] => match (number(fence), value.as_bytes()) {
                (Some(fence), Some(value)) => Ok(Some(Fenced { fence, value: value.to_vec() })),
                _ => Err(Error::unexpected("HMGET", &reply)),
            },
            _ => Err(Error::unexpected("HMGET", &reply)),
        }
    }

    /// Asks once; with a waiter's lease the caller is in the queue until it is served or that lease ends.
    pub(super) async fn attempt(
        &self,
        token: &Token,
        owner: &str,
        lease: Duration,
        waiter_lease: Duration,
    ) -> Result<Attempted> {
        let steps = self.inner.kind.steps();
        let (lease_ms, waiter_ms) = (ms(lease), ms(waiter_lease));
        let args: [&dyn ToArg; 5] = [&owner, &lease_ms, &waiter_ms, &self.inner.permits, &self.inner.capacity];
        let args = if steps.keys == OF_ONE.keys { &args[..3] } else { &args[..] };
        let reply = self.run(&steps.acquire, steps.keys, token, args).await?;
        match reply.as_array().unwrap_or_default() {
            [Value::Int(1), fence] => match number(fence) {
                Some(fence) => Ok(Attempted::Held(fence)),
                None => Err(Error::unexpected(steps.acquire.name(), &reply)),
            },
            [Value::Int(0), after_ms, _] => {
                Ok(Attempted::Refused { after: Duration::from_millis(number(after_ms).unwrap_or(1)) })
            }
            _ => Err(Error::unexpected(steps.acquire.name(), &reply)),
        }
    }

    /// Ends an attempt whatever has become of it.
    pub(super) async fn withdraw(&self, token: &Token, withdrawal: Withdrawal) -> Result<()> {
        let steps = self.inner.kind.steps();
        let what = match withdrawal {
            Withdrawal::Everything => "everything",
            Withdrawal::Place => "place",
        };
        self.run(&steps.withdraw, steps.keys, token, &[&what]).await.map(drop)
    }

    async fn run(&self, step: &'static Script, keys: usize, token: &Token, args: &[&dyn ToArg]) -> Result<Value> {
        let keep_ms = ms(self.inner.services.settings().locks.fence_kept);
        let mut command =
            Command::script::<Key, &str>(step, &self.inner.keys[..keys], &[]).arg(token.as_str()).arg(keep_ms);
        for arg in args {
            command = command.arg(arg);
        }
        self.inner.services.backend().call(command).await
    }
}

/// Reads a number of a reply, which may have come as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value.as_i64() {
        Some(number) => number.try_into().ok(),
        None => value.as_str()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let token = Token::new();
        assert_eq!(Token::parse(token.as_str()).unwrap(), token);
        assert_ne!(Token::new(), token);
        let forged = "-".repeat(32);
        for bad in ["", "abc", &forged, "ABCDEFABCDEFABCDEFABCDEFABCDEFAB", "0123456789abcdef0123456789abcdef0"] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }
}
