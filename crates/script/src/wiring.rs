//! The way from EVAL to the engine and from `redis.call` back to the command table.
//!
//! There is one Lua state. A script holds the gate to the keyspace exclusively while it runs, so scripts never wait for each other on the state's own lock;
//! that lock only keeps SCRIPT LOAD and FLUSH apart from a run. SCRIPT KILL touches neither: it raises a flag that the running script's
//! instruction hook reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use redpoll_commands::REDIS_VERSION;
use redpoll_commands::args::Args;
use redpoll_commands::cx::Cx;
use redpoll_commands::dispatch::call_from_script;
use redpoll_commands::engine::{ScriptCall, ScriptName, Scripting};
use redpoll_commands::error::{Error, NO_SCRIPT};
use redpoll_commands::settings::{Setting, Settings};
use redpoll_resp::{Protocol as Wire, Writer};

use crate::{Engine, EngineConfig, Host, Interrupt, Invocation, LogLevel, Origin, Outcome, Protocol, Sha, parse_sha};

/// Makes the scripting half of a store.
pub fn scripting(settings: &Settings) -> Box<dyn Scripting> {
    let version = REDIS_VERSION.split('.').map(|part| part.parse().expect("a version is three small numbers"));
    let version = version.collect::<Vec<u8>>().try_into().expect("a version is three small numbers");
    let memory_limit = settings.size(Setting::LuaMemoryLimit);
    let engine = Engine::new(EngineConfig { memory_limit, version, ..EngineConfig::default() });
    Box::new(Scripts {
        engine: Mutex::new(engine),
        run: Arc::default(),
        count: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
    })
}

/// The engine and what others may know of a run without waiting for it.
struct Scripts {
    engine: Mutex<Engine>,
    run: Arc<Run>,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

/// The state of the current run, if there is one.
#[derive(Debug, Default)]
struct Run {
    running: AtomicBool,
    wrote: AtomicBool,
    kill: AtomicBool,
}

impl Scripts {
    /// Notes the sizes that INFO reports.
    fn measure(&self, engine: &Engine) {
        self.count.store(engine.script_count(), Ordering::Relaxed);
        self.bytes.store(engine.used_memory(), Ordering::Relaxed);
    }
}

impl Scripting for Scripts {
    fn run(&self, cx: &mut Cx<'_, '_>, call: &ScriptCall<'_>) -> Result<(), Error> {
        let mut engine = self.engine.lock();
        let sha = match call.script {
            ScriptName::Body(body) => {
                let known = engine.script_count();
                let sha = engine.load(body, Origin::Eval).map_err(|error| Error::from(error.to_string()))?;
                if engine.script_count() != known {
                    self.measure(&engine);
                }
                sha
            }
            ScriptName::Sha(sha) => parse_sha(sha).ok_or(NO_SCRIPT)?,
        };
        let flags = engine.flags(&sha).ok_or(NO_SCRIPT)?;
        if call.read_only && flags.declared && !flags.no_writes {
            return Err(Error::Text("ERR Can not execute a script with write flag using *_ro command."));
        }
        let protocol = match cx.out.protocol() {
            Wire::Resp2 => Protocol::Resp2,
            Wire::Resp3 => Protocol::Resp3,
        };
        let db = cx.db.db();
        let mut reply = Vec::new();
        let limit_ms = cx.engine.settings.int(Setting::LuaTimeLimit).unsigned_abs();
        let started = cx.engine.clock.ticks();
        self.run.running.store(true, Ordering::Release);
        let invocation = Invocation { keys: call.keys, args: call.args, protocol };
        let read_only = call.read_only || flags.no_writes;
        let mut host = Caller { run: &self.run, read_only, limit_ms, started, spare: Vec::new(), cx };
        let outcome = engine.run(&sha, &invocation, &mut host, &mut reply);
        for flag in [&self.run.running, &self.run.wrote, &self.run.kill] {
            flag.store(false, Ordering::Release);
        }
        // A script that selected another database leaves its caller where it was.
        cx.session.db = db;
        cx.db.select(db);
        if outcome != Outcome::Finished {
            self.measure(&engine);
        }
        cx.out.raw(&reply);
        Ok(())
    }

    fn load(&self, body: &[u8]) -> Result<String, Error> {
        let mut engine = self.engine.lock();
        let sha: Sha = engine.load(body, Origin::Load).map_err(|error| Error::from(error.to_string()))?;
        self.measure(&engine);
        Ok(String::from_utf8_lossy(&sha).into_owned())
    }

    fn exists(&self, sha: &[u8]) -> bool {
        parse_sha(sha).is_some_and(|sha| self.engine.lock().exists(&sha))
    }

    fn flush(&self) {
        let mut engine = self.engine.lock();
        engine.flush();
        self.measure(&engine);
    }

    fn size(&self) -> (usize, usize) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    fn kill(&self) -> Result<(), Error> {
        if !self.run.running.load(Ordering::Acquire) {
            return Err(Error::Text("NOTBUSY No scripts in execution right now."));
        }
        if self.run.wrote.load(Ordering::Acquire) {
            return Err(Error::Text(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            ));
        }
        self.run.kill.store(true, Ordering::Release);
        Ok(())
    }
}

/// What one run reaches: the command table under the locks of the EVAL that called it.
struct Caller<'r, 'x, 'a, 'g> {
    run: &'r Run,
    read_only: bool,
    limit_ms: u64,
    started: u64,
    /// Buffer of the replies, so that a call allocates none.
    spare: Vec<u8>,
    cx: &'x mut Cx<'a, 'g>,
}

impl Host for Caller<'_, '_, '_, '_> {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, reply: &mut Vec<u8>) {
        let wire = match protocol {
            Protocol::Resp2 => Wire::Resp2,
            Protocol::Resp3 => Wire::Resp3,
        };
        let mut out = Writer::with_buffer(std::mem::take(&mut self.spare), wire);
        out.clear();
        let dirty = self.cx.db.effects.dirty;
        call_from_script(self.cx, Args(args), self.read_only, &mut out);
        if self.cx.db.effects.dirty != dirty {
            self.run.wrote.store(true, Ordering::Release);
        }
        reply.extend_from_slice(out.as_slice());
        self.spare = out.take();
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        let message = String::from_utf8_lossy(message);
        match level {
            LogLevel::Debug | LogLevel::Verbose => tracing::debug!(target: "script", "{message}"),
            LogLevel::Notice => tracing::info!(target: "script", "{message}"),
            LogLevel::Warning => tracing::warn!(target: "script", "{message}"),
        }
    }

    fn permits(&mut self, args: &[&[u8]]) -> Option<bool> {
        self.cx.engine.registry.resolve(Args(args)).ok().map(|_| true)
    }

    fn interrupt(&mut self) -> Interrupt {
        if self.run.kill.load(Ordering::Acquire) {
            return Interrupt::Kill(b"ERR Error running script: Script killed by user with SCRIPT KILL.".to_vec());
        }
        let elapsed_ms = (self.cx.engine.clock.ticks() - self.started) / 1_000_000;
        if self.limit_ms > 0 && elapsed_ms > self.limit_ms {
            let text =
                format!("ERR Script stopped after {elapsed_ms} ms (lua-time-limit); changes it made until then stay");
            return Interrupt::Kill(text.into_bytes());
        }
        Interrupt::Continue
    }
}
