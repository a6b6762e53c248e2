//! A connection: bytes in, commands, bytes out.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use redpoll_resp::{Access, Limits, Parse, Preview, Protocol, RequestParser, Writer};
use redpoll_store::Store;
use redpoll_store::commands::args::Args;
use redpoll_store::commands::blocking::{self, Resumed};
use redpoll_store::commands::client::Waker;
use redpoll_store::commands::dispatch::{AHEAD_MAX, Outcome, dispatch};
use redpoll_store::commands::output_limit::OutputClass;
use redpoll_store::commands::session::{CopyOf, Place, Relief, Session};
use redpoll_store::commands::settings::Setting;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::sync::{Notify, watch};

use crate::apart::Apart;
use crate::copy;
use crate::settling::Settling;
use crate::stream::Stream;
use sending::collect_mail;

mod sending;

/// Bytes read at a time.
const READ_SIZE: usize = 64 * 1024;

/// Reply bytes after which a batch is interrupted to send them.
const FLUSH_AT: usize = 256 * 1024;

/// Commands that must be waiting for looking ahead to be worth it.
const AHEAD_MIN: usize = 3;

/// How long, and for how many bytes, a client is listened to that has been told of a protocol error.
const LINGER_MAX: Duration = Duration::from_secs(1);
const DISCARDED_MAX: usize = 1 << 20;

