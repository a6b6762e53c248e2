//! `loadstring` and `load`: text that a script turns into a function while it runs.
//!
//! What is compiled sees the globals of all scripts and no others, and only text is compiled: the binary form that `string.dump` makes
//! is read as text, where its first byte is refused, as redis-server does it. The means are those by which scripts themselves are
//! compiled: the collector stands still meanwhile (see `sandbox`), the memory limit of the run holds, a text has at most
//! [`MAX_SCRIPT_BYTES`], and the time it takes is accounted for, so that a script which does nothing else can be ended.
//!
//! `load` reads its pieces in prelude.lua, where a reader that never ends can be interrupted, and compiles them in one go; it stops reading
//! at [`MAX_SCRIPT_BYTES`], too.

use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

use crate::arguments::Arguments;
use crate::engine::{MAX_SCRIPT_BYTES, compile_message};
use crate::errors;
use crate::limits::Shared;

/// Compiling a byte costs as much as so many units of [`Shared::spend`].
const UNITS_PER_BYTE: usize = 2;

/// The first byte of a compiled chunk.
const BINARY_MARK: u8 = 0x1b;

/// What prelude.lua needs for both functions: the maker of `loadstring`, and the limit of what `load` reads.
pub(crate) fn install(lua: &Lua, native: &Table, shared: &Arc<Shared>) -> mlua::Result<()> {
    native.raw_set("compiler", compiler(lua, shared)?)?;
    native.raw_set("max_chunk_bytes", MAX_SCRIPT_BYTES)?;
    native.raw_set("chunk_too_long", too_long())
}

fn too_long() -> String {
    format!("chunk is longer than {MAX_SCRIPT_BYTES} bytes")
}

/// `compiler(environment)`: the `loadstring` whose functions see that environment.
fn compiler(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Function> {
    let shared = shared.clone();
    lua.create_function(move |lua, environment: Table| {
        let shared = shared.clone();
        lua.create_function(move |lua, values: MultiValue| load_string(lua, &shared, &environment, values))
    })
}

/// `loadstring(text [, name])`: a function, or nil and what is wrong with the text.
fn load_string(lua: &Lua, shared: &Shared, environment: &Table, values: MultiValue) -> mlua::Result<MultiValue> {
    let mut args = Arguments::first(lua, values, 2);
    let text = args.string(1)?;
    let name = if args.is_none_or_nil(2) { text.clone() } else { args.string(2)? };
    let text = text.as_bytes();
    if text.len() > MAX_SCRIPT_BYTES {
        return refuse(lua, &too_long());
    }
    shared.spend(lua, text.len().saturating_mul(UNITS_PER_BYTE))?;
    // Behind a space the mark of a compiled chunk is a symbol like any other, which no text may contain.
    let spaced = (text.first() == Some(&BINARY_MARK)).then(|| [b" ", &*text].concat());
    let chunk = lua.load(spaced.as_deref().unwrap_or(&text)).set_name(chunk_name(&name.as_bytes()));
    lua.gc_stop();
    let compiled = chunk.set_mode(ChunkMode::Text).set_environment(environment.clone()).into_function();
    lua.gc_restart();
    match compiled {
        Ok(function) => function.into_lua_multi(lua),
        Err(mlua::Error::MemoryError(_)) => Err(errors::out_of_memory()),
        Err(error) => refuse(lua, &compile_message(error)),
    }
}

/// A name as C sees it: it ends at the first zero.
fn chunk_name(name: &[u8]) -> String {
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

fn refuse(lua: &Lua, message: &str) -> mlua::Result<MultiValue> {
    (Value::Nil, lua.create_string(message)?).into_lua_multi(lua)
}
