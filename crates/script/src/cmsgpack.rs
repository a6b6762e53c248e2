//! The `cmsgpack` library: MessagePack as lua-cmsgpack 0.4.0 reads and writes it.
//!
//! Integers take the smallest encoding, other numbers 32 bits where these hold the value exactly. A table is an array when its
//! keys are 1 to n without a gap, else a map. What MessagePack cannot say (functions, tables nested deeper than
//! [`MAX_NESTING`]) becomes nil. The types bin and ext are refused when reading, as in the original.

use std::sync::Arc;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use crate::arguments::Arguments;
use crate::errors;
use crate::limits::{Shared, Unlimited};

/// Tables nested deeper than this are written as nil.
const MAX_NESTING: usize = 16;
/// How deeply values nest when read; the original stops when Lua's stack is full.
const MAX_UNPACK_DEPTH: usize = 1000;
/// The most values one call returns.
const MAX_UNPACKED: usize = 7000;
/// Memory a small Lua table takes, for checking limits before creating one.
const TABLE_BYTES: usize = 64;
/// Elements handled between two checks of time and memory.
const ELEMENTS_PER_CHECK: usize = 4096;

/// Builds the library.
pub(crate) fn library(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;

    let state = shared.clone();
    table.raw_set("pack", lua.create_function(move |lua, values: MultiValue| pack(lua, &state, values))?)?;
    let state = shared.clone();
    table.raw_set(
        "unpack",
        lua.create_function(move |lua, values: MultiValue| {
            let mut args = Arguments::first(lua, values, 3);
            unpack(lua, &state, &mut args, 0, 0)
        })?,
    )?;
    let state = shared.clone();
    table.raw_set(
        "unpack_one",
        lua.create_function(move |lua, values: MultiValue| {
            let mut args = Arguments::first(lua, values, 3);
            let offset = args.optional_integer(2, 0)?;
            unpack(lua, &state, &mut args, 1, offset)
        })?,
    )?;
    let state = shared.clone();
    table.raw_set(
        "unpack_limit",
        lua.create_function(move |lua, values: MultiValue| {
            let mut args = Arguments::first(lua, values, 3);
            let limit = args.integer(2)?;
            let offset = args.optional_integer(3, 0)?;
            unpack(lua, &state, &mut args, limit, offset)
        })?,
    )?;
    Ok(table)
}

fn pack(lua: &Lua, shared: &Shared, values: MultiValue) -> mlua::Result<LuaString> {
    let args = Arguments::new(lua, values)?;
    if args.count() == 0 {
        return Err(args.bad(0, "MessagePack pack needs input."));
    }
    let unlimited = Unlimited::enter(lua, shared);
    let mut packer = Packer { lua, shared, unlimited: &unlimited, out: Vec::new(), until_check: ELEMENTS_PER_CHECK };
    for index in 1..=args.count() {
        packer.value(args.value(index), 0)?;
    }
    unlimited.check(packer.out.len())?;
    lua.create_string(&packer.out)
}

struct Packer<'a> {
    lua: &'a Lua,
    shared: &'a Shared,
    unlimited: &'a Unlimited<'a>,
    out: Vec<u8>,
    until_check: usize,
}

