//! A round: evicting one key after the other until there is room.
//!
//! Drawing finds a key at once as long as keys that may go are not rare. Where they are (few have a deadline, or most have a protected name) the keys are walked
//! through instead, from where the last walk ended, a bounded number at a time. Only a walk that has seen every key, with none coming meanwhile, says that there is
//! nothing to evict; that is remembered until something comes, so that a full store refuses writes without looking for a way out every time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redpoll_keyspace::{
    Census, Entry, Exhaustion, Gate, Keyspace, Portion, Stamping, View, lfu_counter, lru_idle_seconds,
};

use super::pool::Candidate;
use super::{By, Counted, Evictor, POOLS, Policy, Prefixes};
use crate::disposal::Free;
use crate::engine::{Engine, Moment};
use crate::settings::Setting;
use crate::{blocking, dispatch};

/// Draws for one key before the keys are walked through.
const DRAWS_MAX: usize = 8;

/// Draws after which what is known of the shards is looked at anew.
const DRAWS_TRUSTED: usize = 4;

/// At most one in so many keys of a part is drawn at a time.
const PART_SHARE: usize = 32;

/// Most keys for each draw, whatever `maxmemory-samples` says.
const SAMPLES_MAX: usize = 64;

/// Keys walked through with one shard locked, and with one call.
const WALKED_AT_ONCE: usize = 256;
const WALKED_MAX: usize = 4096;

/// How long what is known of the shards is good for, and for how many evictions: a share of all keys and some more.
const CENSUS_NANOS: u64 = 100_000_000;
const CENSUS_SHARE: usize = 8;
const CENSUS_EVICTIONS: usize = 16;

/// What looking for a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One was evicted.
    One,
    /// None so far.
    NoneYet,
    /// There is none.
    Nothing,
}

/// Where the walk through all keys stands.
#[derive(Debug, Default)]
pub(super) struct Seek {
    /// Which of the parts of a census, and where in it.
    part: usize,
    cursor: u64,
    /// Parts seen since something was last found; none if no walk is under way.
    seen: Option<usize>,
}

/// One call that makes room.
pub(super) struct Round<'e> {
    engine: &'e Engine,
    gate: Gate<'e>,
    policy: Policy,
    prefixes: Arc<Prefixes>,
    pool: usize,
    samples: usize,
    started: Moment,
}

