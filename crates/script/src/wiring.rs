//! The way from EVAL and FCALL to the engine and from `redis.call` back to the command table.
//!
//! There is one Lua state for scripts and one for libraries. Whatever uses a state holds the gate to the keyspace exclusively, so nobody waits on the
//! states' own locks, which only say so to the compiler. What must work while a script runs touches neither state: SCRIPT KILL raises a flag
//! that the instruction hook of the running script reads, FUNCTION STATS reads what the run has said about itself.
//!
//! As in Redis nothing stops a script by itself. When it has run for `busy-reply-threshold` it declares the engine busy, which sends everybody else
//! away with an error, and can be killed unless it has written: a script stopped in the middle leaves changes that belong together half done.
//! Who prefers that to a store that hangs sets `script-time-limit`.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;
use redpoll_commands::REDIS_VERSION;
use redpoll_commands::args::Args;
use redpoll_commands::cx::Cx;
use redpoll_commands::dispatch::{ScriptRights, call_from_script, script_may_run};
use redpoll_commands::engine::{
    Engine as Store, Existing as WantedExisting, Function as ListedFunction, Library as ListedLibrary, Loading,
    RestorePolicy, Running, ScriptCall, ScriptName, Scripting,
};
use redpoll_commands::error::{Error, NO_SCRIPT, NOT_BUSY, OUT_OF_MEMORY, TOO_FEW_REPLICAS, UNKILLABLE};
use redpoll_commands::session::Place;
use redpoll_commands::settings::{Setting, Settings};
use redpoll_commands::turn::ScriptKind;
use redpoll_resp::{Protocol as Wire, Writer};

use crate::shebang::declared_flags;
use crate::{
    Engine, EngineConfig, Existing, Functions, Host, Interrupt, Invocation, LogLevel, Origin, Outcome, Protocol,
    ScriptError, ScriptFlags, Sha, parse_sha,
};

/// How long a library may take to load, milliseconds.
const LOADING_MAX_MS: u64 = 500;

/// Makes the scripting half of a store.
pub fn scripting(settings: &Settings) -> Box<dyn Scripting> {
    let version = REDIS_VERSION.split('.').map(|part| part.parse().expect("a version is three small numbers"));
    let version = version.collect::<Vec<u8>>().try_into().expect("a version is three small numbers");
    let memory_limit = settings.size(Setting::LuaMemoryLimit);
    let config = EngineConfig { memory_limit, version, ..EngineConfig::default() };
    Box::new(Scripts {
        engine: Mutex::new(Engine::new(config.clone())),
        functions: Mutex::new(Functions::new(config)),
        run: Run::default(),
        sizes: Sizes::default(),
    })
}

/// The two states and what others may know of them and of a run without waiting.
struct Scripts {
    engine: Mutex<Engine>,
    functions: Mutex<Functions>,
    run: Run,
    sizes: Sizes,
}

/// The sizes that INFO and FUNCTION STATS report.
#[derive(Debug, Default)]
struct Sizes {
    scripts: AtomicUsize,
    script_bytes: AtomicUsize,
    libraries: AtomicUsize,
    functions: AtomicUsize,
    function_bytes: AtomicUsize,
}

/// The state of the current run, if there is one.
#[derive(Debug, Default)]
struct Run {
    /// A [`ScriptKind`], or 0.
    kind: AtomicU8,
    wrote: AtomicBool,
    kill: AtomicBool,
    /// Ended in the middle for good: nothing of it is logged.
    abandoned: AtomicBool,
    /// Filled in when the run has taken long.
    details: Mutex<Option<Running>>,
    /// What the last command that failed was answered.
    last_error: Mutex<Vec<u8>>,
}

impl Run {
    fn kind(&self) -> Option<ScriptKind> {
        let kind = self.kind.load(Ordering::Acquire);
        [ScriptKind::Script, ScriptKind::Function].into_iter().find(|known| *known as u8 == kind)
    }

    fn end(&self) {
        self.kind.store(0, Ordering::Release);
        self.wrote.store(false, Ordering::Release);
        self.kill.store(false, Ordering::Release);
        self.abandoned.store(false, Ordering::Release);
        *self.details.lock() = None;
    }
}

impl Scripts {
    fn measure(&self, engine: &Engine) {
        self.sizes.scripts.store(engine.script_count(), Ordering::Relaxed);
        self.sizes.script_bytes.store(engine.used_memory(), Ordering::Relaxed);
    }

