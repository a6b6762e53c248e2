//! The `redis` library: how a script talks to the store.
//!
//! `call` and `pcall` borrow the host and are created for each run; everything else lives as long as the Lua state and reaches
//! the host through the bridge (see `limits`).

use std::cell::RefCell;
use std::sync::Arc;

use mlua::{Lua, MultiValue, Table, Value};

use crate::arguments::Arguments;
use crate::convert::{Names, ReplyReader};
use crate::engine::{EngineConfig, sha1_hex};
use crate::errors;
use crate::host::{Host, LogLevel, Propagation, Protocol, Replication};
use crate::limits::{Answer, Request, Shared, Unlimited};
use crate::number;

/// The most arguments one command takes from a script.
const MAX_COMMAND_ARGUMENTS: usize = 1024 * 1024;

const LEVELS: &[(&str, LogLevel)] = &[
    ("LOG_DEBUG", LogLevel::Debug),
    ("LOG_VERBOSE", LogLevel::Verbose),
    ("LOG_NOTICE", LogLevel::Notice),
    ("LOG_WARNING", LogLevel::Warning),
];

const REPL_AOF: i64 = 1;
const REPL_REPLICA: i64 = 2;
const REPLICATION_FLAGS: &[(&str, i64)] = &[
    ("REPL_NONE", 0),
    ("REPL_AOF", REPL_AOF),
    ("REPL_SLAVE", REPL_REPLICA),
    ("REPL_REPLICA", REPL_REPLICA),
    ("REPL_ALL", REPL_AOF | REPL_REPLICA),
];

/// Builds the library without `call` and `pcall`, which prelude.lua sets for each run.
pub(crate) fn library(
    lua: &Lua,
    config: &EngineConfig,
    shared: &Arc<Shared>,
    names: &Arc<Names>,
) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    redis.raw_set("REDIS_VERSION", config.version_text())?;
    redis.raw_set("REDIS_VERSION_NUM", config.version_number())?;
    for (number, (name, _)) in LEVELS.iter().enumerate() {
        redis.raw_set(*name, number)?;
    }
    for &(name, flags) in REPLICATION_FLAGS {
        redis.raw_set(name, flags)?;
    }
    redis.raw_set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
    redis.raw_set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
    redis.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    let state = shared.clone();
    redis.raw_set("sha1hex", lua.create_function(move |lua, values: MultiValue| sha1hex(lua, &state, values))?)?;
    add_reply_tables(lua, &redis, names)?;
    add_settings(lua, &redis, shared)?;
    add_log(lua, &redis, shared)?;
    add_acl_check(lua, &redis, shared)?;
    Ok(redis)
}

/// Takes away from the library what functions do not have, and returns the part of it that a library sees while it is loaded.
pub(crate) fn withhold_from_functions(lua: &Lua, redis: &Table) -> mlua::Result<Table> {
    for name in ["replicate_commands", "breakpoint", "debug"] {
        redis.raw_set(name, Value::Nil)?;
    }
    let loading = lua.create_table()?;
    let levels = LEVELS.iter().map(|(name, _)| *name);
    for name in levels.chain(["log", "REDIS_VERSION", "REDIS_VERSION_NUM"]) {
        loading.raw_set(name, redis.raw_get::<Value>(name)?)?;
    }
    Ok(loading)
}

fn sha1hex(lua: &Lua, shared: &Shared, values: MultiValue) -> mlua::Result<String> {
    if values.len() != 1 {
        return Err(errors::reply("ERR wrong number of arguments"));
    }
    let mut args = Arguments::first(lua, values, 1);
    shared.spend(lua, args.text_len(1) / 4)?;
    // Like the C function, takes whatever is not a string for an empty one.
    let digest = match args.string(1) {
        Ok(text) => sha1_hex(&text.as_bytes()),
        Err(_) => sha1_hex(b""),
    };
    Ok(String::from_utf8_lossy(&digest).into_owned())
}

fn add_reply_tables(lua: &Lua, redis: &Table, names: &Arc<Names>) -> mlua::Result<()> {
    const WRONG_ARGUMENTS: &[u8] = b"ERR wrong number or type of arguments";
    let shared_names = names.clone();
    redis.raw_set(
        "error_reply",
        lua.create_function(move |lua, values: MultiValue| {
            let Some(Value::String(text)) = only(&values) else {
                return shared_names.error_table(lua, WRONG_ARGUMENTS);
            };
            let text = text.as_bytes();
            let bare = text.strip_prefix(b"-").unwrap_or(&text);
            if bare.contains(&b' ') {
                return shared_names.error_table(lua, bare);
            }
            shared_names.error_table(lua, &[b"ERR ", bare].concat())
        })?,
    )?;
    let shared_names = names.clone();
    redis.raw_set(
        "status_reply",
        lua.create_function(move |lua, values: MultiValue| match only(&values) {
            Some(Value::String(text)) => shared_names.status_table(lua, &text.as_bytes()),
            _ => shared_names.error_table(lua, WRONG_ARGUMENTS),
        })?,
    )
}

