//! The loop of a worker: it alone decides what is leased, begun, told and handed back. See the drawing in [`super`].
//!
//! One exchange is under way, and a second if half of what may run at once has ended meanwhile, so that the store does not wait for us while we read its
//! answer; fewer outcomes are told together with the next. A worker that runs one job at a time has no second, and so begins them in their order.
//! Beside exchanges there is one wait at most; meanwhile outcomes are told without leasing. A queue that has not answered is tried alone, beside the exchange and the wait of the others (see [`super::line`]). Room is what may be
//! held beyond what is held: concurrency and prefetched together.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use super::context::Context;
use super::fetch::{self, Got, Talked, Told};
use super::hold::{Hold, Stop};
use super::line::Line;
use super::registry::WorkerState;
use super::run::{End, Run};
use super::running::{Phase, Shared};
use super::stats::Summary;
use crate::jobs::{Outcome, Settled};
use crate::metrics::Counter;

/// A job that has waited here for longer has its time begun anew, if it is limited.
const AT_ONCE: Duration = Duration::from_millis(20);

/// How long jobs are left alone of which as many run here as may.
const SATURATED: Duration = Duration::from_secs(1);

/// What is waited for after the grace: handlers that take a moment to be dropped.
const DROPPING: Duration = Duration::from_millis(500);

/// How long the store is told of the last outcomes when a worker stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What is heard of a run that has ended.
type JoinResult = Result<(tokio::task::Id, (Arc<Hold>, End)), JoinError>;

/// A run under way.
struct Under {
    name: String,
    hold: Arc<Hold>,
}

/// What exchanges are to do.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// How many outcomes they tell.
    outcomes: usize,
    /// How many jobs they lease at most.
    room: usize,
}