impl<'e> Round<'e> {
    pub(super) fn new(engine: &'e Engine, gate: Gate<'e>, policy: Policy, slot: usize, started: Moment) -> Round<'e> {
        let samples = engine.settings.size(Setting::MaxmemorySamples).clamp(1, SAMPLES_MAX);
        let prefixes = Arc::clone(&engine.settings.non_evictable.read());
        Round { engine, gate, policy, prefixes, pool: slot % POOLS, samples, started }
    }

    /// Evicts one key.
    pub(super) fn evict_one(&mut self) -> Found {
        let mut census = self.census(false);
        for draws in 0..DRAWS_MAX {
            if draws == DRAWS_TRUSTED {
                census = self.census(true);
            }
            if self.draw_and_evict(&census) {
                return Found::One;
            }
        }
        self.seek()
    }

    /// Draws keys and evicts the best that is known.
    fn draw_and_evict(&mut self, census: &Census) -> bool {
        if self.policy.by == By::Chance {
            let Some((part, _)) = census.pick(self.engine.random()) else { return false };
            let mut drawn = None;
            let rating = self.rating();
            self.draw(part, 1, |entry| drawn = Some(rating.candidate(part.db, entry)));
            return drawn.is_some_and(|candidate| self.evict(&candidate));
        }
        let (engine, rating) = (self.engine, self.rating());
        let mut pool = engine.evictor.pools[self.pool].lock();
        pool.choose_by(rating.by);
        let mut left = self.samples;
        while left > 0 {
            let Some((part, candidates)) = census.pick(engine.random()) else { break };
            // All from one shard if it is large; few from a small one, or the same would be drawn again and again.
            let count = left.min(candidates / PART_SHARE).max(1);
            self.draw(part, count, |entry| {
                let (score, drawn_as) = rating.of(entry);
                pool.offer(part.db, entry.key(), score, drawn_as);
            });
            left -= count;
        }
        while let Some(best) = pool.pop() {
            drop(pool);
            if self.evict(&best) {
                return true;
            }
            pool = engine.evictor.pools[self.pool].lock();
        }
        false
    }

    /// Visits some randomly chosen keys of a part that may go.
    fn draw(&mut self, part: Portion, count: usize, mut visit: impl FnMut(&Entry)) {
        let (engine, candidates, prefixes) = (self.engine, self.policy.candidates, Arc::clone(&self.prefixes));
        let mut view = self.view(part);
        view.draw(
            part.shard,
            candidates,
            count,
            || engine.random(),
            |entry| {
                if !prefixes.cover(entry.key()) {
                    visit(entry);
                }
            },
        );
    }

    fn rating(&self) -> Rating {
        let now = self.started.now;
        Rating { by: self.policy.by, stamping: self.engine.stamping(now), now }
    }

    fn view(&mut self, part: Portion) -> View<'_> {
        let (engine, now) = (self.engine, self.started.now);
        let held = self.gate.lock_shard(part.shard);
        View::new(&engine.keyspace, held, part.db, now, engine.stamping(now), engine.effects())
    }

    /// Removes a key if it still is what it was when it was drawn, and tells everybody.
    fn evict(&mut self, candidate: &Candidate) -> bool {
        let (engine, by) = (self.engine, self.policy.by);
        let (served, evicted);
        {
            let mut view = self.view(Portion { shard: Keyspace::shard_of(&candidate.key), db: candidate.db });
            evicted = view.evict(&candidate.key, |entry| mark(by, entry) == candidate.drawn_as);
            served = dispatch::settle_removed(engine, &mut view);
        }
        blocking::wake(&served);
        // What it held is freed here, with no lock held, or elsewhere.
        let Some(entry) = evicted else { return false };
        engine.evictor.evicted.fetch_add(1, Ordering::Relaxed);
        engine.disposal.free(entry, Free::by(engine, Setting::LazyfreeLazyEviction));
        true
    }

    /// Returns how many candidates there are where, counted anew if asked for or if it was counted long ago.
    fn census(&mut self, anew: bool) -> Arc<Census> {
        let Evictor { census, evicted, .. } = &self.engine.evictor;
        let evicted = evicted.load(Ordering::Relaxed);
        let known = census.read().clone();
        let is_current = known.candidates == Some(self.policy.candidates)
            && self.started.ticks.saturating_sub(known.ticks) < CENSUS_NANOS
            && evicted - known.evicted.min(evicted) < known.census.total() / CENSUS_SHARE + CENSUS_EVICTIONS;
        if is_current && !anew {
            return known.census;
        }
        let candidates = Some(self.policy.candidates);
        let fresh = Counted { census: Arc::new(self.count()), candidates, ticks: self.started.ticks, evicted };
        let fresh_census = Arc::clone(&fresh.census);
        *census.write() = fresh;
        fresh_census
    }

    fn count(&mut self) -> Census {
        let (engine, now) = (self.engine, self.started.now);
        let held = self.gate.lock(std::iter::empty());
        View::new(&engine.keyspace, held, 0, now, engine.stamping(now), engine.effects()).census(self.policy.candidates)
    }

    /// Walks on through all keys and evicts the first that may go.
    fn seek(&mut self) -> Found {
        let engine = self.engine;
        // Whoever comes second waits for the first, or both would walk through everything.
        let mut seek = engine.evictor.seek.lock();
        if seek.seen.is_none() {
            engine.keyspace.set_exhausted(Exhaustion::Suspected);
            seek.seen = Some(0);
        }
        let parts: Vec<Portion> = self.count().parts().collect();
        let mut left = WALKED_MAX;
        while left > 0 && seek.seen.is_some_and(|seen| seen < parts.len()) {
            seek.part %= parts.len();
            let part = parts[seek.part];
            if let Some(candidate) = self.walk(part, &mut seek.cursor) {
                seek.seen = None;
                return if self.evict(&candidate) { Found::One } else { Found::NoneYet };
            }
            left = left.saturating_sub(WALKED_AT_ONCE);
            if seek.cursor == 0 {
                seek.part += 1;
                seek.seen = seek.seen.map(|seen| seen + 1);
            }
        }
        if seek.seen.is_some_and(|seen| seen < parts.len()) {
            return Found::NoneYet;
        }
        seek.seen = None;
        // Something that came while the walk was on may be where it had been already.
        if engine.keyspace.conclude_exhausted() { Found::Nothing } else { Found::NoneYet }
    }

    /// Walks through some keys of a part and returns the first that may go.
    fn walk(&mut self, part: Portion, cursor: &mut u64) -> Option<Candidate> {
        let (candidates, prefixes, rating) = (self.policy.candidates, Arc::clone(&self.prefixes), self.rating());
        let mut found: Option<Candidate> = None;
        *cursor = self.view(part).walk(part.shard, candidates, *cursor, WALKED_AT_ONCE, |entry| {
            if prefixes.cover(entry.key()) {
                return ControlFlow::Continue(());
            }
            found = Some(rating.candidate(part.db, entry));
            ControlFlow::Break(())
        });
        found
    }
}

/// Returns what changes when a key is no longer what it was drawn as: it was used, or has another deadline.
fn mark(by: By, entry: &Entry) -> u64 {
    match by {
        By::Age | By::Frequency => u64::from(entry.stamp()),
        By::Deadline => entry.deadline().unwrap_or(u64::MAX),
        By::Chance => 0,
    }
}

/// How keys compare in a round.
#[derive(Clone, Copy)]
struct Rating {
    by: By,
    stamping: Stamping,
    now: u64,
}

impl Rating {
    fn candidate(self, db: usize, entry: &Entry) -> Candidate {
        let (score, drawn_as) = self.of(entry);
        Candidate { db, key: entry.key().into(), score, drawn_as }
    }

    /// Returns how well a key can be done without, the higher the better, and its mark. Ages count from a fixed time, so that those rated at different times compare.
    fn of(self, entry: &Entry) -> (u64, u64) {
        let mark = mark(self.by, entry);
        let score = match (self.by, self.stamping) {
            (By::Age, Stamping::Lru { clock }) => {
                u64::MAX - (self.now / 1000).saturating_sub(u64::from(lru_idle_seconds(entry.stamp(), clock)))
            }
            // Of those used equally often, the one not used for longer.
            (By::Frequency, stamping @ Stamping::Lfu { minutes, .. }) => {
                let idle = minutes.wrapping_sub((entry.stamp() >> 8) as u16);
                u64::from(u8::MAX - lfu_counter(entry.stamp(), stamping)) << 16 | u64::from(idle)
            }
            (By::Deadline, _) => u64::MAX - mark,
            // By chance; or the policy was changed a moment ago, so stamps say nothing.
            _ => 0,
        };
        (score, mark)
    }
}
