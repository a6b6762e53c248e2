//! A server whose address a Redis Sentinel group knows.
//!
//! ```text
//! redis+sentinel://user:password@s1:26379,s2:26379/service/0
//!                        │             │             │    └ database, 0 if absent
//!                        │             │             └ name of the service at the sentinels
//!                        │             └ sentinels, asked until one answers; port 26379 if absent
//!                        └ credentials of the store; those of the sentinels are in BackendConfig::sentinel
//! ```
//!
//! The master is looked up when first needed, and asked itself whether it is one. It is used until a call shows that it is
//! no longer there: it does not answer, or it refuses to write because it became a replica. Then it is forgotten, and
//! the next call looks up again, one lookup at a time. Whether the failed call is repeated is decided as for any other
//! backend: not if it may have been executed.
//!
//! What a failover loses is Redis's business: replication is asynchronous, so writes acknowledged by the old master in its
//! last moments may be gone. Services are put upon Sentinel where that is acceptable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsMode};
use redpoll_resp::Value;

use super::command::Command;
use super::config::BackendConfig;
use super::remote::{Remote, listening_like};
use super::reply::{self, Failure, Sent};
use super::tls;
use crate::error::{Error, Result};

/// Port of sentinels whose address names none.
const PORT: u16 = 26_379;

/// The server that the sentinels call master.
pub(crate) struct Sentinel {
    lookup: tokio::sync::Mutex<SentinelClient>,
    master: Mutex<Option<Arc<Remote>>>,
    config: BackendConfig,
    place: Place,
}

impl std::fmt::Debug for Sentinel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sentinel")
    }
}

impl Sentinel {
    /// Prepares lookups from `[user:password@]host[:port],host[:port]/service[/db]`, by `redis` or `rediss`.
    pub(super) fn open(scheme: &'static str, rest: &str, config: &BackendConfig) -> Result<Self> {
        let place = Place::parse(scheme, rest)?;
        let addresses: Vec<ConnectionAddr> = place.sentinels.iter().map(|info| info.addr().clone()).collect();
        let store = place.sentinels[0].redis_settings();
        let built = SentinelClientBuilder::new(addresses, &place.service, SentinelServerType::Master);
        let mut builder = built.map_err(|error| Error::invalid("url", error))?.set_client_to_redis_db(place.db);
        if let Some(name) = store.username() {
            builder = builder.set_client_to_redis_username(name);
        }
        if let Some(password) = store.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(login) = &config.sentinel {
            builder = builder.set_client_to_sentinel_password(&login.password);
            if let Some(name) = &login.username {
                builder = builder.set_client_to_sentinel_username(name);
            }
        }
        if scheme == "rediss" {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(tls::certificates(&config.tls)?)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(tls::certificates(&config.tls)?);
        }
        let client = builder.build().map_err(|error| Error::invalid("url", error))?;
        Ok(Self { lookup: tokio::sync::Mutex::new(client), master: Mutex::new(None), config: config.clone(), place })
    }

