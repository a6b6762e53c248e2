//! The thread that frees what takes long to free, so that no client and no lock waits for it.
//!
//! It takes burdens from a queue, in order. The queue is bounded: who finds it full frees the burden himself, which slows down those who make more waste
//! than one thread can free. When the store goes, what is still queued is freed before the thread ends.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use redpoll_commands::disposal::{Background, Burden};

/// Most burdens that wait.
const QUEUE_MAX: usize = 4096;

/// The thread; it ends when this is dropped.
pub(crate) struct Disposer {
    queue: Option<SyncSender<Burden>>,
    thread: Option<JoinHandle<()>>,
}

impl Disposer {
    pub(crate) fn start() -> std::io::Result<Disposer> {
        let (queue, burdens) = sync_channel::<Burden>(QUEUE_MAX);
        let free_all = move || burdens.into_iter().for_each(Burden::free);
        let thread = std::thread::Builder::new().name("redpoll-disposer".into()).spawn(free_all)?;
        Ok(Disposer { queue: Some(queue), thread: Some(thread) })
    }
}

impl Background for Disposer {
    fn take(&self, burden: Burden) -> Option<Burden> {
        let queue = self.queue.as_ref().expect("it is only taken away when this is dropped");
        match queue.try_send(burden) {
            Ok(()) => None,
            Err(TrySendError::Full(burden) | TrySendError::Disconnected(burden)) => Some(burden),
        }
    }
}

impl Drop for Disposer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
