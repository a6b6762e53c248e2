//! The listening connection: subscribes to what the board wants and brings messages to it.
//!
//! One task for each hub that somebody waits on. Whatever ends it (a runtime that ends, an abort) frees its place, so that the next who waits
//! starts another.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, RedisResult};
use redpoll_store::{Store, Subscription};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::board::{Board, Line, Shift};
use super::{Message, Name};
use crate::backend::{BackendConfig, Heard};
use crate::metrics::{Counter, Metrics};

/// How often a connection is asked whether it still stands.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Pause before the store in this process is subscribed to anew.
const REST: Duration = Duration::from_millis(100);

/// Most channels in one command.
const BATCH: usize = 500;

/// Where messages come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The store in this process.
    Embedded(Arc<Ear>),
    /// Servers elsewhere.
    Servers(Arc<Servers>),
}

/// A store that is listened to. The subscription lies here and not with its task, which holds nothing of the store while it waits: so the store closes
/// with its backend.
pub(crate) struct Ear {
    store: Store,
    losses: Losses,
    subscription: Mutex<Option<Subscription>>,
}

/// Servers of which each hears everything that is published.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) heard: Heard,
    pub(crate) config: BackendConfig,
    pub(crate) losses: Losses,
}

/// Where lost connections are counted.
#[derive(Debug)]
pub(crate) struct Losses {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) counter: Counter,
}

impl Losses {
    fn count(&self) {
        self.metrics.add(self.counter, 1);
    }
}

impl Source {
    /// Listens to a store in this process.
    pub(crate) fn embedded(store: Store, losses: Losses) -> Self {
        Self::Embedded(Arc::new(Ear { store, losses, subscription: Mutex::new(None) }))
    }

    /// Begins to listen, for as long as the shift lasts.
    pub(super) fn start(&self, shift: Shift, runtime: &Handle) -> AbortHandle {
        match self {
            Self::Embedded(ear) => runtime.spawn(listen_within(Arc::downgrade(ear), shift)).abort_handle(),
            Self::Servers(servers) => runtime.spawn(listen_beyond(Arc::clone(servers), shift)).abort_handle(),
        }
    }
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ear")
    }
}

/// Listens to the store in this process until the backend is gone.
async fn listen_within(ear: Weak<Ear>, shift: Shift) {
    let board = &shift.board;
    let mut line = None;
    while let Some(ear) = ear.upgrade() {
        let attended = ear.attend(board, &mut line);
        if attended.is_err() {
            ear.losses.count();
        }
        drop(ear);
        match attended {
            Ok(()) => board.work.notified().await,
            Err(error) => {
                tracing::warn!(%error, "listening to the store begins anew");
                line = None;
                board.lost();
                tokio::time::sleep(REST).await;
            }
        }
    }
}

impl Ear {
    /// Subscribes to what is wanted and hands on what has come; begins anew unless told what is subscribed to.
    fn attend(&self, board: &Arc<Board>, line: &mut Option<(Line, HashSet<Name>)>) -> Result<(), redpoll_store::Error> {
        let mut slot = self.subscription.lock().expect("nothing panics while holding the lock");
        let subscription = match slot.as_mut() {
            Some(kept) if line.is_some() => kept,
            _ => {
                let mut new = self.store.subscribe::<&str>(&[])?;
                let work = Arc::clone(&board.work);
                new.on_arrival(move || work.notify_one());
                slot.insert(new)
            }
        };
        let (line, subscribed) = line.get_or_insert_with(|| (board.begin_anew(), HashSet::new()));
        let changes = board.changes(subscribed);
        let (channels, patterns) = by_kind(&changes.unsubscribe);
        subscription.unsubscribe(&channels)?;
        subscription.unsubscribe_patterns(&patterns)?;
        changes.unsubscribe.iter().for_each(|name| _ = subscribed.remove(name));
        let (channels, patterns) = by_kind(&changes.subscribe);
        subscription.subscribe(&channels)?;
        subscription.subscribe_patterns(&patterns)?;
        for name in changes.subscribe {
            line.stands(name.clone());
            subscribed.insert(name);
        }
        while let Some(redpoll_store::Message { pattern, channel, payload }) = subscription.receive(Duration::ZERO)? {
            line.message(&name(pattern.as_deref(), &channel), &Arc::new(Message { channel, payload }));
        }
        Ok(())
    }
}

/// Listens to one of the servers after the other, as long as somebody waits.
async fn listen_beyond(servers: Arc<Servers>, shift: Shift) {
    let board = &shift.board;
    let (mut turn, mut failures) = (0, 0);
    loop {
        while board.names() == 0 {
            board.work.notified().await;
        }
        let lost = Arc::new(Notify::new());
        match servers.connect(turn, board.begin_anew(), &lost).await {
            Ok(connection) => {
                let begun = Instant::now();
                if let Err(error) = serve(connection, board, &lost).await {
                    tracing::debug!(%error, "the listening connection is of no use");
                }
                if begun.elapsed() > servers.config.retry.cap {
                    failures = 0;
                }
                servers.losses.count();
                board.lost();
            }
            Err(error) => tracing::debug!(%error, "no listening connection"),
        }
        turn += 1;
        tokio::time::sleep(servers.config.retry.pause(failures)).await;
        failures += 1;
    }
}

