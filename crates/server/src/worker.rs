//! A worker: one thread with a runtime of its own that serves its share of the connections.
//!
//! A script runs on the thread of its caller's worker, which has left its runtime for that ([`crate::apart`]). Whoever else is to be served waits for the script
//! only until it is declared busy, on this worker and on others, so a kill is heard from wherever it comes. Connections are accepted by one worker
//! more, which serves none of them: whoever comes while all others wait for a script is let in all the same.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use redpoll_store::Store;
use redpoll_store::commands::settings::Setting;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::apart::{self, Apart};
use crate::connection::Connection;
use crate::guest::{Entrance, Guest};
use crate::listener::Balance;
use crate::settling::Settling;

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
    apart: Apart,
    settling: Arc<Settling>,
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
        let runtime = Arc::new(runtime);
        let (alive, _) = watch::channel(());
        let (apart, mut jobs) = apart::channel();
        let handle = runtime.handle().clone();
        let settling = Arc::<Settling>::default();
        let onlooker = Arc::downgrade(&settling);
        store.watch_log(onlooker);
        handle.spawn(Arc::clone(&settling).run(store.clone()));
        let (stopping, living) = (stopped.clone(), alive.clone());
        let worker = Worker { runtime: handle, store, stopped: stopping, alive: living, slot: index, apart, settling };
        let thread = std::thread::Builder::new().name(format!("redpoll-worker-{index}")).spawn(move || {
            let mut ended = pin!(async move {
                let mut stopped = stopped;
                // An error means that the server is gone, which is a way of stopping too.
                stopped.wait_for(|stop| *stop).await.ok();
                tokio::time::timeout(DRAIN_MAX, alive.closed()).await.ok();
            });
            let mut next_job = async || {
                tokio::select! {
                    biased;
                    job = jobs.recv() => job,
                    () = &mut ended => None,
                }
            };
            while let Some(job) = runtime.block_on(next_job()) {
                job.run(&runtime);
            }
        })?;
        Ok((worker, thread))
    }

    /// Accepts connections on this worker and deals them out, until the sender that belongs to `closed` is dropped.
    pub(crate) fn accept_from(
        &self,
        entrance: Entrance,
        balance: Arc<Balance>,
        tls: Option<TlsAcceptor>,
        mut closed: watch::Receiver<()>,
    ) {
        let mut stopped = self.stopped.clone();
        let engine_store = self.store.clone();
        self.runtime.spawn(async move {
            let entrance = match entrance.open() {
                Ok(entrance) => entrance,
                Err(error) => return tracing::error!(%error, "a listener cannot be used"),
            };
            loop {
                // Who has come is let in before the door is closed.
                let accepted = tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stop| *stop) => return,
                    accepted = entrance.accept() => accepted,
                    _ = closed.changed() => return,
                };
                match accepted {
                    Ok(guest) => admit(&engine_store, guest, &balance, tls.as_ref()),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    /// Returns how many connections this worker has been given that have not ended.
    pub(crate) fn connections(&self) -> usize {
        self.alive.receiver_count()
    }

    /// Serves a connection on this worker.
    fn serve(&self, guest: Guest, tls: Option<TlsAcceptor>) {
        let (store, stopped, alive, slot) =
            (self.store.clone(), self.stopped.clone(), self.alive.subscribe(), self.slot);
        let (apart, settling) = (self.apart.clone(), Arc::clone(&self.settling));
        self.runtime.spawn(async move {
            match guest.welcome(tls).await {
                Ok(Some(stream)) => Connection::new(store, stream, slot, apart, settling).run(stopped).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a connection cannot be used"),
            }
            drop(alive);
        });
    }
}

/// What clients of other machines are told while nothing keeps strangers out.
const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";

/// Tells whether a client comes from another machine while the default user needs no password and `protected-mode` is on.
fn turned_away_for_protection(store: &Store, guest: &Guest) -> bool {
    let engine = store.engine();
    !guest.is_local() && engine.settings.is_on(Setting::ProtectedMode) && engine.users.default_takes_any_password()
}

/// Hands a new connection to a worker, or turns it away if there are too many.
fn admit(store: &Store, guest: Guest, balance: &Balance, tls: Option<&TlsAcceptor>) {
    let engine = store.engine();
    let refusal = if balance.connections() >= engine.settings.size(Setting::Maxclients) {
        Some("-ERR max number of clients reached\r\n")
    } else {
        turned_away_for_protection(store, &guest).then_some(PROTECTED)
    };
    let Some(text) = refusal else {
        engine.stats.totals.connections.fetch_add(1, Ordering::Relaxed);
        return balance.next().serve(guest, tls.cloned());
    };
    engine.stats.totals.rejected_connections.fetch_add(1, Ordering::Relaxed);
    // Within TLS nothing can be said before hands are shaken.
    if tls.is_none() {
        guest.turn_away(text);
    }
}
