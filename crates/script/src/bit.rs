//! The `bit` library: 32-bit operations on Lua numbers, results as signed 32-bit integers (Lua BitOp's semantics).
//!
//! A number is brought into range by adding 2^52 + 2^51 and taking the low 32 bits of the sum's representation, which rounds
//! halves to even and wraps around; for numbers beyond 2^51 the result is as meaningless as in the original, and the same.

use mlua::{Lua, MultiValue, Table};

use crate::arguments::Arguments;

const NORMALISER: f64 = 6755399441055744.0;
const MAX_HEX_DIGITS: i32 = 8;

type Unary = fn(u32) -> u32;
type Fold = fn(u32, u32) -> u32;
type Shift = fn(u32, u32) -> u32;

/// Operations on any number of arguments.
const FOLDS: &[(&str, Fold)] = &[("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];

/// Operations on a number and a distance; only the low five bits of the distance count.
const SHIFTS: &[(&str, Shift)] = &[
    ("lshift", |value, by| value << by),
    ("rshift", |value, by| value >> by),
    ("arshift", |value, by| ((value as i32) >> by) as u32),
    ("rol", u32::rotate_left),
    ("ror", u32::rotate_right),
];

/// Operations on one number.
const UNARY: &[(&str, Unary)] = &[("tobit", |a| a), ("bnot", |a| !a), ("bswap", u32::swap_bytes)];

/// Builds the library.
pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for &(name, operation) in UNARY {
        table.raw_set(
            name,
            lua.create_function(move |lua, values: MultiValue| {
                let args = Arguments::new(lua, values)?;
                Ok(operation(bits(&args, 1)?) as i32)
            })?,
        )?;
    }
    for &(name, operation) in FOLDS {
        table.raw_set(
            name,
            lua.create_function(move |lua, values: MultiValue| {
                let args = Arguments::new(lua, values)?;
                let mut result = bits(&args, 1)?;
                for index in 2..=args.count() {
                    result = operation(result, bits(&args, index)?);
                }
                Ok(result as i32)
            })?,
        )?;
    }
    for &(name, operation) in SHIFTS {
        table.raw_set(
            name,
            lua.create_function(move |lua, values: MultiValue| {
                let args = Arguments::new(lua, values)?;
                let value = bits(&args, 1)?;
                Ok(operation(value, bits(&args, 2)? & 31) as i32)
            })?,
        )?;
    }
    table.raw_set("tohex", lua.create_function(to_hex)?)?;
    Ok(table)
}

fn bits(args: &Arguments<'_>, index: usize) -> mlua::Result<u32> {
    Ok((args.number(index)? + NORMALISER).to_bits() as u32)
}

/// `tohex(x [, digits])`: a negative number of digits asks for capitals.
fn to_hex(lua: &Lua, values: MultiValue) -> mlua::Result<String> {
    let args = Arguments::new(lua, values)?;
    let value = bits(&args, 1)?;
    let digits = if args.count() < 2 { MAX_HEX_DIGITS } else { bits(&args, 2)? as i32 };
    let all = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let shown = digits.unsigned_abs().min(MAX_HEX_DIGITS as u32) as usize;
    Ok(all[all.len() - shown..].to_string())
}