    fn measure_functions(&self, functions: &Functions) {
        self.sizes.libraries.store(functions.libraries().len(), Ordering::Relaxed);
        self.sizes.functions.store(functions.function_count(), Ordering::Relaxed);
        self.sizes.function_bytes.store(functions.used_memory(), Ordering::Relaxed);
    }

    fn run_script(&self, cx: &mut Cx<'_, '_>, call: &ScriptCall<'_>, reply: &mut Vec<u8>) -> Result<(), Error> {
        let mut engine = self.engine.lock();
        let sha = match call.script {
            ScriptName::Body(body) => {
                let known = engine.script_count();
                let sha = engine.load(body, Origin::Eval).map_err(refused)?;
                if engine.script_count() != known {
                    self.measure(&engine);
                }
                sha
            }
            ScriptName::Sha(sha) | ScriptName::Function(sha) => parse_sha(sha).ok_or(NO_SCRIPT)?,
        };
        let flags = engine.flags(&sha).ok_or(NO_SCRIPT)?;
        let mut host = self.host(cx, call, ScriptKind::Script, flags, &sha)?;
        let outcome = engine.run(&sha, &host.invocation(), &mut host, reply);
        if outcome != Outcome::Finished {
            self.measure(&engine);
        }
        Ok(())
    }

    fn run_function(
        &self,
        cx: &mut Cx<'_, '_>,
        call: &ScriptCall<'_>,
        name: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut functions = self.functions.lock();
        let function = functions.find(name).ok_or(Error::Text("ERR Function not found"))?;
        let (flags, name) = (function.flags, function.name.clone());
        let mut host = self.host(cx, call, ScriptKind::Function, flags, &name)?;
        let outcome = functions.call(&name, &host.invocation(), &mut host, reply);
        if outcome != Outcome::Finished {
            self.measure_functions(&functions);
        }
        Ok(())
    }

    /// Checks what a script declares against what its caller and the store allow, and begins its run.
    fn host<'r, 'x, 'a, 'g>(
        &'r self,
        cx: &'x mut Cx<'a, 'g>,
        call: &'r ScriptCall<'r>,
        kind: ScriptKind,
        flags: ScriptFlags,
        name: &'r [u8],
    ) -> Result<Caller<'r, 'x, 'a, 'g>, Error> {
        if flags.declared {
            if !flags.no_writes
                && cx.engine.log_health.is_failing()
                && let Some(refusal) = cx.engine.log_health.refusal()
            {
                return Err(refusal);
            }
            if !flags.no_writes && cx.engine.lacks_replicas() {
                return Err(TOO_FEW_REPLICAS);
            }
            if call.read_only && !flags.no_writes {
                return Err(Error::Text("ERR Can not execute a script with write flag using *_ro command."));
            }
            if cx.engine.memory_full.load(Ordering::Relaxed) && !flags.allow_oom && !flags.no_writes {
                return Err(OUT_OF_MEMORY);
            }
        }
        let read_only = call.read_only || flags.no_writes;
        let rights = ScriptRights { read_only, allow_oom: flags.allow_oom, has_written: false };
        self.run.kind.store(kind as u8, Ordering::Release);
        let started = cx.engine.clock.ticks();
        Ok(Caller { run: &self.run, call, kind, name, rights, started, spare: Vec::new(), cx })
    }
}

/// The error a script ends with, which was counted where it came from if it is that of a command.
fn counted_once(error: &[u8], of_command: &[u8]) -> Error {
    if !of_command.is_empty() && error.starts_with(of_command) {
        Error::Counted(error.to_vec())
    } else {
        Error::Owned(error.to_vec())
    }
}

fn refused(error: ScriptError) -> Error {
    Error::Owned(error.text())
}

impl Scripting for Scripts {
    fn run(&self, cx: &mut Cx<'_, '_>, call: &ScriptCall<'_>) -> Result<(), Error> {
        let db = cx.db.db();
        let mut reply = Vec::new();
        let result = match call.script {
            ScriptName::Function(name) => self.run_function(cx, call, name, &mut reply),
            ScriptName::Body(_) | ScriptName::Sha(_) => self.run_script(cx, call, &mut reply),
        };
        if self.run.abandoned.load(Ordering::Acquire) {
            cx.journal.clear();
        }
        let last_error = std::mem::take(&mut *self.run.last_error.lock());
        self.run.end();
        // A script that selected another database leaves its caller where it was.
        cx.session.db = db;
        cx.db.select(db);
        result?;
        if let Some(error) = reply.strip_prefix(b"-") {
            return Err(counted_once(error.strip_suffix(b"\r\n").unwrap_or(error), &last_error));
        }
        cx.out.raw(&reply);
        Ok(())
    }

