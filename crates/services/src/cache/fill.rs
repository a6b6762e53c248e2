//! The right to load a key, and what comes of it: leases, their renewal, and fills that the store may refuse.

use redpoll_resp::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::entry::Body;
use super::load::LoadOptions;
use super::lookup::{Ask, read_commands};
use super::namespace::Namespace;
use super::near::Forgetting;
use super::steps;
use super::stored::{SetOptions, Stored};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::ttl::ms;

/// What a caller that takes a lease has seen of the key: nothing, or what is kept for fail-safe only.
pub(super) const NOTHING_SEEN: i64 = -2;

/// Commands that take the right to load a key: for the lease, how long it lasts, the newest stamp, and what reads an entry.
const ACQUIRE_COMMANDS: usize = 5;

/// Who loads a key.
#[derive(Debug)]
pub enum Claim {
    /// Nobody needs to: here it is (`None` is a cached absence).
    Found(Option<Body>),
    /// The caller. Storing through the fill is refused if the key changes meanwhile.
    Lead(Fill),
    /// Another caller, whose lease ends in so many milliseconds unless renewed.
    Busy(u64),
}

/// What a loader gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Fresh {
    answer: Answer,
    set: Option<SetOptions>,
    is_stored: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Value(Option<Body>),
    Unchanged,
}

impl Fresh {
    /// A value.
    pub fn value(body: impl Into<Body>) -> Self {
        Self::from(Some(body.into()))
    }

    /// There is none, which is cached too.
    pub fn absent() -> Self {
        Self::from(None)
    }

    /// What the loader was handed still holds, and gets a new lifetime.
    pub fn unchanged() -> Self {
        Self { answer: Answer::Unchanged, set: None, is_stored: true }
    }

    /// Stores it with these options instead of the call's: the loader often knows best how long its value lasts.
    #[must_use]
    pub fn with(self, set: SetOptions) -> Self {
        Self { set: Some(set), ..self }
    }

    /// Gives it to the caller and stores nothing; nobody else gets it.
    #[must_use]
    pub fn unstored(self) -> Self {
        Self { is_stored: false, ..self }
    }

    /// Whether it is to be stored.
    pub(super) fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Returns the value, which is `previous` if that is unchanged, and the options.
    pub(super) fn settle(self, previous: Option<Body>) -> Result<(Option<Body>, Option<SetOptions>)> {
        match (self.answer, previous) {
            (Answer::Value(body), _) => Ok((body, self.set)),
            (Answer::Unchanged, Some(previous)) => Ok((Some(previous), self.set)),
            (Answer::Unchanged, None) => {
                Err(Error::invalid("loader", "said \"unchanged\" of a value that it was not handed"))
            }
        }
    }
}

impl From<Option<Body>> for Fresh {
    fn from(body: Option<Body>) -> Self {
        Self { answer: Answer::Value(body), set: None, is_stored: true }
    }
}

/// The right to store a loaded value. Dropping it lets another caller load.
#[derive(Debug)]
pub struct Fill {
    namespace: Namespace,
    key: String,
    lease: Key,
    token: String,
    /// Of the invalidations that came before the lease was given; 0 if none is remembered.
    newest_stamp: u64,
    started: Instant,
    settled: bool,
}

impl Namespace {
    /// Takes the right to load a key, for callers that do not want to hand over a loader. The lease is not renewed, so
    /// the value must be stored within [`CacheSettings::lease`](super::CacheSettings::lease).
    pub async fn claim(&self, key: &str) -> Result<Claim> {
        check_name("key", key)?;
        self.acquire(key, NOTHING_SEEN).await
    }

    pub(super) async fn acquire(&self, key: &str, seen_ms: i64) -> Result<Claim> {
        Ok(self.acquire_many(&[(key, seen_ms)]).await?.pop().expect("one was asked for"))
    }

