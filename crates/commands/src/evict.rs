//! Making room: what happens before a command when more memory is used than `maxmemory` allows.
//!
//! ```text
//! before a command   used ≤ maxmemory ─► go on                      a load and two sums; without a limit, the load
//!                    used > maxmemory ─► evict until it is not      for as long as `maxmemory-eviction-tenacity` grants
//!                                        ├► done, or out of time    the command runs; the housekeeper takes over the rest
//!                                        └► nothing to evict        what needs memory is refused with OOM
//! ```
//!
//! As Redis does, a few keys are drawn at random for each that goes, and the best of them and of those left over from earlier draws goes: the one not used for the
//! longest time (LRU), the one used least (LFU), the one that expires next (TTL). A key that was used after it was drawn is no longer what it was drawn for
//! and is passed over. Keys with a beginning that stands in `non-evictable-prefixes` are never chosen; there, `*` is any text without a colon, so that a
//! prefix can name a family below parts that vary (`app:*:session:`).
//!
//! No lock is held while several shards are looked at: one shard is locked to draw, then one to remove. Threads that make room at the same time draw into pools of
//! their own. What is removed is a deletion for the log, for watchers and for clients that track; they are told before the command runs that made it necessary.
//!
//! What is used is the data with its tables, the shards themselves, what is held for clients, and scripts. The buffer of the log does not count. What is held for clients
//! counts once it has been held for a moment: invalidations of evicted keys, which are on their way to clients, would otherwise have further keys
//! evicted, and so on until none is left.

mod pool;
mod round;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use redpoll_keyspace::{Candidates, Census, Effects, Exhaustion, SHARDS, View};
use redpoll_resp::Writer;

use crate::client::Transport;
use crate::cx::{Cx, Origin};
use crate::engine::Engine;
use crate::session::Session;
use crate::settings::Setting;
use pool::Pool;
use round::{Found, Round, Seek};

/// Pools of drawn keys; threads beyond share them.
const POOLS: usize = 16;

/// Limits up to this are held to the byte, larger ones with a tolerance.
const EXACT_MAX: usize = 64 << 20;

/// The tolerances of all shards together are at most one in so many parts of the limit.
const TOLERATED_SHARE: usize = 128;

/// Most prefixes that can be set.
pub(crate) const PREFIXES_MAX: usize = 1024;

/// How long what is held for clients is not counted yet.
const HELD_NANOS: u64 = 10_000_000;

/// How long the housekeeper makes room at a time.
const BACKGROUND_NANOS: u64 = 1_000_000;

/// Beginnings of the keys that are never evicted.
#[derive(Debug, Default)]
pub(crate) struct Prefixes(Vec<Box<[u8]>>);

impl Prefixes {
    pub(crate) fn of_words(text: &str) -> Prefixes {
        Prefixes(text.split_ascii_whitespace().map(|word| word.as_bytes().into()).collect())
    }

    #[inline]
    pub(crate) fn cover(&self, key: &[u8]) -> bool {
        self.0.iter().any(|prefix| begins(key, prefix))
    }
}

/// Tells whether a key begins as the prefix says, in which `*` is any run of bytes without a colon.
///
/// It is enough to go back to the last star: where there is a colon between two stars, the colon holds the first in its place, and elsewhere the second reaches
/// whatever the first would.
fn begins(key: &[u8], prefix: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < prefix.len() {
        if prefix[at] == b'*' {
            at += 1;
            star = Some((at, from));
        } else if key.get(from) == Some(&prefix[at]) {
            (at, from) = (at + 1, from + 1);
        } else {
            match star {
                Some((after, swallowed)) if key.get(swallowed).is_some_and(|byte| *byte != b':') => {
                    star = Some((after, swallowed + 1));
                    (at, from) = (after, swallowed + 1);
                }
                _ => return false,
            }
        }
    }
    true
}

/// By what a key is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The longest time without use.
    Age,
    /// The least use.
    Frequency,
    /// The next deadline.
    Deadline,
    /// Chance.
    Chance,
}

/// What `maxmemory-policy` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) candidates: Candidates,
    pub(crate) by: By,
}

