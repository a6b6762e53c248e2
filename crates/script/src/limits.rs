//! What keeps a script from running too long or growing too large.
//!
//! Time: Lua calls a hook every so many instructions; the hook asks the host, though not more often than every
//! [`QUESTION_INTERVAL`], and a kill is raised as an error that the sandbox's `pcall` and `xpcall` pass on instead of catching. Once
//! killed, every further hook raises again. An instruction can be a library call that takes long. Functions that repeat steps
//! without end in sight (pattern matching above all) ask every few thousand steps, by [`Shared::interrupted`]; those that handle
//! much data in one go account for it by [`Shared::spend`].
//!
//! Memory: the allocator of the Lua state refuses to grow past the limit. Under a limit every single operation of the binding is
//! protected at considerable cost, so [`Unlimited`] lifts it while Rust code works on Lua values; that code checks by
//! [`Unlimited::check`] whenever it creates something a script chose the size of.
//!
//! The host is borrowed for one run, while the hook and most library functions live as long as the state. They reach it through
//! the bridge: a function created for the run, called after leaving a [`Request`] behind.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mlua::{Function, Lua};
use parking_lot::Mutex;

use crate::errors::{self, Failure, Raise};
use crate::host::{Host, Interrupt, LogLevel, Protocol, Replication};

/// The longest string a library function builds in one go, whatever the memory limit: the longest value a key can hold.
pub(crate) const MAX_STRING_BYTES: usize = 512 * 1024 * 1024;

/// The least time between two questions to the host: asking costs as much as a hundred instructions.
const QUESTION_INTERVAL: Duration = Duration::from_millis(1);

/// Work, in units of about 10 ns, after which a question to the host is due.
const WORK_PER_CHECK: usize = 50_000;

/// What a function that outlives the run asks of the run's host.
#[derive(Debug)]
pub(crate) enum Request {
    Interrupt,
    Log(LogLevel, Vec<u8>),
    Replicate(Replication),
    Permits(Vec<Vec<u8>>),
}

/// The host's answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Done,
    Interrupt(Interrupt),
    Permits(Option<bool>),
}

impl Request {
    /// Puts the request to the host.
    pub(crate) fn serve(self, host: &mut dyn Host) -> Answer {
        match self {
            Request::Interrupt => Answer::Interrupt(host.interrupt()),
            Request::Log(level, message) => {
                host.log(level, &message);
                Answer::Done
            }
            Request::Replicate(replication) => {
                host.set_replication(replication);
                Answer::Done
            }
            Request::Permits(args) => {
                let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                Answer::Permits(host.permits(&args))
            }
        }
    }
}

/// State shared by the engine and the functions living inside Lua.
pub(crate) struct Shared {
    memory_limit: usize,
    killed: AtomicBool,
    /// The last question found no room on Lua's stack.
    question_failed: AtomicBool,
    work: AtomicUsize,
    last_question: Mutex<Option<Instant>>,
    resp3: AtomicU8,
    bridge: Mutex<Option<Function>>,
    request: Mutex<Option<Request>>,
    answer: Mutex<Option<Answer>>,
    failure: Mutex<Option<Failure>>,
}

impl Shared {
    pub(crate) fn new(memory_limit: usize) -> Shared {
        Shared {
            memory_limit,
            killed: AtomicBool::new(false),
            question_failed: AtomicBool::new(false),
            work: AtomicUsize::new(0),
            last_question: Mutex::new(None),
            resp3: AtomicU8::new(2),
            bridge: Mutex::new(None),
            request: Mutex::new(None),
            answer: Mutex::new(None),
            failure: Mutex::new(None),
        }
    }

    /// Prepares for a run whose host answers through `bridge`.
    pub(crate) fn begin(&self, bridge: Function) {
        self.killed.store(false, Ordering::Relaxed);
        self.resp3.store(2, Ordering::Relaxed);
        *self.bridge.lock() = Some(bridge);
    }

    /// Ends a run and hands over what escaped from it.
    pub(crate) fn end(&self) -> Option<Failure> {
        *self.bridge.lock() = None;
        *self.request.lock() = None;
        self.failure.lock().take()
    }

