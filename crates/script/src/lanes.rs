//! Lua states in which scripts run beside one another.
//!
//! A script that is proven to keep to the keys its caller declares (`declared`) needs no more than the locks of those, so it is run like any other command, in
//! the state of whatever thread runs it. A lane is such a state: it has compiled what came by, of a copy of the text, and forgets it as every [`Engine`] does.
//! Threads keep to a lane of their own as long as there are enough. Whoever finds one taken waits with its shards locked, which is no danger: a run in a lane
//! has all it wants and ends by itself.
//!
//! Which scripts are proven is a list beside the engine that runs scripts alone. It is changed while the gate is held exclusively, so no run sees it change.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::engine::{Engine, EngineConfig, Sha};

/// The most lanes, however many processors there are.
const MAX_LANES: usize = 64;

/// A lane that has grown beyond this begins anew.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// The texts of the scripts that are proven, by SHA-1.
pub(crate) type Proven = Arc<RwLock<HashMap<Sha, Arc<[u8]>, RandomState>>>;

/// The lanes of a store.
pub(crate) struct Lanes {
    config: EngineConfig,
    engines: Box<[Mutex<Option<Engine>>]>,
    bytes: AtomicUsize,
}

impl Lanes {
    pub(crate) fn new(config: EngineConfig) -> Lanes {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_LANES);
        Lanes { config, engines: (0..count).map(|_| Mutex::new(None)).collect(), bytes: AtomicUsize::new(0) }
    }

    /// Lends an engine that nobody else uses meanwhile.
    pub(crate) fn with<R>(&self, run: impl FnOnce(&mut Engine) -> R) -> R {
        let mut lane = self.lane();
        let before = lane.as_ref().map_or(0, Engine::used_memory);
        let engine = lane.get_or_insert_with(|| Engine::for_proven(self.config.clone()));
        let result = run(engine);
        let mut after = engine.used_memory();
        if after > KEPT_BYTES {
            *lane = None;
            after = 0;
        }
        // What is subtracted was added before, by whoever had the lane then.
        self.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        result
    }

    fn lane(&self) -> MutexGuard<'_, Option<Engine>> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed));
        let own = THREAD.with(|thread| *thread);
        let count = self.engines.len();
        let free = (0..count).find_map(|next| self.engines[(own + next) % count].try_lock());
        free.unwrap_or_else(|| self.engines[own % count].lock())
    }

    /// Bytes taken by the states.
    pub(crate) fn used_memory(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Forgets what was compiled; called with the gate held exclusively.
    pub(crate) fn flush(&self) {
        self.engines.iter().for_each(|engine| *engine.lock() = None);
        self.bytes.store(0, Ordering::Relaxed);
    }
}