fn only(values: &MultiValue) -> Option<&Value> {
    if values.len() == 1 { values.front() } else { None }
}

fn add_settings(lua: &Lua, redis: &Table, shared: &Arc<Shared>) -> mlua::Result<()> {
    let state = shared.clone();
    redis.raw_set(
        "setresp",
        lua.create_function(move |lua, values: MultiValue| {
            if values.len() != 1 {
                return Err(errors::reply("ERR redis.setresp() requires one argument."));
            }
            match lossy_integer(lua, values) {
                2 => state.set_protocol(Protocol::Resp2),
                3 => state.set_protocol(Protocol::Resp3),
                _ => return Err(errors::reply("ERR RESP version must be 2 or 3.")),
            }
            Ok(())
        })?,
    )?;
    let state = shared.clone();
    redis.raw_set(
        "set_repl",
        lua.create_function(move |lua, values: MultiValue| {
            if values.len() != 1 {
                return Err(errors::reply("ERR redis.set_repl() requires two arguments."));
            }
            let flags = lossy_integer(lua, values);
            if flags & !(REPL_AOF | REPL_REPLICA) != 0 {
                return Err(errors::reply(
                    "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
                ));
            }
            let towards = |flag| if flags & flag != 0 { Propagation::Send } else { Propagation::Withhold };
            let replication = Replication { log: towards(REPL_AOF), replicas: towards(REPL_REPLICA) };
            state.ask(lua, Request::Replicate(replication))?;
            Ok(())
        })?,
    )
}

/// The only argument as an integer, 0 where it is none: `lua_tonumber` does not complain.
fn lossy_integer(lua: &Lua, values: MultiValue) -> i64 {
    Arguments::first(lua, values, 1).integer(1).unwrap_or(0)
}

fn add_log(lua: &Lua, redis: &Table, shared: &Arc<Shared>) -> mlua::Result<()> {
    let state = shared.clone();
    redis.raw_set(
        "log",
        lua.create_function(move |lua, values: MultiValue| {
            let mut args = Arguments::new(lua, values)?;
            if args.count() < 2 {
                return Err(errors::reply("ERR redis.log() requires two arguments or more."));
            }
            let (Value::Integer(_) | Value::Number(_)) = args.value(1) else {
                return Err(errors::reply("ERR First argument must be a number (log level)."));
            };
            let level = usize::try_from(args.integer(1)?).ok().and_then(|number| LEVELS.get(number));
            let Some(&(_, level)) = level else {
                return Err(errors::reply("ERR Invalid debug level."));
            };
            let mut message = Vec::new();
            for index in 2..=args.count() {
                if index > 2 {
                    message.push(b' ');
                }
                if let Ok(part) = args.string(index) {
                    message.extend_from_slice(&part.as_bytes());
                }
            }
            state.ask(lua, Request::Log(level, message))?;
            Ok(())
        })?,
    )
}

fn add_acl_check(lua: &Lua, redis: &Table, shared: &Arc<Shared>) -> mlua::Result<()> {
    let state = shared.clone();
    redis.raw_set(
        "acl_check_cmd",
        lua.create_function(move |lua, values: MultiValue| {
            if values.is_empty() {
                return Err(errors::reply(
                    "ERR Please specify at least one argument for this redis.acl_check_cmd() call",
                ));
            }
            let args = collect(&values)?;
            let args = args.iter().map(<[u8]>::to_vec).collect();
            match state.ask(lua, Request::Permits(args))? {
                Answer::Permits(Some(allowed)) => Ok(allowed),
                _ => Err(errors::reply("ERR Invalid command passed to redis.acl_check_cmd()")),
            }
        })?,
    )
}

/// What one run's `redis.call` and `redis.pcall` work on.
pub(crate) struct Caller<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) names: &'a Names,
    /// The mark of `redis.pcall`, which no script can reach.
    pub(crate) protected: &'a Table,
    pub(crate) host: RefCell<&'a mut dyn Host>,
    /// The reply of the command running, kept for its capacity.
    pub(crate) reply: RefCell<Vec<u8>>,
}

