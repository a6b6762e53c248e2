//! The few verbs the services speak, and the places that answer them.
//!
//! ```text
//! services ─► Backend ─► embedded   the store in this process
//!                     ├► remote     one Redis, Valkey or Redpoll server
//!                     ├► sentinel   the one that a Sentinel group calls master
//!                     └► cluster    a Redis or Valkey Cluster
//! ```
//!
//! [`Backend::call`] sends one command, [`Backend::pipeline`] many at once with each result or error in its place,
//! [`Backend::script`] runs an atomic step, [`Backend::now_ms`] reads the store's clock, and [`Backend::invalidations`]
//! tells of changed keys, which it has connections of its own for ([`invalidations`]). A reply is a
//! [`redpoll_resp::Value`] whatever the transport; an error reply is an [`Error`].
//!
//! **Failure.** A call has one deadline, [`BackendConfig::command_timeout`], which covers connecting, waiting and every
//! repetition. A call is repeated (bounded, exponential backoff, jitter) only if that is harmless: the command was
//! certainly not executed (connection refused, server loading, failover in progress), or it is marked repeatable.
//! Everything else is reported at the first failure, because the step may have taken place.
//!
//! A store that does not answer several calls in a row is left alone for a moment: calls then fail at once. See
//! [`CircuitPolicy`].
//!
//! **Order.** Commands of one pipeline that share a slot run in the order given. On a Cluster different slots are served
//! in parallel.
//!
//! Not here: blocking commands, which would hold up a shared connection, and transactions, which are scripts in this
//! crate. For listening a hub has a connection of its own.

mod circuit;
mod cluster;
mod command;
pub(crate) mod config;
mod embedded;
pub mod invalidations;
mod nodes;
mod remote;
mod reply;
mod sentinel;
mod tls;

use std::sync::Arc;

use redpoll_resp::Value;

use crate::error::{Error, Result};
use crate::hub::{Hub, Losses, Servers, Source};
use crate::metrics::{Counter, Metrics};
use crate::script::Script;
use crate::signal::Signals;

use circuit::{Circuit, Outcome};
pub use circuit::{CircuitPolicy, CircuitState, MAX_OUTAGES};
use cluster::Cluster;
pub use command::{Command, ToArg};
pub use config::{
    BackendConfig, RetryPolicy, SentinelLogin, TlsFiles, store_settings_from_environment, url_from_environment,
};
use embedded::Embedded;
use invalidations::Feed;
use remote::Remote;
use reply::{Exchange, Failure, Sent};
use sentinel::Sentinel;

/// Longest pipeline, in commands.
pub const MAX_PIPELINE_COMMANDS: usize = 100_000;

/// A store, wherever it is. Cloning is cheap and shares connections.
#[derive(Debug, Clone)]
pub struct Backend {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    signals: Signals,
    messages: Hub,
    transport: Transport,
    config: BackendConfig,
    circuit: Circuit,
    metrics: Arc<Metrics>,
    feed: Arc<Feed>,
}

#[derive(Debug)]
enum Transport {
    Embedded(Embedded),
    Remote(Box<Remote>),
    Sentinel(Arc<Sentinel>),
    Cluster(Box<Cluster>),
}

/// Who is listened to.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// Any of these: each hears everything that is published. At least one.
    Any(Vec<redis::Client>),
    /// Whoever is master.
    Master(Arc<Sentinel>),
}

impl Heard {
    /// Returns the client for the next connection, which speaks RESP3.
    pub(crate) async fn client(&self, turn: usize) -> redis::RedisResult<redis::Client> {
        match self {
            Self::Any(clients) => Ok(clients[turn % clients.len()].clone()),
            Self::Master(sentinel) => Box::pin(sentinel.listening_client()).await,
        }
    }
}

