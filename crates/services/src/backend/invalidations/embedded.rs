//! The feed of a store in this process: a session that tracks, and a thread that takes its mail.
//!
//! The mail of a change is in the box when the call that made it returns, so what is empty has told everything.

use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redpoll_resp::Value;
use redpoll_store::{Connection, Store};

use super::{Reading, Watcher, tracking};

/// How long the thread waits for mail before it looks whether it is still wanted, and for what.
const TURN: Duration = Duration::from_millis(50);

/// Most messages taken before a heartbeat is given up; the next one comes soon.
const MESSAGES_MAX: usize = 10_000;

/// Begins to read.
pub(super) fn spawn(reading: Reading, store: Store) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name("redpoll-invalidations".to_owned())
        .spawn(move || while listen(&reading, &store) {})
        .expect("the system has a thread left")
}

/// Reads until the session is cut off, then true; false if there is nothing to read for.
fn listen(reading: &Reading, store: &Store) -> bool {
    let mut connection = store.connect();
    let mut covered = BTreeSet::new();
    let mut verified = Instant::now();
    loop {
        let at = Instant::now();
        {
            let Some(feed) = reading.feed.upgrade() else { return false };
            let new: Vec<_> = feed.prefixes().into_iter().filter(|prefix| !covered.contains(prefix)).collect();
            if !new.is_empty() {
                if let Value::Error(line) = connection.call(&tracking(&new)) {
                    feed.each(|watcher| watcher.refused(&line));
                    return false;
                }
                feed.began(&new, at);
                covered.extend(new);
            }
        }
        if !take(&mut connection, reading, TURN) {
            break;
        }
        if at.duration_since(verified) >= TURN {
            match drained(&mut connection, reading) {
                Some(true) => {
                    // Mail of what was done before `at` lay there before it was taken.
                    verified = at;
                    let Some(feed) = reading.feed.upgrade() else { return false };
                    feed.each(|watcher| watcher.verified(at));
                }
                Some(false) => {}
                None => break,
            }
        }
    }
    if let Some(feed) = reading.feed.upgrade() {
        feed.each(Watcher::lost);
    }
    true
}

/// Takes what there is; none if the session is cut off, false if there is too much.
fn drained(connection: &mut Connection, reading: &Reading) -> Option<bool> {
    for _ in 0..MESSAGES_MAX {
        match connection.receive(Duration::ZERO) {
            Ok(Some(message)) => pass_on(reading, &message),
            Ok(None) => return Some(true),
            Err(_) => return None,
        }
    }
    Some(false)
}

/// Waits for one message; false if the session is cut off.
fn take(connection: &mut Connection, reading: &Reading, wait: Duration) -> bool {
    match connection.receive(wait) {
        Ok(Some(message)) => pass_on(reading, &message),
        Ok(None) => {}
        Err(_) => return false,
    }
    true
}

fn pass_on(reading: &Reading, message: &Value) {
    if let Some([kind, news, ..]) = message.as_array()
        && let Some(feed) = reading.feed.upgrade()
    {
        feed.pushed(kind.as_bytes().unwrap_or_default(), news);
    }
}
