//! RESP replies to Lua values for `redis.call`, and Lua values to RESP replies for the script's result.
//!
//! | RESP | Lua | RESP of a result |
//! |---|---|---|
//! | `:5` | 5 | numbers, cut off to an integer |
//! | `$3 abc` | "abc" | strings |
//! | `$-1` `*-1` | false | false and nil: the null of the protocol |
//! | `_` | nil | |
//! | `+OK` | {ok = "OK"} | likewise |
//! | `-ERR x` | {err = "ERR x"} | likewise |
//! | `*…` | {…} | tables up to the first nil |
//! | `,1.5` | {double = 1.5} | likewise; a bulk string on RESP2 |
//! | `%…` | {map = {…}} | likewise; a flat array on RESP2 |
//! | `~…` | {set = {k = true}} | likewise; an array on RESP2 |
//! | `#t` | true | true: 1, or `#t` after `redis.setresp(3)` |
//! | `(…` | {big_number = "…"} | likewise; a bulk string on RESP2 |
//! | `=…` | {verbatim_string = {format, string}} | likewise; a bulk string on RESP2 |

use mlua::{Either, IntoLua, Lua, LuaString, MultiValue, Table, Value};

use crate::errors::{self, write_line};
use crate::host::Protocol;
use crate::limits::{Shared, Unlimited};
use crate::number;

/// How deeply a reply may nest, in either direction.
const MAX_REPLY_DEPTH: usize = 512;
/// What Redis answers in place of a value that nests deeper.
const TOO_DEEP: &[u8] = b"-ERR reached lua stack limit\r\n";
/// Memory a small Lua table takes, for checking limits before creating one.
const TABLE_BYTES: usize = 64;

/// Field names of tables that stand for replies, interned once.
pub(crate) struct Names {
    ok: LuaString,
    err: LuaString,
    ignore_error_stats_update: LuaString,
    double: LuaString,
    map: LuaString,
    set: LuaString,
    big_number: LuaString,
    verbatim_string: LuaString,
    format: LuaString,
    string: LuaString,
}

impl Names {
    pub(crate) fn new(lua: &Lua) -> mlua::Result<Names> {
        Ok(Names {
            ok: lua.create_string("ok")?,
            err: lua.create_string("err")?,
            ignore_error_stats_update: lua.create_string("ignore_error_stats_update")?,
            double: lua.create_string("double")?,
            map: lua.create_string("map")?,
            set: lua.create_string("set")?,
            big_number: lua.create_string("big_number")?,
            verbatim_string: lua.create_string("verbatim_string")?,
            format: lua.create_string("format")?,
            string: lua.create_string("string")?,
        })
    }

    /// `{err = text}`
    pub(crate) fn error_table(&self, lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
        single(lua, &self.err, Value::String(lua.create_string(text)?))
    }

    /// `{ok = text}`
    pub(crate) fn status_table(&self, lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
        single(lua, &self.ok, Value::String(lua.create_string(text)?))
    }

    /// The table `redis.pcall` returns for an error reply.
    pub(crate) fn command_error_table(&self, lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
        let table = self.error_table(lua, text)?;
        table.raw_set(&self.ignore_error_stats_update, true)?;
        Ok(table)
    }
}

fn single(lua: &Lua, key: &LuaString, value: Value) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(key, value)?;
    Ok(table)
}

/// Bytes on their way to becoming a Lua string. Text goes straight to Lua's stack, for which the binding has no way for other bytes.
pub(crate) type Text<'a> = Either<&'a str, Bytes<'a>>;

/// Bytes that are not UTF-8: a string is made and referred to from outside Lua, which costs as much again.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl IntoLua for Bytes<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_string(self.0).map(Value::String)
    }
}

/// Takes bytes by the way that is best for them.
pub(crate) fn text(bytes: &[u8]) -> Text<'_> {
    std::str::from_utf8(bytes).map_or(Either::Right(Bytes(bytes)), Either::Left)
}

/// An element on its way into a table.
type Piece<'a> = Either<Text<'a>, Value>;

/// Reads one RESP value into Lua.
pub(crate) struct ReplyReader<'a> {
    pub(crate) lua: &'a Lua,
    pub(crate) names: &'a Names,
    pub(crate) unlimited: &'a Unlimited<'a>,
    pub(crate) bytes: &'a [u8],
}

impl<'a> ReplyReader<'a> {
    /// Converts the value at the front.
    pub(crate) fn read(&mut self) -> mlua::Result<Value> {
        self.value(0)
    }

