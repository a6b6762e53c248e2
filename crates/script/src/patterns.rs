//! `string.find`, `match`, `gmatch`, `gsub` and `rep`, written in Rust so that they can be interrupted (see `matcher`).
//!
//! `gmatch` keeps its state in Lua (prelude.lua) and takes one step at a time here.

use std::sync::Arc;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};

use crate::arguments::{Arguments, type_name};
use crate::errors;
use crate::limits::{Shared, Unlimited};
use crate::matcher::{Capture, MatchError, Matcher, has_specials};

/// None of the functions takes more.
const MAX_ARGUMENTS: usize = 4;

/// Adds the functions to the string library; the step of `gmatch` goes by the name `gmatch_step` until the prelude takes it.
pub(crate) fn install(lua: &Lua, string: &Table, shared: &Arc<Shared>) -> mlua::Result<()> {
    type Implementation = fn(&Lua, &Shared, Arguments<'_>) -> mlua::Result<MultiValue>;
    let functions: [(&'static str, Implementation); 5] =
        [("find", find), ("match", first_match), ("gmatch_step", gmatch_step), ("gsub", gsub), ("rep", rep)];
    for (name, implementation) in functions {
        let state = shared.clone();
        let function = lua.create_function(move |lua, values: MultiValue| {
            implementation(lua, &state, Arguments::first(lua, values, MAX_ARGUMENTS))
        })?;
        string.raw_set(name, function)?;
    }
    Ok(())
}

/// Whether a search answers by offsets or by captures only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Offsets,
    Captures,
}

fn find(lua: &Lua, shared: &Shared, mut args: Arguments<'_>) -> mlua::Result<MultiValue> {
    search(lua, shared, &mut args, Answer::Offsets)
}

fn first_match(lua: &Lua, shared: &Shared, mut args: Arguments<'_>) -> mlua::Result<MultiValue> {
    search(lua, shared, &mut args, Answer::Captures)
}

fn search(lua: &Lua, shared: &Shared, args: &mut Arguments<'_>, answer: Answer) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (args.string(1)?, args.string(2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let start = start_offset(args.optional_integer(3, 1)?, subject.len());
    let plain = !matches!(args.value(4), Value::Nil | Value::Boolean(false));
    if answer == Answer::Offsets && (plain || !has_specials(&pattern)) {
        shared.spend(lua, subject.len() / 32)?;
        return Ok(match memchr::memmem::find(&subject[start..], &pattern) {
            Some(offset) => offsets(start + offset, start + offset + pattern.len()),
            None => one(Value::Nil),
        });
    }
    let meter = || shared.interrupted(lua);
    let (anchored, pattern) = anchor(&pattern);
    let mut matcher = Matcher::new(&subject, pattern, &meter);
    for at in start..=subject.len() {
        if let Some(end) = matcher.match_at(at).map_err(|error| raise(lua, error))? {
            let mut results = match answer {
                Answer::Offsets => offsets(at, end),
                Answer::Captures => MultiValue::new(),
            };
            let count = match answer {
                Answer::Offsets => matcher.capture_count(),
                Answer::Captures => matcher.capture_count().max(1),
            };
            let unlimited = Unlimited::enter(lua, shared);
            for index in 0..count {
                results.push_back(captured(lua, &unlimited, &matcher, &subject, index, at..end)?);
            }
            return Ok(results);
        }
        if anchored {
            break;
        }
    }
    Ok(one(Value::Nil))
}

/// `gmatch_step(subject, pattern, start)`: where to go on, then the captures; nothing at the end.
fn gmatch_step(lua: &Lua, shared: &Shared, mut args: Arguments<'_>) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (args.string(1)?, args.string(2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let start = usize::try_from(args.integer(3)?).unwrap_or(usize::MAX);
    let meter = || shared.interrupted(lua);
    let mut matcher = Matcher::new(&subject, &pattern, &meter);
    for at in start..=subject.len() {
        if let Some(end) = matcher.match_at(at).map_err(|error| raise(lua, error))? {
            let next = if end == at { end + 1 } else { end };
            let mut results = one(Value::Integer(next as i64));
            let unlimited = Unlimited::enter(lua, shared);
            for index in 0..matcher.capture_count().max(1) {
                results.push_back(captured(lua, &unlimited, &matcher, &subject, index, at..end)?);
            }
            return Ok(results);
        }
    }
    Ok(MultiValue::new())
}

/// What `gsub` puts in place of a match.
enum Replacement {
    Text(LuaString),
    Table(Table),
    Function(Function),
}

fn gsub(lua: &Lua, shared: &Shared, mut args: Arguments<'_>) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (args.string(1)?, args.string(2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let replacement = match args.value(3) {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => Replacement::Text(args.string(3)?),
        _ => match args.take(3) {
            Value::Table(table) => Replacement::Table(table),
            Value::Function(function) => Replacement::Function(function),
            _ => return Err(args.bad(3, "string/function/table expected")),
        },
    };
    let max = args.optional_integer(4, subject.len() as i64 + 1)?;
    let meter = || shared.interrupted(lua);
    let (anchored, pattern) = anchor(&pattern);
    let mut matcher = Matcher::new(&subject, pattern, &meter);
    let mut out = Vec::new();
    let (mut at, mut count) = (0, 0);
    while count < max {
        let matched = matcher.match_at(at).map_err(|error| raise(lua, error))?;
        if let Some(end) = matched {
            count += 1;
            replace(lua, shared, &matcher, &replacement, &subject, at..end, &mut out)?;
        }
        match matched {
            Some(end) if end > at => at = end,
            _ if at < subject.len() => {
                out.push(subject[at]);
                at += 1;
            }
            _ => break,
        }
        if anchored {
            break;
        }
    }
    out.extend_from_slice(&subject[at..]);
    let unlimited = Unlimited::enter(lua, shared);
    unlimited.check(out.len())?;
    Ok(MultiValue::from_iter([Value::String(lua.create_string(out)?), Value::Integer(count)]))
}

fn replace(
    lua: &Lua,
    shared: &Shared,
    matcher: &Matcher<'_>,
    replacement: &Replacement,
    subject: &[u8],
    span: std::ops::Range<usize>,
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let value = match replacement {
        Replacement::Text(text) => {
            expand(lua, matcher, &text.as_bytes(), subject, span, out)?;
            return shared.check_memory(lua, out.len());
        }
        Replacement::Table(table) => {
            let key = {
                let unlimited = Unlimited::enter(lua, shared);
                captured(lua, &unlimited, matcher, subject, 0, span.clone())?
            };
            table.get::<Value>(key)?
        }
        Replacement::Function(function) => {
            let mut values = MultiValue::new();
            {
                let unlimited = Unlimited::enter(lua, shared);
                for index in 0..matcher.capture_count().max(1) {
                    values.push_back(captured(lua, &unlimited, matcher, subject, index, span.clone())?);
                }
            }
            function.call::<Value>(values)?
        }
    };
    match &value {
        Value::Nil | Value::Boolean(false) => out.extend_from_slice(&subject[span]),
        Value::String(text) => out.extend_from_slice(&text.as_bytes()),
        Value::Integer(_) | Value::Number(_) => {
            let text = lua.coerce_string(value)?.ok_or_else(errors::out_of_memory)?;
            out.extend_from_slice(&text.as_bytes());
        }
        other => return Err(errors::text(lua, format!("invalid replacement value (a {})", type_name(other)))),
    }
    shared.check_memory(lua, out.len())
}

/// Appends a replacement text with `%0` to `%9` filled in.
fn expand(
    lua: &Lua,
    matcher: &Matcher<'_>,
    text: &[u8],
    subject: &[u8],
    span: std::ops::Range<usize>,
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let mut rest = text;
    while let Some(escape) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..escape]);
        // Behind a trailing percent sign C finds the terminating zero.
        let letter = rest.get(escape + 1).copied().unwrap_or(0);
        match letter {
            b'0' => out.extend_from_slice(&subject[span.clone()]),
            b'1'..=b'9' => {
                let capture = matcher.capture(usize::from(letter - b'1'), span.start, span.end);
                match capture.map_err(|error| raise(lua, error))? {
                    Capture::Position(at) => out.extend_from_slice((at + 1).to_string().as_bytes()),
                    Capture::Range(start, len) => out.extend_from_slice(&subject[start..start + len]),
                    Capture::Unfinished(_) => {}
                }
            }
            other => out.push(other),
        }
        rest = rest.get(escape + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Ok(())
}

