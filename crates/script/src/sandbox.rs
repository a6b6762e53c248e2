//! Builds the Lua state scripts run in.
//!
//! A script sees the globals of redis-server 7: base, `string`, `table`, `math`, `coroutine`, `os.clock`, `cjson`, `cmsgpack`, `struct`,
//! `bit` and `redis`. `load` and `loadstring` compile text only (`chunks`); `collectgarbage` collects and counts, but leaves the
//! collector's pace alone. Never there: `dofile`, `loadfile`, `require`, `module`,
//! `getfenv`, `setfenv`, `newproxy`, `print`, `io`, `debug`.
//!
//! Functions live in a state of their own, built the same way: what a library keeps in its locals outlasts SCRIPT FLUSH, and scripts cannot
//! reach it.
//!
//! Lua 5.1.5 is as upstream left it in 2012, so known holes are covered here:
//!
//! | hole | cover |
//! |---|---|
//! | CVE-2025-49844: the parser's chunk name can be collected while parsing | the collector stands still while a script or a text of its own is compiled (`chunks`) |
//! | CVE-2025-46817: `unpack` overflows its count | `unpack` checks its range first (prelude.lua) |
//! | CVE-2025-46819: the lexer miscounts the `=` of a long bracket | takes 2^31 of them, whatever is compiled may have `MAX_SCRIPT_BYTES` (`engine`, `chunks`) |
//! | CVE-2025-46818: scripts of one user change metatables of basic types for others | the string metatable shows a read-only proxy (prelude.lua) |
//! | CVE-2024-31449: `bit.tohex` overflows its buffer | `bit` is written in Rust, like all libraries Redis adds |
//! | CVE-2024-46981: a finaliser runs on freed memory | no `newproxy`, hence no finalisers |
//! | malicious bytecode | only text is compiled, also by `load` and `loadstring`; what `string.dump` makes is of no use |
//! | `pcall`, `coroutine.resume` and error handlers swallow a kill | all are wrapped and pass it on (prelude.lua) |
//! | pattern matching, `string.rep`, `table.insert`, `table.sort` run for hours inside C | the first two are written in Rust, the others wrapped |

use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};
use parking_lot::Mutex;

use crate::convert::Names;
use crate::engine::EngineConfig;
use crate::errors::{self, Failure, Raise, Thrown};
use crate::limits::{Shared, Unlimited};
use crate::random::Generator;
use crate::{api, bit, chunks, cjson, cmsgpack, patterns, random, structs};

/// What a state is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// EVAL: every script by itself.
    Scripts,
    /// EVAL of scripts that are proven to keep to their keys (`declared`): they cannot change what others see.
    Proven,
    /// FUNCTION LOAD and FCALL: libraries that stay.
    Libraries,
}

/// A Lua state ready to run scripts.
pub(crate) struct Sandbox {
    pub(crate) lua: Lua,
    pub(crate) shared: Arc<Shared>,
    pub(crate) names: Arc<Names>,
    /// By this as its first argument `redis.call` knows that it is `redis.pcall`.
    pub(crate) protected: Table,
    /// What prelude.lua hands over.
    pub(crate) prelude: Prelude,
    purpose: Purpose,
    /// The compiled scripts, kept inside Lua because references from outside are limited to a few thousand.
    scripts: Table,
    next_slot: u32,
    pub(crate) memory_limit: usize,
    generator: Arc<Mutex<Generator>>,
    json: cjson::Defaults,
}

/// The functions of prelude.lua that Rust calls.
pub(crate) struct Prelude {
    /// Runs the script in a slot; in a state for libraries, calls the function in a slot.
    pub(crate) enter: Function,
    /// Runs the library in a slot; the same as `enter` in a state for scripts.
    pub(crate) enter_library: Function,
    adopt: Function,
}

/// To how many per cent of what is in use memory grows before the collector goes round: each round looks at all the libraries again, which most scripts never
/// outgrow. A script that keeps more than a quarter of its limit in use feels it.
const COLLECTOR_PAUSE: i32 = 400;

/// Base functions removed from the globals, lest a reference to the real global table ever leaks.
const REMOVED: &[&str] = &[
    "collectgarbage",
    "coroutine",
    "dofile",
    "gcinfo",
    "getfenv",
    "load",
    "loadfile",
    "loadstring",
    "module",
    "newproxy",
    "print",
    "require",
    "package",
];

