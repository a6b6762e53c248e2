//! What runs can reach: the command table, under the locks of the command that called the script; for a library being loaded only the log.
//!
//! As in Redis nothing stops a script by itself. When it has run for `busy-reply-threshold` it declares the engine busy, which sends everybody else
//! away with an error, and can be killed unless it has written: a script stopped in the middle leaves changes that belong together half done.
//! Who prefers that to a store that hangs sets `script-time-limit`. A run beside others ends by itself; who waits for its keys cannot be sent away, so one that
//! makes its input so large that it takes [`MAX_BESIDE_MS`] all the same is ended, whatever it has done.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use redpoll_commands::args::Args;
use redpoll_commands::cx::Cx;
use redpoll_commands::dispatch::{ScriptRights, call_from_script, script_may_run};
use redpoll_commands::engine::{Engine as Store, Loading, Running, ScriptCall};
use redpoll_commands::error::{Error, OUT_OF_MEMORY, TOO_FEW_REPLICAS};
use redpoll_commands::session::Place;
use redpoll_commands::settings::Setting;
use redpoll_commands::turn::ScriptKind;
use redpoll_resp::{Protocol as Wire, Writer};

use crate::{Host, Interrupt, Invocation, LogLevel, Protocol, ScriptFlags};

/// How long a run beside others may take, milliseconds: as long as `busy-reply-threshold` is unless it was set.
const MAX_BESIDE_MS: u64 = 5_000;

/// How long a library may take to load, milliseconds.
const LOADING_MAX_MS: u64 = 500;

/// The state of the current run, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// A [`ScriptKind`], or 0.
    pub(crate) kind: AtomicU8,
    pub(crate) wrote: AtomicBool,
    pub(crate) kill: AtomicBool,
    /// Ended in the middle for good: nothing of it is logged.
    pub(crate) abandoned: AtomicBool,
    /// Filled in when the run has taken long.
    pub(crate) details: Mutex<Option<Running>>,
    /// What the last command that failed was answered.
    pub(crate) last_error: Mutex<Vec<u8>>,
}

impl Run {
    pub(crate) fn kind(&self) -> Option<ScriptKind> {
        let kind = self.kind.load(Ordering::Acquire);
        [ScriptKind::Script, ScriptKind::Function].into_iter().find(|known| *known as u8 == kind)
    }

    pub(crate) fn end(&self) {
        self.kind.store(0, Ordering::Release);
        self.wrote.store(false, Ordering::Release);
        self.kill.store(false, Ordering::Release);
        self.abandoned.store(false, Ordering::Release);
        *self.details.lock() = None;
    }
}

/// Checks what a script declares against what its caller and the store allow, and begins its run.
pub(crate) fn begin<'r, 'x, 'a, 'g>(
    cx: &'x mut Cx<'a, 'g>,
    call: &'r ScriptCall<'r>,
    run: &'r Run,
    pace: Pace,
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
        if cx.session.out_of_memory && !flags.allow_oom && !flags.no_writes {
            return Err(OUT_OF_MEMORY);
        }
    }
    let mut rights = ScriptRights::new(call.read_only || flags.no_writes, flags.allow_oom);
    match pace {
        Pace::Alone(kind) => run.kind.store(kind as u8, Ordering::Release),
        Pace::Beside => rights.reach = Some(call.keys),
    }
    let started = cx.begun;
    Ok(Caller { run, call, pace, name, rights, started, cx })
}

/// Whether others wait for a run, which decides what may be done about a long one.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// They do.
    Alone(ScriptKind),
    /// They do not: a run in a lane.
    Beside,
}

/// What a library reaches while it is loaded: the log lines it writes.
pub(crate) struct Loader<'e> {
    store: &'e Store,
    limited: bool,
    started: u64,
}

impl<'e> Loader<'e> {
    pub(crate) fn new(loading: &Loading<'e>) -> Loader<'e> {
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
pub(crate) struct Caller<'r, 'x, 'a, 'g> {
    run: &'r Run,
    call: &'r ScriptCall<'r>,
    pace: Pace,
    /// Name of the function, or SHA1 of the script.
    name: &'r [u8],
    rights: ScriptRights<'r>,
    started: u64,
    cx: &'x mut Cx<'a, 'g>,
}

impl<'r> Caller<'r, '_, '_, '_> {
    pub(crate) fn invocation(&self) -> Invocation<'r> {
        let protocol = match self.cx.out.protocol() {
            Wire::Resp2 => Protocol::Resp2,
            Wire::Resp3 => Protocol::Resp3,
        };
        Invocation { keys: self.call.keys, args: self.call.args, protocol }
    }

    /// Tells everybody who waits that the script runs too long.
    fn declare_busy(&self) {
        let Pace::Alone(kind) = self.pace else { return };
        let mut details = self.run.details.lock();
        if details.is_none() {
            let command = self.call.command.iter().map(|arg| arg.to_vec()).collect();
            *details = Some(Running { name: self.name.to_vec(), command, started: self.started });
            self.cx.engine.turn.declare_busy(kind);
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
        let start = reply.len();
        let mut out = Writer::with_buffer(std::mem::take(reply), wire);
        let dirty = self.cx.db.effects.dirty;
        call_from_script(self.cx, Args(args), self.rights, &mut out);
        if self.cx.db.effects.dirty != dirty {
            self.run.wrote.store(true, Ordering::Release);
            self.rights.has_written = true;
        }
        *reply = out.take();
        if let Some(error) = reply[start..].strip_prefix(b"-") {
            *self.run.last_error.lock() = error.strip_suffix(b"\r\n").unwrap_or(error).to_vec();
        }
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
        let takes_too_long_beside = matches!(self.pace, Pace::Beside) && elapsed_ms >= MAX_BESIDE_MS;
        if takes_too_long_beside {
            let text = format!(
                "ERR Script stopped after {elapsed_ms} ms beside other commands; changes it made until then stay"
            );
            return Interrupt::Kill(text.into_bytes());
        }
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