    fn load(&self, body: &[u8]) -> Result<String, Error> {
        let mut engine = self.engine.lock();
        let sha: Sha = engine.load(body, Origin::Load).map_err(refused)?;
        self.measure(&engine);
        Ok(String::from_utf8_lossy(&sha).into_owned())
    }

    fn exists(&self, sha: &[u8]) -> bool {
        parse_sha(sha).is_some_and(|sha| self.engine.lock().exists(&sha))
    }

    fn only_reads(&self, script: ScriptName<'_>) -> bool {
        let flags = match script {
            ScriptName::Body(body) => declared_flags(body),
            ScriptName::Sha(sha) => parse_sha(sha).and_then(|sha| self.engine.lock().flags(&sha)),
            ScriptName::Function(name) => self.functions.lock().find(name).map(|function| function.flags),
        };
        flags.is_some_and(|flags| flags.no_writes)
    }

    fn flush(&self) {
        let mut engine = self.engine.lock();
        engine.flush();
        self.measure(&engine);
    }

    fn size(&self) -> (usize, usize) {
        let bytes = self.sizes.script_bytes.load(Ordering::Relaxed) + self.sizes.function_bytes.load(Ordering::Relaxed);
        (self.sizes.scripts.load(Ordering::Relaxed), bytes)
    }

    fn kill(&self, kind: ScriptKind) -> Result<(), Error> {
        let running = self.run.kind().ok_or(NOT_BUSY)?;
        if running != kind {
            return Err(running.busy());
        }
        if self.run.wrote.load(Ordering::Acquire) {
            return Err(UNKILLABLE);
        }
        self.run.kill.store(true, Ordering::Release);
        Ok(())
    }

    fn abandon(&self) {
        self.run.abandoned.store(self.run.kind().is_some(), Ordering::Release);
    }

    fn running(&self) -> Option<(ScriptKind, Running)> {
        self.run.kind().zip(self.run.details.lock().clone())
    }

    fn load_library(&self, code: &[u8], existing: WantedExisting, loading: &Loading<'_>) -> Result<Vec<u8>, Error> {
        let existing = match existing {
            WantedExisting::Refuse => Existing::Refuse,
            WantedExisting::Replace => Existing::Replace,
        };
        let mut functions = self.functions.lock();
        let loaded = functions.load(code, existing, &mut Loader::new(loading));
        self.measure_functions(&functions);
        loaded.map_err(refused)
    }

    fn delete_library(&self, name: &[u8]) -> bool {
        let mut functions = self.functions.lock();
        let deleted = functions.delete(name);
        self.measure_functions(&functions);
        deleted
    }

    fn flush_libraries(&self) {
        let mut functions = self.functions.lock();
        functions.flush();
        self.measure_functions(&functions);
    }

    fn restore_libraries(&self, texts: &[Vec<u8>], policy: RestorePolicy, loading: &Loading<'_>) -> Result<(), Error> {
        let mut functions = self.functions.lock();
        let restored = match policy {
            RestorePolicy::Flush => functions.replace_all(texts, &mut || Loader::new(loading)),
            RestorePolicy::Append => functions.add_all(texts, Existing::Refuse, &mut || Loader::new(loading)),
            RestorePolicy::Replace => functions.add_all(texts, Existing::Replace, &mut || Loader::new(loading)),
        };
        self.measure_functions(&functions);
        restored.map_err(refused)
    }

    fn libraries(&self) -> Vec<ListedLibrary> {
        let functions = self.functions.lock();
        let libraries = functions.libraries().iter().map(|(name, library)| ListedLibrary {
            name: name.clone(),
            code: library.code.to_vec(),
            functions: library
                .functions
                .iter()
                .map(|function| ListedFunction {
                    name: function.name.clone(),
                    description: function.description.clone(),
                    flags: function.flags.names().collect(),
                })
                .collect(),
        });
        libraries.collect()
    }

    fn library_counts(&self) -> (usize, usize) {
        (self.sizes.libraries.load(Ordering::Relaxed), self.sizes.functions.load(Ordering::Relaxed))
    }
}

/// What a library reaches while it is loaded: the log lines it writes.
struct Loader<'e> {
    store: &'e Store,
    limited: bool,
    started: u64,
}

