//! Builds the Lua state scripts run in.
//!
//! A script sees the globals of redis-server 7: base, `string`, `table`, `math`, `os.clock`, `cjson`, `cmsgpack`, `struct`, `bit`
//! and `redis`. Taken away for hardening although redis-server has them: `load`, `loadstring`, `collectgarbage`, `gcinfo`,
//! `coroutine` and `string.dump`. Never there: `dofile`, `loadfile`, `require`, `module`, `getfenv`, `setfenv`, `newproxy`, `print`,
//! `io`, `debug`.
//!
//! Lua 5.1.5 is as upstream left it in 2012, so known holes are covered here:
//!
//! | hole | cover |
//! |---|---|
//! | CVE-2025-49844: the parser's chunk name can be collected while parsing | the collector stands still while a script compiles (`engine`), and scripts cannot compile |
//! | CVE-2025-46817: `unpack` overflows its count | `unpack` checks its range first (prelude.lua) |
//! | CVE-2025-46819: the lexer miscounts the `=` of a long bracket | takes 2^31 of them, a script may have `MAX_SCRIPT_BYTES` (`engine`) |
//! | CVE-2025-46818: scripts of one user change metatables of basic types for others | the string metatable shows a read-only proxy (prelude.lua) |
//! | CVE-2024-31449: `bit.tohex` overflows its buffer | `bit` is written in Rust, like all libraries Redis adds |
//! | CVE-2024-46981: a finaliser runs on freed memory | no `newproxy`, hence no finalisers; no `collectgarbage` |
//! | malicious bytecode | only text is compiled; no `string.dump`, no `load` |
//! | `pcall` and error handlers swallow a kill | both are wrapped and pass it on (prelude.lua) |
//! | pattern matching, `string.rep`, `table.insert`, `table.sort` run for hours inside C | the first two are written in Rust, the others wrapped |

use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};
use parking_lot::Mutex;

use crate::convert::Names;
use crate::engine::EngineConfig;
use crate::errors::{self, Failure, Raise, Thrown};
use crate::limits::{Shared, Unlimited};
use crate::random::Generator;
use crate::{api, bit, cjson, cmsgpack, patterns, random, structs};

/// A Lua state ready to run scripts.
pub(crate) struct Sandbox {
    pub(crate) lua: Lua,
    pub(crate) shared: Arc<Shared>,
    pub(crate) names: Arc<Names>,
    /// prelude.lua's `enter`.
    pub(crate) enter: Function,
    /// prelude.lua's `adopt`.
    adopt: Function,
    /// The compiled scripts, kept inside Lua because references from outside are limited to a few thousand.
    scripts: Table,
    next_slot: u32,
    memory_limit: usize,
    generator: Arc<Mutex<Generator>>,
    json: cjson::Defaults,
}

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
const STRING_FUNCTIONS: &[&str] = &["byte", "char", "format", "len", "lower", "reverse", "sub", "upper"];

impl Sandbox {
    /// Builds a state within the limits of `config`.
    pub(crate) fn new(config: &EngineConfig) -> mlua::Result<Sandbox> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let shared = Arc::new(Shared::new(config.memory_limit));
        let names = Arc::new(Names::new(&lua)?);
        let generator = Arc::new(Mutex::new(Generator::new()));
        let json = cjson::Defaults::new();

        let libraries = build_libraries(&lua, config, &shared, &names, &generator, &json)?;
        let scripts = lua.create_table()?;
        let (enter, adopt) = run_prelude(&lua, &shared, &names, libraries, &scripts)?;
        let globals = lua.globals();
        for name in REMOVED {
            globals.raw_set(*name, Value::Nil)?;
        }
        install_hook(&lua, &shared, config.instructions_per_check)?;
        Ok(Sandbox {
            lua,
            shared,
            names,
            enter,
            adopt,
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
        let compiled = self.lua.load(text).set_name(errors::CHUNK_NAME).set_mode(ChunkMode::Text).into_function();
        self.lua.set_memory_limit(0)?;
        self.lua.gc_restart();
        let slot = self.next_slot;
        self.adopt.call::<()>((compiled?, slot))?;
        self.next_slot += 1;
        Ok(slot)
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

    let libraries = lua.create_table()?;
    libraries.raw_set("string", string)?;
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
    libraries: Table,
    scripts: &Table,
) -> mlua::Result<(Function, Function)> {
    let native = lua.create_table()?;
    native.raw_set("table", libraries.raw_get::<Table>("table")?)?;
    native.raw_set("libraries", libraries)?;
    native.raw_set("scripts", scripts)?;
    native.raw_set("settle", settle(lua, shared, names)?)?;
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
    lua.load(include_str!("prelude.lua"))
        .set_name(format!("={}", errors::PRELUDE_NAME))
        .set_mode(ChunkMode::Text)
        .call(native)
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