impl Packer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.until_check -= 1;
        if self.until_check == 0 {
            self.until_check = ELEMENTS_PER_CHECK;
            self.unlimited.check(self.out.len())?;
            self.shared.interrupted(self.lua)?;
        }
        match value {
            Value::String(text) => {
                self.unlimited.check(self.out.len() + text.as_bytes().len())?;
                self.string(&text.as_bytes());
            }
            Value::Boolean(value) => self.out.push(if *value { 0xc3 } else { 0xc2 }),
            Value::Integer(number) => self.integer(*number),
            Value::Number(number) => self.number(*number),
            Value::Table(table) if depth < MAX_NESTING => return self.table(table, depth),
            _ => self.out.push(0xc0),
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        match text.len() {
            len @ 0..32 => self.out.push(0xa0 | len as u8),
            len @ 32..=0xff => self.out.extend_from_slice(&[0xd9, len as u8]),
            len @ 0x100..=0xffff => self.tagged(0xda, &(len as u16).to_be_bytes()),
            len => self.tagged(0xdb, &(len as u32).to_be_bytes()),
        }
        self.out.extend_from_slice(text);
    }

    fn integer(&mut self, number: i64) {
        match number {
            0..=0x7f => self.out.push(number as u8),
            0x80..=0xff => self.tagged(0xcc, &[number as u8]),
            0x100..=0xffff => self.tagged(0xcd, &(number as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged(0xce, &(number as u32).to_be_bytes()),
            0x1_0000_0000.. => self.tagged(0xcf, &number.to_be_bytes()),
            -32..=-1 => self.out.push(number as u8),
            -128..=-33 => self.tagged(0xd0, &[number as u8]),
            -0x8000..=-129 => self.tagged(0xd1, &(number as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.tagged(0xd2, &(number as i32).to_be_bytes()),
            _ => self.tagged(0xd3, &number.to_be_bytes()),
        }
    }

    fn number(&mut self, number: f64) {
        const BOUND: f64 = 9223372036854775808.0;
        if number.fract() == 0.0 && (-BOUND..BOUND).contains(&number) {
            return self.integer(number as i64);
        }
        let short = number as f32;
        if f64::from(short) == number {
            self.tagged(0xca, &short.to_be_bytes());
        } else {
            self.tagged(0xcb, &number.to_be_bytes());
        }
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let (mut count, mut max, mut is_array) = (0usize, 0i64, true);
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(index) if index > 0 => max = max.max(index),
                _ => is_array = false,
            }
            count += 1;
        }
        if is_array && max == count as i64 {
            self.length(count, 0x90, 0xdc);
            for index in 1..=count {
                self.value(&table.raw_get(index)?, depth + 1)?;
            }
            return Ok(());
        }
        self.length(count, 0x80, 0xde);
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, depth + 1)?;
            self.value(&value, depth + 1)?;
        }
        Ok(())
    }

    /// The head of an array or a map: `short` holds counts up to 15, `long` and its successor take 16 and 32 bits.
    fn length(&mut self, count: usize, short: u8, long: u8) {
        match count {
            0..16 => self.out.push(short | count as u8),
            16..=0xffff => self.tagged(long, &(count as u16).to_be_bytes()),
            _ => self.tagged(long + 1, &(count as u32).to_be_bytes()),
        }
    }

    fn tagged(&mut self, tag: u8, payload: &[u8]) {
        self.out.push(tag);
        self.out.extend_from_slice(payload);
    }
}

/// Reads up to `limit` values (0: all) from `offset` on. With a limit, the first result is the offset of the next value, -1 at
/// the end.
fn unpack(lua: &Lua, shared: &Shared, args: &mut Arguments<'_>, limit: i64, offset: i64) -> mlua::Result<MultiValue> {
    let input = args.string(1)?;
    let input = input.as_bytes();
    let (limit, offset) = (limit as i32, offset as i32);
    let (Ok(wanted), Ok(start)) = (usize::try_from(limit), usize::try_from(offset)) else {
        return Err(errors::text(
            lua,
            format!("Invalid request to unpack with offset of {offset} and limit of {}.", input.len()),
        ));
    };
    if start > input.len() {
        let message = format!("Start offset {start} greater than input length {}.", input.len());
        return Err(errors::text(lua, message));
    }
    let unlimited = Unlimited::enter(lua, shared);
    let mut unpacker =
        Unpacker { lua, shared, unlimited: &unlimited, rest: &input[start..], until_check: ELEMENTS_PER_CHECK };
    let mut results = MultiValue::new();
    while !unpacker.rest.is_empty() && (wanted == 0 || results.len() < wanted) {
        if results.len() >= MAX_UNPACKED {
            return Err(errors::text(lua, "stack overflow (too many values to unpack)"));
        }
        results.push_back(unpacker.value(0)?);
    }
    if wanted > 0 {
        let next = if unpacker.rest.is_empty() { -1 } else { (input.len() - unpacker.rest.len()) as i64 };
        results.push_front(Value::Integer(next));
    }
    Ok(results)
}

struct Unpacker<'a> {
    lua: &'a Lua,
    shared: &'a Shared,
    unlimited: &'a Unlimited<'a>,
    rest: &'a [u8],
    until_check: usize,
}

