//! MONITOR: a line for every command anybody runs.
//!
//! A command is shown when it has run, with the database it left selected; the commands of a script stand behind the line of the EVAL that called them. Commands for
//! administrators and passwords are not shown. A monitor that reads too slowly is cut off by its outbox like any other client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::args::Args;
use crate::client::{Client, Transport};
use crate::command::{ADMIN, Command, Family, LOADING, MAY_REPLICATE, NOSCRIPT, READONLY, STALE, WRITE, cmd};
use crate::config_file::quote;
use crate::cx::{Cx, Origin};
use crate::engine::Engine;
use crate::error::Error;
use crate::outbox::Message;
use crate::registry::Resolved;
use crate::secrets;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("MONITOR", monitor, ADMIN | NOSCRIPT | LOADING | STALE, "1.0.0", "", "Listens for all requests received by the server in real-time."),
];

/// Watching the server.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// The clients that are shown every command.
#[derive(Debug, Default)]
pub struct Monitors {
    count: AtomicUsize,
    clients: Mutex<Vec<Arc<Client>>>,
}

impl Monitors {
    /// Tells whether there is any.
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    fn add(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        clients.push(Arc::clone(client));
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Shows a client nothing more.
    pub(crate) fn remove(&self, client: &Client) {
        if client.is_monitor.swap(false, Ordering::Relaxed) {
            let mut clients = self.clients.lock();
            clients.retain(|other| other.id != client.id);
            self.count.store(clients.len(), Ordering::Relaxed);
        }
    }

    fn send(&self, engine: &Engine, line: &Message) {
        let now = engine.clock.now();
        for client in &*self.clients.lock() {
            engine.clients.deliver(client, line, &engine.settings.output_limits, now);
        }
    }
}

/// MONITOR
fn monitor(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    if cx.origin != Origin::Client {
        return Err(Error::Text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    let client = &cx.session.client;
    if !client.is_monitor.swap(true, Ordering::Relaxed) {
        cx.engine.monitors.add(client);
        cx.out.ok();
    }
    Ok(())
}

/// Refuses what a monitor may not do: it only listens.
#[cold]
pub(crate) fn confine(resolved: &Resolved) -> Result<(), Error> {
    match resolved.flags & (WRITE | READONLY | MAY_REPLICATE) {
        0 => Ok(()),
        _ => Err(Error::Text("ERR Replica can't interact with the keyspace")),
    }
}

/// Shows a command to all monitors.
#[cold]
pub(crate) fn show(cx: &Cx<'_, '_>, args: Args<'_>) {
    let micros = cx.engine.clock.micros();
    let client = &cx.session.client;
    let who = match (cx.origin, client.transport) {
        (Origin::Script, _) => "lua",
        (_, Transport::Embedded) => "embedded",
        (_, Transport::Tcp) => &client.address,
        (_, Transport::Unix) => &format!("unix:{}", client.address.trim_end_matches(":0")),
    };
    let mut line = format!("+{}.{:06} [{} {who}]", micros / 1_000_000, micros % 1_000_000, cx.db.db()).into_bytes();
    let secrets = cx.engine.registry.resolve(args).map(|resolved| secrets::of(resolved, args)).unwrap_or_default();
    for (at, arg) in args.0.iter().enumerate() {
        line.push(b' ');
        match secrets.contains(&at) {
            true => quote(secrets::REDACTED, &mut line),
            false => quote(arg, &mut line),
        }
    }
    line.extend_from_slice(b"\r\n");
    cx.engine.monitors.send(cx.engine, &line.into());
}
