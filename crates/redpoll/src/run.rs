//! What is to run, running, and its end.
//!
//! The order of the start is so that what can be wrong is found before anything is touched: ports first, then the store
//! with its log, then the servers, then the line that says that all is ready. If loading takes long the servers come before it has ended: they tell their
//! clients so, and who watches over the program hears that it lives. The end goes backwards: servers finish the
//! requests they have, triggers in hand are delivered, schedules finish their pass, the log is flushed. If snapshots are made by rule one is made first, and if it cannot be, nothing ends.
//!
//! With a backend elsewhere there is no store here, so only HTTP is served.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use redpoll_http::{BoundServer, HttpConfig, HttpServer};
use redpoll_server::{Entrances, Server, ServerConfig, TlsConfig, UnixConfig};
use redpoll_services::events::Deliverer;
use redpoll_services::schedules::Ticker;
use redpoll_services::{Backend, Services, Settings};
use redpoll_store::commands::persistence::Ending;
use redpoll_store::commands::settings::{Setting, SettingValue, find};
use redpoll_store::{Config, Error, Store};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::backend::{self, BackendChoice, without_secret};
use crate::{listen, redis_server};

/// Fewest threads that serve HTTP: a call may wait for the disk.
const HTTP_THREADS_MIN: usize = 4;

/// How long whoever comes while data is loaded waits to be let in; most loading takes less.
const LOADING_PATIENCE: Duration = Duration::from_millis(250);

/// How the program speaks of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The ready line for people.
    Line,
    /// The ready line for programs.
    Json,
    /// Lines of a log, as redis-server writes them.
    Redis,
}

/// What is to run.
pub(crate) struct Plan {
    /// Port 0 stands for a free port, not for none.
    pub(crate) takes_free_port: bool,
    /// Worker threads of the Redis protocol; 0 for one per processor.
    pub(crate) threads: usize,
    pub(crate) backend: BackendChoice,
    pub(crate) http: Option<HttpConfig>,
    /// Delivers triggers and fires schedules.
    pub(crate) works: bool,
    pub(crate) voice: Voice,
}

/// What runs, to be stopped.
struct Running {
    resp: Option<Server>,
    http: Option<HttpServer>,
    store: Option<Store>,
    /// The store's data is on its way.
    loading: Option<JoinHandle<Result<(), Error>>>,
    /// The services, if they are wanted.
    services: Option<Services>,
    /// What works on its own: deliveries and schedules.
    tasks: Vec<Background>,
    /// A client of the Redis protocol asks for the end.
    shutdown: Arc<Notify>,
}

impl Plan {
    /// Serves until a signal or a client's SHUTDOWN comes.
    pub(crate) fn run(self, config: Config) -> anyhow::Result<()> {
        let runtime = runtime()?;
        let done = runtime.block_on(self.serve(config));
        // What a second signal cut off is not waited for.
        runtime.shutdown_background();
        done
    }

    async fn serve(self, config: Config) -> anyhow::Result<()> {
        let mut signals = Signals::take()?;
        let bound = self.http.as_ref().map(bind_http).transpose()?;
        let mut running = self.start(config, bound).await?;
        let store = running.store.clone();
        let ended = match running.load(&mut signals).await? {
            Loaded::GivenUp => running.finish(&mut signals).await,
            Loaded::Everything(word) => {
                running.begin_work(self.works);
                running.announce(self.voice, &self.backend)?;
                running.run_to_the_end(word, &mut signals).await
            }
        };
        if let (Err(_), Some(store)) = (&ended, store) {
            // Nobody waits any longer for what is being written.
            store.give_up_saving();
        }
        ended
    }

    /// Starts everything there is to run.
    async fn start(&self, config: Config, bound: Option<BoundServer>) -> anyhow::Result<Running> {
        let shutdown = Arc::new(Notify::new());
        let mut running =
            Running { resp: None, http: None, store: None, loading: None, services: None, tasks: Vec::new(), shutdown };
        let backend = match &self.backend {
            BackendChoice::Embedded => Backend::embedded(self.start_store(config, &mut running).await?),
            BackendChoice::Elsewhere(url) => backend::connect(url).await?,
        };
        if self.voice == Voice::Redis {
            // Whoever starts a redis-server wants nothing but a store.
            return Ok(running);
        }
        let settings = Settings::from_environment(&|name| std::env::var(name).ok())?;
        let services = Services::new(backend, settings);
        running.http = bound.map(|bound| bound.serve(services.clone())).transpose()?;
        running.services = Some(services);
        Ok(running)
    }