thread_local! {
    /// The worker's buffers, used by whichever of its connections is at work: none is held across an await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// What a look at the received bytes led to.
pub(crate) enum Progress {
    /// All complete commands are done.
    Idle,
    /// Replies are waiting; send them and go on.
    Flush,
    /// CLIENT PAUSE holds the next command back for so long.
    Paused(Duration),
    /// The next command runs a script, which is not done here.
    Apart,
    /// A command waits for data, and what was sent behind it for the reply.
    Blocked,
    /// SYNC is to be answered with a copy of the data.
    Copy(CopyOf),
    /// The connection is to be closed after the replies.
    Close,
}

/// A connection being served.
pub(crate) struct Connection {
    store: Store,
    stream: Stream,
    session: Session,
    parser: RequestParser,
    /// Received bytes that are not used up: the beginning of a command, or commands held back.
    rest: Vec<u8>,
    out: Writer,
    /// Notified when something may have happened to the client: it was killed, or there is mail.
    woken: Arc<Notify>,
    /// What the client sent was no request: it is told so before the connection goes.
    lingers: bool,
    /// Where scripts are run.
    apart: Apart,
    /// Where replies to changes wait for the log.
    settling: Arc<Settling>,
}

impl Connection {
    pub(crate) fn new(
        store: Store,
        stream: Stream,
        slot: usize,
        apart: Apart,
        settling: Arc<Settling>,
    ) -> Box<Connection> {
        let engine = store.engine();
        let mut session = engine.session(stream.arrival());
        session.slot = slot;
        session.place = Place::Shared;
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        session.client.set_waker(Waker(Box::new(move || wake.notify_one())));
        stream.prepare(engine.settings.int(Setting::TcpKeepalive));
        let (parser, out) = (RequestParser::new(), Writer::new(Protocol::Resp2));
        let (rest, lingers) = (Vec::new(), false);
        Box::new(Connection { store, stream, session, parser, rest, out, woken, lingers, apart, settling })
    }

    /// Serves the connection until either side ends it.
    pub(crate) async fn run(mut self: Box<Self>, mut stopped: watch::Receiver<bool>) {
        let mut progress = Progress::Idle;
        let mut sent;
        while {
            // Replies in front of a script's are sent with them.
            sent = matches!(progress, Progress::Apart) || self.send_or_die().await;
            sent
        } {
            // Sending closes too, if the log refused what was to be answered.
            if matches!(progress, Progress::Close) || self.session.closing || self.session.client.is_killed() {
                break;
            }
            let woken = Arc::clone(&self.woken);
            progress = match progress {
                Progress::Flush => self.process_rest(),
                Progress::Copy(of) => {
                    match copy::send(&self.store, &mut self.stream, &self.session.client, &woken, of).await {
                        true => Progress::Flush,
                        false => break,
                    }
                }
                Progress::Apart => {
                    let apart = self.apart.clone();
                    let Some(after) = apart.run(self).await else { return };
                    self = after.connection;
                    after.progress
                }
                Progress::Paused(time) => {
                    let held = self.store.engine().pause.hold_back();
                    tokio::select! {
                        () = tokio::time::sleep(time) => {}
                        () = woken.notified() => {}
                    }
                    drop(held);
                    self.process_rest()
                }
                Progress::Blocked => match self.wait_for_data(&mut stopped).await {
                    Some(progress) => progress,
                    None => break,
                },
                // More mail than one write takes.
                Progress::Idle if self.session.client.outbox.has_mail() => Progress::Idle,
                Progress::Idle | Progress::Close => {
                    let idle_max = self.idle_seconds_max();
                    tokio::select! {
                        biased;
                        received = self.receive() => match received {
                            Ok(progress) => progress,
                            Err(_) => break,
                        },
                        () = woken.notified() => Progress::Idle,
                        _ = stopped.wait_for(|stop| *stop) => break,
                        () = sleep_if(idle_max) => break,
                    }
                }
            };
        }
        if sent && self.session.is_blocked() {
            tokio::time::timeout(LINGER_MAX, self.serve_at_the_last_moment()).await.ok();
        }
        self.stream.shutdown().await.ok();
        if self.lingers {
            tokio::time::timeout(LINGER_MAX, self.discard()).await.ok();
        }
    }

    /// Answers a blocked client that was served just before its end: what was popped for it is in the reply.
    async fn serve_at_the_last_moment(&mut self) {
        let last = blocking::resume(self.store.engine(), &mut self.session, &mut self.out);
        if last == Resumed::Done {
            self.settle().await;
            // The connection ends in any case.
            self.send().await.ok();
        }
    }

    /// Waits with a blocked client for its reply, which is sent before what stands behind is run; none if the connection is to end.
    async fn wait_for_data(&mut self, stopped: &mut watch::Receiver<bool>) -> Option<Progress> {
        // The wake may have come while earlier replies were sent.
        let left = match blocking::resume(self.store.engine(), &mut self.session, &mut self.out) {
            Resumed::Done => return Some(Progress::Flush),
            Resumed::Waiting(left) => left,
        };
        let woken = Arc::clone(&self.woken);
        tokio::select! {
            biased;
            () = woken.notified() => Some(Progress::Blocked),
            received = self.receive_behind() => received.ok().map(|()| self.check_rest(Progress::Blocked)),
            _ = stopped.wait_for(|stop| *stop) => None,
            () = sleep_at_most(left) => Some(Progress::Blocked),
        }
    }

    /// Returns after how many seconds of silence the client is closed; 0 for never. A subscriber may be silent.
    fn idle_seconds_max(&self) -> u64 {
        match self.session.client.output_class() {
            OutputClass::Pubsub => 0,
            _ => self.store.engine().settings.int(Setting::Timeout).unsigned_abs(),
        }
    }

    /// Reads and forgets until the client closes: closing with unread bytes would make the system take back the error they were answered with.
    async fn discard(&mut self) -> io::Result<()> {
        let mut buf = [0; 4096];
        let mut discarded = 0;
        while discarded < DISCARDED_MAX {
            match self.stream.read(&mut buf).await? {
                0 => break,
                count => discarded += count,
            }
        }
        Ok(())
    }

    /// Waits for bytes, reads them into the worker's buffer and runs the commands in them.
    async fn receive(&mut self) -> io::Result<Progress> {
        poll_fn(|task| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buf = ReadBuf::new(scratch);
                match Pin::new(&mut self.stream).poll_read(task, &mut buf) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                        Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
                    }
                    Poll::Ready(Ok(())) => {
                        let progress = self.process_received(buf.filled());
                        if !matches!(progress, Progress::Apart) {
                            self.send_now(task);
                        }
                        Poll::Ready(Ok(progress))
                    }
                }
            })
        })
        .await
    }

    /// Reads what a client sends behind a command that waits, which also tells that it has gone.
    async fn receive_behind(&mut self) -> io::Result<()> {
        poll_fn(|task| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buf = ReadBuf::new(scratch);
                std::task::ready!(Pin::new(&mut self.stream).poll_read(task, &mut buf))?;
                if buf.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                let input_bytes = &self.store.engine().stats.totals.input_bytes;
                input_bytes.fetch_add(buf.filled().len() as u64, Ordering::Relaxed);
                self.rest.extend_from_slice(buf.filled());
                Poll::Ready(Ok(()))
            })
        })
        .await
    }

    fn process_received(&mut self, received: &[u8]) -> Progress {
        self.store.engine().stats.totals.input_bytes.fetch_add(received.len() as u64, Ordering::Relaxed);
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(received);
            return self.process_rest();
        }
        let (progress, used) = self.process(received);
        self.keep(&received[used..], progress)
    }

    /// Runs the complete commands that were received, scripts too: on a thread that others can do without.
    pub(crate) fn process_apart(&mut self, relief: Arc<dyn Relief>) -> Progress {
        self.session.place = Place::Relieved(relief);
        let progress = self.process_rest();
        self.session.place = Place::Shared;
        progress
    }

    fn process_rest(&mut self) -> Progress {
        let mut rest = std::mem::take(&mut self.rest);
        let (progress, used) = self.process(&rest);
        rest.drain(..used);
        let needed = self.parser.needed();
        if rest.capacity() - rest.len() < needed.min(READ_SIZE) {
            // Twice as much as there is, but no more than is to come: a long argument takes its length in the end.
            rest.reserve_exact(needed.min(rest.capacity().max(READ_SIZE)));
        }
        self.rest = if rest.is_empty() { Vec::new() } else { rest };
        self.check_rest(progress)
    }

    fn keep(&mut self, rest: &[u8], progress: Progress) -> Progress {
        self.rest.extend_from_slice(rest);
        self.check_rest(progress)
    }

    /// Closes the connection if what it sent without completing a command is too much, or what it is to be sent.
    fn check_rest(&mut self, progress: Progress) -> Progress {
        let client = &self.session.client;
        if self.store.engine().settings.output_limits.of(client.output_class()).is_hard(self.out.len()) {
            client.cut_off();
            self.out.clear();
            return Progress::Close;
        }
        let arguments = self.parser.taken_apart().min(self.rest.len());
        client.query_buffer.set(self.rest.len() - arguments);
        client.query_free.set(self.rest.capacity() - self.rest.len());
        client.arguments.set(arguments + self.parser.kept_bytes());
        self.store.engine().bound_clients();
        if self.rest.len() > self.store.engine().settings.size(Setting::ClientQueryBufferLimit) {
            tracing::warn!(client = client.id, "closing a client that reached its query buffer limit");
            return Progress::Close;
        }
        progress
    }

    /// Runs the complete commands in a buffer; returns how many bytes were used up.
    fn process(&mut self, buf: &[u8]) -> (Progress, usize) {
        if self.session.client.is_killed() {
            // What came with the end or after it is not run any more.
            return (Progress::Close, buf.len());
        }
        let engine = self.store.engine();
        let limits = limits(&engine.settings, self.session.authenticated);
        let mut moment = engine.clock.moment();
        let (mut used, mut previewed) = (0, 0);
        while used < buf.len() {
            if used >= previewed {
                previewed = used + self.look_ahead(&buf[used..]);
            }
            match self.parser.parse(&buf[used..], &limits) {
                Parse::Incomplete => break,
                Parse::Empty { consumed } => used += consumed,
                Parse::Error(error) => {
                    self.out.error(error.reply_line());
                    self.lingers = true;
                    return (Progress::Close, buf.len());
                }
                Parse::Complete { consumed } => {
                    let args = self.parser.args(&buf[used..]);
                    let was_authenticated = self.session.authenticated;
                    match dispatch(engine, &mut self.session, Args(&args), &mut self.out, &mut moment) {
                        // A command's reply stands before what it caused to be sent to its own client.
                        Outcome::Done => {
                            used += consumed;
                            collect_mail(&self.session.client, &mut self.out);
                        }
                        Outcome::Apart => return (Progress::Apart, used),
                        Outcome::Blocked => return (Progress::Blocked, used + consumed),
                        Outcome::Paused(until) => {
                            return (
                                Progress::Paused(Duration::from_millis(until.saturating_sub(moment.now).clamp(1, 100))),
                                used,
                            );
                        }
                    }
                    if self.session.closing || self.session.client.is_killed() {
                        return (Progress::Close, used);
                    }
                    if let Some(of) = self.session.copy_due.take() {
                        return (Progress::Copy(of), used);
                    }
                    if self.out.len() >= FLUSH_AT || self.session.authenticated != was_authenticated {
                        return (Progress::Flush, used);
                    }
                }
            }
        }
        (Progress::Idle, used)
    }

    /// Has memory ask for the keys of the next commands of a pipeline; returns how many bytes need not be looked at again.
    fn look_ahead(&self, buf: &[u8]) -> usize {
        let mut preview = Preview::new(buf);
        let mut keys: SmallVec<[&[u8]; AHEAD_MAX]> = SmallVec::new();
        for key in preview.by_ref() {
            // What the command before uses is loaded anyway.
            if keys.last() != Some(&key) {
                keys.push(key);
                if keys.len() == AHEAD_MAX {
                    break;
                }
            }
        }
        if keys.len() < AHEAD_MIN {
            return buf.len();
        }
        self.store.engine().keyspace.ask_for(self.session.db, &keys);
        preview.seen()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.session.end(self.store.engine());
    }
}

fn limits(settings: &redpoll_store::commands::settings::Settings, authenticated: bool) -> Limits {
    Limits {
        max_bulk_len: settings.size(Setting::ProtoMaxBulkLen),
        access: if authenticated { Access::Authenticated } else { Access::Unauthenticated },
        ..Limits::default()
    }
}

/// Sleeps for so many seconds; for ever if zero.
async fn sleep_if(seconds: u64) {
    match seconds {
        0 => std::future::pending().await,
        seconds => tokio::time::sleep(Duration::from_secs(seconds)).await,
    }
}

/// Sleeps for so long; for ever if there is no end.
async fn sleep_at_most(time: Option<Duration>) {
    match time {
        None => std::future::pending().await,
        Some(time) => tokio::time::sleep(time).await,
    }
}
