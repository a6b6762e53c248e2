//! Disposal: who frees what takes long to free, and how much of it waits.
//!
//! UNLINK, FLUSHALL ASYNC, and whatever else the `lazyfree-lazy-…` settings say, hand their [`Waste`] over to a thread of the layer above. The core
//! has no threads: without one, or when its queue is full, waste is freed where it comes up, under the locks of the command.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use redpoll_keyspace::{Cause, Effects, Entry, Waste};

use crate::engine::Engine;
use crate::settings::Setting;

/// Something to be freed in the background, which is counted until it is.
#[derive(Debug)]
pub struct Burden {
    waste: Waste,
    counts: Arc<Counts>,
}

impl Burden {
    /// Frees it.
    pub fn free(self) {
        let Burden { waste, counts } = self;
        let objects = waste.objects() as u64;
        drop(waste);
        counts.freed.fetch_add(objects, Ordering::Relaxed);
        counts.pending.fetch_sub(objects, Ordering::Relaxed);
    }
}

/// Who frees burdens in the background.
pub trait Background: Send + Sync {
    /// Takes a burden over, or gives it back if there are too many already. Called while shards are locked: it must not wait.
    fn take(&self, burden: Burden) -> Option<Burden>;
}

#[derive(Debug, Default)]
struct Counts {
    pending: AtomicU64,
    freed: AtomicU64,
}

/// When what is removed is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Free {
    /// Before the reply.
    AtOnce,
    /// In the background, if it takes long.
    Later,
}

impl Free {
    /// Returns what a setting says.
    pub(crate) fn by(engine: &Engine, setting: Setting) -> Free {
        if engine.settings.is_on(setting) { Free::Later } else { Free::AtOnce }
    }
}

/// What is freed in the background.
#[derive(Default)]
pub struct Disposal {
    /// Who does it.
    pub background: OnceLock<Box<dyn Background>>,
    counts: Arc<Counts>,
}

impl Disposal {
    /// Returns how many values wait to be freed.
    pub fn pending(&self) -> u64 {
        self.counts.pending.load(Ordering::Relaxed)
    }

    /// Returns how many values were freed in the background.
    pub fn freed(&self) -> u64 {
        self.counts.freed.load(Ordering::Relaxed)
    }

    /// Begins to count anew what was freed.
    pub fn reset(&self) {
        self.counts.freed.store(0, Ordering::Relaxed);
    }

    /// Frees what was a key.
    pub(crate) fn free(&self, entry: Entry, free: Free) {
        if free == Free::Later
            && let Some(waste) = Waste::of(entry)
        {
            self.hand_over(waste);
        }
    }

    /// Has waste freed in the background, or frees it here if nobody takes it.
    pub(crate) fn hand_over(&self, waste: Waste) {
        let Some(background) = self.background.get() else { return };
        let objects = waste.objects() as u64;
        self.counts.pending.fetch_add(objects, Ordering::Relaxed);
        let burden = Burden { waste, counts: Arc::clone(&self.counts) };
        if let Some(Burden { waste, .. }) = background.take(burden) {
            self.counts.pending.fetch_sub(objects, Ordering::Relaxed);
            drop(waste);
        }
    }
}

/// Frees what went by the way, in the background where the settings say so.
#[cold]
pub(crate) fn dispose(engine: &Engine, effects: &mut Effects) {
    for (cause, waste) in effects.waste.drain(..) {
        let setting = match cause {
            Cause::Expired => Setting::LazyfreeLazyExpire,
            Cause::Overwritten => Setting::LazyfreeLazyServerDel,
        };
        if Free::by(engine, setting) == Free::Later {
            engine.disposal.hand_over(waste);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redpoll_keyspace::{Entry, Limits, Object, Set};
    use redpoll_structures::packed::Item;

    /// Keeps burdens until there are too many.
    struct Shelf(parking_lot::Mutex<Vec<Burden>>, usize);

    impl Background for Arc<Shelf> {
        fn take(&self, burden: Burden) -> Option<Burden> {
            let mut burdens = self.0.lock();
            if burdens.len() == self.1 {
                return Some(burden);
            }
            burdens.push(burden);
            None
        }
    }

    fn waste() -> Waste {
        let mut set = Set::new();
        for member in 0..1000 {
            set.insert(Item::Str(format!("member {member}").as_bytes()), &Limits::default(), 1);
        }
        Waste::of(Entry::new_object(b"key", Object::Set(set))).expect("it is big")
    }

    #[test]
    fn what_is_handed_over_is_pending_until_it_is_freed() {
        let (disposal, shelf) = (Disposal::default(), Arc::new(Shelf(parking_lot::Mutex::default(), 2)));
        disposal.hand_over(waste());
        assert_eq!((disposal.pending(), disposal.freed()), (0, 0), "nobody takes it");
        assert!(disposal.background.set(Box::new(Arc::clone(&shelf))).is_ok());
        for _ in 0..3 {
            disposal.hand_over(waste());
        }
        assert_eq!((disposal.pending(), disposal.freed()), (2, 0), "the third was one too many");
        shelf.0.lock().drain(..).for_each(Burden::free);
        assert_eq!((disposal.pending(), disposal.freed()), (0, 2));
        disposal.reset();
        assert_eq!(disposal.freed(), 0);
    }
}
