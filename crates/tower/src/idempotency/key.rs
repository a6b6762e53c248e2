//! The header's value: a string of structured fields (RFC 8941), `"8e03978e-40d5-43dd-bc93-6894a57f9324"`.
//!
//! Many clients send the key without quotes, as APIs did before the draft. Both forms of one key are the same key.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// Carries the key.
pub const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// What a request says about its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// Nothing.
    Missing,
    /// Something that is no key, and why.
    Malformed(&'static str),
    /// The key.
    Key(String),
}

/// Reads the key of a request.
pub(super) fn read(headers: &HeaderMap) -> Given {
    let mut values = headers.get_all(KEY_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Given::Missing,
        (Some(_), Some(_)) => Given::Malformed("the header is there twice"),
        (Some(value), None) => match parse(value) {
            Ok(key) => Given::Key(key),
            Err(why) => Given::Malformed(why),
        },
    }
}

fn parse(value: &HeaderValue) -> Result<String, &'static str> {
    let text = value.to_str().map_err(|_| "characters outside of ASCII")?.trim_matches(' ');
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None if text.contains(|char| !matches!(char, '!'..='~') || matches!(char, '"' | ',' | ';' | '\\')) => {
            return Err("not a string: put the key in quotes");
        }
        None => text.to_owned(),
    };
    match key.len() {
        0 => Err("the key is empty"),
        1..=KEY_BYTES_MAX => Ok(key),
        _ => Err("the key is longer than 255 bytes"),
    }
}

/// Reads what follows an opening quote. Parameters after the string are allowed and mean nothing.
fn unquote(quoted: &str) -> Result<String, &'static str> {
    let mut key = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    loop {
        match chars.next() {
            None => return Err("the string does not end"),
            Some('"') => break,
            Some('\\') => match chars.next() {
                Some(char @ ('"' | '\\')) => key.push(char),
                _ => return Err("a backslash before something that needs none"),
            },
            Some(char @ ' '..='~') => key.push(char),
            Some(_) => return Err("a control character"),
        }
    }
    match chars.as_str().trim_start_matches(' ') {
        "" => Ok(key),
        rest if rest.starts_with(';') => Ok(key),
        _ => Err("something after the string"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &[u8], expect: Result<&str, ()>) {
        let mut headers = HeaderMap::new();
        headers.insert(KEY_HEADER, HeaderValue::from_bytes(value).unwrap());
        match (read(&headers), expect) {
            (Given::Key(key), Ok(expected)) => assert_eq!(key, expected),
            (Given::Malformed(_), Err(())) => {}
            (given, expect) => panic!("{given:?}, not {expect:?}"),
        }
    }

    #[test]
    fn forms_of_a_key() {
        check(br#""8e03978e-40d5-43dd-bc93-6894a57f9324""#, Ok("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        check(b"8e03978e-40d5-43dd-bc93-6894a57f9324", Ok("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        check(br#"  "a b"  "#, Ok("a b"));
        check(br#""a\"b\\c""#, Ok(r#"a"b\c"#));
        check(br#""a";version=1"#, Ok("a"));
        check(b"", Err(()));
        check(br#""""#, Err(()));
        check(br#""a"#, Err(()));
        check(br#""a\b""#, Err(()));
        check(br#""a" b"#, Err(()));
        check(br#"a, b"#, Err(()));
        check(br#"a b"#, Err(()));
        check(b"\"a\tb\"", Err(()));
        check("\"é\"".as_bytes(), Err(()));
        check(&[b'x'; 255], Ok(&"x".repeat(255)));
        check(&[b'x'; 256], Err(()));
    }

    #[test]
    fn one_header_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), Given::Missing);
        headers.append(KEY_HEADER, HeaderValue::from_static("a"));
        headers.append(KEY_HEADER, HeaderValue::from_static("a"));
        assert!(matches!(read(&headers), Given::Malformed(_)));
    }
}
