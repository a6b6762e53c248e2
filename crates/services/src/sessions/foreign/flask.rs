//! The layout of Flask-Session: the session as a MessagePack map.
//!
//! Flask-Session 0.8 writes MessagePack, or JSON where `SESSION_SERIALIZATION_FORMAT` says so, and reads either whatever
//! the setting; so does this. Before 0.7 it wrote pickle, which is recognised and refused.

use rmpv::Value;
use rmpv::decode::read_value_with_max_depth;
use rmpv::encode::write_value;
use serde_json::{Map, Number, Value as Json};

use super::{object, unreadable};
use crate::error::{Error, Result};

/// Deepest nesting that is read and written: what JSON is read with too.
const MAX_DEPTH: usize = 127;

const NAME: &str = "Flask-Session";

pub(super) fn decode(bytes: &[u8]) -> Result<Map<String, Json>> {
    let mut rest = bytes;
    let packed = read_value_with_max_depth(&mut rest, MAX_DEPTH).ok().filter(|_| rest.is_empty());
    if let Some(value @ Value::Map(_)) = packed {
        return object(json_of(value)?, NAME);
    }
    if let Ok(json) = serde_json::from_slice(bytes) {
        return object(json, NAME);
    }
    // Protocol 2 and later begin with this opcode, the version and, from 4 on, a frame.
    match bytes {
        [0x80, 2..=5, ..] => Err(unreadable(NAME, "pickle, which runs code when it is read")),
        _ => Err(unreadable(NAME, "neither MessagePack nor JSON")),
    }
}

pub(super) fn encode(data: &Map<String, Json>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let value = value_of(&Json::Object(data.clone()), 0)?;
    write_value(&mut bytes, &value).expect("memory can be written to");
    Ok(bytes)
}

fn json_of(value: Value) -> Result<Json> {
    let text = |text: rmpv::Utf8String| text.into_str().ok_or_else(|| unreadable(NAME, "text that is no UTF-8"));
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Boolean(truth) => Json::Bool(truth),
        Value::Integer(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Json::from(number),
            (_, Some(number)) => Json::from(number),
            _ => return Err(unreadable(NAME, "a number of no size")),
        },
        Value::F32(number) => float(f64::from(number))?,
        Value::F64(number) => float(number)?,
        Value::String(string) => Json::String(text(string)?),
        Value::Array(items) => Json::Array(items.into_iter().map(json_of).collect::<Result<_>>()?),
        Value::Map(pairs) => {
            let mut object = Map::with_capacity(pairs.len());
            for (key, value) in pairs {
                let Value::String(key) = key else {
                    return Err(unreadable(NAME, "a key that is no text"));
                };
                object.insert(text(key)?, json_of(value)?);
            }
            Json::Object(object)
        }
        Value::Binary(_) => return Err(unreadable(NAME, "bytes, which JSON does not have")),
        Value::Ext(..) => return Err(unreadable(NAME, "a type of its own, which JSON does not have")),
    })
}

fn float(number: f64) -> Result<Json> {
    Number::from_f64(number).map(Json::Number).ok_or_else(|| unreadable(NAME, "a number that JSON does not have"))
}

fn value_of(json: &Json, depth: usize) -> Result<Value> {
    if depth >= MAX_DEPTH {
        return Err(Error::invalid("data", "is nested too deeply"));
    }
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(truth) => Value::Boolean(*truth),
        Json::Number(number) => number_of(number)?,
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(|item| value_of(item, depth + 1)).collect::<Result<_>>()?),
        Json::Object(object) => {
            let pair = |(key, value): (&String, &Json)| Ok((Value::from(key.as_str()), value_of(value, depth + 1)?));
            Value::Map(object.iter().map(pair).collect::<Result<_>>()?)
        }
    })
}

/// Integers stay integers; one that fits nowhere is refused rather than rounded.
fn number_of(number: &Number) -> Result<Value> {
    if let Some(number) = number.as_i64() {
        return Ok(Value::from(number));
    }
    if let Some(number) = number.as_u64() {
        return Ok(Value::from(number));
    }
    let is_whole = number.to_string().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    match number.as_f64() {
        Some(float) if !is_whole && float.is_finite() => Ok(Value::from(float)),
        _ => Err(Error::invalid("data", format_args!("{number} does not fit into MessagePack"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As `msgspec.msgpack.encode({"_permanent": True, "user": {"name": "Ann", "roles": ["a", "b"]}, "n": -3, "f": 1.5})`
    /// of Flask-Session 0.8 writes it.
    const WRITTEN: &[u8] =
        b"\x84\xaa_permanent\xc3\xa4user\x82\xa4name\xa3Ann\xa5roles\x92\xa1a\xa1b\xa1n\xfd\xa1f\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00";

    fn data() -> Map<String, Json> {
        let json = json!({"_permanent": true, "user": {"name": "Ann", "roles": ["a", "b"]}, "n": -3, "f": 1.5});
        json.as_object().unwrap().clone()
    }

    #[test]
    fn what_the_library_wrote_comes_back_to_the_byte() {
        assert_eq!(decode(WRITTEN).unwrap(), data());
        assert_eq!(encode(&data()).unwrap(), WRITTEN);
    }

    #[test]
    fn json_is_read_too() {
        assert_eq!(decode(br#"{"_permanent":true}"#).unwrap(), *json!({"_permanent": true}).as_object().unwrap());
        assert_eq!(decode(b"\x80").unwrap(), Map::new());
    }

    #[test]
    fn pickle_is_recognised_and_refused() {
        // pickle.dumps({"a": 1}), of protocols 4 and 2.
        for pickle in
            [&b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s."[..], b"\x80\x02}q\x00."]
        {
            assert!(decode(pickle).unwrap_err().to_string().contains("pickle"));
        }
    }

    #[test]
    fn what_json_does_not_have_is_refused() {
        for (what, bytes) in [
            ("bytes", &b"\x81\xa1a\xc4\x01x"[..]),
            ("a timestamp", b"\x81\xa1a\xd6\xff\x00\x00\x00\x00"),
            ("a key", b"\x81\x01\x01"),
            ("not a number", b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"),
            ("an array", b"\x91\x01"),
            ("half of it", &WRITTEN[..20]),
            ("a length that is not there", b"\xdf\xff\xff\xff\xff"),
            ("nothing", b""),
        ] {
            assert!(decode(bytes).is_err(), "{what}");
        }
        let nested = [vec![0x81, 0xa1, b'a'], vec![0x91; 100_000]].concat();
        assert!(decode(&nested).is_err());
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let one = |text: &str| encode(json!({"a": serde_json::from_str::<Json>(text).unwrap()}).as_object().unwrap());
        assert!(one("12345678901234567890123").is_err());
        assert!(one("1e400").is_err());
        for fits in ["18446744073709551615", "-9223372036854775808", "0.25", "1e3"] {
            assert_eq!(decode(&one(fits).unwrap()).unwrap()["a"].as_f64(), Some(fits.parse().unwrap()), "{fits}");
        }
    }
}