    /// An element of an array, which is mostly a string.
    fn piece(&mut self, depth: usize) -> mlua::Result<Piece<'a>> {
        match self.bytes.first() {
            Some(b'$') => match length(&self.line()?[1..])? {
                None => Ok(Either::Right(Value::Boolean(false))),
                Some(len) => {
                    self.unlimited.check(len)?;
                    self.take(len).map(|bytes| Either::Left(text(bytes)))
                }
            },
            _ => self.value(depth).map(Either::Right),
        }
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        if depth > MAX_REPLY_DEPTH {
            return Err(malformed());
        }
        let line = self.line()?;
        let (&kind, rest) = line.split_first().ok_or_else(malformed)?;
        match kind {
            b':' => Ok(Value::Number(integer(rest)? as f64)),
            b'+' => Ok(Value::Table(self.names.status_table(self.lua, rest)?)),
            b'-' => Ok(Value::Table(self.names.error_table(self.lua, rest)?)),
            b'$' => match length(rest)? {
                None => Ok(Value::Boolean(false)),
                Some(len) => Ok(Value::String(self.payload(len)?)),
            },
            b'*' | b'>' => match length(rest)? {
                None => Ok(Value::Boolean(false)),
                Some(count) => self.array(count, depth),
            },
            b'_' => Ok(Value::Nil),
            b'#' => Ok(Value::Boolean(rest == b"t")),
            b',' => self.wrap(|names| &names.double, Value::Number(double(rest)?)),
            b'(' => {
                let digits = Value::String(self.lua.create_string(rest)?);
                self.wrap(|names| &names.big_number, digits)
            }
            b'=' => self.verbatim(length(rest)?.ok_or_else(malformed)?),
            b'%' => self.map(length(rest)?.ok_or_else(malformed)?, depth),
            b'~' => self.set(length(rest)?.ok_or_else(malformed)?, depth),
            b'|' => {
                for _ in 0..length(rest)?.ok_or_else(malformed)?.saturating_mul(2) {
                    self.value(depth + 1)?;
                }
                self.value(depth)
            }
            _ => Err(malformed()),
        }
    }

    fn wrap(&self, name: impl Fn(&Names) -> &LuaString, value: Value) -> mlua::Result<Value> {
        single(self.lua, name(self.names), value).map(Value::Table)
    }

    fn array(&mut self, count: usize, depth: usize) -> mlua::Result<Value> {
        // A count cannot be trusted beyond the bytes that are there: three for the shortest element.
        if count > self.bytes.len() / 3 {
            return Err(malformed());
        }
        self.unlimited.check(TABLE_BYTES + 16 * count)?;
        let (lua, mut failed) = (self.lua, None);
        // Says how many there will be, so that the table is made once; what follows a failure is not read.
        let pieces = (0..count).map(|_| match failed {
            None => self.piece(depth + 1).unwrap_or_else(|error| {
                failed = Some(error);
                Either::Right(Value::Nil)
            }),
            Some(_) => Either::Right(Value::Nil),
        });
        let table = lua.create_sequence_from(pieces);
        failed.map_or(table, Err).map(Value::Table)
    }

    fn map(&mut self, count: usize, depth: usize) -> mlua::Result<Value> {
        self.unlimited.check(2 * TABLE_BYTES + 40 * count.min(self.bytes.len() / 6))?;
        let fields = self.lua.create_table_with_capacity(0, count.min(self.bytes.len() / 6))?;
        for _ in 0..count {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            if !key.is_nil() {
                fields.raw_set(key, value)?;
            }
        }
        self.wrap(|names| &names.map, Value::Table(fields))
    }

    fn set(&mut self, count: usize, depth: usize) -> mlua::Result<Value> {
        self.unlimited.check(2 * TABLE_BYTES + 40 * count.min(self.bytes.len() / 3))?;
        let members = self.lua.create_table_with_capacity(0, count.min(self.bytes.len() / 3))?;
        for _ in 0..count {
            let member = self.value(depth + 1)?;
            if !member.is_nil() {
                members.raw_set(member, true)?;
            }
        }
        self.wrap(|names| &names.set, Value::Table(members))
    }

    fn verbatim(&mut self, len: usize) -> mlua::Result<Value> {
        let payload = self.take(len)?;
        let (format, text) = match payload.split_at_checked(4) {
            Some((format, text)) => (&format[..3], text),
            None => return Err(malformed()),
        };
        self.unlimited.check(len + 2 * TABLE_BYTES)?;
        let fields = self.lua.create_table_with_capacity(0, 2)?;
        fields.raw_set(&self.names.string, self.lua.create_string(text)?)?;
        fields.raw_set(&self.names.format, self.lua.create_string(format)?)?;
        self.wrap(|names| &names.verbatim_string, Value::Table(fields))
    }

    fn payload(&mut self, len: usize) -> mlua::Result<LuaString> {
        let bytes = self.take(len)?;
        self.unlimited.check(len)?;
        self.lua.create_string(bytes)
    }

    /// Takes `len` bytes and the line break behind them.
    fn take(&mut self, len: usize) -> mlua::Result<&'a [u8]> {
        let end = len.checked_add(2).ok_or_else(malformed)?;
        let (taken, rest) = self.bytes.split_at_checked(end).ok_or_else(malformed)?;
        self.bytes = rest;
        Ok(&taken[..len])
    }

    fn line(&mut self) -> mlua::Result<&'a [u8]> {
        let end = self.bytes.iter().position(|&byte| byte == b'\r').ok_or_else(malformed)?;
        self.take(end)
    }
}

