//! Turns: what is pending goes to the tail, from there into the file and, if it is due, to the disk.
//!
//! A turn has three parts. It takes over what is pending, under the lock of the state, which appending needs; it writes and syncs with only the writer locked, so
//! that appending goes on; and it publishes how far it came. The thread's turns do everything; a turn of somebody who is about to reply only writes, and leaves
//! failures, syncs and the way to another file to the thread.

use std::io::Result;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::{Failure, Listener, SECOND, SYNC_EARLY, Shared, State, Switch, SyncPolicy};
use crate::disk::WriteFile;
use crate::tail::Tail;

/// Longest time that a sync waits for more changes.
const GATHER_MAX: Duration = Duration::from_millis(5);

/// The way into the file.
#[derive(Debug)]
pub(super) struct Writer {
    tail: Tail,
    /// The file to go on in once all of this one is synced. Until then nothing more is taken over.
    next: Option<Box<dyn WriteFile>>,
    /// A buffer that changes places with the pending bytes.
    incoming: Vec<u8>,
}

/// What a turn does with what it has taken over.
#[derive(Clone, Copy)]
struct Task {
    sync: bool,
    /// Changes that it covers.
    changes: usize,
    /// Nobody but a sync says when bytes are safe, and the policy wants none: they are released when written.
    release: bool,
}

impl Writer {
    pub(super) fn new(tail: Tail) -> Writer {
        Writer { tail, next: None, incoming: Vec::new() }
    }

    /// Takes over what is pending, or, on the way to another file, what still belongs to this one.
    fn take_over(&mut self, state: &mut State, sync: bool) -> Task {
        let mut changes = 0;
        if let Some(Switch { before, file }) = state.switch.take() {
            self.incoming = before;
            self.next = Some(file);
        } else if self.next.is_none() {
            std::mem::swap(&mut state.pending, &mut self.incoming);
            changes = std::mem::take(&mut state.changes);
        }
        state.kept += self.incoming.len();
        self.tail.take(&mut self.incoming);
        // Nothing may stay behind in a file that is left, unsynced.
        let sync = sync || self.next.is_some() || self.tail.must_sync();
        Task { sync, changes, release: state.policy == SyncPolicy::No }
    }

    fn carry_out(&mut self, task: Task) -> Result<()> {
        self.tail.write()?;
        if task.sync {
            self.tail.sync()?;
        } else if task.release {
            self.tail.release();
        }
        Ok(())
    }

    /// Says how far it came.
    fn publish(&mut self, shared: &Shared, task: Task, begun: Instant, result: Result<()>) {
        let mut state = shared.state.lock();
        state.kept = self.tail.len();
        state.written = self.tail.written();
        match result {
            Ok(()) => {
                if task.sync {
                    state.synced = state.written;
                    state.last_sync = Instant::now();
                    state.sync_time = state.last_sync - begun;
                    state.expected = task.changes + state.changes;
                }
                if let Some(file) = self.next.take() {
                    self.tail.switch(file);
                    state.switching = false;
                }
                state.failure = None;
            }
            Err(error) => state.failure = Some(Failure { reason: error.to_string(), at: Instant::now() }),
        }
        state.turn_taken = false;
        // The thread may be about to sync while somebody else ends a turn.
        state.syncing &= !task.sync;
        shared.turn_ended.notify_all();
        shared.settled.store(state.safe(), Ordering::Release);
        if state.failure.is_some() || state.unsafe_len() >= SYNC_EARLY {
            shared.work.notify_one();
        }
        shared.progress.notify_all();
    }
}

impl State {
    fn is_unsynced(&self) -> bool {
        self.synced < self.appended
    }

    fn sync_is_due(&self) -> bool {
        let by_policy = match self.policy {
            SyncPolicy::Always | SyncPolicy::EverySecond => {
                self.last_sync.elapsed() >= SECOND || self.unsafe_len() >= SYNC_EARLY
            }
            SyncPolicy::No => false,
        };
        let is_asked_for = self.sync_wanted || (self.asked && self.policy == SyncPolicy::Always && self.has_gathered());
        self.switching || (self.is_unsynced() && (by_policy || is_asked_for || self.closing))
    }