impl Policy {
    /// Returns the policy of the settings; none if nothing is evicted.
    fn of(engine: &Engine) -> Option<Policy> {
        use Candidates::{All, Volatile};
        // In the order of the setting's words.
        let policies = [
            (Volatile, By::Age),
            (Volatile, By::Frequency),
            (Volatile, By::Chance),
            (Volatile, By::Deadline),
            (All, By::Age),
            (All, By::Frequency),
            (All, By::Chance),
        ];
        let (candidates, by) = *policies.get(engine.settings.size(Setting::MaxmemoryPolicy))?;
        Some(Policy { candidates, by })
    }
}

/// Whether there is room for what needs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Enough,
    /// There will be: making it takes longer than a command may be kept waiting.
    InTheMaking,
    /// There is not, and nothing can be evicted.
    None,
}

/// What making room remembers from one time to the next.
#[derive(Debug, Default)]
pub struct Evictor {
    pools: [Mutex<Pool>; POOLS],
    census: RwLock<Counted>,
    seek: Mutex<Seek>,
    /// Keys evicted since the start.
    evicted: AtomicUsize,
    exceeded: Exceeded,
    held: Mutex<Held>,
}

/// What was held for clients when somebody looked.
#[derive(Debug, Default)]
struct Held {
    ticks: u64,
    bytes: usize,
    /// The less of the last two looks.
    steady: usize,
}

/// How many candidates there were where, and when that was counted.
#[derive(Clone, Debug, Default)]
struct Counted {
    census: Arc<Census>,
    candidates: Option<Candidates>,
    ticks: u64,
    /// [`Evictor::evicted`] at that time.
    evicted: usize,
}

/// For how long there has been too little room.
#[derive(Debug, Default)]
struct Exceeded {
    /// When it began, in ticks; 0 if there is enough.
    since: AtomicU64,
    /// Sum of the earlier times, nanoseconds.
    nanos: AtomicU64,
}

impl Evictor {
    /// Returns for how long memory was beyond the limit in all, and for how long it is now, milliseconds.
    pub(crate) fn exceeded_ms(&self, ticks: u64) -> (u64, u64) {
        let current = match self.exceeded.since.load(Ordering::Relaxed) {
            0 => 0,
            since => ticks.saturating_sub(since),
        };
        ((self.exceeded.nanos.load(Ordering::Relaxed) + current) / 1_000_000, current / 1_000_000)
    }

    /// Begins the sum anew (CONFIG RESETSTAT).
    pub(crate) fn reset(&self) {
        self.exceeded.nanos.store(0, Ordering::Relaxed);
    }
}

impl Held {
    /// Returns how much of what is held for clients has been held for a moment.
    fn steady(&mut self, bytes: usize, ticks: u64) -> usize {
        if ticks.saturating_sub(self.ticks) >= HELD_NANOS {
            self.steady = self.bytes.min(bytes);
            (self.bytes, self.ticks) = (bytes, ticks);
        }
        self.steady.min(bytes)
    }
}