    /// Takes the right to load keys, each with the remaining lifetime of what was seen of it, in one exchange.
    ///
    /// Plain commands do it, at a fraction of a script's cost, because of their order: the lease is asked for first. So what
    /// somebody stored before the lease was given is found by the read behind it, rather than loaded again; and whatever is
    /// invalidated after the newest stamp was read gets a larger one, which refuses the fill.
    pub(super) async fn acquire_many(&self, wanted: &[(&str, i64)]) -> Result<Vec<Claim>> {
        let (token, lease_ms) = (Uuid::new_v4().simple().to_string(), self.lease_ms());
        let mut commands = Vec::with_capacity(wanted.len() * ACQUIRE_COMMANDS);
        for (key, _) in wanted {
            let partition = self.partition(key);
            let lease = partition.lease(key);
            commands.push(Command::new("SET").key(&lease).arg(&token).arg("NX").arg("PX").arg(lease_ms));
            commands.push(Command::new("PTTL").key(&lease));
            commands.push(Command::new("ZRANGE").key(partition.stamps()).arg("-1").arg("-1").arg("WITHSCORES"));
            commands.extend(read_commands(partition, &[key], Ask::Lifetimes));
        }
        let mut replies = self.services.backend().pipeline(commands).await?.into_iter();
        // All of them first: a lease that was given and is not taken note of would keep others waiting.
        let claims: Vec<Result<Claim>> = wanted
            .iter()
            .map(|(key, seen_ms)| {
                let replies: Vec<Result<Value>> = replies.by_ref().take(ACQUIRE_COMMANDS).collect();
                self.claimed(key, *seen_ms, &token, replies)
            })
            .collect();
        claims.into_iter().collect()
    }

    fn claimed(&self, key: &str, seen_ms: i64, token: &str, replies: Vec<Result<Value>>) -> Result<Claim> {
        let mut replies = replies.into_iter();
        let mut reply = || replies.next().expect("a reply for each command");
        let (given, left_ms, newest) = (reply()?, reply(), reply());
        let lease = self.partition(key).lease(key);
        // From here on the lease, if it was given, is given back should anything fail.
        let fill = (given != Value::Nil).then(|| Fill {
            namespace: self.clone(),
            key: key.to_owned(),
            lease,
            token: token.to_owned(),
            newest_stamp: 0,
            started: Instant::now(),
            settled: false,
        });
        let found = self.found(&mut replies, 1, Ask::Lifetimes)?.pop().expect("one was asked for");
        if let Some(found) = found {
            // A longer lifetime than the one seen means that somebody has refreshed it meanwhile. What is kept for fail-safe
            // is not there for those who have seen nothing.
            let fail_safe_ms = || i64::try_from(found.entry.fail_safe_ms).unwrap_or(i64::MAX);
            let seen_ms = if seen_ms == NOTHING_SEEN { fail_safe_ms() } else { seen_ms };
            if found.remaining_ms == -1 || found.remaining_ms > seen_ms {
                return Ok(Claim::Found(found.entry.body));
            }
        }
        match fill {
            Some(mut fill) => {
                fill.newest_stamp = newest_stamp(&newest?)?;
                Ok(Claim::Lead(fill))
            }
            None => Ok(Claim::Busy(left_ms?.as_u64().unwrap_or(0))),
        }
    }

    /// Awaits `work` and renews the leases meanwhile. A lost lease does not stop the work; its fill will be refused.
    pub(super) async fn renewing<T>(&self, fills: &[Fill], work: impl Future<Output = T>) -> T {
        // Not `interval`, whose first tick is due at once and yet waits for the timer's next millisecond, and the work with it.
        let pause = self.settings.lease / 3;
        let mut ticks = tokio::time::interval_at(Instant::now() + pause, pause);
        let lease_ms = self.lease_ms().to_string();
        let renewals = async {
            loop {
                ticks.tick().await;
                let renew = |fill: &Fill| Command::script(&steps::RENEW, &[&fill.lease], &[&fill.token, &lease_ms]);
                if let Err(error) = self.services.backend().pipeline(fills.iter().map(renew).collect()).await {
                    tracing::debug!(%error, "leases not renewed");
                }
            }
        };
        tokio::select! {
            result = work => result,
            () = renewals => unreachable!("renews for ever"),
        }
    }

    /// Stores what was loaded, each through its fill, in one exchange; tells for each whether it was stored.
    pub(super) async fn put_many(
        &self,
        loaded: Vec<(Fill, Option<Body>)>,
        options: &LoadOptions,
    ) -> Result<Vec<Result<bool>>> {
        let mut sent = Vec::with_capacity(loaded.len());
        let mut commands = Vec::with_capacity(loaded.len());
        for (fill, body) in &loaded {
            let command = fill.command(body.as_ref(), options, None);
            sent.push(command.as_ref().map(drop).map_err(Clone::clone));
            commands.extend(command.ok());
        }
        let replies = {
            let _forgetting = Forgetting::these(self.near(), loaded.iter().map(|(fill, _)| fill.key.as_str()));
            self.services.backend().pipeline(commands).await?
        };
        let mut replies = replies.into_iter();
        let mut results = Vec::with_capacity(loaded.len());
        for ((mut fill, _), sent) in loaded.into_iter().zip(sent) {
            results.push(match sent {
                Ok(()) => replies.next().expect("a reply for each command").map(|reply| fill.settle(&reply)),
                Err(error) => Err(error),
            });
        }
        Ok(results)
    }

