//! Being told which keys change, wherever they are changed from.
//!
//! [`Backend::invalidations`] registers a [`Watcher`] for a prefix of keys. One feed a backend serves all watchers: a
//! connection of its own to every server that holds keys, on which the server is asked for `CLIENT TRACKING ON BCAST
//! PREFIX …` (RESP3), and within the process a session of the store.
//!
//! ```text
//! began ─► changed(key)* ─► verified(at) ─► changed(key)* … lost ─► (connect again) ─► began
//! ```
//!
//! Between `began` and `lost` a watcher is told of every change of a key with its prefix, expiry and eviction included.
//! What happened before `began` it may have missed. **Gaps are found**: every [`HEARTBEAT`] each connection has to
//! answer a PING, and a server answers in the order in which it tells; so `verified(at)` says that everything acknowledged
//! before `at` has been told, also when nothing was. A connection that ends is `lost` at once, one that stays silent
//! after [`PATIENCE`]; who goes by `verified` alone is right even if this process was stopped for an hour.
//!
//! On a Cluster there is a connection to every master. Which masters there are is asked with each heartbeat, before it
//! counts; when they are others, the feed is lost and begins anew.
//!
//! A server that refuses (no RESP3, no CLIENT TRACKING, no right to it) is told to the watchers as such, and asked again
//! now and then. Not here: what the watchers keep.

mod embedded;
mod remote;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redpoll_resp::Value;
use tokio::sync::Notify;

use super::nodes::Nodes;
use super::{Backend, Transport};
use crate::error::{Error, Result};

/// How often a silent connection is asked whether it is one.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a connection may take to answer.
pub const PATIENCE: Duration = Duration::from_millis(1000);

/// Most prefixes that are watched at once: a server looks at each of them for every change of any key.
pub const MAX_PREFIXES: usize = 256;

/// Who wants to know of changes.
///
/// The functions are called by whoever reads a connection, and must not wait.
pub trait Watcher: Send + Sync {
    /// From now on every change is told; none before `at` is known.
    fn began(&self, at: Instant);
    /// A key was written, deleted, evicted or has expired.
    fn changed(&self, key: &[u8]);
    /// Everything may have changed, and whatever changes next is told as well.
    fn all_changed(&self);
    /// What was acknowledged before `at` has been told.
    fn verified(&self, at: Instant);
    /// Changes may be missed from now on.
    fn lost(&self);
    /// The server does not do this, and says why.
    fn refused(&self, reason: &str);
}

/// Watchers by prefix, and whoever reads for them.
#[derive(Default)]
pub(super) struct Feed {
    watchers: RwLock<BTreeMap<Vec<u8>, Weak<dyn Watcher>>>,
    /// Rung when there is a new prefix.
    news: Arc<Notify>,
    reads: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Feed")
    }
}

impl Backend {
    /// Tells `watcher` of changes of the keys that begin with `prefix`, for as long as both live. Prefixes must not
    /// begin with one another. Registering a prefix again replaces its watcher.
    ///
    /// Returns at once; the watcher is told when it begins. Must be called within a tokio runtime, whose end ends the
    /// feed; the next call of [`Backend::read_invalidations`] begins it anew.
    pub fn invalidations(&self, prefix: &str, watcher: Weak<dyn Watcher>) -> Result<()> {
        let feed = &self.inner.feed;
        {
            let mut watchers = feed.watchers.write().expect("nothing panics while holding the lock");
            watchers.retain(|_, watcher| watcher.strong_count() > 0);
            if watchers.len() >= MAX_PREFIXES && !watchers.contains_key(prefix.as_bytes()) {
                return Err(Error::invalid("prefix", format_args!("more than {MAX_PREFIXES} are watched")));
            }
            watchers.insert(prefix.as_bytes().to_vec(), watcher);
        }
        feed.news.notify_one();
        self.read_invalidations();
        Ok(())
    }

    /// Makes sure that somebody reads for the watchers. Costs a look at a flag if so.
    pub fn read_invalidations(&self) {
        let feed = &self.inner.feed;
        if feed.reads.load(Ordering::Relaxed) || feed.reads.swap(true, Ordering::AcqRel) {
            return;
        }
        let reading = Reading { reads: Arc::clone(&feed.reads), feed: Arc::downgrade(feed) };
        match &self.inner.transport {
            Transport::Embedded(embedded) => {
                let thread = embedded::spawn(reading, embedded.store().clone());
                *feed.thread.lock().expect("nothing panics while holding the lock") = Some(thread);
            }
            Transport::Remote(remote) => remote::spawn(reading, remote.nodes(), &self.inner.config),
            Transport::Sentinel(sentinel) => {
                remote::spawn(reading, Nodes::Master { sentinel: Arc::clone(sentinel) }, &self.inner.config);
            }
            Transport::Cluster(cluster) => remote::spawn(reading, cluster.nodes(), &self.inner.config),
        }
    }
}