pub(super) struct Driver<'a> {
    shared: Arc<Shared>,
    told: watch::Receiver<Phase>,
    state: &'a watch::Sender<WorkerState>,
    phase: Phase,
    /// When the phase ends that has an end.
    until: Option<Instant>,
    /// Leased and not begun.
    ready: VecDeque<Got>,
    runs: JoinSet<(Arc<Hold>, End)>,
    /// By task.
    under: HashMap<tokio::task::Id, Under>,
    /// How many runs of each name that is limited.
    by_name: HashMap<String, usize>,
    /// Of each queue.
    lines: Vec<Line>,
    exchanges: JoinSet<(Asked, Talked)>,
    /// What they have been asked together.
    asked: Asked,
    wait: Option<(JoinHandle<Talked>, watch::Sender<bool>)>,
    /// Exchanges with queues that have not answered, one with each.
    tries: JoinSet<(usize, Talked)>,
    /// The store is told for a last while.
    has_last_words: bool,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        shared: Arc<Shared>,
        told: watch::Receiver<Phase>,
        state: &'a watch::Sender<WorkerState>,
    ) -> Self {
        let lines = shared.worker.queues.iter().map(|_| Line::default()).collect();
        Self {
            shared,
            told,
            state,
            phase: Phase::Working,
            until: None,
            ready: VecDeque::new(),
            runs: JoinSet::new(),
            under: HashMap::new(),
            by_name: HashMap::new(),
            lines,
            exchanges: JoinSet::new(),
            asked: Asked::default(),
            wait: None,
            tries: JoinSet::new(),
            has_last_words: false,
        }
    }

    /// Works until it is stopped and everything has ended.
    pub(super) async fn drive(mut self) -> Summary {
        let shared = self.shared.clone();
        loop {
            self.arrange();
            if self.is_over() {
                break;
            }
            let (until, rest) = (self.until, self.lines.iter().filter_map(Line::rest).min());
            tokio::select! {
                Some(done) = self.runs.join_next_with_id() => self.all_ended(done),
                Some(done) = self.exchanges.join_next() => if let Some((asked, talked)) = fetch::unless_ending(done) {
                    self.asked.outcomes -= asked.outcomes;
                    self.asked.room -= asked.room;
                    self.heard(talked);
                },
                talked = joined(self.wait.as_mut().map(|(task, _)| task)) => {
                    self.wait = None;
                    self.heard(talked);
                }
                Some(done) = self.tries.join_next() => if let Some((queue, talked)) = fetch::unless_ending(done) {
                    self.lines[queue].trying = None;
                    self.heard(talked);
                },
                () = shared.stopped.notified() => self.drop_stopped(),
                phase = next_phase(&mut self.told, self.phase) => self.enter(phase),
                () = at(until) => self.time_is_up(),
                () = at(rest) => self.lines.iter_mut().for_each(|line| line.wake(Instant::now())),
            }
        }
        // What the store has not answered may reach it still.
        self.exchanges.detach_all();
        let untold = self.lines.iter().map(|line| line.outcomes.len() + line.trying.unwrap_or(0)).sum::<usize>();
        self.shared.stats.untold(self.asked.outcomes + untold);
        self.shared.stats.summary()
    }

    /// Begins whatever can be begun.
    fn arrange(&mut self) {
        match self.phase {
            Phase::Working => {
                // The store is at it while the next begin.
                self.talk();
                self.begin_ready();
                self.hand_back_excess();
            }
            _ => self.hand_back_ready(),
        }
        self.talk();
        self.shared.stats.busy.store(self.under.len(), Ordering::Relaxed);
        self.shared.stats.ready.store(self.ready.len(), Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let is_silent = self.exchanges.is_empty() && self.wait.is_none() && self.tries.is_empty();
        let is_told = self.lines.iter().all(|line| line.outcomes.is_empty());
        let is_late = self.phase == Phase::Stopping && self.until.is_none();
        self.phase != Phase::Working && (is_late || (is_silent && is_told && self.under.is_empty()))
    }

    // ---- Jobs ----

    fn begin_ready(&mut self) {
        while self.under.len() < self.shared.worker.concurrency {
            let Some(next) = self.ready.iter().position(|ready| self.may_begin(&ready.leased.job.name)) else {
                return;
            };
            let ready = self.ready.remove(next).expect("it was found there");
            self.begin(ready);
        }
    }

    fn may_begin(&self, name: &str) -> bool {
        let limit = self.shared.worker.limits.get(name);
        limit.is_none_or(|limit| self.by_name.get(name).copied().unwrap_or(0) < *limit)
    }

    fn begin(&mut self, ready: Got) {
        let Got { leased, hold, since } = ready;
        let worker = &self.shared.worker;
        let name = leased.job.name.clone();
        let Some(handler) = worker.handler(&name).cloned() else {
            let outcome = worker.unhandled_outcome(&name);
            return self.tell(&hold, outcome);
        };
        let leased_at = (since.elapsed() < AT_ONCE).then_some(since);
        let cx = Context::new(worker.queues[hold.queue].clone(), leased.job, hold.clone(), self.shared.lease);
        let run = Run { cx, handler, leased: leased_at, grace: worker.grace };
        if worker.limits.contains_key(&name) {
            *self.by_name.entry(name.clone()).or_default() += 1;
        }
        let task = self.runs.spawn(run.run());
        self.under.insert(task.id(), Under { name, hold });
    }

    /// Hears of one that has ended, and of all others that have, so that they are told together.
    fn all_ended(&mut self, first: JoinResult) {
        let mut next = Some(first);
        while let Some(done) = next {
            if let Some(done) = fetch::unless_ending(done) {
                self.ended(done);
            }
            next = self.runs.try_join_next_with_id();
        }
    }

    fn ended(&mut self, (id, (hold, end)): (tokio::task::Id, (Arc<Hold>, End))) {
        let Some(Under { name, .. }) = self.under.remove(&id) else { return };
        if let Some(count) = self.by_name.get_mut(&name) {
            *count -= 1;
        }
        let queue = &self.shared.worker.queues[hold.queue];
        match end {
            End::Told(outcome) => {
                let outcome = match queue.check_outcome(&outcome) {
                    Ok(()) => outcome,
                    Err(error) => {
                        let error = format!("what the handler answered cannot be kept: {error}");
                        Outcome::Failed { error, retry_after: None }
                    }
                };
                self.tell(&hold, outcome);
            }
            End::Committed => {
                self.shared.stats.committed();
                self.shared.holds.remove(hold.queue, &hold.ticket);
            }
            End::Lost => {
                queue.count(Counter::JobsLost, 1);
                self.shared.stats.lost();
                self.shared.holds.remove(hold.queue, &hold.ticket);
            }
        }
    }

    fn tell(&mut self, hold: &Hold, outcome: Outcome) {
        self.lines[hold.queue].outcomes.push((hold.ticket.clone(), outcome));
    }

    fn release(&mut self, hold: &Hold, delay: Duration) {
        self.tell(hold, Outcome::Released { delay });
    }

    /// Gets rid of jobs that were lost or cancelled before they began.
    fn drop_stopped(&mut self) {
        for ready in std::mem::take(&mut self.ready) {
            match ready.hold.stop_reason() {
                None => self.ready.push_back(ready),
                Some(Stop::LeaseLost) => {
                    self.shared.stats.lost();
                    self.shared.holds.remove(ready.hold.queue, &ready.hold.ticket);
                }
                Some(_) => self.release(&ready.hold, Duration::ZERO),
            }
        }
    }

    /// Hands back what there is no room for: the last of what several queues had at once, and of what runs here as often as it may.
    fn hand_back_excess(&mut self) {
        let is_full = self.under.len() >= self.shared.worker.concurrency;
        let delay = if is_full { Duration::ZERO } else { SATURATED };
        while self.ready.len() > self.shared.worker.prefetch {
            let Some(ready) = self.ready.pop_back() else { return };
            self.release(&ready.hold, delay);
        }
    }

    fn hand_back_ready(&mut self) {
        for ready in std::mem::take(&mut self.ready) {
            self.release(&ready.hold, Duration::ZERO);
        }
    }

    // ---- The store ----

    fn room(&self) -> usize {
        let worker = &self.shared.worker;
        match self.phase {
            Phase::Working => {
                let taken = self.under.len() + self.ready.len() + self.asked.room;
                (worker.concurrency + worker.prefetch).saturating_sub(taken)
            }
            _ => 0,
        }
    }

    fn talk(&mut self) {
        let room = self.room();
        for queue in 0..self.lines.len() {
            if self.lines[queue].wants_try() {
                self.try_alone(queue, room);
            }
        }
        let mut sound = self.shared.worker.look_order();
        sound.retain(|queue| self.lines[*queue].is_sound());
        let outcomes = sound.iter().map(|queue| self.lines[*queue].outcomes.len()).sum();
        if outcomes > 0 && self.may_exchange(outcomes) {
            let room = if self.wait.is_some() { 0 } else { room };
            let told = sound.into_iter().map(|queue| self.told(queue)).collect();
            let (asked, talked) = (Asked { outcomes, room }, fetch::exchange(self.shared.clone(), told, room));
            self.exchanges.spawn(async move { (asked, talked.await) });
            self.asked.outcomes += outcomes;
            self.asked.room += room;
        } else if room > 0 && self.exchanges.is_empty() && self.wait.is_none() && !sound.is_empty() {
            let (stop, stopped) = watch::channel(false);
            self.wait = Some((tokio::spawn(fetch::wait(self.shared.clone(), sound, room, stopped)), stop));
        }
    }

    /// Tells whether another exchange may begin, with so many outcomes.
    fn may_exchange(&self, outcomes: usize) -> bool {
        let concurrency = self.shared.worker.concurrency;
        match self.exchanges.len() {
            0 => true,
            1 => concurrency > 1 && outcomes >= concurrency.div_ceil(2),
            _ => false,
        }
    }

    /// Tells a queue that has not answered what it is to be told or, if that is nothing, leases one job of it. Not both: an exchange is not repeated by itself,
    /// telling is.
    fn try_alone(&mut self, queue: usize, room: usize) {
        let told = self.told(queue);
        let (count, room) = (told.outcomes.len(), room.min(1));
        if count > 0 || room > 0 {
            self.lines[queue].trying = Some(count);
            let room = if count > 0 { 0 } else { room };
            let talked = fetch::exchange(self.shared.clone(), vec![told], room);
            self.tries.spawn(async move { (queue, talked.await) });
        }
    }

    /// Takes what a queue is to be told.
    fn told(&mut self, queue: usize) -> Told {
        Told { queue, outcomes: std::mem::take(&mut self.lines[queue].outcomes) }
    }

    fn heard(&mut self, talked: Talked) {
        for (queue, ticket, outcome, settled) in talked.settled {
            self.shared.stats.settled(&outcome, settled);
            if settled == Settled::Lost {
                tracing::warn!(job = ticket.id, "the outcome of a job was refused: its lease had been lost");
            }
            self.shared.holds.remove(queue, &ticket);
        }
        for Told { queue, outcomes } in talked.untold {
            self.lines[queue].outcomes.extend(outcomes);
        }
        self.ready.extend(talked.jobs);
        // Of some it may have been known before they were heard of here.
        self.drop_stopped();
        for (queue, answer) in talked.answers {
            let line = &mut self.lines[queue];
            match answer {
                Ok(()) => line.answered(),
                Err(error) => {
                    let (pause, queue) = (line.failed(), self.shared.worker.queues[queue].name());
                    tracing::warn!(queue, %error, ?pause, "a worker could not talk to a queue");
                }
            }
        }
    }

    // ---- The end ----

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.state.send_replace(WorkerState::Draining);
        if let Some((_, stop)) = &self.wait {
            stop.send_replace(true);
        }
        let worker = &self.shared.worker;
        match phase {
            Phase::Working => {}
            Phase::Draining => self.until = Some(Instant::now() + worker.drain),
            Phase::Stopping => {
                self.under.values().for_each(|under| under.hold.stop(Stop::Draining));
                self.until = Some(Instant::now() + worker.grace + DROPPING);
            }
        }
    }

    fn time_is_up(&mut self) {
        if self.phase == Phase::Draining {
            return self.enter(Phase::Stopping);
        }
        if self.has_last_words {
            self.until = None;
            return;
        }
        self.has_last_words = true;
        // What cannot be dropped is left behind, and handed back all the same.
        for Under { name, hold } in std::mem::take(&mut self.under).into_values() {
            tracing::warn!(job = hold.ticket.id, name, "a handler did not end and is left behind");
            if !hold.is_committed() {
                self.release(&hold, Duration::ZERO);
            }
        }
        self.until = Some(Instant::now() + LAST_WORDS);
    }
}

/// Waits for a task, if there is one.
async fn joined(task: Option<&mut JoinHandle<Talked>>) -> Talked {
    match task {
        Some(task) => match fetch::unless_ending(task.await) {
            Some(talked) => talked,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Waits for a phase beyond this one. Whoever started the worker and dropped it wants it to drain.
async fn next_phase(told: &mut watch::Receiver<Phase>, phase: Phase) -> Phase {
    match told.wait_for(|told| *told > phase).await.map(|told| *told) {
        Ok(next) => next,
        Err(_) if phase == Phase::Working => Phase::Draining,
        Err(_) => std::future::pending().await,
    }
}
