//! Which servers hold keys.
//!
//! For what belongs to a connection, such as being told of changes: the connections that commands go over are shared
//! and come and go.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::cluster_async::ClusterConnection;
use redpoll_resp::Value;

use super::reply::{checked, value_or_failure};
use super::sentinel::Sentinel;
use crate::error::{Error, Result};

/// The servers that hold keys.
#[derive(Clone)]
pub(super) enum Nodes {
    /// One, at this URL.
    One {
        /// Where it is.
        url: String,
    },
    /// Whoever is master of a Sentinel group.
    Master {
        /// Who finds it.
        sentinel: Arc<Sentinel>,
    },
    /// The masters of a Cluster.
    Masters {
        /// Who knows them.
        connection: ClusterConnection,
        /// `redis` or `rediss`.
        scheme: &'static str,
        /// `user:password@`, or nothing.
        credentials: String,
    },
}

impl Nodes {
    /// Returns the URLs of the servers, in order.
    pub(super) async fn masters(&self, timeout: Duration) -> Result<Vec<String>> {
        let (connection, scheme, credentials) = match self {
            Self::One { url } => return Ok(vec![url.clone()]),
            Self::Master { sentinel } => {
                let asked = tokio::time::timeout(timeout, Box::pin(sentinel.url())).await;
                return asked.map_err(|_| Error::Timeout("asking the sentinels".to_owned()))?;
            }
            Self::Masters { connection, scheme, credentials } => (connection, scheme, credentials),
        };
        let mut connection = connection.clone();
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let reply = tokio::time::timeout(timeout, connection.req_packed_command(&command)).await;
        let reply = reply.map_err(|_| Error::Timeout("CLUSTER SLOTS".to_owned()))?;
        let reply = value_or_failure(reply).and_then(checked).map_err(|failure| failure.error)?;
        let ranges = reply.as_array().ok_or_else(|| Error::unexpected("CLUSTER SLOTS", &reply))?;
        let mut masters = Vec::new();
        for range in ranges {
            let master = range.as_array().and_then(|parts| parts.get(2)?.as_array());
            let host = master.and_then(|master| master.first()?.as_str()).filter(|host| !host.is_empty());
            let port = master.and_then(|master| master.get(1)).and_then(Value::as_i64);
            let (Some(host), Some(port)) = (host, port) else {
                return Err(Error::unexpected("CLUSTER SLOTS", &reply));
            };
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            masters.push(format!("{scheme}://{credentials}{host}:{port}"));
        }
        masters.sort();
        masters.dedup();
        Ok(masters)
    }
}
