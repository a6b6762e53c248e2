//! The listening connection: subscribes to what the board wants and brings messages to it.
//!
//! One task for each backend that somebody waits on. Whatever ends it (a runtime that ends, an abort) frees its place, so that the next who waits
//! starts another.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisResult};
use redpoll_store::{Store, Subscription};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::board::{Board, Shift};
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
    metrics: Arc<Metrics>,
    subscription: Mutex<Option<Subscription>>,
}

/// Servers of which each hears everything that is published.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) heard: Heard,
    pub(crate) config: BackendConfig,
    pub(crate) metrics: Arc<Metrics>,
}

impl Source {
    /// Listens to a store in this process.
    pub(crate) fn embedded(store: Store, metrics: Arc<Metrics>) -> Self {
        Self::Embedded(Arc::new(Ear { store, metrics, subscription: Mutex::new(None) }))
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
    let mut subscribed = None;
    while let Some(ear) = ear.upgrade() {
        let attended = ear.attend(board, &mut subscribed);
        ear.metrics.add(Counter::SignalLosses, u64::from(attended.is_err()));
        drop(ear);
        match attended {
            Ok(()) => board.work.notified().await,
            Err(error) => {
                tracing::warn!(%error, "listening to the store begins anew");
                subscribed = None;
                board.signal_all();
                tokio::time::sleep(REST).await;
            }
        }
    }
}

impl Ear {
    /// Subscribes to what is wanted and hands on what has come; begins anew unless told what is subscribed to.
    fn attend(&self, board: &Board, subscribed: &mut Option<HashSet<String>>) -> Result<(), redpoll_store::Error> {
        let mut slot = self.subscription.lock().expect("nothing panics while holding the lock");
        let subscription = match slot.as_mut() {
            Some(kept) if subscribed.is_some() => kept,
            _ => {
                let mut new = self.store.subscribe::<&str>(&[])?;
                let work = Arc::clone(&board.work);
                new.on_arrival(move || work.notify_one());
                board.begin_anew();
                slot.insert(new)
            }
        };
        let subscribed = subscribed.get_or_insert_default();
        let changes = board.changes(subscribed);
        subscription.subscribe(&changes.subscribe)?;
        subscription.unsubscribe(&changes.unsubscribe)?;
        for channel in changes.unsubscribe {
            subscribed.remove(&channel);
        }
        for channel in changes.subscribe {
            board.signal(&channel, "");
            subscribed.insert(channel);
        }
        while let Some(message) = subscription.receive(Duration::ZERO)? {
            board.signal(&String::from_utf8_lossy(&message.channel), &String::from_utf8_lossy(&message.payload));
        }
        Ok(())
    }
}

/// Listens to one of the servers after the other, as long as somebody waits.
async fn listen_beyond(servers: Arc<Servers>, shift: Shift) {
    let board = &shift.board;
    let (mut turn, mut failures) = (0, 0);
    loop {
        while board.channels() == 0 {
            board.work.notified().await;
        }
        let lost = Arc::new(Notify::new());
        match servers.connect(turn, board, &lost).await {
            Ok(connection) => {
                board.begin_anew();
                let begun = Instant::now();
                if let Err(error) = serve(connection, board, &lost).await {
                    tracing::debug!(%error, "the listening connection is of no use");
                }
                if begun.elapsed() > servers.config.retry.cap {
                    failures = 0;
                }
                servers.metrics.add(Counter::SignalLosses, 1);
                board.signal_all();
            }
            Err(error) => tracing::debug!(%error, "no listening connection"),
        }
        turn += 1;
        tokio::time::sleep(servers.config.retry.pause(failures)).await;
        failures += 1;
    }
}

impl Servers {
    async fn connect(&self, turn: usize, board: &Arc<Board>, lost: &Arc<Notify>) -> RedisResult<MultiplexedConnection> {
        let (board, lost) = (Arc::clone(board), Arc::clone(lost));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            .set_response_timeout(Some(self.config.command_timeout))
            .set_push_sender(move |push: PushInfo| {
                heard(&push, &board, &lost);
                Ok::<(), ()>(())
            });
        let client = self.heard.client(turn).await?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Takes what the server sends without having been asked; runs on the connection's own task.
fn heard(push: &PushInfo, board: &Board, lost: &Notify) {
    let text = |index: usize| match push.data.get(index) {
        Some(redis::Value::BulkString(bytes)) => String::from_utf8_lossy(bytes),
        _ => "".into(),
    };
    match push.kind {
        PushKind::Message => board.signal(&text(0), &text(1)),
        PushKind::Subscribe => board.signal(&text(0), ""),
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
        for channels in changes.subscribe.chunks(BATCH) {
            connection.subscribe(channels).await?;
            subscribed.extend(channels.iter().cloned());
        }
        for channels in changes.unsubscribe.chunks(BATCH) {
            connection.unsubscribe(channels).await?;
            channels.iter().for_each(|channel| {
                subscribed.remove(channel);
            });
        }
        tokio::select! {
            () = board.work.notified() => {}
            () = lost.notified() => return Ok(()),
            _ = pings.tick() => redis::cmd("PING").query_async::<()>(&mut connection).await?,
        }
    }
}
