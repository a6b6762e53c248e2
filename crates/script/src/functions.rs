//! Libraries of functions: loading them, calling what they register.
//!
//! All libraries live in one Lua state, apart from the one of EVAL, and every library runs once, when it is loaded: what it keeps in its
//! locals stays between calls. Names of functions are unique over all libraries, in any case. Texts of libraries are kept outside Lua:
//! they are what FUNCTION LIST, DUMP and the log say, and what the state is rebuilt from when a function has used up its memory. The locals of all
//! libraries begin anew then, which is the one way in which our limit on memory, which Redis does not have, shows.

use std::collections::{BTreeMap, HashMap};

use mlua::{LuaString, Table, Value};

use crate::engine::{EngineConfig, Invocation, MAX_CACHE_BYTES, MAX_SCRIPT_BYTES, Outcome, compile_message};
use crate::errors::{Cause, ScriptError};
use crate::host::{Host, Protocol};
use crate::run::Run;
use crate::sandbox::{Purpose, Sandbox};
use crate::shebang::{self, LibraryHead, ScriptFlags};

/// A loaded library.
#[derive(Debug)]
pub struct Library {
    /// Its text, first line included.
    pub code: Box<[u8]>,
    /// What it registered, in that order.
    pub functions: Vec<Function>,
}

/// A function of a library.
#[derive(Debug)]
pub struct Function {
    /// Its name, as registered.
    pub name: Vec<u8>,
    /// What its author says about it.
    pub description: Option<Vec<u8>>,
    /// What it declares about itself.
    pub flags: ScriptFlags,
    /// Where the sandbox keeps it; nowhere after a rebuild that its library did not survive.
    slot: Option<u32>,
}

/// The name of a library that was restored, and the text of the one it replaced.
type Restored = (Vec<u8>, Option<Box<[u8]>>);

/// Whether a library may take the place of one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It must not exist.
    Refuse,
    /// It is replaced.
    Replace,
}

/// One Lua state and the libraries loaded into it.
pub struct Functions {
    config: EngineConfig,
    sandbox: Sandbox,
    libraries: BTreeMap<Vec<u8>, Library>,
    /// Lower-case names of functions: library and position in it.
    by_name: HashMap<Vec<u8>, (Vec<u8>, usize)>,
    code_bytes: usize,
    /// The state is to be built anew before it is used again.
    exhausted: bool,
    reply_buffer: Vec<u8>,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").field("libraries", &self.libraries.len()).finish_non_exhaustive()
    }
}

impl Functions {
    /// Creates a state without libraries.
    ///
    /// # Panics
    /// Panics if a Lua state cannot be created at all, which only happens when the process is out of memory.
    pub fn new(config: EngineConfig) -> Functions {
        let sandbox = new_sandbox(&config);
        Functions {
            config,
            sandbox,
            libraries: BTreeMap::new(),
            by_name: HashMap::new(),
            code_bytes: 0,
            exhausted: false,
            reply_buffer: Vec::new(),
        }
    }

    /// Loads a library and returns its name. If it is refused nothing has changed.
    ///
    /// # Errors
    /// The head line, the text or what it registers is wrong, or a name is taken.
    pub fn load(&mut self, code: &[u8], existing: Existing, host: &mut dyn Host) -> Result<Vec<u8>, ScriptError> {
        let refuse = |text: &[&[u8]]| Err(ScriptError::Library([b"ERR ", text.concat().as_slice()].concat()));
        if code.len() > MAX_SCRIPT_BYTES {
            return Err(ScriptError::TooLong(MAX_SCRIPT_BYTES));
        }
        let LibraryHead { name, text } = shebang::library(code)?;
        let replaced = self.libraries.get(&name).map_or(0, |library| library.code.len());
        if existing == Existing::Refuse && self.libraries.contains_key(&name) {
            return refuse(&[b"Library '", &name, b"' already exists"]);
        }
        if self.code_bytes - replaced + code.len() > MAX_CACHE_BYTES {
            return Err(ScriptError::CacheFull(MAX_CACHE_BYTES));
        }
        self.revive(host);
        let functions =
            run_library(&mut self.sandbox, text, &mut self.reply_buffer, host).map_err(|(text, cause)| {
                self.exhausted |= cause == Cause::OutOfMemory;
                ScriptError::Library([b"ERR ", text.as_slice()].concat())
            })?;
        if functions.is_empty() {
            return refuse(&[b"No functions registered"]);
        }
        let taken = functions.iter().find(|function| {
            self.by_name.get(&function.name.to_ascii_lowercase()).is_some_and(|(library, _)| *library != name)
        });
        if let Some(taken) = taken {
            let text = [b"Function ", taken.name.as_slice(), b" already exists"];
            functions.iter().filter_map(|function| function.slot).for_each(|slot| self.sandbox.discard(slot));
            return refuse(&text);
        }
        self.delete(&name);
        for (position, function) in functions.iter().enumerate() {
            // Of two names that differ in case only, the first is found.
            self.by_name.entry(function.name.to_ascii_lowercase()).or_insert_with(|| (name.clone(), position));
        }
        self.code_bytes += code.len();
        self.libraries.insert(name.clone(), Library { code: code.into(), functions });
        Ok(name)
    }

