//! The way from EVAL and FCALL to the engine and from `redis.call` back to the command table.
//!
//! There is one Lua state for scripts that run alone and one for libraries. Whatever uses these holds the gate to the keyspace exclusively, so nobody waits on
//! their locks, which only say so to the compiler. What must work while a script runs touches neither state: SCRIPT KILL raises a flag
//! that the instruction hook of the running script reads, FUNCTION STATS reads what the run has said about itself. A script that is proven to keep to its keys
//! is run beside others, with its keys locked, in one of the `lanes`; it ends by itself and is neither listed nor killed.
//! What a run reaches, and what becomes of one that takes long, is in `reach`.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use redpoll_commands::REDIS_VERSION;
use redpoll_commands::cx::Cx;
use redpoll_commands::engine::{
    Existing as WantedExisting, Function as ListedFunction, Library as ListedLibrary, Loading, RestorePolicy, Running,
    ScriptCall, ScriptName, Scripting,
};
use redpoll_commands::error::{Error, NO_SCRIPT, NOT_BUSY, UNKILLABLE};
use redpoll_commands::settings::{Setting, Settings};
use redpoll_commands::turn::ScriptKind;

use crate::declared::MAX_BYTES;
use crate::lanes::{Lanes, Proven};
use crate::reach::{Loader, Pace, Run, begin};
use crate::shebang::declared_flags;
use crate::twin::{Ended, Twins};
use crate::{Engine, EngineConfig, Existing, Functions, Origin, Outcome, ScriptError, Sha, parse_sha, sha1_hex};

/// Room that a thread keeps for the reply of the next script, in bytes.
const KEPT_REPLY: usize = 4096;

/// Makes the scripting half of a store; `twins` are those of its scripts that need not be interpreted.
pub fn scripting(settings: &Settings, twins: Twins) -> Box<dyn Scripting> {
    let version = REDIS_VERSION.split('.').map(|part| part.parse().expect("a version is three small numbers"));
    let version = version.collect::<Vec<u8>>().try_into().expect("a version is three small numbers");
    let memory_limit = settings.size(Setting::LuaMemoryLimit);
    let config = EngineConfig { memory_limit, version, ..EngineConfig::default() };
    let engine = Engine::new(config.clone());
    Box::new(Scripts {
        twins,
        proven: engine.proven(),
        lanes: Lanes::new(config.clone()),
        engine: Mutex::new(engine),
        functions: Mutex::new(Functions::new(config)),
        run: Run::default(),
        sizes: Sizes::default(),
    })
}

/// The states and what others may know of them and of a run without waiting.
struct Scripts {
    twins: Twins,
    proven: Proven,
    lanes: Lanes,
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

    /// Runs a script in a lane, beside others.
    fn run_beside(&self, cx: &mut Cx<'_, '_>, call: &ScriptCall<'_>, reply: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
        let sha = sha_of(call.script).ok_or(NO_SCRIPT)?;
        let run = Run::default();
        if let Some(twin) = self.twins.find(&sha) {
            let now_us = cx.now_us();
            let mut host = begin(cx, call, &run, Pace::Beside, twin.flags, &sha)?;
            if twin.run(&host.invocation(), now_us, &mut host, reply) == Ended::Replied {
                return Ok(run.last_error.into_inner());
            }
        }
        let known = self.proven.read().get(&sha).cloned();
        let body = match (call.script, &known) {
            (_, Some(body)) => body.as_ref(),
            // Forgotten by a SCRIPT FLUSH since it was decided how this is to run.
            (ScriptName::Body(body), None) => body,
            _ => return Err(NO_SCRIPT),
        };
        self.lanes.with(|engine| {
            if !engine.exists(&sha) {
                engine.load(body, Origin::Eval).map_err(refused)?;
            }
            let flags = engine.flags(&sha).ok_or(NO_SCRIPT)?;
            let mut host = begin(cx, call, &run, Pace::Beside, flags, &sha)?;
            engine.run(&sha, &host.invocation(), &mut host, reply);
            Ok::<(), Error>(())
        })?;
        Ok(run.last_error.into_inner())
    }

    /// Runs a script or function that has the store for itself.
    fn run_alone(&self, cx: &mut Cx<'_, '_>, call: &ScriptCall<'_>, reply: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
        let result = match call.script {
            ScriptName::Function(name) => self.run_function(cx, call, name, reply),
            ScriptName::Body(_) | ScriptName::Sha(_) => self.run_script(cx, call, reply),
        };
        if self.run.abandoned.load(Ordering::Acquire) {
            cx.journal.clear();
        }
        let last_error = std::mem::take(&mut *self.run.last_error.lock());
        self.run.end();
        result.map(|()| last_error)
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
        engine.judge(&sha, &cx.engine.registry);
        let (pace, now_us) = (Pace::Alone(ScriptKind::Script), cx.now_us());
        let mut host = begin(cx, call, &self.run, pace, flags, &sha)?;
        if let Some(twin) = self.twins.find(&sha)
            && twin.run(&host.invocation(), now_us, &mut host, reply) == Ended::Replied
        {
            return Ok(());
        }
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
        let mut host = begin(cx, call, &self.run, Pace::Alone(ScriptKind::Function), flags, &name)?;
        let outcome = functions.call(&name, &host.invocation(), &mut host, reply);
        if outcome != Outcome::Finished {
            self.measure_functions(&functions);
        }
        Ok(())
    }
}

/// The name of a script that may be among those that keep to their keys.
fn sha_of(script: ScriptName<'_>) -> Option<Sha> {
    match script {
        ScriptName::Body(body) => (body.len() <= MAX_BYTES).then(|| sha_of_body(body)),
        ScriptName::Sha(sha) => parse_sha(sha),
        ScriptName::Function(_) => None,
    }
}

/// The SHA-1 of a text, which is mostly the one that this thread asked for last.
fn sha_of_body(body: &[u8]) -> Sha {
    thread_local!(static LAST: RefCell<(Vec<u8>, Sha)> = RefCell::new((Vec::new(), sha1_hex(b""))));
    LAST.with_borrow_mut(|(last, sha)| {
        if last != body {
            *sha = sha1_hex(body);
            last.clear();
            last.extend_from_slice(body);
        }
        *sha
    })
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
        thread_local!(static REPLY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
        let db = cx.db.db();
        let mut reply = REPLY.take();
        reply.clear();
        let ran = if cx.db.holds_everything() {
            self.run_alone(cx, call, &mut reply)
        } else {
            self.run_beside(cx, call, &mut reply)
        };
        // A script that selected another database leaves its caller where it was.
        cx.session.db = db;
        cx.db.select(db);
        let last_error = ran?;
        if let Some(error) = reply.strip_prefix(b"-") {
            return Err(counted_once(error.strip_suffix(b"\r\n").unwrap_or(error), &last_error));
        }
        cx.out.raw(&reply);
        if reply.capacity() <= KEPT_REPLY {
            REPLY.set(reply);
        }
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

    fn keeps_to_its_keys(&self, script: ScriptName<'_>) -> bool {
        sha_of(script).is_some_and(|sha| self.proven.read().contains_key(&sha))
    }

    fn flush(&self) {
        let mut engine = self.engine.lock();
        engine.flush();
        self.lanes.flush();
        self.measure(&engine);
    }

    fn size(&self) -> (usize, usize) {
        let alone = self.sizes.script_bytes.load(Ordering::Relaxed) + self.sizes.function_bytes.load(Ordering::Relaxed);
        let bytes = alone + self.lanes.used_memory();
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