    pub(crate) fn protocol(&self) -> Protocol {
        if self.resp3.load(Ordering::Relaxed) == 3 { Protocol::Resp3 } else { Protocol::Resp2 }
    }

    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        self.resp3.store(if protocol == Protocol::Resp3 { 3 } else { 2 }, Ordering::Relaxed);
    }

    pub(crate) fn record(&self, failure: Failure) {
        *self.failure.lock() = Some(failure);
    }

    pub(crate) fn take_request(&self) -> Option<Request> {
        self.request.lock().take()
    }

    pub(crate) fn set_answer(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
    }

    /// Refuses to go on when `bytes` more would pass the memory limit.
    pub(crate) fn check_memory(&self, lua: &Lua, bytes: usize) -> mlua::Result<()> {
        if bytes > MAX_STRING_BYTES || lua.used_memory().saturating_add(bytes) > self.memory_limit {
            return Err(errors::out_of_memory());
        }
        Ok(())
    }

    /// Puts a request to the host of the current run.
    pub(crate) fn ask(&self, lua: &Lua, request: Request) -> mlua::Result<Answer> {
        // Not cloned: a clone takes a reference, of which a script can use up all.
        let bridge = self.bridge.lock();
        let Some(bridge) = bridge.as_ref() else {
            return Err(errors::bare_text("no script is running"));
        };
        *self.request.lock() = Some(request);
        let _unlimited = Unlimited::enter(lua, self);
        let called = bridge.call::<()>(());
        let unserved = self.request.lock().take();
        let answer = self.answer.lock().take();
        called?;
        debug_assert!(unserved.is_none(), "the bridge serves every request");
        answer.ok_or_else(|| errors::bare_text("no script is running"))
    }

    /// Accounts for work done outside Lua's instructions and asks the host when enough has come together.
    pub(crate) fn spend(&self, lua: &Lua, units: usize) -> mlua::Result<()> {
        let before = self.work.fetch_add(units, Ordering::Relaxed);
        if before.saturating_add(units) < WORK_PER_CHECK {
            return Ok(());
        }
        self.work.store(0, Ordering::Relaxed);
        self.interrupted(lua)
    }

    /// Asks the host whether the script may go on and raises the kill if not.
    pub(crate) fn interrupted(&self, lua: &Lua) -> mlua::Result<()> {
        if self.killed.load(Ordering::Relaxed) {
            return Err(mlua::Error::external(Raise::Killed(b"ERR Script killed.".to_vec())));
        }
        if self.bridge.lock().is_none() {
            // Between runs the only Lua code is the prelude's.
            return Ok(());
        }
        let now = Instant::now();
        let mut last = self.last_question.lock();
        if last.is_some_and(|last| now.duration_since(last) < QUESTION_INTERVAL) {
            return Ok(());
        }
        *last = Some(now);
        drop(last);
        match self.ask(lua, Request::Interrupt) {
            Ok(Answer::Interrupt(Interrupt::Kill(message))) => {
                self.killed.store(true, Ordering::Relaxed);
                Err(mlua::Error::external(Raise::Killed(message)))
            }
            // The instruction interrupted has filled the stack with values. The next one will not, unless on purpose.
            Err(mlua::Error::StackError) if !self.question_failed.swap(true, Ordering::Relaxed) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                self.question_failed.store(false, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

/// Lifts the memory limit of the Lua state until dropped.
pub(crate) struct Unlimited<'a> {
    lua: &'a Lua,
    shared: &'a Shared,
    previous: usize,
}

impl<'a> Unlimited<'a> {
    pub(crate) fn enter(lua: &'a Lua, shared: &'a Shared) -> Unlimited<'a> {
        let previous = lua.set_memory_limit(0).expect("the state uses the binding's own allocator");
        Unlimited { lua, shared, previous }
    }

    /// Refuses to go on when `bytes` more would pass the limit.
    pub(crate) fn check(&self, bytes: usize) -> mlua::Result<()> {
        self.shared.check_memory(self.lua, bytes)
    }
}

impl Drop for Unlimited<'_> {
    fn drop(&mut self) {
        self.lua.set_memory_limit(self.previous).expect("the state uses the binding's own allocator");
    }
}