    /// Opens the store and serves the Redis protocol on it.
    async fn start_store(&self, config: Config, running: &mut Running) -> anyhow::Result<Store> {
        let settings = config.settings();
        let port = u16::try_from(settings.int(Setting::Port)).expect("the table bounds ports");
        let tls = TlsConfig::of(settings);
        let plain = port != 0 || (self.takes_free_port && tls.is_none());
        let bind = redpoll_server::hosts(&settings.text(Setting::Bind), port);
        if plain {
            bind.iter().try_for_each(|host| listen::try_listening(host, port))?;
        }
        let mut server = ServerConfig { bind, port, workers: self.threads, tls, plain, unix: None };
        let entrances = Entrances::open(&server, settings).context(listen::PORT_ADVICE)?;
        if self.voice == Voice::Redis {
            redis_server::introduce(port);
        }
        let shutdown = Arc::clone(&running.shutdown);
        let (store, load) = Store::begin(config.on_shutdown(move || shutdown.notify_one()))?;
        let mut loading = tokio::task::spawn_blocking(move || load.run());
        match tokio::time::timeout(LOADING_PATIENCE, &mut loading).await {
            Ok(loaded) => loaded??,
            Err(_) => running.loading = Some(loading),
        }
        server.unix = UnixConfig::of(&store.engine().settings);
        let server = Server::start_at(entrances, store.clone(), &server).context(listen::PORT_ADVICE)?;
        if let Some(address) = server.addresses().first() {
            put(&store, "port", SettingValue::Number(address.port().into()));
        }
        (running.resp, running.store) = (Some(server), Some(store.clone()));
        Ok(store)
    }
}

fn put(store: &Store, name: &str, value: SettingValue) {
    store.engine().settings.put(find(name).expect("the table has this row"), value);
}

fn bind_http(config: &HttpConfig) -> anyhow::Result<BoundServer> {
    match BoundServer::bind(config) {
        Ok(bound) => Ok(bound),
        Err(error @ redpoll_http::Error::Open(_)) => bail!("{error} (--http-token, --http-bind)"),
        Err(error) => bail!("{error} (choose another with --http-port; 0 takes a free one)"),
    }
}

/// What became of loading.
enum Loaded {
    /// It has ended, and perhaps somebody asked for the program's end in the last moment.
    Everything(Option<Word>),
    /// The end of the program came before it.
    GivenUp,
}

/// Who asks for the end.
enum Word {
    Signal(SignalSeen),
    /// A client, whose command has saved already.
    Client,
}

impl Running {
    /// Waits until somebody asks for the end.
    async fn asked_to_end(&self, signals: &mut Signals) -> Word {
        tokio::select! {
            signal = signals.wait() => Word::Signal(signal),
            () = self.shutdown.notified() => Word::Client,
        }
    }

    /// Waits until the data is loaded, or the end of the program is asked for.
    async fn load(&mut self, signals: &mut Signals) -> anyhow::Result<Loaded> {
        let Some(mut loading) = self.loading.take() else { return Ok(Loaded::Everything(None)) };
        let resp = listed(self.resp.as_ref().map(Server::addresses).unwrap_or_default(), "");
        let http = listed(self.http.as_ref().map(HttpServer::addresses).unwrap_or_default(), "http://");
        tracing::info!(resp, http, "loading takes a while: clients are let in and told so");
        let word = tokio::select! {
            loaded = &mut loading => {
                loaded??;
                return Ok(Loaded::Everything(None));
            }
            word = self.asked_to_end(signals) => word,
        };
        tracing::info!("the end is asked for before everything is loaded");
        if let Some(store) = &self.store {
            store.engine().load_state.give_up();
        }
        match loading.await? {
            Ok(()) => Ok(Loaded::Everything(Some(word))),
            Err(Error::GivenUp) => Ok(Loaded::GivenUp),
            Err(error) => Err(error.into()),
        }
    }

    /// Does what has to wait for the data.
    fn begin_work(&mut self, works: bool) {
        if let Some(store) = &self.store
            && let Ok(absolute) = PathBuf::from(store.engine().settings.text(Setting::Dir)).canonicalize()
        {
            put(store, "dir", SettingValue::Text(absolute.to_string_lossy().into_owned()));
        }
        if let Some(services) = &self.services {
            tokio::spawn(backend::warn_of_eviction(services.clone()));
            if works {
                self.tasks = vec![Background::deliver(services.clone()), Background::tick(services.clone())];
            }
        }
    }

    /// Serves until somebody asks for the end and what is to be saved is saved, then lets everything finish.
    async fn run_to_the_end(self, mut word: Option<Word>, signals: &mut Signals) -> anyhow::Result<()> {
        loop {
            let word = match word.take() {
                Some(word) => word,
                None => self.asked_to_end(signals).await,
            };
            let Word::Signal(signal) = word else {
                tracing::info!("User requested shutdown...");
                break;
            };
            tracing::info!("Received {} scheduling shutdown...", signal.name);
            tokio::select! {
                may_end = self.save(&signal) => if may_end { break },
                _ = signals.wait() => bail!("stopped by a second signal before everything was saved"),
            }
        }
        self.finish(signals).await
    }

