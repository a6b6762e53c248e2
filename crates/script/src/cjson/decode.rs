//! JSON to Lua values.
//!
//! A tokenizer and a recursive parser, split like lua-cjson so that errors name the same tokens at the same places.

use mlua::{Lua, Table, Value};

use super::{Settings, effective_depth, failure};
use crate::limits::{Shared, Unlimited};

/// Memory a small Lua table takes, for checking limits before creating one.
const TABLE_BYTES: usize = 64;
/// Values read between two checks of time.
const VALUES_PER_CHECK: usize = 4096;

/// Reads one JSON text.
pub(super) fn decode(
    lua: &Lua,
    shared: &Shared,
    unlimited: &Unlimited<'_>,
    settings: &Settings,
    text: &[u8],
) -> mlua::Result<Value> {
    // UTF-16 and UTF-32 show by a zero among the first two bytes.
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(failure(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut parser = Parser { lua, shared, unlimited, settings, text, at: 0, depth: 0, until_check: VALUES_PER_CHECK };
    let token = parser.token();
    let value = parser.value(token)?;
    match parser.token() {
        Located { token: Token::End, .. } => Ok(value),
        other => Err(parser.unexpected("the end", &other)),
    }
}

enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

/// A token and the offset it begins at.
struct Located {
    token: Token,
    at: usize,
}

struct Parser<'a> {
    lua: &'a Lua,
    shared: &'a Shared,
    unlimited: &'a Unlimited<'a>,
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
    depth: usize,
    until_check: usize,
}

impl Parser<'_> {
    fn value(&mut self, located: Located) -> mlua::Result<Value> {
        self.until_check -= 1;
        if self.until_check == 0 {
            self.until_check = VALUES_PER_CHECK;
            self.shared.interrupted(self.lua)?;
        }
        match located.token {
            Token::String(text) => {
                self.unlimited.check(text.len())?;
                self.lua.create_string(text).map(Value::String)
            }
            Token::Number(number) => Ok(Value::Number(number)),
            Token::Boolean(value) => Ok(Value::Boolean(value)),
            Token::Null => Ok(Value::NULL),
            Token::ObjectBegin => self.object(),
            Token::ArrayBegin => self.array(),
            _ => Err(self.unexpected("value", &located)),
        }
    }

    fn object(&mut self) -> mlua::Result<Value> {
        let table = self.descend()?;
        let mut located = self.token();
        if matches!(located.token, Token::ObjectEnd) {
            self.depth -= 1;
            return Ok(Value::Table(table));
        }
        loop {
            let Token::String(key) = located.token else {
                return Err(self.unexpected("object key string", &located));
            };
            let colon = self.token();
            if !matches!(colon.token, Token::Colon) {
                return Err(self.unexpected("colon", &colon));
            }
            let first = self.token();
            let value = self.value(first)?;
            self.unlimited.check(key.len() + TABLE_BYTES)?;
            table.raw_set(self.lua.create_string(key)?, value)?;
            let separator = self.token();
            match separator.token {
                Token::ObjectEnd => {
                    self.depth -= 1;
                    return Ok(Value::Table(table));
                }
                Token::Comma => located = self.token(),
                _ => return Err(self.unexpected("comma or object end", &separator)),
            }
        }
    }

    fn array(&mut self) -> mlua::Result<Value> {
        let table = self.descend()?;
        let mut located = self.token();
        if matches!(located.token, Token::ArrayEnd) {
            self.depth -= 1;
            return Ok(Value::Table(table));
        }
        for index in 1usize.. {
            let value = self.value(located)?;
            self.unlimited.check(TABLE_BYTES)?;
            table.raw_set(index, value)?;
            let separator = self.token();
            match separator.token {
                Token::ArrayEnd => break,
                Token::Comma => located = self.token(),
                _ => return Err(self.unexpected("comma or array end", &separator)),
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn descend(&mut self) -> mlua::Result<Table> {
        self.depth += 1;
        if self.depth > effective_depth(self.settings.decode_max_depth) {
            let message = format!("Found too many nested data structures ({}) at character {}", self.depth, self.at);
            return Err(failure(self.lua, message));
        }
        self.unlimited.check(TABLE_BYTES)?;
        self.lua.create_table()
    }

    fn unexpected(&self, expected: &str, located: &Located) -> mlua::Error {
        let found = located.token.name();
        failure(self.lua, format!("Expected {expected} but found {found} at character {}", located.at + 1))
    }

    fn token(&mut self) -> Located {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let token = match self.peek() {
            b'{' => self.single(Token::ObjectBegin),
            b'}' => self.single(Token::ObjectEnd),
            b'[' => self.single(Token::ArrayBegin),
            b']' => self.single(Token::ArrayEnd),
            b':' => self.single(Token::Colon),
            b',' => self.single(Token::Comma),
            b'"' => return self.string(at),
            // As in C, a zero byte is the end of the text wherever it stands.
            0 => Token::End,
            b'0'..=b'9' | b'-' | b'+' => self.number(),
            b't' if self.word(b"true") => Token::Boolean(true),
            b'f' if self.word(b"false") => Token::Boolean(false),
            b'n' if self.word(b"null") => Token::Null,
            b'n' | b'N' | b'i' | b'I' if self.settings.decode_invalid_numbers => self.named_number(at),
            _ => Token::Error("invalid token"),
        };
        Located { token, at }
    }

    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn single(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn named_number(&mut self, at: usize) -> Token {
        match number_prefix(&self.text[at..]) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Error("invalid token"),
        }
    }

    fn number(&mut self) -> Token {
        let rest = &self.text[self.at..];
        if !self.settings.decode_invalid_numbers && is_invalid_number(rest) {
            return Token::Error("invalid number");
        }
        match number_prefix(rest) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    /// Reads a string from its opening quote on. An error is located at the offending escape, or where the text ends.
    fn string(&mut self, at: usize) -> Located {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0)).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Located { token: Token::String(out), at };
                }
                b'\\' => {
                    if let Err(what) = self.escape(&mut out) {
                        return Located { token: Token::Error(what), at: self.at };
                    }
                }
                _ => return Located { token: Token::Error("unexpected end of string"), at: self.at },
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let letter = self.text.get(self.at + 1).copied().unwrap_or(0);
        let plain = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode_escape(out),
            _ => return Err("invalid escape code"),
        };
        out.push(plain);
        self.at += 2;
        Ok(())
    }

    fn unicode_escape(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        const INVALID: &str = "invalid unicode escape code";
        let first = self.code_unit(self.at).ok_or(INVALID)?;
        let (code, len) = match first {
            0xD800..0xDC00 => {
                let second =
                    self.code_unit(self.at + 6).filter(|unit| (0xDC00..0xE000).contains(unit)).ok_or(INVALID)?;
                (0x10000 + ((first - 0xD800) << 10 | (second - 0xDC00)), 12)
            }
            _ => (first, 6),
        };
        let character = char::from_u32(code).ok_or(INVALID)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += len;
        Ok(())
    }

    /// The four hexadecimal digits of the `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Option<u32> {
        let escape = self.text.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
    }
}

