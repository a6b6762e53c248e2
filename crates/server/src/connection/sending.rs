//! Replies and mail on their way out: gathered, settled with the log, sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use redpoll_resp::Writer;
use redpoll_store::commands::blocking::{self, Resumed};
use redpoll_store::commands::client::Client;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Connection, FLUSH_AT};

/// Capacity of a reply buffer that is kept while the connection is idle.
const KEPT_REPLY: usize = 4 * 1024;

impl Connection {
    /// Sends replies and mail; false if the socket refuses, or if the client was killed while it did not read. One that kills itself gets its answer first.
    pub(super) async fn send_or_die(&mut self) -> bool {
        self.collect();
        // Before the end of the client is looked for: who was killed by its own command gets its answer.
        self.settle().await;
        let (woken, client) = (Arc::clone(&self.woken), Arc::clone(&self.session.client));
        let mut sending = std::pin::pin!(self.send());
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return sent.is_ok(),
                // What else it was woken for is looked at when everything is sent.
                () = woken.notified() => if client.is_killed() { return false },
            }
        }
    }

    /// Puts what the client has been sent behind its replies. A client that was served is told of the change which served it, and the reply comes first: mail
    /// that is there was put there after the answer, so the answer is looked for when the mail has been taken.
    pub(super) fn collect(&mut self) {
        if !self.session.is_blocked() {
            return collect_mail(&self.session.client, &mut self.out);
        }
        let mut mail = Writer::new(self.out.protocol());
        collect_mail(&self.session.client, &mut mail);
        // Whether it was served is asked again by who waits for it.
        let (Resumed::Done | Resumed::Waiting(_)) =
            blocking::resume(self.store.engine(), &mut self.session, &mut self.out);
        self.out.raw(mail.as_slice());
    }

    /// Tries to send the replies at once, without another turn of the task; what the socket does not take waits for [`Connection::send`].
    pub(super) fn send_now(&mut self, task: &mut Context<'_>) {
        if self.out.is_empty() || !self.stream.is_unbuffered() || self.unsettled().is_some() {
            return;
        }
        if let Poll::Ready(Ok(sent)) = Pin::new(&mut self.stream).poll_write(task, self.out.as_slice()) {
            self.store.engine().stats.totals.output_bytes.fetch_add(sent as u64, Ordering::Relaxed);
            if sent == self.out.len() {
                self.out.clear();
            } else {
                let protocol = self.out.protocol();
                self.out = Writer::with_buffer(self.out.as_slice()[sent..].to_vec(), protocol);
            }
        }
    }

    /// Sends what is left of the replies, which are [settled](Connection::settle).
    pub(super) async fn send(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let protocol = self.out.protocol();
        let mut buf = self.out.take();
        self.session.client.output_buffer.set(buf.len());
        self.store.engine().bound_clients();
        self.stream.write_all(&buf).await?;
        self.stream.flush().await?;
        self.session.client.output_buffer.set(0);
        self.store.engine().stats.totals.output_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        buf.clear();
        buf.shrink_to(KEPT_REPLY);
        self.out = Writer::with_buffer(buf, protocol);
        Ok(())
    }

    /// Returns up to which offset the log is to be settled before the replies may go out; none if they may now.
    fn unsettled(&self) -> Option<u64> {
        self.store.unsettled(self.session.log_offset)
    }

    /// Waits until the log has taken this connection's changes, so that the replies may go out; if the disk refuses, the replies become one error. A client that wants no replies has its
    /// changes taken all the same.
    pub(super) async fn settle(&mut self) {
        let Some(offset) = self.unsettled() else { return };
        if self.out.is_empty() {
            return self.settling.ask();
        }
        if let Err(failure) = self.settling.wait(&self.store, offset, self.session.client.id).await {
            self.out.clear();
            self.out.error(format!("MISCONF Errors writing to the AOF file: {failure}"));
            self.session.closing = true;
        }
    }
}

/// Puts a client's mail behind its replies, as much as one write takes.
#[inline]
pub(super) fn collect_mail(client: &Client, out: &mut Writer) {
    if client.outbox.has_mail() && out.len() < FLUSH_AT {
        client.outbox.take(FLUSH_AT - out.len(), |message| out.raw(message));
    }
}