impl Exceeded {
    fn note(&self, engine: &Engine, room: Room) {
        let since = self.since.load(Ordering::Relaxed);
        match room {
            Room::Enough if since != 0 => {
                self.since.store(0, Ordering::Relaxed);
                self.nanos.fetch_add(engine.clock.ticks().saturating_sub(since), Ordering::Relaxed);
            }
            Room::InTheMaking | Room::None if since == 0 => {
                self.since.store(engine.clock.ticks().max(1), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Tells whether the policy chooses by when or how often keys were used.
pub fn goes_by_stamps(engine: &Engine) -> bool {
    Policy::of(engine).is_some_and(|policy| matches!(policy.by, By::Age | By::Frequency))
}

/// Tells whether every key keeps a stamp of its own because a policy needs it, so that none can share a value.
pub(crate) fn needs_stamps(engine: &Engine) -> bool {
    engine.settings.int(Setting::Maxmemory) != 0 && goes_by_stamps(engine)
}

impl Engine {
    /// Returns the bytes of what is kept beside the data: the shards themselves, what is held for clients, the texts of scripts.
    #[inline]
    pub fn overhead_bytes(&self) -> usize {
        self.overhead_beside_clients() + self.clients.held_bytes()
    }

    /// Returns the same without what is held for clients.
    #[inline]
    pub(crate) fn overhead_beside_clients(&self) -> usize {
        self.keyspace.fixed_bytes() + self.scripting.get().map_or(0, |scripting| scripting.size().1)
    }

    /// Has the thread that works in the background look at once whether there is something to do.
    pub fn call_background(&self) {
        if let Some(call) = self.background.get() {
            call();
        }
    }
}

/// Makes room before a command of a client, and notes whether there is none. What the client itself is told of that goes before the reply.
#[inline]
pub(crate) fn before_command(engine: &Engine, session: &mut Session, out: &mut Writer, origin: Origin) {
    session.out_of_memory = false;
    let limit = engine.settings.size(Setting::Maxmemory);
    if limit == 0 || origin == Origin::Replay || engine.load_state.is_on() {
        return;
    }
    let room = hold(engine, limit, session.slot, &Grant::of_command);
    session.out_of_memory = room == Room::None;
    if session.tracking.is_some() && session.client.transport != Transport::Embedded {
        session.client.outbox.take(usize::MAX, |message| out.raw(message));
    }
}

/// Makes room for a while, whoever needs it; nothing is left to do unless it is in the making.
pub fn in_background(engine: &Engine) -> Room {
    match engine.settings.size(Setting::Maxmemory) {
        0 => Room::Enough,
        _ if engine.load_state.is_on() => Room::Enough,
        limit => hold(engine, limit, 0, &|_| Grant(BACKGROUND_NANOS)),
    }
}

/// How long one call may evict, nanoseconds.
struct Grant(u64);

impl Grant {
    /// What `maxmemory-eviction-tenacity` grants a command: up to ten it grows evenly to half a millisecond, then by 15 percent a step; a hundred is no limit.
    fn of_command(engine: &Engine) -> Grant {
        let tenacity = engine.settings.int(Setting::MaxmemoryEvictionTenacity);
        match tenacity {
            ..=10 => Grant(tenacity.unsigned_abs() * 50_000),
            11..=99 => Grant((500_000.0 * 1.15_f64.powi(tenacity as i32 - 10)) as u64),
            _ => Grant(u64::MAX),
        }
    }
}

#[inline]
fn hold(engine: &Engine, limit: usize, slot: usize, grant: &dyn Fn(&Engine) -> Grant) -> Room {
    let is_counted = engine.keyspace.counted_within() == Some(tolerance(limit));
    if is_counted && engine.keyspace.counted_bytes() + engine.overhead_bytes() <= limit {
        engine.evictor.exceeded.note(engine, Room::Enough);
        return Room::Enough;
    }
    let room = make(engine, limit, slot, grant);
    engine.evictor.exceeded.note(engine, room);
    if room == Room::InTheMaking {
        engine.call_background();
    }
    room
}

/// Returns within how many bytes each shard tells what it takes, for a limit.
fn tolerance(limit: usize) -> usize {
    if limit <= EXACT_MAX { 0 } else { limit / (SHARDS * TOLERATED_SHARE) }
}

#[cold]
fn make(engine: &Engine, limit: usize, slot: usize, grant: &dyn Fn(&Engine) -> Grant) -> Room {
    let started = engine.clock.moment();
    // What is declared busy is waited for by nobody: the command is refused for that reason.
    let Ok(passage) = engine.turn.enter(&engine.keyspace) else { return Room::InTheMaking };
    let mut gate = passage.gate;
    if engine.keyspace.counted_within() != Some(tolerance(limit)) {
        let held = gate.lock(std::iter::empty());
        let stamping = engine.stamping(started.now);
        View::new(&engine.keyspace, held, 0, started.now, stamping, Effects::default())
            .count_within(Some(tolerance(limit)));
    }
    let held = engine.clients.held_bytes();
    let steady = engine.evictor.held.lock().steady(held, started.ticks);
    let overhead = engine.overhead_beside_clients() + steady;
    let is_enough = || engine.keyspace.counted_bytes() + overhead <= limit;
    // Nothing changes by itself while clients are paused.
    if is_enough() || engine.pause.is_on(started.now) {
        return Room::Enough;
    }
    let Some(policy) = Policy::of(engine) else { return Room::None };
    if engine.keyspace.is_exhausted() {
        return Room::None;
    }
    let Grant(granted) = grant(engine);
    let mut round = Round::new(engine, gate, policy, slot, started);
    loop {
        let found = round.evict_one();
        let elapsed = engine.clock.ticks().saturating_sub(started.ticks);
        let room = match found {
            _ if is_enough() => Room::Enough,
            Found::Nothing => Room::None,
            _ if elapsed > granted => Room::InTheMaking,
            Found::One | Found::NoneYet => continue,
        };
        engine.note_latency("eviction-cycle", elapsed / 1_000_000);
        return room;
    }
}

/// Does what a change of the limit, the policy or the prefixes asks for at once.
pub(crate) fn limit_changed(cx: &mut Cx<'_, '_>) {
    let engine = cx.engine;
    engine.keyspace.set_exhausted(Exhaustion::Unknown);
    let limit = engine.settings.size(Setting::Maxmemory);
    if limit == 0 {
        cx.db.count_within(None);
        return engine.evictor.exceeded.note(engine, Room::Enough);
    }
    let used = cx.db.totals().1 + engine.overhead_bytes();
    if used > limit {
        tracing::warn!(
            limit,
            used,
            "maxmemory is below what is used: keys will be evicted or writes refused, as maxmemory-policy says"
        );
    }
    engine.call_background();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_words() {
        let prefixes = Prefixes::of_words(" queue: session:\t");
        assert!(prefixes.cover(b"queue:1") && prefixes.cover(b"session:"));
        assert!(!prefixes.cover(b"queue") && !prefixes.cover(b"a queue:1"));
        assert!(!Prefixes::of_words("").cover(b""));
    }

    #[test]
    fn a_star_is_text_without_a_colon() {
        let prefixes = Prefixes::of_words("rp:{*:lock: a*b*:c");
        for key in [&b"rp:{acme:lock:x}"[..], b"rp:{:lock:", b"rp:{*:lock:", b"abxbbb:c", b"ab:cd"] {
            assert!(prefixes.cover(key), "{}", key.escape_ascii());
        }
        for key in [&b"rp:{acme:cache:lock:x}"[..], b"rp:{acme:lock}", b"rp:{a", b"rp:", b"a:b:c", b"axb:d", b""] {
            assert!(!prefixes.cover(key), "{}", key.escape_ascii());
        }
        assert!(Prefixes::of_words("a*").cover(b"a") && !Prefixes::of_words("*a").cover(b"b:a"));
        // Whatever one star or two can do, in all short texts.
        let texts = |len: u32| {
            (0..3_usize.pow(len)).map(move |n| (0..len).map(|at| b"ab:"[n / 3_usize.pow(at) % 3]).collect::<Vec<u8>>())
        };
        for key in (0..6).flat_map(texts) {
            for prefix in [&b"*a*b"[..], b"*a:*b", b"a**b", b"*:*a", b"*ab*ab", b"a*"] {
                assert_eq!(
                    begins(&key, prefix),
                    every_way(&key, prefix),
                    "{} {}",
                    key.escape_ascii(),
                    prefix.escape_ascii()
                );
            }
        }
    }

    fn every_way(key: &[u8], prefix: &[u8]) -> bool {
        match prefix {
            [] => true,
            [b'*', rest @ ..] => {
                every_way(key, rest) || key.first().is_some_and(|byte| *byte != b':') && every_way(&key[1..], prefix)
            }
            [byte, rest @ ..] => key.first() == Some(byte) && every_way(&key[1..], rest),
        }
    }

    #[test]
    fn what_passes_does_not_count() {
        let mut held = Held::default();
        assert_eq!(held.steady(500, 1), 0, "just come");
        assert_eq!(held.steady(500, HELD_NANOS), 0, "it was not there when somebody looked before");
        assert_eq!(held.steady(400, 2 * HELD_NANOS), 400, "of that, 400 have stayed");
        assert_eq!(held.steady(900, 2 * HELD_NANOS + 1), 400);
        assert_eq!(held.steady(100, 2 * HELD_NANOS + 2), 100);
    }

    #[test]
    fn small_limits_are_held_to_the_byte() {
        assert_eq!((tolerance(1), tolerance(64 << 20)), (0, 0));
        assert_eq!(tolerance(1 << 30), 8192);
        assert!(tolerance(10 << 30) * SHARDS * 100 <= 10 << 30, "less than a hundredth");
    }
}
