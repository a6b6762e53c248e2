//! The context of a running command: everything a handler may touch.

use redpoll_keyspace::{Limits, Millis, View};
use redpoll_resp::Writer;

use crate::engine::Engine;
use crate::journal::Journal;
use crate::session::Session;

/// Who called a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client directly.
    Client,
    /// EXEC.
    Transaction,
    /// A script.
    Script,
    /// The log, at start.
    Replay,
}

/// What a handler works with.
pub struct Cx<'a, 'g> {
    /// The keys.
    pub db: &'a mut View<'g>,
    /// Where the reply goes.
    pub out: &'a mut Writer,
    /// The client.
    pub session: &'a mut Session,
    /// Everything shared.
    pub engine: &'a Engine,
    /// What is to be logged, where that is not the command itself.
    pub journal: &'a mut Journal,
    /// Who called.
    pub origin: Origin,
    /// When what the client asked for began to run, in ticks of the clock.
    pub begun: u64,
}

impl Cx<'_, '_> {
    /// Returns the time of the command.
    pub fn now(&self) -> Millis {
        self.db.now()
    }

    /// The time within the moment that [`Cx::now`] tells, microseconds since 1970.
    ///
    /// That moment is what expiry is judged by, however long ago it was: what a script computes from TIME and gives to PEXPIRE then comes true to the
    /// millisecond.
    pub fn now_us(&self) -> u64 {
        let began = self.now() * 1000;
        self.engine.clock.micros_at(self.begun).clamp(began, began + 999)
    }

    /// Tells whether the log is being replayed, during which time stands still at zero.
    pub fn is_replay(&self) -> bool {
        self.now() == 0
    }

    /// Returns the time on the wall, also while the log is replayed.
    pub fn wall_now(&self) -> Millis {
        if self.is_replay() { self.engine.clock.now() } else { self.now() }
    }

    /// Returns the thresholds at which values leave their compact form.
    #[inline]
    pub fn limits(&self) -> Limits {
        self.engine.settings.limits()
    }

    /// Returns a random number.
    pub fn random(&self) -> u64 {
        self.engine.random()
    }
}
