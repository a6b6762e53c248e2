//! The tokens of a Lua text, as far as telling names, strings and symbols apart needs it.

/// A token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token<'t> {
    /// A name or keyword.
    Name(&'t str),
    /// A number, whatever its value.
    Number,
    /// A string without its quotes. One with escapes is read as written: it names nothing that there is.
    Text(&'t [u8]),
    /// An operator or bracket.
    Symbol(&'t str),
}

/// Operators of several characters, longest first.
const LONG: &[&str] = &["...", "..", "==", "~=", "<=", ">="];

/// Cuts a text into its tokens; nothing where it is no text that compiles.
pub(crate) fn tokens(text: &[u8]) -> Option<Vec<Token<'_>>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(&first) = rest.first() {
        let len = if first.is_ascii_whitespace() || first == 0x0b {
            1
        } else if rest.starts_with(b"--") {
            comment(rest)?
        } else if first.is_ascii_alphabetic() || first == b'_' {
            let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            found.push(Token::Name(std::str::from_utf8(&rest[..len]).ok()?));
            len
        } else if first.is_ascii_digit() || (first == b'.' && rest.get(1).is_some_and(u8::is_ascii_digit)) {
            found.push(Token::Number);
            number(rest)
        } else if first == b'"' || first == b'\'' {
            let len = quoted(rest)?;
            found.push(Token::Text(&rest[1..len - 1]));
            len
        } else if let Some((inside, len)) = long_bracket(rest) {
            found.push(Token::Text(&rest[inside..len - inside]));
            len
        } else {
            let len = LONG.iter().find(|long| rest.starts_with(long.as_bytes())).map_or(1, |long| long.len());
            found.push(Token::Symbol(std::str::from_utf8(&rest[..len]).ok()?));
            len
        };
        rest = &rest[len..];
    }
    Some(found)
}

fn comment(text: &[u8]) -> Option<usize> {
    match long_bracket(&text[2..]) {
        Some((_, len)) => Some(2 + len),
        None => Some(text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len())),
    }
}

/// As Lua reads it: digits and points, an exponent with its sign, and whatever letters and digits follow.
fn number(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let exponent = match text[digits..] {
        [b'e' | b'E', b'+' | b'-', ..] => 2,
        _ => 0,
    };
    let rest = &text[digits + exponent..];
    digits + exponent + rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
}

fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *text.get(at)? {
            b'\\' => at += 2,
            byte if byte == text[0] => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The length of the opening bracket `[==[` and of the whole, closing bracket included.
fn long_bracket(text: &[u8]) -> Option<(usize, usize)> {
    let level = text.strip_prefix(b"[")?.iter().take_while(|byte| **byte == b'=').count();
    if text.get(1 + level) != Some(&b'[') {
        return None;
    }
    let close = [b"]", "=".repeat(level).as_bytes(), b"]"].concat();
    let inside = level + 2;
    let end = memchr::memmem::find(&text[inside..], &close)?;
    Some((inside, inside + end + close.len()))
}
