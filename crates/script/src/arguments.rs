//! Checking of the arguments a script passes to a library function, with the error texts of Lua's auxiliary library.
//!
//! Indices count from 1, as in the texts. A number is accepted where a string is wanted and the other way round, as everywhere
//! in Lua 5.1.

use mlua::{Lua, LuaString, MultiValue, Value};

use crate::errors;

/// The most arguments a library function takes; `redis.call` alone takes what fits Lua's stack.
///
/// The binding keeps a reference for every argument and has room for about 8,000; the rest is for what the function creates.
const MAX_ARGUMENTS: usize = 7000;

/// The arguments of one call of a library function.
pub(crate) struct Arguments<'a> {
    lua: &'a Lua,
    values: MultiValue,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(lua: &'a Lua, values: MultiValue) -> mlua::Result<Arguments<'a>> {
        if values.len() > MAX_ARGUMENTS {
            return Err(errors::text(lua, "too many arguments"));
        }
        Ok(Arguments { lua, values })
    }

    /// Lets go of the arguments behind the first `count`, for functions that ignore them.
    pub(crate) fn first(lua: &'a Lua, mut values: MultiValue, count: usize) -> Arguments<'a> {
        values.truncate(count);
        Arguments { lua, values }
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }

    /// The argument, or nil where there is none.
    pub(crate) fn value(&self, index: usize) -> &Value {
        self.values.get(index - 1).unwrap_or(&Value::Nil)
    }

    pub(crate) fn is_none_or_nil(&self, index: usize) -> bool {
        matches!(self.value(index), Value::Nil)
    }

    /// The length of a string argument, 0 for anything else.
    pub(crate) fn text_len(&self, index: usize) -> usize {
        match self.value(index) {
            Value::String(text) => text.as_bytes().len(),
            _ => 0,
        }
    }

    /// Takes the argument out, leaving nil.
    pub(crate) fn take(&mut self, index: usize) -> Value {
        self.values.get_mut(index - 1).map(std::mem::take).unwrap_or_default()
    }

    /// Takes a string out, or a number as its text.
    pub(crate) fn string(&mut self, index: usize) -> mlua::Result<LuaString> {
        match self.value(index) {
            Value::String(_) => match self.take(index) {
                Value::String(text) => Ok(text),
                _ => Err(self.wrong_type(index, "string")),
            },
            value @ (Value::Integer(_) | Value::Number(_)) => {
                self.lua.coerce_string(value.clone())?.ok_or_else(|| self.wrong_type(index, "string"))
            }
            _ => Err(self.wrong_type(index, "string")),
        }
    }

    /// A number, or a string that reads as one.
    pub(crate) fn number(&self, index: usize) -> mlua::Result<f64> {
        match self.value(index) {
            Value::Integer(number) => Ok(*number as f64),
            Value::Number(number) => Ok(*number),
            value @ Value::String(_) => {
                self.lua.coerce_number(value.clone())?.ok_or_else(|| self.wrong_type(index, "number"))
            }
            _ => Err(self.wrong_type(index, "number")),
        }
    }

    /// A number cut off to an integer.
    pub(crate) fn integer(&self, index: usize) -> mlua::Result<i64> {
        self.number(index).map(|number| number as i64)
    }

    /// A number cut off to a C `int`, wrapping around as C does.
    pub(crate) fn int(&self, index: usize) -> mlua::Result<i32> {
        self.integer(index).map(|number| number as i32)
    }

    /// An integer, or `default` where the argument is absent or nil.
    pub(crate) fn optional_integer(&self, index: usize, default: i64) -> mlua::Result<i64> {
        if self.is_none_or_nil(index) { Ok(default) } else { self.integer(index) }
    }

    /// A new Lua string, for results.
    pub(crate) fn create_string(&self, text: impl AsRef<[u8]>) -> mlua::Result<LuaString> {
        self.lua.create_string(text)
    }

    /// The error for an argument of the wrong type.
    pub(crate) fn wrong_type(&self, index: usize, expected: &str) -> mlua::Error {
        let found = match self.values.get(index - 1) {
            None => "no value",
            Some(value) => type_name(value),
        };
        self.bad(index, &format!("{expected} expected, got {found}"))
    }

    /// The error for an argument that is wrong for the reason given. As in Lua, the function goes by the name it was called by,
    /// and the object of a method call is not counted.
    pub(crate) fn bad(&self, index: usize, reason: &str) -> mlua::Error {
        let called = self.lua.inspect_stack(0, |frame| {
            let names = frame.names();
            names.name.map(|name| (name.into_owned(), names.name_what == Some("method")))
        });
        let message = match called.flatten() {
            Some((name, true)) if index == 1 => format!("calling '{name}' on bad self ({reason})"),
            Some((name, true)) => format!("bad argument #{} to '{name}' ({reason})", index.saturating_sub(1)),
            Some((name, false)) => format!("bad argument #{index} to '{name}' ({reason})"),
            None => format!("bad argument #{index} to '?' ({reason})"),
        };
        errors::text(self.lua, message)
    }
}

/// The name Lua's `type` gives the value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}