    fn lease_ms(&self) -> u64 {
        ms(self.settings.lease)
    }
}

impl Fill {
    /// Returns the key to load.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Stores the loaded value, `None` being "there is none"; tells whether it was stored.
    pub async fn store(mut self, body: Option<&Body>, options: &LoadOptions) -> Result<bool> {
        self.put(body, options, None).await
    }

    /// Stores a value with these options, if any, else the call's.
    pub(super) async fn put(
        &mut self,
        body: Option<&Body>,
        options: &LoadOptions,
        set: Option<SetOptions>,
    ) -> Result<bool> {
        let command = self.command(body, options, set)?;
        let namespace = self.namespace.clone();
        let key = self.key.clone();
        let _forgetting = Forgetting::these(namespace.near(), [key.as_str()]);
        let reply = namespace.services.backend().call(command).await?;
        Ok(self.settle(&reply))
    }

    fn command(&self, body: Option<&Body>, options: &LoadOptions, own: Option<SetOptions>) -> Result<Command> {
        let settings = &self.namespace.settings;
        let own_ttl = own.as_ref().and_then(|own| own.ttl);
        let mut set = own.unwrap_or_else(|| options.set.clone());
        if body.is_none() {
            set.ttl = Some(own_ttl.or(options.absent_ttl).unwrap_or(settings.absent_ttl));
            // That there is nothing is not said of a time for which nobody knows.
            set.fail_safe = Some(std::time::Duration::ZERO);
        }
        let load_ms = ms(self.started.elapsed());
        let stored = Stored::new(&self.namespace, &self.key, body, &set)?;
        Ok(stored.command(&steps::FILL, load_ms, &self.token, self.newest_stamp))
    }

    /// Takes note of the answer to a fill.
    fn settle(&mut self, reply: &Value) -> bool {
        self.settled = true;
        let accepted = reply.as_i64() == Some(1);
        if !accepted {
            self.namespace.services.metrics().add(Counter::CacheFillsRefused, 1);
        }
        accepted
    }

    /// Gives the lease back.
    pub(super) async fn release(&mut self) {
        self.settled = true;
        let command = self.release_command();
        if let Err(error) = self.namespace.services.backend().call(command).await {
            tracing::debug!(key = self.key, %error, "lease not released; it will expire");
        }
    }

    fn release_command(&self) -> Command {
        Command::script(&steps::RELEASE, &[&self.lease], &[&self.token])
    }
}

/// Reads the score of the newest stamp: flat as RESP2 has it or in a pair as RESP3 has.
fn newest_stamp(reply: &Value) -> Result<u64> {
    let broken = || Error::unexpected("ZRANGE", reply);
    match reply.as_array().ok_or_else(broken)? {
        [] => Ok(0),
        [pair] => match pair.as_array() {
            Some([_, score]) => score.as_f64().map(|score| score as u64).ok_or_else(broken),
            _ => Err(broken()),
        },
        [_, score] => score.as_f64().map(|score| score as u64).ok_or_else(broken),
        _ => Err(broken()),
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // Outside a runtime nothing can be sent; the lease then ends by itself.
        if !self.settled
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (backend, command) = (self.namespace.services.backend().clone(), self.release_command());
            runtime.spawn(async move { backend.call(command).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::{Backend, Services, Settings, Tenant};

    /// A store in this process answers at once: a load that is not done when it is first looked at waits for the clock.
    #[tokio::test]
    async fn a_load_waits_for_nothing_but_its_loader() {
        let store = redpoll_store::Store::open(redpoll_store::Config::in_memory()).unwrap();
        let services = Services::new(Backend::embedded(store), Settings::default());
        let namespace = services.cache(&Tenant::default()).namespace("users").unwrap();
        let (options, body) = (LoadOptions::default(), Body::from(vec![1]));
        let loader = || async { Ok::<_, String>(Some(Body::from(vec![1]))) };
        let mut load = std::pin::pin!(namespace.get_or_set("k", &options, loader));
        match std::future::poll_fn(|cx| Poll::Ready(load.as_mut().poll(cx))).await {
            Poll::Ready(loaded) => assert_eq!(loaded.unwrap().body, Some(body)),
            Poll::Pending => panic!("it waits"),
        }
    }
}
