//! The `struct` library: binary records by a format string (Roberto Ierusalimschy's struct, as shipped with Redis).
//!
//! | option | meaning | option | meaning |
//! |---|---|---|---|
//! | `<` `>` | little, big endian from here | `!n` | align to at most n, a power of two; 8 without n |
//! | `b` `B` | 1 byte, signed and unsigned | `f` `d` | IEEE float of 4, 8 bytes |
//! | `h` `H` | 2 bytes | `s` | text up to and including a zero byte |
//! | `l` `L` `T` | 8 bytes | `cn` | n bytes; `c0` all of the string, or as many as the number before says |
//! | `in` `In` | n bytes, 4 without n | `x` | a padding byte |
//!
//! Numbers beyond 64 bits are cut off as the machine does on x86-64, which is where the expectations come from.

use std::sync::Arc;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use crate::arguments::Arguments;
use crate::errors;
use crate::limits::{Shared, Unlimited};

/// The widest integer a format can ask for.
const MAX_INTEGER_BYTES: usize = 32;
/// The alignment `!` alone stands for.
const NATIVE_ALIGNMENT: usize = 8;
/// The most values one call returns.
const MAX_UNPACKED: usize = 7000;

/// Builds the library.
pub(crate) fn library(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let state = shared.clone();
    table.raw_set(
        "pack",
        lua.create_function(move |lua, values: MultiValue| {
            let mut args = Arguments::new(lua, values)?;
            pack(lua, &Unlimited::enter(lua, &state), &mut args)
        })?,
    )?;
    let state = shared.clone();
    table.raw_set(
        "unpack",
        lua.create_function(move |lua, values: MultiValue| {
            let mut args = Arguments::new(lua, values)?;
            unpack(lua, &Unlimited::enter(lua, &state), &mut args)
        })?,
    )?;
    table.raw_set(
        "size",
        lua.create_function(|lua, values: MultiValue| size(lua, &mut Arguments::first(lua, values, 1)))?,
    )?;
    Ok(table)
}

/// A format string being read.
struct Format<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
    big_endian: bool,
    alignment: usize,
}

/// One option with the bytes it takes; `size` is 0 for `s`, `c0` and what is no data.
struct Item {
    option: u8,
    size: usize,
    padding: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, text: &'a [u8]) -> Format<'a> {
        Format { lua, rest: text, big_endian: false, alignment: 1 }
    }

    /// Reads the next option; `at` is where its data would begin without padding.
    fn next(&mut self, at: usize) -> mlua::Result<Option<Item>> {
        let Some((&option, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.digits(1)?,
            b'i' | b'I' => {
                let size = self.digits(4)?;
                if size > MAX_INTEGER_BYTES {
                    let message = format!("integral size {size} is larger than limit of {MAX_INTEGER_BYTES}");
                    return Err(errors::text(self.lua, message));
                }
                size
            }
            _ => 0,
        };
        Ok(Some(Item { option, size, padding: self.padding(option, size, at) }))
    }

    fn padding(&self, option: u8, size: usize, at: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.alignment);
        (size.wrapping_sub(at & (size - 1))) & (size - 1)
    }

    fn digits(&mut self, default: usize) -> mlua::Result<usize> {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 {
            return Ok(default);
        }
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        let number = std::str::from_utf8(digits).expect("digits are ASCII").parse::<i32>();
        number.map(|number| number as usize).map_err(|_| errors::text(self.lua, "integral size overflow"))
    }

    /// Applies an option that is no data.
    fn control(&mut self, option: u8, args: &Arguments<'_>) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let alignment = self.digits(NATIVE_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(errors::text(self.lua, format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            other => return Err(args.bad(1, &format!("invalid format option '{}'", char::from(other)))),
        }
        Ok(())
    }
}

fn pack(lua: &Lua, unlimited: &Unlimited<'_>, args: &mut Arguments<'_>) -> mlua::Result<LuaString> {
    let format = args.string(1)?;
    let text = format.as_bytes();
    let mut format = Format::new(lua, &text);
    let mut out = Vec::new();
    let mut index = 2;
    while let Some(item) = format.next(out.len())? {
        unlimited.check(out.len().saturating_add(item.size))?;
        out.resize(out.len() + item.padding, 0);
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                write_integer(&mut out, number(args, index)?, item.size, format.big_endian);
                index += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                write_float(&mut out, &(number(args, index)? as f32).to_le_bytes(), format.big_endian);
                index += 1;
            }
            b'd' => {
                write_float(&mut out, &number(args, index)?.to_le_bytes(), format.big_endian);
                index += 1;
            }
            b'c' | b's' => {
                let string =
                    if index > args.count() { return Err(absent(args, index, "string")) } else { args.string(index)? };
                index += 1;
                let bytes = string.as_bytes();
                let size = if item.size == 0 { bytes.len() } else { item.size };
                let Some(bytes) = bytes.get(..size) else { return Err(args.bad(index, "string too short")) };
                unlimited.check(out.len().saturating_add(size))?;
                out.extend_from_slice(bytes);
                if item.option == b's' {
                    out.push(0);
                }
            }
            option => format.control(option, args)?,
        }
    }
    unlimited.check(out.len())?;
    lua.create_string(out)
}

fn number(args: &Arguments<'_>, index: usize) -> mlua::Result<f64> {
    if index > args.count() { Err(absent(args, index, "number")) } else { args.number(index) }
}