impl<'a> Unpacker<'a> {
    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        if depth > MAX_UNPACK_DEPTH {
            return Err(errors::text(self.lua, "stack overflow (in function mp_decode_to_lua_array)"));
        }
        self.until_check -= 1;
        if self.until_check == 0 {
            self.until_check = ELEMENTS_PER_CHECK;
            self.shared.interrupted(self.lua)?;
        }
        let tag = self.take(1)?[0];
        match tag {
            0x00..=0x7f => Ok(Value::Number(f64::from(tag))),
            0xe0..=0xff => Ok(Value::Number(f64::from(tag as i8))),
            0x80..=0x8f => self.map(usize::from(tag & 0x0f), depth),
            0x90..=0x9f => self.array(usize::from(tag & 0x0f), depth),
            0xa0..=0xbf => self.string(usize::from(tag & 0x1f)),
            0xc0 => Ok(Value::Nil),
            0xc2 | 0xc3 => Ok(Value::Boolean(tag == 0xc3)),
            0xca => Ok(Value::Number(f64::from(f32::from_be_bytes(self.array_of()?)))),
            0xcb => Ok(Value::Number(f64::from_be_bytes(self.array_of()?))),
            0xcc => Ok(Value::Number(f64::from(u8::from_be_bytes(self.array_of()?)))),
            0xcd => Ok(Value::Number(f64::from(u16::from_be_bytes(self.array_of()?)))),
            0xce => Ok(Value::Number(f64::from(u32::from_be_bytes(self.array_of()?)))),
            // The original reads unsigned 64-bit integers as signed ones.
            0xcf | 0xd3 => Ok(Value::Number(i64::from_be_bytes(self.array_of()?) as f64)),
            0xd0 => Ok(Value::Number(f64::from(i8::from_be_bytes(self.array_of()?)))),
            0xd1 => Ok(Value::Number(f64::from(i16::from_be_bytes(self.array_of()?)))),
            0xd2 => Ok(Value::Number(f64::from(i32::from_be_bytes(self.array_of()?)))),
            0xd9..=0xdb => {
                let len = self.sized(tag - 0xd9)?;
                self.string(len)
            }
            0xdc | 0xdd => {
                let count = self.sized(tag - 0xdb)?;
                self.array(count, depth)
            }
            0xde | 0xdf => {
                let count = self.sized(tag - 0xdd)?;
                self.map(count, depth)
            }
            _ => Err(errors::text(self.lua, "Bad data format in input.")),
        }
    }

    /// A length of 1, 2 or 4 bytes.
    fn sized(&mut self, width: u8) -> mlua::Result<usize> {
        Ok(match width {
            0 => usize::from(u8::from_be_bytes(self.array_of()?)),
            1 => usize::from(u16::from_be_bytes(self.array_of()?)),
            _ => u32::from_be_bytes(self.array_of()?) as usize,
        })
    }

    fn string(&mut self, len: usize) -> mlua::Result<Value> {
        let text = self.take(len)?;
        self.unlimited.check(len)?;
        self.lua.create_string(text).map(Value::String)
    }

    fn array(&mut self, count: usize, depth: usize) -> mlua::Result<Value> {
        self.unlimited.check(TABLE_BYTES)?;
        let table = self.lua.create_table()?;
        for index in 1..=count {
            let value = self.value(depth + 1)?;
            self.unlimited.check(TABLE_BYTES)?;
            table.raw_set(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, count: usize, depth: usize) -> mlua::Result<Value> {
        self.unlimited.check(TABLE_BYTES)?;
        let table = self.lua.create_table()?;
        for _ in 0..count {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match key {
                Value::Nil => return Err(errors::bare_text("table index is nil")),
                Value::Number(number) if number.is_nan() => return Err(errors::bare_text("table index is NaN")),
                _ => {}
            }
            self.unlimited.check(TABLE_BYTES)?;
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }

    fn array_of<const N: usize>(&mut self) -> mlua::Result<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns as many bytes as asked for"))
    }

    fn take(&mut self, len: usize) -> mlua::Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(errors::text(self.lua, "Missing bytes in input."));
        };
        self.rest = rest;
        Ok(taken)
    }
}
