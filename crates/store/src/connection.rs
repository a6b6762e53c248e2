//! One caller's session on the store.

use std::sync::Arc;
use std::time::Duration;

use redpoll_commands::args::Args;
use redpoll_commands::client::Arrival;
use redpoll_commands::dispatch::{Outcome, dispatch};
use redpoll_commands::session::{ReplyMode, Session};
use redpoll_commands::transaction;
use redpoll_resp::{DecodeLimits, Protocol, Value, Writer, decode};

use crate::store::Inner;

/// A session of its own: selected database, transaction, buffers. Not shared between threads; make one per thread.
pub struct Connection {
    inner: Arc<Inner>,
    session: Session,
    out: Writer,
}

impl Connection {
    pub(crate) fn new(inner: Arc<Inner>) -> Connection {
        let mut session = inner.engine.session(Arrival::embedded());
        // A password keeps strangers out of the network, not the process out of its own store.
        session.authenticated = true;
        Connection { inner, session, out: Writer::new(Protocol::Resp3) }
    }

    /// Runs one command and returns its reply; an error reply is [`Value::Error`].
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let args: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
        let reply = self.call_raw(&args);
        match decode(reply, &DecodeLimits::default()) {
            Ok(Some((value, _))) => value,
            Ok(None) => Value::Nil,
            Err(error) => unreachable!("our own reply is well formed: {error}"),
        }
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

    /// Tells whether the session is as it began, so that somebody else can use it: database 0, no transaction, nothing watched, every reply wanted.
    pub(crate) fn is_pristine(&self) -> bool {
        let session = &self.session;
        let replies_as_usual = session.reply_mode == ReplyMode::On && self.out.protocol() == Protocol::Resp3;
        session.db == 0
            && replies_as_usual
            && !(session.in_transaction() || session.is_watching() || session.no_touch || session.closing)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        transaction::abandon(&self.inner.engine, &mut self.session);
        self.inner.engine.clients.leave(self.session.client.id);
    }
}