/// The original marks the end of its arguments by a nil, and this is what its message shows.
fn absent(args: &Arguments<'_>, index: usize, expected: &str) -> mlua::Error {
    args.bad(index, &format!("{expected} expected, got nil"))
}

fn write_integer(out: &mut Vec<u8>, number: f64, size: usize, big_endian: bool) {
    // Beyond 64 bits the machine answers its "indefinite" value when signed and 0 when unsigned.
    let bits = if number < 0.0 {
        if number >= -9223372036854775808.0 { number as i64 as u64 } else { 1 << 63 }
    } else if number < 18446744073709551616.0 {
        number as u64
    } else {
        0
    };
    let start = out.len();
    out.extend(bits.to_le_bytes().into_iter().chain(std::iter::repeat(0)).take(size));
    if big_endian {
        out[start..].reverse();
    }
}

fn write_float(out: &mut Vec<u8>, little_endian: &[u8], big_endian: bool) {
    let start = out.len();
    out.extend_from_slice(little_endian);
    if big_endian {
        out[start..].reverse();
    }
}

fn unpack(lua: &Lua, unlimited: &Unlimited<'_>, args: &mut Arguments<'_>) -> mlua::Result<MultiValue> {
    const TOO_SHORT: &str = "data string too short";
    let format = args.string(1)?;
    let text = format.as_bytes();
    let data = args.string(2)?;
    let data = data.as_bytes();
    let start = args.optional_integer(3, 1)?;
    if start == 0 {
        return Err(args.bad(3, "offset must be 1 or greater"));
    }
    let mut at = usize::try_from(start - 1).unwrap_or(usize::MAX);
    let mut format = Format::new(lua, &text);
    let mut results = MultiValue::new();
    while let Some(item) = format.next(at)? {
        at = at.saturating_add(item.padding);
        let Some(field) = at.checked_add(item.size).and_then(|end| data.get(at..end)) else {
            return Err(args.bad(2, TOO_SHORT));
        };
        if results.len() >= MAX_UNPACKED {
            return Err(errors::text(lua, "stack overflow (too many results)"));
        }
        let mut taken = item.size;
        match item.option {
            b'b' | b'h' | b'l' | b'i' => results.push_back(Value::Number(signed(field, format.big_endian))),
            b'B' | b'H' | b'L' | b'T' | b'I' => {
                results.push_back(Value::Number(read_integer(field, format.big_endian) as f64));
            }
            b'x' => {}
            b'f' => {
                let float = f32::from_le_bytes(read_float(field, format.big_endian));
                results.push_back(Value::Number(f64::from(float)));
            }

            b'd' => results.push_back(Value::Number(f64::from_le_bytes(read_float(field, format.big_endian)))),
            b'c' => {
                if item.size == 0 {
                    taken = previous_size(lua, &mut results)?;
                }
                let Some(field) = at.checked_add(taken).and_then(|end| data.get(at..end)) else {
                    return Err(args.bad(2, TOO_SHORT));
                };
                unlimited.check(taken)?;
                results.push_back(Value::String(lua.create_string(field)?));
            }
            b's' => {
                let Some(len) = data[at..].iter().position(|&byte| byte == 0) else {
                    return Err(errors::text(lua, "unfinished string in data"));
                };
                unlimited.check(len)?;
                results.push_back(Value::String(lua.create_string(&data[at..at + len])?));
                taken = len + 1;
            }
            option => format.control(option, args)?,
        }
        at += taken;
    }
    results.push_back(Value::Number(at.wrapping_add(1) as i64 as f64));
    Ok(results)
}

/// For `c0`: the number read before says how many bytes to take, and is no result itself.
fn previous_size(lua: &Lua, results: &mut MultiValue) -> mlua::Result<usize> {
    match results.pop_back() {
        Some(Value::Number(size)) if size >= 0.0 => Ok(size as usize),
        Some(Value::Number(_)) => Ok(usize::MAX),
        _ => Err(errors::text(lua, "format 'c0' needs a previous size")),
    }
}

/// The low 64 bits of the integer.
fn read_integer(field: &[u8], big_endian: bool) -> u64 {
    let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    if big_endian { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) }
}

fn signed(field: &[u8], big_endian: bool) -> f64 {
    let value = read_integer(field, big_endian);
    let unused = 64usize.saturating_sub(field.len() * 8);
    if unused == 64 {
        return 0.0;
    }
    ((value << unused) as i64 >> unused) as f64
}

fn read_float<const N: usize>(field: &[u8], big_endian: bool) -> [u8; N] {
    let mut bytes: [u8; N] = field.try_into().expect("the field is as long as its option says");
    if big_endian {
        bytes.reverse();
    }
    bytes
}

fn size(lua: &Lua, args: &mut Arguments<'_>) -> mlua::Result<f64> {
    let text = args.string(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, &text);
    let mut total = 0usize;
    while let Some(item) = format.next(total)? {
        total += item.padding;
        match item.option {
            b's' => return Err(args.bad(1, "option 's' has no fixed size")),
            b'c' if item.size == 0 => return Err(args.bad(1, "option 'c0' has no fixed size")),
            option if !option.is_ascii_alphanumeric() => format.control(option, args)?,
            _ => {}
        }
        total = total.saturating_add(item.size);
    }
    Ok(total as f64)
}
