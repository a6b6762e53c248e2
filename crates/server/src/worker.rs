//! A worker: one thread with a runtime of its own that serves its share of the connections.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use redpoll_store::Store;
use redpoll_store::commands::settings::Setting;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::connection::Connection;
use crate::listener::Balance;

/// How long a full table of file descriptors holds accepting up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long connections may take to finish when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// A worker, seen from outside.
pub(crate) struct Worker {
    runtime: Handle,
    store: Store,
    stopped: watch::Receiver<bool>,
    /// Held by every connection; all dropped means all have ended.
    alive: watch::Sender<()>,
    slot: usize,
}

impl Worker {
    pub(crate) fn start(
        index: usize,
        store: Store,
        stopped: watch::Receiver<bool>,
    ) -> std::io::Result<(Worker, JoinHandle<()>)> {
        // Before a worker sleeps it lets others run once: clients that share its processor get their next requests out, and one wake-up serves several.
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().on_thread_park(std::thread::yield_now).build()?;
        let (alive, _) = watch::channel(());
        let handle = runtime.handle().clone();
        let worker = Worker { runtime: handle, store, stopped: stopped.clone(), alive: alive.clone(), slot: index };
        let thread = std::thread::Builder::new().name(format!("redpoll-worker-{index}")).spawn(move || {
            runtime.block_on(async move {
                let mut stopped = stopped;
                // An error means that the server is gone, which is a way of stopping too.
                stopped.wait_for(|stop| *stop).await.ok();
                tokio::time::timeout(DRAIN_MAX, alive.closed()).await.ok();
            });
        })?;
        Ok((worker, thread))
    }

    /// Accepts connections on this worker and deals them out.
    pub(crate) fn accept_from(&self, listener: StdListener, balance: Arc<Balance>) {
        let mut stopped = self.stopped.clone();
        let engine_store = self.store.clone();
        self.runtime.spawn(async move {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "a listener cannot be used"),
            };
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = stopped.wait_for(|stop| *stop) => return,
                };
                match accepted {
                    Ok((stream, _)) => admit(&engine_store, stream, &balance).await,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    /// Serves a connection on this worker.
    fn serve(&self, stream: std::net::TcpStream) {
        let (store, stopped, alive, slot) =
            (self.store.clone(), self.stopped.clone(), self.alive.subscribe(), self.slot);
        self.runtime.spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => Connection::new(store, stream, slot).run(stopped).await,
                Err(error) => tracing::warn!(%error, "a connection cannot be used"),
            }
            drop(alive);
        });
    }
}

/// Hands a new connection to a worker, or turns it away if there are too many.
async fn admit(store: &Store, mut stream: TcpStream, balance: &Balance) {
    let engine = store.engine();
    if engine.clients.connected() >= engine.settings.size(Setting::Maxclients) {
        engine.stats.totals.rejected_connections.fetch_add(1, Ordering::Relaxed);
        stream.write_all(b"-ERR max number of clients reached\r\n").await.ok();
        return;
    }
    engine.stats.totals.connections.fetch_add(1, Ordering::Relaxed);
    match stream.into_std() {
        Ok(stream) => balance.next().serve(stream),
        Err(error) => tracing::warn!(%error, "a connection cannot be used"),
    }
}
