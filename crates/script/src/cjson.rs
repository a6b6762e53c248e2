//! The `cjson` library: JSON as lua-cjson 2.1.0 reads and writes it.
//!
//! Numbers are written with 14 digits, `/` and DEL are escaped, an empty table is an object, and a table whose keys are positive
//! integers is an array unless it is too sparse. The reader takes a little more than JSON (hexadecimal, leading zeros, NaN) unless
//! told otherwise. `cjson.new()` gives a second library with settings of its own; the settings of the first are put back after
//! every script.

mod decode;
mod encode;

use std::sync::Arc;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};
use parking_lot::Mutex;

use crate::arguments::Arguments;
use crate::errors;
use crate::limits::{Shared, Unlimited};

/// How numbers that JSON has no words for are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidNumbers {
    Refuse,
    Allow,
    Null,
}

/// The settings of one instance of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) sparse_convert: bool,
    pub(crate) sparse_ratio: i32,
    pub(crate) sparse_safe: i32,
    pub(crate) encode_max_depth: i32,
    pub(crate) decode_max_depth: i32,
    pub(crate) keep_buffer: bool,
    pub(crate) number_precision: i32,
    pub(crate) encode_invalid_numbers: InvalidNumbers,
    pub(crate) decode_invalid_numbers: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            keep_buffer: true,
            number_precision: 14,
            encode_invalid_numbers: InvalidNumbers::Refuse,
            decode_invalid_numbers: true,
        }
    }
}

/// The deepest nesting a script can ask for: both directions recurse.
const MAX_DEPTH: i32 = 1000;
/// The most digits a script can ask for.
const MAX_PRECISION: i32 = 14;

/// The settings of the global library.
pub(crate) struct Defaults(Arc<Mutex<Settings>>);

impl Defaults {
    pub(crate) fn new() -> Defaults {
        Defaults(Arc::new(Mutex::new(Settings::default())))
    }

    /// Puts the settings back to what scripts start with.
    pub(crate) fn reset(&self) {
        *self.0.lock() = Settings::default();
    }

