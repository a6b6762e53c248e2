//! The feed of servers: one connection to each that holds keys, and one task for all of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, PushInfo, PushKind};
use redpoll_resp::Value;
use tokio::sync::Notify;

use super::super::config::BackendConfig;
use super::super::nodes::Nodes;
use super::super::remote::listening_client;
use super::super::reply::{checked, failure_of, value_of, value_or_failure};
use super::{Feed, HEARTBEAT, PATIENCE, Reading, Watcher, tracking};
use crate::error::{Error, Result};
use crate::random;

/// First and longest pause before a lost feed is begun anew.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Begins to read.
pub(super) fn spawn(reading: Reading, nodes: Nodes, config: &BackendConfig) {
    let config = config.clone();
    tokio::spawn(async move {
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            let Err(error) = listen(&reading.feed, &nodes, &config).await else { return };
            let Some(feed) = reading.feed.upgrade() else { return };
            feed.each(Watcher::lost);
            if !error.is_outage() {
                feed.each(|watcher| watcher.refused(&error.to_string()));
            }
            drop(feed);
            tracing::debug!(%error, "feed of invalidations lost");
            pause = if began.elapsed() > PAUSE.1 { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            tokio::time::sleep(pause.mul_f64(random::unit())).await;
        }
    });
}

/// Reads until a connection is lost; comes back without an error when nobody is left to read for.
async fn listen(feed: &Weak<Feed>, nodes: &Nodes, config: &BackendConfig) -> Result<()> {
    let cut = Arc::new(Notify::new());
    let masters = nodes.masters(config.command_timeout).await?;
    let mut connections = Vec::with_capacity(masters.len());
    for master in &masters {
        connections.push(connect(master, config, feed, &cut).await?);
    }
    let mut covered = BTreeSet::new();
    loop {
        let at = Instant::now();
        let news = {
            let Some(strong) = feed.upgrade() else { return Ok(()) };
            let new: Vec<_> = strong.prefixes().into_iter().filter(|prefix| !covered.contains(prefix)).collect();
            if !new.is_empty() {
                let args = tracking(&new);
                for connection in &mut connections {
                    ask(connection, &args).await?;
                }
                strong.began(&new, at);
                covered.extend(new);
            }
            Arc::clone(&strong.news)
        };
        tokio::select! {
            () = news.notified() => continue,
            () = cut.notified() => return Err(Error::Unavailable("the connection was closed".to_owned())),
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
        let at = Instant::now();
        if nodes.masters(PATIENCE).await? != masters {
            return Err(Error::Unavailable("the masters are others".to_owned()));
        }
        for connection in &mut connections {
            ask(connection, &[b"PING"]).await?;
        }
        let Some(strong) = feed.upgrade() else { return Ok(()) };
        strong.each(|watcher| watcher.verified(at));
    }
}

async fn connect(
    master: &str,
    config: &BackendConfig,
    feed: &Weak<Feed>,
    cut: &Arc<Notify>,
) -> Result<MultiplexedConnection> {
    let client = listening_client(master, config)?;
    let (feed, cut) = (Weak::clone(feed), Arc::clone(cut));
    let push = move |info: PushInfo| -> Result<(), ()> {
        let Some(feed) = feed.upgrade() else { return Err(()) };
        match info.kind {
            // Told from here, before the task is awake: what is kept must not be trusted a moment longer.
            PushKind::Disconnection => {
                feed.each(Watcher::lost);
                cut.notify_one();
            }
            PushKind::Invalidate => {
                let news = info.data.into_iter().next().map_or(Value::Nil, value_of);
                feed.pushed(b"invalidate", &news);
            }
            _ => {}
        }
        Ok(())
    };
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(PATIENCE))
        .set_push_sender(push);
    let connection = client.get_multiplexed_async_connection_with_config(&settings).await;
    connection.map_err(|error| failure_of(&error).error)
}

async fn ask(connection: &mut MultiplexedConnection, args: &[&[u8]]) -> Result<()> {
    let mut command = redis::Cmd::new();
    for arg in args {
        command.arg(*arg);
    }
    let reply = value_or_failure(connection.req_packed_command(&command).await).and_then(checked);
    reply.map(drop).map_err(|failure| failure.error)
}
