//! An engine without a store around it, driven command by command, with a clock that stands still unless told otherwise.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redpoll_commands::args::Args;
use redpoll_commands::blocking::{self, Resumed};
use redpoll_commands::client::Arrival;
use redpoll_commands::dispatch::{Outcome, dispatch};
use redpoll_commands::engine::{Clock, Engine};
use redpoll_commands::registry::Registry;
use redpoll_commands::session::Session;
use redpoll_commands::settings::{SETTINGS, Setting, SettingValue, Settings};
use redpoll_resp::{Protocol as Wire, Writer};
use redpoll_testkit::{Protocol, Reply, Target};

/// The client that a fresh or reset target uses.
const MAIN: &str = "main";

/// 2024-01-01, in microseconds.
const EPOCH_MICROS: u64 = 1_704_067_200_000_000;

/// Time that moves by one microsecond per look, and by what a transcript says.
struct TestClock(Arc<AtomicU64>);

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.micros() / 1000
    }

    fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn ticks(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) * 1000
    }

    fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as u64, Ordering::Relaxed);
    }
}

/// A client and what it is still to receive.
struct Client {
    session: Session,
    out: Writer,
    inbox: VecDeque<Reply>,
}

impl Client {
    /// Runs a command and puts everything it answers into the inbox.
    fn run(&mut self, engine: &Engine, args: &[Vec<u8>]) {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.out.clear();
        assert!(!self.session.is_blocked(), "a client sends nothing more before it has received what it waits for");
        let outcome = dispatch(engine, &mut self.session, Args(&args), &mut self.out, &mut engine.clock.moment());
        assert!(!matches!(outcome, Outcome::Paused(_)), "nothing pauses clients in a transcript");
        self.read_replies();
    }

    fn read_replies(&mut self) {
        let mut written = self.out.as_slice();
        while !written.is_empty() {
            self.inbox.push_back(Reply::read(&mut written).expect("a reply is well formed"));
        }
    }

    /// Takes the oldest thing from the inbox, or what others have sent.
    fn next(&mut self) -> Reply {
        self.inbox.pop_front().unwrap_or_else(|| match self.session.client.outbox.pop() {
            Some(message) => Reply::read(&mut &*message).expect("a message is well formed"),
            None => Reply::Error("nothing has been sent".into()),
        })
    }

    /// Takes the oldest thing, waiting for the reply to a command that blocks.
    fn receive(&mut self, engine: &Engine) -> Reply {
        if self.inbox.is_empty() && self.session.is_blocked() {
            self.out.clear();
            if let Resumed::Waiting(left) = blocking::resume(engine, &mut self.session, &mut self.out) {
                // Nobody else does anything meanwhile, so only time can end the wait.
                let left = left.expect("what is received has been sent or comes with time");
                engine.clock.sleep(left);
                assert_eq!(blocking::resume(engine, &mut self.session, &mut self.out), Resumed::Done);
            }
            self.read_replies();
        }
        self.next()
    }
}

/// An engine in this process.
pub(crate) struct InProcess {
    pub(crate) engine: Engine,
    micros: Arc<AtomicU64>,
    clients: HashMap<String, Client>,
    current: String,
}

impl InProcess {
    /// Makes an empty engine.
    pub(crate) fn new() -> InProcess {
        let micros = Arc::new(AtomicU64::new(EPOCH_MICROS));
        let clock = Box::new(TestClock(Arc::clone(&micros)));
        let registry = Registry::new(redpoll_commands::families());
        let settings = Settings::default();
        // As the redis-server that transcripts are recorded from: DEBUG is allowed.
        settings.put(&SETTINGS[Setting::EnableDebugCommand as usize], SettingValue::Number(2));
        let engine = Engine::new(registry, settings, clock, 0x5eed);
        let mut target = InProcess { engine, micros, clients: HashMap::new(), current: MAIN.to_owned() };
        target.set_protocol(Protocol::Resp2);
        target
    }

    fn connect(&mut self, protocol: Wire) {
        let session = self.engine.session(Arrival::embedded());
        session.client.protocol.store(if protocol == Wire::Resp3 { 3 } else { 2 }, Ordering::Relaxed);
        let client = Client { session, out: Writer::new(protocol), inbox: VecDeque::new() };
        let replaced = self.clients.insert(self.current.clone(), client);
        replaced.into_iter().for_each(|client| leave(&self.engine, client.session));
    }
}

/// Does what the store does when a client goes.
fn leave(engine: &Engine, mut session: Session) {
    session.end(engine);
}

impl Target for InProcess {
    fn call(&mut self, args: &[Vec<u8>]) -> Reply {
        let client = self.clients.get_mut(&self.current).expect("the current client is connected");
        // Like a client that reads on: what came before is left for later, the reply is the first thing that comes now.
        let before = std::mem::take(&mut client.inbox);
        client.run(&self.engine, args);
        assert!(!client.session.is_blocked(), "who may block is sent `>&`");
        let reply = client.next();
        let after = std::mem::replace(&mut client.inbox, before);
        client.inbox.extend(after);
        reply
    }

    fn send(&mut self, args: &[Vec<u8>]) {
        self.clients.get_mut(&self.current).expect("the current client is connected").run(&self.engine, args);
    }

    fn receive(&mut self) -> Reply {
        self.clients.get_mut(&self.current).expect("the current client is connected").receive(&self.engine)
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        self.connect(match protocol {
            Protocol::Resp2 => Wire::Resp2,
            Protocol::Resp3 => Wire::Resp3,
        });
    }

    fn reset(&mut self) {
        self.clients.drain().for_each(|(_, client)| leave(&self.engine, client.session));
        MAIN.clone_into(&mut self.current);
        self.set_protocol(Protocol::Resp2);
    }

    fn use_client(&mut self, name: &str) {
        self.current = name.to_owned();
        if !self.clients.contains_key(name) {
            self.connect(Wire::Resp2);
        }
    }

    fn advance(&mut self, ms: u64) {
        self.micros.fetch_add(ms * 1000, Ordering::Relaxed);
    }
}