impl Backend {
    /// Connects and makes sure that the store answers.
    ///
    /// `url` is `embedded:` for a store in memory, `embedded:<directory>` for one that keeps its data,
    /// `redis://[user:password@]host[:port][/db]`, `redis+sentinel://[user:password@]host:port,host:port/service[/db]`, or
    /// `redis+cluster://[user:password@]host:port,host:port`; with TLS `rediss://`, `rediss+sentinel://` and
    /// `rediss+cluster://`.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, BackendConfig::default()).await
    }

    /// Connects with the given timeouts and makes sure that the store answers.
    pub async fn connect_with(url: &str, config: BackendConfig) -> Result<Self> {
        let backend = Self::connect_lazily(url, config)?;
        backend.call(Command::new("PING").repeatable()).await?;
        Ok(backend)
    }

    /// Prepares a backend that connects when first used, for programs that must start while the store is down.
    ///
    /// Fails for a URL that cannot be understood, and for an embedded store that cannot be opened. Must be called within
    /// a tokio runtime.
    pub fn connect_lazily(url: &str, config: BackendConfig) -> Result<Self> {
        if let Some(dir) = url.strip_prefix("embedded:") {
            return Ok(Self::over_embedded(Embedded::open(dir, &config.store)?, config));
        }
        let (transport, heard) = if let Some(nodes) = url.strip_prefix("redis+cluster://") {
            Self::cluster("redis", nodes, &config)?
        } else if let Some(nodes) = url.strip_prefix("rediss+cluster://") {
            Self::cluster("rediss", nodes, &config)?
        } else if let Some(group) = url.strip_prefix("redis+sentinel://") {
            Self::sentinel("redis", group, &config)?
        } else if let Some(group) = url.strip_prefix("rediss+sentinel://") {
            Self::sentinel("rediss", group, &config)?
        } else if url.starts_with("redis://") || url.starts_with("rediss://") {
            (
                Transport::Remote(Box::new(Remote::open(url, &config)?)),
                Heard::Any(vec![remote::listening_client(url, &config)?]),
            )
        } else {
            return Err(Error::invalid(
                "url",
                "must start with embedded:, redis[s]://, redis[s]+sentinel:// or redis[s]+cluster://",
            ));
        };
        let metrics = Arc::new(Metrics::new());
        let listening = config.clone();
        let source =
            |losses| Source::Servers(Arc::new(Servers { heard: heard.clone(), config: listening.clone(), losses }));
        Ok(Self::over(transport, source, config, metrics))
    }

    /// Puts a backend upon a store that is open in this process.
    pub fn embedded(store: redpoll_store::Store) -> Self {
        Self::over_embedded(Embedded::new(store), BackendConfig::default())
    }

    fn over_embedded(embedded: Embedded, config: BackendConfig) -> Self {
        let metrics = Arc::new(Metrics::new());
        let store = embedded.store().clone();
        Self::over(Transport::Embedded(embedded), |losses| Source::embedded(store.clone(), losses), config, metrics)
    }

    fn cluster(scheme: &'static str, nodes: &str, config: &BackendConfig) -> Result<(Transport, Heard)> {
        let clients = cluster::listening_clients(scheme, nodes, config)?;
        Ok((Transport::Cluster(Box::new(Cluster::open(scheme, nodes, config)?)), Heard::Any(clients)))
    }

    fn sentinel(scheme: &'static str, group: &str, config: &BackendConfig) -> Result<(Transport, Heard)> {
        let sentinel = Arc::new(Sentinel::open(scheme, group, config)?);
        Ok((Transport::Sentinel(Arc::clone(&sentinel)), Heard::Master(sentinel)))
    }

    fn over(
        transport: Transport,
        source: impl Fn(Losses) -> Source,
        config: BackendConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let circuit = Circuit::new(config.circuit);
        let source = |counter| source(Losses { metrics: Arc::clone(&metrics), counter });
        let (signals, messages) =
            (Signals::new(source(Counter::SignalLosses)), Hub::new(source(Counter::PubsubLosses)));
        let inner = Inner { signals, messages, transport, config, circuit, metrics, feed: Arc::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the signals of this store.
    pub fn signals(&self) -> &Signals {
        &self.inner.signals
    }

    /// Returns the hub of messages.
    pub(crate) fn messages(&self) -> &Hub {
        &self.inner.messages
    }

    /// Returns how long a call may take.
    pub(crate) fn command_timeout(&self) -> std::time::Duration {
        self.inner.config.command_timeout
    }

    /// Returns the counters that this backend and the services upon it share.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Tells whether keys of one step must share a slot. One server runs a step over any keys.
    pub fn is_cluster(&self) -> bool {
        matches!(self.inner.transport, Transport::Cluster(_))
    }

    fn is_embedded(&self) -> bool {
        matches!(self.inner.transport, Transport::Embedded(_))
    }

    /// Tells whether calls are tried or fail at once because the store was found to be gone.
    pub fn circuit(&self) -> CircuitState {
        self.inner.circuit.state()
    }

    /// Has a store in this process never evict keys that begin so. Elsewhere only the operator can say so.
    pub(crate) fn spare(&self, beginnings: &[String]) {
        if let Transport::Embedded(embedded) = &self.inner.transport {
            embedded.spare(beginnings);
        }
    }

    /// Runs one command and returns its reply; an error reply is an error.
    pub async fn call(&self, command: Command) -> Result<Value> {
        let mut first = None;
        if self.is_embedded() {
            // Who is in this process has answered once it is asked: an answer needs neither deadline nor breaker.
            match self.once(&command).await {
                Ok(value) => return Ok(value),
                Err(failure) => first = Some(failure),
            }
        }
        // On the heap, like what a transport remembers: it would be moved about with every future that a call is a part of.
        Box::pin(self.call_patiently(&command, first)).await
    }

    /// Runs a command until nothing is gained by running it again; `first` is what came of doing so once.
    async fn call_patiently(&self, command: &Command, mut first: Option<Failure>) -> Result<Value> {
        let attempts = async {
            let mut attempt = 0;
            loop {
                let outcome = match first.take() {
                    Some(failure) => Err(failure),
                    None => self.once(command).await,
                };
                let failure = match outcome {
                    Ok(value) => return Ok(value),
                    Err(failure) => failure,
                };
                if !self.is_worth_repeating(&failure, command.is_repeatable(), attempt) {
                    return Err(failure);
                }
                self.pause_before_repeating(&mut attempt).await;
            }
        };
        self.within_deadline(command.name(), attempts).await
    }

    /// Runs many commands in one exchange. The outer error means that nothing is known about any of them.
    ///
    /// What is sent again is what went one way together: everything, or on a Cluster the commands of a slot; and only if
    /// nothing of it was executed, or every command in it is repeatable. Scripts that the server did not know are sent
    /// again in full, after the others.
    pub async fn pipeline(&self, commands: Vec<Command>) -> Result<Vec<Result<Value>>> {
        if commands.len() > MAX_PIPELINE_COMMANDS {
            return Err(Error::invalid("commands", format_args!("more than {MAX_PIPELINE_COMMANDS} in a pipeline")));
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_embedded() {
            let mut results = Vec::with_capacity(commands.len());
            for command in &commands {
                results.push(self.once(command).await.map_err(|failure| failure.error));
            }
            return Ok(results);
        }
        Box::pin(self.pipeline_patiently(&commands)).await
    }

    /// Sends a pipeline until nothing is gained by sending it again.
    async fn pipeline_patiently(&self, commands: &[Command]) -> Result<Vec<Result<Value>>> {
        let attempts = async {
            let replies = self.send_all_until_answered(commands).await?;
            let mut results = Vec::with_capacity(replies.len());
            for (command, reply) in commands.iter().zip(replies) {
                results.push(match reply::checked(reply) {
                    Err(failure) if failure.no_script || failure.moved => {
                        self.once(command).await.map_err(|failure| failure.error)
                    }
                    other => other.map_err(|failure| failure.error),
                });
            }
            Ok(results)
        };
        self.within_deadline("pipeline", attempts).await
    }

    /// Returns the reply to each command. Sends again what failed without harm, and nothing that was answered.
    async fn send_all_until_answered(&self, commands: &[Command]) -> Result<Vec<Value>, Failure> {
        let mut replies = vec![Value::Nil; commands.len()];
        let mut left: Vec<usize> = (0..commands.len()).collect();
        let mut attempt = 0;
        loop {
            let mut again = Vec::new();
            for Exchange { indices, outcome } in self.send_all(commands, &left).await {
                let failure = match outcome {
                    Ok(values) => {
                        indices.into_iter().zip(values).for_each(|(index, value)| replies[index] = value);
                        continue;
                    }
                    Err(failure) => failure,
                };
                let is_repeatable = indices.iter().all(|index| commands[*index].is_repeatable());
                if !self.is_worth_repeating(&failure, is_repeatable, attempt) {
                    return Err(failure);
                }
                again.extend(indices);
            }
            if again.is_empty() {
                return Ok(replies);
            }
            // As they were given, for those that share a slot.
            again.sort_unstable();
            left = again;
            self.pause_before_repeating(&mut attempt).await;
        }
    }

    /// Tells whether sending again may help and does no harm.
    fn is_worth_repeating(&self, failure: &Failure, is_repeatable: bool, attempt: u32) -> bool {
        let is_harmless = failure.sent == Sent::No || is_repeatable;
        failure.error.is_outage() && is_harmless && attempt < self.inner.config.retry.attempts_max
    }

    async fn pause_before_repeating(&self, attempt: &mut u32) {
        self.inner.metrics.add(Counter::BackendRetries, 1);
        tokio::time::sleep(self.inner.config.retry.pause(*attempt)).await;
        *attempt += 1;
    }

    /// Runs an atomic step. All keys must share a hash tag.
    pub async fn script<K: ToArg, A: ToArg>(&self, script: &'static Script, keys: &[K], args: &[A]) -> Result<Value> {
        self.call(Command::script(script, keys, args)).await
    }

    /// Returns the store's clock in milliseconds since 1970. On a Cluster, the clock of some node.
    pub async fn now_ms(&self) -> Result<u64> {
        let reply = self.call(Command::new("TIME").repeatable()).await?;
        let part = |index: usize| reply.as_array()?.get(index)?.as_u64();
        match (part(0), part(1)) {
            (Some(seconds), Some(micros)) => Ok(seconds * 1000 + micros / 1000),
            _ => Err(Error::unexpected("TIME", &reply)),
        }
    }

    async fn once(&self, command: &Command) -> Result<Value, Failure> {
        match self.send(command).await.and_then(reply::checked) {
            Err(failure) if failure.no_script => match command.in_full() {
                Some(full) => self.send(&full).await.and_then(reply::checked),
                None => Err(failure),
            },
            other => other,
        }
    }

    async fn send(&self, command: &Command) -> Result<Value, Failure> {
        match &self.inner.transport {
            Transport::Embedded(embedded) => Ok(embedded.send(command).await),
            Transport::Remote(remote) => Box::pin(remote.send(command)).await,
            Transport::Sentinel(sentinel) => Box::pin(sentinel.send(command)).await,
            Transport::Cluster(cluster) => Box::pin(cluster.send(command)).await,
        }
    }

    /// Sends the commands at `indices`. Only a Cluster has several ways for them.
    async fn send_all(&self, commands: &[Command], indices: &[usize]) -> Vec<Exchange> {
        let chosen: Vec<&Command> = indices.iter().map(|index| &commands[*index]).collect();
        let outcome = match &self.inner.transport {
            Transport::Embedded(_) => unreachable!("a pipeline asks a store in this process one by one"),
            Transport::Remote(remote) => Box::pin(remote.send_all(&chosen)).await,
            Transport::Sentinel(sentinel) => Box::pin(sentinel.send_all(&chosen)).await,
            Transport::Cluster(cluster) => return Box::pin(cluster.send_all(commands, indices)).await,
        };
        vec![Exchange { indices: indices.to_vec(), outcome }]
    }

    /// Does the work unless the circuit is open, in the time that a call may take.
    async fn within_deadline<T>(&self, what: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T> {
        let Inner { config, circuit, metrics, .. } = &*self.inner;
        let pass = circuit.admit().inspect_err(|_| metrics.add(Counter::BackendNotTried, 1))?;
        let timeout = config.command_timeout;
        let failure = match tokio::time::timeout(timeout, work).await {
            Ok(Ok(value)) => {
                pass.settle(Outcome::Answered);
                return Ok(value);
            }
            Ok(Err(failure)) => failure,
            Err(_) => {
                let error = Error::Timeout(format!("{what} took longer than {} ms", timeout.as_millis()));
                Failure::silence(error, Sent::Maybe)
            }
        };
        if pass.settle(if failure.answered { Outcome::Answered } else { Outcome::Outage }) {
            metrics.add(Counter::BackendCircuitOpened, 1);
        }
        if failure.error.is_outage() {
            metrics.add(Counter::BackendFailures, 1);
            tracing::debug!(what, error = %failure.error, "store outage");
        }
        Err(failure.error)
    }
}
