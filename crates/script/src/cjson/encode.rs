//! Lua values to JSON.

use mlua::{Lua, Table, Value};

use super::{InvalidNumbers, Settings, effective_depth, failure};
use crate::arguments::type_name;
use crate::limits::{Shared, Unlimited};
use crate::number;

/// Elements written between two checks of time and memory.
const ELEMENTS_PER_CHECK: usize = 4096;

/// Writes `value` as JSON.
pub(super) fn encode(
    lua: &Lua,
    shared: &Shared,
    unlimited: &Unlimited<'_>,
    settings: &Settings,
    value: &Value,
) -> mlua::Result<Vec<u8>> {
    let mut encoder = Encoder { lua, shared, unlimited, settings, out: Vec::new(), until_check: ELEMENTS_PER_CHECK };
    encoder.value(value, 0)?;
    Ok(encoder.out)
}

struct Encoder<'a> {
    lua: &'a Lua,
    shared: &'a Shared,
    unlimited: &'a Unlimited<'a>,
    settings: &'a Settings,
    out: Vec<u8>,
    until_check: usize,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.count()?;
        match value {
            Value::String(text) => {
                self.unlimited.check(self.out.len() + text.as_bytes().len())?;
                self.shared.spend(self.lua, text.as_bytes().len() / 8)?;
                write_string(&mut self.out, &text.as_bytes());
            }
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Table(table) => self.table(table, depth + 1)?,
            other => return Err(self.unsupported(type_name(other), "type not supported")),
        }
        Ok(())
    }

    /// Tables sharing parts expand without end, so time and memory are looked at on the way.
    fn count(&mut self) -> mlua::Result<()> {
        self.until_check -= 1;
        if self.until_check == 0 {
            self.until_check = ELEMENTS_PER_CHECK;
            self.unlimited.check(self.out.len())?;
            self.shared.interrupted(self.lua)?;
        }
        Ok(())
    }

    fn number(&mut self, value: f64) -> mlua::Result<()> {
        if !value.is_finite() {
            match self.settings.encode_invalid_numbers {
                InvalidNumbers::Refuse => {
                    return Err(self.unsupported("number", "must not be NaN or Inf"));
                }
                InvalidNumbers::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                InvalidNumbers::Allow if value.is_nan() => {
                    self.out.extend_from_slice(b"nan");
                    return Ok(());
                }
                InvalidNumbers::Allow => {}
            }
        }
        number::write_general(&mut self.out, value, self.settings.number_precision as usize);
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        if depth > effective_depth(self.settings.encode_max_depth) {
            return Err(failure(self.lua, format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_length(table)? {
            Some(len) if len > 0 => self.array(table, len, depth),
            _ => self.object(table, depth),
        }
    }

    /// The largest index if the table is an array: all keys positive integers and not too many holes.
    fn array_length(&mut self, table: &Table) -> mlua::Result<Option<i64>> {
        let (mut max, mut items) = (0i64, 0i64);
        let mut is_array = true;
        let len = table.raw_len();
        if len == 0 && table.is_empty() {
            return Ok(None);
        }
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(index) if index > 0 => max = max.max(index),
                _ => {
                    is_array = false;
                    break;
                }
            }
            items += 1;
            self.count()?;
        }
        if !is_array {
            return Ok(None);
        }
        let ratio = i64::from(self.settings.sparse_ratio);
        if ratio > 0 && max > items.saturating_mul(ratio) && max > i64::from(self.settings.sparse_safe) {
            if !self.settings.sparse_convert {
                return Err(self.unsupported("table", "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(max))
    }

    fn array(&mut self, table: &Table, len: i64, depth: usize) -> mlua::Result<()> {
        self.out.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get(index)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        self.out.push(b'{');
        let mut first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !first {
                self.out.push(b',');
            }
            first = false;
            match &key {
                Value::String(text) => write_string(&mut self.out, &text.as_bytes()),
                Value::Integer(number) => self.number_key(*number as f64)?,
                Value::Number(number) => self.number_key(*number)?,
                other => return Err(self.unsupported(type_name(other), "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn number_key(&mut self, number: f64) -> mlua::Result<()> {
        self.out.push(b'"');
        self.number(number)?;
        self.out.push(b'"');
        Ok(())
    }

    fn unsupported(&self, kind: &str, reason: &str) -> mlua::Error {
        failure(self.lua, format!("Cannot serialise {kind}: {reason}"))
    }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(plain) = rest.iter().position(|&byte| escape(byte).is_some()) {
        out.extend_from_slice(&rest[..plain]);
        match escape(rest[plain]) {
            Some(Escape::Letter(letter)) => out.extend_from_slice(&[b'\\', letter]),
            _ => out.extend_from_slice(format!("\\u{:04x}", rest[plain]).as_bytes()),
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

enum Escape {
    Letter(u8),
    Code,
}

fn escape(byte: u8) -> Option<Escape> {
    Some(match byte {
        b'"' | b'\\' | b'/' => Escape::Letter(byte),
        0x08 => Escape::Letter(b'b'),
        b'\t' => Escape::Letter(b't'),
        b'\n' => Escape::Letter(b'n'),
        0x0c => Escape::Letter(b'f'),
        b'\r' => Escape::Letter(b'r'),
        0..0x20 | 0x7f => Escape::Code,
        _ => return None,
    })
}