/// Functions of `string` that remain Lua's own; the rest is in `patterns`.
const STRING_FUNCTIONS: &[&str] = &["byte", "char", "dump", "format", "len", "lower", "reverse", "sub", "upper"];

impl Sandbox {
    /// Builds a state within the limits of `config`.
    pub(crate) fn new(config: &EngineConfig, purpose: Purpose) -> mlua::Result<Sandbox> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().pause(COLLECTOR_PAUSE)));
        let shared = Arc::new(Shared::new(config.memory_limit));
        let names = Arc::new(Names::new(&lua)?);
        let generator = Arc::new(Mutex::new(Generator::new()));
        let json = cjson::Defaults::new();

        let libraries = build_libraries(&lua, config, &shared, &names, &generator, &json)?;
        let scripts = lua.create_table()?;
        let native = lua.create_table()?;
        let protected = lua.create_table()?;
        native.raw_set("protected", &protected)?;
        native.raw_set("proven", purpose == Purpose::Proven)?;
        if purpose == Purpose::Libraries {
            native.raw_set("functions", true)?;
            native.raw_set("loading", api::withhold_from_functions(&lua, &libraries.raw_get("redis")?)?)?;
        }
        let prelude = run_prelude(&lua, &shared, &names, &native, libraries, &scripts)?;
        let globals = lua.globals();
        for name in REMOVED {
            globals.raw_set(*name, Value::Nil)?;
        }
        install_hook(&lua, &shared, config.instructions_per_check)?;
        Ok(Sandbox {
            lua,
            shared,
            names,
            protected,
            prelude,
            purpose,
            scripts,
            next_slot: 1,
            memory_limit: config.memory_limit,
            generator,
            json,
        })
    }

    /// Compiles a script and returns the slot by which `enter` finds it.
    ///
    /// The collector stands still meanwhile: the parser of Lua 5.1 holds strings nothing else refers to.
    pub(crate) fn compile(&mut self, text: &[u8]) -> mlua::Result<u32> {
        self.lua.gc_stop();
        self.lua.set_memory_limit(self.memory_limit)?;
        let name = match self.purpose {
            Purpose::Scripts | Purpose::Proven => errors::CHUNK_NAME,
            Purpose::Libraries => errors::LIBRARY_CHUNK_NAME,
        };
        let compiled = self.lua.load(text).set_name(name).set_mode(ChunkMode::Text).into_function();
        self.lua.set_memory_limit(0)?;
        self.lua.gc_restart();
        let slot = self.next_slot;
        self.prelude.adopt.call::<()>((compiled?, slot))?;
        self.next_slot += 1;
        Ok(slot)
    }

    /// The slots that are free, in order.
    pub(crate) fn free_slots(&self) -> impl Iterator<Item = u32> {
        self.next_slot..
    }

    /// Keeps a function that a library registered in a free slot, by which `enter` finds it once the slot is taken.
    pub(crate) fn keep(&self, slot: u32, function: Function) -> mlua::Result<()> {
        self.scripts.raw_set(slot, function)
    }

    /// Takes so many of the free slots.
    pub(crate) fn take_slots(&mut self, count: usize) {
        self.next_slot += u32::try_from(count).expect("a library has a limited number of functions");
    }

    /// Forgets a compiled script.
    pub(crate) fn discard(&self, slot: u32) {
        self.scripts.raw_set(slot, Value::Nil).expect("no memory limit is set between runs");
    }

    /// Undoes what a script may have changed inside libraries.
    pub(crate) fn reset_libraries(&self) {
        self.generator.lock().end_run();
        self.json.reset();
    }
}