fn rep(lua: &Lua, shared: &Shared, mut args: Arguments<'_>) -> mlua::Result<MultiValue> {
    let text = args.string(1)?;
    let text = text.as_bytes();
    let count = usize::try_from(args.int(2)?).unwrap_or(0);
    shared.spend(lua, text.len().saturating_mul(count) / 32)?;
    let unlimited = Unlimited::enter(lua, shared);
    let len = text.len().checked_mul(count).ok_or_else(errors::out_of_memory)?;
    unlimited.check(len)?;
    let repeated = if len == 0 { Vec::new() } else { text.repeat(count) };
    Ok(one(Value::String(lua.create_string(repeated)?)))
}

fn captured(
    lua: &Lua,
    unlimited: &Unlimited<'_>,
    matcher: &Matcher<'_>,
    subject: &[u8],
    index: usize,
    span: std::ops::Range<usize>,
) -> mlua::Result<Value> {
    match matcher.capture(index, span.start, span.end).map_err(|error| raise(lua, error))? {
        Capture::Position(at) => Ok(Value::Integer(at as i64 + 1)),
        Capture::Range(start, len) => {
            unlimited.check(len)?;
            lua.create_string(&subject[start..start + len]).map(Value::String)
        }
        Capture::Unfinished(_) => Ok(Value::Nil),
    }
}

fn raise(lua: &Lua, error: MatchError) -> mlua::Error {
    match error {
        MatchError::Pattern(message) => errors::text(lua, message),
        MatchError::Stopped(error) => error,
    }
}

fn anchor(pattern: &[u8]) -> (bool, &[u8]) {
    match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    }
}

/// The offset a search starts at; negative positions count from the end.
fn start_offset(position: i64, len: usize) -> usize {
    let len = len as i64;
    let position = if position < 0 { (len + position + 1).max(0) } else { position };
    (position - 1).clamp(0, len) as usize
}

fn offsets(start: usize, end: usize) -> MultiValue {
    MultiValue::from_iter([Value::Integer(start as i64 + 1), Value::Integer(end as i64)])
}

fn one(value: Value) -> MultiValue {
    MultiValue::from_iter([value])
}