    /// Builds the global library.
    pub(crate) fn library(&self, lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Table> {
        library(lua, shared, &self.0)
    }
}

fn library(lua: &Lua, shared: &Arc<Shared>, settings: &Arc<Mutex<Settings>>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("encode", encode_function(lua, shared, settings)?)?;
    table.raw_set("decode", decode_function(lua, shared, settings)?)?;
    for setting in SETTINGS {
        table.raw_set(setting.name, setting_function(lua, setting, settings)?)?;
    }
    let state = shared.clone();
    table.raw_set(
        "new",
        lua.create_function(move |lua, _: MultiValue| {
            let unlimited = Unlimited::enter(lua, &state);
            unlimited.check(NEW_LIBRARY_BYTES)?;
            library(lua, &state, &Arc::new(Mutex::new(Settings::default())))
        })?,
    )?;
    Ok(table)
}

/// What an instance of the library takes, for checking the memory limit.
const NEW_LIBRARY_BYTES: usize = 8 * 1024;

fn encode_function(lua: &Lua, shared: &Arc<Shared>, settings: &Arc<Mutex<Settings>>) -> mlua::Result<Function> {
    let (shared, settings) = (shared.clone(), settings.clone());
    lua.create_function(move |lua, values: MultiValue| -> mlua::Result<LuaString> {
        let args = Arguments::new(lua, values)?;
        if args.count() != 1 {
            return Err(args.bad(1, "expected 1 argument"));
        }
        let unlimited = Unlimited::enter(lua, &shared);
        let settings = settings.lock().clone();
        let text = encode::encode(lua, &shared, &unlimited, &settings, args.value(1))?;
        unlimited.check(text.len())?;
        lua.create_string(text)
    })
}

fn decode_function(lua: &Lua, shared: &Arc<Shared>, settings: &Arc<Mutex<Settings>>) -> mlua::Result<Function> {
    let (shared, settings) = (shared.clone(), settings.clone());
    lua.create_function(move |lua, values: MultiValue| {
        let mut args = Arguments::new(lua, values)?;
        if args.count() != 1 {
            return Err(args.bad(1, "expected 1 argument"));
        }
        let text = args.string(1)?;
        let unlimited = Unlimited::enter(lua, &shared);
        let settings = settings.lock().clone();
        decode::decode(lua, &shared, &unlimited, &settings, &text.as_bytes())
    })
}

/// A function that shows and changes one setting.
struct Setting {
    name: &'static str,
    max_arguments: usize,
    apply: fn(&mut Arguments<'_>, &mut Settings) -> mlua::Result<MultiValue>,
}

#[rustfmt::skip]
const SETTINGS: &[Setting] = &[
    Setting { name: "encode_sparse_array", max_arguments: 3, apply: sparse_array },
    Setting { name: "encode_max_depth", max_arguments: 1, apply: |args, s| integer(args, 1, 1, &mut s.encode_max_depth).map(one) },
    Setting { name: "decode_max_depth", max_arguments: 1, apply: |args, s| integer(args, 1, 1, &mut s.decode_max_depth).map(one) },
    Setting { name: "encode_number_precision", max_arguments: 1, apply: precision },
    Setting { name: "encode_keep_buffer", max_arguments: 1, apply: |args, s| flag(args, 1, &mut s.keep_buffer).map(one) },
    Setting { name: "encode_invalid_numbers", max_arguments: 1, apply: encode_invalid_numbers },
    Setting { name: "decode_invalid_numbers", max_arguments: 1, apply: |args, s| flag(args, 1, &mut s.decode_invalid_numbers).map(one) },
];

fn setting_function(lua: &Lua, setting: &'static Setting, settings: &Arc<Mutex<Settings>>) -> mlua::Result<Function> {
    let settings = settings.clone();
    lua.create_function(move |lua, values: MultiValue| {
        let mut args = Arguments::new(lua, values)?;
        if args.count() > setting.max_arguments {
            return Err(args.bad(setting.max_arguments + 1, "found too many arguments"));
        }
        (setting.apply)(&mut args, &mut settings.lock())
    })
}

fn one(value: Value) -> MultiValue {
    MultiValue::from_iter([value])
}

fn sparse_array(args: &mut Arguments<'_>, settings: &mut Settings) -> mlua::Result<MultiValue> {
    let convert = flag(args, 1, &mut settings.sparse_convert)?;
    let ratio = integer(args, 2, 0, &mut settings.sparse_ratio)?;
    let safe = integer(args, 3, 0, &mut settings.sparse_safe)?;
    Ok(MultiValue::from_iter([convert, ratio, safe]))
}

fn precision(args: &mut Arguments<'_>, settings: &mut Settings) -> mlua::Result<MultiValue> {
    bounded(args, 1, 1, MAX_PRECISION, &mut settings.number_precision).map(one)
}

fn encode_invalid_numbers(args: &mut Arguments<'_>, settings: &mut Settings) -> mlua::Result<MultiValue> {
    if !args.is_none_or_nil(1) {
        settings.encode_invalid_numbers = match option(args, 1, &["off", "on", "null"])? {
            0 => InvalidNumbers::Refuse,
            1 => InvalidNumbers::Allow,
            _ => InvalidNumbers::Null,
        };
    }
    Ok(one(match settings.encode_invalid_numbers {
        InvalidNumbers::Refuse => Value::Boolean(false),
        InvalidNumbers::Allow => Value::Boolean(true),
        InvalidNumbers::Null => Value::String(args.create_string("null")?),
    }))
}

fn integer(args: &Arguments<'_>, index: usize, min: i32, setting: &mut i32) -> mlua::Result<Value> {
    bounded(args, index, min, i32::MAX, setting)
}

fn bounded(args: &Arguments<'_>, index: usize, min: i32, max: i32, setting: &mut i32) -> mlua::Result<Value> {
    if !args.is_none_or_nil(index) {
        let value = args.int(index)?;
        if !(min..=max).contains(&value) {
            // The original names the first argument whichever it is.
            return Err(args.bad(1, &format!("expected integer between {min} and {max}")));
        }
        *setting = value;
    }
    Ok(Value::Integer(i64::from(*setting)))
}

fn flag(args: &mut Arguments<'_>, index: usize, setting: &mut bool) -> mlua::Result<Value> {
    if !args.is_none_or_nil(index) {
        *setting = option(args, index, &["off", "on"])? == 1;
    }
    Ok(Value::Boolean(*setting))
}

/// A boolean, or one of the words; answers the word's position.
fn option(args: &mut Arguments<'_>, index: usize, words: &[&str]) -> mlua::Result<usize> {
    if let Value::Boolean(value) = args.value(index) {
        return Ok(usize::from(*value));
    }
    let given = args.string(index)?;
    let given = given.as_bytes();
    words.iter().position(|word| word.as_bytes() == &given[..]).ok_or_else(|| {
        let given = String::from_utf8_lossy(&given).into_owned();
        args.bad(index, &format!("invalid option '{given}'"))
    })
}

/// The depth both directions respect, whatever the setting says.
fn effective_depth(setting: i32) -> usize {
    setting.min(MAX_DEPTH) as usize
}

/// An error of the library, raised with the position of its caller.
fn failure(lua: &Lua, message: impl AsRef<[u8]>) -> mlua::Error {
    errors::text(lua, message)
}
