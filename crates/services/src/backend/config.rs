//! Timeouts and repetition, and the names the environment gives them.
//!
//! The variables are those that existing deployments already set; several names mean the same, and the first one
//! present wins, in the order of the lists below. A variable that is present but unreadable is an error, not a default.

use std::path::PathBuf;
use std::time::Duration;

use super::circuit::CircuitPolicy;
use crate::error::{Error, Result};
use crate::random;

/// Most connections to one server.
const MAX_CONNECTIONS: usize = 64;

/// How a backend connects and how long it waits.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendConfig {
    /// Longest time for making a connection. Default 2 s.
    pub connect_timeout: Duration,
    /// Longest time for a call, repetitions included. Default 5 s.
    pub command_timeout: Duration,
    /// Multiplexed connections to one server. Default 2.
    pub connections: usize,
    /// When and how often harmless calls are repeated.
    pub retry: RetryPolicy,
    /// With what to speak TLS, for URLs that say so.
    pub tls: TlsFiles,
    /// When calls fail at once instead of being tried.
    pub circuit: CircuitPolicy,
    /// Settings of a store that is opened in this process, by the names of its configuration.
    pub store: Vec<(&'static str, String)>,
    /// As whom to speak to sentinels. Default: as nobody.
    pub sentinel: Option<SentinelLogin>,
}

/// Credentials for sentinels; those of the store are in the URL.
#[derive(Clone, PartialEq, Eq)]
pub struct SentinelLogin {
    /// The user; the default one if absent.
    pub username: Option<String>,
    /// The user's password.
    pub password: String,
}

impl std::fmt::Debug for SentinelLogin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SentinelLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Files of TLS, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that are trusted. Default: those of the system.
    pub ca_certs: Option<PathBuf>,
    /// The certificate that is shown to servers that ask for one, and its key. Default: none.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Bounded exponential backoff; the pause before attempt n is a random part of `min(cap, base * 2^n)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Repetitions after the first attempt. Default 4; 0 turns repetition off.
    pub attempts_max: u32,
    /// First pause. Default 20 ms.
    pub base: Duration,
    /// Longest pause. Default 1 s.
    pub cap: Duration,
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(5),
            connections: 2,
            retry: RetryPolicy::default(),
            tls: TlsFiles::default(),
            circuit: CircuitPolicy::default(),
            store: Vec::new(),
            sentinel: None,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 4, base: Duration::from_millis(20), cap: Duration::from_secs(1) }
    }
}

impl RetryPolicy {
    /// Draws the pause before an attempt.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        self.base.saturating_mul(1_u32 << attempt.min(16)).min(self.cap).mul_f64(random::unit())
    }
}

impl BackendConfig {
    /// Reads `REDIS_CONNECTION_TIMEOUT`, `REDIS_SOCKET_TIMEOUT`, `REDIS_TIMEOUT` (seconds, fractions allowed) and
    /// `REDIS_MAX_CONNECTIONS` (an upper bound; connections are multiplexed, so few are used), and the files of TLS: `REDIS_SSL_CA_CERTS`,
    /// `REDIS_SSL_CERTFILE` and `REDIS_SSL_KEYFILE`, the last two together. `REDIS_SENTINEL_PASSWORD` and `REDIS_SENTINEL_USERNAME` are for sentinels;
    /// a store in this process takes [`store_settings_from_environment`].
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut config = Self::default();
        if let Some(timeout) = seconds(lookup, &["REDIS_CONNECTION_TIMEOUT", "REDIS_TIMEOUT"])? {
            config.connect_timeout = timeout;
        }
        if let Some(timeout) = seconds(lookup, &["REDIS_SOCKET_TIMEOUT", "REDIS_TIMEOUT"])? {
            config.command_timeout = timeout;
        }
        if let Some((name, text)) = first(lookup, &["REDIS_MAX_CONNECTIONS"]) {
            let count: usize = text.parse().map_err(|_| unreadable(name, &text))?;
            config.connections = config.connections.min(count).clamp(1, MAX_CONNECTIONS);
        }
        config.store = store_settings_from_environment(lookup);
        config.sentinel = first(lookup, &["REDIS_SENTINEL_PASSWORD"]).map(|(_, password)| {
            let username = first(lookup, &["REDIS_SENTINEL_USERNAME"]).map(|(_, name)| name);
            SentinelLogin { username, password }
        });
        let file = |name| first(lookup, &[name]).map(|(_, path)| PathBuf::from(path));
        config.tls.ca_certs = file("REDIS_SSL_CA_CERTS");
        config.tls.client = match (file("REDIS_SSL_CERTFILE"), file("REDIS_SSL_KEYFILE")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(unreadable("REDIS_SSL_CERTFILE", "REDIS_SSL_KEYFILE is missing")),
            (None, Some(_)) => return Err(unreadable("REDIS_SSL_KEYFILE", "REDIS_SSL_CERTFILE is missing")),
        };
        Ok(config)
    }
}