fn malformed() -> mlua::Error {
    errors::bare_text("the command's reply is malformed")
}

fn integer(digits: &[u8]) -> mlua::Result<i64> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(malformed)
}

fn double(digits: &[u8]) -> mlua::Result<f64> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(malformed)
}

/// A length or count; `None` for -1.
fn length(digits: &[u8]) -> mlua::Result<Option<usize>> {
    match integer(digits)? {
        -1 => Ok(None),
        count => usize::try_from(count).map(Some).map_err(|_| malformed()),
    }
}

/// Writes a script's result as RESP.
pub(crate) struct ReplyWriter<'a> {
    pub(crate) names: &'a Names,
    /// What the client speaks.
    pub(crate) client: Protocol,
    /// What the script chose by `redis.setresp`.
    pub(crate) script: Protocol,
    /// The most bytes a reply may take; tables that share parts can expand without end.
    pub(crate) max_bytes: usize,
    /// Whom to tell of the work, which asks now and then whether it may go on.
    pub(crate) shared: &'a Shared,
    pub(crate) lua: &'a Lua,
}

/// What looking into one table costs, in the units of [`Shared::spend`].
const WORK_PER_TABLE: usize = 100;

impl ReplyWriter<'_> {
    /// Appends the reply for `value`; `MemoryError` when it grows past the limit.
    pub(crate) fn write(&self, value: &Value, reply: &mut Vec<u8>) -> mlua::Result<()> {
        self.value(value, 0, reply.len().saturating_add(self.max_bytes), reply)
    }

    /// Appends the reply for an array of these elements, of which the first nil is the end.
    pub(crate) fn write_array(&self, elements: &MultiValue, reply: &mut Vec<u8>) -> mlua::Result<()> {
        let end = reply.len().saturating_add(self.max_bytes);
        let count = elements.iter().position(Value::is_nil).unwrap_or(elements.len());
        header(b'*', count as i64, reply);
        elements.iter().take(count).try_for_each(|element| self.value(element, 1, end, reply))
    }

    fn value(&self, value: &Value, depth: usize, end: usize, reply: &mut Vec<u8>) -> mlua::Result<()> {
        if reply.len() > end {
            return Err(errors::out_of_memory());
        }
        match value {
            Value::String(text) => bulk(&text.as_bytes(), reply),
            Value::Integer(number) => header(b':', *number, reply),
            Value::Number(number) => header(b':', truncated(*number), reply),
            Value::Boolean(value) => self.boolean(*value, reply),
            Value::Table(table) if depth >= MAX_REPLY_DEPTH => {
                let _ = table;
                reply.extend_from_slice(TOO_DEEP);
            }
            Value::Table(table) => return self.table(table, depth, end, reply),
            _ => self.null(reply),
        }
        Ok(())
    }

    fn boolean(&self, value: bool, reply: &mut Vec<u8>) {
        match (self.script, self.client, value) {
            (Protocol::Resp2, _, true) => reply.extend_from_slice(b":1\r\n"),
            (Protocol::Resp2, _, false) => self.null(reply),
            (Protocol::Resp3, Protocol::Resp2, _) => header(b':', i64::from(value), reply),
            (Protocol::Resp3, Protocol::Resp3, true) => reply.extend_from_slice(b"#t\r\n"),
            (Protocol::Resp3, Protocol::Resp3, false) => reply.extend_from_slice(b"#f\r\n"),
        }
    }

    fn null(&self, reply: &mut Vec<u8>) {
        reply.extend_from_slice(if self.client == Protocol::Resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    fn table(&self, table: &Table, depth: usize, end: usize, reply: &mut Vec<u8>) -> mlua::Result<()> {
        self.shared.spend(self.lua, WORK_PER_TABLE)?;
        let names = self.names;
        if let Value::String(text) = table.raw_get(&names.err)? {
            status(b'-', before_nul(&text.as_bytes()), reply);
            return Ok(());
        }
        if let Value::String(text) = table.raw_get(&names.ok)? {
            status(b'+', before_nul(&text.as_bytes()), reply);
            return Ok(());
        }
        match table.raw_get(&names.double)? {
            Value::Number(number) => {
                self.double(number, reply);
                return Ok(());
            }
            Value::Integer(number) => {
                self.double(number as f64, reply);
                return Ok(());
            }
            _ => {}
        }
        if let Value::Table(fields) = table.raw_get(&names.map)? {
            return self.map(&fields, depth, end, reply);
        }
        if let Value::Table(members) = table.raw_get(&names.set)? {
            return self.set(&members, depth, end, reply);
        }
        if let Value::String(digits) = table.raw_get(&names.big_number)? {
            self.big_number(&digits.as_bytes(), reply);
            return Ok(());
        }
        if let Value::Table(fields) = table.raw_get(&names.verbatim_string)?
            && let (Value::String(format), Value::String(text)) =
                (fields.raw_get(&names.format)?, fields.raw_get(&names.string)?)
        {
            self.verbatim(&format.as_bytes(), &text.as_bytes(), reply);
            return Ok(());
        }
        self.array(table, depth, end, reply)
    }

    /// The elements up to the first nil, which need not be where Lua's length operator sees the end: then the header is written again.
    fn array(&self, table: &Table, depth: usize, end: usize, reply: &mut Vec<u8>) -> mlua::Result<()> {
        let (start, seen) = (reply.len(), table.raw_len() as i64);
        header(b'*', seen, reply);
        let (begun, mut count) = (reply.len(), 0);
        loop {
            let element: Value = table.raw_get(count + 1)?;
            if element.is_nil() {
                break;
            }
            self.value(&element, depth + 1, end, reply)?;
            count += 1;
        }
        if count != seen {
            let mut right = Vec::new();
            header(b'*', count, &mut right);
            reply.splice(start..begun, right);
        }
        Ok(())
    }

    fn map(&self, fields: &Table, depth: usize, end: usize, reply: &mut Vec<u8>) -> mlua::Result<()> {
        let count = fields.pairs::<Value, Value>().count() as i64;
        match self.client {
            Protocol::Resp3 => header(b'%', count, reply),
            Protocol::Resp2 => header(b'*', count * 2, reply),
        }
        for pair in fields.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, depth + 1, end, reply)?;
            self.value(&value, depth + 1, end, reply)?;
        }
        Ok(())
    }

    fn set(&self, members: &Table, depth: usize, end: usize, reply: &mut Vec<u8>) -> mlua::Result<()> {
        let count = members.pairs::<Value, Value>().count() as i64;
        header(if self.client == Protocol::Resp3 { b'~' } else { b'*' }, count, reply);
        for pair in members.pairs::<Value, Value>() {
            self.value(&pair?.0, depth + 1, end, reply)?;
        }
        Ok(())
    }

    fn double(&self, number: f64, reply: &mut Vec<u8>) {
        let mut digits = Vec::new();
        number::write_general(&mut digits, number, number::ROUND_TRIP_PRECISION);
        match self.client {
            Protocol::Resp3 => status(b',', &digits, reply),
            Protocol::Resp2 => bulk(&digits, reply),
        }
    }

    fn big_number(&self, digits: &[u8], reply: &mut Vec<u8>) {
        match self.client {
            Protocol::Resp3 => status(b'(', digits, reply),
            // What would not fit a line is made to fit it in both protocols.
            Protocol::Resp2 => {
                let mut line = Vec::with_capacity(digits.len());
                write_line(digits, &mut line);
                bulk(&line, reply);
            }
        }
    }

    fn verbatim(&self, format: &[u8], text: &[u8], reply: &mut Vec<u8>) {
        if self.client == Protocol::Resp2 {
            return bulk(text, reply);
        }
        let mut tag = [b' '; 3];
        for (to, from) in tag.iter_mut().zip(format) {
            *to = *from;
        }
        header(b'=', text.len() as i64 + 4, reply);
        reply.extend_from_slice(&tag);
        reply.push(b':');
        reply.extend_from_slice(text);
        reply.extend_from_slice(b"\r\n");
    }
}

/// C's conversion of a double to a 64-bit integer on x86-64, which answers the smallest integer for whatever does not fit.
fn truncated(number: f64) -> i64 {
    const BOUND: f64 = 9223372036854775808.0;
    if (-BOUND..BOUND).contains(&number) { number as i64 } else { i64::MIN }
}

fn header(kind: u8, number: i64, reply: &mut Vec<u8>) {
    reply.push(kind);
    number::write_integer(reply, number);
    reply.extend_from_slice(b"\r\n");
}

fn bulk(text: &[u8], reply: &mut Vec<u8>) {
    header(b'$', text.len() as i64, reply);
    reply.extend_from_slice(text);
    reply.extend_from_slice(b"\r\n");
}

/// What of a script's status or error is replied: redis-server takes it for a C string.
fn before_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn status(kind: u8, text: &[u8], reply: &mut Vec<u8>) {
    reply.push(kind);
    write_line(text, reply);
    reply.extend_from_slice(b"\r\n");
}
