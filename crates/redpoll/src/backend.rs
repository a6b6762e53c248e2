//! Which store the services run on: the one in this process, or one elsewhere.

use anyhow::{Context, bail};
use redpoll_services::{Backend, BackendConfig, Services};

/// How URLs of stores begin; those with an `s` are reached by TLS.
const SCHEMES: [&str; 6] =
    ["redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://"];

/// What `--backend` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackendChoice {
    /// The store in this process, served over the Redis protocol too.
    Embedded,
    /// A server or Cluster elsewhere; only HTTP is served.
    Elsewhere(String),
}

impl std::str::FromStr for BackendChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<BackendChoice, String> {
        match text {
            "embedded" => Ok(BackendChoice::Embedded),
            url if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => Ok(BackendChoice::Elsewhere(url.to_owned())),
            _ => Err("give embedded, redis[s]://host:port, redis[s]+sentinel://host:port,host:port/service or \
                      redis[s]+cluster://host:port,host:port"
                .to_owned()),
        }
    }
}

/// Connects to a store elsewhere; one that does not answer yet is waited for by the requests, not by the start.
///
/// Must be called within a runtime.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Backend> {
    let config = BackendConfig::from_environment(&|name| std::env::var(name).ok())?;
    let backend = Backend::connect_lazily(url, config).with_context(|| format!("--backend {}", without_secret(url)))?;
    match backend.now_ms().await {
        Ok(_) => {}
        Err(error) if error.is_outage() => {
            tracing::warn!(backend = without_secret(url), %error, "the backend does not answer yet");
        }
        Err(error) => bail!("--backend {}: {error}", without_secret(url)),
    }
    Ok(backend)
}

/// Warns if the store would evict keys that must stay. One that does not tell says so in the health of the services, once it can be asked.
pub(crate) async fn warn_of_eviction(services: Services) {
    match services.eviction_risk().await {
        Ok(None) => {}
        Ok(Some(reason)) => tracing::warn!("{reason}"),
        Err(error) => tracing::debug!(%error, "the backend does not say what it evicts"),
    }
}

/// Returns a URL as it may be shown: without user and password.
pub(crate) fn without_secret(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        assert_eq!("embedded".parse(), Ok(BackendChoice::Embedded));
        assert_eq!("redis://a:1".parse(), Ok(BackendChoice::Elsewhere("redis://a:1".to_owned())));
        assert_eq!("rediss://a:1".parse(), Ok(BackendChoice::Elsewhere("rediss://a:1".to_owned())));
        assert!("redis+sentinel://a:1,b:2/main".parse::<BackendChoice>().is_ok());
        assert!("localhost:6379".parse::<BackendChoice>().is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(without_secret("redis://user:p@ss@host:6379/1"), "redis://host:6379/1");
        assert_eq!(without_secret("redis+cluster://a:1,b:2"), "redis+cluster://a:1,b:2");
    }
}