/// Returns settings of a store in this process, by the names of its configuration: `maxmemory` from `REDIS_MAX_MEMORY`, such as
/// `2gb`, and `maxmemory-policy` from `REDIS_EVICTION_POLICY`. What they may be, the store decides that takes them.
pub fn store_settings_from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
    let names = [("maxmemory", "REDIS_MAX_MEMORY"), ("maxmemory-policy", "REDIS_EVICTION_POLICY")];
    names.into_iter().filter_map(|(setting, name)| Some((setting, first(lookup, &[name])?.1))).collect()
}

/// Returns the store's URL from `REDIS_URL`, from `UPSTASH_REDIS_URL` with `UPSTASH_REDIS_TOKEN`, from
/// `REDIS_SENTINEL_HOSTS` (`host:port,host:port`) with `REDIS_SENTINEL_SERVICE`, or from `REDIS_HOST`, `REDIS_PORT`,
/// `REDIS_DB`, `REDIS_PASSWORD`, `REDIS_SSL`, of which the last three hold for sentinels too; `None` if none of them is set.
pub fn url_from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>> {
    if let Some((_, url)) = first(lookup, &["REDIS_URL"]) {
        return Ok(Some(url));
    }
    if let Some((name, url)) = first(lookup, &["UPSTASH_REDIS_URL"]) {
        let Some(host) = url.strip_prefix("https://") else {
            return Ok(Some(url));
        };
        let token = lookup("UPSTASH_REDIS_TOKEN").ok_or_else(|| unreadable(name, "UPSTASH_REDIS_TOKEN is missing"))?;
        return Ok(Some(format!("rediss://default:{}@{}:6379", url_text(&token), host.trim_end_matches('/'))));
    }
    let sentinels = first(lookup, &["REDIS_SENTINEL_HOSTS"]);
    let names = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD", "REDIS_SSL"];
    if sentinels.is_none() && names.iter().all(|name| first(lookup, &[name]).is_none()) {
        return Ok(None);
    }
    let text =
        |name: &'static str, default: &str| first(lookup, &[name]).map_or_else(|| default.to_owned(), |(_, text)| text);
    let number = |name: &'static str, default: u32| match first(lookup, &[name]) {
        Some((name, text)) => text.parse::<u32>().map_err(|_| unreadable(name, &text)),
        None => Ok(default),
    };
    let scheme = match text("REDIS_SSL", "false").to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => "rediss",
        "false" | "0" | "no" | "off" => "redis",
        other => return Err(unreadable("REDIS_SSL", other)),
    };
    let credentials = match text("REDIS_PASSWORD", "").as_str() {
        "" => String::new(),
        password => format!(":{}@", url_text(password)),
    };
    let (port, db) = (number("REDIS_PORT", 6379)?, number("REDIS_DB", 0)?);
    if let Some((name, hosts)) = sentinels {
        let service = first(lookup, &["REDIS_SENTINEL_SERVICE"]);
        let (_, service) = service.ok_or_else(|| unreadable(name, "REDIS_SENTINEL_SERVICE is missing"))?;
        return Ok(Some(format!("{scheme}+sentinel://{credentials}{hosts}/{service}/{db}")));
    }
    Ok(Some(format!("{scheme}://{credentials}{}:{port}/{db}", text("REDIS_HOST", "127.0.0.1"))))
}

/// Returns the first variable that is set and not empty.
pub(crate) fn first(lookup: &dyn Fn(&str) -> Option<String>, names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| lookup(name).filter(|text| !text.is_empty()).map(|text| (*name, text)))
}

/// Makes the error for a variable whose text cannot be used.
pub(crate) fn unreadable(name: &'static str, text: &str) -> Error {
    Error::invalid(name, format_args!("cannot be read: {text:?}"))
}