impl Servers {
    async fn connect(&self, turn: usize, line: Line, lost: &Arc<Notify>) -> RedisResult<MultiplexedConnection> {
        let lost = Arc::clone(lost);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            .set_response_timeout(Some(self.config.command_timeout))
            .set_push_sender(move |push: PushInfo| {
                heard(push, &line, &lost);
                Ok::<(), ()>(())
            });
        let client = self.heard.client(turn).await?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Takes what the server sends without having been asked; runs on the connection's own task.
fn heard(push: PushInfo, line: &Line, lost: &Notify) {
    let mut parts = push.data.into_iter().map(|part| match part {
        redis::Value::BulkString(bytes) => bytes,
        _ => Vec::new(),
    });
    let mut part = || parts.next().unwrap_or_default();
    match push.kind {
        PushKind::Message => {
            let message = Message { channel: part(), payload: part() };
            line.message(&name(None, &message.channel), &Arc::new(message));
        }
        PushKind::PMessage => {
            let name = name(Some(&part()), &[]);
            line.message(&name, &Arc::new(Message { channel: part(), payload: part() }));
        }
        PushKind::Subscribe => line.stands(name(None, &part())),
        PushKind::PSubscribe => line.stands(name(Some(&part()), &[])),
        PushKind::Disconnection => lost.notify_one(),
        _ => {}
    }
}

/// Keeps the subscriptions as the board wants them until the connection is lost.
async fn serve(mut connection: MultiplexedConnection, board: &Board, lost: &Notify) -> RedisResult<()> {
    let mut subscribed = HashSet::new();
    let mut pings = tokio::time::interval(PING_INTERVAL);
    loop {
        let changes = board.changes(&subscribed);
        let (channels, patterns) = by_kind(&changes.unsubscribe);
        for channels in channels.chunks(BATCH) {
            connection.unsubscribe(channels).await?;
        }
        for patterns in patterns.chunks(BATCH) {
            connection.punsubscribe(patterns).await?;
        }
        changes.unsubscribe.iter().for_each(|name| _ = subscribed.remove(name));
        for name in subscribe(&mut connection, changes.subscribe, board).await? {
            subscribed.insert(name);
        }
        tokio::select! {
            () = board.work.notified() => {}
            () = lost.notified() => return Ok(()),
            _ = pings.tick() => redis::cmd("PING").query_async::<()>(&mut connection).await?,
        }
    }
}

/// Subscribes to names, and returns those that the server grants.
async fn subscribe(connection: &mut MultiplexedConnection, names: Vec<Name>, board: &Board) -> RedisResult<Vec<Name>> {
    let (patterns, channels): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| matches!(name, Name::Pattern(_)));
    let mut granted = Vec::with_capacity(patterns.len() + channels.len());
    for some in channels.chunks(BATCH).chain(patterns.chunks(BATCH)) {
        match ask(connection, some).await {
            Ok(()) => granted.extend_from_slice(some),
            Err(error) if !is_refusal(&error) => return Err(error),
            // One that may not be listened to has all of a command refused.
            Err(_) => {
                for name in some {
                    match ask(connection, std::slice::from_ref(name)).await {
                        Ok(()) => granted.push(name.clone()),
                        Err(error) if !is_refusal(&error) => return Err(error),
                        Err(error) => board.refused(name, &error.to_string()),
                    }
                }
            }
        }
    }
    Ok(granted)
}

/// Subscribes to names of one kind.
async fn ask(connection: &mut MultiplexedConnection, names: &[Name]) -> RedisResult<()> {
    match by_kind(names) {
        (channels, patterns) if patterns.is_empty() => connection.subscribe(channels).await,
        (_, patterns) => connection.psubscribe(patterns).await,
    }
}

/// Tells whether a server has answered, and will not do it.
fn is_refusal(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// Returns the name by which a message came.
fn name(pattern: Option<&[u8]>, channel: &[u8]) -> Name {
    let text = |bytes| String::from_utf8_lossy(bytes).as_ref().into();
    match pattern {
        Some(pattern) => Name::Pattern(text(pattern)),
        None => Name::Channel(text(channel)),
    }
}

/// Parts names into channels and patterns.
fn by_kind(names: &[Name]) -> (Vec<&str>, Vec<&str>) {
    let (mut channels, mut patterns) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            Name::Channel(channel) => channels.push(channel.as_ref()),
            Name::Pattern(pattern) => patterns.push(pattern.as_ref()),
        }
    }
    (channels, patterns)
}