    /// Loads libraries beside those there are. If one is refused all is as it was, except that replaced libraries have begun anew.
    ///
    /// # Errors
    /// As [`Functions::load`], for the first that is refused.
    pub fn add_all<H: Host>(
        &mut self,
        codes: &[Vec<u8>],
        existing: Existing,
        host: &mut dyn FnMut() -> H,
    ) -> Result<(), ScriptError> {
        let mut done: Vec<Restored> = Vec::new();
        for code in codes {
            let loaded = shebang::library(code).and_then(|LibraryHead { name, .. }| {
                let before = self.libraries.get(&name).map(|library| library.code.clone());
                let restored_before = done.iter().any(|(other, _)| *other == name);
                if before.is_some() && (existing == Existing::Refuse || restored_before) {
                    let quote: &[u8] = if restored_before { b"'" } else { b"" };
                    let text = [b"ERR Library ", quote, &name, quote, b" already exists"].concat();
                    return Err(ScriptError::Library(text));
                }
                self.load(code, existing, &mut host())?;
                Ok((name, before))
            });
            match loaded {
                Ok(loaded) => done.push(loaded),
                Err(error) => {
                    self.undo(done, host);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn undo<H: Host>(&mut self, done: Vec<Restored>, host: &mut dyn FnMut() -> H) {
        for (name, _) in &done {
            self.delete(name);
        }
        for code in done.into_iter().filter_map(|(_, before)| before) {
            if let Err(error) = self.load(&code, Existing::Refuse, &mut host()) {
                tracing::warn!(%error, "a library that was to be replaced could not be loaded again");
            }
        }
    }

    /// Loads libraries in place of all there are. If one is refused nothing has changed.
    ///
    /// # Errors
    /// As [`Functions::load`], for the first that is refused.
    pub fn replace_all<H: Host>(&mut self, codes: &[Vec<u8>], host: &mut dyn FnMut() -> H) -> Result<(), ScriptError> {
        let mut others = Functions::new(self.config.clone());
        codes.iter().try_for_each(|code| others.load(code, Existing::Refuse, &mut host()).map(drop))?;
        *self = others;
        Ok(())
    }

    /// Forgets a library; false if there is none of this name.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.libraries.remove(name) else { return false };
        self.code_bytes -= library.code.len();
        self.by_name.retain(|_, (owner, _)| owner != name);
        library.functions.iter().filter_map(|function| function.slot).for_each(|slot| self.sandbox.discard(slot));
        true
    }

    /// Forgets all libraries and starts from a fresh Lua state.
    pub fn flush(&mut self) {
        *self = Functions::new(self.config.clone());
    }

    /// Returns the libraries in the order of their names.
    pub fn libraries(&self) -> &BTreeMap<Vec<u8>, Library> {
        &self.libraries
    }

    /// Returns the number of functions.
    pub fn function_count(&self) -> usize {
        self.libraries.values().map(|library| library.functions.len()).sum()
    }

    /// Bytes taken by the Lua state and by the texts of libraries.
    pub fn used_memory(&self) -> usize {
        self.sandbox.lua.used_memory() + self.code_bytes
    }

    /// Finds a function by its name in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Function> {
        let (library, position) = self.by_name.get(&name.to_ascii_lowercase())?;
        Some(&self.libraries[library].functions[*position])
    }

    /// Calls a function and appends one reply, whatever happens.
    pub fn call(
        &mut self,
        name: &[u8],
        invocation: &Invocation<'_>,
        host: &mut dyn Host,
        reply: &mut Vec<u8>,
    ) -> Outcome {
        self.revive(host);
        let mut buffer = std::mem::take(&mut self.reply_buffer);
        let Some((function, slot)) = self.find(name).and_then(|function| Some((function, function.slot?))) else {
            reply.extend_from_slice(b"-ERR Function not found\r\n");
            return Outcome::NotFound;
        };
        let start = reply.len();
        let run = Run { sandbox: &self.sandbox, enter: &self.sandbox.prelude.enter, slot };
        let result = run.reply(invocation, host, &mut buffer, reply);
        let outcome = match result {
            Ok(()) => Outcome::Finished,
            Err(failure) => {
                reply.truncate(start);
                failure.write(&function.name, reply);
                Outcome::from(failure.cause)
            }
        };
        self.reply_buffer = buffer;
        self.exhausted |= outcome == Outcome::OutOfMemory;
        outcome
    }

    /// Builds the state anew if it ran out of memory, and runs every library again.
    fn revive(&mut self, host: &mut dyn Host) {
        if !std::mem::take(&mut self.exhausted) {
            return;
        }
        self.sandbox = new_sandbox(&self.config);
        for library in self.libraries.values_mut() {
            let again = shebang::library(&library.code).ok().and_then(|LibraryHead { text, .. }| {
                run_library(&mut self.sandbox, text, &mut self.reply_buffer, host).ok()
            });
            for function in &mut library.functions {
                let same = again.iter().flatten().find(|other| other.name == function.name);
                function.slot = same.and_then(|other| other.slot);
            }
        }
    }
}

fn new_sandbox(config: &EngineConfig) -> Sandbox {
    Sandbox::new(config, Purpose::Libraries).expect("a fresh state has no memory limit and runs only our own prelude")
}

/// Compiles and runs a library and keeps what it registers; the error is the text for the client, without its code.
fn run_library(
    sandbox: &mut Sandbox,
    text: &[u8],
    buffer: &mut Vec<u8>,
    host: &mut dyn Host,
) -> Result<Vec<Function>, (Vec<u8>, Cause)> {
    let slot = sandbox.compile(text).map_err(|error| {
        (format!("Error compiling function: {}", compile_message(error)).into_bytes(), Cause::Error)
    })?;
    let invocation = Invocation { keys: &[], args: &[], protocol: Protocol::Resp2 };
    let run = Run { sandbox, enter: &sandbox.prelude.enter_library, slot };
    // One by one: a function held from outside Lua is a reference, of which there are few.
    let registered = run.value(&invocation, host, buffer, |value, _| {
        let Value::Table(list) = value else { return Ok(Vec::new()) };
        let rows = list.sequence_values::<Table>().zip(sandbox.free_slots());
        rows.map(|(row, slot)| read_function(&row?, sandbox, slot)).collect()
    });
    sandbox.discard(slot);
    let functions = registered
        .map_err(|failure| ([b"Error registering functions: ", failure.message.as_slice()].concat(), failure.cause))?;
    sandbox.take_slots(functions.len());
    Ok(functions)
}

/// Reads a row of the list that prelude.lua makes and keeps the function in a slot.
fn read_function(row: &Table, sandbox: &Sandbox, slot: u32) -> mlua::Result<Function> {
    let text = |value: LuaString| value.as_bytes().to_vec();
    sandbox.keep(slot, row.raw_get("callback")?)?;
    Ok(Function {
        name: text(row.raw_get("name")?),
        description: row.raw_get::<Option<LuaString>>("description")?.map(text),
        flags: ScriptFlags::from_bits(row.raw_get("flags")?),
        slot: Some(slot),
    })
}
