//! Scripts by SHA-1 and the running of one.
//!
//! Texts are kept outside Lua. Compiling is lazy and its results are a cache: they vanish when the Lua state is thrown away after
//! running out of memory, or when they take too much of it, and nobody notices. One engine runs one script at a time; whoever owns
//! it puts it behind a mutex or keeps one per thread.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use redpoll_commands::registry::Registry;

use crate::declared::keeps_to_its_keys;
use crate::errors::{Cause, NOT_ENOUGH_MEMORY, ScriptError};
use crate::host::{Host, Protocol};
use crate::lanes::Proven;
use crate::run::Run;
use crate::sandbox::{Purpose, Sandbox};
use crate::shebang::{self, ScriptFlags};

/// The longest script accepted. Also what keeps the counters of Lua 5.1's lexer from overflowing.
pub const MAX_SCRIPT_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes of script texts kept, and as many of libraries.
pub const MAX_CACHE_BYTES: usize = 256 * 1024 * 1024;
/// The most scripts kept that were only ever sent by EVAL; beyond it the oldest is forgotten, as in Redis 7.4.
pub const MAX_EVAL_SCRIPTS: usize = 500;
/// Compiled scripts are dropped when more than one part in this many of the memory limit is taken before a run.
const MEMORY_SHARE_KEPT: usize = 2;

/// The lowercase hexadecimal SHA-1 of a script's text, its name.
pub type Sha = [u8; 40];

/// The SHA-1 of `bytes` in lowercase hexadecimal.
pub fn sha1_hex(bytes: &[u8]) -> Sha {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = sha1_smol::Sha1::from(bytes).digest().bytes();
    let mut sha = [0; 40];
    for (pair, byte) in sha.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    sha
}

/// Reads a SHA-1 as clients send it, in either case; `None` if it has not its length. What is no number is the name of no script.
pub fn parse_sha(text: &[u8]) -> Option<Sha> {
    let mut sha: Sha = text.try_into().ok()?;
    sha.make_ascii_lowercase();
    Some(sha)
}

/// Limits and identity of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The most bytes the Lua state may take, compiled scripts included.
    pub memory_limit: usize,
    /// How many Lua instructions pass before it is considered to ask [`Host::interrupt`] again.
    pub instructions_per_check: u32,
    /// The version scripts see in `redis.REDIS_VERSION`: major, minor, patch.
    pub version: [u8; 3],
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig { memory_limit: 256 * 1024 * 1024, instructions_per_check: 1_000, version: [7, 2, 0] }
    }
}

impl EngineConfig {
    pub(crate) fn version_text(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("{major}.{minor}.{patch}")
    }

    pub(crate) fn version_number(&self) -> u32 {
        let [major, minor, patch] = self.version;
        u32::from(major) << 16 | u32::from(minor) << 8 | u32::from(patch)
    }
}

/// What a script is called with.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// KEYS
    pub keys: &'a [&'a [u8]],
    /// ARGV
    pub args: &'a [&'a [u8]],
    /// The protocol of the client that waits for the reply.
    pub protocol: Protocol,
}

/// How a run ended. The reply is complete in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The script returned; its value is the reply.
    Finished,
    /// The script raised an error.
    Failed,
    /// The host ended the script.
    Killed,
    /// The script reached the memory limit.
    OutOfMemory,
    /// No script of this name is loaded; the reply says NOSCRIPT.
    NotFound,
}

impl From<Cause> for Outcome {
    fn from(cause: Cause) -> Outcome {
        match cause {
            Cause::Error => Outcome::Failed,
            Cause::Killed => Outcome::Killed,
            Cause::OutOfMemory => Outcome::OutOfMemory,
        }
    }
}

/// By which way a script arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// SCRIPT LOAD or FUNCTION LOAD: kept until flushed.
    Load,
    /// EVAL: kept while it is among the last [`MAX_EVAL_SCRIPTS`].
    Eval,
}

