//! `redpoll serve`: the store and the services on the network, as the command line and the configuration file say.
//!
//! What they say becomes a [`Plan`]: the defaults of the program (data in `./data`, the log on), over them the environment (`REDIS_MAX_MEMORY`,
//! `REDIS_EVICTION_POLICY`), the file, and the flags. Nothing is
//! touched before all of it is understood.

use std::path::PathBuf;

use anyhow::bail;
use redpoll_http::{HttpConfig, Options};
use redpoll_services::backend::store_settings_from_environment;
use redpoll_store::Config;

use crate::backend::{BackendChoice, without_secret};
use crate::flags::SettingFlags;
use crate::keys;
use crate::log::{self, Style};
use crate::run::{Plan, Voice};

/// Where the data is unless something else is said.
const DEFAULT_DIR: &str = "./data";

/// What `redpoll serve` is told.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// File of settings, written like redis.conf; what else the command line says counts more.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Addresses of the Redis protocol [default: 127.0.0.1]
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    bind: Vec<String>,
    /// Port of the Redis protocol; 0 for a free one [default: 6379]
    #[arg(long)]
    port: Option<u16>,
    /// Directory of the data files; made if need be [default: ./data]
    #[arg(long)]
    dir: Option<String>,
    /// Whether changes are written to the append-only log in the data directory [default: yes]
    #[arg(long, value_parser = ["yes", "no"])]
    appendonly: Option<String>,
    /// Worker threads of the Redis protocol; 0 for one per processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Where the services keep their data: `embedded`, `redis://…`, `redis+sentinel://…` or `redis+cluster://…`, with TLS `rediss…`; elsewhere, only HTTP is served.
    #[arg(long, default_value = "embedded", env = "REDPOLL_BACKEND", hide_env_values = true, value_name = "WHERE")]
    backend: BackendChoice,
    /// Addresses of the HTTP API; any beyond loopback needs a token.
    #[arg(long, default_value = "127.0.0.1", value_delimiter = ',', num_args = 1..)]
    http_bind: Vec<String>,
    /// Port of the HTTP API; 0 for a free one.
    #[arg(long, default_value_t = 8379)]
    http_port: u16,
    /// Bearer token that HTTP requests must carry.
    #[arg(long, env = "REDPOLL_HTTP_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    http_token: Option<String>,
    /// Further names under which the HTTP API is asked; `*` for any.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    http_allow_host: Vec<String>,
    /// Largest body of an HTTP request, in bytes.
    #[arg(long, default_value_t = Options::default().body_max_bytes, value_name = "BYTES")]
    http_body_max: usize,
    /// Does not serve HTTP.
    #[arg(long)]
    no_http: bool,
    /// Leaves it to other processes to deliver triggers and to fire schedules.
    #[arg(long)]
    no_background: bool,
    /// Prints the ready line as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

impl Serve {
    /// Serves until a signal or a client's SHUTDOWN comes.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (plan, config) = self.plan()?;
        log::start(&config, Style::Redpoll);
        plan.run(config)
    }

    /// Makes a plan of the configuration file and the command line.
    fn plan(self) -> anyhow::Result<(Plan, Config)> {
        if let BackendChoice::Elsewhere(url) = &self.backend {
            let name = self.config.as_ref().map(|_| "config").or(self.settings.given().next().map(|(name, _)| name));
            if let Some(name) = name {
                bail!(
                    "--{name} is a setting of the embedded store and does not go with --backend {}",
                    without_secret(url)
                );
            }
            if self.no_http {
                bail!("with --backend {} and --no-http there is nothing to serve", without_secret(url));
            }
        }
        let mut config = keys::given(Config::in_memory())?.set("dir", DEFAULT_DIR)?.set("appendonly", "yes")?;
        for (name, value) in store_settings_from_environment(&|name| std::env::var(name).ok()) {
            config = config.set(name, &value)?;
        }
        if let Some(file) = &self.config {
            config = config.read(Some(file), "")?;
        }
        let bind = (!self.bind.is_empty()).then(|| self.bind.join(" "));
        let port = self.port.map(|port| port.to_string());
        let dedicated = [("bind", bind), ("port", port), ("dir", self.dir), ("appendonly", self.appendonly)];
        for (name, value) in dedicated {
            if let Some(value) = value {
                config = config.set(name, &value)?;
            }
        }
        for (name, value) in self.settings.given() {
            config = config.set(name, value)?;
        }
        let options = Options {
            token: self.http_token,
            allowed_hosts: self.http_allow_host,
            body_max_bytes: self.http_body_max,
            ..Options::default()
        };
        let plan = Plan {
            takes_free_port: self.port.is_some() || self.config.is_none(),
            threads: self.threads,
            backend: self.backend,
            http: (!self.no_http).then_some(HttpConfig { bind: self.http_bind, port: self.http_port, options }),
            works: !self.no_background,
            voice: if self.json { Voice::Json } else { Voice::Line },
        };
        Ok((plan, config))
    }
}