fn seconds(lookup: &dyn Fn(&str) -> Option<String>, names: &[&'static str]) -> Result<Option<Duration>> {
    let Some((name, text)) = first(lookup, names) else {
        return Ok(None);
    };
    let seconds: f64 = text.parse().map_err(|_| unreadable(name, &text))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(Some(duration)),
        _ => Err(unreadable(name, &text)),
    }
}

/// Percent-escapes everything that is not a letter, digit, `-`, `_`, `.` or `~`.
fn url_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(byte as char);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(variables: &[(&str, &str)]) -> Result<Option<String>> {
        url_from_environment(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn urls() {
        assert_eq!(url(&[]), Ok(None));
        assert_eq!(url(&[("REDIS_URL", "redis://h:1")]), Ok(Some("redis://h:1".into())));
        assert_eq!(
            url(&[("REDIS_HOST", "cache"), ("REDIS_PORT", "6380"), ("REDIS_DB", "2"), ("REDIS_PASSWORD", "a@b/c")]),
            Ok(Some("redis://:a%40b%2Fc@cache:6380/2".into()))
        );
        assert_eq!(
            url(&[("REDIS_HOST", "h"), ("REDIS_SSL", "True"), ("REDIS_PASSWORD", "")]),
            Ok(Some("rediss://h:6379/0".into()))
        );
        assert_eq!(
            url(&[("UPSTASH_REDIS_URL", "https://eu1.example"), ("UPSTASH_REDIS_TOKEN", "t")]),
            Ok(Some("rediss://default:t@eu1.example:6379".into()))
        );
        assert!(url(&[("REDIS_PORT", "many")]).is_err());
        assert_eq!(
            url(&[("REDIS_SENTINEL_HOSTS", "a:1,b"), ("REDIS_SENTINEL_SERVICE", "main"), ("REDIS_PASSWORD", "p@w")]),
            Ok(Some("redis+sentinel://:p%40w@a:1,b/main/0".into()))
        );
        assert!(url(&[("REDIS_SENTINEL_HOSTS", "a:1")]).is_err());
    }

    #[test]
    fn settings_of_a_store_in_this_process() {
        let read = |set: &[(&str, &str)]| {
            store_settings_from_environment(&|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(read(&[("REDIS_MAX_MEMORY", "")]), []);
        assert_eq!(
            read(&[("REDIS_MAX_MEMORY", "2gb"), ("REDIS_EVICTION_POLICY", "allkeys-lru")]),
            [("maxmemory", "2gb".to_owned()), ("maxmemory-policy", "allkeys-lru".to_owned())]
        );
    }

    #[test]
    fn credentials_of_sentinels_are_not_printed() {
        let config = BackendConfig::from_environment(&|name| match name {
            "REDIS_SENTINEL_PASSWORD" => Some("hush".into()),
            _ => None,
        });
        let login = config.unwrap().sentinel.unwrap();
        assert_eq!((login.username.as_deref(), login.password.as_str()), (None, "hush"));
        assert!(!format!("{login:?}").contains("hush"));
    }

    #[test]
    fn files_of_tls() {
        let read = |set: &[&str]| {
            BackendConfig::from_environment(&|name| set.contains(&name).then(|| format!("/{name}"))).map(|c| c.tls)
        };
        assert_eq!(read(&[]), Ok(TlsFiles::default()));
        let all = read(&["REDIS_SSL_CA_CERTS", "REDIS_SSL_CERTFILE", "REDIS_SSL_KEYFILE"]).unwrap();
        assert_eq!(all.ca_certs, Some("/REDIS_SSL_CA_CERTS".into()));
        assert_eq!(all.client, Some(("/REDIS_SSL_CERTFILE".into(), "/REDIS_SSL_KEYFILE".into())));
        assert!(read(&["REDIS_SSL_CERTFILE"]).is_err());
        assert!(read(&["REDIS_SSL_KEYFILE"]).is_err());
    }

    #[test]
    fn timeouts() {
        let config = BackendConfig::from_environment(&|name| match name {
            "REDIS_TIMEOUT" => Some("5".into()),
            "REDIS_CONNECTION_TIMEOUT" => Some("0.5".into()),
            "REDIS_MAX_CONNECTIONS" => Some("1".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        assert_eq!(config.command_timeout, Duration::from_secs(5));
        assert_eq!(config.connections, 1);
        assert!(BackendConfig::from_environment(&|name| (name == "REDIS_TIMEOUT").then(|| "0".to_owned())).is_err());
    }
}