struct Script {
    body: Box<[u8]>,
    flags: ScriptFlags,
    origin: Origin,
    /// Where the sandbox keeps the compiled form.
    slot: Option<u32>,
    /// It was looked at whether it keeps to its keys.
    judged: bool,
}

/// One Lua state and the scripts loaded into it.
pub struct Engine {
    config: EngineConfig,
    purpose: Purpose,
    sandbox: Sandbox,
    scripts: HashMap<Sha, Script, RandomState>,
    /// Names of the scripts of origin Eval, oldest first.
    evaluated: VecDeque<Sha>,
    cache_bytes: usize,
    reply_buffer: Vec<u8>,
    proven: Proven,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.config)
            .field("scripts", &self.scripts.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Creates an engine without scripts.
    ///
    /// # Panics
    /// Panics if a Lua state cannot be created at all, which only happens when the process is out of memory.
    pub fn new(config: EngineConfig) -> Engine {
        Engine::with(config, Purpose::Scripts)
    }

    /// Creates an engine for scripts that are proven to keep to their keys, and no others.
    pub(crate) fn for_proven(config: EngineConfig) -> Engine {
        Engine::with(config, Purpose::Proven)
    }

    fn with(config: EngineConfig, purpose: Purpose) -> Engine {
        let sandbox = new_sandbox(&config, purpose);
        Engine {
            config,
            purpose,
            sandbox,
            scripts: HashMap::default(),
            evaluated: VecDeque::new(),
            cache_bytes: 0,
            reply_buffer: Vec::new(),
            proven: Proven::default(),
        }
    }

    /// Compiles a script and keeps it under the SHA-1 of its text, which it returns.
    ///
    /// # Errors
    /// The text is too long, its shebang or its syntax wrong, or the cache full; the error's display form is the reply.
    pub fn load(&mut self, body: &[u8], origin: Origin) -> Result<Sha, ScriptError> {
        let sha = sha1_hex(body);
        if let Some(script) = self.scripts.get_mut(&sha) {
            if origin == Origin::Load && script.origin == Origin::Eval {
                script.origin = Origin::Load;
                self.evaluated.retain(|evaluated| *evaluated != sha);
            }
            return Ok(sha);
        }
        if body.len() > MAX_SCRIPT_BYTES {
            return Err(ScriptError::TooLong(MAX_SCRIPT_BYTES));
        }
        let (flags, text) = shebang::parse(body)?;
        let slot = compile(&mut self.sandbox, text)?;
        if origin == Origin::Eval
            && self.evaluated.len() >= MAX_EVAL_SCRIPTS
            && let Some(oldest) = self.evaluated.pop_front()
        {
            self.forget(&oldest);
        }
        while self.cache_bytes + body.len() > MAX_CACHE_BYTES {
            let Some(oldest) = self.evaluated.pop_front() else {
                return Err(ScriptError::CacheFull(MAX_CACHE_BYTES));
            };
            self.forget(&oldest);
        }
        self.cache_bytes += body.len();
        if origin == Origin::Eval {
            self.evaluated.push_back(sha);
        }
        self.scripts.insert(sha, Script { body: body.into(), flags, origin, slot: Some(slot), judged: false });
        Ok(sha)
    }

    fn forget(&mut self, sha: &Sha) {
        if let Some(script) = self.scripts.remove(sha) {
            self.proven.write().remove(sha);
            self.cache_bytes -= script.body.len();
            if let Some(slot) = script.slot {
                self.sandbox.discard(slot);
            }
        }
    }

    /// The scripts found to keep to their keys.
    pub(crate) fn proven(&self) -> Proven {
        self.proven.clone()
    }

    /// Finds out whether a script keeps to its keys, once.
    pub(crate) fn judge(&mut self, sha: &Sha, registry: &Registry) {
        let Some(script) = self.scripts.get_mut(sha).filter(|script| !script.judged) else { return };
        script.judged = true;
        if shebang::parse(&script.body).is_ok_and(|(_, text)| keeps_to_its_keys(text, registry)) {
            self.proven.write().insert(*sha, script.body.as_ref().into());
        }
    }

    /// Tells whether a script is loaded.
    pub fn exists(&self, sha: &Sha) -> bool {
        self.scripts.contains_key(sha)
    }

    /// What the script declares about itself; `None` if it is not loaded.
    pub fn flags(&self, sha: &Sha) -> Option<ScriptFlags> {
        self.scripts.get(sha).map(|script| script.flags)
    }

    /// The number of scripts loaded.
    pub fn script_count(&self) -> usize {
        self.scripts.len()
    }

    /// Bytes taken by the Lua state and by script texts.
    pub fn used_memory(&self) -> usize {
        self.sandbox.lua.used_memory() + self.cache_bytes
    }

    /// Forgets all scripts and starts from a fresh Lua state.
    pub fn flush(&mut self) {
        self.scripts.clear();
        self.proven.write().clear();
        self.evaluated.clear();
        self.cache_bytes = 0;
        self.sandbox = new_sandbox(&self.config, self.purpose);
    }

    /// Runs a script and appends one reply, whatever happens.
    pub fn run(&mut self, sha: &Sha, invocation: &Invocation<'_>, host: &mut dyn Host, reply: &mut Vec<u8>) -> Outcome {
        self.make_room();
        let Some(script) = self.scripts.get_mut(sha) else {
            reply.extend_from_slice(b"-NOSCRIPT No matching script. Please use EVAL.\r\n");
            return Outcome::NotFound;
        };
        let slot = match script.slot {
            Some(slot) => slot,
            None => match recompile(&mut self.sandbox, script) {
                Ok(slot) => slot,
                Err(error) => {
                    reply.extend_from_slice(format!("-{error}\r\n").as_bytes());
                    return Outcome::Failed;
                }
            },
        };
        let start = reply.len();
        let run = Run { sandbox: &self.sandbox, enter: &self.sandbox.prelude.enter, slot };
        let result = run.reply(invocation, host, &mut self.reply_buffer, reply);
        let Err(failure) = result else { return Outcome::Finished };
        reply.truncate(start);
        failure.write(sha, reply);
        let outcome = Outcome::from(failure.cause);
        if outcome == Outcome::OutOfMemory {
            self.rebuild();
        }
        outcome
    }

    /// Drops compiled scripts when they, or garbage, take too large a share of the memory scripts have.
    fn make_room(&mut self) {
        let threshold = self.config.memory_limit / MEMORY_SHARE_KEPT;
        if self.sandbox.lua.used_memory() <= threshold {
            return;
        }
        if self.sandbox.lua.gc_collect().is_err() || self.sandbox.lua.used_memory() > threshold {
            self.rebuild();
        }
    }

    /// Starts from a fresh Lua state; scripts compile again when next run.
    fn rebuild(&mut self) {
        for script in self.scripts.values_mut() {
            script.slot = None;
        }
        self.sandbox = new_sandbox(&self.config, self.purpose);
    }
}

fn new_sandbox(config: &EngineConfig, purpose: Purpose) -> Sandbox {
    Sandbox::new(config, purpose).expect("a fresh state has no memory limit and runs only our own prelude")
}

fn recompile(sandbox: &mut Sandbox, script: &mut Script) -> Result<u32, ScriptError> {
    let (_, text) = shebang::parse(&script.body)?;
    let slot = compile(sandbox, text)?;
    script.slot = Some(slot);
    Ok(slot)
}

fn compile(sandbox: &mut Sandbox, text: &[u8]) -> Result<u32, ScriptError> {
    sandbox.compile(text).map_err(|error| ScriptError::Compile(compile_message(error)))
}

/// What Lua says about a text that does not compile.
pub(crate) fn compile_message(error: mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => message,
        mlua::Error::MemoryError(_) => NOT_ENOUGH_MEMORY.to_string(),
        other => other.to_string(),
    }
}