    /// Sends one command to the master.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, Failure> {
        let master = self.master().await?;
        let result = master.send(command).await;
        let gone = match &result {
            Ok(value) => reply::is_of_a_replica(value),
            Err(failure) => !failure.answered || failure.replica,
        };
        self.forget(&master, gone);
        result
    }

    /// Sends many commands to the master in one write.
    pub(super) async fn send_all(&self, commands: &[&Command]) -> Result<Vec<Value>, Failure> {
        let master = self.master().await?;
        let result = master.send_all(commands).await;
        let gone = match &result {
            Ok(values) => values.iter().any(reply::is_of_a_replica),
            Err(failure) => !failure.answered || failure.replica,
        };
        self.forget(&master, gone);
        result
    }

    /// Returns the master's URL.
    pub(super) async fn url(&self) -> Result<Vec<String>> {
        let master = self.master().await.map_err(|failure| failure.error)?;
        master.nodes().masters(self.config.command_timeout).await
    }

    /// Makes a client for listening to the master.
    pub(super) async fn listening_client(&self) -> redis::RedisResult<redis::Client> {
        match self.master().await {
            Ok(master) => listening_like(master.client()),
            Err(failure) => Err(std::io::Error::other(failure.error).into()),
        }
    }

    /// Returns connections to the master, looked up unless it is known.
    async fn master(&self) -> Result<Arc<Remote>, Failure> {
        if let Some(master) = &*self.known() {
            return Ok(Arc::clone(master));
        }
        let mut lookup = self.lookup.lock().await;
        if let Some(master) = &*self.known() {
            return Ok(Arc::clone(master));
        }
        let found = match lookup.async_get_client().await {
            Ok(client) => {
                let url = self.place.url_of(client.get_connection_info().addr());
                Remote::over(client, url, &self.config).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(remote) => Ok(Arc::clone(self.known().insert(Arc::new(remote)))),
            Err(reason) => {
                let error = Error::Unavailable(format!("no master by the sentinels: {reason}"));
                Err(Failure::silence(error, Sent::No))
            }
        }
    }

    fn forget(&self, master: &Arc<Remote>, gone: bool) {
        let mut known = self.known();
        if gone && known.as_ref().is_some_and(|known| Arc::ptr_eq(known, master)) {
            tracing::info!("the master is gone; the sentinels will be asked for it");
            *known = None;
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Arc<Remote>>> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a URL says.
#[derive(Debug)]
struct Place {
    /// With the credentials of the store; never empty.
    sentinels: Vec<ConnectionInfo>,
    service: String,
    db: i64,
    scheme: &'static str,
    /// `user:password@`, or nothing.
    credentials: String,
}

impl Place {
    /// Writes the URL of a server of the group.
    fn url_of(&self, address: &ConnectionAddr) -> String {
        let (host, port) = match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.as_str(), *port),
            other => unreachable!("sentinels tell hosts and ports, not {other:?}"),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        format!("{}://{}{host}:{port}/{}", self.scheme, self.credentials, self.db)
    }

    fn parse(scheme: &'static str, rest: &str) -> Result<Self> {
        let wrong = || Error::invalid("url", "a group of sentinels is written host:port,host:port/service[/db]");
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (format!("{credentials}@"), rest),
            None => (String::new(), rest),
        };
        let mut parts = rest.trim_end_matches('/').split('/');
        let (hosts, service) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
        let db = parts.next().map_or(Ok(0), str::parse).map_err(|_| wrong())?;
        if service.is_empty() || db < 0 || parts.next().is_some() {
            return Err(wrong());
        }
        let sentinels = hosts.split(',').filter(|host| !host.is_empty()).map(|host| {
            let has_port =
                host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
            let host = if has_port && !host.ends_with(']') { host.to_owned() } else { format!("{host}:{PORT}") };
            let info = format!("{scheme}://{credentials}{host}").into_connection_info();
            info.map_err(|error| Error::invalid("url", error))
        });
        let sentinels = sentinels.collect::<Result<Vec<_>>>()?;
        if sentinels.is_empty() {
            return Err(wrong());
        }
        Ok(Self { sentinels, service: service.to_owned(), db, scheme, credentials })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = Place::parse("redis", "us%40er:p%2Fw@a:1,b,[::1]:3,[::2]/main/4").unwrap();
        let addresses: Vec<String> = place.sentinels.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:1", "b:26379", "::1:3", "::2:26379"]);
        assert_eq!((place.service.as_str(), place.db), ("main", 4));
        let address = ConnectionAddr::Tcp("::1".to_owned(), 7);
        assert_eq!(place.url_of(&address), "redis://us%40er:p%2Fw@[::1]:7/4");
        let store = place.sentinels[0].redis_settings();
        assert_eq!((store.username(), store.password()), (Some("us@er"), Some("p/w")));
        assert_eq!(Place::parse("redis", "a/main/").unwrap().db, 0);
        for bad in ["", "a:1", "a:1/", "/main", "a/main/x", "a/main/-1", "a/main/0/1", "a//0"] {
            assert!(matches!(Place::parse("redis", bad), Err(Error::InvalidInput { field: "url", .. })), "{bad}");
        }
    }
}
