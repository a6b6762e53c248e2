//! What library functions raise, how the place of an error is found, and how an error reads in the reply.
//!
//! A Rust function cannot throw an arbitrary Lua value, only an [`mlua::Error`], which Lua sees as an opaque object. The value a
//! script is meant to see travels inside as a [`Raise`]; the sandbox's `pcall` and `xpcall` take it out again, and the handler
//! under which every script runs turns whatever escaped into a [`Failure`]. A kill is the one raise that `pcall` passes on.

use mlua::{Lua, Value};

use crate::number;

/// The chunk name of every script; the leading `@` makes Lua print it as a file name.
pub(crate) const CHUNK_NAME: &str = "@user_script";

/// The chunk name of every library of functions.
pub(crate) const LIBRARY_CHUNK_NAME: &str = "@user_function";

/// The name errors inside prelude.lua carry.
pub(crate) const PRELUDE_NAME: &str = "sandbox";

/// How many stack levels are searched for the script's own line.
const MAX_LEVELS_SEARCHED: usize = 64;

/// Why a script was not accepted. The display form is the error reply without its leading dash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScriptError {
    /// The text is not valid Lua; carries Lua's message.
    Compile(String),
    /// The shebang line is malformed; carries Redis's text.
    Shebang(String),
    /// The text is longer than the limit of bytes carried.
    TooLong(usize),
    /// The scripts already loaded leave no room; carries the limit in bytes.
    CacheFull(usize),
    /// The library is refused; carries the whole text of the reply.
    Library(Vec<u8>),
}

impl ScriptError {
    /// Returns the error reply without its leading dash.
    pub fn text(&self) -> Vec<u8> {
        match self {
            ScriptError::Library(text) => text.clone(),
            other => other.to_string().into_bytes(),
        }
    }
}

impl std::fmt::Display for ScriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ScriptError::Compile(message) => write!(f, "ERR Error compiling script (new function): {message}"),
            ScriptError::Shebang(message) => write!(f, "ERR {message}"),
            ScriptError::TooLong(limit) => write!(f, "ERR Script is longer than {limit} bytes"),
            ScriptError::CacheFull(limit) => {
                write!(f, "ERR Loaded scripts exceed {limit} bytes, use SCRIPT FLUSH to make room")
            }
            ScriptError::Library(text) => f.write_str(&String::from_utf8_lossy(text)),
        }
    }
}

impl std::error::Error for ScriptError {}

/// A value thrown by a library function.
#[derive(Debug)]
pub(crate) enum Raise {
    /// A string, already prefixed by its position where Lua would have done so.
    Text(Vec<u8>),
    /// A table `{err = …}`, as `redis.call` raises; the text includes the error code.
    Reply(Vec<u8>),
    /// The end of the script, which nothing catches; the text includes the error code.
    Killed(Vec<u8>),
}

impl std::fmt::Display for Raise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Raise::Text(text) | Raise::Reply(text) | Raise::Killed(text)) = self;
        f.write_str(&String::from_utf8_lossy(text))
    }
}

impl std::error::Error for Raise {}

/// Raises a string as `luaL_error` does: prefixed by the line that called the running library function, if that is Lua code.
pub(crate) fn text(lua: &Lua, message: impl AsRef<[u8]>) -> mlua::Error {
    let mut prefixed = position(lua).unwrap_or_default().into_bytes();
    prefixed.extend_from_slice(message.as_ref());
    mlua::Error::external(Raise::Text(prefixed))
}

/// Raises a string without a position.
pub(crate) fn bare_text(message: impl Into<Vec<u8>>) -> mlua::Error {
    mlua::Error::external(Raise::Text(message.into()))
}

/// Raises `{err = message}`.
pub(crate) fn reply(message: impl Into<Vec<u8>>) -> mlua::Error {
    mlua::Error::external(Raise::Reply(message.into()))
}

/// The error Lua itself raises when the memory limit is reached.
pub(crate) fn out_of_memory() -> mlua::Error {
    mlua::Error::MemoryError(NOT_ENOUGH_MEMORY.to_string())
}

/// Lua's own text for an allocation that failed.
pub(crate) const NOT_ENOUGH_MEMORY: &str = "not enough memory";

/// The place from where the running library function was called, seen past the sandbox's own functions.
fn position(lua: &Lua) -> Option<String> {
    for level in 1..MAX_LEVELS_SEARCHED {
        let (ours, position) = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let short = source.short_src.unwrap_or_default();
            (short == PRELUDE_NAME, frame.current_line().map(|line| format!("{short}:{line}: ")))
        })?;
        if !ours {
            return position;
        }
    }
    None
}

/// What escaped from a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The message with its error code.
    pub(crate) message: Vec<u8>,
    /// The line of the script that was running, where one is known.
    pub(crate) place: Option<Place>,
    /// What ended the script.
    pub(crate) cause: Cause,
}

