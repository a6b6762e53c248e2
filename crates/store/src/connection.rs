//! One caller's session on the store.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redpoll_commands::args::Args;
use redpoll_commands::blocking;
use redpoll_commands::client::Waker;
use redpoll_commands::dispatch::{Outcome, dispatch};
use redpoll_commands::session::{ReplyMode, Session};
use redpoll_resp::{DecodeLimits, Protocol, Value, Writer, decode};
use smallvec::SmallVec;

use crate::Error;
use crate::housekeeper::Housekeeper;
use crate::store::Inner;

/// Room for the arguments of most commands.
const USUAL_ARGS: usize = 12;

/// A session of its own: selected database, transaction, buffers. Not shared between threads; make one per thread.
pub struct Connection {
    inner: Arc<Inner>,
    session: Session,
    out: Writer,
    bell: Option<Arc<Bell>>,
    /// A connection is as good as a handle: while one lives, the store is kept house for.
    _housekeeper: Arc<Housekeeper>,
}

/// What is told of messages.
type Neighbour = Box<dyn Fn() + Send + Sync>;

/// What a thread waits at for messages.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
    /// Who wants to hear it too, without a thread that waits.
    neighbour: OnceLock<Neighbour>,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.rings.notify_one();
        if let Some(neighbour) = self.neighbour.get() {
            neighbour();
        }
    }

    /// Waits until it has rung since the last time, at most until `deadline` (for ever, if there is none); false if it has not.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut rung = self.rung.lock();
        while !*rung {
            match deadline {
                None => self.rings.wait(&mut rung),
                Some(deadline) if self.rings.wait_until(&mut rung, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        std::mem::take(&mut *rung)
    }
}

impl Connection {
    pub(crate) fn new(inner: Arc<Inner>, housekeeper: Arc<Housekeeper>) -> Connection {
        let session = inner.engine.trusted_session();
        // What it is sent is encoded as its replies are.
        session.client.protocol.store(3, Ordering::Relaxed);
        Connection { inner, session, out: Writer::new(Protocol::Resp3), bell: None, _housekeeper: housekeeper }
    }

    /// Runs one command and returns its reply; an error reply is [`Value::Error`]. A command that waits for data (BLPOP) blocks the calling thread.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let args: SmallVec<[&[u8]; USUAL_ARGS]> = args.iter().map(AsRef::as_ref).collect();
        let reply = self.call_raw(&args);
        read(reply)
    }

    /// Runs one command and returns its reply as RESP3 bytes, valid until the next call.
    pub fn call_raw(&mut self, args: &[&[u8]]) -> &[u8] {
        self.out.clear();
        if args.is_empty() {
            self.out.error("ERR a command needs a name");
            return self.out.as_slice();
        }
        let engine = &self.inner.engine;
        loop {
            let mut moment = engine.clock.moment();
            match dispatch(engine, &mut self.session, Args(args), &mut self.out, &mut moment) {
                Outcome::Done => break,
                Outcome::Apart => unreachable!("a caller's thread is its own"),
                Outcome::Blocked => {
                    blocking::wait(engine, &mut self.session, &mut self.out);
                    break;
                }
                Outcome::Paused(until) => {
                    std::thread::sleep(Duration::from_millis(until.saturating_sub(moment.now).min(10)));
                }
            }
        }
        if let Err(failure) = self.inner.wait_for_log(self.session.log_offset) {
            self.out.clear();
            self.out.error(format!("MISCONF Errors writing to the AOF file: {failure}"));
        }
        self.out.as_slice()
    }

    /// Waits for something this connection is sent without having asked (a message of a channel, an invalidation), at most for `timeout`;
    /// none if nothing comes.
    ///
    /// # Errors
    /// [`Error::CutOff`] if the connection let too much wait.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Value>, Error> {
        let bell = self.bell();
        let client = &self.session.client;
        // A time too far to be represented never comes.
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(message) = client.outbox.pop() {
                return Ok(Some(read(&message)));
            }
            if client.is_killed() {
                return Err(Error::CutOff);
            }
            if !bell.wait(deadline) {
                return Ok(client.outbox.pop().map(|message| read(&message)));
            }
        }
    }

    /// Has `ring` called when there may be something for [`Connection::receive`], once for several, and once now; the first word counts.
    pub(crate) fn on_arrival(&mut self, ring: impl Fn() + Send + Sync + 'static) {
        let bell = self.bell();
        bell.neighbour.get_or_init(|| Box::new(ring));
        bell.ring();
    }

    fn bell(&mut self) -> Arc<Bell> {
        let bell = self.bell.get_or_insert_with(|| {
            let bell = Arc::<Bell>::default();
            let rope = Arc::clone(&bell);
            self.session.client.set_waker(Waker(Box::new(move || rope.ring())));
            bell
        });
        Arc::clone(bell)
    }

    /// Tells whether the session is as it began, so that somebody else can use it: database 0, no transaction, nothing watched, every reply wanted.
    pub(crate) fn is_pristine(&self) -> bool {
        let session = &self.session;
        let replies_as_usual = session.reply_mode == ReplyMode::On && self.out.protocol() == Protocol::Resp3;
        session.db == 0
            && replies_as_usual
            && !(session.in_transaction() || session.is_watching() || session.no_touch || session.closing)
            && !session.is_listening()
    }
}

/// Reads the first of our own replies.
fn read(reply: &[u8]) -> Value {
    match decode(reply, &DecodeLimits::default()) {
        Ok(Some((value, _))) => value,
        Ok(None) => Value::Nil,
        Err(error) => unreachable!("our own reply is well formed: {error}"),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.session.end(&self.inner.engine);
    }
}