/// One table per global library, by name.
fn build_libraries(
    lua: &Lua,
    config: &EngineConfig,
    shared: &Arc<Shared>,
    names: &Arc<Names>,
    generator: &Arc<Mutex<Generator>>,
    json: &cjson::Defaults,
) -> mlua::Result<Table> {
    let globals = lua.globals();
    let standard_string: Table = globals.raw_get("string")?;
    let string = lua.create_table()?;
    for name in STRING_FUNCTIONS {
        string.raw_set(*name, standard_string.raw_get::<Function>(*name)?)?;
    }
    patterns::install(lua, &string, shared)?;

    let math: Table = globals.raw_get("math")?;
    random::install(lua, &math, generator)?;

    let standard_os: Table = globals.raw_get("os")?;
    let os = lua.create_table()?;
    os.raw_set("clock", standard_os.raw_get::<Function>("clock")?)?;

    // A copy: what stays Lua's own under the global name is removed.
    let coroutine = lua.create_table()?;
    for pair in globals.raw_get::<Table>("coroutine")?.pairs::<Value, Value>() {
        let (name, function) = pair?;
        coroutine.raw_set(name, function)?;
    }

    let libraries = lua.create_table()?;
    libraries.raw_set("string", string)?;
    libraries.raw_set("coroutine", coroutine)?;
    libraries.raw_set("table", globals.raw_get::<Table>("table")?)?;
    libraries.raw_set("math", math)?;
    libraries.raw_set("os", os)?;
    libraries.raw_set("bit", bit::library(lua)?)?;
    libraries.raw_set("struct", structs::library(lua, shared)?)?;
    libraries.raw_set("cmsgpack", cmsgpack::library(lua, shared)?)?;
    libraries.raw_set("cjson", json.library(lua, shared)?)?;
    libraries.raw_set("redis", api::library(lua, config, shared, names)?)?;
    Ok(libraries)
}

fn run_prelude(
    lua: &Lua,
    shared: &Arc<Shared>,
    names: &Arc<Names>,
    native: &Table,
    libraries: Table,
    scripts: &Table,
) -> mlua::Result<Prelude> {
    native.raw_set("table", libraries.raw_get::<Table>("table")?)?;
    native.raw_set("libraries", libraries)?;
    native.raw_set("scripts", scripts)?;
    native.raw_set("settle", settle(lua, shared, names)?)?;
    chunks::install(lua, native, shared)?;
    native.raw_set(
        "killed",
        lua.create_function(|_, value: Value| {
            let Value::Error(error) = value else { return Ok(false) };
            Ok(matches!(errors::thrown(&error), Thrown::Raise(Raise::Killed(_))))
        })?,
    )?;
    let recorder = shared.clone();
    native.raw_set(
        "handler",
        lua.create_function(move |lua, value: Value| {
            let _unlimited = Unlimited::enter(lua, &recorder);
            recorder.record(Failure::from_value(lua, &value));
            Ok(())
        })?,
    )?;
    let (enter, adopt, enter_function, enter_library) = lua
        .load(include_str!("prelude.lua"))
        .set_name(format!("={}", errors::PRELUDE_NAME))
        .set_mode(ChunkMode::Text)
        .call::<(Function, Function, Option<Function>, Option<Function>)>(native)?;
    Ok(Prelude {
        enter_library: enter_library.unwrap_or_else(|| enter.clone()),
        enter: enter_function.unwrap_or(enter),
        adopt,
    })
}

/// `settle(error)`: the value a script sees for an error raised by a library function; raises kills again.
fn settle(lua: &Lua, shared: &Arc<Shared>, names: &Arc<Names>) -> mlua::Result<Function> {
    let (shared, names) = (shared.clone(), names.clone());
    lua.create_function(move |lua, value: Value| {
        let Value::Error(error) = value else { return Ok(value) };
        let _unlimited = Unlimited::enter(lua, &shared);
        match errors::thrown(&error) {
            Thrown::Raise(Raise::Killed(message)) => Err(mlua::Error::external(Raise::Killed(message.clone()))),
            Thrown::Raise(Raise::Text(text)) => Ok(Value::String(lua.create_string(text)?)),
            Thrown::Raise(Raise::Reply(text)) => Ok(Value::Table(names.error_table(lua, text)?)),
            Thrown::OutOfMemory => Ok(Value::String(lua.create_string(errors::NOT_ENOUGH_MEMORY)?)),
            Thrown::Foreign(text) => Ok(Value::String(lua.create_string(text)?)),
        }
    })
}

fn install_hook(lua: &Lua, shared: &Arc<Shared>, instructions_per_check: u32) -> mlua::Result<()> {
    let shared = shared.clone();
    let triggers = HookTriggers::new().every_nth_instruction(instructions_per_check.max(1));
    lua.set_global_hook(triggers, move |lua, _| {
        shared.interrupted(lua)?;
        Ok(VmState::Continue)
    })
}