/// What a command is taken to cost, in the units of [`Shared::spend`], beside what it costs the host.
const WORK_PER_CALL: usize = 30;
const WORK_PER_ARGUMENT: usize = 10;
/// Reply buffers larger than this are not kept for the next command.
const MAX_KEPT_REPLY_BYTES: usize = 64 * 1024;

impl Caller<'_> {
    /// Serves a request left behind for the bridge, or else runs the command named by the arguments; behind the mark of `redis.pcall` an error reply is
    /// returned instead of raised.
    pub(crate) fn invoke(&self, lua: &Lua, mut values: MultiValue) -> mlua::Result<Value> {
        if values.is_empty()
            && let Some(request) = self.shared.take_request()
        {
            let answer = request.serve(*self.host.borrow_mut());
            self.shared.set_answer(answer);
            return Ok(Value::Nil);
        }
        let raises = !matches!(values.front(), Some(Value::Table(first)) if first == self.protected);
        if !raises {
            values.pop_front();
        }
        self.shared.spend(lua, WORK_PER_CALL + WORK_PER_ARGUMENT * values.len())?;
        let unlimited = Unlimited::enter(lua, self.shared);
        match self.command(lua, &unlimited, values) {
            Ok(Outcome::Value(value)) => Ok(value),
            Ok(Outcome::Refused(message)) | Ok(Outcome::Failed(message)) if raises => Err(errors::reply(message)),
            Ok(Outcome::Refused(message)) => self.names.error_table(lua, &message).map(Value::Table),
            Ok(Outcome::Failed(message)) => self.names.command_error_table(lua, &message).map(Value::Table),
            Err(error) => Err(error),
        }
    }

    fn command(&self, lua: &Lua, unlimited: &Unlimited<'_>, values: MultiValue) -> mlua::Result<Outcome> {
        if values.is_empty() {
            return Ok(Outcome::refused("ERR Please specify at least one argument for this redis lib call"));
        }
        let Ok(args) = collect(&values) else {
            return Ok(Outcome::refused("ERR Lua redis lib command arguments must be strings or integers"));
        };
        // Gives back the references for the reply to use.
        drop(values);
        let mut reply = self.reply.take();
        reply.clear();
        let protocol = self.shared.protocol();
        {
            let args: smallvec::SmallVec<[&[u8]; 8]> = args.iter().collect();
            self.host.borrow_mut().call(&args, protocol, &mut reply);
        }
        let outcome = match reply.split_first() {
            Some((b'-', message)) => {
                let end = message.iter().position(|&byte| byte == b'\r').unwrap_or(message.len());
                Ok(Outcome::Failed(message[..end].to_vec()))
            }
            _ => ReplyReader { lua, names: self.names, unlimited, bytes: &reply }.read().map(Outcome::Value),
        };
        if reply.capacity() <= MAX_KEPT_REPLY_BYTES {
            self.reply.replace(reply);
        }
        outcome
    }
}

enum Outcome {
    Value(Value),
    /// The call was wrong and no command ran.
    Refused(Vec<u8>),
    /// The command answered by an error.
    Failed(Vec<u8>),
}

impl Outcome {
    fn refused(message: &str) -> Outcome {
        Outcome::Refused(message.as_bytes().to_vec())
    }
}

/// The arguments of a command, one after the other in one buffer.
struct Packed {
    bytes: Vec<u8>,
    ends: smallvec::SmallVec<[usize; 16]>,
}

impl Packed {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let argument = &self.bytes[start..end];
            start = end;
            argument
        })
    }
}

/// Collects strings and numbers as bytes; numbers are written so that they read back the same.
fn collect(values: &MultiValue) -> mlua::Result<Packed> {
    if values.len() > MAX_COMMAND_ARGUMENTS {
        return Err(errors::reply("ERR Too many arguments"));
    }
    let mut packed = Packed { bytes: Vec::with_capacity(64), ends: smallvec::SmallVec::new() };
    for value in values {
        match value {
            Value::String(text) => packed.bytes.extend_from_slice(&text.as_bytes()),
            Value::Integer(number) => {
                number::write_general(&mut packed.bytes, *number as f64, number::ROUND_TRIP_PRECISION);
            }
            Value::Number(number) => {
                number::write_general(&mut packed.bytes, *number, number::ROUND_TRIP_PRECISION);
            }
            _ => return Err(errors::reply("ERR Lua redis lib command arguments must be strings or integers")),
        }
        packed.ends.push(packed.bytes.len());
    }
    Ok(packed)
}