    /// Lets everything finish, unless another signal comes.
    async fn finish(self, signals: &mut Signals) -> anyhow::Result<()> {
        tracing::info!("stopping: finishing the requests received so far");
        tokio::select! {
            stopped = self.stop() => stopped,
            _ = signals.wait() => bail!("stopped by a second signal before all requests were finished"),
        }
    }

    /// Saves as the settings want it for this signal; false if that fails and the program is not to end then.
    async fn save(&self, signal: &SignalSeen) -> bool {
        let Some(store) = self.store.clone() else { return true };
        let words = store.engine().settings.text(signal.setting);
        let says = |word| words.split(' ').any(|said| said == word);
        let ending = match () {
            () if says("nosave") => Ending::NoSave,
            () if says("save") => Ending::Save,
            () => Ending::ByRule,
        };
        let saved = tokio::task::spawn_blocking(move || store.save_before_end(ending)).await;
        let may_end = matches!(saved, Ok(Ok(()))) || says("force");
        if !may_end {
            tracing::error!("Errors trying to shut down the server. Check the logs for more information.");
        }
        may_end
    }

    /// Prints the line that says where to connect.
    fn announce(&self, voice: Voice, backend: &BackendChoice) -> anyhow::Result<()> {
        let resp = self.resp.as_ref().map(Server::addresses).unwrap_or_default();
        let http = self.http.as_ref().map(HttpServer::addresses).unwrap_or_default();
        let line = match voice {
            Voice::Redis => {
                redis_server::announce();
                return Ok(());
            }
            Voice::Json => {
                let mut line = json!({"event": "ready"});
                for (name, addresses) in [("resp", resp), ("http", http)] {
                    if let Some(address) = addresses.first() {
                        line[name] = json!(address);
                    }
                }
                if let BackendChoice::Elsewhere(url) = backend {
                    line["backend"] = json!(without_secret(url));
                }
                line.to_string()
            }
            Voice::Line => {
                let mut parts = Vec::new();
                if !resp.is_empty() {
                    parts.push(format!("redis protocol on {}", listed(resp, "")));
                }
                if !http.is_empty() {
                    parts.push(format!("http on {}", listed(http, "http://")));
                }
                if let BackendChoice::Elsewhere(url) = backend {
                    parts.push(format!("data on {}, the redis protocol is not served", without_secret(url)));
                }
                format!("ready: {}", parts.join(", "))
            }
        };
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()?;
        Ok(())
    }

    /// Lets both servers finish, then everything that was in hand, then the log.
    async fn stop(self) -> anyhow::Result<()> {
        let resp = self.resp.map(|server| tokio::task::spawn_blocking(move || server.stop()));
        if let Some(http) = self.http {
            http.stop().await;
        }
        if let Some(resp) = resp {
            resp.await.context("the Redis protocol did not stop cleanly")?;
        }
        for task in self.tasks {
            task.stop().await;
        }
        if let Some(store) = self.store {
            tokio::task::spawn_blocking(move || store.flush_log().and_then(|()| store.save_rest())).await??;
        }
        Ok(())
    }
}

/// A task that works until it is told to stop.
struct Background {
    name: &'static str,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Background {
    /// Delivers triggers.
    fn deliver(services: Services) -> Background {
        let (stop, stopped) = stop();
        Background { name: "delivering triggers", stop, task: tokio::spawn(Deliverer::new(services).run(stopped)) }
    }

    /// Fires schedules.
    fn tick(services: Services) -> Background {
        let (stop, stopped) = stop();
        Background { name: "firing schedules", stop, task: tokio::spawn(Ticker::new(services).run(stopped)) }
    }

    async fn stop(self) {
        self.stop.send(()).ok();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "{} broke", self.name);
        }
    }
}

/// Returns what stops a task, and what it waits for.
fn stop() -> (oneshot::Sender<()>, impl Future<Output = ()>) {
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move {
        // An error means that the program is ending, which is a way of stopping too.
        stopped.await.ok();
    };
    (stop, shutdown)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over; from now on they do not end the program.
    fn take() -> anyhow::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    async fn wait(&mut self) -> SignalSeen {
        tokio::select! {
            _ = self.terminate.recv() => SignalSeen { name: "SIGTERM", setting: Setting::ShutdownOnSigterm },
            _ = self.interrupt.recv() => SignalSeen { name: "SIGINT", setting: Setting::ShutdownOnSigint },
        }
    }
}

/// A signal, and the setting that says how it ends the program.
struct SignalSeen {
    name: &'static str,
    setting: Setting,
}

fn listed(addresses: &[SocketAddr], scheme: &str) -> String {
    addresses.iter().map(|address| format!("{scheme}{address}")).collect::<Vec<_>>().join(", ")
}

fn runtime() -> anyhow::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).max(HTTP_THREADS_MIN);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name("redpoll-http").enable_all().build().context("cannot start threads")
}
