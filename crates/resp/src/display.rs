//! Prints values as redis-cli does on a terminal: numbered, indented, bulk strings quoted and escaped.
//!
//! ```text
//! 1) (integer) 1
//! 2) 1# "a" =>
//!       1) "x"
//!       2) (nil)
//! ```
//!
//! An aggregate starts on the line of its number; as the value of a map's key it moves to a line of its own when it has
//! more than one element. This is for people and for transcripts; programs have the bytes.

use std::fmt::{self, Write};

use crate::number;
use crate::value::Value;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, 0, f)
    }
}

fn write_value(value: &Value, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Value::Nil => f.write_str("(nil)"),
        Value::Simple(text) | Value::BigNumber(text) => f.write_str(text),
        Value::Error(line) => write!(f, "(error) {line}"),
        Value::Int(value) => write!(f, "(integer) {value}"),
        Value::Bulk(bytes) => write_quoted(bytes, f),
        Value::Double(value) => {
            let mut text = Vec::new();
            number::write_double(*value, &mut text);
            write!(f, "(double) {}", text.escape_ascii())
        }
        Value::Bool(value) => write!(f, "({value})"),
        Value::Verbatim { text, .. } => f.write_str(&String::from_utf8_lossy(text)),
        Value::Array(items) => write_items(items, ')', "array", indent, f),
        Value::Set(items) => write_items(items, '~', "set", indent, f),
        Value::Push(items) => write_items(items, '>', "push", indent, f),
        Value::Map(pairs) => write_pairs(pairs, '#', "hash", indent, f),
        Value::Attribute { attributes, value } => {
            write_pairs(attributes, '|', "attributes", indent, f)?;
            write!(f, "\n{:indent$}", "")?;
            write_value(value, indent, f)
        }
    }
}

fn write_items(items: &[Value], mark: char, name: &str, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if items.is_empty() {
        return write!(f, "(empty {name})");
    }
    let width = items.len().to_string().len();
    for (index, item) in items.iter().enumerate() {
        write_number(index, width, mark, indent, f)?;
        write_value(item, indent + width + 2, f)?;
    }
    Ok(())
}

fn write_pairs(
    pairs: &[(Value, Value)],
    mark: char,
    name: &str,
    indent: usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if pairs.is_empty() {
        return write!(f, "(empty {name})");
    }
    let width = pairs.len().to_string().len();
    let inner = indent + width + 2;
    for (index, (key, value)) in pairs.iter().enumerate() {
        write_number(index, width, mark, indent, f)?;
        write_value(key, inner, f)?;
        f.write_str(" => ")?;
        if element_count(value) > 1 {
            write!(f, "\n{:inner$}", "")?;
        }
        write_value(value, inner, f)?;
    }
    Ok(())
}

/// Writes the number of an element, counted from one, on a line of its own unless it is the first.
fn write_number(index: usize, width: usize, mark: char, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if index > 0 {
        write!(f, "\n{:indent$}", "")?;
    }
    write!(f, "{:>width$}{mark} ", index + 1)
}

fn element_count(value: &Value) -> usize {
    match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => items.len(),
        Value::Map(pairs) => pairs.len(),
        _ => 0,
    }
}

fn write_quoted(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for byte in bytes {
        match byte {
            b'\\' | b'"' => write!(f, "\\{}", char::from(*byte))?,
            b'\n' => f.write_str("\\n")?,
            b'\r' => f.write_str("\\r")?,
            b'\t' => f.write_str("\\t")?,
            0x07 => f.write_str("\\a")?,
            0x08 => f.write_str("\\b")?,
            b' '..=b'~' => f.write_char(char::from(*byte))?,
            other => write!(f, "\\x{other:02x}")?,
        }
    }
    f.write_char('"')
}
