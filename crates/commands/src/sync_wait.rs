//! WAITAOF: waiting until what a client has written is on the disk.
//!
//! ```text
//! WAITAOF ─► the client's own last change is not synced yet ─► a Wait without keys; the client is among the SyncWaits; a sync is asked for
//! the log's thread has synced ─► stirs who is there ─► each looks for itself (blocking::resume): synced ► reply, not yet ► asks again
//! ```
//!
//! The log's thread answers nobody: it has no engine, and stirring is all it does for those who wait. They are stirred too when the log gets its first base,
//! before which nothing in it is safe, and when it is switched on or off; who waits for a log that is off is told so. Everybody who waits was looked
//! after once by [`crate::blocking::resume`] after it came to stand here, so that no sync is missed.
//!
//! A sync is asked for, so that a wait takes as long as the disk does and not the second of `everysec`; it ends under `appendfsync no` too. What others have
//! written goes to the disk with it. There are no replicas: who wants one waits until its time is over.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use redpoll_resp::Writer;

use crate::args::Args;
use crate::blocking::{self, Empty, Timeout};
use crate::client::Client;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::error::{Error, LOG_IS_OFF, NOT_POSITIVE, NOT_ZERO_OR_ONE};
use crate::settings::Setting;

/// The clients that wait for the disk, by id.
#[derive(Debug, Default)]
pub struct SyncWaits(Mutex<HashMap<u64, Arc<Client>>>);

impl SyncWaits {
    /// Has everybody look again: the log was synced, or that failed, or it comes or goes. Called with neither a wait nor the log locked.
    pub fn stir(&self) {
        let clients: Vec<Arc<Client>> = self.0.lock().values().cloned().collect();
        clients.iter().for_each(|client| blocking::stir(client));
    }

    /// Takes out a client that no longer waits.
    pub(crate) fn leave(&self, client: &Client) {
        self.0.lock().remove(&client.id);
    }
}

/// Returns who waits for the disk, for the log to stir.
pub fn sync_waits(engine: &Engine) -> Arc<SyncWaits> {
    Arc::clone(&engine.blocking.sync_waits)
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    /// Offset in the log up to which the client's own changes reach.
    offset: u64,
    local: i64,
    replicas: i64,
}

/// How far a goal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prospect {
    Reached,
    Ahead,
    /// There is no log any more.
    Vain,
}

impl Goal {
    /// Looks how far it is, and asks for a sync if that is what is missing.
    pub(crate) fn look(&mut self, engine: &Engine) -> Prospect {
        if self.local > 0 && !engine.settings.is_on(Setting::Appendonly) {
            return Prospect::Vain;
        }
        let is_synced = self.is_synced(engine);
        if is_synced || self.local == 0 {
            return if self.replicas == 0 { Prospect::Reached } else { Prospect::Ahead };
        }
        if let Some(log) = engine.log() {
            self.offset = log.request_sync(self.offset);
        }
        Prospect::Ahead
    }

    /// Writes what is reached at this moment: the logs here and elsewhere that hold everything.
    pub(crate) fn reply(self, engine: &Engine, out: &mut Writer) {
        write(self.is_synced(engine), out);
    }

    fn is_synced(self, engine: &Engine) -> bool {
        engine.log().is_some_and(|log| log.is_synced(self.offset))
    }
}

fn write(is_synced: bool, out: &mut Writer) {
    out.array(2);
    out.int(i64::from(is_synced));
    out.int(0);
}

/// WAITAOF numlocal numreplicas timeout
pub(crate) fn waitaof(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let local = args.int_in(1, 0..=1, NOT_ZERO_OR_ONE)?;
    let replicas = args.int_in(2, 0..=i64::MAX, NOT_POSITIVE)?;
    let timeout = Timeout::millis(args.at(3), cx.now())?;
    let engine = cx.engine;
    if local > 0 && !engine.settings.is_on(Setting::Appendonly) {
        return Err(LOG_IS_OFF);
    }
    let mut goal = Goal { offset: cx.session.log_offset, local, replicas };
    if !cx.may_block() {
        // What the transaction or script has changed is not even in the log yet.
        write(cx.journal.is_empty() && goal.is_synced(engine), cx.out);
    } else if goal.look(engine) == Prospect::Reached {
        goal.reply(engine, cx.out);
    } else {
        cx.block_without_keys(timeout, Empty::Synced(goal));
        let client = &cx.session.client;
        engine.blocking.sync_waits.0.lock().insert(client.id, Arc::clone(client));
    }
    Ok(())
}