/// Whether the text starts with a number only strtod would take: leading zeros, hexadecimal, infinity, NaN.
fn is_invalid_number(text: &[u8]) -> bool {
    let digits = match text {
        [b'+', ..] => return true,
        [b'-', rest @ ..] => rest,
        rest => rest,
    };
    match digits {
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        [b'0'..=b'9', ..] => false,
        _ => true,
    }
}

/// Reads the longest number at the front as C's strtod does; the number and its length.
fn number_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let sign_len = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let sign = if text.first() == Some(&b'-') { -1.0 } else { 1.0 };
    let rest = &text[sign_len..];
    let starts = |word: &[u8]| rest.get(..word.len()).is_some_and(|front| front.eq_ignore_ascii_case(word));
    if starts(b"infinity") {
        return Some((sign * f64::INFINITY, sign_len + 8));
    }
    if starts(b"inf") {
        return Some((sign * f64::INFINITY, sign_len + 3));
    }
    if starts(b"nan") {
        return Some((f64::NAN, sign_len + 3));
    }
    if let [b'0', b'x' | b'X', digits @ ..] = rest {
        let len = digits.iter().take_while(|digit| digit.is_ascii_hexdigit()).count();
        if len > 0 {
            let value = digits[..len].iter().fold(0.0, |value, &digit| {
                value * 16.0 + f64::from(char::from(digit).to_digit(16).expect("checked to be a hexadecimal digit"))
            });
            return Some((sign * value, sign_len + 2 + len));
        }
    }
    let len = decimal_len(rest)?;
    let digits = std::str::from_utf8(&rest[..len]).expect("decimal numbers are ASCII");
    let value: f64 = digits.parse().expect("checked to be a decimal number");
    Some((sign * value, sign_len + len))
}

/// The length of the unsigned decimal number at the front.
fn decimal_len(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    if text.get(len) == Some(&b'.') {
        let fraction = digits(len + 1);
        if whole + fraction == 0 {
            return None;
        }
        len += 1 + fraction;
    }
    if whole == 0 && len == 0 {
        return None;
    }
    if matches!(text.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        if len + 1 + sign <= text.len() {
            let exponent = digits(len + 1 + sign);
            if exponent > 0 {
                len += 1 + sign + exponent;
            }
        }
    }
    Some(len)
}