impl<'e> Loader<'e> {
    fn new(loading: &Loading<'e>) -> Loader<'e> {
        Loader { store: loading.engine, limited: loading.limited, started: loading.engine.clock.ticks() }
    }
}

impl Host for Loader<'_> {
    fn call(&mut self, _: &[&[u8]], _: Protocol, reply: &mut Vec<u8>) {
        reply.extend_from_slice(b"-ERR redis.call can only be called inside a script invocation\r\n");
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        log_line(level, message);
    }

    fn interrupt(&mut self) -> Interrupt {
        let elapsed_ms = self.store.clock.ticks().saturating_sub(self.started) / 1_000_000;
        if self.limited && elapsed_ms > LOADING_MAX_MS {
            return Interrupt::Kill(b"ERR FUNCTION LOAD timeout".to_vec());
        }
        Interrupt::Continue
    }
}

/// What one run reaches: the command table under the locks of the command that called it.
struct Caller<'r, 'x, 'a, 'g> {
    run: &'r Run,
    call: &'r ScriptCall<'r>,
    kind: ScriptKind,
    /// Name of the function, or SHA1 of the script.
    name: &'r [u8],
    rights: ScriptRights,
    started: u64,
    /// Buffer of the replies, so that a call allocates none.
    spare: Vec<u8>,
    cx: &'x mut Cx<'a, 'g>,
}

impl<'r> Caller<'r, '_, '_, '_> {
    fn invocation(&self) -> Invocation<'r> {
        let protocol = match self.cx.out.protocol() {
            Wire::Resp2 => Protocol::Resp2,
            Wire::Resp3 => Protocol::Resp3,
        };
        Invocation { keys: self.call.keys, args: self.call.args, protocol }
    }

    /// Tells everybody that the script runs too long.
    fn declare_busy(&self) {
        let mut details = self.run.details.lock();
        if details.is_none() {
            let command = self.call.command.iter().map(|arg| arg.to_vec()).collect();
            *details = Some(Running { name: self.name.to_vec(), command, started: self.started });
            self.cx.engine.turn.declare_busy(self.kind);
            if let Place::Relieved(relief) = &self.cx.session.place {
                relief.relieve();
            }
            tracing::warn!(name = %String::from_utf8_lossy(self.name), "a script runs longer than busy-reply-threshold");
        }
    }
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
        call_from_script(self.cx, Args(args), self.rights, &mut out);
        if self.cx.db.effects.dirty != dirty {
            self.run.wrote.store(true, Ordering::Release);
            self.rights.has_written = true;
        }
        if let Some(error) = out.as_slice().strip_prefix(b"-") {
            *self.run.last_error.lock() = error.strip_suffix(b"\r\n").unwrap_or(error).to_vec();
        }
        reply.extend_from_slice(out.as_slice());
        self.spare = out.take();
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        log_line(level, message);
    }

    fn permits(&mut self, args: &[&[u8]]) -> Option<bool> {
        script_may_run(self.cx, Args(args))
    }

    fn interrupt(&mut self) -> Interrupt {
        // Between the question whether it has written and the end nothing is written: a script is asked outside any command.
        if self.run.kill.load(Ordering::Acquire) && !self.run.wrote.load(Ordering::Acquire) {
            return Interrupt::Kill(b"ERR Script killed by user with SCRIPT KILL...".to_vec());
        }
        if self.run.abandoned.load(Ordering::Acquire) {
            return Interrupt::Kill(b"ERR Script ended by SHUTDOWN NOSAVE".to_vec());
        }
        let settings = &self.cx.engine.settings;
        let elapsed_ms = self.cx.engine.clock.ticks().saturating_sub(self.started) / 1_000_000;
        let passed = |setting| matches!(settings.int(setting).unsigned_abs(), limit @ 1.. if elapsed_ms >= limit);
        if passed(Setting::ScriptTimeLimit) {
            let text = format!(
                "ERR Script stopped after {elapsed_ms} ms (script-time-limit); changes it made until then stay"
            );
            return Interrupt::Kill(text.into_bytes());
        }
        if passed(Setting::BusyReplyThreshold) {
            self.declare_busy();
        }
        Interrupt::Continue
    }
}

fn log_line(level: LogLevel, message: &[u8]) {
    let message = String::from_utf8_lossy(message);
    match level {
        LogLevel::Debug | LogLevel::Verbose => tracing::debug!(target: "script", "{message}"),
        LogLevel::Notice => tracing::info!(target: "script", "{message}"),
        LogLevel::Warning => tracing::warn!(target: "script", "{message}"),
    }
}