impl Feed {
    /// Returns the prefixes that are watched.
    fn prefixes(&self) -> Vec<Vec<u8>> {
        let watchers = self.watchers.read().expect("nothing panics while holding the lock");
        watchers.iter().filter(|(_, watcher)| watcher.strong_count() > 0).map(|(prefix, _)| prefix.clone()).collect()
    }

    fn each(&self, tell: impl Fn(&(dyn Watcher + 'static))) {
        let watchers: Vec<_> = {
            let watchers = self.watchers.read().expect("nothing panics while holding the lock");
            watchers.values().filter_map(Weak::upgrade).collect()
        };
        watchers.iter().for_each(|watcher| tell(&**watcher));
    }

    fn began(&self, prefixes: &[Vec<u8>], at: Instant) {
        for prefix in prefixes {
            if let Some(watcher) = self.watcher(prefix) {
                watcher.began(at);
            }
        }
    }

    /// Passes on what a server has pushed: `invalidate` and keys, or nothing for all of them.
    fn pushed(&self, kind: &[u8], news: &Value) {
        if kind != b"invalidate" {
            return;
        }
        match news.as_array() {
            None => self.each(Watcher::all_changed),
            Some(keys) => {
                for key in keys.iter().filter_map(Value::as_bytes) {
                    if let Some(watcher) = self.watcher(key) {
                        watcher.changed(key);
                    }
                }
            }
        }
    }

    /// Finds who watches a key: the greatest prefix that is not above it, since none begins with another.
    fn watcher(&self, key: &[u8]) -> Option<Arc<dyn Watcher>> {
        let watchers = self.watchers.read().expect("nothing panics while holding the lock");
        let range = (Bound::Unbounded, Bound::Included(key));
        let (prefix, watcher) = watchers.range::<[u8], _>(range).next_back()?;
        key.starts_with(prefix).then(|| watcher.upgrade()).flatten()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The thread keeps the store open; whoever drops the backend may want to open its directory again.
        let thread = self.thread.lock().expect("nothing panics while holding the lock").take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            thread.join().ok();
        }
    }
}

/// The right to read for a feed; given up with the value, so that somebody else can.
struct Reading {
    reads: Arc<AtomicBool>,
    feed: Weak<Feed>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(feed) = self.feed.upgrade() {
            feed.each(Watcher::lost);
        }
        self.reads.store(false, Ordering::Release);
    }
}

/// Makes the arguments of CLIENT TRACKING for further prefixes.
fn tracking(prefixes: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut args: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
    for prefix in prefixes {
        args.extend([&b"PREFIX"[..], prefix]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Notes {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }
    }

    impl Watcher for Notes {
        fn began(&self, _: Instant) {
            self.note("began".into());
        }
        fn changed(&self, key: &[u8]) {
            self.note(String::from_utf8_lossy(key).into_owned());
        }
        fn all_changed(&self) {
            self.note("all".into());
        }
        fn verified(&self, _: Instant) {}
        fn lost(&self) {
            self.note("lost".into());
        }
        fn refused(&self, reason: &str) {
            self.note(reason.into());
        }
    }

    #[test]
    fn a_key_is_told_to_whom_it_concerns() {
        let feed = Feed::default();
        let (ours, theirs) = (Arc::new(Notes::default()), Arc::new(Notes::default()));
        let watch = |prefix: &str, notes: &Arc<Notes>| {
            let weak: Weak<dyn Watcher> = Arc::downgrade(&(Arc::clone(notes) as Arc<dyn Watcher>));
            feed.watchers.write().unwrap().insert(prefix.as_bytes().to_vec(), weak);
        };
        watch("rp:{a:cache:users:", &ours);
        watch("rp:{a:cache:users2:", &theirs);
        let keys = ["rp:{a:cache:users:07}:e", "rp:{a:cache:users2:07}:e", "rp:{a:cache:user", "zz", ""];
        let keys = keys.iter().map(|key| Value::Bulk(key.as_bytes().to_vec())).collect();
        feed.pushed(b"invalidate", &Value::Array(keys));
        feed.pushed(b"message", &Value::Nil);
        feed.pushed(b"invalidate", &Value::Nil);
        assert_eq!(*ours.0.lock().unwrap(), ["rp:{a:cache:users:07}:e", "all"]);
        assert_eq!(*theirs.0.lock().unwrap(), ["rp:{a:cache:users2:07}:e", "all"]);
        drop(theirs);
        assert_eq!(feed.prefixes().len(), 1, "who is gone is not read for");
    }
}