/// A line of what users wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// [`CHUNK_NAME`] or [`LIBRARY_CHUNK_NAME`].
    chunk: &'static str,
    line: usize,
}

/// The kind of end a failed script came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Error,
    Killed,
    OutOfMemory,
}

impl Failure {
    /// Describes an error that did not come with a Lua value.
    pub(crate) fn from_error(error: &mlua::Error, place: Option<Place>) -> Failure {
        let (message, cause) = match thrown(error) {
            Thrown::Raise(Raise::Text(text)) => (coded(text), Cause::Error),
            Thrown::Raise(Raise::Reply(text)) => (text.clone(), Cause::Error),
            Thrown::Raise(Raise::Killed(text)) => (text.clone(), Cause::Killed),
            Thrown::OutOfMemory => (coded(NOT_ENOUGH_MEMORY.as_bytes()), Cause::OutOfMemory),
            Thrown::Foreign(text) => (coded(text.as_bytes()), Cause::Error),
        };
        Failure { message, place, cause }
    }

    /// Describes a value thrown by the script, as seen by a handler running right above the place of the error.
    pub(crate) fn from_value(lua: &Lua, value: &Value) -> Failure {
        let place = script_place(lua);
        let message = match value {
            Value::Error(error) => return Failure::from_error(error, place),
            Value::Table(table) => match table.raw_get::<Value>("err") {
                Ok(Value::String(text)) => text.as_bytes().to_vec(),
                Ok(Value::Integer(number)) => number.to_string().into_bytes(),
                Ok(Value::Number(number)) => number_text(number),
                _ => b"ERR unknown error".to_vec(),
            },
            Value::String(text) => coded(&placed(&text.as_bytes(), place)),
            Value::Integer(number) => coded(number.to_string().as_bytes()),
            Value::Number(number) => coded(&number_text(*number)),
            Value::Boolean(value) => coded(value.to_string().as_bytes()),
            Value::Nil => coded(b"nil"),
            other => coded(other.type_name().as_bytes()),
        };
        let is_memory = matches!(value, Value::String(text) if text.as_bytes() == NOT_ENOUGH_MEMORY.as_bytes());
        let cause = if is_memory { Cause::OutOfMemory } else { Cause::Error };
        Failure { message, place, cause }
    }

    /// Appends the error reply: message, name of the script or function, and line, on one line.
    pub(crate) fn write(&self, name: &[u8], reply: &mut Vec<u8>) {
        reply.push(b'-');
        write_line(&self.message, reply);
        reply.extend_from_slice(b" script: ");
        reply.extend_from_slice(name);
        if let Some(Place { chunk, line }) = self.place {
            reply.extend_from_slice(format!(", on {chunk}:{line}.").as_bytes());
        }
        reply.extend_from_slice(b"\r\n");
    }
}

/// Appends text with line breaks turned into spaces, since one would end the reply early.
pub(crate) fn write_line(text: &[u8], reply: &mut Vec<u8>) {
    reply.extend(text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
}

/// What an [`mlua::Error`] stands for.
pub(crate) enum Thrown<'a> {
    Raise(&'a Raise),
    OutOfMemory,
    Foreign(String),
}

/// Unwraps an error down to what was raised.
pub(crate) fn thrown(error: &mlua::Error) -> Thrown<'_> {
    if let Some(raise) = error.downcast_ref::<Raise>() {
        return Thrown::Raise(raise);
    }
    let mut error = error;
    while let mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } = error {
        error = cause;
    }
    match error {
        mlua::Error::MemoryError(_) => Thrown::OutOfMemory,
        mlua::Error::RuntimeError(text) => Thrown::Foreign(text.clone()),
        other => Thrown::Foreign(other.to_string()),
    }
}

/// Shows the script's line where Lua's own function was called through the prelude and shows the prelude's.
fn placed(text: &[u8], place: Option<Place>) -> Vec<u8> {
    let inner = text.strip_prefix(PRELUDE_NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
    let Some((inner, Place { chunk, line })) = inner.zip(place) else { return text.to_vec() };
    let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
    [format!("{}:{line}", &chunk[1..]).as_bytes(), &inner[digits..]].concat()
}

fn coded(text: &[u8]) -> Vec<u8> {
    [b"ERR ", text].concat()
}

fn number_text(number: f64) -> Vec<u8> {
    let mut out = Vec::new();
    number::write_general(&mut out, number, 14);
    out
}

/// Finds the innermost line of the script itself on the stack.
fn script_place(lua: &Lua) -> Option<Place> {
    for level in 1..MAX_LEVELS_SEARCHED {
        let found = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let source = source.source.as_deref();
            let chunk = [CHUNK_NAME, LIBRARY_CHUNK_NAME].into_iter().find(|name| source == Some(name))?;
            frame.current_line().map(|line| Place { chunk, line })
        })?;
        if found.is_some() {
            return found;
        }
    }
    None
}
