//! Scripts, run where they keep nobody from being served.
//!
//! A worker's connections are tasks of its runtime, one of which runs at a time. If that one ran a script that does not end, nobody would be left to read what the
//! others send, not even the SCRIPT KILL that would end it. So a connection that comes to a script hands itself to its worker, which leaves the
//! runtime, runs the script and goes back:
//!
//! ```text
//! worker's thread   ── runtime ──┐ script                ┌── runtime ──      it ends soon, as almost all do
//!
//! worker's thread   ── runtime ──┐ script ───────────────────────┐ ┌── runtime ──
//! stand-in                               declared busy └─ runtime ─┘
//! ```
//!
//! A runtime that its thread has left can be driven by another. Once the script is declared busy a thread is started for that: the stand-in reads what the
//! worker's connections were sent, and answers BUSY or kills. It runs no script itself, since it would hand it to the worker, who is busy. Scripts that end before
//! pay for leaving and entering the runtime, about as much as for a system call; everything else pays nothing. Running scripts on threads of their own would cost
//! two switches between threads each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redpoll_store::commands::session::Relief;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::connection::{Connection, Progress};

/// The way from a connection to where scripts are run.
#[derive(Clone)]
pub(crate) struct Apart(mpsc::UnboundedSender<Job>);

/// A connection whose next command runs a script.
pub(crate) struct Job {
    connection: Box<Connection>,
    done: oneshot::Sender<After>,
}

/// A connection that has run its commands.
pub(crate) struct After {
    pub(crate) connection: Box<Connection>,
    pub(crate) progress: Progress,
}

/// Makes the way to a worker. There is never more on it than the worker has connections.
pub(crate) fn channel() -> (Apart, mpsc::UnboundedReceiver<Job>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Apart(sender), receiver)
}

impl Apart {
    /// Has the commands run that a connection has received; none if it did not survive that.
    pub(crate) async fn run(&self, connection: Box<Connection>) -> Option<After> {
        let (done, after) = oneshot::channel();
        self.0.send(Job { connection, done }).ok()?;
        after.await.ok()
    }
}

impl Job {
    /// Runs the commands, outside the worker's runtime, and gives the connection back.
    pub(crate) fn run(self, runtime: &Arc<Runtime>) {
        let Job { mut connection, done } = self;
        let stand_in = Arc::new(StandIn { runtime: Arc::clone(runtime), thread: Mutex::new(None) });
        let relief = Arc::clone(&stand_in);
        // A panic ends the connection, as it does in a task.
        let progress = catch_unwind(AssertUnwindSafe(|| connection.process_apart(relief)));
        stand_in.dismiss();
        if let Ok(progress) = progress {
            done.send(After { connection, progress }).ok();
        }
    }
}

/// Drives the runtime while its worker is in a script.
struct StandIn {
    runtime: Arc<Runtime>,
    /// What to drop to end it, and the thread.
    thread: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Relief for StandIn {
    fn relieve(&self) {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return;
        }
        let (dismiss, dismissed) = oneshot::channel::<()>();
        let runtime = Arc::clone(&self.runtime);
        let started = std::thread::Builder::new().name("redpoll-stand-in".into()).spawn(move || {
            runtime.block_on(dismissed).ok();
        });
        match started {
            Ok(started) => *thread = Some((dismiss, started)),
            Err(error) => tracing::warn!(%error, "nobody stands in for the worker of a script that runs too long"),
        }
    }
}

impl StandIn {
    /// Ends it, if it has begun.
    fn dismiss(&self) {
        if let Some((dismiss, thread)) = self.thread.lock().take() {
            drop(dismiss);
            thread.join().ok();
        }
    }
}