    /// Tells whether a sync need not wait for more changes.
    pub(super) fn has_gathered(&self) -> bool {
        self.changes >= self.expected || self.last_sync.elapsed() >= self.gather_time()
    }

    /// How long after a sync the next one waits for changes.
    pub(super) fn gather_time(&self) -> Duration {
        (self.sync_time / 2).min(GATHER_MAX)
    }

    /// How long the thread may rest if nobody asks for it: what nobody waits for is written too.
    fn rest(&self) -> Duration {
        if self.gathering {
            self.gather_time().saturating_sub(self.last_sync.elapsed())
        } else if self.is_unsynced() && self.policy != SyncPolicy::No {
            SECOND.saturating_sub(self.last_sync.elapsed()).max(Duration::from_millis(1))
        } else {
            SECOND
        }
    }
}

impl Shared {
    /// Asks the thread for a turn. It may have been asked before, for what a turn under way has done since: so it is woken in any case.
    pub(super) fn ask(&self, state: &mut State) {
        state.asked = true;
        if !state.gathering || state.has_gathered() {
            self.work.notify_one();
        }
    }

    /// Asks the thread for a turn if one is needed.
    pub(super) fn ask_if_needed(&self, state: &mut State) {
        if state.needs_turn() {
            self.ask(state);
        }
    }

    /// Writes what is pending on the caller's thread, behind others who are writing; false if that is the thread's to do, because it is syncing or about to,
    /// the disk refuses or another file comes next.
    pub(super) fn write(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.syncing || state.failure.is_some() || state.switching {
                return false;
            }
            if !state.turn_taken {
                break;
            }
            self.turn_ended.wait(&mut state);
        }
        self.take_turn(state, false)
    }

    /// Takes a turn, which nobody else has: tells whether it went well.
    fn take_turn(&self, mut state: MutexGuard<'_, State>, sync: bool) -> bool {
        state.turn_taken = true;
        // Nobody waits here: a turn is one's own.
        let mut writer = self.writer.lock();
        let task = writer.take_over(&mut state, sync);
        state.syncing |= task.sync;
        drop(state);
        let begun = Instant::now();
        let result = writer.carry_out(task);
        let is_good = result.is_ok();
        writer.publish(self, task, begun, result);
        is_good
    }

    /// Waits until the thread has something to do; tells whether the end has come.
    fn wait_for_work(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        let mut is_rested = false;
        loop {
            if state.closing {
                return true;
            }
            if let Some(failure) = &state.failure {
                let again = failure.at + pause;
                if self.work.wait_until(&mut state, again).timed_out() || Instant::now() >= again {
                    return state.closing;
                }
                continue;
            }
            let awaits_sync = state.policy == SyncPolicy::Always;
            if state.sync_is_due() || (!awaits_sync && (state.asked || is_rested) && !state.pending.is_empty()) {
                return false;
            }
            state.gathering = awaits_sync && state.asked && state.is_unsynced();
            let rest = state.rest();
            is_rested = self.work.wait_for(&mut state, rest).timed_out() && !state.gathering;
            state.gathering = false;
        }
    }

    /// Takes a turn of the thread.
    fn turn(&self) {
        let mut state = self.state.lock();
        // Who comes to write from now on does not wait for the sync.
        state.syncing = state.sync_is_due();
        while state.turn_taken {
            self.turn_ended.wait(&mut state);
        }
        let sync = state.sync_is_due();
        (state.asked, state.sync_wanted, state.syncing) = (false, false, false);
        self.take_turn(state, sync);
    }
}

/// The thread: takes turns until the log is closed and everything is on the disk, or the disk refuses.
pub(super) fn run(shared: &Shared, pause: Duration) {
    loop {
        let is_closing = shared.wait_for_work(pause);
        shared.turn();
        let mut state = shared.state.lock();
        if let Some(Listener(tell)) = state.listener.clone() {
            MutexGuard::unlocked(&mut state, || tell());
        }
        let is_done = state.pending.is_empty() && state.switch.is_none();
        if is_closing && (state.failure.is_some() || is_done) {
            return;
        }
    }
}
